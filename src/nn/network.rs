//! Second handles to a network, and copies in another dtype.

use tch::{Kind, Tensor};

/// How [`Network::map`] replaces the tensors of a network.
pub(crate) trait TensorMap {
    /// Replaces a parameter.
    fn weight(&self, weight: &Tensor) -> Tensor;

    /// Replaces a running mean or variance of batch normalisation.
    fn statistic(&self, statistic: &Tensor) -> Tensor {
        self.weight(statistic)
    }
}

/// A layer, or a network of layers, whose tensors can be replaced one by one.
///
/// The macro [`network`](crate::nn::network) implements it from a list of fields.
pub(crate) trait Network: Sized {
    /// The same network, made of other tensors.
    fn map(&self, map: &dyn TensorMap) -> Self;

    /// A handle for another worker thread, which shares the weights. Only a handle with `update_statistics` updates the running means
    /// and variances; at most one of the handles in use may have it.
    fn worker_handle(&self, update_statistics: bool) -> Self {
        self.map(&WorkerHandle { update_statistics })
    }

    /// A snapshot of the network in another dtype, without gradients.
    fn copy_in(&self, kind: Kind) -> Self {
        tch::no_grad(|| self.map(&CopyIn(kind)))
    }
}

struct WorkerHandle {
    update_statistics: bool,
}

impl TensorMap for WorkerHandle {
    fn weight(&self, weight: &Tensor) -> Tensor {
        weight.shallow_clone()
    }

    fn statistic(&self, statistic: &Tensor) -> Tensor {
        if self.update_statistics { statistic.shallow_clone() } else { statistic.copy() }
    }
}

struct CopyIn(Kind);

impl TensorMap for CopyIn {
    fn weight(&self, weight: &Tensor) -> Tensor {
        weight.detach().to_kind(self.0)
    }
}

impl Network for Tensor {
    fn map(&self, map: &dyn TensorMap) -> Self {
        map.weight(self)
    }
}

/// A running mean or variance.
#[derive(Debug)]
pub(crate) struct Statistic(pub(crate) Tensor);

impl Network for Statistic {
    fn map(&self, map: &dyn TensorMap) -> Self {
        Self(map.statistic(&self.0))
    }
}

impl<T: Network> Network for Option<T> {
    fn map(&self, map: &dyn TensorMap) -> Self {
        self.as_ref().map(|part| part.map(map))
    }
}

impl<T: Network> Network for Vec<T> {
    fn map(&self, map: &dyn TensorMap) -> Self {
        self.iter().map(|part| part.map(map)).collect()
    }
}

impl<T: Network, const N: usize> Network for [T; N] {
    fn map(&self, map: &dyn TensorMap) -> Self {
        self.each_ref().map(|part| part.map(map))
    }
}

/// Implements [`Network`] for a struct: the fields that are mapped, then those that are cloned.
macro_rules! network {
    ($type:ty { $($mapped:ident),* $(; $($cloned:ident),*)? }) => {
        impl $crate::nn::Network for $type {
            fn map(&self, map: &dyn $crate::nn::TensorMap) -> Self {
                Self {
                    $($mapped: $crate::nn::Network::map(&self.$mapped, map),)*
                    $($($cloned: self.$cloned.clone(),)*)?
                }
            }
        }
    };
}
pub(crate) use network;
