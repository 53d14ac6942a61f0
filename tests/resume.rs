//! A training that is killed and resumed ends as one that was left alone, bit for bit.

mod python;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use captionlab::caption::{CaptionTraining, Captioner, CaptionerConfig, Decoding};
use captionlab::data::{Dataset, Example, ImageSource, Layout, Random, Split};
use captionlab::train::{CHECKPOINT_FILE, Checkpoint, Run, RunSettings, StartFrom};
use python::{output_of, python_with};

const FOLDER: &str = "CAPTIONLAB_TEST_RUN_FOLDER";
const PICTURES: &str = "CAPTIONLAB_TEST_PICTURES";
/// The run that self-critical training begins with; without it, the true words are learnt.
const SPOKEN: &str = "CAPTIONLAB_TEST_SPOKEN";

/// Plain squares in three colours; the captions name the colour.
fn dataset(folder: &Path) -> Dataset {
    let colours = [("red", [200, 30, 30]), ("green", [30, 180, 40]), ("blue", [40, 50, 210])];
    let examples = (0..48).map(|index| {
        let (colour, pixel) = colours[index % 3];
        let path = folder.join(format!("{index}.png"));
        if !path.exists() {
            image::RgbImage::from_pixel(24, 20, image::Rgb(pixel)).save(&path).unwrap();
        }
        Example {
            name: format!("{index}.png"),
            image: ImageSource::File(path),
            captions: vec![format!("a {colour} square"), format!("the square is {colour}"), format!("{colour}")],
            split: Some(if index < 40 { Split::Train } else { Split::Validation }),
            regions: vec![],
            links: vec![],
        }
    });
    Dataset { name: "squares".into(), layout: Layout::Folder, examples: examples.collect(), notes: vec![] }
}

fn training(folder: PathBuf, pictures: &Path, spoken: Option<PathBuf>) -> CaptionTraining {
    CaptionTraining {
        captioner: CaptionerConfig { word_size: 16, image_size: 16, hidden_size: 24, ..CaptionerConfig::scenes() },
        captions_per_picture: 2,
        self_critical: spoken.is_some(),
        run: RunSettings {
            start_from: spoken.map(|path| StartFrom { path, prefix: String::new() }).into_iter().collect(),
            epochs: 20,
            batch_size: 8,
            // After every step: many of the kills hit the writing of a checkpoint.
            checkpoint_seconds: 0.0,
            folder: Some(folder),
            ..CaptionTraining::scenes().run
        },
        cache: Some(pictures.join("features")),
        ..CaptionTraining::scenes()
    }
}

/// Not a test by itself: what the test below starts, kills, and starts again.
#[test]
fn child_that_trains() {
    let (Ok(folder), Ok(pictures)) = (std::env::var(FOLDER), std::env::var(PICTURES)) else { return };
    let (folder, dataset) = (PathBuf::from(folder), dataset(Path::new(&pictures)));
    let spoken = std::env::var_os(SPOKEN).map(PathBuf::from);
    let mut run = match folder.join(CHECKPOINT_FILE).exists() {
        true => Run::resume::<CaptionTraining>(&folder, &dataset).unwrap(),
        false => Run::start(&training(folder, Path::new(&pictures), spoken), &dataset).unwrap(),
    };
    run.wait().unwrap();
}

fn start_child(folder: &Path, pictures: &Path, spoken: Option<&Path>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child_that_trains", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(PICTURES, pictures)
        .envs(spoken.map(|spoken| (SPOKEN, spoken)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The log without the wall time, which differs from run to run.
fn log(folder: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let entry = |line: &str| {
        let mut entry: serde_json::Value = serde_json::from_str(line).unwrap();
        entry.as_object_mut().unwrap().remove("seconds");
        entry
    };
    text.lines().map(entry).collect()
}

#[test]
fn a_killed_run_resumes_and_ends_with_the_same_bits() {
    let pictures = tempfile::tempdir().unwrap();
    dataset(pictures.path());
    let spoken = killed_again_and_again(pictures.path(), None);
    killed_again_and_again(pictures.path(), Some(spoken.path()));
}

/// Trains in one go, and again with kills, and compares both; self-critically, where a run is given that speaks already.
fn killed_again_and_again(pictures: &Path, spoken: Option<&Path>) -> tempfile::TempDir {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start_child = |folder: &Path| start_child(folder, pictures, spoken);
    let most = if spoken.is_some() { 3 } else { 8 };
    assert!(start_child(whole.path()).wait().unwrap().success());

    let step = || Checkpoint::read(killed.path()).map_or(0, |checkpoint| checkpoint.position.step);
    let mut random = Random::new(std::process::id().into());
    let mut kills = Vec::new();
    loop {
        let mut child = start_child(killed.path());
        // Once it has moved on by some steps, it lives for a moment longer.
        let (before, started) = (step(), Instant::now());
        let goal = before + random.below(20) as u64;
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if step() > goal {
                std::thread::sleep(Duration::from_micros(random.below(40_000) as u64));
                break child.try_wait().unwrap();
            }
            assert!(started.elapsed() < Duration::from_secs(120), "the training does not move on from step {before}");
            std::thread::sleep(Duration::from_millis(1));
        };
        match ended {
            Some(status) => {
                assert!(status.success(), "the child failed after kills at steps {kills:?}");
                break;
            }
            None => {
                // SIGKILL: nothing can be tidied up.
                child.kill().unwrap();
                child.wait().unwrap();
                kills.push(step());
            }
        }
        if kills.len() == most {
            assert!(start_child(killed.path()).wait().unwrap().success());
            break;
        }
    }
    println!("killed after steps {kills:?}");
    assert!(!kills.is_empty(), "the training ended before it could be killed");

    let (whole_end, killed_end) = (Checkpoint::read(whole.path()).unwrap(), Checkpoint::read(killed.path()).unwrap());
    assert_eq!((whole_end.position.epoch, whole_end.position.step), (20, 100));
    assert_eq!((killed_end.position.epoch, killed_end.position.step), (20, 100));
    assert_eq!(whole_end.tensors.keys().collect::<Vec<_>>(), killed_end.tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &whole_end.tensors {
        let bits = |tensor: &tch::Tensor| -> Vec<u32> {
            Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap().into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(tensor), bits(&killed_end.tensors[name]), "{name} differs after kills at steps {kills:?}");
    }
    assert_eq!(log(whole.path()), log(killed.path()));
    whole
}

#[test]
fn a_run_is_resumed_with_its_own_data_only() {
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut dataset = dataset(pictures.path());
    let mut run = Run::start(&training(folder.path().join("run"), pictures.path(), None), &dataset).unwrap();
    run.stop().unwrap();
    dataset.examples[5].captions[0].push('s');
    let error = Run::resume::<CaptionTraining>(folder.path().join("run"), &dataset).unwrap_err().to_string();
    assert!(error.contains("another data set"), "{error}");
}

#[test]
fn python_opens_a_checkpoint() {
    let Some(mut python) = python_with("torch safetensors") else { return };
    let (pictures, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let training = training(folder.path().join("run"), pictures.path(), None);
    let mut run = Run::start(&training, &dataset(pictures.path())).unwrap();
    run.stop().unwrap();
    let script = "
import sys, torch
from safetensors.torch import load_file
from safetensors import safe_open
weights = load_file(sys.argv[1])
lstm = torch.nn.LSTM(32, 24)
lstm.load_state_dict({name[5:]: weight for name, weight in weights.items() if name.startswith('lstm.')})
assert weights['optimiser.square.lstm.weight_ih_l0'].shape == lstm.weight_ih_l0.shape
assert 'captionlab' in safe_open(sys.argv[1], 'pt').metadata()
print(float(weights['output.weight'].double().sum()))";
    let file = folder.path().join("run").join(CHECKPOINT_FILE);
    let theirs: f64 = output_of(python.args(["-c", script]).arg(&file)).trim().parse().unwrap();
    let ours = &Checkpoint::read(&folder.path().join("run")).unwrap().tensors["output.weight"];
    assert!((ours.sum(tch::Kind::Double).double_value(&[]) - theirs).abs() < 1e-9);
}

/// `tests/run_before_formats` was written when descriptions had no format, and a captioner carried the network that looks at pictures.
#[test]
fn a_run_of_before_there_were_formats_is_loaded_and_says_what_it_said() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run_before_formats");
    let pictures = tempfile::tempdir().unwrap();
    let dataset = dataset(pictures.path());
    let captioner = Captioner::load(&run).unwrap();
    let log = log(&run);
    let samples = log.last().unwrap()["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 8);
    for sample in samples {
        let example = dataset.examples.iter().find(|example| example.name == sample["name"]).unwrap();
        let captions = captioner.caption(std::slice::from_ref(example), &Decoding::greedy()).unwrap();
        assert_eq!(captions[0], sample["text"], "{}", example.name);
    }

    // It cannot be trained on, and stays as it is.
    let copy = tempfile::tempdir().unwrap();
    for name in ["checkpoint.safetensors", "log.jsonl"] {
        std::fs::copy(run.join(name), copy.path().join(name)).unwrap();
    }
    let error = Run::resume::<CaptionTraining>(copy.path(), &dataset).unwrap_err().to_string();
    assert!(error.contains("cannot be resumed") && error.contains("can be loaded and used"), "{error}");
    let checkpoint = |folder: &Path| std::fs::read(folder.join(CHECKPOINT_FILE)).unwrap();
    assert!(checkpoint(copy.path()) == checkpoint(&run));
}
