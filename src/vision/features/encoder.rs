//! Encoders: region detection plus description.

use std::fs::File;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::cache::PictureFeatures;
use super::config::{Describer, EncoderConfig};
use super::shard::{FORMAT, ShardHead, StorageDtype, hex};
use crate::data::BoundingBox;
use crate::nn::{ComputeDtype, Network, files_of};
use crate::train::pictures::Pictures;
use crate::train::{share, weights_file};
use crate::vision::clip::has_settings_beside;
use crate::vision::imagenet::{Architecture, ImageClassifier, WINDOWS, windows};
use crate::vision::word_detector::{SmallCnn, SmallCnnConfig, WordDetector, load_small_cnn};
use crate::vision::{Clip, FasterRcnn, RegionConfig, RegionPooling, Regions};
use crate::{Error, Result};

/// Increased when the same weights and settings give other features, which invalidates older caches.
const REVISION: u32 = 1;

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
    /// SHA-256 of the detector's weights file; `None` where regions are fixed windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<String>,
    /// SHA-256 of CLIP's weights file; `None` where none describes the regions.
    pub clip: Option<String>,
    /// SHA-256 of the classifier's weights; `None` where none describes the regions. Omitted then, so that older caches stay valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<String>,
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
    Regions(RegionNetworks),
    WholePicture(SmallCnn),
}

/// The networks that find and describe regions.
#[derive(Debug)]
struct RegionNetworks {
    describers: Vec<Describer>,
    /// `None` for fixed windows.
    detector: Option<FasterRcnn>,
    clip: Option<Clip>,
    classifier: Option<ImageClassifier>,
    regions: RegionConfig,
}

impl RegionNetworks {
    fn worker_handle(&self) -> Self {
        Self {
            describers: self.describers.clone(),
            detector: self.detector.as_ref().map(|detector| detector.worker_handle(false)),
            clip: self.clip.as_ref().map(Clip::worker_handle),
            classifier: self.classifier.as_ref().map(ImageClassifier::worker_handle),
            regions: self.regions.clone(),
        }
    }

    /// The feature dimension.
    fn width(&self) -> usize {
        let of_detector = |detector: &FasterRcnn| match self.regions.features {
            RegionPooling::RoiAlign => detector.config().head_size,
            RegionPooling::Crop => detector.config().backbone.channels().last().copied().unwrap_or(0),
        };
        let width = |describer: &Describer| match describer {
            Describer::BoxHead => self.detector.as_ref().map(of_detector),
            Describer::TinyClip | Describer::Clip => self.clip.as_ref().map(|clip| clip.config().embedding_size),
            Describer::Classifier(_) => self.classifier.as_ref().map(ImageClassifier::width),
        };
        self.describers.iter().filter_map(width).sum()
    }

    fn encode(&self, picture: &RgbImage) -> Result<PictureFeatures> {
        let with_head = self.describers.contains(&Describer::BoxHead);
        let Regions { boxes, labels, scores, features: of_detector } = match &self.detector {
            Some(detector) if with_head => detector.regions(picture, &self.regions)?,
            Some(detector) => {
                let (boxes, labels, scores) = detector.find_regions(picture, &self.regions)?;
                Regions { boxes, labels, scores, features: Tensor::new() }
            }
            None => Regions { boxes: windows(picture), labels: vec![], scores: vec![], features: Tensor::new() },
        };
        let missing = || Error::internal("a part of an encoder is not loaded");
        let describe = |describer: &Describer| match describer {
            Describer::BoxHead => Ok(of_detector.shallow_clone()),
            Describer::TinyClip | Describer::Clip => {
                let clip = self.clip.as_ref().ok_or_else(missing)?;
                clip.encode_image(&clip.prepare_regions(picture, &boxes)?)
            }
            Describer::Classifier(_) => {
                let classifier = self.classifier.as_ref().ok_or_else(missing)?;
                match &self.detector {
                    Some(_) => classifier.describe_boxes(picture, &boxes),
                    None => classifier.describe_windows(picture),
                }
            }
        };
        let features: Vec<Tensor> = self.describers.iter().map(describe).collect::<Result<_>>()?;
        let features = match features.as_slice() {
            [only] => only.shallow_clone(),
            several => Tensor::f_cat(&several.iter().map(in_scale).collect::<Result<Vec<_>>>()?, 1)?,
        };
        Ok(PictureFeatures { boxes, labels, scores, features })
    }
}

impl Encoder {
    /// Loads the weights.
    ///
    /// # Errors
    /// As [`EncoderConfig::validate`]; [`Error::Argument`] when the encoder's own weights are missing (the message tells how to get
    /// them), [`Error::File`] when a file cannot be read, [`Error::Weights`] when it does not hold the weights.
    pub fn load(config: &EncoderConfig) -> Result<Self> {
        config.validate()?;
        let files = config.weights()?;
        let Some(parts) = config.parts()? else {
            let detector = files.detector.unwrap_or_default();
            let network = WordDetector::load(&detector)?.config().clone();
            return Self::whole_picture(&detector, &network, config);
        };
        let detector = files.detector.as_ref().map(|path| FasterRcnn::load(path, config.device)).transpose()?;
        let clip = files.clip.as_ref().map(|path| Clip::load(path)?.to_device(config.device)).transpose()?;
        let load = |(architecture, path): (Architecture, &PathBuf)| {
            ImageClassifier::with_weights(architecture, path, None, config.device)
        };
        let classifier = parts.classifier().zip(files.classifier.as_ref()).map(load).transpose()?;
        let description = Description::Regions(RegionDescription {
            name: config.name.clone(),
            regions: config.regions.clone(),
            dtype: config.dtype,
            storage: config.storage,
            classes: detector.as_ref().map(|detector| detector.config().classes.clone()).unwrap_or_default(),
            detector: files.detector.as_ref().map(|path| hash_weights(path, None)).transpose()?,
            clip: files.clip.as_ref().zip(clip.as_ref()).map(|(path, clip)| hash_clip(path, clip)).transpose()?,
            classifier: classifier.as_ref().map(|classifier| hex(classifier.hash())),
            revision: REVISION,
        });
        let networks = RegionNetworks {
            describers: parts.describers,
            detector: detector.map(|detector| detector.with_dtype(config.dtype)),
            clip: clip.map(|clip| clip.with_dtype(config.dtype)),
            classifier: classifier.map(|classifier| classifier.with_dtype(config.dtype)),
            regions: config.regions.clone(),
        };
        let (identity, width) = (description.identity(), networks.width());
        Ok(Self { identity, description, networks: Networks::Regions(networks), width, device: config.device })
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

    /// Most bytes that the features of an image take in a cache.
    pub fn most_bytes(&self) -> u64 {
        let regions = match &self.networks {
            Networks::WholePicture(_) => 1,
            Networks::Regions(networks) if networks.detector.is_none() => WINDOWS.len(),
            Networks::Regions(networks) => networks.regions.max_regions + 1,
        };
        // Beside its features a region has four edges, a label and a score.
        (regions * (self.width * self.description.storage().bytes() + 4 * 4 + 8 + 4)) as u64
    }

    /// The common head of its shards.
    pub(super) fn head(&self) -> ShardHead {
        let description = serde_json::json!(self.description);
        ShardHead::new(self.identity.clone(), description, self.width, self.description.storage())
    }

    /// A handle for another worker thread, which shares the weights.
    pub(super) fn worker_handle(&self) -> Self {
        let networks = match &self.networks {
            Networks::Regions(networks) => Networks::Regions(networks.worker_handle()),
            Networks::WholePicture(network) => Networks::WholePicture(network.worker_handle(false)),
        };
        Self { networks, identity: self.identity.clone(), description: self.description.clone(), ..*self }
    }

    /// Computes the regions of an image and their features.
    ///
    /// # Errors
    /// [`Error::Argument`] for an image without pixels.
    pub fn encode(&self, picture: &RgbImage) -> Result<PictureFeatures> {
        let mut found = match &self.networks {
            Networks::Regions(networks) => networks.encode(picture)?,
            Networks::WholePicture(network) => {
                let pictures = Pictures::of(std::slice::from_ref(picture), network.config().image_size)?;
                let batch = pictures.batch(&[0], None, self.device);
                let features = tch::no_grad(|| network.forward(&batch, false));
                let boxes = vec![BoundingBox::whole(picture.dimensions())];
                PictureFeatures { boxes, labels: vec![0], scores: vec![1.0], features }
            }
        };
        found.features = found.features.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        Ok(found)
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
            Networks::Regions(networks) if networks.describers.len() == 1 => networks.clip.as_ref(),
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
