//! The sizes of a CLIP.

use serde::{Deserialize, Serialize};

use crate::data::Preprocess;
use crate::data::images::Crop;
use crate::{Error, Result};

/// The sizes of a [`Clip`](super::Clip), whose image tower is a vision transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipConfig {
    pub image: ClipImageConfig,
    pub text: ClipTextConfig,
    /// How many numbers a picture and a text are described by, in the space that they share.
    pub embedding_size: usize,
    pub activation: Activation,
    /// Added to the variance where layers are normalised.
    pub norm_epsilon: f64,
}

/// The sizes of the tower that looks at pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipImageConfig {
    /// Width and height of a picture in pixels. A multiple of `patch_size`.
    pub image_size: usize,
    /// Width and height in pixels of the squares that a picture is cut into.
    pub patch_size: usize,
    pub transformer: TransformerConfig,
}

/// The sizes of the tower that reads texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipTextConfig {
    /// The most tokens of a text, its start and its end among them.
    pub context: usize,
    /// How many different tokens there are.
    pub vocabulary_size: usize,
    /// The number of the token that ends a text, where the tower's answer is read.
    ///
    /// [`ClipTextConfig::HIGHEST`] reads it at the token with the highest number instead. So did the original code, and so do
    /// the configurations published with it, which name a wrong token: 2.
    pub end_token: i64,
    pub transformer: TransformerConfig,
}

impl ClipTextConfig {
    /// As [`ClipTextConfig::end_token`]: the text ends at its highest number.
    pub const HIGHEST: i64 = 2;
}

/// The sizes of a transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformerConfig {
    /// Numbers that stand for each patch or token. A multiple of `heads`.
    pub width: usize,
    pub layers: usize,
    /// How many questions each layer of attention asks at a time.
    pub heads: usize,
    /// Numbers in the middle of each layer's two linear maps. Usually four times the width.
    pub hidden_size: usize,
}

impl TransformerConfig {
    /// With the usual hidden size, four times the width.
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

/// What bends the numbers in the middle of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · sigmoid(1.702 x)`: what OpenAI's models were trained with.
    QuickGelu,
    /// `x · Φ(x)` (Hendrycks & Gimpel 2016), as in later models of others.
    Gelu,
}

impl ClipConfig {
    /// OpenAI's ViT-B/32: 151 million weights, pictures of 224 pixels in 7×7 patches, texts of up to 77 tokens.
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

    /// A small one for Scenes, which the project trains itself: 128 pixels in 8×8 patches of 16.
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

    /// How pictures become what the image tower looks at: as by `CLIPImageProcessor` of transformers.
    pub fn preprocess(&self) -> Preprocess {
        let side = self.image.image_size as u32;
        Preprocess { size: side, crop: Crop::CentreRoundedDown { shorter_side: side }, ..Preprocess::clip() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
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
