//! Contrastive training of CLIP on image–text pairs (Radford et al. 2021, section 2.3 and figure 3).

mod config;
mod truth;

pub use config::ClipTraining;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::{Clip, ClipEvaluation, ClipTokenizer, Towers, evaluate_clip, filled, normalised};
use crate::Result;
use crate::data::{Dataset, Example, Preprocess, Random, Split};
use crate::nn::{Network, Weights};
use crate::train::examples::{SplitExamples, examples_of, training_examples};
use crate::train::pictures::{PictureInputs, PictureLoading, load_pictures};
use crate::train::supervised::{Inputs, Objective, Supervised};
use crate::train::{Model, Progress, Resumed, RunSettings, TOKENIZER_FILE, Task, Trainable, weights_file};
use truth::Said;

/// Upper limit of the logit scale (section 2.5).
const MOST_SCALE: f64 = 100.0;

/// Learns the vocabulary of the training captions.
fn vocabulary(examples: &[&Example], training: &ClipTraining) -> Result<ClipTokenizer> {
    let captions: Vec<&str> = examples.iter().flat_map(|example| &example.captions).map(String::as_str).collect();
    ClipTokenizer::learn(&captions, training.clip.text.vocabulary_size)?.with_context(training.clip.text.context)
}

/// The CLIP that is trained, with its tokenizer and settings.
struct ClipObjective {
    training: ClipTraining,
    clip: Clip,
    tokenizer: Arc<ClipTokenizer>,
}

/// The image–text pairs of a micro-batch.
struct Pairs {
    tokens: Tensor,
    /// `[pairs, pairs]`: captions that are true of another image than their own.
    also_true: Tensor,
}

struct ClipHandle {
    towers: Towers,
    preprocess: Preprocess,
}

impl Trainable for ClipTraining {
    type Model = TrainedClip;

    fn run(&self) -> &RunSettings {
        &self.run
    }

    fn run_mut(&mut self) -> &mut RunSettings {
        &mut self.run
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn task(&self, dataset: &Dataset, resumed: Option<Resumed<'_>>) -> Result<Box<dyn Task>> {
        let train = training_examples(dataset)?;
        let tokenizer = match resumed.map(|resumed| resumed.folder.join(TOKENIZER_FILE)).filter(|file| file.exists()) {
            Some(file) => ClipTokenizer::load(file)?.with_context(self.clip.text.context)?,
            // The same captions always give the same vocabulary.
            None => vocabulary(&train, self)?,
        };
        let tokenizer = Arc::new(tokenizer);
        let mut config = self.clip.clone();
        config.text.vocabulary_size = tokenizer.vocabulary_size();
        config.text.end_token = tokenizer.end();
        let clip = Clip::new(&config, self.run.seed, self.run.device)?;
        let target = |example: &Example| Said::of(example, &tokenizer);
        let validation = examples_of(dataset, Split::Validation);
        let objective = ClipObjective { training: self.clone(), clip, tokenizer: Arc::clone(&tokenizer) };
        Ok(Box::new(Supervised::new(objective, &self.run, &train, &validation, target)?))
    }
}

/// A CLIP with its tokenizer.
#[derive(Debug)]
pub struct TrainedClip {
    /// The model.
    pub clip: Clip,
    /// The tokenizer of its vocabulary.
    pub tokenizer: ClipTokenizer,
}

impl TrainedClip {
    /// A CLIP with the vocabulary that lies beside its weights.
    pub(crate) fn with_vocabulary(clip: Clip, weights: &Path) -> Result<Self> {
        let weights = weights_file(weights);
        let folder = weights.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let tokenizer = ClipTokenizer::load(folder)?.with_context(clip.config().text.context)?;
        Ok(Self { clip, tokenizer })
    }

    /// Features of texts, each divided by its length, without gradients.
    ///
    /// # Shapes
    /// - result: `[texts, embedding_size]`
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) when there are no texts.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tensor> {
        tch::no_grad(|| Ok(normalised(&self.clip.encode_text(&self.tokenizer.encode_batch(texts)?)?)))
    }
}

impl Model for TrainedClip {
    const KIND: &'static str = "clip";
    const SHIPPED: Option<&'static str> = Some("clip-tiny");
    type Evaluation = ClipEvaluation;

    fn load(path: &Path) -> Result<Self> {
        Self::with_vocabulary(Clip::load(path)?, path)
    }

    fn evaluate(&self, dataset: &Dataset, split: Split) -> Result<ClipEvaluation> {
        evaluate_clip(&self.clip, &self.tokenizer, dataset, split)
    }
}

/// Normalises channels-last bytes for the image tower.
fn normalised_pictures(pictures: &Tensor, preprocess: &Preprocess) -> Tensor {
    let row = |values: &[f32; 3]| Tensor::from_slice(values).to_device(pictures.device()) * 255.0;
    let (mean, deviation) = (row(&preprocess.mean), row(&preprocess.standard_deviation));
    // A view as [batch, 3, height, width]; the memory stays channels last.
    ((pictures.to_kind(Kind::Float) - mean) / deviation).permute([0, 3, 1, 2])
}

/// The symmetric cross-entropy loss of a batch (figure 3).
///
/// `also_true`, `[pictures, texts]`, masks captions that are true of another image than their own: as negatives they would teach
/// something false.
fn loss(towers: &Towers, pictures: &Tensor, tokens: &Tensor, also_true: &Tensor) -> Tensor {
    let images = normalised(&towers.encode_image(pictures));
    let texts = normalised(&towers.encode_text(tokens));
    let logits = images.matmul(&texts.transpose(0, 1)) * towers.logit_scale().exp();
    let logits = logits.masked_fill(also_true, f64::NEG_INFINITY);
    let own = Tensor::arange(pictures.size()[0], (Kind::Int64, pictures.device()));
    (logits.cross_entropy_for_logits(&own) + logits.transpose(0, 1).cross_entropy_for_logits(&own)) / 2.0
}

impl Objective for ClipObjective {
    type Target = Said;
    type Inputs = PictureInputs;
    type Draw = Pairs;
    type Handle = ClipHandle;

    const ITEMS: &'static str = "pairs";

    fn model_description(&self) -> Value {
        json!({ "clip": self.clip.config() })
    }

    fn files(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![(TOKENIZER_FILE, self.tokenizer.to_json()?)])
    }

    fn weights(&self) -> &Weights {
        self.clip.weights()
    }

    fn weights_mut(&mut self) -> &mut Weights {
        self.clip.weights_mut()
    }

    fn load(&self, parts: [&mut SplitExamples<Said, PictureInputs>; 3], progress: &Progress) -> Result<()> {
        let preprocess = self.clip.config().preprocess();
        let loading = PictureLoading {
            side: self.training.clip.image.image_size,
            cut: &|picture| preprocess.cut(picture),
            shift_pixels: self.training.shift_pixels,
        };
        load_pictures(parts, &loading, &self.training.run, progress)
    }

    fn steps_per_epoch(&self, examples: usize, batch_size: usize) -> u64 {
        // A small last batch would be easy and teach little.
        if examples < 2 { 0 } else { (examples / batch_size).max(1) as u64 }
    }

    fn before_step(&self) {
        // Clamps the logit scale, as the original does after each step.
        let mut scale = self.clip.towers().logit_scale().shallow_clone();
        tch::no_grad(|| drop(scale.clamp_(0.0, MOST_SCALE.ln())));
    }

    fn draw(&self, targets: &[&Said], mut random: Option<&mut Random>) -> Pairs {
        let mut choose = |said: &Said| random.as_mut().map_or(0, |random| random.below(said.captions.len()));
        let chosen: Vec<usize> = targets.iter().map(|said| choose(said)).collect();
        let rows: Vec<&[i64]> =
            targets.iter().zip(&chosen).map(|(said, &caption)| said.captions[caption].as_slice()).collect();
        let texts = || targets.iter().zip(&chosen).enumerate();
        let also_true: Vec<bool> = targets
            .iter()
            .enumerate()
            .flat_map(|(row, picture)| {
                texts().map(move |(column, (text, &caption))| row != column && text.is_true_of(caption, picture))
            })
            .collect();
        let (count, device) = (targets.len() as i64, self.clip.device());
        Pairs {
            tokens: filled(&rows, self.tokenizer.end()).to_device(device),
            also_true: Tensor::from_slice(&also_true).reshape([count, count]).to_device(device),
        }
    }

    fn items(&self, pairs: &Pairs) -> usize {
        pairs.tokens.size()[0] as usize
    }

    fn weight(&self, pairs: &Pairs) -> f64 {
        self.items(pairs) as f64
    }

    fn handle(&self, update_statistics: bool) -> ClipHandle {
        let towers = self.clip.towers().worker_handle(update_statistics);
        ClipHandle { towers, preprocess: self.clip.config().preprocess() }
    }

    fn loss(handle: &ClipHandle, pictures: &Tensor, pairs: &Pairs, _: Option<&mut Random>) -> Result<Tensor> {
        let pictures = normalised_pictures(pictures, &handle.preprocess);
        Ok(loss(&handle.towers, &pictures, &pairs.tokens, &pairs.also_true))
    }

    /// The best-matching of the samples' first captions, for each sample image.
    fn texts(&self, samples: &SplitExamples<Said, PictureInputs>) -> Result<Vec<String>> {
        let indices: Vec<usize> = (0..samples.len()).collect();
        let pictures = samples.inputs()?.batch(&indices, None)?;
        let pictures = normalised_pictures(&pictures, &self.clip.config().preprocess());
        let rows: Vec<&[i64]> = samples.targets.iter().map(|said| said.captions[0].as_slice()).collect();
        let logits = self.clip.logits(&pictures, &filled(&rows, self.tokenizer.end()))?;
        let best: Vec<i64> = Vec::try_from(logits.f_argmax(1, false)?)?;
        Ok(best.into_iter().map(|best| samples.examples[best as usize].captions[0].clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tch::Device;

    use super::*;
    use crate::data::scenes::ScenesConfig;
    use crate::train::{Run, RunSettings, save_model};
    use crate::vision::clip::{ClipConfig, ClipImageConfig, ClipTextConfig, TransformerConfig};

    fn small(folder: PathBuf) -> ClipTraining {
        let scenes = ClipTraining::scenes();
        ClipTraining {
            clip: ClipConfig {
                image: ClipImageConfig { image_size: 32, patch_size: 8, transformer: TransformerConfig::new(16, 1, 2) },
                text: ClipTextConfig {
                    vocabulary_size: 560,
                    transformer: TransformerConfig::new(16, 1, 2),
                    ..ClipConfig::tiny().text
                },
                embedding_size: 12,
                ..ClipConfig::tiny()
            },
            shift_pixels: 2,
            run: RunSettings { epochs: 2, batch_size: 8, workers: 2, folder: Some(folder), ..scenes.run },
        }
    }

    fn few() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 33, validation: 6, test: 5, seed: 1 }).unwrap()
    }

    #[test]
    fn a_stopped_training_goes_on_as_if_it_had_not_and_its_model_is_saved_and_measured() {
        let (dataset, folder) = (few(), tempfile::tempdir().unwrap());
        let mut whole = Run::start(&small(folder.path().join("whole")), &dataset).unwrap();
        whole.wait().unwrap();
        assert_eq!(whole.curves().training_loss.len(), 8);
        assert_eq!(whole.samples().len(), 2);

        let mut stopped = Run::start(&small(folder.path().join("stopped")), &dataset).unwrap();
        while stopped.status().step == 0 && stopped.status().epoch < 2 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        stopped.stop().unwrap();
        let place = stopped.folder().to_path_buf();
        drop(stopped);
        let mut resumed = Run::resume::<ClipTraining>(&place, &dataset).unwrap();
        resumed.wait().unwrap();
        let TrainedClip { clip, tokenizer } = whole.model().unwrap();
        let other = resumed.model::<TrainedClip>().unwrap().clip;
        for ((name, weight), (_, resumed)) in clip.weights().named().iter().zip(other.weights().named()) {
            assert_eq!(weight, &resumed, "{name}");
        }

        let saved = folder.path().join("saved");
        save_model(whole.folder(), &saved).unwrap();
        let again = <TrainedClip as Model>::load(&saved).unwrap();
        assert_eq!(again.clip.config(), clip.config());
        let pictures = clip.prepare(&[dataset.examples[0].picture().unwrap()]).unwrap();
        let difference = again.clip.encode_image(&pictures).unwrap() - clip.encode_image(&pictures).unwrap();
        assert!(difference.abs().max().double_value(&[]) < 1e-2);
        let tokens = |tokenizer: &ClipTokenizer| tokenizer.encode("a red ball").unwrap();
        assert_eq!(tokens(&again.tokenizer), tokens(&tokenizer));

        let evaluation = again.evaluate(&dataset, Split::Test).unwrap();
        assert_eq!((evaluation.pictures, evaluation.groups, evaluation.captions), (5, 1, 25));
        assert!(evaluation.ceiling.is_some_and(|ceiling| (0.2..=1.0).contains(&ceiling)), "{evaluation}");
    }

    #[test]
    fn a_run_that_is_refused_keeps_its_vocabulary() {
        let (dataset, folder) = (few(), tempfile::tempdir().unwrap());
        let mut run = Run::start(&small(folder.path().join("run")), &dataset).unwrap();
        run.stop().unwrap();
        let place = run.folder().to_path_buf();
        drop(run);
        let files = || [TOKENIZER_FILE, "checkpoint.safetensors"].map(|name| std::fs::read(place.join(name)).unwrap());
        let before = files();
        let other = Dataset::scenes(&ScenesConfig { train: 40, validation: 6, test: 5, seed: 2 }).unwrap();
        let error = Run::resume::<ClipTraining>(&place, &other).unwrap_err().to_string();
        assert!(error.contains("another data set"), "{error}");
        assert_eq!(files(), before);
    }

    #[test]
    fn a_text_that_is_true_of_another_picture_as_well_is_not_called_wrong() {
        let config = small(PathBuf::new()).clip;
        let clip = Clip::new(&config, 1, Device::Cpu).unwrap();
        let pictures = Tensor::zeros([2, 3, 32, 32], (Kind::Float, Device::Cpu));
        let tokens = Tensor::from_slice2(&[[5i64, 6, 1], [7, 8, 1]]);
        let loss = |others: [bool; 4]| {
            let others = Tensor::from_slice(&others).reshape([2, 2]);
            loss(clip.towers(), &pictures, &tokens, &others).double_value(&[])
        };
        assert!(loss([false; 4]) > 0.5);
        assert!(loss([false, true, true, false]).abs() < 1e-6);

        let few_scenes = few();
        let tokenizer = vocabulary(&training_examples(&few_scenes).unwrap(), &small(PathBuf::new())).unwrap();
        let example = |captions: &[&str]| {
            let captions = captions.iter().map(|caption| caption.to_string()).collect();
            Example { captions, image: crate::data::ImageSource::File("x.png".into()), ..few().examples[0].clone() }
        };
        let of = |example: &Example| Said::of(example, &tokenizer).unwrap();
        let (one, two) = (of(&example(&["A dog.", "a cat"])), of(&example(&["a  dog."])));
        assert!(one.is_true_of(0, &two) && !one.is_true_of(1, &two));
        let dataset = few();
        for example in &dataset.examples {
            let said = of(example);
            assert!((0..5).all(|caption| said.is_true_of(caption, &said)));
        }
        let scenes: Vec<Said> = dataset.examples.iter().map(of).collect();
        let others = scenes.iter().flat_map(|one| scenes.iter().filter(move |other| one.is_true_of(0, other))).count();
        assert!((scenes.len()..scenes.len() * 10).contains(&others), "{others}");
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = || small(PathBuf::new());
        good().validate().unwrap();
        ClipTraining::scenes().validate().unwrap();
        let mut clip = good().clip;
        clip.image.patch_size = 0;
        for (training, field) in [
            (ClipTraining { clip, ..good() }, "clip.image.patch_size"),
            (ClipTraining { shift_pixels: 17, ..good() }, "shift_pixels"),
            (ClipTraining { run: RunSettings { batch_size: 3, ..good().run }, ..good() }, "run.batch_size"),
            (ClipTraining { run: RunSettings { workers: 0, ..good().run }, ..good() }, "run.workers"),
        ] {
            let error = training.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }
}
