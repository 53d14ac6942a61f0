//! Dogs, cats, horses and birds. All look forward, which is to the right.

use super::brush::{Canvas, Shape, Tint, WHITE};
use super::tint;
use crate::data::Random;
use crate::data::scenes::Thing;
use crate::data::scenes::world::{Action, Colour};

const DARK: Tint = Tint(44, 32, 40);

fn eye(canvas: &mut Canvas, x: f32, y: f32, coat: Colour) {
    if coat == Colour::Black {
        canvas.fill(&Shape::circle(x, y, 1.7), Tint(250, 236, 190));
    }
    canvas.fill(&Shape::circle(x, y, 1.1), DARK);
    canvas.fill(&Shape::circle(x + 0.35, y - 0.4, 0.4), WHITE);
}

fn closed_eye(canvas: &mut Canvas, x: f32, y: f32, coat: Colour) {
    let tint = if coat == Colour::Black { Tint(210, 200, 200) } else { DARK };
    canvas.line(&Shape::curve(&[(x - 1.8, y - 0.3), (x, y + 1.4), (x + 1.8, y - 0.3)]), tint, 0.9);
}

pub(super) fn dog(canvas: &mut Canvas, thing: &Thing) {
    let mut random = Random::new(thing.place.details);
    let coat = tint(thing.colour);
    let dim = coat.darker(0.16);
    let ear = match thing.colour {
        Colour::White => coat.darker(0.22),
        Colour::Black => coat.darker(0.3),
        _ => coat.darker(0.34),
    };
    let muzzle = match thing.colour {
        Colour::Brown => coat.lighter(0.5),
        Colour::Black => coat.lighter(0.24),
        _ => coat,
    };
    let spotted = random.chance(0.4);
    let long_ears = random.chance(0.5);
    let (head_x, head_y) = match thing.action {
        Action::Sit => {
            canvas.limb(&[(-8.0, -3.5), (-14.0, -3.0), (-15.5, -11.0)], coat, 3.6);
            let body = [(-2.0, -25.0), (7.0, -22.0), (8.5, -9.0), (8.0, 0.0), (-9.0, 0.0), (-11.0, -9.0)];
            canvas.solid(&Shape::soft(&body, 6.5), coat);
            canvas.solid(&Shape::oval(-5.5, -5.0, 6.2, 5.2), coat);
            canvas.limb(&[(5.5, -13.0), (6.5, -7.0), (6.3, -2.0)], coat, 3.8);
            canvas.flat(&Shape::oval(7.6, -1.6, 3.4, 1.8), coat);
            (4.5, -25.0)
        }
        Action::Sleep => {
            canvas.limb(&[(-14.0, -5.0), (-19.0, -2.6), (-10.0, -1.9)], dim, 3.4);
            canvas.solid(
                &Shape::soft(&[(-18.0, 0.0), (-17.0, -12.0), (-4.0, -17.5), (9.0, -13.5), (11.0, 0.0)], 9.0),
                coat,
            );
            if spotted {
                canvas.wash(&Shape::oval(-7.0, -11.5, 4.6, 3.2), ear, 200);
            }
            canvas.flat(&Shape::oval(14.0, -1.7, 4.8, 1.9), coat);
            (10.5, -8.0)
        }
        Action::Run => {
            canvas.limb(&[(-13.0, -18.0), (-19.0, -21.0), (-21.5, -27.0)], coat, 3.4);
            canvas.limb(&[(-10.0, -12.0), (-16.0, -9.0), (-18.0, -2.5)], dim, 3.8);
            canvas.limb(&[(7.0, -12.0), (10.0, -8.0), (18.0, -6.5)], dim, 3.6);
            canvas.solid(&Shape::turned_oval(-2.0, -15.5, 14.2, 7.4, -1), coat);
            canvas.limb(&[(-9.0, -12.5), (-11.0, -7.0), (-19.5, -5.5)], coat, 4.0);
            canvas.limb(&[(8.0, -13.5), (14.0, -10.0), (16.0, -2.5)], coat, 3.8);
            if spotted {
                canvas.wash(&Shape::oval(-6.0, -18.0, 4.4, 3.0), ear, 200);
            }
            (13.0, -23.0)
        }
        _ => {
            canvas.limb(&[(-13.0, -18.0), (-19.0, -21.0), (-18.5, -29.0)], coat, 3.4);
            canvas.limb(&[(-9.0, -10.0), (-8.0, -1.8)], dim, 3.8);
            canvas.limb(&[(5.0, -10.0), (5.0, -1.8)], dim, 3.8);
            canvas.solid(&Shape::oval(-2.0, -14.5, 14.2, 7.8), coat);
            canvas.limb(&[(-12.0, -12.0), (-13.0, -6.0), (-12.2, -1.8)], coat, 4.0);
            canvas.limb(&[(9.0, -12.0), (9.4, -6.0), (9.4, -1.8)], coat, 4.0);
            if spotted {
                canvas.wash(&Shape::oval(-6.0, -17.0, 4.4, 3.2), ear, 200);
            }
            (12.5, -23.5)
        }
    };
    if thing.action != Action::Sleep {
        // A collar of string.
        let collar = [(head_x - 6.2, head_y + 4.6), (head_x - 2.0, head_y + 8.0), (head_x + 2.6, head_y + 7.6)];
        canvas.line(&Shape::curve(&collar), Tint(214, 190, 140), 1.8);
    }
    canvas.solid(&Shape::circle(head_x, head_y, 7.6), coat);
    canvas.flat(&Shape::oval(head_x + 6.3, head_y + 2.6, 4.6, 3.5), muzzle);
    canvas.fill(&Shape::oval(head_x + 9.6, head_y + 1.2, 1.9, 1.5), DARK);
    canvas.line(
        &Shape::curve(&[(head_x + 8.6, head_y + 4.2), (head_x + 6.8, head_y + 5.4), (head_x + 4.6, head_y + 4.4)]),
        DARK,
        0.8,
    );
    match thing.action {
        Action::Sleep => closed_eye(canvas, head_x + 2.4, head_y - 0.4, thing.colour),
        _ => eye(canvas, head_x + 2.8, head_y - 1.4, thing.colour),
    }
    let (ear_step, ear_x, ear_y) = match thing.action {
        Action::Run => (5, head_x - 6.6, head_y - 2.0),
        _ => (1, head_x - 4.8, head_y + 0.6),
    };
    let ear_length = if long_ears { 6.6 } else { 5.2 };
    canvas.solid(&Shape::turned_oval(ear_x, ear_y, 3.1, ear_length, ear_step), ear);
}

pub(super) fn cat(canvas: &mut Canvas, thing: &Thing) {
    let mut random = Random::new(thing.place.details);
    let coat = tint(thing.colour);
    let dim = coat.darker(0.16);
    let stripe = if thing.colour == Colour::Black { coat.lighter(0.2) } else { coat.darker(0.3) };
    let striped = thing.colour == Colour::Orange || random.chance(0.4);
    let (head_x, head_y) = match thing.action {
        Action::Sit => {
            canvas.limb(&[(-5.0, -3.0), (-14.5, -1.0), (-13.0, -13.0), (-9.5, -16.0)], coat, 3.4);
            let body = [(-4.5, -23.0), (4.5, -23.0), (8.5, -8.0), (9.0, 0.0), (-9.0, 0.0), (-8.5, -8.0)];
            canvas.solid(&Shape::soft(&body, 6.0), coat);
            if striped {
                for side in [-1.0, 1.0] {
                    for row in 0..3 {
                        let y = -14.0 + 4.0 * row as f32;
                        canvas.line(&Shape::curve(&[(side * 7.6, y), (side * 4.6, y + 0.6)]), stripe, 1.2);
                    }
                }
            }
            canvas.wash(&Shape::oval(0.0, -13.0, 3.4, 5.6), coat.lighter(0.5), 170);
            for side in [-1.0, 1.0] {
                canvas.flat(&Shape::oval(side * 3.2, -1.7, 3.0, 2.0), coat.lighter(0.2));
            }
            (0.0, -25.0)
        }
        Action::Sleep => {
            canvas.solid(
                &Shape::soft(&[(-16.5, 0.0), (-16.0, -12.0), (-4.0, -17.5), (9.0, -13.0), (10.0, 0.0)], 9.0),
                coat,
            );
            if striped {
                for column in 0..3 {
                    let x = -10.0 + 4.6 * column as f32;
                    canvas.line(&Shape::curve(&[(x, -13.4), (x + 1.2, -10.4), (x + 1.0, -7.6)]), stripe, 1.3);
                }
            }
            canvas.limb(&[(-14.0, -3.0), (-8.0, -0.6), (4.0, -1.9)], coat, 3.6);
            (9.5, -8.2)
        }
        _ => {
            canvas.limb(&[(-12.0, -15.0), (-19.5, -17.0), (-16.5, -29.0)], coat, 3.2);
            canvas.limb(&[(-8.0, -10.0), (-5.6, -1.7)], dim, 3.4);
            canvas.limb(&[(5.0, -10.0), (3.0, -1.7)], dim, 3.4);
            canvas.solid(&Shape::oval(-2.0, -13.5, 12.8, 6.6), coat);
            if striped {
                for column in 0..3 {
                    let x = -8.0 + 4.6 * column as f32;
                    canvas.line(&Shape::curve(&[(x, -18.8), (x + 1.0, -15.5), (x + 0.4, -12.5)]), stripe, 1.3);
                }
            }
            canvas.limb(&[(-11.0, -11.0), (-13.5, -6.0), (-13.0, -1.7)], coat, 3.5);
            canvas.limb(&[(8.0, -11.0), (10.5, -6.0), (11.0, -1.7)], coat, 3.5);
            (10.5, -21.5)
        }
    };
    let r = 7.4;
    for side in [-1.0, 1.0] {
        let ear = [
            (head_x + side * 6.9, head_y - 1.5),
            (head_x + side * 6.4, head_y - 10.6),
            (head_x + side * 1.2, head_y - 6.2),
        ];
        canvas.flat(&Shape::soft(&ear, 1.2), coat);
        let inner = [
            (head_x + side * 5.8, head_y - 4.5),
            (head_x + side * 5.6, head_y - 8.4),
            (head_x + side * 3.0, head_y - 6.2),
        ];
        canvas.fill(&Shape::soft(&inner, 0.8), Tint(240, 170, 170));
    }
    canvas.solid(&Shape::oval(head_x, head_y, r + 0.7, r - 0.4), coat);
    if striped {
        for dx in [-2.0, 0.3, 2.6] {
            canvas.line(&Shape::curve(&[(head_x + dx, head_y - 6.4), (head_x + dx, head_y - 4.0)]), stripe, 1.0);
        }
    }
    canvas.wash(&Shape::oval(head_x + 1.0, head_y + 3.0, 3.6, 2.4), coat.lighter(0.55), 200);
    for side in [-1.0, 1.0] {
        let x = head_x + 1.0 + side * 3.3;
        match thing.action {
            Action::Sleep => closed_eye(canvas, x, head_y - 0.8, thing.colour),
            _ => {
                let iris = if thing.colour == Colour::Black { Tint(244, 214, 90) } else { Tint(120, 180, 110) };
                canvas.fill(&Shape::oval(x, head_y - 0.8, 1.7, 1.9), iris);
                canvas.fill(&Shape::oval(x, head_y - 0.8, 0.85, 1.6), DARK);
            }
        }
        let whisker = if thing.colour == Colour::Black { Tint(230, 224, 224) } else { coat.ink() };
        for row in [1.8, 3.4] {
            let from = (head_x + 1.0 + side * 3.6, head_y + row);
            canvas.faint_line(
                &Shape::curve(&[from, (from.0 + side * 5.4, from.1 + (row - 2.4) * 0.6)]),
                whisker,
                0.5,
                190,
            );
        }
    }
    canvas.fill(&Shape::oval(head_x + 1.0, head_y + 1.9, 1.2, 0.9), Tint(224, 120, 124));
}

pub(super) fn horse(canvas: &mut Canvas, thing: &Thing) {
    let mut random = Random::new(thing.place.details);
    let coat = tint(thing.colour);
    let dim = coat.darker(0.18);
    let mane = match thing.colour {
        Colour::White => Tint(206, 196, 186),
        Colour::Black => coat.darker(0.5),
        _ => coat.darker(0.5),
    };
    let hoof = Tint(74, 60, 60);
    let blaze = random.chance(0.5) && thing.colour != Colour::White;
    let runs = thing.action == Action::Run;
    let tail: &[(f32, f32)] = if runs {
        &[(-19.0, -33.0), (-27.0, -36.0), (-29.5, -27.0)]
    } else {
        &[(-19.0, -33.0), (-26.5, -32.0), (-25.0, -15.0)]
    };
    canvas.limb(tail, mane, 4.6);
    // Hip, knee, hoof: far legs, then near ones.
    let legs: [[(f32, f32); 3]; 4] = if runs {
        [
            [(-14.0, -24.0), (-22.0, -16.0), (-27.0, -8.0)],
            [(7.0, -24.0), (17.0, -19.0), (14.0, -9.0)],
            [(-13.0, -24.0), (-16.0, -12.0), (-21.0, -1.8)],
            [(8.0, -24.0), (16.0, -15.0), (24.0, -6.0)],
        ]
    } else {
        [
            [(-12.0, -24.0), (-11.0, -12.0), (-11.0, -1.8)],
            [(5.0, -24.0), (5.5, -12.0), (5.0, -1.8)],
            [(-17.0, -24.0), (-18.5, -12.0), (-17.0, -1.8)],
            [(10.0, -24.0), (11.0, -12.0), (10.8, -1.8)],
        ]
    };
    let leg = |canvas: &mut Canvas, joints: [(f32, f32); 3], tint: Tint| {
        canvas.limb(&joints, tint, 4.4);
        canvas.limb(&[(joints[2].0 - 0.2, joints[2].1), (joints[2].0 + 0.9, joints[2].1)], hoof, 3.4);
    };
    leg(canvas, legs[0], dim);
    leg(canvas, legs[1], dim);
    let neck = [(2.0, -36.0), (12.0, -53.0), (21.0, -51.0), (17.0, -38.0), (13.0, -25.0)];
    canvas.solid(&Shape::soft(&neck, 5.0), coat);
    let body =
        [(-21.0, -29.0), (-20.0, -39.0), (-4.0, -38.0), (12.0, -39.0), (15.0, -27.0), (8.0, -20.0), (-14.0, -19.5)];
    canvas.shade(&Shape::blob(&body), coat.lighter(0.1), coat.darker(0.1));
    let pen = canvas.pen();
    canvas.line(
        &Shape::curve(&[
            (10.0, -21.5),
            (-3.0, -18.5),
            (-19.0, -20.0),
            (-22.0, -30.0),
            (-18.0, -38.5),
            (-6.0, -37.5),
            (3.0, -38.0),
        ]),
        coat.ink(),
        pen,
    );
    leg(canvas, legs[2], coat);
    leg(canvas, legs[3], coat);
    // Head.
    canvas.flat(&Shape::soft(&[(14.0, -53.0), (15.0, -59.0), (18.5, -54.0)], 0.8), coat);
    let head = [(12.5, -53.5), (20.0, -54.5), (30.0, -45.5), (29.0, -40.0), (23.0, -40.5), (14.0, -46.0)];
    canvas.solid(&Shape::soft(&head, 3.4), coat);
    if blaze {
        canvas.line(&Shape::curve(&[(20.8, -52.2), (26.4, -46.8)]), Tint(250, 244, 232), 1.8);
    }
    canvas.fill(&Shape::circle(28.2, -43.6, 0.8), DARK);
    canvas.line(&Shape::curve(&[(28.4, -41.6), (26.0, -41.4)]), coat.ink(), 0.7);
    eye(canvas, 19.4, -49.6, thing.colour);
    // Mane.
    canvas.limb(&[(16.5, -55.5), (10.0, -53.0), (6.0, -43.0), (3.0, -37.5)], mane, 4.0);
    canvas.limb(&[(15.0, -56.0), (18.5, -54.0)], mane, 2.4);
}

pub(super) fn bird(canvas: &mut Canvas, thing: &Thing) {
    let mut random = Random::new(thing.place.details);
    let coat = tint(thing.colour);
    let wing = coat.darker(0.16);
    let belly = coat.lighter(0.5);
    let beak = Tint(246, 168, 52);
    if thing.action == Action::Fly {
        let raised = random.chance(0.6);
        canvas.flat(
            &Shape::soft(&[(-8.0, -12.5), (-17.0, -16.5), (-16.0, -11.5), (-16.5, -7.5), (-8.0, -8.0)], 1.6),
            wing,
        );
        if raised {
            canvas
                .flat(&Shape::soft(&[(0.0, -12.0), (-1.0, -25.5), (6.0, -24.0), (7.5, -13.0)], 2.4), wing.darker(0.12));
        }
        canvas.solid(&Shape::turned_oval(0.0, -10.5, 10.0, 6.2, -1), coat);
        canvas.wash(&Shape::oval(2.0, -7.6, 6.4, 2.9), belly, 220);
        canvas.flat(&Shape::soft(&[(13.0, -16.5), (17.0, -14.2), (13.2, -12.4)], 0.7), beak);
        canvas.solid(&Shape::circle(9.6, -14.6, 5.0), coat);
        eye(canvas, 11.0, -15.6, thing.colour);
        let feathers: [(f32, f32); 4] = if raised {
            [(-5.0, -12.0), (-11.0, -25.5), (-3.0, -24.0), (5.0, -12.5)]
        } else {
            [(-4.0, -13.0), (-12.0, -2.5), (-4.0, -0.8), (6.0, -10.5)]
        };
        canvas.solid(&Shape::soft(&feathers, 2.8), wing);
        return;
    }
    for (x, foot) in [(-1.0, 0.2), (2.6, 0.8)] {
        canvas.line(&Shape::curve(&[(x, -6.0), (x + foot, -0.8)]), Tint(214, 134, 50), 1.3);
        canvas.line(&Shape::curve(&[(x + foot - 1.6, -0.6), (x + foot + 2.2, -0.6)]), Tint(214, 134, 50), 1.2);
    }
    canvas.flat(&Shape::soft(&[(-6.0, -11.0), (-13.0, -9.0), (-12.5, -5.5), (-5.0, -6.0)], 1.6), wing);
    canvas.solid(&Shape::turned_oval(0.0, -9.5, 9.0, 6.6, -2), coat);
    canvas.wash(&Shape::oval(3.0, -8.0, 4.4, 4.0), belly, 220);
    canvas.flat(&Shape::soft(&[(9.5, -19.0), (13.6, -16.8), (9.7, -15.0)], 0.7), beak);
    canvas.solid(&Shape::circle(5.8, -17.2, 5.2), coat);
    eye(canvas, 7.2, -18.2, thing.colour);
    canvas.solid(&Shape::turned_oval(-2.2, -10.2, 5.6, 3.5, -2), wing);
    canvas.line(&Shape::curve(&[(4.4, -22.2), (3.2, -24.0)]), coat.ink(), 0.9);
}
