//! The captioner: a picture's feature, and a recurrent network that puts it into words.
//!
//! ```text
//! picture ──▶ encoder ──▶ feature ──▶ image vector ─┐
//!                                                    ├─▶ LSTM ──▶ scores of the next word
//!                              word so far ──▶ embedding ─┘
//! ```
//!
//! Karpathy & Fei-Fei (2015) show the image vector to the network at the first step only; the course shows it at every step
//! ([`ImageEntry`]). Everything else of the two is a [`CaptionTraining`] as well: [`CaptionTraining::paper`],
//! [`CaptionTraining::course`], and [`CaptionTraining::scenes`], a small one.
//!
//! The encoder may learn on its own first, which words people use of a picture ([`train_eye`]); the captioner then learns to
//! make sentences of what it sees.

mod captioner;
mod captions;
mod config;
mod decoding;
mod evaluation;
mod eye;
mod generator;
mod training;

pub use captioner::Captioner;
pub use captions::PackedCaptions;
pub use config::{CaptionTraining, CaptionerConfig, ImageEntry};
pub use decoding::Decoding;
pub use evaluation::{CaptionEvaluation, Truth, evaluate};
pub use eye::{Eye, EyeTraining, train_eye};
pub use generator::Generator;
pub use training::train;
