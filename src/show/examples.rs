//! Examples of a data set as grids of captioned pictures.

use super::figure::Figure;
use super::grid::{CaptionedImage, GridConfig, captioned_grid};
use crate::data::Example;
use crate::{Error, Result};

/// Pictures of a data set, each with the first `captions` of its captions.
///
/// # Errors
/// [`Error::Image`] or [`Error::File`] if a picture cannot be read; [`Error::Argument`] without examples.
pub fn captioned_examples(examples: &[Example], captions: usize) -> Result<Figure> {
    let images = examples
        .iter()
        .map(|example| Ok(CaptionedImage::new(example.picture()?, example.captions.iter().take(captions).cloned())));
    let columns = if examples.len() == 1 { 1 } else { GridConfig::default().columns };
    let image_width = if examples.len() == 1 { 480 } else { GridConfig::default().image_width };
    captioned_grid(&images.collect::<Result<Vec<_>>>()?, &GridConfig { columns, image_width, ..GridConfig::default() })
}

/// Pictures of a data set, each with the caption that a model wrote for it.
///
/// # Errors
/// As [`captioned_examples`]; [`Error::Argument`] if there is not one caption for each example.
pub fn written_captions(examples: &[Example], captions: &[String]) -> Result<Figure> {
    if examples.len() != captions.len() {
        let problem = format!("{} pictures and {} captions", examples.len(), captions.len());
        return Err(Error::argument(problem, "Give one caption for each picture."));
    }
    let images =
        examples.iter().zip(captions).map(|(example, caption)| Ok(CaptionedImage::new(example.picture()?, [caption])));
    captioned_grid(&images.collect::<Result<Vec<_>>>()?, &GridConfig::default())
}
