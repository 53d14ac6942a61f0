//! Scenes as Flickr30k Entities stores photographs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::super::{Kind, SIDE};
use super::index;
use crate::data::{Example, PhraseLink};

/// The captions, one a line, with phrases in brackets.
pub(super) fn sentences(example: &Example) -> String {
    let entities = entities(example);
    let mut text = String::new();
    for (number, caption) in example.captions.iter().enumerate() {
        for (place, token) in caption.split_whitespace().enumerate() {
            let here = |link: &&PhraseLink| link.caption == number;
            text += if place > 0 { " " } else { "" };
            for link in example.links.iter().filter(here).filter(|link| link.first_word == place) {
                let kind = link.regions.first().and_then(|&region| example.regions.get(region));
                let kind = kind.map_or("other", |region| coarse_type(&region.label));
                let entity = entities.get(&link.regions).copied().unwrap_or_default();
                write!(text, "[/EN#{entity}/{kind} ").ok();
            }
            // As in the published files, a comma is a token of its own, outside of the phrase.
            let word = token.trim_end_matches(|letter: char| !letter.is_alphanumeric());
            text += word;
            let ends = example.links.iter().filter(here).filter(|link| link.end_word == place + 1).count();
            text += &"]".repeat(ends);
            if word.len() < token.len() {
                text.push(' ');
                text += &token[word.len()..];
            }
        }
        text.push('\n');
    }
    text
}

/// The boxes, with the entities that they belong to.
pub(super) fn boxes(example: &Example, file_name: &str) -> String {
    let entities = entities(example);
    let mut text = format!(
        "<annotation>\n\t<filename>{file_name}</filename>\n\t<size>\n\t\t<width>{SIDE}</width>\n\t\t<height>{SIDE}</height>\n\t\t\
         <depth>3</depth>\n\t</size>\n"
    );
    for (index, region) in example.regions.iter().enumerate() {
        text += "\t<object>\n";
        let own = entities.iter().filter(|(regions, _)| regions.contains(&index)).map(|(_, entity)| *entity);
        for entity in own.collect::<BTreeSet<u64>>() {
            writeln!(text, "\t\t<name>{entity}</name>").ok();
        }
        writeln!(text, "\t\t<label>{}</label>\n\t\t<bndbox>", region.label).ok();
        let bounds = region.bounds;
        // Pixels counted from 1, both inside the box. The boxes of scenes have whole numbers.
        let corners =
            [("xmin", bounds.left + 1.0), ("ymin", bounds.top + 1.0), ("xmax", bounds.right), ("ymax", bounds.bottom)];
        for (name, corner) in corners {
            writeln!(text, "\t\t\t<{name}>{corner}</{name}>").ok();
        }
        text += "\t\t</bndbox>\n\t</object>\n";
    }
    text + "</annotation>\n"
}

/// The number of every entity: each region alone, then each group that a phrase mentions, such as `two dogs`. Numbers are different
/// in all scenes, and never 0, which stands for what cannot be seen.
fn entities(example: &Example) -> BTreeMap<Vec<usize>, u64> {
    let alone = (0..example.regions.len()).map(|region| vec![region]);
    let mut numbers = BTreeMap::new();
    for group in alone.chain(example.links.iter().map(|link| link.regions.clone())) {
        let next = 100 * index(example) + 1 + numbers.len() as u64;
        numbers.entry(group).or_insert(next);
    }
    numbers
}

/// The type that Flickr30k Entities gives to such a thing.
fn coarse_type(label: &str) -> &'static str {
    let kind = Kind::ALL.iter().find(|kind| kind.name() == label);
    match kind {
        Some(kind) if kind.is_person() => "people",
        Some(kind) if kind.is_alive() => "animals",
        Some(Kind::Boat | Kind::Car) => "vehicles",
        _ => "other",
    }
}
