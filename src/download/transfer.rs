//! Download of a single file over HTTP.

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

/// A file to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its address.
    pub url: String,
    /// Target path; the file appears when it is complete and verified.
    pub path: PathBuf,
    /// SHA-256 in hexadecimal, or its first digits; empty where unknown.
    pub sha256: String,
    /// Approximate size in bytes, to check the free disk space beforehand; 0 where unknown.
    pub about_bytes: u64,
}

/// Settings of downloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadConfig {
    /// Number of consecutive attempts without progress before giving up. Default: 6.
    pub attempts: u32,
    /// Wait before the second attempt, doubled for each further one up to a minute. A server's `Retry-After` takes precedence, up to five
    /// minutes. Default: 1 s.
    pub wait: Duration,
    /// Timeout for a silent server. Default: 60 s.
    pub silence: Duration,
    /// Bytes of the disk to keep free. Default: 256 MiB.
    pub keep_free: u64,
    /// Proxies to use. Default: those of the environment.
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

/// An event during a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadEvent {
    /// Bytes have arrived.
    Bytes {
        /// Bytes so far.
        done: u64,
        /// Total size, if the server declares it.
        total: Option<u64>,
    },
    /// An attempt has failed; the next one follows after a wait.
    Waiting {
        /// Why it failed.
        problem: String,
        /// Time until the next attempt.
        wait: Duration,
    },
}

/// Result of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downloaded {
    /// The file existed already, complete.
    AlreadyHere,
    /// That many bytes were transferred; others were there from before.
    Fetched(u64),
}

/// Suffixes of incomplete files and their records.
const PARTIAL: &str = "download";
const NOTE: &str = "download.json";

const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_ASKED_WAIT: Duration = Duration::from_secs(300);

/// Maximum number of consecutive redirects.
const MOST_REDIRECTS: usize = 10;

/// Record of an incomplete file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    url: String,
    /// The server's `ETag` or `Last-Modified`: only an unchanged file is resumed.
    validator: String,
}

/// Why an attempt failed.
enum Failure {
    /// A temporary failure, perhaps with the server's `Retry-After`.
    Passing { problem: String, wait: Option<Duration> },
    /// A permanent failure.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// Downloads a file, resuming an interrupted download if the server's file is unchanged.
///
/// # Errors
/// [`Error::File`] when the disk is not writable or too small (before the transfer, where the size is known); [`Error::Download`]
/// when the server lacks the file, sends something else, sends a wrong checksum twice, or fails in all attempts.
pub fn download(file: &File, config: &DownloadConfig, mut event: impl FnMut(DownloadEvent)) -> Result<Downloaded> {
    if file.path.exists() {
        return already_here(file);
    }
    let folder = file.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    let partial = beside(&file.path, PARTIAL);
    let Some(lock) = FileLock::try_take(&partial)? else {
        return Err(failed(file, "another process is downloading it".into(), "Wait until it has finished."));
    };
    let mut target = lock.file().try_clone().map_err(|source| unwritable(&partial, source))?;
    // The other process may have just finished, and the opened file may be its file.
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
                                format!("the server's file is not what was published: twice {problem}"),
                                "Try again later, or name another address, or a file that you have, with --from.",
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
        // Receiving the same bytes again is not progress.
        let here = length(&target, &partial)?;
        failures = if here > most { 1 } else { failures + 1 };
        most = most.max(here);
        if failures >= config.attempts {
            return Err(failed(
                file,
                format!("{problem} ({failures} times)"),
                "What has arrived is kept: run the same command again to resume, or name a mirror with --from.",
            ));
        }
        let own = config.wait.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_WAIT);
        let wait = asked.map_or(own, |asked| asked.min(LONGEST_ASKED_WAIT));
        event(DownloadEvent::Waiting { problem, wait });
        std::thread::sleep(wait);
    }
}

/// Verifies a file that exists already.
fn already_here(file: &File) -> Result<Downloaded> {
    match checksum_problem(&file.path, &file.sha256)? {
        None => Ok(Downloaded::AlreadyHere),
        Some(problem) => Err(failed(file, format!("{} exists, and {problem}", file.path.display()), "Move it away.")),
    }
}

/// Copies a local file in place of a download. It is verified, and the copy appears when it is complete.
///
/// # Errors
/// [`Error::File`] when it cannot be read or the copy cannot be written, [`Error::Data`] when its checksum is wrong.
pub fn copy(from: &Path, path: &Path, sha256: &str) -> Result<u64> {
    if let Some(problem) = checksum_problem(from, sha256)? {
        return Err(Error::data(
            from,
            None,
            format!("this is not what was published: {problem}"),
            "Get the file again.",
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
        // Redirects are followed here, because another address may need another proxy.
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
    /// Bytes transferred in this call.
    fetched: u64,
}

impl Transfer<'_> {
    /// Requests the missing bytes and writes them.
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
                // Some servers ignore `If-Range`.
                Some((start, total)) if start == here && is_of(note.as_ref(), &headers) => (start, Some(total)),
                other => {
                    // After a wrong range, request the whole file.
                    self.begin_anew(target)?;
                    let problem = format!("the server sent a range that does not continue the file ({other:?})");
                    return Err(Failure::Passing { problem, wait: None });
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE if note.is_some() => {
                if unsatisfied_range(&headers) == Some(here) {
                    return Ok(());
                }
                self.begin_anew(target)?;
                let problem = "the file on the server has changed".to_string();
                return Err(Failure::Passing { problem, wait: None });
            }
            _ => return Err(self.refused(status, &headers)),
        };
        if header(&headers, "content-encoding").is_some_and(|encoding| encoding != "identity") {
            let problem = "the server compresses the file, although it must not".to_string();
            return Err(
                failed(self.file, problem, "Name another address, or a file that you have, with --from.").into()
            );
        }
        let is_page = header(&headers, "content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if is_page {
            let problem = "the server answers with a web page instead of the file".to_string();
            return Err(failed(
                self.file,
                problem,
                "Open the address in a browser to see what it says, and give the file that you get with --from.",
            )
            .into());
        }
        // Before the note, which must never describe the remains of another file.
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

    /// Requests the file, or the bytes after those that exist, and follows redirects.
    fn ask(&self, here: Option<(u64, &Note)>) -> std::result::Result<Response<Body>, Failure> {
        let wrong = |problem: String| Failure::from(failed(self.file, problem, "Check the address."));
        let mut address: Uri = self.file.url.parse().map_err(|error| wrong(format!("invalid address: {error}")))?;
        for _ in 0..=MOST_REDIRECTS {
            let (proxy, through) = match self.config.proxies.of_address(&address) {
                Ok(proxy) => proxy.unzip(),
                Err(problem) => {
                    let help = "Set it to the address of a proxy, such as http://HOST:PORT or socks5://HOST:PORT, or unset it.";
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
        Err(wrong(format!("the server redirects more than {MOST_REDIRECTS} times")))
    }

    /// Writes bytes as they arrive; all are kept if the connection breaks.
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

    /// The failure for a status without a file.
    fn refused(&self, status: StatusCode, headers: &HeaderMap) -> Failure {
        let problem = format!("the server answers {status}");
        let wait = header(headers, "retry-after").and_then(|wait| wait.trim().parse().ok()).map(Duration::from_secs);
        match status.as_u16() {
            408 | 425 | 429 | 500 | 502 | 503 | 504 => Failure::Passing { problem, wait },
            401 | 403 => failed(
                self.file,
                problem,
                "It requires a login or consent: download the file with a browser, and give it with --from.",
            )
            .into(),
            404 | 410 => failed(
                self.file,
                problem,
                "The file no longer exists: name another address, or a file that you have, with --from.",
            )
            .into(),
            _ => failed(self.file, problem, "Name another address, or a file that you have, with --from.").into(),
        }
    }

    /// Discards what has arrived.
    fn begin_anew(&self, target: &mut std::fs::File) -> Result<()> {
        std::fs::remove_file(&self.note).ok();
        target.set_len(0).map_err(|error| self.unwritable(error))
    }

    fn read_note(&self) -> Option<Note> {
        serde_json::from_slice(&std::fs::read(&self.note).ok()?).ok()
    }

    /// Records the validator of the file. Without one, downloads are not resumed.
    fn write_note(&self, headers: &HeaderMap) -> Result<()> {
        match validator(headers) {
            Some(validator) => {
                let note = Note { url: self.file.url.clone(), validator: validator.to_string() };
                crate::files::write_whole(
                    &self.note,
                    "record the download",
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
        // Proceeds if the file system cannot tell.
        let Ok(free) = fs4::available_space(self.folder) else { return Ok(()) };
        if bytes.saturating_add(self.config.keep_free) <= free {
            return Ok(());
        }
        Err(failed(
            self.file,
            format!(
                "{} are missing, but the disk of {} has {} left, of which {} must stay free",
                bytes_text(bytes),
                self.folder.display(),
                bytes_text(free),
                bytes_text(self.config.keep_free)
            ),
            "Make room on the disk.",
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
    Error::file(path, "write the download", source, "Check that the folder is writable and the disk has room.")
}

fn length(target: &std::fs::File, path: &Path) -> Result<u64> {
    Ok(target.metadata().map_err(|source| unwritable(path, source))?.len())
}

/// The path `.NAME.ending` in the same folder.
fn beside(path: &Path, ending: &str) -> PathBuf {
    path.with_file_name(format!(".{}.{ending}", path.file_name().unwrap_or_default().to_string_lossy()))
}

/// Resolves the address of a redirect.
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

/// The validator of a file's version. A weak `ETag` does not promise the same bytes.
fn validator(headers: &HeaderMap) -> Option<&str> {
    let tag = header(headers, "etag").filter(|tag| !tag.starts_with("W/"));
    tag.or_else(|| header(headers, "last-modified"))
}

/// Whether a response belongs to the recorded version, as far as the server says.
fn is_of(note: Option<&Note>, headers: &HeaderMap) -> bool {
    let says = |name| header(headers, name).map(|own| note.is_some_and(|note| note.validator == own));
    // Only one of the two is recorded, and the server may send only the other.
    says("etag").or(says("last-modified")) != Some(false) || says("last-modified") == Some(true)
}

/// Start and total size in `bytes 200-999/1000`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (range, total) = header(headers, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let total = total.parse().ok()?;
    (start <= end && end < total).then_some((start, total))
}

/// Total size in `bytes */1000`, of a server that has no further bytes.
fn unsatisfied_range(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes */")?.parse().ok()
}

/// Describes a wrong checksum; `None` if it is right or unknown.
pub(super) fn checksum_problem(path: &Path, expected: &str) -> Result<Option<String>> {
    if expected.is_empty() {
        return Ok(None);
    }
    let unreadable = |source| Error::file(path, "check the download", source, "Check that it is readable.");
    let mut hash = Sha256::new();
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    std::io::copy(&mut file, &mut hash).map_err(unreadable)?;
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    match found.starts_with(&expected.to_ascii_lowercase()) {
        true => Ok(None),
        false => Ok(Some(format!("its SHA-256 is {found} instead of the published {expected}"))),
    }
}

/// Formats `168 MB`, `4.4 GB`.
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
