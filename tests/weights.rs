//! Weights that PyTorch has written are read exactly; files that are broken or ask for more than tensors are refused.

mod python;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use captionlab::Tensor;
use captionlab::nn::{read_tensors, read_weights};
use python::{output_of, python_with};
use tempfile::TempDir;

/// The files of `tests/weights_reference.py`; `None`, with a message, where there is no Python for it.
fn files() -> Option<&'static Path> {
    static FILES: OnceLock<TempDir> = OnceLock::new();
    let mut python = python_with("torch safetensors")?;
    let files = FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/weights_reference.py");
        output_of(python.arg(script).arg(folder.path()));
        folder
    });
    Some(files.path())
}

/// The `.pth` files of a folder, by name.
fn pytorch_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "pth")).collect();
    files.sort();
    files
}

fn assert_same(ours: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>, path: &Path) {
    let names: Vec<&String> = ours.keys().collect();
    assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{}", path.display());
    for (name, expected) in expected {
        let ours = &ours[name];
        let what = format!("{}: {name}", path.display());
        assert_eq!((ours.kind(), ours.size()), (expected.kind(), expected.size()), "{what}");
        assert!(ours.equal(expected), "{what}");
        assert!(!ours.requires_grad(), "{what}");
    }
}

#[test]
fn names_shapes_and_values_are_those_that_pytorch_wrote() {
    let Some(folder) = files() else { return };
    let files = pytorch_files(folder);
    assert!(files.len() > 15, "{files:?}");
    for path in files {
        let expected = read_tensors(&path.with_extension("safetensors")).unwrap().0;
        let ours = read_weights(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_same(&ours, &expected, &path);
    }
    // A name says nothing of what is inside.
    let renamed = tempfile::tempdir().unwrap();
    let path = renamed.path().join("weights.safetensors");
    fs::copy(folder.join("zip.pth"), &path).unwrap();
    assert!(read_weights(&path).is_ok());
    let safetensors = folder.join("numbers.safetensors");
    assert_same(&read_weights(&safetensors).unwrap(), &read_tensors(&safetensors).unwrap().0, &safetensors);
}

#[test]
fn files_that_ask_for_more_than_tensors_are_refused_and_nothing_is_run() {
    let Some(folder) = files() else { return };
    let files = pytorch_files(&folder.join("refused"));
    assert!(files.len() > 20, "{files:?}");
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let said = name.split('=').next().unwrap();
        let message = read_weights(&path).expect_err(&name).to_string();
        let message = message.rsplit_once(".pth: ").unwrap().1.to_string();
        assert!(message.contains(said), "{name}: {message}");
    }
    let entries = fs::read_dir(folder.join("refused")).unwrap();
    let markers: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!markers.iter().any(|name| name.to_string_lossy().starts_with("marker")), "{markers:?}");
}

#[test]
fn files_that_are_cut_short_are_errors() {
    let Some(folder) = files() else { return };
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("weights.pth");
    for name in ["zip.pth", "stream.pth", "nested-model-stream.pth", "traced-half.pth", "views.safetensors"] {
        let bytes = fs::read(folder.join(name)).unwrap();
        let step = bytes.len() / 100 + 1;
        for length in (0..bytes.len()).step_by(step).chain(bytes.len() - 8..bytes.len()) {
            fs::write(&path, &bytes[..length]).unwrap();
            let result = read_weights(&path);
            assert!(result.is_err(), "{name}: {length} of {} bytes were taken for a whole file", bytes.len());
        }
    }
}

#[test]
fn files_with_wrong_bytes_do_not_panic() {
    let Some(folder) = files() else { return };
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("weights.pth");
    for name in ["zip.pth", "views-stream.pth", "views.safetensors"] {
        let bytes = fs::read(folder.join(name)).unwrap();
        for place in (0..bytes.len()).step_by(bytes.len() / 250 + 1) {
            for value in [0, 0x7F, 0xFF, bytes[place] ^ 1] {
                let mut wrong = bytes.clone();
                wrong[place] = value;
                fs::write(&path, wrong).unwrap();
                // Numbers may come out as others: no checksum stands beside them in two of the formats.
                let _ = read_weights(&path);
            }
        }
    }
}
