//! One file over HTTP.

use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use super::Proxies;
use crate::files::FileLock;
use crate::{Error, Result};

/// What to download, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub url: String,
    /// Where it goes: this file appears when all of it is here and has its checksum.
    pub path: PathBuf,
    /// SHA-256 in hexadecimal digits, or its first digits; empty where it is not known.
    pub sha256: String,
    /// About how many bytes it has, to see before whether the disk has room; 0 where that is not known.
    pub about_bytes: u64,
}

/// How patient a download is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadConfig {
    /// So many times in a row it may fail without a byte arriving.
    pub attempts: u32,
    /// How long to wait before the second attempt; twice as long before each further one, a minute at most. A server that
    /// says how long is believed, up to five minutes.
    pub wait: Duration,
    /// When a server has said nothing for so long, the attempt has failed.
    pub silence: Duration,
    /// So many bytes of the disk stay free.
    pub keep_free: u64,
    /// What it goes through.
    pub proxies: Proxies,
}

impl Default for DownloadConfig {
    fn default() -> Self {
        Self {
            attempts: 6,
            wait: Duration::from_secs(1),
            silence: Duration::from_secs(60),
            keep_free: 256 << 20,
            proxies: Proxies::from_environment(),
        }
    }
}

/// What happens during a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadEvent {
    /// Bytes are here, of so many where the server says it.
    Bytes { done: u64, total: Option<u64> },
    /// An attempt has failed; the next begins after a while.
    Waiting { problem: String, wait: Duration },
}

/// What came of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downloaded {
    /// It was here, whole.
    AlreadyHere,
    /// So many bytes were fetched, the others were here from before.
    Fetched(u64),
}

/// How the names of files end that are not yet whole, and of what is known of them.
const PARTIAL: &str = "download";
const NOTE: &str = "download.json";

const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_ASKED_WAIT: Duration = Duration::from_secs(300);

/// So many times in a row a server may send on to another address.
const MOST_REDIRECTS: usize = 10;

/// What is known of a file that is not yet whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    url: String,
    /// The server's `ETag` or `Last-Modified`: only the same file is gone on with.
    validator: String,
}

/// Why an attempt has failed.
enum Failure {
    /// It may go better next time; perhaps the server has said when.
    Passing { problem: String, wait: Option<Duration> },
    /// It will not.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Downloads a file. What is there from an interrupted download is gone on with, if the server still has the same file.
///
/// # Errors
/// [`Error::File`] when the disk cannot be written or is too small (before anything is fetched, where the size is known);
/// [`Error::Download`] when the server does not have the file, answers with something else, with another checksum (twice), or
/// not at all (after all attempts).
pub fn download(file: &File, config: &DownloadConfig, mut event: impl FnMut(DownloadEvent)) -> Result<Downloaded> {
    if file.path.exists() {
        return already_here(file);
    }
    let folder = file.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    let partial = beside(&file.path, PARTIAL);
    let Some(lock) = FileLock::try_take(&partial)? else {
        return Err(failed(file, "another process is downloading it".into(), "Wait for it"));
    };
    let mut target = lock.file().try_clone().map_err(|source| unwritable(&partial, source))?;
    // The other process was done meanwhile; what was opened may be its file.
    if file.path.exists() {
        if std::fs::metadata(&partial).is_ok_and(|partial| partial.len() == 0) {
            std::fs::remove_file(&partial).ok();
        }
        return already_here(file);
    }
    let mut transfer = Transfer { file, config, folder, note: beside(&file.path, NOTE), fetched: 0 };
    let known = length(&target, &partial)?;
    transfer.check_room(file.about_bytes.saturating_sub(known))?;
    let (mut failures, mut wrong_checksums, mut most) = (0, 0, known);
    loop {
        let failure = match transfer.attempt(&mut target, &mut event) {
            Ok(()) => {
                target.sync_all().map_err(|source| unwritable(&partial, source))?;
                match checksum_problem(&partial, &file.sha256)? {
                    None => {
                        std::fs::rename(&partial, &file.path).map_err(|source| unwritable(&file.path, source))?;
                        std::fs::remove_file(&transfer.note).ok();
                        return Ok(Downloaded::Fetched(transfer.fetched));
                    }
                    Some(problem) => {
                        wrong_checksums += 1;
                        transfer.begin_anew(&mut target)?;
                        if wrong_checksums > 1 {
                            std::fs::remove_file(&partial).ok();
                            return Err(failed(
                                file,
                                format!("what the server sends is not what was published: twice {problem}"),
                                "Try again later, or name another address, or a file that you have, with --from",
                            ));
                        }
                        Failure::Passing { problem, wait: None }
                    }
                }
            }
            Err(failure) => failure,
        };
        let (problem, asked) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing { problem, wait } => (problem, wait),
        };
        // Bytes that only come again are no progress.
        let here = length(&target, &partial)?;
        failures = if here > most { 1 } else { failures + 1 };
        most = most.max(here);
        if failures >= config.attempts {
            return Err(failed(
                file,
                format!("{problem} ({failures} times)"),
                "What has arrived is kept: run the same command again to go on, or name a mirror with --from",
            ));
        }
        let own = config.wait.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_WAIT);
        let wait = asked.map_or(own, |asked| asked.min(LONGEST_ASKED_WAIT));
        event(DownloadEvent::Waiting { problem, wait });
        std::thread::sleep(wait);
    }
}

/// What there is to say of a file that is here.
fn already_here(file: &File) -> Result<Downloaded> {
    match checksum_problem(&file.path, &file.sha256)? {
        None => Ok(Downloaded::AlreadyHere),
        Some(problem) => Err(failed(file, format!("{} is here, and {problem}", file.path.display()), "Move it away")),
    }
}

/// Takes a file that is here already, in place of a download: it is checked and copied, and the copy appears when it is whole.
///
/// # Errors
/// [`Error::File`] when it cannot be read or the copy not be written, [`Error::Data`] when its checksum is another one.
pub fn copy(from: &Path, path: &Path, sha256: &str) -> Result<u64> {
    if let Some(problem) = checksum_problem(from, sha256)? {
        return Err(Error::data(
            from,
            None,
            format!("this is not what was published: {problem}"),
            "Get the file again",
        ));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    let mut bytes = 0;
    crate::files::write_whole_with(path, "copy the file", |target| {
        bytes = std::io::copy(&mut std::fs::File::open(from)?, target)?;
        Ok(())
    })?;
    Ok(bytes)
}

fn agent(config: &DownloadConfig, proxy: Option<Proxy>) -> Agent {
    Agent::config_builder()
        .proxy(proxy)
        // Another address may go through another proxy.
        .max_redirects(0)
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .http_status_as_error(false)
        .timeout_connect(Some(config.silence))
        .timeout_recv_response(Some(config.silence))
        .timeout_per_read(Some(config.silence))
        .user_agent(concat!("captionlab/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

struct Transfer<'a> {
    file: &'a File,
    config: &'a DownloadConfig,
    folder: &'a Path,
    note: PathBuf,
    /// Bytes that came in this call.
    fetched: u64,
}

impl Transfer<'_> {
    /// Asks for what is missing and writes what comes, to the end.
    fn attempt(
        &mut self,
        target: &mut std::fs::File,
        event: &mut impl FnMut(DownloadEvent),
    ) -> std::result::Result<(), Failure> {
        let here = length(target, &self.file.path)?;
        let note = self.read_note().filter(|note| note.url == self.file.url && here > 0);
        let mut response = self.ask(note.as_ref().map(|note| (here, note)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let (start, total) = match status {
            StatusCode::OK => (0, response.body().content_length()),
            StatusCode::PARTIAL_CONTENT if note.is_some() => match content_range(&headers) {
                // Not all servers look at `If-Range`.
                Some((start, total)) if start == here && is_of(note.as_ref(), &headers) => (start, Some(total)),
                other => {
                    // A server that answers with another part than was asked for is asked for all.
                    self.begin_anew(target)?;
                    let problem = format!("the server sent a part that does not belong to what is here ({other:?})");
                    return Err(Failure::Passing { problem, wait: None });
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE if note.is_some() => {
                if unsatisfied_range(&headers) == Some(here) {
                    return Ok(());
                }
                self.begin_anew(target)?;
                let problem = "the file at the server is another one than before".to_string();
                return Err(Failure::Passing { problem, wait: None });
            }
            _ => return Err(self.refused(status, &headers)),
        };
        if header(&headers, "content-encoding").is_some_and(|encoding| encoding != "identity") {
            let problem = "the server sends the file packed, which was not asked for".to_string();
            return Err(failed(self.file, problem, "Name another address, or a file that you have, with --from").into());
        }
        let is_page = header(&headers, "content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if is_page {
            let problem = "the server answers with a web page instead of the file".to_string();
            return Err(failed(
                self.file,
                problem,
                "Open the address in a browser to see what it says, and give the file that you get with --from",
            )
            .into());
        }
        // Before the note, which must never stand beside what is left of another file.
        target
            .set_len(start)
            .and_then(|()| target.seek(SeekFrom::Start(start)))
            .map_err(|error| self.unwritable(error))?;
        if let Some(total) = total {
            self.check_room(total.saturating_sub(start))?;
        }
        self.write_note(&headers)?;
        self.receive(response.body_mut(), target, (start, total), event)
    }

    /// Asks for the file, or for what is behind the bytes that are here, and follows where it is sent.
    fn ask(&self, here: Option<(u64, &Note)>) -> std::result::Result<Response<Body>, Failure> {
        let wrong = |problem: String| Failure::from(failed(self.file, problem, "Check the address"));
        let mut address: Uri = self.file.url.parse().map_err(|error| wrong(format!("this is no address: {error}")))?;
        for _ in 0..=MOST_REDIRECTS {
            let (proxy, through) = match self.config.proxies.of_address(&address) {
                Ok(proxy) => proxy.unzip(),
                Err(problem) => {
                    let help =
                        "Set it to the address of a proxy, such as http://HOST:PORT or socks5://HOST:PORT, or unset it";
                    return Err(failed(self.file, problem, help).into());
                }
            };
            let mut request = agent(self.config, proxy).get(address.clone()).header("Accept-Encoding", "identity");
            if let Some((here, note)) = here {
                request = request.header("Range", format!("bytes={here}-")).header("If-Range", &note.validator);
            }
            let response = request.call().map_err(|error| match error {
                ureq::Error::BadUri(_) | ureq::Error::Http(_) => wrong(error.to_string()),
                _ => {
                    let through = through.map(|through| format!(", through {through}")).unwrap_or_default();
                    Failure::Passing { problem: format!("{error}{through}"), wait: None }
                }
            })?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let to = header(response.headers(), "location").and_then(|to| joined(&address, to));
            address =
                to.ok_or_else(|| wrong(format!("the server answers {} without an address", response.status())))?;
        }
        Err(wrong(format!("the server sends on to another address more than {MOST_REDIRECTS} times")))
    }

    /// Writes what comes, as it comes: all of it is kept when the connection ends too early.
    fn receive(
        &mut self,
        body: &mut Body,
        target: &mut std::fs::File,
        (start, total): (u64, Option<u64>),
        event: &mut impl FnMut(DownloadEvent),
    ) -> std::result::Result<(), Failure> {
        let mut reader = body.as_reader();
        let mut buffer = vec![0; 1 << 17];
        let mut done = start;
        event(DownloadEvent::Bytes { done, total });
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let problem = match total {
                        Some(total) => format!("the connection ended after {done} of {total} bytes ({error})"),
                        None => format!("the connection ended after {done} bytes ({error})"),
                    };
                    return Err(Failure::Passing { problem, wait: None });
                }
            };
            target.write_all(&buffer[..count]).map_err(|error| self.unwritable(error))?;
            done += count as u64;
            self.fetched += count as u64;
            event(DownloadEvent::Bytes { done, total });
        }
        match total {
            Some(total) if done != total => Err(Failure::Passing {
                problem: format!("the server promised {total} bytes and ended after {done}"),
                wait: None,
            }),
            _ => Ok(()),
        }
    }

    /// A status that brings no file.
    fn refused(&self, status: StatusCode, headers: &HeaderMap) -> Failure {
        let problem = format!("the server answers {status}");
        let wait = header(headers, "retry-after").and_then(|wait| wait.trim().parse().ok()).map(Duration::from_secs);
        match status.as_u16() {
            408 | 425 | 429 | 500 | 502 | 503 | 504 => Failure::Passing { problem, wait },
            401 | 403 => failed(
                self.file,
                problem,
                "It wants a login or consent: get the file with a browser, and give it with --from",
            )
            .into(),
            404 | 410 => failed(
                self.file,
                problem,
                "The file is no longer there: name another address, or a file that you have, with --from",
            )
            .into(),
            _ => failed(self.file, problem, "Name another address, or a file that you have, with --from").into(),
        }
    }

    /// Forgets what has arrived.
    fn begin_anew(&self, target: &mut std::fs::File) -> Result<()> {
        std::fs::remove_file(&self.note).ok();
        target.set_len(0).map_err(|error| self.unwritable(error))
    }

    fn read_note(&self) -> Option<Note> {
        serde_json::from_slice(&std::fs::read(&self.note).ok()?).ok()
    }

    /// Keeps what tells this file from a later one of the same address. Without that, nothing is gone on with.
    fn write_note(&self, headers: &HeaderMap) -> Result<()> {
        match validator(headers) {
            Some(validator) => {
                let note = Note { url: self.file.url.clone(), validator: validator.to_string() };
                crate::files::write_whole(
                    &self.note,
                    "keep what is known of a download",
                    serde_json::json!(note).to_string().as_bytes(),
                )
            }
            None => {
                std::fs::remove_file(&self.note).ok();
                Ok(())
            }
        }
    }

    fn check_room(&self, bytes: u64) -> Result<()> {
        // A file system that cannot tell is tried.
        let Ok(free) = fs4::available_space(self.folder) else { return Ok(()) };
        if bytes.saturating_add(self.config.keep_free) <= free {
            return Ok(());
        }
        Err(failed(
            self.file,
            format!(
                "{} are to come, and the disk of {} has {} left, of which {} should stay free",
                bytes_text(bytes),
                self.folder.display(),
                bytes_text(free),
                bytes_text(self.config.keep_free)
            ),
            "Make room",
        ))
    }

    fn unwritable(&self, source: std::io::Error) -> Error {
        unwritable(&self.file.path, source)
    }
}

fn failed(file: &File, problem: String, help: &str) -> Error {
    Error::Download { url: file.url.clone(), problem, help: help.to_string() }
}

fn unwritable(path: &Path, source: std::io::Error) -> Error {
    Error::file(path, "write the download", source, "Check that the folder may be written and the disk has room.")
}

fn length(target: &std::fs::File, path: &Path) -> Result<u64> {
    Ok(target.metadata().map_err(|source| unwritable(path, source))?.len())
}

/// `.NAME.ending`, in the same folder.
fn beside(path: &Path, ending: &str) -> PathBuf {
    path.with_file_name(format!(".{}.{ending}", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// The address that a server at another address sends on to.
fn joined(from: &Uri, to: &str) -> Option<Uri> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let to = to.split('#').next().unwrap_or_default();
    let is_whole =
        to.split_once("://").is_some_and(|(scheme, _)| scheme.chars().all(|letter| letter.is_alphanumeric()));
    let whole = match to {
        "" => return None,
        _ if is_whole => to.to_string(),
        _ if to.starts_with("//") => format!("{scheme}:{to}"),
        _ if to.starts_with('/') => format!("{scheme}://{authority}{to}"),
        _ if to.starts_with('?') => format!("{scheme}://{authority}{}{to}", from.path()),
        _ => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{to}")
        }
    };
    whole.parse().ok().filter(|uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What tells a file from a later one of the same address. A weak `ETag` is no promise of the same bytes.
fn validator(headers: &HeaderMap) -> Option<&str> {
    let tag = header(headers, "etag").filter(|tag| !tag.starts_with("W/"));
    tag.or_else(|| header(headers, "last-modified"))
}

/// Whether a part is of the file that is noted, as far as the server says it.
fn is_of(note: Option<&Note>, headers: &HeaderMap) -> bool {
    let says = |name| header(headers, name).map(|own| note.is_some_and(|note| note.validator == own));
    // One of the two is noted; a server may say the other alone.
    says("etag").or(says("last-modified")) != Some(false) || says("last-modified") == Some(true)
}

/// Where the part that is sent begins, and how long the whole is: `bytes 200-999/1000`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (range, total) = header(headers, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let total = total.parse().ok()?;
    (start <= end && end < total).then_some((start, total))
}

/// How long the whole is, of a server that has nothing behind: `bytes */1000`.
fn unsatisfied_range(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes */")?.parse().ok()
}

/// How a file's SHA-256 is another one than it should be; `None` where it is the same, or none is known.
pub(super) fn checksum_problem(path: &Path, expected: &str) -> Result<Option<String>> {
    if expected.is_empty() {
        return Ok(None);
    }
    let unreadable = |source| Error::file(path, "check the download", source, "Check that it may be read.");
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    std::io::copy(&mut file, &mut hash).map_err(unreadable)?;
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    match found.starts_with(&expected.to_ascii_lowercase()) {
        true => Ok(None),
        false => Ok(Some(format!("its SHA-256 is {found}, and {expected} was published"))),
    }
}

/// `168 MB`, `4.4 GB`.
pub fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_sends_on_to_addresses_of_every_form() {
        let from = "https://host:8443/a/b?c=d".parse().unwrap();
        for (to, expected) in [
            ("https://other/x?y=z", Some("https://other/x?y=z")),
            ("http://other/x", Some("http://other/x")),
            ("//other/x", Some("https://other/x")),
            ("/x", Some("https://host:8443/x")),
            ("x", Some("https://host:8443/a/x")),
            ("../x", Some("https://host:8443/a/../x")),
            ("?e=f", Some("https://host:8443/a/b?e=f")),
            ("/x?to=http://other#part", Some("https://host:8443/x?to=http://other")),
            ("ftp://other/x", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(joined(&from, to).map(|uri| uri.to_string()).as_deref(), expected, "{to:?}");
        }
    }
}
