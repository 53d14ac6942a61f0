//! Which captions are true of which images.

use crate::Result;
use crate::data::Example;
use crate::data::scenes::{Claim, Scene, claims};
use crate::vision::clip::ClipTokenizer;

/// The captions of an image, and its scene if known.
#[derive(Clone)]
pub(super) struct Said {
    /// Token ids of each caption.
    pub(super) captions: Vec<Vec<i64>>,
    known: Option<Known>,
}

/// Complete knowledge of a scene.
#[derive(Clone)]
struct Known {
    scene: Scene,
    /// The claims of each caption.
    claims: Vec<Vec<Claim>>,
}

impl Said {
    pub(super) fn of(example: &Example, tokenizer: &ClipTokenizer) -> Result<Self> {
        let captions = example.captions.iter().map(|caption| tokenizer.encode(caption)).collect::<Result<_>>()?;
        let known = Scene::of(example)
            .map(|scene| Known { scene, claims: example.captions.iter().map(|caption| claims(caption)).collect() });
        Ok(Self { captions, known })
    }

    /// Whether a caption is true of another image as well. Without scenes: whether that image has the same caption.
    pub(super) fn is_true_of(&self, caption: usize, other: &Self) -> bool {
        match (&self.known, &other.known) {
            (Some(own), Some(other)) => own.claims[caption].iter().all(|claim| other.scene.is_true(claim)),
            _ => other.captions.contains(&self.captions[caption]),
        }
    }
}
