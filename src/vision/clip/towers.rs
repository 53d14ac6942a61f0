//! The image and the text tower.

use tch::{Kind, Tensor};

use super::transformer::{Transformer, bound_of};
use super::{ClipConfig, ClipTextConfig};
use crate::nn::{LayerNorm, Linear, Weights, network};

/// A tensor initialised uniformly with the given standard deviation.
fn weight(name: &str, shape: &[i64], deviation: f64, weights: &mut Weights) -> Tensor {
    weights.uniform(name, shape, bound_of(deviation))
}

/// A vision transformer (Dosovitskiy et al. 2021): patch embeddings and a class token, whose output is the image's.
#[derive(Debug)]
pub(super) struct ImageTower {
    patches: Tensor,
    patch_size: i64,
    whole: Tensor,
    positions: Tensor,
    norm_before: LayerNorm,
    transformer: Transformer,
    norm_after: LayerNorm,
    projection: Linear,
}

network!(ImageTower { patches, whole, positions, norm_before, transformer, norm_after, projection; patch_size });

impl ImageTower {
    fn new(config: &ClipConfig, weights: &mut Weights) -> Self {
        let (image, epsilon) = (&config.image, config.norm_epsilon);
        let (width, patch_size) = (image.transformer.width, image.patch_size as i64);
        let places = (image.image_size / image.patch_size).pow(2) as i64 + 1;
        let deviation = (width as f64).powf(-0.5);
        let name = |part: &str| format!("vision_model.{part}");
        let inputs = (3 * patch_size * patch_size) as f64;
        Self {
            patches: weight(
                &name("embeddings.patch_embedding.weight"),
                &[width as i64, 3, patch_size, patch_size],
                (3.0 * inputs).powf(-0.5),
                weights,
            ),
            patch_size,
            whole: weight(&name("embeddings.class_embedding"), &[width as i64], deviation, weights),
            positions: weight(
                &name("embeddings.position_embedding.weight"),
                &[places, width as i64],
                deviation,
                weights,
            ),
            norm_before: LayerNorm::new(&name("pre_layrnorm"), width, epsilon, weights),
            transformer: Transformer::new(
                &name("encoder"),
                &image.transformer,
                config.activation,
                config.norm_epsilon,
                weights,
            ),
            norm_after: LayerNorm::new(&name("post_layernorm"), width, epsilon, weights),
            projection: Linear::without_bias(
                "visual_projection",
                width,
                config.embedding_size,
                bound_of(deviation),
                weights,
            ),
        }
    }

    /// `[batch, 3, height, width]` to `[batch, embedding_size]`, in the dtype of the weights.
    pub(super) fn forward(&self, pictures: &Tensor) -> Tensor {
        let batch = pictures.size()[0];
        let pictures = pictures.to_kind(self.patches.kind());
        let patches = pictures.conv2d(&self.patches, None::<&Tensor>, self.patch_size, 0, 1, 1);
        let patches = patches.flatten(2, 3).transpose(1, 2);
        let whole = self.whole.expand([batch, 1, -1], false);
        let places = Tensor::cat(&[whole, patches], 1) + &self.positions;
        let places = self.transformer.forward(self.norm_before.forward(&places), false);
        self.projection.forward(&self.norm_after.forward(&places.select(1, 0))).to_kind(Kind::Float)
    }
}

/// A causal transformer (Radford et al. 2019), read at the end token.
#[derive(Debug)]
struct TextTower {
    tokens: Tensor,
    positions: Tensor,
    transformer: Transformer,
    norm: LayerNorm,
    projection: Linear,
    end_token: i64,
}

network!(TextTower { tokens, positions, transformer, norm, projection; end_token });

impl TextTower {
    fn new(config: &ClipConfig, weights: &mut Weights) -> Self {
        let text = &config.text;
        let width = text.transformer.width;
        let name = |part: &str| format!("text_model.{part}");
        let deviation = (width as f64).powf(-0.5);
        Self {
            tokens: weight(
                &name("embeddings.token_embedding.weight"),
                &[text.vocabulary_size as i64, width as i64],
                0.02,
                weights,
            ),
            positions: weight(
                &name("embeddings.position_embedding.weight"),
                &[text.context as i64, width as i64],
                0.01,
                weights,
            ),
            transformer: Transformer::new(
                &name("encoder"),
                &text.transformer,
                config.activation,
                config.norm_epsilon,
                weights,
            ),
            norm: LayerNorm::new(&name("final_layer_norm"), width, config.norm_epsilon, weights),
            projection: Linear::without_bias(
                "text_projection",
                width,
                config.embedding_size,
                bound_of(deviation),
                weights,
            ),
            end_token: text.end_token,
        }
    }

    fn forward(&self, tokens: &Tensor) -> Tensor {
        let length = tokens.size()[1];
        let places = Tensor::embedding(&self.tokens, tokens, -1, false, false);
        let places = self.transformer.forward(places + self.positions.narrow(0, 0, length), true);
        let end = match self.end_token {
            ClipTextConfig::HIGHEST => tokens.argmax(1, false),
            // `argmax` finds the first, where texts are padded with the end token.
            end => tokens.eq(end).to_kind(Kind::Int).argmax(1, false),
        };
        let end = end.view([-1, 1, 1]).expand([-1, 1, places.size()[2]], false);
        // Normalisation is per position, so only the one that is read is normalised.
        self.projection.forward(&self.norm.forward(&places.gather(1, &end, false).squeeze_dim(1)))
    }
}

/// Both towers and the logit scale: the layers of a [`Clip`](super::Clip), with gradients.
#[derive(Debug)]
pub(crate) struct Towers {
    image: ImageTower,
    text: TextTower,
    logit_scale: Tensor,
}

network!(Towers { image, text, logit_scale });

impl Towers {
    /// log(1 ÷ 0.07), the initial temperature (section 2.5).
    const FIRST_LOGIT_SCALE: f64 = 2.659_260_036_932_778;

    pub(super) fn new(config: &ClipConfig, weights: &mut Weights) -> Self {
        Self {
            image: ImageTower::new(config, weights),
            text: TextTower::new(config, weights),
            logit_scale: weights.constant("logit_scale", &[], Self::FIRST_LOGIT_SCALE, true),
        }
    }

    pub(super) fn image(&self) -> &ImageTower {
        &self.image
    }

    /// `[batch, 3, height, width]` to `[batch, embedding_size]`.
    pub(crate) fn encode_image(&self, pictures: &Tensor) -> Tensor {
        self.image.forward(pictures)
    }

    /// `[batch, length]` to `[batch, embedding_size]`.
    pub(crate) fn encode_text(&self, tokens: &Tensor) -> Tensor {
        self.text.forward(tokens)
    }

    /// The logarithm of the logit scale, a scalar.
    pub(crate) fn logit_scale(&self) -> &Tensor {
        &self.logit_scale
    }
}

/// L2-normalises each row.
pub(crate) fn normalised(rows: &Tensor) -> Tensor {
    rows / rows.norm_scalaropt_dim(2.0, [-1], true)
}
