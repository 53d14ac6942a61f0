//! The regions of images that an encoder has found.

use super::boxes::{BoxedImage, boxed_images};
use super::figure::Figure;
use super::grid::GridConfig;
use crate::Result;
use crate::data::{BoundingBox, Example};
use crate::vision::FeatureCache;
use crate::vision::features::Description;

/// Draws images with the regions in a feature cache, labelled by class and score, or fixed windows by their number. The whole image, also
/// a region, has no box. Unreadable images are left out.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) when the cache lacks the features of an image, [`Error::Argument`](crate::Error::Argument)
/// without images.
pub fn regions(cache: &FeatureCache, examples: &[Example]) -> Result<Figure> {
    let classes = match cache.description()? {
        Description::Regions(description) => description.classes,
        Description::WholePicture(_) => Vec::new(),
    };
    let mut images = Vec::new();
    for example in examples {
        let Ok(image) = example.picture() else { continue };
        let found = cache.get(&example.name)?;
        let label = |(place, bounds): (usize, &BoundingBox)| match (found.labels.get(place), found.scores.get(place)) {
            (Some(0), _) => None,
            (Some(&label), Some(score)) => {
                let class = classes.get(label as usize).map_or("thing", String::as_str);
                Some((*bounds, format!("{class} {:.0} %", 100.0 * score)))
            }
            // Fixed windows have neither class nor score, and are numbered; the first is the whole image.
            _ => (place > 0).then(|| (*bounds, place.to_string())),
        };
        let boxes = found.boxes.iter().enumerate().filter_map(label);
        images.push(BoxedImage { boxes: boxes.collect(), image, title: None });
    }
    boxed_images(&images, &GridConfig::default())
}
