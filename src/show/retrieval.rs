//! Queries with the images that were found for them.

use image::RgbImage;

use super::axis::{grouped, score_text};
use super::canvas::{Align, fitted};
use super::chart::{Frame, Sheet, WIDTH};
use super::figure::{Figure, headed, one_paragraph};
use super::grid::MOST_DESCRIBED;
use super::style::{Ink, MARGIN, Mark, TICK};
use super::text::{TextStyle, Typeface};
use crate::{Error, Result};

/// Images that a row has room for.
const MOST_RESULTS: usize = 10;
/// Width of the query in pixels.
const QUERY: f32 = 216.0;
/// Lines after which a query is truncated.
const QUERY_LINES: usize = 7;
/// Width of the rank at the end of a row.
const RANK: f32 = 84.0;
/// Gap between images, wide enough for two frames.
const GAP: f32 = 17.0;
/// Largest width of an image.
const LARGEST: f32 = 200.0;
/// Thickness of the frame of the right image.
const FRAME: f32 = 7.0;

/// A query with the images that were found for it.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievalRow {
    /// The query.
    pub query: String,
    /// The images in their order, best first; 1 to 10.
    pub results: Vec<RetrievedImage>,
    /// Rank of the right image among all, from 1. Shown if the right image is not among the results; `None` shows nothing.
    pub rank: Option<usize>,
}

/// An image that was found for a query.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievedImage {
    /// The image, of any size and aspect ratio.
    pub image: RgbImage,
    /// Its score with the query, a finite number.
    pub score: f32,
    /// Whether it is the right one.
    pub correct: bool,
}

/// Draws for each query the images that were found for it, with their scores; the right one has a thick frame and a check mark.
///
/// ```
/// use captionlab::show::{RetrievalRow, RetrievedImage, retrieval};
/// let found = |score, correct| RetrievedImage { image: image::RgbImage::new(64, 64), score, correct };
/// let rows = [
///     RetrievalRow { query: "a red kite".into(), results: vec![found(0.9, false), found(0.8, true)], rank: Some(2) },
///     RetrievalRow { query: "a boat".into(), results: vec![found(0.5, false), found(0.4, false)], rank: Some(12) },
/// ];
/// assert_eq!(
///     retrieval("From text to image", &rows)?.alternative,
///     "Retrieval: From text to image. \"a red kite\": 0.90, 0.80 (right). \
///      \"a boat\": 0.50, 0.40; the right one has rank 12."
/// );
/// # Ok::<(), captionlab::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] without queries, for a query of no results or of more than 10, an image without pixels, a score that is not
/// finite, or a rank of 0; [`Error::Figure`] if there are too many queries for a figure.
pub fn retrieval(title: &str, rows: &[RetrievalRow]) -> Result<Figure> {
    check(rows)?;
    let typeface = Typeface::new()?;
    let most = rows.iter().map(|row| row.results.len()).max().unwrap_or(1) as f32;
    let for_rank = if rows.iter().any(|row| missed(row).is_some()) { RANK } else { 0.0 };
    let room = WIDTH - 2.0 * MARGIN - QUERY - for_rank;
    let side = (room / most - GAP).min(LARGEST).floor();
    let placed: Vec<Placed<'_>> = rows.iter().map(|row| Placed::new(row, side, &typeface)).collect();
    let height: f32 = placed.iter().map(|row| row.height() + MARGIN).sum();
    let mut sheet = Frame { title, notes: Vec::new(), legend: Vec::new() }.sheet(height + MARGIN)?;
    let mut top = sheet.top + MARGIN * 0.5;
    for (number, row) in placed.iter().enumerate() {
        if number > 0 {
            sheet.canvas.rectangle(MARGIN, (top - MARGIN * 0.5).round(), WIDTH - 2.0 * MARGIN, 1.0, Ink::GRID);
        }
        row.draw(&mut sheet, top)?;
        top += row.height() + MARGIN;
    }
    sheet.finish(&alternative(title, rows))
}

fn check(rows: &[RetrievalRow]) -> Result<()> {
    if rows.is_empty() {
        return Err(Error::argument("there is no query to show", "Give at least one."));
    }
    for RetrievalRow { query, results, rank } in rows {
        if !(1..=MOST_RESULTS).contains(&results.len()) {
            let problem = format!("the query \"{query}\" has {} results", results.len());
            return Err(Error::argument(problem, format!("Show its first ones, 1 to {MOST_RESULTS}.")));
        }
        for (number, result) in (1..).zip(results) {
            if result.image.width() == 0 || result.image.height() == 0 {
                let problem = format!("result {number} of the query \"{query}\" has no pixels");
                return Err(Error::argument(problem, "Leave it out, or check how it was read."));
            }
            if !result.score.is_finite() {
                let problem = format!("the score of result {number} of the query \"{query}\" is {}", result.score);
                return Err(Error::argument(problem, "Give finite scores; check the features that they come from."));
            }
        }
        if *rank == Some(0) {
            let problem = format!("the right image of the query \"{query}\" has rank 0");
            return Err(Error::argument(problem, "Count ranks from 1."));
        }
    }
    Ok(())
}

/// The rank of the right image if it is not among the results.
fn missed(row: &RetrievalRow) -> Option<usize> {
    row.rank.filter(|_| row.results.iter().all(|result| !result.correct))
}

/// A row at its size.
struct Placed<'a> {
    row: &'a RetrievalRow,
    query: Vec<String>,
    side: f32,
    /// Height of the highest image.
    picture: f32,
    look: TextStyle,
    /// The rank at the end, wrapped.
    rank: Vec<String>,
}

impl<'a> Placed<'a> {
    fn new(row: &'a RetrievalRow, side: f32, typeface: &Typeface) -> Self {
        let heights = row.results.iter().map(|result| fitted(&result.image, side).1);
        let rank = missed(row).map_or_else(Vec::new, |rank| {
            typeface.wrap(&format!("rank {}", grouped(&rank.to_string())), RANK, 3, TextStyle::bold(TICK.size))
        });
        Self {
            row,
            query: typeface.wrap(&row.query, QUERY - GAP, QUERY_LINES, TICK),
            side,
            picture: heights.max().unwrap_or(1) as f32,
            look: TextStyle::regular((side * 0.2).clamp(14.0, TICK.size).floor()),
            rank,
        }
    }

    fn has_right(&self) -> bool {
        self.row.results.iter().any(|result| result.correct)
    }

    fn height(&self) -> f32 {
        let lines = if self.has_right() { 2.0 } else { 1.0 };
        let images = self.picture + FRAME + lines * self.look.line_height() + FRAME;
        images.max(self.query.len() as f32 * TICK.line_height())
    }

    fn draw(&self, sheet: &mut Sheet, top: f32) -> Result<()> {
        let canvas = &mut sheet.canvas;
        let (top, look) = (top.round(), self.look);
        for (line, text) in self.query.iter().enumerate() {
            let baseline = top + line as f32 * TICK.line_height() + TICK.size;
            canvas.text(text, (MARGIN, baseline), Align::Left, TICK, Ink::TEXT);
        }
        let mut left = MARGIN + QUERY;
        for result in &self.row.results {
            let (width, height) = fitted(&result.image, self.side);
            let x = (left + (self.side - width as f32) / 2.0).round();
            let y = (top + (self.picture - height as f32) / 2.0).round();
            if width < self.side as u32 || height < self.picture as u32 {
                canvas.rectangle(left.round(), top, self.side, self.picture, Ink::PANEL);
            }
            canvas.picture(&result.image, x as u32, y as u32, width, height)?;
            let middle = left + self.side / 2.0;
            let baseline = top + self.picture + FRAME + look.size;
            let score = TextStyle { bold: result.correct, ..look };
            canvas.text(&score_text(result.score), (middle, baseline), Align::Centre, score, Ink::TEXT);
            if result.correct {
                let ink = Mark::new(0).ink();
                let half = FRAME / 2.0;
                let frame =
                    [left.round() - half, top - half, left.round() + self.side + half, top + self.picture + half];
                canvas.frame(frame, FRAME, None, ink);
                let below = baseline + look.line_height();
                canvas.text("✓ right", (middle, below), Align::Centre, score, ink);
            }
            left += self.side + GAP;
        }
        let mut baseline = top + self.picture / 2.0 - (self.rank.len() as f32 - 1.0) / 2.0 * TICK.line_height();
        baseline += Typeface::cap_height(TICK) / 2.0;
        for line in &self.rank {
            canvas.text(line, (left, baseline), Align::Left, TextStyle::bold(TICK.size), Ink::TEXT);
            baseline += TICK.line_height();
        }
        Ok(())
    }
}

/// The text alternative.
fn alternative(title: &str, rows: &[RetrievalRow]) -> String {
    let mut text = headed("Retrieval", title);
    for row in rows.iter().take(MOST_DESCRIBED) {
        let result = |result: &RetrievedImage| {
            let right = if result.correct { " (right)" } else { "" };
            format!("{}{right}", score_text(result.score))
        };
        let results: Vec<String> = row.results.iter().map(result).collect();
        text += &format!(" \"{}\": {}", row.query, results.join(", "));
        if let Some(rank) = missed(row) {
            text += &format!("; the right one has rank {}", grouped(&rank.to_string()));
        }
        text.push('.');
    }
    if let Some(more) = rows.len().checked_sub(MOST_DESCRIBED).filter(|&more| more > 0) {
        text += &format!(" And {more} more.");
    }
    one_paragraph(&text)
}
