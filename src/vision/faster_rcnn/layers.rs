//! Layers with a bias. They compute with the kind of numbers that they are given.

use tch::Tensor;

use crate::nn::Weights;

/// A convolution that keeps width and height.
#[derive(Debug)]
pub(super) struct Convolution {
    weight: Tensor,
    bias: Tensor,
}

impl Convolution {
    pub(super) fn new(name: &str, inputs: i64, outputs: i64, side: i64, weights: &mut Weights) -> Self {
        let bound = (3.0 / (inputs * side * side) as f64).sqrt();
        Self::within(name, [outputs, inputs, side, side], bound, weights)
    }

    /// As [`Convolution::new`], with weights that start so small that the output starts near 0.
    pub(super) fn small(name: &str, inputs: i64, outputs: i64, side: i64, weights: &mut Weights) -> Self {
        Self::within(name, [outputs, inputs, side, side], SMALL, weights)
    }

    fn within(name: &str, shape: [i64; 4], bound: f64, weights: &mut Weights) -> Self {
        Self {
            weight: weights.uniform(&format!("{name}.weight"), &shape, bound),
            bias: weights.constant(&format!("{name}.bias"), &shape[..1], 0.0, true),
        }
    }

    pub(super) fn share(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }

    /// # Shapes
    /// - `map`: `[batch, inputs, height, width]`
    /// - result: `[batch, outputs, height, width]`
    pub(super) fn forward(&self, map: &Tensor) -> Tensor {
        let (weight, bias) = (self.weight.to_kind(map.kind()), self.bias.to_kind(map.kind()));
        map.conv2d(&weight, Some(&bias), 1, weight.size()[2] / 2, 1, 1)
    }
}

/// The bound of a uniform distribution of standard deviation 0.01.
const SMALL: f64 = 0.017_320_508;

/// A fully connected layer.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(name: &str, inputs: i64, outputs: i64, weights: &mut Weights) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        Self {
            weight: weights.uniform(&format!("{name}.weight"), &[outputs, inputs], bound),
            bias: weights.uniform(&format!("{name}.bias"), &[outputs], bound),
        }
    }

    pub(super) fn share(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }

    /// # Shapes
    /// - `rows`: `[batch, inputs]`
    /// - result: `[batch, outputs]`
    pub(super) fn forward(&self, rows: &Tensor) -> Tensor {
        rows.linear(&self.weight.to_kind(rows.kind()), Some(&self.bias.to_kind(rows.kind())))
    }
}
