//! Weights in PyTorch's formats.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use pytorch_reader::{DType, MAX_PICKLE_SIZE, PickleValue, PytorchError, PytorchReader};
use tch::{Kind, Tensor};
use zip::ZipArchive;

use super::pickle::{Refusal, check_globals, is_of_tensors};
use super::read::Container;
use super::torch_script;
use crate::{Error, Result};

/// Keys under which checkpoints keep the network's weights; the first that exists wins. Averaged weights (EMA) come last, because
/// the plain ones may stand beside them.
const WEIGHTS_KEYS: [&str; 22] = [
    "state_dict",
    "model_state_dict",
    "model",
    "model_state",
    "model_states",
    "model_dict",
    "net",
    "net_state_dict",
    "network",
    "network_state_dict",
    "module",
    "weights",
    "params",
    "parameters",
    "checkpoint",
    "ema",
    "ema_state_dict",
    "model_ema",
    "state_dict_ema",
    "ema_model",
    "params_ema",
    "shadow",
];

/// Prefixes of the keys under which checkpoints keep training state: tensors, but not weights.
const TRAINING_KEYS: [&str; 6] = ["optim", "scheduler", "lr_sched", "scaler", "grad_scaler", "callbacks"];

/// Number of pickles in the format before zip: magic number, protocol, system, weights, storage keys.
const STREAM_PICKLES: usize = 5;

/// Reads named tensors from a file written by PyTorch; for TorchScript also the functions that its code calls.
pub(super) fn read(path: &Path, container: Container) -> Result<(BTreeMap<String, Tensor>, serde_json::Value)> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    match container {
        Container::Zip => {
            let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(path, error))?;
            let names: Vec<String> = archive.file_names().map(str::to_string).collect();
            // The same root folder that the reader picks.
            let pickles = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
            let roots = pickles.filter(|root| root.is_empty() || root.ends_with('/'));
            let Some(root) = roots.min_by_key(|root| root.len()) else {
                return Err(problem(
                    path,
                    "this zip archive holds no weights",
                    "Unpack it and name the weights file in it.",
                ));
            };
            let is_here = |name: &str| names.iter().any(|other| *other == format!("{root}{name}"));
            if is_here("constants.pkl") && names.iter().any(|name| name.starts_with(&format!("{root}code/"))) {
                return torch_script::read(path, &mut archive, root);
            }
            let pickle = archive.by_name(&format!("{root}data.pkl")).map_err(|error| broken(path, error))?;
            check(path, &mut BufReader::new(pickle.take(MAX_PICKLE_SIZE)), is_of_tensors)?;
        }
        Container::Stream => {
            let mut file = BufReader::new(file);
            for _ in 0..STREAM_PICKLES {
                check(path, &mut file, is_of_tensors)?;
            }
        }
        Container::Pickle => {
            check(path, &mut BufReader::new(file), is_of_tensors)?;
            return Err(problem(
                path,
                "this pickle holds no tensors",
                "Save weights with `torch.save` or as safetensors.",
            ));
        }
    }
    let stored = stored(path).map_err(|error| broken(path, error))?;
    if stored.is_empty() {
        return Err(problem(
            path,
            "this file holds no tensors",
            "Save the weights with `torch.save(model.state_dict(), …)`.",
        ));
    }
    let mut tensors = BTreeMap::new();
    for (name, tensor) in stored {
        let Some(kind) = kind_of(tensor.dtype()) else {
            let found = format!("{name} has the unsupported dtype {:?}", tensor.dtype());
            return Err(problem(path, &found, "Convert it to another dtype and save the file again."));
        };
        let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
        let bytes = tensor.read().map_err(|error| broken(path, error))?;
        tensors.insert(name, Tensor::f_from_data_size(&bytes, &shape, kind)?);
    }
    Ok((tensors, serde_json::Value::Null))
}

/// The ids of words in a checkpoint: the first of these keys that holds a dictionary of whole numbers; `None` where there is none.
/// [`read`] has to have passed the file.
pub(crate) fn read_word_ids(path: &Path, keys: &[&str]) -> Result<Option<BTreeMap<String, i64>>> {
    let content = PytorchReader::read_pickle_data(path, None).map_err(|error| broken(path, error))?;
    let PickleValue::Dict(entries) = content else { return Ok(None) };
    let number = |(word, id): (&String, &PickleValue)| match id {
        PickleValue::Int(id) => Some((word.clone(), *id)),
        _ => None,
    };
    Ok(keys.iter().find_map(|key| match entries.get(*key) {
        Some(PickleValue::Dict(words)) => words.iter().map(number).collect(),
        _ => None,
    }))
}

/// The network's tensors by name, not yet loaded.
fn stored(path: &Path) -> std::result::Result<BTreeMap<String, pytorch_reader::Tensor>, PytorchError> {
    let all = PytorchReader::new(path)?.into_tensors();
    let content = PytorchReader::read_pickle_data(path, None)?;
    let (prefix, weights) = weights_in(&content);
    let training: Vec<String> = match weights {
        PickleValue::Dict(entries) => entries
            .iter()
            .filter(|(key, value)| is_of_training(key) && !matches!(value, PickleValue::Unsupported(_)))
            .map(|(key, _)| key.clone())
            .collect(),
        _ => Vec::new(),
    };
    let own = all.into_iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(&prefix)?;
        let is_of_training =
            training.iter().any(|key| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
        (!is_of_training).then(|| (name.to_string(), tensor))
    });
    Ok(own.collect())
}

/// The dictionary of a checkpoint that holds the network's weights, and the prefix of their names.
fn weights_in(content: &PickleValue) -> (String, &PickleValue) {
    let (mut prefix, mut here) = (String::new(), content);
    while let PickleValue::Dict(entries) = here
        // A network may name a parameter like one of these keys, so the value must be a dictionary.
        && let Some((key, inside)) = WEIGHTS_KEYS.iter().find_map(|key| {
            entries.get(*key).filter(|inside| matches!(inside, PickleValue::Dict(_)) && holds_tensors(inside)).map(|inside| (key, inside))
        })
    {
        prefix += &format!("{key}.");
        here = inside;
    }
    (prefix, here)
}

fn holds_tensors(content: &PickleValue) -> bool {
    match content {
        PickleValue::Dict(entries) => entries.values().any(holds_tensors),
        PickleValue::List(values) => values.iter().any(holds_tensors),
        PickleValue::Unsupported(kind) => kind == "torch.Tensor",
        _ => false,
    }
}

fn is_of_training(key: &str) -> bool {
    TRAINING_KEYS.iter().any(|beginning| key.starts_with(beginning))
}

fn kind_of(kind: DType) -> Option<Kind> {
    Some(match kind {
        DType::F64 => Kind::Double,
        DType::F32 => Kind::Float,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        DType::I64 => Kind::Int64,
        DType::I32 => Kind::Int,
        DType::I16 => Kind::Int16,
        DType::I8 => Kind::Int8,
        DType::U8 => Kind::Uint8,
        DType::Bool => Kind::Bool,
        DType::U16 | DType::U32 | DType::U64 => return None,
    })
}

/// Refuses a pickle that names anything not `allowed`.
pub(super) fn check(path: &Path, pickle: &mut impl BufRead, allowed: fn(&str, &str) -> bool) -> Result<()> {
    check_globals(pickle, allowed).map_err(|refusal| match refusal {
        Refusal::Global(name) => problem(
            path,
            &format!("the file asks for the Python name {name}, which could run code and is not what weights are made of"),
            "Nothing was run. If you trust its source, open it there and save only the weights: `torch.save(model.state_dict(), …)`, or \
             of a checkpoint `torch.save(torch.load(…, weights_only=False)[\"model\"], …)`, with the key that they are under.",
        ),
        Refusal::Broken(found) => broken(path, found),
    })
}

pub(super) fn problem(path: &Path, problem: &str, help: &str) -> Error {
    Error::Weights { path: path.into(), problem: problem.to_string(), help: help.to_string() }
}

pub(super) fn broken(path: &Path, found: impl std::fmt::Display) -> Error {
    problem(
        path,
        &format!("not a complete PyTorch file: {found}"),
        "Check that it was downloaded or copied completely.",
    )
}

pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::file(path, "read the weights", error, "Check the path.")
}
