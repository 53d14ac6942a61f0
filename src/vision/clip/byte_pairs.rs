//! Byte-pair encoding (Sennrich et al. 2016, *Neural Machine Translation of Rare Words with Subword Units*, section 3.2).

use std::collections::BTreeMap;

/// Suffix of the last piece of a word.
pub(super) const END_OF_WORD: &str = "</w>";

/// The 256 bytes as printable characters, in the order of CLIP's vocabulary; printable bytes stand for themselves.
pub(super) fn letters() -> Vec<char> {
    let seen = || ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    let others = 256 - seen().count() as u32;
    seen().chain((256..256 + others).filter_map(char::from_u32)).collect()
}

/// All tokens in the order of their ids: letters, letters that end a word, merges, start and end token.
pub(super) fn tokens(merges: &[(String, String)], ends: [&str; 2]) -> Vec<String> {
    let letters = letters();
    let alone = letters.iter().map(char::to_string);
    let last = letters.iter().map(|letter| format!("{letter}{END_OF_WORD}"));
    let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
    alone.chain(last).chain(merged).chain(ends.map(String::from)).collect()
}

/// Learns merges from words with their counts: repeatedly merges the most frequent pair of adjacent pieces. Ties go to the
/// alphabetically first pair, so the same words always give the same merges.
///
/// `words` are bytes written as [`letters`]. Stops early when no pair occurs twice.
pub(super) fn learn(words: &BTreeMap<String, usize>, merges: usize) -> Vec<(String, String)> {
    let mut words: Vec<(Vec<String>, usize)> = words
        .iter()
        .map(|(word, &count)| {
            let mut pieces: Vec<String> = word.chars().map(String::from).collect();
            if let Some(last) = pieces.last_mut() {
                last.push_str(END_OF_WORD);
            }
            (pieces, count)
        })
        .collect();
    let mut learnt = Vec::new();
    while learnt.len() < merges {
        let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (pieces, count) in &words {
            for pair in pieces.windows(2) {
                *pairs.entry((&pair[0], &pair[1])).or_default() += count;
            }
        }
        // In reverse, `max_by_key` returns the first of several maxima.
        let best = pairs.into_iter().rev().max_by_key(|&(_, count)| count).filter(|&(_, count)| count > 1);
        let Some(((left, right), _)) = best else { break };
        let (left, right) = (left.to_string(), right.to_string());
        for (pieces, _) in &mut words {
            let mut at = 0;
            while at + 1 < pieces.len() {
                if pieces[at] == left && pieces[at + 1] == right {
                    let end = pieces.remove(at + 1);
                    pieces[at].push_str(&end);
                }
                at += 1;
            }
        }
        learnt.push((left, right));
    }
    learnt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_are_those_of_clip() {
        let letters = letters();
        assert_eq!(letters.len(), 256);
        assert_eq!((letters[0], letters[93], letters[94], letters[188], letters[255]), ('!', '~', '¡', 'Ā', 'Ń'));
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first() {
        let words = [("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)];
        let words = words.iter().map(|&(word, count)| (word.to_string(), count)).collect();
        let merges = learn(&words, 4);
        let merges: Vec<(&str, &str)> = merges.iter().map(|(left, right)| (left.as_str(), right.as_str())).collect();
        // `e s`, `es t</w>` and `s t</w>` are all seen nine times.
        assert_eq!(merges, [("e", "s"), ("es", "t</w>"), ("l", "o"), ("e", "w")]);
    }

    #[test]
    fn it_ends_when_nothing_is_seen_twice() {
        assert_eq!(learn(&BTreeMap::from([("ab".to_string(), 1)]), 9), []);
        assert_eq!(learn(&BTreeMap::from([("ab".to_string(), 2), (String::new(), 3)]), 9).len(), 1);
    }
}
