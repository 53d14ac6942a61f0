//! Writes captions as five people would: with different words and detail, each naming only part of the scene.

use std::collections::BTreeSet;

use super::claims::{Claim, Mention};
use super::lexicon::{self, BACKDROP_WORDS, ON_WATER, RELATIONS, VERBS, Verb};
use super::world::{Action, Backdrop, Kind, Relation, Size};
use super::{CAPTIONS, Scene};
use crate::data::{PhraseLink, Random};

/// Margin in pixels by which a relation must hold to be mentioned.
const CLEARLY: f32 = 8.0;

/// Writes the five captions of a scene, with links and claims.
pub(super) fn write_captions(scene: &mut Scene, random: &mut Random) {
    let mut lines: Vec<Line> = Vec::with_capacity(CAPTIONS);
    while lines.len() < CAPTIONS {
        let mut writer = Writer { scene, random, line: Line::default(), joins: false };
        let suits = writer.sentence().is_some();
        let line = writer.line;
        if suits && lines.iter().all(|other| other.text() != line.text()) {
            lines.push(line);
        }
    }
    for (caption, line) in lines.into_iter().enumerate() {
        scene.captions.push(line.text());
        scene.links.extend(line.spans.into_iter().map(|(first_word, end_word, regions)| PhraseLink {
            caption,
            first_word,
            end_word,
            regions,
        }));
        scene.meant.push(line.claims.into_iter().collect());
    }
}

/// A caption under construction.
#[derive(Default)]
struct Line {
    words: Vec<String>,
    /// First word, end, and the mentioned objects.
    spans: Vec<(usize, usize, Vec<usize>)>,
    claims: BTreeSet<Claim>,
}

impl Line {
    fn say(&mut self, words: &str) {
        self.words.extend(words.split_whitespace().map(String::from));
    }

    fn comma(&mut self) {
        if let Some(last) = self.words.last_mut() {
            last.push(',');
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (index, word) in self.words.iter().enumerate() {
            let vowel = |next: &String| next.starts_with(['a', 'e', 'i', 'o', 'u']);
            let an = word == "a" && self.words.get(index + 1).is_some_and(vowel);
            let word = if an { "an" } else { word };
            if index == 0 {
                let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
                text.push_str(&first.to_uppercase());
                text.push_str(rest);
            } else {
                text.push(' ');
                text.push_str(word);
            }
        }
        text.push('.');
        text
    }
}

struct Writer<'a> {
    scene: &'a Scene,
    random: &'a mut Random,
    line: Line,
    /// Two objects are joined by "and", so their clothes are described briefly.
    joins: bool,
}

/// Finite forms of a verb, or its participle.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Finite,
    Participle,
}

impl Writer<'_> {
    /// Writes a sentence; `None` where the drawn kind of sentence does not suit the scene.
    fn sentence(&mut self) -> Option<()> {
        const SORTS: usize = 21;
        let subject = self.subject();
        match self.random.below(SORTS) {
            0..=1 => {
                self.name(&subject, true);
                self.act(&subject, Form::Finite)?;
                if self.random.chance(0.7) {
                    self.place(&subject);
                }
            }
            2..=6 => {
                let (relation, object) = self.relation(&subject)?;
                let mention = self.name(&subject, true);
                if self.random.chance(0.75) && self.scene.things[subject[0]].kind.is_alive() {
                    self.act_as(mention, &subject, Form::Finite)?;
                } else {
                    self.line.say(if subject.len() == 1 { "is" } else { "are" });
                }
                self.relate(mention, relation, &object);
            }
            7..=8 => {
                self.line.say(if subject.len() == 1 { "there is" } else { "there are" });
                let mention = self.name(&subject, true);
                if self.random.chance(0.4) {
                    self.act_as(mention, &subject, Form::Participle)?;
                }
                match self.relation(&subject).filter(|_| self.random.chance(0.5)) {
                    Some((relation, object)) => self.relate(mention, relation, &object),
                    None => self.place(&subject),
                }
            }
            9..=10 => {
                self.opener();
                self.name(&subject, true);
                self.act(&subject, Form::Participle)?;
                self.place(&subject);
            }
            11 => {
                let places = lexicon::places(self.scene.backdrop());
                let opening = *self.random.choose(places.opening);
                self.say_place(opening);
                self.line.comma();
                self.name(&subject, true);
                self.act(&subject, Form::Finite)?;
            }
            12..=13 => {
                let other = self.other(&subject).filter(|other| !self.bonded(&subject, other))?;
                self.opener();
                self.joins = true;
                let first = self.name(&subject, true);
                self.line.say("and");
                let second = self.name(&other, true);
                let action = self.action_of(&subject).filter(|action| self.action_of(&other) == Some(*action));
                match action.filter(|_| self.line.words[0] != "look" && self.random.chance(0.7)) {
                    Some(action) => {
                        let kinds = [first.kind, second.kind];
                        let verb = self.verb(action, &kinds)?;
                        self.line.say(verb.plural);
                        self.line.claims.extend([Claim::Acts(first, action), Claim::Acts(second, action)]);
                        self.place(&subject);
                    }
                    None if self.alike_placed(&subject, &other) => self.place(&subject),
                    None => {}
                }
            }
            14..=15 => {
                let other = self.other(&subject)?;
                self.name(&subject, true);
                self.act(&subject, Form::Finite)?;
                if self.random.chance(0.6) {
                    self.line.say("while");
                } else {
                    self.line.comma();
                    self.line.say("and");
                }
                self.name(&other, true);
                self.act(&other, Form::Finite)?;
                if self.random.chance(0.3) {
                    self.place(&other);
                }
            }
            16..=17 => {
                let (relation, object) = self.relation(&subject)?;
                self.opener();
                let mention = self.name(&subject, true);
                self.relate(mention, relation, &object);
                if self.random.chance(0.25) && self.alike_placed(&subject, &object) {
                    self.place(&subject);
                }
            }
            _ => self.bond()?,
        }
        Some(())
    }

    /// "A boy in red flies a kite.": people notice first who holds what.
    fn bond(&mut self) -> Option<()> {
        let bond = (!self.scene.bonds.is_empty()).then(|| *self.random.choose(&self.scene.bonds))?;
        let (subject, object) = (vec![bond.subject], vec![bond.object]);
        let (holder, held) = (self.scene.things[bond.subject].kind, self.scene.things[bond.object].kind);
        let phrases: &[&str] = match (bond.relation, held) {
            (Relation::PlayingWith, _) if holder == Kind::Dog => {
                &["plays with", "is playing with", "chases", "is chasing", "playing with", "chasing"]
            }
            (Relation::PlayingWith, _) => {
                &["plays with", "is playing with", "kicks", "is kicking", "playing with", "kicking"]
            }
            (_, Kind::Kite) => &["flies", "is flying", "holds", "is holding", "flying", "with"],
            _ => &["holds", "is holding", "carries", "is carrying", "holding", "with"],
        };
        let phrase = *self.random.choose(phrases);
        let mention = self.name(&subject, true);
        self.line.say(phrase);
        let with = self.name(&object, false);
        self.line.claims.insert(Claim::Related(mention, bond.relation, with));
        if self.random.chance(0.6) {
            let places = lexicon::places(self.scene.backdrop());
            let place = *self.random.choose(places.on_ground);
            self.say_place(place);
        }
        Some(())
    }

    /// Picks a subject, preferring what is large or alive.
    fn subject(&mut self) -> Vec<usize> {
        let everything: Vec<usize> = (0..self.scene.things.len()).collect();
        self.pick(&everything)
    }

    fn other(&mut self, than: &[usize]) -> Option<Vec<usize>> {
        let kind = self.scene.things[than[0]].kind;
        let others: Vec<usize> =
            (0..self.scene.things.len()).filter(|&index| self.scene.things[index].kind != kind).collect();
        if others.is_empty() { None } else { Some(self.pick(&others)) }
    }

    /// Picks one of the objects, or all of its kind together.
    fn pick(&mut self, among: &[usize]) -> Vec<usize> {
        let weight = |index: usize| {
            let thing = &self.scene.things[index];
            let bounds = thing.bounds;
            let area = (bounds.right - bounds.left) * (bounds.bottom - bounds.top);
            let interest = area * if thing.kind.is_alive() { 1.6 } else { 1.0 };
            interest * interest
        };
        let mut left = self.random.unit() * among.iter().map(|&index| weight(index)).sum::<f32>();
        let mut chosen = among[among.len() - 1];
        for &index in among {
            left -= weight(index);
            if left < 0.0 {
                chosen = index;
                break;
            }
        }
        let kind = self.scene.things[chosen].kind;
        let group: Vec<usize> =
            (0..self.scene.things.len()).filter(|&index| self.scene.things[index].kind == kind).collect();
        let alike = group.iter().all(|&index| self.scene.things[index].colour == self.scene.things[chosen].colour);
        if self.random.chance(if alike { 0.8 } else { 0.45 }) { group } else { vec![chosen] }
    }

    fn opener(&mut self) {
        if self.random.chance(0.08) {
            self.line.say(self.random.choose::<&str>(&["a picture of", "we can see", "look at"]));
        }
    }

    /// Names objects of one kind: "a little brown puppy", "two boys in red shirts".
    fn name(&mut self, group: &[usize], is_subject: bool) -> Mention {
        let first = &self.scene.things[group[0]];
        let kind = first.kind;
        let alike = |value: &dyn Fn(usize) -> bool| group.iter().all(|&index| value(index));
        let one_colour = alike(&|index| self.scene.things[index].colour == first.colour);
        let one_size = alike(&|index| self.scene.things[index].size == first.size);
        let says_colour = one_colour && self.random.chance(if is_subject { 0.95 } else { 0.86 });
        let says_size = one_size && first.size != Size::Medium && self.random.chance(0.45);
        let count = group.len();
        let start = self.line.words.len();

        match count {
            1 => self.line.say(if !is_subject && self.random.chance(0.2) { "the" } else { "a" }),
            2 => self.line.say(self.random.choose::<&str>(&["two", "two", "two", "a pair of", "a couple of"])),
            3 => self.line.say("three"),
            _ => self.line.say("four"),
        }
        if says_size {
            self.line.say(self.random.choose::<&str>(lexicon::size_words(first.size)));
        }
        let neutral = match kind {
            _ if says_size => None,
            Kind::Boy | Kind::Girl => Some(*self.random.choose(&["young", "happy"])),
            Kind::Woman | Kind::Man => Some("young"),
            Kind::Dog | Kind::Cat => Some("cute"),
            Kind::Flower | Kind::House | Kind::Bird => Some(*self.random.choose(&["pretty", "lovely"])),
            Kind::Kite | Kind::Balloon | Kind::Umbrella if says_colour => Some("bright"),
            _ => None,
        };
        if let Some(neutral) = neutral.filter(|_| self.random.chance(0.1)) {
            self.line.say(neutral);
        }
        let words = lexicon::colour_words(first.colour);
        let colour_word = if self.random.chance(0.88) { words[0] } else { *self.random.choose(words) };
        if says_colour && !kind.is_person() {
            self.line.say(colour_word);
        }
        let nouns = lexicon::nouns(kind);
        let (one, many) = if self.random.chance(0.6) { nouns[0] } else { *self.random.choose(nouns) };
        self.line.say(if count == 1 { one } else { many });
        if says_colour && kind.is_person() {
            let cold = self.scene.backdrop() == Backdrop::Snow;
            let (garment, garments) = *self.random.choose(lexicon::garments(kind, cold));
            let forms = if self.joins { 8 } else { 10 };
            let clothes = match self.random.below(forms) {
                0..=3 => format!("in {colour_word}"),
                4..=7 if count == 1 => format!("in a {colour_word} {garment}"),
                4..=7 => format!("in {colour_word} {garments}"),
                8 if count == 1 => format!("wearing a {colour_word} {garment}"),
                8 => format!("wearing {colour_word} {garments}"),
                _ => format!("dressed in {colour_word}"),
            };
            self.line.say(&clothes);
        }
        self.line.spans.push((start, self.line.words.len(), group.to_vec()));

        let colour = says_colour.then_some(first.colour);
        let mention = Mention { kind, colour };
        self.line.claims.insert(Claim::Exists(kind));
        self.line.claims.extend(colour.map(|colour| Claim::Coloured(kind, colour)));
        if says_size {
            self.line.claims.insert(Claim::Sized(mention, first.size));
        }
        if count > 1 {
            self.line.claims.insert(Claim::Counted(mention, count));
        }
        mention
    }

    /// The common action of a group, if any.
    fn action_of(&self, group: &[usize]) -> Option<Action> {
        let action = self.scene.things[group[0]].action;
        group.iter().all(|&index| self.scene.things[index].action == action).then_some(action)
    }

    fn verb(&mut self, action: Action, kinds: &[Kind]) -> Option<&'static Verb> {
        let suitable: Vec<&'static Verb> = VERBS
            .iter()
            .filter(|verb| verb.action == action)
            .filter(|verb| verb.kinds.is_empty() || kinds.iter().all(|kind| verb.kinds.contains(kind)))
            .collect();
        if suitable.is_empty() { None } else { Some(*self.random.choose(&suitable)) }
    }

    /// Says what the objects just named do.
    fn act(&mut self, group: &[usize], form: Form) -> Option<()> {
        let mention = Mention { kind: self.scene.things[group[0]].kind, colour: self.said_colour() };
        self.act_as(mention, group, form)
    }

    /// The colour stated by the latest phrase.
    fn said_colour(&self) -> Option<super::Colour> {
        let (start, end, group) = self.line.spans.last()?;
        let colour = self.scene.things[group[0]].colour;
        let words = &self.line.words[*start..*end];
        words.iter().any(|word| lexicon::colour_words(colour).contains(&word.as_str())).then_some(colour)
    }

    fn act_as(&mut self, mention: Mention, group: &[usize], form: Form) -> Option<()> {
        let action = self.action_of(group)?;
        let verb = self.verb(action, &[mention.kind])?;
        // Nobody says that a house is standing.
        let stiff = !mention.kind.is_alive() && matches!(verb.participle, "standing" | "lying");
        let (is, finite) = if group.len() == 1 { ("is", verb.singular) } else { ("are", verb.plural) };
        match form {
            Form::Participle => self.line.say(verb.participle),
            Form::Finite if !stiff && self.random.chance(0.4) => {
                self.line.say(is);
                self.line.say(verb.participle);
            }
            Form::Finite => self.line.say(finite),
        }
        self.line.claims.insert(Claim::Acts(mention, action));
        Some(())
    }

    /// A relation that clearly holds between these objects and others.
    fn relation(&mut self, subject: &[usize]) -> Option<(Relation, Vec<usize>)> {
        let object = self.other(subject)?;
        if self.bonded(subject, &object) {
            return None;
        }
        let pairs: Vec<(usize, usize)> =
            subject.iter().flat_map(|&first| object.iter().map(move |&second| (first, second))).collect();
        let mut possible = Vec::new();
        for (relation, weight) in [
            (Relation::LeftOf, 2),
            (Relation::RightOf, 2),
            (Relation::Above, 4),
            (Relation::Below, 1),
            (Relation::InFrontOf, 5),
            (Relation::Behind, 3),
            (Relation::NextTo, 3),
        ] {
            if pairs.iter().all(|&(first, second)| self.scene.stands(first, relation, second, CLEARLY)) {
                possible.extend(std::iter::repeat_n(relation, weight));
            }
        }
        if possible.is_empty() { None } else { Some((*self.random.choose(&possible), object)) }
    }

    /// Whether objects of both groups are bonded, so that another relation would say too little.
    fn bonded(&self, these: &[usize], those: &[usize]) -> bool {
        let among = |a: usize, b: usize| these.contains(&a) && those.contains(&b);
        self.scene.bonds.iter().any(|bond| among(bond.subject, bond.object) || among(bond.object, bond.subject))
    }

    fn relate(&mut self, mention: Mention, relation: Relation, object: &[usize]) {
        let phrases: Vec<&[&str]> = RELATIONS
            .iter()
            .filter(|(of, phrase)| *of == relation && !["left", "right"].contains(&phrase[0]))
            .map(|(_, phrase)| *phrase)
            .collect();
        let phrase = self.random.choose(&phrases).join(" ");
        self.line.say(&phrase);
        let object = self.name(object, false);
        self.line.claims.insert(Claim::Related(mention, relation, object));
    }

    /// Whether one phrase of place fits both groups.
    fn alike_placed(&self, a: &[usize], b: &[usize]) -> bool {
        let where_is = |index: usize| {
            let thing = &self.scene.things[index];
            (thing.is_aloft(), thing.kind == Kind::Boat)
        };
        a.iter().chain(b).all(|&index| where_is(index) == where_is(a[0]))
    }

    fn place(&mut self, group: &[usize]) {
        let thing = &self.scene.things[group[0]];
        let places = lexicon::places(self.scene.backdrop());
        let moves = matches!(self.action_of(group), Some(Action::Walk | Action::Run | Action::Drive))
            && self.line.claims.iter().any(|claim| matches!(claim, Claim::Acts(..)));
        let phrases = match thing.kind {
            Kind::Boat => ON_WATER,
            _ if group.iter().all(|&index| self.scene.things[index].is_aloft()) => places.in_air,
            _ if group.iter().any(|&index| self.scene.things[index].is_aloft()) => return,
            _ if moves && self.random.chance(0.7) => places.along,
            _ => places.on_ground,
        };
        let phrase = *self.random.choose(phrases);
        self.say_place(phrase);
    }

    fn say_place(&mut self, phrase: &str) {
        self.line.say(phrase);
        for word in phrase.split_whitespace() {
            let backdrop = BACKDROP_WORDS.iter().find(|(name, _)| *name == word);
            self.line.claims.extend(backdrop.map(|&(_, backdrop)| Claim::Set(backdrop)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scene, claims, words};
    use super::*;

    #[test]
    fn captions_mean_what_is_read_from_them_and_all_of_it_is_true() {
        for index in 0..4000 {
            let scene = Scene::generate(11, index);
            for (caption, meant) in scene.captions.iter().zip(&scene.meant) {
                let read = claims(caption);
                assert!(!read.is_empty(), "{caption}");
                assert_eq!(&read, meant, "scene {index}: {caption}");
                for claim in &read {
                    assert!(scene.is_true(claim), "scene {index}: {caption}: {claim}: {:#?}", scene.things);
                }
            }
        }
    }

    #[test]
    fn the_five_captions_differ_and_their_links_fit_their_words() {
        for index in 0..1000 {
            let scene = Scene::generate(12, index);
            let distinct: BTreeSet<&String> = scene.captions.iter().collect();
            assert_eq!(distinct.len(), CAPTIONS);
            for link in &scene.links {
                let words = words(&scene.captions[link.caption]);
                let phrase = &words[link.first_word..link.end_word];
                let labels: BTreeSet<&str> =
                    link.regions.iter().map(|&region| scene.things[region].kind.name()).collect();
                assert_eq!(labels.len(), 1, "{phrase:?}");
                let kind = scene.things[link.regions[0]].kind;
                let names = lexicon::nouns(kind);
                assert!(
                    phrase.iter().any(|word| names.iter().any(|(one, many)| word == one || word == many)),
                    "{phrase:?} does not name a {kind}"
                );
                assert!(["a", "an", "the", "two", "three", "four"].contains(&phrase[0].as_str()), "{phrase:?}");
            }
        }
    }
}
