//! Figures and tables that display themselves when they are the last expression of a notebook cell.
//!
//! Every figure is a PNG with a text alternative: it shows wherever notebooks are shown, and says in words what is to be
//! seen. Nothing depends on the machine: the typeface (DejaVu Sans) is part of the crate.
//!
//! | to show | call |
//! |---|---|
//! | pictures with their captions | [`captioned_grid`] |
//! | what stands where in pictures | [`boxed_images`], [`regions`] |
//! | how a value goes along | [`curves`], [`curves_with`] for logarithmic axes |
//! | the losses of a training | [`learning_curves`] |
//! | how values are spread | [`histogram`] |
//! | amounts to compare | [`bar_chart`], [`grouped_bar_chart`] |
//! | which words count, which stand for which | [`highlighted_words`], [`word_alignment`]; `matched_ngrams` and `meteor_alignment` with the feature `scores` |
//! | how scores go along with a setting | `score_curves`, with the feature `scores` |
//! | answers to an exercise | [`answers`] |
//! | figures one after the other | [`Animation`] |
//! | rows and columns | [`Table`], and `data_frame` with the feature `tables` |
//!
//! ```
//! use captionlab::show::{self, Series};
//! let loss = Series::new("training loss", vec![(0.0, 5.1), (100.0, 2.4), (200.0, 1.9)]);
//! let figure = show::curves("The captioner learns", "step", "loss", &[loss])?;
//! assert!(figure.alternative.contains("training loss: from 5.1 at 0 to 1.9 at 200"));
//! # Ok::<(), captionlab::Error>(())
//! ```

mod animation;
mod answers;
mod axis;
mod bars;
mod boxes;
mod canvas;
mod chart;
mod curves;
#[cfg(feature = "tables")]
mod data_frame;
mod examples;
mod figure;
mod grid;
mod histogram;
#[cfg(feature = "tensors")]
mod learning;
mod palette;
#[cfg(feature = "tensors")]
mod regions;
#[cfg(feature = "scores")]
mod scores;
mod style;
mod table;
mod text;
mod words;

pub use animation::Animation;
pub use answers::answers;
pub use bars::{bar_chart, grouped_bar_chart};
pub use boxes::{BoxedImage, boxed_images};
pub use curves::{CurvesConfig, Scale, Series, curves, curves_with};
#[cfg(feature = "tables")]
pub use data_frame::{data_frame, data_frame_rows};
pub use examples::{captioned_examples, written_captions};
pub use figure::Figure;
pub use grid::{CaptionedImage, GridConfig, captioned_grid};
pub use histogram::histogram;
#[cfg(feature = "tensors")]
pub use learning::learning_curves;
#[cfg(feature = "tensors")]
pub use regions::regions;
#[cfg(feature = "scores")]
pub use scores::{matched_ngrams, meteor_alignment, score_curves};
pub use table::Table;
pub use words::{HighlightedWords, WordLink, highlighted_words, word_alignment};
