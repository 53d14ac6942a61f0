//! Greedy decoding and sampling, all pictures at a time.

use tch::{Device, Kind, Tensor};

use super::{Decoding, Hypothesis, Predictor};
use crate::Result;
use crate::data::{Random, Vocabulary};

/// One caption for each row. `first` is the number of the first row among all that are captioned with these settings: each row draws
/// from its own random sequence, so a caption does not depend on what else is in the batch.
pub(super) fn sample(mut predictor: Predictor<'_>, decoding: &Decoding, first: usize) -> Result<Vec<Hypothesis>> {
    let rows = predictor.rows();
    let empty = Hypothesis { words: Vec::new(), log_probability: 0.0, ended: false };
    let mut captions = vec![empty; rows];
    let mut randoms: Vec<Random> = (0..rows).map(|row| Random::stream(decoding.seed, (first + row) as u64)).collect();
    // With the logarithms in 64 bits no temperature makes infinity less infinity, or a divisor of 0.
    let kind = if decoding.temperature == 0.0 { Kind::Float } else { Kind::Double };
    // The rows of the predictor are the captions that have not ended yet.
    let mut active: Vec<usize> = (0..rows).collect();
    let mut words = vec![Vocabulary::START; rows];
    for step in 0..decoding.max_words {
        if active.is_empty() {
            break;
        }
        let own = predictor.read(&words, step, kind)?;
        let allowed = if decoding.has_constraints() { own.copy() } else { own.shallow_clone() };
        let before: Vec<&[i64]> = active.iter().map(|&row| captions[row].words.as_slice()).collect();
        decoding.constrain(&allowed, &before)?;
        let chosen = choose(&allowed, decoding, &active, &mut randoms)?;
        // Where no word is possible, the one that was chosen is impossible too.
        let places = Tensor::from_slice(&chosen).to_device(own.device()).unsqueeze(1);
        let log_probabilities = own.f_gather(1, &places, false)?.f_squeeze_dim(1)?;
        let possible: Vec<f64> = Vec::try_from(
            allowed.f_gather(1, &places, false)?.f_squeeze_dim(1)?.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?,
        )?;
        let log_probabilities: Vec<f64> =
            Vec::try_from(log_probabilities.f_to_kind(Kind::Double)?.f_to_device(Device::Cpu)?)?;
        let mut kept = Vec::with_capacity(active.len());
        for (row, &word) in chosen.iter().enumerate() {
            let caption = &mut captions[active[row]];
            if possible[row] == f64::NEG_INFINITY {
                continue;
            }
            caption.log_probability += log_probabilities[row];
            match word == Vocabulary::END {
                true => caption.ended = true,
                false => {
                    caption.words.push(word);
                    kept.push(row);
                }
            }
        }
        words = kept.iter().map(|&row| chosen[row]).collect();
        if kept.len() < active.len() {
            predictor.select(&kept);
            active = kept.iter().map(|&row| active[row]).collect();
        }
    }
    Ok(captions)
}

/// One word for each row of log probabilities.
fn choose(log_probabilities: &Tensor, decoding: &Decoding, rows: &[usize], randoms: &mut [Random]) -> Result<Vec<i64>> {
    if decoding.temperature == 0.0 {
        return Ok(Vec::try_from(log_probabilities.f_argmax(1, false)?.f_to_device(Device::Cpu)?)?);
    }
    // The largest is 0.
    let scaled = (log_probabilities - log_probabilities.amax([1], true)) / decoding.temperature;
    let probabilities = scaled.f_softmax(1, Kind::Double)?.f_to_device(Device::Cpu)?;
    let width = probabilities.size()[1] as usize;
    let mut flat: Vec<f64> = Vec::try_from(probabilities.f_flatten(0, 1)?)?;
    let draw = |(row, probabilities): (&usize, &mut [f64])| {
        truncate(probabilities, decoding);
        draw_word(probabilities, &mut randoms[*row])
    };
    Ok(rows.iter().zip(flat.chunks_exact_mut(width)).map(draw).collect())
}

/// A word drawn by probabilities, which need not add up to 1.
pub(in crate::caption) fn draw_word(probabilities: &[f64], random: &mut Random) -> i64 {
    let mut left = f64::from(random.unit()) * probabilities.iter().sum::<f64>();
    let mut drawn = Vocabulary::END;
    for (word, &probability) in (0..).zip(probabilities) {
        if probability > 0.0 {
            drawn = word;
            left -= probability;
            if left < 0.0 {
                break;
            }
        }
    }
    drawn
}

/// Leaves the most probable words alone: at most [`Decoding::top_k`], and no more than reach [`Decoding::nucleus`]. Of equally
/// probable ones the first stay.
fn truncate(probabilities: &mut [f64], decoding: &Decoding) {
    let most = decoding.top_k.unwrap_or(usize::MAX);
    if most >= probabilities.len() && decoding.nucleus >= 1.0 {
        return;
    }
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let share = decoding.nucleus * probabilities.iter().sum::<f64>();
    let mut reached = 0.0;
    for (rank, word) in order.into_iter().enumerate() {
        if rank >= most || (reached >= share && decoding.nucleus < 1.0) {
            probabilities[word] = 0.0;
        } else {
            reached += probabilities[word];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_words_stay() {
        let probabilities = [0.1, 0.4, 0.05, 0.3, 0.15];
        for (top_k, nucleus, expected) in [
            (None, 1.0, probabilities),
            (Some(2), 1.0, [0.0, 0.4, 0.0, 0.3, 0.0]),
            (Some(9), 1.0, probabilities),
            (None, 0.7, [0.0, 0.4, 0.0, 0.3, 0.0]),
            (None, 0.71, [0.0, 0.4, 0.0, 0.3, 0.15]),
            (None, 1e-9, [0.0, 0.4, 0.0, 0.0, 0.0]),
            (Some(1), 0.9, [0.0, 0.4, 0.0, 0.0, 0.0]),
        ] {
            let mut kept = probabilities;
            truncate(&mut kept, &Decoding { top_k, ..Decoding::nucleus(nucleus, 1) });
            assert_eq!(kept, expected, "{top_k:?} {nucleus}");
        }
    }
}
