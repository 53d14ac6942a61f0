//! CLIP as it is, where an aligner is expected.

use captionlab::align::{Aligner, AlignmentTraining, TextUnit, ZeroShotAligner};
use captionlab::train::Model;
use captionlab::vision::EncoderConfig;
use captionlab::{Error, Kind, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;

/// A CLIP in place of an aligner.
#[derive(Args)]
pub struct ZeroShotOptions {
    /// Takes CLIP as it is instead of an aligner, and says what it reads at a time. Drawn are the best boxes, not the whole picture.
    #[arg(long, value_name = "UNIT", value_parser = PossibleValuesParser::new(TextUnit::NAMES.iter().map(|(name, _)| *name)), conflicts_with = "run")]
    zero_shot: Option<String>,
    /// Whose CLIP: tiny-clip, for scenes, or clip, for photographs.
    #[arg(long, value_name = "NAME", default_value = "tiny-clip", requires = "zero_shot")]
    encoder: String,
}

impl ZeroShotOptions {
    /// The CLIP, if one is asked for.
    ///
    /// # Errors
    /// [`Error::Argument`] where the models that are asked for do not align.
    pub fn aligner(&self, kind: &Kind) -> Result<Option<ZeroShotAligner>> {
        let Some(unit) = &self.zero_shot else { return Ok(None) };
        if kind.name != Aligner::KIND {
            return Err(Error::argument(
                format!("--zero-shot takes CLIP as an aligner, and not as the kind `{}`", kind.name),
                "Leave it out, or measure the kind `align`.",
            ));
        }
        let encoder = EncoderConfig { name: self.encoder.clone(), ..AlignmentTraining::clip().encoder };
        ZeroShotAligner::load(&encoder, unit.parse()?).map(Some)
    }
}
