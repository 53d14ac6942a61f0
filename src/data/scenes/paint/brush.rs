//! Shapes, tints and strokes. Curves are quadratic and angles come from a table, so that no platform's sine or cosine
//! takes part and every machine draws the same bytes.

use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LineJoin, LinearGradient, Paint, Path, PathBuilder, Pixmap, Point,
    RadialGradient, Rect, Shader, SpreadMode, Stroke, Transform,
};

use crate::data::scenes::layout::{Place, SIDE};

/// An opaque colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tint(pub u8, pub u8, pub u8);

pub(super) const WHITE: Tint = Tint(255, 255, 255);
/// The warm dark of outlines.
const INK: Tint = Tint(58, 36, 48);

impl Tint {
    /// `share` of the way to another tint.
    pub fn mix(self, other: Self, share: f32) -> Self {
        let mix = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * share + 0.5) as u8;
        Self(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }

    pub fn lighter(self, share: f32) -> Self {
        self.mix(Self(255, 250, 236), share)
    }

    pub fn darker(self, share: f32) -> Self {
        self.mix(Self(40, 24, 56), share)
    }

    /// The tint of the outline around it.
    pub fn ink(self) -> Self {
        self.mix(INK, 0.66)
    }

    fn color(self, alpha: u8) -> Color {
        Color::from_rgba8(self.0, self.1, self.2, alpha)
    }
}

/// Cosine and sine of a multiple of 15°.
pub(super) fn direction(step: i32) -> (f32, f32) {
    const QUARTER: [f32; 7] = [1.0, 0.965_925_8, 0.866_025_4, 0.707_106_77, 0.5, 0.258_819_04, 0.0];
    let cosine = |step: i32| {
        let step = step.rem_euclid(24) as usize;
        match step {
            0..=6 => QUARTER[step],
            7..=12 => -QUARTER[12 - step],
            13..=18 => -QUARTER[step - 12],
            _ => QUARTER[24 - step],
        }
    };
    (cosine(step), cosine(step - 6))
}

/// An outline to fill or to stroke; nothing where its points enclose nothing.
#[derive(Clone)]
pub(super) struct Shape(Option<Path>);

impl Shape {
    pub fn oval(x: f32, y: f32, half_width: f32, half_height: f32) -> Self {
        let bounds = Rect::from_ltrb(x - half_width, y - half_height, x + half_width, y + half_height);
        Self(bounds.and_then(PathBuilder::from_oval))
    }

    pub fn circle(x: f32, y: f32, radius: f32) -> Self {
        Self::oval(x, y, radius, radius)
    }

    /// An oval turned clockwise by a multiple of 15°.
    pub fn turned_oval(x: f32, y: f32, half_width: f32, half_height: f32, step: i32) -> Self {
        let (cosine, sine) = direction(step);
        let turn = Transform::from_row(cosine, sine, -sine, cosine, x, y);
        Self(Self::oval(0.0, 0.0, half_width, half_height).0.and_then(|path| path.transform(turn)))
    }

    pub fn rect(left: f32, top: f32, right: f32, bottom: f32) -> Self {
        Self(Rect::from_ltrb(left, top, right, bottom).map(PathBuilder::from_rect))
    }

    pub fn polygon(points: &[(f32, f32)]) -> Self {
        let mut path = PathBuilder::new();
        for (index, &(x, y)) in points.iter().enumerate() {
            if index == 0 {
                path.move_to(x, y);
            } else {
                path.line_to(x, y);
            }
        }
        path.close();
        Self(path.finish())
    }

    /// A polygon with rounded corners.
    pub fn soft(points: &[(f32, f32)], radius: f32) -> Self {
        let mut path = PathBuilder::new();
        let count = points.len();
        for index in 0..count {
            let (before, corner, after) =
                (points[(index + count - 1) % count], points[index], points[(index + 1) % count]);
            let towards = |end: (f32, f32)| {
                let (dx, dy) = (end.0 - corner.0, end.1 - corner.1);
                let length = (dx * dx + dy * dy).sqrt().max(0.001);
                let share = (radius / length).min(0.5);
                (corner.0 + dx * share, corner.1 + dy * share)
            };
            let (start, end) = (towards(before), towards(after));
            if index == 0 {
                path.move_to(start.0, start.1);
            } else {
                path.line_to(start.0, start.1);
            }
            path.quad_to(corner.0, corner.1, end.0, end.1);
        }
        path.close();
        Self(path.finish())
    }

    /// A closed smooth shape that the points pull towards themselves.
    pub fn blob(points: &[(f32, f32)]) -> Self {
        Self::soft(points, f32::MAX)
    }

    /// An open smooth curve from the first point to the last; those between pull it.
    pub fn curve(points: &[(f32, f32)]) -> Self {
        Self(curve_through(points).finish())
    }

    /// All that is between a smooth curve and a height below it.
    pub fn ground(points: &[(f32, f32)], bottom: f32) -> Self {
        let mut path = curve_through(points);
        if let [first, .., last] = points {
            path.line_to(last.0, bottom);
            path.line_to(first.0, bottom);
            path.close();
        }
        Self(path.finish())
    }
}

fn curve_through(points: &[(f32, f32)]) -> PathBuilder {
    let mut path = PathBuilder::new();
    let [first, between @ .., last] = points else { return path };
    path.move_to(first.0, first.1);
    for (index, control) in between.iter().enumerate() {
        let end = between.get(index + 1).map_or(*last, |next| ((control.0 + next.0) / 2.0, (control.1 + next.1) / 2.0));
        path.quad_to(control.0, control.1, end.0, end.1);
    }
    if between.is_empty() {
        path.line_to(last.0, last.1);
    }
    path
}

/// What is drawn on. Units are pixels of the 128×128 picture, times the scale of the thing that is being drawn.
pub(super) struct Canvas {
    pixmap: Pixmap,
    pixels_per_unit: f32,
    transform: Transform,
    scale: f32,
    /// Only the outer shape matters: no gradients.
    plain: bool,
}

impl Canvas {
    /// A transparent canvas of `side`×`side` pixels, where `side` is not 0.
    pub fn new(side: u32, plain: bool) -> Self {
        let pixmap = Pixmap::new(side, side).expect("the side is between 16 and 4096");
        let pixels_per_unit = side as f32 / SIDE;
        let mut canvas = Self { pixmap, pixels_per_unit, transform: Transform::identity(), scale: 1.0, plain };
        canvas.whole();
        canvas
    }

    pub fn clear(&mut self) {
        self.pixmap.fill(Color::TRANSPARENT);
    }

    pub fn pixmap(&self) -> &Pixmap {
        &self.pixmap
    }

    /// Coordinates of the whole picture.
    pub fn whole(&mut self) {
        self.transform = Transform::from_scale(self.pixels_per_unit, self.pixels_per_unit);
        self.scale = 1.0;
    }

    /// Coordinates of a thing: from its foot, forward is to the right, up is negative.
    pub fn stand_at(&mut self, place: &Place) {
        let zoom = self.pixels_per_unit;
        let forward = if place.faces_right { place.scale } else { -place.scale };
        self.transform =
            Transform::from_row(forward * zoom, 0.0, 0.0, place.scale * zoom, place.x * zoom, place.base * zoom);
        self.scale = place.scale;
    }

    fn fill_with(&mut self, shape: &Shape, shader: Shader<'_>) {
        if let Some(path) = &shape.0 {
            let paint = Paint { shader, ..Paint::default() };
            self.pixmap.fill_path(path, &paint, FillRule::Winding, self.transform, None);
        }
    }

    pub fn fill(&mut self, shape: &Shape, tint: Tint) {
        self.fill_with(shape, Shader::SolidColor(tint.color(255)));
    }

    /// A fill that lets through what is below; `alpha` 0 is invisible, 255 opaque.
    pub fn wash(&mut self, shape: &Shape, tint: Tint, alpha: u8) {
        self.fill_with(shape, Shader::SolidColor(tint.color(alpha)));
    }

    /// A fill from one tint at the top of the shape to another at its bottom.
    pub fn shade(&mut self, shape: &Shape, top: Tint, bottom: Tint) {
        let Some(path) = &shape.0 else { return };
        let bounds = path.bounds();
        if self.plain {
            self.fill(shape, top);
            return;
        }
        let stops = vec![GradientStop::new(0.0, top.color(255)), GradientStop::new(1.0, bottom.color(255))];
        let gradient = LinearGradient::new(
            Point::from_xy(0.0, bounds.top()),
            Point::from_xy(0.0, bounds.bottom()),
            stops,
            SpreadMode::Pad,
            Transform::identity(),
        );
        match gradient {
            Some(gradient) => self.fill_with(shape, gradient),
            None => self.fill(shape, top),
        }
    }

    /// A round glow that fades to nothing at the radius.
    pub fn glow(&mut self, x: f32, y: f32, radius: f32, tint: Tint, alpha: u8) {
        let stops = vec![GradientStop::new(0.0, tint.color(alpha)), GradientStop::new(1.0, tint.color(0))];
        let centre = Point::from_xy(x, y);
        let gradient = RadialGradient::new(centre, 0.0, centre, radius, stops, SpreadMode::Pad, Transform::identity());
        if let Some(gradient) = gradient {
            self.fill_with(&Shape::circle(x, y, radius), gradient);
        }
    }

    /// A stroke of a width in units of the thing.
    pub fn line(&mut self, shape: &Shape, tint: Tint, width: f32) {
        self.faint_line(shape, tint, width, 255);
    }

    pub fn faint_line(&mut self, shape: &Shape, tint: Tint, width: f32, alpha: u8) {
        if let Some(path) = &shape.0 {
            let paint = Paint { shader: Shader::SolidColor(tint.color(alpha)), ..Paint::default() };
            let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
            self.pixmap.stroke_path(path, &paint, &stroke, self.transform, None);
        }
    }

    /// How thick outlines are, in units of the thing: the same on paper for near and far.
    pub fn pen(&self) -> f32 {
        1.05 / self.scale
    }

    /// A shape with soft light from above and an outline.
    pub fn solid(&mut self, shape: &Shape, tint: Tint) {
        self.shade(shape, tint.lighter(0.16), tint.darker(0.1));
        let pen = self.pen();
        self.line(shape, tint.ink(), pen);
    }

    /// A shape with an outline, without shading.
    pub fn flat(&mut self, shape: &Shape, tint: Tint) {
        self.fill(shape, tint);
        let pen = self.pen();
        self.line(shape, tint.ink(), pen);
    }

    /// A round thick line with an outline: arms, legs, tails.
    pub fn limb(&mut self, points: &[(f32, f32)], tint: Tint, width: f32) {
        let curve = Shape::curve(points);
        let pen = self.pen();
        self.line(&curve, tint.ink(), width + 1.7 * pen);
        self.line(&curve, tint, width);
    }
}
