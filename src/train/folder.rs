//! Where runs are kept, and who may write there.

use std::path::{Path, PathBuf};

use super::{CHECKPOINT_FILE, CONFIG_FILE, Checkpoint, TOKENIZER_FILE};
use crate::data::{Dataset, Layout};
use crate::files::{FileLock, PARTIAL, project_folder};
use crate::{Error, Result};

/// The folder of runs: `saved_models/runs` of the project that the current folder is in, or else of `CAPTIONLAB_CHECKOUT`, or
/// else of the current folder.
pub fn runs_folder() -> PathBuf {
    project_folder().join("saved_models").join("runs")
}

/// Makes the next free folder `saved_models/runs/<kind>-<number>`.
///
/// # Errors
/// [`Error::File`] when it cannot be made.
pub fn next_folder(kind: &str) -> Result<PathBuf> {
    next_folder_in(&runs_folder(), kind)
}

fn next_folder_in(runs: &Path, kind: &str) -> Result<PathBuf> {
    let fault = |source| Error::file(runs, "make a folder for the run", source, "Name another one with `folder`.");
    std::fs::create_dir_all(runs).map_err(fault)?;
    let mut last = 0;
    for entry in std::fs::read_dir(runs).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        last = last.max(number_of(&name.to_string_lossy(), kind).unwrap_or(0));
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

/// The run of that kind with the highest number; `None` where there is none.
///
/// # Errors
/// [`Error::File`] when the folder of runs is there and cannot be read.
pub fn newest_run(kind: &str) -> Result<Option<PathBuf>> {
    Ok(runs_of(kind)?.into_iter().next())
}

/// The newest run of that kind that has learnt from this data set, by its name, and from features of that encoder, if one is named;
/// `None` where there is none, and for Scenes, for which models ship with the project. Captioners that have learnt snippets alone write
/// no sentences, and do not count.
///
/// # Errors
/// As [`newest_run`].
pub fn newest_run_on(kind: &str, dataset: &Dataset, encoder: Option<&str>) -> Result<Option<PathBuf>> {
    if dataset.layout == Layout::Scenes {
        return Ok(None);
    }
    Ok(runs_of(kind)?.into_iter().find(|run| has_learnt_from(run, &dataset.name, encoder)))
}

/// Whether a run has learnt from the data set of that name, and not from snippets.
fn has_learnt_from(run: &Path, dataset: &str, encoder: Option<&str>) -> bool {
    let config = std::fs::read(run.join(CONFIG_FILE)).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    let is_of_encoder = encoder.is_none_or(|encoder| config["encoder"]["config"]["name"] == encoder);
    config["data"]["name"] == dataset && config["training"]["snippets"].is_null() && is_of_encoder
}

/// The runs of that kind, the highest number first.
fn runs_of(kind: &str) -> Result<Vec<PathBuf>> {
    let runs = runs_folder();
    if !runs.exists() {
        return Ok(Vec::new());
    }
    let fault = |source| Error::file(&runs, "read the folder of runs", source, "Check who may read it.");
    let mut numbered = Vec::new();
    for entry in std::fs::read_dir(&runs).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        numbered.extend(number_of(&entry.file_name().to_string_lossy(), kind).map(|number| (number, entry.path())));
    }
    numbered.sort_unstable_by(|one, other| other.cmp(one));
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// The number of a run of that kind, by the name of its folder.
fn number_of(name: &str, kind: &str) -> Option<u32> {
    name.strip_prefix(kind)?.strip_prefix('-')?.parse().ok()
}

/// The name of the lock in a run's folder.
const LOCK_FILE: &str = "run.lock";

/// The right to train in a folder, which ends with the process, however it ends.
fn lock(folder: &Path) -> Result<FileLock> {
    FileLock::try_take(&folder.join(LOCK_FILE))?.ok_or_else(|| Error::Run {
        problem: format!("{} is being trained already", folder.display()),
        help: "Stop the other run first, or name another folder.".to_string(),
    })
}

/// Takes a folder for a new run, which makes it where it is missing. A folder that holds anything stays untouched, unless it is
/// the start of a run that was killed before its first checkpoint.
pub(super) fn claim(folder: &Path) -> Result<FileLock> {
    let fault = |source| Error::file(folder, "make the run's folder", source, "Name a folder that may be written.");
    if folder.exists() {
        check_free(folder)?;
    }
    std::fs::create_dir_all(folder).map_err(fault)?;
    let lock = lock(folder)?;
    // Another process may have been faster.
    check_free(folder)?;
    Ok(lock)
}

fn check_free(folder: &Path) -> Result<()> {
    let refused = |problem: String, help: &str| Err(Error::Run { problem, help: help.to_string() });
    if folder.join(CHECKPOINT_FILE).exists() {
        return refused(format!("{} holds a run already", folder.display()), "Resume it, or name another folder.");
    }
    // What a start leaves that was killed before its first checkpoint: a lock, and beside it what is written again.
    let is_started = folder.join(LOCK_FILE).exists();
    let fault =
        |source| Error::file(folder, "read the run's folder", source, "Name a folder that may be read and written.");
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
        let of_start =
            [LOCK_FILE, super::log::LOG_FILE, TOKENIZER_FILE].contains(&name.as_str()) || name.ends_with(PARTIAL);
        if !(is_started && of_start) {
            return refused(
                format!("{} is not empty: it holds {name}", folder.display()),
                "A run needs a folder of its own: name one that is empty, or that is not there yet.",
            );
        }
    }
    Ok(())
}

/// Takes the folder of a run to go on with it, and reads its checkpoint under the lock, so that nobody replaces it meanwhile.
pub(super) fn reopen(folder: &Path) -> Result<(FileLock, Checkpoint)> {
    // A folder that holds no run gets no lock either.
    Checkpoint::find(folder)?;
    let lock = lock(folder)?;
    Ok((lock, Checkpoint::read(folder)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_what_it_has_learnt_from() {
        let run = tempfile::tempdir().unwrap();
        assert!(!has_learnt_from(run.path(), "mine", None), "it says nothing");
        for (config, of_any, of_clip) in [
            (r#"{"data": {"name": "mine"}, "training": {}}"#, true, false),
            (r#"{"data": {"name": "mine"}, "encoder": {"config": {"name": "clip"}}}"#, true, true),
            (r#"{"data": {"name": "mine"}, "encoder": {"config": {"name": "tiny"}}}"#, true, false),
            (r#"{"data": {"name": "mine"}, "training": {"snippets": null}}"#, true, false),
            (r#"{"data": {"name": "mine"}, "training": {"snippets": 0.1}}"#, false, false),
            (r#"{"data": {"name": "other"}, "training": {}}"#, false, false),
            ("{", false, false),
        ] {
            std::fs::write(run.path().join(CONFIG_FILE), config).unwrap();
            let found = [None, Some("clip")].map(|encoder| has_learnt_from(run.path(), "mine", encoder));
            assert_eq!(found, [of_any, of_clip], "{config}");
        }
        let scenes = Dataset::scenes(&crate::data::ScenesConfig { train: 1, ..Default::default() }).unwrap();
        assert_eq!(newest_run_on("captioner", &scenes, None).unwrap(), None);
    }

    #[test]
    fn runs_are_numbered_by_kind() {
        let project = tempfile::tempdir().unwrap();
        let runs = project.path().join("saved_models/runs");
        assert_eq!(next_folder_in(&runs, "captioner").unwrap(), runs.join("captioner-1"));
        std::fs::create_dir(runs.join("captioner-9")).unwrap();
        assert_eq!(next_folder_in(&runs, "captioner").unwrap(), runs.join("captioner-10"));
        assert_eq!(next_folder_in(&runs, "align").unwrap(), runs.join("align-1"));
        assert_eq!(
            [number_of("align-7", "align"), number_of("align-tiny", "align"), number_of("eye-1", "align")],
            [Some(7), None, None]
        );
    }

    #[test]
    fn a_folder_that_holds_anything_but_the_start_of_a_run_is_refused_untouched() {
        for (files, refused) in [
            (&["config.json"] as &[&str], true),
            (&["config.json", "model.safetensors", "tokenizer.json"], true),
            (&["photo.jpg"], true),
            (&["log.jsonl"], true),
            (&[CHECKPOINT_FILE], true),
            (&[], false),
            (&[LOCK_FILE, "log.jsonl"], false),
            (&[LOCK_FILE, "tokenizer.json", ".checkpoint.safetensors.7-9.partial"], false),
            (&[LOCK_FILE, "photo.jpg"], true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for name in files {
                std::fs::write(folder.path().join(name), name).unwrap();
            }
            let result = claim(folder.path());
            assert_eq!(result.is_err(), refused, "{files:?}");
            if let Err(error) = result {
                assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
                let mut left: Vec<_> =
                    std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                left.sort();
                let mut expected: Vec<_> = files.iter().map(std::ffi::OsString::from).collect();
                expected.sort();
                assert_eq!(left, expected);
            }
        }
    }
}
