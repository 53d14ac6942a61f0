//! Configurations published beside weights, with the settings that shapes do not show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::load::unfit;
use super::{Activation, ClipConfig, ClipImageConfig, ClipTextConfig, TransformerConfig};
use crate::data::Preprocess;
use crate::{Error, Result};

/// The configuration beside a weights file.
pub(super) enum Beside {
    /// The `config.json` of transformers.
    Transformers(ClipConfig),
    /// The `open_clip_config.json` of open_clip.
    OpenClip(OpenClip),
    /// There is none.
    Nothing,
}

const NAMES: [&str; 2] = ["config.json", "open_clip_config.json"];

/// Whether a file that may be a configuration lies beside a file of weights.
pub(crate) fn lies_beside(path: &Path) -> bool {
    NAMES.iter().any(|name| path.with_file_name(name).is_file())
}

/// Reads the configuration beside a file of weights: of two that one that is written with weights of these names.
pub(super) fn beside(path: &Path, is_openai: bool) -> Result<Beside> {
    let mut names = NAMES;
    if is_openai {
        names.reverse();
    }
    for name in names {
        let path = path.with_file_name(name);
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path)
            .map_err(|source| Error::file(&path, "read the configuration", source, "Check that you may read it."))?;
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        let content: Value = serde_json::from_slice(bytes)
            .map_err(|error| unfit(&path, format!("not the configuration of a CLIP: {error}")))?;
        let has = |key: &str| content.get(key).is_some();
        // Other programs use these names too: ignore configurations of other models.
        if has("text_config") || has("vision_config") || content["model_type"] == "clip" {
            check_preprocessing(path.with_file_name("preprocessor_config.json"))?;
            return of_transformers(&path, &content).map(Beside::Transformers);
        }
        if has("model_cfg") || has("vision_cfg") || has("quick_gelu") {
            return OpenClip::read(&path, &content).map(Beside::OpenClip);
        }
    }
    Ok(Beside::Nothing)
}

/// Refuses a model that expects images in another normalisation.
fn check_preprocessing(path: PathBuf) -> Result<()> {
    let Ok(bytes) = std::fs::read(&path) else { return Ok(()) };
    let content: Value = serde_json::from_slice(&bytes)
        .map_err(|error| unfit(&path, format!("this preprocessing configuration cannot be read: {error}")))?;
    check_colours(&path, &content["image_mean"], &content["image_std"])
}

fn check_colours(path: &Path, mean: &Value, deviation: &Value) -> Result<()> {
    let ours = Preprocess::clip();
    for (name, ours, theirs) in [("mean", ours.mean, mean), ("standard deviation", ours.standard_deviation, deviation)]
    {
        let is_ours = |theirs: &Vec<Value>| {
            theirs.len() == ours.len()
                && theirs
                    .iter()
                    .zip(ours)
                    .all(|(theirs, ours)| theirs.as_f64().is_some_and(|theirs| (theirs - f64::from(ours)).abs() < 1e-3))
        };
        if !theirs.is_null() && !theirs.as_array().is_some_and(is_ours) {
            return Err(unfit(path, format!("its pictures need the {name} {theirs}, but only {ours:?} is supported")));
        }
    }
    Ok(())
}

// --- transformers ---

#[derive(Deserialize)]
struct PublishedConfig {
    projection_dim: Option<usize>,
    #[serde(default)]
    text_config: PublishedText,
    #[serde(default)]
    vision_config: PublishedVision,
}

/// Defaults are those of ViT-B/32, as in transformers.
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

fn of_transformers(path: &Path, content: &Value) -> Result<ClipConfig> {
    let problem = |problem: String| unfit(path, format!("not the configuration of a CLIP: {problem}"));
    let PublishedConfig { projection_dim, text_config: text, vision_config: vision } =
        PublishedConfig::deserialize(content).map_err(|error| problem(error.to_string()))?;
    if text.hidden_act != vision.hidden_act || text.layer_norm_eps != vision.layer_norm_eps {
        return Err(problem("its towers have different activations or normalisations".into()));
    }
    let activation = match text.hidden_act.as_str() {
        "quick_gelu" => Activation::QuickGelu,
        "gelu" => Activation::Gelu,
        other => return Err(problem(format!("the activation {other:?} is not supported"))),
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

// --- open_clip ---

/// The settings of `open_clip_config.json` that the weights do not show, and sizes to check the weights against.
#[derive(Debug)]
pub(super) struct OpenClip {
    path: PathBuf,
    activation: Activation,
    norm_epsilon: f64,
    /// Dimension of an attention head of the image tower.
    head_width: usize,
    text_heads: Option<usize>,
    /// Sizes that the weights show too, by setting.
    sizes: BTreeMap<&'static str, usize>,
}

/// Settings that the weights show, that concern training only, or that belong to the tokenizer.
const SHOWN: [&str; 24] = [
    "embed_dim",
    "image_size",
    "patch_size",
    "layers",
    "width",
    "mlp_ratio",
    "context_length",
    "vocab_size",
    "heads",
    "head_width",
    "norm_kwargs",
    "patch_dropout",
    "custom_text",
    "init_logit_scale",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
    "tokenizer_mode",
    "hf_model_pretrained",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_drop",
    "timm_proj_bias",
    "output_tokens",
];

/// Settings that must have this value if present.
const EXPECTED: [(&str, &str); 5] = [
    ("pool_type", "tok"),
    ("pool_type", "argmax"),
    ("proj_type", "linear"),
    ("pos_embed_type", "learnable"),
    ("hf_proj_type", "linear"),
];

impl OpenClip {
    fn read(path: &Path, content: &Value) -> Result<Self> {
        let model = content.get("model_cfg").unwrap_or(content);
        let (image, text) = (&model["vision_cfg"], &model["text_cfg"]);
        let towers = ["vision_cfg", "text_cfg"];
        for (place, settings) in [("", model), ("vision_cfg.", image), ("text_cfg.", text)] {
            for (name, value) in settings.as_object().into_iter().flatten() {
                let is_off = value.is_null()
                    || *value == false
                    || value.as_f64() == Some(0.0)
                    || value.as_object().is_some_and(|map| map.is_empty());
                let is_known = is_off
                    || name == "quick_gelu"
                    || SHOWN.contains(&name.as_str())
                    || EXPECTED.iter().any(|(known, expected)| known == name && value == expected)
                    || (place.is_empty() && (towers.contains(&name.as_str()) || name == "preprocess_cfg"));
                if !is_known {
                    return Err(unfit(path, format!("the setting {place}{name} = {value} is not supported")));
                }
            }
        }
        let number = |settings: &Value, name: &str| -> Result<Option<usize>> {
            match &settings[name] {
                Value::Null => Ok(None),
                value => match value.as_u64() {
                    Some(number) => Ok(Some(number as usize)),
                    None => Err(unfit(path, format!("the setting {name} is {value} and must be a number"))),
                },
            }
        };
        let epsilon = |settings: &Value| settings["norm_kwargs"]["eps"].as_f64().unwrap_or(1e-5);
        if epsilon(image) != epsilon(text) {
            return Err(unfit(path, "its towers have different normalisations"));
        }
        let quick = [model, image, text].iter().any(|settings| settings["quick_gelu"] == true);
        let preparing = &content["preprocess_cfg"];
        check_colours(path, &preparing["mean"], &preparing["std"])?;
        for (name, expected) in [("interpolation", "bicubic"), ("resize_mode", "shortest")] {
            let value = &preparing[name];
            if !value.is_null() && value != expected {
                return Err(unfit(
                    path,
                    format!("its pictures must be resized with {name} = {value}, which is not supported"),
                ));
            }
        }
        let mut sizes = BTreeMap::new();
        for (settings, name, known) in [
            (model, "embed_dim", "embed_dim"),
            (image, "width", "vision_cfg.width"),
            (image, "patch_size", "vision_cfg.patch_size"),
            (image, "image_size", "vision_cfg.image_size"),
            (image, "layers", "vision_cfg.layers"),
            (text, "width", "text_cfg.width"),
            (text, "layers", "text_cfg.layers"),
            (text, "context_length", "text_cfg.context_length"),
            (text, "vocab_size", "text_cfg.vocab_size"),
        ] {
            if let Some(size) = number(settings, name)? {
                sizes.insert(known, size);
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            activation: if quick { Activation::QuickGelu } else { Activation::Gelu },
            norm_epsilon: epsilon(image),
            head_width: number(image, "head_width")?.unwrap_or(64),
            // open_clip's default.
            text_heads: number(text, "heads")?.or(text.is_object().then_some(8)),
            sizes,
        })
    }

    /// The sizes inferred from the weights, completed by the settings.
    pub(super) fn applied(self, shown: ClipConfig) -> Result<ClipConfig> {
        let (image, text) = (&shown.image, &shown.text);
        for (name, shown) in [
            ("embed_dim", shown.embedding_size),
            ("vision_cfg.width", image.transformer.width),
            ("vision_cfg.patch_size", image.patch_size),
            ("vision_cfg.image_size", image.image_size),
            ("vision_cfg.layers", image.transformer.layers),
            ("text_cfg.width", text.transformer.width),
            ("text_cfg.layers", text.transformer.layers),
            ("text_cfg.context_length", text.context),
            ("text_cfg.vocab_size", text.vocabulary_size),
        ] {
            if let Some(&said) = self.sizes.get(name).filter(|&&said| said != shown) {
                let problem = format!("it says {name} = {said}, but the weights beside it have {shown}");
                return Err(unfit(&self.path, problem));
            }
        }
        let mut config = ClipConfig { activation: self.activation, norm_epsilon: self.norm_epsilon, ..shown };
        let image = &mut config.image.transformer;
        if self.head_width == 0 || !image.width.is_multiple_of(self.head_width) {
            let problem =
                format!("vision_cfg.head_width = {} does not divide the width {}", self.head_width, image.width);
            return Err(unfit(&self.path, problem));
        }
        image.heads = image.width / self.head_width;
        if let Some(heads) = self.text_heads {
            config.text.transformer.heads = heads;
        }
        config.validate().map_err(|error| unfit(&self.path, format!("not the configuration of a CLIP: {error}")))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::nn::write_tensors;
    use crate::vision::Clip;

    /// A folder with the weights of a small CLIP, named as by transformers, and their configuration.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let transformer = || TransformerConfig::new(128, 1, 2);
        let config = ClipConfig {
            image: ClipImageConfig { image_size: 32, patch_size: 16, transformer: transformer() },
            text: ClipTextConfig {
                context: 8,
                vocabulary_size: 20,
                end_token: ClipTextConfig::HIGHEST,
                transformer: transformer(),
            },
            embedding_size: 16,
            ..ClipConfig::tiny()
        };
        let clip = Clip::new(&config, 1, Device::Cpu).unwrap();
        let file = folder.path().join("model.safetensors");
        write_tensors(&file, &clip.weights().named(), &Value::Null).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const TRANSFORMERS: &str = r#"{"projection_dim": 16, "text_config": {"vocab_size": 20, "hidden_size": 128,
        "intermediate_size": 512, "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 8,
        "hidden_act": "ACT", "eos_token_id": 2}, "vision_config": {"hidden_size": 128, "intermediate_size": 512,
        "num_hidden_layers": 1, "num_attention_heads": 8, "image_size": 32, "patch_size": 16, "hidden_act": "ACT"}}"#;

    #[test]
    fn what_shapes_do_not_show_is_read_beside_the_weights() {
        let gelu = TRANSFORMERS.replace("ACT", "gelu");
        let quick = TRANSFORMERS.replace("ACT", "quick_gelu");
        let open = |model: &str| {
            format!(r#"{{"model_cfg": {{"embed_dim": 16, {model}}}, "preprocess_cfg": {{"std": null}}}}"#)
        };
        let heads =
            open(r#""vision_cfg": {"head_width": 32, "layers": 1}, "text_cfg": {"heads": 4}, "quick_gelu": true"#);
        let epsilon = open(
            r#""vision_cfg": {"norm_kwargs": {"eps": 1e-6}}, "text_cfg": {"heads": 2, "norm_kwargs": {"eps": 1e-6}}"#,
        );
        use Activation::{Gelu, QuickGelu};
        type Files<'a> = &'a [(&'a str, &'a str)];
        // The files beside the weights, and the activation, the heads of both towers and the epsilon that they say.
        let cases: [(Files, Activation, [usize; 2], f64); 8] = [
            (&[("config.json", &gelu)], Gelu, [8, 4], 1e-5),
            (&[("config.json", &quick)], QuickGelu, [8, 4], 1e-5),
            (&[("config.json", &format!("\u{FEFF}{gelu}"))], Gelu, [8, 4], 1e-5),
            (&[("open_clip_config.json", r#"{"model_cfg": {}}"#)], Gelu, [2, 2], 1e-5),
            (&[("open_clip_config.json", r#"{"quick_gelu": true}"#)], QuickGelu, [2, 2], 1e-5),
            (&[("open_clip_config.json", &heads)], QuickGelu, [4, 4], 1e-5),
            (&[("open_clip_config.json", &epsilon)], Gelu, [2, 2], 1e-6),
            // Of two, the one of weights with these names; another program's says nothing.
            (&[("config.json", &quick), ("open_clip_config.json", r#"{"model_cfg": {}}"#)], QuickGelu, [8, 4], 1e-5),
        ];
        for (files, activation, heads, epsilon) in cases {
            let folder = folder(files);
            let clip = Clip::load(folder.path()).unwrap_or_else(|error| panic!("{files:?}: {error}"));
            let config = clip.config();
            let found = [config.image.transformer.heads, config.text.transformer.heads];
            assert_eq!((config.activation, found, config.norm_epsilon), (activation, heads, epsilon), "{files:?}");
            // Who knows better is believed.
            for activation in [Gelu, QuickGelu] {
                let clip = Clip::load_with_activation(folder.path(), activation).unwrap();
                assert_eq!(clip.config().activation, activation);
            }
        }
    }

    #[test]
    fn what_is_not_known_is_asked_for_and_never_guessed() {
        let other = TRANSFORMERS.replace("ACT", "gelu_new");
        let mixed = TRANSFORMERS.replacen("ACT", "gelu", 1).replace("ACT", "quick_gelu");
        let gelu = TRANSFORMERS.replace("ACT", "gelu");
        type Files<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Files, &str); 12] = [
            (&[], "nothing says whether this CLIP uses QuickGELU or GELU"),
            (&[("config.json", r#"{"model_type": "bert"}"#)], "nothing says whether"),
            (&[("config.json", &other)], r#"the activation "gelu_new" is not supported"#),
            (&[("config.json", &mixed)], "different activations"),
            (&[("config.json", "{")], "not the configuration of a CLIP"),
            (
                &[("config.json", &gelu), ("preprocessor_config.json", r#"{"image_mean": [0.5, 0.5, 0.5]}"#)],
                "its pictures need the mean [0.5,0.5,0.5]",
            ),
            (
                &[("open_clip_config.json", r#"{"model_cfg": {"vision_cfg": {"pool_type": "avg"}}}"#)],
                "vision_cfg.pool_type",
            ),
            (
                &[("open_clip_config.json", r#"{"model_cfg": {"text_cfg": {"no_causal_mask": true}}}"#)],
                "text_cfg.no_causal_mask",
            ),
            (
                &[("open_clip_config.json", r#"{"model_cfg": {"vision_cfg": {"width": 256}}}"#)],
                "the weights beside it have 128",
            ),
            (&[("open_clip_config.json", r#"{"model_cfg": {"vision_cfg": {"head_width": 48}}}"#)], "head_width = 48"),
            (
                &[(
                    "open_clip_config.json",
                    r#"{"model_cfg": {"vision_cfg": {"act_kwargs": {"approximate": "tanh"}}}}"#,
                )],
                "act_kwargs",
            ),
            (
                &[("open_clip_config.json", r#"{"model_cfg": {}, "preprocess_cfg": {"resize_mode": "squash"}}"#)],
                "resize_mode",
            ),
        ];
        for (files, said) in cases {
            let message = Clip::load(folder(files).path()).expect_err(said).to_string();
            assert!(message.contains(said), "{files:?}: {message}");
        }
    }

    #[test]
    fn weights_that_have_no_place_are_refused() {
        let folder = folder(&[("open_clip_config.json", r#"{"model_cfg": {}}"#)]);
        let file = folder.path().join("model.safetensors");
        let (mut tensors, _) = crate::nn::read_tensors(&file).unwrap();
        let scale = "vision_model.encoder.layers.0.layer_scale1.lambda1";
        for (name, is_refused) in [("vision_model.embeddings.position_ids", false), (scale, true)] {
            tensors.insert(name.to_string(), tch::Tensor::from(1i64));
            let result =
                Clip::from_tensors(tensors.iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect(), &file);
            assert_eq!(result.err().is_some_and(|error| error.to_string().contains(name)), is_refused);
        }
    }

    #[test]
    fn a_prefix_of_all_names_is_passed_over() {
        let folder = folder(&[("open_clip_config.json", r#"{"model_cfg": {}}"#)]);
        let file = folder.path().join("model.safetensors");
        let (tensors, _) = crate::nn::read_tensors(&file).unwrap();
        let wrapped = tensors.into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor)).collect();
        assert!(Clip::from_tensors(wrapped, &file).is_ok());
    }
}
