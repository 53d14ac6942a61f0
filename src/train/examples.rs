//! The examples that a model is trained on, and in which order.

use std::collections::HashSet;

use serde_json::json;

use super::pictures::{Cut, Pictures};
use super::{Position, Progress};
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

/// What tells one data set from another: FNV-1a over names, splits and captions.
pub(crate) fn data_description(dataset: &Dataset) -> serde_json::Value {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    let mut take = |text: &str| {
        for byte in text.bytes().chain([0xFF]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    };
    for example in &dataset.examples {
        take(&example.name);
        take(&format!("{:?}", example.split));
        example.captions.iter().for_each(|caption| take(caption));
    }
    json!({ "name": dataset.name, "examples": dataset.examples.len(), "fingerprint": format!("{hash:016x}") })
}

/// Examples with what is to be learnt of each, and, once they are loaded, their pictures.
pub(crate) struct Part<Target> {
    pub(crate) examples: Vec<Example>,
    pub(crate) targets: Vec<Target>,
    pub(crate) pictures: Pictures,
    /// Width and height of the pictures before they were resized.
    pub(crate) sizes: Vec<(u32, u32)>,
}

impl<Target> Part<Target> {
    pub(crate) fn new(examples: Vec<&Example>, target: impl Fn(&Example) -> Target) -> Self {
        Self {
            targets: examples.iter().map(|example| target(example)).collect(),
            examples: examples.into_iter().cloned().collect(),
            pictures: Pictures::default(),
            sizes: Vec::new(),
        }
    }

    /// With what is to be learnt of each example, in their order.
    pub(crate) fn with_targets(examples: Vec<&Example>, targets: Vec<Target>) -> Self {
        let examples = examples.into_iter().cloned().collect();
        Self { targets, examples, pictures: Pictures::default(), sizes: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Leaves only the examples of these numbers, in this order.
    fn keep(&mut self, indices: &[usize])
    where
        Target: Clone,
    {
        self.targets = indices.iter().map(|&index| self.targets[index].clone()).collect();
        self.examples = indices.iter().map(|&index| self.examples[index].clone()).collect();
    }
}

/// Decodes the pictures of parts; examples whose pictures cannot be read are left out, and named.
pub(crate) fn load_parts<Target: Clone>(
    parts: [&mut Part<Target>; 3],
    side: usize,
    cut: Cut<'_>,
    memory_limit: u64,
    progress: &Progress,
) -> Result<()> {
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let mut before = 0;
    let mut problems = Vec::new();
    for part in parts {
        let loaded = Pictures::load(&part.examples, side, cut, memory_limit, |done| {
            progress.preparing(before + done, total);
            !progress.should_stop()
        })?;
        before += part.len();
        part.keep(&loaded.examples);
        part.pictures = loaded.pictures;
        part.sizes = loaded.sizes;
        problems.extend(loaded.problems);
    }
    // A picture may be in several parts: those that samples are written for are validation pictures too.
    let mut named = HashSet::new();
    problems.retain(|problem| named.insert(problem.to_string()));
    if !problems.is_empty() {
        progress.note(format!("{} pictures could not be read and are left out:", problems.len()));
        problems.into_iter().for_each(|problem| progress.note(problem));
    }
    Ok(())
}

/// The independent sequences that are drawn from the seed of a training.
pub(crate) enum Draw {
    /// The order of the pictures in an epoch.
    Order,
    /// Everything in a step: captions, shifts, dropout.
    Step,
}

impl Draw {
    pub(crate) fn random(self, seed: u64, index: u64) -> Random {
        let sequence = match self {
            Draw::Order => 1,
            Draw::Step => 2,
        };
        Random::stream(Random::stream(seed, sequence).next_u64(), index)
    }
}

/// The order of the training pictures in the epoch under way, and which epoch that is.
#[derive(Default)]
pub(crate) struct Order {
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Order {
    /// The `size` pictures of `pictures`, fewer at the end of an epoch, of the step that follows `position`.
    pub(crate) fn batch(&mut self, position: Position, seed: u64, pictures: usize, size: usize) -> Vec<usize> {
        if self.epoch != Some(position.epoch) {
            self.order = (0..pictures).collect();
            Draw::Order.random(seed, position.epoch).shuffle(&mut self.order);
            self.epoch = Some(position.epoch);
        }
        self.order.iter().copied().skip(position.step_in_epoch as usize * size).take(size).collect()
    }
}

/// At most `most` items, evenly spread.
pub(crate) fn spread<'a>(items: &[&'a Example], most: usize) -> Vec<&'a Example> {
    let count = items.len().min(most);
    (0..count).map(|index| items[index * items.len() / count]).collect()
}
