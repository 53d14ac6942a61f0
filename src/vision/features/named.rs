//! An encoder that is loaded when it is first needed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{Encoder, EncoderConfig, FeatureCache, PictureFeatures};
use crate::vision::word_detector::SmallCnnConfig;
use crate::{Error, Result};

/// The encoder that a model was trained with: its configuration, and the hash of all that its features depend on.
///
/// It is loaded when the first picture comes. One that is here by the same name, but with other weights or settings, is refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NamedEncoder {
    config: EncoderConfig,
    /// [`Encoder::identity`].
    identity: String,
    width: usize,
    /// The network of whole pictures and the file that holds it, where that is the file of the model itself.
    #[serde(skip)]
    inside: Option<(PathBuf, SmallCnnConfig)>,
    #[serde(skip)]
    loaded: Arc<Mutex<Option<Encoder>>>,
}

impl NamedEncoder {
    /// The encoder of a configuration, loaded.
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

    /// The network of whole pictures that was trained together with a model, in the same file.
    pub(crate) fn inside(path: &Path, network: SmallCnnConfig) -> Self {
        Self {
            config: EncoderConfig::new("eye"),
            identity: String::new(),
            width: network.feature_size,
            inside: Some((path.to_path_buf(), network)),
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

    /// Does something with the encoder itself, which is loaded for it where it is not yet.
    ///
    /// # Errors
    /// As [`Encoder::load`], and [`Error::Argument`] when the encoder that is here is another one; errors of `work`.
    pub(crate) fn with_encoder<R>(&self, work: impl FnOnce(&Encoder) -> Result<R>) -> Result<R> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = &*loaded {
            return work(encoder);
        }
        let encoder = match &self.inside {
            Some((path, network)) => Encoder::whole_picture(path, network, &self.config)?,
            None => Encoder::load(&self.config)?,
        };
        if self.inside.is_none() && encoder.identity() != self.identity {
            return Err(self
                .other("the weights or settings that are here are others than those that the model was trained with"));
        }
        work(loaded.insert(encoder))
    }

    /// The features of pictures, as they would come out of a cache.
    ///
    /// # Errors
    /// As [`Encoder::load`] and [`Encoder::encode`].
    pub fn encode(&self, pictures: &[RgbImage]) -> Result<Vec<PictureFeatures>> {
        self.with_encoder(|encoder| encoder.encode_all(pictures))
    }

    /// Checks that another encoder makes the same features.
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
        if cache.identity() == Some(self.identity.as_str()) {
            return Ok(());
        }
        Err(Error::data(
            cache.folder(),
            None,
            format!("its features are {} wide and were not made by the encoder {}", cache.width(), self.config.name),
            format!(
                "Compute them with `captionlab extract --encoder {}`, or name the folder that holds them.",
                self.config.name
            ),
        ))
    }

    fn other(&self, problem: &str) -> Error {
        Error::argument(
            format!("the encoder {}: {problem}", self.config.name),
            "Use the version of captionlab and the weights that the model was trained with, or train it anew.",
        )
    }
}
