//! How good captions are, and on scenes how true.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use super::{Captioner, Decoding};
use crate::data::readable::{check_any_readable, write_unreadable};
use crate::data::scenes::{ClaimScore, Scene};
use crate::data::{Dataset, Example, HOW_TO_SPLIT, Split, Vocabulary};
use crate::metrics::Cider;
use crate::train::examples::examples_of;
use crate::vision::features::{PlaceOfData, extract_examples};
use crate::vision::{Encoder, ExtractConfig, FeatureCache};
use crate::{Error, Result};

/// How true captions are of their scenes. Shares are in `0.0..=1.0`, and 0 where nothing is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Truth {
    /// Share of the claims that something of a kind and a colour is there that are true.
    pub claims_precision: f64,
    /// Such claims in a caption, on average.
    pub claims_per_caption: f64,
    /// Share of the kinds and colours that are there that the captions name.
    pub claims_recall: f64,
    /// Share of the claims that something does something that are true.
    pub actions_precision: f64,
    /// Such claims in a caption, on average.
    pub actions_per_caption: f64,
    /// Share of the claims that something is in a relation to something that are true: "behind", "holding".
    pub relations_precision: f64,
    /// Such claims in a caption, on average.
    pub relations_per_caption: f64,
    /// Share of all claims that are true, those of sizes, numbers and places too.
    pub all_claims_precision: f64,
}

impl From<ClaimScore> for Truth {
    fn from(score: ClaimScore) -> Self {
        Self {
            claims_precision: score.precision(),
            claims_per_caption: score.per_caption(),
            claims_recall: score.recall(),
            actions_precision: score.precision_of_actions(),
            actions_per_caption: score.acting as f64 / score.captions.max(1) as f64,
            relations_precision: score.precision_of_relations(),
            relations_per_caption: score.related as f64 / score.captions.max(1) as f64,
            all_claims_precision: score.precision_of_all(),
        }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.1} % of the (kind, colour) claims are true, {:.2} a caption; {:.1} % of what is there is named; {:.1} % of the actions \
             ({:.2} a caption), {:.1} % of the relations ({:.2} a caption) and {:.1} % of all claims are true",
            100.0 * self.claims_precision,
            self.claims_per_caption,
            100.0 * self.claims_recall,
            100.0 * self.actions_precision,
            self.actions_per_caption,
            100.0 * self.relations_precision,
            self.relations_per_caption,
            100.0 * self.all_claims_precision
        )
    }
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionEvaluation {
    /// How true the captions are, where the truth is known: on Scenes.
    #[serde(flatten)]
    pub scenes: Option<SceneTruth>,
    /// CIDEr-D against all captions of each picture, on words as a [`Vocabulary`] splits them.
    pub cider_d: f64,
    /// CIDEr-D of always saying what is said most often of the training pictures.
    pub most_frequent_cider_d: f64,
    /// CIDEr-D of saying the first caption of the training picture that is most alike; `None` where the features of the training pictures
    /// are not in the cache.
    pub nearest_neighbour_cider_d: Option<f64>,
    /// CIDEr-D of a person: the first caption of each picture against its others; `None` where no picture has two.
    pub person_cider_d: Option<f64>,
    /// Share of the captions that stand word by word among those of the training pictures, in `0.0..=1.0`.
    pub in_training: f64,
    /// Share of the captions that are said of one picture only, in `0.0..=1.0`.
    pub distinct: f64,
    /// The split that was captioned.
    pub split: Split,
    /// How many pictures were captioned.
    pub pictures: usize,
    /// Pictures that could not be read, and why; they are left out.
    pub unreadable: Vec<String>,
}

/// How true captions of scenes are, beside those of a model that never looks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SceneTruth {
    /// The captions of the captioner.
    #[serde(flatten)]
    pub truth: Truth,
    /// A person: the first caption of each picture.
    pub person: Truth,
    /// The first caption of the training picture that is most alike, where the features of the training pictures are in the cache.
    pub nearest_neighbour: Option<Truth>,
    /// Always saying what is said most often of the training pictures.
    pub baseline: Truth,
    /// The caption that this is.
    pub baseline_caption: String,
    /// Always saying, of the captions of training pictures that make a claim, the most frequent one.
    pub claiming_baseline: Truth,
    /// The caption that this is.
    pub claiming_baseline_caption: String,
}

impl fmt::Display for CaptionEvaluation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} {} pictures", self.pictures, self.split)?;
        if let Some(scenes) = &self.scenes {
            writeln!(formatter, "captioner:       {}", scenes.truth)?;
            writeln!(formatter, "a person:        {}", scenes.person)?;
            if let Some(nearest) = &scenes.nearest_neighbour {
                writeln!(formatter, "caption of the nearest training picture: {nearest}")?;
            }
            writeln!(formatter, "always the same: {} (\"{}\")", scenes.baseline, scenes.baseline_caption)?;
            if scenes.claiming_baseline_caption != scenes.baseline_caption {
                let SceneTruth { claiming_baseline, claiming_baseline_caption, .. } = scenes;
                writeln!(formatter, "the same, with a claim: {claiming_baseline} (\"{claiming_baseline_caption}\")")?;
            }
        }
        write!(formatter, "CIDEr-D {:.3}, always the same {:.3}", self.cider_d, self.most_frequent_cider_d)?;
        match self.nearest_neighbour_cider_d {
            Some(nearest) => write!(formatter, ", of the nearest training picture {nearest:.3}")?,
            None => formatter.write_str(", of the nearest training picture not known (its features are not cached)")?,
        }
        if let Some(person) = self.person_cider_d {
            write!(formatter, ", a person against the others {person:.3}")?;
        }
        let (in_training, distinct) = (100.0 * self.in_training, 100.0 * self.distinct);
        write!(
            formatter,
            "\n{in_training:.0} % of the captions stand among those of the training pictures, {distinct:.0} % are said once"
        )?;
        write_unreadable(formatter, &self.unreadable)
    }
}

/// Measures the greedy captions of the pictures of a split: CIDEr-D, and on Scenes how true they are.
///
/// # Errors
/// [`Error::Argument`] when the split has no pictures with captions, or none of them can be read.
pub fn evaluate(captioner: &Captioner, dataset: &Dataset, split: Split) -> Result<CaptionEvaluation> {
    evaluate_decoding(captioner, dataset, split, &Decoding::greedy())
}

/// As [`evaluate`], of captions that are chosen in another way.
///
/// # Errors
/// As [`evaluate`]; [`Error::Config`] for a setting of the decoding out of its range.
pub fn evaluate_decoding(
    captioner: &Captioner,
    dataset: &Dataset,
    split: Split,
    decoding: &Decoding,
) -> Result<CaptionEvaluation> {
    let examples: Vec<Example> = examples_of(dataset, split).into_iter().cloned().collect();
    if examples.is_empty() {
        return Err(Error::argument(
            format!("{} has no {split} pictures with captions", dataset.name),
            format!("Give its examples splits: {HOW_TO_SPLIT}."),
        ));
    }
    let captions = captioner.caption(&examples, decoding)?;
    check_any_readable(captions.readable().len(), captions.unreadable())?;
    let examples: Vec<&Example> = captions.readable().iter().map(|&index| &examples[index]).collect();
    let said: Vec<&str> = captions.readable().iter().map(|&index| captions[index].as_str()).collect();
    let nearest = nearest_captions(captioner, dataset, &examples, &ExtractConfig::default())?;
    let found = measure(dataset, split, &examples, &said, nearest.as_deref())?;
    Ok(CaptionEvaluation { unreadable: captions.unreadable().to_vec(), ..found })
}

/// As [`evaluate`], by cached features: pictures that have none are left out, and named.
///
/// # Errors
/// [`Error::Argument`] when the split has no pictures with captions and features; [`Error::Data`] when the cache is another encoder's.
pub fn evaluate_cached(
    captioner: &Captioner,
    dataset: &Dataset,
    split: Split,
    cache: &FeatureCache,
) -> Result<CaptionEvaluation> {
    let (examples, unreadable) = cache.examples_of(dataset, split)?;
    let said = captioner.caption_cached(cache, &names(&examples), &Decoding::greedy())?;
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let train: Vec<&Example> =
        examples_of(dataset, Split::Train).into_iter().filter(|example| cache.contains(&example.name)).collect();
    let nearest = match train.is_empty() {
        true => None,
        false => Some(nearest_in(cache, &examples, &train)?),
    };
    Ok(CaptionEvaluation { unreadable, ..measure(dataset, split, &examples, &said, nearest.as_deref())? })
}

/// Measures what is said of examples of a split; `nearest` are the captions of the most alike training pictures.
fn measure(
    dataset: &Dataset,
    split: Split,
    examples: &[&Example],
    said: &[&str],
    nearest: Option<&[&str]>,
) -> Result<CaptionEvaluation> {
    let frequent = most_frequent_captions(dataset);
    let baseline_caption = frequent.first().cloned().unwrap_or_default();
    let references: Vec<Vec<Vec<String>>> =
        examples.iter().map(|example| example.captions.iter().map(|caption| words(caption)).collect()).collect();
    let cider = Cider::new(&references);
    let mean = |caption: &dyn Fn(usize) -> Vec<String>| {
        (0..examples.len()).map(|index| cider.cider_d(index, &caption(index))).sum::<f64>() / examples.len() as f64
    };
    let scenes: Option<Vec<Scene>> = examples.iter().map(|example| Scene::of(example)).collect();
    let known: HashSet<&String> = frequent.iter().collect();
    let spoken: Vec<String> = said.iter().map(|caption| words(caption).join(" ")).collect();
    Ok(CaptionEvaluation {
        scenes: scenes.map(|scenes| truth_of(&scenes, examples, said, &frequent, nearest)).transpose()?,
        cider_d: mean(&|index| words(said[index])),
        most_frequent_cider_d: mean(&|_| words(&baseline_caption)),
        nearest_neighbour_cider_d: nearest.map(|nearest| mean(&|index| words(nearest[index]))),
        person_cider_d: person_cider_d(&references),
        in_training: share_of(&spoken, |caption| known.contains(caption)),
        distinct: share_of(&spoken, |caption| spoken.iter().filter(|other| *other == caption).count() == 1),
        split,
        pictures: examples.len(),
        unreadable: Vec::new(),
    })
}

/// The examples with their captions, the most like those of people first, by CIDEr-D against the example's own captions. Examples
/// without a caption of either sort are left out.
///
/// # Errors
/// [`Error::Argument`] if the numbers of captions and examples differ.
pub fn ranked<S: AsRef<str>>(examples: &[Example], captions: &[S]) -> Result<Vec<RankedCaption>> {
    if examples.len() != captions.len() {
        let problem = format!("{} pictures and {} captions", examples.len(), captions.len());
        return Err(Error::argument(problem, "Give one caption for each picture."));
    }
    let both: Vec<(&Example, &str)> = examples
        .iter()
        .zip(captions.iter().map(AsRef::as_ref))
        .filter(|(example, caption)| !example.captions.is_empty() && !caption.is_empty())
        .collect();
    let references: Vec<Vec<Vec<String>>> =
        both.iter().map(|(example, _)| example.captions.iter().map(|caption| words(caption)).collect()).collect();
    let cider = Cider::new(&references);
    let rank = |(index, (example, caption)): (usize, &(&Example, &str))| RankedCaption {
        example: (*example).clone(),
        caption: (*caption).to_string(),
        cider_d: cider.cider_d(index, &words(caption)),
    };
    let mut ranked: Vec<RankedCaption> = both.iter().enumerate().map(rank).collect();
    ranked.sort_by(|one, other| other.cider_d.total_cmp(&one.cider_d));
    Ok(ranked)
}

/// An example with a caption of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedCaption {
    /// The example.
    pub example: Example,
    /// The caption of the model.
    pub caption: String,
    /// CIDEr-D of that, against the example's own captions.
    pub cider_d: f64,
}

/// For each example the first caption of the training picture that is most alike to the captioner's encoder, as Karpathy & Fei-Fei (2015,
/// section 4.2) compare themselves with; `None` where the features of the training pictures are not in the cache, or it cannot be
/// written.
pub(super) fn nearest_captions<'a>(
    captioner: &Captioner,
    dataset: &'a Dataset,
    examples: &[&Example],
    config: &ExtractConfig,
) -> Result<Option<Vec<&'a str>>> {
    let train = examples_of(dataset, Split::Train);
    let nearest = |encoder: &Encoder| {
        let folder = config.folder_of(dataset, encoder);
        let has_all = |cache: FeatureCache| train.iter().all(|example| cache.contains(&example.name));
        if train.is_empty() || !folder.is_dir() || !FeatureCache::open(&folder).is_ok_and(has_all) {
            return Ok(None);
        }
        // The baseline is not worth an evaluation that fails because the cache cannot be written.
        let Ok(report) = extract_examples(examples, &PlaceOfData::of(dataset), encoder, config, |_| true) else {
            return Ok(None);
        };
        Ok(Some(nearest_in(&report.open()?, examples, &train)?))
    };
    captioner.named_encoder().with_encoder(nearest)
}

/// For each example the first caption of the training picture that is most alike in a cache.
fn nearest_in<'a>(cache: &FeatureCache, examples: &[&Example], train: &[&'a Example]) -> Result<Vec<&'a str>> {
    let caption = |found: &Vec<(usize, f32)>| {
        let example = found.first().map(|(index, _)| train[*index]);
        example.and_then(|example| example.captions.first()).map_or("", String::as_str)
    };
    Ok(cache.nearest(&names(examples), &names(train), 1)?.iter().map(caption).collect())
}

fn names<'a>(examples: &[&'a Example]) -> Vec<&'a str> {
    examples.iter().map(|example| example.name.as_str()).collect()
}

/// The words of a caption, as they are scored.
fn words(caption: &str) -> Vec<String> {
    Vocabulary::words(caption).iter().map(ToString::to_string).collect()
}

/// CIDEr-D of the first caption of each picture that has two or more, against its others.
fn person_cider_d(references: &[Vec<Vec<String>>]) -> Option<f64> {
    let several: Vec<&Vec<Vec<String>>> = references.iter().filter(|captions| captions.len() > 1).collect();
    let others: Vec<Vec<Vec<String>>> = several.iter().map(|captions| captions[1..].to_vec()).collect();
    let cider = Cider::new(&others);
    let sum: f64 = several.iter().enumerate().map(|(index, captions)| cider.cider_d(index, &captions[0])).sum();
    (!several.is_empty()).then(|| sum / several.len() as f64)
}

fn share_of(captions: &[String], test: impl Fn(&String) -> bool) -> f64 {
    captions.iter().filter(|caption| test(caption)).count() as f64 / captions.len().max(1) as f64
}

/// How true captions of scenes are; `frequent` are the captions of training pictures, the most frequent first, and `nearest` those of
/// the most alike ones.
fn truth_of(
    scenes: &[Scene],
    examples: &[&Example],
    said: &[&str],
    frequent: &[String],
    nearest: Option<&[&str]>,
) -> Result<SceneTruth> {
    let first: Vec<&str> = examples.iter().map(|example| example.captions.first().map_or("", String::as_str)).collect();
    let always = |caption: &str| -> Result<Truth> { Ok(ClaimScore::of(scenes, &vec![caption; scenes.len()])?.into()) };
    let makes_a_claim =
        |caption: &&String| ClaimScore::of(&scenes[..1], &[caption.as_str()]).is_ok_and(|score| score.coloured > 0);
    let baseline_caption = frequent.first().cloned().unwrap_or_default();
    let claiming_baseline_caption = frequent.iter().take(1000).find(makes_a_claim).cloned().unwrap_or_default();
    Ok(SceneTruth {
        truth: ClaimScore::of(scenes, said)?.into(),
        person: ClaimScore::of(scenes, &first)?.into(),
        nearest_neighbour: nearest.map(|nearest| ClaimScore::of(scenes, nearest)).transpose()?.map(Truth::from),
        baseline: always(&baseline_caption)?,
        baseline_caption,
        claiming_baseline: always(&claiming_baseline_caption)?,
        claiming_baseline_caption,
    })
}

/// The captions of the training pictures, most frequent first, then as they come in the data set; as words, so that case and
/// punctuation do not count.
fn most_frequent_captions(dataset: &Dataset) -> Vec<String> {
    // How often, and which place it first has.
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    let train = dataset.examples.iter().filter(|example| example.split == Some(Split::Train));
    for (place, caption) in train.flat_map(|example| &example.captions).enumerate() {
        counts.entry(Vocabulary::words(caption).join(" ")).or_insert((0, place)).0 += 1;
    }
    let mut captions: Vec<(String, (usize, usize))> = counts.into_iter().collect();
    captions.sort_by_key(|(_, (count, place))| (Reverse(*count), *place));
    captions.into_iter().map(|(caption, _)| caption).collect()
}

crate::in_cells::shown_in_cells!(CaptionEvaluation);
