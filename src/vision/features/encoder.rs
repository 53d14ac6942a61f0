//! Encoders: region detection plus description.

use std::fs::File;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::cache::PictureFeatures;
use super::shard::{FORMAT, ShardHead, StorageDtype, hex};
use crate::data::BoundingBox;
use crate::error::Within;
use crate::nn::{ComputeDtype, Network, downloaded, files_of, shipped};
use crate::train::pictures::Pictures;
use crate::train::{share, weights_file};
use crate::vision::clip::has_settings_beside;
use crate::vision::word_detector::{SmallCnn, SmallCnnConfig, WordDetector, load_small_cnn};
use crate::vision::{Clip, FasterRcnn, RegionConfig, RegionPooling, Regions};
use crate::{Error, Result};

/// Increased when the same weights and settings give other features, which invalidates older caches.
const REVISION: u32 = 1;

/// torchvision's weights file of the detector trained on COCO.
pub(crate) const FASTER_RCNN_FILE: &str = "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth";

/// OpenAI's weights file of CLIP ViT-B/32.
pub(crate) const CLIP_FILE: &str = "ViT-B-32.pt";

/// Selects what finds the regions of an image and what describes them.
///
/// | name | regions | described by | dimension |
/// |---|---|---|---|
/// | `tiny` | the small detector that ships with the project, for Scenes | its box head | 128 |
/// | `tiny-clip` | as `tiny` | the small CLIP that ships with the project | 128 |
/// | `tiny-both` | as `tiny` | its box head and the small CLIP, one after the other | 256 |
/// | `fasterrcnn` | torchvision's Faster R-CNN ResNet-50-FPN, trained on COCO | its box head | 1024 |
/// | `course` | as `fasterrcnn` | its backbone, on each cropped region | 2048 |
/// | `clip` | as `fasterrcnn` | OpenAI's CLIP ViT-B/32, on each cropped region | 512 |
/// | `both` | as `fasterrcnn` | its box head and CLIP, one after the other | 1536 |
/// | `eye` | only the whole image | the network of a [`WordDetector`](crate::vision::WordDetector) that you have trained | 1024 |
///
/// Where two networks describe a region, each half is first divided by the root mean square of its values, so that both count alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EncoderConfig {
    /// Name of the encoder, with which the cache's folder name begins. Default: `tiny`.
    pub name: String,
    /// Weights of the detector, or the run of the word detector for `eye`; `None` for the encoder's own.
    pub detector: Option<PathBuf>,
    /// Weights of CLIP; `None` for the encoder's own, if it uses one.
    pub clip: Option<PathBuf>,
    /// Selection of regions. Default: the course's.
    pub regions: RegionConfig,
    /// Dtype of the networks. Default: single precision.
    #[serde(rename = "arithmetic")]
    pub dtype: ComputeDtype,
    /// Dtype of the cached features. Default: half precision.
    #[serde(rename = "precision")]
    pub storage: StorageDtype,
    /// Device of the networks. Default: the CPU.
    #[serde(skip, default = "cpu")]
    pub device: Device,
}

fn cpu() -> Device {
    Device::Cpu
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self::new("tiny")
    }
}

impl EncoderConfig {
    /// All encoder names.
    pub const NAMES: [&str; 8] = ["tiny", "tiny-clip", "tiny-both", "fasterrcnn", "course", "clip", "both", "eye"];

    /// The encoder of that name, with its own weights.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut regions = RegionConfig::default();
        if name == "course" {
            regions.features = RegionPooling::Crop;
        }
        Self {
            name,
            detector: None,
            clip: None,
            regions,
            dtype: ComputeDtype::Single,
            storage: StorageDtype::Half,
            device: Device::Cpu,
        }
    }

    /// The network of a word detector over the whole image. `run` is the folder of its run, or a weights file.
    pub fn word_detector(run: impl Into<PathBuf>) -> Self {
        Self { detector: Some(run.into()), ..Self::new(WORD_DETECTOR) }
    }

    /// Checks name and settings, but not whether the weights exist.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown name, and for a CLIP that the encoder does not use; [`Error::Config`] for a setting outside
    /// its range.
    pub fn validate(&self) -> Result<()> {
        if !Self::NAMES.contains(&self.name.as_str()) {
            return Err(Error::argument(
                format!("no encoder is called {:?}", self.name),
                format!("Use one of {}.", Self::NAMES.join(", ")),
            ));
        }
        if self.clip.is_some() && !self.uses_clip() {
            return Err(Error::argument(
                format!("the encoder {} describes regions with its detector, and uses no CLIP", self.name),
                "Leave CLIP's weights out, or use the encoder clip, both, tiny-clip or tiny-both.",
            ));
        }
        if self.name == WORD_DETECTOR && self.detector.is_none() {
            return Err(Error::argument(
                "the encoder eye is a word detector that you have trained, and none is named",
                "Name the folder of its run as the detector.",
            ));
        }
        self.regions.validate().within("regions")
    }

    /// Whether CLIP describes the regions, alone or beside the detector.
    fn uses_clip(&self) -> bool {
        self.uses_both() || self.name.ends_with("clip")
    }

    /// Whether both the detector and CLIP describe the regions.
    fn uses_both(&self) -> bool {
        self.name.ends_with("both")
    }

    /// The weights files of the detector, and of CLIP if used.
    pub(super) fn weights(&self) -> Result<(PathBuf, Option<PathBuf>)> {
        let is_tiny = self.name.starts_with("tiny");
        let detector = match &self.detector {
            Some(path) => weights_file(path),
            None if is_tiny => shipped("detector-tiny")?,
            None => downloaded(FASTER_RCNN_FILE, "fasterrcnn")?,
        };
        let clip = match &self.clip {
            _ if !self.uses_clip() => None,
            Some(path) => Some(weights_file(path)),
            None if is_tiny => Some(shipped("clip-tiny")?),
            None => Some(downloaded(CLIP_FILE, "clip")?),
        };
        Ok((detector, clip))
    }
}

/// The name of the encoder that is a word detector.
const WORD_DETECTOR: &str = "eye";

/// Everything that determines the features except the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Description {
    /// Features of detected regions.
    Regions(RegionDescription),
    /// Features of whole images.
    WholePicture(WholePictureDescription),
}

/// Everything that determines region features except the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionDescription {
    /// The encoder's name.
    pub name: String,
    /// Selection of regions.
    pub regions: RegionConfig,
    /// Dtype of the networks. Omitted for single precision, so that older caches stay valid.
    #[serde(rename = "arithmetic", default, skip_serializing_if = "ComputeDtype::is_single")]
    pub dtype: ComputeDtype,
    /// Dtype of the cached features.
    #[serde(rename = "precision")]
    pub storage: StorageDtype,
    /// Class names of the regions' labels, from 0.
    pub classes: Vec<String>,
    /// SHA-256 of the detector's weights file.
    pub detector: String,
    /// SHA-256 of CLIP's weights file; `None` where the detector describes the regions.
    pub clip: Option<String>,
    revision: u32,
}

/// Everything that determines whole-image features except the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WholePictureDescription {
    /// The encoder's name.
    pub name: String,
    /// Dtype of the cached features.
    #[serde(rename = "precision")]
    pub storage: StorageDtype,
    /// Hyperparameters of the network.
    pub network: SmallCnnConfig,
    /// SHA-256 of the network's weights.
    pub weights: String,
    revision: u32,
}

impl Description {
    /// The encoder's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Regions(own) => &own.name,
            Self::WholePicture(own) => &own.name,
        }
    }

    /// Dtype of the cached features.
    pub fn storage(&self) -> StorageDtype {
        match self {
            Self::Regions(own) => own.storage,
            Self::WholePicture(own) => own.storage,
        }
    }

    /// SHA-256 of this and the cache format, equal for caches of equal features.
    fn identity(&self) -> String {
        hex(&Sha256::digest(serde_json::json!({ "format": FORMAT, "encoder": self }).to_string()))
    }
}

/// Finds the regions of images and computes their features.
#[derive(Debug)]
pub struct Encoder {
    description: Description,
    identity: String,
    networks: Networks,
    width: usize,
    device: Device,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, or one a thread")]
enum Networks {
    Regions { detector: FasterRcnn, clip: Option<Clip>, both: bool, regions: RegionConfig },
    WholePicture(SmallCnn),
}

impl Encoder {
    /// Loads the weights.
    ///
    /// # Errors
    /// As [`EncoderConfig::validate`]; [`Error::Argument`] when the encoder's own weights are missing (the message tells how to get
    /// them), [`Error::File`] when a file cannot be read, [`Error::Weights`] when it does not hold the weights.
    pub fn load(config: &EncoderConfig) -> Result<Self> {
        config.validate()?;
        let (detector_file, clip_file) = config.weights()?;
        if config.name == WORD_DETECTOR {
            let network = WordDetector::load(&detector_file)?.config().clone();
            return Self::whole_picture(&detector_file, &network, config);
        }
        let detector = FasterRcnn::load(&detector_file, config.device)?.with_dtype(config.dtype);
        let clip = match &clip_file {
            Some(path) => Some(Clip::load(path)?.to_device(config.device)?.with_dtype(config.dtype)),
            None => None,
        };
        let both = config.uses_both();
        let own_width = match config.regions.features {
            RegionPooling::RoiAlign => detector.config().head_size,
            RegionPooling::Crop => detector.config().backbone.channels().last().copied().unwrap_or(0),
        };
        let width = match &clip {
            None => own_width,
            Some(clip) if both => own_width + clip.config().embedding_size,
            Some(clip) => clip.config().embedding_size,
        };
        let description = Description::Regions(RegionDescription {
            name: config.name.clone(),
            regions: config.regions.clone(),
            dtype: config.dtype,
            storage: config.storage,
            classes: detector.config().classes.clone(),
            detector: hash_weights(&detector_file, None)?,
            clip: match (&clip_file, &clip) {
                (Some(path), Some(clip)) => Some(hash_clip(path, clip)?),
                _ => None,
            },
            revision: REVISION,
        });
        let networks = Networks::Regions { detector, clip, both, regions: config.regions.clone() };
        Ok(Self { identity: description.identity(), description, networks, width, device: config.device })
    }

    /// An encoder of whole images, whose network is stored in the file of a word detector or of a captioner trained with one.
    pub(super) fn whole_picture(path: &Path, network: &SmallCnnConfig, config: &EncoderConfig) -> Result<Self> {
        let (encoder, weights) = load_small_cnn(path, network, config.device)?;
        let description = Description::WholePicture(WholePictureDescription {
            name: config.name.clone(),
            storage: config.storage,
            network: network.clone(),
            weights,
            revision: REVISION,
        });
        Ok(Self {
            identity: description.identity(),
            description,
            networks: Networks::WholePicture(encoder),
            width: network.feature_size,
            device: config.device,
        })
    }

    /// Everything that determines its features.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// SHA-256 of everything that determines its features, in hexadecimal.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The feature dimension.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The common head of its shards.
    pub(super) fn head(&self) -> ShardHead {
        let description = serde_json::json!(self.description);
        ShardHead::new(self.identity.clone(), description, self.width, self.description.storage())
    }

    /// A handle for another worker thread, which shares the weights.
    pub(super) fn worker_handle(&self) -> Self {
        let networks = match &self.networks {
            Networks::Regions { detector, clip, both, regions } => Networks::Regions {
                detector: detector.worker_handle(false),
                clip: clip.as_ref().map(Clip::worker_handle),
                both: *both,
                regions: regions.clone(),
            },
            Networks::WholePicture(network) => Networks::WholePicture(network.worker_handle(false)),
        };
        Self { networks, identity: self.identity.clone(), description: self.description.clone(), ..*self }
    }

    /// Computes the regions of an image and their features.
    ///
    /// # Errors
    /// [`Error::Argument`] for an image without pixels.
    pub fn encode(&self, picture: &RgbImage) -> Result<PictureFeatures> {
        let (boxes, labels, scores, features) = match &self.networks {
            Networks::Regions { detector, clip: None, regions, .. } => {
                let Regions { boxes, labels, scores, features } = detector.regions(picture, regions)?;
                (boxes, labels, scores, features)
            }
            Networks::Regions { detector, clip: Some(clip), both: true, regions } => {
                let Regions { boxes, labels, scores, features } = detector.regions(picture, regions)?;
                let of_clip = clip.encode_image(&clip.prepare_regions(picture, &boxes)?)?;
                (boxes, labels, scores, Tensor::f_cat(&[in_scale(&features)?, in_scale(&of_clip)?], 1)?)
            }
            Networks::Regions { detector, clip: Some(clip), both: false, regions } => {
                let (boxes, labels, scores) = detector.find_regions(picture, regions)?;
                let features = clip.encode_image(&clip.prepare_regions(picture, &boxes)?)?;
                (boxes, labels, scores, features)
            }
            Networks::WholePicture(network) => {
                let pictures = Pictures::of(std::slice::from_ref(picture), network.config().image_size)?;
                let batch = pictures.batch(&[0], None, self.device);
                let features = tch::no_grad(|| network.forward(&batch, false));
                (vec![BoundingBox::whole(picture.dimensions())], vec![0], vec![1.0], features)
            }
        };
        let features = features.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        Ok(PictureFeatures { boxes, labels, scores, features })
    }

    /// Computes the features of several images, in order, as a cache would return them. On the CPU images are distributed over threads.
    ///
    /// # Errors
    /// As [`Encoder::encode`], for the first picture that fails.
    pub fn encode_all(&self, pictures: &[RgbImage]) -> Result<Vec<PictureFeatures>> {
        let encoded = match self.device {
            Device::Cpu => share(pictures, || self.worker_handle(), Self::encode),
            _ => pictures.iter().map(|picture| self.encode(picture)).collect(),
        };
        encoded.into_iter().map(|features| features?.rounded(self.description.storage())).collect()
    }

    /// The CLIP that alone describes the regions, if one does.
    #[cfg(feature = "clip-text")]
    pub(super) fn clip(&self) -> Option<&Clip> {
        match &self.networks {
            Networks::Regions { clip, both: false, .. } => clip.as_ref(),
            _ => None,
        }
    }
}

/// `[regions, dim]` features, each row divided by the root mean square of its values.
fn in_scale(features: &Tensor) -> Result<Tensor> {
    let features = features.f_to_kind(Kind::Float)?;
    let square = features.f_square()?.f_mean_dim(1, true, Kind::Float)?;
    Ok(features.f_div(&square.f_sqrt()?.f_clamp_min(1e-6)?)?)
}

impl PictureFeatures {
    /// Rounds the features to the dtype of a cache, so that an image and its cached features give the same captions.
    fn rounded(mut self, storage: StorageDtype) -> Result<Self> {
        if storage == StorageDtype::Half {
            self.features = self.features.f_to_kind(Kind::Half)?.f_to_kind(Kind::Float)?;
        }
        Ok(self)
    }
}

/// The values of a tensor in the stored dtype, row by row.
///
/// # Errors
/// A description of the problem, when a value is not a number or too large.
pub(super) fn kept(features: &Tensor, precision: StorageDtype) -> Result<Vec<u8>, String> {
    let refused = |error: tch::TchError| error.to_string();
    let features = match precision {
        StorageDtype::Half => features.f_to_kind(Kind::Half).map_err(refused)?,
        StorageDtype::Single => features.f_to_kind(Kind::Float).map_err(refused)?,
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
            StorageDtype::Half => {
                "its features hold what is not a number, or more than the 65,504 that half precision keeps"
            }
            StorageDtype::Single => "its features hold what is not a number",
        }
        .to_string());
    }
    let count = features.numel();
    let mut bytes = vec![0; count * precision.bytes()];
    features.f_copy_data_u8(&mut bytes, count).map_err(refused)?;
    Ok(bytes)
}

/// SHA-256 of the weights of a CLIP, and of what a configuration beside them says.
fn hash_clip(path: &Path, clip: &Clip) -> Result<String> {
    let path = weights_file(path);
    let settings = has_settings_beside(&path).then(|| serde_json::json!(clip.config()).to_string());
    hash_weights(&path, settings.as_deref())
}

/// SHA-256 of weights, in one file or in parts, and of settings that lie beside them; in hexadecimal digits.
fn hash_weights(path: &Path, settings: Option<&str>) -> Result<String> {
    let mut hash = Sha256::new();
    for path in files_of(path)? {
        let unreadable = |source| Error::file(&path, "read the weights", source, "Check the path.");
        std::io::copy(&mut File::open(&path).map_err(unreadable)?, &mut hash).map_err(unreadable)?;
    }
    hash.update(settings.unwrap_or_default());
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Weights, write_tensors};
    use crate::vision::ClipConfig;

    #[test]
    fn features_of_weights_in_parts_and_of_other_settings_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let clip = Clip::new(&ClipConfig::tiny(), 1, Device::Cpu).unwrap();
        let file = folder.path().join("model.safetensors");
        let write = |path: &Path, value: f64| {
            let mut weights = Weights::new(1, Device::Cpu);
            let _ = weights.constant("a", &[1], value, true);
            write_tensors(path, &weights.named(), &serde_json::Value::Null).unwrap();
        };
        write(&file, 1.0);
        let plain = hash_weights(&file, None).unwrap();
        assert_eq!(plain, hex(&Sha256::digest(std::fs::read(&file).unwrap())));
        assert_eq!(hash_clip(folder.path(), &clip).unwrap(), plain);
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        let quick = hash_clip(&file, &clip).unwrap();
        let gelu = ClipConfig { activation: crate::vision::clip::Activation::Gelu, ..ClipConfig::tiny() };
        let gelu = hash_clip(&file, &Clip::new(&gelu, 1, Device::Cpu).unwrap()).unwrap();
        assert!(plain != quick && quick != gelu);

        let index = folder.path().join("model.safetensors.index.json");
        let [first, second] = [1, 2].map(|number| format!("model-0000{number}-of-00002.safetensors"));
        std::fs::write(&index, format!(r#"{{"weight_map": {{"a": "{first}", "b": "{second}"}}}}"#)).unwrap();
        write(&folder.path().join(&first), 1.0);
        let of_second = [2.0, 3.0].map(|value| {
            write(&folder.path().join(&second), value);
            hash_weights(&index, None).unwrap()
        });
        assert_ne!(of_second[0], of_second[1]);
        assert_eq!(hash_weights(&folder.path().join(&first), None).unwrap(), of_second[1]);
    }
}
