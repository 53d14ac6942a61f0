//! Preparation of image batches.

use image::RgbImage;
use tch::{Device, Kind, Tensor};

use super::FasterRcnnConfig;
use crate::{Error, Result};

/// A batch of images: resized, normalised and padded to one size.
#[derive(Debug)]
pub(super) struct PictureBatch {
    /// `[batch, 3, height, width]`
    pub(super) pictures: Tensor,
    /// Height and width of each image after resizing.
    pub(super) sizes: Vec<(i64, i64)>,
    /// Height and width of each original image.
    pub(super) originals: Vec<(i64, i64)>,
}

impl PictureBatch {
    /// Height and width of the batch.
    pub(super) fn padded(&self) -> (i64, i64) {
        let size = self.pictures.size();
        (size[2], size[3])
    }

    /// Original pixels per resized pixel, horizontally and vertically.
    pub(super) fn scale(&self, picture: usize) -> (f32, f32) {
        let ((height, width), (own_height, own_width)) = (self.sizes[picture], self.originals[picture]);
        (own_width as f32 / width as f32, own_height as f32 / height as f32)
    }
}

/// Height and width of the batch are multiples of this (torchvision's `size_divisible`), so that each level halves the one before.
const MULTIPLE: i64 = 32;

/// As torchvision's `GeneralizedRCNNTransform`: normalises, resizes bilinearly without antialiasing, pads with zeros.
pub(super) fn batch(pictures: &[RgbImage], config: &FasterRcnnConfig, device: Device) -> Result<PictureBatch> {
    let statistic = |values: &[f32; 3]| Tensor::from_slice(values).reshape([3, 1, 1]).to_device(device);
    let (mean, deviation) = (statistic(&config.mean), statistic(&config.standard_deviation));
    let (mut resized, mut sizes, mut originals) = (Vec::new(), Vec::new(), Vec::new());
    for picture in pictures {
        let (height, width) = (i64::from(picture.height()), i64::from(picture.width()));
        if height == 0 || width == 0 {
            return Err(Error::argument("an image has no pixels", "Leave it out."));
        }
        let (shorter, longer) = (height.min(width) as f64, height.max(width) as f64);
        let scale = (f64::from(config.shorter_side) / shorter).min(f64::from(config.longest_side) / longer);
        let side = |side: i64| ((side as f64 * scale).floor() as i64).max(1);
        let size = (side(height), side(width));
        let bytes = Tensor::from_slice(picture.as_raw()).to_device(device).reshape([height, width, 3]);
        let values = bytes.permute([2, 0, 1]).to_kind(Kind::Float).contiguous() / 255.0;
        let values = ((values - &mean) / &deviation).unsqueeze(0);
        resized.push(match size == (height, width) {
            true => values,
            false => values.upsample_bilinear2d([size.0, size.1], false, None, None),
        });
        sizes.push(size);
        originals.push((height, width));
    }
    let largest = |of: fn(&(i64, i64)) -> i64| sizes.iter().map(of).max().unwrap_or(1);
    let up = |side: i64| side.div_euclid(MULTIPLE) + i64::from(side % MULTIPLE > 0);
    let (height, width) = (MULTIPLE * up(largest(|size| size.0)), MULTIPLE * up(largest(|size| size.1)));
    let pad = |(picture, (own_height, own_width)): (Tensor, &(i64, i64))| {
        picture.constant_pad_nd([0, width - own_width, 0, height - own_height])
    };
    let pictures: Vec<Tensor> = resized.into_iter().zip(&sizes).map(pad).collect();
    Ok(PictureBatch { pictures: Tensor::cat(&pictures, 0), sizes, originals })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_resized_within_both_limits_and_padded_to_the_largest() {
        let config = FasterRcnnConfig { shorter_side: 64, longest_side: 100, ..FasterRcnnConfig::tiny() };
        let pictures = [(40, 20), (20, 300), (1, 1), (1, 5000)].map(|(width, height)| RgbImage::new(width, height));
        let batch = batch(&pictures, &config, Device::Cpu).unwrap();
        assert_eq!(batch.sizes, [(50, 100), (100, 6), (64, 64), (100, 1)]);
        assert_eq!(batch.pictures.size(), [4, 3, 128, 128]);
        assert!(super::batch(&[RgbImage::new(0, 4)], &config, Device::Cpu).is_err());
        // Black is (0 − 0.5) ÷ 0.25; padding is 0.
        assert_eq!(batch.pictures.double_value(&[0, 0, 49, 99]), -2.0);
        assert_eq!(batch.pictures.double_value(&[0, 0, 50, 99]), 0.0);
    }
}
