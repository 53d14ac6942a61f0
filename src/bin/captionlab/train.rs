//! `captionlab train`.

use std::path::PathBuf;

use captionlab::data::ScenesConfig;
use captionlab::live::Watched;
use captionlab::train::{ComparedRun, Comparison, save_model};
use captionlab::vision::EncoderConfig;
use captionlab::{KINDS, Kind, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::data::DataOptions;
use crate::progress::wait;
use crate::terminal::{say, warn};

#[derive(Args)]
pub struct TrainOptions {
    /// What to train: an aligner (align), a captioner, a detector, a clip or a word detector (eye).
    #[arg(value_name = "KIND", value_parser = PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name)))]
    kind: String,
    #[command(flatten)]
    data: DataOptions,
    /// How many scenes to learn from, where no other data set is named.
    #[arg(long, value_name = "COUNT", conflicts_with = "data")]
    scenes: Option<usize>,
    /// The configuration to start from: scenes, and for an aligner or a captioner course and paper. The usual one for the data set when
    /// left out.
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    config: Option<String>,
    /// Changes a setting, such as run.optimiser.learning_rate=3e-4; may be given several times.
    #[arg(long, value_name = "PATH=VALUE", conflicts_with = "resume")]
    set: Vec<String>,
    /// Passes over the training examples: short for --set run.epochs=COUNT.
    #[arg(long, value_name = "COUNT", conflicts_with = "resume")]
    epochs: Option<u64>,
    /// The seed of everything random: short for --set run.seed=SEED.
    #[arg(long, conflicts_with = "resume")]
    seed: Option<u64>,
    /// Data-parallel worker threads: short for --set run.workers=COUNT.
    #[arg(long, value_name = "COUNT", conflicts_with = "resume")]
    workers: Option<usize>,
    /// The folder of the run; the next free one in saved_models/runs when left out.
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Goes on with the run in this folder, as it was configured.
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// Also shows the training on a page in the browser as it runs, whose address is printed.
    #[arg(long)]
    watch: bool,
    /// Prints the last loss and metrics as one line of JSON, and everything else on standard error.
    #[arg(long)]
    json: bool,
    /// Also writes the weights alone, in half precision, into this folder when the training is done.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
}

pub fn run(options: TrainOptions) -> Result<()> {
    let kind = Kind::named(&options.kind)?;
    let usual = (kind.scenes)();
    let scenes = ScenesConfig { train: options.scenes.unwrap_or(usual.train), ..usual };
    let dataset = options.data.open(&scenes)?;
    let tell = match options.json {
        true => |line: String| {
            warn(line);
            Ok(())
        },
        false => |line: String| say(line),
    };
    if options.data.data.is_some() {
        tell(dataset.to_string())?;
    }
    let run = match &options.resume {
        Some(folder) => kind.resume(folder, &dataset)?,
        None => {
            let short = |name: &str, value: Option<String>| value.map(|value| format!("run.{name}={value}"));
            let mut settings = options.set.clone();
            settings.extend(short("epochs", options.epochs.map(|epochs| epochs.to_string())));
            settings.extend(short("seed", options.seed.map(|seed| seed.to_string())));
            settings.extend(short("workers", options.workers.map(|workers| workers.to_string())));
            let configuration = match &options.config {
                Some(preset) => kind.configuration(preset, &settings)?,
                None => kind.with_settings(kind.usual_for(&dataset)?, &settings)?,
            };
            // Other kinds have no encoder, or one that is a network to train, without a name.
            if let (Some(_), Some(name)) = (&options.data.data, configuration["encoder"]["name"].as_str()) {
                let (best, why) = EncoderConfig::best_for(&dataset);
                if best.name == name {
                    tell(format!("The encoder is {why}."))?;
                }
            }
            kind.start(&configuration, options.out.clone(), &dataset)?
        }
    };
    let folder = run.folder().to_path_buf();
    tell(format!("{}: {}", dataset.name, folder.display()))?;
    let watched = match options.watch {
        true => Some(run.watch()?),
        false => None,
    };
    if let Some(watched) = &watched {
        tell(watched.to_string())?;
    }
    let trained = wait(run, tell);
    // Those who watch see how it ended, however it did.
    watched.inspect(Watched::stop);
    trained?;
    if let Some(save) = &options.save {
        save_model(&folder, save)?;
    }
    if options.json {
        let of_run = Comparison::of(&[&folder])?;
        let mut result = json!({ "run": folder });
        for (name, value) in of_run.runs.iter().flat_map(ComparedRun::last) {
            result[name] = value.into();
        }
        say(result)?;
    }
    Ok(())
}
