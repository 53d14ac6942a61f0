//! One error type for the whole crate, grouped by cause.
//!
//! Every variant says what was wrong, where, and what to do next.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- files ---
    /// A file or folder could not be opened, read or written.
    #[error("{}: cannot {action}: {source}. {help}", path.display())]
    File {
        path: PathBuf,
        /// What was tried: "read the captions", "write the checkpoint".
        action: String,
        source: std::io::Error,
        help: String,
    },

    // --- what files hold ---
    /// A data file does not say what its layout promises.
    #[error("{}: {problem}. {help}", Place { path, line: *line })]
    Data {
        path: PathBuf,
        /// Line in the file, from 1; `None` where the whole file is meant.
        line: Option<u64>,
        problem: String,
        help: String,
    },
    /// A picture could not be decoded.
    #[error("{}: {problem}. {help}", path.display())]
    Image { path: PathBuf, problem: String, help: String },
    /// Weights or a checkpoint do not fit the model that they were asked for.
    #[error("{}: {problem}. {help}", path.display())]
    Weights { path: PathBuf, problem: String, help: String },

    /// A file could not be downloaded.
    #[cfg(feature = "download")]
    #[error("{url}: {problem}. {help}")]
    Download { url: String, problem: String, help: String },

    // --- what the caller asked for ---
    /// A setting is outside its range.
    #[error("{field} = {value}: {expected}")]
    Config {
        /// The setting's path, such as `captioner.dropout`.
        field: String,
        value: String,
        /// The range that it must be in, as a sentence: "must be in 0..1".
        expected: String,
    },
    /// An argument does not fit the thing that it was given to.
    #[error("{problem}. {help}")]
    Argument { problem: String, help: String },

    // --- computation ---
    /// libtorch refused an operation.
    #[cfg(feature = "tensors")]
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] tch::TchError),
    /// A figure could not be drawn.
    #[error("the figure could not be drawn: {problem}. {help}")]
    Figure { problem: String, help: String },
    /// A training run ended before it was done.
    #[error("the run failed: {problem}. {help}")]
    Run { problem: String, help: String },
}

/// `captions.csv, line 7`, or only the path.
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
    /// An [`Error::File`].
    pub fn file(
        path: impl Into<PathBuf>,
        action: impl Into<String>,
        source: std::io::Error,
        help: impl Into<String>,
    ) -> Self {
        Self::File { path: path.into(), action: action.into(), source, help: help.into() }
    }

    /// An [`Error::Data`].
    pub fn data(
        path: impl Into<PathBuf>,
        line: impl Into<Option<u64>>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Data { path: path.into(), line: line.into(), problem: problem.into(), help: help.into() }
    }

    /// An [`Error::Config`].
    pub fn config(field: impl Into<String>, value: impl fmt::Display, expected: impl Into<String>) -> Self {
        Self::Config { field: field.into(), value: value.to_string(), expected: expected.into() }
    }

    /// An [`Error::Argument`].
    pub fn argument(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Argument { problem: problem.into(), help: help.into() }
    }
}

/// Checks that a setting lies in its range; NaN lies in none.
///
/// # Errors
/// [`Error::Config`] names the setting and the range.
pub(crate) fn check_range<T: PartialOrd + fmt::Display>(field: &str, value: T, range: RangeInclusive<T>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let expected = format!("must be in {}..={}", range.start(), range.end());
    Err(Error::config(field, value, expected))
}

/// Checks that a setting is a probability below 1: a share to drop, a momentum.
///
/// # Errors
/// [`Error::Config`] names the setting and the range.
pub(crate) fn check_below_one(field: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { Err(Error::config(field, value, "must be in 0..1")) }
}

/// Names the configuration that a setting is part of.
pub(crate) trait Within {
    /// Puts `parent.` before the name of the setting that an [`Error::Config`] is about: the path that `--set` takes.
    #[must_use]
    fn within(self, parent: &str) -> Self;
}

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
