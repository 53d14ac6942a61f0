//! The captioner: a picture's features, and a recurrent network that puts them into words.
//!
//! ```text
//! picture ──▶ encoder ──▶ features ──▶ image vector ─┐
//!                                                     ├─▶ LSTM ──▶ logits of the next word
//!                               word so far ──▶ embedding ─┘
//! ```
//!
//! A captioner reads features, never pictures: those that an [`Encoder`](crate::vision::Encoder) computes once and a
//! [`FeatureCache`](crate::vision::FeatureCache) keeps. Its checkpoint names that encoder, so it captions pictures too.
//!
//! Karpathy & Fei-Fei (2015) show the image vector to the network at the first step only; the course shows it at every step
//! ([`ImageInjection`]). Everything else of the two is a [`CaptionTraining`] as well: [`CaptionTraining::paper`],
//! [`CaptionTraining::course`], and [`CaptionTraining::scenes`], a small one.

mod captioner;
mod config;
#[cfg(feature = "pytorch")]
mod course;
mod decode;
mod ensemble;
mod evaluation;
mod explanation;
mod generator;
mod packed;
mod training;

pub use captioner::{Caption, Captioner, Captions};
pub use config::{CaptionTraining, CaptionerConfig, ImageInjection, Pooling};
pub use decode::{Decoding, Hypothesis};
pub use ensemble::Ensemble;
pub use evaluation::{
    CaptionEvaluation, RankedCaption, SceneTruth, Truth, evaluate, evaluate_cached, evaluate_decoding, ranked,
};
pub use explanation::{Described, ExplainedWord, Explanation};
pub use generator::Generator;
pub use packed::PackedCaptions;
