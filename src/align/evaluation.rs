//! How often words find their regions, and sentences their pictures.

use std::fmt;

use image::RgbImage;
use serde::Serialize;

use super::alignment::ground;
use super::embedding::{Align, BATCH, Embed, EmbeddedPictures, check_finite, embedded_words, rows, scores_of};
use crate::data::readable::{check_any_readable, decode_readable, write_unreadable};
use crate::data::scenes::Scene;
use crate::data::{BoundingBox, Dataset, Example, HOW_TO_SPLIT, PhraseLink, Split};
use crate::metrics::{self, Ranks};
use crate::train::examples::examples_of;
use crate::vision::{FeatureBatch, FeatureCache, PictureFeatures};
use crate::{Error, Result};

/// IoU from which a region is right.
const OVERLAP: f64 = 0.5;

/// How often phrases find their regions (Plummer et al. 2015, *Flickr30k Entities*).
///
/// A phrase takes the region of [`Alignment::ground`](super::Alignment::ground). It is right when that overlaps with an IoU of 0.5 or
/// more with the union of the phrase's boxes, or with one of them; on Scenes also with a thing of the same kind and colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Grounding {
    /// Share of phrases whose region is right, in `0..=1`.
    pub grounding: f64,
    /// The same where only the union of a phrase's boxes counts, as in the published protocol.
    pub grounding_union: f64,
    /// Share of phrases whose region has its centre in one of the phrase's boxes (the pointing game).
    pub pointing: f64,
    /// Share that a region drawn at random would get.
    pub grounding_chance: f64,
    /// Share that the whole picture would get.
    pub grounding_whole_picture: f64,
    /// Share that the best of the regions would get: no aligner can do better with them.
    pub grounding_ceiling: f64,
    /// Phrases that were grounded.
    pub phrases: usize,
    /// Phrases that have no box and are left out.
    pub phrases_without_boxes: usize,
}

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlignmentEvaluation {
    /// Grounding, where the data set knows which phrase is which box.
    #[serde(flatten)]
    pub grounding: Option<Grounding>,
    /// Sentence to picture: share of sentences whose picture is the first, in `0..=1`.
    pub recall_at_1_text_to_image: f64,
    /// The same among the first 5.
    pub recall_at_5_text_to_image: f64,
    /// The same among the first 10.
    pub recall_at_10_text_to_image: f64,
    /// Median rank of a sentence's picture, from 1.
    pub median_rank_text_to_image: f64,
    /// Picture to sentence: share of pictures of which a sentence is the first, in `0..=1`.
    pub recall_at_1_image_to_text: f64,
    /// The same among the first 5.
    pub recall_at_5_image_to_text: f64,
    /// The same among the first 10.
    pub recall_at_10_image_to_text: f64,
    /// Median rank of the first sentence of a picture, from 1.
    pub median_rank_image_to_text: f64,
    /// The split.
    pub split: Split,
    /// Pictures that were searched.
    pub pictures: usize,
    /// Sentences that were searched.
    pub sentences: usize,
    /// Sentences without words, which are left out.
    pub sentences_without_words: usize,
    /// Pictures that could not be read, and why; they are left out.
    pub unreadable: Vec<String>,
}

impl fmt::Display for Grounding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        write!(
            formatter,
            "{} of {} phrases find their region ({} where only the union of their boxes counts), {} point into it; the best \
             regions would be right for {}, the whole picture for {}, a random region for {}",
            percent(self.grounding),
            self.phrases,
            percent(self.grounding_union),
            percent(self.pointing),
            percent(self.grounding_ceiling),
            percent(self.grounding_whole_picture),
            percent(self.grounding_chance),
        )?;
        match self.phrases_without_boxes {
            0 => Ok(()),
            phrases => write!(formatter, "; {phrases} phrases have no box and are left out"),
        }
    }
}

impl fmt::Display for AlignmentEvaluation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recall = |shares: [f64; 3]| shares.map(|share| format!("{:.1}", 100.0 * share)).join("/");
        writeln!(formatter, "{} {} pictures, {} sentences", self.pictures, self.split, self.sentences)?;
        if let Some(grounding) = &self.grounding {
            writeln!(formatter, "{grounding}")?;
        }
        writeln!(
            formatter,
            "sentence → picture R@1/5/10: {} %, median rank {}",
            recall([self.recall_at_1_text_to_image, self.recall_at_5_text_to_image, self.recall_at_10_text_to_image]),
            self.median_rank_text_to_image
        )?;
        write!(
            formatter,
            "picture → sentence R@1/5/10: {} %, median rank {}",
            recall([self.recall_at_1_image_to_text, self.recall_at_5_image_to_text, self.recall_at_10_image_to_text]),
            self.median_rank_image_to_text
        )?;
        if self.sentences_without_words > 0 {
            write!(formatter, "\n{} sentences have no words and are left out", self.sentences_without_words)?;
        }
        write_unreadable(formatter, &self.unreadable)
    }
}

/// Measures an aligner on the pictures of a split: how often phrases find their regions, where the data set knows them, and how well
/// sentences and pictures find each other among all of the split.
///
/// # Errors
/// [`Error::Argument`] when the split has no pictures with captions, or none of them can be read.
pub fn evaluate(aligner: &impl Align, dataset: &Dataset, split: Split) -> Result<AlignmentEvaluation> {
    let examples = examples_of(dataset, split);
    if examples.is_empty() {
        return Err(Error::argument(
            format!("{} has no {split} pictures with captions", dataset.name),
            format!("Give its examples splits: {HOW_TO_SPLIT}."),
        ));
    }
    let mut unreadable = Vec::new();
    let mut readable: Vec<&Example> = Vec::with_capacity(examples.len());
    let mut features: Vec<PictureFeatures> = Vec::with_capacity(examples.len());
    for part in examples.chunks(BATCH) {
        let (places, pictures): (Vec<usize>, Vec<RgbImage>) =
            decode_readable(part, &mut unreadable).into_iter().unzip();
        features.extend(aligner.named_encoder().encode(&pictures)?);
        readable.extend(places.into_iter().map(|place| part[place]));
    }
    check_any_readable(readable.len(), &unreadable)?;
    let batch = |part: &[usize]| FeatureBatch::of(&features[part[0]..=part[part.len() - 1]]);
    let pictures = EmbeddedPictures::of(aligner, readable.len(), batch)?;
    let found = measure(aligner, &pictures, &readable, split)?;
    Ok(AlignmentEvaluation { unreadable, ..found })
}

/// As [`evaluate`], by cached features: pictures that have none are left out, and named.
///
/// # Errors
/// [`Error::Argument`] when the split has no pictures with captions and features; [`Error::Data`] when the cache is another encoder's.
pub fn evaluate_cached(
    aligner: &impl Align,
    dataset: &Dataset,
    split: Split,
    cache: &FeatureCache,
) -> Result<AlignmentEvaluation> {
    aligner.named_encoder().check_cache(cache)?;
    let (examples, unreadable) = cache.examples_of(dataset, split)?;
    let pictures = EmbeddedPictures::of(aligner, examples.len(), |part| {
        cache.batch(&part.iter().map(|&index| examples[index].name.as_str()).collect::<Vec<_>>())
    })?;
    Ok(AlignmentEvaluation { unreadable, ..measure(aligner, &pictures, &examples, split)? })
}

/// Measures an aligner on pictures that are embedded already.
pub(super) fn measure(
    aligner: &impl Embed,
    pictures: &EmbeddedPictures,
    examples: &[&Example],
    split: Split,
) -> Result<AlignmentEvaluation> {
    let mut sentences = Vec::new();
    let mut owners = Vec::new();
    let mut without_words = 0;
    for (picture, example) in examples.iter().enumerate() {
        for caption in &example.captions {
            match aligner.ids(caption) {
                words if words.is_empty() => without_words += 1,
                words => {
                    sentences.push(words);
                    owners.push(picture);
                }
            }
        }
    }
    let scores = rows(&scores_of(aligner, pictures, &sentences)?)?;
    check_finite(&scores, "a picture")?;
    let (of_sentences, of_pictures) = metrics::ranks(&scores.concat(), pictures.len(), &owners)?;
    let recall = |ranks: &Ranks| [1, 5, 10].map(|most| ranks.recall(most));
    let ([text_1, text_5, text_10], [image_1, image_5, image_10]) = (recall(&of_sentences), recall(&of_pictures));
    Ok(AlignmentEvaluation {
        grounding: measure_grounding(aligner, pictures, examples)?,
        recall_at_1_text_to_image: text_1,
        recall_at_5_text_to_image: text_5,
        recall_at_10_text_to_image: text_10,
        median_rank_text_to_image: of_sentences.median(),
        recall_at_1_image_to_text: image_1,
        recall_at_5_image_to_text: image_5,
        recall_at_10_image_to_text: image_10,
        median_rank_image_to_text: of_pictures.median(),
        split,
        pictures: pictures.len(),
        sentences: sentences.len(),
        sentences_without_words: without_words,
        unreadable: Vec::new(),
    })
}

/// The boxes that a phrase speaks of.
struct Truth {
    union: BoundingBox,
    each: Vec<BoundingBox>,
}

impl Truth {
    /// The truth of a phrase; `None` where it has no box.
    fn of(example: &Example, scene: Option<&Scene>, link: &PhraseLink) -> Option<Self> {
        let boxes: Vec<BoundingBox> =
            link.regions.iter().filter_map(|&region| example.regions.get(region)).map(|region| region.bounds).collect();
        let union = boxes.iter().copied().reduce(|all, bounds| all.union(&bounds))?;
        // "A red ball" may be either of two.
        let alike = scene.filter(|_| boxes.len() == 1).into_iter().flat_map(|scene| {
            let own = &scene.things()[link.regions[0]];
            let same = |thing: &&crate::data::scenes::Thing| (thing.kind, thing.colour) == (own.kind, own.colour);
            scene.things().iter().filter(same).map(|thing| thing.bounds).collect::<Vec<_>>()
        });
        Some(Self { each: boxes.iter().copied().chain(alike).collect(), union })
    }

    fn fits_union(&self, region: &BoundingBox) -> bool {
        region.iou(&self.union) >= OVERLAP
    }

    fn fits(&self, region: &BoundingBox) -> bool {
        self.fits_union(region) || self.each.iter().any(|bounds| region.iou(bounds) >= OVERLAP)
    }

    fn points(&self, region: &BoundingBox) -> bool {
        let (x, y) = ((region.left + region.right) / 2.0, (region.top + region.bottom) / 2.0);
        self.each.iter().any(|bounds| bounds.left <= x && x <= bounds.right && bounds.top <= y && y <= bounds.bottom)
    }
}

/// Grounds all phrases; `None` where the data set knows of none.
fn measure_grounding(
    aligner: &impl Embed,
    pictures: &EmbeddedPictures,
    examples: &[&Example],
) -> Result<Option<Grounding>> {
    let mut sum = Grounding::default();
    let mut linked: Vec<(usize, usize)> = Vec::new();
    let mut sentences = Vec::new();
    for (picture, example) in examples.iter().enumerate().filter(|(_, example)| !example.links.is_empty()) {
        for (caption, text) in example.captions.iter().enumerate() {
            let words = aligner.ids(text);
            if !words.is_empty() {
                linked.push((picture, caption));
                sentences.push(words);
            }
        }
    }
    let scenes: Vec<Option<Scene>> = examples.iter().map(|example| Scene::of(example)).collect();
    for ((picture, caption), words) in linked.into_iter().zip(embedded_words(aligner, &sentences)?) {
        let (example, scene, boxes) = (examples[picture], scenes[picture].as_ref(), &pictures.boxes[picture]);
        let similarities = pictures.similarities(picture, &words)?;
        check_finite(&similarities, &example.name)?;
        for link in example.links.iter().filter(|link| link.caption == caption) {
            let phrase = similarities.get(link.first_word..link.end_word).filter(|phrase| !phrase.is_empty());
            let (Some(truth), Some(phrase)) = (Truth::of(example, scene, link), phrase) else {
                sum.phrases_without_boxes += 1;
                continue;
            };
            let chosen = &boxes[ground(phrase)];
            let fits: Vec<bool> = boxes.iter().map(|region| truth.fits(region)).collect();
            let share = |yes: bool| f64::from(u8::from(yes));
            sum.grounding += share(truth.fits(chosen));
            sum.grounding_union += share(truth.fits_union(chosen));
            sum.pointing += share(truth.points(chosen));
            sum.grounding_chance += fits.iter().filter(|fits| **fits).count() as f64 / fits.len() as f64;
            sum.grounding_whole_picture += share(fits[0]);
            sum.grounding_ceiling += share(fits.contains(&true));
            sum.phrases += 1;
        }
    }
    let phrases = sum.phrases as f64;
    Ok((sum.phrases > 0).then(|| Grounding {
        grounding: sum.grounding / phrases,
        grounding_union: sum.grounding_union / phrases,
        pointing: sum.pointing / phrases,
        grounding_chance: sum.grounding_chance / phrases,
        grounding_whole_picture: sum.grounding_whole_picture / phrases,
        grounding_ceiling: sum.grounding_ceiling / phrases,
        ..sum
    }))
}

crate::in_cells::shown_in_cells!(AlignmentEvaluation);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Region;
    use crate::data::scenes::ScenesConfig;

    fn of(left: f32, top: f32, right: f32, bottom: f32) -> BoundingBox {
        BoundingBox { left, top, right, bottom }
    }

    #[test]
    fn a_region_is_right_by_the_union_or_by_one_of_the_boxes() {
        let mut example =
            Dataset::scenes(&ScenesConfig { train: 1, validation: 0, test: 0, seed: 1 }).unwrap().examples.remove(0);
        let boxes = [of(0., 0., 10., 10.), of(20., 0., 30., 10.)];
        example.regions = boxes.map(|bounds| Region { bounds, label: "ball".into() }).to_vec();
        let link = |regions: &[usize]| PhraseLink { caption: 0, first_word: 0, end_word: 2, regions: regions.to_vec() };
        let both = Truth::of(&example, None, &link(&[0, 1])).unwrap();
        for (region, fits, fits_union, points) in [
            (of(0., 0., 30., 10.), true, true, false),
            (of(0., 0., 10., 10.), true, false, true),
            (of(20., 0., 30., 8.), true, false, true),
            (of(0., 0., 10., 4.), false, false, true),
            (of(12., 0., 18., 10.), false, false, false),
        ] {
            assert_eq!(
                (both.fits(&region), both.fits_union(&region), both.points(&region)),
                (fits, fits_union, points),
                "{region:?}"
            );
        }
        let first = Truth::of(&example, None, &link(&[0])).unwrap();
        assert!(first.fits(&boxes[0]) && !first.fits(&boxes[1]));
        assert!(Truth::of(&example, None, &link(&[])).is_none() && Truth::of(&example, None, &link(&[7])).is_none());
    }

    #[test]
    fn any_of_identical_things_is_right() {
        let scenes = (0..4000).map(|index| Scene::generate(1, index));
        // One of two things of the same kind and colour.
        let (scene, link) = scenes
            .filter_map(|scene| {
                let pair = |link: &&PhraseLink| {
                    let own = &scene.things()[link.regions[0]];
                    link.regions.len() == 1
                        && scene
                            .things()
                            .iter()
                            .filter(|thing| (thing.kind, thing.colour) == (own.kind, own.colour))
                            .count()
                            == 2
                };
                let link = scene.links().iter().find(pair)?.clone();
                Some((scene, link))
            })
            .next()
            .expect("some scene has two things alike, of which one is named");
        let example = scene.example(Split::Test);
        let own = &scene.things()[link.regions[0]];
        let alike = scene.things().iter().filter(|thing| (thing.kind, thing.colour) == (own.kind, own.colour));
        let truth = Truth::of(&example, Some(&scene), &link).unwrap();
        assert!(alike.clone().all(|thing| truth.fits(&thing.bounds)));
        assert_eq!(alike.filter(|thing| truth.fits_union(&thing.bounds)).count(), 1);
    }
}
