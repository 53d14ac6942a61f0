//! `captionlab reproduce`: from a folder of pictures to a report.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use captionlab::data::{Dataset, ScenesConfig};
use serde_json::Value;

/// A project of its own, whose runs and features are its own; models that ship are those of the checkout.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("saved_models")).unwrap();
    folder
}

fn command(project: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_captionlab"));
    command.current_dir(project).env("CAPTIONLAB_CHECKOUT", env!("CARGO_MANIFEST_DIR")).args(arguments);
    command
}

fn captionlab(project: &Path, arguments: &[&str]) -> Output {
    command(project, arguments).output().unwrap()
}

/// Standard error of a call that fails.
fn fails(project: &Path, arguments: &[&str]) -> String {
    let output = captionlab(project, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?}: {said}");
    said
}

/// The one line that a call with `--json` prints, and what it says on standard error.
fn json(project: &Path, arguments: &[&str]) -> (Value, String) {
    let output = captionlab(project, &[arguments, &["--json"]].concat());
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{arguments:?}: {said}");
    assert_eq!(out.lines().count(), 1, "{out}");
    (serde_json::from_str(&out).unwrap(), said)
}

/// Scenes as photographs of a data set with splits.
fn scenes(project: &Path, [train, validation, test]: [&str; 3]) {
    let arguments =
        ["scenes", "--out", "scenes", "--train", train, "--validation", validation, "--test", test, "--seed", "5"];
    assert!(captionlab(project, &arguments).status.success());
}

/// Some scenes as files of a folder, with a table of captions where `captions` says how many each has.
fn photographs(folder: &Path, count: usize, captions: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let scenes = Dataset::scenes(&ScenesConfig { train: count, validation: 0, test: 0, seed: 4 }).unwrap();
    let mut table = "image,caption\n".to_string();
    for example in &scenes.examples {
        example.picture().unwrap().save(folder.join(format!("{}.png", example.name))).unwrap();
        for caption in &example.captions[..captions] {
            table += &format!("{}.png,\"{caption}\"\n", example.name);
        }
    }
    if captions > 0 {
        std::fs::write(folder.join("captions.csv"), table).unwrap();
    }
}

/// A reproduction of few small steps.
const SMALL: [&str; 11] = [
    "reproduce",
    "--data",
    "scenes",
    "--encoder",
    "tiny",
    "--set",
    "align.run.epochs=3",
    "--set",
    "captioner.run.epochs=4",
    "--set",
    "captioner.captioner.hidden_size=32",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SMALL[..], more].concat()
}

/// Checks that a page needs nothing else, and that each picture says what it shows.
fn check_page(page: &str) {
    for outside in ["http://", "https://", "<script", "<link", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let images: Vec<&str> = page.split("<img ").skip(1).collect();
    assert!(images.len() > 1);
    for image in images {
        assert!(image.starts_with("src=\"data:image/png;base64,"));
        let alternative = image.split("alt=\"").nth(1).and_then(|rest| rest.split('"').next());
        assert!(alternative.is_some_and(|text| text.len() > 5), "{alternative:?}");
    }
    let level = |heading: &str| heading.chars().next().and_then(|level| level.to_digit(10)).unwrap_or(9);
    let levels: Vec<u32> = page.split("<h").skip(1).map(level).filter(|level| (1..=6).contains(level)).collect();
    assert_eq!((levels[0], levels.iter().filter(|level| **level == 1).count()), (1, 1));
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    assert!(page.contains("do not pass the page on"));
}

#[test]
fn a_reproduction_is_found_again_and_its_report_needs_no_other_file() {
    let project = project();
    let project = project.path();
    scenes(project, ["24", "8", "8"]);
    // A part of the features, as on another machine.
    let (part, said) = json(project, &with(&["--part", "0/2"]));
    assert_eq!((&part["computed"], &part["part"]), (&20.into(), &"0/2".into()));
    assert!(said.contains("Next: ") && !project.join("saved_models/runs").exists(), "{said}");

    let (figures, said) = json(project, &with(&[]));
    assert!(said.contains("20 pictures computed") && said.contains("20 found"), "{said}");
    for (of, names) in [
        (
            "captioner",
            &[
                "cider_d",
                "nearest_neighbour_cider_d",
                "most_frequent_cider_d",
                "person_cider_d",
                "bleu_1",
                "bleu_4",
                "rouge_l",
            ][..],
        ),
        ("alignment", &["recall_at_1_text_to_image", "recall_at_10_text_to_image", "median_rank_image_to_text"]),
    ] {
        for name in names {
            assert!(figures[of][name].as_f64().is_some_and(f64::is_finite), "{of}.{name}: {figures}");
        }
        assert_eq!(figures[of]["pictures"], 16);
        assert_eq!(figures[of]["splits"], serde_json::json!(["test", "validation"]));
    }
    let out = project.join("saved_models/runs/reproduce-scenes-tiny");
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    check_page(&page);
    for said in ["24 pictures are few", "CVPR 2015, table 2", "by chance", "test and validation pictures", "SHA-256"] {
        assert!(page.contains(said), "{said}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["captioner"], &report["alignment"]), (&figures["captioner"], &figures["alignment"]));
    assert_eq!(report["trainings"].as_array().unwrap().len(), 3);
    assert_eq!(report["trainings"][2]["weights"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(report["features"]["tiny"]["computed"], 20.0);
    // The second stage began with the first.
    let config: Value = serde_json::from_slice(&std::fs::read(out.join("captioner/config.json")).unwrap()).unwrap();
    assert!(config["training"]["run"]["start_from"][0]["path"].as_str().unwrap().ends_with("snippets"), "{config}");

    // Nothing is trained twice.
    let log = |stage: &str| std::fs::read(out.join(stage).join("log.jsonl")).unwrap();
    let before = ["align", "snippets", "captioner"].map(log);
    let (again, said) = json(project, &with(&[]));
    assert_eq!(again, figures);
    assert_eq!(said.matches("found, trained before").count(), 3, "{said}");
    assert_eq!(["align", "snippets", "captioner"].map(log), before);
    // The folders are runs like others.
    let run = out.join("captioner").display().to_string();
    let picture = project.join("scenes/images/scene-900000.png").display().to_string();
    for arguments in [&["compare", &run][..], &["caption", "--run", &run, &picture]] {
        let output = captionlab(project, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    // Another configuration has another folder.
    let said = fails(project, &with(&["--seed", "2"]));
    assert!(said.contains("align.run.seed = 1, and is asked for 2 now") && said.contains("--out"), "{said}");
    let said = fails(project, &with(&["--set", "captioner.captioner.word_dropout=0.1"]));
    assert!(said.contains("snippets.captioner.word_dropout = 0.5"), "{said}");
    assert!(said.contains("captioner to train anew"), "{said}");
    let said = fails(project, &with(&["--set", "run.epochs=1"]));
    assert!(said.contains("there is no stage \"run\""), "{said}");
}

#[test]
fn a_killed_reproduction_comes_to_the_same_figures() {
    let project = project();
    let project = project.path();
    scenes(project, ["24", "8", "8"]);
    let long = |out: &'static str| with(&["--set", "captioner.run.epochs=30", "--out", out]);
    let (figures, _) = json(project, &long("whole"));
    // Killed in each training: as soon as it has taken some steps.
    for stage in ["align", "snippets", "captioner"] {
        let mut child = command(project, &long("killed")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let log = project.join("killed").join(stage).join("log.jsonl");
        let start = Instant::now();
        while std::fs::metadata(&log).map_or(0, |log| log.len()) == 0 && child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(300));
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(json(project, &long("killed")).0, figures);
}

#[test]
fn ten_pictures_are_enough_for_a_report_and_pictures_in_no_other_split_are_not() {
    let project = project();
    let project = project.path();
    photographs(&project.join("ten"), 10, 2);
    let arguments = ["reproduce", "--data", "ten", "--encoder", "tiny", "--set", "align.run.epochs=2"];
    let (figures, _) = json(project, &[&arguments[..], &["--set", "captioner.run.epochs=2"]].concat());
    assert_eq!(figures["captioner"]["pictures"], 2);
    assert!(figures["captioner"]["cider_d"].as_f64().is_some_and(f64::is_finite), "{figures}");
    // Without validation pictures no epoch is the best.
    let names =
        |range: std::ops::Range<usize>| range.map(|index| format!("scene-{index:06}.png\n")).collect::<String>();
    let lists = |lists: &[(&str, std::ops::Range<usize>)]| {
        for (name, range) in lists {
            std::fs::write(project.join("ten").join(name), names(range.clone())).unwrap();
        }
    };
    lists(&[("train_images.txt", 0..10)]);
    let said = fails(project, &arguments);
    assert!(
        said.contains("10 training, 0 validation and 0 test pictures") && said.contains("test_images.txt"),
        "{said}"
    );
    lists(&[("train_images.txt", 0..8), ("test_images.txt", 8..10)]);
    let arguments =
        [&arguments[..], &["--set", "captioner.run.epochs=2", "--out", "tested", "--config", "paper"]].concat();
    let (figures, _) = json(
        project,
        &[&arguments[..], &["--set", "captioner.vocabulary.min_count=1"], &["--set", "align.vocabulary.min_count=1"]]
            .concat(),
    );
    assert_eq!(figures["alignment"]["splits"], serde_json::json!(["test"]));
}

#[test]
fn pictures_without_captions_are_captioned_by_the_model_that_ships() {
    let project = project();
    let project = project.path();
    photographs(&project.join("own"), 3, 0);
    std::fs::write(project.join("own/broken.png"), "no picture").unwrap();
    let (figures, said) = json(project, &["reproduce", "--data", "own"]);
    assert!(said.contains("There are no captions in this folder") && said.contains("captions.csv"), "{said}");
    assert_eq!(figures["captions"].as_object().unwrap().len(), 3);
    assert!(figures["captioner"].is_null() && figures["unreadable"].as_array().unwrap().len() == 1, "{figures}");
    let page = std::fs::read_to_string(project.join("saved_models/runs/reproduce-own-tiny-both/report.html")).unwrap();
    check_page(&page);
    assert!(page.contains("There are no captions in this folder"));
    // What looks like captions and is none is an error, and nothing to be passed over.
    std::fs::write(project.join("own/captions.csv"), "a,b,c,d,e\n1,2,3,4,5\n").unwrap();
    assert!(fails(project, &["reproduce", "--data", "own"]).contains("captions.csv"));
    assert!(fails(project, &["reproduce", "--data", "nowhere"]).contains("nowhere"));
}
