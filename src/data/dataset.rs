//! Captioned data sets.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Example, Split, layouts};
use crate::Result;

/// The layout of a data set on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// The embedded data set that captionlab draws itself.
    Scenes,
    /// Official Flickr30k: `results_20130124.token` and `flickr30k-images/`. Flickr8k's `Flickr8k.token.txt` is the same.
    Flickr30kTokens,
    /// Kaggle's Flickr30k `results.csv` or Flickr8k `captions.txt`.
    Kaggle,
    /// Karpathy's `dataset_flickr8k.json`, `dataset_flickr30k.json` or `dataset_coco.json`.
    Karpathy,
    /// Hugging Face's `flickr_annotations_30k.csv`.
    HuggingFace,
    /// COCO's `captions_*.json`.
    Coco,
    /// The user's own: a folder of images and a CSV file of two columns.
    Folder,
}

impl fmt::Display for Layout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Scenes => "Scenes, drawn by captionlab",
            Self::Flickr30kTokens => "official Flickr30k (captions in a .token file)",
            Self::Kaggle => "Kaggle (results.csv or captions.txt)",
            Self::Karpathy => "Karpathy's split (dataset_*.json)",
            Self::HuggingFace => "Hugging Face (flickr_annotations_30k.csv)",
            Self::Coco => "COCO (captions_*.json)",
            Self::Folder => "a folder of images with a CSV file of captions",
        })
    }
}

/// A captioned data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Name of the data set.
    pub name: String,
    /// Layout that it was read from.
    pub layout: Layout,
    /// Images with their captions.
    pub examples: Vec<Example>,
    /// What was repaired or left out while reading, one sentence each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Opens a data set: a folder, or the file of its captions. The layout is recognised; see [`Dataset::layout`].
    ///
    /// | layout | captions | splits |
    /// |---|---|---|
    /// | [`Layout::Karpathy`] | `dataset_*.json` | `split` (`restval` counts as training) |
    /// | [`Layout::HuggingFace`] | a CSV with the columns `raw` (a JSON list), `filename`, `split` | `split` |
    /// | [`Layout::Coco`] | `captions_*.json`, those of training and validation together | the file's name |
    /// | [`Layout::Flickr30kTokens`] | `*.token` or `*.token.txt`, plain or `.gz`: `NAME.jpg#K<TAB>caption` | lists |
    /// | [`Layout::Kaggle`] | `results.csv` (`image_name\| comment_number\| comment`), `captions.txt` (`image,caption`) | lists |
    /// | [`Layout::Folder`] | a CSV of an image and a caption a row, with or without a header | a column `split`, or lists |
    ///
    /// Where a folder holds several of these, the first in this table is read, because it brings its splits; the notes name the
    /// others. Name a file itself to read it. Captions may also be up to three folders deeper, in the only folder that has any.
    ///
    /// Split lists are text files beside the captions with one image name per line, with or without `.jpg`: `train_images.txt`,
    /// `val_images.txt`, `test_images.txt`, or `train.txt` …, or `Flickr_8k.trainImages.txt` …. They are read where the layout
    /// brings no splits. Without either, [`Dataset::with_random_split`] draws splits.
    ///
    /// Images are searched beside the captions and up to four folders deeper, in any spelling: `./photos/a.jpg`, `photos\a.jpg`, `é` as
    /// one character or two. If *no* image exists, the data set opens for work on its captions alone. If some images are missing, in an
    /// unsupported format or ambiguous, they are left out and listed in [`Dataset::notes`], like everything that was repaired.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) when something cannot be read; [`Error::Data`](crate::Error::Data) with file and line when no
    /// layout is recognised or a file violates its layout.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        layouts::open(path.as_ref())
    }

    /// The images of a folder in which nothing looks like captions, so that it is no data set; empty for every other path.
    ///
    /// # Errors
    /// As [`Dataset::open`], of files that look like captions and are none.
    pub fn images_without_captions(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        layouts::images_without_captions(folder.as_ref())
    }

    /// The examples of a split, in the order of the data set.
    pub fn split(&self, split: Split) -> Vec<Example> {
        self.examples.iter().filter(|example| example.split == Some(split)).cloned().collect()
    }

    /// All captions of a split, grouped by image.
    pub fn captions(&self, split: Split) -> Vec<String> {
        let examples = self.examples.iter().filter(|example| example.split == Some(split));
        examples.flat_map(|example| example.captions.iter().cloned()).collect()
    }

    /// Number of images in a split.
    pub fn split_size(&self, split: Split) -> usize {
        self.examples.iter().filter(|example| example.split == Some(split)).count()
    }

    /// Whether any image is in a split. If not, [`Dataset::with_random_split`] draws splits.
    pub fn has_splits(&self) -> bool {
        self.examples.iter().any(|example| example.split.is_some())
    }

    /// Number of captions.
    pub fn caption_count(&self) -> usize {
        self.examples.iter().map(|example| example.captions.len()).sum()
    }

    /// Keeps at most `count` images, evenly spread over the data set, so that splits keep their shares.
    #[must_use]
    pub fn limit(&self, count: usize) -> Self {
        let all = self.examples.len();
        let mut by_split: Vec<usize> = (0..all).collect();
        by_split.sort_by_key(|&index| self.examples.get(index).map(|example| example.split));
        let count = count.min(all);
        let spread = (0..count).filter_map(|taken| by_split.get(taken * all / count.max(1)).copied());
        let mut kept: Vec<usize> = spread.collect();
        kept.sort_unstable();
        let examples = kept.iter().filter_map(|&index| self.examples.get(index).cloned()).collect();
        Self { name: self.name.clone(), layout: self.layout, examples, notes: self.notes.clone() }
    }
}

/// Displays name, size, splits and layout, then one line per note.
impl fmt::Display for Dataset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (images, captions) = (grouped(self.examples.len()), grouped(self.caption_count()));
        write!(formatter, "{}: {images} images, {captions} captions", self.name)?;
        if self.has_splits() {
            let size = |split| grouped(self.split_size(split));
            let (train, validation, test) = (size(Split::Train), size(Split::Validation), size(Split::Test));
            write!(formatter, " ({train} training, {validation} validation, {test} test)")?;
        }
        write!(formatter, "\nlayout: {}", self.layout)?;
        for note in &self.notes {
            write!(formatter, "\nnote: {note}")?;
        }
        Ok(())
    }
}

/// All captions of examples, grouped by image.
pub fn captions_of(examples: &[Example]) -> Vec<String> {
    examples.iter().flat_map(|example| example.captions.iter().cloned()).collect()
}

/// Formats `31,014`.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Formats `1 image`, `31,014 images`.
pub(crate) fn counted(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A count of noticed items, with the names of the first few.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) count: usize,
    first: Vec<String>,
}

impl Tally {
    const SHOWN: usize = 5;

    pub(crate) fn add(&mut self, item: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < Self::SHOWN {
            self.first.push(item());
        }
    }

    /// Adds the items of another, after its own.
    pub(super) fn append(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(Self::SHOWN);
    }

    /// Formats `a.jpg, b.jpg and 12 more`.
    pub(crate) fn list(&self) -> String {
        let listed = self.first.join(", ");
        match self.count - self.first.len() {
            0 => listed,
            more => format!("{listed} and {} more", grouped(more)),
        }
    }
}

crate::in_cells::shown_in_cells!(Dataset);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (31_014, "31,014"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
