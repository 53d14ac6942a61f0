//! Decodes JPEG files as libjpeg does.

use std::borrow::Cow;

use image::RgbImage;
use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::errors::DecodeErrors;

use super::decode::{Problem, check_pixels, truncated, upright};

pub(super) fn decode_jpeg(bytes: &[u8]) -> Result<RgbImage, Problem> {
    let markers = Markers::of(bytes);
    let damaged = |error: DecodeErrors| match error {
        DecodeErrors::Unsupported(kind) => not_read(&format!("{kind:?}")),
        _ if !markers.is_complete => truncated(),
        error => Problem::damaged("JPEG", format!("{error:?}").trim_matches('"')),
    };
    // Tolerates small faults as Pillow does. Size is checked below, with our own message.
    let lenient = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let (bytes, options) = match markers.is_complete {
        true => (bytes, lenient),
        false => (&bytes[..bytes.len().saturating_sub(TRAILER)], lenient.set_strict_mode(true)),
    };
    let bytes = markers.with_colours_of_libjpeg(bytes);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(&*bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or_else(truncated)?;
    check_pixels(width as u64, height as u64)?;
    markers.check()?;
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    if grey {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::Luma));
    }
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let mut pixels = vec![0; width * height * if grey { 1 } else { 3 }];
    decoder.decode_into(&mut pixels).map_err(damaged)?;
    if grey {
        pixels = pixels.iter().flat_map(|&value| [value; 3]).collect();
    }
    let picture = RgbImage::from_raw(width as u32, height as u32, pixels)
        .ok_or_else(|| Problem::damaged("JPEG", "too few pixels"))?;
    Ok(upright(picture, orientation))
}

fn not_read(kind: &str) -> Problem {
    Problem::new(
        format!("this kind of JPEG is not read ({kind})"),
        "Save it again as an ordinary (baseline or progressive) JPEG or as PNG.",
    )
}

/// Number of bytes at the end of a file without end marker that must be unused for the image to count as complete. The decoder reads
/// a little ahead, and pads that much.
const TRAILER: usize = 16;

/// A component of the frame: id and sampling factors.
struct Component {
    id: u8,
    horizontal: u8,
    vertical: u8,
}

/// The contents of the markers.
#[derive(Default)]
struct Markers {
    /// Baseline or extended, not progressive.
    is_sequential: bool,
    components: Vec<Component>,
    /// Positions of the component ids in frame and scans.
    ids: Vec<usize>,
    has_jfif: bool,
    /// Transform of the last Adobe marker, and positions of all Adobe markers.
    adobe: Option<u8>,
    adobe_names: Vec<usize>,
    /// Number of components in the first scan, and in all scans.
    first_scan: usize,
    scanned: usize,
    /// Whether the end-of-image marker is where it must be. The decoder silently fills missing data with grey.
    is_complete: bool,
}

impl Markers {
    fn of(bytes: &[u8]) -> Self {
        let mut markers = Self::default();
        let mut at = 2;
        while let Some(next) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) {
            at += next + 1;
            match bytes.get(at..).unwrap_or_default() {
                // 0xFF may be repeated as padding.
                [0xFF, ..] => {}
                // A stuffed byte, a marker without content, a restart, or a second start of image.
                [0x00 | 0x01 | 0xD0..=0xD8, ..] => at += 1,
                [0xD9, ..] => {
                    markers.is_complete = markers.first_scan > 0;
                    break;
                }
                [marker, high, low, ..] => {
                    let end = at + 1 + usize::from(u16::from_be_bytes([*high, *low]));
                    let Some(content) = bytes.get(at + 3..end) else { break };
                    markers.take(*marker, content, at + 3);
                    at = end;
                }
                _ => break,
            }
        }
        markers
    }

    fn take(&mut self, marker: u8, content: &[u8], at: usize) {
        match (marker, content) {
            (0xDA, [count, ..]) => {
                let count = usize::from(*count);
                self.first_scan = if self.first_scan == 0 { count } else { self.first_scan };
                self.scanned += count;
                self.ids.extend((0..count).map(|component| at + 1 + 2 * component));
            }
            // Thumbnails and trailers contain markers of their own.
            _ if self.first_scan > 0 => {}
            (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF, [_, _, _, _, _, _, components @ ..]) => {
                self.is_sequential = marker <= 0xC1;
                let component =
                    |part: &[u8]| Component { id: part[0], horizontal: part[1] >> 4, vertical: part[1] & 15 };
                self.components = components.chunks_exact(3).map(component).collect();
                self.ids.extend((0..self.components.len()).map(|component| at + 6 + 3 * component));
            }
            (0xE0, [b'J', b'F', b'I', b'F', 0, ..]) => self.has_jfif |= content.len() >= 14,
            (0xEE, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                self.adobe = Some(*transform);
                self.adobe_names.push(at);
            }
            _ => {}
        }
    }

    /// Adds an Adobe marker that makes the decoder interpret the colours as libjpeg does (`default_decompress_parms` in jdapimin.c), if
    /// it would not.
    fn with_colours_of_libjpeg<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        const RGB: u8 = 0;
        const YCBCR: u8 = 1;
        const CMYK: u8 = 0;
        const YCCK: u8 = 2;
        let ids: Vec<u8> = self.components.iter().map(|component| component.id).collect();
        let (wanted, usual) = match (ids.len(), self.adobe) {
            (1, _) => (None, None),
            (3, _) if self.has_jfif => (Some(YCBCR), Some(YCBCR)),
            (3, Some(RGB)) => (Some(RGB), Some(YCBCR)),
            (3, None) if ids == *b"RGB" => (Some(RGB), Some(YCBCR)),
            (3, _) => (Some(YCBCR), Some(YCBCR)),
            (4, None | Some(CMYK)) => (Some(CMYK), Some(CMYK)),
            (4, _) => (Some(YCCK), Some(CMYK)),
            _ => return Cow::Borrowed(bytes),
        };
        // The decoder takes components with these ids for RGB whatever the markers say.
        let seem_rgb = ids == *b"RGB" && wanted == Some(YCBCR);
        if self.adobe.or(usual) == wanted && !seem_rgb {
            return Cow::Borrowed(bytes);
        }
        let mut changed = bytes.to_vec();
        for &place in self.ids.iter().filter(|_| seem_rgb) {
            if let Some(id) = changed.get_mut(place) {
                *id = id.to_ascii_lowercase();
            }
        }
        for &name in &self.adobe_names {
            changed[name] = b'-';
        }
        if let Some(transform) = wanted {
            let segment = [&[0xFF, 0xEE, 0, 14][..], b"Adobe", &[0, 100, 0, 0, 0, 0], &[transform]].concat();
            changed.splice(2..2, segment);
        }
        Cow::Owned(changed)
    }

    /// Refuses files that the decoder would silently get wrong.
    fn check(&self) -> Result<(), Problem> {
        let components = self.components.len();
        if ![1, 3, 4].contains(&components) {
            return Err(not_read(&format!("{components} colour components")));
        }
        let is_in_one = self.first_scan == components;
        // With several scans, later ones may be missing.
        let may_lack_its_end = self.is_sequential && is_in_one;
        if self.scanned < components || !(self.is_complete || may_lack_its_end) {
            return Err(truncated());
        }
        let first_is_widest = self.components.iter().all(|other| other.horizontal <= self.components[0].horizontal);
        if !first_is_widest {
            return Err(not_read("more columns of a colour than of the first"));
        }
        let is_tall = self.components.iter().any(|component| component.vertical > 1);
        if self.is_sequential && !is_in_one && (is_tall || self.first_scan > 1) {
            return Err(not_read("baseline with a scan for each colour, and fewer lines of some colours"));
        }
        Ok(())
    }
}
