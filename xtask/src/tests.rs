//! Everything that must hold before a change lands.

use std::process::Command;
use std::sync::Mutex;

use crate::paths::Paths;
use crate::steps::{run_lines, step};
use crate::warm::Sets;
use crate::{Result, browser, lessons, setup, target, warm};

/// The parts of the tests, in the order in which they run.
const PARTS: [&str; 6] = ["format", "lints", "unit", "docs", "lessons", "pictures"];

/// What of the tests is asked for.
struct Wanted<'a> {
    parts: Vec<&'a str>,
    /// Names of single tests, or parts of them.
    tests: Vec<&'a str>,
}

impl<'a> Wanted<'a> {
    fn of(names: &'a [String]) -> Self {
        let (parts, tests): (Vec<&str>, Vec<&str>) =
            names.iter().map(String::as_str).partition(|name| PARTS.contains(name));
        if names.is_empty() { Self { parts: PARTS.to_vec(), tests } } else { Self { parts, tests } }
    }

    fn has(&self, part: &str) -> bool {
        self.parts.contains(&part)
    }
}

/// Runs all tests, or the parts and the single tests that are named.
pub fn test(paths: &Paths, names: &[String]) -> Result<()> {
    let wanted = Wanted::of(names);
    let skipped = Mutex::new(Vec::new());
    let cargo = |name: &str, arguments: &[&str]| {
        step(name, || {
            let mut command = Command::new("cargo");
            command.args(arguments).current_dir(&paths.checkout).env("RUSTDOCFLAGS", "-D warnings");
            let mut report = Report::default();
            let status = run_lines(&mut command, |line| {
                if report.shows(line) {
                    println!("{line}");
                }
            })?;
            if status.success() && report.ran == Some(0) {
                return Err(format!(
                    "no test is called so: `cargo {}`. Parts are: {}",
                    arguments.join(" "),
                    PARTS.join(", ")
                )
                .into());
            }
            if let Ok(mut skipped) = skipped.lock() {
                skipped.append(&mut report.skipped);
            }
            if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed", arguments.join(" ")).into()) }
        })
    };
    // The scores are of use to those who have no libtorch.
    const SCORES_ALONE: &[&str] = &["clippy", "--quiet", "--no-default-features", "--features", "score-command"];
    // Of tests that pass too, what they print: why one was skipped.
    const TESTS: &[&str] = &["test", "--quiet", "--workspace", "--all-features", "--lib", "--bins", "--tests"];
    const WITH_OUTPUT: &[&str] = &["--", "--show-output"];
    let without_kernel = || {
        if wanted.has("format") {
            cargo("Format", &["fmt", "--all", "--check"])?;
        }
        if wanted.has("lints") {
            cargo(
                "Lints",
                &["clippy", "--quiet", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
            )?;
            cargo("Lints without libtorch", &[SCORES_ALONE, &["--", "-D", "warnings"]].concat())?;
        }
        if wanted.has("unit") {
            browser::install(paths)?;
            cargo("Unit and integration tests", &[TESTS, WITH_OUTPUT].concat())?;
        }
        for name in &wanted.tests {
            cargo(&format!("Tests called {name}"), &[TESTS, &[name], WITH_OUTPUT].concat())?;
        }
        if wanted.has("docs") {
            cargo("Doctests", &["test", "--quiet", "--all-features", "--doc"])?;
            cargo("Documentation", &["doc", "--quiet", "--no-deps", "--all-features"])?;
        }
        match target::debug_folder(paths)? {
            Ok(folder) if names.is_empty() => warm::save_seed(&folder, &paths.seed("target-seed")?),
            // Said by set-up, or not all of it is there.
            _ => Ok(()),
        }
    };
    let kernel_parts = [
        ("lessons", "Lessons", lessons::Mode::Check),
        ("pictures", "Lessons on picture files", lessons::Mode::Pictures),
    ]
    .map(|(part, name, mode)| wanted.has(part).then_some((name, mode)));
    let needs_kernel = kernel_parts.iter().any(Option::is_some);
    let lessons = || {
        let mut parts = kernel_parts.into_iter().flatten();
        parts.try_for_each(|(name, mode)| step(name, || lessons::run(paths, &[], mode, false)))
    };
    match needs_kernel {
        // Lessons wait for compilers and for each other's cells; tests for Python and for servers.
        true => setup::setup_beside(paths, Sets::All, without_kernel, lessons)?,
        false => {
            setup::without_kernel_program(paths)?;
            without_kernel()?;
        }
    }
    let skipped = skipped.into_inner().unwrap_or_default();
    if !skipped.is_empty() {
        println!("\n{} tests were skipped, for what they lack:", skipped.len());
        skipped.iter().for_each(|test| println!("  {test}"));
    }
    Ok(())
}

/// Reads what a test program prints: of tests that pass, only why they were skipped.
#[derive(Default)]
struct Report {
    passed: bool,
    test: String,
    /// How many tests ran, where a program of tests said so.
    ran: Option<usize>,
    skipped: Vec<String>,
}

impl Report {
    /// Whether a line is shown.
    fn shows(&mut self, line: &str) -> bool {
        match line {
            "successes:" => self.passed = true,
            "failures:" => self.passed = false,
            _ if line.starts_with("test result:") => self.passed = false,
            _ => {}
        }
        if let Some(count) =
            line.strip_prefix("running ").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok())
        {
            self.ran = Some(self.ran.unwrap_or(0) + count);
        }
        if let Some(test) = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")) {
            self.test = test.to_string();
        }
        if let (true, Some(lack)) = (self.passed, line.strip_prefix("skipped: ")) {
            self.skipped.push(format!("{}: {lack}", self.test));
        }
        !self.passed
    }
}

#[cfg(test)]
mod checks_of_tests {
    use super::*;

    #[test]
    fn names_are_parts_or_tests_and_none_is_all() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(Wanted::of(&[]).parts, PARTS);
        let some = names(&["lints", "beam", "docs"]);
        let wanted = Wanted::of(&some);
        assert_eq!((wanted.parts, wanted.tests), (vec!["lints", "docs"], vec!["beam"]));
    }

    #[test]
    fn of_passed_tests_only_what_they_lack_is_kept_and_failures_are_shown() {
        let text = "running 3 tests\n...\nsuccesses:\n\n---- clip::parity stdout ----\nskipped: Python is not here\n\n\
                    ---- a stdout ----\nnoise\n\nsuccesses:\n    a\n\ntest result: ok. 3 passed\nrunning 1 test\n\
                    failures:\n\n---- b stdout ----\nskipped: a word of its own\n";
        let mut report = Report::default();
        let shown: Vec<&str> = text.lines().filter(|line| report.shows(line)).collect();
        assert_eq!((&report.skipped[..], report.ran), (&["clip::parity: Python is not here".to_string()][..], Some(4)));
        assert!(!shown.contains(&"noise") && shown.contains(&"skipped: a word of its own"), "{shown:?}");
        assert!(shown.contains(&"test result: ok. 3 passed"), "{shown:?}");
    }
}
