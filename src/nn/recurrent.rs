//! Recurrent layers with the parameters of PyTorch's `LSTM` and `RNN`.
//!
//! libtorch's own kernels repack the weights at every call, which is expensive when a caption is decoded word by word. They also
//! take a whole input per step, while a captioner multiplies the constant part of its input, the image, only once.
//!
//! | cell | step |
//! |---|---|
//! | LSTM (Hochreiter & Schmidhuber 1997) | `i, f, g, o = split(W_ih x + b_ih + W_hh h + b_hh)`, `c ← σ(f) ⊙ c + σ(i) ⊙ tanh(g)`, `h ← σ(o) ⊙ tanh(c)` |
//! | ReLU RNN (Karpathy & Fei-Fei 2015, equations 4 and 13) | `h ← max(0, W_ih x + b_ih + W_hh h + b_hh)` |

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Weights, network};

/// The cell of a recurrent layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Long short-term memory (Hochreiter & Schmidhuber 1997).
    #[default]
    Lstm,
    /// A plain recurrent network with a ReLU, as in Karpathy & Fei-Fei (2015).
    ReluRnn,
}

impl Cell {
    /// Rows of a weight per hidden unit.
    fn gates(self) -> i64 {
        match self {
            Self::Lstm => 4,
            Self::ReluRnn => 1,
        }
    }
}

/// One recurrent layer, in one direction.
#[derive(Debug)]
pub(crate) struct Recurrent {
    cell: Cell,
    hidden_size: i64,
    /// `[gates · hidden, input]`
    pub(crate) weight_ih: Tensor,
    /// `[gates · hidden, hidden]`
    pub(crate) weight_hh: Tensor,
    /// `[gates · hidden]`
    bias_ih: Tensor,
    /// `[gates · hidden]`
    bias_hh: Tensor,
}

network!(Recurrent { weight_ih, weight_hh, bias_ih, bias_hh; cell, hidden_size });

/// The state of a [`Recurrent`], each part `[batch, hidden]`.
#[derive(Debug)]
pub(crate) struct RecurrentState {
    pub(crate) hidden: Tensor,
    /// The cell of an LSTM; the hidden state itself in a ReLU RNN, which has none.
    pub(crate) cell: Tensor,
}

impl RecurrentState {
    fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> Self {
        Self { hidden: change(&self.hidden), cell: change(&self.cell) }
    }

    /// The states of the selected rows of the batch.
    pub(crate) fn select(&self, rows: &Tensor) -> Self {
        self.map(|part| part.index_select(0, rows))
    }
}

impl Recurrent {
    /// Parameters are named `<prefix>.weight_ih_l0` …, and initialised as in PyTorch: uniform within `1 ÷ √hidden`.
    pub(crate) fn new(cell: Cell, inputs: usize, hidden_size: usize, prefix: &str, weights: &mut Weights) -> Self {
        Self::named(cell, inputs, hidden_size, |name| format!("{prefix}.{name}_l0"), weights)
    }

    fn named(
        cell: Cell,
        inputs: usize,
        hidden_size: usize,
        name: impl Fn(&str) -> String,
        weights: &mut Weights,
    ) -> Self {
        let (inputs, hidden) = (inputs as i64, hidden_size as i64);
        let rows = cell.gates() * hidden;
        let bound = 1.0 / (hidden_size as f64).sqrt();
        let mut weight = |part: &str, shape: &[i64]| weights.uniform(&name(part), shape, bound);
        Self {
            cell,
            hidden_size: hidden,
            weight_ih: weight("weight_ih", &[rows, inputs]),
            weight_hh: weight("weight_hh", &[rows, hidden]),
            bias_ih: weight("bias_ih", &[rows]),
            bias_hh: weight("bias_hh", &[rows]),
        }
    }

    /// The sum of both biases.
    pub(crate) fn bias(&self) -> Tensor {
        &self.bias_ih + &self.bias_hh
    }

    /// The state before the first step: zeros.
    pub(crate) fn initial_state(&self, batch: i64) -> RecurrentState {
        let zeros = || Tensor::zeros([batch, self.hidden_size], (Kind::Float, self.weight_hh.device()));
        RecurrentState { hidden: zeros(), cell: zeros() }
    }

    /// One step.
    ///
    /// # Shapes
    /// - `input_gates`: `W_ih x + b_ih + b_hh`, `[batch, gates · hidden]`
    pub(crate) fn step(&self, input_gates: &Tensor, state: &RecurrentState) -> RecurrentState {
        let gates = input_gates.addmm(&state.hidden, &self.weight_hh.tr());
        let size = self.hidden_size;
        match self.cell {
            Cell::Lstm => {
                // Split, not narrowed: the gradient of a part alone is as large as the whole.
                let parts = gates.split_with_sizes([2 * size, size, size], 1);
                let input_and_forget = parts[0].sigmoid().split(size, 1);
                let cell = &input_and_forget[1] * &state.cell + &input_and_forget[0] * parts[1].tanh();
                RecurrentState { hidden: parts[2].sigmoid() * cell.tanh(), cell }
            }
            Cell::ReluRnn => {
                let hidden = gates.relu();
                RecurrentState { cell: hidden.shallow_clone(), hidden }
            }
        }
    }

    /// Runs all steps over packed sequences, sorted by decreasing length (as PyTorch's `PackedSequence`).
    ///
    /// # Shapes
    /// - `input_gates`: `[tokens, gates · hidden]`, packed: step by step, the tokens of all sequences that are still active
    /// - `steps`: number of active sequences at each step
    /// - result: hidden states, `[tokens, hidden]`, packed alike
    pub(crate) fn forward(&self, input_gates: &Tensor, steps: &[i64]) -> Tensor {
        self.forward_with(input_gates, steps, self.initial_state(steps.first().copied().unwrap_or(0)), |gates, _| gates)
    }

    /// As [`Recurrent::forward`], from a state of the sequences in packed order; `add` may add to the gates of a step what depends on the
    /// state before it.
    pub(crate) fn forward_with(
        &self,
        input_gates: &Tensor,
        steps: &[i64],
        mut state: RecurrentState,
        mut add: impl FnMut(Tensor, &RecurrentState) -> Tensor,
    ) -> Tensor {
        let mut outputs = Vec::with_capacity(steps.len());
        for (gates, &batch) in input_gates.split_with_sizes(steps, 0).into_iter().zip(steps) {
            if batch < state.hidden.size()[0] {
                state = state.map(|part| part.narrow(0, 0, batch));
            }
            state = self.step(&add(gates, &state), &state);
            outputs.push(state.hidden.shallow_clone());
        }
        Tensor::cat(&outputs, 0)
    }

    /// As [`Recurrent::forward`], from the last token of each sequence to the first.
    fn backward(&self, input_gates: &Tensor, steps: &[i64]) -> Tensor {
        let mut state = self.initial_state(steps.last().copied().unwrap_or(0));
        let mut outputs = Vec::with_capacity(steps.len());
        for (gates, &batch) in input_gates.split_with_sizes(steps, 0).iter().zip(steps).rev() {
            let joining = batch - state.hidden.size()[0];
            if joining > 0 {
                // The sequences that end here start from zeros.
                let start = self.initial_state(joining);
                state = RecurrentState {
                    hidden: Tensor::cat(&[state.hidden, start.hidden], 0),
                    cell: Tensor::cat(&[state.cell, start.cell], 0),
                };
            }
            state = self.step(gates, &state);
            outputs.push(state.hidden.shallow_clone());
        }
        outputs.reverse();
        Tensor::cat(&outputs, 0)
    }
}

/// A forward and a backward recurrent layer.
#[derive(Debug)]
pub(crate) struct Bidirectional {
    ahead: Recurrent,
    back: Recurrent,
}

network!(Bidirectional { ahead, back });

impl Bidirectional {
    /// Parameters are named as in PyTorch: `<prefix>.weight_ih_l0` and `<prefix>.weight_ih_l0_reverse`.
    pub(crate) fn new(cell: Cell, inputs: usize, hidden_size: usize, prefix: &str, weights: &mut Weights) -> Self {
        let reverse = |name: &str| format!("{prefix}.{name}_l0_reverse");
        Self {
            ahead: Recurrent::new(cell, inputs, hidden_size, prefix, weights),
            back: Recurrent::named(cell, inputs, hidden_size, reverse, weights),
        }
    }

    /// # Shapes
    /// - `input`: `[tokens, inputs]`, packed as for [`Recurrent::forward`]
    /// - `steps`: number of active sequences at each step
    /// - result: `[tokens, 2 · hidden]`, packed alike: forward, then backward states
    pub(crate) fn forward(&self, input: &Tensor, steps: &[i64]) -> Tensor {
        let gates = |layer: &Recurrent| input.linear(&layer.weight_ih, Some(&layer.bias()));
        let ahead = self.ahead.forward(&gates(&self.ahead), steps);
        let back = self.back.backward(&gates(&self.back), steps);
        Tensor::cat(&[ahead, back], 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    /// Sequences of 5, 3 and 3 tokens, padded, `[length, batch, 7]`, and packed.
    fn sequences() -> (Tensor, Tensor, [i64; 5]) {
        let padded = Weights::new(2, Device::Cpu).uniform("input", &[5, 3, 7], 2.0);
        let steps = [3, 3, 3, 1, 1];
        let packed: Vec<Tensor> = (0..).zip(steps).map(|(step, batch)| padded.get(step).narrow(0, 0, batch)).collect();
        (padded.shallow_clone(), Tensor::cat(&packed, 0), steps)
    }

    #[test]
    fn an_lstm_computes_what_the_kernel_of_libtorch_computes() {
        let (padded, _, _) = sequences();
        let mut weights = Weights::new(1, Device::Cpu);
        let lstm = Recurrent::new(Cell::Lstm, 7, 6, "lstm", &mut weights);
        let start = lstm.initial_state(3);
        let (hidden, cell) = (start.hidden.unsqueeze(0), start.cell.unsqueeze(0));
        let parameters = [&lstm.weight_ih, &lstm.weight_hh, &lstm.bias_ih, &lstm.bias_hh];
        let (theirs, ..) = padded.lstm(&[&hidden, &cell], &parameters, true, 1, 0.0, true, false, false);
        theirs.square().sum(Kind::Float).backward();
        let their_gradient = lstm.weight_hh.grad().copy();

        for parameter in parameters {
            parameter.shallow_clone().zero_grad();
        }
        let gates = padded.flatten(0, 1).linear(&lstm.weight_ih, Some(&lstm.bias()));
        let ours = lstm.forward(&gates, &[3; 5]);
        ours.square().sum(Kind::Float).backward();
        assert!(difference(&ours, &theirs.flatten(0, 1)) < 1e-6);
        assert!(difference(&lstm.weight_hh.grad(), &their_gradient) < 1e-5);
    }

    #[test]
    fn both_directions_of_packed_sequences_are_those_of_libtorch() {
        let (padded, packed, steps) = sequences();
        for cell in [Cell::Lstm, Cell::ReluRnn] {
            let mut weights = Weights::new(1, Device::Cpu);
            let network = Bidirectional::new(cell, 7, 6, "encoder", &mut weights);
            let ours = network.forward(&packed, &steps);
            let names: Vec<String> = weights.named().into_iter().map(|(name, _)| name).collect();
            assert!(names.contains(&"encoder.weight_hh_l0_reverse".to_string()), "{names:?}");
            let (ahead, back) = (&network.ahead, &network.back);
            let layers =
                [ahead, back].map(|layer| [&layer.weight_ih, &layer.weight_hh, &layer.bias_ih, &layer.bias_hh]);
            let parameters: Vec<&Tensor> = layers.into_iter().flatten().collect();
            // Sequence by sequence, so that nothing is padded.
            for (row, length) in [(0, 5), (1, 3), (2, 3)] {
                let alone = padded.narrow(0, 0, length).narrow(1, row, 1);
                let zeros = Tensor::zeros([2, 1, 6], (Kind::Float, Device::Cpu));
                let theirs = match cell {
                    Cell::Lstm => alone.lstm(&[&zeros, &zeros], &parameters, true, 1, 0.0, false, true, false).0,
                    Cell::ReluRnn => alone.rnn_relu(&zeros, &parameters, true, 1, 0.0, false, true, false).0,
                };
                let mut start = 0;
                for step in 0..length {
                    let our_step = ours.get(start + row);
                    assert!(difference(&our_step, &theirs.get(step).get(0)) < 1e-6, "{cell:?}, row {row}, step {step}");
                    start += steps[step as usize];
                }
            }
        }
    }
}
