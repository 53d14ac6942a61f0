//! `cargo captionlab …`: compiles the command line where that is needed, says so, and becomes it.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::paths::Paths;
use crate::steps::{Pace, Work, duration, minutes, output_of, run_lines};
use crate::{Result, checks};

/// Runs the command line with the arguments that follow. Returns only if that fails.
pub fn run(paths: &Paths) -> Result<()> {
    let mut arguments: Vec<_> = env::args_os().skip(2).collect();
    let whole = ["--features", "cli", "--bin", "captionlab"];
    let scores = ["--no-default-features", "--features", "score-command", "--bin", "captionlab-score"];
    let program = match checks::libtorch(paths) {
        Ok(_) => build(paths, &whole)?,
        // To score captions no libtorch is needed.
        Err(_) if arguments.first().is_some_and(|command| command == "score") => {
            arguments.remove(0);
            build(paths, &scores)?
        }
        Err(problem) => return Err(format!("{problem}. Without it `cargo captionlab score` works alone").into()),
    };
    Err(format!("{} cannot be started: {}", program.display(), Command::new(&program).args(arguments).exec()).into())
}

/// Compiles a program, and says on standard error how far it is: standard output is the program's own.
fn build(paths: &Paths, what: &[&str]) -> Result<PathBuf> {
    const SIGN: Duration = Duration::from_secs(20);
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--message-format", "json-render-diagnostics"])
        .args(what)
        .current_dir(&paths.checkout)
        .stdin(Stdio::null());
    let start = Instant::now();
    let (mut compiled, mut work, mut next_sign): (Vec<String>, Option<(Work, usize)>, _) = (Vec::new(), None, SIGN);
    let mut pace = Pace::new();
    let mut program = None;
    let status = run_lines(&mut cargo, |line| {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { return };
        if let Some(executable) = message["executable"].as_str() {
            program = Some(PathBuf::from(executable));
        }
        if message["fresh"] != false {
            return;
        }
        compiled.extend(message["target"]["name"].as_str().map(|name| name.replace('_', "-")));
        let (work, number) = work.get_or_insert_with(|| {
            let work = work_of(paths, what);
            eprintln!("Compiling the command line (about {} the first time) …", minutes(work.expected()));
            (work, pace.begin(&work))
        });
        if start.elapsed() > next_sign {
            next_sign = start.elapsed() + SIGN;
            let names: Vec<&str> = compiled.iter().map(String::as_str).collect();
            let took = duration(Duration::from_secs(start.elapsed().as_secs()));
            let left = pace.note(*number, work, &names);
            eprintln!("  {took}: {}", work.progress(&names, left));
        }
    })?;
    if !status.success() {
        return Err("the command line could not be compiled: cargo says above why".into());
    }
    program.ok_or("cargo does not say where it has put the program".into())
}

/// All that a program is made of.
fn work_of(paths: &Paths, what: &[&str]) -> Work {
    let mut tree = Command::new("cargo");
    let features = what.split(|option| *option == "--bin").next().unwrap_or_default();
    tree.args(["tree", "--edges", "normal,build", "--prefix", "none"]).args(features).current_dir(&paths.checkout);
    Work::of_tree(&output_of(&mut tree).unwrap_or_default(), |_| true)
}
