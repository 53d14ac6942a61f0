//! The dtype of inference.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

/// The dtype of inference. Training always uses single precision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputeDtype {
    /// 32 bits, 24 of them for the digits: what the networks see equals the references.
    #[default]
    Single,
    /// 16 bits, 8 of them for the digits, in convolutions and linear maps; sums are kept with more, and so are boxes and scores.
    /// Where [`ComputeDtype::is_native`], networks of the published sizes are two to three times as fast. Features differ by about a
    /// hundredth of their length.
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

    /// Whether the device computes with such numbers itself. Where it does not, they are converted to and fro, which is slower than
    /// single precision. Devices other than the processor are not asked: all recent ones do.
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
