//! Import of features in the layout of the course's Python original: a folder or zip archive of `ID.pt`.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};
use zip::ZipArchive;

use super::cache::IMPORTED;
use super::encoder::kept;
use super::extract::{ExtractReport, cached_features, unwritable};
use super::shard::{Content, ShardEntry, ShardHead, StorageDtype, hex, write_shard};
use crate::files::unique;
use crate::nn::read_weights;
use crate::{Error, Result};

/// Images per shard.
const SHARD_PICTURES: usize = 512;

/// Longest accepted file; 20 regions of dimension 2048 take 164 kB.
const LONGEST: u64 = 256 << 20;

/// Imports features in the course's layout into a cache, from a folder of `ID.pt` or a zip archive of it (`cached_features.zip`).
/// Each file is a dictionary of two tensors: `features` `[n, width]`, the whole image first, and `boxes` `[n − 1, 4]` of the other
/// regions. Nothing in it is executed.
///
/// Images are found by their `ID` and by their file name (`ID.jpg`). The files lack the box of the whole image: its coordinates
/// are 0. Files that are unreadable, of another dimension than the first, contain NaN or repeat an `ID` are skipped and listed.
///
/// The cache's folder is named by a hash of all files, so a changed source is imported into another folder. `folder` contains the
/// caches; `None` for `cached_features` of the project.
///
/// # Errors
/// [`Error::File`] when the source cannot be read or the cache cannot be written, [`Error::Data`] when no file holds features.
pub fn import_course(
    source: &Path,
    folder: Option<&Path>,
    mut progress: impl FnMut(usize, usize),
) -> Result<ExtractReport> {
    let start = Instant::now();
    let root = folder.map_or_else(cached_features, Path::to_path_buf);
    std::fs::create_dir_all(&root).map_err(|error| unwritable(&root, error))?;
    let mut files = Files::open(source)?;
    // Weights are read by path, so entries of an archive are extracted here one by one.
    let copy = root.join(format!(".course.{}.pt", unique()));
    let mut all = Sha256::new_with_prefix("course features 1");
    for place in 0..files.len() {
        let (name, bytes) = files.read(place);
        all.update(Sha256::digest(name));
        all.update(Sha256::digest(bytes.unwrap_or_default()));
    }
    let mut import = Import {
        source,
        root,
        identity: hex(&all.finalize()),
        cache: None,
        ids: HashSet::new(),
        entries: Vec::new(),
        written: 0,
        skipped: Vec::new(),
    };
    let result = (0..files.len()).try_for_each(|place| {
        progress(place, files.len());
        let (name, bytes) = files.read(place);
        import.take(&name, bytes, &copy)
    });
    std::fs::remove_file(&copy).ok();
    result?;
    import.write()?;
    progress(files.len(), files.len());
    let Some((_, folder)) = import.cache else {
        let first = import.skipped.first().cloned().unwrap_or_else(|| "it holds no files named ID.pt".to_string());
        return Err(Error::data(
            source,
            None,
            format!("no features were found: {first}"),
            "Give the course's cached_features.zip, or the folder that it unpacks to.",
        ));
    };
    Ok(ExtractReport {
        stopped: false,
        folder,
        found: 0,
        computed: import.written,
        skipped: import.skipped,
        damaged: Vec::new(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

struct Import<'a> {
    source: &'a Path,
    root: PathBuf,
    /// SHA-256 of all files, in hexadecimal.
    identity: String,
    /// The imported images.
    ids: HashSet<String>,
    /// Head and folder of the shards, known with the first image.
    cache: Option<(ShardHead, PathBuf)>,
    entries: Vec<ShardEntry>,
    written: usize,
    skipped: Vec<String>,
}

impl Import<'_> {
    fn take(&mut self, name: &str, bytes: Result<Vec<u8>, String>, copy: &Path) -> Result<()> {
        let id = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let entry = match bytes {
            Err(problem) => Err(problem),
            Ok(bytes) => {
                std::fs::write(copy, &bytes).map_err(|error| unwritable(copy, error))?;
                // Messages name the copy.
                entry(&id, copy, Sha256::digest(&bytes).into())
                    .map_err(|problem| problem.replace(&copy.display().to_string(), ""))
            }
        };
        let (entry, width) = match entry {
            Ok(read) => read,
            Err(problem) => {
                self.skipped.push(format!("{name}: {}", problem.trim_start_matches([':', ' '])));
                return Ok(());
            }
        };
        let (head, _) = self.cache.get_or_insert_with(|| {
            let of = self.source.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
            let folder = self.root.join(of).join(format!("{IMPORTED}-{}", &self.identity[..12]));
            (ShardHead::new(&*self.identity, json!({ "name": IMPORTED }), width, StorageDtype::Half), folder)
        });
        if head.width != width {
            let first = head.width;
            self.skipped.push(format!("{name}: its features have dimension {width}, those of the first {first}"));
            return Ok(());
        }
        if !self.ids.insert(entry.name.clone()) {
            self.skipped.push(format!("{name}: there was another file of that name before"));
            return Ok(());
        }
        self.entries.push(entry);
        if self.entries.len() == SHARD_PICTURES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        if let Some((head, folder)) = self.cache.as_ref().filter(|_| !self.entries.is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
            write_shard(folder, head, &self.entries)?;
            self.written += self.entries.len();
            self.entries.clear();
        }
        Ok(())
    }
}

/// Reads the file of an image; returns its entry and feature dimension.
fn entry(id: &str, path: &Path, content: Content) -> Result<(ShardEntry, usize), String> {
    let mut tensors = read_weights(path).map_err(|error| error.to_string())?;
    let mut take = |name: &str| tensors.remove(name).ok_or_else(|| format!("it holds no tensor {name:?}"));
    let (features, boxes) = (take("features")?, take("boxes")?);
    let (rows, width) = match features.size()[..] {
        [rows, width] if rows > 0 && width > 0 => (rows as usize, width as usize),
        ref other => return Err(format!("its features are {other:?}, and [regions, width] are expected")),
    };
    // With one region, `boxes` is empty and may have any shape.
    if boxes.size() != [rows as i64 - 1, 4] && !(rows == 1 && boxes.numel() == 0) {
        return Err(format!("its boxes are {:?}, and [{}, 4] are expected", boxes.size(), rows - 1));
    }
    let boxes =
        boxes.f_to_kind(Kind::Float).and_then(|boxes| boxes.f_reshape([-1])).map_err(|error| error.to_string())?;
    let corners = Vec::<f32>::try_from(&boxes).map_err(|error| error.to_string())?;
    if corners.iter().any(|corner| !corner.is_finite()) {
        return Err("its boxes hold what is not a number".to_string());
    }
    let boxes = std::iter::once([0.0; 4]).chain(corners.as_chunks().0.iter().copied()).collect();
    let features = kept(&floats(&features)?, StorageDtype::Half)?;
    let entry = ShardEntry { name: id.to_string(), content, boxes, labels: Vec::new(), scores: Vec::new(), features };
    Ok((entry, width))
}

fn floats(tensor: &Tensor) -> Result<Tensor, String> {
    tensor.f_to_kind(Kind::Float).map_err(|error| error.to_string())
}

/// The files of a folder or an archive.
enum Files {
    Folder(Vec<PathBuf>),
    Archive { archive: Box<ZipArchive<BufReader<File>>>, places: Vec<usize> },
}

impl Files {
    fn open(source: &Path) -> Result<Self> {
        let unreadable = |error| Error::file(source, "read the course's features", error, "Check the path.");
        if std::fs::metadata(source).map_err(unreadable)?.is_dir() {
            let entries = std::fs::read_dir(source).map_err(unreadable)?;
            let mut paths =
                entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().map_err(unreadable)?;
            paths.retain(|path| is_picture(&path.to_string_lossy()));
            paths.sort();
            return Ok(Self::Folder(paths));
        }
        let file = BufReader::new(File::open(source).map_err(unreadable)?);
        let mut archive = ZipArchive::new(file).map_err(|error| {
            Error::data(
                source,
                None,
                format!("neither a folder nor a whole zip archive: {error}"),
                "Give the course's cached_features.zip, or the folder that it unpacks to.",
            )
        })?;
        let mut places: Vec<(String, usize)> = Vec::new();
        for place in 0..archive.len() {
            if let Ok(entry) = archive.by_index_raw(place)
                && entry.is_file()
                && is_picture(entry.name())
            {
                places.push((entry.name().to_string(), place));
            }
        }
        places.sort();
        let places = places.into_iter().map(|(_, place)| place).collect();
        Ok(Self::Archive { archive: Box::new(archive), places })
    }

    fn len(&self) -> usize {
        match self {
            Self::Folder(paths) => paths.len(),
            Self::Archive { places, .. } => places.len(),
        }
    }

    /// Name and bytes of a file, or why it cannot be read.
    fn read(&mut self, place: usize) -> (String, Result<Vec<u8>, String>) {
        let mut bytes = Vec::new();
        match self {
            Self::Folder(paths) => {
                let name = paths[place].display().to_string();
                let read = File::open(&paths[place]).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes));
                (name, read.map(|_| bytes).map_err(|error| error.to_string()))
            }
            Self::Archive { archive, places } => match archive.by_index(places[place]) {
                Err(error) => (format!("entry {place}"), Err(error.to_string())),
                Ok(entry) => {
                    let name = entry.name().to_string();
                    let read = entry.take(LONGEST).read_to_end(&mut bytes);
                    (name, read.map(|_| bytes).map_err(|error| error.to_string()))
                }
            },
        }
    }
}

fn is_picture(name: &str) -> bool {
    name.ends_with(".pt") && !name.starts_with("__MACOSX/")
}
