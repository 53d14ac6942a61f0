//! Which captions are true of which pictures.

use crate::Result;
use crate::data::Example;
use crate::data::scenes::{Claim, Scene, claims};
use crate::vision::clip::ClipTokenizer;

/// What is said of a picture, and what is known of it.
#[derive(Clone)]
pub(super) struct Said {
    /// The tokens of each caption.
    pub(super) captions: Vec<Vec<i64>>,
    known: Option<Known>,
}

/// Of a scene all is known.
#[derive(Clone)]
struct Known {
    scene: Scene,
    /// What each caption claims.
    claims: Vec<Vec<Claim>>,
}

impl Said {
    pub(super) fn of(example: &Example, tokenizer: &ClipTokenizer) -> Result<Self> {
        let captions = example.captions.iter().map(|caption| tokenizer.encode(caption)).collect::<Result<_>>()?;
        let known = Scene::of(example)
            .map(|scene| Known { scene, claims: example.captions.iter().map(|caption| claims(caption)).collect() });
        Ok(Self { captions, known })
    }

    /// Whether one of these captions is true of another picture as well: where nothing is known of that, whether the same
    /// words were said of it.
    pub(super) fn is_true_of(&self, caption: usize, other: &Self) -> bool {
        match (&self.known, &other.known) {
            (Some(own), Some(other)) => own.claims[caption].iter().all(|claim| other.scene.is_true(claim)),
            _ => other.captions.contains(&self.captions[caption]),
        }
    }
}
