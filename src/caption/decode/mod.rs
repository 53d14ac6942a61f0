//! How captions are chosen word by word: greedily, by sampling, or by beam search.

mod beam;
mod sample;

pub(super) use sample::draw_word;

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::generator::{DecoderState, Generator};
use crate::data::Vocabulary;
use crate::error::check_range;
use crate::{Error, Result};

/// How a caption is chosen from the generator's probabilities.
///
/// ```
/// use captionlab::caption::Decoding;
/// let beam = Decoding { length_penalty: 0.6, no_repeat_ngram: Some(2), ..Decoding::beam(5) };
/// beam.validate()?;
/// let error = Decoding { beam: 5, ..Decoding::nucleus(0.9, 1) }.validate().unwrap_err().to_string();
/// assert!(error.starts_with("decoding.beam = 5"));
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decoding {
    /// Divides the logits before the softmax; 0 or more. At 0 the most probable word is taken, at 1 words are drawn from the model's
    /// own distribution, and the higher it is, the more alike the probabilities are. Default: 0.
    pub temperature: f64,
    /// Words are drawn from so many of the most probable ones, at least 1; `None` for all. Default: `None`.
    pub top_k: Option<usize>,
    /// Words are drawn from the most probable ones whose probabilities together reach this share, in `0..=1` without 0 (Holtzman et
    /// al. 2020, *The Curious Case of Neural Text Degeneration*). Default: 1, all.
    pub nucleus: f64,
    /// The same seed draws the same captions. Not used at temperature 0. Default: 0.
    pub seed: u64,
    /// Most words of a caption, in `1..=1000`. Default: 30.
    pub max_words: usize,
    /// Fewest words of a caption, at most `max_words`. Default: 0.
    pub min_words: usize,
    /// No sequence of so many words stands twice in a caption; at least 1, `None` for no such rule. Default: `None`.
    pub no_repeat_ngram: Option<usize>,
    /// Beam width, in `1..=1000`: how many hypotheses are kept at each step. 1 keeps the most probable word alone. A wider beam
    /// needs a temperature of 0. Default: 1.
    pub beam: usize,
    /// Hypotheses are ranked by their log probability divided by `((5 + length) / 6)` to this power (Wu et al. 2016, equation 14), 0 or
    /// more. The larger it is, the longer the captions. Default: 0, the log probability itself, as in the paper's own code.
    pub length_penalty: f64,
    /// The beam is divided into so many groups, each of which avoids the words of those before it (Vijayakumar et al. 2018, *Diverse
    /// Beam Search*); a divisor of `beam`. Default: 1.
    pub groups: usize,
    /// What a word loses of its log probability for each hypothesis of an earlier group that takes it at the same step, 0 or more.
    /// Default: 0.5.
    pub diversity: f64,
    /// How many captions of each picture a beam search returns, in `1..=beam`. Default: 1.
    pub best: usize,
}

impl Default for Decoding {
    fn default() -> Self {
        Self::greedy()
    }
}

impl Decoding {
    /// The most probable word each time.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            nucleus: 1.0,
            seed: 0,
            max_words: 30,
            min_words: 0,
            no_repeat_ngram: None,
            beam: 1,
            length_penalty: 0.0,
            groups: 1,
            diversity: 0.5,
            best: 1,
        }
    }

    /// Words drawn at a temperature.
    pub fn temperature(temperature: f64, seed: u64) -> Self {
        Self { temperature, seed, ..Self::greedy() }
    }

    /// Words drawn from the model's own distribution, among the most probable ones that together have this share.
    pub fn nucleus(share: f64, seed: u64) -> Self {
        Self { nucleus: share, ..Self::temperature(1.0, seed) }
    }

    /// The most probable caption that a beam search of that width finds.
    pub fn beam(width: usize) -> Self {
        Self { beam: width, ..Self::greedy() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let at_least_zero = |name: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(Error::config(name, value, "must be 0 or more")),
        };
        at_least_zero("decoding.temperature", self.temperature)?;
        check_range("decoding.top_k", self.top_k.unwrap_or(1), 1..=usize::MAX)?;
        if !(self.nucleus > 0.0 && self.nucleus <= 1.0) {
            return Err(Error::config("decoding.nucleus", self.nucleus, "must be more than 0, and at most 1"));
        }
        check_range("decoding.max_words", self.max_words, 1..=1000)?;
        check_range("decoding.min_words", self.min_words, 0..=self.max_words)?;
        check_range("decoding.no_repeat_ngram", self.no_repeat_ngram.unwrap_or(1), 1..=1000)?;
        check_range("decoding.beam", self.beam, 1..=1000)?;
        at_least_zero("decoding.length_penalty", self.length_penalty)?;
        if self.groups == 0 || !self.beam.is_multiple_of(self.groups) {
            let expected = format!("must divide the beam, which is {} wide, into equal groups", self.beam);
            return Err(Error::config("decoding.groups", self.groups, expected));
        }
        at_least_zero("decoding.diversity", self.diversity)?;
        check_range("decoding.best", self.best, 1..=self.beam)?;
        if self.beam > 1 && self.temperature > 0.0 {
            return Err(Error::config("decoding.beam", self.beam, "must be 1 where words are drawn at a temperature"));
        }
        Ok(())
    }

    /// What a log probability counts by in a ranking of hypotheses of `words` words and their end.
    fn score(&self, log_probability: f64, words: usize) -> f64 {
        log_probability / ((5.0 + (words + 1) as f64) / 6.0).powf(self.length_penalty)
    }

    /// Makes words impossible that a hypothesis must not take next: its end where it is too short, and words that would repeat a
    /// sequence. `log_probabilities` is `[hypotheses, vocabulary]`.
    fn constrain(&self, log_probabilities: &Tensor, hypotheses: &[&[i64]]) -> Result<()> {
        for (row, words) in (0..).zip(hypotheses) {
            let mut barred = Vec::new();
            if words.len() < self.min_words {
                barred.push(Vocabulary::END);
            }
            if let Some(length) = self.no_repeat_ngram
                && let Some(first) = (words.len() + 1).checked_sub(length)
            {
                let (begin, windows) = (&words[first..], words.windows(length));
                barred.extend(windows.filter(|window| window[..length - 1] == *begin).map(|window| window[length - 1]));
            }
            if !barred.is_empty() {
                let _ = log_probabilities.f_get(row)?.f_index_fill_(
                    0,
                    &Tensor::from_slice(&barred).to_device(log_probabilities.device()),
                    f64::NEG_INFINITY,
                )?;
            }
        }
        Ok(())
    }

    fn has_constraints(&self) -> bool {
        self.min_words > 0 || self.no_repeat_ngram.is_some()
    }
}

/// A caption that was decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Ids of its words, without specials.
    pub words: Vec<i64>,
    /// The natural logarithm of its probability, its end included where it has one.
    pub log_probability: f64,
    /// Whether it has an end; otherwise it was cut at the most words.
    pub ended: bool,
}

/// What predicts next words: one generator, or several whose probabilities are averaged. A row stands for each hypothesis.
pub(super) struct Predictor<'a>(Vec<(&'a Generator, DecoderState)>);

impl<'a> Predictor<'a> {
    /// Generators of one vocabulary, each with the state of its own features.
    pub(super) fn new(members: Vec<(&'a Generator, DecoderState)>) -> Self {
        Self(members)
    }

    fn rows(&self) -> usize {
        self.0.first().map_or(0, |(_, state)| state.rows())
    }

    /// Keeps these rows, in this order; a row may be kept several times.
    fn select(&mut self, rows: &[usize]) {
        self.0.iter_mut().for_each(|(_, state)| state.select(rows));
    }

    /// Reads `words`, one a row, and returns the log probabilities of the words that may follow, `[rows, vocabulary]`.
    fn read(&mut self, words: &[i64], step: usize, kind: Kind) -> Result<Tensor> {
        let mut each = Vec::with_capacity(self.0.len());
        for (generator, state) in &mut self.0 {
            each.push(generator.step(state, words, step).f_log_softmax(1, kind)?);
        }
        match each.len() {
            1 => Ok(each.remove(0)),
            members => Ok(Tensor::f_stack(&each, 0)?.f_logsumexp([0i64].as_slice(), false)? - (members as f64).ln()),
        }
    }
}

/// The captions of each picture, the best first: as many as [`Decoding::best`] says, where there are as many.
///
/// `first` is the number of the first picture among all that are captioned with these settings.
pub(super) fn decode(predictor: Predictor<'_>, decoding: &Decoding, first: usize) -> Result<Vec<Vec<Hypothesis>>> {
    decoding.validate()?;
    tch::no_grad(|| match decoding.beam {
        1 => Ok(sample::sample(predictor, decoding, first)?.into_iter().map(|hypothesis| vec![hypothesis]).collect()),
        _ => beam::beam_search(predictor, decoding),
    })
}

#[cfg(test)]
pub(super) use beam::beam_search;
