//! One step of a training, shared among threads.

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};

use tch::Tensor;

use crate::{Error, Result};

/// A part of a step: computes its share of the step's loss, on a thread of its own. The shares sum to the loss.
pub type StepPart<'a> = Box<dyn FnOnce() -> Result<Tensor> + Send + 'a>;

/// The loss of a step, and the gradients of `weights` by it; undefined for weights that it does not depend on.
///
/// Each part is worked on by its own thread. What they give is summed in their order, so the sum is always the same, bit for
/// bit, whichever thread is first.
///
/// # Errors
/// That of the first part that failed. A panic goes on in the calling thread.
pub(super) fn loss_and_gradients(parts: Vec<StepPart<'_>>, weights: &[Tensor]) -> Result<(f64, Vec<Tensor>)> {
    let work = |part: StepPart<'_>, weights: Vec<Tensor>| -> Result<(f64, Vec<Tensor>)> {
        let loss = part()?;
        let mut gradients = Tensor::f_run_backward(&[&loss], &weights, false, false)?;
        // Weights that are only ever added have one gradient in common, which is to be changed for each of them.
        let mut places = HashSet::new();
        for gradient in gradients.iter_mut().filter(|gradient| gradient.defined()) {
            let alone = places.insert(gradient.data_ptr());
            *gradient = if alone { gradient.f_contiguous()? } else { gradient.copy() };
        }
        Ok((loss.f_double_value(&[])?, gradients))
    };
    let handles = || weights.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
    let mut parts = parts.into_iter();
    let first = parts.next();
    let results = std::thread::scope(|scope| {
        let others: Vec<_> = parts
            .map(|part| {
                let weights = handles();
                scope.spawn(move || {
                    // A new thread asks libtorch how many threads it may use only at some of its work.
                    tch::set_num_threads(tch::get_num_threads());
                    work(part, weights)
                })
            })
            .collect();
        let first = first.map(|part| work(part, handles()));
        let others = others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        first.into_iter().chain(others).collect::<Result<Vec<_>>>()
    })?;
    let mut results = results.into_iter();
    let (mut loss, mut sums) =
        results.next().ok_or_else(|| Error::argument("the step has no parts", "Give it one at least."))?;
    for (share, gradients) in results {
        loss += share;
        for (sum, gradient) in sums.iter_mut().zip(gradients) {
            match (sum.defined(), gradient.defined()) {
                (true, true) => drop(tch::no_grad(|| sum.f_add_(&gradient))?),
                (false, true) => *sum = gradient,
                _ => {}
            }
        }
    }
    Ok((loss, sums))
}

/// The trainings under way, and how many threads libtorch used for one thing before there were any.
static SHARED: Mutex<(usize, i32)> = Mutex::new((0, 0));

/// How many threads libtorch uses for one thing while nothing is being trained.
pub fn threads() -> usize {
    match *SHARED.lock().unwrap_or_else(PoisonError::into_inner) {
        (0, _) => tch::get_num_threads() as usize,
        (_, before) => before as usize,
    }
}

/// While it lives, libtorch's threads are shared out among the workers of a training.
///
/// Without it each worker would set as many to work as there are cores, and they would wait for one another.
#[derive(Debug)]
pub(super) struct SharedThreads;

impl SharedThreads {
    pub(super) fn among(workers: usize) -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.0 == 0 {
            shared.1 = tch::get_num_threads();
        }
        shared.0 += 1;
        tch::set_num_threads((shared.1 / workers.max(1) as i32).max(1));
        Self
    }
}

impl Drop for SharedThreads {
    fn drop(&mut self) {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.0 -= 1;
        if shared.0 == 0 {
            tch::set_num_threads(shared.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Weights;
    use tch::{Device, Kind};

    #[test]
    fn parts_sum_to_the_loss_and_to_its_gradients() {
        let mut store = Weights::new(1, Device::Cpu);
        let (slope, offset) = (store.uniform("slope", &[6], 1.0), store.uniform("offset", &[1], 1.0));
        let unused = store.uniform("unused", &[2], 1.0);
        let weights = [slope.shallow_clone(), offset.shallow_clone(), unused];
        let part = |from: i64, with_offset: bool| -> StepPart<'static> {
            let (slope, offset) = (slope.shallow_clone(), offset.shallow_clone());
            Box::new(move || {
                let loss = slope.narrow(0, from, 2).square().sum(Kind::Float);
                Ok(if with_offset { loss + offset.sum(Kind::Float) * 3.0 } else { loss })
            })
        };
        let (loss, gradients) =
            loss_and_gradients(vec![part(0, false), part(2, true), part(4, false)], &weights).unwrap();
        let whole = slope.square().sum(Kind::Float) + offset.sum(Kind::Float) * 3.0;
        assert!((loss - whole.double_value(&[])).abs() < 1e-6);
        assert!((&gradients[0] - slope.detach() * 2.0).abs().max().double_value(&[]) < 1e-6);
        assert_eq!(gradients[1].double_value(&[0]), 3.0);
        assert!(!gradients[2].defined());
    }

    #[test]
    fn weights_that_are_added_have_gradients_of_their_own() {
        let mut store = Weights::new(1, Device::Cpu);
        let weights = [store.uniform("a", &[3], 1.0), store.uniform("b", &[3], 1.0)];
        let (a, b) = (weights[0].shallow_clone(), weights[1].shallow_clone());
        let part: StepPart<'_> = Box::new(move || Ok((a + b).square().sum(Kind::Float)));
        let (_, mut gradients) = loss_and_gradients(vec![part], &weights).unwrap();
        let before = gradients[1].copy();
        let _ = gradients[0].zero_();
        assert_eq!(gradients[1], before);
    }

    #[test]
    fn the_error_of_a_part_is_that_of_the_step() {
        let mut store = Weights::new(1, Device::Cpu);
        let weight = store.uniform("weight", &[1], 1.0);
        let good = weight.shallow_clone();
        let parts: Vec<StepPart<'_>> = vec![
            Box::new(move || Ok(good.sum(Kind::Float))),
            Box::new(|| Err(Error::argument("no more points", "Draw some."))),
        ];
        let error = loss_and_gradients(parts, &[weight]).unwrap_err().to_string();
        assert!(error.contains("no more points"), "{error}");
        assert!(loss_and_gradients(Vec::new(), &[]).is_err());
    }
}
