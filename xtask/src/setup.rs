//! From a fresh clone to open lessons.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use crate::checks::gigabytes;
use crate::kernel::write_whole;
use crate::paths::Paths;
use crate::steps::{output_of, side_by_side, step};
use crate::{Result, checks, kernel, lessons, python, target, tree, warm};

/// Sets up what is missing.
pub fn setup(paths: &Paths) -> Result<()> {
    setup_beside(paths, || Ok(()), || Ok(()))
}

/// Sets up what is missing. `without_kernel` begins as soon as cargo finds libtorch, and `with_kernel` when lessons can be run:
/// compiling the kernel and its crates keeps one processor busy for minutes, not all of them.
pub fn setup_beside(
    paths: &Paths,
    without_kernel: impl FnOnce() -> Result<()>,
    with_kernel: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    checks::before_setup()?;
    kernel::add_rust_source(paths)?;
    let (made, found) = mpsc::channel::<PathBuf>();
    let kernel = move || {
        kernel::install(paths)?;
        // Where there is no environment, that is the failure.
        let Ok(libtorch) = found.recv() else { return Ok(()) };
        kernel::write_kernelspec(paths, &libtorch)?;
        warm::warm(paths, &libtorch)?;
        with_kernel()
    };
    let others = move || {
        let libtorch = without_kernel_program(paths)?;
        // Where nobody waits for it, that is the failure.
        if made.send(libtorch).is_err() {
            return Ok(());
        }
        without_kernel()
    };
    side_by_side(kernel, others)
}

/// Sets up what tests need that use no kernel: Python's packages, and libtorch, whose folder is returned.
pub fn without_kernel_program(paths: &Paths) -> Result<PathBuf> {
    checks::before_setup()?;
    python::make_environment(paths)?;
    let libtorch = checks::libtorch(paths)?;
    tell_cargo(paths, &libtorch)?;
    seed_target(paths, &libtorch)?;
    Ok(libtorch)
}

/// Sets up what is missing, then opens the lessons.
pub fn lab(paths: &Paths, port: Option<u16>, browser: bool) -> Result<()> {
    let mut lab = Command::new(paths.venv_python());
    lessons::set_data(&mut lab)?;
    setup(paths)?;
    println!("\nJupyterLab opens in notebooks/. Ctrl-C twice ends it.\n");
    lab.args(["-m", "jupyterlab"]).current_dir(paths.notebooks());
    if !browser {
        lab.arg("--no-browser");
    }
    if let Some(port) = port {
        lab.arg(format!("--port={port}"));
    }
    // JupyterLab refuses to run as root (in containers, say) unless told that this is meant.
    if output_of(Command::new("id").arg("-u")).as_deref() == Some("0") {
        lab.arg("--allow-root");
    }
    let status =
        lab.status().map_err(|error| format!("JupyterLab cannot be started: {error}. Run: cargo xtask doctor"))?;
    if status.success() { Ok(()) } else { Err(format!("JupyterLab ended with {status}").into()) }
}

/// Lets plain `cargo build` and `cargo test` find libtorch.
fn tell_cargo(paths: &Paths, libtorch: &std::path::Path) -> Result<()> {
    // A text of JSON is one of TOML; Rust's own form has other escapes.
    let libtorch = serde_json::to_string(libtorch)?;
    let text = format!(
        "# Written by `cargo xtask setup`.\n[env]\n# A LIBTORCH of your own, set in the environment, comes first.\nLIBTORCH = {libtorch}\n"
    );
    if fs::read_to_string(paths.machine_config()).is_ok_and(|there| there == text) {
        return Ok(());
    }
    write_whole(&paths.machine_config(), &text)
}

/// A fresh checkout begins with the third-party crates that an earlier one compiled.
fn seed_target(paths: &Paths, libtorch: &std::path::Path) -> Result<()> {
    let seed = paths.seed("target-seed", libtorch)?;
    let target = match target::debug_folder(paths)? {
        Ok(folder) => folder,
        Err(why) => {
            println!("Compiled third-party crates are not shared with other checkouts: {why}");
            return Ok(());
        }
    };
    if !seed.exists()
        || target
            .join("deps")
            .read_dir()
            .is_ok_and(|deps| deps.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libtch-")))
    {
        return Ok(());
    }
    step("Compiled third-party crates, from the cache folder", || merge(&seed, &target))
}

/// Adds what a target folder lacks: it holds xtask already.
fn merge(seed: &std::path::Path, target: &std::path::Path) -> Result<()> {
    tree::copy(seed, target, &|inside| {
        if target.join(inside).is_file() { tree::Take::Leave } else { tree::take_target(inside) }
    })
}

/// Removes this checkout's set-up, and says what that frees.
pub fn clean(paths: &Paths, all: bool) -> Result<()> {
    let mut removed = vec![paths.kernel_builds()];
    match python::is_ours(&paths.venv()) {
        true => removed.push(paths.venv()),
        false if paths.venv().exists() => {
            println!("kept {}: it is not of this project's making", paths.venv().display())
        }
        false => (),
    }
    if all {
        removed.extend(own_entries(&paths.cache));
    }
    let mut freed = 0;
    for path in removed.iter().filter(|path| path.exists()) {
        let (size, frees) = tree::size(path);
        let remove = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        remove
            .map_err(|error| format!("{}: cannot be removed: {error}. Is a kernel still running?", path.display()))?;
        // What other copies share on disk is freed only with the last of them.
        freed += frees;
        println!("removed {}: {} of files, {} freed", path.display(), gigabytes(size), gigabytes(frees));
    }
    let _ = fs::remove_file(paths.machine_config());
    if all {
        // Only where they are empty: CAPTIONLAB_CACHE may name a folder that holds other things.
        for folder in [paths.cache.join("kernels"), paths.cache.join("logs"), paths.cache.clone()] {
            let _ = fs::remove_dir(folder);
        }
    }
    println!("{} freed in all. `cargo clean` frees target/ too.", gigabytes(freed));
    if !all && paths.cache.exists() {
        println!(
            "The cache folder {} is kept for other checkouts; `cargo xtask clean --all` removes what this project put there.",
            paths.cache.display()
        );
    }
    Ok(())
}

/// What this project put into the cache folder, in the order of the names. The folder itself may be the user's, and hold other things.
fn own_entries(cache: &Path) -> Vec<PathBuf> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let has_key = |rest: &str| rest.len() >= 12 && rest.bytes().take(12).all(|byte| byte.is_ascii_hexdigit());
    let is_ours = |name: &String| {
        ["python-", "kernel-seed-", "target-seed-"].iter().any(|prefix| name.strip_prefix(prefix).is_some_and(has_key))
            || (name.starts_with("evcxr-") && name.contains("-rust-"))
            || (name.starts_with("meteor-") && name.contains(".safetensors"))
            || name == "rust-src.lock"
    };
    let (kernels, logs) = (cache.join("kernels"), cache.join("logs"));
    let mut entries: Vec<PathBuf> = names(cache).into_iter().filter(is_ours).map(|name| cache.join(name)).collect();
    entries.extend(names(&kernels).into_iter().filter(|name| has_key(name)).map(|name| kernels.join(name)));
    entries.extend(["kernel", "python", "rust-src", "warm"].map(|name| logs.join(format!("{name}.log"))));
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_cache_folder_only_what_is_ours_is_removed() {
        let cache = std::env::temp_dir().join(format!("captionlab-own-{}", std::process::id()));
        let ours = [
            "evcxr-0.22.0-rust-1.95.0/bin/evcxr_jupyter",
            "kernel-seed-8080bdf4c4a9-8ca3f20b4b17/file",
            "kernels/0f3a9c51b2de/warmed/file",
            "kernels/0f3a9c51b2de.lock",
            "logs/warm.log",
            "meteor-1.5-english-2.safetensors",
            "python-2769ed3a662f.lock",
            "python-2769ed3a662f/bin/python",
            "rust-src.lock",
            "target-seed-8ca3f20b4b17/file",
        ];
        let theirs =
            ["photos/one.jpg", "python-projects/mine.py", "kernels/linux/vmlinuz", "logs/mail.log", "evcxr-notes.md"];
        for file in ours.iter().chain(&theirs) {
            fs::create_dir_all(cache.join(file).parent().unwrap()).unwrap();
            fs::write(cache.join(file), file).unwrap();
        }
        for path in own_entries(&cache).iter().filter(|path| path.exists()) {
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        for file in ours {
            assert!(!cache.join(file).exists(), "{file}");
        }
        for file in theirs {
            assert!(cache.join(file).exists(), "{file}");
        }
        fs::remove_dir_all(cache).unwrap();
    }
}
