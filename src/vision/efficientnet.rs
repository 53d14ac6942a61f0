//! EfficientNet-Lite, compatible with the weights of `efficientnet-lite-pytorch`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::nn::convolution::{Geometry, NormalisedConvolution, Padding, channels_last};
use crate::nn::{ComputeDtype, Linear, Normalisation, Weights, network, read_weights};
use crate::{Error, Result};

/// Hyperparameters of an [`EfficientNet`]: Tan & Le 2019, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*,
/// table 1, in the "Lite" form of its authors, without squeeze-and-excitation and with ReLU6 for swish.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EfficientNetConfig {
    /// Factor of the channels of all blocks, in `0.1..=8.0`. Stem and head keep theirs.
    pub width: f64,
    /// Factor of the number of blocks in each stage, in `0.1..=8.0`. The first and the last stage keep theirs.
    pub depth: f64,
    /// Side of the pictures in pixels, in `32..=1024`.
    pub image_size: usize,
    /// Number of classes, in `1..=1000000`.
    pub classes: usize,
}

impl Default for EfficientNetConfig {
    fn default() -> Self {
        Self::lite0()
    }
}

impl EfficientNetConfig {
    /// EfficientNet-Lite0: 4.7 million weights, 75.1 % of ImageNet's validation pictures right.
    pub fn lite0() -> Self {
        Self { width: 1.0, depth: 1.0, image_size: 224, classes: 1000 }
    }

    /// EfficientNet-Lite1.
    pub fn lite1() -> Self {
        Self { depth: 1.1, image_size: 240, ..Self::lite0() }
    }

    /// EfficientNet-Lite2.
    pub fn lite2() -> Self {
        Self { width: 1.1, depth: 1.2, image_size: 260, ..Self::lite0() }
    }

    /// EfficientNet-Lite3.
    pub fn lite3() -> Self {
        Self { width: 1.2, depth: 1.4, image_size: 280, ..Self::lite0() }
    }

    /// EfficientNet-Lite4.
    pub fn lite4() -> Self {
        Self { width: 1.4, depth: 1.8, image_size: 300, ..Self::lite0() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        for (name, factor) in [("width", self.width), ("depth", self.depth)] {
            if !(0.1..=8.0).contains(&factor) {
                return Err(Error::config(name, factor, "must be in 0.1..=8.0"));
            }
        }
        if !(32..=1024).contains(&self.image_size) {
            return Err(Error::config("image_size", self.image_size, "must be in 32..=1024"));
        }
        if !(1..=1_000_000).contains(&self.classes) {
            return Err(Error::config("classes", self.classes, "must be in 1..=1000000"));
        }
        Ok(())
    }

    /// Channels after scaling: the nearest multiple of 8, but no less than nine tenths.
    fn scaled(&self, channels: i64) -> i64 {
        let wanted = channels as f64 * self.width;
        let rounded = ((wanted + 4.0) as i64 / 8 * 8).max(8);
        if (rounded as f64) < 0.9 * wanted { rounded + 8 } else { rounded }
    }

    /// Blocks of a stage after scaling.
    fn repeated(&self, stage: usize) -> i64 {
        let blocks = STAGES[stage].blocks;
        match stage == 0 || stage == STAGES.len() - 1 {
            true => blocks,
            false => (blocks as f64 * self.depth).ceil() as i64,
        }
    }
}

/// Some blocks of the same channels; only the first has a stride and other inputs.
struct Stage {
    blocks: i64,
    side: i64,
    stride: i64,
    /// How many times more channels the depthwise convolution has than the block's input.
    expansion: i64,
    outputs: i64,
}

const STAGES: [Stage; 7] = [
    Stage { blocks: 1, side: 3, stride: 1, expansion: 1, outputs: 16 },
    Stage { blocks: 2, side: 3, stride: 2, expansion: 6, outputs: 24 },
    Stage { blocks: 2, side: 5, stride: 2, expansion: 6, outputs: 40 },
    Stage { blocks: 3, side: 3, stride: 2, expansion: 6, outputs: 80 },
    Stage { blocks: 3, side: 5, stride: 1, expansion: 6, outputs: 112 },
    Stage { blocks: 4, side: 5, stride: 2, expansion: 6, outputs: 192 },
    Stage { blocks: 1, side: 3, stride: 1, expansion: 6, outputs: 320 },
];

/// Channels of the stem.
const STEM: i64 = 32;

/// Statistics stay those of ImageNet, also in training.
const NORMALISATION: Normalisation = Normalisation::Frozen { epsilon: 1e-3 };

/// An EfficientNet-Lite. Weights are named as in the package `efficientnet-lite-pytorch`: `_conv_stem.weight`,
/// `_blocks.3._depthwise_conv.weight`, `_bn1.running_mean`, `_fc.bias`.
#[derive(Debug)]
pub struct EfficientNet {
    config: EfficientNetConfig,
    stem: NormalisedConvolution,
    blocks: Vec<InvertedResidual>,
    head: NormalisedConvolution,
    classifier: Linear,
    dtype: ComputeDtype,
}

network!(EfficientNet { stem, blocks, head, classifier; config, dtype });

/// A block that is wide in the middle (Sandler et al. 2018, *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, table 1).
#[derive(Debug)]
struct InvertedResidual {
    /// A 1×1 convolution to more channels.
    expansion: Option<NormalisedConvolution>,
    depthwise: NormalisedConvolution,
    /// A 1×1 convolution to fewer channels, without an activation.
    projection: NormalisedConvolution,
    /// Whether the input is added.
    residual: bool,
}

network!(InvertedResidual { expansion, depthwise, projection; residual });

impl InvertedResidual {
    fn new(prefix: &str, stage: &Stage, [inputs, outputs]: [i64; 2], stride: i64, weights: &mut Weights) -> Self {
        let wide = inputs * stage.expansion;
        let mut layer = |convolution: &str, norm: &str, geometry: Geometry| {
            let (convolution, norm) = (format!("{prefix}.{convolution}"), format!("{prefix}.{norm}"));
            NormalisedConvolution::new(&convolution, &norm, geometry, NORMALISATION, weights)
        };
        let depthwise = Geometry::depthwise(wide, stage.side, stride).with_padding(Padding::Same);
        Self {
            expansion: (stage.expansion > 1).then(|| layer("_expand_conv", "_bn0", Geometry::new(inputs, wide, 1, 1))),
            depthwise: layer("_depthwise_conv", "_bn1", depthwise),
            projection: layer("_project_conv", "_bn2", Geometry::new(wide, outputs, 1, 1)),
            residual: stride == 1 && inputs == outputs,
        }
    }

    fn forward(&self, input: &Tensor, training: bool) -> Tensor {
        let wide = self.expansion.as_ref().map(|expansion| relu6(expansion.forward(input, training)));
        let map = relu6(self.depthwise.forward(wide.as_ref().unwrap_or(input), training));
        let mut map = self.projection.forward(&map, training);
        if self.residual { map.g_add_(input) } else { map }
    }
}

fn relu6(mut map: Tensor) -> Tensor {
    map.clamp_(0.0, 6.0)
}

impl EfficientNet {
    /// The feature dimension.
    pub const FEATURES: usize = 1280;

    /// Creates a network whose tensors are added to `weights`.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is outside its range.
    pub fn new(config: &EfficientNetConfig, weights: &mut Weights) -> Result<Self> {
        config.validate()?;
        let stem = Geometry::new(3, STEM, 3, 2).with_padding(Padding::Same);
        let stem = NormalisedConvolution::new("_conv_stem", "_bn0", stem, NORMALISATION, weights);
        let (mut inputs, mut blocks) = (STEM, Vec::new());
        for (number, stage) in STAGES.iter().enumerate() {
            let outputs = config.scaled(stage.outputs);
            for repeat in 0..config.repeated(number) {
                let stride = if repeat == 0 { stage.stride } else { 1 };
                let name = format!("_blocks.{}", blocks.len());
                blocks.push(InvertedResidual::new(&name, stage, [inputs, outputs], stride, weights));
                inputs = outputs;
            }
        }
        let head = Geometry::new(inputs, Self::FEATURES as i64, 1, 1);
        let head = NormalisedConvolution::new("_conv_head", "_bn1", head, NORMALISATION, weights);
        let classifier = Linear::new("_fc", Self::FEATURES, config.classes, weights);
        Ok(Self { config: *config, stem, blocks, head, classifier, dtype: ComputeDtype::default() })
    }

    /// Loads weights; `efficientnet-lite0-57934424.pth` loads unchanged, with the feature `pytorch`. The number of classes is the
    /// file's.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, [`Error::Weights`] when it does not hold the weights of such a network.
    pub fn with_weights(config: &EfficientNetConfig, path: impl AsRef<Path>, device: Device) -> Result<Self> {
        let path = path.as_ref();
        let tensors = read_weights(path)?;
        let mut weights = Weights::to_assign(device);
        let classes = tensors.get("_fc.bias").map_or(config.classes, |bias| bias.numel());
        let network = Self::new(&EfficientNetConfig { classes, ..*config }, &mut weights)?;
        weights.assign(&tensors, path)?;
        Ok(network)
    }

    /// Runs the network in another dtype.
    #[must_use]
    pub fn with_dtype(self, dtype: ComputeDtype) -> Self {
        Self { dtype, ..self }
    }

    /// The hyperparameters.
    pub fn config(&self) -> &EfficientNetConfig {
        &self.config
    }

    /// The feature map before pooling.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, height, width]`, preprocessed as by
    ///   [`Preprocess::efficientnet`](crate::data::Preprocess::efficientnet)
    /// - result: `[batch, 1280, ⌈height ÷ 32⌉, ⌈width ÷ 32⌉]`; in inference possibly in channels-last memory format
    ///
    /// # Panics
    /// When `pictures` has another shape.
    pub fn feature_map(&self, pictures: &Tensor, training: bool) -> Tensor {
        let pictures = match training {
            true => pictures.shallow_clone(),
            false => channels_last(&pictures.to_kind(self.dtype.kind())),
        };
        let mut map = relu6(self.stem.forward(&pictures, training));
        for block in &self.blocks {
            map = block.forward(&map, training);
        }
        relu6(self.head.forward(&map, training)).to_kind(Kind::Float)
    }

    /// Image features: the feature map, average-pooled.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, height, width]`
    /// - result: `[batch, 1280]`
    ///
    /// # Panics
    /// When `pictures` has another shape.
    pub fn features(&self, pictures: &Tensor, training: bool) -> Tensor {
        self.feature_map(pictures, training).mean_dim([2i64, 3].as_slice(), false, Kind::Float)
    }

    /// Class logits.
    ///
    /// # Shapes
    /// - `pictures`: `[batch, 3, height, width]`
    /// - result: `[batch, classes]`
    ///
    /// # Panics
    /// When `pictures` has another shape.
    pub fn classify(&self, pictures: &Tensor, training: bool) -> Tensor {
        self.classify_features(&self.features(pictures, training))
    }

    /// Class logits of pooled features `[batch, 1280]`.
    pub(super) fn classify_features(&self, features: &Tensor) -> Tensor {
        self.classifier.forward(features)
    }
}
