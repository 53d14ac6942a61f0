//! Features of images, computed once by an [`Encoder`] and stored in a [`FeatureCache`].
//!
//! A cache is a folder of *shards*, `safetensors` files of a few hundred images each. A shard contains its own index (names, content
//! hashes, rows) and checksums of every part. So shards from several machines form one cache when put into one folder, and no
//! incomplete or damaged features are ever returned.
//!
//! The folder's name contains a hash of everything that determines the features except the images: the encoder's weights and
//! settings. Features of changed images are computed again.
//!
//! ```
//! use captionlab::data::scenes::ScenesConfig;
//! use captionlab::data::Dataset;
//! use captionlab::vision::{Encoder, EncoderConfig, ExtractConfig, FeatureCache, extract};
//!
//! let dataset = Dataset::scenes(&ScenesConfig { train: 8, validation: 1, test: 1, seed: 1 })?;
//! let encoder = Encoder::load(&EncoderConfig::new("tiny"))?;
//! # let folder = std::env::temp_dir().join(format!("captionlab-features-page-{}", std::process::id()));
//! let config = ExtractConfig { folder: Some(folder.clone()), ..ExtractConfig::default() };
//! let report = extract(&dataset, &encoder, &config, |_| true)?;
//! assert_eq!((report.computed, report.found), (10, 0));
//!
//! let cache = FeatureCache::open(&report.folder)?;
//! let names: Vec<&str> = dataset.examples.iter().map(|example| example.name.as_str()).collect();
//! let batch = cache.batch(&names)?;
//! assert_eq!(batch.features.size()[..2], batch.mask.size());
//! assert_eq!(batch.features.size()[2], cache.width() as i64);
//!
//! // Nothing is computed twice.
//! assert_eq!(extract(&dataset, &encoder, &config, |_| true)?.computed, 0);
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), captionlab::Error>(())
//! ```

mod cache;
mod config;
mod content;
#[cfg(feature = "pytorch")]
mod course;
mod encoder;
mod extract;
mod inputs;
mod job;
mod named;
mod shard;
mod stale;

pub use cache::{FeatureBatch, FeatureCache, PictureFeatures};
pub use config::EncoderConfig;
#[cfg(feature = "download")]
pub(crate) use config::{CLIP_FILE, FASTER_RCNN_FILE};
pub(crate) use content::PlaceOfData;
#[cfg(feature = "pytorch")]
pub use course::import_course;
pub use encoder::{Description, Encoder, RegionDescription, WholePictureDescription};
pub(crate) use extract::extract_examples;
pub use extract::{ExtractConfig, ExtractProgress, ExtractReport, extract};
pub(crate) use inputs::{FeatureInputs, FeatureLoading, load_features};
pub use job::Extraction;
pub use named::NamedEncoder;
pub use shard::{ShardEntry, ShardHead, StorageDtype, write_shard};
