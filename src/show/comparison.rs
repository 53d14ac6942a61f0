//! Runs beside one another as a table and as curves.

use serde_json::Value;

use super::curves::{Series, curves};
use super::figure::Figure;
use super::table::Table;
use crate::train::{ComparedRun, Comparison};
use crate::{Error, Result};

/// A table of runs: the settings in which they differ, how many epochs they took, and their losses and metrics at the end.
pub fn compared_runs(comparison: &Comparison) -> Table {
    let (differences, metrics) = (comparison.differences(), comparison.metrics());
    let columns = [&["run".to_string()], &differences[..], &["epochs".to_string()], &metrics[..]].concat();
    let mut table = Table::new("", columns);
    let last = |points: &[(f64, f64)]| points.last().map_or(String::new(), |(_, value)| format!("{value:.4}"));
    for run in &comparison.runs {
        let mut row = vec![run.name.clone()];
        row.extend(differences.iter().map(|name| setting(run, name)));
        row.push(run.curves.training_loss.last().map_or(String::new(), |(epochs, _)| format!("{epochs:.1}")));
        row.extend(metrics.iter().map(|name| last(run.metric(name))));
        table.push(row);
    }
    table
}

fn setting(run: &ComparedRun, name: &str) -> String {
    match run.settings.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// Draws a metric of runs over their epochs, or `validation_loss`. Each line is named by its run and the settings that differ.
///
/// # Errors
/// [`Error::Argument`] when no run has that metric; the message names those that there are.
pub fn compared_curves(title: &str, metric: &str, comparison: &Comparison) -> Result<Figure> {
    let differences = comparison.differences();
    let name = |run: &ComparedRun| {
        let short = |path: &String| path.rsplit('.').next().unwrap_or_default().to_string();
        let settings = differences.iter().map(|path| format!("{} {}", short(path), setting(run, path)));
        [vec![run.name.clone()], settings.collect()].concat().join(", ")
    };
    let with_points = comparison.runs.iter().filter(|run| !run.metric(metric).is_empty());
    let series: Vec<Series> = with_points.map(|run| Series::new(name(run), run.metric(metric).to_vec())).collect();
    if series.is_empty() {
        let there = match comparison.metrics() {
            metrics if metrics.is_empty() => "None of them has ended an epoch with validation pictures.".to_string(),
            metrics => format!("Take one of {}.", metrics.join(", ")),
        };
        return Err(Error::argument(format!("no run has the metric {metric:?}"), there));
    }
    curves(title, "epochs", &metric.replace('_', " "), &series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Curves;

    fn run(name: &str, rate: f64, values: &[f64]) -> ComparedRun {
        let points = (1..).map(f64::from).zip(values.iter().copied()).collect::<Vec<_>>();
        ComparedRun {
            name: name.into(),
            kind: "captioner".into(),
            settings: [("run.optimiser.learning_rate".to_string(), rate.into())].into(),
            curves: Curves {
                training_loss: vec![(values.len() as f64, 1.0)],
                metrics: [("cider_d".to_string(), points)].into(),
                ..Curves::default()
            },
        }
    }

    #[test]
    fn a_table_and_curves_name_what_differs() {
        let comparison = Comparison { runs: vec![run("a", 0.1, &[0.5, 0.7]), run("b", 0.2, &[0.4, 0.9])] };
        let table = compared_runs(&comparison);
        assert_eq!(table.columns, ["run", "run.optimiser.learning_rate", "epochs", "cider_d"]);
        assert_eq!(table.rows[1], ["b", "0.2", "2.0", "0.9000"]);
        let figure = compared_curves("Rates", "cider_d", &comparison).unwrap();
        assert!(
            figure.alternative.contains("b, learning_rate 0.2: from 0.4 at 1 to 0.9 at 2"),
            "{}",
            figure.alternative
        );
        let error = compared_curves("", "recall", &comparison).unwrap_err().to_string();
        assert!(error.contains("Take one of cider_d."), "{error}");
    }
}
