//! The build folder of the kernels: what lessons use is compiled there before a kernel starts.
//!
//! evcxr compiles every cell in a cargo package of its own. A kernel that starts with an empty build folder compiles tch,
//! plotters and the rest for many minutes; so one folder is warmed at set-up, and each kernel starts from a copy of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kernel::write_whole;
use crate::paths::{EVCXR_VERSION, Paths, key, rust_version};
use crate::steps::{ready, run_logged, step};
use crate::{Result, tree};

/// Set while a build folder is being warmed: the kernel then works in this folder itself, not in a copy.
pub const BUILD_FOLDER: &str = "CAPTIONLAB_KERNEL_BUILD";

/// Cells are compiled at every step, so they are not optimised at all, and their arithmetic is checked; other crates are
/// optimised just enough. Nothing is compiled in parts, which would be gigabytes to copy for each kernel.
const CELLS_AND_OTHERS: &str = "\
[profile.dev]
incremental = false
[profile.dev.package.ctx]
opt-level = 0
[profile.dev.package.'*']
opt-level = 1
debug-assertions = false
overflow-checks = false
";

/// What trains, draws and decodes pictures.
const OPTIMISED: &[&str] =
    &["captionlab", "tiny-skia", "tiny-skia-path", "zune-jpeg", "fast_image_resize", "png", "fdeflate", "miniz_oxide"];

/// The crates of data frames. Not for speed: from this level on, a crate shares none of its generic functions with the crates above
/// it. Below it these have 230,000 such symbols, which the linker reads at every cell (0.6 s).
const NOTHING_SHARED: &[&str] = &[
    "polars",
    "polars-arrow",
    "polars-async",
    "polars-buffer",
    "polars-compute",
    "polars-config",
    "polars-core",
    "polars-dtype",
    "polars-error",
    "polars-io",
    "polars-ops",
    "polars-row",
    "polars-schema",
    "polars-utils",
];

/// Macros run inside the compiler, for moments.
const UNOPTIMISED: &[&str] = &["proc-macro2", "quote", "serde_derive", "strum_macros", "syn", "zerocopy-derive"];

/// How kernels compile, for cargo.
fn build_profile() -> String {
    let groups = [
        (OPTIMISED, "opt-level = 3\n"),
        (NOTHING_SHARED, "opt-level = 2\ncodegen-units = 1\n"),
        (UNOPTIMISED, "opt-level = 0\n"),
    ];
    let of_group = |(names, settings): (&[&str], &str)| -> String {
        names.iter().map(|name| format!("[profile.dev.package.{name}]\n{settings}")).collect()
    };
    std::iter::once(CELLS_AND_OTHERS.to_string()).chain(groups.map(of_group)).collect()
}

/// Compiles what lessons use into the build folder that each kernel copies.
pub fn warm(paths: &Paths, libtorch: &Path) -> Result<()> {
    let builds = paths.kernel_builds();
    fs::create_dir_all(&builds)?;
    // Two commands in one checkout must not warm the same folder.
    let lock = File::create(builds.join("warming"))?;
    lock.lock()?;
    remove_stale_copies(&builds);
    fs::create_dir_all(builds.join(".cargo"))?;
    write_whole(&builds.join(".cargo/config.toml"), &build_profile())?;

    let warmed = paths.warmed();
    let feature_sets = feature_sets(&paths.notebooks())?;
    let state = crate_state(paths, libtorch, &feature_sets)?;
    if fs::read_to_string(warmed.join("warmed-for")).is_ok_and(|warmed_for| warmed_for == state) {
        ready("Kernel's build folder");
        return Ok(());
    }
    let seed = paths.seed(&format!("kernel-seed-{}", key(build_profile().as_bytes())), libtorch)?;
    let name = if seed.exists() || warmed.exists() {
        "Kernel's build folder, compiled for this checkout (about 6 minutes)"
    } else {
        "Kernel's build folder, compiled for the first time (about 16 minutes)"
    };
    step(name, || {
        let _ = fs::remove_file(warmed.join("warmed-for"));
        if !warmed.exists() && seed.exists() {
            tree::copy(&seed, &warmed, &tree::take_target)?;
        }
        fs::create_dir_all(&warmed)?;
        // What was made from the checkout as it was would be copied for each kernel.
        tree::retain(&warmed, &tree::take_third_party)?;
        // evcxr's package takes the versions that the project's lock file names.
        fs::copy(paths.checkout.join("Cargo.lock"), warmed.join("Cargo.lock"))?;
        let mut session = Command::new(paths.venv_python());
        session
            .arg(paths.checkout.join("xtask/jupyter_session.py"))
            .arg("warm")
            .args(&feature_sets)
            .current_dir(paths.notebooks())
            .env(BUILD_FOLDER, &warmed);
        run_logged(&mut session, &paths.cache.join("logs/warm.log"), "Call again: what has been compiled is kept.")?;
        fs::write(warmed.join("warmed-for"), &state)?;
        save_seed(&warmed, &seed)
    })
}

/// The lines by which lessons ask for the crate, each with a feature set of its own, the smallest first.
fn feature_sets(notebooks: &Path) -> Result<Vec<String>> {
    let mut sets = BTreeSet::new();
    for entry in fs::read_dir(notebooks)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "ipynb") {
            continue;
        }
        // One that is no notebook is named when the lessons run.
        let notebook: serde_json::Value = serde_json::from_slice(&fs::read(&path)?).unwrap_or_default();
        let cells = notebook["cells"].as_array().into_iter().flatten();
        let lines = cells.filter_map(|cell| cell["source"].as_array()).flatten().filter_map(|line| line.as_str());
        sets.extend(lines.filter(|line| line.starts_with(":dep captionlab")).map(|line| line.trim().to_owned()));
    }
    Ok(sets.into_iter().collect())
}

/// Keeps the third-party part of a target folder for the next checkout.
pub fn save_seed(from: &Path, seed: &Path) -> Result<()> {
    if seed.exists() {
        return Ok(());
    }
    let partial = seed.with_extension(format!("partial-{}", std::process::id()));
    tree::copy(from, &partial, &tree::take_third_party)?;
    // Another checkout may have been faster; its seed is as good.
    if fs::rename(&partial, seed).is_err() {
        fs::remove_dir_all(&partial)?;
    }
    Ok(())
}

/// A copy of the warmed folder for one kernel, and the lock that says that it is in use.
pub fn copy_warmed(paths: &Paths) -> Result<(PathBuf, File)> {
    let builds = paths.kernel_builds();
    if !paths.warmed().join("warmed-for").exists() {
        return Err("the kernel's build folder is not ready. Run: cargo xtask setup".into());
    }
    remove_stale_copies(&builds);
    let build = builds.join(format!("kernel-{}", std::process::id()));
    let lock = File::create(build.with_extension("lock"))?;
    lock.lock()?;
    tree::copy(&paths.warmed(), &build, &tree::take_for_kernel)?;
    Ok((build, lock))
}

/// Removes the copies of kernels that are no more: nobody holds their locks.
fn remove_stale_copies(builds: &Path) {
    for entry in fs::read_dir(builds).into_iter().flatten().flatten() {
        let lock_file = entry.path();
        if lock_file.extension().is_some_and(|extension| extension == "lock")
            && File::open(&lock_file).is_ok_and(|lock| lock.try_lock().is_ok())
        {
            let _ = fs::remove_dir_all(lock_file.with_extension(""));
            let _ = fs::remove_file(lock_file);
        }
    }
}

/// Names the state of the sources and settings that a warmed folder was made for.
fn crate_state(paths: &Paths, libtorch: &Path, feature_sets: &[String]) -> Result<String> {
    let mut files = vec![
        paths.checkout.join("Cargo.toml"),
        paths.checkout.join("Cargo.lock"),
        paths.checkout.join("build.rs"),
        paths.checkout.join("xtask/jupyter_session.py"),
    ];
    files_below(&paths.checkout.join("src"), &mut files)?;
    files.sort();
    let mut all = format!("{} {EVCXR_VERSION} {} {}", libtorch.display(), rust_version(), build_profile()).into_bytes();
    all.extend(feature_sets.concat().as_bytes());
    for file in files {
        all.extend(file.as_os_str().as_encoded_bytes());
        all.extend(fs::read(file)?);
    }
    Ok(key(&all))
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files_below(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_set_of_a_lesson_is_warmed_the_smallest_first() {
        let notebooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks");
        let sets = feature_sets(&notebooks).unwrap();
        assert_eq!(sets[0], ":dep captionlab = { path = \"..\" }");
        for features in ["clip-text", "live", "tables"] {
            let line = format!(":dep captionlab = {{ path = \"..\", features = [\"{features}\"] }}");
            assert!(sets.contains(&line), "{features}: {sets:?}");
        }
    }
}
