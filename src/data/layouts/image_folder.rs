//! Locates the images of a data set on disk.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::collected::Record;
use super::recognise::Source;
use crate::data::dataset::{Tally, counted};
use crate::data::images::format_of;
use crate::data::names::normal_name;
use crate::data::{Example, ImageSource, Layout};
use crate::{Error, Result};

/// Number of folder levels to search: one more than for captions, because images are mostly in a folder of their own beside them.
const DEPTH: usize = 4;

/// The image file of a record.
enum Found {
    Image(PathBuf),
    /// Several different files have its name.
    Several(Vec<String>),
    /// A file in this unsupported format.
    Unread(String),
    Missing,
}

/// Finds the image of every record. Records without an image, with an unsupported one or with several are dropped as long as others
/// remain, because captions must never go with the wrong image.
pub(super) fn attach(records: Vec<Record>, source: &Source, notes: &mut Vec<String>) -> Result<Vec<Example>> {
    let on_disk = FilesOnDisk::below(&source.root, notes)?;
    let found: Vec<Found> = records.iter().map(|record| on_disk.find(record)).collect();
    if found.iter().all(|found| matches!(found, Found::Missing)) {
        let folder = match source.layout {
            Layout::Flickr30kTokens | Layout::HuggingFace => source.root.join("flickr30k-images"),
            _ => source.root.clone(),
        };
        let other = records.first().and_then(|record| {
            let other = on_disk.alike(record, &HashSet::new())?;
            Some(format!(" `{}` is not here, but {other} is.", record.name))
        });
        notes.push(format!(
            "None of the {} is here: only the captions can be used. Put the images into {}.{}",
            counted(records.len(), "image"),
            folder.display(),
            other.unwrap_or_default()
        ));
        let example = |record: Record| {
            let folder = record.folder.as_ref().map_or_else(|| folder.clone(), |below| folder.join(below));
            let image = folder.join(&record.name);
            example(record, image)
        };
        return Ok(records.into_iter().map(example).collect());
    }
    let image = |found: &Found| match found {
        Found::Image(image) => Some(image.clone()),
        _ => None,
    };
    let used: HashSet<PathBuf> = found.iter().filter_map(image).collect();
    note_uncaptioned(&on_disk, &found, &used, notes);
    let (mut missing, mut unread, mut several) = (LeftOut::default(), LeftOut::default(), LeftOut::default());
    let mut examples: Vec<Example> = Vec::with_capacity(records.len());
    let (mut taken, mut twice) = (HashMap::new(), Tally::default());
    for (record, found) in records.into_iter().zip(found) {
        match found {
            Found::Image(image) => match taken.get(&image).and_then(|&taken: &usize| examples.get_mut(taken)) {
                None => {
                    taken.insert(image.clone(), examples.len());
                    examples.push(example(record, image));
                }
                Some(same) if same.split == record.split => {
                    twice.add(|| format!("{} and {}", same.name, record.name));
                    same.captions.extend(record.captions);
                }
                Some(same) => {
                    let problem = format!("`{}` and `{}` are one picture, in two splits", same.name, record.name);
                    let file = source.files.first().unwrap_or(&source.root);
                    return Err(Error::data(file, None, problem, "Leave it in one of them."));
                }
            },
            Found::Several(files) => several.add(&record, || Some(files.join(" and "))),
            Found::Unread(format) => unread.add(&record, || Some(format)),
            Found::Missing => missing.add(&record, || Some(format!("there is {}", on_disk.alike(&record, &used)?))),
        }
    }
    if twice.count > 0 {
        notes.push(format!("{} with two names, taken together: {}.", counted(twice.count, "image"), twice.list()));
    }
    let first = notes.len();
    missing.note("that are not there", "", notes);
    unread.note("in a format that is not read", " Convert them to JPEG or PNG.", notes);
    several.note("whose name several files have", " Write their folders before their names.", notes);
    if examples.is_empty() {
        let problem = notes.split_off(first).join(" ");
        return Err(Error::data(&source.root, None, format!("no image can be used: {problem}"), "Mend the names."));
    }
    Ok(examples)
}

/// Images that are dropped for one reason, with their captions.
#[derive(Default)]
struct LeftOut {
    images: Tally,
    captions: usize,
}

impl LeftOut {
    fn add(&mut self, record: &Record, detail: impl FnOnce() -> Option<String>) {
        self.captions += record.captions.len();
        self.images.add(|| match detail() {
            Some(detail) => format!("{} ({detail})", record.name),
            None => record.name.clone(),
        });
    }

    fn note(self, which: &str, help: &str, notes: &mut Vec<String>) {
        if self.images.count > 0 {
            let (captions, images) = (counted(self.captions, "caption"), counted(self.images.count, "image"));
            notes.push(format!("{captions} of {images} {which}, left out: {}.{help}", self.images.list()));
        }
    }
}

fn example(record: Record, image: PathBuf) -> Example {
    let Record { name, captions, split, .. } = record;
    Example { name, image: ImageSource::File(image), captions, split, regions: Vec::new(), links: Vec::new() }
}

/// Notes images without captions in folders where other images have some; images elsewhere, such as a logo, are ignored.
fn note_uncaptioned(on_disk: &FilesOnDisk, found: &[Found], used: &HashSet<PathBuf>, notes: &mut Vec<String>) {
    let folders: HashSet<Option<&Path>> = used.iter().map(|image| image.parent()).collect();
    // Unusable images are noted elsewhere.
    let in_doubt: HashSet<&String> =
        found.iter().flat_map(|found| if let Found::Several(files) = found { files.as_slice() } else { &[] }).collect();
    let all = on_disk.by_name.values().flatten().filter(|place| !in_doubt.contains(&place.name));
    let mut uncaptioned: Vec<&PathBuf> = all
        .map(|place| &place.path)
        .filter(|path| folders.contains(&path.parent()) && !used.contains(*path) && is_image_name(&file_name(path)))
        .collect();
    uncaptioned.sort_unstable();
    let mut tally = Tally::default();
    for image in uncaptioned {
        tally.add(|| file_name(image));
    }
    if tally.count > 0 {
        let verb = if tally.count == 1 { "has" } else { "have" };
        notes.push(format!("{} {verb} no caption, left out: {}.", counted(tally.count, "image"), tally.list()));
    }
}

/// A file of the data set.
struct Place {
    /// Path relative to the data set's folder, by [`normal_name`].
    name: String,
    path: PathBuf,
}

/// All files below a folder, from one listing per folder: checking 31,783 files one by one is slow.
struct FilesOnDisk {
    root: PathBuf,
    /// By file name without folders; files of upper folders first.
    by_name: HashMap<String, Vec<Place>>,
}

impl FilesOnDisk {
    fn below(root: &Path, notes: &mut Vec<String>) -> Result<Self> {
        let mut by_name: HashMap<String, Vec<Place>> = HashMap::new();
        let mut folders = vec![root.to_path_buf()];
        let mut not_text = Tally::default();
        for depth in 0..=DEPTH {
            let mut below = Vec::new();
            for folder in &folders {
                match list(folder) {
                    Ok((files, mut subfolders)) => {
                        let prefix = folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().into_owned();
                        for file in files {
                            let path = folder.join(&file);
                            let Some(file) = file.to_str() else {
                                not_text.add(|| file.to_string_lossy().into_owned());
                                continue;
                            };
                            let name = normal_name(&format!("{prefix}/{file}")).into_owned();
                            by_name.entry(base(&name).to_owned()).or_default().push(Place { name, path });
                        }
                        below.append(&mut subfolders);
                    }
                    Err(source) if depth == 0 => {
                        return Err(Error::file(root, "list the folder", source, "Check that you may read it."));
                    }
                    Err(source) => {
                        notes.push(format!("The folder {} cannot be listed ({source}).", folder.display()));
                    }
                }
            }
            below.sort_unstable();
            folders = below;
        }
        if not_text.count > 0 {
            let (files, list) = (counted(not_text.count, "file"), not_text.list());
            notes.push(format!("{files} with names that are not UTF-8, which no caption can name: {list}."));
        }
        Ok(Self { root: root.to_path_buf(), by_name })
    }

    fn find(&self, record: &Record) -> Found {
        let within = |folder: &str| -> Vec<&Place> {
            let name = normal_name(&format!("{folder}/{}", record.name)).into_owned();
            let places = self.by_name.get(base(&name)).map(Vec::as_slice).unwrap_or_default();
            // A full path is unambiguous.
            if let Some(place) = places.iter().find(|place| place.name == name) {
                return vec![place];
            }
            let is_end = |place: &&Place| place.name.strip_suffix(&name).is_some_and(|rest| rest.ends_with('/'));
            places.iter().filter(is_end).collect()
        };
        let mut places = record.folder.as_deref().map(within).unwrap_or_default();
        if places.is_empty() {
            places = within("");
        }
        let Some((first, others)) = places.split_first() else {
            // Perhaps deeper than the listing.
            let path = self.root.join(record.folder.as_deref().unwrap_or_default()).join(&record.name);
            return if record.name.contains('/') && path.is_file() { readable(path) } else { Found::Missing };
        };
        if others.iter().any(|other| !are_copies(&first.path, &other.path)) {
            return Found::Several(places.iter().map(|place| place.name.clone()).collect());
        }
        readable(first.path.clone())
    }

    /// An unused file that the name of a missing image may mean: in another folder, with another extension or in capitals. Searches all
    /// names, so call it only for names that are displayed.
    fn alike(&self, record: &Record, used: &HashSet<PathBuf>) -> Option<&str> {
        let name = base(&record.name).to_lowercase();
        let stem = |name: &str| name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
        let is_alike = |place: &&Place| {
            let other = base(&place.name).to_lowercase();
            (stem(&other) == stem(&name) || stem(&other) == name) && !used.contains(&place.path)
        };
        let alike = self.by_name.values().flatten().filter(is_alike);
        alike.map(|place| place.name.as_str()).min_by_key(|other| (base(other) != base(&record.name), *other))
    }
}

/// Whether an image is supported, by its extension or else by its first bytes, which also decide on decoding.
fn readable(path: PathBuf) -> Found {
    let name = file_name(&path);
    if is_image_name(&name) {
        return Found::Image(path);
    }
    let mut beginning = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(16).read_to_end(&mut beginning));
    match (read, format_of(&beginning)) {
        (Ok(_), Some("JPEG" | "PNG")) => Found::Image(path),
        (Ok(_), Some(format)) => Found::Unread(format.to_owned()),
        (Ok(_), None) => Found::Unread("no picture".to_owned()),
        (Err(error), _) => Found::Unread(error.to_string()),
    }
}

/// Whether two files are equal in length, first and last bytes; different images differ there.
fn are_copies(one: &Path, other: &Path) -> bool {
    const PART: u64 = 1 << 14;
    let parts = |path: &Path| -> std::io::Result<(u64, Vec<u8>, Vec<u8>)> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let (mut beginning, mut end) = (Vec::new(), Vec::new());
        Read::by_ref(&mut file).take(PART).read_to_end(&mut beginning)?;
        file.seek(SeekFrom::Start(length.saturating_sub(PART)))?;
        file.take(PART).read_to_end(&mut end)?;
        Ok((length, beginning, end))
    };
    matches!((parts(one), parts(other)), (Ok(one), Ok(other)) if one == other)
}

/// A name without folders.
fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The names of files and paths of folders in a folder, without hidden ones.
pub(in crate::data) fn list(folder: &Path) -> std::io::Result<(Vec<std::ffi::OsString>, Vec<PathBuf>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Only links cost a system call. If an image's name is a link, it matters only whether it is a folder.
        let kind = entry.file_type()?;
        let is_folder =
            kind.is_dir() || (kind.is_symlink() && !is_image_name(&name.to_string_lossy()) && entry.path().is_dir());
        match is_folder {
            true => folders.push(entry.path()),
            false => files.push(name),
        }
    }
    Ok((files, folders))
}

/// Whether a file name has the extension of a supported image: JPEG or PNG.
pub(super) fn is_image_name(name: &str) -> bool {
    has_ending(name, &["jpg", "jpeg", "jpe", "jfif", "png"])
}

/// Whether a file name has the extension of an image in any format.
pub(super) fn is_picture_name(name: &str) -> bool {
    is_image_name(name) || has_ending(name, &["webp", "bmp", "gif", "tif", "tiff", "avif", "heic", "heif"])
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// Number of images directly in a folder.
pub(super) fn count_images(folder: &Path) -> usize {
    images(folder).len()
}

/// The images directly in a folder, by name.
pub(super) fn images(folder: &Path) -> Vec<PathBuf> {
    let (files, _) = list(folder).unwrap_or_default();
    let mut images: Vec<PathBuf> =
        files.iter().filter(|name| is_image_name(&name.to_string_lossy())).map(|name| folder.join(name)).collect();
    images.sort_unstable();
    images
}
