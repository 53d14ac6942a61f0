//! Training of word detectors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Reduction, Tensor};

use super::concepts::{concepts_in, concepts_of};
use super::{Description, SmallCnnConfig, WordDetector, WordHead};
use crate::data::{Dataset, Example, Random, Split};
use crate::error::{Within, check_range};
use crate::nn::{Network, Weights};
use crate::train::examples::{SplitExamples, examples_of, training_examples};
use crate::train::pictures::{PictureInputs, PictureLoading, load_pictures, stretched};
use crate::train::supervised::{Objective, Supervised};
use crate::train::{GradientClipping, OptimiserConfig, Progress, Resumed, RunSettings, Schedule, Task, Trainable};
use crate::{Error, Result};

/// Training of a word detector.
///
/// It learns which words and bigrams ("red ball") occur in the captions of an image, as independent binary labels (Fang et al. 2015,
/// *From Captions to Visual Concepts and Back*, section 3), with one network over the whole image. This trains a visual encoder
/// much faster than next-word prediction, where most words follow from those before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WordDetectorTraining {
    /// The network. Default: four layers over 96×96 pixels.
    pub encoder: SmallCnnConfig,
    /// Smallest share of training images with a word in their captions for it to be learnt, in `0..=1`, below `max_share`.
    pub min_share: f64,
    /// Largest such share, in `0..=1`: more frequent words ("a") say little.
    pub max_share: f64,
    /// Largest random shift of an image in pixels, in `0..=image_size / 2`, drawn at each step.
    pub shift_pixels: usize,
    /// Settings of the run. Default: ten epochs of SGD, for Scenes.
    pub run: RunSettings,
}

impl WordDetectorTraining {
    /// The settings for Scenes.
    pub fn scenes() -> Self {
        Self {
            encoder: SmallCnnConfig::default(),
            min_share: 0.006,
            max_share: 0.67,
            shift_pixels: 6,
            run: RunSettings {
                epochs: 10,
                batch_size: 32,
                workers: 2,
                optimiser: OptimiserConfig::Sgd { learning_rate: 7e-3, momentum: 0.9, weight_decay: 5e-3 },
                schedule: Schedule::Cosine { warmup_steps: 50 },
                clip: GradientClipping::Norm(50.0),
                ..RunSettings::default()
            },
        }
    }
}

impl Default for WordDetectorTraining {
    fn default() -> Self {
        Self::scenes()
    }
}

impl Trainable for WordDetectorTraining {
    type Model = WordDetector;

    fn run(&self) -> &RunSettings {
        &self.run
    }

    fn run_mut(&mut self) -> &mut RunSettings {
        &mut self.run
    }

    fn validate(&self) -> Result<()> {
        self.encoder.validate().within("encoder")?;
        check_range("min_share", self.min_share, 0.0..=1.0)?;
        check_range("max_share", self.max_share, 0.0..=1.0)?;
        if self.min_share >= self.max_share {
            return Err(Error::config("min_share", self.min_share, "must be smaller than max_share"));
        }
        check_range("shift_pixels", self.shift_pixels, 0..=self.encoder.image_size / 2)?;
        self.run.validate().within("run")
    }

    fn task(&self, dataset: &Dataset, resumed: Option<Resumed<'_>>) -> Result<Box<dyn Task>> {
        let train = training_examples(dataset)?;
        let weights = Weights::new(self.run.seed, self.run.device);
        let detector = match resumed {
            Some(resumed) => {
                let Description { encoder, concepts } = resumed.description()?;
                WordDetector::new(&encoder, concepts, weights)?
            }
            None => {
                let (words, shares) = concepts_of(&train, self)?;
                let mut detector = WordDetector::new(&self.encoder, words, weights)?;
                detector.init_output_bias(&shares)?;
                detector
            }
        };
        let indices: BTreeMap<String, usize> = detector.words.iter().cloned().zip(0..).collect();
        let target = |example: &Example| {
            Ok(concepts_in(&example.captions).iter().filter_map(|concept| indices.get(concept).copied()).collect())
        };
        let validation = examples_of(dataset, Split::Validation);
        let objective = WordObjective { training: self.clone(), detector };
        Ok(Box::new(Supervised::new(objective, &self.run, &train, &validation, target)?))
    }
}

/// The word detector that is trained, with its settings.
struct WordObjective {
    training: WordDetectorTraining,
    detector: WordDetector,
}

impl Objective for WordObjective {
    /// The indices of the words in the captions.
    type Target = Vec<usize>;
    type Inputs = PictureInputs;
    type Draw = Vec<Vec<usize>>;
    type Handle = WordHead;

    const ITEMS: &'static str = "pictures";

    fn model_description(&self) -> Value {
        json!(Description { encoder: self.detector.config.clone(), concepts: self.detector.words.clone() })
    }

    fn weights(&self) -> &Weights {
        &self.detector.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.detector.weights
    }

    fn load(&self, parts: [&mut SplitExamples<Vec<usize>, PictureInputs>; 3], progress: &Progress) -> Result<()> {
        let side = self.detector.config.image_size;
        let loading = PictureLoading { side, cut: &stretched(side), shift_pixels: self.training.shift_pixels };
        load_pictures(parts, &loading, &self.training.run, progress)
    }

    fn draw(&self, targets: &[&Vec<usize>], _: Option<&mut Random>) -> Vec<Vec<usize>> {
        targets.iter().map(|&words| words.clone()).collect()
    }

    fn items(&self, draw: &Vec<Vec<usize>>) -> usize {
        draw.len()
    }

    fn weight(&self, draw: &Vec<Vec<usize>>) -> f64 {
        draw.len() as f64
    }

    fn handle(&self, update_statistics: bool) -> WordHead {
        self.detector.head.worker_handle(update_statistics)
    }

    /// Binary cross entropy, summed over words, in nats per image.
    fn loss(head: &WordHead, pictures: &Tensor, said: &Vec<Vec<usize>>, random: Option<&mut Random>) -> Result<Tensor> {
        let logits = head.logits(pictures, random.is_some());
        let width = logits.size()[1] as usize;
        let mut targets = vec![0f32; said.len() * width];
        for (row, words) in targets.chunks_exact_mut(width).zip(said) {
            words.iter().for_each(|&word| row[word] = 1.0);
        }
        let targets =
            Tensor::from_slice(&targets).reshape([said.len() as i64, width as i64]).to_device(logits.device());
        let sum = logits.binary_cross_entropy_with_logits(&targets, None::<&Tensor>, None::<&Tensor>, Reduction::Sum);
        Ok(sum / said.len() as f64)
    }

    /// The five likeliest words of each picture.
    fn texts(&self, samples: &SplitExamples<Vec<usize>, PictureInputs>) -> Result<Vec<String>> {
        let detected = self.detector.detect_in(&samples.inputs()?.pictures, 5)?;
        let text = |words: Vec<(String, f64)>| words.into_iter().map(|(word, _)| word).collect::<Vec<_>>().join(", ");
        Ok(detected.into_iter().map(text).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::data::scenes::ScenesConfig;
    use crate::train::{Model, Run};

    fn small(folder: PathBuf) -> WordDetectorTraining {
        let encoder = SmallCnnConfig { image_size: 32, channels: vec![16, 16], strides: vec![4, 2], feature_size: 32 };
        let preset = WordDetectorTraining::scenes();
        let run = RunSettings { epochs: 3, batch_size: 16, folder: Some(folder), ..preset.run };
        WordDetectorTraining { encoder, min_share: 0.05, shift_pixels: 2, run, ..preset }
    }

    fn scenes() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 96, validation: 16, test: 8, seed: 1 }).unwrap()
    }

    #[test]
    fn concepts_are_words_and_pairs_within_the_shares() {
        let example = |caption: &str| Example { captions: vec![caption.into()], ..scenes().examples[0].clone() };
        let examples = [example("A red ball."), example("a red kite"), example("a blue ball"), example("a dog")];
        let examples: Vec<&Example> = examples.iter().collect();
        let training = WordDetectorTraining { min_share: 0.5, max_share: 0.9, ..WordDetectorTraining::scenes() };
        let (concepts, shares) = concepts_of(&examples, &training).unwrap();
        assert_eq!(concepts, ["a red", "ball", "red"]);
        assert_eq!(shares, [0.5, 0.5, 0.5]);
        let rare = WordDetectorTraining { min_share: 0.6, max_share: 0.7, ..training };
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
        let mut run = Run::start(&settings, &dataset).unwrap();
        run.wait().unwrap();
        let notes = run.notes();
        assert_eq!(notes[0], format!("{} pictures could not be read and are left out:", notes.len() - 1));
        for name in ["broken.jpg", "missing.jpg"] {
            assert_eq!(notes.iter().filter(|note| note.contains(name)).count(), 1, "{notes:?}");
        }

        dataset.examples.iter_mut().for_each(spoil);
        settings.run.folder = Some(folder.path().join("none"));
        let error = Run::start(&settings, &dataset).unwrap().wait().unwrap_err().to_string();
        assert!(
            error.contains("no picture of the split `train` could be read") && error.contains("broken.jpg"),
            "{error}"
        );
    }

    #[test]
    fn it_learns_resumes_to_the_same_bits_and_detects_words() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = scenes();
        let mut whole = Run::start(&small(folder.path().join("whole")), &dataset).unwrap();
        whole.wait().unwrap();
        let losses = whole.curves().validation_loss;
        assert!(losses.last().unwrap().1 < losses[0].1, "{losses:?}");
        assert_eq!(whole.samples().last().unwrap().samples[0].text.split(", ").count(), 5);

        let mut stopped = Run::start(&small(folder.path().join("stopped")), &dataset).unwrap();
        while stopped.status().step == 0 && stopped.status().epoch < 2 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        stopped.stop().unwrap();
        let place = stopped.folder().to_path_buf();
        drop(stopped);
        Run::resume::<WordDetectorTraining>(&place, &dataset).unwrap().wait().unwrap();
        let weights = |folder: &Path| WordDetector::load(folder).unwrap().weights.named();
        for ((name, whole), (_, resumed)) in weights(whole.folder()).iter().zip(weights(&place)) {
            assert_eq!(whole, &resumed, "{name}");
        }

        let detector: WordDetector = whole.model().unwrap();
        let pictures: Vec<_> = dataset.split(Split::Test).iter().map(|example| example.picture().unwrap()).collect();
        let detected = detector.detect(&pictures, 3).unwrap();
        assert_eq!((detected.len(), detected[0].len()), (8, 3));
        let known =
            |(word, probability): &(String, f64)| detector.words().contains(word) && (0.0..=1.0).contains(probability);
        assert!(detected.iter().flatten().all(known));
        let evaluation = detector.evaluate(&dataset, Split::Test).unwrap();
        assert!((0.1..=1.0).contains(&evaluation.precision_at_5), "{evaluation}");
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = WordDetectorTraining::scenes;
        good().validate().unwrap();
        for (training, field) in [
            (WordDetectorTraining { min_share: -0.1, ..good() }, "min_share"),
            (WordDetectorTraining { max_share: 1.5, ..good() }, "max_share"),
            (WordDetectorTraining { min_share: 0.7, ..good() }, "min_share"),
            (WordDetectorTraining { shift_pixels: 49, ..good() }, "shift_pixels"),
            (WordDetectorTraining { run: RunSettings { workers: 0, ..good().run }, ..good() }, "run.workers"),
        ] {
            let error = training.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }
}
