//! The crate is built in floors, each of which uses only the floors below it.

use std::path::{Path, PathBuf};

/// The floors, lowest first; the last ones are the table of kinds and downloads, which stand beside all others.
const FLOORS: [&str; 14] = [
    "in_cells", "error", "files", "data", "metrics", "nn", "train", "vision", "align", "caption", "show", "live",
    "download", "kinds",
];

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == module)
}

/// The Rust files of a folder and of those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

/// The modules that code names as `crate::module`, alone or in braces, each with its line.
fn used(code: &str) -> Vec<(usize, String)> {
    let word = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            // `$crate::` and names that end so.
            if line[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_') {
                continue;
            }
            let rest = &line[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                None => found.push((number + 1, word(rest))),
                Some(list) => found.extend(list.split(',').map(|item| (number + 1, word(item.trim())))),
            }
        }
    }
    found
}

/// What stands above its floor: `file:line uses module`.
fn faults(root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    for path in files(root) {
        let inside = path.strip_prefix(root).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let Some(own) = floor_of(first.trim_end_matches(".rs")) else { continue };
        let text = std::fs::read_to_string(&path).unwrap();
        // Tests may use what is above.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for (line, module) in used(code) {
            if floor_of(&module).is_some_and(|floor| floor > own) {
                faults.push(format!("{}:{line} uses {module}", inside.display()));
            }
        }
    }
    faults.sort();
    faults
}

#[test]
fn a_floor_uses_only_the_floors_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(faults(&root), Vec::<String>::new());
    // Every module is on a floor.
    for entry in std::fs::read_dir(&root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(["lib", "bin"].contains(&module) || floor_of(module).is_some(), "{name} is on no floor");
    }
}

#[test]
fn what_stands_above_its_floor_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, code: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, code).unwrap();
    };
    write("data/mod.rs", "use crate::files::write;\n// crate::show is above\nlet x = crate::vision::encode();\n");
    write("nn/linear.rs", "use crate::{data, train};\n#[cfg(test)]\nmod tests {\n    use crate::caption;\n}\n");
    write("files.rs", "pub(crate) use crate::error::Error;\n");
    assert_eq!(faults(folder.path()), ["data/mod.rs:3 uses vision", "nn/linear.rs:1 uses train"]);
}
