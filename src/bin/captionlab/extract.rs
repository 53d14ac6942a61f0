//! `captionlab extract`.

use std::path::PathBuf;
use std::str::FromStr;

use captionlab::Device;
use captionlab::data::Dataset;
use captionlab::data::scenes::ScenesConfig;
use captionlab::download::bytes_text;
use captionlab::nn::ComputeDtype;
use captionlab::train::{check_device, device_from_name};
use captionlab::vision::{Encoder, EncoderConfig, ExtractConfig, RegionConfig, StorageDtype, extract};
use captionlab::{Error, Result};
use clap::{Args, ValueEnum};

use crate::progress::Bar;
use crate::terminal::{say, warn};

#[derive(Args)]
pub struct ExtractOptions {
    /// A data set in any of the layouts that are known; Scenes when left out.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What finds and describes the regions of a picture: tiny, tiny-clip, tiny-both, fasterrcnn, course, clip, both, efficientnet-lite0,
    /// resnet50, eye, or a pair such as fasterrcnn+efficientnet-lite0. When left out, tiny for Scenes and the best that is here for
    /// photographs.
    #[arg(long, value_name = "NAME")]
    encoder: Option<String>,
    /// The folder of all caches; cached_features of the project when left out.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Computes one part of the data set, counted from 0: 0/4 to 3/4. Parts may be computed on several machines into one folder.
    #[arg(long, alias = "shard", value_name = "I/N", default_value = "0/1")]
    part: Part,
    /// Pictures in a shard, which is a file of the cache; a kill loses at most one shard.
    #[arg(long, value_name = "COUNT", default_value_t = ExtractConfig::default().shard_pictures)]
    shard_pictures: usize,
    /// Reads all pictures and features again to see whether they are what they were, instead of trusting sizes and times of files.
    #[arg(long)]
    verify: bool,
    /// The dtype of the networks.
    #[arg(long, alias = "arithmetic", value_enum, default_value = "single")]
    dtype: DtypeName,
    /// The dtype of the features in the cache.
    #[arg(long, alias = "precision", value_enum, default_value = "half")]
    storage: StorageName,
    /// The detector's weights in place of the encoder's own, or the run of a word detector for the encoder eye.
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
    /// CLIP's weights, in place of the encoder's own.
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
    /// The weights of EfficientNet or ResNet, in place of the encoder's own.
    #[arg(long, value_name = "FILE")]
    classifier: Option<PathBuf>,
    /// Takes detections with a score above this, 0 to 1.
    #[arg(long, default_value_t = RegionConfig::default().score_threshold)]
    score: f32,
    /// Where the network computes: cpu, cuda or cuda:0.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// `--part`.
#[derive(Debug, Clone, Copy)]
pub struct Part(pub usize, pub usize);

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
        let (part, parts) = numbers.ok_or("write it like 0/4: the first of four parts")?;
        match part < parts {
            true => Ok(Self(part, parts)),
            false => Err(format!("parts are counted from 0: the last of {parts} is {}/{parts}", parts.max(1) - 1)),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum DtypeName {
    /// 32 bits a number: features equal the references'.
    Single,
    /// 16 bits a number: with the published networks two to three times as fast where the processor has it; features differ by
    /// about a hundredth.
    #[value(name = "bfloat16")]
    BFloat16,
}

#[derive(Clone, Copy, ValueEnum)]
enum StorageName {
    /// 16 bits a number.
    Half,
    /// 32 bits a number.
    Single,
}

pub fn run(options: ExtractOptions) -> Result<()> {
    let dataset = match &options.data {
        Some(folder) => Dataset::open(folder)?,
        None => Dataset::scenes(&ScenesConfig::default())?,
    };
    let encoder = options.encoder(&dataset)?;
    if !encoder.dtype.is_native(encoder.device) {
        warn("This processor has no bfloat16 of its own: --dtype single would be faster here.");
    }
    let encoder = Encoder::load(&encoder)?;
    let config = ExtractConfig {
        folder: options.cache.clone(),
        part: (options.part.0, options.part.1),
        shard_pictures: options.shard_pictures,
        verify: options.verify,
        ..ExtractConfig::default()
    };
    warn(&dataset);
    let pictures = dataset.examples.len().div_ceil(config.part.1);
    warn(format_args!(
        "The features of {pictures} pictures take at most {} of disk, and {} of memory while they are computed.",
        bytes_text(encoder.most_bytes() * pictures as u64),
        bytes_text(encoder.most_bytes() * pictures.min(config.shard_pictures) as u64)
    ));
    let bar = Bar::new("{bar:30} {msg}");
    let report = extract(&dataset, &encoder, &config, |progress| {
        bar.at(progress.done as u64, progress.total as u64, progress);
        true
    });
    drop(bar);
    say(report?)
}

impl ExtractOptions {
    fn encoder(&self, dataset: &Dataset) -> Result<EncoderConfig> {
        let named = match &self.encoder {
            Some(name) => EncoderConfig::new(name),
            // A detector or a CLIP of one's own takes the place of the default encoder's.
            None if self.detector.is_some() || self.clip.is_some() => EncoderConfig::default(),
            None => {
                let (best, why) = EncoderConfig::best_for(dataset);
                warn(format_args!("The encoder is {why}."));
                best
            }
        };
        let mut config = EncoderConfig {
            detector: self.detector.clone(),
            clip: self.clip.clone(),
            classifier: self.classifier.clone(),
            ..named
        };
        config.dtype = match self.dtype {
            DtypeName::Single => ComputeDtype::Single,
            DtypeName::BFloat16 => ComputeDtype::BFloat16,
        };
        config.storage = match self.storage {
            StorageName::Half => StorageDtype::Half,
            StorageName::Single => StorageDtype::Single,
        };
        config.regions.score_threshold = self.score;
        config.device = device(&self.device)?;
        Ok(config)
    }
}

fn device(name: &str) -> Result<Device> {
    let device =
        device_from_name(name).ok_or_else(|| Error::config("--device", name, "must be cpu, cuda, cuda:N or mps"))?;
    check_device(device).map_err(|problem| Error::config("--device", name, problem))?;
    Ok(device)
}
