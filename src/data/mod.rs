//! Images with captions: reading them, splitting them, counting their words, and turning them into tensors.

mod random;

pub use random::Random;

use std::path::PathBuf;

/// Which part of a data set an image belongs to. Splits are by image, never by caption: one image in two splits would
/// leak the test set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Train,
    Validation,
    Test,
}

/// A rectangle in pixels of the original image, corners `(left, top)` and `(right, bottom)`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BoundingBox {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
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

/// How a data set is laid out on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// The embedded pictures that the project draws itself.
    Scenes,
    /// Official Flickr30k: `results_20130124.token` and `flickr30k-images/`.
    Flickr30kTokens,
    /// Kaggle's Flickr30k `results.csv` or Flickr8k `captions.txt`.
    Kaggle,
    /// Karpathy's `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`.
    Karpathy,
    /// Hugging Face's `flickr_annotations_30k.csv`.
    HuggingFace,
    /// COCO's `captions_*.json`.
    Coco,
    /// A folder of images and a CSV file of two columns: the user's own.
    Folder,
}

/// A captioned data set: the examples, and what was noticed while reading them.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub layout: Layout,
    pub examples: Vec<Example>,
    /// What was repaired or left out while reading, one sentence each.
    pub notes: Vec<String>,
}
