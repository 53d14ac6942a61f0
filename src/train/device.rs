//! The device of a configuration, as text: `cpu`, `cuda:0`, `mps`.

use serde::{Deserialize, Deserializer, Serializer};
use tch::Device;

/// The name that PyTorch gives to a device: `cpu`, `cuda:0`, `mps`.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cpu => "cpu".to_string(),
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Mps => "mps".to_string(),
        Device::Vulkan => "vulkan".to_string(),
    }
}

/// The device of a name: `cpu`, `cuda`, `cuda:0`, `mps`.
pub fn device_from_name(name: &str) -> Option<Device> {
    match name {
        "cpu" => Some(Device::Cpu),
        "cuda" => Some(Device::Cuda(0)),
        "mps" => Some(Device::Mps),
        "vulkan" => Some(Device::Vulkan),
        other => other.strip_prefix("cuda:")?.parse().ok().map(Device::Cuda),
    }
}

/// Checks that this machine has a device.
///
/// # Errors
/// What is missing.
pub fn check_device(device: Device) -> Result<(), String> {
    match device {
        Device::Cuda(index) if index as i64 >= tch::Cuda::device_count() => {
            Err(format!("this machine has {} GPUs that libtorch can use", tch::Cuda::device_count()))
        }
        Device::Mps if !tch::utils::has_mps() => Err("this machine has no MPS that libtorch can use".to_string()),
        Device::Vulkan if !tch::utils::has_vulkan() => Err("this libtorch has no Vulkan".to_string()),
        _ => Ok(()),
    }
}

pub(crate) fn serialize<S: Serializer>(device: &Device, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&device_name(*device))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Device, D::Error> {
    let name = String::deserialize(deserializer)?;
    device_from_name(&name)
        .ok_or_else(|| serde::de::Error::custom(format!("no device is called {name}; use cpu, cuda:0 or mps")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_device() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Mps, Device::Vulkan] {
            assert_eq!(device_from_name(&device_name(device)), Some(device));
        }
        for name in ["", "gpu", "cuda:x", "CPU"] {
            assert_eq!(device_from_name(name), None, "{name}");
        }
    }
}
