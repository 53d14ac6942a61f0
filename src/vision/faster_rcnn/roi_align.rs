//! RoIAlign (He et al. 2017, *Mask R-CNN*, section 3).

use tch::{Device, Kind, Tensor};

/// Samples along each side of a cell; torchvision's `sampling_ratio`.
const SAMPLES: i64 = 2;

/// Pools `size` × `size` cells from the map within each box.
///
/// A cell is the mean of 2 × 2 bilinear samples. As torchvision's `roi_align` with `aligned = false`: boxes are scaled without a shift
/// by half a pixel, and are at least one pixel of the map wide and high.
///
/// Computed as one weighted sum of 16 positions per cell, so gradients flow to the map.
///
/// # Shapes
/// - `map`: `[batch, channels, height, width]`
/// - `boxes`: `[boxes, 4]`, in pixels of the image
/// - `pictures`: `[boxes]` of `i64`, the image of each box in the batch
/// - result: `[boxes, channels, size, size]`
pub(super) fn roi_align(map: &Tensor, boxes: &Tensor, pictures: &Tensor, scale: f64, size: i64) -> Tensor {
    let [_, channels, height, width] = map.size()[..] else { unreachable!("a map has four dimensions") };
    let count = boxes.size()[0];
    if count == 0 {
        return Tensor::zeros([0, channels, size, size], (Kind::Float, map.device()));
    }
    let boxes = boxes * scale;
    let (columns, across) = samples(&boxes.select(1, 0), &boxes.select(1, 2), width, size);
    let (rows, down) = samples(&boxes.select(1, 1), &boxes.select(1, 3), height, size);
    // [boxes, cells down, cells across, places down, places across]
    let lines = (pictures.reshape([-1, 1, 1]) * height + rows) * width;
    let places = lines.reshape([count, size, 1, -1, 1]) + columns.reshape([count, 1, size, 1, -1]);
    let shares = down.reshape([count, size, 1, -1, 1]) * across.reshape([count, 1, size, 1, -1]);
    let cells = count * size * size;
    let (places, shares) = (places.reshape([cells, -1]), shares.reshape([cells, -1]));
    let rows = map.permute([0, 2, 3, 1]).reshape([-1, channels]);
    let offsets = Tensor::arange(cells, (Kind::Int64, map.device())) * places.size()[1];
    const SUM: i64 = 0;
    let (sums, ..) = Tensor::embedding_bag(
        &rows,
        &places.flatten(0, 1),
        &offsets,
        false,
        SUM,
        false,
        Some(&shares.flatten(0, 1)),
        false,
    );
    sums.reshape([count, size, size, channels]).permute([0, 3, 1, 2])
}

/// Positions and weights of the samples along one side of the boxes.
///
/// # Shapes
/// - `from`, `to`: `[boxes]`, in pixels of the map
/// - results: `[boxes, cells, 2 × samples]`
fn samples(from: &Tensor, to: &Tensor, length: i64, cells: i64) -> (Tensor, Tensor) {
    let device: Device = from.device();
    let arange = |count: i64| Tensor::arange(count, (Kind::Float, device));
    let cell = ((to - from).clamp_min(1.0) / cells as f64).reshape([-1, 1, 1]);
    let step = (arange(SAMPLES) + 0.5) / SAMPLES as f64;
    let at = from.reshape([-1, 1, 1]) + arange(cells).reshape([1, -1, 1]) * &cell + step.reshape([1, 1, -1]) * cell;
    // Samples more than one pixel outside count as zero.
    let is_inside = at.ge(-1.0).logical_and(&at.le(length as f64)).to_kind(Kind::Float) / SAMPLES as f64;
    let at = at.clamp(0.0, (length - 1) as f64);
    let low = at.floor();
    let to_high = at - &low;
    let low = low.to_kind(Kind::Int64);
    let high = (&low + 1).clamp_max(length - 1);
    let shares = Tensor::stack(&[&is_inside * (1.0 - &to_high), &is_inside * &to_high], 3);
    (Tensor::stack(&[low, high], 3).flatten(2, 3), shares.flatten(2, 3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::faster_rcnn::boxes::values;

    #[test]
    fn a_slope_is_sampled_where_the_cells_are() {
        // The value of a place is its column.
        let map = Tensor::arange(8, (Kind::Float, Device::Cpu)).expand([1, 1, 6, 8], false);
        let boxes = Tensor::from_slice2(&[[2f32, 1.0, 6.0, 5.0], [0.0, 0.0, 4.0, 4.0]]);
        let pictures = Tensor::from_slice(&[0i64, 0]);
        let cells = roi_align(&map, &boxes, &pictures, 1.0, 2);
        assert_eq!(cells.size(), [2, 1, 2, 2]);
        // Cells of the first box cover columns 2 to 4 and 4 to 6: their middles are 3 and 5.
        assert_eq!(values(&cells.get(0)), [3.0, 5.0, 3.0, 5.0]);
        assert_eq!(values(&cells.get(1)), [1.0, 3.0, 1.0, 3.0]);
    }

    #[test]
    fn gradients_flow_to_the_places_that_were_sampled() {
        let map = Tensor::zeros([2, 1, 4, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let boxes = Tensor::from_slice2(&[[0f32, 0.0, 2.0, 2.0]]);
        let cells = roi_align(&map, &boxes, &Tensor::from_slice(&[1i64]), 1.0, 1);
        let gradients = Tensor::run_backward(&[cells.sum(Kind::Float)], &[&map], false, false);
        let of_picture = |picture: i64| gradients[0].get(picture).sum(Kind::Float).double_value(&[]);
        assert_eq!((of_picture(0), of_picture(1)), (0.0, 1.0));
    }
}
