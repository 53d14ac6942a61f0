//! The page that shows a training as it runs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Cursor;
use std::sync::{Arc, OnceLock};

use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};
use tungstenite::{Bytes, Message};

use super::channel::{Viewer, problem, text};
use super::frames::at_most;
use super::server::{Page, Server, shared_file};
use super::{LiveConfig, cell};
use crate::data::Example;
use crate::data::images::decode_source;
use crate::show::learning_curves;
use crate::train::{Curves, Phase, Progress, Run};
use crate::{Error, Result};

/// Most points of a curve that the page draws.
const MOST_POINTS: usize = 400;
/// Most epochs whose samples the page is told, the newest.
const MOST_EPOCHS: usize = 40;
/// Most pixels on a side of a sampled picture.
const THUMBNAIL: u32 = 160;

impl Run {
    /// Shows the training in a browser as it runs: the losses and metrics, what it makes of some fixed pictures, its rate, the time that is
    /// left, and a button that stops it. The page stays as long as this program, also when the run has ended or is dropped; asked again,
    /// the same page is returned.
    ///
    /// # Errors
    /// [`Error::Argument`] when no page can be served.
    pub fn watch(&self) -> Result<Watched> {
        self.watch_at(&LiveConfig::default())
    }

    /// As [`Run::watch`], at the port and address of a configuration.
    ///
    /// # Errors
    /// As [`Run::watch`].
    pub fn watch_at(&self, config: &LiveConfig) -> Result<Watched> {
        config.validate()?;
        let progress = self.progress().clone();
        let name = self.folder().file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A page at another port than the chosen one is replaced.
        let in_use = |server: &Server| server.is_running() && [0, server.port()].contains(&config.port);
        let server = self.progress().page(in_use, || {
            let page = Training { name, pictures: OnceLock::new(), progress };
            Server::start(Box::new(TrainingPage(Arc::new(page))), config)
        })?;
        Ok(Watched { server, progress: self.progress().clone() })
    }
}

/// The page of a run: [`Run::watch`].
///
/// As the last expression of a notebook cell it shows the page and a link to it. The curves until then remain in the notebook; shown when
/// the training has ended, they are all there.
pub struct Watched {
    server: Arc<Server>,
    progress: Progress,
}

impl Watched {
    /// The address of the page, for a browser of this computer. Whoever knows it may look, and may stop the training.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Tells the viewers how the training stands, says goodbye, and frees the port.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// Shows the page below the notebook cell. Notebooks call this for a cell's last expression.
    pub fn evcxr_display(&self) {
        // Before the first step there is nothing to draw.
        let still = learning_curves("The training until now", "loss", &self.progress.curves()).ok();
        match (self.server.is_running(), still) {
            (true, still) => cell::show("The training", &self.server, still.as_ref()),
            (false, Some(still)) => still.evcxr_display(),
            (false, None) => println!("the page of the training is stopped"),
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "watch the training at {}", self.url())
    }
}

/// Without the token, which must not stand in logs.
impl fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watched").field("port", &self.server.port()).finish()
    }
}

struct Training {
    name: String,
    progress: Progress,
    /// The fixed pictures as PNG files; `None` for one that cannot be read.
    pictures: OnceLock<Vec<(Example, Option<Vec<u8>>)>>,
}

impl Training {
    /// The fixed pictures, drawn when they are known.
    fn pictures(&self) -> &[(Example, Option<Vec<u8>>)] {
        let sampled = self.progress.sampled();
        if sampled.is_empty() {
            return &[];
        }
        self.pictures.get_or_init(|| {
            let drawn = |example: &Example| thumbnail(decode_source(&example.image)?);
            sampled
                .into_iter()
                .map(|example| {
                    let drawn = drawn(&example).ok();
                    (example, drawn)
                })
                .collect()
        })
    }

    fn hello(&self) -> Value {
        let pictures: Vec<Value> = self
            .pictures()
            .iter()
            .enumerate()
            .map(|(number, (example, drawn))| {
                let url = drawn.as_ref().map(|_| format!("picture/{number}.png"));
                json!({ "name": example.name, "url": url, "references": example.captions })
            })
            .collect();
        json!({ "kind": "hello", "page": "training", "run": self.name, "pictures": pictures })
    }

    fn status(&self, stopping: bool) -> Value {
        let status = self.progress.status();
        let running = !self.progress.has_ended();
        let (phase, problem) = match &status.phase {
            Phase::Preparing { .. } => ("preparing", None),
            Phase::Training => ("training", None),
            Phase::Validating => ("validating", None),
            Phase::Finished => ("finished", None),
            Phase::Stopped => ("stopped", None),
            Phase::Failed(problem) => ("failed", Some(problem.clone())),
        };
        let Curves { training_loss, validation_loss, metrics } = self.progress.curves();
        let metrics: BTreeMap<String, Value> =
            metrics.into_iter().map(|(name, points)| (name, points_of(&points))).collect();
        let mut samples = self.progress.samples();
        let seconds = |duration: std::time::Duration| duration.as_secs_f64();
        json!({
            "kind": "status", "line": status.to_string(), "running": running, "stopping": running && stopping,
            "phase": phase, "problem": problem,
            "epoch": status.epoch, "epochs": status.epochs, "step": status.step, "steps": status.steps,
            "loss": status.loss, "validation_loss": status.validation_loss, "rate": status.rate, "items": status.items,
            "elapsed": seconds(status.elapsed), "remaining": status.remaining.map(seconds),
            "curves": {
                "training_loss": points_of(&training_loss), "validation_loss": points_of(&validation_loss), "metrics": metrics,
            },
            "samples": samples.split_off(samples.len().saturating_sub(MOST_EPOCHS)),
        })
    }
}

fn thumbnail(picture: RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    let written = at_most(picture, THUMBNAIL)?.write_to(&mut bytes, ImageFormat::Png);
    written.map_err(|error| Error::internal(error.to_string()))?;
    Ok(bytes.into_inner())
}

/// The means of at most [`MOST_POINTS`] groups of neighbours, so that the page stays quick in a long run.
fn points_of(points: &[(f64, f64)]) -> Value {
    let group = points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |part: &[(f64, f64)]| {
        let sum = part.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        [sum.0 / part.len() as f64, sum.1 / part.len() as f64]
    };
    json!(points.chunks(group).map(mean).collect::<Vec<[f64; 2]>>())
}

struct TrainingPage(Arc<Training>);

impl Page for TrainingPage {
    fn file(&self, path: &str) -> Option<(&'static str, Cow<'static, [u8]>)> {
        let (kind, text) = match path {
            "" => ("text/html; charset=utf-8", include_str!("page/training.html")),
            "training.js" => ("text/javascript; charset=utf-8", include_str!("page/training.js")),
            _ => {
                let Some(number) = path.strip_prefix("picture/").and_then(|name| name.strip_suffix(".png")) else {
                    return shared_file(path);
                };
                let (_, drawn) = self.0.pictures().get(number.parse::<usize>().ok()?)?;
                return Some(("image/png", drawn.clone()?.into()));
            }
        };
        Some((kind, text.as_bytes().into()))
    }

    fn open(&self) -> Box<dyn Viewer> {
        Box::new(Watcher { training: Arc::clone(&self.0), greeted: false })
    }
}

struct Watcher {
    training: Arc<Training>,
    /// Whether the viewer has been told of the pictures, which are known only when the data is ready.
    greeted: bool,
}

impl Viewer for Watcher {
    fn hello(&mut self) -> Value {
        self.greeted = !self.training.pictures().is_empty();
        self.training.hello()
    }

    fn text(&mut self, message: &Value) -> Vec<Message> {
        let mut answers = Vec::new();
        if !self.greeted && !self.training.pictures().is_empty() {
            answers.push(text(&self.hello()));
        }
        let progress = &self.training.progress;
        match message["kind"].as_str() {
            Some("alive") => {}
            Some("status") => answers.push(text(&self.training.status(progress.should_stop()))),
            Some("stop") => {
                progress.request_stop();
                answers.push(text(&self.training.status(true)));
            }
            _ => answers.push(text(&problem("The page said something that this server does not know."))),
        }
        answers
    }

    fn last(&mut self) -> Option<Value> {
        Some(self.training.status(self.training.progress.should_stop()))
    }

    fn frame(&mut self, _frame: &Bytes, _superseded: u64) -> Vec<Message> {
        vec![text(&problem("This page takes no frames."))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_drawn_by_means_and_a_short_one_as_it_is() {
        let short = [(1.0, 2.0), (2.0, 1.0)];
        assert_eq!(points_of(&short), json!([[1.0, 2.0], [2.0, 1.0]]));
        let long: Vec<(f64, f64)> = (0..100_000).map(|step| (f64::from(step), f64::from(step % 2))).collect();
        let points = points_of(&long);
        let points = points.as_array().unwrap();
        assert_eq!(points.len(), MOST_POINTS);
        assert!(points.iter().all(|point| point[1] == 0.5), "{points:?}");
    }
}
