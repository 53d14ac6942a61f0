//! Vocabularies: words and their ids.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::letters::{composed, is_invisible, is_mark};
use super::text_file::read_text;
use super::word_map::WordMap;
use crate::files::write_whole;
use crate::{Error, Result};

/// Which words a [`Vocabulary`] keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VocabularyConfig {
    /// Smallest count of a word to be kept, at least 1. Default: 5, as in the paper.
    pub min_count: usize,
    /// Upper limit of the number of words, without special tokens, keeping the most frequent; at least 1. Default: `None`, no limit.
    /// The course keeps 5,000.
    pub max_size: Option<usize>,
}

impl Default for VocabularyConfig {
    fn default() -> Self {
        Self { min_count: 5, max_size: None }
    }
}

impl VocabularyConfig {
    /// Few words have been seen often in few captions: keeps those seen three times, in fewer than 500 captions twice, in fewer than 50
    /// all.
    #[cfg(feature = "tensors")]
    pub(crate) fn for_captions(count: usize) -> Self {
        let min_count = match count {
            500.. => 3,
            50.. => 2,
            _ => 1,
        };
        Self { min_count, max_size: None }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        if self.min_count == 0 {
            return Err(Error::config("vocabulary.min_count", 0, "must be 1 or more (1 keeps every word)"));
        }
        if self.max_size == Some(0) {
            return Err(Error::config("vocabulary.max_size", 0, "must be 1 or more, or None for no limit"));
        }
        Ok(())
    }
}

/// The words that a model knows, each with an id and its count.
///
/// Ids 0 to 3 are the special tokens. Words follow by decreasing count, then alphabetically, so the same captions always give the
/// same ids.
///
/// # Tokenisation
/// Lower case, split at white space, non-alphanumeric characters dropped: `"A man's T-shirt, 2 dogs."` becomes
/// `a mans tshirt 2 dogs`. Combining marks stay with their letters, and letters are composed (NFC). The paper only says that
/// non-alphanumeric characters are discarded, which leaves `t-shirt` open, so it was measured on the 29,000 training images of
/// Flickr30k (145,000 captions) with `min_count` 5:
///
/// | non-alphanumeric characters | words | distinct | kept |
/// |---|---|---|---|
/// | are dropped: `tshirt`, `mans` (as here) | 1,778,043 | 19,407 | 7,469 |
/// | are dropped, but a hyphen is a space: `t shirt`, `mans` | | 17,829 | 7,408 |
/// | are spaces: `t shirt`, `man s` | 1,787,859 | 17,712 | 7,379 |
/// | the paper | | | 7,414 |
///
/// All are within 1 % of the paper, so the size does not decide. Dropping keeps `tshirt` one word and avoids words such as `t` and
/// `s`; the author's NeuralTalk2 does the same.
///
/// ```
/// use captionlab::data::{Vocabulary, VocabularyConfig};
///
/// let captions = ["A dog runs.", "A brown dog sleeps.", "The dog runs!"];
/// let vocabulary = Vocabulary::build(&captions, &VocabularyConfig { min_count: 2, max_size: None })?;
/// assert_eq!(vocabulary.words_by_frequency(), [("dog".into(), 3), ("a".into(), 2), ("runs".into(), 2)]);
/// assert_eq!(vocabulary.encode("A dog flies"), [5, 4, Vocabulary::UNKNOWN]);
/// assert_eq!(vocabulary.encode_with_ends("A dog"), [Vocabulary::START, 5, 4, Vocabulary::END]);
/// assert_eq!(vocabulary.decode(&[1, 5, 4, 6, 2, 0, 0]), "a dog runs");
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    config: VocabularyConfig,
    /// By id, special tokens first.
    words: Vec<String>,
    /// By id; 0 for the special tokens.
    counts: Vec<usize>,
    ids: WordMap<String, i64>,
}

/// The JSON format.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: String,
    version: u32,
    config: VocabularyConfig,
    words: Vec<(String, usize)>,
}

const FORMAT: &str = "captionlab vocabulary";
const VERSION: u32 = 1;

impl Vocabulary {
    /// Pads the captions of a batch to the longest.
    pub const PAD: i64 = 0;
    /// Precedes the first word.
    pub const START: i64 = 1;
    /// Follows the last word.
    pub const END: i64 = 2;
    /// Replaces words outside the vocabulary.
    pub const UNKNOWN: i64 = 3;
    /// The special tokens as text, by id.
    pub const SPECIALS: [&'static str; 4] = ["<pad>", "<start>", "<end>", "<unknown>"];

    /// Tokenises a caption: lower case, split at white space, non-alphanumeric characters dropped, combining marks kept with their
    /// letters.
    pub fn words(caption: &str) -> Vec<String> {
        let mut words = Vec::new();
        for_each_word(caption, &mut String::new(), |word| words.push(word.to_owned()));
        words
    }

    /// Builds a vocabulary of the words that `config` keeps.
    ///
    /// Use only the captions of training images: see [`Dataset::captions`](super::Dataset::captions).
    ///
    /// # Errors
    /// [`Error::Config`] as by [`VocabularyConfig::validate`]; [`Error::Argument`] when no word is kept.
    pub fn build<S: AsRef<str>>(captions: &[S], config: &VocabularyConfig) -> Result<Self> {
        config.validate()?;
        let mut words = count_words(captions);
        let distinct = words.len();
        words.retain(|(_, count)| *count >= config.min_count);
        if let Some(max_size) = config.max_size {
            words.truncate(max_size);
        }
        if words.is_empty() {
            return Err(Error::argument(
                format!(
                    "none of the {distinct} different words of {} captions is seen {} times or more",
                    captions.len(),
                    config.min_count
                ),
                "Give more captions, or lower `min_count`.",
            ));
        }
        Ok(Self::from_counts(config.clone(), words))
    }

    /// A vocabulary of these words, without counts: one that another program has made, whose words may be split in another way.
    ///
    /// ```
    /// use captionlab::data::Vocabulary;
    /// let vocabulary = Vocabulary::of_words(&["dog", "t-shirt"])?;
    /// assert_eq!(vocabulary.decode(&[4, 5]), "dog t-shirt");
    /// assert!(Vocabulary::of_words(&["dog", "dog"]).is_err() && Vocabulary::of_words(&["a dog"]).is_err());
    /// # Ok::<(), captionlab::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a word that stands in it twice, is empty or has white space.
    pub fn of_words<S: AsRef<str>>(words: &[S]) -> Result<Self> {
        let words = words.iter().map(|word| (word.as_ref().to_string(), 0)).collect();
        let config = VocabularyConfig { min_count: 1, max_size: None };
        Self::checked(config, words).map_err(|problem| Error::argument(problem, "Give each word once."))
    }

    fn checked(config: VocabularyConfig, words: Vec<(String, usize)>) -> Result<Self, String> {
        if let Some((word, _)) = words.iter().find(|(word, _)| word.is_empty() || word.contains(char::is_whitespace)) {
            return Err(format!("{word:?} is not a word"));
        }
        let vocabulary = Self::from_counts(config, words);
        match vocabulary.ids.len() == vocabulary.word_count() {
            true => Ok(vocabulary),
            false => Err("a word stands in it twice".to_string()),
        }
    }

    fn from_counts(config: VocabularyConfig, words: Vec<(String, usize)>) -> Self {
        let specials = Self::SPECIALS.map(|special| (special.to_owned(), 0));
        let (words, counts): (Vec<String>, Vec<usize>) = specials.into_iter().chain(words).unzip();
        let ids = (0..).zip(&words).skip(Self::SPECIALS.len()).map(|(id, word)| (word.clone(), id)).collect();
        Self { config, words, counts, ids }
    }

    /// The settings that the vocabulary was built with.
    pub fn config(&self) -> &VocabularyConfig {
        &self.config
    }

    /// Number of ids including special tokens: the output size of a network.
    #[expect(clippy::len_without_is_empty, reason = "never empty: the special tokens are always there")]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Number of words without special tokens: the vocabulary size that papers give.
    pub fn word_count(&self) -> usize {
        self.words.len() - Self::SPECIALS.len()
    }

    /// The id of a word from [`Vocabulary::words`]; [`Vocabulary::UNKNOWN`] for an unknown word.
    pub fn id(&self, word: &str) -> i64 {
        self.ids.get(word).copied().unwrap_or(Self::UNKNOWN)
    }

    /// The word or special token of an id; `None` for an id out of range.
    pub fn word(&self, id: i64) -> Option<&str> {
        self.words.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// Whether the vocabulary contains a word from [`Vocabulary::words`].
    pub fn contains(&self, word: &str) -> bool {
        self.ids.contains_key(word)
    }

    /// The count of a word in the captions that the vocabulary was built from; 0 for an unknown word.
    pub fn count(&self, word: &str) -> usize {
        self.ids.get(word).and_then(|&id| self.counts.get(usize::try_from(id).ok()?)).copied().unwrap_or(0)
    }

    /// The words with their counts, most frequent first, without special tokens.
    pub fn words_by_frequency(&self) -> Vec<(String, usize)> {
        self.words.iter().cloned().zip(self.counts.iter().copied()).skip(Self::SPECIALS.len()).collect()
    }

    /// The ids of a caption's words, without start and end token.
    pub fn encode(&self, caption: &str) -> Vec<i64> {
        let mut ids = Vec::new();
        for_each_word(caption, &mut String::new(), |word| ids.push(self.id(word)));
        ids
    }

    /// The ids of a caption's words between [`Vocabulary::START`] and [`Vocabulary::END`].
    pub fn encode_with_ends(&self, caption: &str) -> Vec<i64> {
        let mut ids = vec![Self::START];
        for_each_word(caption, &mut String::new(), |word| ids.push(self.id(word)));
        ids.push(Self::END);
        ids
    }

    /// Joins the words of ids by spaces, up to the first [`Vocabulary::END`]. Omits [`Vocabulary::PAD`] and [`Vocabulary::START`];
    /// unknown ids become `<unknown>`.
    pub fn decode(&self, ids: &[i64]) -> String {
        let mut caption = String::new();
        for &id in ids {
            match id {
                Self::END => break,
                Self::PAD | Self::START => continue,
                id => {
                    if !caption.is_empty() {
                        caption.push(' ');
                    }
                    caption.push_str(self.word(id).unwrap_or("<unknown>"));
                }
            }
        }
        caption
    }

    /// How much of the captions the vocabulary covers.
    pub fn coverage<S: AsRef<str>>(&self, captions: &[S]) -> Coverage {
        let mut coverage = Coverage { words: 0, known_words: 0, distinct_words: 0, known_distinct_words: 0 };
        for (word, count) in count_words(captions) {
            coverage.words += count;
            coverage.distinct_words += 1;
            if self.contains(&word) {
                coverage.known_words += count;
                coverage.known_distinct_words += 1;
            }
        }
        coverage
    }

    /// How often each id is a prediction target in captions: words, `<unknown>`, and `<end>` once per caption.
    pub fn target_counts<S: AsRef<str>>(&self, captions: &[S]) -> Vec<usize> {
        let mut counts = vec![0; self.len()];
        for caption in captions {
            for token in self.encode(caption.as_ref()).into_iter().chain([Self::END]) {
                if let Some(count) = usize::try_from(token).ok().and_then(|token| counts.get_mut(token)) {
                    *count += 1;
                }
            }
        }
        counts
    }

    /// Unigram entropy of the captions' tokens, in nats: the lowest mean cross entropy of a model that knows only token frequencies.
    ///
    /// ```
    /// use captionlab::data::{Vocabulary, VocabularyConfig};
    /// let captions = ["red", "blue"];
    /// let vocabulary = Vocabulary::build(&captions, &VocabularyConfig { min_count: 1, max_size: None })?;
    /// // Half of the tokens are `<end>`, a quarter each word.
    /// let expected = 0.5 * 2f64.ln() + 2.0 * 0.25 * 4f64.ln();
    /// assert!((vocabulary.unigram_entropy(&captions) - expected).abs() < 1e-12);
    /// # Ok::<(), captionlab::Error>(())
    /// ```
    pub fn unigram_entropy<S: AsRef<str>>(&self, captions: &[S]) -> f64 {
        let counts = self.target_counts(captions);
        let total = counts.iter().sum::<usize>() as f64;
        let term = |&count: &usize| {
            let share = count as f64 / total;
            -share * share.ln()
        };
        counts.iter().filter(|&&count| count > 0).map(term).sum()
    }

    /// The vocabulary as JSON, for a file or for a checkpoint's metadata.
    pub fn to_json(&self) -> String {
        let stored = Stored {
            format: FORMAT.into(),
            version: VERSION,
            config: self.config.clone(),
            words: self.words_by_frequency(),
        };
        // Strings and numbers only, so serialisation cannot fail.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// Parses the JSON of [`Vocabulary::to_json`].
    ///
    /// # Errors
    /// [`Error::Argument`] when it is not a vocabulary.
    pub fn from_json(json: &str) -> Result<Self> {
        Self::parse(json).map_err(|(_, problem)| Error::argument(problem, "Save the vocabulary again."))
    }

    /// Saves the vocabulary atomically as JSON.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), "write the vocabulary", self.to_json().as_bytes())
    }

    /// Loads a file of [`Vocabulary::save`].
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read; [`Error::Data`] when it is not a vocabulary.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(&read_text(path)?)
            .map_err(|(line, problem)| Error::data(path, line, problem, "Save the vocabulary again."))
    }

    fn parse(json: &str) -> Result<Self, (Option<u64>, String)> {
        let stored: Stored = serde_json::from_str(json)
            .map_err(|error| (Some(error.line() as u64), format!("this is not a vocabulary in JSON: {error}")))?;
        if stored.format != FORMAT || stored.version != VERSION {
            let (format, version) = (stored.format, stored.version);
            return Err((None, format!("this is `{format}` version {version}, not `{FORMAT}` version {VERSION}")));
        }
        stored.config.validate().map_err(|error| (None, error.to_string()))?;
        let odd = stored.words.iter().find(|(word, _)| Self::words(word) != [word.as_str()]);
        if let Some((word, _)) = odd {
            return Err((None, format!("`{word}` is not a word (lower-case, alphanumeric)")));
        }
        Self::checked(stored.config, stored.words).map_err(|problem| (None, problem))
    }
}

impl fmt::Display for Vocabulary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} words seen {} times or more", self.word_count(), self.config.min_count)?;
        match self.config.max_size {
            Some(max_size) => write!(formatter, ", at most {max_size}"),
            None => Ok(()),
        }
    }
}

/// How much of some captions a vocabulary covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Number of word occurrences.
    pub words: usize,
    /// Number of occurrences of known words.
    pub known_words: usize,
    /// Number of distinct words.
    pub distinct_words: usize,
    /// Number of distinct known words.
    pub known_distinct_words: usize,
}

impl Coverage {
    /// Share of known word occurrences, in 0..=1; 1 for no words.
    pub fn share(&self) -> f64 {
        if self.words == 0 { 1.0 } else { self.known_words as f64 / self.words as f64 }
    }

    /// Share of unknown word occurrences, in 0..=1, which a model reads as `<unknown>`.
    pub fn out_of_vocabulary_rate(&self) -> f64 {
        1.0 - self.share()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.2} % of the words are known ({} of {}), {} of {} different ones",
            100.0 * self.share(),
            self.known_words,
            self.words,
            self.known_distinct_words,
            self.distinct_words
        )
    }
}

/// Calls `take` with each word of a caption; `buffer` is reused to avoid allocations.
pub(super) fn for_each_word(caption: &str, buffer: &mut String, mut take: impl FnMut(&str)) {
    for token in caption.split_whitespace() {
        buffer.clear();
        if token.is_ascii() {
            let kept = token.bytes().filter(u8::is_ascii_alphanumeric);
            buffer.extend(kept.map(|byte| char::from(byte.to_ascii_lowercase())));
        } else {
            lower_letters(token, buffer);
        }
        if !buffer.is_empty() {
            take(buffer);
        }
    }
}

/// Appends the letters and digits of a token in lower case and NFC, with their combining marks (Unicode Standard Annex 29, rule WB4):
/// without its virama or tone mark a word of Hindi, Thai or Vietnamese is misspelt, or another word.
fn lower_letters(token: &str, buffer: &mut String) {
    // The lower case of `İ` would contain a combining dot.
    let lower = token.chars().map(|letter| if letter == 'İ' { 'i' } else { letter }).flat_map(char::to_lowercase);
    let mut follows_letter = false;
    let belongs = |letter: &char| {
        let belongs = letter.is_alphanumeric() || (follows_letter && is_mark(*letter));
        follows_letter = belongs || (follows_letter && is_invisible(*letter));
        belongs
    };
    buffer.push_str(&composed(&lower.filter(belongs).collect::<String>()));
}

/// Words with their counts, by decreasing count, then alphabetically.
pub(super) fn count_words<S: AsRef<str>>(captions: &[S]) -> Vec<(String, usize)> {
    let mut counts: WordMap<String, usize> = WordMap::default();
    let mut buffer = String::new();
    for caption in captions {
        for_each_word(caption.as_ref(), &mut buffer, |word| match counts.get_mut(word) {
            Some(count) => *count += 1,
            None => {
                counts.insert(word.to_owned(), 1);
            }
        });
    }
    by_frequency(counts.into_iter().collect())
}

pub(super) fn by_frequency(mut counts: Vec<(String, usize)>) -> Vec<(String, usize)> {
    counts.sort_unstable_by(|(word, count), (other, other_count)| other_count.cmp(count).then_with(|| word.cmp(other)));
    counts
}

crate::in_cells::shown_in_cells!(Vocabulary);
