//! A training on its own thread: what starts, resumes, watches and stops it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::examples::data_description;
use super::trainer::Trainer;
use super::{
    Curves, EpochSamples, Model, Phase, Progress, Resumed, RunSettings, Status, Task, Trainable, folder, next_folder,
};
use crate::data::Dataset;
use crate::error::Within;
use crate::files::write_whole;
use crate::nn::read_tensors;
use crate::{Error, Result};

/// How often [`Run::wait`] prints a line.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// A training of fewer steps is said to be too short.
const FEW_STEPS: usize = 100;

/// The version of what a checkpoint says about its run. Checkpoints without one are read too.
const FORMAT: u64 = 1;

/// A training on its own thread: look at it, stop it, wait for it, and resume it later from its folder.
///
/// Dropping a `Run` stops its training at a checkpoint.
///
/// ```no_run
/// use captionlab::data::{Dataset, ScenesConfig};
/// use captionlab::train::Run;
/// use captionlab::vision::{DetectorTraining, FasterRcnn};
///
/// let dataset = Dataset::scenes(&ScenesConfig::default())?;
/// let mut run = Run::start(&DetectorTraining::scenes(), &dataset)?;
/// run.wait()?;
/// let detector: FasterRcnn = run.model()?;
///
/// // Later, perhaps in another process:
/// let mut run = Run::resume::<DetectorTraining>("saved_models/runs/detector-1", &dataset)?;
/// run.wait()?;
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    progress: Progress,
    thread: Option<JoinHandle<()>>,
}

impl Run {
    /// Starts a training on the training examples of a data set, in a new folder of its own.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range, [`Error::Argument`] when the data set has nothing to train on,
    /// [`Error::Run`] when the named folder holds anything, which then stays untouched, and [`Error::File`] when it cannot be
    /// written.
    pub fn start<T: Trainable>(training: &T, dataset: &Dataset) -> Result<Self> {
        training.validate()?;
        let task = training.task(dataset, None)?;
        let about = json!({ "training": training, "data": data_description(dataset) });
        Self::start_task(T::Model::KIND, task, training.run().clone(), about)
    }

    /// Goes on with a run from its last checkpoint, as if it had never stopped.
    ///
    /// # Errors
    /// [`Error::Run`] when the folder holds no run, one of another kind, or one that is being trained already;
    /// [`Error::Argument`] when the data set is another one. The folder stays untouched then.
    pub fn resume<T: Trainable>(folder: impl AsRef<Path>, dataset: &Dataset) -> Result<Self> {
        let folder = folder.as_ref();
        let (lock, checkpoint) = folder::reopen(folder)?;
        let description = &checkpoint.description;
        let kind = description["kind"].as_str().unwrap_or_default();
        if kind != T::Model::KIND {
            return Err(Error::Run {
                problem: format!("{} is a run of the kind `{kind}`, not `{}`", folder.display(), T::Model::KIND),
                help: "Resume it as what it is.".to_string(),
            });
        }
        let newer = description["format"].as_u64().is_some_and(|format| format > FORMAT);
        let training: T = match serde_json::from_value(description["training"].clone()) {
            Ok(training) if !newer => training,
            read => {
                let problem =
                    read.err().map_or("its format is newer than this version's".to_string(), |error| error.to_string());
                return Err(Error::Run {
                    problem: format!("{} cannot be resumed: {problem}", folder.display()),
                    help: "Resume it with the version of captionlab that wrote it, or train anew.".to_string(),
                });
            }
        };
        check_data(folder, &description["data"], dataset)?;
        training.validate()?;
        let task = training.task(dataset, Some(Resumed { folder, checkpoint: &checkpoint }))?;
        let settings = training.run().clone();
        Self::spawn(Trainer::resume(folder, lock, task, settings, checkpoint)?)
    }

    /// Starts a task of your own; `about` is a JSON object that is kept with it.
    ///
    /// # Errors
    /// As [`Run::start`].
    pub fn start_task(kind: &str, mut task: Box<dyn Task>, settings: RunSettings, about: Value) -> Result<Self> {
        settings.validate().within("run")?;
        for source in &settings.start_from {
            let path = super::weights_file(&source.path);
            let (tensors, _) = read_tensors(&path)?;
            task.weights_mut().assign_prefix(&source.prefix, &tensors, &path)?;
        }
        let folder = match &settings.folder {
            Some(folder) => folder.clone(),
            None => next_folder(kind)?,
        };
        let mut description = task.model_description();
        if let (Some(description), Value::Object(about)) = (description.as_object_mut(), about) {
            description.extend(about);
        }
        description["format"] = FORMAT.into();
        description["kind"] = kind.into();
        description["threads"] = settings.threads.unwrap_or(tch::get_num_threads() as usize).into();
        let lock = folder::claim(&folder)?;
        for (name, text) in task.files()? {
            write_whole(&folder.join(name), "write what belongs to the model", text.as_bytes())?;
        }
        Self::spawn(Trainer::start(&folder, lock, task, settings, description)?)
    }

    fn spawn(mut trainer: Trainer) -> Result<Self> {
        let config = trainer.folder().join(super::CONFIG_FILE);
        // A run that is resumed has it, unless it was killed right after its first checkpoint.
        if !config.exists() {
            let text = format!("{:#}\n", trainer.description());
            write_whole(&config, "write the configuration", text.as_bytes())?;
        }
        let (folder, progress) = (trainer.folder().to_path_buf(), trainer.progress());
        let thread = std::thread::Builder::new().name("captionlab training".into()).spawn(move || trainer.run());
        let thread = thread.map_err(|source| Error::Run {
            problem: format!("its thread cannot be started: {source}"),
            help: "Close other programs, and try again.".to_string(),
        })?;
        Ok(Self { folder, progress, thread: Some(thread) })
    }

    /// The folder that holds the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model as it was at the best epoch, where the run keeps that, or else at the last checkpoint.
    ///
    /// ```no_run
    /// # let run: captionlab::train::Run = todo!();
    /// let captioner = run.model::<captionlab::caption::Captioner>()?;
    /// # Ok::<(), captionlab::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Weights`] when the run trains another kind of model.
    pub fn model<M: Model>(&self) -> Result<M> {
        M::load(&self.folder)
    }

    /// Where the run stands.
    pub fn status(&self) -> Status {
        self.progress.status()
    }

    /// True while the thread is at work.
    pub fn is_running(&self) -> bool {
        !self.progress.has_ended()
    }

    /// The losses and metrics until now, from the first step on, also where the run was resumed.
    pub fn curves(&self) -> Curves {
        self.progress.curves()
    }

    /// What the model made of some fixed examples after each epoch.
    pub fn samples(&self) -> Vec<EpochSamples> {
        self.progress.samples()
    }

    /// What others may watch the run by, also while it is moved or waited for.
    #[cfg(feature = "live")]
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
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
        let steps = self.curves().training_loss.len();
        if self.status().phase == Phase::Finished && steps < FEW_STEPS {
            println!("Only {steps} steps: if it has learnt too little, raise `run.epochs` or give more examples.");
        }
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
            let (status, ended) = self.progress.wait(STATUS_EVERY);
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
        self.progress.request_stop();
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

/// Displays the folder and the status.
impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "run in {}: {}", self.folder.display(), self.status())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop().ok();
    }
}

/// Checks that a data set is the one that a run was started with, by all that the run said about it.
fn check_data(folder: &Path, was: &Value, dataset: &Dataset) -> Result<()> {
    let now = data_description(dataset);
    // Versions before this one said less.
    let same = was.as_object().is_some_and(|was| was.iter().all(|(key, value)| now.get(key) == Some(value)));
    if same {
        return Ok(());
    }
    Err(Error::argument(
        format!("{} was started with another data set than {}: {was}", folder.display(), dataset.name),
        "Resume it with the data set that it was started with; its examples, captions and boxes must be the same.",
    ))
}

crate::in_cells::shown_in_cells!(Run);

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::data::scenes::ScenesConfig;
    use crate::data::{Random, Split};
    use crate::nn::Weights;
    use crate::train::log::LOG_FILE;
    use crate::train::{
        BEST_FILE, CHECKPOINT_FILE, Checkpoint, EpochEnd, Goal, GradientClipping, KeepBest, OptimiserConfig, Position,
        Sample, Schedule, StartFrom, StepPart,
    };

    /// Fits a line to points that are drawn step by step.
    struct LineTask {
        weights: Weights,
        slope: Tensor,
        offset: Tensor,
        training: LineTraining,
        epochs: u64,
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct LineTraining {
        trouble: Option<Trouble>,
        pause_milliseconds: u64,
        run: RunSettings,
    }

    #[derive(Clone, Copy, Serialize, Deserialize)]
    enum Trouble {
        Panic,
        Error,
        NotANumber,
    }

    #[derive(Debug)]
    struct Line {
        slope: Vec<f32>,
    }

    impl Model for Line {
        const KIND: &'static str = "line";
        const SHIPPED: Option<&'static str> = None;
        type Evaluation = f64;

        fn load(path: &Path) -> Result<Self> {
            let (tensors, _, _) = crate::train::read_model::<Value>(path, Self::KIND)?;
            Ok(Self { slope: Vec::try_from(&tensors["slope"])? })
        }

        fn evaluate(&self, _: &Dataset, _: Split) -> Result<f64> {
            Ok(0.0)
        }
    }

    impl Trainable for LineTraining {
        type Model = Line;

        fn run(&self) -> &RunSettings {
            &self.run
        }

        fn run_mut(&mut self) -> &mut RunSettings {
            &mut self.run
        }

        fn validate(&self) -> Result<()> {
            self.run.validate().within("run")
        }

        fn task(&self, _: &Dataset, resumed: Option<Resumed<'_>>) -> Result<Box<dyn Task>> {
            let mut weights = Weights::new(self.run.seed, Device::Cpu);
            let (slope, offset) = (weights.uniform("slope", &[4], 1.0), weights.uniform("offset", &[4], 1.0));
            let epochs = resumed.map_or(0, |resumed| resumed.checkpoint.position.epoch);
            // What went wrong once does not go wrong again.
            let training = Self { trouble: self.trouble.filter(|_| resumed.is_none()), ..self.clone() };
            Ok(Box::new(LineTask { weights, slope, offset, training, epochs }))
        }
    }

    impl Task for LineTask {
        fn items(&self) -> &'static str {
            "points"
        }

        fn model_description(&self) -> Value {
            json!({ "line": 1 })
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
            std::thread::sleep(Duration::from_millis(self.training.pause_milliseconds));
            match self.training.trouble.filter(|_| position.step == 13) {
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
                let (slope, offset) = (self.slope.shallow_clone(), self.offset.shallow_clone());
                Box::new(move || Ok((slope * Tensor::from_slice(&points) + offset - 1.0).square().mean(Kind::Float)))
            };
            Ok(((0..workers).map(part).collect(), 4 * workers))
        }

        fn end_of_epoch(&mut self, _: &Progress) -> Result<Option<EpochEnd>> {
            self.epochs += 1;
            // Best in its second epoch.
            let metrics = [("height".to_string(), -(self.epochs as f64 - 2.0).abs())].into();
            let samples = vec![Sample { name: "point".into(), text: "on the line".into() }];
            Ok(Some(EpochEnd { loss: Some(0.5), metrics, samples }))
        }
    }

    fn training(folder: &Path) -> LineTraining {
        LineTraining {
            trouble: None,
            pause_milliseconds: 0,
            run: RunSettings {
                epochs: 3,
                optimiser: OptimiserConfig::adam(0.1),
                schedule: Schedule::Cosine { warmup_steps: 2 },
                clip: GradientClipping::Norm(1.0),
                workers: 2,
                checkpoint_seconds: 0.0,
                folder: Some(folder.into()),
                ..RunSettings::default()
            },
        }
    }

    fn data() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 2, validation: 0, test: 0, seed: 1 }).unwrap()
    }

    fn start(training: &LineTraining) -> Result<Run> {
        Run::start(training, &data())
    }

    fn resume(folder: &Path) -> Result<Run> {
        Run::resume::<LineTraining>(folder, &data())
    }

    fn result_of(folder: &Path) -> Vec<f32> {
        let checkpoint = Checkpoint::read(folder).unwrap();
        assert_eq!((checkpoint.position.epoch, checkpoint.position.step), (3, 30));
        Vec::try_from(&checkpoint.tensors["slope"]).unwrap()
    }

    /// The names and contents of a folder's files.
    fn contents(folder: &Path) -> std::collections::BTreeMap<std::ffi::OsString, Vec<u8>> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
    }

    #[test]
    fn a_run_trains_and_can_be_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = start(&training(folder.path())).unwrap();
        run.wait().unwrap();
        assert!(!run.is_running());
        assert_eq!(run.status().phase, Phase::Finished);
        assert!(run.status().to_string().starts_with("finished 3 epochs, loss "), "{}", run.status());
        let curves = run.curves();
        assert_eq!(curves.training_loss.len(), 30);
        assert_eq!(curves.training_loss[0].0, 0.1);
        assert_eq!(curves.validation_loss, [(1.0, 0.5), (2.0, 0.5), (3.0, 0.5)]);
        assert_eq!(curves.metrics["height"], [(1.0, -1.0), (2.0, 0.0), (3.0, -1.0)]);
        assert_eq!(run.samples().len(), 3);
        assert_eq!(run.samples()[2].samples[0].text, "on the line");
        assert_eq!(run.notes(), ["a point was left out"]);
        assert_eq!(run.model::<Line>().unwrap().slope, result_of(folder.path()));
    }

    #[test]
    fn a_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
        for schedule in [Schedule::Cosine { warmup_steps: 2 }, Schedule::Plateau { factor: 0.5, patience: 0 }] {
            stopped_again_and_again(schedule);
        }
    }

    fn stopped_again_and_again(schedule: Schedule) {
        let training = |folder: &Path| {
            let training = training(folder);
            LineTraining { run: RunSettings { schedule, ..training.run }, ..training }
        };
        let whole = tempfile::tempdir().unwrap();
        start(&training(whole.path())).unwrap().wait().unwrap();
        if let Schedule::Plateau { .. } = schedule {
            // The validation loss of this task never falls.
            let log = std::fs::read_to_string(whole.path().join(LOG_FILE)).unwrap();
            let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let rates: Vec<f64> = entries.filter_map(|entry| entry["learning_rate"].as_f64()).collect();
            assert_eq!((rates.len(), rates[0], rates[19], rates[20]), (30, 0.1, 0.1, 0.05));
        }

        let parts = tempfile::tempdir().unwrap();
        let mut run = start(&LineTraining { pause_milliseconds: 3, ..training(parts.path()) }).unwrap();
        let mut stops = 0;
        loop {
            std::thread::sleep(Duration::from_millis(30));
            run.stop().unwrap();
            if run.status().phase == Phase::Finished {
                break;
            }
            stops += 1;
            drop(run);
            run = resume(parts.path()).unwrap();
        }
        assert!(stops > 0);
        assert_eq!(result_of(parts.path()), result_of(whole.path()));
        assert_eq!(run.curves().training_loss.len(), 30);
        assert_eq!(run.samples().len(), 3);
        // A finished run is finished at once.
        drop(run);
        let mut run = resume(parts.path()).unwrap();
        run.wait().unwrap();
        assert!(run.notes().is_empty() && run.status().phase == Phase::Finished);
    }

    #[test]
    fn what_ends_a_training_is_returned_and_the_checkpoint_stays_from_before() {
        for (trouble, expected) in [
            (Trouble::Panic, "the line broke"),
            (Trouble::Error, "no more points"),
            (Trouble::NotANumber, "the loss is NaN at step 14"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut run = start(&LineTraining { trouble: Some(trouble), ..training(folder.path()) }).unwrap();
            let message = run.wait().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(matches!(run.status().phase, Phase::Failed(_)));
            assert!(run.wait().unwrap_err().to_string().contains(expected));
            assert_eq!(Checkpoint::read(folder.path()).unwrap().position.step, 13);
            drop(run);
            resume(folder.path()).unwrap().wait().unwrap();
        }
    }

    #[test]
    fn a_run_stops_early_and_keeps_its_best_epoch() {
        let keep = |metric: &str, goal, patience| Some(KeepBest { metric: metric.into(), goal, patience });
        let with = |folder: &Path, keep_best| {
            let training = training(folder);
            LineTraining { run: RunSettings { epochs: 9, keep_best, ..training.run }, ..training }
        };
        let best_of = |folder: &Path| {
            let (_, metadata) = read_tensors(&folder.join(BEST_FILE)).unwrap();
            metadata["position"]["epoch"].as_u64().unwrap()
        };
        for (metric, goal, patience, epochs, best) in [
            ("height", Goal::Maximise, Some(2), 4, 2),
            ("height", Goal::Maximise, None, 9, 2),
            ("height", Goal::Minimise, None, 9, 9),
            ("height", Goal::Minimise, Some(2), 3, 1),
            ("loss", Goal::Minimise, Some(5), 6, 1),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut run = start(&with(folder.path(), keep(metric, goal, patience))).unwrap();
            run.wait().unwrap();
            let ended = Checkpoint::read(folder.path()).unwrap().position.epoch;
            assert_eq!((ended, best_of(folder.path())), (epochs, best), "{metric} {goal:?} {patience:?}");
            assert_eq!(run.notes().iter().any(|note| note.contains("stopped early")), epochs < 9);
            let (tensors, _) = read_tensors(&folder.path().join(BEST_FILE)).unwrap();
            assert_eq!(run.model::<Line>().unwrap().slope, Vec::<f32>::try_from(&tensors["slope"]).unwrap());
            drop(run);
            // It is at its end when it is resumed, too.
            let mut run = resume(folder.path()).unwrap();
            run.wait().unwrap();
            assert_eq!(run.status().epoch, epochs);
        }
        let folder = tempfile::tempdir().unwrap();
        let unknown = with(folder.path(), keep("width", Goal::Maximise, None));
        let error = start(&unknown).unwrap().wait().unwrap_err().to_string();
        assert!(error.contains("run.keep_best.metric = width") && error.contains("loss, height"), "{error}");
    }

    #[test]
    fn weights_are_taken_from_another_run_and_frozen_by_the_beginning_of_their_names() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        start(&training(first.path())).unwrap().wait().unwrap();
        let mut next = training(second.path());
        next.run.seed = 5;
        next.run.start_from = vec![StartFrom { path: first.path().into(), prefix: "slope".into() }];
        next.run.freeze = vec!["slope".into()];
        let mut run = start(&next).unwrap();
        run.stop().unwrap();
        drop(run);
        resume(second.path()).unwrap().wait().unwrap();
        let tensor = |folder: &Path, name: &str| Checkpoint::read(folder).unwrap().tensors[name].copy();
        assert_eq!(tensor(first.path(), "slope"), tensor(second.path(), "slope"));
        assert_ne!(tensor(first.path(), "offset"), tensor(second.path(), "offset"));
        let moments = Checkpoint::read(second.path()).unwrap().tensors;
        assert!(!moments.contains_key("optimiser.mean.slope") && moments.contains_key("optimiser.mean.offset"));

        let third = tempfile::tempdir().unwrap();
        next.run.folder = Some(third.path().into());
        next.run.freeze = vec!["encoder.".into()];
        let error = start(&next).unwrap_err().to_string();
        assert!(error.contains("run.freeze = encoder."), "{error}");
    }

    #[test]
    fn runs_at_the_same_time_compute_what_they_compute_alone() {
        let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let with = |folder: &Path, workers, threads| {
            let training = training(folder);
            let run = RunSettings { epochs: 3, workers, threads: Some(threads), ..training.run };
            LineTraining { run, pause_milliseconds: 1, ..training }
        };
        let before = tch::get_num_threads();
        let kinds = [(2, 6), (1, 3)];
        let mut together = Vec::new();
        for (folder, (workers, threads)) in folders.iter().zip(kinds) {
            together.push(start(&with(folder.path(), workers, threads)).unwrap());
        }
        together.iter_mut().for_each(|run| run.wait().unwrap());
        for (folder, (workers, threads)) in folders[2..].iter().zip(kinds) {
            start(&with(folder.path(), workers, threads)).unwrap().wait().unwrap();
        }
        assert_eq!(result_of(folders[0].path()), result_of(folders[2].path()));
        assert_eq!(result_of(folders[1].path()), result_of(folders[3].path()));
        assert_eq!(tch::get_num_threads(), before);
        // A thread that begins just when a test beside this one sets a number of its own may take that one.
        let later = || std::thread::spawn(tch::get_num_threads).join().unwrap();
        assert!((0..100).any(|_| later() == before));
        assert_eq!(Checkpoint::read(folders[0].path()).unwrap().description["threads"], 6);
    }

    #[test]
    fn a_folder_holds_one_run_and_one_trains_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let slow = LineTraining { pause_milliseconds: 20, ..training(folder.path()) };
        let run = start(&slow).unwrap();
        let error = resume(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is being trained already"), "{error}");
        drop(run);
        let error = start(&training(folder.path())).unwrap_err().to_string();
        assert!(error.contains("holds a run already"), "{error}");
        let empty = tempfile::tempdir().unwrap();
        let error = resume(empty.path()).unwrap_err().to_string();
        assert!(error.contains("holds no checkpoint"), "{error}");
        assert!(contents(empty.path()).is_empty());
    }

    #[test]
    fn a_run_is_resumed_as_what_it_is_with_its_own_data_or_stays_untouched() {
        let folder = tempfile::tempdir().unwrap();
        start(&training(folder.path())).unwrap().stop().unwrap();
        let before = contents(folder.path());
        let mut others = [data(), data(), data()];
        others[0].examples[0].captions[0].push('s');
        others[1].examples[1].regions[0].bounds.left += 1.0;
        others[2].examples.pop();
        for other in &others {
            let error = Run::resume::<LineTraining>(folder.path(), other).unwrap_err().to_string();
            assert!(error.contains("another data set"), "{error}");
        }
        let error = Run::resume::<crate::vision::DetectorTraining>(folder.path(), &data()).unwrap_err().to_string();
        assert!(error.contains("is a run of the kind `line`, not `detector`"), "{error}");
        assert_eq!(contents(folder.path()), before);

        // A run of a version that did not compare boxes goes on with what it compared.
        let mut checkpoint = Checkpoint::read(folder.path()).unwrap();
        checkpoint.description["data"].as_object_mut().unwrap().remove("regions");
        checkpoint.description.as_object_mut().unwrap().remove("format");
        let metadata = json!({ "description": checkpoint.description, "position": checkpoint.position });
        let tensors: Vec<_> = checkpoint.tensors.into_iter().collect();
        crate::nn::write_tensors(&folder.path().join(CHECKPOINT_FILE), &tensors, &metadata).unwrap();
        Run::resume::<LineTraining>(folder.path(), &others[1]).unwrap().wait().unwrap();
    }
}
