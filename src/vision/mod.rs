//! Networks that look at pictures, and the named weights that every network here is made of.

mod small_cnn;
mod weights;

pub use small_cnn::{SmallCnn, SmallCnnConfig};
pub use weights::{Weights, read_tensors, write_tensors};
