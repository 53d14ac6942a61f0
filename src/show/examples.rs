//! Grids of captioned examples.

use image::{Rgb, RgbImage};

use super::figure::Figure;
use super::grid::{CaptionedImage, GridConfig, captioned_grid};
use crate::data::Example;
use crate::{Error, Result};

/// Draws examples, each with its first `captions` captions. Unreadable images are grey with a note.
///
/// # Errors
/// [`Error::Argument`] without examples.
pub fn captioned_examples(examples: &[Example], captions: usize) -> Result<Figure> {
    let images: Vec<_> =
        examples.iter().map(|example| captioned(example, example.captions.iter().take(captions).cloned())).collect();
    let columns = if examples.len() == 1 { 1 } else { GridConfig::default().columns };
    let image_width = if examples.len() == 1 { 480 } else { GridConfig::default().image_width };
    captioned_grid(&images, &GridConfig { columns, image_width, ..GridConfig::default() })
}

fn captioned(example: &Example, captions: impl Iterator<Item = String>) -> CaptionedImage {
    match example.picture() {
        Ok(picture) => CaptionedImage::new(picture, captions),
        Err(_) => {
            let grey = RgbImage::from_pixel(128, 128, Rgb([200; 3]));
            CaptionedImage::new(grey, captions).with_title(format!("{}: cannot be read", example.name))
        }
    }
}

/// Draws captions of a model that were [ranked](crate::caption::ranked), each with its CIDEr-D.
///
/// # Errors
/// As [`captioned_examples`].
#[cfg(feature = "tensors")]
pub fn ranked_captions(ranked: &[crate::caption::RankedCaption]) -> Result<Figure> {
    let image = |one: &crate::caption::RankedCaption| {
        let image = captioned(&one.example, std::iter::once(one.caption.clone()));
        if image.title.is_some() { image } else { image.with_title(format!("CIDEr-D {:.2}", one.cider_d)) }
    };
    captioned_grid(&ranked.iter().map(image).collect::<Vec<_>>(), &GridConfig::default())
}

/// Draws examples, each with the caption that a model generated for it.
///
/// # Errors
/// As [`captioned_examples`]; [`Error::Argument`] if the numbers of captions and examples differ.
pub fn written_captions(examples: &[Example], captions: &[String]) -> Result<Figure> {
    if examples.len() != captions.len() {
        let problem = format!("{} pictures and {} captions", examples.len(), captions.len());
        return Err(Error::argument(problem, "Give one caption for each picture."));
    }
    let images: Vec<_> = examples
        .iter()
        .zip(captions)
        .map(|(example, caption)| captioned(example, std::iter::once(caption.clone())))
        .collect();
    captioned_grid(&images, &GridConfig::default())
}
