//! The boxes of Flickr30k Entities: files like those of Pascal VOC.
//!
//! The files are flat and regular, so this reads the part of XML that they use: elements with text, nested at most [`DEPTH`] deep,
//! comments and `<?…?>`. Attributes are ignored, and so are elements of other names. Document types, `CDATA` and `&…;` in a value
//! are refused, never misread.

use std::path::Path;

use crate::data::BoundingBox;
use crate::data::text_file::read_text;
use crate::{Error, Result};

const HELP: &str =
    "It must be like `<annotation><size>…</size><object><name>ID</name><bndbox>…</bndbox></object></annotation>`.";

/// Deepest nesting; the files have four levels.
const DEPTH: usize = 16;

/// A file of boxes.
#[derive(Debug, PartialEq)]
pub(super) struct Annotation {
    pub(super) width: f32,
    pub(super) height: f32,
    pub(super) objects: Vec<Object>,
}

/// An object of a picture.
#[derive(Debug, PartialEq)]
pub(super) struct Object {
    /// Whose boxes these are: a man alone, and with another the `two men`.
    pub(super) entities: Vec<String>,
    /// Its class, in files of captionlab only.
    pub(super) label: Option<String>,
    /// Lines and boxes as they are written, from edge to edge; none for what is the whole scene, or not in the picture.
    pub(super) boxes: Vec<(u64, BoundingBox)>,
    /// Whether it is the whole scene.
    pub(super) is_scene: bool,
}

pub(super) fn read(path: &Path) -> Result<Annotation> {
    parse(&read_text(path)?).map_err(|(line, problem)| Error::data(path, line, problem, HELP))
}

/// A line with what is wrong there.
type Problem = (u64, String);

fn parse(text: &str) -> Result<Annotation, Problem> {
    let root = tree(text)?;
    if root.name != "annotation" {
        return Err((root.line, format!("the root is `{}`, not `annotation`", root.name)));
    }
    let size = root.child("size")?;
    let (width, height) = (size.child("width")?.number()?, size.child("height")?.number()?);
    if width < 1.0 || height < 1.0 {
        return Err((size.line, format!("a picture of {width}×{height} pixels")));
    }
    let objects = root.children("object").map(object).collect::<Result<_, _>>()?;
    Ok(Annotation { width, height, objects })
}

fn object(element: &Element) -> Result<Object, Problem> {
    let entities: Vec<String> =
        element.children("name").map(|name| Ok(name.value()?.to_owned())).collect::<Result<_, Problem>>()?;
    if entities.is_empty() {
        return Err((element.line, "an object without a name".into()));
    }
    let boxes: Vec<_> = element.children("bndbox").map(bounds).collect::<Result<_, _>>()?;
    let is_set = |name| match element.children(name).next() {
        Some(flag) => Ok(flag.number()? > 0.0),
        None => Ok(false),
    };
    let (is_scene, is_nowhere) = (is_set("scene")?, is_set("nobndbox")?);
    if boxes.is_empty() && !is_scene && !is_nowhere {
        return Err((element.line, "an object with neither `bndbox` nor `scene` nor `nobndbox`".into()));
    }
    let label = element.children("label").next().map(|label| Ok(label.value()?.to_owned())).transpose()?;
    Ok(Object { entities, label, boxes, is_scene })
}

/// Corners are pixels counted from 1, both inside the box: the first pixel reaches from the edge 0 to the edge 1.
fn bounds(element: &Element) -> Result<(u64, BoundingBox), Problem> {
    let corner = |name| element.child(name)?.number();
    let bounds = BoundingBox {
        left: corner("xmin")? - 1.0,
        top: corner("ymin")? - 1.0,
        right: corner("xmax")?,
        bottom: corner("ymax")?,
    };
    Ok((element.line, bounds))
}

/// An element.
#[derive(Debug)]
struct Element<'a> {
    name: &'a str,
    line: u64,
    /// Between its tags, where it has no elements inside.
    text: &'a str,
    inside: Vec<Element<'a>>,
}

impl Element<'_> {
    fn children(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.inside.iter().filter(move |element| element.name == name)
    }

    fn child(&self, name: &str) -> Result<&Self, Problem> {
        self.children(name).next().ok_or_else(|| (self.line, format!("`{}` without `{name}`", self.name)))
    }

    fn value(&self) -> Result<&str, Problem> {
        let value = self.text.trim();
        match value.is_empty() || value.contains('&') || !self.inside.is_empty() {
            false => Ok(value),
            true => Err((self.line, format!("`{}` has no plain value", self.name))),
        }
    }

    fn number(&self) -> Result<f32, Problem> {
        let number = self.value()?.parse().ok().filter(|number: &f32| number.is_finite());
        let shown: String = self.text.trim().chars().take(40).collect();
        number.ok_or_else(|| (self.line, format!("`{}` is `{shown}`, which is no number", self.name)))
    }
}

/// The root element.
fn tree(text: &str) -> Result<Element<'_>, Problem> {
    let (mut at, mut line) = (0, 1);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let length = if !rest.starts_with('<') {
            let length = rest.find('<').unwrap_or(rest.len());
            let words = &rest[..length];
            match open.last_mut() {
                Some(element) if element.inside.is_empty() && element.text.trim().is_empty() => element.text = words,
                _ if words.trim().is_empty() => {}
                Some(element) => return Err((line, format!("text between the elements of `{}`", element.name))),
                None => return Err((line, "text outside of the root".into())),
            }
            length
        } else if rest.starts_with("<?") {
            rest.find("?>").ok_or_else(|| (line, "`<?` without `?>`".to_owned()))? + 2
        } else if rest.starts_with("<!--") {
            rest.find("-->").ok_or_else(|| (line, "a comment that does not end".to_owned()))? + 3
        } else if rest.starts_with("<!") {
            return Err((line, "a document type or CDATA, which is not read".into()));
        } else {
            let length = rest.find('>').ok_or_else(|| (line, "a tag that does not end".to_owned()))? + 1;
            let tag = &rest[1..length - 1];
            if tag.contains('<') {
                return Err((line, "a tag that does not end".into()));
            }
            let closed = if let Some(name) = tag.strip_prefix('/') {
                let name = name.trim_end();
                let element = open.pop().filter(|element| element.name == name);
                Some(element.ok_or_else(|| (line, format!("`</{name}>` closes nothing")))?)
            } else {
                let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
                let name = tag.split_whitespace().next().filter(|name| tag.starts_with(*name));
                let name = name.ok_or_else(|| (line, "a tag without a name".to_owned()))?;
                if open.len() >= DEPTH {
                    return Err((line, format!("elements more than {DEPTH} deep")));
                }
                let element = Element { name, line, text: "", inside: Vec::new() };
                match is_empty {
                    true => Some(element),
                    false => {
                        open.push(element);
                        None
                    }
                }
            };
            if let Some(element) = closed {
                match open.last_mut() {
                    Some(parent) if !parent.text.trim().is_empty() => {
                        return Err((element.line, format!("text between the elements of `{}`", parent.name)));
                    }
                    Some(parent) => parent.inside.push(element),
                    None if root.is_some() => return Err((element.line, "a second root".into())),
                    None => root = Some(element),
                }
            }
            length
        };
        line += rest[..length].bytes().filter(|byte| *byte == b'\n').count() as u64;
        at += length;
    }
    match (open.pop(), root) {
        (Some(element), _) => Err((element.line, format!("`<{}>` is not closed", element.name))),
        (None, Some(root)) => Ok(root),
        (None, None) => Err((line, "no element is in it".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "<?xml version=\"1.0\"?>
<annotation>
\t<!-- <object> -->
\t<filename>a &amp; b.jpg</filename>
\t<size><width>333</width><height>500</height><depth>3</depth></size>
\t<object>
\t\t<name>1</name><name>6</name>
\t\t<bndbox>
\t\t\t<xmin>1</xmin><ymin>220</ymin>
\t\t\t<xmax>211</xmax><ymax>473</ymax>
\t\t</bndbox>
\t</object>
\t<object><name>8</name><scene>1</scene><nobndbox>0</nobndbox></object>
\t<object verified=\"yes\"><name>10</name><pose/><scene>0</scene><nobndbox> 1 </nobndbox></object>
</annotation>
";

    #[test]
    fn a_file_of_boxes_is_read_from_edge_to_edge() {
        let annotation = parse(WHOLE).unwrap();
        assert_eq!((annotation.width, annotation.height), (333.0, 500.0));
        let bounds = BoundingBox { left: 0.0, top: 219.0, right: 211.0, bottom: 473.0 };
        let object = |entities: &[&str], boxes: Vec<(u64, BoundingBox)>, is_scene| Object {
            entities: entities.iter().map(|entity| entity.to_string()).collect(),
            label: None,
            boxes,
            is_scene,
        };
        assert_eq!(
            annotation.objects,
            [
                object(&["1", "6"], vec![(8, bounds)], false),
                object(&["8"], vec![], true),
                object(&["10"], vec![], false)
            ]
        );
        assert_eq!(parse(&WHOLE.replace('\n', "\r\n")).unwrap(), annotation);
    }

    #[test]
    fn what_is_not_such_a_file_is_named_with_its_line() {
        let with = |from: &str, to: &str| {
            assert!(WHOLE.contains(from), "{from}");
            WHOLE.replacen(from, to, 1)
        };
        for (text, line, said) in [
            (with("</bndbox>", ""), 12, "`</object>` closes nothing"),
            (with("</annotation>\n", ""), 2, "`<annotation>` is not closed"),
            (with("</annotation>", "</annotation"), 15, "a tag that does not end"),
            (with("<xmin>1</xmin>", ""), 8, "`bndbox` without `xmin`"),
            (with("<xmin>1<", "<xmin>one<"), 9, "`xmin` is `one`, which is no number"),
            (with("<xmin>1<", "<xmin>NaN<"), 9, "`xmin` is `NaN`"),
            (with("<xmin>1<", "<xmin>&#49;<"), 9, "`xmin` has no plain value"),
            (with("<name>1</name><name>6</name>", ""), 6, "an object without a name"),
            (with("<name>1</name>", "<name/>"), 7, "`name` has no plain value"),
            (with("<nobndbox> 1 </nobndbox>", ""), 14, "an object with neither"),
            (with("<nobndbox> 1 ", "<nobndbox>0"), 14, "an object with neither"),
            (with("<width>333</width>", ""), 5, "`size` without `width`"),
            (with("<width>333", "<width>0"), 5, "a picture of 0×500 pixels"),
            (with("<!-- <object> -->", "<!-- <object>"), 3, "a comment that does not end"),
            (with("<!-- <object> -->", "<![CDATA[1]]>"), 3, "CDATA"),
            (with("<object>\n", "<object>lost\n"), 7, "text between the elements of `object`"),
            (with("</bndbox>", "</bndbox>lost"), 11, "text between the elements of `object`"),
            (with("<pose/>", "< pose/>"), 14, "a tag without a name"),
            (with("<pose/>", "<>"), 14, "a tag without a name"),
            (format!("{WHOLE}<annotation/>"), 16, "a second root"),
            (format!("{WHOLE}lost"), 15, "text outside of the root"),
            ("<boxes/>".into(), 1, "the root is `boxes`"),
            ("\n\n".into(), 3, "no element is in it"),
            ("{\"boxes\": []}".into(), 1, "text outside of the root"),
            ("<a>".repeat(100_000), 1, "elements more than 16 deep"),
            ("<".into(), 1, "a tag that does not end"),
            ("<!".into(), 1, "CDATA"),
            ("<?".into(), 1, "`<?` without `?>`"),
        ] {
            let (found, problem) = parse(&text).unwrap_err();
            assert!(problem.contains(said), "{said}: {problem}");
            assert_eq!(found, line, "{problem}");
        }
        // However a file is cut off, it is refused.
        for end in (0..WHOLE.trim_end().len()).filter(|end| WHOLE.is_char_boundary(*end)) {
            parse(&WHOLE[..end]).unwrap_err();
        }
    }
}
