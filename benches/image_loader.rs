//! Pictures a second from JPEG files to normalised batches `[batch, 3, 224, 224]`, beside a torch DataLoader with as many
//! workers. Both run in turn, in one process each, on warm files; one JSON line with all rounds goes to standard output.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use captionlab::data::{ImageLoader, ImageSource, LoaderConfig, Preprocess, Random};
use image::{Rgb, RgbImage};

const THREADS: usize = 2;
const BATCH_SIZE: usize = 32;
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tempfile::tempdir()?;
    let sample = root.join("../shared/flickr30k-sample/flickr30k-images");
    let (folder, what) = if sample.is_dir() {
        (sample, "photographs of the Flickr30k sample")
    } else {
        make_pictures(made.path())?;
        (made.path().to_owned(), "made pictures of 500×375 (../shared/flickr30k-sample is not here)")
    };
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, Box<dyn Error>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    paths.sort();
    let sources: Vec<ImageSource> = paths.into_iter().map(ImageSource::File).collect();

    let mut python = Command::new(root.join(".venv/bin/python"))
        .arg(root.join("benches/image_loader.py"))
        .arg(&folder)
        .args([THREADS.to_string(), BATCH_SIZE.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!(".venv/bin/python does not start ({error}); run `cargo xtask setup`"))?;
    let mut ask = python.stdin.take().ok_or("no way to ask Python")?;
    let mut answers = BufReader::new(python.stdout.take().ok_or("no answer from Python")?).lines();
    let mut run_peer = || -> Result<f64, Box<dyn Error>> {
        ask.write_all(b"go\n")?;
        Ok(answers.next().ok_or("Python ended early")??.parse()?)
    };

    // One round each that does not count: files into memory, workers started.
    run_ours(&sources)?;
    run_peer()?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        ours.push(run_ours(&sources)?);
        peer.push(run_peer()?);
        eprintln!("round {round} of {ROUNDS}: ours {:.0}, peer {:.0} images/s", ours[round - 1], peer[round - 1]);
    }
    drop(ask);
    python.wait()?;
    let line = serde_json::json!({
        "bench": "image loader",
        "unit": "images/s",
        "better": "higher",
        "ours": ours,
        "peer": peer,
        "peer_name": format!("torchvision DataLoader, {THREADS} workers"),
        "note": format!("{} {what}; decode, shorter side to 256, centre 224, normalise; batches of {BATCH_SIZE}", sources.len()),
    });
    println!("{line}");
    Ok(())
}

/// Loads every picture once; pictures a second.
fn run_ours(sources: &[ImageSource]) -> Result<f64, Box<dyn Error>> {
    // As many batches ahead as the peer: two a worker.
    let config = LoaderConfig { batch_size: BATCH_SIZE, threads: THREADS, queue: 2 * THREADS - 1 };
    let start = Instant::now();
    let mut loader = ImageLoader::new(sources.to_vec(), Preprocess::imagenet(), config)?;
    let count: i64 = loader.by_ref().map(|batch| batch.images.size()[0]).sum();
    let rate = count as f64 / start.elapsed().as_secs_f64();
    if count as usize != sources.len() {
        return Err(loader.summary().to_string().into());
    }
    Ok(rate)
}

/// Three hundred JPEGs with about as much detail as photographs.
fn make_pictures(folder: &Path) -> Result<(), Box<dyn Error>> {
    for number in 0..300 {
        let mut random = Random::stream(1, number);
        let waves = [0; 6].map(|_| random.between(0.005, 0.2));
        let picture = RgbImage::from_fn(500, 375, |x, y| {
            let (x, y) = (x as f32, y as f32);
            let shade = (waves[0] * x).sin() + (waves[1] * y).cos() + (waves[2] * x * y * 0.05).sin();
            let grain = random.between(-12.0, 12.0);
            Rgb([3, 4, 5].map(|wave| (128.0 + 25.0 * shade + 40.0 * (waves[wave] * (x + y)).sin() + grain) as u8))
        });
        picture.save(folder.join(format!("{number:03}.jpg")))?;
    }
    Ok(())
}
