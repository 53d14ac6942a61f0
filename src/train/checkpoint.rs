//! Checkpoints: everything that a run needs to go on, in one file that is replaced whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::Optimiser;
use crate::files::write_whole;
use crate::nn::{MODEL_FILE, Weights, read_tensors, read_weights_and_metadata, write_tensors};
use crate::{Error, Result};

/// The name of the checkpoint in a run's folder.
pub const CHECKPOINT_FILE: &str = "checkpoint.safetensors";

/// The name of the weights of the best epoch in a run's folder.
pub const BEST_FILE: &str = "best.safetensors";

/// The name of a tokenizer's vocabulary, beside the weights that it belongs to.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// The file of weights that a path means: the path itself where it is a file; in a folder the saved model, or else the weights of
/// the best epoch of a run, or else its last checkpoint.
pub fn weights_file(path: &Path) -> PathBuf {
    let names = [MODEL_FILE, BEST_FILE, CHECKPOINT_FILE].map(|name| path.join(name));
    let here = names.into_iter().find(|file| file.exists());
    match here {
        Some(file) => file,
        None if path.is_dir() => path.join(MODEL_FILE),
        None => path.to_path_buf(),
    }
}

/// Reads the weights and the description of a model of a kind from a file, or from the folder of a run or a model.
///
/// # Errors
/// [`Error::File`] when there is none, [`Error::Weights`] when it holds something else than a model of that kind.
pub(crate) fn read_model<D: DeserializeOwned>(
    path: &Path,
    kind: &str,
) -> Result<(BTreeMap<String, Tensor>, D, PathBuf)> {
    let path = weights_file(path);
    let (tensors, metadata) = read_weights_and_metadata(&path)?;
    let description = metadata.get("description").cloned().unwrap_or_default();
    let of_kind = description.get("kind").and_then(Value::as_str);
    let read = match of_kind {
        Some(other) if other != kind => Err(format!("these are of the kind `{other}`")),
        _ => serde_json::from_value(description).map_err(|error| error.to_string()),
    };
    match read {
        Ok(description) => Ok((tensors, description, path)),
        Err(problem) => Err(Error::Weights {
            problem: format!("not weights of the kind `{kind}`: {problem}"),
            help: "Name the folder of such a run or model, or a file of its weights.".to_string(),
            path,
        }),
    }
}

/// Writes the weights of a run alone, in half precision, as `model.safetensors` into a folder, with the files that belong beside
/// them: those of the best epoch where the run keeps it, or else those of its last checkpoint.
///
/// # Errors
/// [`Error::File`] when the run's folder cannot be read or the other cannot be written, [`Error::Weights`] when the checkpoint is
/// not whole.
pub fn save_model(run: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<()> {
    let (run, folder) = (run.as_ref(), folder.as_ref());
    let (tensors, metadata) = read_tensors(&weights_file(run))?;
    let weights = tensors.into_iter().filter(|(name, _)| !name.starts_with("optimiser."));
    let half = |(name, tensor): (String, Tensor)| Ok((name, tensor.f_to_kind(Kind::Half)?));
    let half = weights.map(half).collect::<Result<Vec<_>>>()?;
    std::fs::create_dir_all(folder).map_err(|source| {
        Error::file(folder, "make the folder of the model", source, "Name a folder that may be written.")
    })?;
    // Where and on what it was trained says nothing to those who use it.
    let mut description = metadata["description"].clone();
    if let Some(description) = description.as_object_mut() {
        for key in ["data", "threads"] {
            description.remove(key);
        }
    }
    let tokenizer = run.join(TOKENIZER_FILE);
    if tokenizer.exists() {
        let text = std::fs::read(&tokenizer)
            .map_err(|source| Error::file(&tokenizer, "read the vocabulary", source, "Check who may read it."))?;
        write_whole(&folder.join(TOKENIZER_FILE), "write the vocabulary", &text)?;
    }
    write_tensors(&folder.join(MODEL_FILE), &half, &json!({ "description": description }))
}

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
    pub description: Value,
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
        let path = Self::find(folder)?;
        let (tensors, metadata) = read_tensors(&path)?;
        let part = |name: &str| metadata.get(name).cloned().unwrap_or_default();
        let position = serde_json::from_value(part("position")).map_err(|error| Error::Weights {
            path,
            problem: format!("not a checkpoint: its position: {error}"),
            help: "Resume from a file that a run wrote; saved weights alone cannot be resumed.".to_string(),
        })?;
        Ok(Self { description: part("description"), position, tensors })
    }

    /// The checkpoint of a run's folder.
    pub(super) fn find(folder: &Path) -> Result<PathBuf> {
        let path = folder.join(CHECKPOINT_FILE);
        if path.exists() {
            return Ok(path);
        }
        Err(Error::Run {
            problem: format!("{} holds no checkpoint", folder.display()),
            help: "Name the folder of a run, such as saved_models/runs/captioner-1; a run that was ended before its first \
                   checkpoint has to be started again."
                .to_string(),
        })
    }

    /// Writes the weights of the best epoch into a run's folder, in place of those of the last one.
    pub(super) fn write_best(folder: &Path, description: &Value, position: Position, weights: &Weights) -> Result<()> {
        let metadata = json!({ "description": description, "position": position });
        write_tensors(&folder.join(BEST_FILE), &weights.named(), &metadata)
    }

    /// Writes a checkpoint into a run's folder, in place of the last one.
    pub(crate) fn write(
        folder: &Path,
        description: &Value,
        position: Position,
        weights: &Weights,
        optimiser: &Optimiser,
    ) -> Result<()> {
        let mut tensors = weights.named();
        tensors.extend(optimiser.moments());
        let metadata = json!({ "description": description, "position": position });
        write_tensors(&folder.join(CHECKPOINT_FILE), &tensors, &metadata)
    }
}
