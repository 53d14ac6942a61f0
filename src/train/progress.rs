//! What the training thread tells those who watch a run.

#[cfg(feature = "live")]
use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::log::Entry;
use super::{Curves, EpochSamples, Phase, Status};
use crate::Error;
use crate::data::Example;

/// How a [`Task`](super::Task) speaks to those who watch its run.
#[derive(Debug, Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
    ended: Condvar,
    /// What shows the run in a browser: a floor above knows what.
    #[cfg(feature = "live")]
    page: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) status: Status,
    pub(super) curves: Curves,
    pub(super) samples: Vec<EpochSamples>,
    pub(super) notes: Vec<String>,
    /// The examples that samples are of.
    pub(super) sampled: Vec<Example>,
    /// Why the first example was left out, where none was left to train on.
    pub(super) unreadable: Option<String>,
    pub(super) error: Option<Error>,
    pub(super) ended: bool,
}

impl Progress {
    pub(super) fn new(state: State) -> Self {
        let shared = Shared {
            stop: AtomicBool::new(false),
            state: Mutex::new(state),
            ended: Condvar::new(),
            #[cfg(feature = "live")]
            page: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// True when the run is to stop: long work should be given up.
    pub fn should_stop(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Says how far [`Task::prepare`](super::Task::prepare) has come.
    pub fn preparing(&self, done: usize, total: usize) {
        self.state().status.phase = Phase::Preparing { done, total };
    }

    /// Keeps a sentence for [`Run::notes`](super::Run::notes).
    pub fn note(&self, note: impl Into<String>) {
        self.state().notes.push(note.into());
    }

    /// Notes that examples are left out, and why each of them is; `none_left` when no training example is left.
    pub fn left_out(&self, problems: &[String], none_left: bool) {
        let Some(first) = problems.first() else { return };
        self.note(format!("{} pictures could not be read and are left out:", problems.len()));
        problems.iter().for_each(|problem| self.note(problem));
        self.state().unreadable = none_left.then(|| first.clone());
    }

    /// Says which examples samples are of.
    pub(super) fn samples_of(&self, examples: &[Example]) {
        self.state().sampled = examples.to_vec();
    }

    /// Asks the run to stop at its next checkpoint.
    pub(crate) fn request_stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> Status {
        self.state().status.clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state().ended
    }

    pub(crate) fn curves(&self) -> Curves {
        self.state().curves.clone()
    }

    pub(crate) fn samples(&self) -> Vec<EpochSamples> {
        self.state().samples.clone()
    }

    /// The examples that samples are of; empty until the data is ready.
    #[cfg(feature = "live")]
    pub(crate) fn sampled(&self) -> Vec<Example> {
        self.state().sampled.clone()
    }

    /// The page that shows the run: the one that was made before, where it is still in use, or else a new one.
    #[cfg(feature = "live")]
    pub(crate) fn page<P: Any + Send + Sync>(
        &self,
        in_use: impl FnOnce(&P) -> bool,
        make: impl FnOnce() -> crate::Result<P>,
    ) -> crate::Result<Arc<P>> {
        let mut page = self.shared.page.lock().unwrap_or_else(PoisonError::into_inner);
        let before = page.clone().and_then(|page| page.downcast::<P>().ok());
        match before.filter(|before| in_use(before)) {
            Some(before) => Ok(before),
            None => {
                let made = Arc::new(make()?);
                *page = Some(Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
                Ok(made)
            }
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is reported by itself; what was written before it is still true.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the run as ended and wakes those who wait.
    pub(super) fn end(&self, result: Result<Phase, Error>) {
        let mut state = self.state();
        match result {
            Ok(phase) => state.status.phase = phase,
            Err(error) => {
                state.status.phase = Phase::Failed(error.to_string());
                state.error = Some(error);
            }
        }
        state.ended = true;
        self.shared.ended.notify_all();
    }

    /// Waits until the run ends, at most for `duration`, and returns the status and whether it has ended.
    pub(super) fn wait(&self, duration: std::time::Duration) -> (Status, bool) {
        let waited = self.shared.ended.wait_timeout_while(self.state(), duration, |state| !state.ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (state.status.clone(), state.ended)
    }
}

impl State {
    pub(super) fn new(status: Status) -> Self {
        Self {
            status,
            curves: Curves::default(),
            samples: Vec::new(),
            notes: Vec::new(),
            sampled: Vec::new(),
            unreadable: None,
            error: None,
            ended: false,
        }
    }

    /// Takes an entry of the log into what can be watched.
    pub(super) fn record(&mut self, entry: Entry) {
        self.curves.add(&entry);
        match entry {
            Entry::Step { loss, .. } => {
                self.status.loss = Some(self.status.loss.map_or(loss, |smooth| smooth + 0.05 * (loss - smooth)));
            }
            Entry::Epoch { epoch, validation_loss, samples, .. } => {
                self.status.validation_loss = validation_loss.or(self.status.validation_loss);
                self.samples.push(EpochSamples { epoch, samples });
            }
        }
    }
}
