//! Reading a cache.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::Description;
use super::shard::{Precision, Refusal, Shard, damaged, floats};
use crate::data::BoundingBox;
use crate::{Error, Result};

/// The features of a data set, as one encoder sees it: a folder that [`extract`](super::extract) fills.
///
/// Opening reads the index alone. A picture is read when it is asked for, and checked when it is read for the first time: what a
/// cache answers is what was computed, or an error that names the picture, never something else and never zeros.
#[derive(Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Where each picture is: which shard, and which of its pictures.
    places: HashMap<String, (u32, u32)>,
    most_regions: usize,
    /// Bytes that were read since memory was last let go.
    read: AtomicU64,
}

/// The features of one picture.
#[derive(Debug)]
pub struct PictureFeatures {
    /// In pixels of the picture; the first region is the whole picture.
    pub boxes: Vec<BoundingBox>,
    /// Classes of the detector, 0 for the whole picture; empty where they are not known.
    pub labels: Vec<i64>,
    /// How sure the detector was, 1 for the whole picture; empty where it is not known.
    pub scores: Vec<f32>,
    /// `[regions, width]`, 32 bits a number.
    pub features: Tensor,
}

/// The features of several pictures.
#[derive(Debug)]
pub struct FeatureBatch {
    /// `[pictures, most regions, width]`, 32 bits a number; rows without a region are 0.
    pub features: Tensor,
    /// `[pictures, most regions]`: 1 where there is a region, 0 where there is none.
    pub mask: Tensor,
}

/// After so many bytes the memory that holds parts of the files is let go, so that an epoch does not keep all of them.
const BYTES_KEPT: u64 = 256 << 20;

/// How the names of shards end.
const SHARD: &str = "safetensors";

impl FeatureCache {
    /// Opens a cache: the folder with the shards.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be read; [`Error::Data`] when it holds no features, a shard is damaged or of another
    /// version, or shards do not belong together.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let paths = shard_paths(folder)?;
        if paths.is_empty() {
            return Err(Error::data(
                folder,
                None,
                "this folder holds no features (no shard-*.safetensors)",
                "Compute them with `captionlab extract`, or name the folder that it prints",
            ));
        }
        let open = |path: &PathBuf| Shard::open(path).map_err(|refusal| refusal.error(path));
        Self::of_shards(folder, paths.par_iter().map(open).collect::<Result<_>>()?)
    }

    pub(super) fn of_shards(folder: &Path, shards: Vec<Shard>) -> Result<Self> {
        let mut places: HashMap<String, (u32, u32)> = HashMap::with_capacity(shards.iter().map(Shard::len).sum());
        let mut most_regions = 0;
        for (number, shard) in shards.iter().enumerate() {
            let first = &shards[0];
            if shard.head.identity != first.head.identity || shard.head.width != first.head.width {
                return Err(Error::data(
                    &shard.path,
                    None,
                    format!(
                        "its features are {} numbers wide and were not made as the {} of {}",
                        shard.head.width,
                        first.head.width,
                        first.path.display()
                    ),
                    "One folder holds what one encoder made: move the shard to a folder of its own",
                ));
            }
            for (entry, name) in shard.names.iter().enumerate() {
                most_regions = most_regions.max(shard.rows(entry));
                let place = (number as u32, entry as u32);
                // Two processes may have computed the same.
                if let Some((other, place)) = places.insert(name.clone(), place) {
                    let other = &shards[other as usize];
                    if other.content(place as usize) != shard.content(entry) {
                        return Err(Error::data(
                            &shard.path,
                            None,
                            format!("it holds {name}, and so does {}, of another picture", other.path.display()),
                            "The picture was changed: run `captionlab extract` again, as this cache was made",
                        ));
                    }
                }
            }
        }
        Ok(Self { folder: folder.to_path_buf(), shards, places, most_regions, read: AtomicU64::new(0) })
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Numbers of a region.
    pub fn width(&self) -> usize {
        self.shards.first().map_or(0, |shard| shard.head.width)
    }

    /// How the numbers are kept.
    pub fn precision(&self) -> Precision {
        self.shards.first().map_or(Precision::default(), |shard| shard.head.precision)
    }

    /// As many regions as a picture has at most.
    pub fn most_regions(&self) -> usize {
        self.most_regions
    }

    /// What the features were made with.
    ///
    /// # Errors
    /// [`Error::Data`] when a version of captionlab with other encoders has made them.
    pub fn description(&self) -> Result<Description> {
        let (path, encoder) = self.shards.first().map(|shard| (&shard.path, shard.head.encoder.clone())).unzip();
        serde_json::from_value(encoder.unwrap_or_default()).map_err(|error| {
            let path = path.unwrap_or(&self.folder);
            Error::data(path, None, format!("what made these features is not known: {error}"), "Compute them again")
        })
    }

    /// The names of all pictures, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.places.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Whether a picture's features are here.
    pub fn contains(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Where a picture is, by its name in its data set. The course's features are known by the name without its ending.
    fn place(&self, name: &str) -> Option<(u32, u32)> {
        let found = self.places.get(name).or_else(|| self.places.get(name.rsplit_once('.')?.0));
        found.copied()
    }

    fn found(&self, name: &str) -> Result<(&Shard, usize)> {
        let Some((shard, entry)) = self.place(name) else {
            return Err(Error::data(
                &self.folder,
                None,
                format!("there are no features of {name} among those of {} pictures", self.len()),
                "Run `captionlab extract` again, as this cache was made: it computes what is missing, and says which pictures \
                 cannot be read",
            ));
        };
        Ok((&self.shards[shard as usize], entry as usize))
    }

    /// The features of a picture.
    ///
    /// # Errors
    /// [`Error::Data`] when they are not here, or damaged.
    pub fn get(&self, name: &str) -> Result<PictureFeatures> {
        let (shard, entry) = self.found(name)?;
        let bytes = shard.read(entry).map_err(|problem| damaged(&shard.path, problem))?;
        let boxes = floats(bytes.boxes).as_chunks().0.iter().map(as_box).collect();
        let shape = [shard.rows(entry) as i64, shard.head.width as i64];
        let features = Tensor::f_from_data_size(bytes.features, &shape, kind(shard.head.precision))?;
        let found = PictureFeatures {
            boxes,
            labels: bytes.labels.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            scores: floats(bytes.scores),
            features: features.to_kind(Kind::Float),
        };
        self.count(bytes.features.len());
        Ok(found)
    }

    /// The features of several pictures, in their order.
    ///
    /// # Errors
    /// [`Error::Data`] when those of one are not here, or damaged.
    pub fn batch<S: AsRef<str>>(&self, names: &[S]) -> Result<FeatureBatch> {
        let (most, width) = (self.most_regions, self.width());
        let row = width * self.precision().bytes();
        let found: Vec<(&Shard, usize)> = names.iter().map(|name| self.found(name.as_ref())).collect::<Result<_>>()?;
        let shape = [names.len() as i64, most as i64, width as i64];
        let features = Tensor::f_zeros(shape, (kind(self.precision()), Device::Cpu))?;
        let bytes = match features.numel() {
            0 => &mut [][..],
            // SAFETY: the tensor was made here, lies in one piece, and has as many bytes; nobody else knows it yet.
            count => unsafe {
                std::slice::from_raw_parts_mut(features.data_ptr().cast::<u8>(), count * self.precision().bytes())
            },
        };
        bytes.par_chunks_mut((most * row).max(1)).zip(&found).try_for_each(|(target, &(shard, entry))| {
            let bytes = shard.read(entry).map_err(|problem| damaged(&shard.path, problem))?;
            target[..bytes.features.len()].copy_from_slice(bytes.features);
            Ok::<(), Error>(())
        })?;
        let mut mask = vec![0f32; names.len() * most];
        for (row, (shard, entry)) in mask.chunks_mut(most.max(1)).zip(&found) {
            row[..shard.rows(*entry)].fill(1.0);
        }
        self.count(bytes.len());
        Ok(FeatureBatch {
            features: features.f_to_kind(Kind::Float)?,
            mask: Tensor::from_slice(&mask).reshape([names.len() as i64, most as i64]),
        })
    }

    /// Reads all features and their checksums.
    ///
    /// # Errors
    /// [`Error::Data`] names the first picture whose features are damaged.
    pub fn verify(&self) -> Result<()> {
        self.shards.par_iter().try_for_each(|shard| {
            let checked = (0..shard.len()).try_for_each(|entry| shard.read(entry).map(drop));
            shard.forget();
            checked.map_err(|problem| damaged(&shard.path, problem))
        })
    }

    /// Lets memory go after many bytes.
    fn count(&self, bytes: usize) {
        if self.read.fetch_add(bytes as u64, Ordering::Relaxed) > BYTES_KEPT {
            self.read.store(0, Ordering::Relaxed);
            self.shards.iter().for_each(Shard::forget);
        }
    }
}

fn as_box(&[left, top, right, bottom]: &[f32; 4]) -> BoundingBox {
    BoundingBox { left, top, right, bottom }
}

fn kind(precision: Precision) -> Kind {
    match precision {
        Precision::Half => Kind::Half,
        Precision::Single => Kind::Float,
    }
}

/// The files of a folder that are shards by their name, in its order; none where there is no folder.
pub(super) fn shard_paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let fault = |source| Error::file(folder, "read the folder of features", source, "Check the path.");
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(fault)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|ending| ending == SHARD) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Shards that are whole, and what is wrong with those that are not. All checksums are looked at.
pub(super) fn whole_shards(folder: &Path) -> Result<(Vec<Shard>, BTreeMap<PathBuf, String>)> {
    let paths = shard_paths(folder)?;
    let open = |path: &PathBuf| -> Result<Option<Result<Shard, String>>> {
        match Shard::open(path) {
            // Another process has taken it away meanwhile.
            Err(Refusal::Other(Error::File { source, .. })) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(Refusal::Other(error)) => Err(error),
            Err(Refusal::Damaged(problem)) => Ok(Some(Err(problem))),
            Ok(shard) => {
                let problem = (0..shard.len()).find_map(|entry| shard.read(entry).err());
                shard.forget();
                Ok(Some(problem.map_or(Ok(shard), Err)))
            }
        }
    };
    let opened: Vec<_> = paths.par_iter().map(open).collect::<Result<_>>()?;
    let (mut whole, mut broken) = (Vec::new(), BTreeMap::new());
    for (path, opened) in paths.into_iter().zip(opened) {
        match opened {
            Some(Ok(shard)) => whole.push(shard),
            Some(Err(problem)) => drop(broken.insert(path, problem)),
            None => {}
        }
    }
    Ok((whole, broken))
}
