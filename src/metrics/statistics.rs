//! Confidence intervals, significance tests and diversity of captions.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use super::report::Report;
use crate::data::Random;
use crate::{Error, Result};

/// A confidence interval of a score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Comparison of two systems by a score on the same images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the score.
    /// Score of the first system.
    pub name: &'static str,
    /// Score of the second system.
    pub first: f64,
    pub second: f64,
    /// p-value: probability of at least this difference if the systems were equally good. Small values mean a significant difference.
    pub p_value: f64,
}

/// 95 % confidence intervals of the corpus scores.
///
/// Resamples the images with replacement `resamples` times (bootstrap percentiles; Koehn, 2004, *Statistical Significance Tests for
/// Machine Translation Evaluation*, section 3).
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

/// Tests each score for a significant difference between two systems on the same images.
///
/// Swaps captions between the systems at random, `shuffles` times, and counts how often the difference is at least as large (approximate
/// randomisation; Riezler & Maxwell, 2005).
///
/// # Errors
/// [`Error::Argument`] when the reports differ in images, their order, or scores.
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
            // A difference smaller only by rounding counts as large.
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

/// Diversity of captions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Diversity {
    /// Distinct-1: distinct words per word, in `0..=1` (Li et al., 2016).
    pub distinct_words: f64,
    /// Distinct-2: distinct bigrams per bigram, in `0..=1`.
    pub distinct_pairs: f64,
    /// Number of distinct words.
    pub vocabulary: usize,
    /// Share of captions that are not among the training captions, in `0..=1`.
    pub novel: f64,
    /// Share of captions that are generated for one image only, in `0..=1`.
    pub unique: f64,
}

/// Measures the diversity of tokenised captions, and their novelty compared with the training captions.
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
