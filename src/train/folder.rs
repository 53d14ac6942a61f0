//! Where runs are kept.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folder of runs: `saved_models/runs` of the project that the current folder is in, or else of the current folder.
pub fn runs_folder() -> Result<PathBuf> {
    let current = std::env::current_dir().map_err(|source| {
        Error::file(
            ".",
            "find the current folder",
            source,
            "Change into a folder that exists, or name the run's folder.",
        )
    })?;
    Ok(runs_folder_above(&current))
}

fn runs_folder_above(current: &Path) -> PathBuf {
    let project = current.ancestors().find(|folder| folder.join("saved_models").is_dir()).unwrap_or(current);
    project.join("saved_models").join("runs")
}

/// Makes the next free folder `saved_models/runs/<kind>-<number>`.
///
/// # Errors
/// [`Error::File`] when it cannot be made.
pub fn next_folder(kind: &str) -> Result<PathBuf> {
    next_folder_in(&runs_folder()?, kind)
}

fn next_folder_in(runs: &Path, kind: &str) -> Result<PathBuf> {
    let fault = |source| Error::file(runs, "make a folder for the run", source, "Name another one with `folder`.");
    std::fs::create_dir_all(runs).map_err(fault)?;
    let mut last = 0;
    for entry in std::fs::read_dir(runs).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        let number = name.to_string_lossy().strip_prefix(kind).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        last = last.max(number.unwrap_or(0u32));
    }
    loop {
        last = last.saturating_add(1);
        let folder = runs.join(format!("{kind}-{last}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            // Another process was faster.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && last < u32::MAX => {}
            Err(error) => return Err(fault(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_kept_in_the_project_and_numbered() {
        let project = tempfile::tempdir().unwrap();
        let notebooks = project.path().join("notebooks");
        std::fs::create_dir(&notebooks).unwrap();
        assert_eq!(runs_folder_above(&notebooks), notebooks.join("saved_models/runs"));
        std::fs::create_dir(project.path().join("saved_models")).unwrap();
        let runs = runs_folder_above(&notebooks);
        assert_eq!(runs, project.path().join("saved_models/runs"));
        assert_eq!(next_folder_in(&runs, "captioner").unwrap(), runs.join("captioner-1"));
        std::fs::create_dir(runs.join("captioner-9")).unwrap();
        assert_eq!(next_folder_in(&runs, "captioner").unwrap(), runs.join("captioner-10"));
        assert_eq!(next_folder_in(&runs, "aligner").unwrap(), runs.join("aligner-1"));
    }
}
