//! The network of a captioner: from features to the probabilities of words.

use tch::{Device, Kind, Tensor};

use super::decode::{Predictor, decode, draw_word};
use super::{CaptionerConfig, Decoding, Hypothesis, ImageInjection, PackedCaptions, Pooling};
use crate::align::RegionEmbedding;
use crate::data::{Random, Vocabulary};
use crate::nn::{Linear, Recurrent, RecurrentState, Weights, dropout, network};
use crate::vision::FeatureBatch;
use crate::{Error, Result};

/// Puts the features of a picture into words. What made the features is of no concern to it.
///
/// Its weights are named as PyTorch modules name theirs: `image_projection.weight`, `word_embedding.weight`,
/// `lstm.weight_ih_l0` (whose input is the word vector, then the image vector where it is an input), `output.weight`.
#[derive(Debug)]
pub struct Generator {
    config: CaptionerConfig,
    feature_size: usize,
    aligned: Option<RegionEmbedding>,
    image_projection: Linear,
    geometry_projection: Option<Linear>,
    relations: Option<Relations>,
    attention: Option<Attention>,
    initial: Option<Initial>,
    word_embedding: Tensor,
    recurrent: Recurrent,
    /// Brings the output to the dimension of word vectors, where those predict words.
    output_projection: Option<Linear>,
    output: Linear,
}

network!(Generator {
    aligned, image_projection, geometry_projection, relations, attention, initial, word_embedding, recurrent, output_projection,
    output; config, feature_size
});

/// The state before the first word, from the image vector.
#[derive(Debug)]
struct Initial {
    hidden: Linear,
    cell: Linear,
}

network!(Initial { hidden, cell });

impl Initial {
    fn state(&self, vector: &Tensor) -> RecurrentState {
        RecurrentState { hidden: self.hidden.forward(vector).tanh(), cell: self.cell.forward(vector).tanh() }
    }
}

/// What is around each region: a ReLU layer on pairs of regions.
#[derive(Debug)]
struct Relations {
    own: Linear,
    other: Linear,
    displacement: Linear,
}

network!(Relations { own, other, displacement });

impl Relations {
    /// The largest values over all other regions.
    ///
    /// # Shapes
    /// - `vectors`: `[pictures, regions, image_size]`
    /// - `geometry`: `[pictures, regions, 7]`
    /// - `mask`: `[pictures, regions]`
    /// - result: `[pictures, regions, image_size]`
    fn around(&self, vectors: &Tensor, geometry: &Tensor, mask: &Tensor) -> Tensor {
        let own = self.own.forward(vectors).unsqueeze(2);
        let other = self.other.forward(vectors).unsqueeze(1);
        let displacement = self.displacement.forward(&(geometry.unsqueeze(1) - geometry.unsqueeze(2)));
        // After a ReLU, 0 is the least there is: a region that is not there never wins.
        ((own + other + displacement).relu() * mask.unsqueeze(1).unsqueeze(3)).amax([2], false)
    }
}

/// Additive attention: region `i` scores `wᵀ tanh(v_i + W_q h)`, and the weights are the softmax of the scores over the regions.
#[derive(Debug)]
struct Attention {
    query: Linear,
    score: Linear,
}

network!(Attention { query, score });

impl Attention {
    /// The weights of the regions.
    ///
    /// # Shapes
    /// - `vectors`: `[rows, regions, image_size]`
    /// - `mask`: `[rows, regions]`
    /// - `hidden`: `[rows, hidden]`
    /// - result: `[rows, regions]`
    fn weights(&self, vectors: &Tensor, mask: &Tensor, hidden: &Tensor) -> Tensor {
        let scores = self.score.forward(&(vectors + self.query.forward(hidden).unsqueeze(1)).tanh()).squeeze_dim(2);
        scores.masked_fill(&mask.eq(0.0), f64::NEG_INFINITY).softmax(1, Kind::Float)
    }
}

/// What was attended to at a step.
struct Attended {
    /// `[rows, regions]`
    weights: Tensor,
    /// The mean of the regions' vectors by these weights, `[rows, image_size]`.
    context: Tensor,
}

/// What of a picture goes into the recurrent layer.
enum Image {
    /// The state before the first word is computed from this, `[rows, image_size]`.
    Initial(Tensor),
    /// One vector at all steps: its share of the gates, `[rows, gates · hidden]`.
    Gates(Tensor),
    /// The vectors of the regions, `[rows, regions, image_size]`, and which there are, `[rows, regions]`.
    Regions { vectors: Tensor, mask: Tensor },
}

impl Image {
    fn map(&self, change: impl Fn(&Tensor) -> Tensor) -> Self {
        match self {
            Self::Initial(vector) => Self::Initial(change(vector)),
            Self::Gates(gates) => Self::Gates(change(gates)),
            Self::Regions { vectors, mask } => Self::Regions { vectors: change(vectors), mask: change(mask) },
        }
    }
}

/// The state of captions that are being decoded, a row each.
pub(super) struct DecoderState {
    image: Image,
    bias: Tensor,
    word_weight: Tensor,
    recurrent: RecurrentState,
    /// What the last step attended to, `[rows, regions]`.
    attention: Option<Tensor>,
}

impl DecoderState {
    pub(super) fn rows(&self) -> usize {
        self.recurrent.hidden.size()[0] as usize
    }

    /// Keeps these rows, in this order; a row may be kept several times.
    pub(super) fn select(&mut self, rows: &[usize]) {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let rows = Tensor::from_slice(&rows).to_device(self.recurrent.hidden.device());
        self.image = self.image.map(|part| part.index_select(0, &rows));
        self.recurrent = self.recurrent.select(&rows);
    }
}

/// A word of a caption that is explained.
pub(super) struct ExplainedStep {
    /// Of all words, by id.
    pub(super) log_probabilities: Vec<f64>,
    /// The weights of the regions; empty without attention.
    pub(super) attention: Vec<f32>,
}

/// At most so many logits are computed at a time, 20 MB. For more than 32 MB the allocator of Linux asks the system anew at every step,
/// which clears each page first.
const LOGITS_AT_ONCE: i64 = 5_000_000;

/// Numbers that say where a region is.
const GEOMETRY: i64 = 7;

/// Where regions are and how large, in quarters of the picture, which is the largest region, so that they vary as much as features do:
/// left, top, right, bottom, width, height, area (Chen et al. 2020, *UNITER*, section 3.1).
///
/// # Shapes
/// - `boxes`: `[pictures, regions, 4]`
/// - result: `[pictures, regions, 7]`
fn geometry(boxes: &Tensor) -> Tensor {
    let whole = boxes.narrow(2, 2, 2).amax([1], true).clamp_min(1.0);
    let (low, high) = (boxes.narrow(2, 0, 2) / &whole, boxes.narrow(2, 2, 2) / &whole);
    let size = &high - &low;
    let area = size.prod_dim_int(2, true, Kind::Float);
    Tensor::cat(&[low, high, size, area], 2) * 4.0
}

impl Generator {
    /// A generator of `vocabulary_size` words for features of that dimension.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is out of its range.
    pub fn new(
        config: &CaptionerConfig,
        feature_size: usize,
        vocabulary_size: usize,
        weights: &mut Weights,
    ) -> Result<Self> {
        config.validate()?;
        let CaptionerConfig { word_size, image_size, hidden_size, cell, .. } = *config;
        // With attention, words are predicted from what was attended to as well.
        let outputs = hidden_size + if config.pooling == Pooling::Attention { image_size } else { 0 };
        let from_state = config.injection == ImageInjection::InitialState;
        let inputs = word_size + if from_state { 0 } else { image_size };
        // As PyTorch's Linear.
        let output_bound = 1.0 / (hidden_size as f64).sqrt();
        let aligned = match (config.pooling, &config.aligner) {
            (Pooling::AlignedMean, None) => {
                return Err(Error::config(
                    "aligner",
                    "null",
                    "must be an aligner's sizes where pooling is aligned_mean",
                ));
            }
            (Pooling::AlignedMean, Some(aligner)) => Some(aligner),
            _ => None,
        };
        let read = aligned.map_or(feature_size, |aligner| aligner.embedding_size);
        let aligned = aligned.map(|aligner| RegionEmbedding::new(aligner, feature_size, weights));
        let image_projection = Linear::kaiming_uniform("image_projection", read, image_size, weights);
        let geometry_projection =
            config.geometry.then(|| Linear::new("geometry_projection", GEOMETRY as usize, image_size, weights));
        let relations = config.relations.then(|| Relations {
            own: Linear::new("relations.own", image_size, image_size, weights),
            other: Linear::new("relations.other", image_size, image_size, weights),
            displacement: Linear::new("relations.displacement", GEOMETRY as usize, image_size, weights),
        });
        let attention = (config.pooling == Pooling::Attention).then(|| Attention {
            query: Linear::new("attention.query", hidden_size, image_size, weights),
            score: Linear::new("attention.score", image_size, 1, weights),
        });
        let initial = from_state.then(|| Initial {
            hidden: Linear::new("initial_hidden", image_size, hidden_size, weights),
            cell: Linear::new("initial_cell", image_size, hidden_size, weights),
        });
        // Vectors of words that also predict them are of length 1 or so, as the rows of a new output layer are.
        let word_bound = if config.tied_embeddings { (3.0 / word_size as f64).sqrt() } else { 1.0 };
        let words = [vocabulary_size as i64, word_size as i64];
        let word_embedding = weights.uniform("word_embedding.weight", &words, word_bound);
        let recurrent = Recurrent::new(cell, inputs, hidden_size, "lstm", weights);
        let (output_projection, output) = match config.tied_embeddings {
            false => (None, Linear::within("output", outputs, vocabulary_size, output_bound, weights)),
            true => {
                let projection = Linear::within("output_projection", outputs, word_size, output_bound, weights);
                let bias = weights.constant("output.bias", &words[..1], 0.0, true);
                (Some(projection), Linear { weight: word_embedding.shallow_clone(), bias: Some(bias) })
            }
        };
        Ok(Self {
            config: config.clone(),
            feature_size,
            aligned,
            image_projection,
            geometry_projection,
            relations,
            attention,
            initial,
            word_embedding,
            recurrent,
            output_projection,
            output,
        })
    }

    /// The logits of words, from the states and with attention what was attended to.
    fn logits(&self, outputs: &Tensor) -> Tensor {
        match &self.output_projection {
            Some(projection) => self.output.forward(&projection.forward(outputs)),
            None => self.output.forward(outputs),
        }
    }

    /// Initialises the softmax bias with the log unigram probabilities of words, as in the paper, so that they need not be learnt.
    /// `counts` are by id; a word that was never counted counts as a tenth.
    ///
    /// # Errors
    /// [`Error::Tensor`] when there is not one count for each word.
    pub fn init_output_bias(&mut self, counts: &[usize]) -> Result<()> {
        let total: f64 = counts.iter().map(|&count| (count as f64).max(0.1)).sum();
        let logs: Vec<f32> = counts.iter().map(|&count| ((count as f64).max(0.1) / total).ln() as f32).collect();
        if let Some(bias) = &mut self.output.bias {
            tch::no_grad(|| bias.f_copy_(&Tensor::from_slice(&logs)))?;
        }
        Ok(())
    }

    /// The log probability of each token of captions, given the picture and the tokens before it (teacher forcing).
    ///
    /// With `random` (in training), word vectors, image vectors and outputs are dropped as configured, by masks drawn from it.
    ///
    /// # Shapes
    /// - `features`: of the pictures that the captions belong to, `[pictures, regions, feature_size]`
    /// - result: `[tokens]`, packed as the captions are
    ///
    /// # Errors
    /// [`Error::Argument`] when the features have another dimension.
    pub fn log_probabilities(
        &self,
        features: &FeatureBatch,
        captions: &PackedCaptions,
        random: Option<&mut Random>,
    ) -> Result<Tensor> {
        let outputs = self.outputs(features, captions, random)?;
        let targets = captions.targets.to_device(outputs.device()).unsqueeze(1);
        let tokens = (LOGITS_AT_ONCE / self.word_embedding.size()[0]).max(1);
        let parts = outputs.split(tokens, 0).into_iter().zip(targets.split(tokens, 0));
        let log_probabilities = parts
            .map(|(outputs, targets)| Ok(self.log_softmax(&outputs)?.f_gather(1, &targets, false)?.squeeze_dim(1)))
            .collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::f_cat(&log_probabilities, 0)?)
    }

    /// As [`Generator::log_probabilities`], of every word at each token, `[tokens, vocabulary]`.
    pub(super) fn distributions(&self, features: &FeatureBatch, captions: &PackedCaptions) -> Result<Tensor> {
        self.log_softmax(&self.outputs(features, captions, None)?)
    }

    fn log_softmax(&self, outputs: &Tensor) -> Result<Tensor> {
        Ok(self.logits(outputs).f_log_softmax(1, Kind::Float)?)
    }

    /// What predicts the word at each token, `[tokens, outputs]`.
    fn outputs(
        &self,
        features: &FeatureBatch,
        captions: &PackedCaptions,
        mut random: Option<&mut Random>,
    ) -> Result<Tensor> {
        let CaptionerConfig { injection, word_dropout, image_dropout, output_dropout, .. } = self.config;
        let device = features.features.device();
        let image = self.image(features, |vector| dropout(vector, image_dropout, random.as_deref_mut()))?;
        let pictures = captions.pictures.to_device(device);
        let words = self.word_embedding.index_select(0, &captions.inputs.to_device(device));
        let words = dropout(words, word_dropout, random.as_deref_mut());
        let word_gates = words.linear(&self.word_weight(), Some(&self.recurrent.bias()));
        let first = captions.captions() as i64;
        // The captions that are active at a step are the first ones.
        let pictures_of_captions = pictures.narrow(0, 0, first);
        let hidden = match (&image, injection) {
            (Image::Initial(vector), _) => {
                let state = self.start(&vector.index_select(0, &pictures_of_captions));
                self.recurrent.forward_with(&word_gates, &captions.steps, state, |gates, _| gates)
            }
            (Image::Gates(gates), ImageInjection::FirstStep) => {
                let rest = captions.tokens() as i64 - first;
                let seen = word_gates.narrow(0, 0, first) + gates.index_select(0, &pictures_of_captions);
                let gates = Tensor::cat(&[seen, word_gates.narrow(0, first, rest)], 0);
                self.recurrent.forward(&gates, &captions.steps)
            }
            (Image::Gates(gates), _) => {
                self.recurrent.forward(&(word_gates + gates.index_select(0, &pictures)), &captions.steps)
            }
            (Image::Regions { .. }, _) => {
                let rows = image.map(|part| part.index_select(0, &pictures_of_captions));
                let mut contexts = Vec::with_capacity(captions.steps.len());
                let start = self.recurrent.initial_state(first);
                let hidden = self.recurrent.forward_with(&word_gates, &captions.steps, start, |gates, state| {
                    let active = state.hidden.size()[0];
                    let (image_gates, attended) = self.look(&rows.map(|part| part.narrow(0, 0, active)), state);
                    contexts.extend(attended.map(|attended| attended.context));
                    gates + image_gates
                });
                Tensor::cat(&[hidden, Tensor::cat(&contexts, 0)], 1)
            }
        };
        Ok(dropout(hidden, output_dropout, random))
    }

    /// The captions with a share of the words that are read replaced by words that the generator draws itself, given the true words
    /// before; what is to be predicted stays.
    ///
    /// # Errors
    /// As [`Generator::log_probabilities`].
    pub(super) fn sampled_inputs(
        &self,
        features: &FeatureBatch,
        captions: &PackedCaptions,
        share: f64,
        random: &mut Random,
    ) -> Result<PackedCaptions> {
        let logs = tch::no_grad(|| self.distributions(features, captions))?.f_to_device(Device::Cpu)?;
        let mut inputs = Vec::<i64>::try_from(&captions.inputs)?;
        for (token, before) in captions.tokens_before() {
            if f64::from(random.unit()) < share {
                let probabilities: Vec<f64> =
                    Vec::try_from(logs.f_get(before as i64)?.f_exp()?.f_to_kind(Kind::Double)?)?;
                let drawn = draw_word(&probabilities, random);
                // An end, or a word that no caption says, is not read on from.
                inputs[token] = if drawn > Vocabulary::UNKNOWN { drawn } else { inputs[token] };
            }
        }
        Ok(captions.with_inputs(&inputs))
    }

    /// The mean cross entropy of the captions' tokens, in nats, without dimensions: how surprised the generator is by the right
    /// next word.
    ///
    /// # Errors
    /// As [`Generator::log_probabilities`].
    pub fn loss(
        &self,
        features: &FeatureBatch,
        captions: &PackedCaptions,
        random: Option<&mut Random>,
    ) -> Result<Tensor> {
        Ok(-self.log_probabilities(features, captions, random)?.mean(Kind::Float))
    }

    /// A loss of 0, which the weights depend on.
    pub(super) fn nothing(&self) -> Tensor {
        self.word_embedding.sum(Kind::Float) * 0.0
    }

    /// Captions of each picture, the best first: as many as [`Decoding::best`] says, where there are as many.
    ///
    /// `first` is the number of the first picture among all that are captioned with these settings: each draws its words from its
    /// own random sequence, so a caption does not depend on what else is in the batch.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is out of its range, [`Error::Argument`] when the features have another dimension.
    pub fn decode(&self, features: &FeatureBatch, decoding: &Decoding, first: usize) -> Result<Vec<Vec<Hypothesis>>> {
        decode(Predictor::new(vec![(self, self.initial_state(features)?)]), decoding, first)
    }

    /// The best caption of each picture, as ids of words without specials.
    ///
    /// # Errors
    /// As [`Generator::decode`].
    pub fn generate(&self, features: &FeatureBatch, decoding: &Decoding, first: usize) -> Result<Vec<Vec<i64>>> {
        let best = |hypotheses: Vec<Hypothesis>| hypotheses.into_iter().next().map_or_else(Vec::new, |best| best.words);
        Ok(self.decode(features, decoding, first)?.into_iter().map(best).collect())
    }

    /// What the generator thinks of a caption of one picture: a step for each word, and one for the end.
    ///
    /// # Errors
    /// [`Error::Argument`] when the features have another dimension.
    pub(super) fn explain(&self, features: &FeatureBatch, words: &[i64]) -> Result<Vec<ExplainedStep>> {
        let mut state = self.initial_state(features)?;
        let mut steps = Vec::with_capacity(words.len() + 1);
        for (step, &word) in [Vocabulary::START].iter().chain(words).enumerate() {
            let log_probabilities = self.step(&mut state, &[word], step).f_log_softmax(1, Kind::Double)?;
            let attention = match &state.attention {
                Some(weights) => Vec::try_from(weights.f_flatten(0, 1)?.f_to_device(Device::Cpu)?)?,
                None => Vec::new(),
            };
            let log_probabilities = Vec::try_from(log_probabilities.f_flatten(0, 1)?.f_to_device(Device::Cpu)?)?;
            steps.push(ExplainedStep { log_probabilities, attention });
        }
        Ok(steps)
    }

    /// What of the pictures goes into the gates: a ReLU layer on the features of each region, pooled over the regions; `drop` is
    /// dropout.
    fn image(
        &self,
        FeatureBatch { features, mask, boxes, .. }: &FeatureBatch,
        drop: impl FnOnce(Tensor) -> Tensor,
    ) -> Result<Image> {
        let size = features.size();
        if size.len() != 3 || size[2] != self.feature_size as i64 {
            return Err(Error::argument(
                format!(
                    "the features are {size:?}, and the generator reads [pictures, regions, {}]",
                    self.feature_size
                ),
                "Use the features of the encoder that it was trained with.",
            ));
        }
        let sum = |tensor: &Tensor, keep: bool| tensor.sum_dim_intlist([1i64].as_slice(), keep, Kind::Float);
        let features = &match (&self.aligned, self.config.normalise) {
            // The mean in the aligner's space is the only region then.
            (Some(aligned), _) => {
                let visual = sum(&(aligned.forward(features, None)? * mask.unsqueeze(2)), false) / sum(mask, true);
                visual.unsqueeze(1)
            }
            (None, true) => {
                features
                    * (features.norm_scalaropt_dim(2.0, [2i64], true).clamp_min(1e-6).reciprocal()
                        * (size[2] as f64).sqrt())
            }
            (None, false) => features.shallow_clone(),
        };
        let projected = self.image_projection.forward(features);
        let vectors = match &self.geometry_projection {
            Some(projection) => projected + projection.forward(&geometry(boxes)),
            None => projected,
        }
        .relu();
        let vectors = match &self.relations {
            Some(relations) => &vectors + relations.around(&vectors, &geometry(boxes), mask),
            None => vectors,
        };
        let masked = || &vectors * mask.unsqueeze(2);
        let vector = match self.config.pooling {
            Pooling::WholePicture | Pooling::AlignedMean => vectors.select(1, 0),
            Pooling::Mean => sum(&masked(), false) / sum(mask, true),
            // After a ReLU, 0 is the least there is: a row without a region never wins.
            Pooling::Max => masked().amax([1], false),
            Pooling::Attention => {
                return Ok(Image::Regions { vectors: drop(vectors), mask: mask.shallow_clone() });
            }
        };
        let vector = drop(vector);
        Ok(match self.initial {
            Some(_) => Image::Initial(vector),
            None => Image::Gates(self.image_gates(&vector)),
        })
    }

    /// The state before the first word where the image vector decides it.
    fn start(&self, vector: &Tensor) -> RecurrentState {
        match &self.initial {
            Some(initial) => initial.state(vector),
            None => self.recurrent.initial_state(vector.size()[0]),
        }
    }

    /// The share of the picture in the gates of a step, and with attention what was attended to.
    fn look(&self, image: &Image, state: &RecurrentState) -> (Tensor, Option<Attended>) {
        match (image, &self.attention) {
            (Image::Gates(gates), _) => (gates.shallow_clone(), None),
            (Image::Regions { vectors, mask }, Some(attention)) => {
                let weights = attention.weights(vectors, mask, &state.hidden);
                let context = weights.unsqueeze(1).bmm(vectors).squeeze_dim(1);
                (self.image_gates(&context), Some(Attended { weights, context }))
            }
            (Image::Initial(_), _) | (Image::Regions { .. }, None) => {
                unreachable!("regions are kept for attention alone, and a vector for the first state")
            }
        }
    }

    fn word_weight(&self) -> Tensor {
        self.recurrent.weight_ih.narrow(1, 0, self.config.word_size as i64)
    }

    fn image_gates(&self, image: &Tensor) -> Tensor {
        let CaptionerConfig { word_size, image_size, .. } = self.config;
        image.linear(&self.recurrent.weight_ih.narrow(1, word_size as i64, image_size as i64), None::<&Tensor>)
    }

    pub(super) fn initial_state(&self, features: &FeatureBatch) -> Result<DecoderState> {
        tch::no_grad(|| {
            let image = self.image(features, |vector| vector)?;
            let recurrent = match &image {
                Image::Initial(vector) => self.start(vector),
                _ => self.recurrent.initial_state(features.features.size()[0]),
            };
            let (bias, word_weight) = (self.recurrent.bias(), self.word_weight());
            Ok(DecoderState { image, bias, word_weight, recurrent, attention: None })
        })
    }

    /// Reads `words`, one a row, and returns the logits of the words that may follow, `[rows, vocabulary]`.
    pub(super) fn step(&self, state: &mut DecoderState, words: &[i64], step: usize) -> Tensor {
        tch::no_grad(|| self.step_with(state, words, step))
    }

    fn step_with(&self, state: &mut DecoderState, words: &[i64], step: usize) -> Tensor {
        let words = Tensor::from_slice(words).to_device(self.word_embedding.device());
        let vectors = self.word_embedding.index_select(0, &words);
        let mut gates = vectors.linear(&state.word_weight, Some(&state.bias));
        let mut context = None;
        let is_seen = match self.config.injection {
            ImageInjection::EveryStep => true,
            ImageInjection::FirstStep => step == 0,
            ImageInjection::InitialState => false,
        };
        if is_seen {
            let (image_gates, attended) = self.look(&state.image, &state.recurrent);
            gates += image_gates;
            (state.attention, context) = attended.map(|attended| (attended.weights, attended.context)).unzip();
        }
        state.recurrent = self.recurrent.step(&gates, &state.recurrent);
        let hidden = state.recurrent.hidden.shallow_clone();
        let logits = self.logits(&match context {
            Some(context) => Tensor::cat(&[hidden, context], 1),
            None => hidden,
        });
        // No caption says what stands for padding, a start or a word that is not known.
        for special in [Vocabulary::PAD, Vocabulary::START, Vocabulary::UNKNOWN] {
            let _ = logits.narrow(1, special, 1).fill_(f64::NEG_INFINITY);
        }
        logits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption::decode::beam_search;

    const INJECTIONS: [ImageInjection; 3] =
        [ImageInjection::EveryStep, ImageInjection::FirstStep, ImageInjection::InitialState];

    fn small(injection: ImageInjection) -> (Weights, Generator) {
        let config = CaptionerConfig {
            word_size: 6,
            image_size: 5,
            hidden_size: 8,
            injection,
            word_dropout: 0.5,
            ..CaptionerConfig::default()
        };
        let mut weights = Weights::new(4, Device::Cpu);
        let generator = Generator::new(&config, 7, 12, &mut weights).unwrap();
        (weights, generator)
    }

    fn features(rows: i64) -> FeatureBatch {
        FeatureBatch::whole_pictures(&Weights::new(8, Device::Cpu).uniform("features", &[rows, 7], 2.0).detach())
    }

    /// The features of some of the pictures.
    fn narrow(batch: &FeatureBatch, first: i64, count: i64) -> FeatureBatch {
        FeatureBatch::whole_pictures(&batch.features.select(1, 0).narrow(0, first, count))
    }

    /// The loss by libtorch's LSTM, one caption at a time, with the image vector where the configuration wants it.
    fn loss_by_the_kernel(
        weights: &Weights,
        generator: &Generator,
        features: &FeatureBatch,
        captions: &[(usize, &[i64])],
    ) -> f64 {
        let (mut sum, mut tokens) = (0.0, 0);
        for (picture, words) in captions {
            let inputs: Vec<i64> = [Vocabulary::START].into_iter().chain(words.iter().copied()).collect();
            let targets: Vec<i64> = words.iter().copied().chain([Vocabulary::END]).collect();
            let vectors = generator.word_embedding.index_select(0, &Tensor::from_slice(&inputs));
            let features = narrow(features, *picture as i64, 1).features.select(1, 0);
            let image = generator.image_projection.forward(&features).relu();
            let images = image.repeat([inputs.len() as i64, 1]);
            let zeros = Tensor::zeros([1, 1, 8], (Kind::Float, Device::Cpu));
            let (mut input, mut state) = (Tensor::cat(&[&vectors, &images], 1), [zeros.copy(), zeros]);
            match generator.config.injection {
                ImageInjection::EveryStep => {}
                ImageInjection::FirstStep => drop(input.narrow(1, 6, 5).narrow(0, 1, words.len() as i64).zero_()),
                ImageInjection::InitialState => {
                    let part = |name: &str| {
                        let parameter = |part: &str| weights.get(&format!("initial_{name}.{part}")).unwrap();
                        image.linear(parameter("weight"), Some(parameter("bias"))).tanh().unsqueeze(0)
                    };
                    (input, state) = (vectors, [part("hidden"), part("cell")]);
                }
            }
            let input = input.unsqueeze(1);
            let parameters = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
            let parameters = parameters.map(|name| weights.get(&format!("lstm.{name}_l0")).unwrap());
            let (output, ..) = input.lstm(&[&state[0], &state[1]], &parameters, true, 1, 0.0, false, false, false);
            let scores = generator.output.forward(&output.squeeze_dim(1));
            let loss = scores.cross_entropy_for_logits(&Tensor::from_slice(&targets));
            sum += loss.double_value(&[]) * targets.len() as f64;
            tokens += targets.len();
        }
        sum / tokens as f64
    }

    #[test]
    fn the_loss_is_that_of_libtorchs_lstm_fed_with_word_and_image() {
        for injection in INJECTIONS {
            let (weights, generator) = small(injection);
            let captions: [(usize, &[i64]); 4] = [(0, &[4, 5, 6]), (1, &[7]), (0, &[]), (2, &[8, 9, 10, 11, 4])];
            let expected = tch::no_grad(|| loss_by_the_kernel(&weights, &generator, &features(3), &captions));
            let loss =
                generator.loss(&features(3), &PackedCaptions::new(&captions, 40), None).unwrap().double_value(&[]);
            assert!((loss - expected).abs() < 1e-5, "{injection:?}: {loss}, not {expected}");
        }
    }

    #[test]
    fn a_wide_beam_finds_the_most_probable_caption_of_all() {
        for injection in INJECTIONS {
            let (_weights, generator) = small(injection);
            let features = features(3);
            let words: Vec<i64> = (4..12).collect();
            // All captions of at most two words.
            let mut all: Vec<Vec<i64>> = vec![vec![]];
            all.extend(words.iter().map(|&word| vec![word]));
            all.extend(words.iter().flat_map(|&one| words.iter().map(move |&other| vec![one, other])));
            let wide = Decoding { max_words: 3, ..Decoding::beam(1000) };
            let found = generator.generate(&features, &wide, 0).unwrap();
            let greedy = generator.generate(&features, &Decoding { max_words: 3, ..Decoding::greedy() }, 0).unwrap();
            for picture in 0..3 {
                let picture_features = narrow(&features, picture as i64, 1);
                let score = |caption: &Vec<i64>| log_probability(&generator, &picture_features, caption);
                let best = all.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
                // Captions of three words have no end yet, and are taken only where nothing has ended.
                assert!(score(&found[picture]) >= best - 1e-9, "{injection:?}, picture {picture}");
                if greedy[picture].len() < 3 {
                    assert!(score(&found[picture]) >= score(&greedy[picture]) - 1e-9);
                }
            }
        }
    }

    /// The log probability of a caption and its end, word by word.
    fn log_probability(generator: &Generator, features: &FeatureBatch, caption: &[i64]) -> f64 {
        let mut state = generator.initial_state(features).unwrap();
        let ended: Vec<i64> = caption.iter().copied().chain([Vocabulary::END]).collect();
        let said = [Vocabulary::START].into_iter().chain(caption.iter().copied());
        let steps = said.zip(&ended).enumerate().map(|(step, (word, &next))| {
            let scores = tch::no_grad(|| generator.step(&mut state, &[word], step));
            scores.log_softmax(1, Kind::Double).double_value(&[0, next])
        });
        steps.sum()
    }

    #[test]
    fn a_greedy_caption_is_word_by_word_the_least_surprising() {
        for injection in INJECTIONS {
            let (_weights, generator) = small(injection);
            let features = features(3);
            let decoding = Decoding { max_words: 4, ..Decoding::greedy() };
            let captions = generator.generate(&features, &decoding, 0).unwrap();
            for (picture, caption) in captions.iter().enumerate() {
                for (place, &said) in caption.iter().enumerate() {
                    // The summed loss of two captions that differ in their last word differs by that word alone, as long
                    // as neither goes on: cut them there.
                    let surprise = |word: i64| {
                        let words: Vec<i64> = caption[..place].iter().copied().chain([word, 4]).collect();
                        let packed = PackedCaptions::new(&[(picture, words.as_slice())], place);
                        generator.loss(&features, &packed, None).unwrap().double_value(&[])
                    };
                    let best = (4..12).min_by(|a, b| surprise(*a).total_cmp(&surprise(*b))).unwrap();
                    assert_eq!(said, best, "{injection:?}, picture {picture}, place {place} of {caption:?}");
                }
            }
        }
    }

    #[test]
    fn draws_depend_on_the_seed_and_not_on_the_batch() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let features = features(5);
        let drawn = |seed| generator.generate(&features, &Decoding::temperature(1.0, seed), 0).unwrap();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let alone = generator.generate(&narrow(&features, 3, 1), &Decoding::temperature(1.0, 1), 3).unwrap();
        assert_eq!(alone[0], drawn(1)[3]);
    }

    #[test]
    fn a_low_temperature_says_what_greedy_says_and_a_high_one_varies() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let features = features(5);
        let greedy = generator.generate(&features, &Decoding::greedy(), 0).unwrap();
        assert_eq!(generator.generate(&features, &Decoding::temperature(1e-7, 7), 0).unwrap(), greedy);
        let decoding = Decoding::temperature(5.0, 7);
        let captions = generator.generate(&features, &decoding, 0).unwrap();
        assert!(captions.iter().all(|caption| caption.len() <= decoding.max_words));
        let said: std::collections::BTreeSet<i64> = captions.into_iter().flatten().collect();
        assert!(said.len() > 4 && said.iter().all(|&word| word > Vocabulary::UNKNOWN), "{said:?}");
    }

    #[test]
    fn the_first_biases_are_log_probabilities() {
        let (weights, mut generator) = small(ImageInjection::EveryStep);
        generator.init_output_bias(&[0, 0, 10, 0, 70, 20, 0, 0, 0, 0, 0, 0]).unwrap();
        let bias: Vec<f32> = Vec::try_from(weights.get("output.bias").unwrap().detach()).unwrap();
        let total = 100.9f32;
        assert!(
            (bias[4] - (70.0 / total).ln()).abs() < 1e-5 && (bias[0] - (0.1 / total).ln()).abs() < 1e-5,
            "{bias:?}"
        );
    }

    #[test]
    fn a_beam_of_several_pictures_is_that_of_each_and_a_beam_of_one_is_greedy() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let features = features(5);
        let generate =
            |features: &FeatureBatch, decoding: &Decoding| generator.generate(features, decoding, 0).unwrap();
        for width in [2, 3, 7] {
            let together = generate(&features, &Decoding::beam(width));
            let alone =
                (0..5).map(|picture| generate(&narrow(&features, picture, 1), &Decoding::beam(width)).remove(0));
            assert_eq!(together, alone.collect::<Vec<_>>(), "width {width}");
        }
        let state = generator.initial_state(&features).unwrap();
        let predictor = Predictor::new(vec![(&generator, state)]);
        let one = tch::no_grad(|| beam_search(predictor, &Decoding::greedy())).unwrap();
        let words: Vec<Vec<i64>> = one.into_iter().map(|mut best| best.remove(0).words).collect();
        assert_eq!(words, generate(&features, &Decoding::greedy()));
    }

    #[test]
    fn nothing_is_cut_off_by_the_whole_nucleus_and_all_but_the_best_by_a_small_one() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let features = features(5);
        let generate = |decoding: &Decoding| generator.generate(&features, decoding, 0).unwrap();
        let (plain, greedy) = (generate(&Decoding::temperature(1.0, 3)), generate(&Decoding::greedy()));
        assert_eq!(generate(&Decoding::nucleus(1.0, 3)), plain);
        assert_eq!(generate(&Decoding { top_k: Some(12), ..Decoding::temperature(1.0, 3) }), plain);
        assert_eq!(generate(&Decoding::nucleus(1e-9, 3)), greedy);
        assert_eq!(generate(&Decoding { top_k: Some(1), ..Decoding::temperature(1.0, 3) }), greedy);
        assert_ne!(generate(&Decoding::nucleus(0.5, 3)), plain);
    }

    #[test]
    fn log_probabilities_are_those_of_scoring_the_caption_again() {
        for injection in INJECTIONS {
            let (_weights, generator) = small(injection);
            let features = features(4);
            for decoding in [
                Decoding::greedy(),
                Decoding::temperature(2.0, 1),
                Decoding { top_k: Some(3), no_repeat_ngram: Some(1), ..Decoding::temperature(1.0, 1) },
                Decoding { best: 4, length_penalty: 1.0, ..Decoding::beam(5) },
                Decoding { best: 6, groups: 3, min_words: 2, ..Decoding::beam(6) },
            ] {
                let decoding = Decoding { max_words: 6, ..decoding };
                for (picture, best) in generator.decode(&features, &decoding, 0).unwrap().into_iter().enumerate() {
                    assert!(!best.is_empty() && best.len() <= decoding.best, "{decoding:?}");
                    for Hypothesis { words, log_probability, ended } in best {
                        assert!(words.len() >= decoding.min_words && words.len() <= 6, "{decoding:?}");
                        let one = narrow(&features, picture as i64, 1);
                        let steps = generator.explain(&one, &words).unwrap();
                        let said = words.iter().copied().chain(ended.then_some(Vocabulary::END));
                        let again: f64 = said.zip(steps).map(|(id, step)| step.log_probabilities[id as usize]).sum();
                        assert!((again - log_probability).abs() < 1e-4, "{decoding:?}: {again} {log_probability}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_share_of_the_words_that_are_read_is_drawn_and_what_is_predicted_stays() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let captions: Vec<(usize, &[i64])> = (0..5).map(|picture| (picture, [4, 5, 6, 7, 4, 5].as_slice())).collect();
        let packed = PackedCaptions::new(&captions, 40);
        let drawn = |share: f64, seed: u64| {
            generator.sampled_inputs(&features(5), &packed, share, &mut Random::new(seed)).unwrap()
        };
        assert_eq!(drawn(0.0, 1).inputs, packed.inputs);
        let (all, again, other) = (drawn(1.0, 1), drawn(1.0, 1), drawn(1.0, 2));
        assert_eq!(all.inputs, again.inputs);
        assert_ne!(all.inputs, other.inputs);
        assert_eq!((&all.targets, &all.pictures, &all.steps), (&packed.targets, &packed.pictures, &packed.steps));
        let read = Vec::<i64>::try_from(&all.inputs).unwrap();
        assert!(read[..5].iter().all(|&word| word == Vocabulary::START));
        assert!(read[5..].iter().all(|&word| word > Vocabulary::UNKNOWN), "{read:?}");
        let changed =
            |captions: &PackedCaptions| captions.inputs.ne_tensor(&packed.inputs).sum(Kind::Int64).int64_value(&[]);
        assert!(changed(&drawn(0.3, 1)) < changed(&all));
    }

    #[test]
    fn hypotheses_are_ranked_and_different_and_a_length_penalty_makes_them_longer() {
        let (_weights, mut generator) = small(ImageInjection::EveryStep);
        // One word is likely, and the end less so.
        generator.init_output_bias(&[0, 0, 250, 0, 700, 8, 7, 7, 7, 7, 7, 7]).unwrap();
        let features = features(5);
        let decode = |decoding: Decoding| generator.decode(&features, &decoding, 0).unwrap();
        let lengths = |length_penalty| -> usize {
            let best = decode(Decoding { length_penalty, max_words: 8, ..Decoding::beam(8) });
            best.iter().map(|best| best[0].words.len()).sum()
        };
        assert!(lengths(0.0) < lengths(2.0));
        for best in decode(Decoding { best: 8, max_words: 8, ..Decoding::beam(8) }) {
            assert_eq!(best.len(), 8);
            let ended = best.iter().take_while(|one| one.ended).count();
            assert!(best[ended..].iter().all(|one| !one.ended));
            assert!(best[..ended].is_sorted_by(|a, b| a.log_probability >= b.log_probability), "{best:?}");
            let different: std::collections::BTreeSet<&Vec<i64>> = best.iter().map(|one| &one.words).collect();
            assert_eq!(different.len(), 8);
        }
    }

    #[test]
    fn groups_of_a_beam_begin_with_different_words() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let features = features(5);
        let firsts = |diversity| -> usize {
            let decoding = Decoding { groups: 4, diversity, best: 4, max_words: 4, min_words: 1, ..Decoding::beam(4) };
            let decoded = generator.decode(&features, &decoding, 0).unwrap();
            let first =
                |best: &Vec<Hypothesis>| best.iter().map(|one| one.words[0]).collect::<std::collections::BTreeSet<_>>();
            decoded.iter().map(|best| first(best).len()).sum()
        };
        // Groups that do not avoid each other are one beam of width 1, four times.
        assert_eq!((firsts(0.0), firsts(1e6)), (5, 20));
    }

    #[test]
    fn no_sequence_stands_twice_where_that_is_forbidden_and_no_caption_is_too_short() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let features = features(5);
        for length in [1, 2, 3] {
            for decoding in [Decoding::greedy(), Decoding::temperature(1.0, 1), Decoding::beam(4)] {
                let decoding = Decoding { no_repeat_ngram: Some(length), min_words: 5, max_words: 20, ..decoding };
                for words in generator.generate(&features, &decoding, 0).unwrap() {
                    let windows: Vec<&[i64]> = words.windows(length).collect();
                    let different: std::collections::BTreeSet<&&[i64]> = windows.iter().collect();
                    assert_eq!(different.len(), windows.len(), "{length} {words:?}");
                    assert!(words.len() >= 5, "{length} {words:?}");
                }
            }
        }
        // There are 8 words to say: a caption that may not repeat one of them cannot have 9.
        for decoding in [Decoding::greedy(), Decoding::beam(2)] {
            let decoding = Decoding { no_repeat_ngram: Some(1), min_words: 9, ..decoding };
            for best in generator.decode(&features, &decoding, 0).unwrap() {
                assert!(best[0].words.len() == 8 && !best[0].ended, "{best:?}");
            }
        }
    }

    #[test]
    fn an_ensemble_of_one_twice_is_that_one() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let features = features(3);
        let member = || (&generator, generator.initial_state(&features).unwrap());
        for decoding in [Decoding::greedy(), Decoding::beam(3)] {
            let alone = decode(Predictor::new(vec![member()]), &decoding, 0).unwrap();
            let twice = decode(Predictor::new(vec![member(), member()]), &decoding, 0).unwrap();
            for (alone, twice) in alone.concat().iter().zip(twice.concat()) {
                assert_eq!(alone.words, twice.words);
                assert!((alone.log_probability - twice.log_probability).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn temperatures_at_the_ends_of_their_range_still_make_captions() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let features = features(5);
        let greedy = generator.generate(&features, &Decoding::greedy(), 0).unwrap();
        for temperature in [1e-7, 1e-30, 1e-37, 1e-39, 1e-300, f64::MIN_POSITIVE, 5e-324] {
            let captions = generator.generate(&features, &Decoding::temperature(temperature, 7), 0).unwrap();
            assert_eq!(captions, greedy, "{temperature:e}");
        }
        for temperature in [1e3, 1e38, 1e39, 1e300, f64::MAX] {
            let captions = generator.generate(&features, &Decoding::temperature(temperature, 7), 0).unwrap();
            assert!(captions.iter().any(|caption| !caption.is_empty()), "{temperature:e}");
            assert!(captions.iter().flatten().all(|&word| word > Vocabulary::UNKNOWN), "{temperature:e}");
        }
    }

    #[test]
    fn a_batch_of_more_logits_than_are_computed_at_once_is_learnt_as_a_whole() {
        const WORDS: i64 = 50_000;
        let config = CaptionerConfig {
            word_size: 2,
            image_size: 2,
            hidden_size: 2,
            word_dropout: 0.0,
            ..CaptionerConfig::default()
        };
        let mut weights = Weights::new(4, Device::Cpu);
        let generator = Generator::new(&config, 7, WORDS as usize, &mut weights).unwrap();
        let captions: Vec<Vec<i64>> = (0..13).map(|row| (0..7).map(|word| 4 + row * 97 + word).collect()).collect();
        let captions: Vec<(usize, &[i64])> = captions.iter().map(|words| (0, words.as_slice())).collect();
        let packed = PackedCaptions::new(&captions, 8);
        assert!(packed.tokens() as i64 > LOGITS_AT_ONCE / WORDS);
        let whole =
            generator.distributions(&features(1), &packed).unwrap().gather(1, &packed.targets.unsqueeze(1), false);
        let parts = generator.log_probabilities(&features(1), &packed, None).unwrap();
        let gradient = |loss: &Tensor| {
            let weight = &generator.output.weight;
            Tensor::run_backward(&[loss.mean(Kind::Float)], &[weight], false, false).swap_remove(0)
        };
        assert!((&parts - whole.squeeze_dim(1)).abs().max().double_value(&[]) < 1e-6);
        assert!((gradient(&parts) - gradient(&whole)).abs().max().double_value(&[]) < 1e-8);
    }

    #[test]
    fn attention_weighs_the_regions_anew_at_each_step_and_never_one_that_is_not_there() {
        let config = CaptionerConfig {
            image_size: 5,
            hidden_size: 8,
            pooling: Pooling::Attention,
            word_dropout: 0.0,
            ..CaptionerConfig::scenes()
        };
        let mut weights = Weights::new(4, Device::Cpu);
        let generator = Generator::new(&config, 7, 12, &mut weights).unwrap();
        let features = Weights::new(8, Device::Cpu).uniform("features", &[2, 4, 7], 2.0).detach();
        let mask = Tensor::from_slice2(&[[1f32, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]);
        let batch = |features: &Tensor| {
            FeatureBatch::new(features.copy(), mask.copy(), Tensor::zeros([2, 4, 4], (Kind::Float, Device::Cpu)))
        };
        let captions: [(usize, &[i64]); 3] = [(0, &[4, 5, 6]), (1, &[7]), (0, &[8, 9])];
        let packed = PackedCaptions::new(&captions, 40);
        let all = generator.log_probabilities(&batch(&features), &packed, None).unwrap();
        // Words that no caption says get no probability in decoding, so let them have none here.
        let unlikely = generator.output.bias.as_ref().unwrap().detach();
        for special in [Vocabulary::PAD, Vocabulary::START, Vocabulary::UNKNOWN] {
            let _ = unlikely.narrow(0, special, 1).fill_(-1e9);
        }
        let barred = generator.log_probabilities(&batch(&features), &packed, None).unwrap();
        assert_ne!(barred, all);
        let all = barred;
        // The teacher-forced sum is what decoding step by step gives.
        let steps: f64 = captions
            .iter()
            .map(|(picture, words)| {
                let one = FeatureBatch::new(
                    features.narrow(0, *picture as i64, 1),
                    mask.narrow(0, *picture as i64, 1),
                    Tensor::zeros([1, 4, 4], (Kind::Float, Device::Cpu)),
                );
                let mut state = generator.initial_state(&one).unwrap();
                let said = [Vocabulary::START].into_iter().chain(words.iter().copied());
                let next = words.iter().copied().chain([Vocabulary::END]);
                said.zip(next)
                    .enumerate()
                    .map(|(step, (word, next))| {
                        // `step` bars special words, none of which is said here.
                        let logits = tch::no_grad(|| generator.step(&mut state, &[word], step));
                        logits.log_softmax(1, Kind::Double).double_value(&[0, next])
                    })
                    .sum::<f64>()
            })
            .sum();
        assert!((all.sum(Kind::Double).double_value(&[]) - steps).abs() < 1e-4);
        // What stands where no region is changes nothing; another region does.
        let mut other = features.copy();
        let _ = other.narrow(1, 3, 1).fill_(9.0);
        let _ = other.get(1).narrow(0, 1, 3).fill_(-9.0);
        assert_eq!(generator.log_probabilities(&batch(&other), &packed, None).unwrap(), all);
        other = features.copy();
        let _ = other.get(0).narrow(0, 2, 1).fill_(3.0);
        assert_ne!(generator.log_probabilities(&batch(&other), &packed, None).unwrap(), all);
    }

    #[test]
    fn where_regions_are_matters_to_geometry_and_relations_and_not_where_padding_is() {
        let features = Weights::new(8, Device::Cpu).uniform("features", &[1, 3, 7], 2.0).detach();
        let mask = Tensor::from_slice2(&[[1f32, 1.0, 0.0]]);
        let boxes = Tensor::from_slice2(&[[0f32, 0.0, 100.0, 50.0], [10.0, 5.0, 60.0, 30.0], [0.0; 4]]).unsqueeze(0);
        assert_eq!(Vec::<f32>::try_from(geometry(&boxes).get(0).get(1)).unwrap(), [0.4, 0.4, 2.4, 2.4, 2.0, 2.0, 1.0]);
        for (geometry, relations) in [(false, false), (true, false), (false, true)] {
            let config =
                CaptionerConfig { image_size: 5, hidden_size: 8, geometry, relations, ..CaptionerConfig::scenes() };
            let mut weights = Weights::new(4, Device::Cpu);
            let generator = Generator::new(&config, 7, 12, &mut weights).unwrap();
            let packed = PackedCaptions::new(&[(0, &[4, 5, 6])], 40);
            let score = |boxes: &Tensor| {
                let batch = FeatureBatch::new(features.copy(), mask.copy(), boxes.copy());
                generator.log_probabilities(&batch, &packed, None).unwrap().sum(Kind::Float).double_value(&[])
            };
            let (moved, padding) = (boxes.copy(), boxes.copy());
            let _ = moved.get(0).get(1).fill_(40.0);
            let _ = padding.get(0).get(2).fill_(40.0);
            assert_eq!(score(&moved) != score(&boxes), geometry || relations);
            assert_eq!(score(&padding), score(&boxes));
        }
    }

    #[test]
    fn regions_are_pooled_without_those_that_are_not_there() {
        let features = Weights::new(8, Device::Cpu).uniform("features", &[2, 4, 7], 2.0).detach();
        let mask = Tensor::from_slice2(&[[1f32, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]);
        let boxes = Tensor::zeros([2, 4, 4], (Kind::Float, Device::Cpu));
        for pooling in [Pooling::WholePicture, Pooling::Mean, Pooling::Max] {
            let config = CaptionerConfig { image_size: 5, pooling, ..CaptionerConfig::default() };
            let mut weights = Weights::new(4, Device::Cpu);
            let generator = Generator::new(&config, 7, 12, &mut weights).unwrap();
            let batch = FeatureBatch::new(features.copy(), mask.copy(), boxes.copy());
            let Image::Gates(gates) = generator.image(&batch, |vector| vector).unwrap() else { panic!("one vector") };
            let each = generator.image_projection.forward(&features).relu();
            let rows = |picture: i64, count: i64| each.get(picture).narrow(0, 0, count);
            let expected = match pooling {
                Pooling::WholePicture => [rows(0, 1).get(0), rows(1, 1).get(0)],
                Pooling::Mean => {
                    [rows(0, 3), rows(1, 1)].map(|rows| rows.mean_dim([0i64].as_slice(), false, Kind::Float))
                }
                Pooling::Max => [rows(0, 3), rows(1, 1)].map(|rows| rows.amax([0], false)),
                Pooling::Attention | Pooling::AlignedMean => unreachable!(),
            };
            let expected = generator.image_gates(&Tensor::stack(&expected, 0));
            let difference = (gates - expected).abs().max().double_value(&[]);
            assert!(difference < 1e-6, "{pooling:?}: {difference}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (_weights, generator) = small(ImageInjection::EveryStep);
        let wrong = FeatureBatch::whole_pictures(&Tensor::zeros([2, 6], (Kind::Float, Device::Cpu)));
        let error = generator.generate(&wrong, &Decoding::greedy(), 0).unwrap_err().to_string();
        assert!(error.contains("[pictures, regions, 7]"), "{error}");
        for (decoding, field) in [
            (Decoding { temperature: -1.0, ..Decoding::greedy() }, "decoding.temperature"),
            (Decoding { temperature: f64::NAN, ..Decoding::greedy() }, "decoding.temperature"),
            (Decoding { max_words: 0, ..Decoding::greedy() }, "decoding.max_words"),
            (Decoding { min_words: 31, ..Decoding::greedy() }, "decoding.min_words"),
            (Decoding { top_k: Some(0), ..Decoding::temperature(1.0, 1) }, "decoding.top_k"),
            (Decoding::nucleus(0.0, 1), "decoding.nucleus"),
            (Decoding::nucleus(1.1, 1), "decoding.nucleus"),
            (Decoding::nucleus(f64::NAN, 1), "decoding.nucleus"),
            (Decoding { no_repeat_ngram: Some(0), ..Decoding::greedy() }, "decoding.no_repeat_ngram"),
            (Decoding::beam(0), "decoding.beam"),
            (Decoding { length_penalty: -1.0, ..Decoding::beam(3) }, "decoding.length_penalty"),
            (Decoding { groups: 2, ..Decoding::beam(3) }, "decoding.groups"),
            (Decoding { groups: 0, ..Decoding::beam(3) }, "decoding.groups"),
            (Decoding { diversity: f64::INFINITY, ..Decoding::beam(3) }, "decoding.diversity"),
            (Decoding { best: 4, ..Decoding::beam(3) }, "decoding.best"),
            (Decoding { temperature: 1.0, ..Decoding::beam(3) }, "decoding.beam"),
        ] {
            let error = generator.generate(&features(1), &decoding, 0).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        assert!(generator.generate(&narrow(&features(1), 0, 0), &Decoding::greedy(), 0).unwrap().is_empty());
    }
}
