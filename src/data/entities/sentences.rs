//! The sentences of Flickr30k Entities: `[/EN#12/people A young man] in [/EN#13/clothing a hat] .`

/// A caption with its phrases.
#[derive(Debug, PartialEq)]
pub(super) struct Sentence {
    /// The caption without annotations.
    pub(super) text: String,
    pub(super) phrases: Vec<Phrase>,
}

/// A phrase in brackets.
#[derive(Debug, PartialEq)]
pub(super) struct Phrase {
    /// The entity that it mentions, `12` of `/EN#12/people`.
    pub(super) entity: String,
    /// The coarse types, `people` of `/EN#12/people`; often one, perhaps none.
    pub(super) types: Vec<String>,
    /// Its first byte in the caption.
    pub(super) start: usize,
    /// One past its last byte in the caption.
    pub(super) end: usize,
}

const MARK: &str = "[/EN#";

/// Parses a sentence; the error says what is wrong with its brackets.
pub(super) fn parse(written: &str) -> Result<Sentence, String> {
    let (mut text, mut phrases) = (String::with_capacity(written.len()), Vec::new());
    let mut open: Option<Phrase> = None;
    let mut rest = written;
    while let Some(at) = rest.find(['[', ']']) {
        let (before, bracket) = rest.split_at(at);
        text.push_str(before);
        if let Some(after) = bracket.strip_prefix(']') {
            let phrase = open.take().ok_or("a `]` closes no phrase")?;
            phrases.push(Phrase { end: text.len(), ..phrase });
            rest = after;
            continue;
        }
        if open.is_some() {
            return Err("a phrase begins inside another".into());
        }
        let after = bracket.strip_prefix(MARK).ok_or_else(|| format!("a `[` without `{}`", &MARK[1..]))?;
        let end = after.find(|letter: char| letter.is_whitespace() || matches!(letter, '[' | ']'));
        let (header, after) = after.split_at(end.unwrap_or(after.len()));
        let mut parts = header.split('/').map(str::to_owned);
        let entity =
            parts.next().filter(|entity| !entity.is_empty()).ok_or("a phrase without the number of an entity")?;
        let types = parts.filter(|word| !word.is_empty()).collect();
        open = Some(Phrase { entity, types, start: text.len(), end: text.len() });
        rest = after;
    }
    text.push_str(rest);
    match open {
        None => Ok(Sentence { text, phrases }),
        Some(phrase) => Err(format!("the phrase EN#{} is not closed", phrase.entity)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_what_stands_in_brackets() {
        let sentence =
            parse("[/EN#12/people A young man]'s hat , [/EN#0/notvisual it] is [/EN#13/clothing/other red].").unwrap();
        assert_eq!(sentence.text.split_whitespace().collect::<Vec<_>>().join(" "), "A young man's hat , it is red.");
        let phrases: Vec<(&str, String, &str)> = sentence
            .phrases
            .iter()
            .map(|phrase| {
                (phrase.entity.as_str(), phrase.types.join("+"), sentence.text[phrase.start..phrase.end].trim())
            })
            .collect();
        assert_eq!(
            phrases,
            [
                ("12", "people".into(), "A young man"),
                ("0", "notvisual".into(), "it"),
                ("13", "clothing+other".into(), "red")
            ]
        );
        assert_eq!(parse("No phrase .").unwrap(), Sentence { text: "No phrase .".into(), phrases: Vec::new() });
        assert_eq!(parse("").unwrap().text, "");
        let odd = parse("[/EN#1 A dog] [/EN#2/other]").unwrap();
        assert_eq!((odd.phrases[0].types.len(), odd.phrases[1].start), (0, odd.phrases[1].end));
    }

    #[test]
    fn brackets_that_do_not_pair_are_named() {
        for (written, said) in [
            ("[/EN#1/people A man", "the phrase EN#1 is not closed"),
            ("[/EN#1/people", "the phrase EN#1 is not closed"),
            ("A man] runs", "a `]` closes no phrase"),
            ("[/EN#1/people A man]] runs", "a `]` closes no phrase"),
            ("[/EN#1/people A man in [/EN#2/clothing a hat]]", "a phrase begins inside another"),
            ("[/EN#1/people[/EN#2/x a]", "a phrase begins inside another"),
            ("A man [sic] runs", "a `[` without `/EN#`"),
            ("[/EN#/people A man]", "a phrase without the number of an entity"),
            ("[", "a `[` without `/EN#`"),
        ] {
            assert_eq!(parse(written).unwrap_err(), said, "{written}");
        }
    }
}
