//! An encoder that is loaded on first use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::cache::IMPORTED;
use super::{Encoder, EncoderConfig, FeatureCache, PictureFeatures};
#[cfg(feature = "clip-text")]
use crate::vision::clip::{Clip, TrainedClip};
use crate::vision::word_detector::SmallCnnConfig;
use crate::{Error, Result};

/// The encoder that a model was trained with: its configuration, and the hash of everything that determines its features.
///
/// It is loaded for the first image. An encoder of the same name with other weights or settings is refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamedEncoder {
    config: EncoderConfig,
    /// [`Encoder::identity`].
    identity: String,
    width: usize,
    /// The network of whole images and its file, where that is the model's own file.
    #[serde(skip)]
    inside: Option<(PathBuf, SmallCnnConfig)>,
    #[serde(skip)]
    loaded: Arc<Mutex<Option<Encoder>>>,
}

impl NamedEncoder {
    /// Loads an encoder.
    ///
    /// # Errors
    /// As [`Encoder::load`].
    pub fn load(config: &EncoderConfig) -> Result<Self> {
        let encoder = Encoder::load(config)?;
        Ok(Self {
            config: config.clone(),
            identity: encoder.identity().to_string(),
            width: encoder.width(),
            inside: None,
            loaded: Arc::new(Mutex::new(Some(encoder))),
        })
    }

    /// The network of whole images that was trained with a model and is stored in its file.
    pub(crate) fn inside(path: &Path, network: SmallCnnConfig) -> Self {
        Self {
            config: EncoderConfig::new("eye"),
            identity: String::new(),
            width: network.feature_size,
            inside: Some((path.to_path_buf(), network)),
            loaded: Arc::default(),
        }
    }

    /// An encoder that is not known, of which only features can be brought: imported ones, or a tensor.
    #[cfg(feature = "pytorch")]
    pub(crate) fn imported(width: usize) -> Self {
        Self {
            config: EncoderConfig::new(IMPORTED),
            identity: String::new(),
            width,
            inside: None,
            loaded: Arc::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The feature dimension.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Calls `work` with the encoder, which is loaded if necessary.
    ///
    /// # Errors
    /// As [`Encoder::load`]; [`Error::Argument`] when the present encoder differs; errors of `work`.
    pub(crate) fn with_encoder<R>(&self, work: impl FnOnce(&Encoder) -> Result<R>) -> Result<R> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = &*loaded {
            return work(encoder);
        }
        if self.config.name == IMPORTED {
            return Err(Error::argument(
                format!("the model reads features of dimension {} that another program makes of pictures", self.width),
                "Give it the course's own features (`import_course`), or download the weights of the encoder `course` and load it again.",
            ));
        }
        let encoder = match &self.inside {
            Some((path, network)) => Encoder::whole_picture(path, network, &self.config)?,
            None => Encoder::load(&self.config)?,
        };
        if self.inside.is_none() && encoder.identity() != self.identity {
            return Err(self.other("its weights or settings differ from those that the model was trained with"));
        }
        work(loaded.insert(encoder))
    }

    /// The CLIP that describes the regions, with its vocabulary.
    ///
    /// # Errors
    /// As [`Encoder::load`]; [`Error::Argument`] when CLIP does not describe the regions, or not alone; [`Error::Data`] when its
    /// vocabulary is not beside its weights.
    #[cfg(feature = "clip-text")]
    pub(crate) fn clip(&self) -> Result<TrainedClip> {
        let clip = self.with_encoder(|encoder| Ok(encoder.clip().map(Clip::worker_handle)))?;
        match (clip, self.config.weights()?.clip) {
            (Some(clip), Some(weights)) => TrainedClip::with_vocabulary(clip, &weights),
            _ => Err(Error::argument(
                format!(
                    "the encoder {} does not describe regions by CLIP alone, so texts cannot be compared with them",
                    self.config.name
                ),
                "Use the encoder tiny-clip or clip.",
            )),
        }
    }

    /// Computes the features of images as a cache would return them.
    ///
    /// # Errors
    /// As [`Encoder::load`] and [`Encoder::encode`].
    pub fn encode(&self, pictures: &[RgbImage]) -> Result<Vec<PictureFeatures>> {
        self.with_encoder(|encoder| encoder.encode_all(pictures))
    }

    /// Checks that another encoder gives the same features.
    ///
    /// # Errors
    /// [`Error::Argument`] when it does not.
    pub(crate) fn check_same(&self, other: &Self) -> Result<()> {
        match other.inside.is_none() && self.identity == other.identity {
            true => Ok(()),
            false => Err(self.other("the model was trained with another one")),
        }
    }

    /// Checks that a cache holds features of this encoder.
    ///
    /// # Errors
    /// [`Error::Data`] when it does not.
    pub fn check_cache(&self, cache: &FeatureCache) -> Result<()> {
        if self.config.name == IMPORTED && cache.is_imported() && cache.width() == self.width {
            return Ok(());
        }
        if cache.identity() == Some(self.identity.as_str()) {
            return Ok(());
        }
        Err(Error::data(
            cache.folder(),
            None,
            format!(
                "its features have dimension {} and were not made by the encoder {}",
                cache.width(),
                self.config.name
            ),
            format!(
                "Compute them with `captionlab extract --encoder {}`, or name the folder that holds them.",
                self.config.name
            ),
        ))
    }

    fn other(&self, problem: &str) -> Error {
        Error::argument(
            format!("the encoder {}: {problem}", self.config.name),
            "Use the version of captionlab and the weights that the model was trained with, or train it again.",
        )
    }
}
