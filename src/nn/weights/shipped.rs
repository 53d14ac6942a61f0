//! Where weights files are stored.

use std::path::PathBuf;

use crate::files::project_file;
use crate::{Error, Result};

/// The file name of weights that have a folder of their own.
pub const MODEL_FILE: &str = "model.safetensors";

/// The folder of downloaded weights, relative to the project.
pub const DOWNLOADS_FOLDER: &str = "saved_models/downloads";

/// The path of weights that ship with the project: `saved_models/<name>/model.safetensors`, in the project around the current
/// folder or else in `CAPTIONLAB_CHECKOUT`.
///
/// # Errors
/// [`Error::Argument`] when there is no such file.
pub fn shipped(name: &str) -> Result<PathBuf> {
    project_file(&format!("saved_models/{name}/{MODEL_FILE}")).ok_or_else(|| {
        not_here(&format!("saved_models/{name}/{MODEL_FILE}"), "Change into the project's folder, or name the file.")
    })
}

/// The path of downloaded weights: `saved_models/downloads/<file>`. `source` is their name for `captionlab download`.
///
/// # Errors
/// [`Error::Argument`] when there is no such file; the message tells how to download it.
pub fn downloaded(file: &str, source: &str) -> Result<PathBuf> {
    let path = format!("{DOWNLOADS_FOLDER}/{file}");
    let help = format!("Run `captionlab download {source}` in the project's folder, or name a file that you have.");
    project_file(&path).ok_or_else(|| not_here(&path, &help))
}

fn not_here(path: &str, help: &str) -> Error {
    Error::argument(format!("{path} is not in any folder above the current one"), help)
}
