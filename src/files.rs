//! Atomic file writes, file locks, and the project's folders.

use std::fs::File;
#[cfg(feature = "tensors")]
use std::fs::TryLockError;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes `bytes` beside `path`, syncs, and renames: even after a crash, `path` is the old file or the complete new one.
///
/// # Errors
/// [`Error::File`] when the folder is not writable; `action` describes what was tried ("write the checkpoint").
pub fn write_whole(path: &Path, action: &str, bytes: &[u8]) -> Result<()> {
    write_whole_with(path, action, |file| file.write_all(bytes))?;
    // Makes the rename durable, where folders can be opened.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        && let Ok(folder) = File::open(folder)
    {
        folder.sync_all().ok();
    }
    Ok(())
}

/// As [`write_whole`], writing piece by piece. After a crash of the machine the new file may be missing, but never incomplete.
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
        Error::file(path, action, source, "Check that the folder exists and is writable, and that the disk has room.")
    })
}

/// A name part that no other process uses, even on another machine.
pub(crate) fn unique() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("{}-{now}", std::process::id())
}

/// Suffix of unfinished files.
pub(crate) const PARTIAL: &str = ".partial";

/// A name in the same folder (renames must not cross file systems) that no other process uses.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}{PARTIAL}", unique()))
}

/// An exclusive lock between processes, held on a file. The operating system releases it when the process ends, however it ends.
#[cfg(feature = "tensors")]
#[allow(dead_code)]
#[derive(Debug)]
pub(crate) struct FileLock {
    path: PathBuf,
    file: File,
    is_guarded: bool,
    is_removed: bool,
}

#[cfg(feature = "tensors")]
#[allow(dead_code)]
impl FileLock {
    /// Takes the lock of a file, which is created if missing and never truncated. Blocks while another process holds it.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be created or opened.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        loop {
            if let Some(lock) = Self::attempt(path, |file| file.lock().map_err(TryLockError::Error))? {
                return Ok(lock);
            }
        }
    }

    /// As [`FileLock::take`], but returns `None` while another process holds it.
    ///
    /// # Errors
    /// As [`FileLock::take`].
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        Self::attempt(path, File::try_lock)
    }

    fn attempt(path: &Path, lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Option<Self>> {
        loop {
            let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
            let file = open.map_err(|source| {
                Error::file(path, "take the lock", source, "Check that the folder exists and is writable.")
            })?;
            let is_guarded = match lock(&file) {
                // The previous holder has removed or renamed the file: lock the new one.
                Ok(()) if !is_same_file(&file, path) => continue,
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                // A file system without locks: continue unguarded.
                Err(TryLockError::Error(_)) => false,
            };
            return Ok(Some(Self { path: path.to_path_buf(), file, is_guarded, is_removed: false }));
        }
    }

    /// Removes the file when the lock is dropped. Waiting processes then lock a new file.
    #[must_use]
    pub(crate) fn removed_when_done(mut self) -> Self {
        self.is_removed = true;
        self
    }

    /// Whether it keeps others out: not where the file system knows no locks.
    pub(crate) fn is_guarded(&self) -> bool {
        self.is_guarded
    }

    /// The locked file, open for reading and writing.
    #[cfg(feature = "download")]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(feature = "tensors")]
impl Drop for FileLock {
    fn drop(&mut self) {
        // Before the lock is released, so that the file is still its own.
        if self.is_removed && is_same_file(&self.file, &self.path) {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Whether a path still refers to an open file.
#[cfg(feature = "tensors")]
fn is_same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        file.metadata().map(identity).ok() == std::fs::metadata(path).map(identity).ok()
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// A file or folder of the project that the current folder is in, or else of `CAPTIONLAB_CHECKOUT`.
#[cfg(feature = "tensors")]
pub(crate) fn project_file(path: &str) -> Option<PathBuf> {
    project_files(path).next()
}

/// As [`project_file`], in each enclosing project, innermost first.
#[cfg(any(feature = "scores", feature = "tensors"))]
pub(crate) fn project_files(path: &str) -> impl Iterator<Item = PathBuf> {
    let current = std::env::current_dir().unwrap_or_default();
    let folders: Vec<PathBuf> =
        current.ancestors().map(Path::to_path_buf).chain(variable("CAPTIONLAB_CHECKOUT")).collect();
    folders.into_iter().map(move |folder| folder.join(path)).filter(|file| file.exists())
}

/// The project around the current folder, or else `CAPTIONLAB_CHECKOUT`, or else the current folder.
#[cfg(feature = "tensors")]
pub(crate) fn project_folder() -> PathBuf {
    let project = project_file("saved_models").and_then(|folder| folder.parent().map(Path::to_path_buf));
    project.unwrap_or_else(|| PathBuf::from("."))
}

/// The cache folder shared by all checkouts of a user: `CAPTIONLAB_CACHE`, or `captionlab` in the user's cache folder. Set-up
/// (xtask/src/paths.rs) uses the same rule. `None` where the user has no cache folder.
#[cfg(any(feature = "live", feature = "scores"))]
pub(crate) fn cache_folder() -> Option<PathBuf> {
    cache_folder_of(variable, cfg!(target_os = "macos"))
}

#[cfg(any(feature = "live", feature = "scores"))]
fn cache_folder_of(variable: impl Fn(&str) -> Option<PathBuf>, is_macos: bool) -> Option<PathBuf> {
    if let Some(cache) = variable("CAPTIONLAB_CACHE") {
        return Some(std::path::absolute(&cache).unwrap_or(cache));
    }
    let user = match is_macos {
        true => variable("HOME").map(|home| home.join("Library/Caches")),
        false => variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache"))),
    };
    user.map(|user| user.join("captionlab"))
}

/// The value of a variable that names a folder; `None` if it is empty.
#[cfg(any(feature = "scores", feature = "tensors"))]
fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
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

    #[cfg(feature = "tensors")]
    #[test]
    fn a_lock_is_one_processs_at_a_time_and_its_file_may_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name.lock");
        std::fs::write(&path, "content").unwrap();
        let lock = FileLock::take(&path).unwrap();
        assert!(lock.is_guarded() && FileLock::try_take(&path).unwrap().is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "content", "it is not emptied");
        drop(lock);
        assert!(path.exists());
        let lock = FileLock::try_take(&path).unwrap().unwrap().removed_when_done();
        // Another file of that name is not its own.
        std::fs::remove_file(&path).unwrap();
        let other = FileLock::try_take(&path).unwrap().unwrap();
        drop(lock);
        assert!(path.exists());
        drop(other.removed_when_done());
        assert!(!path.exists());
        let message = FileLock::take(&folder.path().join("nowhere/name.lock")).unwrap_err().to_string();
        assert!(message.contains("name.lock") && message.contains("take the lock"), "{message}");
    }

    #[cfg(feature = "tensors")]
    #[test]
    fn who_waits_for_a_lock_whose_file_is_removed_has_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name.lock");
        let (inside, count) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _lock = FileLock::take(&path).unwrap().removed_when_done();
                        assert_eq!(inside.fetch_add(1, order), 0, "two have it");
                        std::thread::yield_now();
                        count.fetch_add(1, order);
                        inside.fetch_sub(1, order);
                    }
                });
            }
        });
        assert_eq!((count.into_inner(), path.exists()), (400, false));
    }

    #[cfg(feature = "scores")]
    #[test]
    fn the_cache_folder_is_that_of_set_up() {
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Variables, bool, Option<&str>); 7] = [
            (&[("CAPTIONLAB_CACHE", "/c"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], false, Some("/c")),
            (&[("CAPTIONLAB_CACHE", "/c"), ("HOME", "/h")], true, Some("/c")),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], false, Some("/x/captionlab")),
            (&[("HOME", "/h")], false, Some("/h/.cache/captionlab")),
            (&[("HOME", "/h")], true, Some("/h/Library/Caches/captionlab")),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], true, Some("/h/Library/Caches/captionlab")),
            (&[], false, None),
        ];
        for (variables, is_macos, expected) in cases {
            let variable = |name: &str| variables.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into());
            assert_eq!(cache_folder_of(variable, is_macos).as_deref(), expected.map(Path::new), "{variables:?}");
        }
    }
}
