//! CIDEr and CIDEr-D: consensus with the references, weighted by TF-IDF.

use rayon::prelude::*;

use super::ngrams::{self, MOST, Ngram, Words};
use crate::data::WordMap;

/// Standard deviation of the length penalty, in words.
const SIGMA: f64 = 6.0;

/// The references of all images with the document frequencies of n-grams.
///
/// Vedantam, Zitnick & Parikh (2015), *CIDEr: Consensus-based Image Description Evaluation*. The weight of an n-gram is its TF-IDF,
/// tf · (ln N − ln df), where df is the number of the N images with the n-gram (equation 1). The score is the cosine of the weights of
/// caption and reference, averaged over references and over n = 1 to 4 (equations 2 and 3). CIDEr-D clips the weights of the caption at
/// the reference's and penalises differing lengths (equation 4), so that repeating good words does not pay.
///
/// ```
/// use captionlab::metrics::Cider;
/// let references = [
///     vec![vec!["a", "dog", "runs", "on", "grass"], vec!["the", "dog", "runs"]],
///     vec![vec!["a", "boat", "on", "water"]],
/// ];
/// let cider = Cider::new(&references);
/// let (good, vague) = (cider.cider_d(0, &["a", "dog", "runs", "on", "grass"]), cider.cider_d(0, &["a", "on"]));
/// assert!(good > 5.0 && vague < 0.1);
/// // Words that occur for every image are worth nothing: "a" and "on" are said of both.
/// assert_eq!(cider.cider_d(0, &["a"]), 0.0);
/// ```
#[derive(Debug, Clone)]
pub struct Cider {
    words: Words,
    /// Logarithm of the document frequency of each n-gram.
    log_frequencies: WordMap<Ngram, f64>,
    log_images: f64,
    images: Vec<Image>,
}

/// The n-grams of a caption with their counts.
type Counts = Vec<(Ngram, u32)>;

/// The references of an image.
#[derive(Debug, Clone, Default)]
struct Image {
    /// Their n-grams, sorted.
    ngrams: Vec<Ngram>,
    /// Index of the first weight of each n-gram.
    starts: Vec<u32>,
    /// Pairs of a reference and the weight of the n-gram in it, grouped by n-gram.
    weights: Vec<(u32, f64)>,
    /// For each reference the norms of its weights, for n = 1 to 4, and its number of bigrams.
    norms: Vec<([f64; MOST], f64)>,
}

impl Cider {
    /// Builds the scorer from the tokenised references of all images, which are also the corpus of document frequencies.
    ///
    /// With a single image all scores are 0, because every n-gram occurs in all images.
    pub fn new<S: AsRef<str>, R: AsRef<[S]>, I: AsRef<[R]>>(references: &[I]) -> Self {
        let mut words = Words::default();
        let numbers = learn_all(&mut words, references);
        Self::of_numbers(words, &numbers, &numbers)
    }

    /// As [`Cider::new`], with document frequencies from another corpus, such as the training captions.
    pub fn with_corpus<S: AsRef<str>, R: AsRef<[S]>, I: AsRef<[R]>>(references: &[I], corpus: &[I]) -> Self {
        let mut words = Words::default();
        let (references, corpus) = (learn_all(&mut words, references), learn_all(&mut words, corpus));
        Self::of_numbers(words, &references, &corpus)
    }

    /// As [`Cider::new`], for captions encoded as ids by a [`Vocabulary`](crate::data::Vocabulary), for instance to score samples in
    /// training. Leave special tokens out, as they would count as words.
    ///
    /// ```
    /// use captionlab::metrics::Cider;
    /// let cider = Cider::of_ids(&[vec![vec![4, 5, 6]], vec![vec![7, 8]]]);
    /// assert!(cider.cider_d_of_ids(0, &[4, 5, 6]) > 7.0);
    /// assert_eq!(cider.cider_d_of_ids(1, &[4, 5, 6]), 0.0);
    /// ```
    pub fn of_ids<R: AsRef<[i64]>, I: AsRef<[R]>>(references: &[I]) -> Self {
        let numbers = |captions: &I| captions.as_ref().iter().map(|ids| ngrams::of_ids(ids.as_ref())).collect();
        let references: Vec<Vec<Vec<u32>>> = references.iter().map(numbers).collect();
        Self::of_numbers(Words::default(), &references, &references)
    }

    /// Builds the scorer from ids. N-grams are counted twice, which is fast, instead of being stored for all images at once.
    fn of_numbers(words: Words, references: &[Vec<Vec<u32>>], corpus: &[Vec<Vec<u32>>]) -> Self {
        const PART: usize = 512;
        let said = |image: &Vec<Vec<u32>>| -> Vec<Ngram> {
            let counts = image.iter().flat_map(|caption| ngrams::count(caption));
            let mut said: Vec<Ngram> = counts.map(|(ngram, _)| ngram).collect();
            said.sort_unstable();
            said.dedup();
            said
        };
        let mut log_frequencies: WordMap<Ngram, f64> = WordMap::default();
        for part in corpus.chunks(PART) {
            let said: Vec<Vec<Ngram>> = part.par_iter().map(said).collect();
            said.into_iter().flatten().for_each(|ngram| *log_frequencies.entry(ngram).or_default() += 1.0);
        }
        log_frequencies.values_mut().for_each(|images| *images = images.ln());
        let log_images = (corpus.len().max(1) as f64).ln();
        let mut cider = Self { words, log_frequencies, log_images, images: Vec::new() };
        let prepare = |image: &Vec<Vec<u32>>| {
            let counts: Vec<Counts> = image.iter().map(|caption| ngrams::count(caption)).collect();
            cider.prepare(&counts)
        };
        let images = references.par_iter().map(prepare).collect();
        cider.images = images;
        cider
    }

    fn prepare(&self, captions: &[Counts]) -> Image {
        let mut image = Image::default();
        let mut all: Vec<(Ngram, u32, f64)> = Vec::new();
        for (number, counts) in captions.iter().enumerate() {
            let (weights, norms) = self.weights(counts);
            all.extend(weights.into_iter().map(|(ngram, weight)| (ngram, number as u32, weight)));
            image.norms.push((norms, pairs(counts)));
        }
        all.sort_unstable_by_key(|(ngram, number, _)| (*ngram, *number));
        image.weights.reserve_exact(all.len());
        for (ngram, number, weight) in all {
            if image.ngrams.last() != Some(&ngram) {
                image.ngrams.push(ngram);
                image.starts.push(image.weights.len() as u32);
            }
            image.weights.push((number, weight));
        }
        // These are kept for all images of a corpus.
        image.ngrams.shrink_to_fit();
        image.starts.shrink_to_fit();
        image
    }

    /// The weights of a caption's n-grams, and their norm for each n.
    fn weights(&self, counts: &[(Ngram, u32)]) -> (Vec<(Ngram, f64)>, [f64; MOST]) {
        let mut norms = [0.0; MOST];
        let weigh = |&(ngram, count): &(Ngram, u32)| {
            // An unknown n-gram has the document frequency 1.
            let log_frequency = self.log_frequencies.get(&ngram).copied().unwrap_or(0.0);
            let weight = f64::from(count) * (self.log_images - log_frequency);
            norms[ngrams::order(ngram) - 1] += weight * weight;
            (ngram, weight)
        };
        let weights = counts.iter().map(weigh).collect();
        (weights, norms.map(f64::sqrt))
    }

    /// The TF-IDF weight of each distinct word of a caption, in order of occurrence: its count times ln N − ln df, which is 0 for a word of
    /// all images, and ln N for a word of at most one.
    ///
    /// ```
    /// use captionlab::metrics::Cider;
    /// let cider = Cider::new(&[vec![vec!["a", "kite"]], vec![vec!["a", "dog"]]]);
    /// let weights = cider.word_weights(&["a", "kite"]);
    /// assert_eq!(weights[0], ("a".to_string(), 0.0));
    /// assert!((weights[1].1 - 2f64.ln()).abs() < 1e-12);
    /// ```
    pub fn word_weights<S: AsRef<str>>(&self, caption: &[S]) -> Vec<(String, f64)> {
        let mut counted: Vec<(&str, u32)> = Vec::new();
        for word in caption.iter().map(AsRef::as_ref) {
            match counted.iter_mut().find(|(known, _)| *known == word) {
                Some((_, count)) => *count += 1,
                None => counted.push((word, 1)),
            }
        }
        let weight = |(word, count): (&str, u32)| {
            let numbers = self.words.look_up(&[word]);
            let weight: f64 = numbers.iter().map(|&number| self.weights(&[(Ngram::from(number), count)]).0[0].1).sum();
            (word.to_string(), weight)
        };
        counted.into_iter().map(weight).collect()
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// CIDEr-D of a caption of an image, in `0..=10`; 0 for an image without references.
    ///
    /// # Panics
    /// When `image` is out of range.
    pub fn cider_d<S: AsRef<str>>(&self, image: usize, hypothesis: &[S]) -> f64 {
        10.0 * self.score(image, &self.words.look_up(hypothesis), true)
    }

    /// As [`Cider::cider_d`], for ids, with a scorer from [`Cider::of_ids`].
    ///
    /// # Panics
    /// When `image` is out of range.
    pub fn cider_d_of_ids(&self, image: usize, hypothesis: &[i64]) -> f64 {
        10.0 * self.score(image, &ngrams::of_ids(hypothesis), true)
    }

    /// Plain CIDEr of a caption of an image, in `0..=1`; 0 for an image without references.
    ///
    /// As in the paper, but without stemming.
    ///
    /// # Panics
    /// When `image` is out of range.
    pub fn cider<S: AsRef<str>>(&self, image: usize, hypothesis: &[S]) -> f64 {
        self.score(image, &self.words.look_up(hypothesis), false)
    }

    fn score(&self, image: usize, hypothesis: &[u32], is_d: bool) -> f64 {
        let counts = ngrams::count(hypothesis);
        let (weights, norms) = self.weights(&counts);
        let image = &self.images[image];
        if image.norms.is_empty() {
            return 0.0;
        }
        let mut products = vec![[0.0; MOST]; image.norms.len()];
        for (ngram, weight) in weights {
            let Ok(place) = image.ngrams.binary_search(&ngram) else { continue };
            let start = image.starts[place] as usize;
            let end = image.starts.get(place + 1).map_or(image.weights.len(), |next| *next as usize);
            for &(reference, other) in &image.weights[start..end] {
                let own = if is_d { weight.min(other) } else { weight };
                products[reference as usize][ngrams::order(ngram) - 1] += own * other;
            }
        }
        let pairs = pairs(&counts);
        let mut sum = 0.0;
        for (product, (reference_norms, reference_pairs)) in products.iter().zip(&image.norms) {
            let difference = pairs - reference_pairs;
            let penalty = if is_d { (-difference * difference / (2.0 * SIGMA * SIGMA)).exp() } else { 1.0 };
            for n in 0..MOST {
                let norm = norms[n] * reference_norms[n];
                sum += if norm > 0.0 { product[n] / norm * penalty } else { 0.0 };
            }
        }
        sum / MOST as f64 / image.norms.len() as f64
    }
}

/// Encodes the captions of images as ids.
fn learn_all<S: AsRef<str>, R: AsRef<[S]>, I: AsRef<[R]>>(words: &mut Words, images: &[I]) -> Vec<Vec<Vec<u32>>> {
    let learn = |captions: &I| captions.as_ref().iter().map(|caption| words.learn(caption.as_ref())).collect();
    images.iter().map(learn).collect()
}

/// Number of bigrams, which the reference scorer takes for a caption's length.
fn pairs(counts: &[(Ngram, u32)]) -> f64 {
    counts.iter().filter(|(ngram, _)| ngrams::order(*ngram) == 2).map(|(_, count)| f64::from(*count)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        text.split_whitespace().collect()
    }

    #[test]
    fn plain_cider_is_the_cosine_of_tf_idf_weights() {
        // Two images, so ln N = ln 2. "a" is said of both: its weight is 0. All others are said of one: ln 2 each.
        let cider = Cider::new(&[vec![words("a red kite flies")], vec![words("a boat")]]);
        // Words: (red, kite) against (red, kite, flies): 2 / √(2·3). Pairs: "red kite" of "a red", "red kite" against
        // "a red", "red kite", "kite flies": both of 2 stand among 3. Threes: "a red kite" of 2. Fours: none.
        let expected = (2.0 / 6f64.sqrt() + 2.0 / 6f64.sqrt() + 1.0 / 2f64.sqrt()) / 4.0;
        assert!((cider.cider(0, &words("a red kite")) - expected).abs() < 1e-12);
        assert_eq!(cider.cider(1, &words("a red kite")), 0.0);
        // A mean over references: the second shares nothing.
        let two = Cider::new(&[vec![words("a red kite flies"), words("nothing here")], vec![words("a boat")]]);
        assert!((two.cider(0, &words("a red kite")) - expected / 2.0).abs() < 1e-12);
    }

    #[test]
    fn cider_d_clips_repeated_words_and_other_lengths() {
        let cider = Cider::new(&[vec![words("red kite")], vec![words("a boat")]]);
        // A copy: the words and the pair are all there; threes and fours there are none. 10 · (1 + 1) / 4.
        assert!((cider.cider_d(0, &words("red kite")) - 5.0).abs() < 1e-12);
        // "red red": the weight of red is cut at the reference's ln 2, so (1·1) / (2·√2); one pair each: no penalty.
        let repeated = cider.cider_d(0, &words("red red"));
        assert!((repeated - 10.0 * (1.0 / 8f64.sqrt()) / 4.0).abs() < 1e-12, "{repeated}");
        assert!(cider.cider(0, &words("red red")) > repeated / 10.0);
        // Two words more: the penalty is exp(−2²/(2·6²)).
        let long = cider.cider_d(0, &words("red kite x y"));
        let expected = 10.0 * (1.0 / 2f64.sqrt() + 1.0 / 3f64.sqrt()) / 4.0 * (-4.0f64 / 72.0).exp();
        let words_alone = 2.0 / (2f64.sqrt() * 4f64.sqrt());
        assert!((words_alone - 1.0 / 2f64.sqrt()).abs() < 1e-12);
        assert!((long - expected).abs() < 1e-12, "{long} {expected}");
    }

    #[test]
    fn numbers_of_words_score_as_the_words_do() {
        let said = [vec!["a red kite flies", "a kite"], vec!["a boat on water", "boat"], vec!["a red dog"]];
        let vocabulary = ["a", "red", "kite", "flies", "boat", "on", "water", "dog", "cat"];
        let ids = |text: &str| -> Vec<i64> {
            let id = |word: &str| vocabulary.iter().position(|known| *known == word).unwrap() as i64;
            text.split(' ').map(id).collect()
        };
        let by_words =
            Cider::new(&said.each_ref().map(|image| image.iter().map(|text| words(text)).collect::<Vec<_>>()));
        let by_ids =
            Cider::of_ids(&said.each_ref().map(|image| image.iter().map(|text| ids(text)).collect::<Vec<_>>()));
        for text in ["a red kite", "a boat", "cat cat", "a red dog on water", "kite"] {
            for image in 0..3 {
                assert_eq!(by_ids.cider_d_of_ids(image, &ids(text)), by_words.cider_d(image, &words(text)), "{text}");
            }
        }
        assert_eq!(by_ids.cider_d_of_ids(0, &[-1, i64::MAX]), 0.0);
    }

    #[test]
    fn with_one_image_nothing_is_rare_unless_another_corpus_says_so() {
        let one = [vec![words("a red kite")]];
        assert_eq!(Cider::new(&one).cider_d(0, &words("a red kite")), 0.0);
        let corpus = [vec![words("a red kite")], vec![words("a boat")], vec![words("a dog")]];
        assert!(Cider::with_corpus(&one, &corpus).cider_d(0, &words("a red kite")) > 7.0);
    }

    #[test]
    fn images_without_references_and_captions_without_words_score_zero() {
        let cider = Cider::new(&[vec![words("a red kite")], vec![], vec![words("")]]);
        let of_nothing = Cider::with_corpus(&[vec![words("a kite")]], &[]);
        assert_eq!(of_nothing.cider_d(0, &words("a kite")), 0.0);
        assert_eq!(cider.images(), 3);
        assert_eq!(cider.cider_d(0, &words("")), 0.0);
        assert_eq!(cider.cider_d(1, &words("a red kite")), 0.0);
        assert_eq!(cider.cider_d(2, &words("a red kite")), 0.0);
    }
}
