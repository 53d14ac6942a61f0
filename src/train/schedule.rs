//! How the learning rate changes over a training.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::KeepBest;
use crate::{Error, Result};

/// The learning rate over the steps of a training: a factor of the optimiser's (Goyal et al. 2017 for the warm-up, Loshchilov & Hutter 2017 for the cosine).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same at every step.
    Constant,
    /// Rises in a straight line over the first steps, then falls to zero along half a cosine.
    Cosine {
        /// How many steps it rises.
        warmup_steps: u64,
    },
    /// Rises in a straight line over the first steps, then falls to zero in a straight line.
    Linear {
        /// How many steps it rises.
        warmup_steps: u64,
    },
    /// Multiplied by `factor` whenever more than `patience` epochs one after the other have no better value of
    /// [`KeepBest::metric`](super::KeepBest), or of the validation loss where the best epoch is not kept: as
    /// `torch.optim.lr_scheduler.ReduceLROnPlateau` with a threshold of 0.
    Plateau {
        /// What the learning rate is multiplied by, between 0 and 1.
        factor: f64,
        /// Epochs without a better value that are let pass.
        patience: u64,
    },
}

/// The learning rate of [`Schedule::Plateau`], epoch by epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plateau {
    factor: f64,
    best: Option<f64>,
    bad_epochs: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 1.0, best: None, bad_epochs: 0 }
    }
}

impl Plateau {
    /// The factor of the learning rate now.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// Takes the value of an epoch, where it has one.
    pub(super) fn update(&mut self, schedule: Schedule, keep: &KeepBest, value: Option<f64>) {
        let (Schedule::Plateau { factor, patience }, Some(value)) = (schedule, value) else { return };
        if keep.is_better(value, self.best) {
            (self.best, self.bad_epochs) = (Some(value), 0);
            return;
        }
        self.bad_epochs += 1;
        if self.bad_epochs > patience {
            (self.factor, self.bad_epochs) = (self.factor * factor, 0);
        }
    }
}

impl Schedule {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when the factor of a plateau is not between 0 and 1.
    pub fn validate(&self) -> Result<()> {
        match *self {
            Self::Plateau { factor, .. } if !(factor > 0.0 && factor < 1.0) => {
                Err(Error::config("factor", factor, "must be between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// The factor of the learning rate, in `0.0..=1.0`, at `step` (from 0) of `total` steps; 1 for a plateau, which depends on how the
    /// training goes.
    pub fn factor(self, step: u64, total: u64) -> f64 {
        let warmup_steps = match self {
            Self::Constant | Self::Plateau { .. } => return 1.0,
            Self::Cosine { warmup_steps } | Self::Linear { warmup_steps } => warmup_steps,
        };
        if step < warmup_steps {
            return (step + 1) as f64 / warmup_steps as f64;
        }
        let done = (step - warmup_steps) as f64 / total.saturating_sub(warmup_steps).max(1) as f64;
        let done = done.min(1.0);
        match self {
            Self::Linear { .. } => 1.0 - done,
            _ => 0.5 * (1.0 + (PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plateau_is_that_of_pytorch() {
        // torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=.5, patience=1, threshold=0) of torch 2.11.
        let schedule = Schedule::Plateau { factor: 0.5, patience: 1 };
        let losses = [3.0, 2.0, 2.5, 2.5, 1.9, 1.9, 1.9, 2.0, 2.0, f64::NAN];
        let factors = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125];
        let mut plateau = Plateau::default();
        for (loss, factor) in losses.into_iter().zip(factors) {
            plateau.update(schedule, &KeepBest::default(), Some(loss));
            assert_eq!(plateau.factor(), factor, "{loss}");
        }
        plateau.update(schedule, &KeepBest::default(), None);
        assert_eq!((plateau.factor(), plateau.bad_epochs), (0.125, 1));
        for factor in [0.0, 1.0, f64::NAN, -0.5] {
            let error = Schedule::Plateau { factor, patience: 1 }.validate().unwrap_err().to_string();
            assert!(error.starts_with("factor = "), "{error}");
        }
        assert_eq!(schedule.factor(7, 9), 1.0);
    }

    #[test]
    fn the_share_rises_and_falls_as_described() {
        for (schedule, step, share) in [
            (Schedule::Constant, 99, 1.0),
            (Schedule::Cosine { warmup_steps: 0 }, 0, 1.0),
            (Schedule::Cosine { warmup_steps: 10 }, 0, 0.1),
            (Schedule::Cosine { warmup_steps: 10 }, 9, 1.0),
            (Schedule::Cosine { warmup_steps: 10 }, 55, 0.5),
            (Schedule::Cosine { warmup_steps: 10 }, 100, 0.0),
            (Schedule::Linear { warmup_steps: 0 }, 25, 0.75),
            (Schedule::Linear { warmup_steps: 10 }, 200, 0.0),
            (Schedule::Linear { warmup_steps: 200 }, 99, 0.5),
        ] {
            let given = schedule.factor(step, 100);
            assert!((given - share).abs() < 1e-12, "{schedule:?} at step {step}: {given}, not {share}");
        }
    }
}
