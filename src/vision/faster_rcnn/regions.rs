//! The regions of a picture, each with what describes it: what captions are aligned with.

use image::RgbImage;
use image::imageops;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::boxes::suppress;
use super::pictures::{PictureBatch, batch};
use super::{Detections, FasterRcnn};
use crate::data::BoundingBox;
use crate::data::images::{Filter, resize};
use crate::error::check_range;
use crate::{Error, Result};

/// What describes a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionFeatures {
    /// The region is cut out of the picture, resized to 224×224, and shown to the backbone: its last stage, averaged over places.
    /// 2048 numbers with ResNet-50. As in the course; one pass through the backbone a region.
    Crop,
    /// What the box head makes of the maps of the whole picture within the region: 1024 numbers with the published weights.
    /// One pass through the backbone a picture.
    RoiAlign,
}

/// Which regions of a picture are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionConfig {
    /// Least detection score, exclusive, in `0..=1`. Default: 0.5.
    #[serde(rename = "min_score")]
    pub score_threshold: f32,
    /// IoU above which class-blind NMS drops the less sure of two detections, in `0..=1`. Default: 0.3.
    #[serde(rename = "overlap")]
    pub iou_threshold: f64,
    /// Most regions besides the whole picture, in `0..=10000`. Default: 19.
    #[serde(rename = "most")]
    pub max_regions: usize,
    /// What describes a region, where the detector does. Default: RoIAlign.
    pub features: RegionFeatures,
}

impl Default for RegionConfig {
    /// The course's: surer than 0.5, overlap of 0.3 at most, 19 at most. Features in one pass.
    fn default() -> Self {
        Self { score_threshold: 0.5, iou_threshold: 0.3, max_regions: 19, features: RegionFeatures::RoiAlign }
    }
}

impl RegionConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        check_range("score_threshold", self.score_threshold, 0.0..=1.0)?;
        check_range("iou_threshold", self.iou_threshold, 0.0..=1.0)?;
        check_range("max_regions", self.max_regions, 0..=10_000)
    }
}

/// The regions of a picture: the whole picture first, then the surest detections.
#[derive(Debug)]
pub struct Regions {
    /// In pixels of the picture.
    pub boxes: Vec<BoundingBox>,
    /// Class indices; 0 for the whole picture.
    pub labels: Vec<i64>,
    /// Detection scores, in `0..=1`; 1 for the whole picture.
    pub scores: Vec<f32>,
    /// `[regions, features]`
    pub features: Tensor,
}

/// What the detector sees in a picture, to describe any of its boxes by.
#[derive(Debug)]
pub struct PictureMaps {
    batch: PictureBatch,
    /// `[1, channels, height, width]`, the finest first.
    pyramid: Vec<Tensor>,
}

/// The side of the square that cut-out regions are resized to, with the published weights.
const CROP_SIDE: u32 = 224;

impl FasterRcnn {
    /// The regions of a picture with what describes them.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is out of its range, [`Error::Argument`] for a picture without pixels.
    pub fn regions(&self, picture: &RgbImage, config: &RegionConfig) -> Result<Regions> {
        config.validate()?;
        tch::no_grad(|| {
            let maps = self.maps(picture)?;
            let found = self.detect_in(&maps.batch, &maps.pyramid)?.pop().unwrap_or_default();
            let (boxes, labels, scores) = choose(&found, picture, config);
            let features = match config.features {
                RegionFeatures::RoiAlign => self.describe_in(&maps, &boxes),
                RegionFeatures::Crop => self.crop_features(picture, &boxes)?,
            };
            Ok(Regions { boxes, labels, scores, features })
        })
    }

    /// The regions of a picture alone, as [`FasterRcnn::regions`] finds them: boxes, labels and scores.
    ///
    /// # Errors
    /// As [`FasterRcnn::regions`].
    pub(crate) fn find_regions(&self, picture: &RgbImage, config: &RegionConfig) -> Result<Chosen> {
        config.validate()?;
        let found = self.detect(std::slice::from_ref(picture))?.pop().unwrap_or_default();
        Ok(choose(&found, picture, config))
    }

    /// What describes boxes of a picture, whoever drew them.
    ///
    /// # Shapes
    /// - result: `[boxes, features]`
    ///
    /// # Errors
    /// [`Error::Argument`] for a picture without pixels, and for a box without area.
    pub fn describe(&self, picture: &RgbImage, boxes: &[BoundingBox], features: RegionFeatures) -> Result<Tensor> {
        boxes.iter().try_for_each(BoundingBox::validate)?;
        match features {
            RegionFeatures::RoiAlign => Ok(self.describe_in(&self.maps(picture)?, boxes)),
            RegionFeatures::Crop => tch::no_grad(|| self.crop_features(picture, boxes)),
        }
    }

    /// What the backbone and the pyramid see in a picture. It takes nearly all of the time; boxes are then described in
    /// milliseconds, again and again.
    ///
    /// # Errors
    /// [`Error::Argument`] for a picture without pixels.
    pub fn maps(&self, picture: &RgbImage) -> Result<PictureMaps> {
        tch::no_grad(|| {
            let batch = batch(std::slice::from_ref(picture), &self.config, self.device)?;
            let pyramid = self.pyramid(&batch.pictures, false);
            Ok(PictureMaps { batch, pyramid })
        })
    }

    /// What describes boxes of a picture that this detector looked at, as [`RegionFeatures::RoiAlign`]: in pixels of the picture.
    ///
    /// # Shapes
    /// - result: `[boxes, head size]`
    ///
    /// # Panics
    /// When the maps are another detector's, of other channels.
    pub fn describe_in(&self, maps: &PictureMaps, boxes: &[BoundingBox]) -> Tensor {
        tch::no_grad(|| self.region_vectors(&maps.pyramid, &[resized(boxes, &maps.batch)]))
    }

    /// The features of regions that are cut out of a picture.
    ///
    /// # Shapes
    /// - result: `[regions, channels of the last stage]`
    fn crop_features(&self, picture: &RgbImage, boxes: &[BoundingBox]) -> Result<Tensor> {
        if picture.width() == 0 || picture.height() == 0 {
            return Err(Error::argument("the picture has no pixels", "Leave it out."));
        }
        // A detector for smaller pictures sees smaller crops.
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

/// Boxes in pixels of the first picture of a batch, as it was resized.
fn resized(boxes: &[BoundingBox], batch: &PictureBatch) -> Vec<[f32; 4]> {
    let (across, down) = batch.scale(0);
    let resized =
        |bounds: &BoundingBox| [bounds.left / across, bounds.top / down, bounds.right / across, bounds.bottom / down];
    boxes.iter().map(resized).collect()
}

/// Boxes, labels and scores of regions.
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
    for place in suppress(&all, &their_scores, config.iou_threshold).into_iter().take(config.max_regions) {
        boxes.push(found.boxes[sure[place]]);
        labels.push(found.labels[sure[place]]);
        scores.push(found.scores[sure[place]]);
    }
    (boxes, labels, scores)
}
