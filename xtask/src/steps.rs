//! Steps of a set-up: each says what it does, shows that it is alive, and says how long it took.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
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

/// What went wrong first; what runs beside it then ends.
static FAILURE: Mutex<Option<String>> = Mutex::new(None);

fn failure() -> MutexGuard<'static, Option<String>> {
    FAILURE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs two works that do not need each other at the same time. When one fails, a command of the other ([`run`], [`run_logged`]) is
/// ended.
///
/// # Errors
/// What went wrong first: what was ended because of it is not what went wrong.
pub fn side_by_side(one: impl FnOnce() -> Result<()> + Send, other: impl FnOnce() -> Result<()>) -> Result<()> {
    let noticed =
        |result: Result<()>| result.map_err(|error| failure().get_or_insert_with(|| error.to_string()).clone());
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(|| noticed(one()));
        let other = noticed(other());
        (one.join(), other)
    });
    let one = one.map_err(|_| "a step has panicked")?;
    Ok(one.and(other)?)
}

/// Waits until no other set-up holds the lock of `what`, and holds it; says so where it has to wait.
pub fn lock(path: &Path, what: &str) -> Result<File> {
    let told = |error: std::io::Error| format!("{}: cannot be locked: {error}", path.display());
    let file = File::create(path).map_err(told)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => println!("Another set-up is at work on {what}: waiting for it …"),
        Err(TryLockError::Error(error)) => return Err(told(error).into()),
    }
    file.lock().map_err(told)?;
    Ok(file)
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

/// `about a minute`, `12 minutes`.
pub fn minutes(time: Duration) -> String {
    match (time.as_secs_f64() / 60.0).round() {
        0.0 | 1.0 => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

/// Crates that take long to compile, with the seconds for which they keep one core busy. Of a recent processor: on others it is the
/// shares that count.
const HEAVY: &[(&str, f64)] = &[("captionlab", 65.0)];

/// As long as one of the others takes.
const LIGHT: f64 = 1.0;

/// What cargo has to compile.
#[derive(Clone, Copy)]
pub struct Work {
    crates: usize,
    /// For which one core is kept busy.
    seconds: f64,
}

impl Work {
    /// evcxr_jupyter.
    pub const KERNEL: Self = Self { crates: 273, seconds: 460.0 };
    /// What the first lessons use, and what the others do.
    pub const FIRST_LIBRARIES: Self = Self { crates: 117, seconds: 250.0 };
    pub const OTHER_LIBRARIES: Self = Self { crates: 191, seconds: 710.0 };

    /// Those of the crates that `cargo tree --prefix none` lists for which `is_missing` holds.
    pub fn of_tree(tree: &str, is_missing: impl Fn(&str) -> bool) -> Self {
        let names = tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
        let names: BTreeSet<&str> = names.filter(|name| is_missing(name)).collect();
        Self { crates: names.len(), seconds: names.into_iter().map(seconds_of).sum() }
    }

    /// What is left of it where those crates are compiled.
    pub fn without(self, compiled: &BTreeSet<String>) -> Self {
        let seconds: f64 = compiled.iter().map(|name| seconds_of(name)).sum();
        Self { crates: self.crates.saturating_sub(compiled.len()), seconds: (self.seconds - seconds).max(0.0) }
    }

    /// The same work so many times.
    pub fn times(self, times: usize) -> Self {
        Self { crates: self.crates * times, seconds: self.seconds * times as f64 }
    }

    /// How long it takes on this machine, if its cores are recent ones with nothing else to do.
    pub fn expected(&self) -> Duration {
        Duration::from_secs_f64(self.seconds / cores().min(4) as f64)
    }

    /// For how many of its seconds those were compiled that were begun, but for the last, which are being compiled.
    fn done(&self, begun: &[&str]) -> f64 {
        let done: f64 = begun[..begun.len().saturating_sub(cores())].iter().map(|name| seconds_of(name)).sum();
        done.min(self.seconds)
    }

    /// `87 of about 273 crates, about 6 minutes left`, by the names of those that were begun.
    pub fn progress(&self, begun: &[&str], left: Option<Duration>) -> String {
        let crates = match begun.len() {
            _ if self.crates == 1 => "one crate".to_owned(),
            begun if begun < self.crates => format!("{begun} of about {} crates", self.crates),
            _ => format!("the last of about {} crates", self.crates),
        };
        left.map_or_else(|| crates.clone(), |left| format!("{crates}, about {} left", minutes(left)))
    }
}

/// The names of the crates that cargo has compiled into a folder such as `target/debug`.
pub fn compiled_in(folder: &Path) -> BTreeSet<String> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries(&folder.join(".fingerprint"))
        // Written when the crate is; the folder, when it is begun.
        .filter(|entry| entries(&entry.path()).any(|file| name(&file).starts_with("lib-")))
        .filter_map(|entry| Some(name(&entry).rsplit_once('-')?.0.to_owned()))
        .collect()
}

/// How fast this program gets on with all that it has compiled: works side by side share the processors, and the last to end has them
/// to itself.
pub struct Pace {
    began: Option<Instant>,
    /// Seconds of one core that were done, and of how many, for each work.
    works: Vec<(f64, f64)>,
}

impl Pace {
    pub const fn new() -> Self {
        Self { began: None, works: Vec::new() }
    }

    /// Begins a work, and returns its number.
    pub fn begin(&mut self, work: &Work) -> usize {
        self.began.get_or_insert_with(Instant::now);
        self.works.push((0.0, work.seconds));
        self.works.len() - 1
    }

    /// Notes how far a work is, and tells how long what is left may take.
    pub fn note(&mut self, number: usize, work: &Work, begun: &[&str]) -> Option<Duration> {
        self.works[number].0 = work.done(begun);
        self.left(self.began?.elapsed())
    }

    /// Notes that a work has ended.
    pub fn end(&mut self, number: usize) {
        self.works[number].0 = self.works[number].1;
    }

    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let (done, all) = self.works.iter().fold((0.0, 0.0), |sum, work| (sum.0 + work.0, sum.1 + work.1));
        // A little of it says nothing of this machine's pace, and fetching comes before compiling.
        (done >= all / 20.0 && done < all).then(|| elapsed.mul_f64((all - done) / done))
    }
}

static PACE: Mutex<Pace> = Mutex::new(Pace::new());

fn pace() -> MutexGuard<'static, Pace> {
    PACE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The crates that cargo says it compiles.
fn begun(log: &str) -> Vec<&str> {
    log.lines().filter_map(|line| line.trim_start().strip_prefix("Compiling ")?.split(' ').next()).collect()
}

fn seconds_of(name: &str) -> f64 {
    HEAVY.iter().find(|(heavy, _)| *heavy == name).map_or(LIGHT, |(_, seconds)| *seconds)
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs a long command with its output in a log file. Every half minute it says how long `what` has been under way, with the log's
/// last line.
///
/// # Errors
/// If the command cannot be started or fails: the end of its log, and `help`.
pub fn run_logged(command: &mut Command, what: &str, log: &Path, help: &str) -> Result<()> {
    run_counted(command, what, log, help, None, None)
}

/// As [`run_logged`] for a cargo: in place of the log's last line it says how much is done, and how long the rest may take. The
/// command holds `held` too, so that another set-up waits for it even where this program alone was killed.
pub fn run_counted(
    command: &mut Command,
    what: &str,
    log: &Path,
    help: &str,
    work: Option<&Work>,
    held: Option<&File>,
) -> Result<()> {
    const SIGN: Duration = Duration::from_secs(30);
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let output = File::create(log)?;
    let start = Instant::now();
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(held.map_or_else(|| Ok(Stdio::null()), |lock| lock.try_clone().map(Stdio::from))?)
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .map_err(|error| format!("{name} cannot be started: {error}. {help}"))?;
    let mut next_sign = SIGN;
    let number = work.map(|work| pace().begin(work));
    let status = wait_for(&mut child, &name, || {
        if start.elapsed() > next_sign {
            next_sign += SIGN;
            let shown = match work.zip(number) {
                Some((work, number)) => {
                    let text = fs::read_to_string(log).unwrap_or_default();
                    let begun = begun(&text);
                    work.progress(&begun, pace().note(number, work, &begun))
                }
                None => last_lines(log, 1).unwrap_or_default().trim().chars().take(90).collect(),
            };
            println!("  {what}, {}: {shown}", duration(Duration::from_secs(start.elapsed().as_secs())));
        }
    });
    number.into_iter().for_each(|number| pace().end(number));
    let status = status?;
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
        if failure().is_some() {
            end(child)?;
            return Err(format!("{name} was ended, because another step has failed").into());
        }
        meanwhile();
        thread::sleep(Duration::from_millis(if start.elapsed().as_secs() < 2 { 20 } else { 200 }));
    }
}

/// Asks a program to end, so that it ends its own ones too, and kills it when it does not.
fn end(child: &mut Child) -> Result<()> {
    // The shell's own: a small system has no program of that name.
    Command::new("sh").args(["-c", "kill \"$0\"", &child.id().to_string()]).status()?;
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

/// Held by tests that run commands, or let them fail: a failure ends the commands of a whole program.
#[cfg(test)]
pub static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_counted_by_what_cargo_prints() {
        let names = |count: usize| (0..count).map(|number| format!("crate-{number} v1.0.0 (*)\n"));
        let tree = names(102).chain(["captionlab v0.1.0\n\n".to_owned()]).collect::<String>() + "crate-7 v1.0.0 (*)\n";
        let work = Work::of_tree(&tree, |name| !["crate-8", "crate-9"].contains(&name));
        assert_eq!(work.crates, 101);
        assert!((work.seconds - 100.0 * LIGHT - seconds_of("captionlab")).abs() < 1e-9, "{}", work.seconds);
        let log = |count: usize| "  Downloaded x\n".to_string() + &"   Compiling syn v2\n".repeat(count);
        for (count, shown) in [
            (0, "0 of about 101 crates"),
            (87, "87 of about 101 crates"),
            (101, "the last of about 101 crates"),
            // More than was expected.
            (300, "the last of about 101 crates"),
        ] {
            assert_eq!(work.progress(&begun(&log(count)), None), shown);
            assert_eq!(
                work.progress(&begun(&log(count)), Some(Duration::from_secs(350))),
                format!("{shown}, about 6 minutes left")
            );
        }
        assert!((work.done(&begun(&log(50 + cores()))) - 50.0 * LIGHT).abs() < 1e-9);
        assert!((work.done(&begun(&log(300))) - work.seconds).abs() < 1e-9);
    }

    #[test]
    fn of_an_interrupted_work_what_is_left_is_counted() {
        let root = std::env::temp_dir().join(format!("captionlab-compiled-{}", std::process::id()));
        for file in ["syn-1a/lib-syn", "polars-core-2b/lib-polars_core", "tch-3c/invoked.timestamp"] {
            let file = root.join(".fingerprint").join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let compiled = compiled_in(&root);
        assert_eq!(Vec::from_iter(&compiled), ["polars-core", "syn"]);
        let left = Work { crates: 10, seconds: 1000.0 }.without(&compiled);
        assert_eq!(left.crates, 8);
        assert!((left.seconds - (1000.0 - seconds_of("polars-core") - seconds_of("syn"))).abs() < 1e-9);
        let none = Work { crates: 1, seconds: 1.0 }.without(&compiled);
        assert_eq!((none.crates, none.seconds), (0, 0.0));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_command_that_outlives_the_set_up_keeps_its_lock() {
        let root = std::env::temp_dir().join(format!("captionlab-held-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let path = root.join("lock");
        let held = lock(&path, "a test").unwrap();
        // The shell ends at once, and what it has started goes on.
        let mut outlives = Command::new("sh");
        outlives.args(["-c", "exec 3<&0; sleep 2 &"]);
        run_counted(&mut outlives, "sleep", &root.join("log"), "", None, Some(&held)).unwrap();
        drop((held, outlives));
        assert!(File::create(&path).unwrap().try_lock().is_err());
        let start = Instant::now();
        drop(lock(&path, "a test").unwrap());
        assert!(start.elapsed() < Duration::from_secs(20));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_time_left_is_that_of_all_works_at_the_pace_of_all() {
        let minute = Duration::from_secs(60);
        for (works, left) in [
            (vec![], None),
            // Too early to tell.
            (vec![(1.0, 100.0)], None),
            (vec![(25.0, 100.0)], Some(minute * 3)),
            // The other one takes processors, and gives them back.
            (vec![(25.0, 100.0), (75.0, 100.0)], Some(minute)),
            (vec![(50.0, 100.0), (100.0, 100.0)], Some(minute / 3)),
            (vec![(100.0, 100.0)], None),
        ] {
            assert_eq!(Pace { began: None, works }.left(minute), left);
        }
    }

    #[test]
    fn of_works_side_by_side_the_first_failure_is_told_and_the_other_is_ended() {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let fails = || -> Result<()> { Err("the disk is full".into()) };
        let waits = || side_by_side(|| run(Command::new("sleep").arg("60")).map(|_| ()), || Ok(()));
        let told = side_by_side(waits, fails).unwrap_err().to_string();
        *failure() = None;
        assert_eq!(told, "the disk is full");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
