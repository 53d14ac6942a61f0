//! The table of what can be trained, by name: for the command line, and for whoever finds a run and does not know what it trains.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::align::AlignmentTraining;
use crate::caption::CaptionTraining;
use crate::data::{Dataset, ScenesConfig, Split};
use crate::nn::shipped;
use crate::train::{Model, Run, Trainable, newest_run};
#[cfg(feature = "clip-text")]
use crate::vision::clip::ClipTraining;
use crate::vision::{DetectorTraining, WordDetectorTraining};
use crate::{Error, Result};

/// A kind of training and the model that comes of it.
///
/// ```
/// use captionlab::Kind;
/// let kind = Kind::named("captioner")?;
/// let configuration = kind.configuration("scenes", &["run.epochs=3", "captioner.hidden_size=64"])?;
/// assert_eq!(configuration["run"]["epochs"], 3);
/// let error = kind.configuration("scenes", &["run.epoch=3"]).unwrap_err().to_string();
/// assert!(error.starts_with("run.epoch = 3: is no setting"));
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug)]
pub struct Kind {
    /// The name: in checkpoints, in the names of runs, on the command line.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub about: &'static str,
    /// The scenes that it is trained on where no data set is named.
    pub scenes: fn() -> ScenesConfig,
    presets: &'static [Preset],
    usual: fn(&Dataset) -> Result<Value>,
    /// What is wrong with the types of a configuration.
    check: fn(&Value) -> Result<(), String>,
    start: fn(&Value, Option<PathBuf>, &Dataset) -> Result<Run>,
    resume: fn(&Path, &Dataset) -> Result<Run>,
    evaluate: fn(&Path, &Dataset, Split) -> Result<Evaluation>,
    shipped: Option<&'static str>,
}

/// A configuration to start from: its name, and how it is made.
type Preset = (&'static str, fn() -> Result<Value>);

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// To read.
    pub text: String,
    /// The same figures, by name.
    pub figures: Value,
}

impl Evaluation {
    /// Of what a model's evaluation has found.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be written as JSON.
    pub fn new(found: &(impl fmt::Display + Serialize)) -> Result<Self> {
        Ok(Self { text: found.to_string(), figures: to_value(found)? })
    }
}

/// All kinds.
pub static KINDS: &[Kind] = &[
    Kind::of::<WordDetectorTraining>(
        "a word detector: which words people use of a picture",
        ScenesConfig::for_captioning,
        &[("scenes", || to_value(&WordDetectorTraining::scenes()))],
    ),
    Kind::of::<CaptionTraining>(
        "a captioner: sentences about pictures, from the features of an encoder",
        ScenesConfig::for_captioning,
        &[
            ("scenes", || to_value(&CaptionTraining::scenes())),
            ("course", || to_value(&CaptionTraining::course())),
            ("paper", || to_value(&CaptionTraining::paper())),
        ],
    ),
    Kind::of::<AlignmentTraining>(
        "an aligner: which word of a sentence is which region of a picture",
        ScenesConfig::default,
        &[
            ("scenes", || to_value(&AlignmentTraining::scenes())),
            ("course", || to_value(&AlignmentTraining::course())),
            ("paper", || to_value(&AlignmentTraining::paper())),
            #[cfg(feature = "clip-text")]
            ("clip", || to_value(&AlignmentTraining::clip())),
        ],
    ),
    Kind::of::<DetectorTraining>(
        "a detector: where the things of pictures are, and what they are",
        // Each scene shows few things, and some kinds are rare.
        || ScenesConfig { train: 10_000, ..ScenesConfig::default() },
        &[("scenes", || to_value(&DetectorTraining::scenes()))],
    ),
    #[cfg(feature = "clip-text")]
    Kind::of::<ClipTraining>(
        "a CLIP: which pictures and texts belong together",
        ScenesConfig::for_clip,
        &[("scenes", || to_value(&ClipTraining::scenes()))],
    ),
];

impl Kind {
    const fn of<T: Trainable + Default>(
        about: &'static str,
        scenes: fn() -> ScenesConfig,
        presets: &'static [Preset],
    ) -> Self {
        Self {
            name: T::Model::KIND,
            about,
            scenes,
            presets,
            usual: |dataset| to_value(&T::usual_for(dataset)),
            check: |configuration| {
                serde_json::from_value::<T>(configuration.clone()).map(drop).map_err(|error| error.to_string())
            },
            start: |configuration, folder, dataset| {
                let mut training: T = from_value(configuration.clone())?;
                training.run_mut().folder = folder;
                Run::start(&training, dataset)
            },
            resume: |folder, dataset| Run::resume::<T>(folder, dataset),
            evaluate: |path, dataset, split| Evaluation::new(&T::Model::load(path)?.evaluate(dataset, split)?),
            shipped: T::Model::SHIPPED,
        }
    }

    /// The kind of that name.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is none.
    pub fn named(name: &str) -> Result<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            Error::argument(
                format!("{name:?} is nothing that can be trained"),
                format!("Take one of {}.", names.join(", ")),
            )
        })
    }

    /// The names of the presets, the first of which is the usual one.
    pub fn presets(&self) -> impl Iterator<Item = &'static str> {
        self.presets.iter().map(|(name, _)| *name)
    }

    /// The usual configuration for a data set: other networks learn from few photographs than from many, or from Scenes.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be written as JSON.
    pub fn usual_for(&self, dataset: &Dataset) -> Result<Value> {
        (self.usual)(dataset)
    }

    /// The configuration of a preset with some settings changed, each `path=value`: `run.optimiser.learning_rate=3e-4`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a preset that there is not, [`Error::Config`] names a setting that there is not, and one that takes
    /// values of another type. Whether values are in their range is seen when the training starts.
    pub fn configuration<S: AsRef<str>>(&self, preset: &str, settings: &[S]) -> Result<Value> {
        let (_, preset) = self.presets.iter().find(|(name, _)| *name == preset).ok_or_else(|| {
            let names: Vec<&str> = self.presets().collect();
            Error::argument(
                format!("no configuration of `{}` is called {preset:?}", self.name),
                format!("Take one of {}.", names.join(", ")),
            )
        })?;
        self.with_settings(preset()?, settings)
    }

    /// A configuration with some settings changed, each `path=value`.
    ///
    /// # Errors
    /// As [`Kind::configuration`].
    pub fn with_settings<S: AsRef<str>>(&self, mut configuration: Value, settings: &[S]) -> Result<Value> {
        for setting in settings {
            let setting = setting.as_ref();
            let (path, value) = setting
                .split_once('=')
                .ok_or_else(|| Error::argument(format!("{setting:?} sets nothing"), "Write it like run.epochs=5."))?;
            let (path, value) = (path.trim(), value.trim());
            *setting_mut(&mut configuration, path, value)? =
                serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_string()));
            (self.check)(&configuration).map_err(|problem| Error::config(path, value, problem))?;
        }
        Ok(configuration)
    }

    /// Starts a training of a configuration in a folder, or where none is named in the next free one.
    ///
    /// # Errors
    /// As [`Run::start`].
    pub fn start(&self, configuration: &Value, folder: Option<PathBuf>, dataset: &Dataset) -> Result<Run> {
        (self.start)(configuration, folder, dataset)
    }

    /// As [`Run::resume`].
    ///
    /// # Errors
    /// As [`Run::resume`].
    pub fn resume(&self, folder: &Path, dataset: &Dataset) -> Result<Run> {
        (self.resume)(folder, dataset)
    }

    /// Measures a model on a split of a data set.
    ///
    /// # Errors
    /// As [`Model::load`] and [`Model::evaluate`].
    pub fn evaluate(&self, model: &Path, dataset: &Dataset, split: Split) -> Result<Evaluation> {
        (self.evaluate)(model, dataset, split)
    }

    /// The model of this kind that ships with the project, or where none does the newest run.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is neither; [`Error::File`] when the folder of runs cannot be read.
    pub fn usual_model(&self) -> Result<PathBuf> {
        if let Some(folder) = self.shipped
            && let Ok(model) = shipped(folder)
        {
            return Ok(model);
        }
        newest_run(self.name)?.ok_or_else(|| {
            Error::argument(
                format!("there is no model of the kind {} here", self.name),
                format!("Train one with `captionlab train {}`, or name one with --run.", self.name),
            )
        })
    }
}

/// The place of a setting in a configuration. The name of a variant may be left out: `run.optimiser.learning_rate` is found whatever
/// the optimiser is.
fn setting_mut<'a>(configuration: &'a mut Value, path: &str, value: &str) -> Result<&'a mut Value> {
    let mut place = configuration;
    for (depth, key) in path.split('.').enumerate() {
        let only = |fields: &Map<String, Value>| match fields.len() {
            1 => fields.iter().next().filter(|(_, inner)| inner.get(key).is_some()).map(|(name, _)| name.clone()),
            _ => None,
        };
        let variant = place.as_object().filter(|fields| !fields.contains_key(key)).and_then(only);
        if let Some(variant) = variant {
            place = &mut place[variant.as_str()];
        }
        if place.get(key).is_none() {
            let mut expected = "is no setting".to_string();
            if let Some(fields) = place.as_object() {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                let parent = path.split('.').take(depth).collect::<Vec<_>>().join(".");
                let parent = if parent.is_empty() { "there are".to_string() } else { format!("{parent} has") };
                write!(expected, "; {parent} {}", names.join(", ")).ok();
            }
            return Err(Error::config(path, value, expected));
        }
        place = &mut place[key];
    }
    Ok(place)
}

fn to_value<T: serde::Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::internal(error.to_string()))
}

fn from_value<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::argument(error.to_string(), "Check the settings."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_of_every_kind_is_valid_and_its_settings_can_be_named() {
        assert!(KINDS.len() >= 3);
        for kind in KINDS {
            for preset in kind.presets() {
                let configuration = kind
                    .configuration(preset, &["run.epochs=3", "run.optimiser.learning_rate=2e-4", "run.seed = 7"])
                    .unwrap();
                assert_eq!(
                    (configuration["run"]["epochs"].as_u64(), configuration["run"]["seed"].as_u64()),
                    (Some(3), Some(7))
                );
                assert!(configuration["run"]["optimiser"].to_string().contains("\"learning_rate\":0.0002"));
            }
        }
    }

    /// Removes each field of a configuration in turn, and says which ones are missed.
    fn missed(kind: &Kind, whole: &Value, path: &[String], missed: &mut Vec<String>) {
        let pointer: String = path.iter().map(|key| format!("/{key}")).collect();
        let Some(Value::Object(fields)) = whole.pointer(&pointer) else { return };
        for key in fields.keys() {
            let mut reduced = whole.clone();
            reduced.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(key);
            let path = [path, std::slice::from_ref(key)].concat();
            if (kind.check)(&reduced).is_err() {
                missed.push(path.join("."));
            }
            // What is a name of a variant holds its fields, all of which it needs.
            if !["optimiser", "schedule", "clip", "normalisation"].contains(&key.as_str()) || path == ["clip"] {
                self::missed(kind, whole, &path, missed);
            }
        }
    }

    #[test]
    fn a_stored_configuration_without_a_field_is_read_as_before_there_was_the_field() {
        for kind in KINDS {
            for preset in kind.presets() {
                let whole = kind.configuration::<&str>(preset, &[]).unwrap();
                let mut all = Vec::new();
                missed(kind, &whole, &[], &mut all);
                assert_eq!(all, Vec::<String>::new(), "{} {preset}", kind.name);
            }
        }
    }

    #[test]
    fn settings_that_there_are_not_and_values_of_another_type_are_named() {
        let kind = Kind::named("captioner").unwrap();
        for (setting, said) in [
            ("run.epoch=3", "run.epoch = 3: is no setting; run has"),
            ("runs.epochs=3", "runs.epochs = 3: is no setting; there are aligner, cache, captioner"),
            ("captioner.hidden_size=large", "captioner.hidden_size = large: invalid type"),
            ("captioner.hidden_size=-1", "captioner.hidden_size = -1: invalid value"),
            ("captioner.injection=never", "captioner.injection = never: unknown variant"),
            ("run.optimiser.momentum=0.5", "run.optimiser.momentum = 0.5: is no setting"),
            ("run.epochs.more=1", "run.epochs.more = 1: is no setting"),
            ("run.epochs", "sets nothing"),
            ("run.device=gpu", "run.device = gpu: no device"),
        ] {
            let error = kind.configuration("scenes", &[setting]).unwrap_err().to_string();
            assert!(error.contains(said), "{setting}: {error}");
        }
        let configuration = kind
            .configuration(
                "paper",
                &[
                    "captioner.cell=relu_rnn",
                    "encoder.name=eye",
                    "encoder.detector=runs/eye-1",
                    "run.keep_best={\"metric\":\"cider_d\",\"goal\":\"maximise\"}",
                ],
            )
            .unwrap();
        assert_eq!(configuration["captioner"]["cell"], "relu_rnn");
        assert_eq!(configuration["encoder"]["detector"], "runs/eye-1");
        assert_eq!(configuration["run"]["keep_best"]["metric"], "cider_d");
        assert!(Kind::named("dragon").unwrap_err().to_string().contains("captioner"));
        assert!(kind.configuration::<&str>("tiny", &[]).unwrap_err().to_string().contains("scenes, course, paper"));
    }
}
