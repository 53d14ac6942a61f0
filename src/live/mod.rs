//! The local page: a webcam whose pictures are captioned as they come, and a training that is watched as it runs.
//!
//! A small server in this program serves one page to the browsers of this computer. The browser opens the camera and sends the newest
//! frame over a WebSocket; when the caption has come back, it sends the next. So there is never a queue: where the model is slower than
//! the camera, frames are left out, and a caption is always that of what the camera shows now.
//!
//! ```no_run
//! use captionlab::caption::Captioner;
//! use captionlab::live::{Live, LiveConfig};
//!
//! let captioner = Captioner::load("saved_models/captioner-tiny")?;
//! let mut live = Live::start(captioner, LiveConfig::default())?;
//! println!("{}", live.url());
//! // … later:
//! live.stop();
//! # Ok::<(), captionlab::Error>(())
//! ```
//!
//! # Who may look
//! The server listens on the loopback address unless [`LiveConfig::address`] says otherwise. Its address holds a random token, without
//! which nothing is answered. Requests for a host of another name are refused (a page elsewhere may make its own name lead here), and so
//! are WebSockets that pages of other origins open. Frames are limited in bytes and in pixels before they are decoded; clients that are
//! silent, slow or send too much are cut off. Nothing that comes in is stored.
//!
//! Whoever has the address may look, and may stop the page: a notebook that is saved with its output holds it, and so do the logs of a
//! proxy in between. It is worthless once the page is stopped. Only where a port was chosen is the token kept, in a file of the cache
//! folder that nobody else may read, and taken again within 12 hours, so that open pages find the next server.

mod cell;
mod channel;
mod film;
mod frames;
mod models;
mod request;
mod server;
mod watch;
mod webcam;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::caption::Decoding;
use crate::{Error, Result};

pub use film::{Film, Filming, Shot};
pub use models::Models;
pub use watch::Watched;
pub use webcam::Live;

/// Where the page is served, and what it begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveConfig {
    /// The port; 0, the default, takes any that is free. A port that an earlier page of this program has is taken over.
    pub port: u16,
    /// The address to listen on: that of this computer alone, 127.0.0.1, unless others shall reach the page.
    pub address: IpAddr,
    /// Names under which this computer may be called in the browser's address line, besides `localhost` and its IP addresses:
    /// `lab.example.org`. Behind JupyterHub any name is taken.
    pub hosts: Vec<String>,
    /// What the page shows first; a viewer may change it.
    pub source: Source,
    /// How captions are decoded at first; a viewer may change temperature and beam.
    pub decoding: Decoding,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            port: 0,
            address: Ipv4Addr::LOCALHOST.into(),
            hosts: Vec::new(),
            source: Source::default(),
            decoding: Decoding::greedy(),
        }
    }
}

impl LiveConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Config`] names the first that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let is_name = |host: &&String| {
            let parts = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '.';
            !host.is_empty() && host.chars().all(parts)
        };
        if let Some(host) = self.hosts.iter().find(|host| !is_name(host)) {
            return Err(Error::config(
                "hosts",
                host,
                "must be names such as lab.example.org, without https:// and port",
            ));
        }
        self.decoding.validate()
    }
}

/// Where the pictures of the page come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// The camera of the computer on which the browser runs.
    #[default]
    Camera,
    /// A film of drawn scenes: [`Film`].
    Scenes,
    /// The JPEG and PNG files of a folder of this computer.
    Folder(PathBuf),
}
