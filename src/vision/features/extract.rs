//! Filling a cache.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::cache::{FeatureCache, whole_shards};
use super::encoder::{Encoder, kept};
use super::shard::{Content, Shard, ShardEntry, shard_name, write_shard_at};
use crate::data::images::{decode_bytes, decode_source, read_picture_file};
use crate::data::scenes;
use crate::data::{Dataset, Example, ImageSource};
use crate::files::{PARTIAL, project_folder};
use crate::{Error, Result};

/// How a cache is filled. None of it changes the features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractConfig {
    /// Where caches are kept, a folder each; when `None`, `cached_features` of the project that the current folder is in, or else of
    /// `CAPTIONLAB_CHECKOUT`.
    pub folder: Option<PathBuf>,
    /// Which part of the data set, counted from 0, of how many: parts that are computed on several machines into one folder make
    /// one cache.
    pub part: (usize, usize),
    /// Pictures of a shard: as many are lost at most when the process is killed.
    pub shard_pictures: usize,
    /// Threads that decode pictures while the network works; by default one for each processor.
    pub threads: usize,
}

impl Default for ExtractConfig {
    fn default() -> Self {
        Self {
            folder: None,
            part: (0, 1),
            shard_pictures: 512,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl ExtractConfig {
    /// # Errors
    /// [`Error::Config`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let (part, parts) = self.part;
        if part >= parts {
            let expected = match parts {
                0 => "there must be a part at least".to_string(),
                _ => format!("parts are counted from 0: 0/{parts} to {}/{parts}", parts - 1),
            };
            return Err(Error::config("extract.part", format!("{part}/{parts}"), expected));
        }
        if !(1..=1_000_000).contains(&self.shard_pictures) {
            return Err(Error::config("extract.shard_pictures", self.shard_pictures, "must be in 1..=1000000"));
        }
        match self.threads {
            1..=1024 => Ok(()),
            threads => Err(Error::config("extract.threads", threads, "must be in 1..=1024")),
        }
    }

    /// The folder of the features of a data set as an encoder sees it.
    pub fn folder_of(&self, dataset: &Dataset, encoder: &Encoder) -> PathBuf {
        let root = self.folder.clone().unwrap_or_else(cached_features);
        root.join(folder_name(dataset)).join(format!("{}-{}", encoder.description().name, &encoder.identity()[..12]))
    }
}

/// `cached_features` of the project that the current folder is in, or else of `CAPTIONLAB_CHECKOUT`.
pub(super) fn cached_features() -> PathBuf {
    project_folder().join("cached_features")
}

/// The data set's name as one of a folder. Scenes of another seed are other pictures of the same names.
fn folder_name(dataset: &Dataset) -> String {
    let mut name: String =
        dataset.name.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
    if let Some(Example { image: ImageSource::Scene { seed, .. }, .. }) = dataset.examples.first() {
        name = format!("{name}-seed-{seed}");
    }
    name.to_lowercase()
}

/// How far the filling of a cache has come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExtractProgress {
    /// Pictures that were computed, or skipped.
    pub done: usize,
    /// Pictures to compute; those that were found are not among them.
    pub total: usize,
    /// Pictures that could not be read.
    pub skipped: usize,
    /// Pictures a second since the first.
    pub per_second: f64,
}

impl ExtractProgress {
    /// How long the rest will take, if it goes on like this.
    pub fn seconds_left(&self) -> f64 {
        (self.total - self.done) as f64 / self.per_second
    }
}

/// `120 of 600 pictures, 41.3 a second, 12 s to go`.
impl fmt::Display for ExtractProgress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {} pictures", self.done, self.total)?;
        if self.per_second > 0.0 {
            write!(formatter, ", {:.1} a second, {:.0} s to go", self.per_second, self.seconds_left())?;
        }
        match self.skipped {
            0 => Ok(()),
            skipped => write!(formatter, ", {skipped} skipped"),
        }
    }
}

/// What came of filling a cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Extraction {
    /// The folder of the cache.
    pub folder: PathBuf,
    /// Pictures whose features were there.
    pub found: usize,
    /// Pictures whose features were computed, here or meanwhile by another process.
    pub computed: usize,
    /// Pictures that have no features, and why.
    pub skipped: Vec<String>,
    /// Shards that were damaged: each was set aside, and what it held of this part was computed anew.
    pub damaged: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

impl Extraction {
    /// The cache that was filled.
    ///
    /// # Errors
    /// As [`FeatureCache::open`].
    pub fn open(&self) -> Result<FeatureCache> {
        FeatureCache::open(&self.folder)
    }
}

/// What was done, then what was skipped, a line each.
impl fmt::Display for Extraction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, found, computed, skipped, damaged, seconds } = self;
        write!(formatter, "{}: {computed} pictures computed", folder.display())?;
        if *computed > 0 {
            write!(formatter, " ({:.1} a second)", *computed as f64 / seconds)?;
        }
        write!(formatter, ", {found} found, {} skipped", skipped.len())?;
        for problem in damaged {
            write!(formatter, "\ndamaged and set aside, to be computed anew by the part it belongs to: {problem}")?;
        }
        for problem in skipped {
            write!(formatter, "\nskipped: {problem}")?;
        }
        Ok(())
    }
}

/// A picture whose features are to be computed.
struct Wanted<'a> {
    example: &'a Example,
    content: Content,
}

/// Computes the features of all pictures of a data set that are not in its cache, shard by shard.
///
/// It may be killed at any time and called again: what is in a whole shard stays. Several processes may fill one cache at the same
/// time: each takes the shards that no other is at. Features whose picture has changed are computed again. A picture that
/// cannot be read is left out and named at the end.
///
/// # Errors
/// [`Error::Config`] when a setting is out of its range, [`Error::File`] when the folder cannot be written, [`Error::Data`] when
/// it holds shards of something else.
pub fn extract(
    dataset: &Dataset,
    encoder: &Encoder,
    config: &ExtractConfig,
    mut progress: impl FnMut(&ExtractProgress),
) -> Result<Extraction> {
    config.validate()?;
    let start = Instant::now();
    let folder = config.folder_of(dataset, encoder);
    std::fs::create_dir_all(&folder).map_err(|source| unwritable(&folder, source))?;
    sweep(&folder)?;
    let (part, parts) = config.part;
    let count = dataset.examples.len();
    // Wider numbers: there may be a great many parts.
    let border = |part: usize| (count as u128 * part as u128 / parts as u128) as usize;
    let examples = &dataset.examples[border(part)..border(part + 1)];

    let mut extraction =
        Extraction { folder, found: 0, computed: 0, skipped: Vec::new(), damaged: Vec::new(), seconds: 0.0 };
    let folder = extraction.folder.clone();
    let contents: Vec<Result<Content>> = examples.par_iter().map(|example| content(&example.image)).collect();
    let here = pictures_here(&folder, encoder, examples, &contents, &mut extraction.damaged)?;
    let mut shards: Vec<Vec<Wanted>> = Vec::new();
    shards.resize_with(examples.len().div_ceil(config.shard_pictures), Vec::new);
    for (place, (example, content)) in examples.iter().zip(contents).enumerate() {
        match content {
            Err(error) => extraction.skipped.push(error.to_string()),
            Ok(content) if here.get(&example.name) == Some(&content) => extraction.found += 1,
            Ok(content) => shards[place / config.shard_pictures].push(Wanted { example, content }),
        }
    }
    shards.retain(|shard| !shard.is_empty());

    let total = shards.iter().map(Vec::len).sum();
    let mut done = ExtractProgress { done: 0, total, skipped: 0, per_second: 0.0 };
    let first = Instant::now();
    let mut tell = |skipped: bool| {
        done.done += 1;
        done.skipped += usize::from(skipped);
        done.per_second = done.done as f64 / first.elapsed().as_secs_f64().max(1e-9);
        progress(&done);
    };
    // Shards that another process is at are looked at once more in the end, when it is done with them or was killed.
    let mut of_others = Vec::new();
    for shard in &shards {
        if !fill(&folder, shard, encoder, config, false, &mut extraction, &mut tell)? {
            of_others.push(shard);
        }
    }
    for shard in of_others {
        fill(&folder, shard, encoder, config, true, &mut extraction, &mut tell)?;
    }
    extraction.seconds = start.elapsed().as_secs_f64();
    if extraction.found + extraction.computed == 0 && !examples.is_empty() {
        return Err(Error::data(
            &folder,
            None,
            format!("none of the {} pictures has features; of the first: {}", examples.len(), extraction.skipped[0]),
            "Check where the data set's pictures are, and that the weights are whole",
        ));
    }
    Ok(extraction)
}

/// Computes and writes one shard; `false` when another process is at it and it should not `wait`. `done` is told of each
/// picture, and whether it was skipped.
fn fill(
    folder: &Path,
    wanted: &[Wanted],
    encoder: &Encoder,
    config: &ExtractConfig,
    wait: bool,
    extraction: &mut Extraction,
    done: &mut dyn FnMut(bool),
) -> Result<bool> {
    let name = shard_name(wanted.iter().map(|wanted| (wanted.example.name.as_str(), &wanted.content)));
    let path = folder.join(&name);
    let Some(_lock) = Lock::take(lock_of(folder, &name), wait)? else { return Ok(false) };
    if path.exists() {
        // Another process was faster.
        let shard = Shard::open(&path).map_err(|refusal| refusal.error(&path))?;
        for wanted in wanted {
            let here = shard.names.contains(&wanted.example.name);
            done(!here);
            match here {
                true => extraction.computed += 1,
                false => extraction.skipped.push(format!("{}: another process could not read it", wanted.example.name)),
            }
        }
        return Ok(true);
    }
    let entries = compute(wanted, encoder, config.threads, &mut extraction.skipped, done)?;
    if !entries.is_empty() {
        write_shard_at(&path, &encoder.head(), &entries)?;
        extraction.computed += entries.len();
    }
    Ok(true)
}

/// The features of pictures, in their order, without those that cannot be read. Threads decode ahead of the network.
fn compute(
    wanted: &[Wanted],
    encoder: &Encoder,
    threads: usize,
    skipped: &mut Vec<String>,
    done: &mut dyn FnMut(bool),
) -> Result<Vec<ShardEntry>> {
    let next = AtomicUsize::new(0);
    let mut entries: Vec<Option<ShardEntry>> = Vec::new();
    entries.resize_with(wanted.len(), || None);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(2 * threads);
        for _ in 0..threads.min(wanted.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(wanted) = wanted.get(place) else { return };
                    if sender.send((place, decode(wanted))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (place, picture) in receiver {
            let entry = match picture {
                Ok(picture) => entry(&wanted[place], &picture, encoder)?,
                Err(error) => Err(error.to_string()),
            };
            done(entry.is_err());
            match entry {
                Ok(entry) => entries[place] = Some(entry),
                Err(problem) => skipped.push(problem),
            }
        }
        Ok::<(), Error>(())
    })?;
    Ok(entries.into_iter().flatten().collect())
}

fn entry(wanted: &Wanted, picture: &RgbImage, encoder: &Encoder) -> Result<Result<ShardEntry, String>> {
    let found = encoder.encode(picture)?;
    let name = &wanted.example.name;
    if name.contains('\n') {
        return Ok(Err(format!("{name:?}: a name must be one line")));
    }
    let features = match kept(&found.features, encoder.description().precision) {
        Ok(features) => features,
        Err(problem) => return Ok(Err(format!("{name}: {problem}"))),
    };
    let boxes = found.boxes.iter().map(|bounds| [bounds.left, bounds.top, bounds.right, bounds.bottom]).collect();
    let (labels, scores) = (found.labels, found.scores);
    Ok(Ok(ShardEntry { name: name.clone(), content: wanted.content, boxes, labels, scores, features }))
}

/// What a picture is, and the bytes of its file.
struct Read {
    content: Content,
    bytes: Vec<u8>,
}

/// What pictures are now.
pub(super) fn content(source: &ImageSource) -> Result<Content> {
    Ok(read(source)?.content)
}

fn read(source: &ImageSource) -> Result<Read> {
    let bytes = match source {
        ImageSource::File(path) => read_picture_file(path)?,
        ImageSource::Scene { seed, index } => format!("scene {} {seed} {index}", scenes::VERSION).into_bytes(),
    };
    Ok(Read { content: Sha256::digest(&bytes).into(), bytes })
}

fn decode(wanted: &Wanted) -> Result<RgbImage> {
    let source = &wanted.example.image;
    let ImageSource::File(path) = source else { return decode_source(source) };
    let Read { content, bytes } = read(source)?;
    if content != wanted.content {
        return Err(Error::Image {
            path: path.clone(),
            problem: "the file was changed while the features were being computed".to_string(),
            help: "Run this again.".to_string(),
        });
    }
    decode_bytes(&bytes, path)
}

/// What is in the cache, by name. Damaged shards are set aside; shards with pictures that are other ones now are written again without
/// those.
fn pictures_here(
    folder: &Path,
    encoder: &Encoder,
    examples: &[Example],
    contents: &[Result<Content>],
    damaged: &mut Vec<String>,
) -> Result<HashMap<String, Content>> {
    let (shards, broken) = whole_shards(folder)?;
    for (path, problem) in broken {
        let aside = path.with_extension("safetensors.damaged");
        match std::fs::rename(&path, &aside) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(unwritable(&path, source)),
            _ => damaged.push(format!("{}: {problem}", path.display())),
        }
    }
    let mut now: HashMap<&str, &Content> = HashMap::new();
    for (example, content) in examples.iter().zip(contents) {
        if let Ok(content) = content {
            now.insert(&example.name, content);
        }
    }
    let mut here = HashMap::new();
    for shard in &shards {
        if shard.head.identity != encoder.identity() {
            return Err(Error::data(
                &shard.path,
                None,
                "its features were made with other weights or settings than this folder is for",
                "Move it to a folder of its own",
            ));
        }
        let is_current = |entry: &usize| {
            now.get(shard.names[*entry].as_str()).is_none_or(|content| **content == shard.content(*entry))
        };
        let current: Vec<usize> = (0..shard.len()).filter(is_current).collect();
        here.extend(current.iter().map(|&entry| (shard.names[entry].clone(), shard.content(entry))));
        if current.len() < shard.len() && !keep_only(folder, shard, &current)? {
            // Another process has changed it meanwhile: look again.
            return pictures_here(folder, encoder, examples, contents, damaged);
        }
    }
    Ok(here)
}

/// Replaces a shard by one that holds some of its pictures; `false` when another process has taken it away.
fn keep_only(folder: &Path, shard: &Shard, current: &[usize]) -> Result<bool> {
    let own = shard.path.file_name().unwrap_or_default().to_string_lossy();
    let _lock = Lock::take(lock_of(folder, &own), true)?;
    if !shard.path.exists() {
        return Ok(false);
    }
    let entries: Vec<ShardEntry> = current
        .iter()
        .map(|&entry| shard.entry(entry).map_err(|problem| super::shard::damaged(&shard.path, problem)))
        .collect::<Result<_>>()?;
    if !entries.is_empty() {
        let name = shard_name(entries.iter().map(|entry| (entry.name.as_str(), &entry.content)));
        let _lock = Lock::take(lock_of(folder, &name), true)?;
        write_shard_at(&folder.join(name), &shard.head, &entries)?;
    }
    match std::fs::remove_file(&shard.path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(unwritable(&shard.path, source)),
        _ => Ok(true),
    }
}

pub(super) fn unwritable(path: &Path, source: std::io::Error) -> Error {
    Error::file(
        path,
        "write features",
        source,
        "Check that the folder may be written and the disk has room, or name another one with --cache.",
    )
}

// --- several processes ---

/// How the names of locks end.
const LOCK: &str = ".lock";

fn lock_of(folder: &Path, shard: &str) -> PathBuf {
    folder.join(format!(".{shard}{LOCK}"))
}

/// The right to write one shard, which ends with the process, however it ends.
struct Lock {
    path: PathBuf,
    /// `None` where the file system knows no locks: then two processes may compute the same, and one result stays.
    file: Option<File>,
}

impl Lock {
    /// `None` when another process has it and this one should not `wait`.
    fn take(path: PathBuf, wait: bool) -> Result<Option<Self>> {
        loop {
            let file = File::create(&path).map_err(|source| unwritable(&path, source))?;
            let taken = match wait {
                true => file.lock().map_err(TryLockError::Error),
                false => file.try_lock(),
            };
            match taken {
                // Who had it has taken the file away: the lock of another file is the one that counts now.
                Ok(()) if !is_same_file(&file, &path) => {}
                Ok(()) => return Ok(Some(Self { path, file: Some(file) })),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(_)) => return Ok(Some(Self { path, file: None })),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

/// Whether a path still leads to an open file.
fn is_same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        file.metadata().map(identity).ok() == std::fs::metadata(path).map(identity).ok()
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Takes away what a killed process has left: files half-written, whose lock nobody has.
fn sweep(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|source| unwritable(folder, source))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shard = match (name.strip_suffix(PARTIAL), name.strip_suffix(LOCK)) {
            // `.NAME.PROCESS.partial`
            (Some(rest), _) => rest.rsplit_once('.').map(|(shard, _)| shard),
            (None, Some(shard)) => Some(shard),
            (None, None) => None,
        };
        let Some(shard) = shard.filter(|shard| shard.starts_with(".shard-")) else { continue };
        if let Some(lock) = Lock::take(folder.join(format!("{shard}{LOCK}")), false)?
            && lock.file.is_some()
            && path.extension().is_some_and(|ending| ending != "lock")
        {
            std::fs::remove_file(&path).ok();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::scenes::ScenesConfig;
    use crate::nn::Arithmetic;
    use crate::vision::{EncoderConfig, Precision};

    fn encoder() -> Encoder {
        Encoder::load(&EncoderConfig { precision: Precision::Single, ..EncoderConfig::tiny().unwrap() }).unwrap()
    }

    fn scenes(seed: u64) -> Dataset {
        Dataset::scenes(&ScenesConfig { train: 6, validation: 2, test: 2, seed }).unwrap()
    }

    fn config(folder: &Path) -> ExtractConfig {
        ExtractConfig { folder: Some(folder.to_path_buf()), shard_pictures: 3, ..ExtractConfig::default() }
    }

    /// Scenes as a folder of pictures with a table of captions.
    fn photographs(folder: &Path) -> Dataset {
        let dataset = scenes(3);
        let mut table = "image,caption\n".to_string();
        for example in &dataset.examples {
            example.picture().unwrap().save(folder.join(format!("{}.png", example.name))).unwrap();
            table += &format!("{}.png,a scene\n", example.name);
        }
        std::fs::write(folder.join("captions.csv"), table).unwrap();
        Dataset::open(folder).unwrap()
    }

    fn shards(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let paths = super::super::cache::shard_paths(folder).unwrap();
        paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    /// The features of every picture are those that the encoder gives now.
    fn assert_right(cache: &FeatureCache, dataset: &Dataset, encoder: &Encoder) {
        for example in &dataset.examples {
            let (cached, now) =
                (cache.get(&example.name).unwrap(), encoder.encode(&example.picture().unwrap()).unwrap());
            assert_eq!((&cached.boxes, &cached.labels, &cached.scores), (&now.boxes, &now.labels, &now.scores));
            assert_eq!(cached.features, now.features, "{}", example.name);
        }
    }

    #[test]
    fn what_was_computed_is_found_and_is_what_the_encoder_says() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let mut told = Vec::new();
        let first = extract(&dataset, &encoder, &config(folder.path()), |progress| told.push(*progress)).unwrap();
        assert_eq!((first.found, first.computed, first.skipped.len()), (0, 10, 0));
        assert_eq!(told.iter().map(|progress| progress.done).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        assert_eq!(shards(&first.folder).len(), 4);
        assert_right(&first.open().unwrap(), &dataset, &encoder);
        let again = extract(&dataset, &encoder, &config(folder.path()), |_| panic!("nothing is computed")).unwrap();
        assert_eq!((again.found, again.computed), (10, 0));
        // A larger data set computes what is new.
        let more = Dataset::scenes(&ScenesConfig { train: 9, validation: 2, test: 2, seed: 1 }).unwrap();
        let third = extract(&more, &encoder, &config(folder.path()), |_| ()).unwrap();
        assert_eq!((third.found, third.computed), (10, 3));
        assert_right(&third.open().unwrap(), &more, &encoder);
    }

    #[test]
    fn a_batch_holds_the_rows_of_its_pictures_and_zeros_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let cache = extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap().open().unwrap();
        let names: Vec<&str> =
            [7, 0, 7, 3].iter().map(|&place: &usize| dataset.examples[place].name.as_str()).collect();
        let batch = cache.batch(&names).unwrap();
        assert_eq!(batch.features.size(), [4, cache.most_regions() as i64, cache.width() as i64]);
        for (place, name) in names.iter().enumerate() {
            let own = cache.get(name).unwrap().features;
            let (rows, row) = (own.size()[0], batch.features.get(place as i64));
            assert_eq!(row.narrow(0, 0, rows), own);
            assert_eq!(batch.mask.get(place as i64).sum(tch::Kind::Float).double_value(&[]), rows as f64);
            assert_eq!(row.narrow(0, rows, row.size()[0] - rows).abs().sum(tch::Kind::Float).double_value(&[]), 0.0);
        }
        // Memory is used again where it fits, and what stood there is gone.
        let mut reused = cache.batch(&names).unwrap();
        let place = reused.features.data_ptr();
        let others: Vec<&str> = (0..4).map(|place: usize| dataset.examples[place + 4].name.as_str()).collect();
        cache.batch_into(&others, &mut reused).unwrap();
        assert_eq!(reused.features.data_ptr(), place);
        let fresh = cache.batch(&others).unwrap();
        assert_eq!((&reused.features, &reused.mask), (&fresh.features, &fresh.mask));
        cache.batch_into(&others[..2], &mut reused).unwrap();
        assert_eq!(reused.features.size()[0], 2);
        assert_eq!(cache.batch::<&str>(&[]).unwrap().features.size()[0], 0);
        let message = cache.batch(&["scene-999999"]).unwrap_err().to_string();
        assert!(message.contains("no features of scene-999999") && message.contains("captionlab extract"), "{message}");
    }

    #[test]
    fn another_encoder_or_other_scenes_have_another_folder() {
        let folder = tempfile::tempdir().unwrap();
        let own = EncoderConfig::tiny().unwrap();
        let mut surer = own.clone();
        // Neither in binary nor in JSON is it what it looks like.
        surer.regions.min_score = 0.23;
        for computed in [3, 0] {
            let scenes = Dataset::scenes(&ScenesConfig { train: 1, validation: 1, test: 1, seed: 1 }).unwrap();
            let extraction = extract(&scenes, &Encoder::load(&surer).unwrap(), &config(folder.path()), |_| ()).unwrap();
            assert_eq!(extraction.computed, computed);
        }
        let single = EncoderConfig { precision: Precision::Single, ..own.clone() };
        let reduced = EncoderConfig { arithmetic: Arithmetic::BFloat16, ..own.clone() };
        // The same numbers in another file: what counts is the file.
        let weights = folder.path().join("weights.safetensors");
        let (tensors, metadata) = crate::nn::read_tensors(&own.detector).unwrap();
        let tensors: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, tensor * 0.5)).collect();
        crate::nn::write_tensors(&weights, &tensors, &metadata).unwrap();
        let other = EncoderConfig { detector: weights, ..own.clone() };
        let config = config(folder.path());
        let mut folders = vec![config.folder_of(&scenes(2), &Encoder::load(&own).unwrap())];
        for encoder in [&own, &surer, &single, &reduced, &other] {
            folders.push(config.folder_of(&scenes(1), &Encoder::load(encoder).unwrap()));
        }
        let all = folders.len();
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), all, "{folders:?}");
        assert_eq!(
            config.folder_of(&scenes(1), &Encoder::load(&own).unwrap()),
            config.folder_of(&scenes(1), &Encoder::load(&own).unwrap())
        );
    }

    #[test]
    fn a_changed_picture_is_computed_again_and_no_other() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dataset, encoder) = (photographs(folder.path()), encoder());
        extract(&dataset, &encoder, &config(cache.path()), |_| ()).unwrap();
        let ImageSource::File(changed) = &dataset.examples[4].image else { panic!("a file") };
        scenes(9).examples[0].picture().unwrap().save(changed).unwrap();
        let old = FeatureCache::open(config(cache.path()).folder_of(&dataset, &encoder)).unwrap();
        let message = old.check_pictures(&dataset.examples).unwrap_err().to_string();
        assert!(message.contains(&dataset.examples[4].name) && message.contains("another picture"), "{message}");
        let again = extract(&dataset, &encoder, &config(cache.path()), |_| ()).unwrap();
        assert_eq!((again.found, again.computed), (9, 1));
        again.open().unwrap().check_pictures(&dataset.examples).unwrap();
        assert_right(&again.open().unwrap(), &dataset, &encoder);
    }

    #[test]
    fn a_damaged_shard_is_found_named_and_alone_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let first = extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap();
        let whole = shards(&first.folder);
        let (path, bytes) = &whole[1];
        for place in [3, 200, bytes.len() / 2, bytes.len() - 100, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x10;
            std::fs::write(path, damaged).unwrap();
            // What is served is right, or an error that names the shard.
            match first.open() {
                Err(error) => assert!(error.to_string().contains(&path.display().to_string()), "{error}"),
                Ok(cache) => {
                    let error = cache.verify().unwrap_err().to_string();
                    assert!(error.contains(&path.display().to_string()), "{error}");
                    let failed = dataset.examples.iter().filter_map(|example| cache.get(&example.name).err());
                    assert_eq!(failed.count(), 1, "byte {place}");
                }
            }
            let again = extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap();
            assert_eq!(again.found + again.computed, 10);
            assert!((1..=3).contains(&again.computed), "{} pictures were computed", again.computed);
            assert_eq!(again.damaged.len(), 1);
            assert_eq!(shards(&first.folder), whole, "byte {place}");
        }
    }

    #[test]
    fn a_shard_that_is_missing_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let first = extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap();
        let whole = shards(&first.folder);
        std::fs::remove_file(&whole[2].0).unwrap();
        let cache = first.open().unwrap();
        let missing = dataset.examples.iter().filter(|example| !cache.contains(&example.name)).count();
        assert!((1..=3).contains(&missing));
        let again = extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap();
        assert_eq!(again.computed, missing);
        assert_eq!(shards(&first.folder), whole);
    }

    #[test]
    fn a_picture_that_cannot_be_read_is_named_and_the_others_are_computed() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dataset, encoder) = (photographs(folder.path()), encoder());
        let file = |place: usize| match &dataset.examples[place].image {
            ImageSource::File(path) => path.clone(),
            ImageSource::Scene { .. } => panic!("a file"),
        };
        std::fs::remove_file(file(1)).unwrap();
        std::fs::write(file(5), b"\x89PNG and no more").unwrap();
        let extraction = extract(&dataset, &encoder, &config(cache.path()), |_| ()).unwrap();
        assert_eq!((extraction.computed, extraction.skipped.len()), (8, 2));
        let text = extraction.to_string();
        assert!(
            text.contains(&file(1).display().to_string()) && text.contains(&file(5).display().to_string()),
            "{text}"
        );
        let message = extraction.open().unwrap().get(&dataset.examples[5].name).unwrap_err().to_string();
        assert!(message.contains(&dataset.examples[5].name), "{message}");
        // Once they are there, they alone are computed.
        for place in [1, 5] {
            scenes(8).examples[place].picture().unwrap().save(file(place)).unwrap();
        }
        let again = extract(&dataset, &encoder, &config(cache.path()), |_| ()).unwrap();
        assert_eq!((again.found, again.computed), (8, 2));
    }

    #[test]
    fn parts_make_one_cache() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        for part in [2, 0, 1] {
            let config = ExtractConfig { part: (part, 3), ..config(folder.path()) };
            let extraction = extract(&dataset, &encoder, &config, |_| ()).unwrap();
            assert!((3..=4).contains(&extraction.computed));
        }
        let all = extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap();
        assert_eq!((all.found, all.computed), (10, 0));
        assert_right(&all.open().unwrap(), &dataset, &encoder);
    }

    #[test]
    fn two_at_a_time_share_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = scenes(1);
        let work = || extract(&dataset, &encoder(), &config(folder.path()), |_| ()).unwrap();
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(work);
            (work(), other.join().unwrap())
        });
        assert_eq!((one.found + one.computed, other.found + other.computed), (10, 10));
        assert_eq!(shards(&one.folder).len(), 4);
        assert_right(&one.open().unwrap(), &dataset, &encoder());
        let left = std::fs::read_dir(&one.folder).unwrap().count();
        assert_eq!(left, 4, "nothing but shards is left");
    }

    #[test]
    fn what_a_killed_process_has_left_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let cache = config(folder.path()).folder_of(&dataset, &encoder);
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::write(cache.join(".shard-00ff.safetensors.4242.partial"), b"half").unwrap();
        std::fs::write(cache.join(".shard-00ff.safetensors.lock"), b"").unwrap();
        // One that somebody is writing stays.
        let lock = File::create(cache.join(".shard-11ff.safetensors.lock")).unwrap();
        lock.lock().unwrap();
        std::fs::write(cache.join(".shard-11ff.safetensors.4243.partial"), b"half").unwrap();
        extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap();
        let mut left: Vec<String> = std::fs::read_dir(&cache)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        left.sort();
        assert_eq!(left, [".shard-11ff.safetensors.4243.partial", ".shard-11ff.safetensors.lock"]);
    }

    #[test]
    fn folders_that_cannot_be_written_and_strange_shards_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let message = extract(&dataset, &encoder, &config(&file), |_| ()).unwrap_err().to_string();
        assert!(message.contains("cannot write features"), "{message}");
        let first = extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap();
        // A shard of another encoder, and of another width.
        let entry = ShardEntry {
            name: "other".to_string(),
            content: [0; 32],
            boxes: vec![[0.0; 4]],
            labels: Vec::new(),
            scores: Vec::new(),
            features: vec![0; 4],
        };
        let head = super::super::shard::ShardHead::new("00", serde_json::Value::Null, 1, Precision::Single);
        let strange = super::super::shard::write_shard(&first.folder, &head, &[entry]).unwrap();
        for message in [
            first.open().unwrap_err().to_string(),
            extract(&dataset, &encoder, &config(folder.path()), |_| ()).unwrap_err().to_string(),
        ] {
            assert!(message.contains("of its own"), "{message}");
        }
        std::fs::remove_file(strange).unwrap();
        assert!(first.open().is_ok());
        let message = FeatureCache::open(folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(message.contains("holds no features"), "{message}");
    }

    #[test]
    fn what_is_not_a_number_is_not_kept() {
        use tch::Tensor;
        let fine = Tensor::from_slice(&[1f32, -2.5, 65_504.0]);
        assert_eq!(kept(&fine, Precision::Half).unwrap().len(), 6);
        assert_eq!(kept(&fine, Precision::Single).unwrap().len(), 12);
        for (wrong, half_only) in [(f32::NAN, false), (f32::INFINITY, false), (70_000.0, true)] {
            let tensor = Tensor::from_slice(&[0.0, wrong]);
            assert!(kept(&tensor, Precision::Half).is_err(), "{wrong}");
            assert_eq!(kept(&tensor, Precision::Single).is_ok(), half_only, "{wrong}");
        }
    }

    #[test]
    fn settings_out_of_their_range_are_named() {
        let cases = [
            (ExtractConfig { part: (4, 4), ..ExtractConfig::default() }, "0/4 to 3/4"),
            (ExtractConfig { part: (0, 0), ..ExtractConfig::default() }, "extract.part"),
            (ExtractConfig { shard_pictures: 0, ..ExtractConfig::default() }, "extract.shard_pictures"),
            (ExtractConfig { threads: 0, ..ExtractConfig::default() }, "extract.threads"),
        ];
        for (config, named) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
    }
}
