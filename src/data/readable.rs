//! Decoding of many images, some of which may be unreadable.

use std::borrow::Borrow;
use std::fmt;

use image::RgbImage;
use rayon::prelude::*;

use super::Example;
use super::images::decode_source;
use crate::{Error, Result};

/// Decodes the images of examples in parallel. Returns the index and pixels of each readable one; messages about the others are
/// added to `unreadable`.
pub(crate) fn decode_readable<E: Borrow<Example> + Sync>(
    examples: &[E],
    unreadable: &mut Vec<String>,
) -> Vec<(usize, RgbImage)> {
    let decoded: Vec<Result<RgbImage>> =
        examples.par_iter().map(|example| decode_source(&example.borrow().image)).collect();
    let mut readable = Vec::with_capacity(decoded.len());
    for (index, picture) in decoded.into_iter().enumerate() {
        match picture {
            Ok(picture) => readable.push((index, picture)),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    readable
}

/// # Errors
/// [`Error::Argument`] when no image could be read.
pub(crate) fn check_any_readable(readable: usize, unreadable: &[String]) -> Result<()> {
    match unreadable.first() {
        Some(first) if readable == 0 => Err(Error::argument(
            format!("none of the {} pictures could be read; the first: {first}", unreadable.len()),
            "Check where the pictures of the data set are.",
        )),
        _ => Ok(()),
    }
}

/// Lists unreadable images, one per line.
pub(crate) fn write_unreadable(formatter: &mut fmt::Formatter<'_>, unreadable: &[String]) -> fmt::Result {
    const LISTED: usize = 10;
    if unreadable.is_empty() {
        return Ok(());
    }
    write!(formatter, "\n{} pictures could not be read and are left out:", unreadable.len())?;
    unreadable.iter().take(LISTED).try_for_each(|problem| write!(formatter, "\n  {problem}"))?;
    match unreadable.len().checked_sub(LISTED) {
        Some(more @ 1..) => write!(formatter, "\n  … and {more} more"),
        _ => Ok(()),
    }
}
