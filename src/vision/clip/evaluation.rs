//! How well a CLIP finds pictures by their captions, and captions by their pictures.

use std::fmt;

use serde::Serialize;
use tch::Kind;

use crate::data::scenes::{Scene, claims};
use crate::data::{Dataset, Example, HOW_TO_SPLIT, Split};
use crate::metrics::{self, Ranks};
use crate::vision::clip::{Clip, ClipTokenizer, normalised};
use crate::{Error, Result};

/// Pictures that are searched at a time.
const GROUP: usize = 100;

/// How well the right one is found among [`ClipEvaluation::pictures`] pictures and their captions, means over groups of so
/// many.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClipEvaluation {
    /// Pictures in a group, and how many groups.
    pub pictures: usize,
    pub groups: usize,
    pub captions: usize,
    /// The share of captions whose own picture comes first, and among the first 5 and 10.
    pub picture_recall: [f64; 3],
    /// In which place a caption's own picture comes, from 1: the median.
    pub picture_median_rank: f64,
    /// The share of pictures one of whose captions comes first, and among the first 5 and 10.
    pub caption_recall: [f64; 3],
    /// In which place the first of a picture's captions comes, from 1: the median.
    pub caption_median_rank: f64,
    /// The share of captions that are true of the picture that comes first. Scenes alone.
    pub true_of_first: Option<f64>,
    /// The first of [`ClipEvaluation::picture_recall`] for one who understands every caption, and guesses among the pictures
    /// that it is true of. Scenes alone.
    pub ceiling: Option<f64>,
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
                "\nno one could find more than {:.1} % of the pictures at once, as captions leave things out ({:.0} % of \
                 that); {:.1} % of the captions are true of the picture found first",
                100.0 * ceiling,
                100.0 * self.picture_recall[0] / ceiling,
                100.0 * found
            )?;
        }
        Ok(())
    }
}

/// Measures a CLIP on a split: its pictures in groups of 100, or of all there are where they are fewer. Pictures that are
/// over after the last whole group are left out.
///
/// # Errors
/// [`Error::Argument`] when the split has no pictures with captions; [`Error::Image`] for one that cannot be decoded.
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
            format!("{} has no {split:?} pictures with captions", dataset.name),
            format!("Give its examples splits: {HOW_TO_SPLIT}."),
        ));
    }
    let size = examples.len().min(GROUP);
    let mut total = Total::default();
    for group in examples.chunks_exact(size) {
        total.add(clip, tokenizer, group)?;
    }
    Ok(total.evaluation(size, examples.len() / size))
}

/// What was found in all groups.
#[derive(Default)]
struct Total {
    picture_ranks: Ranks,
    caption_ranks: Ranks,
    true_of_first: usize,
    ceiling: f64,
    known: usize,
}

impl Total {
    fn add(&mut self, clip: &Clip, tokenizer: &ClipTokenizer, group: &[Example]) -> Result<()> {
        let captions: Vec<(usize, &str)> = group
            .iter()
            .enumerate()
            .flat_map(|(own, example)| example.captions.iter().map(move |caption| (own, caption.as_str())))
            .collect();
        let pictures = group.iter().map(Example::picture).collect::<Result<Vec<_>>>()?;
        let images = normalised(&clip.encode_image(&clip.prepare(&pictures)?)?);
        let texts: Vec<&str> = captions.iter().map(|&(_, caption)| caption).collect();
        let texts = normalised(&clip.encode_text(&tokenizer.encode_batch(&texts)?)?);
        let scores = texts.f_matmul(&images.f_transpose(0, 1)?)?;
        let scores: Vec<f32> = Vec::try_from(scores.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)?;
        let owners: Vec<usize> = captions.iter().map(|(own, _)| *own).collect();
        let (pictures, of_pictures) = metrics::ranks(&scores, group.len(), &owners)?;
        self.picture_ranks.extend(pictures);
        self.caption_ranks.extend(of_pictures);
        let scenes: Option<Vec<Scene>> = group.iter().map(Scene::of).collect();
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

    fn evaluation(self, pictures: usize, groups: usize) -> ClipEvaluation {
        let recall = |ranks: &Ranks| [1, 5, 10].map(|most| ranks.recall(most));
        let share = |part: f64| (self.known > 0).then(|| part / self.known as f64);
        ClipEvaluation {
            pictures,
            groups,
            captions: self.picture_ranks.as_slice().len(),
            picture_recall: recall(&self.picture_ranks),
            caption_recall: recall(&self.caption_ranks),
            true_of_first: share(self.true_of_first as f64),
            ceiling: share(self.ceiling),
            picture_median_rank: self.picture_ranks.median(),
            caption_median_rank: self.caption_ranks.median(),
        }
    }
}
