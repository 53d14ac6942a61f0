//! Alignments of an aligner as figures.

use super::alignments::{AlignedImage, AlignedWord, alignments};
use super::figure::Figure;
use super::heat_map::{HeatMap, heat_map};
use super::probabilities::{ChosenWord, word_probabilities};
use super::retrieval::{RetrievalRow, RetrievedImage, retrieval};
use crate::align::{Align, Alignment};
use crate::caption::{Caption, Captioner, Decoding, ExplainedWord, Explanation};
use crate::data::Example;
use crate::vision::FeatureCache;
use crate::{Error, Result};

/// Pictures that a gallery shows of each query.
const SHOWN: usize = 5;

impl AlignedImage {
    /// A picture with the words of a sentence aligned with its regions. Words that the aligner does not know have no region.
    pub fn new(image: image::RgbImage, alignment: &Alignment) -> Self {
        let word = |(index, word): (usize, &String)| {
            let region = alignment.regions[index];
            AlignedWord {
                word: word.clone(),
                region: alignment.known[index].then_some(region),
                score: alignment.similarities[index][region],
            }
        };
        Self {
            image,
            boxes: alignment.boxes.clone(),
            words: alignment.words.iter().enumerate().map(word).collect(),
            note: None,
        }
    }
}

impl AlignedImage {
    /// A picture with each word of a caption at the region that its captioner attended to most; the score is the attention's weight.
    ///
    /// # Errors
    /// [`Error::Argument`] when the captioner has no attention, and for a caption without words.
    pub fn explained(image: image::RgbImage, explanation: &Explanation) -> Result<Self> {
        let word = |word: &ExplainedWord| {
            let region = word.region()?;
            Some(AlignedWord { word: word.word.clone(), region: Some(region), score: word.attention[region] })
        };
        let words: Option<Vec<AlignedWord>> = explanation.said().iter().map(word).collect();
        match words {
            Some(words) if !words.is_empty() => Ok(Self { image, boxes: explanation.boxes.clone(), words, note: None }),
            Some(_) => Err(Error::argument("the caption has no words", "Let it have some, with `min_words`.")),
            None => Err(no_attention()),
        }
    }
}

/// Draws pictures with their regions and what a captioner calls each, with the probability of that; see [`alignments`] and
/// [`Captioner::caption_regions`]. The whole picture is a region too. Pictures that cannot be read are left out.
///
/// # Errors
/// Those of [`Captioner::caption_regions`] and [`alignments`].
pub fn captioned_regions(
    title: &str,
    captioner: &Captioner,
    cache: &FeatureCache,
    examples: &[Example],
) -> Result<Figure> {
    let mut images = Vec::with_capacity(examples.len());
    for example in examples {
        let Ok(image) = example.picture() else { continue };
        let called = captioner.caption_regions(cache, &example.name, &Decoding::greedy())?;
        let word = |(region, caption): (usize, Caption)| {
            let text = if caption.text.is_empty() { "–".to_string() } else { caption.text };
            AlignedWord::new(text, region, caption.log_probability.exp() as f32)
        };
        let words = called.into_iter().enumerate().map(word).collect();
        images.push(AlignedImage { image, boxes: cache.get(&example.name)?.boxes, words, note: None });
    }
    alignments(title, &images, images.len().clamp(1, 3))
}

/// Draws the words of a caption with their probabilities, and those of its runners-up; see [`word_probabilities`].
///
/// # Errors
/// Those of [`word_probabilities`].
pub fn explained_words(title: &str, explanation: &Explanation) -> Result<Figure> {
    let chosen = |word: &ExplainedWord| ChosenWord {
        word: word.word.clone(),
        probability: word.probability,
        others: word.most_probable.iter().filter(|(other, _)| *other != word.word).cloned().collect(),
    };
    word_probabilities(title, &explanation.words.iter().map(chosen).collect::<Vec<_>>())
}

/// Draws how much each word of a caption attended to each region, as a heat map; the most attended region of each word is marked.
///
/// # Errors
/// [`Error::Argument`] when the captioner has no attention; those of [`heat_map`].
pub fn attention(title: &str, explanation: &Explanation) -> Result<Figure> {
    let marked: Option<Vec<usize>> = explanation.said().iter().map(ExplainedWord::region).collect();
    let Some(marked) = marked else { return Err(no_attention()) };
    let map = HeatMap {
        rows: explanation.said().iter().map(|word| word.word.clone()).collect(),
        columns: (0..explanation.boxes.len()).map(region_name).collect(),
        values: explanation.said().iter().map(|word| word.attention.clone()).collect(),
        marked: marked.into_iter().enumerate().collect(),
    };
    heat_map(title, &map)
}

fn no_attention() -> Error {
    Error::argument(
        "the captioner does not attend to regions",
        "Take one that was trained with the pooling `attention`.",
    )
}

/// Draws pictures with their first caption, each word in the colour of its region; see [`alignments`] and [`Alignment::smoothed`].
/// Pictures that cannot be read are left out.
///
/// # Errors
/// Those of [`Align::align_cached`], [`Alignment::smoothed`] and [`alignments`].
pub fn aligned_examples(
    title: &str,
    aligner: &impl Align,
    cache: &FeatureCache,
    examples: &[Example],
    smoothing: f64,
) -> Result<Figure> {
    let mut images = Vec::with_capacity(examples.len());
    for example in examples {
        let (Some(caption), Ok(image)) = (example.captions.first(), example.picture()) else { continue };
        let alignment = aligner.align_cached(cache, &example.name, caption)?.smoothed(smoothing)?;
        images.push(AlignedImage::new(image, &alignment));
    }
    let columns = if images.len() > 4 { 3 } else { images.len().clamp(1, 2) };
    alignments(title, &images, columns)
}

/// What a region is called in a figure.
fn region_name(region: usize) -> String {
    match region {
        0 => "whole picture".to_string(),
        _ => format!("region {region}"),
    }
}

/// Draws how similar each word is to each region; the best region of each word is marked.
///
/// # Errors
/// Those of [`heat_map`].
pub fn similarities(title: &str, alignment: &Alignment) -> Result<Figure> {
    let map = HeatMap {
        rows: alignment.words.clone(),
        columns: (0..alignment.boxes.len()).map(region_name).collect(),
        values: alignment.similarities.clone(),
        marked: alignment.regions.iter().copied().enumerate().collect(),
    };
    heat_map(title, &map)
}

/// Draws how likely each region of a picture is the one that a text speaks of; the most likely region of each text is marked.
///
/// # Errors
/// Those of [`ZeroShotAligner::ground`](crate::align::ZeroShotAligner::ground) and [`heat_map`]; [`Error::Data`] when the cache is another encoder's, or lacks the picture.
#[cfg(feature = "clip-text")]
pub fn grounded_texts(
    title: &str,
    clip: &crate::align::ZeroShotAligner,
    cache: &FeatureCache,
    example: &Example,
    texts: &[&str],
) -> Result<Figure> {
    let features = clip.cached_features(cache, &example.name)?;
    let values = clip.ground(&features, texts)?;
    let best = |row: &Vec<f32>| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let marked = values.iter().enumerate().filter_map(|(text, row)| Some((text, best(row)?))).collect();
    let columns = (0..features.boxes.len()).map(region_name).collect();
    heat_map(title, &HeatMap { rows: texts.iter().map(ToString::to_string).collect(), columns, values, marked })
}

/// Draws which pictures an aligner finds first for the first caption of each of some examples, among `among`; the right one is marked.
///
/// # Errors
/// Those of [`Align::scores`] and [`retrieval`]; [`Error::Argument`] when an example is not among the pictures.
pub fn retrieved_examples(
    title: &str,
    aligner: &impl Align,
    cache: &FeatureCache,
    queries: &[Example],
    among: &[Example],
) -> Result<Figure> {
    let names: Vec<&str> = among.iter().map(|example| example.name.as_str()).collect();
    let sentences: Vec<&str> =
        queries.iter().map(|example| example.captions.first().map_or("", String::as_str)).collect();
    let scores = aligner.scores(cache, &names, &sentences)?;
    let mut rows = Vec::with_capacity(queries.len());
    for (row, (example, sentence)) in scores.iter().zip(queries.iter().zip(sentences)) {
        let own = names.iter().position(|name| *name == example.name).ok_or_else(|| {
            Error::argument(format!("{} is not among the pictures that are searched", example.name), "Add it to them.")
        })?;
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let mut results = Vec::with_capacity(SHOWN);
        for picture in order {
            if results.len() == SHOWN {
                break;
            }
            let Ok(image) = among[picture].picture() else { continue };
            results.push(RetrievedImage { image, score: row[picture], correct: picture == own });
        }
        rows.push(RetrievalRow { query: sentence.to_string(), results, rank: Some(crate::metrics::rank(row, own)) });
    }
    retrieval(title, &rows)
}
