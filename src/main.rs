//! The command line of captionlab.

use std::path::PathBuf;
use std::process::ExitCode;

use captionlab::caption::{self, CaptionTraining, Captioner, EyeTraining};
use captionlab::data::scenes::ScenesConfig;
use captionlab::data::{Dataset, Split};
use captionlab::metrics::{self, Meteor, MeteorData, Metric, Report};
use captionlab::train::{Run, RunSettings, runs_folder};
use captionlab::{Error, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Build an image captioner from nothing: trainings and evaluations of the lessons, from the command line.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains a model; a training that was ended, however it was, is resumed with --resume.
    #[command(subcommand)]
    Train(Train),
    /// Measures a model on pictures that it has not seen.
    #[command(subcommand)]
    Eval(Eval),
    /// Scores captions against references: BLEU, METEOR, ROUGE-L and CIDEr-D, equal to pycocoevalcap's.
    Score(ScoreOptions),
}

#[derive(Subcommand)]
enum Train {
    /// The eye of a captioner: which words people use of a picture.
    Eye(RunOptions),
    /// A captioner.
    Captioner(TrainCaptioner),
}

#[derive(Subcommand)]
enum Eval {
    /// How true the captions of scenes are: prints the figures, and those of always saying the same.
    Captioner(EvalCaptioner),
}

/// What all trainings have in common.
#[derive(Args)]
struct RunOptions {
    /// A captioned data set in any of the layouts that are known; Scenes when left out.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The folder of the run; the next free one in saved_models/runs when left out.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Goes on with the run in this folder, as it was configured.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["epochs", "seed", "workers"])]
    resume: Option<PathBuf>,
    /// How many times it goes over the training pictures.
    #[arg(long)]
    epochs: Option<u64>,
    /// Where everything random comes from.
    #[arg(long)]
    seed: Option<u64>,
    /// Among how many threads each step is shared; 1 is best on a GPU.
    #[arg(long)]
    workers: Option<usize>,
}

impl RunOptions {
    fn set(self, settings: &mut RunSettings) {
        settings.epochs = self.epochs.unwrap_or(settings.epochs);
        settings.seed = self.seed.unwrap_or(settings.seed);
        settings.workers = self.workers.unwrap_or(settings.workers);
        settings.folder = self.out;
    }
}

#[derive(Args)]
struct TrainCaptioner {
    #[command(flatten)]
    run: RunOptions,
    /// Which configuration.
    #[arg(long, value_enum, default_value = "scenes", conflicts_with = "resume")]
    config: Preset,
    /// The folder of the run of the eye that it sees with; a new one learns to look together with the words when left out.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    eye: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Preset {
    /// Small, for Scenes: under a minute, with an eye.
    Scenes,
    /// The course's.
    Course,
    /// That of Karpathy & Fei-Fei (2015).
    Paper,
}

#[derive(Args)]
struct EvalCaptioner {
    /// The folder of a run, or a file of weights; the newest run when left out.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ScoreOptions {
    /// COCO's annotations (JSON), a data set in any of the layouts that are known, or text with a caption a line; several text
    /// files hold several references of each image.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    references: Vec<PathBuf>,
    /// The captions to score: COCO's results (JSON), or text with a caption a line.
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

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Train(Train::Eye(options)) => train_eye(options),
        Command::Train(Train::Captioner(options)) => train_captioner(options),
        Command::Eval(Eval::Captioner(options)) => evaluate_captioner(options),
        Command::Score(options) => score(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn training_data(folder: Option<&PathBuf>) -> Result<Dataset> {
    match folder {
        Some(folder) => Dataset::open(folder),
        None => Dataset::scenes(&ScenesConfig::for_captioning()),
    }
}

fn train_eye(options: RunOptions) -> Result<()> {
    let dataset = training_data(options.data.as_ref())?;
    let run = match &options.resume {
        Some(folder) => Run::resume(folder, &dataset)?,
        None => {
            let mut training = EyeTraining::scenes();
            options.set(&mut training.run);
            caption::train_eye(&dataset, &training)?
        }
    };
    wait(run, &dataset)
}

fn train_captioner(options: TrainCaptioner) -> Result<()> {
    let dataset = training_data(options.run.data.as_ref())?;
    let run = match &options.run.resume {
        Some(folder) => Run::resume(folder, &dataset)?,
        None => {
            let preset = match options.config {
                Preset::Scenes => CaptionTraining::scenes(),
                Preset::Course => CaptionTraining::course(),
                Preset::Paper => CaptionTraining::paper(),
            };
            let mut training = CaptionTraining { eye: options.eye, ..preset };
            options.run.set(&mut training.run);
            caption::train(&dataset, &training)?
        }
    };
    wait(run, &dataset)
}

/// Waits for a run with a line of progress, and prints its last samples.
fn wait(mut run: Run, dataset: &Dataset) -> Result<()> {
    println!("{}: {}", dataset.name, run.folder().display());
    let result = run.wait();
    for note in run.notes() {
        println!("{note}");
    }
    result?;
    if let Some(epoch) = run.samples().last() {
        for sample in &epoch.samples {
            println!("{}: {}", sample.name, sample.text);
        }
    }
    Ok(())
}

fn evaluate_captioner(options: EvalCaptioner) -> Result<()> {
    let folder = match options.run {
        Some(folder) => folder,
        None => newest_run("captioner")?,
    };
    let evaluation =
        caption::evaluate(&Captioner::load(&folder)?, &Dataset::scenes(&ScenesConfig::default())?, Split::Test)?;
    match options.json {
        true => println!("{}", serde_json::json!(evaluation)),
        false => println!("{}\n{evaluation}", folder.display()),
    }
    Ok(())
}

fn score(options: &ScoreOptions) -> Result<()> {
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
        println!("{:<8} {:>8} {:>8} {:>8}", "", "first", "second", "p");
        for line in metrics::compare(&report, &other, RESAMPLES, 1)? {
            println!("{:<8} {:>8.4} {:>8.4} {:>8.3}", line.name, line.first, line.second, line.p_value);
        }
        report.notes.iter().for_each(|note| println!("{note}"));
        return Ok(());
    }
    if options.json {
        let mut json = serde_json::json!(report);
        if let (false, Some(fields)) = (options.per_caption, json.as_object_mut()) {
            fields.remove("captions");
        }
        println!("{json:#}");
        return Ok(());
    }
    print!("{report}");
    if options.intervals {
        println!("in 95 of 100 cases:");
        for (name, interval) in metrics::confidence_intervals(&report, RESAMPLES, 1) {
            println!("{name:<8} {:.4} to {:.4}", interval.low, interval.high);
        }
    }
    if options.per_caption {
        for caption in &report.captions {
            let scores: Vec<String> =
                caption.scores.named().into_iter().map(|(name, score)| format!("{name} {score:.4}")).collect();
            println!("{}: {}", caption.id, scores.join(", "));
        }
    }
    Ok(())
}

/// The run of that kind with the highest number.
fn newest_run(kind: &str) -> Result<PathBuf> {
    let runs = runs_folder()?;
    let number = |path: &PathBuf| -> Option<u32> {
        path.file_name()?.to_str()?.strip_prefix(kind)?.strip_prefix('-')?.parse().ok()
    };
    let folders = std::fs::read_dir(&runs).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.filter(|path| number(path).is_some()).max_by_key(number).ok_or_else(|| {
        Error::argument(
            format!("{} holds no run of a {kind}", runs.display()),
            format!("Train one with `captionlab train {kind}`, or name one with --run."),
        )
    })
}
