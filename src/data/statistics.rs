//! Statistics of captions: lengths, frequent words and bigrams, agreement between the captions of an image.
//!
//! Words are those of [`Vocabulary::words`](super::Vocabulary::words). Functions take a slice of captions, such as
//! [`Dataset::captions`](super::Dataset::captions) or [`Example::captions`](super::Example::captions), and return plain vectors for
//! plots and tables.
//!
//! ```
//! use captionlab::data::statistics::{caption_agreement, most_common_bigrams};
//!
//! let captions = ["A dog runs.", "A brown dog sleeps.", "The brown dog!"];
//! assert_eq!(most_common_bigrams(&captions, 1), [("brown dog".into(), 2)]);
//! assert_eq!(caption_agreement(&captions)[..3], [("dog".into(), 3), ("a".into(), 2), ("brown".into(), 2)]);
//! ```

use std::collections::HashSet;

use super::vocabulary::{by_frequency, count_words, for_each_word};
use super::word_map::WordMap;

/// Number of words of each caption.
pub fn caption_lengths<S: AsRef<str>>(captions: &[S]) -> Vec<usize> {
    let mut buffer = String::new();
    let mut length = |caption: &S| {
        let mut words = 0;
        for_each_word(caption.as_ref(), &mut buffer, |_| words += 1);
        words
    };
    captions.iter().map(&mut length).collect()
}

/// Words with their counts, by decreasing count, then alphabetically.
pub fn word_counts<S: AsRef<str>>(captions: &[S]) -> Vec<(String, usize)> {
    count_words(captions)
}

/// The `n` most frequent bigrams, such as `"in front"`, with their counts; ties are sorted alphabetically. Bigrams do not cross
/// captions.
pub fn most_common_bigrams<S: AsRef<str>>(captions: &[S], n: usize) -> Vec<(String, usize)> {
    // Pairs of ids are much faster to count than pairs of words.
    let mut ids: WordMap<String, usize> = WordMap::default();
    let mut counts: WordMap<(usize, usize), usize> = WordMap::default();
    let mut buffer = String::new();
    for caption in captions {
        let mut previous = None;
        for_each_word(caption.as_ref(), &mut buffer, |word| {
            let id = match ids.get(word) {
                Some(&id) => id,
                None => {
                    let id = ids.len();
                    ids.insert(word.to_owned(), id);
                    id
                }
            };
            if let Some(previous) = previous.replace(id) {
                *counts.entry((previous, id)).or_default() += 1;
            }
        });
    }
    // Only bigrams that can be among the first `n` become strings.
    let mut frequencies: Vec<usize> = counts.values().copied().collect();
    frequencies.sort_unstable_by(|count, other| other.cmp(count));
    let Some(&least) = n.checked_sub(1).and_then(|last| frequencies.get(last).or(frequencies.last())) else {
        return Vec::new();
    };
    let words: WordMap<usize, &str> = ids.iter().map(|(word, &id)| (id, word.as_str())).collect();
    let spelled = counts
        .iter()
        .filter(|&(_, &count)| count >= least)
        .filter_map(|((first, second), &count)| Some((format!("{} {}", words.get(first)?, words.get(second)?), count)));
    let mut bigrams = by_frequency(spelled.collect());
    bigrams.truncate(n);
    bigrams
}

/// For each `min_count`, the number of distinct words with at least that count: the size of such a vocabulary.
pub fn vocabulary_sizes<S: AsRef<str>>(captions: &[S], min_counts: &[usize]) -> Vec<(usize, usize)> {
    let counts = count_words(captions);
    let size = |min_count| counts.partition_point(|(_, count)| *count >= min_count);
    min_counts.iter().map(|&min_count| (min_count, size(min_count))).collect()
}

/// For each size, the share (0..=1) of word occurrences covered by that many most frequent words.
pub fn coverage_by_size<S: AsRef<str>>(captions: &[S], sizes: &[usize]) -> Vec<(usize, f64)> {
    let counts = count_words(captions);
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    let covered = |size| counts.iter().take(size).map(|(_, count)| count).sum::<usize>();
    sizes.iter().map(|&size| (size, covered(size) as f64 / all.max(1) as f64)).collect()
}

/// The words of an image's captions, each with the number of captions that contain it, by decreasing number. Ties keep the order of
/// first occurrence.
pub fn caption_agreement<S: AsRef<str>>(captions: &[S]) -> Vec<(String, usize)> {
    let mut agreement: Vec<(String, usize)> = Vec::new();
    let mut buffer = String::new();
    for caption in captions {
        let mut said: HashSet<String> = HashSet::new();
        for_each_word(caption.as_ref(), &mut buffer, |word| {
            if said.insert(word.to_owned()) {
                match agreement.iter_mut().find(|(known, _)| known == word) {
                    Some((_, captions)) => *captions += 1,
                    None => agreement.push((word.to_owned(), 1)),
                }
            }
        });
    }
    agreement.sort_by_key(|(_, captions)| std::cmp::Reverse(*captions));
    agreement
}
