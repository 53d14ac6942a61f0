//! The names that OpenAI gave the weights, and what became of them.

use std::collections::BTreeMap;
use std::path::Path;

use tch::Tensor;

use crate::{Error, Result};

/// Names that are the same but for these pieces.
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

/// Whole names.
const NAMES: [(&str, &str); 5] = [
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("visual.proj", "visual_projection.weight"),
    ("text_projection", "text_projection.weight"),
];

/// Whether these are OpenAI's names, which open_clip uses too.
pub(super) fn is_openai(tensors: &BTreeMap<String, Tensor>) -> bool {
    tensors.keys().any(|name| name.starts_with("visual."))
}

/// The same weights under the names of Hugging Face's `CLIPModel`: query, key and value one by one, projections turned over.
///
/// # Errors
/// [`Error::Weights`] when the pictures are looked at by a ResNet, or query, key and value cannot be told apart.
pub(super) fn renamed(tensors: BTreeMap<String, Tensor>, path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let problem = |problem: String| Error::Weights {
        path: path.into(),
        problem,
        help: "Give a CLIP with a vision transformer, such as ViT-B/32.".to_string(),
    };
    if tensors.keys().any(|name| name.starts_with("visual.layer1.")) {
        return Err(problem("this CLIP looks at pictures with a ResNet".into()));
    }
    // open_clip keeps the text tower apart in models that it makes of parts.
    let is_apart = tensors.contains_key("text.token_embedding.weight");
    let mut renamed = BTreeMap::new();
    for (name, tensor) in tensors {
        let name = match name.strip_prefix("text.") {
            Some(rest) if is_apart => rest.to_string(),
            _ => name,
        };
        // Sizes, kept as tensors.
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
        .map_err(|shape| problem(format!("the weight {name} is {shape:?}, and cannot be split in three")))?;
    }
    Ok(renamed)
}

/// Query, key and value, which lie above one another; or the shape, where they do not.
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
