//! The regions of images that an encoder has found.

use super::boxes::{BoxedImage, boxed_images};
use super::figure::Figure;
use super::grid::GridConfig;
use crate::Result;
use crate::data::Example;
use crate::vision::FeatureCache;
use crate::vision::features::Description;

/// Draws images with the regions in a feature cache, labelled by class and score. The whole image, also a region, has no box.
/// Unreadable images are left out.
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
        let named =
            found.boxes.iter().zip(found.labels.iter().zip(&found.scores)).filter(|(_, (label, _))| **label > 0);
        let boxes = named.map(|(bounds, (&label, score))| {
            let class = classes.get(label as usize).map_or("thing", String::as_str);
            (*bounds, format!("{class} {:.0} %", 100.0 * score))
        });
        images.push(BoxedImage { boxes: boxes.collect(), image, title: None });
    }
    boxed_images(&images, &GridConfig::default())
}
