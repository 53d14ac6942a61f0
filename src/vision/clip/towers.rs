//! The tower that looks at pictures, and the one that reads texts.

use tch::{Kind, Tensor};

use super::transformer::{Linear, Maker, Norm, Transformer};
use super::{ClipConfig, ClipTextConfig};

/// A vision transformer (Dosovitskiy et al. 2021): a picture is cut into patches, each patch becomes a place, and one more
/// place, which stands for the whole, is what is read at the end.
#[derive(Debug)]
struct ImageTower {
    patches: Tensor,
    patch_size: i64,
    whole: Tensor,
    positions: Tensor,
    norm_before: Norm,
    transformer: Transformer,
    norm_after: Norm,
    projection: Linear,
}

impl ImageTower {
    fn new(maker: &mut Maker<'_>, config: &ClipConfig) -> Self {
        let (image, epsilon) = (&config.image, config.norm_epsilon);
        let (width, patch_size) = (image.transformer.width, image.patch_size as i64);
        let places = (image.image_size / image.patch_size).pow(2) as i64 + 1;
        let deviation = (width as f64).powf(-0.5);
        let name = |part: &str| format!("vision_model.{part}");
        let inputs = (3 * patch_size * patch_size) as f64;
        Self {
            patches: maker.weight(
                &name("embeddings.patch_embedding.weight"),
                &[width as i64, 3, patch_size, patch_size],
                (3.0 * inputs).powf(-0.5),
            ),
            patch_size,
            whole: maker.weight(&name("embeddings.class_embedding"), &[width as i64], deviation),
            positions: maker.weight(&name("embeddings.position_embedding.weight"), &[places, width as i64], deviation),
            norm_before: Norm::new(maker, &name("pre_layrnorm"), width, epsilon),
            transformer: Transformer::new(
                maker,
                &name("encoder"),
                &image.transformer,
                config.activation,
                config.norm_epsilon,
            ),
            norm_after: Norm::new(maker, &name("post_layernorm"), width, epsilon),
            projection: Linear::without_bias(maker, "visual_projection", width, config.embedding_size, deviation),
        }
    }

    fn share(&self) -> Self {
        Self {
            patches: self.patches.shallow_clone(),
            patch_size: self.patch_size,
            whole: self.whole.shallow_clone(),
            positions: self.positions.shallow_clone(),
            norm_before: self.norm_before.share(),
            transformer: self.transformer.share(),
            norm_after: self.norm_after.share(),
            projection: self.projection.share(),
        }
    }

    fn forward(&self, pictures: &Tensor) -> Tensor {
        let batch = pictures.size()[0];
        let patches = pictures.conv2d(&self.patches, None::<&Tensor>, self.patch_size, 0, 1, 1);
        let patches = patches.flatten(2, 3).transpose(1, 2);
        let whole = self.whole.expand([batch, 1, -1], false);
        let places = Tensor::cat(&[whole, patches], 1) + &self.positions;
        let places = self.transformer.forward(self.norm_before.forward(&places), false);
        self.projection.forward(&self.norm_after.forward(&places.select(1, 0)))
    }
}

/// A transformer in which each token sees those before it (Radford et al. 2019); read where the text ends.
#[derive(Debug)]
struct TextTower {
    tokens: Tensor,
    positions: Tensor,
    transformer: Transformer,
    norm: Norm,
    projection: Linear,
    end_token: i64,
}

impl TextTower {
    fn new(maker: &mut Maker<'_>, config: &ClipConfig) -> Self {
        let text = &config.text;
        let width = text.transformer.width;
        let name = |part: &str| format!("text_model.{part}");
        let deviation = (width as f64).powf(-0.5);
        Self {
            tokens: maker.weight(
                &name("embeddings.token_embedding.weight"),
                &[text.vocabulary_size as i64, width as i64],
                0.02,
            ),
            positions: maker.weight(
                &name("embeddings.position_embedding.weight"),
                &[text.context as i64, width as i64],
                0.01,
            ),
            transformer: Transformer::new(
                maker,
                &name("encoder"),
                &text.transformer,
                config.activation,
                config.norm_epsilon,
            ),
            norm: Norm::new(maker, &name("final_layer_norm"), width, config.norm_epsilon),
            projection: Linear::without_bias(maker, "text_projection", width, config.embedding_size, deviation),
            end_token: text.end_token,
        }
    }

    fn share(&self) -> Self {
        Self {
            tokens: self.tokens.shallow_clone(),
            positions: self.positions.shallow_clone(),
            transformer: self.transformer.share(),
            norm: self.norm.share(),
            projection: self.projection.share(),
            end_token: self.end_token,
        }
    }

    fn forward(&self, tokens: &Tensor) -> Tensor {
        let length = tokens.size()[1];
        let places = Tensor::embedding(&self.tokens, tokens, -1, false, false);
        let places = self.transformer.forward(places + self.positions.narrow(0, 0, length), true);
        let end = match self.end_token {
            ClipTextConfig::HIGHEST => tokens.argmax(1, false),
            // The first of them where texts are filled up with the same token.
            end => tokens.eq(end).to_kind(Kind::Int).argmax(1, false),
        };
        let end = end.view([-1, 1, 1]).expand([-1, 1, places.size()[2]], false);
        // Each place is normalised on its own, so only the one that is read need be.
        self.projection.forward(&self.norm.forward(&places.gather(1, &end, false).squeeze_dim(1)))
    }
}

/// Both towers, and how sharply their answers are compared. What of a [`Clip`](super::Clip) does the work, gradients included.
#[derive(Debug)]
pub(crate) struct Towers {
    image: ImageTower,
    text: TextTower,
    logit_scale: Tensor,
}

impl Towers {
    /// log(1 ÷ 0.07), the temperature that training starts from (section 2.5).
    const FIRST_LOGIT_SCALE: f64 = 2.659_260_036_932_778;

    pub(super) fn new(maker: &mut Maker<'_>, config: &ClipConfig) -> Self {
        Self {
            image: ImageTower::new(maker, config),
            text: TextTower::new(maker, config),
            logit_scale: maker.constant("logit_scale", &[], Self::FIRST_LOGIT_SCALE),
        }
    }

    /// The same towers for another thread: they use the same weights.
    #[cfg_attr(not(feature = "clip-text"), expect(dead_code, reason = "training needs a vocabulary"))]
    pub(crate) fn share(&self) -> Self {
        Self { image: self.image.share(), text: self.text.share(), logit_scale: self.logit_scale.shallow_clone() }
    }

    /// `[batch, 3, height, width]` to `[batch, embedding_size]`.
    pub(crate) fn encode_image(&self, pictures: &Tensor) -> Tensor {
        self.image.forward(pictures)
    }

    /// `[batch, length]` to `[batch, embedding_size]`.
    pub(crate) fn encode_text(&self, tokens: &Tensor) -> Tensor {
        self.text.forward(tokens)
    }

    /// The logarithm of the scale, without dimensions.
    pub(crate) fn logit_scale(&self) -> &Tensor {
        &self.logit_scale
    }
}

/// Each row divided by its length.
pub(crate) fn normalised(rows: &Tensor) -> Tensor {
    rows / rows.norm_scalaropt_dim(2.0, [-1], true)
}
