//! Cleaning of caches: damaged and outdated shards, and the locks of processes.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use super::cache::whole_shards;
use super::encoder::Encoder;
use super::extract::unwritable;
use super::shard::{Content, Shard, ShardEntry, shard_name, write_shard_at};
use crate::data::Example;
use crate::files::{FileLock, PARTIAL};
use crate::{Error, Result};

/// The images in the cache by name. Damaged shards are set aside; shards with outdated images are rewritten without those.
pub(super) fn pictures_here(
    folder: &Path,
    encoder: &Encoder,
    examples: &[&Example],
    contents: &[Result<Content>],
    verify: bool,
    damaged: &mut Vec<String>,
) -> Result<HashMap<String, Content>> {
    let (shards, broken) = whole_shards(folder, verify)?;
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
                "Move it to a folder of its own.",
            ));
        }
        let is_current = |entry: &usize| {
            now.get(shard.names[*entry].as_str()).is_none_or(|content| **content == shard.content(*entry))
        };
        let current: Vec<usize> = (0..shard.len()).filter(is_current).collect();
        here.extend(current.iter().map(|&entry| (shard.names[entry].clone(), shard.content(entry))));
        if current.len() < shard.len() && !keep_only(folder, shard, &current)? {
            // Another process has changed it meanwhile: look again.
            return pictures_here(folder, encoder, examples, contents, verify, damaged);
        }
    }
    Ok(here)
}

/// Replaces a shard by one with some of its images; `false` when another process has removed it.
fn keep_only(folder: &Path, shard: &Shard, current: &[usize]) -> Result<bool> {
    let own = shard.path.file_name().unwrap_or_default().to_string_lossy();
    let _lock = lock_shard(folder, &own, true)?;
    if !shard.path.exists() {
        return Ok(false);
    }
    let entries: Vec<ShardEntry> = current
        .iter()
        .map(|&entry| shard.entry(entry).map_err(|problem| super::shard::damaged(&shard.path, problem)))
        .collect::<Result<_>>()?;
    if !entries.is_empty() {
        let name = shard_name(entries.iter().map(|entry| (entry.name.as_str(), &entry.content)));
        let _lock = lock_shard(folder, &name, true)?;
        write_shard_at(&folder.join(name), &shard.head, &entries)?;
    }
    match std::fs::remove_file(&shard.path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(unwritable(&shard.path, source)),
        _ => Ok(true),
    }
}

/// Suffix of locks.
const LOCK: &str = ".lock";

/// Takes the lock of a shard; `None` when another process has it and `wait` is not set.
pub(super) fn lock_shard(folder: &Path, shard: &str, wait: bool) -> Result<Option<FileLock>> {
    let path = folder.join(format!(".{shard}{LOCK}"));
    let lock = if wait { FileLock::take(&path).map(Some) } else { FileLock::try_take(&path) };
    let lock = lock.map_err(|error| match error {
        Error::File { source, .. } => unwritable(&path, source),
        other => other,
    })?;
    Ok(lock.map(FileLock::removed_when_done))
}

/// Removes unfinished files of killed processes, which nobody has locked.
pub(super) fn sweep(folder: &Path) -> Result<()> {
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
        if let Some(lock) = FileLock::try_take(&folder.join(format!("{shard}{LOCK}")))?.map(FileLock::removed_when_done)
            && lock.is_guarded()
            && path.extension().is_some_and(|ending| ending != "lock")
        {
            std::fs::remove_file(&path).ok();
        }
    }
    Ok(())
}
