//! Greedy decoding and sampling, all pictures at a time.

use tch::{Device, Kind, Tensor};

use super::Decoding;
use crate::Result;
use crate::caption::generator::{DecoderState, Generator};
use crate::data::{Random, Vocabulary};

/// Captions as ids of words, without specials, one for each row of `state`. `first` is the number of the first row among all that
/// are captioned with these settings: each row draws from its own random sequence, so a caption does not depend on what else is
/// in the batch.
pub(in crate::caption) fn sample(
    generator: &Generator,
    mut state: DecoderState,
    decoding: &Decoding,
    first: usize,
) -> Result<Vec<Vec<i64>>> {
    let rows = state.rows();
    let mut captions = vec![Vec::new(); rows];
    let mut randoms: Vec<Random> = (0..rows).map(|row| Random::stream(decoding.seed, (first + row) as u64)).collect();
    // The rows of the state are the captions that have not ended yet.
    let mut active: Vec<usize> = (0..rows).collect();
    let mut words = vec![Vocabulary::START; rows];
    for step in 0..decoding.max_words {
        if active.is_empty() {
            break;
        }
        let logits = generator.step(&mut state, &words, step);
        let chosen = choose(&logits, decoding.temperature, &active, &mut randoms)?;
        let kept: Vec<usize> = (0..chosen.len()).filter(|&row| chosen[row] != Vocabulary::END).collect();
        kept.iter().for_each(|&row| captions[active[row]].push(chosen[row]));
        words = kept.iter().map(|&row| chosen[row]).collect();
        if kept.len() < active.len() {
            state.select(&kept);
            active = kept.iter().map(|&row| active[row]).collect();
        }
    }
    Ok(captions)
}

/// One word for each row of `logits`.
fn choose(logits: &Tensor, temperature: f64, rows: &[usize], randoms: &mut [Random]) -> Result<Vec<i64>> {
    if temperature == 0.0 {
        return Ok(Vec::try_from(logits.f_argmax(1, false)?.f_to_device(Device::Cpu)?)?);
    }
    // With the largest logit at 0, and in 64 bits, no temperature makes infinity less infinity, or a divisor of 0.
    let logits = logits.f_to_kind(Kind::Double)?;
    let scaled = (&logits - logits.amax([1], true)) / temperature;
    let probabilities = scaled.f_softmax(1, Kind::Double)?.f_to_device(Device::Cpu)?;
    let width = probabilities.size()[1] as usize;
    let flat: Vec<f64> = Vec::try_from(probabilities.f_flatten(0, 1)?)?;
    let draw = |(row, probabilities): (&usize, &[f64])| {
        let total: f64 = probabilities.iter().sum();
        let mut left = f64::from(randoms[*row].unit()) * total;
        let mut chosen = Vocabulary::END;
        for (word, &probability) in (0..).zip(probabilities) {
            if probability > 0.0 {
                chosen = word;
                left -= probability;
                if left < 0.0 {
                    break;
                }
            }
        }
        chosen
    };
    Ok(rows.iter().zip(flat.chunks_exact(width)).map(draw).collect())
}
