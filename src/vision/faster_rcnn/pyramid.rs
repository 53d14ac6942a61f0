//! The feature pyramid network.

use tch::Tensor;

use crate::nn::convolution::Convolution;
use crate::nn::{Weights, network};

/// Feature pyramid (Lin et al. 2017, *Feature Pyramid Networks for Object Detection*). From the coarsest map down, a 1×1 convolution
/// brings each map to the same channels, the upsampled coarser map is added, and a 3×3 convolution smooths the sum. One more level
/// subsamples the coarsest, for large objects.
#[derive(Debug)]
pub(super) struct Pyramid {
    laterals: Vec<Convolution>,
    smoothing: Vec<Convolution>,
}

network!(Pyramid { laterals, smoothing });

impl Pyramid {
    /// Weights are named `<prefix>inner_blocks.0.0.weight`, `<prefix>layer_blocks.0.0.weight` …
    pub(super) fn new(prefix: &str, inputs: &[usize], channels: usize, weights: &mut Weights) -> Self {
        let channels = channels as i64;
        let mut layer = |kind: &str, number: usize, inputs: i64, side: i64| {
            Convolution::new(&format!("{prefix}{kind}.{number}.0"), inputs, channels, side, weights)
        };
        let numbered = || inputs.iter().enumerate();
        Self {
            laterals: numbered().map(|(number, &inputs)| layer("inner_blocks", number, inputs as i64, 1)).collect(),
            smoothing: numbered().map(|(number, _)| layer("layer_blocks", number, channels, 3)).collect(),
        }
    }

    /// # Shapes
    /// - `maps`: `[batch, inputs, height, width]`, finest first
    /// - results: `[batch, channels, height, width]`, one more than `maps`
    pub(super) fn forward(&self, maps: &[Tensor]) -> Vec<Tensor> {
        let mut pyramid: Vec<Tensor> = Vec::with_capacity(maps.len() + 1);
        let mut above: Option<Tensor> = None;
        for ((map, lateral), smoothing) in maps.iter().zip(&self.laterals).zip(&self.smoothing).rev() {
            let mut sum = lateral.forward(map);
            if let Some(above) = above {
                let [.., height, width] = sum.size()[..] else { unreachable!("a map has four dimensions") };
                let _ = sum.g_add_(&above.upsample_nearest2d([height, width], None, None));
            }
            if pyramid.is_empty() {
                let coarsest = smoothing.forward(&sum);
                pyramid.push(coarsest.max_pool2d([1, 1], [2, 2], [0, 0], [1, 1], false));
                pyramid.push(coarsest);
            } else {
                pyramid.push(smoothing.forward(&sum));
            }
            above = Some(sum);
        }
        // Finest first, the additional level last.
        pyramid.reverse();
        pyramid
    }
}
