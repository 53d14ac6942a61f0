//! Whether captions are true, measured on scenes.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::{Captioner, Decoding};
use crate::data::scenes::{ClaimScore, Scene};
use crate::data::{Dataset, Example, Split, Vocabulary};
use crate::{Error, Result};

/// How true captions are of their scenes, by their claims that something of a kind and a colour is there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Truth {
    /// Share of the claims that are true, `0.0..=1.0`; 0 where none is made.
    pub claim_precision: f64,
    /// Claims made in a caption, on average.
    pub claims_per_caption: f64,
    /// Share of what is there that the captions name, `0.0..=1.0`.
    pub claim_recall: f64,
}

impl From<ClaimScore> for Truth {
    fn from(score: ClaimScore) -> Self {
        Self {
            claim_precision: score.precision(),
            claims_per_caption: score.per_caption(),
            claim_recall: score.recall(),
        }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { claim_precision, claims_per_caption, claim_recall } = self;
        write!(
            formatter,
            "{:.1} % of the (kind, colour) claims are true, {claims_per_caption:.2} a caption; {:.1} % of what is there is named",
            100.0 * claim_precision,
            100.0 * claim_recall
        )
    }
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionEvaluation {
    /// The captions of the captioner.
    #[serde(flatten)]
    pub truth: Truth,
    /// Always saying what is said most often of the training pictures.
    pub baseline: Truth,
    /// What that is.
    pub baseline_caption: String,
    /// Always saying what, of all that is said of the training pictures and makes a claim, is said most often.
    pub claiming_baseline: Truth,
    /// What that is.
    pub claiming_baseline_caption: String,
    /// How many unseen pictures were captioned.
    pub pictures: usize,
}

impl fmt::Display for CaptionEvaluation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} pictures that it has not seen", self.pictures)?;
        writeln!(formatter, "captioner:       {}", self.truth)?;
        writeln!(formatter, "always the same: {} (\"{}\")", self.baseline, self.baseline_caption)?;
        write!(formatter, "the same, with a claim: {} (\"{}\")", self.claiming_baseline, self.claiming_baseline_caption)
    }
}

/// Measures how true the greedy captions of the scenes of a split are.
///
/// # Errors
/// [`Error::Argument`] when the split has no pictures, or holds photographs: only of scenes is the truth known.
pub fn evaluate(captioner: &Captioner, dataset: &Dataset, split: Split) -> Result<CaptionEvaluation> {
    let examples: Vec<Example> =
        dataset.examples.iter().filter(|example| example.split == Some(split)).cloned().collect();
    let scenes: Vec<Scene> = examples.iter().filter_map(Scene::of).collect();
    if examples.is_empty() || scenes.len() < examples.len() {
        return Err(Error::argument(
            format!("{}, split {split:?}: {} pictures, {} of them scenes", dataset.name, examples.len(), scenes.len()),
            "Use a split of Dataset::scenes; the truth of photographs is not known.",
        ));
    }
    let captions = captioner.caption(&examples, &Decoding::greedy())?;
    let frequent = most_frequent_captions(dataset);
    let always = |caption: &str| -> Result<Truth> { Ok(ClaimScore::of(&scenes, &vec![caption; scenes.len()])?.into()) };
    let baseline_caption = frequent.first().cloned().unwrap_or_default();
    let mut claiming = frequent.iter().take(1000);
    let claiming = claiming
        .find(|caption| ClaimScore::of(&scenes[..1], &[caption.as_str()]).is_ok_and(|score| score.coloured > 0));
    let claiming_baseline_caption = claiming.cloned().unwrap_or_default();
    Ok(CaptionEvaluation {
        truth: ClaimScore::of(&scenes, &captions)?.into(),
        baseline: always(&baseline_caption)?,
        baseline_caption,
        claiming_baseline: always(&claiming_baseline_caption)?,
        claiming_baseline_caption,
        pictures: scenes.len(),
    })
}

/// The captions of the training pictures, most frequent first; as words, so that case and punctuation do not count.
fn most_frequent_captions(dataset: &Dataset) -> Vec<String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for example in dataset.examples.iter().filter(|example| example.split == Some(Split::Train)) {
        for caption in &example.captions {
            *counts.entry(Vocabulary::words(caption).join(" ")).or_default() += 1;
        }
    }
    let mut captions: Vec<(String, usize)> = counts.into_iter().collect();
    captions.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
    captions.into_iter().map(|(caption, _)| caption).collect()
}
