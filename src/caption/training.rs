//! Training a captioner on the features of a data set.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tch::{Kind, Tensor};

use super::{CaptionTraining, Captioner, CaptionerConfig, Decoding, Generator, Hypothesis, PackedCaptions, Pooling};
use crate::align::{Align, Aligner, Embed, RegionEmbedding};
use crate::data::{BoundingBox, Dataset, Example, Layout, Random, Split, Vocabulary};
use crate::metrics::Cider;
use crate::nn::{Network, Weights, shipped};
use crate::train::examples::{SplitExamples, examples_of, training_examples};
use crate::train::supervised::{Inputs, Objective, Supervised};
use crate::train::{CHECKPOINT_FILE, Model, Progress, Resumed, RunSettings, StartFrom, Task, Trainable};
use crate::vision::features::{FeatureInputs, FeatureLoading, load_features};
use crate::vision::{FeatureBatch, NamedEncoder};
use crate::{Error, Result};

impl Trainable for CaptionTraining {
    type Model = Captioner;

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
        let in_aligned_space = self.captioner.pooling == Pooling::AlignedMean;
        let aligner = match (&self.aligner, in_aligned_space || self.snippets.is_some()) {
            (_, false) => None,
            (Some(path), true) => Some(Aligner::load(path)?),
            (None, true) => Some(Aligner::load(shipped(Aligner::SHIPPED.unwrap_or_default())?)?),
        };
        let mut captioner = match resumed {
            None => {
                let captions: Vec<&str> =
                    train.iter().flat_map(|example| &example.captions).map(String::as_str).collect();
                let vocabulary = Vocabulary::build(&captions, &self.vocabulary)?;
                let space = aligner.as_ref().filter(|_| in_aligned_space);
                let config = CaptionerConfig {
                    aligner: space.map(|aligner| aligner.config().clone()),
                    ..self.captioner.clone()
                };
                let mut captioner =
                    Captioner::new(&config, vocabulary, encoder.clone(), self.run.seed, self.run.device)?;
                if let Some(aligner) = space {
                    encoder.check_same(aligner.named_encoder()).map_err(|_| {
                        let of = aligner.encoder();
                        let expected =
                            format!("must be the encoder of the aligner, {}: take its settings too", of.name);
                        Error::config("encoder", &self.encoder.name, expected)
                    })?;
                    let tensors = aligner.named_weights();
                    captioner.weights.assign_prefix(RegionEmbedding::PREFIX, &tensors, Path::new("the aligner"))?;
                }
                for StartFrom { path, .. } in &self.run.start_from {
                    let other = Captioner::load(path).ok().filter(|other| other.vocabulary() != captioner.vocabulary());
                    if let Some(other) = other {
                        let [here, there] = [&captioner, &other].map(|one| one.vocabulary().word_count());
                        let expected =
                            format!("must know the words of this training: it knows {there}, here are {here}");
                        return Err(Error::config("run.start_from", path.display(), expected));
                    }
                }
                let counts = captioner.vocabulary().target_counts(&captions);
                captioner.generator.init_output_bias(&counts)?;
                captioner
            }
            Some(resumed) => {
                let weights = Weights::to_assign(self.run.device);
                let path = resumed.folder.join(CHECKPOINT_FILE);
                let captioner = Captioner::of_description(resumed.description()?, &path, weights)?;
                encoder.check_same(captioner.named_encoder()).map_err(|error| Error::Run {
                    problem: format!("{} cannot be resumed: {error}", resumed.folder.display()),
                    help: "Its checkpoint can be loaded and used; to train on, start a new run.".to_string(),
                })?;
                captioner
            }
        };
        if in_aligned_space {
            captioner.weights.freeze(RegionEmbedding::PREFIX);
        }
        let vocabulary = captioner.vocabulary().clone();
        let encoded =
            |example: &Example| example.captions.iter().map(|text| vocabulary.encode(text)).collect::<Vec<_>>();
        let numbers: HashMap<&str, usize> = train.iter().map(|example| example.name.as_str()).zip(0..).collect();
        let target = |example: &Example| {
            let number = numbers.get(example.name.as_str()).copied();
            Ok(Captions { words: encoded(example), number, snippets: Vec::new() })
        };
        let rewards = self.self_critical.then(|| {
            let with_ends = |example: &&Example| encoded(example).into_iter().map(with_end).collect::<Vec<_>>();
            Arc::new(Cider::of_ids(&train.iter().map(with_ends).collect::<Vec<_>>()))
        });
        let loading = |encoder: NamedEncoder| FeatureLoading {
            encoder,
            cache: self.cache.clone(),
            data: FeatureLoading::place_of(dataset),
        };
        let snippets = self.snippets.zip(aligner).map(|(smoothing, aligner)| Snippets {
            features: loading(aligner.named_encoder().clone()),
            aligner,
            smoothing,
        });
        let features = loading(encoder);
        let objective = CaptionObjective { training: self.clone(), captioner, features, rewards, snippets };
        Ok(Box::new(Supervised::new(objective, &self.run, &train, &validation, target)?))
    }
}

/// What a captioner learns, and from what.
struct CaptionObjective {
    training: CaptionTraining,
    captioner: Captioner,
    features: FeatureLoading,
    /// What scores captions that are drawn, in self-critical training.
    rewards: Option<Arc<Cider>>,
    /// What finds the snippets of regions, where those are learnt.
    snippets: Option<Snippets>,
}

/// What finds the snippets of regions in the captions.
struct Snippets {
    aligner: Aligner,
    features: FeatureLoading,
    smoothing: f64,
}

/// IoU from which a region of the captioner's encoder is taken for one of the aligner's.
const SAME_REGION: f64 = 0.5;

/// The captions of a picture.
#[derive(Clone)]
struct Captions {
    /// Ids of the words of each.
    words: Vec<Vec<i64>>,
    /// The number of the picture among those that are learnt from.
    number: Option<usize>,
    /// Numbers of regions, and ids of the words of a snippet for each; empty where captions are learnt.
    snippets: Vec<(usize, Vec<i64>)>,
}

/// What is learnt of a batch.
struct Drawn {
    captions: PackedCaptions,
    /// The number of each picture of the batch.
    numbers: Vec<Option<usize>>,
    /// Where snippets are learnt: the picture of the batch and the region that each is of.
    regions: Option<Vec<(usize, usize)>>,
}

/// The generator and, in self-critical training, what scores its captions.
struct Handle {
    generator: Generator,
    rewards: Option<Arc<Cider>>,
    max_words: usize,
    scheduled_sampling: f64,
}

impl CaptionObjective {
    /// Finds the snippets of the regions of examples, and returns how many there are.
    fn find_snippets(
        &self,
        Snippets { aligner, features, smoothing }: &Snippets,
        part: &mut SplitExamples<Captions, FeatureInputs>,
        progress: &Progress,
    ) -> Result<usize> {
        let Some((cache, _)) = features.open(&part.examples.iter().collect::<Vec<_>>(), progress)? else {
            return Ok(0);
        };
        let vocabulary = self.captioner.vocabulary();
        let mut count = 0;
        for (index, snippets) in aligner.snippets(&cache, &part.examples, *smoothing)?.into_iter().enumerate() {
            let boxes = part.inputs()?.boxes(index)?;
            let overlap = |region: &usize, bounds: &BoundingBox| boxes[*region].iou(bounds);
            for (bounds, snippet) in snippets {
                let best = (0..boxes.len()).max_by(|a, b| overlap(a, &bounds).total_cmp(&overlap(b, &bounds)));
                let same = best.filter(|region| overlap(region, &bounds) >= SAME_REGION);
                part.targets[index].snippets.extend(same.map(|region| (region, vocabulary.encode(&snippet.text))));
            }
            count += part.targets[index].snippets.len();
        }
        Ok(count)
    }
}

/// The words of a caption and its end: a caption that stops in the middle of a phrase shall not score as one that ends there.
fn with_end(mut words: Vec<i64>) -> Vec<i64> {
    words.push(Vocabulary::END);
    words
}

impl Handle {
    /// The loss whose gradient is that of the expected reward (Rennie et al. 2017, equation 8), per word: captions that are drawn become
    /// more probable where they score higher than the greedy ones.
    fn self_critical_loss(
        &self,
        features: &FeatureBatch,
        numbers: &[Option<usize>],
        cider: &Cider,
        random: &mut Random,
    ) -> Result<Tensor> {
        let decode = |decoding: Decoding| -> Result<Vec<Hypothesis>> {
            let decoding = Decoding { max_words: self.max_words, ..decoding };
            Ok(self.generator.decode(features, &decoding, 0)?.into_iter().flatten().collect())
        };
        let (drawn, greedy) = (decode(Decoding::temperature(1.0, random.next_u64()))?, decode(Decoding::greedy())?);
        let reward = |number: &Option<usize>, caption: &Hypothesis| match (number, caption.ended) {
            (None, _) => 0.0,
            (Some(number), true) => cider.cider_d_of_ids(*number, &with_end(caption.words.clone())),
            (Some(number), false) => cider.cider_d_of_ids(*number, &caption.words),
        };
        let both = numbers.iter().zip(drawn.iter().zip(&greedy));
        let advantages: Vec<f32> =
            both.map(|(number, (drawn, greedy))| (reward(number, drawn) - reward(number, greedy)) as f32).collect();
        let captions: Vec<(usize, &[i64])> = drawn.iter().map(|caption| caption.words.as_slice()).enumerate().collect();
        let packed = PackedCaptions::new(&captions, self.max_words);
        let log_probabilities = self.generator.log_probabilities(features, &packed, None)?;
        let device = log_probabilities.device();
        let advantages = Tensor::from_slice(&advantages).f_index_select(0, &packed.pictures)?.f_to_device(device)?;
        Ok(-(log_probabilities * advantages).f_mean(Kind::Float)?)
    }
}

impl Objective for CaptionObjective {
    type Target = Captions;
    type Inputs = FeatureInputs;
    type Draw = Drawn;
    type Handle = Handle;

    const ITEMS: &'static str = "pairs";

    fn model_description(&self) -> Value {
        self.captioner.description()
    }

    fn weights(&self) -> &Weights {
        &self.captioner.weights
    }

    fn weights_mut(&mut self) -> &mut Weights {
        &mut self.captioner.weights
    }

    fn load(&self, parts: [&mut SplitExamples<Captions, FeatureInputs>; 3], progress: &Progress) -> Result<()> {
        let [train, validation, samples] = parts;
        load_features([&mut *train, &mut *validation, samples], &self.features, &self.training.run, progress)?;
        match &self.snippets {
            Some(snippets) if !progress.should_stop() => {
                let count = self.find_snippets(snippets, train, progress)?;
                self.find_snippets(snippets, validation, progress)?;
                if !progress.should_stop() {
                    progress.note(format!("{count} snippets of regions to learn from"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn draw(&self, targets: &[&Captions], mut random: Option<&mut Random>) -> Drawn {
        let mut captions: Vec<(usize, &[i64])> = Vec::new();
        let mut regions = Vec::new();
        for (row, of_picture) in targets.iter().enumerate() {
            // A caption is of the whole picture, the first region.
            let mut of_picture: Vec<(usize, &[i64])> = match &self.snippets {
                Some(_) => of_picture.snippets.iter().map(|(region, words)| (*region, words.as_slice())).collect(),
                None => of_picture.words.iter().map(|words| (0, words.as_slice())).collect(),
            };
            if let Some(random) = &mut random {
                random.shuffle(&mut of_picture);
                of_picture.truncate(self.training.captions_per_picture);
            }
            for (region, words) in of_picture {
                captions.push((if self.snippets.is_some() { regions.len() } else { row }, words));
                regions.push((row, region));
            }
        }
        let numbers = targets.iter().map(|of_picture| of_picture.number).collect();
        let captions = PackedCaptions::new(&captions, self.training.max_words);
        Drawn { captions, numbers, regions: self.snippets.is_some().then_some(regions) }
    }

    fn items(&self, drawn: &Drawn) -> usize {
        if self.rewards.is_some() { drawn.numbers.len() } else { drawn.captions.captions() }
    }

    fn weight(&self, drawn: &Drawn) -> f64 {
        drawn.captions.tokens() as f64
    }

    fn handle(&self, update_statistics: bool) -> Handle {
        Handle {
            generator: self.captioner.generator.worker_handle(update_statistics),
            rewards: self.rewards.clone(),
            max_words: self.training.max_words,
            scheduled_sampling: self.training.scheduled_sampling,
        }
    }

    /// In self-critical training too, the loss of validation pictures is the cross entropy of their captions.
    fn loss(handle: &Handle, features: &FeatureBatch, drawn: &Drawn, random: Option<&mut Random>) -> Result<Tensor> {
        if drawn.captions.captions() == 0 {
            // Pictures without snippets teach nothing.
            return Ok(handle.generator.nothing());
        }
        let of_regions = drawn.regions.as_ref().map(|regions| features.of_regions(regions)).transpose()?;
        let features = of_regions.as_ref().unwrap_or(features);
        match (&handle.rewards, random) {
            (Some(cider), Some(random)) => handle.self_critical_loss(features, &drawn.numbers, cider, random),
            (None, Some(random)) if handle.scheduled_sampling > 0.0 => {
                let share = handle.scheduled_sampling;
                let captions = handle.generator.sampled_inputs(features, &drawn.captions, share, random)?;
                handle.generator.loss(features, &captions, Some(random))
            }
            (_, random) => handle.generator.loss(features, &drawn.captions, random),
        }
    }

    /// CIDEr-D of the greedy captions, on words as the vocabulary splits them.
    fn metrics(&self, validation: &SplitExamples<Captions, FeatureInputs>) -> Result<BTreeMap<String, f64>> {
        if self.snippets.is_some() {
            return Ok(BTreeMap::new());
        }
        let references: Vec<&[Vec<i64>]> =
            validation.targets.iter().map(|captions| captions.words.as_slice()).collect();
        let cider = Cider::of_ids(&references);
        let mut sum = 0.0;
        let indices: Vec<usize> = (0..validation.len()).collect();
        for part in indices.chunks(self.training.run.batch_size) {
            let batch = validation.inputs()?.batch(part, None)?;
            let captions = self.captioner.generator.generate(&batch, &Decoding::greedy(), 0)?;
            sum += part.iter().zip(&captions).map(|(&index, words)| cider.cider_d_of_ids(index, words)).sum::<f64>();
        }
        Ok([("cider_d".to_string(), sum / validation.len() as f64)].into())
    }

    /// Captions; where snippets are learnt, what each region is called.
    fn texts(&self, samples: &SplitExamples<Captions, FeatureInputs>) -> Result<Vec<String>> {
        let indices: Vec<usize> = (0..samples.len()).collect();
        if self.snippets.is_some() {
            let of_picture = |&index: &usize| {
                let inputs = samples.inputs()?;
                let (batch, regions) = (inputs.batch(&[index], None)?, inputs.boxes(index)?.len());
                let called = self.captioner.caption_regions_of(&batch, regions, &Decoding::greedy())?;
                Ok(called.into_iter().map(|caption| caption.text).collect::<Vec<_>>().join(" | "))
            };
            return indices.iter().map(of_picture).collect();
        }
        let mut captions = Vec::with_capacity(indices.len());
        for part in indices.chunks(self.training.run.batch_size) {
            let batch = samples.inputs()?.batch(part, None)?;
            captions.extend(self.captioner.caption_features(&batch, &Decoding::greedy(), 0)?);
        }
        Ok(captions)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::caption::evaluation::nearest_captions;
    use crate::caption::{CaptionEvaluation, CaptionerConfig, Ensemble, Pooling};
    use crate::data::ImageSource;
    use crate::data::scenes::ScenesConfig;
    use crate::train::{OptimiserConfig, Run, save_model};
    use crate::vision::word_detector::SmallCnnConfig;
    use crate::vision::{EncoderConfig, ExtractConfig, Extraction, FeatureCache, StorageDtype, WordDetectorTraining};

    fn scenes() -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 48, validation: 8, test: 6, seed: 1 }).unwrap()
    }

    fn small(folder: &Path, name: &str) -> CaptionTraining {
        let scenes = CaptionTraining::scenes();
        CaptionTraining {
            captioner: CaptionerConfig { word_size: 8, image_size: 12, hidden_size: 16, ..CaptionerConfig::scenes() },
            run: RunSettings { epochs: 2, batch_size: 8, folder: Some(folder.join(name)), ..scenes.run },
            cache: Some(folder.join("features")),
            ..scenes
        }
    }

    /// A run that was stopped in its first epoch, and resumed to its end.
    fn stopped_and_resumed(training: &CaptionTraining, dataset: &Dataset) -> Run {
        let mut run = Run::start(training, dataset).unwrap();
        while run.status().step == 0 && run.status().epoch < 2 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        run.stop().unwrap();
        let place = run.folder().to_path_buf();
        drop(run);
        let mut run = Run::resume::<CaptionTraining>(&place, dataset).unwrap();
        run.wait().unwrap();
        run
    }

    #[test]
    fn what_regions_are_called_is_learnt_first_and_carried_over_without_what_looks_at_pictures() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        for pooling in [Pooling::Attention, Pooling::Mean, Pooling::WholePicture] {
            let name = format!("{pooling:?}");
            let of_snippets = |name: String| {
                let small = small(folder.path(), &name);
                let captioner = CaptionerConfig { pooling, ..small.captioner.clone() };
                CaptionTraining { captioner, snippets: Some(0.1), ..small }
            };
            let mut first = Run::start(&of_snippets(format!("{name} whole")), &dataset).unwrap();
            first.wait().unwrap();
            let curves = first.curves();
            assert!(curves.validation_loss[1].1 < curves.validation_loss[0].1, "{curves:?}");
            let notes = first.notes();
            assert!(notes.iter().any(|note| note.ends_with("snippets of regions to learn from")), "{notes:?}");
            // A text for each region, the whole picture among them.
            assert!(first.samples()[1].samples.iter().any(|sample| sample.text.contains(" | ")));
            let config = ExtractConfig { folder: Some(folder.path().join("features")), ..ExtractConfig::default() };
            let mut features = Extraction::start(&dataset, &EncoderConfig::new("tiny-both"), &config).unwrap();
            features.wait().unwrap();
            let cache = features.cache().unwrap();
            let (captioner, sample): (Captioner, _) = (first.model().unwrap(), &first.samples()[1].samples[0]);
            let called = captioner.caption_regions(&cache, &sample.name, &Decoding::greedy()).unwrap();
            assert_eq!(called.len(), cache.get(&sample.name).unwrap().boxes.len());
            let texts: Vec<&str> = called.iter().map(|caption| caption.text.as_str()).collect();
            assert_eq!(texts.join(" | "), sample.text);
            let resumed = stopped_and_resumed(&of_snippets(format!("{name} stopped")), &dataset);
            let (learnt, other): (Captioner, Captioner) = (first.model().unwrap(), resumed.model().unwrap());
            assert_eq!(learnt.weights.named(), other.weights.named());

            let second = of_snippets(format!("{name} second")).carry_over(first.folder());
            assert_eq!(second.snippets, None);
            // With so small a learning rate it stays what it began with.
            let run = RunSettings { epochs: 1, optimiser: OptimiserConfig::adam(1e-12), ..second.run.clone() };
            let mut begun = Run::start(&CaptionTraining { run, ..second }, &dataset).unwrap();
            begun.wait().unwrap();
            let begun: Captioner = begun.model().unwrap();
            for ((name, before), (_, after)) in learnt.weights.named().iter().zip(begun.weights.named()) {
                let looks = ["image_", "geometry_", "relations."].iter().any(|prefix| name.starts_with(prefix));
                let same = (before - after).abs().max().double_value(&[]) < 1e-6;
                assert!(looks || same, "{name}");
                assert!(name != "image_projection.weight" || !same);
            }
        }
        // The words of other captions are not carried over.
        let other = Dataset::scenes(&ScenesConfig { train: 20, validation: 4, test: 4, seed: 9 }).unwrap();
        let carried = small(folder.path(), "other").carry_over(folder.path().join("Mean whole"));
        let error = Run::start(&carried, &other).unwrap_err().to_string();
        assert!(error.starts_with("run.start_from = ") && error.contains("must know the words"), "{error}");
        let error =
            CaptionTraining { snippets: Some(0.1), aligner: Some("nowhere".into()), ..small(folder.path(), "none") };
        assert!(Run::start(&error, &dataset).unwrap_err().to_string().contains("nowhere"));
    }

    #[test]
    fn the_visual_vector_of_the_course_is_the_mean_of_the_regions_in_the_space_of_an_aligner() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let aligner = Aligner::load(shipped("align-tiny").unwrap()).unwrap();
        let small = |name: &str| {
            let small = small(folder.path(), name);
            let captioner =
                CaptionerConfig { pooling: Pooling::AlignedMean, geometry: false, relations: false, ..small.captioner };
            CaptionTraining { captioner, encoder: aligner.encoder().clone(), ..small }
        };
        let mut run = Run::start(&small("whole"), &dataset).unwrap();
        run.wait().unwrap();
        let captioner: Captioner = run.model().unwrap();
        assert_eq!(
            captioner.weights.named(),
            stopped_and_resumed(&small("again"), &dataset).model::<Captioner>().unwrap().weights.named()
        );
        // What the aligner knows is not trained on.
        let weights = aligner.named_weights();
        for name in ["region_projection.weight", "region_projection.bias"] {
            assert_eq!(captioner.weights.get(name), weights.get(name));
        }
        let test = dataset.split(Split::Test);
        let said = captioner.caption(&test, &Decoding::greedy()).unwrap();
        assert_eq!(Captioner::load(run.folder()).unwrap().caption(&test, &Decoding::greedy()).unwrap(), said);

        let other = CaptionTraining { encoder: EncoderConfig::new("tiny-clip"), ..small("other") };
        let error = Run::start(&other, &dataset).unwrap_err().to_string();
        assert!(error.starts_with("encoder = ") && error.contains("tiny"), "{error}");
        let mut related = small("related");
        related.captioner.relations = true;
        assert!(Run::start(&related, &dataset).unwrap_err().to_string().contains("captioner.relations"));
    }

    #[test]
    fn words_of_its_own_are_read_in_training_and_tied_embeddings_predict_words() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let small = |name: &str| {
            let small = small(folder.path(), name);
            let captioner = CaptionerConfig { tied_embeddings: true, ..small.captioner };
            CaptionTraining { captioner, scheduled_sampling: 0.5, ..small }
        };
        let mut run = Run::start(&small("whole"), &dataset).unwrap();
        run.wait().unwrap();
        let loss = run.curves().validation_loss;
        assert!(loss[1].1 < loss[0].1, "{loss:?}");
        let (captioner, other): (Captioner, Captioner) =
            (run.model().unwrap(), stopped_and_resumed(&small("stopped"), &dataset).model().unwrap());
        assert_eq!(captioner.weights.named(), other.weights.named());
        let names: Vec<String> = captioner.weights.named().into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"output_projection.weight".to_string()) && names.contains(&"output.bias".to_string()));
        assert!(!names.contains(&"output.weight".to_string()), "{names:?}");
        let test = dataset.split(Split::Test);
        let loaded = Captioner::load(run.folder()).unwrap();
        let said = captioner.caption(&test, &Decoding::beam(3)).unwrap();
        assert_eq!(loaded.caption(&test, &Decoding::beam(3)).unwrap(), said);
    }

    /// Replaces the picture of an example by a file that is none.
    fn spoil(example: &mut Example, folder: &Path) {
        let broken = folder.join("broken.jpg");
        std::fs::write(&broken, "no picture").unwrap();
        example.image = ImageSource::File(broken);
    }

    #[test]
    fn it_learns_from_features_resumes_to_the_same_bits_and_captions_pictures_as_it_captions_features() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let mut whole = Run::start(&small(folder.path(), "whole"), &dataset).unwrap();
        whole.wait().unwrap();
        let curves = whole.curves();
        assert!(curves.validation_loss[1].1 < curves.validation_loss[0].1, "{curves:?}");
        assert_eq!(curves.metrics["cider_d"].len(), 2);
        assert_eq!(whole.samples()[1].samples.len(), 8);

        let resumed = stopped_and_resumed(&small(folder.path(), "stopped"), &dataset);
        let captioner: Captioner = whole.model().unwrap();
        let other: Captioner = resumed.model().unwrap();
        for ((name, weight), (_, other)) in captioner.weights.named().iter().zip(other.weights.named()) {
            assert_eq!(weight, &other, "{name}");
        }

        let test = dataset.split(Split::Test);
        let extract = ExtractConfig { folder: Some(folder.path().join("features")), ..ExtractConfig::default() };
        let mut features = Extraction::start(&dataset, captioner.encoder(), &extract).unwrap();
        features.wait().unwrap();
        // What the training needed was found.
        assert_eq!(features.report().unwrap().found, 56);
        let names: Vec<&str> = test.iter().map(|example| example.name.as_str()).collect();
        let cache = features.cache().unwrap();
        for decoding in [Decoding::greedy(), Decoding::beam(3), Decoding::temperature(0.7, 5)] {
            let captions = captioner.caption(&test, &decoding).unwrap();
            assert_eq!(*captions, captioner.caption_cached(&cache, &names, &decoding).unwrap());
        }

        let said = captioner.caption(&test, &Decoding::greedy()).unwrap();
        let ranked = crate::caption::ranked(&test, &said).unwrap();
        assert!(ranked.is_sorted_by(|a, b| a.cider_d >= b.cider_d) && ranked.len() <= 6);
        let mean = ranked.iter().map(|one| one.cider_d).sum::<f64>() / 6.0;
        let found = captioner.evaluate(&dataset, Split::Test).unwrap();
        assert!((found.cider_d - mean).abs() < 1e-9, "{found}");
        assert!(crate::caption::ranked(&test, &said[..2]).is_err());

        // Of the training pictures, whose features are here, the most alike one.
        let of_test: Vec<&Example> = test.iter().collect();
        let nearest = |config: &ExtractConfig| nearest_captions(&captioner, &dataset, &of_test, config).unwrap();
        let train = dataset.split(Split::Train);
        let train_names: Vec<&str> = train.iter().map(|example| example.name.as_str()).collect();
        let alike = cache.nearest(&names, &train_names, 1).unwrap();
        for (caption, alike) in nearest(&extract).unwrap().iter().zip(alike) {
            let (index, similarity) = alike[0];
            assert_eq!(*caption, train[index].captions[0]);
            assert!(similarity > 0.0 && similarity <= 1.0 + 1e-5);
        }
        let elsewhere = ExtractConfig { folder: Some(folder.path().join("elsewhere")), ..extract.clone() };
        assert_eq!(nearest(&elsewhere), None);
        // By cached features the same is found, and the nearest pictures are known wherever the cache is.
        let by_cache = crate::caption::evaluate_cached(&captioner, &dataset, Split::Test, &cache).unwrap();
        assert!(by_cache.nearest_neighbour_cider_d.is_some());
        let nearest_neighbour_cider_d = found.nearest_neighbour_cider_d;
        let scenes = |found: &CaptionEvaluation| found.scenes.as_ref().map(|scenes| scenes.truth);
        assert_eq!(scenes(&by_cache), scenes(&found));
        let scenes = found.scenes.clone();
        assert_eq!(CaptionEvaluation { nearest_neighbour_cider_d, scenes, ..by_cache }, found);

        // What is thought of a caption word by word is what it was chosen by.
        let picture = test[0].picture().unwrap();
        let best =
            captioner.hypotheses(std::slice::from_ref(&picture), &Decoding { best: 2, ..Decoding::beam(3) }).unwrap();
        let caption = &best[0][0];
        let explanation = captioner.explain(&picture, &caption.text, 3).unwrap();
        assert!(!caption.ended || (explanation.log_probability() - caption.log_probability).abs() < 1e-3);
        assert_eq!(explanation.words.len(), Vocabulary::words(&caption.text).len() + 1);
        for word in &explanation.words {
            assert!((word.attention.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            assert!(word.attention.len() == explanation.boxes.len() && word.most_probable.len() == 3);
            assert!(word.most_probable[0].1 >= word.probability);
        }
        let error = captioner.explain(&picture, "a qwertz", 1).unwrap_err().to_string();
        assert!(error.contains("\"qwertz\""), "{error}");
        let two = Ensemble::new(vec![captioner, other]).unwrap();
        assert_eq!(two.hypotheses(std::slice::from_ref(&picture), &Decoding::greedy()).unwrap()[0].len(), 1);
        let captioner: Captioner = whole.model().unwrap();

        save_model(whole.folder(), folder.path().join("saved")).unwrap();
        let saved = <Captioner as Model>::load(&folder.path().join("saved")).unwrap();
        assert_eq!((saved.config(), saved.vocabulary()), (captioner.config(), captioner.vocabulary()));
        let evaluation = saved.evaluate(&dataset, Split::Test).unwrap();
        let truth = evaluation.scenes.as_ref().unwrap().truth;
        assert_eq!((evaluation.pictures, evaluation.unreadable.len()), (6, 0));
        // What people say of scenes is true.
        assert_eq!(evaluation.scenes.as_ref().unwrap().person.all_claims_precision, 1.0);
        assert!((0.0..=1.0).contains(&evaluation.in_training) && (0.0..=1.0).contains(&evaluation.distinct));
        assert!(evaluation.person_cider_d.is_some_and(|person| person > 0.5), "{evaluation}");
        assert!((0.0..=1.0).contains(&truth.claims_precision) && evaluation.cider_d >= 0.0, "{evaluation}");
        let json = serde_json::to_value(&evaluation).unwrap();
        assert!(json["claims_precision"].is_number() && json["baseline"]["claims_recall"].is_number(), "{json}");
    }

    #[test]
    fn self_critical_training_raises_the_reward_and_resumes_to_the_same_bits() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let spoken = CaptionTraining {
            run: RunSettings { epochs: 12, ..small(folder.path(), "spoken").run },
            ..small(folder.path(), "spoken")
        };
        let mut spoken = Run::start(&spoken, &dataset).unwrap();
        spoken.wait().unwrap();
        let critical = |name: &str| {
            let preset = small(folder.path(), name);
            CaptionTraining {
                self_critical: true,
                run: RunSettings {
                    start_from: vec![StartFrom { path: spoken.folder().to_path_buf(), prefix: String::new() }],
                    optimiser: OptimiserConfig::adam(2e-3),
                    epochs: 8,
                    ..preset.run
                },
                ..preset
            }
        };
        let mut whole = Run::start(&critical("whole"), &dataset).unwrap();
        whole.wait().unwrap();
        // On the pictures that it learns from.
        let train = dataset.split(Split::Train);
        let reward = |run: &Run| {
            let captioner: Captioner = run.model().unwrap();
            let said = captioner.caption(&train, &Decoding::greedy()).unwrap();
            crate::caption::ranked(&train, &said).unwrap().iter().map(|one| one.cider_d).sum::<f64>()
        };
        let (before, after) = (reward(&spoken), reward(&whole));
        assert!(after > 1.05 * before, "{before} {after}");

        let resumed = stopped_and_resumed(&critical("stopped"), &dataset);
        let weights = |run: &Run| run.model::<Captioner>().unwrap().weights.named();
        for ((name, weight), (_, other)) in weights(&whole).iter().zip(weights(&resumed)) {
            assert_eq!(weight, &other, "{name}");
        }
    }

    #[test]
    fn pictures_that_cannot_be_read_are_left_out_of_training_captioning_and_evaluation() {
        let (folder, mut dataset) = (tempfile::tempdir().unwrap(), scenes());
        spoil(&mut dataset.examples[3], folder.path());
        let last = dataset.examples.len() - 1;
        spoil(&mut dataset.examples[last], folder.path());
        let mut run = Run::start(&small(folder.path(), "run"), &dataset).unwrap();
        run.wait().unwrap();
        assert_eq!(run.notes().len(), 2, "{:?}", run.notes());
        assert!(run.notes()[1].contains("broken.jpg"), "{:?}", run.notes());
        let captioner: Captioner = run.model().unwrap();
        let captions = captioner.caption(&dataset.split(Split::Test), &Decoding::greedy()).unwrap();
        assert_eq!((captions.len(), captions.readable(), captions[5].as_str()), (6, &[0, 1, 2, 3, 4][..], ""));
        assert!(captions.to_string().contains("broken.jpg") && captions.unreadable().len() == 1);
        let evaluation = captioner.evaluate(&dataset, Split::Test).unwrap();
        assert_eq!((evaluation.pictures, evaluation.unreadable.len()), (5, 1));
        assert!(evaluation.to_string().contains("1 pictures could not be read"), "{evaluation}");
        dataset.examples.iter_mut().for_each(|example| spoil(example, folder.path()));
        let error = captioner.evaluate(&dataset, Split::Test).unwrap_err().to_string();
        assert!(error.contains("none of the 6 pictures could be read"), "{error}");
    }

    #[test]
    fn features_of_another_encoder_are_refused() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let training = small(folder.path(), "run");
        let mut run = Run::start(&training, &dataset).unwrap();
        run.wait().unwrap();
        let captioner: Captioner = run.model().unwrap();
        let place = run.folder().to_path_buf();
        drop(run);
        let other = EncoderConfig { storage: StorageDtype::Single, ..EncoderConfig::new("tiny") };
        let extract = ExtractConfig { folder: training.cache.clone(), ..ExtractConfig::default() };
        let mut features = Extraction::start(&dataset, &other, &extract).unwrap();
        features.wait().unwrap();
        let cache: FeatureCache = features.cache().unwrap();
        let error = captioner.caption_cached(&cache, &["scene-000000"], &Decoding::greedy()).unwrap_err().to_string();
        assert!(error.contains("were not made by the encoder tiny"), "{error}");

        // The encoder of that name has changed since.
        let path = place.join(CHECKPOINT_FILE);
        let (tensors, mut metadata) = crate::nn::read_tensors(&path).unwrap();
        metadata["description"]["encoder"]["identity"] = "00".into();
        crate::nn::write_tensors(&path, &tensors.into_iter().collect::<Vec<_>>(), &metadata).unwrap();
        let captioner = Captioner::load(&place).unwrap();
        let error = captioner.caption(&dataset.examples[..1], &Decoding::greedy()).unwrap_err().to_string();
        assert!(error.contains("the encoder tiny") && error.contains("trained with"), "{error}");
        let error = Run::resume::<CaptionTraining>(&place, &dataset).unwrap_err().to_string();
        assert!(error.contains("cannot be resumed"), "{error}");
    }

    #[test]
    fn a_word_detector_is_an_encoder_like_the_others() {
        let (folder, dataset) = (tempfile::tempdir().unwrap(), scenes());
        let eye = WordDetectorTraining {
            encoder: SmallCnnConfig { image_size: 32, channels: vec![8, 8], strides: vec![4, 2], feature_size: 20 },
            shift_pixels: 2,
            run: RunSettings {
                epochs: 1,
                folder: Some(folder.path().join("eye")),
                ..WordDetectorTraining::scenes().run
            },
            ..WordDetectorTraining::scenes()
        };
        let mut eye = Run::start(&eye, &dataset).unwrap();
        eye.wait().unwrap();
        let training =
            CaptionTraining { encoder: EncoderConfig::word_detector(eye.folder()), ..small(folder.path(), "mouth") };
        let mut run = Run::start(&training, &dataset).unwrap();
        run.wait().unwrap();
        let captioner: Captioner = run.model().unwrap();
        assert_eq!(captioner.named_encoder().width(), 20);
        assert_eq!(captioner.caption(&dataset.split(Split::Test), &Decoding::greedy()).unwrap().len(), 6);
        let error = Captioner::load(eye.folder()).unwrap_err().to_string();
        assert!(error.contains("not weights of the kind `captioner`: these are of the kind `eye`"), "{error}");
    }
}
