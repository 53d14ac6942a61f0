//! Building blocks of every network: named parameters and their files, layers, dtypes.

pub(crate) mod convolution;
mod dropout;
mod dtype;
mod linear;
mod network;
mod norm;
mod packing;
mod recurrent;
pub(crate) mod weights;

pub use convolution::Normalisation;
pub(crate) use dropout::dropout;
pub use dtype::ComputeDtype;
pub(crate) use linear::Linear;
pub(crate) use network::{Network, Statistic, TensorMap, network};
pub(crate) use norm::LayerNorm;
pub(crate) use packing::Packing;
pub use recurrent::Cell;
pub(crate) use recurrent::{Bidirectional, Recurrent, RecurrentState};
#[cfg(feature = "pytorch")]
pub(crate) use weights::read_word_ids;
#[cfg(feature = "pytorch")]
pub use weights::write_safetensors_copy;
pub use weights::{
    DOWNLOADS_FOLDER, MODEL_FILE, Weights, downloaded, read_tensors, read_weights, shipped, write_tensors,
};
pub(crate) use weights::{TORCH_SCRIPT, files_of, is_readable_here, read_weights_and_metadata, unwrapped};
