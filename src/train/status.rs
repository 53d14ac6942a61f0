//! Where a run stands, and how its losses and metrics went.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::log::Entry;

/// What a run is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Getting the data ready.
    Preparing { done: usize, total: usize },
    /// Going over the training examples.
    Training,
    /// Measuring the loss and the metrics on the validation examples.
    Validating,
    /// All epochs are done, or the run has stopped early.
    Finished,
    /// Stopped at a checkpoint, from which it can be resumed.
    Stopped,
    /// Ended by this error.
    Failed(String),
}

/// Where a run stands. Its `Display` is one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub phase: Phase,
    /// The epoch under way, counted from 1.
    pub epoch: u64,
    /// How many epochs there will be at most.
    pub epochs: u64,
    /// Steps done in this epoch.
    pub step: u64,
    /// Steps in an epoch; 0 while that is not known.
    pub steps: u64,
    /// The training loss, smoothed over the last steps.
    pub loss: Option<f64>,
    /// The validation loss of the last epoch.
    pub validation_loss: Option<f64>,
    /// Items trained on in a second, since the run began or was resumed.
    pub rate: f64,
    /// What the items are called: `pairs`.
    pub items: &'static str,
    /// How long it has trained since it began or was resumed.
    pub elapsed: Duration,
    /// How long it will go on, if it goes on as fast as until now.
    pub remaining: Option<Duration>,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, epochs, step, steps, .. } = self;
        match &self.phase {
            Phase::Preparing { total: 0, .. } => return write!(formatter, "getting ready"),
            Phase::Preparing { done, total } => return write!(formatter, "getting ready: {done} of {total}"),
            Phase::Failed(problem) => return write!(formatter, "failed in epoch {epoch}: {problem}"),
            Phase::Finished => write!(formatter, "finished {epoch} epochs")?,
            Phase::Stopped => write!(formatter, "stopped in epoch {epoch} of {epochs}, step {step} of {steps}")?,
            Phase::Training => write!(formatter, "epoch {epoch} of {epochs}, step {step} of {steps}")?,
            Phase::Validating => write!(formatter, "epoch {epoch} of {epochs}, validating")?,
        }
        if let Some(loss) = self.loss {
            write!(formatter, ", loss {loss:.3}")?;
        }
        if let Some(loss) = self.validation_loss {
            write!(formatter, ", validation {loss:.3}")?;
        }
        if self.rate > 0.0 {
            write!(formatter, ", {:.0} {}/s", self.rate, self.items)?;
        }
        match (&self.phase, self.remaining) {
            (Phase::Training | Phase::Validating, Some(remaining)) => {
                write!(formatter, ", {} left", clock(remaining))
            }
            (Phase::Finished | Phase::Stopped, _) => write!(formatter, ", {} in all", clock(self.elapsed)),
            _ => Ok(()),
        }
    }
}

/// `1:05:09`, `2:07`, `0:09`.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// The losses and metrics of a run. Each point is (epochs trained, value); the first coordinate has fractions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Curves {
    /// A point a step.
    pub training_loss: Vec<(f64, f64)>,
    /// A point an epoch; empty where the data has no validation examples.
    pub validation_loss: Vec<(f64, f64)>,
    /// The metrics by name, a point an epoch.
    pub metrics: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Curves {
    /// Adds what an entry of the log says.
    pub(super) fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Step { epochs, loss, .. } => self.training_loss.push((*epochs, *loss)),
            Entry::Epoch { epoch, validation_loss, metrics, .. } => {
                self.validation_loss.extend(validation_loss.map(|loss| (*epoch as f64, loss)));
                for (name, value) in metrics {
                    self.metrics.entry(name.clone()).or_default().push((*epoch as f64, *value));
                }
            }
        }
    }
}

crate::in_cells::shown_in_cells!(Status);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_line() {
        let status = Status {
            phase: Phase::Training,
            epoch: 2,
            epochs: 8,
            step: 30,
            steps: 94,
            loss: Some(2.0),
            validation_loss: None,
            rate: 512.4,
            items: "pairs",
            elapsed: Duration::from_secs(20),
            remaining: Some(Duration::from_secs(67)),
        };
        assert_eq!(status.to_string(), "epoch 2 of 8, step 30 of 94, loss 2.000, 512 pairs/s, 1:07 left");
        let ready = Status { phase: Phase::Preparing { done: 128, total: 3300 }, ..status.clone() };
        assert_eq!(ready.to_string(), "getting ready: 128 of 3300");
        let stopped = Status { phase: Phase::Stopped, validation_loss: Some(1.5), ..status };
        assert_eq!(
            stopped.to_string(),
            "stopped in epoch 2 of 8, step 30 of 94, loss 2.000, validation 1.500, 512 pairs/s, 0:20 in all"
        );
    }
}
