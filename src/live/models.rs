//! The models behind the page, on a thread of their own.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use image::RgbImage;
use serde_json::{Value, json};

use crate::caption::{Captioner, Decoding, Described};
use crate::vision::Classify;
use crate::{Error, Result};

/// The captioners that a page offers, by name, and what names things beside them.
#[derive(Default)]
pub struct Models {
    /// The first is used until a viewer chooses another.
    pub captioners: Vec<(String, Captioner)>,
    /// Names what it sees in a frame, besides the caption.
    pub classifier: Option<Box<dyn Classify>>,
}

impl fmt::Debug for Models {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classifier = self.classifier.as_ref().map(|classifier| classifier.name());
        formatter.debug_struct("Models").field("captioners", &self.captioners).field("classifier", &classifier).finish()
    }
}

impl From<Captioner> for Models {
    fn from(captioner: Captioner) -> Self {
        Self { captioners: vec![("captioner".into(), captioner)], classifier: None }
    }
}

/// What the models make of a frame.
pub(super) struct Seen {
    pub(super) described: Described,
    /// What the classifier sees, with probabilities.
    pub(super) names: Vec<(String, f64)>,
    /// How long the frame waited for its turn.
    pub(super) wait: Duration,
    pub(super) naming: Duration,
}

struct Job {
    picture: RgbImage,
    model: usize,
    decoding: Decoding,
    came: Instant,
    answer: SyncSender<Result<Seen>>,
}

/// A frame that has waited so long is given up: its viewer waits no longer (shared.js).
const PATIENCE: Duration = Duration::from_secs(30);

/// What the page says of a captioner.
pub(super) struct About {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) attention: bool,
    pub(super) note: Option<String>,
}

impl About {
    fn of(name: &str, captioner: &Captioner) -> Self {
        let eye = &captioner.encoder().name;
        let words = captioner.vocabulary().word_count();
        // The encoders that ship with the project have been trained on drawings.
        let note = eye.starts_with("tiny").then(|| {
            format!(
                "The eye of this captioner, {eye}, has been trained on drawings, and it knows {words} words. Whatever the camera \
                 shows, it answers with what fits best among these."
            )
        });
        let attention = captioner.config().pooling == crate::caption::Pooling::Attention;
        Self { name: name.to_string(), about: captioner.to_string().replace('`', ""), attention, note }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "name": self.name, "about": self.about, "attention": self.attention, "note": self.note })
    }
}

/// The models at work. They take frames in the order in which these come; as each viewer has one frame on the way at a time, all have
/// their turns alike.
pub(super) struct Worker {
    jobs: Sender<Job>,
    pub(super) about: Vec<About>,
    pub(super) classifier: Option<String>,
}

impl Worker {
    /// Starts the thread, which ends when the last handle to the worker is dropped.
    ///
    /// # Errors
    /// [`Error::Argument`] without a captioner; the error of a captioner that cannot caption a picture, such as one whose encoder is not
    /// here.
    pub(super) fn start(models: Models) -> Result<Self> {
        if models.captioners.is_empty() {
            return Err(Error::argument("there is no captioner to speak", "Give at least one."));
        }
        // What is missing shows now, and the first frame does not wait for what is loaded on first use.
        let blank = RgbImage::from_pixel(128, 128, image::Rgb([128; 3]));
        for (_, captioner) in &models.captioners {
            captioner.describe(&blank, &Decoding::greedy())?;
        }
        if let Some(classifier) = &models.classifier {
            classifier.classify(&blank)?;
        }
        let about = models.captioners.iter().map(|(name, captioner)| About::of(name, captioner)).collect();
        let classifier = models.classifier.as_ref().map(|classifier| classifier.name().to_string());
        let (jobs, queue) = channel();
        let thread = Builder::new().name("captionlab models".into()).spawn(move || work(&models, &queue));
        thread.map_err(|source| {
            Error::argument(format!("no thread for the models: {source}"), "Close other programs, and try again.")
        })?;
        Ok(Self { jobs, about, classifier })
    }

    /// Waits for what the models make of a frame.
    ///
    /// # Errors
    /// The model's; [`Error::Argument`] when the page is stopping.
    pub(super) fn look(&self, picture: RgbImage, model: usize, decoding: Decoding) -> Result<Seen> {
        let (answer, seen) = sync_channel(1);
        let job = Job { picture, model, decoding, came: Instant::now(), answer };
        let stopping = || Error::argument("the page is being stopped", "Start it again.");
        self.jobs.send(job).map_err(|_| stopping())?;
        seen.recv().map_err(|_| stopping())?
    }
}

fn work(models: &Models, queue: &Receiver<Job>) {
    for Job { picture, model, decoding, came, answer } in queue {
        let wait = came.elapsed();
        if wait > PATIENCE {
            let help = "Choose a smaller beam, close other viewers, or give a quicker model.";
            answer.send(Err(Error::argument("the models are too slow for so many frames", help))).ok();
            continue;
        }
        let seen = catch_unwind(AssertUnwindSafe(|| look(models, &picture, model, &decoding, wait)));
        // A viewer that has gone does not hear it.
        answer.send(seen.unwrap_or_else(|panic| Err(failed(&*panic)))).ok();
    }
}

fn failed(panic: &(dyn Any + Send)) -> Error {
    let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Error::internal(format!("a model failed on a frame ({})", words.unwrap_or("it did not say why")))
}

fn look(models: &Models, picture: &RgbImage, model: usize, decoding: &Decoding, wait: Duration) -> Result<Seen> {
    let (_, captioner) = models
        .captioners
        .get(model)
        .ok_or_else(|| Error::internal(format!("captioner {model} was chosen, of {}", models.captioners.len())))?;
    let described = captioner.describe(picture, decoding)?;
    let clock = Instant::now();
    let names = match &models.classifier {
        Some(classifier) => classifier.classify(picture)?,
        None => Vec::new(),
    };
    Ok(Seen { described, names, wait, naming: clock.elapsed() })
}
