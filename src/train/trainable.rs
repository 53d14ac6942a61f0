//! What can be trained, and the table of its kinds.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Checkpoint, RunSettings, Task};
use crate::Result;
use crate::data::{Dataset, Split, lessons_are_small};

/// From so many training pictures on, a network of the course's size learns more than it memorises.
pub const MANY_PICTURES: usize = 10_000;

/// Steps that a training in a lesson takes at least.
const LESSON_STEPS: u64 = 400;

/// The configuration of a training: what a [`Run`](super::Run) starts from, keeps, and resumes with.
///
/// A stored configuration that lacks a field takes the default, so a run survives a version that adds one.
pub trait Trainable: Serialize + DeserializeOwned + Clone + Send {
    /// What comes of the training.
    type Model: Model;

    /// The settings that all trainings have in common.
    fn run(&self) -> &RunSettings;

    /// The same, to change them.
    fn run_mut(&mut self) -> &mut RunSettings;

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) names the first setting that is out of its range.
    fn validate(&self) -> Result<()>;

    /// The usual configuration for a data set. Default: the same for all.
    fn usual_for(dataset: &Dataset) -> Self
    where
        Self: Default,
    {
        let _ = dataset;
        Self::default()
    }

    /// The usual configuration with [`lesson_epochs`](Trainable::lesson_epochs).
    fn for_lessons(dataset: &Dataset) -> Self
    where
        Self: Default,
    {
        Self::usual_for(dataset).lesson_epochs(dataset)
    }

    /// The same configuration, as the lessons use it: on a small data set with more epochs, so that there are at least 400 steps, and
    /// with two epochs where lessons are only tried out (see [`lessons_are_small`]).
    #[must_use]
    fn lesson_epochs(mut self, dataset: &Dataset) -> Self {
        let run = self.run_mut();
        let steps = dataset.split_size(Split::Train).div_ceil(run.batch_size).max(1) as u64;
        run.epochs = if lessons_are_small() { 2 } else { run.epochs.max(LESSON_STEPS.div_ceil(steps)) };
        self
    }

    /// The task that trains a new model, or the one of a checkpoint, whose weights are put into it afterwards.
    ///
    /// # Errors
    /// What keeps the data set from being trained on.
    fn task(&self, dataset: &Dataset, resumed: Option<Resumed<'_>>) -> Result<Box<dyn Task>>;
}

/// The run that a task goes on with.
#[derive(Debug, Clone, Copy)]
pub struct Resumed<'a> {
    /// The folder of the run.
    pub folder: &'a Path,
    /// Its last checkpoint.
    pub checkpoint: &'a Checkpoint,
}

impl Resumed<'_> {
    /// What the checkpoint says about its model.
    ///
    /// # Errors
    /// [`Error::Run`](crate::Error::Run) when that is not what this version of the model says.
    pub(crate) fn description<D: DeserializeOwned>(&self) -> Result<D> {
        serde_json::from_value(self.checkpoint.description.clone()).map_err(|error| crate::Error::Run {
            problem: format!("{} cannot be resumed: {error}", self.folder.display()),
            help: "Resume it with the version of captionlab that wrote it, or train anew.".to_string(),
        })
    }
}

/// A model that comes of a training.
pub trait Model: Sized {
    /// The name of the kind: in checkpoints, in the names of runs, on the command line.
    const KIND: &'static str;

    /// The folder of the trained model that ships with the project, in `saved_models`; `None` where none does.
    const SHIPPED: Option<&'static str>;

    /// What [`Model::evaluate`] measures.
    type Evaluation: fmt::Display + Serialize;

    /// Reads a model from a file of weights, or from the folder of a run or a model.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) when there is none, [`Error::Weights`](crate::Error::Weights) when it holds
    /// something else.
    fn load(path: &Path) -> Result<Self>;

    /// Measures the model on a split of a data set.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) when the split has nothing to measure it on.
    fn evaluate(&self, dataset: &Dataset, split: Split) -> Result<Self::Evaluation>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ScenesConfig;
    use crate::vision::WordDetectorTraining;

    #[test]
    fn lessons_train_longer_on_little_data() {
        let of = |train| Dataset::scenes(&ScenesConfig { train, validation: 1, test: 1, seed: 1 }).unwrap();
        let usual = WordDetectorTraining::scenes().run;
        let batch = usual.batch_size;
        for (train, epochs) in [(batch, 400), (batch + 1, 200), (10, 400), (50 * batch, usual.epochs)] {
            assert_eq!(WordDetectorTraining::for_lessons(&of(train)).run.epochs, epochs, "{train} pictures");
        }
    }
}
