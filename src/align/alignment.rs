//! Which word of a sentence is which region of a picture.

use std::fmt;
use std::ops::Range;

use super::smooth;
use crate::Result;
use crate::data::BoundingBox;

/// The words of a sentence aligned with the regions of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Alignment {
    /// The words, as [`Vocabulary::words`](crate::data::Vocabulary::words) splits the sentence.
    pub words: Vec<String>,
    /// Which of the words the aligner knows.
    pub known: Vec<bool>,
    /// The regions: the whole picture first, in pixels.
    pub boxes: Vec<BoundingBox>,
    /// How similar each word is to each region: a row for each word.
    pub similarities: Vec<Vec<f32>>,
    /// The region of each word, an index into `boxes`.
    pub regions: Vec<usize>,
    /// The score of picture and sentence.
    pub score: f32,
}

/// Words that stand side by side and have one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// Which words.
    pub words: Range<usize>,
    /// The words, joined by spaces.
    pub text: String,
    /// Their region, an index into [`Alignment::boxes`].
    pub region: usize,
}

impl Alignment {
    /// The same sentence and picture with runs of words on one region, as [`smooth`] finds them; 0 aligns each word by itself.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when `smoothing` is negative or not finite.
    pub fn smoothed(&self, smoothing: f64) -> Result<Self> {
        Ok(Self { regions: smooth(&self.similarities, smoothing)?, ..self.clone() })
    }

    /// The same sentence and picture with each word choosing by itself, as [`Alignment::ground`] does: the whole picture only where there
    /// is nothing else.
    pub fn among_boxes(&self) -> Self {
        let best = |row: &Vec<f32>| ground(std::slice::from_ref(row));
        Self { regions: self.similarities.iter().map(best).collect(), ..self.clone() }
    }

    /// The runs of words on one region, in the order of the sentence.
    pub fn snippets(&self) -> Vec<Snippet> {
        snippets(&self.words, &self.regions)
    }

    /// The region that fits a phrase best: the one with the largest sum of similarities over its words. The whole picture is chosen only
    /// where there is nothing else.
    ///
    /// `phrase` is a range of words.
    pub fn ground(&self, phrase: Range<usize>) -> usize {
        ground(&self.similarities[phrase])
    }
}

/// The runs of words on one region; `regions` has one for each of `words`.
pub(super) fn snippets(words: &[impl AsRef<str>], regions: &[usize]) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    let mut first = 0;
    for run in regions.chunk_by(|a, b| a == b) {
        let place = first..first + run.len();
        let text = words[place.clone()].iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        snippets.push(Snippet { text, region: run[0], words: place });
        first += run.len();
    }
    snippets
}

/// As [`Alignment::ground`].
pub(super) fn ground(similarities: &[Vec<f32>]) -> usize {
    let total = |region: usize| similarities.iter().map(|row| f64::from(row[region])).sum::<f64>();
    let regions = similarities.first().map_or(0, Vec::len);
    (1..regions)
        .map(|region| (region, total(region)))
        .fold(None, |best: Option<(usize, f64)>, now| match best {
            Some(best) if best.1 >= now.1 => Some(best),
            _ => Some(now),
        })
        .map_or(0, |(region, _)| region)
}

crate::in_cells::shown_in_cells!(Alignment);

/// Displays the score, then a line for each run of words with the number of its region, of which 0 is the whole picture.
impl fmt::Display for Alignment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "score {:.2}", self.score)?;
        self.snippets()
            .iter()
            .try_for_each(|snippet| write!(formatter, "\nregion {}: {}", snippet.region, snippet.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alignment() -> Alignment {
        let whole = BoundingBox { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };
        Alignment {
            words: ["a", "dog", "on", "grass"].map(String::from).to_vec(),
            known: vec![true; 4],
            boxes: vec![whole, BoundingBox { right: 5.0, ..whole }, BoundingBox { left: 5.0, ..whole }],
            similarities: vec![vec![0.1, 0.4, 0.3], vec![0.0, 0.9, 0.1], vec![0.5, 0.4, 0.3], vec![0.8, 0.1, 0.7]],
            regions: vec![1, 1, 0, 0],
            score: 2.6,
        }
    }

    #[test]
    fn snippets_are_runs_of_words_on_one_region() {
        let snippet = |words: Range<usize>, text: &str, region| Snippet { words, text: text.into(), region };
        assert_eq!(alignment().snippets(), [snippet(0..2, "a dog", 1), snippet(2..4, "on grass", 0)]);
        let smooth = alignment().smoothed(10.0).unwrap();
        assert_eq!(smooth.snippets(), [snippet(0..4, "a dog on grass", 1)]);
        assert!(alignment().smoothed(-1.0).is_err());
    }

    #[test]
    fn among_boxes_the_whole_picture_is_not_chosen() {
        let (all, boxes) = (alignment(), alignment().among_boxes());
        assert!(all.regions.contains(&0));
        for (row, &region) in all.similarities.iter().zip(&boxes.regions) {
            assert!(region > 0 && row[1..].iter().all(|similarity| *similarity <= row[region]));
        }
        // Everything else stays, so that region 0 is the whole picture still.
        assert_eq!(Alignment { regions: all.regions.clone(), ..boxes }, all);
        let mut alone = alignment();
        alone.boxes.truncate(1);
        alone.similarities.iter_mut().for_each(|row| row.truncate(1));
        assert_eq!(alone.among_boxes().regions, vec![0; alone.words.len()]);
    }

    #[test]
    fn a_phrase_has_the_region_of_the_largest_sum_which_is_not_the_whole_picture() {
        assert_eq!([alignment().ground(0..2), alignment().ground(3..4), alignment().ground(0..4)], [1, 2, 1]);
        let mut alone = alignment();
        alone.similarities.iter_mut().for_each(|row| row.truncate(1));
        assert_eq!(alone.ground(0..2), 0);
    }
}
