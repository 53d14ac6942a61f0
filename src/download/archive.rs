//! Unpacking of untrusted archives.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Component, Path, PathBuf};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::files::FileLock;
use crate::{Error, Result};

/// File type bits of Unix modes.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// Unpacks a zip archive into a folder, completely or not at all. Returns the number of files.
///
/// Everything is checked before anything is written. The whole archive is refused for a name that leads out of the folder, a link, a
/// duplicate name, more bytes than the disk has room for, or a file that exists already. Entries cannot become longer than declared.
/// A call that was killed while it moved unpacked files into place is resumed.
///
/// # Errors
/// [`Error::Data`] for a faulty archive, [`Error::File`] when a file cannot be read or written.
pub fn unzip(path: &Path, folder: &Path, mut progress: impl FnMut(usize, usize)) -> Result<usize> {
    let file = File::open(path).map_err(|source| Error::file(path, "unpack the archive", source, "Check the path."))?;
    let opened = ZipArchive::new(std::io::BufReader::new(file));
    let mut archive = opened.map_err(|error| other_kind(path, folder).unwrap_or_else(|| broken(path, &error)))?;
    let entries = checked(path, &mut archive)?;
    let bytes = entries.iter().fold(0u64, |all, entry| all.saturating_add(entry.bytes));
    std::fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    // Beside the final place, so that a rename suffices.
    let beside =
        |ending: &str| folder.join(format!(".{}.{ending}", path.file_name().unwrap_or_default().to_string_lossy()));
    let (unpacking, unpacked) = (beside("unpacking"), beside("unpacked-whole"));
    let Some(lock) = FileLock::try_take(&beside("lock"))? else {
        return Err(refused(path, "another process is unpacking it".to_string()));
    };
    let _lock = lock.removed_when_done();
    let tops: BTreeSet<PathBuf> =
        entries.iter().filter_map(|entry| Some(PathBuf::from(entry.name.components().next()?.as_os_str()))).collect();
    let there = |top: &PathBuf| folder.join(top).exists();
    if unpacked.exists() {
        // A killed call may have moved a part of the files.
        let is_whole = |Entry { name, bytes, .. }: &Entry| {
            let long = |root: &Path| std::fs::metadata(root.join(name)).is_ok_and(|file| file.len() == *bytes);
            long(&unpacked) != long(folder)
        };
        if !entries.iter().all(is_whole) {
            let place = unpacked.display();
            return Err(refused(path, format!("{place} is left over from another archive of that name; move it away")));
        }
        progress(entries.len(), entries.len());
    } else {
        if let Some(top) = tops.iter().find(|top| there(top)) {
            let top = folder.join(top);
            return Err(refused(path, format!("{} exists already; move it away to unpack again", top.display())));
        }
        if let Ok(free) = fs4::available_space(folder)
            && bytes > free
        {
            return Err(refused(
                path,
                format!("it unpacks to {bytes} bytes, but the disk of {} has {free} left", folder.display()),
            ));
        }
        if unpacking.exists() {
            std::fs::remove_dir_all(&unpacking).map_err(|source| unwritable(&unpacking, source))?;
        }
        let result = unpack(path, &mut archive, &entries, &unpacking, &mut progress)
            .and_then(|()| std::fs::rename(&unpacking, &unpacked).map_err(|source| unwritable(&unpacked, source)));
        if let Err(error) = result {
            std::fs::remove_dir_all(&unpacking).ok();
            return Err(error);
        }
    }
    for top in tops.iter().filter(|top| unpacked.join(top).exists()) {
        std::fs::rename(unpacked.join(top), folder.join(top))
            .map_err(|source| unwritable(&folder.join(top), source))?;
    }
    std::fs::remove_dir_all(&unpacked).map_err(|source| unwritable(&unpacked, source))?;
    Ok(entries.len())
}

/// Whether a file is a zip archive with an intact directory.
pub fn is_archive(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| ZipArchive::new(std::io::BufReader::new(file)).is_ok())
}

/// Other archive formats with their signature and the command that unpacks them.
const OTHER_KINDS: [(&str, &[u8], &str); 8] = [
    ("a gzip archive", b"\x1F\x8B", "tar -xf {file} -C {folder}"),
    ("a bzip2 archive", b"BZh", "tar -xf {file} -C {folder}"),
    ("an xz archive", b"\xFD7zXZ\0", "tar -xf {file} -C {folder}"),
    ("a Zstandard archive", b"\x28\xB5\x2F\xFD", "tar -xf {file} -C {folder}"),
    ("a 7z archive", b"7z\xBC\xAF\x27\x1C", "7z x {file} -o{folder}"),
    ("a RAR archive", b"Rar!\x1A\x07", "unrar x {file} {folder}/"),
    ("one part of a zip archive in several", b"PK\x07\x08", "7z x {file} -o{folder}"),
    ("an LZ4 archive", b"\x04\x22\x4D\x18", "tar -I lz4 -xf {file} -C {folder}"),
];

/// Whether a file is an archive in another format than [`unzip`] supports.
pub fn is_other_archive(path: &Path) -> bool {
    other_kind(path, Path::new(".")).is_some()
}

/// The error for an archive in another format, with the command that unpacks it; `None` for other files.
fn other_kind(path: &Path, folder: &Path) -> Option<Error> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(512).read_to_end(&mut head)).ok()?;
    let is_tar = head.get(257..262) == Some(b"ustar");
    let tar = ("a tar archive", "tar -xf {file} -C {folder}");
    let known =
        OTHER_KINDS.iter().find(|(_, begin, _)| head.starts_with(begin)).map(|&(kind, _, command)| (kind, command));
    let (kind, command) = known.or(is_tar.then_some(tar))?;
    let quoted = |path: &Path| format!("'{}'", path.display());
    let command = command.replace("{file}", &quoted(path)).replace("{folder}", &quoted(folder));
    Some(Error::data(
        path,
        None,
        format!("this is {kind}, but only zip archives are unpacked"),
        format!("Unpack it yourself with `mkdir -p {} && {command}`. Nothing was unpacked.", quoted(folder)),
    ))
}

/// A file of an archive.
struct Entry {
    place: usize,
    name: PathBuf,
    bytes: u64,
}

/// The files of an archive, all of them safe to unpack.
fn checked<R: Read + Seek>(path: &Path, archive: &mut ZipArchive<R>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut names = BTreeSet::new();
    for place in 0..archive.len() {
        let entry = archive.by_index_raw(place).map_err(|error| broken(path, &error))?;
        let name = entry.name().to_string();
        let Some(inside) = entry.enclosed_name().map(Path::to_path_buf) else {
            return Err(refused(path, format!("the name {name:?} leads out of the folder")));
        };
        // Names with `..` that `enclosed_name` resolves, and names of other systems.
        if name.contains('\\')
            || name.contains('\0')
            || !inside.components().all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(refused(path, format!("the name {name:?} is not that of a file in a folder")));
        }
        if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return Err(Error::data(
                path,
                None,
                format!(
                    "{name:?} is compressed with {:?}, but only stored and deflated entries are supported",
                    entry.compression()
                ),
                "Unpack it yourself with `7z x` or `unzip`, into the folder that it belongs to. Nothing was unpacked.",
            ));
        }
        let kind = entry.unix_mode().map_or(0, |mode| mode & KIND);
        if !matches!(kind, 0 | REGULAR | FOLDER) {
            return Err(refused(path, format!("{name:?} is a link or a device")));
        }
        // Folders are created as needed; macOS adds metadata files.
        if entry.is_dir() || name.starts_with("__MACOSX/") || name.ends_with(".DS_Store") {
            continue;
        }
        if !names.insert(name.to_lowercase()) {
            return Err(refused(path, format!("the name {name:?} occurs twice")));
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
        // One more byte shows that the declared size is wrong.
        let written = std::io::copy(&mut entry.take(bytes.saturating_add(1)), &mut file).map_err(|source| {
            match source.kind() {
                // The archive reader reports checksum errors as `Other`.
                ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof | ErrorKind::Other => {
                    refused(path, format!("{} is damaged: {source}", name.display()))
                }
                _ => unwritable(&target, source),
            }
        })?;
        if written != *bytes {
            return Err(refused(path, format!("{} does not have the {bytes} bytes that it declares", name.display())));
        }
    }
    progress(entries.len(), entries.len());
    Ok(())
}

fn refused(path: &Path, problem: String) -> Error {
    Error::data(path, None, problem, "Nothing was unpacked.")
}

fn broken(path: &Path, error: &ZipError) -> Error {
    if matches!(error, ZipError::UnsupportedArchive(problem) if *problem == ZipError::PASSWORD_REQUIRED) {
        return Error::data(
            path,
            None,
            "its entries are encrypted",
            "Unpack it yourself with `7z x` or `unzip` and its password, into the folder that it belongs to. Nothing was unpacked.",
        );
    }
    Error::data(path, None, format!("not a complete zip archive: {error}"), "Download it again.")
}

fn unwritable(path: &Path, source: std::io::Error) -> Error {
    Error::file(path, "unpack the archive", source, "Check that the folder is writable and the disk has room.")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::FileOptions;

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
        assert!(message.contains("exists already"), "{message}");
    }

    #[test]
    fn what_was_killed_between_two_renames_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let entries: [(&str, &[u8]); 4] =
            [("a/one.txt", b"1"), ("a/two.txt", b"22"), ("b.txt", b"333"), ("c/d.txt", b"")];
        let path = archive(folder.path(), &entries);
        let tops = ["a", "b.txt", "c"];
        // As many were renamed; the rest is where it was unpacked to.
        for renamed in 0..=tops.len() {
            let target = folder.path().join(format!("target-{renamed}"));
            let unpacked = target.join(".archive.zip.unpacked-whole");
            unzip(&path, &target, |_, _| ()).unwrap();
            std::fs::create_dir(&unpacked).unwrap();
            for top in &tops[renamed..] {
                std::fs::rename(target.join(top), unpacked.join(top)).unwrap();
            }
            assert_eq!(unzip(&path, &target, |_, _| ()).unwrap(), 4, "{renamed}");
            assert_eq!(files(&target), tops);
            for (name, bytes) in entries {
                assert_eq!(std::fs::read(target.join(name)).unwrap(), bytes, "{renamed}: {name}");
            }
        }
        // What another archive of that name has left is nobody's to remove.
        let target = folder.path().join("target-0");
        let unpacked = target.join(".archive.zip.unpacked-whole");
        std::fs::create_dir(&unpacked).unwrap();
        std::fs::rename(target.join("b.txt"), unpacked.join("other.txt")).unwrap();
        let message = unzip(&path, &target, |_, _| ()).unwrap_err().to_string();
        assert!(message.contains("left over from another archive") && unpacked.join("other.txt").exists(), "{message}");
    }

    #[test]
    fn archives_of_other_kinds_say_what_unpacks_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive.zip");
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], &str); 7] = [
            (
                b"\x1F\x8B\x08\0rest",
                "gzip archive, but only zip archives are unpacked. Unpack it yourself with `mkdir -p ",
            ),
            (b"BZh91AY", "tar -xf"),
            (b"\xFD7zXZ\0\0", "tar -xf"),
            (&tar, "a tar archive, but only zip"),
            (b"7z\xBC\xAF\x27\x1C\0\x04", "7z x"),
            (b"Rar!\x1A\x07\x01\0", "unrar x"),
            (b"\x28\xB5\x2F\xFD\x24", "a Zstandard archive"),
        ];
        for (bytes, said) in cases {
            std::fs::write(&path, bytes).unwrap();
            let message = unzip(&path, &folder.path().join("target"), |_, _| ()).unwrap_err().to_string();
            assert!(message.contains(said) && message.contains("Nothing was unpacked"), "{message}");
            assert!(is_other_archive(&path) && !is_archive(&path));
        }
        std::fs::write(&path, "<html>").unwrap();
        assert!(!is_other_archive(&path));
        // One that is encrypted, by its flag in both places.
        let path = archive(folder.path(), &[("a.txt", b"text")]);
        let mut bytes = std::fs::read(&path).unwrap();
        let directory = bytes.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
        bytes[6] |= 1;
        bytes[directory + 8] |= 1;
        std::fs::write(&path, &bytes).unwrap();
        let message = unzip(&path, &folder.path().join("target"), |_, _| ()).unwrap_err().to_string();
        assert!(message.contains("encrypted"), "{message}");
        // One of another method: LZMA.
        (bytes[6], bytes[directory + 8]) = (0, 0);
        (bytes[8], bytes[directory + 10]) = (14, 14);
        std::fs::write(&path, &bytes).unwrap();
        let message = unzip(&path, &folder.path().join("target"), |_, _| ()).unwrap_err().to_string();
        assert!(message.contains("\"a.txt\" is compressed with") && message.contains("7z x"), "{message}");
        assert!(files(&folder.path().join("target")).is_empty());
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
        assert!(message.contains("occurs twice"), "{message}");
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
