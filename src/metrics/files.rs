//! Captions and references as files: COCO's annotations and results, the data sets of this project, lines of text.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use super::CaptionToScore;
use crate::data::{Dataset, counted};
use crate::{Error, Result};

/// How many ids a message lists.
const MOST_LISTED: usize = 10;

/// A caption of COCO's files; the id is a number or a text.
#[derive(Deserialize)]
struct Record {
    image_id: serde_json::Value,
    caption: String,
}

#[derive(Deserialize)]
struct Annotations {
    annotations: Vec<Record>,
}

/// Captions with the ids of their images, in the order of the file.
type Captions = Vec<(String, String)>;

/// Reads references and the captions to score, and brings them together by the ids of their images.
///
/// References are COCO's annotations (`{"annotations": [{"image_id", "caption"}]}`), a data set in any of the layouts that
/// [`Dataset::open`] knows (its ids are the names of its images), or text files with a caption a line (the id is the number
/// of the line, from 1); each further text file holds another reference of each image. The captions to score are COCO's
/// results (`[{"image_id", "caption"}]`) or a text file.
///
/// The notes say which references were not needed: images without a caption to score are left out.
///
/// # Errors
/// [`Error::File`] for what cannot be read; [`Error::Data`] for malformed JSON, with line and column, for a second caption of
/// an image, and for captions of images without references, which are listed.
pub fn read_captions_to_score<P: AsRef<Path>>(
    references: &[P],
    hypotheses: impl AsRef<Path>,
) -> Result<(Vec<CaptionToScore>, Vec<String>)> {
    let hypotheses_path = hypotheses.as_ref();
    let hypotheses = read_hypotheses(hypotheses_path)?;
    let mut of_image: HashMap<String, Vec<String>> = HashMap::new();
    let mut order = Vec::new();
    for path in references {
        for (id, caption) in read_references(path.as_ref())? {
            let captions = of_image.entry(id.clone()).or_default();
            if captions.is_empty() {
                order.push(id);
            }
            captions.push(caption);
        }
    }
    let mut seen = HashSet::new();
    let twice = hypotheses.iter().map(|(id, _)| id).filter(|id| !seen.insert(id.as_str())).cloned().collect::<Vec<_>>();
    let missing: Vec<String> =
        seen.iter().filter(|id| !of_image.contains_key(**id)).map(|id| (*id).to_string()).collect();
    for (ids, what, help) in [
        (twice, "more than one caption for", "Give one caption an image."),
        (missing, "captions without references for", "Give references of these images, or leave the captions out."),
    ] {
        if !ids.is_empty() {
            let problem = format!("{what} {}: {}", counted(ids.len(), "image"), list(ids));
            return Err(Error::data(hypotheses_path, None, problem, help));
        }
    }
    let unused: Vec<String> = order.iter().filter(|id| !seen.contains(id.as_str())).cloned().collect();
    let notes = match unused.len() {
        0 => Vec::new(),
        count => vec![format!(
            "left out, since there is no caption to score: {} ({})",
            counted(count, "image"),
            list(unused)
        )],
    };
    let captions = hypotheses.into_iter().map(|(id, hypothesis)| {
        let references = of_image.remove(&id).unwrap_or_default();
        CaptionToScore { id, hypothesis, references }
    });
    Ok((captions.collect(), notes))
}

/// The first of some ids.
fn list(mut ids: Vec<String>) -> String {
    ids.sort();
    let more = ids.len().saturating_sub(MOST_LISTED);
    ids.truncate(MOST_LISTED);
    match more {
        0 => ids.join(", "),
        more => format!("{} and {more} more", ids.join(", ")),
    }
}

fn read_hypotheses(path: &Path) -> Result<Captions> {
    let text = read(path)?;
    match is_json(path, &text) {
        true => records(parse(path, &text, "The captions to score are to be `[{\"image_id\": …, \"caption\": …}]`.")?),
        false => Ok(lines(&text)),
    }
}

fn read_references(path: &Path) -> Result<Captions> {
    if path.is_dir() {
        return Ok(of_dataset(&Dataset::open(path)?));
    }
    let is_table = |ending: &str| ["csv", "token", "gz"].contains(&ending);
    if path.extension().and_then(|ending| ending.to_str()).is_some_and(is_table) {
        return Ok(of_dataset(&Dataset::open(path)?));
    }
    let text = read(path)?;
    if !is_json(path, &text) {
        return Ok(lines(&text));
    }
    if text.trim_start().starts_with('[') {
        return records(parse(path, &text, "A list of references is to be `[{\"image_id\": …, \"caption\": …}]`.")?);
    }
    let help = "COCO's annotations are `{\"annotations\": [{\"image_id\": …, \"caption\": …}]}`.";
    let keys: HashMap<String, serde::de::IgnoredAny> = parse(path, &text, help)?;
    match keys.contains_key("annotations") {
        true => records(parse::<Annotations>(path, &text, help)?.annotations),
        false => Ok(of_dataset(&Dataset::open(path)?)),
    }
}

fn read(path: &Path) -> Result<String> {
    let help = "Check the path; the file must be text in UTF-8.";
    std::fs::read_to_string(path).map_err(|source| Error::file(path, "read the captions", source, help))
}

fn is_json(path: &Path, text: &str) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
        || text.trim_start().starts_with(['{', '['])
}

fn parse<'a, T: Deserialize<'a>>(path: &Path, text: &'a str, help: &str) -> Result<T> {
    // The message of serde_json ends with the line and the column.
    serde_json::from_str(text).map_err(|error| Error::data(path, error.line() as u64, format!("{error}"), help))
}

fn records(records: Vec<Record>) -> Result<Captions> {
    let id = |id: serde_json::Value| id.as_str().map_or_else(|| id.to_string(), str::to_string);
    Ok(records.into_iter().map(|record| (id(record.image_id), record.caption)).collect())
}

fn lines(text: &str) -> Captions {
    text.lines().enumerate().map(|(number, line)| ((number + 1).to_string(), line.to_string())).collect()
}

fn of_dataset(dataset: &Dataset) -> Captions {
    let captions = dataset
        .examples
        .iter()
        .flat_map(|example| example.captions.iter().map(|caption| (example.name.clone(), caption.clone())));
    captions.collect()
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
    fn what_does_not_fit_together_is_named() {
        for (results, expected) in [
            (
                r#"[{"image_id": 7, "caption": "a"}, {"image_id": 7, "caption": "b"}]"#,
                "more than one caption for 1 image: 7",
            ),
            (r#"[{"image_id": 5, "caption": "a"}]"#, "captions without references for 1 image: 5"),
            ("[{\"image_id\": 7,\n \"caption\": }]", "line 2"),
            (r#"[{"image_id": 7}]"#, "missing field `caption`"),
            (r#"{"a": 1}"#, "invalid type"),
        ] {
            let error = read_files(&[("a.json", ANNOTATIONS), ("results.json", results)]).unwrap_err().to_string();
            assert!(error.contains("results.json") && error.contains(expected), "{expected}: {error}");
        }
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
