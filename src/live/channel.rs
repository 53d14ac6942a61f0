//! The WebSocket between a page and this program.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::handshake::server::{create_response, write_response};
use tungstenite::http::Request;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, WebSocket};

use super::request::{Refused, Timed};
use super::server::{Shared, refuse};

/// Most bytes of a message; a larger one ends the connection before it is read.
const MESSAGE_BYTES: usize = 8 << 20;
/// A client that sends no whole message for so long is cut off. Browsers let hidden pages speak once a minute.
const SILENCE: Duration = Duration::from_secs(150);
/// Most messages of a client in a second.
const MESSAGES_A_SECOND: u32 = 240;

/// Somebody who looks at a page.
pub(super) trait Viewer {
    /// What it is told first.
    fn hello(&mut self) -> Value;

    /// Answers a text of the page.
    fn text(&mut self, text: &Value) -> Vec<Message>;

    /// What it is told last, when the server stops.
    fn last(&mut self) -> Option<Value> {
        None
    }

    /// Answers a frame, the newest of those that have come; `superseded` frames of this viewer were left out for newer ones, in all.
    fn frame(&mut self, frame: &Bytes, superseded: u64) -> Vec<Message>;
}

/// A text for the page.
pub(super) fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

/// A problem that the page shows, while the server goes on.
pub(super) fn problem(message: impl std::fmt::Display) -> Value {
    json!({ "kind": "problem", "message": message.to_string(), "frame": null })
}

/// Opens the channel and serves it to its end. `rest` came behind the request.
pub(super) fn serve(
    mut stream: Timed,
    request: &Request<()>,
    rest: Vec<u8>,
    viewer: Box<dyn Viewer>,
    shared: &Arc<Shared>,
) {
    let response = match create_response(request) {
        Ok(response) => response,
        Err(error) => {
            return refuse(&mut stream, &Refused(400, format!("The channel is a WebSocket: {error}.")));
        }
    };
    if write_response(&mut stream, &response).is_err() {
        return;
    }
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
    let mut channel = Channel {
        socket: WebSocket::from_partially_read(stream, rest, Role::Server, Some(config)),
        viewer,
        shared,
        second: Instant::now(),
        messages: 0,
        superseded: 0,
    };
    let ended = channel.run();
    // What has read nonsense, or the end, sends no more; a fresh one does.
    let mut socket = WebSocket::from_raw_socket(channel.socket.into_inner(), Role::Server, None);
    let (code, reason) = match ended {
        Ok(()) => (CloseCode::Normal, String::new()),
        Err(Ended::Gone) => return,
        Err(Ended::Stopping) => {
            let goodbye = json!({ "kind": "goodbye", "message": "The server was stopped." });
            for words in channel.viewer.last().iter().chain([&goodbye]) {
                socket.send(text(words)).ok();
            }
            (CloseCode::Away, "The server was stopped.".into())
        }
        Err(Ended::CutOff(code, reason)) => (code, reason),
    };
    if socket.close(Some(CloseFrame { code, reason: reason.into() })).and_then(|()| socket.flush()).is_ok() {
        socket.into_inner().finish();
    }
}

/// Why a channel has ended.
enum Ended {
    Gone,
    Stopping,
    CutOff(CloseCode, String),
}

struct Channel<'a> {
    socket: WebSocket<Timed>,
    viewer: Box<dyn Viewer>,
    shared: &'a Shared,
    second: Instant,
    messages: u32,
    superseded: u64,
}

impl Channel<'_> {
    fn run(&mut self) -> Result<(), Ended> {
        let hello = text(&self.viewer.hello());
        self.send(vec![hello])?;
        loop {
            self.socket.get_mut().deadline = Instant::now() + SILENCE;
            let message = self.socket.read();
            let Some(mut message) = self.taken(message)? else { return Ok(()) };
            // Frames that have come meanwhile are newer.
            while matches!(message, Message::Binary(_)) {
                let Some(newer) = self.read_at_once()? else { break };
                match newer {
                    Message::Binary(_) => {
                        self.superseded += 1;
                        message = newer;
                    }
                    other => self.answer(&other)?,
                }
            }
            self.answer(&message)?;
        }
    }

    fn answer(&mut self, message: &Message) -> Result<(), Ended> {
        let answers = match message {
            Message::Binary(frame) => self.viewer.frame(frame, self.superseded),
            Message::Text(words) => match serde_json::from_str(words) {
                Ok(value) => self.viewer.text(&value),
                Err(error) => vec![text(&problem(format_args!("A message of the page is not JSON: {error}.")))],
            },
            _ => Vec::new(),
        };
        self.send(answers)
    }

    fn send(&mut self, messages: Vec<Message>) -> Result<(), Ended> {
        for message in messages {
            let sent = self.socket.send(message);
            sent.map_err(|_| if self.shared.is_stopping() { Ended::Stopping } else { Ended::Gone })?;
        }
        match self.shared.is_stopping() {
            true => Err(Ended::Stopping),
            false => Ok(()),
        }
    }

    /// A message that is there already, if one is.
    fn read_at_once(&mut self) -> Result<Option<Message>, Ended> {
        self.socket.get_ref().stream.set_nonblocking(true).map_err(|_| Ended::Gone)?;
        let message = self.socket.read();
        self.socket.get_ref().stream.set_nonblocking(false).map_err(|_| Ended::Gone)?;
        match message {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            message => self.taken(message),
        }
    }

    /// A message, counted; `None` when the page has closed the channel.
    fn taken(&mut self, message: tungstenite::Result<Message>) -> Result<Option<Message>, Ended> {
        let cut_off = |code, reason: &str| Err(Ended::CutOff(code, reason.to_string()));
        match message {
            Err(_) if self.shared.is_stopping() => Err(Ended::Stopping),
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Ok(None),
            Ok(message) => {
                if self.second.elapsed() > Duration::from_secs(1) {
                    (self.second, self.messages) = (Instant::now(), 0);
                }
                self.messages += 1;
                match self.messages > MESSAGES_A_SECOND {
                    true => cut_off(CloseCode::Policy, "More messages came than this server takes: 240 a second."),
                    false => Ok(Some(message)),
                }
            }
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                cut_off(CloseCode::Size, "A message of more than 8 MB is not read.")
            }
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Err(Ended::Gone),
            Err(Error::Protocol(_) | Error::Utf8(_)) => {
                cut_off(CloseCode::Protocol, "What came is not a message of a WebSocket.")
            }
            Err(Error::Io(error)) if [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock].contains(&error.kind()) => {
                cut_off(CloseCode::Again, "Nothing whole has come for 150 seconds.")
            }
            Err(_) => Err(Ended::Gone),
        }
    }
}
