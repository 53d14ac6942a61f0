//! Feature extraction.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use super::cache::FeatureCache;
use super::content::{Contents, PlaceOfData, decode_unchanged};
use super::encoder::{Encoder, kept};
use super::shard::{Content, Shard, ShardEntry, shard_name, write_shard_at};
use super::stale::{lock_shard, pictures_here, sweep};
use crate::data::{Dataset, Example};
use crate::error::check_range;
use crate::files::project_folder;
use crate::train::{image_threads, set_own_threads};
use crate::{Error, Result};

/// Settings of an extraction, which do not affect the features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractConfig {
    /// Folder of all caches; `None` for `cached_features` of the project around the current folder, or else of `CAPTIONLAB_CHECKOUT`.
    pub folder: Option<PathBuf>,
    /// The part of the data set to extract, from 0, and the number of parts. Parts extracted into one folder by several machines form
    /// one cache. Default: all of it, `(0, 1)`.
    pub part: (usize, usize),
    /// Images per shard, in `1..=1000000`; a kill loses at most one shard. Default: 512.
    pub shard_pictures: usize,
    /// Worker threads, each with one image and one thread of libtorch, in `1..=1024`. Default: one more than there are processors.
    pub threads: usize,
    /// Whether to verify all images and features by reading them, instead of trusting file sizes and modification times. Default: false.
    pub verify: bool,
}

impl Default for ExtractConfig {
    fn default() -> Self {
        Self { folder: None, part: (0, 1), shard_pictures: 512, threads: image_threads(), verify: false }
    }
}

impl ExtractConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        let (part, parts) = self.part;
        if part >= parts {
            let expected = match parts {
                0 => "there must be at least one part".to_string(),
                _ => format!("parts are counted from 0: 0/{parts} to {}/{parts}", parts - 1),
            };
            return Err(Error::config("extract.part", format!("{part}/{parts}"), expected));
        }
        check_range("extract.shard_pictures", self.shard_pictures, 1..=1_000_000)?;
        check_range("extract.threads", self.threads, 1..=1024)
    }

    /// The folder of the features of a data set by an encoder.
    pub fn folder_of(&self, dataset: &Dataset, encoder: &Encoder) -> PathBuf {
        self.folder_in(&PlaceOfData::of(dataset), encoder)
    }

    fn folder_in(&self, data: &PlaceOfData, encoder: &Encoder) -> PathBuf {
        let root = self.folder.clone().unwrap_or_else(cached_features);
        data.folder_in(&root).join(format!("{}-{}", encoder.description().name(), &encoder.identity()[..12]))
    }
}

/// `cached_features` of the project around the current folder, or else of `CAPTIONLAB_CHECKOUT`.
pub(super) fn cached_features() -> PathBuf {
    project_folder().join("cached_features")
}

/// Progress of an extraction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExtractProgress {
    /// Images computed or skipped.
    pub done: usize,
    /// Images to compute, without those found in the cache.
    pub total: usize,
    /// Images skipped because they could not be read.
    pub skipped: usize,
    /// Images per second since the first.
    pub per_second: f64,
}

impl ExtractProgress {
    /// Estimated time left, in seconds.
    pub fn seconds_left(&self) -> f64 {
        (self.total - self.done) as f64 / self.per_second
    }
}

/// Displays `120 of 600 pictures, 41.3 a second, 12 s to go`.
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

/// Result of an extraction.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtractReport {
    /// Folder of the cache.
    pub folder: PathBuf,
    /// Images whose features were cached already.
    pub found: usize,
    /// Images whose features were computed, here or meanwhile by another process.
    pub computed: usize,
    /// Images without features, with the reason.
    pub skipped: Vec<String>,
    /// Damaged shards that were set aside; what they held of this part was computed again.
    pub damaged: Vec<String>,
    /// Whether it was stopped early.
    pub stopped: bool,
    /// Duration in seconds.
    pub seconds: f64,
}

impl ExtractReport {
    /// Opens the cache.
    ///
    /// # Errors
    /// As [`FeatureCache::open`].
    pub fn open(&self) -> Result<FeatureCache> {
        FeatureCache::open(&self.folder)
    }
}

/// Displays a summary, then a line for each skipped image.
impl fmt::Display for ExtractReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, found, computed, skipped, damaged, stopped, seconds } = self;
        // Short within the project, where lessons are stored with what they print.
        let shown = folder.strip_prefix(project_folder()).unwrap_or(folder).display();
        write!(formatter, "{shown}: {computed} pictures computed")?;
        if *computed > 0 {
            write!(formatter, " ({:.1} a second)", *computed as f64 / seconds)?;
        }
        write!(formatter, ", {found} found, {} skipped", skipped.len())?;
        if *stopped {
            write!(formatter, "; stopped: call it again for the rest")?;
        }
        for problem in damaged {
            write!(formatter, "\ndamaged and set aside, to be computed again by the part it belongs to: {problem}")?;
        }
        for problem in skipped {
            write!(formatter, "\nskipped: {problem}")?;
        }
        Ok(())
    }
}

/// An image whose features must be computed.
struct Wanted<'a> {
    example: &'a Example,
    content: Content,
}

/// Computes the features that a data set's cache lacks, shard by shard. `go_on` is called after each image and returns whether to
/// continue; [`Extraction`](super::Extraction) does the same in the background.
///
/// It may be stopped or killed at any time, and continued by another call: complete shards stay. Several processes may fill one
/// cache; each takes shards that no other is computing. Features of changed images are computed again. Unreadable images are
/// skipped and listed.
///
/// # Errors
/// [`Error::Config`] when a setting is outside its range, [`Error::File`] when the folder cannot be written, [`Error::Data`] when
/// it holds shards of another encoder, or no image can be read.
pub fn extract(
    dataset: &Dataset,
    encoder: &Encoder,
    config: &ExtractConfig,
    go_on: impl FnMut(&ExtractProgress) -> bool,
) -> Result<ExtractReport> {
    let examples: Vec<&Example> = dataset.examples.iter().collect();
    extract_examples(&examples, &PlaceOfData::of(dataset), encoder, config, go_on)
}

/// As [`extract`], for some examples of a data set.
pub(crate) fn extract_examples(
    examples: &[&Example],
    data: &PlaceOfData,
    encoder: &Encoder,
    config: &ExtractConfig,
    mut go_on: impl FnMut(&ExtractProgress) -> bool,
) -> Result<ExtractReport> {
    config.validate()?;
    let start = Instant::now();
    let folder = config.folder_in(data, encoder);
    std::fs::create_dir_all(&folder).map_err(|source| unwritable(&folder, source))?;
    sweep(&folder)?;
    let examples = &examples[part_of(examples.len(), config.part)];
    let contents = Contents::of(examples, data, &folder, config.verify)?;
    let mut report = ExtractReport {
        folder: folder.clone(),
        found: 0,
        computed: 0,
        skipped: Vec::new(),
        damaged: Vec::new(),
        stopped: false,
        seconds: 0.0,
    };
    let here = pictures_here(&folder, encoder, examples, &contents, config.verify, &mut report.damaged)?;
    let mut shards: Vec<Vec<Wanted>> = Vec::new();
    shards.resize_with(examples.len().div_ceil(config.shard_pictures), Vec::new);
    for (place, (&example, content)) in examples.iter().zip(contents).enumerate() {
        match content {
            Err(error) => report.skipped.push(error.to_string()),
            Ok(content) if here.get(&example.name) == Some(&content) => report.found += 1,
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
        go_on(&done)
    };
    // Wait for shards of other processes last, in case those are killed.
    let mut of_others = Vec::new();
    for shard in &shards {
        if report.stopped {
            break;
        }
        if !fill(&folder, shard, encoder, config, false, &mut report, &mut tell)? {
            of_others.push(shard);
        }
    }
    for shard in of_others {
        if !report.stopped {
            fill(&folder, shard, encoder, config, true, &mut report, &mut tell)?;
        }
    }
    report.seconds = start.elapsed().as_secs_f64();
    match report.skipped.first() {
        Some(first) if report.found + report.computed == 0 && !report.stopped => Err(Error::data(
            &folder,
            None,
            format!("none of the {} pictures has features; of the first: {first}", examples.len()),
            "Check where the data set's pictures are, and that the weights are complete.",
        )),
        _ => Ok(report),
    }
}

/// The range of examples of a part.
fn part_of(examples: usize, (part, parts): (usize, usize)) -> Range<usize> {
    // `u128` because the product may overflow.
    let border = |part: usize| (examples as u128 * part as u128 / parts as u128) as usize;
    border(part)..border(part + 1)
}

/// Computes and writes one shard; `false` when another process is at it and `wait` is not set. `go_on` is called after each image,
/// with whether it was skipped; a stopped shard is not written.
fn fill(
    folder: &Path,
    wanted: &[Wanted],
    encoder: &Encoder,
    config: &ExtractConfig,
    wait: bool,
    report: &mut ExtractReport,
    go_on: &mut dyn FnMut(bool) -> bool,
) -> Result<bool> {
    let name = shard_name(wanted.iter().map(|wanted| (wanted.example.name.as_str(), &wanted.content)));
    let path = folder.join(&name);
    let Some(_lock) = lock_shard(folder, &name, wait)? else { return Ok(false) };
    if path.exists() {
        // Another process was faster.
        let shard = Shard::open(&path).map_err(|refusal| refusal.error(&path))?;
        for wanted in wanted {
            let here = shard.names.contains(&wanted.example.name);
            report.stopped |= !go_on(!here);
            match here {
                true => report.computed += 1,
                false => report.skipped.push(format!("{}: another process could not read it", wanted.example.name)),
            }
        }
        return Ok(true);
    }
    let computed = compute(wanted, encoder, config.threads, &mut |skipped| {
        report.stopped |= !go_on(skipped);
        !report.stopped
    })?;
    let Some(computed) = computed else { return Ok(true) };
    let mut entries = Vec::with_capacity(computed.len());
    for entry in computed {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(problem) => report.skipped.push(problem),
        }
    }
    if !entries.is_empty() {
        write_shard_at(&path, &encoder.head(), &entries)?;
        report.computed += entries.len();
    }
    Ok(true)
}

/// The entry of an image, or why it has none.
type Entry = Result<ShardEntry, String>;

/// Computes the entries of images, in order; `None` when stopped. Each worker decodes an image and computes its features with one
/// thread of libtorch.
fn compute(
    wanted: &[Wanted],
    encoder: &Encoder,
    threads: usize,
    go_on: &mut dyn FnMut(bool) -> bool,
) -> Result<Option<Vec<Entry>>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut entries: Vec<(usize, Entry)> = Vec::with_capacity(wanted.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(2 * threads);
        for _ in 0..threads.min(wanted.len()) {
            let (sender, next, stop, encoder) = (sender.clone(), &next, &stop, encoder.worker_handle());
            scope.spawn(move || {
                set_own_threads(1);
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(wanted) = wanted.get(place).filter(|_| !stop.load(Ordering::Relaxed)) else { return };
                    if sender.send((place, entry_of(wanted, &encoder))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (place, entry) in receiver {
            let entry = entry?;
            if !go_on(entry.is_err()) {
                stop.store(true, Ordering::Relaxed);
            }
            entries.push((place, entry));
        }
        Ok::<(), Error>(())
    })?;
    if stop.load(Ordering::Relaxed) && entries.len() < wanted.len() {
        return Ok(None);
    }
    entries.sort_by_key(|(place, _)| *place);
    Ok(Some(entries.into_iter().map(|(_, entry)| entry).collect()))
}

fn entry_of(wanted: &Wanted, encoder: &Encoder) -> Result<Entry> {
    let name = &wanted.example.name;
    if name.contains('\n') {
        return Ok(Err(format!("{name:?}: a name must be one line")));
    }
    let picture = match decode_unchanged(&wanted.example.image, &wanted.content) {
        Ok(picture) => picture,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let found = encoder.encode(&picture)?;
    let features = match kept(&found.features, encoder.description().storage()) {
        Ok(features) => features,
        Err(problem) => return Ok(Err(format!("{name}: {problem}"))),
    };
    let boxes = found.boxes.iter().map(|bounds| [bounds.left, bounds.top, bounds.right, bounds.bottom]).collect();
    let (labels, scores) = (found.labels, found.scores);
    Ok(Ok(ShardEntry { name: name.clone(), content: wanted.content, boxes, labels, scores, features }))
}

pub(super) fn unwritable(path: &Path, source: std::io::Error) -> Error {
    Error::file(
        path,
        "write features",
        source,
        "Check that the folder is writable and the disk has room, or name another one with --cache.",
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::data::ImageSource;
    use crate::data::scenes::ScenesConfig;
    use crate::nn::ComputeDtype;
    use crate::vision::{EncoderConfig, Extraction, StorageDtype};

    fn encoder() -> Encoder {
        Encoder::load(&EncoderConfig { storage: StorageDtype::Single, ..EncoderConfig::new("tiny") }).unwrap()
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
            let cached = cache.get(&example.name).unwrap();
            let now = encoder.encode_all(&[example.picture().unwrap()]).unwrap().remove(0);
            assert_eq!((&cached.boxes, &cached.labels, &cached.scores), (&now.boxes, &now.labels, &now.scores));
            assert_eq!(cached.features, now.features, "{}", example.name);
        }
    }

    #[test]
    fn what_was_computed_is_found_and_is_what_the_encoder_says() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let mut told = Vec::new();
        let first = extract(&dataset, &encoder, &config(folder.path()), |progress| {
            told.push(*progress);
            true
        })
        .unwrap();
        assert_eq!((first.found, first.computed, first.skipped.len()), (0, 10, 0));
        assert_eq!(told.iter().map(|progress| progress.done).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        assert_eq!(shards(&first.folder).len(), 4);
        assert_right(&first.open().unwrap(), &dataset, &encoder);
        let again = extract(&dataset, &encoder, &config(folder.path()), |_| panic!("nothing is computed")).unwrap();
        assert_eq!((again.found, again.computed), (10, 0));
        // A larger data set computes what is new.
        let more = Dataset::scenes(&ScenesConfig { train: 9, validation: 2, test: 2, seed: 1 }).unwrap();
        let third = extract(&more, &encoder, &config(folder.path()), |_| true).unwrap();
        assert_eq!((third.found, third.computed), (10, 3));
        assert_right(&third.open().unwrap(), &more, &encoder);
    }

    #[test]
    fn a_batch_holds_the_rows_of_its_pictures_and_zeros_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let cache = extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap().open().unwrap();
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
            let corners: Vec<f32> = Vec::try_from(batch.boxes.get(place as i64).flatten(0, -1)).unwrap();
            let boxes = cache.get(name).unwrap().boxes;
            let mut expected: Vec<f32> =
                boxes.iter().flat_map(|bounds| [bounds.left, bounds.top, bounds.right, bounds.bottom]).collect();
            expected.resize(4 * cache.most_regions(), 0.0);
            assert_eq!(corners, expected);
        }
        // Whole pictures that are alike: never the picture itself.
        let among: Vec<&str> = dataset.examples.iter().map(|example| example.name.as_str()).collect();
        let whole = |name: &str| cache.get(name).unwrap().features.get(0);
        for (name, nearest) in names.iter().zip(cache.nearest(&names, &among, 20).unwrap()) {
            assert!(nearest.len() == 9 && nearest.iter().all(|(other, _)| among[*other] != *name));
            assert!(nearest.is_sorted_by(|a, b| a.1 >= b.1));
            let (other, similarity) = nearest[0];
            let cosine = tch::Tensor::cosine_similarity(&whole(name), &whole(among[other]), 0, 1e-8).double_value(&[]);
            assert!((cosine - f64::from(similarity)).abs() < 1e-5);
        }
        assert_eq!(cache.nearest(&names[..1], &[] as &[&str], 3).unwrap(), [vec![]]);
        // Single regions, each before the whole picture, which is not there but for its box.
        let regions = batch.of_regions(&[(0, 1), (3, 0), (1, 1)]).unwrap();
        for (row, (picture, region)) in [(0, (0, 1)), (1, (3, 0)), (2, (1, 1))] {
            assert_eq!(regions.features.get(row).get(0), batch.features.get(picture).get(region));
            assert_eq!(regions.boxes.get(row).get(0), batch.boxes.get(picture).get(region));
            assert_eq!(regions.boxes.get(row).get(1), batch.boxes.get(picture).get(0));
            assert_eq!(regions.mask.get(row), tch::Tensor::from_slice(&[1f32, 0.0]));
        }
        // What stood in memory that is used again is gone.
        let mut reused = cache.batch(&names).unwrap();
        let others: Vec<&str> = (0..4).map(|place: usize| dataset.examples[place + 4].name.as_str()).collect();
        cache.batch_into(&others, &mut reused).unwrap();
        let fresh = cache.batch(&others).unwrap();
        assert_eq!((&reused.features, &reused.boxes, &reused.mask), (&fresh.features, &fresh.boxes, &fresh.mask));
        // Whoever has a handle to the numbers that stood there keeps them, and a graph its gradients; changes of theirs are theirs.
        let held = reused.features.shallow_clone();
        let part = reused.features.narrow(0, 1, 2);
        let weight =
            tch::Tensor::ones([cache.width() as i64], (tch::Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let sum = (&reused.features * &weight).sum(tch::Kind::Float);
        cache.batch_into(&names, &mut reused).unwrap();
        assert_eq!(reused.features, batch.features);
        assert_eq!((&held, &part), (&fresh.features, &fresh.features.narrow(0, 1, 2)));
        sum.backward();
        let expected = fresh.features.flatten(0, 1).sum_dim_intlist([0i64].as_slice(), false, tch::Kind::Float);
        assert!(weight.grad().allclose(&expected, 1e-4, 1e-4, false));
        let _ = reused.features.fill_(7.0);
        assert_eq!(held, fresh.features);
        cache.batch_into(&others, &mut reused).unwrap();
        assert_eq!(reused.features, fresh.features);
        cache.batch_into(&others[..2], &mut reused).unwrap();
        assert_eq!(reused.features.size()[0], 2);
        assert_eq!(cache.batch::<&str>(&[]).unwrap().features.size()[0], 0);
        let message = cache.batch(&["scene-999999"]).unwrap_err().to_string();
        assert!(message.contains("no features of scene-999999") && message.contains("captionlab extract"), "{message}");
    }

    #[test]
    fn another_encoder_or_other_scenes_have_another_folder() {
        let folder = tempfile::tempdir().unwrap();
        let own = EncoderConfig::new("tiny");
        let mut surer = own.clone();
        // Neither in binary nor in JSON is it what it looks like.
        surer.regions.score_threshold = 0.23;
        for computed in [3, 0] {
            let scenes = Dataset::scenes(&ScenesConfig { train: 1, validation: 1, test: 1, seed: 1 }).unwrap();
            let report = extract(&scenes, &Encoder::load(&surer).unwrap(), &config(folder.path()), |_| true).unwrap();
            assert_eq!(report.computed, computed);
        }
        let single = EncoderConfig { storage: StorageDtype::Single, ..own.clone() };
        let reduced = EncoderConfig { dtype: ComputeDtype::BFloat16, ..own.clone() };
        // The same numbers in another file: what counts is the file.
        let weights = folder.path().join("weights.safetensors");
        let (tensors, metadata) = crate::nn::read_tensors(&crate::nn::shipped("detector-tiny").unwrap()).unwrap();
        let tensors: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, tensor * 0.5)).collect();
        crate::nn::write_tensors(&weights, &tensors, &metadata).unwrap();
        let other = EncoderConfig { detector: Some(weights), ..own.clone() };
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
        extract(&dataset, &encoder, &config(cache.path()), |_| true).unwrap();
        let ImageSource::File(changed) = &dataset.examples[4].image else { panic!("a file") };
        scenes(9).examples[0].picture().unwrap().save(changed).unwrap();
        let old = FeatureCache::open(config(cache.path()).folder_of(&dataset, &encoder)).unwrap();
        let message = old.check_pictures(&dataset.examples).unwrap_err().to_string();
        assert!(message.contains(&dataset.examples[4].name) && message.contains("another picture"), "{message}");
        let again = extract(&dataset, &encoder, &config(cache.path()), |_| true).unwrap();
        assert_eq!((again.found, again.computed), (9, 1));
        again.open().unwrap().check_pictures(&dataset.examples).unwrap();
        assert_right(&again.open().unwrap(), &dataset, &encoder);
    }

    #[test]
    fn a_damaged_shard_is_found_named_and_alone_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let first = extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap();
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
            let config = ExtractConfig { verify: true, ..config(folder.path()) };
            let again = extract(&dataset, &encoder, &config, |_| true).unwrap();
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
        let first = extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap();
        let whole = shards(&first.folder);
        std::fs::remove_file(&whole[2].0).unwrap();
        let cache = first.open().unwrap();
        let missing = dataset.examples.iter().filter(|example| !cache.contains(&example.name)).count();
        assert!((1..=3).contains(&missing));
        let again = extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap();
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
        let report = extract(&dataset, &encoder, &config(cache.path()), |_| true).unwrap();
        assert_eq!((report.computed, report.skipped.len()), (8, 2));
        let text = report.to_string();
        assert!(
            text.contains(&file(1).display().to_string()) && text.contains(&file(5).display().to_string()),
            "{text}"
        );
        let message = report.open().unwrap().get(&dataset.examples[5].name).unwrap_err().to_string();
        assert!(message.contains(&dataset.examples[5].name), "{message}");
        // Once they are there, they alone are computed.
        for place in [1, 5] {
            scenes(8).examples[place].picture().unwrap().save(file(place)).unwrap();
        }
        let again = extract(&dataset, &encoder, &config(cache.path()), |_| true).unwrap();
        assert_eq!((again.found, again.computed), (8, 2));
    }

    #[test]
    fn parts_make_one_cache() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        for part in [2, 0, 1] {
            let config = ExtractConfig { part: (part, 3), ..config(folder.path()) };
            let report = extract(&dataset, &encoder, &config, |_| true).unwrap();
            assert!((3..=4).contains(&report.computed));
        }
        let all = extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap();
        assert_eq!((all.found, all.computed), (10, 0));
        assert_right(&all.open().unwrap(), &dataset, &encoder);
    }

    #[test]
    fn two_at_a_time_share_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = scenes(1);
        let work = || extract(&dataset, &encoder(), &config(folder.path()), |_| true).unwrap();
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
        extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap();
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
        let message = extract(&dataset, &encoder, &config(&file), |_| true).unwrap_err().to_string();
        assert!(message.contains("cannot write features"), "{message}");
        let first = extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap();
        // A shard of another encoder, and of another width.
        let entry = ShardEntry {
            name: "other".to_string(),
            content: [0; 32],
            boxes: vec![[0.0; 4]],
            labels: Vec::new(),
            scores: Vec::new(),
            features: vec![0; 4],
        };
        let head = super::super::shard::ShardHead::new("00", serde_json::Value::Null, 1, StorageDtype::Single);
        let strange = super::super::shard::write_shard(&first.folder, &head, &[entry]).unwrap();
        for message in [
            first.open().unwrap_err().to_string(),
            extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap_err().to_string(),
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
        assert_eq!(kept(&fine, StorageDtype::Half).unwrap().len(), 6);
        assert_eq!(kept(&fine, StorageDtype::Single).unwrap().len(), 12);
        for (wrong, half_only) in [(f32::NAN, false), (f32::INFINITY, false), (70_000.0, true)] {
            let tensor = Tensor::from_slice(&[0.0, wrong]);
            assert!(kept(&tensor, StorageDtype::Half).is_err(), "{wrong}");
            assert_eq!(kept(&tensor, StorageDtype::Single).is_ok(), half_only, "{wrong}");
        }
    }

    #[test]
    fn files_of_the_same_size_and_time_are_not_read_again_unless_that_is_asked_for() {
        let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dataset, encoder) = (photographs(folder.path()), encoder());
        let ImageSource::File(path) = &dataset.examples[4].image else { panic!("a file") };
        // Long ago, so that the time tells whether it was changed since.
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(1000);
        let age = |path: &Path| File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        for example in &dataset.examples {
            let ImageSource::File(path) = &example.image else { panic!("a file") };
            age(path);
        }
        let extracted = |verify| {
            let config = ExtractConfig { verify, ..config(cache.path()) };
            let report = extract(&dataset, &encoder, &config, |_| true).unwrap();
            (report.found, report.computed)
        };
        assert_eq!((extracted(false), extracted(false)), ((0, 10), (10, 0)));
        // Other contents of the same length and time are seen by reading alone.
        let mut bytes = std::fs::read(path).unwrap();
        let length = bytes.len();
        scenes(9).examples[0].picture().unwrap().save(path).unwrap();
        bytes = std::fs::read(path).unwrap();
        bytes.resize(length.max(bytes.len()), 0);
        bytes.truncate(length.max(bytes.len()));
        std::fs::write(path, &bytes).unwrap();
        let same_length = bytes.len() == length;
        age(path);
        assert_eq!(extracted(false), if same_length { (10, 0) } else { (9, 1) });
        assert_eq!(extracted(true), if same_length { (9, 1) } else { (10, 0) });
        // A file of another time is read, and found to be the same.
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(long_ago - std::time::Duration::from_secs(9))
            .unwrap();
        assert_eq!(extracted(false), (10, 0));
    }

    #[test]
    fn data_sets_of_one_name_in_two_places_have_caches_of_their_own_and_one_that_was_moved_keeps_its() {
        let (one, other, cache) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dataset_in = |root: &Path, seed: u64| {
            let folder = root.join("images");
            std::fs::create_dir_all(&folder).unwrap();
            scenes(seed).examples[0].picture().unwrap().save(folder.join("1.png")).unwrap();
            std::fs::write(folder.join("captions.csv"), "image,caption\n1.png,a scene\n").unwrap();
            Dataset::open(&folder).unwrap()
        };
        let encoder = encoder();
        let computed = |dataset: &Dataset| {
            let report = extract(dataset, &encoder, &config(cache.path()), |_| true).unwrap();
            assert_right(&report.open().unwrap(), dataset, &encoder);
            (report.computed, report.folder)
        };
        let (first, second) = (dataset_in(one.path(), 3), dataset_in(other.path(), 4));
        assert_eq!(first.name, second.name);
        let (_, folder) = computed(&first);
        let (fresh, beside) = computed(&second);
        assert_eq!(fresh, 1);
        assert_ne!(folder, beside);
        assert_eq!((computed(&first).0, computed(&second).0), (0, 0));
        // The first one moves.
        let moved = tempfile::tempdir().unwrap();
        std::fs::rename(one.path().join("images"), moved.path().join("images")).unwrap();
        let moved = Dataset::open(moved.path().join("images")).unwrap();
        assert_eq!(computed(&moved), (0, folder));
    }

    #[test]
    fn it_stops_when_it_is_told_to_and_whole_shards_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (dataset, encoder) = (scenes(1), encoder());
        let report = extract(&dataset, &encoder, &config(folder.path()), |progress| progress.done < 5).unwrap();
        // A shard whose pictures were all done is kept.
        assert!(report.stopped && [3, 6].contains(&report.computed), "{report}");
        let again = extract(&dataset, &encoder, &config(folder.path()), |_| true).unwrap();
        assert_eq!((again.found, again.found + again.computed, again.stopped), (report.computed, 10, false));
    }

    #[test]
    fn in_the_background_it_can_be_waited_for_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Dataset::scenes(&ScenesConfig { train: 60, validation: 2, test: 2, seed: 1 }).unwrap();
        let start = || Extraction::start(&dataset, &EncoderConfig::new("tiny"), &config(folder.path())).unwrap();
        let mut features = start();
        while features.progress().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        features.stop().unwrap();
        assert!(!features.is_running());
        let computed = features.report().unwrap().computed;
        let mut features = start();
        features.wait().unwrap();
        let report = features.report().unwrap();
        assert_eq!((report.found, report.found + report.computed), (computed, 64));
        assert_eq!(features.cache().unwrap().len(), 64);
    }

    #[test]
    fn pictures_together_have_the_features_that_each_has() {
        let (dataset, encoder) = (scenes(1), encoder());
        let pictures: Vec<_> = dataset.examples.iter().map(|example| example.picture().unwrap()).collect();
        for (together, picture) in encoder.encode_all(&pictures).unwrap().iter().zip(&pictures) {
            let alone = encoder.encode(picture).unwrap();
            assert_eq!((&together.boxes, &together.labels), (&alone.boxes, &alone.labels));
            assert!((&together.features - &alone.features).abs().max().double_value(&[]) < 1e-5);
        }
        assert!(encoder.encode_all(&[]).unwrap().is_empty());
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
