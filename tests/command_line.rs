//! The verbs of the command line that train, measure and detect.

use std::path::Path;
use std::process::{Command, Output};

use captionlab::data::Dataset;
use captionlab::data::scenes::{Scene, ScenesConfig};
use captionlab::vision::Architecture;

fn captionlab(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_captionlab")).args(arguments).output().unwrap()
}

/// Standard output, then standard error.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = captionlab(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    text(&output)
}

/// Scenes as photographs in a folder, with captions and without splits.
fn photographs(folder: &Path, count: usize) {
    let scenes = Dataset::scenes(&ScenesConfig { train: count, validation: 0, test: 0, seed: 4 }).unwrap();
    let mut table = "image,caption\n".to_string();
    for example in &scenes.examples {
        example.picture().unwrap().save(folder.join(format!("{}.png", example.name))).unwrap();
        for caption in &example.captions {
            table += &format!("{}.png,\"{caption}\"\n", example.name);
        }
    }
    std::fs::write(folder.join("captions.csv"), table).unwrap();
}

#[test]
fn every_kind_is_trained_resumed_saved_and_measured_by_the_same_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    photographs(folder.path(), 40);
    let data = folder.path().display().to_string();
    let cache = format!("cache={}", path("features"));
    let kinds: [(&str, &[&str], &str); 4] = [
        ("captioner", &["--set", "captioner.hidden_size=16", "--set", &cache], "cider_d"),
        ("align", &["--set", "aligner.hidden_size=16", "--set", &cache], "median_rank_text_to_image"),
        ("eye", &["--set", "encoder.channels=[8,8]", "--set", "encoder.strides=[4,4]"], "precision_at_5"),
        ("clip", &["--set", "clip.image.image_size=32", "--set", "clip.image.patch_size=16"], "picture_recall"),
    ];
    for (kind, settings, figure) in kinds {
        let (run, saved) = (path(kind), path(&format!("{kind}-saved")));
        let mut arguments = vec!["train", kind, "--data", &data, "--out", &run, "--epochs", "1", "--save", &saved];
        arguments.extend(["--set", "run.batch_size=8"]);
        arguments.extend(settings);
        let said = succeeds(&arguments);
        assert!(said.contains("finished 1 epochs"), "{kind}: {said}");
        let said = succeeds(&["train", kind, "--data", &data, "--resume", &run]);
        assert!(said.contains("finished 1 epochs"), "{kind}: {said}");
        for model in [&run, &saved] {
            let said = succeeds(&["eval", kind, "--run", model, "--data", &data, "--json"]);
            let figures: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
            assert!(!figures[figure].is_null(), "{kind}: {said}");
        }
        // Neither a run nor anything else is overwritten.
        let said = text(&captionlab(&["train", kind, "--data", &data, "--out", &run, "--epochs", "1"]));
        assert!(said.contains("holds a run already"), "{kind}: {said}");
        let said = text(&captionlab(&["train", kind, "--data", &data, "--out", &data, "--epochs", "1"]));
        assert!(said.contains("is not empty"), "{kind}: {said}");
    }
    let drawn = path("comparison.png");
    let said =
        succeeds(&["compare", &path("captioner"), &path("align"), "--metric", "validation_loss", "--out", &drawn]);
    assert!(said.contains("captioner") && said.contains("cider_d") && image::open(&drawn).is_ok(), "{said}");
    let said = text(&captionlab(&["compare", &path("nowhere")]));
    assert!(said.contains("config.json"), "{said}");
    let said = text(&captionlab(&["train", "eye", "--data", &data, "--resume", &path("captioner")]));
    assert!(said.contains("is a run of the kind `captioner`, not `eye`"), "{said}");
}

#[test]
fn settings_kinds_and_models_that_there_are_not_are_named() {
    for (arguments, said) in [
        (&["train", "dragon"][..], "captioner"),
        (&["train", "captioner", "--set", "run.epoch=3", "--scenes", "20"], "run.epoch = 3: is no setting"),
        (&["train", "captioner", "--set", "run.epochs=many", "--scenes", "20"], "run.epochs = many: invalid type"),
        (&["train", "captioner", "--set", "run.epochs=0", "--scenes", "20"], "run.epochs = 0: must be in 1..="),
        (&["train", "captioner", "--set", "captioner.word_dropout=1", "--scenes", "20"], "captioner.word_dropout = 1"),
        (&["train", "captioner", "--set", "encoder.name=vgg", "--scenes", "20"], "no encoder is called \"vgg\""),
        (&["train", "align", "--set", "margin=-1", "--scenes", "20"], "margin = -1"),
        (&["align", "nowhere.png", "a dog"], "nowhere.png"),
        (&["train", "detector", "--set", "detector.backbone.width=0", "--scenes", "20"], "detector.backbone.width = 0"),
        (&["train", "clip", "--config", "paper", "--scenes", "20"], "no configuration of `clip` is called \"paper\""),
        (&["eval", "captioner", "--run", "nowhere"], "nowhere"),
        (&["eval", "captioner", "--run", "saved_models/detector-tiny"], "these are of the kind `detector`"),
    ] {
        let output = captionlab(arguments);
        assert!(!output.status.success() && text(&output).contains(said), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn the_shipped_models_are_measured_where_no_run_is_named() {
    let folder = tempfile::tempdir().unwrap();
    photographs(folder.path(), 20);
    let data = folder.path().display().to_string();
    let said = succeeds(&["eval", "clip", "--data", &data, "--json"]);
    let figures: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    assert!(figures["pictures"].as_u64().is_some_and(|pictures| pictures >= 1), "{said}");
    // Photographs have no boxes, so the detector was loaded before it says so.
    let said = text(&captionlab(&["eval", "detector", "--data", &data]));
    assert!(said.contains("no test pictures with boxes"), "{said}");
}

#[test]
fn one_picture_that_cannot_be_read_does_not_end_the_others_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["a.png", "c.png"] {
        Scene::generate(1, 900_001).draw().save(path(name)).unwrap();
    }
    std::fs::write(path("b.png"), b"GIF89a and no picture").unwrap();
    std::fs::write(path("d.png"), b"").unwrap();
    let out = path("out");
    let output = captionlab(&["detect", &path("a.png"), &path("b.png"), &path("c.png"), &path("d.png"), "--out", &out]);
    let said = text(&output);
    assert!(!output.status.success());
    assert!(said.contains("2 of 4 pictures could not be read"), "{said}");
    for bad in ["b.png", "d.png"] {
        assert!(said.contains(&format!("skipped: {}", path(bad))), "{said}");
    }
    for good in ["a", "c"] {
        assert!(folder.path().join(format!("out/{good}.detections.png")).exists(), "{said}");
    }
}

#[test]
fn pictures_are_captioned_by_the_shipped_model_in_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, index) in [("a.png", 900_001), ("b.png", 900_002)] {
        Scene::generate(1, index).draw().save(path(name)).unwrap();
    }
    let (a, b) = (path("a.png"), path("b.png"));
    let caption = succeeds(&["caption", &a]);
    assert!(caption.split_whitespace().count() > 2 && caption.lines().count() == 1, "{caption}");
    let said = succeeds(&["caption", &a, &b, "--beam", "4", "--best", "3", "--json"]);
    for line in said.lines() {
        let found: serde_json::Value = serde_json::from_str(line).unwrap();
        let captions = found["captions"].as_array().unwrap();
        assert_eq!(captions.len(), 3, "{line}");
        assert!(captions[0]["log_probability"].as_f64() >= captions[1]["log_probability"].as_f64(), "{line}");
    }
    // The same captioner twice says the same.
    let model = "saved_models/captioner-tiny";
    assert_eq!(succeeds(&["caption", &a, "--run", model, "--run", model]), caption);
    succeeds(&["caption", &a, "--attention", "--out", &folder.path().display().to_string()]);
    assert!(image::open(path("a.attention.png")).unwrap().width() > 300);
    // Two pictures of one name have two drawings, in a folder that is made.
    std::fs::create_dir(path("other")).unwrap();
    std::fs::copy(&b, path("other/a.png")).unwrap();
    let out = path("drawn");
    succeeds(&["caption", &a, &path("other/a.png"), "--attention", "--out", &out]);
    let drawn = |name: &str| std::fs::read(folder.path().join("drawn").join(name)).unwrap();
    assert_ne!(drawn("a.attention.png"), drawn("a-2.attention.png"));
    for (arguments, problem) in [
        (&["caption", &a, "--beam", "0"][..], "decoding.beam = 0"),
        (&["caption", &a, "--temperature", "-1"], "decoding.temperature = -1"),
        (&["caption", &a, "--nucleus", "2"], "decoding.nucleus = 2"),
        (&["caption", &a, "--run", "saved_models/align-tiny"], "these are of the kind `align`"),
        (&["caption", &a, "--run", model, "--run", model, "--attention"], "the attention of several captioners"),
        (&["caption", &path("nowhere.png"), &b], "1 of 2 pictures could not be read"),
    ] {
        let output = captionlab(arguments);
        assert!(!output.status.success() && text(&output).contains(problem), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn photographs_are_named_and_wrong_weights_and_names_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let photo = path("photo.png");
    Scene::generate(1, 1).draw().save(&photo).unwrap();
    let refused = |arguments: &[&str], expected: &[&str]| {
        let output = captionlab(arguments);
        let said = text(&output);
        assert!(!output.status.success() && expected.iter().all(|part| said.contains(part)), "{arguments:?}: {said}");
    };
    refused(&["classify", &photo, "--network", "resnet"], &["no network is called \"resnet\"", "resnet50"]);
    let other = captionlab::nn::shipped("detector-tiny").unwrap().display().to_string();
    refused(&["classify", &photo, "--weights", &other], &["these are the weights of another network"]);

    let Ok(weights) = Architecture::EfficientNetLite0.weights() else {
        println!("skipped in part: the weights of efficientnet-lite0 are not here");
        return;
    };
    let said = succeeds(&["classify", &photo]);
    assert_eq!(said.lines().filter(|line| line.contains(" %  ")).count(), 5, "{said}");
    let said = succeeds(&["classify", &photo, &photo, "--json"]);
    let lines: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["picture"]), (2, &lines[1]["picture"]));
    let shares: Vec<f64> =
        lines[0]["names"].as_array().unwrap().iter().map(|name| name["probability"].as_f64().unwrap()).collect();
    assert!(shares.len() == 5 && shares.is_sorted_by(|more, less| more >= less) && shares[0] <= 1.0, "{shares:?}");

    std::fs::write(path("classes.txt"), "a dog\na cat\n").unwrap();
    let weights = weights.display().to_string();
    let arguments = ["classify", &photo, "--weights", &weights, "--classes", &path("classes.txt")];
    refused(&arguments, &["1000 classes", "2 names"]);
    refused(&["classify", &photo, &path("missing.png")], &["missing.png", "1 of 2 pictures could not be read"]);
}

#[test]
fn a_sentence_is_aligned_with_a_picture_by_the_shipped_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let scene = Scene::generate(1, 900_001);
    scene.draw().save(path("scene.png")).unwrap();
    let (picture, out) = (path("scene.png"), path("drawn.png"));
    let sentence = &scene.captions()[0];
    let said = succeeds(&["align", &picture, sentence, "--smoothing", "100", "--out", &out]);
    let words = captionlab::data::Vocabulary::words(sentence).join(" ");
    assert!(said.starts_with("score ") && said.contains(&words), "{said}");
    assert!(image::open(&out).unwrap().width() > 300);
    for (arguments, problem) in [
        (["align", &picture, "…", "--out", &out], "has no words"),
        (["align", &picture, "qwertz", "--out", &out], "knows no word"),
    ] {
        let output = captionlab(&arguments);
        assert!(!output.status.success() && text(&output).contains(problem), "{}", text(&output));
    }
    // CLIP as it is takes the same sentences, and knows all words.
    let said = succeeds(&["align", &picture, "qwertz", "--zero-shot", "word", "--out", &out]);
    assert!(said.starts_with("score ") && said.contains("qwertz") && !said.contains("whole picture"), "{said}");
    for (arguments, problem) in [
        (&["align", &picture, sentence, "--zero-shot", "letter"][..], "word, chunk, sentence"),
        (&["align", &picture, sentence, "--zero-shot", "word", "--encoder", "tiny"], "tiny-clip or clip"),
        (&["align", &picture, sentence, "--encoder", "clip"], "--zero-shot"),
        (&["align", &picture, sentence, "--zero-shot", "word", "--smoothing", "1"], "cannot be used with"),
        (&["eval", "detector", "--zero-shot", "word"], "not as the kind `detector`"),
    ] {
        let output = captionlab(arguments);
        assert!(!output.status.success() && text(&output).contains(problem), "{}", text(&output));
    }
    let output = captionlab(&["align", &picture, sentence, "--smoothing", "-1"]);
    assert!(!output.status.success() && text(&output).contains("smoothing"), "{}", text(&output));
}

#[test]
fn scenes_are_written_as_a_data_set_that_other_verbs_open() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("scenes").display().to_string();
    let arguments = ["scenes", "--out", &out, "--train", "6", "--validation", "3", "--test", "3", "--seed", "5"];
    let said = succeeds(&arguments);
    assert!(said.contains("scenes: 12 pictures") && said.contains("43 files written, 0 there already"), "{said}");
    let said = succeeds(&arguments);
    assert!(said.contains("0 files written, 43 there already"), "{said}");
    let data = Dataset::open(&out).unwrap().with_entities(&out).unwrap();
    let config = ScenesConfig { train: 6, validation: 3, test: 3, seed: 5 };
    for (found, scene) in data.examples.iter().zip(Dataset::scenes(&config).unwrap().examples) {
        assert_eq!((found.split, &found.regions, &found.links), (scene.split, &scene.regions, &scene.links));
    }
    let said = succeeds(&["eval", "clip", "--data", &out, "--json"]);
    let figures: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(figures["pictures"], 3, "{said}");
    let entities = format!("{out}/entities");
    let said = succeeds(&["eval", "align", "--data", &out, "--entities", &entities, "--json"]);
    let figures: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(figures["phrases"].as_u64().is_some_and(|phrases| phrases > 10), "{said}");
    assert!(figures["grounding"].as_f64().is_some_and(|share| share > 0.8), "{said}");
    let said = succeeds(&["eval", "align", "--zero-shot", "chunk", "--data", &out, "--entities", &entities, "--json"]);
    let figures: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert!(figures["grounding"].as_f64().is_some_and(|share| share > 0.5), "{said}");
    for (arguments, said) in [
        (&["scenes", "--out", &out, "--train", "6"][..], "Nothing was written."),
        (&["scenes", "--out", &out, "--train", "800001"], "scenes.train = 800001: Train has at most 800000"),
        (&["scenes"], "--out"),
    ] {
        let output = captionlab(arguments);
        assert!(!output.status.success() && text(&output).contains(said), "{arguments:?}: {}", text(&output));
    }
}
