//! Retrieval evaluation of CLIP.

use std::fmt;

use image::RgbImage;
use serde::Serialize;
use tch::Kind;

use crate::data::readable::{check_any_readable, decode_readable, write_unreadable};
use crate::data::scenes::{Scene, claims};
use crate::data::{Dataset, Example, HOW_TO_SPLIT, Split};
use crate::metrics::{self, Ranks};
use crate::vision::clip::{Clip, ClipTokenizer, normalised};
use crate::{Error, Result};

/// Number of images per retrieval group.
const GROUP: usize = 100;

/// Retrieval metrics, averaged over groups of [`ClipEvaluation::pictures`] images with their captions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipEvaluation {
    /// Images per group.
    pub pictures: usize,
    /// Number of groups.
    pub groups: usize,
    /// Number of captions in all groups.
    pub captions: usize,
    /// Text-to-image recall@1, @5 and @10, in `0..=1`.
    pub picture_recall: [f64; 3],
    /// Median rank of a caption's image, from 1.
    pub picture_median_rank: f64,
    /// Image-to-text recall@1, @5 and @10, in `0..=1`: one of the image's captions is among the first.
    pub caption_recall: [f64; 3],
    /// Median rank of the best-ranked caption of an image, from 1.
    pub caption_median_rank: f64,
    /// Share of captions that are true of the top-ranked image. Scenes only.
    pub true_of_first: Option<f64>,
    /// Highest reachable text-to-image recall@1: understands every caption and guesses among the images it is true of. Scenes only.
    pub ceiling: Option<f64>,
    /// Images that could not be decoded, and why; they are left out.
    pub unreadable: Vec<String>,
}

impl fmt::Display for ClipEvaluation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |shares: &[f64; 3]| shares.map(|share| format!("{:.1}", 100.0 * share)).join("/");
        writeln!(formatter, "among {} pictures ({} groups, {} captions):", self.pictures, self.groups, self.captions)?;
        writeln!(
            formatter,
            "caption → picture R@1/5/10: {} %, median rank {}",
            percent(&self.picture_recall),
            self.picture_median_rank
        )?;
        write!(
            formatter,
            "picture → caption R@1/5/10: {} %, median rank {}",
            percent(&self.caption_recall),
            self.caption_median_rank
        )?;
        if let (Some(ceiling), Some(found)) = (self.ceiling, self.true_of_first) {
            write!(
                formatter,
                "\ncaptions leave things out, so at most {:.1} % of the pictures can be found at once ({:.0} % of that is \
                 reached); {:.1} % of the captions are true of the picture ranked first",
                100.0 * ceiling,
                100.0 * self.picture_recall[0] / ceiling,
                100.0 * found
            )?;
        }
        write_unreadable(formatter, &self.unreadable)
    }
}

/// Evaluates a CLIP on a split, in groups of 100 images, or one group of all images where there are fewer. Images left over after
/// the last full group are ignored.
///
/// # Errors
/// [`Error::Argument`] when the split has no images with captions; images that cannot be
/// decoded are left out and named.
pub fn evaluate_clip(
    clip: &Clip,
    tokenizer: &ClipTokenizer,
    dataset: &Dataset,
    split: Split,
) -> Result<ClipEvaluation> {
    let examples: Vec<Example> =
        dataset.split(split).into_iter().filter(|example| !example.captions.is_empty()).collect();
    if examples.is_empty() {
        return Err(Error::argument(
            format!("{} has no {split} pictures with captions", dataset.name),
            format!("Give its examples splits: {HOW_TO_SPLIT}."),
        ));
    }
    let mut total = Total::default();
    // Readable pictures wait here until they make a group.
    let mut group: Vec<(&Example, RgbImage)> = Vec::with_capacity(GROUP);
    for part in examples.chunks(GROUP) {
        let decoded = decode_readable(part, &mut total.unreadable);
        for (index, picture) in decoded {
            group.push((&part[index], picture));
            if group.len() == GROUP {
                total.add(clip, tokenizer, &std::mem::take(&mut group))?;
            }
        }
    }
    if total.groups == 0 {
        check_any_readable(group.len(), &total.unreadable)?;
        total.add(clip, tokenizer, &group)?;
    }
    Ok(total.evaluation())
}

/// Sums over all groups.
#[derive(Default)]
struct Total {
    picture_ranks: Ranks,
    caption_ranks: Ranks,
    true_of_first: usize,
    ceiling: f64,
    known: usize,
    /// Images in a group, and how many groups there were.
    group_size: usize,
    groups: usize,
    unreadable: Vec<String>,
}

impl Total {
    fn add(&mut self, clip: &Clip, tokenizer: &ClipTokenizer, group: &[(&Example, RgbImage)]) -> Result<()> {
        let (group, pictures): (Vec<&Example>, Vec<RgbImage>) = group.iter().cloned().unzip();
        (self.group_size, self.groups) = (group.len(), self.groups + 1);
        let captions: Vec<(usize, &str)> = group
            .iter()
            .enumerate()
            .flat_map(|(own, example)| example.captions.iter().map(move |caption| (own, caption.as_str())))
            .collect();
        let images = normalised(&clip.encode_image(&clip.prepare(&pictures)?)?);
        let texts: Vec<&str> = captions.iter().map(|&(_, caption)| caption).collect();
        let texts = normalised(&clip.encode_text(&tokenizer.encode_batch(&texts)?)?);
        let scores = texts.f_matmul(&images.f_transpose(0, 1)?)?;
        let scores: Vec<f32> = Vec::try_from(scores.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)?;
        let owners: Vec<usize> = captions.iter().map(|(own, _)| *own).collect();
        let (of_captions, of_pictures) = metrics::ranks(&scores, group.len(), &owners)?;
        self.picture_ranks.extend(of_captions);
        self.caption_ranks.extend(of_pictures);
        let scenes: Option<Vec<Scene>> = group.iter().map(|example| Scene::of(example)).collect();
        for (row, &(_, caption)) in scores.chunks_exact(group.len()).zip(&captions) {
            if let Some(scenes) = &scenes {
                let claims = claims(caption);
                let fits = |scene: &Scene| claims.iter().all(|claim| scene.is_true(claim));
                let first = row.iter().zip(scenes).max_by(|a, b| a.0.total_cmp(b.0));
                self.true_of_first += usize::from(first.is_some_and(|(_, scene)| fits(scene)));
                self.ceiling += 1.0 / scenes.iter().filter(|scene| fits(scene)).count().max(1) as f64;
                self.known += 1;
            }
        }
        Ok(())
    }

    fn evaluation(self) -> ClipEvaluation {
        let recall = |ranks: &Ranks| [1, 5, 10].map(|most| ranks.recall(most));
        let share = |part: f64| (self.known > 0).then(|| part / self.known as f64);
        ClipEvaluation {
            pictures: self.group_size,
            groups: self.groups,
            captions: self.picture_ranks.as_slice().len(),
            picture_recall: recall(&self.picture_ranks),
            caption_recall: recall(&self.caption_ranks),
            true_of_first: share(self.true_of_first as f64),
            ceiling: share(self.ceiling),
            picture_median_rank: self.picture_ranks.median(),
            caption_median_rank: self.caption_ranks.median(),
            unreadable: self.unreadable,
        }
    }
}

crate::in_cells::shown_in_cells!(ClipEvaluation);
