//! How a caption is chosen word by word: greedily, by sampling, or by beam search.

mod beam;
mod sample;

pub(super) use beam::beam_search;
pub(super) use sample::sample;

use serde::{Deserialize, Serialize};

use crate::error::check_range;
use crate::{Error, Result};

/// How a caption is chosen from the generator's probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decoding {
    /// Divides the logits before the softmax; 0 or more. At 0 the most probable word is taken, at 1 words are drawn from the model's
    /// own distribution, and the higher it is, the more alike the probabilities are. Default: 0.
    pub temperature: f64,
    /// Most words of a caption, in `1..=1000`. Default: 30.
    pub max_words: usize,
    /// Beam width, in `1..=1000`: how many hypotheses are kept at each step. 1 keeps the most probable word alone. A wider beam
    /// needs a temperature of 0. Default: 1.
    pub beam: usize,
    /// The same seed draws the same captions. Not used at temperature 0. Default: 0.
    pub seed: u64,
}

impl Default for Decoding {
    fn default() -> Self {
        Self::greedy()
    }
}

impl Decoding {
    /// The most probable word each time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, max_words: 30, beam: 1, seed: 0 }
    }

    /// Words drawn at a temperature.
    pub fn temperature(temperature: f64, seed: u64) -> Self {
        Self { temperature, seed, ..Self::greedy() }
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
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::config("decoding.temperature", self.temperature, "must be 0 or more"));
        }
        check_range("decoding.max_words", self.max_words, 1..=1000)?;
        check_range("decoding.beam", self.beam, 1..=1000)?;
        if self.beam > 1 && self.temperature > 0.0 {
            return Err(Error::config("decoding.beam", self.beam, "must be 1 where words are drawn at a temperature"));
        }
        Ok(())
    }
}
