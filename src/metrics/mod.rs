//! How good captions are, and how well pictures and captions find one another: scores equal to those of the reference scorers,
//! without Java and without tensors.
//!
//! | score | what it asks | where |
//! |---|---|---|
//! | BLEU-1 to BLEU-4 | how many of the caption's n-grams stand in a reference? | [`BleuCounts`] |
//! | METEOR | which words can be aligned, also by stem, synonym, paraphrase? | `Meteor` |
//! | ROUGE-L | how many words stand in the same order? | [`rouge_l`] |
//! | CIDEr-D | how many of the n-grams that are rare elsewhere? | [`Cider`] |
//! | R@K, median rank | in which place does the right one come? | [`Ranks`] |
//!
//! BLEU, ROUGE-L, CIDEr-D and ranks take words, or their numbers, as they are, and are always there. METEOR, `Tokenizer`, which
//! finds words as the reference scorers do, and `score`, which computes all scores of captions, come with the cargo feature
//! `scores`.

mod bleu;
mod captions;
mod cider;
mod files;
#[cfg(feature = "tables")]
mod frame;
#[cfg(feature = "scores")]
mod meteor;
mod ngrams;
#[cfg(feature = "scores")]
mod report;
mod retrieval;
mod rouge;
#[cfg(feature = "scores")]
mod statistics;
#[cfg(feature = "scores")]
mod tokenizer;

pub use bleu::BleuCounts;
pub use captions::CaptionToScore;
pub use cider::Cider;
pub use files::read_captions_to_score;
#[cfg(feature = "scores")]
pub use meteor::{Match, Matcher, Meteor, MeteorCounts, MeteorData, MeteorSide, MeteorWords};
#[cfg(feature = "scores")]
pub use report::{CaptionScores, Metric, Report, Scores, score};
pub use retrieval::{Ranks, rank, ranks};
pub use rouge::{longest_common_run, rouge_l};
#[cfg(feature = "scores")]
pub use statistics::{Comparison, Diversity, Interval, compare, confidence_intervals, diversity};
#[cfg(feature = "scores")]
pub use tokenizer::Tokenizer;
