//! captionlab: build an image captioner from nothing.
//!
//! The way of the data is one line:
//!
//! **images + captions → regions → features (cached) → alignment → captions → scores → figure.**

pub mod data;
pub mod error;
pub mod show;

pub use error::{Error, Result};
/// Data frames: the crate that [`show::data_frame`] takes them from.
#[cfg(feature = "tables")]
pub use polars;
