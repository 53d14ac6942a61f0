//! Box coding, IoU and non-maximum suppression.
//!
//! A box is `[left, top, right, bottom]` in pixels; a tensor of boxes is `[boxes, 4]`.

use tch::{Kind, Tensor};

/// Largest log-scale growth of a box in width and height, ln(1000 ÷ 16), so that `exp` stays finite.
const LARGEST_GROWTH: f64 = 4.135_166_556_742_356;

/// Encodes boxes relative to reference boxes (Ren et al. 2015, equation 2), as torchvision's `BoxCoder`.
#[derive(Debug, Clone, Copy)]
pub(super) struct BoxCoder {
    pub(super) weights: [f64; 4],
}

impl BoxCoder {
    /// The deltas from `boxes` to `targets`.
    ///
    /// # Shapes
    /// - `targets`, `boxes`: `[boxes, 4]`
    /// - result: `[boxes, 4]`
    pub(super) fn encode(&self, targets: &Tensor, boxes: &Tensor) -> Tensor {
        let (size, centre) = size_and_centre(boxes);
        let (target_size, target_centre) = size_and_centre(targets);
        let [x, y, width, height] = self.weights;
        let scale = |one: f64, other: f64| Tensor::from_slice(&[one as f32, other as f32]).to_device(boxes.device());
        let step = (target_centre - centre) / &size * scale(x, y);
        let growth = (target_size / size).log() * scale(width, height);
        Tensor::cat(&[step, growth], 1)
    }

    /// The boxes that the deltas `codes` lead to from `boxes`.
    ///
    /// # Shapes
    /// - `codes`: `[boxes, 4 × classes]`
    /// - `boxes`: `[boxes, 4]`
    /// - result: `[boxes, classes, 4]`
    pub(super) fn decode(&self, codes: &Tensor, boxes: &Tensor) -> Tensor {
        let codes = codes.reshape([boxes.size()[0], -1, 4]);
        let (size, centre) = size_and_centre(boxes);
        let (size, centre) = (size.unsqueeze(1), centre.unsqueeze(1));
        let [x, y, width, height] = self.weights;
        let part = |number: i64, weight: f64| codes.narrow(2, number, 1) / weight;
        let step = Tensor::cat(&[part(0, x), part(1, y)], 2);
        let growth = Tensor::cat(&[part(2, width), part(3, height)], 2).clamp_max(LARGEST_GROWTH);
        let centre = step * &size + centre;
        let half = growth.exp() * size * 0.5;
        Tensor::cat(&[&centre - &half, centre + half], 2)
    }
}

/// Size (width, height) and centre (x, y) of boxes, each `[boxes, 2]`.
fn size_and_centre(boxes: &Tensor) -> (Tensor, Tensor) {
    let (low, high) = (boxes.narrow(1, 0, 2), boxes.narrow(1, 2, 2));
    let size = high - &low;
    let centre = low + &size * 0.5;
    (size, centre)
}

/// The area of a box.
pub(super) fn area([left, top, right, bottom]: [f32; 4]) -> f32 {
    (right - left) * (bottom - top)
}

/// Intersection over union, in `0..=1`. [`BoundingBox::iou`](crate::data::BoundingBox::iou) in torchvision's `f32` arithmetic, on
/// which its matches depend.
pub(super) fn iou(one: [f32; 4], other: [f32; 4]) -> f32 {
    let width = (one[2].min(other[2]) - one[0].max(other[0])).max(0.0);
    let height = (one[3].min(other[3]) - one[1].max(other[1])).max(0.0);
    let common = width * height;
    // Also avoids 0 ÷ 0 for boxes without area.
    if common > 0.0 { common / (area(one) + area(other) - common) } else { 0.0 }
}

/// Copies a tensor of boxes to memory.
pub(super) fn rows(boxes: &Tensor) -> Vec<[f32; 4]> {
    let flat = values(boxes);
    flat.as_chunks().0.to_vec()
}

/// Copies the values of a tensor to memory, row by row.
pub(super) fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut values = vec![0.0; tensor.numel()];
    let count = values.len();
    tensor.copy_data(&mut values, count);
    values
}

/// A tensor `[boxes, 4]` of the boxes.
pub(super) fn tensor(boxes: &[[f32; 4]]) -> Tensor {
    Tensor::from_slice(boxes.as_flattened()).reshape([boxes.len() as i64, 4])
}

/// Clips a box to the image.
pub(super) fn clip([left, top, right, bottom]: [f32; 4], width: f32, height: f32) -> [f32; 4] {
    [left.clamp(0.0, width), top.clamp(0.0, height), right.clamp(0.0, width), bottom.clamp(0.0, height)]
}

/// Whether both sides have at least `min_side`.
pub(super) fn is_as_large([left, top, right, bottom]: [f32; 4], min_side: f32) -> bool {
    right - left >= min_side && bottom - top >= min_side
}

/// Non-maximum suppression: from the highest score down, each box drops those with an IoU above `threshold`. Returns the indices of
/// the kept boxes by decreasing score; ties keep their order.
///
/// The arithmetic is that of torchvision's `nms`, so the result is the same.
pub(super) fn nms(boxes: &[[f32; 4]], scores: &[f32], threshold: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
    // Sorted by score, so that the inner loop reads memory sequentially.
    let sorted: Vec<([f32; 4], f32)> = order.iter().map(|&place| (boxes[place], area(boxes[place]))).collect();
    let mut is_dropped = vec![false; sorted.len()];
    let mut kept = Vec::new();
    for (rank, &([left, top, right, bottom], own)) in sorted.iter().enumerate() {
        if is_dropped[rank] {
            continue;
        }
        kept.push(order[rank]);
        for (dropped, (other, area)) in is_dropped[rank + 1..].iter_mut().zip(&sorted[rank + 1..]) {
            let width = (right.min(other[2]) - left.max(other[0])).max(0.0);
            let height = (bottom.min(other[3]) - top.max(other[1])).max(0.0);
            let common = width * height;
            *dropped |= f64::from(common / (own + area - common)) > threshold;
        }
    }
    kept
}

/// As [`nms`], separately for each group; torchvision's `batched_nms`.
///
/// For few boxes torchvision offsets the groups and suppresses all at once, which rounds coordinates. This does the same, for equal
/// results.
pub(super) fn batched_nms(boxes: &[[f32; 4]], scores: &[f32], groups: &[i64], threshold: f64) -> Vec<usize> {
    /// Number of boxes above which torchvision runs NMS per group.
    const MANY: usize = 1000;
    if boxes.len() <= MANY {
        let furthest = boxes.as_flattened().iter().copied().fold(f32::NEG_INFINITY, f32::max) + 1.0;
        let apart = |([left, top, right, bottom], group): (&[f32; 4], &i64)| {
            let offset = *group as f32 * furthest;
            [left + offset, top + offset, right + offset, bottom + offset]
        };
        let apart: Vec<[f32; 4]> = boxes.iter().zip(groups).map(apart).collect();
        return nms(&apart, scores, threshold);
    }
    let mut names = groups.to_vec();
    names.sort_unstable();
    names.dedup();
    let mut kept = Vec::new();
    for name in names {
        let places: Vec<usize> = (0..boxes.len()).filter(|&place| groups[place] == name).collect();
        let of_group: Vec<[f32; 4]> = places.iter().map(|&place| boxes[place]).collect();
        let scores: Vec<f32> = places.iter().map(|&place| scores[place]).collect();
        kept.extend(nms(&of_group, &scores, threshold).into_iter().map(|place| places[place]));
    }
    kept.sort_unstable();
    kept.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_undoes_encoding() {
        let boxes = Tensor::from_slice2(&[[0f32, 0.0, 10.0, 20.0], [5.0, 5.0, 25.0, 15.0]]);
        let targets = Tensor::from_slice2(&[[1f32, 2.0, 9.0, 24.0], [0.0, 6.0, 40.0, 12.0]]);
        let coder = BoxCoder { weights: [10.0, 10.0, 5.0, 5.0] };
        let codes = coder.encode(&targets, &boxes);
        // The middle of the first moves by (0, 3), which is 0.15 of the height; the width shrinks to 0.8 of what it was.
        let expected = [0.0, 1.5, 5.0 * 0.8f32.ln(), 5.0 * 1.1f32.ln()];
        for (code, expected) in values(&codes.get(0)).into_iter().zip(expected) {
            assert!((code - expected).abs() < 1e-5, "{code} {expected}");
        }
        let back = coder.decode(&codes, &boxes).squeeze_dim(1);
        assert!((back - targets).abs().max().double_value(&[]) < 1e-4);
    }

    #[test]
    fn overlap_is_common_area_over_all_area() {
        let own = [0.0, 0.0, 10.0, 10.0];
        for (other, expected) in
            [([0.0, 0.0, 10.0, 10.0], 1.0), ([5.0, 0.0, 15.0, 10.0], 1.0 / 3.0), ([20.0, 20.0, 30.0, 30.0], 0.0)]
        {
            assert!((iou(own, other) - expected).abs() < 1e-6, "{other:?}");
        }
        assert_eq!(iou([3.0; 4], [3.0; 4]), 0.0);
    }

    #[test]
    fn of_boxes_that_overlap_the_best_is_kept_in_each_group() {
        let boxes = [[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 0.0, 60.0, 10.0]];
        assert_eq!(nms(&boxes, &[0.5, 0.9, 0.1], 0.5), [1, 2]);
        assert_eq!(nms(&boxes, &[0.5, 0.5, 0.1], 0.5), [0, 2]);
        assert_eq!(nms(&boxes, &[0.5, 0.9, 0.1], 0.9), [1, 0, 2]);
        assert_eq!(batched_nms(&boxes, &[0.5, 0.9, 0.1], &[1, 2, 2], 0.5), [1, 0, 2]);
        assert!(batched_nms(&[], &[], &[], 0.5).is_empty());
        // So many that they go group by group: each of 600 places has two boxes of a group, and one of another.
        let many: Vec<[f32; 4]> = (0..600)
            .flat_map(|place| {
                [0.0, 1.0, 2.0].map(|step| {
                    let left = 100.0 * place as f32 + step;
                    [left, 0.0, left + 50.0, 50.0]
                })
            })
            .collect();
        let scores: Vec<f32> = (0..many.len()).map(|place| 1.0 - place as f32 / 2000.0).collect();
        let groups: Vec<i64> = (0..many.len()).map(|place| i64::from(place % 3 == 2)).collect();
        let expected: Vec<usize> = (0..many.len()).filter(|place| place % 3 != 1).collect();
        assert_eq!(batched_nms(&many, &scores, &groups, 0.5), expected);
    }
}
