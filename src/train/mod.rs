//! Training that can be watched, stopped, killed and resumed.
//!
//! A [`Run`] trains on its own thread, so that a notebook cell may wait for it or look later. It keeps everything in one
//! folder:
//!
//! | file | what it holds |
//! |---|---|
//! | `checkpoint.safetensors` | weights, the optimiser's moments, the position in the training, the configuration |
//! | `log.jsonl` | one line of JSON a step and an epoch |
//! | `config.json` | the configuration, to read |
//!
//! The checkpoint is replaced whole, and nothing random is drawn from a generator that it does not know: a resumed run ends
//! with the same weights, bit for bit, as one that was never stopped (same machine, same number of threads, CPU).

mod checkpoint;
pub(crate) mod device;
pub(crate) mod examples;
mod folder;
mod log;
mod optimiser;
pub(crate) mod pictures;
mod run;
mod schedule;
mod workers;

pub use checkpoint::{CHECKPOINT_FILE, Checkpoint, Position};
pub use device::device_name;
pub use folder::{next_folder, runs_folder};
pub use log::{EpochSamples, Sample};
pub use optimiser::{GradientClipping, Optimiser, OptimiserConfig};
pub use run::{Curves, Phase, Progress, Run, RunSettings, Status, Task};
pub use schedule::Schedule;
pub use workers::{StepPart, threads};
