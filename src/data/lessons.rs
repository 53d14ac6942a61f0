//! Data sets of the lessons.

use std::env;

use image::RgbImage;

use super::Dataset;
use super::scenes::ScenesConfig;
use crate::Result;

/// Images in tests of the lessons: training, validation, test.
const FEW: [usize; 3] = [160, 40, 40];

/// Whether the lessons are only tested: `CAPTIONLAB_SMALL` is set, as by `cargo xtask test`. Every cell then runs briefly on little
/// data.
pub fn lessons_are_small() -> bool {
    env::var_os("CAPTIONLAB_SMALL").is_some_and(|value| !value.is_empty())
}

/// The reader's own picture: the file that the environment variable `CAPTIONLAB_IMAGE` names; `None` where it names none.
///
/// # Errors
/// As [`decode`](super::images::decode).
pub fn own_image() -> Result<Option<RgbImage>> {
    match env::var_os("CAPTIONLAB_IMAGE").filter(|path| !path.is_empty()) {
        Some(path) => super::images::decode(&path).map(Some),
        None => Ok(None),
    }
}

impl Dataset {
    /// The data set of the lessons: the one that the environment variable `CAPTIONLAB_DATA` names, or Scenes.
    ///
    /// A data set without splits gets random splits by image, always the same.
    ///
    /// # Errors
    /// As [`Dataset::open`], if `CAPTIONLAB_DATA` does not name a data set.
    pub fn for_lessons() -> Result<Self> {
        Self::for_lessons_with(&ScenesConfig::default())
    }

    /// [`Dataset::for_lessons`] with another size of Scenes.
    ///
    /// # Errors
    /// As [`Dataset::for_lessons`].
    pub fn for_lessons_with(full: &ScenesConfig) -> Result<Self> {
        let Some(folder) = env::var_os("CAPTIONLAB_DATA").filter(|folder| !folder.is_empty()) else {
            let [train, validation, test] = FEW;
            let few = ScenesConfig { train, validation, test, ..full.clone() };
            return Self::scenes(if lessons_are_small() { &few } else { full });
        };
        let dataset = Self::open(folder)?.with_splits()?;
        Ok(if lessons_are_small() { dataset.limit(FEW.iter().sum()) } else { dataset })
    }
}
