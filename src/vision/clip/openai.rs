//! Conversion of OpenAI's names to Hugging Face's.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Tensor;

use crate::{Error, Result};

/// Replacements within names.
const PIECES: [(&str, &str); 11] = [
    ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    ("ln_final.", "text_model.final_layer_norm."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
];

/// Replacements of whole names.
const NAMES: [(&str, &str); 5] = [
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("visual.proj", "visual_projection.weight"),
    ("text_projection", "text_projection.weight"),
];

/// Whether the tensors have OpenAI's names, which open_clip uses too.
pub(super) fn is_openai(tensors: &BTreeMap<String, Tensor>) -> bool {
    tensors.keys().any(|name| name.starts_with("visual."))
}

/// Renames tensors to Hugging Face's `CLIPModel`: splits query, key and value, transposes projections.
///
/// # Errors
/// [`Error::Weights`] when the image tower is a ResNet, or query, key and value cannot be split.
pub(super) fn renamed(tensors: BTreeMap<String, Tensor>, path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let problem = |problem: String| Error::Weights {
        path: path.into(),
        problem,
        help: "Give a CLIP with a vision transformer, such as ViT-B/32.".to_string(),
    };
    if tensors.keys().any(|name| name.starts_with("visual.layer1.")) {
        return Err(problem("the image tower of this CLIP is a ResNet".into()));
    }
    // open_clip prefixes the text tower in some models.
    let is_apart = tensors.contains_key("text.token_embedding.weight");
    let mut renamed = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = match name.strip_prefix("text.") {
            Some(rest) if is_apart => rest.to_string(),
            _ => name,
        };
        // Sizes stored as tensors.
        if ["input_resolution", "context_length", "vocab_size"].contains(&name.as_str()) {
            continue;
        }
        if let Some((_, new)) = NAMES.iter().find(|(old, _)| *old == name) {
            let is_projection = new.ends_with("_projection.weight");
            renamed.insert(new.to_string(), if is_projection { tensor.f_transpose(0, -1)? } else { tensor });
            continue;
        }
        let mut new = name.clone();
        for (old, piece) in PIECES {
            match old.starts_with('.') {
                true => new = new.replace(old, piece),
                false => new = new.strip_prefix(old).map_or(new.clone(), |rest| format!("{piece}{rest}")),
            }
        }
        match new.split_once(".attn.") {
            Some((layer, "in_proj_weight")) => split(&mut renamed, layer, "weight", &tensor),
            Some((layer, "in_proj_bias")) => split(&mut renamed, layer, "bias", &tensor),
            Some((layer, rest)) => {
                renamed.insert(format!("{layer}.self_attn.{rest}"), tensor);
                Ok(())
            }
            None => {
                renamed.insert(new, tensor);
                Ok(())
            }
        }
        .map_err(|shape| problem(format!("the tensor {name} is {shape:?} and cannot be split in three")))?;
    }
    Ok(renamed)
}

/// Splits a fused query–key–value tensor; returns its shape if that is not possible.
fn split(to: &mut BTreeMap<String, Tensor>, layer: &str, kind: &str, fused: &Tensor) -> Result<(), Vec<i64>> {
    let shape = fused.size();
    if shape.is_empty() || shape[0] % 3 != 0 {
        return Err(shape);
    }
    for (part, name) in fused.chunk(3, 0).into_iter().zip(["q_proj", "k_proj", "v_proj"]) {
        to.insert(format!("{layer}.self_attn.{name}.{kind}"), part);
    }
    Ok(())
}
