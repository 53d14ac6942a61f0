//! Files of captions and references: COCO's annotations and results, data sets, lines of text.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::CaptionToScore;
use crate::data::{Id, Tally, captions_by_name, counted, is_captions_of_images, read_text};
use crate::{Error, Result};

/// A caption in COCO's files.
#[derive(Deserialize)]
struct Record {
    image_id: Id,
    caption: OneOrMany,
}

/// The captions of an image: some files have a list, some have one record per caption.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a caption is to be a text, or a list of them")]
enum OneOrMany {
    One(String),
    Record { caption: String },
    Many(Vec<OneOrMany>),
}

impl OneOrMany {
    fn add_to(self, id: &str, captions: &mut Captions) {
        match self {
            Self::One(caption) | Self::Record { caption } => captions.push((id.to_owned(), caption)),
            Self::Many(many) => many.into_iter().for_each(|one| one.add_to(id, captions)),
        }
    }
}

#[derive(Deserialize)]
struct Annotations {
    annotations: Vec<Record>,
}

/// Captions with the ids of their images, in the order of the file.
type Captions = Vec<(String, String)>;

/// Captions and notes.
type Read = (Captions, Vec<String>);

/// Reads captions to score and their references, and matches them by image id.
///
/// Both may be
/// - COCO's annotations (`{"annotations": [{"image_id", "caption"}]}`) or results (`[{"image_id", "caption"}]`, or one such record per
///   line), where a caption may also be a list of captions; or a JSON object from image ids to captions;
/// - a data set in any layout of [`Dataset::open`](crate::data::Dataset::open), with or without its images; their names are the ids;
/// - text files with one caption per line, whose id is the line number from 1. Each further file of references adds a reference to
///   each image; an empty line adds none.
///
/// Ids are normalised: 11, 11.0 and "11" are equal, and so are `a.jpg` and `./a.jpg`.
///
/// The returned notes list unused references: those of images without a caption to score.
///
/// # Errors
/// [`Error::File`] when a file cannot be read; [`Error::Data`] for malformed files (with the line), for several captions of an image,
/// and for captions of images without references (which are listed).
pub fn read_captions_to_score<P: AsRef<Path>>(
    references: &[P],
    hypotheses: impl AsRef<Path>,
) -> Result<(Vec<CaptionToScore>, Vec<String>)> {
    let hypotheses_path = hypotheses.as_ref();
    let (hypotheses, mut notes) = read(hypotheses_path)?;
    let mut of_image: HashMap<String, Vec<String>> = HashMap::new();
    let mut order = Vec::new();
    let mut empty = Tally::default();
    for path in references {
        let (captions, of_file) = read(path.as_ref())?;
        notes.extend(of_file);
        for (id, caption) in captions {
            if caption.trim().is_empty() {
                empty.add(|| id);
                continue;
            }
            let captions = of_image.entry(id.clone()).or_default();
            if captions.is_empty() {
                order.push(id);
            }
            captions.push(caption);
        }
    }
    if empty.count > 0 {
        notes.push(format!("without a word, and so no {}: of {}", counted(empty.count, "reference"), empty.list()));
    }
    let (mut seen, mut twice, mut missing) = (HashSet::new(), Tally::default(), Tally::default());
    for (id, _) in &hypotheses {
        if !seen.insert(id.as_str()) {
            twice.add(|| id.clone());
        } else if !of_image.contains_key(id) {
            missing.add(|| id.clone());
        }
    }
    let mut known = Tally::default();
    order.iter().for_each(|id| known.add(|| id.clone()));
    let help = match known.count {
        0 => "Give references of these images: there are none of any image.".to_owned(),
        _ => format!("Give references of these images, or leave the captions out: there are some of {}.", known.list()),
    };
    for (ids, what, help) in [
        (twice, "more than one caption for", "Give one caption an image.".to_owned()),
        (missing, "captions without references for", help),
    ] {
        if ids.count > 0 {
            let problem = format!("{what} {}: {}", counted(ids.count, "image"), ids.list());
            return Err(Error::data(hypotheses_path, None, problem, help));
        }
    }
    let mut unused = Tally::default();
    order.iter().filter(|id| !seen.contains(id.as_str())).for_each(|id| unused.add(|| id.clone()));
    if unused.count > 0 {
        let (images, list) = (counted(unused.count, "image"), unused.list());
        notes.push(format!("left out, since there is no caption to score: {images} ({list})"));
    }
    let captions = hypotheses.into_iter().map(|(id, hypothesis)| {
        let references = of_image.remove(&id).unwrap_or_default();
        CaptionToScore { id, hypothesis, references }
    });
    Ok((captions.collect(), notes))
}

fn read(path: &Path) -> Result<Read> {
    if path.is_dir() {
        return of_data_set(path);
    }
    let text = read_text(path)?;
    if is_json(path, &text) {
        return of_json(path, &text);
    }
    if is_captions_of_images(path)? {
        return of_data_set(path);
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
    if lines.peek().is_some() && lines.all(|line| line.contains('\t')) {
        return Err(Error::data(
            path,
            1,
            "all lines hold tabs, as if this were a table, but none that is known",
            "Write `image<TAB>caption` as its first line, or nothing but a caption on each.",
        ));
    }
    let line = |(number, line): (usize, &str)| ((number + 1).to_string(), line.to_string());
    Ok((text.lines().enumerate().map(line).collect(), Vec::new()))
}

/// Whether a file is JSON: by its name, or because it begins with a record.
fn is_json(path: &Path, text: &str) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let mut beginning = text.chars().filter(|character| !character.is_whitespace());
    let beginning = [beginning.next(), beginning.next()];
    ["json", "jsonl", "ndjson"].contains(&ending.as_str())
        || beginning == [Some('{'), Some('"')]
        || beginning == [Some('['), Some('{')]
}

fn of_json(path: &Path, text: &str) -> Result<Read> {
    let help = "Captions are to be `[{\"image_id\": …, \"caption\": …}]`, `{\"annotations\": [{\"image_id\": …, \"caption\": …}]}` \
        or a data set's JSON.";
    // The message of serde_json ends with the line and the column.
    let malformed = |error: serde_json::Error| Error::data(path, error.line() as u64, error.to_string(), help);
    let of_records = |records: Vec<Record>| {
        let mut captions = Vec::with_capacity(records.len());
        records.into_iter().for_each(|record| record.caption.add_to(&record.image_id.0, &mut captions));
        (captions, Vec::new())
    };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map(of_records).map_err(malformed);
    }
    let keys = Deserializer::from_str(text).into_iter::<HashMap<String, IgnoredAny>>().next();
    let keys = keys.transpose().map_err(malformed)?.unwrap_or_default();
    let has = |key| keys.contains_key(key);
    if has("image_id") && has("caption") {
        let records = Deserializer::from_str(text).into_iter::<Record>();
        return records.collect::<Result<_, _>>().map(of_records).map_err(malformed);
    }
    if has("annotations") {
        return serde_json::from_str(text).map(|file: Annotations| of_records(file.annotations)).map_err(malformed);
    }
    if has("images") {
        return of_data_set(path);
    }
    let by_image: BTreeMap<String, OneOrMany> = serde_json::from_str(text).map_err(malformed)?;
    let mut captions = Vec::new();
    by_image.into_iter().for_each(|(image, of_image)| of_image.add_to(&Id::of_text(&image).0, &mut captions));
    Ok((captions, Vec::new()))
}

/// The captions of a data set, whether or not its images exist.
fn of_data_set(path: &Path) -> Result<Read> {
    let (images, notes) = captions_by_name(path)?;
    let captions = images.into_iter().flat_map(|(name, captions)| {
        let Id(id) = Id::of_text(&name);
        captions.into_iter().map(move |caption| (id.clone(), caption))
    });
    Ok((captions.collect(), notes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes files, and reads the first ones as references, the last as captions.
    fn read_files(files: &[(&str, &str)]) -> Result<(Vec<CaptionToScore>, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<_> = files.iter().map(|(name, _)| folder.path().join(name)).collect();
        files.iter().zip(&paths).for_each(|((_, text), path)| std::fs::write(path, text).unwrap());
        let (hypotheses, references) = paths.split_last().unwrap();
        read_captions_to_score(references, hypotheses)
    }

    const ANNOTATIONS: &str = r#"{"images": [], "annotations": [
        {"id": 1, "image_id": 7, "caption": "a dog"}, {"id": 2, "image_id": 7, "caption": "the dog"},
        {"id": 3, "image_id": 9, "caption": "a boat"}]}"#;

    #[test]
    fn coco_files_are_brought_together_by_image() {
        let results = r#"[{"image_id": 7, "caption": "a brown dog"}]"#;
        let (captions, notes) = read_files(&[("annotations.json", ANNOTATIONS), ("results.json", results)]).unwrap();
        assert_eq!(captions, [CaptionToScore::new("7", "a brown dog", ["a dog", "the dog"])]);
        assert_eq!(notes, ["left out, since there is no caption to score: 1 image (9)"]);
    }

    #[test]
    fn lines_of_several_files_are_references_of_the_same_images() {
        let (captions, notes) =
            read_files(&[("one.txt", "a dog\na boat\n"), ("two.txt", "the dog\nthe boat\n"), ("mine.txt", "dog\n\n")])
                .unwrap();
        assert_eq!(
            captions,
            [
                CaptionToScore::new("1", "dog", ["a dog", "the dog"]),
                CaptionToScore::new("2", "", ["a boat", "the boat"])
            ]
        );
        assert!(notes.is_empty());
    }

    #[test]
    fn ids_are_those_that_people_mean() {
        let wanted = [CaptionToScore::new("7", "a brown dog", ["a dog", "the dog"])];
        for id in ["7", "7.0", "\"7\"", "\"7.0\"", "\" 7\""] {
            let results = format!(r#"[{{"image_id": {id}, "caption": "a brown dog"}}]"#);
            let (captions, _) = read_files(&[("annotations.json", ANNOTATIONS), ("results.json", &results)]).unwrap();
            assert_eq!(captions, wanted, "{id}");
        }
        let table = "image,caption\n./photos/cafe\u{301}.jpg,a dog\n";
        let results = "[{\"image_id\": \"photos\\\\caf\u{E9}.jpg\", \"caption\": \"dog\"}]";
        let (captions, _) = read_files(&[("mine.csv", table), ("results.json", results)]).unwrap();
        assert_eq!(captions, [CaptionToScore::new("photos/caf\u{E9}.jpg", "dog", ["a dog"])]);
    }

    #[test]
    fn other_forms_of_the_same_captions_are_read() {
        let results =
            r#"[{"image_id": "7.jpg", "caption": "a brown dog"}, {"image_id": "9.jpg", "caption": "a ship"}]"#;
        let wanted = [
            CaptionToScore::new("7.jpg", "a brown dog", ["a dog", "the dog"]),
            CaptionToScore::new("9.jpg", "a ship", ["a boat"]),
        ];
        for (name, references) in [
            ("a.csv", "image,caption\n7.jpg,a dog\n7.jpg,the dog\n9.jpg,a boat\n"),
            ("a.tsv", "image\tcaption\n7.jpg\ta dog\n7.jpg\tthe dog\n9.jpg\ta boat\n"),
            ("captions.txt", "image,caption\n7.jpg,a dog\n7.jpg,the dog\n9.jpg,a boat\n"),
            ("any.txt", "\u{feff}image,caption\r\n7.jpg,a dog\r\n7.jpg,the dog\r\n9.jpg,a boat\r\n"),
            (
                "results.csv",
                "image_name| comment_number| comment\n7.jpg| 0| a dog\n7.jpg| 1| the dog\n9.jpg| 0| a boat\n",
            ),
            ("Flickr8k.token.txt", "7.jpg#0\ta dog\n7.jpg#1\tthe dog\n9.jpg#0\ta boat\n"),
            ("lines.txt", "7.jpg#0\ta dog\n7.jpg#1\tthe dog\n9.jpg#0\ta boat\n"),
            ("of_image.json", r#"{"9.jpg": "a boat", "7.jpg": ["a dog", "the dog"]}"#),
            (
                "of_image.json",
                r#"{"9.jpg": [{"caption": "a boat"}], "7.jpg": [{"caption": "a dog"}, {"caption": "the dog"}]}"#,
            ),
            (
                "list.json",
                r#"[{"image_id": "7.jpg", "caption": ["a dog", "the dog"]}, {"image_id": "9.jpg", "caption": ["a boat"]}]"#,
            ),
            (
                "bom.json",
                "\u{feff}[{\"image_id\": \"7.jpg\", \"caption\": [\"a dog\", \"the dog\"]},\r\n{\"image_id\": \"9.jpg\", \"caption\": \"a boat\"}]",
            ),
            (
                "lines.jsonl",
                "{\"image_id\": \"7.jpg\", \"caption\": [\"a dog\", \"the dog\"]}\n{\"image_id\": \"9.jpg\", \"caption\": \"a boat\"}\n",
            ),
            (
                "dataset_mine.json",
                r#"{"images": [{"filename": "7.jpg", "split": "test", "sentences": [{"raw": "a dog"}, {"raw": "the dog"}]},
                    {"filename": "9.jpg", "split": "test", "sentences": [{"raw": "a boat"}]}]}"#,
            ),
        ] {
            let (captions, _) = read_files(&[(name, references), ("results.json", results)]).unwrap();
            assert_eq!(captions, wanted, "{name}");
        }
        for (name, hypotheses) in [
            ("mine.csv", "image,caption\n7.jpg,a brown dog\n9.jpg,a ship\n"),
            ("mine.json", r#"{"7.jpg": "a brown dog", "9.jpg": "a ship"}"#),
            ("mine.txt", results),
            ("bom.json", &format!("\u{feff}{results}")),
        ] {
            let references = "7.jpg#0\ta dog\n7.jpg#1\tthe dog\n9.jpg#0\ta boat\n";
            let (captions, _) = read_files(&[("x.token", references), (name, hypotheses)]).unwrap();
            assert_eq!(captions, wanted, "{name}");
        }
    }

    #[test]
    fn which_pictures_are_there_makes_no_difference() {
        let table = "image,caption\na.jpg,a dog\nb.jpg,a boat\n";
        let results = r#"[{"image_id": "a.jpg", "caption": "dog"}, {"image_id": "b.jpg", "caption": "boat"}]"#;
        let (none, _) = read_files(&[("mine.csv", table), ("results.json", results)]).unwrap();
        let (folder, results_path) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        std::fs::write(folder.path().join("mine.csv"), table).unwrap();
        std::fs::write(folder.path().join("a.jpg"), "").unwrap();
        std::fs::write(results_path.path(), results).unwrap();
        let (of_folder, _) = read_captions_to_score(&[folder.path()], results_path.path()).unwrap();
        assert_eq!((none.len(), &none), (2, &of_folder));
    }

    #[test]
    fn an_empty_line_is_no_reference() {
        let (captions, notes) = read_files(&[
            ("one.txt", "a dog\na boat\n\n"),
            ("two.txt", "the dog\n\n \n"),
            ("three.txt", "dog\n\nkite"),
            ("mine.txt", "dog\nboat\n\n"),
        ])
        .unwrap();
        assert_eq!(
            captions,
            [
                CaptionToScore::new("1", "dog", ["a dog", "the dog", "dog"]),
                CaptionToScore::new("2", "boat", ["a boat"]),
                CaptionToScore::new("3", "", ["kite"]),
            ]
        );
        assert_eq!(notes, ["without a word, and so no 4 references: of 3, 2, 3, 2"]);
        let error = read_files(&[("one.txt", "a dog\n\n"), ("mine.txt", "dog\nboat\n")]).unwrap_err().to_string();
        assert!(error.contains("captions without references for 1 image: 2. Give references"), "{error}");
        assert!(error.contains("there are some of 1"), "{error}");
    }

    #[test]
    fn captions_that_begin_as_json_does_are_captions() {
        let (captions, _) =
            read_files(&[("one.txt", "[a] dog\n{b} boat\n"), ("mine.txt", "{a} dog\n[b] boat\n")]).unwrap();
        assert_eq!(captions[0], CaptionToScore::new("1", "{a} dog", ["[a] dog"]));
        assert_eq!(captions.len(), 2);
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        for (results, expected) in [
            (
                r#"[{"image_id": 7, "caption": "a"}, {"image_id": 7, "caption": "b"}]"#,
                "more than one caption for 1 image: 7",
            ),
            (r#"[{"image_id": 5, "caption": "a"}]"#, "captions without references for 1 image: 5"),
            ("[{\"image_id\": 7,\n \"caption\": }]", "line 2"),
            (r#"[{"image_id": 7}]"#, "missing field `caption`"),
            (r#"{"a": 1}"#, "a caption is to be a text, or a list of them"),
            (
                r#"[{"image_id": null, "caption": "a"}]"#,
                "invalid type: null, expected an id, a number or a text at line 1",
            ),
            ("\u{feff}[1]", "invalid type"),
        ] {
            let error = read_files(&[("a.json", ANNOTATIONS), ("results.json", results)]).unwrap_err().to_string();
            assert!(error.contains("results.json") && error.contains(expected), "{expected}: {error}");
        }
        for (name, text, expected) in [
            ("table.txt", "1\ta dog\n2\ta boat\n", "all lines hold tabs"),
            ("table.csv", "id,caption\n1,a dog\n", "no column for the image"),
            ("captions.txt", "image,caption\n7.jpg,a dog\nb.jpg\n", "line 3"),
        ] {
            let error = read_files(&[(name, text), ("mine.txt", "a dog\na boat\n")]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(expected), "{expected}: {error}");
        }
        // Lines have numbers, a table has names.
        let table = "image,caption\n7.jpg,a dog\n9.jpg,a boat\n";
        let error = read_files(&[("captions.txt", table), ("mine.txt", "a dog\na boat\n")]).unwrap_err().to_string();
        assert!(error.contains("for 2 images: 1, 2.") && error.contains("there are some of 7.jpg, 9.jpg"), "{error}");
        let error = read_captions_to_score(&["nowhere.json"], "nowhere.txt").unwrap_err().to_string();
        assert!(error.contains("nowhere.txt"), "{error}");
    }

    /// Bytes flipped, cut out, doubled and cut off at random.
    #[test]
    fn damaged_json_is_read_or_refused_by_name_and_never_panics() {
        let folder = tempfile::tempdir().unwrap();
        let (annotations, results) = (folder.path().join("annotations.json"), folder.path().join("results.json"));
        let good = r#"[{"image_id": 7, "caption": "a \u00e9 \"dog\""}, {"image_id": 9, "caption": ""}]"#;
        let mut random = crate::data::Random::new(1);
        let mut refused = 0;
        for round in 0..2000 {
            let mut texts = [ANNOTATIONS.as_bytes().to_vec(), good.as_bytes().to_vec()];
            let text = &mut texts[round % 2];
            for _ in 0..1 + random.below(3) {
                if text.len() < 2 {
                    break;
                }
                let (place, byte) = (random.below(text.len()), random.below(256) as u8);
                match random.below(5) {
                    0 => text[place] = byte,
                    1 => text.insert(place, byte),
                    2 => drop(text.remove(place)),
                    3 => text.extend_from_within(place..),
                    _ => text.truncate(place.max(1)),
                }
            }
            std::fs::write(&annotations, &texts[0]).unwrap();
            std::fs::write(&results, &texts[1]).unwrap();
            if let Err(error) = read_captions_to_score(&[&annotations], &results) {
                let error = error.to_string();
                assert!(error.contains("annotations.json") || error.contains("results.json"), "{error}");
                refused += 1;
            }
        }
        assert!(refused > 1000, "{refused} of 2000 were refused");
    }
}
