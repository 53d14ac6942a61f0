//! Captioners that speak together.

use image::RgbImage;

use super::captioner::hypotheses;
use super::{Caption, Captioner, Decoding};
use crate::{Error, Result};

/// Captioners of one vocabulary, perhaps of different encoders: each next word has the mean of the probabilities that they give it.
#[derive(Debug)]
pub struct Ensemble {
    captioners: Vec<Captioner>,
}

impl Ensemble {
    /// Captioners that speak together.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are none, and when they know different words.
    pub fn new(captioners: Vec<Captioner>) -> Result<Self> {
        let Some(first) = captioners.first() else {
            return Err(Error::argument("there are no captioners to speak together", "Give at least one."));
        };
        let words = |captioner: &Captioner| captioner.vocabulary().words_by_frequency();
        if let Some(other) = captioners.iter().position(|captioner| captioner.vocabulary() != first.vocabulary()) {
            let (first, second) = (words(first).len(), words(&captioners[other]).len());
            return Err(Error::argument(
                format!(
                    "the captioners 1 and {} have different vocabularies, of {first} and {second} words",
                    other + 1
                ),
                "Take captioners that were trained on the same captions with the same settings of the vocabulary.",
            ));
        }
        Ok(Self { captioners })
    }

    /// Those who speak.
    pub fn captioners(&self) -> &[Captioner] {
        &self.captioners
    }

    /// Captions of each picture with their probabilities, as [`Captioner::hypotheses`].
    ///
    /// # Errors
    /// As [`Captioner::hypotheses`].
    pub fn hypotheses(&self, pictures: &[RgbImage], decoding: &Decoding) -> Result<Vec<Vec<Caption>>> {
        hypotheses(&self.captioners.iter().collect::<Vec<_>>(), pictures, decoding)
    }
}
