//! Runs of words on one region: a chain over the words of a sentence.

use crate::{Error, Result};

/// The region of each word that maximises `Σ_j similarity(j, a_j) + smoothing · Σ_j 1[a_j = a_{j+1}]`, found exactly by dynamic
/// programming (Karpathy & Fei-Fei 2015, equations 10 to 12; Viterbi 1967).
///
/// With `smoothing` 0 each word takes its best region by itself; the larger it is, the longer are the runs of words on one region,
/// until the whole sentence has one. Of equally good regions a word takes the first, unless its neighbour decides.
///
/// # Shapes
/// - `similarities`: a row for each word, a column for each region
/// - result: one region for each word
///
/// ```
/// use captionlab::align::smooth;
/// let similarities = vec![vec![0.9, 0.1], vec![0.4, 0.5], vec![0.8, 0.2]];
/// assert_eq!(smooth(&similarities, 0.0)?, [0, 1, 0]);
/// // The word in the middle prefers the other region by only 0.1, and would break a run of three.
/// assert_eq!(smooth(&similarities, 0.3)?, [0, 0, 0]);
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] when `smoothing` is negative or not finite; [`Error::Argument`] when a word has no regions, another number of
/// them than the first word, or a similarity that is not a number.
pub fn smooth(similarities: &[Vec<f32>], smoothing: f64) -> Result<Vec<usize>> {
    if !(smoothing.is_finite() && smoothing >= 0.0) {
        return Err(Error::config("smoothing", smoothing, "must be 0 or more (0 aligns each word by itself)"));
    }
    let Some(first) = similarities.first() else { return Ok(Vec::new()) };
    let regions = first.len();
    for (word, row) in similarities.iter().enumerate() {
        if row.len() != regions || regions == 0 {
            return Err(Error::argument(
                format!("word {word} has similarities with {} regions, and word 0 with {regions}", row.len()),
                "Give each word one similarity for each region, of which there must be at least one.",
            ));
        }
        if let Some(region) = row.iter().position(|similarity| !similarity.is_finite()) {
            return Err(Error::argument(
                format!("the similarity of word {word} with region {region} is {}", row[region]),
                "Look for features that are not finite: `captionlab extract --verify` finds damaged ones.",
            ));
        }
    }
    // The best total up to a word, for each region of that word, and the region of the word before in it.
    let mut best: Vec<f64> = first.iter().map(|&similarity| f64::from(similarity)).collect();
    let mut before: Vec<Vec<usize>> = Vec::with_capacity(similarities.len());
    for row in &similarities[1..] {
        let leader = first_largest(&best);
        // Staying wins ties, so equal totals give the fewer changes.
        let from: Vec<usize> =
            (0..regions).map(|region| if best[region] + smoothing >= best[leader] { region } else { leader }).collect();
        best = (0..regions)
            .map(|region| {
                let stays = if from[region] == region { smoothing } else { 0.0 };
                best[from[region]] + stays + f64::from(row[region])
            })
            .collect();
        before.push(from);
    }
    let mut region = first_largest(&best);
    let mut path = vec![region];
    for from in before.iter().rev() {
        region = from[region];
        path.push(region);
    }
    path.reverse();
    Ok(path)
}

/// The index of the largest value; of equal ones the first.
fn first_largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Random;

    fn total(similarities: &[Vec<f32>], path: &[usize], smoothing: f64) -> f64 {
        let unary: f64 = similarities.iter().zip(path).map(|(row, &region)| f64::from(row[region])).sum();
        unary + smoothing * path.windows(2).filter(|pair| pair[0] == pair[1]).count() as f64
    }

    /// The highest total of all paths.
    fn brute_force(similarities: &[Vec<f32>], smoothing: f64) -> f64 {
        let regions = similarities[0].len();
        let paths = regions.pow(similarities.len() as u32);
        let path = |number: usize| -> Vec<usize> {
            (0..similarities.len()).map(|word| number / regions.pow(word as u32) % regions).collect()
        };
        (0..paths).map(|number| total(similarities, &path(number), smoothing)).fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn it_finds_the_best_of_all_paths() {
        let mut random = Random::new(5);
        for case in 0..300 {
            let (words, regions) = (1 + random.below(6), 1 + random.below(4));
            let similarities: Vec<Vec<f32>> =
                (0..words).map(|_| (0..regions).map(|_| random.unit() - 0.3).collect()).collect();
            for smoothing in [0.0, 0.05, 0.3, 2.0] {
                let path = smooth(&similarities, smoothing).unwrap();
                let (found, best) = (total(&similarities, &path, smoothing), brute_force(&similarities, smoothing));
                assert!((found - best).abs() < 1e-9, "case {case}, smoothing {smoothing}: {found} of {best}");
            }
        }
    }

    #[test]
    fn without_smoothing_words_are_alone_and_with_much_of_it_the_sentence_has_one_region() {
        let mut random = Random::new(6);
        for _ in 0..50 {
            let similarities: Vec<Vec<f32>> = (0..12).map(|_| (0..5).map(|_| random.unit()).collect()).collect();
            let alone: Vec<usize> = similarities
                .iter()
                .map(|row| first_largest(&row.iter().map(|&value| f64::from(value)).collect::<Vec<_>>()))
                .collect();
            assert_eq!(smooth(&similarities, 0.0).unwrap(), alone);
            let mut changes = usize::MAX;
            for smoothing in [0.0, 0.1, 0.3, 1.0, 12.0] {
                let path = smooth(&similarities, smoothing).unwrap();
                let now = path.windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert!(now <= changes, "{now} changes after {changes}");
                changes = now;
            }
            assert_eq!(changes, 0);
        }
    }

    #[test]
    fn what_cannot_be_smoothed_is_refused() {
        let good = vec![vec![0.1, 0.2], vec![0.3, 0.4]];
        assert_eq!(smooth(&[], 1.0).unwrap(), Vec::<usize>::new());
        for smoothing in [-0.1, f64::NAN, f64::INFINITY] {
            let error = smooth(&good, smoothing).unwrap_err().to_string();
            assert!(error.starts_with("smoothing = "), "{error}");
        }
        for (similarities, said) in [
            (vec![vec![]], "with 0 regions"),
            (vec![vec![0.1, 0.2], vec![0.3]], "word 1 has similarities with 1 regions"),
            (vec![vec![0.1, 0.2], vec![0.3, f32::NAN]], "word 1 with region 1 is NaN"),
        ] {
            let error = smooth(&similarities, 1.0).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
    }
}
