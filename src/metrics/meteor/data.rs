//! METEOR's dictionaries, packed into one file that is read without unpacking.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::files::{cache_folder, project_files, write_whole};
use crate::{Error, Result};

/// File name with the format version: other versions are generated again.
const FILE: &str = "meteor-1.5-english-3.safetensors";

/// Prefix of the checksum in the file's header, and the placeholder for it.
const CHECKSUM: &[u8] = b"\"crc32\":\"";
const NO_CHECKSUM: [u8; 8] = *b"00000000";

/// The dictionaries of METEOR 1.5 for English, in a memory-mapped file.
///
/// They come from the Python package pycocoevalcap: synonyms, irregular forms and function words from its `meteor-1.5.jar` (a zip
/// archive), paraphrases from `data/paraphrase-en.gz`.
#[derive(Debug)]
pub struct MeteorData {
    map: Mmap,
    texts: [Range; 2],
    synonyms: Lists,
    irregular: Lists,
    vocabulary: Words,
    phrases: Lists,
    paraphrases: Lists,
}

/// A byte range of the file.
pub(super) type Range = std::ops::Range<usize>;

/// Sorted words: byte range of the words, and of their ends.
#[derive(Debug, Clone)]
struct Words {
    ends: Range,
    bytes: Range,
}

/// Lists of integers: range of their ends, and of the integers.
#[derive(Debug, Clone)]
struct Lists {
    words: Option<Words>,
    ends: Range,
    numbers: Range,
}

impl MeteorData {
    /// Opens the dictionaries in the project's cache folder. The first time they are generated from the Python package in the `.venv` of
    /// the project around the current folder, or else of `CAPTIONLAB_CHECKOUT`. `None` if there is no such package.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Data`] when the package cannot be read or the cache folder cannot be written.
    pub fn find() -> Result<Option<Self>> {
        let cache = cache_folder().unwrap_or_else(std::env::temp_dir);
        let path = cache.join(FILE);
        match (path.exists().then(|| Self::map(&path)), installed_package()) {
            (Some(Ok(data)), _) => Ok(Some(data)),
            // A damaged file is generated again.
            (_, Some(package)) => Self::open(&package, cache).map(Some),
            (Some(Err(error)), None) => Err(error),
            (None, None) => Ok(None),
        }
    }

    /// Opens the dictionaries of a Python package (its folder `pycocoevalcap`), cached in the folder `cache`.
    ///
    /// # Errors
    /// As [`MeteorData::find`].
    pub fn open(package: impl AsRef<Path>, cache: impl AsRef<Path>) -> Result<Self> {
        let path = cache.as_ref().join(FILE);
        if path.exists()
            && let Ok(data) = Self::map(&path)
        {
            return Ok(data);
        }
        std::fs::create_dir_all(cache.as_ref()).map_err(|source| {
            Error::file(cache.as_ref(), "make the cache folder", source, "Name another one with CAPTIONLAB_CACHE.")
        })?;
        let sources = Sources::read(package.as_ref())?;
        write_whole(&path, "write METEOR's dictionaries", &sources.pack())?;
        Self::map(&path)
    }

    fn map(path: &Path) -> Result<Self> {
        let read =
            |source| Error::file(path, "read METEOR's dictionaries", source, "Remove the file: it is made anew.");
        let file = File::open(path).map_err(read)?;
        // SAFETY: the file is only replaced by renaming another one to its name, so the mapped file does not change.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let broken = |problem: String| Error::Data {
            path: path.to_path_buf(),
            line: None,
            problem,
            help: "Remove the file: it is made anew.".to_string(),
        };
        if checksum_place(&map).is_none_or(|place| map[place.clone()] != checksum(&map, place)) {
            return Err(broken("it is damaged: its checksum is another one".to_string()));
        }
        let tensors = SafeTensors::deserialize(&map).map_err(|error| broken(error.to_string()))?;
        let start = map.as_ptr() as usize;
        let part = |name: &str| -> Result<Range> {
            let tensor = tensors.tensor(name).map_err(|error| broken(error.to_string()))?;
            let from = tensor.data().as_ptr() as usize - start;
            Ok(from..from + tensor.data().len())
        };
        let words = |name: &str| -> Result<Words> {
            Ok(Words { ends: part(&format!("{name}.word_ends"))?, bytes: part(&format!("{name}.words"))? })
        };
        let lists = |name: &str, words: Option<Words>| -> Result<Lists> {
            Ok(Lists { words, ends: part(&format!("{name}.ends"))?, numbers: part(&format!("{name}.numbers"))? })
        };
        let data = Self {
            texts: [part("function_words")?, part("prefixes")?],
            synonyms: lists("synonyms", Some(words("synonyms")?))?,
            irregular: lists("irregular", Some(words("irregular")?))?,
            vocabulary: words("vocabulary")?,
            phrases: lists("phrases", None)?,
            paraphrases: lists("paraphrases", None)?,
            map: {
                drop(tensors);
                map
            },
        };
        Ok(data)
    }

    /// Words with little meaning of their own ("the", "of").
    pub(super) fn function_words(&self) -> Vec<String> {
        self.text(0).lines().map(str::to_string).collect()
    }

    /// Abbreviations that keep their full stop.
    pub(super) fn prefixes(&self) -> &str {
        self.text(1)
    }

    fn text(&self, number: usize) -> &str {
        std::str::from_utf8(&self.map[self.texts[number].clone()]).unwrap_or_default()
    }

    /// The synonym sets of a word, sorted; `None` for an unknown word.
    pub(super) fn synonym_sets(&self, word: &str) -> Option<impl Iterator<Item = u32> + '_> {
        let place = self.find_word(self.synonyms.words.as_ref()?, word)?;
        Some(self.numbers(&self.synonyms, place))
    }

    /// The base forms of an irregular form such as "men"; `None` for other words.
    pub(super) fn irregular_bases(&self, form: &str) -> Option<Vec<&str>> {
        let place = self.find_word(self.irregular.words.as_ref()?, form)?;
        let synonyms = self.synonyms.words.as_ref()?;
        let known = self.numbers(&self.irregular, place).filter(|&base| base != u32::MAX);
        Some(known.map(|base| self.word(synonyms, base as usize)).collect())
    }

    /// The id of a word in the paraphrase table.
    pub(super) fn paraphrase_word(&self, word: &str) -> Option<u32> {
        self.find_word(&self.vocabulary, word).map(|place| place as u32)
    }

    /// The phrases that begin with a word.
    pub(super) fn phrases_of(&self, word: u32) -> Range {
        self.narrow(0..self.phrases.ends.len() / 4, 0, word)
    }

    /// Narrows phrases with a common first word to those with a given second word.
    pub(super) fn phrases_of_two(&self, of_first: Range, second: u32) -> Range {
        self.narrow(of_first, 1, second)
    }

    /// The phrases that are prefixes of `words` (`None` for unknown words), given the phrases that begin with the first and with the first
    /// two words. Returns pairs of length and phrase id.
    pub(super) fn phrases_at(&self, words: &[Option<u32>], of_first: Range, of_two: Range) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut phrases = of_first;
        for (place, word) in words.iter().enumerate() {
            let Some(word) = word else { break };
            phrases = match place {
                0 => phrases,
                1 => of_two.clone(),
                _ => self.narrow(phrases, place, *word),
            };
            if phrases.is_empty() {
                break;
            }
            // Phrases are sorted, so the shortest is first.
            if self.bounds(&self.phrases, phrases.start).len() == place + 1 {
                found.push((place + 1, phrases.start));
            }
        }
        found
    }

    /// Narrows phrases with a common prefix to those with a given word at `place`.
    fn narrow(&self, phrases: Range, place: usize, word: u32) -> Range {
        let at = |phrase: usize| {
            let bounds = self.bounds(&self.phrases, phrase);
            (place < bounds.len()).then(|| self.number(&self.phrases.numbers, bounds.start + place))
        };
        let compare = |phrase: usize| at(phrase).map_or(std::cmp::Ordering::Less, |other| other.cmp(&word));
        let low = partition(phrases.start, phrases.end, |phrase| compare(phrase).is_lt());
        // There are few, so gallop with doubling steps.
        let (mut step, mut end) = (1, low);
        while end + step < phrases.end && compare(end + step).is_le() {
            (end, step) = (end + step, 2 * step);
        }
        low..partition(end, phrases.end.min(end + step), |phrase| compare(phrase).is_le())
    }

    /// The items of `others`, sorted by phrase id, that are paraphrases of a phrase: pairs of their index in `others` and in the phrase's
    /// list of paraphrases.
    pub(super) fn paraphrases_among<T>(
        &self,
        phrase: usize,
        others: &[T],
        number: impl Fn(&T) -> usize,
    ) -> Vec<(usize, u32)> {
        let bounds = self.bounds(&self.paraphrases, phrase);
        let (mut low, high) = (0, bounds.len() / 2);
        let at = |place: usize| self.number(&self.paraphrases.numbers, bounds.start + 2 * place) as usize;
        let mut found = Vec::new();
        for (place, other) in others.iter().enumerate() {
            let other = number(other);
            low = partition(low, high, |entry| at(entry) < other);
            if low == high {
                break;
            }
            let same = (low..high).take_while(|&entry| at(entry) == other);
            let rank = |entry: usize| self.number(&self.paraphrases.numbers, bounds.start + 2 * entry + 1);
            found.extend(same.map(|entry| (place, rank(entry))));
        }
        found
    }

    fn number(&self, part: &Range, place: usize) -> u32 {
        let bytes = &self.map[part.start + 4 * place..part.start + 4 * place + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn bounds(&self, lists: &Lists, place: usize) -> Range {
        let start = if place == 0 { 0 } else { self.number(&lists.ends, place - 1) as usize };
        start..self.number(&lists.ends, place) as usize
    }

    fn numbers<'a>(&'a self, lists: &'a Lists, place: usize) -> impl Iterator<Item = u32> + 'a {
        self.bounds(lists, place).map(|number| self.number(&lists.numbers, number))
    }

    fn word(&self, words: &Words, place: usize) -> &str {
        std::str::from_utf8(self.word_bytes(words, place)).unwrap_or_default()
    }

    fn word_bytes(&self, words: &Words, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.number(&words.ends, place - 1) as usize };
        &self.map[words.bytes.clone()][start..self.number(&words.ends, place) as usize]
    }

    fn find_word(&self, words: &Words, word: &str) -> Option<usize> {
        let count = words.ends.len() / 4;
        let place = partition(0, count, |place| self.word_bytes(words, place) < word.as_bytes());
        (place < count && self.word_bytes(words, place) == word.as_bytes()).then_some(place)
    }
}

/// The first integer of `low..high` for which `is_before` is false.
fn partition(mut low: usize, mut high: usize, is_before: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// The folder of the installed Python package.
fn installed_package() -> Option<PathBuf> {
    let libraries = project_files(".venv/lib").filter_map(|folder| std::fs::read_dir(folder).ok());
    let packages = libraries.flatten().flatten().map(|entry| entry.path().join("site-packages/pycocoevalcap"));
    packages.into_iter().find(|package| package.join("meteor/meteor-1.5.jar").exists())
}

/// A phrase and its paraphrase, as word ids.
type Pair = (Vec<u32>, Vec<u32>);

/// The parsed files of the package.
#[derive(Debug, Default)]
struct Sources {
    function_words: String,
    prefixes: String,
    /// Sorted words with their synonym sets.
    synonyms: Vec<(String, Vec<u32>)>,
    /// Irregular forms with their base forms.
    irregular: Vec<(String, Vec<String>)>,
    /// Paraphrase pairs in the order of the file.
    paraphrases: Vec<Pair>,
    /// Sorted words; their index is the id in phrases.
    vocabulary: Vec<String>,
}

impl Sources {
    fn read(package: &Path) -> Result<Self> {
        let jar = package.join("meteor/meteor-1.5.jar");
        let fault = |path: &Path, source| {
            let help = "Install the Python package pycocoevalcap anew: `cargo xtask setup`.";
            Error::file(path, "read METEOR's dictionaries", source, help)
        };
        let file = File::open(&jar).map_err(|source| fault(&jar, source))?;
        let zip_fault = |error: zip::result::ZipError| fault(&jar, std::io::Error::other(error.to_string()));
        let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(zip_fault)?;
        let mut entry = |name: &str| -> Result<String> {
            let mut bytes = Vec::new();
            archive.by_name(name).map_err(zip_fault)?.read_to_end(&mut bytes).map_err(|source| fault(&jar, source))?;
            String::from_utf8(bytes).map_err(|error| fault(&jar, std::io::Error::other(error)))
        };
        let mut synonyms: Vec<(String, Vec<u32>)> = Vec::new();
        let text = entry("synonym/english.synsets")?;
        let mut lines = text.lines();
        while let (Some(word), Some(sets)) = (lines.next(), lines.next()) {
            let sets: std::result::Result<Vec<u32>, _> = sets.split_ascii_whitespace().map(str::parse).collect();
            let mut sets =
                sets.map_err(|error| fault(&jar, std::io::Error::other(format!("synonyms of `{word}`: {error}"))))?;
            sets.sort_unstable();
            synonyms.push((word.to_string(), sets));
        }
        // For a repeated word the last line counts.
        synonyms.reverse();
        synonyms.sort_by(|left, right| left.0.cmp(&right.0));
        synonyms.dedup_by(|later, first| later.0 == first.0);

        let mut irregular: HashMap<String, Vec<String>> = HashMap::new();
        let text = entry("synonym/english.exceptions")?;
        let mut lines = text.lines();
        while let (Some(base), Some(forms)) = (lines.next(), lines.next()) {
            for form in forms.split_ascii_whitespace() {
                irregular.entry(form.to_string()).or_default().push(base.to_string());
            }
        }
        let mut irregular: Vec<(String, Vec<String>)> = irregular.into_iter().collect();
        irregular.sort();

        let (function_words, prefixes) = (entry("function/english.words")?, entry("nonbreaking/english.prefixes")?);
        let table = package.join("meteor/data/paraphrase-en.gz");
        let file = File::open(&table).map_err(|source| fault(&table, source))?;
        let (vocabulary, paraphrases) =
            read_paraphrases(BufReader::new(GzDecoder::new(file))).map_err(|source| fault(&table, source))?;
        Ok(Self { function_words, prefixes, synonyms, irregular, paraphrases, vocabulary })
    }

    /// Packs the file.
    fn pack(&self) -> Vec<u8> {
        let mut parts: Vec<(String, Vec<u8>, Dtype)> = Vec::new();
        let mut numbers = |name: String, numbers: &[u32]| {
            parts.push((name, numbers.iter().flat_map(|number| number.to_le_bytes()).collect(), Dtype::U32));
        };
        let ends = |lengths: &mut dyn Iterator<Item = usize>| -> Vec<u32> {
            let sums = lengths.scan(0u32, |sum, length| {
                *sum += length as u32;
                Some(*sum)
            });
            sums.collect()
        };
        let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
        let words: [(&str, Vec<&str>); 3] = [
            ("synonyms", self.synonyms.iter().map(|(word, _)| word.as_str()).collect()),
            ("irregular", self.irregular.iter().map(|(word, _)| word.as_str()).collect()),
            ("vocabulary", self.vocabulary.iter().map(String::as_str).collect()),
        ];
        for (name, words) in &words {
            numbers(format!("{name}.word_ends"), &ends(&mut words.iter().map(|word| word.len())));
            texts.push((format!("{name}.words"), words.concat().into_bytes()));
        }
        let base = |word: &String| {
            let place = self.synonyms.binary_search_by(|(other, _)| other.as_str().cmp(word));
            place.map_or(u32::MAX, |place| place as u32)
        };
        let irregular: Vec<Vec<u32>> =
            self.irregular.iter().map(|(_, bases)| bases.iter().map(base).collect()).collect();
        let synonyms: Vec<Vec<u32>> = self.synonyms.iter().map(|(_, sets)| sets.clone()).collect();
        let (phrases, paraphrases) = self.phrases();
        for (name, lists) in
            [("synonyms", &synonyms), ("irregular", &irregular), ("phrases", &phrases), ("paraphrases", &paraphrases)]
        {
            numbers(format!("{name}.ends"), &ends(&mut lists.iter().map(Vec::len)));
            numbers(format!("{name}.numbers"), &lists.concat());
        }
        texts.push(("function_words".into(), self.function_words.clone().into_bytes()));
        texts.push(("prefixes".into(), self.prefixes.clone().into_bytes()));
        parts.extend(texts.into_iter().map(|(name, bytes)| (name, bytes, Dtype::U8)));
        let views = parts.iter().map(|(name, bytes, kind)| {
            let size = if *kind == Dtype::U32 { bytes.len() / 4 } else { bytes.len() };
            (name.as_str(), TensorView::new(*kind, vec![size], bytes).expect("the size is that of the bytes"))
        });
        let metadata = HashMap::from([("crc32".to_string(), String::from_utf8_lossy(&NO_CHECKSUM).into_owned())]);
        let mut bytes = safetensors::serialize(views, &Some(metadata)).expect("the names are distinct");
        if let Some(place) = checksum_place(&bytes) {
            let checksum = checksum(&bytes, place.clone());
            bytes[place].copy_from_slice(&checksum);
        }
        bytes
    }

    /// All phrases, sorted, and for each the list of its paraphrases with their index in the table, as sorted pairs.
    fn phrases(&self) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
        let sides = self.paraphrases.iter().flat_map(|(phrase, paraphrase)| [phrase, paraphrase]);
        let mut phrases: Vec<Vec<u32>> = sides.cloned().collect();
        phrases.sort_unstable();
        phrases.dedup();
        let number = |phrase: &Vec<u32>| phrases.binary_search(phrase).unwrap_or_default();
        let mut pairs: Vec<(u32, u32, u32)> = self
            .paraphrases
            .iter()
            .enumerate()
            .map(|(rank, (phrase, paraphrase))| (number(phrase) as u32, number(paraphrase) as u32, rank as u32))
            .collect();
        pairs.sort_unstable();
        let mut lists = vec![Vec::new(); phrases.len()];
        for (phrase, paraphrase, rank) in pairs {
            lists[phrase as usize].extend([paraphrase, rank]);
        }
        (phrases, lists)
    }
}

/// The position of the checksum in the file's header.
fn checksum_place(bytes: &[u8]) -> Option<Range> {
    let length = u64::from_le_bytes(*bytes.first_chunk()?);
    let header = &bytes[8..usize::try_from(length).ok()?.checked_add(8).filter(|&end| end <= bytes.len())?];
    let start = 8 + header.windows(CHECKSUM.len()).position(|window| window == CHECKSUM)? + CHECKSUM.len();
    (start + NO_CHECKSUM.len() <= bytes.len()).then_some(start..start + NO_CHECKSUM.len())
}

/// The checksum, in hexadecimal, of a complete file whose checksum is the placeholder.
fn checksum(bytes: &[u8], place: Range) -> [u8; 8] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..place.start]);
    hasher.update(&NO_CHECKSUM);
    hasher.update(&bytes[place.end..]);
    let sum = hasher.finalize();
    std::array::from_fn(|place| b"0123456789abcdef"[(sum >> (28 - 4 * place) & 0xF) as usize])
}

/// Reads a paraphrase table: three lines per pair, of which the first, a probability, is ignored.
fn read_paraphrases(mut table: impl BufRead) -> std::io::Result<(Vec<String>, Vec<Pair>)> {
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut pairs = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if table.read_line(&mut line)? == 0 {
            break;
        }
        let mut phrase = || -> std::io::Result<Vec<u32>> {
            line.clear();
            table.read_line(&mut line)?;
            let words = line.split_ascii_whitespace().map(|word| match numbers.get(word) {
                Some(&number) => number,
                None => {
                    let number = numbers.len() as u32;
                    numbers.insert(word.to_string(), number);
                    number
                }
            });
            Ok(words.collect())
        };
        pairs.push((phrase()?, phrase()?));
    }
    // Ids follow the sorted order, for binary search.
    let mut vocabulary: Vec<(String, u32)> = numbers.into_iter().collect();
    vocabulary.sort_unstable();
    let mut places = vec![0; vocabulary.len()];
    for (place, (_, number)) in vocabulary.iter().enumerate() {
        places[*number as usize] = place as u32;
    }
    for (phrase, paraphrase) in &mut pairs {
        phrase.iter_mut().chain(paraphrase).for_each(|word| *word = places[*word as usize]);
    }
    Ok((vocabulary.into_iter().map(|(word, _)| word).collect(), pairs))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A small Python package.
    fn package(folder: &Path) -> PathBuf {
        let package = folder.join("pycocoevalcap");
        std::fs::create_dir_all(package.join("meteor/data")).unwrap();
        let mut jar = zip::ZipWriter::new(File::create(package.join("meteor/meteor-1.5.jar")).unwrap());
        for (name, text) in [
            ("synonym/english.synsets", "man\n1 2\nperson\n2\n"),
            ("synonym/english.exceptions", "man\nmen\n"),
            ("function/english.words", "the\nof\n"),
            ("nonbreaking/english.prefixes", "Mr\n"),
        ] {
            jar.start_file(name, zip::write::FileOptions::default()).unwrap();
            jar.write_all(text.as_bytes()).unwrap();
        }
        jar.finish().unwrap();
        let table = File::create(package.join("meteor/data/paraphrase-en.gz")).unwrap();
        let mut table = flate2::write::GzEncoder::new(table, flate2::Compression::fast());
        table.write_all(b"0.5\na man\nsomebody\n0.5\nmany people\na crowd\n").unwrap();
        table.finish().unwrap();
        package
    }

    #[test]
    fn a_file_of_which_a_byte_has_changed_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (package, path) = (package(folder.path()), folder.path().join(FILE));
        let data = MeteorData::open(&package, folder.path()).unwrap();
        assert_eq!(data.irregular_bases("men"), Some(vec!["man"]));
        assert_eq!(data.synonym_sets("person").unwrap().collect::<Vec<_>>(), [2]);
        drop(data);
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x11;
            std::fs::write(&path, &changed).unwrap();
            let message = MeteorData::map(&path).expect_err(&format!("byte {place}")).to_string();
            assert!(message.contains("Remove the file: it is made anew"), "{message}");
        }
        for length in [0, 7, 8, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(MeteorData::map(&path).is_err(), "{length} bytes");
        }
        let data = MeteorData::open(&package, folder.path()).unwrap();
        assert_eq!(data.irregular_bases("men"), Some(vec!["man"]));
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}
