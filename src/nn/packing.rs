//! Sequences of different lengths in one batch, without padding.

use std::cmp::Reverse;

/// The order of the tokens of packed sequences, as of PyTorch's `PackedSequence`: the first tokens of all sequences, then the second
/// tokens of those that have one, and so on. Sequences are sorted by decreasing length, so the active ones are always the first; those
/// of one length keep their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Packing {
    /// Number of active sequences at each step. Never grows; sums to the number of tokens.
    pub(crate) steps: Vec<i64>,
    /// The sequence of each token, and the token's index in it.
    pub(crate) tokens: Vec<(usize, usize)>,
}

impl Packing {
    /// Packs sequences of these lengths.
    pub(crate) fn new(lengths: &[usize]) -> Self {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&sequence| Reverse(lengths[sequence]));
        let longest = order.first().map_or(0, |&sequence| lengths[sequence]);
        let mut packing = Self { steps: Vec::with_capacity(longest), tokens: Vec::with_capacity(lengths.iter().sum()) };
        for step in 0..longest {
            let before = packing.tokens.len();
            let active = order.iter().take_while(|&&sequence| step < lengths[sequence]);
            packing.tokens.extend(active.map(|&sequence| (sequence, step)));
            packing.steps.push((packing.tokens.len() - before) as i64);
        }
        packing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_step_by_step_longest_sequence_first() {
        let packing = Packing::new(&[1, 0, 3, 1]);
        assert_eq!(packing.steps, [3, 1, 1]);
        assert_eq!(packing.tokens, [(2, 0), (0, 0), (3, 0), (2, 1), (2, 2)]);
        assert_eq!(Packing::new(&[0, 0]), Packing::default());
    }
}
