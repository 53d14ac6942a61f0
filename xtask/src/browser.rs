//! Chromium, in which tests open the live page.

use std::process::Command;

use crate::Result;
use crate::paths::Paths;
use crate::steps::{output_of, ready, run_logged, step};

/// What tests/live.rs looks for.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Installs Chromium where the system's packages may be installed without a question. Elsewhere the tests that need it are skipped.
pub fn install(paths: &Paths) -> Result<()> {
    if NAMES.iter().any(|name| output_of(Command::new(name).arg("--version")).is_some()) {
        ready("Chromium, for tests of the live page");
        return Ok(());
    }
    let is_root = output_of(Command::new("id").arg("-u")).is_some_and(|user| user == "0");
    let has_apt = output_of(Command::new("apt-get").arg("--version")).is_some();
    let installed = match is_root && has_apt {
        true => step("Chromium, for tests of the live page", || {
            let log = paths.cache.join("logs/chromium.log");
            let help = "By hand: apt-get install chromium";
            let apt = |arguments: &[&str]| {
                let mut command = Command::new("apt-get");
                run_logged(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"), "Chromium", &log, help)
            };
            apt(&["update"])?;
            apt(&["install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"])
        }),
        false => Err("this system's packages are not installed without asking".into()),
    };
    if let Err(problem) = installed {
        println!("skipped: tests of the live page in a browser, as Chromium is not here: {problem}");
        println!(
            "  Debian: apt install chromium. Ubuntu, macOS: install Google Chrome or Chromium, and have it on the PATH."
        );
    }
    Ok(())
}
