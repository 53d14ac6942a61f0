//! What the engine trains: a model together with its data.

use std::collections::BTreeMap;

use super::{Position, Progress, Sample, StepPart};
use crate::Result;
use crate::nn::Weights;

/// What a [`Run`](super::Run) trains: a model together with its data.
///
/// Everything random in it must follow from its seed and the [`Position`] that it is given, and nothing may be drawn from
/// libtorch's own generator: only then does a resumed run go on exactly as if it had never stopped.
///
/// Models that learn from the examples of a data set need not write one: `Supervised` is one for all of them.
pub trait Task: Send {
    /// What the counted items are called, in the plural: `pairs`.
    fn items(&self) -> &'static str;

    /// What makes the model again, as a JSON object: its configuration, its vocabulary. Kept in every checkpoint.
    fn model_description(&self) -> serde_json::Value;

    /// Files that belong beside the checkpoint, by name, such as a tokenizer's vocabulary; written once, when the run starts.
    fn files(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(Vec::new())
    }

    /// The weights that are trained and saved.
    fn weights(&self) -> &Weights;

    /// The same, to put those of a checkpoint into them.
    fn weights_mut(&mut self) -> &mut Weights;

    /// Gets the data ready; called once, on the training thread. May end early when the run is to stop.
    fn prepare(&mut self, progress: &Progress) -> Result<()>;

    /// Steps in an epoch; asked after [`Task::prepare`].
    fn steps_per_epoch(&self) -> u64;

    /// The step that follows `position`: at most `workers` parts, whose losses (tensors without dimensions) sum to that of the
    /// step, and how many items they are of.
    fn step(&mut self, position: Position, workers: usize) -> Result<(Vec<StepPart<'_>>, usize)>;

    /// What an epoch achieved. `None` when it was given up because the run is to stop; it is then asked again after the run was
    /// resumed.
    fn end_of_epoch(&mut self, progress: &Progress) -> Result<Option<EpochEnd>>;
}

/// What an epoch achieved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EpochEnd {
    /// The loss on the validation examples, where there are any.
    pub loss: Option<f64>,
    /// Other measures on the validation examples, by name: `cider_d`, `recall_at_1`.
    pub metrics: BTreeMap<String, f64>,
    /// What the model made of some fixed examples, none of them from the test split.
    pub samples: Vec<Sample>,
}
