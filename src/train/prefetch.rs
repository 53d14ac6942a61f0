//! Reading the inputs of the next step while this one is computed.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::supervised::Inputs;
use crate::data::Random;
use crate::{Error, Result};

/// A part of a step: which examples, and the randomness that their inputs are augmented with.
pub(super) type PartInputs = (Vec<usize>, Random);

/// The inputs of a step that are being read.
pub(super) struct Prefetch<I: Inputs> {
    reading: Option<(u64, Reading<I>)>,
}

/// The thread that reads the inputs of a step.
type Reading<I> = JoinHandle<Result<Vec<<I as Inputs>::Batch>>>;

impl<I: Inputs> Default for Prefetch<I> {
    fn default() -> Self {
        Self { reading: None }
    }
}

impl<I: Inputs> Prefetch<I> {
    /// Begins to read the inputs of a step; does nothing without parts.
    pub(super) fn start(&mut self, step: u64, inputs: &Arc<I>, parts: Vec<PartInputs>) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let inputs = Arc::clone(inputs);
        let thread = std::thread::Builder::new().name("captionlab prefetch".into());
        let thread = thread.spawn(move || read(&*inputs, parts)).map_err(|source| Error::Run {
            problem: format!("the thread that reads ahead cannot be started: {source}"),
            help: "Close other programs, and try again.".to_string(),
        })?;
        self.reading = Some((step, thread));
        Ok(())
    }

    /// The inputs of a step: those that were read ahead, or else they are read now.
    pub(super) fn take(&mut self, step: u64, inputs: &Arc<I>, parts: Vec<PartInputs>) -> Result<Vec<I::Batch>> {
        match self.reading.take() {
            Some((ahead, thread)) if ahead == step => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            _ => read(&**inputs, parts),
        }
    }
}

fn read<I: Inputs>(inputs: &I, parts: Vec<PartInputs>) -> Result<Vec<I::Batch>> {
    parts.into_iter().map(|(indices, mut random)| inputs.batch(&indices, Some(&mut random))).collect()
}
