//! Downloads from a server that does what servers do: cut connections, lie, change files, be busy, send web pages.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use captionlab::Result;
use captionlab::download::{DownloadConfig, DownloadEvent, Downloaded, File, Proxies, copy, download};
use sha2::{Digest, Sha256};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    /// The how manieth request this is, from 0.
    number: usize,
    path: String,
    /// Where the part begins that is asked for.
    range: Option<usize>,
    if_range: Option<String>,
}

/// Answers each request with what a function says, and then closes the connection.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn file(&self, folder: &Path, bytes: &[u8]) -> File {
        File {
            url: format!("{}/weights.pth", self.address),
            path: folder.join("weights.pth"),
            sha256: sha256(bytes),
            about_bytes: bytes.len() as u64,
        }
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request, &mut TcpStream)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim() {
            "" => break,
            line => lines.push(line.to_string()),
        }
    }
    let header = |name: &str| {
        let found = lines.iter().find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
        Some(found.split_once(": ")?.1.to_string())
    };
    let range = header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let path = lines[0].split(' ').nth(1).unwrap_or_default().to_string();
    let request = {
        let mut seen = seen.lock().unwrap();
        let request = Request { number: seen.len(), path, range, if_range: header("if-range") };
        seen.push(request.clone());
        request
    };
    answer(&request, &mut stream);
}

fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    // Who is gone does not want it.
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).ok();
}

/// As a good server answers: the part that is asked for, if the file is still the same.
fn send_part(stream: &mut TcpStream, request: &Request, bytes: &[u8], tag: &str, most: usize) {
    let same = request.if_range.as_deref() == Some(tag);
    let (status, from, range) = match request.range.filter(|_| same) {
        Some(from) if from >= bytes.len() => {
            let headers = format!("Content-Range: bytes */{}\r\nContent-Length: 0\r\n", bytes.len());
            return send(stream, "416 Range Not Satisfiable", &headers, &[]);
        }
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            ("206 Partial Content", from, range)
        }
        None => ("200 OK", 0, String::new()),
    };
    let headers = format!("ETag: {tag}\r\n{range}Content-Length: {}\r\n", bytes.len() - from);
    send(stream, status, &headers, &bytes[from..from.saturating_add(most).min(bytes.len())]);
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// No two parts of it are the same.
fn content(length: usize) -> Vec<u8> {
    (0..length as u64).map(|place| (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8).collect()
}

fn impatient() -> DownloadConfig {
    DownloadConfig {
        attempts: 4,
        wait: Duration::from_millis(5),
        silence: Duration::from_millis(400),
        proxies: Proxies::default(),
        ..DownloadConfig::default()
    }
}

fn get(file: &File) -> Result<Downloaded> {
    download(file, &impatient(), |_| ())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The file is there, whole, and nothing else.
fn assert_whole(file: &File, bytes: &[u8]) {
    assert!(std::fs::read(&file.path).unwrap() == bytes, "the file is another one");
    assert_eq!(names(file.path.parent().unwrap()), ["weights.pth"]);
}

/// Nothing has the file's name, and the error says this.
fn assert_failed(file: &File, said: &[&str]) {
    let message = get(file).unwrap_err().to_string();
    for said in said {
        assert!(message.contains(said), "{said:?} is not in {message:?}");
    }
    assert!(!file.path.exists());
}

#[test]
fn a_file_is_downloaded_once() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(300_000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| send_part(stream, request, &sent, "\"1\"", usize::MAX));
    let file = server.file(folder.path(), &bytes);
    let mut last = None;
    let fetched = download(&file, &impatient(), |event| last = Some(event)).unwrap();
    assert_eq!(fetched, Downloaded::Fetched(300_000));
    assert_eq!(last, Some(DownloadEvent::Bytes { done: 300_000, total: Some(300_000) }));
    assert_whole(&file, &bytes);
    assert_eq!(get(&file).unwrap(), Downloaded::AlreadyHere);
    assert_eq!(server.requests().len(), 1);
    // A published name holds the first digits alone.
    let short = File { sha256: file.sha256[..8].to_uppercase(), ..file.clone() };
    assert_eq!(get(&short).unwrap(), Downloaded::AlreadyHere);
    let other = File { sha256: "00".to_string(), ..file };
    let message = get(&other).unwrap_err().to_string();
    assert!(message.contains("exists, and its SHA-256 is"), "{message}");
}

#[test]
fn a_connection_that_is_cut_is_gone_on_with() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(500_000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| send_part(stream, request, &sent, "\"1\"", 60_000));
    let file = server.file(folder.path(), &bytes);
    assert_eq!(get(&file).unwrap(), Downloaded::Fetched(500_000), "nothing was fetched twice");
    assert_whole(&file, &bytes);
    let starts: Vec<_> = server.requests().iter().map(|request| request.range.unwrap_or(0)).collect();
    assert_eq!(starts, [0, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000, 480_000]);
}

#[test]
fn a_server_that_ignores_ranges_begins_anew() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(200_000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| {
        let most = if request.number == 0 { 150_000 } else { usize::MAX };
        let whole = Request { range: None, ..request.clone() };
        send_part(stream, &whole, &sent, "\"1\"", most);
    });
    let file = server.file(folder.path(), &bytes);
    assert_eq!(get(&file).unwrap(), Downloaded::Fetched(350_000));
    assert_whole(&file, &bytes);
    assert_eq!(server.requests()[1].range, Some(150_000));
}

#[test]
fn another_part_than_was_asked_for_is_not_taken() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(200_000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| match request.number {
        0 => send_part(stream, request, &sent, "\"1\"", 150_000),
        1 => {
            let headers = "ETag: \"1\"\r\nContent-Range: bytes 100000-199999/200000\r\nContent-Length: 100000\r\n";
            send(stream, "206 Partial Content", headers, &sent[100_000..]);
        }
        _ => send_part(stream, request, &sent, "\"1\"", usize::MAX),
    });
    let file = server.file(folder.path(), &bytes);
    get(&file).unwrap();
    assert_whole(&file, &bytes);
}

#[test]
fn a_server_that_does_not_look_at_conditions_is_not_believed() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), content(200_000), content(200_001)[1..].to_vec());
    let (first, second) = (old.clone(), new.clone());
    let server = Server::start(move |request, stream| match (request.number, request.range) {
        (0, _) => send_part(stream, request, &first, "\"old\"", 150_000),
        (_, Some(from)) => {
            let headers = format!(
                "ETag: \"new\"\r\nContent-Range: bytes {from}-199999/200000\r\nContent-Length: {}\r\n",
                200_000 - from
            );
            send(stream, "206 Partial Content", &headers, &second[from..]);
        }
        _ => send_part(stream, request, &second, "\"new\"", usize::MAX),
    });
    let file = File { sha256: String::new(), ..server.file(folder.path(), &new) };
    get(&file).unwrap();
    assert_whole(&file, &new);
}

#[test]
fn a_server_that_begins_anew_and_breaks_off_again_and_again_is_given_up() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(100_000));
    let sent = bytes.clone();
    let server = Server::start(move |_, stream| {
        send(stream, "200 OK", &format!("Content-Length: {}\r\n", sent.len()), &sent[..60_000]);
    });
    assert_failed(&server.file(folder.path(), &bytes), &["60000 of 100000 bytes", "(4 times)"]);
}

#[test]
fn a_file_that_changes_meanwhile_is_not_glued_together() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), content(200_000), content(250_001)[1..].to_vec());
    let (first, second) = (old.clone(), new.clone());
    let server = Server::start(move |request, stream| match request.number {
        0 => send_part(stream, request, &first, "\"old\"", 150_000),
        _ => send_part(stream, request, &second, "\"new\"", usize::MAX),
    });
    // No checksum is known: it would tell.
    let file = File { sha256: String::new(), ..server.file(folder.path(), &new) };
    get(&file).unwrap();
    assert_whole(&file, &new);
    assert_eq!(server.requests()[1].if_range.as_deref(), Some("\"old\""));
}

#[test]
fn without_a_promise_of_the_same_file_nothing_is_gone_on_with() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(100_000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| {
        let most = if request.number == 0 { 70_000 } else { usize::MAX };
        let headers = format!("ETag: W/\"weak\"\r\nContent-Length: {}\r\n", sent.len());
        send(stream, "200 OK", &headers, &sent[..most.min(sent.len())]);
    });
    let file = server.file(folder.path(), &bytes);
    get(&file).unwrap();
    assert_whole(&file, &bytes);
    assert!(server.requests().iter().all(|request| request.range.is_none()));
}

#[test]
fn a_server_that_promises_more_than_it_has_is_given_up() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(50_000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| {
        let from = request.range.unwrap_or(0);
        let range = format!("Content-Range: bytes {from}-89999/90000\r\n");
        let (status, range) = if from > 0 { ("206 Partial Content", range.as_str()) } else { ("200 OK", "") };
        let headers = format!("ETag: \"1\"\r\n{range}Content-Length: {}\r\n", 90_000 - from);
        send(stream, status, &headers, &sent[from..]);
    });
    let file = server.file(folder.path(), &bytes);
    assert_failed(&file, &["weights.pth", "50000 of 90000 bytes", "(4 times)", "--from"]);
    assert_eq!(server.requests().len(), 4);
    assert!(names(folder.path()).contains(&".weights.pth.download".to_string()), "what has arrived is kept");
}

#[test]
fn a_length_that_is_too_short_is_found_out_by_the_checksum() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(50_000));
    let sent = bytes.clone();
    let server =
        Server::start(move |_, stream| send(stream, "200 OK", "ETag: \"1\"\r\nContent-Length: 40000\r\n", &sent));
    assert_failed(&server.file(folder.path(), &bytes), &["twice its SHA-256 is", "was published"]);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_is_not_what_was_published_is_not_kept() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(50_000));
    let mut other = bytes.clone();
    other[777] ^= 1;
    let sent = other.clone();
    let server = Server::start(move |request, stream| send_part(stream, request, &sent, "\"1\"", usize::MAX));
    let file = server.file(folder.path(), &bytes);
    assert_failed(&file, &[&sha256(&other), &sha256(&bytes)]);
    assert!(names(folder.path()).is_empty(), "nothing of it is kept: {:?}", names(folder.path()));
    // Once is an accident.
    let (right, wrong) = (bytes.clone(), other);
    let server = Server::start(move |request, stream| {
        send_part(stream, request, if request.number == 0 { &wrong } else { &right }, "\"1\"", usize::MAX);
    });
    let file = server.file(folder.path(), &bytes);
    get(&file).unwrap();
    assert_whole(&file, &bytes);
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    for (status, headers, waits) in [
        ("429 Too Many Requests", "Retry-After: 1\r\n", 1000),
        ("503 Service Unavailable", "", 5),
        ("500 Internal Server Error", "Retry-After: nonsense\r\n", 5),
    ] {
        let sent = bytes.clone();
        let server = Server::start(move |request, stream| match request.number {
            0 => send(stream, status, &format!("{headers}Content-Length: 0\r\n"), &[]),
            _ => send_part(stream, request, &sent, "\"1\"", usize::MAX),
        });
        let file = server.file(folder.path(), &bytes);
        let mut waited = Vec::new();
        let start = Instant::now();
        download(&file, &impatient(), |event| {
            if let DownloadEvent::Waiting { problem, wait } = event {
                assert!(problem.contains(&status[..3]), "{problem}");
                waited.push(wait.as_millis());
            }
        })
        .unwrap();
        assert_eq!(waited, [waits], "{status}");
        assert!(start.elapsed() >= Duration::from_millis(waits as u64));
        assert_whole(&file, &bytes);
        std::fs::remove_file(&file.path).unwrap();
    }
}

#[test]
fn a_server_that_stays_busy_is_given_up_and_waits_grow() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, stream| send(stream, "503 Service Unavailable", "Content-Length: 0\r\n", &[]));
    let file = server.file(folder.path(), b"never");
    let mut waits = Vec::new();
    let message = download(&file, &impatient(), |event| {
        if let DownloadEvent::Waiting { wait, .. } = event {
            waits.push(wait.as_millis());
        }
    })
    .unwrap_err()
    .to_string();
    assert!(message.contains("503") && message.contains("(4 times)"), "{message}");
    assert_eq!(waits, [5, 10, 20]);
}

#[test]
fn what_is_not_there_is_not_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    for (status, said) in [
        ("404 Not Found", "no longer exists"),
        ("410 Gone", "no longer exists"),
        ("403 Forbidden", "login or consent"),
        ("401 Unauthorized", "login or consent"),
        ("418 I'm a teapot", "418"),
    ] {
        let server = Server::start(move |_, stream| send(stream, status, "Content-Length: 4\r\n", b"page"));
        assert_failed(&server.file(folder.path(), b"file"), &[said, "--from"]);
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[test]
fn a_web_page_is_not_a_file_of_weights() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, stream| {
        send(stream, "200 OK", "Content-Type: text/html; charset=utf-8\r\nContent-Length: 13\r\n", b"<html></html>");
    });
    assert_failed(&server.file(folder.path(), b"file"), &["web page", "browser"]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| thread::sleep(Duration::from_secs(5)));
    let start = Instant::now();
    assert_failed(&server.file(folder.path(), b"file"), &["timeout", "(4 times)"]);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    // And one that says half of it.
    let bytes = content(100_000);
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| {
        send_part(stream, request, &sent, "\"1\"", 80_000);
        if request.number == 0 {
            thread::sleep(Duration::from_secs(5));
        }
    });
    let file = server.file(folder.path(), &bytes);
    std::fs::remove_file(folder.path().join(".weights.pth.download")).ok();
    get(&file).unwrap();
    assert_whole(&file, &bytes);
}

#[test]
fn a_disk_that_is_too_small_is_noticed_before_anything_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_, stream| {
        send(stream, "200 OK", "Content-Length: 900000000000000\r\n", b"the first bytes of many");
    });
    let file = File { about_bytes: 1 << 60, ..server.file(folder.path(), b"file") };
    assert_failed(&file, &["are missing", "Make room"]);
    assert_eq!(server.requests().len(), 0, "it was known before");
    // Or the server says it.
    let file = File { about_bytes: 0, ..file };
    assert_failed(&file, &["900000.0 GB are missing", "Make room"]);
    assert_eq!(std::fs::metadata(folder.path().join(".weights.pth.download")).unwrap().len(), 0);
}

#[test]
fn redirections_are_followed_and_other_addresses_named() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| match request.path.as_str() {
        "/weights.pth" => send(stream, "302 Found", "Location: /there\r\nContent-Length: 0\r\n", &[]),
        "/there" => send_part(stream, request, &sent, "\"1\"", usize::MAX),
        _ => send(stream, "302 Found", "Location: /again\r\nContent-Length: 0\r\n", &[]),
    });
    let file = server.file(folder.path(), &bytes);
    get(&file).unwrap();
    assert_whole(&file, &bytes);
    std::fs::remove_file(&file.path).unwrap();
    for url in [format!("{}/again", server.address), "nonsense".to_string(), "ftp://host/file".to_string()] {
        let message = get(&File { url: url.clone(), ..file.clone() }).unwrap_err().to_string();
        assert!(message.starts_with(&url), "{message}");
    }
}

#[test]
fn one_process_at_a_time_downloads_a_file() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| {
        thread::sleep(Duration::from_millis(200));
        send_part(stream, request, &sent, "\"1\"", usize::MAX);
    });
    let file = server.file(folder.path(), &bytes);
    let results = thread::scope(|scope| {
        let all: Vec<_> = (0..2).map(|_| scope.spawn(|| get(&file))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let failed: Vec<String> = results.iter().filter_map(|result| Some(result.as_ref().err()?.to_string())).collect();
    assert!(failed.len() == 1 && failed[0].contains("another process"), "{failed:?}");
    assert_whole(&file, &bytes);
}

#[test]
fn a_file_that_is_here_takes_the_place_of_a_download() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let own = folder.path().join("own.pth");
    std::fs::write(&own, &bytes).unwrap();
    let target = folder.path().join("new/weights.pth");
    let message = copy(&own, &target, "0123").unwrap_err().to_string();
    assert!(message.contains("own.pth: this is not what was published"), "{message}");
    assert!(!target.exists());
    assert_eq!(copy(&own, &target, &sha256(&bytes)).unwrap(), 1000);
    assert_eq!(std::fs::read(&target).unwrap(), bytes);
    assert_eq!(names(&folder.path().join("new")), ["weights.pth"]);
}

// --- the command ---

fn captionlab(arguments: &[&str], out: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_captionlab"));
    command.args(["download"]).args(arguments).arg("--out").arg(out);
    command
}

fn run(arguments: &[&str], out: &Path) -> (bool, String) {
    let output = captionlab(arguments, out).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn a_download_that_is_killed_is_gone_on_with() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(400_000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| {
        send_part(stream, request, &sent, "\"1\"", if request.number == 0 { 250_000 } else { usize::MAX });
        if request.number == 0 {
            thread::sleep(Duration::from_secs(30));
        }
    });
    let url = format!("{}/features.zip", server.address);
    let mut process = captionlab(&["course-features", "--from", &url], folder.path()).spawn().unwrap();
    let partial = folder.path().join("saved_models/downloads/.cached_features.zip.download");
    let start = Instant::now();
    while std::fs::metadata(&partial).map_or(0, |file| file.len()) < 250_000 {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing arrives");
        thread::sleep(Duration::from_millis(10));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let (_, text) = run(&["course-features", "--from", &url], folder.path());
    assert_eq!(server.requests()[1].range, Some(250_000));
    let path: PathBuf = folder.path().join("saved_models/downloads/cached_features.zip");
    // What arrived is no archive, is called so, and does not stay.
    assert!(!path.exists() && !partial.exists(), "{text}");
    assert!(text.contains("neither a folder nor a whole zip archive"), "{text}");
}

#[test]
fn the_command_says_what_there_is_and_asks_for_consent() {
    let folder = tempfile::tempdir().unwrap();
    let (fine, table) = run(&[], folder.path());
    assert!(fine);
    for said in ["resnet50", "fasterrcnn", "168 MB", "clip", "MIT", "flickr30k", "SHA-256 published", "course-features"]
    {
        assert!(table.contains(said), "{said} is not in\n{table}");
    }
    let (fine, text) = run(&["flickr30k"], folder.path());
    assert!(!fine && text.contains("needs your consent") && text.contains("--accept-terms"), "{text}");
    let (fine, text) = run(&["imagenet"], folder.path());
    assert!(!fine && text.contains("flickr30k"), "{text}");
    // Somebody else's file is not taken for published weights.
    let own = folder.path().join("own.pth");
    std::fs::write(&own, b"something").unwrap();
    let (fine, text) = run(&["fasterrcnn", "--from", &own.display().to_string()], folder.path());
    assert!(!fine && text.contains("the published 258fb6c6"), "{text}");
    let (fine, text) = run(&["flickr30k", "--from", "flickr30k-images.tar.gz"], folder.path());
    assert!(!fine && text.contains("tar -xf"), "{text}");
}

#[test]
fn weights_of_pytorch_are_copied_into_the_format_that_lessons_read() {
    let Ok(weights) = captionlab::vision::Architecture::EfficientNetLite0.weights() else {
        println!("skipped: the weights of efficientnet-lite0 are not here");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (fine, text) = run(&["efficientnet-lite0", "--from", &weights.display().to_string()], folder.path());
    assert!(fine, "{text}");
    let copy = folder.path().join("saved_models/downloads/efficientnet-lite0-57934424.safetensors");
    let (theirs, ours) =
        (captionlab::nn::read_weights(&weights).unwrap(), captionlab::nn::read_tensors(&copy).unwrap());
    assert!(theirs.len() > 250 && ours.0 == theirs);
    // What is here is not downloaded again, and a copy that was lost is written again.
    std::fs::remove_file(&copy).unwrap();
    let (fine, text) = run(&["efficientnet-lite0"], folder.path());
    assert!(fine && text.contains("here already") && copy.exists(), "{text}");
}

/// Reads what a proxy is told to connect to, says that it is done, and answers as the file's server.
fn through_a_proxy(bytes: &'static [u8]) -> (Server, String) {
    let server = Server::start(move |request, stream| {
        if request.path.contains(':') && !request.path.contains('/') {
            send(stream, "200 Connection established", "", b"");
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                line.clear();
            }
        }
        send(stream, "200 OK", &format!("ETag: \"1\"\r\nContent-Length: {}\r\n", bytes.len()), bytes);
    });
    let address = server.address.clone();
    (server, address)
}

#[test]
fn a_download_goes_through_the_proxy_of_its_protocol_or_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: &[u8] = b"through a proxy";
    let (proxy, web) = through_a_proxy(bytes);
    // Nobody answers there; and nothing is called so.
    let socks = "socks5://127.0.0.1:9";
    let file = File {
        url: "http://files.invalid/weights.pth".to_string(),
        path: folder.path().join("weights.pth"),
        sha256: sha256(bytes),
        about_bytes: 0,
    };
    let get = |variables: &[(&str, &str)], url: &str| {
        std::fs::remove_file(&file.path).ok();
        let config = DownloadConfig { proxies: Proxies::of(variables.iter().copied()), ..impatient() };
        download(&File { url: url.to_string(), ..file.clone() }, &config, |_| ())
    };
    get(&[("http_proxy", &web)], &file.url).unwrap();
    assert_eq!(proxy.requests().last().unwrap().path, "files.invalid:80");
    get(&[("ALL_PROXY", socks), ("HTTP_PROXY", &web)], &file.url).unwrap();
    let direct = format!("{web}/weights.pth");
    for variables in [&[("ALL_PROXY", socks)][..], &[("http_proxy", "nonsense://127.0.0.1:9")]] {
        let before = proxy.requests().len();
        let message = get(variables, &direct).unwrap_err().to_string();
        let (name, _) = variables[0];
        assert!(message.contains(name) && message.contains("127.0.0.1:9"), "{message}");
        assert_eq!(proxy.requests().len(), before, "it was passed by");
    }
    get(&[("ALL_PROXY", socks), ("NO_PROXY", "example.com,127.0.0.1")], &direct).unwrap();
}

#[test]
fn a_server_may_send_on_to_another_address_and_not_for_ever() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), content(1000));
    let sent = bytes.clone();
    let server = Server::start(move |request, stream| match request.path.as_str() {
        "/weights.pth" => send(stream, "302 Found", "Location: /elsewhere/a\r\nContent-Length: 0\r\n", &[]),
        "/elsewhere/a" => send(stream, "307 Temporary Redirect", "Location: b\r\nContent-Length: 0\r\n", &[]),
        "/elsewhere/b" => send_part(stream, request, &sent, "\"1\"", usize::MAX),
        _ => send(stream, "301 Moved", "Location: /again\r\nContent-Length: 0\r\n", &[]),
    });
    let file = server.file(folder.path(), &bytes);
    get(&file).unwrap();
    assert_whole(&file, &bytes);
    std::fs::remove_file(&file.path).unwrap();
    assert_failed(&File { url: format!("{}/again", server.address), ..file }, &["more than 10 times"]);
}
