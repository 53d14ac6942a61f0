//! Average precision of detections.

use std::fmt;

use serde::Serialize;

use super::{Detections, Target};

/// Average precision per class and its mean (mAP), by COCO's protocol (Lin et al. 2014; `pycocotools`).
///
/// Detections of a class are taken by decreasing score. Each matches the free ground-truth box of the highest IoU, if that reaches
/// the threshold. Precision is interpolated (the maximum at this recall or a higher one) and averaged over 101 recalls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AveragePrecision {
    /// IoU from which a detection is correct, in `0..=1`.
    pub iou_threshold: f64,
    /// Mean over the classes, in `0..=1`.
    pub mean: f64,
    /// Average precision in `0..=1` of each class that the ground truth contains, with its name.
    pub classes: Vec<(String, f64)>,
}

/// Number of recall levels.
const RECALLS: usize = 101;
/// Most detections per image and class that count.
const MAX_DETECTIONS: usize = 100;

impl AveragePrecision {
    /// Computes the average precision of `found` against `truth`, image by image. `names` are the class names by index.
    pub fn of(found: &[Detections], truth: &[Target], iou_threshold: f64, names: &[String]) -> Self {
        let mut classes = Vec::new();
        for (label, name) in (0..).zip(names) {
            let objects: usize = truth.iter().map(|target| of_label(&target.labels, label).count()).sum();
            if objects > 0 {
                classes.push((name.clone(), of_class(found, truth, label, objects, iou_threshold)));
            }
        }
        let mean = classes.iter().map(|(_, precision)| precision).sum::<f64>() / classes.len().max(1) as f64;
        Self { iou_threshold, mean, classes }
    }
}

fn of_label(labels: &[i64], label: i64) -> impl Iterator<Item = usize> {
    labels.iter().enumerate().filter(move |(_, own)| **own == label).map(|(place, _)| place)
}

fn of_class(found: &[Detections], truth: &[Target], label: i64, objects: usize, iou_threshold: f64) -> f64 {
    // Score of each detection, and whether it is a true positive.
    let mut outcomes: Vec<(f32, bool)> = Vec::new();
    for (found, truth) in found.iter().zip(truth) {
        let mut detections: Vec<usize> = of_label(&found.labels, label).collect();
        detections.sort_by(|&one, &other| found.scores[other].total_cmp(&found.scores[one]));
        let mut free: Vec<usize> = of_label(&truth.labels, label).collect();
        for detection in detections.into_iter().take(MAX_DETECTIONS) {
            let ious = free.iter().map(|&object| found.boxes[detection].iou(&truth.boxes[object]));
            let best = ious.enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other));
            let hit = best.filter(|(_, iou)| *iou >= iou_threshold.min(1.0 - 1e-10));
            if let Some((place, _)) = hit {
                free.remove(place);
            }
            outcomes.push((found.scores[detection], hit.is_some()));
        }
    }
    outcomes.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let mut hits = 0;
    let mut curve: Vec<(f64, f64)> = Vec::with_capacity(outcomes.len());
    for (taken, (_, is_hit)) in (1..).zip(&outcomes) {
        hits += usize::from(*is_hit);
        curve.push((hits as f64 / objects as f64, hits as f64 / f64::from(taken)));
    }
    let mut best = 0.0f64;
    for (_, precision) in curve.iter_mut().rev() {
        best = best.max(*precision);
        *precision = best;
    }
    let at = |step: usize| {
        let recall = step as f64 / (RECALLS - 1) as f64;
        let place = curve.partition_point(|(reached, _)| *reached < recall);
        curve.get(place).map_or(0.0, |(_, precision)| *precision)
    };
    (0..RECALLS).map(at).sum::<f64>() / RECALLS as f64
}

impl fmt::Display for AveragePrecision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "average precision at an IoU of {:.2}: {:.3}", self.iou_threshold, self.mean)?;
        let mut classes = self.classes.clone();
        classes.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        classes.iter().try_for_each(|(name, precision)| writeln!(formatter, "{name:<10} {precision:.3}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::BoundingBox;

    fn at(left: f32) -> BoundingBox {
        BoundingBox { left, top: 0.0, right: left + 10.0, bottom: 10.0 }
    }

    fn found(detections: &[(f32, i64, f32)]) -> Detections {
        Detections {
            boxes: detections.iter().map(|(left, ..)| at(*left)).collect(),
            labels: detections.iter().map(|(_, label, _)| *label).collect(),
            scores: detections.iter().map(|(.., score)| *score).collect(),
        }
    }

    #[test]
    fn precision_is_averaged_over_recalls() {
        let names = ["background", "dog", "kite"].map(str::to_string);
        let truth = [Target { boxes: vec![at(0.0), at(50.0)], labels: vec![1, 1] }];
        for (detections, expected) in [
            // Both, and nothing else.
            (vec![(0.0, 1, 0.9), (51.0, 1, 0.8)], 1.0),
            // One of two: recalls to 0.5, which are 51 of 101, at precision 1.
            (vec![(0.0, 1, 0.9)], 51.0 / 101.0),
            // The same thing twice: the second time it is wrong; then the other one at precision 2 ÷ 3.
            (vec![(0.0, 1, 0.9), (1.0, 1, 0.8), (50.0, 1, 0.7)], (51.0 + 50.0 * 2.0 / 3.0) / 101.0),
            // A wrong one that is surer than all.
            (vec![(100.0, 1, 0.95), (0.0, 1, 0.9)], 51.0 * 0.5 / 101.0),
            // Another class, and too far away.
            (vec![(0.0, 2, 0.9), (6.0, 1, 0.9)], 0.0),
            (vec![], 0.0),
        ] {
            let precision = AveragePrecision::of(&[found(&detections)], &truth, 0.5, &names);
            assert_eq!(precision.classes.len(), 1, "the pictures show no kite");
            assert!((precision.mean - expected).abs() < 1e-9, "{detections:?}: {}", precision.mean);
        }
    }

    #[test]
    fn boxes_without_area_are_found_by_nothing_and_find_nothing() {
        let names = ["background", "dog"].map(str::to_string);
        let flat = BoundingBox { right: 0.0, ..at(0.0) };
        let truth = [Target { boxes: vec![flat, at(50.0)], labels: vec![1, 1] }];
        let found = Detections { boxes: vec![flat, at(50.0)], labels: vec![1, 1], scores: vec![0.9, 0.8] };
        let precision = AveragePrecision::of(&[found], &truth, 0.5, &names);
        // One of two, after one that is wrong.
        assert!((precision.mean - 51.0 * 0.5 / 101.0).abs() < 1e-9, "{}", precision.mean);
    }
}
