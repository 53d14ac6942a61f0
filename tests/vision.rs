//! Networks that look at pictures give what torchvision gives with the same weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use captionlab::data::images::decode;
use captionlab::data::scenes::Scene;
use captionlab::data::{BoundingBox, Random};
use captionlab::vision::faster_rcnn::{SamplingConfig, Target};
use captionlab::vision::{
    Block, FasterRcnn, FasterRcnnConfig, Normalisation, RegionConfig, RegionFeatures, ResNet, ResNetConfig, Weights,
    read_tensors, write_tensors,
};
use image::RgbImage;
use serde::Serialize;
use tch::{Device, Kind, Tensor};

/// The Python program that runs torchvision, where torchvision is installed.
struct Reference {
    python: PathBuf,
    folder: tempfile::TempDir,
}

impl Reference {
    fn find() -> Option<Self> {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
        let check = Command::new(&python).args(["-c", "import torchvision, safetensors"]).output();
        if !check.is_ok_and(|output| output.status.success()) {
            println!("skipped: .venv/bin/python with torchvision is not here");
            return None;
        }
        Some(Self { python, folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(
        &self,
        mode: &str,
        config: &impl Serialize,
        weights: &Weights,
        inputs: &[PathBuf],
    ) -> BTreeMap<String, Tensor> {
        let (config_file, weights_file) = (self.path("config.json"), self.path("weights.safetensors"));
        std::fs::write(&config_file, serde_json::to_string(config).unwrap()).unwrap();
        write_tensors(&weights_file, &weights.named(), &serde_json::Value::Null).unwrap();
        let out = self.path("out.safetensors");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vision_reference.py");
        let output = Command::new(&self.python)
            .args([program.as_path(), Path::new(mode), &config_file, &weights_file, &out])
            .args(inputs)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read_tensors(&out).unwrap().0
    }
}

/// The largest difference, as a share of the largest value.
fn difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    if ours.numel() == 0 {
        return 0.0;
    }
    let most = theirs.abs().max().double_value(&[]).max(1e-12);
    (ours - theirs).abs().max().double_value(&[]) / most
}

/// Gives the normalisations statistics as if they had been trained, and spreads scores, so that their order does not depend on the
/// last bit.
fn as_if_trained(weights: &Weights) {
    for (name, tensor) in weights.named() {
        if ["cls_logits.weight", "cls_score.weight", "rpn.head.bbox_pred.weight"].iter().any(|end| name.ends_with(end))
        {
            let _ = tch::no_grad(|| tensor.shallow_clone().g_mul_scalar_(20.0));
        }
        let is_norm = tensor.dim() == 1 && (name.contains("bn") || name.contains("downsample.1"));
        if is_norm {
            let numbers = Tensor::arange(tensor.numel() as i64, (Kind::Float, Device::Cpu));
            let wave = (numbers * 1.7 + name.len() as f64).sin();
            let value = match name.rsplit('.').next().unwrap() {
                "running_var" => wave * 0.5 + 1.0,
                "weight" => wave * 0.2 + 0.7,
                _ => wave * 0.1,
            };
            tch::no_grad(|| tensor.shallow_clone().copy_(&value));
        }
    }
}

/// Photographs where they are here, and scenes.
fn pictures() -> Vec<RgbImage> {
    let scenes = [900_001, 900_002].map(|index| Scene::generate(1, index).draw());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/flickr30k-sample/flickr30k-images");
    let mut photographs: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    photographs.sort();
    if photographs.is_empty() {
        println!("skipped in part: ../shared/flickr30k-sample is not here");
    }
    scenes.into_iter().chain(photographs.iter().take(2).map(|path| decode(path).unwrap())).collect()
}

fn save(reference: &Reference, pictures: &[RgbImage]) -> Vec<PathBuf> {
    let paths: Vec<PathBuf> = (0..pictures.len()).map(|number| reference.path(&format!("{number}.png"))).collect();
    pictures.iter().zip(&paths).for_each(|(picture, path)| picture.save(path).unwrap());
    paths
}

fn rows(boxes: &[BoundingBox]) -> Tensor {
    let flat: Vec<f32> =
        boxes.iter().flat_map(|bounds| [bounds.left, bounds.top, bounds.right, bounds.bottom]).collect();
    Tensor::from_slice(&flat).reshape([boxes.len() as i64, 4])
}

fn boxes(rows: &Tensor) -> Vec<BoundingBox> {
    let flat: Vec<f32> = Vec::try_from(rows.flatten(0, 1)).unwrap();
    let bounds = |&[left, top, right, bottom]: &[f32; 4]| BoundingBox { left, top, right, bottom };
    flat.as_chunks().0.iter().map(bounds).collect()
}

#[test]
fn stages_of_a_resnet_are_those_of_torchvision() {
    let Some(reference) = Reference::find() else { return };
    let pictures = pictures();
    let paths = save(&reference, &pictures);
    let narrow = ResNetConfig { block: Block::Basic, layers: [1, 2, 1, 1], width: 24, ..ResNetConfig::resnet18() };
    let frozen = ResNetConfig { normalisation: Normalisation::Frozen { epsilon: 0.0 }, ..ResNetConfig::resnet50() };
    for config in [narrow, ResNetConfig::resnet18(), ResNetConfig::resnet50(), frozen] {
        let mut weights = Weights::new(1, Device::Cpu);
        let network = ResNet::new(&config, "", &mut weights).unwrap();
        as_if_trained(&weights);
        let theirs = reference.run("resnet", &config, &weights, &paths);
        for (number, picture) in pictures.iter().enumerate() {
            let (height, width) = (i64::from(picture.height()), i64::from(picture.width()));
            let values = Tensor::from_slice(picture.as_raw()).reshape([1, height, width, 3]).permute([0, 3, 1, 2]);
            let values = (values.to_kind(Kind::Float) / 255.0 - 0.5) / 0.25;
            let stages = tch::no_grad(|| network.stages(&values, false));
            for (stage, map) in stages.iter().enumerate() {
                let worst = difference(map, &theirs[&format!("{number}.stage{stage}")]);
                assert!(worst <= 1e-4, "{config:?}, picture {number}, stage {stage}: {worst}");
            }
            let scores = tch::no_grad(|| network.classify(&values, false)).unwrap();
            let worst = difference(&scores, &theirs[&format!("{number}.scores")]);
            assert!(worst <= 1e-4, "{config:?}, picture {number}, scores: {worst}");
        }
    }
}

/// Asserts that tables have the same rows, to 0.05, in the same order; but rows whose scores are equal to the last bits may come
/// up to two places earlier or later. Of a table that is cut off, one row in a hundred may be another.
fn assert_same_in_order(ours: &Tensor, theirs: &Tensor, is_cut_off: bool, what: &str) {
    assert_eq!(ours.size(), theirs.size(), "{what}");
    let place = Tensor::arange(ours.size()[0], (Kind::Int64, Device::Cpu));
    let are_near = (place.unsqueeze(1) - place).abs().le(2);
    let are_same = (ours.unsqueeze(1) - theirs).abs().amax([2], false).le(0.05);
    let found = are_near.logical_and(&are_same).any_dim(1, false).sum(Kind::Int64).int64_value(&[]);
    let count = ours.size()[0];
    let others = if is_cut_off { count / 100 } else { 0 };
    assert!(found >= count - others, "{what}: {found} of {count} are the same");
}

/// Asserts that a detector proposes, describes and detects as torchvision's does: how many detections there were.
fn assert_equal_detections(config: &FasterRcnnConfig, detector: &FasterRcnn, weights: &Weights) -> usize {
    let Some(reference) = Reference::find() else { return usize::MAX };
    let pictures = pictures();
    let theirs = reference.run("detector", config, weights, &save(&reference, &pictures));
    let mut count = 0;
    for (number, picture) in pictures.iter().enumerate() {
        let of = |name: &str| &theirs[&format!("{number}.{name}")];
        let proposals = detector.propose(std::slice::from_ref(picture)).unwrap().remove(0);
        let expected = of("proposals");
        let is_cut_off = proposals.len() == config.proposals.after_suppression;
        assert_same_in_order(&rows(&proposals), expected, is_cut_off, &format!("picture {number}: proposals"));
        let vectors = detector.describe(picture, &boxes(expected), RegionFeatures::RoiAlign).unwrap();
        let worst = difference(&vectors, of("vectors"));
        assert!(worst <= 1e-4, "picture {number}: regions are described {worst} apart");
        let found = detector.detect(std::slice::from_ref(picture)).unwrap().remove(0);
        // In one table, with labels and scores stretched so that 0.05 tells labels apart, and 0.0001 in scores.
        let table = |boxes: Tensor, labels: &Tensor, scores: &Tensor| {
            let column = |values: &Tensor, factor: f64| (values.to_kind(Kind::Float) * factor).unsqueeze(1);
            Tensor::cat(&[boxes, column(labels, 1000.0), column(scores, 500.0)], 1)
        };
        let ours = table(rows(&found.boxes), &Tensor::from_slice(&found.labels), &Tensor::from_slice(&found.scores));
        let theirs = table(of("boxes").shallow_clone(), of("labels"), of("scores"));
        let is_cut_off = found.len() == config.detections.most;
        assert_same_in_order(&ours, &theirs, is_cut_off, &format!("picture {number}: detections"));
        count += found.len();
    }
    count
}

#[test]
fn a_detector_with_drawn_weights_is_that_of_torchvision() {
    let tiny = FasterRcnnConfig::tiny();
    let deep = FasterRcnnConfig { shorter_side: 320, longest_side: 500, ..FasterRcnnConfig::resnet50_coco() };
    for mut config in [tiny, deep] {
        // Drawn weights find every class about as likely as any other.
        config.detections.min_score = 1.05 / config.classes.len() as f64;
        let mut weights = Weights::new(3, Device::Cpu);
        let detector = FasterRcnn::new(&config, &mut weights).unwrap();
        as_if_trained(&weights);
        let count = assert_equal_detections(&config, &detector, &weights);
        assert!(count > 20, "{count} detections are too few to compare");
    }
}

#[test]
fn losses_are_those_of_torchvision() {
    let Some(reference) = Reference::find() else { return };
    let mut config = FasterRcnnConfig::tiny();
    // Everything is learnt from, so that nothing is drawn.
    config.sampling = SamplingConfig {
        anchors: 100_000,
        anchors_on_things: 1.0,
        regions: 100_000,
        regions_on_things: 1.0,
        ..config.sampling
    };
    let mut weights = Weights::new(3, Device::Cpu);
    let detector = FasterRcnn::new(&config, &mut weights).unwrap();
    as_if_trained(&weights);
    let mut pictures = Vec::new();
    let mut targets = Vec::new();
    let mut stored = Vec::new();
    for number in 0..4i64 {
        let scene = Scene::generate(1, 900_000 + number as u64);
        let picture = scene.draw();
        let values = Tensor::from_slice(picture.as_raw()).reshape([128, 128, 3]).permute([2, 0, 1]);
        pictures.push((values.to_kind(Kind::Float) / 255.0 - 0.5) / 0.25);
        let boxes: Vec<BoundingBox> = scene.things().iter().map(|thing| thing.bounds).collect();
        // The last picture has nothing in it.
        let boxes = if number == 3 { Vec::new() } else { boxes };
        let labels: Vec<i64> = (1..=boxes.len() as i64).collect();
        stored.push((format!("{number}.boxes"), rows(&boxes)));
        stored.push((format!("{number}.labels"), Tensor::from_slice(&labels)));
        targets.push(Target { boxes, labels });
    }
    let pictures = Tensor::stack(&pictures, 0).contiguous();
    stored.push(("pictures".to_string(), pictures.shallow_clone()));
    let file = reference.path("pictures.safetensors");
    write_tensors(&file, &stored, &serde_json::Value::Null).unwrap();
    let theirs = reference.run("losses", &config, &weights, &[file]);
    let ours = detector.losses(&pictures, &targets, true, &mut Random::new(1));
    for (name, loss) in [
        ("loss_objectness", &ours.objectness),
        ("loss_rpn_box_reg", &ours.proposal_boxes),
        ("loss_classifier", &ours.classes),
        ("loss_box_reg", &ours.boxes),
    ] {
        let (loss, expected) = (loss.double_value(&[]), theirs[name].double_value(&[0]));
        assert!(expected > 0.0 && (loss - expected).abs() <= 1e-4 * expected, "{name}: {loss}, torchvision {expected}");
    }
}

#[test]
fn regions_are_the_whole_picture_and_then_the_surest_detections() {
    let mut weights = Weights::new(3, Device::Cpu);
    let mut config = FasterRcnnConfig::tiny();
    config.detections.min_score = 1.05 / config.classes.len() as f64;
    let detector = FasterRcnn::new(&config, &mut weights).unwrap();
    as_if_trained(&weights);
    let picture = Scene::generate(1, 900_001).draw();
    for (features, size) in [(RegionFeatures::RoiAlign, 128), (RegionFeatures::Crop, 192)] {
        let all = RegionConfig { min_score: 0.0, most: 6, features, ..RegionConfig::default() };
        let regions = detector.regions(&picture, &all).unwrap();
        assert_eq!(regions.boxes[0], BoundingBox { left: 0.0, top: 0.0, right: 128.0, bottom: 128.0 });
        assert_eq!((regions.labels[0], regions.scores[0]), (0, 1.0));
        assert!(regions.boxes.len() > 2 && regions.scores[1..].is_sorted_by(|one, other| one >= other));
        assert_eq!((regions.features.size(), regions.mask.size()), (vec![7, size], vec![7]));
        let none = RegionConfig { min_score: 1.0, ..all };
        let regions = detector.regions(&picture, &none).unwrap();
        assert_eq!(regions.boxes.len(), 1);
        assert_eq!(Vec::<f32>::try_from(&regions.mask).unwrap(), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(regions.features.get(0).abs().max().double_value(&[]) > 0.0);
        assert_eq!(regions.features.narrow(0, 1, 6).abs().max().double_value(&[]), 0.0);
        // The same by hand.
        let described = detector.describe(&picture, &regions.boxes, features).unwrap();
        assert!(difference(&described, &regions.features.narrow(0, 0, 1)) < 1e-5);
    }
    let error = detector.regions(&picture, &RegionConfig { min_score: 2.0, ..RegionConfig::default() }).unwrap_err();
    assert!(error.to_string().starts_with("regions.min_score = 2"), "{error}");
}

#[test]
fn pictures_of_any_shape_are_looked_at() {
    let mut weights = Weights::new(3, Device::Cpu);
    let detector = FasterRcnn::new(&FasterRcnnConfig::tiny(), &mut weights).unwrap();
    let pictures = [(1, 1), (1, 5000), (5000, 1), (128, 128)].map(|(width, height)| RgbImage::new(width, height));
    assert_eq!(detector.detect(&pictures).unwrap().len(), 4);
    for picture in &pictures {
        for features in [RegionFeatures::RoiAlign, RegionFeatures::Crop] {
            let config = RegionConfig { min_score: 0.99, features, ..RegionConfig::default() };
            assert_eq!(detector.regions(picture, &config).unwrap().boxes.len(), 1);
        }
    }
    assert!(detector.detect(&[]).unwrap().is_empty());
    assert!(detector.detect(&[RgbImage::new(0, 0)]).unwrap_err().to_string().contains("no pixels"));
}
