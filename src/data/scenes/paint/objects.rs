//! Things that are not alive, and trees and flowers.

use super::brush::{Canvas, Shape, Tint, WHITE, direction};
use super::tint;
use crate::data::Random;
use crate::data::scenes::Thing;
use crate::data::scenes::world::{Action, Backdrop, Colour};

const WOOD: Tint = Tint(150, 108, 78);
const CREAM: Tint = Tint(255, 248, 228);

pub(super) fn house(canvas: &mut Canvas, thing: &Thing, backdrop: Backdrop) {
    let mut random = Random::new(thing.place.details);
    let wall = tint(thing.colour);
    let roof = *random.choose(&[Tint(104, 106, 128), Tint(122, 92, 88), Tint(90, 110, 116)]);
    let night = backdrop == Backdrop::Night;
    let pane = if night { Tint(255, 226, 128) } else { Tint(196, 226, 240) };
    let front_gable = random.chance(0.5);
    let chimney_x = *random.choose(&[-14.0, 13.0]);
    let pen = canvas.pen();

    canvas.flat(&Shape::rect(chimney_x - 3.4, -59.0, chimney_x + 3.4, -38.0), Tint(168, 120, 104));
    canvas.flat(&Shape::rect(chimney_x - 4.4, -59.6, chimney_x + 4.4, -56.4), Tint(142, 98, 88));
    let walls = if front_gable {
        Shape::polygon(&[(-24.0, 0.0), (-24.0, -29.0), (0.0, -52.0), (24.0, -29.0), (24.0, 0.0)])
    } else {
        Shape::rect(-25.0, -31.0, 25.0, 0.0)
    };
    canvas.solid(&walls, wall);
    // Some boards or bricks.
    for _ in 0..9 {
        let (x, y) = (random.between(-22.0, 17.0), random.between(-28.0, -3.0));
        canvas.faint_line(&Shape::curve(&[(x, y), (x + random.between(3.0, 6.0), y)]), wall.darker(0.3), 0.9, 120);
    }
    canvas.flat(&Shape::rect(-25.0, -2.6, 25.0, 0.0), Tint(170, 160, 154));
    if front_gable {
        let edge = [(-29.5, -26.0), (0.0, -55.0), (29.5, -26.0)];
        let line = Shape::polygon(&[edge[0], edge[1], edge[2], (26.0, -24.0), (0.0, -48.5), (-26.0, -24.0)]);
        canvas.solid(&line, roof);
        if backdrop == Backdrop::Snow {
            canvas.flat(
                &Shape::soft(
                    &[(-30.0, -27.0), (0.0, -58.0), (30.0, -27.0), (25.0, -27.0), (0.0, -51.5), (-25.0, -27.0)],
                    1.8,
                ),
                WHITE,
            );
        }
        window(canvas, 0.0, -35.5, 3.8, 4.2, pane, pen);
    } else {
        let slope = [(-29.5, -30.0), (-20.5, -52.0), (20.5, -52.0), (29.5, -30.0)];
        canvas.solid(&Shape::soft(&slope, 2.0), roof);
        for row in 1..4 {
            let y = -52.0 + 5.4 * row as f32;
            let half = 21.0 + 2.2 * row as f32;
            for column in 0..7 {
                let x = -half + 2.0 * half * (column as f32 + 0.5 * (row % 2) as f32) / 7.0;
                canvas.faint_line(
                    &Shape::curve(&[(x, y), (x + 2.0, y + 2.2), (x + 4.4, y)]),
                    roof.darker(0.4),
                    0.8,
                    150,
                );
            }
        }
        if backdrop == Backdrop::Snow {
            let cover = [
                (-27.5, -36.0),
                (-20.5, -54.0),
                (20.5, -54.0),
                (27.5, -36.0),
                (18.0, -39.5),
                (8.0, -35.5),
                (-2.0, -39.0),
                (-14.0, -35.0),
            ];
            canvas.flat(&Shape::soft(&cover, 3.4), WHITE);
        }
    }
    let door_x = *random.choose(&[-9.0, 0.0, 9.0]);
    let door = *random.choose(&[Tint(138, 92, 66), Tint(112, 84, 76), Tint(196, 166, 130)]);
    canvas.flat(
        &Shape::soft(&[(door_x - 5.0, 0.0), (door_x - 5.0, -17.0), (door_x + 5.0, -17.0), (door_x + 5.0, 0.0)], 2.6),
        door,
    );
    canvas.fill(&Shape::circle(door_x + 3.0, -8.0, 0.9), Tint(250, 220, 130));
    for x in [-16.5, 0.0, 16.5] {
        let distance: f32 = x - door_x;
        if distance.abs() > 9.5 {
            window(canvas, x, -17.0, 4.8, 5.0, pane, pen);
            if distance.abs() > 12.0 {
                // A window box.
                canvas.flat(&Shape::rect(x - 5.6, -11.4, x + 5.6, -8.8), WOOD);
                for step in 0..4 {
                    canvas.fill(&Shape::circle(x - 4.2 + 2.8 * step as f32, -12.0, 1.4), Tint(108, 162, 92));
                }
            }
        }
    }
}

fn window(canvas: &mut Canvas, x: f32, y: f32, half_width: f32, half_height: f32, pane: Tint, pen: f32) {
    let frame = Shape::rect(x - half_width - 0.9, y - half_height - 0.9, x + half_width + 0.9, y + half_height + 0.9);
    canvas.flat(&frame, CREAM);
    canvas.shade(
        &Shape::rect(x - half_width, y - half_height, x + half_width, y + half_height),
        pane.lighter(0.3),
        pane,
    );
    canvas.line(&Shape::curve(&[(x, y - half_height), (x, y + half_height)]), CREAM, 1.2);
    canvas.line(&Shape::curve(&[(x - half_width, y), (x + half_width, y)]), CREAM, pen.max(1.0));
}

pub(super) fn tree(canvas: &mut Canvas, thing: &Thing, backdrop: Backdrop) {
    let mut random = Random::new(thing.place.details);
    let leaves = tint(thing.colour);
    let bark = Tint(138, 96, 70);
    match backdrop {
        Backdrop::Snow => {
            canvas.flat(&Shape::rect(-3.2, -10.0, 3.2, 0.0), bark);
            for (tier, &(half, top, bottom)) in
                [(21.0, -36.0, -7.0), (17.0, -52.0, -24.0), (12.0, -66.0, -40.0)].iter().enumerate()
            {
                let green = leaves.darker(0.22 - 0.07 * tier as f32);
                let points = [
                    (-half, bottom),
                    (0.0, top),
                    (half, bottom),
                    (half * 0.4, bottom + 2.4),
                    (-half * 0.4, bottom + 2.4),
                ];
                canvas.solid(&Shape::soft(&points, 2.4), green);
                let snow = [
                    (0.0, top + 0.6),
                    (half * 0.46, top + (bottom - top) * 0.5),
                    (half * 0.2, top + (bottom - top) * 0.42),
                    (0.0, top + (bottom - top) * 0.56),
                    (-half * 0.2, top + (bottom - top) * 0.42),
                    (-half * 0.46, top + (bottom - top) * 0.5),
                ];
                canvas.fill(&Shape::soft(&snow, 1.8), Tint(252, 254, 255));
            }
        }
        Backdrop::Desert => {
            let lean = random.between(-4.0, 4.0);
            canvas.limb(&[(0.0, -1.5), (-lean, -26.0), (lean * 0.5, -50.0)], bark.lighter(0.2), 5.4);
            for ring in 1..8 {
                let share = ring as f32 / 8.0;
                let x = -lean * 2.0 * share * (1.0 - share) + lean * 0.5 * share * share;
                canvas.faint_line(
                    &Shape::curve(&[(x - 2.4, -49.0 * share), (x, -49.0 * share + 1.2), (x + 2.4, -49.0 * share)]),
                    bark.darker(0.3),
                    0.9,
                    170,
                );
            }
            let top = (lean * 0.5, -50.0);
            for (end, droop, tone) in [
                (-20.0, 6.0, 0.2),
                (20.0, 6.0, 0.2),
                (-17.0, -8.0, 0.08),
                (17.0, -8.0, 0.08),
                (-21.0, -2.0, 0.0),
                (21.0, -2.0, 0.0),
                (2.0, -13.0, 0.0),
            ] {
                let tip = (top.0 + end, top.1 + droop);
                let middle = (top.0 + end * 0.5, top.1 + droop * 0.3 - 9.0);
                let under = (top.0 + end * 0.5, top.1 + droop * 0.3 - 3.0);
                canvas.solid(
                    &Shape::soft(&[(top.0 - 1.5, top.1), middle, tip, under, (top.0 + 1.5, top.1 + 1.0)], 4.5),
                    leaves.darker(tone),
                );
            }
        }
        _ => {
            canvas.solid(
                &Shape::soft(&[(-4.6, 0.0), (-2.4, -12.0), (-3.0, -32.0), (3.0, -32.0), (2.4, -12.0), (4.8, 0.0)], 2.0),
                bark,
            );
            canvas.limb(&[(0.0, -22.0), (6.0, -27.0), (8.0, -33.0)], bark, 2.6);
            let crown: &[(f32, f32, f32, f32)] = match random.below(3) {
                0 => &[
                    (-10.0, -36.0, 11.5, 10.5),
                    (10.5, -36.0, 11.0, 10.5),
                    (0.0, -48.0, 15.0, 14.5),
                    (0.0, -36.0, 12.0, 10.0),
                ],
                1 => &[(0.0, -38.0, 18.5, 19.0), (0.0, -47.0, 14.0, 17.5)],
                _ => &[
                    (-11.0, -32.0, 10.5, 8.6),
                    (11.0, -33.0, 10.5, 9.0),
                    (-7.0, -44.0, 11.5, 10.5),
                    (8.0, -46.0, 11.5, 10.5),
                    (0.0, -55.0, 11.0, 9.6),
                    (0.0, -38.0, 11.0, 11.0),
                ],
            };
            let pen = canvas.pen();
            for &(x, y, half_width, half_height) in crown {
                canvas.line(&Shape::oval(x, y, half_width, half_height), leaves.ink(), 2.0 * pen);
            }
            for &(x, y, half_width, half_height) in crown {
                canvas.shade(&Shape::oval(x, y, half_width, half_height), leaves.lighter(0.2), leaves.darker(0.16));
            }
            for _ in 0..22 {
                let &(x, y, half_width, half_height) = random.choose(crown);
                let (x, y) =
                    (x + half_width * random.between(-0.72, 0.6), y + half_height * random.between(-0.7, 0.62));
                let tone = if random.chance(0.5) { leaves.lighter(0.42) } else { leaves.darker(0.24) };
                canvas.faint_line(&Shape::curve(&[(x, y), (x + 1.4, y - 1.3), (x + 2.8, y)]), tone, 1.1, 170);
            }
        }
    }
}

pub(super) fn boat(canvas: &mut Canvas, thing: &Thing) {
    let mut random = Random::new(thing.place.details);
    let hull = tint(thing.colour);
    let two_sails = random.chance(0.6);
    canvas.limb(&[(0.0, -10.0), (0.0, -47.0)], WOOD, 1.6);
    canvas.solid(&Shape::soft(&[(1.6, -46.0), (10.0, -32.0), (18.5, -15.0), (1.6, -15.0)], 2.2), CREAM);
    if two_sails {
        canvas.solid(&Shape::soft(&[(-1.6, -43.0), (-14.5, -15.0), (-1.6, -15.0)], 1.8), Tint(250, 238, 212));
    }
    // A stripe of the hull's colour on the sail, and a pennant.
    canvas.wash(&Shape::polygon(&[(2.2, -24.5), (13.0, -24.5), (15.4, -20.0), (2.2, -20.0)]), hull, 235);
    canvas.flat(&Shape::soft(&[(0.0, -49.5), (0.0, -45.0), (-9.0, -47.2)], 0.4), hull);
    let body = [(-22.0, -13.0), (23.5, -13.0), (18.0, -1.0), (-16.0, -1.0)];
    canvas.solid(&Shape::soft(&body, 3.4), hull);
    canvas.line(&Shape::curve(&[(-20.5, -11.8), (21.5, -11.8)]), CREAM, 1.7);
    if random.chance(0.5) {
        for x in [-8.0, 0.0, 8.0] {
            canvas.flat(&Shape::circle(x, -6.8, 1.7), Tint(214, 236, 244));
        }
    }
}

pub(super) fn car(canvas: &mut Canvas, thing: &Thing) {
    let mut random = Random::new(thing.place.details);
    let paint = tint(thing.colour);
    let glass = Tint(204, 232, 242);
    let van = random.chance(0.3);
    let body = if van {
        [(-27.5, -6.0), (-27.5, -20.0), (-24.0, -30.0), (9.0, -30.0), (17.0, -18.5), (27.0, -15.0), (28.0, -6.0)]
    } else {
        [(-28.0, -6.0), (-27.0, -16.5), (-17.0, -18.5), (-9.0, -30.0), (9.0, -30.0), (18.0, -17.5), (28.0, -6.0)]
    };
    canvas.solid(&Shape::soft(&body, 4.4), paint);
    if !van {
        canvas.solid(&Shape::soft(&[(17.0, -17.6), (26.5, -15.0), (28.0, -6.0), (12.0, -6.0)], 3.0), paint);
        canvas.fill(&Shape::rect(4.0, -16.0, 18.0, -7.0), paint);
    }
    let (rear, front) = if van { (-21.0, 11.0) } else { (-12.4, 12.4) };
    let windows =
        [(rear, -18.0), (rear + if van { 0.0 } else { 5.0 }, -27.4), (front - 4.6, -27.4), (front + 1.2, -18.0)];
    canvas.flat(&Shape::soft(&windows, 1.6), glass);
    canvas.line(&Shape::curve(&[(0.0, -27.4), (0.0, -17.6)]), paint, 2.4);
    canvas.faint_line(&Shape::curve(&[(4.0, -20.0), (7.0, -25.4)]), WHITE, 1.4, 200);
    canvas.faint_line(&Shape::curve(&[(0.6, -16.4), (0.2, -6.6)]), paint.ink(), 0.8, 160);
    canvas.line(&Shape::curve(&[(2.6, -14.2), (5.4, -14.2)]), paint.ink(), 1.0);
    canvas.flat(&Shape::rect(-29.0, -7.6, 29.0, -4.8), Tint(214, 212, 214));
    canvas.flat(&Shape::circle(25.2, -11.6, 2.1), Tint(255, 238, 160));
    canvas.fill(&Shape::rect(-27.4, -13.8, -25.6, -10.0), Tint(240, 120, 90));
    for x in [-16.0, 16.0] {
        canvas.flat(&Shape::circle(x, -5.8, 5.8), Tint(62, 58, 68));
        canvas.fill(&Shape::circle(x, -5.8, 2.8), Tint(214, 214, 220));
        canvas.fill(&Shape::circle(x, -5.8, 1.0), Tint(110, 108, 118));
    }
}

pub(super) fn kite(canvas: &mut Canvas, thing: &Thing) {
    let paper = tint(thing.colour);
    let (top, left, right, bottom) = ((0.0, -35.5), (-13.0, -23.0), (13.0, -23.0), (0.0, -3.0));
    canvas.fill(&Shape::polygon(&[top, left, bottom]), paper.lighter(0.1));
    canvas.fill(&Shape::polygon(&[top, right, bottom]), paper.darker(0.14));
    canvas.wash(&Shape::polygon(&[top, left, (0.0, -23.0)]), WHITE, 70);
    let pen = canvas.pen();
    canvas.line(&Shape::polygon(&[top, left, bottom, right]), paper.ink(), pen * 1.1);
    canvas.line(&Shape::curve(&[top, bottom]), paper.ink(), pen * 0.7);
    canvas.line(&Shape::curve(&[left, right]), paper.ink(), pen * 0.7);
}

pub(super) fn ball(canvas: &mut Canvas, thing: &Thing) {
    let mut random = Random::new(thing.place.details);
    let rubber = tint(thing.colour);
    canvas.solid(&Shape::circle(0.0, -10.4, 10.0), rubber);
    let pale = if thing.colour == Colour::White { rubber.darker(0.3) } else { CREAM };
    match random.below(3) {
        0 => {
            canvas.line(&Shape::curve(&[(-9.0, -13.5), (0.0, -6.0), (9.0, -13.5)]), pale, 2.0);
        }
        1 => {
            let points: Vec<(f32, f32)> = (0..10)
                .map(|corner| {
                    let radius = if corner % 2 == 0 { 5.0 } else { 2.3 };
                    // Tenths of a turn, to the nearest of the 24 directions.
                    let (cosine, sine) = direction([18, 20, 23, 1, 4, 6, 8, 11, 13, 16][corner]);
                    (radius * cosine, -10.2 + radius * sine)
                })
                .collect();
            canvas.fill(&Shape::polygon(&points), pale);
        }
        _ => {
            canvas.line(&Shape::curve(&[(-4.0, -19.2), (3.5, -10.4), (-4.0, -1.8)]), pale, 1.8);
            canvas.line(&Shape::curve(&[(5.5, -18.4), (1.0, -10.4), (5.5, -2.4)]), rubber.darker(0.3), 1.0);
        }
    }
    canvas.wash(&Shape::turned_oval(-4.4, -15.4, 2.6, 1.6, -3), WHITE, 190);
    let pen = canvas.pen();
    canvas.line(&Shape::circle(0.0, -10.4, 10.0), rubber.ink(), pen);
}

pub(super) fn umbrella(canvas: &mut Canvas, thing: &Thing) {
    let cloth = tint(thing.colour);
    let top = if thing.action == Action::Held { -51.0 } else { -48.5 };
    let rim = top + 18.5;
    canvas.limb(&[(0.0, top + 4.0), (0.0, -1.5)], WOOD, 1.8);
    if thing.action == Action::Held {
        canvas.limb(&[(0.0, -3.0), (0.0, -0.6), (3.0, -0.6), (3.4, -3.0)], WOOD, 1.8);
    }
    let pale = if thing.colour == Colour::White { cloth.darker(0.16) } else { cloth.lighter(0.5) };
    let canopy =
        [(-21.5, rim + 1.0), (-20.0, rim - 10.5), (-8.0, top), (8.0, top), (20.0, rim - 10.5), (21.5, rim + 1.0)];
    let canopy: Vec<(f32, f32)> = canopy.to_vec();
    canvas.solid(&Shape::soft(&canopy, 8.0), cloth);
    // Two pale panels between the ribs.
    for side in [-1.0, 1.0] {
        let panel = [
            (side * 1.0, top + 1.4),
            (side * 13.4, rim - 8.6),
            (side * 14.4, rim - 0.4),
            (side * 7.0, rim - 0.4),
            (side * 6.4, rim - 9.0),
        ];
        canvas.fill(&Shape::soft(&panel, 1.6), pale);
    }
    for rib in [-14.4, -7.0, 7.0, 14.4] {
        canvas.faint_line(
            &Shape::curve(&[(0.0, top + 0.8), (rib * 0.94, rim - 9.4), (rib, rim)]),
            cloth.ink(),
            0.8,
            150,
        );
    }
    // A scalloped rim.
    for (from, to) in [(-21.3, -14.4), (-14.4, -7.0), (-7.0, 0.0), (0.0, 7.0), (7.0, 14.4), (14.4, 21.3)] {
        let middle: f32 = (from + to) / 2.0;
        let tone = if middle.abs() > 6.0 && middle.abs() < 12.0 { pale } else { cloth };
        canvas.fill(&Shape::oval(middle, rim + 0.2, (to - from) / 2.0, 2.4), tone.darker(0.1));
    }
    canvas.limb(&[(0.0, top + 0.4), (0.0, top - 1.6)], WOOD, 1.4);
}

pub(super) fn balloon(canvas: &mut Canvas, thing: &Thing) {
    let rubber = tint(thing.colour);
    canvas.flat(&Shape::soft(&[(0.0, -3.6), (-2.4, -0.6), (2.4, -0.6)], 0.4), rubber.darker(0.1));
    let skin = [
        (0.0, -31.0),
        (11.6, -30.0),
        (13.6, -17.5),
        (8.0, -7.6),
        (0.0, -1.6),
        (-8.0, -7.6),
        (-13.6, -17.5),
        (-11.6, -30.0),
    ];
    canvas.solid(&Shape::blob(&skin), rubber);
    canvas.wash(&Shape::turned_oval(-4.6, -22.4, 2.0, 4.2, 2), WHITE, 190);
    canvas.wash(&Shape::circle(-2.4, -15.6, 1.0), WHITE, 170);
}

pub(super) fn flower(canvas: &mut Canvas, thing: &Thing, backdrop: Backdrop) {
    let mut random = Random::new(thing.place.details);
    let petal = tint(thing.colour);
    let stem = Tint(92, 152, 78);
    let held = thing.action == Action::Held;
    let height = if held { -16.0 } else { -25.0 };
    let low = if backdrop == Backdrop::Room && !held { -9.0 } else { -0.8 };
    canvas.limb(&[(0.0, low), (1.4, (height + low) / 2.0), (0.0, height)], stem, 2.0);
    if !held {
        canvas.flat(&Shape::turned_oval(-5.2, low - 4.4, 5.4, 2.1, 2), stem.lighter(0.15));
        canvas.flat(&Shape::turned_oval(5.2, low - 6.0, 5.4, 2.1, -2), stem.lighter(0.15));
    }
    if backdrop == Backdrop::Room && !held {
        let pot = [(-7.6, -11.0), (7.6, -11.0), (5.4, 0.0), (-5.4, 0.0)];
        canvas.solid(&Shape::soft(&pot, 1.4), Tint(198, 206, 208));
        canvas.flat(&Shape::rect(-8.4, -12.6, 8.4, -9.6), Tint(216, 222, 222));
    }
    let size = if held { 0.8 } else { 1.0 };
    let centre = if thing.colour == Colour::Yellow { Tint(170, 110, 60) } else { Tint(252, 206, 74) };
    if random.chance(0.3) {
        // A tulip.
        let cup = [
            (-8.6, height - 9.5),
            (-4.6, height - 5.4),
            (0.0, height - 11.0),
            (4.6, height - 5.4),
            (8.6, height - 9.5),
            (7.6, height + 2.6),
            (0.0, height + 5.6),
            (-7.6, height + 2.6),
        ];
        let cup: Vec<(f32, f32)> = cup.iter().map(|&(x, y)| (x * size * 1.1, height + (y - height) * size)).collect();
        canvas.solid(&Shape::soft(&cup, 2.6), petal);
        canvas.faint_line(
            &Shape::curve(&[(-2.4 * size, height + 4.0 * size), (-3.4 * size, height - 3.0 * size)]),
            petal.ink(),
            0.9,
            130,
        );
        canvas.faint_line(
            &Shape::curve(&[(2.4 * size, height + 4.0 * size), (3.4 * size, height - 3.0 * size)]),
            petal.ink(),
            0.9,
            130,
        );
        return;
    }
    let count = *random.choose(&[6, 8]);
    for step in 0..count {
        let turn = step * 24 / count;
        let (cosine, sine) = direction(turn);
        let reach = 6.0 * size;
        let (half_long, half_wide) = if count == 6 { (5.2, 3.7) } else { (5.4, 2.9) };
        canvas.solid(
            &Shape::turned_oval(cosine * reach, height + sine * reach, half_long * size, half_wide * size, turn),
            petal,
        );
    }
    canvas.flat(&Shape::circle(0.0, height, 3.4 * size), centre);
}

pub(super) fn chair(canvas: &mut Canvas, thing: &Thing) {
    let mut random = Random::new(thing.place.details);
    let cloth = tint(thing.colour);
    if random.chance(0.55) {
        // An armchair.
        for x in [-11.5, 11.5] {
            canvas.limb(&[(x, -4.0), (x, -1.4)], WOOD, 2.6);
        }
        canvas.solid(&Shape::soft(&[(-12.5, -10.0), (-12.5, -37.0), (12.5, -37.0), (12.5, -10.0)], 7.0), cloth);
        for (x, y) in [(-4.6, -29.0), (4.6, -29.0), (0.0, -23.6)] {
            canvas.fill(&Shape::circle(x, y, 0.9), cloth.ink());
        }
        canvas.solid(
            &Shape::soft(&[(-11.0, -18.0), (11.0, -18.0), (11.0, -9.0), (-11.0, -9.0)], 3.6),
            cloth.lighter(0.16),
        );
        canvas.solid(
            &Shape::soft(&[(-13.0, -10.5), (13.0, -10.5), (13.0, -3.0), (-13.0, -3.0)], 2.4),
            cloth.darker(0.06),
        );
        for side in [-1.0, 1.0] {
            let arm = [(side * 10.2, -22.5), (side * 15.8, -22.5), (side * 15.4, -3.4), (side * 10.4, -3.4)];
            canvas.solid(&Shape::soft(&arm, 2.8), cloth);
        }
        return;
    }
    // A painted wooden chair, from the side.
    canvas.limb(&[(-5.5, -17.0), (-6.5, -1.4)], cloth.darker(0.2), 2.6);
    canvas.limb(&[(12.0, -17.0), (13.0, -1.4)], cloth.darker(0.2), 2.6);
    canvas.solid(&Shape::soft(&[(-12.5, -16.5), (-12.5, -37.0), (6.0, -37.0), (6.0, -16.5)], 4.0), cloth);
    canvas.line(&Shape::curve(&[(-6.8, -33.0), (-6.8, -20.0)]), cloth.darker(0.35), 2.2);
    canvas.line(&Shape::curve(&[(0.2, -33.0), (0.2, -20.0)]), cloth.darker(0.35), 2.2);
    canvas
        .solid(&Shape::soft(&[(-13.0, -19.5), (12.5, -19.5), (15.5, -14.0), (-11.5, -14.0)], 2.0), cloth.lighter(0.14));
    canvas.limb(&[(-11.5, -13.5), (-12.2, -1.4)], cloth, 2.8);
    canvas.limb(&[(8.8, -13.5), (9.4, -1.4)], cloth, 2.8);
}
