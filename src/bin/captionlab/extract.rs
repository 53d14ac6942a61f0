//! `captionlab extract`.

use std::path::PathBuf;
use std::str::FromStr;

use captionlab::Device;
use captionlab::data::Dataset;
use captionlab::data::scenes::ScenesConfig;
use captionlab::vision::features::ExtractProgress;
use captionlab::nn::Arithmetic;
use captionlab::vision::{Encoder, EncoderConfig, ExtractConfig, Precision, RegionConfig, extract};
use captionlab::{Error, Result};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::terminal::{say, warn};

#[derive(Args)]
pub struct ExtractOptions {
    /// A data set in any of the layouts that are known; Scenes when left out.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What finds and describes the regions of a picture.
    #[arg(long, default_value = "tiny", value_parser = clap::builder::PossibleValuesParser::new(EncoderConfig::NAMES))]
    encoder: String,
    /// The folder of all caches; cached_features of the project when left out.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Computes one part of the data set, of so many, counted from 0: 0/4 to 3/4. Parts may be computed on several machines into one
    /// folder.
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    shard: Part,
    /// Pictures of a file of the cache: as many are computed again at most when this is killed.
    #[arg(long, value_name = "COUNT", default_value_t = ExtractConfig::default().shard_pictures)]
    shard_pictures: usize,
    /// What the networks compute with.
    #[arg(long, value_enum, default_value = "single")]
    arithmetic: ComputedArithmetic,
    /// How the numbers are kept.
    #[arg(long, value_enum, default_value = "half")]
    precision: KeptPrecision,
    /// The detector's file of weights, in place of the encoder's own.
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
    /// CLIP's weights, in place of the encoder's own.
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
    /// Takes the detections that are surer than this, 0 to 1.
    #[arg(long, default_value_t = RegionConfig::default().min_score)]
    score: f32,
    /// Where the network computes: cpu, cuda or cuda:0.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// `--shard`.
#[derive(Debug, Clone, Copy)]
struct Part(usize, usize);

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
enum ComputedArithmetic {
    /// 32 bits a number: what is seen equals the references.
    Single,
    /// 16 bits a number: with the published networks two to three times as fast where the processor has it; features differ by
    /// about a hundredth.
    #[value(name = "bfloat16")]
    BFloat16,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeptPrecision {
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
    let encoder = options.encoder()?;
    if !encoder.arithmetic.is_native(encoder.device) {
        warn("This processor has no bfloat16 of its own: --arithmetic single would be faster here.");
    }
    let encoder = Encoder::load(&encoder)?;
    let config = ExtractConfig {
        folder: options.cache.clone(),
        part: (options.shard.0, options.shard.1),
        shard_pictures: options.shard_pictures,
        ..ExtractConfig::default()
    };
    warn(&dataset);
    let bar = ProgressBar::new(0).with_style(style("{bar:30} {msg}"));
    let extraction = extract(&dataset, &encoder, &config, |progress: &ExtractProgress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(progress.to_string());
    });
    bar.finish_and_clear();
    say(extraction?)
}

/// How a bar of progress looks.
pub fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl ExtractOptions {
    fn encoder(&self) -> Result<EncoderConfig> {
        let mut config = EncoderConfig::named_with(&self.encoder, self.detector.clone(), self.clip.clone())?;
        config.arithmetic = match self.arithmetic {
            ComputedArithmetic::Single => Arithmetic::Single,
            ComputedArithmetic::BFloat16 => Arithmetic::BFloat16,
        };
        config.precision = match self.precision {
            KeptPrecision::Half => Precision::Half,
            KeptPrecision::Single => Precision::Single,
        };
        config.regions.min_score = self.score;
        config.device = device(&self.device)?;
        Ok(config)
    }
}

fn device(name: &str) -> Result<Device> {
    let unknown = || Error::config("--device", name, "must be cpu, cuda or cuda:N");
    let device = match name {
        "cpu" => Device::Cpu,
        "cuda" => Device::Cuda(0),
        _ => Device::Cuda(name.strip_prefix("cuda:").and_then(|index| index.parse().ok()).ok_or_else(unknown)?),
    };
    match device {
        Device::Cuda(index) if index as i64 >= tch::Cuda::device_count() => Err(Error::config(
            "--device",
            name,
            format!("this machine has {} GPUs that libtorch can use", tch::Cuda::device_count()),
        )),
        device => Ok(device),
    }
}
