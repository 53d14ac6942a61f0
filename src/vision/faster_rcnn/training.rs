//! Training of detectors.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use super::{AveragePrecision, Detections, FasterRcnn, FasterRcnnConfig, Target};
use image::RgbImage;

use crate::data::readable::{check_any_readable, decode_readable, write_unreadable};
use crate::data::{BoundingBox, Dataset, Example, Random, Split};
use crate::error::Within;
use crate::nn::{Network, Weights};
use crate::train::examples::SplitExamples;
use crate::train::pictures::{PictureInputs, PictureLoading, load_pictures, stretched};
use crate::train::supervised::{Objective, Supervised};
use crate::train::{
    GradientClipping, Model, OptimiserConfig, Progress, Resumed, RunSettings, Schedule, Task, Trainable, weights_file,
};
use crate::{Error, Result};

/// Training of a detector on images with boxes.
///
/// Images are stretched to a square of [`FasterRcnnConfig::shorter_side`] pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DetectorTraining {
    /// The detector. Default: [`FasterRcnnConfig::tiny`].
    pub detector: FasterRcnnConfig,
    /// Whether images are mirrored with probability ½. Default: true.
    pub mirror: bool,
    /// Settings of the run. Default: five epochs of SGD, for Scenes.
    pub run: RunSettings,
}

impl Default for DetectorTraining {
    fn default() -> Self {
        Self::scenes()
    }
}

impl DetectorTraining {
    /// The settings for Scenes.
    pub fn scenes() -> Self {
        Self {
            detector: FasterRcnnConfig::tiny(),
            mirror: true,
            run: RunSettings {
                epochs: 5,
                batch_size: 16,
                workers: 2,
                optimiser: OptimiserConfig::Sgd { learning_rate: 0.02, momentum: 0.9, weight_decay: 1e-4 },
                schedule: Schedule::Cosine { warmup_steps: 200 },
                clip: GradientClipping::Norm(10.0),
                ..RunSettings::default()
            },
        }
    }
}

/// Accuracy of a detector.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectorEvaluation {
    /// Mean average precision over the classes, at an IoU of 0.5.
    pub ap50: f64,
    /// Average precision of each class, with its name.
    pub classes: Vec<(String, f64)>,
    /// Number of evaluated images.
    pub pictures: usize,
    /// Unreadable images that were skipped, with the reason.
    pub unreadable: Vec<String>,
}

impl fmt::Display for DetectorEvaluation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AP@0.5 {:.3} on {} pictures", self.ap50, self.pictures)?;
        for (class, precision) in &self.classes {
            write!(formatter, "\n  {class:<12} {precision:.3}")?;
        }
        write_unreadable(formatter, &self.unreadable)
    }
}

/// Evaluates a detector on a split, by COCO's protocol at an IoU of 0.5.
///
/// # Errors
/// [`Error::Argument`] when the split has no boxes, no readable image, or a label that is not a class of the detector.
pub fn evaluate_detector(detector: &FasterRcnn, dataset: &Dataset, split: Split) -> Result<DetectorEvaluation> {
    let examples = with_boxes(dataset, split);
    if examples.is_empty() {
        return Err(Error::argument(
            format!("{} has no {split} pictures with boxes", dataset.name),
            "Use Scenes, or a data set for object detection.",
        ));
    }
    let (mut found, mut truth) = (Vec::with_capacity(examples.len()), Vec::with_capacity(examples.len()));
    let mut unreadable = Vec::new();
    for part in examples.chunks(16) {
        let decoded = decode_readable(part, &mut unreadable);
        let pictures: Vec<RgbImage> = decoded.iter().map(|(_, picture)| picture.clone()).collect();
        found.extend(detector.detect_each(&pictures)?);
        for (place, _) in decoded {
            truth.push(target_of(part[place], detector.config())?);
        }
    }
    check_any_readable(found.len(), &unreadable)?;
    let precision = AveragePrecision::of(&found, &truth, 0.5, &detector.config().classes);
    Ok(DetectorEvaluation { ap50: precision.mean, classes: precision.classes, pictures: found.len(), unreadable })
}

/// The examples of a split that have boxes.
fn with_boxes(dataset: &Dataset, split: Split) -> Vec<&Example> {
    dataset.examples.iter().filter(|example| example.split == Some(split) && !example.regions.is_empty()).collect()
}

/// The ground truth of an example.
fn target_of(example: &Example, config: &FasterRcnnConfig) -> Result<Target> {
    let mut target = Target::default();
    for region in &example.regions {
        let class = config.classes.iter().skip(1).position(|class| *class == region.label).ok_or_else(|| {
            Error::argument(
                format!("{}: the detector has no class `{}`", example.name, region.label),
                "Add all classes of the data set to its configuration.",
            )
        })?;
        region.bounds.validate().map_err(|error| match error {
            Error::Argument { problem, help } => {
                Error::Argument { problem: format!("{}: {problem}", example.name), help }
            }
            other => other,
        })?;
        target.boxes.push(region.bounds);
        target.labels.push(class as i64 + 1);
    }
    Ok(target)
}

impl Trainable for DetectorTraining {
    type Model = FasterRcnn;

    fn run(&self) -> &RunSettings {
        &self.run
    }

    fn run_mut(&mut self) -> &mut RunSettings {
        &mut self.run
    }

    fn validate(&self) -> Result<()> {
        self.detector.validate().within("detector")?;
        if !self.detector.shorter_side.is_multiple_of(32) {
            let expected = "must be a multiple of 32 in training";
            return Err(Error::config("detector.shorter_side", self.detector.shorter_side, expected));
        }
        self.run.validate().within("run")
    }

    fn task(&self, dataset: &Dataset, _: Option<Resumed<'_>>) -> Result<Box<dyn Task>> {
        let train = with_boxes(dataset, Split::Train);
        if train.is_empty() {
            return Err(Error::argument(
                format!("{} has no training pictures with boxes", dataset.name),
                "Train on Scenes, or on a data set for object detection.",
            ));
        }
        let mut weights = Weights::new(self.run.seed, self.run.device);
        let detector = FasterRcnn::new(&self.detector, &mut weights)?;
        let objective = DetectorObjective { training: self.clone(), detector, weights };
        let target = |example: &Example| target_of(example, &self.detector);
        let validation = with_boxes(dataset, Split::Validation);
        Ok(Box::new(Supervised::new(objective, &self.run, &train, &validation, target)?))
    }
}

impl Model for FasterRcnn {
    const KIND: &'static str = "detector";
    const SHIPPED: Option<&'static str> = Some("detector-tiny");
    type Evaluation = DetectorEvaluation;

    fn load(path: &Path) -> Result<Self> {
        Self::load(weights_file(path), Device::Cpu)
    }

    fn evaluate(&self, dataset: &Dataset, split: Split) -> Result<DetectorEvaluation> {
        evaluate_detector(self, dataset, split)
    }
}

/// The detector that is trained, with its settings.
struct DetectorObjective {
    training: DetectorTraining,
    detector: FasterRcnn,
    weights: Weights,
}

/// A worker's handle to the detector.
struct DetectorHandle {
    detector: FasterRcnn,
    mirror: bool,
}

/// Normalises images as the detector expects them, `[batch, 3, side, side]`.
fn normalised(pictures: &Tensor, config: &FasterRcnnConfig) -> Tensor {
    let statistic = |values: &[f32; 3]| Tensor::from_slice(values).to_device(pictures.device());
    let values = pictures.to_kind(Kind::Float) / 255.0;
    ((values - statistic(&config.mean)) / statistic(&config.standard_deviation)).permute([0, 3, 1, 2])
}

/// Mirrors a target.
fn mirrored(target: &Target, width: f32) -> Target {
    let flip = |bounds: &BoundingBox| BoundingBox { left: width - bounds.right, right: width - bounds.left, ..*bounds };
    Target { boxes: target.boxes.iter().map(flip).collect(), labels: target.labels.clone() }
}

impl Objective for DetectorObjective {
    type Target = Target;
    type Inputs = PictureInputs;
    type Draw = Vec<Target>;
    type Handle = DetectorHandle;

    const ITEMS: &'static str = "pictures";

    fn model_description(&self) -> Value {
        json!({ "detector": self.training.detector })
    }

    fn weights(&self) -> &Weights {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    fn load(&self, mut parts: [&mut SplitExamples<Target, PictureInputs>; 3], progress: &Progress) -> Result<()> {
        let side = self.training.detector.shorter_side as usize;
        let loading = PictureLoading { side, cut: &stretched(side), shift_pixels: 0 };
        load_pictures(parts.each_mut().map(|part| &mut **part), &loading, &self.training.run, progress)?;
        for part in parts {
            let inputs = Arc::clone(part.inputs()?);
            for (target, &(width, height)) in part.targets.iter_mut().zip(inputs.pictures.sizes()) {
                // The scale of the resized image.
                let (across, down) = (side as f32 / width as f32, side as f32 / height as f32);
                for bounds in &mut target.boxes {
                    *bounds = bounds.scale(across, down);
                }
            }
        }
        Ok(())
    }

    fn draw(&self, targets: &[&Target], _: Option<&mut Random>) -> Vec<Target> {
        targets.iter().map(|&target| target.clone()).collect()
    }

    fn items(&self, draw: &Vec<Target>) -> usize {
        draw.len()
    }

    fn weight(&self, draw: &Vec<Target>) -> f64 {
        draw.len() as f64
    }

    fn handle(&self, update_statistics: bool) -> DetectorHandle {
        DetectorHandle { detector: self.detector.worker_handle(update_statistics), mirror: self.training.mirror }
    }

    fn loss(
        handle: &DetectorHandle,
        pictures: &Tensor,
        targets: &Vec<Target>,
        random: Option<&mut Random>,
    ) -> Result<Tensor> {
        let DetectorHandle { detector, mirror } = handle;
        let config = detector.config();
        let Some(random) = random else {
            // The same anchors and regions at every epoch, so that the losses are comparable.
            let losses = detector.losses(&normalised(pictures, config), targets, false, &mut Random::new(0));
            return Ok(losses.sum());
        };
        let mut targets = targets.clone();
        for (row, target) in (0..).zip(&mut targets) {
            if *mirror && random.below(2) == 1 {
                let mut picture = pictures.get(row);
                picture.f_copy_(&picture.flip([1]))?;
                *target = mirrored(target, config.shorter_side as f32);
            }
        }
        Ok(detector.losses(&normalised(pictures, config), &targets, true, random).sum())
    }

    fn texts(&self, samples: &SplitExamples<Target, PictureInputs>) -> Result<Vec<String>> {
        let pictures = &samples.inputs()?.pictures;
        let found = (0..samples.len()).map(|index| self.detector.detect(&[pictures.picture(index)]));
        found.map(|found| Ok(in_words(&found?.pop().unwrap_or_default(), &self.detector))).collect()
    }
}

/// The highest-scoring detections in words: "dog 98 %, kite 71 %".
fn in_words(found: &Detections, detector: &FasterRcnn) -> String {
    let sure = found.labels.iter().zip(&found.scores).filter(|(_, score)| **score > 0.5).take(5);
    let words: Vec<String> =
        sure.map(|(&label, score)| format!("{} {:.0} %", detector.class_name(label), 100.0 * score)).collect();
    if words.is_empty() { "nothing".to_string() } else { words.join(", ") }
}

crate::in_cells::shown_in_cells!(DetectorEvaluation);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::scenes::ScenesConfig;
    use crate::nn::{Normalisation, read_tensors};
    use crate::train::{CHECKPOINT_FILE, Run, save_model};
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
        let run = RunSettings { epochs: 2, batch_size: 8, folder: Some(folder), ..preset.run };
        DetectorTraining { detector, run, ..preset }
    }

    fn scenes() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 48, validation: 8, test: 4, seed: 1 }).unwrap()
    }

    #[test]
    fn it_learns_resumes_to_the_same_bits_and_is_saved_with_its_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let mut dataset = scenes();
        let mut whole = Run::start(&small(folder.path().join("whole")), &dataset).unwrap();
        whole.wait().unwrap();
        let losses = whole.curves().validation_loss;
        assert!(losses[1].1 < losses[0].1, "{losses:?}");
        assert_eq!(whole.samples().len(), 2);

        let mut stopped = Run::start(&small(folder.path().join("stopped")), &dataset).unwrap();
        while stopped.status().step == 0 && stopped.status().epoch < 2 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        stopped.stop().unwrap();
        let place = stopped.folder().to_path_buf();
        drop(stopped);
        let mut resumed = Run::resume::<DetectorTraining>(&place, &dataset).unwrap();
        resumed.wait().unwrap();
        let read = |run: &Run| read_tensors(&run.folder().join(CHECKPOINT_FILE)).unwrap().0;
        assert_eq!(read(&whole), read(&resumed));

        save_model(whole.folder(), folder.path().join("saved")).unwrap();
        let saved = <FasterRcnn as Model>::load(&folder.path().join("saved")).unwrap();
        assert_eq!(saved.config(), whole.model::<FasterRcnn>().unwrap().config());
        let broken = folder.path().join("broken.jpg");
        std::fs::write(&broken, "no picture").unwrap();
        let spoilt = dataset.examples.iter_mut().rfind(|example| example.split == Some(Split::Test)).unwrap();
        spoilt.image = crate::data::ImageSource::File(broken);
        let evaluation = saved.evaluate(&dataset, Split::Test).unwrap();
        assert!((0.0..=1.0).contains(&evaluation.ap50) && !evaluation.classes.is_empty());
        assert_eq!((evaluation.pictures, evaluation.unreadable.len()), (3, 1));
        assert!(evaluation.to_string().contains("broken.jpg"), "{evaluation}");
    }

    #[test]
    fn pictures_without_boxes_and_labels_that_are_no_classes_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let training = small(folder.path().join("run"));
        let mut dataset = scenes();
        dataset.examples[3].regions[0].label = "dragon".to_string();
        let error = Run::start(&training, &dataset).unwrap_err().to_string();
        assert!(error.contains("no class `dragon`") && error.contains(&dataset.examples[3].name), "{error}");
        dataset = scenes();
        for wrong in [0.0, f32::NAN] {
            let bounds = &mut dataset.examples[3].regions[0].bounds;
            bounds.right = bounds.left * wrong;
            let error = Run::start(&training, &dataset).unwrap_err().to_string();
            assert!(error.contains("has no area") && error.contains(&dataset.examples[3].name), "{error}");
        }
        dataset.examples.iter_mut().for_each(|example| example.regions.clear());
        let error = Run::start(&training, &dataset).unwrap_err().to_string();
        assert!(error.contains("no training pictures with boxes"), "{error}");
        let mut odd = training;
        odd.detector.shorter_side = 100;
        assert!(Run::start(&odd, &scenes()).unwrap_err().to_string().starts_with("detector.shorter_side = 100"));
    }

    #[test]
    fn a_mirror_turns_boxes_round() {
        let bounds = BoundingBox { left: 10.0, top: 20.0, right: 40.0, bottom: 50.0 };
        let target = Target { boxes: vec![bounds], labels: vec![3] };
        let turned = mirrored(&target, 128.0);
        assert_eq!(turned.boxes[0], BoundingBox { left: 88.0, right: 118.0, ..bounds });
        assert_eq!(mirrored(&turned, 128.0), target);
    }
}
