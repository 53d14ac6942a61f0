//! The common style: readable from the back row, and without colour vision.

use plotters::style::RGBColor;
use plotters_backend::BackendColor;

use super::canvas::Canvas;
use super::text::TextStyle;

/// An opaque colour: red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ink(pub [u8; 3]);

impl Ink {
    pub const WHITE: Self = Self([255, 255, 255]);
    pub const TEXT: Self = Self([34, 34, 34]);
    pub const QUIET_TEXT: Self = Self([85, 85, 85]);
    pub const AXIS: Self = Self([85, 85, 85]);
    pub const GRID: Self = Self([221, 221, 221]);
    pub const FAINT_GRID: Self = Self([240, 240, 240]);
    pub const HIGHLIGHT: Self = Self([214, 234, 248]);
    pub const PANEL: Self = Self([244, 244, 244]);

    /// Converts plotters' colour; `None` where it is transparent.
    pub fn of(colour: BackendColor) -> Option<Self> {
        let (red, green, blue) = colour.rgb;
        (colour.alpha > 0.0).then_some(Self([red, green, blue]))
    }

    /// White for dark colours, black for light ones: what is readable on this one.
    pub fn readable(self) -> Self {
        let Self([red, green, blue]) = self;
        let brightness = 0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue);
        if brightness > 120.0 { Self([0, 0, 0]) } else { Self::WHITE }
    }

    pub fn rgb(self) -> RGBColor {
        let Self([red, green, blue]) = self;
        RGBColor(red, green, blue)
    }
}

pub(super) const TITLE: TextStyle = TextStyle::bold(30.0);
pub(super) const LABEL: TextStyle = TextStyle::regular(25.0);
pub(super) const TICK: TextStyle = TextStyle::regular(22.0);
pub(super) const NOTE: TextStyle = TextStyle::regular(20.0);

/// Margin around a figure's content.
pub(super) const MARGIN: f32 = 24.0;

/// The palette of Okabe and Ito (2008), distinguishable for every colour vision, without black, and without yellow, which is too pale
/// on white.
const PALETTE: [Ink; 6] = [
    Ink([0, 114, 178]),
    Ink([213, 94, 0]),
    Ink([0, 158, 115]),
    Ink([204, 121, 167]),
    Ink([230, 159, 0]),
    Ink([86, 180, 233]),
];

/// Lengths of dash and gap in line widths; `None` for a solid line.
const DASHES: [Option<(f32, f32)>; 4] = [None, Some((3.0, 1.6)), Some((1.1, 1.1)), Some((5.4, 1.4))];

/// Colour, dash pattern and marker of a line or group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    number: usize,
}

impl Mark {
    pub fn new(number: usize) -> Self {
        Self { number }
    }

    pub fn ink(self) -> Ink {
        PALETTE[self.number % PALETTE.len()]
    }

    /// Lengths of dash and gap for a line of this width; `None` for a solid line.
    pub fn dash(self, width: f32) -> Option<(f32, f32)> {
        // Each round through the palette shifts the dashes, so that line 7 differs from line 1.
        let index = self.number + self.number / PALETTE.len();
        DASHES[index % DASHES.len()].map(|(on, off)| (on * width, off * width))
    }

    /// Draws the marker of a point: disc, square, triangle, diamond, inverted triangle.
    pub fn draw(self, canvas: &mut Canvas, (x, y): (f32, f32), radius: f32) {
        let corners: &[(f32, f32)] = match self.number % 5 {
            0 => return canvas.disc((x, y), radius, self.ink()),
            1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            2 => &[(0.0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
            3 => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
            _ => &[(0.0, 1.2), (1.15, -0.85), (-1.15, -0.85)],
        };
        let at = |(dx, dy): &(f32, f32)| (x + dx * radius, y + dy * radius);
        canvas.polygon(&corners.iter().map(at).collect::<Vec<_>>(), self.ink());
    }
}
