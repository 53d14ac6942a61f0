//! Readers of the layouts in which captioned data sets come, and what tells one from another.

mod collected;
mod image_folder;
mod json;
mod recognise;
mod table;
mod tokens;

use std::path::Path;

use self::collected::Collected;
use super::dataset::{Dataset, Layout};
use super::splits;
use crate::Result;

/// See [`Dataset::open`].
pub(super) fn open(path: &Path) -> Result<Dataset> {
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
    let (records, mut notes) = collected.finish(&source.files)?;
    let mut examples = image_folder::attach(records, &source, &mut notes)?;
    if examples.iter().all(|example| example.split.is_none()) {
        let lists = splits::split_lists(&source.folder)?;
        notes.extend(splits::apply_split_lists(&mut examples, &lists)?);
    }
    notes.extend(splits::note_on_splits(&examples));
    Ok(Dataset { name: source.name, layout: source.layout, examples, notes })
}
