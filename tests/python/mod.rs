//! The project's Python, for comparisons with what others have written.

// Each program of tests has a copy of its own, and uses what it needs.
#![allow(dead_code)]

use std::path::Path;
use std::process::Command;

/// A call of `.venv/bin/python`; `None`, with a message, where it, or a package that the test needs, is not here.
pub fn python_with(packages: &str) -> Option<Command> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    // Looked for, not imported: torch alone takes seconds.
    let find = "import importlib.util, sys; sys.exit(None in map(importlib.util.find_spec, sys.argv[1].split()))";
    if !Command::new(&python).args(["-c", find, packages]).status().is_ok_and(|status| status.success()) {
        println!("skipped: .venv/bin/python with {packages} is not here");
        return None;
    }
    Some(Command::new(python))
}

/// What a call prints.
///
/// # Panics
///
/// With what it says on standard error where it fails.
pub fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
