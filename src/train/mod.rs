//! Training that can be watched, stopped, killed and resumed: the engine, in which no model lives.
//!
//! A [`Run`] trains on its own thread, so that a notebook cell may wait for it or look later. It keeps everything in one
//! folder:
//!
//! | file | what it holds |
//! |---|---|
//! | `checkpoint.safetensors` | weights, the optimiser's moments, the position in the training, the configuration |
//! | `best.safetensors` | the weights of the best epoch, where [`RunSettings::keep_best`] asks for them |
//! | `log.jsonl` | one line of JSON for each step and each epoch |
//! | `config.json` | the configuration, to read |
//!
//! The checkpoint is replaced whole, and nothing random is drawn from a generator that it does not know: a resumed run ends
//! with the same weights, bit for bit, as one that was never stopped (on the same machine, on the CPU). A run has its own number of
//! threads ([`RunSettings::threads`]), so it computes the same whatever other runs do meanwhile.
//!
//! What is trained is a [`Trainable`] configuration, from which comes a [`Model`].

mod checkpoint;
mod comparison;
pub(crate) mod device;
pub(crate) mod examples;
mod folder;
mod log;
mod optimiser;
pub(crate) mod pictures;
mod prefetch;
mod progress;
mod run;
mod schedule;
mod settings;
mod status;
pub(crate) mod supervised;
mod task;
mod trainable;
mod trainer;
mod workers;

/// The configuration of a run, to read.
const CONFIG_FILE: &str = "config.json";

pub(crate) use checkpoint::read_model;
pub use checkpoint::{BEST_FILE, CHECKPOINT_FILE, Checkpoint, Position, TOKENIZER_FILE, save_model, weights_file};
pub use comparison::{ComparedRun, Comparison};
pub use device::{check_device, device_from_name, device_name};
pub use folder::{newest_run, newest_run_on, next_folder, runs_folder};
pub use log::{EpochSamples, Sample};
pub use optimiser::{GradientClipping, Optimiser, OptimiserConfig};
pub use progress::Progress;
pub use run::Run;
pub use schedule::Schedule;
pub use settings::{Goal, KeepBest, RunSettings, StartFrom};
pub use status::{Curves, Phase, Status};
pub use task::{EpochEnd, Task};
pub use trainable::{MANY_PICTURES, Model, Resumed, Trainable};
pub use workers::StepPart;
pub(crate) use workers::{image_threads, set_own_threads, share};
