//! Networks that look at pictures give what torchvision gives with the same weights.

mod python;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Mutex;

use captionlab::data::images::{Crop, decode};
use captionlab::data::scenes::Scene;
use captionlab::data::{BoundingBox, Dataset, Preprocess, Random, ScenesConfig, Split};
use captionlab::nn::{ComputeDtype, Normalisation, Weights, read_tensors, write_tensors};
use captionlab::vision::faster_rcnn::{self, SamplingConfig, Target};
use captionlab::vision::{
    Architecture, AveragePrecision, Block, Classify, Detections, EfficientNet, EfficientNetConfig, Encoder,
    EncoderConfig, FasterRcnn, FasterRcnnConfig, ImageClassifier, RegionConfig, RegionPooling, ResNet, ResNetConfig,
    StorageDtype,
};
use image::RgbImage;
use python::python_with;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// `vision_reference.py`, which answers calls one after another: importing torchvision for each would take seconds.
struct Program {
    process: Child,
    answers: BufReader<ChildStdout>,
}

static PROGRAM: Mutex<Option<Program>> = Mutex::new(None);

/// What torchvision makes of a test's files, where torchvision is installed.
struct Reference {
    folder: tempfile::TempDir,
}

impl Reference {
    fn find() -> Option<Self> {
        let mut program = PROGRAM.lock().unwrap();
        if program.is_none() {
            let mut command = python_with("torchvision safetensors PIL")?;
            command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vision_reference.py"));
            let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let answers = BufReader::new(process.stdout.take().unwrap());
            *program = Some(Program { process, answers });
        }
        Some(Self { folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn call(&self, arguments: &[&Path]) {
        let answer = {
            let mut program = PROGRAM.lock().unwrap();
            let Program { process, answers } = program.as_mut().expect("found");
            let mut answer = String::new();
            writeln!(process.stdin.as_mut().unwrap(), "{}", serde_json::to_string(arguments).unwrap())
                .and_then(|()| answers.read_line(&mut answer))
                .map(|_| answer)
        };
        let problem: String = serde_json::from_str(&answer.unwrap()).expect("vision_reference.py goes on");
        assert!(problem.is_empty(), "{problem}");
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
        let mut arguments = vec![Path::new(mode), &config_file, &weights_file, &out];
        arguments.extend(inputs.iter().map(PathBuf::as_path));
        self.call(&arguments);
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

/// Asserts that a detector proposes, describes and detects as torchvision's does, scores to `tolerance`: how many detections there
/// were.
fn assert_equal_detections(
    config: &FasterRcnnConfig,
    detector: &FasterRcnn,
    weights: &Weights,
    tolerance: f64,
) -> usize {
    let Some(reference) = Reference::find() else { return usize::MAX };
    let pictures = pictures();
    let theirs = reference.run("detector", config, weights, &save(&reference, &pictures));
    let mut count = 0;
    for (number, picture) in pictures.iter().enumerate() {
        let of = |name: &str| &theirs[&format!("{number}.{name}")];
        let proposals = detector.propose(std::slice::from_ref(picture)).unwrap().remove(0);
        let expected = of("proposals");
        let is_cut_off = proposals.len() == config.proposals.post_nms_top_n;
        assert_same_in_order(&rows(&proposals), expected, is_cut_off, &format!("picture {number}: proposals"));
        let vectors = detector.describe(picture, &boxes(expected), RegionPooling::RoiAlign).unwrap();
        let worst = difference(&vectors, of("vectors"));
        assert!(worst <= 1e-4, "picture {number}: regions are described {worst} apart");
        let found = detector.detect(std::slice::from_ref(picture)).unwrap().remove(0);
        // In one table, with labels and scores stretched so that 0.05 tells labels apart, and scores by the tolerance.
        let table = |boxes: Tensor, labels: &Tensor, scores: &Tensor| {
            let column = |values: &Tensor, factor: f64| (values.to_kind(Kind::Float) * factor).unsqueeze(1);
            Tensor::cat(&[boxes, column(labels, 1000.0), column(scores, 0.05 / tolerance)], 1)
        };
        let ours = table(rows(&found.boxes), &Tensor::from_slice(&found.labels), &Tensor::from_slice(&found.scores));
        let theirs = table(of("boxes").shallow_clone(), of("labels"), of("scores"));
        let is_cut_off = found.len() == config.detections.max_detections;
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
        config.detections.score_threshold = 1.05 / config.classes.len() as f64;
        let mut weights = Weights::new(3, Device::Cpu);
        let detector = FasterRcnn::new(&config, &mut weights).unwrap();
        as_if_trained(&weights);
        // Drawn weights have regions less than a pixel thin, whose scores hang on the last bits of their boxes.
        let count = assert_equal_detections(&config, &detector, &weights, 5e-4);
        assert!(count > 20, "{count} detections are too few to compare");
    }
}

/// The detector that ships with the project.
fn shipped_detector() -> (FasterRcnn, Weights) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("saved_models/detector-tiny/model.safetensors");
    let detector = FasterRcnn::load(&path, Device::Cpu).unwrap();
    let mut weights = Weights::new(0, Device::Cpu);
    FasterRcnn::new(detector.config(), &mut weights).unwrap();
    weights.assign(&read_tensors(&path).unwrap().0, &path).unwrap();
    (detector, weights)
}

#[test]
fn the_shipped_detector_is_that_of_torchvision() {
    let (detector, weights) = shipped_detector();
    let count = assert_equal_detections(detector.config(), &detector, &weights, 1e-4);
    assert!(count > 4, "{count} detections are too few to compare");
}

#[test]
fn the_shipped_detector_finds_the_things_of_scenes() {
    let (detector, _) = shipped_detector();
    let scenes = Dataset::scenes(&ScenesConfig { train: 0, validation: 0, test: 80, seed: 1 }).unwrap();
    let precision = faster_rcnn::evaluate_detector(&detector, &scenes, Split::Test).unwrap();
    assert!(precision.ap50 >= 0.95, "{precision}");
}

#[test]
fn in_bfloat16_the_same_things_are_found_and_described_nearly_alike() {
    let (single, _) = shipped_detector();
    let (reduced, _) = shipped_detector();
    let reduced = reduced.with_dtype(ComputeDtype::BFloat16);
    let scenes = Dataset::scenes(&ScenesConfig { train: 0, validation: 0, test: 80, seed: 1 }).unwrap();
    let precision = faster_rcnn::evaluate_detector(&reduced, &scenes, Split::Test).unwrap();
    assert!(precision.ap50 >= 0.95, "{precision}");
    for index in 900_000..900_008 {
        let picture = Scene::generate(1, index).draw();
        let found = single.detect(std::slice::from_ref(&picture)).unwrap().remove(0);
        for way in [RegionPooling::RoiAlign, RegionPooling::Crop] {
            let [theirs, ours] =
                [&single, &reduced].map(|detector| detector.describe(&picture, &found.boxes, way).unwrap());
            assert_eq!(ours.kind(), Kind::Float);
            let lengths = |rows: &Tensor| rows.norm_scalaropt_dim(2.0, [1], false);
            let worst = (lengths(&(&ours - &theirs)) / lengths(&theirs)).max().double_value(&[]);
            // Of 8 digits in binary, 1/256 is lost at each layer at most; that something is lost shows that it is used.
            assert!((1e-4..0.05).contains(&worst), "scene {index}, {way:?}: {worst}");
        }
    }
}

/// Pictures cut for an EfficientNet, and the values that it reads.
fn cut_for(config: &EfficientNetConfig, pictures: &[RgbImage], crop: Crop) -> (Vec<RgbImage>, Tensor) {
    let preprocess = Preprocess { size: config.image_size as u32, crop, ..Preprocess::efficientnet() };
    let cut: Vec<RgbImage> = pictures.iter().map(|picture| preprocess.cut(picture).unwrap()).collect();
    let values: Vec<Tensor> = pictures.iter().map(|picture| preprocess.to_tensor(picture).unwrap()).collect();
    (cut, Tensor::stack(&values, 0))
}

#[test]
fn maps_and_classes_of_an_efficientnet_are_those_of_its_package() {
    let Some(reference) = Reference::find() else { return };
    let narrow = EfficientNetConfig { width: 0.4, depth: 0.5, image_size: 65, classes: 7 };
    for config in [narrow, EfficientNetConfig::lite0(), EfficientNetConfig::lite2(), EfficientNetConfig::lite4()] {
        let mut weights = Weights::new(1, Device::Cpu);
        let network = EfficientNet::new(&config, &mut weights).unwrap();
        as_if_trained(&weights);
        let (cut, values) = cut_for(&config, &pictures()[..1], Crop::Stretch);
        let theirs = reference.run("efficientnet", &config, &weights, &save(&reference, &cut));
        let map = tch::no_grad(|| network.feature_map(&values, false));
        let scores = tch::no_grad(|| network.classify(&values, false));
        assert!(difference(&map, &theirs["0.map"]) < 1e-4, "{config:?}");
        assert!(difference(&scores, &theirs["0.scores"]) < 1e-4, "{config:?}");
    }
}

/// The published weights of EfficientNet-Lite0, where they are here.
fn published_efficientnet() -> Option<ImageClassifier> {
    let loaded = ImageClassifier::load(Architecture::EfficientNetLite0, Device::Cpu);
    loaded.inspect_err(|error| println!("skipped: {error}")).ok()
}

#[test]
fn the_published_efficientnet_describes_and_names_pictures_as_its_package_does() {
    let (Some(reference), Some(classifier)) = (Reference::find(), published_efficientnet()) else { return };
    let config = EfficientNetConfig::lite0();
    let mut weights = Weights::new(1, Device::Cpu);
    EfficientNet::new(&config, &mut weights).unwrap();
    let file = Architecture::EfficientNetLite0.weights().unwrap();
    weights.assign(&captionlab::nn::read_weights(&file).unwrap(), &file).unwrap();
    let pictures = pictures();
    let run = |crop| {
        let (cut, _) = cut_for(&config, &pictures, crop);
        reference.run("efficientnet", &config, &weights, &save(&reference, &cut))
    };

    let theirs = run(Preprocess::efficientnet().crop);
    let names = reference.path("classes.json");
    reference.call(&[Path::new("classes"), &names]);
    let names: Vec<String> = serde_json::from_str(&std::fs::read_to_string(names).unwrap()).unwrap();
    assert_eq!(classifier.classes(), names);
    for (number, picture) in pictures.iter().enumerate() {
        let theirs = &theirs[&format!("{number}.scores")];
        assert!(difference(&classifier.logits(std::slice::from_ref(picture)).unwrap(), theirs) < 1e-4);
        let best = &names[theirs.argmax(-1, false).int64_value(&[0]) as usize];
        let found = classifier.classify(picture).unwrap();
        assert_eq!((found.len(), &found[0].0), (5, best));
        assert!(found.is_sorted_by(|(_, more), (_, less)| more >= less));
    }

    let theirs = run(Crop::Stretch);
    let encoder = EncoderConfig { storage: StorageDtype::Single, ..EncoderConfig::new("efficientnet-lite0") };
    let encoder = Encoder::load(&encoder).unwrap();
    for (number, picture) in pictures.iter().enumerate() {
        let map = &theirs[&format!("{number}.map")];
        let found = encoder.encode(picture).unwrap();
        assert_eq!((found.features.size().as_slice(), found.boxes.len()), ([19, 1280].as_slice(), 19));
        for (place, bounds) in found.boxes.iter().enumerate() {
            // Windows begin and end between cells of the map, which has seven in each direction.
            let cells = |low: f32, high: f32, side: u32| {
                let [low, high] = [low, high].map(|edge| edge / side as f32 * 7.0);
                assert!((low - low.round()).abs() < 1e-3 && (high - high.round()).abs() < 1e-3 && high > low);
                (low.round() as i64, (high - low).round() as i64)
            };
            let (left, wide) = cells(bounds.left, bounds.right, picture.width());
            let (top, high) = cells(bounds.top, bounds.bottom, picture.height());
            let window = map.narrow(2, top, high).narrow(3, left, wide);
            let expected = window.mean_dim([2i64, 3].as_slice(), false, Kind::Float).squeeze_dim(0);
            assert!(difference(&found.features.get(place as i64), &expected) < 1e-4, "picture {number}, {bounds:?}");
        }
        assert_eq!((found.boxes[0].left, found.boxes[0].right), (0.0, picture.width() as f32));
    }
}

#[test]
fn a_resnet_describes_whole_pictures_and_windows_of_one_map() {
    let folder = tempfile::tempdir().unwrap();
    let mut weights = Weights::new(1, Device::Cpu);
    let network = ResNet::new(&ResNetConfig::resnet50(), "", &mut weights).unwrap();
    as_if_trained(&weights);
    let file = folder.path().join("resnet50.safetensors");
    write_tensors(&file, &weights.named(), &serde_json::Value::Null).unwrap();
    let encoder = EncoderConfig {
        classifier: Some(file.clone()),
        storage: StorageDtype::Single,
        ..EncoderConfig::new("resnet50")
    };
    let encoder = Encoder::load(&encoder).unwrap();
    let picture = Scene::generate(1, 5).draw();
    let found = encoder.encode(&picture).unwrap();
    let stretched = Preprocess { crop: Crop::Stretch, ..Preprocess::imagenet() }.to_tensor(&picture).unwrap();
    let map = tch::no_grad(|| network.stages(&stretched.unsqueeze(0), false))[3].shallow_clone();
    let mean = |map: Tensor| map.mean_dim([2i64, 3].as_slice(), false, Kind::Float).squeeze_dim(0);
    assert_eq!(found.features.size(), [19, 2048]);
    assert!(difference(&found.features.get(0), &mean(map.shallow_clone())) < 1e-4);
    // The last window is the lower right corner of three by three cells.
    assert!(difference(&found.features.get(18), &mean(map.narrow(2, 4, 3).narrow(3, 4, 3))) < 1e-4);
    // Another encoder than that of other weights.
    let other = EncoderConfig { classifier: Some(file), ..EncoderConfig::new("tiny+resnet50") };
    let other = Encoder::load(&other).unwrap();
    assert_ne!(other.identity(), encoder.identity());
    let regions = other.encode(&picture).unwrap();
    assert_eq!((regions.features.size()[1], regions.labels.len()), (2048, regions.boxes.len()));
}

#[test]
fn networks_learn_in_single_precision_whatever_they_look_with() {
    let resnet = || ResNet::new(&FasterRcnnConfig::tiny().backbone, "", &mut Weights::new(3, Device::Cpu)).unwrap();
    let pictures = Tensor::linspace(-2.0, 2.0, 2 * 3 * 64 * 64, (Kind::Float, Device::Cpu)).reshape([2, 3, 64, 64]);
    let [single, reduced] = [resnet(), resnet().with_dtype(ComputeDtype::BFloat16)];
    for (one, other) in single.stages(&pictures, true).iter().zip(&reduced.stages(&pictures, true)) {
        assert_eq!(one, other);
    }
    for (one, other) in single.stages(&pictures, false).iter().zip(&reduced.stages(&pictures, false)) {
        assert_eq!(other.kind(), Kind::Float);
        assert!((1e-4..0.05).contains(&difference(other, one)));
    }
}

/// Scenes of the test split, which the golden file is about.
const GOLDEN_SCENES: std::ops::Range<u64> = 900_000..900_008;

fn golden_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_vision.json")
}

/// What torchvision gives, for machines that lack it.
#[derive(Serialize, Deserialize)]
struct Golden {
    /// What it finds in each scene: label, score, corners.
    detections: Vec<Vec<(i64, f32, [f32; 4])>>,
    /// Of the first scenes, the likeliest proposals and what describes each.
    regions: Vec<Vec<([f32; 4], Probe)>>,
    /// Of some networks with drawn weights, the four stages and the scores.
    networks: Vec<Vec<Probe>>,
    /// Of an EfficientNet with drawn weights, the feature map and the scores.
    efficientnet: Vec<Probe>,
}

/// Some numbers of a map, at even distances, and the largest of all.
#[derive(Serialize, Deserialize)]
struct Probe {
    largest: f32,
    numbers: Vec<f32>,
}

impl Probe {
    const NUMBERS: i64 = 12;

    fn new(map: &Tensor) -> Self {
        let map = map.contiguous().view([-1]);
        let last = map.numel() as i64 - 1;
        let places = Tensor::arange(Self::NUMBERS, (Kind::Int64, Device::Cpu)) * last;
        let places = places.divide_scalar_mode(Self::NUMBERS - 1, "floor");
        let numbers = Vec::try_from(map.index_select(0, &places)).unwrap();
        Self { largest: map.abs().max().double_value(&[]) as f32, numbers }
    }

    fn assert_is(&self, expected: &Self, what: &str) {
        let (ours, theirs) = ([&self.numbers[..], &[self.largest]].concat(), &expected.numbers);
        let theirs = theirs.iter().chain([&expected.largest]);
        assert_eq!(expected.numbers.len(), Self::NUMBERS as usize);
        for (one, other) in ours.iter().zip(theirs) {
            assert!((one - other).abs() <= 1e-4 * expected.largest, "{what}: {one}, torchvision {other}");
        }
    }
}

/// Networks of both kinds of blocks and both normalisations, small enough to be drawn in a moment.
fn golden_networks() -> [ResNetConfig; 2] {
    let frozen = Normalisation::Frozen { epsilon: 0.0 };
    [
        ResNetConfig { width: 16, classes: Some(20), ..ResNetConfig::resnet50() },
        ResNetConfig { width: 16, classes: Some(20), normalisation: frozen, ..ResNetConfig::resnet18() },
    ]
}

/// An EfficientNet that is drawn in a moment.
const GOLDEN_EFFICIENTNET: EfficientNetConfig =
    EfficientNetConfig { width: 0.4, depth: 1.0, image_size: 128, classes: 20 };

#[test]
fn maps_and_classes_of_an_efficientnet_are_those_of_the_golden_file() {
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(golden_file()).unwrap()).unwrap();
    let mut weights = Weights::new(1, Device::Cpu);
    let network = EfficientNet::new(&GOLDEN_EFFICIENTNET, &mut weights).unwrap();
    as_if_trained(&weights);
    let scene = Scene::generate(1, GOLDEN_SCENES.start).draw();
    let (_, values) = cut_for(&GOLDEN_EFFICIENTNET, &[scene], Crop::Stretch);
    let [map, scores] = tch::no_grad(|| [network.feature_map(&values, false), network.classify(&values, false)]);
    assert_eq!(golden.efficientnet.len(), 2);
    Probe::new(&map).assert_is(&golden.efficientnet[0], "the feature map");
    Probe::new(&scores).assert_is(&golden.efficientnet[1], "the scores");
}

/// How many of the golden scenes, and of the proposals in each, are described.
const GOLDEN_REGIONS: (usize, usize) = (2, 10);

#[test]
fn the_shipped_detector_finds_what_the_golden_file_says() {
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(golden_file()).unwrap()).unwrap();
    let (detector, _) = shipped_detector();
    for (index, expected) in GOLDEN_SCENES.zip(&golden.detections) {
        let found = detector.detect(&[Scene::generate(1, index).draw()]).unwrap().remove(0);
        assert!(!expected.is_empty());
        assert_eq!(found.labels, expected.iter().map(|(label, ..)| *label).collect::<Vec<_>>(), "scene {index}");
        for (place, (_, score, corners)) in expected.iter().enumerate() {
            let worst = furthest(&found.boxes[place], corners);
            assert!(worst <= 0.05 && (found.scores[place] - score).abs() <= 1e-4, "scene {index}, {place}: {worst}");
        }
    }
    assert_eq!(golden.detections.len(), GOLDEN_SCENES.count());
}

/// How far the corners of a box are from others.
fn furthest(bounds: &BoundingBox, corners: &[f32; 4]) -> f32 {
    let ours = [bounds.left, bounds.top, bounds.right, bounds.bottom];
    assert!(ours.iter().all(|corner| corner.is_finite()), "{bounds:?}");
    ours.iter().zip(corners).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[test]
fn the_shipped_detector_proposes_and_describes_what_the_golden_file_says() {
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(golden_file()).unwrap()).unwrap();
    let (detector, _) = shipped_detector();
    assert_eq!(golden.regions.len(), GOLDEN_REGIONS.0);
    for (index, expected) in GOLDEN_SCENES.zip(&golden.regions) {
        let picture = Scene::generate(1, index).draw();
        let proposals = detector.propose(std::slice::from_ref(&picture)).unwrap().remove(0);
        assert_eq!(expected.len(), GOLDEN_REGIONS.1);
        for (place, (corners, probe)) in expected.iter().enumerate() {
            // Those that are equally likely may come in another order.
            let near = &proposals[..GOLDEN_REGIONS.1 + 2];
            let worst = near.iter().map(|bounds| furthest(bounds, corners)).fold(f32::MAX, f32::min);
            assert!(worst <= 0.05, "scene {index}, proposal {place}: {worst} px apart");
            let &[left, top, right, bottom] = corners;
            let bounds = BoundingBox { left, top, right, bottom };
            let described = detector.describe(&picture, &[bounds], RegionPooling::RoiAlign).unwrap();
            Probe::new(&described).assert_is(probe, &format!("scene {index}, proposal {place}"));
        }
    }
}

#[test]
fn stages_of_a_resnet_are_those_of_the_golden_file() {
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(golden_file()).unwrap()).unwrap();
    let picture = Scene::generate(1, GOLDEN_SCENES.start).draw();
    let values = Tensor::from_slice(picture.as_raw()).reshape([1, 128, 128, 3]).permute([0, 3, 1, 2]);
    let values = (values.to_kind(Kind::Float) / 255.0 - 0.5) / 0.25;
    assert_eq!(golden.networks.len(), golden_networks().len());
    for (config, expected) in golden_networks().iter().zip(&golden.networks) {
        let mut weights = Weights::new(1, Device::Cpu);
        let network = ResNet::new(config, "", &mut weights).unwrap();
        as_if_trained(&weights);
        let scores = tch::no_grad(|| network.classify(&values, false)).unwrap();
        let maps = tch::no_grad(|| network.stages(&values, false)).into_iter().chain([scores]);
        assert_eq!(expected.len(), 5);
        for (number, (map, expected)) in maps.zip(expected).enumerate() {
            Probe::new(&map).assert_is(expected, &format!("{config:?}, map {number}"));
        }
    }
}

/// `cargo test --test vision -- --ignored` makes the golden file anew with torchvision.
#[test]
#[ignore = "writes tests/golden_vision.json"]
fn write_the_golden_file() {
    let reference = Reference::find().expect("the golden file needs torchvision");
    let (detector, weights) = shipped_detector();
    let pictures: Vec<RgbImage> = GOLDEN_SCENES.map(|index| Scene::generate(1, index).draw()).collect();
    let paths = save(&reference, &pictures);
    let theirs = reference.run("detector", detector.config(), &weights, &paths);
    let corners = |boxes: &Tensor, place: i64| -> [f32; 4] {
        Vec::<f32>::try_from(boxes.get(place)).unwrap().try_into().expect("a box has four corners")
    };
    let detections = |number: usize| {
        let of = |name: &str| &theirs[&format!("{number}.{name}")];
        let (labels, scores, boxes) = (of("labels"), of("scores"), of("boxes"));
        let row =
            |place: i64| (labels.int64_value(&[place]), scores.double_value(&[place]) as f32, corners(boxes, place));
        (0..labels.size()[0]).map(row).collect()
    };
    let regions = |number: usize| {
        let (boxes, vectors) = (&theirs[&format!("{number}.proposals")], &theirs[&format!("{number}.vectors")]);
        let row = |place: i64| (corners(boxes, place), Probe::new(&vectors.get(place)));
        (0..GOLDEN_REGIONS.1 as i64).map(row).collect()
    };
    let network = |config: &ResNetConfig| {
        let mut weights = Weights::new(1, Device::Cpu);
        ResNet::new(config, "", &mut weights).unwrap();
        as_if_trained(&weights);
        let theirs = reference.run("resnet", config, &weights, &paths[..1]);
        ["stage0", "stage1", "stage2", "stage3", "scores"].map(|name| Probe::new(&theirs[&format!("0.{name}")])).into()
    };
    let efficientnet = {
        let mut weights = Weights::new(1, Device::Cpu);
        EfficientNet::new(&GOLDEN_EFFICIENTNET, &mut weights).unwrap();
        as_if_trained(&weights);
        let theirs = reference.run("efficientnet", &GOLDEN_EFFICIENTNET, &weights, &paths[..1]);
        ["map", "scores"].map(|name| Probe::new(&theirs[&format!("0.{name}")])).into()
    };
    let golden = Golden {
        detections: (0..pictures.len()).map(detections).collect(),
        regions: (0..GOLDEN_REGIONS.0).map(regions).collect(),
        networks: golden_networks().iter().map(network).collect(),
        efficientnet,
    };
    std::fs::write(golden_file(), serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
}

#[test]
fn losses_are_those_of_torchvision() {
    let Some(reference) = Reference::find() else { return };
    let mut config = FasterRcnnConfig::tiny();
    // Everything is learnt from, so that nothing is drawn.
    config.sampling = SamplingConfig {
        anchors: 100_000,
        anchor_positive_fraction: 1.0,
        regions: 100_000,
        region_positive_fraction: 1.0,
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
    config.detections.score_threshold = 1.05 / config.classes.len() as f64;
    let detector = FasterRcnn::new(&config, &mut weights).unwrap();
    as_if_trained(&weights);
    let picture = Scene::generate(1, 900_001).draw();
    for (features, size) in [(RegionPooling::RoiAlign, 128), (RegionPooling::Crop, 192)] {
        let all = RegionConfig { score_threshold: 0.0, max_regions: 6, features, ..RegionConfig::default() };
        let regions = detector.regions(&picture, &all).unwrap();
        assert_eq!(regions.boxes[0], BoundingBox { left: 0.0, top: 0.0, right: 128.0, bottom: 128.0 });
        assert_eq!((regions.labels[0], regions.scores[0]), (0, 1.0));
        assert!(regions.boxes.len() > 2 && regions.scores[1..].is_sorted_by(|one, other| one >= other));
        assert_eq!(regions.features.size(), [regions.boxes.len() as i64, size]);
        let none = RegionConfig { score_threshold: 1.0, ..all };
        let regions = detector.regions(&picture, &none).unwrap();
        assert_eq!(regions.boxes.len(), 1);
        assert_eq!(regions.features.size(), [1, size]);
        assert!(regions.features.get(0).abs().max().double_value(&[]) > 0.0);
        // The same by hand.
        let described = detector.describe(&picture, &regions.boxes, features).unwrap();
        assert!(difference(&described, &regions.features.narrow(0, 0, 1)) < 1e-5);
    }
    let error =
        detector.regions(&picture, &RegionConfig { score_threshold: 2.0, ..RegionConfig::default() }).unwrap_err();
    assert!(error.to_string().starts_with("score_threshold = 2"), "{error}");
}

#[test]
fn pictures_of_any_shape_are_looked_at() {
    let mut weights = Weights::new(3, Device::Cpu);
    let detector = FasterRcnn::new(&FasterRcnnConfig::tiny(), &mut weights).unwrap();
    let pictures = [(1, 1), (1, 5000), (5000, 1), (128, 128)].map(|(width, height)| RgbImage::new(width, height));
    assert_eq!(detector.detect(&pictures).unwrap().len(), 4);
    for picture in &pictures {
        for features in [RegionPooling::RoiAlign, RegionPooling::Crop] {
            let config = RegionConfig { score_threshold: 0.99, features, ..RegionConfig::default() };
            assert_eq!(detector.regions(picture, &config).unwrap().boxes.len(), 1);
        }
    }
    assert!(detector.detect(&[]).unwrap().is_empty());
    assert!(detector.detect(&[RgbImage::new(0, 0)]).unwrap_err().to_string().contains("no pixels"));
}

#[cfg(feature = "pytorch")]
#[test]
fn files_that_torchvision_publishes_load_as_they_are() {
    let Some(reference) = Reference::find() else { return };
    reference.call(&[Path::new("published"), reference.folder.path()]);
    let (resnet, detector) = (reference.path("resnet50.pth"), reference.path("fasterrcnn.pth"));
    ResNet::with_weights(&ResNetConfig::resnet50(), &resnet, Device::Cpu).unwrap();
    let loaded = FasterRcnn::load(&detector, Device::Cpu).unwrap();
    assert_eq!(loaded.class_name(18), "dog");
    // Weights of another network are refused, and the message says what is wrong.
    let error = FasterRcnn::load(&resnet, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("resnet50.pth") && error.contains("backbone.body.bn1.bias"), "{error}");
    let error = ResNet::with_weights(&ResNetConfig::resnet18(), &resnet, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("layer1.0.conv1.weight"), "{error}");
    let bytes = std::fs::read(&detector).unwrap();
    std::fs::write(&detector, &bytes[..bytes.len() / 2]).unwrap();
    let error = FasterRcnn::load(&detector, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("fasterrcnn.pth"), "{error}");
}

#[test]
fn average_precision_is_that_of_pycocotools() {
    let Some(reference) = Reference::find() else { return };
    let mut random = Random::new(5);
    let names: Vec<String> = (0..5).map(|label| format!("class {label}")).collect();
    let (mut found, mut truth, mut found_rows, mut truth_rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for image in 0..40 {
        let (mut detections, mut target) = (Detections::default(), Target::default());
        for _ in 0..random.below(6) {
            let (left, top) = (random.between(0.0, 80.0).round(), random.between(0.0, 80.0).round());
            let (width, height) = (random.between(5.0, 40.0).round(), random.between(5.0, 40.0).round());
            let label = 1 + random.below(4) as i64;
            target.boxes.push(BoundingBox { left, top, right: left + width, bottom: top + height });
            target.labels.push(label);
            truth_rows.push(serde_json::json!([image, label, left, top, width, height]));
            // Most things are found, some twice, some nearly, some as something else.
            for _ in 0..random.below(3) {
                let (left, top) = (left + random.between(-6.0, 6.0).round(), top + random.between(-6.0, 6.0).round());
                let label = if random.below(5) == 0 { 1 + random.below(4) as i64 } else { label };
                // Few scores, so that some are equal.
                let score = random.below(12) as f32 / 16.0;
                detections.boxes.push(BoundingBox { left, top, right: left + width, bottom: top + height });
                detections.labels.push(label);
                detections.scores.push(score);
                found_rows.push(serde_json::json!([image, label, left, top, width, height, score]));
            }
        }
        found.push(detections);
        truth.push(target);
    }
    let (file, out) = (reference.path("found.json"), reference.path("precision.json"));
    let rows = serde_json::json!({ "images": found.len(), "truth": truth_rows, "found": found_rows });
    std::fs::write(&file, rows.to_string()).unwrap();
    reference.call(&[Path::new("precision"), &file, &out]);
    let theirs: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    let ours = AveragePrecision::of(&found, &truth, 0.5, &names);
    for (place, (name, precision)) in ours.classes.iter().enumerate() {
        assert_eq!(*name, format!("class {}", theirs["labels"][place]));
        let expected = theirs["precision"][place].as_f64().unwrap();
        assert!((precision - expected).abs() < 1e-9 && expected > 0.2, "{name}: {precision}, pycocotools {expected}");
    }
}
