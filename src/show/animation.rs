//! Animations of figures.

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame};

use super::figure::{Figure, failed, one_paragraph};
use crate::{Error, Result};

/// A looping GIF with a text alternative.
///
/// As the last expression of a notebook cell it displays itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Animation {
    /// The encoded GIF.
    pub gif: Vec<u8>,
    /// The text alternative: one paragraph without line breaks.
    pub alternative: String,
}

impl Animation {
    /// Shows each figure for `seconds`, the last one three times as long.
    ///
    /// # Errors
    /// [`Error::Argument`] without figures, for figures of different sizes, or when `seconds` is not in `0.02..=60`.
    pub fn new(figures: &[Figure], seconds: f64, alternative: impl AsRef<str>) -> Result<Self> {
        let Some(first) = figures.first() else {
            return Err(Error::argument("an animation without figures", "Give at least one figure."));
        };
        if let Some(other) = figures.iter().find(|figure| (figure.width, figure.height) != (first.width, first.height))
        {
            return Err(Error::argument(
                format!(
                    "figures of {}×{} and of {}×{} pixels in one animation",
                    first.width, first.height, other.width, other.height
                ),
                "Give all the same title, notes and legend, so that they are of one size.",
            ));
        }
        if !(0.02..=60.0).contains(&seconds) {
            return Err(Error::argument(
                format!("an animation of {seconds} s a figure"),
                "Show each for 0.02 to 60 seconds.",
            ));
        }
        let mut gif = Vec::new();
        {
            // 10 of 1 (best) to 30 (fastest): charts have few colours.
            let mut encoder = GifEncoder::new_with_speed(&mut gif, 10);
            encoder.set_repeat(Repeat::Infinite).map_err(|error| failed(error.to_string()))?;
            for (number, figure) in figures.iter().enumerate() {
                let picture = image::load_from_memory(&figure.png).map_err(|error| failed(error.to_string()))?;
                let times = if number + 1 == figures.len() { 3.0 } else { 1.0 };
                let delay = Delay::from_numer_denom_ms((times * seconds * 1000.0).round() as u32, 1);
                let frame = Frame::from_parts(picture.to_rgba8(), 0, 0, delay);
                encoder.encode_frame(frame).map_err(|error| failed(error.to_string()))?;
            }
        }
        Ok(Self { gif, alternative: one_paragraph(alternative.as_ref()) })
    }

    /// Displays the animation below the notebook cell. Notebooks call this for a cell's last expression.
    pub fn evcxr_display(&self) {
        evcxr_runtime::mime_type("text/plain").text(&self.alternative);
        evcxr_runtime::mime_type("image/gif").bytes(&self.gif);
    }
}

impl std::fmt::Debug for Animation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Animation({} bytes: {})", self.gif.len(), self.alternative)
    }
}
