//! `captionlab scenes`.

use std::path::PathBuf;

use captionlab::Result;
use captionlab::data::scenes::{ScenesConfig, export};
use clap::Args;

use crate::progress::Bar;
use crate::terminal::say;

#[derive(Args)]
pub struct ScenesOptions {
    /// The folder to write; made where it is missing. What an interrupted export wrote there is kept, anything else is refused.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many pictures to train on.
    #[arg(long, value_name = "COUNT", default_value_t = ScenesConfig::default().train)]
    train: usize,
    /// How many validation pictures.
    #[arg(long, value_name = "COUNT", default_value_t = ScenesConfig::default().validation)]
    validation: usize,
    /// How many test pictures.
    #[arg(long, value_name = "COUNT", default_value_t = ScenesConfig::default().test)]
    test: usize,
    /// The same seed draws the same pictures and writes the same captions.
    #[arg(long, default_value_t = ScenesConfig::default().seed)]
    seed: u64,
}

pub fn run(options: &ScenesOptions) -> Result<()> {
    let config =
        ScenesConfig { train: options.train, validation: options.validation, test: options.test, seed: options.seed };
    let bar = Bar::new("{bar:30} {pos} of {len} files, {eta} to go");
    let exported = export(&config, &options.out, |done, all| bar.at(done as u64, all as u64, ""));
    drop(bar);
    say(exported?)
}
