//! Men, women, boys and girls.

use super::brush::{Canvas, Shape, Tint};
use super::tint;
use crate::data::Random;
use crate::data::scenes::world::{Action, Backdrop, Kind};
use crate::data::scenes::{Thing, layout};

type Spot = (f32, f32);

/// Where the joints are; far limbs first, near limbs second.
struct Pose {
    hip: Spot,
    neck: Spot,
    head: Spot,
    knees: [Spot; 2],
    feet: [Spot; 2],
    elbows: [Spot; 2],
    hands: [Spot; 2],
}

fn pose(thing: &Thing, adult: bool) -> Pose {
    let (hip_y, neck_y, head_y) = if adult { (-23.0, -43.0, -50.0) } else { (-13.5, -27.0, -35.0) };
    let arm = if adult { 1.0 } else { 0.78 };
    let shoulder = neck_y + 4.0 * arm;
    let mut pose = Pose {
        hip: (0.0, hip_y),
        neck: (0.0, neck_y),
        head: (0.5, head_y),
        knees: [(-3.6, hip_y / 2.0), (3.6, hip_y / 2.0)],
        feet: [(-3.8, -1.4), (4.2, -1.4)],
        elbows: [(-9.0 * arm, shoulder + 7.0 * arm), (9.0 * arm, shoulder + 7.0 * arm)],
        hands: [(-9.5 * arm, shoulder + 15.0 * arm), (9.5 * arm, shoulder + 15.0 * arm)],
    };
    match thing.action {
        Action::Wave => {
            pose.elbows[1] = (13.5, shoulder + 1.0);
            pose.hands[1] = (14.5, head_y - 3.0);
        }
        Action::Walk => {
            pose.feet = [(-8.0, -1.6), (8.0, -1.4)];
            pose.knees = [(-2.0, hip_y * 0.5), (5.0, hip_y * 0.55)];
            pose.elbows = [(-7.5 * arm, shoulder + 7.0 * arm), (7.0 * arm, shoulder + 8.0 * arm)];
            pose.hands = [(-11.0 * arm, shoulder + 13.0 * arm), (11.5 * arm, shoulder + 11.5 * arm)];
        }
        Action::Run => {
            pose.feet = [(-14.5 * arm.max(0.88), hip_y * 0.36), (11.0, -1.6)];
            pose.knees = [(-4.5, hip_y * 0.3), (9.5, hip_y * 0.72)];
            pose.neck.0 = 3.0;
            pose.head.0 = 5.0;
            pose.elbows = [(-9.0 * arm, shoulder + 6.0 * arm), (10.0 * arm, shoulder + 8.0 * arm)];
            pose.hands = [(-12.0 * arm, shoulder + 12.0 * arm), (14.5 * arm, shoulder + 2.0 * arm)];
        }
        Action::Jump => {
            for joint in [&mut pose.hip, &mut pose.neck, &mut pose.head] {
                joint.1 -= 8.0;
            }
            pose.knees = [(-8.0, hip_y * 0.75 - 5.0), (8.5, hip_y * 0.75 - 5.0)];
            pose.feet = [(-10.0, -7.5), (5.0, -8.5)];
            pose.elbows = [(-14.0, shoulder - 7.0), (14.0, shoulder - 7.0)];
            pose.hands = [(-13.5, head_y - 14.0), (14.0, head_y - 14.0)];
        }
        Action::Sit => {
            let drop = hip_y + 6.0;
            for joint in [&mut pose.hip, &mut pose.neck, &mut pose.head] {
                joint.1 -= drop;
                joint.0 -= 5.0;
            }
            pose.knees = [(6.0 * arm, -10.0 * arm), (8.0 * arm, -10.5 * arm)];
            pose.feet = [(11.5 * arm, -1.8), (14.5 * arm, -1.8)];
            pose.elbows = [(-12.0 * arm - 2.0, -13.0 * arm - 1.0), (-1.0, -14.0 * arm)];
            pose.hands = [(-13.0 * arm - 1.0, -2.5), (6.5 * arm, -12.0 * arm)];
        }
        _ => {}
    }
    if thing.place.holds {
        let (x, y) = layout::hand(thing.kind);
        pose.elbows[1] = (x * 0.72, -y + 5.0 * arm);
        pose.hands[1] = (x, -y);
    }
    pose
}

/// What differs from face to face.
struct Looks {
    skin: Tint,
    hair: Tint,
    /// Which of three: hair, beard, cap, collar.
    style: usize,
    /// Dressed for winter.
    cold: bool,
}

pub(super) fn person(canvas: &mut Canvas, thing: &Thing, backdrop: Backdrop) {
    let mut random = Random::new(thing.place.details);
    let skin = *random.choose(&[
        Tint(255, 222, 194),
        Tint(247, 206, 170),
        Tint(226, 176, 134),
        Tint(180, 126, 88),
        Tint(134, 90, 66),
    ]);
    let hair =
        *random.choose(&[Tint(70, 46, 38), Tint(112, 70, 42), Tint(220, 168, 88), Tint(44, 38, 44), Tint(168, 84, 46)]);
    let trousers = *random.choose(&[Tint(74, 82, 112), Tint(104, 88, 78), Tint(72, 70, 82), Tint(126, 116, 98)]);
    let style = random.below(3);
    let cloth = tint(thing.colour);
    let adult = matches!(thing.kind, Kind::Man | Kind::Woman);
    let in_dress = matches!(thing.kind, Kind::Woman | Kind::Girl);
    let cold = backdrop == Backdrop::Snow;
    let pose = pose(thing, adult);
    let radius = if adult { 7.8 } else { 8.4 };
    let (arm_width, leg_width) = if adult { (4.8, 5.4) } else { (4.4, 5.0) };
    let (head_x, head_y) = pose.head;

    // Hair that hangs behind.
    if thing.kind == Kind::Woman && style != 2 {
        let long = if style == 0 { 15.0 } else { 9.0 };
        let points = [
            (head_x - radius - 1.5, head_y - 3.0),
            (head_x + radius + 0.5, head_y - 3.0),
            (head_x + radius - 0.5, head_y + long * 0.7),
            (head_x - 2.0, head_y + long + 1.0),
            (head_x - radius - 3.0, head_y + long),
        ];
        canvas.flat(&Shape::soft(&points, 5.0), hair);
    }

    let leg = if in_dress && !cold { skin } else { trousers };
    let shoe = leg.mix(Tint(70, 44, 40), 0.75);
    for near in [0, 1] {
        if near == 0 {
            sleeve(canvas, &pose, 0, cloth.darker(0.12), skin, arm_width);
        }
        let side = if near == 0 { -2.6 } else { 2.6 };
        let tone = if near == 0 { leg.darker(0.12) } else { leg };
        let foot = pose.feet[near];
        let hip = (pose.hip.0 + side, pose.hip.1);
        let width = if in_dress { leg_width * 0.8 } else { leg_width };
        canvas.limb(&[hip, pose.knees[near], foot], tone, width);
        canvas.flat(&Shape::oval(foot.0 + 1.4, foot.1 + 0.2, 3.6, 2.1), shoe);
    }

    // Shirt, coat or dress.
    let (neck, hip) = (pose.neck, pose.hip);
    let (shoulders, hips) = if adult { (7.6, 6.6) } else { (6.6, 6.2) };
    let body = match (in_dress, thing.action) {
        (true, Action::Sit) => {
            let knee = pose.knees[1];
            Shape::soft(
                &[
                    (neck.0 - shoulders * 0.8, neck.1 + 1.0),
                    (neck.0 + shoulders * 0.8, neck.1 + 1.0),
                    (hip.0 + 5.5, hip.1 - 4.0),
                    (knee.0 + 2.5, knee.1 - 1.5),
                    (knee.0 + 4.0, knee.1 + 6.0),
                    (hip.0 - 8.0, -0.5),
                ],
                3.5,
            )
        }
        (true, _) => {
            let (hem, flare) = if adult { (12.0, 11.5) } else { (6.5, 10.5) };
            Shape::soft(
                &[
                    (neck.0 - shoulders * 0.8, neck.1 + 1.0),
                    (neck.0 + shoulders * 0.8, neck.1 + 1.0),
                    (hip.0 + 4.8, hip.1 - 7.0),
                    (hip.0 + flare, hip.1 + hem),
                    (hip.0 - flare, hip.1 + hem),
                    (hip.0 - 4.8, hip.1 - 7.0),
                ],
                2.8,
            )
        }
        (false, _) => {
            let hem = if cold { 5.0 } else { 1.5 };
            Shape::soft(
                &[
                    (neck.0 - shoulders, neck.1 + 1.0),
                    (neck.0 + shoulders, neck.1 + 1.0),
                    (hip.0 + hips, hip.1 + hem),
                    (hip.0 - hips, hip.1 + hem),
                ],
                3.2,
            )
        }
    };
    canvas.solid(&body, cloth);
    if cold {
        // Buttons of the coat.
        for button in 0..3 {
            let y = neck.1 + 5.0 + (hip.1 - neck.1 - 4.0) * button as f32 / 3.0;
            canvas.fill(&Shape::circle(neck.0 + 1.8, y, 0.8), cloth.ink());
        }
    } else if in_dress {
        let waist = Shape::curve(&[(hip.0 - 4.9, hip.1 - 6.6), (hip.0, hip.1 - 5.4), (hip.0 + 4.9, hip.1 - 6.6)]);
        canvas.line(&waist, cloth.ink(), 1.1);
    } else if style == 1 {
        canvas.line(
            &Shape::curve(&[(neck.0 - 2.6, neck.1 + 1.6), (neck.0 + 0.4, neck.1 + 4.6), (neck.0 + 3.0, neck.1 + 1.6)]),
            cloth.lighter(0.6),
            1.4,
        );
    }
    sleeve(canvas, &pose, 1, cloth, skin, arm_width);

    head(canvas, thing, pose.head, radius, &Looks { skin, hair, style, cold });
}

fn sleeve(canvas: &mut Canvas, pose: &Pose, near: usize, cloth: Tint, skin: Tint, width: f32) {
    let side = if near == 0 { -1.0 } else { 1.0 };
    let shoulder = (pose.neck.0 + side * 5.6, pose.neck.1 + 4.0);
    let (elbow, hand) = (pose.elbows[near], pose.hands[near]);
    canvas.flat(&Shape::circle(hand.0, hand.1, width * 0.5), skin);
    let wrist = (hand.0 * 0.85 + elbow.0 * 0.15, hand.1 * 0.85 + elbow.1 * 0.15);
    canvas.limb(&[shoulder, elbow, wrist], cloth, width);
}

fn head(canvas: &mut Canvas, thing: &Thing, (x, y): Spot, radius: f32, looks: &Looks) {
    let &Looks { skin, hair, style, cold } = looks;
    let cloth = tint(thing.colour);
    if thing.kind == Kind::Girl {
        for side in [-1.0, 1.0] {
            let (tail_x, tail_y) = (x + side * (radius + 2.0), y + 1.5);
            let step = if side < 0.0 { 2 } else { -2 };
            canvas.flat(&Shape::turned_oval(tail_x, tail_y + 2.0, 2.9, 5.2, step), hair);
        }
    }
    canvas.shade(&Shape::circle(x, y, radius), skin.lighter(0.12), skin);
    let pen = canvas.pen();
    canvas.line(&Shape::circle(x, y, radius), skin.ink(), pen);

    // The face looks forward.
    let dark = Tint(54, 36, 44);
    canvas.wash(&Shape::circle(x - 1.6, y + 3.0, 1.9), Tint(236, 96, 96), 90);
    canvas.wash(&Shape::circle(x + 6.0, y + 3.0, 1.6), Tint(236, 96, 96), 90);
    for eye in [0.2, 5.0] {
        canvas.fill(&Shape::oval(x + eye, y + 0.3, 0.95, 1.25), dark);
    }
    canvas.line(&Shape::curve(&[(x + 0.6, y + 3.4), (x + 2.6, y + 5.2), (x + 4.8, y + 3.4)]), dark, 0.9);

    let r = radius;
    if thing.kind == Kind::Man && style == 1 {
        let beard = [
            (x - r * 0.95, y + 0.5),
            (x - r * 0.3, y + 2.6),
            (x + 1.0, y + 2.4),
            (x + 2.7, y + 3.4),
            (x + 4.6, y + 2.4),
            (x + r * 0.97, y + 0.5),
            (x + r * 0.75, y + r * 0.95),
            (x + 1.5, y + r * 1.4),
            (x - r * 0.7, y + r * 0.95),
        ];
        canvas.flat(&Shape::soft(&beard, 2.2), hair);
        canvas.line(
            &Shape::curve(&[(x + 1.2, y + 4.4), (x + 2.8, y + 5.6), (x + 4.4, y + 4.4)]),
            skin.darker(0.3),
            1.0,
        );
    }
    let fringe: Vec<Spot> = match thing.kind {
        Kind::Man => vec![
            (-1.06, 0.1),
            (-1.1, -0.7),
            (-0.5, -1.28),
            (0.5, -1.3),
            (1.1, -0.75),
            (0.95, -0.35),
            (0.3, -0.62),
            (-0.55, -0.5),
            (-0.7, 0.1),
        ],
        Kind::Boy => vec![
            (-1.08, 0.15),
            (-1.15, -0.6),
            (-0.7, -1.2),
            (-0.1, -1.25),
            (0.15, -1.55),
            (0.4, -1.22),
            (1.05, -0.9),
            (1.05, -0.1),
            (0.7, -0.5),
            (0.35, -0.28),
            (-0.05, -0.5),
            (-0.5, -0.25),
            (-0.75, 0.15),
        ],
        _ => vec![
            (-1.12, 0.5),
            (-1.16, -0.6),
            (-0.5, -1.26),
            (0.5, -1.26),
            (1.14, -0.6),
            (1.1, 0.4),
            (0.85, -0.2),
            (0.1, -0.72),
            (-0.55, -0.3),
            (-0.8, 0.4),
        ],
    };
    let fringe: Vec<Spot> = fringe.into_iter().map(|(dx, dy)| (x + dx * r, y + dy * r)).collect();
    canvas.flat(&Shape::soft(&fringe, 2.4), hair);
    if cold {
        // A woolly hat.
        let brim = y - r * 0.42;
        let cap =
            [(x - r * 1.05, brim), (x - r * 0.85, y - r * 1.35), (x + r * 0.85, y - r * 1.35), (x + r * 1.05, brim)];
        canvas.solid(&Shape::soft(&cap, 4.5), cloth);
        canvas.flat(
            &Shape::soft(
                &[
                    (x - r * 1.12, brim - 2.0),
                    (x + r * 1.12, brim - 2.0),
                    (x + r * 1.12, brim + 1.4),
                    (x - r * 1.12, brim + 1.4),
                ],
                1.4,
            ),
            cloth.lighter(0.45),
        );
        canvas.flat(&Shape::circle(x, y - r * 1.42, 2.2), cloth.lighter(0.45));
        return;
    }
    match (thing.kind, style) {
        (Kind::Boy, 0 | 1) => {
            let brim = y - r * 0.45;
            let cap =
                [(x - r * 1.06, brim), (x - r * 0.8, y - r * 1.35), (x + r * 0.8, y - r * 1.3), (x + r * 1.04, brim)];
            canvas.solid(&Shape::soft(&cap, 4.6), cloth);
            canvas.flat(
                &Shape::soft(
                    &[
                        (x + 1.0, brim - 1.6),
                        (x + r * 1.75, brim - 0.6),
                        (x + r * 1.6, brim + 1.2),
                        (x + 1.0, brim + 1.0),
                    ],
                    1.0,
                ),
                cloth.darker(0.15),
            );
        }
        (Kind::Girl, _) => {
            for side in [-1.0, 1.0] {
                canvas.flat(&Shape::circle(x + side * (r + 0.4), y - 2.2, 1.7), cloth);
            }
        }
        (Kind::Woman, 2) => canvas.flat(&Shape::circle(x - r * 0.35, y - r * 1.42, 3.6), hair),
        (Kind::Woman, 1) => {
            canvas.line(
                &Shape::curve(&[(x - r * 0.95, y - r * 0.55), (x, y - r * 1.4), (x + r * 0.95, y - r * 0.55)]),
                cloth,
                1.8,
            );
        }
        _ => {}
    }
}
