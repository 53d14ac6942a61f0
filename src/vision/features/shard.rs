//! The files of a cache: features of some images, an index, and a checksum of every part.
//!
//! A shard is a `safetensors` file, so Python reads it too: `safetensors.torch.load_file(path)["features"]`. Its tensors, in order:
//!
//! | tensor | kind, shape | |
//! |---|---|---|
//! | `index.rows` | I64 `[pictures]` | number of regions of each image |
//! | `labels` | I64 `[rows]` | class indices; absent where unknown |
//! | `boxes` | F32 `[rows, 4]` | left, top, right, bottom, in pixels of the image |
//! | `scores` | F32 `[rows]` | detection scores; absent where unknown |
//! | `features` | F16 or F32 `[rows, width]` | |
//! | `index.checksums` | U8 `[pictures, 4]` | CRC-32 of each image's boxes, labels, scores and features, little-endian |
//! | `index.contents` | U8 `[pictures, 32]` | SHA-256 of each image |
//! | `index.names` | U8 `[bytes]` | UTF-8, one name per line |
//! | `index.seal` | U8 `[8]` | CRC-32 of the header, then of the index |
//!
//! The seal is at the end of the file in every version of the format, so damage is distinguished from another version.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::files::write_whole_with;
use crate::nn::weights::{FileHeader, parse_header};
use crate::{Error, Result};

/// Version of the format.
pub(super) const FORMAT: u32 = 1;

/// Metadata key of a shard's head.
const HEAD: &str = "feature_cache";

/// Length of a SHA-256 in bytes.
pub(super) const CONTENT_BYTES: usize = 32;

/// Length of the seal in bytes.
const SEAL_BYTES: usize = 8;

/// Length of a CRC-32 in bytes.
const CHECKSUM_BYTES: usize = 4;

/// SHA-256 of an image: of the bytes of its file, or of the scene's identity.
pub(super) type Content = [u8; CONTENT_BYTES];

/// Dtype of cached features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageDtype {
    /// `float16`; values up to 65,504.
    #[default]
    Half,
    /// `float32`.
    Single,
}

impl StorageDtype {
    /// Bytes per value.
    pub fn bytes(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Single => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Half => "F16",
            Self::Single => "F32",
        }
    }
}

/// The common head of a cache's shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardHead {
    /// Version of the format; others are not read.
    format: u32,
    /// SHA-256 of everything that determines the features except the images, in hexadecimal.
    pub identity: String,
    /// Description of the encoder.
    pub encoder: Value,
    /// The feature dimension.
    pub width: usize,
    /// The dtype of the features.
    pub precision: StorageDtype,
}

impl ShardHead {
    /// A head of the present format version.
    pub fn new(identity: impl Into<String>, encoder: Value, width: usize, precision: StorageDtype) -> Self {
        Self { format: FORMAT, identity: identity.into(), encoder, width, precision }
    }
}

/// The features of one image in a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardEntry {
    /// Name of the image in its data set.
    pub name: String,
    /// SHA-256 of the image.
    pub content: [u8; 32],
    /// Left, top, right, bottom of each region, in pixels of the image.
    pub boxes: Vec<[f32; 4]>,
    /// Class indices; empty where unknown.
    pub labels: Vec<i64>,
    /// Detection scores; empty where unknown.
    pub scores: Vec<f32>,
    /// The features of all regions, row by row, little-endian, in the dtype of the head.
    pub features: Vec<u8>,
}

impl ShardEntry {
    fn checksum(&self) -> u32 {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&le_bytes(self.boxes.as_flattened(), f32::to_le_bytes));
        checksum.update(&le_bytes(&self.labels, i64::to_le_bytes));
        checksum.update(&le_bytes(&self.scores, f32::to_le_bytes));
        checksum.update(&self.features);
        checksum.finalize()
    }
}

/// Little-endian bytes of values.
fn le_bytes<T: Copy, const N: usize>(numbers: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    numbers.iter().flat_map(|&number| bytes(number)).collect()
}

/// The file name of a shard, the same for the same images on every machine.
pub(super) fn shard_name<'a>(pictures: impl Iterator<Item = (&'a str, &'a Content)>) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for (name, content) in pictures {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(content);
    }
    format!("shard-{}.safetensors", &hex(&hash.finalize())[..16])
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a shard atomically into `folder` and returns its path. Shards of the same images have the same name.
///
/// # Errors
/// [`Error::Argument`] when the entries do not fit the head or each other, [`Error::File`] when the file cannot be written.
pub fn write_shard(folder: &Path, head: &ShardHead, entries: &[ShardEntry]) -> Result<PathBuf> {
    let path = folder.join(shard_name(entries.iter().map(|entry| (entry.name.as_str(), &entry.content))));
    write_shard_at(&path, head, entries)?;
    Ok(path)
}

/// As [`write_shard`], to a given path.
pub(super) fn write_shard_at(path: &Path, head: &ShardHead, entries: &[ShardEntry]) -> Result<()> {
    let row = head.width * head.precision.bytes();
    let (labelled, scored) =
        entries.first().map_or((false, false), |entry| (!entry.labels.is_empty(), !entry.scores.is_empty()));
    if entries.is_empty() {
        return Err(Error::argument("a shard of no pictures", "Give at least one."));
    }
    for entry in entries {
        let rows = entry.boxes.len();
        let fits = |known: bool, length: usize| length == if known { rows } else { 0 };
        if rows == 0
            || entry.features.len() != rows * row
            || !fits(labelled, entry.labels.len())
            || !fits(scored, entry.scores.len())
            || entry.name.contains('\n')
        {
            return Err(Error::argument(
                format!(
                    "{:?} has {rows} boxes, {} labels, {} scores and {} bytes of features of {row} a region",
                    entry.name,
                    entry.labels.len(),
                    entry.scores.len(),
                    entry.features.len()
                ),
                "Give each picture at least one region, and all pictures of a shard the same kinds of values; a name is one line.",
            ));
        }
    }
    let rows: Vec<i64> = entries.iter().map(|entry| entry.boxes.len() as i64).collect();
    let all = rows.iter().sum::<i64>() as usize;
    let names = entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join("\n");
    let contents: Vec<u8> = entries.iter().flat_map(|entry| entry.content).collect();
    let rows = le_bytes(&rows, i64::to_le_bytes);
    let labels: Vec<u8> = entries.iter().flat_map(|entry| le_bytes(&entry.labels, i64::to_le_bytes)).collect();
    let boxes: Vec<u8> =
        entries.iter().flat_map(|entry| le_bytes(entry.boxes.as_flattened(), f32::to_le_bytes)).collect();
    let scores: Vec<u8> = entries.iter().flat_map(|entry| le_bytes(&entry.scores, f32::to_le_bytes)).collect();

    let mut tensors = serde_json::Map::new();
    let mut end = 0;
    let mut add = |name: &str, kind: &str, shape: &[usize], bytes: usize| {
        let place = json!({ "dtype": kind, "shape": shape, "data_offsets": [end, end + bytes] });
        tensors.insert(name.to_string(), place);
        end += bytes;
    };
    add("index.rows", "I64", &[entries.len()], rows.len());
    if labelled {
        add("labels", "I64", &[all], labels.len());
    }
    add("boxes", "F32", &[all, 4], boxes.len());
    if scored {
        add("scores", "F32", &[all], scores.len());
    }
    add("features", head.precision.name(), &[all, head.width], all * row);
    add("index.checksums", "U8", &[entries.len(), CHECKSUM_BYTES], CHECKSUM_BYTES * entries.len());
    add("index.contents", "U8", &[entries.len(), CONTENT_BYTES], contents.len());
    add("index.names", "U8", &[names.len()], names.len());
    add("index.seal", "U8", &[SEAL_BYTES], SEAL_BYTES);
    let own = json!({ HEAD: head });
    tensors.insert("__metadata__".to_string(), json!({ "captionlab": own.to_string() }));
    let mut header = Value::Object(tensors).to_string().into_bytes();
    // Aligns the data.
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    write_whole_with(path, "write features", |file| {
        // Checksums are computed while the features are written, which takes most of the time.
        let (written, checksums) = rayon::join(
            || {
                [&length, &header[..], &rows, &labels, &boxes, &scores]
                    .iter()
                    .try_for_each(|part| file.write_all(part))?;
                entries.iter().try_for_each(|entry| file.write_all(&entry.features))
            },
            || entries.par_iter().flat_map_iter(|entry| entry.checksum().to_le_bytes()).collect::<Vec<u8>>(),
        );
        written?;
        let seal = seal(&[&length, &header], &[&rows, &checksums, &contents, names.as_bytes()]);
        [&checksums[..], &contents, names.as_bytes(), &seal].iter().try_for_each(|part| file.write_all(part))
    })
}

fn seal(header: &[&[u8]], index: &[&[u8]]) -> [u8; SEAL_BYTES] {
    let checksum = |parts: &[&[u8]]| {
        let mut checksum = crc32fast::Hasher::new();
        parts.iter().for_each(|part| checksum.update(part));
        checksum.finalize().to_le_bytes()
    };
    let mut seal = [0; SEAL_BYTES];
    seal[..4].copy_from_slice(&checksum(header));
    seal[4..].copy_from_slice(&checksum(index));
    seal
}

/// Why a file is not accepted as a shard.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It has changed since it was written, or never was a shard.
    Damaged(String),
    /// It is intact, but not readable here.
    Other(Error),
}

impl Refusal {
    /// The error for the reader of a cache.
    pub(super) fn error(self, path: &Path) -> Error {
        match self {
            Self::Damaged(problem) => damaged(path, problem),
            Self::Other(error) => error,
        }
    }
}

/// The error of a damaged shard.
pub(super) fn damaged(path: &Path, problem: impl Into<String>) -> Error {
    Error::Data {
        path: path.into(),
        line: None,
        problem: problem.into(),
        help: "Run `captionlab extract` again, as this cache was made: it computes what this shard held again, and nothing else."
            .to_string(),
    }
}

/// An open shard: its index is in memory, the rest is read on demand.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) head: ShardHead,
    pub(super) names: Vec<String>,
    map: Mmap,
    /// First row of each image, and the end of the last.
    starts: Vec<usize>,
    /// Byte ranges of the tensors.
    places: Places,
    /// Whether each image's checksum has been verified.
    checked: Vec<AtomicBool>,
}

#[derive(Debug)]
struct Places {
    checksums: Range<usize>,
    labels: Option<Range<usize>>,
    boxes: Range<usize>,
    scores: Option<Range<usize>>,
    features: Range<usize>,
    contents: Range<usize>,
}

/// The bytes of one image in the file.
pub(super) struct EntryBytes<'a> {
    pub(super) labels: &'a [u8],
    pub(super) boxes: &'a [u8],
    pub(super) scores: &'a [u8],
    pub(super) features: &'a [u8],
}

impl Shard {
    /// Opens a shard and verifies header and index; images are verified when first read.
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let unreadable = |source| {
            Refusal::Other(Error::file(path, "read features", source, "Check that the file is there and may be read."))
        };
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: shards are written beside and renamed, and removed by renaming, so nobody writes into a mapped file. Doing so by
        // hand may end this process, or the checksums detect it.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let (header, sealed) = read_header(&map).map_err(Refusal::Damaged)?;
        if !sealed {
            return Err(Refusal::Damaged(
                "its header is damaged, or it never was features: the index is missing".to_string(),
            ));
        }
        let head = header.metadata.get(HEAD).cloned().unwrap_or_default();
        let format = head.get("format").and_then(Value::as_u64);
        if format != Some(u64::from(FORMAT)) {
            return Err(Refusal::Other(Error::data(
                path,
                None,
                format!(
                    "these features are of format {}, and this captionlab reads format {FORMAT}",
                    format.map_or("unknown".to_string(), |format| format.to_string())
                ),
                "Name another folder with --cache, or delete this file and compute the features again.",
            )));
        }
        let head: ShardHead =
            serde_json::from_value(head).map_err(|error| Refusal::Damaged(format!("its header: {error}")))?;
        Self::indexed(path, map, &header, head).map_err(Refusal::Damaged)
    }

    fn indexed(path: &Path, map: Mmap, header: &FileHeader, head: ShardHead) -> Result<Self, String> {
        let optional = |name: &str| header.place(name).map(|(place, shape)| (place, shape.to_vec()));
        let tensor = |name: &str| optional(name).ok_or_else(|| format!("its {name} is missing"));
        let (rows, _) = tensor("index.rows")?;
        let (checksums, _) = tensor("index.checksums")?;
        let (contents, _) = tensor("index.contents")?;
        let (names, _) = tensor("index.names")?;
        let (seal_place, _) = tensor("index.seal")?;
        let parts = [&map[rows.clone()], &map[checksums.clone()], &map[contents.clone()], &map[names.clone()]];
        if seal_place.len() != SEAL_BYTES || seal(&[], &parts)[4..] != map[seal_place][4..] {
            return Err("its index is damaged".to_string());
        }
        let (boxes, _) = tensor("boxes")?;
        let (features, shape) = tensor("features")?;
        let labels = optional("labels").map(|(place, _)| place);
        let scores = optional("scores").map(|(place, _)| place);
        let names: Vec<String> = String::from_utf8_lossy(&map[names]).split('\n').map(str::to_string).collect();
        let mut starts = vec![0usize];
        for count in map[rows].chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap_or_default())) {
            let start = usize::try_from(count).ok().and_then(|count| starts[starts.len() - 1].checked_add(count));
            starts.push(start.ok_or_else(|| format!("a picture has {count} rows"))?);
        }
        let (pictures, all) = (starts.len() - 1, starts[starts.len() - 1]);
        if all > map.len() {
            return Err(format!("it is too short for {all} rows"));
        }
        let fits = names.len() == pictures
            && checksums.len() == CHECKSUM_BYTES * pictures
            && contents.len() == CONTENT_BYTES * pictures
            && shape == [all, head.width]
            && features.len() == all * head.width * head.precision.bytes()
            && boxes.len() == 16 * all
            && labels.as_ref().is_none_or(|place| place.len() == 8 * all)
            && scores.as_ref().is_none_or(|place| place.len() == 4 * all);
        if !fits {
            return Err("its parts do not fit each other".to_string());
        }
        let checked = (0..pictures).map(|_| AtomicBool::new(false)).collect();
        let places = Places { checksums, labels, boxes, scores, features, contents };
        Ok(Self { path: path.to_path_buf(), head, names, map, starts, places, checked })
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Number of regions of an image.
    pub(super) fn rows(&self, entry: usize) -> usize {
        self.starts[entry + 1] - self.starts[entry]
    }

    /// Content hash of the image.
    pub(super) fn content(&self, entry: usize) -> Content {
        let all = &self.map[self.places.contents.clone()];
        let mut content = [0; CONTENT_BYTES];
        content.copy_from_slice(&all[CONTENT_BYTES * entry..CONTENT_BYTES * (entry + 1)]);
        content
    }

    /// The bytes of an image, whose checksum is verified on the first read.
    ///
    /// # Errors
    /// A description of the problem, when they are damaged.
    pub(super) fn read(&self, entry: usize) -> Result<EntryBytes<'_>, String> {
        let rows = self.starts[entry]..self.starts[entry + 1];
        let part = |place: &Range<usize>, width: usize| {
            &self.map[place.start + width * rows.start..place.start + width * rows.end]
        };
        let optional = |place: &Option<Range<usize>>, width| place.as_ref().map_or(&[][..], |place| part(place, width));
        let bytes = EntryBytes {
            labels: optional(&self.places.labels, 8),
            boxes: part(&self.places.boxes, 16),
            scores: optional(&self.places.scores, 4),
            features: part(&self.places.features, self.head.width * self.head.precision.bytes()),
        };
        if !self.checked[entry].load(Ordering::Relaxed) {
            let mut checksum = crc32fast::Hasher::new();
            [bytes.boxes, bytes.labels, bytes.scores, bytes.features].iter().for_each(|part| checksum.update(part));
            let place = self.places.checksums.start + CHECKSUM_BYTES * entry;
            if checksum.finalize().to_le_bytes() != self.map[place..place + CHECKSUM_BYTES] {
                return Err(format!(
                    "the features of {} are damaged: they do not have their checksum",
                    self.names[entry]
                ));
            }
            self.checked[entry].store(true, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// An image as it was given to [`write_shard`].
    pub(super) fn entry(&self, entry: usize) -> Result<ShardEntry, String> {
        let bytes = self.read(entry)?;
        let (boxes, _) = bytes.boxes.as_chunks::<16>();
        Ok(ShardEntry {
            name: self.names[entry].clone(),
            content: self.content(entry),
            boxes: boxes.iter().map(|corners| floats(corners).try_into().unwrap_or_default()).collect(),
            labels: bytes.labels.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            scores: floats(bytes.scores),
            features: bytes.features.to_vec(),
        })
    }

    /// Prefetches an image that will be read soon, as a whole instead of page by page.
    pub(super) fn expect(&self, entry: usize) {
        #[cfg(unix)]
        if !self.checked[entry].load(Ordering::Relaxed) {
            let row = self.head.width * self.head.precision.bytes();
            let start = self.places.features.start + row * self.starts[entry];
            // Prefetching is optional.
            self.map.advise_range(memmap2::Advice::WillNeed, start, row * self.rows(entry)).ok();
        }
    }

    /// Releases the memory of what was read; it is read again on demand.
    pub(super) fn forget(&self) {
        #[cfg(unix)]
        // SAFETY: the map is a read-only map of a file, so released pages are read from the file again.
        unsafe {
            self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed).ok();
        }
    }
}

/// Parses little-endian values.
pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Reads the header of a file, and whether its seal matches.
fn read_header(map: &[u8]) -> Result<(FileHeader, bool), String> {
    let length = map.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let header = length.and_then(|length| map.get(8..usize::try_from(length).ok()?.checked_add(8)?));
    let Some(header) = header else {
        return Err(format!("its {} bytes are no whole safetensors file", map.len()));
    };
    let sealed = map.len() >= header.len() + 8 + SEAL_BYTES
        && seal(&[&map[..8], header], &[])[..4] == map[map.len() - SEAL_BYTES..map.len() - SEAL_BYTES / 2];
    let parsed = parse_header(header, (map.len() - 8 - header.len()) as u64)?;
    Ok((parsed, sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, rows: usize) -> ShardEntry {
        ShardEntry {
            name: format!("picture {number}.jpg"),
            content: [number; 32],
            boxes: (0..rows).map(|row| [0.0, row as f32, 2.5, 9.0]).collect(),
            labels: (0..rows as i64).collect(),
            scores: vec![0.25; rows],
            features: (0..rows * 3 * 4).map(|place| place as u8 ^ number).collect(),
        }
    }

    fn head() -> ShardHead {
        ShardHead::new("00ff", json!({ "name": "test" }), 3, StorageDtype::Single)
    }

    fn problem(path: &Path) -> String {
        match Shard::open(path) {
            Err(refusal) => refusal.error(path).to_string(),
            Ok(shard) => (0..shard.len()).find_map(|entry| shard.read(entry).err()).unwrap_or_default(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let entries = [entry(1, 1), entry(2, 4), entry(3, 2)];
        let path = write_shard(folder.path(), &head(), &entries).unwrap();
        let shard = Shard::open(&path).unwrap();
        assert_eq!(shard.head, head());
        for (number, entry) in entries.iter().enumerate() {
            assert_eq!(shard.entry(number).unwrap(), *entry);
            assert_eq!(shard.rows(number), entry.boxes.len());
        }
        assert_eq!(
            write_shard(folder.path(), &head(), &entries).unwrap(),
            path,
            "the same pictures have the same name"
        );
        // Labels and scores may be unknown.
        let unknown = ShardEntry { labels: Vec::new(), scores: Vec::new(), ..entry(4, 2) };
        let path = write_shard(folder.path(), &head(), std::slice::from_ref(&unknown)).unwrap();
        assert_eq!(Shard::open(&path).unwrap().entry(0).unwrap(), unknown);
    }

    #[test]
    fn a_change_of_any_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_shard(folder.path(), &head(), &[entry(1, 1), entry(2, 2)]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            for change in [0x01, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                std::fs::write(&path, changed).unwrap();
                assert!(!problem(&path).is_empty(), "byte {place} of {} was changed by {change:#x}", bytes.len());
            }
        }
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(!problem(&path).is_empty(), "{length} of {} bytes were taken for all", bytes.len());
        }
    }

    #[test]
    fn a_damaged_picture_is_named_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_shard(folder.path(), &head(), &[entry(1, 1), entry(2, 2)]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let features = entry(2, 2).features;
        let place = bytes.windows(features.len()).position(|window| window == features).unwrap();
        bytes[place + 5] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let shard = Shard::open(&path).unwrap();
        assert_eq!(shard.entry(0).unwrap(), entry(1, 1));
        assert!(shard.read(1).is_err_and(|problem| problem.contains("picture 2.jpg")));
    }

    #[test]
    fn another_version_and_other_files_are_called_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let later = ShardHead { format: 2, ..head() };
        let path = write_shard(folder.path(), &later, &[entry(1, 1)]).unwrap();
        assert!(problem(&path).contains("format 2, and this captionlab reads format 1"), "{}", problem(&path));
        let weights = folder.path().join("model.safetensors");
        let tensor = tch::Tensor::from_slice(&[1f32]);
        crate::nn::write_tensors(&weights, &[("weight".to_string(), tensor)], &Value::Null).unwrap();
        assert!(problem(&weights).contains("the index is missing"), "{}", problem(&weights));
    }

    #[test]
    fn entries_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            ShardEntry { boxes: Vec::new(), ..entry(1, 1) },
            ShardEntry { features: vec![0; 11], ..entry(1, 1) },
            ShardEntry { labels: Vec::new(), ..entry(1, 2) },
            ShardEntry { name: "two\nlines".to_string(), ..entry(1, 1) },
        ];
        for wrong in cases {
            let message = write_shard(folder.path(), &head(), &[entry(9, 1), wrong]).unwrap_err().to_string();
            assert!(message.contains("a region"), "{message}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
