//! The tokenisation of the reference scorers.

mod rules;

use std::sync::{LazyLock, OnceLock};

use rayon::prelude::*;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::meta::Regex;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};

use rules::{Action, Rule};

/// Tokens that the scorers drop.
const PUNCTUATION: [&str; 13] = ["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"];

/// Penn Treebank tokeniser: lower-case words without punctuation.
///
/// Equals the tokeniser of published scores: Stanford's PTBTokenizer 3.4.1 with pycocoevalcap's list of punctuation. Brackets stay
/// (`-lrb-`), because the list has them only in capitals. A caption is tokenised by itself; its line breaks are spaces.
///
/// ```
/// let tokenizer = captionlab::metrics::Tokenizer::new();
/// assert_eq!(tokenizer.tokenize("A man's dog can't run, it's tired."), [
///     "a", "man", "'s", "dog", "ca", "n't", "run", "it", "'s", "tired",
/// ]);
/// assert_eq!(tokenizer.tokenize("1/2 \"price\" (today only)"), ["1/2", "price", "-lrb-", "today", "only", "-rrb-"]);
/// ```
#[derive(Debug)]
pub struct Tokenizer {
    rules: Vec<Compiled>,
    /// Finds the rule with the longest match.
    longest: DFA,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    /// For a rule with context: patterns of the token and of its context. Compiled on first use, since most are never used.
    parts: OnceLock<(Regex, Regex)>,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokenizer {
    /// A tokeniser shared by the process, created on first use.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::new);
        &SHARED
    }

    /// Compiles the rules, which takes some milliseconds: prefer [`Tokenizer::shared`].
    pub fn new() -> Self {
        let rules = rules::rules();
        let whole = |rule: &Rule| match &rule.context {
            Some(context) => format!("(?:{})(?:{context})", rule.pattern),
            None => rule.pattern.clone(),
        };
        let patterns: Vec<String> = rules.iter().map(whole).collect();
        let longest = DFA::builder()
            .configure(DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true))
            .build_many(&patterns)
            .expect("the rules are fixed, and tested");
        let rules = rules.into_iter().map(|rule| Compiled { rule, parts: OnceLock::new() }).collect();
        let of = longest.clone();
        Self { rules, longest, caches: Pool::new(Box::new(move || of.create_cache())) }
    }

    /// The words of a caption.
    pub fn tokenize(&self, caption: &str) -> Vec<String> {
        self.tokenize_before(caption, "")
    }

    /// The words of captions, tokenised like the lines of a file, as the reference scorers do.
    ///
    /// Some rules look at the next line, and thereby affect scores: "the letter P." keeps its full stop, `p.`, unless the next caption
    /// begins with a common sentence start such as "A" or "The".
    pub fn tokenize_all<S: AsRef<str> + Sync>(&self, captions: &[S]) -> Vec<Vec<String>> {
        let following = |place: usize| -> String {
            let mut text = String::new();
            for line in captions[place + 1..].iter().map(AsRef::as_ref) {
                text += "\n";
                text += &line.replace('\n', " ");
                // Blank lines are skipped by the lookahead.
                if !line.trim().is_empty() {
                    return text + "\n";
                }
            }
            text
        };
        let tokenize = |(place, caption): (usize, &S)| self.tokenize_before(caption.as_ref(), &following(place));
        captions.par_iter().enumerate().map(tokenize).collect()
    }

    /// The words of a caption followed by a text.
    fn tokenize_before(&self, caption: &str, following: &str) -> Vec<String> {
        let caption = caption.replace('\n', " ");
        let end = caption.len();
        let text = caption + following;
        let mut cache = self.caches.get();
        let mut tokens = Vec::new();
        let mut place = 0;
        while place < end {
            let rest = &text[place..];
            let (rule, matched) = self.next(&mut cache, rest);
            let Compiled { rule, parts } = &self.rules[rule];
            let token = match &rule.context {
                None => &rest[..matched],
                Some(context) => {
                    let (token, context) = parts.get_or_init(|| (exactly(&rule.pattern), exactly(context)));
                    longest_before(rest, matched, token, context)
                }
            };
            let (word, read) = apply(rule.action, token);
            tokens.extend(word.map(|word| word.to_lowercase()));
            place += read;
        }
        tokens.retain(|token| !PUNCTUATION.contains(&token.as_str()));
        tokens
    }

    /// The rule with the longest match at the start of a text, and the match's length in bytes.
    fn next(&self, cache: &mut Cache, text: &str) -> (usize, usize) {
        let input = Input::new(text).anchored(Anchored::Yes);
        let found = self.longest.try_search_fwd(cache, &input).expect("the search has no limit at which it gives up");
        let found = found.expect("the last rule takes any character");
        (found.pattern().as_usize(), found.offset())
    }
}

/// A pattern that matches whole texts.
fn exactly(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("the rules are fixed, and tested")
}

/// The longest token that is followed by its context within the match.
fn longest_before<'a>(text: &'a str, matched: usize, pattern: &Regex, context: &Regex) -> &'a str {
    let ends = (1..matched).rev().filter(|&end| text.is_char_boundary(end));
    let fits = |&end: &usize| context.is_match(&text[end..matched]) && pattern.is_match(&text[..end]);
    let end = ends.into_iter().find(fits).unwrap_or(matched);
    &text[..end]
}

/// The token, if any, and the number of bytes to consume.
fn apply(action: Action, text: &str) -> (Option<String>, usize) {
    let all = text.len();
    let token = match action {
        Action::Skip => return (None, all),
        Action::AllBut(last) => return (Some(text[..all - last].to_string()), all - last),
        Action::FullStopTwice => return (Some(text.to_string()), all - 1),
        Action::AcronymAtEnd => return (Some(text[..if all == 2 { 1 } else { all }].to_string()), all - 1),
        Action::Keep => text.to_string(),
        Action::Text(fixed) => fixed.to_string(),
        Action::Word => match text.replace('\u{AD}', "") {
            nothing if nothing.is_empty() => "-".to_string(),
            word => word,
        },
        Action::Spaces => text.replace(' ', "\u{A0}"),
        Action::Parentheses => text.replace(' ', "\u{A0}").replace('(', "-LRB-").replace(')', "-RRB-"),
        Action::Ampersand => replace_any_case(text, "&amp;", "&"),
        Action::OpeningQuote => quotes(text, "`", "``"),
        Action::ClosingQuote => quotes(text, "'", "''"),
        Action::Currency => match text {
            "\u{A2}" => "cents".to_string(),
            "\u{A3}" => "#".to_string(),
            "\u{80}" | "\u{A4}" | "\u{20A0}" | "\u{20AC}" => "$".to_string(),
            other => other.to_string(),
        },
        Action::Fraction => match text {
            "\u{BC}" => "1/4".to_string(),
            "\u{BD}" => "1/2".to_string(),
            "\u{BE}" => "3/4".to_string(),
            "\u{2153}" => "1/3".to_string(),
            "\u{2154}" => "2/3".to_string(),
            other => other.to_string(),
        },
        Action::Hyphens => if (3..=4).contains(&all) { "--" } else { text }.to_string(),
    };
    (Some(token), all)
}

/// Quotation marks of the treebank; `single` and `double` replace ambiguous ones.
fn quotes(text: &str, single: &str, double: &str) -> String {
    let text = text.replace("&apos;", "'").replace('\'', single).replace("&quot;", "\"").replace('"', double);
    text.replace(['\u{91}', '\u{2018}', '\u{201B}', '\u{2039}'], "`")
        .replace(['\u{92}', '\u{2019}', '\u{203A}'], "'")
        .replace(['\u{93}', '\u{201C}', '\u{AB}'], "``")
        .replace(['\u{94}', '\u{201D}', '\u{BB}'], "''")
}

fn replace_any_case(text: &str, from: &str, to: &str) -> String {
    match text.to_ascii_lowercase().find(from) {
        Some(place) => format!("{}{to}{}", &text[..place], replace_any_case(&text[place + from.len()..], from, to)),
        None => text.to_string(),
    }
}
