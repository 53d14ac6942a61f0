//! Names of images, as tables and disks spell them.

use std::borrow::Cow;

use super::letters::composed;

/// The name by which an image is known: `./photos\café.jpg` is `photos/café.jpg`, its letters composed. Names that are one
/// place on a disk are equal.
pub(crate) fn normal_name(name: &str) -> Cow<'_, str> {
    let is_plain = |part: &str| !part.is_empty() && part != ".";
    if name.is_ascii() && !name.contains('\\') && name.split('/').all(is_plain) {
        return Cow::Borrowed(name);
    }
    let name = composed(name).replace('\\', "/");
    Cow::Owned(name.split('/').filter(|part| is_plain(part)).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
