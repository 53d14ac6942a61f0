//! Content hashes of images, found by size and modification time where possible, or else by reading the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::shard::{CONTENT_BYTES, Content, hex};
use crate::data::images::{decode_bytes, decode_source, read_picture_file};
use crate::data::scenes;
use crate::data::{Dataset, Example, ImageSource};
use crate::files::write_whole;
use crate::{Error, Result};

/// File that records, beside the caches of a data set, where it is and what its images were.
const DATASET_FILE: &str = "dataset.json";

/// A file modified less than this before it was read may change again within the same time stamp.
const SETTLED: Duration = Duration::from_secs(2);

/// Distinguishes the caches of data sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceOfData {
    name: String,
    /// Folder of the first image; `None` for Scenes, whose name suffices.
    place: Option<PathBuf>,
}

impl PlaceOfData {
    pub(crate) fn of(dataset: &Dataset) -> Self {
        let letters = |letter: char| if letter.is_alphanumeric() { letter } else { '-' };
        let mut name: String = dataset.name.chars().map(letters).collect();
        let place = match dataset.examples.first().map(|example| &example.image) {
            // Scenes of another seed are other images with the same names.
            Some(ImageSource::Scene { seed, .. }) => {
                name = format!("{name}-seed-{seed}");
                None
            }
            Some(ImageSource::File(path)) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                Some(folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf()))
            }
            None => None,
        };
        Self { name: name.to_lowercase(), place }
    }

    /// The folder of this data set's caches: the one of its name, or if a data set of that name in another place owns it, one with a
    /// hash in its name.
    pub(super) fn folder_in(&self, root: &Path) -> PathBuf {
        let folder = root.join(&self.name);
        let owner = Stored::read(&folder).and_then(|stored| stored.place);
        match (owner, &self.place) {
            // A data set that no longer exists, perhaps because it was moved here, owns nothing.
            (Some(owner), Some(place)) if owner != *place && owner.exists() => {
                let hash = hex(&Sha256::digest(place.as_os_str().as_encoded_bytes()));
                root.join(format!("{}-{}", self.name, &hash[..8]))
            }
            _ => folder,
        }
    }
}

/// The record of a data set beside its caches.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    place: Option<PathBuf>,
    /// By name: size, modification time in nanoseconds, SHA-256.
    pictures: BTreeMap<String, (u64, u64, String)>,
}

impl Stored {
    /// `None` where it is missing or unreadable; then all images are read again.
    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(DATASET_FILE)).ok()?).ok()
    }
}

/// Computes the present content hashes of images.
pub(super) struct Contents;

impl Contents {
    /// The content of each example, in order: SHA-256 of its file. Files with unchanged size and modification time are not read again,
    /// unless `verify` is set. `cache` is the folder of the features.
    pub(super) fn of(
        examples: &[&Example],
        data: &PlaceOfData,
        cache: &Path,
        verify: bool,
    ) -> Result<Vec<Result<Content>>> {
        let folder = cache.parent().unwrap_or(cache);
        let Some(place) = &data.place else {
            return Ok(examples.par_iter().map(|example| content(&example.image)).collect());
        };
        let known = Stored::read(folder).filter(|stored| stored.place.as_ref() == Some(place)).unwrap_or_default();
        let now = SystemTime::now();
        let look = |example: &&Example| -> (Result<Content>, Option<(u64, u64, String)>) {
            let stamp = match &example.image {
                ImageSource::File(path) => stamp(path, now),
                ImageSource::Scene { .. } => None,
            };
            let was = known.pictures.get(&example.name).filter(|_| !verify);
            if let (Some((size, time)), Some(was)) = (stamp, was)
                && (was.0, was.1) == (size, time)
                && let Some(content) = from_hex(&was.2)
            {
                return (Ok(content), Some(was.clone()));
            }
            let content = content(&example.image);
            let stamped = stamp.zip(content.as_ref().ok()).map(|((size, time), content)| (size, time, hex(content)));
            (content, stamped)
        };
        let looked: Vec<_> = examples.par_iter().map(look).collect();
        let mut stored = Stored { place: Some(place.clone()), pictures: known.pictures.clone() };
        let mut contents = Vec::with_capacity(looked.len());
        for (example, (content, stamped)) in examples.iter().zip(looked) {
            match stamped {
                Some(stamped) => drop(stored.pictures.insert(example.name.clone(), stamped)),
                None => drop(stored.pictures.remove(&example.name)),
            }
            contents.push(content);
        }
        if stored.pictures != known.pictures || known.place.is_none() {
            let text = serde_json::to_vec(&stored).unwrap_or_default();
            write_whole(&folder.join(DATASET_FILE), "write features", &text)?;
        }
        Ok(contents)
    }
}

/// Size and modification time of a file; `None` where it was modified so recently that it may still be written.
fn stamp(path: &Path, now: SystemTime) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = metadata.modified().ok()?;
    let settled = now.duration_since(changed).is_ok_and(|age| age > SETTLED);
    let time = changed.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    settled.then_some((metadata.len(), u64::try_from(time).ok()?))
}

fn from_hex(text: &str) -> Option<Content> {
    let mut content = [0; CONTENT_BYTES];
    if text.len() != 2 * CONTENT_BYTES || !text.is_ascii() {
        return None;
    }
    for (place, byte) in content.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(content)
}

/// Hashes an image by reading it.
pub(super) fn content(source: &ImageSource) -> Result<Content> {
    Ok(Sha256::digest(bytes_of(source)?).into())
}

fn bytes_of(source: &ImageSource) -> Result<Vec<u8>> {
    match source {
        ImageSource::File(path) => read_picture_file(path),
        ImageSource::Scene { seed, index } => Ok(format!("scene {} {seed} {index}", scenes::VERSION).into_bytes()),
    }
}

/// Decodes an image and checks that its content has not changed.
pub(super) fn decode_unchanged(source: &ImageSource, content: &Content) -> Result<RgbImage> {
    let ImageSource::File(path) = source else { return decode_source(source) };
    let bytes = bytes_of(source)?;
    if <Content>::from(Sha256::digest(&bytes)) != *content {
        return Err(Error::Image {
            path: path.clone(),
            problem: "the file has changed while features were being computed".to_string(),
            help: "Run this again with --verify.".to_string(),
        });
    }
    decode_bytes(&bytes, path)
}
