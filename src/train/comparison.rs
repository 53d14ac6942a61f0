//! Runs beside one another.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::log::{Entry, LOG_FILE};
use super::{CONFIG_FILE, Curves};
use crate::{Error, Result};

/// Runs beside one another: how they were configured, and how their losses and metrics went. Runs that are under way may be among
/// them.
///
/// ```no_run
/// use captionlab::show;
/// use captionlab::train::Comparison;
/// let comparison = Comparison::of(&["saved_models/runs/captioner-1", "saved_models/runs/captioner-2"])?;
/// println!("{}", show::compared_runs(&comparison));
/// show::compared_curves("Which is better?", "cider_d", &comparison)?.save("comparison.png")?;
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The runs, as they were named.
    pub runs: Vec<ComparedRun>,
}

/// A run among others.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedRun {
    /// The name of its folder.
    pub name: String,
    /// What it trains.
    pub kind: String,
    /// Its settings by path, such as `run.optimiser.learning_rate`.
    pub settings: BTreeMap<String, Value>,
    /// How its losses and metrics went.
    pub curves: Curves,
}

impl Comparison {
    /// Reads the runs in these folders.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are none; [`Error::File`] and [`Error::Data`] when a folder holds no run.
    pub fn of<P: AsRef<Path>>(folders: &[P]) -> Result<Self> {
        if folders.is_empty() {
            return Err(Error::argument("there are no runs to compare", "Name the folders of at least one."));
        }
        Ok(Self { runs: folders.iter().map(|folder| ComparedRun::read(folder.as_ref())).collect::<Result<_>>()? })
    }

    /// The settings that are not the same in all runs.
    pub fn differences(&self) -> Vec<String> {
        let mut names: Vec<&String> = self.runs.iter().flat_map(|run| run.settings.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let differs =
            |name: &&&String| self.runs.iter().any(|run| run.settings.get(**name) != self.runs[0].settings.get(**name));
        names.iter().filter(differs).map(ToString::to_string).collect()
    }

    /// The names of all metrics that some run has, `validation_loss` first.
    pub fn metrics(&self) -> Vec<String> {
        let mut names: Vec<String> = self.runs.iter().flat_map(|run| run.curves.metrics.keys().cloned()).collect();
        names.sort_unstable();
        names.dedup();
        if self.runs.iter().any(|run| !run.curves.validation_loss.is_empty()) {
            names.insert(0, VALIDATION_LOSS.to_string());
        }
        names
    }
}

/// The name of the loss among metrics.
const VALIDATION_LOSS: &str = "validation_loss";

impl ComparedRun {
    /// The number of epochs, the loss of the last step, and what was measured after the last epoch: `epochs`, `training_loss`,
    /// `validation_loss`, and the metrics by name.
    pub fn last(&self) -> BTreeMap<String, f64> {
        let Curves { training_loss, validation_loss, metrics } = &self.curves;
        let named = [("training_loss", training_loss), (VALIDATION_LOSS, validation_loss)];
        let points = named.into_iter().map(|(name, points)| (name.to_string(), points.last()));
        let metrics = metrics.iter().map(|(name, points)| (name.clone(), points.last()));
        let last = points.chain(metrics).filter_map(|(name, point)| Some((name, point?.1)));
        let epochs = training_loss.last().map(|(epochs, _)| ("epochs".to_string(), *epochs));
        last.chain(epochs).collect()
    }

    fn read(folder: &Path) -> Result<Self> {
        let help = "Name the folder of a run, such as saved_models/runs/captioner-1.";
        let read = |name: &str| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path);
            text.map_err(|source| Error::file(&path, "read the run", source, help)).map(|text| (path, text))
        };
        let (path, text) = read(CONFIG_FILE)?;
        let about: Value =
            serde_json::from_str(&text).map_err(|error| Error::data(&path, None, error.to_string(), help))?;
        let mut settings = BTreeMap::new();
        flatten("", &about["training"], &mut settings);
        let (path, text) = read(LOG_FILE)?;
        let mut curves = Curves::default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        // A run that is under way may be writing the last line.
        for (number, line) in (1..).zip(text[..whole].lines()) {
            let entry: Entry = serde_json::from_str(line).map_err(|error| {
                Error::data(&path, number, error.to_string(), "Restore the log, or leave the run out.")
            })?;
            curves.add(&entry);
        }
        let name = |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let absolute = || std::path::absolute(folder).ok().and_then(|folder| name(&folder));
        Ok(Self {
            name: name(folder).or_else(absolute).unwrap_or_default(),
            kind: about["kind"].as_str().unwrap_or_default().to_string(),
            settings,
            curves,
        })
    }

    /// The values of a metric, or of `validation_loss`: a point an epoch.
    pub fn metric(&self, name: &str) -> &[(f64, f64)] {
        match name {
            VALIDATION_LOSS => &self.curves.validation_loss,
            _ => self.curves.metrics.get(name).map_or(&[], Vec::as_slice),
        }
    }
}

/// The values of a configuration by path. Where a run lies and what it is cached in says nothing about it.
fn flatten(path: &str, value: &Value, settings: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, settings);
            }
        }
        _ if ["cache", "run.folder"].contains(&path) => {}
        _ => drop(settings.insert(path.to_string(), value.clone())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn run(folder: &Path, name: &str, config: &str, log: &str) -> PathBuf {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(CONFIG_FILE), config).unwrap();
        std::fs::write(folder.join(LOG_FILE), log).unwrap();
        folder
    }

    #[test]
    fn settings_that_differ_are_found_and_a_line_that_is_being_written_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let step = r#"{"kind":"step","step":1,"epochs":0.5,"loss":2.0,"learning_rate":0.1,"seconds":0.1}"#;
        let epoch = r#"{"kind":"epoch","epoch":1,"validation_loss":1.5,"metrics":{"cider_d":0.7},"samples":[]}"#;
        let config = |rate: f64, cache: &str| {
            format!(
                r#"{{"kind":"captioner","training":{{"cache":"{cache}","run":{{"epochs":3,"optimiser":{{"learning_rate":{rate}}}}}}}}}"#
            )
        };
        let a = run(folder.path(), "a", &config(0.1, "x"), &format!("{step}\n{epoch}\n"));
        let b = run(folder.path(), "b", &config(0.2, "y"), &format!("{step}\n{}", &epoch[..20]));
        let comparison = Comparison::of(&[&a, &b]).unwrap();
        assert_eq!(comparison.differences(), ["run.optimiser.learning_rate"]);
        assert_eq!(comparison.metrics(), ["validation_loss", "cider_d"]);
        let [a, b] = &comparison.runs[..] else { panic!("two runs") };
        assert_eq!((a.name.as_str(), a.kind.as_str(), a.metric("cider_d")), ("a", "captioner", &[(1.0, 0.7)][..]));
        let last = [("cider_d", 0.7), ("epochs", 0.5), ("training_loss", 2.0), ("validation_loss", 1.5)];
        assert_eq!(a.last(), last.map(|(name, value)| (name.to_string(), value)).into());
        assert_eq!((b.curves.training_loss.len(), b.metric("validation_loss").len()), (1, 0));

        std::fs::write(folder.path().join("b").join(LOG_FILE), "no log\n").unwrap();
        for (runs, said) in [
            (vec![], "no runs"),
            (vec![folder.path().join("b")], "log.jsonl"),
            (vec![folder.path().join("c")], "config.json"),
        ] {
            let error = Comparison::of(&runs).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
