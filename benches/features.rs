//! A cache of features of Flickr30k's size (31,014 pictures of 20 × 2048 numbers of half precision, 2.5 GB) beside the disk and beside
//! the course's way, a file of PyTorch for each picture, on the same threads.
//!
//! `cargo bench --bench features`; prints one line of JSON for each comparison. It needs 6 GB of disk, in `CAPTIONLAB_BENCH_FOLDER` or
//! the folder for temporary files, and `CAPTIONLAB_BENCH_PICTURES` makes it smaller.

mod peer;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use captionlab::data::Random;
use captionlab::vision::features::{ShardEntry, ShardHead, write_shard};
use captionlab::vision::{FeatureBatch, FeatureCache, StorageDtype};
use peer::{Peer, rate};

const REGIONS: usize = 20;
const WIDTH: usize = 2048;
const SHARD: usize = 512;
const BATCH: usize = 256;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let pictures = std::env::var("CAPTIONLAB_BENCH_PICTURES").map_or(Ok(31_014), |count| count.parse::<usize>())?;
    let root = std::env::var_os("CAPTIONLAB_BENCH_FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(root)?;
    let (cache, files) = (folder.path().join("cache"), folder.path().join("files"));
    [&cache, &files].iter().try_for_each(std::fs::create_dir)?;
    let count = |number: usize| number.to_string();
    let arguments = [
        count(tch::get_num_threads() as usize),
        files.display().to_string(),
        count(pictures),
        count(REGIONS),
        count(WIDTH),
    ];
    let Some(mut peer) = Peer::start("features.py", &arguments) else {
        println!("skipped: .venv/bin/python is not here");
        return Ok(());
    };

    // Shard by shard ours and the bare bytes in turn, so that both see the same disk.
    let (mut ours, mut disk) = (0.0, 0.0);
    let mut random = Random::new(1);
    let head = ShardHead::new("bench", serde_json::Value::Null, WIDTH, StorageDtype::Half);
    let mut bytes = 0;
    for first in (0..pictures).step_by(SHARD) {
        let entries: Vec<ShardEntry> =
            (first..pictures.min(first + SHARD)).map(|number| entry(number, &mut random)).collect();
        let start = Instant::now();
        let path = write_shard(&cache, &head, &entries)?;
        ours += start.elapsed().as_secs_f64();
        let content = std::fs::read(&path)?;
        bytes += content.len();
        let bare = folder.path().join("bare");
        let start = Instant::now();
        let mut file = File::create(&bare)?;
        file.write_all(&content)?;
        file.sync_all()?;
        disk += start.elapsed().as_secs_f64();
        drop(file);
        std::fs::remove_file(bare)?;
    }
    let per_second = |seconds: f64| bytes as f64 / 1e6 / seconds;
    line("shards written", "MB/s", &[per_second(ours)], &[per_second(disk)], "the same bytes to the disk");

    peer.measure("write", 0)?;
    // What the peer has written is not written while we read.
    std::process::Command::new("sync").status()?;
    let opening: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            FeatureCache::open(&cache).map(|cache| (cache.len(), 1e3 * start.elapsed().as_secs_f64()))
        })
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|(found, milliseconds)| {
            assert_eq!(found, pictures);
            milliseconds
        })
        .collect();
    println!("{pictures} pictures, {} MB; opened in {opening:.1?} ms", bytes / 1_000_000);

    let mut order: Vec<String> = (0..pictures).map(|number| format!("{number}.jpg")).collect();
    let mut epoch = |read: &FeatureCache, count: usize| {
        random.shuffle(&mut order);
        let mut batch = FeatureBatch::default();
        rate(count, || {
            for names in order[..count].chunks(BATCH) {
                read.batch_into(names, &mut batch).expect("all are here");
                assert_eq!(batch.features.size()[0], names.len() as i64);
            }
        })
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    epoch(&FeatureCache::open(&cache)?, pictures);
    peer.measure("read", pictures)?;
    for _ in 0..ROUNDS {
        // Opened anew: all checksums are looked at.
        ours.push(epoch(&FeatureCache::open(&cache)?, pictures));
        theirs.push(peer.measure("read", pictures)?);
    }
    line("features read, cache warm", "pictures/s", &ours, &theirs, "a file of PyTorch each");
    println!("memory after these epochs: {}", memory());

    let read = FeatureCache::open(&cache)?;
    let mut places = Random::new(2);
    let names: Vec<String> = (0..2000).map(|_| format!("{}.jpg", places.below(pictures))).collect();
    for what in ["with checksums", "again"] {
        let start = Instant::now();
        names.iter().try_for_each(|name| read.get(name).map(drop))?;
        let each = 1e6 * start.elapsed().as_secs_f64() / names.len() as f64;
        println!("one picture after the other, {what}: {each:.1} µs each");
    }

    // A share of the epoch is enough to see the disk.
    let share = pictures / 8;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        if !forget_files() {
            println!("skipped: only root can empty the page cache");
            return Ok(());
        }
        ours.push(epoch(&FeatureCache::open(&cache)?, share));
        forget_files();
        theirs.push(peer.measure("read", share)?);
    }
    line("features read, cache cold", "pictures/s", &ours, &theirs, "a file of PyTorch each");
    Ok(())
}

fn entry(number: usize, random: &mut Random) -> ShardEntry {
    // Not all the same, and no more random than it needs to be.
    let mut features = vec![0; REGIONS * WIDTH * 2];
    for part in features.chunks_mut(1024) {
        part.fill(random.next_u64() as u8 & 0x3F);
    }
    ShardEntry {
        name: format!("{number}.jpg"),
        content: [number as u8; 32],
        boxes: vec![[0.0, 0.0, 500.0, 375.0]; REGIONS],
        labels: vec![1; REGIONS],
        scores: vec![0.5; REGIONS],
        features,
    }
}

fn line(bench: &str, unit: &str, ours: &[f64], peer: &[f64], peer_name: &str) {
    let line = serde_json::json!({
        "bench": bench, "unit": unit, "better": "higher", "ours": ours, "peer": peer, "peer_name": peer_name,
    });
    println!("{line}");
}

/// Memory of this process; Linux only.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| ["RssAnon", "RssFile", "VmHWM"].iter().any(|name| line.starts_with(name)));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

/// Empties the page cache, where this may be done.
fn forget_files() -> bool {
    std::process::Command::new("sync").status().is_ok()
        && std::fs::write(Path::new("/proc/sys/vm/drop_caches"), "3").is_ok()
}
