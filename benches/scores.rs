//! Scoring 1,000 images × 5 references, whole processes from start to end, beside pycocoevalcap (which needs Java); and CIDEr-D
//! of a batch of 100 captions with the references made ready, as training asks for it. One JSON line for each comparison.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use captionlab::data::scenes::ScenesConfig;
use captionlab::data::{Dataset, Random};
use captionlab::metrics::{Cider, Tokenizer};
use serde_json::{Value, json};

const IMAGES: usize = 1000;
const ROUNDS: usize = 3;
const BATCH: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = root.join("../shared/flickr30k-text");
    let (dataset, what) = if text.is_dir() {
        (Dataset::open(text)?, "Flickr30k")
    } else {
        (Dataset::scenes(&ScenesConfig { train: IMAGES + 1, validation: 0, test: 0, seed: 1 })?, "Scenes")
    };
    // Each image's caption to score begins as one of its own and ends as one of the next image's: half right.
    let mut random = Random::new(1);
    let (mut annotations, mut results) = (Vec::new(), Vec::new());
    let (mut references, mut hypotheses) = (Vec::new(), Vec::new());
    let tokenizer = Tokenizer::new();
    for (id, pair) in dataset.examples.windows(2).take(IMAGES).enumerate() {
        let own: Vec<&String> = pair[0].captions.iter().take(5).collect();
        let other = random.choose(&pair[1].captions);
        let half = |caption: &str, first: bool| {
            let words: Vec<&str> = caption.split(' ').collect();
            let (one, two) = words.split_at(words.len() / 2);
            if first { one.join(" ") } else { two.join(" ") }
        };
        let caption = format!("{} {}", half(own[0], true), half(other, false));
        for caption in &own {
            annotations.push(json!({ "image_id": id, "id": annotations.len(), "caption": caption }));
        }
        references.push(own.iter().map(|caption| tokenizer.tokenize(caption)).collect::<Vec<_>>());
        hypotheses.push(tokenizer.tokenize(&caption));
        results.push(json!({ "image_id": id, "caption": caption }));
    }
    let images: Vec<Value> = (0..IMAGES).map(|id| json!({ "id": id, "file_name": format!("{id}.jpg") })).collect();
    let folder = tempfile::tempdir()?;
    let (references_file, results_file) = (folder.path().join("references.json"), folder.path().join("results.json"));
    fs::write(&references_file, json!({ "images": images, "annotations": annotations }).to_string())?;
    fs::write(&results_file, json!(results).to_string())?;

    let program = scores_alone(root, folder.path())?;
    let ours = |metrics: &str| -> Result<(f64, Value), Box<dyn Error>> {
        let mut command = Command::new(&program);
        command.args(["--json", "--metrics", metrics, "--references"]).arg(&references_file);
        command.arg("--hypotheses").arg(&results_file).current_dir(root);
        timed(&mut command)
    };
    let peer = |metrics: &str| -> Result<(f64, Value), Box<dyn Error>> {
        let mut command = Command::new(root.join(".venv/bin/python"));
        command.arg(root.join("benches/scores.py")).args([metrics]).args([&references_file, &results_file]);
        timed(&mut command)
    };
    for (bench, metrics) in [("all scores", "bleu,meteor,rouge-l,cider-d"), ("METEOR alone", "meteor")] {
        ours(metrics)?;
        let (mut our_seconds, mut peer_seconds) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            let (seconds, our_scores) = ours(metrics)?;
            our_seconds.push(seconds);
            let (seconds, peer_scores) = peer(metrics)?;
            peer_seconds.push(seconds);
            eprintln!("{bench}, round {round} of {ROUNDS}: ours {:.3}, peer {seconds:.1} s", our_seconds[round - 1]);
            for (name, score) in peer_scores.as_object().ok_or("the peer printed no scores")? {
                let (ours, theirs) = (our_scores["corpus"][name].as_f64(), score.as_f64());
                if ours.zip(theirs).is_none_or(|(ours, theirs)| (ours - theirs).abs() > 1e-6) {
                    return Err(format!("{name} differs: ours {ours:?}, the peer's {theirs:?}").into());
                }
            }
        }
        let note = format!("{IMAGES} images of {what} × 5 references, whole process");
        print_line(bench, &our_seconds, &peer_seconds, &note);
    }

    let cider = Cider::new(&references);
    let batch = || (0..BATCH).map(|image| cider.cider_d(image, &hypotheses[image])).sum::<f64>();
    let mut our_seconds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let sum: f64 = (0..100).map(|_| batch()).sum();
        our_seconds.push(start.elapsed().as_secs_f64() / 100.0);
        assert!(sum > 0.0);
    }
    let mut peer_seconds = Vec::new();
    for _ in 0..ROUNDS {
        let batch = BATCH.to_string();
        let (_, answer) = peer(&format!("cider-batch-{batch}"))?;
        peer_seconds.push(answer["seconds"].as_f64().ok_or("the peer printed no time")?);
    }
    let note = format!("{BATCH} captions; ours has all references ready, the peer weighs theirs at each call");
    print_line("CIDEr-D of a training batch", &our_seconds, &peer_seconds, &note);
    Ok(())
}

/// The program `captionlab-score` as those have it who only score: built without libtorch.
fn scores_alone(root: &Path, folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    const NAME: &str = "captionlab-score";
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--no-default-features", "--features", "score-command", "--bin", NAME])
        .current_dir(root)
        .status()?;
    if !built.success() {
        return Err(format!("{NAME} does not build").into());
    }
    // The next build with other features replaces the program.
    let copy = folder.join(NAME);
    fs::copy(env!("CARGO_BIN_EXE_captionlab-score"), &copy)?;
    Ok(copy)
}

/// Runs a program: its seconds, and the JSON that it printed.
fn timed(command: &mut Command) -> Result<(f64, Value), Box<dyn Error>> {
    let start = Instant::now();
    let output = command.output().map_err(|error| format!("{command:?} does not start: {error}"))?;
    let seconds = start.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let json = text.find("{").ok_or("it printed no JSON")?;
    Ok((seconds, serde_json::from_str(&text[json..])?))
}

fn print_line(bench: &str, ours: &[f64], peer: &[f64], note: &str) {
    let line = json!({
        "bench": bench,
        "unit": "s",
        "better": "lower",
        "ours": ours,
        "peer": peer,
        "peer_name": "pycocoevalcap (Python and Java)",
        "note": note,
    });
    println!("{line}");
}
