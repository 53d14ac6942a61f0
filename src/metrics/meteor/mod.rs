//! METEOR: alignment of words by identity, stems, synonyms and paraphrases.

mod aligner;
mod data;
mod normalizer;

use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::FixedState;
use rust_stemmers::{Algorithm, Stemmer};
use serde::Serialize;

pub use aligner::{Match, Matcher};
pub use data::MeteorData;

use aligner::Matches;
use data::Range;
use normalizer::{Normalizer, prefixes};

/// The parameters of METEOR 1.5 for English, tuned on human rankings of translations.
const ALPHA: f64 = 0.85;
const BETA: f64 = 0.2;
const GAMMA: f64 = 0.6;
const DELTA: f64 = 0.75;
/// The weight of each matcher.
const WEIGHTS: [f64; 4] = [1.0, 0.6, 0.8, 0.6];

/// The METEOR scorer.
///
/// Denkowski & Lavie (2014), *Meteor Universal: Language Specific Translation Evaluation for Any Target Language*, section 2,
/// as METEOR 1.5 computes it with `-l en -norm`, which is how pycocoevalcap calls it.
#[derive(Debug)]
pub struct Meteor {
    data: Option<MeteorData>,
    normalizer: Normalizer,
    function_words: HashSet<String>,
    known: RwLock<Known>,
}

/// Cached lookups.
#[derive(Debug, Default)]
struct Known {
    words: HashMap<String, Arc<Word>, FixedState>,
    /// The phrases that begin with two words; searching the table is slower than this cache.
    phrases_of_two: HashMap<(u32, u32), Range, FixedState>,
    /// Ids of stems.
    stems: HashMap<String, u32, FixedState>,
}

/// A word with its dictionary entries.
#[derive(Debug)]
struct Word {
    text: String,
    /// Equal for equal words; likewise for stems.
    id: u32,
    stem: u32,
    /// Sorted.
    synonym_sets: Vec<u32>,
    /// Its id in the paraphrase table.
    number: Option<u32>,
    /// The phrases in the table that begin with it.
    phrases: Range,
    is_function_word: bool,
}

/// A caption prepared for alignment: its words with stems, synonyms and phrases. Only the [`Meteor`] that prepared it can align it,
/// because others assign other ids.
#[derive(Debug, Clone)]
pub struct MeteorWords {
    words: Vec<Arc<Word>>,
    /// Length and id of the table's phrases that begin at each word, shortest first.
    phrases: Vec<Vec<(usize, usize)>>,
    /// The distinct phrases, sorted by id.
    places: Vec<Phrase>,
}

/// A phrase of the table with its positions in a caption.
#[derive(Debug, Clone)]
struct Phrase {
    number: usize,
    words: usize,
    starts: Vec<usize>,
}

impl MeteorWords {
    /// The words of the caption.
    pub fn words(&self) -> Vec<&str> {
        self.words.iter().map(|word| word.text.as_str()).collect()
    }
}

/// The counts that METEOR is computed from. Counts of captions add up to those of a corpus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MeteorCounts {
    /// Counts of the caption.
    pub hypothesis: MeteorSide,
    /// Counts of the reference.
    pub reference: MeteorSide,
    /// Number of chunks: runs of matches that are contiguous on both sides.
    pub chunks: f64,
}

/// The counts of a caption or a reference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MeteorSide {
    /// Number of words.
    pub words: f64,
    /// Number of function words ("the", "of").
    pub function_words: f64,
    /// Number of matched content words, by matcher in the order of [`Matcher::ALL`].
    pub content_matches: [f64; 4],
    /// Number of matched function words, by matcher in the order of [`Matcher::ALL`].
    pub function_matches: [f64; 4],
}

impl MeteorSide {
    fn matches(&self) -> f64 {
        self.content_matches.iter().chain(&self.function_matches).sum()
    }

    /// The weighted share of matched words; content words and exact matches weigh more.
    fn share(&self) -> f64 {
        let weigh = |matches: &[f64; 4]| matches.iter().zip(WEIGHTS).map(|(count, weight)| count * weight).sum::<f64>();
        let matched = weigh(&self.content_matches) * DELTA + weigh(&self.function_matches) * (1.0 - DELTA);
        matched / (DELTA * (self.words - self.function_words) + (1.0 - DELTA) * self.function_words)
    }
}

impl AddAssign for MeteorSide {
    fn add_assign(&mut self, other: Self) {
        self.words += other.words;
        self.function_words += other.function_words;
        for matcher in 0..4 {
            self.content_matches[matcher] += other.content_matches[matcher];
            self.function_matches[matcher] += other.function_matches[matcher];
        }
    }
}

impl MeteorCounts {
    /// METEOR, in `0..=1`: the weighted harmonic mean of precision and recall, reduced by the fragmentation penalty.
    pub fn meteor(&self) -> f64 {
        let (precision, recall) = (self.hypothesis.share(), self.reference.share());
        let mean = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall);
        let fragmentation = match self.is_copy() {
            true => 0.0,
            false => self.chunks / ((self.hypothesis.matches() + self.reference.matches()) / 2.0),
        };
        let score = mean * (1.0 - GAMMA * fragmentation.powf(BETA));
        // NaN if nothing matches.
        if score.is_nan() { 0.0 } else { score.max(0.0) }
    }

    /// Whether all words match in a single chunk.
    fn is_copy(&self) -> bool {
        self.hypothesis.matches() == self.hypothesis.words
            && self.reference.matches() == self.reference.words
            && self.chunks == 1.0
    }
}

impl AddAssign for MeteorCounts {
    fn add_assign(&mut self, other: Self) {
        self.hypothesis += other.hypothesis;
        self.reference += other.reference;
        // In a corpus, the chunk of an identical caption is not counted.
        if !other.is_copy() {
            self.chunks += other.chunks;
        }
    }
}

impl Meteor {
    /// Creates a scorer with all four matchers, or without dictionaries with exact and stem matches only.
    pub fn new(data: Option<MeteorData>) -> Self {
        let list = data.as_ref().map(|data| prefixes(data.prefixes())).unwrap_or_default();
        let function_words = data.as_ref().map(|data| data.function_words().into_iter().collect()).unwrap_or_default();
        Self { normalizer: Normalizer::new(list), function_words, data, known: RwLock::default() }
    }

    /// The matchers in use.
    pub fn matchers(&self) -> &'static [Matcher] {
        match self.data {
            Some(_) => &Matcher::ALL,
            None => &Matcher::ALL[..2],
        }
    }

    /// Prepares a tokenised caption, whose tokens are joined by spaces.
    pub fn prepare(&self, caption: &str) -> MeteorWords {
        let words: Vec<Arc<Word>> = self.normalizer.words(caption).into_iter().map(|word| self.word(word)).collect();
        let mut phrases = Vec::new();
        if let Some(data) = &self.data {
            let numbers: Vec<Option<u32>> = words.iter().map(|word| word.number).collect();
            let at = |(start, word): (usize, &Arc<Word>)| {
                let of_two = self.phrases_of_two(data, word, numbers.get(start + 1).copied().flatten());
                data.phrases_at(&numbers[start..], word.phrases.clone(), of_two)
            };
            phrases = words.iter().enumerate().map(at).collect();
        }
        let mut said: Vec<(usize, usize, usize)> = Vec::new();
        for (start, phrases) in phrases.iter().enumerate() {
            said.extend(phrases.iter().map(|&(words, number)| (number, words, start)));
        }
        said.sort_unstable();
        let mut places: Vec<Phrase> = Vec::new();
        for (number, words, start) in said {
            match places.last_mut() {
                Some(last) if last.number == number => last.starts.push(start),
                _ => places.push(Phrase { number, words, starts: vec![start] }),
            }
        }
        MeteorWords { words, phrases, places }
    }

    /// The cached dictionary entries of a word.
    fn word(&self, text: String) -> Arc<Word> {
        if let Some(word) = self.known().words.get(&text) {
            return Arc::clone(word);
        }
        let data = self.data.as_ref();
        let stem = Stemmer::create(Algorithm::English).stem(&text).into_owned();
        let synonym_sets = data.map(|data| synonym_sets(data, &text)).unwrap_or_default();
        let number = data.and_then(|data| data.paraphrase_word(&text));
        let phrases = data.zip(number).map(|(data, number)| data.phrases_of(number)).unwrap_or_default();
        let mut known = self.learn();
        // Another thread may have added it meanwhile.
        if let Some(word) = known.words.get(&text) {
            return Arc::clone(word);
        }
        let (id, next_stem) = (known.words.len() as u32, known.stems.len() as u32);
        let stem = *known.stems.entry(stem).or_insert(next_stem);
        let is_function_word = self.function_words.contains(&text);
        let word = Arc::new(Word { id, stem, synonym_sets, number, phrases, is_function_word, text: text.clone() });
        known.words.insert(text, Arc::clone(&word));
        word
    }

    /// The cached phrases that begin with a word and the next one.
    fn phrases_of_two(&self, data: &MeteorData, word: &Word, next: Option<u32>) -> Range {
        let (Some(number), Some(next)) = (word.number, next) else { return Range::default() };
        if word.phrases.is_empty() {
            return Range::default();
        }
        if let Some(known) = self.known().phrases_of_two.get(&(number, next)) {
            return known.clone();
        }
        let phrases = data.phrases_of_two(word.phrases.clone(), next);
        self.learn().phrases_of_two.insert((number, next), phrases.clone());
        phrases
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Aligns a caption with a reference.
    pub fn align(&self, hypothesis: &MeteorWords, reference: &MeteorWords) -> Vec<Match> {
        let mut matches = Matches::new(hypothesis.words.len(), reference.words.len());
        let numbers =
            |caption: &MeteorWords, of: fn(&Word) -> u32| caption.words.iter().map(|word| of(word)).collect::<Vec<_>>();
        let (words, others) = (numbers(hypothesis, |word| word.id), numbers(reference, |word| word.id));
        matches.add_equal(Matcher::Exact, &words, &others, |_, _| true);
        // Identical captions need no other matches.
        if words != others {
            let (stems, other_stems) = (numbers(hypothesis, |word| word.stem), numbers(reference, |word| word.stem));
            let differ = |place: usize, other: usize| words[place] != others[other];
            matches.add_equal(Matcher::Stem, &stems, &other_stems, differ);
            if let Some(data) = &self.data {
                add_synonyms(&mut matches, hypothesis, reference);
                add_paraphrases(&mut matches, data, hypothesis, reference);
            }
        }
        aligner::align(&matches)
    }

    /// Counts a caption against a reference.
    pub fn counts(&self, hypothesis: &MeteorWords, reference: &MeteorWords) -> MeteorCounts {
        let alignment = self.align(hypothesis, reference);
        let side = |caption: &MeteorWords, run: fn(&Match) -> (usize, usize)| {
            let mut side = MeteorSide {
                words: caption.words.len() as f64,
                function_words: caption.words.iter().filter(|word| word.is_function_word).count() as f64,
                ..MeteorSide::default()
            };
            for found in &alignment {
                let (start, words) = run(found);
                for word in &caption.words[start..start + words] {
                    let counts =
                        if word.is_function_word { &mut side.function_matches } else { &mut side.content_matches };
                    counts[found.matcher as usize] += 1.0;
                }
            }
            side
        };
        MeteorCounts {
            hypothesis: side(hypothesis, |found| (found.hypothesis_start, found.hypothesis_words)),
            reference: side(reference, |found| (found.reference_start, found.reference_words)),
            chunks: aligner::chunks(&alignment) as f64,
        }
    }

    /// Counts a caption against the reference with the highest score; earlier ones win ties. All counts are 0 without references.
    pub fn best(&self, hypothesis: &MeteorWords, references: &[MeteorWords]) -> MeteorCounts {
        let mut best = (-1.0, MeteorCounts::default());
        for reference in references {
            let counts = self.counts(hypothesis, reference);
            let score = counts.meteor();
            if score > best.0 {
                best = (score, counts);
            }
        }
        best.1
    }
}

/// The synonym sets of a word and its base form.
fn synonym_sets(data: &MeteorData, word: &str) -> Vec<u32> {
    let of = |word: &str| data.synonym_sets(word).into_iter().flatten().collect::<Vec<u32>>();
    let mut sets = of(word);
    match data.irregular_bases(word) {
        Some(bases) => bases.into_iter().for_each(|base| sets.extend(of(base))),
        None => sets.extend(of(&base_form(data, word))),
    }
    sets.sort_unstable();
    sets.dedup();
    sets
}

/// Suffix replacements for nouns, verbs and adjectives, as in WordNet's `morph`.
const ENDINGS: [(&str, &str); 20] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("s", ""),
    ("ies", "y"),
    ("es", "e"),
    ("es", ""),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("er", ""),
    ("est", ""),
    ("er", "e"),
    ("est", "e"),
];

/// The base form of a word; empty for an unknown word.
fn base_form(data: &MeteorData, word: &str) -> String {
    if word.ends_with("ss") || word.encode_utf16().count() <= 2 {
        return word.to_string();
    }
    let bases =
        ENDINGS.iter().filter_map(|(ending, replacement)| Some(word.strip_suffix(ending)?.to_string() + replacement));
    let base = bases.into_iter().find(|base| data.synonym_sets(base).is_some()).unwrap_or_default();
    // The reference implementation appends this suffix although it never removed it.
    if word.ends_with("ful") && !base.is_empty() { base + "ful" } else { base }
}

fn add_synonyms(matches: &mut Matches, hypothesis: &MeteorWords, reference: &MeteorWords) {
    for (reference_place, one) in reference.words.iter().enumerate() {
        if one.synonym_sets.is_empty() {
            continue;
        }
        for (place, other) in hypothesis.words.iter().enumerate() {
            if one.id != other.id && have_common(&one.synonym_sets, &other.synonym_sets) {
                matches.add(Match::of_words(Matcher::Synonym, reference_place, place));
            }
        }
    }
}

/// Whether two sorted lists have a common element.
fn have_common(left: &[u32], right: &[u32]) -> bool {
    let (mut one, mut other) = (0, 0);
    while one < left.len() && other < right.len() {
        match left[one].cmp(&right[other]) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => one += 1,
            std::cmp::Ordering::Greater => other += 1,
        }
    }
    false
}

/// A phrase of one side with a paraphrase on the other.
struct Paraphrase {
    start: usize,
    words: usize,
    rank: u32,
    other_start: usize,
    other_words: usize,
}

/// The phrases of `caption` with a paraphrase in `other`, ordered by position, length, table index, and position in `other`.
fn paraphrases(data: &MeteorData, caption: &MeteorWords, other: &MeteorWords) -> Vec<Paraphrase> {
    let mut found = Vec::new();
    for (start, phrases) in caption.phrases.iter().enumerate() {
        for &(words, phrase) in phrases {
            let first = found.len();
            for (place, rank) in data.paraphrases_among(phrase, &other.places, |other| other.number) {
                let other = &other.places[place];
                let at = |&other_start| Paraphrase { start, words, rank, other_start, other_words: other.words };
                found.extend(other.starts.iter().map(at));
            }
            found[first..].sort_by_key(|paraphrase| (paraphrase.rank, paraphrase.other_start));
        }
    }
    found
}

fn add_paraphrases(matches: &mut Matches, data: &MeteorData, hypothesis: &MeteorWords, reference: &MeteorWords) {
    for found in paraphrases(data, reference, hypothesis) {
        matches.add(Match {
            matcher: Matcher::Paraphrase,
            reference_start: found.start,
            reference_words: found.words,
            hypothesis_start: found.other_start,
            hypothesis_words: found.other_words,
        });
    }
    for found in paraphrases(data, hypothesis, reference) {
        matches.add(Match {
            matcher: Matcher::Paraphrase,
            reference_start: found.other_start,
            reference_words: found.other_words,
            hypothesis_start: found.start,
            hypothesis_words: found.words,
        });
    }
}
