//! Decoded pictures in memory, as bytes, and batches of them.

use image::RgbImage;
use rayon::prelude::*;
use tch::{Device, Tensor};

use crate::data::images::{Filter, decode_source, resize};
use crate::data::{Example, Random};
use crate::{Error, Result};

/// Pictures of one size, channels last, one byte a number.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    side: usize,
    bytes: Vec<u8>,
}

/// What came of decoding many pictures.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) pictures: Pictures,
    /// Which examples the pictures are of, in order: those that could be decoded.
    pub(crate) examples: Vec<usize>,
    /// Their width and height before they were resized.
    pub(crate) sizes: Vec<(u32, u32)>,
    /// Why the others could not.
    pub(crate) problems: Vec<String>,
}

/// How a picture becomes a square of the side that is asked for.
pub(crate) type Cut<'a> = &'a (dyn Fn(&RgbImage) -> Result<RgbImage> + Sync);

/// All of a picture, stretched to a square.
pub(crate) fn stretched(side: usize) -> impl Fn(&RgbImage) -> Result<RgbImage> + Sync {
    move |picture| fit(picture, side)
}

/// How many pictures are decoded between two looks at whether to go on.
const PART: usize = 128;

impl Pictures {
    /// Decodes the pictures of examples, and cuts them to `side` × `side`. `go_on` is told how many are done, and says
    /// whether to go on.
    pub(crate) fn load(
        examples: &[Example],
        side: usize,
        cut: Cut<'_>,
        memory_limit: u64,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<Loaded> {
        let bytes = (examples.len() as u64).saturating_mul(3 * (side * side) as u64);
        if bytes > memory_limit {
            return Err(Error::config(
                "memory_limit",
                memory_limit,
                format!(
                    "{} pictures of {side}×{side} take {bytes} bytes; raise the limit, or use a smaller \
                     `captioner.encoder.image_size`",
                    examples.len()
                ),
            ));
        }
        let mut loaded =
            Loaded { pictures: Self { side, bytes: Vec::with_capacity(bytes as usize) }, ..Loaded::default() };
        for (part, chunk) in examples.chunks(PART).enumerate() {
            if !go_on(part * PART) {
                break;
            }
            let load = |example: &Example| {
                let picture = decode_source(&example.image)?;
                Ok((cut(&picture)?, picture.dimensions()))
            };
            let decoded: Vec<Result<(RgbImage, (u32, u32))>> = chunk.par_iter().map(load).collect();
            for (index, picture) in decoded.into_iter().enumerate() {
                match picture {
                    Ok((picture, size)) => {
                        loaded.sizes.push(size);
                        loaded.pictures.bytes.extend_from_slice(picture.as_raw());
                        loaded.examples.push(part * PART + index);
                    }
                    Err(error) => loaded.problems.push(error.to_string()),
                }
            }
        }
        Ok(loaded)
    }

    /// Decodes the pictures of a few examples, all of which must be readable.
    pub(crate) fn decode(examples: &[Example], side: usize) -> Result<Self> {
        let decode = |example: &Example| decode_source(&example.image);
        Self::of(&examples.par_iter().map(decode).collect::<Result<Vec<_>>>()?, side)
    }

    /// Pictures that are decoded already, resized to `side` × `side`.
    pub(crate) fn of(pictures: &[RgbImage], side: usize) -> Result<Self> {
        let resized: Vec<RgbImage> = pictures.par_iter().map(|picture| fit(picture, side)).collect::<Result<_>>()?;
        Ok(Self { side, bytes: resized.iter().flat_map(|picture| picture.as_raw().iter().copied()).collect() })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() / (3 * self.side * self.side).max(1)
    }

    /// A batch, `[batch, side, side, 3]`, bytes.
    ///
    /// With `shift`, each picture is moved by up to so many pixels each way, drawn from the generator; what comes in at the
    /// border repeats the border.
    pub(crate) fn batch(&self, indices: &[usize], mut shift: Option<(usize, &mut Random)>, device: Device) -> Tensor {
        let row = 3 * self.side;
        let size = row * self.side;
        let mut batch = vec![0; indices.len() * size];
        for (target, &index) in batch.chunks_exact_mut(size.max(1)).zip(indices) {
            let source = &self.bytes[index * size..(index + 1) * size];
            let (right, down) = match &mut shift {
                Some((most, random)) if *most > 0 => (offset(*most, random), offset(*most, random)),
                _ => {
                    target.copy_from_slice(source);
                    continue;
                }
            };
            let last = self.side as i64 - 1;
            for (y, target) in (0..).zip(target.chunks_exact_mut(row)) {
                let from = (y - down).clamp(0, last) as usize * row;
                let source = &source[from..from + row];
                let moved = (self.side - right.unsigned_abs() as usize) * 3;
                let (edge, at) = match right >= 0 {
                    true => (0, row - moved),
                    false => (row - 3, 0),
                };
                let border: [u8; 3] = [source[edge], source[edge + 1], source[edge + 2]];
                for pixel in target.chunks_exact_mut(3) {
                    pixel.copy_from_slice(&border);
                }
                let from = if right >= 0 { 0 } else { row - moved };
                target[at..at + moved].copy_from_slice(&source[from..from + moved]);
            }
        }
        let side = self.side as i64;
        Tensor::from_slice(&batch).reshape([indices.len() as i64, side, side, 3]).to_device(device)
    }
}

fn fit(picture: &RgbImage, side: usize) -> Result<RgbImage> {
    resize(picture, side as u32, side as u32, Filter::Bilinear)
}

/// A number in `-most..=most`.
fn offset(most: usize, random: &mut Random) -> i64 {
    random.below(2 * most + 1) as i64 - most as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageSource;

    /// A picture each of whose bytes is different.
    fn ramp(side: u32) -> RgbImage {
        RgbImage::from_raw(side, side, (0..side * side * 3).map(|byte| byte as u8).collect()).unwrap()
    }

    #[test]
    fn a_shift_moves_the_picture_and_repeats_its_border() {
        let side = 6;
        let pictures = Pictures::of(&[ramp(side)], side as usize).unwrap();
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let (right, down) = (offset(3, &mut random.clone()), {
                let mut random = random.clone();
                random.below(7);
                offset(3, &mut random)
            });
            let batch = pictures.batch(&[0], Some((3, &mut random)), Device::Cpu);
            let bytes: Vec<u8> = Vec::try_from(batch.flatten(0, -1)).unwrap();
            for y in 0..6i64 {
                for x in 0..6i64 {
                    let from = ((y - down).clamp(0, 5) * 6 + (x - right).clamp(0, 5)) as usize * 3;
                    let at = (y * 6 + x) as usize * 3;
                    let expected: Vec<u8> = (from..from + 3).map(|byte| byte as u8).collect();
                    assert_eq!(bytes[at..at + 3], expected[..], "shift {right}, {down} at {x}, {y}");
                }
            }
        }
    }

    #[test]
    fn a_picture_that_cannot_be_decoded_is_left_out_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good.png");
        ramp(8).save(&good).unwrap();
        let example = |path: std::path::PathBuf| Example {
            name: path.display().to_string(),
            image: ImageSource::File(path),
            captions: vec!["a ramp".into()],
            split: None,
            regions: vec![],
            links: vec![],
        };
        let examples = [example(folder.path().join("missing.png")), example(good)];
        let loaded = Pictures::load(&examples, 8, &stretched(8), 1 << 20, |_| true).unwrap();
        assert_eq!(loaded.examples, [1]);
        assert_eq!(loaded.pictures.len(), 1);
        assert!(loaded.problems[0].contains("missing.png"), "{:?}", loaded.problems);
        let error = Pictures::load(&examples, 8, &stretched(8), 100, |_| true).unwrap_err().to_string();
        assert!(error.starts_with("memory_limit = 100"), "{error}");
    }
}
