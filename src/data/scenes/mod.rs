//! Scenes, the embedded data set: a picture book that the project draws itself, and of which it knows the truth.
//!
//! A seeded generator composes a small world (one to four things on a backdrop), draws it in 128×128 pixels, and writes
//! five captions as five people would: with synonyms, in varying detail, each naming only part of what is there. It knows
//! the box of every thing, which words speak of which boxes, and by [`Scene::is_true`] whether any sentence that
//! [`claims`] understands is true of the picture. So what a model says can be measured, not only looked at.
//!
//! ```
//! use captionlab::data::scenes::{Scene, claims};
//! let scene = Scene::generate(1, 17);
//! assert_eq!(scene.captions().len(), 5);
//! assert_eq!(scene.draw().dimensions(), (128, 128));
//! for caption in scene.captions() {
//!     assert!(claims(caption).iter().all(|claim| scene.is_true(claim)));
//! }
//! ```
//!
//! The same seed gives the same bytes on every machine: no platform function takes part, only IEEE + − × ÷ √.
//! **Version 1 is frozen**; a later change of picture or caption is a new version.
//!
//! # How hard it is
//! The default data set, 3,600 pictures with 18,000 captions, as [`Difficulty::measure`] finds it (a test holds this table
//! to what is measured):
//! ```text
#![doc = include_str!("difficulty.txt")]
//! ```

mod claims;
mod difficulty;
mod grammar;
mod layout;
mod lexicon;
mod paint;
mod world;

pub use claims::{Claim, ClaimScore, Mention, claims};
pub use difficulty::Difficulty;
pub use world::{Action, Backdrop, Colour, Kind, Relation, Size};

use rayon::prelude::*;

use super::{BoundingBox, Dataset, Example, ImageSource, Layout, PhraseLink, Random, Region, Split};
use crate::error::{Error, Result};

/// The version of the generator: same version, same seed, same bytes.
pub const VERSION: u32 = 1;

/// Side of a picture in pixels.
pub const SIDE: u32 = 128;

/// Captions a picture.
pub const CAPTIONS: usize = 5;

/// How many pictures of each split to draw.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScenesConfig {
    /// Training pictures, at most 800,000.
    pub train: usize,
    /// Validation pictures, at most 100,000.
    pub validation: usize,
    /// Test pictures, at most 100,000.
    pub test: usize,
    pub seed: u64,
}

impl Default for ScenesConfig {
    fn default() -> Self {
        Self { train: 3000, validation: 300, test: 300, seed: 1 }
    }
}

/// The splits, each with the indices of the scenes that may be in it. The ranges are fixed, so a larger training set
/// leaves the validation and test pictures what they are.
const RANGES: [(Split, u64, u64); 3] =
    [(Split::Train, 0, 800_000), (Split::Validation, 800_000, 900_000), (Split::Test, 900_000, 1_000_000)];

impl ScenesConfig {
    /// What the captioner of the lessons is trained on: twice the usual number of training pictures, so that it learns fewer
    /// of them by heart. Validation and test pictures are the usual ones.
    pub fn for_captioning() -> Self {
        Self { train: 6000, ..Self::default() }
    }

    /// What the CLIP of the lessons is trained on: it has to learn to look and to read at once. Validation and test pictures
    /// are the usual ones.
    pub fn for_clip() -> Self {
        Self { train: 12_000, ..Self::default() }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] where a split is asked for more pictures than its range of indices holds.
    pub fn validate(&self) -> Result<()> {
        for ((split, first, end), (field, count)) in RANGES.iter().zip(self.counts()) {
            let most = end - first;
            if count as u64 > most {
                return Err(Error::config(format!("scenes.{field}"), count, format!("{split:?} has at most {most}")));
            }
        }
        Ok(())
    }

    fn counts(&self) -> [(&'static str, usize); 3] {
        [("train", self.train), ("validation", self.validation), ("test", self.test)]
    }
}

/// One thing in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Thing {
    pub kind: Kind,
    pub colour: Colour,
    pub size: Size,
    pub action: Action,
    /// The box of what can be seen of it, in pixels of the 128×128 picture.
    pub bounds: BoundingBox,
    /// The share of it that nothing hides, `0.5..=1.0`.
    pub visible: f32,
    place: layout::Place,
}

impl Thing {
    /// Whether it is in the air.
    pub fn is_aloft(&self) -> bool {
        matches!(self.action, Action::Fly | Action::Float)
    }
}

/// Someone holds something, or plays with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bond {
    /// Index into [`Scene::things`].
    pub subject: usize,
    /// [`Relation::Holding`] or [`Relation::PlayingWith`].
    pub relation: Relation,
    /// Index into [`Scene::things`].
    pub object: usize,
}

/// One picture: what is in it, and what people say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    seed: u64,
    index: u64,
    stage: layout::Stage,
    things: Vec<Thing>,
    bonds: Vec<Bond>,
    captions: Vec<String>,
    links: Vec<PhraseLink>,
    /// What each caption was written to say.
    meant: Vec<Vec<Claim>>,
}

impl Scene {
    /// Scene number `index` of the world with this seed. Nothing is drawn yet.
    pub fn generate(seed: u64, index: u64) -> Self {
        let mut random = Random::stream(seed, index);
        let (stage, things, bonds) = layout::compose(&mut random);
        let mut scene =
            Self { seed, index, stage, things, bonds, captions: Vec::new(), links: Vec::new(), meant: Vec::new() };
        grammar::write_captions(&mut scene, &mut random);
        scene
    }

    /// The scene behind an example of this data set; `None` for photographs.
    pub fn of(example: &Example) -> Option<Self> {
        match example.image {
            ImageSource::Scene { seed, index } => Some(Self::generate(seed, index)),
            ImageSource::File(_) => None,
        }
    }

    /// The picture, 128×128 pixels.
    pub fn draw(&self) -> image::RgbImage {
        self.draw_at(SIDE)
    }

    /// The same picture in `side`×`side` pixels (kept within 16 to 4096), as sharp as a projector can show.
    /// At 128 it is [`Scene::draw`].
    pub fn draw_at(&self, side: u32) -> image::RgbImage {
        paint::draw(&self.stage, &self.things, &self.bonds, side.clamp(16, 4096))
    }

    /// `scene-000017`.
    pub fn name(&self) -> String {
        format!("scene-{:06}", self.index)
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    pub fn index(&self) -> u64 {
        self.index
    }

    pub fn backdrop(&self) -> Backdrop {
        self.stage.backdrop
    }

    /// What is in the picture, one to four things.
    pub fn things(&self) -> &[Thing] {
        &self.things
    }

    /// Who holds what, and who plays with what.
    pub fn bonds(&self) -> &[Bond] {
        &self.bonds
    }

    /// Five captions, all different and all true.
    pub fn captions(&self) -> &[String] {
        &self.captions
    }

    /// The boxes of the things, in the order of [`Scene::things`].
    pub fn regions(&self) -> Vec<Region> {
        self.things.iter().map(|thing| Region { bounds: thing.bounds, label: thing.kind.to_string() }).collect()
    }

    /// Which words of which caption speak of which things. Words are counted as [`words`] splits them.
    pub fn links(&self) -> &[PhraseLink] {
        &self.links
    }

    /// Scene and captions as an example of a data set.
    pub fn example(&self, split: Split) -> Example {
        Example {
            name: self.name(),
            image: ImageSource::Scene { seed: self.seed, index: self.index },
            captions: self.captions.clone(),
            split: Some(split),
            regions: self.regions(),
            links: self.links.clone(),
        }
    }
}

/// The words of a caption: lower-case, split at white space, all but letters and digits dropped.
pub fn words(caption: &str) -> Vec<String> {
    caption
        .to_lowercase()
        .split_whitespace()
        .map(|token| token.chars().filter(|letter| letter.is_alphanumeric()).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect()
}

impl Dataset {
    /// The embedded data set: pictures that the project draws itself, the same for the same seed on every machine.
    ///
    /// No validation or test picture is a copy of a training picture, and a larger training set leaves them what they are.
    ///
    /// # Errors
    /// [`Error::Config`] where more pictures are asked for than a split can hold.
    pub fn scenes(config: &ScenesConfig) -> Result<Self> {
        config.validate()?;
        let wanted: Vec<(Split, u64)> = RANGES
            .iter()
            .zip(config.counts())
            .flat_map(|(&(split, first, _), (_, count))| (first..first + count as u64).map(move |index| (split, index)))
            .collect();
        let examples =
            wanted.into_par_iter().map(|(split, index)| Scene::generate(config.seed, index).example(split)).collect();
        Ok(Self { name: format!("Scenes {VERSION}"), layout: Layout::Scenes, examples, notes: Vec::new() })
    }
}
