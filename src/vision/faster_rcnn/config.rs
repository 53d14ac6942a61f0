//! The sizes and thresholds of a Faster R-CNN.

use serde::{Deserialize, Serialize};

use crate::data::scenes::Kind;
use crate::nn::Normalisation;
use crate::vision::{Block, ResNetConfig};
use crate::{Error, Result};

/// The sizes and thresholds of a [`FasterRcnn`](super::FasterRcnn).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FasterRcnnConfig {
    pub backbone: ResNetConfig,
    /// Channels of the maps of the pyramid.
    pub pyramid_channels: usize,
    /// Names of the classes; the first, number 0, is the background.
    pub classes: Vec<String>,
    /// Pictures are resized until their shorter side has so many pixels, …
    pub shorter_side: u32,
    /// … but their longer side no more than so many.
    pub longest_side: u32,
    /// Mean of red, green and blue, on the scale 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, on the scale 0..1.
    pub standard_deviation: [f32; 3],
    /// The side of the anchors of each of the five maps, in pixels.
    pub anchor_sizes: Vec<f64>,
    /// Shapes of anchors, height ÷ width.
    pub anchor_shapes: Vec<f64>,
    pub proposals: ProposalConfig,
    /// Each region is sampled to so many cells a side.
    pub region_cells: usize,
    /// Numbers that the box head describes a region with.
    pub head_size: usize,
    pub detections: DetectionConfig,
    pub sampling: SamplingConfig,
}

/// Which boxes are proposed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProposalConfig {
    /// So many of each map, those that look most like a thing, are compared with one another.
    pub before_suppression: usize,
    /// So many in all are proposed.
    pub after_suppression: usize,
    /// Of boxes of a map that overlap more than this (intersection over union), the best is kept.
    pub overlap: f64,
}

/// Which boxes are detections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectionConfig {
    /// Of less likely ones there are too many.
    pub min_score: f64,
    /// Of boxes of a class that overlap more than this (intersection over union), the best is kept.
    pub overlap: f64,
    /// At most so many a picture.
    pub most: usize,
}

/// What is learnt from in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplingConfig {
    pub proposals: ProposalConfig,
    /// Anchors of a picture that the proposals learn from.
    pub anchors: usize,
    /// At most this share of them is on things.
    pub anchors_on_things: f64,
    /// Anchors that overlap a thing by so much (intersection over union) are on it; …
    pub anchor_is_thing: f32,
    /// … those that overlap all by less than this are background, and what is between is left out.
    pub anchor_is_background: f32,
    /// Proposals of a picture that the box head learns from.
    pub regions: usize,
    pub regions_on_things: f64,
    /// Proposals that overlap a thing by so much are on it, others are background.
    pub region_is_thing: f32,
}

impl FasterRcnnConfig {
    /// torchvision's `fasterrcnn_resnet50_fpn` with the weights `fasterrcnn_resnet50_fpn_coco-258fb6c6.pth`: 91 classes of COCO.
    pub fn resnet50_coco() -> Self {
        let proposals =
            |count: usize| ProposalConfig { before_suppression: count, after_suppression: count, overlap: 0.7 };
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
            detections: DetectionConfig { min_score: 0.05, overlap: 0.5, most: 100 },
            sampling: SamplingConfig {
                proposals: proposals(2000),
                anchors: 256,
                anchors_on_things: 0.5,
                anchor_is_thing: 0.7,
                anchor_is_background: 0.3,
                regions: 512,
                regions_on_things: 0.25,
                region_is_thing: 0.5,
            },
        }
    }

    /// A small one for Scenes: 128×128 pixels, classes named as their things.
    pub fn tiny() -> Self {
        let proposals = |before_suppression: usize, after_suppression: usize| ProposalConfig {
            before_suppression,
            after_suppression,
            overlap: 0.7,
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
                anchor_is_thing: 0.6,
                regions: 48,
                ..published.sampling.clone()
            },
            ..published
        }
    }

    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        self.backbone.validate()?;
        let sampling = &self.sampling;
        for (field, value, range) in [
            ("pyramid_channels", self.pyramid_channels, 1..=65_536),
            ("classes", self.classes.len(), 2..=1_000_000),
            ("shorter_side", self.shorter_side as usize, 32..=8192),
            ("longest_side", self.longest_side as usize, self.shorter_side as usize..=8192),
            ("anchor_sizes", self.anchor_sizes.len(), 5..=5),
            ("anchor_shapes", self.anchor_shapes.len(), 1..=16),
            ("proposals.before_suppression", self.proposals.before_suppression, 1..=100_000),
            ("proposals.after_suppression", self.proposals.after_suppression, 1..=100_000),
            ("region_cells", self.region_cells, 1..=64),
            ("head_size", self.head_size, 1..=65_536),
            ("detections.most", self.detections.most, 1..=100_000),
            ("sampling.proposals.before_suppression", sampling.proposals.before_suppression, 1..=100_000),
            ("sampling.proposals.after_suppression", sampling.proposals.after_suppression, 1..=100_000),
            ("sampling.anchors", sampling.anchors, 1..=100_000),
            ("sampling.regions", sampling.regions, 1..=100_000),
        ] {
            if !range.contains(&value) {
                let expected = format!("must be in {}..={}", range.start(), range.end());
                return Err(Error::config(format!("detector.{field}"), value, expected));
            }
        }
        for (field, value) in [
            ("proposals.overlap", self.proposals.overlap),
            ("detections.min_score", self.detections.min_score),
            ("detections.overlap", self.detections.overlap),
            ("sampling.proposals.overlap", sampling.proposals.overlap),
            ("sampling.anchors_on_things", sampling.anchors_on_things),
            ("sampling.anchor_is_thing", f64::from(sampling.anchor_is_thing)),
            ("sampling.anchor_is_background", f64::from(sampling.anchor_is_background)),
            ("sampling.regions_on_things", sampling.regions_on_things),
            ("sampling.region_is_thing", f64::from(sampling.region_is_thing)),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(format!("detector.{field}"), value, "must be in 0..=1"));
            }
        }
        let positive = |values: &[f64]| values.iter().all(|&value| value.is_finite() && value > 0.0);
        for (field, values) in [("anchor_sizes", &self.anchor_sizes), ("anchor_shapes", &self.anchor_shapes)] {
            if !positive(values) {
                return Err(Error::config(format!("detector.{field}"), format!("{values:?}"), "must be above 0"));
            }
        }
        if !self.standard_deviation.iter().all(|&value| value.is_finite() && value > 0.0) {
            let value = format!("{:?}", self.standard_deviation);
            return Err(Error::config("detector.standard_deviation", value, "must be three finite numbers above 0"));
        }
        if !self.mean.iter().all(|value| value.is_finite()) {
            return Err(Error::config("detector.mean", format!("{:?}", self.mean), "must be three finite numbers"));
        }
        Ok(())
    }
}

const BACKGROUND: &str = "background";

/// COCO's classes by number; those of its numbers that it has no pictures of are `N/A`.
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
            (FasterRcnnConfig { pyramid_channels: 0, ..good() }, "detector.pyramid_channels"),
            (FasterRcnnConfig { classes: vec!["background".into()], ..good() }, "detector.classes"),
            (FasterRcnnConfig { longest_side: 100, ..good() }, "detector.longest_side"),
            (FasterRcnnConfig { anchor_sizes: vec![16.0], ..good() }, "detector.anchor_sizes"),
            (FasterRcnnConfig { anchor_shapes: vec![-1.0], ..good() }, "detector.anchor_shapes"),
            (FasterRcnnConfig { standard_deviation: [0.0; 3], ..good() }, "detector.standard_deviation"),
            (
                FasterRcnnConfig { detections: DetectionConfig { overlap: 1.5, ..good().detections }, ..good() },
                "detector.detections.overlap",
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
