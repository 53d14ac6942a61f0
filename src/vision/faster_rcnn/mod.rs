//! Faster R-CNN with a feature pyramid: locates and classifies the objects of an image.
//!
//! | stage | output | paper |
//! |---|---|---|
//! | backbone | four feature maps, fine to coarse | He et al. 2015 |
//! | feature pyramid (FPN) | five maps of equal depth | Lin et al. 2017 |
//! | region proposal network (RPN) | boxes likely to hold an object | Ren et al. 2015 |
//! | RoIAlign | a fixed-size crop of the maps per box | He et al. 2017 |
//! | box head | class, and a refined box | Girshick 2015 |

mod anchors;
mod average_precision;
mod boxes;
mod config;
mod learning;
mod old_names;
mod pictures;
mod proposals;
mod pyramid;
mod regions;
mod roi_align;
mod training;

pub use average_precision::AveragePrecision;
pub use config::{DetectionConfig, FasterRcnnConfig, ProposalConfig, SamplingConfig};
pub use learning::{DetectionLosses, Target};
pub use old_names::rename_faster_rcnn;
pub use regions::{PictureMaps, RegionConfig, RegionPooling, Regions};
pub use training::{DetectorEvaluation, DetectorTraining, evaluate_detector};

use std::collections::BTreeMap;
use std::path::Path;

use image::RgbImage;
use tch::{Device, Kind, Tensor};

use super::ResNet;
use crate::data::BoundingBox;
use crate::nn::{ComputeDtype, Linear, Network, Weights, network, read_weights, read_weights_and_metadata};
use crate::train::share;
use crate::{Error, Result};
use boxes::{BoxCoder, area, batched_nms, clip, is_as_large, rows, tensor, values};
use pictures::{PictureBatch, batch};
use proposals::ProposalNetwork;
use pyramid::Pyramid;

/// The objects found in an image, by decreasing score.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detections {
    /// Boxes in pixels of the original image.
    pub boxes: Vec<BoundingBox>,
    /// Class indices, from 1; see [`FasterRcnn::class_name`].
    pub labels: Vec<i64>,
    /// Class probabilities, in `0..=1`.
    pub scores: Vec<f32>,
}

impl Detections {
    /// Number of detections.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }
}

/// A Faster R-CNN detector. Weights are named as in torchvision: `backbone.body.layer1.0.conv1.weight`,
/// `rpn.head.cls_logits.bias`.
#[derive(Debug)]
pub struct FasterRcnn {
    config: FasterRcnnConfig,
    backbone: ResNet,
    pyramid: Pyramid,
    proposals: ProposalNetwork,
    head: [Linear; 2],
    classifier: Linear,
    box_regressor: Linear,
    device: Device,
}

network!(FasterRcnn { backbone, pyramid, proposals, head, classifier, box_regressor; config, device });

/// The box head's coding of boxes.
const CODER: BoxCoder = BoxCoder { weights: [10.0, 10.0, 5.0, 5.0] };

/// Detections with a shorter side, in pixels, are dropped.
const SMALLEST: f32 = 1e-2;

/// FPN level assignment (Lin et al. 2017, equation 1): a region of 224×224 pixels is pooled from level 4, the third map, one of half
/// that side from the level below, and so on.
const CANONICAL_SIDE: f64 = 224.0;
const CANONICAL_LEVEL: f64 = 4.0;
/// The finest level; its stride is 2² pixels.
const FINEST_LEVEL: f64 = 2.0;

impl FasterRcnn {
    /// Creates a detector whose tensors are added to `weights`.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is outside its range.
    pub fn new(config: &FasterRcnnConfig, weights: &mut Weights) -> Result<Self> {
        config.validate()?;
        let backbone = ResNet::new(&config.backbone, "backbone.body.", weights)?;
        let pyramid = Pyramid::new("backbone.fpn.", &config.backbone.channels(), config.pyramid_channels, weights);
        let (size, classes) = (config.head_size, config.classes.len());
        let inputs = config.pyramid_channels * config.region_cells * config.region_cells;
        Ok(Self {
            backbone,
            pyramid,
            proposals: ProposalNetwork::new(config, weights),
            head: [
                Linear::new("roi_heads.box_head.fc6", inputs, size, weights),
                Linear::new("roi_heads.box_head.fc7", size, size, weights),
            ],
            classifier: Linear::new("roi_heads.box_predictor.cls_score", size, classes, weights),
            box_regressor: Linear::new("roi_heads.box_predictor.bbox_pred", size, 4 * classes, weights),
            device: weights.device(),
            config: config.clone(),
        })
    }

    /// Loads a detector. Files written by captionlab contain their configuration; any other is assumed to be torchvision's
    /// `fasterrcnn_resnet50_fpn_coco-258fb6c6.pth`, [`FasterRcnnConfig::resnet50_coco`]. PyTorch's formats need the feature `pytorch`.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, [`Error::Weights`] when it does not hold the weights of such a detector.
    pub fn load(path: impl AsRef<Path>, device: Device) -> Result<Self> {
        let path = path.as_ref();
        let (tensors, metadata) = read_weights_and_metadata(path)?;
        let known = metadata.get("description").and_then(|own| own.get("detector")).cloned();
        let config = match known {
            None => FasterRcnnConfig::resnet50_coco(),
            Some(config) => serde_json::from_value(config).map_err(|error| Error::Weights {
                path: path.to_path_buf(),
                problem: format!("its configuration is not a detector's: {error}"),
                help: "Train it again with this version of captionlab.".to_string(),
            })?,
        };
        Self::of_tensors(&config, tensors, path, device)
    }

    /// Loads weights for a given configuration.
    ///
    /// # Errors
    /// As [`FasterRcnn::load`].
    pub fn with_weights(config: &FasterRcnnConfig, path: impl AsRef<Path>, device: Device) -> Result<Self> {
        let path = path.as_ref();
        Self::of_tensors(config, read_weights(path)?, path, device)
    }

    fn of_tensors(
        config: &FasterRcnnConfig,
        tensors: BTreeMap<String, Tensor>,
        path: &Path,
        device: Device,
    ) -> Result<Self> {
        let mut weights = Weights::to_assign(device);
        let detector = Self::new(config, &mut weights)?;
        let tensors = weights.unwrapped(&tensors).unwrap_or(tensors);
        weights.assign(&rename_faster_rcnn(tensors), path)?;
        Ok(detector)
    }

    /// Runs the backbone and the pyramid in another dtype.
    #[must_use]
    pub fn with_dtype(self, dtype: ComputeDtype) -> Self {
        Self { backbone: self.backbone.with_dtype(dtype), ..self }
    }

    /// The hyperparameters.
    pub fn config(&self) -> &FasterRcnnConfig {
        &self.config
    }

    /// The class name of a label; `unknown` for a label without a class.
    pub fn class_name(&self, label: i64) -> &str {
        usize::try_from(label).ok().and_then(|label| self.config.classes.get(label)).map_or("unknown", String::as_str)
    }

    /// Detects the objects of images. Several images form one batch, padded to the largest.
    ///
    /// # Errors
    /// [`Error::Argument`] for an image without pixels.
    pub fn detect(&self, pictures: &[RgbImage]) -> Result<Vec<Detections>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        tch::no_grad(|| {
            let batch = batch(pictures, &self.config, self.device)?;
            let pyramid = self.pyramid(&batch.pictures, false);
            self.detect_in(&batch, &pyramid)
        })
    }

    /// Detects the objects of images, each by itself. On the CPU images are distributed over threads.
    ///
    /// # Errors
    /// As [`FasterRcnn::detect`].
    pub fn detect_each(&self, pictures: &[RgbImage]) -> Result<Vec<Detections>> {
        let detect = |detector: &Self, picture: &RgbImage| -> Result<Detections> {
            Ok(detector.detect(std::slice::from_ref(picture))?.pop().unwrap_or_default())
        };
        match self.device {
            Device::Cpu => share(pictures, || self.worker_handle(false), detect).into_iter().collect(),
            _ => pictures.iter().map(|picture| detect(self, picture)).collect(),
        }
    }

    /// The region proposals of images, in pixels of the image, by decreasing objectness; at most [`ProposalConfig::post_nms_top_n`] per
    /// image.
    ///
    /// # Errors
    /// As [`FasterRcnn::detect`].
    pub fn propose(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<BoundingBox>>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        tch::no_grad(|| {
            let batch = batch(pictures, &self.config, self.device)?;
            let anchored = self.proposals.forward(&self.pyramid(&batch.pictures, false), batch.padded());
            let proposals = anchored.proposals(&self.config.proposals, &batch.sizes);
            let of_picture = |(picture, boxes): (usize, Vec<[f32; 4]>)| {
                let scale = batch.scale(picture);
                boxes.into_iter().map(|bounds| scaled(bounds, scale)).collect()
            };
            Ok(proposals.into_iter().enumerate().map(of_picture).collect())
        })
    }

    fn detect_in(&self, batch: &PictureBatch, pyramid: &[Tensor]) -> Result<Vec<Detections>> {
        let proposals = self.proposals.forward(pyramid, batch.padded()).proposals(&self.config.proposals, &batch.sizes);
        let regions = self.region_vectors(pyramid, &proposals);
        let scores = self.classifier.forward(&regions).softmax(-1, Kind::Float);
        let deltas = self.box_regressor.forward(&regions);
        let classes = self.config.classes.len();
        let mut start = 0;
        let mut found = Vec::with_capacity(proposals.len());
        for (picture, proposals) in proposals.iter().enumerate() {
            let count = proposals.len() as i64;
            let part = |tensor: &Tensor| tensor.narrow(0, start, count);
            let decoded = rows(&CODER.decode(&part(&deltas), &tensor(proposals).to_device(self.device)).flatten(0, 1));
            let scores = values(&part(&scores));
            start += count;
            let (height, width) = (batch.sizes[picture].0 as f32, batch.sizes[picture].1 as f32);
            let mut of_picture: Vec<([f32; 4], f32, i64)> = Vec::new();
            for (place, (&score, &bounds)) in scores.iter().zip(&decoded).enumerate() {
                let label = (place % classes) as i64;
                // Class 0 is the background.
                if label > 0 && f64::from(score) > self.config.detections.score_threshold {
                    let bounds = clip(bounds, width, height);
                    if is_as_large(bounds, SMALLEST) {
                        of_picture.push((bounds, score, label));
                    }
                }
            }
            let boxes: Vec<_> = of_picture.iter().map(|(bounds, ..)| *bounds).collect();
            let scores: Vec<_> = of_picture.iter().map(|(_, score, _)| *score).collect();
            let labels: Vec<_> = of_picture.iter().map(|(.., label)| *label).collect();
            let kept = batched_nms(&boxes, &scores, &labels, self.config.detections.iou_threshold);
            let scale = batch.scale(picture);
            let mut detections = Detections::default();
            for place in kept.into_iter().take(self.config.detections.max_detections) {
                detections.boxes.push(scaled(boxes[place], scale));
                detections.labels.push(labels[place]);
                detections.scores.push(scores[place]);
            }
            found.push(detections);
        }
        Ok(found)
    }

    /// The pyramid's maps, finest first, `[batch, channels, height, width]`, in the dtype of the backbone.
    fn pyramid(&self, pictures: &Tensor, training: bool) -> Vec<Tensor> {
        self.pyramid.forward(&self.backbone.stages_as_computed(pictures, training))
    }

    /// The box head's feature vectors of regions.
    ///
    /// # Shapes
    /// - `regions`: boxes of each image of the batch, in its pixels
    /// - result: `[regions of all images, head_size]`
    fn region_vectors(&self, pyramid: &[Tensor], regions: &[Vec<[f32; 4]>]) -> Tensor {
        let cells = self.align(pyramid, regions).flatten(1, 3).to_kind(pyramid[0].kind());
        self.head.iter().fold(cells, |rows, layer| layer.forward(&rows).relu_()).to_kind(Kind::Float)
    }

    /// RoIAlign of each region, from the pyramid level that fits its size.
    ///
    /// # Shapes
    /// - result: `[regions of all images, channels, cells, cells]`
    fn align(&self, pyramid: &[Tensor], regions: &[Vec<[f32; 4]>]) -> Tensor {
        let cells = self.config.region_cells as i64;
        // The coarsest, additional map serves proposals only.
        let maps = &pyramid[..pyramid.len() - 1];
        let all: Vec<(i64, [f32; 4])> = (0..)
            .zip(regions)
            .flat_map(|(picture, boxes)| boxes.iter().map(move |&bounds| (picture, bounds)))
            .collect();
        let level = |bounds: [f32; 4]| {
            let side = area(bounds).sqrt();
            let level = (CANONICAL_LEVEL as f32 + (side / CANONICAL_SIDE as f32).log2() + 1e-6).floor();
            (level - FINEST_LEVEL as f32).clamp(0.0, (maps.len() - 1) as f32) as usize
        };
        let mut parts = Vec::new();
        let mut order: Vec<i64> = Vec::with_capacity(all.len());
        for (number, map) in maps.iter().enumerate() {
            let here: Vec<usize> = (0..all.len()).filter(|&place| level(all[place].1) == number).collect();
            if here.is_empty() {
                continue;
            }
            let boxes: Vec<[f32; 4]> = here.iter().map(|&place| all[place].1).collect();
            let pictures: Vec<i64> = here.iter().map(|&place| all[place].0).collect();
            let (boxes, pictures) =
                (tensor(&boxes).to_device(self.device), Tensor::from_slice(&pictures).to_device(self.device));
            let scale = 2f64.powi(-(number as i32 + FINEST_LEVEL as i32));
            parts.push(roi_align::roi_align(&map.to_kind(Kind::Float), &boxes, &pictures, scale, cells));
            order.extend(here.iter().map(|&place| place as i64));
        }
        if parts.is_empty() {
            let channels = self.config.pyramid_channels as i64;
            return Tensor::zeros([0, channels, cells, cells], (Kind::Float, self.device));
        }
        // Restore the order of the regions.
        let mut back = vec![0i64; order.len()];
        (0..).zip(&order).for_each(|(row, &place)| back[place as usize] = row);
        Tensor::cat(&parts, 0).index_select(0, &Tensor::from_slice(&back).to_device(self.device))
    }
}

/// Scales a box horizontally and vertically.
fn scaled([left, top, right, bottom]: [f32; 4], (across, down): (f32, f32)) -> BoundingBox {
    BoundingBox { left, top, right, bottom }.scale(across, down)
}
