//! What a reader has collected: images in the order of their file, with their captions.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::data::Split;
use crate::data::dataset::{Tally, counted};
use crate::data::names::normal_name;
use crate::{Error, Result};

/// Longest accepted caption in bytes; Flickr30k's longest has about 450.
const LONGEST_CAPTION: usize = 10_000;

/// An image of the annotation file.
#[derive(Debug)]
pub(super) struct Record {
    /// Its name in the data set, by [`normal_name`].
    pub(super) name: String,
    /// Its folder in the data set, such as `val2014`; usually none.
    pub(super) folder: Option<String>,
    pub(super) captions: Vec<String>,
    /// The numbers of the captions that have one.
    numbers: Vec<Option<u64>>,
    /// The highest number: one above it is new without a search.
    highest: Option<u64>,
    pub(super) split: Option<Split>,
}

/// Position of a caption.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    /// `None` for JSON, which is often a single line.
    pub(super) line: Option<u64>,
}

impl Place<'_> {
    pub(super) fn error(&self, problem: impl Into<String>, help: impl Into<String>) -> Error {
        Error::data(self.path, self.line, problem, help)
    }

    /// Formats `line 7`, or the file's name.
    fn short(&self) -> String {
        match self.line {
            Some(line) => format!("line {line}"),
            None => self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Collected {
    records: Vec<Record>,
    /// By folder and name: two folders may contain images of the same name.
    by_name: HashMap<(Option<String>, String), usize>,
    pub(super) notes: Vec<String>,
    empty: Tally,
    repeated: Tally,
    number_taken: Tally,
}

impl Collected {
    /// The index of the image called `name`, which is added if it is new.
    pub(super) fn image(
        &mut self,
        place: Place,
        name: &str,
        folder: Option<&str>,
        split: Option<Split>,
    ) -> Result<usize> {
        let (written, name) = (name, normal_name(name));
        let folder = folder.map(normal_name).filter(|folder| !folder.is_empty());
        // The captions of an image are mostly consecutive.
        let last = self.records.len().wrapping_sub(1);
        let known = match self.records.get(last) {
            Some(record) if record.name == name && record.folder.as_deref() == folder.as_deref() => Some(last),
            _ => self.by_name.get(&(folder.as_deref().map(str::to_owned), name.clone().into_owned())).copied(),
        };
        let index = match known {
            Some(index) => index,
            None => {
                check_name(place, written)?;
                if let Some(folder) = &folder {
                    check_name(place, folder)?;
                }
                let index = self.records.len();
                let (name, folder) = (name.into_owned(), folder.map(Cow::into_owned));
                self.by_name.insert((folder.clone(), name.clone()), index);
                let (captions, numbers) = (Vec::new(), Vec::new());
                self.records.push(Record { name, folder, captions, numbers, highest: None, split });
                index
            }
        };
        if let Some(record) = self.records.get_mut(index)
            && record.split != split
        {
            if let (Some(_), Some(_)) = (record.split, split) {
                return Err(place.error(
                    format!("`{written}` is in two splits, so that the test would leak into the training"),
                    "Leave it in one of them.",
                ));
            }
            record.split = record.split.or(split);
        }
        Ok(index)
    }

    /// Adds a caption to an image. `number` identifies a caption of an image, in layouts with numbers: repeated numbers are noted, and
    /// the caption is dropped if its text is the same too.
    pub(super) fn add_caption(&mut self, place: Place, image: usize, number: Option<u64>, caption: &str) -> Result<()> {
        let caption = caption.trim();
        if caption.len() > LONGEST_CAPTION {
            return Err(place.error(
                format!("a caption of {} bytes, where {LONGEST_CAPTION} is the most", caption.len()),
                "Check that every caption is on a line of its own, and that quotation marks are closed.",
            ));
        }
        let Some(record) = self.records.get_mut(image) else { return Ok(()) };
        if caption.is_empty() {
            self.empty.add(|| format!("{} ({})", record.name, place.short()));
            return Ok(());
        }
        let caption = match caption.contains(['\n', '\r']) {
            true => caption.replace(['\n', '\r'], " "),
            false => caption.to_owned(),
        };
        if number.is_some()
            && number <= record.highest
            && let Some(taken) = record.numbers.iter().position(|other| *other == number)
        {
            if record.captions.get(taken) == Some(&caption) {
                self.repeated.add(|| format!("{} ({})", record.name, place.short()));
                return Ok(());
            }
            self.number_taken.add(|| format!("{} ({})", record.name, place.short()));
        }
        record.captions.push(caption);
        record.numbers.push(number);
        record.highest = record.highest.max(number);
        Ok(())
    }

    /// The images with captions, and notes.
    pub(super) fn finish(self, files: &[PathBuf]) -> Result<(Vec<Record>, Vec<String>)> {
        let Self { mut records, mut notes, empty, repeated, number_taken, .. } = self;
        if empty.count > 0 {
            notes.push(format!("{} without a word left out: {}.", counted(empty.count, "caption"), empty.list()));
        }
        if repeated.count > 0 {
            let (captions, list) = (counted(repeated.count, "caption"), repeated.list());
            notes.push(format!("{captions} given twice with the same number and words, kept once: {list}."));
        }
        if number_taken.count > 0 {
            let (captions, list) = (counted(number_taken.count, "caption"), number_taken.list());
            notes.push(format!("{captions} with a number that another caption of the image has, kept: {list}."));
        }
        let mut without = Tally::default();
        for record in records.iter().filter(|record| record.captions.is_empty()) {
            without.add(|| record.name.clone());
        }
        if without.count > 0 {
            let (images, list) = (counted(without.count, "image"), without.list());
            notes.push(format!("{images} without a caption left out: {list}."));
        }
        records.retain(|record| !record.captions.is_empty());
        if records.is_empty() {
            let path = files.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
            return Err(Error::data(path, None, "there is no caption in it", "Check that this is the right file."));
        }
        notes.extend(note_on_numbers(&records));
        tell_folders_apart(&mut records);
        Ok((records, notes))
    }
}

/// Prefixes names with their folders where images in several folders have the same name.
fn tell_folders_apart(records: &mut [Record]) {
    let mut named: HashMap<&str, usize> = HashMap::with_capacity(records.len());
    for record in &*records {
        *named.entry(&record.name).or_default() += 1;
    }
    let doubled: Vec<bool> = records.iter().map(|record| named[record.name.as_str()] > 1).collect();
    for (record, _) in records.iter_mut().zip(doubled).filter(|(_, is_doubled)| *is_doubled) {
        if let Some(folder) = record.folder.take() {
            record.name = format!("{folder}/{}", record.name);
        }
    }
}

/// The note about images without exactly five captions.
fn note_on_numbers(records: &[Record]) -> Option<String> {
    let mut images: BTreeMap<usize, usize> = BTreeMap::new();
    for record in records {
        *images.entry(record.captions.len()).or_default() += 1;
    }
    if images.keys().all(|&captions| captions == 5) {
        return None;
    }
    let each = images.iter().map(|(&captions, &images)| {
        let verb = if images == 1 { "has" } else { "have" };
        format!("{} {verb} {}", counted(images, "image"), counted(captions, "caption"))
    });
    Some(format!("Not every image has five captions: {}.", each.collect::<Vec<_>>().join(", ")))
}

/// Refuses a name that points outside the folder of images.
fn check_name(place: Place, name: &str) -> Result<()> {
    if normal_name(name).is_empty() {
        return Err(place.error("a caption without the name of its image", "Write the name of the image file."));
    }
    let mut parts = name.split(['/', '\\']);
    let drive = name.as_bytes().get(1) == Some(&b':');
    if drive || name.contains('\0') || name.starts_with(['/', '\\', '~']) || parts.any(|part| part == "..") {
        let shown: String = name.chars().take(80).collect();
        return Err(place.error(
            format!("the image name `{}` leads out of the folder of images", shown.escape_debug()),
            "Name images relative to the folder that holds them, without `..`.",
        ));
    }
    Ok(())
}
