//! Common parts of charts: title, legend, notes and axes.

use plotters::prelude::*;

use super::axis::Axis;
use super::canvas::{Align, Canvas, FINE};
use super::figure::{Figure, failed};
use super::style::{Ink, LABEL, MARGIN, Mark, NOTE, TICK, TITLE};
use super::text::{TextStyle as Look, Typeface};
use crate::Result;

pub(super) const WIDTH: f32 = 1100.0;

const TICK_LENGTH: f32 = 6.0;

/// Plotters' axes on our canvas; points are given by their positions, see [`Axis::place`].
pub(super) type Plot<'a, 'b> = ChartContext<'a, &'b mut Canvas, Cartesian2d<Axis, Axis>>;

/// Result of a closure that draws on a [`Plot`].
pub(super) type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::convert::Infallible>>;

/// Sample in a legend entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    Line,
    /// A line with markers.
    MarkedLine,
    Block,
}

impl Sample {
    fn width(self) -> f32 {
        match self {
            // Ends with a whole dash for every dash pattern.
            Self::Line | Self::MarkedLine => 49.0,
            Self::Block => 24.0,
        }
    }
}

/// Title, notes and legend of a chart.
pub(super) struct Frame<'a> {
    pub title: &'a str,
    /// Lines under the title: counts, and what was left out.
    pub notes: Vec<String>,
    pub legend: Vec<(Mark, Sample, &'a str)>,
}

/// A canvas with title, notes and legend at its top.
pub(super) struct Sheet {
    pub canvas: Canvas,
    /// Top of the free part in pixels.
    pub top: f32,
}

impl Frame<'_> {
    /// A sheet with `body_height` free below title, notes and legend.
    pub fn sheet(&self, body_height: f32) -> Result<Sheet> {
        let typeface = Typeface::new()?;
        let room = WIDTH - 2.0 * MARGIN;
        let title = typeface.wrap(self.title, room, 2, TITLE);
        let notes: Vec<String> = self.notes.iter().flat_map(|note| typeface.wrap(note, room, 3, NOTE)).collect();
        let rows = self.legend_rows(&typeface, room);

        let mut y = MARGIN * 0.7;
        let mut lines: Vec<(f32, &str, Look, Ink)> = Vec::new();
        for (texts, look, ink) in [(&title, TITLE, Ink::TEXT), (&notes, NOTE, Ink::QUIET_TEXT)] {
            for text in texts.iter().filter(|text| !text.is_empty()) {
                y += look.line_height();
                lines.push((y - look.size * 0.25, text, look, ink));
            }
        }
        y += 12.0;
        let legend_top = y;
        y += rows.len() as f32 * LEGEND_ROW;

        let mut canvas = Canvas::new(WIDTH, y + body_height)?;
        for (baseline, text, look, ink) in lines {
            canvas.text(text, (MARGIN, baseline), Align::Left, look, ink);
        }
        for (row, entries) in rows.iter().enumerate() {
            let middle = legend_top + (row as f32 + 0.5) * LEGEND_ROW;
            for entry in entries {
                entry.draw(&mut canvas, middle);
            }
        }
        Ok(Sheet { canvas, top: y })
    }

    /// Breaks the legend into rows that fit.
    fn legend_rows(&self, typeface: &Typeface, room: f32) -> Vec<Vec<Entry>> {
        let mut rows: Vec<Vec<Entry>> = Vec::new();
        let mut x = f32::INFINITY;
        for &(mark, sample, name) in &self.legend {
            let name = typeface.shorten(name, room * 0.6, TICK);
            let width = sample.width() + SAMPLE_GAP + typeface.width(&name, TICK);
            if x + width > MARGIN + room {
                rows.push(Vec::new());
                x = MARGIN;
            }
            if let Some(row) = rows.last_mut() {
                row.push(Entry { x, mark, sample, name });
            }
            x += width + 32.0;
        }
        rows
    }
}

/// A legend entry, and the position of its sample.
struct Entry {
    x: f32,
    mark: Mark,
    sample: Sample,
    name: String,
}

impl Entry {
    fn draw(&self, canvas: &mut Canvas, middle: f32) {
        let Self { x, mark, sample, name } = self;
        let end = x + sample.width();
        if *sample == Sample::Block {
            canvas.rectangle(*x, middle - 11.0, sample.width(), 22.0, mark.ink());
        } else {
            canvas.line(&[(*x, middle), (end, middle)], LINE, mark.dash(LINE), mark.ink());
        }
        if *sample == Sample::MarkedLine {
            mark.draw(canvas, ((x + end) / 2.0, middle), MARKER);
        }
        let baseline = middle + Typeface::cap_height(TICK) / 2.0;
        canvas.text(name, (end + SAMPLE_GAP, baseline), Align::Left, TICK, Ink::TEXT);
    }
}

const LEGEND_ROW: f32 = 36.0;
/// Gap between a sample and its name.
const SAMPLE_GAP: f32 = 10.0;
/// Line width in pixels.
pub(super) const LINE: f32 = 4.0;
/// Marker radius in pixels.
pub(super) const MARKER: f32 = 7.0;

impl Sheet {
    /// Draws axes with labels into the free part, and then calls `draw`.
    pub fn plot(
        &mut self,
        (x_label, x): (&str, &Axis),
        (y_label, y): (&str, &Axis),
        draw: impl FnOnce(&mut Plot<'_, '_>) -> Drawn,
    ) -> Result<()> {
        let typeface = &self.canvas.typeface;
        let (_, height) = self.canvas.size();
        let widest = y.ticks.iter().map(|(_, label)| typeface.width(label, TICK)).fold(0.0, f32::max);
        let named = |label: &str| if label.trim().is_empty() { 0.0 } else { LABEL.size * 1.2 + 12.0 };
        let y_area = named(y_label) + widest + 2.0 * TICK_LENGTH + 4.0;
        let x_area = named(x_label) + 2.0 * TICK_LENGTH + TICK.size * 1.2;
        let right = x.ticks.last().map_or(0.0, |(_, label)| typeface.width(label, TICK) / 2.0).max(MARGIN) + 4.0;
        let x_label = typeface.shorten(x_label, WIDTH - y_area - 2.0 * MARGIN, LABEL);
        let y_label = typeface.shorten(y_label, height - self.top - x_area - MARGIN, LABEL);

        let top = self.top;
        let area = (&mut self.canvas).into_drawing_area();
        let result = (|| -> Drawn {
            let mut plot = ChartBuilder::on(&area)
                .margin_top(fine(top + 14.0))
                .margin_right(fine(right))
                .margin_left(fine(MARGIN * 0.7))
                .margin_bottom(fine(MARGIN * 0.7))
                .x_label_area_size(fine(x_area))
                .y_label_area_size(fine(y_area))
                .build_cartesian_2d(x.clone(), y.clone())?;
            let label_style = ("sans-serif", f64::from(TICK.size * FINE)).into_font().color(&Ink::TEXT.rgb());
            let name_style = ("sans-serif", f64::from(LABEL.size * FINE)).into_font().color(&Ink::TEXT.rgb());
            plot.configure_mesh()
                .light_line_style(Ink::FAINT_GRID.rgb().stroke_width(fine(1.0)))
                .bold_line_style(Ink::GRID.rgb().stroke_width(fine(1.5)))
                .axis_style(Ink::AXIS.rgb().stroke_width(fine(2.0)))
                .set_all_tick_mark_size(fine(TICK_LENGTH))
                .label_style(label_style)
                .axis_desc_style(name_style)
                .x_desc(x_label)
                .y_desc(y_label)
                .draw()?;
            draw(&mut plot)
        })();
        drop(area);
        result.map_err(|error| failed(error.to_string()))
    }

    pub fn finish(self, alternative: &str) -> Result<Figure> {
        Figure::from_image(&self.canvas.into_image()?, alternative)
    }
}

/// Converts pixels to the units of plotters.
pub(super) fn fine(pixels: f32) -> u32 {
    (pixels * FINE).round() as u32
}

/// Formats `1 value`, `3 values`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    let number = super::axis::grouped(&count.to_string());
    if count == 1 { format!("{number} {one}") } else { format!("{number} {many}") }
}
