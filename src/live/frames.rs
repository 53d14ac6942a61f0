//! Frames as browsers send them.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, RgbImage};

use crate::data::images::{Filter, decode_bytes, resize};
use crate::{Error, Result};

/// Most bytes of a frame.
pub(super) const FRAME_BYTES: usize = 2 << 20;
/// Most pixels of a frame, looked up before anything is decoded.
pub(super) const FRAME_PIXELS: u64 = 1 << 22;

/// Decodes a frame, a JPEG or PNG file.
///
/// # Errors
/// [`Error::Argument`] for one that is too large, [`Error::Image`] for bytes that are no picture.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage> {
    const HELP: &str = "Send smaller frames: 320 pixels on the longer side are enough.";
    if bytes.len() > FRAME_BYTES {
        return Err(Error::argument(format!("a frame of {} bytes: {FRAME_BYTES} are taken", bytes.len()), HELP));
    }
    // What is no JPEG or PNG, or has no size, is named by the decoder.
    if let Ok(reader) = ImageReader::new(Cursor::new(bytes)).with_guessed_format()
        && matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png))
        && let Ok((width, height)) = reader.into_dimensions()
        && u64::from(width) * u64::from(height) > FRAME_PIXELS
    {
        return Err(Error::argument(format!("a frame of {width}×{height} pixels: {FRAME_PIXELS} are taken"), HELP));
    }
    decode_bytes(bytes, "the frame")
}

/// The picture, made smaller where its longer side has more than `side` pixels.
///
/// # Errors
/// [`Error::Argument`] for a picture without pixels.
pub(super) fn at_most(picture: RgbImage, side: u32) -> Result<RgbImage> {
    let (width, height) = picture.dimensions();
    let scale = f64::from(side) / f64::from(width.max(height));
    if scale >= 1.0 {
        return Ok(picture);
    }
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    resize(&picture, scaled(width), scaled(height), Filter::Bilinear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_made_shorter_and_nothing_vanishes() {
        for (before, after) in [
            ((100, 50), (100, 50)),
            ((160, 160), (160, 160)),
            ((640, 480), (160, 120)),
            ((480, 640), (120, 160)),
            ((5000, 1), (160, 1)),
            ((1, 5000), (1, 160)),
        ] {
            assert_eq!(at_most(RgbImage::new(before.0, before.1), 160).unwrap().dimensions(), after, "{before:?}");
        }
    }

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::new(width, height).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn frames_are_decoded_and_others_are_named() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            assert_eq!(decode(&encoded(40, 30, format)).unwrap().dimensions(), (40, 30));
            // Small enough in bytes, and far too large once decoded.
            let problem = decode(&encoded(5000, 2000, format)).unwrap_err().to_string();
            assert!(problem.contains("5000×2000"), "{problem}");
        }
        for (bytes, word) in [
            (b"".to_vec(), "empty"),
            (b"not a picture at all".to_vec(), "the frame"),
            (encoded(40, 30, ImageFormat::Jpeg)[..200].to_vec(), "the frame"),
            (vec![0xFF; FRAME_BYTES + 1], "bytes"),
        ] {
            let problem = decode(&bytes).unwrap_err().to_string();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
