//! Measuring, wrapping and rasterising text in the embedded typeface.

use ab_glyph::{Font, FontRef, Glyph, ScaleFont, point};

use super::figure::failed;
use crate::Result;

const NO_BREAK_SPACE: char = '\u{a0}';

/// Style of a text. `size` is the em in pixels, as in CSS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TextStyle {
    pub size: f32,
    pub bold: bool,
}

impl TextStyle {
    pub const fn regular(size: f32) -> Self {
        Self { size, bold: false }
    }

    pub const fn bold(size: f32) -> Self {
        Self { size, bold: true }
    }

    /// Distance of baselines.
    pub fn line_height(self) -> f32 {
        (self.size * 1.3).round()
    }
}

/// DejaVu Sans, regular and bold. Parsed for each figure, which takes microseconds; every notebook cell would have its own copy of a
/// static anyway.
pub(super) struct Typeface {
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

impl Typeface {
    pub fn new() -> Result<Self> {
        let read = |bytes| FontRef::try_from_slice(bytes).map_err(|_| failed("the embedded typeface cannot be read"));
        Ok(Self { regular: read(dejavu::sans::regular())?, bold: read(dejavu::sans::bold())? })
    }

    /// Width of a line of text in pixels.
    pub fn width(&self, text: &str, style: TextStyle) -> f32 {
        self.lay(text, style, |_, _| ())
    }

    /// Height of capital letters in pixels, for vertical centring.
    pub fn cap_height(style: TextStyle) -> f32 {
        style.size * 0.729
    }

    /// Rasterises a line of text from `x` on the baseline `y`; `put` receives pixels with their coverage, 0 to 1.
    pub fn draw(&self, text: &str, x: f32, y: f32, style: TextStyle, mut put: impl FnMut(i32, i32, f32)) {
        let font = self.font(style);
        self.lay(text, style, |mut glyph, advance| {
            // Subpixel positions along the line keep the spacing even; whole pixels across it keep letters crisp.
            glyph.position = point(x + advance, y.round());
            if let Some(outline) = font.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                outline
                    .draw(|px, py, coverage| put(corner.x as i32 + px as i32, corner.y as i32 + py as i32, coverage));
            }
        });
    }

    /// Breaks text into lines of at most `width`, at spaces where possible (not at no-break spaces), else inside words. After
    /// `max_lines` the text is truncated with "…".
    pub fn wrap(&self, text: &str, width: f32, max_lines: usize, style: TextStyle) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut line = String::new();
        let is_break = |character: char| character.is_whitespace() && character != NO_BREAK_SPACE;
        for word in text.split(is_break).filter(|word| !word.is_empty()) {
            for piece in self.pieces(word, width, style) {
                let longer = if line.is_empty() { piece.clone() } else { format!("{line} {piece}") };
                if line.is_empty() || self.width(&longer, style) <= width {
                    line = longer;
                } else {
                    lines.push(std::mem::replace(&mut line, piece));
                }
            }
            if lines.len() > max_lines {
                break;
            }
        }
        lines.push(line);
        if lines.len() > max_lines {
            lines.truncate(max_lines);
            if let Some(last) = lines.last_mut() {
                *last = self.ellipsised(last, width, style);
            }
        }
        lines
    }

    /// Truncates a line to `width` with "…".
    pub fn shorten(&self, text: &str, width: f32, style: TextStyle) -> String {
        self.wrap(text, width, 1, style).pop().unwrap_or_default()
    }

    /// Appends "…" in place of as many last characters as necessary.
    fn ellipsised(&self, line: &str, width: f32, style: TextStyle) -> String {
        let mut kept = line.trim_end_matches(|c: char| c.is_whitespace() || ".,;:".contains(c)).to_owned();
        while !kept.is_empty() && self.width(&format!("{kept}…"), style) > width {
            kept.pop();
        }
        format!("{}…", kept.trim_end())
    }

    /// Splits a word into pieces that fit into `width`; usually the word itself.
    fn pieces(&self, word: &str, width: f32, style: TextStyle) -> Vec<String> {
        let mut pieces = Vec::new();
        let (mut piece, mut piece_width) = (String::new(), 0.0);
        let font = self.scaled(style);
        for c in word.chars() {
            let advance = if is_invisible(c) { 0.0 } else { font.h_advance(font.glyph_id(c)) };
            if piece_width + advance > width && !piece.is_empty() {
                pieces.push(std::mem::take(&mut piece));
                piece_width = 0.0;
            }
            piece.push(c);
            piece_width += advance;
        }
        pieces.push(piece);
        pieces
    }

    /// Calls `place` with each glyph and its distance from the start; returns the width of the line.
    fn lay(&self, text: &str, style: TextStyle, mut place: impl FnMut(Glyph, f32)) -> f32 {
        let font = self.scaled(style);
        let mut along = 0.0;
        let mut previous = None;
        for c in text.chars().filter(|&c| !is_invisible(c)) {
            let id = font.glyph_id(if c.is_control() { ' ' } else { c });
            if let Some(previous) = previous {
                along += font.kern(previous, id);
            }
            place(id.with_scale(font.scale()), along);
            along += font.h_advance(id);
            previous = Some(id);
        }
        along
    }

    fn font(&self, style: TextStyle) -> &FontRef<'static> {
        if style.bold { &self.bold } else { &self.regular }
    }

    fn scaled(&self, style: TextStyle) -> ab_glyph::PxScaleFont<&FontRef<'static>> {
        let font = self.font(style);
        // ab_glyph measures in line heights (ascent to descent), not in ems.
        let lines_per_em = font.units_per_em().map_or(1.0, |units| font.height_unscaled() / units);
        font.as_scaled(style.size * lines_per_em)
    }
}

/// Invisible characters that join, split or vary their neighbours; the typeface would draw boxes.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: TextStyle = TextStyle::regular(22.0);

    #[test]
    fn lines_fit_and_keep_every_word() {
        let typeface = Typeface::new().unwrap();
        let text = "Two young guys with shaggy hair look at their hands while hanging out in the yard .";
        for width in [80.0, 150.0, 280.0, 900.0] {
            let lines = typeface.wrap(text, width, 100, STYLE);
            assert!(lines.iter().all(|line| typeface.width(line, STYLE) <= width), "{width}: {lines:?}");
            assert_eq!(lines.join(" ").split_whitespace().collect::<String>(), text.replace(' ', ""));
        }
    }

    #[test]
    fn a_no_break_space_stays_within_its_line() {
        let typeface = Typeface::new().unwrap();
        let text = "black 100\u{a0}%, a black 98\u{a0}%, dog 90\u{a0}%";
        for width in [100.0, 120.0, 150.0, 200.0] {
            let lines = typeface.wrap(text, width, 100, STYLE);
            assert!(lines.len() > 1 && lines.iter().all(|line| !line.starts_with('%')), "{width}: {lines:?}");
        }
    }

    #[test]
    fn what_does_not_fit_ends_in_an_ellipsis() {
        let typeface = Typeface::new().unwrap();
        let lines = typeface.wrap("a brown dog runs through the long green grass", 120.0, 2, STYLE);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].ends_with('…') && typeface.width(&lines[1], STYLE) <= 120.0, "{lines:?}");
    }

    #[test]
    fn a_word_wider_than_the_line_is_cut() {
        let typeface = Typeface::new().unwrap();
        let lines = typeface.wrap(&"x".repeat(1000), 200.0, 3, STYLE);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| typeface.width(line, STYLE) <= 200.0), "{lines:?}");
    }

    #[test]
    fn any_character_is_drawn_without_a_panic() {
        let typeface = Typeface::new().unwrap();
        for text in ["", " ", "日本語の字幕", "👩‍👩‍👧 family", "e\u{301}\u{327}", "\0\u{7}\t\n", "שלום مرحبا", "\u{10ffff}"]
        {
            let mut covered = 0;
            typeface.draw(text, 3.5, 20.0, STYLE, |_, _, coverage| covered += usize::from(coverage > 0.5));
            let has_shape = text.chars().any(|c| !c.is_whitespace() && !c.is_control());
            assert_eq!(covered > 0, has_shape, "{text:?}");
            assert_eq!(typeface.wrap(text, 1.0, 2, STYLE).len().min(2), typeface.wrap(text, 1.0, 2, STYLE).len());
        }
    }
}
