//! The loop of a training.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::log::{Entry, Log};
use super::progress::State;
use super::schedule::Plateau;
use super::workers::{Workers, set_own_threads};
use super::{CHECKPOINT_FILE, Checkpoint, EpochEnd, Optimiser, Phase, Position, Progress, RunSettings, Status, Task};
use crate::files::FileLock;
use crate::{Error, Result};

/// What the training thread works with.
pub(super) struct Trainer {
    folder: PathBuf,
    description: Value,
    task: Box<dyn Task>,
    settings: RunSettings,
    optimiser: Optimiser,
    log: Log,
    position: Position,
    best: Best,
    plateau: Plateau,
    progress: Progress,
    /// When the first step of this process began.
    began: Instant,
    /// Items and steps of this process.
    items: usize,
    steps: u64,
    _lock: FileLock,
}

/// The best value of the metric that a run keeps the best epoch by, and the epoch it is of.
#[derive(Debug, Clone, Copy, Default)]
struct Best {
    value: Option<f64>,
    epoch: u64,
}

impl Trainer {
    /// A trainer of a new run, whose first checkpoint is written.
    pub(super) fn start(
        folder: &Path,
        lock: FileLock,
        mut task: Box<dyn Task>,
        settings: RunSettings,
        description: Value,
    ) -> Result<Self> {
        freeze(&mut *task, &settings)?;
        let optimiser = Optimiser::new(settings.optimiser, settings.clip, task.weights().trainable())?;
        let (log, _) = Log::open(folder, 0)?;
        let position = Position::default();
        Checkpoint::write(folder, &description, position, task.weights(), &optimiser)?;
        let checkpoint = Checkpoint { description, position, tensors: Default::default() };
        Ok(Self::new(folder, lock, task, settings, optimiser, (log, Vec::new()), checkpoint))
    }

    /// A trainer that goes on from a checkpoint, whose weights are put into those of the task.
    pub(super) fn resume(
        folder: &Path,
        lock: FileLock,
        mut task: Box<dyn Task>,
        settings: RunSettings,
        checkpoint: Checkpoint,
    ) -> Result<Self> {
        let path = folder.join(CHECKPOINT_FILE);
        task.weights_mut().assign(&checkpoint.tensors, &path)?;
        freeze(&mut *task, &settings)?;
        let mut optimiser = Optimiser::new(settings.optimiser, settings.clip, task.weights().trainable())?;
        optimiser.restore(checkpoint.position.step, &checkpoint.tensors, &path)?;
        let log = Log::open(folder, checkpoint.position.log_bytes)?;
        Ok(Self::new(folder, lock, task, settings, optimiser, log, checkpoint))
    }

    fn new(
        folder: &Path,
        lock: FileLock,
        task: Box<dyn Task>,
        settings: RunSettings,
        optimiser: Optimiser,
        (log, entries): (Log, Vec<Entry>),
        checkpoint: Checkpoint,
    ) -> Self {
        let position = checkpoint.position;
        let mut state = State::new(Status {
            phase: Phase::Preparing { done: 0, total: 0 },
            epoch: (position.epoch + 1).min(settings.epochs),
            epochs: settings.epochs,
            step: position.step_in_epoch,
            steps: 0,
            loss: None,
            validation_loss: None,
            rate: 0.0,
            items: task.items(),
            elapsed: Duration::ZERO,
            remaining: None,
        });
        if !lock.is_guarded() {
            state.notes.push(format!(
                "the file system of {} knows no locks: do not train in this folder from another process",
                folder.display()
            ));
        }
        let (mut best, mut plateau) = (Best::default(), Plateau::default());
        for entry in entries {
            if let Entry::Epoch { epoch, validation_loss, metrics, .. } = &entry {
                let end = EpochEnd { loss: *validation_loss, metrics: metrics.clone(), samples: Vec::new() };
                best.update(&settings, *epoch, &end);
                update_plateau(&mut plateau, &settings, &end);
            }
            state.record(entry);
        }
        Self {
            folder: folder.to_path_buf(),
            description: checkpoint.description,
            task,
            settings,
            optimiser,
            log,
            position,
            best,
            plateau,
            progress: Progress::new(state),
            began: Instant::now(),
            items: 0,
            steps: 0,
            _lock: lock,
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn description(&self) -> &Value {
        &self.description
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Trains to the end, and keeps how it ended for those who watch.
    pub(super) fn run(&mut self) {
        let result = catch_unwind(AssertUnwindSafe(|| self.train())).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
            Err(Error::internal(format!("the training panicked: {text}")))
        });
        self.progress.end(result);
    }

    fn train(&mut self) -> Result<Phase> {
        if self.is_finished() {
            return Ok(self.finished());
        }
        // As many as before where the run was resumed, so that sums are the same to the last bit.
        let threads = self.description["threads"].as_u64().unwrap_or(1) as usize;
        set_own_threads(threads);
        self.task.prepare(&self.progress)?;
        if self.progress.should_stop() {
            return Ok(Phase::Stopped);
        }
        let steps = self.task.steps_per_epoch();
        if steps == 0 {
            return Err(self.nothing_to_train_on());
        }
        let workers = Workers::new(self.settings.workers, threads)?;
        self.set_phase(Phase::Training, steps);
        self.began = Instant::now();
        let mut saved = Instant::now();
        while !self.is_finished() {
            while self.position.step_in_epoch < steps {
                if self.progress.should_stop() {
                    self.save()?;
                    return Ok(Phase::Stopped);
                }
                self.step(steps, &workers)?;
                if saved.elapsed().as_secs_f64() >= self.settings.checkpoint_seconds {
                    self.save()?;
                    saved = Instant::now();
                }
            }
            self.set_phase(Phase::Validating, steps);
            let Some(end) = self.task.end_of_epoch(&self.progress)? else {
                self.save()?;
                return Ok(Phase::Stopped);
            };
            self.end_epoch(end)?;
            saved = Instant::now();
            if !self.is_finished() {
                self.set_phase(Phase::Training, steps);
            }
        }
        Ok(self.finished())
    }

    fn finished(&self) -> Phase {
        self.progress.state().status.epoch = self.position.epoch;
        Phase::Finished
    }

    /// Whether all epochs are done, or too many since the best one.
    fn is_finished(&self) -> bool {
        let patience = self.settings.keep_best.as_ref().and_then(|keep| keep.patience);
        self.position.epoch >= self.settings.epochs
            || patience.is_some_and(|patience| self.position.epoch >= self.best.epoch + patience)
    }

    fn end_epoch(&mut self, end: EpochEnd) -> Result<()> {
        self.position.epoch += 1;
        self.position.step_in_epoch = 0;
        if let Some(keep) = &self.settings.keep_best
            && value_of(&keep.metric, &end).is_none()
        {
            let known: Vec<&str> =
                end.loss.map(|_| "loss").into_iter().chain(end.metrics.keys().map(String::as_str)).collect();
            let expected = format!("is measured by no epoch; these are: {}", known.join(", "));
            return Err(Error::config("run.keep_best.metric", &keep.metric, expected));
        }
        if self.best.update(&self.settings, self.position.epoch, &end) {
            Checkpoint::write_best(&self.folder, &self.description, self.position, self.task.weights())?;
        }
        update_plateau(&mut self.plateau, &self.settings, &end);
        let EpochEnd { loss, metrics, samples } = end;
        self.record(Entry::Epoch { epoch: self.position.epoch, validation_loss: loss, metrics, samples })?;
        self.save()?;
        if self.is_finished() && self.position.epoch < self.settings.epochs {
            let Best { epoch, value } = self.best;
            self.progress.note(format!(
                "stopped early after epoch {}: epoch {epoch} was the best, {}",
                self.position.epoch,
                value.map_or("and none had a value".to_string(), |value| format!("with {value:.4}"))
            ));
        }
        Ok(())
    }

    fn nothing_to_train_on(&self) -> Error {
        let mut problem = "there is nothing to train on".to_string();
        let mut help = "Give it examples of the split `train`.".to_string();
        if let Some(unreadable) = &self.progress.state().unreadable {
            problem += ": no picture of the split `train` could be read";
            help = format!("Check the pictures of the data set. The first: {unreadable}");
        }
        Error::Run { problem, help }
    }

    fn step(&mut self, steps: u64, workers: &Workers) -> Result<()> {
        let (parts, items) = self.task.step(self.position, self.settings.workers)?;
        let (loss, gradients) = workers.loss_and_gradients(parts, &self.optimiser.weights())?;
        if !loss.is_finite() {
            let step = self.position.step + 1;
            return Err(Error::Run {
                problem: format!("the loss is {loss} at step {step}"),
                help: "Use a smaller learning rate, or clip the gradients; the last checkpoint is from before.".into(),
            });
        }
        let factor = self.settings.schedule.factor(self.position.step, steps * self.settings.epochs);
        let factor = factor * self.plateau.factor();
        self.optimiser.apply(gradients, factor)?;
        self.position.step += 1;
        self.position.step_in_epoch += 1;
        self.items += items;
        self.steps += 1;
        let epochs = self.position.epoch as f64 + self.position.step_in_epoch as f64 / steps as f64;
        let learning_rate = factor * self.settings.optimiser.learning_rate();
        let seconds = self.began.elapsed().as_secs_f64();
        self.record(Entry::Step { step: self.position.step, epochs, loss, learning_rate, seconds })?;

        let elapsed = self.began.elapsed();
        let left = (steps * self.settings.epochs).saturating_sub(self.position.step);
        let mut state = self.progress.state();
        state.status.step = self.position.step_in_epoch;
        state.status.elapsed = elapsed;
        state.status.rate = self.items as f64 / elapsed.as_secs_f64().max(1e-9);
        state.status.remaining = Some(elapsed.mul_f64(left as f64 / self.steps as f64));
        Ok(())
    }

    fn set_phase(&self, phase: Phase, steps: u64) {
        let mut state = self.progress.state();
        state.status.phase = phase;
        state.status.steps = steps;
        state.status.epoch = (self.position.epoch + 1).min(self.settings.epochs);
        state.status.step = self.position.step_in_epoch;
        if self.steps > 0 {
            state.status.elapsed = self.began.elapsed();
        }
    }

    fn record(&mut self, entry: Entry) -> Result<()> {
        self.log.append(&entry)?;
        self.progress.state().record(entry);
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.position.log_bytes = self.log.sync()?;
        Checkpoint::write(&self.folder, &self.description, self.position, self.task.weights(), &self.optimiser)
    }
}

/// Freezes the weights that the settings name.
fn freeze(task: &mut dyn Task, settings: &RunSettings) -> Result<()> {
    settings.freeze.iter().try_for_each(|prefix| match task.weights_mut().freeze(prefix) {
        0 => Err(Error::config("run.freeze", prefix, "begins the name of no weight of this model")),
        _ => Ok(()),
    })
}

/// Takes the value of an epoch by which the learning rate may fall.
fn update_plateau(plateau: &mut Plateau, settings: &RunSettings, end: &EpochEnd) {
    let keep = settings.keep_best.clone().unwrap_or_default();
    plateau.update(settings.schedule, &keep, value_of(&keep.metric, end));
}

/// The value of a metric of an epoch; `loss` is the validation loss.
fn value_of(metric: &str, end: &EpochEnd) -> Option<f64> {
    if metric == "loss" { end.loss } else { end.metrics.get(metric).copied() }
}

impl Best {
    /// Takes the value of an epoch; whether it is the best until now.
    fn update(&mut self, settings: &RunSettings, epoch: u64, end: &EpochEnd) -> bool {
        let Some(keep) = &settings.keep_best else { return false };
        let Some(value) = value_of(&keep.metric, end).filter(|&value| keep.is_better(value, self.value)) else {
            return false;
        };
        *self = Self { value: Some(value), epoch };
        true
    }
}
