//! Residual networks, compatible with torchvision's weights.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::nn::convolution::{Geometry, NormalisedConvolution, channels_last};
use crate::nn::{ComputeDtype, Linear, Normalisation, Weights, network, read_weights};
use crate::{Error, Result};

/// The residual block of a [`ResNet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1 convolutions; the last has four times the channels. The stride is in the 3×3, as in torchvision.
    Bottleneck,
}

impl Block {
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// Hyperparameters of a [`ResNet`] (He et al. 2015, *Deep Residual Learning for Image Recognition*, table 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResNetConfig {
    /// The residual block.
    pub block: Block,
    /// Blocks in each of the four stages, each in `1..=64`.
    pub layers: [usize; 4],
    /// Channels of the first stage, in `1..=1024`; each stage doubles them. 64 in the published networks.
    pub width: usize,
    /// Normalisation after each convolution.
    pub normalisation: Normalisation,
    /// Number of classes, in `1..=1000000`; `None` for a network without a classifier.
    pub classes: Option<usize>,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self::resnet50()
    }
}

impl ResNetConfig {
    /// torchvision's `resnet18`, for ImageNet.
    pub fn resnet18() -> Self {
        Self { block: Block::Basic, layers: [2, 2, 2, 2], ..Self::resnet50() }
    }

    /// torchvision's `resnet50`, for ImageNet.
    pub fn resnet50() -> Self {
        Self {
            block: Block::Bottleneck,
            layers: [3, 4, 6, 3],
            width: 64,
            normalisation: Normalisation::Batch,
            classes: Some(1000),
        }
    }

    /// torchvision's `resnet101`, for ImageNet.
    pub fn resnet101() -> Self {
        Self { layers: [3, 4, 23, 3], ..Self::resnet50() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        if self.layers.iter().any(|blocks| !(1..=64).contains(blocks)) {
            return Err(Error::config("layers", format!("{:?}", self.layers), "every stage must have 1 to 64 blocks"));
        }
        if !(1..=1024).contains(&self.width) {
            return Err(Error::config("width", self.width, "must be in 1..=1024"));
        }
        match self.classes {
            Some(classes) if !(1..=1_000_000).contains(&classes) => {
                Err(Error::config("classes", classes, "must be in 1..=1000000"))
            }
            _ => Ok(()),
        }
    }

    /// Channels of the four stages' outputs.
    pub fn channels(&self) -> [usize; 4] {
        [1, 2, 4, 8].map(|factor| factor * self.width * self.block.expansion())
    }
}

/// A residual network. Weights are named as in torchvision: `conv1.weight`, `layer1.0.bn2.running_mean`, `fc.bias`.
#[derive(Debug)]
pub struct ResNet {
    config: ResNetConfig,
    stem: NormalisedConvolution,
    stages: Vec<Vec<Residual>>,
    classifier: Option<Linear>,
    dtype: ComputeDtype,
}

network!(ResNet { stem, stages, classifier; config, dtype });

/// A residual block.
#[derive(Debug)]
struct Residual {
    convolutions: Vec<NormalisedConvolution>,
    /// Projects the input where its shape differs from the output's.
    downsample: Option<NormalisedConvolution>,
}

network!(Residual { convolutions, downsample });

impl Residual {
    fn new(
        prefix: &str,
        config: &ResNetConfig,
        inputs: usize,
        width: usize,
        stride: i64,
        weights: &mut Weights,
    ) -> Self {
        let outputs = width * config.block.expansion();
        let (inputs, width, outputs) = (inputs as i64, width as i64, outputs as i64);
        let sizes = match config.block {
            Block::Basic => vec![(inputs, width, 3, stride), (width, width, 3, 1)],
            Block::Bottleneck => vec![(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)],
        };
        let mut layer = |convolution: String, norm: String, (inputs, outputs, side, stride)| {
            let geometry = Geometry::new(inputs, outputs, side, stride);
            NormalisedConvolution::new(&convolution, &norm, geometry, config.normalisation, weights)
        };
        let convolutions = (1..).zip(sizes);
        let convolutions = convolutions
            .map(|(number, sizes)| layer(format!("{prefix}.conv{number}"), format!("{prefix}.bn{number}"), sizes))
            .collect();
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            layer(format!("{prefix}.downsample.0"), format!("{prefix}.downsample.1"), (inputs, outputs, 1, stride))
        });
        Self { convolutions, downsample }
    }

    fn forward(&self, input: &Tensor, training: bool) -> Tensor {
        let mut map = input.shallow_clone();
        for (number, convolution) in (1..).zip(&self.convolutions) {
            map = convolution.forward(&map, training);
            if number < self.convolutions.len() {
                map = map.relu_();
            }
        }
        let mut map = match &self.downsample {
            Some(downsample) => map.g_add_(&downsample.forward(input, training)),
            None => map.g_add_(input),
        };
        map.relu_()
    }
}

impl ResNet {
    /// Creates a network whose tensors are added to `weights`, named `<prefix>conv1.weight` … Published weights have no prefix, or
    /// `backbone.body.` in a detector.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is outside its range.
    pub fn new(config: &ResNetConfig, prefix: &str, weights: &mut Weights) -> Result<Self> {
        config.validate()?;
        let width = config.width;
        let geometry = Geometry::new(3, width as i64, 7, 2);
        let (convolution, norm) = (format!("{prefix}conv1"), format!("{prefix}bn1"));
        let stem = NormalisedConvolution::new(&convolution, &norm, geometry, config.normalisation, weights);
        let mut inputs = width;
        let mut stages = Vec::new();
        for (stage, &blocks) in config.layers.iter().enumerate() {
            let width = config.width << stage;
            let mut block = |number: usize| {
                let stride = if stage > 0 && number == 0 { 2 } else { 1 };
                let name = format!("{prefix}layer{}.{number}", stage + 1);
                let block = Residual::new(&name, config, inputs, width, stride, weights);
                inputs = width * config.block.expansion();
                block
            };
            stages.push((0..blocks).map(&mut block).collect());
        }
        let classifier = config.classes.map(|classes| Linear::new(&format!("{prefix}fc"), inputs, classes, weights));
        Ok(Self { config: config.clone(), stem, stages, classifier, dtype: ComputeDtype::default() })
    }

    /// Loads weights; torchvision's `resnet50-11ad3fa6.pth` loads unchanged, with the feature `pytorch`.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, [`Error::Weights`] when it does not hold the weights of such a network.
    pub fn with_weights(config: &ResNetConfig, path: impl AsRef<Path>, device: Device) -> Result<Self> {
        let path = path.as_ref();
        let mut weights = Weights::to_assign(device);
        let network = Self::new(config, "", &mut weights)?;
        weights.assign(&read_weights(path)?, path)?;
        Ok(network)
    }

    /// Runs the network in another dtype.
    #[must_use]
    pub fn with_dtype(self, dtype: ComputeDtype) -> Self {
        Self { dtype, ..self }
    }

    /// The hyperparameters.
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// The feature maps of the four stages, with strides 4, 8, 16 and 32.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, height, width]`, normalised as by [`Preprocess::imagenet`](crate::data::Preprocess::imagenet)
    /// - results: `[batch, channels, ⌈height ÷ 4⌉, ⌈width ÷ 4⌉]` and so on, with the channels of [`ResNetConfig::channels`]; in inference
    ///   possibly in channels-last memory format, so use `reshape` and not `view`
    ///
    /// # Panics
    /// When `pictures` has another shape.
    pub fn stages(&self, pictures: &Tensor, training: bool) -> [Tensor; 4] {
        self.stages_as_computed(pictures, training).map(|map| map.to_kind(Kind::Float))
    }

    /// As [`ResNet::stages`], in the dtype of the network.
    pub(super) fn stages_as_computed(&self, pictures: &Tensor, training: bool) -> [Tensor; 4] {
        let pictures = match training {
            true => pictures.shallow_clone(),
            false => channels_last(&pictures.to_kind(self.dtype.kind())),
        };
        let map = self.stem.forward(&pictures, training).relu_();
        let mut map = map.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
        let mut run = |blocks: &Vec<Residual>| {
            for block in blocks {
                map = block.forward(&map, training);
            }
            map.shallow_clone()
        };
        [run(&self.stages[0]), run(&self.stages[1]), run(&self.stages[2]), run(&self.stages[3])]
    }

    /// Image features: the last stage, average-pooled.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, height, width]`
    /// - result: `[batch, channels]`, 2048 for ResNet-50
    ///
    /// # Panics
    /// When `pictures` has another shape.
    pub fn features(&self, pictures: &Tensor, training: bool) -> Tensor {
        let [.., last] = self.stages_as_computed(pictures, training);
        last.mean_dim([2i64, 3].as_slice(), false, Kind::Float)
    }

    /// Class logits.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, height, width]`
    /// - result: `[batch, classes]`
    ///
    /// # Errors
    /// [`Error::Argument`] for a network without classes.
    pub fn classify(&self, pictures: &Tensor, training: bool) -> Result<Tensor> {
        let Some(classifier) = &self.classifier else {
            return Err(Error::argument("this network has no classifier", "Give it classes: `classes: Some(1000)`."));
        };
        Ok(classifier.forward(&self.features(pictures, training)))
    }
}
