//! How sure a score is, whether two systems differ, and how varied captions are.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use super::report::Report;
use crate::data::Random;
use crate::{Error, Result};

/// A range that a score lies in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// How a score of two systems differs on the same images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The score's name.
    pub name: &'static str,
    pub first: f64,
    pub second: f64,
    /// How likely it is that chance alone makes a difference at least as large: small values mean that the systems do differ.
    pub p_value: f64,
}

/// Between which values each score of the corpus lies in 95 of 100 cases, were other images drawn like these.
///
/// The images are drawn `resamples` times with replacement, and the corpus is scored each time (bootstrap percentiles; Koehn,
/// 2004, *Statistical Significance Tests for Machine Translation Evaluation*, section 3).
pub fn confidence_intervals(report: &Report, resamples: usize, seed: u64) -> Vec<(&'static str, Interval)> {
    let images = report.captions.len();
    let mut random = Random::new(seed);
    let mut drawn: Vec<Vec<f64>> = Vec::new();
    for _ in 0..resamples.max(1) {
        let sample: Vec<usize> = (0..images).map(|_| random.below(images)).collect();
        let scores = report.corpus_of(&sample).named();
        drawn.resize(scores.len(), Vec::new());
        drawn.iter_mut().zip(scores).for_each(|(all, (_, score))| all.push(score));
    }
    let interval = |scores: &mut Vec<f64>| {
        scores.sort_by(f64::total_cmp);
        let at = |share: f64| scores[(share * (scores.len() - 1) as f64).round() as usize];
        Interval { low: at(0.025), high: at(0.975) }
    };
    let names = report.corpus.named().into_iter().map(|(name, _)| name);
    names.zip(drawn.iter_mut().map(interval)).collect()
}

/// Whether two systems differ on the same images, score by score.
///
/// The captions of each image are swapped between the systems at random, `shuffles` times: if they were equally good, that
/// would make as large a difference as often as not (approximate randomisation; Riezler & Maxwell, 2005).
///
/// # Errors
/// [`Error::Argument`] when the reports are not of the same images in the same order, or not of the same scores.
pub fn compare(first: &Report, second: &Report, shuffles: usize, seed: u64) -> Result<Vec<Comparison>> {
    let ids = |report: &Report| report.captions.iter().map(|caption| caption.id.clone()).collect::<Vec<_>>();
    let (of_first, of_second) = (first.corpus.named(), second.corpus.named());
    let names = |scores: &[(&'static str, f64)]| scores.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    if ids(first) != ids(second) || names(&of_first) != names(&of_second) {
        return Err(Error::argument(
            "the two systems were not scored on the same images, in the same order, by the same scores",
            "Score both against the same references.",
        ));
    }
    let mut random = Random::new(seed);
    let mut as_large = vec![0usize; of_first.len()];
    for _ in 0..shuffles {
        let swapped: Vec<bool> = ids(first).iter().map(|_| random.chance(0.5)).collect();
        let (one, other) = first.corpora_of_swapped(second, &swapped);
        for (place, ((_, one), (_, other))) in one.named().iter().zip(other.named()).enumerate() {
            let observed = (of_first[place].1 - of_second[place].1).abs();
            // What differs by rounding alone is as large.
            as_large[place] += usize::from((one - other).abs() >= observed - 1e-12);
        }
    }
    let comparison = |(place, &(name, score)): (usize, &(&'static str, f64))| Comparison {
        name,
        first: score,
        second: of_second[place].1,
        p_value: (as_large[place] + 1) as f64 / (shuffles + 1) as f64,
    };
    Ok(of_first.iter().enumerate().map(comparison).collect())
}

/// How varied captions are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Diversity {
    /// Different words over all words, in `0..=1` (*distinct-1*; Li et al., 2016).
    pub distinct_words: f64,
    /// The same of pairs of neighbouring words (*distinct-2*).
    pub distinct_pairs: f64,
    /// How many different words are used.
    pub vocabulary: usize,
    /// The share of captions that do not stand among the training captions.
    pub novel: f64,
    /// The share of captions that are said of no other image.
    pub unique: f64,
}

/// How varied captions are, and how many are new; each caption is a list of words.
pub fn diversity<S: AsRef<str>>(captions: &[Vec<S>], training: &[Vec<S>]) -> Diversity {
    let words = |caption: &Vec<S>| caption.iter().map(|word| word.as_ref().to_string()).collect::<Vec<String>>();
    let known: HashSet<Vec<String>> = training.iter().map(words).collect();
    let captions: Vec<Vec<String>> = captions.iter().map(words).collect();
    let mut counts = std::collections::HashMap::new();
    captions.iter().for_each(|caption| *counts.entry(caption).or_insert(0usize) += 1);
    let vocabulary: BTreeSet<&String> = captions.iter().flatten().collect();
    let pairs: Vec<&[String]> = captions.iter().flat_map(|caption| caption.windows(2)).collect();
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    Diversity {
        distinct_words: share(vocabulary.len(), captions.iter().map(Vec::len).sum()),
        distinct_pairs: share(pairs.iter().collect::<HashSet<_>>().len(), pairs.len()),
        vocabulary: vocabulary.len(),
        novel: share(captions.iter().filter(|caption| !known.contains(*caption)).count(), captions.len()),
        unique: share(captions.iter().filter(|caption| counts[caption] == 1).count(), captions.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CaptionToScore, Meteor, Metric, score};

    fn report(captions: impl Fn(usize) -> &'static str) -> Report {
        let references = ["a red kite over the sea", "a brown dog runs on grass", "two boats on blue water"];
        let captions: Vec<CaptionToScore> = (0..60)
            .map(|image| CaptionToScore::new(image.to_string(), captions(image), [references[image % 3]]))
            .collect();
        score(&captions, &Metric::ALL, &Meteor::new(None)).unwrap()
    }

    fn good(image: usize) -> &'static str {
        ["a red kite over the sea", "a dog runs on grass", "two boats on the water"][image % 3]
    }

    fn bad(image: usize) -> &'static str {
        ["a kite", "a kite", "a dog on grass"][image % 3]
    }

    #[test]
    fn an_interval_holds_the_score_and_is_the_same_for_the_same_seed() {
        let report = report(good);
        let intervals = confidence_intervals(&report, 200, 1);
        assert_eq!(intervals.len(), 7);
        for ((name, interval), (_, score)) in intervals.iter().zip(report.corpus.named()) {
            assert!(interval.low <= score && score <= interval.high && interval.low < interval.high, "{name}");
        }
        assert_eq!(intervals, confidence_intervals(&report, 200, 1));
    }

    #[test]
    fn systems_that_differ_are_told_from_those_that_do_not() {
        let (better, worse) = (report(good), report(bad));
        for comparison in compare(&better, &worse, 200, 1).unwrap() {
            assert!(comparison.first > comparison.second && comparison.p_value < 0.01, "{comparison:?}");
        }
        for comparison in compare(&better, &better, 200, 1).unwrap() {
            assert_eq!(comparison.p_value, 1.0, "{comparison:?}");
        }
    }

    #[test]
    fn diversity_counts_words_pairs_and_new_captions() {
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        let captions = [words("a red kite"), words("a red boat"), words("a red kite")];
        let diversity = diversity(&captions, &[words("a red boat")]);
        assert_eq!(diversity.vocabulary, 4);
        assert_eq!((diversity.distinct_words, diversity.distinct_pairs), (4.0 / 9.0, 3.0 / 6.0));
        assert_eq!((diversity.novel, diversity.unique), (2.0 / 3.0, 1.0 / 3.0));
    }
}
