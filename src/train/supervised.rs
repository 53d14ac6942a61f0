//! Learning from the examples of a data set: one task for every model that does.

use std::collections::BTreeMap;

use serde_json::Value;
use tch::Tensor;

use super::examples::{EpochOrder, RngStream, SplitExamples};
use super::prefetch::Prefetch;
use super::{EpochEnd, Position, Progress, RunSettings, Sample, StepPart, Task};
use crate::Result;
use crate::data::{Example, Random};
use crate::nn::Weights;

/// What a network reads of examples: their pictures, or their features.
pub(crate) trait Inputs: Send + Sync + 'static {
    /// What it reads of a batch.
    type Batch: Send + 'static;

    /// The inputs of examples; with `random` (in training) they may be augmented.
    fn batch(&self, indices: &[usize], random: Option<&mut Random>) -> Result<Self::Batch>;
}

/// What is learnt, and from what: the part of a training that differs from model to model.
///
/// A step goes: [`Objective::draw`] chooses what is learnt of each example of a part of the batch, the inputs are read ahead, and a
/// worker computes [`Objective::loss`].
pub(crate) trait Objective: Send {
    /// What is known of an example: the captions as tokens, the boxes.
    type Target: Clone + Send + Sync;
    /// What the network reads.
    type Inputs: Inputs;
    /// What of the targets is learnt in a step.
    type Draw: Send;
    /// A handle to the network for a worker thread.
    type Handle: Send;

    /// What the counted items are called, in the plural: `pairs`.
    const ITEMS: &'static str;

    /// As [`Task::model_description`].
    fn model_description(&self) -> Value;

    /// As [`Task::files`].
    fn files(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(Vec::new())
    }

    /// As [`Task::weights`].
    fn weights(&self) -> &Weights;

    /// As [`Task::weights_mut`].
    fn weights_mut(&mut self) -> &mut Weights;

    /// Reads the inputs of the examples, and leaves out those that have none, with a note.
    fn load(&self, parts: [&mut SplitExamples<Self::Target, Self::Inputs>; 3], progress: &Progress) -> Result<()>;

    /// Steps in an epoch.
    fn steps_per_epoch(&self, examples: usize, batch_size: usize) -> u64 {
        examples.div_ceil(batch_size) as u64
    }

    /// Called before each step, and before an epoch is measured.
    fn before_step(&self) {}

    /// Chooses what is learnt of examples, by `random` in training and always alike without.
    fn draw(&self, targets: &[&Self::Target], random: Option<&mut Random>) -> Self::Draw;

    /// How many items a draw is of.
    fn items(&self, draw: &Self::Draw) -> usize;

    /// How much a draw counts in the loss of a step or of an epoch: the number of its tokens, say.
    fn weight(&self, draw: &Self::Draw) -> f64;

    /// A handle to the network; only one of several may update running statistics.
    fn handle(&self, update_statistics: bool) -> Self::Handle;

    /// The mean loss of a draw, without dimensions; with `random` in training.
    fn loss(
        handle: &Self::Handle,
        inputs: &<Self::Inputs as Inputs>::Batch,
        draw: &Self::Draw,
        random: Option<&mut Random>,
    ) -> Result<Tensor>;

    /// Other measures on the validation examples, by name.
    fn metrics(&self, _validation: &SplitExamples<Self::Target, Self::Inputs>) -> Result<BTreeMap<String, f64>> {
        Ok(BTreeMap::new())
    }

    /// What the model makes of some examples, in their order.
    fn texts(&self, samples: &SplitExamples<Self::Target, Self::Inputs>) -> Result<Vec<String>>;
}

/// An [`Objective`] with its examples: the [`Task`] of every model that learns from a data set.
pub(crate) struct Supervised<O: Objective> {
    objective: O,
    settings: RunSettings,
    train: SplitExamples<O::Target, O::Inputs>,
    validation: SplitExamples<O::Target, O::Inputs>,
    samples: SplitExamples<O::Target, O::Inputs>,
    order: EpochOrder,
    prefetch: Prefetch<O::Inputs>,
}

impl<O: Objective> Supervised<O> {
    /// A task that learns from `train` and is measured on `validation`. Samples are taken of validation examples, or of training
    /// examples where there are none: never of the test split, which nothing that is chosen during a training may see.
    ///
    /// # Errors
    /// What `target` fails with.
    pub(crate) fn new(
        objective: O,
        settings: &RunSettings,
        train: &[&Example],
        validation: &[&Example],
        target: impl Fn(&Example) -> Result<O::Target>,
    ) -> Result<Self> {
        let shown = if validation.is_empty() { train } else { validation };
        let part = |examples: &[&Example]| SplitExamples::new(examples, &target);
        Ok(Self {
            train: part(train)?,
            validation: part(&spread(validation, settings.validation_examples))?,
            samples: part(&spread(shown, settings.samples))?,
            objective,
            settings: settings.clone(),
            order: EpochOrder::default(),
            prefetch: Prefetch::default(),
        })
    }

    /// The parts of a step, and the randomness that the inputs of each are augmented with.
    fn parts_of(&mut self, position: Position, workers: usize) -> Vec<(Vec<usize>, Random)> {
        let RunSettings { seed, batch_size, .. } = self.settings;
        let batch = self.order.batch(position, seed, self.train.len(), batch_size);
        let mut random = RngStream::Inputs.random(seed, position.step);
        let part = |part: &[usize]| (part.to_vec(), Random::new(random.next_u64()));
        batch.chunks(batch.len().div_ceil(workers).max(1)).map(part).collect()
    }
}

impl<O: Objective + 'static> Task for Supervised<O> {
    fn items(&self) -> &'static str {
        O::ITEMS
    }

    fn model_description(&self) -> Value {
        self.objective.model_description()
    }

    fn files(&self) -> Result<Vec<(&'static str, String)>> {
        self.objective.files()
    }

    fn weights(&self) -> &Weights {
        self.objective.weights()
    }

    fn weights_mut(&mut self) -> &mut Weights {
        self.objective.weights_mut()
    }

    fn prepare(&mut self, progress: &Progress) -> Result<()> {
        self.objective.load([&mut self.train, &mut self.validation, &mut self.samples], progress)?;
        progress.samples_of(&self.samples.examples);
        Ok(())
    }

    fn steps_per_epoch(&self) -> u64 {
        match self.train.len() {
            0 => 0,
            examples => self.objective.steps_per_epoch(examples, self.settings.batch_size),
        }
    }

    fn step(&mut self, position: Position, workers: usize) -> Result<(Vec<StepPart<'_>>, usize)> {
        let parts = self.parts_of(position, workers);
        let next = Position { step: position.step + 1, step_in_epoch: position.step_in_epoch + 1, ..position };
        let indices: Vec<Vec<usize>> = parts.iter().map(|(indices, _)| indices.clone()).collect();
        let coming = match next.step_in_epoch < self.steps_per_epoch() {
            true => self.parts_of(next, workers),
            false => Vec::new(),
        };
        let inputs = self.prefetch.take(position.step, self.train.inputs()?, parts)?;
        self.prefetch.start(next.step, self.train.inputs()?, coming)?;

        self.objective.before_step();
        let mut random = RngStream::Step.random(self.settings.seed, position.step);
        let objective = &self.objective;
        let draws: Vec<O::Draw> =
            indices.iter().map(|part| objective.draw(&self.train.targets_of(part), Some(&mut random))).collect();
        let total: f64 = draws.iter().map(|draw| objective.weight(draw)).sum();
        let items = draws.iter().map(|draw| objective.items(draw)).sum();
        let part = |(number, (draw, inputs)): (usize, (O::Draw, <O::Inputs as Inputs>::Batch))| -> StepPart<'_> {
            let handle = objective.handle(number == 0);
            // A step with nothing to learn has shares of 0.
            let share = objective.weight(&draw) / total.max(f64::MIN_POSITIVE);
            let mut random = Random::new(random.next_u64());
            Box::new(move || Ok(O::loss(&handle, &inputs, &draw, Some(&mut random))? * share))
        };
        Ok((draws.into_iter().zip(inputs).enumerate().map(part).collect(), items))
    }

    fn end_of_epoch(&mut self, progress: &Progress) -> Result<Option<EpochEnd>> {
        self.objective.before_step();
        let mut end = EpochEnd::default();
        if self.validation.len() > 0 {
            let handle = self.objective.handle(false);
            let (mut sum, mut total) = (0.0, 0.0);
            let all: Vec<usize> = (0..self.validation.len()).collect();
            for part in all.chunks(self.settings.batch_size) {
                if progress.should_stop() {
                    return Ok(None);
                }
                let inputs = self.validation.inputs()?.batch(part, None)?;
                let draw = self.objective.draw(&self.validation.targets_of(part), None);
                let loss = tch::no_grad(|| O::loss(&handle, &inputs, &draw, None))?;
                sum += loss.f_double_value(&[])? * self.objective.weight(&draw);
                total += self.objective.weight(&draw);
            }
            end.loss = (total > 0.0).then(|| sum / total);
            end.metrics = tch::no_grad(|| self.objective.metrics(&self.validation))?;
        }
        if self.samples.len() > 0 {
            let texts = tch::no_grad(|| self.objective.texts(&self.samples))?;
            let names = self.samples.examples.iter().map(|example| example.name.clone());
            end.samples = names.zip(texts).map(|(name, text)| Sample { name, text }).collect();
        }
        Ok(Some(end))
    }
}

/// At most `most` items, evenly spread.
fn spread<'a>(items: &[&'a Example], most: usize) -> Vec<&'a Example> {
    let count = items.len().min(most);
    (0..count).map(|index| items[index * items.len() / count]).collect()
}
