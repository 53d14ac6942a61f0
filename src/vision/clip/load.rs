//! Published weights, and our own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tch::{Device, Tensor};

use super::{Activation, Clip, ClipConfig, ClipImageConfig, ClipTextConfig, TransformerConfig, openai};
use crate::nn::read_weights_and_metadata;
use crate::{Error, Result};

impl Clip {
    /// Reads a CLIP onto the CPU:
    /// - Hugging Face's `model.safetensors`, with the sizes of the `config.json` beside it; without one they are seen in the
    ///   weights, with 64 numbers a head, as in all models of OpenAI;
    /// - OpenAI's archives (`ViT-B-32.pt`) and state dicts, with the feature `pytorch`, and safetensors files with their names, which
    ///   open_clip writes too;
    /// - what this project saved, and the last checkpoint of a run;
    /// - a folder that holds one of them.
    ///
    /// Numbers of half precision become single.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read, [`Error::Weights`] when it does not hold a CLIP with a vision transformer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = find(path.as_ref())?;
        let (tensors, metadata) = read_weights_and_metadata(&path)?;
        match metadata.get("description") {
            Some(description) => {
                let own: OwnDescription = serde_json::from_value(description.clone())
                    .map_err(|error| unfit(&path, format!("these are not the weights of a CLIP: {error}")))?;
                Self::assigned(&own.clip, &tensors, &path)
            }
            None => Self::from_tensors(tensors, &path),
        }
    }

    /// A CLIP of weights that were read already, named as in Hugging Face's files or as in OpenAI's. `path` is where they
    /// are from: sizes are taken from a `config.json` beside it, where there is one and the names are Hugging Face's.
    ///
    /// # Errors
    /// [`Error::Weights`] when they are not those of a CLIP with a vision transformer.
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>, path: &Path) -> Result<Self> {
        let is_openai = openai::is_openai(&tensors);
        let tensors = if is_openai { openai::renamed(tensors, path)? } else { tensors };
        let beside = path.with_file_name("config.json");
        let config = match !is_openai && beside.is_file() {
            true => read_config(&beside)?,
            false => recognise(&tensors, path)?,
        };
        Self::assigned(&config, &tensors, path)
    }

    fn assigned(config: &ClipConfig, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<Self> {
        let mut clip = Self::make(config, 0, Device::Cpu, false)?;
        clip.weights.assign(tensors, path)?;
        Ok(clip)
    }
}

/// What files of this project say of a CLIP.
#[derive(Deserialize)]
struct OwnDescription {
    clip: ClipConfig,
}

fn unfit(path: &Path, problem: impl Into<String>) -> Error {
    Error::Weights {
        path: path.into(),
        problem: problem.into(),
        help: "Give the weights of a CLIP with a vision transformer: Hugging Face's model.safetensors, OpenAI's ViT-*.pt, or \
               the folder of a run of `captionlab train clip`."
            .to_string(),
    }
}

/// The file itself, or in a folder the first there is.
fn find(path: &Path) -> Result<PathBuf> {
    const NAMES: [&str; 2] = ["checkpoint.safetensors", "model.safetensors"];
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let found = NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| unfit(path, format!("the folder holds no {}", NAMES.join(" and no "))))
}

// --- Hugging Face's config.json ---

#[derive(Deserialize)]
struct PublishedConfig {
    projection_dim: Option<usize>,
    #[serde(default)]
    text_config: PublishedText,
    #[serde(default)]
    vision_config: PublishedVision,
}

/// What is left out is that of ViT-B/32, as in transformers.
#[derive(Deserialize)]
#[serde(default)]
struct PublishedText {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    max_position_embeddings: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    eos_token_id: i64,
}

impl Default for PublishedText {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49_407,
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct PublishedVision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    image_size: usize,
    patch_size: usize,
    hidden_act: String,
    layer_norm_eps: f64,
}

impl Default for PublishedVision {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: "quick_gelu".into(),
            layer_norm_eps: 1e-5,
        }
    }
}

fn read_config(path: &Path) -> Result<ClipConfig> {
    let bytes = std::fs::read(path)
        .map_err(|source| Error::file(path, "read the configuration", source, "Check that you may read it."))?;
    let problem = |problem: String| unfit(path, format!("not the configuration of a CLIP: {problem}"));
    let PublishedConfig { projection_dim, text_config: text, vision_config: vision } =
        serde_json::from_slice(&bytes).map_err(|error| problem(error.to_string()))?;
    if text.hidden_act != vision.hidden_act || text.layer_norm_eps != vision.layer_norm_eps {
        return Err(problem("its towers have different activations, or normalise differently".into()));
    }
    let activation = match text.hidden_act.as_str() {
        "quick_gelu" => Activation::QuickGelu,
        "gelu" => Activation::Gelu,
        other => return Err(problem(format!("the activation {other:?} is not known here"))),
    };
    let config = ClipConfig {
        image: ClipImageConfig {
            image_size: vision.image_size,
            patch_size: vision.patch_size,
            transformer: TransformerConfig {
                width: vision.hidden_size,
                layers: vision.num_hidden_layers,
                heads: vision.num_attention_heads,
                hidden_size: vision.intermediate_size,
            },
        },
        text: ClipTextConfig {
            context: text.max_position_embeddings,
            vocabulary_size: text.vocab_size,
            end_token: text.eos_token_id,
            transformer: TransformerConfig {
                width: text.hidden_size,
                layers: text.num_hidden_layers,
                heads: text.num_attention_heads,
                hidden_size: text.intermediate_size,
            },
        },
        embedding_size: projection_dim.unwrap_or(512),
        activation,
        norm_epsilon: text.layer_norm_eps,
    };
    config.validate().map_err(|error| problem(error.to_string()))?;
    Ok(config)
}

// --- sizes seen in the weights ---

fn recognise(tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<ClipConfig> {
    let shape = |name: &str, dimensions: usize| -> Result<Vec<usize>> {
        let shape = tensors.get(name).map(Tensor::size);
        let shape =
            shape.ok_or_else(|| unfit(path, format!("these are not the weights of a CLIP: {name} is missing")))?;
        match shape.len() == dimensions {
            true => Ok(shape.iter().map(|&size| size as usize).collect()),
            false => {
                Err(unfit(path, format!("the weight {name} is {shape:?}, and {dimensions} dimensions are expected")))
            }
        }
    };
    let transformer = |tower: &str, width: usize| -> Result<TransformerConfig> {
        let prefix = format!("{tower}.encoder.layers.");
        let numbers = tensors.keys().filter_map(|name| name.strip_prefix(&prefix)?.split('.').next()?.parse().ok());
        Ok(TransformerConfig {
            width,
            layers: numbers.max().map_or(0, |last: usize| last + 1),
            heads: (width / 64).max(1),
            hidden_size: shape(&format!("{prefix}0.mlp.fc1.weight"), 2)?[0],
        })
    };
    let patches = shape("vision_model.embeddings.patch_embedding.weight", 4)?;
    let places = shape("vision_model.embeddings.position_embedding.weight", 2)?[0];
    let words = shape("text_model.embeddings.token_embedding.weight", 2)?;
    let config = ClipConfig {
        image: ClipImageConfig {
            image_size: places.saturating_sub(1).isqrt() * patches[3],
            patch_size: patches[3],
            transformer: transformer("vision_model", patches[0])?,
        },
        text: ClipTextConfig {
            context: shape("text_model.embeddings.position_embedding.weight", 2)?[0],
            vocabulary_size: words[0],
            end_token: ClipTextConfig::HIGHEST,
            transformer: transformer("text_model", words[1])?,
        },
        embedding_size: shape("visual_projection.weight", 2)?[0],
        activation: Activation::QuickGelu,
        norm_epsilon: 1e-5,
    };
    config.validate().map_err(|error| unfit(path, format!("the sizes of its weights make no CLIP: {error}")))?;
    Ok(config)
}
