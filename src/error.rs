//! The error type of the crate, grouped by cause.
//!
//! Every message says what is wrong, where, and what to do next.

use std::fmt;
#[cfg(feature = "tensors")]
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- files ---
    /// A file or folder could not be opened, read or written.
    #[error("{}: cannot {action}: {source}. {help}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The failed action: "read the captions", "write the checkpoint".
        action: String,
        /// The error of the operating system.
        source: std::io::Error,
        /// What to do next, as a sentence.
        help: String,
    },

    // --- what files hold ---
    /// A data file violates its layout.
    #[error("{}: {problem}. {help}", Place { path, line: *line })]
    Data {
        /// The data file.
        path: PathBuf,
        /// Line in the file, from 1; `None` for the whole file.
        line: Option<u64>,
        /// What is wrong.
        problem: String,
        /// What to do next, as a sentence.
        help: String,
    },
    /// An image could not be decoded.
    #[error("{}: {problem}. {help}", path.display())]
    Image {
        /// The image file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do next, as a sentence.
        help: String,
    },
    /// A weights file or checkpoint is damaged, or does not fit the model.
    #[error("{}: {problem}. {help}", path.display())]
    Weights {
        /// The weights file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do next, as a sentence.
        help: String,
    },

    /// A file could not be downloaded.
    #[cfg(feature = "download")]
    #[error("{url}: {problem}. {help}")]
    Download {
        /// The address.
        url: String,
        /// What is wrong.
        problem: String,
        /// What to do next, as a sentence.
        help: String,
    },

    // --- what the caller asked for ---
    /// A setting is outside its range.
    #[error("{field} = {value}: {expected}")]
    Config {
        /// Path of the setting, such as `captioner.dropout`.
        field: String,
        /// The rejected value.
        value: String,
        /// The valid range, as a sentence: "must be in 0..1".
        expected: String,
    },
    /// An argument does not fit.
    #[error("{problem}. {help}")]
    Argument {
        /// What is wrong.
        problem: String,
        /// What to do next, as a sentence.
        help: String,
    },

    // --- computation ---
    /// libtorch refused an operation.
    #[cfg(feature = "tensors")]
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] tch::TchError),
    /// A figure could not be drawn.
    #[error("the figure could not be drawn: {problem}. {help}")]
    Figure {
        /// What is wrong.
        problem: String,
        /// What to do next, as a sentence.
        help: String,
    },
    /// A training run ended early.
    #[error("the run failed: {problem}. {help}")]
    Run {
        /// What is wrong.
        problem: String,
        /// What to do next, as a sentence.
        help: String,
    },

    // --- captionlab itself ---
    /// A fault of captionlab: an internal invariant does not hold.
    #[error("{problem}: this is a fault of captionlab; please report it")]
    Internal {
        /// The violated invariant.
        problem: String,
    },
}

/// Displays `captions.csv, line 7`, or only the path.
struct Place<'a> {
    path: &'a Path,
    line: Option<u64>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.path.display())?;
        match self.line {
            Some(line) => write!(formatter, ", line {line}"),
            None => Ok(()),
        }
    }
}

impl Error {
    /// Creates an [`Error::File`].
    pub fn file(
        path: impl Into<PathBuf>,
        action: impl Into<String>,
        source: std::io::Error,
        help: impl Into<String>,
    ) -> Self {
        Self::File { path: path.into(), action: action.into(), source, help: help.into() }
    }

    /// Creates an [`Error::Data`].
    pub fn data(
        path: impl Into<PathBuf>,
        line: impl Into<Option<u64>>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Data { path: path.into(), line: line.into(), problem: problem.into(), help: help.into() }
    }

    /// Creates an [`Error::Config`].
    pub fn config(field: impl Into<String>, value: impl fmt::Display, expected: impl Into<String>) -> Self {
        Self::Config { field: field.into(), value: value.to_string(), expected: expected.into() }
    }

    /// Creates an [`Error::Argument`].
    pub fn argument(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Argument { problem: problem.into(), help: help.into() }
    }

    /// Creates an [`Error::Internal`].
    pub(crate) fn internal(problem: impl Into<String>) -> Self {
        Self::Internal { problem: problem.into() }
    }
}

/// Checks that a setting lies in its range, which NaN never does.
///
/// # Errors
/// [`Error::Config`] names the setting and the range.
#[cfg(feature = "tensors")]
pub(crate) fn check_range<T: PartialOrd + fmt::Display>(field: &str, value: T, range: RangeInclusive<T>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let expected = format!("must be in {}..={}", range.start(), range.end());
    Err(Error::config(field, value, expected))
}

/// Checks that a setting is in `0..1`, such as a dropout probability or a momentum.
///
/// # Errors
/// [`Error::Config`] names the setting and the range.
#[cfg(feature = "tensors")]
pub(crate) fn check_below_one(field: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { Err(Error::config(field, value, "must be in 0..1")) }
}

/// Adds the parent configuration to the path of a setting.
#[cfg(feature = "tensors")]
pub(crate) trait Within {
    /// Prepends `parent.` to the field of an [`Error::Config`], which gives the path that `--set` takes.
    #[must_use]
    fn within(self, parent: &str) -> Self;
}

#[cfg(feature = "tensors")]
impl<T> Within for Result<T> {
    fn within(self, parent: &str) -> Self {
        self.map_err(|error| match error {
            Error::Config { field, value, expected } => {
                Error::Config { field: format!("{parent}.{field}"), value, expected }
            }
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_file_and_line_and_what_to_do() {
        let error = Error::data("captions.csv", 7, "no comma", "Write `image,caption`.");
        assert_eq!(error.to_string(), "captions.csv, line 7: no comma. Write `image,caption`.");
        let whole = Error::data("captions.csv", None, "the file is empty", "Check the download.");
        assert_eq!(whole.to_string(), "captions.csv: the file is empty. Check the download.");
    }

    #[test]
    fn a_setting_is_named_by_its_path() {
        check_range("epochs", 3, 1..=5).unwrap();
        let outside = check_range("epochs", 0, 1..=5).within("run");
        assert_eq!(outside.unwrap_err().to_string(), "run.epochs = 0: must be in 1..=5");
        assert!(check_range("seconds", f64::NAN, 0.0..=1.0).is_err());
        assert!(check_below_one("dropout", 1.0).is_err() && check_below_one("dropout", f64::NAN).is_err());
    }
}
