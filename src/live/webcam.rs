//! The page that captions what a camera sees.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};
use tungstenite::{Bytes, Message};

use super::cell;
use super::channel::{Viewer, problem, text};
use super::frames::{at_most, decode};
use super::models::{Models, Seen, Worker};
use super::server::{Page, Server, shared_file};
use super::{Film, LiveConfig, Shot, Source};
use crate::caption::{Caption, Decoding};
use crate::data::images;
use crate::{Error, Result};

/// Frames of a scene in the film that the page shows.
const FRAMES_OF_SCENE: u32 = 24;
/// Most pixels on a side of a picture of this computer, as the page shows it.
const SHOWN_SIDE: u32 = 640;
/// Most captions of a beam that the page shows.
const OTHERS: usize = 3;

/// A page that captions what a camera sees, until it is stopped or dropped.
///
/// As the last expression of a notebook cell it shows the page, and a link to it. Keep it in a variable, `let mut live = …;`, to stop it,
/// and to have it replaced when the cell runs again; shown without one, the page goes on until the kernel ends.
pub struct Live {
    server: Arc<Server>,
    shown: Cell<Option<Instant>>,
}

/// A value that no variable holds is dropped as soon as the notebook has shown it.
const AS_SOON_AS: Duration = Duration::from_secs(1);

impl Drop for Live {
    fn drop(&mut self) {
        if self.shown.get().is_some_and(|shown| shown.elapsed() < AS_SOON_AS) {
            // Somebody is about to look at it.
            std::mem::forget(Arc::clone(&self.server));
        }
    }
}

impl Live {
    /// Serves the page. Returns at once; the models work on threads of their own.
    ///
    /// `models` is a captioner, or [`Models`] of several names, with a classifier beside them.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of its range, [`Error::Argument`] when the port is in use, [`Error::File`] when the folder of
    /// pictures cannot be read, and the errors of a captioner whose encoder is not here.
    pub fn start(models: impl Into<Models>, config: LiveConfig) -> Result<Self> {
        config.validate()?;
        let folder = match &config.source {
            Source::Folder(folder) => pictures_of(folder)?,
            _ => Vec::new(),
        };
        let worker = Worker::start(models.into())?;
        let page = Webcam {
            shared: Arc::new(Shown {
                worker,
                folder,
                source: config.source.clone(),
                decoding: config.decoding,
                viewers: AtomicU64::new(0),
            }),
        };
        let server = Server::start(Box::new(page), &config)?;
        Ok(Self { server: Arc::new(server), shown: Cell::new(None) })
    }

    /// The address of the page, for a browser of this computer. Whoever knows it may look, and may stop the page.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Whether the page is served.
    pub fn is_running(&self) -> bool {
        self.server.is_running()
    }

    /// Says goodbye to the viewers, and frees the port. Stopping twice does no harm.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// The HTML that a notebook shows: the page in a frame that may use the camera, and a link to it. On another computer, and behind
    /// JupyterHub, the frame goes through jupyter-server-proxy.
    pub fn html(&self) -> String {
        cell::html("The live page", &self.server, None)
    }

    /// Shows the page below the notebook cell, and a link to it. Notebooks call this for a cell's last expression.
    pub fn evcxr_display(&self) {
        match self.is_running() {
            true => {
                self.shown.set(Some(Instant::now()));
                cell::show("The live page", &self.server, None);
            }
            false => println!("{self}"),
        }
    }
}

impl fmt::Display for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_running() {
            true => write!(formatter, "live at {}", self.url()),
            false => write!(formatter, "the live page is stopped"),
        }
    }
}

/// Without the token, which must not stand in logs.
impl fmt::Debug for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Live").field("port", &self.port()).field("running", &self.is_running()).finish()
    }
}

/// The pictures of a folder, by name.
fn pictures_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let fault = |source| {
        Error::file(
            folder,
            "read the folder of pictures",
            source,
            "Name a folder that may be read; `camera` and `scenes` are no folders.",
        )
    };
    let mut pictures = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        if ending.is_some_and(|ending| ["jpg", "jpeg", "png"].contains(&ending.as_str())) {
            pictures.push(path);
        }
    }
    pictures.sort();
    match pictures.is_empty() {
        false => Ok(pictures),
        true => Err(Error::argument(
            format!("{} holds no picture", folder.display()),
            "Name a folder with files that end in .jpg, .jpeg or .png.",
        )),
    }
}

struct Shown {
    worker: Worker,
    folder: Vec<PathBuf>,
    source: Source,
    decoding: Decoding,
    /// How many viewers have come.
    viewers: AtomicU64,
}

struct Webcam {
    shared: Arc<Shown>,
}

impl Page for Webcam {
    fn file(&self, path: &str) -> Option<(&'static str, Cow<'static, [u8]>)> {
        let (kind, text) = match path {
            "" => ("text/html; charset=utf-8", include_str!("page/live.html")),
            "live.js" => ("text/javascript; charset=utf-8", include_str!("page/live.js")),
            _ => return shared_file(path),
        };
        Some((kind, text.as_bytes().into()))
    }

    fn open(&self) -> Box<dyn Viewer> {
        let shared = Arc::clone(&self.shared);
        let number = shared.viewers.fetch_add(1, Ordering::Relaxed);
        Box::new(Watcher {
            number,
            model: 0,
            decoding: shared.decoding,
            shared,
            frames: 0,
            film: None,
            next_picture: 0,
        })
    }
}

/// Somebody who looks at the page, with the knobs as they set them.
struct Watcher {
    shared: Arc<Shown>,
    number: u64,
    model: usize,
    decoding: Decoding,
    frames: u64,
    film: Option<Film>,
    next_picture: usize,
}

impl Viewer for Watcher {
    fn hello(&mut self) -> Value {
        let Shown { worker, folder, source, .. } = &*self.shared;
        let models: Vec<Value> = worker.about.iter().map(|about| about.json()).collect();
        let mut sources = vec![
            json!({ "name": "camera", "about": "" }),
            json!({ "name": "file", "about": "" }),
            json!({ "name": "scenes", "about": "A film of drawn scenes" }),
        ];
        if !folder.is_empty() {
            sources.push(json!({ "name": "folder", "about": format!("{} pictures of a folder", folder.len()) }));
        }
        let first = match source {
            Source::Camera => "camera",
            Source::Scenes => "scenes",
            Source::Folder(_) => "folder",
        };
        json!({
            "kind": "hello", "page": "captions", "models": models, "settings": self.settings(),
            "sources": sources, "source": first,
            "classifier": worker.classifier.as_ref().map(|name| json!({ "name": name })),
        })
    }

    fn text(&mut self, message: &Value) -> Vec<Message> {
        match message["kind"].as_str() {
            Some("alive") => Vec::new(),
            Some("settings") => match self.change(message) {
                Ok(()) => vec![text(&json!({ "kind": "settings", "settings": self.settings() }))],
                Err(error) => {
                    vec![text(&problem(error)), text(&json!({ "kind": "settings", "settings": self.settings() }))]
                }
            },
            Some("next") => self.next(message["source"].as_str().unwrap_or_default()),
            _ => vec![text(&problem("The page said something that this server does not know."))],
        }
    }

    fn frame(&mut self, frame: &Bytes, superseded: u64) -> Vec<Message> {
        self.frames += 1;
        let clock = Instant::now();
        let picture = decode(frame);
        let decode = clock.elapsed();
        vec![self.answer(picture, decode, superseded, None, None)]
    }
}

impl Watcher {
    fn settings(&self) -> Value {
        let name = &self.shared.worker.about[self.model].name;
        json!({ "model": name, "temperature": self.decoding.temperature, "beam": self.decoding.beam })
    }

    /// Takes the knobs that a message turns. Of temperature and beam, which exclude each other, the one that was turned stays.
    fn change(&mut self, message: &Value) -> Result<()> {
        let (mut model, mut decoding) = (self.model, self.decoding);
        if let Some(name) = message["model"].as_str() {
            let about = &self.shared.worker.about;
            model = about.iter().position(|about| about.name == name).ok_or_else(|| {
                let names: Vec<&str> = about.iter().map(|about| about.name.as_str()).collect();
                Error::argument(format!("there is no model {name:?}"), format!("Choose one of: {}.", names.join(", ")))
            })?;
        }
        if let Some(temperature) = number(message, "temperature", 0.0, 2.0)? {
            decoding.temperature = temperature;
            if temperature > 0.0 {
                (decoding.beam, decoding.best, decoding.groups) = (1, 1, 1);
            }
        }
        if let Some(beam) = number(message, "beam", 1.0, 10.0)? {
            (decoding.beam, decoding.groups) = (beam as usize, 1);
            decoding.best = decoding.beam.min(1 + OTHERS);
            if decoding.beam > 1 {
                decoding.temperature = 0.0;
            }
        }
        decoding.validate()?;
        (self.model, self.decoding) = (model, decoding);
        Ok(())
    }

    /// The next picture of this computer's own, and what is said of it.
    fn next(&mut self, source: &str) -> Vec<Message> {
        self.frames += 1;
        let clock = Instant::now();
        match source {
            "scenes" => {
                // Every viewer begins elsewhere.
                let first = self.shared.decoding.seed.wrapping_add(10 * self.number);
                let film = self.film.get_or_insert_with(|| Film::new(first, FRAMES_OF_SCENE));
                let Some(Shot { scene, picture }) = film.next() else { return Vec::new() };
                let mut shown = Vec::new();
                if let Err(error) = JpegEncoder::new_with_quality(&mut shown, 85).encode_image(&picture) {
                    return vec![self.failed(error)];
                }
                let caption = self.answer(Ok(picture), clock.elapsed(), 0, Some(&scene.name()), Some(scene.captions()));
                vec![Message::binary(shown), caption]
            }
            "folder" if !self.shared.folder.is_empty() => {
                let path = self.shared.folder[self.next_picture % self.shared.folder.len()].clone();
                self.next_picture += 1;
                let picture = images::decode(&path).and_then(|picture| at_most(picture, SHOWN_SIDE));
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let mut shown = Cursor::new(Vec::new());
                if let Ok(picture) = &picture
                    && let Err(error) = picture.write_to(&mut shown, ImageFormat::Jpeg)
                {
                    return vec![self.failed(error)];
                }
                let caption = self.answer(picture, clock.elapsed(), 0, Some(&name), None);
                match shown.get_ref().is_empty() {
                    true => vec![caption],
                    false => vec![Message::binary(shown.into_inner()), caption],
                }
            }
            _ => vec![self.failed(format_args!("This server has no pictures of the kind {source:?}."))],
        }
    }

    /// The answer to a request for a picture that cannot be had. With a number, so that the page waits for it no longer.
    fn failed(&self, why: impl fmt::Display) -> Message {
        let mut answer = problem(why);
        answer["frame"] = self.frames.into();
        text(&answer)
    }

    fn answer(
        &self,
        picture: Result<RgbImage>,
        decode: Duration,
        superseded: u64,
        name: Option<&str>,
        truth: Option<&[String]>,
    ) -> Message {
        // Each frame draws words of its own.
        let decoding = Decoding { seed: self.decoding.seed.wrapping_add(self.frames), ..self.decoding };
        let seen = picture.and_then(|picture| {
            let size = picture.dimensions();
            Ok((size, self.shared.worker.look(picture, self.model, decoding)?))
        });
        let mut answer = match seen {
            Ok(((width, height), seen)) => {
                let mut answer = said(&seen, decode);
                (answer["width"], answer["height"]) = (width.into(), height.into());
                answer["model"] = self.shared.worker.about[self.model].name.as_str().into();
                (answer["name"], answer["truth"]) = (name.into(), json!(truth));
                answer["superseded"] = superseded.into();
                answer
            }
            Err(error) => problem(match name {
                Some(name) => format!("{name}: {error}"),
                None => error.to_string(),
            }),
        };
        answer["frame"] = (self.frames + superseded).into();
        text(&answer)
    }
}

/// A number of a message, where it has one.
fn number(message: &Value, field: &str, least: f64, most: f64) -> Result<Option<f64>> {
    match &message[field] {
        Value::Null => Ok(None),
        value => match value.as_f64().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::config(field, value, format!("must be in {least}..={most}"))),
        },
    }
}

/// What the page is told of a frame.
fn said(seen: &Seen, decode: Duration) -> Value {
    let Seen { described, names, wait, naming } = seen;
    let milliseconds = |duration: &Duration| (duration.as_secs_f64() * 1e5).round() / 100.0;
    let caption = |caption: &Caption| json!({ "caption": caption.text, "log_probability": caption.log_probability });
    let words: Vec<Value> = described
        .explanation
        .said()
        .iter()
        .map(|word| json!({ "word": word.word, "probability": word.probability, "region": word.region(), "attention": word.attention }))
        .collect();
    let boxes: Vec<[f32; 4]> = described
        .explanation
        .boxes
        .iter()
        .map(|region| [region.left, region.top, region.right, region.bottom])
        .collect();
    let names: Vec<Value> =
        names.iter().map(|(name, probability)| json!({ "name": name, "probability": probability })).collect();
    let best = described.captions.first();
    json!({
        "kind": "caption",
        "caption": best.map_or("", |best| &best.text),
        "log_probability": best.map(|best| best.log_probability),
        "words": words, "boxes": boxes, "names": names,
        "others": described.captions.iter().skip(1).map(caption).collect::<Vec<Value>>(),
        "milliseconds": {
            "wait": milliseconds(wait), "decode": milliseconds(&decode), "encode": milliseconds(&described.encode),
            "speak": milliseconds(&described.speak), "explain": milliseconds(&described.explain), "names": milliseconds(naming),
        },
    })
}
