//! Scores of captions from the command line: part of two programs, of which one needs no libtorch.

use std::path::PathBuf;

use captionlab::Result;
use captionlab::metrics::{self, Meteor, MeteorData, Metric, Report, Tokenizer};
use clap::{Args, ValueEnum};

use crate::terminal::say;

#[derive(Args)]
pub struct ScoreOptions {
    /// COCO's annotations (JSON), a data set in any of the layouts that are known, or text with a caption a line; several text
    /// files hold several references of each image.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    references: Vec<PathBuf>,
    /// The captions to score: COCO's results (JSON), a table of images and captions, or text with a caption a line.
    #[arg(long, value_name = "FILE")]
    hypotheses: PathBuf,
    /// Other captions of the same images: says whether the two differ by more than chance.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "per_caption"])]
    against: Option<PathBuf>,
    /// Which scores; all when left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    metrics: Vec<MetricName>,
    /// Prints the scores of each caption as well.
    #[arg(long)]
    per_caption: bool,
    /// Prints where each score of the corpus lies in 95 of 100 cases.
    #[arg(long, conflicts_with_all = ["json", "against"])]
    intervals: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MetricName {
    Bleu,
    Meteor,
    RougeL,
    CiderD,
}

/// How often images are drawn anew to see how sure a score is.
const RESAMPLES: usize = 1000;

/// Scores captions, and prints what is asked for.
pub fn score(options: &ScoreOptions) -> Result<()> {
    say(lines(options)?.join("\n"))
}

fn lines(options: &ScoreOptions) -> Result<Vec<String>> {
    let of_name = |name: &MetricName| match name {
        MetricName::Bleu => Metric::Bleu,
        MetricName::Meteor => Metric::Meteor,
        MetricName::RougeL => Metric::RougeL,
        MetricName::CiderD => Metric::CiderD,
    };
    let asked: Vec<Metric> = match options.metrics.is_empty() {
        true => Metric::ALL.to_vec(),
        false => options.metrics.iter().map(of_name).collect(),
    };
    // What takes a while to make ready is made ready while the files are read.
    rayon::spawn(|| _ = Tokenizer::shared());
    let meteor = Meteor::new(if asked.contains(&Metric::Meteor) { MeteorData::find()? } else { None });
    let report_of = |hypotheses: &PathBuf| -> Result<Report> {
        let (captions, notes) = metrics::read_captions_to_score(&options.references, hypotheses)?;
        let mut report = metrics::score(&captions, &asked, &meteor)?;
        report.notes.extend(notes);
        Ok(report)
    };
    let report = report_of(&options.hypotheses)?;
    if let Some(other) = &options.against {
        let other = report_of(other)?;
        let mut lines = vec![format!("{:<8} {:>8} {:>8} {:>8}", "", "first", "second", "p")];
        for line in metrics::compare(&report, &other, RESAMPLES, 1)? {
            lines.push(format!("{:<8} {:>8.4} {:>8.4} {:>8.3}", line.name, line.first, line.second, line.p_value));
        }
        let mut notes = report.notes;
        notes.extend(other.notes.into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>());
        lines.extend(notes);
        return Ok(lines);
    }
    if options.json {
        let mut report = report;
        if !options.per_caption {
            report.captions.clear();
        }
        let mut json = serde_json::json!(report);
        if let (false, Some(fields)) = (options.per_caption, json.as_object_mut()) {
            fields.remove("captions");
        }
        return Ok(vec![format!("{json:#}")]);
    }
    let mut lines = vec![report.to_string().trim_end().to_string()];
    if options.intervals {
        lines.push("in 95 of 100 cases:".to_string());
        for (name, interval) in metrics::confidence_intervals(&report, RESAMPLES, 1) {
            lines.push(format!("{name:<8} {:.4} to {:.4}", interval.low, interval.high));
        }
    }
    if options.per_caption {
        for caption in &report.captions {
            let scores: Vec<String> =
                caption.scores.named().into_iter().map(|(name, score)| format!("{name} {score:.4}")).collect();
            lines.push(format!("{}: {}", caption.id, scores.join(", ")));
        }
    }
    Ok(lines)
}
