//! Figures with text alternatives for notebooks.

use std::fmt;
use std::fs;
use std::path::Path;

use image::RgbImage;

use super::palette::{Indexed, indexed};
use crate::{Error, Result};

/// A PNG with a text alternative.
///
/// As the last expression of a notebook cell it displays itself. The text alternative is output as `text/plain`, and stored in the
/// PNG's `Description`.
#[derive(Clone, PartialEq, Eq)]
pub struct Figure {
    /// The encoded PNG.
    pub png: Vec<u8>,
    /// The text alternative: one paragraph without line breaks.
    pub alternative: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Figure {
    /// Creates a figure of an image.
    ///
    /// # Errors
    /// [`Error::Argument`] if the image has no pixels.
    pub fn from_image(image: &RgbImage, alternative: impl AsRef<str>) -> Result<Self> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::argument(
                format!("a figure of {width}×{height} pixels shows nothing"),
                "Give a picture that is at least one pixel wide and high.",
            ));
        }
        let alternative = one_paragraph(alternative.as_ref());
        let png = encode(image, &alternative).map_err(|error| failed(error.to_string()))?;
        Ok(Self { png, alternative, width, height })
    }

    /// Saves the PNG atomically.
    ///
    /// # Errors
    /// [`Error::File`] if the folder is missing or cannot be written to.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed =
            |source| Error::file(path, "save the figure", source, "Check that the folder exists and is yours.");
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.part", std::process::id()));
        fs::write(&beside, &self.png).and_then(|()| fs::rename(&beside, path)).map_err(|source| {
            let _ = fs::remove_file(&beside);
            failed(source)
        })
    }

    /// Displays the figure below the notebook cell. Notebooks call this for a cell's last expression.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("text/plain").text(&self.alternative);
        evcxr_runtime::mime_type("image/png").bytes(&self.png);
    }
}

impl fmt::Debug for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { png, alternative, width, height } = self;
        write!(formatter, "Figure({width}×{height}, {} bytes: {alternative})", png.len())
    }
}

/// An [`Error::Internal`] for failures that users cannot cause.
pub(super) fn failed(problem: impl std::fmt::Display) -> Error {
    Error::internal(format!("the figure could not be drawn: {problem}"))
}

/// Removes line breaks and control characters, so that a text can neither end the notebook's output early nor break the PNG's
/// description.
pub(super) fn one_paragraph(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

/// Formats `Line chart: The captioner learns.`, with one full stop and without an empty title.
pub(super) fn headed(kind: &str, title: &str) -> String {
    match title.trim() {
        "" => format!("{kind}."),
        title if title.ends_with(['.', '!', '?', '…']) => format!("{kind}: {title}"),
        title => format!("{kind}: {title}."),
    }
}

fn encode(image: &RgbImage, alternative: &str) -> Result<Vec<u8>, png::EncodingError> {
    let Indexed { palette, indices } = indexed(image);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette.concat());
    encoder.set_compression(png::Compression::Balanced);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.add_itxt_chunk("Description".into(), alternative.into())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&indices)?;
    writer.finish()?;
    Ok(bytes)
}
