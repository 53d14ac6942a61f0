//! Frames as browsers send them.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, RgbImage};

use crate::data::images::decode_bytes;
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

#[cfg(test)]
mod tests {
    use super::*;

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
