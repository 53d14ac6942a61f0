//! `captionlab score` as a program of its own: it loads no libtorch, which takes longer than scoring a thousand captions.

#[path = "captionlab/score.rs"]
mod score;
#[path = "captionlab/terminal.rs"]
mod terminal;

use std::process::ExitCode;

use clap::Parser;

/// Scores captions against references: BLEU, METEOR, ROUGE-L and CIDEr-D, equal to pycocoevalcap's.
#[derive(Parser)]
#[command(name = "captionlab-score", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(flatten)]
    options: score::ScoreOptions,
}

fn main() -> ExitCode {
    match score::score(&CommandLine::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::warn(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
