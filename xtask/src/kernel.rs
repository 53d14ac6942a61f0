//! The Rust kernel of Jupyter: evcxr_jupyter, its kernelspec, and how it starts.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::paths::{EVCXR_VERSION, Paths, rust_version};
use crate::steps::{Work, compiled_in, lock, minutes, output_of, ready, run_counted, run_logged, step};
use crate::{Result, checks, tree, warm};

/// Names a kernel's folders of libraries to the launcher.
pub const LIBRARIES: &str = "CAPTIONLAB_KERNEL_LIBRARIES";

/// Where the system looks for libraries first.
pub const LIBRARY_VARIABLE: &str = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// Adds rust-src to the toolchain. rust-toolchain.toml names it, but a rustup that may not install by itself leaves it out.
pub fn add_rust_source(paths: &Paths) -> Result<()> {
    // rustup itself does not look whether another one is at work.
    let _lock = lock(&paths.cache.join("rust-src.lock"), "rust-src")?;
    if checks::rust_source().is_ok() {
        return Ok(());
    }
    step("Rust's own sources, with which the kernel infers types", || {
        let mut add = Command::new("rustup");
        add.args(["component", "add", "rust-src"]).current_dir(&paths.checkout);
        run_logged(
            &mut add,
            "Rust's own sources",
            &paths.cache.join("logs/rust-src.log"),
            "Is there a network, and is Rust installed by rustup? By hand: rustup component add rust-src",
        )?;
        checks::rust_source().map(|_| ())
    })
}

/// The evcxr_jupyter of this version that cargo has installed in one of these folders of programs, and that runs.
///
/// The program does not tell its version; cargo's record beside the folder does.
fn installed(folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let right = format!("\"evcxr_jupyter {EVCXR_VERSION} (");
    folders.into_iter().find_map(|folder| {
        let program = folder.join("evcxr_jupyter");
        let record = fs::read_to_string(folder.parent()?.join(".crates.toml")).ok()?;
        let runs = || output_of(Command::new(&program).arg("--help")).is_some();
        (record.contains(&right) && program.is_file() && runs()).then_some(program)
    })
}

/// Where programs of cargo lie: on the PATH, and in its home.
fn program_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    folders.extend(home.map(|home| home.join("bin")));
    folders
}

/// What is to be compiled where evcxr_jupyter is neither in the cache folder nor elsewhere on this machine.
pub fn missing(paths: &Paths) -> Option<Work> {
    let is_missing = !paths.kernel_root().join("complete").exists() && installed(program_folders()).is_none();
    is_missing.then(|| work(&paths.kernel_root()))
}

fn work(root: &Path) -> Work {
    Work::KERNEL.without(&compiled_in(&root.join("build/release")))
}

/// Installs evcxr_jupyter into the cache folder: the one that is on this machine, or else one that is compiled.
pub fn install(paths: &Paths) -> Result<()> {
    let root = paths.kernel_root();
    fs::create_dir_all(&root)?;
    let lock = lock(&root.join("lock"), "the Rust kernel")?;
    if root.join("complete").exists() {
        // Where it was killed just before its end.
        remove_build(&root)?;
        ready("Rust kernel evcxr_jupyter");
        return Ok(());
    }
    if let Some(program) = installed(program_folders()) {
        // A copy: an upgrade of theirs shall not change ours.
        fs::create_dir_all(root.join("bin"))?;
        tree::replace(&paths.kernel_program(), |beside| fs::copy(&program, beside).map(|_| ()))?;
        tree::write_whole(&root.join("complete"), "")?;
        ready(&format!("Rust kernel evcxr_jupyter, found at {}", program.display()));
        return Ok(());
    }
    if fetch(&root, &paths.cache.join("logs/kernel.log"), None) {
        tree::write_whole(&root.join("complete"), "")?;
        return Ok(());
    }
    let work = work(&root);
    let name = format!("Rust kernel evcxr_jupyter, compiled (about {})", minutes(work.expected()));
    step(&name, || {
        let mut install = Command::new("cargo");
        install
            .args(["install", "--locked", "evcxr_jupyter", "--version", EVCXR_VERSION, "--force", "--root"])
            .arg(&root)
            // Kept until the end, so that an interrupted build goes on where it was.
            .arg("--target-dir")
            .arg(root.join("build"))
            // Optimising the parts of each crate once more together would take a quarter of the time.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            // As well where the user's settings keep what is compiled elsewhere.
            .env("CARGO_BUILD_BUILD_DIR", root.join("build"))
            .current_dir(&root);
        run_counted(
            without_cargo_settings(&mut install),
            "Rust kernel",
            &paths.cache.join("logs/kernel.log"),
            "Is there a network, and space on the disk? Call again: it goes on where it was.",
            Some(&work),
            Some(&lock),
        )?;
        tree::write_whole(&root.join("complete"), "")?;
        remove_build(&root)
    })
}

/// Removes what the kernel was compiled in.
fn remove_build(root: &Path) -> Result<()> {
    let build = root.join("build");
    match fs::remove_dir_all(&build) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: cannot be removed: {error}", build.display()).into())
        }
        _ => Ok(()),
    }
}

/// Fetches the program where cargo-binstall is on this machine, which knows where releases lie and checks what it fetches. Whether
/// it did; it is not asked to compile.
fn fetch(root: &Path, log: &Path, folder_of_programs: Option<&Path>) -> bool {
    let mut binstall = Command::new("cargo");
    binstall.args(["binstall", "--no-confirm", "--disable-strategies", "compile", "--root"]).arg(root);
    let mut version = Command::new("cargo");
    version.args(["binstall", "-V"]);
    for command in [&mut binstall, &mut version] {
        command.envs(folder_of_programs.iter().flat_map(|folder| [("PATH", folder), ("CARGO_HOME", folder)]));
    }
    if output_of(&mut version).is_none() {
        return false;
    }
    let fetched = step("Rust kernel evcxr_jupyter, by cargo-binstall", || {
        binstall.arg(format!("evcxr_jupyter@{EVCXR_VERSION}"));
        run_logged(without_cargo_settings(&mut binstall), "Rust kernel", log, "It is compiled instead.")
    });
    if let Err(problem) = fetched {
        println!("{problem}");
        return false;
    }
    output_of(Command::new(root.join("bin/evcxr_jupyter")).arg("--help")).is_some()
}

/// Writes the kernelspec `captionlab` into `.venv`, where the JupyterLab of that environment finds it. Not called `rust`: evcxr
/// rewrites that one.
pub fn write_kernelspec(paths: &Paths, libtorch: &Path) -> Result<()> {
    let launcher = paths.kernel_launcher();
    let program = std::env::current_exe()?;
    tree::replace(&launcher, |beside| fs::copy(program, beside).map(|_| ()))?;
    let libraries = std::env::join_paths(libraries(libtorch)?)
        .map_err(|error| format!("{}: libtorch cannot be loaded from there: {error}", libtorch.display()))?;
    let spec = serde_json::json!({
        "argv": [launcher, "kernel", "{connection_file}"],
        "display_name": "Rust (captionlab)",
        "language": "rust",
        "interrupt_mode": "message",
        "env": {
            "CAPTIONLAB_CHECKOUT": paths.checkout,
            "CAPTIONLAB_CACHE": paths.cache,
            "LIBTORCH": libtorch,
            // Clearing huge pages took a fifth of the time of a first cell.
            "MIMALLOC_ALLOW_THP": "0",
            // Where types are inferred from, in place of all of the standard library.
            "RUST_SRC_PATH": small_standard_library(paths)?,
            "RUSTUP_TOOLCHAIN": rust_version(),
            LIBRARIES: libraries.to_string_lossy(),
        },
    });
    let spec = escaped(spec);
    let folder = paths.kernelspec();
    fs::create_dir_all(&folder)?;
    tree::write_whole(&folder.join("kernel.json"), &serde_json::to_string_pretty(&spec)?)
}

/// Where cells find libtorch and Rust's standard library: they are loaded into the kernel's process, which does not know the rpath of
/// programs.
fn libraries(libtorch: &Path) -> Result<[PathBuf; 2]> {
    let standard_library =
        output_of(Command::new("rustc").args(["--print", "target-libdir"])).ok_or("rustc does not run")?;
    Ok([libtorch.join("lib"), PathBuf::from(standard_library)])
}

/// Lets a program find a kernel's libraries, as the kernel does.
pub fn set_libraries(command: &mut Command, libtorch: &Path) -> Result<()> {
    let own = std::env::join_paths(libraries(libtorch)?)?;
    command.env(LIBRARY_VARIABLE, after(&own, std::env::var_os(LIBRARY_VARIABLE)));
    Ok(())
}

/// The kernel's own folders of libraries and then the user's, who may need them for a libtorch of their own (CUDA, a newer libstdc++).
fn after(own: &OsStr, users: Option<OsString>) -> OsString {
    let mut folders = own.to_os_string();
    // An empty one would stand for the current folder.
    if let Some(users) = users.filter(|users| !users.is_empty()) {
        folders.push(":");
        folders.push(users);
    }
    folders
}

/// Jupyter puts variables in the place of `$NAME` in `env`; `$$` is the sign itself.
fn escaped(mut spec: serde_json::Value) -> serde_json::Value {
    for value in spec["env"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        if let Some(text) = value.as_str().filter(|text| text.contains('$')) {
            *value = text.replace('$', "$$").into();
        }
    }
    spec
}

/// Folders of the standard library's sources that no type of a lesson needs: processors' own instructions (half of all there is to
/// read), floating point for processors that lack it, tests.
const NOT_READ: &[&str] = &["alloctests", "compiler-builtins", "coretests", "stdarch"];

/// What is left in their place: `core` names it.
const PROCESSORS: (&str, &str) = ("stdarch/crates/core_arch/src/mod.rs", "pub mod arch {}\n");

/// The standard library's sources without what is not read: a kernel reads them as it starts, in a second and a half less.
fn small_standard_library(paths: &Paths) -> Result<PathBuf> {
    let folder = paths.kernel_root().join("library");
    tree::make_whole(&folder, |partial| {
        let whole = checks::rust_source()?;
        copy_sources(&whole, partial, Path::new(""))
            .map_err(|error| format!("{} cannot be copied to {}: {error}", whole.display(), partial.display()).into())
    })?;
    Ok(folder)
}

fn copy_sources(from: &Path, to: &Path, inside: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to.join(inside))?;
    for entry in fs::read_dir(from.join(inside))? {
        let entry = entry?;
        let inside = inside.join(entry.file_name());
        let is_read = !NOT_READ.iter().any(|folder| inside.starts_with(folder));
        if entry.file_type()?.is_dir() {
            copy_sources(from, to, &inside)?;
        } else if inside == Path::new(PROCESSORS.0) {
            fs::write(to.join(&inside), PROCESSORS.1)?;
        } else if is_read || inside.extension().is_none_or(|extension| extension != "rs") {
            fs::copy(entry.path(), to.join(&inside))?;
        } else {
            // cargo wants the files there.
            fs::write(to.join(&inside), "")?;
        }
    }
    Ok(())
}

/// Starts the kernel for Jupyter, in a build folder of its own. Returns only if that fails.
pub fn start(paths: &Paths, connection_file: &str) -> Result<()> {
    let libtorch = PathBuf::from(std::env::var_os("LIBTORCH").ok_or("LIBTORCH is not set. Run: cargo xtask setup")?);
    checks::check_libtorch(&libtorch)?;
    if !paths.kernel_program().is_file() {
        return Err(format!("{} is missing. Run: cargo xtask setup", paths.kernel_program().display()).into());
    }
    let (build, lock) = warm::copy_for_kernel(paths)?;
    let libraries =
        std::env::var_os(LIBRARIES).ok_or("the kernelspec is that of another version. Run: cargo xtask setup")?;
    let mut kernel = Command::new(paths.kernel_program());
    warm::guard(&mut kernel, paths);
    let error = kernel
        .args(["--control_file", connection_file])
        // Not by the kernelspec, which would replace the user's.
        .env(LIBRARY_VARIABLE, after(&libraries, std::env::var_os(LIBRARY_VARIABLE)))
        .env("EVCXR_TMPDIR", &build)
        // The kernel reads nothing there, and holds the folder's lock for as long as it lives.
        .stdin(lock)
        .exec();
    Err(format!("{} cannot be started: {error}. Run: cargo xtask setup", paths.kernel_program().display()).into())
}

/// Settings of the cargo that runs this program are not for the package that is installed.
fn without_cargo_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_")
            && !matches!(&*name_text, "CARGO_HOME")
            && !name_text.starts_with("CARGO_NET")
            && !name_text.starts_with("CARGO_HTTP")
            && !name_text.starts_with("CARGO_REGISTR")
        {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_libraries_come_after_the_kernels() {
        for (users, expected) in [
            (None, "/torch/lib:/rust/lib"),
            (Some(""), "/torch/lib:/rust/lib"),
            (Some("/opt/cuda/lib64"), "/torch/lib:/rust/lib:/opt/cuda/lib64"),
            (Some("/my libraries:/opt/gcc/lib"), "/torch/lib:/rust/lib:/my libraries:/opt/gcc/lib"),
        ] {
            assert_eq!(after(OsStr::new("/torch/lib:/rust/lib"), users.map(OsString::from)), expected);
        }
    }

    #[test]
    fn a_kernel_that_is_there_is_taken_if_it_is_the_right_one_and_runs() {
        use std::os::unix::fs::symlink;

        let root = std::env::temp_dir().join(format!("captionlab-kernels-{}", std::process::id()));
        let right = format!("[v1]\n\"evcxr_jupyter {EVCXR_VERSION} (registry)\" = [\"evcxr_jupyter\"]\n");
        let program = |name: &str| {
            ["/bin", "/usr/bin"]
                .map(|folder| Path::new(folder).join(name))
                .into_iter()
                .find(|path| path.exists())
                .unwrap()
        };
        let (runs, fails) = (program("true"), program("false"));
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        // What cargo's record says, what the program is, whether it is taken.
        let cases = [
            ("right", Some(right.as_str()), &runs, true),
            ("older", Some("\"evcxr_jupyter 0.21.1 (registry)\" = []"), &runs, false),
            ("unknown", None, &runs, false),
            ("broken", Some(right.as_str()), &fails, false),
            ("nonsense", Some(right.as_str()), &text, false),
        ];
        for (name, record, program, taken) in cases {
            let bin = root.join(name).join("bin");
            fs::create_dir_all(&bin).unwrap();
            if let Some(record) = record {
                fs::write(root.join(name).join(".crates.toml"), record).unwrap();
            }
            symlink(program, bin.join("evcxr_jupyter")).unwrap();
            let found = installed([root.join("nothing/bin"), bin.clone()]);
            assert_eq!(found, taken.then(|| bin.join("evcxr_jupyter")), "{name}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_program_that_binstall_fetches_is_taken_if_it_runs() {
        use std::os::unix::fs::PermissionsExt;

        let _alone = crate::steps::ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let root = std::env::temp_dir().join(format!("captionlab-binstall-{}", std::process::id()));
        let cargo = output_of(Command::new("rustup").args(["which", "cargo"])).unwrap();
        // What cargo-binstall does, whether the program is taken.
        let works = "mkdir -p \"$root/bin\"; printf '#!/bin/sh\\necho usage\\n' > \"$root/bin/evcxr_jupyter\"; chmod +x \"$root/bin/evcxr_jupyter\"";
        let cases = [
            ("works", Some(works), true),
            ("finds no release", Some("exit 1"), false),
            ("fetches what does not run", Some("mkdir -p \"$root/bin\"; : > \"$root/bin/evcxr_jupyter\""), false),
            ("is not here", None, false),
        ];
        for (name, script, taken) in cases {
            let (programs, cache) = (root.join(name).join("programs"), root.join(name).join("cache"));
            fs::create_dir_all(&programs).unwrap();
            fs::create_dir_all(&cache).unwrap();
            std::os::unix::fs::symlink(&cargo, programs.join("cargo")).unwrap();
            if let Some(script) = script {
                let text = format!(
                    "#!/bin/sh\nPATH=/bin:/usr/bin\n[ \"$2\" = -V ] && exit\ncase \"$*\" in *'evcxr_jupyter@{EVCXR_VERSION}') ;; *) exit 2;; esac\nroot='{}'\n{script}\n",
                    cache.display()
                );
                fs::write(programs.join("cargo-binstall"), text).unwrap();
                fs::set_permissions(programs.join("cargo-binstall"), fs::Permissions::from_mode(0o755)).unwrap();
            }
            assert_eq!(fetch(&cache, &cache.join("log"), Some(&programs)), taken, "{name}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn jupyter_leaves_a_dollar_of_a_path_as_it_is() {
        let spec = serde_json::json!({ "env": { "A": "/my $HOME/x", "B": "/plain" }, "argv": ["$x"] });
        let expected = serde_json::json!({ "env": { "A": "/my $$HOME/x", "B": "/plain" }, "argv": ["$x"] });
        assert_eq!(escaped(spec), expected);
    }

    #[test]
    fn sources_that_no_type_needs_are_left_empty() {
        let folder = std::env::temp_dir().join(format!("captionlab-sources-{}", std::process::id()));
        let (whole, small) = (folder.join("whole"), folder.join("small"));
        let cases = [
            ("core/src/lib.rs", "mod option;", "mod option;"),
            ("core/src/stdarch.rs", "mod x86;", "mod x86;"),
            ("coretests/Cargo.toml", "[package]", "[package]"),
            ("coretests/tests/lib.rs", "#[test]", ""),
            ("stdarch/crates/core_arch/src/x86/sse.rs", "struct __m128;", ""),
            (PROCESSORS.0, "mod x86;", PROCESSORS.1),
        ];
        for (name, text, _) in cases {
            fs::create_dir_all(whole.join(name).parent().unwrap()).unwrap();
            fs::write(whole.join(name), text).unwrap();
        }
        copy_sources(&whole, &small, Path::new("")).unwrap();
        for (name, _, left) in cases {
            assert_eq!(fs::read_to_string(small.join(name)).unwrap(), left, "{name}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
