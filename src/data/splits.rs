//! Splits into training, validation and test images.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dataset::{Tally, counted, grouped};
use super::names::normal_name;
use super::text_file::read_text;
use super::{Dataset, Example, Random, Split};
use crate::{Error, Result};

/// Settings of [`Dataset::with_random_split`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitConfig {
    /// Share of validation images, in 0..1. Default: 0.1.
    pub validation: f64,
    /// Share of test images, in 0..1. Default: 0.1.
    pub test: f64,
    /// Seed. The result does not depend on the order of the images. Default: 0.
    pub seed: u64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { validation: 0.1, test: 0.1, seed: 0 }
    }
}

impl SplitConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        for (field, share) in [("split.validation", self.validation), ("split.test", self.test)] {
            if !(0.0..1.0).contains(&share) {
                return Err(Error::config(field, share, "must be in 0..1 (0.1 is a tenth of the images)"));
            }
        }
        let sum = self.validation + self.test;
        if sum >= 1.0 {
            return Err(Error::config("split.validation + split.test", sum, "must leave images to train on: below 1"));
        }
        Ok(())
    }
}

impl Dataset {
    /// Draws random splits by image, replacing existing ones. All captions of an image stay together: an image in two splits would leak
    /// the test set.
    ///
    /// Shares are rounded to whole images; a share above 0 gets at least one image as long as a training image is left.
    ///
    /// # Errors
    /// [`Error::Config`] as by [`SplitConfig::validate`].
    pub fn with_random_split(&self, config: &SplitConfig) -> Result<Self> {
        config.validate()?;
        let mut dataset = self.clone();
        let mut order: Vec<&mut Example> = dataset.examples.iter_mut().collect();
        order.sort_by(|example, other| example.name.cmp(&other.name));
        Random::new(config.seed).shuffle(&mut order);
        let images = order.len();
        let share = |share: f64, left: usize| {
            let wanted = (images as f64 * share).round() as usize;
            wanted.max(usize::from(share > 0.0)).min(left.saturating_sub(1))
        };
        let validation = share(config.validation, images);
        let test = share(config.test, images - validation);
        for (place, example) in order.into_iter().enumerate() {
            example.split = Some(match place {
                place if place < validation => Split::Validation,
                place if place < validation + test => Split::Test,
                _ => Split::Train,
            });
        }
        dataset.notes.retain(|note| !note.starts_with(NO_SPLITS) && !note.ends_with(IN_NO_SPLIT));
        let sizes = [Split::Train, Split::Validation, Split::Test].map(|split| grouped(dataset.split_size(split)));
        let [train, validation, test] = sizes;
        dataset.notes.push(format!(
            "The splits were drawn by image with seed {}: {train} training, {validation} validation, {test} test.",
            config.seed
        ));
        Ok(dataset)
    }

    /// Draws random splits with the default settings if the data set has none, always the same. The lessons and the command line use
    /// these.
    ///
    /// # Errors
    /// None with the default settings.
    pub fn with_splits(self) -> Result<Self> {
        if self.has_splits() { Ok(self) } else { self.with_random_split(&SplitConfig::default()) }
    }

    /// Replaces the splits by those of the split lists in `folder`; see [`Dataset::open`] for their names.
    ///
    /// # Errors
    /// [`Error::Data`] when no list names images of this data set, or an image is in two splits; [`Error::File`] when a list cannot be
    /// read.
    pub fn with_split_lists(&self, folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let lists = split_lists(folder)?;
        let mut dataset = self.clone();
        dataset.examples.iter_mut().for_each(|example| example.split = None);
        dataset.notes.retain(|note| !note.starts_with(NO_SPLITS) && !note.ends_with(IN_NO_SPLIT));
        let mut notes = apply_split_lists(&mut dataset.examples, &lists)?;
        dataset.notes.append(&mut notes);
        if !dataset.has_splits() {
            return Err(Error::data(
                folder,
                None,
                "no list here names an image of the data set",
                "Put train_images.txt, val_images.txt and test_images.txt here, one image name a line.",
            ));
        }
        dataset.notes.extend(note_on_splits(&dataset.examples));
        Ok(dataset)
    }
}

/// How to give a data set its own splits.
pub(crate) const HOW_TO_SPLIT: &str = "train_images.txt, val_images.txt and test_images.txt beside the captions give them, \
    one image name a line";

const NO_SPLITS: &str = "The images are in no splits";
const IN_NO_SPLIT: &str = "in no split.";

/// The note about images in no split.
pub(super) fn note_on_splits(examples: &[Example]) -> Option<String> {
    let without = examples.iter().filter(|example| example.split.is_none()).count();
    match without {
        0 => None,
        without if without == examples.len() => {
            Some(format!("{NO_SPLITS}: there are no split lists. `with_random_split` draws them; {HOW_TO_SPLIT}."))
        }
        without => {
            let verb = if without == 1 { "is" } else { "are" };
            Some(format!("{} of {} images {verb} {IN_NO_SPLIT}", grouped(without), grouped(examples.len())))
        }
    }
}

/// The split lists of a folder, sorted.
pub(super) fn split_lists(folder: &Path) -> Result<Vec<(Split, PathBuf)>> {
    let failed = |source| Error::file(folder, "list the folder", source, "Check the path, and that you may read it.");
    let mut lists = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(split) = name.and_then(split_of_list) {
            lists.push((split, path));
        }
    }
    lists.sort();
    Ok(lists)
}

/// The split of a list, by its file name: `train_images.txt`, `dev.txt`, `Flickr_8k.testImages.txt`.
fn split_of_list(file_name: &str) -> Option<Split> {
    let name = file_name.to_ascii_lowercase();
    let stem = name.strip_suffix(".txt")?;
    let stem = ["flickr_8k.", "flickr8k_", "flickr30k_"].iter().find_map(|set| stem.strip_prefix(set)).unwrap_or(stem);
    let stem = ["_images", "images", "_list"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem);
    split_of_word(stem).ok()
}

/// Parses a split's name; the error lists the known names.
pub(super) fn split_of_word(word: &str) -> Result<Split, &'static str> {
    match word {
        "train" | "training" | "restval" => Ok(Split::Train),
        "val" | "valid" | "validation" | "dev" => Ok(Split::Validation),
        "test" => Ok(Split::Test),
        _ => Err("train, restval, val or test"),
    }
}

/// Assigns images to the splits of lists; returns notes.
pub(super) fn apply_split_lists(examples: &mut [Example], lists: &[(Split, PathBuf)]) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let mut splits: Vec<Option<Split>> = examples.iter().map(|example| example.split).collect();
    let names = || examples.iter().map(|example| example.name.as_str()).zip(0..);
    // Flickr30k Entities lists images without `.jpg`. A stem shared by several images means none of them.
    let mut places: HashMap<&str, Option<usize>> = HashMap::with_capacity(2 * examples.len());
    for (stem, index) in names().filter_map(|(name, index)| Some((name.rsplit_once('.')?.0, index))) {
        places.entry(stem).and_modify(|place| *place = None).or_insert(Some(index));
    }
    // Full names last, so that they win.
    places.extend(names().map(|(name, index)| (name, Some(index))));
    for (split, path) in lists {
        let text = read_text(path)?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let (mut unknown, mut found) = (Tally::default(), false);
        for (line, name) in (1..).zip(text.lines()) {
            let name = name.trim();
            if name.is_empty() {
                continue;
            }
            let normal = normal_name(name);
            let place = places.get(&*normal).or_else(|| places.get(normal.rsplit('/').next()?)).copied().flatten();
            let Some(known) = place.and_then(|place| splits.get_mut(place)) else {
                unknown.add(|| name.chars().take(40).collect());
                continue;
            };
            if known.is_some_and(|other| other != *split) {
                return Err(Error::data(
                    path,
                    line,
                    format!("`{name}` is in another list as well, so that the test would leak into the training"),
                    "Leave it in one list only.",
                ));
            }
            *known = Some(*split);
            found = true;
        }
        if !found {
            notes.push(format!("{file} names no image of the data set and was not used."));
        } else if unknown.count > 0 {
            let (names, list) = (counted(unknown.count, "name"), unknown.list());
            notes.push(format!("{file} has {names} of no image of the data set: {list}."));
        }
    }
    for (example, split) in examples.iter_mut().zip(splits) {
        example.split = split;
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_lists_are_known_by_their_names() {
        for (name, split) in [
            ("train_images.txt", Some(Split::Train)),
            ("val_images.txt", Some(Split::Validation)),
            ("test.txt", Some(Split::Test)),
            ("Flickr_8k.devImages.txt", Some(Split::Validation)),
            ("flickr30k_train.txt", Some(Split::Train)),
            ("captions.txt", None),
            ("train.csv", None),
            ("readme.txt", None),
        ] {
            assert_eq!(split_of_list(name), split, "{name}");
        }
    }
}
