//! How the trainings of a reproduction are configured.

use captionlab::align::AlignmentTraining;
use captionlab::caption::CaptionTraining;
use captionlab::data::{Dataset, Layout, Split};
use captionlab::vision::EncoderConfig;
use captionlab::{Error, Kind, Result};
use clap::ValueEnum;
use serde_json::{Map, Value};

use super::measured_splits;

/// How much the words of a caption keep to one region where snippets are looked for, as in lesson 2.
const SNIPPET_SMOOTHING: f64 = 0.1;

/// The configuration to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Configuration {
    /// That of the lessons, for drawn scenes.
    Scenes,
    /// Small networks with much dropout for fewer than 10,000 training pictures, and the course's for more.
    Photographs,
    /// The course's.
    Course,
    /// The paper's.
    Paper,
}

impl Configuration {
    /// The usual one for a data set.
    pub fn usual_for(dataset: &Dataset) -> Self {
        match dataset.layout {
            Layout::Scenes => Self::Scenes,
            _ => Self::Photographs,
        }
    }

    /// The name of the preset of `captionlab train` that it is, or that it is compared with.
    pub fn preset(self) -> &'static str {
        match self {
            Self::Scenes => "scenes",
            Self::Photographs | Self::Course => "course",
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

/// The trainings of a data set by an encoder, or by those of the configuration.
pub fn settings(
    dataset: &Dataset,
    encoder: Option<&EncoderConfig>,
    configuration: Configuration,
) -> (AlignmentTraining, CaptionTraining) {
    let (mut align, mut captioner) = match configuration {
        Configuration::Scenes => (AlignmentTraining::scenes(), CaptionTraining::scenes()),
        Configuration::Photographs => (AlignmentTraining::photographs(dataset), CaptionTraining::photographs(dataset)),
        Configuration::Course => (AlignmentTraining::course(), CaptionTraining::course()),
        Configuration::Paper => (AlignmentTraining::paper(), CaptionTraining::paper()),
    };
    if let Some(encoder) = encoder {
        align.encoder = encoder.clone();
        captioner.encoder = encoder.clone();
    }
    // Pictures that choose the best epoch cannot be measured too.
    if captioned(dataset, Split::Validation) == 0 || measured_splits(dataset).contains(&Split::Validation) {
        align.run.keep_best = None;
        captioner.run.keep_best = None;
    }
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
    use captionlab::align::AlignmentConfig;
    use captionlab::caption::CaptionerConfig;
    use captionlab::data::ScenesConfig;
    use captionlab::train::{MANY_PICTURES, Trainable};
    use serde_json::json;

    use super::*;

    /// Drawn scenes that pass for photographs.
    fn photographs(train: usize, validation: usize) -> Dataset {
        let scenes = Dataset::scenes(&ScenesConfig { train, validation, test: 1, seed: 1 }).unwrap();
        Dataset { layout: Layout::Folder, ..scenes }
    }

    #[test]
    fn trainings_of_every_size_are_valid_and_small_ones_take_as_many_steps() {
        for (pictures, epochs) in [(1, 750), (8, 94), (480, 25)] {
            let dataset = photographs(pictures, 1);
            let (align, captioner) = settings(&dataset, None, Configuration::usual_for(&dataset));
            align.validate().unwrap();
            captioner.validate().unwrap();
            assert_eq!(captioner.run.epochs, epochs, "{pictures}");
            let steps = captioner.run.epochs as usize * pictures.div_ceil(captioner.run.batch_size);
            assert!((750..800).contains(&steps), "{pictures}: {steps}");
            let steps = align.run.epochs as usize * (pictures / align.run.batch_size).max(1);
            assert!((1200..1300).contains(&steps), "{pictures}: {steps}");
        }
        let many = photographs(MANY_PICTURES, 1);
        let (align, captioner) = settings(&many, None, Configuration::usual_for(&many));
        assert_eq!((&align.aligner, &captioner.captioner), (&AlignmentConfig::course(), &CaptionerConfig::course()));
        let (align, captioner) = settings(&photographs(8, 0), None, Configuration::Paper);
        assert_eq!((align.run.keep_best, captioner.run.keep_best), (None, None));
    }

    #[test]
    fn a_setting_is_of_a_stage_and_what_the_captioner_is_made_of_holds_for_both_its_stages() {
        let trainings = || settings(&photographs(8, 1), None, Configuration::Photographs);
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
