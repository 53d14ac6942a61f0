//! Aligning sentences with pictures, whatever embeds them.

use image::RgbImage;
use tch::{Device, Kind, Tensor};

use super::alignment::snippets;
use super::{Alignment, PackedSentences, Snippet, smooth};
use crate::data::{BoundingBox, Example, Vocabulary};
use crate::vision::{FeatureBatch, FeatureCache, NamedEncoder, PictureFeatures};
use crate::{Error, Result};

/// Pictures or sentences that are embedded at a time.
pub(super) const BATCH: usize = 256;

/// Embeds regions and words in one space. Everything else is [`Align`]'s.
pub trait Embed {
    /// The encoder whose features it reads.
    fn named_encoder(&self) -> &NamedEncoder;

    /// Where embeddings are computed.
    fn device(&self) -> Device;

    /// Whether a word means something to it.
    fn knows(&self, word: &str) -> bool;

    /// An id for each word of a sentence, as [`Vocabulary::words`] splits it.
    fn ids(&self, sentence: &str) -> Vec<i64>;

    /// Embeds regions.
    ///
    /// # Shapes
    /// - `features`: `[pictures, regions, feature_size]`
    /// - result: `[pictures, regions, embedding_size]`
    ///
    /// # Errors
    /// [`Error::Argument`] when the features have another dimension.
    fn embed_regions(&self, features: &FeatureBatch) -> Result<Tensor>;

    /// Embeds words.
    ///
    /// # Shapes
    /// - result: `[words, embedding_size]`, packed as the sentences are
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device fails.
    fn embed_words(&self, sentences: &PackedSentences) -> Result<Tensor>;

    /// The score of each sentence with each picture, from their embeddings; shapes as of
    /// [`AlignmentNetwork::scores`](super::AlignmentNetwork::scores).
    fn embedded_scores(&self, regions: &Tensor, mask: &Tensor, words: &Tensor, sentences: &PackedSentences) -> Tensor;
}

/// Aligns the words of sentences with the regions of pictures, and tells how well a sentence and a picture go together.
///
/// An [`Aligner`](super::Aligner) has learnt it from pictures and sentences; with the feature `clip-text` a `ZeroShotAligner` takes CLIP
/// as it is.
pub trait Align: Embed + Sized {
    /// Aligns each word of a sentence with a region of a picture.
    ///
    /// # Errors
    /// [`Error::Argument`] for a sentence without words or without any word that the aligner knows, and for a picture without pixels;
    /// [`Error::Weights`] when the encoder that is here is not the one that the aligner was trained with.
    fn align(&self, picture: &RgbImage, sentence: &str) -> Result<Alignment> {
        let found = self.named_encoder().encode(std::slice::from_ref(picture))?;
        match found.first() {
            Some(features) => self.align_features(features, sentence),
            None => Err(Error::internal("the encoder returned nothing for a picture")),
        }
    }

    /// Aligns each word of a sentence with a region of the picture of that name in a cache.
    ///
    /// # Errors
    /// As [`Align::align`]; [`Error::Data`] when the cache is another encoder's, or lacks the features of the picture.
    fn align_cached(&self, cache: &FeatureCache, name: &str, sentence: &str) -> Result<Alignment> {
        self.align_features(&self.cached_features(cache, name)?, sentence)
    }

    /// The features of the picture of that name in a cache.
    ///
    /// # Errors
    /// [`Error::Data`] when the cache is another encoder's, or lacks the features of the picture.
    fn cached_features(&self, cache: &FeatureCache, name: &str) -> Result<PictureFeatures> {
        self.named_encoder().check_cache(cache)?;
        cache.get(name)
    }

    /// Aligns each word of a sentence with a region of a picture, by the regions' features.
    ///
    /// # Errors
    /// As [`Align::align`]; [`Error::Argument`] for features of another dimension, and for features that are not finite.
    fn align_features(&self, features: &PictureFeatures, sentence: &str) -> Result<Alignment> {
        let words = Vocabulary::words(sentence);
        let known: Vec<bool> = words.iter().map(|word| self.knows(word)).collect();
        if !known.contains(&true) {
            let problem = match words.is_empty() {
                true => format!("the sentence {sentence:?} has no words"),
                false => format!("the aligner knows no word of the sentence {sentence:?}"),
            };
            return Err(Error::argument(problem, "Write a sentence with words that its training captions use."));
        }
        tch::no_grad(|| {
            let batch = FeatureBatch::of(std::slice::from_ref(features))?.to_device(self.device())?;
            let sentences = PackedSentences::new(&[self.ids(sentence)]);
            let (regions, embedded) = (self.embed_regions(&batch)?, self.embed_words(&sentences)?);
            // One sentence is packed in its own order.
            let similarities = embedded.f_matmul(&regions.f_squeeze_dim(0)?.f_tr()?)?;
            let similarities = rows(&similarities)?;
            check_finite(&similarities, "the picture")?;
            let score =
                self.embedded_scores(&regions, &batch.mask, &embedded, &sentences).f_double_value(&[0, 0])? as f32;
            let regions = smooth(&similarities, 0.0)?;
            Ok(Alignment { words, known, boxes: features.boxes.clone(), similarities, regions, score })
        })
    }

    /// The score of each sentence with each of the pictures of those names in a cache: a row for each sentence. The higher, the better
    /// they go together.
    ///
    /// # Errors
    /// [`Error::Argument`] for a sentence without words; [`Error::Data`] when the cache is another encoder's, or lacks the features of
    /// a picture.
    fn scores<N: AsRef<str>, S: AsRef<str>>(
        &self,
        cache: &FeatureCache,
        names: &[N],
        sentences: &[S],
    ) -> Result<Vec<Vec<f32>>> {
        self.named_encoder().check_cache(cache)?;
        let sentences = ids_of(self, sentences)?;
        let pictures = EmbeddedPictures::of(self, names.len(), |part| {
            let names: Vec<&str> = part.iter().map(|&index| names[index].as_ref()).collect();
            cache.batch(&names)
        })?;
        rows(&scores_of(self, &pictures, &sentences)?)
    }

    /// The snippets of the captions of examples, each with the box of its region: what the regions of a picture are called
    /// (Karpathy & Fei-Fei 2015, section 3.1.4). `smoothing` as of [`smooth`].
    ///
    /// # Errors
    /// [`Error::Data`] when the cache is another encoder's, or lacks the features of a picture; [`Error::Config`] when `smoothing` is
    /// negative or not finite; [`Error::Argument`] for features that are not finite.
    fn snippets(
        &self,
        cache: &FeatureCache,
        examples: &[Example],
        smoothing: f64,
    ) -> Result<Vec<Vec<(BoundingBox, Snippet)>>> {
        self.named_encoder().check_cache(cache)?;
        let mut found = Vec::with_capacity(examples.len());
        for part in examples.chunks(BATCH) {
            let pictures = EmbeddedPictures::of(self, part.len(), |indices| {
                let names: Vec<&str> = indices.iter().map(|&index| part[index].name.as_str()).collect();
                cache.batch(&names)
            })?;
            for (picture, example) in part.iter().enumerate() {
                let captions = example.captions.iter().map(|caption| (Vocabulary::words(caption), self.ids(caption)));
                let (words, ids): (Vec<_>, Vec<_>) = captions.filter(|(words, _)| !words.is_empty()).unzip();
                let mut of_picture = Vec::new();
                for (words, embedded) in words.iter().zip(embedded_words(self, &ids)?) {
                    let similarities = pictures.similarities(picture, &embedded)?;
                    check_finite(&similarities, &example.name)?;
                    let snippets = snippets(words, &smooth(&similarities, smoothing)?);
                    let boxes = &pictures.boxes[picture];
                    of_picture.extend(snippets.into_iter().map(|snippet| (boxes[snippet.region], snippet)));
                }
                found.push(of_picture);
            }
        }
        Ok(found)
    }
}

impl<T: Embed> Align for T {}

/// The ids of sentences.
///
/// # Errors
/// [`Error::Argument`] for a sentence without words.
fn ids_of<S: AsRef<str>>(aligner: &impl Embed, sentences: &[S]) -> Result<Vec<Vec<i64>>> {
    let ids = |sentence: &S| match aligner.ids(sentence.as_ref()) {
        ids if ids.is_empty() => Err(Error::argument(
            format!("the sentence {:?} has no words", sentence.as_ref()),
            "Leave empty sentences out.",
        )),
        ids => Ok(ids),
    };
    sentences.iter().map(ids).collect()
}

/// The score of each sentence with each picture, `[sentences, pictures]`.
pub(super) fn scores_of(aligner: &impl Embed, pictures: &EmbeddedPictures, sentences: &[Vec<i64>]) -> Result<Tensor> {
    tch::no_grad(|| {
        let mut scores = Vec::new();
        for part in sentences.chunks(BATCH) {
            let packed = PackedSentences::new(part);
            let words = aligner.embed_words(&packed)?;
            scores.push(aligner.embedded_scores(&pictures.regions, &pictures.mask, &words, &packed));
        }
        match scores.is_empty() {
            true => Ok(Tensor::zeros([0, pictures.len() as i64], (Kind::Float, Device::Cpu))),
            false => Ok(Tensor::f_cat(&scores, 0)?),
        }
    })
}

/// Embeds sentences: a tensor `[words, embedding_size]` for each.
pub(super) fn embedded_words(aligner: &impl Embed, sentences: &[Vec<i64>]) -> Result<Vec<Tensor>> {
    tch::no_grad(|| {
        let mut embedded = Vec::with_capacity(sentences.len());
        for part in sentences.chunks(BATCH) {
            let packed = PackedSentences::new(part);
            let words = aligner.embed_words(&packed)?;
            let words = words.f_index_select(0, &packed.unpacking().to_device(words.device()))?;
            let lengths: Vec<i64> = part.iter().map(|sentence| sentence.len() as i64).collect();
            embedded.extend(words.f_split_with_sizes(&lengths[..], 0)?);
        }
        Ok(embedded)
    })
}

/// Pictures whose regions are embedded.
pub(super) struct EmbeddedPictures {
    /// `[pictures, most regions, embedding_size]`
    pub(super) regions: Tensor,
    /// `[pictures, most regions]`
    pub(super) mask: Tensor,
    /// The regions of each picture.
    pub(super) boxes: Vec<Vec<BoundingBox>>,
}

impl EmbeddedPictures {
    /// Embeds pictures; `batch` gives the features of those of some indices.
    pub(super) fn of(
        aligner: &impl Embed,
        pictures: usize,
        mut batch: impl FnMut(&[usize]) -> Result<FeatureBatch>,
    ) -> Result<Self> {
        tch::no_grad(|| {
            let mut parts = Vec::new();
            let mut boxes = Vec::with_capacity(pictures);
            let indices: Vec<usize> = (0..pictures).collect();
            for part in indices.chunks(BATCH) {
                let features = batch(part)?;
                boxes.extend(boxes_of(&features)?);
                let features = features.to_device(aligner.device())?;
                parts.push((aligner.embed_regions(&features)?, features.mask));
            }
            // To the most regions of all.
            let most = parts.iter().map(|(_, mask)| mask.size()[1]).max().unwrap_or(0);
            let padded = |tensor: &Tensor, sides: &[i64]| tensor.f_constant_pad_nd(sides);
            let mut regions = Vec::with_capacity(parts.len());
            let mut masks = Vec::with_capacity(parts.len());
            for (embedded, mask) in &parts {
                let missing = most - mask.size()[1];
                regions.push(padded(embedded, &[0, 0, 0, missing])?);
                masks.push(padded(mask, &[0, missing])?);
            }
            if parts.is_empty() {
                return Err(Error::argument("there are no pictures to align", "Give at least one."));
            }
            Ok(Self { regions: Tensor::f_cat(&regions, 0)?, mask: Tensor::f_cat(&masks, 0)?, boxes })
        })
    }

    pub(super) fn len(&self) -> usize {
        self.boxes.len()
    }

    /// The similarities of words with the regions of a picture: a row for each word.
    pub(super) fn similarities(&self, picture: usize, words: &Tensor) -> Result<Vec<Vec<f32>>> {
        let count = self.boxes[picture].len() as i64;
        let regions = self.regions.f_get(picture as i64)?.f_narrow(0, 0, count)?;
        rows(&words.f_matmul(&regions.f_tr()?)?)
    }
}

/// The boxes of a batch, without padding.
fn boxes_of(batch: &FeatureBatch) -> Result<Vec<Vec<BoundingBox>>> {
    let counts: Vec<f32> =
        Vec::try_from(batch.mask.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?.f_to_device(Device::Cpu)?)?;
    let corners = rows(&batch.boxes.f_flatten(1, 2)?)?;
    let of_corners = |corners: &[f32; 4]| {
        let [left, top, right, bottom] = *corners;
        BoundingBox { left, top, right, bottom }
    };
    let boxes = corners
        .iter()
        .zip(counts)
        .map(|(corners, count)| corners.as_chunks::<4>().0.iter().take(count as usize).map(of_corners).collect());
    Ok(boxes.collect())
}

/// The rows of a matrix.
pub(super) fn rows(matrix: &Tensor) -> Result<Vec<Vec<f32>>> {
    let width = matrix.size().last().copied().unwrap_or(0).max(1) as usize;
    let flat: Vec<f32> =
        Vec::try_from(matrix.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?)?;
    Ok(flat.chunks(width).map(<[f32]>::to_vec).collect())
}

/// # Errors
/// [`Error::Argument`] when a similarity is not finite.
pub(super) fn check_finite(similarities: &[Vec<f32>], picture: &str) -> Result<()> {
    match similarities.iter().flatten().all(|similarity| similarity.is_finite()) {
        true => Ok(()),
        false => Err(Error::argument(
            format!("the features of {picture}, or the aligner's weights, are not finite"),
            "Compute the features again, and look at the curves of the aligner's run.",
        )),
    }
}
