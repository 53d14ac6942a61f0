//! Vision networks, the training of those that learn here, and the features that encoders compute with them.

mod classify;
pub mod clip;
mod efficientnet;
pub mod faster_rcnn;
pub mod features;
mod imagenet;
mod resnet;
pub mod word_detector;

pub use classify::Classify;
pub use clip::{Clip, ClipConfig};
pub use efficientnet::{EfficientNet, EfficientNetConfig};
pub use faster_rcnn::{
    AveragePrecision, Detections, DetectorTraining, FasterRcnn, FasterRcnnConfig, PictureMaps, RegionConfig,
    RegionPooling, Regions,
};
pub use features::{
    Encoder, EncoderConfig, ExtractConfig, ExtractReport, Extraction, FeatureBatch, FeatureCache, NamedEncoder,
    PictureFeatures, StorageDtype, extract,
};
pub use imagenet::{Architecture, ImageClassifier};
pub use resnet::{Block, ResNet, ResNetConfig};
pub use word_detector::{WordDetector, WordDetectorTraining};
