//! Heat maps: a matrix of numbers as colours.

use super::axis::{Axis, Reach, number, score_text};
use super::canvas::Align;
use super::chart::{Frame, Sheet, WIDTH, counted};
use super::curves::Scale;
use super::figure::{Figure, headed, one_paragraph};
use super::grid::MOST_DESCRIBED;
use super::style::{Ink, MARGIN, TICK};
use super::text::{TextStyle, Typeface};
use crate::{Error, Result};

/// The colour scale *viridis* of matplotlib at 0, 1/8, …, 1 (Smith, van der Walt and Firing 2015, in the public domain by CC0):
/// perceptually uniform, ever lighter, and distinguishable for every colour vision. Colours between are interpolated linearly.
const VIRIDIS: [[u8; 3]; 9] = [
    [68, 1, 84],
    [71, 45, 123],
    [59, 82, 139],
    [44, 114, 142],
    [33, 145, 140],
    [40, 174, 128],
    [94, 201, 98],
    [173, 220, 48],
    [253, 231, 37],
];

/// Largest width of row labels in pixels.
const ROW_LABELS: f32 = 260.0;
/// Largest height of column labels that are written upwards.
const COLUMN_LABELS: f32 = 240.0;
/// Lines of column labels that are not written upwards.
const LABEL_LINES: usize = 3;
/// Smallest and largest height of a row.
const ROW_HEIGHTS: (f32, f32) = (24.0, 52.0);
/// Height over which the rows spread.
const ROOM: f32 = 680.0;
/// Largest width of a column.
const COLUMN_WIDTH: f32 = 160.0;
/// Distance of the colour bar from the matrix, its width, and the distance of its labels.
const BAR: [f32; 3] = [24.0, 26.0, 14.0];
/// Smallest height of the colour bar.
const BAR_HEIGHT: f32 = 150.0;
/// Smallest size of numbers in cells.
const SMALLEST_NUMBER: f32 = 14.0;
/// Columns that are still wide enough to be seen.
const MOST_COLUMNS: usize = 300;

/// A matrix of numbers, such as the scores of words with regions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeatMap {
    /// Labels of the rows, from top to bottom.
    pub rows: Vec<String>,
    /// Labels of the columns, from left to right, at most 300.
    pub columns: Vec<String>,
    /// The finite values, one row a label of [`rows`](Self::rows), in it one value a label of [`columns`](Self::columns).
    pub values: Vec<Vec<f32>>,
    /// Row and column of framed cells, such as the best region of each word; may be empty.
    pub marked: Vec<(usize, usize)>,
}

/// Draws a matrix as colours, from dark (the least value) to bright (the greatest), with numbers where they fit, a colour bar, and
/// frames around marked cells.
///
/// Long row labels are shortened with "…"; column labels are wrapped, or written upwards where they are too long for
/// three lines.
///
/// ```
/// use captionlab::show::{HeatMap, heat_map};
/// let map = HeatMap {
///     rows: vec!["red".into(), "kite".into()],
///     columns: vec!["sky".into(), "kite".into(), "whole".into()],
///     values: vec![vec![0.1, 0.7, 0.3], vec![-0.2, 0.9, 0.4]],
///     marked: vec![(0, 1), (1, 2)],
/// };
/// assert_eq!(
///     heat_map("Words and regions", &map)?.alternative,
///     "Heat map: Words and regions. 2 rows and 3 columns, values from −0.20 to 0.90. \
///      red: highest in kite (0.70). kite: highest in kite (0.90), marked whole (0.40)."
/// );
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] without values, for rows of unequal length, numbers of labels that do not fit, values that are not finite,
/// more than 300 columns, or a marked cell outside the matrix; [`Error::Figure`] if there are too many rows for a figure.
pub fn heat_map(title: &str, map: &HeatMap) -> Result<Figure> {
    check(map)?;
    let typeface = Typeface::new()?;
    let scale = ColourScale::of(map);
    let layout = Layout::new(map, scale.width(&typeface), &typeface);
    let body = layout.header + (layout.row_height * map.rows.len() as f32).max(BAR_HEIGHT) + MARGIN;
    let mut sheet = Frame { title, notes: Vec::new(), legend: Vec::new() }.sheet(body)?;
    let top = sheet.top + layout.header;
    layout.draw_labels(&mut sheet, map, top);
    let cell = |row: usize, column: usize| {
        // Whole pixels, so that no seams show.
        let edge = |start: f32, length: f32, number: usize| (start + length * number as f32).round();
        [
            edge(layout.left, layout.column_width, column),
            edge(top, layout.row_height, row),
            edge(layout.left, layout.column_width, column + 1),
            edge(top, layout.row_height, row + 1),
        ]
    };
    let gap = if layout.column_width >= 16.0 { 2.0 } else { 0.0 };
    for (row, values) in map.values.iter().enumerate() {
        for (column, &value) in values.iter().enumerate() {
            let [left, top, right, bottom] = cell(row, column);
            let ink = scale.ink(value);
            sheet.canvas.rectangle(left, top, right - left - gap, bottom - top - gap, ink);
            if let Some(look) = layout.number {
                let (x, y) = ((left + right - gap) / 2.0, (top + bottom - gap + Typeface::cap_height(look)) / 2.0);
                sheet.canvas.text(&cell_text(value), (x, y), Align::Centre, look, ink.readable());
            }
        }
    }
    for &(row, column) in &map.marked {
        let [left, top, right, bottom] = cell(row, column);
        // Black around white is visible on every colour of the scale.
        let frame = |inside: f32| [left + inside, top + inside, right - gap - inside, bottom - gap - inside];
        sheet.canvas.frame(frame(0.0), 5.0, None, Ink([0, 0, 0]));
        sheet.canvas.frame(frame(0.0), 2.0, None, Ink::WHITE);
    }
    let grid_right = layout.left + layout.column_width * map.columns.len() as f32;
    let height = (layout.row_height * map.rows.len() as f32).max(BAR_HEIGHT);
    scale.draw(&mut sheet, grid_right + BAR[0], top, height);
    sheet.finish(&alternative(title, map))
}

fn check(map: &HeatMap) -> Result<()> {
    let (rows, columns) = (map.rows.len(), map.columns.len());
    if map.values.is_empty() || columns == 0 {
        return Err(Error::argument("a heat map of no values", "Give at least one row with one value."));
    }
    if map.values.len() != rows {
        let problem = format!("a heat map of {} rows has {rows} row labels", map.values.len());
        return Err(Error::argument(problem, "Give one label a row."));
    }
    if columns > MOST_COLUMNS {
        let problem = format!("a heat map of {columns} columns");
        return Err(Error::argument(problem, format!("Show {MOST_COLUMNS} at most, or swap rows and columns.")));
    }
    for (row, values) in map.rows.iter().zip(&map.values) {
        if values.len() != columns {
            let problem = format!("row \"{row}\" of the heat map has {} values for {columns} columns", values.len());
            return Err(Error::argument(problem, "Give each row one value a column label."));
        }
        if let Some((column, value)) = map.columns.iter().zip(values).find(|(_, value)| !value.is_finite()) {
            let problem =
                format!("row \"{row}\", column \"{column}\" of the heat map is {}", number(f64::from(*value)));
            return Err(Error::argument(problem, "Give finite values; check where it comes from."));
        }
    }
    if let Some((row, column)) = map.marked.iter().find(|(row, column)| *row >= rows || *column >= columns) {
        let problem = format!("the marked cell ({row}, {column}) is outside a heat map of {rows}×{columns} values");
        return Err(Error::argument(problem, "Count rows and columns from 0."));
    }
    Ok(())
}

/// Formats a value of a cell in about three characters.
fn cell_text(value: f32) -> String {
    match value.abs() {
        size if size < 10.0 => score_text(value),
        _ => number(f64::from(value)),
    }
}

/// Positions of the matrix.
struct Layout {
    /// Left edge of the first column.
    left: f32,
    row_height: f32,
    column_width: f32,
    /// Height of the column labels.
    header: f32,
    row_labels: Vec<String>,
    row_look: TextStyle,
    /// Lines of each column label.
    column_labels: Vec<Vec<String>>,
    column_look: TextStyle,
    upwards: bool,
    /// Style of the numbers, if there is room for them.
    number: Option<TextStyle>,
}

impl Layout {
    /// The layout beside a colour bar of that width, with its labels.
    fn new(map: &HeatMap, bar: f32, typeface: &Typeface) -> Self {
        let row_height = (ROOM / map.rows.len() as f32).clamp(ROW_HEIGHTS.0, ROW_HEIGHTS.1).floor();
        let row_look = TextStyle::regular((row_height * 0.6).min(TICK.size).round());
        let row_labels: Vec<String> =
            map.rows.iter().map(|label| typeface.shorten(label, ROW_LABELS, row_look)).collect();
        let widest =
            |labels: &[String], look| labels.iter().map(|label| typeface.width(label, look)).fold(0.0, f32::max);
        let left = (MARGIN + widest(&row_labels, row_look) + 14.0).round();
        let column_width = ((WIDTH - MARGIN - bar - left) / map.columns.len() as f32).min(COLUMN_WIDTH);

        // A word that is wider than its column would be broken.
        let words: Vec<String> =
            map.columns.iter().flat_map(|label| label.split_whitespace()).map(str::to_string).collect();
        let wrap = |label: &String| typeface.wrap(label, column_width - 10.0, LABEL_LINES + 1, TICK);
        let upwards = widest(&words, TICK) > column_width - 10.0
            || map.columns.iter().any(|label| wrap(label).len() > LABEL_LINES);
        let column_look = if upwards { TextStyle::regular(column_width.clamp(15.0, TICK.size).floor()) } else { TICK };
        let upright = |label: &String| vec![typeface.shorten(label, COLUMN_LABELS, column_look)];
        let column_labels: Vec<Vec<String>> =
            map.columns.iter().map(|label| if upwards { upright(label) } else { wrap(label) }).collect();
        let lines = column_labels.iter().map(Vec::len).max().unwrap_or(1) as f32;
        let header = if upwards { widest(&column_labels.concat(), column_look) } else { lines * TICK.line_height() };

        let texts: Vec<String> = map.values.iter().flatten().map(|&value| cell_text(value)).collect();
        let fits = |size: &f32| widest(&texts, TextStyle::regular(*size)) <= column_width - 6.0;
        let largest = (row_height * 0.6).min(TICK.size).floor();
        let number = (0..16).map(|less| largest - less as f32).take_while(|size| *size >= SMALLEST_NUMBER).find(fits);
        Self {
            left,
            row_height,
            column_width,
            header: header.ceil() + 12.0,
            row_labels,
            row_look,
            column_labels,
            column_look,
            upwards,
            number: number.map(TextStyle::regular),
        }
    }

    fn draw_labels(&self, sheet: &mut Sheet, map: &HeatMap, top: f32) {
        for (row, label) in self.row_labels.iter().enumerate() {
            let middle = top + self.row_height * (row as f32 + 0.5) - 1.0;
            let baseline = middle + Typeface::cap_height(self.row_look) / 2.0;
            sheet.canvas.text(label, (self.left - 10.0, baseline), Align::Right, self.row_look, Ink::TEXT);
        }
        // Where columns are narrower than their labels are high, only every so many have one.
        let every = (self.column_look.size / self.column_width).ceil().max(1.0) as usize;
        for column in (0..map.columns.len()).step_by(every) {
            let middle = self.left + self.column_width * (column as f32 + 0.5) - 1.0;
            let look = self.column_look;
            for (line, text) in self.column_labels[column].iter().rev().enumerate() {
                if self.upwards {
                    let baseline = middle + Typeface::cap_height(look) / 2.0;
                    sheet.canvas.text_upwards(text, (baseline, top - 8.0), Align::Left, look, Ink::TEXT);
                } else {
                    let baseline = top - 10.0 - line as f32 * look.line_height();
                    sheet.canvas.text(text, (middle, baseline), Align::Centre, look, Ink::TEXT);
                }
            }
        }
    }
}

/// The colours of the values of a heat map.
struct ColourScale {
    axis: Axis,
}

impl ColourScale {
    fn of(map: &HeatMap) -> Self {
        let (low, high) = range(map);
        Self { axis: Axis::new(low, high, Scale::Linear, Reach::Exact, 5) }
    }

    fn ink(&self, value: f32) -> Ink {
        let Axis { low, high, .. } = self.axis;
        viridis(((f64::from(value) - low) / (high - low)) as f32)
    }

    /// The ends of the colour bar, and round numbers between them.
    fn labels(&self) -> Vec<(f64, String)> {
        let Axis { low, high, ticks, .. } = &self.axis;
        let mut labels = vec![(*low, cell_text(*low as f32)), (*high, cell_text(*high as f32))];
        labels.extend(ticks.iter().cloned());
        labels
    }

    /// Width of the colour bar with its distances and labels.
    fn width(&self, typeface: &Typeface) -> f32 {
        let widest = self.labels().iter().map(|(_, label)| typeface.width(label, TICK)).fold(0.0, f32::max);
        BAR.iter().sum::<f32>() + widest.ceil()
    }

    /// Draws the colour bar with its labels.
    fn draw(&self, sheet: &mut Sheet, left: f32, top: f32, height: f32) {
        let Axis { low, high, .. } = self.axis;
        let steps = height.round() as usize;
        for step in 0..steps {
            let part = (step as f32 + 0.5) / steps as f32;
            sheet.canvas.rectangle(left, (top + height).round() - step as f32 - 1.0, BAR[1], 1.0, viridis(part));
        }
        let place = |value: f64| top + height * (1.0 - ((value - low) / (high - low)) as f32);
        for (number, (value, label)) in self.labels().into_iter().enumerate() {
            let y = place(value);
            // The ends come first; what is too close to them is left out.
            if number >= 2 && (y - top).min(top + height - y) < TICK.size * 1.9 {
                continue;
            }
            let edge = y.clamp(top + 1.0, top + height - 1.0);
            sheet.canvas.rectangle(left + BAR[1], edge - 1.0, 8.0, 2.0, Ink::AXIS);
            let baseline = y + Typeface::cap_height(TICK) / 2.0;
            let baseline = baseline.clamp(top + Typeface::cap_height(TICK), top + height);
            sheet.canvas.text(&label, (left + BAR[1] + BAR[2], baseline), Align::Left, TICK, Ink::TEXT);
        }
    }
}

/// The colour of a value in `0..=1`.
fn viridis(part: f32) -> Ink {
    let place = part.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f32;
    let below = (place as usize).min(VIRIDIS.len() - 2);
    let rest = place - below as f32;
    let mix = |channel: usize| {
        let (low, high) = (f32::from(VIRIDIS[below][channel]), f32::from(VIRIDIS[below + 1][channel]));
        (low + (high - low) * rest).round() as u8
    };
    Ink([mix(0), mix(1), mix(2)])
}

fn range(map: &HeatMap) -> (f64, f64) {
    let values = map.values.iter().flatten().map(|&value| f64::from(value));
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// The text alternative.
fn alternative(title: &str, map: &HeatMap) -> String {
    let (low, high) = range(map);
    let mut text = format!(
        "{} {} and {}, values from {} to {}.",
        headed("Heat map", title),
        counted(map.rows.len(), "row", "rows"),
        counted(map.columns.len(), "column", "columns"),
        cell_text(low as f32),
        cell_text(high as f32)
    );
    for (row, (label, values)) in map.rows.iter().zip(&map.values).enumerate().take(MOST_DESCRIBED) {
        let named = |column: usize| format!("{} ({})", map.columns[column], cell_text(values[column]));
        // The first of equal ones.
        let best = (0..values.len()).fold(0, |best, column| if values[column] > values[best] { column } else { best });
        text += &format!(" {label}: highest in {}", named(best));
        let marked: Vec<usize> =
            map.marked.iter().filter(|(marked, _)| *marked == row).map(|(_, column)| *column).collect();
        if marked.iter().any(|column| *column != best) {
            let marked: Vec<String> = marked.into_iter().map(named).collect();
            text += &format!(", marked {}", marked.join(", "));
        }
        text.push('.');
    }
    if let Some(more) = map.rows.len().checked_sub(MOST_DESCRIBED).filter(|&more| more > 0) {
        text += &format!(" And {}.", counted(more, "more row", "more rows"));
    }
    one_paragraph(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_scale_is_that_of_matplotlib_and_ever_lighter() {
        // Entries 0, 51, 102, 153, 204 and 255 of its table of 256.
        let table = [
            [0.267004, 0.004874, 0.329415],
            [0.253935, 0.265254, 0.529983],
            [0.163625, 0.471133, 0.558148],
            [0.134692, 0.658636, 0.517649],
            [0.477504, 0.821444, 0.318195],
            [0.993248, 0.906157, 0.143936],
        ];
        for (fifth, colour) in table.iter().enumerate() {
            let Ink(ink) = viridis(fifth as f32 / 5.0);
            let furthest = ink.iter().zip(colour).map(|(&a, b)| (f32::from(a) - b * 255.0).abs()).fold(0.0, f32::max);
            assert!(furthest < 6.0, "{ink:?} for {colour:?}");
        }
        let lightness = |part: f32| {
            let Ink([red, green, blue]) = viridis(part);
            0.2126 * f32::from(red) + 0.7152 * f32::from(green) + 0.0722 * f32::from(blue)
        };
        assert!((0..64).all(|i| lightness(i as f32 / 64.0) < lightness((i + 1) as f32 / 64.0)));
    }

    #[test]
    fn numbers_stand_in_cells_that_have_room_for_them() {
        let typeface = Typeface::new().unwrap();
        let number = |rows: usize, columns: usize, value: f32| {
            let map = HeatMap {
                rows: vec!["word".into(); rows],
                columns: vec!["region".into(); columns],
                values: vec![vec![value; columns]; rows],
                marked: Vec::new(),
            };
            Layout::new(&map, 120.0, &typeface).number.map(|look| look.size)
        };
        assert_eq!(number(5, 5, 0.5), Some(22.0));
        assert!(number(20, 20, 0.5).is_some_and(|size| size >= 14.0));
        assert_eq!(number(20, 40, 0.5), None);
        assert_eq!(number(5, 20, -1.5e-20), number(5, 20, 0.0));
        assert_eq!(number(5, 20, -1.5e20), None);
    }
}
