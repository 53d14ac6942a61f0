//! The tower that looks at pictures, and the one that reads texts.

use tch::{Kind, Tensor};

use super::transformer::{Linear, Maker, Norm, Transformer};
use super::{ClipConfig, ClipTextConfig};

/// A vision transformer (Dosovitskiy et al. 2021): a picture is cut into patches, each patch becomes a place, and one more
/// place, which stands for the whole, is what is read at the end.
#[derive(Debug)]
pub(super) struct ImageTower {
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

    fn changed(&self, change: &dyn Fn(&Tensor) -> Tensor) -> Self {
        Self {
            patches: change(&self.patches),
            patch_size: self.patch_size,
            whole: change(&self.whole),
            positions: change(&self.positions),
            norm_before: self.norm_before.changed(change),
            transformer: self.transformer.changed(change),
            norm_after: self.norm_after.changed(change),
            projection: self.projection.changed(change),
        }
    }

    /// A copy of the tower as it is now, which computes with such numbers and keeps no gradients.
    pub(super) fn copy_in(&self, kind: Kind) -> Self {
        tch::no_grad(|| self.changed(&|weight| weight.detach().to_kind(kind)))
    }

    /// `[batch, 3, height, width]` to `[batch, embedding_size]`, computed with the kind of numbers that its weights are.
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

    fn changed(&self, change: &dyn Fn(&Tensor) -> Tensor) -> Self {
        Self {
            tokens: change(&self.tokens),
            positions: change(&self.positions),
            transformer: self.transformer.changed(change),
            norm: self.norm.changed(change),
            projection: self.projection.changed(change),
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
        let same = &Tensor::shallow_clone;
        Self { image: self.image.changed(same), text: self.text.changed(same), logit_scale: same(&self.logit_scale) }
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

    /// The logarithm of the scale, without dimensions.
    pub(crate) fn logit_scale(&self) -> &Tensor {
        &self.logit_scale
    }
}

/// Each row divided by its length.
pub(crate) fn normalised(rows: &Tensor) -> Tensor {
    rows / rows.norm_scalaropt_dim(2.0, [-1], true)
}
