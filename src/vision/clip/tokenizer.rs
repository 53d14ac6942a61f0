//! The tokenizer of the text tower.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use tch::Tensor;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::utils::{Lowercase, Sequence as Normalizers};
use tokenizers::normalizers::{NFC, Replace, replace::ReplacePattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as Cutters;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
};

use super::byte_pairs::{self, END_OF_WORD};
use crate::files::write_whole;
use crate::{Error, Result};

/// Start and end token.
const ENDS: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];

/// The original's pre-tokenisation: English contractions, runs of letters, single digits, runs of other characters.
const PIECES: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Number of merges that the original uses of its file.
const ORIGINAL_MERGES: usize = 49_152 - 256 - 2;

/// Context length of the published models.
const CONTEXT: usize = 77;

/// A byte-pair tokenizer equal to `CLIPTokenizer` of transformers: NFC, collapsed white space, lower case, pre-tokenisation, merges.
///
/// Ids equal the original's too, except that the original first repairs broken encodings (ftfy) and resolves HTML entities
/// (`&amp;`).
///
/// # Truncation
/// Tokens beyond the context length are dropped, and the last one becomes the end token. So do transformers with `truncation=True`,
/// OpenAI's code with `truncate=True` and open_clip; OpenAI's default is an error.
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    start: i64,
    end: i64,
    context: usize,
}

impl fmt::Debug for ClipTokenizer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vocabulary_size = self.vocabulary_size();
        formatter
            .debug_struct("ClipTokenizer")
            .field("vocabulary_size", &vocabulary_size)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

impl ClipTokenizer {
    /// Loads a vocabulary, with context length 77 (see [`ClipTokenizer::with_context`]), from
    /// - `tokenizer.json`;
    /// - `vocab.json` with `merges.txt` beside it;
    /// - OpenAI's `bpe_simple_vocab_16e6.txt.gz`, or the same unpacked;
    /// - a folder with one of these.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read, [`Error::Data`] when it is not such a vocabulary.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = find(path.as_ref())?;
        match path.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
            "vocab.json" => Self::from_two_files(&path),
            name if name.ends_with(".json") => {
                let bytes = read(&path)?;
                let tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| unfit(&path, None, error.to_string()))?;
                Self::finish(tokenizer, &path)
            }
            _ => Self::from_merges(&path),
        }
    }

    fn from_two_files(path: &Path) -> Result<Self> {
        let vocabulary: BTreeMap<String, u32> =
            serde_json::from_slice(&read(path)?).map_err(|error| unfit(path, None, error.to_string()))?;
        let merges = path.with_file_name("merges.txt");
        let merges = parse_merges(&text(&merges, read(&merges)?)?, &merges, usize::MAX)?;
        Self::build(vocabulary, merges, path)
    }

    fn from_merges(path: &Path) -> Result<Self> {
        let mut bytes = read(path)?;
        if bytes.starts_with(&[0x1F, 0x8B]) {
            let mut unpacked = Vec::new();
            let packed = flate2::read::MultiGzDecoder::new(bytes.as_slice());
            packed.take(1 << 28).read_to_end(&mut unpacked).map_err(|error| unfit(path, None, error.to_string()))?;
            bytes = unpacked;
        }
        let merges = parse_merges(&text(path, bytes)?, path, ORIGINAL_MERGES)?;
        let tokens = byte_pairs::tokens(&merges, ENDS);
        Self::build(tokens.into_iter().zip(0..).collect(), merges, path)
    }

    /// Learns a vocabulary from texts: 512 letters, merges, start and end token, `vocabulary_size` in all, or fewer when the texts have
    /// no more pairs. The same texts always give the same vocabulary.
    ///
    /// # Errors
    /// [`Error::Config`] when `vocabulary_size` has no room for the letters.
    pub fn learn<S: AsRef<str>>(texts: &[S], vocabulary_size: usize) -> Result<Self> {
        let letters = 2 * 256 + ENDS.len();
        if !(letters..=10_000_000).contains(&vocabulary_size) {
            let expected = format!("must be in {letters}..=10000000");
            return Err(Error::config("clip.text.vocabulary_size", vocabulary_size, expected));
        }
        let problem = |error: tokenizers::Error| Error::argument(error.to_string(), "Give plain texts to learn from.");
        let (normalizer, cutter) = (normalizer().map_err(problem)?, cutter().map_err(problem)?);
        let mut words: BTreeMap<String, usize> = BTreeMap::new();
        for text in texts {
            let mut normal = NormalizedString::from(text.as_ref());
            normalizer.normalize(&mut normal).map_err(problem)?;
            let mut cut = PreTokenizedString::from(normal);
            cutter.pre_tokenize(&mut cut).map_err(problem)?;
            for (word, ..) in cut.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
                *words.entry(word.to_string()).or_default() += 1;
            }
        }
        let merges = byte_pairs::learn(&words, vocabulary_size - letters);
        let tokens = byte_pairs::tokens(&merges, ENDS);
        Self::build(tokens.into_iter().zip(0..).collect(), merges, Path::new("tokenizer.json"))
    }

    fn build(vocabulary: BTreeMap<String, u32>, merges: Vec<(String, String)>, path: &Path) -> Result<Self> {
        let problem = |error: tokenizers::Error| unfit(path, None, error.to_string());
        let [start, end] = ENDS.map(|token| vocabulary.get(token).copied());
        let (Some(start), Some(end)) = (start, end) else {
            return Err(unfit(path, None, format!("the tokens {} are missing", ENDS.join(" and "))));
        };
        let model = BPE::builder()
            .vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), merges)
            .continuing_subword_prefix(String::new())
            .end_of_word_suffix(END_OF_WORD.to_string())
            .unk_token(ENDS[1].to_string())
            .build()
            .map_err(problem)?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_normalizer(Some(normalizer().map_err(problem)?)).map_err(problem)?;
        tokenizer.with_pre_tokenizer(Some(cutter().map_err(problem)?));
        let ends = RobertaProcessing::new((ENDS[1].into(), end), (ENDS[0].into(), start));
        tokenizer.with_post_processor(Some(ends.trim_offsets(false).add_prefix_space(false)));
        tokenizer.with_decoder(Some(ByteLevel::default()));
        tokenizer.add_special_tokens(ENDS.map(|token| AddedToken::from(token, true))).map_err(problem)?;
        Self::finish(tokenizer, path)
    }

    fn finish(mut tokenizer: Tokenizer, path: &Path) -> Result<Self> {
        // `encode` and `encode_batch` truncate and pad.
        tokenizer.with_truncation(None).map_err(|error| unfit(path, None, error.to_string()))?;
        tokenizer.with_padding(None);
        let number = |token: &str| {
            tokenizer
                .token_to_id(token)
                .map(i64::from)
                .ok_or_else(|| unfit(path, None, format!("the token {token} is missing")))
        };
        let (start, end) = (number(ENDS[0])?, number(ENDS[1])?);
        Ok(Self { tokenizer, start, end, context: CONTEXT })
    }

    /// Sets the context length.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no room for the start and end token.
    pub fn with_context(mut self, context: usize) -> Result<Self> {
        if !(2..=65_536).contains(&context) {
            return Err(Error::config("clip.text.context", context, "must be in 2..=65536"));
        }
        self.context = context;
        Ok(self)
    }

    /// Saves `tokenizer.json`, which transformers and the crate tokenizers read.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        write_whole(path, "write the vocabulary", self.to_json()?.as_bytes())
    }

    /// The content that [`ClipTokenizer::save`] writes.
    pub(crate) fn to_json(&self) -> Result<String> {
        let fault = |error: tokenizers::Error| Error::internal(format!("the vocabulary cannot be serialised: {error}"));
        Ok(self.tokenizer.to_string(false).map_err(fault)? + "\n")
    }

    /// Number of tokens.
    pub fn vocabulary_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Context length: most tokens of a text with its start and end token.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Id of the end token.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Encodes a text as ids, from the start to the end token, truncated to the context length.
    ///
    /// # Errors
    /// [`Error::Argument`] when the text cannot be tokenised, which does not happen with a complete vocabulary.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| {
            Error::argument(format!("{text:?} cannot be tokenised: {error}"), "Check that the vocabulary is CLIP's.")
        })?;
        let inner = encoding.get_ids().iter().map(|&id| i64::from(id)).take(self.context - 2);
        Ok(std::iter::once(self.start).chain(inner).chain([self.end]).collect())
    }

    /// Encodes texts, padded with the end token to the longest.
    ///
    /// # Shapes
    /// - result: `[texts, length]` of `i64`; `length` is at most the context length
    ///
    /// # Errors
    /// [`Error::Argument`] when there are no texts.
    pub fn encode_batch<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tensor> {
        if texts.is_empty() {
            return Err(Error::argument("there are no texts to encode", "Give at least one."));
        }
        let rows = texts.iter().map(|text| self.encode(text.as_ref())).collect::<Result<Vec<_>>>()?;
        Ok(filled(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), self.end))
    }

    /// Decodes ids, without start and end token. Words are separated by spaces, so white space may differ from the original.
    ///
    /// # Errors
    /// [`Error::Argument`] when an id is outside the vocabulary.
    pub fn decode(&self, tokens: &[i64]) -> Result<String> {
        let mut bytes = Vec::new();
        let letters: BTreeMap<char, u8> = byte_pairs::letters()
            .into_iter()
            .zip((b'!'..=b'~').chain(0xA1..=0xAC).chain(0xAE..=0xFF).chain(0..=b' ').chain(0x7F..=0xA0).chain([0xAD]))
            .collect();
        for &number in tokens.iter().filter(|&&number| number != self.start && number != self.end) {
            let token = u32::try_from(number).ok().and_then(|number| self.tokenizer.id_to_token(number));
            let token = token.ok_or_else(|| {
                let expected = format!("The vocabulary has the ids 0..{}.", self.vocabulary_size());
                Error::argument(format!("no token has the id {number}"), expected)
            })?;
            let (piece, ends) = match token.strip_suffix(END_OF_WORD) {
                Some(piece) => (piece, true),
                None => (token.as_str(), false),
            };
            bytes.extend(piece.chars().filter_map(|letter| letters.get(&letter)));
            if ends {
                bytes.push(b' ');
            }
        }
        Ok(String::from_utf8_lossy(&bytes).trim().to_string())
    }
}

/// Pads rows of ids to the longest.
pub(crate) fn filled(rows: &[&[i64]], with: i64) -> Tensor {
    let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let all: Vec<i64> =
        rows.iter().flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(with, length - row.len()))).collect();
    Tensor::from_slice(&all).reshape([rows.len() as i64, length as i64])
}

fn normalizer() -> tokenizers::Result<NormalizerWrapper> {
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ")?;
    Ok(Normalizers::new(vec![NFC.into(), spaces.into(), Lowercase.into()]).into())
}

fn cutter() -> tokenizers::Result<PreTokenizerWrapper> {
    let pieces = Split::new(SplitPattern::Regex(PIECES.into()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    Ok(Cutters::new(vec![pieces.into(), bytes.into()]).into())
}

/// The file of a vocabulary: the path itself, or the first known file in the folder.
fn find(path: &Path) -> Result<PathBuf> {
    const NAMES: [&str; 4] =
        ["tokenizer.json", "vocab.json", "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt"];
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file()).ok_or_else(|| {
        Error::data(path, None, "the folder holds no vocabulary", format!("It must hold {}.", NAMES.join(" or ")))
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| {
        Error::file(path, "read the vocabulary", source, "Name tokenizer.json, vocab.json or a folder that holds it.")
    })
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| unfit(path, None, error.to_string()))
}

/// Parses a header and then one merge per line; reads at most `most` merges.
fn parse_merges(text: &str, path: &Path, most: usize) -> Result<Vec<(String, String)>> {
    let lines = text.lines().zip(1..).skip(1).take(most).filter(|(line, _)| !line.trim().is_empty());
    let merges = lines
        .map(|(line, number)| match line.split_once(' ') {
            Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
                Ok((left.to_string(), right.to_string()))
            }
            _ => Err(unfit(path, Some(number), format!("{line:?} is not two pieces separated by a space"))),
        })
        .collect::<Result<Vec<_>>>()?;
    match merges.is_empty() {
        true => Err(unfit(path, None, "it holds no merges".into())),
        false => Ok(merges),
    }
}

fn unfit(path: &Path, line: Option<u64>, problem: String) -> Error {
    let help =
        "Give the vocabulary of a CLIP: tokenizer.json, vocab.json with merges.txt, or bpe_simple_vocab_16e6.txt.gz.";
    Error::data(path, line, format!("not the vocabulary of a CLIP: {problem}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt() -> ClipTokenizer {
        let texts = ["A dog runs, the dog's tail wags.", "Two dogs run!", "a DOG  sleeps"];
        ClipTokenizer::learn(&texts, 530).unwrap()
    }

    #[test]
    fn words_that_were_seen_often_are_one_token() {
        let tokenizer = learnt();
        let tokens = tokenizer.encode("a dog").unwrap();
        assert_eq!(tokens.len(), 4, "{tokens:?}");
        assert_eq!(tokens[0] + 1, tokens[3]);
        assert_eq!(tokens[3] as usize + 1, tokenizer.vocabulary_size());
        assert_eq!(tokens, tokenizer.encode("  A\tDOG ").unwrap());
    }

    #[test]
    fn any_text_has_tokens_and_comes_back() {
        let tokenizer = learnt();
        for text in ["", "a dog", "größe 42 ☃ 犬", "\u{1F415}", "<>&;", "x".repeat(50).as_str()] {
            let tokens = tokenizer.encode(text).unwrap();
            let back = tokenizer.decode(&tokens).unwrap();
            assert_eq!(back.replace(' ', ""), text.replace(' ', ""), "{tokens:?}");
        }
        assert!(tokenizer.decode(&[-1]).is_err());
        assert!(tokenizer.decode(&[100_000]).unwrap_err().to_string().contains("100000"));
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_still_ends() {
        let tokenizer = learnt().with_context(8).unwrap();
        let tokens = tokenizer.encode("dog dog dog dog dog dog dog dog dog").unwrap();
        assert_eq!((tokens.len(), tokens[7]), (8, tokenizer.end()));
        let batch = tokenizer.encode_batch(&["dog", "dog dog"]).unwrap();
        assert_eq!(batch.size(), [2, 4]);
        assert_eq!(batch.int64_value(&[0, 3]), tokenizer.end());
        assert!(tokenizer.encode_batch::<&str>(&[]).is_err());
        assert!(learnt().with_context(1).is_err());
    }

    #[test]
    fn what_was_saved_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (tokenizer, path) = (learnt(), folder.path().join("tokenizer.json"));
        tokenizer.save(&path).unwrap();
        let read = ClipTokenizer::load(folder.path()).unwrap();
        for text in ["A dog's tail", "two dogs run, <|endoftext|> & sleep"] {
            assert_eq!(read.encode(text).unwrap(), tokenizer.encode(text).unwrap());
        }
        assert_eq!(read.vocabulary_size(), tokenizer.vocabulary_size());
        assert_eq!(learnt().to_json().unwrap(), tokenizer.to_json().unwrap());
    }

    #[test]
    fn a_file_that_is_no_vocabulary_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            ClipTokenizer::load(&path).unwrap_err().to_string()
        };
        assert!(ClipTokenizer::load(folder.path()).unwrap_err().to_string().contains("holds no vocabulary"));
        assert!(ClipTokenizer::load(folder.path().join("gone.json")).is_err());
        assert!(error("tokenizer.json", b"{}").contains("not the vocabulary of a CLIP"));
        assert!(error("merges.txt.gz", b"").contains("no merges"));
        assert!(error("bpe.txt", b"#version\na b\nc d e\n").contains("line 3"), "{}", error("bpe.txt", b"#\na b\nc\n"));
        assert!(error("bpe.txt.gz", &[0x1F, 0x8B, 1, 2]).contains("not the vocabulary"));
        assert!(error("vocab.json", b"{\"a\": 0}").contains("merges.txt"));
        assert!(ClipTokenizer::learn(&["a"], 100).is_err());
    }
}
