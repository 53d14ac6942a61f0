//! A small convolutional network over the whole picture, trained together with what uses it.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::nn::Weights;
use crate::{Error, Result};

/// The sizes of a [`SmallCnn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmallCnnConfig {
    /// Width and height, in pixels, that pictures are resized to. A multiple of all strides multiplied.
    pub image_size: usize,
    /// Channels of each layer, first to last.
    pub channels: Vec<usize>,
    /// By how much each layer shrinks width and height: 1, 2 or 4. Filters are 5×5 where it is 4, and 3×3 elsewhere.
    pub strides: Vec<usize>,
    /// Numbers that describe a picture.
    pub feature_size: usize,
}

impl Default for SmallCnnConfig {
    fn default() -> Self {
        Self { image_size: 96, channels: vec![32, 64, 128, 128], strides: vec![4, 2, 2, 1], feature_size: 1024 }
    }
}

impl SmallCnnConfig {
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let layers = |values: &[usize]| format!("{values:?}");
        if self.channels.is_empty() || self.channels.len() > 8 {
            return Err(Error::config("encoder.channels", layers(&self.channels), "must name 1 to 8 layers"));
        }
        if self.channels.iter().any(|channels| !(1..=4096).contains(channels)) {
            return Err(Error::config("encoder.channels", layers(&self.channels), "every layer must have 1 to 4096"));
        }
        if self.strides.len() != self.channels.len() || self.strides.iter().any(|stride| ![1, 2, 4].contains(stride)) {
            let expected = format!("must name a 1, 2 or 4 for each of the {} layers", self.channels.len());
            return Err(Error::config("encoder.strides", layers(&self.strides), expected));
        }
        let shrink: usize = self.strides.iter().product();
        // Two places a side at least: normalisation needs more than one number of each channel, even of one picture.
        if !self.image_size.is_multiple_of(shrink) || self.image_size < 2 * shrink || self.image_size > 1024 {
            let expected = format!("must be a multiple of {shrink} (the strides) in {}..=1024", 2 * shrink);
            return Err(Error::config("encoder.image_size", self.image_size, expected));
        }
        if !(1..=16_384).contains(&self.feature_size) {
            return Err(Error::config("encoder.feature_size", self.feature_size, "must be in 1..=16384"));
        }
        Ok(())
    }
}

/// A few layers of convolution, batch normalisation (Ioffe & Szegedy 2015) and ReLU; then the strongest answer of each
/// filter, wherever in the picture it is; then one linear layer with ReLU.
///
/// Taking the maximum over places is what lets a thing be learnt in one corner and known in another.
#[derive(Debug)]
pub struct SmallCnn {
    config: SmallCnnConfig,
    layers: Vec<Layer>,
    projection_weight: Tensor,
    projection_bias: Tensor,
}

#[derive(Debug)]
struct Layer {
    convolution: Tensor,
    scale: Tensor,
    shift: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    stride: i64,
}

impl SmallCnn {
    /// A network whose weights are named `<prefix>.conv1.weight`, `<prefix>.norm1.weight`, …, `<prefix>.projection.weight` in
    /// `weights`.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is out of its range.
    pub fn new(config: &SmallCnnConfig, prefix: &str, weights: &mut Weights) -> Result<Self> {
        config.validate()?;
        let mut inputs = 3;
        let mut layers = Vec::new();
        for (index, (&channels, &stride)) in config.channels.iter().zip(&config.strides).enumerate() {
            let (channels, number) = (channels as i64, index + 1);
            let side = if stride == 4 { 5 } else { 3 };
            let norm = format!("{prefix}.norm{number}");
            layers.push(Layer {
                convolution: weights
                    .for_relu(&format!("{prefix}.conv{number}.weight"), &[channels, inputs, side, side]),
                scale: weights.constant(&format!("{norm}.weight"), &[channels], 1.0, true),
                shift: weights.constant(&format!("{norm}.bias"), &[channels], 0.0, true),
                running_mean: weights.constant(&format!("{norm}.running_mean"), &[channels], 0.0, false),
                running_var: weights.constant(&format!("{norm}.running_var"), &[channels], 1.0, false),
                stride: stride as i64,
            });
            inputs = channels;
        }
        let size = config.feature_size as i64;
        Ok(Self {
            config: config.clone(),
            layers,
            projection_weight: weights.for_relu(&format!("{prefix}.projection.weight"), &[size, inputs]),
            projection_bias: weights.constant(&format!("{prefix}.projection.bias"), &[size], 0.0, true),
        })
    }

    /// The same network for another thread: it uses the same weights. What is usual in its channels is remembered with the
    /// others' only when it `remembers`; of several that train at the same time, one may.
    pub(crate) fn share(&self, remembers: bool) -> Self {
        let usual = |tensor: &Tensor| if remembers { tensor.shallow_clone() } else { tensor.copy() };
        let share = |layer: &Layer| Layer {
            convolution: layer.convolution.shallow_clone(),
            scale: layer.scale.shallow_clone(),
            shift: layer.shift.shallow_clone(),
            running_mean: usual(&layer.running_mean),
            running_var: usual(&layer.running_var),
            stride: layer.stride,
        };
        Self {
            config: self.config.clone(),
            layers: self.layers.iter().map(share).collect(),
            projection_weight: self.projection_weight.shallow_clone(),
            projection_bias: self.projection_bias.shallow_clone(),
        }
    }

    /// The sizes it was made with.
    pub fn config(&self) -> &SmallCnnConfig {
        &self.config
    }

    /// Features of pictures. In `training`, channels are normalised over the batch, and what is usual is remembered;
    /// otherwise by what was usual, so a picture has the same feature in any batch.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, image_size, image_size, 3]`, bytes
    /// - result: `[batch, feature_size]`
    pub fn forward(&self, pictures: &Tensor, training: bool) -> Tensor {
        // Seen as [batch, 3, height, width] while the memory keeps channels last, the order that convolutions are fastest in.
        let mut map = ((pictures.to_kind(Kind::Float) - 127.5) / 64.0).permute([0, 3, 1, 2]);
        for layer in &self.layers {
            let padding = layer.convolution.size()[2] / 2;
            map = map.conv2d(&layer.convolution, None::<&Tensor>, layer.stride, padding, 1, 1);
            let (mean, var) = (Some(&layer.running_mean), Some(&layer.running_var));
            map = map.batch_norm(Some(&layer.scale), Some(&layer.shift), mean, var, training, 0.1, 1e-5, false).relu_();
        }
        map.amax([2, 3], false).linear(&self.projection_weight, Some(&self.projection_bias)).relu()
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
    fn training_remembers_what_is_usual() {
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
            (SmallCnnConfig { channels: vec![], ..good() }, "encoder.channels"),
            (SmallCnnConfig { channels: vec![8, 0], ..good() }, "encoder.channels"),
            (SmallCnnConfig { strides: vec![2], ..good() }, "encoder.strides"),
            (SmallCnnConfig { strides: vec![2, 3], ..good() }, "encoder.strides"),
            (SmallCnnConfig { image_size: 0, ..good() }, "encoder.image_size"),
            (SmallCnnConfig { image_size: 4, ..good() }, "encoder.image_size"),
            (SmallCnnConfig { image_size: 63, ..good() }, "encoder.image_size"),
            (SmallCnnConfig { feature_size: 0, ..good() }, "encoder.feature_size"),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
