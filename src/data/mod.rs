//! Captioned images: reading, splitting, word statistics, and conversion to tensors.

#[cfg(feature = "tensors")]
mod batch;
mod bounding_box;
mod dataset;
mod entities;
#[cfg(feature = "tables")]
mod frame;
pub mod images;
mod layouts;
mod lessons;
mod letters;
#[cfg(feature = "tensors")]
mod loader;
mod names;
mod random;
#[cfg(feature = "tensors")]
pub(crate) mod readable;
pub mod scenes;
mod splits;
pub mod statistics;
mod text_file;
mod vocabulary;
mod word_map;

#[cfg(feature = "tensors")]
pub use batch::pad;
pub use bounding_box::BoundingBox;
pub use dataset::{Dataset, Layout, captions_of};
pub(crate) use dataset::{Tally, counted};
pub use images::Preprocess;
pub(crate) use layouts::{captions_by_name, is_captions_of_images};
pub use lessons::{lessons_are_small, own_image};
#[cfg(feature = "tensors")]
pub use loader::{Batch, ImageLoader, LoadSummary, LoaderConfig, Skipped};
pub(crate) use names::Id;
pub use random::Random;
pub use scenes::ScenesConfig;
#[cfg(feature = "tensors")]
pub(crate) use splits::HOW_TO_SPLIT;
pub use splits::SplitConfig;
pub(crate) use text_file::read_text;
pub use vocabulary::{Coverage, Vocabulary, VocabularyConfig};

pub(crate) use word_map::WordMap;

use std::fmt;
use std::path::PathBuf;

use image::RgbImage;

use crate::Result;

/// The split of an image. Splits are by image, never by caption: an image in two splits would leak the test set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Training.
    Train,
    /// Validation.
    Validation,
    /// Test.
    Test,
}

/// Displays `train`, `validation` or `test`.
impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// An annotated object of an image.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Region {
    /// Its bounding box.
    pub bounds: BoundingBox,
    /// Its class, such as `dog`.
    pub label: String,
}

/// A phrase of a caption and the regions that it mentions, as in Flickr30k Entities.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PhraseLink {
    /// Index into [`Example::captions`].
    pub caption: usize,
    /// First word of the phrase, an index into the caption's words by `Vocabulary::words`.
    pub first_word: usize,
    /// One past the last word.
    pub end_word: usize,
    /// Indices into [`Example::regions`].
    pub regions: Vec<usize>,
}

/// The source of an image's pixels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageSource {
    /// A JPEG or PNG file.
    File(PathBuf),
    /// A scene, drawn on request.
    Scene {
        /// Seed of the data set.
        seed: u64,
        /// Index of the scene.
        index: u64,
    },
}

/// An image with its captions and annotations.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Name of the image in its data set: `1000092795.jpg`, `scene-000017`.
    pub name: String,
    /// Source of the pixels.
    pub image: ImageSource,
    /// The captions in their original spelling.
    pub captions: Vec<String>,
    /// The split; `None` for images in no split.
    pub split: Option<Split>,
    /// Annotated regions; empty where unknown.
    pub regions: Vec<Region>,
    /// Which phrases mention which regions; empty where unknown.
    pub links: Vec<PhraseLink>,
}

impl Example {
    /// Reads the image in RGB at its original size.
    ///
    /// # Errors
    /// As [`images::decode`].
    pub fn picture(&self) -> Result<RgbImage> {
        images::decode_source(&self.image)
    }

    /// The box around all regions of a phrase, which is what its grounding is usually measured against; `None` where it has none.
    ///
    /// ```
    /// use captionlab::data::{BoundingBox, Dataset, PhraseLink, ScenesConfig};
    /// let scenes = Dataset::scenes(&ScenesConfig { train: 4, validation: 0, test: 0, seed: 1 })?;
    /// let example = &scenes.examples[3];
    /// let both = PhraseLink { caption: 0, first_word: 0, end_word: 2, regions: vec![0, 1] };
    /// let bounds = example.bounds_of(&both).expect("it has two regions");
    /// assert_eq!(bounds, example.regions[0].bounds.union(&example.regions[1].bounds));
    /// # Ok::<(), captionlab::Error>(())
    /// ```
    pub fn bounds_of(&self, phrase: &PhraseLink) -> Option<BoundingBox> {
        let regions = phrase.regions.iter().filter_map(|&region| self.regions.get(region));
        regions.map(|region| region.bounds).reduce(|one, other| one.union(&other))
    }
}
