//! A data set as a data frame.

use polars::prelude::{DataFrame, df};

use super::{Dataset, Split, Vocabulary};
use crate::{Error, Result};

impl Dataset {
    /// All captions as a data frame, one row per caption: `image`, `split` (null for images in none), `number` (of the caption in its
    /// image, from 0), `words` (their number, by [`Vocabulary::words`]), `caption`.
    ///
    /// # Errors
    /// [`Error::Argument`] if polars refuses the columns.
    pub fn captions_frame(&self) -> Result<DataFrame> {
        let rows = || {
            let examples = self.examples.iter();
            examples.flat_map(|example| {
                example.captions.iter().enumerate().map(move |(number, caption)| (example, number, caption))
            })
        };
        let name = |split: Split| match split {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        };
        df!(
            "image" => rows().map(|(example, ..)| example.name.as_str()).collect::<Vec<_>>(),
            "split" => rows().map(|(example, ..)| example.split.map(name)).collect::<Vec<_>>(),
            "number" => rows().map(|(_, number, _)| number as u32).collect::<Vec<_>>(),
            "words" => rows().map(|(.., caption)| Vocabulary::words(caption).len() as u32).collect::<Vec<_>>(),
            "caption" => rows().map(|(.., caption)| caption.as_str()).collect::<Vec<_>>(),
        )
        .map_err(|error| {
            Error::argument(format!("the captions do not make a data frame: {error}"), "Is the data set whole?")
        })
    }
}
