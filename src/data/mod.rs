//! Images with captions: reading them, splitting them, counting their words, and turning them into tensors.

#[cfg(feature = "tensors")]
mod batch;
mod bounding_box;
mod dataset;
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
pub use lessons::lessons_are_small;
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

/// Which part of a data set an image belongs to. Splits are by image, never by caption: one image in two splits would
/// leak the test set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Train,
    Validation,
    Test,
}

/// `train`, `validation` or `test`.
impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// A thing in an image: its box and what it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Region {
    pub bounds: BoundingBox,
    /// What the region shows, such as `dog`.
    pub label: String,
}

/// A phrase of a caption, and the regions it speaks of (as in Flickr30k Entities).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PhraseLink {
    /// Index into [`Example::captions`].
    pub caption: usize,
    /// First word of the phrase, counted in the caption's words as `Vocabulary` splits them.
    pub first_word: usize,
    /// One past the last word.
    pub end_word: usize,
    /// Indices into [`Example::regions`].
    pub regions: Vec<usize>,
}

/// Where the pixels of an example come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageSource {
    /// A JPEG or PNG file.
    File(PathBuf),
    /// A picture that the Scenes generator draws on request.
    Scene { seed: u64, index: u64 },
}

/// One image with its captions, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The image's name in its data set: `1000092795.jpg`, `scene-000017`.
    pub name: String,
    pub image: ImageSource,
    /// As written by people, case and punctuation kept.
    pub captions: Vec<String>,
    /// `None` where the data set leaves the image out of every split.
    pub split: Option<Split>,
    /// Known regions; empty where the layout has none.
    pub regions: Vec<Region>,
    /// Which words speak of which regions; empty where unknown.
    pub links: Vec<PhraseLink>,
}

impl Example {
    /// The picture itself, in RGB, as large as it is.
    ///
    /// # Errors
    /// As [`images::decode`], if the file cannot be read.
    pub fn picture(&self) -> Result<RgbImage> {
        images::decode_source(&self.image)
    }
}
