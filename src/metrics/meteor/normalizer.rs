//! METEOR's own tokenisation, applied after the tokeniser's.

use std::borrow::Cow;
use std::collections::HashMap;

use regex::Regex;

/// Letters of the Latin and Cyrillic scripts.
const LETTERS: &str = r"A-Za-zŠŽšžŸÀ-ÖØ-öø-žЀ-ӿԀ-ԧꙀ-ꙮ꙾-ꚗᴀ-ᵿ";

/// Kinds of abbreviations that keep their full stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Always,
    BeforeNumbers,
}

/// Parses a list of abbreviations: one per line, `#` begins a comment.
pub(super) fn prefixes(list: &str) -> HashMap<String, Prefix> {
    let lines = list.lines().filter_map(|line| {
        let mut parts = line.split_ascii_whitespace();
        let prefix = parts.next().filter(|prefix| !prefix.starts_with('#'))?;
        let kind = if parts.next() == Some("#NUMERIC_ONLY#") { Prefix::BeforeNumbers } else { Prefix::Always };
        Some((prefix.to_string(), kind))
    });
    lines.collect()
}

/// The English normalisation of METEOR 1.5, based on the Moses tokeniser.
#[derive(Debug)]
pub(super) struct Normalizer {
    prefixes: HashMap<String, Prefix>,
    /// Replacements, applied in this order.
    before_dots: Vec<(Regex, &'static str)>,
    after_dots: Vec<(Regex, &'static str)>,
    dots: Regex,
    dots_then: Regex,
    letter: Regex,
}

impl Normalizer {
    pub(super) fn new(prefixes: HashMap<String, Prefix>) -> Self {
        let regex = |pattern: &str| Regex::new(pattern).expect("the patterns are fixed, and tested");
        let (letters, signs) = (LETTERS, format!("0-9{LETTERS}"));
        Self {
            prefixes,
            before_dots: vec![(regex(&format!(r"([^{signs} \t\n\x0B\f\r\.'`,\-‘’])")), " $1 ")],
            dots: regex(r"\.(\.+)"),
            dots_then: regex(r"DOTMULTI\.([^.])"),
            after_dots: vec![
                // Commas stay within numbers.
                (regex("([^0-9]),([^0-9])"), "$1 , $2"),
                (regex("([0-9]),([^0-9])"), "$1 , $2"),
                (regex("([^0-9]),([0-9])"), "$1 , $2"),
                (regex("[`‘’]"), "'"),
                (regex("[“”]|''"), " \" "),
                (regex("–"), "-"),
                (regex("--"), "-"),
                // Splits compounds.
                (regex(&format!(r"([{signs}\.])-([{signs}])")), "$1 $2"),
                // Contractions: the apostrophe goes with the right part, or stands alone.
                (regex(&format!("([^{letters}])'([^{letters}])")), "$1 ' $2"),
                (regex(&format!("([^{letters}0-9])'([{letters}])")), "$1 ' $2"),
                (regex(&format!("([{letters}])'([^{letters}])")), "$1 ' $2"),
                (regex(&format!("([{letters}])'([{letters}])")), "$1 '$2"),
                (regex("([0-9])'([s])"), "$1 '$2"),
            ],
            letter: regex(&format!("[{letters}]")),
        }
    }

    /// The words of a caption in lower case.
    pub(super) fn words(&self, caption: &str) -> Vec<String> {
        // Fast path: plain words do not change.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b' ';
        let text = match caption.bytes().all(is_plain) {
            true => Cow::Borrowed(caption),
            false => Cow::Owned(self.normalize(caption)),
        };
        text.to_lowercase()
            .split([' ', '\t', '\n', '\r', '\u{C}'])
            .filter(|word| !word.is_empty())
            .map(str::to_string)
            .collect()
    }

    fn normalize(&self, caption: &str) -> String {
        let replace = |text: String, rules: &[(Regex, &str)]| {
            rules
                .iter()
                .fold(text, |text, (pattern, replacement)| pattern.replace_all(&text, *replacement).into_owned())
        };
        let mut text = replace(format!(" {caption} "), &self.before_dots);
        text = self.dots.replace_all(&text, " DOTMULTI$1").into_owned();
        while text.contains("DOTMULTI.") {
            text = self.dots_then.replace_all(&text, "DOTDOTMULTI $1").into_owned();
            text = text.replace("DOTMULTI.", "DOTDOTMULTI");
        }
        text = replace(text, &self.after_dots);
        let words: Vec<&str> = text.split([' ', '\t', '\n', '\r', '\u{C}']).filter(|word| !word.is_empty()).collect();
        let mut whole = String::with_capacity(text.len());
        for (place, word) in words.iter().enumerate() {
            self.push_word(&mut whole, word, words.get(place + 1).copied());
            whole.push(' ');
        }
        while whole.contains("DOTDOTMULTI") {
            whole = whole.replace("DOTDOTMULTI", "DOTMULTI.");
        }
        let whole = whole.replace("DOTMULTI", ".");
        // All kinds of spaces.
        whole.replace(
            |sign| matches!(sign, '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' | '\u{A0}'),
            " ",
        )
    }

    /// Appends a word, with its full stop separated unless it is part of the word.
    fn push_word(&self, whole: &mut String, word: &str, next: Option<&str>) {
        let Some(stem) = word.strip_suffix('.').filter(|stem| !stem.is_empty()) else {
            return whole.push_str(word);
        };
        let prefix = self.prefixes.get(stem);
        let next_starts_with = |is: fn(u8) -> bool| next.is_some_and(|next| is(next.as_bytes()[0]));
        if stem.contains('.') && self.letter.is_match(stem) {
            // "U.S." becomes "US".
            whole.push_str(&word.replace('.', ""));
        } else if prefix == Some(&Prefix::Always)
            || next_starts_with(|first| first.is_ascii_lowercase())
            || prefix == Some(&Prefix::BeforeNumbers) && next_starts_with(|first| first.is_ascii_digit())
        {
            whole.push_str(word);
        } else {
            whole.push_str(stem);
            whole.push_str(" .");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_meteor_does() {
        let list = "# comment\nMr\nNo #NUMERIC_ONLY#\n\nvs\n";
        let normalizer = Normalizer::new(prefixes(list));
        for (caption, expected) in [
            ("a plain caption", "a plain caption"),
            ("the man 's dog", "the man ' s dog"),
            ("don't stop", "don 't stop"),
            ("a well-known, red - white kite", "a well known , red - white kite"),
            ("1,000 people", "1,000 people"),
            ("in the U.S. today", "in the us today"),
            ("Mr. Smith vs. Jones", "mr. smith vs. jones"),
            ("No. 5 and No. Five", "no. 5 and no . five"),
            ("the end.", "the end ."),
            ("wait... what", "wait ... what"),
            ("so.... what", "so .... what"),
            ("a “big” one", "a \" big \" one"),
            ("the 1990's", "the 1990 's"),
            ("50% off", "50 % off"),
            ("", ""),
        ] {
            assert_eq!(normalizer.words(caption).join(" "), expected, "{caption}");
        }
    }
}
