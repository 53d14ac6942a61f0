//! Which words of a caption stand for which words of a reference.

use std::cmp::Ordering;

/// How many partial alignments are followed.
const BEAM: usize = 40;
/// How many are looked at before the worst are dropped.
const MOST_CANDIDATES: usize = 4096;

/// Why two runs of words match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Matcher {
    /// The same word.
    Exact,
    /// The same stem: "runs", "running".
    Stem,
    /// Synonyms of WordNet: "bike", "bicycle".
    Synonym,
    /// Runs of words that were translated alike: "a lot of", "many".
    Paraphrase,
}

impl Matcher {
    /// All of them, in the order in which they look for matches.
    pub const ALL: [Self; 4] = [Self::Exact, Self::Stem, Self::Synonym, Self::Paraphrase];
}

/// A run of the caption's words that matches a run of the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Match {
    pub matcher: Matcher,
    /// Where it begins in the reference, counted in words from 0.
    pub reference_start: usize,
    pub reference_words: usize,
    /// Where it begins in the caption.
    pub hypothesis_start: usize,
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

/// All matches that were found, of which an alignment takes some.
#[derive(Debug)]
pub(super) struct Matches {
    /// By the first word of the reference; in each, in the order in which they were found.
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

    /// Adds the pairs of single words that have the same number, in the order of the reference and then of the caption, where
    /// `take` allows it.
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

    /// A match that no other match touches; it is in every alignment.
    fn certain(&self, start: usize) -> Option<Match> {
        let [only] = self.from[start][..] else { return None };
        let alone = |counts: &[u32]| counts.iter().all(|&count| count == 1);
        (alone(&self.hypothesis_covered[only.hypothesis_start..only.hypothesis_end()])
            && alone(&self.reference_covered[start..only.reference_end()]))
        .then_some(only)
    }
}

/// Words that are in use, a bit each.
#[derive(Debug, Clone)]
enum Used {
    /// Captions are short.
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

/// What partial alignments are compared by, and where they are.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Words covered on both sides; the halves that inexact matches count are cut off at each match.
    covered: usize,
    chunks: usize,
    distance: usize,
    /// The next word of the reference.
    next: usize,
    /// Where the caption's part of the last match ended, while the chunk is open.
    open: Option<usize>,
}

impl Progress {
    /// More words covered first, then fewer chunks, then shorter distances.
    fn compare(&self, other: &Self) -> Ordering {
        other.covered.cmp(&self.covered).then(self.chunks.cmp(&other.chunks)).then(self.distance.cmp(&other.distance))
    }

    /// Goes on behind a match.
    fn take(&mut self, found: &Match) {
        // In the reference implementation each side's sum is a whole number, and an inexact match counts half.
        let counts = |words: usize| if found.matcher == Matcher::Exact { words } else { words / 2 };
        self.covered += counts(found.hypothesis_words) + counts(found.reference_words);
        self.chunks += usize::from(self.open.is_some_and(|end| end != found.hypothesis_start));
        self.next = found.reference_end();
        self.open = Some(found.hypothesis_end());
    }
}

/// A way to align the reference's words so far.
#[derive(Debug, Clone)]
struct Path {
    progress: Progress,
    hypothesis_used: Used,
    reference_used: Used,
    /// The last step of its way in the list of all steps.
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

/// A path that goes on from the path of that number, perhaps by a match.
struct Candidate<'a> {
    from: usize,
    found: Option<&'a Match>,
    progress: Progress,
}

/// Keeps the best; of equal ones those that come first.
fn keep_best(candidates: &mut Vec<Candidate>) {
    candidates.sort_by(|one, other| one.progress.compare(&other.progress));
    candidates.truncate(BEAM);
}

/// The best alignment that the search finds: matches that share no word, in the order of the reference.
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

    // Each step is a match that was chosen, and the step before it.
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
                // As in the reference implementation the distance is counted for the path that goes on without the match.
                progress.distance += found.reference_start.abs_diff(found.hypothesis_start);
                // A word that is said thousands of times has millions of ways.
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

/// Into how many runs an alignment falls that go on in both captions without a gap.
pub(super) fn chunks(alignment: &[Match]) -> usize {
    let goes_on = |pair: &&[Match]| {
        pair[0].reference_end() == pair[1].reference_start && pair[0].hypothesis_end() == pair[1].hypothesis_start
    };
    alignment.len() - alignment.windows(2).filter(goes_on).count()
}
