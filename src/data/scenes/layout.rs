//! Composes scenes: kinds, colours, actions and positions, with limited occlusion.

use super::paint;
use super::world::{Action, Backdrop, Colour, Kind, Relation, Size};
use super::{Bond, Thing};
use crate::data::{BoundingBox, Random};

/// Side of a scene in layout units.
pub(super) const SIDE: f32 = 128.0;
/// Smallest visible share of an object.
const LEAST_VISIBLE: f32 = 0.6;
/// Smallest side of a visible box, in pixels.
const LEAST_SIDE: f32 = 12.0;

/// The backdrop with its heights, in pixels from the top, and the seed of its details.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    pub backdrop: Backdrop,
    /// Top of the ground, sea or floor.
    pub horizon: f32,
    /// Top of the ground that objects stand on: at the sea, the beach.
    pub shore: f32,
    pub details: u64,
}

impl Stage {
    fn draw_from(random: &mut Random) -> Self {
        let backdrop = *random.choose(Backdrop::ALL);
        let (horizon, shore) = match backdrop {
            Backdrop::Sea => (random.between(40.0, 50.0), random.between(82.0, 92.0)),
            Backdrop::Room => {
                let floor = random.between(84.0, 91.0);
                (floor, floor)
            }
            _ => {
                let ground = random.between(62.0, 74.0);
                (ground, ground)
            }
        };
        Self { backdrop, horizon, shore, details: random.next_u64() }
    }
}

/// Position and pose of an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    /// Horizontal centre.
    pub x: f32,
    /// Bottom: where it touches the ground, or its lowest point in the air.
    pub base: f32,
    pub scale: f32,
    /// Whether it faces right.
    pub faces_right: bool,
    /// Seed of the object's details: hair, windows, spots.
    pub details: u64,
    /// Position of the hand that holds its string.
    pub string_to: Option<(f32, f32)>,
    /// Whether its near hand holds something.
    pub holds: bool,
}

/// Width and height of an object at scale 1, in pixels.
pub(super) fn extent(kind: Kind, action: Action) -> (f32, f32) {
    match (kind, action) {
        (Kind::Man | Kind::Woman, Action::Sit) => (32.0, 44.0),
        (Kind::Man | Kind::Woman, Action::Run) => (36.0, 62.0),
        (Kind::Man | Kind::Woman, Action::Wave) => (33.0, 62.0),
        (Kind::Boy | Kind::Girl, Action::Wave) => (33.0, 47.0),
        (Kind::Man | Kind::Woman, Action::Jump) => (34.0, 70.0),
        (Kind::Man | Kind::Woman, _) => (28.0, 62.0),
        (Kind::Boy | Kind::Girl, Action::Sit) => (28.0, 36.0),
        (Kind::Boy | Kind::Girl, Action::Run) => (32.0, 47.0),
        (Kind::Boy | Kind::Girl, Action::Jump) => (33.0, 54.0),
        (Kind::Boy | Kind::Girl, _) => (25.0, 47.0),
        (Kind::Dog, Action::Sit) => (28.0, 34.0),
        (Kind::Dog, Action::Sleep) => (40.0, 20.0),
        (Kind::Dog, _) => (44.0, 33.0),
        (Kind::Cat, Action::Sit) => (26.0, 34.0),
        (Kind::Cat, Action::Sleep) => (36.0, 20.0),
        (Kind::Cat, _) => (40.0, 32.0),
        (Kind::Horse, _) => (62.0, 56.0),
        (Kind::Bird, Action::Fly) => (34.0, 26.0),
        (Kind::Bird, _) => (26.0, 24.0),
        (Kind::Boat, _) => (48.0, 50.0),
        (Kind::House, _) => (60.0, 60.0),
        (Kind::Tree, _) => (44.0, 66.0),
        (Kind::Car, _) => (58.0, 32.0),
        (Kind::Kite, _) => (28.0, 36.0),
        (Kind::Ball, _) => (22.0, 22.0),
        (Kind::Umbrella, Action::Held) => (44.0, 52.0),
        (Kind::Umbrella, _) => (46.0, 50.0),
        (Kind::Balloon, _) => (24.0, 30.0),
        (Kind::Flower, Action::Held) => (18.0, 24.0),
        (Kind::Flower, _) => (24.0, 36.0),
        (Kind::Chair, _) => (32.0, 38.0),
    }
}

/// Position of a person's hand at scale 1: forward of the centre and above the bottom.
pub(super) fn hand(kind: Kind) -> (f32, f32) {
    match kind {
        Kind::Man | Kind::Woman => (13.0, 29.0),
        _ => (11.5, 19.0),
    }
}

/// The kinds of objects of a backdrop, with weights.
fn cast(backdrop: Backdrop) -> &'static [(Kind, u32)] {
    use Kind::*;
    match backdrop {
        Backdrop::Meadow => &[
            (Man, 7),
            (Woman, 7),
            (Boy, 9),
            (Girl, 9),
            (Dog, 12),
            (Cat, 7),
            (Horse, 9),
            (Bird, 8),
            (House, 9),
            (Tree, 10),
            (Kite, 4),
            (Ball, 6),
            (Car, 5),
            (Umbrella, 3),
            (Balloon, 5),
            (Flower, 9),
        ],
        Backdrop::Sea => &[
            (Boat, 26),
            (Man, 6),
            (Woman, 6),
            (Boy, 8),
            (Girl, 8),
            (Dog, 8),
            (Bird, 9),
            (Kite, 5),
            (Ball, 8),
            (Umbrella, 9),
            (Balloon, 3),
            (Chair, 5),
            (Cat, 2),
        ],
        Backdrop::Desert => &[
            (Man, 8),
            (Woman, 8),
            (Boy, 5),
            (Girl, 5),
            (Dog, 7),
            (Horse, 13),
            (Bird, 8),
            (House, 8),
            (Car, 13),
            (Balloon, 6),
            (Kite, 5),
            (Umbrella, 5),
            (Ball, 4),
            (Tree, 6),
            (Flower, 4),
            (Cat, 3),
        ],
        Backdrop::Snow => &[
            (Man, 7),
            (Woman, 7),
            (Boy, 8),
            (Girl, 8),
            (Dog, 11),
            (Cat, 5),
            (Bird, 8),
            (House, 11),
            (Tree, 11),
            (Car, 7),
            (Ball, 4),
            (Horse, 7),
            (Balloon, 4),
            (Kite, 2),
        ],
        Backdrop::Night => &[
            (House, 13),
            (Tree, 9),
            (Cat, 10),
            (Dog, 8),
            (Man, 6),
            (Woman, 6),
            (Boy, 5),
            (Girl, 5),
            (Car, 12),
            (Balloon, 6),
            (Horse, 6),
            (Bird, 6),
            (Flower, 4),
        ],
        Backdrop::Room => &[
            (Man, 7),
            (Woman, 7),
            (Boy, 8),
            (Girl, 8),
            (Dog, 11),
            (Cat, 13),
            (Ball, 9),
            (Balloon, 8),
            (Chair, 15),
            (Flower, 11),
        ],
    }
}

fn actions(kind: Kind, backdrop: Backdrop) -> &'static [(Action, u32)] {
    use Action::*;
    match kind {
        Kind::Man | Kind::Woman if backdrop == Backdrop::Snow => &[(Stand, 4), (Walk, 4), (Run, 3), (Wave, 3)],
        Kind::Man | Kind::Woman => &[(Stand, 4), (Walk, 4), (Run, 3), (Sit, 2), (Wave, 3)],
        Kind::Boy | Kind::Girl if backdrop == Backdrop::Snow => &[(Stand, 3), (Run, 4), (Jump, 3), (Wave, 3)],
        Kind::Boy | Kind::Girl => &[(Stand, 3), (Run, 4), (Jump, 3), (Sit, 3), (Wave, 3)],
        Kind::Dog => &[(Stand, 3), (Run, 5), (Sit, 4), (Sleep, 3)],
        Kind::Cat => &[(Walk, 4), (Sit, 5), (Sleep, 4)],
        Kind::Horse => &[(Stand, 4), (Run, 4)],
        Kind::Bird if backdrop == Backdrop::Room => &[(Stand, 1)],
        Kind::Bird => &[(Fly, 3), (Stand, 1)],
        Kind::Boat => &[(Sail, 1)],
        Kind::House | Kind::Tree | Kind::Umbrella | Kind::Flower | Kind::Chair => &[(Stand, 1)],
        Kind::Car => &[(Park, 1), (Drive, 1)],
        Kind::Kite => &[(Fly, 1)],
        Kind::Ball => &[(Lie, 1)],
        Kind::Balloon => &[(Float, 1)],
    }
}

fn colours(kind: Kind) -> &'static [(Colour, u32)] {
    use Colour::*;
    match kind {
        Kind::Man | Kind::Boy => &[(Red, 5), (Blue, 5), (Yellow, 3), (Green, 4)],
        Kind::Woman | Kind::Girl => &[(Red, 5), (Blue, 4), (Yellow, 3), (Pink, 3), (Purple, 2)],
        Kind::Dog => &[(Brown, 5), (Black, 3), (White, 4)],
        Kind::Cat => &[(Black, 3), (White, 3), (Orange, 5)],
        Kind::Horse => &[(Brown, 5), (Black, 3), (White, 4)],
        Kind::Bird => &[(Red, 4), (Blue, 4), (Yellow, 4), (Black, 2)],
        Kind::Tree => &[(Green, 5), (Orange, 3), (Pink, 2)],
        Kind::Flower => &[(Red, 5), (Yellow, 5), (Pink, 3), (Purple, 3), (White, 3)],
        Kind::House => &[(Red, 5), (Yellow, 4), (Blue, 4), (White, 4)],
        Kind::Car => &[(Red, 6), (Blue, 5), (Yellow, 4), (Green, 3)],
        Kind::Chair => &[(Brown, 4), (Red, 4), (Blue, 4), (Green, 3)],
        Kind::Boat => &[(Red, 5), (Blue, 4), (Yellow, 4), (Green, 2), (White, 2)],
        Kind::Kite | Kind::Ball | Kind::Umbrella | Kind::Balloon => {
            &[(Red, 6), (Blue, 5), (Yellow, 5), (Green, 3), (Purple, 3)]
        }
    }
}

/// Whether a colour would be invisible against the backdrop.
fn melts(kind: Kind, colour: Colour, backdrop: Backdrop) -> bool {
    match backdrop {
        Backdrop::Snow => colour == Colour::White,
        Backdrop::Night => matches!(colour, Colour::Black),
        Backdrop::Meadow => colour == Colour::Green && !matches!(kind, Kind::Tree | Kind::House | Kind::Car),
        Backdrop::Desert => matches!(colour, Colour::Pink) && kind == Kind::Tree,
        _ => false,
    }
}

fn sizes(kind: Kind) -> &'static [(Size, u32)] {
    use Size::*;
    match kind {
        Kind::Dog | Kind::House | Kind::Boat | Kind::Tree => &[(Small, 2), (Medium, 6), (Big, 2)],
        Kind::Car | Kind::Horse => &[(Small, 1), (Medium, 5)],
        Kind::Ball | Kind::Balloon | Kind::Flower | Kind::Kite | Kind::Cat | Kind::Bird => &[(Medium, 4), (Big, 1)],
        _ => &[(Medium, 1)],
    }
}

fn weighted<T: Copy>(random: &mut Random, items: &[(T, u32)]) -> T {
    let total: u32 = items.iter().map(|item| item.1).sum();
    let mut left = random.below(total as usize) as u32;
    for &(item, weight) in items {
        if left < weight {
            return item;
        }
        left -= weight;
    }
    unreachable!("the number drawn is below the sum of the weights")
}

/// An object without a position.
#[derive(Debug, Clone)]
struct Draft {
    kind: Kind,
    colour: Colour,
    size: Size,
    action: Action,
    /// The draft that holds it or plays with it.
    bond: Option<(usize, Relation)>,
    /// The draft of the same kind that it stays close to.
    twin_of: Option<usize>,
}

fn draft(random: &mut Random, kind: Kind, backdrop: Backdrop) -> Draft {
    let colour = loop {
        let colour = weighted(random, colours(kind));
        if !melts(kind, colour, backdrop) {
            break colour;
        }
    };
    // Pines and palms are green.
    let colour = if kind == Kind::Tree && matches!(backdrop, Backdrop::Snow | Backdrop::Desert) {
        Colour::Green
    } else {
        colour
    };
    let size = weighted(random, sizes(kind));
    Draft { kind, colour, size, action: weighted(random, actions(kind, backdrop)), bond: None, twin_of: None }
}

/// Chooses the objects of a scene.
fn choose_things(random: &mut Random, backdrop: Backdrop) -> Vec<Draft> {
    let wanted = weighted(random, &[(1usize, 33), (2, 44), (3, 16), (4, 7)]);
    let mut drafts: Vec<Draft> = Vec::with_capacity(wanted);
    while drafts.len() < wanted {
        let room = wanted - drafts.len();
        let kind = weighted(random, cast(backdrop));
        let dull_alone = matches!(kind, Kind::Ball | Kind::Kite | Kind::Umbrella | Kind::Chair | Kind::Balloon);
        if drafts.iter().any(|other| other.kind == kind) || wanted == 1 && dull_alone {
            continue;
        }
        let index = drafts.len();
        let mut first = draft(random, kind, backdrop);
        if wanted == 1 {
            // Alone, its size could not be judged.
            first.size = Size::Medium;
        }
        drafts.push(first);
        if room < 2 {
            continue;
        }
        if kind.is_person() && random.chance(0.42) {
            let props: &[(Kind, u32)] = if backdrop == Backdrop::Room {
                &[(Kind::Balloon, 4), (Kind::Flower, 2), (Kind::Ball, 4), (Kind::Umbrella, 1)]
            } else {
                &[(Kind::Kite, 4), (Kind::Balloon, 4), (Kind::Flower, 2), (Kind::Ball, 4), (Kind::Umbrella, 3)]
            };
            let prop = weighted(random, props);
            if drafts.iter().all(|other| other.kind != prop) {
                let mut held = draft(random, prop, backdrop);
                let relation = if prop == Kind::Ball { Relation::PlayingWith } else { Relation::Holding };
                held.bond = Some((index, relation));
                if matches!(prop, Kind::Umbrella | Kind::Flower) {
                    held.action = Action::Held;
                    held.size = Size::Medium;
                }
                drafts[index].action = match (relation, prop) {
                    (Relation::PlayingWith, _) => Action::Run,
                    (_, Kind::Kite) => *random.choose(&[Action::Stand, Action::Run]),
                    _ => *random.choose(&[Action::Stand, Action::Walk]),
                };
                if matches!(kind, Kind::Boy | Kind::Girl) && drafts[index].action == Action::Walk {
                    drafts[index].action = Action::Stand;
                }
                drafts.push(held);
            }
        } else if kind == Kind::Dog && random.chance(0.25) && drafts.iter().all(|other| other.kind != Kind::Ball) {
            let mut ball = draft(random, Kind::Ball, backdrop);
            ball.bond = Some((index, Relation::PlayingWith));
            ball.size = Size::Medium;
            drafts[index].action = Action::Run;
            drafts.push(ball);
        } else if random.chance(0.3) && kind != Kind::House {
            let twins = if room >= 3 && random.chance(0.35) { 2 } else { 1 };
            let same_colour = random.chance(0.6);
            let same_action = random.chance(0.7);
            for _ in 0..twins {
                let mut twin = draft(random, kind, backdrop);
                twin.twin_of = Some(index);
                twin.size = drafts[index].size;
                if same_colour {
                    twin.colour = drafts[index].colour;
                }
                if same_action {
                    twin.action = drafts[index].action;
                }
                drafts.push(twin);
            }
        }
    }
    drafts
}

fn size_factor(size: Size) -> f32 {
    match size {
        Size::Small => 0.68,
        Size::Medium => 1.0,
        Size::Big => 1.3,
    }
}

/// Nearest and farthest position of a kind on the ground, as shares of the way from the horizon to the viewer.
fn depth_range(kind: Kind) -> (f32, f32) {
    match kind {
        Kind::House => (0.06, 0.4),
        Kind::Tree => (0.08, 0.65),
        Kind::Car => (0.3, 0.9),
        Kind::Horse => (0.3, 0.95),
        Kind::Ball | Kind::Flower => (0.4, 1.0),
        _ => (0.28, 1.0),
    }
}

fn is_aloft(draft: &Draft) -> bool {
    matches!(draft.action, Action::Fly | Action::Float)
}

/// The box of an object without occlusion.
fn outline(kind: Kind, action: Action, place: &Place) -> BoundingBox {
    let (width, height) = extent(kind, action);
    let (width, height) = (width * place.scale, height * place.scale);
    BoundingBox {
        left: place.x - width / 2.0,
        top: place.base - height,
        right: place.x + width / 2.0,
        bottom: place.base,
    }
}

/// Places a draft among those placed; `None` if it would leave the image.
fn try_place(random: &mut Random, stage: &Stage, drafts: &[Draft], placed: &[Place], draft: &Draft) -> Option<Place> {
    let (width, height) = extent(draft.kind, draft.action);
    let mut faces_right = random.chance(0.5);
    let details = random.next_u64();
    // Fewer objects are viewed from closer.
    let closeness = [1.5, 1.5, 1.32, 1.12, 1.0][drafts.len().min(4)];
    let factor = size_factor(draft.size) * closeness;
    let mut string_to = None;

    let (x, base, scale) = if let Some((holder, relation)) = draft.bond {
        let person = placed.get(holder)?;
        let forward = if person.faces_right { 1.0 } else { -1.0 };
        faces_right = person.faces_right;
        if relation == Relation::PlayingWith {
            let reach = extent(drafts[holder].kind, drafts[holder].action).0 / 2.0 * person.scale;
            let scale = 0.95 * person.scale * size_factor(draft.size);
            let gap = random.between(0.4, 0.75) * width * scale;
            (person.x + forward * (reach + gap), person.base + random.between(0.0, 2.0), scale)
        } else {
            let (hand_x, hand_y) = hand(drafts[holder].kind);
            let hand = (person.x + forward * hand_x * person.scale, person.base - hand_y * person.scale);
            match draft.kind {
                Kind::Kite => {
                    string_to = Some(hand);
                    let scale = random.between(0.8, 1.0) * factor;
                    let side = forward * random.between(14.0, 40.0);
                    (hand.0 + side, random.between(height * scale + 2.0, stage.horizon.min(60.0)), scale)
                }
                Kind::Balloon => {
                    string_to = Some(hand);
                    let scale = random.between(0.85, 1.0) * factor;
                    (hand.0 + forward * random.between(0.0, 8.0), hand.1 - random.between(20.0, 28.0), scale)
                }
                Kind::Umbrella => (hand.0 - forward, hand.1 + 2.0, person.scale),
                _ => (hand.0 + forward * 1.5, hand.1 + 6.0, person.scale),
            }
        }
    } else if draft.kind == Kind::Boat {
        let (far, near) = (stage.horizon + 12.0, stage.shore - 3.0);
        let share = random.unit();
        let scale = (0.78 + 0.3 * share) * factor;
        (random.between(8.0, SIDE - 8.0), far + (near - far) * share, scale)
    } else if is_aloft(draft) {
        let scale = random.between(0.85, 1.05) * factor;
        let lowest = if stage.backdrop == Backdrop::Room { stage.horizon - 14.0 } else { stage.horizon + 2.0 };
        let highest = height * scale + 3.0;
        (random.between(8.0, SIDE - 8.0), random.between(highest, lowest.max(highest + 4.0)), scale)
    } else {
        let (nearest, farthest) = match stage.backdrop {
            Backdrop::Sea => (SIDE - 4.0, stage.shore + 8.0),
            Backdrop::Room => (SIDE - 4.0, stage.shore + 4.0),
            _ => (SIDE - 5.0, stage.shore + 5.0),
        };
        let (low, high) = depth_range(draft.kind);
        let mut share = random.between(low, high);
        let mut x = random.between(8.0, SIDE - 8.0);
        // Some are in front of or behind another; twins stay close.
        let neighbour = draft.twin_of.or_else(|| {
            let on_ground: Vec<usize> = (0..placed.len())
                .filter(|&other| {
                    !is_aloft(&drafts[other]) && drafts[other].kind != Kind::Boat && drafts[other].bond.is_none()
                })
                .collect();
            (!on_ground.is_empty() && random.chance(0.45)).then(|| *random.choose(&on_ground))
        });
        if let Some(other) = neighbour.and_then(|other| placed.get(other)) {
            let other_width = neighbour.map_or(20.0, |index| extent(drafts[index].kind, drafts[index].action).0);
            let side = if random.chance(0.5) { 1.0 } else { -1.0 };
            let reach = (other_width * other.scale + width * factor) / 2.0;
            x = other.x + side * reach * random.between(0.55, 1.05);
            let other_share = (other.base - farthest) / (nearest - farthest);
            let step = if draft.twin_of.is_some() { random.between(-0.18, 0.18) } else { random.between(-0.35, 0.35) };
            share = (other_share + step).clamp(low, high);
        }
        let scale = match stage.backdrop {
            Backdrop::Sea | Backdrop::Room => 0.92 + 0.14 * share,
            _ => 0.8 + 0.26 * share,
        };
        (x, farthest + (nearest - farthest) * share, scale * factor)
    };

    // Keeps objects recognisable.
    let scale = if width.min(height) * scale < 17.0 { 17.0 / width.min(height) } else { scale };
    let place = Place { x, base, scale, faces_right, details, string_to, holds: false };
    let bounds = outline(draft.kind, draft.action, &place);
    let inside = bounds.left >= 2.0 && bounds.right <= SIDE - 2.0 && bounds.top >= 2.0 && bounds.bottom <= SIDE - 2.0;
    inside.then_some(place)
}

fn overlap(a: &BoundingBox, b: &BoundingBox) -> f32 {
    a.intersection(b).map_or(0.0, |common| area(&common))
}

fn area(bounds: &BoundingBox) -> f32 {
    bounds.area() as f32
}

/// Whether two objects may be placed like this.
fn get_along(a: (&Draft, &Place), b: (&Draft, &Place), bonded: bool) -> bool {
    let (first, second) = (outline(a.0.kind, a.0.action, a.1), outline(b.0.kind, b.0.action, b.1));
    let shared = overlap(&first, &second);
    if shared <= 0.0 || bonded {
        return true;
    }
    let share = shared / area(&first).min(area(&second));
    if is_aloft(a.0) || is_aloft(b.0) {
        return share < 0.08;
    }
    let (rear, front) = if a.1.base < b.1.base { (a, &second) } else { (b, &first) };
    let limit = if a.0.kind == b.0.kind { 0.25 } else { 0.5 };
    // The order in depth must be evident, and faces must stay visible.
    let rear_bounds = outline(rear.0.kind, rear.0.action, rear.1);
    let head = BoundingBox { bottom: rear_bounds.top + 0.4 * (rear_bounds.bottom - rear_bounds.top), ..rear_bounds };
    let head_free = !rear.0.kind.is_alive() || overlap(&head, front) < 0.12 * area(&head);
    (a.1.base - b.1.base).abs() >= 4.0 && shared < limit * area(&rear_bounds) && head_free
}

/// Drawing order of the objects, farthest first.
pub(super) fn order(things: &[Thing], bonds: &[Bond]) -> Vec<usize> {
    let depth = |index: usize| -> f32 {
        let thing = &things[index];
        match bonds.iter().find(|bond| bond.object == index && bond.relation == Relation::Holding) {
            // Just behind the holder of its string, or just before the one who holds it in the hand.
            Some(bond) => things[bond.subject].place.base + if thing.action == Action::Held { 0.01 } else { -0.01 },
            None if thing.is_aloft() => thing.place.base - 1000.0,
            None => thing.place.base,
        }
    };
    let mut order: Vec<usize> = (0..things.len()).collect();
    order.sort_by(|&a, &b| depth(a).total_cmp(&depth(b)));
    order
}

/// Composes a scene: the stage, the objects with their visible boxes, and the bonds.
pub(super) fn compose(random: &mut Random) -> (Stage, Vec<Thing>, Vec<Bond>) {
    let stage = Stage::draw_from(random);
    let mut drafts = choose_things(random, stage.backdrop);
    let mut attempts = 0;
    loop {
        attempts += 1;
        // Reduces a crowd that cannot be placed, and replaces objects that never fit.
        if attempts % 12 == 0 {
            drafts.pop();
            if drafts.is_empty() {
                drafts = choose_things(random, stage.backdrop);
            }
        }
        if let Some(composed) = place_all(random, &stage, &drafts) {
            let (things, bonds) = composed;
            return (stage, things, bonds);
        }
    }
}

fn place_all(random: &mut Random, stage: &Stage, drafts: &[Draft]) -> Option<(Vec<Thing>, Vec<Bond>)> {
    let mut placed: Vec<Place> = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter().enumerate() {
        let place = (0..24).find_map(|_| {
            let place = try_place(random, stage, drafts, &placed, draft)?;
            let fits = placed.iter().enumerate().all(|(other, there)| {
                let bonded = draft.bond.is_some_and(|(holder, _)| holder == other);
                get_along((&drafts[other], there), (draft, &place), bonded)
            });
            fits.then_some(place)
        })?;
        debug_assert_eq!(placed.len(), index);
        placed.push(place);
    }
    let mut things: Vec<Thing> = drafts
        .iter()
        .zip(placed)
        .map(|(draft, place)| Thing {
            kind: draft.kind,
            colour: draft.colour,
            size: draft.size,
            action: draft.action,
            bounds: outline(draft.kind, draft.action, &place),
            visible: 1.0,
            place,
        })
        .collect();
    let bonds: Vec<Bond> = drafts
        .iter()
        .enumerate()
        .filter_map(|(object, draft)| draft.bond.map(|(subject, relation)| Bond { subject, relation, object }))
        .collect();

    for bond in bonds.iter().filter(|bond| bond.relation == Relation::Holding) {
        things[bond.subject].place.holds = true;
    }

    let order = order(&things, &bonds);
    for (index, seen) in paint::visible_extents(stage, &things, &order).into_iter().enumerate() {
        let (bounds, visible) = seen?;
        let side = (bounds.right - bounds.left).min(bounds.bottom - bounds.top);
        if visible < LEAST_VISIBLE || side < LEAST_SIDE {
            return None;
        }
        things[index].bounds = bounds;
        things[index].visible = visible;
    }
    Some((things, bonds))
}
