//! Reading a cache.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::Description;
use super::content::content;
use super::shard::{Refusal, Shard, StorageDtype, damaged, floats};
use crate::data::{BoundingBox, Example};
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
    /// `[pictures, most regions, 4]`: left, top, right and bottom in pixels of each picture; rows without a region are 0.
    pub boxes: Tensor,
    /// `[pictures, most regions]`: 1 where there is a region, 0 where there is none.
    pub mask: Tensor,
    /// What the features lie in. They are a copy that libtorch makes when either is written to while the other is there: so nobody sees
    /// the numbers of a later batch in theirs, and nothing is copied where nobody looks any more.
    memory: Tensor,
}

impl Default for FeatureBatch {
    /// Of no pictures.
    fn default() -> Self {
        let empty = |shape: &[i64]| Tensor::empty(shape, (Kind::Float, Device::Cpu));
        Self { features: empty(&[0, 0, 0]), boxes: empty(&[0, 0, 4]), mask: empty(&[0, 0]), memory: empty(&[0, 0, 0]) }
    }
}

impl FeatureBatch {
    /// A batch of features, `[pictures, regions, width]`, a mask, `[pictures, regions]`, and boxes, `[pictures, regions, 4]`.
    pub fn new(features: Tensor, mask: Tensor, boxes: Tensor) -> Self {
        let memory = Tensor::empty([0, 0, 0], (Kind::Float, Device::Cpu));
        Self { features, mask, boxes, memory }
    }
}

/// After so many bytes the memory that holds parts of the files is let go, so that an epoch does not keep all of them.
const BYTES_KEPT: u64 = 256 << 20;

/// How the names of shards end.
const SHARD: &str = ".safetensors";

/// How they begin.
const SHARD_BEGIN: &str = "shard-";

/// What features are said to be made by that were read from files of the course.
pub(super) const IMPORTED: &str = "imported";

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
    pub fn precision(&self) -> StorageDtype {
        self.shards.first().map_or(StorageDtype::default(), |shard| shard.head.precision)
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
            Error::data(
                path,
                None,
                format!("what made these features is not known: {error}"),
                "Imported features say nothing of it",
            )
        })
    }

    /// The hash of all that the features depend on but the pictures: [`Encoder::identity`](super::Encoder::identity).
    pub fn identity(&self) -> Option<&str> {
        self.shards.first().map(|shard| shard.head.identity.as_str())
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

    /// Whether the features were computed by the course.
    fn is_imported(&self) -> bool {
        self.shards.first().is_some_and(|shard| shard.head.encoder["name"] == IMPORTED)
    }

    /// Where a picture is, by its name in its data set. The course's features are known by the name without its ending.
    fn place(&self, name: &str) -> Option<(u32, u32)> {
        let without_ending =
            || name.rsplit_once('.').filter(|_| self.is_imported()).and_then(|(id, _)| self.places.get(id));
        self.places.get(name).or_else(without_ending).copied()
    }

    /// Checks that the features of all these pictures are here, and were computed from what the pictures are now: reads all of their
    /// files, as [`extract`](super::extract) does. Of imported features it is checked only that they are here: they say nothing about
    /// their pictures.
    ///
    /// # Errors
    /// [`Error::Data`] names the first picture that has no features here, or has those of another picture of its name; errors of
    /// reading it.
    pub fn check_pictures(&self, examples: &[Example]) -> Result<()> {
        let imported = self.is_imported();
        examples.par_iter().try_for_each(|example| {
            let (shard, entry) = self.found(&example.name)?;
            if imported {
                return Ok(());
            }
            match content(&example.image)? == shard.content(entry) {
                true => Ok(()),
                false => Err(Error::data(
                    &shard.path,
                    None,
                    format!("its features of {} are of another picture of that name", example.name),
                    "Run `captionlab extract` again for this data set",
                )),
            }
        })
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
        let mut features = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
        widen(bytes.features, shard.head.precision, numbers(&mut features));
        let found = PictureFeatures {
            boxes,
            labels: bytes.labels.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            scores: floats(bytes.scores),
            features,
        };
        self.count(bytes.features.len());
        Ok(found)
    }

    /// The features of several pictures, in their order.
    ///
    /// # Errors
    /// [`Error::Data`] when those of one are not here, or damaged.
    pub fn batch<S: AsRef<str>>(&self, names: &[S]) -> Result<FeatureBatch> {
        let mut batch = FeatureBatch::default();
        self.batch_into(names, &mut batch)?;
        Ok(batch)
    }

    /// As [`FeatureCache::batch`], into the memory of a batch that is no longer needed: reading is up to four times as fast then, since
    /// asking the system for much new memory takes longer than reading. Whoever still has a handle to its tensors keeps what it was.
    ///
    /// # Errors
    /// As [`FeatureCache::batch`]; what the batch holds then is of no use.
    pub fn batch_into<S: AsRef<str>>(&self, names: &[S], batch: &mut FeatureBatch) -> Result<()> {
        let (most, width) = (self.most_regions, self.width());
        let found: Vec<(&Shard, usize)> = names.iter().map(|name| self.found(name.as_ref())).collect::<Result<_>>()?;
        found.iter().for_each(|(shard, entry)| shard.expect(*entry));
        let (pictures, rows) = (names.len() as i64, most as i64);
        let shape = [pictures, rows, width as i64];
        // What was given out last time shares the memory, and is let go of before it is written to.
        let memory = std::mem::take(batch).memory;
        let mut memory = match memory.size() == shape {
            true => memory,
            false => Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?,
        };
        let mut boxes = vec![0f32; names.len() * most * 4];
        let mut mask = vec![0f32; names.len() * most];
        numbers(&mut memory)
            .par_chunks_mut((most * width).max(1))
            .zip(boxes.par_chunks_mut((most * 4).max(1)))
            .zip(mask.par_chunks_mut(most.max(1)))
            .zip(&found)
            .try_for_each(|(((features, boxes), mask), &(shard, entry))| {
                let bytes = shard.read(entry).map_err(|problem| damaged(&shard.path, problem))?;
                let (rows, rest) = features.split_at_mut(width * shard.rows(entry));
                widen(bytes.features, shard.head.precision, rows);
                rest.fill(0.0);
                let corners = floats(bytes.boxes);
                boxes[..corners.len()].copy_from_slice(&corners);
                mask[..shard.rows(entry)].fill(1.0);
                Ok::<(), Error>(())
            })?;
        self.count(names.len() * most * width * self.precision().bytes());
        *batch = FeatureBatch {
            features: memory.f_internal_lazy_clone()?,
            boxes: Tensor::from_slice(&boxes).f_reshape([pictures, rows, 4])?,
            mask: Tensor::from_slice(&mask).f_reshape([pictures, rows])?,
            memory,
        };
        Ok(())
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

/// The memory of a tensor of 32-bit numbers on the processor that lies in one piece, of which nobody else has a handle: at most copies
/// that libtorch makes when they or it are written to.
fn numbers(tensor: &mut Tensor) -> &mut [f32] {
    match tensor.numel() {
        0 => &mut [],
        // SAFETY: so many numbers lie there, of which any bits are one. The only handle is borrowed; what was copied lazily from it
        // has its own memory once its address was asked for to write there, as `data_ptr` does.
        count => unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), count) },
    }
}

/// Numbers as they are kept, made 32 bits wide.
fn widen(bytes: &[u8], precision: StorageDtype, numbers: &mut [f32]) {
    match precision {
        StorageDtype::Single => {
            numbers
                .iter_mut()
                .zip(bytes.as_chunks().0)
                .for_each(|(number, bytes)| *number = f32::from_le_bytes(*bytes));
        }
        StorageDtype::Half => {
            // In pieces that stay near the processor.
            let mut halves = [f16::ZERO; 512];
            for (numbers, bytes) in numbers.chunks_mut(halves.len()).zip(bytes.chunks(2 * halves.len())) {
                let halves = &mut halves[..numbers.len()];
                halves.iter_mut().zip(bytes.as_chunks().0).for_each(|(half, bytes)| *half = f16::from_le_bytes(*bytes));
                halves.convert_to_f32_slice(numbers);
            }
        }
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
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(SHARD_BEGIN) && name.ends_with(SHARD) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Shards that are whole, and what is wrong with those that are not. The checksums of the features are looked at only to `verify`;
/// otherwise each is looked at when the features are first read.
pub(super) fn whole_shards(folder: &Path, verify: bool) -> Result<(Vec<Shard>, BTreeMap<PathBuf, String>)> {
    let paths = shard_paths(folder)?;
    let open = |path: &PathBuf| -> Result<Option<Result<Shard, String>>> {
        match Shard::open(path) {
            // Another process has taken it away meanwhile.
            Err(Refusal::Other(Error::File { source, .. })) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(Refusal::Other(error)) => Err(error),
            Err(Refusal::Damaged(problem)) => Ok(Some(Err(problem))),
            Ok(shard) => {
                let problem = (0..shard.len()).filter(|_| verify).find_map(|entry| shard.read(entry).err());
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
