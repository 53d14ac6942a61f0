//! From a fresh clone to open lessons.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::checks::gigabytes;
use crate::paths::Paths;
use crate::steps::{lock, minutes, output_of, side_by_side, step};
use crate::warm::Sets;
use crate::{Result, cache, checks, kernel, lessons, python, target, tree, warm};

/// Sets up what is missing.
pub fn setup(paths: &Paths) -> Result<()> {
    setup_beside(paths, Sets::All, || Ok(()), || Ok(()))
}

/// Sets up what is missing. `without_kernel` begins when cargo finds libtorch, and `with_kernel` when lessons can be run: compiling
/// the kernel and its libraries keeps one processor busy for minutes, not all of them.
pub fn setup_beside(
    paths: &Paths,
    sets: Sets,
    without_kernel: impl FnOnce() -> Result<()>,
    with_kernel: impl FnOnce() -> Result<()> + Send,
) -> Result<()> {
    checks::before_setup()?;
    paths.make_cache()?;
    announce(paths, sets)?;
    kernel::add_rust_source(paths)?;
    cache::write_uses(paths)?;
    let (made, found) = mpsc::channel::<PathBuf>();
    let kernel = move || {
        kernel::install(paths)?;
        // Where there is no environment, that is the failure.
        let Ok(libtorch) = found.recv() else { return Ok(()) };
        kernel::write_kernelspec(paths, &libtorch)?;
        warm::warm(paths, &libtorch, sets)?;
        with_kernel()
    };
    let others = move || {
        // One waits for the network, the other computes.
        side_by_side(|| warm::before_libtorch(paths), || python::make_environment(paths))?;
        let libtorch = find_libtorch(paths)?;
        warm::warm(paths, &libtorch, Sets::First)?;
        // Where nobody waits for it, that is the failure.
        if made.send(libtorch).is_err() {
            return Ok(());
        }
        without_kernel()
    };
    side_by_side(kernel, others)?;
    cache::remove_unused(paths)
}

/// Sets up what tests need that use no kernel: Python's packages, and libtorch.
pub fn without_kernel_program(paths: &Paths) -> Result<()> {
    checks::before_setup()?;
    paths.make_cache()?;
    cache::write_uses(paths)?;
    python::make_environment(paths)?;
    find_libtorch(paths).map(|_| ())
}

/// Lets cargo find libtorch, and what other checkouts have compiled with it.
fn find_libtorch(paths: &Paths) -> Result<PathBuf> {
    let libtorch = checks::libtorch(paths)?;
    tell_cargo(paths, &libtorch)?;
    seed_target(paths)?;
    Ok(libtorch)
}

/// Says what a set-up is about to do, how long that takes, and what it needs.
fn announce(paths: &Paths, sets: Sets) -> Result<()> {
    let packages = !python::is_complete(&paths.shared_venv()?);
    let program = kernel::missing(paths);
    let (first, others) = warm::missing(paths)?;
    if !(packages || program.is_some() || first.is_some()) {
        return Ok(());
    }
    // Megabytes to fetch, and on disk.
    let parts = [
        (packages, 3000, 5600),
        (program.is_some(), 100, 100),
        (first.is_some(), 200, 1200),
        (others.is_some(), 100, 1000),
    ];
    let (fetched, disk) = parts.iter().filter(|part| part.0).fold((0, 0), |sum, part| (sum.0 + part.1, sum.1 + part.2));
    // Compilers share the processors, and unpacking takes its part of them.
    let compiled: Duration = [program, first].into_iter().flatten().map(|work| work.expected()).sum();
    let until_open = if packages { python::FETCHING.max(compiled + python::UNPACKING) } else { compiled };
    let rest = others.map_or(Duration::ZERO, |work| work.expected());
    let then = match sets {
        _ if rest.is_zero() => String::new(),
        Sets::First => format!(" until the lessons open, and then {} more behind them", minutes(rest)),
        Sets::All => format!(", and then {} for the last lessons", minutes(rest)),
    };
    println!(
        "A first set-up takes about {}{then}, on processors and a network that are fast and have nothing else to do.\n\
         It fetches {:.1} GB and fills {:.1} GB of disk. Interrupted, it goes on where it was.",
        minutes(until_open),
        f64::from(fetched) / 1000.0,
        f64::from(disk) / 1000.0
    );
    Ok(())
}

/// Sets up what the first lessons need, then opens JupyterLab; what the others need is compiled behind it.
pub fn lab(paths: &Paths, port: Option<u16>, browser: bool) -> Result<()> {
    let mut lab = Command::new(paths.venv_python());
    lessons::set_data(&mut lab)?;
    setup_beside(paths, Sets::First, || Ok(()), || Ok(()))?;
    if let Some(work) = warm::left(paths, &checks::libtorch(paths)?)? {
        let log = paths.kernel_builds().join("background.log");
        // One that an earlier call has left behind goes on.
        if !warm::is_under_way(&paths.kernel_builds()) {
            let output = File::create(&log)?;
            // In a group of its own: the Ctrl-C that ends JupyterLab does not end it.
            let mut rest = Command::new(std::env::current_exe()?);
            rest.arg("setup").stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
            rest.spawn().map_err(|error| format!("the rest of the set-up cannot be started: {error}"))?;
        }
        println!(
            "\nThe libraries of the other lessons are compiled meanwhile (about {}, {}).",
            minutes(work.expected()),
            log.display()
        );
    }
    println!("\nJupyterLab opens in notebooks/: begin with 0_presentation_data. Ctrl-C twice ends it.\n");
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
    // In place of this program, so that it alone answers Ctrl-C.
    Err(format!("JupyterLab cannot be started: {}. Run: cargo xtask doctor", lab.exec()).into())
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
    tree::write_whole(&paths.machine_config(), &text)
}

/// A fresh checkout begins with the third-party crates that an earlier one compiled.
fn seed_target(paths: &Paths) -> Result<()> {
    let seed = paths.seed("target-seed")?;
    let _lock = lock(&paths.kernel_builds().join("seeding"), "the target folder")?;
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
        removed.extend(cache::own_entries(&paths.cache));
    }
    let mut freed = 0;
    for path in removed.iter().filter(|path| path.exists()) {
        let (size, frees) = tree::size(path);
        let remove = if *path == paths.venv() { python::remove(path) } else { tree::remove(path) };
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
