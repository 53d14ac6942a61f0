//! Alignment: which word of a sentence is which region of a picture (Karpathy & Fei-Fei 2015, section 3.1).
//!
//! ```text
//! picture  ──▶ encoder ──▶ features of regions ──▶ projection ──▶ v_i ─┐
//!                                                                       ├─▶ similarity v_iᵀ s_t ──▶ S = Σ_t max_i v_iᵀ s_t
//! sentence ──▶ word embeddings ──▶ bidirectional LSTM ──▶ projection ──▶ s_t ─┘
//! ```
//!
//! Nobody says which word is which region. An [`Aligner`] learns it from pictures and sentences alone: a sentence has to score higher
//! with its own picture than with others, and the other way round, and the score is the sum of what each word finds in the picture.
//!
//! It reads features, never pictures: those that an [`Encoder`](crate::vision::Encoder) computes once and a
//! [`FeatureCache`](crate::vision::FeatureCache) keeps. The paper's and the course's settings are [`AlignmentTraining::paper`] and
//! [`AlignmentTraining::course`]; [`AlignmentTraining::scenes`] is a small one.
//!
//! The aligner that ships with the project knows Scenes:
//!
//! ```
//! use captionlab::align::{Align, Aligner};
//! use captionlab::data::scenes::Scene;
//! use captionlab::train::Model;
//! use captionlab::Kind;
//!
//! let aligner = Aligner::load(Kind::named(Aligner::KIND)?.usual_model()?)?;
//! let scene = Scene::generate(1, 900_003);
//! let alignment = aligner.align(&scene.draw(), &scene.captions()[0])?;
//! assert_eq!(alignment.words.len(), alignment.regions.len());
//! # Ok::<(), captionlab::Error>(())
//! ```

mod aligner;
mod alignment;
mod config;
#[cfg(feature = "pytorch")]
mod course;
mod embedding;
mod evaluation;
mod network;
mod scores;
mod smoothing;
mod training;
mod word_vectors;
#[cfg(feature = "clip-text")]
mod zero_shot;

pub use aligner::Aligner;
pub use alignment::{Alignment, Snippet};
pub use config::{AlignmentConfig, AlignmentTraining, Directions, Negatives, RegionScore, Similarity, WordVectors};
#[cfg(feature = "pytorch")]
pub(crate) use course::{CourseCheckpoint, is_of_pytorch};
pub use embedding::Align;
pub(crate) use embedding::Embed;
pub use evaluation::{AlignmentEvaluation, Grounding, evaluate, evaluate_cached};
pub(crate) use network::RegionEmbedding;
pub use network::{AlignmentNetwork, PackedSentences};
pub use smoothing::smooth;
#[cfg(feature = "clip-text")]
pub use zero_shot::{TextUnit, ZeroShotAligner, chunks};
