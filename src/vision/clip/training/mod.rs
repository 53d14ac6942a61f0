//! Training a CLIP: of a batch of pictures and texts, which belong together (Radford et al. 2021, section 2.3 and figure 3).

mod config;
mod truth;

pub use config::ClipTraining;

use std::path::Path;

use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::train::examples::{Draw, Order, Part, data_description, examples_of, load_parts, spread, training_examples};
use crate::train::{Position, Progress, Run, Sample, StepPart, Task};
use crate::data::{Dataset, Example, Preprocess, Random, Split};
use crate::vision::clip::{Clip, ClipTokenizer, Towers, filled, normalised};
use crate::nn::{Weights, write_tensors};
use crate::{Error, Result};
use truth::Said;

/// What the run of a CLIP is called.
pub(crate) const CLIP_KIND: &str = "clip";

/// The vocabulary's name in the folder of a run.
const VOCABULARY_FILE: &str = "tokenizer.json";

/// The largest scale of the cosines (section 2.5).
const MOST_SCALE: f64 = 100.0;

/// Starts to train a CLIP on the training examples of a data set, in a new folder of its own. Its vocabulary is learnt first,
/// from the captions of the training examples, and lies beside the checkpoint as `tokenizer.json`.
///
/// # Errors
/// [`Error::Config`] for a setting out of its range, [`Error::Argument`] when the data set has no training examples,
/// [`Error::Run`] when the named folder holds a run already, [`Error::File`] when it cannot be written.
pub fn train_clip(dataset: &Dataset, training: &ClipTraining) -> Result<Run> {
    training.validate()?;
    let tokenizer = vocabulary(dataset, training)?;
    let mut config = training.clip.clone();
    config.text.vocabulary_size = tokenizer.vocabulary_size();
    config.text.end_token = tokenizer.end();
    let clip = Clip::new(&config, training.run.seed, training.run.device)?;
    let vocabulary = tokenizer.to_json()?;
    let run =
        Run::start(CLIP_KIND, Box::new(Contrasting::new(dataset, training, clip, tokenizer)?), training.run.clone())?;
    keep_vocabulary(run.folder(), &vocabulary)?;
    Ok(run)
}

/// Goes on with the run of a CLIP.
pub(crate) fn resume_clip(folder: &Path, description: &serde_json::Value, dataset: &Dataset) -> Result<Run> {
    let training = description.get("training").cloned().unwrap_or_default();
    let training: ClipTraining = serde_json::from_value(training).map_err(|error| Error::Run {
        problem: format!("{} is no run of a CLIP that can go on: {error}", folder.display()),
        help: "Name the folder of such a run; one of another version of captionlab is to be trained anew.".to_string(),
    })?;
    training.validate()?;
    let clip = Clip::load(folder)?.to_device(training.run.device)?;
    let tokenizer = vocabulary(dataset, &training)?;
    keep_vocabulary(folder, &tokenizer.to_json()?)?;
    let settings = training.run.clone();
    Run::go_on(folder, Box::new(Contrasting::new(dataset, &training, clip, tokenizer)?), settings)
}

/// The vocabulary of the training captions: always the same for the same captions.
fn vocabulary(dataset: &Dataset, training: &ClipTraining) -> Result<ClipTokenizer> {
    let examples = training_examples(dataset)?;
    let captions: Vec<&str> = examples.iter().flat_map(|example| &example.captions).map(String::as_str).collect();
    ClipTokenizer::learn(&captions, training.clip.text.vocabulary_size)?.with_context(training.clip.text.context)
}

fn keep_vocabulary(folder: &Path, vocabulary: &str) -> Result<()> {
    crate::files::write_whole(&folder.join(VOCABULARY_FILE), "write the vocabulary", vocabulary.as_bytes())
}

impl Run {
    /// The CLIP as it was at the last checkpoint of this run, with its vocabulary.
    ///
    /// # Errors
    /// [`Error::Weights`] when the run trains something else.
    pub fn clip(&self) -> Result<(Clip, ClipTokenizer)> {
        let clip = Clip::load(self.folder())?;
        let tokenizer = ClipTokenizer::load(self.folder().join(VOCABULARY_FILE))?;
        let context = clip.config().text.context;
        Ok((clip, tokenizer.with_context(context)?))
    }
}

/// Writes a CLIP and its vocabulary into a folder, to be read by [`Clip::load`] and [`ClipTokenizer::load`]: numbers of half
/// precision, so half as large as the checkpoint of a run.
///
/// # Errors
/// [`Error::File`] when the folder cannot be written.
pub fn save_clip(clip: &Clip, tokenizer: &ClipTokenizer, folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    std::fs::create_dir_all(folder).map_err(|source| {
        Error::file(folder, "make the folder of the model", source, "Name a folder that may be written.")
    })?;
    let tensors = clip
        .weights()
        .named()
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.f_to_kind(Kind::Half)?)))
        .collect::<Result<Vec<_>>>()?;
    let description = json!({ "description": { "kind": CLIP_KIND, "clip": clip.config() } });
    write_tensors(&folder.join("model.safetensors"), &tensors, &description)?;
    tokenizer.save(folder.join(VOCABULARY_FILE))
}

/// A CLIP in training.
struct Contrasting {
    training: ClipTraining,
    description: serde_json::Value,
    clip: Clip,
    end: i64,
    train: Part<Said>,
    validation: Part<Said>,
    samples: Part<Said>,
    order: Order,
}

impl Contrasting {
    fn new(dataset: &Dataset, training: &ClipTraining, clip: Clip, tokenizer: ClipTokenizer) -> Result<Self> {
        let unseen = examples_of(dataset, Split::Validation);
        let shown = if unseen.is_empty() { examples_of(dataset, Split::Train) } else { unseen.clone() };
        let part = |examples: Vec<&Example>| -> Result<Part<Said>> {
            let said = examples.iter().map(|example| Said::of(example, &tokenizer)).collect::<Result<Vec<_>>>()?;
            Ok(Part::with_targets(examples, said))
        };
        Ok(Self {
            description: json!({
                "kind": CLIP_KIND,
                "clip": clip.config(),
                "training": training,
                "data": data_description(dataset),
            }),
            train: part(examples_of(dataset, Split::Train))?,
            validation: part(spread(&unseen, training.run.validation_pictures))?,
            samples: part(spread(&shown, training.run.sample_pictures))?,
            training: training.clone(),
            clip,
            end: tokenizer.end(),
            order: Order::default(),
        })
    }

    /// Keeps the scale of the cosines in its range, as the original does after each step.
    fn limit_scale(&self) {
        let mut scale = self.clip.towers().logit_scale().shallow_clone();
        tch::no_grad(|| drop(scale.clamp_(0.0, MOST_SCALE.ln())));
    }
}

/// Pictures as bytes, channels last, made ready for the image tower.
fn normal(pictures: &Tensor, preprocess: &Preprocess) -> Tensor {
    let row = |values: &[f32; 3]| Tensor::from_slice(values).to_device(pictures.device()) * 255.0;
    let (mean, deviation) = (row(&preprocess.mean), row(&preprocess.standard_deviation));
    // Seen as [batch, 3, height, width] while the memory keeps channels last.
    ((pictures.to_kind(Kind::Float) - mean) / deviation).permute([0, 3, 1, 2])
}

/// The loss of a batch, figure 3: which text belongs to each picture, and which picture to each text.
///
/// `also_true`, `[pictures, texts]`, marks the texts that are true of another picture than their own: to call those wrong
/// would teach what is not so, so they are left out of the comparison.
fn loss(towers: &Towers, pictures: &Tensor, tokens: &Tensor, also_true: &Tensor) -> Tensor {
    let images = normalised(&towers.encode_image(pictures));
    let texts = normalised(&towers.encode_text(tokens));
    let logits = images.matmul(&texts.transpose(0, 1)) * towers.logit_scale().exp();
    let logits = logits.masked_fill(also_true, f64::NEG_INFINITY);
    let own = Tensor::arange(pictures.size()[0], (Kind::Int64, pictures.device()));
    (logits.cross_entropy_for_logits(&own) + logits.transpose(0, 1).cross_entropy_for_logits(&own)) / 2.0
}

/// Which caption of which example, all of one batch.
struct Batch<'a> {
    part: &'a Part<Said>,
    chosen: Vec<(usize, usize)>,
    end: i64,
}

impl Batch<'_> {
    fn loss(
        &self,
        towers: &Towers,
        preprocess: &Preprocess,
        shift: Option<(usize, &mut Random)>,
        device: Device,
    ) -> Tensor {
        let said = |index: usize| &self.part.targets[index];
        let rows: Vec<&[i64]> =
            self.chosen.iter().map(|&(index, caption)| said(index).captions[caption].as_slice()).collect();
        let count = rows.len() as i64;
        let also_true: Vec<bool> = self
            .chosen
            .iter()
            .enumerate()
            .flat_map(|(row, &(picture, _))| {
                self.chosen.iter().enumerate().map(move |(column, &(index, caption))| {
                    row != column && said(index).is_true_of(caption, said(picture))
                })
            })
            .collect();
        let also_true = Tensor::from_slice(&also_true).reshape([count, count]).to_device(device);
        let indices: Vec<usize> = self.chosen.iter().map(|&(index, _)| index).collect();
        let pictures = normal(&self.part.pictures.batch(&indices, shift, device), preprocess);
        loss(towers, &pictures, &filled(&rows, self.end).to_device(device), &also_true)
    }
}

impl Task for Contrasting {
    fn items(&self) -> &'static str {
        "pairs"
    }

    fn description(&self) -> serde_json::Value {
        self.description.clone()
    }

    fn weights(&self) -> &Weights {
        self.clip.weights()
    }

    fn weights_mut(&mut self) -> &mut Weights {
        self.clip.weights_mut()
    }

    fn prepare(&mut self, progress: &Progress) -> Result<()> {
        let preprocess = self.clip.config().preprocess();
        let parts = [&mut self.train, &mut self.validation, &mut self.samples];
        let cut = |picture: &image::RgbImage| preprocess.cut(picture);
        load_parts(parts, self.training.clip.image.image_size, &cut, self.training.run.memory_limit, progress)
    }

    fn steps_per_epoch(&self) -> u64 {
        // A last batch of a few pictures would be easy, and teach little.
        let batch = self.training.run.batch_pictures;
        if self.train.len() < 2 { 0 } else { (self.train.len() / batch).max(1) as u64 }
    }

    fn step(&mut self, position: Position, workers: usize) -> Result<(Vec<StepPart<'_>>, usize)> {
        self.limit_scale();
        let training = &self.training;
        let batch = self.order.batch(position, training.run.seed, self.train.len(), training.run.batch_pictures);
        let count = batch.len();
        let (shift, device) = (training.shift_pixels, training.run.device);
        let preprocess = self.clip.config().preprocess();
        let mut random = Draw::Step.random(training.run.seed, position.step);
        let (train, end) = (&self.train, self.end);
        let part = |batch: &[usize]| -> StepPart<'_> {
            let chosen: Vec<(usize, usize)> =
                batch.iter().map(|&index| (index, random.below(train.targets[index].captions.len()))).collect();
            let share = batch.len() as f64 / count as f64;
            let (towers, preprocess) = (self.clip.towers().share(), preprocess.clone());
            let (batch, mut random) = (Batch { part: train, chosen, end }, Random::new(random.next_u64()));
            Box::new(move || Ok(batch.loss(&towers, &preprocess, Some((shift, &mut random)), device) * share))
        };
        Ok((batch.chunks(count.div_ceil(workers)).map(part).collect(), count))
    }

    fn end_of_epoch(&mut self, progress: &Progress) -> Result<Option<(Option<f64>, Vec<Sample>)>> {
        self.limit_scale();
        let (preprocess, device) = (self.clip.config().preprocess(), self.training.run.device);
        let (mut sum, mut count) = (0.0, 0);
        let all: Vec<(usize, usize)> = (0..self.validation.len()).map(|index| (index, 0)).collect();
        for part in all.chunks(self.training.run.batch_pictures) {
            if progress.should_stop() {
                return Ok(None);
            }
            let batch = Batch { part: &self.validation, chosen: part.to_vec(), end: self.end };
            let loss = tch::no_grad(|| batch.loss(self.clip.towers(), &preprocess, None, device));
            sum += loss.f_double_value(&[])? * part.len() as f64;
            count += part.len();
        }
        Ok(Some(((count > 0).then(|| sum / count as f64), self.found(&preprocess)?)))
    }
}

impl Contrasting {
    /// For each sample picture, which of the sample pictures' first captions fits it best.
    fn found(&self, preprocess: &Preprocess) -> Result<Vec<Sample>> {
        let samples = &self.samples;
        if samples.len() == 0 {
            return Ok(Vec::new());
        }
        let indices: Vec<usize> = (0..samples.len()).collect();
        let device = self.training.run.device;
        let pictures = normal(&samples.pictures.batch(&indices, None, device), preprocess);
        let rows: Vec<&[i64]> = samples.targets.iter().map(|said| said.captions[0].as_slice()).collect();
        let logits = self.clip.logits(&pictures, &filled(&rows, self.end))?;
        let best: Vec<i64> = Vec::try_from(logits.f_argmax(1, false)?)?;
        let sample = |(example, best): (&Example, i64)| Sample {
            name: example.name.clone(),
            text: samples.examples[best as usize].captions[0].clone(),
        };
        Ok(samples.examples.iter().zip(best).map(sample).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::scenes::ScenesConfig;
    use crate::train::RunSettings;
    use crate::vision::clip::evaluate_clip;
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
            run: RunSettings { epochs: 2, batch_pictures: 8, workers: 2, folder: Some(folder), ..scenes.run },
        }
    }

    fn few() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 33, validation: 6, test: 5, seed: 1 }).unwrap()
    }

    #[test]
    fn a_stopped_training_goes_on_as_if_it_had_not_and_its_model_is_saved_and_measured() {
        let (dataset, folder) = (few(), tempfile::tempdir().unwrap());
        let mut whole = train_clip(&dataset, &small(folder.path().join("whole"))).unwrap();
        whole.wait().unwrap();
        assert_eq!(whole.curves().training_loss.len(), 8);
        assert_eq!(whole.samples().len(), 2);

        let mut stopped = train_clip(&dataset, &small(folder.path().join("stopped"))).unwrap();
        stopped.stop().unwrap();
        let place = stopped.folder().to_path_buf();
        drop(stopped);
        let mut resumed = Run::resume(&place, &dataset).unwrap();
        resumed.wait().unwrap();
        let (clip, tokenizer) = whole.clip().unwrap();
        for ((name, weight), (_, resumed)) in
            clip.weights().named().iter().zip(resumed.clip().unwrap().0.weights().named())
        {
            assert_eq!(weight, &resumed, "{name}");
        }

        let saved = folder.path().join("saved");
        save_clip(&clip, &tokenizer, &saved).unwrap();
        let again = Clip::load(&saved).unwrap();
        assert_eq!(again.config(), clip.config());
        let pictures = again.prepare(&[dataset.examples[0].picture().unwrap()]).unwrap();
        let difference = again.encode_image(&pictures).unwrap() - clip.encode_image(&pictures).unwrap();
        assert!(difference.abs().max().double_value(&[]) < 1e-2);
        assert_eq!(
            ClipTokenizer::load(&saved).unwrap().encode("a red ball").unwrap(),
            tokenizer.encode("a red ball").unwrap()
        );

        let evaluation = evaluate_clip(&clip, &tokenizer, &dataset, Split::Test).unwrap();
        assert_eq!((evaluation.pictures, evaluation.groups, evaluation.captions), (5, 1, 25));
        assert!(evaluation.ceiling.is_some_and(|ceiling| (0.2..=1.0).contains(&ceiling)), "{evaluation}");
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

        let tokenizer = vocabulary(&few(), &small(PathBuf::new())).unwrap();
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
            (ClipTraining { run: RunSettings { batch_pictures: 3, ..good().run }, ..good() }, "batch_pictures"),
            (ClipTraining { run: RunSettings { workers: 0, ..good().run }, ..good() }, "workers"),
        ] {
            let error = training.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }
}
