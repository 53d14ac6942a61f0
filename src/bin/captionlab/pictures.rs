//! The pictures that verbs are given, and what is drawn of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use captionlab::data::images;
use captionlab::{Error, Result};
use image::RgbImage;

use crate::terminal::warn;

/// Pictures that are in memory at a time.
const TOGETHER: usize = 32;

/// Calls `work` with some pictures at a time, each with its path. Pictures that cannot be read are named and left out.
///
/// # Errors
/// Those of `work`; [`Error::Argument`] at the end when pictures could not be read.
pub fn for_some(paths: &[PathBuf], mut work: impl FnMut(&[&Path], Vec<RgbImage>) -> Result<()>) -> Result<()> {
    let mut unreadable = 0;
    for part in paths.chunks(TOGETHER) {
        let (mut read, mut pictures) = (Vec::new(), Vec::new());
        for path in part {
            match images::decode(path) {
                Ok(picture) => {
                    read.push(path.as_path());
                    pictures.push(picture);
                }
                Err(error) => {
                    warn(format_args!("skipped: {error}"));
                    unreadable += 1;
                }
            }
        }
        work(&read, pictures)?;
    }
    match unreadable {
        0 => Ok(()),
        _ => Err(Error::argument(
            format!("{unreadable} of {} pictures could not be read", paths.len()),
            "The others are done; the lines above say what is wrong with these.",
        )),
    }
}

/// Where drawings go: a file for each picture, of which none replaces another.
pub struct Drawings {
    folder: PathBuf,
    kind: &'static str,
    names: BTreeSet<String>,
}

impl Drawings {
    /// Drawings called `NAME.kind.png`, in a folder that is created where it is missing.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be created.
    pub fn new(folder: &Path, kind: &'static str) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .map_err(|source| Error::file(folder, "create the folder", source, "Name another with --out."))?;
        Ok(Self { folder: folder.to_path_buf(), kind, names: BTreeSet::new() })
    }

    /// The file of the next picture.
    pub fn next(&mut self, picture: &Path) -> PathBuf {
        let stem = picture.file_stem().unwrap_or_default().to_string_lossy();
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let mut names = std::iter::once(stem.to_string()).chain(numbered);
        // Some disks take `Dog` and `dog` for one name.
        let name = names.find(|name| self.names.insert(name.to_lowercase())).unwrap_or_default();
        self.folder.join(format!("{name}.{}.png", self.kind))
    }
}
