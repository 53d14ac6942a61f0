//! Scores of captions: BLEU, METEOR, ROUGE-L and CIDEr-D, equal to those of the reference scorers, without Java.
//!
//! | score | what it asks | where |
//! |---|---|---|
//! | BLEU-1 to BLEU-4 | how many of the caption's n-grams stand in a reference? | [`BleuCounts`] |
//! | METEOR | which words can be aligned, also by stem, synonym, paraphrase? | [`Meteor`] |
//! | ROUGE-L | how many words stand in the same order? | [`rouge_l`] |
//! | CIDEr-D | how many of the n-grams that are rare elsewhere? | [`Cider`] |
//!
//! All read the words that [`Tokenizer`] finds. [`score`] computes them all.

mod bleu;
mod captions;
mod cider;
mod files;
#[cfg(feature = "tables")]
mod frame;
mod meteor;
mod ngrams;
mod report;
mod rouge;
mod statistics;
mod tokenizer;

pub use bleu::BleuCounts;
pub use captions::CaptionToScore;
pub use cider::Cider;
pub use files::read_captions_to_score;
pub use meteor::{Match, Matcher, Meteor, MeteorCounts, MeteorData, MeteorSide, MeteorWords};
pub use report::{CaptionScores, Metric, Report, Scores, score};
pub use rouge::{longest_common_run, rouge_l};
pub use statistics::{Comparison, Diversity, Interval, compare, confidence_intervals, diversity};
pub use tokenizer::Tokenizer;
