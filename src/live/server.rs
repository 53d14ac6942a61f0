//! The server of one page: a thread that accepts connections, and one for each connection.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use tungstenite::http::{Method, Request};

use super::LiveConfig;
use super::channel::{Viewer, serve};
use super::request::{Allowed, Refused, Timed, check_origin, read_head, respond, same_token};
use crate::files::cache_folder;
use crate::{Error, Result};

/// Connections at a time; more are turned away at once.
const CONNECTIONS: usize = 256;
/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a client may take to accept an answer.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// What a server shows.
pub(super) trait Page: Send + Sync {
    /// The file at a path below the token, with its media type; the page itself is at the empty path.
    fn file(&self, path: &str) -> Option<(&'static str, Cow<'static, [u8]>)>;

    /// Somebody looks.
    fn open(&self) -> Box<dyn Viewer>;
}

/// The files that both pages share.
pub(super) fn shared_file(path: &str) -> Option<(&'static str, Cow<'static, [u8]>)> {
    let (kind, text) = match path {
        "live.css" => ("text/css; charset=utf-8", include_str!("page/live.css")),
        "shared.js" => ("text/javascript; charset=utf-8", include_str!("page/shared.js")),
        _ => return None,
    };
    Some((kind, text.as_bytes().into()))
}

/// What all connections know.
pub(super) struct Shared {
    page: Box<dyn Page>,
    token: String,
    allowed: Allowed,
    address: SocketAddr,
    stopping: AtomicBool,
    next: AtomicU64,
    connections: Mutex<HashMap<u64, TcpStream>>,
}

impl Shared {
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread that accepts connections, and lets all others come to their end.
    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Those who wait for a message wake up, and say goodbye.
        self.connections().values().for_each(|stream| drop(stream.shutdown(Shutdown::Read)));
        // And so does the thread that accepts connections.
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok();
    }
}

/// A running server. Dropping it stops it.
pub(super) struct Server {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Starts to serve a page.
    ///
    /// # Errors
    /// [`Error::Argument`] when the port is in use, or may not be taken.
    pub(super) fn start(page: Box<dyn Page>, config: &LiveConfig) -> Result<Self> {
        let listener = listen(config.address, config.port)?;
        let failed = |error: &dyn std::fmt::Display| {
            Error::argument(format!("the page cannot be served: {error}"), "Close other programs, and try again.")
        };
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        let token = match left_token(config.port) {
            Some((token, _)) if config.port != 0 => token,
            _ => new_token()?,
        };
        let shared = Arc::new(Shared {
            page,
            token,
            allowed: Allowed {
                loopback: config.address.is_loopback(),
                hosts: config.hosts.clone(),
                any: std::env::var_os("JUPYTERHUB_SERVICE_PREFIX").is_some(),
            },
            address,
            stopping: AtomicBool::new(false),
            next: AtomicU64::new(0),
            connections: Mutex::default(),
        });
        if config.port != 0 {
            leave_token(config.port, &shared.token);
        }
        let accepting = Arc::clone(&shared);
        let thread = Builder::new().name("captionlab live".into()).spawn(move || accept(&listener, &accepting));
        Ok(Self { shared, thread: Mutex::new(Some(thread.map_err(|error| failed(&error))?)) })
    }

    pub(super) fn port(&self) -> u16 {
        self.shared.address.port()
    }

    pub(super) fn token(&self) -> &str {
        &self.shared.token
    }

    /// The address for a browser of this computer.
    pub(super) fn url(&self) -> String {
        let host = match self.shared.address.ip() {
            ip if ip.is_unspecified() => "127.0.0.1".to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
            IpAddr::V4(ip) => ip.to_string(),
        };
        format!("http://{host}:{}/{}/", self.port(), self.shared.token)
    }

    pub(super) fn is_running(&self) -> bool {
        !self.shared.is_stopping()
    }

    /// Says goodbye to the viewers, and frees the port.
    pub(super) fn stop(&self) {
        self.shared.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How long the token of a port is taken again, so that a page that was open before connects again by itself.
const TOKEN_TIME: Duration = Duration::from_secs(12 * 3600);

/// What a server on a chosen port leaves for the next one there: its token, and the number of its process.
fn token_file(port: u16) -> Option<PathBuf> {
    Some(cache_folder()?.join(format!("live-{port}")))
}

/// The token that was left for a port, and the process that left it; `None` where it is too old, or may be somebody else's.
fn left_token(port: u16) -> Option<(String, u32)> {
    let path = token_file(port)?;
    let about = fs::symlink_metadata(&path).ok()?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&about) & 0o777 != 0o600 {
        return None;
    }
    let fresh = about.is_file() && about.modified().ok()?.elapsed().is_ok_and(|age| age < TOKEN_TIME);
    let text = fs::read_to_string(&path).ok().filter(|_| fresh)?;
    let (token, process) = text.split_once(' ')?;
    let is_token = token.len() == 32 && token.bytes().all(|letter| letter.is_ascii_hexdigit());
    Some((is_token.then(|| token.to_string())?, process.parse().ok()?))
}

/// Without the file, pages that are open do not find the next server, and an earlier page of this process keeps the port.
fn leave_token(port: u16, token: &str) {
    let Some(path) = token_file(port) else { return };
    path.parent().map(fs::create_dir_all);
    fs::remove_file(&path).ok();
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    if let Ok(mut file) = options.open(path) {
        write!(file, "{token} {}", std::process::id()).ok();
    }
}

/// A random text that nobody can guess.
pub(super) fn new_token() -> Result<String> {
    let mut token = [0u8; 16];
    getrandom::fill(&mut token)
        .map_err(|error| Error::argument(format!("the system gives no random numbers: {error}"), "Try again."))?;
    Ok(token.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn listen(address: IpAddr, port: u16) -> Result<TcpListener> {
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut asked = false;
    loop {
        let error = match TcpListener::bind((address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let in_use = error.kind() == std::io::ErrorKind::AddrInUse;
        if in_use && !asked {
            asked = ask_to_stop(address, port);
        }
        if !asked || Instant::now() > deadline {
            let help = match in_use {
                true => "Stop the program that has it, name another port, or name port 0: that takes any that is free.",
                false => "Name another port, above 1023, and an address of this computer.",
            };
            return Err(Error::argument(format!("port {port} of {address} cannot be taken: {error}"), help));
        }
        sleep(Duration::from_millis(20));
    }
}

/// Asks an earlier server of this process to free its port; `false` where there is none. Each cell of a notebook has statics of its own,
/// so the file is how it is found.
fn ask_to_stop(address: IpAddr, port: u16) -> bool {
    let Some((token, process)) = left_token(port) else { return false };
    let Ok(mut stream) = TcpStream::connect((address, port)) else { return false };
    process == std::process::id() && write!(stream, "POST /{token}/stop HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok()
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopping() {
            break;
        }
        match stream {
            Ok(stream) => admit(stream, shared),
            // Too many open files, say: others may be closed soon.
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
    // Viewers get their goodbye, as far as they read it.
    let deadline = Instant::now() + Duration::from_secs(2);
    while !shared.connections().is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(5));
    }
    shared.connections().drain().for_each(|(_, stream)| drop(stream.shutdown(Shutdown::Both)));
}

fn admit(mut stream: TcpStream, shared: &Arc<Shared>) {
    let ready = stream.set_write_timeout(Some(WRITE_TIME)).and(stream.set_nodelay(true));
    let Ok(handle) = ready.and(stream.try_clone()) else { return };
    let number = shared.next.fetch_add(1, Ordering::Relaxed);
    {
        let mut connections = shared.connections();
        if connections.len() >= CONNECTIONS {
            drop(connections);
            // Not worth a thread, nor waiting for.
            stream.set_nonblocking(true).ok();
            stream
                .write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .ok();
            return;
        }
        connections.insert(number, handle);
    }
    // Forgotten even if its thread panics, or cannot be started.
    let admitted = Admitted { shared: Arc::clone(shared), number };
    let thread = Builder::new().name("captionlab viewer".into()).spawn(move || connection(stream, &admitted.shared));
    drop(thread);
}

/// A connection among those that are open, until it is dropped.
struct Admitted {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.shared.connections().remove(&self.number);
    }
}

fn connection(stream: TcpStream, shared: &Arc<Shared>) {
    let mut stream = Timed { stream, deadline: Instant::now() + HEAD_TIME };
    let (request, rest) = match read_head(&mut stream) {
        Ok(read) => read,
        Err(refused) => {
            if let Some(refused) = refused {
                refuse(&mut stream, &refused);
            }
            return;
        }
    };
    match answer(&request, shared) {
        Err(refused) => refuse(&mut stream, &refused),
        Ok(Answer::Channel) => serve(stream, &request, rest, shared.page.open(), shared),
        Ok(Answer::Stop) => {
            respond(&mut stream, 200, &[], b"", true);
            shared.stop();
        }
        Ok(Answer::Redirect) => {
            let place = format!("{}/", shared.token);
            respond(&mut stream, 308, &[("Location", &place)], b"", true);
        }
        Ok(Answer::File(kind, bytes)) => {
            let policy = policy(&shared.allowed.hosts);
            let headers = [
                ("Content-Type", kind),
                ("Content-Security-Policy", policy.as_str()),
                ("Cache-Control", "no-store"),
                ("Referrer-Policy", "no-referrer"),
                ("X-Content-Type-Options", "nosniff"),
            ];
            respond(&mut stream, 200, &headers, &bytes, request.method() == Method::GET);
        }
    }
}

/// No script but the page's own files. Notebooks on this computer, and those that serve it through a proxy, may show it in a frame.
fn policy(hosts: &[String]) -> String {
    let mut policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self' http://localhost:* http://127.0.0.1:*"
            .to_string();
    for host in hosts {
        policy.push_str(&format!(" http://{host}:* https://{host}:*"));
    }
    policy
}

pub(super) fn refuse(stream: &mut Timed, Refused(status, problem): &Refused) {
    respond(stream, *status, &[("Content-Type", "text/plain; charset=utf-8")], problem.as_bytes(), true);
}

enum Answer {
    File(&'static str, Cow<'static, [u8]>),
    Channel,
    Redirect,
    Stop,
}

fn answer(request: &Request<()>, shared: &Shared) -> std::result::Result<Answer, Refused> {
    check_origin(request, &shared.allowed)?;
    let path = request.uri().path().trim_start_matches('/');
    let (token, below) = path.split_once('/').unwrap_or((path, "/"));
    if !same_token(token, &shared.token) {
        return Err(Refused(
            403,
            "The address lacks its token. Open the page by the link that the program printed.".into(),
        ));
    }
    let is_get = [Method::GET, Method::HEAD].contains(request.method());
    match below {
        "stop" if request.method() == Method::POST => Ok(Answer::Stop),
        _ if !is_get => Err(Refused(405, "This server answers to GET.".into())),
        "/" => Ok(Answer::Redirect),
        "channel" => Ok(Answer::Channel),
        _ => match shared.page.file(below) {
            Some((kind, bytes)) => Ok(Answer::File(kind, bytes)),
            None => Err(Refused(404, "There is no such file.".into())),
        },
    }
}
