//! Horizontal bar charts.

use super::axis::{is_drawable, number, numbers};
use super::canvas::Align;
use super::chart::{Frame, Sample, WIDTH};
use super::figure::{Figure, headed, one_paragraph};
use super::style::{Ink, MARGIN, Mark, TICK};
use super::text::Typeface;
use crate::{Error, Result};

/// Largest share of the width for names.
const MOST_FOR_NAMES: f32 = 0.38;

/// More groups could not be told apart.
const MOST_GROUPS: usize = 6;

/// Draws a horizontal bar for each name and value, from top to bottom, with the value at its end.
///
/// # Errors
/// As for [`grouped_bar_chart`].
pub fn bar_chart(title: &str, bars: &[(String, f64)]) -> Result<Figure> {
    let bars: Vec<(String, Vec<f64>)> = bars.iter().map(|(name, value)| (name.clone(), vec![*value])).collect();
    grouped_bar_chart(title, &[""], &bars)
}

/// Draws for each name one bar per group, such as each metric of two models. `groups` (1 to 6) are the legend, in the order of each
/// name's values.
///
/// # Errors
/// [`Error::Argument`] without bars or groups, if a name does not have one value per group, or if a value is not finite;
/// [`Error::Figure`] if there are too many bars for a figure.
pub fn grouped_bar_chart(title: &str, groups: &[&str], bars: &[(String, Vec<f64>)]) -> Result<Figure> {
    check(groups, bars)?;
    let typeface = Typeface::new()?;
    let legend = match groups {
        [_] => Vec::new(),
        _ => groups.iter().enumerate().map(|(index, name)| (Mark::new(index), Sample::Block, *name)).collect(),
    };
    let frame = Frame { title, notes: Vec::new(), legend };

    let thickness = if groups.len() == 1 { 26.0 } else { 22.0 };
    let pitch = thickness * groups.len() as f32 + 12.0;
    let mut sheet = frame.sheet(pitch * bars.len() as f32 + MARGIN + 10.0)?;

    let names: Vec<String> =
        bars.iter().map(|(name, _)| typeface.shorten(name, WIDTH * MOST_FOR_NAMES, TICK)).collect();
    let widest_name = names.iter().map(|name| typeface.width(name, TICK)).fold(0.0, f32::max);
    let values = || bars.iter().flat_map(|(_, values)| values.iter().copied());
    let mut written = numbers(&values().collect::<Vec<_>>()).into_iter();
    let widest_value = written.as_slice().iter().map(|text| typeface.width(text, TICK)).fold(0.0, f32::max);
    let (low, high) = values().fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    let for_negative = if low < 0.0 { widest_value + 10.0 } else { 0.0 };
    let left = MARGIN + widest_name + 14.0 + for_negative;
    let right = WIDTH - MARGIN - widest_value - 10.0;
    let span = if high > low { high - low } else { 1.0 };
    let place = |value: f64| left + (right - left) * ((value - low) / span) as f32;

    let zero = place(0.0);
    for (row, ((_, values), name)) in bars.iter().zip(&names).enumerate() {
        let top = sheet.top + 10.0 + pitch * row as f32;
        let middle = top + thickness * groups.len() as f32 / 2.0;
        let baseline = |middle: f32| middle + Typeface::cap_height(TICK) / 2.0;
        let name_end = MARGIN + widest_name;
        sheet.canvas.text(name, (name_end, baseline(middle)), Align::Right, TICK, Ink::TEXT);
        for (index, &value) in values.iter().enumerate() {
            let (top, end) = (top + thickness * index as f32, place(value));
            let (from, length) = (zero.min(end), (end - zero).abs());
            sheet.canvas.rectangle(from, top, length.max(1.0), thickness - 2.0, Mark::new(index).ink());
            let (at, align) = if value < 0.0 { (end - 8.0, Align::Right) } else { (end + 8.0, Align::Left) };
            let middle = top + (thickness - 2.0) / 2.0;
            let text = written.next().unwrap_or_default();
            sheet.canvas.text(&text, (at, baseline(middle)), align, TICK, Ink::TEXT);
        }
    }
    let bottom = sheet.top + 10.0 + pitch * bars.len() as f32 - 12.0;
    sheet.canvas.rectangle(zero - 1.0, sheet.top + 4.0, 2.0, bottom + 6.0 - sheet.top - 4.0, Ink::AXIS);
    sheet.finish(&alternative(title, groups, bars))
}

fn check(groups: &[&str], bars: &[(String, Vec<f64>)]) -> Result<()> {
    if bars.is_empty() {
        return Err(Error::argument("a bar chart of no bars", "Give at least one name with its value."));
    }
    if !(1..=MOST_GROUPS).contains(&groups.len()) {
        let problem = format!("a bar chart of {} groups", groups.len());
        return Err(Error::argument(problem, format!("Give 1 to {MOST_GROUPS} groups.")));
    }
    for (name, values) in bars {
        if values.len() != groups.len() {
            let problem = format!("\"{name}\" has {} values for {} groups", values.len(), groups.len());
            return Err(Error::argument(problem, "Give each name one value a group."));
        }
        if let Some(value) = values.iter().find(|value| !is_drawable(**value)) {
            let problem = format!("the bar \"{name}\" would be {} long", number(*value));
            return Err(Error::argument(problem, "Leave it out, or check where the value comes from."));
        }
    }
    Ok(())
}

/// The text alternative.
fn alternative(title: &str, groups: &[&str], bars: &[(String, Vec<f64>)]) -> String {
    let bar = |(name, values): &(String, Vec<f64>)| match (groups, &values[..]) {
        ([_], [value]) => format!("{name} {}", number(*value)),
        _ => {
            let of_group = |(group, value): (&&str, &f64)| format!("{group} {}", number(*value));
            format!("{name}: {}", groups.iter().zip(values).map(of_group).collect::<Vec<_>>().join(", "))
        }
    };
    let bars: Vec<String> = bars.iter().map(bar).collect();
    one_paragraph(&format!("{} {}.", headed("Bar chart", title), bars.join("; ")))
}
