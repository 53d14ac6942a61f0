//! Where the images of a data set are on disk.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::collected::Record;
use super::recognise::Source;
use crate::data::dataset::{Tally, counted};
use crate::data::{Example, ImageSource, Layout};
use crate::{Error, Result};

/// How many levels of folders below the data set's own are looked through.
const DEPTH: usize = 2;

/// Finds the image of every record; leaves those out whose image is missing while others are there.
pub(super) fn attach(records: Vec<Record>, source: &Source, notes: &mut Vec<String>) -> Result<Vec<Example>> {
    let on_disk = ImagesOnDisk::below(&source.root, notes)?;
    let found: Vec<Option<PathBuf>> = records.iter().map(|record| on_disk.find(record)).collect();
    if found.iter().all(Option::is_none) {
        let folder = match source.layout {
            Layout::Flickr30kTokens | Layout::HuggingFace => source.root.join("flickr30k-images"),
            _ => source.root.clone(),
        };
        notes.push(format!(
            "None of the {} is here: only the captions can be used. Put the images into {}.",
            counted(records.len(), "image"),
            folder.display()
        ));
        let example = |record: Record| {
            let folder = record.folder.as_ref().map_or_else(|| folder.clone(), |below| folder.join(below));
            let image = folder.join(&record.name);
            example(record, image)
        };
        return Ok(records.into_iter().map(example).collect());
    }
    note_uncaptioned(&on_disk, &found, notes);
    let (mut missing, mut captions) = (Tally::default(), 0);
    let mut examples = Vec::with_capacity(records.len());
    for (record, image) in records.into_iter().zip(found) {
        match image {
            Some(image) => examples.push(example(record, image)),
            None => {
                captions += record.captions.len();
                missing.add(|| record.name);
            }
        }
    }
    if missing.count > 0 {
        let (captions, images) = (counted(captions, "caption"), counted(missing.count, "image"));
        notes.push(format!("{captions} of {images} that are not there, left out: {}.", missing.list()));
    }
    Ok(examples)
}

fn example(record: Record, image: PathBuf) -> Example {
    let Record { name, captions, split, .. } = record;
    Example { name, image: ImageSource::File(image), captions, split, regions: Vec::new(), links: Vec::new() }
}

/// Images that no caption names, in the folders where others are named: a logo elsewhere is none of the data set's.
fn note_uncaptioned(on_disk: &ImagesOnDisk, found: &[Option<PathBuf>], notes: &mut Vec<String>) {
    let used: HashSet<&Path> = found.iter().flatten().map(PathBuf::as_path).collect();
    let folders: HashSet<Option<&Path>> = used.iter().map(|image| image.parent()).collect();
    let all = on_disk.by_name.values().flatten();
    let is_uncaptioned = |image: &&PathBuf| folders.contains(&image.parent()) && !used.contains(image.as_path());
    let mut uncaptioned: Vec<&PathBuf> = all.filter(is_uncaptioned).collect();
    uncaptioned.sort_unstable();
    let mut tally = Tally::default();
    for image in uncaptioned {
        tally.add(|| image.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    if tally.count > 0 {
        let verb = if tally.count == 1 { "has" } else { "have" };
        notes.push(format!("{} {verb} no caption, left out: {}.", counted(tally.count, "image"), tally.list()));
    }
}

/// Every image file below a folder, from one listing of each folder: asking for 31,783 files one by one is slow.
struct ImagesOnDisk {
    /// By file name without folders; those in the uppermost folder first.
    by_name: HashMap<String, Vec<PathBuf>>,
}

impl ImagesOnDisk {
    fn below(root: &Path, notes: &mut Vec<String>) -> Result<Self> {
        let mut by_name: HashMap<String, Vec<PathBuf>> = HashMap::new();
        let mut folders = vec![root.to_path_buf()];
        for depth in 0..=DEPTH {
            let mut below = Vec::new();
            for folder in &folders {
                match list(folder) {
                    Ok((images, mut subfolders)) => {
                        for name in images {
                            let path = folder.join(&name);
                            by_name.entry(name).or_default().push(path);
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
        Ok(Self { by_name })
    }

    fn find(&self, record: &Record) -> Option<PathBuf> {
        let places = self.by_name.get(record.name.rsplit('/').next()?)?;
        let within = |folder: &str| {
            let wanted = Path::new(folder).join(&record.name);
            places.iter().find(|place| place.ends_with(&wanted))
        };
        record.folder.as_deref().and_then(within).or_else(|| within("")).cloned()
    }
}

/// The names of the images and the paths of the folders in a folder; hidden ones are passed over.
fn list(folder: &Path) -> std::io::Result<(Vec<String>, Vec<PathBuf>)> {
    let (mut images, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let is_image = is_image_name(&name);
        // Only links cost a call of their own; of a file that is called an image, only a folder is of interest.
        let kind = entry.file_type()?;
        let is_folder = kind.is_dir() || (kind.is_symlink() && !is_image && entry.path().is_dir());
        if is_folder {
            folders.push(entry.path());
        } else if is_image {
            images.push(name);
        }
    }
    Ok((images, folders))
}

/// Whether a file is called like an image that can be decoded: JPEG or PNG.
pub(super) fn is_image_name(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| matches!(extension.as_str(), "jpg" | "jpeg" | "png"))
}

/// How many images lie directly in a folder, for telling what is missing from it.
pub(super) fn count_images(folder: &Path) -> usize {
    list(folder).map_or(0, |(images, _)| images.len())
}
