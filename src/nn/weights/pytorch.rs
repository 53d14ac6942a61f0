//! Weights in the formats of PyTorch.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use pytorch_reader::{DType, MAX_PICKLE_SIZE, PytorchError, PytorchReader};
use tch::{Kind, Tensor};
use zip::ZipArchive;

use super::pickle::{Refusal, check_globals, is_of_tensors};
use super::read::Container;
use super::torch_script;
use crate::{Error, Result};

/// Where checkpoints keep the weights of the network, beside the epoch and the optimiser.
const TOP_LEVEL_KEYS: [&str; 2] = ["state_dict", "model"];

/// The pickles of the format before zip: its number, its version, the machine, the weights, and where the numbers are.
const STREAM_PICKLES: usize = 5;

/// Reads named tensors from a file that PyTorch has written.
pub(super) fn read(path: &Path, container: Container) -> Result<BTreeMap<String, Tensor>> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    match container {
        Container::Zip => {
            let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(path, error))?;
            let names: Vec<String> = archive.file_names().map(str::to_string).collect();
            // The root that the reader takes.
            let pickles = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
            let roots = pickles.filter(|root| root.is_empty() || root.ends_with('/'));
            let Some(root) = roots.min_by_key(|root| root.len()) else {
                return Err(problem(
                    path,
                    "this is a zip archive without weights",
                    "Unpack it and use what is inside.",
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
            let found = format!("{name} holds numbers of kind {:?}, which are not known here", tensor.dtype());
            return Err(problem(path, &found, "Convert them to another kind and save the file again."));
        };
        let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
        let bytes = tensor.read().map_err(|error| broken(path, error))?;
        tensors.insert(name, Tensor::f_from_data_size(&bytes, &shape, kind)?);
    }
    Ok(tensors)
}

/// The tensors of the network by name, whose numbers are not yet read.
fn stored(path: &Path) -> std::result::Result<BTreeMap<String, pytorch_reader::Tensor>, PytorchError> {
    for key in TOP_LEVEL_KEYS {
        match PytorchReader::with_top_level_key(path, key) {
            Ok(reader) if !reader.is_empty() => return Ok(reader.into_tensors().into_iter().collect()),
            // Here, but no dictionary of tensors: a network may call a weight so.
            Ok(_) | Err(PytorchError::KeyNotFound(_) | PytorchError::InvalidFormat(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(PytorchReader::new(path)?.into_tensors().into_iter().collect())
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

/// Refuses a pickle that names what is not `allowed`.
pub(super) fn check(path: &Path, pickle: &mut impl BufRead, allowed: fn(&str, &str) -> bool) -> Result<()> {
    check_globals(pickle, allowed).map_err(|refusal| match refusal {
        Refusal::Global(name) => problem(
            path,
            &format!("the file asks for the Python name {name}, which could run code and is not what weights are made of"),
            "Nothing was run. If you trust its source, open it there and save only the weights: `torch.save(model.state_dict(), …)`.",
        ),
        Refusal::Broken(found) => broken(path, found),
    })
}

pub(super) fn problem(path: &Path, problem: &str, help: &str) -> Error {
    Error::Weights { path: path.into(), problem: problem.to_string(), help: help.to_string() }
}

pub(super) fn broken(path: &Path, found: impl std::fmt::Display) -> Error {
    problem(path, &format!("not a whole file of PyTorch: {found}"), "Check that it was downloaded or copied whole.")
}

pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::file(path, "read the weights", error, "Check the path.")
}
