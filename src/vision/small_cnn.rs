//! A small convolutional network over the whole picture, trained together with what uses it.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::Weights;
use crate::{Error, Result};

/// The sizes of a [`SmallCnn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmallCnnConfig {
    /// Width and height, in pixels, that pictures are resized to. A multiple of 2 to the number of layers.
    pub image_size: usize,
    /// Channels of each layer, first to last; every layer halves width and height.
    pub channels: Vec<usize>,
}

impl Default for SmallCnnConfig {
    fn default() -> Self {
        Self { image_size: 64, channels: vec![32, 64, 128, 256] }
    }
}

impl SmallCnnConfig {
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        if self.channels.is_empty() || self.channels.len() > 8 {
            return Err(Error::config("encoder.channels", format!("{:?}", self.channels), "must name 1 to 8 layers"));
        }
        if self.channels.iter().any(|channels| *channels == 0 || channels % GROUPS != 0 || *channels > 4096) {
            let expected = format!("every layer must have a multiple of {GROUPS} channels, at most 4096");
            return Err(Error::config("encoder.channels", format!("{:?}", self.channels), expected));
        }
        let halvings = 1usize << self.channels.len();
        if self.image_size == 0 || !self.image_size.is_multiple_of(halvings) || self.image_size > 1024 {
            let expected = format!("must be a multiple of {halvings} (each layer halves it), at most 1024");
            return Err(Error::config("encoder.image_size", self.image_size, expected));
        }
        Ok(())
    }

    /// How many numbers describe a picture: the last layer's channels at each of its places.
    pub fn feature_size(&self) -> usize {
        let side = self.image_size >> self.channels.len();
        self.channels.last().map_or(0, |channels| channels * side * side)
    }
}

/// Channels are normalised in groups of so many groups a layer.
const GROUPS: usize = 8;

/// Convolution 3×3 with stride 2, group normalisation, ReLU, a few times over; the last map, flattened, is the feature.
///
/// Group normalisation (Wu & He 2018) computes the same for a picture whatever else is in its batch, so training and use
/// do not differ.
#[derive(Debug)]
pub struct SmallCnn {
    config: SmallCnnConfig,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    convolution: Tensor,
    scale: Tensor,
    shift: Tensor,
}

impl SmallCnn {
    /// A network whose weights are named `<prefix>.conv1.weight`, `<prefix>.norm1.weight`, … in `weights`.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is out of its range.
    pub fn new(config: &SmallCnnConfig, prefix: &str, weights: &mut Weights) -> Result<Self> {
        config.validate()?;
        let mut inputs = 3;
        let mut layers = Vec::new();
        for (index, &channels) in config.channels.iter().enumerate() {
            let channels = channels as i64;
            let number = index + 1;
            layers.push(Layer {
                convolution: weights.for_relu(&format!("{prefix}.conv{number}.weight"), &[channels, inputs, 3, 3]),
                scale: weights.constant(&format!("{prefix}.norm{number}.weight"), &[channels], 1.0, true),
                shift: weights.constant(&format!("{prefix}.norm{number}.bias"), &[channels], 0.0, true),
            });
            inputs = channels;
        }
        Ok(Self { config: config.clone(), layers })
    }

    /// The sizes it was made with.
    pub fn config(&self) -> &SmallCnnConfig {
        &self.config
    }

    /// Features of pictures.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, image_size, image_size, 3]`, bytes
    /// - result: `[batch, feature_size]`
    pub fn forward(&self, pictures: &Tensor) -> Tensor {
        // Seen as [batch, 3, height, width] while the memory keeps channels last, the order that convolutions are fastest in.
        let mut map = ((pictures.to_kind(Kind::Float) - 127.5) / 64.0).permute([0, 3, 1, 2]);
        for layer in &self.layers {
            map = map
                .conv2d(&layer.convolution, None::<&Tensor>, 2, 1, 1, 1)
                .group_norm(GROUPS as i64, Some(&layer.scale), Some(&layer.shift), 1e-5, true)
                .relu();
        }
        map.flatten(1, -1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_picture_has_the_same_feature_in_any_batch() {
        let config = SmallCnnConfig { image_size: 32, channels: vec![8, 16] };
        let mut weights = Weights::new(1, Device::Cpu);
        let network = SmallCnn::new(&config, "encoder", &mut weights).unwrap();
        let pictures = Tensor::arange(3 * 32 * 32 * 3, (Kind::Int64, Device::Cpu)).remainder(251).to_kind(Kind::Uint8);
        let pictures = pictures.reshape([3, 32, 32, 3]);
        let together = network.forward(&pictures);
        assert_eq!(together.size(), [3, config.feature_size() as i64]);
        let alone = network.forward(&pictures.narrow(0, 1, 1));
        assert!((together.narrow(0, 1, 1) - alone).abs().max().double_value(&[]) < 1e-4);
    }

    #[test]
    fn sizes_out_of_range_are_named() {
        for (image_size, channels, field) in [
            (64, vec![], "encoder.channels"),
            (64, vec![12], "encoder.channels"),
            (64, vec![0], "encoder.channels"),
            (0, vec![8], "encoder.image_size"),
            (63, vec![8], "encoder.image_size"),
            (64, vec![8; 7], "encoder.image_size"),
        ] {
            let error = SmallCnnConfig { image_size, channels }.validate().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
