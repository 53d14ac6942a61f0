//! Set-up, lessons, tests and benchmarks of captionlab: `cargo xtask …`. Builds without libtorch.

mod bench;
mod browser;
mod cache;
mod checks;
mod doctor;
mod kernel;
mod lessons;
mod paths;
mod program;
mod python;
mod setup;
mod steps;
mod target;
mod tests;
mod tree;
mod warm;

use std::process::ExitCode;

/// A message for a person: what was wrong, where, and what to do next.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const HELP: &str = "\
captionlab: the project's commands

  cargo xtask lab [--port N] [--no-browser]   set up what is missing, then open the lessons in JupyterLab
  cargo xtask test [NAME …]                   format, lints, tests, doctests, and every lesson from a fresh kernel; or a part:
                                              format, lints, unit, docs, lessons, pictures, or tests by their names
  cargo xtask setup                           all that `lab` does, but start
  cargo xtask lessons [--save] [--full] [NAME …]
                                              run lessons: small and quick, or at full size; --save stores full-size outputs
  cargo xtask latency [NAME …]                how long each cell of each lesson takes to answer
  cargo xtask bench [NAME …]                  every comparison with a peer, as a table of ratios
  cargo xtask doctor                          what is here, what is missing, and what to do about it
  cargo xtask clean [--all]                   remove this checkout's set-up (--all: the shared cache folder too)

CAPTIONLAB_CACHE names the cache folder, CAPTIONLAB_DATA a data set of your own for the lessons.";

fn main() -> ExitCode {
    if let Some(code) = warm::rustc() {
        return code;
    }
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}

fn port_of(text: &str) -> Result<u16> {
    text.parse().map_err(|_| format!("--port {text}: a port is a number from 1 to 65535").into())
}

fn command() -> Result<()> {
    use lexopt::prelude::*;

    // Its arguments are its own.
    if std::env::args_os().nth(1).is_some_and(|command| command == "captionlab") {
        return program::run(&paths::Paths::find()?);
    }
    let mut arguments = lexopt::Parser::from_env();
    let mut names: Vec<String> = Vec::new();
    let (mut save, mut full, mut all, mut browser, mut port) = (false, false, false, true, None);
    let mut command = None;
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('h') | Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Value(value) if command.is_none() => command = Some(value.string()?),
            Long("save") if command.as_deref() == Some("lessons") => save = true,
            Long("full") if command.as_deref() == Some("lessons") => full = true,
            Long("all") if command.as_deref() == Some("clean") => all = true,
            Long("no-browser") if command.as_deref() == Some("lab") => browser = false,
            Long("port") if command.as_deref() == Some("lab") => port = Some(port_of(&arguments.value()?.string()?)?),
            Value(value) if matches!(command.as_deref(), Some("lessons" | "latency" | "bench" | "kernel" | "test")) => {
                names.push(value.string()?);
            }
            other => return Err(format!("{}. `cargo xtask --help` lists the commands", other.unexpected()).into()),
        }
    }
    let paths = paths::Paths::find()?;
    match command.as_deref() {
        Some("lab") => setup::lab(&paths, port, browser),
        Some("setup") => setup::setup(&paths),
        Some("test") => tests::test(&paths, &names),
        Some("lessons") => {
            setup::setup(&paths)?;
            lessons::run(&paths, &names, if save { lessons::Mode::Save } else { lessons::Mode::Check }, full || save)
        }
        Some("latency") => {
            setup::setup(&paths)?;
            lessons::run(&paths, &names, lessons::Mode::Latency, false)
        }
        Some("bench") => bench::bench(&paths, &names),
        Some("doctor") => doctor::doctor(&paths),
        Some("clean") => setup::clean(&paths, all),
        // Called by Jupyter, not by people: see the kernelspec that `setup` writes.
        Some("kernel") => match names.as_slice() {
            [connection_file] => kernel::start(&paths, connection_file),
            _ => Err("the kernel is started by Jupyter, with a connection file".into()),
        },
        Some(other) => Err(format!("there is no command `{other}`. `cargo xtask --help` lists them").into()),
        None => {
            println!("{HELP}");
            Ok(())
        }
    }
}
