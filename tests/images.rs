//! Pictures: what is read from them, compared with Pillow and torchvision; what is refused; and loading in batches.

mod python;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use captionlab::data::images::{self, Crop, Filter, MAXIMUM_PIXELS};
use captionlab::data::{Batch, ImageLoader, ImageSource, LoaderConfig, Preprocess, Random};
use captionlab::{Error, Result};
use image::{ImageFormat, Luma, Rgb, RgbImage};
use python::{output_of, python_with};
use tempfile::{TempDir, tempdir};

// --- helpers ---

/// Smooth shapes with some grain, as a photograph has.
fn picture(width: u32, height: u32, seed: u64) -> RgbImage {
    let mut random = Random::new(seed);
    let [a, b, c] = [0; 3].map(|_| random.between(0.02, 0.1));
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32, y as f32);
        Rgb([(a * x).sin() + (b * y).cos(), (b * x - a * y).sin(), (c * (x + y)).cos()]
            .map(|value| (128.0 + 60.0 * value + random.between(-6.0, 6.0)) as u8))
    })
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).expect("a picture can be encoded");
    bytes.into_inner()
}

/// Files `0.jpg`, `1.jpg` … of different sizes.
fn folder_of_pictures(count: u32) -> (TempDir, Vec<ImageSource>) {
    let folder = tempdir().expect("a temporary folder");
    let sources = (0..count).map(|number| {
        let path = folder.path().join(format!("{number}.jpg"));
        let bytes = encoded(&picture(40 + 7 * (number % 5), 60 - 5 * (number % 4), number.into()), ImageFormat::Jpeg);
        fs::write(&path, bytes).expect("the picture is written");
        ImageSource::File(path)
    });
    let sources = sources.collect();
    (folder, sources)
}

fn mean_difference(ours: &[u8], reference: &[u8]) -> f64 {
    assert_eq!(ours.len(), reference.len());
    let sum: u64 = ours.iter().zip(reference).map(|(&ours, &reference)| u64::from(ours.abs_diff(reference))).sum();
    sum as f64 / ours.len() as f64
}

/// Runs `tests/pillow_reference.py`; `None`, with a message, where there is no Python for it.
fn reference(arguments: &[&str], folder: &Path, more: &[String]) -> Option<Vec<(u32, u32)>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pillow_reference.py");
    let mut python = python_with("PIL numpy")?;
    let sizes = output_of(python.arg(script).arg(arguments[0]).arg(folder).args(&arguments[1..]).args(more));
    let size = |line: &str| {
        let (width, height) = line.split_once(' ').expect("width and height");
        (width.parse().expect("a width"), height.parse().expect("a height"))
    };
    Some(sizes.lines().map(size).collect())
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// Every twelfth photograph of the sample; none, with a message, where it is not there.
fn photographs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/flickr30k-sample/flickr30k-images");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("skipped: ../shared/flickr30k-sample is not here");
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
    paths.sort();
    paths.into_iter().step_by(12).collect()
}

// --- equal to Pillow and torchvision ---

fn assert_decoded_as_pillow_does(paths: &[PathBuf]) {
    let folder = tempdir().expect("a temporary folder");
    let Some(sizes) = reference(&["decode"], folder.path(), &names(paths)) else { return };
    let mut worst = (0.0, Path::new(""));
    for (number, (path, size)) in paths.iter().zip(sizes).enumerate() {
        let ours = images::decode(path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(ours.dimensions(), size, "{}", path.display());
        let theirs = fs::read(folder.path().join(format!("{number}.rgb"))).expect("the reference");
        let difference = mean_difference(&ours, &theirs);
        // Lossless formats leave no room for opinion; decoders of JPEG round differently, and libjpeg does not smooth the
        // colours of pictures that are narrower than five pixels.
        let allowed = match path.extension() {
            Some(extension) if extension == "png" => 0.0,
            _ if size.0 < 5 => 3.0,
            _ => 1.0,
        };
        assert!(difference <= allowed, "{}: {difference}/255 on average", path.display());
        if difference > worst.0 {
            worst = (difference, path);
        }
    }
    println!("{} pictures; the worst differs by {:.3}/255 on average: {}", paths.len(), worst.0, worst.1.display());
}

#[test]
fn every_kind_of_file_is_read_as_pillow_reads_it() {
    let folder = tempdir().expect("a temporary folder");
    if reference(&["make"], folder.path(), &[]).is_none() {
        return;
    }
    // Pillow cannot write 16 bits a channel.
    let mut random = Random::new(5);
    let wide = image::ImageBuffer::from_fn(31, 17, |_, _| Rgb([0; 3].map(|_| random.next_u64() as u16)));
    wide.save(folder.path().join("png-rgb-16-bit.png")).expect("a 16-bit picture");
    let wide = image::ImageBuffer::from_fn(31, 17, |_, _| image::Rgba([0; 4].map(|_| random.next_u64() as u16)));
    wide.save(folder.path().join("png-alpha-16-bit.png")).expect("a 16-bit picture");

    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 45, "only {} files", paths.len());
    assert_decoded_as_pillow_does(&paths);
}

/// The segments of a JPEG before its first scan, and the rest from the scan on.
fn segments(jpeg: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut segments, mut at) = (Vec::new(), 2);
    while jpeg[at + 1] != 0xDA {
        let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        segments.push(jpeg[at..end].to_vec());
        at = end;
    }
    (segments, jpeg[at..].to_vec())
}

fn joined(segments: &[Vec<u8>], rest: &[u8]) -> Vec<u8> {
    [&[0xFF, 0xD8][..], &segments.concat(), rest].concat()
}

fn adobe(transform: u8) -> Vec<u8> {
    [&[0xFF, 0xEE, 0, 14][..], b"Adobe", &[0, 100, 0, 0, 0, 0, transform]].concat()
}

#[test]
fn markers_say_of_colours_what_they_say_to_libjpeg() {
    let folder = tempdir().expect("a temporary folder");
    let jpeg = encoded(&picture(50, 39, 6), ImageFormat::Jpeg);
    let mut grey = Cursor::new(Vec::new());
    image::DynamicImage::ImageRgb8(picture(50, 39, 6))
        .into_luma8()
        .write_to(&mut grey, ImageFormat::Jpeg)
        .expect("written");
    let mut paths = Vec::new();
    for (kind, jpeg) in [("colour", jpeg), ("grey", grey.into_inner())] {
        let (all, rest) = segments(&jpeg);
        let with_jfif = [vec![], vec![all[0].clone()]];
        assert_eq!(all[0][4..8], *b"JFIF");
        for (jfif, adobe_first) in [(0, false), (1, false), (1, true)] {
            for transform in [None, Some(0), Some(1), Some(2)] {
                for ids in [[1, 2, 3], *b"RGB", [0, 1, 2]] {
                    let mut head = with_jfif[jfif].clone();
                    head.extend(transform.map(adobe));
                    if adobe_first {
                        head.reverse();
                    }
                    let mut others = all[1..].to_vec();
                    let mut scan = rest.clone();
                    let frame = others.iter_mut().find(|segment| segment[1] == 0xC0).expect("a frame");
                    let components = usize::from(frame[9]);
                    for component in 0..components {
                        frame[10 + 3 * component] = ids[component];
                        scan[5 + 2 * component] = ids[component];
                    }
                    let name = format!("{kind}-{jfif}-{adobe_first}-{transform:?}-{}.jpg", ids[0]);
                    let path = folder.path().join(name);
                    fs::write(&path, joined(&[head, others].concat(), &scan)).expect("written");
                    paths.push(path);
                }
            }
        }
    }
    assert_decoded_as_pillow_does(&paths);
    // Whatever Python there is: JFIF says YCbCr.
    let plain = images::decode(folder.path().join("colour-1-false-None-1.jpg")).expect("a JPEG");
    assert_eq!(images::decode(folder.path().join("colour-1-false-Some(0)-1.jpg")).expect("a JPEG"), plain);
    assert_ne!(images::decode(folder.path().join("colour-0-false-Some(0)-1.jpg")).expect("a JPEG"), plain);
}

/// A baseline JPEG whose three colours have a scan each: those of three grey pictures, which are coded alike.
fn scan_by_scan(width: u16, height: u16, [across, down]: [u8; 2]) -> Vec<u8> {
    let sides = |part: usize| match part {
        0 => (width, height),
        _ => (width.div_ceil(u16::from(across)), height.div_ceil(u16::from(down))),
    };
    let greys: Vec<_> = (0..3)
        .map(|part| {
            let (width, height) = sides(part);
            let grey =
                image::DynamicImage::ImageRgb8(picture(width.into(), height.into(), 20 + part as u64)).into_luma8();
            let mut bytes = Cursor::new(Vec::new());
            grey.write_to(&mut bytes, ImageFormat::Jpeg).expect("written");
            segments(&bytes.into_inner())
        })
        .collect();
    let mut head = greys[0].0.clone();
    for segment in head.iter_mut().filter(|segment| segment[1] == 0xC0) {
        let factors = across << 4 | down;
        let components = [1, factors, 0, 2, 0x11, 0, 3, 0x11, 0];
        *segment = [&[0xFF, 0xC0, 0, 17][..], &segment[4..9], &[3], &components].concat();
    }
    let mut scans: Vec<u8> = Vec::new();
    for (part, (_, scan)) in greys.iter().enumerate() {
        let mut scan = scan[..scan.len() - 2].to_vec();
        scan[5] = part as u8 + 1;
        scans.extend(scan);
    }
    scans.extend([0xFF, 0xD9]);
    joined(&head, &scans)
}

#[test]
fn colours_in_scans_of_their_own_are_read_as_pillow_reads_them_or_refused() {
    let folder = tempdir().expect("a temporary folder");
    let mut read = Vec::new();
    for factors in [[1, 1], [2, 1], [1, 2], [2, 2]] {
        for (width, height) in [(64, 48), (50, 39), (33, 70), (8, 8)] {
            let path = folder.path().join(format!("{factors:?}-{width}x{height}.jpg"));
            fs::write(&path, scan_by_scan(width, height, factors)).expect("written");
            match images::decode(&path) {
                Ok(_) => read.push(path),
                Err(error) => {
                    assert!(factors[1] > 1, "{error}");
                    assert!(error.to_string().contains("this kind of JPEG is not read (baseline"), "{error}");
                }
            }
        }
    }
    assert_eq!(read.len(), 8);
    assert_decoded_as_pillow_does(&read);
}

#[test]
fn colours_finer_than_the_first_are_refused() {
    let (mut head, scan) = segments(&encoded(&picture(50, 39, 6), ImageFormat::Jpeg));
    let frame = head.iter_mut().find(|segment| segment[1] == 0xC0).expect("a frame");
    frame[14] = frame[11] + 0x10;
    let error =
        images::decode_bytes(&joined(&head, &scan), "fine.jpg").expect_err("a kind that is not read").to_string();
    assert!(error.contains("this kind of JPEG is not read (more columns of a colour than of the first)"), "{error}");
}

#[test]
fn a_picture_that_is_whole_is_read_whatever_follows_it() {
    let folder = tempdir().expect("a temporary folder");
    let jpeg = encoded(&picture(50, 39, 6), ImageFormat::Jpeg);
    let whole = &jpeg[..jpeg.len() - 2];
    let text = b"panorama data of a telephone, not a picture. ".repeat(40);
    let mut paths = Vec::new();
    for (name, trailer) in [
        ("text", text.clone()),
        ("zeros", vec![0; 100]),
        ("end-and-text", [&[0xFF, 0xD9][..], &text].concat()),
        ("end-and-jpeg", [&[0xFF, 0xD9][..], &jpeg].concat()),
        ("text-and-jpeg", [&text[..], &jpeg].concat()),
    ] {
        let path = folder.path().join(format!("{name}.jpg"));
        fs::write(&path, [whole, &trailer].concat()).expect("written");
        assert_eq!(images::decode(&path).expect(name), images::decode_bytes(&jpeg, "jpeg").expect("a JPEG"), "{name}");
        // Pillow reads on into the second picture, and refuses the first.
        if name != "text-and-jpeg" {
            paths.push(path);
        }
    }
    assert_decoded_as_pillow_does(&paths);
}

#[test]
fn photographs_are_read_as_pillow_reads_them() {
    let paths = photographs();
    if !paths.is_empty() {
        assert_decoded_as_pillow_does(&paths);
    }
}

#[test]
fn resizing_equals_pillows() {
    let folder = tempdir().expect("a temporary folder");
    // Grain alone is the hardest: every weight shows.
    let mut random = Random::new(9);
    let grain = RgbImage::from_fn(97, 64, |_, _| Rgb([0; 3].map(|_| random.next_u64() as u8)));
    let pictures =
        [picture(333, 250, 3), grain, picture(1, 1, 4), picture(1, 5000, 5), picture(700, 3, 6), picture(224, 224, 7)];
    let wanted = [(224, 224), (64, 64), (333, 224), (500, 375), (10, 7), (1, 1), (300, 40), (33, 250), (1, 2000)];
    let cases: Vec<_> = [(Filter::Bilinear, "bilinear"), (Filter::Bicubic, "bicubic")]
        .into_iter()
        .flat_map(|filter| wanted.map(|size| (size, filter)))
        .collect();
    let arguments: Vec<String> =
        cases.iter().map(|((width, height), (_, name))| format!("{width}x{height}:{name}")).collect();
    let mut worst: f64 = 0.0;
    for (number, picture) in pictures.iter().enumerate() {
        let path = folder.path().join(format!("picture-{number}.png"));
        picture.save(&path).expect("the picture is written");
        let Some(_) = reference(&["resize"], folder.path(), &[&[path.display().to_string()], &arguments[..]].concat())
        else {
            return;
        };
        for (result, &((width, height), (filter, name))) in cases.iter().enumerate() {
            let ours = images::resize(picture, width, height, filter).expect("a picture can be resized");
            let theirs = fs::read(folder.path().join(format!("{result}.rgb"))).expect("the reference");
            let difference = mean_difference(&ours, &theirs);
            let largest = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max();
            let case = format!("{:?} to {width}×{height}, {name}", picture.dimensions());
            assert!(difference <= 1.0, "{case}: {difference}/255 on average");
            // Where colours overshoot and are cut off, it shows that Pillow goes along rows first and we along columns.
            if filter == Filter::Bilinear {
                assert!(largest <= Some(2), "{case}: {largest:?}/255 in one place");
            }
            worst = worst.max(difference);
        }
    }
    println!("the worst differs by {worst:.3}/255 on average");
}

#[test]
fn preprocessing_equals_torchvisions() {
    let folder = tempdir().expect("a temporary folder");
    let sizes = [(300, 400), (400, 300), (341, 256), (257, 256), (224, 224), (100, 37), (1, 900), (1, 1), (1000, 90)];
    let mut paths: Vec<PathBuf> = sizes
        .into_iter()
        .map(|(width, height)| {
            let path = folder.path().join(format!("{width}x{height}.png"));
            picture(width, height, 8).save(&path).expect("the picture is written");
            path
        })
        .collect();
    paths.extend(photographs());
    for (preset, preprocess) in [("imagenet", Preprocess::imagenet()), ("clip", Preprocess::clip())] {
        let Some(_) = reference(&["preprocess", preset], folder.path(), &names(&paths)) else { return };
        let mut worst: f64 = 0.0;
        for (number, path) in paths.iter().enumerate() {
            let ours = preprocess.apply(&images::decode(path).expect("a picture")).expect("preprocessed");
            let theirs = fs::read(folder.path().join(format!("{number}.f32"))).expect("the reference");
            let theirs = theirs.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")));
            assert_eq!(ours.len(), theirs.len());
            let plane = ours.len() / 3;
            let sum: f64 = ours
                .iter()
                .zip(theirs)
                .enumerate()
                .map(|(place, (a, b))| f64::from((a - b).abs() * preprocess.standard_deviation[place / plane]))
                .sum();
            let difference = 255.0 * sum / ours.len() as f64;
            assert!(difference <= 1.0, "{preset}, {}: {difference}/255 on average", path.display());
            worst = worst.max(difference);
        }
        println!("{preset}: {} pictures, the worst differs by {worst:.3}/255 on average", paths.len());
    }
}

// --- without a reference at hand ---

#[test]
fn pngs_come_back_exactly_and_jpegs_nearly() {
    let picture = picture(64, 48, 1);
    let png = images::decode_bytes(&encoded(&picture, ImageFormat::Png), "a.png").expect("a PNG");
    assert_eq!(png, picture);
    let jpeg = images::decode_bytes(&encoded(&picture, ImageFormat::Jpeg), "a.jpg").expect("a JPEG");
    assert!(mean_difference(&jpeg, &picture) < 8.0);
}

#[test]
fn the_content_decides_the_format_not_the_name() {
    let folder = tempdir().expect("a temporary folder");
    let path = folder.path().join("really-a-png.jpg");
    fs::write(&path, encoded(&picture(9, 5, 1), ImageFormat::Png)).expect("written");
    assert_eq!(images::decode(&path).expect("a PNG"), picture(9, 5, 1));
}

#[test]
fn sixteen_bit_grey_keeps_its_high_byte() {
    let wide = image::ImageBuffer::from_fn(4, 1, |x, _| Luma([[0u16, 255, 0x8001, 0xFFFF][x as usize]]));
    let mut bytes = Cursor::new(Vec::new());
    wide.write_to(&mut bytes, ImageFormat::Png).expect("a 16-bit picture");
    let read = images::decode_bytes(&bytes.into_inner(), "grey.png").expect("a PNG");
    assert_eq!(read.as_raw(), &[0, 0, 0, 0, 0, 0, 0x80, 0x80, 0x80, 0xFF, 0xFF, 0xFF]);
}

#[test]
fn cutting_first_and_resizing_after_gives_the_same_pixels() {
    for (width, height) in [(500, 375), (333, 500), (200, 133), (256, 300), (1, 5000), (1, 1)] {
        let picture = picture(width, height, 2);
        for preprocess in [Preprocess::imagenet(), Preprocess::clip()] {
            let Crop::Centre { shorter_side } = preprocess.crop else { unreachable!("both presets cut the centre") };
            let longer = |side: u32| (u64::from(shorter_side) * u64::from(side) / u64::from(width.min(height))) as u32;
            let (whole_width, whole_height) = (longer(width), longer(height));
            if whole_width.max(whole_height) > 65_535 {
                continue;
            }
            let whole = images::resize(&picture, whole_width, whole_height, preprocess.filter).expect("resized");
            let offset = |side: u32| (f64::from(side - preprocess.size) / 2.0).round_ties_even() as u32;
            let size = preprocess.size;
            let expected =
                image::imageops::crop_imm(&whole, offset(whole_width), offset(whole_height), size, size).to_image();
            let difference = mean_difference(&preprocess.cut(&picture).expect("cut"), &expected);
            assert!(difference < 0.1, "{width}×{height}, {preprocess:?}: {difference}/255");
        }
    }
}

#[test]
fn values_are_normalised_channel_by_channel_in_planes() {
    let mut preprocess = Preprocess::scenes(2);
    preprocess.mean = [0.0, 0.5, 1.0];
    preprocess.standard_deviation = [1.0, 0.5, 0.25];
    let picture = RgbImage::from_raw(2, 2, vec![0, 0, 0, 51, 51, 51, 102, 102, 102, 255, 255, 255]).expect("2×2");
    let tensor = preprocess.to_tensor(&picture).expect("a tensor");
    assert_eq!(tensor.size(), [3, 2, 2]);
    let expected = [0.0, 0.2, 0.4, 1.0, -1.0, -0.6, -0.2, 1.0, -4.0, -3.2, -2.4, 0.0];
    for (value, expected) in preprocess.apply(&picture).expect("values").into_iter().zip(expected) {
        assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
    }
    assert_eq!(preprocess.to_picture(&tensor).expect("a picture"), picture);
}

#[test]
fn settings_out_of_range_are_named() {
    let preprocess = Preprocess::imagenet();
    let cases = [
        (Preprocess { size: 0, ..preprocess.clone() }, "preprocess.size = 0"),
        (Preprocess { size: 100_000, ..preprocess.clone() }, "preprocess.size = 100000"),
        (Preprocess { crop: Crop::Centre { shorter_side: 223 }, ..preprocess.clone() }, "shorter_side = 223"),
        (Preprocess { mean: [0.0, f32::NAN, 0.0], ..preprocess.clone() }, "preprocess.mean"),
        (Preprocess { standard_deviation: [1.0, 0.0, 1.0], ..preprocess.clone() }, "standard_deviation"),
    ];
    for (preprocess, expected) in cases {
        let problem = preprocess.cut(&picture(8, 8, 1)).expect_err("a setting is out of range").to_string();
        assert!(problem.contains(expected), "{problem}");
    }
    let config = LoaderConfig::default();
    let cases = [
        (LoaderConfig { batch_size: 0, ..config.clone() }, "loader.batch_size = 0"),
        (LoaderConfig { threads: 0, ..config.clone() }, "loader.threads = 0"),
        (LoaderConfig { queue: 5_000, ..config.clone() }, "loader.queue = 5000"),
        (LoaderConfig { batch_size: 65_536, ..config.clone() }, "16 are allowed"),
    ];
    for (config, expected) in cases {
        let problem = ImageLoader::new(Vec::new(), Preprocess::imagenet(), config).expect_err("out of range");
        assert!(problem.to_string().contains(expected), "{problem}");
    }
    for (width, height) in [(0, 5), (5, 0), (70_000, 5)] {
        assert!(images::resize(&picture(8, 8, 1), width, height, Filter::Bicubic).is_err());
    }
    assert!(images::resize(&RgbImage::new(0, 0), 5, 5, Filter::Bicubic).is_err());
    assert!(Preprocess::clip().cut(&RgbImage::new(0, 7)).is_err());
}

// --- bad input ---

/// The bytes of a JPEG whose header promises another size.
fn jpeg_of_size(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = encoded(&picture(16, 16, 1), ImageFormat::Jpeg);
    let frame = bytes.windows(2).position(|marker| marker == [0xFF, 0xC0]).expect("a frame header");
    bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// The bytes of a PNG whose header promises another size, its checksum right.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = encoded(&picture(16, 16, 1), ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let mut checksum = flate2::Crc::new();
    checksum.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
    bytes
}

#[test]
fn bad_files_are_refused_with_what_is_wrong_and_what_to_do() {
    let jpeg = encoded(&picture(64, 64, 1), ImageFormat::Jpeg);
    let png = encoded(&picture(64, 64, 1), ImageFormat::Png);
    let cut = |bytes: &[u8], part: f64| bytes[..(bytes.len() as f64 * part) as usize].to_vec();
    let mut flipped = png.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let mut no_tables = jpeg.clone();
    let tables = no_tables.windows(2).position(|marker| marker == [0xFF, 0xC4]).expect("a Huffman table");
    no_tables[tables + 1] = 0xFE;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty.jpg", Vec::new(), "the file is empty (0 bytes)"),
        ("half.jpg", cut(&jpeg, 0.5), "ends before the picture does"),
        ("no-end-marker.jpg", jpeg[..jpeg.len() - 2].to_vec(), "ends before the picture does"),
        ("header-only.jpg", jpeg[..30].to_vec(), "ends before the picture does"),
        ("two-bytes.jpg", jpeg[..2].to_vec(), "ends before the picture does"),
        ("half.png", cut(&png, 0.5), "ends before the picture does"),
        ("header-only.png", png[..8].to_vec(), "ends before the picture does"),
        ("flipped.png", flipped, "PNG data is damaged"),
        ("no-tables.jpg", no_tables, "JPEG data is damaged"),
        ("text.jpg", b"Not a picture at all.\n".to_vec(), "neither a JPEG nor a PNG picture"),
        ("page.png", b"<html>404</html>".to_vec(), "neither a JPEG nor a PNG picture"),
        ("one-byte.jpg", vec![0xFF], "neither a JPEG nor a PNG picture"),
        ("moving.gif", b"GIF89a\x01\x00".to_vec(), "a GIF picture"),
        ("modern.webp", b"RIFF\x10\x00\x00\x00WEBPVP8 ".to_vec(), "a WebP picture"),
        ("bomb.jpg", jpeg_of_size(60_000, 60_000), "promises 60000×60000 pixels"),
        ("bomb.png", png_of_size(60_000, 60_000), "promises 60000×60000 pixels"),
        ("larger.png", png_of_size(u32::MAX >> 1, u32::MAX >> 1), "pixels; more than"),
        ("no-width.jpg", jpeg_of_size(0, 16), "JPEG data is damaged"),
        ("no-height.png", png_of_size(16, 0), "has no pixels"),
    ];
    let folder = tempdir().expect("a temporary folder");
    for (name, bytes, expected) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        let error = images::decode(&path).expect_err(name);
        assert!(matches!(error, Error::Image { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(message.contains(expected), "{name}: {message}");
        assert!(message.split(". ").count() >= 2, "it does not say what to do: {message}");
    }
}

#[test]
fn a_folder_a_device_and_a_missing_file_are_refused() {
    let folder = tempdir().expect("a temporary folder");
    let error = images::decode(folder.path()).expect_err("a folder").to_string();
    assert!(error.contains("a folder, not a picture"), "{error}");
    #[cfg(unix)]
    {
        let error = images::decode("/dev/zero").expect_err("a device").to_string();
        assert!(error.contains("a device or a pipe"), "{error}");
    }
    let error = images::decode(folder.path().join("missing.jpg")).expect_err("a missing file");
    assert!(matches!(error, Error::File { .. }) && error.to_string().contains("missing.jpg"), "{error}");
}

#[test]
fn tiny_and_narrow_pictures_are_fine() {
    for (width, height) in [(1, 1), (1, 5000), (5000, 1)] {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let read = images::decode_bytes(&encoded(&picture(width, height, 1), format), "narrow").expect("a picture");
            assert_eq!(read.dimensions(), (width, height));
            for preprocess in [Preprocess::imagenet(), Preprocess::clip(), Preprocess::scenes(64)] {
                let values = preprocess.apply(&read).expect("values");
                assert!(values.iter().all(|value| value.is_finite()));
            }
        }
    }
}

#[test]
fn every_shortened_file_is_refused_and_no_damaged_one_panics() {
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let bytes = encoded(&picture(40, 30, 1), format);
        // A PNG's picture is complete before its last, empty chunk is.
        let needed = if format == ImageFormat::Png { bytes.len() - 12 } else { bytes.len() };
        for length in 0..needed {
            assert!(images::decode_bytes(&bytes[..length], "short").is_err(), "{format:?} cut to {length} bytes");
        }
        let mut random = Random::new(1);
        for _ in 0..2_000 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.below(4) {
                let place = random.below(damaged.len());
                damaged[place] = random.next_u64() as u8;
            }
            if let Err(error) = images::decode_bytes(&damaged, "damaged") {
                assert!(!error.to_string().contains("the decoder failed"), "a decoder panicked");
            }
        }
    }
    assert_eq!(MAXIMUM_PIXELS, 178_956_970);
}

// --- batches ---

fn load(sources: &[ImageSource], config: LoaderConfig) -> Result<(Vec<Batch>, ImageLoader)> {
    let mut loader = ImageLoader::new(sources.to_vec(), Preprocess::scenes(32), config)?;
    let batches = loader.by_ref().collect();
    Ok((batches, loader))
}

#[test]
fn batches_come_in_order_and_hold_the_same_numbers_whatever_the_threads() -> Result<()> {
    let (_folder, sources) = folder_of_pictures(23);
    let preprocess = Preprocess::scenes(32);
    for (threads, queue, batch_size) in [(1, 0, 5), (2, 2, 5), (4, 1, 5), (8, 3, 1), (3, 0, 100), (2, 2, 23)] {
        let (batches, loader) = load(&sources, LoaderConfig { batch_size, threads, queue })?;
        assert_eq!(batches.len(), loader.batches());
        let indices: Vec<usize> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
        assert_eq!(indices, (0..23).collect::<Vec<_>>());
        for batch in &batches {
            assert_eq!(batch.images.size(), [batch.indices.len() as i64, 3, 32, 32]);
            assert_eq!(batch.images.kind(), tch::Kind::Float);
            for (place, &index) in batch.indices.iter().enumerate() {
                let expected = preprocess.to_tensor(&images::decode_source(&sources[index])?)?;
                assert_eq!(batch.images.get(place as i64), expected, "image {index}, {threads} threads");
            }
        }
        assert!(loader.skipped().is_empty());
        assert_eq!(loader.summary().to_string(), "23 images read, none skipped");
    }
    Ok(())
}

#[test]
fn unreadable_images_are_left_out_counted_and_named() -> Result<()> {
    let (folder, mut sources) = folder_of_pictures(12);
    let bad = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        ImageSource::File(path)
    };
    sources[1] = bad("empty.jpg", b"");
    sources[4] = bad("text.jpg", b"hello");
    sources[5] = ImageSource::File(folder.path().join("missing.jpg"));
    sources[8..].fill(bad("bomb.png", &png_of_size(60_000, 60_000)));
    for threads in [1, 3] {
        let (batches, loader) = load(&sources, LoaderConfig { batch_size: 4, threads, queue: 1 })?;
        let indices: Vec<&[usize]> = batches.iter().map(|batch| batch.indices.as_slice()).collect();
        assert_eq!(indices, [&[0, 2, 3][..], &[6, 7]]);
        let expected = Preprocess::scenes(32).to_tensor(&images::decode_source(&sources[7])?)?;
        assert_eq!(batches[1].images.get(1), expected);
        let skipped: Vec<usize> = loader.skipped().iter().map(|skipped| skipped.index).collect();
        assert_eq!(skipped, [1, 4, 5, 8, 9, 10, 11]);
        assert_eq!(loader.skipped()[1].source, sources[4]);
        let summary = loader.summary().to_string();
        assert!(summary.starts_with("5 images read, 7 skipped because they cannot be read:\n"), "{summary}");
        for part in ["empty.jpg: the file is empty", "text.jpg", "missing.jpg", "bomb.png"] {
            assert!(summary.contains(part), "{summary}");
        }
    }
    Ok(())
}

#[test]
fn a_long_list_of_skipped_images_is_cut_short() -> Result<()> {
    let sources: Vec<_> = (0..50).map(|number| ImageSource::File(format!("missing-{number}.jpg").into())).collect();
    let (batches, loader) = load(&sources, LoaderConfig::default())?;
    assert!(batches.is_empty());
    let summary = loader.summary().to_string();
    assert_eq!(summary.lines().count(), 22);
    assert!(summary.ends_with("… and 30 more"), "{summary}");
    Ok(())
}

#[test]
fn no_images_are_no_batches() -> Result<()> {
    let (batches, loader) = load(&[], LoaderConfig::default())?;
    assert!(batches.is_empty() && loader.batches() == 0);
    Ok(())
}

#[test]
fn dropping_a_loader_early_stops_its_threads() {
    let (_folder, sources) = folder_of_pictures(40);
    let (finished, waiting) = mpsc::channel();
    std::thread::spawn(move || {
        for taken in [0, 1, 3] {
            let config = LoaderConfig { batch_size: 2, threads: 3, queue: 1 };
            let mut loader = ImageLoader::new(sources.clone(), Preprocess::scenes(16), config).expect("a loader");
            assert_eq!(loader.by_ref().take(taken).count(), taken);
            // Long enough for the threads to fill the queue and wait.
            std::thread::sleep(Duration::from_millis(50));
            drop(loader);
        }
        finished.send(()).expect("the test waits");
    });
    waiting.recv_timeout(Duration::from_secs(60)).expect("dropping the loader hangs");
}

#[test]
fn squares_are_cut_out_of_small_pictures_of_every_shape() {
    // The resizer read behind the end of rows at the first two, where an output falls on the middle of a pixel.
    let preprocess = captionlab::data::Preprocess { size: 128, ..captionlab::vision::ClipConfig::tiny().preprocess() };
    for (width, height) in [(91, 79), (105, 91), (79, 91), (1, 1), (1, 255), (255, 3), (128, 127)] {
        let picture = image::RgbImage::from_pixel(width, height, image::Rgb([30, 60, 90]));
        let cut = preprocess.cut(&picture).unwrap();
        let other = cut.enumerate_pixels().find(|(_, _, pixel)| **pixel != image::Rgb([30, 60, 90]));
        assert_eq!(other, None, "{width}×{height}");
    }
}
