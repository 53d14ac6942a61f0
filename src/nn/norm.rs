//! Layer normalisation.

use tch::Tensor;

use super::{Weights, network};

/// Layer normalisation (Ba et al. 2016) over the last dimension.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

network!(LayerNorm { weight, bias; epsilon });

impl LayerNorm {
    /// Parameters are named `<name>.weight` and `<name>.bias`.
    pub(crate) fn new(name: &str, width: usize, epsilon: f64, weights: &mut Weights) -> Self {
        let shape = [width as i64];
        Self {
            weight: weights.constant(&format!("{name}.weight"), &shape, 1.0, true),
            bias: weights.constant(&format!("{name}.bias"), &shape, 0.0, true),
            epsilon,
        }
    }

    /// # Shapes
    /// - `input`, result: `[…, width]`
    pub(crate) fn forward(&self, input: &Tensor) -> Tensor {
        input.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.epsilon, true)
    }
}
