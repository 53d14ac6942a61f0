//! A whole aligner: a picture and a sentence in, the region of each word out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Tensor};

#[cfg(feature = "pytorch")]
use super::course::is_of_pytorch;
use super::embedding::Embed;
use super::{AlignmentConfig, AlignmentEvaluation, AlignmentNetwork, PackedSentences, evaluate};
use crate::data::{Dataset, Split, Vocabulary};
use crate::nn::{Weights, shipped};
use crate::train::{Model, newest_run_on, read_model};
use crate::vision::{EncoderConfig, FeatureBatch, NamedEncoder};
use crate::{Error, Result};

/// A network that has learnt which words speak of which regions: see [`Align`](super::Align) for what it does.
///
/// ```no_run
/// use captionlab::align::{Align, Aligner};
/// use captionlab::data::images::decode;
/// let aligner = Aligner::load("saved_models/align-tiny")?;
/// let alignment = aligner.align(&decode("dog.jpg")?, "a dog plays with a red ball")?;
/// for snippet in alignment.smoothed(0.1)?.snippets() {
///     println!("{:?}: {}", alignment.boxes[snippet.region], snippet.text);
/// }
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug)]
pub struct Aligner {
    config: AlignmentConfig,
    vocabulary: Vocabulary,
    encoder: NamedEncoder,
    pub(super) weights: Weights,
    pub(super) network: AlignmentNetwork,
}

/// The model description stored in a checkpoint's metadata.
#[derive(Serialize, Deserialize)]
pub(super) struct Description {
    aligner: AlignmentConfig,
    vocabulary: Value,
    encoder: NamedEncoder,
}

impl Aligner {
    /// An aligner that has learnt nothing yet, with weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is out of its range.
    pub fn new(
        config: &AlignmentConfig,
        vocabulary: Vocabulary,
        encoder: NamedEncoder,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        Self::with(config.clone(), vocabulary, encoder, Weights::new(seed, device))
    }

    pub(super) fn with(
        config: AlignmentConfig,
        vocabulary: Vocabulary,
        encoder: NamedEncoder,
        mut weights: Weights,
    ) -> Result<Self> {
        let network = AlignmentNetwork::new(&config, encoder.width(), vocabulary.len(), &mut weights)?;
        Ok(Self { config, vocabulary, encoder, weights, network })
    }

    /// The aligner of lesson 1: for Scenes the one that ships with the project; for another data set the newest of your own that has learnt
    /// from what the best encoder sees there, and where there is none the one that ships.
    ///
    /// # Errors
    /// As [`Aligner::load`].
    pub fn for_lessons(dataset: &Dataset) -> Result<Self> {
        match newest_run_on(Self::KIND, dataset, Some(&EncoderConfig::best_for(dataset).0.name))? {
            Some(run) => Self::load(run),
            None => Self::load(shipped("align-tiny")?),
        }
    }

    /// Reads an aligner from a file of weights, or from the folder of a run or a model, onto the CPU; also a checkpoint of the course's
    /// Python original (`.pth`, with `model_state_dict` and `vocab_word2idx`; needs the feature `pytorch`).
    ///
    /// # Errors
    /// [`Error::File`] when there is no such file, [`Error::Weights`] when it does not hold an aligner.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        #[cfg(feature = "pytorch")]
        if is_of_pytorch(path.as_ref()) {
            return Self::of_course(path.as_ref());
        }
        let (tensors, description, path) = read_model::<Description>(path.as_ref(), Self::KIND)?;
        let mut aligner = Self::of_description(description, &path, Weights::to_assign(Device::Cpu))?;
        aligner.weights.assign(&tensors, &path)?;
        Ok(aligner)
    }

    /// The aligner of a description, whose weights are still to be assigned; `path` is the file that it is from.
    pub(super) fn of_description(description: Description, path: &Path, weights: Weights) -> Result<Self> {
        let Description { aligner, vocabulary, encoder } = description;
        let vocabulary = Vocabulary::from_json(&vocabulary.to_string()).map_err(|error| Error::Weights {
            path: path.to_path_buf(),
            problem: format!("its vocabulary cannot be read: {error}"),
            help: "Name the folder of a run of an aligner, or a file of its weights.".to_string(),
        })?;
        Self::with(aligner, vocabulary, encoder, weights)
    }

    pub(super) fn description(&self) -> Value {
        let vocabulary: Value = serde_json::from_str(&self.vocabulary.to_json()).unwrap_or_default();
        json!({ "aligner": self.config, "vocabulary": vocabulary, "encoder": self.encoder })
    }

    /// Its weights, by name.
    pub(crate) fn named_weights(&self) -> BTreeMap<String, Tensor> {
        self.weights.named().into_iter().collect()
    }

    /// The sizes it was made with.
    pub fn config(&self) -> &AlignmentConfig {
        &self.config
    }

    /// The words it knows.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The encoder whose features it reads.
    pub fn encoder(&self) -> &EncoderConfig {
        self.encoder.config()
    }
}

impl Embed for Aligner {
    fn named_encoder(&self) -> &NamedEncoder {
        &self.encoder
    }

    fn device(&self) -> Device {
        self.weights.device()
    }

    fn knows(&self, word: &str) -> bool {
        self.vocabulary.contains(word)
    }

    fn ids(&self, sentence: &str) -> Vec<i64> {
        self.vocabulary.encode(sentence)
    }

    fn embed_regions(&self, features: &FeatureBatch) -> Result<Tensor> {
        self.network.regions(features, None)
    }

    fn embed_words(&self, sentences: &PackedSentences) -> Result<Tensor> {
        Ok(self.network.words(sentences, None))
    }

    fn embedded_scores(&self, regions: &Tensor, mask: &Tensor, words: &Tensor, sentences: &PackedSentences) -> Tensor {
        self.network.scores(regions, mask, words, sentences)
    }
}

/// Displays its size, its words and its encoder.
impl fmt::Display for Aligner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (weights, words) = (self.weights.trainable_count(), self.vocabulary.word_count());
        write!(
            formatter,
            "aligner of {weights} weights and {words} words, which reads features of `{}`",
            self.encoder().name
        )
    }
}

impl Model for Aligner {
    const KIND: &'static str = "align";
    const SHIPPED: Option<&'static str> = Some("align-tiny");
    type Evaluation = AlignmentEvaluation;

    fn load(path: &Path) -> Result<Self> {
        Self::load(path)
    }

    fn evaluate(&self, dataset: &Dataset, split: Split) -> Result<AlignmentEvaluation> {
        evaluate(self, dataset, split)
    }
}

crate::in_cells::shown_in_cells!(Aligner);
