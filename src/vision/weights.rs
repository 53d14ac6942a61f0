//! Named weights: made from a seed, read from and written to `safetensors`.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};
use tch::{Device, Kind, Tensor};

use crate::data::Random;
use crate::files::write_whole;
use crate::{Error, Result};

/// The metadata entry under which this project keeps what belongs to the weights: one JSON text, so that equal weights
/// make equal files.
const METADATA: &str = "captionlab";

/// The weights of a network by name, in the style of published checkpoints (`lstm.weight_ih_l0`).
///
/// A network asks for its weights one by one and keeps the tensors it gets; they share memory with the ones here, so
/// loading or optimising here changes the network.
///
/// Each weight is drawn from its own seeded sequence, chosen by its name: adding a layer leaves the others as they were.
#[derive(Debug)]
pub struct Weights {
    seed: u64,
    device: Device,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    tensor: Tensor,
    trainable: bool,
}

impl Weights {
    /// No weights yet; those to come are drawn from `seed` and live on `device`.
    pub fn new(seed: u64, device: Device) -> Self {
        Self { seed, device, entries: BTreeMap::new() }
    }

    /// The device that the weights live on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// A trainable weight of the given shape, drawn uniformly from `-bound..bound`.
    pub fn uniform(&mut self, name: &str, shape: &[i64], bound: f64) -> Tensor {
        let mut random = Random::stream(self.seed, name_hash(name));
        let bound = bound as f32;
        let count = shape.iter().product::<i64>().max(0) as usize;
        let values: Vec<f32> = (0..count).map(|_| random.between(-bound, bound)).collect();
        self.insert(name, Tensor::from_slice(&values).reshape(shape), true)
    }

    /// A trainable weight for a layer that a ReLU follows (He et al. 2015): uniform, and bounded by `√(6 ÷ inputs)`.
    pub fn for_relu(&mut self, name: &str, shape: &[i64]) -> Tensor {
        let inputs: i64 = shape.iter().skip(1).product();
        self.uniform(name, shape, (6.0 / inputs.max(1) as f64).sqrt())
    }

    /// A weight that starts with one value everywhere. What is not `trainable` (running means and variances) is kept
    /// and saved, but no optimiser changes it.
    pub fn constant(&mut self, name: &str, shape: &[i64], value: f64, trainable: bool) -> Tensor {
        self.insert(name, Tensor::full(shape, value, (Kind::Float, Device::Cpu)), trainable)
    }

    fn insert(&mut self, name: &str, tensor: Tensor, trainable: bool) -> Tensor {
        let tensor = tensor.to_device(self.device).set_requires_grad(trainable);
        let handle = tensor.shallow_clone();
        self.entries.insert(name.to_string(), Entry { tensor, trainable });
        handle
    }

    /// The weight of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.get(name).map(|entry| &entry.tensor)
    }

    /// All weights with their names, in the order of the names.
    pub fn named(&self) -> Vec<(String, Tensor)> {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.tensor.shallow_clone())).collect()
    }

    /// The weights that an optimiser changes, in the order of their names.
    pub fn trainable(&self) -> Vec<(String, Tensor)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.trainable)
            .map(|(name, entry)| (name.clone(), entry.tensor.shallow_clone()))
            .collect()
    }

    /// How many numbers an optimiser changes.
    pub fn trainable_count(&self) -> usize {
        self.entries.values().filter(|entry| entry.trainable).map(|entry| entry.tensor.numel()).sum()
    }

    /// Replaces the values by those of `tensors`, which may hold more than is asked for. The kind of number stays ours.
    ///
    /// # Errors
    /// [`Error::Weights`] names the first weight that is missing or of another shape; nothing has been replaced then.
    pub fn assign(&mut self, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
        self.assign_prefix("", tensors, path)
    }

    /// As [`Weights::assign`], for the weights alone whose names begin with `prefix`.
    ///
    /// # Errors
    /// As [`Weights::assign`].
    pub fn assign_prefix(&mut self, prefix: &str, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
        for (name, entry) in self.entries.iter().filter(|(name, _)| name.starts_with(prefix)) {
            let problem = match tensors.get(name) {
                None => format!("the weight {name} is missing"),
                Some(given) if given.size() != entry.tensor.size() => {
                    format!("the weight {name} is {:?}, and the model needs {:?}", given.size(), entry.tensor.size())
                }
                Some(_) => continue,
            };
            let help = "Use the file with the configuration that it was written with.".to_string();
            return Err(Error::Weights { path: path.into(), problem, help });
        }
        tch::no_grad(|| -> Result<()> {
            for (name, entry) in self.entries.iter_mut().filter(|(name, _)| name.starts_with(prefix)) {
                if let Some(given) = tensors.get(name) {
                    entry.tensor.f_copy_(given)?;
                }
            }
            Ok(())
        })
    }
}

/// FNV-1a: a fixed hash, which the standard library's is not.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// A tensor as the bytes that `safetensors` wants.
struct Stored {
    kind: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.kind
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes named tensors whole, with `metadata` (JSON) beside them in the file. `safetensors.torch.load_file` opens it.
///
/// # Errors
/// [`Error::File`] when the file cannot be written, [`Error::Weights`] for a kind of number that the format lacks.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)], metadata: &serde_json::Value) -> Result<()> {
    let problem = |problem: String| Error::Weights {
        path: path.into(),
        problem,
        help: "Report this: it is a fault of captionlab.".to_string(),
    };
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (kind, width) = match tensor.kind() {
            Kind::Float => (Dtype::F32, 4),
            Kind::Double => (Dtype::F64, 8),
            Kind::Int64 => (Dtype::I64, 8),
            Kind::Uint8 => (Dtype::U8, 1),
            other => return Err(problem(format!("{name} holds numbers of kind {other:?}"))),
        };
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let count = tensor.numel();
        let mut bytes = vec![0; count * width];
        tensor.f_copy_data_u8(&mut bytes, count)?;
        let shape = tensor.size().iter().map(|&size| size as usize).collect();
        stored.push((name.as_str(), Stored { kind, shape, bytes }));
    }
    let metadata = HashMap::from([(METADATA.to_string(), metadata.to_string())]);
    let bytes = safetensors::serialize(stored, &Some(metadata)).map_err(|error| problem(error.to_string()))?;
    write_whole(path, "write the weights", &bytes)
}

/// Reads what [`write_tensors`] or any other program wrote: the tensors by name, and our metadata (`Null` where a file
/// of another program has none).
///
/// # Errors
/// [`Error::File`] when the file cannot be read, [`Error::Weights`] when it is not a whole `safetensors` file.
pub fn read_tensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, serde_json::Value)> {
    let bytes = std::fs::read(path)
        .map_err(|source| Error::file(path, "read the weights", source, "Check the path; a run writes this file."))?;
    let problem = |problem: String| Error::Weights {
        path: path.into(),
        problem: format!("not a safetensors file: {problem}"),
        help: "Check that the file was copied whole.".to_string(),
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| problem(error.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| problem(error.to_string()))?;
    let metadata = match header.metadata().as_ref().and_then(|entries| entries.get(METADATA)) {
        Some(text) => serde_json::from_str(text).map_err(|error| problem(format!("its metadata: {error}")))?,
        None => serde_json::Value::Null,
    };
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::I64 => Kind::Int64,
            Dtype::I32 => Kind::Int,
            Dtype::U8 => Kind::Uint8,
            Dtype::BOOL => Kind::Bool,
            other => return Err(problem(format!("{name} holds numbers of kind {other:?}, which are not known here"))),
        };
        let shape: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        tensors.insert(name.to_string(), Tensor::f_from_data_size(view.data(), &shape, kind)?);
    }
    Ok((tensors, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Weights {
        let mut weights = Weights::new(1, Device::Cpu);
        let _ = weights.uniform("output.weight", &[3, 4], 0.5);
        let _ = weights.constant("norm.running_mean", &[3], 0.0, false);
        weights
    }

    #[test]
    fn a_weight_depends_on_seed_and_name_alone() {
        let mut more = Weights::new(1, Device::Cpu);
        let _ = more.uniform("word_embedding.weight", &[7, 4], 0.5);
        let again = more.uniform("output.weight", &[3, 4], 0.5);
        assert_eq!(example().get("output.weight"), Some(&again));
        assert_ne!(Weights::new(2, Device::Cpu).uniform("output.weight", &[3, 4], 0.5), again);
        assert!(again.abs().max().double_value(&[]) <= 0.5);
    }

    #[test]
    fn what_was_written_is_read_again_and_changes_the_network_that_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let saved = example();
        write_tensors(&path, &saved.named(), &serde_json::json!({"hidden": 4})).unwrap();
        let (tensors, metadata) = read_tensors(&path).unwrap();
        assert_eq!(metadata["hidden"], 4);
        let mut loaded = Weights::new(9, Device::Cpu);
        let held = loaded.uniform("output.weight", &[3, 4], 0.5);
        loaded.assign(&tensors, &path).unwrap();
        assert_eq!(&held, saved.get("output.weight").unwrap());
        assert!(held.requires_grad());
    }

    #[test]
    fn weights_that_do_not_fit_are_named() {
        let tensors: BTreeMap<_, _> = example().named().into_iter().collect();
        let mut other = Weights::new(1, Device::Cpu);
        let _ = other.uniform("output.weight", &[5, 4], 0.5);
        let message = other.assign(&tensors, Path::new("file.safetensors")).unwrap_err().to_string();
        assert!(message.contains("output.weight is [3, 4], and the model needs [5, 4]"), "{message}");
        let mut more = Weights::new(1, Device::Cpu);
        let _ = more.uniform("lstm.weight_hh_l0", &[5, 4], 0.5);
        let message = more.assign(&tensors, Path::new("file.safetensors")).unwrap_err().to_string();
        assert!(message.contains("lstm.weight_hh_l0 is missing"), "{message}");
    }

    #[test]
    fn a_file_that_is_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        write_tensors(&path, &example().named(), &serde_json::Value::Null).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 4, 20, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(read_tensors(&path).is_err(), "{length} bytes were taken for a whole file");
        }
    }
}
