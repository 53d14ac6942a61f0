//! The log of a run: one line of JSON a step and an epoch, cut back to the checkpoint when the run resumes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

pub(crate) const LOG_FILE: &str = "log.jsonl";

/// What the model made of one fixed picture (or other input) during the training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The example's name in the data set.
    pub name: String,
    /// What the model said of it.
    pub text: String,
}

/// The samples at the end of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochSamples {
    /// Counted from 1.
    pub epoch: u64,
    pub samples: Vec<Sample>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Entry {
    Step {
        /// Counted from 1 over the whole run.
        step: u64,
        /// How many epochs have been trained, with their fraction.
        epochs: f64,
        loss: f64,
        learning_rate: f64,
        /// Since the run began or was resumed.
        seconds: f64,
    },
    Epoch {
        /// Counted from 1.
        epoch: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        validation_loss: Option<f64>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
        metrics: BTreeMap<String, f64>,
        samples: Vec<Sample>,
    },
}

/// The open log of a run.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    writer: BufWriter<File>,
    bytes: u64,
}

impl Log {
    /// Opens the log of a run folder at its first `bytes`, and gives the entries that stand there. What follows was
    /// written after the checkpoint, and is cut off.
    pub(crate) fn open(folder: &Path, bytes: u64) -> Result<(Self, Vec<Entry>)> {
        let path = folder.join(LOG_FILE);
        let help = "Check that the folder may be written, and that no other program uses it.";
        let open = || -> std::io::Result<(File, u64)> {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let length = file.metadata()?.len();
            file.set_len(bytes.min(length))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(|source| Error::file(&path, "open the log", source, help))?;
        if length < bytes {
            let problem = format!("the log has {length} bytes, and the checkpoint was written after {bytes}");
            return Err(Error::data(&path, None, problem, "Restore the log, or start a new run."));
        }
        let text = std::fs::read_to_string(&path).map_err(|source| Error::file(&path, "read the log", source, help))?;
        let entries = text
            .lines()
            .enumerate()
            .map(|(index, line)| {
                serde_json::from_str(line).map_err(|error| {
                    Error::data(&path, index as u64 + 1, error.to_string(), "Restore the log, or start a new run.")
                })
            })
            .collect::<Result<_>>()?;
        Ok((Self { path, writer: BufWriter::new(file), bytes }, entries))
    }

    pub(crate) fn append(&mut self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_string(entry).map_err(|error| self.error(error.into()))?;
        line.push('\n');
        self.writer.write_all(line.as_bytes()).map_err(|source| self.error(source))?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Makes durable what was appended, and says how many bytes that is: a checkpoint may now name them.
    pub(crate) fn sync(&mut self) -> Result<u64> {
        self.writer.flush().and_then(|()| self.writer.get_ref().sync_data()).map_err(|source| self.error(source))?;
        Ok(self.bytes)
    }

    fn error(&self, source: std::io::Error) -> Error {
        Error::file(&self.path, "write the log", source, "Check that the disk has room.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Entry {
        Entry::Step { step, epochs: step as f64 / 3.0, loss: 1.0 / step as f64, learning_rate: 1e-3, seconds: 0.1 }
    }

    #[test]
    fn a_log_is_cut_back_to_the_checkpoint_and_goes_on_there() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, entries) = Log::open(folder.path(), 0).unwrap();
        assert!(entries.is_empty());
        let samples = vec![Sample { name: "a.jpg".into(), text: "a dog".into() }];
        let epoch = Entry::Epoch {
            epoch: 1,
            validation_loss: Some(0.1 + 0.2),
            metrics: [("cider_d".to_string(), 0.7)].into(),
            samples,
        };
        log.append(&step(1)).unwrap();
        log.append(&epoch).unwrap();
        let bytes = log.sync().unwrap();
        log.append(&step(2)).unwrap();
        log.sync().unwrap();
        drop(log);

        let (mut log, entries) = Log::open(folder.path(), bytes).unwrap();
        assert_eq!(entries, [step(1), epoch]);
        log.append(&step(3)).unwrap();
        let bytes = log.sync().unwrap();
        let (_, entries) = Log::open(folder.path(), bytes).unwrap();
        assert_eq!(entries[2], step(3));
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn a_log_that_is_shorter_than_the_checkpoint_says_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Log::open(folder.path(), 10).unwrap_err().to_string().contains("log.jsonl"));
    }
}
