//! Scenes, the embedded data set: drawn by captionlab itself, with complete ground truth.
//!
//! A seeded generator composes one to four objects on a backdrop, draws them in 128×128 pixels, and writes five captions as five people
//! would: with synonyms, in varying detail, each naming only part of the scene. It knows every box and which phrases mention which
//! boxes, and [`Scene::is_true`] tells whether any sentence that [`claims`] understands is true of the image. So a model's captions can
//! be measured, not only looked at.
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
//! The same seed gives the same bytes on every machine, because only IEEE + − × ÷ √ are used.
//! **Version 1 is frozen**; any change of images or captions makes a new version.
//!
//! # Difficulty
//! The default data set of 3,600 images with 18,000 captions, as measured by [`Difficulty::measure`] (a test compares this table):
//! ```text
#![doc = include_str!("difficulty.txt")]
//! ```

mod claims;
mod difficulty;
mod export;
mod grammar;
mod layout;
mod lexicon;
mod paint;
mod world;

pub use claims::{Claim, ClaimScore, Mention, claims};
pub use difficulty::Difficulty;
pub use export::{Exported, export};
pub use world::{Action, Backdrop, Colour, Kind, Relation, Size};

use rayon::prelude::*;

use super::{BoundingBox, Dataset, Example, ImageSource, Layout, PhraseLink, Random, Region, Split};
use crate::error::{Error, Result};

/// Version of the generator: the same version and seed give the same bytes.
pub const VERSION: u32 = 1;

/// Side of an image in pixels.
pub const SIDE: u32 = 128;

/// Number of captions per image.
pub const CAPTIONS: usize = 5;

/// Size of a Scenes data set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScenesConfig {
    /// Number of training images, at most 800,000. Default: 3,000.
    pub train: usize,
    /// Number of validation images, at most 100,000. Default: 300.
    pub validation: usize,
    /// Number of test images, at most 100,000. Default: 300.
    pub test: usize,
    /// Seed. Default: 1.
    pub seed: u64,
}

impl Default for ScenesConfig {
    fn default() -> Self {
        Self { train: 3000, validation: 300, test: 300, seed: 1 }
    }
}

/// The range of scene indices of each split. The ranges are fixed, so a larger training set does not change the validation and test
/// images.
const RANGES: [(Split, u64, u64); 3] =
    [(Split::Train, 0, 800_000), (Split::Validation, 800_000, 900_000), (Split::Test, 900_000, 1_000_000)];

impl ScenesConfig {
    /// The training set of the lessons' captioner: 6,000 images, so that it memorises less. Validation and test images are the default
    /// ones.
    pub fn for_captioning() -> Self {
        Self { train: 6000, ..Self::default() }
    }

    /// The training set of the lessons' CLIP: 12,000 images, since it learns to see and read at once. Validation and test images are the
    /// default ones.
    pub fn for_clip() -> Self {
        Self { train: 12_000, ..Self::default() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] when a split is larger than its range of indices.
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

/// An object of a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct Thing {
    /// Its kind.
    pub kind: Kind,
    /// Its colour.
    pub colour: Colour,
    /// Its size among its kind.
    pub size: Size,
    /// What it does.
    pub action: Action,
    /// Box of its visible part, in pixels of the 128×128 image.
    pub bounds: BoundingBox,
    /// Visible share, in `0.5..=1.0`.
    pub visible: f32,
    place: layout::Place,
}

impl Thing {
    /// Whether it is in the air.
    pub fn is_aloft(&self) -> bool {
        matches!(self.action, Action::Fly | Action::Float)
    }
}

/// An object that another holds or plays with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bond {
    /// Index of the holder or player in [`Scene::things`].
    pub subject: usize,
    /// [`Relation::Holding`] or [`Relation::PlayingWith`].
    pub relation: Relation,
    /// Index of the object in [`Scene::things`].
    pub object: usize,
}

/// A scene: objects on a backdrop, with captions.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    seed: u64,
    index: u64,
    stage: layout::Stage,
    things: Vec<Thing>,
    bonds: Vec<Bond>,
    captions: Vec<String>,
    links: Vec<PhraseLink>,
    /// The claims that each caption was written to make.
    meant: Vec<Vec<Claim>>,
}

impl Scene {
    /// Generates scene number `index` of a seed. Nothing is drawn yet.
    pub fn generate(seed: u64, index: u64) -> Self {
        let mut random = Random::stream(seed, index);
        let (stage, things, bonds) = layout::compose(&mut random);
        let mut scene =
            Self { seed, index, stage, things, bonds, captions: Vec::new(), links: Vec::new(), meant: Vec::new() };
        grammar::write_captions(&mut scene, &mut random);
        scene
    }

    /// The scene behind an example; `None` for other images.
    pub fn of(example: &Example) -> Option<Self> {
        match example.image {
            ImageSource::Scene { seed, index } => Some(Self::generate(seed, index)),
            ImageSource::File(_) => None,
        }
    }

    /// Draws the image, 128×128 pixels.
    pub fn draw(&self) -> image::RgbImage {
        self.draw_at(SIDE)
    }

    /// Draws the image in `side`×`side` pixels, clamped to 16..=4096. At 128 it equals [`Scene::draw`].
    pub fn draw_at(&self, side: u32) -> image::RgbImage {
        paint::draw(&self.stage, &self.things, &self.bonds, side.clamp(16, 4096))
    }

    /// The name of the image, such as `scene-000017`.
    pub fn name(&self) -> String {
        format!("scene-{:06}", self.index)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The index of the scene within its seed.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The backdrop.
    pub fn backdrop(&self) -> Backdrop {
        self.stage.backdrop
    }

    /// The objects, one to four.
    pub fn things(&self) -> &[Thing] {
        &self.things
    }

    /// Which objects are held or played with by others.
    pub fn bonds(&self) -> &[Bond] {
        &self.bonds
    }

    /// Five distinct captions, all true.
    pub fn captions(&self) -> &[String] {
        &self.captions
    }

    /// The boxes of the objects, in the order of [`Scene::things`].
    pub fn regions(&self) -> Vec<Region> {
        self.things.iter().map(|thing| Region { bounds: thing.bounds, label: thing.kind.to_string() }).collect()
    }

    /// Which phrases of which captions mention which objects. Words are counted by [`words`].
    pub fn links(&self) -> &[PhraseLink] {
        &self.links
    }

    /// The scene with its captions as an example of a data set.
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

/// The words of a caption: lower case, split at white space, only letters and digits.
pub fn words(caption: &str) -> Vec<String> {
    caption
        .to_lowercase()
        .split_whitespace()
        .map(|token| token.chars().filter(|letter| letter.is_alphanumeric()).collect::<String>())
        .filter(|word| !word.is_empty())
        .collect()
}

impl Dataset {
    /// Creates the embedded data set, drawn by captionlab, the same for the same seed on every machine.
    ///
    /// No validation or test image is a copy of a training image, and a larger training set does not change them.
    ///
    /// # Errors
    /// [`Error::Config`] when a split is larger than its range of indices.
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
