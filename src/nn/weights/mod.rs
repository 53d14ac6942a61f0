//! Named parameters: initialised from a seed, written as `safetensors`, read from `safetensors` and PyTorch's formats.

mod parts;
#[cfg(feature = "pytorch")]
mod pickle;
#[cfg(feature = "pytorch")]
mod pytorch;
mod read;
mod safetensors_file;
mod shipped;
#[cfg(feature = "pytorch")]
mod torch_script;
mod wrapped;

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

pub(crate) use self::parts::files_of;
#[cfg(feature = "pytorch")]
pub(crate) use self::pytorch::read_word_ids;
pub use self::read::read_weights;
#[cfg(feature = "pytorch")]
pub use self::read::write_safetensors_copy;
pub(crate) use self::read::{TORCH_SCRIPT, is_readable_here, read_weights_and_metadata};
pub(crate) use self::safetensors_file::{FileHeader, parse_header};
pub use self::safetensors_file::{read_tensors, write_tensors};
pub use self::shipped::{DOWNLOADS_FOLDER, MODEL_FILE, downloaded, shipped};
pub(crate) use self::wrapped::unwrapped;
use crate::data::Random;
use crate::{Error, Result};

/// Number of names that a message lists before it counts the rest.
const LISTED: usize = 5;

/// The parameters and buffers of a network by name, as in published checkpoints (`lstm.weight_ih_l0`).
///
/// A network requests its tensors one by one and keeps them. They share memory with those stored here, so loading and optimising
/// change the network.
///
/// Each tensor is initialised from its own random stream, selected by its name: adding a layer does not change the others.
#[derive(Debug)]
pub struct Weights {
    seed: u64,
    device: Device,
    /// Whether tensors are initialised at random; otherwise with 0.
    drawn: bool,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    tensor: Tensor,
    trainable: bool,
}

impl Weights {
    /// An empty store, which initialises from `seed` and allocates on `device`.
    pub fn new(seed: u64, device: Device) -> Self {
        Self { seed, device, drawn: true, entries: BTreeMap::new() }
    }

    /// An empty store that initialises with 0, for weights that [`Weights::assign`] will replace. Saves drawing millions of values.
    pub fn to_assign(device: Device) -> Self {
        Self { drawn: false, ..Self::new(0, device) }
    }

    /// A second handle to the same tensors.
    pub(crate) fn handle(&self) -> Self {
        let entry = |entry: &Entry| Entry { tensor: entry.tensor.shallow_clone(), trainable: entry.trainable };
        let entries = self.entries.iter().map(|(name, own)| (name.clone(), entry(own))).collect();
        Self { entries, ..*self }
    }

    /// The device of the tensors.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Adds a trainable tensor, drawn uniformly from `-bound..bound`.
    pub fn uniform(&mut self, name: &str, shape: &[i64], bound: f64) -> Tensor {
        if !self.drawn {
            return self.constant(name, shape, 0.0, true);
        }
        let mut random = Random::stream(self.seed, name_hash(name));
        let bound = bound as f32;
        let count = shape.iter().product::<i64>().max(0) as usize;
        let values: Vec<f32> = (0..count).map(|_| random.between(-bound, bound)).collect();
        self.insert(name, Tensor::from_slice(&values).reshape(shape), true)
    }

    /// Adds a trainable tensor with Kaiming (He et al. 2015) initialisation for a following ReLU: uniform within `√(6 ÷ fan_in)`.
    pub fn kaiming_uniform(&mut self, name: &str, shape: &[i64]) -> Tensor {
        let inputs: i64 = shape.iter().skip(1).product();
        self.uniform(name, shape, (6.0 / inputs.max(1) as f64).sqrt())
    }

    /// Adds a tensor filled with `value`. Without `trainable` (running means and variances) it is saved, but not optimised.
    pub fn constant(&mut self, name: &str, shape: &[i64], value: f64, trainable: bool) -> Tensor {
        self.insert(name, Tensor::full(shape, value, (Kind::Float, Device::Cpu)), trainable)
    }

    fn insert(&mut self, name: &str, tensor: Tensor, trainable: bool) -> Tensor {
        let tensor = tensor.to_device(self.device).set_requires_grad(trainable);
        let handle = tensor.shallow_clone();
        self.entries.insert(name.to_string(), Entry { tensor, trainable });
        handle
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.get(name).map(|entry| &entry.tensor)
    }

    /// All tensors with their names, sorted by name.
    pub fn named(&self) -> Vec<(String, Tensor)> {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.tensor.shallow_clone())).collect()
    }

    /// The trainable tensors with their names, sorted by name.
    pub fn trainable(&self) -> Vec<(String, Tensor)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.trainable)
            .map(|(name, entry)| (name.clone(), entry.tensor.shallow_clone()))
            .collect()
    }

    /// Freezes the tensors whose names begin with `prefix` and returns their number.
    pub fn freeze(&mut self, prefix: &str) -> usize {
        let frozen = self.entries.iter_mut().filter(|(name, _)| name.starts_with(prefix));
        frozen
            .map(|(_, entry)| {
                entry.trainable = false;
                let _ = entry.tensor.set_requires_grad(false);
            })
            .count()
    }

    /// Number of trainable parameters.
    pub fn trainable_count(&self) -> usize {
        self.entries.values().filter(|entry| entry.trainable).map(|entry| entry.tensor.numel()).sum()
    }

    /// Replaces all values by those of `tensors`, which may hold further tensors. The dtype stays `float32`. A prefix that all names
    /// of the file share, such as the `module.` of `torch.nn.DataParallel`, is ignored.
    ///
    /// # Errors
    /// [`Error::Weights`] lists missing, mis-shaped and unexpected tensors; nothing has been replaced then.
    pub fn assign(&mut self, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
        self.assign_prefix("", tensors, path)
    }

    /// As [`Weights::assign`], only for the tensors whose names begin with `prefix`.
    ///
    /// # Errors
    /// As [`Weights::assign`].
    pub fn assign_prefix(&mut self, prefix: &str, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
        let unwrapped = self.unwrapped(tensors);
        let tensors = unwrapped.as_ref().unwrap_or(tensors);
        if let Some(problem) = self.misfit(prefix, tensors) {
            let asked_for = self.entries.keys().filter(|name| name.starts_with(prefix));
            let (problem, help) = match wrapped::prefix_of(tensors, asked_for) {
                Some(before) => (
                    format!(
                        "all weights of this network are there, with `{before}` before their names and others beside them"
                    ),
                    format!(
                        "Save them alone: `{{name.removeprefix(\"{before}\"): weight for name, weight in weights.items() if \
                         name.startswith(\"{before}\")}}`."
                    ),
                ),
                None => (problem, "Use the file with the configuration that it was saved with.".to_string()),
            };
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

    /// As [`unwrapped`], for the names of this network.
    pub(crate) fn unwrapped(&self, tensors: &BTreeMap<String, Tensor>) -> Option<BTreeMap<String, Tensor>> {
        unwrapped(tensors, |name| self.entries.contains_key(name))
    }

    /// How `tensors` differ from what the network needs; `None` where they fit.
    fn misfit(&self, prefix: &str, tensors: &BTreeMap<String, Tensor>) -> Option<String> {
        let (mut missing, mut reshaped) = (Vec::new(), Vec::new());
        for (name, entry) in self.entries.iter().filter(|(name, _)| name.starts_with(prefix)) {
            match tensors.get(name).map(Tensor::size) {
                None => missing.push(name.clone()),
                Some(given) if given != entry.tensor.size() => {
                    reshaped.push(format!("{name} is {given:?} but must be {:?}", entry.tensor.size()));
                }
                Some(_) => {}
            }
        }
        if missing.is_empty() && reshaped.is_empty() {
            return None;
        }
        let asked_for = |name: &str| !name.starts_with(prefix) || self.entries.contains_key(name);
        let unexpected = tensors.keys().filter(|name| !asked_for(name)).cloned().collect();
        let parts = [("missing", missing), ("wrong shape", reshaped), ("unexpected", unexpected)];
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> = parts.map(|(what, names)| format!("{what}: {}", listed(names))).collect();
        Some(format!("these are the weights of another network. {}", parts.join("; ")))
    }
}

/// The first names, and the number of the others.
fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(LISTED)].join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// FNV-1a: unlike the standard library's hash, it stays the same for ever.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
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

    /// Weights of one value each.
    fn weights(shapes: &[(&str, &[i64])], value: f64) -> Weights {
        let mut weights = Weights::new(1, Device::Cpu);
        for (name, shape) in shapes {
            let _ = weights.constant(name, shape, value, true);
        }
        weights
    }

    #[test]
    fn weights_of_another_network_are_told_apart_and_replace_nothing() {
        let names: Vec<String> = (0..8).map(|number| format!("layer{number}.weight")).collect();
        let layers: Vec<(&str, &[i64])> = names.iter().map(|name| (name.as_str(), &[2i64] as &[i64])).collect();
        let long: Vec<(&str, &[i64])> = names.iter().map(|name| (name.as_str(), &[3i64] as &[i64])).collect();
        type Shapes<'a> = &'a [(&'a str, &'a [i64])];
        // What the network has, what the file has, and what is said of it; nothing where it fits.
        let cases: [(Shapes, Shapes, &[&str]); 9] = [
            (&[("a.b", &[2])], &[("module.a.b", &[2])], &[]),
            (
                &[("a.b", &[2]), ("c", &[2])],
                &[("student.a.b", &[2]), ("student.c", &[2]), ("loss.weight", &[1])],
                &["with `student.` before their names", "name.removeprefix(\"student.\")"],
            ),
            (&[("a", &[2])], &[("a", &[2])], &[]),
            (&[("a", &[2])], &[("a", &[2]), ("adam.m.a", &[2]), ("bn.num_batches_tracked", &[])], &[]),
            (&[("a", &[5, 4])], &[("a", &[3, 4])], &["network. wrong shape: a is [3, 4] but must be [5, 4]. Use the"]),
            (
                &[("a", &[2]), ("b", &[2])],
                &[("a", &[2]), ("c", &[2])],
                &["network. missing: b; unexpected: c. Use the file with the configuration"],
            ),
            (
                &[("a", &[2]), ("b", &[])],
                &[("a", &[1]), ("c", &[2]), ("d", &[2])],
                &["missing: b; wrong shape: a is [1] but must be [2]; unexpected: c, d."],
            ),
            (
                &layers,
                &[],
                &["missing: layer0.weight, layer1.weight, layer2.weight, layer3.weight, layer4.weight and 3 more."],
            ),
            (&layers, &long, &["layer4.weight is [3] but must be [2] and 3 more."]),
        ];
        for (ours, theirs, said) in cases {
            let mut network = weights(ours, 0.0);
            let tensors = weights(theirs, 1.0).named().into_iter().collect();
            let result = network.assign(&tensors, Path::new("file.safetensors"));
            let values: f64 =
                network.named().iter().map(|(_, tensor)| tensor.sum(Kind::Double).double_value(&[])).sum();
            match result {
                Ok(()) => assert!(said.is_empty() && values > 0.0, "{theirs:?} was taken for {ours:?}"),
                Err(error) => {
                    let message = error.to_string();
                    assert!(!said.is_empty() && said.iter().all(|said| message.contains(said)), "{message}");
                    assert_eq!(values, 0.0, "some weights were replaced");
                }
            }
        }
    }

    #[test]
    fn a_prefix_hides_the_rest() {
        let mut network = weights(&[("encoder.weight", &[2]), ("lstm.weight", &[2])], 0.0);
        let tensors = weights(&[("encoder.weight", &[2]), ("words.weight", &[2])], 1.0).named().into_iter().collect();
        network.assign_prefix("encoder.", &tensors, Path::new("file")).unwrap();
        assert_eq!(network.get("encoder.weight").unwrap().double_value(&[0]), 1.0);
        assert_eq!(network.get("lstm.weight").unwrap().double_value(&[0]), 0.0);
        let message = network.assign_prefix("lstm.", &tensors, Path::new("file")).unwrap_err().to_string();
        assert!(message.contains("missing: lstm.weight. Use"), "{message}");
    }

    #[test]
    fn numbers_of_other_kinds_become_ours() {
        for kind in [Kind::Half, Kind::BFloat16, Kind::Double, Kind::Int64, Kind::Int8] {
            let mut network = weights(&[("a", &[2])], 0.0);
            let tensors = BTreeMap::from([("a".to_string(), Tensor::from_slice(&[1.0f32, -2.0]).to_kind(kind))]);
            network.assign(&tensors, Path::new("file")).unwrap();
            assert_eq!(network.get("a").unwrap(), &Tensor::from_slice(&[1.0f32, -2.0]), "{kind:?}");
            assert_eq!(network.get("a").unwrap().kind(), Kind::Float, "{kind:?}");
        }
    }
}
