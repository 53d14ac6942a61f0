//! A whole captioner: pictures or features in, sentences out.

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::time::Instant;

use image::RgbImage;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::Device;

use super::decode::{Predictor, decode};
use super::{
    CaptionEvaluation, CaptionerConfig, Decoding, Described, ExplainedWord, Explanation, Generator, Hypothesis,
    evaluate,
};
#[cfg(feature = "pytorch")]
use crate::align::is_of_pytorch;
use crate::data::readable::{decode_readable, write_unreadable};
use crate::data::{BoundingBox, Dataset, Example, Split, Vocabulary};
use crate::nn::{Weights, shipped};
use crate::train::{Model, newest_run_on, read_model};
use crate::vision::word_detector::SmallCnnConfig;
use crate::vision::{EncoderConfig, FeatureBatch, FeatureCache, NamedEncoder};
use crate::{Error, Result};

/// Pictures that are captioned at a time.
const BATCH: usize = 64;

/// What speaks of pictures, with the words it knows and the encoder whose features it reads.
///
/// ```no_run
/// use captionlab::caption::{Captioner, Decoding};
/// use captionlab::data::images::decode;
/// let captioner = Captioner::load("saved_models/runs/captioner-1")?;
/// let captions = captioner.caption_pictures(&[decode("dog.jpg")?], &Decoding::greedy())?;
/// println!("{}", captions[0]);
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug)]
pub struct Captioner {
    config: CaptionerConfig,
    vocabulary: Vocabulary,
    encoder: NamedEncoder,
    pub(super) weights: Weights,
    pub(super) generator: Generator,
}

/// A caption of a picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Caption {
    /// The words, separated by spaces.
    pub text: String,
    /// The natural logarithm of its probability, its end included where it has one.
    pub log_probability: f64,
    /// Whether it has an end; otherwise it was cut at the most words.
    pub ended: bool,
}

impl Caption {
    fn new(vocabulary: &Vocabulary, Hypothesis { words, log_probability, ended }: Hypothesis) -> Self {
        Self { text: vocabulary.decode(&words), log_probability, ended }
    }
}

/// Displays its words.
impl fmt::Display for Caption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// One caption for each example.
///
/// It is a slice of strings. The caption of a picture that could not be read is empty, and the picture is named in
/// [`Captions::unreadable`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captions {
    captions: Vec<String>,
    unreadable: Vec<String>,
    readable: Vec<usize>,
}

impl Captions {
    /// Which pictures could not be read, and why.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }

    /// The indices of the examples whose pictures could be read.
    pub fn readable(&self) -> &[usize] {
        &self.readable
    }
}

impl Deref for Captions {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.captions
    }
}

/// A caption a line, then the pictures that could not be read.
impl fmt::Display for Captions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.captions.join("\n"))?;
        write_unreadable(formatter, &self.unreadable)
    }
}

/// The model description stored in a checkpoint's metadata.
#[derive(Serialize, Deserialize)]
pub(super) struct Description {
    captioner: Value,
    vocabulary: Value,
    /// Missing where the network that looks at pictures was trained together with the captioner: its weights are in the same file.
    #[serde(default)]
    encoder: Option<NamedEncoder>,
}

impl Captioner {
    /// A captioner that has learnt nothing yet, with weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is out of its range.
    pub fn new(
        config: &CaptionerConfig,
        vocabulary: Vocabulary,
        encoder: NamedEncoder,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        Self::with(config.clone(), vocabulary, encoder, Weights::new(seed, device))
    }

    pub(super) fn with(
        config: CaptionerConfig,
        vocabulary: Vocabulary,
        encoder: NamedEncoder,
        mut weights: Weights,
    ) -> Result<Self> {
        let generator = Generator::new(&config, encoder.width(), vocabulary.len(), &mut weights)?;
        Ok(Self { config, vocabulary, encoder, weights, generator })
    }

    /// The captioner of the lessons: for Scenes the one that ships with the project; for another data set the newest of your own that has
    /// learnt from it, such as that of lesson 2, and where there is none the one that ships.
    ///
    /// # Errors
    /// As [`Captioner::load`].
    pub fn for_lessons(dataset: &Dataset) -> Result<Self> {
        match newest_run_on(Self::KIND, dataset, None)? {
            Some(run) => Self::load(run),
            None => Self::load(shipped("captioner-tiny")?),
        }
    }

    /// Reads a captioner from a file of weights, or from the folder of a run or a model, onto the CPU; also a checkpoint of the course's
    /// Python original (`.pth`, with `model_state_dict` and `vocab_word2idx`; needs the feature `pytorch`). That reads regions where the checkpoint of the course's
    /// alignment model lies beside it, with `align` in its name; otherwise the vectors that the course made of them.
    ///
    /// # Errors
    /// [`Error::File`] when there is no such file, [`Error::Weights`] when it does not hold a captioner.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        #[cfg(feature = "pytorch")]
        if is_of_pytorch(path.as_ref()) {
            return Self::of_course(path.as_ref());
        }
        let (tensors, description, path) = read_model::<Description>(path.as_ref(), Self::KIND)?;
        let mut captioner = Self::of_description(description, &path, Weights::to_assign(Device::Cpu))?;
        captioner.weights.assign(&tensors, &path)?;
        Ok(captioner)
    }

    /// The captioner of a description, whose weights are still to be assigned; `path` is the file that it is from.
    pub(super) fn of_description(description: Description, path: &Path, weights: Weights) -> Result<Self> {
        let Description { captioner, vocabulary, encoder } = description;
        let other = |problem: String| Error::Weights {
            path: path.to_path_buf(),
            problem: format!("not weights of the kind `captioner`: {problem}"),
            help: "Name the folder of a run of a captioner, or a file of its weights.".to_string(),
        };
        let encoder = match encoder {
            Some(encoder) => encoder,
            None => {
                let network: SmallCnnConfig = serde_json::from_value(captioner["encoder"].clone())
                    .map_err(|error| other(format!("it names no encoder: {error}")))?;
                NamedEncoder::inside(path, network)
            }
        };
        let config = serde_json::from_value(captioner).map_err(|error| other(error.to_string()))?;
        let vocabulary = Vocabulary::from_json(&vocabulary.to_string()).map_err(|error| other(error.to_string()))?;
        Self::with(config, vocabulary, encoder, weights)
    }

    pub(super) fn description(&self) -> Value {
        let vocabulary: Value = serde_json::from_str(&self.vocabulary.to_json()).unwrap_or_default();
        json!({ "captioner": self.config, "vocabulary": vocabulary, "encoder": self.encoder })
    }

    /// The same captioner on another device.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the weights cannot be copied there.
    pub fn to_device(self, device: Device) -> Result<Self> {
        if device == self.weights.device() {
            return Ok(self);
        }
        let weights = Weights::to_assign(device);
        let mut moved = Self::with(self.config, self.vocabulary, self.encoder, weights)?;
        moved.weights.assign(&self.weights.named().into_iter().collect(), Path::new("captioner"))?;
        Ok(moved)
    }

    /// The sizes it was made with.
    pub fn config(&self) -> &CaptionerConfig {
        &self.config
    }

    /// The words it knows.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The encoder whose features it reads.
    pub fn encoder(&self) -> &EncoderConfig {
        self.encoder.config()
    }

    pub(super) fn named_encoder(&self) -> &NamedEncoder {
        &self.encoder
    }

    /// Captions the pictures of examples, one sentence each. Pictures that cannot be read are left out and named.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range, [`Error::Weights`] when the encoder that is here is another one than that
    /// which the captioner was trained with.
    pub fn caption(&self, examples: &[Example], decoding: &Decoding) -> Result<Captions> {
        let mut result = Captions { captions: vec![String::new(); examples.len()], ..Captions::default() };
        for (number, part) in examples.chunks(BATCH).enumerate() {
            let first = number * BATCH;
            let decoded = decode_readable(part, &mut result.unreadable);
            let (places, pictures): (Vec<usize>, Vec<RgbImage>) = decoded.into_iter().unzip();
            for (place, caption) in
                places.iter().zip(self.caption_part(&pictures, decoding, first + result.readable.len())?)
            {
                result.captions[first + place] = caption;
            }
            result.readable.extend(places.iter().map(|place| first + place));
        }
        Ok(result)
    }

    /// Captions pictures, one sentence each.
    ///
    /// # Errors
    /// As [`Captioner::caption`], and [`Error::Argument`] for a picture without pixels.
    pub fn caption_pictures(&self, pictures: &[RgbImage], decoding: &Decoding) -> Result<Vec<String>> {
        let mut captions = Vec::with_capacity(pictures.len());
        for part in pictures.chunks(BATCH) {
            captions.extend(self.caption_part(part, decoding, captions.len())?);
        }
        Ok(captions)
    }

    fn caption_part(&self, pictures: &[RgbImage], decoding: &Decoding, first: usize) -> Result<Vec<String>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        self.caption_features(&FeatureBatch::of(&self.encoder.encode(pictures)?)?, decoding, first)
    }

    /// Captions of each picture with their probabilities, the best first: as many as [`Decoding::best`] says, where there are as many.
    ///
    /// # Errors
    /// As [`Captioner::caption_pictures`].
    pub fn hypotheses(&self, pictures: &[RgbImage], decoding: &Decoding) -> Result<Vec<Vec<Caption>>> {
        hypotheses(&[self], pictures, decoding)
    }

    /// What the captioner thinks of a caption of a picture, word by word, with the `runners_up` most probable words of each place.
    ///
    /// # Errors
    /// [`Error::Argument`] for a caption with a word that the captioner does not know; as [`Captioner::caption_pictures`].
    pub fn explain(&self, picture: &RgbImage, caption: &str, runners_up: usize) -> Result<Explanation> {
        let ids = self.vocabulary.encode(caption);
        if let Some(unknown) = ids.iter().position(|&id| id == Vocabulary::UNKNOWN) {
            let word = Vocabulary::words(caption).swap_remove(unknown);
            return Err(Error::argument(
                format!("the captioner does not know the word {word:?}"),
                "Take words of its training captions.",
            ));
        }
        let (batch, boxes) = self.look(picture)?;
        self.explain_features(&batch, boxes, &ids, runners_up)
    }

    /// The features of one picture, and its regions.
    fn look(&self, picture: &RgbImage) -> Result<(FeatureBatch, Vec<BoundingBox>)> {
        let features = self.encoder.encode(std::slice::from_ref(picture))?;
        let batch = FeatureBatch::of(&features)?.to_device(self.weights.device())?;
        Ok((batch, features.into_iter().next().map_or_else(Vec::new, |features| features.boxes)))
    }

    fn explain_features(
        &self,
        batch: &FeatureBatch,
        boxes: Vec<BoundingBox>,
        ids: &[i64],
        runners_up: usize,
    ) -> Result<Explanation> {
        let word = |id: i64| self.vocabulary.word(id).unwrap_or("?").to_string();
        let steps = self.generator.explain(batch, ids)?;
        let words = steps.into_iter().zip(ids.iter().chain([&Vocabulary::END])).map(|(step, &id)| {
            let probability = |id: usize| step.log_probabilities[id].exp();
            let mut order: Vec<usize> = (0..step.log_probabilities.len()).collect();
            order.sort_by(|&a, &b| step.log_probabilities[b].total_cmp(&step.log_probabilities[a]));
            order.truncate(runners_up);
            ExplainedWord {
                word: word(id),
                probability: probability(id as usize),
                most_probable: order.into_iter().map(|id| (word(id as i64), probability(id))).collect(),
                attention: step.attention,
            }
        });
        Ok(Explanation { words: words.collect(), boxes })
    }

    /// Captions of one picture, the best first, with what the captioner looked at and how long each stage took. The picture is encoded
    /// once for all of it.
    ///
    /// # Errors
    /// As [`Captioner::caption_pictures`].
    pub fn describe(&self, picture: &RgbImage, decoding: &Decoding) -> Result<Described> {
        decoding.validate()?;
        let mut clock = Instant::now();
        let mut lap = || {
            let taken = clock.elapsed();
            clock = Instant::now();
            taken
        };
        let (batch, boxes) = self.look(picture)?;
        let encode = lap();
        let hypotheses = self.generator.decode(&batch, decoding, 0)?.into_iter().next().unwrap_or_default();
        let speak = lap();
        let words = hypotheses.first().map_or(&[] as &[i64], |best| &best.words);
        let explanation = self.explain_features(&batch, boxes, words, 1)?;
        let captions = hypotheses.into_iter().map(|hypothesis| Caption::new(&self.vocabulary, hypothesis)).collect();
        Ok(Described { captions, explanation, encode, speak, explain: lap() })
    }

    /// Captions the pictures of those names by their cached features, one sentence each.
    ///
    /// # Errors
    /// [`Error::Data`] when the cache is another encoder's, or lacks the features of a picture.
    pub fn caption_cached(&self, cache: &FeatureCache, names: &[&str], decoding: &Decoding) -> Result<Vec<String>> {
        self.encoder.check_cache(cache)?;
        let mut captions = Vec::with_capacity(names.len());
        for part in names.chunks(BATCH) {
            captions.extend(self.caption_features(&cache.batch(part)?, decoding, captions.len())?);
        }
        Ok(captions)
    }

    /// What each region of the picture of that name is called, by its cached features: the best caption of each. A captioner that has
    /// learnt from snippets ([`CaptionTraining::snippets`](super::CaptionTraining::snippets)) calls them by what people say of them.
    ///
    /// # Errors
    /// As [`Captioner::caption_cached`].
    pub fn caption_regions(&self, cache: &FeatureCache, name: &str, decoding: &Decoding) -> Result<Vec<Caption>> {
        self.encoder.check_cache(cache)?;
        self.caption_regions_of(&cache.batch(&[name])?, cache.get(name)?.boxes.len(), decoding)
    }

    /// As [`Captioner::caption_regions`], by the features of one picture with that many regions.
    pub(super) fn caption_regions_of(
        &self,
        picture: &FeatureBatch,
        regions: usize,
        decoding: &Decoding,
    ) -> Result<Vec<Caption>> {
        let regions: Vec<(usize, usize)> = (0..regions).map(|region| (0, region)).collect();
        let batch = picture.of_regions(&regions)?.to_device(self.weights.device())?;
        let best = self.generator.decode(&batch, decoding, 0)?.into_iter().filter_map(|best| best.into_iter().next());
        Ok(best.map(|hypothesis| Caption::new(&self.vocabulary, hypothesis)).collect())
    }

    /// Captions pictures by their features; the first of them has the number `first` of all.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range, [`Error::Argument`] for features of another dimension.
    pub fn caption_features(&self, features: &FeatureBatch, decoding: &Decoding, first: usize) -> Result<Vec<String>> {
        let words = self.generator.generate(&features.to_device(self.weights.device())?, decoding, first)?;
        Ok(words.iter().map(|words| self.vocabulary.decode(words)).collect())
    }
}

/// The captions of each picture by several captioners of one vocabulary, whose probabilities are averaged.
pub(super) fn hypotheses(
    captioners: &[&Captioner],
    pictures: &[RgbImage],
    decoding: &Decoding,
) -> Result<Vec<Vec<Caption>>> {
    decoding.validate()?;
    let mut captions = Vec::with_capacity(pictures.len());
    for part in pictures.chunks(BATCH) {
        let mut members = Vec::with_capacity(captioners.len());
        for captioner in captioners {
            let features = FeatureBatch::of(&captioner.encoder.encode(part)?)?.to_device(captioner.weights.device())?;
            members.push((&captioner.generator, captioner.generator.initial_state(&features)?));
        }
        let Some(first) = captioners.first() else { break };
        let decoded = decode(Predictor::new(members), decoding, captions.len())?;
        let caption = |hypothesis| Caption::new(&first.vocabulary, hypothesis);
        captions.extend(decoded.into_iter().map(|best| best.into_iter().map(caption).collect()));
    }
    Ok(captions)
}

/// Displays its size, its words and its encoder.
impl fmt::Display for Captioner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (weights, words) = (self.weights.trainable_count(), self.vocabulary.word_count());
        write!(
            formatter,
            "captioner of {weights} weights and {words} words, which reads features of `{}`",
            self.encoder().name
        )
    }
}

impl Model for Captioner {
    const KIND: &'static str = "captioner";
    const SHIPPED: Option<&'static str> = Some("captioner-tiny");
    type Evaluation = CaptionEvaluation;

    fn load(path: &Path) -> Result<Self> {
        Self::load(path)
    }

    fn evaluate(&self, dataset: &Dataset, split: Split) -> Result<CaptionEvaluation> {
        evaluate(self, dataset, split)
    }
}

crate::in_cells::shown_in_cells!(Captioner, Captions);
