//! The words and word pairs to detect.

use std::collections::{BTreeMap, BTreeSet};

use super::WordDetectorTraining;
use crate::data::{Example, Vocabulary};
use crate::{Error, Result};

/// The words and bigrams of captions.
pub(super) fn concepts_in(captions: &[String]) -> BTreeSet<String> {
    let mut concepts = BTreeSet::new();
    for caption in captions {
        let words = Vocabulary::words(caption);
        concepts.extend(words.windows(2).map(|pair| pair.join(" ")));
        concepts.extend(words.iter().map(ToString::to_string));
    }
    concepts
}

/// The concepts to learn, each with its document frequency: the share of examples with it in a caption.
pub(super) fn concepts_of(examples: &[&Example], training: &WordDetectorTraining) -> Result<(Vec<String>, Vec<f64>)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for example in examples {
        for concept in concepts_in(&example.captions) {
            *counts.entry(concept).or_default() += 1;
        }
    }
    let shares = counts.into_iter().map(|(concept, count)| (concept, count as f64 / examples.len() as f64));
    let (concepts, shares): (Vec<_>, Vec<_>) =
        shares.filter(|(_, share)| (training.min_share..=training.max_share).contains(share)).unzip();
    if concepts.is_empty() {
        return Err(Error::config(
            "min_share",
            training.min_share,
            format!(
                "leaves no word to learn: none is in the captions of {} to {} of the pictures. Lower it, raise max_share, or give \
                 more examples",
                training.min_share, training.max_share
            ),
        ));
    }
    Ok((concepts, shares))
}
