//! What both towers are made of: layers of attention and of two linear maps (Vaswani et al. 2017), normalised first.

use tch::Tensor;

use super::{Activation, TransformerConfig};
use crate::nn::Weights;

/// Where a network gets its weights from as it is made.
pub(super) struct Maker<'a> {
    weights: &'a mut Weights,
    /// Zeros will do where all are to be replaced: published models have more than a hundred million.
    drawn: bool,
}

impl<'a> Maker<'a> {
    pub(super) fn new(weights: &'a mut Weights, drawn: bool) -> Self {
        Self { weights, drawn }
    }

    /// A weight that is drawn with this standard deviation, uniformly.
    pub(super) fn weight(&mut self, name: &str, shape: &[i64], deviation: f64) -> Tensor {
        match self.drawn {
            true => self.weights.uniform(name, shape, deviation * 3f64.sqrt()),
            false => self.constant(name, shape, 0.0),
        }
    }

    pub(super) fn constant(&mut self, name: &str, shape: &[i64], value: f64) -> Tensor {
        self.weights.constant(name, shape, value, true)
    }
}

/// `y = x Wᵀ + b`
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn new(maker: &mut Maker<'_>, name: &str, inputs: usize, outputs: usize, deviation: f64) -> Self {
        let bias = maker.constant(&format!("{name}.bias"), &[outputs as i64], 0.0);
        Self { bias: Some(bias), ..Self::without_bias(maker, name, inputs, outputs, deviation) }
    }

    pub(super) fn without_bias(
        maker: &mut Maker<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
        deviation: f64,
    ) -> Self {
        let shape = [outputs as i64, inputs as i64];
        Self { weight: maker.weight(&format!("{name}.weight"), &shape, deviation), bias: None }
    }

    pub(super) fn changed(&self, change: &dyn Fn(&Tensor) -> Tensor) -> Self {
        Self { weight: change(&self.weight), bias: self.bias.as_ref().map(change) }
    }

    pub(super) fn forward(&self, input: &Tensor) -> Tensor {
        input.linear(&self.weight, self.bias.as_ref())
    }
}

/// Layer normalisation (Ba et al. 2016).
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    pub(super) fn new(maker: &mut Maker<'_>, name: &str, width: usize, epsilon: f64) -> Self {
        let width = [width as i64];
        Self {
            weight: maker.constant(&format!("{name}.weight"), &width, 1.0),
            bias: maker.constant(&format!("{name}.bias"), &width, 0.0),
            epsilon,
        }
    }

    pub(super) fn changed(&self, change: &dyn Fn(&Tensor) -> Tensor) -> Self {
        Self { weight: change(&self.weight), bias: change(&self.bias), epsilon: self.epsilon }
    }

    pub(super) fn forward(&self, input: &Tensor) -> Tensor {
        input.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.epsilon, true)
    }
}

/// A stack of layers, `<prefix>.layers.0` and on.
#[derive(Debug)]
pub(super) struct Transformer {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    norm1: Norm,
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm2: Norm,
    widen: Linear,
    narrow: Linear,
    heads: i64,
    activation: Activation,
}

impl Transformer {
    /// Starts as OpenAI's code does: the deeper the stack, the less each layer adds.
    pub(super) fn new(
        maker: &mut Maker<'_>,
        prefix: &str,
        config: &TransformerConfig,
        activation: Activation,
        epsilon: f64,
    ) -> Self {
        let TransformerConfig { width, layers, heads, hidden_size } = *config;
        let inward = (width as f64).powf(-0.5);
        let outward = inward * (2.0 * layers as f64).powf(-0.5);
        let layer = |number: usize| {
            let name = |part: &str| format!("{prefix}.layers.{number}.{part}");
            Layer {
                norm1: Norm::new(maker, &name("layer_norm1"), width, epsilon),
                query: Linear::new(maker, &name("self_attn.q_proj"), width, width, inward),
                key: Linear::new(maker, &name("self_attn.k_proj"), width, width, inward),
                value: Linear::new(maker, &name("self_attn.v_proj"), width, width, inward),
                out: Linear::new(maker, &name("self_attn.out_proj"), width, width, outward),
                norm2: Norm::new(maker, &name("layer_norm2"), width, epsilon),
                widen: Linear::new(maker, &name("mlp.fc1"), width, hidden_size, inward * 0.5f64.sqrt()),
                narrow: Linear::new(maker, &name("mlp.fc2"), hidden_size, width, outward),
                heads: heads as i64,
                activation,
            }
        };
        Self { layers: (0..layers).map(layer).collect() }
    }

    pub(super) fn changed(&self, change: &dyn Fn(&Tensor) -> Tensor) -> Self {
        Self { layers: self.layers.iter().map(|layer| layer.changed(change)).collect() }
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
    fn changed(&self, change: &dyn Fn(&Tensor) -> Tensor) -> Self {
        Self {
            norm1: self.norm1.changed(change),
            query: self.query.changed(change),
            key: self.key.changed(change),
            value: self.value.changed(change),
            out: self.out.changed(change),
            norm2: self.norm2.changed(change),
            widen: self.widen.changed(change),
            narrow: self.narrow.changed(change),
            ..*self
        }
    }

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
