//! `captionlab score` as a program of its own: it loads no libtorch, which takes longer than scoring a thousand captions.

mod score_command;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

/// Scores captions against references: BLEU, METEOR, ROUGE-L and CIDEr-D, equal to pycocoevalcap's.
#[derive(Parser)]
#[command(name = "captionlab-score", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(flatten)]
    options: score_command::ScoreOptions,
}

fn main() -> ExitCode {
    match score_command::score(&CommandLine::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::warn(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
