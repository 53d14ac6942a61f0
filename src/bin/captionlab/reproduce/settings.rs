//! How the trainings of a reproduction are configured.

use captionlab::align::{AlignmentConfig, AlignmentTraining};
use captionlab::caption::{CaptionTraining, CaptionerConfig, ImageInjection, Pooling};
use captionlab::data::{Dataset, Layout, Split, VocabularyConfig};
use captionlab::train::{Goal, KeepBest, OptimiserConfig, RunSettings, Schedule};
use captionlab::vision::EncoderConfig;
use captionlab::{Error, Kind, Result};
use clap::ValueEnum;
use serde_json::{Map, Value};

/// From so many training pictures on, the course's configuration learns more than it memorises.
pub const MANY_PICTURES: usize = 10_000;

/// A small training takes so many steps, however few its pictures are.
const STEPS: usize = 1750;

/// Parts of which the epochs of a small training consist at least, so that few pictures are not one step.
const FEWEST_STEPS_AN_EPOCH: usize = 8;

/// How much the words of a caption keep to one region where snippets are looked for, as in lesson 2.
const SNIPPET_SMOOTHING: f64 = 0.1;

/// The configuration to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Configuration {
    /// That of the lessons, for drawn scenes.
    Scenes,
    /// Small networks with much dropout, for fewer than 10,000 training pictures.
    Small,
    /// The course's, for more.
    Course,
    /// The paper's.
    Paper,
}

impl Configuration {
    /// The usual one for a data set.
    pub fn usual_for(dataset: &Dataset) -> Self {
        match (dataset.layout, dataset.split_size(Split::Train)) {
            (Layout::Scenes, _) => Self::Scenes,
            (_, MANY_PICTURES..) => Self::Course,
            _ => Self::Small,
        }
    }

    /// The name of the preset of `captionlab train` that it is, or that it is compared with.
    pub fn preset(self) -> &'static str {
        match self {
            Self::Scenes => "scenes",
            Self::Small | Self::Course => "course",
            Self::Paper => "paper",
        }
    }
}

/// The configurations of the trainings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of the aligner.
    pub align: Value,
    /// Of the captioner that learns what regions are called; `None` where the encoder sees whole pictures alone.
    pub snippets: Option<Value>,
    /// Of the captioner on whole sentences, whose `aligner` and `run.start_from` are still open.
    pub captioner: Value,
}

/// The encoder that a data set is usually looked at with; `None` leaves it to the configuration.
///
/// For now the small one for Scenes, whatever the pictures are: to be replaced by `EncoderConfig::usual_for(dataset)`.
pub fn usual_encoder(dataset: &Dataset) -> Option<EncoderConfig> {
    (dataset.layout != Layout::Scenes).then(|| EncoderConfig::new("tiny"))
}

/// The trainings of a data set by an encoder, or by those of the configuration: all that is chosen for the user is chosen here.
///
/// | | aligner | captioner |
/// |---|---|---|
/// | `scenes` | as `captionlab train align` | as `captionlab train captioner` |
/// | `course`, `paper` | as `--config course`, `--config paper` | the same |
/// | `small` | the lessons' sizes, dropout 0.5, Adam 10⁻³, the epoch of the lowest validation loss | LSTM 256, words 128, image 128 of the whole picture, dropout 0.5, AdamW 2·10⁻³ with decay 10⁻², 64 sentences a step, words seen 3 times, the epoch of the highest CIDEr-D |
///
/// `small` takes about 1,750 steps whatever the size of the data set, and ten epochs at least.
pub fn settings(
    dataset: &Dataset,
    encoder: Option<&EncoderConfig>,
    configuration: Configuration,
) -> (AlignmentTraining, CaptionTraining) {
    let (mut align, mut captioner) = match configuration {
        Configuration::Scenes => (AlignmentTraining::scenes(), CaptionTraining::scenes()),
        Configuration::Course => (AlignmentTraining::course(), CaptionTraining::course()),
        Configuration::Paper => (AlignmentTraining::paper(), CaptionTraining::paper()),
        Configuration::Small => small(dataset),
    };
    if let Some(encoder) = encoder {
        align.encoder = encoder.clone();
        captioner.encoder = encoder.clone();
    }
    // The best epoch is known by validation pictures alone.
    if captioned(dataset, Split::Validation) == 0 {
        align.run.keep_best = None;
        captioner.run.keep_best = None;
    } else if configuration != Configuration::Scenes {
        captioner.run.keep_best =
            Some(KeepBest { metric: "cider_d".to_string(), goal: Goal::Maximise, patience: None });
        align.run.keep_best.get_or_insert_with(KeepBest::default);
    }
    (align, captioner)
}

/// For few pictures: what has many weights memorises them.
fn small(dataset: &Dataset) -> (AlignmentTraining, CaptionTraining) {
    const SENTENCES: usize = 64;
    const DROPOUT: f64 = 0.5;
    let pictures = captioned(dataset, Split::Train);
    let sentences: usize = dataset.captions(Split::Train).len();
    // All captions of a picture are learnt together: features are read once for them.
    let captions = sentences.div_ceil(pictures.max(1)).clamp(1, 5);
    let least = |batch: usize, smallest: usize| batch.min(pictures / FEWEST_STEPS_AN_EPOCH).max(smallest);
    let run = |batch_size: usize, steps_an_epoch: usize, optimiser: OptimiserConfig| RunSettings {
        epochs: STEPS.div_ceil(steps_an_epoch.max(1)).max(10) as u64,
        batch_size,
        optimiser,
        schedule: Schedule::Cosine { warmup_steps: 100 },
        ..RunSettings::default()
    };
    // Words that are seen once are not learnt, but ten pictures have few others.
    let min_count = match sentences {
        500.. => 3,
        50.. => 2,
        _ => 1,
    };
    let vocabulary = VocabularyConfig { min_count, max_size: None };
    // A picture needs another one to be told from.
    let pairs = least(SENTENCES, 2);
    let align = AlignmentTraining {
        aligner: AlignmentConfig { word_dropout: DROPOUT, region_dropout: DROPOUT, ..AlignmentConfig::scenes() },
        vocabulary: vocabulary.clone(),
        run: run(pairs, pictures / pairs, OptimiserConfig::adam(1e-3)),
        ..AlignmentTraining::scenes()
    };
    let batch = least(SENTENCES.div_ceil(captions), 1);
    let mut adam = OptimiserConfig::adam(2e-3);
    if let OptimiserConfig::Adam { weight_decay, .. } = &mut adam {
        *weight_decay = 1e-2;
    }
    let captioner = CaptionTraining {
        captioner: CaptionerConfig {
            word_size: 128,
            image_size: 128,
            hidden_size: 256,
            injection: ImageInjection::EveryStep,
            normalise: true,
            pooling: Pooling::WholePicture,
            word_dropout: DROPOUT,
            image_dropout: DROPOUT,
            output_dropout: DROPOUT,
            ..CaptionerConfig::default()
        },
        vocabulary,
        captions_per_picture: captions,
        run: run(batch, pictures.div_ceil(batch), adam),
        ..CaptionTraining::course()
    };
    (align, captioner)
}

/// The pictures of a split that have captions.
pub fn captioned(dataset: &Dataset, split: Split) -> usize {
    dataset.examples.iter().filter(|example| example.split == Some(split) && !example.captions.is_empty()).count()
}

impl Settings {
    /// The settings of a data set, changed by `set`, of which each names its stage first: `captioner.run.epochs=5`. What is set of the
    /// captioner holds for its first stage too, since the one starts from the other.
    ///
    /// # Errors
    /// [`Error::Argument`] for a stage that there is not; those of [`Kind::with_settings`].
    pub fn of((align, captioner): (AlignmentTraining, CaptionTraining), set: &[String]) -> Result<Self> {
        const STAGES: [&str; 3] = ["align", "snippets", "captioner"];
        let mut by_stage: [Vec<&str>; 3] = Default::default();
        for setting in set {
            let (stage, rest) = setting.split_once('.').unwrap_or((setting, ""));
            let place = STAGES.iter().position(|known| *known == stage).ok_or_else(|| {
                Error::argument(
                    format!("--set {setting}: there is no stage {stage:?}"),
                    format!("Name one of {} first: captioner.run.epochs=5.", STAGES.join(", ")),
                )
            })?;
            by_stage[place].push(rest);
        }
        let [of_align, of_snippets, of_captioner] = by_stage;
        let changed = |kind: &str, stage: &str, value: Value, set: &[&str]| {
            Kind::named(kind)?.with_settings(value, set).map_err(|error| within(stage, error))
        };
        let align = changed("align", "align", value(&align)?, &of_align)?;
        let captioner = changed("captioner", "captioner", value(&captioner)?, &of_captioner)?;
        let mut first: CaptionTraining = typed(&captioner)?;
        let snippets = match first.encoder.name == "eye" || first.encoder.regions.max_regions == 0 {
            true => None,
            false => {
                first.snippets = Some(SNIPPET_SMOOTHING);
                // CIDEr-D of snippets is not measured.
                first.run.keep_best = None;
                first.run.epochs = first.run.epochs.div_ceil(4);
                Some(changed("captioner", "snippets", value(&first)?, &of_snippets)?)
            }
        };
        Ok(Self { align, snippets, captioner })
    }
}

/// Adds the stage to the path of a setting, as `--set` names it.
pub fn within(stage: &str, error: Error) -> Error {
    match error {
        Error::Config { field, value, expected } => {
            Error::Config { field: format!("{stage}.{field}"), value, expected }
        }
        other => other,
    }
}

/// A configuration as JSON.
pub fn value(configuration: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(configuration).map_err(|error| Error::argument(error.to_string(), "Check the settings."))
}

/// A configuration of JSON.
pub fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(|error| Error::argument(error.to_string(), "Check the settings."))
}

/// A setting that two configurations do not share.
pub struct Difference {
    /// Its path.
    pub setting: String,
    /// Its value in each; `None` where there is no such setting.
    pub values: [Option<Value>; 2],
}

/// The settings in which two configurations differ. Where features are cached says nothing about a training, and weights of stages are
/// the same in a folder that was moved.
pub fn differences(one: &Value, other: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(one), Some(other), &mut found);
    found.retain(|difference| difference.setting != "cache");
    found
}

fn compare<'a>(path: String, one: Option<&'a Value>, other: Option<&'a Value>, found: &mut Vec<Difference>) {
    let child = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    let none = Map::new();
    let fields = |value: Option<&'a Value>| value.and_then(Value::as_object);
    match (one, other) {
        (Some(Value::Object(_)), None | Some(Value::Object(_))) | (None, Some(Value::Object(_))) => {
            let (a, b) = (fields(one).unwrap_or(&none), fields(other).unwrap_or(&none));
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.into_iter().for_each(|key| compare(child(key), a.get(key), b.get(key), found));
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(index, (a, b))| {
                compare(child(&index.to_string()), Some(a), Some(b), found);
            });
        }
        (Some(Value::String(a)), Some(Value::String(b))) if same_stage(a, b) => {}
        _ if one == other => {}
        _ => found.push(Difference { setting: path, values: [one.cloned(), other.cloned()] }),
    }
}

/// Whether two paths are of one stage, in one folder that was moved or is named in another way.
fn same_stage(one: &str, other: &str) -> bool {
    let name = |path: &str| std::path::Path::new(path).file_name().map(std::ffi::OsStr::to_os_string);
    let stage = name(one).filter(|name| name == "align" || name == "snippets");
    stage.is_some() && stage == name(other)
}

#[cfg(test)]
mod tests {
    use captionlab::data::ScenesConfig;
    use captionlab::train::Trainable;
    use serde_json::json;

    use super::*;

    /// Drawn scenes that pass for photographs.
    fn photographs(train: usize, validation: usize) -> Dataset {
        let scenes = Dataset::scenes(&ScenesConfig { train, validation, test: 1, seed: 1 }).unwrap();
        Dataset { layout: Layout::Folder, ..scenes }
    }

    #[test]
    fn trainings_of_every_size_are_valid_and_small_ones_take_as_many_steps() {
        for (pictures, epochs) in [(1, 1750), (8, 219), (480, 48)] {
            let dataset = photographs(pictures, 1);
            let (align, captioner) = settings(&dataset, None, Configuration::usual_for(&dataset));
            align.validate().unwrap();
            captioner.validate().unwrap();
            assert_eq!(captioner.run.epochs, epochs, "{pictures}");
            let steps = captioner.run.epochs as usize * pictures.div_ceil(captioner.run.batch_size);
            assert!((1500..=2000).contains(&steps), "{pictures}: {steps}");
            let steps = align.run.epochs as usize * (pictures / align.run.batch_size).max(1);
            assert!((1500..=2000).contains(&steps), "{pictures}: {steps}");
        }
        let (align, captioner) = settings(&photographs(8, 0), None, Configuration::Paper);
        assert_eq!((align.run.keep_best, captioner.run.keep_best), (None, None));
    }

    #[test]
    fn a_setting_is_of_a_stage_and_what_the_captioner_is_made_of_holds_for_both_its_stages() {
        let trainings = || settings(&photographs(8, 1), None, Configuration::Small);
        let set = |text: &[&str]| text.iter().map(ToString::to_string).collect::<Vec<_>>();
        let settings =
            Settings::of(trainings(), &set(&["captioner.captioner.hidden_size=16", "snippets.run.epochs=3"])).unwrap();
        let snippets = settings.snippets.unwrap();
        assert_eq!((&snippets["captioner"]["hidden_size"], &snippets["run"]["epochs"]), (&json!(16), &json!(3)));
        assert_eq!(settings.captioner["captioner"]["hidden_size"], 16);
        for (setting, said) in [
            ("run.epochs=3", "there is no stage \"run\""),
            ("align.run.epoch=3", "align.run.epoch = 3: is no setting"),
            ("captioner", "sets nothing"),
        ] {
            let error = Settings::of(trainings(), &set(&[setting])).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(Settings::of(trainings(), &set(&["captioner.encoder.regions.most=0"])).unwrap().snippets.is_none());
    }

    #[test]
    fn differences_are_named_by_their_path() {
        let one = json!({"a": {"b": 1, "c": [1, 2]}, "cache": "x", "aligner": "/x/align"});
        let other = json!({"a": {"b": 2, "c": [1, 3]}, "cache": "y", "aligner": "there/align", "d": null});
        let found: Vec<String> = differences(&one, &other).into_iter().map(|found| found.setting).collect();
        assert_eq!(found, ["a.b", "a.c.1", "d"]);
    }
}
