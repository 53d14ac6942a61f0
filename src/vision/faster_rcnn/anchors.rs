//! Anchor generation.

use tch::{Device, Kind, Tensor};

/// Generates the anchors of all levels, as torchvision's `AnchorGenerator`.
///
/// Each level has one size, and at each position one anchor per aspect ratio (height ÷ width), centred on a multiple of the stride
/// (Lin et al. 2017, *Feature Pyramid Networks*, section 4.1).
///
/// # Shapes
/// - `maps`: height and width of each level's feature map
/// - `picture`: height and width of the batch, with padding
/// - results, one per level: `[height × width × ratios, 4]`, row by row, the ratios of a position together
pub(super) fn anchors(
    maps: &[(i64, i64)],
    picture: (i64, i64),
    sizes: &[f64],
    shapes: &[f64],
    device: Device,
) -> Vec<Tensor> {
    let of_map = |(&(height, width), &size): (&(i64, i64), &f64)| {
        let corners = |&shape: &f64| {
            let root = (shape as f32).sqrt();
            let (width, height) = (size as f32 * (1.0 / root), size as f32 * root);
            [-width, -height, width, height].map(|side| (side / 2.0).round_ties_even())
        };
        let corners: Vec<f32> = shapes.iter().flat_map(corners).collect();
        let corners = Tensor::from_slice(&corners).reshape([1, -1, 4]).to_device(device);
        let steps = |count: i64, stride: i64| Tensor::arange(count, (Kind::Float, device)) * stride;
        let across = steps(width, picture.1 / width).reshape([1, width]).expand([height, width], false);
        let down = steps(height, picture.0 / height).reshape([height, 1]).expand([height, width], false);
        let places = Tensor::stack(&[&across, &down, &across, &down], 2).reshape([-1, 1, 4]);
        (places + corners).reshape([-1, 4])
    };
    maps.iter().zip(sizes).map(of_map).collect()
}

#[cfg(test)]
mod tests {
    use super::super::boxes::rows;
    use super::*;

    #[test]
    fn anchors_stand_around_the_places_of_a_map() {
        let anchors = anchors(&[(2, 3)], (32, 48), &[32.0], &[0.5, 1.0, 2.0], Device::Cpu);
        let rows = rows(&anchors[0]);
        assert_eq!(rows.len(), 2 * 3 * 3);
        // As torchvision's AnchorGenerator rounds them.
        assert_eq!(rows[..3], [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0], [-11.0, -23.0, 11.0, 23.0]]);
        assert_eq!(rows[4], [0.0, -16.0, 32.0, 16.0]);
        assert_eq!(rows[10], [-16.0, 0.0, 16.0, 32.0]);
    }
}
