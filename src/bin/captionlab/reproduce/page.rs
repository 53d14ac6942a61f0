//! A static page of HTML that needs no other file.

use std::fmt::Write;

use captionlab::Result;
use captionlab::data::Example;
use captionlab::show::Figure;
use image::imageops::{FilterType, resize};

/// Most pixels on a side of a picture in a card.
const THUMBNAIL: u32 = 320;

/// A page that is being written.
pub struct Page {
    text: String,
    tables: usize,
}

/// A row of a table; one's own is shown as such.
pub struct Row {
    pub is_own: bool,
    pub cells: Vec<String>,
}

impl Row {
    pub fn new<S: Into<String>>(cells: impl IntoIterator<Item = S>) -> Self {
        Self { is_own: false, cells: cells.into_iter().map(Into::into).collect() }
    }

    pub fn own<S: Into<String>>(cells: impl IntoIterator<Item = S>) -> Self {
        Self { is_own: true, ..Self::new(cells) }
    }
}

impl Page {
    pub fn new(title: &str) -> Self {
        let title = escaped(title);
        let text = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n\
             <h1>{title}</h1>\n",
            include_str!("page.css")
        );
        Self { text, tables: 0 }
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        self.text += "</main>\n</body>\n</html>\n";
        self.text
    }

    pub fn heading(&mut self, text: &str) {
        self.line(format_args!("<h2>{}</h2>", escaped(text)));
    }

    pub fn subheading(&mut self, text: &str) {
        self.line(format_args!("<h3>{}</h3>", escaped(text)));
    }

    pub fn paragraph(&mut self, text: &str) {
        self.line(format_args!("<p>{}</p>", escaped(text)));
    }

    /// A paragraph that must not be overlooked.
    pub fn note(&mut self, text: &str) {
        self.line(format_args!("<p class=\"note\">{}</p>", escaped(text)));
    }

    pub fn list<S: AsRef<str>>(&mut self, items: &[S]) {
        if !items.is_empty() {
            let items: String = items.iter().map(|item| format!("<li>{}</li>", escaped(item.as_ref()))).collect();
            self.line(format_args!("<ul>{items}</ul>"));
        }
    }

    /// A table; the first cell of each row names it.
    pub fn table(&mut self, caption: &str, headers: &[&str], rows: &[Row]) {
        self.tables += 1;
        let name = format!("table-{}", self.tables);
        self.line(format_args!("<p class=\"soft\" id=\"{name}\">{}</p>", escaped(caption)));
        // What is wider than a phone can be scrolled, by keys too.
        self.line(format_args!("<div class=\"scroll\" role=\"region\" aria-labelledby=\"{name}\" tabindex=\"0\">"));
        self.line(format_args!("<table aria-labelledby=\"{name}\">"));
        let headers: String =
            headers.iter().map(|header| format!("<th scope=\"col\">{}</th>", escaped(header))).collect();
        self.line(format_args!("<thead><tr>{headers}</tr></thead>\n<tbody>"));
        for Row { is_own, cells } in rows {
            let own = if *is_own { " class=\"own\"" } else { "" };
            let cell = |(place, text): (usize, &String)| match place {
                0 => format!("<th scope=\"row\">{}</th>", escaped(text)),
                _ if text.is_empty() => "<td class=\"number\">–</td>".to_string(),
                _ => format!("<td{}>{}</td>", class_of(text), escaped(text)),
            };
            let cells: String = cells.iter().enumerate().map(cell).collect();
            self.line(format_args!("<tr{own}>{cells}</tr>"));
        }
        self.line(format_args!("</tbody></table></div>"));
    }

    /// A figure with a sentence below it.
    pub fn figure(&mut self, figure: &Figure, caption: &str) {
        let image = image_of(figure);
        self.line(format_args!("<figure>{image}<figcaption>{}</figcaption></figure>", escaped(caption)));
    }

    /// Pictures side by side, each with a caption, what is said of it in smaller letters, and other captions.
    pub fn cards(&mut self, cards: &[Card]) {
        self.line(format_args!("<div class=\"cards\">"));
        for card in cards {
            let image = thumbnail(card.example).map_or_else(
                || "<p class=\"soft\">The picture cannot be read.</p>".to_string(),
                |figure| image_of(&figure),
            );
            let soft = match card.remark.as_str() {
                "" => String::new(),
                remark => format!("<p class=\"soft\">{}</p>", escaped(remark)),
            };
            self.line(format_args!(
                "<div class=\"card\">{image}<p><strong>{}</strong></p>{soft}",
                escaped(if card.caption.is_empty() { "(nothing)" } else { card.caption })
            ));
            if !card.example.captions.is_empty() {
                self.line(format_args!("<p class=\"soft\">People say:</p>"));
                self.list(&card.example.captions);
            }
            self.line(format_args!("</div>"));
        }
        self.line(format_args!("</div>"));
    }

    fn line(&mut self, text: std::fmt::Arguments) {
        // A string takes everything.
        writeln!(self.text, "{text}").ok();
    }
}

/// A picture with its caption.
pub struct Card<'a> {
    pub example: &'a Example,
    pub caption: &'a str,
    pub remark: String,
}

/// A small copy of a picture; `None` where it cannot be read.
fn thumbnail(example: &Example) -> Option<Figure> {
    let small = || -> Result<Figure> {
        let picture = example.picture()?;
        let longest = picture.width().max(picture.height()).max(1);
        let scale = |side: u32| (u64::from(side) * u64::from(THUMBNAIL) / u64::from(longest)).max(1) as u32;
        let small = match longest > THUMBNAIL {
            true => resize(&picture, scale(picture.width()), scale(picture.height()), FilterType::Triangle),
            false => picture,
        };
        let alternative = match example.captions.first() {
            Some(caption) => format!("The picture {}, of which a person says: {caption}", example.name),
            None => format!("The picture {}", example.name),
        };
        Figure::from_image(&small, alternative)
    };
    small().ok()
}

fn image_of(figure: &Figure) -> String {
    format!(
        "<img src=\"data:image/png;base64,{}\" width=\"{}\" height=\"{}\" alt=\"{}\">",
        base64::encode(&figure.png),
        figure.width,
        figure.height,
        escaped(&figure.alternative)
    )
}

/// Numbers stand on the right, hashes in letters of one width.
fn class_of(text: &str) -> &'static str {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = text.ends_with(|letter: char| letter.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b".,:-".contains(&byte));
    match (is_hash, is_number) {
        (true, _) => " class=\"code\"",
        (_, true) => " class=\"number\"",
        _ => "",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_text_and_not_html() {
        let mut page = Page::new("a < b");
        page.table("\"x\"", &["who", "<i>"], &[Row::own(["a & b", "12.5"])]);
        let text = page.finish();
        assert!(text.contains("<title>a &lt; b</title>") && text.contains("<th scope=\"col\">&lt;i&gt;</th>"));
        assert!(text.contains("<tr class=\"own\"><th scope=\"row\">a &amp; b</th><td class=\"number\">12.5</td></tr>"));
    }
}
