//! captionlab: build an image captioner from nothing.
//!
//! The way of the data is one line:
//!
//! **images + captions → regions → features (cached) → alignment → captions → scores → figure.**
//!
//! Here it is on a few scenes, from the pictures to sentences of pictures that were not learnt. So little training makes poor
//! sentences; lesson 2 does the same on thousands.
//!
//! ```
//! use captionlab::caption::{CaptionTraining, Captioner, Decoding};
//! use captionlab::data::scenes::ScenesConfig;
//! use captionlab::data::{Dataset, Split};
//! use captionlab::train::{Model, Run};
//!
//! // Images and captions.
//! let dataset = Dataset::scenes(&ScenesConfig { train: 32, validation: 8, test: 4, seed: 1 })?;
//! assert_eq!(dataset.examples[0].captions.len(), 5);
//!
//! // The detector that ships with the project looks at each picture once: its features are cached. A captioner learns to put them
//! // into words.
//! # let folder = std::env::temp_dir().join(format!("captionlab-front-page-{}", std::process::id()));
//! let mut training = CaptionTraining::scenes();
//! training.run.epochs = 1;
//! # training.run.folder = Some(folder.join("run"));
//! # training.cache = Some(folder.join("features"));
//! let mut run = Run::start(&training, &dataset)?;
//! run.wait()?;
//!
//! // Captions, and how true they are.
//! let captioner: Captioner = run.model()?;
//! let captions = captioner.caption(&dataset.split(Split::Test), &Decoding::greedy())?;
//! assert_eq!(captions.len(), 4);
//! println!("{}", captioner.evaluate(&dataset, Split::Test)?);
//! # drop(run);
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), captionlab::Error>(())
//! ```
//!
//! # Floors
//!
//! | module | what lives there |
//! |---|---|
//! | [`error`] | one error type, grouped by cause |
//! | [`data`] | data sets, Scenes, vocabulary, pictures, batches |
//! | [`metrics`] | BLEU, METEOR, ROUGE-L, CIDEr-D, retrieval: no tensors |
//! | [`nn`] | named weights and their files, layers |
//! | [`train`] | the engine of all trainings |
//! | [`vision`] | detectors, CLIP, ResNet, encoders and the cache of features |
//! | [`align`] | which word is which region: the aligner, its loss, smoothing |
//! | [`caption`] | the captioner, which reads features and never pictures |
//! | [`show`] | figures and tables for notebooks |
//! | `live` | the local page: webcam captions, and trainings watched as they run |
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | alignment | which word of a sentence is which region of a picture |
//! | embedding | the vector that stands for a word, a region or a sentence |
//! | encoder | what turns a picture into features: it finds regions and describes each |
//! | epoch, step | a pass over all training examples; one update of the weights by a batch |
//! | feature | what an encoder says about a region: a vector |
//! | grounding | finding the region that a phrase speaks of |
//! | hypothesis | a caption that is being decoded, or that is scored |
//! | IoU | intersection over union: how much two boxes overlap |
//! | logits | scores of words before the softmax |
//! | margin | how much better the right pair must score than a wrong one |
//! | NMS | non-maximum suppression: of boxes that overlap too much, the one with the highest score stays |
//! | recall@K | how often the right one is among the first K |
//! | reference | a caption that a person wrote |
//! | region | a box of a picture, or all of it |
//! | shard | a file of a cache |
//! | teacher forcing | showing the network the true words so far, and asking for the next |
//! | *eye* and *mouth* | the lessons' metaphors for an encoder and a captioner |
//!
//! # Cargo features
//!
//! | feature | |
//! |---|---|
//! | `tensors` (on by default) | all that needs libtorch: `align`, `caption`, `train`, `vision`, batches |
//! | `scores` | all of `metrics`: METEOR, the tokeniser and reports; no libtorch |
//! | `tables` | data frames, and `scores` |
//! | `pytorch` | `nn::read_weights` reads PyTorch's own formats too |
//! | `clip-text` | the vocabulary of CLIP, its training, and alignment by CLIP as it is |
//! | `live` | the local page: a web server for this computer's browsers |
//! | `download` | published weights and data sets, over HTTP |
//! | `cli` | the programs `captionlab` and `captionlab-score` |
//! | `score-command` | `captionlab-score` alone, which needs no libtorch |

#[cfg(feature = "tensors")]
pub mod align;
#[cfg(feature = "tensors")]
pub mod caption;
pub mod data;
#[cfg(feature = "download")]
pub mod download;
pub mod error;
mod files;
mod in_cells;
#[cfg(feature = "tensors")]
mod kinds;
#[cfg(feature = "live")]
pub mod live;
pub mod metrics;
#[cfg(feature = "tensors")]
pub mod nn;
pub mod show;
#[cfg(feature = "tensors")]
pub mod train;
#[cfg(feature = "tensors")]
pub mod vision;

pub use error::{Error, Result};
pub use files::write_whole;
#[cfg(feature = "tensors")]
pub use kinds::{Evaluation, KINDS, Kind};
/// Data frames: the crate that [`show::data_frame`] takes them from.
#[cfg(feature = "tables")]
pub use polars;
/// libtorch's tensors, and where they live and are computed: `Device::Cpu`, `Device::Cuda(0)`, `Device::Mps`.
#[cfg(feature = "tensors")]
pub use tch::{Device, Tensor};

/// What the lessons use, in one line: `use captionlab::prelude::*;`.
#[cfg(feature = "tensors")]
pub mod prelude {
    pub use crate::align::{
        self, Align, Aligner, Alignment, AlignmentConfig, AlignmentTraining, Negatives, RegionScore,
    };
    #[cfg(feature = "clip-text")]
    pub use crate::align::{TextUnit, ZeroShotAligner};
    pub use crate::caption::{self, CaptionTraining, Captioner, CaptionerConfig, Decoding, ImageInjection, Pooling};
    pub use crate::data::scenes::{ClaimScore, Scene, ScenesConfig};
    pub use crate::data::statistics::{
        caption_agreement, caption_lengths, coverage_by_size, most_common_bigrams, vocabulary_sizes, word_counts,
    };
    pub use crate::data::{
        Dataset, Example, ImageLoader, ImageSource, Layout, LoaderConfig, Preprocess, Random, Split, Vocabulary,
        VocabularyConfig, own_image, pad,
    };
    #[cfg(feature = "live")]
    pub use crate::live::{Film, Filming, Live, LiveConfig, Models, Shot, Source};
    pub use crate::metrics::{self, BleuCounts, CaptionToScore, Cider, Ranks};
    #[cfg(feature = "scores")]
    pub use crate::metrics::{Meteor, MeteorData, MeteorWords, Metric, Report, Tokenizer};
    pub use crate::show::{
        self, AlignedImage, Animation, CaptionedImage, CurvesConfig, Figure, GridConfig, HighlightedWords, Scale,
        Series, Table, bar_chart, captioned_grid, curves, curves_with, grouped_bar_chart, histogram, learning_curves,
    };
    pub use crate::train::{OptimiserConfig, Run, Trainable, newest_run_on};
    pub use crate::vision::{
        Architecture, Classify, EncoderConfig, ExtractConfig, Extraction, FasterRcnn, FeatureCache, ImageClassifier,
        WordDetector, WordDetectorTraining,
    };
    pub use crate::{Device, Error, Result, Tensor};
}
