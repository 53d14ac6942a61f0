//! How well detections find the things of pictures.

use std::fmt;

use serde::Serialize;

use super::{Detections, Target};

/// Average precision, class by class and over all, after the protocol of COCO (Lin et al. 2014; `pycocotools`).
///
/// The detections of a class are taken from the surest down; each finds the thing of its class that it overlaps most, if it is
/// enough and nothing surer has found it. Precision at a recall is the best that is reached at this recall or a higher one; the
/// average is over 101 recalls from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AveragePrecision {
    /// By how much a box must overlap the true one, in `0..=1`.
    pub overlap: f64,
    /// The mean over classes, in `0..=1`.
    pub mean: f64,
    /// Of each class that the pictures show, in `0..=1`, by its name.
    pub classes: Vec<(String, f64)>,
}

/// At how many recalls precision is measured.
const RECALLS: usize = 101;
/// More detections of a picture and a class are not looked at.
const MOST: usize = 100;

impl AveragePrecision {
    /// Of the detections of pictures and what is truly in them. `names` are those of the classes, by number.
    pub fn of(found: &[Detections], truth: &[Target], overlap: f64, names: &[String]) -> Self {
        let mut classes = Vec::new();
        for (label, name) in (0..).zip(names) {
            let things: usize = truth.iter().map(|target| of_label(&target.labels, label).count()).sum();
            if things > 0 {
                classes.push((name.clone(), of_class(found, truth, label, things, overlap)));
            }
        }
        let mean = classes.iter().map(|(_, precision)| precision).sum::<f64>() / classes.len().max(1) as f64;
        Self { overlap, mean, classes }
    }
}

fn of_label(labels: &[i64], label: i64) -> impl Iterator<Item = usize> {
    labels.iter().enumerate().filter(move |(_, own)| **own == label).map(|(place, _)| place)
}

fn of_class(found: &[Detections], truth: &[Target], label: i64, things: usize, least: f64) -> f64 {
    // Each detection's score, and whether it found something.
    let mut outcomes: Vec<(f32, bool)> = Vec::new();
    for (found, truth) in found.iter().zip(truth) {
        let mut detections: Vec<usize> = of_label(&found.labels, label).collect();
        detections.sort_by(|&one, &other| found.scores[other].total_cmp(&found.scores[one]));
        let mut free: Vec<usize> = of_label(&truth.labels, label).collect();
        for detection in detections.into_iter().take(MOST) {
            let overlaps = free.iter().map(|&thing| found.boxes[detection].iou(&truth.boxes[thing]));
            let best = overlaps.enumerate().max_by(|(_, one), (_, other)| one.total_cmp(other));
            let hit = best.filter(|(_, overlap)| *overlap >= least.min(1.0 - 1e-10));
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
        curve.push((hits as f64 / things as f64, hits as f64 / f64::from(taken)));
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
        writeln!(formatter, "average precision, boxes overlapping by {:.2}: {:.3}", self.overlap, self.mean)?;
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
