//! Prefetching loader of image batches.

use std::collections::VecDeque;
use std::fmt;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tch::{Device, Kind, Tensor};

use crate::data::ImageSource;
use crate::data::images::{Prepared, Preprocess, decode_source_with};
use crate::{Error, Result};

/// Settings of an [`ImageLoader`]. Only the batch size affects the batches.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoaderConfig {
    /// Images per batch, in `1..=65536`; the last batch may be smaller. Default: 32.
    pub batch_size: usize,
    /// Decoding threads, in `1..=1024`. Default: one per processor.
    pub threads: usize,
    /// Batches to prefetch, in `0..=1024`, which bounds the memory. Default: 2.
    pub queue: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { batch_size: 32, threads: std::thread::available_parallelism().map_or(1, usize::from), queue: 2 }
    }
}

impl LoaderConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        let fields = [
            ("loader.batch_size", self.batch_size, 1..=65_536),
            ("loader.threads", self.threads, 1..=1_024),
            ("loader.queue", self.queue, 0..=1_024),
        ];
        for (field, value, range) in fields {
            if !range.contains(&value) {
                let expected = format!("must be in {}..={}", range.start(), range.end());
                return Err(Error::config(field, value, expected));
            }
        }
        Ok(())
    }
}

/// A batch of images.
#[derive(Debug)]
pub struct Batch {
    /// `[batch, 3, height, width]` of `f32`, on the CPU.
    pub images: Tensor,
    /// The loader's source index of each image, ascending.
    pub indices: Vec<usize>,
}

/// An unreadable image, which is in no batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its index among the loader's sources.
    pub index: usize,
    /// Its source.
    pub source: ImageSource,
    /// The full error message, with the file's name.
    pub problem: String,
}

/// What a loader has read so far. Displays as one line, and a list of skipped images if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadSummary {
    /// Number of images in the batches so far.
    pub read: usize,
    /// Unreadable images, in the order of the sources.
    pub skipped: Vec<Skipped>,
}

impl fmt::Display for LoadSummary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LISTED: usize = 20;
        let count = self.skipped.len();
        if count == 0 {
            return write!(formatter, "{} images read, none skipped", self.read);
        }
        write!(formatter, "{} images read, {count} skipped because they cannot be read:", self.read)?;
        for skipped in self.skipped.iter().take(LISTED) {
            write!(formatter, "\n  {}", skipped.problem)?;
        }
        if count > LISTED {
            write!(formatter, "\n  … and {} more", count - LISTED)?;
        }
        Ok(())
    }
}

/// Decodes, resizes and normalises images on several threads, and yields batches.
///
/// Batches are in the order of the sources and do not depend on the threads. Batch `k` covers the sources from `k × batch_size`.
/// Unreadable images are left out of their batch (an empty batch is not yielded) and recorded in [`skipped`](Self::skipped). At most
/// `queue + 1` batches are in memory besides those yielded; then the threads wait. Dropping the loader stops them.
///
/// ```
/// use captionlab::data::{ImageLoader, ImageSource, LoaderConfig, Preprocess};
/// # fn main() -> captionlab::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("red.png");
/// # image::RgbImage::from_pixel(40, 30, image::Rgb([255, 0, 0])).save(&path).unwrap();
/// let sources = vec![ImageSource::File(path), ImageSource::File("no-such-file.jpg".into())];
/// let mut loader = ImageLoader::new(sources, Preprocess::imagenet(), LoaderConfig::default())?;
/// for batch in &mut loader {
///     assert_eq!(batch.images.size(), [1, 3, 224, 224]);
///     assert_eq!(batch.indices, [0]);
/// }
/// println!("{}", loader.summary()); // 1 images read, 1 skipped because they cannot be read: …
/// # assert_eq!(loader.skipped()[0].index, 1);
/// # Ok(())
/// # }
/// ```
pub struct ImageLoader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    read: usize,
    skipped: Vec<Skipped>,
}

struct Shared {
    sources: Vec<ImageSource>,
    preprocess: Preprocess,
    config: LoaderConfig,
    state: Mutex<State>,
    /// Signals that there is room for another batch, or that the loader stops.
    room: Condvar,
    /// Signals that the oldest batch may be complete.
    ready: Condvar,
}

#[derive(Default)]
struct State {
    /// The next source to decode.
    next: usize,
    /// Number of batches yielded or found empty.
    done: usize,
    /// The following batches, oldest first.
    pending: VecDeque<Pending>,
    stop: bool,
}

/// An unfinished batch.
struct Pending {
    /// Its tensor, or why it could not be allocated.
    images: Result<Tensor>,
    /// Number of images not yet decoded.
    missing: usize,
    skipped: Vec<Skipped>,
}

/// The memory of one image in an unfinished batch.
struct Slot {
    start: *mut MaybeUninit<f32>,
    length: usize,
}

impl ImageLoader {
    /// Starts the threads, which begin to decode at once.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is outside its range or the batches would take more than 16 GiB; [`Error::Run`] if a thread cannot
    /// be started.
    pub fn new(sources: Vec<ImageSource>, preprocess: Preprocess, config: LoaderConfig) -> Result<Self> {
        preprocess.validate()?;
        config.validate()?;
        let bytes = 12 * u64::from(preprocess.size).pow(2) * config.batch_size as u64 * (config.queue as u64 + 1);
        if bytes > 16 << 30 {
            let expected = format!(
                "with {} waiting batches of {0}×{0} pixels it takes {} GiB; 16 are allowed. Make it smaller",
                config.queue + 1,
                bytes >> 30
            );
            return Err(Error::config("loader.batch_size", config.batch_size, expected));
        }
        let threads = config.threads.min(sources.len());
        let (state, room, ready) = Default::default();
        let shared = Arc::new(Shared { sources, preprocess, config, state, room, ready });
        let mut loader = Self { shared, threads: Vec::with_capacity(threads), read: 0, skipped: Vec::new() };
        for number in 0..threads {
            let prepared = Prepared::new(&loader.shared.preprocess)?;
            let shared = Arc::clone(&loader.shared);
            let thread = std::thread::Builder::new()
                .name(format!("image loader {number}"))
                .spawn(move || shared.work(prepared))
                .map_err(|source| Error::Run {
                    problem: format!("a thread of the image loader could not be started ({source})"),
                    help: "Ask for fewer threads.".into(),
                })?;
            loader.threads.push(thread);
        }
        Ok(loader)
    }

    /// Number of batches, including those that will be empty.
    pub fn batches(&self) -> usize {
        self.shared.sources.len().div_ceil(self.shared.config.batch_size)
    }

    /// Unreadable images in the batches so far.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// A summary of the images read and skipped so far.
    pub fn summary(&self) -> LoadSummary {
        LoadSummary { read: self.read, skipped: self.skipped.clone() }
    }
}

impl Iterator for ImageLoader {
    type Item = Batch;

    /// Waits for the next batch; `None` after the last one.
    fn next(&mut self) -> Option<Batch> {
        let size = self.shared.config.batch_size;
        loop {
            let (number, pending) = self.shared.take(self.batches())?;
            let sources = number * size..((number + 1) * size).min(self.shared.sources.len());
            let mut skipped = pending.skipped;
            skipped.sort_unstable_by_key(|skipped| skipped.index);
            let indices: Vec<usize> = sources
                .clone()
                .filter(|index| skipped.binary_search_by_key(index, |skipped| skipped.index).is_err())
                .collect();
            self.read += indices.len();
            self.skipped.append(&mut skipped);
            if let (Ok(images), false) = (pending.images, indices.is_empty()) {
                let images = if indices.len() == sources.len() {
                    images
                } else {
                    let kept: Vec<i64> = indices.iter().map(|index| (index - sources.start) as i64).collect();
                    images.index_select(0, &Tensor::from_slice(&kept))
                };
                return Some(Batch { images, indices });
            }
        }
    }
}

impl Drop for ImageLoader {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of a thread has been reported already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for ImageLoader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ImageLoader")
            .field("sources", &self.shared.sources.len())
            .field("preprocess", &self.shared.preprocess)
            .field("config", &self.shared.config)
            .field("read", &self.read)
            .field("skipped", &self.skipped.len())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the oldest batch is complete, and returns it with its number.
    fn take(&self, batches: usize) -> Option<(usize, Pending)> {
        let mut state = self.lock();
        while state.done < batches {
            if state.pending.front().is_some_and(|oldest| oldest.missing == 0)
                && let Some(pending) = state.pending.pop_front()
            {
                state.done += 1;
                self.room.notify_all();
                return Some((state.done - 1, pending));
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    /// Decodes one source after the other into its batch, on each thread.
    fn work(&self, mut prepared: Prepared) {
        let LoaderConfig { batch_size, queue, .. } = self.config;
        let mut bytes = Vec::new();
        let mut state = self.lock();
        loop {
            let index = state.next;
            let Some(source) = self.sources.get(index).filter(|_| !state.stop) else { return };
            if index / batch_size > state.done + queue {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.next += 1;
            let (batch, place) = (index / batch_size, index % batch_size);
            let position = batch - state.done;
            if position == state.pending.len() {
                state.pending.push_back(self.begin(batch));
            }
            let mut slot = state.pending[position].slot(place);
            drop(state);

            let outcome = catch_unwind(AssertUnwindSafe(|| match &mut slot {
                Ok(slot) => {
                    decode_source_with(source, &mut bytes).and_then(|picture| prepared.write(&picture, slot.values()))
                }
                Err(no_memory) => Err(Error::argument(std::mem::take(no_memory), "Make the batches smaller.")),
            }))
            .unwrap_or_else(|_| Err(Error::internal(format!("the image reader panicked on {source:?}"))));

            state = self.lock();
            let position = batch - state.done;
            let pending = &mut state.pending[position];
            pending.missing -= 1;
            if let Err(error) = outcome {
                pending.skipped.push(Skipped { index, source: source.clone(), problem: error.to_string() });
            }
            if pending.missing == 0 {
                self.ready.notify_one();
            }
        }
    }

    /// An empty batch.
    fn begin(&self, batch: usize) -> Pending {
        let size = self.config.batch_size;
        let missing = size.min(self.sources.len() - batch * size);
        let side = i64::from(self.preprocess.size);
        let images = Tensor::f_empty([missing as i64, 3, side, side], (Kind::Float, Device::Cpu)).map_err(Error::from);
        Pending { images, missing, skipped: Vec::new() }
    }
}

impl Pending {
    /// The memory of one image, or why there is none.
    fn slot(&self, place: usize) -> Result<Slot, String> {
        let images = self.images.as_ref().map_err(ToString::to_string)?;
        let length = images.size().iter().skip(1).product::<i64>() as usize;
        // SAFETY: the tensor has just been made contiguous, of 32-bit floats, with more than `place` pictures of `length`
        // values, so the start of this one lies inside it.
        let start = unsafe { images.data_ptr().cast::<MaybeUninit<f32>>().add(place * length) };
        Ok(Slot { start, length })
    }
}

impl Slot {
    fn values(&mut self) -> &mut [MaybeUninit<f32>] {
        // SAFETY: no one else reads or writes this part of the tensor until its picture is counted as done: every picture
        // has its own part, one thread takes it, and the batch stays in `State::pending`, which every thread keeps alive
        // through its `Arc<Shared>`, until all its pictures are done.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_wait_when_the_queue_is_full() {
        let sources = vec![ImageSource::File("missing.jpg".into()); 40];
        let config = LoaderConfig { batch_size: 3, threads: 2, queue: 1 };
        let mut loader = ImageLoader::new(sources, Preprocess::scenes(8), config).expect("a loader");
        let started = |loader: &ImageLoader| {
            // Nobody takes batches, so the threads come to rest; give them time to go too far.
            std::thread::sleep(std::time::Duration::from_millis(100));
            let state = loader.shared.lock();
            assert!(state.pending.len() <= 2);
            state.next
        };
        assert_eq!(started(&loader), 6);
        loader.shared.take(loader.batches()).expect("the first batch");
        assert_eq!(started(&loader), 9);
        assert!(loader.next().is_none());
        assert_eq!(loader.skipped().len(), 37);
    }
}
