//! Readers of the supported layouts, and their recognition.

mod collected;
mod image_folder;
mod json;
mod recognise;
mod table;
mod tokens;

use std::path::{Path, PathBuf};

use self::collected::{Collected, Record};
use self::recognise::Source;
use super::dataset::{Dataset, Layout};
use super::splits;
use crate::Result;

pub(super) use self::image_folder::list;
pub(crate) use self::recognise::is_captions_of_images;

/// See [`Dataset::open`].
pub(super) fn open(path: &Path) -> Result<Dataset> {
    let (source, records, mut notes) = read(path)?;
    let mut examples = image_folder::attach(records, &source, &mut notes)?;
    if examples.iter().all(|example| example.split.is_none()) {
        let lists = splits::split_lists(&source.folder)?;
        notes.extend(splits::apply_split_lists(&mut examples, &lists)?);
    }
    notes.extend(splits::note_on_splits(&examples));
    Ok(Dataset { name: source.name, layout: source.layout, examples, notes })
}

/// See [`Dataset::images_without_captions`].
pub(super) fn images_without_captions(folder: &Path) -> Result<Vec<PathBuf>> {
    match folder.is_dir() && recognise::search(folder)?.is_none() {
        true => Ok(image_folder::images(folder)),
        false => Ok(Vec::new()),
    }
}

/// Image names with their captions.
pub(crate) type NamedCaptions = Vec<(String, Vec<String>)>;

/// Reads the captions of a data set with notes, whether or not its images exist.
///
/// # Errors
/// As [`Dataset::open`].
pub(crate) fn captions_by_name(path: &Path) -> Result<(NamedCaptions, Vec<String>)> {
    let (_, records, notes) = read(path)?;
    Ok((records.into_iter().map(|record| (record.name, record.captions)).collect(), notes))
}

fn read(path: &Path) -> Result<(Source, Vec<Record>, Vec<String>)> {
    let mut source = recognise::recognise(path)?;
    let mut collected = Collected::default();
    collected.notes.append(&mut source.notes);
    for file in &source.files {
        match source.layout {
            Layout::Flickr30kTokens => tokens::read(file, &mut collected)?,
            Layout::Karpathy => json::read_karpathy(file, &mut collected)?,
            Layout::Coco => json::read_coco(file, &mut collected)?,
            Layout::Kaggle | Layout::HuggingFace | Layout::Folder | Layout::Scenes => {
                table::read(file, &mut collected)?;
            }
        }
    }
    let (records, notes) = collected.finish(&source.files)?;
    Ok((source, records, notes))
}
