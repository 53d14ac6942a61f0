//! A whole captioner: pictures in, sentences out.

use std::path::Path;

use image::RgbImage;
use serde::Deserialize;
use serde_json::json;
use tch::{Device, Tensor};

use super::{CaptionerConfig, Decoding, Generator};
use crate::data::{Example, Vocabulary};
use crate::train::pictures::Pictures;
use crate::train::{CHECKPOINT_FILE, Run};
use crate::nn::{Weights, read_tensors, write_tensors};
use crate::vision::SmallCnn;
use crate::{Error, Result};

/// How many pictures are captioned at a time.
const BATCH: usize = 64;

/// What looks at pictures and what speaks of them, with the words it knows.
///
/// ```no_run
/// use captionlab::caption::{Captioner, Decoding};
/// use captionlab::data::images::decode;
/// let captioner = Captioner::load("saved_models/runs/captioner-1")?;
/// let captions = captioner.caption_pictures(&[decode("dog.jpg")?], &Decoding::greedy())?;
/// println!("{}", captions[0]);
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug)]
pub struct Captioner {
    config: CaptionerConfig,
    vocabulary: Vocabulary,
    pub(super) weights: Weights,
    encoder: SmallCnn,
    pub(super) generator: Generator,
}

/// What a file of weights says of the captioner that they are of.
#[derive(Deserialize)]
struct Description {
    captioner: CaptionerConfig,
    vocabulary: serde_json::Value,
}

impl Captioner {
    /// A captioner that has learnt nothing yet, with weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is out of its range.
    pub fn new(config: &CaptionerConfig, vocabulary: Vocabulary, seed: u64, device: Device) -> Result<Self> {
        config.validate()?;
        let mut weights = Weights::new(seed, device);
        let encoder = SmallCnn::new(&config.encoder, "encoder", &mut weights)?;
        let generator = Generator::new(config, config.encoder.feature_size, vocabulary.len(), &mut weights)?;
        Ok(Self { config: config.clone(), vocabulary, weights, encoder, generator })
    }

    /// Reads a captioner from the folder of a run (its last checkpoint) or from a file that [`Captioner::save`] wrote, onto
    /// the CPU.
    ///
    /// # Errors
    /// [`Error::File`] when there is no such file, [`Error::Weights`] when it does not hold a captioner.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join(CHECKPOINT_FILE) } else { path.to_path_buf() };
        let (tensors, metadata) = read_tensors(&path)?;
        let other = |problem: String| Error::Weights {
            path: path.clone(),
            problem: format!("these are not the weights of a captioner: {problem}"),
            help: "Name the folder of a captioner's run, or a file that Captioner::save wrote.".to_string(),
        };
        let description = metadata.get("description").cloned().unwrap_or_default();
        let description: Description = serde_json::from_value(description).map_err(|error| other(error.to_string()))?;
        let vocabulary = Vocabulary::from_json(&description.vocabulary.to_string());
        let vocabulary = vocabulary.map_err(|error| other(error.to_string()))?;
        let mut captioner = Self::new(&description.captioner, vocabulary, 0, Device::Cpu)?;
        captioner.weights.assign(&tensors, &path)?;
        Ok(captioner)
    }

    /// The same captioner on another device.
    pub fn to_device(self, device: Device) -> Result<Self> {
        if device == self.weights.device() {
            return Ok(self);
        }
        let mut moved = Self::new(&self.config, self.vocabulary, 0, device)?;
        moved.weights.assign(&self.weights.named().into_iter().collect(), Path::new("captioner"))?;
        Ok(moved)
    }

    /// Writes the captioner, its configuration and its vocabulary to one `safetensors` file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_tensors(path.as_ref(), &self.weights.named(), &json!({ "description": self.description() }))
    }

    pub(super) fn description(&self) -> serde_json::Value {
        let vocabulary: serde_json::Value = serde_json::from_str(&self.vocabulary.to_json()).unwrap_or_default();
        json!({ "kind": "captioner", "captioner": self.config, "vocabulary": vocabulary })
    }

    /// The sizes it was made with.
    pub fn config(&self) -> &CaptionerConfig {
        &self.config
    }

    /// The words it knows.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// How many numbers it has learnt.
    pub fn parameter_count(&self) -> usize {
        self.weights.trainable_count()
    }

    /// Captions the pictures of examples, one sentence each.
    ///
    /// # Errors
    /// [`Error::Image`] for the first picture that cannot be decoded, [`Error::Config`] for a setting out of its range.
    pub fn caption(&self, examples: &[Example], decoding: &Decoding) -> Result<Vec<String>> {
        let mut captions = Vec::with_capacity(examples.len());
        for part in examples.chunks(BATCH) {
            let pictures = Pictures::decode(part, self.config.encoder.image_size)?;
            captions.extend(self.caption_batches(&pictures, decoding, captions.len())?);
        }
        Ok(captions)
    }

    /// Captions pictures, one sentence each.
    ///
    /// # Errors
    /// [`Error::Argument`] for a picture without pixels, [`Error::Config`] for a setting out of its range.
    pub fn caption_pictures(&self, pictures: &[RgbImage], decoding: &Decoding) -> Result<Vec<String>> {
        self.caption_batches(&Pictures::of(pictures, self.config.encoder.image_size)?, decoding, 0)
    }

    /// Captions decoded pictures; the first of them is number `first` of all.
    pub(super) fn caption_batches(
        &self,
        pictures: &Pictures,
        decoding: &Decoding,
        first: usize,
    ) -> Result<Vec<String>> {
        decoding.validate()?;
        let mut captions = Vec::with_capacity(pictures.len());
        let indices: Vec<usize> = (0..pictures.len()).collect();
        for part in indices.chunks(BATCH) {
            let batch = pictures.batch(part, None, self.weights.device());
            let features = tch::no_grad(|| self.features(&batch, false));
            for words in self.generator.generate(&features, decoding, first + captions.len())? {
                captions.push(self.vocabulary.decode(&words));
            }
        }
        Ok(captions)
    }

    /// The parts of the same captioner for another thread; see [`SmallCnn::share`].
    pub(super) fn share(&self, remembers: bool) -> (SmallCnn, Generator) {
        (self.encoder.share(remembers), self.generator.share())
    }

    /// Features of pictures: `[batch, side, side, 3]` bytes to `[batch, feature_size]`.
    pub(super) fn features(&self, pictures: &Tensor, training: bool) -> Tensor {
        self.encoder.forward(pictures, training)
    }
}

impl Run {
    /// The captioner as it was at the last checkpoint of this run: at its end, when the run has ended.
    ///
    /// # Errors
    /// [`Error::Weights`] when the run trains something else.
    pub fn captioner(&self) -> Result<Captioner> {
        Captioner::load(self.folder())
    }
}
