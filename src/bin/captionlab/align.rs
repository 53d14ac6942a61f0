//! `captionlab align`.

use std::path::PathBuf;

use captionlab::align::{Align, Aligner};
use captionlab::data::images;
use captionlab::show::{self, AlignedImage};
use captionlab::train::Model;
use captionlab::{Kind, Result};
use clap::Args;

use crate::terminal::say;
use crate::zero_shot::ZeroShotOptions;

#[derive(Args)]
pub struct AlignOptions {
    /// A JPEG or PNG file.
    #[arg(value_name = "PHOTO")]
    picture: PathBuf,
    /// The sentence, in quotes.
    #[arg(value_name = "SENTENCE")]
    sentence: String,
    /// The aligner: a file of weights, or the folder of a run; the one that ships with the project, for scenes, when left out.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    #[command(flatten)]
    zero_shot: ZeroShotOptions,
    /// How strongly neighbouring words keep to one region, 0 or more; 0 aligns each word by itself.
    #[arg(
        long,
        value_name = "BETA",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        conflicts_with = "zero_shot"
    )]
    smoothing: f64,
    /// Where the drawn alignment goes; NAME.alignment.png in this folder when left out.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Prints which words have which region, and draws it.
pub fn run(options: &AlignOptions) -> Result<()> {
    let image = images::decode(&options.picture)?;
    let kind = Kind::named(Aligner::KIND)?;
    let alignment = match (options.zero_shot.aligner(kind)?, &options.run) {
        // CLIP was trained on whole pictures, and left to itself takes little else.
        (Some(clip), _) => clip.align(&image, &options.sentence)?.among_boxes(),
        (None, Some(path)) => Aligner::load(path)?.align(&image, &options.sentence)?.smoothed(options.smoothing)?,
        (None, None) => {
            Aligner::load(kind.usual_model()?)?.align(&image, &options.sentence)?.smoothed(options.smoothing)?
        }
    };
    say(format_args!("score {:.2}", alignment.score))?;
    for snippet in alignment.snippets() {
        let region = alignment.boxes[snippet.region];
        let region = match snippet.region {
            0 => "the whole picture".to_string(),
            _ => format!("from ({:.0}, {:.0}) to ({:.0}, {:.0})", region.left, region.top, region.right, region.bottom),
        };
        say(format_args!("  {:<40} {region}", snippet.text))?;
    }
    let unknown: Vec<&str> = alignment
        .words
        .iter()
        .zip(&alignment.known)
        .filter(|(_, known)| !**known)
        .map(|(word, _)| word.as_str())
        .collect();
    if !unknown.is_empty() {
        say(format_args!("  words that it does not know: {}", unknown.join(", ")))?;
    }
    let stem = options.picture.file_stem().unwrap_or_default().to_string_lossy();
    let out = options.out.clone().unwrap_or_else(|| PathBuf::from(format!("{stem}.alignment.png")));
    show::alignments("", &[AlignedImage::new(image, &alignment)], 1)?.save(&out)?;
    say(format_args!("  drawn in {}", out.display()))
}
