//! A small convolutional network over the whole image, trained together with the model that uses it.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::nn::convolution::{Geometry, NormalisedConvolution};
use crate::nn::{Linear, Normalisation, Weights, network};
use crate::{Error, Result};

/// Hyperparameters of a [`SmallCnn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SmallCnnConfig {
    /// Width and height of the input in pixels, at most 1024: a multiple of the product of all strides, at least twice that product.
    /// Default: 96.
    pub image_size: usize,
    /// Channels of each layer, 1 to 8 layers, each in `1..=4096`. Default: 32, 64, 128, 128.
    pub channels: Vec<usize>,
    /// Stride of each layer: 1, 2 or 4. Kernels are 5×5 for stride 4, else 3×3. Default: 4, 2, 2, 1.
    pub strides: Vec<usize>,
    /// Feature dimension, in `1..=16384`. Default: 1024.
    pub feature_size: usize,
}

impl Default for SmallCnnConfig {
    fn default() -> Self {
        Self { image_size: 96, channels: vec![32, 64, 128, 128], strides: vec![4, 2, 2, 1], feature_size: 1024 }
    }
}

impl SmallCnnConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        let layers = |values: &[usize]| format!("{values:?}");
        if self.channels.is_empty() || self.channels.len() > 8 {
            return Err(Error::config("channels", layers(&self.channels), "must name 1 to 8 layers"));
        }
        if self.channels.iter().any(|channels| !(1..=4096).contains(channels)) {
            return Err(Error::config("channels", layers(&self.channels), "every layer must have 1 to 4096"));
        }
        if self.strides.len() != self.channels.len() || self.strides.iter().any(|stride| ![1, 2, 4].contains(stride)) {
            let expected = format!("must name a 1, 2 or 4 for each of the {} layers", self.channels.len());
            return Err(Error::config("strides", layers(&self.strides), expected));
        }
        let shrink: usize = self.strides.iter().product();
        // At least 2×2 positions: batch normalisation needs several values per channel, even for one image.
        if !self.image_size.is_multiple_of(shrink) || self.image_size < 2 * shrink || self.image_size > 1024 {
            let expected = format!("must be a multiple of {shrink} (the strides) in {}..=1024", 2 * shrink);
            return Err(Error::config("image_size", self.image_size, expected));
        }
        if !(1..=16_384).contains(&self.feature_size) {
            return Err(Error::config("feature_size", self.feature_size, "must be in 1..=16384"));
        }
        Ok(())
    }
}

/// Layers of convolution, batch normalisation (Ioffe & Szegedy 2015) and ReLU, then global max pooling and a linear layer with ReLU.
///
/// Max pooling makes the features independent of positions: what was learnt in one corner is recognised in another.
#[derive(Debug)]
pub struct SmallCnn {
    config: SmallCnnConfig,
    layers: Vec<NormalisedConvolution>,
    projection: Linear,
}

network!(SmallCnn { layers, projection; config });

impl SmallCnn {
    /// Creates a network whose tensors are added to `weights`, named `<prefix>.conv1.weight`, `<prefix>.norm1.weight`, …,
    /// `<prefix>.projection.weight`.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is outside its range.
    pub fn new(config: &SmallCnnConfig, prefix: &str, weights: &mut Weights) -> Result<Self> {
        config.validate()?;
        let mut inputs = 3;
        let mut layers = Vec::new();
        for (number, (&channels, &stride)) in (1..).zip(config.channels.iter().zip(&config.strides)) {
            let side = if stride == 4 { 5 } else { 3 };
            let geometry = Geometry::new(inputs, channels as i64, side, stride as i64);
            let (convolution, norm) = (format!("{prefix}.conv{number}"), format!("{prefix}.norm{number}"));
            layers.push(NormalisedConvolution::new(&convolution, &norm, geometry, Normalisation::Batch, weights));
            inputs = channels as i64;
        }
        let projection =
            Linear::kaiming_uniform(&format!("{prefix}.projection"), inputs as usize, config.feature_size, weights);
        Ok(Self { config: config.clone(), layers, projection })
    }

    /// The hyperparameters.
    pub fn config(&self) -> &SmallCnnConfig {
        &self.config
    }

    /// Computes features. In `training`, normalises by the batch and updates the running statistics; otherwise by the running
    /// statistics, so that features do not depend on the batch.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, image_size, image_size, 3]`, bytes
    /// - result: `[batch, feature_size]`
    ///
    /// # Panics
    /// When `pictures` has another shape.
    pub fn forward(&self, pictures: &Tensor, training: bool) -> Tensor {
        // A view as [batch, 3, height, width]; the memory stays channels last, which convolutions are fastest with.
        let mut map = ((pictures.to_kind(Kind::Float) - 127.5) / 64.0).permute([0, 3, 1, 2]);
        for layer in &self.layers {
            map = layer.forward(&map, training).relu_();
        }
        self.projection.forward(&map.amax([2, 3], false)).relu()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_picture_has_the_same_feature_in_any_batch() {
        let config = SmallCnnConfig { image_size: 32, channels: vec![8, 16], strides: vec![2, 2], feature_size: 24 };
        let mut weights = Weights::new(1, Device::Cpu);
        let network = SmallCnn::new(&config, "encoder", &mut weights).unwrap();
        let pictures = Tensor::arange(3 * 32 * 32 * 3, (Kind::Int64, Device::Cpu)).remainder(251).to_kind(Kind::Uint8);
        let pictures = pictures.reshape([3, 32, 32, 3]);
        let together = network.forward(&pictures, false);
        assert_eq!(together.size(), [3, 24]);
        let alone = network.forward(&pictures.narrow(0, 1, 1), false);
        assert!((together.narrow(0, 1, 1) - alone).abs().max().double_value(&[]) < 1e-4);
    }

    #[test]
    fn a_thing_has_the_same_feature_wherever_it_is() {
        let config = SmallCnnConfig { image_size: 32, channels: vec![8, 16], strides: vec![4, 1], feature_size: 24 };
        let mut weights = Weights::new(1, Device::Cpu);
        let network = SmallCnn::new(&config, "encoder", &mut weights).unwrap();
        // A square, moved by a multiple of the strides, away from the border.
        let feature = |x: i64| {
            let picture = Tensor::full([1, 32, 32, 3], 90, (Kind::Uint8, Device::Cpu));
            let _ = picture.narrow(1, 12, 5).narrow(2, x, 5).fill_(200);
            network.forward(&picture, false)
        };
        assert!((feature(8) - feature(16)).abs().max().double_value(&[]) < 1e-5);
        let nothing = Tensor::full([1, 32, 32, 3], 90, (Kind::Uint8, Device::Cpu));
        assert!((feature(8) - network.forward(&nothing, false)).abs().max().double_value(&[]) > 1e-2);
    }

    #[test]
    fn training_updates_the_running_statistics() {
        let config = SmallCnnConfig { image_size: 8, channels: vec![4], strides: vec![2], feature_size: 3 };
        let mut weights = Weights::new(1, Device::Cpu);
        let network = SmallCnn::new(&config, "encoder", &mut weights).unwrap();
        let mean = weights.get("encoder.norm1.running_mean").unwrap().copy();
        let picture = Tensor::full([1, 8, 8, 3], 250, (Kind::Uint8, Device::Cpu));
        let _ = network.forward(&picture, false);
        assert_eq!(weights.get("encoder.norm1.running_mean").unwrap(), &mean);
        let _ = network.forward(&picture, true);
        assert_ne!(weights.get("encoder.norm1.running_mean").unwrap(), &mean);
    }

    #[test]
    fn sizes_out_of_range_are_named() {
        let good = || SmallCnnConfig { image_size: 64, channels: vec![8, 8], strides: vec![2, 2], feature_size: 16 };
        for (config, field) in [
            (SmallCnnConfig { channels: vec![], ..good() }, "channels"),
            (SmallCnnConfig { channels: vec![8, 0], ..good() }, "channels"),
            (SmallCnnConfig { strides: vec![2], ..good() }, "strides"),
            (SmallCnnConfig { strides: vec![2, 3], ..good() }, "strides"),
            (SmallCnnConfig { image_size: 0, ..good() }, "image_size"),
            (SmallCnnConfig { image_size: 4, ..good() }, "image_size"),
            (SmallCnnConfig { image_size: 63, ..good() }, "image_size"),
            (SmallCnnConfig { feature_size: 0, ..good() }, "feature_size"),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
