//! Regions of an image with their features, which captions are aligned with.

use image::RgbImage;
use image::imageops;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::boxes::nms;
use super::pictures::{PictureBatch, batch};
use super::{Detections, FasterRcnn};
use crate::data::BoundingBox;
use crate::data::images::{Filter, resize};
use crate::error::check_range;
use crate::{Error, Result};

/// How the features of a region are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionPooling {
    /// Crops the region, resizes it to 224×224 and average-pools the backbone's last stage: 2048 dimensions with ResNet-50, one pass per
    /// region. The course's way.
    Crop,
    /// Applies RoIAlign and the box head to the maps of the whole image: 1024 dimensions with the published weights, one pass per image.
    RoiAlign,
}

/// Selection of regions, and their features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionConfig {
    /// Score that a detection must exceed, in `0..=1`. Default: 0.5.
    #[serde(rename = "min_score")]
    pub score_threshold: f32,
    /// IoU above which class-agnostic NMS drops the lower-scoring detection, in `0..=1`. Default: 0.3.
    #[serde(rename = "overlap")]
    pub iou_threshold: f64,
    /// Most regions besides the whole image, in `0..=10000`. Default: 19.
    #[serde(rename = "most")]
    pub max_regions: usize,
    /// How the detector computes features. Default: RoIAlign.
    pub features: RegionPooling,
}

impl Default for RegionConfig {
    /// The course's selection, with features in one pass.
    fn default() -> Self {
        Self { score_threshold: 0.5, iou_threshold: 0.3, max_regions: 19, features: RegionPooling::RoiAlign }
    }
}

impl RegionConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        check_range("score_threshold", self.score_threshold, 0.0..=1.0)?;
        check_range("iou_threshold", self.iou_threshold, 0.0..=1.0)?;
        check_range("max_regions", self.max_regions, 0..=10_000)
    }
}

/// The regions of an image: the whole image first, then detections by decreasing score.
#[derive(Debug)]
pub struct Regions {
    /// Boxes in pixels of the image.
    pub boxes: Vec<BoundingBox>,
    /// Class indices; 0 for the whole image.
    pub labels: Vec<i64>,
    /// Detection scores, in `0..=1`; 1 for the whole image.
    pub scores: Vec<f32>,
    /// Features, `[regions, dimension]`.
    pub features: Tensor,
}

/// The feature maps of an image, from which any of its boxes can be described.
#[derive(Debug)]
pub struct PictureMaps {
    batch: PictureBatch,
    /// `[1, channels, height, width]`, finest first.
    pyramid: Vec<Tensor>,
}

/// Side of crops, with the published weights.
const CROP_SIDE: u32 = 224;

impl FasterRcnn {
    /// Detects the regions of an image and computes their features.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is outside its range, [`Error::Argument`] for an image without pixels.
    pub fn regions(&self, picture: &RgbImage, config: &RegionConfig) -> Result<Regions> {
        config.validate()?;
        tch::no_grad(|| {
            let maps = self.maps(picture)?;
            let found = self.detect_in(&maps.batch, &maps.pyramid)?.pop().unwrap_or_default();
            let (boxes, labels, scores) = choose(&found, picture, config);
            let features = match config.features {
                RegionPooling::RoiAlign => self.describe_in(&maps, &boxes),
                RegionPooling::Crop => self.crop_features(picture, &boxes)?,
            };
            Ok(Regions { boxes, labels, scores, features })
        })
    }

    /// Boxes, labels and scores of the regions that [`FasterRcnn::regions`] finds, without features.
    ///
    /// # Errors
    /// As [`FasterRcnn::regions`].
    pub(crate) fn find_regions(&self, picture: &RgbImage, config: &RegionConfig) -> Result<Chosen> {
        config.validate()?;
        let found = self.detect(std::slice::from_ref(picture))?.pop().unwrap_or_default();
        Ok(choose(&found, picture, config))
    }

    /// Computes the features of given boxes of an image.
    ///
    /// # Shapes
    /// - result: `[boxes, dimension]`
    ///
    /// # Errors
    /// [`Error::Argument`] for an image without pixels, and for a box without area.
    pub fn describe(&self, picture: &RgbImage, boxes: &[BoundingBox], features: RegionPooling) -> Result<Tensor> {
        boxes.iter().try_for_each(BoundingBox::validate)?;
        match features {
            RegionPooling::RoiAlign => Ok(self.describe_in(&self.maps(picture)?, boxes)),
            RegionPooling::Crop => tch::no_grad(|| self.crop_features(picture, boxes)),
        }
    }

    /// Runs the backbone and the pyramid. This takes nearly all of the time; [`FasterRcnn::describe_in`] then takes milliseconds.
    ///
    /// # Errors
    /// [`Error::Argument`] for an image without pixels.
    pub fn maps(&self, picture: &RgbImage) -> Result<PictureMaps> {
        tch::no_grad(|| {
            let batch = batch(std::slice::from_ref(picture), &self.config, self.device)?;
            let pyramid = self.pyramid(&batch.pictures, false);
            Ok(PictureMaps { batch, pyramid })
        })
    }

    /// Computes the features of boxes from the maps of their image, as [`RegionPooling::RoiAlign`]. Boxes are in pixels of the image.
    ///
    /// # Shapes
    /// - result: `[boxes, head_size]`
    ///
    /// # Panics
    /// When the maps are from a detector with other channels.
    pub fn describe_in(&self, maps: &PictureMaps, boxes: &[BoundingBox]) -> Tensor {
        tch::no_grad(|| self.region_vectors(&maps.pyramid, &[resized(boxes, &maps.batch)]))
    }

    /// Features of the cropped regions.
    ///
    /// # Shapes
    /// - result: `[regions, channels of the last stage]`
    fn crop_features(&self, picture: &RgbImage, boxes: &[BoundingBox]) -> Result<Tensor> {
        if picture.width() == 0 || picture.height() == 0 {
            return Err(Error::argument("the image has no pixels", "Leave it out."));
        }
        // A detector for smaller images gets smaller crops.
        let side = CROP_SIDE.min(self.config.shorter_side);
        let cut = |bounds: &BoundingBox| {
            let (left, top) = (bounds.left.floor().max(0.0) as u32, bounds.top.floor().max(0.0) as u32);
            let (left, top) = (left.min(picture.width() - 1), top.min(picture.height() - 1));
            let (right, bottom) = (bounds.right.ceil() as u32, bounds.bottom.ceil() as u32);
            let width = right.clamp(left + 1, picture.width()) - left;
            let height = bottom.clamp(top + 1, picture.height()) - top;
            resize(&imageops::crop_imm(picture, left, top, width, height).to_image(), side, side, Filter::Bilinear)
        };
        let crops: Vec<RgbImage> = boxes.iter().map(cut).collect::<Result<_>>()?;
        let config = super::FasterRcnnConfig { shorter_side: side, longest_side: side, ..self.config.clone() };
        let batch = batch(&crops, &config, self.device)?;
        Ok(self.backbone.features(&batch.pictures, false))
    }
}

/// Scales boxes to the resized image of the batch.
fn resized(boxes: &[BoundingBox], batch: &PictureBatch) -> Vec<[f32; 4]> {
    let (across, down) = batch.scale(0);
    let resized =
        |bounds: &BoundingBox| [bounds.left / across, bounds.top / down, bounds.right / across, bounds.bottom / down];
    boxes.iter().map(resized).collect()
}

/// Boxes, labels and scores.
pub(crate) type Chosen = (Vec<BoundingBox>, Vec<i64>, Vec<f32>);

fn choose(found: &Detections, picture: &RgbImage, config: &RegionConfig) -> Chosen {
    let (mut boxes, mut labels, mut scores) = (vec![BoundingBox::whole(picture.dimensions())], vec![0], vec![1.0]);
    let sure: Vec<usize> = (0..found.len()).filter(|&place| found.scores[place] > config.score_threshold).collect();
    let corners = |&place: &usize| {
        let bounds = &found.boxes[place];
        [bounds.left, bounds.top, bounds.right, bounds.bottom]
    };
    let all: Vec<[f32; 4]> = sure.iter().map(corners).collect();
    let their_scores: Vec<f32> = sure.iter().map(|&place| found.scores[place]).collect();
    for place in nms(&all, &their_scores, config.iou_threshold).into_iter().take(config.max_regions) {
        boxes.push(found.boxes[sure[place]]);
        labels.push(found.labels[sure[place]]);
        scores.push(found.scores[sure[place]]);
    }
    (boxes, labels, scores)
}
