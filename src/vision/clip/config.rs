//! Hyperparameters of CLIP.

use serde::{Deserialize, Serialize};

use crate::data::Preprocess;
use crate::data::images::Crop;
use crate::{Error, Result};

/// Hyperparameters of a [`Clip`](super::Clip) with a vision transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// The image tower.
    pub image: ClipImageConfig,
    /// The text tower.
    pub text: ClipTextConfig,
    /// Dimension of the joint embedding space, in `1..=16384`; `projection_dim` of transformers.
    pub embedding_size: usize,
    /// Activation of the MLPs in both towers.
    pub activation: Activation,
    /// Epsilon of layer normalisation, above 0.
    pub norm_epsilon: f64,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self::vit_b_32()
    }
}

/// Hyperparameters of the image tower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipImageConfig {
    /// Width and height of an input image in pixels: a multiple of `patch_size`, at most 4096.
    pub image_size: usize,
    /// Width and height of a patch in pixels, in `1..=1024`.
    pub patch_size: usize,
    /// The transformer.
    pub transformer: TransformerConfig,
}

impl Default for ClipImageConfig {
    fn default() -> Self {
        ClipConfig::vit_b_32().image
    }
}

/// Hyperparameters of the text tower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Context length: most tokens of a text with its start and end token, in `2..=65536`.
    pub context: usize,
    /// Number of tokens, in `2..=10000000`.
    pub vocabulary_size: usize,
    /// Id of the end token, at which the text's features are read.
    ///
    /// With [`ClipTextConfig::HIGHEST`] they are read at the highest id instead. The original code does so, and the configurations
    /// published with it name a wrong end token, 2.
    pub end_token: i64,
    /// The transformer.
    pub transformer: TransformerConfig,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        ClipConfig::vit_b_32().text
    }
}

impl ClipTextConfig {
    /// Value of [`ClipTextConfig::end_token`] for reading at the highest id.
    pub const HIGHEST: i64 = 2;
}

/// Hyperparameters of a transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransformerConfig {
    /// Width of the residual stream: a multiple of `heads`, at most 16384.
    pub width: usize,
    /// Number of layers, in `1..=128`.
    pub layers: usize,
    /// Number of attention heads, in `1..=256`.
    pub heads: usize,
    /// Hidden size of the MLPs, in `1..=65536`; usually four times the width.
    pub hidden_size: usize,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        ClipConfig::vit_b_32().image.transformer
    }
}

impl TransformerConfig {
    /// A transformer with the usual hidden size, four times the width.
    pub fn new(width: usize, layers: usize, heads: usize) -> Self {
        Self { width, layers, heads, hidden_size: 4 * width }
    }

    fn validate(&self, tower: &str) -> Result<()> {
        for (field, value, most) in
            [("layers", self.layers, 128), ("heads", self.heads, 256), ("hidden_size", self.hidden_size, 65_536)]
        {
            if !(1..=most).contains(&value) {
                return Err(Error::config(
                    format!("{tower}.transformer.{field}"),
                    value,
                    format!("must be in 1..={most}"),
                ));
            }
        }
        if !(1..=16_384).contains(&self.width) || !self.width.is_multiple_of(self.heads) {
            let expected = format!("must be a multiple of {} (the heads) in 1..=16384", self.heads);
            return Err(Error::config(format!("{tower}.transformer.width"), self.width, expected));
        }
        Ok(())
    }
}

/// Activation of a transformer's MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · sigmoid(1.702 x)`, in OpenAI's models.
    QuickGelu,
    /// `x · Φ(x)` (Hendrycks & Gimpel 2016), in most later models.
    Gelu,
}

impl ClipConfig {
    /// OpenAI's ViT-B/32: 151 million parameters, images of 224×224 pixels in 7×7 patches, context length 77.
    pub fn vit_b_32() -> Self {
        Self {
            image: ClipImageConfig {
                image_size: 224,
                patch_size: 32,
                transformer: TransformerConfig::new(768, 12, 12),
            },
            text: ClipTextConfig {
                context: 77,
                vocabulary_size: 49_408,
                end_token: ClipTextConfig::HIGHEST,
                transformer: TransformerConfig::new(512, 12, 8),
            },
            embedding_size: 512,
            activation: Activation::QuickGelu,
            norm_epsilon: 1e-5,
        }
    }

    /// A small CLIP for Scenes, trained by this project: images of 128×128 pixels in 8×8 patches.
    pub fn tiny() -> Self {
        Self {
            image: ClipImageConfig { image_size: 128, patch_size: 16, transformer: TransformerConfig::new(128, 4, 4) },
            text: ClipTextConfig {
                context: 32,
                vocabulary_size: 512,
                end_token: 1,
                transformer: TransformerConfig::new(128, 2, 4),
            },
            embedding_size: 128,
            activation: Activation::QuickGelu,
            norm_epsilon: 1e-5,
        }
    }

    /// The preprocessing of images, as in `CLIPImageProcessor` of transformers.
    pub fn preprocess(&self) -> Preprocess {
        let side = self.image.image_size as u32;
        Preprocess { size: side, crop: Crop::CentreRoundedDown { shorter_side: side }, ..Preprocess::clip() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        let ClipImageConfig { image_size, patch_size, .. } = self.image;
        if !(1..=1024).contains(&patch_size) {
            return Err(Error::config("image.patch_size", patch_size, "must be in 1..=1024"));
        }
        if !image_size.is_multiple_of(patch_size) || !(patch_size..=4096).contains(&image_size) {
            let expected = format!("must be a multiple of {patch_size} (the patch) in {patch_size}..=4096");
            return Err(Error::config("image.image_size", image_size, expected));
        }
        self.image.transformer.validate("image")?;
        let ClipTextConfig { context, vocabulary_size, end_token, .. } = self.text;
        if !(2..=65_536).contains(&context) {
            return Err(Error::config("text.context", context, "must be in 2..=65536"));
        }
        if !(2..=10_000_000).contains(&vocabulary_size) {
            return Err(Error::config("text.vocabulary_size", vocabulary_size, "must be in 2..=10000000"));
        }
        if !(0..vocabulary_size as i64).contains(&end_token) && end_token != ClipTextConfig::HIGHEST {
            let expected = format!("must be in 0..{vocabulary_size} (the vocabulary)");
            return Err(Error::config("text.end_token", end_token, expected));
        }
        self.text.transformer.validate("text")?;
        if !(1..=16_384).contains(&self.embedding_size) {
            return Err(Error::config("embedding_size", self.embedding_size, "must be in 1..=16384"));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon > 0.0) {
            return Err(Error::config("norm_epsilon", self.norm_epsilon, "must be greater than 0"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_in_range_and_sizes_out_of_range_are_named() {
        ClipConfig::vit_b_32().validate().unwrap();
        ClipConfig::tiny().validate().unwrap();
        let change = |change: fn(&mut ClipConfig)| {
            let mut config = ClipConfig::tiny();
            change(&mut config);
            config
        };
        for (config, field) in [
            (change(|config| config.image.patch_size = 0), "image.patch_size"),
            (change(|config| config.image.image_size = 100), "image.image_size"),
            (change(|config| config.image.image_size = 0), "image.image_size"),
            (change(|config| config.image.transformer.heads = 3), "image.transformer.width"),
            (change(|config| config.image.transformer.heads = 0), "image.transformer.heads"),
            (change(|config| config.image.transformer.layers = 0), "image.transformer.layers"),
            (change(|config| config.text.transformer.hidden_size = 0), "text.transformer.hidden_size"),
            (change(|config| config.text.context = 1), "text.context"),
            (change(|config| config.text.vocabulary_size = 0), "text.vocabulary_size"),
            (change(|config| config.text.end_token = -1), "text.end_token"),
            (change(|config| config.embedding_size = 0), "embedding_size"),
            (change(|config| config.norm_epsilon = f64::NAN), "norm_epsilon"),
        ] {
            let error = config.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }
}
