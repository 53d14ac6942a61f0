//! The command line of captionlab.

mod align;
mod caption;
mod classify;
mod compare;
mod data;
mod detect;
mod download;
mod eval;
mod extract;
mod live;
mod pictures;
mod progress;
mod reproduce;
mod scenes;
mod score;
mod terminal;
mod train;
mod zero_shot;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Train(train::TrainOptions),
    /// Measures a model on pictures that it has not seen.
    Eval(eval::EvalOptions),
    /// Compares runs: the settings in which they differ, and how their losses and metrics came out.
    Compare(compare::CompareOptions),
    /// Finds the things of pictures, prints them, and draws them into copies of the pictures.
    Detect(detect::DetectOptions),
    /// Names what photographs show, as one of ImageNet's 1,000 classes.
    Classify(classify::ClassifyOptions),
    /// Writes sentences about pictures.
    Caption(caption::CaptionOptions),
    /// Finds the region of a picture that each word of a sentence speaks of, prints them, and draws them.
    Align(align::AlignOptions),
    /// Captions what a camera sees, live, on a page in the browser.
    Live(live::LiveOptions),
    /// Computes the features of all pictures of a data set, once: what is there already is found, not computed.
    Extract(extract::ExtractOptions),
    /// Re-creates the paper on a folder of captioned pictures, in stages that are found again: features, alignment, captioner, scores, and
    /// a report with all figures beside the published ones.
    ///
    /// Killed or stopped, the same command goes on where it was. Pictures in a folder without captions are captioned by the captioner that
    /// ships with the project.
    Reproduce(reproduce::ReproduceOptions),
    /// Downloads published weights and data sets, or says what there is.
    Download(download::DownloadOptions),
    /// Writes Scenes as files: pictures, with captions and boxes as Karpathy, COCO and Flickr30k Entities store them.
    Scenes(scenes::ScenesOptions),
    /// Scores captions against references: BLEU, METEOR, ROUGE-L and CIDEr-D, equal to pycocoevalcap's.
    Score(score::ScoreOptions),
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Train(options) => train::run(options),
        Command::Eval(options) => eval::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Detect(options) => detect::run(&options),
        Command::Classify(options) => classify::run(&options),
        Command::Caption(options) => caption::run(&options),
        Command::Align(options) => align::run(&options),
        Command::Live(options) => live::run(options),
        Command::Extract(options) => extract::run(options),
        Command::Reproduce(options) => reproduce::run(&options),
        Command::Download(options) => download::run(&options),
        Command::Scenes(options) => scenes::run(&options),
        Command::Score(options) => score::score(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::warn(format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
