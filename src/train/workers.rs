//! One step of a training, computed by several worker threads.

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tch::Tensor;

use crate::{Error, Result};

/// A part of a step: computes its share of the step's loss, on a worker thread. The shares sum to the loss.
pub type StepPart<'a> = Box<dyn FnOnce() -> Result<Tensor> + Send + 'a>;

/// Lets libtorch use `count` threads for what the calling thread computes, and leaves every other thread as it is.
///
/// libtorch keeps one number for each thread and one for threads that have not computed anything yet; setting the first sets the
/// second too, so that is put back by a thread that ends at once.
pub(crate) fn set_own_threads(count: usize) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Asking makes this thread take its number now; otherwise it would take another one later.
    let others = tch::get_num_threads();
    tch::set_num_threads(i32::try_from(count).unwrap_or(i32::MAX).max(1));
    std::thread::scope(|scope| {
        scope.spawn(|| tch::set_num_threads(others));
    });
}

/// The number of threads that share many images: one more than there are processors, so that none is idle while a thread reads a
/// file, and another program that computes on every processor takes less than half of the time.
pub(crate) fn image_threads() -> usize {
    available_parallelism().map_or(1, usize::from) + 1
}

/// What `work` makes of each item, in order, with a handle for each of the [`image_threads`].
///
/// Each uses one thread of libtorch: for small images that is faster than libtorch's parallelism within each, and beside another
/// program that computes much faster, as no thread waits for another.
pub(crate) fn share<T: Sync, H: Send, R: Send>(
    items: &[T],
    handle: impl Fn() -> H,
    work: impl Fn(&H, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let threads = image_threads().min(items.len());
    let mut made: Vec<(usize, R)> = std::thread::scope(|scope| {
        let start = |handle: H| {
            let (next, work) = (&next, &work);
            scope.spawn(move || {
                set_own_threads(1);
                let mut own = Vec::new();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { return own };
                    own.push((place, work(&handle, item)));
                }
            })
        };
        let threads: Vec<_> = (0..threads).map(|_| start(handle())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    made.sort_by_key(|(place, _)| *place);
    made.into_iter().map(|(_, made)| made).collect()
}

/// The worker threads of a run. They live as long as the run, each with its share of the run's threads.
#[derive(Debug)]
pub(super) struct Workers {
    pool: ThreadPool,
}

impl Workers {
    /// # Errors
    /// [`Error::Run`] when the threads cannot be started.
    pub(super) fn new(workers: usize, threads: usize) -> Result<Self> {
        let each = (threads / workers.max(1)).max(1);
        let pool = ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(|number| format!("captionlab worker {number}"))
            .start_handler(move |_| set_own_threads(each))
            .build()
            .map_err(|error| Error::Run {
                problem: format!("its {workers} worker threads cannot be started: {error}"),
                help: "Use fewer `workers`, or close other programs.".to_string(),
            })?;
        Ok(Self { pool })
    }

    /// The loss of a step, and the gradients of `weights` by it; undefined for weights that it does not depend on.
    ///
    /// Each part is computed by one worker. Results are summed in the order of the parts, so the sum is always the same, bit for
    /// bit, whichever worker is first.
    ///
    /// # Errors
    /// That of the first part that failed. A panic goes on in the calling thread.
    pub(super) fn loss_and_gradients(
        &self,
        parts: Vec<StepPart<'_>>,
        weights: &[Tensor],
    ) -> Result<(f64, Vec<Tensor>)> {
        let handles = || weights.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
        let parts: Vec<(StepPart<'_>, Vec<Tensor>)> = parts.into_iter().map(|part| (part, handles())).collect();
        let results: Vec<Result<(f64, Vec<Tensor>)>> = self
            .pool
            .install(|| parts.into_par_iter().with_max_len(1).map(|(part, weights)| compute(part, &weights)).collect());
        let mut results = results.into_iter();
        let (mut loss, mut sums) =
            results.next().ok_or_else(|| Error::argument("the step has no parts", "Give it at least one."))??;
        for result in results {
            let (share, gradients) = result?;
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
}

fn compute(part: StepPart<'_>, weights: &[Tensor]) -> Result<(f64, Vec<Tensor>)> {
    let loss = part()?;
    let mut gradients = Tensor::f_run_backward(&[&loss], weights, false, false)?;
    // Weights that are only ever added have one gradient in common, which is to be changed for each of them.
    let mut places = HashSet::new();
    for gradient in gradients.iter_mut().filter(|gradient| gradient.defined()) {
        let alone = places.insert(gradient.data_ptr());
        *gradient = if alone { gradient.f_contiguous()? } else { gradient.copy() };
    }
    Ok((loss.f_double_value(&[])?, gradients))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Weights;
    use tch::{Device, Kind};

    fn workers() -> Workers {
        Workers::new(2, 2).unwrap()
    }

    #[test]
    fn a_thread_sets_its_own_number_of_threads_and_no_other() {
        let before = tch::get_num_threads();
        let inside = std::thread::spawn(move || {
            set_own_threads(3);
            // A thread that begins just when a test beside this one sets a number of its own may take that one.
            let later = || std::thread::spawn(tch::get_num_threads).join().unwrap();
            (tch::get_num_threads(), (0..100).any(|_| later() == before))
        });
        assert_eq!(inside.join().unwrap(), (3, true));
        assert_eq!(tch::get_num_threads(), before);
    }

    #[test]
    fn shared_work_comes_back_in_order_from_threads_that_do_not_share_theirs() {
        let items: Vec<usize> = (0..100).collect();
        let made = share(&items, || 3, |handle, item| (handle * item, tch::get_num_threads()));
        assert!(made.iter().zip(&items).all(|(made, item)| *made == (3 * item, 1)));
        assert!(share(&[] as &[usize], || (), |(), item| *item).is_empty());
    }

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
            workers().loss_and_gradients(vec![part(0, false), part(2, true), part(4, false)], &weights).unwrap();
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
        let (_, mut gradients) = workers().loss_and_gradients(vec![part], &weights).unwrap();
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
        let error = workers().loss_and_gradients(parts, &[weight]).unwrap_err().to_string();
        assert!(error.contains("no more points"), "{error}");
        assert!(workers().loss_and_gradients(Vec::new(), &[]).is_err());
    }
}
