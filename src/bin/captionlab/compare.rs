//! `captionlab compare`.

use std::path::PathBuf;

use captionlab::Result;
use captionlab::show;
use captionlab::train::Comparison;
use clap::Args;

use crate::terminal::say;

#[derive(Args)]
pub struct CompareOptions {
    /// The folders of runs.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Draws this metric of all runs over their epochs; validation_loss is one.
    #[arg(long, value_name = "NAME", requires = "out")]
    metric: Option<String>,
    /// Where the drawing goes.
    #[arg(long, value_name = "FILE", requires = "metric")]
    out: Option<PathBuf>,
}

/// Prints a table of runs, and draws one of their metrics.
pub fn run(options: &CompareOptions) -> Result<()> {
    let comparison = Comparison::of(&options.runs)?;
    say(show::compared_runs(&comparison))?;
    if let (Some(metric), Some(out)) = (&options.metric, &options.out) {
        show::compared_curves("", metric, &comparison)?.save(out)?;
        say(format_args!("drawn in {}", out.display()))?;
    }
    Ok(())
}
