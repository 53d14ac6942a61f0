//! The network of an aligner: regions and words as vectors of one space.

use tch::Tensor;

use super::scores::Embedded;
use super::{AlignmentConfig, Directions, Negatives, Similarity};
use crate::data::Random;
use crate::nn::{Bidirectional, Linear, Packing, Weights, dropout, network};
use crate::vision::FeatureBatch;
use crate::{Error, Result};

/// Puts regions and the words of sentences into one space, where a word is near the region that it speaks of.
///
/// Its weights are named as PyTorch modules name theirs: `region_projection.weight`, `word_embedding.weight`, `lstm.weight_ih_l0`,
/// `lstm.weight_ih_l0_reverse`, `word_projection.weight`.
#[derive(Debug)]
pub struct AlignmentNetwork {
    config: AlignmentConfig,
    regions: RegionEmbedding,
    word_embedding: Tensor,
    word_layer: Option<Linear>,
    recurrent: Option<Bidirectional>,
    word_projection: Linear,
}

network!(AlignmentNetwork { regions, word_embedding, word_layer, recurrent, word_projection; config });

/// Puts regions into the space that they share with words: `v_i = W_m f_i + b_m` (equation 1), then what the configuration asks for.
#[derive(Debug)]
pub(crate) struct RegionEmbedding {
    config: AlignmentConfig,
    projection: Linear,
}

network!(RegionEmbedding { projection; config });

impl RegionEmbedding {
    /// The name of its weights begins so.
    pub(crate) const PREFIX: &'static str = "region_projection.";

    pub(crate) fn new(config: &AlignmentConfig, feature_size: usize, weights: &mut Weights) -> Self {
        let name = Self::PREFIX.trim_end_matches('.');
        let projection = Linear::new(name, feature_size, config.embedding_size, weights);
        Self { config: config.clone(), projection }
    }

    /// # Shapes
    /// - `features`: `[pictures, regions, feature_size]`
    /// - result: `[pictures, regions, embedding_size]`
    ///
    /// # Errors
    /// [`Error::Argument`] when the features have another dimension.
    pub(crate) fn forward(&self, features: &Tensor, random: Option<&mut Random>) -> Result<Tensor> {
        let (size, feature_size) = (features.size(), self.projection.weight.size()[1]);
        if size.len() != 3 || size[2] != feature_size {
            return Err(Error::argument(
                format!("the features are {size:?}, and the aligner reads [pictures, regions, {feature_size}]"),
                "Use the features of the encoder that it was trained with.",
            ));
        }
        let features = match self.config.normalise {
            true => unit(features) * (size[2] as f64).sqrt(),
            false => features.shallow_clone(),
        };
        let embedded = self.projection.forward(&dropout(features, self.config.region_dropout, random));
        let embedded = if self.config.region_relu { embedded.relu() } else { embedded };
        Ok(of_length_one(&self.config, embedded))
    }
}

/// The words of several sentences, packed.
#[derive(Debug)]
pub struct PackedSentences {
    /// Ids, `[words]`.
    ids: Tensor,
    packing: Packing,
    sentences: usize,
}

impl PackedSentences {
    /// Packs sentences of ids, of which none may be empty.
    pub fn new<S: AsRef<[i64]>>(sentences: &[S]) -> Self {
        let lengths: Vec<usize> = sentences.iter().map(|sentence| sentence.as_ref().len()).collect();
        let packing = Packing::new(&lengths);
        let ids: Vec<i64> = packing.tokens.iter().map(|&(sentence, word)| sentences[sentence].as_ref()[word]).collect();
        Self { ids: Tensor::from_slice(&ids), packing, sentences: sentences.len() }
    }

    /// The number of sentences.
    pub fn sentences(&self) -> usize {
        self.sentences
    }

    /// The sentence of each packed word, `[words]`.
    pub(crate) fn sentence_of_words(&self) -> Tensor {
        let sentences: Vec<i64> = self.packing.tokens.iter().map(|&(sentence, _)| sentence as i64).collect();
        Tensor::from_slice(&sentences)
    }

    /// The number of words of each sentence, `[sentences]` of `f32`.
    pub(crate) fn lengths(&self) -> Tensor {
        let mut words = vec![0f32; self.sentences];
        self.packing.tokens.iter().for_each(|&(sentence, _)| words[sentence] += 1.0);
        Tensor::from_slice(&words)
    }

    /// The ids of all words, `[words]`.
    #[cfg(feature = "clip-text")]
    pub(crate) fn ids(&self) -> &Tensor {
        &self.ids
    }

    /// Where each word stands in the packed order: sentence after sentence, word after word, `[words]`.
    pub(crate) fn unpacking(&self) -> Tensor {
        let mut places: Vec<usize> = (0..self.packing.tokens.len()).collect();
        places.sort_by_key(|&place| self.packing.tokens[place]);
        Tensor::from_slice(&places.into_iter().map(|place| place as i64).collect::<Vec<_>>())
    }
}

impl AlignmentNetwork {
    /// A network for features of that dimension and a vocabulary of that size.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is out of its range.
    pub fn new(
        config: &AlignmentConfig,
        feature_size: usize,
        vocabulary_size: usize,
        weights: &mut Weights,
    ) -> Result<Self> {
        config.validate()?;
        let AlignmentConfig { word_size, hidden_size, embedding_size, .. } = *config;
        let read = config.word_layer.unwrap_or(word_size);
        let states = match (config.cell, config.directions) {
            (None, _) => read,
            (Some(_), Directions::Concatenated) => 2 * hidden_size,
            (Some(_), Directions::Summed) => hidden_size,
        };
        Ok(Self {
            config: config.clone(),
            regions: RegionEmbedding::new(config, feature_size, weights),
            word_embedding: weights.uniform("word_embedding.weight", &[vocabulary_size as i64, word_size as i64], 1.0),
            word_layer: config.word_layer.map(|size| Linear::new("word_layer", word_size, size, weights)),
            recurrent: config.cell.map(|cell| Bidirectional::new(cell, read, hidden_size, "lstm", weights)),
            word_projection: Linear::new("word_projection", states, embedding_size, weights),
        })
    }

    /// The sizes it was made with.
    pub fn config(&self) -> &AlignmentConfig {
        &self.config
    }

    /// Embeds regions (equation 1).
    ///
    /// # Shapes
    /// - `features`: `[pictures, regions, feature_size]`
    /// - result: `[pictures, regions, embedding_size]`
    ///
    /// # Errors
    /// [`Error::Argument`] when the features have another dimension.
    pub fn regions(&self, batch: &FeatureBatch, random: Option<&mut Random>) -> Result<Tensor> {
        self.regions.forward(&batch.features, random)
    }

    /// Embeds words, each in its sentence unless the configuration asks for a bag of words: `s_t = f(W_d (h_t forward, h_t backward) + b_d)` with a ReLU `f` (equations 2 to 5).
    ///
    /// # Shapes
    /// - result: `[words, embedding_size]`, packed as the sentences are
    pub fn words(&self, sentences: &PackedSentences, mut random: Option<&mut Random>) -> Tensor {
        let words = self.word_embedding.index_select(0, &sentences.ids.to_device(self.word_embedding.device()));
        let mut words = dropout(words, self.config.word_dropout, random.as_deref_mut());
        if let Some(layer) = &self.word_layer {
            words = layer.forward(&words).relu();
        }
        let read = |network: &Bidirectional| network.forward(&words, &sentences.packing.steps);
        let states = match (self.recurrent.as_ref().map(read), self.config.directions) {
            (None, _) => words,
            (Some(states), Directions::Concatenated) => states,
            (Some(states), Directions::Summed) => {
                let hidden = states.size()[1] / 2;
                states.narrow(1, 0, hidden) + states.narrow(1, hidden, hidden)
            }
        };
        let states = dropout(states, self.config.output_dropout, random);
        of_length_one(&self.config, self.word_projection.forward(&states).relu())
    }

    /// The score of each sentence with each picture, `S_kl = Σ_t max_i v_iᵀ s_t` or as [`RegionScore`](super::RegionScore) says, from
    /// their embeddings. Memory stays bounded, however many there are: similarities are computed tile by tile.
    ///
    /// # Shapes
    /// - `regions`: `[pictures, regions, embedding_size]`
    /// - `mask`: `[pictures, regions]`: 1 for regions, 0 for padding
    /// - `words`: `[words, embedding_size]`, packed as the sentences are
    /// - result: `[sentences, pictures]`
    pub fn scores(&self, regions: &Tensor, mask: &Tensor, words: &Tensor, sentences: &PackedSentences) -> Tensor {
        let [regions, mask, words] = [regions, mask, words].map(Tensor::shallow_clone);
        Embedded::new(regions, mask, words, sentences, &self.scales(sentences)).scores(self.config.score)
    }

    /// How far right pairs fail to score higher than wrong ones by the margin, per sentence (equation 9, in both directions).
    ///
    /// With `random` (in training), features and words are dropped as configured, by masks drawn from it. Sentences of one picture are
    /// not negatives of each other. The paper's sum over sentences is divided by their number, so that a learning rate serves for any
    /// size of a batch.
    ///
    /// # Shapes
    /// - `features`: `[pictures, regions, feature_size]`
    /// - `owners`: the picture of each sentence, `[sentences]`
    /// - result: without dimensions
    ///
    /// # Errors
    /// As [`AlignmentNetwork::regions`].
    pub fn loss(
        &self,
        features: &FeatureBatch,
        sentences: &PackedSentences,
        owners: &Tensor,
        margin: f64,
        negatives: Negatives,
        mut random: Option<&mut Random>,
    ) -> Result<Tensor> {
        let regions = self.regions(features, random.as_deref_mut())?;
        let words = self.words(sentences, random);
        let embedded = Embedded::new(regions, features.mask.shallow_clone(), words, sentences, &self.scales(sentences));
        Ok(embedded.loss(&self.config, owners, margin, negatives))
    }

    /// What each sentence's score is multiplied by, `[sentences]`.
    fn scales(&self, sentences: &PackedSentences) -> Tensor {
        let lengths = sentences.lengths();
        if self.config.scale_by_length { lengths.rsqrt() } else { lengths.ones_like() }
    }
}

fn of_length_one(config: &AlignmentConfig, embedded: Tensor) -> Tensor {
    match config.similarity {
        Similarity::InnerProduct => embedded,
        Similarity::Cosine => unit(&embedded),
    }
}

/// Vectors of length 1 along the last dimension; 0 stays 0.
pub(super) fn unit(vectors: &Tensor) -> Tensor {
    // As torch.nn.functional.normalize.
    vectors / vectors.norm_scalaropt_dim(2.0, [-1i64], true).clamp_min(1e-12)
}
