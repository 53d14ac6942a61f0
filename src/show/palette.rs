//! Colour quantisation: an indexed PNG is a fifth of the size and looks the same.

use image::RgbImage;

/// An image as indices into at most 256 colours.
pub(super) struct Indexed {
    pub palette: Vec<[u8; 3]>,
    pub indices: Vec<u8>,
}

/// Similar colours, counted together.
#[derive(Clone, Copy)]
struct Shade {
    /// Mean colour.
    colour: [f32; 3],
    count: f32,
    cell: usize,
}

/// Bits per channel that distinguish shades.
const BITS: usize = 6;

/// Quantises an image to 256 colours; exact if it has no more.
///
/// Splits the shades where they vary most (as Wu 1991) into 256 groups, and refines the groups' means by k-means.
pub(super) fn indexed(image: &RgbImage) -> Indexed {
    exact(image).unwrap_or_else(|| nearest(image))
}

/// The exact colours, or `None` if there are more than 256.
fn exact(image: &RgbImage) -> Option<Indexed> {
    let mut palette: Vec<[u8; 3]> = Vec::new();
    let mut known = std::collections::HashMap::new();
    let mut indices = Vec::with_capacity(image.as_raw().len() / 3);
    let mut previous = None;
    for pixel in image.pixels() {
        let index = match previous {
            Some((colour, index)) if colour == pixel.0 => index,
            _ => match known.get(&pixel.0) {
                Some(&index) => index,
                None => {
                    let index = u8::try_from(palette.len()).ok()?;
                    palette.push(pixel.0);
                    known.insert(pixel.0, index);
                    index
                }
            },
        };
        previous = Some((pixel.0, index));
        indices.push(index);
    }
    Some(Indexed { palette, indices })
}

fn nearest(image: &RgbImage) -> Indexed {
    let mut shades = shades(image);
    let groups = split(&mut shades, 256);
    let mut means: Vec<[f32; 3]> = groups.iter().map(|group| mean(&shades[group.clone()])).collect();
    for _ in 0..3 {
        let mut sums = vec![([0.0f32; 3], 0.0f32); means.len()];
        for shade in &shades {
            let (sum, count) = &mut sums[closest(&means, shade.colour)];
            (0..3).for_each(|channel| sum[channel] += shade.colour[channel] * shade.count);
            *count += shade.count;
        }
        for (mean, (sum, count)) in means.iter_mut().zip(sums).filter(|(_, (_, count))| *count > 0.0) {
            *mean = sum.map(|sum| sum / count);
        }
    }
    let mut index_of = vec![0u8; 1 << (3 * BITS)];
    for shade in &shades {
        index_of[shade.cell] = closest(&means, shade.colour) as u8;
    }
    let indices = image.pixels().map(|pixel| index_of[cell(pixel.0)]).collect();
    Indexed { palette: means.iter().map(|mean| mean.map(|channel| channel.round() as u8)).collect(), indices }
}

fn cell([red, green, blue]: [u8; 3]) -> usize {
    let part = |channel: u8| usize::from(channel) >> (8 - BITS);
    (part(red) << (2 * BITS)) | (part(green) << BITS) | part(blue)
}

fn shades(image: &RgbImage) -> Vec<Shade> {
    let mut sums = vec![([0u64; 3], 0u64); 1 << (3 * BITS)];
    for pixel in image.pixels() {
        let (sum, count) = &mut sums[cell(pixel.0)];
        (0..3).for_each(|channel| sum[channel] += u64::from(pixel.0[channel]));
        *count += 1;
    }
    let filled = sums.into_iter().enumerate().filter(|(_, (_, count))| *count > 0);
    filled
        .map(|(cell, (sum, count))| Shade { colour: sum.map(|s| s as f32 / count as f32), count: count as f32, cell })
        .collect()
}

/// Sorts the shades into at most `most` groups, returned as ranges.
fn split(shades: &mut [Shade], most: usize) -> Vec<std::ops::Range<usize>> {
    let whole = 0..shades.len();
    let mut groups = vec![(spread(shades), whole)];
    while groups.len() < most {
        let widest = groups.iter().enumerate().max_by(|(_, a), (_, b)| a.0.1.total_cmp(&b.0.1));
        let Some((index, ((channel, variance), range))) = widest.map(|(index, group)| (index, group.clone())) else {
            break;
        };
        if variance <= 0.0 {
            break;
        }
        let group = &mut shades[range.clone()];
        let middle = mean(group)[channel];
        group.sort_unstable_by(|a, b| a.colour[channel].total_cmp(&b.colour[channel]));
        let at = group.partition_point(|shade| shade.colour[channel] <= middle).clamp(1, group.len().max(2) - 1);
        let (low, high) = (range.start..range.start + at, range.start + at..range.end);
        groups[index] = (spread(&shades[low.clone()]), low);
        groups.push((spread(&shades[high.clone()]), high));
    }
    groups.into_iter().map(|(_, range)| range).collect()
}

/// The channel of the largest variance, and variance × count.
fn spread(shades: &[Shade]) -> (usize, f32) {
    if shades.len() < 2 {
        return (0, 0.0);
    }
    let mean = mean(shades);
    let variance = |channel: usize| -> f32 {
        shades.iter().map(|shade| (shade.colour[channel] - mean[channel]).powi(2) * shade.count).sum()
    };
    (0..3)
        .map(|channel| (channel, variance(channel)))
        .fold((0, 0.0), |best, next| if next.1 > best.1 { next } else { best })
}

fn mean(shades: &[Shade]) -> [f32; 3] {
    let count: f64 = shades.iter().map(|shade| f64::from(shade.count)).sum();
    let sum = |channel: usize| -> f64 {
        shades.iter().map(|shade| f64::from(shade.colour[channel]) * f64::from(shade.count)).sum()
    };
    [0, 1, 2].map(|channel| (sum(channel) / count.max(1.0)) as f32)
}

fn closest(palette: &[[f32; 3]], colour: [f32; 3]) -> usize {
    let distance = |entry: &[f32; 3]| -> f32 { (0..3).map(|channel| (entry[channel] - colour[channel]).powi(2)).sum() };
    let mut best = (0, f32::INFINITY);
    for (index, entry) in palette.iter().enumerate() {
        let distance = distance(entry);
        if distance < best.1 {
            best = (index, distance);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colours(indexed: &Indexed) -> Vec<[u8; 3]> {
        indexed.indices.iter().map(|&index| indexed.palette[usize::from(index)]).collect()
    }

    #[test]
    fn few_colours_stay_as_they_are() {
        let image = RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8, y as u8, 200]));
        let indexed = indexed(&image);
        assert_eq!(colours(&indexed), image.pixels().map(|pixel| pixel.0).collect::<Vec<_>>());
    }

    #[test]
    fn many_colours_stay_close_and_white_stays_white() {
        let image = RgbImage::from_fn(200, 200, |x, y| match y {
            0..100 => image::Rgb([255; 3]),
            _ => image::Rgb([x as u8, y as u8, ((x + y) / 2) as u8]),
        });
        let indexed = indexed(&image);
        assert!(indexed.palette.len() <= 256);
        for (before, after) in image.pixels().zip(colours(&indexed)) {
            let furthest = before.0.iter().zip(after).map(|(a, b)| a.abs_diff(b)).max().unwrap();
            assert!(furthest <= if before.0 == [255; 3] { 0 } else { 16 }, "{before:?} became {after:?}");
        }
    }
}
