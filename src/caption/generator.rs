//! The part of a captioner that speaks: from a feature to a sentence.

use tch::{Kind, Tensor};

use crate::nn::lstm::{Lstm, LstmState};
use super::{CaptionerConfig, Decoding, ImageEntry, PackedCaptions};
use crate::data::{Random, Vocabulary};
use crate::nn::Weights;
use crate::{Error, Result};

/// Puts a picture's feature into words. What made the feature is of no concern to it.
///
/// Its weights are named as PyTorch modules name theirs: `image_projection.weight`, `word_embedding.weight`,
/// `lstm.weight_ih_l0` (whose input is the word vector, then the image vector), `output.weight`.
#[derive(Debug)]
pub struct Generator {
    config: CaptionerConfig,
    feature_size: usize,
    image_weight: Tensor,
    image_bias: Tensor,
    word_embedding: Tensor,
    lstm: Lstm,
    output_weight: Tensor,
    output_bias: Tensor,
}

/// The LSTM's gates as far as they come from the image, and its memory, while captions are being made.
struct Speaking {
    image_gates: Tensor,
    bias: Tensor,
    word_weight: Tensor,
    state: LstmState,
}

/// The first words of a caption, and the sum of their log probabilities.
struct Beginning {
    words: Vec<i64>,
    score: f64,
}

impl Generator {
    /// A generator of `vocabulary_size` words for features of `feature_size` numbers.
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
        let (words, word_size) = (vocabulary_size as i64, config.word_size as i64);
        let (features, image_size) = (feature_size as i64, config.image_size as i64);
        let hidden = config.hidden_size as i64;
        // As PyTorch's Linear, and word vectors small enough that no word is loud from the start.
        let output_bound = 1.0 / (config.hidden_size as f64).sqrt();
        Ok(Self {
            config: config.clone(),
            feature_size,
            image_weight: weights.for_relu("image_projection.weight", &[image_size, features]),
            image_bias: weights.constant("image_projection.bias", &[image_size], 0.0, true),
            word_embedding: weights.uniform("word_embedding.weight", &[words, word_size], 1.0),
            lstm: Lstm::new(config.word_size + config.image_size, config.hidden_size, "lstm", weights),
            output_weight: weights.uniform("output.weight", &[words, hidden], output_bound),
            output_bias: weights.constant("output.bias", &[words], 0.0, true),
        })
    }

    /// The same generator for another thread.
    pub(crate) fn share(&self) -> Self {
        Self {
            config: self.config.clone(),
            feature_size: self.feature_size,
            image_weight: self.image_weight.shallow_clone(),
            image_bias: self.image_bias.shallow_clone(),
            word_embedding: self.word_embedding.shallow_clone(),
            lstm: self.lstm.share(),
            output_weight: self.output_weight.shallow_clone(),
            output_bias: self.output_bias.shallow_clone(),
        }
    }

    /// Lets the generator start from how frequent words are: the bias of a word becomes its log probability, as in the
    /// paper, which then need not be learnt. `counts` are by number in the vocabulary; a word never seen counts as a tenth.
    pub fn start_from_counts(&mut self, counts: &[usize]) -> Result<()> {
        let total: f64 = counts.iter().map(|&count| (count as f64).max(0.1)).sum();
        let logs: Vec<f32> = counts.iter().map(|&count| ((count as f64).max(0.1) / total).ln() as f32).collect();
        tch::no_grad(|| self.output_bias.f_copy_(&Tensor::from_slice(&logs)))?;
        Ok(())
    }

    /// The mean cross entropy of the captions' words, in nats: how surprised the generator is by the right next word.
    ///
    /// With `random` (in training), words, image and outputs are dropped as configured, by masks drawn from it.
    ///
    /// # Shapes
    /// - `features`: `[pictures, feature_size]`
    /// - result: no dimensions
    pub fn loss(&self, features: &Tensor, captions: &PackedCaptions, mut random: Option<&mut Random>) -> Tensor {
        let mut drop = |tensor: Tensor, share: f64| match &mut random {
            Some(random) if share > 0.0 => &tensor * dropout_mask(&tensor, share, random),
            _ => tensor,
        };
        let device = features.device();
        let word_size = self.config.word_size as i64;
        let image_size = self.config.image_size as i64;

        // The image's share of the gates is computed once a picture, not once a word.
        let image = drop(self.image_vector(features), self.config.image_dropout);
        let image_gates = image.linear(&self.lstm.weight_ih.narrow(1, word_size, image_size), None::<&Tensor>);
        let pictures = captions.pictures.to_device(device);
        let words = self.word_embedding.index_select(0, &captions.inputs.to_device(device));
        let words = drop(words, self.config.word_dropout);
        let word_gates = words.linear(&self.lstm.weight_ih.narrow(1, 0, word_size), Some(&self.lstm.bias()));
        let gates = match self.config.image_entry {
            ImageEntry::EveryStep => word_gates + image_gates.index_select(0, &pictures),
            ImageEntry::FirstStep => {
                let first = captions.captions() as i64;
                let rest = captions.tokens() as i64 - first;
                let seen = word_gates.narrow(0, 0, first) + image_gates.index_select(0, &pictures.narrow(0, 0, first));
                Tensor::cat(&[seen, word_gates.narrow(0, first, rest)], 0)
            }
        };
        let hidden = drop(self.lstm.forward(&gates, &captions.steps), self.config.output_dropout);
        let scores = hidden.linear(&self.output_weight, Some(&self.output_bias));
        scores.cross_entropy_for_logits(&captions.targets.to_device(device))
    }

    /// Captions as numbers of words, without specials: one for each row of `features`.
    ///
    /// `first` is the number of the first row among all that are captioned with these settings: each row draws its words
    /// from its own sequence, so a caption does not depend on what else is in the batch.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is out of its range, [`Error::Argument`] when the features are of another size.
    pub fn generate(&self, features: &Tensor, decoding: &Decoding, first: usize) -> Result<Vec<Vec<i64>>> {
        decoding.validate()?;
        if features.size().len() != 2 || features.size()[1] != self.feature_size as i64 {
            return Err(Error::argument(
                format!(
                    "features are {:?}, and the generator needs [pictures, {}]",
                    features.size(),
                    self.feature_size
                ),
                "Use the features that it was trained on.",
            ));
        }
        tch::no_grad(|| match decoding.beam {
            1 => self.generate_rows(features, decoding, first),
            _ => (0..features.size()[0]).map(|row| self.search(&features.narrow(0, row, 1), decoding)).collect(),
        })
    }

    fn generate_rows(&self, features: &Tensor, decoding: &Decoding, first: usize) -> Result<Vec<Vec<i64>>> {
        let rows = features.size()[0] as usize;
        let mut captions = vec![Vec::new(); rows];
        if rows == 0 {
            return Ok(captions);
        }
        let mut randoms: Vec<Random> =
            (0..rows).map(|row| Random::stream(decoding.seed, (first + row) as u64)).collect();
        // The rows of the tensors are those captions that have not ended yet.
        let mut going_on: Vec<usize> = (0..rows).collect();
        let mut speaking = self.start_speaking(features);
        let mut words = vec![Vocabulary::START; rows];
        for step in 0..decoding.max_words {
            let scores = self.speak(&mut speaking, &words, step);
            let chosen = choose(&scores, decoding.temperature, &going_on, &mut randoms)?;
            let mut kept = Vec::with_capacity(going_on.len());
            for (index, &word) in chosen.iter().enumerate() {
                if word != Vocabulary::END {
                    captions[going_on[index]].push(word);
                    kept.push(index);
                }
            }
            if kept.is_empty() {
                break;
            }
            words = kept.iter().map(|&index| chosen[index]).collect();
            if kept.len() < going_on.len() {
                let rows: Vec<i64> = kept.iter().map(|&index| index as i64).collect();
                let rows = Tensor::from_slice(&rows).to_device(features.device());
                speaking.image_gates = speaking.image_gates.index_select(0, &rows);
                speaking.state.hidden = speaking.state.hidden.index_select(0, &rows);
                speaking.state.cell = speaking.state.cell.index_select(0, &rows);
                going_on = kept.iter().map(|&index| going_on[index]).collect();
            }
        }
        Ok(captions)
    }

    /// The most probable caption of one picture that a beam search finds, `features` being `[1, feature_size]`.
    ///
    /// A caption's score is the sum of its words' log probabilities, as in the paper's own code: it does not favour long
    /// captions.
    fn search(&self, features: &Tensor, decoding: &Decoding) -> Result<Vec<i64>> {
        let mut speaking = self.start_speaking(features);
        let image_gates = speaking.image_gates.shallow_clone();
        let mut live = vec![Beginning { words: Vec::new(), score: 0.0 }];
        let mut best: Option<Beginning> = None;
        for step in 0..decoding.max_words {
            let words: Vec<i64> = live.iter().map(|begun| *begun.words.last().unwrap_or(&Vocabulary::START)).collect();
            speaking.image_gates = image_gates.repeat([live.len() as i64, 1]);
            let scores = self.speak(&mut speaking, &words, step).f_log_softmax(1, Kind::Double)?;
            let most = scores.size()[1].min(decoding.beam as i64);
            let (scores, words) = scores.f_topk(most, 1, true, true)?;
            let scores: Vec<f64> = Vec::try_from(scores.f_flatten(0, 1)?.f_to_device(tch::Device::Cpu)?)?;
            let words: Vec<i64> = Vec::try_from(words.f_flatten(0, 1)?.f_to_device(tch::Device::Cpu)?)?;
            // Each beginning with each of its most probable next words, the best first.
            let mut next: Vec<(usize, i64, f64)> = (0..words.len())
                .map(|place| {
                    let row = place / most as usize;
                    (row, words[place], live[row].score + scores[place])
                })
                .collect();
            // What no caption says is impossible, and not only improbable.
            next.retain(|(_, _, score)| score.is_finite());
            next.sort_by(|one, other| other.2.total_cmp(&one.2));
            next.truncate(decoding.beam);
            let mut rows = Vec::with_capacity(next.len());
            let mut longer = Vec::with_capacity(next.len());
            for (row, word, score) in next {
                if word == Vocabulary::END {
                    if best.as_ref().is_none_or(|best| score > best.score) {
                        best = Some(Beginning { words: live[row].words.clone(), score });
                    }
                } else {
                    let words = live[row].words.iter().copied().chain([word]).collect();
                    rows.push(row as i64);
                    longer.push(Beginning { words, score });
                }
            }
            live = longer;
            // Going on can only make a caption less probable.
            let may_win = |begun: &Beginning| best.as_ref().is_none_or(|best| begun.score > best.score);
            if !live.iter().any(may_win) {
                break;
            }
            let rows = Tensor::from_slice(&rows).to_device(features.device());
            speaking.state.hidden = speaking.state.hidden.index_select(0, &rows);
            speaking.state.cell = speaking.state.cell.index_select(0, &rows);
        }
        // Where nothing has ended in time, the best beginning.
        Ok(best.or_else(|| live.into_iter().next()).map(|begun| begun.words).unwrap_or_default())
    }

    fn image_vector(&self, features: &Tensor) -> Tensor {
        features.linear(&self.image_weight, Some(&self.image_bias)).relu()
    }

    fn start_speaking(&self, features: &Tensor) -> Speaking {
        let (word_size, image_size) = (self.config.word_size as i64, self.config.image_size as i64);
        let image_weight = self.lstm.weight_ih.narrow(1, word_size, image_size);
        Speaking {
            image_gates: self.image_vector(features).linear(&image_weight, None::<&Tensor>),
            bias: self.lstm.bias(),
            word_weight: self.lstm.weight_ih.narrow(1, 0, word_size),
            state: self.lstm.start(features.size()[0]),
        }
    }

    /// Says `words`, one a row, and gives the scores of the words that may follow, `[rows, vocabulary]`.
    fn speak(&self, speaking: &mut Speaking, words: &[i64], step: usize) -> Tensor {
        let words = Tensor::from_slice(words).to_device(self.word_embedding.device());
        let vectors = self.word_embedding.index_select(0, &words);
        let mut gates = vectors.linear(&speaking.word_weight, Some(&speaking.bias));
        if step == 0 || self.config.image_entry == ImageEntry::EveryStep {
            gates += &speaking.image_gates;
        }
        speaking.state = self.lstm.step(&gates, &speaking.state);
        let scores = speaking.state.hidden.linear(&self.output_weight, Some(&self.output_bias));
        // No caption says what stands for padding, a start or a word that is not known.
        for special in [Vocabulary::PAD, Vocabulary::START, Vocabulary::UNKNOWN] {
            let _ = scores.narrow(1, special, 1).fill_(f64::NEG_INFINITY);
        }
        scores
    }
}

/// One word for each row of `scores`.
fn choose(scores: &Tensor, temperature: f64, rows: &[usize], randoms: &mut [Random]) -> Result<Vec<i64>> {
    if temperature == 0.0 {
        return Ok(Vec::try_from(scores.f_argmax(1, false)?.f_to_device(tch::Device::Cpu)?)?);
    }
    let probabilities = (scores / temperature).f_softmax(1, Kind::Float)?.f_to_device(tch::Device::Cpu)?;
    let width = probabilities.size()[1] as usize;
    let flat: Vec<f32> = Vec::try_from(probabilities.f_flatten(0, 1)?)?;
    let draw = |(row, probabilities): (&usize, &[f32])| {
        let total: f32 = probabilities.iter().sum();
        let mut left = randoms[*row].unit() * total;
        let mut chosen = Vocabulary::END;
        for (word, &probability) in (0..).zip(probabilities) {
            if probability > 0.0 {
                chosen = word;
                left -= probability;
                if left < 0.0 {
                    break;
                }
            }
        }
        chosen
    };
    Ok(rows.iter().zip(flat.chunks_exact(width)).map(draw).collect())
}

/// Zero for the dropped share of numbers, and `1 ÷ (1 − share)` for the others, shaped as `tensor`. The share is rounded to
/// a 65,536th.
fn dropout_mask(tensor: &Tensor, share: f64, random: &mut Random) -> Tensor {
    let threshold = (share * 65_536.0).round() as u16;
    let count = tensor.numel();
    let mut kept = Vec::with_capacity(count + 3);
    while kept.len() < count {
        let bits = random.next_u64();
        kept.extend([0, 16, 32, 48].map(|shift| u8::from((bits >> shift) as u16 >= threshold)));
    }
    kept.truncate(count);
    let mask = Tensor::from_slice(&kept).reshape(tensor.size()).to_device(tensor.device());
    mask.to_kind(Kind::Float) / (1.0 - share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn small(image_entry: ImageEntry) -> (Weights, Generator) {
        let config = CaptionerConfig {
            word_size: 6,
            image_size: 5,
            hidden_size: 8,
            image_entry,
            word_dropout: 0.5,
            ..CaptionerConfig::scenes()
        };
        let mut weights = Weights::new(4, Device::Cpu);
        let generator = Generator::new(&config, 7, 12, &mut weights).unwrap();
        (weights, generator)
    }

    fn features(rows: i64) -> Tensor {
        Weights::new(8, Device::Cpu).uniform("features", &[rows, 7], 2.0).detach()
    }

    /// The loss by libtorch's LSTM, one caption at a time, with the image vector where the configuration wants it.
    fn loss_by_the_kernel(generator: &Generator, features: &Tensor, captions: &[(usize, &[i64])]) -> f64 {
        let (mut sum, mut tokens) = (0.0, 0);
        for (picture, words) in captions {
            let inputs: Vec<i64> = [Vocabulary::START].into_iter().chain(words.iter().copied()).collect();
            let targets: Vec<i64> = words.iter().copied().chain([Vocabulary::END]).collect();
            let vectors = generator.word_embedding.index_select(0, &Tensor::from_slice(&inputs));
            let image = generator.image_vector(&features.narrow(0, *picture as i64, 1));
            let images = image.repeat([inputs.len() as i64, 1]);
            if generator.config.image_entry == ImageEntry::FirstStep {
                let _ = images.narrow(0, 1, words.len() as i64).zero_();
            }
            let input = Tensor::cat(&[vectors, images], 1).unsqueeze(1);
            let start = generator.lstm.start(1);
            let (hidden, cell) = (start.hidden.unsqueeze(0), start.cell.unsqueeze(0));
            let lstm = &generator.lstm;
            let parameters = [&lstm.weight_ih, &lstm.weight_hh, &lstm.bias_ih, &lstm.bias_hh];
            let (output, ..) = input.lstm(&[&hidden, &cell], &parameters, true, 1, 0.0, false, false, false);
            let scores = output.squeeze_dim(1).linear(&generator.output_weight, Some(&generator.output_bias));
            let loss = scores.cross_entropy_for_logits(&Tensor::from_slice(&targets));
            sum += loss.double_value(&[]) * targets.len() as f64;
            tokens += targets.len();
        }
        sum / tokens as f64
    }

    #[test]
    fn the_loss_is_that_of_libtorchs_lstm_fed_with_word_and_image() {
        for entry in [ImageEntry::EveryStep, ImageEntry::FirstStep] {
            let (_weights, generator) = small(entry);
            let captions: [(usize, &[i64]); 4] = [(0, &[4, 5, 6]), (1, &[7]), (0, &[]), (2, &[8, 9, 10, 11, 4])];
            let expected = tch::no_grad(|| loss_by_the_kernel(&generator, &features(3), &captions));
            let loss = generator.loss(&features(3), &PackedCaptions::new(&captions, 40), None).double_value(&[]);
            assert!((loss - expected).abs() < 1e-5, "{entry:?}: {loss}, not {expected}");
        }
    }

    #[test]
    fn a_wide_beam_finds_the_most_probable_caption_of_all() {
        for entry in [ImageEntry::EveryStep, ImageEntry::FirstStep] {
            let (_weights, generator) = small(entry);
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
                let picture_features = features.narrow(0, picture as i64, 1);
                let score = |caption: &Vec<i64>| log_probability(&generator, &picture_features, caption);
                let best = all.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
                // Captions of three words have no end yet, and are taken only where nothing has ended.
                assert!(score(&found[picture]) >= best - 1e-9, "{entry:?}, picture {picture}");
                if greedy[picture].len() < 3 {
                    assert!(score(&found[picture]) >= score(&greedy[picture]) - 1e-9);
                }
            }
        }
    }

    /// The log probability of a caption and its end, word by word.
    fn log_probability(generator: &Generator, features: &Tensor, caption: &[i64]) -> f64 {
        let mut speaking = generator.start_speaking(features);
        let ended: Vec<i64> = caption.iter().copied().chain([Vocabulary::END]).collect();
        let said = [Vocabulary::START].into_iter().chain(caption.iter().copied());
        let steps = said.zip(&ended).enumerate().map(|(step, (word, &next))| {
            let scores = tch::no_grad(|| generator.speak(&mut speaking, &[word], step));
            scores.log_softmax(1, Kind::Double).double_value(&[0, next])
        });
        steps.sum()
    }

    #[test]
    fn a_greedy_caption_is_word_by_word_the_least_surprising() {
        for entry in [ImageEntry::EveryStep, ImageEntry::FirstStep] {
            let (_weights, generator) = small(entry);
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
                        generator.loss(&features, &packed, None).double_value(&[])
                    };
                    let best = (4..12).min_by(|a, b| surprise(*a).total_cmp(&surprise(*b))).unwrap();
                    assert_eq!(said, best, "{entry:?}, picture {picture}, place {place} of {caption:?}");
                }
            }
        }
    }

    #[test]
    fn draws_depend_on_the_seed_and_not_on_the_batch() {
        let (_weights, generator) = small(ImageEntry::EveryStep);
        let features = features(5);
        let drawn = |seed| generator.generate(&features, &Decoding::temperature(1.0, seed), 0).unwrap();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let alone = generator.generate(&features.narrow(0, 3, 1), &Decoding::temperature(1.0, 1), 3).unwrap();
        assert_eq!(alone[0], drawn(1)[3]);
    }

    #[test]
    fn a_low_temperature_says_what_greedy_says_and_a_high_one_varies() {
        let (_weights, generator) = small(ImageEntry::EveryStep);
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
        let (weights, mut generator) = small(ImageEntry::EveryStep);
        generator.start_from_counts(&[0, 0, 10, 0, 70, 20, 0, 0, 0, 0, 0, 0]).unwrap();
        let bias: Vec<f32> = Vec::try_from(weights.get("output.bias").unwrap().detach()).unwrap();
        let total = 100.9f32;
        assert!(
            (bias[4] - (70.0 / total).ln()).abs() < 1e-5 && (bias[0] - (0.1 / total).ln()).abs() < 1e-5,
            "{bias:?}"
        );
    }

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() {
        let tensor = Tensor::ones([300, 101], (Kind::Float, Device::Cpu));
        for share in [0.2, 0.5, 0.9] {
            let mask = dropout_mask(&tensor, share, &mut Random::new(1));
            assert_eq!(mask.size(), [300, 101]);
            assert!((mask.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.05);
            let dropped = mask.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
            assert!((dropped - share).abs() < 0.01, "{share}: {dropped}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (_weights, generator) = small(ImageEntry::EveryStep);
        let wrong = Tensor::zeros([2, 6], (Kind::Float, Device::Cpu));
        let error = generator.generate(&wrong, &Decoding::greedy(), 0).unwrap_err().to_string();
        assert!(error.contains("[pictures, 7]"), "{error}");
        for (decoding, field) in [
            (Decoding { temperature: -1.0, ..Decoding::greedy() }, "decoding.temperature"),
            (Decoding { temperature: f64::NAN, ..Decoding::greedy() }, "decoding.temperature"),
            (Decoding { max_words: 0, ..Decoding::greedy() }, "decoding.max_words"),
        ] {
            let error = generator.generate(&features(1), &decoding, 0).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        assert!(generator.generate(&features(1).narrow(0, 0, 0), &Decoding::greedy(), 0).unwrap().is_empty());
    }
}
