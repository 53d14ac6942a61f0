//! `captionlab classify`.

use std::path::PathBuf;

use captionlab::vision::{Architecture, Classify, ImageClassifier};
use captionlab::{Device, Error, Result};
use clap::Args;
use serde_json::json;

use crate::pictures;
use crate::terminal::say;

#[derive(Args)]
pub struct ClassifyOptions {
    /// JPEG or PNG files.
    #[arg(required = true, value_name = "PHOTO")]
    pictures: Vec<PathBuf>,
    /// The network: efficientnet-lite0 or resnet50.
    #[arg(long, value_name = "NAME", default_value = "efficientnet-lite0")]
    network: String,
    /// Its weights, in place of those that set-up or `captionlab download` has brought.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The names of the classes, one a line, in the order of the network's outputs; ImageNet's when left out.
    #[arg(long, value_name = "FILE", requires = "weights")]
    classes: Option<PathBuf>,
    /// Prints one line of JSON for each picture.
    #[arg(long)]
    json: bool,
}

/// Names what pictures show; those that cannot be read are named, and the error at the end counts them.
pub fn run(options: &ClassifyOptions) -> Result<()> {
    let architecture = Architecture::named(&options.network)?;
    let classes = options.classes.as_ref().map(|path| {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::file(path, "read the names of the classes", source, "Check the path."))?;
        Ok::<_, Error>(text.lines().map(str::to_string).collect())
    });
    let weights = match &options.weights {
        Some(path) => path.clone(),
        None => architecture.weights()?,
    };
    let classifier = ImageClassifier::with_weights(architecture, &weights, classes.transpose()?, Device::Cpu)?;
    pictures::for_some(&options.pictures, |paths, images| {
        for (path, image) in paths.iter().zip(images) {
            let names = classifier.classify(&image)?;
            if options.json {
                let names: Vec<_> =
                    names.iter().map(|(name, share)| json!({ "name": name, "probability": share })).collect();
                say(json!({ "picture": path, "names": names }))?;
                continue;
            }
            say(path.display())?;
            for (name, share) in names {
                say(format_args!("  {:>3.0} %  {name}", 100.0 * share))?;
            }
        }
        Ok(())
    })
}
