//! `captionlab caption`.

use std::path::{Path, PathBuf};

use captionlab::caption::{Caption, Captioner, Decoding, Ensemble};
use captionlab::show::{self, AlignedImage};
use captionlab::train::Model;
use captionlab::{Error, Kind, Result};
use clap::Args;
use image::RgbImage;
use serde_json::json;

use crate::pictures::{self, Drawings};
use crate::terminal::{say, warn};

#[derive(Args)]
pub struct CaptionOptions {
    /// JPEG or PNG files.
    #[arg(required = true, value_name = "PHOTO")]
    pictures: Vec<PathBuf>,
    /// The captioner: a file of weights, or the folder of a run; the one that ships with the project, for scenes, when left out. Named
    /// several times, the captioners speak together: the probabilities of each next word are averaged.
    #[arg(long, value_name = "DIR")]
    run: Vec<PathBuf>,
    /// Beam width; 1 takes the most probable word each time.
    #[arg(long, value_name = "WIDTH", default_value_t = 1)]
    beam: usize,
    /// How many captions of each picture a beam returns.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    best: usize,
    /// Divides the log probability of a hypothesis by its length to about this power; the larger, the longer the captions.
    #[arg(long, value_name = "POWER", default_value_t = 0.0, allow_negative_numbers = true)]
    length_penalty: f64,
    /// Divides the beam into so many groups that avoid each other's words.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    groups: usize,
    /// Draws words at this temperature; 0 takes the most probable.
    #[arg(long, value_name = "TEMPERATURE", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f64,
    /// Draws from so many of the most probable words.
    #[arg(long, value_name = "COUNT")]
    top_k: Option<usize>,
    /// Draws from the most probable words that together have this probability.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, allow_negative_numbers = true)]
    nucleus: f64,
    /// The seed of what is drawn.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Most words of a caption.
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    max_words: usize,
    /// Fewest words of a caption.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    min_words: usize,
    /// No sequence of so many words stands twice in a caption.
    #[arg(long, value_name = "COUNT")]
    no_repeat_ngram: Option<usize>,
    /// Draws which region each word was written for; for one captioner, which has to have attention.
    #[arg(long)]
    attention: bool,
    /// Where drawings go, as NAME.attention.png, or NAME-2.attention.png for the second of that name; the folder is made where it is
    /// missing.
    #[arg(long, value_name = "DIR", default_value = ".", requires = "attention")]
    out: PathBuf,
    /// Prints a line of JSON for each picture.
    #[arg(long)]
    json: bool,
}

/// Prints the captions of pictures.
pub fn run(options: &CaptionOptions) -> Result<()> {
    let decoding = Decoding {
        temperature: options.temperature,
        top_k: options.top_k,
        nucleus: options.nucleus,
        seed: options.seed,
        max_words: options.max_words,
        min_words: options.min_words,
        no_repeat_ngram: options.no_repeat_ngram,
        beam: options.beam,
        length_penalty: options.length_penalty,
        groups: options.groups,
        best: options.best,
        ..Decoding::greedy()
    };
    decoding.validate()?;
    let models = match options.run.is_empty() {
        true => vec![Kind::named(Captioner::KIND)?.usual_model()?],
        false => options.run.clone(),
    };
    let captioners = models.iter().map(Captioner::load).collect::<Result<Vec<_>>>()?;
    if options.attention && captioners.len() > 1 {
        return Err(Error::argument(
            "the attention of several captioners cannot be drawn into one picture",
            "Name one with --run, or leave --attention out.",
        ));
    }
    let ensemble = Ensemble::new(captioners)?;
    let mut drawings = match options.attention {
        true => Some(Drawings::new(&options.out, "attention")?),
        false => None,
    };
    let mut done = 0;
    pictures::for_some(&options.pictures, |paths, images| {
        // Each part draws words of its own.
        let decoding = Decoding { seed: decoding.seed.wrapping_add(done), ..decoding };
        done += images.len() as u64;
        let captions = ensemble.hypotheses(&images, &decoding)?;
        for ((path, image), captions) in paths.iter().zip(images).zip(captions) {
            print(path, &captions, options)?;
            if let (Some(drawings), Some(captioner), Some(caption)) =
                (&mut drawings, ensemble.captioners().first(), captions.first())
            {
                draw(captioner, image, caption, &drawings.next(path), options)?;
            }
        }
        Ok(())
    })
}

fn print(path: &Path, captions: &[Caption], options: &CaptionOptions) -> Result<()> {
    if options.json {
        return say(json!({ "picture": path, "captions": captions }));
    }
    if let ([caption], [_]) = (captions, &options.pictures[..]) {
        return say(caption);
    }
    say(path.display())?;
    captions.iter().try_for_each(|caption| say(format_args!("  {caption}  ({:.2})", caption.log_probability)))
}

/// Draws each word in the colour of the region that it was written for.
fn draw(captioner: &Captioner, image: RgbImage, caption: &Caption, out: &Path, options: &CaptionOptions) -> Result<()> {
    if caption.text.is_empty() {
        warn(format_args!("{} is not drawn: the caption has no words", out.display()));
        return Ok(());
    }
    let explanation = captioner.explain(&image, &caption.text, 1)?;
    show::alignments("", &[AlignedImage::explained(image, &explanation)?], 1)?.save(out)?;
    match options.json {
        true => Ok(()),
        false => say(format_args!("  drawn in {}", out.display())),
    }
}
