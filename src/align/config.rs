//! The sizes of an aligner, and how it is trained: the paper's, the course's, and a small one for the lessons.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Split, VocabularyConfig};
use crate::error::{Within, check_below_one, check_range};
use crate::nn::Cell;
use crate::train::{Goal, GradientClipping, KeepBest, MANY_PICTURES, OptimiserConfig, RunSettings, Schedule};
use crate::vision::{EncoderConfig, RegionConfig};
use crate::{Error, Result};

/// How the states of both reading directions become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directions {
    /// One after the other, as in the course.
    Concatenated,
    /// Their sum, as in the paper (equation 5).
    Summed,
}

/// How similar a region and a word are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// The inner product of their embeddings, as in the paper.
    InnerProduct,
    /// The inner product of their embeddings, each divided by its length, as in the course: in `-1..=1`.
    Cosine,
}

/// How the similarities of a sentence's words with a picture's regions become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegionScore {
    /// Each word takes its best region: `Σ_t max_i v_iᵀ s_t` (Karpathy & Fei-Fei 2015, equation 8).
    Max,
    /// All regions that fit a word at all: `Σ_t Σ_i max(0, v_iᵀ s_t)` (Karpathy et al. 2014; equation 7 of the 2015 paper).
    SumOfPositive,
}

/// Which wrong pairs a right one is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Negatives {
    /// All of the batch (Karpathy & Fei-Fei 2015, equation 9).
    All,
    /// The one that scores highest (Faghri et al. 2018, *VSE++*).
    Hardest,
}

/// The sizes of an aligner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlignmentConfig {
    /// Embedding dimension of words before they are read in their sentence, in `1..=16384`. Default: 128.
    pub word_size: usize,
    /// Dimension of a ReLU layer between the word's embedding and the recurrent layer, in `1..=16384`; `None` for no such layer.
    /// Default: `None`.
    pub word_layer: Option<usize>,
    /// The recurrent cell that reads the sentence in both directions; `None` embeds each word by itself, as a bag of words. Default: an
    /// LSTM.
    pub cell: Option<Cell>,
    /// Dimension of the recurrent state of each direction, in `1..=16384`. Default: 192.
    pub hidden_size: usize,
    /// How the states of both directions are joined. Default: concatenated.
    pub directions: Directions,
    /// Dimension of the space that regions and words share, in `1..=16384`. Default: 256.
    pub embedding_size: usize,
    /// Whether negative values of a region's embedding become 0, as those of a word's do. Default: true.
    pub region_relu: bool,
    /// Scales the features of each region to the length √dimension first, so that encoders of any scale are alike. Default: true.
    pub normalise: bool,
    /// How similar a region and a word are. Default: cosine.
    pub similarity: Similarity,
    /// How similarities become the score of a picture and a sentence. Default: each word takes its best region.
    pub score: RegionScore,
    /// Divides the score by √words, so that a long sentence does not outweigh the margin. Default: true.
    pub scale_by_length: bool,
    /// Dropout probability of the numbers of word embeddings, in `0..1`. Default: 0.2.
    pub word_dropout: f64,
    /// Dropout probability of the numbers of a region's features, in `0..1`. Default: 0.2.
    pub region_dropout: f64,
    /// Dropout probability of the numbers of the recurrent layer's outputs, in `0..1`. Default: 0.
    pub output_dropout: f64,
}

impl Default for AlignmentConfig {
    fn default() -> Self {
        Self {
            word_size: 128,
            word_layer: None,
            cell: Some(Cell::Lstm),
            hidden_size: 192,
            directions: Directions::Concatenated,
            embedding_size: 256,
            region_relu: true,
            normalise: true,
            similarity: Similarity::Cosine,
            score: RegionScore::Max,
            scale_by_length: true,
            word_dropout: 0.2,
            region_dropout: 0.2,
            output_dropout: 0.0,
        }
    }
}

impl AlignmentConfig {
    /// The course's: a bidirectional LSTM of 512, embeddings of 512 numbers after a ReLU, divided by their length.
    pub fn course() -> Self {
        Self {
            word_size: 300,
            word_layer: Some(512),
            hidden_size: 512,
            embedding_size: 512,
            normalise: false,
            scale_by_length: false,
            word_dropout: 0.0,
            region_dropout: 0.0,
            ..Self::default()
        }
    }

    /// The paper's: a bidirectional ReLU RNN on fixed word vectors of 300 numbers (see [`AlignmentTraining::word_vectors`]), an affine
    /// map of the regions, inner products of 1,000 numbers.
    pub fn paper() -> Self {
        Self {
            cell: Some(Cell::ReluRnn),
            word_layer: Some(300),
            hidden_size: 300,
            directions: Directions::Summed,
            embedding_size: 1000,
            region_relu: false,
            similarity: Similarity::InnerProduct,
            word_dropout: 0.5,
            region_dropout: 0.5,
            output_dropout: 0.5,
            ..Self::course()
        }
    }

    /// A small one for Scenes, whose captions use some three hundred words.
    pub fn scenes() -> Self {
        Self::default()
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        check_range("word_size", self.word_size, 1..=16_384)?;
        check_range("word_layer", self.word_layer.unwrap_or(1), 1..=16_384)?;
        check_range("hidden_size", self.hidden_size, 1..=16_384)?;
        check_range("embedding_size", self.embedding_size, 1..=16_384)?;
        check_below_one("word_dropout", self.word_dropout)?;
        check_below_one("region_dropout", self.region_dropout)?;
        check_below_one("output_dropout", self.output_dropout)
    }
}

/// Where fixed word vectors come from. As text it is `clip`, or the path of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PathBuf", into = "PathBuf")]
pub enum WordVectors {
    /// A file in the format of word2vec (text or binary) or GloVe.
    File(PathBuf),
    /// The text tower of the encoder's CLIP, which reads each word by itself. Needs the feature `clip-text`.
    Clip,
}

/// How [`WordVectors::Clip`] is written.
const CLIP: &str = "clip";

impl From<PathBuf> for WordVectors {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == CLIP { Self::Clip } else { Self::File(path) }
    }
}

impl From<WordVectors> for PathBuf {
    fn from(vectors: WordVectors) -> Self {
        match vectors {
            WordVectors::File(path) => path,
            WordVectors::Clip => Self::from(CLIP),
        }
    }
}

/// How an aligner is trained: on features of an encoder, which are computed where they are not in the cache.
///
/// ```
/// use captionlab::align::{AlignmentTraining, Negatives};
/// use captionlab::train::Trainable;
/// let mut training = AlignmentTraining::scenes();
/// training.negatives = Negatives::Hardest;
/// training.run.epochs = 5;
/// training.validate()?;
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlignmentTraining {
    /// The aligner. Default: [`AlignmentConfig::scenes`].
    pub aligner: AlignmentConfig,
    /// What makes the features that the aligner reads. Default: `tiny`, the detector that ships with the project, with
    /// NMS at an IoU of 0.5.
    pub encoder: EncoderConfig,
    /// Which words of the training captions it learns. Default: those seen at least twice.
    pub vocabulary: VocabularyConfig,
    /// In training, captions are cut after this many words, in `1..=1000`. Default: 40.
    pub max_words: usize,
    /// How many of a picture's captions are learnt in a step, drawn anew in each epoch, in `1..=1000`. They are not negatives of each
    /// other. Default: 1.
    pub captions_per_picture: usize,
    /// How much higher a right pair must score than a wrong one, at least 0. Default: 0.3.
    pub margin: f64,
    /// Which wrong pairs a right one is compared with. Default: all of the batch.
    pub negatives: Negatives,
    /// Fixed word vectors of [`AlignmentConfig::word_size`] numbers. None of them is trained then; words without one keep random ones.
    /// `None` trains all. Default: `None`.
    pub word_vectors: Option<WordVectors>,
    /// Default: Adam with a cosine schedule, for Scenes.
    pub run: RunSettings,
    /// Where features are cached; `None` for `cached_features` of the project.
    pub cache: Option<PathBuf>,
}

impl Default for AlignmentTraining {
    fn default() -> Self {
        Self::scenes()
    }
}

impl AlignmentTraining {
    /// The course's: features of cut-out regions, Adam with 10⁻⁴, batches of 256, a margin of 0.5.
    pub fn course() -> Self {
        Self {
            aligner: AlignmentConfig::course(),
            encoder: EncoderConfig::new("course"),
            vocabulary: VocabularyConfig { min_count: 1, max_size: Some(5000) },
            max_words: 40,
            captions_per_picture: 1,
            margin: 0.5,
            negatives: Negatives::All,
            word_vectors: None,
            run: RunSettings { batch_size: 256, optimiser: OptimiserConfig::adam(1e-4), ..RunSettings::default() },
            cache: None,
        }
    }

    /// The paper's: SGD with momentum 0.9, batches of 100, gradients clipped element by element at 5, a margin of 1, words seen at
    /// least five times. The paper does not give its learning rate.
    pub fn paper() -> Self {
        Self {
            aligner: AlignmentConfig::paper(),
            vocabulary: VocabularyConfig { min_count: 5, max_size: None },
            margin: 1.0,
            run: RunSettings {
                batch_size: 100,
                optimiser: OptimiserConfig::sgd(1e-3),
                clip: GradientClipping::Value(5.0),
                ..RunSettings::default()
            },
            ..Self::course()
        }
    }

    /// For the lessons: small, Adam, and the epoch that finds pictures best is kept.
    pub fn scenes() -> Self {
        Self {
            aligner: AlignmentConfig::scenes(),
            // Things of a scene overlap: the course's NMS, class-blind with an IoU of 0.3, drops the best box of twice as many phrases.
            encoder: EncoderConfig {
                regions: RegionConfig { iou_threshold: 0.5, ..RegionConfig::default() },
                ..EncoderConfig::new("tiny")
            },
            vocabulary: VocabularyConfig { min_count: 2, max_size: None },
            margin: 0.3,
            run: RunSettings {
                epochs: 40,
                batch_size: 100,
                optimiser: OptimiserConfig::adam(2e-3),
                schedule: Schedule::Cosine { warmup_steps: 100 },
                keep_best: Some(KeepBest {
                    metric: "recall_at_1_text_to_image".to_string(),
                    goal: Goal::Maximise,
                    patience: None,
                }),
                ..RunSettings::default()
            },
            ..Self::course()
        }
    }

    /// For photographs, described by the best encoder that is here. From 10,000 training pictures on, the course's; for fewer, the sizes of
    /// the lessons with more dropout, since what has many weights memorises them, and about 1,200 steps.
    pub fn photographs(dataset: &Dataset) -> Self {
        let encoder = EncoderConfig::best_for(dataset).0;
        let pictures = dataset.split_size(Split::Train);
        if pictures >= MANY_PICTURES {
            return Self { encoder, ..Self::course() };
        }
        let optimiser = OptimiserConfig::adam(1e-3);
        Self {
            aligner: AlignmentConfig { word_dropout: 0.5, region_dropout: 0.5, ..AlignmentConfig::scenes() },
            encoder,
            vocabulary: VocabularyConfig::for_captions(dataset.captions(Split::Train).len()),
            // A picture needs another one to be told from.
            run: RunSettings { optimiser, ..RunSettings::of_steps(1200, pictures, 64, 2) },
            ..Self::scenes()
        }
    }

    /// Two small projections on top of a frozen CLIP, one for what it says of regions and one for what it says of words, each read by
    /// itself: for Scenes, with the small CLIP that ships with the project.
    pub fn clip() -> Self {
        let scenes = Self::scenes();
        Self {
            aligner: AlignmentConfig { cell: None, ..AlignmentConfig::scenes() },
            encoder: EncoderConfig { name: "tiny-clip".to_string(), ..scenes.encoder },
            word_vectors: Some(WordVectors::Clip),
            ..scenes
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.aligner.validate().within("aligner")?;
        self.encoder.validate().within("encoder")?;
        check_range("max_words", self.max_words, 1..=1000)?;
        check_range("captions_per_picture", self.captions_per_picture, 1..=1000)?;
        check_range("margin", self.margin, 0.0..=1e6)?;
        self.run.validate().within("run")?;
        let smallest = 2 * self.run.workers;
        if self.run.batch_size < smallest {
            let expected = format!("must be at least {smallest}: each worker compares at least two pictures");
            return Err(Error::config("run.batch_size", self.run.batch_size, expected));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Trainable;

    #[test]
    fn presets_are_valid_and_survive_being_saved() {
        for training in [
            AlignmentTraining::course(),
            AlignmentTraining::paper(),
            AlignmentTraining::scenes(),
            AlignmentTraining::clip(),
            AlignmentTraining {
                word_vectors: Some(WordVectors::File("vectors.txt".into())),
                ..AlignmentTraining::scenes()
            },
        ] {
            training.validate().unwrap();
            let text = serde_json::to_string(&training).unwrap();
            assert_eq!(serde_json::from_str::<AlignmentTraining>(&text).unwrap(), training);
        }
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let good = AlignmentTraining::scenes;
        let sized = |aligner: AlignmentConfig| AlignmentTraining { aligner, ..good() };
        let config = AlignmentConfig::scenes;
        for (training, field) in [
            (sized(AlignmentConfig { word_size: 0, ..config() }), "aligner.word_size"),
            (sized(AlignmentConfig { word_layer: Some(0), ..config() }), "aligner.word_layer"),
            (sized(AlignmentConfig { hidden_size: 0, ..config() }), "aligner.hidden_size"),
            (sized(AlignmentConfig { embedding_size: 20_000, ..config() }), "aligner.embedding_size"),
            (sized(AlignmentConfig { word_dropout: 1.0, ..config() }), "aligner.word_dropout"),
            (sized(AlignmentConfig { region_dropout: -0.1, ..config() }), "aligner.region_dropout"),
            (sized(AlignmentConfig { output_dropout: f64::NAN, ..config() }), "aligner.output_dropout"),
            (AlignmentTraining { margin: -0.1, ..good() }, "margin"),
            (AlignmentTraining { margin: f64::NAN, ..good() }, "margin"),
            (AlignmentTraining { max_words: 0, ..good() }, "max_words"),
            (AlignmentTraining { captions_per_picture: 0, ..good() }, "captions_per_picture"),
            (AlignmentTraining { run: RunSettings { batch_size: 1, ..good().run }, ..good() }, "run.batch_size"),
        ] {
            let error = training.validate().expect_err(field).to_string();
            assert!(error.starts_with(&format!("{field} = ")), "{field}: {error}");
        }
    }
}
