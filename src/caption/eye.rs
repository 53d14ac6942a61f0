//! The eye, taught on its own: which words people use of a picture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::data::{Dataset, Example, Random, Split, Vocabulary, lessons_are_small};
use crate::train::examples::{Draw, Order, Part, data_description, examples_of, load_parts, spread, training_examples};
use crate::train::pictures::{Pictures, stretched};
use crate::train::{
    CHECKPOINT_FILE, GradientClipping, OptimiserConfig, Position, Progress, Run, RunSettings, Sample, Schedule,
    StepPart, Task,
};
use crate::nn::{Weights, read_tensors};
use crate::vision::{SmallCnn, SmallCnnConfig};
use crate::{Error, Result};

/// How an eye is trained.
///
/// It learns to say which words, and which pairs of neighbouring words ("red ball"), stand in the captions of a picture, all
/// at once and in no order: the word detectors of Fang et al. (2015, *From Captions to Visual Concepts and Back*, section 3),
/// with one network for the whole picture. That teaches it to look much sooner than the words of a sentence one after the
/// other, most of which follow from the words before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EyeTraining {
    pub encoder: SmallCnnConfig,
    /// Words and pairs are learnt that stand in the captions of at least this share of the training pictures.
    pub min_share: f64,
    /// Those in the captions of more than this share say little ("a"), and are not learnt.
    pub max_share: f64,
    /// Pictures are moved by up to so many pixels, drawn at each step.
    pub shift_pixels: usize,
    pub run: RunSettings,
}

impl EyeTraining {
    /// For the project's own pictures.
    pub fn scenes() -> Self {
        Self {
            encoder: SmallCnnConfig::default(),
            min_share: 0.006,
            max_share: 0.67,
            shift_pixels: 6,
            run: RunSettings {
                epochs: 10,
                batch_pictures: 32,
                workers: 2,
                optimiser: OptimiserConfig::Sgd { learning_rate: 7e-3, momentum: 0.9, weight_decay: 5e-3 },
                schedule: Schedule::Cosine { warmup_steps: 50 },
                clip: GradientClipping::Norm(50.0),
                ..RunSettings::default()
            },
        }
    }

    /// [`EyeTraining::scenes`], cut to two epochs where the lessons are only tried out (see [`lessons_are_small`]).
    pub fn for_lessons() -> Self {
        let mut training = Self::scenes();
        if lessons_are_small() {
            training.run.epochs = 2;
        }
        training
    }

    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        self.encoder.validate()?;
        for (field, value) in [("min_share", self.min_share), ("max_share", self.max_share)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(field, value, "must be in 0..=1"));
            }
        }
        if self.min_share >= self.max_share {
            return Err(Error::config("min_share", self.min_share, "must be smaller than max_share"));
        }
        super::config::validate_shift(self.shift_pixels, self.encoder.image_size)?;
        self.run.validate()
    }
}

/// A network that looks at pictures, with the words that it has learnt to see.
#[derive(Debug)]
pub struct Eye {
    config: SmallCnnConfig,
    concepts: Vec<String>,
    weights: Weights,
    detector: Detector,
}

/// What of an eye does the work.
#[derive(Debug)]
struct Detector {
    encoder: SmallCnn,
    weight: Tensor,
    bias: Tensor,
}

impl Detector {
    /// The same detector for another thread; see [`SmallCnn::share`].
    fn share(&self, remembers: bool) -> Self {
        Self {
            encoder: self.encoder.share(remembers),
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
        }
    }

    /// How likely each concept is, as log odds, `[batch, concepts]`.
    fn scores(&self, pictures: &Tensor, training: bool) -> Tensor {
        self.encoder.forward(pictures, training).linear(&self.weight, Some(&self.bias))
    }

    /// Binary cross entropy summed over concepts and pictures, in nats.
    fn loss(&self, pictures: &Tensor, concepts: &[&[usize]], training: bool) -> Tensor {
        let scores = self.scores(pictures, training);
        let width = scores.size()[1];
        let mut said = vec![0f32; concepts.len() * width as usize];
        for (row, concepts) in said.chunks_exact_mut(width as usize).zip(concepts) {
            concepts.iter().for_each(|&concept| row[concept] = 1.0);
        }
        let said = Tensor::from_slice(&said).reshape([concepts.len() as i64, width]).to_device(scores.device());
        scores.binary_cross_entropy_with_logits(&said, None::<&Tensor>, None::<&Tensor>, tch::Reduction::Sum)
    }
}

/// What a file of weights says of the eye that they are of.
#[derive(Deserialize)]
struct Description {
    encoder: SmallCnnConfig,
    concepts: Vec<String>,
}

impl Eye {
    fn new(config: &SmallCnnConfig, concepts: Vec<String>, seed: u64, device: Device) -> Result<Self> {
        let mut weights = Weights::new(seed, device);
        let encoder = SmallCnn::new(config, "encoder", &mut weights)?;
        let (count, size) = (concepts.len() as i64, config.feature_size as i64);
        let bound = 0.5 / (config.feature_size as f64).sqrt();
        Ok(Self {
            config: config.clone(),
            detector: Detector {
                encoder,
                weight: weights.uniform("concepts.weight", &[count, size], bound),
                bias: weights.constant("concepts.bias", &[count], 0.0, true),
            },
            concepts,
            weights,
        })
    }

    /// Reads an eye from the folder of a run, its last checkpoint, onto the CPU.
    ///
    /// # Errors
    /// [`Error::File`] when there is no such file, [`Error::Weights`] when it does not hold an eye.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join(CHECKPOINT_FILE) } else { path.to_path_buf() };
        let (tensors, metadata) = read_tensors(&path)?;
        let description = metadata.get("description").cloned().unwrap_or_default();
        let description: Description = serde_json::from_value(description).map_err(|error| Error::Weights {
            path: path.clone(),
            problem: format!("these are not the weights of an eye: {error}"),
            help: "Name the folder of an eye's run.".to_string(),
        })?;
        let mut eye = Self::new(&description.encoder, description.concepts, 0, Device::Cpu)?;
        eye.weights.assign(&tensors, &path)?;
        Ok(eye)
    }

    /// The sizes of its network.
    pub fn config(&self) -> &SmallCnnConfig {
        &self.config
    }

    /// The words, and pairs of words, that it has learnt to see.
    pub fn concepts(&self) -> &[String] {
        &self.concepts
    }

    /// What it sees in the pictures of examples: for each the `most` likely words and pairs, with their probabilities.
    ///
    /// # Errors
    /// [`Error::Image`] for the first picture that cannot be decoded.
    pub fn sees(&self, examples: &[Example], most: usize) -> Result<Vec<Vec<(String, f64)>>> {
        let mut seen = Vec::with_capacity(examples.len());
        for part in examples.chunks(64) {
            let pictures = Pictures::decode(part, self.config.image_size)?;
            seen.extend(self.likely(&pictures, most)?);
        }
        Ok(seen)
    }

    fn likely(&self, pictures: &Pictures, most: usize) -> Result<Vec<Vec<(String, f64)>>> {
        let all: Vec<usize> = (0..pictures.len()).collect();
        let mut seen = Vec::with_capacity(all.len());
        for part in all.chunks(64) {
            let batch = pictures.batch(part, None, self.weights.device());
            let scores = tch::no_grad(|| self.detector.scores(&batch, false)).to_device(Device::Cpu);
            let most = (most.min(self.concepts.len())) as i64;
            let (scores, concepts) = scores.f_sigmoid()?.f_topk(most, 1, true, true)?;
            for row in 0..part.len() as i64 {
                let scores: Vec<f64> = Vec::try_from(scores.get(row).to_kind(Kind::Double))?;
                let concepts: Vec<i64> = Vec::try_from(concepts.get(row))?;
                let named = concepts.iter().map(|&concept| self.concepts[concept as usize].clone());
                seen.push(named.zip(scores).collect());
            }
        }
        Ok(seen)
    }

    /// Lets it start from how often each concept is said: the bias becomes the log odds, which then need not be learnt.
    fn start_from_shares(&mut self, shares: &[f64]) -> Result<()> {
        let odds: Vec<f32> = shares.iter().map(|&share| share.clamp(1e-4, 1.0 - 1e-4)).map(log_odds).collect();
        tch::no_grad(|| self.detector.bias.f_copy_(&Tensor::from_slice(&odds)))?;
        Ok(())
    }
}

fn log_odds(share: f64) -> f32 {
    (share / (1.0 - share)).ln() as f32
}

/// The words and pairs of neighbouring words in captions.
fn concepts_in(captions: &[String]) -> BTreeSet<String> {
    let mut concepts = BTreeSet::new();
    for caption in captions {
        let words = Vocabulary::words(caption);
        concepts.extend(words.windows(2).map(|pair| pair.join(" ")));
        concepts.extend(words.iter().map(ToString::to_string));
    }
    concepts
}

/// The concepts to learn, each with the share of the examples that it is said of.
fn concepts_of(examples: &[&Example], training: &EyeTraining) -> Result<(Vec<String>, Vec<f64>)> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for example in examples {
        for concept in concepts_in(&example.captions) {
            *counts.entry(concept).or_default() += 1;
        }
    }
    let shares = counts.into_iter().map(|(concept, count)| (concept, count as f64 / examples.len() as f64));
    let (concepts, shares): (Vec<_>, Vec<_>) =
        shares.filter(|(_, share)| (training.min_share..=training.max_share).contains(share)).unzip();
    if concepts.is_empty() {
        return Err(Error::config(
            "min_share",
            training.min_share,
            format!(
                "leaves no word to learn: none is in the captions of {} to {} of the pictures. Lower it, raise max_share, or give \
                 more examples",
                training.min_share, training.max_share
            ),
        ));
    }
    Ok((concepts, shares))
}

/// Starts to teach an eye the words of the training examples, in a new folder of its own.
///
/// # Errors
/// As [`train`](super::train).
pub fn train_eye(dataset: &Dataset, training: &EyeTraining) -> Result<Run> {
    training.validate()?;
    let (concepts, shares) = concepts_of(&training_examples(dataset)?, training)?;
    let mut eye = Eye::new(&training.encoder, concepts, training.run.seed, training.run.device)?;
    eye.start_from_shares(&shares)?;
    Run::start("eye", Box::new(Looking::new(dataset, training, eye)), training.run.clone())
}

impl Run {
    /// The eye as it was at the last checkpoint of this run: at its end, when the run has ended.
    ///
    /// # Errors
    /// [`Error::Weights`] when the run trains something else.
    pub fn eye(&self) -> Result<Eye> {
        Eye::load(self.folder())
    }
}

/// An eye in training.
pub(super) struct Looking {
    training: EyeTraining,
    description: serde_json::Value,
    eye: Eye,
    train: Part<Vec<usize>>,
    validation: Part<Vec<usize>>,
    samples: Part<Vec<usize>>,
    order: Order,
}

impl Looking {
    fn new(dataset: &Dataset, training: &EyeTraining, eye: Eye) -> Self {
        let numbers: BTreeMap<&str, usize> =
            eye.concepts.iter().enumerate().map(|(number, concept)| (concept.as_str(), number)).collect();
        let said = |example: &Example| -> Vec<usize> {
            concepts_in(&example.captions).iter().filter_map(|concept| numbers.get(concept.as_str()).copied()).collect()
        };
        let unseen = examples_of(dataset, Split::Validation);
        let shown = if unseen.is_empty() { examples_of(dataset, Split::Train) } else { unseen.clone() };
        let description = json!({
            "kind": "eye",
            "encoder": eye.config,
            "concepts": eye.concepts,
            "training": training,
            "data": data_description(dataset),
        });
        Self {
            train: Part::new(examples_of(dataset, Split::Train), said),
            validation: Part::new(spread(&unseen, training.run.validation_pictures), said),
            samples: Part::new(spread(&shown, training.run.sample_pictures), said),
            training: training.clone(),
            description,
            eye,
            order: Order::default(),
        }
    }

    /// The training of a checkpoint, to go on with.
    pub(super) fn resume(folder: &Path, dataset: &Dataset, training: &EyeTraining) -> Result<Self> {
        let loaded = Eye::load(folder)?;
        let mut eye = Eye::new(&loaded.config, loaded.concepts, 0, training.run.device)?;
        eye.weights.assign(&loaded.weights.named().into_iter().collect(), folder)?;
        Ok(Self::new(dataset, training, eye))
    }
}

impl Task for Looking {
    fn items(&self) -> &'static str {
        "pictures"
    }

    fn description(&self) -> serde_json::Value {
        self.description.clone()
    }

    fn weights(&self) -> &Weights {
        &self.eye.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.eye.weights
    }

    fn prepare(&mut self, progress: &Progress) -> Result<()> {
        let parts = [&mut self.train, &mut self.validation, &mut self.samples];
        let side = self.training.encoder.image_size;
        load_parts(parts, side, &stretched(side), self.training.run.memory_limit, progress)
    }

    fn steps_per_epoch(&self) -> u64 {
        self.train.len().div_ceil(self.training.run.batch_pictures) as u64
    }

    fn step(&mut self, position: Position, workers: usize) -> Result<(Vec<StepPart<'_>>, usize)> {
        let training = &self.training;
        let batch = self.order.batch(position, training.run.seed, self.train.len(), training.run.batch_pictures);
        let count = batch.len();
        let (pictures, shift, device) = (&self.train.pictures, training.shift_pixels, training.run.device);
        let mut random = Draw::Step.random(training.run.seed, position.step);
        let part = |(number, batch): (usize, &[usize])| -> StepPart<'_> {
            let detector = self.eye.detector.share(number == 0);
            let concepts: Vec<&[usize]> = batch.iter().map(|&index| self.train.targets[index].as_slice()).collect();
            let (batch, mut random) = (batch.to_vec(), Random::new(random.next_u64()));
            Box::new(move || {
                let pictures = pictures.batch(&batch, Some((shift, &mut random)), device);
                Ok(detector.loss(&pictures, &concepts, true) / count as f64)
            })
        };
        Ok((batch.chunks(count.div_ceil(workers)).enumerate().map(part).collect(), count))
    }

    fn end_of_epoch(&mut self, progress: &Progress) -> Result<Option<(Option<f64>, Vec<Sample>)>> {
        let mut sum = 0.0;
        let all: Vec<usize> = (0..self.validation.len()).collect();
        for part in all.chunks(64) {
            if progress.should_stop() {
                return Ok(None);
            }
            let pictures = self.validation.pictures.batch(part, None, self.training.run.device);
            let concepts: Vec<&[usize]> = part.iter().map(|&index| self.validation.targets[index].as_slice()).collect();
            let loss = tch::no_grad(|| self.eye.detector.loss(&pictures, &concepts, false));
            sum += loss.f_double_value(&[])?;
        }
        let validation_loss = (!all.is_empty()).then(|| sum / all.len() as f64);
        let seen = self.eye.likely(&self.samples.pictures, 5)?;
        let sample = |(example, seen): (&Example, Vec<(String, f64)>)| {
            let seen: Vec<String> = seen.into_iter().map(|(concept, _)| concept).collect();
            Sample { name: example.name.clone(), text: seen.join(", ") }
        };
        Ok(Some((validation_loss, self.samples.examples.iter().zip(seen).map(sample).collect())))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::caption::{self, CaptionTraining, CaptionerConfig, Decoding};
    use crate::data::scenes::ScenesConfig;

    fn small(folder: PathBuf) -> EyeTraining {
        let encoder = SmallCnnConfig { image_size: 32, channels: vec![16, 16], strides: vec![4, 2], feature_size: 32 };
        let preset = EyeTraining::scenes();
        let run = RunSettings { epochs: 3, batch_pictures: 16, folder: Some(folder), ..preset.run };
        EyeTraining { encoder, min_share: 0.05, shift_pixels: 2, run, ..preset }
    }

    fn scenes() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 96, validation: 16, test: 8, seed: 1 }).unwrap()
    }

    #[test]
    fn concepts_are_words_and_pairs_within_the_shares() {
        let example = |caption: &str| Example { captions: vec![caption.into()], ..scenes().examples[0].clone() };
        let examples = [example("A red ball."), example("a red kite"), example("a blue ball"), example("a dog")];
        let examples: Vec<&Example> = examples.iter().collect();
        let training = EyeTraining { min_share: 0.5, max_share: 0.9, ..EyeTraining::scenes() };
        let (concepts, shares) = concepts_of(&examples, &training).unwrap();
        assert_eq!(concepts, ["a red", "ball", "red"]);
        assert_eq!(shares, [0.5, 0.5, 0.5]);
        let rare = EyeTraining { min_share: 0.6, max_share: 0.7, ..training };
        assert!(concepts_of(&examples, &rare).unwrap_err().to_string().starts_with("min_share = 0.6"));
    }

    #[test]
    fn pictures_that_cannot_be_read_are_named_once_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken.jpg");
        std::fs::write(&broken, "no picture").unwrap();
        let mut dataset = scenes();
        let spoil = |example: &mut Example| example.image = crate::data::ImageSource::File(broken.clone());
        // The first validation pictures are also those that samples are taken from.
        let validation = dataset.examples.iter_mut().filter(|example| example.split == Some(Split::Validation));
        validation.take(2).for_each(spoil);
        dataset.examples[0].image = crate::data::ImageSource::File(folder.path().join("missing.jpg"));
        let mut settings = small(folder.path().join("some"));
        settings.run.epochs = 1;
        let mut run = train_eye(&dataset, &settings).unwrap();
        run.wait().unwrap();
        let notes = run.notes();
        assert_eq!(notes[0], format!("{} pictures could not be read and are left out:", notes.len() - 1));
        for name in ["broken.jpg", "missing.jpg"] {
            assert_eq!(notes.iter().filter(|note| note.contains(name)).count(), 1, "{notes:?}");
        }

        dataset.examples.iter_mut().for_each(spoil);
        settings.run.folder = Some(folder.path().join("none"));
        let error = train_eye(&dataset, &settings).unwrap().wait().unwrap_err().to_string();
        assert!(
            error.contains("no picture of the split `train` could be read") && error.contains("broken.jpg"),
            "{error}"
        );
    }

    #[test]
    fn it_learns_and_resumes_to_the_same_bits_and_a_captioner_leaves_it_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = scenes();
        let mut whole = train_eye(&dataset, &small(folder.path().join("whole"))).unwrap();
        whole.wait().unwrap();
        let losses = whole.curves().validation_loss;
        assert!(losses.last().unwrap().1 < losses[0].1, "{losses:?}");
        assert_eq!(whole.samples().last().unwrap().samples[0].text.split(", ").count(), 5);

        let mut stopped = train_eye(&dataset, &small(folder.path().join("stopped"))).unwrap();
        while stopped.status().step == 0 && stopped.status().epoch < 2 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        stopped.stop().unwrap();
        let _ = stopped.wait();
        let place = stopped.folder().to_path_buf();
        drop(stopped);
        Run::resume(&place, &dataset).unwrap().wait().unwrap();
        let weights = |folder: &Path| Eye::load(folder).unwrap().weights.named();
        for ((name, whole), (_, resumed)) in weights(whole.folder()).iter().zip(weights(&place)) {
            assert_eq!(whole, &resumed, "{name}");
        }

        let eye = whole.eye().unwrap();
        let seen = eye.sees(&dataset.split(Split::Test), 3).unwrap();
        assert_eq!((seen.len(), seen[0].len()), (8, 3));
        assert!(
            seen.iter()
                .flatten()
                .all(|(concept, share)| { eye.concepts().contains(concept) && (0.0..=1.0).contains(share) })
        );

        let training = CaptionTraining {
            captioner: CaptionerConfig { word_size: 8, image_size: 8, hidden_size: 8, ..CaptionerConfig::scenes() },
            eye: Some(whole.folder().into()),
            shift_pixels: 2,
            run: RunSettings {
                epochs: 1,
                folder: Some(folder.path().join("captioner")),
                ..CaptionTraining::scenes().run
            },
            ..CaptionTraining::scenes()
        };
        let mut run = caption::train(&dataset, &training).unwrap();
        run.wait().unwrap();
        let captioner = run.captioner().unwrap();
        assert_eq!(captioner.config().encoder, *eye.config());
        for (name, weight) in eye.weights.named().iter().filter(|(name, _)| name.starts_with("encoder.")) {
            assert_eq!(captioner.weights.get(name).unwrap(), weight, "{name}");
        }
        assert_eq!(captioner.caption(&dataset.split(Split::Test), &Decoding::greedy()).unwrap().len(), 8);
        let error = Eye::load(run.folder()).unwrap_err().to_string();
        assert!(error.contains("not the weights of an eye"), "{error}");
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = EyeTraining::scenes;
        good().validate().unwrap();
        for (training, field) in [
            (EyeTraining { min_share: -0.1, ..good() }, "min_share"),
            (EyeTraining { max_share: 1.5, ..good() }, "max_share"),
            (EyeTraining { min_share: 0.7, ..good() }, "min_share"),
            (EyeTraining { shift_pixels: 49, ..good() }, "shift_pixels"),
            (EyeTraining { run: RunSettings { workers: 0, ..good().run }, ..good() }, "workers"),
        ] {
            let error = training.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }
}
