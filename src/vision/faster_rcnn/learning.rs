//! What a detector learns from: the losses of its proposals and of its box head.

use tch::{Reduction, Tensor};

use super::boxes::{overlap, rows, tensor};
use super::config::SamplingConfig;
use super::proposals::{self, Anchored};
use super::{CODER, FasterRcnn};
use crate::data::{BoundingBox, Random};

/// The things that are in a picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// In pixels of the picture as the network reads it.
    pub boxes: Vec<BoundingBox>,
    /// Numbers of classes, from 1 on.
    pub labels: Vec<i64>,
}

impl Target {
    fn rows(&self) -> Vec<[f32; 4]> {
        self.boxes.iter().map(|bounds| [bounds.left, bounds.top, bounds.right, bounds.bottom]).collect()
    }
}

/// The four losses of Faster R-CNN, as torchvision computes them; each a tensor without dimensions.
#[derive(Debug)]
pub struct DetectionLosses {
    /// Of the proposals, is it a thing: binary cross entropy, a mean over the sampled anchors.
    pub objectness: Tensor,
    /// Of the proposals, where is it: smooth L1 of the deltas, summed and divided by the number of sampled anchors.
    pub proposal_boxes: Tensor,
    /// Of the box head, what is it: cross entropy, a mean over the sampled regions.
    pub classes: Tensor,
    /// Of the box head, where is it.
    pub boxes: Tensor,
}

impl DetectionLosses {
    /// Their sum, which is what is made smaller.
    pub fn sum(&self) -> Tensor {
        &self.objectness + &self.proposal_boxes + &self.classes + &self.boxes
    }
}

/// Where smooth L1 turns from a square into a line.
const BETA: f64 = 1.0 / 9.0;

/// What a box is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matched {
    Thing(usize),
    Background,
    /// Neither: nothing is learnt from it.
    Between,
}

impl FasterRcnn {
    /// The losses on pictures that are normalised, and all of one size.
    ///
    /// Which anchors and regions are learnt from is drawn from `random`.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, height, width]`, height and width multiples of 32
    /// - `targets`: one for each picture
    ///
    /// # Panics
    /// When there are not as many targets as pictures, or a label is no class.
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
        let (mut regions, mut labels, mut things, mut on_things) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (mut proposals, target) in proposals.into_iter().zip(targets) {
            let truth = target.rows();
            // The true boxes are learnt from as well, so that there is always something on each thing.
            proposals.extend(&truth);
            let matched = match_boxes(&truth, &proposals, sampling.region_fg_iou, sampling.region_fg_iou, false);
            let (on, off) = sample(&matched, sampling.regions, sampling.region_positive_fraction, random);
            let mut chosen: Vec<usize> = on.into_iter().chain(off).collect();
            chosen.sort_unstable();
            for &place in &chosen {
                if let Matched::Thing(thing) = matched[place] {
                    on_things.push((labels.len() as i64, target.labels[thing], proposals[place]));
                    things.push(truth[thing]);
                    labels.push(target.labels[thing]);
                } else {
                    labels.push(0);
                }
            }
            regions.push(chosen.into_iter().map(|place| proposals[place]).collect::<Vec<_>>());
        }
        let vectors = self.region_vectors(pyramid, &regions);
        let device = vectors.device();
        let count = labels.len() as f64;
        let labels = Tensor::from_slice(&labels).to_device(device);
        let classes = self.classifier.forward(&vectors).cross_entropy_for_logits(&labels);
        let deltas = self.box_regressor.forward(&vectors).reshape([labels.size()[0], -1, 4]);
        let own: Vec<[f32; 4]> = on_things.iter().map(|(.., bounds)| *bounds).collect();
        let index = |values: Vec<i64>| Some(Tensor::from_slice(&values).to_device(device));
        let deltas = deltas.index(&[
            index(on_things.iter().map(|(row, ..)| *row).collect()),
            index(on_things.iter().map(|(_, label, _)| *label).collect()),
        ]);
        let truth = CODER.encode(&tensor(&things).to_device(device), &tensor(&own).to_device(device));
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
    let (mut on_things, mut background, mut things, mut own) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (picture, target) in targets.iter().enumerate() {
        let truth = target.rows();
        let matched = match_boxes(&truth, &anchors, sampling.anchor_fg_iou, sampling.anchor_bg_iou, true);
        let (on, off) = sample(&matched, sampling.anchors, sampling.anchor_positive_fraction, random);
        let start = picture * anchors.len();
        for place in on {
            if let Matched::Thing(thing) = matched[place] {
                on_things.push((start + place) as i64);
                things.push(truth[thing]);
                own.push(anchors[place]);
            }
        }
        background.extend(off.into_iter().map(|place| (start + place) as i64));
    }
    let device = anchored.objectness.device();
    let count = (on_things.len() + background.len()).max(1) as f64;
    let is_thing: Vec<f32> =
        std::iter::repeat_n(1.0, on_things.len()).chain(std::iter::repeat_n(0.0, background.len())).collect();
    let sampled: Vec<i64> = on_things.iter().copied().chain(background).collect();
    let place = |places: &[i64]| Tensor::from_slice(places).to_device(device);
    let scores = anchored.objectness.flatten(0, 1).index_select(0, &place(&sampled));
    let is_thing = Tensor::from_slice(&is_thing).to_device(device);
    let objectness =
        scores.binary_cross_entropy_with_logits(&is_thing, None::<&Tensor>, None::<&Tensor>, Reduction::Mean);
    let deltas = anchored.deltas.flatten(0, 1).index_select(0, &place(&on_things));
    let truth = proposals::CODER.encode(&tensor(&things).to_device(device), &tensor(&own).to_device(device));
    (objectness, deltas.smooth_l1_loss(&truth, Reduction::Sum, BETA) / count)
}

/// What each box is on: the thing that it overlaps most, where that is `high` or more; background below `low`.
///
/// With `for_each_thing`, the boxes that overlap a thing most are on a thing however little that is, so that none is without.
fn match_boxes(things: &[[f32; 4]], boxes: &[[f32; 4]], high: f32, low: f32, for_each_thing: bool) -> Vec<Matched> {
    if things.is_empty() {
        return vec![Matched::Background; boxes.len()];
    }
    let overlaps: Vec<Vec<f32>> =
        things.iter().map(|&thing| boxes.iter().map(|&bounds| overlap(thing, bounds)).collect()).collect();
    // Of equal overlaps the first thing counts.
    let best = |place: usize| {
        let first = (0, overlaps[0][place]);
        (1..things.len()).fold(first, |best, thing| match overlaps[thing][place] {
            overlap if overlap > best.1 => (thing, overlap),
            _ => best,
        })
    };
    let mut matched: Vec<Matched> = (0..boxes.len())
        .map(|place| match best(place) {
            (_, overlap) if overlap < low => Matched::Background,
            (_, overlap) if overlap < high => Matched::Between,
            (thing, _) => Matched::Thing(thing),
        })
        .collect();
    if for_each_thing {
        for overlaps in &overlaps {
            let most = overlaps.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for place in (0..boxes.len()).filter(|&place| overlaps[place] == most) {
                matched[place] = Matched::Thing(best(place).0);
            }
        }
    }
    matched
}

/// Draws places on things, at most a share of `count`, and then places on the background up to `count`.
fn sample(matched: &[Matched], count: usize, share: f64, random: &mut Random) -> (Vec<usize>, Vec<usize>) {
    let places =
        |keep: fn(&Matched) -> bool| (0..matched.len()).filter(|&place| keep(&matched[place])).collect::<Vec<_>>();
    let mut on = places(|matched| matches!(matched, Matched::Thing(_)));
    let mut off = places(|matched| *matched == Matched::Background);
    draw(&mut on, (count as f64 * share) as usize, random);
    draw(&mut off, count - on.len(), random);
    (on, off)
}

/// Keeps `count` of the places at most, drawn without replacement.
fn draw(places: &mut Vec<usize>, count: usize, random: &mut Random) {
    for place in 0..count.min(places.len()) {
        let other = place + random.below(places.len() - place);
        places.swap(place, other);
    }
    places.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_on_the_thing_that_they_overlap_most() {
        let things = [[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]];
        let boxes = [[0.0, 0.0, 10.0, 9.0], [22.0, 0.0, 36.0, 10.0], [50.0, 0.0, 60.0, 10.0], [4.0, 0.0, 14.0, 10.0]];
        let found = match_boxes(&things, &boxes, 0.7, 0.3, false);
        assert_eq!(found, [Matched::Thing(0), Matched::Between, Matched::Background, Matched::Between]);
        // The second thing has no box that overlaps it by 0.7: it takes the best there is.
        let found = match_boxes(&things, &boxes, 0.7, 0.3, true);
        assert_eq!(found, [Matched::Thing(0), Matched::Thing(1), Matched::Background, Matched::Between]);
        assert_eq!(match_boxes(&[], &boxes, 0.7, 0.3, true), [Matched::Background; 4]);
    }

    #[test]
    fn few_places_are_drawn_and_no_place_twice() {
        let mut matched = vec![Matched::Background; 100];
        matched.extend((0..30).map(Matched::Thing));
        matched.extend([Matched::Between; 50]);
        let (on, off) = sample(&matched, 40, 0.5, &mut Random::new(1));
        assert_eq!((on.len(), off.len()), (20, 20));
        let mut all: Vec<usize> = on.iter().chain(&off).copied().collect();
        all.sort_unstable();
        all.dedup();
        assert!(
            all.len() == 40
                && on.iter().all(|&place| (100..130).contains(&place))
                && off.iter().all(|&place| place < 100)
        );
        // Where there are few things, the background fills up.
        let (on, off) = sample(&matched[..105], 40, 0.5, &mut Random::new(1));
        assert_eq!((on.len(), off.len()), (5, 35));
    }
}
