//! Files that are never half-written.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes `bytes` beside `path`, makes them durable, and renames: whoever opens `path` finds the old file or the whole new
/// one, also after a crash.
///
/// # Errors
/// [`Error::File`] when the folder cannot be written; `action` says what was tried ("write the checkpoint").
pub(crate) fn write_whole(path: &Path, action: &str, bytes: &[u8]) -> Result<()> {
    write_whole_with(path, action, |file| file.write_all(bytes))?;
    // The rename itself becomes durable with the folder; where folders cannot be opened there is nothing to do.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        && let Ok(folder) = File::open(folder)
    {
        folder.sync_all().ok();
    }
    Ok(())
}

/// As [`write_whole`], for a file that is written part by part. After a crash of the machine the new file may be missing as a whole.
///
/// # Errors
/// As [`write_whole`].
pub(crate) fn write_whole_with(
    path: &Path,
    action: &str,
    content: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> Result<()> {
    let beside = beside(path);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&beside)?;
        content(&mut file)?;
        file.sync_all()?;
        drop(file);
        std::fs::rename(&beside, path)
    };
    write().map_err(|source| {
        std::fs::remove_file(&beside).ok();
        Error::file(
            path,
            action,
            source,
            "Check that the folder exists, that it may be written, and that the disk has room.",
        )
    })
}

/// What no other process and no other thread calls its files, here or on another machine, as far as one can tell.
pub(crate) fn unique() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("{}-{now}", std::process::id())
}

/// How the names of files end that are being written.
pub(crate) const PARTIAL: &str = ".partial";

/// A name in the same folder (a rename must not cross file systems) that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}{PARTIAL}", unique()))
}

/// A file or folder of the project that the current folder is in, or else of `CAPTIONLAB_CHECKOUT`.
#[cfg(feature = "tensors")]
pub(crate) fn project_file(path: &str) -> Option<PathBuf> {
    let current = std::env::current_dir().unwrap_or_default();
    let checkout = std::env::var_os("CAPTIONLAB_CHECKOUT").map(PathBuf::from);
    let folders = current.ancestors().chain(checkout.as_deref());
    folders.map(|folder| folder.join(path)).find(|file| file.exists())
}

/// The project that the current folder is in, or else `CAPTIONLAB_CHECKOUT`; the current folder where there is neither.
#[cfg(feature = "tensors")]
pub(crate) fn project_folder() -> PathBuf {
    let project = project_file("saved_models").and_then(|folder| folder.parent().map(Path::to_path_buf));
    project.unwrap_or_else(|| PathBuf::from("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        write_whole(&path, "write the file", b"first, and longer").unwrap();
        write_whole(&path, "write the file", b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere").join("file.txt");
        let message = write_whole(&path, "write the file", b"text").unwrap_err().to_string();
        assert!(message.contains("file.txt") && message.contains("write the file"), "{message}");
    }
}
