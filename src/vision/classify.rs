//! Naming what a picture shows.

use image::RgbImage;

use super::FasterRcnn;
use crate::Result;

/// What names the things that it sees in a picture.
pub trait Classify: Send {
    /// What it is called.
    fn name(&self) -> &str;

    /// The names of what it sees with their probabilities, in `0.0..=1.0`, the most probable first; none where it sees nothing.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a picture without pixels.
    fn classify(&self, picture: &RgbImage) -> Result<Vec<(String, f64)>>;
}

/// Most names that a detector gives.
const MOST_NAMES: usize = 5;

/// The classes of the detections, each with the probability of the surest.
impl Classify for FasterRcnn {
    fn name(&self) -> &str {
        match self.config().classes.len() {
            // COCO's 80 categories have ids up to 90.
            91 => "Faster R-CNN (COCO)",
            _ => "Faster R-CNN",
        }
    }

    fn classify(&self, picture: &RgbImage) -> Result<Vec<(String, f64)>> {
        let found = self.detect(std::slice::from_ref(picture))?.pop().unwrap_or_default();
        let mut names: Vec<(String, f64)> = Vec::new();
        // Detections come by decreasing score.
        for (&label, &score) in found.labels.iter().zip(&found.scores) {
            let name = self.class_name(label);
            if names.len() < MOST_NAMES && names.iter().all(|(known, _)| known != name) {
                names.push((name.to_string(), f64::from(score)));
            }
        }
        Ok(names)
    }
}
