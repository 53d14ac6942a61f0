//! Axes: range, ticks and number formatting.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::curves::Scale;

/// Smaller spans, relative to the values, count as a single value, because of rounding.
const SMALLEST_SPAN: f64 = 1e-9;

/// Beyond this, the span of two values could be infinite.
const LARGEST: f64 = 1e300;

/// Below this, arithmetic loses precision; drawn as 0.
pub(super) const SMALLEST: f64 = 1e-290;

/// Whether a value can be drawn: it and its distance to any other such value are finite.
pub(super) fn is_drawable(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// An axis: its range and ticks. Positions are those of [`Axis::place`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub scale: Scale,
    /// First position.
    pub low: f64,
    /// Last position.
    pub high: f64,
    /// Positions with labels.
    pub ticks: Vec<(f64, String)>,
    /// Positions of minor grid lines.
    pub minor: Vec<f64>,
}

/// How far an axis extends beyond its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not at all, as for a histogram, whose edges are exact.
    Exact,
    /// By a margin, so that nothing touches the frame.
    Margin,
    /// To the next tick.
    Ticks,
}

impl Axis {
    /// An axis for values between `low` and `high`, with about `count` labelled ticks.
    pub fn new(low: f64, high: f64, scale: Scale, reach: Reach, count: usize) -> Self {
        match scale {
            Scale::Linear => Self::linear(low, high, reach, count),
            Scale::Logarithmic => Self::logarithmic(low, high, reach, count),
        }
    }

    fn linear(low: f64, high: f64, reach: Reach, count: usize) -> Self {
        let (mut low, mut high) = opened(low, high);
        if reach == Reach::Margin {
            let margin = (high - low) * 0.02;
            (low, high) = (low - margin, high + margin);
        }
        let step = nice_step((high - low) / count.max(1) as f64);
        if reach == Reach::Ticks {
            let (first, last) = ((low / step + 1e-6).floor() * step, (high / step - 1e-6).ceil() * step);
            (low, high) = (first.min(low), last.max(high));
        }
        let first = (low / step - 1e-6).ceil();
        let last = (high / step + 1e-6).floor();
        // A few suffice; the bound is for spans at the limit of floating point.
        let numbers = (0..64).map(|i| first + f64::from(i)).take_while(|&i| i <= last);
        // `+ 0.0` turns −0 into 0.
        let ticks = numbers.map(|i| (i * step + 0.0, with_step(i * step + 0.0, step))).collect();
        Self { scale: Scale::Linear, low, high, ticks, minor: Vec::new() }
    }

    fn logarithmic(low: f64, high: f64, reach: Reach, count: usize) -> Self {
        let (mut low, mut high) = (low.log10(), high.log10());
        if high - low < 0.05 {
            (low, high) = (low - 0.15, high + 0.15);
        }
        let margin = match reach {
            Reach::Exact => 0.0,
            Reach::Margin | Reach::Ticks => (high - low) * 0.03,
        };
        (low, high) = (low - margin, high + margin);
        let inside = |position: &f64| (low - 1e-9..=high + 1e-9).contains(position);
        let decades = low.floor() as i32..=high.ceil() as i32;
        let at = |decade: i32, digit: u32| f64::from(decade) + f64::from(digit).log10();
        let labelled: &[u32] = match decades.clone().filter(|&decade| inside(&f64::from(decade))).count() {
            0 | 1 => &[1, 2, 3, 5, 7],
            2 => &[1, 2, 5],
            _ => &[1],
        };
        let every = ((high - low) / count.max(1) as f64).ceil().max(1.0) as i32;
        let ticks = decades
            .clone()
            .filter(|decade| decade.rem_euclid(every) == 0)
            .flat_map(|decade| labelled.iter().map(move |&digit| (decade, digit)))
            .map(|(decade, digit)| (at(decade, digit), power(decade, digit)))
            .filter(|(position, _)| inside(position))
            .collect();
        let minor = decades.flat_map(|decade| (1..10).map(move |digit| at(decade, digit))).filter(inside).collect();
        Self { scale: Scale::Logarithmic, low, high, ticks, minor }
    }

    /// The position of a value on the axis; `None` if it has none.
    pub fn place(scale: Scale, value: f64) -> Option<f64> {
        match scale {
            Scale::Linear => is_drawable(value).then_some(value),
            Scale::Logarithmic => (is_drawable(value) && value > 0.0).then(|| value.log10()),
        }
    }
}

/// Plotters receives positions, see [`Axis::place`], as values.
impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (place - self.low) / (self.high - self.low);
        (f64::from(from) + part * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            self.minor.clone()
        } else {
            self.ticks.iter().map(|(place, _)| *place).collect()
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        self.ticks.iter().find(|(at, _)| at == place).map_or_else(String::new, |(_, label)| label.clone())
    }
}

/// A span wide enough to draw: a single value gets room on both sides.
fn opened(low: f64, high: f64) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    if high - low > (size * SMALLEST_SPAN).max(SMALLEST) {
        (low, high)
    } else {
        let room = if size < SMALLEST { 1.0 } else { size * 0.1 };
        (low - room, high + room)
    }
}

/// The smallest of 1, 2, 5 × a power of ten that is at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|&nice| nice >= step * 0.999).unwrap_or(step)
}

/// Formats a tick of this step, with the same decimals for all ticks.
fn with_step(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let size = value.abs().max(step);
    if !(1e-4..1e9).contains(&size) {
        return scientific(value);
    }
    let decimals = (-step.log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
    grouped(&format!("{value:.decimals$}"))
}

/// `digit` × 10^`decade`, written out where that is short.
fn power(decade: i32, digit: u32) -> String {
    match decade {
        0..=5 => grouped(&(u64::from(digit) * 10u64.pow(decade.unsigned_abs())).to_string()),
        -3..=-1 => format!("{:.1$}", f64::from(digit) * 10f64.powi(decade), decade.unsigned_abs() as usize),
        _ if digit == 1 => format!("10{}", raised(decade)),
        _ => format!("{digit}×10{}", raised(decade)),
    }
}

/// Formats a number for reading: about three digits, with thousands separators.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-4..1e9).contains(&size) {
        scientific(value)
    } else if size >= 100.0 || value.fract() == 0.0 {
        grouped(&format!("{value:.0}"))
    } else {
        let decimals = (2 - size.log10().floor() as i32).max(0) as usize;
        let text = format!("{value:.decimals$}");
        grouped(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Formats a score with two decimals; large ones as [`number`].
pub(super) fn score_text(score: f32) -> String {
    if score.abs() >= 1000.0 {
        return number(f64::from(score));
    }
    // Rounded first, then `+ 0.0` turns −0 into 0.
    grouped(&format!("{:.2}", (f64::from(score) * 100.0).round() / 100.0 + 0.0))
}

/// Formats numbers to compare: all with the most decimals that one of them needs.
pub(super) fn numbers(values: &[f64]) -> Vec<String> {
    let texts: Vec<String> = values.iter().map(|&value| number(value)).collect();
    if texts.iter().any(|text| text.contains('×')) {
        return texts;
    }
    let decimals = |text: &String| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let most = texts.iter().map(decimals).max().unwrap_or(0);
    values.iter().map(|value| grouped(&format!("{:.most$}", value + 0.0))).collect()
}

/// Formats `1.2×10⁻⁵`.
fn scientific(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "not a number".into()
        } else {
            format!("{}∞", if value < 0.0 { "−" } else { "" })
        };
    }
    let text = format!("{value:.2e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    format!("{}×10{}", digits.replace('-', "−"), raised(exponent.parse().unwrap_or(0)))
}

fn raised(exponent: i32) -> String {
    let raise = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32(0x2070 + c.to_digit(10).unwrap_or(0)).unwrap_or(c),
        _ => c,
    };
    exponent.to_string().chars().map(raise).collect()
}

/// Adds thousands separators, and a true minus sign.
pub(super) fn grouped(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("−", rest));
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_axes_carry_round_numbers() {
        let cases: &[(f64, f64, &[&str])] = &[
            (0.0, 5.1, &["0", "1", "2", "3", "4", "5", "6"]),
            (0.0, 3000.0, &["0", "500", "1,000", "1,500", "2,000", "2,500", "3,000"]),
            (-1.0, 1.0, &["−1.0", "−0.5", "0", "0.5", "1.0"]),
            (0.61, 0.66, &["0.61", "0.62", "0.63", "0.64", "0.65", "0.66"]),
            (7.0, 7.0, &["6.0", "6.5", "7.0", "7.5", "8.0"]),
        ];
        for (low, high, expected) in cases {
            assert_eq!(labels(&Axis::new(*low, *high, Scale::Linear, Reach::Ticks, 6)), *expected, "{low}..{high}");
        }
    }

    #[test]
    fn logarithmic_axes_carry_powers_of_ten() {
        let zipf = Axis::new(1.0, 230_000.0, Scale::Logarithmic, Reach::Margin, 6);
        assert_eq!(labels(&zipf), ["1", "10", "100", "1,000", "10,000", "100,000"]);
        let rates = Axis::new(1e-5, 1e-3, Scale::Logarithmic, Reach::Margin, 6);
        assert_eq!(labels(&rates), ["10⁻⁵", "10⁻⁴", "0.001"]);
        let short = Axis::new(20.0, 60.0, Scale::Logarithmic, Reach::Margin, 6);
        assert_eq!(labels(&short), ["20", "30", "50"]);
    }

    #[test]
    fn an_axis_spans_its_values_and_stays_finite_whatever_they_are() {
        let ends = [-1e300, -1e15 - 0.5, -1e-300, 0.0, 1e-300, 5e-324, 0.1, 1.0, 1e15, 1e15 + 0.125, 1e300];
        for low in ends {
            for high in ends.into_iter().filter(|&high| high >= low) {
                for reach in [Reach::Exact, Reach::Margin, Reach::Ticks] {
                    let scales: &[Scale] =
                        if low > 0.0 { &[Scale::Linear, Scale::Logarithmic] } else { &[Scale::Linear] };
                    for &scale in scales {
                        let axis = Axis::new(low, high, scale, reach, 6);
                        let (first, last) = (Axis::place(scale, low).unwrap(), Axis::place(scale, high).unwrap());
                        assert!(
                            axis.low <= first && axis.high >= last && axis.low < axis.high,
                            "{low}..{high}: {axis:?}"
                        );
                        assert!(axis.low.is_finite() && axis.high.is_finite() && axis.ticks.len() <= 16, "{axis:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        let cases = [
            (0.0, "0"),
            (5.1, "5.1"),
            (1234.5, "1,234"),
            (155_070.0, "155,070"),
            (0.0625, "0.0625"),
            (-0.5, "−0.5"),
            (1e-5, "1×10⁻⁵"),
            (2.5e12, "2.5×10¹²"),
            (f64::NAN, "not a number"),
            (f64::NEG_INFINITY, "−∞"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        for (score, text) in [(0.805, "0.81"), (-0.5, "−0.50"), (-0.001, "0.00"), (12.0, "12.00"), (2.5e12, "2.5×10¹²")]
        {
            assert_eq!(score_text(score), text);
        }
        assert_eq!(numbers(&[0.18, 0.195, -0.0, -1200.0]), ["0.180", "0.195", "0.000", "−1,200.000"]);
    }
}
