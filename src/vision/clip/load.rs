//! Loading of published weights and of captionlab's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tch::{Device, Tensor};

use super::published::{self, Beside};
use super::{Activation, Clip, ClipConfig, ClipImageConfig, ClipTextConfig, TransformerConfig, openai};
use crate::nn::{TORCH_SCRIPT, Weights, read_weights_and_metadata, unwrapped};
use crate::{Error, Result};

impl Clip {
    /// Loads a CLIP onto the CPU from
    /// - Hugging Face's `model.safetensors` with its `config.json`;
    /// - OpenAI's archives (`ViT-B-32.pt`), with the feature `pytorch`;
    /// - open_clip's weights, safetensors or state dicts, with the `open_clip_config.json` or `config.json` beside them;
    /// - a file saved by captionlab, or the last checkpoint of a run;
    /// - a folder with one of these.
    ///
    /// Where no configuration names them, sizes are inferred from the weights, with 64 dimensions per head as in all of OpenAI's
    /// models. The activation cannot be inferred: where no file names it, use [`Clip::load_with_activation`]. Half precision becomes
    /// single.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read; [`Error::Weights`] when it does not hold a CLIP with a vision transformer, its
    /// activation is unknown, or its configuration has unsupported settings.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_as(path.as_ref(), None)
    }

    /// As [`Clip::load`], with an activation that overrides the files'.
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

    /// Builds a CLIP from tensors named as in Hugging Face's or OpenAI's files. `path` is their origin: as in [`Clip::load`], a
    /// configuration beside it is used.
    ///
    /// # Errors
    /// [`Error::Weights`] when they are not those of a CLIP with a vision transformer, or the activation is unknown.
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>, path: &Path) -> Result<Self> {
        Self::of_tensors(tensors, path, None)
    }

    fn of_tensors(tensors: BTreeMap<String, Tensor>, path: &Path, mut activation: Option<Activation>) -> Result<Self> {
        let tensors = unwrapped(&tensors, |name| FIRST_LAYERS.contains(&name)).unwrap_or(tensors);
        let is_openai = openai::is_openai(&tensors);
        // OpenAI's code stores sizes as tensors, and has one activation only.
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
            return Err(unfit(path, format!("this CLIP uses {name}, which is not supported")));
        }
        match activation {
            Some(_) => Ok(clip),
            None => Err(Error::Weights {
                path: path.into(),
                problem: "nothing says whether this CLIP uses QuickGELU or GELU, and its weights do not show it"
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

/// A tensor that every CLIP has, in each naming scheme.
const FIRST_LAYERS: [&str; 3] =
    ["visual.conv1.weight", "visual.layer1.0.conv1.weight", "vision_model.embeddings.patch_embedding.weight"];

/// Buffers that files contain but that can be computed.
fn is_buffer(name: &str) -> bool {
    name.ends_with(".position_ids") || name == "attn_mask"
}

/// The activation used by the code of a TorchScript archive.
fn of_code(metadata: &serde_json::Value) -> Option<Activation> {
    let functions = metadata.get(TORCH_SCRIPT)?.as_array()?;
    let calls = |name: &str| functions.iter().any(|function| function == name);
    // OpenAI's archives spell QuickGELU out: x · sigmoid(1.702 x).
    Some(if calls("gelu") { Activation::Gelu } else { Activation::QuickGelu })
}

/// The description of a CLIP in files of this project.
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

// --- sizes inferred from the weights ---

fn recognise(tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<ClipConfig> {
    let shape = |name: &str, dimensions: usize| -> Result<Vec<usize>> {
        let shape = tensors.get(name).map(Tensor::size);
        let shape =
            shape.ok_or_else(|| unfit(path, format!("these are not the weights of a CLIP: {name} is missing")))?;
        match shape.len() == dimensions {
            true => Ok(shape.iter().map(|&size| size as usize).collect()),
            false => {
                Err(unfit(path, format!("the tensor {name} is {shape:?}, but {dimensions} dimensions are expected")))
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
    config.validate().map_err(|error| unfit(path, format!("its tensors have sizes that no CLIP can have: {error}")))?;
    Ok(config)
}
