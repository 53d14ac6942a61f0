//! Copies of big folders that share their big files on disk.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use crate::Result;
use crate::steps::lock;

/// What becomes of a file in a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// The copy shares the file: for files that are only ever replaced, never written in place.
    Link,
    Copy,
    Leave,
}

/// Copies a folder. `take` decides on each file and folder by its path inside `from`; times of change are kept, since cargo
/// goes by them.
pub fn copy(from: &Path, to: &Path, take: &dyn Fn(&Path) -> Take) -> Result<()> {
    copy_folder(from, to, Path::new(""), take).map_err(|error| {
        format!("{} could not be copied to {}: {error}. Is the disk full?", from.display(), to.display()).into()
    })
}

/// Makes a folder where it is not there yet, so that it is whole or not there: one program at a time, in a folder beside it, which
/// is begun anew where one was ended.
pub fn make_whole(folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let _lock = lock(&folder.with_extension("lock"), &folder.display().to_string())?;
    if folder.exists() {
        return Ok(());
    }
    let partial = folder.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    make(&partial)?;
    Ok(fs::rename(&partial, folder)?)
}

fn copy_folder(from: &Path, to: &Path, inside: &Path, take: &dyn Fn(&Path) -> Take) -> std::io::Result<()> {
    fs::create_dir_all(to.join(inside))?;
    for entry in fs::read_dir(from.join(inside))? {
        let entry = entry?;
        let inside = inside.join(entry.file_name());
        let (source, target) = (entry.path(), to.join(&inside));
        let kind = entry.file_type()?;
        match take(&inside) {
            Take::Leave => {}
            _ if kind.is_dir() => copy_folder(from, to, &inside, take)?,
            _ if kind.is_symlink() => std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?,
            // Another file system has no hard links to this one: a true copy does as well.
            Take::Link if fs::hard_link(&source, &target).is_ok() => {}
            _ => copy_file(&source, &target)?,
        }
    }
    Ok(())
}

/// Never written in place: a copy that is cut short would be taken for whole, and what has another name would change there too.
fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    made_beside(to, |beside| {
        fs::copy(from, beside)?;
        let changed: SystemTime = fs::metadata(from)?.modified()?;
        File::options().write(true).open(beside)?.set_modified(changed)
    })
}

/// Writes a file beside and renames it, so that it is never half-written.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    replace(path, |beside| fs::write(beside, text))
}

/// Makes a file beside, by a name of this process alone, and renames it.
pub fn replace(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    made_beside(path, make).map_err(|error| format!("{}: cannot be written: {error}", path.display()).into())
}

fn made_beside(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let made = make(&beside).and_then(|()| fs::rename(&beside, path));
    if made.is_err() {
        let _ = fs::remove_file(&beside);
    }
    made
}

/// What a folder is called while it is being removed.
pub const REMOVING: &str = "removing";

/// Removes a file, or a folder under another name, so that one whose removal was ended is not taken for whole.
pub fn remove(path: &Path) -> std::io::Result<()> {
    if !path.is_dir() {
        return fs::remove_file(path);
    }
    if path.extension().is_some_and(|ending| ending == REMOVING) {
        return fs::remove_dir_all(path);
    }
    // Not `with_extension`: names of evcxr hold dots.
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{REMOVING}"));
    let removing = Path::new(&name);
    if removing.exists() {
        fs::remove_dir_all(removing)?;
    }
    fs::rename(path, removing)?;
    fs::remove_dir_all(removing)
}

/// Removes from a folder what `take` leaves.
pub fn retain(folder: &Path, take: &dyn Fn(&Path) -> Take) -> Result<()> {
    retain_inside(folder, Path::new(""), take)
        .map_err(|error| format!("{} could not be tidied: {error}", folder.display()).into())
}

fn retain_inside(folder: &Path, inside: &Path, take: &dyn Fn(&Path) -> Take) -> std::io::Result<()> {
    for entry in fs::read_dir(folder.join(inside))? {
        let entry = entry?;
        let inside = inside.join(entry.file_name());
        match (take(&inside), entry.file_type()?.is_dir()) {
            (Take::Leave, true) => fs::remove_dir_all(entry.path())?,
            (Take::Leave, false) => fs::remove_file(entry.path())?,
            (_, true) => retain_inside(folder, &inside, take)?,
            (_, false) => {}
        }
    }
    Ok(())
}

/// For cargo's target folders: what the compiler writes is replaced as a whole, so it may be shared; cargo's own notes are
/// written in place, so they are copied.
pub fn take_target(inside: &Path) -> Take {
    match inside.extension().and_then(|extension| extension.to_str()) {
        Some("rlib" | "rmeta" | "so" | "dylib" | "a") => Take::Link,
        _ => Take::Copy,
    }
}

/// As [`take_target`], for third-party crates alone: nothing that was made from the checkout.
pub fn take_third_party(inside: &Path) -> Take {
    let name = inside.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let passing = matches!(name, "incremental" | "doc" | "tmp" | "examples") || name.ends_with(".lock");
    if is_ours(name) || passing { Take::Leave } else { take_target(inside) }
}

/// For the copy that a kernel works in: what belongs to third-party crates is shared, cargo's notes included, since a kernel
/// does not build those crates again. Thousands of files are linked much faster than copied.
pub fn take_for_kernel(inside: &Path) -> Take {
    let parts = || inside.iter().filter_map(|part| part.to_str());
    let of_crates = parts().any(|part| matches!(part, ".fingerprint" | "build" | "deps"));
    if of_crates && !parts().any(is_ours) { Take::Link } else { take_target(inside) }
}

/// True for files and folders that were made from the checkout, or from cells.
fn is_ours(name: &str) -> bool {
    let name = name.strip_prefix("lib").unwrap_or(name);
    ["captionlab", "xtask", "ctx", "code_"].iter().any(|crate_name| name.starts_with(crate_name))
}

/// Size of a file or folder in bytes, and how much of that its removal frees: files that have another name outside of it stay on
/// disk. A file of several names counts once.
pub fn size(path: &Path) -> (u64, u64) {
    let mut files = HashMap::new();
    find_files(path, &mut files);
    let frees = files.values().filter(|file| file.found == file.names);
    (files.values().map(|file| file.bytes).sum(), frees.map(|file| file.bytes).sum())
}

/// A file on disk: how many names it has, and how many of them were found.
struct Found {
    bytes: u64,
    names: u64,
    found: u64,
}

fn find_files(path: &Path, files: &mut HashMap<(u64, u64), Found>) {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = path.symlink_metadata() else { return };
    if metadata.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.for_each(|entry| find_files(&entry.path(), files));
        return;
    }
    let new = Found { bytes: metadata.len(), names: metadata.nlink(), found: 0 };
    files.entry((metadata.dev(), metadata.ino())).or_insert(new).found += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const FILES: [&str; 6] = [
        "target/debug/deps/libtch-1.rlib",
        "target/debug/.fingerprint/tch-1/lib-tch",
        "target/debug/.fingerprint/captionlab-1/lib-captionlab",
        "target/debug/deps/libcaptionlab-1.rlib",
        "target/debug/incremental/captionlab-1/part.o",
        "src/lib.rs",
    ];

    #[test]
    fn what_has_another_name_elsewhere_is_not_freed() {
        let root = folder("size");
        let before = size(&root);
        assert_eq!(before.0, before.1);
        let inside = root.join("src");
        fs::hard_link(inside.join("lib.rs"), inside.join("again.rs")).unwrap();
        let bytes = fs::metadata(inside.join("lib.rs")).unwrap().len();
        assert_eq!((size(&inside), size(&root)), ((bytes, bytes), before), "both names are inside");
        fs::hard_link(inside.join("lib.rs"), root.join("outside.rs")).unwrap();
        assert_eq!((size(&inside), size(&root)), ((bytes, 0), before));
        fs::remove_dir_all(root).unwrap();
    }

    /// A folder of its own with all the files.
    fn folder(name: &str) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("captionlab-tree-{}-{name}", std::process::id()));
        for file in FILES {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), file).unwrap();
        }
        root
    }

    #[test]
    fn a_copy_onto_names_of_the_same_files_loses_nothing() {
        let (from, to) = (folder("onto"), folder("onto").with_extension("to"));
        for take in [Take::Link, Take::Link, Take::Copy] {
            copy(&from, &to, &|_| take).unwrap();
            for file in FILES {
                let texts = [&from, &to].map(|root| fs::read_to_string(root.join(file)).unwrap());
                assert_eq!(texts, [file, file]);
            }
        }
        assert_eq!(fs::metadata(to.join(FILES[0])).unwrap().nlink(), 1);
        fs::remove_dir_all(from).unwrap();
        fs::remove_dir_all(to).unwrap();
    }

    #[test]
    fn what_is_removed_is_gone_at_once_by_its_name() {
        let root = folder("remove");
        let (file, whole) = (root.join("src/lib.rs"), root.join("target"));
        // One whose removal was ended.
        let half = root.join("target.removing");
        fs::create_dir_all(half.join("debug")).unwrap();
        remove(&file).unwrap();
        remove(&whole).unwrap();
        assert!(!file.exists() && !whole.exists() && !half.exists());
        fs::create_dir_all(half.join("debug")).unwrap();
        remove(&half).unwrap();
        assert!(!half.exists() && remove(&whole).is_err());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_folder_that_was_half_made_is_made_anew_and_a_whole_one_is_kept() {
        let root = folder("whole");
        let seed = root.join("seed-1");
        fs::create_dir_all(root.join("seed-1.partial")).unwrap();
        fs::write(root.join("seed-1.partial/half"), "").unwrap();
        let failed = make_whole(&seed, |partial| {
            fs::create_dir_all(partial)?;
            Err("the disk is full".into())
        });
        assert!(failed.is_err() && !seed.exists());
        for text in ["first", "second"] {
            make_whole(&seed, |partial| {
                fs::create_dir_all(partial)?;
                Ok(fs::write(partial.join("file"), text)?)
            })
            .unwrap();
            assert_eq!(fs::read_to_string(seed.join("file")).unwrap(), "first");
        }
        assert!(!seed.join("half").exists() && !root.join("seed-1.partial").exists());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_kernel_shares_what_is_of_third_parties_and_has_the_rest_to_itself() {
        let (from, to) = (folder("from"), folder("from").with_extension("to"));
        copy(&from, &to, &take_for_kernel).unwrap();
        for (file, is_shared) in FILES.iter().zip([true, true, false, true, false, false]) {
            assert_eq!(fs::read_to_string(to.join(file)).unwrap(), *file);
            assert_eq!(fs::metadata(to.join(file)).unwrap().nlink() > 1, is_shared, "{file}");
        }
        fs::remove_dir_all(from).unwrap();
        fs::remove_dir_all(to).unwrap();
    }

    #[test]
    fn of_a_warmed_folder_stays_what_was_not_made_from_the_checkout() {
        let root = folder("retain");
        retain(&root, &take_third_party).unwrap();
        let left: Vec<bool> = FILES.iter().map(|file| root.join(file).exists()).collect();
        assert_eq!(left, [true, true, false, false, false, true]);
        fs::remove_dir_all(root).unwrap();
    }
}
