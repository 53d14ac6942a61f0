//! The vocabulary of captions with meanings: the writer chooses from these lists, the parser looks words up.

use super::world::{Action, Backdrop, Colour, Kind, Relation, Size};

/// Nouns of a kind, singular and plural, most common first.
pub(super) fn nouns(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Man => &[("man", "men"), ("gentleman", "gentlemen"), ("guy", "guys")],
        Kind::Woman => &[("woman", "women"), ("lady", "ladies")],
        Kind::Boy => &[("boy", "boys"), ("lad", "lads")],
        Kind::Girl => &[("girl", "girls"), ("schoolgirl", "schoolgirls")],
        Kind::Dog => &[("dog", "dogs"), ("puppy", "puppies"), ("hound", "hounds")],
        Kind::Cat => &[("cat", "cats"), ("kitten", "kittens"), ("kitty", "kitties")],
        Kind::Horse => &[("horse", "horses"), ("pony", "ponies")],
        Kind::Bird => &[("bird", "birds"), ("songbird", "songbirds")],
        Kind::Boat => &[("boat", "boats"), ("sailboat", "sailboats"), ("ship", "ships")],
        Kind::House => &[("house", "houses"), ("cottage", "cottages"), ("home", "homes")],
        Kind::Tree => &[("tree", "trees")],
        Kind::Car => &[("car", "cars"), ("automobile", "automobiles")],
        Kind::Kite => &[("kite", "kites")],
        Kind::Ball => &[("ball", "balls")],
        Kind::Umbrella => &[("umbrella", "umbrellas"), ("parasol", "parasols")],
        Kind::Balloon => &[("balloon", "balloons")],
        Kind::Flower => &[("flower", "flowers"), ("blossom", "blossoms")],
        Kind::Chair => &[("chair", "chairs"), ("armchair", "armchairs")],
    }
}

/// Words for a colour, most common first.
pub(super) fn colour_words(colour: Colour) -> &'static [&'static str] {
    match colour {
        Colour::Red => &["red", "scarlet"],
        Colour::Orange => &["orange"],
        Colour::Yellow => &["yellow", "golden"],
        Colour::Green => &["green"],
        Colour::Blue => &["blue"],
        Colour::Purple => &["purple", "violet"],
        Colour::Pink => &["pink"],
        Colour::Brown => &["brown"],
        Colour::Black => &["black"],
        Colour::White => &["white"],
    }
}

/// Words for a size; a medium size is never mentioned.
pub(super) fn size_words(size: Size) -> &'static [&'static str] {
    match size {
        Size::Small => &["small", "little", "tiny"],
        Size::Medium => &[],
        Size::Big => &["big", "large", "huge"],
    }
}

/// Clothes of a person, singular and plural.
pub(super) fn garments(kind: Kind, cold: bool) -> &'static [(&'static str, &'static str)] {
    match (kind, cold) {
        (_, true) => &[("coat", "coats"), ("jacket", "jackets")],
        (Kind::Woman | Kind::Girl, false) => &[("dress", "dresses")],
        _ => &[("shirt", "shirts"), ("sweater", "sweaters")],
    }
}

pub(super) const GARMENTS: &[&str] = &[
    "coat", "coats", "jacket", "jackets", "dress", "dresses", "shirt", "shirts", "sweater", "sweaters", "clothes",
    "outfit",
];

/// Adjectives that claim nothing; they precede the noun, after a number or colour.
pub(super) const NEUTRAL: &[&str] = &["young", "pretty", "lovely", "cute", "happy", "nice", "wooden", "bright", "of"];

/// Forms of a verb: "runs", "run", "running".
pub(super) struct Verb {
    pub action: Action,
    pub singular: &'static str,
    pub plural: &'static str,
    pub participle: &'static str,
    /// The kinds that the writer uses it for; empty for all.
    pub kinds: &'static [Kind],
}

const fn verb(
    action: Action,
    singular: &'static str,
    plural: &'static str,
    participle: &'static str,
    kinds: &'static [Kind],
) -> Verb {
    Verb { action, singular, plural, participle, kinds }
}

const PEOPLE: &[Kind] = &[Kind::Man, Kind::Woman, Kind::Boy, Kind::Girl];
const CHILDREN: &[Kind] = &[Kind::Boy, Kind::Girl];
const ALIVE: &[Kind] = &[Kind::Man, Kind::Woman, Kind::Boy, Kind::Girl, Kind::Dog, Kind::Cat, Kind::Horse, Kind::Bird];
const UPRIGHT: &[Kind] = &[
    Kind::Man,
    Kind::Woman,
    Kind::Boy,
    Kind::Girl,
    Kind::Dog,
    Kind::Cat,
    Kind::Horse,
    Kind::House,
    Kind::Tree,
    Kind::Umbrella,
    Kind::Chair,
];

pub(super) const VERBS: &[Verb] = &[
    verb(Action::Stand, "stands", "stand", "standing", UPRIGHT),
    verb(Action::Stand, "waits", "wait", "waiting", ALIVE),
    verb(Action::Stand, "grows", "grow", "growing", &[Kind::Tree, Kind::Flower]),
    verb(Action::Stand, "blooms", "bloom", "blooming", &[Kind::Flower]),
    verb(Action::Walk, "walks", "walk", "walking", &[]),
    verb(Action::Walk, "strolls", "stroll", "strolling", PEOPLE),
    verb(Action::Run, "runs", "run", "running", &[]),
    verb(Action::Run, "races", "race", "racing", &[Kind::Boy, Kind::Girl, Kind::Dog, Kind::Horse]),
    verb(Action::Run, "gallops", "gallop", "galloping", &[Kind::Horse]),
    verb(Action::Jump, "jumps", "jump", "jumping", &[]),
    verb(Action::Jump, "leaps", "leap", "leaping", CHILDREN),
    verb(Action::Sit, "sits", "sit", "sitting", &[]),
    verb(Action::Sleep, "sleeps", "sleep", "sleeping", &[]),
    verb(Action::Sleep, "naps", "nap", "napping", &[]),
    verb(Action::Wave, "waves", "wave", "waving", PEOPLE),
    verb(Action::Fly, "flies", "fly", "flying", &[]),
    verb(Action::Fly, "soars", "soar", "soaring", &[Kind::Bird, Kind::Kite]),
    verb(Action::Float, "floats", "float", "floating", &[]),
    verb(Action::Float, "drifts", "drift", "drifting", &[]),
    verb(Action::Sail, "sails", "sail", "sailing", &[]),
    verb(Action::Lie, "lies", "lie", "lying", &[]),
    verb(Action::Stand, "rests", "rest", "resting", &[Kind::Bird]),
    verb(Action::Park, "is parked", "are parked", "parked", &[]),
    verb(Action::Drive, "drives", "drive", "driving", &[]),
    verb(Action::Drive, "speeds", "speed", "speeding", &[]),
];

/// Words for a backdrop. Any of them in a caption claims it.
pub(super) const BACKDROP_WORDS: &[(&str, Backdrop)] = &[
    ("meadow", Backdrop::Meadow),
    ("grass", Backdrop::Meadow),
    ("field", Backdrop::Meadow),
    ("countryside", Backdrop::Meadow),
    ("sea", Backdrop::Sea),
    ("ocean", Backdrop::Sea),
    ("water", Backdrop::Sea),
    ("beach", Backdrop::Sea),
    ("shore", Backdrop::Sea),
    ("desert", Backdrop::Desert),
    ("dunes", Backdrop::Desert),
    ("snow", Backdrop::Snow),
    ("snowy", Backdrop::Snow),
    ("winter", Backdrop::Snow),
    ("night", Backdrop::Night),
    ("moon", Backdrop::Night),
    ("moonlight", Backdrop::Night),
    ("stars", Backdrop::Night),
    ("room", Backdrop::Room),
    ("indoors", Backdrop::Room),
    ("inside", Backdrop::Room),
    ("carpet", Backdrop::Room),
];

/// Phrases of place at the end of a sentence.
pub(super) struct Places {
    pub on_ground: &'static [&'static str],
    pub along: &'static [&'static str],
    pub in_air: &'static [&'static str],
    /// Phrases of place at the start of a sentence.
    pub opening: &'static [&'static str],
}

pub(super) fn places(backdrop: Backdrop) -> Places {
    match backdrop {
        Backdrop::Meadow => Places {
            on_ground: &["in the meadow", "on the grass", "in a field", "in the countryside"],
            along: &["across the meadow", "through the grass", "over the grass", "across a field"],
            in_air: &["over the meadow", "in the sky", "high over the field", "over the countryside"],
            opening: &["in the meadow", "out in the field", "in the countryside"],
        },
        Backdrop::Sea => Places {
            on_ground: &["on the beach", "by the sea", "at the shore", "near the water"],
            along: &["along the beach", "along the shore", "by the ocean"],
            in_air: &["over the sea", "in the sky", "over the beach", "high over the ocean"],
            opening: &["at the beach", "by the sea", "down at the shore"],
        },
        Backdrop::Desert => Places {
            on_ground: &["in the desert", "in the hot desert", "among the dunes"],
            along: &["across the desert", "through the desert", "over the dunes"],
            in_air: &["over the desert", "in the sky", "high over the dunes"],
            opening: &["in the desert", "far out in the desert", "among the dunes"],
        },
        Backdrop::Snow => Places {
            on_ground: &["in the snow", "on a winter day", "on the snowy ground"],
            along: &["through the snow", "across the snow", "over the snowy hills"],
            in_air: &["over the snow", "in the winter sky", "over the snowy hills"],
            opening: &["in the snow", "on a cold winter day", "one snowy morning"],
        },
        Backdrop::Night => Places {
            on_ground: &["at night", "in the moonlight", "under the stars", "in the night"],
            along: &["through the night", "in the moonlight", "under the moon"],
            in_air: &["in the night sky", "under the stars", "over the hills at night"],
            opening: &["at night", "under the stars", "late at night", "in the moonlight"],
        },
        Backdrop::Room => Places {
            on_ground: &["in the room", "indoors", "on the carpet", "inside the room"],
            along: &["across the room", "through the room", "over the carpet"],
            in_air: &["in the room", "indoors", "inside the room"],
            opening: &["in the room", "inside a cosy room"],
        },
    }
}

/// Phrases of place for boats.
pub(super) const ON_WATER: &[&str] = &["on the sea", "on the water", "across the sea", "out on the ocean"];

/// Phrases for a relation, word by word.
pub(super) const RELATIONS: &[(Relation, &[&str])] = &[
    (Relation::LeftOf, &["to", "the", "left", "of"]),
    (Relation::LeftOf, &["on", "the", "left", "of"]),
    (Relation::LeftOf, &["left", "of"]),
    (Relation::RightOf, &["to", "the", "right", "of"]),
    (Relation::RightOf, &["on", "the", "right", "of"]),
    (Relation::RightOf, &["right", "of"]),
    (Relation::Above, &["high", "above"]),
    (Relation::Above, &["above"]),
    (Relation::Above, &["over"]),
    (Relation::Below, &["below"]),
    (Relation::Below, &["under"]),
    (Relation::Below, &["underneath"]),
    (Relation::Below, &["beneath"]),
    (Relation::InFrontOf, &["in", "front", "of"]),
    (Relation::Behind, &["behind"]),
    (Relation::NextTo, &["next", "to"]),
    (Relation::NextTo, &["beside"]),
    (Relation::NextTo, &["close", "to"]),
    (Relation::NextTo, &["near"]),
    (Relation::NextTo, &["by"]),
    (Relation::Holding, &["holds"]),
    (Relation::Holding, &["hold"]),
    (Relation::Holding, &["holding"]),
    (Relation::Holding, &["carries"]),
    (Relation::Holding, &["carry"]),
    (Relation::Holding, &["carrying"]),
    (Relation::Holding, &["with"]),
    (Relation::PlayingWith, &["plays", "with"]),
    (Relation::PlayingWith, &["play", "with"]),
    (Relation::PlayingWith, &["playing", "with"]),
    (Relation::PlayingWith, &["kicks"]),
    (Relation::PlayingWith, &["kicking"]),
    (Relation::PlayingWith, &["chases"]),
    (Relation::PlayingWith, &["chasing"]),
];

/// Number words; "one" claims no more than "a" does.
pub(super) const COUNTS: &[(&str, usize)] = &[("two", 2), ("pair", 2), ("couple", 2), ("three", 3), ("four", 4)];

pub(super) const DETERMINERS: &[&str] = &["a", "an", "the", "one", "some"];
