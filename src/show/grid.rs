//! Grids of captioned images.

use std::borrow::Cow;

use image::RgbImage;

use super::canvas::{Align, Canvas, fitted};
use super::figure::{Figure, headed, one_paragraph};
use super::style::{Ink, MARGIN, TITLE};
use super::text::{TextStyle, Typeface};
use crate::{Error, Result};

/// Gap between columns and between rows.
pub(super) const GAP: f32 = 28.0;

/// Number of images that the text alternative describes individually.
pub(super) const MOST_DESCRIBED: usize = 24;

/// An image with captions.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionedImage {
    /// The image, of any size and aspect ratio.
    pub image: RgbImage,
    /// Captions below the image, each on its own line. Empty ones are skipped.
    pub captions: Vec<String>,
    /// Title above the image, in bold.
    pub title: Option<String>,
}

impl CaptionedImage {
    /// An image with captions and without a title.
    pub fn new<S: Into<String>>(image: RgbImage, captions: impl IntoIterator<Item = S>) -> Self {
        Self { image, captions: captions.into_iter().map(Into::into).collect(), title: None }
    }

    /// Adds a title.
    pub fn with_title(self, title: impl Into<String>) -> Self {
        Self { title: Some(title.into()), ..self }
    }
}

/// Layout of a grid of captioned images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridConfig {
    /// Number of columns, in `1..=12`. Fewer images make a narrower figure. Default: 4.
    pub columns: usize,
    /// Width of an image in pixels, in `64..=1024`, with which the text scales. Default: 280.
    pub image_width: u32,
    /// Lines after which a caption is truncated with "…", in `1..=100`. Default: 5.
    pub caption_lines: usize,
    /// Title of the grid. Default: none.
    pub title: Option<String>,
}

impl Default for GridConfig {
    fn default() -> Self {
        Self { columns: 4, image_width: 280, caption_lines: 5, title: None }
    }
}

impl GridConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting outside its range.
    pub fn validate(&self) -> Result<()> {
        if !(1..=12).contains(&self.columns) {
            return Err(Error::config("grid.columns", self.columns, "must be from 1 to 12"));
        }
        if !(64..=1024).contains(&self.image_width) {
            return Err(Error::config("grid.image_width", self.image_width, "must be from 64 to 1024 pixels"));
        }
        if !(1..=100).contains(&self.caption_lines) {
            return Err(Error::config("grid.caption_lines", self.caption_lines, "must be from 1 to 100"));
        }
        Ok(())
    }
}

/// Draws images side by side, with their captions below.
///
/// Images keep their aspect ratio; portrait images are fitted into a square. Long captions are wrapped, and truncated with "…" after
/// [`GridConfig::caption_lines`].
///
/// # Errors
/// [`Error::Argument`] without images, or if one has no pixels; [`Error::Config`] for a setting outside its range;
/// [`Error::Figure`] if there are too many images for a figure.
pub fn captioned_grid(images: &[CaptionedImage], config: &GridConfig) -> Result<Figure> {
    let typeface = Typeface::new()?;
    let look = TextStyle::regular((config.image_width as f32 * 0.08).clamp(14.0, 26.0).round());
    let cells: Vec<Cell<'_, Captions>> = images
        .iter()
        .map(|item| Cell {
            image: &item.image,
            title: item.title.as_deref(),
            below: Captions::new(&item.captions, look, config, &typeface),
        })
        .collect();
    let drawn = draw_grid(&cells, look, config, &typeface)?;
    Figure::from_image(&drawn, alternative(images, config))
}

/// What stands below an image of a grid, and on it.
pub(super) trait Below {
    /// Height in pixels below the image.
    fn height(&self) -> f32;

    /// Draws what is below the image from its top left corner.
    fn draw(&self, canvas: &mut Canvas, left: f32, top: f32);

    /// The image with what stands on it, at its size in a column of that width.
    fn picture<'a>(&self, image: &'a RgbImage, _width: u32) -> Result<Cow<'a, RgbImage>> {
        Ok(Cow::Borrowed(image))
    }
}

/// An image of a grid.
pub(super) struct Cell<'a, B> {
    pub image: &'a RgbImage,
    /// Title above the image, in bold.
    pub title: Option<&'a str>,
    pub below: B,
}

/// Draws images side by side, with what stands below each; their titles are in the bold of `look`.
///
/// # Errors
/// As [`captioned_grid`].
pub(super) fn draw_grid<B: Below>(
    cells: &[Cell<'_, B>],
    look: TextStyle,
    config: &GridConfig,
    typeface: &Typeface,
) -> Result<RgbImage> {
    config.validate()?;
    if cells.is_empty() {
        return Err(Error::argument("a grid of no pictures", "Give at least one picture."));
    }
    if let Some(index) = cells.iter().position(|cell| cell.image.width() == 0 || cell.image.height() == 0) {
        return Err(Error::argument(
            format!("picture {} of the grid has no pixels", index + 1),
            "Leave it out, or check how it was read.",
        ));
    }
    let columns = config.columns.min(cells.len());
    let column_width = config.image_width as f32;
    let width = 2.0 * MARGIN + columns as f32 * (column_width + GAP) - GAP;
    let title =
        config.title.as_deref().map_or_else(Vec::new, |title| typeface.wrap(title, width - 2.0 * MARGIN, 2, TITLE));
    let cells: Vec<Placed<'_, B>> = cells.iter().map(|cell| Placed::new(cell, look, column_width, typeface)).collect();
    let rows: Vec<Row<'_, B>> = cells.chunks(columns).map(Row::new).collect();
    let title_height = if title.is_empty() { 0.0 } else { title.len() as f32 * TITLE.line_height() + 14.0 };
    let height = 2.0 * MARGIN + title_height + rows.iter().map(|row| row.height() + GAP).sum::<f32>() - GAP;

    let mut canvas = Canvas::new(width, height)?;
    let mut top = MARGIN;
    for (line, text) in title.iter().enumerate() {
        let baseline = top + line as f32 * TITLE.line_height() + TITLE.size * 0.9;
        canvas.text(text, (MARGIN, baseline), Align::Left, TITLE, Ink::TEXT);
    }
    top += title_height;
    for row in &rows {
        for (column, cell) in row.cells.iter().enumerate() {
            cell.draw(&mut canvas, MARGIN + column as f32 * (column_width + GAP), top, row)?;
        }
        top += row.height() + GAP;
    }
    canvas.into_image()
}

/// Captions below an image, wrapped; more than one are a list.
struct Captions {
    look: TextStyle,
    captions: Vec<Vec<String>>,
}

impl Captions {
    fn new(captions: &[String], look: TextStyle, config: &GridConfig, typeface: &Typeface) -> Self {
        let captions: Vec<&String> = captions.iter().filter(|caption| !caption.trim().is_empty()).collect();
        let indent = if captions.len() > 1 { bullet_indent(look) } else { 0.0 };
        let room = config.image_width as f32 - indent;
        let wrap = |caption: &&String| typeface.wrap(caption, room, config.caption_lines, look);
        Self { look, captions: captions.iter().map(wrap).collect() }
    }
}

impl Below for Captions {
    fn height(&self) -> f32 {
        let lines: usize = self.captions.iter().map(Vec::len).sum();
        let between = self.captions.len().saturating_sub(1) as f32 * caption_gap(self.look);
        if lines == 0 { 0.0 } else { 6.0 + lines as f32 * self.look.line_height() + between }
    }

    fn draw(&self, canvas: &mut Canvas, left: f32, top: f32) {
        let look = self.look;
        let indent = if self.captions.len() > 1 { bullet_indent(look) } else { 0.0 };
        let mut y = top + 6.0 + look.size;
        for caption in &self.captions {
            if indent > 0.0 {
                canvas.disc((left + look.size * 0.2, y - look.size * 0.3), look.size * 0.13, Ink::QUIET_TEXT);
            }
            for line in caption {
                canvas.text(line, (left + indent, y), Align::Left, look, Ink::TEXT);
                y += look.line_height();
            }
            y += caption_gap(look);
        }
    }
}

/// An image of the grid at its size, with wrapped title.
struct Placed<'a, B> {
    cell: &'a Cell<'a, B>,
    /// Column width, and largest height of the image.
    side: f32,
    /// Size of the image in the figure.
    width: u32,
    height: u32,
    look: TextStyle,
    title: Vec<String>,
}

impl<'a, B: Below> Placed<'a, B> {
    fn new(cell: &'a Cell<'a, B>, look: TextStyle, side: f32, typeface: &Typeface) -> Self {
        let (width, height) = fitted(cell.image, side);
        let bold = TextStyle { bold: true, ..look };
        let title = cell.title.filter(|title| !title.trim().is_empty());
        let title = title.map_or_else(Vec::new, |title| typeface.wrap(title, side, 2, bold));
        Self { cell, side, width, height, look, title }
    }

    fn title_height(&self) -> f32 {
        if self.title.is_empty() { 0.0 } else { self.title.len() as f32 * self.look.line_height() + 6.0 }
    }

    fn draw(&self, canvas: &mut Canvas, left: f32, top: f32, row: &Row<'_, B>) -> Result<()> {
        let (look, line_height) = (self.look, self.look.line_height());
        let bold = TextStyle { bold: true, ..look };
        // Titles are right above their images, even beside one of two lines.
        let mut y = top + row.title - self.title_height() + look.size * 0.95;
        for line in &self.title {
            canvas.text(line, (left, y), Align::Left, bold, Ink::TEXT);
            y += line_height;
        }
        let picture_top = top + row.title;
        if self.width < self.side as u32 || self.height < row.picture as u32 {
            canvas.rectangle(left, picture_top, self.side, row.picture, Ink::PANEL);
        }
        let x = left + (self.side - self.width as f32) / 2.0;
        let y = picture_top + (row.picture - self.height as f32) / 2.0;
        let picture = self.cell.below.picture(self.cell.image, self.side as u32)?;
        canvas.picture(&picture, x as u32, y as u32, self.width, self.height)?;
        self.cell.below.draw(canvas, left, picture_top + row.picture);
        Ok(())
    }
}

/// A row of images with its common heights.
struct Row<'a, B> {
    cells: &'a [Placed<'a, B>],
    title: f32,
    picture: f32,
    below: f32,
}

impl<'a, B: Below> Row<'a, B> {
    fn new(cells: &'a [Placed<'a, B>]) -> Self {
        let highest =
            |height: fn(&Placed<'_, B>) -> f32| cells.iter().map(|cell| height(cell)).fold(0.0, f32::max).ceil();
        Self {
            cells,
            title: highest(|cell| cell.title_height()),
            picture: highest(|cell| cell.height as f32),
            below: highest(|cell| cell.cell.below.height()),
        }
    }

    fn height(&self) -> f32 {
        self.title + self.picture + self.below
    }
}

fn bullet_indent(look: TextStyle) -> f32 {
    (look.size * 0.65).round()
}

fn caption_gap(look: TextStyle) -> f32 {
    (look.size * 0.25).round()
}

/// The text alternative.
fn alternative(images: &[CaptionedImage], config: &GridConfig) -> String {
    let title = config.title.as_deref().unwrap_or_default();
    let mut text = match images {
        [_] if title.trim().is_empty() => "A picture".to_owned(),
        [_] => headed("A picture", title),
        _ => headed(&format!("Grid of {} pictures", images.len()), title),
    };
    for (index, item) in images.iter().take(MOST_DESCRIBED).enumerate() {
        if images.len() > 1 {
            text += &format!(" Picture {}", index + 1);
        }
        if let Some(title) = &item.title {
            text += &format!(" ({title})");
        }
        let captions: Vec<String> = item.captions.iter().map(|caption| cut(caption.trim(), 200)).collect();
        let said: Vec<&str> = captions.iter().map(String::as_str).filter(|caption| !caption.is_empty()).collect();
        text += &if said.is_empty() { ": no caption.".to_owned() } else { format!(": \"{}\"", said.join("\", \"")) };
    }
    if let Some(more) = images.len().checked_sub(MOST_DESCRIBED).filter(|&more| more > 0) {
        text += &format!(" And {more} more.");
    }
    one_paragraph(&text)
}

/// Truncates a text to `most` characters.
fn cut(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let kept: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() { kept + "…" } else { kept }
}
