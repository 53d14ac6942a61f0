//! Lessons run from fresh kernels: to check them, to store their outputs, or to see how quick their cells are.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::Result;
use crate::paths::Paths;

pub enum Mode {
    /// Every cell must run, with nothing on standard error and no picture missing.
    Check,
    /// As checking, and the outputs are stored in the notebooks.
    Save,
    /// As checking, and a table of times is printed.
    Latency,
}

/// Runs the named lessons, or all.
pub fn run(paths: &Paths, names: &[String], mode: Mode, full: bool) -> Result<()> {
    let all = all(paths)?;
    for name in names {
        if !all.contains(&stem(name)) {
            return Err(format!("there is no lesson `{name}`. There are: {}", all.join(", ")).into());
        }
    }
    let chosen = if names.is_empty() { all } else { names.iter().map(|name| stem(name)).collect() };
    let mut session = Command::new(paths.venv_python());
    session
        .arg(paths.checkout.join("xtask/jupyter_session.py"))
        .arg(match mode {
            Mode::Check => "check",
            Mode::Save => "save",
            Mode::Latency => "latency",
        })
        .args(&chosen)
        .current_dir(paths.notebooks())
        .env("CAPTIONLAB_KERNEL_BUILDS", paths.kernel_builds());
    if !full {
        session.env("CAPTIONLAB_SMALL", "1");
    }
    set_data(&mut session)?;
    let status = session
        .status()
        .map_err(|error| format!("{}: {error}. Run: cargo xtask setup", paths.venv_python().display()))?;
    if status.success() { Ok(()) } else { Err("a lesson failed".into()) }
}

/// The kernel works in `notebooks/`, the caller elsewhere: a relative `CAPTIONLAB_DATA` is the caller's.
pub fn set_data(command: &mut Command) -> Result<()> {
    if let Some(data) = env::var_os("CAPTIONLAB_DATA").filter(|data| !data.is_empty()) {
        let absolute = fs::canonicalize(&data).map_err(|error| {
            format!(
                "CAPTIONLAB_DATA={}: {error}. Give the folder of a data set, or unset it to use Scenes",
                Path::new(&data).display()
            )
        })?;
        command.env("CAPTIONLAB_DATA", absolute);
    }
    Ok(())
}

fn stem(name: &str) -> String {
    Path::new(name).file_name().unwrap_or_default().to_string_lossy().trim_end_matches(".ipynb").to_owned()
}

/// The names of all lessons, in order.
pub fn all(paths: &Paths) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(paths.notebooks())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ipynb"))
        .map(|path| stem(&path.to_string_lossy()))
        .collect();
    names.sort();
    Ok(names)
}
