//! `captionlab reproduce`: from a folder of captioned pictures to a report, a stage at a time. Each stage is another verb's work, and
//! finds what is done.

mod page;
mod report;
mod settings;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use captionlab::align::{self, Aligner};
use captionlab::caption::{self, CaptionTraining, Captioner, Decoding};
use captionlab::data::{Dataset, Example, ImageSource, Layout, ScenesConfig, Split};
use captionlab::download::bytes_text;
use captionlab::metrics::{self, CaptionToScore, Meteor, MeteorData, Metric};
use captionlab::train::{CHECKPOINT_FILE, Checkpoint, Comparison, Curves, Model, Trainable, runs_folder, weights_file};
use captionlab::vision::{Encoder, EncoderConfig, ExtractConfig, ExtractReport, FeatureCache, extract};
use captionlab::{Error, Kind, Result, show, write_whole};
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::report::{EncoderUsed, Found, Training, Weights};
use self::settings::{Configuration, Difference, Settings, captioned, differences, typed, value, within};
use crate::data::DataOptions;
use crate::extract::Part;
use crate::progress::{Bar, wait};
use crate::terminal::{say, warn};

/// With fewer test pictures validation pictures are measured too.
const ENOUGH_TEST_PICTURES: usize = 500;
/// Pictures whose alignment the report shows.
const ALIGNED: usize = 4;
/// Best captions that the report shows, and worst ones.
const SHOWN: usize = 6;
/// How often the pace of an extraction is said where no bar is seen.
const PACE_EVERY: Duration = Duration::from_secs(30);
/// The first time that it is said.
const FIRST_PACE: Duration = Duration::from_secs(3);
/// What an extraction of this reproduction took, in its folder.
const FEATURES_FILE: &str = "features.json";

#[derive(Args)]
pub struct ReproduceOptions {
    #[command(flatten)]
    data: DataOptions,
    /// What finds and describes the regions of a picture; the usual one for the data set when left out.
    #[arg(long, value_name = "NAME")]
    encoder: Option<String>,
    /// The folder of the trainings and the report; saved_models/runs/reproduce-DATA-ENCODER when left out.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The folder of all caches of features; cached_features of the project when left out.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The configuration to start from; chosen by the number of training pictures when left out.
    #[arg(long, value_name = "NAME", value_enum)]
    config: Option<Configuration>,
    /// Changes a setting of a stage (align, snippets or captioner), such as captioner.run.epochs=5; may be given several times.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Computes one part of the features, counted from 0, and stops: 0/4 to 3/4 on four machines with one --cache.
    #[arg(long, value_name = "I/N")]
    part: Option<Part>,
    /// Prints the figures as one line of JSON, and everything else on standard error.
    #[arg(long)]
    json: bool,
}

/// Prints a line, or several.
type Tell = fn(String) -> Result<()>;

pub fn run(options: &ReproduceOptions) -> Result<()> {
    let tell: Tell = match options.json {
        true => |line| {
            warn(line);
            Ok(())
        },
        false => |line| say(line),
    };
    if let Some(folder) = options.data.folder() {
        let images = Dataset::images_without_captions(folder)?;
        if !images.is_empty() {
            return caption_alone(options, folder, images, tell);
        }
    }
    let dataset = options.data.open(&ScenesConfig::default())?;
    let reproduction = Reproduction::new(options, dataset, tell)?;
    tell(reproduction.dataset.to_string())?;
    if let Some(part) = options.part {
        return reproduction.part(part, options.json);
    }
    let figures = reproduction.all()?;
    if options.json { say(figures) } else { Ok(()) }
}

/// A reproduction: what it works on, and how.
struct Reproduction {
    dataset: Dataset,
    configuration: Configuration,
    settings: Settings,
    align: align::AlignmentTraining,
    captioner: CaptionTraining,
    /// Why the encoder was chosen.
    why_encoder: String,
    out: PathBuf,
    seed: u64,
    tell: Tell,
}

impl Reproduction {
    fn new(options: &ReproduceOptions, dataset: Dataset, tell: Tell) -> Result<Self> {
        // An aligner learns a picture from others.
        if captioned(&dataset, Split::Train) < 2 || measured_splits(&dataset).is_empty() {
            let [train, validation, test] =
                [Split::Train, Split::Validation, Split::Test].map(|split| captioned(&dataset, split));
            return Err(Error::argument(
                format!(
                    "{} has {train} training, {validation} validation and {test} test pictures with captions: two at least have to be \
                     learnt from, and others measured",
                    dataset.name
                ),
                "train_images.txt, val_images.txt and test_images.txt beside the captions give them splits, one image name a \
                 line; where no picture has a split they are drawn.",
            ));
        }
        let (encoder, why) = match &options.encoder {
            Some(name) => (Some(EncoderConfig::new(name.as_str())), "It was named with --encoder.".to_string()),
            // Scenes have an encoder for each training.
            None if dataset.layout == Layout::Scenes => (None, "It is the usual one for Scenes.".to_string()),
            None => {
                let (best, why) = EncoderConfig::best_for(&dataset);
                tell(format!("The encoder is {why}."))?;
                (Some(best), format!("It is {why}."))
            }
        };
        let configuration = options.config.unwrap_or_else(|| Configuration::usual_for(&dataset));
        let (mut align, mut captioner) = settings::settings(&dataset, encoder.as_ref(), configuration);
        (align.run.seed, captioner.run.seed) = (options.seed, options.seed);
        (align.cache, captioner.cache) = (options.cache.clone(), options.cache.clone());
        let settings = Settings::of((align, captioner), &options.set)?;
        let (align, captioner): (align::AlignmentTraining, CaptionTraining) =
            (typed(&settings.align)?, typed(&settings.captioner)?);
        align.validate().map_err(|error| within("align", error))?;
        captioner.validate().map_err(|error| within("captioner", error))?;
        let out = options.out.clone().unwrap_or_else(|| out_of(&dataset.name, &captioner.encoder.name));
        let seed = options.seed;
        Ok(Self { dataset, configuration, settings, align, captioner, why_encoder: why, out, seed, tell })
    }

    fn folder(&self, stage: &str) -> PathBuf {
        self.out.join(stage)
    }

    /// The encoders of the aligner and the captioner, where the same only once, with the folders of their caches.
    fn encoders(&self) -> Vec<(&EncoderConfig, Option<PathBuf>)> {
        let mut encoders = vec![(&self.align.encoder, self.align.cache.clone())];
        if self.captioner.encoder != self.align.encoder || self.captioner.cache != self.align.cache {
            encoders.push((&self.captioner.encoder, self.captioner.cache.clone()));
        }
        encoders
    }

    /// Computes a part of the features.
    fn part(&self, part: Part, json: bool) -> Result<()> {
        let reports = self.features(Some(part), "")?;
        let Part(number, parts) = part;
        let folders: Vec<String> = reports.iter().map(|(_, report)| report.folder.display().to_string()).collect();
        (self.tell)(format!(
            "Part {number} of {parts} is done. Next: when the features of all parts are in {}, the same command without --part.",
            folders.join(" and ")
        ))?;
        match json {
            true => {
                let sum = |of: fn(&ExtractReport) -> usize| reports.iter().map(|(_, report)| of(report)).sum::<usize>();
                say(json!({ "part": format!("{number}/{parts}"), "computed": sum(|report| report.computed),
                            "found": sum(|report| report.found), "skipped": sum(|report| report.skipped.len()) }))
            }
            false => Ok(()),
        }
    }

    /// All stages; the figures at the end.
    fn all(&self) -> Result<Value> {
        let names: &[&str] = match self.settings.snippets {
            Some(_) => &["features", "align", "snippets", "captioner", "scores", "report"],
            None => &["features", "align", "captioner", "scores", "report"],
        };
        let number = |name: &str| {
            let place = names.iter().position(|known| *known == name).unwrap_or(0);
            format!("{}/{} {name}", place + 1, names.len())
        };
        let folder = |stage: &str| std::path::absolute(self.folder(stage)).unwrap_or_else(|_| self.folder(stage));
        // The second stage starts from the weights of the first, which looks for snippets with this aligner.
        let mut captioner = self.captioner.clone();
        captioner.aligner.get_or_insert_with(|| folder("align"));
        let snippets = match &self.settings.snippets {
            None => None,
            Some(snippets) => {
                let mut first: CaptionTraining = typed(snippets)?;
                first.aligner.get_or_insert_with(|| folder("align"));
                first.validate().map_err(|error| within("snippets", error))?;
                if captioner.run.start_from.is_empty() {
                    captioner = captioner.carry_over(folder("snippets"));
                }
                Some(value(&first)?)
            }
        };
        let captioner = value(&captioner)?;
        let mut trainings = vec![("align", Aligner::KIND, &self.settings.align, "which word is which region")];
        trainings.extend(
            snippets.as_ref().map(|first| {
                ("snippets", Captioner::KIND, first, "the captioner learns what single regions are called")
            }),
        );
        trainings.push(("captioner", Captioner::KIND, &captioner, "the captioner learns whole sentences"));
        // What cannot be gone on with is said now, not after hours.
        for (stage, _, configuration, _) in &trainings {
            self.check_same(stage, configuration)?;
        }
        std::fs::create_dir_all(&self.out)
            .map_err(|source| Error::file(&self.out, "make the folder", source, "Name another with --out."))?;

        let reports = self.features(None, &number("features"))?;
        let caches: Vec<FeatureCache> = reports.iter().map(|(_, report)| report.open()).collect::<Result<_>>()?;
        for (stage, kind, configuration, what) in &trainings {
            self.train(&number(stage), stage, kind, configuration, what)?;
        }

        let (start, splits) = (Instant::now(), measured_splits(&self.dataset));
        let measured = joined(&self.dataset, &splits);
        (self.tell)(format!(
            "{}: measures aligner and captioner on {} pictures: {}",
            number("scores"),
            captioned(&measured, Split::Test),
            report::splits_text(&splits)
        ))?;
        let (Some(align_cache), Some(cache)) = (caches.first(), caches.last()) else {
            return Err(Error::argument("there are no features", "Name an encoder with --encoder."));
        };
        let (aligner, captioner) = (Aligner::load(self.folder("align"))?, Captioner::load(self.folder("captioner"))?);
        let alignment = align::evaluate_cached(&aligner, &measured, Split::Test, align_cache)?;
        let captions = caption::evaluate_cached(&captioner, &measured, Split::Test, cache)?;
        let mut examples = measured.split(Split::Test);
        examples.retain(|example| !example.captions.is_empty() && cache.contains(&example.name));
        let of: Vec<&str> = examples.iter().map(|example| example.name.as_str()).collect();
        let said = captioner.caption_cached(cache, &of, &Decoding::greedy())?;
        let scores = metrics::score(
            &CaptionToScore::of_examples(&examples, &said)?,
            &Metric::ALL,
            &Meteor::new(MeteorData::find()?),
        )?;
        let ranked = caption::ranked(&examples, &said)?;
        let scores_seconds = start.elapsed().as_secs_f64();
        self.done(scores_seconds)?;
        // The first line of each counts pictures, as above.
        for found in [captions.to_string(), alignment.to_string()] {
            found.lines().skip(1).try_for_each(|line| (self.tell)(format!("  {line}")))?;
        }

        let page = self.out.join("report.html");
        (self.tell)(format!("{}: {}", number("report"), page.display()))?;
        let start = Instant::now();
        let aligned = |example: &&Example| {
            let example = std::slice::from_ref(*example);
            // A sentence without a word that the aligner knows cannot be drawn, and need not.
            show::aligned_examples("", &aligner, align_cache, example, 0.1).ok()
        };
        // What the data set calls test pictures come first, as `measured` calls all of them so.
        let tests: HashSet<String> = self.dataset.split(Split::Test).into_iter().map(|example| example.name).collect();
        let (tests, others): (Vec<&Example>, Vec<&Example>) =
            examples.iter().partition(|example| tests.contains(&example.name));
        let trainings = trainings.iter().map(|(stage, kind, configuration, what)| {
            Ok(Training {
                stage,
                what,
                curves: curves(&self.folder(stage))?,
                seconds: seconds_of(&self.folder(stage))?,
                weights: Weights::of(&weights_file(&self.folder(stage)))?,
                differences: changed(&preset(kind, self.configuration)?, configuration),
            })
        });
        let found = Found {
            dataset: &self.dataset,
            splits: &splits,
            configuration: self.configuration,
            seed: self.seed,
            why_encoder: &self.why_encoder,
            encoders: caches.iter().map(EncoderUsed::of).collect::<Result<_>>()?,
            features: read_json(&self.out.join(FEATURES_FILE)),
            trainings: trainings.collect::<Result<_>>()?,
            scores_seconds,
            alignments: tests.iter().chain(&others).filter_map(aligned).take(ALIGNED).collect(),
            skipped: reports.into_iter().flat_map(|(_, report)| report.skipped).collect(),
            captions,
            scores,
            alignment,
            ranked,
        };
        let figures = found.figures()?;
        write_json(&self.out.join("report.json"), &found.json(&figures)?)?;
        write_whole(&page, "write the report", found.page()?.as_bytes())?;
        self.done(start.elapsed().as_secs_f64())?;
        Ok(figures)
    }

    fn done(&self, seconds: f64) -> Result<()> {
        (self.tell)(format!("  done in {}", report::clock(seconds)))
    }

    /// Computes the features that are missing, by each encoder.
    fn features(&self, part: Option<Part>, title: &str) -> Result<Vec<(&EncoderConfig, ExtractReport)>> {
        let Part(number, parts) = part.unwrap_or(Part(0, 1));
        let mut reports = Vec::new();
        for (config, folder) in self.encoders() {
            let encoder = Encoder::load(config)?;
            let extraction = ExtractConfig { folder, part: (number, parts), ..ExtractConfig::default() };
            let pictures = self.dataset.examples.len().div_ceil(parts);
            let size = |pictures: usize| bytes_text(encoder.most_bytes() * pictures as u64);
            let title =
                if title.is_empty() { format!("features, part {number} of {parts}") } else { title.to_string() };
            (self.tell)(format!(
                "{title}: {pictures} pictures by the encoder {}, at most {} on disk, of which {} in memory while they are \
                 computed; in {}",
                config.name,
                size(pictures),
                size(pictures.min(extraction.shard_pictures)),
                extraction.folder_of(&self.dataset, &encoder).display()
            ))?;
            let (bar, start, mut next) = (Bar::new("{bar:30} {msg}"), Instant::now(), FIRST_PACE);
            let report = extract(&self.dataset, &encoder, &extraction, |progress| {
                bar.at(progress.done as u64, progress.total as u64, progress);
                if start.elapsed() >= next && progress.done < progress.total {
                    next = start.elapsed() + PACE_EVERY;
                    bar.interrupt(format_args!("  {progress}"));
                }
                true
            });
            drop(bar);
            let report = report?;
            (self.tell)(format!("  {report}"))?;
            self.done(report.seconds)?;
            if part.is_none() {
                self.keep_time(&config.name, &report)?;
            }
            reports.push((config, report));
        }
        Ok(reports)
    }

    /// Adds what an extraction took to what those before it took: features that were found have cost time too.
    fn keep_time(&self, encoder: &str, report: &ExtractReport) -> Result<()> {
        let path = self.out.join(FEATURES_FILE);
        let mut all = read_json(&path);
        if !all.is_object() {
            all = json!({});
        }
        if report.computed > 0 {
            let before = |key: &str| all[encoder][key].as_f64().unwrap_or(0.0);
            let (seconds, computed) = (before("seconds") + report.seconds, before("computed") + report.computed as f64);
            all[encoder] = json!({ "seconds": seconds, "computed": computed });
        }
        write_json(&path, &all)
    }

    /// Checks that the training in a stage's folder, if there is one, is configured as this one.
    fn check_same(&self, stage: &str, configuration: &Value) -> Result<()> {
        let folder = self.folder(stage);
        if !folder.join(CHECKPOINT_FILE).exists() {
            return Ok(());
        }
        let before = Checkpoint::read(&folder)?.description;
        let differences = differences(&before["training"], configuration);
        let Some(first) = differences.first() else { return Ok(()) };
        let text = |value: &Option<Value>| value.as_ref().map_or("nothing".to_string(), Value::to_string);
        let [was, is] = &first.values;
        let more = match differences.len() {
            1 => String::new(),
            count => format!(", and {} more settings differ", count - 1),
        };
        let stages = ["align", "snippets", "captioner"];
        let rest = stages.iter().skip_while(|name| **name != stage).map(|name| self.folder(name));
        let rest: Vec<String> =
            rest.filter(|folder| folder.exists()).map(|folder| folder.display().to_string()).collect();
        Err(Error::argument(
            format!(
                "{} was trained with {stage}.{} = {}, and is asked for {} now{more}",
                folder.display(),
                first.setting,
                text(was),
                text(is)
            ),
            format!("Name another folder with --out, or remove {} to train anew.", rest.join(" and ")),
        ))
    }

    /// Trains a stage, goes on with it, or finds that it is trained.
    fn train(&self, title: &str, stage: &str, kind: &str, configuration: &Value, what: &str) -> Result<()> {
        let (folder, kind) = (self.folder(stage), Kind::named(kind)?);
        let run = &configuration["run"];
        let plan = format!("{what}, {} epochs, steps of {} pictures", run["epochs"], run["batch_size"]);
        if !folder.join(CHECKPOINT_FILE).exists() {
            (self.tell)(format!("{title}: {plan}; in {}", folder.display()))?;
            wait(kind.start(configuration, Some(folder.clone()), &self.dataset)?, self.tell)?;
            return self.done(seconds_of(&folder)?);
        }
        let before = Checkpoint::read(&folder)?.position;
        let is_trained = run["epochs"].as_u64().is_some_and(|epochs| before.epoch >= epochs);
        (self.tell)(match is_trained {
            true => format!("{title}: {what}; found, trained before, in {}", folder.display()),
            false => format!("{title}: {plan}; goes on after step {}, in {}", before.step, folder.display()),
        })?;
        // Also of a run that is trained it is checked whether it was with these pictures.
        wait(kind.resume(&folder, &self.dataset)?, self.tell)?;
        if is_trained { Ok(()) } else { self.done(seconds_of(&folder)?) }
    }
}

/// The folder of a reproduction where none is named.
fn out_of(dataset: &str, encoder: &str) -> PathBuf {
    let letters = |letter: char| if letter.is_alphanumeric() || letter == '-' { letter } else { '-' };
    let name: String = dataset.chars().map(letters).collect();
    runs_folder().join(format!("reproduce-{}-{encoder}", name.to_lowercase()))
}

/// The splits that are measured: test pictures, and where they are few validation pictures too.
fn measured_splits(dataset: &Dataset) -> Vec<Split> {
    let mut splits = vec![Split::Test];
    if captioned(dataset, Split::Test) < ENOUGH_TEST_PICTURES {
        splits.push(Split::Validation);
    }
    splits.retain(|split| captioned(dataset, *split) > 0);
    splits
}

/// The data set with all examples of some splits as test examples.
fn joined(dataset: &Dataset, splits: &[Split]) -> Dataset {
    let mut joined = dataset.clone();
    for example in &mut joined.examples {
        if example.split.is_some_and(|split| splits.contains(&split)) {
            example.split = Some(Split::Test);
        }
    }
    joined
}

/// The settings of a stage that are not the preset's, without those by which one stage begins with another.
fn changed(preset: &Value, configuration: &Value) -> Vec<Difference> {
    let mut found = differences(preset, configuration);
    found.retain(|difference| !["aligner", "run.start_from", "snippets"].contains(&difference.setting.as_str()));
    found
}

/// The preset that a configuration is compared with.
fn preset(kind: &str, configuration: Configuration) -> Result<Value> {
    Kind::named(kind)?.configuration::<&str>(configuration.preset(), &[])
}

fn curves(run: &Path) -> Result<Curves> {
    Ok(Comparison::of(&[run])?.runs.into_iter().next().map(|run| run.curves).unwrap_or_default())
}

/// How long a run has trained, in all the processes that went on with it: each counts the seconds of its steps from 0.
fn seconds_of(run: &Path) -> Result<f64> {
    let path = run.join("log.jsonl");
    let text = std::fs::read_to_string(&path)
        .map_err(|source| Error::file(&path, "read the log", source, "Train the stage anew."))?;
    let (mut sum, mut last) = (0.0, 0.0);
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(seconds) = entry["seconds"].as_f64() {
            if seconds < last {
                sum += last;
            }
            last = seconds;
        }
    }
    Ok(sum + last)
}

/// SHA-256 of a file, in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let fault = |source| Error::file(path, "read the weights", source, "Check who may read them.");
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path).map_err(fault)?, &mut hash).map_err(fault)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a file of JSON holds; null where there is none.
fn read_json(path: &Path) -> Value {
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_whole(path, "write the report", format!("{value:#}\n").as_bytes())
}

/// Captions the pictures of a folder that has no captions, with the model that ships with the project.
fn caption_alone(options: &ReproduceOptions, folder: &Path, images: Vec<PathBuf>, tell: Tell) -> Result<()> {
    const MISSING: &str = "There are no captions in this folder, so nothing can be learnt from these pictures and nothing measured. \
        Write captions.csv with the header `image,caption` into it, and an image and a caption a line, and call this again.";
    let model = Kind::named(Captioner::KIND)?.usual_model()?;
    let captioner = Captioner::load(&model)?;
    tell(format!("{}: {} pictures. {MISSING}", folder.display(), images.len()))?;
    tell(format!("1/2 captions: by {}: {captioner}", model.display()))?;
    let example = |path: PathBuf| Example {
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        image: ImageSource::File(path),
        captions: Vec::new(),
        split: None,
        regions: Vec::new(),
        links: Vec::new(),
    };
    let examples: Vec<Example> = images.into_iter().map(example).collect();
    let start = Instant::now();
    let captions = captioner.caption(&examples, &Decoding::greedy())?;
    let said: Vec<(&Example, &str)> =
        captions.readable().iter().map(|&index| (&examples[index], captions[index].as_str())).collect();
    for (example, caption) in &said {
        tell(format!("  {}: {caption}", example.name))?;
    }
    for problem in captions.unreadable() {
        tell(format!("  skipped: {problem}"))?;
    }
    tell(format!("  done in {}", report::clock(start.elapsed().as_secs_f64())))?;
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let out = options.out.clone().unwrap_or_else(|| out_of(&name, &captioner.encoder().name));
    std::fs::create_dir_all(&out)
        .map_err(|source| Error::file(&out, "make the folder", source, "Name another with --out."))?;
    let page = out.join("report.html");
    tell(format!("2/2 report: {}", page.display()))?;
    let by_name: serde_json::Map<String, Value> =
        said.iter().map(|(example, caption)| (example.name.clone(), json!(caption))).collect();
    let figures = json!({ "captioner": null, "alignment": null, "captions": by_name, "missing": MISSING,
                          "unreadable": captions.unreadable() });
    let weights = Weights::of(&weights_file(&model))?;
    write_json(&out.join("report.json"), &report::json_of_captions(&figures, &name, &weights))?;
    let text = report::page_of_captions(&name, MISSING, &said, captions.unreadable(), &weights)?;
    write_whole(&page, "write the report", text.as_bytes())?;
    if options.json { say(figures) } else { Ok(()) }
}
