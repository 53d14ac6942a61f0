//! Unpacking archives that anybody may have made.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::{Error, Result};

/// Kinds of entries of Unix, in the upper bits of their mode.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// Unpacks a zip archive into a folder: all of it, or nothing. Returns how many files it held.
///
/// Everything is looked at before anything is written: a name that leads out of the folder, a link, two files of one name, or more
/// bytes than the disk has room for refuse the whole archive, and so does what is there already under one of its names. Entries never
/// become longer than they say they are.
///
/// # Errors
/// [`Error::Data`] names what is wrong with the archive, [`Error::File`] what cannot be read or written.
pub fn unzip(path: &Path, folder: &Path, mut progress: impl FnMut(usize, usize)) -> Result<usize> {
    let file = File::open(path).map_err(|source| Error::file(path, "unpack the archive", source, "Check the path."))?;
    let mut archive = ZipArchive::new(std::io::BufReader::new(file)).map_err(|error| broken(path, &error))?;
    let entries = checked(path, &mut archive)?;
    let bytes = entries.iter().fold(0u64, |all, entry| all.saturating_add(entry.bytes));
    std::fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    if let Ok(free) = fs4::available_space(folder)
        && bytes > free
    {
        return Err(refused(
            path,
            format!("it unpacks to {bytes} bytes, and the disk of {} has {free} left", folder.display()),
        ));
    }
    let tops: BTreeSet<PathBuf> =
        entries.iter().filter_map(|entry| Some(PathBuf::from(entry.name.components().next()?.as_os_str()))).collect();
    if let Some(there) = tops.iter().map(|top| folder.join(top)).find(|top| top.exists()) {
        return Err(refused(path, format!("{} is there already; move it away to unpack anew", there.display())));
    }
    // Beside, so that a rename puts it in its place.
    let unpacking = folder.join(format!(".{}.unpacking", path.file_name().unwrap_or_default().to_string_lossy()));
    let lock_path = unpacking.with_extension("lock");
    let lock = File::create(&lock_path).map_err(|source| unwritable(&lock_path, source))?;
    if matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
        return Err(refused(path, "another process is unpacking it".to_string()));
    }
    if unpacking.exists() {
        std::fs::remove_dir_all(&unpacking).map_err(|source| unwritable(&unpacking, source))?;
    }
    let unpacked = unpack(path, &mut archive, &entries, &unpacking, &mut progress).and_then(|()| {
        tops.iter().try_for_each(|top| {
            std::fs::rename(unpacking.join(top), folder.join(top)).map_err(|source| unwritable(folder, source))
        })
    });
    std::fs::remove_dir_all(&unpacking).ok();
    std::fs::remove_file(&lock_path).ok();
    unpacked.map(|()| entries.len())
}

/// Whether a file is a zip archive whose list of entries is whole.
pub fn is_archive(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| ZipArchive::new(std::io::BufReader::new(file)).is_ok())
}

/// A file of an archive.
struct Entry {
    place: usize,
    name: PathBuf,
    bytes: u64,
}

/// The files of an archive, none of which can do harm.
fn checked<R: Read + Seek>(path: &Path, archive: &mut ZipArchive<R>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut names = BTreeSet::new();
    for place in 0..archive.len() {
        let entry = archive.by_index_raw(place).map_err(|error| broken(path, &error))?;
        let name = entry.name().to_string();
        let Some(inside) = entry.enclosed_name().map(Path::to_path_buf) else {
            return Err(refused(path, format!("the name {name:?} leads out of the folder")));
        };
        // What `enclosed_name` would undo with `..`, and names of other systems.
        if name.contains('\\')
            || name.contains('\0')
            || !inside.components().all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(refused(path, format!("the name {name:?} is not that of a file in a folder")));
        }
        let kind = entry.unix_mode().map_or(0, |mode| mode & KIND);
        if !matches!(kind, 0 | REGULAR | FOLDER) {
            return Err(refused(path, format!("{name:?} is a link or a device")));
        }
        // Folders are made for what is in them; macOS adds files that nobody asked for.
        if entry.is_dir() || name.starts_with("__MACOSX/") || name.ends_with(".DS_Store") {
            continue;
        }
        if !names.insert(name.to_lowercase()) {
            return Err(refused(path, format!("the name {name:?} is there twice")));
        }
        entries.push(Entry { place, name: inside, bytes: entry.size() });
    }
    match entries.is_empty() {
        true => Err(refused(path, "it holds no files".to_string())),
        false => Ok(entries),
    }
}

fn unpack<R: Read + Seek>(
    path: &Path,
    archive: &mut ZipArchive<R>,
    entries: &[Entry],
    folder: &Path,
    progress: &mut impl FnMut(usize, usize),
) -> Result<()> {
    for (done, Entry { place, name, bytes }) in entries.iter().enumerate() {
        progress(done, entries.len());
        let target = folder.join(name);
        let parent = target.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|source| unwritable(parent, source))?;
        let entry = archive.by_index(*place).map_err(|error| broken(path, &error))?;
        let mut file = File::create_new(&target).map_err(|source| unwritable(&target, source))?;
        // A byte more than it says shows that it lies.
        let written = std::io::copy(&mut entry.take(bytes.saturating_add(1)), &mut file).map_err(|source| {
            match source.kind() {
                // What the reader of archives finds wrong with a checksum is an error of no other kind than `Other`.
                ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof | ErrorKind::Other => {
                    refused(path, format!("{} is damaged: {source}", name.display()))
                }
                _ => unwritable(&target, source),
            }
        })?;
        if written != *bytes {
            return Err(refused(path, format!("{} says that it has {bytes} bytes, and has others", name.display())));
        }
    }
    progress(entries.len(), entries.len());
    Ok(())
}

fn refused(path: &Path, problem: String) -> Error {
    Error::data(path, None, problem, "Nothing was unpacked")
}

fn broken(path: &Path, error: &ZipError) -> Error {
    Error::data(path, None, format!("not a whole zip archive: {error}"), "Download it again")
}

fn unwritable(path: &Path, source: std::io::Error) -> Error {
    Error::file(path, "unpack the archive", source, "Check that the folder may be written and the disk has room.")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::FileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    fn archive(folder: &Path, entries: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("archive.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in entries {
            writer.start_file(*name, FileOptions::default().compression_method(CompressionMethod::Deflated)).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_archive_is_unpacked_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(
            folder.path(),
            &[
                ("pictures/a.jpg", b"a"),
                ("pictures/more/b.jpg", b"bb"),
                ("captions.csv", b""),
                ("__MACOSX/pictures/._a.jpg", b"x"),
            ],
        );
        let target = folder.path().join("data/set");
        let mut told = Vec::new();
        assert_eq!(unzip(&path, &target, |done, all| told.push((done, all))).unwrap(), 3);
        assert_eq!(told.last(), Some(&(3, 3)));
        assert_eq!(files(&target), ["captions.csv", "pictures"]);
        assert_eq!(std::fs::read(target.join("pictures/more/b.jpg")).unwrap(), b"bb");
        let message = unzip(&path, &target, |_, _| ()).unwrap_err().to_string();
        assert!(message.contains("is there already"), "{message}");
    }

    #[test]
    fn archives_that_mean_harm_are_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let cases = ["../evil", "/etc/evil", "a/../../evil", "a/../b", "C:\\evil", "a\\..\\evil", "nul\0evil"];
        for name in cases {
            let path = archive(folder.path(), &[("good.txt", b"good"), (name, b"evil")]);
            let target = folder.path().join("target");
            let message = unzip(&path, &target, |_, _| ()).unwrap_err().to_string();
            assert!(message.contains("Nothing was unpacked"), "{name:?}: {message}");
            assert!(files(&target).is_empty(), "{name:?}");
            assert_eq!(files(folder.path()).iter().filter(|name| name.contains("evil")).count(), 0);
        }
    }

    #[test]
    fn links_and_files_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let path = folder.path().join("link.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        writer.add_symlink("link", "/etc", FileOptions::default()).unwrap();
        writer.start_file("link/passwd", FileOptions::default()).unwrap();
        writer.finish().unwrap();
        let message = unzip(&path, &target, |_, _| ()).unwrap_err().to_string();
        assert!(message.contains("is a link"), "{message}");
        let path = archive(folder.path(), &[("a.txt", b"one"), ("A.TXT", b"two")]);
        let message = unzip(&path, &target, |_, _| ()).unwrap_err().to_string();
        assert!(message.contains("there twice"), "{message}");
        assert!(files(&target).is_empty());
    }

    #[test]
    fn an_archive_that_is_cut_short_or_changed_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let text: Vec<u8> = (0..50_000u32).flat_map(|number| number.to_string().into_bytes()).collect();
        let path = archive(folder.path(), &[("small.txt", b"small"), ("large.txt", &text)]);
        let bytes = std::fs::read(&path).unwrap();
        let target = folder.path().join("target");
        for length in [0, 10, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(unzip(&path, &target, |_, _| ()).is_err(), "{length} bytes");
            assert!(files(&target).is_empty());
        }
        for place in (100..bytes.len() - 200).step_by(bytes.len() / 50) {
            let mut changed = bytes.clone();
            changed[place] ^= 0x55;
            std::fs::write(&path, changed).unwrap();
            let message = unzip(&path, &target, |_, _| ()).unwrap_err().to_string();
            assert!(message.contains("archive.zip"), "{message}");
            assert!(files(&target).is_empty());
        }
    }

    #[test]
    fn an_entry_that_is_longer_than_it_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path(), &[("bomb.txt", &vec![b'0'; 100_000])]);
        let mut bytes = std::fs::read(&path).unwrap();
        // The length stands in the entry and in the list at the end.
        let length = 100_000u32.to_le_bytes();
        for place in 0..bytes.len() - 4 {
            if bytes[place..place + 4] == length {
                bytes[place..place + 4].copy_from_slice(&10u32.to_le_bytes());
            }
        }
        std::fs::write(&path, bytes).unwrap();
        let target = folder.path().join("target");
        let message = unzip(&path, &target, |_, _| ()).unwrap_err().to_string();
        assert!(message.contains("bomb.txt"), "{message}");
        assert!(files(&target).is_empty());
    }
}
