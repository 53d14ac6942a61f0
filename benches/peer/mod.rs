//! A program in Python that is timed beside ours: it waits for lines on standard input, each with what to do and how often, and
//! answers each with items a second.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

pub struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a program of `benches/`; `None` where Python is not installed.
    pub fn start<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(folder.join(".venv/bin/python"));
        command.arg(folder.join("benches").join(program)).args(arguments);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let (input, output) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
        Some(Self { process, input, output })
    }

    /// Items a second, or what else the program measures.
    pub fn measure(&mut self, mode: &str, count: impl Display) -> Result<f64, Box<dyn Error>> {
        writeln!(self.input, "{mode} {count}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().parse().map_err(|_| format!("the peer answers {line:?} to {mode}"))?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Items a second of our own work.
pub fn rate(items: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    items as f64 / start.elapsed().as_secs_f64()
}
