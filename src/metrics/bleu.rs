//! BLEU: n-gram precision of a caption.

use std::ops::AddAssign;

use super::ngrams::{self, MOST, Ngram, Words};

/// The counts that BLEU is computed from. Counts of captions add up to those of a corpus.
///
/// Papineni et al. (2002), *BLEU: a Method for Automatic Evaluation of Machine Translation*: modified n-gram precision (section 2.1.1)
/// with the brevity penalty (section 2.2.2), whose reference length is the closest among the references, the shorter of two.
///
/// ```
/// use captionlab::metrics::BleuCounts;
/// let references = [["a", "dog", "runs", "on", "grass"]];
/// let counts = BleuCounts::of(&["a", "dog", "on", "grass"], &references);
/// // All 4 words stand in the reference, and 2 of the 3 pairs: "a dog", "on grass".
/// assert_eq!((counts.matches[0], counts.ngrams[0]), (4, 4));
/// assert_eq!((counts.matches[1], counts.ngrams[1]), (2, 3));
/// // It is too short by one word: exp(1 - 5/4) = 0.7788.
/// assert!((counts.bleu()[0] - 0.7788).abs() < 1e-4);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BleuCounts {
    /// Number of n-grams of the hypothesis that occur in a reference, for n = 1 to 4, each counted at most as often as it occurs in one of
    /// the references (*clipping*).
    pub matches: [u64; MOST],
    /// Number of n-grams of the hypothesis, for n = 1 to 4.
    pub ngrams: [u64; MOST],
    /// Number of words of the hypothesis.
    pub hypothesis_words: u64,
    /// Number of words of the reference of the closest length.
    pub reference_words: u64,
}

impl BleuCounts {
    /// Counts a caption. Without references nothing matches.
    pub fn of<S: AsRef<str>, R: AsRef<[S]>>(hypothesis: &[S], references: &[R]) -> Self {
        let mut words = Words::default();
        let references: Vec<Vec<u32>> = references.iter().map(|reference| words.learn(reference.as_ref())).collect();
        Self::of_numbers(&words.look_up(hypothesis), &references)
    }

    /// As [`BleuCounts::of`], for captions encoded as ids by a [`Vocabulary`](crate::data::Vocabulary).
    pub fn of_ids<R: AsRef<[i64]>>(hypothesis: &[i64], references: &[R]) -> Self {
        let references: Vec<Vec<u32>> = references.iter().map(|ids| ngrams::of_ids(ids.as_ref())).collect();
        Self::of_numbers(&ngrams::of_ids(hypothesis), &references)
    }

    fn of_numbers(hypothesis: &[u32], references: &[Vec<u32>]) -> Self {
        let mut most: Vec<(Ngram, u32)> = references.iter().flat_map(|reference| ngrams::count(reference)).collect();
        // Sorted, so that the last of equal n-grams has the highest count.
        most.sort_unstable();
        let mut matches = [0; MOST];
        for (ngram, count) in ngrams::count(hypothesis) {
            let end = most.partition_point(|(other, _)| *other <= ngram);
            if let Some((_, allowed)) = most[..end].last().filter(|(other, _)| *other == ngram) {
                matches[ngrams::order(ngram) - 1] += u64::from(count.min(*allowed));
            }
        }
        let length = hypothesis.len();
        let closest = references.iter().map(Vec::len).min_by_key(|reference| (reference.abs_diff(length), *reference));
        Self {
            matches,
            ngrams: std::array::from_fn(|n| length.saturating_sub(n) as u64),
            hypothesis_words: length as u64,
            reference_words: closest.unwrap_or(0) as u64,
        }
    }

    /// BLEU-1 to BLEU-4, each in `0..=1`.
    ///
    /// Two small constants are those of the reference scorer (pycocoevalcap): they avoid division by 0, and make the score of a caption
    /// without matches almost, but not exactly, 0.
    pub fn bleu(&self) -> [f64; MOST] {
        const TINY: f64 = 1e-15;
        const SMALL: f64 = 1e-9;
        let ratio = (self.hypothesis_words as f64 + TINY) / (self.reference_words as f64 + SMALL);
        let brevity_penalty = if ratio < 1.0 { (1.0 - 1.0 / ratio).exp() } else { 1.0 };
        let mut product = 1.0;
        std::array::from_fn(|n| {
            product *= (self.matches[n] as f64 + TINY) / (self.ngrams[n] as f64 + SMALL);
            product.powf(1.0 / (n + 1) as f64) * brevity_penalty
        })
    }
}

impl AddAssign for BleuCounts {
    fn add_assign(&mut self, other: Self) {
        for n in 0..MOST {
            self.matches[n] += other.matches[n];
            self.ngrams[n] += other.ngrams[n];
        }
        self.hypothesis_words += other.hypothesis_words;
        self.reference_words += other.reference_words;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn matches_are_clipped_at_the_most_of_one_reference() {
        // Papineni et al., example 2: seven times "the" match twice.
        let references = [words("the cat is on the mat"), words("there is a cat on the mat")];
        let counts = BleuCounts::of(&words("the the the the the the the"), &references);
        assert_eq!((counts.matches, counts.ngrams), ([2, 0, 0, 0], [7, 6, 5, 4]));
        assert_eq!((counts.hypothesis_words, counts.reference_words), (7, 7));
    }

    #[test]
    fn numbers_of_words_count_as_the_words_do() {
        let (references, hypothesis) = ([words("a b c d a b"), words("c d")], words("a b d a b c"));
        let ids = |words: &[&str]| words.iter().map(|word| i64::from(word.as_bytes()[0])).collect::<Vec<_>>();
        let of_ids = BleuCounts::of_ids(&ids(&hypothesis), &references.each_ref().map(|words| ids(words)));
        assert_eq!(of_ids, BleuCounts::of(&hypothesis, &references));
    }

    #[test]
    fn the_closest_length_counts_and_of_two_the_shorter() {
        let references = [words("a b c d e f"), words("a b"), words("a b c d e f g h")];
        assert_eq!(BleuCounts::of(&words("x x x x"), &references).reference_words, 2);
        assert_eq!(BleuCounts::of(&words("x x x x x"), &references).reference_words, 6);
    }

    #[test]
    fn a_copy_scores_one_and_a_short_one_is_penalised() {
        let reference = [words("a dog runs over the green grass")];
        for score in BleuCounts::of(&reference[0], &reference).bleu() {
            assert!((score - 1.0).abs() < 1e-6, "{score}");
        }
        let half = BleuCounts::of(&words("a dog runs"), &reference).bleu()[0];
        assert!((half - (1.0f64 - 7.0 / 3.0).exp()).abs() < 1e-6, "{half}");
    }

    #[test]
    fn nothing_said_or_nothing_to_compare_with_is_near_zero() {
        let none: [Vec<&str>; 0] = [];
        for counts in [BleuCounts::of(&words(""), &[words("a dog")]), BleuCounts::of(&words("a dog"), &none)] {
            assert!(counts.bleu().iter().all(|score| (0.0..1e-3).contains(score)), "{counts:?}");
        }
    }
}
