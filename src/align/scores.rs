//! Scores of pictures with sentences, and the ranking loss.

use tch::{Kind, Tensor};

use super::{AlignmentConfig, Negatives, PackedSentences, RegionScore};

/// Similarities that are computed at a time: what fits into the processor's cache beside the embeddings.
const TILE: i64 = 1 << 20;

/// Words of a tile. The more, the fewer regions fit; a matrix product is fast where both are many.
const WORDS_OF_TILE: i64 = 1024;

/// Pictures and sentences as embeddings.
pub(super) struct Embedded {
    /// `[pictures, regions, embedding_size]`
    pub(super) regions: Tensor,
    /// `[pictures, regions]`: 1 for regions, 0 for padding.
    pub(super) mask: Tensor,
    /// `[words, embedding_size]`, of all sentences.
    pub(super) words: Tensor,
    /// The sentence of each word, `[words]`.
    pub(super) sentence_of_words: Tensor,
    /// What each sentence's score is multiplied by, `[sentences]`.
    pub(super) scales: Tensor,
}

/// The best region of each word in each picture.
struct Best {
    /// Its similarity, `[words, pictures]`.
    similarity: Tensor,
    /// Its index, `[words, pictures]`.
    region: Tensor,
}

impl Embedded {
    pub(super) fn new(
        regions: Tensor,
        mask: Tensor,
        words: Tensor,
        sentences: &PackedSentences,
        scales: &Tensor,
    ) -> Self {
        let sentence_of_words = sentences.sentence_of_words().to_device(words.device());
        let scales = scales.to_device(words.device());
        Self { regions, mask, words, sentence_of_words, scales }
    }

    /// The similarities of words with the regions of pictures, tile by tile: `of_tile` makes of a tile, `[words, regions, pictures]`,
    /// in which there is −∞ where there is no region, tensors `[words, pictures]`, which are joined to those of all.
    fn over_tiles<const N: usize>(&self, of_tile: impl Fn(Tensor) -> [Tensor; N]) -> [Tensor; N] {
        let ([pictures, regions, width], words) = (self.shape(), self.words.size()[0]);
        // A column for each region of a picture, the first regions of all pictures first: then a maximum over regions compares whole
        // rows.
        let columns = self.regions.transpose(0, 1);
        let absent = self.mask.eq(0.0).tr();
        let is_padded = absent.any().int64_value(&[]) != 0;
        let rows_of_tile = words.clamp(1, WORDS_OF_TILE);
        let count = (TILE / (rows_of_tile * regions).max(1)).clamp(1, pictures.max(1));
        let mut joined: [Vec<Tensor>; N] = std::array::from_fn(|_| Vec::new());
        for first in (0..pictures).step_by(count as usize) {
            let count = count.min(pictures - first);
            let tile = columns.narrow(1, first, count).reshape([regions * count, width]).tr();
            let mut of_words: [Vec<Tensor>; N] = std::array::from_fn(|_| Vec::new());
            for first_word in (0..words).step_by(rows_of_tile as usize) {
                let rows = rows_of_tile.min(words - first_word);
                let mut similarities =
                    self.words.narrow(0, first_word, rows).matmul(&tile).view([rows, regions, count]);
                if is_padded {
                    similarities =
                        similarities.masked_fill(&absent.narrow(1, first, count).unsqueeze(0), f64::NEG_INFINITY);
                }
                of_words.iter_mut().zip(of_tile(similarities)).for_each(|(part, tensor)| part.push(tensor));
            }
            joined.iter_mut().zip(of_words).for_each(|(part, tensors)| part.push(Tensor::cat(&tensors, 0)));
        }
        joined.map(|parts| Tensor::cat(&parts, 1))
    }

    /// Pictures, regions, and the dimension of their embeddings.
    fn shape(&self) -> [i64; 3] {
        let size = self.regions.size();
        [size[0], size[1], size[2]]
    }

    fn best(&self) -> Best {
        let [similarity, region] = tch::no_grad(|| {
            self.over_tiles(|tile| {
                let (similarity, region) = tile.max_dim(1, false);
                [similarity, region]
            })
        });
        Best { similarity, region }
    }

    /// Sums over the words of each sentence: `[words, pictures]` to `[sentences, pictures]`.
    fn over_sentences(&self, of_words: &Tensor) -> Tensor {
        let zeros = Tensor::zeros([self.scales.size()[0], of_words.size()[1]], (Kind::Float, of_words.device()));
        zeros.index_add(0, &self.sentence_of_words, of_words) * self.scales.unsqueeze(1)
    }

    /// The score of each sentence with each picture, `[sentences, pictures]`.
    ///
    /// [`RegionScore::Max`] is computed without a gradient, tile by tile.
    pub(super) fn scores(&self, score: RegionScore) -> Tensor {
        let [of_words] = match score {
            RegionScore::Max => tch::no_grad(|| self.over_tiles(|tile| [tile.amax([1], false)])),
            // −∞ is not positive.
            RegionScore::SumOfPositive => {
                self.over_tiles(|tile| [tile.relu().sum_dim_intlist([1i64].as_slice(), false, Kind::Float)])
            }
        };
        self.over_sentences(&of_words)
    }

    /// The ranking loss of the sentences, which belong to the pictures `owners`, `[sentences]`.
    ///
    /// A maximum passes its gradient to one region alone, and a pair without a violation passes none. So the similarities are computed
    /// once without a gradient; from the loss follows how much each word and its best region in a picture count; and the products of just
    /// these have the same gradient as the whole.
    pub(super) fn loss(&self, config: &AlignmentConfig, owners: &Tensor, margin: f64, negatives: Negatives) -> Tensor {
        if config.score != RegionScore::Max || !self.words.requires_grad() {
            return ranking_loss(&self.scores(config.score), owners, margin, negatives);
        }
        let best = self.best();
        let scores = self.over_sentences(&best.similarity).detach().set_requires_grad(true);
        let loss = ranking_loss(&scores, owners, margin, negatives);
        let gradient = Tensor::run_backward(&[&loss], &[&scores], false, false).remove(0);
        let loss = loss.detach();

        // How much each word counts in each picture, `[words, pictures]`.
        let counts = (gradient * self.scales.unsqueeze(1)).index_select(0, &self.sentence_of_words);
        let [pictures, regions, width] = self.shape();
        let first_region = Tensor::arange(pictures, (Kind::Int64, counts.device())) * regions;
        let counted = counts.ne(0.0);
        let rows = (best.region + first_region).masked_select(&counted);
        // Where the rows of each word begin.
        let of_word = counted.sum_dim_intlist([1i64].as_slice(), false, Kind::Int64);
        let begins = of_word.cumsum(0, Kind::Int64) - &of_word;
        let (attended, ..) = Tensor::embedding_bag(
            &self.regions.reshape([pictures * regions, width]),
            &rows,
            &begins,
            false,
            // Sums.
            0,
            false,
            Some(counts.masked_select(&counted)),
            false,
        );
        let surrogate = (&self.words * attended).sum(Kind::Float);
        // The value of the loss with the gradient of the surrogate.
        &surrogate + (loss - surrogate.detach())
    }
}

/// How far right pairs fail to score higher than wrong ones by the margin, per sentence (equation 9, in both directions):
/// `Σ_l max(0, S_kl − S_kk + margin) + Σ_l max(0, S_lk − S_kk + margin)`, with sums over all `l`, or the largest term alone.
///
/// Sentences of one picture are not negatives of each other. The sum over sentences is divided by their number, so that a learning rate
/// serves for any size of a batch.
///
/// # Shapes
/// - `scores`: `[sentences, pictures]`
/// - `owners`: the picture of each sentence, `[sentences]`
/// - result: without dimensions
pub(super) fn ranking_loss(scores: &Tensor, owners: &Tensor, margin: f64, negatives: Negatives) -> Tensor {
    let [sentences, pictures] = scores.size()[..] else { return Tensor::from(0.0) };
    let own = scores.gather(1, &owners.unsqueeze(1), false);
    let columns = Tensor::arange(pictures, (Kind::Int64, scores.device()));
    let own_picture = owners.unsqueeze(1).eq_tensor(&columns);
    let of_pictures = (scores - &own + margin).relu().masked_fill(&own_picture, 0.0);
    // Row: the wrong sentence. Column: the sentence whose picture is described.
    let same_picture = owners.unsqueeze(1).eq_tensor(&owners.unsqueeze(0));
    let of_sentences = (scores.index_select(1, owners) - own.tr() + margin).relu().masked_fill(&same_picture, 0.0);
    let sum = match negatives {
        Negatives::All => of_pictures.sum(Kind::Float) + of_sentences.sum(Kind::Float),
        Negatives::Hardest => {
            of_pictures.amax([1], false).sum(Kind::Float) + of_sentences.amax([0], false).sum(Kind::Float)
        }
    };
    sum / sentences.max(1) as f64
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::nn::Weights;

    /// Embeddings of 4 pictures with up to 3 regions and 6 sentences, some of one picture.
    fn embedded(with_gradient: bool) -> (Weights, Embedded, Vec<usize>) {
        let mut weights = Weights::new(3, Device::Cpu);
        let regions = weights.uniform("regions", &[4, 3, 5], 1.0);
        let words = weights.uniform("words", &[13, 5], 1.0);
        let mask = Tensor::from_slice(&[1f32, 1., 1., 1., 0., 0., 1., 1., 0., 1., 1., 1.]).reshape([4, 3]);
        let sentence_of_words = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 0, 1]);
        let scales = Tensor::from_slice(&[0.5f32, 0.6, 0.7, 0.8, 0.9, 1.0]);
        let (regions, words) = match with_gradient {
            true => (regions, words),
            false => (regions.detach(), words.detach()),
        };
        (weights, Embedded { regions, mask, words, sentence_of_words, scales }, vec![0, 1, 1, 2, 3, 0])
    }

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap()
    }

    /// The same scores, written as loops.
    fn scores_by_loops(embedded: &Embedded, regions: &[f64], words: &[f64], score: RegionScore) -> Vec<Vec<f64>> {
        let (mask, scales) = (numbers(&embedded.mask), numbers(&embedded.scales));
        let mut scores = vec![vec![0.0; 4]; 6];
        for (word, &sentence) in numbers(&embedded.sentence_of_words).iter().enumerate() {
            for (picture, total) in scores[sentence as usize].iter_mut().enumerate() {
                let similarities = (0..3).filter(|region| mask[picture * 3 + region] > 0.0).map(|region| {
                    let at = (picture * 3 + region) * 5;
                    (0..5).map(|place| regions[at + place] * words[word * 5 + place]).sum::<f64>()
                });
                let of_word = match score {
                    RegionScore::Max => similarities.fold(f64::NEG_INFINITY, f64::max),
                    RegionScore::SumOfPositive => similarities.map(|similarity| similarity.max(0.0)).sum(),
                };
                *total += of_word * scales[sentence as usize];
            }
        }
        scores
    }

    fn loss_by_loops(scores: &[Vec<f64>], owners: &[usize], margin: f64, negatives: Negatives) -> f64 {
        let join = |terms: Vec<f64>| match negatives {
            Negatives::All => terms.iter().sum::<f64>(),
            Negatives::Hardest => terms.into_iter().fold(0.0, f64::max),
        };
        let mut loss = 0.0;
        for (sentence, &own) in owners.iter().enumerate() {
            let right = scores[sentence][own];
            let hinge = |wrong: f64| (wrong - right + margin).max(0.0);
            loss += join(
                (0..4).filter(|&picture| picture != own).map(|picture| hinge(scores[sentence][picture])).collect(),
            );
            let others = (0..owners.len()).filter(|&other| owners[other] != own);
            loss += join(others.map(|other| hinge(scores[other][own])).collect());
        }
        loss / owners.len() as f64
    }

    #[test]
    fn scores_and_losses_are_those_of_plain_loops_and_so_are_the_gradients() {
        for score in [RegionScore::Max, RegionScore::SumOfPositive] {
            for negatives in [Negatives::All, Negatives::Hardest] {
                let config = AlignmentConfig { score, ..AlignmentConfig::scenes() };
                let (weights, embedded, owners) = embedded(true);
                let picture_of: Vec<i64> = owners.iter().map(|&own| own as i64).collect();
                let picture_of = Tensor::from_slice(&picture_of);
                let values = [numbers(&embedded.regions), numbers(&embedded.words)];
                let by_loops = |[regions, words]: &[Vec<f64>; 2]| scores_by_loops(&embedded, regions, words, score);
                let loss_of = |values: &[Vec<f64>; 2]| loss_by_loops(&by_loops(values), &owners, 0.3, negatives);
                for (ours, theirs) in numbers(&embedded.scores(score)).iter().zip(by_loops(&values).concat()) {
                    assert!((ours - theirs).abs() < 1e-5, "{score:?}: {ours}, {theirs}");
                }
                let loss = embedded.loss(&config, &picture_of, 0.3, negatives);
                let expected = loss_of(&values);
                assert!((loss.double_value(&[]) - expected).abs() < 1e-5, "{negatives:?}: {loss:?}, {expected}");
                assert!(expected > 0.5);
                loss.backward();
                for (part, name) in ["regions", "words"].into_iter().enumerate() {
                    let gradient = numbers(&weights.get(name).unwrap().grad());
                    assert!(gradient.iter().filter(|value| value.abs() > 1e-3).count() > 10, "{name}: {gradient:?}");
                    for (place, &found) in gradient.iter().enumerate() {
                        // A little to both sides.
                        let at = |change: f64| {
                            let mut values = values.clone();
                            values[part][place] += change;
                            loss_of(&values)
                        };
                        let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
                        assert!(
                            (found - expected).abs() < 1e-4,
                            "{score:?} {negatives:?} {name}[{place}]: {found}, {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn padding_counts_for_nothing() {
        let (_, mut some, owners) = embedded(false);
        let before = numbers(&some.scores(RegionScore::Max));
        let padding = Tensor::ones([4, 2, 5], (Kind::Float, Device::Cpu)) * 100.0;
        some.regions = Tensor::cat(&[&some.regions, &padding], 1);
        some.mask = Tensor::cat(&[&some.mask, &Tensor::zeros([4, 2], (Kind::Float, Device::Cpu))], 1);
        assert_eq!(numbers(&some.scores(RegionScore::Max)), before);
        assert_eq!(owners.len(), 6);
    }

    #[test]
    fn right_pairs_that_win_by_the_margin_cost_nothing() {
        let scores = Tensor::from_slice(&[1.0f32, 0.5, 0.25, 0.875]).reshape([2, 2]);
        let owners = Tensor::from_slice(&[0i64, 1]);
        for negatives in [Negatives::All, Negatives::Hardest] {
            assert_eq!(ranking_loss(&scores, &owners, 0.375, negatives).double_value(&[]), 0.0);
            assert!(ranking_loss(&scores, &owners, 0.5, negatives).double_value(&[]) > 0.0);
        }
    }
}
