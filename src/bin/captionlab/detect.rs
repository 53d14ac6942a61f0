//! `captionlab detect`.

use std::path::{Path, PathBuf};

use captionlab::data::BoundingBox;
use captionlab::show::{self, BoxedImage, GridConfig};
use captionlab::train::Model;
use captionlab::vision::{Detections, FasterRcnn};
use captionlab::{Error, Kind, Result};
use clap::Args;
use image::RgbImage;

use crate::pictures::{self, Drawings};
use crate::terminal::say;

#[derive(Args)]
pub struct DetectOptions {
    /// JPEG or PNG files.
    #[arg(required = true, value_name = "PHOTO")]
    pictures: Vec<PathBuf>,
    /// The detector: a file of weights, its own or torchvision's fasterrcnn_resnet50_fpn_coco-258fb6c6.pth, or the folder of a
    /// run; the small one that ships with the project, for scenes, when left out.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Shows detections with a score above this, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    score: f32,
    /// Where the drawn copies go, as NAME.detections.png, or NAME-2.detections.png for the second of that name; the folder is made
    /// where it is missing.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// Looks at all pictures; those that cannot be read are named, and the error at the end counts them.
pub fn run(options: &DetectOptions) -> Result<()> {
    if !(0.0..=1.0).contains(&options.score) {
        return Err(Error::config("--score", options.score, "must be in 0..=1"));
    }
    let weights = match &options.weights {
        Some(path) => path.clone(),
        None => Kind::named(FasterRcnn::KIND)?.usual_model()?,
    };
    let detector = <FasterRcnn as Model>::load(&weights)?;
    let mut drawings = Drawings::new(&options.out, "detections")?;
    pictures::for_some(&options.pictures, |paths, images| {
        let found = detector.detect_each(&images)?;
        for ((path, image), found) in paths.iter().zip(images).zip(found) {
            show_one(&detector, path, image, &found, &drawings.next(path), options.score)?;
        }
        Ok(())
    })
}

/// Prints and draws what was found in a picture.
fn show_one(
    detector: &FasterRcnn,
    path: &Path,
    image: RgbImage,
    found: &Detections,
    out: &Path,
    least_score: f32,
) -> Result<()> {
    say(path.display())?;
    let mut boxes = Vec::new();
    for ((bounds, &label), &score) in found.boxes.iter().zip(&found.labels).zip(&found.scores) {
        if score <= least_score {
            continue;
        }
        let name = format!("{} {:.0} %", detector.class_name(label), 100.0 * score);
        let BoundingBox { left, top, right, bottom } = bounds;
        say(format_args!("  {name:<20} from ({left:.0}, {top:.0}) to ({right:.0}, {bottom:.0})"))?;
        boxes.push((*bounds, name));
    }
    let config =
        GridConfig { image_width: image.width().max(image.height()).clamp(256, 1024), ..GridConfig::default() };
    show::boxed_images(&[BoxedImage { image, boxes, title: None }], &config)?.save(out)?;
    say(format_args!("  drawn in {}", out.display()))
}
