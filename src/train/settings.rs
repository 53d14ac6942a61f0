//! What all trainings have in common.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{GradientClipping, OptimiserConfig, Schedule};
use crate::error::{Within, check_range};
use crate::{Device, Error, Result};

/// What all trainings have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSettings {
    /// Passes over the training examples, in `1..=1000000`. Default: 20.
    pub epochs: u64,
    /// Examples in a step, in `1..=65536`. Default: 100.
    #[serde(alias = "batch_pictures")]
    pub batch_size: usize,
    /// Data-parallel worker threads, in `1..=1024`: each computes the gradients of its part of the batch, and they are summed. On a
    /// GPU, 1 is best. Another number of workers gives other last bits. Default: 1.
    pub workers: usize,
    /// Threads that libtorch uses, shared among the workers, in `1..=1024`; `None` takes as many as libtorch would by itself.
    /// A resumed run uses as many as before. Default: `None`.
    pub threads: Option<usize>,
    /// Default: RMSprop with a learning rate of 10⁻⁴, the course's.
    pub optimiser: OptimiserConfig,
    /// How the learning rate changes over the steps. Default: constant.
    pub schedule: Schedule,
    /// What is done to large gradients. Default: scaled down to a norm of 5.
    pub clip: GradientClipping,
    /// Everything random follows from it: first weights, order, dropout. Default: 1.
    pub seed: u64,
    /// Where the model is trained. Results are the same bit for bit on the CPU. Default: the CPU.
    #[serde(with = "super::device")]
    pub device: Device,
    /// How many examples a sample of the model's output is kept of after each epoch, in `0..=1000`; they come from the validation
    /// split, or else from the training split. Default: 8.
    #[serde(alias = "sample_pictures")]
    pub samples: usize,
    /// The loss and the metrics of an epoch are measured on at most this many validation examples. Default: 1000.
    #[serde(alias = "validation_pictures")]
    pub validation_examples: usize,
    /// Most bytes of memory for decoded pictures. Default: 4 GiB.
    pub memory_limit: u64,
    /// Seconds between two checkpoints, which are also written after each epoch and when the run is stopped. When they are written
    /// changes nothing in the result. Default: 60.
    pub checkpoint_seconds: f64,
    /// Keeps the weights of the best epoch as `best.safetensors`, and may stop the run early. Default: `None`.
    pub keep_best: Option<KeepBest>,
    /// Weights taken from other runs or models before the first step, in this order. Default: none.
    pub start_from: Vec<StartFrom>,
    /// Weights whose names begin with one of these are not trained: `encoder.`. Default: none.
    pub freeze: Vec<String>,
    /// The folder of the run; `None` makes the next free `saved_models/runs/<kind>-<number>`.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

/// Which epoch is the best, and when to stop for lack of a better one. Default: the lowest validation loss of all epochs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeepBest {
    /// `loss` for the validation loss, or the name of a metric.
    pub metric: String,
    /// Whether higher or lower values are better.
    pub goal: Goal,
    /// The run ends after this many epochs without a better value; `None` trains all epochs.
    pub patience: Option<u64>,
}

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    Maximise,
    Minimise,
}

/// Weights of another run or model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFrom {
    /// A file of weights, or the folder of a run or a model.
    pub path: PathBuf,
    /// Only weights whose names begin so are taken; all of them when empty.
    #[serde(default)]
    pub prefix: String,
}

impl Default for KeepBest {
    fn default() -> Self {
        Self { metric: "loss".to_string(), goal: Goal::Minimise, patience: None }
    }
}

impl KeepBest {
    /// Whether a value is better than the best until now. What is not a number never is.
    pub(super) fn is_better(&self, value: f64, best: Option<f64>) -> bool {
        match (best, self.goal) {
            _ if value.is_nan() => false,
            (None, _) => true,
            (Some(best), Goal::Maximise) => value > best,
            (Some(best), Goal::Minimise) => value < best,
        }
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch_size: 100,
            workers: 1,
            threads: None,
            optimiser: OptimiserConfig::rms_prop(1e-4),
            schedule: Schedule::Constant,
            clip: GradientClipping::Norm(5.0),
            seed: 1,
            device: Device::Cpu,
            samples: 8,
            validation_examples: 1000,
            memory_limit: 4 << 30,
            checkpoint_seconds: 60.0,
            keep_best: None,
            start_from: Vec::new(),
            freeze: Vec::new(),
            folder: None,
        }
    }
}

/// Parts of which an epoch on few examples consists at least, so that it is more than one step.
const FEWEST_STEPS_AN_EPOCH: usize = 8;

/// Fewest epochs on few examples.
const FEWEST_EPOCHS: usize = 10;

impl RunSettings {
    /// About `steps` steps, however few the training examples are, each of `batch_size` examples where there are enough, and of at least
    /// `smallest`.
    pub(crate) fn of_steps(steps: usize, examples: usize, batch_size: usize, smallest: usize) -> Self {
        let batch_size = batch_size.min(examples / FEWEST_STEPS_AN_EPOCH).max(smallest);
        let epochs = steps.div_ceil((examples / batch_size).max(1)).max(FEWEST_EPOCHS) as u64;
        Self { epochs, batch_size, schedule: Schedule::Cosine { warmup_steps: 100 }, ..Self::default() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        check_range("epochs", self.epochs, 1..=1_000_000)?;
        check_range("batch_size", self.batch_size, 1..=65_536)?;
        check_range("workers", self.workers, 1..=1024)?;
        check_range("threads", self.threads.unwrap_or(1), 1..=1024)?;
        check_range("samples", self.samples, 0..=1000)?;
        check_range("checkpoint_seconds", self.checkpoint_seconds, 0.0..=1e9)?;
        if let Some(KeepBest { patience: Some(0), .. }) = self.keep_best {
            return Err(Error::config("keep_best.patience", 0, "must be 1 or more"));
        }
        let check = super::check_device(self.device);
        check.map_err(|problem| Error::config("device", super::device_name(self.device), problem))?;
        self.optimiser.validate().within("optimiser")?;
        self.schedule.validate().within("schedule")?;
        self.clip.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = RunSettings::default;
        good().validate().unwrap();
        let best = KeepBest { metric: "loss".into(), goal: Goal::Minimise, patience: Some(0) };
        for (settings, field) in [
            (RunSettings { epochs: 0, ..good() }, "epochs"),
            (RunSettings { epochs: 1_000_001, ..good() }, "epochs"),
            (RunSettings { batch_size: 0, ..good() }, "batch_size"),
            (RunSettings { workers: 0, ..good() }, "workers"),
            (RunSettings { threads: Some(0), ..good() }, "threads"),
            (RunSettings { samples: 1001, ..good() }, "samples"),
            (RunSettings { checkpoint_seconds: f64::NAN, ..good() }, "checkpoint_seconds"),
            (RunSettings { checkpoint_seconds: -1.0, ..good() }, "checkpoint_seconds"),
            (RunSettings { keep_best: Some(best), ..good() }, "keep_best.patience"),
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
    fn the_best_value_is_the_highest_or_the_lowest_and_never_nan() {
        for (goal, better, worse) in [(Goal::Maximise, 2.0, 0.5), (Goal::Minimise, 0.5, 2.0)] {
            let keep = KeepBest { metric: "m".into(), goal, patience: None };
            assert!(keep.is_better(1.0, None) && !keep.is_better(f64::NAN, None));
            assert!(keep.is_better(better, Some(1.0)) && !keep.is_better(worse, Some(1.0)));
            assert!(!keep.is_better(1.0, Some(1.0)) && !keep.is_better(f64::NAN, Some(1.0)));
        }
    }

    #[test]
    fn settings_of_before_are_read_and_new_ones_have_their_defaults() {
        let old =
            r#"{"epochs": 3, "batch_pictures": 7, "sample_pictures": 2, "validation_pictures": 9, "device": "cpu"}"#;
        let settings: RunSettings = serde_json::from_str(old).unwrap();
        let expected =
            RunSettings { epochs: 3, batch_size: 7, samples: 2, validation_examples: 9, ..Default::default() };
        assert_eq!(settings, expected);
    }
}
