//! Lessons run from fresh kernels: to check them, to store their outputs, or to see how quick their cells are.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::paths::Paths;
use crate::{Result, steps};

pub enum Mode {
    /// Every cell must run, with nothing on standard error and no picture missing.
    Check,
    /// As checking, on a few picture files in place of Scenes; lessons whose data cannot be chosen are left out.
    Pictures,
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
            Mode::Pictures => "pictures",
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
    let status = steps::run(&mut session).map_err(|error| format!("{error}. Run: cargo xtask setup"))?;
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

/// `notebooks/4_scores.ipynb` and `4_scores` are the same lesson; `solutions/4_scores` are its solutions.
fn stem(name: &str) -> String {
    let path = Path::new(name);
    let stem = path.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(".ipynb").to_owned();
    let is_solution = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == "solutions");
    if is_solution { format!("solutions/{stem}") } else { stem }
}

/// The names of all lessons, in order, and then of their solutions.
pub fn all(paths: &Paths) -> Result<Vec<String>> {
    let mut names = notebooks_in(&paths.notebooks())?;
    let solutions = paths.notebooks().join("solutions");
    if solutions.is_dir() {
        names.extend(notebooks_in(&solutions)?.into_iter().map(|name| format!("solutions/{name}")));
    }
    Ok(names)
}

fn notebooks_in(folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ipynb"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesson_is_named_with_or_without_its_folder_and_ending() {
        for (given, name) in [
            ("4_scores", "4_scores"),
            ("4_scores.ipynb", "4_scores"),
            ("notebooks/4_scores.ipynb", "4_scores"),
            ("../notebooks/4_scores", "4_scores"),
            ("/home/student/notebooks/4_scores.ipynb", "4_scores"),
            ("solutions/4_scores", "solutions/4_scores"),
            ("notebooks/solutions/4_scores.ipynb", "solutions/4_scores"),
        ] {
            assert_eq!(stem(given), name);
        }
    }
}
