//! Training an aligner on the features of a data set.

use std::collections::BTreeMap;

use serde_json::Value;
use tch::{Device, Tensor};

#[cfg(feature = "clip-text")]
use super::embedding::{BATCH, rows};
use super::embedding::{Embed, EmbeddedPictures, check_finite, embedded_words};
use super::evaluation::measure;
use super::word_vectors::read_word_vectors;
use super::{Aligner, AlignmentNetwork, AlignmentTraining, PackedSentences, WordVectors};
use crate::data::{Dataset, Example, Layout, Random, Split, Vocabulary};
use crate::nn::{Network, Weights};
use crate::train::examples::{SplitExamples, examples_of, training_examples};
use crate::train::supervised::{Inputs, Objective, Supervised};
use crate::train::{CHECKPOINT_FILE, Progress, Resumed, RunSettings, Task, Trainable};
use crate::vision::features::{FeatureInputs, FeatureLoading, load_features};
use crate::vision::{FeatureBatch, NamedEncoder};
use crate::{Error, Result};

/// The name of the weight that fixed word vectors go into.
const WORD_EMBEDDING: &str = "word_embedding.weight";

impl AlignmentTraining {
    /// The aligner that a training of these settings begins with: it knows the words of the training captions, and nothing of what they
    /// mean.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is out of its range, [`Error::Argument`] when the data set has no training captions; those of
    /// loading the encoder and the word vectors.
    pub fn untrained(&self, dataset: &Dataset) -> Result<Aligner> {
        self.check()?;
        Ok(self.start(&training_examples(dataset)?, NamedEncoder::load(&self.encoder)?)?.0)
    }

    /// The aligner to begin with, and what there is to say about it.
    fn start(&self, train: &[&Example], encoder: NamedEncoder) -> Result<(Aligner, Vec<String>)> {
        let captions: Vec<&str> = train.iter().flat_map(|example| &example.captions).map(String::as_str).collect();
        let vocabulary = Vocabulary::build(&captions, &self.vocabulary)?;
        let aligner = Aligner::new(&self.aligner, vocabulary, encoder, self.run.seed, self.run.device)?;
        let (vectors, place) = match &self.word_vectors {
            None => return Ok((aligner, Vec::new())),
            Some(WordVectors::File(path)) => {
                let vectors = read_word_vectors(path, aligner.vocabulary(), self.aligner.word_size)?;
                (vectors, path.display().to_string())
            }
            Some(WordVectors::Clip) => (self.vectors_of_clip(&aligner)?, self.encoder.name.clone()),
        };
        let (found, words) = (vectors.len(), aligner.vocabulary().word_count());
        let embedding = aligner.weights.get(WORD_EMBEDDING);
        let embedding = embedding.ok_or_else(|| Error::internal("an aligner has no embedding of words"))?;
        tch::no_grad(|| -> Result<()> {
            for (id, vector) in vectors {
                embedding.f_get(id)?.f_copy_(&Tensor::from_slice(&vector))?;
            }
            Ok(())
        })?;
        Ok((aligner, vec![format!("{found} of {words} words have a vector in {place}")]))
    }
}

impl AlignmentTraining {
    /// What the text tower of the encoder's CLIP says of each word, by id.
    #[cfg(feature = "clip-text")]
    fn vectors_of_clip(&self, aligner: &Aligner) -> Result<BTreeMap<i64, Vec<f32>>> {
        let clip = aligner.named_encoder().clip()?;
        let (size, vocabulary) = (clip.clip.config().embedding_size, aligner.vocabulary());
        if size != self.aligner.word_size {
            let expected =
                format!("must be {size}, the dimension of the embeddings of the encoder {}", self.encoder.name);
            return Err(Error::config("aligner.word_size", self.aligner.word_size, expected));
        }
        let words: Vec<String> = vocabulary.words_by_frequency().into_iter().map(|(word, _)| word).collect();
        let mut vectors = BTreeMap::new();
        for part in words.chunks(BATCH) {
            let ids = part.iter().map(|word| vocabulary.id(word));
            vectors.extend(ids.zip(rows(&clip.embed(part)?)?));
        }
        Ok(vectors)
    }

    #[cfg(not(feature = "clip-text"))]
    fn vectors_of_clip(&self, _: &Aligner) -> Result<BTreeMap<i64, Vec<f32>>> {
        Err(Error::config(
            "word_vectors",
            "clip",
            "needs the feature clip-text of captionlab: add it where the crate is named",
        ))
    }
}

impl Trainable for AlignmentTraining {
    type Model = Aligner;

    fn run(&self) -> &RunSettings {
        &self.run
    }

    fn run_mut(&mut self) -> &mut RunSettings {
        &mut self.run
    }

    fn usual_for(dataset: &Dataset) -> Self {
        match dataset.layout {
            Layout::Scenes => Self::scenes(),
            _ => Self::photographs(dataset),
        }
    }

    fn validate(&self) -> Result<()> {
        self.check()
    }

    fn task(&self, dataset: &Dataset, resumed: Option<Resumed<'_>>) -> Result<Box<dyn Task>> {
        let train = training_examples(dataset)?;
        let validation = examples_of(dataset, Split::Validation);
        let encoder = NamedEncoder::load(&self.encoder)?;
        let (mut aligner, mut notes) = match resumed {
            None => self.start(&train, encoder.clone())?,
            Some(resumed) => {
                let weights = Weights::to_assign(self.run.device);
                let path = resumed.folder.join(CHECKPOINT_FILE);
                let aligner = Aligner::of_description(resumed.description()?, &path, weights)?;
                encoder.check_same(aligner.named_encoder()).map_err(|error| Error::Run {
                    problem: format!("{} cannot be resumed: {error}", resumed.folder.display()),
                    help: "Its checkpoint can be loaded and used; to train on, start a new run.".to_string(),
                })?;
                (aligner, Vec::new())
            }
        };
        if self.word_vectors.is_some() {
            aligner.weights.freeze(WORD_EMBEDDING);
        }
        let captions = train.iter().flat_map(|example| &example.captions);
        let empty = captions.filter(|caption| Vocabulary::words(caption).is_empty()).count();
        if empty > 0 {
            notes.push(format!("{empty} training captions have no words and are left out"));
        }
        let vocabulary = aligner.vocabulary().clone();
        let sentence = |caption: &String| {
            let mut words = vocabulary.encode(caption);
            words.truncate(self.max_words);
            (!words.is_empty()).then_some(words)
        };
        let target = |example: &Example| Ok(example.captions.iter().filter_map(sentence).collect());
        let features = FeatureLoading { encoder, cache: self.cache.clone(), data: FeatureLoading::place_of(dataset) };
        let objective = AlignmentObjective { training: self.clone(), aligner, features, notes };
        Ok(Box::new(Supervised::new(objective, &self.run, &train, &validation, target)?))
    }
}

/// What an aligner learns, and from what.
struct AlignmentObjective {
    training: AlignmentTraining,
    aligner: Aligner,
    features: FeatureLoading,
    /// What there is to say about the data.
    notes: Vec<String>,
}

/// The sentences of a picture, as ids of words.
type Sentences = Vec<Vec<i64>>;

/// Sentences of the pictures of a batch.
struct Pairs {
    sentences: PackedSentences,
    /// The picture of each sentence, `[sentences]`.
    owners: Tensor,
}

/// The network and what is asked of it.
struct Handle {
    network: AlignmentNetwork,
    margin: f64,
    negatives: super::Negatives,
}

impl Objective for AlignmentObjective {
    type Target = Sentences;
    type Inputs = FeatureInputs;
    type Draw = Pairs;
    type Handle = Handle;

    const ITEMS: &'static str = "pairs";

    fn model_description(&self) -> Value {
        self.aligner.description()
    }

    fn weights(&self) -> &Weights {
        &self.aligner.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.aligner.weights
    }

    fn load(&self, parts: [&mut SplitExamples<Sentences, FeatureInputs>; 3], progress: &Progress) -> Result<()> {
        self.notes.iter().for_each(|note| progress.note(note));
        load_features(parts, &self.features, &self.training.run, progress)
    }

    fn steps_per_epoch(&self, examples: usize, batch_size: usize) -> u64 {
        // A small last batch would be easy and teach little.
        if examples < 2 { 0 } else { (examples / batch_size).max(1) as u64 }
    }

    fn draw(&self, targets: &[&Sentences], mut random: Option<&mut Random>) -> Pairs {
        let mut sentences: Vec<&[i64]> = Vec::new();
        let mut owners: Vec<i64> = Vec::new();
        for (picture, of_picture) in (0..).zip(targets) {
            let mut of_picture: Vec<&[i64]> = of_picture.iter().map(Vec::as_slice).collect();
            if let Some(random) = &mut random {
                random.shuffle(&mut of_picture);
            }
            of_picture.truncate(self.training.captions_per_picture);
            owners.extend(of_picture.iter().map(|_| picture));
            sentences.extend(of_picture);
        }
        let owners = Tensor::from_slice(&owners).to_device(self.training.run.device);
        Pairs { sentences: PackedSentences::new(&sentences), owners }
    }

    fn items(&self, pairs: &Pairs) -> usize {
        pairs.sentences.sentences()
    }

    fn weight(&self, pairs: &Pairs) -> f64 {
        pairs.sentences.sentences() as f64
    }

    fn handle(&self, update_statistics: bool) -> Handle {
        let AlignmentTraining { margin, negatives, .. } = self.training;
        Handle { network: self.aligner.network.worker_handle(update_statistics), margin, negatives }
    }

    fn loss(handle: &Handle, features: &FeatureBatch, pairs: &Pairs, random: Option<&mut Random>) -> Result<Tensor> {
        if pairs.sentences.sentences() == 0 {
            // Pictures whose captions have no words teach nothing.
            return Ok(handle.network.regions(features, None)?.sum(tch::Kind::Float) * 0.0);
        }
        let Handle { network, margin, negatives } = handle;
        network.loss(features, &pairs.sentences, &pairs.owners, *margin, *negatives, random)
    }

    /// Retrieval among the validation pictures, and on data that knows which phrase is which box the share of phrases that find theirs.
    fn metrics(&self, validation: &SplitExamples<Sentences, FeatureInputs>) -> Result<BTreeMap<String, f64>> {
        let inputs = validation.inputs()?;
        let pictures = EmbeddedPictures::of(&self.aligner, validation.len(), |part| {
            inputs.batch(part, None)?.to_device(Device::Cpu)
        })?;
        let examples: Vec<&Example> = validation.examples.iter().collect();
        let found = measure(&self.aligner, &pictures, &examples, Split::Validation)?;
        let figures = serde_json::to_value(&found).map_err(|error| Error::internal(error.to_string()))?;
        let shown = [
            "grounding",
            "pointing",
            "recall_at_1_text_to_image",
            "median_rank_text_to_image",
            "recall_at_1_image_to_text",
        ];
        Ok(shown.iter().filter_map(|&name| Some((name.to_string(), figures[name].as_f64()?))).collect())
    }

    /// The first caption of each picture with the number of the region of each word, the whole picture being 0.
    fn texts(&self, samples: &SplitExamples<Sentences, FeatureInputs>) -> Result<Vec<String>> {
        let inputs = samples.inputs()?;
        let pictures = EmbeddedPictures::of(&self.aligner, samples.len(), |part| {
            inputs.batch(part, None)?.to_device(Device::Cpu)
        })?;
        let mut texts = Vec::with_capacity(samples.len());
        for (picture, sentences) in samples.targets.iter().enumerate() {
            let Some(sentence) = sentences.first() else {
                texts.push(String::new());
                continue;
            };
            let words = embedded_words(&self.aligner, std::slice::from_ref(sentence))?;
            let similarities = pictures.similarities(picture, &words[0])?;
            check_finite(&similarities, &samples.examples[picture].name)?;
            let regions = super::smooth(&similarities, 0.0)?;
            let vocabulary = self.aligner.vocabulary();
            let word = |(&id, region): (&i64, usize)| format!("{}/{region}", vocabulary.word(id).unwrap_or("?"));
            texts.push(sentence.iter().zip(regions).map(word).collect::<Vec<_>>().join(" "));
        }
        Ok(texts)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::align::{Align, AlignmentConfig};
    use crate::data::scenes::ScenesConfig;
    use crate::data::{ImageSource, VocabularyConfig};
    use crate::train::{KeepBest, Model, OptimiserConfig, Run, Schedule, save_model};
    use crate::vision::{EncoderConfig, ExtractConfig, Extraction, StorageDtype};

    fn scenes() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 64, validation: 16, test: 8, seed: 1 }).unwrap()
    }

    fn small(folder: &Path, name: &str) -> AlignmentTraining {
        let scenes = AlignmentTraining::scenes();
        AlignmentTraining {
            aligner: AlignmentConfig {
                word_size: 16,
                hidden_size: 16,
                embedding_size: 24,
                ..AlignmentConfig::scenes()
            },
            run: RunSettings {
                epochs: 3,
                batch_size: 16,
                optimiser: OptimiserConfig::adam(5e-3),
                schedule: Schedule::Constant,
                folder: Some(folder.join(name)),
                ..scenes.run
            },
            cache: Some(folder.join("features")),
            ..scenes
        }
    }

    #[test]
    fn it_learns_resumes_to_the_same_bits_aligns_and_is_measured() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let mut whole = Run::start(&small(folder.path(), "whole"), &dataset).unwrap();
        whole.wait().unwrap();
        let curves = whole.curves();
        assert!(curves.validation_loss[2].1 < curves.validation_loss[0].1, "{curves:?}");
        assert_eq!(curves.metrics["recall_at_1_text_to_image"].len(), 3);
        assert_eq!(curves.metrics["grounding"].len(), 3);
        let sample = &whole.samples()[2].samples[0].text;
        assert!(
            sample
                .split(' ')
                .all(|word| word.split_once('/').is_some_and(|(_, region)| region.parse::<usize>().is_ok()))
        );

        let mut stopped = Run::start(&small(folder.path(), "stopped"), &dataset).unwrap();
        while stopped.status().step == 0 && stopped.status().epoch < 2 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        stopped.stop().unwrap();
        let place = stopped.folder().to_path_buf();
        drop(stopped);
        Run::resume::<AlignmentTraining>(&place, &dataset).unwrap().wait().unwrap();
        let last = |folder: &Path| Aligner::load(folder.join(CHECKPOINT_FILE)).unwrap().weights.named();
        for ((name, weight), (_, other)) in last(whole.folder()).iter().zip(last(&place)) {
            assert_eq!(weight, &other, "{name}");
        }

        save_model(whole.folder(), folder.path().join("saved")).unwrap();
        let aligner = <Aligner as Model>::load(&folder.path().join("saved")).unwrap();
        let evaluation = aligner.evaluate(&dataset, Split::Test).unwrap();
        let grounding = evaluation.grounding.unwrap();
        assert!(grounding.phrases > 40 && grounding.grounding_ceiling > grounding.grounding_chance, "{evaluation}");
        assert!(grounding.grounding <= grounding.grounding_ceiling && grounding.grounding_union <= grounding.grounding);
        assert_eq!((evaluation.pictures, evaluation.sentences), (8, 40));
        let json = serde_json::to_value(&evaluation).unwrap();
        assert!(json["grounding"].is_number() && json["median_rank_text_to_image"].is_number(), "{json}");

        // Pictures and their cached features give the same.
        let extract = ExtractConfig { folder: Some(folder.path().join("features")), ..ExtractConfig::default() };
        let mut features = Extraction::start(&dataset, aligner.encoder(), &extract).unwrap();
        features.wait().unwrap();
        let cache = features.cache().unwrap();
        assert_eq!(crate::align::evaluate_cached(&aligner, &dataset, Split::Test, &cache).unwrap(), evaluation);
        let test = dataset.split(Split::Test);
        let (picture, sentence) = (test[0].picture().unwrap(), test[0].captions[0].as_str());
        let alignment = aligner.align(&picture, sentence).unwrap();
        assert_eq!(alignment, aligner.align_cached(&cache, &test[0].name, sentence).unwrap());
        assert_eq!(alignment.words.len(), alignment.regions.len());
        let scores = aligner.scores(&cache, &[&test[1].name, &test[0].name], &[sentence, "a dog"]).unwrap();
        assert!((scores[0][1] - alignment.score).abs() < 1e-5, "{scores:?}, {}", alignment.score);
    }

    #[test]
    fn sentences_that_cannot_be_aligned_are_refused_and_long_ones_are_not() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let mut training = small(folder.path(), "run");
        training.run.epochs = 1;
        let mut run = Run::start(&training, &dataset).unwrap();
        run.wait().unwrap();
        let aligner: Aligner = run.model().unwrap();
        let picture = dataset.examples[0].picture().unwrap();
        for (sentence, said) in [("", "has no words"), (" …! ", "has no words"), ("qwertz yxcvb", "knows no word")] {
            let error = aligner.align(&picture, sentence).unwrap_err().to_string();
            assert!(error.contains(said), "{sentence:?}: {error}");
        }
        let long = vec!["a red dog"; 67].join(" ");
        let alignment = aligner.align(&picture, &long).unwrap();
        assert_eq!((alignment.words.len(), alignment.similarities.len()), (201, 201));
        assert_eq!(aligner.align(&picture, "a qwertz dog").unwrap().known, [true, false, true]);
        let error = aligner.align(&image::RgbImage::new(0, 0), "a dog").unwrap_err().to_string();
        assert!(error.contains("pixels"), "{error}");
    }

    #[test]
    fn captions_without_words_and_pictures_that_cannot_be_read_are_left_out_with_a_note() {
        let (folder, mut dataset) = (tempfile::tempdir().unwrap(), scenes());
        let broken = folder.path().join("broken.jpg");
        std::fs::write(&broken, "no picture").unwrap();
        dataset.examples[3].image = ImageSource::File(broken);
        dataset.examples[5].captions = vec!["…".to_string(), "!".to_string()];
        dataset.examples[5].links.clear();
        let mut training = small(folder.path(), "run");
        training.run.epochs = 1;
        let mut run = Run::start(&training, &dataset).unwrap();
        run.wait().unwrap();
        let notes = run.notes().join("\n");
        assert!(notes.contains("2 training captions have no words") && notes.contains("broken.jpg"), "{notes}");
        let evaluation = run.model::<Aligner>().unwrap().evaluate(&dataset, Split::Train).unwrap();
        assert_eq!((evaluation.pictures, evaluation.sentences_without_words), (63, 2));
        assert_eq!(evaluation.unreadable.len(), 1);
    }

    #[test]
    fn a_batch_whose_captions_have_no_words_teaches_nothing_and_ends_nothing() {
        let (folder, mut dataset) = (tempfile::tempdir().unwrap(), scenes());
        for example in &mut dataset.examples[..48] {
            example.captions = vec!["…".to_string()];
            example.links.clear();
        }
        let mut training = small(folder.path(), "run");
        (training.run.epochs, training.run.batch_size) = (1, 2);
        let mut run = Run::start(&training, &dataset).unwrap();
        run.wait().unwrap();
        assert!(run.curves().training_loss.iter().any(|(_, loss)| *loss == 0.0));
    }

    #[test]
    fn features_of_another_encoder_are_refused() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let mut training = small(folder.path(), "run");
        training.run.epochs = 1;
        let mut run = Run::start(&training, &dataset).unwrap();
        run.wait().unwrap();
        let aligner: Aligner = run.model().unwrap();
        for other in [
            EncoderConfig { storage: StorageDtype::Single, ..training.encoder.clone() },
            EncoderConfig::new("tiny-clip"),
        ] {
            let extract = ExtractConfig { folder: training.cache.clone(), ..ExtractConfig::default() };
            let few = Dataset { examples: dataset.examples[..2].to_vec(), ..dataset.clone() };
            let mut features = Extraction::start(&few, &other, &extract).unwrap();
            features.wait().unwrap();
            let cache = features.cache().unwrap();
            let error = aligner.align_cached(&cache, "scene-000000", "a dog").unwrap_err().to_string();
            assert!(error.contains("were not made by the encoder tiny"), "{error}");
        }
    }

    #[test]
    fn every_configuration_of_the_model_learns() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let paper = AlignmentTraining::paper();
        for (number, aligner) in [
            AlignmentConfig {
                word_size: 12,
                word_layer: Some(10),
                hidden_size: 8,
                embedding_size: 20,
                ..AlignmentConfig::paper()
            },
            AlignmentConfig {
                word_size: 12,
                word_layer: Some(10),
                hidden_size: 8,
                embedding_size: 20,
                ..AlignmentConfig::course()
            },
            AlignmentConfig { cell: None, ..AlignmentConfig::scenes() },
            AlignmentConfig {
                score: crate::align::RegionScore::SumOfPositive,
                hidden_size: 8,
                ..AlignmentConfig::scenes()
            },
        ]
        .into_iter()
        .enumerate()
        {
            let preset = small(folder.path(), &format!("run-{number}"));
            let negatives = [crate::align::Negatives::All, crate::align::Negatives::Hardest][number % 2];
            let training = AlignmentTraining {
                aligner,
                negatives,
                margin: paper.margin,
                captions_per_picture: 2,
                vocabulary: VocabularyConfig { min_count: 2, max_size: None },
                run: RunSettings { keep_best: None::<KeepBest>, ..preset.run.clone() },
                ..preset
            };
            let mut run = Run::start(&training, &dataset).unwrap();
            run.wait().unwrap();
            let losses = run.curves().validation_loss;
            assert!(losses[2].1 < losses[0].1, "{number}: {losses:?}");
        }
    }

    #[test]
    fn fixed_word_vectors_are_taken_and_stay() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let file = folder.path().join("vectors.txt");
        let vector = |value: f32| (0..16).map(|place| (value + place as f32).to_string()).collect::<Vec<_>>().join(" ");
        std::fs::write(&file, format!("red {}\nunheard {}\n", vector(0.5), vector(9.0))).unwrap();
        let mut training = small(folder.path(), "run");
        training.word_vectors = Some(WordVectors::File(file));
        training.run.epochs = 1;
        let mut run = Run::start(&training, &dataset).unwrap();
        run.wait().unwrap();
        let aligner: Aligner = run.model().unwrap();
        let row = aligner.weights.get(WORD_EMBEDDING).unwrap().get(aligner.vocabulary().id("red"));
        assert_eq!(Vec::<f32>::try_from(row).unwrap(), (0..16).map(|place| 0.5 + place as f32).collect::<Vec<_>>());
    }

    #[cfg(feature = "clip-text")]
    #[test]
    fn a_projection_of_clip_keeps_what_clip_says_of_words() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let preset = small(folder.path(), "run");
        let mut training = AlignmentTraining {
            aligner: AlignmentConfig { embedding_size: 24, ..AlignmentTraining::clip().aligner },
            run: preset.run,
            cache: preset.cache,
            ..AlignmentTraining::clip()
        };
        let mut run = Run::start(&training, &dataset).unwrap();
        run.wait().unwrap();
        let aligner: Aligner = run.model().unwrap();
        let row = aligner.weights.get(WORD_EMBEDDING).unwrap().get(aligner.vocabulary().id("red"));
        let red = aligner.named_encoder().clip().unwrap().embed(&["red"]).unwrap().squeeze();
        assert!((row - red).abs().max().double_value(&[]) < 1e-5);
        let losses = run.curves().validation_loss;
        assert!(losses[2].1 < losses[0].1, "{losses:?}");

        for (config, encoder, said) in [
            (
                AlignmentConfig { word_size: 64, ..training.aligner.clone() },
                "tiny-clip",
                "aligner.word_size = 64: must be 128",
            ),
            (training.aligner.clone(), "tiny-both", "Use the encoder tiny-clip or clip"),
        ] {
            (training.aligner, training.encoder.name) = (config, encoder.to_string());
            training.run.folder = Some(folder.path().join("refused"));
            let error = Run::start(&training, &dataset).and_then(|mut run| run.wait()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
