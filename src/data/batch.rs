//! Captions and images as tensors.

use image::RgbImage;
use tch::{Device, Kind, Tensor};

use super::{Preprocess, Vocabulary};
use crate::{Error, Result};

/// Pads rows of word ids with [`Vocabulary::PAD`] to a tensor `[captions, longest]` of `i64`.
///
/// ```
/// use captionlab::data::pad;
/// let batch = pad(&[vec![1, 7, 2], vec![1, 7, 9, 8, 2]]);
/// assert_eq!(batch.size(), [2, 5]);
/// assert_eq!(Vec::<i64>::try_from(batch.get(0))?, [1, 7, 2, 0, 0]);
/// # Ok::<(), captionlab::Error>(())
/// ```
pub fn pad(rows: &[Vec<i64>]) -> Tensor {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let filled = rows.iter().flat_map(|row| {
        let padding = std::iter::repeat_n(Vocabulary::PAD, longest - row.len());
        row.iter().copied().chain(padding)
    });
    Tensor::from_slice(&filled.collect::<Vec<i64>>()).view([rows.len() as i64, longest as i64])
}

impl Preprocess {
    /// Preprocesses an image to a tensor `[3, size, size]` of `f32` on the CPU.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub fn to_tensor(&self, picture: &RgbImage) -> Result<Tensor> {
        let side = i64::from(self.size);
        Ok(Tensor::from_slice(&self.apply(picture)?).f_view([3, side, side])?)
    }

    /// Converts a normalised tensor `[3, height, width]` back to an image.
    ///
    /// # Errors
    /// [`Error::Argument`] if the tensor has another shape.
    pub fn to_picture(&self, tensor: &Tensor) -> Result<RgbImage> {
        self.validate()?;
        let &[3, height, width] = tensor.size().as_slice() else {
            return Err(Error::argument(
                format!("a picture is a tensor [3, height, width]; this one is {:?}", tensor.size()),
                "Take one picture out of a batch with `batch.images.get(0)`.",
            ));
        };
        let statistic = |values: &[f32; 3]| Tensor::from_slice(values).f_view([3, 1, 1]);
        let values = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        let values = values.f_mul(&statistic(&self.standard_deviation)?)?.f_add(&statistic(&self.mean)?)?;
        let values = values.f_mul_scalar(255.0)?.f_round()?.f_clamp(0.0, 255.0)?.f_to_kind(Kind::Uint8)?;
        let bytes = Vec::<u8>::try_from(values.f_permute([1, 2, 0])?.f_contiguous()?.f_view(-1)?)?;
        RgbImage::from_raw(width as u32, height as u32, bytes)
            .ok_or_else(|| Error::argument("the tensor is too large for a picture", "Give one picture."))
    }
}
