//! Networks that look at pictures, and the features that they make of them.

pub mod clip;
pub mod faster_rcnn;
pub mod features;
mod resnet;
mod small_cnn;

pub use clip::{Clip, ClipConfig};
pub use faster_rcnn::{
    AveragePrecision, Detections, DetectorTraining, FasterRcnn, FasterRcnnConfig, PictureMaps, RegionConfig,
    RegionFeatures, Regions,
};
pub use features::{
    Encoder, EncoderConfig, ExtractConfig, Extraction, FeatureBatch, FeatureCache, PictureFeatures, Precision, extract,
};
pub use resnet::{Block, ResNet, ResNetConfig};
pub use small_cnn::{SmallCnn, SmallCnnConfig};
