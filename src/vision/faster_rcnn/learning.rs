//! The losses of the region proposal network and the box head.

use tch::{Reduction, Tensor};

use super::boxes::{iou, rows, tensor};
use super::config::SamplingConfig;
use super::proposals::{self, Anchored};
use super::{CODER, FasterRcnn};
use crate::data::{BoundingBox, Random};

/// Ground truth of an image: boxes and their classes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// Boxes in pixels of the network's input.
    pub boxes: Vec<BoundingBox>,
    /// Class indices, from 1; 0 is the background.
    pub labels: Vec<i64>,
}

impl Target {
    fn rows(&self) -> Vec<[f32; 4]> {
        self.boxes.iter().map(|bounds| [bounds.left, bounds.top, bounds.right, bounds.bottom]).collect()
    }
}

/// The four losses of Faster R-CNN as torchvision computes them, each a scalar tensor.
#[derive(Debug)]
pub struct DetectionLosses {
    /// torchvision's `loss_objectness`: binary cross entropy, averaged over the sampled anchors.
    pub objectness: Tensor,
    /// torchvision's `loss_rpn_box_reg`: smooth L1 of the deltas, summed, divided by the number of sampled anchors.
    pub proposal_boxes: Tensor,
    /// torchvision's `loss_classifier`: cross entropy, averaged over the sampled regions.
    pub classes: Tensor,
    /// torchvision's `loss_box_reg`: smooth L1 of the deltas, summed, divided by the number of sampled regions.
    pub boxes: Tensor,
}

impl DetectionLosses {
    /// The total loss.
    pub fn sum(&self) -> Tensor {
        &self.objectness + &self.proposal_boxes + &self.classes + &self.boxes
    }
}

/// Smooth L1 is quadratic below this difference and linear above.
const BETA: f64 = 1.0 / 9.0;

/// The ground truth that a box is matched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matched {
    /// The ground-truth box of that index.
    Positive(usize),
    /// Background.
    Negative,
    /// Between the thresholds: not sampled.
    Ignored,
}

impl FasterRcnn {
    /// Computes the losses of a batch of normalised images. `random` draws the sampled anchors and regions.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, height, width]`, height and width multiples of 32
    /// - `targets`: one per image
    ///
    /// # Panics
    /// When the number of targets differs from the batch, the shape is another, or a label is not a class.
    pub fn losses(
        &self,
        pictures: &Tensor,
        targets: &[Target],
        training: bool,
        random: &mut Random,
    ) -> DetectionLosses {
        let [_, _, height, width] = pictures.size()[..] else { unreachable!("pictures have four dimensions") };
        let pyramid = self.pyramid(pictures, training);
        let anchored = self.proposals.forward(&pyramid, (height, width));
        assert_eq!(pictures.size()[0], targets.len() as i64, "one target for each picture");
        let sampling = &self.config.sampling;
        let (objectness, proposal_boxes) = proposal_losses(&anchored, targets, sampling, random);
        let sizes = vec![(height, width); targets.len()];
        let proposals = anchored.proposals(&sampling.proposals, &sizes);
        let (classes, boxes) = self.head_losses(&pyramid, proposals, targets, random);
        DetectionLosses { objectness, proposal_boxes, classes, boxes }
    }

    fn head_losses(
        &self,
        pyramid: &[Tensor],
        proposals: Vec<Vec<[f32; 4]>>,
        targets: &[Target],
        random: &mut Random,
    ) -> (Tensor, Tensor) {
        let sampling = &self.config.sampling;
        let (mut regions, mut labels, mut matched_truth, mut positives) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (mut proposals, target) in proposals.into_iter().zip(targets) {
            let truth = target.rows();
            // As in torchvision, the true boxes count as proposals too, so that every object has a positive one.
            proposals.extend(&truth);
            let matched = match_boxes(&truth, &proposals, sampling.region_fg_iou, sampling.region_fg_iou, false);
            let (positive, negative) = sample(&matched, sampling.regions, sampling.region_positive_fraction, random);
            let mut chosen: Vec<usize> = positive.into_iter().chain(negative).collect();
            chosen.sort_unstable();
            for &index in &chosen {
                if let Matched::Positive(object) = matched[index] {
                    positives.push((labels.len() as i64, target.labels[object], proposals[index]));
                    matched_truth.push(truth[object]);
                    labels.push(target.labels[object]);
                } else {
                    labels.push(0);
                }
            }
            regions.push(chosen.into_iter().map(|index| proposals[index]).collect::<Vec<_>>());
        }
        let vectors = self.region_vectors(pyramid, &regions);
        let device = vectors.device();
        let count = labels.len() as f64;
        let labels = Tensor::from_slice(&labels).to_device(device);
        let classes = self.classifier.forward(&vectors).cross_entropy_for_logits(&labels);
        let deltas = self.box_regressor.forward(&vectors).reshape([labels.size()[0], -1, 4]);
        let own: Vec<[f32; 4]> = positives.iter().map(|(.., bounds)| *bounds).collect();
        let index = |values: Vec<i64>| Some(Tensor::from_slice(&values).to_device(device));
        let deltas = deltas.index(&[
            index(positives.iter().map(|(row, ..)| *row).collect()),
            index(positives.iter().map(|(_, label, _)| *label).collect()),
        ]);
        let truth = CODER.encode(&tensor(&matched_truth).to_device(device), &tensor(&own).to_device(device));
        (classes, deltas.smooth_l1_loss(&truth, Reduction::Sum, BETA) / count)
    }
}

fn proposal_losses(
    anchored: &Anchored,
    targets: &[Target],
    sampling: &SamplingConfig,
    random: &mut Random,
) -> (Tensor, Tensor) {
    let anchors = rows(&anchored.anchors);
    let (mut positives, mut negatives, mut matched_truth, mut own) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (picture, target) in targets.iter().enumerate() {
        let truth = target.rows();
        let matched = match_boxes(&truth, &anchors, sampling.anchor_fg_iou, sampling.anchor_bg_iou, true);
        let (positive, negative) = sample(&matched, sampling.anchors, sampling.anchor_positive_fraction, random);
        let start = picture * anchors.len();
        for index in positive {
            if let Matched::Positive(object) = matched[index] {
                positives.push((start + index) as i64);
                matched_truth.push(truth[object]);
                own.push(anchors[index]);
            }
        }
        negatives.extend(negative.into_iter().map(|index| (start + index) as i64));
    }
    let device = anchored.objectness.device();
    let count = (positives.len() + negatives.len()).max(1) as f64;
    let labels: Vec<f32> =
        std::iter::repeat_n(1.0, positives.len()).chain(std::iter::repeat_n(0.0, negatives.len())).collect();
    let sampled: Vec<i64> = positives.iter().copied().chain(negatives).collect();
    let index = |indices: &[i64]| Tensor::from_slice(indices).to_device(device);
    let logits = anchored.objectness.flatten(0, 1).index_select(0, &index(&sampled));
    let labels = Tensor::from_slice(&labels).to_device(device);
    let objectness =
        logits.binary_cross_entropy_with_logits(&labels, None::<&Tensor>, None::<&Tensor>, Reduction::Mean);
    let deltas = anchored.deltas.flatten(0, 1).index_select(0, &index(&positives));
    let truth = proposals::CODER.encode(&tensor(&matched_truth).to_device(device), &tensor(&own).to_device(device));
    (objectness, deltas.smooth_l1_loss(&truth, Reduction::Sum, BETA) / count)
}

/// Matches each box with the ground-truth box of the highest IoU: positive from `fg_iou`, negative below `bg_iou`.
///
/// With `allow_low_quality` (torchvision's `allow_low_quality_matches`), the best boxes of each ground-truth box are positive
/// whatever their IoU, so that every object is matched.
fn match_boxes(
    truth: &[[f32; 4]],
    boxes: &[[f32; 4]],
    fg_iou: f32,
    bg_iou: f32,
    allow_low_quality: bool,
) -> Vec<Matched> {
    if truth.is_empty() {
        return vec![Matched::Negative; boxes.len()];
    }
    let ious: Vec<Vec<f32>> =
        truth.iter().map(|&object| boxes.iter().map(|&bounds| iou(object, bounds)).collect()).collect();
    // The first ground-truth box wins a tie.
    let best = |index: usize| {
        let first = (0, ious[0][index]);
        (1..truth.len()).fold(first, |best, object| match ious[object][index] {
            iou if iou > best.1 => (object, iou),
            _ => best,
        })
    };
    let mut matched: Vec<Matched> = (0..boxes.len())
        .map(|index| match best(index) {
            (_, iou) if iou < bg_iou => Matched::Negative,
            (_, iou) if iou < fg_iou => Matched::Ignored,
            (object, _) => Matched::Positive(object),
        })
        .collect();
    if allow_low_quality {
        for ious in &ious {
            let highest = ious.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for index in (0..boxes.len()).filter(|&index| ious[index] == highest) {
                matched[index] = Matched::Positive(best(index).0);
            }
        }
    }
    matched
}

/// Samples positives, at most a `positive_fraction` of `count`, then negatives up to `count`. Returns the indices of both.
fn sample(matched: &[Matched], count: usize, positive_fraction: f64, random: &mut Random) -> (Vec<usize>, Vec<usize>) {
    let indices =
        |keep: fn(&Matched) -> bool| (0..matched.len()).filter(|&index| keep(&matched[index])).collect::<Vec<_>>();
    let mut positive = indices(|matched| matches!(matched, Matched::Positive(_)));
    let mut negative = indices(|matched| *matched == Matched::Negative);
    draw(&mut positive, (count as f64 * positive_fraction) as usize, random);
    draw(&mut negative, count - positive.len(), random);
    (positive, negative)
}

/// Keeps at most `count` of the indices, drawn without replacement.
fn draw(indices: &mut Vec<usize>, count: usize, random: &mut Random) {
    for index in 0..count.min(indices.len()) {
        let other = index + random.below(indices.len() - index);
        indices.swap(index, other);
    }
    indices.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_match_the_ground_truth_of_the_highest_iou() {
        let truth = [[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]];
        let boxes = [[0.0, 0.0, 10.0, 9.0], [22.0, 0.0, 36.0, 10.0], [50.0, 0.0, 60.0, 10.0], [4.0, 0.0, 14.0, 10.0]];
        let found = match_boxes(&truth, &boxes, 0.7, 0.3, false);
        assert_eq!(found, [Matched::Positive(0), Matched::Ignored, Matched::Negative, Matched::Ignored]);
        // No box reaches an IoU of 0.7 with the second: it takes the best.
        let found = match_boxes(&truth, &boxes, 0.7, 0.3, true);
        assert_eq!(found, [Matched::Positive(0), Matched::Positive(1), Matched::Negative, Matched::Ignored]);
        assert_eq!(match_boxes(&[], &boxes, 0.7, 0.3, true), [Matched::Negative; 4]);
    }

    #[test]
    fn sampling_is_balanced_and_without_replacement() {
        let mut matched = vec![Matched::Negative; 100];
        matched.extend((0..30).map(Matched::Positive));
        matched.extend([Matched::Ignored; 50]);
        let (positive, negative) = sample(&matched, 40, 0.5, &mut Random::new(1));
        assert_eq!((positive.len(), negative.len()), (20, 20));
        let mut all: Vec<usize> = positive.iter().chain(&negative).copied().collect();
        all.sort_unstable();
        all.dedup();
        assert!(
            all.len() == 40
                && positive.iter().all(|&index| (100..130).contains(&index))
                && negative.iter().all(|&index| index < 100)
        );
        // Negatives fill up where positives are few.
        let (positive, negative) = sample(&matched[..105], 40, 0.5, &mut Random::new(1));
        assert_eq!((positive.len(), negative.len()), (5, 35));
    }
}
