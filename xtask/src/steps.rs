//! Steps of a set-up: each says what it does, shows that it is alive, and says how long it took.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// Runs `work` as a named step.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("{name} …");
    let start = Instant::now();
    let result = work()?;
    // Two steps may be under way.
    let short = name.split([':', ',', '(']).next().unwrap_or(name).trim();
    println!("  {short}: done in {}", duration(start.elapsed()));
    Ok(result)
}

/// Set when a step has failed: what runs beside it ends.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Runs two works that do not need each other at the same time. When one fails, a command of the other ([`run`], [`run_logged`]) is
/// ended.
pub fn side_by_side(one: impl FnOnce() -> Result<()> + Send, other: impl FnOnce() -> Result<()>) -> Result<()> {
    let noticed = |result: Result<()>| {
        // What was ended because of the other is not what went wrong.
        result.map_err(|error| (FAILED.swap(true, Ordering::SeqCst), error.to_string()))
    };
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(|| noticed(one()));
        let other = noticed(other());
        (one.join(), other)
    });
    let one = one.map_err(|_| "a step has panicked")?;
    let mut failures: Vec<(bool, String)> = [one, other].into_iter().filter_map(std::result::Result::err).collect();
    failures.sort();
    match failures.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(error.into()),
    }
}

/// Says that a step's work is already there.
pub fn ready(name: &str) {
    println!("{name}: ready");
}

/// `8.4 s`, `3 min 20 s`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02.0} s", seconds as u64 / 60, seconds % 60.0)
    }
}

/// Runs a long command with its output in a log file, and shows the log's last line every 20 seconds.
///
/// # Errors
/// If the command cannot be started or fails: the end of its log, and `help`.
pub fn run_logged(command: &mut Command, log: &Path, help: &str) -> Result<()> {
    run_counted(command, log, help, None)
}

/// As [`run_logged`] for a cargo that compiles about so many crates: shows how many are done, and how long the others may take.
pub fn run_counted(command: &mut Command, log: &Path, help: &str, crates: Option<usize>) -> Result<()> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let output = File::create(log)?;
    let start = Instant::now();
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .map_err(|error| format!("{name} cannot be started: {error}. {help}"))?;
    let mut next_sign = Duration::from_secs(20);
    let status = wait_for(&mut child, &name, || {
        if start.elapsed() > next_sign {
            next_sign += Duration::from_secs(20);
            let shown = match crates {
                Some(all) => crates_done(&fs::read_to_string(log).unwrap_or_default(), all, start.elapsed()),
                None => last_lines(log, 1).unwrap_or_default().trim().chars().take(90).collect(),
            };
            println!("  {:>9}  {shown}", duration(Duration::from_secs(start.elapsed().as_secs())));
        }
    })?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "{name} failed ({status}). Its last words:\n{}\n{help}\nThe whole log: {}",
        last_lines(log, 30)?,
        log.display()
    )
    .into())
}

/// `87 of 273 crates, about 6 minutes left`, by what cargo has printed.
fn crates_done(log: &str, all: usize, elapsed: Duration) -> String {
    let done = log.lines().filter(|line| line.trim_start().starts_with("Compiling ")).count();
    // Few crates say little of the pace, and fetching comes before compiling.
    if done < 20 || done >= all {
        return format!("{done} of about {all} crates");
    }
    let left = elapsed.as_secs_f64() * (all - done) as f64 / done as f64 / 60.0;
    match left < 1.5 {
        true => format!("{done} of about {all} crates, about a minute left"),
        false => format!("{done} of about {all} crates, about {left:.0} minutes left"),
    }
}

/// Runs a command to its end. When a step beside it fails, it is ended.
pub fn run(command: &mut Command) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
    wait_for(&mut child, &name, || {})
}

/// Runs a command to its end, and gives each line of its standard output to `read`. When a step beside it fails, it is ended.
pub fn run_lines(command: &mut Command, mut read: impl FnMut(&str)) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
    let (tell, lines) = mpsc::channel();
    let output = child.stdout.take();
    // Not waited for: what the program has started may hold its output open after it.
    thread::spawn(move || {
        let lines = output.into_iter().flat_map(|output| BufReader::new(output).split(b'\n'));
        for line in lines.map_while(std::io::Result::ok) {
            if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let status = wait_for(&mut child, &name, || lines.try_iter().for_each(|line| read(&line)))?;
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(2)) {
        read(&line);
    }
    Ok(status)
}

fn wait_for(child: &mut Child, name: &str, mut meanwhile: impl FnMut()) -> Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if FAILED.load(Ordering::SeqCst) {
            end(child)?;
            return Err(format!("{name} was ended, because another step has failed").into());
        }
        meanwhile();
        thread::sleep(Duration::from_millis(if start.elapsed().as_secs() < 2 { 20 } else { 200 }));
    }
}

/// Asks a program to end, so that it ends its own ones too, and kills it when it does not.
fn end(child: &mut Child) -> Result<()> {
    Command::new("kill").arg(child.id().to_string()).status()?;
    let asked = Instant::now();
    while child.try_wait()?.is_none() {
        if asked.elapsed() > Duration::from_secs(20) {
            child.kill()?;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The last lines of a text file.
fn last_lines(file: &Path, count: usize) -> Result<String> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(16_384)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.split(['\n', '\r']).filter(|line| !line.trim().is_empty()).collect();
    Ok(lines[lines.len().saturating_sub(count)..].join("\n"))
}

/// The output of a short command, or `None` where it cannot be had.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_counted_and_the_time_left_follows_the_pace() {
        let log = |count: usize| "  Downloaded x\n".to_string() + &"   Compiling syn v2\n".repeat(count);
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for (log, elapsed, shown) in [
            (log(0), minutes(1), "0 of about 273 crates"),
            (log(91), minutes(3), "91 of about 273 crates, about 6 minutes left"),
            (log(272), minutes(9), "272 of about 273 crates, about a minute left"),
            (log(280), minutes(9), "280 of about 273 crates"),
        ] {
            assert_eq!(crates_done(&log, 273, elapsed), shown);
        }
    }
}
