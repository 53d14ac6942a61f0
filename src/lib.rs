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
//! use captionlab::caption::{self, CaptionTraining, Decoding, EyeTraining};
//! use captionlab::data::scenes::ScenesConfig;
//! use captionlab::data::{Dataset, Split};
//!
//! // Images and captions.
//! let dataset = Dataset::scenes(&ScenesConfig { train: 64, validation: 8, test: 4, seed: 1 })?;
//! assert_eq!(dataset.examples[0].captions.len(), 5);
//!
//! // The eye learns which words people use of a picture, the mouth to make sentences of them.
//! # let folder = std::env::temp_dir().join(format!("captionlab-front-page-{}", std::process::id()));
//! let mut eye = EyeTraining::scenes();
//! eye.run.epochs = 1;
//! # eye.run.folder = Some(folder.join("eye"));
//! let mut eye_run = caption::train_eye(&dataset, &eye)?;
//! eye_run.wait()?;
//! let mut mouth = CaptionTraining { eye: Some(eye_run.folder().into()), ..CaptionTraining::scenes() };
//! mouth.run.epochs = 1;
//! # mouth.run.folder = Some(folder.join("mouth"));
//! let mut run = caption::train(&dataset, &mouth)?;
//! run.wait()?;
//!
//! // Captions, and how true they are.
//! let captions = run.captioner()?.caption(&dataset.split(Split::Test), &Decoding::greedy())?;
//! assert_eq!(captions.len(), 4);
//! println!("{}", caption::evaluate(&run.captioner()?, &dataset, Split::Test)?);
//! # drop((run, eye_run));
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), captionlab::Error>(())
//! ```
//!
//! | feature | |
//! |---|---|
//! | `tensors` (on by default) | all that needs libtorch: `caption`, `train`, `vision`, batches |
//! | `scores` | all of `metrics`: METEOR, the tokeniser and reports; no libtorch |
//! | `tables` | data frames, and `scores` |
//! | `pytorch` | `vision::read_weights` reads PyTorch's own formats too |
//! | `clip-text` | the vocabulary of CLIP, and its training |
//! | `download` | published weights and data sets, over HTTP |
//! | `cli` | the programs `captionlab` and `captionlab-score` |
//! | `score-command` | `captionlab-score` alone, which needs no libtorch |

#[cfg(feature = "tensors")]
pub mod caption;
pub mod data;
#[cfg(feature = "download")]
pub mod download;
pub mod error;
mod files;
pub mod metrics;
#[cfg(feature = "tensors")]
pub mod nn;
pub mod show;
#[cfg(feature = "tensors")]
pub mod train;
#[cfg(feature = "tensors")]
pub mod vision;

pub use error::{Error, Result};
/// Data frames: the crate that [`show::data_frame`] takes them from.
#[cfg(feature = "tables")]
pub use polars;
/// libtorch's tensors, and where they live and are computed: `Device::Cpu`, `Device::Cuda(0)`, `Device::Mps`.
#[cfg(feature = "tensors")]
pub use tch::{Device, Tensor};

/// What the lessons use, in one line: `use captionlab::prelude::*;`.
#[cfg(feature = "tensors")]
pub mod prelude {
    pub use crate::caption::{self, CaptionTraining, Captioner, CaptionerConfig, Decoding, EyeTraining, ImageEntry};
    pub use crate::data::scenes::{ClaimScore, Scene, ScenesConfig};
    pub use crate::data::statistics::{
        caption_agreement, caption_lengths, coverage_by_size, most_common_bigrams, vocabulary_sizes, word_counts,
    };
    pub use crate::data::{
        Dataset, Example, ImageLoader, ImageSource, Layout, LoaderConfig, Preprocess, Random, Split, Vocabulary,
        VocabularyConfig, pad,
    };
    pub use crate::metrics::{self, BleuCounts, CaptionToScore, Cider, Ranks};
    #[cfg(feature = "scores")]
    pub use crate::metrics::{Meteor, MeteorData, MeteorWords, Metric, Report, Tokenizer};
    pub use crate::show::{
        self, Animation, CaptionedImage, CurvesConfig, Figure, GridConfig, HighlightedWords, Scale, Series, Table,
        bar_chart, captioned_grid, curves, curves_with, grouped_bar_chart, histogram, learning_curves,
    };
    pub use crate::train::Run;
    pub use crate::{Device, Error, Result, Tensor};
}
