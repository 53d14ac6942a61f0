//! Decodes JPEG and PNG files as Pillow does.

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, Rgb, RgbImage};

use super::REPLACE;
use super::jpeg::decode_jpeg;
use crate::data::ImageSource;
use crate::data::scenes::Scene;
use crate::{Error, Result};

/// Most pixels of an image: 178,956,970, Pillow's limit for decompression bombs.
pub const MAXIMUM_PIXELS: u64 = 178_956_970;

/// Largest image file in bytes.
const MAXIMUM_FILE_BYTES: u64 = 1 << 30;

/// Decodes a JPEG or PNG file to 8-bit RGB, upright.
///
/// The content decides the format, not the file's extension. The result is that of Pillow's `convert("RGB")`:
/// - applies the EXIF orientation (as `ImageOps.exif_transpose` does);
/// - expands grey to three equal channels, looks up palettes, reads CMYK and YCCK JPEGs as Adobe writes them (inverted), ignores
///   colour profiles;
/// - drops transparency: a transparent pixel keeps its stored colour;
/// - keeps the high byte of 16-bit channels, also in grey images (where Pillow's result has varied by version).
///
/// Truncated files are refused, as by Pillow, because the missing part would be grey. Files with a complete image but other data in
/// place of the end marker are read.
///
/// # Errors
/// [`Error::File`] if the file is missing or cannot be read; [`Error::Image`] if it is a folder, empty, truncated, damaged, of
/// another format, or has more than [`MAXIMUM_PIXELS`] pixels (checked before memory is allocated).
pub fn decode(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    read_file(path, &mut bytes)?;
    decode_bytes(&bytes, path)
}

/// As [`decode`], for a file in memory; messages call it `name`.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(bytes: &[u8], name: impl AsRef<Path>) -> Result<RgbImage> {
    let name = name.as_ref();
    // Decoders parse hostile bytes; a panic in one must not end a training run.
    catch_unwind(AssertUnwindSafe(|| match format_of(bytes) {
        _ if bytes.is_empty() => {
            Err(Problem::new("the file is empty (0 bytes)", "Download it again, or take it out of the data set."))
        }
        Some("JPEG") => decode_jpeg(bytes),
        Some("PNG") => decode_png(bytes),
        _ => Err(not_a_picture(bytes)),
    }))
    .unwrap_or_else(|_| Err(Problem::new("the decoder failed on this picture", REPLACE)))
    .map_err(|problem| problem.at(name))
}

/// The pixels of an image source: decodes a file, draws a scene.
///
/// # Errors
/// As [`decode`].
pub fn decode_source(source: &ImageSource) -> Result<RgbImage> {
    let mut bytes = Vec::new();
    decode_source_with(source, &mut bytes)
}

/// As [`decode_source`], reusing a buffer for the file's bytes.
pub(in crate::data) fn decode_source_with(source: &ImageSource, bytes: &mut Vec<u8>) -> Result<RgbImage> {
    match source {
        ImageSource::File(path) => {
            read_file(path, bytes)?;
            decode_bytes(bytes, path)
        }
        ImageSource::Scene { seed, index } => Ok(Scene::generate(*seed, *index).draw()),
    }
}

/// A problem with an image whose file name is not known yet.
pub(super) struct Problem {
    what: String,
    help: String,
}

impl Problem {
    pub(super) fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }

    pub(super) fn damaged(format: &str, source: impl std::fmt::Display) -> Self {
        Self::new(format!("the {format} data is damaged ({source})"), REPLACE)
    }

    fn at(self, path: &Path) -> Error {
        Error::Image { path: path.to_owned(), problem: self.what, help: self.help }
    }
}

/// Reads an image file without decoding it.
///
/// # Errors
/// As [`decode`], when the file cannot be read or is too large.
#[cfg(feature = "tensors")]
pub(crate) fn read_picture_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_file(path, &mut bytes)?;
    Ok(bytes)
}

fn read_file(path: &Path, bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    let cannot_read = |source| {
        Error::file(path, "read the picture", source, "Check that the path is right and that you may read it.")
    };
    // Checked before opening, because opening a pipe blocks until someone writes.
    let metadata = std::fs::metadata(path).map_err(cannot_read)?;
    let problem = if metadata.is_dir() {
        Problem::new("this is a folder, not a picture", "Name a JPEG or PNG file inside it.")
    } else if !metadata.is_file() {
        Problem::new("this is a device or a pipe, not a picture", "Name a JPEG or PNG file.")
    } else if metadata.len() > MAXIMUM_FILE_BYTES {
        Problem::new(
            format!("the file has {} bytes; a picture may have {MAXIMUM_FILE_BYTES}", metadata.len()),
            "Store it smaller.",
        )
    } else {
        // Limits the read even if the file has grown meanwhile.
        let file = File::open(path).map_err(cannot_read)?;
        file.take(MAXIMUM_FILE_BYTES).read_to_end(bytes).map_err(cannot_read)?;
        return Ok(());
    };
    Err(problem.at(path))
}

/// The format of an image, by its first bytes.
pub(in crate::data) fn format_of(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes {
        [0xFF, 0xD8, ..] => "JPEG",
        [0x89, b'P', b'N', b'G', ..] => "PNG",
        [b'G', b'I', b'F', b'8', ..] => "GIF",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "WebP",
        [b'B', b'M', ..] => "BMP",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "TIFF",
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f', ..] => "AVIF",
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..] => "HEIC",
        [_, _, _, _, b'f', b't', b'y', b'p', b'm', b'i', b'f', ..] => "HEIC",
        _ => return None,
    })
}

fn not_a_picture(bytes: &[u8]) -> Problem {
    match format_of(bytes) {
        Some(format) => Problem::new(
            format!("this is a {format} picture; JPEG and PNG are read"),
            format!("Convert it, for example with `magick in.{} out.png`.", format.to_lowercase()),
        ),
        None => {
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]);
            Problem::new(
                format!("this is neither a JPEG nor a PNG picture, whatever its name says (it begins with {start:?})"),
                REPLACE,
            )
        }
    }
}

pub(super) fn check_pixels(width: u64, height: u64) -> Result<(), Problem> {
    if width == 0 || height == 0 {
        return Err(Problem::new(format!("the picture has no pixels ({width}×{height})"), REPLACE));
    }
    if width.saturating_mul(height) > MAXIMUM_PIXELS {
        return Err(Problem::new(
            format!("the header promises {width}×{height} pixels; more than {MAXIMUM_PIXELS} are not read"),
            "If the picture is really that large, store it smaller; if not, the file is damaged or means harm.",
        ));
    }
    Ok(())
}

pub(super) fn truncated() -> Problem {
    Problem::new("the file ends before the picture does", "Download or copy it again, or take it out of the data set.")
}

fn decode_png(bytes: &[u8]) -> Result<RgbImage, Problem> {
    let damaged = |error: image::ImageError| match &error {
        image::ImageError::IoError(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => truncated(),
        _ if !bytes.windows(4).any(|window| window == b"IEND") => truncated(),
        _ => Problem::damaged("PNG", error),
    };
    // 16-bit RGBA, the widest kind of pixel, has eight bytes.
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(8 * MAXIMUM_PIXELS);
    // Signature, chunk length and name, then the size: checked before the decoder allocates.
    if let Some((width, height)) = bytes.get(16..24).map(|sizes| sizes.split_at(4)) {
        let number = |digits: &[u8]| digits.iter().fold(0, |number, &digit| number << 8 | u64::from(digit));
        check_pixels(number(width), number(height))?;
    }
    let mut decoder = image::codecs::png::PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(damaged)?;
    let orientation = decoder.orientation().ok();
    let picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let picture = match picture {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            let wide = picture.into_rgb16();
            RgbImage::from_fn(wide.width(), wide.height(), |x, y| {
                Rgb(wide.get_pixel(x, y).0.map(|value| (value >> 8) as u8))
            })
        }
        picture => picture.into_rgb8(),
    };
    Ok(upright(picture, orientation))
}

pub(super) fn upright(picture: RgbImage, orientation: Option<Orientation>) -> RgbImage {
    match orientation {
        None | Some(Orientation::NoTransforms) => picture,
        Some(orientation) => {
            let mut picture = DynamicImage::ImageRgb8(picture);
            picture.apply_orientation(orientation);
            picture.into_rgb8()
        }
    }
}
