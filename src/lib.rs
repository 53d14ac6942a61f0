//! captionlab: build an image captioner from nothing.
//!
//! The way of the data is one line:
//!
//! **images + captions → regions → features (cached) → alignment → captions → scores → figure.**

pub mod data;
pub mod error;

pub use error::{Error, Result};

/// What the lessons use, in one line: `use captionlab::prelude::*;`.
pub mod prelude {
    pub use crate::data::{BoundingBox, Dataset, Example, ImageSource, Layout, PhraseLink, Random, Region, Split};
    pub use crate::{Error, Result};
}
