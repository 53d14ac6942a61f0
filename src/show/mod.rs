//! Figures and tables that display themselves when they are the last expression of a notebook cell.
//!
//! Every figure is a PNG with a text alternative. Figures do not depend on the machine: the typeface (DejaVu Sans) is part of the
//! crate.
//!
//! | to show | call |
//! |---|---|
//! | images with captions | [`captioned_grid`] |
//! | objects and regions of images | [`boxed_images`], [`regions`] |
//! | which word of a sentence is aligned with which region | [`alignments`] |
//! | a matrix of numbers | [`heat_map`] |
//! | the images that were found for a query | [`retrieval`] |
//! | the same for examples and an aligner | `aligned_examples`, `similarities`, `retrieved_examples` |
//! | a value over another | [`curves`], [`curves_with`] for logarithmic axes |
//! | the losses of a run | [`learning_curves`] |
//! | a distribution | [`histogram`] |
//! | amounts | [`bar_chart`], [`grouped_bar_chart`] |
//! | matched or aligned words | [`highlighted_words`], [`word_alignment`]; `matched_ngrams` and `meteor_alignment` with the feature `scores` |
//! | scores over a setting | `score_curves`, with the feature `scores` |
//! | answers to an exercise | [`answers`] |
//! | a sequence of figures | [`Animation`] |
//! | rows and columns | [`Table`], and `data_frame` with the feature `tables` |
//!
//! ```
//! use captionlab::show::{self, Series};
//! let loss = Series::new("training loss", vec![(0.0, 5.1), (100.0, 2.4), (200.0, 1.9)]);
//! let figure = show::curves("The captioner learns", "step", "loss", &[loss])?;
//! assert!(figure.alternative.contains("training loss: from 5.1 at 0 to 1.9 at 200"));
//! # Ok::<(), captionlab::Error>(())
//! ```

#[cfg(feature = "tensors")]
mod aligned;
mod alignments;
mod animation;
mod answers;
mod axis;
mod bars;
mod boxes;
mod canvas;
mod chart;
#[cfg(feature = "tensors")]
mod comparison;
mod curves;
#[cfg(feature = "tables")]
mod data_frame;
mod examples;
mod figure;
mod grid;
mod heat_map;
mod histogram;
#[cfg(feature = "tensors")]
mod learning;
mod palette;
mod probabilities;
#[cfg(feature = "tensors")]
mod regions;
mod retrieval;
#[cfg(feature = "scores")]
mod scores;
mod style;
mod table;
mod text;
mod tree;
mod words;

#[cfg(feature = "clip-text")]
pub use aligned::grounded_texts;
#[cfg(feature = "tensors")]
pub use aligned::{aligned_examples, attention, captioned_regions, explained_words, retrieved_examples, similarities};
pub use alignments::{AlignedImage, AlignedWord, alignments};
pub use animation::Animation;
pub use answers::answers;
pub use bars::{bar_chart, grouped_bar_chart};
pub use boxes::{BoxedImage, boxed_images};
#[cfg(feature = "tensors")]
pub use comparison::{compared_curves, compared_runs};
pub use curves::{CurvesConfig, Scale, Series, curves, curves_with};
#[cfg(feature = "tables")]
pub use data_frame::{data_frame, data_frame_rows};
#[cfg(feature = "tensors")]
pub use examples::ranked_captions;
pub use examples::{captioned_examples, written_captions};
pub use figure::Figure;
pub use grid::{CaptionedImage, GridConfig, captioned_grid};
pub use heat_map::{HeatMap, heat_map};
pub use histogram::histogram;
#[cfg(feature = "tensors")]
pub use learning::learning_curves;
pub use probabilities::{ChosenWord, word_probabilities};
#[cfg(feature = "tensors")]
pub use regions::regions;
pub use retrieval::{RetrievalRow, RetrievedImage, retrieval};
#[cfg(feature = "scores")]
pub use scores::{matched_ngrams, meteor_alignment, score_curves};
pub use table::Table;
pub use tree::hypothesis_tree;
pub use words::{HighlightedWords, WordLink, highlighted_words, word_alignment};
