//! Optimisers whose whole state can be saved: PyTorch's SGD, RMSprop and Adam, with moments that are tensors of ours.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::check_below_one;
use crate::{Error, Result};

/// Which optimiser, and its settings. The arithmetic is that of `torch.optim`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimiserConfig {
    /// `torch.optim.SGD` with Nesterov's momentum (Sutskever et al. 2013).
    Sgd {
        learning_rate: f64,
        /// How much of the last step's direction is kept at each step.
        momentum: f64,
        /// The share of each weight that is added to its gradient.
        weight_decay: f64,
    },
    /// `torch.optim.RMSprop`, not centred and without momentum (Tieleman & Hinton 2012).
    RmsProp {
        learning_rate: f64,
        /// How much of the mean square is kept at each step; PyTorch's `alpha`.
        smoothing: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
    },
    /// `torch.optim.AdamW` (Loshchilov & Hutter 2019), which without weight decay is `torch.optim.Adam` (Kingma & Ba 2015).
    Adam {
        learning_rate: f64,
        /// How much of the mean gradient is kept at each step.
        beta1: f64,
        /// How much of the mean square is kept at each step.
        beta2: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
        /// The share, of the learning rate, by which weights shrink at each step.
        weight_decay: f64,
    },
}

impl OptimiserConfig {
    /// Stochastic gradient descent with Nesterov's momentum of 0.9, without weight decay.
    pub fn sgd(learning_rate: f64) -> Self {
        Self::Sgd { learning_rate, momentum: 0.9, weight_decay: 0.0 }
    }

    /// RMSprop with PyTorch's defaults.
    pub fn rms_prop(learning_rate: f64) -> Self {
        Self::RmsProp { learning_rate, smoothing: 0.99, epsilon: 1e-8 }
    }

    /// Adam with PyTorch's defaults, without weight decay.
    pub fn adam(learning_rate: f64) -> Self {
        Self::Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }

    /// The learning rate before any schedule.
    pub fn learning_rate(&self) -> f64 {
        match *self {
            Self::Sgd { learning_rate, .. }
            | Self::RmsProp { learning_rate, .. }
            | Self::Adam { learning_rate, .. } => learning_rate,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let share = check_below_one;
        let positive = |field: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Error::config(field, value, "must be greater than 0")),
        };
        positive("learning_rate", self.learning_rate())?;
        match *self {
            Self::Sgd { momentum, weight_decay, .. } => {
                // Nesterov's step is only defined with a momentum.
                positive("momentum", momentum)?;
                share("momentum", momentum)?;
                share("weight_decay", weight_decay)
            }
            Self::RmsProp { smoothing, epsilon, .. } => {
                share("smoothing", smoothing)?;
                positive("epsilon", epsilon)
            }
            Self::Adam { beta1, beta2, epsilon, weight_decay, .. } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon)?;
                share("weight_decay", weight_decay)
            }
        }
    }
}

/// What is done to gradients that are too large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GradientClipping {
    /// Nothing.
    None,
    /// Every element is brought into `-limit..=limit`, as in the paper.
    Value(f64),
    /// All gradients together are scaled down to this norm, as `torch.nn.utils.clip_grad_norm_` does.
    Norm(f64),
}

impl GradientClipping {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] when the limit is not greater than 0.
    pub fn validate(&self) -> Result<()> {
        match *self {
            Self::Value(limit) | Self::Norm(limit) if !(limit.is_finite() && limit > 0.0) => {
                Err(Error::config("clip", limit, "must be greater than 0"))
            }
            _ => Ok(()),
        }
    }

    fn apply(self, gradients: &mut [Tensor]) -> Result<()> {
        match self {
            Self::None => {}
            Self::Value(limit) => {
                for gradient in gradients {
                    let _ = gradient.f_clamp_(-limit, limit)?;
                }
            }
            Self::Norm(limit) => {
                let norms: Vec<Tensor> = gradients.iter().map(Tensor::f_norm).collect::<Result<_, _>>()?;
                if norms.is_empty() {
                    return Ok(());
                }
                let norm = Tensor::f_stack(&norms, 0)?.f_norm()?.f_double_value(&[])?;
                let share = limit / (norm + 1e-6);
                // A norm that is not finite is left for the caller to see, as in PyTorch.
                if share < 1.0 {
                    for gradient in gradients {
                        let _ = gradient.f_mul_scalar_(share)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Changes weights step by step, from their gradients.
#[derive(Debug)]
pub struct Optimiser {
    config: OptimiserConfig,
    clip: GradientClipping,
    steps: u64,
    parameters: Vec<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    weight: Tensor,
    /// Mean of the gradients; not kept by RMSprop.
    mean: Option<Tensor>,
    /// Mean of their squares; not kept by SGD.
    square: Option<Tensor>,
}

impl Optimiser {
    /// An optimiser of the given weights, whose moments are zero.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is out of its range.
    pub fn new(config: OptimiserConfig, clip: GradientClipping, weights: Vec<(String, Tensor)>) -> Result<Self> {
        config.validate()?;
        clip.validate()?;
        let zeros = |weight: &Tensor| weight.detach().zeros_like();
        let parameters = weights
            .into_iter()
            .map(|(name, weight)| {
                let mean = (!matches!(config, OptimiserConfig::RmsProp { .. })).then(|| zeros(&weight));
                let square = (!matches!(config, OptimiserConfig::Sgd { .. })).then(|| zeros(&weight));
                Parameter { name, weight, mean, square }
            })
            .collect();
        Ok(Self { config, clip, steps: 0, parameters })
    }

    /// Handles to the weights, in order.
    pub fn weights(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|parameter| parameter.weight.shallow_clone()).collect()
    }

    /// One step down `gradients`, given in the order of the weights, at `factor` times the configured learning rate. Weights without
    /// a gradient stay as they are.
    ///
    /// # Errors
    /// [`Error::Tensor`] when a gradient has another shape than its weight.
    pub fn apply(&mut self, gradients: Vec<Tensor>, factor: f64) -> Result<()> {
        self.steps += 1;
        tch::no_grad(|| {
            let with_gradient = self.parameters.iter_mut().zip(gradients).filter(|(_, gradient)| gradient.defined());
            let (with_gradient, mut gradients): (Vec<_>, Vec<_>) = with_gradient.unzip();
            self.clip.apply(&mut gradients)?;
            for (parameter, gradient) in with_gradient.into_iter().zip(&mut gradients) {
                parameter.step(&self.config, self.steps, factor, gradient)?;
            }
            Ok(())
        })
    }

    /// How many steps it has made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments by name, `optimiser.<moment>.<weight>`.
    pub fn moments(&self) -> Vec<(String, Tensor)> {
        let mut moments = Vec::new();
        for Parameter { name, mean, square, .. } in &self.parameters {
            if let Some(mean) = mean {
                moments.push((format!("optimiser.mean.{name}"), mean.shallow_clone()));
            }
            if let Some(square) = square {
                moments.push((format!("optimiser.square.{name}"), square.shallow_clone()));
            }
        }
        moments
    }

    /// Goes on from saved moments, after `steps` steps.
    ///
    /// # Errors
    /// [`Error::Weights`] names the first moment that is missing or of another shape.
    pub fn restore(&mut self, steps: u64, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
        for (name, mut moment) in self.moments() {
            let saved = tensors.get(&name).filter(|saved| saved.size() == moment.size());
            let Some(saved) = saved else {
                return Err(Error::Weights {
                    path: path.into(),
                    problem: format!("{name} is missing or of another shape than {:?}", moment.size()),
                    help: "Resume from a checkpoint of the same optimiser and the same model.".to_string(),
                });
            };
            tch::no_grad(|| moment.f_copy_(saved))?;
        }
        self.steps = steps;
        Ok(())
    }
}

impl Parameter {
    /// One step down a gradient, which it may overwrite.
    fn step(&mut self, config: &OptimiserConfig, steps: u64, share: f64, gradient: &mut Tensor) -> Result<()> {
        match (*config, &mut self.mean, &mut self.square) {
            (OptimiserConfig::Sgd { learning_rate, momentum, weight_decay }, Some(mean), _) => {
                // As torch.optim.SGD, in fewer passes over memory: with sums kept as means, and factors taken together, each
                // sum is an interpolation in place.
                let _ = gradient.f_lerp_(&self.weight, weight_decay / (1.0 + weight_decay))?;
                let _ = mean.f_lerp_(gradient, 1.0 - momentum)?;
                let _ = gradient.f_lerp_(mean, momentum)?;
                let factor = -learning_rate * share * (1.0 + weight_decay) / (1.0 - momentum);
                let _ = self.weight.f_add_(&gradient.f_mul_scalar_(factor)?)?;
            }
            (OptimiserConfig::RmsProp { learning_rate, smoothing, epsilon }, _, Some(square)) => {
                let _ =
                    square.f_mul_scalar_(smoothing)?.f_addcmul_(gradient, &gradient.f_mul_scalar(1.0 - smoothing)?)?;
                let root = square.f_sqrt()?.f_add_scalar(epsilon)?;
                let update = gradient.f_mul_scalar(-learning_rate * share)?.f_div(&root)?;
                let _ = self.weight.f_add_(&update)?;
            }
            (
                OptimiserConfig::Adam { learning_rate, beta1, beta2, epsilon, weight_decay },
                Some(mean),
                Some(square),
            ) => {
                let learning_rate = learning_rate * share;
                if weight_decay > 0.0 {
                    let _ = self.weight.f_mul_scalar_(1.0 - learning_rate * weight_decay)?;
                }
                let _ = mean.f_lerp_(gradient, 1.0 - beta1)?;
                let _ = square.f_mul_scalar_(beta2)?.f_addcmul_(gradient, &gradient.f_mul_scalar(1.0 - beta2)?)?;
                let correction1 = 1.0 - beta1.powi(steps as i32);
                let correction2 = 1.0 - beta2.powi(steps as i32);
                let root = square.f_sqrt()?.f_div_scalar(correction2.sqrt())?.f_add_scalar(epsilon)?;
                let update = mean.f_div(&root)?.f_mul_scalar(-learning_rate / correction1)?;
                let _ = self.weight.f_add_(&update)?;
            }
            _ => unreachable!("parameters are made with the moments of their optimiser"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Weights;
    use tch::{Device, Kind};

    /// Follows the gradient of Σ (wᵢ sᵢ)² from the given weights.
    fn descend(
        config: OptimiserConfig,
        clip: GradientClipping,
        weights: &[f32],
        scales: &[f32],
        steps: usize,
    ) -> Vec<f32> {
        let mut store = Weights::new(1, Device::Cpu);
        let mut weight = store.constant("weight", &[weights.len() as i64], 0.0, true);
        tch::no_grad(|| weight.copy_(&Tensor::from_slice(weights)));
        let mut optimiser = Optimiser::new(config, clip, store.trainable()).unwrap();
        for _ in 0..steps {
            let loss = (&weight * Tensor::from_slice(scales)).square().sum(Kind::Float);
            let gradients = Tensor::run_backward(&[loss], &optimiser.weights(), false, false);
            optimiser.apply(gradients, 1.0).unwrap();
        }
        Vec::try_from(weight.detach()).unwrap()
    }

    fn decaying(weight_decay: f64) -> OptimiserConfig {
        OptimiserConfig::Adam { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay }
    }

    #[test]
    fn three_steps_are_those_of_torch() {
        // Computed with torch.optim of torch 2.11.
        let cases = [
            (OptimiserConfig::sgd(1e-4), GradientClipping::None, [0.998_390_8, -1.987_139_5, -0.019_101_23]),
            (OptimiserConfig::rms_prop(1e-2), GradientClipping::None, [0.779_982_27, -1.775_349_5, 0.290_433_23]),
            (OptimiserConfig::rms_prop(1e-2), GradientClipping::Value(5.0), [0.779_982_27, -1.771_086_9, 0.271_086_96]),
            (OptimiserConfig::adam(1e-2), GradientClipping::Norm(5.0), [0.969_990_73, -1.969_986_4, 0.470_000_03]),
            (decaying(0.1), GradientClipping::None, [0.967_044_23, -1.964_042, 0.468_554]),
        ];
        for (config, clip, expected) in cases {
            let weights = descend(config, clip, &[1.0, -2.0, 0.5], &[1.0, 2.0, -30.0], 3);
            for (weight, expected) in weights.iter().zip(expected) {
                assert!((weight - expected).abs() < 1e-6, "{config:?}, {clip:?}: {weights:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn many_steps_are_those_of_torch_beside_it() {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
        if !python.exists() {
            println!("skipped: {} is not here", python.display());
            return;
        }
        let script = "
import json, torch
makers = [lambda p: torch.optim.SGD(p, 3e-3, momentum=.8, nesterov=True, weight_decay=.05), lambda p: torch.optim.RMSprop(p, 3e-3, alpha=.95, eps=1e-6), lambda p: torch.optim.AdamW(p, 3e-3, betas=(.8, .99), weight_decay=.05)]
clips = [lambda p: None, lambda p: torch.nn.utils.clip_grad_value_(p, .5), lambda p: torch.nn.utils.clip_grad_norm_(p, .5)]
s = torch.tensor([(i % 23 - 11) / 2 for i in range(100)])
results = []
for make in makers:
    for clip in clips:
        w = torch.tensor([(i % 17 - 8) / 4 for i in range(100)], requires_grad=True)
        o = make([w])
        for _ in range(200):
            o.zero_grad(); ((w * s) ** 2).sum().backward(); clip([w]); o.step()
        results.append(w.tolist())
print(json.dumps(results))";
        let output = std::process::Command::new(&python).args(["-c", script]).output().unwrap();
        let expected: Vec<Vec<f32>> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        let start: Vec<f32> = (0..100).map(|i| (i % 17 - 8) as f32 / 4.0).collect();
        let scales: Vec<f32> = (0..100).map(|i| (i % 23 - 11) as f32 / 2.0).collect();
        let rms_prop = OptimiserConfig::RmsProp { learning_rate: 3e-3, smoothing: 0.95, epsilon: 1e-6 };
        let adam =
            OptimiserConfig::Adam { learning_rate: 3e-3, beta1: 0.8, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.05 };
        let clips = [GradientClipping::None, GradientClipping::Value(0.5), GradientClipping::Norm(0.5)];
        let sgd = OptimiserConfig::Sgd { learning_rate: 3e-3, momentum: 0.8, weight_decay: 0.05 };
        let cases = [sgd, rms_prop, adam].into_iter().flat_map(|config| clips.map(|clip| (config, clip)));
        for ((config, clip), expected) in cases.zip(expected) {
            let weights = descend(config, clip, &start, &scales, 200);
            let difference = weights.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 2e-5, "{config:?}, {clip:?}: largest difference {difference}");
        }
    }

    #[test]
    fn an_optimiser_goes_on_from_its_saved_moments() {
        for config in [OptimiserConfig::sgd(1e-2), OptimiserConfig::rms_prop(1e-2), decaying(0.1)] {
            let train = |stop: Option<usize>| -> Vec<f32> {
                let mut store = Weights::new(1, Device::Cpu);
                let weight = store.uniform("weight", &[50], 1.0);
                let mut optimiser = Optimiser::new(config, GradientClipping::None, store.trainable()).unwrap();
                for step in 0..10 {
                    if stop == Some(step) {
                        let saved: BTreeMap<_, _> =
                            optimiser.moments().into_iter().map(|(name, moment)| (name, moment.copy())).collect();
                        let steps = optimiser.steps();
                        optimiser = Optimiser::new(config, GradientClipping::None, store.trainable()).unwrap();
                        optimiser.restore(steps, &saved, Path::new("checkpoint")).unwrap();
                    }
                    let loss = weight.cos().sum(Kind::Float);
                    let gradients = Tensor::run_backward(&[loss], &optimiser.weights(), false, false);
                    optimiser.apply(gradients, 0.5).unwrap();
                }
                Vec::try_from(weight.detach()).unwrap()
            };
            assert_eq!(train(None), train(Some(4)));
        }
    }

    #[test]
    fn moments_of_another_optimiser_are_refused() {
        let mut store = Weights::new(1, Device::Cpu);
        let _ = store.uniform("weight", &[5], 1.0);
        let saved = Optimiser::new(OptimiserConfig::rms_prop(0.1), GradientClipping::None, store.trainable())
            .unwrap()
            .moments();
        let mut adam = Optimiser::new(OptimiserConfig::adam(0.1), GradientClipping::None, store.trainable()).unwrap();
        let error = adam.restore(3, &saved.into_iter().collect(), Path::new("checkpoint")).unwrap_err().to_string();
        assert!(error.contains("optimiser.mean.weight"), "{error}");
    }
}
