//! Beam search, all pictures at a time.

use std::collections::HashMap;

use tch::{Device, Kind};

use super::{Decoding, Hypothesis, Predictor};
use crate::Result;
use crate::data::Vocabulary;

/// The search of a group of hypotheses for captions of one picture.
struct Search {
    active: Vec<Hypothesis>,
    /// The best hypotheses that have ended, the best first.
    ended: Vec<Hypothesis>,
    /// Those that could neither go on nor end.
    stuck: Vec<Hypothesis>,
}

/// The most probable next words of hypotheses, `each` of every hypothesis.
struct Candidates<'a> {
    words: &'a [i64],
    log_probabilities: &'a [f64],
    each: usize,
}

impl Search {
    /// Extends the active hypotheses by their most probable next words; `taken` are words that other groups have taken at this step,
    /// and how often. Returns which of the active hypotheses each new one extends.
    fn extend(
        &mut self,
        candidates: &Candidates<'_>,
        taken: &mut HashMap<i64, usize>,
        decoding: &Decoding,
    ) -> Vec<usize> {
        let width = decoding.beam / decoding.groups;
        let mut next: Vec<(usize, i64, f64)> = (0..candidates.words.len())
            .map(|place| {
                let row = place / candidates.each;
                let log_probability = self.active[row].log_probability + candidates.log_probabilities[place];
                (row, candidates.words[place], log_probability)
            })
            .collect();
        // What must not be said is impossible, and not only improbable.
        next.retain(|(_, _, log_probability)| log_probability.is_finite());
        if next.is_empty() {
            self.stuck.append(&mut self.active);
            return Vec::new();
        }
        let lost = |word: &i64| decoding.diversity * taken.get(word).copied().unwrap_or(0) as f64;
        let mut next: Vec<(usize, i64, f64, f64)> =
            next.into_iter().map(|(row, word, sum)| (row, word, sum, sum - lost(&word))).collect();
        next.sort_by(|one, other| other.3.total_cmp(&one.3));
        next.truncate(width);
        let (mut rows, mut extended) = (Vec::with_capacity(width), Vec::with_capacity(width));
        for (row, word, log_probability, _) in next {
            *taken.entry(word).or_default() += 1;
            let words = &self.active[row].words;
            match word == Vocabulary::END {
                true => self.ended.push(Hypothesis { words: words.clone(), log_probability, ended: true }),
                false => {
                    let words = words.iter().copied().chain([word]).collect();
                    extended.push(Hypothesis { words, log_probability, ended: false });
                    rows.push(row);
                }
            }
        }
        sort(&mut self.ended, decoding);
        self.ended.truncate(decoding.best);
        // A longer hypothesis is never more probable than what it extends, and never counts by less than at its most words.
        let at_best = |one: &Hypothesis| decoding.score(one.log_probability, decoding.max_words);
        if let Some(last) = self.ended.get(decoding.best - 1)
            && extended.iter().all(|one| at_best(one) <= decoding.score(last.log_probability, last.words.len()))
        {
            (rows, extended) = (Vec::new(), Vec::new());
        }
        self.active = extended;
        rows
    }
}

/// The best hypotheses first; of equally good ones the earlier.
fn sort(hypotheses: &mut [Hypothesis], decoding: &Decoding) {
    let score = |one: &Hypothesis| decoding.score(one.log_probability, one.words.len());
    hypotheses.sort_by(|one, other| score(other).total_cmp(&score(one)));
}

/// The best captions of the groups of a picture: those that have ended, and after them unfinished ones.
fn best_of(groups: Vec<Search>, decoding: &Decoding) -> Vec<Hypothesis> {
    let (mut ended, mut unfinished) = (Vec::new(), Vec::new());
    for search in groups {
        ended.extend(search.ended);
        unfinished.extend(search.active);
        unfinished.extend(search.stuck);
    }
    sort(&mut ended, decoding);
    sort(&mut unfinished, decoding);
    let mut best: Vec<Hypothesis> = Vec::with_capacity(decoding.best);
    for hypothesis in ended.into_iter().chain(unfinished) {
        if best.len() < decoding.best && best.iter().all(|other| other.words != hypothesis.words) {
            best.push(hypothesis);
        }
    }
    best
}

/// The captions of each picture that a beam search finds, the best first.
pub(in crate::caption) fn beam_search(
    mut predictor: Predictor<'_>,
    decoding: &Decoding,
) -> Result<Vec<Vec<Hypothesis>>> {
    let start = Hypothesis { words: Vec::new(), log_probability: 0.0, ended: false };
    let search = || Search { active: vec![start.clone()], ended: Vec::new(), stuck: Vec::new() };
    // The groups of the first picture, then those of the second, and so on; so are the rows of the predictor.
    let pictures = predictor.rows();
    let mut searches: Vec<Search> = (0..pictures * decoding.groups).map(|_| search()).collect();
    if decoding.groups > 1 {
        predictor.select(&(0..searches.len()).map(|group| group / decoding.groups).collect::<Vec<_>>());
    }
    for step in 0..decoding.max_words {
        let hypotheses: Vec<&[i64]> =
            searches.iter().flat_map(|search| &search.active).map(|one| one.words.as_slice()).collect();
        if hypotheses.is_empty() {
            break;
        }
        let words: Vec<i64> = hypotheses.iter().map(|words| *words.last().unwrap_or(&Vocabulary::START)).collect();
        let log_probabilities = predictor.read(&words, step, Kind::Double)?;
        decoding.constrain(&log_probabilities, &hypotheses)?;
        // Groups may have to do without the words of all others.
        let enough = if decoding.groups > 1 { 2 * decoding.beam } else { decoding.beam };
        let each = log_probabilities.size()[1].min(enough as i64);
        let (log_probabilities, words) = log_probabilities.f_topk(each, 1, true, true)?;
        let log_probabilities: Vec<f64> = Vec::try_from(log_probabilities.f_flatten(0, 1)?.f_to_device(Device::Cpu)?)?;
        let words: Vec<i64> = Vec::try_from(words.f_flatten(0, 1)?.f_to_device(Device::Cpu)?)?;
        let each = each as usize;
        let (mut first, mut rows) = (0, Vec::new());
        for groups in searches.chunks_mut(decoding.groups) {
            let mut taken = HashMap::new();
            for search in groups {
                let count = search.active.len();
                let part = first * each..(first + count) * each;
                let candidates =
                    Candidates { words: &words[part.clone()], log_probabilities: &log_probabilities[part], each };
                rows.extend(search.extend(&candidates, &mut taken, decoding).into_iter().map(|row| first + row));
                first += count;
            }
        }
        predictor.select(&rows);
    }
    let mut searches = searches.into_iter();
    Ok((0..pictures).map(|_| best_of(searches.by_ref().take(decoding.groups).collect(), decoding)).collect())
}
