//! Weights in any supported format, detected from the content.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use tch::Tensor;

use super::parts;
use super::safetensors_file::{LONGEST_HEADER, read_tensors};
use crate::{Error, Result};

/// Reads named tensors from a weights file.
///
/// The format is detected from the content, not the name: `safetensors`, and with the cargo feature `pytorch` the formats of
/// PyTorch (`.pt`, `.pth`: zip, or the one before PyTorch 1.6) and the parameters of TorchScript archives. Weights inside a
/// checkpoint are found under the usual keys (`state_dict`, `model_state_dict`, `model`, `net`, `ema` …); optimiser state is
/// skipped.
///
/// Sharded weights (`model-00001-of-00002.safetensors` …) are read as a whole, from the path of their index
/// (`model.safetensors.index.json`) or of any shard.
///
/// Nothing in the file is executed. Dtypes and shapes stay as in the file.
///
/// # Errors
/// [`Error::File`] when the file cannot be read; [`Error::Weights`] when it is truncated, is of another format, names Python
/// functions or classes that weights do not need, or requires the feature `pytorch`.
///
/// # Examples
/// ```
/// use captionlab::nn::{read_weights, write_tensors};
/// # let folder = std::env::temp_dir().join(format!("captionlab-read-weights-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).ok();
///
/// let path = folder.join("weights.safetensors");
/// let weight = captionlab::Tensor::from_slice(&[0.5f32, 1.0]);
/// write_tensors(&path, &[("weight".to_string(), weight)], &serde_json::Value::Null)?;
/// assert_eq!(read_weights(&path)?["weight"].size(), [2]);
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok::<(), captionlab::Error>(())
/// ```
pub fn read_weights(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    Ok(read_weights_and_metadata(path)?.0)
}

/// Metadata key of TorchScript archives: the torch functions that their code calls.
pub(crate) const TORCH_SCRIPT: &str = "torch_script";

/// As [`read_weights`], with captionlab's metadata. For files of other programs it is `Null`, or has the key [`TORCH_SCRIPT`].
pub(crate) fn read_weights_and_metadata(path: &Path) -> Result<(BTreeMap<String, Tensor>, serde_json::Value)> {
    if path.is_dir() {
        return Err(Error::Weights {
            path: path.into(),
            problem: "this is a folder".to_string(),
            help: "Name the weights file in it, or the index if the weights are sharded.".to_string(),
        });
    }
    match parts::index_of(path) {
        Some(index) => Ok((parts::read(&index?)?, serde_json::Value::Null)),
        None => read_file(path),
    }
}

/// Reads one file.
pub(super) fn read_file(path: &Path) -> Result<(BTreeMap<String, Tensor>, serde_json::Value)> {
    let unreadable = |source| Error::file(path, "read the weights", source, "Check the path.");
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head)).map_err(unreadable)?;
    match recognise(&head) {
        Recognised::Safetensors => read_tensors(path),
        Recognised::PyTorch(container) => pytorch_weights(path, container),
        Recognised::Json => Ok((parts::read(path)?, serde_json::Value::Null)),
        Recognised::Other { problem, help } => Err(Error::Weights { path: path.into(), problem, help }),
    }
}

/// Number of leading bytes that identify a format.
const HEAD: u64 = 512;

/// The containers that PyTorch has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    /// A zip archive: since PyTorch 1.6, and TorchScript.
    Zip,
    /// Several pickles, then the raw data: until PyTorch 1.6.
    Stream,
    /// A bare pickle, which holds no tensors.
    Pickle,
}

#[derive(Debug, PartialEq, Eq)]
enum Recognised {
    Safetensors,
    PyTorch(Container),
    /// Perhaps the index of sharded weights.
    Json,
    Other {
        problem: String,
        help: String,
    },
}

fn recognise(head: &[u8]) -> Recognised {
    // The legacy format begins with the magic number 0x1950a86a20f9469cfc6c.
    const STREAM: [u8; 10] = [0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19];
    let other = |problem: &str, help: &str| Recognised::Other { problem: problem.to_string(), help: help.to_string() };
    let header_length = head.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    if header_length.is_some_and(|length| length <= LONGEST_HEADER) && head.get(8) == Some(&b'{') {
        return Recognised::Safetensors;
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Recognised::PyTorch(Container::Zip);
    }
    if head.iter().take(64).copied().collect::<Vec<u8>>().windows(STREAM.len()).any(|bytes| bytes == STREAM) {
        return Recognised::PyTorch(Container::Stream);
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{FEFF}').trim_start();
    let begins = |what: &[&str]| {
        let lower = text.get(..16).unwrap_or(text).to_ascii_lowercase();
        what.iter().any(|what| lower.starts_with(what))
    };
    match head {
        [] => other("the file is empty", "Download or copy it again."),
        _ if begins(&["<!doctype", "<html", "<head", "<?xml"]) => other(
            "this is a web page, not a weights file",
            "The download failed: open the file in a browser to see why, and download it again.",
        ),
        _ if begins(&["version https:/"]) => other(
            "this is a git-lfs pointer, not the weights file",
            "Run `git lfs pull` in its repository, or download the file itself.",
        ),
        _ if begins(&["{"]) => Recognised::Json,
        [0x1F, 0x8B, ..] => other("this is a gzip archive", "Unpack it first."),
        _ if head.get(257..262) == Some(b"ustar") => other("this is a tar archive", "Unpack it first."),
        // A pickle begins with its protocol, or before protocol 2 with a name, a mark or an empty collection.
        [0x80, 0..=5, ..] | [b'c' | b'(' | b'}' | b']', ..] => Recognised::PyTorch(Container::Pickle),
        _ => Recognised::Other {
            problem: format!("not a weights file; it begins with {:?}", text.chars().take(24).collect::<String>()),
            help: "Supported are safetensors (.safetensors) and PyTorch (.pt, .pth).".to_string(),
        },
    }
}

#[cfg(feature = "pytorch")]
use super::pytorch::read as pytorch_weights;

/// Reads the `safetensors` copy beside the file, which downloads and set-up make: cells of lessons compile without this format.
#[cfg(not(feature = "pytorch"))]
fn pytorch_weights(path: &Path, _: Container) -> Result<(BTreeMap<String, Tensor>, serde_json::Value)> {
    let copy = safetensors_copy(path);
    if copy.is_file() {
        return read_tensors(&copy);
    }
    Err(Error::Weights {
        path: path.into(),
        problem: "this is a PyTorch file, which this build cannot read".to_string(),
        help: format!(
            "Run `captionlab download --from {}` with the name of these weights, which writes {} beside it, or build captionlab with \
             `--features pytorch`.",
            path.display(),
            copy.file_name().unwrap_or_default().display()
        ),
    })
}

/// The place of a file's copy in `safetensors`: beside it, with that extension.
fn safetensors_copy(path: &Path) -> PathBuf {
    path.with_extension("safetensors")
}

/// Writes a copy of weights in `safetensors` beside them, and returns its path. Builds without the feature `pytorch`, such as that of
/// the lessons, read the copy where a file in one of PyTorch's formats is named.
///
/// # Errors
/// As [`read_weights`] and [`write_tensors`](super::write_tensors).
#[cfg(feature = "pytorch")]
pub fn write_safetensors_copy(path: &Path) -> Result<PathBuf> {
    let (tensors, metadata) = read_weights_and_metadata(path)?;
    let copy = safetensors_copy(path);
    super::write_tensors(&copy, &tensors.into_iter().collect::<Vec<_>>(), &metadata)?;
    Ok(copy)
}

/// Whether this build reads the format of a file, whose extension says it.
pub(crate) fn is_readable_here(path: &Path) -> bool {
    let is_own = path.extension().is_some_and(|ending| ending == "safetensors");
    cfg!(feature = "pytorch") || is_own || safetensors_copy(path).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_recognised_by_what_they_hold() {
        let header = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let safetensors = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
        assert_eq!(recognise(&safetensors), Recognised::Safetensors);
        // A header of 128 bytes begins like a pickle.
        assert_eq!(recognise(b"\x80\0\0\0\0\0\0\0{"), Recognised::Safetensors);
        assert_eq!(recognise(b"PK\x03\x04rest"), Recognised::PyTorch(Container::Zip));
        let stream = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
        assert_eq!(recognise(stream), Recognised::PyTorch(Container::Stream));
        assert_eq!(recognise(b"\x80\x04}."), Recognised::PyTorch(Container::Pickle));
        assert_eq!(recognise(b"cposix\nsystem\n."), Recognised::PyTorch(Container::Pickle));
    }

    #[test]
    fn other_files_are_called_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.pth");
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: [(&[u8], &str); 10] = [
            (b"", "the file is empty"),
            (b"<!DOCTYPE html><html>404</html>", "this is a web page"),
            (b"\xEF\xBB\xBF\n  <html lang=\"en\">", "this is a web page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "this is a web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "`git lfs pull`"),
            (b"\x1F\x8B\x08\x00", "gzip archive"),
            (&tar, "tar archive"),
            (b"Entry not found", "it begins with \"Entry not found\""),
            (b"\x89PNG\r\n", "not a weights file"),
            (b"\x08\x00", "not a weights file"),
        ];
        for (bytes, said) in cases {
            std::fs::write(&path, bytes).unwrap();
            let message = read_weights(&path).unwrap_err().to_string();
            assert!(message.contains("weights.pth: ") && message.contains(said), "{message}");
        }
        let message = read_weights(&folder.path().join("nowhere.pth")).unwrap_err().to_string();
        assert!(message.contains("nowhere.pth: cannot read the weights"), "{message}");
        assert!(read_weights(folder.path()).is_err());
    }

    #[cfg(not(feature = "pytorch"))]
    #[test]
    fn a_build_without_pytorch_says_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.pth");
        std::fs::write(&path, b"PK\x03\x04").unwrap();
        let message = read_weights(&path).unwrap_err().to_string();
        assert!(message.contains("`--features pytorch`"), "{message}");
    }

    #[cfg(feature = "pytorch")]
    #[test]
    fn a_pickle_that_asks_for_a_function_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.pth");
        let cases: [(&[u8], &str); 3] = [
            (b"cposix\nsystem\n(S'touch marker'\ntR.", "posix.system"),
            (b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x8c\x011\x85R.", "builtins.eval"),
            (b"\x80\x02}.", "holds no tensors"),
        ];
        for (bytes, said) in cases {
            std::fs::write(&path, bytes).unwrap();
            let message = read_weights(&path).unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}
