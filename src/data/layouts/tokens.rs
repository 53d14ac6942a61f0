//! Flickr30k's and Flickr8k's own files: `NAME.jpg#K<TAB>caption`.

use std::path::Path;

use super::collected::{Collected, Place};
use crate::Result;
use crate::data::text_file::read_text;

const HELP: &str = "Each line is `NAME.jpg#K<TAB>caption`.";

pub(super) fn read(path: &Path, collected: &mut Collected) -> Result<()> {
    let text = read_text(path)?;
    for (line, row) in (1..).zip(text.lines()) {
        if row.trim().is_empty() {
            continue;
        }
        let place = Place { path, line: Some(line) };
        let Some((key, caption)) = row.split_once('\t') else {
            return Err(place.error("no tab between the image and its caption", HELP));
        };
        let Some((name, number)) = key.rsplit_once('#') else {
            return Err(place.error(format!("no `#` and number after `{}`", beginning(key)), HELP));
        };
        let Ok(number) = number.trim().parse() else {
            return Err(place.error(format!("`{}` is not the number of a caption", beginning(number)), HELP));
        };
        let image = collected.image(place, name, None, None)?;
        collected.add_caption(place, image, Some(number), caption)?;
    }
    Ok(())
}

/// Whether a text begins like such a file.
pub(super) fn looks_like_tokens(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let key = first.split_once('\t').and_then(|(key, _)| key.rsplit_once('#'));
    key.is_some_and(|(_, number)| number.trim().parse::<u64>().is_ok())
}

fn beginning(text: &str) -> String {
    text.chars().take(40).collect()
}
