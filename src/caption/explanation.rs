//! What a captioner thinks of a caption, word by word.

use std::fmt;
use std::time::Duration;

use super::Caption;
use crate::data::BoundingBox;

/// A caption in the eyes of a captioner, word by word.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The words, and the end of the caption.
    pub words: Vec<ExplainedWord>,
    /// The regions of the picture, the whole picture first, in pixels.
    pub boxes: Vec<BoundingBox>,
}

/// What a captioner says of one picture, what it looked at, and how long that took: [`Captioner::describe`](super::Captioner::describe).
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The best first.
    pub captions: Vec<Caption>,
    /// Of the best caption.
    pub explanation: Explanation,
    /// Finding the regions and computing their features.
    pub encode: Duration,
    /// Choosing the words.
    pub speak: Duration,
    /// Asking for the probability and the attention of each word.
    pub explain: Duration,
}

/// A word of a caption, given the picture and the words before it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedWord {
    /// The word; `<end>` for the end of the caption.
    pub word: String,
    /// Its probability, in `0.0..=1.0`.
    pub probability: f64,
    /// The most probable words at this place with their probabilities, the most probable first.
    pub most_probable: Vec<(String, f64)>,
    /// How much each region is attended to; the weights sum to 1. Empty where the captioner has no attention.
    pub attention: Vec<f32>,
}

impl Explanation {
    /// The natural logarithm of the caption's probability, its end included.
    pub fn log_probability(&self) -> f64 {
        self.words.iter().map(|word| word.probability.ln()).sum()
    }

    /// The words of the caption without its end.
    pub fn said(&self) -> &[ExplainedWord] {
        &self.words[..self.words.len().saturating_sub(1)]
    }
}

impl ExplainedWord {
    /// The region that is attended to most, an index into [`Explanation::boxes`]; `None` without attention.
    pub fn region(&self) -> Option<usize> {
        // Of equal weights the first.
        (0..self.attention.len()).rev().max_by(|&a, &b| self.attention[a].total_cmp(&self.attention[b]))
    }
}

crate::in_cells::shown_in_cells!(Described, Explanation);

/// Displays a line for each word with its probability, and what else was probable.
impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "log probability {:.2}", self.log_probability())?;
        self.words.iter().try_for_each(|ExplainedWord { word, probability, most_probable, .. }| {
            let others: Vec<String> = most_probable
                .iter()
                .filter(|(other, _)| other != word)
                .map(|(other, probability)| format!("{other} {probability:.2}"))
                .collect();
            write!(formatter, "\n{word:<12} {probability:.2}   {}", others.join(", "))
        })
    }
}

/// Displays the captions with their log probabilities, and the milliseconds of each stage.
impl fmt::Display for Described {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for caption in &self.captions {
            writeln!(formatter, "{caption}  ({:.2})", caption.log_probability)?;
        }
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        let Self { encode, speak, explain, .. } = self;
        write!(
            formatter,
            "{:.1} ms to encode, {:.1} ms to speak, {:.1} ms to explain",
            milliseconds(*encode),
            milliseconds(*speak),
            milliseconds(*explain)
        )
    }
}
