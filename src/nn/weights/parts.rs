//! Sharded weights: several files, and an index that maps each tensor to its file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use tch::Tensor;

use super::read::read_file;
use crate::{Error, Result};

/// The index as Hugging Face writes it.
#[derive(Deserialize)]
struct Index {
    /// File name by tensor name.
    weight_map: BTreeMap<String, String>,
}

/// The index that belongs to a shard, by its name: `model.safetensors.index.json` for `model-00001-of-00003.safetensors`. `None`
/// for a file that is not a shard, or the only one.
pub(super) fn index_of(path: &Path) -> Option<Result<PathBuf>> {
    let name = path.file_name()?.to_str()?;
    let (stem, ending) = name.rsplit_once('.')?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let (number, count): (u32, u32) = (number.parse().ok()?, count.parse().ok()?);
    if count < 2 || !(1..=count).contains(&number) {
        return None;
    }
    let index = path.with_file_name(format!("{stem}.{ending}.index.json"));
    if index.is_file() {
        return Some(Ok(index));
    }
    Some(Err(Error::Weights {
        path: path.into(),
        problem: format!("this is shard {number} of {count}, and the index {} is not beside it", index.display()),
        help: "Put the index and all shards into one folder.".to_string(),
    }))
}

/// The files that the weights of a path are read from: itself, or the index and all parts.
///
/// # Errors
/// As reading them.
pub(crate) fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    let index = match index_of(path) {
        Some(index) => index?,
        None if path.extension().is_some_and(|ending| ending == "json") => path.to_path_buf(),
        None => return Ok(vec![path.to_path_buf()]),
    };
    let parts: BTreeSet<String> = weight_map(&index)?.into_values().collect();
    let parts = parts.into_iter().map(|part| index.with_file_name(part));
    Ok(std::iter::once(index.clone()).chain(parts).collect())
}

/// The file of each weight, as an index says it.
fn weight_map(path: &Path) -> Result<BTreeMap<String, String>> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::file(path, "read the weights", source, "Check the path."))?;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let Index { weight_map } = serde_json::from_slice(bytes).map_err(|error| Error::Weights {
        path: path.into(),
        problem: format!("this is JSON, and not the index of weights in parts: {error}"),
        help: "Name the file of weights itself: safetensors, .pt or .pth.".to_string(),
    })?;
    Ok(weight_map)
}

/// Reads all parts that an index names.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let problem = |problem: String, help: &str| Error::Weights { path: path.into(), problem, help: help.to_string() };
    let weight_map = weight_map(path)?;
    let parts: BTreeSet<&String> = weight_map.values().collect();
    let mut tensors = BTreeMap::new();
    for part in &parts {
        let is_beside = Path::new(part).components().eq([Component::Normal(part.as_ref())]);
        if !is_beside || part.ends_with(".json") {
            let found = format!("the index names {part:?}, which is not a weights file in its folder");
            return Err(problem(found, "Download the index and its shards again."));
        }
        let file = path.with_file_name(part);
        if !file.is_file() {
            let missing = parts.iter().filter(|part| !path.with_file_name(part).is_file()).count();
            let found = format!("{missing} of {} shards are missing beside the index: {part}", parts.len());
            return Err(problem(found, "Put all shards into the folder of the index."));
        }
        tensors.extend(read_file(&file)?.0);
    }
    match weight_map.iter().find(|(name, _)| !tensors.contains_key(*name)) {
        Some((name, part)) => Err(problem(
            format!("{part} lacks {name}, which the index locates there"),
            "Download the index and its shards again.",
        )),
        None => Ok(tensors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{read_weights, write_tensors};

    fn folder_of_parts() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (number, name) in (1..).zip(["head.weight", "stem.weight"]) {
            let tensors = [(name.to_string(), Tensor::from_slice(&[number as f32]))];
            let part = folder.path().join(format!("model-0000{number}-of-00002.safetensors"));
            write_tensors(&part, &tensors, &serde_json::Value::Null).unwrap();
        }
        let index = r#"{"metadata": {"total_size": 8}, "weight_map": {
            "head.weight": "model-00001-of-00002.safetensors", "stem.weight": "model-00002-of-00002.safetensors"}}"#;
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        folder
    }

    #[test]
    fn parts_are_read_whole_by_the_index_and_by_each_part() {
        let folder = folder_of_parts();
        let names =
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        for name in names {
            let tensors = read_weights(&folder.path().join(name)).unwrap();
            assert_eq!(tensors.keys().collect::<Vec<_>>(), ["head.weight", "stem.weight"], "{name}");
            assert_eq!(tensors["stem.weight"].double_value(&[0]), 2.0, "{name}");
            let files = files_of(&folder.path().join(name)).unwrap();
            assert_eq!(files, names.map(|name| folder.path().join(name)), "{name}");
        }
    }

    #[test]
    fn a_part_alone_and_an_index_without_its_parts_are_refused_by_what_is_missing() {
        let folder = folder_of_parts();
        let (index, part) = (
            folder.path().join("model.safetensors.index.json"),
            folder.path().join("model-00002-of-00002.safetensors"),
        );
        let message = |path: &Path| read_weights(path).unwrap_err().to_string();
        let other = folder.path().join("model-00001-of-00002.safetensors");
        std::fs::rename(&other, folder.path().join("elsewhere")).unwrap();
        let said = message(&index);
        assert!(
            said.contains("1 of 2 shards are missing beside the index: model-00001-of-00002.safetensors"),
            "{said}"
        );
        std::fs::copy(&part, &other).unwrap();
        let said = message(&index);
        assert!(said.contains("model-00001-of-00002.safetensors lacks head.weight"), "{said}");
        std::fs::remove_file(&index).unwrap();
        let said = message(&part);
        assert!(
            said.contains("shard 2 of 2") && said.contains("model.safetensors.index.json is not beside it"),
            "{said}"
        );
        for (text, expected) in [
            (r#"{"hidden_act": "gelu"}"#, "not the index of weights in parts: missing field `weight_map`"),
            (r#"{"weight_map": {"a": "../../etc/passwd"}}"#, "not a weights file in its folder"),
            (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "not a weights file in its folder"),
            (r#"{"weight_map": {"a": "model.safetensors.index.json"}}"#, "not a weights file in its folder"),
            ("{", "this is JSON, and not"),
        ] {
            std::fs::write(&index, text).unwrap();
            let said = message(&index);
            assert!(said.contains(expected), "{text}: {said}");
        }
        // One part of one is the whole.
        let whole = folder.path().join("model-00001-of-00001.safetensors");
        std::fs::copy(&part, &whole).unwrap();
        assert!(read_weights(&whole).is_ok());
    }
}
