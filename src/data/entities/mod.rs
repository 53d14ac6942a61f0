//! Flickr30k Entities: which phrases of the captions mention which boxes of the pictures.

mod boxes;
mod sentences;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::boxes::Annotation;
use self::sentences::{Phrase, Sentence};
use super::dataset::{Tally, counted, grouped};
use super::layouts::list;
use super::names::normal_name;
use super::text_file::read_text;
use super::vocabulary::for_each_word;
use super::{Dataset, Example, ImageSource, PhraseLink, Region, Vocabulary};
use crate::{Error, Result};

const HELP: &str = "Name the folder of Flickr30k Entities, which holds `Sentences/NAME.txt` and `Annotations/NAME.xml` for `NAME.jpg`.";

/// Number of folder levels to search: archives are often unpacked into a folder of their own name.
const DEPTH: usize = 3;

/// Label of a region whose entity no phrase gives a type.
const OTHER: &str = "other";

impl Dataset {
    /// Adds the regions and phrases of [Flickr30k Entities](https://github.com/BryanPlummer/flickr30k_entities), which replace those
    /// of the annotated images. `folder` is searched, to three levels, for its folders `Sentences` and `Annotations`.
    ///
    /// | file | content | read into |
    /// |---|---|---|
    /// | `Sentences/NAME.txt` | a caption a line: `[/EN#12/people A young man] in [/EN#13/clothing a hat] .` | [`Example::links`] |
    /// | `Annotations/NAME.xml` | an `<object>` with the `<name>`s of its entities, such as 12, and a `<bndbox>`, or `<scene>1` or `<nobndbox>1` | [`Example::regions`] |
    ///
    /// - A region is a box. Its label is the type of the phrases that mention it, such as `people`; where they differ `people/other`.
    ///   An element `<label>`, which [`scenes::export`](super::scenes::export) writes, goes before these.
    /// - Corners are pixels counted from 1, both inside: `xmin` 1 and `xmax` 10 are ten pixels, from `left` 0 to `right` 10.
    /// - A phrase links to all boxes of its entity. Without a box (it is the whole scene, not in the picture, or `EN#0`, not visual)
    ///   it gives no link; the notes count these.
    /// - The captions stay those of the data set, in their order. A sentence goes to the caption of the same letters, so `does n't`
    ///   meets `doesn't`. Where no caption has them, the sentence's phrases are left out and a note names it.
    /// - A file or sentence that is not as it should be is left out, a box is cut off at the border of its picture, and
    ///   [`Dataset::notes`] name file and line. So they do where pictures are not of the size that was annotated.
    ///
    /// Entities' own splits (`train.txt`, `val.txt`, `test.txt`) are read by [`Dataset::with_split_lists`].
    ///
    /// # Errors
    /// [`Error::File`] when a folder cannot be listed; [`Error::Data`] when the two folders are not there, or hold nothing of an image
    /// of this data set that can be read.
    pub fn with_entities(mut self, folder: impl AsRef<Path>) -> Result<Self> {
        let root = folder.as_ref();
        let (sentences, boxes) = find_folders(root)?;
        let files = Files { sentences: Folder::list(&sentences, ".txt")?, boxes: Folder::list(&boxes, ".xml")? };
        let stems: Vec<String> = self.examples.iter().map(|example| stem(&example.name)).collect();
        let mut named: HashMap<&str, usize> = HashMap::with_capacity(stems.len());
        stems.iter().for_each(|stem| *named.entry(stem).or_default() += 1);
        let read: Vec<(Option<Annotated>, Odds)> = (self.examples.par_iter().zip(&stems))
            .map(|(example, stem)| {
                let mut odds = Odds::default();
                let is_shared = named.get(stem.as_str()).is_some_and(|images| *images > 1);
                let annotated = match is_shared && files.know(stem) {
                    true => {
                        odds.add(Odd::Shared, || example.name.clone());
                        None
                    }
                    false => files.read(example, stem, &mut odds),
                };
                (annotated, odds)
            })
            .collect();
        if read.iter().all(|(annotated, _)| annotated.is_none()) {
            let all = Odds::of(read.into_iter().map(|(_, odds)| odds)).notes();
            let problem = format!("nothing here annotates an image of the data set. {}", all.join(" "));
            return Err(Error::data(root, None, problem.trim_end().trim_end_matches('.'), HELP));
        }
        let other_sizes = note_on_sizes(&self.examples, &read);
        let unused = files.sentences.by_stem.keys().filter(|stem| !named.contains_key(stem.as_str())).count();
        let mut odds = Odds::default();
        for (example, (annotated, own)) in self.examples.iter_mut().zip(read) {
            if let Some(Annotated { regions, links, .. }) = annotated {
                (example.regions, example.links) = (regions, links);
            }
            odds.append(own);
        }
        self.notes.extend(odds.notes());
        self.notes.extend(other_sizes);
        if unused > 0 {
            let (files, verb) = (counted(unused, "file"), if unused == 1 { "is" } else { "are" });
            self.notes.push(format!("{files} of {} {verb} of no image of the data set.", files_name(&sentences)));
        }
        Ok(self)
    }
}

/// The folders `Sentences` and `Annotations`.
fn find_folders(root: &Path) -> Result<(PathBuf, PathBuf)> {
    let mut folders = vec![root.to_path_buf()];
    for depth in 0..=DEPTH {
        let (mut found, mut below) = (Vec::new(), Vec::new());
        for folder in folders {
            let mut inside = match list(&folder) {
                Ok((_, inside)) => inside,
                Err(source) if depth == 0 => {
                    return Err(Error::file(
                        root,
                        "list the folder",
                        source,
                        "Check the path, and that you may read it.",
                    ));
                }
                // An unreadable folder cannot be the one that was meant.
                Err(_) => continue,
            };
            // Capitals first, so that `Annotations` goes before COCO's `annotations` beside it.
            inside.sort_unstable();
            let called = |name: &str| inside.iter().find(|path| files_name(path).eq_ignore_ascii_case(name)).cloned();
            match (called("Sentences"), called("Annotations")) {
                (Some(sentences), Some(boxes)) => found.push((sentences, boxes)),
                _ => below.extend(inside),
            }
        }
        if found.len() > 1 {
            let folders: Vec<String> = found.iter().map(|(sentences, _)| sentences.display().to_string()).collect();
            let problem = format!("several folders in it hold sentences: {}", folders.join(", "));
            return Err(Error::data(root, None, problem, "Name the one that you mean."));
        }
        if let Some(found) = found.pop() {
            return Ok(found);
        }
        folders = below;
    }
    Err(Error::data(root, None, "there are no folders `Sentences` and `Annotations` beside each other in it", HELP))
}

fn files_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name of an image without folders and ending, by which its files are called.
fn stem(name: &str) -> String {
    let name = normal_name(name);
    let name = name.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

/// The files of a folder, by the stems of their images.
struct Folder {
    path: PathBuf,
    by_stem: HashMap<String, PathBuf>,
}

impl Folder {
    fn list(path: &Path, ending: &str) -> Result<Self> {
        let failed = |source| Error::file(path, "list the folder", source, "Check that you may read it.");
        let (files, _) = list(path).map_err(failed)?;
        let files = files.into_iter().filter_map(|file| {
            let name = file.to_str()?;
            let at = name.len().checked_sub(ending.len())?;
            let is_one = name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(ending));
            is_one.then(|| (stem(name), path.join(name)))
        });
        Ok(Self { path: path.to_path_buf(), by_stem: files.collect() })
    }

    /// Formats `Sentences/1000092795.txt`.
    fn short(&self, file: &Path) -> String {
        format!("{}/{}", files_name(&self.path), files_name(file))
    }
}

struct Files {
    sentences: Folder,
    boxes: Folder,
}

/// What the files say of an image.
struct Annotated {
    /// Of the picture whose boxes these are.
    size: (f32, f32),
    regions: Vec<Region>,
    links: Vec<PhraseLink>,
}

/// The note about pictures that are not of the size that was annotated. Looks at some: copies of a data set are mostly all of another
/// size, or none.
fn note_on_sizes(examples: &[Example], read: &[(Option<Annotated>, Odds)]) -> Option<String> {
    const LOOKED_AT: usize = 32;
    let annotated: Vec<_> = examples
        .iter()
        .zip(read)
        .filter_map(|(example, (annotated, _))| match (&example.image, annotated) {
            (ImageSource::File(path), Some(annotated)) => Some((example, path, annotated.size)),
            _ => None,
        })
        .collect();
    let (mut looked_at, mut others) = (0, Tally::default());
    for (example, path, (width, height)) in annotated.iter().step_by(annotated.len().div_ceil(LOOKED_AT).max(1)) {
        let reader = image::ImageReader::open(path).and_then(image::ImageReader::with_guessed_format);
        // Who reads the picture says what is wrong with it.
        let Some(found) = reader.ok().and_then(|reader| reader.into_dimensions().ok()) else { continue };
        looked_at += 1;
        // A photograph may lie on its side.
        let is_size = |(across, down): (u32, u32)| across as f32 == *width && down as f32 == *height;
        if !is_size(found) && !is_size((found.1, found.0)) {
            others.add(|| format!("{} ({}×{}, not {width}×{height})", example.name, found.0, found.1));
        }
    }
    (others.count > 0).then(|| {
        let (count, list) = (grouped(others.count), others.list());
        let of = counted(looked_at, "picture");
        format!("{count} of {of} looked at are not of the size that was annotated, so boxes do not fit: {list}.")
    })
}

impl Files {
    fn know(&self, stem: &str) -> bool {
        self.sentences.by_stem.contains_key(stem) || self.boxes.by_stem.contains_key(stem)
    }

    /// Reads the files of an image; `None` where it has none that can be read.
    fn read(&self, example: &Example, stem: &str, odds: &mut Odds) -> Option<Annotated> {
        let sentences = self.sentences.by_stem.get(stem);
        let Some(boxes) = self.boxes.by_stem.get(stem) else {
            match sentences {
                Some(sentences) => odds.add(Odd::NoBoxes, || self.sentences.short(sentences)),
                None => odds.add(Odd::NotAnnotated, || example.name.clone()),
            }
            return None;
        };
        let annotation = match boxes::read(boxes) {
            Ok(annotation) => annotation,
            Err(error) => {
                odds.add(Odd::Unread, || what_is_wrong(&self.boxes.short(boxes), &error));
                return None;
            }
        };
        let Some(sentences) = sentences else {
            odds.add(Odd::NoSentences, || self.boxes.short(boxes));
            return Some(annotate(example, &[], &annotation, "", &self.boxes.short(boxes), odds));
        };
        let file = self.sentences.short(sentences);
        let text = match read_text(sentences) {
            Ok(text) => text,
            Err(error) => {
                odds.add(Odd::Unread, || what_is_wrong(&file, &error));
                String::new()
            }
        };
        let (mut parsed, mut written) = (Vec::new(), 0);
        for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
            written += 1;
            match sentences::parse(row) {
                Ok(sentence) => parsed.push((line, sentence)),
                Err(problem) => odds.add(Odd::Brackets, || format!("{file} line {line} ({problem})")),
            }
        }
        let captions = example.captions.len();
        if (1..captions).contains(&written) {
            odds.add(Odd::Fewer, || format!("{file} ({written} of {captions})"));
        }
        Some(annotate(example, &parsed, &annotation, &file, &self.boxes.short(boxes), odds))
    }
}

/// The message of an error without what to do next, which stands once in the note.
fn what_is_wrong(file: &str, error: &Error) -> String {
    match error {
        Error::Data { line: Some(line), problem, .. } => format!("{file} line {line} ({problem})"),
        Error::Data { line: None, problem, .. } => format!("{file} ({problem})"),
        Error::File { source, .. } => format!("{file} ({source})"),
        other => other.to_string(),
    }
}

/// The regions of an entity.
#[derive(Default)]
struct Entity {
    regions: Vec<usize>,
    is_scene: bool,
    /// Whether boxes of it were left out.
    lost: bool,
}

fn annotate(
    example: &Example,
    sentences: &[(u64, Sentence)],
    annotation: &Annotation,
    sentence_file: &str,
    box_file: &str,
    odds: &mut Odds,
) -> Annotated {
    let mut types: HashMap<&str, Vec<&str>> = HashMap::new();
    for phrase in sentences.iter().flat_map(|(_, sentence)| &sentence.phrases) {
        let known = types.entry(&phrase.entity).or_default();
        for word in &phrase.types {
            if !known.contains(&word.as_str()) {
                known.push(word);
            }
        }
    }
    let mut entities: HashMap<&str, Entity> = HashMap::new();
    let mut regions = Vec::new();
    for object in &annotation.objects {
        let place = regions.len();
        for (line, written) in &object.boxes {
            let bounds = written.clip(annotation.width, annotation.height);
            if bounds.validate().is_err() {
                odds.add(Odd::NoArea, || format!("{box_file} line {line}"));
                continue;
            }
            if bounds != *written {
                odds.add(Odd::Clipped, || format!("{box_file} line {line}"));
            }
            let mut words: Vec<&str> = Vec::new();
            for word in object.entities.iter().flat_map(|entity| types.get(entity.as_str())).flatten() {
                if !words.contains(word) {
                    words.push(word);
                }
            }
            let label = object.label.clone().unwrap_or_else(|| match words.is_empty() {
                false => words.join("/"),
                true => {
                    odds.add(Odd::Untyped, || format!("{box_file} line {line}"));
                    OTHER.into()
                }
            });
            regions.push(Region { bounds, label });
        }
        for name in &object.entities {
            let entity = entities.entry(name).or_default();
            entity.is_scene |= object.is_scene;
            entity.lost |= regions.len() - place < object.boxes.len();
            // An object may say its name twice.
            let new = (place..regions.len()).filter(|region| !entity.regions.contains(region)).collect::<Vec<_>>();
            entity.regions.extend(new);
        }
    }
    let mut captions = Captions::of(example);
    let mut links = Vec::new();
    for (line, sentence) in sentences {
        let Some(caption) = captions.take(&letters(&sentence.text)) else {
            odds.add(Odd::OtherWords, || format!("{sentence_file} line {line}"));
            continue;
        };
        let words = Vocabulary::words(example.captions.get(caption).map_or("", String::as_str));
        for phrase in &sentence.phrases {
            let place = || format!("{sentence_file} line {line} (EN#{})", phrase.entity);
            let (first_word, end_word) = span(sentence, phrase, &words);
            if first_word == end_word {
                odds.add(Odd::NoWord, place);
                continue;
            }
            match entities.get(phrase.entity.as_str()) {
                Some(entity) if !entity.regions.is_empty() => {
                    links.push(PhraseLink { caption, first_word, end_word, regions: entity.regions.clone() });
                }
                Some(Entity { lost: true, .. }) => odds.boxless[3] += 1,
                Some(Entity { is_scene: true, .. }) => odds.boxless[0] += 1,
                Some(_) => odds.boxless[1] += 1,
                None if phrase.entity == "0" => odds.boxless[2] += 1,
                None => odds.add(Odd::Unknown, place),
            }
        }
    }
    links.sort_by_key(|link| (link.caption, link.first_word, link.end_word));
    Annotated { size: (annotation.width, annotation.height), regions, links }
}

/// The letters of a text: tools differ in where they part words (`does n't`), not in these.
fn letters(text: &str) -> String {
    let mut letters = String::with_capacity(text.len());
    for_each_word(text, &mut String::new(), |word| letters.push_str(word));
    letters
}

/// The words of a caption that a phrase of its sentence covers, in part or whole.
fn span(sentence: &Sentence, phrase: &Phrase, words: &[String]) -> (usize, usize) {
    let before = |end: usize| letters(sentence.text.get(..end).unwrap_or_default()).len();
    let (start, end) = (before(phrase.start), before(phrase.end));
    let (mut first_word, mut end_word, mut at) = (0, 0, 0);
    if start == end {
        return (0, 0);
    }
    for word in words {
        end_word += usize::from(at < end);
        at += word.len();
        first_word += usize::from(at <= start);
    }
    (first_word, end_word.max(first_word))
}

/// The captions of an image by their letters; of equal ones each is given once.
struct Captions(HashMap<String, Vec<usize>>);

impl Captions {
    fn of(example: &Example) -> Self {
        let mut places: HashMap<String, Vec<usize>> = HashMap::with_capacity(example.captions.len());
        for (index, caption) in example.captions.iter().enumerate().rev() {
            places.entry(letters(caption)).or_default().push(index);
        }
        Self(places)
    }

    fn take(&mut self, letters: &str) -> Option<usize> {
        self.0.get_mut(letters)?.pop()
    }
}

/// What is odd in annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Odd {
    NotAnnotated,
    Shared,
    NoBoxes,
    NoSentences,
    Unread,
    Brackets,
    OtherWords,
    Fewer,
    NoWord,
    Unknown,
    Clipped,
    NoArea,
    Untyped,
}

impl Odd {
    /// What is counted, and what is said of it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NotAnnotated => ("image", "without annotations"),
            Self::Shared => ("image", "not annotated, as another has the same name without folder and ending"),
            Self::NoBoxes => ("file", "of sentences without a file of boxes, left out"),
            Self::NoSentences => ("file", "of boxes without a file of sentences, so without links"),
            Self::Unread => ("file", "of annotations that cannot be read, left out"),
            Self::Brackets => ("sentence", "with brackets that do not pair, whose phrases are left out"),
            Self::OtherWords => {
                ("sentence", "in other words than the captions of the image, whose phrases are left out")
            }
            Self::Fewer => ("file", "with fewer sentences than the image has captions"),
            Self::NoWord => ("phrase", "without a word left out"),
            Self::Unknown => ("phrase", "of entities that are not in the file of boxes, left out"),
            Self::Clipped => ("region", "cut off at the border of the picture"),
            Self::NoArea => ("region", "without area in the picture left out"),
            Self::Untyped => ("region", "of entities without a type in any sentence, labelled `other`"),
        }
    }
}

#[derive(Default)]
struct Odds {
    tallies: BTreeMap<Odd, Tally>,
    /// Phrases without a box: of the whole scene, not in the picture, not visual, with a box that was left out.
    boxless: [usize; 4],
}

impl Odds {
    fn add(&mut self, odd: Odd, item: impl FnOnce() -> String) {
        self.tallies.entry(odd).or_default().add(item);
    }

    fn append(&mut self, other: Self) {
        for (odd, tally) in other.tallies {
            self.tallies.entry(odd).or_default().append(tally);
        }
        self.boxless.iter_mut().zip(other.boxless).for_each(|(own, other)| *own += other);
    }

    fn of(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |mut sum, odds| {
            sum.append(odds);
            sum
        })
    }

    fn notes(&self) -> Vec<String> {
        let tallies = self.tallies.iter().map(|(odd, tally)| {
            let (thing, said) = odd.words();
            format!("{} {said}: {}.", counted(tally.count, thing), tally.list())
        });
        let mut notes: Vec<String> = tallies.collect();
        let boxless: usize = self.boxless.iter().sum();
        if boxless > 0 {
            let which =
                ["of the whole scene", "not in the picture", "not visual (EN#0)", "with a box that was left out"];
            let each = self.boxless.iter().zip(which).filter(|(count, _)| **count > 0);
            let each: Vec<String> = each.map(|(count, which)| format!("{} {which}", grouped(*count))).collect();
            let verb = if boxless == 1 { "gives" } else { "give" };
            notes.push(format!("{} without a box {verb} no link: {}.", counted(boxless, "phrase"), each.join(", ")));
        }
        notes
    }
}
