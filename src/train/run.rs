//! A training on its own thread.

use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::log::{Entry, Log};
use super::workers::{SharedThreads, loss_and_gradients, threads};
use super::{
    Checkpoint, EpochSamples, GradientClipping, Optimiser, OptimiserConfig, Position, Sample, Schedule, StepPart,
    next_folder,
};
use crate::files::write_whole;
use crate::nn::Weights;
use crate::{Device, Error, Result};

/// How often [`Run::wait`] prints a line.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// What a [`Run`] trains: a model together with its data.
///
/// Everything random in it must follow from its seed and the [`Position`] that it is given, and nothing may be drawn from
/// libtorch's own generator: only then does a resumed run go on exactly as if it had never stopped.
pub trait Task: Send {
    /// What the counted items are called, in the plural: `pairs`.
    fn items(&self) -> &'static str;

    /// All that is needed to make the model again; kept in the checkpoint and in `config.json`.
    fn description(&self) -> serde_json::Value;

    /// The weights that are trained and saved.
    fn weights(&self) -> &Weights;

    /// The same, to put those of a checkpoint into them.
    fn weights_mut(&mut self) -> &mut Weights;

    /// Gets the data ready; called once, on the training thread. May end early when the run is to stop.
    fn prepare(&mut self, progress: &Progress) -> Result<()>;

    /// Steps in an epoch; asked after [`Task::prepare`].
    fn steps_per_epoch(&self) -> u64;

    /// The step that follows `position`: at most `workers` parts, whose losses (tensors without dimensions) sum to that of
    /// the step, and how many items they are of.
    fn step(&mut self, position: Position, workers: usize) -> Result<(Vec<StepPart<'_>>, usize)>;

    /// The loss on the validation examples (where there are any) and the samples, after an epoch. `None` when it was given
    /// up because the run is to stop; it is then asked again after the run was resumed.
    fn end_of_epoch(&mut self, progress: &Progress) -> Result<Option<(Option<f64>, Vec<Sample>)>>;
}

/// What all trainings have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSettings {
    /// How many times it goes over the training pictures.
    pub epochs: u64,
    /// Pictures in a step.
    pub batch_pictures: usize,
    /// Each step is shared among so many threads, each with its part of the pictures; their gradients are summed. On a GPU, 1
    /// is best. With another number the result is another one.
    pub workers: usize,
    pub optimiser: OptimiserConfig,
    pub schedule: Schedule,
    pub clip: GradientClipping,
    /// Everything random follows from it: first weights, order, dropout.
    pub seed: u64,
    /// Where it is trained. Results are the same bit for bit on the CPU.
    #[serde(with = "super::device")]
    pub device: Device,
    /// From how many validation pictures a sample of what it has learnt is taken after each epoch.
    pub sample_pictures: usize,
    /// Validation loss is measured on at most so many pictures.
    pub validation_pictures: usize,
    /// The decoded pictures may take so many bytes of memory.
    pub memory_limit: u64,
    /// A checkpoint is written at the end of each epoch, when the run is stopped, and in between after so many seconds.
    /// When it is written changes nothing in the result.
    pub checkpoint_seconds: f64,
    /// The folder of the run; `None` makes the next free `saved_models/runs/<kind>-<number>`.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

impl Default for RunSettings {
    /// The course's: RMSprop with 10⁻⁴, gradients clipped at norm 5, batches of 100.
    fn default() -> Self {
        Self {
            epochs: 20,
            batch_pictures: 100,
            workers: 1,
            optimiser: OptimiserConfig::rms_prop(1e-4),
            schedule: Schedule::Constant,
            clip: GradientClipping::Norm(5.0),
            seed: 1,
            device: Device::Cpu,
            sample_pictures: 8,
            validation_pictures: 1000,
            memory_limit: 4 << 30,
            checkpoint_seconds: 60.0,
            folder: None,
        }
    }
}

impl RunSettings {
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        for (field, value, range) in [
            ("epochs", self.epochs, 1..=1_000_000),
            ("batch_pictures", self.batch_pictures as u64, 1..=65_536),
            ("workers", self.workers as u64, 1..=1024),
            ("sample_pictures", self.sample_pictures as u64, 0..=1000),
        ] {
            if !range.contains(&value) {
                let expected = format!("must be in {}..={}", range.start(), range.end());
                return Err(Error::config(field, value, expected));
            }
        }
        if !self.checkpoint_seconds.is_finite() || self.checkpoint_seconds < 0.0 {
            return Err(Error::config("checkpoint_seconds", self.checkpoint_seconds, "must be 0 or more"));
        }
        if let Device::Cuda(index) = self.device {
            let devices = tch::Cuda::device_count().max(0) as usize;
            if index >= devices {
                let expected = format!("this machine has {devices} such devices; use Device::Cpu");
                return Err(Error::config("device", super::device_name(self.device), expected));
            }
        }
        self.optimiser.validate()?;
        self.clip.validate()
    }
}

/// What a run is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Getting the data ready.
    Preparing {
        done: usize,
        total: usize,
    },
    Training,
    /// Measuring the loss on the validation examples.
    Validating,
    /// All epochs are done.
    Finished,
    /// Stopped at a checkpoint, and can be resumed.
    Stopped,
    /// Ended by an error, which this is.
    Failed(String),
}

/// Where a run stands. Its `Display` is one line.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub phase: Phase,
    /// The epoch under way, counted from 1.
    pub epoch: u64,
    pub epochs: u64,
    /// Steps done in this epoch.
    pub step: u64,
    /// Steps in an epoch; 0 while that is not known.
    pub steps: u64,
    /// The training loss, smoothed over the last steps.
    pub loss: Option<f64>,
    /// The validation loss of the last epoch.
    pub validation_loss: Option<f64>,
    /// Items trained on in a second, since the run began or was resumed.
    pub rate: f64,
    /// What the items are called: `pairs`.
    pub items: &'static str,
    /// How long it has trained since it began or was resumed.
    pub elapsed: Duration,
    /// How long it will go on, if it goes on as fast as until now.
    pub remaining: Option<Duration>,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, epochs, step, steps, .. } = self;
        match &self.phase {
            Phase::Preparing { total: 0, .. } => return write!(formatter, "getting ready"),
            Phase::Preparing { done, total } => return write!(formatter, "getting ready: {done} of {total}"),
            Phase::Failed(problem) => return write!(formatter, "failed in epoch {epoch}: {problem}"),
            Phase::Finished => write!(formatter, "finished {epochs} epochs")?,
            Phase::Stopped => write!(formatter, "stopped in epoch {epoch} of {epochs}, step {step} of {steps}")?,
            Phase::Training => write!(formatter, "epoch {epoch} of {epochs}, step {step} of {steps}")?,
            Phase::Validating => write!(formatter, "epoch {epoch} of {epochs}, validating")?,
        }
        if let Some(loss) = self.loss {
            write!(formatter, ", loss {loss:.3}")?;
        }
        if let Some(loss) = self.validation_loss {
            write!(formatter, ", validation {loss:.3}")?;
        }
        if self.rate > 0.0 {
            write!(formatter, ", {:.0} {}/s", self.rate, self.items)?;
        }
        match (&self.phase, self.remaining) {
            (Phase::Training | Phase::Validating, Some(remaining)) => {
                write!(formatter, ", {} left", clock(remaining))
            }
            (Phase::Finished | Phase::Stopped, _) => write!(formatter, ", {} in all", clock(self.elapsed)),
            _ => Ok(()),
        }
    }
}

/// `1:05:09`, `2:07`, `0:09`.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// The losses of a run. Each point is (epochs trained, loss); the first coordinate has fractions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// A point a step.
    pub training_loss: Vec<(f64, f64)>,
    /// A point an epoch; empty where the data has no validation examples.
    pub validation_loss: Vec<(f64, f64)>,
}

/// How a [`Task`] speaks to those who watch its run.
#[derive(Debug, Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    status: Status,
    curves: Curves,
    samples: Vec<EpochSamples>,
    notes: Vec<String>,
    error: Option<Error>,
    ended: bool,
}

impl Progress {
    /// True when the run is to stop: what takes long should give up.
    pub fn should_stop(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Says how far [`Task::prepare`] has come.
    pub fn preparing(&self, done: usize, total: usize) {
        self.state().status.phase = Phase::Preparing { done, total };
    }

    /// Keeps a sentence for [`Run::notes`], such as which pictures could not be read.
    pub fn note(&self, note: impl Into<String>) {
        self.state().notes.push(note.into());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is reported by itself; what was written before it is still true.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A training on its own thread: look at it, stop it, wait for it, and resume it later from its folder.
///
/// Dropping a `Run` stops its training at a checkpoint.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    progress: Progress,
    thread: Option<JoinHandle<()>>,
}

impl Run {
    /// Starts a task of a kind (`captioner`) in a folder that holds no run yet. The folder is made where it is missing.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range, [`Error::Run`] when the folder holds a run already, and
    /// [`Error::File`] when it cannot be written.
    pub fn start(kind: &str, task: Box<dyn Task>, settings: RunSettings) -> Result<Self> {
        settings.validate()?;
        let folder = match &settings.folder {
            Some(folder) => folder.clone(),
            None => next_folder(kind)?,
        };
        std::fs::create_dir_all(&folder).map_err(|source| {
            Error::file(&folder, "make the run's folder", source, "Name a folder that may be written.")
        })?;
        let lock = Lock::take(&folder)?;
        if folder.join(super::CHECKPOINT_FILE).exists() {
            return Err(Error::Run {
                problem: format!("{} holds a run already", folder.display()),
                help: "Resume it, or name another folder.".to_string(),
            });
        }
        let optimiser = Optimiser::new(settings.optimiser, settings.clip, task.weights().trainable())?;
        let description = description_of(&*task);
        let text = serde_json::to_string_pretty(&description).unwrap_or_default() + "\n";
        write_whole(&folder.join("config.json"), "write the configuration", text.as_bytes())?;
        let (log, _) = Log::open(&folder, 0)?;
        Checkpoint::write(&folder, &description, Position::default(), task.weights(), &optimiser)?;
        Self::spawn(folder, lock, task, settings, optimiser, log, Vec::new(), Position::default(), Vec::new())
    }

    /// Goes on from a checkpoint of `folder`, whose weights are put into those of `task`.
    ///
    /// # Errors
    /// [`Error::Run`] when the run is being trained by another process, [`Error::Weights`] when the checkpoint does not fit
    /// the task.
    pub fn go_on(folder: impl Into<PathBuf>, mut task: Box<dyn Task>, settings: RunSettings) -> Result<Self> {
        let folder = folder.into();
        settings.validate()?;
        let lock = Lock::take(&folder)?;
        // Read under the lock: nobody replaces it from here on.
        let Checkpoint { position, tensors, description } = Checkpoint::read(&folder)?;
        let path = folder.join(super::CHECKPOINT_FILE);
        task.weights_mut().assign(&tensors, &path)?;
        let mut optimiser = Optimiser::new(settings.optimiser, settings.clip, task.weights().trainable())?;
        optimiser.restore(position.step, &tensors, &path)?;
        let (log, entries) = Log::open(&folder, position.log_bytes)?;
        let (before, now) = (&description["threads"], threads());
        let changed = (*before != now).then(|| {
            format!(
                "the run used {before} threads before and {now} now: it goes on, but sums may differ in their last bits"
            )
        });
        Self::spawn(folder, lock, task, settings, optimiser, log, entries, position, changed.into_iter().collect())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a trainer, handed over once")]
    fn spawn(
        folder: PathBuf,
        lock: Lock,
        task: Box<dyn Task>,
        settings: RunSettings,
        optimiser: Optimiser,
        log: Log,
        entries: Vec<Entry>,
        position: Position,
        notes: Vec<String>,
    ) -> Result<Self> {
        let status = Status {
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
        };
        let mut state =
            State { status, curves: Curves::default(), samples: Vec::new(), notes, error: None, ended: false };
        entries.into_iter().for_each(|entry| state.record(entry));
        let shared = Shared { stop: AtomicBool::new(false), state: Mutex::new(state), ended: Condvar::new() };
        let progress = Progress { shared: Arc::new(shared) };
        let mut trainer = Trainer {
            folder: folder.clone(),
            description: description_of(&*task),
            task,
            settings,
            optimiser,
            log,
            position,
            progress: progress.clone(),
            began: Instant::now(),
            items: 0,
            steps: 0,
            _lock: lock,
        };
        let thread = std::thread::Builder::new().name("captionlab training".into()).spawn(move || trainer.run());
        let thread = thread.map_err(|source| {
            Error::file(&folder, "start the training thread", source, "Close other programs, and try again.")
        })?;
        Ok(Self { folder, progress, thread: Some(thread) })
    }

    /// The folder that holds the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the run stands.
    pub fn status(&self) -> Status {
        self.progress.state().status.clone()
    }

    /// True while the thread is at work.
    pub fn is_running(&self) -> bool {
        !self.progress.state().ended
    }

    /// The losses until now, from the first step on, also where the run was resumed.
    pub fn curves(&self) -> Curves {
        self.progress.state().curves.clone()
    }

    /// What the model made of some fixed validation examples after each epoch.
    pub fn samples(&self) -> Vec<EpochSamples> {
        self.progress.state().samples.clone()
    }

    /// What was noticed on the way, a sentence each: which pictures could not be read.
    pub fn notes(&self) -> Vec<String> {
        self.progress.state().notes.clone()
    }

    /// Waits until the training ends, and prints a status line about every two seconds; at the end the first of the [`Run::notes`].
    ///
    /// # Errors
    /// The error that ended the training; a panic in it becomes an [`Error::Run`].
    pub fn wait(&mut self) -> Result<()> {
        const MOST_NOTES: usize = 10;
        let result = self.wait_with(|status| println!("{status}"));
        let notes = self.notes();
        notes.iter().take(MOST_NOTES).for_each(|note| println!("{note}"));
        if let Some(more @ 1..) = notes.len().checked_sub(MOST_NOTES) {
            println!("… and {more} more lines: `notes()` of this run has them all.");
        }
        result
    }

    /// As [`Run::wait`], but each status is given to `show`, not printed.
    ///
    /// # Errors
    /// As [`Run::wait`].
    pub fn wait_with(&mut self, mut show: impl FnMut(&Status)) -> Result<()> {
        let mut shown = String::new();
        loop {
            let state = self.progress.state();
            let wait = self.progress.shared.ended.wait_timeout_while(state, STATUS_EVERY, |state| !state.ended);
            let (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
            let (status, ended) = (state.status.clone(), state.ended);
            drop(state);
            let line = status.to_string();
            if line != shown && !matches!(status.phase, Phase::Failed(_)) {
                show(&status);
                shown = line;
            }
            if ended {
                return self.finish();
            }
        }
    }

    /// Stops the training at a checkpoint, from which it can be resumed. Returns when that is written.
    ///
    /// # Errors
    /// The error that ended the training before it was stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.progress.shared.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(thread) = self.thread.take() {
            // The thread catches its panics and keeps them as an error.
            thread.join().ok();
        }
        let mut state = self.progress.state();
        match (state.error.take(), &state.status.phase) {
            (Some(error), _) => Err(error),
            // The error itself was returned before.
            (None, Phase::Failed(problem)) => Err(Error::Run {
                problem: problem.clone(),
                help: "Start or resume it once the cause is mended.".into(),
            }),
            (None, _) => Ok(()),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop().ok();
    }
}

impl State {
    /// Takes an entry of the log into what can be looked at.
    fn record(&mut self, entry: Entry) {
        match entry {
            Entry::Step { epochs, loss, .. } => {
                self.status.loss = Some(self.status.loss.map_or(loss, |smooth| smooth + 0.05 * (loss - smooth)));
                self.curves.training_loss.push((epochs, loss));
            }
            Entry::Epoch { epoch, validation_loss, samples } => {
                if let Some(loss) = validation_loss {
                    self.status.validation_loss = Some(loss);
                    self.curves.validation_loss.push((epoch as f64, loss));
                }
                self.samples.push(EpochSamples { epoch, samples });
            }
        }
    }
}

/// What a checkpoint says of a task: also how many threads computed it, since sums depend on that.
fn description_of(task: &dyn Task) -> serde_json::Value {
    let mut description = task.description();
    description["threads"] = threads().into();
    description
}

/// Held while a process trains in a folder; the system releases it when the process ends, however it ends.
#[derive(Debug)]
struct Lock {
    _file: File,
}

impl Lock {
    fn take(folder: &Path) -> Result<Self> {
        let path = folder.join("run.lock");
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(|source| {
            Error::file(&path, "lock the run's folder", source, "Name the folder of a run; it must be writable.")
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(Error::Run {
                problem: format!("{} is being trained already", folder.display()),
                help: "Stop the other run first, or name another folder.".to_string(),
            }),
            // A file system without locks: better to train unguarded than not at all.
            Err(std::fs::TryLockError::Error(_)) => Ok(Self { _file: file }),
        }
    }
}

/// What the training thread works with.
struct Trainer {
    folder: PathBuf,
    description: serde_json::Value,
    task: Box<dyn Task>,
    settings: RunSettings,
    optimiser: Optimiser,
    log: Log,
    position: Position,
    progress: Progress,
    /// When the first step of this process began.
    began: Instant,
    /// Items and steps of this process.
    items: usize,
    steps: u64,
    _lock: Lock,
}

impl Trainer {
    fn run(&mut self) {
        let result = catch_unwind(AssertUnwindSafe(|| self.train())).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
            Err(Error::Run {
                problem: format!("the training panicked: {text}"),
                help: "Report this: it is a fault of captionlab.".to_string(),
            })
        });
        let mut state = self.progress.state();
        match result {
            Ok(phase) => state.status.phase = phase,
            Err(error) => {
                state.status.phase = Phase::Failed(error.to_string());
                state.error = Some(error);
            }
        }
        state.ended = true;
        self.progress.shared.ended.notify_all();
    }

    fn train(&mut self) -> Result<Phase> {
        self.task.prepare(&self.progress)?;
        if self.progress.should_stop() {
            return Ok(Phase::Stopped);
        }
        let steps = self.task.steps_per_epoch();
        if steps == 0 {
            let mut problem = "there is nothing to train on".to_string();
            let mut help = "Give it examples of the split `train`.".to_string();
            // The first note counts the pictures that could not be read, the others name them.
            if let Some(unreadable) = self.progress.state().notes.get(1) {
                problem += ": no picture of the split `train` could be read";
                help = format!("Check the pictures of the data set. The first: {unreadable}");
            }
            return Err(Error::Run { problem, help });
        }
        let _threads = SharedThreads::among(self.settings.workers);
        self.set_phase(Phase::Training, steps);
        self.began = Instant::now();
        let mut saved = Instant::now();
        while self.position.epoch < self.settings.epochs {
            while self.position.step_in_epoch < steps {
                if self.progress.should_stop() {
                    self.save()?;
                    return Ok(Phase::Stopped);
                }
                self.step(steps)?;
                if saved.elapsed().as_secs_f64() >= self.settings.checkpoint_seconds {
                    self.save()?;
                    saved = Instant::now();
                }
            }
            self.set_phase(Phase::Validating, steps);
            let Some((validation_loss, samples)) = self.task.end_of_epoch(&self.progress)? else {
                self.save()?;
                return Ok(Phase::Stopped);
            };
            self.position.epoch += 1;
            self.position.step_in_epoch = 0;
            self.record(Entry::Epoch { epoch: self.position.epoch, validation_loss, samples })?;
            self.save()?;
            saved = Instant::now();
            self.set_phase(Phase::Training, steps);
        }
        Ok(Phase::Finished)
    }

    fn step(&mut self, steps: u64) -> Result<()> {
        let (parts, items) = self.task.step(self.position, self.settings.workers)?;
        let (loss, gradients) = loss_and_gradients(parts, &self.optimiser.weights())?;
        if !loss.is_finite() {
            let step = self.position.step + 1;
            return Err(Error::Run {
                problem: format!("the loss is {loss} at step {step}"),
                help: "Use a smaller learning rate, or clip the gradients; the last checkpoint is from before.".into(),
            });
        }
        let share = self.settings.schedule.share(self.position.step, steps * self.settings.epochs);
        self.optimiser.follow(gradients, share)?;
        self.position.step += 1;
        self.position.step_in_epoch += 1;
        self.items += items;
        self.steps += 1;
        let epochs = self.position.epoch as f64 + self.position.step_in_epoch as f64 / steps as f64;
        let learning_rate = share * self.settings.optimiser.learning_rate();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Random;
    use tch::{Device, Kind, Tensor};

    /// Fits a line to points that are drawn step by step.
    struct Line {
        weights: Weights,
        slope: Tensor,
        trouble: Option<Trouble>,
        pause: Duration,
    }

    #[derive(Clone, Copy)]
    enum Trouble {
        Panic,
        Error,
        NotANumber,
    }

    impl Line {
        fn new() -> Self {
            let mut weights = Weights::new(3, Device::Cpu);
            let slope = weights.uniform("slope", &[4], 1.0);
            Self { weights, slope, trouble: None, pause: Duration::ZERO }
        }
    }

    impl Task for Line {
        fn items(&self) -> &'static str {
            "points"
        }
        fn description(&self) -> serde_json::Value {
            serde_json::json!({ "kind": "line" })
        }
        fn weights(&self) -> &Weights {
            &self.weights
        }
        fn weights_mut(&mut self) -> &mut Weights {
            &mut self.weights
        }
        fn prepare(&mut self, progress: &Progress) -> Result<()> {
            progress.preparing(1, 2);
            progress.note("a point was left out");
            Ok(())
        }
        fn steps_per_epoch(&self) -> u64 {
            10
        }
        fn step(&mut self, position: Position, workers: usize) -> Result<(Vec<StepPart<'_>>, usize)> {
            std::thread::sleep(self.pause);
            match self.trouble.filter(|_| position.step == 13) {
                Some(Trouble::Panic) => panic!("the line broke"),
                Some(Trouble::Error) => return Err(Error::argument("no more points", "Draw some.")),
                Some(Trouble::NotANumber) => {
                    let slope = self.slope.shallow_clone();
                    return Ok((vec![Box::new(move || Ok((slope * f64::NAN).sum(Kind::Float)))], 1));
                }
                None => {}
            }
            let mut random = Random::stream(1, position.step);
            let part = |_| -> StepPart<'_> {
                let points: Vec<f32> = (0..4).map(|_| random.between(-1.0, 1.0)).collect();
                let slope = self.slope.shallow_clone();
                Box::new(move || Ok((slope * Tensor::from_slice(&points) - 1.0).square().mean(Kind::Float)))
            };
            Ok(((0..workers).map(part).collect(), 4 * workers))
        }
        fn end_of_epoch(&mut self, _: &Progress) -> Result<Option<(Option<f64>, Vec<Sample>)>> {
            Ok(Some((Some(0.5), vec![Sample { name: "point".into(), text: "on the line".into() }])))
        }
    }

    fn settings() -> RunSettings {
        RunSettings {
            epochs: 3,
            optimiser: OptimiserConfig::adam(0.1),
            schedule: Schedule::Cosine { warmup_steps: 2 },
            clip: GradientClipping::Norm(1.0),
            workers: 2,
            checkpoint_seconds: 0.0,
            ..RunSettings::default()
        }
    }

    fn start(folder: &tempfile::TempDir, line: Line) -> Result<Run> {
        Run::start("line", Box::new(line), RunSettings { folder: Some(folder.path().into()), ..settings() })
    }

    fn result_of(folder: &Path) -> Vec<f32> {
        let checkpoint = Checkpoint::read(folder).unwrap();
        assert_eq!((checkpoint.position.epoch, checkpoint.position.step), (3, 30));
        Vec::try_from(&checkpoint.tensors["slope"]).unwrap()
    }

    #[test]
    fn a_run_trains_and_can_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = start(&folder, Line::new()).unwrap();
        run.wait().unwrap();
        assert!(!run.is_running());
        assert_eq!(run.status().phase, Phase::Finished);
        assert!(run.status().to_string().starts_with("finished 3 epochs, loss "), "{}", run.status());
        let curves = run.curves();
        assert_eq!(curves.training_loss.len(), 30);
        assert_eq!(curves.training_loss[0].0, 0.1);
        assert_eq!(curves.validation_loss, [(1.0, 0.5), (2.0, 0.5), (3.0, 0.5)]);
        assert_eq!(run.samples().len(), 3);
        assert_eq!(run.samples()[2].samples[0].text, "on the line");
        assert_eq!(run.notes(), ["a point was left out"]);
        assert_eq!(result_of(folder.path()).len(), 4);
    }

    #[test]
    fn a_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
        let whole = tempfile::tempdir().unwrap();
        start(&whole, Line::new()).unwrap().wait().unwrap();

        let parts = tempfile::tempdir().unwrap();
        let slow = || Line { pause: Duration::from_millis(3), ..Line::new() };
        let mut run = start(&parts, slow()).unwrap();
        let mut stops = 0;
        loop {
            std::thread::sleep(Duration::from_millis(30));
            run.stop().unwrap();
            if run.status().phase == Phase::Finished {
                break;
            }
            stops += 1;
            drop(run);
            run = Run::go_on(parts.path(), Box::new(slow()), settings()).unwrap();
        }
        assert!(stops > 0);
        assert_eq!(result_of(parts.path()), result_of(whole.path()));
        assert_eq!(run.curves().training_loss.len(), 30);
        assert_eq!(run.samples().len(), 3);
    }

    #[test]
    fn what_ends_a_training_is_returned_and_the_checkpoint_stays_from_before() {
        for (trouble, expected) in [
            (Trouble::Panic, "the line broke"),
            (Trouble::Error, "no more points"),
            (Trouble::NotANumber, "the loss is NaN at step 14"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut run = start(&folder, Line { trouble: Some(trouble), ..Line::new() }).unwrap();
            let message = run.wait().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(matches!(run.status().phase, Phase::Failed(_)));
            assert!(run.wait().unwrap_err().to_string().contains(expected));
            assert_eq!(Checkpoint::read(folder.path()).unwrap().position.step, 13);
            drop(run);
            let mut run = Run::go_on(folder.path(), Box::new(Line::new()), settings()).unwrap();
            run.wait().unwrap();
        }
    }

    #[test]
    fn a_folder_holds_one_run_and_one_trains_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let slow = Line { pause: Duration::from_millis(20), ..Line::new() };
        let run = start(&folder, slow).unwrap();
        let error = Run::go_on(folder.path(), Box::new(Line::new()), settings()).unwrap_err().to_string();
        assert!(error.contains("is being trained already"), "{error}");
        drop(run);
        let error = start(&folder, Line::new()).unwrap_err().to_string();
        assert!(error.contains("holds a run already"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let error = Run::go_on(empty.path(), Box::new(Line::new()), settings()).unwrap_err().to_string();
        assert!(error.contains("holds no checkpoint"), "{error}");
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = RunSettings::default;
        good().validate().unwrap();
        for (settings, field) in [
            (RunSettings { epochs: 0, ..good() }, "epochs"),
            (RunSettings { epochs: 1_000_001, ..good() }, "epochs"),
            (RunSettings { batch_pictures: 0, ..good() }, "batch_pictures"),
            (RunSettings { workers: 0, ..good() }, "workers"),
            (RunSettings { sample_pictures: 1001, ..good() }, "sample_pictures"),
            (RunSettings { checkpoint_seconds: f64::NAN, ..good() }, "checkpoint_seconds"),
            (RunSettings { checkpoint_seconds: -1.0, ..good() }, "checkpoint_seconds"),
            (RunSettings { optimiser: OptimiserConfig::adam(0.0), ..good() }, "optimiser.learning_rate"),
            (RunSettings { optimiser: OptimiserConfig::rms_prop(-1.0), ..good() }, "optimiser.learning_rate"),
            (RunSettings { clip: GradientClipping::Norm(0.0), ..good() }, "clip"),
            (RunSettings { device: Device::Cuda(99), ..good() }, "device"),
        ] {
            let error = settings.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }

    #[test]
    fn a_run_of_another_number_of_threads_says_so() {
        let folder = tempfile::tempdir().unwrap();
        start(&folder, Line::new()).unwrap().wait().unwrap();
        let Checkpoint { position, mut description, .. } = Checkpoint::read(folder.path()).unwrap();
        let line = Line::new();
        let optimiser = Optimiser::new(settings().optimiser, settings().clip, line.weights.trainable()).unwrap();
        description["threads"] = 99.into();
        Checkpoint::write(folder.path(), &description, position, &line.weights, &optimiser).unwrap();
        let run = Run::go_on(folder.path(), Box::new(line), settings()).unwrap();
        assert!(run.notes()[0].contains("used 99 threads before"), "{:?}", run.notes());
    }

    #[test]
    fn a_status_is_one_line() {
        let status = Status {
            phase: Phase::Training,
            epoch: 2,
            epochs: 8,
            step: 30,
            steps: 94,
            loss: Some(2.0),
            validation_loss: None,
            rate: 512.4,
            items: "pairs",
            elapsed: Duration::from_secs(20),
            remaining: Some(Duration::from_secs(67)),
        };
        assert_eq!(status.to_string(), "epoch 2 of 8, step 30 of 94, loss 2.000, 512 pairs/s, 1:07 left");
        let ready = Status { phase: Phase::Preparing { done: 128, total: 3300 }, ..status.clone() };
        assert_eq!(ready.to_string(), "getting ready: 128 of 3300");
        let stopped = Status { phase: Phase::Stopped, validation_loss: Some(1.5), ..status };
        assert_eq!(
            stopped.to_string(),
            "stopped in epoch 2 of 8, step 30 of 94, loss 2.000, validation 1.500, 512 pairs/s, 0:20 in all"
        );
    }
}
