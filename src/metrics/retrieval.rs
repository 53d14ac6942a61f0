//! Retrieval metrics: recall@K and median rank.

use std::fmt;

use crate::{Error, Result};

/// The rank, from 1, of the correct item in each query.
///
/// ```
/// use captionlab::metrics::Ranks;
/// let ranks = Ranks::from_iter([1, 3, 1, 12]);
/// assert_eq!((ranks.recall(1), ranks.recall(5), ranks.recall(100)), (0.5, 0.75, 1.0));
/// assert_eq!(ranks.median(), 2.0);
/// assert_eq!(ranks.to_string(), "R@1/5/10 50.0/75.0/75.0 %, median rank 2");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranks(Vec<usize>);

impl Ranks {
    /// Recall@K: share of the queries whose item is among the first `most`, in `0..=1`; 0 without queries.
    pub fn recall(&self, most: usize) -> f64 {
        self.mean(|rank| if rank <= most { 1.0 } else { 0.0 })
    }

    /// Median rank; 0 without queries.
    pub fn median(&self) -> f64 {
        let mut ranks = self.0.clone();
        ranks.sort_unstable();
        let middle = |index: usize| ranks.get(index).copied().unwrap_or(0) as f64;
        match ranks.len() {
            0 => 0.0,
            count => (middle((count - 1) / 2) + middle(count / 2)) / 2.0,
        }
    }

    /// Mean reciprocal rank (MRR), in `0..=1`; 0 without queries.
    pub fn mean_reciprocal(&self) -> f64 {
        self.mean(|rank| 1.0 / rank as f64)
    }

    /// The ranks, in the order of the queries.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    fn mean(&self, of: impl Fn(usize) -> f64) -> f64 {
        self.0.iter().map(|&rank| of(rank)).sum::<f64>() / self.0.len().max(1) as f64
    }
}

impl FromIterator<usize> for Ranks {
    fn from_iter<I: IntoIterator<Item = usize>>(ranks: I) -> Self {
        Self(ranks.into_iter().collect())
    }
}

/// Adds the ranks of further queries.
impl Extend<usize> for Ranks {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, ranks: I) {
        self.0.extend(ranks);
    }
}

impl IntoIterator for Ranks {
    type Item = usize;
    type IntoIter = std::vec::IntoIter<usize>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Ranks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |most| format!("{:.1}", 100.0 * self.recall(most));
        write!(formatter, "R@1/5/10 {} %, median rank {}", [1, 5, 10].map(percent).join("/"), self.median())
    }
}

/// The rank of item `own` by decreasing score, from 1. Ties and NaN are ranked pessimistically: a model that scores everything equally
/// finds nothing.
///
/// ```
/// use captionlab::metrics::rank;
/// assert_eq!(rank(&[0.1, 0.9, 0.5], 2), 2);
/// assert_eq!(rank(&[0.5, 0.5, 0.5], 0), 3);
/// ```
///
/// # Panics
/// When `own` is out of range.
pub fn rank(scores: &[f32], own: usize) -> usize {
    scores.len() - scores.iter().filter(|&&score| score < scores[own]).count()
}

/// Ranks of both retrieval directions, from the scores of all captions with all images: the rank of each caption's image among the
/// images, and the rank of each image's best caption among the captions of other images.
///
/// `scores` is row-major with one row per caption and one column per image; `pictures_of_captions` is the image of each caption. Images
/// without captions are candidates, but not queries.
///
/// ```
/// use captionlab::metrics;
/// // Two captions of the first picture, one of the second, which looks like the first.
/// let scores = [0.9, 0.2, 0.6, 0.1, 0.8, 0.7];
/// let (pictures, captions) = metrics::ranks(&scores, 2, &[0, 0, 1])?;
/// assert_eq!((pictures.as_slice(), captions.as_slice()), (&[1, 1, 2][..], &[1, 1][..]));
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] when the number of scores is not captions × images, or a caption's image is out of range.
pub fn ranks(scores: &[f32], pictures: usize, pictures_of_captions: &[usize]) -> Result<(Ranks, Ranks)> {
    let captions = pictures_of_captions.len();
    if scores.len() != captions * pictures {
        return Err(Error::argument(
            format!("{} scores of {captions} captions with {pictures} pictures", scores.len()),
            "Give one score for each caption with each picture, the captions one after the other.",
        ));
    }
    if let Some(picture) = pictures_of_captions.iter().find(|picture| **picture >= pictures) {
        return Err(Error::argument(
            format!("a caption of picture {picture}, where there are {pictures}"),
            "Count pictures from 0, in the order of the columns.",
        ));
    }
    let rows = || scores.chunks_exact(pictures.max(1)).zip(pictures_of_captions);
    let of_captions = rows().map(|(row, &own)| rank(row, own)).collect();
    let of_picture = |picture: usize| {
        let (own, others): (Vec<_>, Vec<_>) = rows().partition(|(_, own)| **own == picture);
        // The best of its captions, ignoring NaN.
        let best = own.iter().map(|(row, _)| row[picture]).fold(f32::NAN, f32::max);
        let behind = others.iter().filter(|(row, _)| row[picture] < best).count();
        (!own.is_empty()).then_some(others.len() - behind + 1)
    };
    Ok((of_captions, (0..pictures).filter_map(of_picture).collect()))
}

crate::in_cells::shown_in_cells!(Ranks);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_come_last_and_medians_lie_between() {
        assert_eq!((rank(&[0.1, 0.9, 0.5], 1), rank(&[0.1, 0.9, 0.5], 0), rank(&[0.5; 4], 2)), (1, 3, 4));
        assert_eq!(rank(&[f32::NAN; 3], 0), 3);
        let median = |ranks: &[usize]| Ranks::from_iter(ranks.iter().copied()).median();
        assert_eq!((median(&[3, 1, 2]), median(&[4, 1, 2, 3]), median(&[])), (2.0, 2.5, 0.0));
        assert_eq!(Ranks::from_iter([1, 4]).mean_reciprocal(), 0.625);
        assert_eq!((Ranks::default().recall(1), Ranks::default().mean_reciprocal()), (0.0, 0.0));
    }

    #[test]
    fn a_model_that_says_the_same_of_everything_finds_nothing() {
        for same in [0.5, f32::NAN] {
            let owners: Vec<usize> = (0..30).map(|caption| caption / 3).collect();
            let (of_captions, of_pictures) = ranks(&vec![same; 300], 10, &owners).unwrap();
            assert_eq!((of_captions.recall(1), of_captions.median()), (0.0, 10.0));
            // The captions of a picture do not stand in one another's way.
            assert_eq!((of_pictures.recall(10), of_pictures.median()), (0.0, 28.0));
        }
    }

    #[test]
    fn a_perfect_model_finds_everything_at_once() {
        let owners = [0, 1, 1, 2, 2, 2];
        let scores: Vec<f32> =
            owners.iter().flat_map(|&own| (0..4).map(move |picture| f32::from(u8::from(own == picture)))).collect();
        let (of_captions, of_pictures) = ranks(&scores, 4, &owners).unwrap();
        assert_eq!((of_captions.as_slice(), of_pictures.as_slice()), (&[1; 6][..], &[1; 3][..]));
    }

    #[test]
    fn scores_that_do_not_fit_are_refused() {
        assert!(ranks(&[0.0; 5], 2, &[0, 1]).unwrap_err().to_string().contains("5 scores of 2 captions"));
        assert!(ranks(&[0.0; 4], 2, &[0, 2]).unwrap_err().to_string().contains("picture 2, where there are 2"));
        let (of_captions, of_pictures) = ranks(&[], 0, &[]).unwrap();
        assert_eq!((of_captions, of_pictures), (Ranks::default(), Ranks::default()));
    }
}
