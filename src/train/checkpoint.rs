//! Checkpoints: everything that a run needs to go on, in one file that is replaced whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::Optimiser;
use crate::nn::{Weights, read_tensors, write_tensors};
use crate::{Error, Result};

/// The name of the checkpoint in a run's folder.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";

/// How far a training has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Whole epochs done, with their validation.
    pub epoch: u64,
    /// Steps done in the epoch that is under way.
    pub step_in_epoch: u64,
    /// Steps done since the training began.
    pub step: u64,
    /// Bytes of the log that belong to these steps.
    pub log_bytes: u64,
}

/// A checkpoint that was read.
#[derive(Debug)]
pub struct Checkpoint {
    /// What the task keeps about itself: its kind, its configuration, its vocabulary.
    pub description: serde_json::Value,
    pub position: Position,
    /// Weights by name; moments of the optimiser as `optimiser.<moment>.<weight>`.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Reads the checkpoint of a run's folder.
    ///
    /// # Errors
    /// [`Error::Run`] when the run was ended before its first checkpoint, [`Error::Weights`] when the file is not one.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CHECKPOINT_FILE);
        if !path.exists() {
            return Err(Error::Run {
                problem: format!("{} holds no checkpoint", folder.display()),
                help: "Name the folder of a run, such as saved_models/runs/captioner-1; a run that was ended before \
                       its first checkpoint has to be started again."
                    .to_string(),
            });
        }
        let (tensors, metadata) = read_tensors(&path)?;
        let part = |name: &str| metadata.get(name).cloned().unwrap_or_default();
        let position = serde_json::from_value(part("position")).map_err(|error| Error::Weights {
            path,
            problem: format!("not a checkpoint: its position: {error}"),
            help: "Resume from a file that a run wrote; saved weights alone cannot be resumed.".to_string(),
        })?;
        Ok(Self { description: part("description"), position, tensors })
    }

    /// Writes a checkpoint into a run's folder, in place of the last one.
    pub(crate) fn write(
        folder: &Path,
        description: &serde_json::Value,
        position: Position,
        weights: &Weights,
        optimiser: &Optimiser,
    ) -> Result<()> {
        let mut tensors = weights.named();
        tensors.extend(optimiser.moments());
        let metadata = serde_json::json!({ "description": description, "position": position });
        write_tensors(&folder.join(CHECKPOINT_FILE), &tensors, &metadata)
    }
}
