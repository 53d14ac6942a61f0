//! Training configuration of CLIP.

use serde::{Deserialize, Serialize};

use crate::error::{Within, check_range};
use crate::train::{GradientClipping, OptimiserConfig, RunSettings, Schedule};
use crate::vision::ClipConfig;
use crate::{Error, Result};

/// Training of a CLIP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTraining {
    /// The model. `text.vocabulary_size` is the upper limit of the learnt vocabulary, which determines the end token.
    pub clip: ClipConfig,
    /// Largest random shift of an image in pixels, in `0..=image_size / 2`, drawn at each step. Never mirrors: captions say left and
    /// right.
    pub shift_pixels: usize,
    /// Settings of the run. With several workers, each contrasts only its own part of the batch.
    pub run: RunSettings,
}

impl Default for ClipTraining {
    fn default() -> Self {
        Self::scenes()
    }
}

impl ClipTraining {
    /// The settings for Scenes.
    pub fn scenes() -> Self {
        Self {
            clip: ClipConfig {
                text: crate::vision::clip::ClipTextConfig { vocabulary_size: 1024, ..ClipConfig::tiny().text },
                ..ClipConfig::tiny()
            },
            shift_pixels: 6,
            run: RunSettings {
                epochs: 10,
                batch_size: 128,
                workers: 1,
                optimiser: OptimiserConfig::adam(1e-3),
                schedule: Schedule::Cosine { warmup_steps: 100 },
                clip: GradientClipping::Norm(1.0),
                ..RunSettings::default()
            },
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.clip.validate().within("clip")?;
        check_range("shift_pixels", self.shift_pixels, 0..=self.clip.image.image_size / 2)?;
        self.run.validate().within("run")?;
        if self.run.batch_size < 2 * self.run.workers {
            let expected =
                format!("must be at least {}: each worker contrasts at least two pictures", 2 * self.run.workers);
            return Err(Error::config("run.batch_size", self.run.batch_size, expected));
        }
        Ok(())
    }
}
