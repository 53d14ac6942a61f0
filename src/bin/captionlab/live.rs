//! `captionlab live`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use captionlab::caption::{Captioner, Decoding};
use captionlab::live::{Live, LiveConfig, Models, Source};
use captionlab::train::Model;
use captionlab::vision::{Architecture, Classify, FasterRcnn, ImageClassifier};
use captionlab::{Device, Error, Kind, Result};
use clap::Args;

use crate::terminal::{say, warn};

#[derive(Args)]
pub struct LiveOptions {
    /// The captioner: a file of weights, or the folder of a run; the one that ships with the project, for scenes, when left out. Named
    /// several times, the page offers a choice.
    #[arg(long, visible_alias = "run", value_name = "DIR")]
    model: Vec<PathBuf>,
    /// Where pictures come from: `camera`, the camera of the computer on which the browser runs; `scenes`, a film of drawn scenes; or a
    /// folder of JPEG and PNG files.
    #[arg(long, value_name = "SOURCE", default_value = "camera")]
    source: PathBuf,
    /// What names the things of a frame beside its caption, with probabilities: `efficientnet-lite0`, `resnet50`, `none`, or a detector,
    /// which is a file of weights, its own or torchvision's fasterrcnn_resnet50_fpn_coco-258fb6c6.pth (see `captionlab download
    /// fasterrcnn`), or the folder of a run. A caption waits for it. When left out, efficientnet-lite0 for photographs where it is here.
    #[arg(long, value_name = "NAME|FILE")]
    classifier: Option<PathBuf>,
    /// The port; any that is free when left out.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// The address to listen on. Any other than this computer's own lets others reach the page; browsers then refuse the camera unless a
    /// proxy brings the page by https.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: IpAddr,
    /// A name under which browsers call this computer, besides localhost; may be given several times.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Opens the page in the browser.
    #[arg(long)]
    open: bool,
    /// Beam width at first; 1 takes the most probable word each time.
    #[arg(long, value_name = "WIDTH", default_value_t = 1)]
    beam: usize,
    /// Draws words at this temperature at first; 0 takes the most probable.
    #[arg(long, value_name = "TEMPERATURE", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f64,
}

/// Serves the page until the program is ended.
pub fn run(options: LiveOptions) -> Result<()> {
    let source = match options.source.to_str() {
        Some("camera") => Source::Camera,
        Some("scenes") => Source::Scenes,
        _ => Source::Folder(options.source),
    };
    let decoding = Decoding { beam: options.beam, temperature: options.temperature, ..Decoding::greedy() };
    let classifier = classifier(options.classifier.as_deref(), &source)?;
    let config = LiveConfig { port: options.port, address: options.address, hosts: options.host, source, decoding };
    config.validate()?;
    let paths = match options.model.is_empty() {
        true => vec![Kind::named(Captioner::KIND)?.usual_model()?],
        false => options.model,
    };
    let mut models = Models { classifier, ..Models::default() };
    for path in paths {
        // The weights of a model are called alike everywhere; its folder says which it is.
        let folder = if path.is_file() { path.parent() } else { None };
        let name = folder.unwrap_or(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        if models.captioners.iter().any(|(known, _)| *known == name) {
            return Err(Error::argument(
                format!("two captioners are called {name}"),
                "Rename one of the folders: the page tells them apart by name.",
            ));
        }
        models.captioners.push((name, Captioner::load(&path)?));
    }
    let live = Live::start(models, config)?;
    say(live.url())?;
    warn("Open this address in a browser. Ctrl-C ends the page.");
    if options.open {
        open(&live.url());
    }
    loop {
        std::thread::park();
    }
}

/// What names the things of a frame.
fn classifier(named: Option<&Path>, source: &Source) -> Result<Option<Box<dyn Classify>>> {
    let Some(named) = named else {
        // Nothing that ImageNet has names for is in drawings.
        let lite0 = Architecture::EfficientNetLite0;
        let is_used = !matches!(source, Source::Scenes) && lite0.weights().is_ok();
        return Ok(if is_used { Some(Box::new(ImageClassifier::load(lite0, Device::Cpu)?)) } else { None });
    };
    Ok(match named.to_str() {
        Some("none") => None,
        name => Some(match Architecture::named(name.unwrap_or_default()) {
            Ok(architecture) => Box::new(ImageClassifier::load(architecture, Device::Cpu)?),
            Err(_) => Box::new(<FasterRcnn as Model>::load(named)?),
        }),
    })
}

/// Opens an address in the browser; says so where that cannot be done.
fn open(url: &str) {
    let (program, arguments): (&str, &[&str]) = match std::env::consts::OS {
        "macos" => ("open", &[]),
        "windows" => ("rundll32", &["url.dll,FileProtocolHandler"]),
        _ => ("xdg-open", &[]),
    };
    let opened = Command::new(program).args(arguments).arg(url).spawn();
    if let Err(error) = opened {
        warn(format_args!("the browser was not opened: {program} cannot be started ({error})"));
    }
}
