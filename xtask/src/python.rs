//! The Python environment: JupyterLab, torch for its libtorch, and the references that tests compare with.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::paths::Paths;
use crate::steps::{ready, run_logged, step};
use crate::{Result, checks, tree};

/// Written into an environment when everything is in it.
const COMPLETE: &str = "captionlab-complete";

/// Written into one that is being made.
const PARTIAL: &str = "captionlab-partial";

/// Makes `.venv` in the checkout: links into an environment in the cache folder, which is made first where it is missing.
pub fn make_environment(paths: &Paths) -> Result<()> {
    let shared = paths.shared_venv()?;
    make_shared(paths, &shared)?;
    let venv = paths.venv();
    if fs::read_to_string(venv.join(COMPLETE)).is_ok_and(|made_from| made_from == shared.to_string_lossy()) {
        ready("Python environment .venv");
        return Ok(());
    }
    if venv.exists() && !is_ours(&venv) {
        return Err(format!(
            "{}: this environment is not of this project's making. Move it away, then call again",
            venv.display()
        )
        .into());
    }
    step("Python environment .venv, from the cache folder", || link_environment(&shared, &venv))
}

/// Whether set-up made this environment, or began to. An empty folder is what is left of one that it was about to make.
pub fn is_ours(venv: &Path) -> bool {
    venv.join(COMPLETE).exists()
        || venv.join(PARTIAL).exists()
        || venv.read_dir().is_ok_and(|mut all| all.next().is_none())
}

fn make_shared(paths: &Paths, shared: &Path) -> Result<()> {
    paths.make_cache()?;
    // Two checkouts may be set up at once: one installs, the other waits here.
    let lock = File::create(shared.with_extension("lock"))?;
    lock.lock()?;
    if shared.join(COMPLETE).exists() {
        return Ok(());
    }
    checks::disk_space(&paths.cache)?;
    step("Python packages: JupyterLab, torch and the references (about 3 GB to download, 4 minutes)", || {
        let log = paths.cache.join("logs/python.log");
        let python = checks::python()?;
        run_logged(
            Command::new(python).args(["-m", "venv"]).arg(shared),
            &log,
            "Is the module venv installed (Debian, Ubuntu: apt install python3-venv)?",
        )?;
        run_logged(
            Command::new(shared.join("bin/python"))
                .args(["-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "-r"])
                .arg(paths.checkout.join("requirements-dev.txt")),
            &log,
            "Is there a network, and space on the disk? Call again: what has been downloaded is kept.",
        )?;
        fs::write(shared.join(COMPLETE), "")?;
        Ok(())
    })
}

/// A second environment of the same content: the packages are shared on disk, the scripts name the new place.
fn link_environment(shared: &Path, venv: &Path) -> Result<()> {
    if venv.exists() {
        fs::remove_dir_all(venv)?;
    }
    fs::create_dir_all(venv)?;
    fs::write(venv.join(PARTIAL), "")?;
    tree::copy(shared, venv, &|inside| match inside.to_str() {
        Some(COMPLETE) => tree::Take::Leave,
        Some("pyvenv.cfg") => tree::Take::Copy,
        Some(path) if path == "bin" || path.starts_with("bin/") => tree::Take::Copy,
        _ => tree::Take::Link,
    })?;
    let (from, to) = (shared.to_string_lossy().into_owned(), venv.to_string_lossy().into_owned());
    for entry in fs::read_dir(venv.join("bin"))? {
        let path = entry?.path();
        if path.is_symlink() {
            continue;
        }
        // Scripts are text; programs among them are left as they are.
        if let Ok(text) = fs::read_to_string(&path) {
            let mode = fs::metadata(&path)?.permissions().mode();
            fs::write(&path, text.replace(&from, &to))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
    }
    fs::write(venv.join(COMPLETE), from)?;
    fs::remove_file(venv.join(PARTIAL))?;
    Ok(())
}
