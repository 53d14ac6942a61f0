//! From a fresh clone to open lessons.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

use crate::kernel::write_whole;
use crate::paths::Paths;
use crate::steps::{output_of, side_by_side, step};
use crate::{Result, checks, kernel, lessons, python, tree};

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
    let (made, environment) = mpsc::channel::<PathBuf>();
    let kernel = move || {
        kernel::install(paths)?;
        // Where there is no environment, that is the failure.
        let Ok(libtorch) = environment.recv() else { return Ok(()) };
        kernel::write_kernelspec(paths, &libtorch)?;
        kernel::warm(paths, &libtorch)?;
        with_kernel()
    };
    let others = move || {
        python::make_environment(paths)?;
        let libtorch = checks::libtorch(paths)?;
        tell_cargo(paths, &libtorch)?;
        seed_target(paths, &libtorch)?;
        // Where nobody waits for it, that is the failure.
        if made.send(libtorch).is_err() {
            return Ok(());
        }
        without_kernel()
    };
    side_by_side(kernel, others)
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
    let text = format!(
        "# Written by `cargo xtask setup`.\n[env]\n# A LIBTORCH of your own, set in the environment, comes first.\nLIBTORCH = {:?}\n",
        libtorch
    );
    if fs::read_to_string(paths.machine_config()).is_ok_and(|there| there == text) {
        return Ok(());
    }
    write_whole(&paths.machine_config(), &text)
}

/// A fresh checkout begins with the third-party crates that an earlier one compiled.
fn seed_target(paths: &Paths, libtorch: &std::path::Path) -> Result<()> {
    let seed = paths.seed("target-seed", libtorch)?;
    let target = paths.checkout.join("target/debug");
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
    let mut folders = vec![paths.venv(), paths.kernel_builds()];
    if all {
        folders.push(paths.cache.clone());
    }
    let mut freed = 0;
    for folder in folders.iter().filter(|folder| folder.exists()) {
        let (size, own) = tree::size(folder);
        fs::remove_dir_all(folder)
            .map_err(|error| format!("{}: cannot be removed: {error}. Is a kernel still running?", folder.display()))?;
        // What other copies share on disk is freed only with the last of them.
        let frees = if all { size } else { own };
        freed += frees;
        println!(
            "removed {}: {} of files, {} freed",
            folder.display(),
            checks::gigabytes(size),
            checks::gigabytes(frees)
        );
    }
    let _ = fs::remove_file(paths.machine_config());
    println!("{} freed in all. `cargo clean` frees target/ too.", checks::gigabytes(freed));
    if !all && paths.cache.exists() {
        println!(
            "The cache folder {} is kept for other checkouts; `cargo xtask clean --all` removes it.",
            paths.cache.display()
        );
    }
    Ok(())
}
