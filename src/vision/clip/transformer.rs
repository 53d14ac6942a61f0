//! What both towers are made of: layers of attention and of two linear maps (Vaswani et al. 2017), normalised first.

use tch::Tensor;

use super::{Activation, TransformerConfig};
use crate::nn::{LayerNorm, Linear, Weights, network};

/// The bound of a uniform distribution of that standard deviation.
pub(super) fn bound_of(deviation: f64) -> f64 {
    deviation * 3f64.sqrt()
}

/// A stack of layers, `<prefix>.layers.0` and on.
#[derive(Debug)]
pub(super) struct Transformer {
    layers: Vec<Layer>,
}

network!(Transformer { layers });

#[derive(Debug)]
struct Layer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: LayerNorm,
    widen: Linear,
    narrow: Linear,
    heads: i64,
    activation: Activation,
}

network!(Layer { norm1, query, key, value, out, norm2, widen, narrow; heads, activation });

impl Transformer {
    /// Starts as OpenAI's code does: the deeper the stack, the less each layer adds.
    pub(super) fn new(
        prefix: &str,
        config: &TransformerConfig,
        activation: Activation,
        epsilon: f64,
        weights: &mut Weights,
    ) -> Self {
        let TransformerConfig { width, layers, heads, hidden_size } = *config;
        let inward = (width as f64).powf(-0.5);
        let outward = inward * (2.0 * layers as f64).powf(-0.5);
        let mut layer = |number: usize| {
            let name = |part: &str| format!("{prefix}.layers.{number}.{part}");
            let linear = |part: &str, inputs: usize, outputs: usize, deviation: f64, weights: &mut Weights| {
                Linear::within(&name(part), inputs, outputs, bound_of(deviation), weights)
            };
            Layer {
                norm1: LayerNorm::new(&name("layer_norm1"), width, epsilon, weights),
                query: linear("self_attn.q_proj", width, width, inward, weights),
                key: linear("self_attn.k_proj", width, width, inward, weights),
                value: linear("self_attn.v_proj", width, width, inward, weights),
                out: linear("self_attn.out_proj", width, width, outward, weights),
                norm2: LayerNorm::new(&name("layer_norm2"), width, epsilon, weights),
                widen: linear("mlp.fc1", width, hidden_size, inward * 0.5f64.sqrt(), weights),
                narrow: linear("mlp.fc2", hidden_size, width, outward, weights),
                heads: heads as i64,
                activation,
            }
        };
        Self { layers: (0..layers).map(&mut layer).collect() }
    }

    /// `[batch, places, width]` in and out. When `causal`, a place sees those before it and itself alone.
    pub(super) fn forward(&self, mut places: Tensor, causal: bool) -> Tensor {
        for layer in &self.layers {
            places = layer.forward(places, causal);
        }
        places
    }
}

impl Layer {
    fn forward(&self, places: Tensor, causal: bool) -> Tensor {
        let (batch, count, width) = (places.size()[0], places.size()[1], places.size()[2]);
        let normal = self.norm1.forward(&places);
        let heads = |linear: &Linear| {
            linear.forward(&normal).view([batch, count, self.heads, width / self.heads]).transpose(1, 2)
        };
        let (query, key, value) = (heads(&self.query), heads(&self.key), heads(&self.value));
        let seen =
            Tensor::scaled_dot_product_attention(&query, &key, &value, None::<&Tensor>, 0.0, causal, None, false);
        let places = places + self.out.forward(&seen.transpose(1, 2).reshape([batch, count, width]));
        let hidden = self.widen.forward(&self.norm2.forward(&places));
        let hidden = match self.activation {
            Activation::QuickGelu => (&hidden * 1.702).sigmoid_() * hidden,
            Activation::Gelu => hidden.gelu("none"),
        };
        places + self.narrow.forward(&hidden)
    }
}
