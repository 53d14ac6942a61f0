//! The dtype of inference.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

/// The dtype of inference. Training always uses `float32`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeDtype {
    /// `float32`: results equal the reference implementations'.
    #[default]
    Single,
    /// `bfloat16` in convolutions and linear layers, with `float32` accumulation; boxes and scores stay `float32`.
    /// Where [`ComputeDtype::is_native`], networks of the published sizes are two to three times as fast. Features differ by about 1 %
    /// of their norm.
    #[serde(rename = "bfloat16")]
    BFloat16,
}

impl ComputeDtype {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Single => Kind::Float,
            Self::BFloat16 => Kind::BFloat16,
        }
    }

    /// Whether the device computes in this dtype natively. Emulation is slower than `float32`. Assumes that every device but the CPU
    /// does.
    pub fn is_native(self, device: Device) -> bool {
        match (self, device) {
            (Self::BFloat16, Device::Cpu) => processor_has_bfloat16(),
            _ => true,
        }
    }

    pub(crate) fn is_single(&self) -> bool {
        *self == Self::Single
    }
}

#[cfg(target_arch = "x86_64")]
fn processor_has_bfloat16() -> bool {
    std::is_x86_feature_detected!("avx512bf16")
}

#[cfg(target_arch = "aarch64")]
fn processor_has_bfloat16() -> bool {
    std::arch::is_aarch64_feature_detected!("bf16")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_has_bfloat16() -> bool {
    false
}
