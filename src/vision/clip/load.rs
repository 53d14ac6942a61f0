//! Published weights, and our own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tch::{Device, Tensor};

use super::published::{self, Beside};
use super::{Activation, Clip, ClipConfig, ClipImageConfig, ClipTextConfig, TransformerConfig, openai};
use crate::nn::{TORCH_SCRIPT, Weights, read_weights_and_metadata, unwrapped};
use crate::{Error, Result};

impl Clip {
    /// Reads a CLIP onto the CPU:
    /// - Hugging Face's `model.safetensors`, with the settings of the `config.json` beside it;
    /// - OpenAI's archives (`ViT-B-32.pt`), with the feature `pytorch`;
    /// - open_clip's weights, safetensors or state dicts, with the settings of the `open_clip_config.json` or `config.json` beside
    ///   them;
    /// - what this project saved, and the last checkpoint of a run;
    /// - a folder that holds one of them.
    ///
    /// Sizes are seen in the weights where no configuration names them, with 64 numbers a head, as in all models of OpenAI. The
    /// activation cannot be seen: where neither the file nor one beside it names it, it is asked for, by
    /// [`Clip::load_with_activation`]. Numbers of half precision become single.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read, [`Error::Weights`] when it does not hold a CLIP with a vision transformer, its
    /// activation is not known, or its configuration has settings that are not known here.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_as(path.as_ref(), None)
    }

    /// As [`Clip::load`], for weights of which one knows the activation: it counts more than what the files say.
    ///
    /// # Errors
    /// As [`Clip::load`].
    pub fn load_with_activation(path: impl AsRef<Path>, activation: Activation) -> Result<Self> {
        Self::load_as(path.as_ref(), Some(activation))
    }

    fn load_as(path: &Path, activation: Option<Activation>) -> Result<Self> {
        let path = find(path)?;
        let (tensors, metadata) = read_weights_and_metadata(&path)?;
        match metadata.get("description") {
            Some(description) => {
                let own: OwnDescription = serde_json::from_value(description.clone())
                    .map_err(|error| unfit(&path, format!("these are not the weights of a CLIP: {error}")))?;
                let config = ClipConfig { activation: activation.unwrap_or(own.clip.activation), ..own.clip };
                Self::assigned(&config, &tensors, &path)
            }
            None => Self::of_tensors(tensors, &path, activation.or_else(|| of_code(&metadata))),
        }
    }

    /// A CLIP of weights that were read already, named as in Hugging Face's files or as in OpenAI's. `path` is where they
    /// are from: settings are taken from a configuration beside it, as by [`Clip::load`].
    ///
    /// # Errors
    /// [`Error::Weights`] when they are not those of a CLIP with a vision transformer, or nothing says its activation.
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>, path: &Path) -> Result<Self> {
        Self::of_tensors(tensors, path, None)
    }

    fn of_tensors(tensors: BTreeMap<String, Tensor>, path: &Path, mut activation: Option<Activation>) -> Result<Self> {
        let tensors = unwrapped(&tensors, |name| FIRST_LAYERS.contains(&name)).unwrap_or(tensors);
        let is_openai = openai::is_openai(&tensors);
        // OpenAI's own code keeps the sizes beside the weights, and knows one activation.
        if activation.is_none() && is_openai && tensors.contains_key("input_resolution") {
            activation = Some(Activation::QuickGelu);
        }
        let tensors = if is_openai { openai::renamed(tensors, path)? } else { tensors };
        let mut config = match published::beside(path, is_openai)? {
            Beside::Transformers(config) => {
                activation = activation.or(Some(config.activation));
                config
            }
            Beside::OpenClip(settings) => {
                let config = settings.applied(recognise(&tensors, path)?)?;
                activation = activation.or(Some(config.activation));
                config
            }
            Beside::Nothing => recognise(&tensors, path)?,
        };
        config.activation = activation.unwrap_or(config.activation);
        let clip = Self::assigned(&config, &tensors, path)?;
        if let Some(name) = tensors.keys().find(|name| clip.weights.get(name).is_none() && !is_buffer(name)) {
            return Err(unfit(path, format!("this CLIP computes with {name}, which is not known here")));
        }
        match activation {
            Some(_) => Ok(clip),
            None => Err(Error::Weights {
                path: path.into(),
                problem: "nothing says whether this CLIP computes with QuickGELU or with GELU, and its weights do not show it"
                    .to_string(),
                help: "Put the open_clip_config.json or config.json that was published with it beside it (`{\"quick_gelu\": true}` is \
                       enough, or false), or name the activation with `Clip::load_with_activation`. OpenAI's own weights are for QuickGELU, open_clip's for GELU unless its \
                       configuration says `\"quick_gelu\": true`."
                    .to_string(),
            }),
        }
    }

    fn assigned(config: &ClipConfig, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<Self> {
        let mut clip = Self::with(config, Weights::to_assign(Device::Cpu))?;
        clip.weights.assign(tensors, path)?;
        Ok(clip)
    }
}

/// A weight that every CLIP has, in each of the ways to name it.
const FIRST_LAYERS: [&str; 3] =
    ["visual.conv1.weight", "visual.layer1.0.conv1.weight", "vision_model.embeddings.patch_embedding.weight"];

/// What files hold beside the weights and can be computed.
fn is_buffer(name: &str) -> bool {
    name.ends_with(".position_ids") || name == "attn_mask"
}

/// The activation in the code of a TorchScript archive.
fn of_code(metadata: &serde_json::Value) -> Option<Activation> {
    let functions = metadata.get(TORCH_SCRIPT)?.as_array()?;
    let calls = |name: &str| functions.iter().any(|function| function == name);
    // OpenAI's archives write QuickGELU out: x · sigmoid(1.702 x).
    Some(if calls("gelu") { Activation::Gelu } else { Activation::QuickGelu })
}

/// What files of this project say of a CLIP.
#[derive(Deserialize)]
struct OwnDescription {
    clip: ClipConfig,
}

pub(super) fn unfit(path: &Path, problem: impl Into<String>) -> Error {
    Error::Weights {
        path: path.into(),
        problem: problem.into(),
        help: "Give the weights of a CLIP with a vision transformer: Hugging Face's model.safetensors, OpenAI's ViT-*.pt, or \
               the folder of a run of `captionlab train clip`."
            .to_string(),
    }
}

/// The file itself, or in a folder the first there is.
pub(crate) fn find(path: &Path) -> Result<PathBuf> {
    const NAMES: [&str; 8] = [
        "checkpoint.safetensors",
        "model.safetensors",
        "model.safetensors.index.json",
        "open_clip_model.safetensors",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "open_clip_pytorch_model.bin",
        "ViT-B-32.pt",
    ];
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let found = NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| unfit(path, format!("the folder holds no {}", NAMES.join(" and no "))))
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
