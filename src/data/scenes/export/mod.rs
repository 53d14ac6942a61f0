//! Writes scenes as files, for other programs: pictures, captions, boxes, phrases.

mod entities;
mod json;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use rayon::prelude::*;

use super::{SIDE, ScenesConfig};
use crate::data::dataset::{counted, grouped};
use crate::data::{Dataset, Example, ImageSource};
use crate::files::{PARTIAL, write_whole_with};
use crate::{Error, Result};

/// Files that are written between two reports of progress.
const TOGETHER: usize = 128;

const PICTURES: &str = "images";
const SENTENCES: &str = "entities/Sentences";
const BOXES: &str = "entities/Annotations";
const COCO: &str = "annotations";
const FOLDERS: [&str; 5] = [PICTURES, COCO, "entities", SENTENCES, BOXES];

/// What [`export`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The folder.
    pub folder: PathBuf,
    /// Number of pictures.
    pub pictures: usize,
    /// Number of files that were written.
    pub written: usize,
    /// Number of files that were there already, with the same bytes.
    pub kept: usize,
}

/// Displays numbers, and what lies where.
impl fmt::Display for Exported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (written, kept) = (counted(self.written, "file"), grouped(self.kept));
        writeln!(formatter, "{}: {}", self.folder.display(), counted(self.pictures, "picture"))?;
        writeln!(formatter, "  {PICTURES}/: the pictures")?;
        writeln!(formatter, "  dataset_scenes.json: captions and splits as Karpathy's, by which the folder is opened")?;
        writeln!(formatter, "  {COCO}/: captions and boxes as COCO's")?;
        writeln!(formatter, "  entities/: phrases and their boxes as Flickr30k Entities'")?;
        write!(formatter, "{written} written, {kept} there already")
    }
}

/// Writes a Scenes data set into a folder, which is created where it is missing. The same settings give the same bytes on every
/// machine.
///
/// | file | content |
/// |---|---|
/// | `images/scene-000017.png` | a picture |
/// | `dataset_scenes.json` | captions and splits as Karpathy's; [`Dataset::open`] of the folder reads these |
/// | `annotations/captions_{train,val,test}.json` | captions as COCO's |
/// | `annotations/instances_{train,val,test}.json` | boxes as COCO's; the categories are the kinds |
/// | `entities/Sentences/scene-000017.txt` | captions with phrases, as Flickr30k Entities; [`Dataset::with_entities`] reads these |
/// | `entities/Annotations/scene-000017.xml` | boxes as Flickr30k Entities, with a `<label>` of the kind |
///
/// So `Dataset::open(folder)?.with_entities(folder)?` has the captions, splits, regions and links of [`Dataset::scenes`]; names end
/// with `.png`.
///
/// Each file is written whole or not at all. What an interrupted export has written is kept, once its bytes are compared. `progress`
/// is called with the number of finished files, and of all.
///
/// # Errors
/// [`Error::Config`] when a split is larger than its range of indices, or there is no picture; [`Error::Argument`] when the folder
/// holds anything else, such as an export with other settings, and then nothing is written; [`Error::File`] when a file cannot be
/// read or written.
pub fn export(
    config: &ScenesConfig,
    folder: impl AsRef<Path>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Exported> {
    let folder = folder.as_ref();
    let dataset = Dataset::scenes(config)?;
    if dataset.examples.is_empty() {
        return Err(Error::config("scenes.train", 0, "must be 1 or more, where the other splits are empty too"));
    }
    let files = files(&dataset);
    let (present, unfinished) = present(folder, &files)?;
    let (there, missing): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| present.contains(name.as_str()));
    let mut done = 0;
    for files in there.chunks(TOGETHER) {
        files.par_iter().try_for_each(|(name, content)| compare(&folder.join(name), &content.bytes(&dataset)?))?;
        done += files.len();
        progress(done, present.len() + missing.len());
    }
    for path in FOLDERS.map(|below| folder.join(below)) {
        let help = "Name a folder that you may write to.";
        fs::create_dir_all(&path).map_err(|source| Error::file(path, "create the folder", source, help))?;
    }
    for file in unfinished {
        fs::remove_file(file).ok();
    }
    // In their order: the file by which the folder is opened comes last, so that half an export is not taken for a data set.
    for files in missing.chunks(TOGETHER) {
        files.par_iter().try_for_each(|(name, content)| {
            let bytes = content.bytes(&dataset)?;
            write_whole_with(&folder.join(name), "write the scenes", |file| file.write_all(&bytes))
        })?;
        done += files.len();
        progress(done, present.len() + missing.len());
    }
    let pictures = dataset.examples.len();
    Ok(Exported { folder: folder.to_path_buf(), pictures, written: missing.len(), kept: there.len() })
}

/// The content of a file.
enum Content<'a> {
    Picture(&'a Example),
    Sentences(&'a Example),
    Boxes(&'a Example),
    Table(json::Table),
}

impl Content<'_> {
    fn bytes(&self, dataset: &Dataset) -> Result<Vec<u8>> {
        match self {
            Self::Picture(example) => picture(example),
            Self::Sentences(example) => Ok(entities::sentences(example).into_bytes()),
            Self::Boxes(example) => Ok(entities::boxes(example, &file_name(example)).into_bytes()),
            Self::Table(table) => table.bytes(dataset),
        }
    }
}

/// All files of an export by their names in its folder, in the order of writing.
fn files(dataset: &Dataset) -> Vec<(String, Content<'_>)> {
    let mut files: Vec<(String, Content)> = Vec::with_capacity(3 * dataset.examples.len() + 7);
    for example in &dataset.examples {
        files.push((format!("{PICTURES}/{}", file_name(example)), Content::Picture(example)));
        files.push((format!("{SENTENCES}/{}.txt", example.name), Content::Sentences(example)));
        files.push((format!("{BOXES}/{}.xml", example.name), Content::Boxes(example)));
    }
    files.extend(json::Table::all(dataset).into_iter().map(|table| (table.name(), Content::Table(table))));
    files
}

fn file_name(example: &Example) -> String {
    format!("{}.png", example.name)
}

/// The index of a scene.
fn index(example: &Example) -> u64 {
    match example.image {
        ImageSource::Scene { index, .. } => index,
        ImageSource::File(_) => 0,
    }
}

fn picture(example: &Example) -> Result<Vec<u8>> {
    let picture = example.picture()?;
    let mut bytes = Cursor::new(Vec::new());
    // The only compression whose bytes do not depend on which library of zlib other features switch on.
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    encoder
        .write_image(&picture, SIDE, SIDE, image::ExtendedColorType::Rgb8)
        .map_err(|error| Error::internal(format!("{} is not written as PNG: {error}", example.name)))?;
    Ok(bytes.into_inner())
}

/// The files of an export that are in the folder already, and what a killed one left unfinished; refuses a folder with other files.
fn present<'a>(folder: &Path, files: &'a [(String, Content)]) -> Result<(BTreeSet<&'a str>, Vec<PathBuf>)> {
    let known: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let (mut present, mut unfinished) = (BTreeSet::new(), Vec::new());
    let mut below = vec![String::new()];
    while let Some(inside) = below.pop() {
        let path = if inside.is_empty() { folder.to_path_buf() } else { folder.join(&inside) };
        let failed = |source| {
            let help = "Name a folder with --out that you may read, or one that is not there yet.";
            Error::file(&path, "list the folder", source, help)
        };
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && inside.is_empty() => break,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let file = entry.file_name().to_string_lossy().into_owned();
            let name = if inside.is_empty() { file.clone() } else { format!("{inside}/{file}") };
            // `.NAME.UNIQUE.partial` is an unfinished NAME; what else is hidden is the system's.
            if let Some(hidden) = file.strip_prefix('.') {
                let whole = hidden.strip_suffix(PARTIAL).and_then(|name| name.rsplit_once('.'));
                let whole = whole.map(|(whole, _)| name.replace(&file, whole));
                unfinished.extend(whole.filter(|whole| known.contains(whole.as_str())).map(|_| entry.path()));
                continue;
            }
            let is_folder = entry.path().is_dir();
            match known.get(name.as_str()) {
                Some(known) if !is_folder => {
                    present.insert(*known);
                }
                _ if is_folder && FOLDERS.contains(&name.as_str()) => below.push(name),
                _ => return Err(holds_another(folder, &name)),
            }
        }
    }
    Ok((present, unfinished))
}

fn holds_another(folder: &Path, name: &str) -> Error {
    Error::argument(
        format!("{} holds `{name}`, which is not of this export", folder.display()),
        "Name an empty folder, or one that is not there yet. Nothing was written.",
    )
}

/// Checks that a file holds these bytes.
fn compare(path: &Path, bytes: &[u8]) -> Result<()> {
    let found = fs::read(path)
        .map_err(|source| Error::file(path, "compare the file", source, "Check that you may read it, or remove it."))?;
    if found == bytes {
        return Ok(());
    }
    Err(Error::argument(
        format!("{} is another file than this export would write, of other settings or changed", path.display()),
        "Name an empty folder, or one that is not there yet. Nothing was written.",
    ))
}
