//! Word detectors (Fang et al. 2015): which words and bigrams people use to describe an image. The lessons call it the *eye*.

mod concepts;
mod small_cnn;
mod training;

pub use small_cnn::{SmallCnn, SmallCnnConfig};
pub use training::WordDetectorTraining;

use std::path::Path;

use image::RgbImage;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::data::readable::{check_any_readable, decode_readable};
use crate::data::{Dataset, Example, Split};
use crate::nn::{Linear, Weights, network, read_tensors};
use crate::train::pictures::Pictures;
use crate::train::{Model, read_model};

/// Images per forward pass.
const BATCH: usize = 64;

/// A network over the whole image with a sigmoid output per word (Fang et al. 2015, *From Captions to Visual Concepts and Back*,
/// section 3).
#[derive(Debug)]
pub struct WordDetector {
    config: SmallCnnConfig,
    words: Vec<String>,
    weights: Weights,
    head: WordHead,
}

/// The layers of a [`WordDetector`].
#[derive(Debug)]
struct WordHead {
    encoder: SmallCnn,
    concepts: Linear,
}

network!(WordHead { encoder, concepts });

impl WordHead {
    /// Word logits.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, image_size, image_size, 3]`, bytes
    /// - result: `[batch, words]`
    fn logits(&self, pictures: &Tensor, training: bool) -> Tensor {
        self.concepts.forward(&self.encoder.forward(pictures, training))
    }
}

/// The model description stored in a checkpoint's metadata.
#[derive(Serialize, Deserialize)]
struct Description {
    encoder: SmallCnnConfig,
    concepts: Vec<String>,
}

impl WordDetector {
    fn new(config: &SmallCnnConfig, words: Vec<String>, mut weights: Weights) -> Result<Self> {
        let encoder = SmallCnn::new(config, "encoder", &mut weights)?;
        let bound = 0.5 / (config.feature_size as f64).sqrt();
        let concepts = Linear::within("concepts", config.feature_size, words.len(), bound, &mut weights);
        Ok(Self { config: config.clone(), words, weights, head: WordHead { encoder, concepts } })
    }

    /// Loads a word detector onto the CPU, from a weights file or the folder of its run.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) when there is no such file, [`Error::Weights`](crate::Error::Weights) when it does not hold
    /// a word detector.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let (tensors, Description { encoder, concepts }, path) = read_model(path.as_ref(), Self::KIND)?;
        let mut detector = Self::new(&encoder, concepts, Weights::to_assign(Device::Cpu))?;
        detector.weights.assign(&tensors, &path)?;
        Ok(detector)
    }

    /// The hyperparameters of its network.
    pub fn config(&self) -> &SmallCnnConfig {
        &self.config
    }

    /// The words and bigrams that it detects.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The `most` likeliest words and bigrams of each image, with their probabilities.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for an image without pixels.
    pub fn detect(&self, pictures: &[RgbImage], most: usize) -> Result<Vec<Vec<(String, f64)>>> {
        let mut detected = Vec::with_capacity(pictures.len());
        for part in pictures.chunks(BATCH) {
            detected.extend(self.detect_in(&Pictures::of(part, self.config.image_size)?, most)?);
        }
        Ok(detected)
    }

    fn detect_in(&self, pictures: &Pictures, most: usize) -> Result<Vec<Vec<(String, f64)>>> {
        let all: Vec<usize> = (0..pictures.len()).collect();
        let most = most.min(self.words.len()) as i64;
        let mut detected = Vec::with_capacity(all.len());
        for part in all.chunks(BATCH) {
            let batch = pictures.batch(part, None, self.weights.device());
            let logits = tch::no_grad(|| self.head.logits(&batch, false)).to_device(Device::Cpu);
            let (probabilities, words) = logits.f_sigmoid()?.f_topk(most, 1, true, true)?;
            for row in 0..part.len() as i64 {
                let probabilities: Vec<f64> = Vec::try_from(probabilities.get(row).to_kind(Kind::Double))?;
                let words: Vec<i64> = Vec::try_from(words.get(row))?;
                let named = words.iter().map(|&word| self.words[word as usize].clone());
                detected.push(named.zip(probabilities).collect());
            }
        }
        Ok(detected)
    }

    /// Initialises the output bias with the log odds of each word, so that training need not learn how frequent words are.
    fn init_output_bias(&mut self, shares: &[f64]) -> Result<()> {
        let log_odds = |share: &f64| {
            let share = share.clamp(1e-4, 1.0 - 1e-4);
            (share / (1.0 - share)).ln() as f32
        };
        let log_odds: Vec<f32> = shares.iter().map(log_odds).collect();
        if let Some(bias) = &mut self.head.concepts.bias {
            tch::no_grad(|| bias.f_copy_(&Tensor::from_slice(&log_odds)))?;
        }
        Ok(())
    }
}

/// Accuracy of a word detector.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WordEvaluation {
    /// Precision@5: share of the five likeliest words of an image that occur in its captions, in `0..=1`.
    pub precision_at_5: f64,
    /// Number of evaluated images.
    pub pictures: usize,
    /// Unreadable images that were skipped, with the reason.
    pub unreadable: Vec<String>,
}

impl std::fmt::Display for WordEvaluation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { precision_at_5, pictures, unreadable } = self;
        write!(
            formatter,
            "{:.1} % of the five likeliest words are said of the picture ({pictures} pictures)",
            100.0 * precision_at_5
        )?;
        crate::data::readable::write_unreadable(formatter, unreadable)
    }
}

impl Model for WordDetector {
    const KIND: &'static str = "eye";
    const SHIPPED: Option<&'static str> = None;
    type Evaluation = WordEvaluation;

    fn load(path: &Path) -> Result<Self> {
        Self::load(path)
    }

    fn evaluate(&self, dataset: &Dataset, split: Split) -> Result<WordEvaluation> {
        let examples: Vec<&Example> = crate::train::examples::examples_of(dataset, split);
        let (mut said, mut likely, mut pictures, mut unreadable) = (0, 0, 0, Vec::new());
        for part in examples.chunks(BATCH) {
            let decoded = decode_readable(part, &mut unreadable);
            pictures += decoded.len();
            let (places, decoded): (Vec<usize>, Vec<RgbImage>) = decoded.into_iter().unzip();
            for (place, words) in places.into_iter().zip(self.detect(&decoded, 5)?) {
                let known = concepts::concepts_in(&part[place].captions);
                likely += words.len();
                said += words.iter().filter(|(word, _)| known.contains(word)).count();
            }
        }
        check_any_readable(pictures, &unreadable)?;
        let precision_at_5 = said as f64 / likely.max(1) as f64;
        Ok(WordEvaluation { precision_at_5, pictures, unreadable })
    }
}

/// Loads only the network, as an encoder of whole images, with the SHA-256 of its weights, from a word detector or a captioner
/// trained with one.
///
/// # Errors
/// [`Error::File`](crate::Error::File) when there is no such file, [`Error::Weights`](crate::Error::Weights) when it does not hold
/// such a network.
pub(crate) fn load_small_cnn(path: &Path, config: &SmallCnnConfig, device: Device) -> Result<(SmallCnn, String)> {
    let (tensors, _) = read_tensors(path)?;
    let mut weights = Weights::to_assign(device);
    let encoder = SmallCnn::new(config, "encoder", &mut weights)?;
    weights.assign_prefix("encoder.", &tensors, path)?;
    let mut hash = Sha256::new();
    for (name, tensor) in weights.named() {
        let values: Vec<f32> = Vec::try_from(tensor.detach().f_to_device(Device::Cpu)?.f_flatten(0, -1)?)?;
        hash.update(name);
        values.iter().for_each(|value| hash.update(value.to_le_bytes()));
    }
    Ok((encoder, hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}
