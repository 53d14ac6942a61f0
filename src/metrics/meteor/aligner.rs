//! Word alignment of a caption with a reference.

use std::cmp::Ordering;

/// Beam size: number of partial alignments to keep.
const BEAM: usize = 40;
/// Number of candidates that are considered before the worst are dropped.
const MOST_CANDIDATES: usize = 4096;

/// The matcher of two runs of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Matcher {
    /// Identical words.
    Exact,
    /// Equal stems: "runs", "running".
    Stem,
    /// WordNet synonyms: "bike", "bicycle".
    Synonym,
    /// Paraphrases, learnt from translations: "a lot of", "many".
    Paraphrase,
}

impl Matcher {
    /// All matchers, in the order in which they are applied.
    pub const ALL: [Self; 4] = [Self::Exact, Self::Stem, Self::Synonym, Self::Paraphrase];
}

/// A run of words of the caption that matches a run of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Match {
    /// What matched them.
    pub matcher: Matcher,
    /// First word in the reference, from 0.
    pub reference_start: usize,
    /// Number of words in the reference.
    pub reference_words: usize,
    /// First word in the caption, from 0.
    pub hypothesis_start: usize,
    /// Number of words in the caption.
    pub hypothesis_words: usize,
}

impl Match {
    pub(super) fn of_words(matcher: Matcher, reference_start: usize, hypothesis_start: usize) -> Self {
        Self { matcher, reference_start, reference_words: 1, hypothesis_start, hypothesis_words: 1 }
    }

    fn reference_end(&self) -> usize {
        self.reference_start + self.reference_words
    }

    fn hypothesis_end(&self) -> usize {
        self.hypothesis_start + self.hypothesis_words
    }
}

/// All matches that were found, from which an alignment is chosen.
#[derive(Debug)]
pub(super) struct Matches {
    /// By the first word of the reference, in the order in which they were found.
    from: Vec<Vec<Match>>,
    hypothesis_covered: Vec<u32>,
    reference_covered: Vec<u32>,
}

impl Matches {
    pub(super) fn new(hypothesis_words: usize, reference_words: usize) -> Self {
        Self {
            from: vec![Vec::new(); reference_words],
            hypothesis_covered: vec![0; hypothesis_words],
            reference_covered: vec![0; reference_words],
        }
    }

    pub(super) fn add(&mut self, found: Match) {
        self.from[found.reference_start].push(found);
        self.hypothesis_covered[found.hypothesis_start..found.hypothesis_end()]
            .iter_mut()
            .for_each(|count| *count += 1);
        self.reference_covered[found.reference_start..found.reference_end()].iter_mut().for_each(|count| *count += 1);
    }

    /// Adds matches of single words with equal ids, ordered by reference and then caption, if `take` accepts them.
    pub(super) fn add_equal(
        &mut self,
        matcher: Matcher,
        hypothesis: &[u32],
        reference: &[u32],
        take: impl Fn(usize, usize) -> bool,
    ) {
        let mut places: Vec<(u32, usize)> = hypothesis.iter().copied().zip(0..).collect();
        places.sort_unstable();
        for (reference_place, number) in reference.iter().enumerate() {
            let first = places.partition_point(|(other, _)| other < number);
            for &(_, place) in places[first..].iter().take_while(|(other, _)| other == number) {
                if take(place, reference_place) {
                    self.add(Match::of_words(matcher, reference_place, place));
                }
            }
        }
    }

    /// A match without alternatives, which is in every alignment.
    fn certain(&self, start: usize) -> Option<Match> {
        let [only] = self.from[start][..] else { return None };
        let alone = |counts: &[u32]| counts.iter().all(|&count| count == 1);
        (alone(&self.hypothesis_covered[only.hypothesis_start..only.hypothesis_end()])
            && alone(&self.reference_covered[start..only.reference_end()]))
        .then_some(only)
    }
}

/// Set of used words, one bit per word.
#[derive(Debug, Clone)]
enum Used {
    /// For short captions.
    Few(u128),
    Many(Vec<u64>),
}

impl Used {
    fn new(words: usize) -> Self {
        if words <= 128 { Self::Few(0) } else { Self::Many(vec![0; words.div_ceil(64)]) }
    }

    fn has(&self, word: usize) -> bool {
        match self {
            Self::Few(bits) => bits >> word & 1 == 1,
            Self::Many(bits) => bits[word / 64] >> (word % 64) & 1 == 1,
        }
    }

    fn set(&mut self, words: std::ops::Range<usize>) {
        match self {
            Self::Few(bits) => words.for_each(|word| *bits |= 1 << word),
            Self::Many(bits) => words.for_each(|word| bits[word / 64] |= 1 << (word % 64)),
        }
    }
}

/// The score of a partial alignment.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Number of covered words on both sides; odd numbers of inexact matches are rounded down at each match.
    covered: usize,
    chunks: usize,
    distance: usize,
    /// Next word of the reference.
    next: usize,
    /// End of the last match in the caption, while the chunk can continue.
    open: Option<usize>,
}

impl Progress {
    /// Prefers more covered words, then fewer chunks, then shorter distances.
    fn compare(&self, other: &Self) -> Ordering {
        other.covered.cmp(&self.covered).then(self.chunks.cmp(&other.chunks)).then(self.distance.cmp(&other.distance))
    }

    /// Adds a match.
    fn take(&mut self, found: &Match) {
        // In the reference implementation the sums are integers, and an inexact match counts half.
        let counts = |words: usize| if found.matcher == Matcher::Exact { words } else { words / 2 };
        self.covered += counts(found.hypothesis_words) + counts(found.reference_words);
        self.chunks += usize::from(self.open.is_some_and(|end| end != found.hypothesis_start));
        self.next = found.reference_end();
        self.open = Some(found.hypothesis_end());
    }
}

/// A partial alignment.
#[derive(Debug, Clone)]
struct Path {
    progress: Progress,
    hypothesis_used: Used,
    reference_used: Used,
    /// Index of its last step in the list of all steps.
    last: Option<usize>,
}

impl Path {
    fn is_free(&self, found: &Match) -> bool {
        !(found.reference_start..found.reference_end()).any(|word| self.reference_used.has(word))
            && !(found.hypothesis_start..found.hypothesis_end()).any(|word| self.hypothesis_used.has(word))
    }

    fn mark(&mut self, found: &Match) {
        self.reference_used.set(found.reference_start..found.reference_end());
        self.hypothesis_used.set(found.hypothesis_start..found.hypothesis_end());
    }
}

/// An extension of a path, perhaps by a match.
struct Candidate<'a> {
    from: usize,
    found: Option<&'a Match>,
    progress: Progress,
}

/// Keeps the best candidates; earlier ones win ties.
fn keep_best(candidates: &mut Vec<Candidate>) {
    candidates.sort_by(|one, other| one.progress.compare(&other.progress));
    candidates.truncate(BEAM);
}

/// The best alignment found by beam search: matches without common words, ordered by reference.
pub(super) fn align(matches: &Matches) -> Vec<Match> {
    let words = matches.from.len();
    let mut start = Path {
        progress: Progress { covered: 0, chunks: 0, distance: 0, next: 0, open: None },
        hypothesis_used: Used::new(matches.hypothesis_covered.len()),
        reference_used: Used::new(words),
        last: None,
    };
    let certain: Vec<Option<Match>> = (0..words).map(|word| matches.certain(word)).collect();
    certain.iter().flatten().for_each(|found| start.mark(found));

    // Each step is a chosen match and the index of the step before.
    let mut steps: Vec<(Option<usize>, Match)> = Vec::new();
    let mut paths = vec![start];
    for word in 0..words {
        let mut candidates: Vec<Candidate> = Vec::with_capacity(2 * paths.len());
        for (from, path) in paths.iter().enumerate() {
            let mut progress = path.progress;
            if path.reference_used.has(word) {
                if word >= progress.next {
                    let Some(found) = &certain[progress.next] else { continue };
                    progress.take(found);
                    progress.distance += found.reference_start.abs_diff(found.hypothesis_start);
                }
                candidates.push(Candidate { from, found: None, progress });
                continue;
            }
            for found in &matches.from[word] {
                if !path.is_free(found) {
                    continue;
                }
                let mut longer = progress;
                longer.take(found);
                candidates.push(Candidate { from, found: Some(found), progress: longer });
                // As in the reference implementation, the distance is added to the path that skips the match.
                progress.distance += found.reference_start.abs_diff(found.hypothesis_start);
                // A word that occurs thousands of times has millions of matches.
                if candidates.len() > MOST_CANDIDATES {
                    keep_best(&mut candidates);
                }
            }
            progress.chunks += usize::from(progress.open.take().is_some());
            progress.next += 1;
            candidates.push(Candidate { from, found: None, progress });
        }
        keep_best(&mut candidates);
        let go_on = |candidate: Candidate| {
            let mut path = Path { progress: candidate.progress, ..paths[candidate.from].clone() };
            if let Some(found) = candidate.found {
                path.mark(found);
                steps.push((path.last, *found));
                path.last = Some(steps.len() - 1);
            }
            path
        };
        paths = candidates.into_iter().map(go_on).collect();
    }
    paths.iter_mut().for_each(|path| path.progress.chunks += usize::from(path.progress.open.is_some()));
    paths.sort_by(|one, other| one.progress.compare(&other.progress));

    let mut alignment: Vec<Match> = certain.into_iter().flatten().collect();
    let mut step = paths.first().and_then(|path| path.last);
    while let Some(number) = step {
        alignment.push(steps[number].1);
        step = steps[number].0;
    }
    alignment.sort_by_key(|found| found.reference_start);
    alignment
}

/// Number of chunks: runs of matches that are contiguous in both captions.
pub(super) fn chunks(alignment: &[Match]) -> usize {
    let goes_on = |pair: &&[Match]| {
        pair[0].reference_end() == pair[1].reference_start && pair[0].hypothesis_end() == pair[1].hypothesis_start
    };
    alignment.len() - alignment.windows(2).filter(goes_on).count()
}
