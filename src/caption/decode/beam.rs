//! Beam search, all pictures at a time.

use tch::{Device, Kind};

use super::Decoding;
use crate::Result;
use crate::caption::generator::{DecoderState, Generator};
use crate::data::Vocabulary;

/// The words of a caption until now, and the sum of their log probabilities.
#[derive(Clone)]
struct Hypothesis {
    words: Vec<i64>,
    log_probability: f64,
}

/// The search for the caption of one picture.
struct Search {
    active: Vec<Hypothesis>,
    /// The most probable hypothesis that has ended.
    best: Option<Hypothesis>,
}

impl Search {
    /// Extends the active hypotheses by their most probable next words. Returns which of the active hypotheses each new one extends.
    fn extend(&mut self, width: usize, words: &[i64], log_probabilities: &[f64], each: usize) -> Vec<usize> {
        let mut next: Vec<(usize, i64, f64)> = (0..words.len())
            .map(|place| {
                let row = place / each;
                (row, words[place], self.active[row].log_probability + log_probabilities[place])
            })
            .collect();
        // Specials that no caption says are impossible, and not only improbable.
        next.retain(|(_, _, log_probability)| log_probability.is_finite());
        next.sort_by(|one, other| other.2.total_cmp(&one.2));
        next.truncate(width);
        let (mut rows, mut extended) = (Vec::with_capacity(width), Vec::with_capacity(width));
        for (row, word, log_probability) in next {
            let words = &self.active[row].words;
            if word != Vocabulary::END {
                let words = words.iter().copied().chain([word]).collect();
                extended.push(Hypothesis { words, log_probability });
                rows.push(row);
            } else if self.best.as_ref().is_none_or(|best| log_probability > best.log_probability) {
                self.best = Some(Hypothesis { words: words.clone(), log_probability });
            }
        }
        // A longer hypothesis is never more probable than what it extends.
        let may_win = |best: &Hypothesis| extended.iter().any(|one| one.log_probability > best.log_probability);
        if self.best.as_ref().is_some_and(|best| !may_win(best)) {
            (rows, extended) = (Vec::new(), Vec::new());
        }
        self.active = extended;
        rows
    }

    /// The best hypothesis that has ended, or else the best unfinished one.
    fn result(self) -> Vec<i64> {
        let found = self.best.or_else(|| self.active.into_iter().next());
        found.map(|hypothesis| hypothesis.words).unwrap_or_default()
    }
}

/// The most probable caption of each picture that a beam search finds, as ids of words without specials.
///
/// A caption's score is the sum of its words' log probabilities, as in the paper's own code: it does not favour long captions.
pub(in crate::caption) fn beam_search(
    generator: &Generator,
    mut state: DecoderState,
    decoding: &Decoding,
) -> Result<Vec<Vec<i64>>> {
    let start = Hypothesis { words: Vec::new(), log_probability: 0.0 };
    let mut searches: Vec<Search> =
        (0..state.rows()).map(|_| Search { active: vec![start.clone()], best: None }).collect();
    for step in 0..decoding.max_words {
        // The rows of the state are the active hypotheses of all pictures, one picture after the other.
        let last = |hypothesis: &Hypothesis| *hypothesis.words.last().unwrap_or(&Vocabulary::START);
        let words: Vec<i64> = searches.iter().flat_map(|search| search.active.iter().map(last)).collect();
        if words.is_empty() {
            break;
        }
        let log_probabilities = generator.step(&mut state, &words, step).f_log_softmax(1, Kind::Double)?;
        let each = log_probabilities.size()[1].min(decoding.beam as i64);
        let (log_probabilities, words) = log_probabilities.f_topk(each, 1, true, true)?;
        let log_probabilities: Vec<f64> = Vec::try_from(log_probabilities.f_flatten(0, 1)?.f_to_device(Device::Cpu)?)?;
        let words: Vec<i64> = Vec::try_from(words.f_flatten(0, 1)?.f_to_device(Device::Cpu)?)?;
        let each = each as usize;
        let (mut first, mut rows) = (0, Vec::new());
        for search in &mut searches {
            let count = search.active.len();
            let part = first * each..(first + count) * each;
            let extended = search.extend(decoding.beam, &words[part.clone()], &log_probabilities[part], each);
            rows.extend(extended.into_iter().map(|row| first + row));
            first += count;
        }
        state.select(&rows);
    }
    Ok(searches.into_iter().map(Search::result).collect())
}
