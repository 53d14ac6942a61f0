//! CLIP (Radford et al. 2021, *Learning Transferable Visual Models From Natural Language Supervision*, arXiv 2103.00020): an image
//! tower and a text tower with a joint embedding space, in which matching images and texts are close.
//!
//! ```
//! use captionlab::vision::{Clip, ClipConfig};
//! use captionlab::{Device, Tensor};
//!
//! let clip = Clip::new(&ClipConfig::tiny(), 1, Device::Cpu)?;
//! let pictures = Tensor::zeros([2, 3, 128, 128], (tch::Kind::Float, Device::Cpu));
//! let texts = Tensor::from_slice2(&[[0i64, 7, 8, 1], [0, 9, 1, 1], [0, 7, 7, 1]]);
//! assert_eq!(clip.encode_image(&pictures)?.size(), [2, 128]);
//! assert_eq!(clip.encode_text(&texts)?.size(), [3, 128]);
//! assert_eq!(clip.logits(&pictures, &texts)?.size(), [2, 3]);
//! # Ok::<(), captionlab::Error>(())
//! ```

#[cfg(feature = "clip-text")]
mod byte_pairs;
mod config;
#[cfg(feature = "clip-text")]
mod evaluation;
mod load;
mod openai;
mod published;
#[cfg(feature = "clip-text")]
mod tokenizer;
mod towers;
#[cfg(feature = "clip-text")]
mod training;
mod transformer;

pub(crate) use published::lies_beside as has_settings_beside;

pub use config::{Activation, ClipConfig, ClipImageConfig, ClipTextConfig, TransformerConfig};
#[cfg(feature = "clip-text")]
pub use evaluation::{ClipEvaluation, evaluate_clip};
#[cfg(feature = "clip-text")]
pub use tokenizer::ClipTokenizer;
#[cfg(feature = "clip-text")]
pub(crate) use tokenizer::filled;
pub(crate) use towers::{Towers, normalised};
#[cfg(feature = "clip-text")]
pub use training::{ClipTraining, TrainedClip};

use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::data::BoundingBox;
use crate::nn::{ComputeDtype, Network, Weights};
use crate::{Error, Result};
use towers::ImageTower;

/// An image tower and a text tower with a joint embedding space.
///
/// Weights are named as in Hugging Face's `CLIPModel`.
#[derive(Debug)]
pub struct Clip {
    config: ClipConfig,
    weights: Weights,
    towers: Towers,
    dtype: ComputeDtype,
    /// The image tower in a dtype other than `float32`.
    reduced: Option<ImageTower>,
}

impl Clip {
    /// Creates an untrained CLIP, initialised from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is outside its range.
    pub fn new(config: &ClipConfig, seed: u64, device: Device) -> Result<Self> {
        Self::with(config, Weights::new(seed, device))
    }

    fn with(config: &ClipConfig, mut weights: Weights) -> Result<Self> {
        config.validate()?;
        let towers = Towers::new(config, &mut weights);
        Ok(Self { config: config.clone(), weights, towers, dtype: ComputeDtype::Single, reduced: None })
    }

    /// Runs the image tower in another dtype, on a snapshot of its weights; the text tower stays in `float32`.
    #[must_use]
    pub fn with_dtype(self, dtype: ComputeDtype) -> Self {
        let reduced = (dtype != ComputeDtype::Single).then(|| self.towers.image().copy_in(dtype.kind()));
        Self { dtype, reduced, ..self }
    }

    /// Moves the model to another device.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the weights cannot be copied there.
    pub fn to_device(self, device: Device) -> Result<Self> {
        if device == self.device() {
            return Ok(self);
        }
        let mut moved = Self::with(&self.config, Weights::to_assign(device))?;
        moved.weights.assign(&self.weights.named().into_iter().collect(), Path::new("memory"))?;
        Ok(moved.with_dtype(self.dtype))
    }

    /// A handle for another thread, which shares the weights.
    pub(crate) fn worker_handle(&self) -> Self {
        Self {
            config: self.config.clone(),
            weights: self.weights.handle(),
            towers: self.towers.worker_handle(false),
            dtype: self.dtype,
            reduced: self.reduced.as_ref().map(|tower| tower.worker_handle(false)),
        }
    }

    /// The hyperparameters.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// The weights by name.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    #[cfg(feature = "clip-text")]
    pub(crate) fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    #[cfg(feature = "clip-text")]
    pub(crate) fn towers(&self) -> &Towers {
        &self.towers
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.weights.device()
    }

    /// Preprocesses images: resizes the shorter side, crops the centre, normalises.
    ///
    /// # Shapes
    /// - result: `[pictures, 3, image_size, image_size]`
    ///
    /// # Errors
    /// [`Error::Argument`] when there are no images, or one has no pixels.
    pub fn prepare(&self, pictures: &[RgbImage]) -> Result<Tensor> {
        let preprocess = self.config.preprocess();
        let prepared = pictures.par_iter().map(|picture| preprocess.to_tensor(picture)).collect::<Result<Vec<_>>>()?;
        if prepared.is_empty() {
            return Err(Error::argument("there are no pictures to prepare", "Give at least one."));
        }
        Ok(Tensor::f_stack(&prepared, 0)?)
    }

    /// Crops and preprocesses regions of an image. Boxes are widened to whole pixels and clipped to the image.
    ///
    /// # Shapes
    /// - result: `[regions, 3, image_size, image_size]`
    ///
    /// # Errors
    /// [`Error::Argument`] when there are no regions, or one is empty or outside the image.
    pub fn prepare_regions(&self, picture: &RgbImage, regions: &[BoundingBox]) -> Result<Tensor> {
        self.prepare(&regions.iter().map(|region| region.crop(picture)).collect::<Result<Vec<_>>>()?)
    }

    /// Image features, as `CLIPModel.get_image_features`, without gradients.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, image_size, image_size]`, preprocessed as by [`ClipConfig::preprocess`]
    /// - result: `[batch, embedding_size]`
    ///
    /// # Errors
    /// [`Error::Argument`] when `pictures` has another shape.
    pub fn encode_image(&self, pictures: &Tensor) -> Result<Tensor> {
        let side = self.config.image.image_size as i64;
        let shape = pictures.size();
        if shape.len() != 4 || shape[0] == 0 || shape[1..] != [3, side, side] {
            return Err(Error::argument(
                format!("the pictures are {shape:?}, but this CLIP expects [batch, 3, {side}, {side}]"),
                "Prepare them with the `preprocess` of its configuration.",
            ));
        }
        let pictures = pictures.f_to_device(self.device())?.f_to_kind(Kind::Float)?;
        Ok(tch::no_grad(|| match &self.reduced {
            Some(tower) => tower.forward(&pictures),
            None => self.towers.encode_image(&pictures),
        }))
    }

    /// Text features, as `CLIPModel.get_text_features`, without gradients.
    ///
    /// Tokens after the end token are ignored, so texts may be padded with any token.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, length]` of integers; `length` is at most the context length
    /// - result: `[batch, embedding_size]`
    ///
    /// # Errors
    /// [`Error::Argument`] when `tokens` has another shape or contains an id outside the vocabulary.
    pub fn encode_text(&self, tokens: &Tensor) -> Result<Tensor> {
        let ClipTextConfig { context, vocabulary_size, .. } = self.config.text;
        let shape = tokens.size();
        if shape.len() != 2 || shape[0] == 0 || !(1..=context as i64).contains(&shape[1]) {
            return Err(Error::argument(
                format!(
                    "the tokens are {shape:?}, but this CLIP expects [batch, length] with a length of 1 to {context}"
                ),
                "Use its tokenizer, which truncates long texts.",
            ));
        }
        let tokens = tokens.f_to_device(self.device())?.f_to_kind(Kind::Int64)?;
        let (low, high) = (tokens.f_min()?.f_int64_value(&[])?, tokens.f_max()?.f_int64_value(&[])?);
        if low < 0 || high >= vocabulary_size as i64 {
            let wrong = if low < 0 { low } else { high };
            return Err(Error::argument(
                format!("the tokens contain the id {wrong}, but the vocabulary has 0..{vocabulary_size}"),
                "Use the tokenizer that belongs to these weights.",
            ));
        }
        Ok(tch::no_grad(|| self.towers.encode_text(&tokens)))
    }

    /// The factor of the cosines in the logits, the inverse of the temperature.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device fails.
    pub fn logit_scale(&self) -> Result<f64> {
        Ok(self.towers.logit_scale().f_double_value(&[])?.exp())
    }

    /// Logits of each image–text pair: the cosine of their features times [`Clip::logit_scale`].
    ///
    /// # Shapes
    /// - `pictures`: as for [`Clip::encode_image`]
    /// - `tokens`: as for [`Clip::encode_text`]
    /// - result: `[pictures, texts]`, the `logits_per_image` of `CLIPModel`
    ///
    /// # Errors
    /// As [`Clip::encode_image`] and [`Clip::encode_text`].
    pub fn logits(&self, pictures: &Tensor, tokens: &Tensor) -> Result<Tensor> {
        let images = normalised(&self.encode_image(pictures)?);
        let texts = normalised(&self.encode_text(tokens)?);
        Ok(images.f_matmul(&texts.f_transpose(0, 1)?)? * self.logit_scale()?)
    }
}
