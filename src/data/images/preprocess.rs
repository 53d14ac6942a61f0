//! Preprocessing for networks: crop, resize, normalise.

use fast_image_resize as resampling;
use image::RgbImage;

use super::REPLACE;
use super::resize::{Filter, resample};
use crate::{Error, Result};

/// The part of an image that a network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    /// The whole image, stretched to a square.
    Stretch,
    /// Resizes to the given shorter side and crops the central square, as torchvision does.
    Centre {
        /// Shorter side of the resized image in pixels, in `size..=8192`.
        shorter_side: u32,
    },
    /// As [`Crop::Centre`], but rounds odd offsets down (left and up), as the image processors of transformers do.
    CentreRoundedDown {
        /// Shorter side of the resized image in pixels, in `size..=8192`.
        shorter_side: u32,
    },
}

/// Preprocessing of an image for a network: resize, crop to a square, scale to 0..1, normalise by `(value − mean) ÷ standard
/// deviation` per channel. Weights need the preprocessing that they were trained with.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Preprocess {
    /// Side of the resulting square in pixels, in `1..=8192`.
    pub size: u32,
    /// Resampling filter.
    pub filter: Filter,
    /// The part of the image that is used.
    pub crop: Crop,
    /// Mean of red, green and blue, on the scale 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, on the scale 0..1.
    pub standard_deviation: [f32; 3],
}

impl Preprocess {
    /// ImageNet classifiers of torchvision: shorter side to 256, central 224×224.
    pub fn imagenet() -> Self {
        Self {
            size: 224,
            filter: Filter::Bilinear,
            crop: Crop::Centre { shorter_side: 256 },
            mean: [0.485, 0.456, 0.406],
            standard_deviation: [0.229, 0.224, 0.225],
        }
    }

    /// EfficientNet-Lite0, as its authors evaluate it: bicubic, the central square without a border of an eighth, values from
    /// (0 − 127) ÷ 128 to 1.
    pub fn efficientnet() -> Self {
        Self {
            size: 224,
            filter: Filter::Bicubic,
            crop: Crop::Centre { shorter_side: 256 },
            mean: [127.0 / 255.0; 3],
            standard_deviation: [128.0 / 255.0; 3],
        }
    }

    /// OpenAI's CLIP ViT-B/32: shorter side to 224, bicubic, central 224×224.
    pub fn clip() -> Self {
        Self {
            size: 224,
            filter: Filter::Bicubic,
            crop: Crop::Centre { shorter_side: 224 },
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            standard_deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// The project's own networks: the whole image at `size`×`size` pixels, values in −1..1.
    pub fn scenes(size: u32) -> Self {
        Self { size, filter: Filter::Bilinear, crop: Crop::Stretch, mean: [0.5; 3], standard_deviation: [0.5; 3] }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        if !(1..=8192).contains(&self.size) {
            return Err(Error::config("preprocess.size", self.size, "must be in 1..=8192"));
        }
        if let Crop::Centre { shorter_side } | Crop::CentreRoundedDown { shorter_side } = self.crop
            && !(self.size..=8192).contains(&shorter_side)
        {
            let expected = format!("must be in {}..=8192, as {0} pixels are cut out of it", self.size);
            return Err(Error::config("preprocess.crop.shorter_side", shorter_side, expected));
        }
        if !self.mean.iter().all(|value| value.is_finite()) {
            return Err(Error::config("preprocess.mean", format!("{:?}", self.mean), "must be three finite numbers"));
        }
        if !self.standard_deviation.iter().all(|&value| value.is_finite() && value > 0.0) {
            return Err(Error::config(
                "preprocess.standard_deviation",
                format!("{:?}", self.standard_deviation),
                "must be three finite numbers above 0",
            ));
        }
        Ok(())
    }

    /// The resized and cropped image of `size`×`size` pixels, before normalisation.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is outside its range, [`Error::Argument`] if the image has no pixels.
    pub fn cut(&self, picture: &RgbImage) -> Result<RgbImage> {
        let mut prepared = Prepared::new(self)?;
        prepared.resample(picture)?;
        RgbImage::from_raw(self.size, self.size, prepared.cut)
            .ok_or_else(|| Error::argument("the picture could not be cut", REPLACE))
    }

    /// The normalised values `[3, size, size]`, in row-major order.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub fn apply(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        let mut prepared = Prepared::new(self)?;
        prepared.resample(picture)?;
        Ok(prepared.values().collect())
    }

    /// The rectangle of a `width`×`height` image that becomes the square: left, top, width, height.
    ///
    /// Cropping before resizing computes only the pixels that are kept. The result is the same, because the filter reads across the
    /// rectangle's edges.
    fn rectangle(&self, width: u32, height: u32) -> [f64; 4] {
        let (shorter_side, round): (_, fn(f64) -> f64) = match self.crop {
            Crop::Stretch => return [0.0, 0.0, f64::from(width), f64::from(height)],
            Crop::Centre { shorter_side } => (shorter_side, f64::round_ties_even),
            Crop::CentreRoundedDown { shorter_side } => (shorter_side, f64::floor),
        };
        let shorter = u64::from(width.min(height));
        // Rounds as torchvision: the longer side down, the offset half to even.
        let span = |side: u32| {
            let resized = (u64::from(shorter_side) * u64::from(side) / shorter) as f64;
            let scale = f64::from(side) / resized;
            let start = round((resized - f64::from(self.size)) / 2.0) * scale;
            (start, (f64::from(self.size) * scale).min(f64::from(side) - start))
        };
        let ((left, width), (top, height)) = (span(width), span(height));
        [left, top, width, height]
    }
}

/// A [`Preprocess`] for many images, with precomputed tables and reused buffers.
pub(in crate::data) struct Prepared {
    preprocess: Preprocess,
    /// The normalised value of each byte, per channel.
    tables: [[f32; 256]; 3],
    resizer: resampling::Resizer,
    /// The last image, `size`×`size` pixels, RGB.
    cut: Vec<u8>,
}

impl Prepared {
    pub(in crate::data) fn new(preprocess: &Preprocess) -> Result<Self> {
        preprocess.validate()?;
        let table = |channel: usize| {
            let (mean, deviation) = (preprocess.mean[channel], preprocess.standard_deviation[channel]);
            std::array::from_fn(|value| (value as f32 / 255.0 - mean) / deviation)
        };
        let side = preprocess.size as usize;
        Ok(Self {
            preprocess: preprocess.clone(),
            tables: [table(0), table(1), table(2)],
            resizer: resampling::Resizer::new(),
            cut: vec![0; side * side * 3],
        })
    }

    fn resample(&mut self, picture: &RgbImage) -> Result<()> {
        let Preprocess { size, filter, .. } = self.preprocess;
        let [left, top, width, height] = self.preprocess.rectangle(picture.width().max(1), picture.height().max(1));
        // fast_image_resize 6.1.0 leaves out the pixels that the last row and column give no weight, although those before them need
        // them. A rectangle that is smaller by next to nothing has no weight of exactly 0.
        let [left, top, width, height] = [left, top, width, height].map(|value| value * (1.0 - 1e-9));
        let options = filter.options().crop(left, top, width, height);
        resample(&mut self.resizer, picture, &options, size, size, &mut self.cut)
    }

    /// The normalised values of the last image, channel by channel.
    fn values(&self) -> impl Iterator<Item = f32> {
        self.tables
            .iter()
            .enumerate()
            .flat_map(|(channel, table)| self.cut.chunks_exact(3).map(move |pixel| table[usize::from(pixel[channel])]))
    }

    /// Writes the normalised values of an image, channel by channel. `values` has length `3 × size × size`; all of it is written, or an
    /// error is returned.
    #[cfg(feature = "tensors")]
    pub(in crate::data) fn write(
        &mut self,
        picture: &RgbImage,
        values: &mut [std::mem::MaybeUninit<f32>],
    ) -> Result<()> {
        self.resample(picture)?;
        let plane = self.cut.len() / 3;
        assert_eq!(values.len(), self.cut.len());
        for (channel, (plane, table)) in values.chunks_exact_mut(plane).zip(&self.tables).enumerate() {
            for (value, pixel) in plane.iter_mut().zip(self.cut.chunks_exact(3)) {
                value.write(table[usize::from(pixel[channel])]);
            }
        }
        Ok(())
    }
}
