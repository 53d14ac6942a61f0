//! Parses captions into claims, and checks claims against a scene.

use super::lexicon::{self, BACKDROP_WORDS, COUNTS, DETERMINERS, GARMENTS, NEUTRAL, RELATIONS, VERBS};
use super::world::{Action, Backdrop, Colour, Kind, Relation, Size};
use super::{Scene, Thing, words};
use crate::error::{Error, Result};

/// How a caption refers to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mention {
    /// Kind of the object.
    pub kind: Kind,
    /// Its colour; `None` where the caption does not say.
    pub colour: Option<Colour>,
}

/// A single claim of a caption about its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// There is an object of this kind.
    Exists(Kind),
    /// There is an object of this kind and colour ("a boy in a red shirt" counts). The claims that models are measured by.
    Coloured(Kind, Colour),
    /// There is such an object of this size.
    Sized(Mention, Size),
    /// There are exactly that many such objects.
    Counted(Mention, usize),
    /// Such an object does this.
    Acts(Mention, Action),
    /// The first is in this relation to the second.
    Related(Mention, Relation, Mention),
    /// The scene has this backdrop.
    Set(Backdrop),
}

impl std::fmt::Display for Mention {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.colour {
            Some(colour) => write!(formatter, "{colour} {}", self.kind),
            None => write!(formatter, "{}", self.kind),
        }
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists(kind) => write!(formatter, "{kind}"),
            Self::Coloured(kind, colour) => write!(formatter, "{colour} {kind}"),
            Self::Sized(mention, size) => write!(formatter, "{mention} is {size}"),
            Self::Counted(mention, count) => write!(formatter, "{mention} × {count}"),
            Self::Acts(mention, action) => write!(formatter, "{mention}: {action}"),
            Self::Related(subject, relation, object) => write!(formatter, "{subject} {relation} {object}"),
            Self::Set(backdrop) => write!(formatter, "at: {backdrop}"),
        }
    }
}

/// The meaning of a part of a caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Noun {
        mention: Mention,
        size: Option<Size>,
        count: Option<usize>,
    },
    Verb(Action),
    Relation(Relation),
    And,
    /// Start of a clause with its own subject.
    Clause,
    Place(Backdrop),
    Unknown,
}

/// Parses the claims of a caption, sorted and without duplicates. Any string is accepted, such as a model's output; words without
/// meaning are skipped.
///
/// ```
/// use captionlab::data::scenes::{Claim, Colour, Kind, claims};
/// let claims = claims("A boy in a red shirt runs behind a blue car.");
/// assert!(claims.contains(&Claim::Coloured(Kind::Boy, Colour::Red)));
/// assert!(claims.contains(&Claim::Coloured(Kind::Car, Colour::Blue)));
/// ```
pub fn claims(caption: &str) -> Vec<Claim> {
    let mut found = Vec::new();
    // The objects that verbs and relations refer to.
    let mut subjects: Vec<Mention> = Vec::new();
    let mut waiting: Option<Relation> = None;
    let mut joined = false;
    let mut predicate = false;
    let mut unknown = 0;
    for meaning in meanings(&words(caption)) {
        unknown = if meaning == Meaning::Unknown { unknown + 1 } else { 0 };
        match meaning {
            Meaning::Noun { mention, size, count } => {
                found.push(Claim::Exists(mention.kind));
                found.extend(mention.colour.map(|colour| Claim::Coloured(mention.kind, colour)));
                found.extend(size.map(|size| Claim::Sized(mention, size)));
                found.extend(count.map(|count| Claim::Counted(mention, count)));
                if let Some(relation) = waiting.take().filter(|_| !subjects.is_empty()) {
                    found.extend(subjects.iter().map(|&subject| Claim::Related(subject, relation, mention)));
                    predicate = true;
                } else if joined && !predicate {
                    subjects.push(mention);
                } else {
                    subjects = vec![mention];
                    predicate = false;
                }
                joined = false;
            }
            Meaning::Verb(action) => {
                waiting = None;
                if action == Action::Fly && subjects.first().is_some_and(|subject| subject.kind.is_person()) {
                    // "A boy flies a kite."
                    waiting = Some(Relation::Holding);
                } else {
                    found.extend(subjects.iter().map(|&subject| Claim::Acts(subject, fitting(subject.kind, action))));
                }
                predicate = true;
                joined = false;
            }
            Meaning::Relation(relation) => waiting = Some(relation),
            Meaning::And => {
                joined = true;
                waiting = None;
            }
            Meaning::Clause => {
                subjects.clear();
                (waiting, joined, predicate) = (None, false, false);
            }
            Meaning::Place(backdrop) => {
                found.push(Claim::Set(backdrop));
                (waiting, joined) = (None, false);
            }
            Meaning::Unknown if unknown > 3 => waiting = None,
            Meaning::Unknown => {}
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Boats sail, even where a caption says that they float.
fn fitting(kind: Kind, action: Action) -> Action {
    match (kind, action) {
        (Kind::Boat, Action::Float) => Action::Sail,
        _ => action,
    }
}

fn noun(word: &str) -> Option<Kind> {
    let names = |kind: &Kind| lexicon::nouns(*kind).iter().any(|&(one, many)| word == one || word == many);
    Kind::ALL.iter().copied().find(names)
}

fn colour(word: &str) -> Option<Colour> {
    Colour::ALL.iter().copied().find(|&colour| lexicon::colour_words(colour).contains(&word))
}

fn size(word: &str) -> Option<Size> {
    Size::ALL.iter().copied().find(|&size| lexicon::size_words(size).contains(&word))
}

fn action(word: &str) -> Option<Action> {
    let verb = VERBS.iter().find(|verb| word == verb.singular || word == verb.plural || word == verb.participle)?;
    Some(verb.action)
}

/// Clothes that follow a person, "in a red shirt", "wearing red": their colour, and the number of words.
fn clothes(rest: &[String]) -> Option<(Colour, usize)> {
    let mut at = match rest.first()?.as_str() {
        "in" | "wearing" => 1,
        "dressed" if rest.get(1)? == "in" => 2,
        _ => return None,
    };
    let has_determiner = DETERMINERS.contains(&rest.get(at)?.as_str());
    at += usize::from(has_determiner);
    let colour = colour(rest.get(at)?)?;
    at += 1;
    match rest.get(at).map(String::as_str) {
        Some(word) if GARMENTS.contains(&word) => Some((colour, at + 1)),
        Some(word) if noun(word).is_some() => None,
        _ if has_determiner => None,
        _ => Some((colour, at)),
    }
}

fn meanings(words: &[String]) -> Vec<Meaning> {
    let mut meanings = Vec::new();
    let (mut colour_said, mut size_said, mut count_said) = (None, None, None);
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let rest = &words[at..];
        let phrase = RELATIONS
            .iter()
            .filter(|(_, phrase)| rest.len() >= phrase.len() && rest.iter().zip(*phrase).all(|(a, b)| a == b))
            .max_by_key(|(_, phrase)| phrase.len());
        if let Some(said) = colour(word) {
            colour_said = Some(said);
            at += 1;
            continue;
        }
        if let Some(said) = size(word) {
            size_said = Some(said);
            at += 1;
            continue;
        }
        if let Some(&(_, said)) = COUNTS.iter().find(|(count, _)| count == word) {
            (colour_said, size_said, count_said) = (None, None, Some(said));
            at += 1;
            continue;
        }
        if NEUTRAL.contains(&word.as_str()) {
            at += 1;
            continue;
        }
        let (meaning, taken) = if let Some((relation, phrase)) = phrase {
            (Some(Meaning::Relation(*relation)), phrase.len())
        } else if let Some(kind) = noun(word) {
            let worn = if kind.is_person() { clothes(&rest[1..]) } else { None };
            let colour = worn.map(|worn| worn.0).or(colour_said);
            let mention = Mention { kind, colour };
            (Some(Meaning::Noun { mention, size: size_said, count: count_said }), 1 + worn.map_or(0, |worn| worn.1))
        } else if let Some(action) = action(word) {
            (Some(Meaning::Verb(action)), 1)
        } else if let Some(&(_, backdrop)) = BACKDROP_WORDS.iter().find(|(name, _)| name == word) {
            (Some(Meaning::Place(backdrop)), 1)
        } else if DETERMINERS.contains(&word.as_str()) {
            (None, 1)
        } else {
            let meaning = match word.as_str() {
                "and" => Meaning::And,
                "while" | "there" => Meaning::Clause,
                _ => Meaning::Unknown,
            };
            (Some(meaning), 1)
        };
        meanings.extend(meaning);
        (colour_said, size_said, count_said) = (None, None, None);
        at += taken;
    }
    meanings
}

impl Scene {
    /// Whether a claim is true of this scene.
    ///
    /// A claim about an object is true if some object satisfies it, a count only if exactly that many do.
    pub fn is_true(&self, claim: &Claim) -> bool {
        let any = |kind, colour| self.fitting(Mention { kind, colour }).next().is_some();
        match *claim {
            Claim::Exists(kind) => any(kind, None),
            Claim::Coloured(kind, colour) => any(kind, Some(colour)),
            Claim::Sized(mention, size) => self.fitting(mention).any(|index| self.things[index].size == size),
            Claim::Counted(mention, count) => self.fitting(mention).count() == count,
            Claim::Acts(mention, action) => self.fitting(mention).any(|index| self.things[index].action == action),
            Claim::Related(subject, relation, object) => self
                .fitting(subject)
                .any(|first| self.fitting(object).any(|second| self.stands(first, relation, second, 0.0))),
            Claim::Set(backdrop) => self.backdrop() == backdrop,
        }
    }

    fn fitting(&self, mention: Mention) -> impl Iterator<Item = usize> {
        let fits = move |thing: &Thing| {
            thing.kind == mention.kind && mention.colour.is_none_or(|colour| colour == thing.colour)
        };
        self.things.iter().enumerate().filter(move |(_, thing)| fits(thing)).map(|(index, _)| index)
    }

    /// Whether one object is in a relation to another, by at least `margin` pixels more than required.
    pub(super) fn stands(&self, first: usize, relation: Relation, second: usize, margin: f32) -> bool {
        if first == second {
            return false;
        }
        let (a, b) = (&self.things[first], &self.things[second]);
        let middle = |thing: &Thing| {
            ((thing.bounds.left + thing.bounds.right) / 2.0, (thing.bounds.top + thing.bounds.bottom) / 2.0)
        };
        let ((a_x, a_y), (b_x, b_y)) = (middle(a), middle(b));
        // Negative where they overlap horizontally.
        let gap = a.bounds.left.max(b.bounds.left) - a.bounds.right.min(b.bounds.right);
        let on_ground = !a.is_aloft() && !b.is_aloft();
        match relation {
            Relation::LeftOf => a_x + 6.0 + margin < b_x,
            Relation::RightOf => self.stands(second, Relation::LeftOf, first, margin),
            Relation::Above => a.is_aloft() && gap < -margin / 2.0 && a_y + 8.0 + margin < b_y,
            Relation::Below => self.stands(second, Relation::Above, first, margin),
            Relation::InFrontOf => on_ground && gap < -2.0 - margin / 2.0 && a.place.base > b.place.base + 2.0,
            Relation::Behind => self.stands(second, Relation::InFrontOf, first, margin),
            Relation::NextTo => {
                let level = if on_ground { (a.place.base - b.place.base).abs() } else { (a_y - b_y).abs() };
                let narrow = (a.bounds.right - a.bounds.left).min(b.bounds.right - b.bounds.left);
                a.is_aloft() == b.is_aloft() && gap < 22.0 - margin && gap > -0.3 * narrow && level < 20.0 - margin
            }
            Relation::Holding | Relation::PlayingWith => {
                self.bonds.iter().any(|bond| (bond.subject, bond.relation, bond.object) == (first, relation, second))
            }
        }
    }

    /// The distinct (kind, colour) pairs of the scene.
    pub fn coloured_kinds(&self) -> Vec<(Kind, Colour)> {
        let mut pairs: Vec<_> = self.things.iter().map(|thing| (thing.kind, thing.colour)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }
}

/// Precision and recall of captions' claims.
///
/// Measured by (kind, colour) claims, [`Claim::Coloured`]; each counts once per caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClaimScore {
    /// Number of captions.
    pub captions: usize,
    /// Number of (kind, colour) claims.
    pub coloured: usize,
    /// Number of true (kind, colour) claims.
    pub coloured_true: usize,
    /// Number of distinct (kind, colour) pairs in the scenes, summed over the captions.
    pub present: usize,
    /// Number of claims that something does something, [`Claim::Acts`].
    pub acting: usize,
    /// Number of such claims that are true.
    pub acting_true: usize,
    /// Number of claims that something is in a relation to something, [`Claim::Related`].
    pub related: usize,
    /// Number of such claims that are true.
    pub related_true: usize,
    /// Number of claims of any sort, including (kind, colour).
    pub all: usize,
    /// Number of true claims of any sort.
    pub all_true: usize,
}

impl ClaimScore {
    /// Scores each caption against the scene of the same index.
    ///
    /// # Errors
    /// [`Error::Argument`] when the numbers of captions and scenes differ.
    pub fn of<S: AsRef<str>>(scenes: &[Scene], captions: &[S]) -> Result<Self> {
        if scenes.len() != captions.len() {
            return Err(Error::argument(
                format!("{} scenes, but {} captions", scenes.len(), captions.len()),
                "Give one caption for each scene, in the same order.",
            ));
        }
        let mut score = Self::default();
        for (scene, caption) in scenes.iter().zip(captions) {
            score.add(scene, caption.as_ref());
        }
        Ok(score)
    }

    /// Adds a caption.
    pub fn add(&mut self, scene: &Scene, caption: &str) {
        self.captions += 1;
        self.present += scene.coloured_kinds().len();
        for claim in claims(caption) {
            let is_true = usize::from(scene.is_true(&claim));
            self.all += 1;
            self.all_true += is_true;
            let (made, made_true) = match claim {
                Claim::Coloured(..) => (&mut self.coloured, &mut self.coloured_true),
                Claim::Acts(..) => (&mut self.acting, &mut self.acting_true),
                Claim::Related(..) => (&mut self.related, &mut self.related_true),
                _ => continue,
            };
            *made += 1;
            *made_true += is_true;
        }
    }

    /// Share of the (kind, colour) claims that are true, in `0.0..=1.0`; 0 without claims.
    pub fn precision(&self) -> f64 {
        share(self.coloured_true, self.coloured)
    }

    /// Share of the (kind, colour) pairs of the scenes that their captions name, in `0.0..=1.0`.
    pub fn recall(&self) -> f64 {
        share(self.coloured_true, self.present)
    }

    /// Number of (kind, colour) claims per caption.
    pub fn per_caption(&self) -> f64 {
        share(self.coloured, self.captions)
    }

    /// Share of the claims of actions that are true, in `0.0..=1.0`; 0 without claims.
    pub fn precision_of_actions(&self) -> f64 {
        share(self.acting_true, self.acting)
    }

    /// Share of the claims of relations that are true, in `0.0..=1.0`; 0 without claims.
    pub fn precision_of_relations(&self) -> f64 {
        share(self.related_true, self.related)
    }

    /// Share of all claims that are true, in `0.0..=1.0`; 0 without claims.
    pub fn precision_of_all(&self) -> f64 {
        share(self.all_true, self.all)
    }
}

impl std::fmt::Display for ClaimScore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "(kind, colour) claims: {:.2} a caption, {:.1} % true, {:.1} % of what is there named; claims of every sort: \
             {:.1} % true ({} captions)",
            self.per_caption(),
            100.0 * self.precision(),
            100.0 * self.recall(),
            100.0 * self.precision_of_all(),
            self.captions
        )
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(caption: &str) -> Vec<String> {
        claims(caption).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn captions_are_understood() {
        for (caption, expected) in [
            ("", vec![]),
            ("a a a red red the of in", vec![]),
            ("A dog.", vec!["dog"]),
            ("A little brown puppy runs.", vec!["dog", "brown dog", "brown dog is small", "brown dog: run"]),
            ("A boy in a red shirt", vec!["boy", "red boy"]),
            ("A boy in red and a girl wearing blue", vec!["boy", "girl", "red boy", "blue girl"]),
            ("two ladies dressed in white dresses", vec!["woman", "white woman", "white woman × 2"]),
            ("a boy in a red car", vec!["boy", "car", "red car"]),
            ("a boy in a red", vec!["boy"]),
            ("a red and a car", vec!["car"]),
            ("a red bicycle and a car", vec!["car"]),
            ("red car red car red car", vec!["car", "red car"]),
            ("a dog to the left of a cat", vec!["dog", "cat", "dog left of cat"]),
            ("a boy flies a red kite", vec!["boy", "kite", "red kite", "boy holding red kite"]),
            (
                "a dog and a cat sleep while a bird flies over the sea",
                vec!["dog", "cat", "bird", "dog: sleep", "cat: sleep", "bird: fly", "at: sea"],
            ),
            (
                "a man holding a balloon stands next to a dog",
                vec!["man", "dog", "balloon", "man: stand", "man holding balloon", "man next to dog"],
            ),
            ("a dog sleeps and a cat sits", vec!["dog", "cat", "dog: sleep", "cat: sit"]),
            ("under the stars there is a pair of cats", vec!["cat", "cat × 2", "at: night"]),
        ] {
            let mut expected: Vec<String> = expected.into_iter().map(String::from).collect();
            let mut found = shown(caption);
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "{caption:?}");
        }
    }

    #[test]
    fn the_score_counts_a_claim_once_a_caption() {
        let scene = Scene::generate(1, 0);
        let (kind, colour) = scene.coloured_kinds()[0];
        let caption = format!("a {colour} {kind} and a {colour} {kind} and a {kind}");
        let score = ClaimScore::of(std::slice::from_ref(&scene), &[caption]).expect("as many captions as scenes");
        assert_eq!((score.coloured, score.coloured_true), (1, 1));
        assert_eq!(score.present, scene.coloured_kinds().len());
        assert!(ClaimScore::of(&[scene], &["a", "b"]).is_err());
        assert_eq!(ClaimScore::default().precision(), 0.0);
    }
}
