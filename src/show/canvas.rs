//! The drawing surface of figures: shapes by tiny-skia, text in the embedded typeface, both also for plotters.

use std::convert::Infallible;

use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle, FontTransform,
};

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Stroke, StrokeDash,
    Transform,
};

use super::figure::failed;
use super::style::Ink;
use super::text::{TextStyle, Typeface};
use crate::data::images::resample;
use crate::{Error, Result};

/// Subpixel factor for plotters, whose integer coordinates would make curves wobble.
pub(super) const FINE: f32 = 8.0;

/// Largest side of a figure; beyond it browsers fail and memory grows to hundreds of megabytes.
const LARGEST_SIDE: f32 = 16_384.0;
const MOST_PIXELS: f32 = 50e6;

/// Horizontal alignment of text at its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// A white canvas. Positions are in pixels from the top left corner.
pub(super) struct Canvas {
    pixels: Pixmap,
    pub typeface: Typeface,
}

impl Canvas {
    pub fn new(width: f32, height: f32) -> Result<Self> {
        let (width, height) = (width.ceil().max(1.0), height.ceil().max(1.0));
        if width > LARGEST_SIDE || height > LARGEST_SIDE || width * height > MOST_PIXELS {
            return Err(Error::Figure {
                problem: format!("it would be {width}×{height} pixels"),
                help: format!(
                    "Show less at once: {LARGEST_SIDE} pixels is the largest side, {MOST_PIXELS} the most in all."
                ),
            });
        }
        let mut pixels = Pixmap::new(width as u32, height as u32).ok_or_else(|| failed("no pixels to draw on"))?;
        pixels.fill(Color::WHITE);
        Ok(Self { pixels, typeface: Typeface::new()? })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (f32, f32) {
        (self.pixels.width() as f32, self.pixels.height() as f32)
    }

    pub fn into_image(self) -> Result<RgbImage> {
        let (width, height) = (self.pixels.width(), self.pixels.height());
        // The canvas is opaque, so premultiplied colours are plain ones.
        let rgb = self.pixels.pixels().iter().flat_map(|p| [p.red(), p.green(), p.blue()]).collect();
        RgbImage::from_raw(width, height, rgb).ok_or_else(|| failed("the pixels do not fill the figure"))
    }

    pub fn rectangle(&mut self, left: f32, top: f32, width: f32, height: f32, ink: Ink) {
        if let Some(rect) = Rect::from_xywh(left, top, width, height) {
            self.pixels.fill_rect(rect, &paint(ink), Transform::identity(), None);
        }
    }

    /// Draws a polyline with round joins; `dash` gives the lengths of dash and gap, `None` a solid line.
    pub fn line(&mut self, points: &[(f32, f32)], width: f32, dash: Option<(f32, f32)>, ink: Ink) {
        self.stroke(path(points, false), LineJoin::Round, width, dash, ink);
    }

    /// Draws the outline of a rectangle, half of it on either side of the edges `[left, top, right, bottom]`.
    pub fn frame(&mut self, [left, top, right, bottom]: [f32; 4], width: f32, dash: Option<(f32, f32)>, ink: Ink) {
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
        self.stroke(path(&corners, true), LineJoin::Miter, width, dash, ink);
    }

    fn stroke(
        &mut self,
        path: Option<tiny_skia::Path>,
        line_join: LineJoin,
        width: f32,
        dash: Option<(f32, f32)>,
        ink: Ink,
    ) {
        let dash = dash.and_then(|(on, off)| StrokeDash::new(vec![on, off], 0.0));
        let stroke = Stroke { width, line_cap: LineCap::Butt, line_join, dash, ..Stroke::default() };
        if let Some(path) = path {
            self.pixels.stroke_path(&path, &paint(ink), &stroke, Transform::identity(), None);
        }
    }

    pub fn polygon(&mut self, points: &[(f32, f32)], ink: Ink) {
        if let Some(path) = path(points, true) {
            self.pixels.fill_path(&path, &paint(ink), FillRule::Winding, Transform::identity(), None);
        }
    }

    pub fn disc(&mut self, (x, y): (f32, f32), radius: f32, ink: Ink) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.pixels.fill_path(&path, &paint(ink), FillRule::Winding, Transform::identity(), None);
        }
    }

    /// Draws a line of text on the baseline `y`.
    pub fn text(&mut self, text: &str, (x, y): (f32, f32), align: Align, style: TextStyle, ink: Ink) {
        let x = self.start_of(text, x, align, style);
        let pixels = &mut self.pixels;
        self.typeface.draw(text, x, y, style, |px, py, coverage| blend(pixels, px, py, ink, coverage));
    }

    /// Draws a line of text upwards on the vertical baseline `x`.
    pub fn text_upwards(&mut self, text: &str, (x, y): (f32, f32), align: Align, style: TextStyle, ink: Ink) {
        let start = self.start_of(text, -y, align, style);
        let pixels = &mut self.pixels;
        self.typeface.draw(text, start, x, style, |px, py, coverage| blend(pixels, py, -px - 1, ink, coverage));
    }

    /// Draws an image scaled to `width`×`height` with its top left corner at a whole pixel.
    pub fn picture(&mut self, image: &RgbImage, left: u32, top: u32, width: u32, height: u32) -> Result<()> {
        let scaled = scaled(image, width.max(1), height.max(1))?;
        for (x, y, pixel) in scaled.enumerate_pixels() {
            blend(&mut self.pixels, (left + x) as i32, (top + y) as i32, Ink(pixel.0), 1.0);
        }
        Ok(())
    }

    fn start_of(&self, text: &str, x: f32, align: Align, style: TextStyle) -> f32 {
        match align {
            Align::Left => x,
            Align::Centre => x - self.typeface.width(text, style) / 2.0,
            Align::Right => x - self.typeface.width(text, style),
        }
    }
}

/// The size of an image that fills a square of this side, at its own aspect ratio.
pub(super) fn fitted(image: &RgbImage, side: f32) -> (u32, u32) {
    let (width, height) = (image.width() as f32, image.height() as f32);
    let scale = (side / width).min(side / height);
    let length = |length: f32| ((length * scale).round() as u32).max(1);
    (length(width), length(height))
}

fn paint(Ink([red, green, blue]): Ink) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

fn path(points: &[(f32, f32)], closed: bool) -> Option<tiny_skia::Path> {
    let ((x, y), rest) = points.split_first()?;
    let mut builder = PathBuilder::with_capacity(points.len() + 1, points.len() + 1);
    builder.move_to(*x, *y);
    rest.iter().for_each(|(x, y)| builder.line_to(*x, *y));
    if closed {
        builder.close();
    }
    builder.finish()
}

/// Blends ink into a pixel; ignores pixels outside the canvas.
fn blend(pixels: &mut Pixmap, x: i32, y: i32, Ink(ink): Ink, coverage: f32) {
    let (width, height) = (pixels.width(), pixels.height());
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if x >= width || y >= height {
        return;
    }
    if let Some(pixel) = pixels.pixels_mut().get_mut(y as usize * width as usize + x as usize) {
        let coverage = coverage.clamp(0.0, 1.0);
        let mix =
            |below: u8, above: u8| (f32::from(below) + (f32::from(above) - f32::from(below)) * coverage).round() as u8;
        let (red, green, blue) = (mix(pixel.red(), ink[0]), mix(pixel.green(), ink[1]), mix(pixel.blue(), ink[2]));
        if let Some(mixed) = PremultipliedColorU8::from_rgba(red, green, blue, 255) {
            *pixel = mixed;
        }
    }
}

/// Scales an image smoothly, except for tiny images whose pixels should be visible.
fn scaled(image: &RgbImage, width: u32, height: u32) -> Result<RgbImage> {
    if image.dimensions() == (width, height) {
        return Ok(image.clone());
    }
    let few_pixels = image.width().max(image.height()) <= 32;
    let algorithm = if few_pixels { ResizeAlg::Nearest } else { ResizeAlg::Convolution(FilterType::CatmullRom) };
    let options = ResizeOptions::new().resize_alg(algorithm);
    let mut target = RgbImage::new(width, height);
    resample(&mut Resizer::new(), image, &options, width, height, &mut target)?;
    Ok(target)
}

/// Plotters draws axes and meshes through this, in units of 1/[`FINE`] pixel.
impl DrawingBackend for &mut Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.pixels.width() * FINE as u32, self.pixels.height() * FINE as u32)
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(&mut self, point: (i32, i32), colour: BackendColor) -> Result<(), DrawingErrorKind<Infallible>> {
        let (x, y) = coarse(point);
        let (red, green, blue) = colour.rgb;
        let coverage = colour.alpha as f32 / (FINE * FINE);
        blend(&mut self.pixels, x as i32, y as i32, Ink([red, green, blue]), coverage);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: (i32, i32),
        to: (i32, i32),
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = (i32, i32)>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        if let Some(ink) = Ink::of(style.color()) {
            let points: Vec<(f32, f32)> = path.into_iter().map(coarse).collect();
            self.line(&points, style.stroke_width() as f32 / FINE, None, ink);
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: (i32, i32),
        to: (i32, i32),
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let corners = [from, (to.0, from.1), to, (from.0, to.1)];
        if fill { self.fill_polygon(corners, style) } else { self.draw_path(corners.into_iter().chain([from]), style) }
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        centre: (i32, i32),
        radius: u32,
        style: &S,
        _fill: bool,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        if let Some(ink) = Ink::of(style.color()) {
            self.disc(coarse(centre), radius as f32 / FINE, ink);
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = (i32, i32)>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        if let Some(ink) = Ink::of(style.color()) {
            let points: Vec<(f32, f32)> = corners.into_iter().map(coarse).collect();
            self.polygon(&points, ink);
        }
        Ok(())
    }

    fn draw_text<T: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &T,
        point: (i32, i32),
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let Some(ink) = Ink::of(style.color()) else { return Ok(()) };
        let look = look_of(style);
        let (x, y) = coarse(point);
        let align = match style.anchor().h_pos {
            HPos::Left => Align::Left,
            HPos::Center => Align::Centre,
            HPos::Right => Align::Right,
        };
        let below = match style.anchor().v_pos {
            VPos::Top => look.size * 0.93,
            VPos::Center => Typeface::cap_height(look) / 2.0,
            VPos::Bottom => -look.size * 0.24,
        };
        match style.transform() {
            FontTransform::Rotate270 => self.text_upwards(text, (x + below, y), align, look, ink),
            _ => self.text(text, (x, y + below), align, look, ink),
        }
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let look = look_of(style);
        Ok(((self.typeface.width(text, look) * FINE) as u32, (look.size * 1.17 * FINE) as u32))
    }
}

/// Converts a point of plotters to pixels.
pub(super) fn coarse((x, y): (i32, i32)) -> (f32, f32) {
    (x as f32 / FINE, y as f32 / FINE)
}

fn look_of<T: BackendTextStyle>(style: &T) -> TextStyle {
    TextStyle { size: style.size() as f32 / FINE, bold: matches!(style.style(), FontStyle::Bold) }
}
