//! The words of a caption with their probabilities.

use super::axis::score_text;
use super::canvas::Align;
use super::chart::{Frame, Sample, WIDTH};
use super::figure::{Figure, headed, one_paragraph};
use super::style::{Ink, MARGIN, Mark, TICK};
use super::text::{TextStyle, Typeface};
use crate::{Error, Result};

/// Height of a row, and of the bar in it.
const ROW: [f32; 2] = [46.0, 38.0];

/// Style of the words in bars.
const INSIDE: TextStyle = TextStyle::regular(20.0);

/// A word that was chosen, and what else could have been.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenWord {
    /// The word.
    pub word: String,
    /// Its probability, in `0.0..=1.0`.
    pub probability: f64,
    /// Other words with their probabilities, the most probable first.
    pub others: Vec<(String, f64)>,
}

/// Draws a bar for each word of a caption, from top to bottom: the share of the word that was chosen, and after it those of other words,
/// with their names where they fit.
///
/// ```
/// use captionlab::show::{ChosenWord, word_probabilities};
/// let word = |word: &str, probability, other: &str, rest| ChosenWord {
///     word: word.into(), probability, others: vec![(other.into(), rest)],
/// };
/// let figure = word_probabilities("Word by word", &[word("a", 0.9, "the", 0.05), word("dog", 0.6, "puppy", 0.3)])?;
/// assert_eq!(figure.alternative, "Word probabilities: Word by word. a 0.90 (the 0.05). dog 0.60 (puppy 0.30).");
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] without words, and for probabilities that are none or sum to more than 1.
pub fn word_probabilities(title: &str, words: &[ChosenWord]) -> Result<Figure> {
    if words.is_empty() {
        return Err(Error::argument("there are no words whose probabilities could be drawn", "Give at least one."));
    }
    for ChosenWord { word, probability, others } in words {
        let all = || others.iter().map(|(_, probability)| *probability).chain([*probability]);
        if all().any(|probability| !(0.0..=1.0).contains(&probability)) || all().sum::<f64>() > 1.0 + 1e-6 {
            return Err(Error::argument(
                format!("the probabilities at the word {word:?} are not in 0..=1, or sum to more than 1"),
                "Give those of different words.",
            ));
        }
    }
    let chosen = Mark::new(0);
    let frame = Frame { title, notes: Vec::new(), legend: vec![(chosen, Sample::Block, "chosen; grey: other words")] };
    let mut sheet = frame.sheet(ROW[0] * words.len() as f32 + MARGIN)?;
    let widest = |width: f32, word: &ChosenWord| width.max(sheet.canvas.typeface.width(&word.word, TICK));
    let left = (MARGIN + words.iter().fold(0.0, widest).min(260.0) + 14.0).round();
    let room = WIDTH - MARGIN - left - sheet.canvas.typeface.width("0.00", TICK) - 14.0;
    for (row, ChosenWord { word, probability, others }) in words.iter().enumerate() {
        let top = sheet.top + ROW[0] * row as f32;
        let middle = top + ROW[1] / 2.0;
        let baseline = |look| middle + Typeface::cap_height(look) / 2.0;
        let label = sheet.canvas.typeface.shorten(word, 260.0, TICK);
        sheet.canvas.text(&label, (left - 14.0, baseline(TICK)), Align::Right, TICK, Ink::TEXT);
        sheet.canvas.rectangle(left, top, room, ROW[1], Ink::PANEL);
        let mut x = left;
        let mut segment = |name: Option<&str>, share: f64, ink: Ink| {
            let width = (room * share as f32).round();
            let inner = (width - 2.0).max(0.0);
            sheet.canvas.rectangle(x, top, inner, ROW[1], ink);
            if let Some(name) = name.filter(|name| sheet.canvas.typeface.width(name, INSIDE) + 8.0 <= inner) {
                let at = (x + inner / 2.0, baseline(INSIDE));
                sheet.canvas.text(name, at, Align::Centre, INSIDE, ink.readable());
            }
            x += width;
        };
        segment(None, *probability, chosen.ink());
        others.iter().for_each(|(other, probability)| segment(Some(other), *probability, Ink::GRID));
        let (at, text) = ((left + room + 14.0, baseline(TICK)), score_text(*probability as f32));
        sheet.canvas.text(&text, at, Align::Left, TICK, Ink::TEXT);
    }
    let described = words.iter().map(|ChosenWord { word, probability, others }| {
        let others: Vec<String> =
            others.iter().map(|(other, probability)| format!("{other} {probability:.2}")).collect();
        match others.is_empty() {
            true => format!(" {word} {probability:.2}."),
            false => format!(" {word} {probability:.2} ({}).", others.join(", ")),
        }
    });
    sheet.finish(&one_paragraph(&format!("{}{}", headed("Word probabilities", title), described.collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(probability: f64, other: f64) -> ChosenWord {
        ChosenWord { word: "kite".into(), probability, others: vec![("ball".into(), other)] }
    }

    #[test]
    fn a_bar_is_as_long_as_its_word_is_probable() {
        let blue = |probability: f64| {
            let figure = word_probabilities("", &[word(probability, 0.0)]).unwrap();
            let image = image::load_from_memory(&figure.png).unwrap().to_rgb8();
            image.pixels().filter(|pixel| pixel.0 == Mark::new(0).ink().0).count() as f64
        };
        // The legend's sample is there always.
        let (none, half, whole) = (blue(0.0), blue(0.5), blue(1.0));
        assert!(((half - none) / (whole - none) - 0.5).abs() < 0.01, "{none} {half} {whole}");
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        for words in [&[][..], &[word(1.1, 0.0)], &[word(f64::NAN, 0.0)], &[word(0.7, 0.5)], &[word(0.5, -0.1)]] {
            assert!(word_probabilities("", words).is_err(), "{words:?}");
        }
    }
}
