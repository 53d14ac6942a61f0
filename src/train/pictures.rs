//! Decoded pictures in memory, as bytes, and batches of them.

use std::collections::HashSet;

use image::RgbImage;
use rayon::prelude::*;
use tch::{Device, Tensor};

use super::examples::SplitExamples;
use super::supervised::Inputs;
use super::{Progress, RunSettings};
use crate::data::images::{Filter, decode_source, resize};
use crate::data::{Example, Random};
use crate::{Error, Result};

/// Pictures of one size, channels last, one byte a number.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    side: usize,
    bytes: Vec<u8>,
    /// Width and height of each before it was resized.
    sizes: Vec<(u32, u32)>,
}

/// Pictures as a network reads them in training.
#[derive(Debug)]
pub(crate) struct PictureInputs {
    pub(crate) pictures: Pictures,
    /// Most pixels that a picture is moved by in training, each way.
    shift_pixels: usize,
    device: Device,
}

impl Inputs for PictureInputs {
    /// `[batch, side, side, 3]`, bytes.
    type Batch = Tensor;

    fn batch(&self, indices: &[usize], random: Option<&mut Random>) -> Result<Tensor> {
        Ok(self.pictures.batch(indices, random.map(|random| (self.shift_pixels, random)), self.device))
    }
}

/// How pictures become squares in memory.
pub(crate) struct PictureLoading<'a> {
    pub(crate) side: usize,
    /// How a picture becomes a square of that side.
    pub(crate) cut: &'a (dyn Fn(&RgbImage) -> Result<RgbImage> + Sync),
    /// Most pixels that a picture is moved by in training, each way.
    pub(crate) shift_pixels: usize,
}

/// All of a picture, stretched to a square.
pub(crate) fn stretched(side: usize) -> impl Fn(&RgbImage) -> Result<RgbImage> + Sync {
    move |picture| fit(picture, side)
}

/// How many pictures are decoded between two looks at whether to go on.
const CHUNK: usize = 128;

/// Decodes the pictures of the examples of all parts; examples whose pictures cannot be read are left out, with a note.
///
/// # Errors
/// [`Error::Config`] when they need more memory than the settings allow.
pub(crate) fn load_pictures<Target: Clone>(
    parts: [&mut SplitExamples<Target, PictureInputs>; 3],
    loading: &PictureLoading<'_>,
    settings: &RunSettings,
    progress: &Progress,
) -> Result<()> {
    let side = loading.side;
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let bytes = (total as u64).saturating_mul(3 * (side * side) as u64);
    if bytes > settings.memory_limit {
        let expected = format!(
            "{total} pictures of {side}×{side} take {bytes} bytes; raise the limit, or use fewer or smaller ones"
        );
        return Err(Error::config("run.memory_limit", settings.memory_limit, expected));
    }
    let mut before = 0;
    let mut problems = Vec::new();
    let mut left = Vec::new();
    for part in parts {
        let (mut pictures, mut readable) = (Pictures { side, ..Pictures::default() }, Vec::new());
        for (number, chunk) in part.examples.chunks(CHUNK).enumerate() {
            progress.preparing(before + number * CHUNK, total);
            if progress.should_stop() {
                break;
            }
            let load = |example: &Example| {
                let picture = decode_source(&example.image)?;
                Ok(((loading.cut)(&picture)?, picture.dimensions()))
            };
            let decoded: Vec<Result<(RgbImage, (u32, u32))>> = chunk.par_iter().map(load).collect();
            for (place, picture) in decoded.into_iter().enumerate() {
                match picture {
                    Ok((picture, size)) => {
                        pictures.bytes.extend_from_slice(picture.as_raw());
                        pictures.sizes.push(size);
                        readable.push(number * CHUNK + place);
                    }
                    Err(error) => problems.push(error.to_string()),
                }
            }
        }
        before += part.len();
        let inputs = PictureInputs { pictures, shift_pixels: loading.shift_pixels, device: settings.device };
        part.keep(&readable, inputs);
        left.push(part.len());
    }
    // A picture may be in several parts: those that samples are taken of are validation pictures too.
    let mut named = HashSet::new();
    problems.retain(|problem| named.insert(problem.clone()));
    progress.left_out(&problems, left[0] == 0);
    Ok(())
}

impl Pictures {
    /// Pictures that are decoded already, resized to `side` × `side`.
    pub(crate) fn of(pictures: &[RgbImage], side: usize) -> Result<Self> {
        let resized: Vec<RgbImage> = pictures.par_iter().map(|picture| fit(picture, side)).collect::<Result<_>>()?;
        let bytes = resized.iter().flat_map(|picture| picture.as_raw().iter().copied()).collect();
        Ok(Self { side, bytes, sizes: pictures.iter().map(RgbImage::dimensions).collect() })
    }

    /// Width and height of the pictures before they were resized.
    pub(crate) fn sizes(&self) -> &[(u32, u32)] {
        &self.sizes
    }

    /// One of the pictures, as it was resized.
    pub(crate) fn picture(&self, index: usize) -> RgbImage {
        let size = 3 * self.side * self.side;
        let bytes = self.bytes[index * size..(index + 1) * size].to_vec();
        RgbImage::from_raw(self.side as u32, self.side as u32, bytes)
            .expect("a picture has as many bytes as its size says")
    }

    pub(crate) fn len(&self) -> usize {
        self.sizes.len()
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
}
