//! Feature extraction in the background.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Encoder, EncoderConfig, ExtractConfig, ExtractProgress, ExtractReport, FeatureCache, extract};
use crate::data::Dataset;
use crate::{Error, Result};

/// From so many bytes on it is said how much disk features take.
const MANY_BYTES: u64 = 500_000_000;

/// Interval of the lines that [`Extraction::wait`] prints.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// A running or finished feature extraction on a thread of its own. As with a [`Run`](crate::train::Run), a notebook cell may wait
/// for it, look at it later, or stop it.
///
/// Dropping it stops the extraction; complete shards stay, and the next extraction continues from there.
///
/// ```no_run
/// use captionlab::data::{Dataset, ScenesConfig};
/// use captionlab::vision::{EncoderConfig, ExtractConfig, Extraction};
///
/// let dataset = Dataset::scenes(&ScenesConfig::default())?;
/// let mut features = Extraction::start(&dataset, &EncoderConfig::new("tiny"), &ExtractConfig::default())?;
/// features.wait()?;
/// let cache = features.cache()?;
/// # Ok::<(), captionlab::Error>(())
/// ```
#[derive(Debug)]
pub struct Extraction {
    folder: PathBuf,
    /// Most bytes that all features take.
    most_bytes: u64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<ExtractReport>>>,
    report: Option<ExtractReport>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    progress: Mutex<Option<ExtractProgress>>,
}

impl Extraction {
    /// Loads the encoder and starts to compute missing features.
    ///
    /// # Errors
    /// As [`Encoder::load`], and [`Error::Config`] for a setting outside its range.
    pub fn start(dataset: &Dataset, encoder: &EncoderConfig, config: &ExtractConfig) -> Result<Self> {
        config.validate()?;
        let encoder = Encoder::load(encoder)?;
        let folder = config.folder_of(dataset, &encoder);
        let most_bytes = encoder.most_bytes() * dataset.examples.len() as u64;
        let shared = Arc::new(Shared::default());
        let (dataset, config, told) = (dataset.clone(), config.clone(), Arc::clone(&shared));
        let work = move || {
            extract(&dataset, &encoder, &config, |progress| {
                *told.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(*progress);
                !told.stop.load(Ordering::Relaxed)
            })
        };
        let thread = std::thread::Builder::new().name("captionlab features".into()).spawn(work);
        let thread = thread.map_err(|source| Error::Run {
            problem: format!("the thread that computes features cannot be started: {source}"),
            help: "Close other programs, and try again.".to_string(),
        })?;
        Ok(Self { folder, most_bytes, shared, thread: Some(thread), report: None })
    }

    /// The folder of the cache.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it is still running.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Progress; `None` before the first image is computed, and where all features were cached.
    pub fn progress(&self) -> Option<ExtractProgress> {
        *self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has finished, printing a line about every two seconds, and finally the report; first how much disk the features
    /// take, where that is much.
    ///
    /// # Errors
    /// The error that ended it.
    pub fn wait(&mut self) -> Result<()> {
        let mut shown = None;
        while self.is_running() {
            // Short naps, so that the end is noticed soon.
            for _ in 0..STATUS_EVERY.as_millis() / 50 {
                if !self.is_running() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let progress = self.progress();
            if let (Some(now), true) = (progress, progress != shown && self.is_running()) {
                if shown.is_none() && self.most_bytes >= MANY_BYTES {
                    println!("All features take at most {:.1} GB of disk.", self.most_bytes as f64 / 1e9);
                }
                println!("{now}");
                shown = progress;
            }
        }
        self.finish()?;
        if let Some(report) = &self.report {
            println!("{report}");
        }
        Ok(())
    }

    /// Stops it after the images in progress; complete shards stay.
    ///
    /// # Errors
    /// The error that ended it before.
    pub fn stop(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// The report; `None` until [`Extraction::wait`] or [`Extraction::stop`] has returned.
    pub fn report(&self) -> Option<&ExtractReport> {
        self.report.as_ref()
    }

    /// Opens the cache.
    ///
    /// # Errors
    /// As [`FeatureCache::open`].
    pub fn cache(&self) -> Result<FeatureCache> {
        FeatureCache::open(&self.folder)
    }

    fn finish(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let result = thread.join().unwrap_or_else(|_| Err(Error::internal("the computation of features panicked")));
        self.report = Some(result?);
        Ok(())
    }
}

impl Drop for Extraction {
    fn drop(&mut self) {
        self.stop().ok();
    }
}

/// Displays the report of an extraction that has ended, or else how far it is.
impl fmt::Display for Extraction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.report, self.progress()) {
            (Some(report), _) => write!(formatter, "{report}"),
            (None, Some(progress)) => write!(formatter, "{}: {progress}", self.folder.display()),
            (None, None) => write!(formatter, "{}: starting", self.folder.display()),
        }
    }
}

crate::in_cells::shown_in_cells!(Extraction);
