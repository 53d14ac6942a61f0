//! Dropout from an explicit generator, so that a resumed run drops the same elements.

use tch::{Kind, Tensor};

use crate::data::Random;

/// Dropout (Srivastava et al. 2014). With `random` (in training), sets each element to 0 with `probability` and divides the others
/// by `1 − probability`. The probability is rounded to a multiple of 1/65,536.
pub(crate) fn dropout(tensor: Tensor, probability: f64, random: Option<&mut Random>) -> Tensor {
    match random {
        Some(random) if probability > 0.0 => &tensor * dropout_mask(&tensor, probability, random),
        _ => tensor,
    }
}

fn dropout_mask(tensor: &Tensor, probability: f64, random: &mut Random) -> Tensor {
    let threshold = (probability * 65_536.0).round() as u16;
    let count = tensor.numel();
    let mut kept = Vec::with_capacity(count + 3);
    while kept.len() < count {
        let bits = random.next_u64();
        kept.extend([0, 16, 32, 48].map(|shift| u8::from((bits >> shift) as u16 >= threshold)));
    }
    kept.truncate(count);
    let mask = Tensor::from_slice(&kept).reshape(tensor.size()).to_device(tensor.device());
    mask.to_kind(Kind::Float) / (1.0 - probability)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn dropout_drops_its_share_and_keeps_the_mean() {
        let tensor = Tensor::ones([300, 101], (Kind::Float, Device::Cpu));
        for share in [0.2, 0.5, 0.9] {
            let mask = dropout(tensor.copy(), share, Some(&mut Random::new(1)));
            assert_eq!(mask.size(), [300, 101]);
            assert!((mask.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.05);
            let dropped = mask.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
            assert!((dropped - share).abs() < 0.01, "{share}: {dropped}");
        }
    }
}
