//! A captioned data set, and what lessons ask of it.

use std::fmt;
use std::path::Path;

use super::{Example, Split, layouts};
use crate::Result;

/// How a data set is laid out on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// The embedded pictures that the project draws itself.
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
    /// A folder of images and a CSV file of two columns: the user's own.
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

/// A captioned data set: the examples, and what was noticed while reading them.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    pub name: String,
    pub layout: Layout,
    pub examples: Vec<Example>,
    /// What was repaired or left out while reading, one sentence each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Opens a data set: a folder, or the file of its captions. The layout is recognised; [`Dataset::layout`] says which.
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
    /// Where one folder holds several of them, the one that stands first in this table is read, because it brings its
    /// splits, and the others are named in the notes; name the file itself to read another. Captions may also lie up to three
    /// folders further down, in the only folder that has any.
    ///
    /// Lists are text files beside the captions, one image name a line, with or without `.jpg`: `train_images.txt`,
    /// `val_images.txt`, `test_images.txt`, or `train.txt` …, or `Flickr_8k.trainImages.txt` …. They are read where the
    /// layout itself brings no splits. Where there are neither, [`Dataset::with_random_split`] draws them.
    ///
    /// Images are looked for beside the captions and in folders up to four levels below, however their names are spelled:
    /// `./photos/a.jpg`, `photos\a.jpg`, with `é` as one character or two. Where *none* is there, the data set opens for work on
    /// its text alone. Where only some are missing, in a format that is not read, or in doubt since several files have their
    /// name, these are left out and listed in [`Dataset::notes`], like everything else that was repaired, repeated or left out.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) where something cannot be read; [`Error::Data`](crate::Error::Data) naming the
    /// file, and the line where there is one, where no layout is recognised or a file does not hold what its layout
    /// promises.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        layouts::open(path.as_ref())
    }

    /// The examples of one split, in the order of the data set.
    pub fn split(&self, split: Split) -> Vec<Example> {
        self.examples.iter().filter(|example| example.split == Some(split)).cloned().collect()
    }

    /// All captions of one split, those of one image together.
    pub fn captions(&self, split: Split) -> Vec<String> {
        let examples = self.examples.iter().filter(|example| example.split == Some(split));
        examples.flat_map(|example| example.captions.iter().cloned()).collect()
    }

    /// How many images a split has.
    pub fn split_size(&self, split: Split) -> usize {
        self.examples.iter().filter(|example| example.split == Some(split)).count()
    }

    /// Whether any image is in a split: if not, draw splits with [`Dataset::with_random_split`].
    pub fn has_splits(&self) -> bool {
        self.examples.iter().any(|example| example.split.is_some())
    }

    /// How many captions all images have together.
    pub fn caption_count(&self) -> usize {
        self.examples.iter().map(|example| example.captions.len()).sum()
    }

    /// At most `count` of the images, spread evenly over the data set, so that each split keeps its share.
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

/// Name, size, splits and layout, then the notes, a line each.
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

/// All captions of examples, those of one image together.
pub fn captions_of(examples: &[Example]) -> Vec<String> {
    examples.iter().flat_map(|example| example.captions.iter().cloned()).collect()
}

/// `31,014`.
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

/// `1 image`, `31,014 images`.
pub(crate) fn counted(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Things of one kind that were noticed: how many, and the first few by name.
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

    /// `a.jpg, b.jpg and 12 more`.
    pub(crate) fn list(&self) -> String {
        let listed = self.first.join(", ");
        match self.count - self.first.len() {
            0 => listed,
            more => format!("{listed} and {} more", grouped(more)),
        }
    }
}

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
