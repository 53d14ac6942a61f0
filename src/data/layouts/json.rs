//! Karpathy's `dataset_*.json` and COCO's `captions_*.json`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::collected::{Collected, Place};
use crate::data::Split;
use crate::data::dataset::{Tally, counted, grouped};
use crate::data::names::Id;
use crate::data::splits::split_of_word;
use crate::data::text_file::read_text;
use crate::{Error, Result};

#[derive(Deserialize)]
struct Karpathy<'a> {
    #[serde(borrow)]
    images: Vec<KarpathyImage<'a>>,
}

#[derive(Deserialize)]
struct KarpathyImage<'a> {
    #[serde(borrow)]
    filename: Cow<'a, str>,
    /// Only in COCO: `train2014` or `val2014`.
    #[serde(borrow, default)]
    filepath: Option<Cow<'a, str>>,
    #[serde(borrow)]
    split: Cow<'a, str>,
    #[serde(borrow)]
    sentences: Vec<Sentence<'a>>,
}

#[derive(Deserialize)]
struct Sentence<'a> {
    #[serde(borrow)]
    raw: Cow<'a, str>,
    #[serde(default)]
    sentid: Option<Id>,
}

pub(super) fn read_karpathy(path: &Path, collected: &mut Collected) -> Result<()> {
    let text = read_text(path)?;
    let help = "It must be `{\"images\": [{\"filename\": …, \"split\": …, \"sentences\": [{\"raw\": …}]}]}`.";
    let file: Karpathy = parse(path, &text, help)?;
    let place = Place { path, line: None };
    let mut rest_of_validation = 0;
    for record in &file.images {
        let split = split_of_word(&record.split).map_err(|known| {
            place.error(
                format!("the image `{}` is in the split `{}`, which is not known", record.filename, record.split),
                format!("A split is {known}."),
            )
        })?;
        rest_of_validation += usize::from(record.split == "restval");
        let folder = record.filepath.as_deref().filter(|folder| !folder.is_empty());
        let image = collected.image(place, &record.filename, folder, Some(split))?;
        for sentence in &record.sentences {
            collected.add_caption(place, image, number(&sentence.sentid), &sentence.raw)?;
        }
    }
    if rest_of_validation > 0 {
        let images = grouped(rest_of_validation);
        collected.notes.push(format!("{images} images of the split `restval` count as training images, as is usual."));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Coco<'a> {
    #[serde(borrow)]
    images: Vec<CocoImage<'a>>,
    #[serde(borrow)]
    annotations: Vec<CocoCaption<'a>>,
}

#[derive(Deserialize)]
struct CocoImage<'a> {
    id: Id,
    #[serde(borrow)]
    file_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct CocoCaption<'a> {
    image_id: Id,
    #[serde(default)]
    id: Option<Id>,
    #[serde(borrow)]
    caption: Cow<'a, str>,
}

pub(super) fn read_coco(path: &Path, collected: &mut Collected) -> Result<()> {
    let text = read_text(path)?;
    let help = "It must be `{\"images\": [{\"id\": …, \"file_name\": …}], \"annotations\": [{\"image_id\": …, \"caption\": …}]}`.";
    let file: Coco = parse(path, &text, help)?;
    let place = Place { path, line: None };
    let split = coco_split(path);
    let mut images: HashMap<&Id, (usize, &str)> = HashMap::with_capacity(file.images.len());
    for record in &file.images {
        let image = collected.image(place, &record.file_name, None, split)?;
        let other = images.insert(&record.id, (image, &record.file_name));
        if let Some((_, other)) = other.filter(|(_, other)| *other != record.file_name) {
            return Err(place.error(
                format!("two images have the id {}: `{other}` and `{}`", record.id, record.file_name),
                "Give every image an id of its own.",
            ));
        }
    }
    let mut of_no_image = Tally::default();
    for annotation in &file.annotations {
        match images.get(&annotation.image_id) {
            Some(&(image, _)) => collected.add_caption(place, image, number(&annotation.id), &annotation.caption)?,
            None => of_no_image.add(|| annotation.image_id.to_string()),
        }
    }
    if of_no_image.count > 0 {
        let (captions, list) = (counted(of_no_image.count, "caption"), of_no_image.list());
        collected.notes.push(format!("{captions} of images that the file does not list, left out: image id {list}."));
    }
    Ok(())
}

/// The number that identifies a caption of an image.
fn number(id: &Option<Id>) -> Option<u64> {
    id.as_ref()?.0.parse().ok()
}

/// The split in a COCO file name: `captions_train2014.json`, `captions_val2017.json`.
fn coco_split(path: &Path) -> Option<Split> {
    let stem = path.file_stem()?.to_str()?.to_ascii_lowercase();
    let word = stem.strip_prefix("captions_").unwrap_or(&stem);
    split_of_word(word.trim_end_matches(|letter: char| letter.is_ascii_digit())).ok()
}

/// Whether a JSON file is COCO's, which has `annotations` beside its `images`; otherwise it is Karpathy's.
pub(super) fn is_coco(path: &Path) -> Result<bool> {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default)]
        images: Option<IgnoredAny>,
        #[serde(default)]
        annotations: Option<IgnoredAny>,
    }
    let help = "Karpathy's files have `images` with `sentences`, COCO's have `images` and `annotations`.";
    let keys: Keys = parse(path, &read_text(path)?, help)?;
    if keys.images.is_none() {
        return Err(Error::data(path, None, "there is no list `images` in it", help));
    }
    Ok(keys.annotations.is_some())
}

fn parse<'a, T: Deserialize<'a>>(path: &Path, text: &'a str, help: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let what = if error.is_data() { "an unexpected value" } else { "malformed JSON" };
        // The message of serde_json ends with the line and the column.
        Error::data(path, error.line() as u64, format!("{what}: {error}"), help)
    })
}
