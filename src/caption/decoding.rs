//! How a caption is chosen word by word.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a caption is chosen from the generator's probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Decoding {
    /// 0 takes the most probable word each time; 1 draws words as probable as the generator holds them; in between the
    /// probable ones win more often, above 1 less often.
    pub temperature: f64,
    /// A caption ends after so many words at the latest.
    pub max_words: usize,
    /// How many beginnings of a caption are followed at a time (*beam search*); 1 follows the most probable word alone. Only at
    /// temperature 0.
    pub beam: usize,
    /// Where draws come from: the same seed draws the same captions. Not used at temperature 0.
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

    /// The most probable caption that a search finds that follows so many beginnings at a time.
    pub fn beam(width: usize) -> Self {
        Self { beam: width, ..Self::greedy() }
    }

    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::config("decoding.temperature", self.temperature, "must be 0 or more"));
        }
        if self.max_words == 0 || self.max_words > 1000 {
            return Err(Error::config("decoding.max_words", self.max_words, "must be in 1..=1000"));
        }
        if self.beam == 0 || self.beam > 1000 {
            return Err(Error::config("decoding.beam", self.beam, "must be in 1..=1000"));
        }
        if self.beam > 1 && self.temperature > 0.0 {
            return Err(Error::config("decoding.beam", self.beam, "must be 1 where words are drawn at a temperature"));
        }
        Ok(())
    }
}
