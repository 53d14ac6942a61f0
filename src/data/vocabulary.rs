//! Words and their numbers.

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
pub struct VocabularyConfig {
    /// A word must be seen at least so often. Default: 5, as in the paper. At least 1.
    pub min_count: usize,
    /// Keep only the most frequent words, at most so many, special tokens not counted. Default: `None`, no limit. The
    /// course keeps 5,000.
    pub max_size: Option<usize>,
}

impl Default for VocabularyConfig {
    fn default() -> Self {
        Self { min_count: 5, max_size: None }
    }
}

impl VocabularyConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
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

/// The words that a model knows, each with a number, and how often each was seen.
///
/// Numbers 0 to 3 are the special tokens; the words follow, most frequent first, equally frequent ones in alphabetical
/// order, so the same captions give the same numbers everywhere.
///
/// # How captions are cut into words
/// Lower-case, cut at white space, and every character that is not alphanumeric dropped: `"A man's T-shirt, 2 dogs."` is
/// `a mans tshirt 2 dogs`. Accents and other marks stay with the letters that they belong to, and letters are composed:
/// `é` is one letter, however it was typed. The paper says no more than that non-alphanumeric characters are discarded; what becomes of
/// `t-shirt` is open, so it was measured. Over the 29,000 training images of Flickr30k (145,000 captions), at `min_count` 5:
///
/// | a character that is not alphanumeric | words | different | kept |
/// |---|---|---|---|
/// | is dropped: `tshirt`, `mans` (what is done here) | 1,778,043 | 19,407 | 7,469 |
/// | is dropped, but a hyphen is a space: `t shirt`, `mans` | | 17,829 | 7,408 |
/// | is a space: `t shirt`, `man s` | 1,787,859 | 17,712 | 7,379 |
/// | the paper | | | 7,414 |
///
/// All three are within 1 % of the paper, so the size does not decide. Dropping keeps `tshirt` one word where cutting makes
/// words such as `t` and `s`, and it is what the author's NeuralTalk2 does with captions.
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
    /// By number, special tokens first.
    words: Vec<String>,
    /// By number; 0 for the special tokens.
    counts: Vec<usize>,
    ids: WordMap<String, i64>,
}

/// What is written to disk.
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
    /// Fills short captions of a batch up to the length of the longest.
    pub const PAD: i64 = 0;
    /// Comes before the first word.
    pub const START: i64 = 1;
    /// Comes after the last word.
    pub const END: i64 = 2;
    /// Stands for every word that the vocabulary does not hold.
    pub const UNKNOWN: i64 = 3;
    /// The special tokens as text, by number.
    pub const SPECIALS: [&'static str; 4] = ["<pad>", "<start>", "<end>", "<unknown>"];

    /// The words of a caption: lower-case, cut at white space, characters that are not alphanumeric dropped, marks kept with
    /// their letters.
    pub fn words(caption: &str) -> Vec<String> {
        let mut words = Vec::new();
        for_each_word(caption, &mut String::new(), |word| words.push(word.to_owned()));
        words
    }

    /// Counts the words of captions and numbers those that `config` keeps.
    ///
    /// Give it the captions of the training images only: see [`Dataset::captions`](super::Dataset::captions).
    ///
    /// # Errors
    /// [`Error::Config`] from [`VocabularyConfig::validate`]; [`Error::Argument`] where no word is kept.
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

    fn from_counts(config: VocabularyConfig, words: Vec<(String, usize)>) -> Self {
        let specials = Self::SPECIALS.map(|special| (special.to_owned(), 0));
        let (words, counts): (Vec<String>, Vec<usize>) = specials.into_iter().chain(words).unzip();
        let ids = (0..).zip(&words).skip(Self::SPECIALS.len()).map(|(id, word)| (word.clone(), id)).collect();
        Self { config, words, counts, ids }
    }

    /// How the vocabulary was built.
    pub fn config(&self) -> &VocabularyConfig {
        &self.config
    }

    /// How many numbers there are, special tokens included: the width of a network's last layer.
    #[expect(clippy::len_without_is_empty, reason = "never empty: the special tokens are always there")]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// How many words there are, special tokens not counted: what papers call the size of the vocabulary.
    pub fn word_count(&self) -> usize {
        self.words.len() - Self::SPECIALS.len()
    }

    /// The number of a word as [`Vocabulary::words`] gives it; [`Vocabulary::UNKNOWN`] where it is not held.
    pub fn id(&self, word: &str) -> i64 {
        self.ids.get(word).copied().unwrap_or(Self::UNKNOWN)
    }

    /// The word (or special token) with a number; `None` where no word has it.
    pub fn word(&self, id: i64) -> Option<&str> {
        self.words.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// Whether the vocabulary holds a word as [`Vocabulary::words`] gives it.
    pub fn contains(&self, word: &str) -> bool {
        self.ids.contains_key(word)
    }

    /// How often a word was seen in the captions that the vocabulary was built from; 0 where it is not held.
    pub fn count(&self, word: &str) -> usize {
        self.ids.get(word).and_then(|&id| self.counts.get(usize::try_from(id).ok()?)).copied().unwrap_or(0)
    }

    /// The words with how often each was seen, most frequent first; no special tokens.
    pub fn words_by_frequency(&self) -> Vec<(String, usize)> {
        self.words.iter().cloned().zip(self.counts.iter().copied()).skip(Self::SPECIALS.len()).collect()
    }

    /// The numbers of a caption's words, without start and end.
    pub fn encode(&self, caption: &str) -> Vec<i64> {
        let mut ids = Vec::new();
        for_each_word(caption, &mut String::new(), |word| ids.push(self.id(word)));
        ids
    }

    /// The numbers of a caption's words between [`Vocabulary::START`] and [`Vocabulary::END`].
    pub fn encode_with_ends(&self, caption: &str) -> Vec<i64> {
        let mut ids = vec![Self::START];
        for_each_word(caption, &mut String::new(), |word| ids.push(self.id(word)));
        ids.push(Self::END);
        ids
    }

    /// The words of numbers, with spaces between, up to the first [`Vocabulary::END`]. [`Vocabulary::PAD`] and
    /// [`Vocabulary::START`] are left out; what no word has as its number is `<unknown>`.
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

    /// How many of the words of captions the vocabulary holds.
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

    /// How often each token has to be predicted in captions, by id: words, `<unknown>`, and `<end>` once a caption.
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

    /// The entropy of single tokens in captions, in nats: the least mean cross entropy of a model that knows how frequent they are
    /// and nothing else.
    ///
    /// ```
    /// use captionlab::data::{Vocabulary, VocabularyConfig};
    /// let captions = ["red", "blue"];
    /// let vocabulary = Vocabulary::build(&captions, &VocabularyConfig { min_count: 1, max_size: None })?;
    /// // A half of the tokens is `<end>`, a quarter each word.
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

    /// The vocabulary as JSON, for a file of its own or for the metadata of a checkpoint.
    pub fn to_json(&self) -> String {
        let stored = Stored {
            format: FORMAT.into(),
            version: VERSION,
            config: self.config.clone(),
            words: self.words_by_frequency(),
        };
        // Strings and numbers only: there is nothing in it that JSON could not hold.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// A vocabulary from what [`Vocabulary::to_json`] gave.
    ///
    /// # Errors
    /// [`Error::Argument`] saying what is wrong with it.
    pub fn from_json(json: &str) -> Result<Self> {
        Self::parse(json).map_err(|(_, problem)| Error::argument(problem, "Save the vocabulary again."))
    }

    /// Writes the vocabulary to a JSON file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), "write the vocabulary", self.to_json().as_bytes())
    }

    /// Reads what [`Vocabulary::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read; [`Error::Data`] where it is no vocabulary.
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
        let vocabulary = Self::from_counts(stored.config, stored.words);
        if vocabulary.ids.len() != vocabulary.word_count() {
            return Err((None, "a word stands in it twice".into()));
        }
        Ok(vocabulary)
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

/// How many of the words of captions a vocabulary holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Words of the captions, every one counted each time.
    pub words: usize,
    /// Those of them that the vocabulary holds.
    pub known_words: usize,
    /// Different words of the captions.
    pub distinct_words: usize,
    /// Those of them that the vocabulary holds.
    pub known_distinct_words: usize,
}

impl Coverage {
    /// Share of the words that are known, in 0..=1; 1 where there are no words.
    pub fn share(&self) -> f64 {
        if self.words == 0 { 1.0 } else { self.known_words as f64 / self.words as f64 }
    }

    /// Share of the words that are not known, in 0..=1: what a model reads as `<unknown>`.
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

/// Calls `take` with each word of a caption; `buffer` is scratch space that saves an allocation a word.
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

/// The letters and digits of a token in lower case, composed, each with the marks that belong to it (Unicode Standard Annex 29,
/// rule WB4): without its virama or its tone mark a word of Hindi, Thai or Vietnamese is misspelt, or another word.
fn lower_letters(token: &str, buffer: &mut String) {
    // The lower case of `İ` has a mark that nobody writes.
    let lower = token.chars().map(|letter| if letter == 'İ' { 'i' } else { letter }).flat_map(char::to_lowercase);
    let mut follows_letter = false;
    let belongs = |letter: &char| {
        let belongs = letter.is_alphanumeric() || (follows_letter && is_mark(*letter));
        follows_letter = belongs || (follows_letter && is_invisible(*letter));
        belongs
    };
    buffer.push_str(&composed(&lower.filter(belongs).collect::<String>()));
}

/// The words of captions with how often each stands there: most frequent first, equally frequent ones alphabetical.
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
