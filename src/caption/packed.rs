//! Captions of a batch, packed so that nothing is computed for padding.

use tch::Tensor;

use crate::data::Vocabulary;
use crate::nn::Packing;

/// The captions of a batch, step after step: first the first words of all captions, then the second words of those that
/// have one, and so on. The captions are sorted by length, longest first, so the captions of a step are always the first
/// ones.
#[derive(Debug)]
pub struct PackedCaptions {
    /// What the generator reads, `[tokens]`: `<start>` and the words.
    pub inputs: Tensor,
    /// What it should predict next, `[tokens]`: the words and `<end>`.
    pub targets: Tensor,
    /// The index of the picture that each token belongs to, `[tokens]`.
    pub pictures: Tensor,
    /// How many captions are active at each step; never grows, and sums to the number of tokens.
    pub steps: Vec<i64>,
}

impl PackedCaptions {
    /// Packs captions given as (number of the picture, words without specials); each is cut after `max_words` words.
    pub fn new(captions: &[(usize, &[i64])], max_words: usize) -> Self {
        let length = |(_, words): &(usize, &[i64])| words.len().min(max_words) + 1;
        let Packing { steps, tokens } = Packing::new(&captions.iter().map(length).collect::<Vec<_>>());
        let word = |caption: usize, step: usize| captions[caption].1.get(step).copied();
        let input = |&(caption, step): &(usize, usize)| match step.checked_sub(1) {
            None => Vocabulary::START,
            Some(before) => word(caption, before).unwrap_or(Vocabulary::END),
        };
        let target = |&(caption, step): &(usize, usize)| word(caption, step).unwrap_or(Vocabulary::END);
        let picture = |&(caption, _): &(usize, usize)| captions[caption].0 as i64;
        let of_tokens = |value: &dyn Fn(&(usize, usize)) -> i64| -> Tensor {
            Tensor::from_slice(&tokens.iter().map(value).collect::<Vec<_>>())
        };
        Self { inputs: of_tokens(&input), targets: of_tokens(&target), pictures: of_tokens(&picture), steps }
    }

    /// Where each token but the first of a caption stands, and the token before it in the caption.
    pub(super) fn tokens_before(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut first = 0;
        self.steps.windows(2).flat_map(move |steps| {
            let (before, now) = (first, first + steps[0] as usize);
            first = now;
            (0..steps[1] as usize).map(move |row| (now + row, before + row))
        })
    }

    /// The same captions, of which other words are read.
    pub(super) fn with_inputs(&self, inputs: &[i64]) -> Self {
        let [targets, pictures] = [&self.targets, &self.pictures].map(Tensor::shallow_clone);
        Self { inputs: Tensor::from_slice(inputs), targets, pictures, steps: self.steps.clone() }
    }

    /// How many captions there are.
    pub fn captions(&self) -> usize {
        self.steps.first().map_or(0, |&captions| captions as usize)
    }

    /// How many words are to be said, ends included.
    pub fn tokens(&self) -> usize {
        self.steps.iter().sum::<i64>() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_packed_step_by_step_longest_first() {
        let packed = PackedCaptions::new(&[(0, &[10]), (1, &[20, 21]), (1, &[]), (2, &[30])], 40);
        assert_eq!(packed.steps, [4, 3, 1]);
        assert_eq!((packed.captions(), packed.tokens()), (4, 8));
        let numbers = |tensor: &Tensor| Vec::<i64>::try_from(tensor).unwrap();
        assert_eq!(numbers(&packed.inputs), [1, 1, 1, 1, 20, 10, 30, 21]);
        assert_eq!(numbers(&packed.targets), [20, 10, 30, 2, 21, 2, 2, 2]);
        assert_eq!(numbers(&packed.pictures), [1, 0, 2, 1, 1, 0, 2, 1]);
        assert_eq!(packed.tokens_before().collect::<Vec<_>>(), [(4, 0), (5, 1), (6, 2), (7, 4)]);
    }

    #[test]
    fn a_caption_that_is_cut_does_not_learn_to_end_there() {
        let packed = PackedCaptions::new(&[(0, &[10, 11, 12])], 2);
        let numbers = |tensor: &Tensor| Vec::<i64>::try_from(tensor).unwrap();
        assert_eq!(numbers(&packed.inputs), [1, 10, 11]);
        assert_eq!(numbers(&packed.targets), [10, 11, 12]);
    }
}
