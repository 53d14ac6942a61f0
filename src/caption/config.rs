//! The sizes of a captioner, and how it is trained: the paper's, the course's, and a small one for the lessons.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::align::AlignmentConfig;
use crate::data::{Dataset, Split, VocabularyConfig};
use crate::error::{Within, check_below_one, check_range};
use crate::nn::Cell;
use crate::train::{GradientClipping, MANY_PICTURES, OptimiserConfig, RunSettings, Schedule, StartFrom};
use crate::vision::EncoderConfig;
use crate::{Error, Result};

/// Where the image vector enters the recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageInjection {
    /// Beside the first word only, as in the paper, which found it to work better.
    FirstStep,
    /// Beside every word, as in the course.
    EveryStep,
    /// Not beside words: the state before the first word is computed from it, by a layer with a tanh for each part of the state.
    InitialState,
}

/// How the features of a picture's regions become one image vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The features of the whole picture, which is the first region.
    WholePicture,
    /// The mean of the vectors of all regions.
    Mean,
    /// The largest value of each number over all regions: "somewhere there is a red ball".
    Max,
    /// The mean of the regions in the space of an aligner: the course's visual vector of lesson 1. It is what the layer of the image
    /// vector reads then; the aligner's own layer is not trained on. See [`CaptionTraining::aligner`].
    AlignedMean,
    /// Soft attention (Xu et al. 2015, *Show, Attend and Tell*, section 3.1.2): at each step a weighted mean of the vectors of all
    /// regions, with weights that depend on the words so far. Needs [`ImageInjection::EveryStep`].
    Attention,
}

/// The sizes of a captioner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptionerConfig {
    /// Embedding dimension of words, in `1..=16384`. Default: 64.
    pub word_size: usize,
    /// Dimension of the image vector, which is a ReLU layer on the encoder's features, in `1..=16384`. Default: 256.
    pub image_size: usize,
    /// Dimension of the recurrent state, in `1..=16384`. Default: 128.
    pub hidden_size: usize,
    /// The recurrent cell. Default: an LSTM.
    pub cell: Cell,
    /// Where the image vector enters. Default: at every step.
    #[serde(alias = "image_entry")]
    pub injection: ImageInjection,
    /// Scales the features of each region to the length √dimension first, so that encoders of any scale are alike. Default: false, as
    /// in every captioner of before there was a choice.
    pub normalise: bool,
    /// Whether the generator also reads where each region is and how large. Default: false, as in every captioner of before there was a
    /// choice.
    pub geometry: bool,
    /// Whether each region's vector also holds what is around it: a ReLU layer on it, each other region, and where the other is relative to
    /// it, of which the largest values are added (after Santoro et al. 2017, *A simple neural network module for relational reasoning*).
    /// Default: false, as in every captioner of before there was a choice.
    pub relations: bool,
    /// How regions become one vector. Default: the whole picture alone, as in every captioner of before there was a choice.
    pub pooling: Pooling,
    /// The sizes of the aligner of [`Pooling::AlignedMean`], which a training takes from its aligner. Default: `None`.
    pub aligner: Option<AlignmentConfig>,
    /// Predicts words by the vectors that stand for them in the input (Press & Wolf 2017, *Using the output embedding to improve language
    /// models*), after a layer that brings the output to their dimension. Default: false.
    pub tied_embeddings: bool,
    /// Dropout probability of the numbers of word vectors, in `0..1`. Default: 0.1.
    pub word_dropout: f64,
    /// Dropout probability of the numbers of the image vector, in `0..1`. Default: 0.1.
    pub image_dropout: f64,
    /// Dropout probability of the recurrent layer's outputs before the softmax, in `0..1`. Default: 0.1.
    pub output_dropout: f64,
}

impl Default for CaptionerConfig {
    fn default() -> Self {
        Self {
            word_size: 64,
            image_size: 256,
            hidden_size: 128,
            cell: Cell::Lstm,
            injection: ImageInjection::EveryStep,
            normalise: false,
            geometry: false,
            relations: false,
            pooling: Pooling::WholePicture,
            aligner: None,
            tied_embeddings: false,
            word_dropout: 0.1,
            image_dropout: 0.1,
            output_dropout: 0.1,
        }
    }
}

impl CaptionerConfig {
    /// The course's: an LSTM of 512 that reads the image vector at every step.
    pub fn course() -> Self {
        Self {
            word_size: 512,
            image_size: 512,
            hidden_size: 512,
            injection: ImageInjection::EveryStep,
            pooling: Pooling::Mean,
            word_dropout: 0.5,
            image_dropout: 0.0,
            output_dropout: 0.0,
            ..Self::default()
        }
    }

    /// The paper's: the whole picture enters at the first step only, and everything but the recurrence has dropout.
    pub fn paper() -> Self {
        Self {
            injection: ImageInjection::FirstStep,
            pooling: Pooling::WholePicture,
            image_dropout: 0.5,
            output_dropout: 0.5,
            ..Self::course()
        }
    }

    /// A small one for the project's own pictures, whose captions use some three hundred words.
    pub fn scenes() -> Self {
        Self {
            hidden_size: 256,
            normalise: true,
            geometry: true,
            relations: true,
            pooling: Pooling::Attention,
            image_dropout: 0.2,
            output_dropout: 0.3,
            ..Self::default()
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        check_range("word_size", self.word_size, 1..=16_384)?;
        check_range("image_size", self.image_size, 1..=16_384)?;
        check_range("hidden_size", self.hidden_size, 1..=16_384)?;
        check_below_one("word_dropout", self.word_dropout)?;
        check_below_one("image_dropout", self.image_dropout)?;
        check_below_one("output_dropout", self.output_dropout)?;
        for (field, set) in [("geometry", self.geometry), ("relations", self.relations)] {
            if set && self.pooling == Pooling::AlignedMean {
                return Err(Error::config(field, true, "must be false where pooling is aligned_mean"));
            }
        }
        let injection = match self.injection {
            ImageInjection::EveryStep => return Ok(()),
            ImageInjection::FirstStep => "first_step",
            ImageInjection::InitialState => "initial_state",
        };
        match self.pooling {
            Pooling::Attention => {
                Err(Error::config("injection", injection, "must be every_step where pooling is attention"))
            }
            _ => Ok(()),
        }
    }
}

/// How a captioner is trained: on features of an encoder, which are computed where they are not in the cache.
///
/// ```
/// use captionlab::caption::CaptionTraining;
/// use captionlab::train::Trainable;
/// let mut training = CaptionTraining::scenes();
/// training.run.epochs = 5;
/// training.validate()?;
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptionTraining {
    /// The captioner. Default: [`CaptionerConfig::scenes`].
    pub captioner: CaptionerConfig,
    /// What makes the features that the captioner reads. Default: `tiny-both`, the detector and the CLIP that ship with the project.
    pub encoder: EncoderConfig,
    /// Which words of the training captions it learns. Default: those seen at least twice.
    pub vocabulary: VocabularyConfig,
    /// Longer captions are cut after this many words, in `1..=1000`. Default: 40.
    pub max_words: usize,
    /// How many of a picture's captions are learnt in a step, drawn anew in each epoch, in `1..=1000`. Default: 5.
    pub captions_per_picture: usize,
    /// Share of the words read in training that the captioner draws itself, instead of the true ones, in `0..=1` (scheduled sampling,
    /// Bengio et al. 2015). They are drawn in one pass over the true words, before the step (Mihaylova & Martins 2019). Default: 0.
    pub scheduled_sampling: f64,
    /// Learns what single regions are called instead of what is said of pictures: the first of the course's two stages. It is how much
    /// the words of a caption stay on one region where the aligner looks for snippets, as of [`smooth`](crate::align::smooth). What is
    /// learnt is carried over to the second stage by [`CaptionTraining::carry_over`]. Default: `None`.
    pub snippets: Option<f64>,
    /// The aligner that finds snippets, and whose space [`Pooling::AlignedMean`] takes: a file of weights, or the folder of a run or a
    /// model. Default: `None`, the one that ships with the project.
    pub aligner: Option<PathBuf>,
    /// Self-critical sequence training (Rennie et al. 2017): instead of the true words it learns what raises CIDEr-D, from captions that it
    /// draws itself, each compared with the greedy one. It needs a captioner that speaks already ([`RunSettings::start_from`]) and a
    /// small learning rate. Default: false.
    pub self_critical: bool,
    /// Default: Adam with a cosine schedule, for Scenes.
    pub run: RunSettings,
    /// Where features are cached; `None` for `cached_features` of the project.
    pub cache: Option<PathBuf>,
}

impl Default for CaptionTraining {
    fn default() -> Self {
        Self::scenes()
    }
}

impl CaptionTraining {
    /// The course's: features of cut-out regions, RMSprop with 10⁻⁴, gradients clipped at norm 5, batches of 100, the 5,000 most
    /// frequent words.
    pub fn course() -> Self {
        Self {
            captioner: CaptionerConfig::course(),
            encoder: EncoderConfig::new("course"),
            vocabulary: VocabularyConfig { min_count: 1, max_size: Some(5000) },
            max_words: 40,
            captions_per_picture: 1,
            scheduled_sampling: 0.0,
            snippets: None,
            aligner: None,
            self_critical: false,
            run: RunSettings::default(),
            cache: None,
        }
    }

    /// The paper's: gradients clipped element by element, words seen at least five times.
    pub fn paper() -> Self {
        Self {
            captioner: CaptionerConfig::paper(),
            vocabulary: VocabularyConfig { min_count: 5, max_size: None },
            run: RunSettings { clip: GradientClipping::Value(5.0), ..RunSettings::default() },
            ..Self::course()
        }
    }

    /// For the lessons: small, Adam, all five captions of a picture at a time.
    pub fn scenes() -> Self {
        Self {
            captioner: CaptionerConfig::scenes(),
            encoder: EncoderConfig::new("tiny-both"),
            vocabulary: VocabularyConfig { min_count: 2, max_size: None },
            captions_per_picture: 5,
            run: RunSettings {
                epochs: 16,
                batch_size: 64,
                workers: 2,
                optimiser: OptimiserConfig::adam(3e-3),
                schedule: Schedule::Cosine { warmup_steps: 50 },
                ..RunSettings::default()
            },
            ..Self::course()
        }
    }

    /// For photographs, described by the best encoder that is here. From 10,000 training pictures on, the course's; for fewer, small
    /// networks with much dropout, since what has many weights memorises them, and about 750 steps of 80 captions: longer trainings learn
    /// the pictures by heart.
    pub fn photographs(dataset: &Dataset) -> Self {
        let encoder = EncoderConfig::best_for(dataset).0;
        let pictures = dataset.split_size(Split::Train);
        if pictures >= MANY_PICTURES {
            return Self { encoder, ..Self::course() };
        }
        let captions = dataset.captions(Split::Train).len();
        let optimiser = OptimiserConfig::adam(2e-3);
        Self {
            captioner: CaptionerConfig {
                word_size: 128,
                hidden_size: 256,
                relations: false,
                word_dropout: 0.5,
                image_dropout: 0.5,
                output_dropout: 0.5,
                ..CaptionerConfig::scenes()
            },
            encoder,
            vocabulary: VocabularyConfig::for_captions(captions),
            captions_per_picture: captions.div_ceil(pictures.max(1)).clamp(1, 5),
            run: RunSettings { optimiser, ..RunSettings::of_steps(750, pictures, 16, 1) },
            ..Self::scenes()
        }
    }

    /// Starts from what a run learnt in the first stage, with [`CaptionTraining::snippets`]: all weights but those that look at pictures.
    #[must_use]
    pub fn carry_over(mut self, folder: impl Into<PathBuf>) -> Self {
        let path = folder.into();
        let attention = (self.captioner.pooling == Pooling::Attention).then_some("attention.");
        let prefixes = ["word_embedding.", "lstm.", "output"].into_iter().chain(attention);
        let start = |prefix: &str| StartFrom { path: path.clone(), prefix: prefix.to_string() };
        self.run.start_from = prefixes.map(start).collect();
        self.snippets = None;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        self.captioner.validate().within("captioner")?;
        self.encoder.validate().within("encoder")?;
        check_range("max_words", self.max_words, 1..=1000)?;
        check_range("captions_per_picture", self.captions_per_picture, 1..=1000)?;
        check_range("scheduled_sampling", self.scheduled_sampling, 0.0..=1.0)?;
        check_range("snippets", self.snippets.unwrap_or(0.0), 0.0..=f64::MAX)?;
        let of_its_own = [("scheduled_sampling", self.scheduled_sampling > 0.0), ("snippets", self.snippets.is_some())];
        if let Some((field, _)) = of_its_own.iter().find(|(_, set)| self.self_critical && *set) {
            return Err(Error::config("self_critical", true, format!("cannot be combined with {field}")));
        }
        if self.self_critical && self.run.start_from.is_empty() {
            let expected = "needs a captioner that speaks already: name its run in run.start_from";
            return Err(Error::config("self_critical", true, expected));
        }
        self.run.validate().within("run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Trainable;

    #[test]
    fn presets_are_valid_and_survive_being_saved() {
        for training in [CaptionTraining::course(), CaptionTraining::paper(), CaptionTraining::scenes()] {
            training.validate().unwrap();
            let text = serde_json::to_string(&training).unwrap();
            assert_eq!(serde_json::from_str::<CaptionTraining>(&text).unwrap(), training);
        }
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = CaptionTraining::scenes;
        let sized = |captioner: CaptionerConfig| CaptionTraining { captioner, ..good() };
        for (training, field) in [
            (sized(CaptionerConfig { word_size: 0, ..CaptionerConfig::scenes() }), "captioner.word_size"),
            (sized(CaptionerConfig { image_size: 20_000, ..CaptionerConfig::scenes() }), "captioner.image_size"),
            (sized(CaptionerConfig { hidden_size: 0, ..CaptionerConfig::scenes() }), "captioner.hidden_size"),
            (sized(CaptionerConfig { word_dropout: 1.0, ..CaptionerConfig::scenes() }), "captioner.word_dropout"),
            (sized(CaptionerConfig { image_dropout: -0.1, ..CaptionerConfig::scenes() }), "captioner.image_dropout"),
            (
                sized(CaptionerConfig { output_dropout: f64::NAN, ..CaptionerConfig::scenes() }),
                "captioner.output_dropout",
            ),
            (CaptionTraining { max_words: 0, ..good() }, "max_words"),
            (CaptionTraining { captions_per_picture: 0, ..good() }, "captions_per_picture"),
            (CaptionTraining { self_critical: true, ..good() }, "self_critical"),
            (CaptionTraining { self_critical: true, snippets: Some(0.1), ..good() }, "self_critical"),
            (CaptionTraining { scheduled_sampling: 1.5, ..good() }, "scheduled_sampling"),
            (CaptionTraining { snippets: Some(-0.1), ..good() }, "snippets"),
            (CaptionTraining { snippets: Some(f64::NAN), ..good() }, "snippets"),
            (CaptionTraining { run: RunSettings { workers: 0, ..good().run }, ..good() }, "run.workers"),
        ] {
            let error = training.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }

    #[test]
    fn a_stored_configuration_survives_a_new_field_and_old_names_are_read() {
        let old = r#"{"captioner": {"word_size": 8, "image_entry": "first_step"}, "max_words": 7}"#;
        let training: CaptionTraining = serde_json::from_str(old).unwrap();
        assert_eq!((training.captioner.word_size, training.max_words), (8, 7));
        assert_eq!(training.captioner.injection, ImageInjection::FirstStep);
        assert_eq!(training.captioner.pooling, Pooling::WholePicture);
    }
}
