//! Alignment by a CLIP as it is.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

use super::PackedSentences;
use super::embedding::{BATCH, Embed, rows};
use super::network::unit;
use super::scores::Embedded;
use super::{AlignmentEvaluation, RegionScore, evaluate};
use crate::data::{Dataset, Split, Vocabulary};
use crate::vision::clip::TrainedClip;
use crate::vision::{EncoderConfig, FeatureBatch, NamedEncoder, PictureFeatures};
use crate::{Error, Result};

/// What of a sentence CLIP reads at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextUnit {
    /// Each word by itself.
    Word,
    /// Chunks: see [`chunks`].
    Chunk,
    /// The whole sentence: all its words are similar to the same regions.
    Sentence,
}

impl TextUnit {
    /// All of them, by name.
    pub const NAMES: [(&str, Self); 3] = [("word", Self::Word), ("chunk", Self::Chunk), ("sentence", Self::Sentence)];
}

impl FromStr for TextUnit {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::NAMES.iter().find(|(own, _)| *own == name).map(|(_, unit)| *unit).ok_or_else(|| {
            Error::argument(format!("{name:?} is no part of a sentence"), "Write word, chunk or sentence.")
        })
    }
}

/// Words at which a chunk begins: they say how things belong together, and no picture shows them.
const FUNCTION_WORDS: &[&str] = &[
    "a",
    "above",
    "across",
    "against",
    "along",
    "among",
    "an",
    "and",
    "are",
    "around",
    "as",
    "at",
    "behind",
    "below",
    "beneath",
    "beside",
    "between",
    "beyond",
    "but",
    "by",
    "down",
    "during",
    "for",
    "from",
    "has",
    "have",
    "her",
    "his",
    "in",
    "inside",
    "into",
    "is",
    "its",
    "near",
    "next",
    "of",
    "off",
    "on",
    "onto",
    "or",
    "out",
    "outside",
    "over",
    "past",
    "some",
    "that",
    "the",
    "their",
    "there",
    "through",
    "to",
    "toward",
    "towards",
    "under",
    "underneath",
    "up",
    "upon",
    "was",
    "were",
    "where",
    "which",
    "while",
    "who",
    "with",
];

/// Cuts the words of an English sentence into chunks: a new one begins at each function word ("a", "in", "while") that follows a word
/// with content. It takes no grammar, and so verbs stay with what is before them.
///
/// ```
/// use captionlab::align::chunks;
/// let words: Vec<&str> = "in the room a man in a red shirt throws a ball".split(' ').collect();
/// let chunks: Vec<String> = chunks(&words).into_iter().map(|chunk| words[chunk].join(" ")).collect();
/// assert_eq!(chunks, ["in the room", "a man", "in a red shirt throws", "a ball"]);
/// ```
pub fn chunks<S: AsRef<str>>(words: &[S]) -> Vec<Range<usize>> {
    let is_function_word = |index: usize| FUNCTION_WORDS.contains(&words[index].as_ref());
    let mut chunks = Vec::new();
    let mut first = 0;
    for next in 1..=words.len() {
        if next == words.len() || (is_function_word(next) && !is_function_word(next - 1)) {
            chunks.push(first..next);
            first = next;
        }
    }
    chunks
}

/// A CLIP that aligns without having been trained to: a region's feature is CLIP's of what was cut out of the picture, and a word's
/// embedding is CLIP's of the text that it stands in.
///
/// Similarities are cosines. The score of a picture and a sentence is their mean over the words, each with its best region.
///
/// ```no_run
/// use captionlab::align::{Align, TextUnit, ZeroShotAligner};
/// use captionlab::data::images::decode;
/// use captionlab::vision::EncoderConfig;
/// let aligner = ZeroShotAligner::load(&EncoderConfig::new("clip"), TextUnit::Chunk)?;
/// let alignment = aligner.align(&decode("dog.jpg")?, "a dog plays with a red ball")?;
/// println!("{alignment}");
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug)]
pub struct ZeroShotAligner {
    encoder: NamedEncoder,
    clip: TrainedClip,
    unit: TextUnit,
    texts: Mutex<Texts>,
}

/// The texts that were asked for. Their places are the ids of their words.
#[derive(Debug, Default)]
struct Texts {
    places: HashMap<String, i64>,
    texts: Vec<String>,
    /// Of the first of them, `[texts, embedding_size]`.
    embedded: Option<Tensor>,
}

impl ZeroShotAligner {
    /// The CLIP of an encoder, with the text tower that belongs to it.
    ///
    /// # Errors
    /// As [`Encoder::load`](crate::vision::Encoder::load); [`Error::Argument`] when the encoder does not describe regions by CLIP alone,
    /// and when its vocabulary is missing.
    pub fn load(encoder: &EncoderConfig, unit: TextUnit) -> Result<Self> {
        let encoder = NamedEncoder::load(encoder)?;
        Ok(Self { clip: encoder.clip()?, encoder, unit, texts: Mutex::default() })
    }

    /// The encoder whose features it reads.
    pub fn encoder(&self) -> &EncoderConfig {
        self.encoder.config()
    }

    /// How likely each region is the one that a text speaks of, if one of them is: the softmax over the regions of the logits, cosines
    /// times CLIP's learnt factor, as [`Clip::logits`](crate::vision::Clip::logits) with regions for pictures.
    ///
    /// # Shapes
    /// - result: a row for each text, which sums to 1, and a column for each region
    ///
    /// # Errors
    /// [`Error::Argument`] when there are no texts, and for features of another dimension.
    pub fn ground<S: AsRef<str>>(&self, features: &PictureFeatures, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        let batch = FeatureBatch::of(std::slice::from_ref(features))?.to_device(self.device())?;
        let regions = self.embed_regions(&batch)?.f_squeeze_dim(0)?;
        let logits = self.clip.embed(texts)?.f_matmul(&regions.f_tr()?)? * self.clip.clip.logit_scale()?;
        rows(&logits.f_softmax(1, Kind::Float)?)
    }

    /// Measures it on a split of a data set, as [`evaluate`].
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn evaluate(&self, dataset: &Dataset, split: Split) -> Result<AlignmentEvaluation> {
        evaluate(self, dataset, split)
    }
}

impl Embed for ZeroShotAligner {
    fn named_encoder(&self) -> &NamedEncoder {
        &self.encoder
    }

    fn device(&self) -> Device {
        self.clip.clip.device()
    }

    fn knows(&self, _: &str) -> bool {
        // Its vocabulary has all letters.
        true
    }

    fn ids(&self, sentence: &str) -> Vec<i64> {
        let words = Vocabulary::words(sentence);
        let units = match self.unit {
            TextUnit::Word => (0..words.len()).map(|word| word..word + 1).collect(),
            TextUnit::Chunk => chunks(&words),
            TextUnit::Sentence => std::iter::once(0..words.len()).collect(),
        };
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        units.into_iter().flat_map(|unit| vec![texts.place(&words[unit.clone()].join(" ")); unit.len()]).collect()
    }

    fn embed_regions(&self, features: &FeatureBatch) -> Result<Tensor> {
        let size = features.features.size();
        let width = self.encoder.width() as i64;
        match size.len() == 3 && size[2] == width {
            true => Ok(unit(&features.features)),
            false => Err(Error::argument(
                format!("the features are {size:?}, and the aligner reads [pictures, regions, {width}]"),
                "Use the features of its encoder.",
            )),
        }
    }

    fn embed_words(&self, sentences: &PackedSentences) -> Result<Tensor> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let embedded = texts.embedded(&self.clip)?;
        Ok(embedded.f_index_select(0, &sentences.ids().to_device(embedded.device()))?)
    }

    fn embedded_scores(&self, regions: &Tensor, mask: &Tensor, words: &Tensor, sentences: &PackedSentences) -> Tensor {
        let [regions, mask, words] = [regions, mask, words].map(Tensor::shallow_clone);
        let scales = sentences.lengths().reciprocal();
        Embedded::new(regions, mask, words, sentences, &scales).scores(RegionScore::Max)
    }
}

impl Texts {
    fn place(&mut self, text: &str) -> i64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.texts.len() as i64;
        self.texts.push(text.to_string());
        self.places.insert(text.to_string(), place);
        place
    }

    /// The embeddings of all, `[texts, embedding_size]`: those that are new are computed.
    fn embedded(&mut self, clip: &TrainedClip) -> Result<&Tensor> {
        let done = self.embedded.as_ref().map_or(0, |embedded| embedded.size()[0] as usize);
        let mut parts: Vec<Tensor> = self.embedded.take().into_iter().collect();
        for part in self.texts[done..].chunks(BATCH) {
            parts.push(clip.embed(part)?);
        }
        Ok(self.embedded.insert(Tensor::f_cat(&parts, 0)?))
    }
}

/// Displays its encoder and what it reads.
impl fmt::Display for ZeroShotAligner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = TextUnit::NAMES.iter().find(|(_, unit)| *unit == self.unit).map_or("", |(name, _)| name);
        write!(formatter, "CLIP of the encoder `{}` as it is, which reads a {unit} at a time", self.encoder().name)
    }
}

crate::in_cells::shown_in_cells!(ZeroShotAligner);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::Align;
    use crate::data::scenes::{Scene, ScenesConfig};

    fn cut(sentence: &str) -> Vec<String> {
        let words = Vocabulary::words(sentence);
        chunks(&words).into_iter().map(|chunk| words[chunk].join(" ")).collect()
    }

    #[test]
    fn chunks_begin_at_function_words_and_hold_every_word_once() {
        for (sentence, expected) in [
            ("A dog.", &["a dog"][..]),
            ("dogs", &["dogs"]),
            ("", &[]),
            ("in the", &["in the"]),
            ("Two men in red sweaters are strolling", &["two men", "in red sweaters", "are strolling"]),
            ("a bird above a tree and a boat", &["a bird", "above a tree", "and a boat"]),
        ] {
            assert_eq!(cut(sentence), expected, "{sentence}");
        }
        for scene in (0..200).map(|index| Scene::generate(1, index)) {
            for caption in scene.captions() {
                assert_eq!(cut(caption).join(" "), Vocabulary::words(caption).join(" "));
            }
        }
    }

    #[test]
    fn words_of_one_text_share_its_similarities_which_are_the_cosines_of_clip() {
        let picture = Scene::generate(1, 900_003).draw();
        let sentence = "a red kite above the sea";
        for (unit, texts) in [
            (TextUnit::Word, vec!["a", "red", "kite", "above", "the", "sea"]),
            (
                TextUnit::Chunk,
                vec!["a red kite", "a red kite", "a red kite", "above the sea", "above the sea", "above the sea"],
            ),
            (TextUnit::Sentence, vec![sentence; 6]),
        ] {
            let aligner = ZeroShotAligner::load(&EncoderConfig::new("tiny-clip"), unit).unwrap();
            let alignment = aligner.align(&picture, sentence).unwrap();
            let features = &aligner.encoder.encode(std::slice::from_ref(&picture)).unwrap()[0];
            let mut best = 0.0;
            for (row, text) in alignment.similarities.iter().zip(texts) {
                let text =
                    aligner.clip.clip.encode_text(&aligner.clip.tokenizer.encode_batch(&[text]).unwrap()).unwrap();
                let cosines = Tensor::cosine_similarity(&features.features, &text, 1, 1e-8);
                for (own, cosine) in row.iter().zip(Vec::<f32>::try_from(cosines).unwrap()) {
                    assert!((own - cosine).abs() < 1e-5, "{own} {cosine}");
                }
                best += row.iter().copied().fold(f32::MIN, f32::max);
            }
            assert!((alignment.score - best / 6.0).abs() < 1e-5, "{unit:?}");
        }
    }

    #[test]
    fn texts_are_grounded_by_the_logits_of_clip_itself() {
        let aligner = ZeroShotAligner::load(&EncoderConfig::new("tiny-clip"), TextUnit::Word).unwrap();
        let picture = Scene::generate(1, 900_003).draw();
        let features = &aligner.encoder.encode(std::slice::from_ref(&picture)).unwrap()[0];
        let texts = ["a dog", "a red kite", "a house"];
        let found = aligner.ground(features, &texts).unwrap();
        let clip = &aligner.clip.clip;
        let regions = clip.prepare_regions(&picture, &features.boxes).unwrap();
        let logits = clip.logits(&regions, &aligner.clip.tokenizer.encode_batch(&texts).unwrap()).unwrap();
        let expected = logits.tr().softmax(1, Kind::Float);
        for (row, expected) in found.iter().zip(rows(&expected).unwrap()) {
            // Cached features are rounded to half precision.
            assert!(
                row.iter().zip(&expected).all(|(own, expected)| (own - expected).abs() < 5e-3),
                "{row:?} {expected:?}"
            );
        }
        assert!(found.iter().all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        let error = aligner.ground(features, &[] as &[&str]).unwrap_err().to_string();
        assert!(error.contains("no texts"), "{error}");
    }

    #[test]
    fn it_is_measured_and_finds_more_than_chance() {
        let dataset = Dataset::scenes(&ScenesConfig { train: 1, validation: 0, test: 24, seed: 1 }).unwrap();
        let aligner = ZeroShotAligner::load(&EncoderConfig::new("tiny-clip"), TextUnit::Chunk).unwrap();
        let found = aligner.evaluate(&dataset, Split::Test).unwrap();
        let grounding = found.grounding.unwrap();
        assert!(grounding.grounding > grounding.grounding_chance + 0.1, "{found}");
        assert!(found.recall_at_1_text_to_image > 0.2, "{found}");
        // What was computed before changes nothing.
        assert_eq!(aligner.evaluate(&dataset, Split::Test).unwrap(), found);
    }

    #[test]
    fn a_clip_of_your_own_brings_its_vocabulary() {
        let (folder, shipped) = (tempfile::tempdir().unwrap(), crate::nn::shipped("clip-tiny").unwrap());
        let model = folder.path().join("model.safetensors");
        std::fs::copy(&shipped, &model).unwrap();
        let encoder = EncoderConfig { clip: Some(model), ..EncoderConfig::new("tiny-clip") };
        let error = ZeroShotAligner::load(&encoder, TextUnit::Word).unwrap_err().to_string();
        assert!(error.contains("no vocabulary") && error.contains("tokenizer.json"), "{error}");
        std::fs::copy(shipped.with_file_name("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
        let picture = Scene::generate(1, 7).draw();
        let align = |encoder| {
            ZeroShotAligner::load(encoder, TextUnit::Chunk).unwrap().align(&picture, "a dog and a red ball").unwrap()
        };
        assert_eq!(align(&encoder), align(&EncoderConfig::new("tiny-clip")));
    }

    #[test]
    fn an_encoder_without_clip_is_refused_and_so_is_nothing_to_read() {
        for name in ["tiny", "tiny-both"] {
            let error = ZeroShotAligner::load(&EncoderConfig::new(name), TextUnit::Word).unwrap_err().to_string();
            assert!(error.contains("tiny-clip"), "{error}");
        }
        let aligner = ZeroShotAligner::load(&EncoderConfig::new("tiny-clip"), TextUnit::Chunk).unwrap();
        let error = aligner.align(&Scene::generate(1, 1).draw(), " … ").unwrap_err().to_string();
        assert!(error.contains("no words"), "{error}");
        assert!("words".parse::<TextUnit>().unwrap_err().to_string().contains("word, chunk or sentence"));
    }
}
