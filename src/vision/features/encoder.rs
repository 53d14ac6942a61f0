//! What makes the features of a cache.

use std::fs::File;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::cache::PictureFeatures;
use super::shard::{FORMAT, Precision, ShardHead, hex};
use crate::nn::{Arithmetic, downloaded, shipped};
use crate::vision::{Clip, FasterRcnn, RegionConfig, RegionFeatures};
use crate::{Error, Result};

/// Counted up when the same weights and settings give other numbers than before, so that no cache of before is taken.
const REVISION: u32 = 1;

/// Torchvision's file of the detector that is trained on COCO.
pub(crate) const FASTER_RCNN_FILE: &str = "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth";

/// OpenAI's file of CLIP ViT-B/32.
pub(crate) const CLIP_FILE: &str = "ViT-B-32.pt";

/// Which regions of a picture are taken, and what describes them.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// What it is called: the cache's folder begins so.
    pub name: String,
    /// The file of weights of the detector, which finds the regions.
    pub detector: PathBuf,
    /// The CLIP that describes the regions, cut out one by one; `None` where the detector does, as
    /// [`RegionConfig::features`] says.
    pub clip: Option<PathBuf>,
    pub regions: RegionConfig,
    /// What the networks compute with.
    pub arithmetic: Arithmetic,
    /// How the numbers are kept.
    pub precision: Precision,
    pub device: Device,
}

impl EncoderConfig {
    /// The encoders that have a name.
    pub const NAMES: [&str; 5] = ["tiny", "tiny-clip", "fasterrcnn", "course", "clip"];

    /// An encoder by its name.
    ///
    /// | name | regions | described by | numbers |
    /// |---|---|---|---|
    /// | `tiny` | the small detector that ships with the project, for scenes | its box head | 128 |
    /// | `tiny-clip` | the same | the small CLIP that ships with the project | 128 |
    /// | `fasterrcnn` | torchvision's Faster R-CNN ResNet-50-FPN, trained on COCO | its box head | 1024 |
    /// | `course` | the same | its backbone, each region cut out | 2048 |
    /// | `clip` | the same | OpenAI's CLIP ViT-B/32, each region cut out | 512 |
    ///
    /// # Errors
    /// [`Error::Argument`] for another name, and where its weights are not here: it says how to get them.
    pub fn named(name: &str) -> Result<Self> {
        Self::named_with(name, None, None)
    }

    /// As [`EncoderConfig::named`], with other files of weights than its own.
    ///
    /// # Errors
    /// As [`EncoderConfig::named`], and when a `clip` is given to an encoder that has none.
    pub fn named_with(name: &str, detector: Option<PathBuf>, clip: Option<PathBuf>) -> Result<Self> {
        let file = |given: Option<PathBuf>, own: &dyn Fn() -> Result<PathBuf>| given.map_or_else(own, Ok);
        let tiny = || shipped("detector-tiny");
        let published = || downloaded(FASTER_RCNN_FILE, "fasterrcnn");
        let mut regions = RegionConfig::default();
        let (detector, clip) = match (name, clip) {
            ("tiny", None) => (file(detector, &tiny)?, None),
            ("tiny-clip", clip) => (file(detector, &tiny)?, Some(file(clip, &|| shipped("clip-tiny"))?)),
            ("fasterrcnn", None) => (file(detector, &published)?, None),
            ("course", None) => {
                regions.features = RegionFeatures::Crop;
                (file(detector, &published)?, None)
            }
            ("clip", clip) => (file(detector, &published)?, Some(file(clip, &|| downloaded(CLIP_FILE, "clip"))?)),
            ("tiny" | "fasterrcnn" | "course", Some(_)) => {
                return Err(Error::argument(
                    format!("the detector of the encoder {name} describes the regions, and no CLIP"),
                    "Leave CLIP's weights out, or take the encoder clip or tiny-clip.",
                ));
            }
            _ => {
                return Err(Error::argument(
                    format!("no encoder is called {name:?}"),
                    format!("Take one of {}.", Self::NAMES.join(", ")),
                ));
            }
        };
        Ok(Self {
            name: name.to_string(),
            detector,
            clip,
            regions,
            arithmetic: Arithmetic::Single,
            precision: Precision::Half,
            device: Device::Cpu,
        })
    }

    /// The small detector that ships with the project: [`EncoderConfig::named`] of `tiny`.
    ///
    /// # Errors
    /// [`Error::Argument`] outside of the project.
    pub fn tiny() -> Result<Self> {
        Self::named("tiny")
    }
}

/// What made the features of a cache: all that they depend on but the pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// What the encoder is called.
    pub name: String,
    pub regions: RegionConfig,
    /// Left out where it is single precision, so that a cache of before there was a choice is known.
    #[serde(default, skip_serializing_if = "Arithmetic::is_single")]
    pub arithmetic: Arithmetic,
    pub precision: Precision,
    /// What the labels of the regions mean, from 0 on.
    pub classes: Vec<String>,
    /// SHA-256 of the detector's file of weights.
    pub detector: String,
    /// SHA-256 of CLIP's file of weights; `None` where the detector describes the regions.
    pub clip: Option<String>,
    revision: u32,
}

impl Description {
    /// SHA-256 of all this, and of the format: caches of the same features have the same.
    fn identity(&self) -> String {
        hex(&Sha256::digest(serde_json::json!({ "format": FORMAT, "encoder": self }).to_string()))
    }
}

/// Finds the regions of pictures and describes each.
#[derive(Debug)]
pub struct Encoder {
    description: Description,
    identity: String,
    detector: FasterRcnn,
    clip: Option<Clip>,
    width: usize,
}

impl Encoder {
    /// Reads the weights.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is out of its range, [`Error::File`] when a file cannot be read, [`Error::Weights`] when it
    /// does not hold the weights.
    pub fn load(config: &EncoderConfig) -> Result<Self> {
        config.regions.validate()?;
        let detector = FasterRcnn::load(&config.detector, config.device)?.with_arithmetic(config.arithmetic);
        let clip = match &config.clip {
            Some(path) => Some(Clip::load(path)?.to_device(config.device)?.with_arithmetic(config.arithmetic)),
            None => None,
        };
        let width = match (&clip, config.regions.features) {
            (Some(clip), _) => clip.config().embedding_size,
            (None, RegionFeatures::RoiAlign) => detector.config().head_size,
            (None, RegionFeatures::Crop) => detector.config().backbone.channels().last().copied().unwrap_or(0),
        };
        let description = Description {
            name: config.name.clone(),
            regions: config.regions.clone(),
            arithmetic: config.arithmetic,
            precision: config.precision,
            classes: detector.config().classes.clone(),
            detector: hash_file(&config.detector)?,
            clip: config.clip.as_deref().map(hash_file).transpose()?,
            revision: REVISION,
        };
        Ok(Self { identity: description.identity(), description, detector, clip, width })
    }

    /// What its features depend on.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// SHA-256 of what its features depend on, in hexadecimal digits.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Numbers of a region.
    pub fn width(&self) -> usize {
        self.width
    }

    /// What shards of its features begin with.
    pub(super) fn head(&self) -> ShardHead {
        let description = serde_json::json!(self.description);
        ShardHead::new(self.identity.clone(), description, self.width, self.description.precision)
    }

    /// The regions of a picture and their features.
    ///
    /// # Errors
    /// [`Error::Argument`] for a picture without pixels.
    pub fn encode(&self, picture: &RgbImage) -> Result<PictureFeatures> {
        let found = self.detector.regions(picture, &self.description.regions)?;
        let features = match &self.clip {
            None => found.features.narrow(0, 0, found.boxes.len() as i64),
            Some(clip) => clip.encode_image(&clip.prepare_regions(picture, &found.boxes)?)?,
        };
        let features = features.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        Ok(PictureFeatures { boxes: found.boxes, labels: found.labels, scores: found.scores, features })
    }
}

/// The numbers of a tensor as they are kept, row by row.
///
/// # Errors
/// What is wrong, when one is not a number, or is too large to be kept.
pub(super) fn kept(features: &Tensor, precision: Precision) -> Result<Vec<u8>, String> {
    let refused = |error: tch::TchError| error.to_string();
    let features = match precision {
        Precision::Half => features.f_to_kind(Kind::Half).map_err(refused)?,
        Precision::Single => features.f_to_kind(Kind::Float).map_err(refused)?,
    };
    let features = features.f_contiguous().map_err(refused)?;
    if features
        .f_isfinite()
        .and_then(|finite| finite.f_all())
        .and_then(|all| all.f_int64_value(&[]))
        .map_err(refused)?
        == 0
    {
        return Err(match precision {
            Precision::Half => {
                "its features hold what is not a number, or more than the 65,504 that half precision keeps"
            }
            Precision::Single => "its features hold what is not a number",
        }
        .to_string());
    }
    let count = features.numel();
    let mut bytes = vec![0; count * precision.bytes()];
    features.f_copy_data_u8(&mut bytes, count).map_err(refused)?;
    Ok(bytes)
}

/// SHA-256 of a file, in hexadecimal digits.
fn hash_file(path: &Path) -> Result<String> {
    let unreadable = |source| Error::file(path, "read the weights", source, "Check the path.");
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path).map_err(unreadable)?, &mut hash).map_err(unreadable)?;
    Ok(hex(&hash.finalize()))
}
