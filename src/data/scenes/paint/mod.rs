//! Draws scenes, like a picture book.

mod animals;
mod backdrops;
mod brush;
mod objects;
mod people;

use super::layout::{self, Stage};
use super::world::{Action, Backdrop, Colour, Kind};
use super::{Bond, Thing};
use crate::data::{BoundingBox, Random};
use brush::{Canvas, Shape, Tint, WHITE};

/// Draws a picture of `side`×`side` pixels, where `side` is between 16 and 4096.
pub(super) fn draw(stage: &Stage, things: &[Thing], bonds: &[Bond], side: u32) -> image::RgbImage {
    let mut canvas = Canvas::new(side, false);
    backdrops::backdrop(&mut canvas, stage);
    for index in layout::order(things, bonds) {
        let thing = &things[index];
        canvas.whole();
        beneath(&mut canvas, thing, stage);
        draw_thing(&mut canvas, thing, stage.backdrop);
        canvas.whole();
        around(&mut canvas, thing, stage);
    }
    backdrops::curtain(&mut canvas, stage);
    on_paper(&canvas, side)
}

/// The pixels, with the faint grain of paper.
fn on_paper(canvas: &Canvas, side: u32) -> image::RgbImage {
    let mut image = image::RgbImage::new(side, side);
    for (index, (pixel, drawn)) in image.pixels_mut().zip(canvas.pixmap().pixels()).enumerate() {
        let mut hash = (index as u32).wrapping_mul(0x9E37_79B1);
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x85EB_CA77);
        let grain = ((hash >> 16) % 7) as i16 - 3;
        let grained = |channel: u8| (i16::from(channel) + grain).clamp(0, 255) as u8;
        *pixel = image::Rgb([grained(drawn.red()), grained(drawn.green()), grained(drawn.blue())]);
    }
    image
}

/// The eight colours and more of the paint box, far enough apart to be told on a projector.
fn tint(colour: Colour) -> Tint {
    match colour {
        Colour::Red => Tint(222, 58, 50),
        Colour::Orange => Tint(245, 142, 38),
        Colour::Yellow => Tint(252, 212, 60),
        Colour::Green => Tint(78, 164, 78),
        Colour::Blue => Tint(50, 112, 206),
        Colour::Purple => Tint(132, 80, 178),
        Colour::Pink => Tint(247, 146, 186),
        Colour::Brown => Tint(148, 96, 58),
        Colour::Black => Tint(62, 58, 68),
        Colour::White => Tint(250, 247, 240),
    }
}

/// The thing itself, whose outline its box is taken from.
fn draw_thing(canvas: &mut Canvas, thing: &Thing, backdrop: Backdrop) {
    canvas.stand_at(&thing.place);
    match thing.kind {
        Kind::Man | Kind::Woman | Kind::Boy | Kind::Girl => people::person(canvas, thing, backdrop),
        Kind::Dog => animals::dog(canvas, thing),
        Kind::Cat => animals::cat(canvas, thing),
        Kind::Horse => animals::horse(canvas, thing),
        Kind::Bird => animals::bird(canvas, thing),
        Kind::Boat => objects::boat(canvas, thing),
        Kind::House => objects::house(canvas, thing, backdrop),
        Kind::Tree => objects::tree(canvas, thing, backdrop),
        Kind::Car => objects::car(canvas, thing),
        Kind::Kite => objects::kite(canvas, thing),
        Kind::Ball => objects::ball(canvas, thing),
        Kind::Umbrella => objects::umbrella(canvas, thing),
        Kind::Balloon => objects::balloon(canvas, thing),
        Kind::Flower => objects::flower(canvas, thing, backdrop),
        Kind::Chair => objects::chair(canvas, thing),
    }
}

/// Shadows and strings, which lie behind a thing and are no part of it.
fn beneath(canvas: &mut Canvas, thing: &Thing, stage: &Stage) {
    let place = &thing.place;
    let (x, base, scale) = (place.x, place.base, place.scale);
    let forward = if place.faces_right { 1.0 } else { -1.0 };
    let pale = if stage.backdrop == Backdrop::Night { Tint(220, 220, 236) } else { Tint(96, 84, 96) };
    match thing.kind {
        Kind::Balloon => {
            let string = match place.string_to {
                Some(hand) => vec![(x, base), ((x + hand.0) / 2.0 + forward * 2.0, (base + hand.1) / 2.0 + 3.0), hand],
                None => vec![(x, base), (x + 2.6, base + 5.0), (x - 2.4, base + 9.0), (x + 0.6, base + 14.0)],
            };
            canvas.line(&Shape::curve(&string), pale, 0.8);
        }
        Kind::Kite => {
            let tail_from = (x, base - 3.0 * scale);
            if let Some(hand) = place.string_to {
                let middle = (x, base - 22.0 * scale);
                let slack = ((middle.0 + hand.0) / 2.0 - forward * 1.0, (middle.1 + hand.1) / 2.0 + 6.0);
                canvas.line(&Shape::curve(&[middle, slack, hand]), pale, 0.7);
            }
            let side = -forward;
            let tail = [
                tail_from,
                (x + side * 5.0 * scale, base + 3.0 * scale),
                (x + side * 3.0 * scale, base + 9.0 * scale),
                (x + side * 9.0 * scale, base + 14.0 * scale),
            ];
            canvas.line(&Shape::curve(&tail), pale, 0.8);
            let bow = tint(thing.colour);
            for &(bow_x, bow_y) in &[
                (x + side * 3.4 * scale, base + 2.4 * scale),
                (x + side * 4.2 * scale, base + 7.6 * scale),
                (x + side * 7.4 * scale, base + 12.4 * scale),
            ] {
                for half in [-1.0, 1.0] {
                    let wing = [(bow_x, bow_y), (bow_x + half * 2.6, bow_y - 1.6), (bow_x + half * 2.6, bow_y + 1.6)];
                    canvas.fill(&Shape::polygon(&wing), bow);
                }
            }
        }
        Kind::Boat => {
            canvas.wash(&Shape::oval(x, base + 1.6, 22.0 * scale, 3.4 * scale), Tint(24, 74, 120), 90);
        }
        _ if thing.is_aloft() || thing.action == Action::Held => {}
        _ => {
            let (width, _) = layout::extent(thing.kind, thing.action);
            let spread = match (thing.kind, thing.action) {
                (Kind::Tree | Kind::Umbrella, _) => 0.34,
                (_, Action::Jump) => 0.3,
                (Kind::House | Kind::Car, _) => 0.5,
                _ => 0.44,
            };
            let half = width * scale * spread;
            let dark = backdrops::shadow(stage.backdrop);
            canvas.wash(&Shape::oval(x + 1.6, base - 0.2, half * 1.06, half * 0.2 + 0.8), dark, 58);
            canvas.wash(&Shape::oval(x + 0.8, base - 0.4, half * 0.86, half * 0.14 + 0.6), dark, 70);
        }
    }
}

/// Smoke, dust, dreams and ripples, which lie before a thing and are no part of it.
fn around(canvas: &mut Canvas, thing: &Thing, stage: &Stage) {
    let place = &thing.place;
    let (x, base, scale) = (place.x, place.base, place.scale);
    let forward = if place.faces_right { 1.0 } else { -1.0 };
    match (thing.kind, thing.action) {
        (Kind::Boat, _) => {
            for (from, to, y) in [(-25.0, -8.0, 0.4), (-4.0, 20.0, 1.2), (-16.0, 4.0, 3.4), (10.0, 25.0, 3.0)] {
                let middle = (x + forward * scale * (from + to) / 2.0, base + y - 1.4);
                let ripple = [(x + forward * scale * from, base + y), middle, (x + forward * scale * to, base + y)];
                canvas.faint_line(&Shape::curve(&ripple), WHITE, 1.1, 210);
            }
        }
        (Kind::House, _) => {
            // The same draws as the house makes to place its chimney.
            let mut random = Random::new(place.details);
            random.next_u64();
            random.next_u64();
            let chimney = *random.choose(&[-14.0, 13.0]);
            if !place.details.is_multiple_of(3) {
                let (from_x, from_y) = (x + forward * chimney * scale, base - 61.0 * scale);
                for puff in 0..4 {
                    let share = puff as f32;
                    let (dx, dy, radius) = (share * 2.2 + share * share * 0.5, -share * 3.8, 1.7 + share * 0.75);
                    canvas.wash(
                        &Shape::circle(from_x + dx, from_y + dy, radius * scale),
                        Tint(250, 248, 246),
                        200 - 36 * puff,
                    );
                }
            }
        }
        (Kind::Car, Action::Drive) => {
            for (dy, length, gap) in [(-6.0, 6.0, 31.0), (-12.0, 9.0, 32.0), (-18.0, 6.0, 31.0)] {
                let from = x - forward * gap * scale;
                let line = [(from, base + dy * scale), (from - forward * length, base + dy * scale)];
                canvas.faint_line(&Shape::curve(&line), WHITE, 1.1, 210);
            }
            for (dx, radius) in [(31.0, 2.4), (35.5, 3.2), (40.0, 2.2)] {
                canvas.wash(&Shape::circle(x - forward * dx * scale, base - radius, radius), Tint(246, 240, 232), 170);
            }
        }
        (_, Action::Sleep) => {
            let ink = if stage.backdrop == Backdrop::Night { Tint(236, 232, 248) } else { Tint(92, 80, 116) };
            for (dx, dy, size) in [(14.0, -18.0, 1.5), (18.5, -23.5, 2.1)] {
                let (z_x, z_y) = (x + forward * dx * scale, base + dy * scale);
                let letter = [
                    (z_x - size, z_y - size),
                    (z_x + size, z_y - size),
                    (z_x - size, z_y + size),
                    (z_x + size, z_y + size),
                ];
                for pair in letter.windows(2) {
                    canvas.line(&Shape::curve(pair), ink, 0.9);
                }
            }
        }
        (_, Action::Run) => {
            let (width, _) = layout::extent(thing.kind, thing.action);
            for (dx, radius) in [(0.48, 1.9), (0.56, 1.3)] {
                let dust = x - forward * width * scale * dx;
                canvas.wash(&Shape::oval(dust, base - radius * 0.7, radius * 1.5, radius), Tint(248, 242, 232), 150);
            }
        }
        (_, Action::Wave) => {
            let (width, height) = layout::extent(thing.kind, thing.action);
            let (hand_x, hand_y) = (x + forward * width * scale * 0.5, base - height * scale * 0.86);
            for step in [3.4, 5.4] {
                let arc = [
                    (hand_x + forward * step * 0.5, hand_y - step),
                    (hand_x + forward * step, hand_y - step * 0.7),
                    (hand_x + forward * step * 1.1, hand_y),
                ];
                canvas.faint_line(&Shape::curve(&arc), WHITE, 0.9, 220);
            }
        }
        _ => {}
    }
}

/// For every thing the box of what can be seen of it and its visible share; `None` where nothing can be seen.
pub(super) fn visible_extents(stage: &Stage, things: &[Thing], order: &[usize]) -> Vec<Option<(BoundingBox, f32)>> {
    const SIDE: u32 = super::SIDE;
    let mut owner = vec![usize::MAX; (SIDE * SIDE) as usize];
    let mut whole = vec![0usize; things.len()];
    let mut layer = Canvas::new(SIDE, true);
    for &index in order {
        layer.clear();
        draw_thing(&mut layer, &things[index], stage.backdrop);
        for (owner, pixel) in owner.iter_mut().zip(layer.pixmap().pixels()) {
            if pixel.alpha() >= 128 {
                *owner = index;
                whole[index] += 1;
            }
        }
    }
    // Left, top, right, bottom, and pixels seen.
    let mut seen = vec![(SIDE, SIDE, 0u32, 0u32, 0usize); things.len()];
    for (position, &index) in owner.iter().enumerate() {
        if let Some(extent) = seen.get_mut(index) {
            let (x, y) = (position as u32 % SIDE, position as u32 / SIDE);
            *extent = (extent.0.min(x), extent.1.min(y), extent.2.max(x + 1), extent.3.max(y + 1), extent.4 + 1);
        }
    }
    seen.into_iter()
        .zip(whole)
        .map(|((left, top, right, bottom, pixels), whole)| {
            let bounds = BoundingBox { left: left as f32, top: top as f32, right: right as f32, bottom: bottom as f32 };
            (pixels > 0).then(|| (bounds, pixels as f32 / whole as f32))
        })
        .collect()
}
