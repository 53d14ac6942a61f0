//! The sizes of a captioner, and how it is trained: the paper's, the course's, and a small one for the lessons.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::{VocabularyConfig, lessons_are_small};
use crate::train::{Clip, OptimiserConfig, Run, RunSettings, Schedule};
use crate::vision::SmallCnnConfig;
use crate::{Device, Error, Result};

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
/// let training = CaptionTraining { epochs: 5, ..CaptionTraining::scenes() };
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
    /// How many times it goes over the training pictures.
    pub epochs: u64,
    /// Pictures in a step.
    pub batch_pictures: usize,
    /// Each step is shared among so many threads, each with its part of the pictures; their gradients are summed. On a GPU, 1
    /// is best. Another number gives other weights, bit for bit.
    pub workers: usize,
    /// How many of a picture's captions are learnt at a time, drawn anew in each epoch.
    pub captions_per_picture: usize,
    /// Pictures are moved by up to so many pixels, drawn at each step, so that fewer are learnt by heart. Never mirrored:
    /// left and right are words.
    pub shift_pixels: usize,
    pub optimiser: OptimiserConfig,
    pub schedule: Schedule,
    pub clip: Clip,
    /// Everything random follows from it: first weights, order, dropout.
    pub seed: u64,
    /// Where it is trained. Results are the same bit for bit on the CPU.
    #[serde(with = "crate::train::device")]
    pub device: Device,
    /// How many validation pictures are captioned after each epoch.
    pub sample_pictures: usize,
    /// Validation loss is measured on at most so many pictures.
    pub validation_pictures: usize,
    /// The decoded pictures may take so many bytes of memory.
    pub memory_limit: u64,
    /// A checkpoint is written after each epoch, and in between after so many seconds.
    pub checkpoint_seconds: f64,
    /// The folder of the run; `None` makes the next free `saved_models/runs/captioner-<number>`.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

impl CaptionTraining {
    /// The course's: RMSprop with 10⁻⁴, gradients clipped at norm 5, batches of 100, the 5,000 most frequent words.
    pub fn course() -> Self {
        Self {
            captioner: CaptionerConfig::course(),
            eye: None,
            vocabulary: VocabularyConfig { min_count: 1, max_size: Some(5000) },
            max_words: 40,
            epochs: 20,
            batch_pictures: 100,
            workers: 1,
            captions_per_picture: 1,
            shift_pixels: 0,
            optimiser: OptimiserConfig::rms_prop(1e-4),
            schedule: Schedule::Constant,
            clip: Clip::Norm(5.0),
            seed: 1,
            device: Device::Cpu,
            sample_pictures: 8,
            validation_pictures: 1000,
            memory_limit: 4 << 30,
            checkpoint_seconds: 60.0,
            folder: None,
        }
    }

    /// The paper's: gradients clipped element by element, words seen at least five times.
    pub fn paper() -> Self {
        Self {
            captioner: CaptionerConfig::paper(),
            vocabulary: VocabularyConfig { min_count: 5, max_size: None },
            clip: Clip::Value(5.0),
            ..Self::course()
        }
    }

    /// For the lessons: small, Adam, all five captions of a picture at a time; best with an eye that has learnt before.
    pub fn scenes() -> Self {
        Self {
            captioner: CaptionerConfig::scenes(),
            vocabulary: VocabularyConfig { min_count: 2, max_size: None },
            epochs: 6,
            batch_pictures: 64,
            workers: 2,
            captions_per_picture: 5,
            shift_pixels: 6,
            optimiser: OptimiserConfig::adam(3e-3),
            schedule: Schedule::Cosine { warmup_steps: 50 },
            ..Self::course()
        }
    }

    /// [`CaptionTraining::scenes`] with the eye of a run, cut to two epochs where the lessons are only tried out (see
    /// [`lessons_are_small`]).
    pub fn for_lessons(eye: &Run) -> Self {
        let full = Self::scenes();
        let epochs = if lessons_are_small() { 2 } else { full.epochs };
        Self { epochs, eye: Some(eye.folder().to_path_buf()), ..full }
    }

    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        self.captioner.validate()?;
        self.vocabulary.validate()?;
        for (field, value, range) in [
            ("max_words", self.max_words, 1..=1000),
            ("batch_pictures", self.batch_pictures, 1..=65_536),
            ("captions_per_picture", self.captions_per_picture, 1..=1000),
            ("sample_pictures", self.sample_pictures, 0..=1000),
        ] {
            if !range.contains(&value) {
                let expected = format!("must be in {}..={}", range.start(), range.end());
                return Err(Error::config(field, value, expected));
            }
        }
        validate_shift(self.shift_pixels, self.captioner.encoder.image_size)?;
        validate_device(self.device)?;
        self.run_settings().validate()
    }

    pub(crate) fn run_settings(&self) -> RunSettings {
        RunSettings {
            epochs: self.epochs,
            optimiser: self.optimiser,
            schedule: self.schedule,
            clip: self.clip,
            workers: self.workers,
            checkpoint_seconds: self.checkpoint_seconds,
        }
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

pub(super) fn validate_device(device: Device) -> Result<()> {
    match device {
        Device::Cuda(index) if index >= tch::Cuda::device_count().max(0) as usize => {
            let expected = format!("this machine has {} such devices; use Device::Cpu", tch::Cuda::device_count());
            Err(Error::config("device", crate::train::device_name(device), expected))
        }
        _ => Ok(()),
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
            (CaptionTraining { epochs: 0, ..good() }, "epochs"),
            (CaptionTraining { batch_pictures: 0, ..good() }, "batch_pictures"),
            (CaptionTraining { workers: 0, ..good() }, "workers"),
            (CaptionTraining { captions_per_picture: 0, ..good() }, "captions_per_picture"),
            (CaptionTraining { shift_pixels: 49, ..good() }, "shift_pixels"),
            (CaptionTraining { optimiser: OptimiserConfig::adam(0.0), ..good() }, "optimiser.learning_rate"),
            (CaptionTraining { optimiser: OptimiserConfig::rms_prop(-1.0), ..good() }, "optimiser.learning_rate"),
            (CaptionTraining { clip: Clip::Norm(0.0), ..good() }, "clip"),
            (CaptionTraining { checkpoint_seconds: f64::NAN, ..good() }, "checkpoint_seconds"),
            (CaptionTraining { device: Device::Cuda(99), ..good() }, "device"),
        ] {
            let error = training.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }
}
