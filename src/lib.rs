//! captionlab: build an image captioner from nothing.
//!
//! The way of the data is one line:
//!
//! **images + captions → regions → features (cached) → alignment → captions → scores → figure.**

pub mod caption;
pub mod data;
pub mod error;
mod files;
pub mod show;
pub mod train;
pub mod vision;

pub use error::{Error, Result};
/// Data frames: the crate that [`show::data_frame`] takes them from.
#[cfg(feature = "tables")]
pub use polars;
/// libtorch's tensors, and where they live and are computed: `Device::Cpu`, `Device::Cuda(0)`, `Device::Mps`.
pub use tch::{Device, Tensor};

/// What the lessons use, in one line: `use captionlab::prelude::*;`.
pub mod prelude {
    pub use crate::caption::{self, CaptionTraining, Captioner, CaptionerConfig, Decoding, EyeTraining, ImageEntry};
    pub use crate::data::scenes::ScenesConfig;
    pub use crate::data::statistics::{
        caption_agreement, caption_lengths, coverage_by_size, most_common_bigrams, vocabulary_sizes, word_counts,
    };
    pub use crate::data::{
        Dataset, Example, ImageLoader, ImageSource, Layout, LoaderConfig, Preprocess, Random, Split, Vocabulary,
        VocabularyConfig, pad,
    };
    pub use crate::show::{
        self, CaptionedImage, CurvesConfig, Figure, GridConfig, Scale, Series, Table, bar_chart, captioned_grid,
        curves, curves_with, histogram,
    };
    pub use crate::train::Run;
    pub use crate::{Device, Error, Result, Tensor};
}
