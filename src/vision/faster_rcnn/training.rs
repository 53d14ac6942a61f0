//! Teaching a detector where the things of pictures are.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::train::examples::{Draw, Order, Part, data_description, load_parts, spread};
use crate::train::pictures::stretched;
use crate::train::{
    CHECKPOINT_FILE, GradientClipping, OptimiserConfig, Position, Progress, Run, RunSettings, Sample, Schedule,
    StepPart, Task,
};
use crate::data::{BoundingBox, Dataset, Example, Random, Split};
use crate::vision::faster_rcnn::{Detections, FasterRcnn, FasterRcnnConfig, Target};
use crate::nn::{MODEL_FILE, Weights, read_tensors, write_tensors};
use crate::vision::AveragePrecision;
use crate::{Error, Result};

/// How a detector is trained on pictures whose things have boxes.
///
/// Pictures are brought to a square of [`FasterRcnnConfig::shorter_side`] pixels, all of it, stretched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectorTraining {
    pub detector: FasterRcnnConfig,
    /// Each picture is shown mirrored in half of the epochs.
    pub mirror: bool,
    pub run: RunSettings,
}

impl DetectorTraining {
    /// For the project's own pictures.
    pub fn scenes() -> Self {
        Self {
            detector: FasterRcnnConfig::tiny(),
            mirror: true,
            run: RunSettings {
                epochs: 5,
                batch_pictures: 16,
                workers: 2,
                optimiser: OptimiserConfig::Sgd { learning_rate: 0.02, momentum: 0.9, weight_decay: 1e-4 },
                schedule: Schedule::Cosine { warmup_steps: 200 },
                clip: GradientClipping::Norm(10.0),
                ..RunSettings::default()
            },
        }
    }

    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        self.detector.validate()?;
        if !self.detector.shorter_side.is_multiple_of(32) {
            let expected = "must be a multiple of 32 in training";
            return Err(Error::config("detector.shorter_side", self.detector.shorter_side, expected));
        }
        self.run.validate()
    }
}

/// Starts to train a detector on the training examples of a data set, in a new folder of its own.
///
/// # Errors
/// [`Error::Config`] for a setting out of its range, [`Error::Argument`] when no training example has a box, or a box has a
/// label that is no class of the detector, [`Error::Run`] when the named folder holds a run already, [`Error::File`] when it
/// cannot be written.
pub fn train_detector(dataset: &Dataset, training: &DetectorTraining) -> Result<Run> {
    let task = Detecting::new(dataset, training)?;
    Run::start("detector", Box::new(task), training.run.clone())
}

/// How well a detector finds the things of the pictures of a split, after the protocol of COCO: average precision where a box
/// counts as found when it overlaps the true one by half.
///
/// # Errors
/// [`Error::Argument`] when the split has no boxes, or one whose label is no class of the detector; [`Error::Image`] for a
/// picture that cannot be decoded.
pub fn evaluate_detector(detector: &FasterRcnn, dataset: &Dataset, split: Split) -> Result<AveragePrecision> {
    let examples = with_boxes(dataset, split);
    if examples.is_empty() {
        return Err(Error::argument(
            format!("{} has no {split:?} pictures with boxes", dataset.name),
            "Scenes has some, and so have data sets of detection.",
        ));
    }
    let mut found = Vec::with_capacity(examples.len());
    let mut truth = Vec::with_capacity(examples.len());
    for part in examples.chunks(16) {
        let pictures = part.iter().map(|example| example.picture()).collect::<Result<Vec<_>>>()?;
        found.extend(detector.detect(&pictures)?);
        for example in part {
            truth.push(target_of(example, detector.config())?);
        }
    }
    Ok(AveragePrecision::of(&found, &truth, 0.5, &detector.config().classes))
}

impl Run {
    /// The detector as it was at the last checkpoint of this run: at its end, when the run has ended.
    ///
    /// # Errors
    /// [`Error::Weights`] when the run trains something else.
    pub fn detector(&self) -> Result<FasterRcnn> {
        FasterRcnn::load(self.folder().join(CHECKPOINT_FILE), Device::Cpu)
    }
}

/// Writes the weights of a run's last checkpoint alone, in half precision, as `model.safetensors` into a folder.
///
/// # Errors
/// [`Error::Weights`] when the run trains something else, [`Error::File`] when the folder cannot be written.
pub fn save_detector(run: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<()> {
    let (run, folder) = (run.as_ref(), folder.as_ref());
    // Its weights are those that the detector asks for, without what the optimiser remembers.
    let file = run.join(CHECKPOINT_FILE);
    let detector = FasterRcnn::load(&file, Device::Cpu)?;
    let mut weights = Weights::new(0, Device::Cpu);
    FasterRcnn::new(detector.config(), &mut weights)?;
    let (tensors, metadata) = read_tensors(&file)?;
    weights.assign(&tensors, &file)?;
    let half = weights.named().into_iter().map(|(name, tensor)| (name, tensor.to_kind(Kind::Half))).collect::<Vec<_>>();
    std::fs::create_dir_all(folder)
        .map_err(|source| Error::file(folder, "make the folder", source, "Name one that may be written."))?;
    let description =
        json!({ "kind": "detector", "detector": detector.config(), "training": metadata["description"]["training"] });
    write_tensors(&folder.join(MODEL_FILE), &half, &json!({ "description": description }))
}

/// The examples of a split whose things have boxes.
fn with_boxes(dataset: &Dataset, split: Split) -> Vec<&Example> {
    dataset.examples.iter().filter(|example| example.split == Some(split) && !example.regions.is_empty()).collect()
}

/// The things of an example, with the numbers of their classes.
fn target_of(example: &Example, config: &FasterRcnnConfig) -> Result<Target> {
    let mut target = Target::default();
    for region in &example.regions {
        let class = config.classes.iter().skip(1).position(|class| *class == region.label).ok_or_else(|| {
            Error::argument(
                format!("{}: the detector has no class `{}`", example.name, region.label),
                "Give its configuration all classes of the data set.",
            )
        })?;
        target.boxes.push(region.bounds);
        target.labels.push(class as i64 + 1);
    }
    Ok(target)
}

/// A detector in training.
pub(crate) struct Detecting {
    training: DetectorTraining,
    description: serde_json::Value,
    detector: FasterRcnn,
    weights: Weights,
    train: Part<Target>,
    validation: Part<Target>,
    samples: Part<Target>,
    order: Order,
}

impl Detecting {
    pub(crate) fn new(dataset: &Dataset, training: &DetectorTraining) -> Result<Self> {
        training.validate()?;
        let train = with_boxes(dataset, Split::Train);
        if train.is_empty() {
            return Err(Error::argument(
                format!("{} has no training pictures with boxes", dataset.name),
                "Train on Scenes, or on a data set of detection.",
            ));
        }
        let unseen = with_boxes(dataset, Split::Validation);
        let shown = if unseen.is_empty() { train.clone() } else { unseen.clone() };
        let part = |examples: Vec<&Example>| -> Result<Part<Target>> {
            let targets =
                examples.iter().map(|example| target_of(example, &training.detector)).collect::<Result<_>>()?;
            Ok(Part::with_targets(examples, targets))
        };
        let mut weights = Weights::new(training.run.seed, training.run.device);
        let detector = FasterRcnn::new(&training.detector, &mut weights)?;
        Ok(Self {
            description: json!({
                "kind": "detector",
                "detector": training.detector,
                "training": training,
                "data": data_description(dataset),
            }),
            train: part(train)?,
            validation: part(spread(&unseen, training.run.validation_pictures))?,
            samples: part(spread(&shown, training.run.sample_pictures))?,
            training: training.clone(),
            detector,
            weights,
            order: Order::default(),
        })
    }

    /// Pictures as the detector reads them, `[batch, 3, side, side]`.
    fn normalised(&self, pictures: &Tensor) -> Tensor {
        normalised(pictures, &self.training.detector)
    }
}

fn normalised(pictures: &Tensor, config: &FasterRcnnConfig) -> Tensor {
    let statistic = |values: &[f32; 3]| Tensor::from_slice(values).to_device(pictures.device());
    let values = pictures.to_kind(Kind::Float) / 255.0;
    ((values - statistic(&config.mean)) / statistic(&config.standard_deviation)).permute([0, 3, 1, 2])
}

/// Brings boxes to the size that their picture was brought to.
fn stretch(target: &mut Target, across: f32, down: f32) {
    for bounds in &mut target.boxes {
        *bounds = BoundingBox {
            left: bounds.left * across,
            top: bounds.top * down,
            right: bounds.right * across,
            bottom: bounds.bottom * down,
        };
    }
}

/// A target in a mirror.
fn mirrored(target: &Target, width: f32) -> Target {
    let flip = |bounds: &BoundingBox| BoundingBox { left: width - bounds.right, right: width - bounds.left, ..*bounds };
    Target { boxes: target.boxes.iter().map(flip).collect(), labels: target.labels.clone() }
}

impl Task for Detecting {
    fn items(&self) -> &'static str {
        "pictures"
    }

    fn description(&self) -> serde_json::Value {
        self.description.clone()
    }

    fn weights(&self) -> &Weights {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    fn prepare(&mut self, progress: &Progress) -> Result<()> {
        let parts = [&mut self.train, &mut self.validation, &mut self.samples];
        let side = self.training.detector.shorter_side as usize;
        load_parts(parts, side, &stretched(side), self.training.run.memory_limit, progress)?;
        for part in [&mut self.train, &mut self.validation] {
            for (target, &(width, height)) in part.targets.iter_mut().zip(&part.sizes) {
                stretch(target, side as f32 / width as f32, side as f32 / height as f32);
            }
        }
        Ok(())
    }

    fn steps_per_epoch(&self) -> u64 {
        self.train.len().div_ceil(self.training.run.batch_pictures) as u64
    }

    fn step(&mut self, position: Position, workers: usize) -> Result<(Vec<StepPart<'_>>, usize)> {
        let training = &self.training;
        let batch = self.order.batch(position, training.run.seed, self.train.len(), training.run.batch_pictures);
        let count = batch.len();
        let mut random = Draw::Step.random(training.run.seed, position.step);
        let (train, width) = (&self.train, training.detector.shorter_side as f32);
        let part = |(number, batch): (usize, &[usize])| -> StepPart<'_> {
            let detector = self.detector.share(number == 0);
            let (batch, mut random) = (batch.to_vec(), Random::new(random.next_u64()));
            Box::new(move || {
                let pictures = train.pictures.batch(&batch, None, training.run.device);
                let mut targets = Vec::with_capacity(batch.len());
                for (row, &index) in (0..).zip(&batch) {
                    let target = &train.targets[index];
                    if training.mirror && random.below(2) == 1 {
                        let picture = pictures.get(row);
                        picture.shallow_clone().copy_(&picture.flip([1]));
                        targets.push(mirrored(target, width));
                    } else {
                        targets.push(target.clone());
                    }
                }
                let pictures = normalised(&pictures, &training.detector);
                let losses = detector.losses(&pictures, &targets, true, &mut random);
                Ok(losses.sum() * (batch.len() as f64 / count as f64))
            })
        };
        Ok((batch.chunks(count.div_ceil(workers)).enumerate().map(part).collect(), count))
    }

    fn end_of_epoch(&mut self, progress: &Progress) -> Result<Option<(Option<f64>, Vec<Sample>)>> {
        let mut sum = 0.0;
        let all: Vec<usize> = (0..self.validation.len()).collect();
        for part in all.chunks(32) {
            if progress.should_stop() {
                return Ok(None);
            }
            let pictures = self.validation.pictures.batch(part, None, self.training.run.device);
            let targets: Vec<Target> = part.iter().map(|&index| self.validation.targets[index].clone()).collect();
            // Always the same anchors and regions, so that epochs can be compared.
            let mut random = Random::new(part[0] as u64);
            let loss =
                tch::no_grad(|| self.detector.losses(&self.normalised(&pictures), &targets, false, &mut random).sum());
            sum += loss.f_double_value(&[])? * part.len() as f64;
        }
        let validation_loss = (!all.is_empty()).then(|| sum / all.len() as f64);
        let mut samples = Vec::with_capacity(self.samples.examples.len());
        for example in &self.samples.examples {
            let found = self.detector.detect(&[example.picture()?])?.pop().unwrap_or_default();
            samples.push(Sample { name: example.name.clone(), text: in_words(&found, &self.detector) });
        }
        Ok(Some((validation_loss, samples)))
    }
}

/// The surest detections: "dog 98 %, kite 71 %".
fn in_words(found: &Detections, detector: &FasterRcnn) -> String {
    let sure = found.labels.iter().zip(&found.scores).filter(|(_, score)| **score > 0.5).take(5);
    let words: Vec<String> =
        sure.map(|(&label, score)| format!("{} {:.0} %", detector.class_name(label), 100.0 * score)).collect();
    if words.is_empty() { "nothing".to_string() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::scenes::ScenesConfig;
    use crate::nn::Normalisation;
    use crate::vision::{Block, ResNetConfig};

    fn small(folder: PathBuf) -> DetectorTraining {
        let preset = DetectorTraining::scenes();
        let backbone = ResNetConfig {
            block: Block::Basic,
            layers: [1; 4],
            width: 8,
            normalisation: Normalisation::Batch,
            classes: None,
        };
        let detector = FasterRcnnConfig { backbone, pyramid_channels: 8, head_size: 16, ..preset.detector };
        let run = RunSettings { epochs: 2, batch_pictures: 8, folder: Some(folder), ..preset.run };
        DetectorTraining { detector, run, ..preset }
    }

    fn scenes() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 48, validation: 8, test: 4, seed: 1 }).unwrap()
    }

    #[test]
    fn it_learns_resumes_to_the_same_bits_and_is_saved_with_its_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = scenes();
        let mut whole = train_detector(&dataset, &small(folder.path().join("whole"))).unwrap();
        whole.wait().unwrap();
        let losses = whole.curves().validation_loss;
        assert!(losses[1].1 < losses[0].1, "{losses:?}");

        let mut stopped = train_detector(&dataset, &small(folder.path().join("stopped"))).unwrap();
        while stopped.status().step == 0 && stopped.status().epoch < 2 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        stopped.stop().unwrap();
        let _ = stopped.wait();
        let place = stopped.folder().to_path_buf();
        drop(stopped);
        let mut resumed = Run::resume(&place, &dataset).unwrap();
        resumed.wait().unwrap();
        let read = |run: &Run| read_tensors(&run.folder().join(CHECKPOINT_FILE)).unwrap().0;
        assert_eq!(read(&whole), read(&resumed));

        save_detector(whole.folder(), folder.path().join("saved")).unwrap();
        let saved = FasterRcnn::load(folder.path().join("saved").join(MODEL_FILE), Device::Cpu).unwrap();
        assert_eq!(saved.config(), whole.detector().unwrap().config());
        let precision = evaluate_detector(&saved, &dataset, Split::Test).unwrap();
        assert!((0.0..=1.0).contains(&precision.mean) && !precision.classes.is_empty());
    }

    #[test]
    fn pictures_without_boxes_and_labels_that_are_no_classes_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let training = small(folder.path().join("run"));
        let mut dataset = scenes();
        dataset.examples[3].regions[0].label = "dragon".to_string();
        let error = train_detector(&dataset, &training).unwrap_err().to_string();
        assert!(error.contains("no class `dragon`") && error.contains(&dataset.examples[3].name), "{error}");
        dataset.examples.iter_mut().for_each(|example| example.regions.clear());
        let error = train_detector(&dataset, &training).unwrap_err().to_string();
        assert!(error.contains("no training pictures with boxes"), "{error}");
        let mut odd = training;
        odd.detector.shorter_side = 100;
        assert!(train_detector(&scenes(), &odd).unwrap_err().to_string().starts_with("detector.shorter_side = 100"));
    }

    #[test]
    fn a_mirror_turns_boxes_round_and_stretching_scales_them() {
        let bounds = BoundingBox { left: 10.0, top: 20.0, right: 40.0, bottom: 50.0 };
        let mut target = Target { boxes: vec![bounds], labels: vec![3] };
        let turned = mirrored(&target, 128.0);
        assert_eq!(turned.boxes[0], BoundingBox { left: 88.0, right: 118.0, ..bounds });
        assert_eq!(mirrored(&turned, 128.0), target);
        stretch(&mut target, 2.0, 0.5);
        assert_eq!(target.boxes[0], BoundingBox { left: 20.0, top: 10.0, right: 80.0, bottom: 25.0 });
    }
}
