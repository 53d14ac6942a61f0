//! How the learning rate changes over a training.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

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
}

impl Schedule {
    /// The factor of the learning rate, in `0.0..=1.0`, at `step` (from 0) of `total` steps.
    pub fn factor(self, step: u64, total: u64) -> f64 {
        let warmup_steps = match self {
            Self::Constant => return 1.0,
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
