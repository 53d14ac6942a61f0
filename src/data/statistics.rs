//! What a set of captions looks like: lengths, frequent words and pairs of words, and what the captions of one picture
//! agree on.
//!
//! Words are those of [`Vocabulary::words`](super::Vocabulary::words). Every function takes the captions as a slice of
//! strings, such as [`Dataset::captions`](super::Dataset::captions) or [`Example::captions`](super::Example::captions), and
//! gives back plain vectors, ready for a plot or a table.
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

/// Number of words of each caption, in the order of the captions.
pub fn caption_lengths<S: AsRef<str>>(captions: &[S]) -> Vec<usize> {
    let mut buffer = String::new();
    let mut length = |caption: &S| {
        let mut words = 0;
        for_each_word(caption.as_ref(), &mut buffer, |_| words += 1);
        words
    };
    captions.iter().map(&mut length).collect()
}

/// Every word with how often it stands in the captions: most frequent first, equally frequent ones alphabetical.
pub fn word_counts<S: AsRef<str>>(captions: &[S]) -> Vec<(String, usize)> {
    count_words(captions)
}

/// The `n` most frequent pairs of neighbouring words, as `"in front"`, with how often each stands in the captions. No pair
/// reaches over the end of a caption. Equally frequent ones are in alphabetical order.
pub fn most_common_bigrams<S: AsRef<str>>(captions: &[S], n: usize) -> Vec<(String, usize)> {
    // Pairs of numbers are much quicker to count than pairs of words.
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
    // Only the pairs that can be among the first `n` are spelled out.
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

/// For each `min_count`, how many different words are seen at least so often: the size that a vocabulary would have.
pub fn vocabulary_sizes<S: AsRef<str>>(captions: &[S], min_counts: &[usize]) -> Vec<(usize, usize)> {
    let counts = count_words(captions);
    let size = |min_count| counts.partition_point(|(_, count)| *count >= min_count);
    min_counts.iter().map(|&min_count| (min_count, size(min_count))).collect()
}

/// For each size, the share (0..=1) of all words of the captions that the so many most frequent words make up.
pub fn coverage_by_size<S: AsRef<str>>(captions: &[S], sizes: &[usize]) -> Vec<(usize, f64)> {
    let counts = count_words(captions);
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    let covered = |size| counts.iter().take(size).map(|(_, count)| count).sum::<usize>();
    sizes.iter().map(|&size| (size, covered(size) as f64 / all.max(1) as f64)).collect()
}

/// Every word of the captions of one picture with how many of the captions hold it: what all say first, what only one says
/// last. Words that equally many hold stand in the order in which they are first said.
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
