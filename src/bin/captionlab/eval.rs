//! `captionlab eval`.

use std::path::PathBuf;

use captionlab::data::{ScenesConfig, Split};
use captionlab::{Evaluation, KINDS, Kind, Result};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use crate::data::DataOptions;
use crate::terminal::say;
use crate::zero_shot::ZeroShotOptions;

#[derive(Args)]
pub struct EvalOptions {
    /// What to measure.
    #[arg(value_name = "KIND", value_parser = PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name)))]
    kind: String,
    /// The folder of a run or a model, or a file of weights; the model that ships with the project when left out, or where none does
    /// the newest run.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    #[command(flatten)]
    zero_shot: ZeroShotOptions,
    #[command(flatten)]
    data: DataOptions,
    /// Which part of the data set.
    #[arg(long, value_enum, default_value = "test")]
    split: SplitName,
    /// Prints one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitName {
    Train,
    Validation,
    Test,
}

pub fn run(options: &EvalOptions) -> Result<()> {
    let kind = Kind::named(&options.kind)?;
    let dataset = options.data.open(&ScenesConfig::default())?;
    let split = match options.split {
        SplitName::Train => Split::Train,
        SplitName::Validation => Split::Validation,
        SplitName::Test => Split::Test,
    };
    let (measured, found) = match options.zero_shot.aligner(kind)? {
        Some(clip) => (clip.to_string(), Evaluation::new(&clip.evaluate(&dataset, split)?)?),
        None => {
            let model = match &options.run {
                Some(model) => model.clone(),
                None => kind.usual_model()?,
            };
            (model.display().to_string(), kind.evaluate(&model, &dataset, split)?)
        }
    };
    match options.json {
        true => say(found.figures),
        false => say(format_args!("{measured}\n{}", found.text)),
    }
}
