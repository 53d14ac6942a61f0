//! What a machine must have, told in plain words before anything fails for the lack of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::Result;
use crate::paths::{Paths, TORCH_VERSION};
use crate::steps::output_of;

/// Free space that a first set-up needs, in bytes: torch with CUDA 6 GB, the kernel and the libraries of the lessons 3 GB. Tests take
/// 3 GB more.
const DISK_SPACE: u64 = 10_000_000_000;

/// Checks what set-up cannot install by itself: Python with venv, a C++ compiler.
pub fn before_setup() -> Result<()> {
    python()?;
    compiler()?;
    Ok(())
}

/// A Python from 3.10 on that can make virtual environments.
pub fn python() -> Result<PathBuf> {
    const PROBE: &str = "import sys; assert sys.version_info >= (3, 10); import venv, ensurepip; print(sys.executable)";
    let names = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
    for name in names {
        if let Some(path) = output_of(Command::new(name).args(["-c", PROBE])) {
            return Ok(PathBuf::from(path));
        }
    }
    let there = names.iter().find_map(|name| output_of(Command::new(name).arg("--version")));
    Err(match there {
        None => "there is no Python. Install Python 3.10 or later (Debian, Ubuntu: apt install python3 python3-venv; macOS: \
                 brew install python)"
            .into(),
        Some(version) => format!(
            "{version} is here, but it is older than 3.10 or lacks the module venv. Install what is missing (Debian, Ubuntu: \
             apt install python3-venv)"
        )
        .into(),
    })
}

/// A C++ compiler: tch compiles a thin layer over libtorch.
pub fn compiler() -> Result<String> {
    let name = env::var_os("CXX").unwrap_or_else(|| OsString::from("c++"));
    let version = output_of(Command::new(&name).arg("--version"));
    let version = version.and_then(|text| text.lines().next().map(str::to_owned));
    version.ok_or_else(|| {
        format!(
            "there is no C++ compiler ({} does not run). Install one (Debian, Ubuntu: apt install g++; macOS: xcode-select \
             --install)",
            name.display()
        )
        .into()
    })
}

/// rust-src, with which the kernel infers types.
pub fn rust_source() -> Result<PathBuf> {
    let sysroot = output_of(Command::new("rustc").args(["--print", "sysroot"]))
        .ok_or("rustc does not run. Install Rust by rustup")?;
    let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    if source.is_dir() {
        return Ok(source);
    }
    Err("the toolchain lacks rust-src, which the kernel needs to infer types. Run: rustup component add rust-src"
        .into())
}

/// Refuses to begin a first set-up for which the disk is too small, or to go on with one that has filled `taken` bytes of it.
pub fn disk_space(folder: &Path, taken: u64) -> Result<()> {
    let needed = DISK_SPACE.saturating_sub(taken);
    match free_space(folder) {
        Some(free) if free < needed => Err(format!(
            "{}: {} are free, a first set-up takes up to {}{}. Free some space, or set CAPTIONLAB_CACHE to a folder on a larger disk",
            folder.display(),
            gigabytes(free),
            gigabytes(needed),
            if taken > 0 { " more" } else { "" }
        )
        .into()),
        _ => Ok(()),
    }
}

/// Free space of the disk that a folder is on, in bytes.
pub fn free_space(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|ancestor| ancestor.is_dir())?;
    let table = output_of(Command::new("df").arg("-Pk").arg(there))?;
    let kilobytes: u64 = table.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kilobytes * 1024)
}

pub fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

/// Where libtorch is: the user's own (`LIBTORCH`, or an active environment that has the right torch), else the project's.
pub fn libtorch(paths: &Paths) -> Result<PathBuf> {
    // `cargo xtask` itself sees the LIBTORCH of machine.toml: one in the cache folder is the project's own.
    let own = env::var_os("LIBTORCH").filter(|value| !value.is_empty()).map(PathBuf::from);
    // What an earlier set-up wrote there, and is gone, is nobody's wish any more.
    let remembered = fs::read_to_string(paths.machine_config()).unwrap_or_default();
    let is_forgotten = |own: &PathBuf| !own.exists() && remembered.contains(&*own.to_string_lossy());
    if let Some(own) = own.filter(|own| !own.starts_with(&paths.cache) && !is_forgotten(own)) {
        check_libtorch(&own).map_err(|error| format!("LIBTORCH is set, but {error}"))?;
        return Ok(own);
    }
    let active = env::var_os("VIRTUAL_ENV").map(PathBuf::from).filter(|active| *active != paths.venv());
    if let Some(torch) = active.and_then(|active| torch_in(&active)).filter(|torch| check_libtorch(torch).is_ok()) {
        return Ok(torch);
    }
    let shared = paths.shared_venv()?;
    let torch = torch_in(&shared)
        .ok_or_else(|| format!("{}: torch is not installed there. Run: cargo xtask setup", shared.display()))?;
    check_libtorch(&torch)?;
    Ok(torch)
}

/// The folder of the package torch in a Python environment.
fn torch_in(environment: &Path) -> Option<PathBuf> {
    let library = fs::read_dir(environment.join("lib")).ok()?;
    library.flatten().map(|python| python.path().join("site-packages/torch")).find(|torch| torch.is_dir())
}

/// Checks that a libtorch is whole and of the version that tch is written for.
pub fn check_libtorch(libtorch: &Path) -> Result<String> {
    for name in ["libtorch_cpu", "libtorch", "libc10"] {
        let extension = if cfg!(target_os = "macos") { "dylib" } else { "so" };
        let library = libtorch.join("lib").join(format!("{name}.{extension}"));
        if !fs::metadata(&library).is_ok_and(|file| file.is_file() && file.len() > 0) {
            return Err(format!(
                "{} is missing or empty, so {} is not a whole libtorch. If it is the project's own, remove it and run: cargo xtask setup; if you set LIBTORCH, unset it",
                library.display(),
                libtorch.display()
            )
            .into());
        }
    }
    // A Python package says its version in version.py, an unpacked libtorch in build-version.
    let version = fs::read_to_string(libtorch.join("version.py"))
        .ok()
        .and_then(|text| {
            text.lines().find_map(|line| Some(line.strip_prefix("__version__ = ")?.trim_matches('\'').to_owned()))
        })
        .or_else(|| fs::read_to_string(libtorch.join("build-version")).ok().map(|text| text.trim().to_owned()))
        .ok_or_else(|| format!("{}: neither version.py nor build-version tells its version", libtorch.display()))?;
    if version.split('+').next() != Some(TORCH_VERSION) {
        return Err(format!(
            "{} holds torch {version}, and this project needs {TORCH_VERSION} exactly. Use that version, or unset LIBTORCH",
            libtorch.display()
        )
        .into());
    }
    Ok(version)
}
