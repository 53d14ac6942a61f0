//! Word vectors that others have trained.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::data::Vocabulary;
use crate::{Error, Result};

/// The longest word and number that are taken for such.
const LONGEST_LINE: u64 = 1 << 20;

/// Reads the vectors of a vocabulary's words, by id, from a file in one of the formats
///
/// | format | |
/// |---|---|
/// | GloVe | a word and its numbers a line, separated by spaces |
/// | word2vec, text | the same after a line with the number of words and of numbers |
/// | word2vec, binary | such a line, then for each word the word, a space, and its numbers as little-endian `float32` |
///
/// plain or `.gz`. Of words that differ only in case, as in the vectors of Google News, the one in lower case is taken, or else the
/// first.
///
/// # Errors
/// [`Error::File`] when the file cannot be read; [`Error::Data`] when it is in no such format, has vectors of another size than `size`,
/// ends early, holds numbers that are not finite, or has none of the words.
pub(super) fn read_word_vectors(path: &Path, vocabulary: &Vocabulary, size: usize) -> Result<BTreeMap<i64, Vec<f32>>> {
    let fault = |source| Error::file(path, "read the word vectors", source, "Check the path.");
    let file = BufReader::with_capacity(1 << 20, File::open(path).map_err(fault)?);
    let is_packed = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
    let mut file: Box<dyn BufRead> =
        if is_packed { Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(file))) } else { Box::new(file) };
    let mut found = Found { path, vocabulary, size, vectors: BTreeMap::new() };

    let mut line = Vec::new();
    read_until(&mut file, b'\n', &mut line).map_err(fault)?;
    let first = String::from_utf8_lossy(&line).into_owned();
    match header(&first) {
        Some((words, width)) => {
            if width != size {
                return Err(found.other_size(width, 1));
            }
            // Text is text to its first line break; what follows a word in a binary file hardly is.
            let start = file.fill_buf().map_err(fault)?;
            let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
            match std::str::from_utf8(line).is_ok_and(|line| line.split_whitespace().count() > size || line.is_empty())
            {
                true => read_text(&mut file, &mut found, 2).map_err(|error| error.unwrap_or_else(fault))?,
                false => read_binary(&mut file, &mut found, words)?,
            }
        }
        None => {
            found.take_line(&first, 1)?;
            read_text(&mut file, &mut found, 2).map_err(|error| error.unwrap_or_else(fault))?;
        }
    }
    match found.vectors.is_empty() {
        true => Err(Error::data(
            path,
            None,
            format!("it has none of the {} words of the vocabulary", vocabulary.word_count()),
            "Use vectors of the captions' language, in the format of word2vec or GloVe.",
        )),
        false => Ok(found.vectors.into_iter().map(|(id, (_, vector))| (id, vector)).collect()),
    }
}

/// As [`BufRead::read_until`], but not without end.
fn read_until(file: &mut impl BufRead, end: u8, line: &mut Vec<u8>) -> std::io::Result<usize> {
    line.clear();
    file.take(LONGEST_LINE).read_until(end, line)
}

/// The number of words and of numbers of each.
fn header(line: &str) -> Option<(usize, usize)> {
    let mut parts = line.split_whitespace().map(str::parse);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(words)), Some(Ok(width)), None) => Some((words, width)),
        _ => None,
    }
}

/// What has been read.
struct Found<'a> {
    path: &'a Path,
    vocabulary: &'a Vocabulary,
    size: usize,
    /// By id: whether the word was in lower case, and its vector.
    vectors: BTreeMap<i64, (bool, Vec<f32>)>,
}

impl Found<'_> {
    fn other_size(&self, width: usize, line: u64) -> Error {
        Error::data(
            self.path,
            Some(line),
            format!("its vectors have {width} numbers, and `word_size` is {}", self.size),
            "Set `aligner.word_size` to that number, or use other vectors.",
        )
    }

    /// The id of a word that is wanted and not there yet.
    fn wanted(&self, word: &str) -> Option<(i64, bool)> {
        let lower = word.to_lowercase();
        let is_lower = lower == word;
        let id = self.vocabulary.contains(&lower).then(|| self.vocabulary.id(&lower))?;
        let better = match self.vectors.get(&id) {
            None => true,
            Some((was_lower, _)) => is_lower && !was_lower,
        };
        better.then_some((id, is_lower))
    }

    fn take(&mut self, word: &str, vector: impl FnOnce() -> Result<Vec<f32>>) -> Result<()> {
        if let Some((id, is_lower)) = self.wanted(word) {
            let vector = vector()?;
            self.vectors.insert(id, (is_lower, vector));
        }
        Ok(())
    }

    fn take_line(&mut self, line: &str, number: u64) -> Result<()> {
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(());
        }
        // Some words of GloVe contain spaces: the numbers are the last ones.
        let mut parts: Vec<&str> = line.rsplitn(self.size + 1, ' ').collect();
        let word = parts.pop().unwrap_or_default();
        let (path, size) = (self.path, self.size);
        if parts.len() != size || word.is_empty() || (number == 1 && word.split(' ').count() > 3) {
            return Err(self.other_size(line.split(' ').count().saturating_sub(1), number));
        }
        self.take(word, || {
            let number_of = |text: &&str| match text.parse::<f32>() {
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(Error::data(
                    path,
                    Some(number),
                    format!("{text:?} is no finite number"),
                    "Each line is a word and its numbers, separated by spaces.",
                )),
            };
            parts.iter().rev().map(number_of).collect()
        })
    }
}

/// Reads lines from number `number` on. The error of a file that cannot be read is left to the caller.
fn read_text(file: &mut impl BufRead, found: &mut Found<'_>, mut number: u64) -> Result<(), TextFault> {
    let mut line = Vec::new();
    while read_until(file, b'\n', &mut line).map_err(TextFault::File)? > 0 {
        found.take_line(&String::from_utf8_lossy(&line), number).map_err(TextFault::Other)?;
        number += 1;
    }
    Ok(())
}

enum TextFault {
    File(std::io::Error),
    Other(Error),
}

impl TextFault {
    fn unwrap_or_else(self, fault: impl FnOnce(std::io::Error) -> Error) -> Error {
        match self {
            Self::File(source) => fault(source),
            Self::Other(error) => error,
        }
    }
}

fn read_binary(file: &mut impl BufRead, found: &mut Found<'_>, words: usize) -> Result<()> {
    let path = found.path;
    let ends = |number: usize| {
        Error::data(path, None, format!("it ends in word {number} of {words}"), "Download it again: it was cut off.")
    };
    let (mut word, mut bytes) = (Vec::new(), vec![0; 4 * found.size]);
    for number in 1..=words {
        read_until(file, b' ', &mut word).map_err(|_| ends(number))?;
        if word.pop() != Some(b' ') {
            return Err(ends(number));
        }
        file.read_exact(&mut bytes).map_err(|_| ends(number))?;
        // Some files have a line break after each vector.
        let text = String::from_utf8_lossy(&word);
        let text = text.trim_start_matches('\n');
        found.take(text, || {
            let vector: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            match vector.iter().all(|value| value.is_finite()) {
                true => Ok(vector),
                false => Err(Error::data(
                    path,
                    None,
                    format!("the vector of {text:?} is not finite"),
                    "Download it again: it is damaged.",
                )),
            }
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::data::VocabularyConfig;

    fn vocabulary() -> Vocabulary {
        let config = VocabularyConfig { min_count: 1, max_size: None };
        Vocabulary::build(&["a dog", "a cat"], &config).unwrap()
    }

    fn read(name: &str, content: &[u8]) -> Result<BTreeMap<i64, Vec<f32>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        read_word_vectors(&path, &vocabulary(), 3)
    }

    fn binary(words: &[(&str, [f32; 3])], line_breaks: bool) -> Vec<u8> {
        let mut bytes = format!("{} 3\n", words.len()).into_bytes();
        for (word, vector) in words {
            bytes.extend(format!("{word} ").bytes());
            vector.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            bytes.extend(line_breaks.then_some(b'\n'));
        }
        bytes
    }

    #[test]
    fn all_formats_give_the_vectors_of_known_words() {
        let [dog, cat] = ["dog", "cat"].map(|word| vocabulary().id(word));
        let expected = BTreeMap::from([(dog, vec![1.0, -2.0, 0.5]), (cat, vec![0.0, 1e-3, 4.0])]);
        let glove = "dog 1 -2 0.5\n. . 7 8 9\ncat 0 1e-3 4\n";
        let words = [("the", [9.0, 9.0, 9.0]), ("dog", [1.0, -2.0, 0.5]), ("cat", [0.0, 1e-3, 4.0])];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(glove.as_bytes()).unwrap();
        for (name, content) in [
            ("glove.txt", glove.as_bytes().to_vec()),
            ("crlf.txt", glove.replace('\n', "\r\n").into_bytes()),
            ("vectors.txt", format!("3 3\n{glove}").into_bytes()),
            ("vectors.bin", binary(&words, false)),
            ("lines.bin", binary(&words, true)),
            ("glove.txt.gz", packed.finish().unwrap()),
        ] {
            assert_eq!(read(name, &content).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn a_word_in_lower_case_is_preferred() {
        let dog = vocabulary().id("dog");
        for text in ["Dog 1 1 1\ndog 2 2 2\nDOG 3 3 3\n", "dog 2 2 2\nDog 1 1 1\n"] {
            assert_eq!(read("glove.txt", text.as_bytes()).unwrap()[&dog], [2.0; 3]);
        }
        assert_eq!(read("glove.txt", b"Dog 1 1 1\nDOG 3 3 3\n").unwrap()[&dog], [1.0; 3]);
    }

    #[test]
    fn files_that_are_none_are_refused_with_the_reason() {
        let whole = binary(&[("dog", [1.0; 3]), ("cat", [1.0; 3])], false);
        for (name, content, said) in [
            ("other.txt", b"dog 1 2\n".to_vec(), "its vectors have 2 numbers, and `word_size` is 3"),
            ("other.bin", b"2 5\n".to_vec(), "its vectors have 5 numbers"),
            ("words.txt", b"dog 1 2 three\n".to_vec(), "\"three\" is no finite number"),
            ("nan.txt", b"cat 1 2 3\ndog 1 nan 3\n".to_vec(), "line 2: \"nan\" is no finite number"),
            ("nan.bin", binary(&[("dog", [f32::NAN; 3])], false), "\"dog\" is not finite"),
            ("cut.bin", whole[..whole.len() - 2].to_vec(), "ends in word 2 of 2"),
            ("foreign.txt", b"hund 1 2 3\n".to_vec(), "none of the 3 words"),
            ("empty.txt", Vec::new(), "none of the 3 words"),
        ] {
            let error = read(name, &content).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(name), "{name}: {error}");
        }
        let missing = read_word_vectors(Path::new("/nowhere/vectors.txt"), &vocabulary(), 3).unwrap_err();
        assert!(missing.to_string().contains("read the word vectors"), "{missing}");
    }
}
