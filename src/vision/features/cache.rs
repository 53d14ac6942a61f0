//! Reading a feature cache.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
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
use crate::data::{BoundingBox, Dataset, Example, HOW_TO_SPLIT, Split};
use crate::train::examples::examples_of;
use crate::{Error, Result};

/// The cached features of a data set by one encoder: a folder that [`extract`](super::extract) fills.
///
/// Opening reads only the index. An image's features are read on demand and verified the first time: a cache returns what was
/// computed or an error that names the image, never other features and never zeros.
#[derive(Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Shard and position within it, by image name.
    places: HashMap<String, (u32, u32)>,
    most_regions: usize,
    /// Bytes read since memory was last released.
    read: AtomicU64,
}

/// The features of one image.
#[derive(Debug)]
pub struct PictureFeatures {
    /// Boxes in pixels of the image; the first region is the whole image.
    pub boxes: Vec<BoundingBox>,
    /// Class indices of the detector, 0 for the whole image; empty where unknown.
    pub labels: Vec<i64>,
    /// Detection scores, 1 for the whole image; empty where unknown.
    pub scores: Vec<f32>,
    /// `[regions, width]`, `float32`.
    pub features: Tensor,
}

/// The features of several images, padded to the most regions.
#[derive(Debug)]
pub struct FeatureBatch {
    /// `[pictures, most regions, width]`, `float32`; padding is 0.
    pub features: Tensor,
    /// `[pictures, most regions, 4]`: left, top, right and bottom in pixels of each image; padding is 0.
    pub boxes: Tensor,
    /// `[pictures, most regions]`: 1 for regions, 0 for padding.
    pub mask: Tensor,
    /// The memory below `features`, which is a lazy copy: libtorch copies when either is written while the other exists. So nobody sees
    /// a later batch's values, and nothing is copied if `features` was dropped.
    memory: Tensor,
}

impl Default for FeatureBatch {
    /// An empty batch.
    fn default() -> Self {
        let empty = |shape: &[i64]| Tensor::empty(shape, (Kind::Float, Device::Cpu));
        Self { features: empty(&[0, 0, 0]), boxes: empty(&[0, 0, 4]), mask: empty(&[0, 0]), memory: empty(&[0, 0, 0]) }
    }
}

impl FeatureBatch {
    /// A batch of features `[pictures, regions, width]`, a mask `[pictures, regions]` and boxes `[pictures, regions, 4]`.
    pub fn new(features: Tensor, mask: Tensor, boxes: Tensor) -> Self {
        let memory = Tensor::empty([0, 0, 0], (Kind::Float, Device::Cpu));
        Self { features, mask, boxes, memory }
    }
}

/// Bytes read after which the mapped memory is released, so that an epoch does not keep whole files in memory.
const BYTES_KEPT: u64 = 256 << 20;

/// Suffix of shards.
const SHARD: &str = ".safetensors";

/// Prefix of shards.
const SHARD_BEGIN: &str = "shard-";

/// The encoder name of imported features.
pub(super) const IMPORTED: &str = "imported";

impl FeatureCache {
    /// Opens a cache by its folder.
    ///
    /// # Errors
    /// [`Error::File`] when the folder cannot be read; [`Error::Data`] when it holds no features, a shard is damaged or has another
    /// format version, or shards come from different encoders.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let paths = shard_paths(folder)?;
        if paths.is_empty() {
            return Err(Error::data(
                folder,
                None,
                "this folder holds no features (no shard-*.safetensors)",
                "Compute them with `captionlab extract`, or name the folder that it prints.",
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
                        "its features have dimension {} and were not made as the {} of {}",
                        shard.head.width,
                        first.head.width,
                        first.path.display()
                    ),
                    "A folder holds the features of one encoder: move the shard to a folder of its own.",
                ));
            }
            for (entry, name) in shard.names.iter().enumerate() {
                most_regions = most_regions.max(shard.rows(entry));
                let place = (number as u32, entry as u32);
                // Two processes may compute the same images.
                if let Some((other, place)) = places.insert(name.clone(), place) {
                    let other = &shards[other as usize];
                    if other.content(place as usize) != shard.content(entry) {
                        return Err(Error::data(
                            &shard.path,
                            None,
                            format!("it holds {name}, and so does {}, of another picture", other.path.display()),
                            "The picture has changed: run `captionlab extract` again, as this cache was made.",
                        ));
                    }
                }
            }
        }
        Ok(Self { folder: folder.to_path_buf(), shards, places, most_regions, read: AtomicU64::new(0) })
    }

    /// The folder of the cache.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The feature dimension.
    pub fn width(&self) -> usize {
        self.shards.first().map_or(0, |shard| shard.head.width)
    }

    /// The dtype of the stored features.
    pub fn precision(&self) -> StorageDtype {
        self.shards.first().map_or(StorageDtype::default(), |shard| shard.head.precision)
    }

    /// The largest number of regions of an image.
    pub fn most_regions(&self) -> usize {
        self.most_regions
    }

    /// The encoder that made the features.
    ///
    /// # Errors
    /// [`Error::Data`] when a version of captionlab with other encoders made them, and for imported features.
    pub fn description(&self) -> Result<Description> {
        let (path, encoder) = self.shards.first().map(|shard| (&shard.path, shard.head.encoder.clone())).unzip();
        serde_json::from_value(encoder.unwrap_or_default()).map_err(|error| {
            let path = path.unwrap_or(&self.folder);
            Error::data(
                path,
                None,
                format!("the encoder of these features is unknown: {error}"),
                "Imported features have no description.",
            )
        })
    }

    /// Hash of everything that determines the features except the images: [`Encoder::identity`](super::Encoder::identity).
    pub fn identity(&self) -> Option<&str> {
        self.shards.first().map(|shard| shard.head.identity.as_str())
    }

    /// The names of all images, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.places.keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Whether the cache holds features of the image.
    pub fn contains(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// The examples of a split that have captions, and of which there are features; and those without features, a sentence each.
    ///
    /// # Errors
    /// [`Error::Argument`] when there are none.
    pub(crate) fn examples_of<'a>(
        &self,
        dataset: &'a Dataset,
        split: Split,
    ) -> Result<(Vec<&'a Example>, Vec<String>)> {
        let (here, missing): (Vec<_>, Vec<_>) =
            examples_of(dataset, split).into_iter().partition(|example| self.contains(&example.name));
        if here.is_empty() {
            return Err(Error::argument(
                format!("{} has no {split} pictures with captions and features", dataset.name),
                format!("Give its examples splits: {HOW_TO_SPLIT}; `captionlab extract` computes features."),
            ));
        }
        let unreadable = missing.iter().map(|example| format!("there are no features of {}", example.name)).collect();
        Ok((here, unreadable))
    }

    /// Whether the features were imported.
    pub(super) fn is_imported(&self) -> bool {
        self.shards.first().is_some_and(|shard| shard.head.encoder["name"] == IMPORTED)
    }

    /// Shard and position of an image, by its name in the data set. Imported features are found by the name without extension too.
    fn place(&self, name: &str) -> Option<(u32, u32)> {
        let without_ending =
            || name.rsplit_once('.').filter(|_| self.is_imported()).and_then(|(id, _)| self.places.get(id));
        self.places.get(name).or_else(without_ending).copied()
    }

    /// Checks that the cache holds features of all these images as they are now, by reading their files. Imported features have no
    /// record of their images, so for them only presence is checked.
    ///
    /// # Errors
    /// [`Error::Data`] names the first image whose features are missing or were computed from another image of that name;
    /// [`Error::File`] when an image cannot be read.
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
                    format!("its features of {} are those of another picture of that name", example.name),
                    "Run `captionlab extract` again for this data set.",
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
                "Run `captionlab extract` again, as this cache was made: it computes what is missing, and lists pictures that \
                 cannot be read.",
            ));
        };
        Ok((&self.shards[shard as usize], entry as usize))
    }

    /// The features of an image.
    ///
    /// # Errors
    /// [`Error::Data`] when they are missing or damaged.
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

    /// The features of several images, in order.
    ///
    /// # Errors
    /// [`Error::Data`] when those of an image are missing or damaged.
    pub fn batch<S: AsRef<str>>(&self, names: &[S]) -> Result<FeatureBatch> {
        let mut batch = FeatureBatch::default();
        self.batch_into(names, &mut batch)?;
        Ok(batch)
    }

    /// The images of `among` that are most like each of `names`, the most alike first: at most `count` of them, as indices of `among`,
    /// with the cosine similarity of the features of the whole images. An image is not among those like itself.
    ///
    /// # Errors
    /// As [`FeatureCache::batch`].
    pub fn nearest<S: AsRef<str>, A: AsRef<str>>(
        &self,
        names: &[S],
        among: &[A],
        count: usize,
    ) -> Result<Vec<Vec<(usize, f32)>>> {
        let (of, all) = (self.whole_images(names)?, self.whole_images(among)?.f_tr()?);
        let mut nearest = Vec::with_capacity(names.len());
        for (name, row) in names.iter().zip(0..) {
            let similarities: Vec<f32> =
                Vec::try_from(of.f_get(row)?.f_unsqueeze(0)?.f_matmul(&all)?.f_flatten(0, 1)?)?;
            let others = (0..among.len()).filter(|&other| among[other].as_ref() != name.as_ref());
            let mut others: Vec<(usize, f32)> = others.map(|other| (other, similarities[other])).collect();
            others.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            others.truncate(count);
            nearest.push(others);
        }
        Ok(nearest)
    }

    /// The features of whole images, of length 1, `[images, width]`.
    fn whole_images<S: AsRef<str>>(&self, names: &[S]) -> Result<Tensor> {
        let mut parts = vec![Tensor::f_empty([0, self.width() as i64], (Kind::Float, Device::Cpu))?];
        for part in names.chunks(256) {
            let features = self.batch(part)?.features.f_select(1, 0)?;
            parts.push(&features / features.norm_scalaropt_dim(2.0, [1i64], true).clamp_min(1e-12));
        }
        Ok(Tensor::f_cat(&parts, 0)?)
    }

    /// As [`FeatureCache::batch`], reusing the memory of a batch that is no longer needed. This is up to four times as fast, because
    /// allocating takes longer than reading. Other handles to the batch's tensors keep their values.
    ///
    /// # Errors
    /// As [`FeatureCache::batch`]; the content of the batch is unspecified then.
    pub fn batch_into<S: AsRef<str>>(&self, names: &[S], batch: &mut FeatureBatch) -> Result<()> {
        let (most, width) = (self.most_regions, self.width());
        let found: Vec<(&Shard, usize)> = names.iter().map(|name| self.found(name.as_ref())).collect::<Result<_>>()?;
        found.iter().for_each(|(shard, entry)| shard.expect(*entry));
        let (pictures, rows) = (names.len() as i64, most as i64);
        let shape = [pictures, rows, width as i64];
        // Drop the lazy copies first, so that writing does not copy them.
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

    /// Reads all features and verifies their checksums.
    ///
    /// # Errors
    /// [`Error::Data`] names the first image with damaged features.
    pub fn verify(&self) -> Result<()> {
        self.shards.par_iter().try_for_each(|shard| {
            let checked = (0..shard.len()).try_for_each(|entry| shard.read(entry).map(drop));
            shard.forget();
            checked.map_err(|problem| damaged(&shard.path, problem))
        })
    }

    /// Releases memory after many bytes.
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

/// The values of a contiguous `float32` CPU tensor without other handles, except lazy copies.
fn numbers(tensor: &mut Tensor) -> &mut [f32] {
    match tensor.numel() {
        0 => &mut [],
        // SAFETY: the memory holds `count` values, and any bits are a valid `f32`. The only handle is borrowed mutably; `data_ptr`
        // materialises lazy copies first.
        count => unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), count) },
    }
}

/// Converts stored features to `float32`.
fn widen(bytes: &[u8], precision: StorageDtype, numbers: &mut [f32]) {
    match precision {
        StorageDtype::Single => {
            numbers
                .iter_mut()
                .zip(bytes.as_chunks().0)
                .for_each(|(number, bytes)| *number = f32::from_le_bytes(*bytes));
        }
        StorageDtype::Half => {
            // In blocks that fit the CPU cache.
            let mut halves = [f16::ZERO; 512];
            for (numbers, bytes) in numbers.chunks_mut(halves.len()).zip(bytes.chunks(2 * halves.len())) {
                let halves = &mut halves[..numbers.len()];
                halves.iter_mut().zip(bytes.as_chunks().0).for_each(|(half, bytes)| *half = f16::from_le_bytes(*bytes));
                halves.convert_to_f32_slice(numbers);
            }
        }
    }
}

/// The paths of shards in a folder, sorted; none if the folder does not exist.
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

/// Intact shards, and the problem of each damaged one. Checksums of features are verified here only with `verify`; otherwise when
/// the features are first read.
pub(super) fn whole_shards(folder: &Path, verify: bool) -> Result<(Vec<Shard>, BTreeMap<PathBuf, String>)> {
    let paths = shard_paths(folder)?;
    let open = |path: &PathBuf| -> Result<Option<Result<Shard, String>>> {
        match Shard::open(path) {
            // Another process has removed it meanwhile.
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

/// Displays the folder, and how much it holds.
impl fmt::Display for FeatureCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, pictures, width) = (self.folder.display(), self.len(), self.width());
        write!(formatter, "{folder}: {pictures} pictures, features of dimension {width}")
    }
}

crate::in_cells::shown_in_cells!(FeatureCache);
