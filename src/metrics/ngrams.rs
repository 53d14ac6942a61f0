//! Word ids and the n-grams (n = 1 to 4) that BLEU and CIDEr count.

use crate::data::WordMap;

/// The largest n.
pub(super) const MOST: usize = 4;

/// Word ids from 1.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    numbers: WordMap<String, u32>,
}

impl Words {
    /// The ids of a caption's words; new words get the next ids.
    pub(super) fn learn<S: AsRef<str>>(&mut self, tokens: &[S]) -> Vec<u32> {
        let words = split(tokens);
        words
            .map(|word| match self.numbers.get(word) {
                Some(&number) => number,
                None => {
                    let number = self.numbers.len() as u32 + 1;
                    self.numbers.insert(word.to_string(), number);
                    number
                }
            })
            .collect()
    }

    /// The ids of a caption's words; unknown words get temporary ids, valid for this caption only.
    pub(super) fn look_up<S: AsRef<str>>(&self, tokens: &[S]) -> Vec<u32> {
        let mut new: Vec<&str> = Vec::new();
        let words = split(tokens);
        words
            .map(|word| match self.numbers.get(word) {
                Some(&number) => number,
                None => {
                    let place = new.iter().position(|known| *known == word).unwrap_or_else(|| {
                        new.push(word);
                        new.len() - 1
                    });
                    u32::MAX - place as u32
                }
            })
            .collect()
    }
}

/// The words of tokens, usually the tokens themselves. A token with a no-break space, such as a telephone number, counts as two words
/// in BLEU and CIDEr, because the reference scorers join and split tokens again.
fn split<S: AsRef<str>>(tokens: &[S]) -> impl Iterator<Item = &str> {
    tokens.iter().flat_map(|token| token.as_ref().split_whitespace())
}

/// Converts a vocabulary's ids, which begin with 0. Ids out of range become an unknown word.
pub(super) fn of_ids(ids: &[i64]) -> Vec<u32> {
    ids.iter().map(|&id| u32::try_from(id).map_or(u32::MAX, |id| id.saturating_add(1))).collect()
}

/// Up to four word ids packed into an integer: equal n-grams are equal, and shorter ones are smaller.
pub(super) type Ngram = u128;

/// The n of an n-gram, 1 to 4.
pub(super) fn order(ngram: Ngram) -> usize {
    (128 - ngram.leading_zeros() as usize).div_ceil(32)
}

/// The n-grams of a caption with their counts, sorted.
pub(super) fn count(words: &[u32]) -> Vec<(Ngram, u32)> {
    let mut all = Vec::with_capacity(MOST * words.len());
    for start in 0..words.len() {
        let mut ngram = 0;
        for &word in words[start..].iter().take(MOST) {
            ngram = ngram << 32 | Ngram::from(word);
            all.push(ngram);
        }
    }
    all.sort_unstable();
    let mut counts: Vec<(Ngram, u32)> = Vec::with_capacity(all.len());
    for ngram in all {
        match counts.last_mut() {
            Some((last, count)) if *last == ngram => *count += 1,
            _ => counts.push((ngram, 1)),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ngrams_are_counted_by_length() {
        let mut words = Words::default();
        let caption = words.learn(&["a", "dog", "and", "a", "dog"]);
        assert_eq!(caption, [1, 2, 3, 1, 2]);
        let counts = count(&caption);
        let of = |length| counts.iter().filter(move |(ngram, _)| order(*ngram) == length).map(|(_, count)| *count);
        assert_eq!(of(1).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(of(2).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!((of(3).sum::<u32>(), of(4).sum::<u32>()), (3, 2));
        assert!(count(&[]).is_empty());
    }

    #[test]
    fn new_words_of_a_hypothesis_are_told_apart_and_match_nothing() {
        let mut words = Words::default();
        words.learn(&["a", "dog"]);
        let numbers = words.look_up(&["a", "cat", "a", "bird", "cat"]);
        assert_eq!(numbers[0], 1);
        assert_eq!(numbers[1], numbers[4]);
        assert_ne!(numbers[1], numbers[3]);
        assert!(numbers[1] > 2 && numbers[3] > 2);
    }

    #[test]
    fn a_token_with_a_no_break_space_is_two_words() {
        assert_eq!(Words::default().learn(&["call", "555\u{a0}1234"]), [1, 2, 3]);
    }
}
