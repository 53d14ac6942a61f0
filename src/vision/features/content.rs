//! What pictures are, told from their files: by size and time where these are known, or else by reading them.

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

/// The name of the file that says which data set the caches beside it are of, and what its pictures were.
const DATASET_FILE: &str = "dataset.json";

/// A file that was changed so shortly before it was read may change again with the same time.
const SETTLED: Duration = Duration::from_secs(2);

/// What tells the caches of one data set from those of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceOfData {
    name: String,
    /// The folder of the first picture; `None` for Scenes, of which the name says all.
    place: Option<PathBuf>,
}

impl PlaceOfData {
    pub(crate) fn of(dataset: &Dataset) -> Self {
        let letters = |letter: char| if letter.is_alphanumeric() { letter } else { '-' };
        let mut name: String = dataset.name.chars().map(letters).collect();
        let place = match dataset.examples.first().map(|example| &example.image) {
            // Scenes of another seed are other pictures of the same names.
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

    /// The folder of the caches of this data set: the one of its name, or where that belongs to a data set of the same name in
    /// another place, one of its own.
    pub(super) fn folder_in(&self, root: &Path) -> PathBuf {
        let folder = root.join(&self.name);
        let owner = Stored::read(&folder).and_then(|stored| stored.place);
        match (owner, &self.place) {
            // A data set that is not there any more, perhaps since it was moved here, owns nothing.
            (Some(owner), Some(place)) if owner != *place && owner.exists() => {
                let hash = hex(&Sha256::digest(place.as_os_str().as_encoded_bytes()));
                root.join(format!("{}-{}", self.name, &hash[..8]))
            }
            _ => folder,
        }
    }
}

/// What is stored about a data set beside its caches.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    place: Option<PathBuf>,
    /// By name: size, time of the last change in nanoseconds, SHA-256.
    pictures: BTreeMap<String, (u64, u64, String)>,
}

impl Stored {
    /// `None` where there is none that can be read: then everything is read anew.
    fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(DATASET_FILE)).ok()?).ok()
    }
}

/// What pictures are now.
pub(super) struct Contents;

impl Contents {
    /// The contents of examples, in their order: SHA-256 of each file. A file of the size and time that it had when it was last read
    /// is not read again, unless `verify` asks for it. `cache` is the folder of the features.
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

/// The size of a file and the time of its last change; `None` where that time says nothing, since the file may still be written.
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

/// What a picture is, by reading it.
pub(super) fn content(source: &ImageSource) -> Result<Content> {
    Ok(Sha256::digest(bytes_of(source)?).into())
}

fn bytes_of(source: &ImageSource) -> Result<Vec<u8>> {
    match source {
        ImageSource::File(path) => read_picture_file(path),
        ImageSource::Scene { seed, index } => Ok(format!("scene {} {seed} {index}", scenes::VERSION).into_bytes()),
    }
}

/// Decodes a picture that must still be what it was.
pub(super) fn decode_unchanged(source: &ImageSource, content: &Content) -> Result<RgbImage> {
    let ImageSource::File(path) = source else { return decode_source(source) };
    let bytes = bytes_of(source)?;
    if <Content>::from(Sha256::digest(&bytes)) != *content {
        return Err(Error::Image {
            path: path.clone(),
            problem: "the file was changed while the features were being computed".to_string(),
            help: "Run this again with --verify.".to_string(),
        });
    }
    decode_bytes(&bytes, path)
}
