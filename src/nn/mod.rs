//! What every network here is made of: named weights and their files, layers, and the dtype that they compute with.

pub(crate) mod convolution;
mod dtype;
pub(crate) mod lstm;
pub(crate) mod weights;

pub use convolution::Normalisation;
pub use dtype::Arithmetic;
pub(crate) use weights::{TORCH_SCRIPT, read_weights_and_metadata, unwrapped};
pub use weights::{
    DOWNLOADS_FOLDER, MODEL_FILE, Weights, downloaded, read_tensors, read_weights, shipped, write_tensors,
};
