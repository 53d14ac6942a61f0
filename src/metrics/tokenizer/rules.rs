//! The rules of the tokeniser.
//!
//! They recognise the same tokens as Stanford's PTBTokenizer 3.4.1 with its default settings. The rule with the longest match wins, the
//! first of several. A rule may require a *context* after its token, which counts for the length of the match, but is not consumed.
//!
//! Fixed texts match in either case, character classes as written: `[A-Z]` is a capital.

/// What to do with a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Keep the text as the token.
    Keep,
    /// Remove soft hyphens; soft hyphens alone become a hyphen.
    Word,
    /// Keep the first of two joined words, such as `can` of `cannot`: all but that many last letters.
    AllBut(usize),
    /// Keep the whole text, but read its full stop again, because it also ends the sentence.
    FullStopTwice,
    /// Remove the full stop of a single letter, which ends the sentence; treat longer acronyms as `FullStopTwice`.
    AcronymAtEnd,
    /// Turn spaces into no-break spaces, so that the token stays one.
    Spaces,
    /// As `Spaces`, and turn parentheses into `-LRB-` and `-RRB-`.
    Parentheses,
    /// Turn `&amp;` into `&`.
    Ampersand,
    /// Turn quotation marks into the treebank's, ambiguous ones into opening marks.
    OpeningQuote,
    /// As `OpeningQuote`, with ambiguous ones into closing marks.
    ClosingQuote,
    /// Turn euro and other currencies into `$`, pound into `#`.
    Currency,
    /// Turn `½` into `1/2`.
    Fraction,
    /// Turn three or four hyphens into two.
    Hyphens,
    /// Replace by this text.
    Text(&'static str),
    /// Skip the text.
    Skip,
}

/// A rule for a kind of token.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) pattern: String,
    /// What must follow the token.
    pub(super) context: Option<String>,
    pub(super) action: Action,
}

/// Makes fixed texts match in either case.
fn any_case(pattern: &str) -> String {
    format!("(?i-u:{pattern})")
}

/// Matches one of several patterns.
fn one_of(patterns: &[&str]) -> String {
    format!("(?:{})", patterns.join("|"))
}

/// All rules, in order.
pub(super) fn rules() -> Vec<Rule> {
    use Action::{
        AcronymAtEnd, AllBut, Ampersand, ClosingQuote, Currency, Fraction, FullStopTwice, Hyphens, Keep, OpeningQuote,
        Parentheses, Skip, Spaces, Text, Word,
    };

    // Characters. The reference does not know characters beyond U+FFFF (most emoji) and letters newer than Unicode 6.3; they belong to no
    // token.
    let space = r"[ \t\u{A0}\u{2000}-\u{200A}\u{3000}]";
    let newline = r"(?:\r?\n|[\r\u{2028}\u{2029}\u{B}\u{C}\u{85}])";
    let space_or_newline = one_of(&[space, newline]);
    let plain_letter = r"[\p{L}&&\p{age=6.3}&&[\u{0}-\u{FFFF}]]";
    let plain_digit = r"[\p{Nd}&&\p{age=6.3}&&[\u{0}-\u{FFFF}]]";
    let digit = plain_digit;
    let accented_entity = format!("&[aeiouAEIOU]{};", any_case("(?:acute|grave|uml)"));
    // Letters and combining marks.
    let letter = format!(
        r"(?:{plain_letter}|{accented_entity}|[\u{{AD}}\u{{237}}-\u{{24F}}\u{{2C2}}-\u{{2C5}}\u{{2D2}}-\u{{2DF}}\u{{2E5}}-\u{{36F}}\u{{370}}-\u{{37D}}\u{{384}}\u{{385}}\u{{3CF}}\u{{3F6}}\u{{3FC}}-\u{{3FF}}\u{{483}}-\u{{487}}\u{{4CF}}\u{{4F6}}-\u{{4FF}}\u{{510}}-\u{{525}}\u{{55A}}-\u{{55F}}\u{{591}}-\u{{5BD}}\u{{5BF}}\u{{5C1}}\u{{5C2}}\u{{5C4}}\u{{5C5}}\u{{5C7}}\u{{615}}-\u{{61A}}\u{{63B}}-\u{{63F}}\u{{64B}}-\u{{65E}}\u{{670}}\u{{6D6}}-\u{{6EF}}\u{{6FA}}-\u{{6FF}}\u{{70F}}\u{{711}}\u{{730}}-\u{{77F}}\u{{7A6}}-\u{{7B1}}\u{{7CA}}-\u{{7F5}}\u{{7FA}}\u{{900}}-\u{{903}}\u{{93C}}\u{{93E}}-\u{{94E}}\u{{951}}-\u{{955}}\u{{962}}-\u{{963}}\u{{981}}-\u{{983}}\u{{9BC}}-\u{{9C4}}\u{{9C7}}\u{{9C8}}\u{{9CB}}-\u{{9CD}}\u{{9D7}}\u{{9E2}}\u{{9E3}}\u{{A01}}-\u{{A03}}\u{{A3C}}\u{{A3E}}-\u{{A4F}}\u{{A81}}-\u{{A83}}\u{{ABC}}-\u{{ACF}}\u{{B82}}\u{{BBE}}-\u{{BC2}}\u{{BC6}}-\u{{BC8}}\u{{BCA}}-\u{{BCD}}\u{{C01}}-\u{{C03}}\u{{C3E}}-\u{{C56}}\u{{D3E}}-\u{{D44}}\u{{D46}}-\u{{D48}}\u{{E30}}-\u{{E3A}}\u{{E47}}-\u{{E4E}}\u{{EB1}}-\u{{EBC}}\u{{EC8}}-\u{{ECD}}])"
    );
    let letter_or_digit = one_of(&[&letter, digit]);
    let apostrophe = format!(r"(?:['\u{{92}}\u{{2019}}]|{})", any_case("&apos;"));
    // Characters typed as an apostrophe inside a word.
    let loose_apostrophe = format!(r"(?:{apostrophe}|[`\u{{91}}\u{{2018}}\u{{201B}}])");
    let hyphen = r"[-_\u{58A}\u{2010}\u{2011}]";
    let ampersand = any_case("&amp;");
    let double_quote = format!("(?:\"|{})", any_case("&quot;"));

    // Words.
    let word = format!("{letter}{letter_or_digit}*(?:[.!?]{letter}{letter_or_digit}*)*");
    let before_not = r"[A-Za-z\u{AD}]*[A-MO-Za-mo-z]\u{AD}*";
    let auxiliary = format!("{apostrophe}(?:[msdMSD]|{})", any_case("re|ve|ll"));
    let not = format!("{}{loose_apostrophe}{}", any_case("n"), any_case("t"));
    let in_compound = one_of(&[plain_letter, plain_digit]);
    let elided = format!("(?:[dDoOlL]{loose_apostrophe}{in_compound})?");
    let compound = format!("{elided}{in_compound}+(?:{hyphen}{elided}{in_compound}+)*");
    let with_slash = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}";
    let with_ampersand = format!("[A-Z]+(?:(?:[+&]|{ampersand})[A-Z]+)+");
    let with_apostrophe = one_of(&[
        &format!("{apostrophe}{}{apostrophe}?", any_case("n")),
        &format!("[lLdDjJ]{apostrophe}"),
        &format!("{}{apostrophe}", any_case("(?:dunkin|somethin|ol)")),
        &format!("{apostrophe}{}", any_case("(?:em|till?|cause)")),
        &format!("[A-HJ-XZn]{loose_apostrophe}{plain_letter}{{2}}{plain_letter}*"),
        &format!("{apostrophe}[2-9]0{}", any_case("s")),
        &format!("{plain_letter}{plain_letter}*[aeiouyAEIOUY]{loose_apostrophe}[aeiouA-Z]{plain_letter}*"),
        &any_case(r"(?:cont'd\.?|'twas|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)"),
        &format!("{}{loose_apostrophe}{}", any_case("o"), any_case("o")),
    ]);
    let file_name = format!(
        r"{letter_or_digit}+(?:\.{letter_or_digit}+)*\.{}",
        any_case(
            "(?:bat|bmp|c|class|cgi|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip)"
        )
    );

    // Addresses and tags.
    let web_address = format!("{}{}", any_case("https?://"), r#"[^ \t\n\f\r"<>|(){}]+[^ \t\n\f\r"<>|.!?(){},-]"#);
    let likely_web_address = format!(
        r#"(?:{}(?:[^ \t\n\f\r"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}|(?:[^ \t\n\f\r"`'<>|!?(){{}}$,-_]+\.)+{})(?:/[^ \t\n\f\r"<>|()]+[^ \t\n\f\r"<>|.!?(){{}},-])?"#,
        any_case(r"www\."),
        any_case("(?:com|net|org|edu)"),
    );
    let mail_address = format!(
        r#"(?:{}|<)?[a-zA-Z0-9][^ \t\n\f\r"<>|()\u{{A0}}{{}}]*@(?:[^ \t\n\f\r"<>|(){{}}.\u{{A0}}]+\.)*[^ \t\n\f\r"<>|(){{}}.\u{{A0}}]+(?:{}|>)?"#,
        any_case("&lt;"),
        any_case("&gt;"),
    );
    let name = "[A-Za-z][A-Za-z0-9_:.-]*";
    let tag = format!(
        r#"<(?:[!?][A-Za-z-][^>\r\n]*|{name}(?: +(?:{name}|{name} *= *(?:'[^'\n]*'|"[^"\n]*"|{name})))* */?|/{name}) *>"#
    );

    // Numbers.
    let number = format!(r"[-+]?(?:{digit}+|{digit}*(?:[.:,\u{{AD}}\u{{66B}}\u{{66C}}]{digit}+)+)");
    let date = format!("{digit}{{1,2}}[-/]{digit}{{1,2}}[-/]{digit}{{2,4}}");
    let fraction = format!(r"(?:{digit}{{1,4}}[- \u{{A0}}])?{digit}{{1,4}}(?:\\?/|\u{{2044}}){digit}{{1,4}}");
    let raised_or_lowered =
        r"[\u{207A}\u{207B}\u{208A}\u{208B}]?(?:[\u{2070}\u{B9}\u{B2}\u{B3}\u{2074}-\u{2079}]+|[\u{2080}-\u{2089}]+)";
    let telephone = r"(?:(?:\([0-9]{2,3}\)[ \u{A0}]?|(?:\+\+?)?(?:[0-9]{2,4}[- \u{A0}])?[0-9]{2,4}[- \u{A0}])[0-9]{3,4}[- \u{A0}]?[0-9]{3,5}|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5})";
    let currency =
        r"[\u{A2}\u{A3}\u{A4}\u{A5}\u{80}\u{20A0}\u{20AC}\u{60B}\u{E3F}\u{20A4}\u{FFE0}\u{FFE1}\u{FFE5}\u{FFE6}]";

    // Abbreviations. Before a capital, those of the first kind also end the sentence.
    let states = one_of(&[
        &any_case(
            "ala|ariz|calif|colo|conn|ct|dak|fla|ga|ind|kans?|ky|md|mich|minn|mo|mont|neb|nev|okla|penn|tenn|va|vt|wisc?|wyo",
        ),
        // These are other words unless capitalised.
        &format!("A{}", any_case("(?:z|rk)")),
        &format!("D{}", any_case("el")),
        &format!("I{}", any_case("ll")),
        &format!("L{}", any_case("a")),
        &format!("M{}", any_case("(?:ass|iss)")),
        &format!("O{}", any_case("re")),
        &format!("P{}", any_case("a")),
        &format!("T{}", any_case("ex")),
        &format!("W{}", any_case("ash")),
    ]);
    let ending_abbreviation = format!(
        r"(?:{states}|{})\.",
        any_case(
            r"jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thu|thurs|fri|inc|cos?|corp|pp?t[ye]s?|ltd|plc|rt|bancorp|bhd|assn|univ|intl|sys|tel|est|ext|sq|jr|sr|bros|(?:ed|ph)\.d|blvd|rd|esq|etc|al|seq|bldg"
        )
    );
    let by_country = any_case(r"(?:canada|sino|korean|eu|japan|non)-u\.s|u\.s\.-(?:u\.k|u\.s\.s\.r)");
    let acronym = format!(r"(?:[A-Za-z](?:\.[A-Za-z])*|{by_country})");
    let long_acronym = format!(r"(?:[A-Za-z](?:\.[A-Za-z])+|{by_country})");
    let titles = one_of(&[
        &any_case(
            "mr|mrs|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|messrs|govs?|adm|rev|maj|sgt|cpl|pvt|capt|ste?|ave|pres|lieut|hon|brig|co?mdr|pfc|spc|supts?|det|mt|ft|adj|adv|asst|assoc|ens|insp|mlle|mme|msgr|sfc",
        ),
        &format!("M{}", any_case("iss")),
    ]);
    let inner_abbreviation = format!(
        "(?:{titles}|v|{}|{acronym})",
        any_case(r"vs|alex|wm|jos|cie|a\.k\.a|cf|treas|ph|invt|elec|natl|m[ft]g|dept")
    );
    let before_number = any_case(r"(?:ca|figs?|prop|nos?|art|bldg|pp|op)\.");
    let next_sentence = format!("{space_or_newline}(?:{space_or_newline}|[A-Z]|{tag})");
    // Common sentence starts.
    let usual_beginning = one_of(&[
        &tag,
        &format!("A{}?", any_case(r"(?:bout|ccording|dditionally|fter|n|s|t)")),
        &format!("B{}", any_case(r"(?:ut)")),
        &format!("E{}", any_case(r"(?:arlier)")),
        &format!("H{}", any_case(r"(?:e|er|ere|owever)")),
        &format!("I{}", any_case(r"(?:f|n|t)")),
        &format!("L{}", any_case(r"(?:ast)")),
        &format!("M{}", any_case(r"(?:any|ore|r\.|s\.)")),
        &format!("N{}", any_case(r"(?:ow)")),
        &format!("O{}", any_case(r"(?:nce|ne|ther|ur)")),
        &format!("S{}", any_case(r"(?:he|ince|o|ome|uch)")),
        &format!("T{}", any_case(r"(?:hat|he|heir|hen|here|hese|hey|his)")),
        &format!("W{}", any_case(r"(?:e|hat|hen|hile)")),
        &format!("Y{}", any_case(r"(?:et|ou)")),
    ]);
    let usual_beginning = format!("{space_or_newline}+{usual_beginning}{space_or_newline}");
    let with_number = format!(r"[A-Za-z0-9][A-Za-z0-9.,\u{{AD}}]*(?:-(?:[A-Za-z0-9\u{{AD}}]+|{long_acronym}\.))+");
    let treebank = one_of(&[
        &any_case(r"-(?:rrb|lrb|rcb|lcb|rsb|lsb)-|c\.d\.s|pro-|anti-|s(?:&|&amp;)p-500|s(?:&|&amp;)ls"),
        &format!("{}{apostrophe}{}", any_case("cap"), any_case("n")),
        &format!("{}{apostrophe}{}", any_case("c"), any_case("est")),
    ]);

    // Signs.
    let quotes = format!(
        r"(?:{apostrophe}|''|[`\u{{2018}}-\u{{201D}}\u{{91}}-\u{{94}}\u{{201E}}\u{{201F}}\u{{2039}}\u{{203A}}\u{{AB}}\u{{BB}}]{{1,2}})"
    );
    let between_clauses = r"[,;:\u{3001}]";
    let smiley = r"[<>]?[:;=][-o\*']?[\(\)DPdpO\\{@\|\[\]]";
    let asian_smiley =
        r"(?:[\^x=~<>]\.\[\^x=~<>]|[-\^x=~<>']_[-\^x=~<>']|\([-\^x=~<>'][_.]?[-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\))";
    let symbol = r"[+%&~\^|\\\u{A6}\u{A7}\u{A8}\u{A9}\u{AC}\u{AE}\u{AF}\u{B0}-\u{B3}\u{B4}-\u{BA}\u{D7}\u{F7}\u{387}\u{5BE}\u{5C0}\u{5C3}\u{5C6}\u{5F3}\u{5F4}\u{600}-\u{603}\u{606}-\u{60A}\u{60C}\u{614}\u{61B}\u{61E}\u{66A}\u{66D}\u{703}-\u{70D}\u{7F6}\u{7F7}\u{7F8}\u{964}\u{965}\u{E4F}\u{1FBD}\u{2016}\u{2017}\u{2020}-\u{2023}\u{2030}-\u{2038}\u{203B}\u{203E}-\u{2042}\u{2044}\u{207A}-\u{207F}\u{208A}-\u{208E}\u{2100}-\u{214F}\u{2190}-\u{21FF}\u{2200}-\u{2BFF}\u{3012}\u{30FB}\u{FF01}-\u{FF0F}\u{FF1A}-\u{FF20}\u{FF3B}-\u{FF40}\u{FF5B}-\u{FF65}]";
    let anything = "(?s:.)";

    let mut rules = Vec::new();
    let mut rule = |pattern: &str, context: Option<&str>, action: Action| {
        rules.push(Rule { pattern: pattern.to_string(), context: context.map(str::to_string), action });
    };
    rule(&any_case(r"c\+\+|[cf]\#"), None, Keep);
    rule(&any_case("cannot"), None, AllBut(3));
    rule(&any_case("gonna|gotta|lemme|gimme|wanna"), None, AllBut(2));
    rule(&any_case("'tis"), None, AllBut(2));
    rule(&any_case("'twas"), None, AllBut(3));
    rule(&tag, None, Spaces);
    rule(
        &format!(r"(?:{}|[\u{{96}}\u{{97}}\u{{2013}}-\u{{2015}}])", any_case("&(?:md|mdash|ndash);")),
        None,
        Text("--"),
    );
    rule(&ampersand, None, Ampersand);
    rule(&format!("&(?:{}|#[0-9]+);", any_case("ht|tl|ur|lr|qc|ql|qr|odq|cdq")), None, Keep);
    rule(&word, Some(&auxiliary), Word);
    rule(before_not, Some(&not), Word);
    rule(&word, None, Word);
    rule(&with_apostrophe, None, Keep);
    rule(&format!("{}{apostrophe}", any_case("y")), Some(plain_letter), Keep);
    rule(&web_address, None, Keep);
    rule(&likely_web_address, None, Keep);
    rule(&mail_address, None, Keep);
    rule(&format!("(?:@[a-zA-Z_][a-zA-Z_0-9]*|#{letter}+)"), None, Keep);
    rule(&auxiliary, Some("[^A-Za-z]"), ClosingQuote);
    rule(&not, Some("[^A-Za-z]"), ClosingQuote);
    rule(&date, None, Keep);
    rule(&number, None, Word);
    rule(raised_or_lowered, None, Keep);
    rule(&fraction, None, Spaces);
    rule(r"[\u{BC}\u{BD}\u{BE}\u{2153}-\u{215E}]", None, Fraction);
    rule(&treebank, None, Ampersand);
    rule(with_slash, None, Keep);
    rule(r"(?:[A-Z]*\$|#)", None, Keep);
    rule(currency, None, Currency);
    rule(&format!(r"{}\.", any_case("(?:pt[ey]|co)")), Some(&format!("{space}{}", any_case("(?:ltd|lim)"))), Keep);
    rule(&before_number, Some(&format!("{space_or_newline}?{plain_digit}")), Keep);
    rule(&ending_abbreviation, Some(&next_sentence), FullStopTwice);
    rule(&ending_abbreviation, Some(&format!("(?:{anything}{{2}}|[\\u{{10000}}-\\u{{10FFFF}}])")), Keep);
    rule(&ending_abbreviation, None, FullStopTwice);
    rule(&format!(r"{acronym}\."), Some(&usual_beginning), AcronymAtEnd);
    rule(&format!(r"{inner_abbreviation}\."), None, Keep);
    rule(&inner_abbreviation, Some(space), Keep);
    rule(&acronym, Some(&space_or_newline), Keep);
    rule(&format!("{apostrophe}[0-9][0-9]"), Some(&space_or_newline), Keep);
    rule(&file_name, Some(&format!("(?:{space_or_newline}|[.?!,])")), Keep);
    for (pattern, action) in [(&word, Word), (&compound, Keep), (&with_number, Word), (&with_ampersand, Ampersand)] {
        rule(&format!(r"{pattern}\."), Some(between_clauses), action);
    }
    rule(telephone, None, Parentheses);
    rule(&double_quote, Some("[A-Za-z0-9$]"), OpeningQuote);
    rule(&double_quote, None, ClosingQuote);
    rule(&format!("(?:<|{})", any_case("&lt;")), None, Text("<"));
    rule(&format!("(?:>|{})", any_case("&gt;")), None, Text(">"));
    rule(smiley, Some("[^A-Za-z0-9]"), Parentheses);
    rule(asian_smiley, None, Parentheses);
    rule(r"\{", None, Text("-LCB-"));
    rule(r"\}", None, Text("-RCB-"));
    rule(r"\[", None, Text("-LSB-"));
    rule(r"\]", None, Text("-RSB-"));
    rule(r"\(", None, Text("-LRB-"));
    rule(r"\)", None, Text("-RRB-"));
    rule("-+", None, Hyphens);
    rule(r"(?:\.{3,5}|(?:\.[ \u{A0}]){2,4}\.|[\u{85}\u{2026}])", None, Text("..."));
    rule("(?:@+|#+|_+)", None, Keep);
    rule(r"(?:\*+|(?:\\\*){1,3})", None, Keep);
    rule(between_clauses, None, Keep);
    rule("[?!]+", None, Keep);
    rule(r"[.\u{A1}\u{BF}\u{37E}\u{589}\u{61F}\u{6D4}\u{700}-\u{702}\u{7FA}\u{3002}]", None, Keep);
    rule("=", None, Keep);
    rule("/", None, Keep);
    rule(&with_number, None, Word);
    rule(&compound, None, Keep);
    rule(&with_ampersand, None, Ampersand);
    rule("'", Some(r"[A-Za-z][^ \t\n\r\u{A0}]"), OpeningQuote);
    rule(&auxiliary, None, ClosingQuote);
    rule(&quotes, None, ClosingQuote);
    rule("(?:<<|>>)", None, Keep);
    rule(symbol, None, Keep);
    rule(&format!(r"(?:\u{{0}}|{space}+|[\u{{200B}}\u{{200E}}\u{{200F}}\u{{FEFF}}])"), None, Skip);
    rule(newline, None, Skip);
    rule(&any_case("&nbsp;"), None, Skip);
    rule(anything, None, Skip);
    rules
}
