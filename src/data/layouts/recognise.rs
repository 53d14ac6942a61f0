//! Recognises the layout of a path.

use std::fs;
use std::path::{Path, PathBuf};

use super::{image_folder, json, table, tokens};
use crate::data::Layout;
use crate::data::text_file::{is_a_folder, read_beginning};
use crate::{Error, Result};

const KNOWN: &str = "Known are results_20130124.token (or .gz), Kaggle's results.csv and captions.txt, \
    dataset_*.json (Karpathy), flickr_annotations_30k.csv (Hugging Face), captions_*.json (COCO), \
    and a CSV file with the columns `image,caption` beside its images.";

/// A data set whose layout is recognised, but which is not read yet.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) layout: Layout,
    /// The annotation files to read, in order.
    pub(super) files: Vec<PathBuf>,
    /// The folder of the annotation files, with split lists.
    pub(super) folder: PathBuf,
    /// The folder above the images.
    pub(super) root: PathBuf,
    pub(super) name: String,
    pub(super) notes: Vec<String>,
}

pub(super) fn recognise(path: &Path) -> Result<Source> {
    let metadata = fs::metadata(path).map_err(|source| {
        let help = "Check the path: name the folder of the data set, or the file of its captions.";
        Error::file(path, "open the data set", source, help)
    })?;
    if metadata.is_dir() { in_folder(path) } else { from_file(path) }
}

/// The data set of one annotation file, with its images and split lists.
fn from_file(path: &Path) -> Result<Source> {
    let layout = layout_of(path)?;
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_path_buf(),
        None => PathBuf::from("."),
    };
    // COCO keeps captions in `annotations/`, Flickr8k in `Flickr8k_text/`, with the images beside that folder.
    let is_for_text = folder.file_name().and_then(|name| name.to_str()).is_some_and(is_folder_for_text);
    let root = folder.parent().filter(|_| is_for_text).map_or_else(|| folder.clone(), Path::to_path_buf);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Source { layout, files: vec![path.to_path_buf()], folder, root, name, notes: Vec::new() })
}

fn is_folder_for_text(name: &str) -> bool {
    name == "annotations" || name.to_ascii_lowercase().ends_with("_text")
}

/// Number of folder levels to search for captions: archives are often unpacked into a folder of their own name, which is in another.
const DEPTH: usize = 3;

fn in_folder(root: &Path) -> Result<Source> {
    if let Some(source) = search(root)? {
        return Ok(source);
    }
    match image_folder::count_images(root) {
        0 => Err(Error::data(root, None, "no file of captions is recognised in this folder", KNOWN)),
        images => Err(Error::data(
            root,
            None,
            format!("{images} images, but no file of captions is in this folder"),
            "Write captions.csv with the header `image,caption`, and an image and a caption a line.",
        )),
    }
}

/// The data set of a folder; `None` where nothing in it looks like captions.
pub(super) fn search(root: &Path) -> Result<Option<Source>> {
    let mut problem = None;
    let mut folders = vec![root.to_path_buf()];
    for depth in 0..=DEPTH {
        let (mut with_captions, mut below) = (Vec::new(), Vec::new());
        for folder in folders {
            match Candidates::in_folder(&folder) {
                Ok(candidates) => {
                    below.extend(candidates.folders);
                    problem = problem.or(candidates.problem);
                    if !candidates.found.is_empty() {
                        with_captions.push((folder, candidates.found));
                    }
                }
                Err(error) if depth == 0 => return Err(error),
                // An unreadable folder cannot be the one that was meant.
                Err(_) => {}
            }
        }
        if with_captions.len() > 1 {
            let folders: Vec<String> = with_captions.iter().map(|(folder, _)| folder.display().to_string()).collect();
            let problem = format!("several folders in it hold captions: {}", folders.join(", "));
            return Err(Error::data(root, None, problem, "Open one of them."));
        }
        if let Some((folder, found)) = with_captions.pop() {
            return choose(root, &folder, found).map(Some);
        }
        folders = below;
    }
    problem.map_or(Ok(None), Err)
}

/// Possible annotation files in a folder.
struct Candidates {
    found: Vec<(Layout, PathBuf)>,
    folders: Vec<PathBuf>,
    /// Why the first file with a suitable name is not one.
    problem: Option<Error>,
}

impl Candidates {
    fn in_folder(folder: &Path) -> Result<Self> {
        let failed = |source| Error::file(folder, "list the folder", source, "Check that you may read it.");
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.starts_with('.') && !image_folder::is_picture_name(&name) {
                paths.push((name, entry.path()));
            }
        }
        paths.sort_unstable();
        let mut candidates = Self { found: Vec::new(), folders: Vec::new(), problem: None };
        for (name, path) in paths {
            let is_called_so = is_called_like_annotations(&name);
            if path.is_dir() {
                if is_called_so {
                    candidates.problem.get_or_insert_with(|| is_a_folder(&path));
                }
                candidates.folders.push(path);
            } else if is_called_so {
                match layout_of(&path) {
                    Ok(layout) => candidates.found.push((layout, path)),
                    Err(error) => {
                        candidates.problem.get_or_insert(error);
                    }
                }
            }
        }
        Ok(candidates)
    }
}

fn is_called_like_annotations(name: &str) -> bool {
    let lower = unpacked_name(Path::new(name));
    // Flickr8k repeats its captions as lemmas.
    is_called_like_tokens(&lower) && !lower.contains("lemma")
        || lower.ends_with(".json") && (lower.starts_with("dataset") || lower.starts_with("captions"))
        || lower.ends_with(".csv")
        || lower.ends_with(".tsv")
        || lower == "captions.txt"
}

fn is_called_like_tokens(lower: &str) -> bool {
    lower.ends_with(".token") || lower.ends_with(".token.txt")
}

/// The file name in lower case, without `.gz`.
fn unpacked_name(path: &Path) -> String {
    let name = file_name(path).to_ascii_lowercase();
    name.strip_suffix(".gz").map(str::to_owned).unwrap_or(name)
}

/// Whether a file contains captions with image names, in one of the text layouts. A suitable file name promises such captions; of
/// other files the first bytes decide.
///
/// # Errors
/// When a file with a suitable name is not one, or the file cannot be read.
pub(crate) fn is_captions_of_images(path: &Path) -> Result<bool> {
    match layout_of(path) {
        Ok(_) => Ok(true),
        Err(Error::Data { .. }) if !unpacked_name(path).ends_with(".csv") && !unpacked_name(path).ends_with(".tsv") => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The layout of an annotation file, by its name and first bytes.
fn layout_of(path: &Path) -> Result<Layout> {
    let name = unpacked_name(path);
    if is_called_like_tokens(&name) {
        return Ok(Layout::Flickr30kTokens);
    }
    if image_folder::is_picture_name(&name) {
        return Err(Error::data(path, None, "this is an image, not the captions of images", KNOWN));
    }
    if name.ends_with(".json") {
        if name.starts_with("dataset_") {
            return Ok(Layout::Karpathy);
        }
        if name.starts_with("captions_") {
            return Ok(Layout::Coco);
        }
        return Ok(if json::is_coco(path)? { Layout::Coco } else { Layout::Karpathy });
    }
    if tokens::looks_like_tokens(&read_beginning(path, 1 << 16)?) {
        return Ok(Layout::Flickr30kTokens);
    }
    Ok(table::shape(path)?.layout)
}

/// Prefers layouts with splits, and notes the others.
fn choose(root: &Path, folder: &Path, mut found: Vec<(Layout, PathBuf)>) -> Result<Source> {
    let rank = |layout: Layout| match layout {
        Layout::Karpathy => 0,
        Layout::HuggingFace => 1,
        Layout::Coco => 2,
        Layout::Flickr30kTokens => 3,
        Layout::Kaggle => 4,
        Layout::Folder | Layout::Scenes => 5,
    };
    found.sort_by_key(|(layout, _)| rank(*layout));
    let layout = found.first().map_or(Layout::Folder, |(layout, _)| *layout);
    let (taken, left): (Vec<_>, Vec<_>) = found.into_iter().partition(|(other, _)| *other == layout);
    let mut files: Vec<PathBuf> = taken.into_iter().map(|(_, file)| file).collect();
    let mut unread: Vec<PathBuf> = left.into_iter().map(|(_, file)| file).collect();
    // Of a packed and an unpacked copy, read the unpacked one.
    let all = files.clone();
    files.retain(|file| file.extension().is_none_or(|end| end != "gz") || !all.contains(&file.with_extension("")));
    let belong_together = layout == Layout::Coco && one_of_each_split(&files);
    if files.len() > 1 && !belong_together {
        let names: Vec<String> = files.iter().map(|file| file_name(file)).collect();
        let problem = format!("several files of captions are in this folder: {}", names.join(", "));
        return Err(Error::data(folder, None, problem, "Open the one that you mean by its own path."));
    }
    let mut notes = Vec::new();
    if !unread.is_empty() {
        unread.sort_unstable();
        let read: Vec<String> = files.iter().map(|file| file_name(file)).collect();
        let unread: Vec<String> = unread.iter().map(|file| file_name(file)).collect();
        notes.push(format!(
            "Captions and splits are those of {}; {} beside it was not read.",
            read.join(" and "),
            unread.join(", ")
        ));
    }
    let named =
        if root.file_name().is_some() { root.to_path_buf() } else { fs::canonicalize(root).unwrap_or_default() };
    let name = file_name(&named);
    Ok(Source { layout, files, folder: folder.to_path_buf(), root: root.to_path_buf(), name, notes })
}

/// Whether COCO files are the splits of one year: `captions_train2014.json` and `captions_val2014.json`.
fn one_of_each_split(files: &[PathBuf]) -> bool {
    let mut splits: Vec<String> = Vec::new();
    let mut years: Vec<String> = Vec::new();
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let split = stem.trim_end_matches(|letter: char| letter.is_ascii_digit());
        years.push(stem.get(split.len()..).unwrap_or_default().to_owned());
        splits.push(split.to_owned());
    }
    splits.sort_unstable();
    splits.dedup();
    years.dedup();
    splits.len() == files.len() && years.len() == 1
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
