//! Where weights are kept.

use std::path::PathBuf;

use crate::files::project_file;
use crate::{Error, Result};

/// The name of the file of weights alone, in a folder of its own.
pub const MODEL_FILE: &str = "model.safetensors";

/// The folder of downloaded weights, in the project's folder.
pub const DOWNLOADS_FOLDER: &str = "saved_models/downloads";

/// The weights of that name which ship with the project: `saved_models/<name>/model.safetensors` of the project that the current
/// folder is in, or else of `CAPTIONLAB_CHECKOUT`.
///
/// # Errors
/// [`Error::Argument`] where they are not.
pub fn shipped(name: &str) -> Result<PathBuf> {
    project_file(&format!("saved_models/{name}/{MODEL_FILE}")).ok_or_else(|| {
        not_here(&format!("saved_models/{name}/{MODEL_FILE}"), "Change into the project's folder, or name the file.")
    })
}

/// Published weights that were downloaded: `saved_models/downloads/<file>`. `source` is what `captionlab download` calls them.
///
/// # Errors
/// [`Error::Argument`] where they are not, which says how to get them.
pub fn downloaded(file: &str, source: &str) -> Result<PathBuf> {
    let path = format!("{DOWNLOADS_FOLDER}/{file}");
    let help =
        format!("Get it with `captionlab download {source}`, in the project's folder, or name a file that you have.");
    project_file(&path).ok_or_else(|| not_here(&path, &help))
}

fn not_here(path: &str, help: &str) -> Error {
    Error::argument(format!("{path} is in no folder above the current one"), help)
}
