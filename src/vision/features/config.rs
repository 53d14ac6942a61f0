//! The names of encoders, and the parts that they stand for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tch::Device;

use super::shard::StorageDtype;
use crate::data::{Dataset, Layout};
use crate::error::Within;
use crate::nn::{ComputeDtype, downloaded, is_readable_here, shipped};
use crate::train::weights_file;
use crate::vision::imagenet::Architecture;
use crate::vision::{RegionConfig, RegionPooling};
use crate::{Error, Result};

/// torchvision's weights file of the detector trained on COCO.
pub(crate) const FASTER_RCNN_FILE: &str = "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth";

/// OpenAI's weights file of CLIP ViT-B/32.
pub(crate) const CLIP_FILE: &str = "ViT-B-32.pt";

/// Selects what finds the regions of an image and what describes them.
///
/// | name | regions | described by | dimension |
/// |---|---|---|---|
/// | `tiny` | the small detector that ships with the project, for Scenes | its box head | 128 |
/// | `tiny-clip` | as `tiny` | the small CLIP that ships with the project | 128 |
/// | `tiny-both` | as `tiny` | its box head and the small CLIP, one after the other | 256 |
/// | `fasterrcnn` | torchvision's Faster R-CNN ResNet-50-FPN, trained on COCO | its box head | 1024 |
/// | `course` | as `fasterrcnn` | its backbone, on each cropped region | 2048 |
/// | `clip` | as `fasterrcnn` | OpenAI's CLIP ViT-B/32, on each cropped region | 512 |
/// | `both` | as `fasterrcnn` | its box head and CLIP, one after the other | 1536 |
/// | `efficientnet-lite0` | 18 fixed windows at several scales, in every image the same | EfficientNet-Lite0, trained on ImageNet | 1280 |
/// | `resnet50` | as `efficientnet-lite0` | torchvision's ResNet-50, trained on ImageNet | 2048 |
/// | `eye` | only the whole image | the network of a [`WordDetector`](crate::vision::WordDetector) that you have trained | 1024 |
///
/// The first region is always the whole image.
///
/// Other pairs are named by both parts: `fasterrcnn+efficientnet-lite0` describes the regions of the detector, each cropped, by
/// EfficientNet-Lite0. In front stands `tiny`, `fasterrcnn` or `windows`, behind one or several of `box-head`, `tiny-clip`, `clip`,
/// `efficientnet-lite0` and `resnet50`.
///
/// Where several networks describe a region, each part is first divided by the root mean square of its values, so that all count alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EncoderConfig {
    /// Name of the encoder, with which the cache's folder name begins. Default: `tiny`.
    pub name: String,
    /// Weights of the detector, or the run of the word detector for `eye`; `None` for the encoder's own.
    pub detector: Option<PathBuf>,
    /// Weights of CLIP; `None` for the encoder's own, if it uses one.
    pub clip: Option<PathBuf>,
    /// Weights of the classifier; `None` for the encoder's own, if it uses one.
    pub classifier: Option<PathBuf>,
    /// Selection of regions. Default: the course's.
    pub regions: RegionConfig,
    /// Dtype of the networks. Default: single precision.
    #[serde(rename = "arithmetic")]
    pub dtype: ComputeDtype,
    /// Dtype of the cached features. Default: half precision.
    #[serde(rename = "precision")]
    pub storage: StorageDtype,
    /// Device of the networks. Default: the CPU.
    #[serde(skip, default = "cpu")]
    pub device: Device,
}

fn cpu() -> Device {
    Device::Cpu
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self::new("tiny")
    }
}

/// What finds the regions of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finder {
    Tiny,
    FasterRcnn,
    /// The same windows in every image.
    Windows,
}

impl Finder {
    const NAMED: [(&'static str, Self); 3] =
        [("tiny", Self::Tiny), ("fasterrcnn", Self::FasterRcnn), ("windows", Self::Windows)];
}

/// What describes a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Describer {
    /// The detector itself.
    BoxHead,
    TinyClip,
    Clip,
    Classifier(Architecture),
}

impl Describer {
    const NAMED: [(&'static str, Self); 5] = [
        ("box-head", Self::BoxHead),
        ("tiny-clip", Self::TinyClip),
        ("clip", Self::Clip),
        ("efficientnet-lite0", Self::Classifier(Architecture::EfficientNetLite0)),
        ("resnet50", Self::Classifier(Architecture::ResNet50)),
    ];
}

/// The parts of an encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) finder: Finder,
    pub(super) describers: Vec<Describer>,
}

impl Parts {
    /// The parts that a name stands for; `None` for `eye`, and for a name that stands for none.
    fn named(name: &str) -> Option<Self> {
        let of = |finder, describers: &[Describer]| Some(Self { finder, describers: describers.to_vec() });
        match name {
            "tiny" => of(Finder::Tiny, &[Describer::BoxHead]),
            "tiny-clip" => of(Finder::Tiny, &[Describer::TinyClip]),
            "tiny-both" => of(Finder::Tiny, &[Describer::BoxHead, Describer::TinyClip]),
            "fasterrcnn" | "course" => of(Finder::FasterRcnn, &[Describer::BoxHead]),
            "clip" => of(Finder::FasterRcnn, &[Describer::Clip]),
            "both" => of(Finder::FasterRcnn, &[Describer::BoxHead, Describer::Clip]),
            _ => match Architecture::named(name) {
                Ok(architecture) => of(Finder::Windows, &[Describer::Classifier(architecture)]),
                Err(_) => Self::composed(name),
            },
        }
    }

    /// The parts of a name such as `fasterrcnn+efficientnet-lite0`.
    fn composed(name: &str) -> Option<Self> {
        fn find<T: Copy>(named: &[(&str, T)], name: &str) -> Option<T> {
            named.iter().find(|(own, _)| *own == name).map(|(_, part)| *part)
        }
        let (finder, describers) = name.split_once('+')?;
        let finder = find(&Finder::NAMED, finder)?;
        let describers: Vec<Describer> =
            describers.split('+').map(|name| find(&Describer::NAMED, name)).collect::<Option<_>>()?;
        let repeated = (1..describers.len()).any(|place| describers[..place].contains(&describers[place]));
        let clips = describers.iter().filter(|describer| is_clip(describer)).count();
        let classifiers = describers.iter().filter(|describer| matches!(describer, Describer::Classifier(_))).count();
        let has_head = finder != Finder::Windows || !describers.contains(&Describer::BoxHead);
        (has_head && !repeated && clips < 2 && classifiers < 2).then_some(Self { finder, describers })
    }

    fn clip(&self) -> Option<Describer> {
        self.describers.iter().copied().find(is_clip)
    }

    pub(super) fn classifier(&self) -> Option<Architecture> {
        self.describers.iter().find_map(|describer| match describer {
            Describer::Classifier(architecture) => Some(*architecture),
            _ => None,
        })
    }
}

fn is_clip(describer: &Describer) -> bool {
    matches!(describer, Describer::TinyClip | Describer::Clip)
}

/// The weights files of an encoder's networks.
#[derive(Debug)]
pub(super) struct EncoderFiles {
    pub(super) detector: Option<PathBuf>,
    pub(super) clip: Option<PathBuf>,
    pub(super) classifier: Option<PathBuf>,
}

impl EncoderFiles {
    /// Whether this build reads them all.
    fn are_readable(&self) -> bool {
        [&self.detector, &self.clip, &self.classifier].into_iter().flatten().all(|path| is_readable_here(path))
    }
}

impl EncoderConfig {
    /// The names of the usual encoders.
    pub const NAMES: [&str; 10] = [
        "tiny",
        "tiny-clip",
        "tiny-both",
        "fasterrcnn",
        "course",
        "clip",
        "both",
        "efficientnet-lite0",
        "resnet50",
        "eye",
    ];

    /// The encoder of that name, with its own weights.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut regions = RegionConfig::default();
        if name == "course" {
            regions.features = RegionPooling::Crop;
        }
        Self {
            name,
            detector: None,
            clip: None,
            classifier: None,
            regions,
            dtype: ComputeDtype::Single,
            storage: StorageDtype::Half,
            device: Device::Cpu,
        }
    }

    /// The network of a word detector over the whole image. `run` is the folder of its run, or a weights file.
    pub fn word_detector(run: impl Into<PathBuf>) -> Self {
        Self { detector: Some(run.into()), ..Self::new(WORD_DETECTOR) }
    }

    /// The best encoder that is here for a data set, and in a sentence why it is.
    ///
    /// Scenes have their own, `tiny`. Photographs get what is published and downloaded: Faster R-CNN with CLIP, either of them, or else
    /// EfficientNet-Lite0, which set-up brings.
    pub fn best_for(dataset: &Dataset) -> (Self, String) {
        if dataset.layout == Layout::Scenes {
            return (Self::new("tiny"), "tiny: it was trained on Scenes".to_string());
        }
        let detector = "a detector of 80 kinds of things (COCO) finds regions";
        let windows = "a network that knows 1,000 kinds of things (ImageNet) describes fixed windows. `captionlab download fasterrcnn` \
                       brings a detector, which is slower and sees more";
        let choices = [
            ("both", format!("{detector}, and it and CLIP, which learned from captions, describe them")),
            ("fasterrcnn", format!("{detector} and describes them")),
            ("windows+clip", "CLIP, which learned from captions, describes fixed windows".to_string()),
            ("efficientnet-lite0", windows.to_string()),
            ("resnet50", windows.to_string()),
        ];
        for (name, what) in choices {
            let config = Self::new(name);
            if config.weights().is_ok_and(|files| files.are_readable()) {
                return (config, format!("{name}, the best that is here for photographs: {what}"));
            }
        }
        let why = "tiny: it was trained on drawings and knows little of photographs, but nothing else is here. \
                   `cargo xtask setup` brings efficientnet-lite0";
        (Self::new("tiny"), why.to_string())
    }

    /// Checks name and settings, but not whether the weights exist.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown name, and for weights that the encoder does not use; [`Error::Config`] for a setting outside
    /// its range.
    pub fn validate(&self) -> Result<()> {
        self.parts()?;
        self.regions.validate().within("regions")
    }

    /// What the name stands for; `None` for a word detector.
    pub(super) fn parts(&self) -> Result<Option<Parts>> {
        if self.name == WORD_DETECTOR {
            return match &self.detector {
                Some(_) => Ok(None),
                None => Err(Error::argument(
                    "the encoder eye is a word detector that you have trained, and none is named",
                    "Name the folder of its run as the detector.",
                )),
            };
        }
        let Some(parts) = Parts::named(&self.name) else {
            let [finders, describers] =
                [Finder::NAMED.map(|(name, _)| name).join(", "), Describer::NAMED.map(|(name, _)| name).join(", ")];
            return Err(Error::argument(
                format!("no encoder is called {:?}", self.name),
                format!(
                    "Use one of {}, or a pair such as fasterrcnn+efficientnet-lite0: what finds regions ({finders}) and what \
                     describes them ({describers}).",
                    Self::NAMES.join(", ")
                ),
            ));
        };
        let unused = |what: &str, use_one: &str| {
            Err(Error::argument(
                format!("the encoder {} uses no {what}, and weights of one are given", self.name),
                format!("Leave them out, or use an encoder with one: {use_one}."),
            ))
        };
        if self.clip.is_some() && parts.clip().is_none() {
            return unused("CLIP", "clip, both, tiny-clip or tiny-both");
        }
        if self.classifier.is_some() && parts.classifier().is_none() {
            return unused("classifier", "efficientnet-lite0 or resnet50");
        }
        if self.detector.is_some() && parts.finder == Finder::Windows {
            return unused("detector", "fasterrcnn or fasterrcnn+efficientnet-lite0");
        }
        Ok(Some(parts))
    }

    /// The weights files of its networks.
    pub(super) fn weights(&self) -> Result<EncoderFiles> {
        let Some(parts) = self.parts()? else {
            let detector = self.detector.as_deref().map(weights_file);
            return Ok(EncoderFiles { detector, clip: None, classifier: None });
        };
        let file = |own: &Option<PathBuf>, usual: &dyn Fn() -> Result<PathBuf>| match own {
            Some(path) => Ok(weights_file(path)),
            None => usual(),
        };
        let detector = match parts.finder {
            Finder::Windows => None,
            Finder::Tiny => Some(file(&self.detector, &|| shipped("detector-tiny"))?),
            Finder::FasterRcnn => Some(file(&self.detector, &|| downloaded(FASTER_RCNN_FILE, "fasterrcnn"))?),
        };
        let clip = match parts.clip() {
            None => None,
            Some(Describer::TinyClip) => Some(file(&self.clip, &|| shipped("clip-tiny"))?),
            Some(_) => Some(file(&self.clip, &|| downloaded(CLIP_FILE, "clip"))?),
        };
        let classifier = match parts.classifier() {
            None => None,
            Some(architecture) => Some(file(&self.classifier, &|| architecture.weights())?),
        };
        Ok(EncoderFiles { detector, clip, classifier })
    }
}

/// The name of the encoder that is a word detector.
pub(super) const WORD_DETECTOR: &str = "eye";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ScenesConfig;

    #[test]
    fn names_stand_for_what_finds_regions_and_what_describes_them() {
        use Describer::{BoxHead, Classifier, Clip, TinyClip};
        let lite0 = Classifier(Architecture::EfficientNetLite0);
        let cases: [(&str, Finder, &[Describer]); 7] = [
            ("tiny-both", Finder::Tiny, &[BoxHead, TinyClip]),
            ("course", Finder::FasterRcnn, &[BoxHead]),
            ("efficientnet-lite0", Finder::Windows, &[lite0]),
            ("resnet50", Finder::Windows, &[Classifier(Architecture::ResNet50)]),
            ("fasterrcnn+efficientnet-lite0", Finder::FasterRcnn, &[lite0]),
            ("tiny+box-head+efficientnet-lite0", Finder::Tiny, &[BoxHead, lite0]),
            ("windows+clip", Finder::Windows, &[Clip]),
        ];
        for (name, finder, describers) in cases {
            let describers = describers.to_vec();
            assert_eq!(Parts::named(name), Some(Parts { finder, describers }), "{name}");
            EncoderConfig::new(name).validate().unwrap();
        }
        let wrong = [
            "",
            "big",
            "windows",
            "windows+",
            "+clip",
            "windows+box-head",
            "clip+tiny",
            "tiny+clip+clip",
            "tiny+clip+tiny-clip",
            "windows+resnet50+efficientnet-lite0",
        ];
        for name in wrong {
            let message = EncoderConfig::new(name).validate().unwrap_err().to_string();
            assert!(message.contains(&format!("no encoder is called {name:?}")), "{message}");
        }
    }

    #[test]
    fn weights_that_an_encoder_does_not_use_are_refused() {
        let file = || Some(PathBuf::from("file"));
        let cases = [
            (EncoderConfig { clip: file(), ..EncoderConfig::new("efficientnet-lite0") }, "uses no CLIP"),
            (EncoderConfig { classifier: file(), ..EncoderConfig::new("tiny") }, "uses no classifier"),
            (EncoderConfig { detector: file(), ..EncoderConfig::new("resnet50") }, "uses no detector"),
        ];
        for (config, expected) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn scenes_are_seen_with_the_eye_that_was_trained_on_them() {
        let scenes = Dataset::scenes(&ScenesConfig { train: 1, validation: 1, test: 1, seed: 1 }).unwrap();
        let (encoder, why) = EncoderConfig::best_for(&scenes);
        assert_eq!(encoder, EncoderConfig::new("tiny"));
        assert!(why.starts_with("tiny: "), "{why}");
    }
}
