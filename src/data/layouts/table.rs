//! Tables: Kaggle's `results.csv` and `captions.txt`, Hugging Face's `flickr_annotations_30k.csv`, and the user's own CSV.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use super::collected::{Collected, Place};
use super::image_folder::is_picture_name;
use crate::data::Layout;
use crate::data::dataset::{Tally, counted};
use crate::data::splits::split_of_word;
use crate::data::text_file::{read_beginning, read_text};
use crate::{Error, Result};

const IMAGE_COLUMNS: [&str; 8] =
    ["image", "image_name", "filename", "file_name", "file", "image_path", "image_file", "name"];
const CAPTION_COLUMNS: [&str; 6] = ["caption", "captions", "comment", "text", "description", "sentence"];
const NUMBER_COLUMNS: [&str; 2] = ["comment_number", "caption_number"];
const HELP: &str = "Write a header `image,caption`, then an image and a caption a line; \
    put captions with commas in quotation marks.";

/// Number of bytes that determine the shape of a table.
const BEGINNING: u64 = 1 << 16;

/// The columns of a table.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) layout: Layout,
    separator: u8,
    has_header: bool,
    columns: usize,
    image: usize,
    caption: usize,
    number: Option<usize>,
    split: Option<usize>,
    /// Whether the caption column holds a JSON list of all captions of the image.
    is_list: bool,
}

/// Determines the shape of a table from its first lines.
///
/// # Errors
/// [`Error::Data`] when it is not a table of images and captions.
pub(super) fn shape(path: &Path) -> Result<Shape> {
    let beginning = read_beginning(path, BEGINNING)?;
    if beginning.is_empty() {
        return Err(Error::data(path, None, "the file is empty", HELP));
    }
    let place = Place { path, line: Some(1) };
    let first = beginning.lines().next().unwrap_or_default();
    let Some(separator) = separator_of(first) else {
        return Err(place.error("no comma, semicolon, tab or `|` between the columns", HELP));
    };
    let table = reader(separator, escapes_quotes(path, &beginning, separator)?).from_reader(beginning.as_bytes());
    let mut rows: Vec<StringRecord> = table.into_records().map_while(|row| row.ok()).take(100).collect();
    if rows.len() > 2 && beginning.len() >= BEGINNING as usize {
        // Perhaps truncated.
        rows.pop();
    }
    let first = rows.first().cloned().unwrap_or_default();
    let columns = first.len();
    let names: Vec<String> = first.iter().map(|name| name.trim().to_lowercase()).collect();
    let find = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
    let number = find(&NUMBER_COLUMNS);
    let split = find(&["split"]);
    let shape = |layout, image, caption, is_list| Shape {
        layout,
        separator,
        has_header: true,
        columns,
        image,
        caption,
        number,
        split,
        is_list,
    };
    if let (Some(image), Some(raw)) = (find(&IMAGE_COLUMNS), find(&["raw"])) {
        return Ok(shape(Layout::HuggingFace, image, raw, true));
    }
    if let (Some(image), Some(caption)) = (find(&IMAGE_COLUMNS), find(&CAPTION_COLUMNS)) {
        // `caption`, `caption.1`, `caption_2`: all but the first would be silently lost.
        let stem =
            |name: &String| name.trim_end_matches(|end: char| end.is_ascii_digit() || "._ ".contains(end)).to_owned();
        if names.iter().filter(|name| stem(name) == stem(&names[caption])).count() > 1 {
            return Err(place.error(
                format!("several columns are called `{}`", names[caption]),
                "Write one caption a line, the name of its image before each.",
            ));
        }
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_kaggle = matches!(file, "results.csv" | "captions.txt") || number.is_some();
        let layout = if is_kaggle { Layout::Kaggle } else { Layout::Folder };
        return Ok(shape(layout, image, caption, false));
    }
    if let Some(found) = without_header(&rows) {
        if found.caption + 1 < columns && first.get(found.image + 1).is_some_and(|field| field.trim().is_empty()) {
            return Err(place.error(
                "an empty column between the image and its caption",
                "Write one comma, semicolon, tab or `|` between the two.",
            ));
        }
        let layout = if found.number.is_some() { Layout::Kaggle } else { Layout::Folder };
        let Columns { image, number, caption, split } = found;
        let columns = split.unwrap_or(caption.max(image)) + 1;
        return Ok(Shape { has_header: false, columns, number, split, ..shape(layout, image, caption, false) });
    }
    let names_image = |row: &StringRecord| row.get(0).is_some_and(|name| is_picture_name(name.trim()));
    if columns == 2 && rows.get(1).is_some_and(names_image) {
        return Ok(shape(Layout::Folder, 0, 1, false));
    }
    let missing = match (find(&IMAGE_COLUMNS), find(&CAPTION_COLUMNS)) {
        (Some(_), None) => "no column for the caption",
        (None, Some(_)) => "no column for the image",
        _ => "no columns for the image and the caption",
    };
    let shown: Vec<String> = first.iter().take(8).map(|name| name.trim().chars().take(40).collect()).collect();
    Err(place.error(format!("{missing} among `{}`", shown.join("`, `")), HELP))
}

/// Column indices.
struct Columns {
    image: usize,
    number: Option<usize>,
    caption: usize,
    split: Option<usize>,
}

/// The columns of a table without a header. Numbers before the image are row numbers, as data frames write them; a number after it
/// is the caption's, if most rows have one; the rest is the caption, except for a split at the end of all rows.
fn without_header(rows: &[StringRecord]) -> Option<Columns> {
    let first = rows.first()?;
    let image = first.iter().position(|field| is_picture_name(numbered_name(field.trim()).0))?;
    if image == 1 && first.len() == 2 && whole_number(first.get(0)?).is_none() {
        return Some(Columns { image, number: None, caption: 0, split: None });
    }
    let are_row_numbers = first.iter().take(image).all(|field| whole_number(field).is_some());
    if !are_row_numbers || first.len() < image + 2 {
        return None;
    }
    let has_number = |row: &&StringRecord| row.get(image + 1).is_some_and(|field| whole_number(field).is_some());
    let is_numbered =
        first.len() > image + 2 && has_number(&first) && 2 * rows.iter().filter(has_number).count() > rows.len();
    let caption = if is_numbered { image + 2 } else { image + 1 };
    let last = first.len() - 1;
    let has_split = |row: &StringRecord| {
        row.len() == first.len() && row.get(last).is_some_and(|word| split_of_word(word.trim()).is_ok())
    };
    let split = Some(last).filter(|&last| last > caption && rows.iter().all(has_split));
    // Separators in a caption would shift the columns behind it.
    let split = split.filter(|&split| split == caption + 1);
    Some(Columns { image, number: is_numbered.then_some(image + 1), caption, split })
}

/// Parses `3`, ` 3` or `3.0`.
fn whole_number(field: &str) -> Option<u64> {
    let field = field.trim();
    let whole = field.split_once('.').filter(|(_, zeros)| zeros.bytes().all(|digit| digit == b'0'));
    whole.map_or(field, |(whole, _)| whole).parse().ok()
}

/// Splits `a.jpg#3`, as Flickr's own files name captions.
fn numbered_name(name: &str) -> (&str, Option<u64>) {
    let parts = name.rsplit_once('#').filter(|(image, _)| is_picture_name(image));
    match parts.and_then(|(image, number)| Some((image, number.parse().ok()?))) {
        Some((image, number)) => (image, Some(number)),
        None => (name, None),
    }
}

pub(super) fn read(path: &Path, collected: &mut Collected) -> Result<()> {
    let shape = shape(path)?;
    let text = read_text(path)?;
    let escapes_quotes = escapes_quotes(path, &text, shape.separator)?;
    let mut table = reader(shape.separator, escapes_quotes).from_reader(text.as_bytes());
    let mut row = StringRecord::new();
    let mut header = shape.has_header;
    let mut unquoted = Tally::default();
    let mut lines = Lines { text: text.as_bytes(), byte: 0, line: 1 };
    loop {
        lines.advance(table.position().byte());
        let line = lines.line;
        let place = Place { path, line: Some(line) };
        match table.read_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(place.error(format!("not a row of a table: {error}"), HELP)),
        }
        if std::mem::take(&mut header) || row.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        let (name, mut number) = numbered_name(row.get(shape.image).unwrap_or_default().trim());
        let written_number = shape.number.and_then(|column| row.get(column));
        number = written_number.and_then(whole_number).or(number);
        let caption = match row.get(shape.caption) {
            Some(caption) if row.len() == shape.columns => caption.to_owned(),
            Some(caption) if row.len() > shape.columns && shape.caption + 1 == shape.columns => {
                unquoted.add(|| format!("line {}", line));
                let separator = char::from(shape.separator).to_string();
                let rest = row.iter().skip(shape.caption + 1);
                // The backslash has escaped the separator.
                let joined = |caption: String, part: &str| match caption.strip_suffix('\\') {
                    Some(caption) => format!("{caption}{separator}{part}"),
                    None => caption + &separator + part,
                };
                rest.fold(caption.to_owned(), joined)
            }
            None if let Some((repaired, caption)) = glued(&shape, &row) => {
                number = Some(repaired);
                collected.notes.push(format!(
                    "{}, line {}: the separator after the comment number is missing; repaired.",
                    path.file_name().unwrap_or_default().to_string_lossy(),
                    line
                ));
                caption
            }
            _ => {
                let separator = char::from(shape.separator).escape_default().to_string();
                return Err(place.error(
                    format!("{}, where {} are expected", counted(row.len(), "column"), shape.columns),
                    format!("Columns are separated by `{separator}`; text that holds it needs quotation marks."),
                ));
            }
        };
        if let (false, Some(written), None) = (shape.has_header, written_number, number) {
            let written: String = written.trim().chars().take(40).collect();
            return Err(place.error(format!("`{written}` is not the number of a caption"), HELP));
        }
        if runs_over_rows(&caption, shape.separator) {
            return Err(place.error(
                "a quotation mark opens here and is not closed before the next row",
                "Close it, or write a quotation mark inside a quoted caption twice.",
            ));
        }
        let split = match shape.split.and_then(|column| row.get(column)).map(str::trim) {
            None | Some("") => None,
            Some(word) => Some(split_of_word(word).map_err(|known| {
                let word: String = word.chars().take(40).collect();
                place.error(format!("the split `{word}` is not known"), format!("A split is {known}."))
            })?),
        };
        let image = collected.image(place, name, None, split)?;
        let captions: Vec<String> = if shape.is_list {
            serde_json::from_str(&caption).map_err(|error| {
                place.error(format!("the captions are not a JSON list of strings: {error}"), "Check the download.")
            })?
        } else {
            vec![caption]
        };
        for caption in captions {
            collected.add_caption(place, image, number, &caption)?;
        }
    }
    if unquoted.count > 0 {
        let (captions, list) = (counted(unquoted.count, "caption"), unquoted.list());
        let separator = char::from(shape.separator).escape_default().to_string();
        collected.notes.push(format!("{captions} with `{separator}` outside quotation marks, taken whole: {list}."));
    }
    Ok(())
}

/// The number and caption of a row without the separator between them, such as row 19,999 of Kaggle's Flickr30k:
/// `2199200615.jpg| 4   A dog runs`.
fn glued(shape: &Shape, row: &StringRecord) -> Option<(u64, String)> {
    let glued = shape.number.filter(|number| number + 1 == shape.caption && row.len() == shape.caption)?;
    let (number, caption) = row.get(glued)?.trim().split_once(char::is_whitespace)?;
    Some((number.parse().ok()?, caption.trim().to_owned()))
}

/// Whether a caption contains the start of another row, because a quotation mark was never closed.
fn runs_over_rows(caption: &str, separator: u8) -> bool {
    let mut rows = caption.split('\n').skip(1);
    rows.any(|row| row.split_once(char::from(separator)).is_some_and(|(name, _)| is_picture_name(name.trim())))
}

/// The first of `,`, `;`, tab and `|` outside quotation marks.
fn separator_of(line: &str) -> Option<u8> {
    let mut quoted = false;
    line.bytes().find(|&byte| {
        quoted ^= byte == b'"';
        !quoted && matches!(byte, b',' | b';' | b'\t' | b'|')
    })
}

fn reader(separator: u8, escapes_quotes: bool) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    // Kaggle's `|` file contains quotation marks, but does not quote.
    builder.has_headers(false).flexible(true).delimiter(separator).quoting(separator != b'|');
    if escapes_quotes {
        builder.double_quote(false).escape(Some(b'\\'));
    }
    builder
}

/// Whether a table escapes quotation marks as `\"`, as databases do, instead of doubling them.
///
/// # Errors
/// [`Error::Data`] when it also escapes other characters: `\n` would become `n`.
fn escapes_quotes(path: &Path, text: &str, separator: u8) -> Result<bool> {
    if separator == b'|' {
        return Ok(false);
    }
    // `\""` is a backslash and a doubled mark; a mark before a separator or at a line end closes.
    let is_escaped = |(place, _): (usize, &str)| {
        let next = text.as_bytes().get(place + 2);
        next.is_some_and(|&next| next != b'"' && next != separator && !matches!(next, b'\r' | b'\n'))
    };
    if !text.match_indices("\\\"").any(is_escaped) {
        return Ok(false);
    }
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        let next = if character == '\\' { characters.next() } else { None };
        if let Some((_, next)) = next.filter(|(_, next)| next.is_alphanumeric()) {
            let line = 1 + text.bytes().take(place).filter(|&byte| byte == b'\n').count() as u64;
            return Err(Error::data(
                path,
                line,
                format!("`\\{next}` is not read in a table that writes quotation marks as `\\\"`"),
                "Write quotation marks twice (`\"\"`), and nothing else with a backslash.",
            ));
        }
    }
    Ok(true)
}

/// Counts lines up to a row. The table reader's own count is wrong with blank lines or CRLF.
struct Lines<'a> {
    text: &'a [u8],
    byte: usize,
    line: u64,
}

impl Lines<'_> {
    /// Advances to the row that follows `byte`.
    fn advance(&mut self, byte: u64) {
        while let Some(next) = self.text.get(self.byte) {
            if self.byte as u64 >= byte && !matches!(next, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*next == b'\n');
            self.byte += 1;
        }
    }
}
