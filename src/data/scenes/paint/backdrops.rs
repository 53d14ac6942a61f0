//! Meadow, sea, desert, snow, night and room. Nothing here could be taken for a thing that captions name.

use super::brush::{Canvas, Shape, Tint, WHITE, direction};
use crate::data::Random;
use crate::data::scenes::layout::{SIDE, Stage};
use crate::data::scenes::world::Backdrop;

pub(super) fn backdrop(canvas: &mut Canvas, stage: &Stage) {
    canvas.whole();
    let mut random = Random::new(stage.details);
    let paint = match stage.backdrop {
        Backdrop::Meadow => meadow,
        Backdrop::Sea => sea,
        Backdrop::Desert => desert,
        Backdrop::Snow => snow,
        Backdrop::Night => night,
        Backdrop::Room => room,
    };
    paint(canvas, stage, &mut random);
}

/// What falls before everything else.
pub(super) fn curtain(canvas: &mut Canvas, stage: &Stage) {
    if stage.backdrop != Backdrop::Snow {
        return;
    }
    canvas.whole();
    let mut random = Random::new(stage.details ^ 0x5EED);
    for _ in 0..34 {
        let (x, y) = (random.between(0.0, SIDE), random.between(0.0, SIDE));
        canvas.wash(&Shape::circle(x, y, random.between(0.5, 1.15)), WHITE, 225);
    }
}

/// The tint that shadows on the ground have.
pub(super) fn shadow(backdrop: Backdrop) -> Tint {
    match backdrop {
        Backdrop::Meadow => Tint(44, 84, 52),
        Backdrop::Sea => Tint(150, 104, 66),
        Backdrop::Desert => Tint(150, 84, 60),
        Backdrop::Snow => Tint(120, 140, 186),
        Backdrop::Night => Tint(12, 18, 42),
        Backdrop::Room => Tint(84, 52, 44),
    }
}

/// A soft curve across the picture around a height.
fn ridge(random: &mut Random, height: f32, swing: f32, steps: usize) -> Vec<(f32, f32)> {
    let last = (steps - 1) as f32;
    (0..steps)
        .map(|step| {
            let x = -8.0 + (SIDE + 16.0) * step as f32 / last;
            (x, height + random.between(-swing, swing))
        })
        .collect()
}

fn cloud(canvas: &mut Canvas, random: &mut Random, x: f32, y: f32, size: f32, tint: Tint) {
    let flat = y + 3.0 * size;
    let mut puffs = vec![(x, y - 1.0, 6.4)];
    for side in [-1.0, 1.0] {
        puffs.push((x + side * random.between(5.0, 7.0) * size, y + 0.6, 4.6));
        puffs.push((x + side * random.between(10.0, 12.0) * size, y + 1.6, 2.8));
    }
    for &(x, y, radius) in &puffs {
        canvas.wash(&Shape::oval(x, y + 0.8, radius * size, radius * 0.62 * size), tint.darker(0.1), 255);
    }
    for &(x, y, radius) in &puffs {
        canvas.wash(&Shape::oval(x, y - 0.2, radius * size, radius * 0.6 * size), tint, 255);
    }
    canvas.wash(&Shape::oval(x, flat, 13.0 * size, 1.6 * size), tint, 160);
}

fn sun(canvas: &mut Canvas, x: f32, y: f32, radius: f32, tint: Tint) {
    canvas.glow(x, y, radius * 3.4, tint.lighter(0.3), 170);
    for ray in 0..12 {
        let (cosine, sine) = direction(ray * 2);
        let (near, far) = (radius * 1.3, radius * if ray % 2 == 0 { 1.8 } else { 1.6 });
        let ray = [(x + cosine * near, y + sine * near), (x + cosine * far, y + sine * far)];
        canvas.faint_line(&Shape::curve(&ray), tint, 1.2, 190);
    }
    canvas.shade(&Shape::circle(x, y, radius), tint.lighter(0.4), tint);
}

/// Short strokes of a brush over the ground, smaller when farther.
fn strokes(canvas: &mut Canvas, random: &mut Random, top: f32, count: usize, dark: Tint, light: Tint, blades: bool) {
    for _ in 0..count {
        let share = random.unit();
        let (x, y) = (random.between(0.0, SIDE), top + 3.0 + (SIDE - top) * share * share.sqrt());
        let size = 0.7 + 1.1 * (y - top) / (SIDE - top);
        let tint = if random.chance(0.5) { dark } else { light };
        if blades {
            for lean in [-1.3, 0.2, 1.6] {
                canvas.faint_line(
                    &Shape::curve(&[(x + lean * 0.4, y), (x + lean * size, y - 2.4 * size)]),
                    tint,
                    0.75 * size.max(0.8),
                    170,
                );
            }
        } else {
            let length = random.between(3.0, 8.0) * size;
            canvas.faint_line(
                &Shape::curve(&[(x, y), (x + length * 0.5, y - 0.9 * size), (x + length, y)]),
                tint,
                0.9,
                130,
            );
        }
    }
}

fn meadow(canvas: &mut Canvas, stage: &Stage, random: &mut Random) {
    let horizon = stage.horizon;
    let dusk = random.chance(0.25);
    let (high, low) =
        if dusk { (Tint(150, 190, 232), Tint(255, 226, 196)) } else { (Tint(128, 196, 240), Tint(226, 244, 246)) };
    canvas.shade(&Shape::rect(0.0, 0.0, SIDE, horizon + 8.0), high, low);
    if random.chance(0.6) {
        sun(canvas, *random.choose(&[16.0, 26.0, 104.0, 114.0]), random.between(13.0, 22.0), 7.0, Tint(255, 214, 92));
    }
    for _ in 0..random.below(3) + 1 {
        let (x, y, size) = (random.between(6.0, 122.0), random.between(8.0, 34.0), random.between(0.7, 1.15));
        cloud(canvas, random, x, y, size, Tint(255, 254, 250));
    }
    canvas.shade(&Shape::ground(&ridge(random, horizon - 9.0, 7.0, 6), SIDE), Tint(168, 208, 190), Tint(150, 200, 150));
    canvas.shade(&Shape::ground(&ridge(random, horizon - 3.0, 4.5, 5), SIDE), Tint(146, 202, 132), Tint(130, 190, 110));
    let ground = ridge(random, horizon + 3.0, 2.2, 5);
    canvas.shade(&Shape::ground(&ground, SIDE), Tint(174, 218, 122), Tint(104, 176, 88));
    if random.chance(0.45) {
        // A path.
        let (x, foot) = (random.between(40.0, 88.0), random.between(24.0, 104.0));
        let path = [
            (x - 1.0, horizon + 3.5),
            (x + 14.0, horizon + 16.0),
            (foot - 20.0, horizon + 34.0),
            (foot - 12.0, SIDE + 4.0),
            (foot + 16.0, SIDE + 4.0),
            (foot + 4.0, horizon + 32.0),
            (x + 20.0, horizon + 15.0),
            (x + 1.5, horizon + 3.5),
        ];
        canvas.wash(&Shape::soft(&path, 14.0), Tint(238, 218, 164), 210);
    }
    if random.chance(0.35) {
        fence(canvas, random, horizon + 6.0);
    }
    strokes(canvas, random, horizon + 2.0, 46, Tint(82, 150, 78), Tint(196, 230, 140), true);
    for _ in 0..16 {
        let (x, y) = (random.between(0.0, SIDE), random.between(horizon + 8.0, SIDE));
        canvas.wash(&Shape::circle(x, y, 0.75), Tint(255, 252, 236), 220);
    }
}

/// A low fence from one side of the picture, far away.
fn fence(canvas: &mut Canvas, random: &mut Random, foot: f32) {
    let (from, to) =
        if random.chance(0.5) { (-2.0, random.between(30.0, 60.0)) } else { (random.between(68.0, 98.0), 130.0) };
    let wood = Tint(250, 246, 236);
    for rail in [4.6, 2.2] {
        canvas.line(&Shape::curve(&[(from, foot - rail), (to, foot - rail)]), Tint(206, 204, 190), 1.3);
    }
    let posts = ((to - from) / 5.0) as i32;
    for post in 0..=posts {
        let x = from + 5.0 * post as f32;
        let picket = [(x - 1.1, foot), (x - 1.1, foot - 5.6), (x, foot - 7.2), (x + 1.1, foot - 5.6), (x + 1.1, foot)];
        canvas.fill(&Shape::polygon(&picket), wood);
        canvas.faint_line(&Shape::polygon(&picket), Tint(150, 150, 130), 0.5, 200);
    }
}

fn sea(canvas: &mut Canvas, stage: &Stage, random: &mut Random) {
    let (horizon, shore) = (stage.horizon, stage.shore);
    let sunset = random.chance(0.35);
    let (high, low, near, far) = if sunset {
        (Tint(244, 176, 150), Tint(255, 230, 178), Tint(74, 150, 178), Tint(150, 184, 190))
    } else {
        (Tint(132, 202, 244), Tint(232, 247, 248), Tint(72, 172, 200), Tint(60, 142, 192))
    };
    canvas.shade(&Shape::rect(0.0, 0.0, SIDE, horizon + 1.0), high, low);
    let sun_x = random.between(18.0, 110.0);
    if sunset {
        canvas.glow(sun_x, horizon - 3.0, 36.0, Tint(255, 226, 150), 210);
        canvas.fill(&Shape::circle(sun_x, horizon - 3.0, 8.5), Tint(255, 232, 160));
    } else if random.chance(0.6) {
        sun(canvas, sun_x, random.between(12.0, 18.0), 6.6, Tint(255, 216, 98));
    }
    for _ in 0..random.below(3) + 1 {
        let (x, y, size) = (random.between(6.0, 122.0), random.between(7.0, 24.0), random.between(0.6, 1.0));
        cloud(canvas, random, x, y, size, if sunset { Tint(255, 240, 226) } else { Tint(255, 255, 252) });
    }
    if random.chance(0.5) {
        let x = random.between(10.0, 118.0);
        let island = [
            (x - 20.0, horizon + 1.0),
            (x - 9.0, horizon - 5.0),
            (x, horizon - 7.5),
            (x + 10.0, horizon - 4.0),
            (x + 22.0, horizon + 1.0),
        ];
        canvas.shade(&Shape::soft(&island, 6.0), Tint(140, 176, 182), Tint(158, 192, 196));
    }
    canvas.shade(&Shape::rect(0.0, horizon, SIDE, shore + 6.0), far, near);
    if sunset {
        for row in 0..6 {
            let y = horizon + 2.0 + 3.4 * row as f32;
            let half = random.between(3.0, 9.0);
            canvas.faint_line(&Shape::curve(&[(sun_x - half, y), (sun_x + half, y)]), Tint(255, 234, 176), 1.1, 170);
        }
    }
    for _ in 0..26 {
        let share = random.unit();
        let (x, y) = (random.between(-4.0, SIDE), horizon + 3.0 + (shore - horizon - 7.0) * share);
        let size = 0.6 + share;
        let wave = [
            (x, y),
            (x + 2.4 * size, y - 1.5 * size),
            (x + 4.8 * size, y),
            (x + 7.2 * size, y - 1.2 * size),
            (x + 9.0 * size, y),
        ];
        canvas.faint_line(&Shape::curve(&wave), WHITE, 0.8, 120);
    }
    // Wet sand, foam, beach.
    let edge = ridge(random, shore - 1.0, 1.8, 7);
    let lower = |by: f32| edge.iter().map(|&(x, y)| (x, y + by)).collect::<Vec<_>>();
    canvas.fill(&Shape::ground(&edge, SIDE), Tint(150, 214, 220));
    canvas.line(&Shape::curve(&edge), WHITE, 1.3);
    canvas.fill(&Shape::ground(&lower(2.6), SIDE), Tint(222, 194, 140));
    canvas.line(&Shape::curve(&lower(2.6)), Tint(252, 252, 248), 1.8);
    canvas.shade(&Shape::ground(&lower(6.0), SIDE), Tint(240, 218, 164), Tint(250, 226, 170));
    for _ in 0..60 {
        let (x, y) = (random.between(0.0, SIDE), random.between(shore + 7.0, SIDE));
        let tint = if random.chance(0.6) { Tint(206, 170, 116) } else { Tint(255, 244, 214) };
        canvas.wash(&Shape::oval(x, y, 0.8, 0.45), tint, 190);
    }
    for _ in 0..2 {
        let (x, y) = (random.between(6.0, 122.0), random.between(shore + 12.0, SIDE - 3.0));
        canvas.wash(&Shape::oval(x, y, 1.9, 1.3), Tint(255, 236, 224), 255);
        canvas.faint_line(&Shape::curve(&[(x, y + 1.0), (x, y - 0.8)]), Tint(206, 150, 130), 0.5, 220);
    }
}

fn desert(canvas: &mut Canvas, stage: &Stage, random: &mut Random) {
    let horizon = stage.horizon;
    canvas.shade(&Shape::rect(0.0, 0.0, SIDE, horizon + 8.0), Tint(120, 196, 220), Tint(255, 234, 194));
    sun(canvas, random.between(14.0, 114.0), random.between(13.0, 24.0), 8.0, Tint(255, 206, 104));
    // Table mountains.
    for _ in 0..2 {
        let (x, width, height) = (random.between(4.0, 124.0), random.between(9.0, 17.0), random.between(8.0, 16.0));
        let table = [
            (x - width - 4.0, horizon + 3.0),
            (x - width, horizon - height),
            (x + width, horizon - height),
            (x + width + 5.0, horizon + 3.0),
        ];
        canvas.shade(&Shape::soft(&table, 2.4), Tint(226, 158, 130), Tint(240, 190, 150));
        canvas.faint_line(
            &Shape::curve(&[(x - width - 0.6, horizon - height * 0.6), (x + width + 0.8, horizon - height * 0.6)]),
            Tint(206, 132, 110),
            1.0,
            150,
        );
    }
    canvas.shade(&Shape::ground(&ridge(random, horizon - 1.0, 4.5, 5), SIDE), Tint(250, 212, 148), Tint(240, 190, 122));
    let near = ridge(random, horizon + 5.0, 3.0, 4);
    canvas.shade(&Shape::ground(&near, SIDE), Tint(252, 220, 156), Tint(238, 178, 108));
    // Cacti, far away.
    for _ in 0..random.below(3) {
        let (x, y) = (random.between(4.0, 124.0), horizon + random.between(4.0, 9.0));
        let green = Tint(112, 160, 116);
        canvas.limb(&[(x, y), (x, y - 9.0)], green, 2.4);
        canvas.limb(&[(x, y - 3.4), (x - 3.6, y - 3.4), (x - 3.6, y - 6.8)], green, 1.6);
        canvas.limb(&[(x, y - 4.6), (x + 3.4, y - 4.6), (x + 3.4, y - 7.6)], green, 1.6);
    }
    strokes(canvas, random, horizon + 6.0, 34, Tint(216, 148, 90), Tint(255, 236, 188), false);
    for _ in 0..5 {
        let (x, y) = (random.between(0.0, SIDE), random.between(horizon + 12.0, SIDE));
        canvas.wash(&Shape::oval(x, y, random.between(1.0, 2.2), 0.9), Tint(190, 138, 104), 220);
    }
}

fn snow(canvas: &mut Canvas, stage: &Stage, random: &mut Random) {
    let horizon = stage.horizon;
    let rosy = random.chance(0.4);
    let (high, low) =
        if rosy { (Tint(150, 176, 222), Tint(250, 222, 222)) } else { (Tint(146, 186, 220), Tint(226, 238, 246)) };
    canvas.shade(&Shape::rect(0.0, 0.0, SIDE, horizon + 8.0), high, low);
    // Mountains with white tops.
    for _ in 0..3 {
        let (x, width, height) = (random.between(0.0, SIDE), random.between(20.0, 34.0), random.between(18.0, 34.0));
        let top = horizon - height;
        canvas.shade(
            &Shape::soft(&[(x - width, horizon + 6.0), (x, top), (x + width, horizon + 6.0)], 3.0),
            Tint(150, 170, 206),
            Tint(196, 210, 232),
        );
        let share = 0.34;
        let cap = [
            (x - width * share, top + height * share + 2.0),
            (x, top + 0.8),
            (x + width * share, top + height * share + 2.0),
            (x + width * 0.14, top + height * 0.28),
            (x, top + height * 0.42),
            (x - width * 0.14, top + height * 0.28),
        ];
        canvas.fill(&Shape::soft(&cap, 2.0), Tint(250, 252, 255));
    }
    canvas.shade(&Shape::ground(&ridge(random, horizon - 1.0, 4.0, 5), SIDE), Tint(232, 240, 250), Tint(206, 222, 242));
    canvas.shade(&Shape::ground(&ridge(random, horizon + 5.0, 3.0, 4), SIDE), Tint(246, 250, 254), Tint(222, 234, 248));
    strokes(canvas, random, horizon + 6.0, 30, Tint(178, 198, 230), Tint(255, 255, 255), false);
}

fn night(canvas: &mut Canvas, stage: &Stage, random: &mut Random) {
    let horizon = stage.horizon;
    canvas.shade(&Shape::rect(0.0, 0.0, SIDE, horizon + 8.0), Tint(30, 36, 92), Tint(104, 98, 164));
    for _ in 0..42 {
        let (x, y) = (random.between(1.0, SIDE), random.between(1.0, horizon - 4.0));
        let size = random.between(0.35, 0.9);
        canvas.wash(&Shape::circle(x, y, size), Tint(255, 246, 212), 230);
        if size > 0.78 {
            for (dx, dy) in [(2.2, 0.0), (0.0, 2.2)] {
                canvas.faint_line(&Shape::curve(&[(x - dx, y - dy), (x + dx, y + dy)]), Tint(255, 246, 212), 0.45, 190);
            }
        }
    }
    let (x, y) = (random.between(18.0, 110.0), random.between(15.0, 26.0));
    canvas.glow(x, y, 30.0, Tint(255, 246, 204), 130);
    canvas.shade(&Shape::circle(x, y, 9.0), Tint(255, 250, 224), Tint(250, 228, 168));
    for (dx, dy, radius) in [(-3.0, -2.0, 1.7), (2.6, 2.4, 2.1), (2.8, -3.6, 1.1), (-2.6, 3.8, 1.1)] {
        canvas.wash(&Shape::circle(x + dx, y + dy, radius), Tint(232, 204, 146), 130);
    }
    canvas.shade(&Shape::ground(&ridge(random, horizon - 6.0, 6.0, 5), SIDE), Tint(66, 72, 134), Tint(56, 66, 120));
    canvas.shade(&Shape::ground(&ridge(random, horizon, 4.0, 5), SIDE), Tint(58, 84, 122), Tint(50, 78, 110));
    canvas.shade(&Shape::ground(&ridge(random, horizon + 4.0, 2.4, 5), SIDE), Tint(72, 112, 124), Tint(44, 76, 92));
    strokes(canvas, random, horizon + 4.0, 36, Tint(36, 66, 84), Tint(108, 150, 146), true);
    for _ in 0..7 {
        let (x, y) = (random.between(4.0, 124.0), random.between(horizon - 6.0, SIDE - 8.0));
        canvas.glow(x, y, 3.4, Tint(255, 244, 150), 190);
        canvas.fill(&Shape::circle(x, y, 0.7), Tint(255, 250, 190));
    }
}

fn room(canvas: &mut Canvas, stage: &Stage, random: &mut Random) {
    let floor = stage.horizon;
    let wall = *random.choose(&[Tint(246, 232, 204), Tint(214, 232, 226), Tint(240, 222, 218), Tint(222, 226, 240)]);
    canvas.shade(&Shape::rect(0.0, 0.0, SIDE, floor), wall.lighter(0.2), wall);
    // Wallpaper.
    if random.chance(0.5) {
        for column in 0..11 {
            let x = 3.0 + 12.2 * column as f32;
            canvas.wash(&Shape::rect(x, 0.0, x + 5.4, floor), wall.darker(0.09), 120);
        }
    } else {
        for row in 0..7 {
            for column in 0..10 {
                let (x, y) = (5.0 + 13.4 * column as f32 + 6.7 * (row % 2) as f32, 6.0 + 12.0 * row as f32);
                canvas.wash(&Shape::circle(x, y, 1.5), wall.darker(0.15), 150);
            }
        }
    }
    // A window, with the day outside.
    let x = *random.choose(&[26.0, 34.0, 94.0, 102.0]);
    canvas.flat(&Shape::rect(x - 16.0, 12.0, x + 16.0, 50.0), Tint(255, 252, 244));
    canvas.shade(&Shape::rect(x - 13.4, 14.6, x + 13.4, 47.4), Tint(150, 206, 240), Tint(236, 246, 236));
    canvas.fill(
        &Shape::ground(&[(x - 13.4, 42.0), (x - 4.0, 37.0), (x + 6.0, 42.0), (x + 13.4, 40.0)], 47.4),
        Tint(160, 206, 140),
    );
    canvas.wash(&Shape::oval(x + 3.0, 23.0, 6.4, 2.3), WHITE, 230);
    canvas.wash(&Shape::oval(x - 1.0, 24.0, 4.4, 1.8), WHITE, 230);
    canvas.fill(&Shape::rect(x - 1.1, 14.6, x + 1.1, 47.4), Tint(255, 252, 244));
    canvas.fill(&Shape::rect(x - 13.4, 29.6, x + 13.4, 31.8), Tint(255, 252, 244));
    let curtain = *random.choose(&[Tint(224, 178, 160), Tint(176, 196, 178), Tint(230, 206, 150)]);
    for side in [-1.0, 1.0] {
        let cloth = [
            (x + side * 19.0, 9.6),
            (x + side * 6.0, 9.6),
            (x + side * 11.0, 30.0),
            (x + side * 13.0, 53.0),
            (x + side * 19.5, 53.0),
        ];
        canvas.solid(&Shape::soft(&cloth, 3.0), curtain);
        canvas.faint_line(
            &Shape::curve(&[(x + side * 14.0, 12.0), (x + side * 16.0, 30.0), (x + side * 16.2, 51.0)]),
            curtain.darker(0.3),
            0.8,
            140,
        );
    }
    canvas.limb(&[(x - 21.0, 9.4), (x + 21.0, 9.4)], Tint(156, 112, 84), 1.8);
    // A picture on the wall.
    let px = if x < 64.0 { random.between(84.0, 104.0) } else { random.between(22.0, 44.0) };
    let py = random.between(22.0, 34.0);
    canvas.flat(&Shape::rect(px - 11.0, py - 9.0, px + 11.0, py + 9.0), Tint(176, 132, 92));
    canvas.shade(&Shape::rect(px - 8.6, py - 6.6, px + 8.6, py + 6.6), Tint(250, 232, 206), Tint(232, 214, 190));
    canvas.fill(
        &Shape::ground(
            &[(px - 8.6, py + 3.0), (px - 2.0, py - 3.6), (px + 4.0, py + 3.0), (px + 8.6, py + 1.0)],
            py + 6.6,
        ),
        Tint(168, 176, 172),
    );
    canvas.fill(&Shape::circle(px + 4.0, py - 2.8, 1.6), Tint(250, 240, 214));
    // Floor, skirting board, carpet.
    let wood = *random.choose(&[Tint(204, 156, 112), Tint(186, 138, 100), Tint(216, 178, 134)]);
    canvas.shade(&Shape::rect(0.0, floor, SIDE, SIDE), wood, wood.lighter(0.2));
    for board in 0..12 {
        let far = 64.0 + (board as f32 - 5.5) * 13.0;
        let near = 64.0 + (board as f32 - 5.5) * 24.0;
        canvas.faint_line(&Shape::curve(&[(far, floor), (near, SIDE)]), wood.darker(0.3), 0.8, 150);
    }
    canvas.fill(&Shape::rect(0.0, floor - 3.6, SIDE, floor + 0.4), Tint(252, 246, 234));
    canvas.faint_line(&Shape::curve(&[(0.0, floor + 0.4), (SIDE, floor + 0.4)]), wood.ink(), 0.8, 150);
    let carpet = *random.choose(&[Tint(190, 126, 118), Tint(126, 146, 166), Tint(146, 162, 126)]);
    let (x, y) = (random.between(50.0, 78.0), (floor + SIDE) / 2.0 + 4.0);
    let half = (SIDE - floor) * 0.4;
    canvas.solid(&Shape::oval(x, y, 50.0, half), carpet);
    canvas.line(&Shape::oval(x, y, 44.0, half * 0.82), carpet.lighter(0.5), 1.3);
    canvas.faint_line(&Shape::oval(x, y, 30.0, half * 0.52), carpet.lighter(0.5), 1.0, 170);
}
