//! Where cargo builds, which settings of the user may move: `CARGO_TARGET_DIR`, `build.target-dir`, `build.build-dir`, `build.target`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::paths::Paths;

/// The folder of this checkout's debug builds, where it may be filled from the cache folder and kept there for other checkouts.
///
/// # Errors
/// If cargo does not say where it builds.
pub fn debug_folder(paths: &Paths) -> Result<std::result::Result<PathBuf, String>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(&paths.checkout)
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo does not say where it builds: {}", said.trim()).into());
    }
    let metadata = serde_json::from_slice(&output.stdout)?;
    Ok(own_debug_folder(&metadata, &paths.checkout, &env::current_exe()?))
}

/// As [`debug_folder`], from what cargo says and where it has put this program; or why not.
fn own_debug_folder(metadata: &Value, checkout: &Path, program: &Path) -> std::result::Result<PathBuf, String> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let folder = |name: &str| metadata[name].as_str().map(|path| real(Path::new(path)));
    let target = folder("target_directory").ok_or("cargo does not name its folder")?;
    // What is compiled lies apart from what is made of it where the user wants that.
    let build = folder("build_directory").unwrap_or_else(|| target.clone());
    if !build.starts_with(checkout) {
        let place = build.display();
        return Err(format!("cargo builds in {place}, by CARGO_TARGET_DIR, build.target-dir or build.build-dir"));
    }
    // Cargo builds this program as it builds the others: in debug/, or in TARGET/debug/.
    match real(program).strip_prefix(&target).ok().and_then(Path::parent) {
        Some(inside) if inside.components().count() > 1 => {
            Err(format!("cargo builds in {}, by CARGO_BUILD_TARGET or build.target", build.join(inside).display()))
        }
        _ => Ok(build.join("debug")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_build_folder_of_the_checkouts_own_is_shared_by_the_cache_folder() {
        let metadata = |target: &str, build: Option<&str>| {
            let mut metadata = serde_json::json!({ "target_directory": target });
            if let Some(build) = build {
                metadata["build_directory"] = build.into();
            }
            metadata
        };
        let (here, own) = ("/no/check out/target", "/no/check out/target/debug/xtask");
        let cases = [
            // target_directory, build_directory, where this program is; where the debug builds are, or what moves them.
            (here, None, own, Ok("/no/check out/target/debug")),
            (here, Some(here), own, Ok("/no/check out/target/debug")),
            ("/no/check out/built", None, "/no/check out/built/debug/xtask", Ok("/no/check out/built/debug")),
            (here, Some("/no/check out/parts"), own, Ok("/no/check out/parts/debug")),
            // Called from elsewhere: the kernel's launcher.
            (here, None, "/no/check out/.venv/bin/captionlab-kernel", Ok("/no/check out/target/debug")),
            ("/shared/target", None, "/shared/target/debug/xtask", Err("/shared/target, by CARGO_TARGET_DIR")),
            (
                here,
                Some("/shared/parts"),
                own,
                Err("/shared/parts, by CARGO_TARGET_DIR, build.target-dir or build.build-dir"),
            ),
            (
                here,
                None,
                "/no/check out/target/x86_64-unknown-linux-gnu/debug/xtask",
                Err("/no/check out/target/x86_64-unknown-linux-gnu/debug, by CARGO_BUILD_TARGET"),
            ),
        ];
        for (target, build, program, expected) in cases {
            let found = own_debug_folder(&metadata(target, build), Path::new("/no/check out"), Path::new(program));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, Path::new(expected)),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => panic!("{target} {build:?} {program}: {found:?}, and not {expected:?}"),
            }
        }
    }
}
