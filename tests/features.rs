//! A cache of features under what happens to caches: processes that are killed, disks that are full, the course's files.

mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use captionlab::data::scenes::ScenesConfig;
use captionlab::data::{Dataset, Random};
use captionlab::nn::read_tensors;
use captionlab::vision::FeatureCache;
use captionlab::vision::features::import_course;
use python::{output_of, python_with};

/// So many times the process is killed; `CAPTIONLAB_KILLS` says another number.
const KILLS: usize = 6;

fn extract(arguments: &[&str], data: &Path, cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_captionlab"));
    command.args(["extract", "--shard-pictures", "6", "--data"]).arg(data).arg("--cache").arg(cache).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(arguments: &[&str], data: &Path, cache: &Path) -> String {
    let output = extract(arguments, data, cache).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// Pictures in a folder, with a table of captions.
fn photographs(folder: &Path, count: usize) -> Dataset {
    let dataset = Dataset::scenes(&ScenesConfig { train: count, validation: 1, test: 1, seed: 5 }).unwrap();
    let mut table = "image,caption\n".to_string();
    for example in dataset.examples.iter().take(count) {
        example.picture().unwrap().save(folder.join(format!("{}.png", example.name))).unwrap();
        table += &format!("{}.png,a scene\n", example.name);
    }
    std::fs::write(folder.join("captions.csv"), table).unwrap();
    Dataset::open(folder).unwrap()
}

/// The only cache in a folder of caches.
fn cache_in(folder: &Path) -> Option<PathBuf> {
    let folders =
        |folder: &Path| std::fs::read_dir(folder).ok().map(|entries| entries.map(|entry| entry.unwrap().path()));
    let inside = |folder: &Path| folders(folder)?.find(|path| path.is_dir());
    inside(&inside(folder)?)
}

/// The shards of a cache, byte by byte.
fn shards(cache: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(cache).into_iter().flatten().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    paths
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
        .map(|path| (PathBuf::from(path.file_name().unwrap()), std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn a_process_that_is_killed_loses_its_shard_and_nothing_is_served_wrong() {
    let (data, [whole, killed]) = (tempfile::tempdir().unwrap(), [(); 2].map(|()| tempfile::tempdir().unwrap()));
    photographs(data.path(), 48);
    run(&[], data.path(), whole.path());
    let expected = shards(&cache_in(whole.path()).unwrap());
    assert_eq!(expected.len(), 8);
    let kills = std::env::var("CAPTIONLAB_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut random = Random::new(7);
    let mut before: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    let mut lives = 0;
    for round in 0..kills {
        let mut process = extract(&[], data.path(), killed.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(100 + 50 * random.below(40) as u64));
        process.kill().unwrap();
        process.wait().unwrap();
        let Some(cache) = cache_in(killed.path()) else { continue };
        let now = shards(&cache);
        for (name, bytes) in &before {
            assert!(now.get(name) == Some(bytes), "round {round}: {} was lost or changed", name.display());
        }
        for (name, bytes) in &now {
            assert!(expected.get(name) == Some(bytes), "round {round}: {} is not what is computed", name.display());
        }
        if now.len() == expected.len() {
            // It was done: begin anew.
            std::fs::remove_dir_all(killed.path().join(cache.parent().unwrap())).unwrap();
            before = BTreeMap::new();
            lives += 1;
            continue;
        }
        if !now.is_empty() {
            FeatureCache::open(&cache).unwrap().verify().unwrap();
        }
        before = now;
    }
    println!("{kills} kills, {lives} caches filled meanwhile");
    let text = run(&[], data.path(), killed.path());
    assert!(text.contains(&format!("{} found", 6 * before.len())), "{text}");
    let cache = cache_in(killed.path()).unwrap();
    assert!(shards(&cache) == expected);
    // Not even what was half-written is left.
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), expected.len());
}

#[test]
fn parts_are_computed_by_processes_beside_each_other_and_one_that_was_killed_is_started_again() {
    let (data, [whole, parts]) = (tempfile::tempdir().unwrap(), [(); 2].map(|()| tempfile::tempdir().unwrap()));
    let dataset = photographs(data.path(), 36);
    run(&[], data.path(), whole.path());
    let part = |number: usize| {
        let mut command = extract(&["--part", &format!("{number}/3")], data.path(), parts.path());
        command.env("OMP_NUM_THREADS", "1").spawn().unwrap()
    };
    let mut processes: Vec<_> = (0..3).map(part).collect();
    std::thread::sleep(Duration::from_millis(700));
    processes[1].kill().unwrap();
    for (number, process) in processes.into_iter().enumerate() {
        let output = process.wait_with_output().unwrap();
        assert!(number == 1 || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let again = part(1).wait_with_output().unwrap();
    assert!(again.status.success());
    let text = run(&[], data.path(), parts.path());
    assert!(text.contains("0 pictures computed, 36 found"), "{text}");
    let open = |folder: &Path| FeatureCache::open(cache_in(folder).unwrap()).unwrap();
    let (one, many) = (open(whole.path()), open(parts.path()));
    for example in &dataset.examples {
        let (one, many) = (one.get(&example.name).unwrap(), many.get(&example.name).unwrap());
        assert_eq!(one.boxes.len(), many.boxes.len());
        let largest = (one.features - many.features).abs().max().double_value(&[]);
        assert!(largest < 1e-2, "threads add up in another order, no more: {largest}");
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_it_with_a_message_and_what_is_written_stays() {
    let (data, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    photographs(data.path(), 18);
    run(&[], data.path(), cache.path());
    let folder = cache_in(cache.path()).unwrap();
    let (gone, _) = shards(&folder).pop_first().unwrap();
    std::fs::remove_file(folder.join(gone)).unwrap();
    let before = shards(&folder);
    // Files may have 1 kB: the system says so as it says that a disk is full, in the middle of a file.
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_captionlab")])
        .args(["extract", "--shard-pictures", "6", "--data"])
        .arg(data.path())
        .arg("--cache")
        .arg(cache.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&limited.stderr);
    assert!(!limited.status.success());
    assert!(text.contains("cannot write features") && text.contains("disk has room"), "{text}");
    assert_eq!(shards(&folder), before);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), before.len(), "nothing half-written is left");
    assert!(run(&[], data.path(), cache.path()).contains("6 pictures computed"));
}

#[test]
fn wrong_options_are_explained() {
    let (data, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    photographs(data.path(), 1);
    for (arguments, said) in [
        (&["--part", "4/4"][..], "the last of 4 is 3/4"),
        (&["--part", "one"], "write it like 0/4"),
        (&["--encoder", "vgg"], "tiny"),
        (&["--encoder", "fasterrcnn"], "captionlab download fasterrcnn"),
        (&["--clip", "file"], "uses no CLIP"),
        (&["--device", "gpu"], "must be cpu"),
        (&["--device", "cuda:9"], "GPUs"),
        (&["--score", "1.5"], "regions.score_threshold"),
        (&["--detector", "nowhere.pth"], "nowhere.pth"),
    ] {
        let output = extract(arguments, data.path(), cache.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(said), "{arguments:?}: {text}");
    }
}

// --- the course's files ---

/// The folder and the archive of `tests/features_reference.py`.
fn course() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/features_reference.py");
    output_of(python_with("torch")?.arg(script).arg(folder.path()));
    Some(folder)
}

#[test]
fn the_features_of_the_course_are_read_and_what_is_wrong_is_named() {
    let Some(folder) = course() else { return };
    let expected = read_tensors(&folder.path().join("expected.safetensors")).unwrap().0;
    for source in ["cached_features", "cached_features.zip"] {
        let cache = tempfile::tempdir().unwrap();
        let import = import_course(&folder.path().join(source), Some(cache.path()), |_, _| ()).unwrap();
        assert_eq!(import.computed, 40, "{import}");
        for (file, said) in [
            ("hostile.pt", "posix.system"),
            ("nan.pt", "not a number"),
            ("narrow.pt", "dimension 16"),
            ("boxes.pt", "boxes are [7, 4]"),
            ("keys.pt", "no tensor \"boxes\""),
            ("text.pt", "not a weights file"),
            ("cut.pt", "not a complete PyTorch file"),
        ] {
            let problem = import.skipped.iter().find(|problem| problem.contains(file));
            assert!(problem.is_some_and(|problem| problem.contains(said)), "{file}: {problem:?}");
        }
        assert_eq!(import.skipped.len(), 7, "{import}");
        assert!(!folder.path().join("hostile").exists(), "the pickle was run");
        let read = import.open().unwrap();
        assert_eq!((read.len(), read.width(), read.most_regions()), (40, 32, 20));
        for number in 0..40 {
            let found = read.get(&format!("{}.jpg", 1000 + number)).unwrap();
            assert!(found.features == expected[&format!("{}.features", 1000 + number)], "{number}");
            let boxes = &expected[&format!("{}.boxes", 1000 + number)];
            assert_eq!(found.boxes.len() as i64, boxes.size()[0] + 1);
            for (place, bounds) in found.boxes.iter().skip(1).enumerate() {
                assert_eq!(f64::from(bounds.right), boxes.double_value(&[place as i64, 2]));
            }
        }
        let left = std::fs::read_dir(cache.path()).unwrap().count();
        assert_eq!(left, 1, "nothing is left beside the cache");
    }
    let message = import_course(&folder.path().join("expected.safetensors"), Some(folder.path()), |_, _| ());
    assert!(message.unwrap_err().to_string().contains("neither a folder nor a whole zip archive"));
    let empty = tempfile::tempdir().unwrap();
    let message = import_course(empty.path(), Some(folder.path()), |_, _| ()).unwrap_err().to_string();
    assert!(message.contains("no files named ID.pt"), "{message}");
}

#[test]
fn python_opens_a_shard() {
    let Some(mut python) = python_with("torch safetensors") else { return };
    let (data, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    photographs(data.path(), 4);
    run(&[], data.path(), cache.path());
    let folder = cache_in(cache.path()).unwrap();
    let (name, _) = shards(&folder).pop_first().unwrap();
    let script = "import sys, safetensors.torch as s; t = s.load_file(sys.argv[1]); \
                  print(t['features'].dtype, t['features'].shape[0] == int(t['index.rows'].sum()), \
                  bytes(t['index.names'].tolist()).decode().split()[0])";
    let said = output_of(python.args(["-c", script]).arg(folder.join(name)));
    assert_eq!(said.trim(), "torch.float16 True scene-000000.png");
}
