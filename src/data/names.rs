//! Normalisation of image names and ids.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::letters::composed;

/// The normalised name of an image: `./photos\café.jpg` becomes `photos/café.jpg` in NFC. Names of the same file become equal.
pub(crate) fn normal_name(name: &str) -> Cow<'_, str> {
    let is_plain = |part: &str| !part.is_empty() && part != ".";
    if name.is_ascii() && !name.contains('\\') && name.split('/').all(is_plain) {
        return Cow::Borrowed(name);
    }
    let name = composed(name).replace('\\', "/");
    Cow::Owned(name.split('/').filter(|part| is_plain(part)).collect::<Vec<_>>().join("/"))
}

/// The id of an image or of a caption, a number or a text: 11, 11.0 (which data frames make of it once one is missing), "11" and
/// "11.0" are one id, and so are `a.jpg` and `./a.jpg`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) String);

impl Id {
    pub(crate) fn of_text(text: &str) -> Self {
        let text = text.trim();
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        Self(match text.split_once('.') {
            Some((whole, zeros)) if is_number(whole) && zeros.bytes().all(|digit| digit == b'0') => whole.to_owned(),
            _ => normal_name(text).into_owned(),
        })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Id;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an id, a number or a text")
            }

            fn visit_u64<E>(self, id: u64) -> Result<Id, E> {
                Ok(Id(id.to_string()))
            }

            fn visit_i64<E>(self, id: i64) -> Result<Id, E> {
                Ok(Id(id.to_string()))
            }

            fn visit_f64<E>(self, id: f64) -> Result<Id, E> {
                Ok(Id(id.to_string()))
            }

            fn visit_str<E>(self, id: &str) -> Result<Id, E> {
                Ok(Id::of_text(id))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_however_tools_write_them() {
        let ids = r#"[11, 11.0, 1.1e1, "11", "11.0", " 11 ", -3, "-3", 1.5, "a.jpg", "./a.jpg", "1.jpg"]"#;
        let ids: Vec<Id> = serde_json::from_str(ids).unwrap();
        let ids: Vec<&str> = ids.iter().map(|id| id.0.as_str()).collect();
        assert_eq!(ids, ["11", "11", "11", "11", "11", "11", "-3", "-3", "1.5", "a.jpg", "a.jpg", "1.jpg"]);
        let error = serde_json::from_str::<Id>("null").unwrap_err().to_string();
        assert!(error.starts_with("invalid type: null, expected an id, a number or a text at line 1"), "{error}");
    }

    #[test]
    fn names_of_one_place_are_equal() {
        for (name, normal) in [
            ("a.jpg", "a.jpg"),
            ("photos/a.jpg", "photos/a.jpg"),
            ("./photos/a.jpg", "photos/a.jpg"),
            (".\\photos\\a.jpg", "photos/a.jpg"),
            ("photos//./a.jpg", "photos/a.jpg"),
            ("cafe\u{301}/mu\u{308}nchen.jpg", "caf\u{E9}/m\u{FC}nchen.jpg"),
            (".hidden.jpg", ".hidden.jpg"),
            ("./", ""),
        ] {
            assert_eq!(normal_name(name), normal);
            assert_eq!(normal_name(normal), normal);
        }
    }
}
