//! Image preprocessing: decode, resize, normalise.
//!
//! All results are compared with Pillow and torchvision, on whose output published weights were trained: [`decode`] equals
//! `Image.open(path).convert("RGB")` after `ImageOps.exif_transpose`, [`resize`] equals `Image.resize`, and [`Preprocess`] equals
//! torchvision's `Resize`, `CenterCrop`, `ToTensor` and `Normalize`, all within 1/255 on average.
//!
//! ```
//! use captionlab::data::{Preprocess, images};
//! # fn main() -> captionlab::Result<()> {
//! let picture = image::RgbImage::from_pixel(500, 375, image::Rgb([255, 0, 0]));
//! let smaller = images::resize(&picture, 100, 75, images::Filter::Bicubic)?;
//! assert_eq!(smaller.dimensions(), (100, 75));
//!
//! let tensor = Preprocess::imagenet().to_tensor(&picture)?;
//! assert_eq!(tensor.size(), [3, 224, 224]);
//! # Ok(())
//! # }
//! ```

mod decode;
mod jpeg;
mod preprocess;
mod resize;

#[cfg(feature = "tensors")]
pub(super) use decode::decode_source_with;
pub(super) use decode::format_of;
#[cfg(feature = "tensors")]
pub(crate) use decode::read_picture_file;
pub use decode::{MAXIMUM_PIXELS, decode, decode_bytes, decode_source};
#[cfg(feature = "tensors")]
pub(super) use preprocess::Prepared;
pub use preprocess::{Crop, Preprocess};
pub(crate) use resize::resample;
pub use resize::{Filter, resize};

/// Help for an image that cannot be used.
const REPLACE: &str = "Replace the file, or take it out of the data set.";
