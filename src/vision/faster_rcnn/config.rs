//! Hyperparameters of Faster R-CNN.

use serde::{Deserialize, Serialize};

use crate::data::scenes::Kind;
use crate::error::{Within, check_range};
use crate::nn::Normalisation;
use crate::vision::{Block, ResNetConfig};
use crate::{Error, Result};

/// Hyperparameters of a [`FasterRcnn`](super::FasterRcnn).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FasterRcnnConfig {
    /// The network below the feature pyramid.
    pub backbone: ResNetConfig,
    /// Channels of the pyramid's maps, in `1..=65536`; 256 in torchvision.
    pub pyramid_channels: usize,
    /// Class names, at least two; the first, index 0, is the background.
    pub classes: Vec<String>,
    /// The shorter side of resized images in pixels, in `32..=8192`; torchvision's `min_size`, 800.
    pub shorter_side: u32,
    /// Upper limit of the longer side in pixels, at most 8192; torchvision's `max_size`, 1333.
    pub longest_side: u32,
    /// Mean of red, green and blue, on the scale 0..1; torchvision's `image_mean`.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, on the scale 0..1; torchvision's `image_std`.
    pub standard_deviation: [f32; 3],
    /// Anchor size of each of the five pyramid levels, in pixels.
    pub anchor_sizes: Vec<f64>,
    /// Aspect ratios of the anchors, height ÷ width, 1 to 16 of them.
    pub anchor_shapes: Vec<f64>,
    /// Proposals of the region proposal network (RPN) in inference.
    pub proposals: ProposalConfig,
    /// RoIAlign samples each region to this many cells a side, in `1..=64`; 7 in torchvision.
    pub region_cells: usize,
    /// Dimension of the box head's features, in `1..=65536`; 1024 in torchvision.
    pub head_size: usize,
    /// Filtering of the detections.
    pub detections: DetectionConfig,
    /// Sampling in training.
    pub sampling: SamplingConfig,
}

impl Default for FasterRcnnConfig {
    fn default() -> Self {
        Self::tiny()
    }
}

/// Filtering of the region proposal network's boxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProposalConfig {
    /// Most boxes per level before NMS, in `1..=100000`; torchvision's `rpn_pre_nms_top_n`.
    #[serde(alias = "before_suppression")]
    pub pre_nms_top_n: usize,
    /// Most boxes per image after NMS, in `1..=100000`; torchvision's `rpn_post_nms_top_n`.
    #[serde(alias = "after_suppression")]
    pub post_nms_top_n: usize,
    /// IoU above which NMS drops the lower-scoring box of a level, in `0..=1`; torchvision's `rpn_nms_thresh`, 0.7.
    #[serde(alias = "overlap")]
    pub iou_threshold: f64,
}

impl Default for ProposalConfig {
    fn default() -> Self {
        FasterRcnnConfig::resnet50_coco().proposals
    }
}

/// Filtering of the box head's detections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DetectionConfig {
    /// Score that a detection must exceed, in `0..=1`; torchvision's `box_score_thresh`, 0.05.
    #[serde(alias = "min_score")]
    pub score_threshold: f64,
    /// IoU above which NMS drops the lower-scoring box of a class, in `0..=1`; torchvision's `box_nms_thresh`, 0.5.
    #[serde(alias = "overlap")]
    pub iou_threshold: f64,
    /// Most detections per image, in `1..=100000`; torchvision's `box_detections_per_img`, 100.
    #[serde(alias = "most")]
    pub max_detections: usize,
}

impl Default for DetectionConfig {
    fn default() -> Self {
        FasterRcnnConfig::resnet50_coco().detections
    }
}

/// Sampling of anchors and proposals in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplingConfig {
    /// Proposals of the region proposal network in training.
    pub proposals: ProposalConfig,
    /// Anchors sampled per image, in `1..=100000`; torchvision's `rpn_batch_size_per_image`, 256.
    pub anchors: usize,
    /// Largest fraction of positive anchors, in `0..=1`; torchvision's `rpn_positive_fraction`, 0.5.
    #[serde(alias = "anchors_on_things")]
    pub anchor_positive_fraction: f64,
    /// IoU from which an anchor is positive, in `0..=1`; torchvision's `rpn_fg_iou_thresh`, 0.7.
    #[serde(alias = "anchor_is_thing")]
    pub anchor_fg_iou: f32,
    /// IoU below which an anchor is negative, in `0..=1`; anchors in between are ignored. torchvision's `rpn_bg_iou_thresh`, 0.3.
    #[serde(alias = "anchor_is_background")]
    pub anchor_bg_iou: f32,
    /// Proposals sampled per image, in `1..=100000`; torchvision's `box_batch_size_per_image`, 512.
    pub regions: usize,
    /// Largest fraction of positive proposals, in `0..=1`; torchvision's `box_positive_fraction`, 0.25.
    #[serde(alias = "regions_on_things")]
    pub region_positive_fraction: f64,
    /// IoU from which a proposal is positive, in `0..=1`; the others are negative. torchvision's `box_fg_iou_thresh`, 0.5.
    #[serde(alias = "region_is_thing")]
    pub region_fg_iou: f32,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        FasterRcnnConfig::resnet50_coco().sampling
    }
}

impl FasterRcnnConfig {
    /// torchvision's `fasterrcnn_resnet50_fpn` with the weights `fasterrcnn_resnet50_fpn_coco-258fb6c6.pth`: 91 classes of COCO.
    pub fn resnet50_coco() -> Self {
        let proposals =
            |count: usize| ProposalConfig { pre_nms_top_n: count, post_nms_top_n: count, iou_threshold: 0.7 };
        Self {
            backbone: ResNetConfig {
                normalisation: Normalisation::Frozen { epsilon: 0.0 },
                classes: None,
                ..ResNetConfig::resnet50()
            },
            pyramid_channels: 256,
            classes: COCO_CLASSES.split(',').map(str::to_string).collect(),
            shorter_side: 800,
            longest_side: 1333,
            mean: [0.485, 0.456, 0.406],
            standard_deviation: [0.229, 0.224, 0.225],
            anchor_sizes: vec![32.0, 64.0, 128.0, 256.0, 512.0],
            anchor_shapes: vec![0.5, 1.0, 2.0],
            proposals: proposals(1000),
            region_cells: 7,
            head_size: 1024,
            detections: DetectionConfig { score_threshold: 0.05, iou_threshold: 0.5, max_detections: 100 },
            sampling: SamplingConfig {
                proposals: proposals(2000),
                anchors: 256,
                anchor_positive_fraction: 0.5,
                anchor_fg_iou: 0.7,
                anchor_bg_iou: 0.3,
                regions: 512,
                region_positive_fraction: 0.25,
                region_fg_iou: 0.5,
            },
        }
    }

    /// A small detector for Scenes: images of 128×128 pixels, and a class per kind of object.
    pub fn tiny() -> Self {
        let proposals = |pre_nms_top_n: usize, post_nms_top_n: usize| ProposalConfig {
            pre_nms_top_n,
            post_nms_top_n,
            iou_threshold: 0.7,
        };
        let kinds = Kind::ALL.iter().map(|kind| kind.name().to_string());
        let published = Self::resnet50_coco();
        Self {
            backbone: ResNetConfig {
                block: Block::Basic,
                layers: [1, 1, 1, 1],
                width: 24,
                normalisation: Normalisation::Batch,
                classes: None,
            },
            pyramid_channels: 48,
            classes: std::iter::once(BACKGROUND.to_string()).chain(kinds).collect(),
            shorter_side: 128,
            longest_side: 128,
            mean: [0.5; 3],
            standard_deviation: [0.25; 3],
            anchor_sizes: vec![16.0, 32.0, 64.0, 96.0, 128.0],
            proposals: proposals(200, 60),
            head_size: 128,
            sampling: SamplingConfig {
                proposals: proposals(300, 100),
                anchors: 64,
                anchor_fg_iou: 0.6,
                regions: 48,
                ..published.sampling.clone()
            },
            ..published
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate().within("backbone")?;
        let (proposals, detections, sampling) = (&self.proposals, &self.detections, &self.sampling);
        for (field, value, range) in [
            ("pyramid_channels", self.pyramid_channels, 1..=65_536),
            ("classes", self.classes.len(), 2..=1_000_000),
            ("shorter_side", self.shorter_side as usize, 32..=8192),
            ("longest_side", self.longest_side as usize, self.shorter_side as usize..=8192),
            ("anchor_sizes", self.anchor_sizes.len(), 5..=5),
            ("anchor_shapes", self.anchor_shapes.len(), 1..=16),
            ("proposals.pre_nms_top_n", proposals.pre_nms_top_n, 1..=100_000),
            ("proposals.post_nms_top_n", proposals.post_nms_top_n, 1..=100_000),
            ("region_cells", self.region_cells, 1..=64),
            ("head_size", self.head_size, 1..=65_536),
            ("detections.max_detections", detections.max_detections, 1..=100_000),
            ("sampling.proposals.pre_nms_top_n", sampling.proposals.pre_nms_top_n, 1..=100_000),
            ("sampling.proposals.post_nms_top_n", sampling.proposals.post_nms_top_n, 1..=100_000),
            ("sampling.anchors", sampling.anchors, 1..=100_000),
            ("sampling.regions", sampling.regions, 1..=100_000),
        ] {
            check_range(field, value, range)?;
        }
        for (field, value) in [
            ("proposals.iou_threshold", proposals.iou_threshold),
            ("detections.score_threshold", detections.score_threshold),
            ("detections.iou_threshold", detections.iou_threshold),
            ("sampling.proposals.iou_threshold", sampling.proposals.iou_threshold),
            ("sampling.anchor_positive_fraction", sampling.anchor_positive_fraction),
            ("sampling.anchor_fg_iou", f64::from(sampling.anchor_fg_iou)),
            ("sampling.anchor_bg_iou", f64::from(sampling.anchor_bg_iou)),
            ("sampling.region_positive_fraction", sampling.region_positive_fraction),
            ("sampling.region_fg_iou", f64::from(sampling.region_fg_iou)),
        ] {
            check_range(field, value, 0.0..=1.0)?;
        }
        let positive = |values: &[f64]| values.iter().all(|&value| value.is_finite() && value > 0.0);
        for (field, values) in [("anchor_sizes", &self.anchor_sizes), ("anchor_shapes", &self.anchor_shapes)] {
            if !positive(values) {
                return Err(Error::config(field, format!("{values:?}"), "must be above 0"));
            }
        }
        if !self.standard_deviation.iter().all(|&value| value.is_finite() && value > 0.0) {
            let value = format!("{:?}", self.standard_deviation);
            return Err(Error::config("standard_deviation", value, "must be three finite numbers above 0"));
        }
        if !self.mean.iter().all(|value| value.is_finite()) {
            return Err(Error::config("mean", format!("{:?}", self.mean), "must be three finite numbers"));
        }
        Ok(())
    }
}

const BACKGROUND: &str = "background";

/// COCO's class names by category id; ids without a category are `N/A`.
const COCO_CLASSES: &str = "background,person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,N/A,\
    stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,N/A,backpack,umbrella,N/A,N/A,\
    handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,\
    tennis racket,bottle,N/A,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,\
    pizza,donut,cake,chair,couch,potted plant,bed,N/A,dining table,N/A,N/A,toilet,N/A,tv,laptop,mouse,remote,keyboard,\
    cell phone,microwave,oven,toaster,sink,refrigerator,N/A,book,clock,vase,scissors,teddy bear,hair drier,toothbrush";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_valid_and_coco_has_91_classes() {
        let coco = FasterRcnnConfig::resnet50_coco();
        coco.validate().unwrap();
        assert_eq!(
            (coco.classes.len(), coco.classes[1].as_str(), coco.classes[90].as_str()),
            (91, "person", "toothbrush")
        );
        FasterRcnnConfig::tiny().validate().unwrap();
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let good = FasterRcnnConfig::tiny;
        for (config, field) in [
            (FasterRcnnConfig { pyramid_channels: 0, ..good() }, "pyramid_channels"),
            (FasterRcnnConfig { classes: vec!["background".into()], ..good() }, "classes"),
            (FasterRcnnConfig { longest_side: 100, ..good() }, "longest_side"),
            (FasterRcnnConfig { anchor_sizes: vec![16.0], ..good() }, "anchor_sizes"),
            (FasterRcnnConfig { anchor_shapes: vec![-1.0], ..good() }, "anchor_shapes"),
            (FasterRcnnConfig { standard_deviation: [0.0; 3], ..good() }, "standard_deviation"),
            (
                FasterRcnnConfig { detections: DetectionConfig { iou_threshold: 1.5, ..good().detections }, ..good() },
                "detections.iou_threshold",
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[test]
    fn a_configuration_of_before_is_read() {
        let mut old = serde_json::to_value(FasterRcnnConfig::tiny()).unwrap();
        let rename = |object: &mut serde_json::Value, pairs: &[(&str, &str)]| {
            let object = object.as_object_mut().unwrap();
            for (new, old) in pairs {
                let value = object.remove(*new).unwrap();
                object.insert(old.to_string(), value);
            }
        };
        let proposals = [
            ("pre_nms_top_n", "before_suppression"),
            ("post_nms_top_n", "after_suppression"),
            ("iou_threshold", "overlap"),
        ];
        rename(&mut old["proposals"], &proposals);
        rename(&mut old["sampling"]["proposals"], &proposals);
        let detections = [("score_threshold", "min_score"), ("iou_threshold", "overlap"), ("max_detections", "most")];
        rename(&mut old["detections"], &detections);
        rename(&mut old["sampling"], &[("anchor_fg_iou", "anchor_is_thing"), ("region_fg_iou", "region_is_thing")]);
        assert_eq!(serde_json::from_value::<FasterRcnnConfig>(old).unwrap(), FasterRcnnConfig::tiny());
    }
}
