//! Training a captioner on a data set.

use std::path::Path;

use serde_json::json;

use super::eye::Looking;
use super::{CaptionTraining, Captioner, Decoding, Eye, EyeTraining, PackedCaptions};
use crate::data::{Dataset, Example, Random, Split, Vocabulary};
use crate::train::examples::{Draw, Order, Part, data_description, examples_of, load_parts, spread, training_examples};
use crate::train::pictures::stretched;
use crate::train::{
    CHECKPOINT_FILE, Checkpoint, Position, Progress, Run, Sample, StepPart, Task,
};
use crate::nn::{Weights, read_tensors};
use crate::vision::DetectorTraining;
use crate::vision::faster_rcnn::Detecting;
use crate::{Error, Result};

/// Starts to train a captioner on the training examples of a data set, in a new folder of its own.
///
/// ```no_run
/// use captionlab::caption::{self, CaptionTraining, Decoding};
/// use captionlab::data::Dataset;
/// let dataset = Dataset::open("flickr30k")?;
/// let mut run = caption::train(&dataset, &CaptionTraining::course())?;
/// run.wait()?;
/// let captions = run.captioner()?.caption(&dataset.examples[..8], &Decoding::greedy())?;
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for a setting out of its range, [`Error::Argument`] when the data set has no training examples,
/// [`Error::Run`] when the named folder holds a run already, [`Error::File`] when it cannot be written.
pub fn train(dataset: &Dataset, training: &CaptionTraining) -> Result<Run> {
    training.validate()?;
    let mut training = training.clone();
    // The eye's own sizes are the encoder's.
    let eye = match &training.eye {
        Some(folder) => {
            let (tensors, _) = read_tensors(&folder.join(CHECKPOINT_FILE))?;
            training.captioner.encoder = Eye::load(folder)?.config().clone();
            Some((folder, tensors))
        }
        None => None,
    };
    training.validate()?;
    let examples = training_examples(dataset)?;
    let captions: Vec<&str> = examples.iter().flat_map(|example| &example.captions).map(String::as_str).collect();
    let vocabulary = Vocabulary::build(&captions, &training.vocabulary)?;
    let mut captioner = Captioner::new(&training.captioner, vocabulary, training.run.seed, training.run.device)?;
    captioner.generator.start_from_counts(&target_counts(captioner.vocabulary(), &captions))?;
    if let Some((folder, tensors)) = eye {
        captioner.weights.assign_prefix("encoder.", &tensors, folder)?;
    }
    let settings = training.run.clone();
    Run::start("captioner", Box::new(Training::new(dataset, &training, captioner)), settings)
}

impl Run {
    /// Goes on with a run from its last checkpoint, as if it had never stopped.
    ///
    /// `dataset` is the one that it was started with; its pictures are read again.
    ///
    /// # Errors
    /// [`Error::Run`] when the folder holds no run, or another process trains it; [`Error::Argument`] when the data set is
    /// another one.
    pub fn resume(folder: impl AsRef<Path>, dataset: &Dataset) -> Result<Run> {
        let folder = folder.as_ref();
        let description = Checkpoint::read(folder)?.description;
        let training = description.get("training").cloned().unwrap_or_default();
        let kind = description.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default();
        #[cfg(feature = "clip-text")]
        if kind == crate::vision::clip::CLIP_KIND {
            return crate::vision::clip::resume_clip(folder, &description, dataset);
        }
        let other = |error: serde_json::Error| Error::Run {
            problem: format!(
                "{} is no run of a captioner, an eye or a detector that can go on: {error}",
                folder.display()
            ),
            help: "Name the folder of such a run; one of another version of captionlab is to be trained anew."
                .to_string(),
        };
        if description.get("data") != Some(&data_description(dataset)) {
            let was = description.get("data").cloned().unwrap_or_default();
            return Err(Error::argument(
                format!("{} was started with another data set than {}: {was}", folder.display(), dataset.name),
                "Resume it with the data set that it was started with; its examples and captions must be the same.",
            ));
        }
        if kind == "detector" {
            let training: DetectorTraining = serde_json::from_value(training).map_err(other)?;
            return Run::go_on(folder, Box::new(Detecting::new(dataset, &training)?), training.run);
        }
        if kind == "eye" {
            let training: EyeTraining = serde_json::from_value(training).map_err(other)?;
            training.validate()?;
            let task = Looking::resume(folder, dataset, &training)?;
            return Run::go_on(folder, Box::new(task), training.run);
        }
        let training: CaptionTraining = serde_json::from_value(training).map_err(other)?;
        training.validate()?;
        let captioner = Captioner::load(folder)?.to_device(training.run.device)?;
        let task = Training::new(dataset, &training, captioner);
        Run::go_on(folder, Box::new(task), training.run)
    }
}

/// How often each word is to be said in the captions, by number, `<end>` and `<unknown>` included.
fn target_counts(vocabulary: &Vocabulary, captions: &[&str]) -> Vec<usize> {
    let mut counts = vec![0; vocabulary.len()];
    for caption in captions {
        for word in vocabulary.encode(caption).into_iter().chain([Vocabulary::END]) {
            if let Some(count) = counts.get_mut(word as usize) {
                *count += 1;
            }
        }
    }
    counts
}

/// The captions of a picture, as numbers of words.
type Captions = Vec<Vec<i64>>;

/// A captioner in training.
struct Training {
    training: CaptionTraining,
    description: serde_json::Value,
    captioner: Captioner,
    train: Part<Captions>,
    validation: Part<Captions>,
    samples: Part<Captions>,
    order: Order,
}

impl Training {
    fn new(dataset: &Dataset, training: &CaptionTraining, captioner: Captioner) -> Self {
        let vocabulary = captioner.vocabulary();
        let encode =
            |example: &Example| -> Captions { example.captions.iter().map(|text| vocabulary.encode(text)).collect() };
        let validation = examples_of(dataset, Split::Validation);
        let unseen = if validation.is_empty() { examples_of(dataset, Split::Test) } else { validation.clone() };
        let shown = if unseen.is_empty() { examples_of(dataset, Split::Train) } else { unseen };
        let mut description = captioner.description();
        description["training"] = json!(training);
        description["data"] = data_description(dataset);
        Self {
            description,
            train: Part::new(examples_of(dataset, Split::Train), encode),
            validation: Part::new(spread(&validation, training.run.validation_pictures), encode),
            samples: Part::new(spread(&shown, training.run.sample_pictures), encode),
            training: training.clone(),
            captioner,
            order: Order::default(),
        }
    }

    /// The loss on validation pictures, a mean over words; `None` when the run is to stop.
    fn validation_loss(&self, progress: &Progress) -> Result<Option<f64>> {
        let (mut sum, mut tokens) = (0.0, 0);
        let indices: Vec<usize> = (0..self.validation.len()).collect();
        for part in indices.chunks(self.training.run.batch_pictures.max(64)) {
            if progress.should_stop() {
                return Ok(None);
            }
            let captions: Vec<(usize, &[i64])> = part
                .iter()
                .enumerate()
                .flat_map(|(row, &index)| {
                    self.validation.targets[index].iter().map(move |words| (row, words.as_slice()))
                })
                .collect();
            let captions = PackedCaptions::new(&captions, self.training.max_words);
            let pictures = self.validation.pictures.batch(part, None, self.training.run.device);
            let loss = tch::no_grad(|| {
                self.captioner.generator.loss(&self.captioner.features(&pictures, false), &captions, None)
            });
            sum += loss.f_double_value(&[])? * captions.tokens() as f64;
            tokens += captions.tokens();
        }
        Ok(Some(sum / tokens.max(1) as f64))
    }
}

impl Task for Training {
    fn items(&self) -> &'static str {
        "pairs"
    }

    fn description(&self) -> serde_json::Value {
        self.description.clone()
    }

    fn weights(&self) -> &Weights {
        &self.captioner.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.captioner.weights
    }

    fn prepare(&mut self, progress: &Progress) -> Result<()> {
        let parts = [&mut self.train, &mut self.validation, &mut self.samples];
        let side = self.training.captioner.encoder.image_size;
        load_parts(parts, side, &stretched(side), self.training.run.memory_limit, progress)
    }

    fn steps_per_epoch(&self) -> u64 {
        self.train.len().div_ceil(self.training.run.batch_pictures) as u64
    }

    fn step(&mut self, position: Position, workers: usize) -> Result<(Vec<StepPart<'_>>, usize)> {
        let training = &self.training;
        let batch = self.order.batch(position, training.run.seed, self.train.len(), training.run.batch_pictures);
        let mut random = Draw::Step.random(training.run.seed, position.step);
        let parts: Vec<(&[usize], PackedCaptions)> = batch
            .chunks(batch.len().div_ceil(workers))
            .map(|batch| {
                let mut captions: Vec<(usize, &[i64])> =
                    Vec::with_capacity(batch.len() * training.captions_per_picture);
                for (row, &index) in batch.iter().enumerate() {
                    let mut of_picture: Vec<&[i64]> = self.train.targets[index].iter().map(Vec::as_slice).collect();
                    random.shuffle(&mut of_picture);
                    let drawn = of_picture.into_iter().take(training.captions_per_picture);
                    captions.extend(drawn.map(|words| (row, words)));
                }
                (batch, PackedCaptions::new(&captions, training.max_words))
            })
            .collect();
        let items = parts.iter().map(|(_, captions)| captions.captions()).sum();
        let tokens: usize = parts.iter().map(|(_, captions)| captions.tokens()).sum();
        let pictures = &self.train.pictures;
        let part = |(number, (batch, captions)): (usize, (&[usize], PackedCaptions))| -> StepPart<'_> {
            let (encoder, generator) = self.captioner.share(number == 0);
            let (batch, mut random) = (batch.to_vec(), Random::new(random.next_u64()));
            Box::new(move || {
                let pictures = pictures.batch(&batch, Some((training.shift_pixels, &mut random)), training.run.device);
                // An eye that has learnt before is left as it is.
                let features = match &training.eye {
                    Some(_) => tch::no_grad(|| encoder.forward(&pictures, false)),
                    None => encoder.forward(&pictures, true),
                };
                let share = captions.tokens() as f64 / tokens as f64;
                Ok(generator.loss(&features, &captions, Some(&mut random)) * share)
            })
        };
        Ok((parts.into_iter().enumerate().map(part).collect(), items))
    }

    fn end_of_epoch(&mut self, progress: &Progress) -> Result<Option<(Option<f64>, Vec<Sample>)>> {
        let validation_loss = match self.validation.len() {
            0 => None,
            _ => match self.validation_loss(progress)? {
                None => return Ok(None),
                loss => loss,
            },
        };
        let captions = self.captioner.caption_batches(&self.samples.pictures, &Decoding::greedy(), 0)?;
        let names = self.samples.examples.iter().map(|example| example.name.clone());
        let samples = names.zip(captions).map(|(name, text)| Sample { name, text }).collect();
        Ok(Some((validation_loss, samples)))
    }
}
