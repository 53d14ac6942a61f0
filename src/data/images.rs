//! From a picture file to the numbers that a network reads: decode, resize, normalise.
//!
//! Everything here is measured against Pillow and torchvision, because published weights were trained on what those two
//! make of a file: [`decode`] gives what `Image.open(path).convert("RGB")` gives after `ImageOps.exif_transpose`,
//! [`resize`] what `Image.resize` gives, [`Preprocess`] what torchvision's `Resize`, `CenterCrop`, `ToTensor` and
//! `Normalize` give, all within 1/255 on average.
//!
//! ```
//! use captionlab::data::{Preprocess, images};
//! # fn main() -> captionlab::Result<()> {
//! let picture = image::RgbImage::from_pixel(500, 375, image::Rgb([255, 0, 0]));
//! let smaller = images::resize(&picture, 100, 75, images::Filter::Bicubic)?;
//! assert_eq!(smaller.dimensions(), (100, 75));
//!
//! let tensor = Preprocess::imagenet().to_tensor(&picture)?;
//! assert_eq!(tensor.size(), [3, 224, 224]);
//! # Ok(())
//! # }
//! ```

use std::fs::File;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fast_image_resize as resampling;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, Rgb, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use crate::data::ImageSource;
use crate::data::scenes::Scene;
use crate::{Error, Result};

/// The most pixels that a picture may have: 178,956,970, where Pillow too takes a picture for a decompression bomb.
pub const MAXIMUM_PIXELS: u64 = 178_956_970;

/// The most bytes that a picture file may have.
const MAXIMUM_FILE_BYTES: u64 = 1 << 30;

const REPLACE: &str = "Replace the file, or take it out of the data set.";

// --- decoding ---

/// Reads a JPEG or PNG file as 8-bit RGB, upright.
///
/// The content decides the format, not the file's extension. The result is that of Pillow's `convert("RGB")`:
/// - the orientation that a camera wrote into the EXIF data is applied (as `ImageOps.exif_transpose` does);
/// - grey becomes three equal channels, palettes are looked up, CMYK and YCCK JPEGs are read as Adobe writes them
///   (inverted); colour profiles are ignored;
/// - transparency is dropped: a transparent pixel keeps the colour stored under it;
/// - of 16-bit channels the high byte is kept, also in grey pictures (where Pillow's result has varied by version).
///
/// A file that ends before its picture does is refused, as Pillow refuses it: the missing part would be grey.
///
/// # Errors
/// [`Error::File`] if the file is missing or cannot be read; [`Error::Image`] if it is a folder, empty, cut short, damaged,
/// of another format, or of more than [`MAXIMUM_PIXELS`] pixels (found out before memory is asked for).
pub fn decode(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    read_file(path, &mut bytes)?;
    decode_bytes(&bytes, path)
}

/// [`decode`] for a file that is in memory already; `name` stands for it in messages.
///
/// # Errors
/// As [`decode`].
pub fn decode_bytes(bytes: &[u8], name: impl AsRef<Path>) -> Result<RgbImage> {
    let name = name.as_ref();
    // The decoders parse hostile bytes. A panic in one of them is a broken picture, and must not end a training run.
    catch_unwind(AssertUnwindSafe(|| match bytes {
        [] => Err(Problem::new("the file is empty (0 bytes)", "Download it again, or take it out of the data set.")),
        [0xFF, 0xD8, ..] => decode_jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => decode_png(bytes),
        _ => Err(not_a_picture(bytes)),
    }))
    .unwrap_or_else(|_| Err(Problem::new("the decoder failed on this picture", REPLACE)))
    .map_err(|problem| problem.at(name))
}

/// The pixels of an image, wherever they come from: a file is decoded, a scene is drawn.
///
/// # Errors
/// As [`decode`].
pub fn decode_source(source: &ImageSource) -> Result<RgbImage> {
    let mut bytes = Vec::new();
    decode_source_with(source, &mut bytes)
}

/// [`decode_source`] with a buffer for the file's bytes that is used again for the next file.
pub(super) fn decode_source_with(source: &ImageSource, bytes: &mut Vec<u8>) -> Result<RgbImage> {
    match source {
        ImageSource::File(path) => {
            read_file(path, bytes)?;
            decode_bytes(bytes, path)
        }
        ImageSource::Scene { seed, index } => Ok(Scene::generate(*seed, *index).draw()),
    }
}

/// What is wrong with a picture, before the file's name is known.
struct Problem {
    what: String,
    help: String,
}

impl Problem {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }

    fn damaged(format: &str, source: impl std::fmt::Display) -> Self {
        Self::new(format!("the {format} data is damaged ({source})"), REPLACE)
    }

    fn at(self, path: &Path) -> Error {
        Error::Image { path: path.to_owned(), problem: self.what, help: self.help }
    }
}

/// The bytes of a picture's file, not looked at.
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
    // Looked at before it is opened: opening a pipe waits for someone to write into it.
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
        // The limit holds even if the file has grown meanwhile.
        let file = File::open(path).map_err(cannot_read)?;
        file.take(MAXIMUM_FILE_BYTES).read_to_end(bytes).map_err(cannot_read)?;
        return Ok(());
    };
    Err(problem.at(path))
}

fn not_a_picture(bytes: &[u8]) -> Problem {
    let other = match bytes {
        [b'G', b'I', b'F', b'8', ..] => Some("GIF"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("WebP"),
        [b'B', b'M', ..] => Some("BMP"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("TIFF"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f', ..] => Some("AVIF"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', ..] => Some("HEIC"),
        _ => None,
    };
    match other {
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

fn check_pixels(width: u64, height: u64) -> Result<(), Problem> {
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

fn decode_jpeg(bytes: &[u8]) -> Result<RgbImage, Problem> {
    let damaged = |error: zune_jpeg::errors::DecodeErrors| match error {
        zune_jpeg::errors::DecodeErrors::Unsupported(kind) => Problem::new(
            format!("this kind of JPEG is not read ({kind:?})"),
            "Save it again as an ordinary (baseline or progressive) JPEG or as PNG.",
        ),
        _ if !jpeg_is_complete(bytes) => truncated(),
        error => Problem::damaged("JPEG", format!("{error:?}").trim_matches('"')),
    };
    // As lenient with small faults as Pillow; size is checked below, with our own message.
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or_else(truncated)?;
    check_pixels(width as u64, height as u64)?;
    if !jpeg_is_complete(bytes) {
        return Err(truncated());
    }
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

fn truncated() -> Problem {
    Problem::new("the file ends before the picture does", "Download or copy it again, or take it out of the data set.")
}

/// Whether the end-of-image marker comes where it must. The decoder fills what is missing with grey and says nothing.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut rest = &bytes[2..];
    let mut scan_seen = false;
    while let Some(position) = rest.iter().position(|&byte| byte == 0xFF) {
        rest = &rest[position + 1..];
        match *rest {
            // A second 0xFF is padding: the marker is still to come.
            [0xFF, ..] => {}
            // A stuffed data byte, a marker without content, a restart, or a second start of image.
            [0x00 | 0x01 | 0xD0..=0xD8, ..] => rest = &rest[1..],
            [0xD9, ..] => return scan_seen,
            [marker, high, low, ..] => {
                scan_seen |= marker == 0xDA;
                match rest.get(1 + usize::from(u16::from_be_bytes([high, low]))..) {
                    Some(after) => rest = after,
                    None => return false,
                }
            }
            _ => return false,
        }
    }
    false
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
    // The signature, then a chunk's length and name, then the sizes: checked before the decoder asks for memory.
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

fn upright(picture: RgbImage, orientation: Option<Orientation>) -> RgbImage {
    match orientation {
        None | Some(Orientation::NoTransforms) => picture,
        Some(orientation) => {
            let mut picture = DynamicImage::ImageRgb8(picture);
            picture.apply_orientation(orientation);
            picture.into_rgb8()
        }
    }
}

// --- resizing ---

/// How pixels are weighed when a picture is resized. Both are anti-aliased: when a picture shrinks, the filter widens, so
/// that every pixel of the original counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// A triangle: Pillow's `BILINEAR`, torchvision's default for ImageNet.
    Bilinear,
    /// Keys' cubic with a = −½: Pillow's `BICUBIC`, as in CLIP.
    Bicubic,
}

impl Filter {
    fn options(self) -> resampling::ResizeOptions {
        let filter = match self {
            Filter::Bilinear => resampling::FilterType::Bilinear,
            Filter::Bicubic => resampling::FilterType::CatmullRom,
        };
        resampling::ResizeOptions::new().resize_alg(resampling::ResizeAlg::Convolution(filter))
    }
}

/// Resizes a picture to exactly `width` × `height` pixels, stretching it where the proportions differ.
///
/// # Errors
/// [`Error::Argument`] if the picture has no pixels, or a side is 0 or above 65,535.
pub fn resize(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> Result<RgbImage> {
    if !(1..=65_535).contains(&width) || !(1..=65_535).contains(&height) {
        return Err(Error::argument(
            format!("a picture cannot be resized to {width}×{height} pixels"),
            "Give a width and a height in 1..=65535.",
        ));
    }
    let mut resized = RgbImage::new(width, height);
    resample(&mut resampling::Resizer::new(), picture, &filter.options(), width, height, resized.as_mut())?;
    Ok(resized)
}

/// Resizes into `resized`, which has room for `height × width × 3` bytes. All pictures of this project are RGB of 8 bits: saying
/// so keeps the library's code for twelve other kinds of pixel out of this crate, which compiles in half the time.
pub(crate) fn resample(
    resizer: &mut resampling::Resizer,
    picture: &RgbImage,
    options: &resampling::ResizeOptions,
    width: u32,
    height: u32,
    resized: &mut [u8],
) -> Result<()> {
    let refused =
        |problem: &dyn std::fmt::Display| Error::argument(format!("the picture cannot be resized: {problem}"), REPLACE);
    if picture.width() == 0 || picture.height() == 0 {
        return Err(refused(&"it has no pixels"));
    }
    let from = TypedImageRef::<U8x3>::from_buffer(picture.width(), picture.height(), picture.as_raw())
        .map_err(|problem| refused(&problem))?;
    let mut to = TypedImage::<U8x3>::from_buffer(width, height, resized).map_err(|problem| refused(&problem))?;
    resizer.resize_typed(&from, &mut to, options).map_err(|problem| refused(&problem))
}

// --- what a network reads ---

/// Which part of a picture a network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    /// All of it, stretched to a square.
    Stretch,
    /// The picture is resized until its shorter side has so many pixels, and a square is cut out of its centre.
    Centre { shorter_side: u32 },
    /// The same, but where as many pixels cannot be left out on both sides, the square lies half a pixel further to the left,
    /// or higher up: so do the image processors of transformers. With [`Crop::Centre`] it lies where torchvision has it.
    CentreRoundedDown { shorter_side: u32 },
}

/// How a picture becomes the tensor that a network reads: resized, cut to a square, scaled to 0..1, then normalised,
/// `(value − mean) ÷ standard deviation`, channel by channel. Weights go with the preprocessing that they were trained on.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Preprocess {
    /// Side of the square that comes out, in pixels.
    pub size: u32,
    pub filter: Filter,
    pub crop: Crop,
    /// Mean of red, green and blue, on the scale 0..1.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, on the scale 0..1.
    pub standard_deviation: [f32; 3],
}

impl Preprocess {
    /// As torchvision's ImageNet classifiers: shorter side to 256, the middle 224 × 224.
    pub fn imagenet() -> Self {
        Self {
            size: 224,
            filter: Filter::Bilinear,
            crop: Crop::Centre { shorter_side: 256 },
            mean: [0.485, 0.456, 0.406],
            standard_deviation: [0.229, 0.224, 0.225],
        }
    }

    /// As OpenAI's CLIP ViT-B/32: shorter side to 224, bicubic, the middle 224 × 224.
    pub fn clip() -> Self {
        Self {
            size: 224,
            filter: Filter::Bicubic,
            crop: Crop::Centre { shorter_side: 224 },
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            standard_deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        }
    }

    /// For the project's own small networks: the whole picture in `size` × `size` pixels, values in −1..1.
    pub fn scenes(size: u32) -> Self {
        Self { size, filter: Filter::Bilinear, crop: Crop::Stretch, mean: [0.5; 3], standard_deviation: [0.5; 3] }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        if !(1..=8192).contains(&self.size) {
            return Err(Error::config("preprocess.size", self.size, "must be in 1..=8192"));
        }
        if let Crop::Centre { shorter_side } | Crop::CentreRoundedDown { shorter_side } = self.crop
            && !(self.size..=8192).contains(&shorter_side)
        {
            let expected = format!("must be in {}..=8192, as {0} pixels are cut out of it", self.size);
            return Err(Error::config("preprocess.crop.shorter_side", shorter_side, expected));
        }
        if !self.mean.iter().all(|value| value.is_finite()) {
            return Err(Error::config("preprocess.mean", format!("{:?}", self.mean), "must be three finite numbers"));
        }
        if !self.standard_deviation.iter().all(|&value| value.is_finite() && value > 0.0) {
            return Err(Error::config(
                "preprocess.standard_deviation",
                format!("{:?}", self.standard_deviation),
                "must be three finite numbers above 0",
            ));
        }
        Ok(())
    }

    /// What the network sees of a picture, as a picture: `size` × `size` pixels, before normalising.
    ///
    /// # Errors
    /// If a setting is out of range, or the picture has no pixels.
    pub fn cut(&self, picture: &RgbImage) -> Result<RgbImage> {
        let mut prepared = Prepared::new(self)?;
        prepared.resample(picture)?;
        RgbImage::from_raw(self.size, self.size, prepared.cut)
            .ok_or_else(|| Error::argument("the picture could not be cut", REPLACE))
    }

    /// The picture as numbers, `[3, size, size]` in row-major order: all of red, then green, then blue.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub fn apply(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        let mut prepared = Prepared::new(self)?;
        prepared.resample(picture)?;
        Ok(prepared.values().collect())
    }

    /// The rectangle of a `width` × `height` picture that becomes the square: left, top, width, height.
    ///
    /// Cutting first and resizing after, so that only pixels that are kept are computed, gives the same pixels as the
    /// other way round as long as the filter may look across the rectangle's edges, which it does.
    fn rectangle(&self, width: u32, height: u32) -> [f64; 4] {
        let (shorter_side, round): (_, fn(f64) -> f64) = match self.crop {
            Crop::Stretch => return [0.0, 0.0, f64::from(width), f64::from(height)],
            Crop::Centre { shorter_side } => (shorter_side, f64::round_ties_even),
            Crop::CentreRoundedDown { shorter_side } => (shorter_side, f64::floor),
        };
        let shorter = u64::from(width.min(height));
        // Whole numbers as in torchvision: the longer side rounds down, the offset half to even.
        let span = |side: u32| {
            let resized = (u64::from(shorter_side) * u64::from(side) / shorter) as f64;
            let scale = f64::from(side) / resized;
            let start = round((resized - f64::from(self.size)) / 2.0) * scale;
            (start, (f64::from(self.size) * scale).min(f64::from(side) - start))
        };
        let ((left, width), (top, height)) = (span(width), span(height));
        [left, top, width, height]
    }
}

/// A [`Preprocess`] made ready for many pictures: its tables computed, its buffers kept.
pub(super) struct Prepared {
    preprocess: Preprocess,
    /// For every channel, what each of the 256 byte values becomes.
    tables: [[f32; 256]; 3],
    resizer: resampling::Resizer,
    /// The last picture, `size` × `size` pixels, RGB.
    cut: Vec<u8>,
}

impl Prepared {
    pub(super) fn new(preprocess: &Preprocess) -> Result<Self> {
        preprocess.validate()?;
        let table = |channel: usize| {
            let (mean, deviation) = (preprocess.mean[channel], preprocess.standard_deviation[channel]);
            std::array::from_fn(|value| (value as f32 / 255.0 - mean) / deviation)
        };
        let side = preprocess.size as usize;
        Ok(Self {
            preprocess: preprocess.clone(),
            tables: [table(0), table(1), table(2)],
            resizer: resampling::Resizer::new(),
            cut: vec![0; side * side * 3],
        })
    }

    fn resample(&mut self, picture: &RgbImage) -> Result<()> {
        let Preprocess { size, filter, .. } = self.preprocess;
        let [left, top, width, height] = self.preprocess.rectangle(picture.width().max(1), picture.height().max(1));
        let options = filter.options().crop(left, top, width, height);
        resample(&mut self.resizer, picture, &options, size, size, &mut self.cut)
    }

    /// The normalised values of the last picture, plane by plane.
    fn values(&self) -> impl Iterator<Item = f32> {
        self.tables
            .iter()
            .enumerate()
            .flat_map(|(channel, table)| self.cut.chunks_exact(3).map(move |pixel| table[usize::from(pixel[channel])]))
    }

    /// Writes a picture's normalised values, plane by plane. `values` has room for exactly `3 × size × size`; every one
    /// of them is written, or the result is an error.
    #[cfg(feature = "tensors")]
    pub(super) fn write(&mut self, picture: &RgbImage, values: &mut [std::mem::MaybeUninit<f32>]) -> Result<()> {
        self.resample(picture)?;
        let plane = self.cut.len() / 3;
        assert_eq!(values.len(), self.cut.len());
        for (channel, (plane, table)) in values.chunks_exact_mut(plane).zip(&self.tables).enumerate() {
            for (value, pixel) in plane.iter_mut().zip(self.cut.chunks_exact(3)) {
                value.write(table[usize::from(pixel[channel])]);
            }
        }
        Ok(())
    }
}
