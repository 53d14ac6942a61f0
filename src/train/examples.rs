//! The examples that a model is trained on, and in which order.

use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::Position;
use crate::data::{Dataset, Example, HOW_TO_SPLIT, Random, Split};
use crate::{Error, Result};

/// The training examples that have captions, of which there must be some.
pub(crate) fn training_examples(dataset: &Dataset) -> Result<Vec<&Example>> {
    let examples = examples_of(dataset, Split::Train);
    if examples.is_empty() {
        return Err(Error::argument(
            format!("{} has no training examples with captions", dataset.name),
            format!("Give its examples splits, `train` among them: {HOW_TO_SPLIT}."),
        ));
    }
    Ok(examples)
}

/// The examples of a split that have captions.
pub(crate) fn examples_of(dataset: &Dataset, split: Split) -> Vec<&Example> {
    dataset.examples.iter().filter(|example| example.split == Some(split) && !example.captions.is_empty()).collect()
}

/// What tells one data set from another: hashes of names, splits and captions, and of boxes and labels.
pub(super) fn data_description(dataset: &Dataset) -> serde_json::Value {
    let mut fingerprint = 0xCBF2_9CE4_8422_2325u64;
    // FNV-1a, as in every run until now.
    let mut take = |text: &str| {
        for byte in text.bytes().chain([0xFF]) {
            fingerprint = (fingerprint ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    };
    let mut regions = Sha256::new();
    for example in &dataset.examples {
        take(&example.name);
        take(match example.split {
            None => "None",
            Some(Split::Train) => "Some(Train)",
            Some(Split::Validation) => "Some(Validation)",
            Some(Split::Test) => "Some(Test)",
        });
        example.captions.iter().for_each(|caption| take(caption));
        regions.update(json!(example.regions).to_string());
    }
    let regions: String = regions.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "name": dataset.name,
        "examples": dataset.examples.len(),
        "fingerprint": format!("{fingerprint:016x}"),
        "regions": regions,
    })
}

/// Examples with what is to be learnt of each, and, once they are loaded, what the network reads of them.
pub(crate) struct SplitExamples<Target, Inputs> {
    pub(crate) examples: Vec<Example>,
    pub(crate) targets: Vec<Target>,
    inputs: Option<Arc<Inputs>>,
}

impl<Target: Clone, Inputs> SplitExamples<Target, Inputs> {
    /// # Errors
    /// What `target` fails with.
    pub(super) fn new(examples: &[&Example], target: impl Fn(&Example) -> Result<Target>) -> Result<Self> {
        Ok(Self {
            targets: examples.iter().map(|example| target(example)).collect::<Result<_>>()?,
            examples: examples.iter().map(|&example| example.clone()).collect(),
            inputs: None,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Keeps only the examples of these indices, in this order, with their inputs.
    pub(crate) fn keep(&mut self, indices: &[usize], inputs: Inputs) {
        self.targets = indices.iter().map(|&index| self.targets[index].clone()).collect();
        self.examples = indices.iter().map(|&index| self.examples[index].clone()).collect();
        self.inputs = Some(Arc::new(inputs));
    }

    /// What the network reads of the examples.
    ///
    /// # Errors
    /// [`Error::Internal`] before they are loaded.
    pub(crate) fn inputs(&self) -> Result<&Arc<Inputs>> {
        self.inputs
            .as_ref()
            .ok_or_else(|| Error::internal("the examples of a training are used before they are loaded"))
    }

    /// The targets of some examples.
    pub(super) fn targets_of(&self, indices: &[usize]) -> Vec<&Target> {
        indices.iter().map(|&index| &self.targets[index]).collect()
    }
}

/// The independent random sequences that are drawn from the seed of a training.
pub(super) enum RngStream {
    /// The order of the examples in an epoch.
    Order,
    /// What is learnt in a step, and dropout.
    Step,
    /// How the inputs of a step are augmented.
    Inputs,
}

impl RngStream {
    pub(super) fn random(self, seed: u64, index: u64) -> Random {
        let sequence = match self {
            Self::Order => 1,
            Self::Step => 2,
            Self::Inputs => 3,
        };
        Random::stream(Random::stream(seed, sequence).next_u64(), index)
    }
}

/// The order of the training examples in the epoch under way, and which epoch that is.
#[derive(Default)]
pub(super) struct EpochOrder {
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl EpochOrder {
    /// The `size` examples of `examples`, fewer at the end of an epoch, of the step that follows `position`.
    pub(super) fn batch(&mut self, position: Position, seed: u64, examples: usize, size: usize) -> Vec<usize> {
        if self.epoch != Some(position.epoch) {
            self.order = (0..examples).collect();
            RngStream::Order.random(seed, position.epoch).shuffle(&mut self.order);
            self.epoch = Some(position.epoch);
        }
        self.order.iter().copied().skip(position.step_in_epoch as usize * size).take(size).collect()
    }
}
