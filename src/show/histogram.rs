//! Histograms.

use plotters::prelude::*;

use super::axis::{Axis, Reach, SMALLEST, is_drawable, number};
use super::chart::{Frame, counted};
use super::curves::Scale;
use super::figure::{Figure, headed, one_paragraph};
use super::style::Mark;
use crate::{Error, Result};

/// Height of axes and labels in pixels.
const HEIGHT: f32 = 520.0;

/// Bars narrower than about two pixels would show nothing more.
const MOST_BINS: usize = 500;

/// Draws a histogram of `bins` (1 to 500) equal bins between the smallest and the largest value.
///
/// Integers get bins of integer width centred on them, which may reduce their number. Values that are not finite are left out, and a
/// note counts them.
///
/// # Errors
/// [`Error::Argument`] if no value is finite, or `bins` is out of range.
pub fn histogram(title: &str, x_label: &str, values: &[f64], bins: usize) -> Result<Figure> {
    if !(1..=MOST_BINS).contains(&bins) {
        return Err(Error::argument(
            format!("a histogram of {bins} bins"),
            format!("Ask for 1 to {MOST_BINS} bins; 20 to 50 are usual."),
        ));
    }
    let mut finite: Vec<f64> = values.iter().copied().filter(|value| is_drawable(*value)).collect();
    if finite.is_empty() {
        let problem =
            if values.is_empty() { "a histogram of no values" } else { "no value of the histogram is finite" };
        return Err(Error::argument(problem, "Give at least one finite value."));
    }
    finite.sort_by(f64::total_cmp);
    let bins = Bins::new(&finite, bins);
    let most = bins.counts.iter().copied().max().unwrap_or(0);
    let (low, high) = (bins.edge(0), bins.edge(bins.counts.len()));
    let x = Axis::new(low, high, Scale::Linear, Reach::Exact, 10);
    let y = Axis::new(0.0, most as f64, Scale::Linear, Reach::Ticks, 6);

    let summary = Summary::new(&finite);
    let mut notes = vec![summary.line()];
    let missing = values.len() - finite.len();
    if missing > 0 {
        notes.push(format!("Left out: {}, not a finite number.", counted(missing, "value", "values")));
    }
    let frame = Frame { title, notes, legend: Vec::new() };
    let mut sheet = frame.sheet(HEIGHT)?;
    sheet.plot((x_label, &x), ("how many", &y), |plot| {
        let gap = (high - low) / bins.counts.len() as f64 * if bins.counts.len() > 120 { 0.0 } else { 0.04 };
        let bar = |(index, &count): (usize, &usize)| {
            let corners = [(bins.edge(index) + gap, 0.0), (bins.edge(index + 1) - gap, count as f64)];
            Rectangle::new(corners, Mark::new(0).ink().rgb().filled())
        };
        plot.draw_series(bins.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(bar))?;
        Ok(())
    })?;
    let peak = bins.counts.iter().position(|&count| count == most).unwrap_or(0);
    let mut text = format!(
        "{} {x_label}: {} The fullest of {} holds {} {}.",
        headed("Histogram", title),
        summary.line(),
        counted(bins.counts.len(), "bin", "bins"),
        counted(most, "value", "values"),
        bins.described(peak),
    );
    frame.notes.iter().skip(1).for_each(|note| text += &format!(" {note}"));
    sheet.finish(&one_paragraph(&text))
}

/// Equal bins with their counts.
struct Bins {
    first: f64,
    width: f64,
    whole: bool,
    counts: Vec<usize>,
}

impl Bins {
    /// Bins for sorted, finite values.
    fn new(sorted: &[f64], count: usize) -> Self {
        let (low, high) = (sorted.first().copied().unwrap_or(0.0), sorted.last().copied().unwrap_or(0.0));
        let whole = sorted.iter().all(|value| value.fract() == 0.0) && low.abs().max(high.abs()) < 1e12;
        let (first, width, count) = if whole {
            let width = ((high - low + 1.0) / count as f64).ceil();
            (low - 0.5, width, ((high - low + 1.0) / width).ceil() as usize)
        } else {
            let width = (high - low) / count as f64;
            if width <= (low.abs().max(high.abs()) * 1e-12).max(SMALLEST) {
                (low - 0.5, 1.0, 1)
            } else {
                (low, width, count)
            }
        };
        let mut counts = vec![0; count.max(1)];
        let last = counts.len() - 1;
        for value in sorted {
            let index = ((value / width - first / width) as usize).min(last);
            if let Some(count) = counts.get_mut(index) {
                *count += 1;
            }
        }
        Self { first, width, whole, counts }
    }

    fn edge(&self, index: usize) -> f64 {
        self.first + self.width * index as f64
    }

    /// Formats `at 11`, `from 10 to 14`.
    fn described(&self, index: usize) -> String {
        let (low, high) = (self.edge(index), self.edge(index + 1));
        match self.whole {
            true if self.width == 1.0 => format!("at {}", number(low + 0.5)),
            true => format!("from {} to {}", number(low + 0.5), number(high - 0.5)),
            false => format!("from {} to {}", number(low), number(high)),
        }
    }
}

/// Summary statistics of sorted values.
struct Summary {
    count: usize,
    low: f64,
    high: f64,
    mean: f64,
    median: f64,
}

impl Summary {
    fn new(sorted: &[f64]) -> Self {
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let (count, middle) = (sorted.len(), sorted.len() / 2);
        let median = if count % 2 == 1 { at(middle) } else { (at(middle - 1) + at(middle)) / 2.0 };
        let mean = sorted.iter().map(|value| value / count as f64).sum();
        Self { count, low: at(0), high: at(count - 1), mean, median }
    }

    fn line(&self) -> String {
        let [low, high, mean, median] = [self.low, self.high, self.mean, self.median].map(number);
        let count = counted(self.count, "value", "values");
        format!("{count} from {low} to {high}, median {median}, mean {mean}.")
    }
}
