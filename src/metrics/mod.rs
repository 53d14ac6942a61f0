//! Metrics of captions and retrieval, equal to the reference scorers, without Java and without tensors.
//!
//! | metric | measures | item |
//! |---|---|---|
//! | BLEU-1 to BLEU-4 | n-gram precision | [`BleuCounts`] |
//! | METEOR | alignment by word, stem, synonym and paraphrase | `Meteor` |
//! | ROUGE-L | longest common subsequence | [`rouge_l`] |
//! | CIDEr-D | common n-grams, weighted by TF-IDF | [`Cider`] |
//! | R@K, median rank | retrieval | [`Ranks`] |
//!
//! BLEU, ROUGE-L, CIDEr-D and retrieval take words or ids, and are always available. METEOR, `Tokenizer` (the reference scorers'
//! tokenisation) and `score` (all scores of captions) need the cargo feature `scores`.

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
