//! The command line of captionlab.

mod download;
mod extract;
mod score;
mod terminal;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use captionlab::caption::{self, CaptionTraining, Captioner, EyeTraining};
use captionlab::data::scenes::ScenesConfig;
use captionlab::data::{BoundingBox, Dataset, Split, images};
use captionlab::show::{self, BoxedImage, GridConfig};
use captionlab::train::{CHECKPOINT_FILE, Phase, Run, RunSettings, runs_folder};
use captionlab::nn::{MODEL_FILE, shipped};
use captionlab::vision::clip::{self, ClipTokenizer, ClipTraining};
use captionlab::vision::faster_rcnn::{self, DetectorTraining};
use captionlab::vision::{Clip, FasterRcnn};
use captionlab::{Error, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::ProgressBar;
use tch::Device;

use terminal::{say, warn};

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
    /// Finds the things of pictures, prints them, and draws them into copies of the pictures.
    Detect(Detect),
    /// Computes the features of all pictures of a data set, once: what is there already is found, not computed.
    Extract(extract::ExtractOptions),
    /// Downloads published weights and data sets, or says what there is.
    Download(download::DownloadOptions),
    /// Scores captions against references: BLEU, METEOR, ROUGE-L and CIDEr-D, equal to pycocoevalcap's.
    Score(score::ScoreOptions),
}

#[derive(Subcommand)]
enum Train {
    /// The eye of a captioner: which words people use of a picture.
    Eye(RunOptions),
    /// A captioner.
    Captioner(TrainCaptioner),
    /// A detector: where the things of pictures are, and what they are.
    Detector(TrainDetector),
    /// A CLIP: which pictures and texts belong together.
    Clip(TrainClip),
}

#[derive(Subcommand)]
enum Eval {
    /// How true the captions of scenes are: prints the figures, and those of always saying the same.
    Captioner(EvalOptions),
    /// How well a detector finds the things of scenes: average precision.
    Detector(EvalOptions),
    /// How well a CLIP finds scenes by their captions, and captions by their scenes.
    Clip(EvalOptions),
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

#[derive(Args)]
struct TrainClip {
    #[command(flatten)]
    run: RunOptions,
    /// Also writes the weights, in half precision, and the vocabulary into this folder when the training is done.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
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
struct TrainDetector {
    #[command(flatten)]
    run: RunOptions,
    /// Also writes the weights alone, in half precision, into this folder when the training is done: model.safetensors.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// How many scenes it learns from, where no other data set is named.
    #[arg(long, default_value_t = DETECTOR_SCENES, conflicts_with = "data")]
    scenes: usize,
}

/// A detector of scenes learns from more of them than a captioner: each shows few things, and some kinds are rare.
const DETECTOR_SCENES: usize = 10_000;

#[derive(Args)]
struct Detect {
    /// JPEG or PNG files.
    #[arg(required = true, value_name = "PHOTO")]
    pictures: Vec<PathBuf>,
    /// The detector: a file of weights, its own or torchvision's fasterrcnn_resnet50_fpn_coco-258fb6c6.pth, or the folder of a
    /// run; the small one that ships with the project, for scenes, when left out.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Shows what it is surer of than this, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    score: f32,
    /// Where the drawn copies go, as NAME.detections.png, or NAME-2.detections.png for the second of that name; the folder is made
    /// where it is missing.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

#[derive(Args)]
struct EvalOptions {
    /// The folder of a run, or a file of weights; the newest run when left out.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Train(Train::Eye(options)) => train_eye(options),
        Command::Train(Train::Captioner(options)) => train_captioner(options),
        Command::Train(Train::Detector(options)) => train_a_detector(options),
        Command::Train(Train::Clip(options)) => train_clip(options),
        Command::Eval(Eval::Captioner(options)) => evaluate_captioner(options),
        Command::Eval(Eval::Detector(options)) => evaluate_a_detector(options),
        Command::Eval(Eval::Clip(options)) => evaluate_clip(options),
        Command::Detect(options) => detect(&options),
        Command::Extract(options) => extract::run(options),
        Command::Download(options) => download::run(&options),
        Command::Score(options) => score::score(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            warn(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The data set in a folder, with the splits that the lessons draw where it has none, or else scenes.
fn training_data(folder: Option<&PathBuf>, scenes: &ScenesConfig) -> Result<Dataset> {
    match folder {
        Some(folder) => {
            let dataset = Dataset::open(folder)?.with_splits()?;
            say(&dataset)?;
            Ok(dataset)
        }
        None => Dataset::scenes(scenes),
    }
}

fn train_eye(options: RunOptions) -> Result<()> {
    let dataset = training_data(options.data.as_ref(), &ScenesConfig::for_captioning())?;
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
    let dataset = training_data(options.run.data.as_ref(), &ScenesConfig::for_captioning())?;
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

fn train_a_detector(options: TrainDetector) -> Result<()> {
    let scenes = ScenesConfig { train: options.scenes, ..ScenesConfig::default() };
    let dataset = training_data(options.run.data.as_ref(), &scenes)?;
    let run = match &options.run.resume {
        Some(folder) => Run::resume(folder, &dataset)?,
        None => {
            let mut training = DetectorTraining::scenes();
            options.run.set(&mut training.run);
            faster_rcnn::train_detector(&dataset, &training)?
        }
    };
    let folder = run.folder().to_path_buf();
    wait(run, &dataset)?;
    match options.save {
        Some(save) => faster_rcnn::save_detector(folder, save),
        None => Ok(()),
    }
}

fn train_clip(options: TrainClip) -> Result<()> {
    let dataset = training_data(options.run.data.as_ref(), &ScenesConfig::for_clip())?;
    let run = match &options.run.resume {
        Some(folder) => Run::resume(folder, &dataset)?,
        None => {
            let mut training = ClipTraining::scenes();
            options.run.set(&mut training.run);
            clip::train_clip(&dataset, &training)?
        }
    };
    let folder = run.folder().to_path_buf();
    wait(run, &dataset)?;
    if let Some(save) = options.save {
        let (clip, tokenizer) = load_clip(&folder)?;
        clip::save_clip(&clip, &tokenizer, save)?;
    }
    Ok(())
}

fn load_clip(folder: &Path) -> Result<(Clip, ClipTokenizer)> {
    let clip = Clip::load(folder)?;
    let tokenizer = ClipTokenizer::load(folder)?.with_context(clip.config().text.context)?;
    Ok((clip, tokenizer))
}

fn evaluate_clip(options: EvalOptions) -> Result<()> {
    let folder = match options.run {
        Some(folder) => folder,
        None => newest_run("clip")?,
    };
    let (clip, tokenizer) = load_clip(&folder)?;
    let scenes = Dataset::scenes(&ScenesConfig::default())?;
    let evaluation = clip::evaluate_clip(&clip, &tokenizer, &scenes, Split::Test)?;
    match options.json {
        true => say(serde_json::json!(evaluation)),
        false => say(format_args!("{}\n{evaluation}", folder.display())),
    }
}

/// Shows where a run stands until it ends.
fn watch(run: &Run, bar: &ProgressBar) {
    bar.set_style(extract::style("{wide_bar}\n{msg}"));
    while run.is_running() {
        let status = run.status();
        let (done, total) = match status.phase {
            Phase::Preparing { done, total } => (done as u64, total as u64),
            _ => (status.epoch.saturating_sub(1) * status.steps + status.step, status.epochs * status.steps),
        };
        // A bar of length 0 is full.
        bar.set_length(total.max(1));
        bar.set_position(done);
        bar.set_message(status.to_string());
        std::thread::sleep(Duration::from_millis(200));
    }
    bar.finish_and_clear();
}

/// Waits for a run with a bar of progress, or lines of it where there is no terminal, and prints its last samples.
fn wait(mut run: Run, dataset: &Dataset) -> Result<()> {
    say(format_args!("{}: {}", dataset.name, run.folder().display()))?;
    let bar = ProgressBar::new(1);
    if std::io::stdout().is_terminal() && !bar.is_hidden() {
        watch(&run, &bar);
    }
    // A training is not lost because its lines cannot be printed.
    let result = run.wait_with(|status| say(status).unwrap_or_default());
    let mut lines: Vec<String> = run.notes().iter().map(ToString::to_string).collect();
    if let (Ok(()), Some(epoch)) = (&result, run.samples().last()) {
        lines.extend(epoch.samples.iter().map(|sample| format!("{}: {}", sample.name, sample.text)));
    }
    lines.iter().try_for_each(say).unwrap_or_else(|problem| warn(&problem));
    result
}

fn evaluate_captioner(options: EvalOptions) -> Result<()> {
    let folder = match options.run {
        Some(folder) => folder,
        None => newest_run("captioner")?,
    };
    let evaluation =
        caption::evaluate(&Captioner::load(&folder)?, &Dataset::scenes(&ScenesConfig::default())?, Split::Test)?;
    match options.json {
        true => say(serde_json::json!(evaluation)),
        false => say(format_args!("{}\n{evaluation}", folder.display())),
    }
}

fn evaluate_a_detector(options: EvalOptions) -> Result<()> {
    let path = match options.run {
        Some(path) => path,
        None => newest_run("detector")?,
    };
    let detector = FasterRcnn::load(weights_in(&path), Device::Cpu)?;
    let precision = faster_rcnn::evaluate_detector(&detector, &Dataset::scenes(&ScenesConfig::default())?, Split::Test)?;
    match options.json {
        true => say(serde_json::json!({ "ap50": precision.mean, "classes": precision.classes })),
        false => say(format_args!("{}\n{}", path.display(), precision.to_string().trim_end())),
    }
}

/// The file of weights in a folder, or the file itself.
fn weights_in(path: &Path) -> PathBuf {
    let names = [MODEL_FILE, CHECKPOINT_FILE].map(|name| path.join(name));
    names.into_iter().find(|file| file.exists()).unwrap_or_else(|| path.to_path_buf())
}

fn detect(options: &Detect) -> Result<()> {
    if !(0.0..=1.0).contains(&options.score) {
        return Err(Error::config("--score", options.score, "must be in 0..=1"));
    }
    let weights = match &options.weights {
        Some(path) => weights_in(path),
        None => shipped("detector-tiny")?,
    };
    let detector = FasterRcnn::load(&weights, Device::Cpu)?;
    std::fs::create_dir_all(&options.out)
        .map_err(|source| Error::file(&options.out, "create the folder", source, "Name another with --out."))?;
    let mut drawn = BTreeSet::new();
    for path in &options.pictures {
        let image = images::decode(path)?;
        let found = detector.detect(std::slice::from_ref(&image))?.pop().unwrap_or_default();
        say(path.display())?;
        let mut boxes = Vec::new();
        for ((bounds, &label), &score) in found.boxes.iter().zip(&found.labels).zip(&found.scores) {
            if score <= options.score {
                continue;
            }
            let name = format!("{} {:.0} %", detector.class_name(label), 100.0 * score);
            let BoundingBox { left, top, right, bottom } = bounds;
            say(format_args!("  {name:<20} from ({left:.0}, {top:.0}) to ({right:.0}, {bottom:.0})"))?;
            boxes.push((*bounds, name));
        }
        // Some disks take `Dog` and `dog` for one name.
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let name = std::iter::once(stem.to_string()).chain(numbered).find(|name| drawn.insert(name.to_lowercase()));
        let out = options.out.join(format!("{}.detections.png", name.unwrap_or_default()));
        let config =
            GridConfig { image_width: image.width().max(image.height()).clamp(256, 1024), ..GridConfig::default() };
        show::boxed_images(&[BoxedImage { image, boxes, title: None }], &config)?.save(&out)?;
        say(format_args!("  drawn in {}", out.display()))?;
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
