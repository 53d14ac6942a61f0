//! The sizes of a captioner, and how it is trained: the paper's, the course's, and a small one for the lessons.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::{VocabularyConfig, lessons_are_small};
use crate::train::{GradientClipping, OptimiserConfig, Run, RunSettings, Schedule};
use crate::vision::SmallCnnConfig;
use crate::{Error, Result};

/// When the generator sees the image vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageEntry {
    /// Beside the first word only, as in the paper, which found it to work better.
    FirstStep,
    /// Beside every word, as in the course.
    EveryStep,
}

/// The sizes of a captioner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionerConfig {
    /// The network that looks at the picture.
    pub encoder: SmallCnnConfig,
    /// Numbers in the vector of a word.
    pub word_size: usize,
    /// Numbers in the image vector, which is a ReLU layer on the encoder's feature.
    pub image_size: usize,
    /// Numbers in the LSTM's state.
    pub hidden_size: usize,
    pub image_entry: ImageEntry,
    /// The share of a word vector's numbers that is dropped in training, in `0..1`.
    pub word_dropout: f64,
    /// The share of the image vector's numbers that is dropped in training, in `0..1`.
    pub image_dropout: f64,
    /// The share of the LSTM's outputs that is dropped before the words are scored, in `0..1`.
    pub output_dropout: f64,
}

impl CaptionerConfig {
    /// The course's: an LSTM of 512 that sees the image at every step.
    pub fn course() -> Self {
        Self {
            encoder: SmallCnnConfig { image_size: 128, ..SmallCnnConfig::default() },
            word_size: 512,
            image_size: 512,
            hidden_size: 512,
            image_entry: ImageEntry::EveryStep,
            word_dropout: 0.5,
            image_dropout: 0.0,
            output_dropout: 0.0,
        }
    }

    /// The paper's: the image enters at the first step only, and everything but the recurrence has dropout.
    pub fn paper() -> Self {
        Self { image_entry: ImageEntry::FirstStep, image_dropout: 0.5, output_dropout: 0.5, ..Self::course() }
    }

    /// A small one for the project's own pictures, whose captions use some three hundred words.
    pub fn scenes() -> Self {
        Self {
            encoder: SmallCnnConfig::default(),
            word_size: 64,
            image_size: 128,
            hidden_size: 128,
            image_entry: ImageEntry::EveryStep,
            word_dropout: 0.1,
            image_dropout: 0.1,
            output_dropout: 0.1,
        }
    }

    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        self.encoder.validate()?;
        for (field, value) in
            [("word_size", self.word_size), ("image_size", self.image_size), ("hidden_size", self.hidden_size)]
        {
            if value == 0 || value > 16_384 {
                return Err(Error::config(format!("captioner.{field}"), value, "must be in 1..=16384"));
            }
        }
        for (field, value) in [
            ("word_dropout", self.word_dropout),
            ("image_dropout", self.image_dropout),
            ("output_dropout", self.output_dropout),
        ] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::config(format!("captioner.{field}"), value, "must be in 0..1"));
            }
        }
        Ok(())
    }
}

/// How a captioner is trained.
///
/// ```
/// use captionlab::caption::CaptionTraining;
/// let mut training = CaptionTraining::scenes();
/// training.run.epochs = 5;
/// training.validate()?;
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionTraining {
    pub captioner: CaptionerConfig,
    /// The folder of an eye's run ([`train_eye`](super::train_eye)): its network looks at the pictures, and stays as it is.
    /// Without one, a new network learns to look together with the words.
    pub eye: Option<PathBuf>,
    /// Which words of the training captions it learns.
    pub vocabulary: VocabularyConfig,
    /// Longer captions are cut after so many words.
    pub max_words: usize,
    /// How many of a picture's captions are learnt at a time, drawn anew in each epoch.
    pub captions_per_picture: usize,
    /// Pictures are moved by up to so many pixels, drawn at each step, so that fewer are learnt by heart. Never mirrored:
    /// left and right are words.
    pub shift_pixels: usize,
    pub run: RunSettings,
}

impl CaptionTraining {
    /// The course's: RMSprop with 10⁻⁴, gradients clipped at norm 5, batches of 100, the 5,000 most frequent words.
    pub fn course() -> Self {
        Self {
            captioner: CaptionerConfig::course(),
            eye: None,
            vocabulary: VocabularyConfig { min_count: 1, max_size: Some(5000) },
            max_words: 40,
            captions_per_picture: 1,
            shift_pixels: 0,
            run: RunSettings::default(),
        }
    }

    /// The paper's: gradients clipped element by element, words seen at least five times.
    pub fn paper() -> Self {
        Self {
            captioner: CaptionerConfig::paper(),
            vocabulary: VocabularyConfig { min_count: 5, max_size: None },
            run: RunSettings { clip: GradientClipping::Value(5.0), ..RunSettings::default() },
            ..Self::course()
        }
    }

    /// For the lessons: small, Adam, all five captions of a picture at a time; best with an eye that has learnt before.
    pub fn scenes() -> Self {
        Self {
            captioner: CaptionerConfig::scenes(),
            vocabulary: VocabularyConfig { min_count: 2, max_size: None },
            captions_per_picture: 5,
            shift_pixels: 6,
            run: RunSettings {
                epochs: 6,
                batch_pictures: 64,
                workers: 2,
                optimiser: OptimiserConfig::adam(3e-3),
                schedule: Schedule::Cosine { warmup_steps: 50 },
                ..RunSettings::default()
            },
            ..Self::course()
        }
    }

    /// [`CaptionTraining::scenes`] with the eye of a run, cut to two epochs where the lessons are only tried out (see
    /// [`lessons_are_small`]).
    pub fn for_lessons(eye: &Run) -> Self {
        let mut training = Self { eye: Some(eye.folder().to_path_buf()), ..Self::scenes() };
        if lessons_are_small() {
            training.run.epochs = 2;
        }
        training
    }

    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        self.captioner.validate()?;
        self.vocabulary.validate()?;
        for (field, value, range) in
            [("max_words", self.max_words, 1..=1000), ("captions_per_picture", self.captions_per_picture, 1..=1000)]
        {
            if !range.contains(&value) {
                let expected = format!("must be in {}..={}", range.start(), range.end());
                return Err(Error::config(field, value, expected));
            }
        }
        validate_shift(self.shift_pixels, self.captioner.encoder.image_size)?;
        self.run.validate()
    }
}

pub(super) fn validate_shift(shift_pixels: usize, image_size: usize) -> Result<()> {
    let bound = image_size / 2;
    match shift_pixels <= bound {
        true => Ok(()),
        false => {
            Err(Error::config("shift_pixels", shift_pixels, format!("must be in 0..={bound}, half of the picture")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_survive_being_saved() {
        for training in [CaptionTraining::course(), CaptionTraining::paper(), CaptionTraining::scenes()] {
            training.validate().unwrap();
            let text = serde_json::to_string(&training).unwrap();
            assert_eq!(serde_json::from_str::<CaptionTraining>(&text).unwrap(), training);
        }
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = CaptionTraining::scenes;
        let sized = |captioner: CaptionerConfig| CaptionTraining { captioner, ..good() };
        for (training, field) in [
            (sized(CaptionerConfig { word_size: 0, ..CaptionerConfig::scenes() }), "captioner.word_size"),
            (sized(CaptionerConfig { image_size: 20_000, ..CaptionerConfig::scenes() }), "captioner.image_size"),
            (sized(CaptionerConfig { hidden_size: 0, ..CaptionerConfig::scenes() }), "captioner.hidden_size"),
            (sized(CaptionerConfig { word_dropout: 1.0, ..CaptionerConfig::scenes() }), "captioner.word_dropout"),
            (sized(CaptionerConfig { image_dropout: -0.1, ..CaptionerConfig::scenes() }), "captioner.image_dropout"),
            (
                sized(CaptionerConfig { output_dropout: f64::NAN, ..CaptionerConfig::scenes() }),
                "captioner.output_dropout",
            ),
            (CaptionTraining { max_words: 0, ..good() }, "max_words"),
            (CaptionTraining { captions_per_picture: 0, ..good() }, "captions_per_picture"),
            (CaptionTraining { shift_pixels: 49, ..good() }, "shift_pixels"),
            (CaptionTraining { run: RunSettings { workers: 0, ..good().run }, ..good() }, "workers"),
        ] {
            let error = training.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }
}
