//! A long short-term memory (Hochreiter & Schmidhuber 1997) with the weights of PyTorch's `LSTM`, written out.
//!
//! libtorch's own kernel repacks its weights at every call, which is dear when a caption is made word by word; and it wants
//! one input a step, while here most of the input, the image, is the same at all steps and need be multiplied only once.
//!
//! ```text
//! i, f, g, o = split(W_ih x + b_ih + W_hh h + b_hh)
//! c ← σ(f) ⊙ c + σ(i) ⊙ tanh(g)
//! h ← σ(o) ⊙ tanh(c)
//! ```

use tch::{Kind, Tensor};

use crate::nn::Weights;

/// The weights of one LSTM layer.
#[derive(Debug)]
pub(crate) struct Lstm {
    pub(crate) hidden_size: i64,
    /// `[4 · hidden, input]`
    pub(crate) weight_ih: Tensor,
    /// `[4 · hidden, hidden]`
    pub(crate) weight_hh: Tensor,
    /// `[4 · hidden]`
    pub(crate) bias_ih: Tensor,
    /// `[4 · hidden]`
    pub(crate) bias_hh: Tensor,
}

/// What an LSTM remembers, each `[batch, hidden]`.
#[derive(Debug)]
pub(crate) struct LstmState {
    pub(crate) hidden: Tensor,
    pub(crate) cell: Tensor,
}

impl LstmState {
    fn narrow(&self, batch: i64) -> Self {
        Self { hidden: self.hidden.narrow(0, 0, batch), cell: self.cell.narrow(0, 0, batch) }
    }
}

impl Lstm {
    pub(crate) fn new(input_size: usize, hidden_size: usize, prefix: &str, weights: &mut Weights) -> Self {
        let (input, hidden) = (input_size as i64, hidden_size as i64);
        let bound = 1.0 / (hidden_size as f64).sqrt();
        let mut weight = |name: &str, shape: &[i64]| weights.uniform(&format!("{prefix}.{name}_l0"), shape, bound);
        Self {
            hidden_size: hidden,
            weight_ih: weight("weight_ih", &[4 * hidden, input]),
            weight_hh: weight("weight_hh", &[4 * hidden, hidden]),
            bias_ih: weight("bias_ih", &[4 * hidden]),
            bias_hh: weight("bias_hh", &[4 * hidden]),
        }
    }

    /// The same LSTM for another thread.
    pub(crate) fn share(&self) -> Self {
        Self {
            hidden_size: self.hidden_size,
            weight_ih: self.weight_ih.shallow_clone(),
            weight_hh: self.weight_hh.shallow_clone(),
            bias_ih: self.bias_ih.shallow_clone(),
            bias_hh: self.bias_hh.shallow_clone(),
        }
    }

    /// Both biases, which are only ever added.
    pub(crate) fn bias(&self) -> Tensor {
        &self.bias_ih + &self.bias_hh
    }

    /// A memory of nothing.
    pub(crate) fn start(&self, batch: i64) -> LstmState {
        let zeros = || Tensor::zeros([batch, self.hidden_size], (Kind::Float, self.weight_hh.device()));
        LstmState { hidden: zeros(), cell: zeros() }
    }

    /// One step.
    ///
    /// # Shapes
    /// - `input_gates`: `W_ih x + b_ih + b_hh`, `[batch, 4 · hidden]`
    pub(crate) fn step(&self, input_gates: &Tensor, state: &LstmState) -> LstmState {
        let gates = input_gates.addmm(&state.hidden, &self.weight_hh.tr());
        let size = self.hidden_size;
        let input_and_forget = gates.narrow(1, 0, 2 * size).sigmoid();
        let candidate = gates.narrow(1, 2 * size, size).tanh();
        let output = gates.narrow(1, 3 * size, size).sigmoid();
        let cell =
            input_and_forget.narrow(1, size, size) * &state.cell + input_and_forget.narrow(1, 0, size) * candidate;
        LstmState { hidden: output * cell.tanh(), cell }
    }

    /// All steps of packed sequences.
    ///
    /// # Shapes
    /// - `input_gates`: `[tokens, 4 · hidden]`, packed as in `PackedCaptions`
    /// - `steps`: sequences that go on at each step
    /// - result: the hidden states, `[tokens, hidden]`, packed alike
    pub(crate) fn forward(&self, input_gates: &Tensor, steps: &[i64]) -> Tensor {
        let mut state = self.start(steps.first().copied().unwrap_or(0));
        let mut outputs = Vec::with_capacity(steps.len());
        for (gates, &batch) in input_gates.split_with_sizes(steps, 0).iter().zip(steps) {
            if batch < state.hidden.size()[0] {
                state = state.narrow(batch);
            }
            state = self.step(gates, &state);
            outputs.push(state.hidden.shallow_clone());
        }
        Tensor::cat(&outputs, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn it_computes_what_the_kernel_of_libtorch_computes() {
        let (batch, length, input_size) = (3, 5, 7);
        let mut weights = Weights::new(1, Device::Cpu);
        let lstm = Lstm::new(input_size, 6, "lstm", &mut weights);
        let input = Weights::new(2, Device::Cpu).uniform("input", &[length, batch, input_size as i64], 2.0);
        let start = lstm.start(batch);
        let (hidden, cell) = (start.hidden.unsqueeze(0), start.cell.unsqueeze(0));
        let parameters = [&lstm.weight_ih, &lstm.weight_hh, &lstm.bias_ih, &lstm.bias_hh];
        let (theirs, ..) = input.lstm(&[&hidden, &cell], &parameters, true, 1, 0.0, true, false, false);
        theirs.square().sum(Kind::Float).backward();
        let their_gradient = lstm.weight_hh.grad().copy();

        for parameter in parameters {
            parameter.shallow_clone().zero_grad();
        }
        let gates = input.flatten(0, 1).linear(&lstm.weight_ih, Some(&lstm.bias()));
        let ours = lstm.forward(&gates, &[batch; 5]);
        ours.square().sum(Kind::Float).backward();
        let difference = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        assert!(difference(&ours, &theirs.flatten(0, 1)) < 1e-6);
        assert!(difference(&lstm.weight_hh.grad(), &their_gradient) < 1e-5);
    }
}
