//! A fully connected layer.

use tch::Tensor;

use super::{Weights, network};

/// `y = x Wᵀ + b`, with `W` `[outputs, inputs]` and `b` `[outputs]`, computed in the dtype of the input.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
}

network!(Linear { weight, bias });

impl Linear {
    /// Initialises as PyTorch's `Linear`: weight and bias uniform within `1 ÷ √inputs`.
    pub(crate) fn new(name: &str, inputs: usize, outputs: usize, weights: &mut Weights) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        let bias = weights.uniform(&format!("{name}.bias"), &[outputs as i64], bound);
        Self { bias: Some(bias), ..Self::without_bias(name, inputs, outputs, bound, weights) }
    }

    /// Initialises the weight uniformly within `bound`, the bias with 0.
    pub(crate) fn within(name: &str, inputs: usize, outputs: usize, bound: f64, weights: &mut Weights) -> Self {
        let bias = weights.constant(&format!("{name}.bias"), &[outputs as i64], 0.0, true);
        Self { bias: Some(bias), ..Self::without_bias(name, inputs, outputs, bound, weights) }
    }

    /// Initialises for a following ReLU (He et al. 2015), with a bias of 0.
    pub(crate) fn kaiming_uniform(name: &str, inputs: usize, outputs: usize, weights: &mut Weights) -> Self {
        Self::within(name, inputs, outputs, (6.0 / inputs as f64).sqrt(), weights)
    }

    /// A layer without a bias, initialised uniformly within `bound`.
    pub(crate) fn without_bias(name: &str, inputs: usize, outputs: usize, bound: f64, weights: &mut Weights) -> Self {
        let shape = [outputs as i64, inputs as i64];
        Self { weight: weights.uniform(&format!("{name}.weight"), &shape, bound), bias: None }
    }

    /// # Shapes
    /// - `input`: `[…, inputs]`
    /// - result: `[…, outputs]`
    pub(crate) fn forward(&self, input: &Tensor) -> Tensor {
        let kind = input.kind();
        input.linear(&self.weight.to_kind(kind), self.bias.as_ref().map(|bias| bias.to_kind(kind)).as_ref())
    }
}
