//! Unicode normalisation (NFC): `é` as one character, or as `e` and a combining accent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The first combining mark; nothing composes below it.
const FIRST_MARK: char = '\u{300}';

/// Hangul syllables are composed by arithmetic (Unicode Standard, section 3.12).
const SYLLABLES: u32 = 0xAC00;
const LEADING: u32 = 0x1100;
const VOWELS: u32 = 0x1161;
const TRAILING: u32 = 0x11A7;
const LEADING_COUNT: u32 = 19;
const VOWEL_COUNT: u32 = 21;
const TRAILING_COUNT: u32 = 28;

struct Letters {
    parts: HashMap<char, Vec<char>>,
    pairs: HashMap<(char, char), char>,
    /// First, last and combining class of each range, sorted.
    marks: Vec<(char, char, u8)>,
}

static LETTERS: LazyLock<Letters> = LazyLock::new(|| {
    let mut letters = Letters { parts: HashMap::new(), pairs: HashMap::new(), marks: Vec::new() };
    let lines = include_str!("letters.txt").lines().filter(|line| !line.starts_with('#'));
    for entry in lines.flat_map(str::split_whitespace) {
        letters.add(entry).unwrap_or_else(|| unreachable!("`{entry}` in letters.txt"));
    }
    letters
});

impl Letters {
    /// Parses `C0=41+300`, `958>915+93C` or `300-314:230`.
    fn add(&mut self, entry: &str) -> Option<()> {
        let character = |digits: &str| char::from_u32(u32::from_str_radix(digits, 16).ok()?);
        if let Some((range, class)) = entry.split_once(':') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            self.marks.push((character(first)?, character(last)?, class.parse().ok()?));
            return Some(());
        }
        let (whole, parts) = entry.split_once(['=', '>'])?;
        let whole = character(whole)?;
        let parts: Vec<char> = parts.split('+').map(character).collect::<Option<_>>()?;
        if let (true, &[first, second]) = (entry.contains('='), parts.as_slice()) {
            self.pairs.insert((first, second), whole);
        }
        self.parts.insert(whole, parts);
        Some(())
    }

    /// The combining class of a mark; `None` for other characters.
    fn class(&self, character: char) -> Option<u8> {
        let end = self.marks.partition_point(|(first, ..)| *first <= character);
        self.marks[..end].last().filter(|(_, last, _)| character <= *last).map(|(.., class)| *class)
    }

    fn decompose(&self, character: char, parts: &mut Vec<char>) {
        if let Some(of_character) = self.parts.get(&character) {
            return of_character.iter().for_each(|&part| self.decompose(part, parts));
        }
        let syllable = u32::from(character).wrapping_sub(SYLLABLES);
        if syllable >= LEADING_COUNT * VOWEL_COUNT * TRAILING_COUNT {
            return parts.push(character);
        }
        let (leading, rest) = (syllable / (VOWEL_COUNT * TRAILING_COUNT), syllable % (VOWEL_COUNT * TRAILING_COUNT));
        let (vowel, trailing) = (rest / TRAILING_COUNT, rest % TRAILING_COUNT);
        let trailing = Some(TRAILING + trailing).filter(|_| trailing > 0);
        let all = [Some(LEADING + leading), Some(VOWELS + vowel), trailing];
        parts.extend(all.into_iter().flatten().filter_map(char::from_u32));
    }

    fn compose(&self, first: char, second: char) -> Option<char> {
        if let Some(&whole) = self.pairs.get(&(first, second)) {
            return Some(whole);
        }
        let place = |character: char, start: u32, count: u32| {
            Some(u32::from(character).wrapping_sub(start)).filter(|&place| place < count)
        };
        if let (Some(leading), Some(vowel)) = (place(first, LEADING, LEADING_COUNT), place(second, VOWELS, VOWEL_COUNT))
        {
            return char::from_u32(SYLLABLES + (leading * VOWEL_COUNT + vowel) * TRAILING_COUNT);
        }
        let syllable = place(first, SYLLABLES, LEADING_COUNT * VOWEL_COUNT * TRAILING_COUNT)?;
        let trailing = place(second, TRAILING, TRAILING_COUNT).filter(|&trailing| trailing > 0)?;
        Some(syllable).filter(|syllable| syllable % TRAILING_COUNT == 0)?;
        char::from_u32(u32::from(first) + trailing)
    }
}

/// The text in Unicode normalisation form C, so that what looks the same is equal.
pub(crate) fn composed(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| character < FIRST_MARK) {
        return Cow::Borrowed(text);
    }
    let letters = &*LETTERS;
    let mut parts = Vec::new();
    text.chars().for_each(|character| letters.decompose(character, &mut parts));
    let class = |character: &char| letters.class(*character).unwrap_or(0);
    // Sorts consecutive marks by class, stably.
    let starters = |one: &char, other: &char| (class(one) == 0) == (class(other) == 0);
    parts.chunk_by_mut(starters).filter(|run| class(&run[0]) > 0).for_each(|marks| marks.sort_by_key(class));
    let mut text: Vec<char> = Vec::with_capacity(parts.len());
    // Position of the last letter, and the class of the last mark behind it.
    let (mut letter, mut last): (Option<usize>, Option<u8>) = (None, None);
    for character in parts {
        let own = class(&character);
        let is_blocked = last.is_some_and(|last| last >= own);
        if let Some(letter) = letter.filter(|_| !is_blocked)
            && let Some(whole) = letters.compose(text[letter], character)
        {
            text[letter] = whole;
            continue;
        }
        text.push(character);
        (letter, last) = if own == 0 { (Some(text.len() - 1), None) } else { (letter, Some(own)) };
    }
    Cow::Owned(text.into_iter().collect())
}

/// Whether a character is a visible combining mark (general categories Mn and Mc): an accent, a virama, a tone mark, but not a
/// variation selector.
pub(crate) fn is_mark(character: char) -> bool {
    character >= FIRST_MARK && !is_invisible(character) && LETTERS.class(character).is_some()
}

/// Whether a character within words is invisible: a joiner, variation selector or soft hyphen.
pub(crate) fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{AD}' | '\u{34F}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200D}'
            | '\u{2060}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{E0100}'..='\u{E01EF}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_the_same_is_the_same() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("cafe\u{301}", "caf\u{E9}"),
            ("caf\u{E9}", "caf\u{E9}"),
            // Marks in any order; those of one class keep theirs.
            ("e\u{302}\u{323}", "\u{1EC7}"),
            ("e\u{323}\u{302}", "\u{1EC7}"),
            ("a\u{302}\u{301}", "\u{1EA5}"),
            ("a\u{301}\u{302}", "\u{E1}\u{302}"),
            // Hangul.
            ("\u{1112}\u{1161}\u{11AB}\u{1100}\u{116E}\u{11A8}", "\u{D55C}\u{AD6D}"),
            ("\u{D558}\u{11AB}", "\u{D55C}"),
            // Letters that stay apart, and letters that are others' doubles.
            ("\u{958}", "\u{915}\u{93C}"),
            ("\u{212B}", "\u{C5}"),
            ("\u{301}alone", "\u{301}alone"),
        ] {
            assert_eq!(composed(text), wanted, "{}", text.escape_unicode());
            assert_eq!(composed(wanted), wanted);
        }
    }

    #[test]
    fn marks_are_parts_of_letters_and_selectors_are_not() {
        for mark in ['\u{301}', '\u{94D}', '\u{93C}', '\u{E49}', '\u{E48}', '\u{903}'] {
            assert!(is_mark(mark), "{mark:?}");
        }
        for other in ['e', 'é', '\u{915}', '\u{964}', '\u{FE0F}', '\u{200D}', '-', '狗'] {
            assert!(!is_mark(other), "{other:?}");
        }
    }
}
