//! Captions with highlighted or aligned words.

use std::ops::Range;

use super::canvas::Align;
use super::chart::{Frame, LINE, Sample, WIDTH};
use super::figure::{Figure, headed, one_paragraph};
use super::style::{Ink, MARGIN, Mark, NOTE};
use super::text::{TextStyle, Typeface};
use crate::{Error, Result};

/// Largest size of words in pixels.
const LARGEST: f32 = 30.0;
/// Smallest size of words in pixels.
const SMALLEST: f32 = 14.0;
/// Space between words in ems.
const SPACE: f32 = 0.7;
/// Distance of the two captions of an alignment in pixels.
const APART: f32 = 190.0;

/// A caption with highlighted words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HighlightedWords {
    /// Title above the caption, such as `pairs: 2 of 3`.
    pub name: String,
    /// The words, and whether each is highlighted.
    pub words: Vec<(String, bool)>,
}

impl HighlightedWords {
    /// Highlights the words for whose index `counts` returns true.
    ///
    /// ```
    /// use captionlab::show::HighlightedWords;
    /// let row = HighlightedWords::new("words: 1 of 2", &["a", "kite"], |place| place == 1);
    /// assert_eq!(row.words[1], ("kite".to_string(), true));
    /// ```
    pub fn new<S: AsRef<str>>(name: impl Into<String>, words: &[S], counts: impl Fn(usize) -> bool) -> Self {
        let words = words.iter().enumerate().map(|(place, word)| (word.as_ref().to_string(), counts(place)));
        Self { name: name.into(), words: words.collect() }
    }
}

/// Aligned words of two captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordLink {
    /// Indices of words in the upper caption.
    pub upper: Range<usize>,
    /// Indices of words in the lower caption.
    pub lower: Range<usize>,
    /// Kind of the link in the legend: `the same word`, `synonyms`.
    pub kind: String,
}

/// A line of words with their size and horizontal extents.
struct Line {
    look: TextStyle,
    places: Vec<(f32, f32)>,
}

impl Line {
    /// Lays out words.
    ///
    /// # Errors
    /// [`Error::Argument`] for more words than a line holds.
    fn new<S: AsRef<str>>(words: &[S], typeface: &Typeface) -> Result<Self> {
        let room = WIDTH - 2.0 * MARGIN;
        let width = |look: TextStyle| -> f32 {
            let words_width: f32 = words.iter().map(|word| typeface.width(word.as_ref(), look)).sum();
            words_width + look.size * SPACE * words.len().saturating_sub(1) as f32
        };
        let wanted = width(TextStyle::bold(LARGEST));
        let size = (LARGEST * (room / wanted.max(1.0)).min(1.0)).floor();
        if size < SMALLEST {
            return Err(Error::argument(
                format!("a caption of {} words is too long for a line", words.len()),
                "Show a shorter one.",
            ));
        }
        let look = TextStyle::bold(size);
        let mut x = MARGIN;
        let places = words.iter().map(|word| {
            let start = x;
            let end = start + typeface.width(word.as_ref(), look);
            x = end + look.size * SPACE;
            (start, end)
        });
        Ok(Self { look, places: places.collect() })
    }
}

/// Draws captions below one another, with highlighted words underlined on a coloured background.
///
/// # Errors
/// [`Error::Argument`] without captions, or with one that is too long for a line.
pub fn highlighted_words(title: &str, rows: &[HighlightedWords]) -> Result<Figure> {
    if rows.is_empty() {
        return Err(Error::argument("there is no caption to show", "Give one at least."));
    }
    const NAME: f32 = 34.0;
    const ROW: f32 = 104.0;
    let frame = Frame { title, notes: Vec::new(), legend: Vec::new() };
    let mut sheet = frame.sheet(ROW * rows.len() as f32)?;
    let mut text = headed("Highlighted words", title);
    for (number, row) in rows.iter().enumerate() {
        let top = sheet.top + ROW * number as f32;
        let words: Vec<&str> = row.words.iter().map(|(word, _)| word.as_str()).collect();
        let line = Line::new(&words, &sheet.canvas.typeface)?;
        sheet.canvas.text(&row.name, (MARGIN, top + NOTE.size), Align::Left, NOTE, Ink::QUIET_TEXT);
        let baseline = top + NAME + LARGEST;
        for ((word, counts), (start, end)) in row.words.iter().zip(&line.places) {
            if *counts {
                let (left, width) = (start - 6.0, end - start + 12.0);
                sheet.canvas.rectangle(left, baseline - LARGEST, width, LARGEST * 1.4, Ink::HIGHLIGHT);
                sheet.canvas.rectangle(left, baseline + LARGEST * 0.4, width, LINE, Mark::new(0).ink());
            }
            let ink = if *counts { Ink::TEXT } else { Ink::QUIET_TEXT };
            sheet.canvas.text(word, (*start, baseline), Align::Left, line.look, ink);
        }
        let counted: Vec<&str> =
            row.words.iter().filter(|(_, counts)| *counts).map(|(word, _)| word.as_str()).collect();
        text += &format!(" {}: \"{}\", of which count: {}.", row.name, words.join(" "), joined(&counted));
    }
    sheet.finish(&one_paragraph(&text))
}

/// Draws two captions with lines between aligned words, with one colour and dash pattern per kind.
///
/// # Errors
/// [`Error::Argument`] for a caption that is too long for a line, or a link to a word that does not exist.
pub fn word_alignment<S: AsRef<str>>(title: &str, upper: &[S], lower: &[S], links: &[WordLink]) -> Result<Figure> {
    for (range, words) in links.iter().flat_map(|link| [(&link.upper, upper.len()), (&link.lower, lower.len())]) {
        if range.is_empty() || range.end > words {
            return Err(Error::argument(
                format!("the words {}..{} of a caption of {words} words are linked", range.start, range.end),
                "Count words from 0, and link one at least.",
            ));
        }
    }
    let mut kinds: Vec<&str> = Vec::new();
    for link in links {
        if !kinds.contains(&link.kind.as_str()) {
            kinds.push(&link.kind);
        }
    }
    let mark = |link: &WordLink| Mark::new(kinds.iter().position(|kind| *kind == link.kind).unwrap_or(0));
    let legend = kinds.iter().enumerate().map(|(number, kind)| (Mark::new(number), Sample::Line, *kind)).collect();
    let frame = Frame { title, notes: Vec::new(), legend };
    let mut sheet = frame.sheet(2.0 * LARGEST + APART + MARGIN)?;
    let (upper_line, lower_line) =
        (Line::new(upper, &sheet.canvas.typeface)?, Line::new(lower, &sheet.canvas.typeface)?);
    let upper_baseline = sheet.top + LARGEST;
    let lower_baseline = upper_baseline + APART;
    for link in links {
        let middle =
            |line: &Line, range: &Range<usize>| (line.places[range.start].0 + line.places[range.end - 1].1) / 2.0;
        let (from, to) = (upper_baseline + 18.0, lower_baseline - LARGEST - 10.0);
        let ends = [(middle(&upper_line, &link.upper), from), (middle(&lower_line, &link.lower), to)];
        let mark = mark(link);
        sheet.canvas.line(&ends, LINE, mark.dash(LINE), mark.ink());
        // A bar over all linked words.
        for (line, range, y) in [(&upper_line, &link.upper, from - LINE), (&lower_line, &link.lower, to)] {
            let (start, end) = (line.places[range.start].0, line.places[range.end - 1].1);
            sheet.canvas.rectangle(start, y, end - start, LINE, mark.ink());
        }
    }
    for (words, line, baseline) in [(upper, &upper_line, upper_baseline), (lower, &lower_line, lower_baseline)] {
        for (word, (start, _)) in words.iter().zip(&line.places) {
            sheet.canvas.text(word.as_ref(), (*start, baseline), Align::Left, line.look, Ink::TEXT);
        }
    }
    let said = |words: &[S], range: &Range<usize>| {
        words[range.clone()].iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(" ")
    };
    let all = |words: &[S]| said(words, &(0..words.len()));
    let mut text = format!("{} Above: \"{}\". Below: \"{}\".", headed("Word alignment", title), all(upper), all(lower));
    for link in links {
        text += &format!(" \"{}\" – \"{}\" ({}).", said(upper, &link.upper), said(lower, &link.lower), link.kind);
    }
    sheet.finish(&one_paragraph(&text))
}

fn joined(words: &[&str]) -> String {
    if words.is_empty() { "none".to_string() } else { words.join(", ") }
}
