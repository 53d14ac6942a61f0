//! Resizes images as Pillow does.

use fast_image_resize as resampling;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use image::RgbImage;

use super::REPLACE;
use crate::{Error, Result};

/// Resampling filter. Both are anti-aliased: when an image shrinks, the filter widens, so that every pixel contributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// A triangle: Pillow's `BILINEAR`, torchvision's default for ImageNet.
    Bilinear,
    /// Keys' cubic with a = −½: Pillow's `BICUBIC`, as in CLIP.
    Bicubic,
}

impl Filter {
    pub(super) fn options(self) -> resampling::ResizeOptions {
        let filter = match self {
            Filter::Bilinear => resampling::FilterType::Bilinear,
            Filter::Bicubic => resampling::FilterType::CatmullRom,
        };
        resampling::ResizeOptions::new().resize_alg(resampling::ResizeAlg::Convolution(filter))
    }
}

/// Resizes an image to exactly `width`×`height` pixels.
///
/// # Errors
/// [`Error::Argument`] if the image has no pixels, or a side is 0 or above 65,535.
pub fn resize(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> Result<RgbImage> {
    if !(1..=65_535).contains(&width) || !(1..=65_535).contains(&height) {
        return Err(Error::argument(
            format!("a picture cannot be resized to {width}×{height} pixels"),
            "Give a width and a height in 1..=65535.",
        ));
    }
    let mut resized = RgbImage::new(width, height);
    resample(&mut resampling::Resizer::new(), picture, &filter.options(), width, height, resized.as_mut())?;
    Ok(resized)
}

/// Resizes into `resized`, which has room for `height × width × 3` bytes. All pictures of this project are RGB of 8 bits: saying
/// so keeps the library's code for twelve other kinds of pixel out of this crate, which compiles in half the time.
pub(crate) fn resample(
    resizer: &mut resampling::Resizer,
    picture: &RgbImage,
    options: &resampling::ResizeOptions,
    width: u32,
    height: u32,
    resized: &mut [u8],
) -> Result<()> {
    let refused =
        |problem: &dyn std::fmt::Display| Error::argument(format!("the picture cannot be resized: {problem}"), REPLACE);
    if picture.width() == 0 || picture.height() == 0 {
        return Err(refused(&"it has no pixels"));
    }
    let from = TypedImageRef::<U8x3>::from_buffer(picture.width(), picture.height(), picture.as_raw())
        .map_err(|problem| refused(&problem))?;
    let mut to = TypedImage::<U8x3>::from_buffer(width, height, resized).map_err(|problem| refused(&problem))?;
    resizer.resize_typed(&from, &mut to, options).map_err(|problem| refused(&problem))
}
