//! What a browser asks for, and whether it may.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use tungstenite::http::{Method, Request, Uri};

/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// Most header lines.
const HEADERS: usize = 64;

/// A connection whose reads all end by a deadline, however slowly bytes come.
#[derive(Debug)]
pub(super) struct Timed {
    pub(super) stream: TcpStream,
    pub(super) deadline: Instant,
}

impl Timed {
    /// Says that nothing more comes, and waits a little for the other side to say so too: closing with unread bytes would reset the
    /// connection before what was written is read.
    pub(super) fn finish(&mut self) {
        if self.stream.shutdown(Shutdown::Write).is_ok() {
            self.deadline = Instant::now() + Duration::from_millis(300);
            let mut ignored = [0; 4096];
            while matches!(self.read(&mut ignored), Ok(1..)) {}
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Why a request is not answered as it wishes: a status of HTTP, and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) u16, pub(super) String);

/// Reads the head of a request, and the bytes behind it that came with it.
///
/// # Errors
/// `None` where the client has gone or was too slow; [`Refused`] for a head that is not one of HTTP, or too long.
pub(super) fn read_head(stream: &mut Timed) -> Result<(Request<()>, Vec<u8>), Option<Refused>> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = match stream.read(&mut part) {
            Ok(0) | Err(_) => return Err(None),
            Ok(count) => count,
        };
        bytes.extend_from_slice(&part[..count]);
        match parse(&bytes) {
            Ok(Some((request, length))) => return Ok((request, bytes.split_off(length))),
            Ok(None) if bytes.len() < HEAD_BYTES => {}
            Ok(None) => return Err(Some(Refused(431, "The head of the request is too long.".into()))),
            Err(problem) => return Err(Some(Refused(400, format!("This is not a request of HTTP: {problem}.")))),
        }
    }
}

/// The head of a request and its length; `None` where more has to come.
fn parse(bytes: &[u8]) -> Result<Option<(Request<()>, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes).map_err(|error| error.to_string())? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let method: Method = head.method.unwrap_or_default().parse().map_err(|_| "its method is odd".to_string())?;
    let target: Uri = head.path.unwrap_or_default().parse().map_err(|_| "its path is odd".to_string())?;
    let mut request = Request::builder().method(method).uri(target);
    for header in head.headers.iter() {
        request = request.header(header.name, header.value);
    }
    Ok(Some((request.body(()).map_err(|error| error.to_string())?, length)))
}

/// Checks that the browser meant to reach this server: by a name that is this computer's, and from a page of this server.
///
/// # Errors
/// [`Refused`], with what to do.
pub(super) fn check_origin(request: &Request<()>, allowed: &Allowed) -> Result<(), Refused> {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    let Some(host) = header("host") else { return Err(Refused(400, "The request names no host.".into())) };
    let name = name_of(host);
    if !allowed.is_own(name) {
        return Err(Refused(
            403,
            format!(
                "This server does not answer to the name {name:?}. If that is this computer, allow it: \
                 `LiveConfig {{ hosts: vec![{name:?}.into()], ..LiveConfig::default() }}`, or --host {name}."
            ),
        ));
    }
    let Some(origin) = header("origin") else { return Ok(()) };
    // Jupyter's proxy hands both on as the browser sent them; others name this server themselves.
    let page = origin.split_once("://").map_or("", |(_, page)| page);
    match page.eq_ignore_ascii_case(host) || allowed.hosts.iter().any(|own| own.eq_ignore_ascii_case(name_of(page))) {
        true => Ok(()),
        false => Err(Refused(403, format!("Pages of {origin:?} may not reach this server."))),
    }
}

/// `localhost` of `localhost:8790`, `::1` of `[::1]:8790`.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// By which names browsers may call the server.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowed {
    /// It listens for this computer alone.
    pub(super) loopback: bool,
    /// Names besides localhost.
    pub(super) hosts: Vec<String>,
    /// Any name: behind JupyterHub, browsers run on other computers, whose names for this one only the hub knows.
    pub(super) any: bool,
}

impl Allowed {
    /// A name can be made to lead here by anybody who owns it; an IP address cannot.
    fn is_own(&self, name: &str) -> bool {
        match name.parse::<IpAddr>() {
            _ if self.any => true,
            Ok(address) if address.is_loopback() || !self.loopback => true,
            _ => {
                let names = ["localhost"].into_iter().chain(self.hosts.iter().map(String::as_str));
                names.into_iter().any(|own| own.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// Whether two tokens are equal, in a time that does not depend on where they differ.
pub(super) fn same_token(given: &str, right: &str) -> bool {
    let differences = given.bytes().zip(right.bytes()).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    given.len() == right.len() && differences == 0
}

/// Writes a whole answer and closes the connection for writing.
pub(super) fn respond(stream: &mut Timed, status: u16, headers: &[(&str, &str)], body: &[u8], with_body: bool) {
    let reason = match status {
        200 => "OK",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let mut answer = format!("HTTP/1.1 {status} {reason}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in headers {
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    if with_body {
        answer.extend_from_slice(body);
    }
    // A client that has gone is not told.
    if stream.write_all(&answer).is_ok() {
        stream.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/x/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_own_names_and_own_pages_reach_the_server() {
        // Headers, whether it is answered: for this computer alone, for others too, behind a hub.
        type Case<'a> = (&'a [(&'a str, &'a str)], [bool; 3]);
        let cases: &[Case] = &[
            (&[("host", "127.0.0.1:8790")], [true; 3]),
            (&[("host", "localhost:8790")], [true; 3]),
            (&[("host", "[::1]:8790")], [true; 3]),
            (&[("host", "LOCALHOST")], [true; 3]),
            (&[("host", "lab.example")], [true; 3]),
            (&[("host", "LAB.example:8888")], [true; 3]),
            (&[], [false; 3]),
            // DNS rebinding: a name of somebody else leads to 127.0.0.1.
            (&[("host", "evil.example:8790")], [false, false, true]),
            (&[("host", "127.0.0.1.evil.example")], [false, false, true]),
            (&[("host", "192.168.1.5:8790")], [false, true, true]),
            // Another page in the same browser.
            (&[("host", "127.0.0.1:8790"), ("origin", "http://127.0.0.1:8790")], [true; 3]),
            (&[("host", "127.0.0.1:8790"), ("origin", "https://evil.example")], [false; 3]),
            (&[("host", "127.0.0.1:8790"), ("origin", "http://127.0.0.1:3000")], [false; 3]),
            (&[("host", "127.0.0.1:8790"), ("origin", "null")], [false; 3]),
            // Jupyter's proxy hands on what the browser said.
            (&[("host", "lab.example"), ("origin", "https://lab.example")], [true; 3]),
            (&[("host", "127.0.0.1:8790"), ("origin", "https://lab.example:8000")], [true; 3]),
            (&[("host", "hub.example"), ("origin", "https://hub.example")], [false, false, true]),
            (&[("host", "hub.example"), ("origin", "https://evil.example")], [false; 3]),
        ];
        let hosts = vec!["lab.example".to_string()];
        let servers = [(true, false), (false, false), (true, true)];
        for (headers, answered) in cases {
            let answers = servers.map(|(loopback, any)| {
                check_origin(&request(headers), &Allowed { loopback, hosts: hosts.clone(), any }).is_ok()
            });
            assert_eq!(answers, *answered, "{headers:?}");
        }
    }

    #[test]
    fn tokens_are_equal_only_as_a_whole() {
        for (given, equal) in [("abcd", true), ("abce", false), ("abc", false), ("abcde", false), ("", false)] {
            assert_eq!(same_token(given, "abcd"), equal, "{given:?}");
        }
    }

    #[test]
    fn a_head_is_read_in_parts_and_garbage_is_refused() {
        let whole = b"GET /token/ HTTP/1.1\r\nHost: localhost\r\n\r\nrest";
        for length in 0..whole.len() - 4 {
            assert!(parse(&whole[..length]).unwrap().is_none(), "{length} bytes");
        }
        let (request, length) = parse(whole).unwrap().unwrap();
        assert_eq!((request.uri().path(), &whole[length..]), ("/token/", &b"rest"[..]));
        for garbage in [&b"\x00\x01\x02"[..], b"GET  HTTP\r\n\r\n", b"GET /\x01 HTTP/1.1\r\n\r\n"] {
            assert!(parse(garbage).is_err(), "{garbage:?}");
        }
    }
}
