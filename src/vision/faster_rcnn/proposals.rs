//! The region proposal network.

use tch::{Kind, Tensor};

use super::anchors::anchors;
use super::boxes::{BoxCoder, batched_nms, clip, is_as_large, rows, values};
use super::config::{FasterRcnnConfig, ProposalConfig};
use crate::nn::convolution::Convolution;
use crate::nn::{Weights, network};

/// The region proposal network (Ren et al. 2015, *Faster R-CNN*, section 3.1): objectness and box deltas of each anchor at each
/// position of each map.
#[derive(Debug)]
pub(super) struct ProposalNetwork {
    convolution: Convolution,
    objectness: Convolution,
    delta: Convolution,
    anchor_sizes: Vec<f64>,
    anchor_shapes: Vec<f64>,
}

network!(ProposalNetwork { convolution, objectness, delta; anchor_sizes, anchor_shapes });

/// Output of the network for all anchors of a batch.
pub(super) struct Anchored {
    /// `[anchors, 4]`, the same for each image.
    pub(super) anchors: Tensor,
    /// Number of anchors of each level.
    pub(super) counts: Vec<i64>,
    /// Objectness logits, `[pictures, anchors]`.
    pub(super) objectness: Tensor,
    /// Box deltas, `[pictures, anchors, 4]`.
    pub(super) deltas: Tensor,
}

/// Deltas of proposals have no weights.
pub(super) const CODER: BoxCoder = BoxCoder { weights: [1.0; 4] };

/// Boxes with a shorter side, in pixels, are dropped.
const SMALLEST: f32 = 1e-3;

impl ProposalNetwork {
    /// Weights are named `rpn.head.conv.0.0.weight`, `rpn.head.cls_logits.weight`, `rpn.head.bbox_pred.weight`.
    pub(super) fn new(config: &FasterRcnnConfig, weights: &mut Weights) -> Self {
        let (channels, shapes) = (config.pyramid_channels as i64, config.anchor_shapes.len() as i64);
        Self {
            convolution: Convolution::new("rpn.head.conv.0.0", channels, channels, 3, weights),
            objectness: Convolution::small("rpn.head.cls_logits", channels, shapes, 1, weights),
            delta: Convolution::small("rpn.head.bbox_pred", channels, 4 * shapes, 1, weights),
            anchor_sizes: config.anchor_sizes.clone(),
            anchor_shapes: config.anchor_shapes.clone(),
        }
    }

    /// `picture` is the height and width of the batch.
    pub(super) fn forward(&self, pyramid: &[Tensor], picture: (i64, i64)) -> Anchored {
        let (mut objectness, mut deltas, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        for map in pyramid {
            // Scores and boxes stay in single precision.
            let hidden = self.convolution.forward(map).relu_().to_kind(Kind::Float);
            let [batch, _, height, width] = hidden.size()[..] else { unreachable!("a map has four dimensions") };
            sizes.push((height, width));
            // Position by position, the aspect ratios of a position together.
            let by_place = |map: Tensor, depth: i64| map.permute([0, 2, 3, 1]).reshape([batch, -1, depth]);
            objectness.push(by_place(self.objectness.forward(&hidden), 1).squeeze_dim(2));
            deltas.push(by_place(self.delta.forward(&hidden), 4));
        }
        let device = pyramid[0].device();
        Anchored {
            anchors: Tensor::cat(&anchors(&sizes, picture, &self.anchor_sizes, &self.anchor_shapes, device), 0),
            counts: objectness.iter().map(|map| map.size()[1]).collect(),
            objectness: Tensor::cat(&objectness, 1),
            deltas: Tensor::cat(&deltas, 1),
        }
    }
}

impl Anchored {
    /// The proposals of each image by decreasing objectness. `sizes` are heights and widths without padding.
    pub(super) fn proposals(&self, config: &ProposalConfig, sizes: &[(i64, i64)]) -> Vec<Vec<[f32; 4]>> {
        // Only the top anchors are decoded: an image has hundreds of thousands.
        let (mut places, mut levels) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (level, &count) in (0..).zip(&self.counts) {
            let most = count.min(config.pre_nms_top_n as i64);
            let (_, best) = self.objectness.detach().narrow(1, start, count).topk(most, 1, true, true);
            places.push(best + start);
            levels.extend(std::iter::repeat_n(level, most as usize));
            start += count;
        }
        let places = Tensor::cat(&places, 1);
        let of_picture = |(picture, &(height, width)): (usize, &(i64, i64))| {
            let places = places.get(picture as i64);
            let deltas = self.deltas.detach().get(picture as i64).index_select(0, &places);
            let boxes = CODER.decode(&deltas, &self.anchors.index_select(0, &places)).squeeze_dim(1);
            let scores = self.objectness.detach().get(picture as i64).index_select(0, &places);
            let boxes = rows(&boxes).into_iter().map(|bounds| clip(bounds, width as f32, height as f32));
            let scores = values(&scores.sigmoid().to_kind(Kind::Float));
            let all = boxes.zip(scores).zip(&levels).filter(|((bounds, _), _)| is_as_large(*bounds, SMALLEST));
            let (boxes, (scores, groups)): (Vec<_>, (Vec<_>, Vec<_>)) =
                all.map(|((bounds, score), &level)| (bounds, (score, level))).unzip();
            let kept = batched_nms(&boxes, &scores, &groups, config.iou_threshold);
            kept.into_iter().take(config.post_nms_top_n).map(|place| boxes[place]).collect()
        };
        sizes.iter().enumerate().map(of_picture).collect()
    }
}
