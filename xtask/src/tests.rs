//! Everything that must hold before a change lands.

use std::process::Command;

use crate::paths::Paths;
use crate::steps::{run, step};
use crate::{Result, checks, kernel, lessons, setup, target};

pub fn test(paths: &Paths) -> Result<()> {
    let cargo = |name: &str, arguments: &[&str]| {
        step(name, || {
            let mut command = Command::new("cargo");
            command.args(arguments).current_dir(&paths.checkout).env("RUSTDOCFLAGS", "-D warnings");
            let status = run(&mut command)?;
            if status.success() { Ok(()) } else { Err(format!("`cargo {}` failed", arguments.join(" ")).into()) }
        })
    };
    // The scores are of use to those who have no libtorch.
    const SCORES_ALONE: &[&str] = &["clippy", "--quiet", "--no-default-features", "--features", "score-command"];
    let without_kernel = || {
        cargo("Format", &["fmt", "--all", "--check"])?;
        cargo(
            "Lints",
            &["clippy", "--quiet", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
        )?;
        cargo("Lints without libtorch", &[SCORES_ALONE, &["--", "-D", "warnings"]].concat())?;
        cargo(
            "Unit and integration tests",
            &["test", "--quiet", "--workspace", "--all-features", "--lib", "--bins", "--tests"],
        )?;
        cargo("Doctests", &["test", "--quiet", "--all-features", "--doc"])?;
        cargo("Documentation", &["doc", "--quiet", "--no-deps", "--all-features"])?;
        match target::debug_folder(paths)? {
            Ok(folder) => kernel::save_seed(&folder, &paths.seed("target-seed", &checks::libtorch(paths)?)?),
            // Said by set-up.
            Err(_) => Ok(()),
        }
    };
    // Lessons wait for compilers and for each other's cells; tests for Python and for servers.
    setup::setup_beside(paths, without_kernel, || {
        step("Lessons", || lessons::run(paths, &[], lessons::Mode::Check, false))
    })
}
