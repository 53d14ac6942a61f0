//! Networks that look at pictures, and the named weights that every network here is made of.

mod arithmetic;
mod average_precision;
pub mod clip;
mod convolution;
pub mod faster_rcnn;
pub mod features;
mod resnet;
mod small_cnn;
mod weights;

pub use arithmetic::Arithmetic;
pub use average_precision::AveragePrecision;
pub use clip::{Clip, ClipConfig};
pub use convolution::Normalisation;
pub use faster_rcnn::{Detections, FasterRcnn, FasterRcnnConfig, PictureMaps, RegionConfig, RegionFeatures, Regions};
pub use features::{
    Encoder, EncoderConfig, ExtractConfig, Extraction, FeatureBatch, FeatureCache, PictureFeatures, Precision, extract,
};
pub use resnet::{Block, ResNet, ResNetConfig};
pub use small_cnn::{SmallCnn, SmallCnnConfig};
pub(crate) use weights::read_weights_and_metadata;
pub use weights::{
    DOWNLOADS_FOLDER, MODEL_FILE, Weights, downloaded, read_tensors, read_weights, rename_faster_rcnn, shipped,
    write_tensors,
};
