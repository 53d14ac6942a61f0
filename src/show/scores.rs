//! Figures about caption scores.

use std::collections::HashMap;

use super::curves::{Series, curves};
use super::figure::Figure;
use super::words::{HighlightedWords, WordLink, highlighted_words, word_alignment};
use crate::Result;
use crate::metrics::{BleuCounts, Matcher, Meteor, MeteorWords, Report, confidence_intervals};

/// Highlights the words of a caption that BLEU counts, with a row for each n-gram length from 1 to 4.
///
/// An n-gram counts at most as often as it occurs in one of the references (*clipping*); its first occurrences count.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a caption without words, or one that is too long for a line.
pub fn matched_ngrams<S: AsRef<str>, R: AsRef<[S]>>(title: &str, hypothesis: &[S], references: &[R]) -> Result<Figure> {
    let counts = BleuCounts::of(hypothesis, references);
    let references: Vec<&[S]> = references.iter().map(AsRef::as_ref).collect();
    let row = |length: usize| {
        let counted = counted_words(hypothesis, &references, length);
        let name = format!("{length}-grams: {} of {} count", counts.matches[length - 1], counts.ngrams[length - 1]);
        HighlightedWords::new(name, hypothesis, |place| counted[place])
    };
    let rows: Vec<HighlightedWords> = (1..=hypothesis.len().min(counts.ngrams.len())).map(row).collect();
    highlighted_words(title, &rows)
}

/// Whether each word of a caption is part of a counted n-gram.
fn counted_words<S: AsRef<str>>(hypothesis: &[S], references: &[&[S]], length: usize) -> Vec<bool> {
    let ngrams = |words: &[S]| -> Vec<Vec<String>> {
        let owned = |ngram: &[S]| ngram.iter().map(|word| word.as_ref().to_string()).collect();
        words.windows(length).map(owned).collect()
    };
    let mut allowed: HashMap<Vec<String>, usize> = HashMap::new();
    for reference in references {
        let mut counts: HashMap<Vec<String>, usize> = HashMap::new();
        ngrams(reference).into_iter().for_each(|ngram| *counts.entry(ngram).or_default() += 1);
        for (ngram, count) in counts {
            let most = allowed.entry(ngram).or_default();
            *most = count.max(*most);
        }
    }
    let mut counted = vec![false; hypothesis.len()];
    for (start, ngram) in ngrams(hypothesis).into_iter().enumerate() {
        if let Some(left) = allowed.get_mut(&ngram).filter(|left| **left > 0) {
            *left -= 1;
            counted[start..start + length].fill(true);
        }
    }
    counted
}

/// Draws METEOR's alignment of a caption (above) with a reference (below).
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for a caption that is too long for a line.
pub fn meteor_alignment(
    title: &str,
    meteor: &Meteor,
    hypothesis: &MeteorWords,
    reference: &MeteorWords,
) -> Result<Figure> {
    let link = |found: crate::metrics::Match| WordLink {
        upper: found.hypothesis_start..found.hypothesis_start + found.hypothesis_words,
        lower: found.reference_start..found.reference_start + found.reference_words,
        kind: match found.matcher {
            Matcher::Exact => "the same word",
            Matcher::Stem => "the same stem",
            Matcher::Synonym => "synonyms",
            Matcher::Paraphrase => "paraphrases",
        }
        .to_string(),
    };
    let links: Vec<WordLink> = meteor.align(hypothesis, reference).into_iter().map(link).collect();
    word_alignment(title, &hypothesis.words(), &reference.words(), &links)
}

/// Draws the scores of reports over a setting: BLEU-4, METEOR, ROUGE-L and CIDEr-D, as far as the reports have them, with 95 %
/// bootstrap confidence intervals over images.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) without reports, or when they have none of these scores.
pub fn score_curves(title: &str, setting: &str, reports: &[(f64, Report)]) -> Result<Figure> {
    const SHOWN: [&str; 4] = ["BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D"];
    const RESAMPLES: usize = 200;
    let mut series: Vec<Series> = SHOWN.iter().map(|name| Series::new(*name, Vec::new())).collect();
    for (value, report) in reports {
        let intervals = confidence_intervals(report, RESAMPLES, 1);
        for ((name, score), (_, interval)) in report.corpus.named().into_iter().zip(intervals) {
            if let Some(line) = series.iter_mut().find(|line| line.name == name) {
                line.points.push((*value, score));
                line.intervals.push((interval.low, interval.high));
            }
        }
    }
    series.retain(|line| !line.points.is_empty());
    curves(title, setting, "score", &series)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn as_many_runs_are_highlighted_as_bleu_counts() {
        let references = [words("the cat is on the mat"), words("there is a cat on the mat")];
        let of = |caption: &str, length| {
            let references: Vec<&[&str]> = references.iter().map(Vec::as_slice).collect();
            counted_words(&words(caption), &references, length)
        };
        // Papineni et al., example 2: of seven "the" the first two count.
        assert_eq!(of("the the the the", 1), [true, true, false, false]);
        assert_eq!(of("a cat on mat", 2), [true, true, true, false]);
        assert_eq!(of("a cat", 3), [false, false]);
        let figure = matched_ngrams("By hand", &words("a cat on mat"), &references).unwrap();
        let text = &figure.alternative;
        assert!(text.contains("1-grams: 4 of 4 count"), "{text}");
        assert!(text.contains("2-grams: 2 of 3 count: \"a cat on mat\", of which count: a, cat, on."), "{text}");
    }

    #[test]
    fn a_caption_of_two_words_has_two_rows_and_one_of_none_is_refused() {
        let figure = matched_ngrams("Short", &["a", "cat"], &[["a", "cat"]]).unwrap();
        assert!(figure.alternative.contains("2-grams: 1 of 1") && !figure.alternative.contains("3-grams"));
        assert!(matched_ngrams("None", &[], &[["a", "cat"]]).is_err());
    }

    #[test]
    fn an_alignment_names_why_words_match() {
        let meteor = Meteor::new(None);
        let (hypothesis, reference) = (meteor.prepare("a kite flies"), meteor.prepare("the kite is flying"));
        let figure = meteor_alignment("By stem", &meteor, &hypothesis, &reference).unwrap();
        assert!(figure.alternative.contains("\"kite\" – \"kite\" (the same word)."), "{}", figure.alternative);
        assert!(figure.alternative.contains("\"flies\" – \"flying\" (the same stem)."), "{}", figure.alternative);
    }

    #[test]
    fn scores_go_along_with_a_setting() {
        use crate::metrics::{CaptionToScore, Metric, score};
        let report = |caption: &str| {
            let of = |image: usize| {
                let (said, reference) =
                    [(caption, "a red kite over the sea"), ("a dog on the grass", "a dog on the grass")][image % 2];
                CaptionToScore::new(image.to_string(), said, [reference])
            };
            score(&(0..8).map(of).collect::<Vec<_>>(), &[Metric::RougeL, Metric::CiderD], &Meteor::new(None)).unwrap()
        };
        let (poor, good) = (report("a kite"), report("a red kite over the sea"));
        let figure = score_curves("By width", "beam width", &[(1.0, poor), (3.0, good)]).unwrap();
        let text = &figure.alternative;
        assert!(text.contains("ROUGE-L: from ") && text.contains("CIDEr-D: from "), "{text}");
        assert!(!text.contains("METEOR"), "{text}");
        assert!(score_curves("None", "beam width", &[]).is_err());
    }
}
