//! Line charts: learning curves, Zipf's law, scores against temperature.

use std::convert::Infallible;

use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;
use plotters::series::DashedLineSeries;
use plotters_backend::DrawingErrorKind;

use super::axis::{Axis, Reach, number};
use super::canvas::{Canvas, coarse};
use super::chart::{Drawn, Frame, LINE, MARKER, Plot, Sample, counted, fine};
use super::figure::{Figure, headed, one_paragraph};
use super::style::Mark;
use crate::{Error, Result};

/// Height of axes and labels in pixels.
const HEIGHT: f32 = 560.0;

/// More lines could not be told apart.
const MOST_SERIES: usize = 24;

/// Lines with at most this many points have markers.
const MOST_MARKERS: usize = 40;

/// A named line through points `(x, y)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// The points, in drawing order.
    pub points: Vec<(f64, f64)>,
    /// Lower and upper end of each point's error bar; empty for none.
    pub intervals: Vec<(f64, f64)>,
}

impl Series {
    /// A line through points `(x, y)`.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, intervals: Vec::new() }
    }

    /// Adds an error bar to each point, from its lower to its upper end.
    pub fn with_intervals(self, intervals: Vec<(f64, f64)>) -> Self {
        Self { intervals, ..self }
    }

    /// A line through values at 0, 1, 2, …
    pub fn numbered(name: impl Into<String>, values: &[f64]) -> Self {
        Self::new(name, values.iter().enumerate().map(|(index, &value)| (index as f64, value)).collect())
    }
}

/// Scale of an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// Linear: equal steps add the same amount.
    #[default]
    Linear,
    /// Logarithmic: equal steps multiply by the same factor. Only positive values can be drawn.
    Logarithmic,
}

/// Settings of [`curves_with`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CurvesConfig {
    /// Scale of the horizontal axis. Default: [`Scale::Linear`].
    pub x_scale: Scale,
    /// Scale of the vertical axis. Default: [`Scale::Linear`].
    pub y_scale: Scale,
}

impl CurvesConfig {
    /// Both axes logarithmic, as for Zipf's law.
    pub const LOG_LOG: Self = Self { x_scale: Scale::Logarithmic, y_scale: Scale::Logarithmic };
    /// Only the horizontal axis logarithmic.
    pub const LOG_X: Self = Self { x_scale: Scale::Logarithmic, y_scale: Scale::Linear };
    /// Only the vertical axis logarithmic.
    pub const LOG_Y: Self = Self { x_scale: Scale::Linear, y_scale: Scale::Logarithmic };
}

/// Draws lines over linear axes; see [`curves_with`].
///
/// # Errors
/// As [`curves_with`].
pub fn curves(title: &str, x_label: &str, y_label: &str, series: &[Series]) -> Result<Figure> {
    curves_with(title, x_label, y_label, series, &CurvesConfig::default())
}

/// Draws lines over axes of the given scales. Several lines get a legend; they differ by colour and dash pattern.
///
/// Points that cannot be drawn (NaN, infinite, or not positive on a logarithmic axis) interrupt their line, and a note counts them: a
/// loss that becomes NaN is drawn up to there.
///
/// # Errors
/// [`Error::Argument`] without series, with more than 24, if a series has no point that can be drawn, or if the numbers of points and
/// intervals differ.
pub fn curves_with(
    title: &str,
    x_label: &str,
    y_label: &str,
    series: &[Series],
    config: &CurvesConfig,
) -> Result<Figure> {
    if series.is_empty() {
        return Err(Error::argument("curves without a series", "Give at least one `Series`."));
    }
    if series.len() > MOST_SERIES {
        return Err(Error::argument(
            format!("{} lines in one figure cannot be told apart", series.len()),
            format!("Draw at most {MOST_SERIES}, or several figures."),
        ));
    }
    if let Some(line) = series.iter().find(|line| ![0, line.points.len()].contains(&line.intervals.len())) {
        let (name, points, intervals) = (&line.name, line.points.len(), line.intervals.len());
        return Err(Error::argument(
            format!("the series \"{name}\" has {points} points and {intervals} intervals"),
            "Give each point an interval, or none.",
        ));
    }
    let placed: Vec<Vec<Option<(f64, f64)>>> = series.iter().map(|line| placed(line, config)).collect();
    for (line, points) in series.iter().zip(&placed) {
        if points.iter().all(Option::is_none) {
            return Err(undrawable(line, config));
        }
    }
    let (x, y) = axes(series, config);
    let legend = series.iter().zip(&placed).enumerate().map(|(index, (line, points))| {
        let sample = if is_marked(points) { Sample::MarkedLine } else { Sample::Line };
        (Mark::new(index), sample, line.name.as_str())
    });
    // The title names a single line.
    let legend = if series.len() == 1 { Vec::new() } else { legend.collect() };
    let frame = Frame { title, notes: left_out(&placed, config).into_iter().collect(), legend };
    let mut sheet = frame.sheet(HEIGHT)?;
    sheet.plot((x_label, &x), (y_label, &y), |plot| {
        // The first line, the main one, is drawn last.
        placed.iter().zip(series).enumerate().rev().try_for_each(|(index, (points, line))| {
            draw_line(plot, points, Mark::new(index))?;
            draw_intervals(plot, line, config, Mark::new(index))
        })
    })?;
    sheet.finish(&alternative(title, x_label, y_label, series, &placed, config, &frame.notes))
}

/// Positions of a line's points; `None` for points that cannot be drawn.
fn placed(line: &Series, config: &CurvesConfig) -> Vec<Option<(f64, f64)>> {
    let place = |&(x, y): &(f64, f64)| Some((Axis::place(config.x_scale, x)?, Axis::place(config.y_scale, y)?));
    line.points.iter().map(place).collect()
}

fn undrawable(line: &Series, config: &CurvesConfig) -> Error {
    let name = &line.name;
    if line.points.is_empty() {
        return Error::argument(format!("the series \"{name}\" has no points"), "Give each series at least one point.");
    }
    let logarithmic = config.x_scale == Scale::Logarithmic || config.y_scale == Scale::Logarithmic;
    let (problem, help) = if logarithmic {
        ("is above 0 and finite, as a logarithmic axis needs", "Use a linear axis, or check the values.")
    } else {
        ("is a finite number", "Check where the values come from: a loss of NaN means that training diverged.")
    };
    Error::argument(format!("no point of the series \"{name}\" {problem}"), help)
}

/// Axes that contain every drawable point.
fn axes(series: &[Series], config: &CurvesConfig) -> (Axis, Axis) {
    let drawn = || {
        let points = series.iter().flat_map(|line| &line.points);
        points.filter(|(x, y)| Axis::place(config.x_scale, *x).is_some() && Axis::place(config.y_scale, *y).is_some())
    };
    let span = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (x_low, x_high) = span(&mut drawn().map(|(x, _)| *x));
    let ends = series.iter().flat_map(|line| &line.intervals).flat_map(|(low, high)| [*low, *high]);
    let ends: Vec<f64> = ends.filter(|end| Axis::place(config.y_scale, *end).is_some()).collect();
    let (mut y_low, y_high) = span(&mut drawn().map(|(_, y)| *y).chain(ends));
    // Starts at zero if it is near, so that heights are comparable.
    if config.y_scale == Scale::Linear && y_low > 0.0 && y_low < 0.5 * y_high {
        y_low = 0.0;
    }
    let x = Axis::new(x_low, x_high, config.x_scale, Reach::Margin, 8);
    (x, Axis::new(y_low, y_high, config.y_scale, Reach::Ticks, 6))
}

/// Whether a line has markers.
fn is_marked(points: &[Option<(f64, f64)>]) -> bool {
    points.iter().flatten().count() <= MOST_MARKERS
}

/// Draws a line, interrupted at points that cannot be drawn.
fn draw_line(plot: &mut Plot<'_, '_>, points: &[Option<(f64, f64)>], mark: Mark) -> Drawn {
    let style = mark.ink().rgb().stroke_width(fine(LINE));
    for run in points.split(Option::is_none) {
        let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
        if run.len() < 2 {
            continue;
        }
        match mark.dash(LINE) {
            Some((on, off)) => {
                let (on, off) = (fine(on) as i32, fine(off) as i32);
                plot.draw_series(DashedLineSeries::new(run, on, off, style))?;
            }
            None => {
                plot.draw_series(LineSeries::new(run, style))?;
            }
        }
    }
    if is_marked(points) {
        plot.draw_series(points.iter().flatten().map(|&place| Marker { place, mark }))?;
    }
    Ok(())
}

/// Draws the error bars of a line.
fn draw_intervals(plot: &mut Plot<'_, '_>, line: &Series, config: &CurvesConfig, mark: Mark) -> Drawn {
    let style = mark.ink().rgb().stroke_width(fine(LINE / 2.0));
    for ((x, _), (low, high)) in line.points.iter().zip(&line.intervals) {
        let place = |y: f64| Some((Axis::place(config.x_scale, *x)?, Axis::place(config.y_scale, y)?));
        if let (Some(low), Some(high)) = (place(*low), place(*high)) {
            plot.draw_series(LineSeries::new([low, high], style))?;
        }
    }
    Ok(())
}

/// A marker as an element of plotters.
struct Marker {
    place: (f64, f64),
    mark: Mark,
}

impl<'a> PointCollection<'a, (f64, f64)> for &'a Marker {
    type Point = &'a (f64, f64);
    type IntoIter = std::iter::Once<Self::Point>;

    fn point_iter(self) -> Self::IntoIter {
        std::iter::once(&self.place)
    }
}

impl Drawable<&mut Canvas> for Marker {
    fn draw<I: Iterator<Item = (i32, i32)>>(
        &self,
        points: I,
        canvas: &mut &mut Canvas,
        _size: (u32, u32),
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        points.for_each(|point| self.mark.draw(canvas, coarse(point), MARKER));
        Ok(())
    }
}

/// The note that counts undrawable points.
fn left_out(placed: &[Vec<Option<(f64, f64)>>], config: &CurvesConfig) -> Option<String> {
    let count = placed.iter().flatten().filter(|point| point.is_none()).count();
    let reason = match config {
        CurvesConfig { x_scale: Scale::Linear, y_scale: Scale::Linear } => "not a finite number",
        _ => "not a finite number above 0, as a logarithmic axis needs",
    };
    (count > 0).then(|| format!("Left out: {}, {reason}.", counted(count, "point", "points")))
}

/// The text alternative.
fn alternative(
    title: &str,
    x_label: &str,
    y_label: &str,
    series: &[Series],
    placed: &[Vec<Option<(f64, f64)>>],
    config: &CurvesConfig,
    notes: &[String],
) -> String {
    let scales = match (config.x_scale, config.y_scale) {
        (Scale::Linear, Scale::Linear) => "",
        (Scale::Logarithmic, Scale::Linear) => ", horizontal axis logarithmic",
        (Scale::Linear, Scale::Logarithmic) => ", vertical axis logarithmic",
        (Scale::Logarithmic, Scale::Logarithmic) => ", both axes logarithmic",
    };
    let mut text = format!("{} {y_label} against {x_label}{scales}.", headed("Line chart", title));
    for (line, places) in series.iter().zip(placed) {
        let drawn = || line.points.iter().zip(places).filter(|(_, place)| place.is_some()).map(|(point, _)| *point);
        let (Some(first), Some(last)) = (drawn().next(), drawn().next_back()) else { continue };
        let lowest = drawn().fold(first, |best, point| if point.1 < best.1 { point } else { best });
        let highest = drawn().fold(first, |best, point| if point.1 > best.1 { point } else { best });
        text += &format!(" {}: ", line.name);
        if drawn().count() == 1 {
            text += &format!("{} at {}", number(first.1), number(first.0));
        } else {
            let from_to = [first.1, first.0, last.1, last.0].map(number);
            text += &format!("from {} at {} to {} at {}", from_to[0], from_to[1], from_to[2], from_to[3]);
        }
        for (name, point) in [("lowest", lowest), ("highest", highest)] {
            let value = number(point.1);
            if value != number(first.1) && value != number(last.1) {
                text += &format!(", {name} {value} at {}", number(point.0));
            }
        }
        if let (Some(first), Some(last)) = (line.intervals.first(), line.intervals.last()) {
            let ends = [first.0, first.1, last.0, last.1].map(number);
            text +=
                &format!(", between {} and {} at first, between {} and {} at last", ends[0], ends[1], ends[2], ends[3]);
        }
        text += ".";
    }
    notes.iter().for_each(|note| text += &format!(" {note}"));
    one_paragraph(&text)
}
