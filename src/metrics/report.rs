//! Scores of a set of captions.

use std::fmt;

use rayon::prelude::*;
use serde::Serialize;

use super::{BleuCounts, CaptionToScore, Cider, Matcher, Meteor, MeteorCounts, MeteorWords, Tokenizer, rouge_l};
use crate::{Error, Result};

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// BLEU-1 to BLEU-4.
    /// METEOR.
    Bleu,
    /// ROUGE-L.
    Meteor,
    /// CIDEr-D.
    RougeL,
    CiderD,
}

impl Metric {
    /// All metrics, in the usual order of papers.
    pub const ALL: [Self; 4] = [Self::Bleu, Self::Meteor, Self::RougeL, Self::CiderD];
}

/// The scores of a caption or a corpus; `None` for metrics that were not requested.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Scores {
    /// BLEU-1, in `0..=1`.
    #[serde(rename = "BLEU-1", skip_serializing_if = "Option::is_none")]
    pub bleu_1: Option<f64>,
    /// BLEU-2, in `0..=1`.
    #[serde(rename = "BLEU-2", skip_serializing_if = "Option::is_none")]
    pub bleu_2: Option<f64>,
    /// BLEU-3, in `0..=1`.
    #[serde(rename = "BLEU-3", skip_serializing_if = "Option::is_none")]
    pub bleu_3: Option<f64>,
    /// BLEU-4, in `0..=1`.
    #[serde(rename = "BLEU-4", skip_serializing_if = "Option::is_none")]
    pub bleu_4: Option<f64>,
    /// METEOR, in `0..=1`.
    #[serde(rename = "METEOR", skip_serializing_if = "Option::is_none")]
    pub meteor: Option<f64>,
    /// ROUGE-L, in `0..=1`.
    #[serde(rename = "ROUGE-L", skip_serializing_if = "Option::is_none")]
    pub rouge_l: Option<f64>,
    /// CIDEr-D, in `0..=10`.
    #[serde(rename = "CIDEr-D", skip_serializing_if = "Option::is_none")]
    pub cider_d: Option<f64>,
}

impl Scores {
    /// The available scores with their usual names.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("BLEU-1", self.bleu_1),
            ("BLEU-2", self.bleu_2),
            ("BLEU-3", self.bleu_3),
            ("BLEU-4", self.bleu_4),
            ("METEOR", self.meteor),
            ("ROUGE-L", self.rouge_l),
            ("CIDEr-D", self.cider_d),
        ];
        all.into_iter().filter_map(|(name, score)| Some((name, score?))).collect()
    }

    fn set_bleu(&mut self, [bleu_1, bleu_2, bleu_3, bleu_4]: [f64; 4]) {
        (self.bleu_1, self.bleu_2) = (Some(bleu_1), Some(bleu_2));
        (self.bleu_3, self.bleu_4) = (Some(bleu_3), Some(bleu_4));
    }
}

/// The scores of captions and of the whole corpus.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Scores of the corpus.
    pub corpus: Scores,
    /// Scores of each caption, in order.
    pub captions: Vec<CaptionScores>,
    /// The matchers that METEOR used.
    pub meteor_matchers: &'static [Matcher],
    /// Remarks on the scores, one sentence each.
    pub notes: Vec<String>,
    /// Counts behind the corpus scores, by caption; empty for metrics that were not requested.
    #[serde(skip)]
    counts: Counts,
}

/// The counts of captions.
#[derive(Debug, Clone, Default, PartialEq)]
struct Counts {
    bleu: Vec<BleuCounts>,
    meteor: Vec<MeteorCounts>,
}

impl Report {
    /// The corpus scores of the given captions, with repetitions.
    pub(super) fn corpus_of(&self, captions: &[usize]) -> Scores {
        corpus(captions.iter().map(|&caption| (self, caption)))
    }

    /// Ranks captions by how much two scores disagree. Returns indices into [`Report::captions`]: first those that `loved_by` ranks high
    /// and `not_by` ranks low, last the opposite.
    ///
    /// # Errors
    /// [`Error::Argument`] for a score that the report lacks, by the names of [`Scores::named`].
    pub fn disagreements(&self, loved_by: &str, not_by: &str) -> Result<Vec<usize>> {
        // Captions of equal score share the mean of their ranks, doubled here to stay an integer.
        let ranks = |name: &str| -> Result<Vec<i64>> {
            let score = |caption: &CaptionScores| caption.scores.named().into_iter().find(|(known, _)| *known == name);
            let scores: Option<Vec<f64>> = self.captions.iter().map(|caption| Some(score(caption)?.1)).collect();
            let scores = scores.ok_or_else(|| {
                let known: Vec<&str> = self.corpus.named().into_iter().map(|(name, _)| name).collect();
                Error::argument(format!("there is no score `{name}`"), format!("There are: {}.", known.join(", ")))
            })?;
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|one, other| scores[*one].total_cmp(&scores[*other]));
            let mut ranks = vec![0; scores.len()];
            let mut start = 0;
            for equal in order.chunk_by(|one, other| scores[*one].total_cmp(&scores[*other]).is_eq()) {
                let end = start + equal.len() as i64;
                equal.iter().for_each(|&caption| ranks[caption] = start + end - 1);
                start = end;
            }
            Ok(ranks)
        };
        let (first, second) = (ranks(loved_by)?, ranks(not_by)?);
        let mut captions: Vec<usize> = (0..self.captions.len()).collect();
        captions.sort_by_key(|&caption| second[caption] - first[caption]);
        Ok(captions)
    }

    /// The corpus scores of this report and another on the same images, with some captions swapped.
    pub(super) fn corpora_of_swapped(&self, other: &Self, swapped: &[bool]) -> (Scores, Scores) {
        let of = |turned: bool| {
            let which = swapped.iter().map(move |&swapped| if swapped == turned { self } else { other });
            corpus(which.enumerate().map(|(caption, report)| (report, caption)))
        };
        (of(false), of(true))
    }
}

/// The corpus scores of captions from reports with the same metrics.
fn corpus<'a>(captions: impl Iterator<Item = (&'a Report, usize)>) -> Scores {
    let (mut bleu, mut meteor) = (None, None);
    let (mut rouge_l, mut cider_d) = ((0.0, 0usize), (0.0, 0usize));
    for (report, caption) in captions {
        if let Some(counts) = report.counts.bleu.get(caption) {
            *bleu.get_or_insert_with(BleuCounts::default) += *counts;
        }
        if let Some(counts) = report.counts.meteor.get(caption) {
            *meteor.get_or_insert_with(MeteorCounts::default) += *counts;
        }
        let scores = &report.captions[caption].scores;
        for (sum, score) in [(&mut rouge_l, scores.rouge_l), (&mut cider_d, scores.cider_d)] {
            if let Some(score) = score {
                *sum = (sum.0 + score, sum.1 + 1);
            }
        }
    }
    let mean = |(sum, count): (f64, usize)| (count > 0).then(|| sum / count as f64);
    let mut scores = Scores { rouge_l: mean(rouge_l), cider_d: mean(cider_d), ..Scores::default() };
    if let Some(counts) = bleu {
        scores.set_bleu(counts.bleu());
    }
    scores.meteor = meteor.map(|counts: MeteorCounts| counts.meteor());
    scores
}

/// The scores of one caption.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionScores {
    /// Id of the image.
    pub id: String,
    #[serde(flatten)]
    /// Its scores.
    pub scores: Scores,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} captions", self.captions.len())?;
        for (name, score) in self.corpus.named() {
            writeln!(formatter, "{name:<8} {score:.4}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(formatter, "{note}"))
    }
}

/// Scores captions by the given metrics, individually and as a corpus.
///
/// Equals the reference scorers (pycocoevalcap): corpus BLEU and METEOR are computed from the sums of the captions' counts, corpus
/// ROUGE-L and CIDEr-D are means.
///
/// ```
/// use captionlab::metrics::{self, CaptionToScore, Meteor, Metric};
/// let captions = [
///     CaptionToScore::new("1", "a dog runs on grass", ["a dog runs on the grass", "the dog is running"]),
///     CaptionToScore::new("2", "a red boat", ["a boat on the water"]),
/// ];
/// let report = metrics::score(&captions, &Metric::ALL, &Meteor::new(None))?;
/// assert!(report.captions[0].scores.cider_d > report.captions[1].scores.cider_d);
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] without captions, for captions without references (which are listed), and when a caption and a reference both
/// have thousands of words.
pub fn score(captions: &[CaptionToScore], metrics: &[Metric], meteor: &Meteor) -> Result<Report> {
    if captions.is_empty() {
        return Err(Error::argument("there are no captions to score", "Give one at least."));
    }
    let alone = captions.iter().filter(|caption| caption.references.is_empty());
    let alone: Vec<&str> = alone.map(|caption| caption.id.as_str()).take(10).collect();
    if !alone.is_empty() {
        let problem = format!("captions without references: those of {}", alone.join(", "));
        return Err(Error::argument(problem, "Give each at least one, or leave it out."));
    }
    let tokenizer = Tokenizer::shared();
    let hypotheses: Vec<&str> = captions.iter().map(|caption| caption.hypothesis.as_str()).collect();
    let references: Vec<&str> = captions.iter().flat_map(|caption| &caption.references).map(String::as_str).collect();
    let mut references = tokenizer.tokenize_all(&references).into_iter();
    let tokens: Vec<Tokens> = tokenizer
        .tokenize_all(&hypotheses)
        .into_iter()
        .zip(captions)
        .map(|(hypothesis, caption)| (hypothesis, references.by_ref().take(caption.references.len()).collect()))
        .collect();
    check_lengths(captions, &tokens)?;
    let mut notes = Vec::new();
    let mut each: Vec<Scores> = vec![Scores::default(); captions.len()];
    // In parallel, because a part of CIDEr-D is single-threaded.
    let (meteor_counts, cider_d) = rayon::join(
        || metrics.contains(&Metric::Meteor).then(|| meteor_counts(meteor, &tokens)),
        || metrics.contains(&Metric::CiderD).then(|| cider_d(&tokens)),
    );
    let mut counts = Counts::default();
    if metrics.contains(&Metric::Bleu) {
        let of = |(hypothesis, references): &Tokens| BleuCounts::of(hypothesis, references);
        counts.bleu = tokens.par_iter().map(of).collect();
        each.iter_mut().zip(&counts.bleu).for_each(|(scores, counts)| scores.set_bleu(counts.bleu()));
    }
    if let Some(of_captions) = meteor_counts {
        counts.meteor = of_captions;
        each.iter_mut().zip(&counts.meteor).for_each(|(scores, counts)| scores.meteor = Some(counts.meteor()));
        if meteor.matchers().len() < Matcher::ALL.len() {
            let why = "its dictionaries come with the Python package pycocoevalcap";
            notes.push(format!("METEOR has matched equal words and stems alone: {why}."));
        }
    }
    if metrics.contains(&Metric::RougeL) {
        let scores: Vec<f64> =
            tokens.par_iter().map(|(hypothesis, references)| rouge_l(hypothesis, references)).collect();
        each.iter_mut().zip(scores).for_each(|(caption, score)| caption.rouge_l = Some(score));
    }
    if let Some(scores) = cider_d {
        each.iter_mut().zip(scores).for_each(|(caption, score)| caption.cider_d = Some(score));
        if captions.len() == 1 {
            notes.push("CIDEr-D of one image alone is 0 by definition: nothing is rare among one.".to_string());
        }
    }
    let named = captions.iter().zip(each).map(|(caption, scores)| CaptionScores { id: caption.id.clone(), scores });
    let mut report = Report {
        corpus: Scores::default(),
        captions: named.collect(),
        meteor_matchers: meteor.matchers(),
        notes,
        counts,
    };
    report.corpus = report.corpus_of(&(0..captions.len()).collect::<Vec<_>>());
    Ok(report)
}

/// The words of a caption and of its references.
type Tokens = (Vec<String>, Vec<Vec<String>>);

fn meteor_counts(meteor: &Meteor, tokens: &[Tokens]) -> Vec<MeteorCounts> {
    let of = |(hypothesis, references): &Tokens| {
        let prepare = |tokens: &Vec<String>| meteor.prepare(&tokens.join(" "));
        let references: Vec<MeteorWords> = references.iter().map(prepare).collect();
        meteor.best(&prepare(hypothesis), &references)
    };
    tokens.par_iter().map(of).collect()
}

fn cider_d(tokens: &[Tokens]) -> Vec<f64> {
    let references: Vec<&[Vec<String>]> = tokens.iter().map(|(_, references)| references.as_slice()).collect();
    let cider = Cider::new(&references);
    let of = |(image, (hypothesis, _)): (usize, &Tokens)| cider.cider_d(image, hypothesis);
    tokens.par_iter().enumerate().map(of).collect()
}

/// Limit of the memory, which grows with the words of a caption times those of a reference.
const MOST_WORD_PAIRS: usize = 10_000_000;
/// Limit of the time, which grows with the square of the words of a reference.
const MOST_WORDS: usize = 200_000;

fn check_lengths(captions: &[CaptionToScore], tokens: &[Tokens]) -> Result<()> {
    for (caption, (hypothesis, references)) in captions.iter().zip(tokens) {
        let longest = references.iter().map(Vec::len).max().unwrap_or(0);
        let most = hypothesis.len().max(longest);
        if hypothesis.len() * longest > MOST_WORD_PAIRS || most > MOST_WORDS {
            return Err(Error::argument(
                format!("{}: a caption of {} words, and a reference of {longest}", caption.id, hypothesis.len()),
                format!("Shorten them: {MOST_WORDS} each, and the one times the other {MOST_WORD_PAIRS} at most."),
            ));
        }
    }
    Ok(())
}

crate::in_cells::shown_in_cells!(Report);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_that_one_score_loves_and_another_does_not_come_first() {
        let captions = [
            CaptionToScore::new("good", "a red kite over the sea", ["a red kite over the sea"]),
            // What all images could be: BLEU-1 counts each word, CIDEr-D finds nothing rare.
            CaptionToScore::new("vague", "on the a", ["a boat on the lake", "a boat on the sea"]),
            CaptionToScore::new("bad", "on", ["two dogs on the grass with a ball"]),
            // One word of several is right, and it is rare.
            CaptionToScore::new("rare", "zebra thing thing thing thing", ["zebra on the a"]),
        ];
        let report = score(&captions, &Metric::ALL, &Meteor::new(None)).unwrap();
        let name = |place: usize| report.captions[place].id.as_str();
        let order = report.disagreements("BLEU-1", "CIDEr-D").unwrap();
        assert_eq!((order.len(), name(order[0])), (4, "vague"));
        assert_eq!(name(report.disagreements("CIDEr-D", "BLEU-1").unwrap()[3]), "vague");
        // Of captions that both scores find equally bad none is in dispute, wherever they stand.
        let bad = |id: &str| CaptionToScore::new(id, "nothing", ["a zebra on the grass"]);
        let bad = [bad("1"), bad("2"), bad("3"), captions[1].clone(), captions[3].clone()];
        let report = score(&bad, &Metric::ALL, &Meteor::new(None)).unwrap();
        let order = report.disagreements("BLEU-1", "CIDEr-D").unwrap();
        assert!(order.iter().position(|&place| place == 3) < order.iter().position(|&place| place == 0), "{order:?}");
        assert_eq!(order.iter().filter(|&&place| place < 3).copied().collect::<Vec<_>>(), [0, 1, 2]);
        let error = report.disagreements("BLEU", "CIDEr-D").unwrap_err().to_string();
        assert!(error.contains("no score `BLEU`") && error.contains("BLEU-1, BLEU-2"), "{error}");
    }

    #[test]
    fn a_caption_of_a_hundred_thousand_words_is_scored_against_a_short_reference_and_refused_against_a_long_one() {
        let long = "the dog ".repeat(50_000);
        let meteor = Meteor::new(None);
        let against = |reference: &str| {
            score(&[CaptionToScore::new("long.jpg", long.as_str(), [reference])], &Metric::ALL, &meteor)
        };
        let scores = against("the dog and the cat see the dog").unwrap().corpus;
        assert!(scores.bleu_1.is_some_and(|score| score < 1e-3) && scores.meteor.is_some_and(|score| score < 0.01));
        let error = against(&long).unwrap_err().to_string();
        assert!(against(&"dog ".repeat(200_001)).is_err());
        assert!(error.contains("long.jpg: a caption of 100000 words, and a reference of 100000"), "{error}");
    }
}
