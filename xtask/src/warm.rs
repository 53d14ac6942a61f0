//! The build folder of the kernels: what lessons use is compiled there before a kernel starts.
//!
//! evcxr compiles every cell in a cargo package of its own. A kernel that starts with an empty build folder compiles tch,
//! plotters and the rest for many minutes; so cargo, with the settings of evcxr, compiles each feature set of the lessons into one
//! folder, and each kernel starts from a copy of it. The smallest set comes first: its lessons can be opened while the others
//! are being compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::paths::{EVCXR_VERSION, Paths, key, rust_version};
use crate::steps::{Work, compiled_in, lock, minutes, output_of, ready, run_counted, step};
use crate::tree::{self, write_whole};
use crate::{Result, python};

/// What a kernel's folder calls the project's lock file.
const VERSIONS: &str = "versions.lock";

/// Names the build folders to the compiler's wrapper, and says that it is one.
const GUARDED: &str = "CAPTIONLAB_KERNEL_GUARDED";

/// Cells are compiled at every step, so they are not optimised at all, and their arithmetic is checked; other crates are
/// optimised just enough. Nothing is compiled in parts, which would be gigabytes to copy for each kernel. The parts of one crate
/// are not optimised once more together, which would take a quarter of the time.
const CELLS_AND_OTHERS: &str = "\
[profile.dev]
codegen-units = 16
debug = false
incremental = false
lto = \"off\"
rpath = true
strip = \"debuginfo\"
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
        (NOTHING_SHARED, "opt-level = 2\ncodegen-units = 2\n"),
        (UNOPTIMISED, "opt-level = 0\n"),
    ];
    let of_group = |(names, settings): (&[&str], &str)| -> String {
        names.iter().map(|name| format!("[profile.dev.package.{name}]\n{settings}")).collect()
    };
    std::iter::once(CELLS_AND_OTHERS.to_string()).chain(groups.map(of_group)).collect()
}

/// Which of the lessons' feature sets are to be ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sets {
    /// The smallest, with which the first lessons begin.
    First,
    All,
}

/// A feature set that lessons use.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FeatureSet {
    /// The line by which lessons ask for the crate.
    line: String,
    lessons: Vec<String>,
}

/// The feature sets of the lessons, the smallest first.
fn feature_sets(notebooks: &Path) -> Result<Vec<FeatureSet>> {
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(notebooks)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "ipynb") {
            continue;
        }
        // One that is no notebook is named when the lessons run.
        let notebook: serde_json::Value = serde_json::from_slice(&fs::read(&path)?).unwrap_or_default();
        let cells = notebook["cells"].as_array().into_iter().flatten();
        let lines = cells.filter_map(|cell| cell["source"].as_array()).flatten().filter_map(|line| line.as_str());
        for line in lines.filter(|line| line.starts_with(":dep captionlab")) {
            let lesson = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            sets.entry(line.trim().to_owned()).or_default().push(lesson);
        }
    }
    let sets = sets.into_iter().map(|(line, mut lessons)| {
        lessons.sort();
        FeatureSet { line, lessons }
    });
    Ok(sets.collect())
}

impl FeatureSet {
    /// What stands behind `captionlab = ` in a Cargo.toml, for a package elsewhere.
    fn dependency(&self, checkout: &Path) -> String {
        // A text of JSON is one of TOML.
        let path = serde_json::Value::from(checkout.to_string_lossy()).to_string();
        let value = self.line.split_once('=').map_or("", |(_, value)| value.trim());
        value.replacen("\"..\"", &path, 1)
    }

    /// The package of a kernel whose cells use this set, as evcxr writes it.
    fn package(&self, checkout: &Path) -> String {
        format!(
            "[package]\nname = \"ctx\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\
             path = \"src/lib.rs\"\n\n[dependencies]\ncaptionlab = {}\n",
            self.dependency(checkout)
        )
    }
}

/// What is compiled in a build folder.
///
/// Its file `ready` lists the sets whose third-party crates are there, each with the state of the checkout (its own sources) that
/// was compiled with them.
struct Ready(Vec<(String, String)>);

impl Ready {
    fn of(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join("ready")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Self(lines.map(|(state, set)| (state.to_owned(), set.to_owned())).collect())
    }

    fn has(&self, set: &FeatureSet, state: &str) -> bool {
        self.0.iter().any(|(of, line)| of == state && *line == set.line)
    }

    fn has_libraries(&self, line: &str) -> bool {
        self.0.iter().any(|(_, ready)| ready == line)
    }

    fn with(mut self, set: &FeatureSet, state: &str) -> Self {
        self.0.retain(|(_, line)| *line != set.line);
        self.0.push((state.to_owned(), set.line.clone()));
        self
    }

    fn write(&self, folder: &Path) -> Result<()> {
        write_whole(
            &folder.join("ready"),
            &self.0.iter().map(|(state, set)| format!("{state} {set}\n")).collect::<String>(),
        )
    }
}

/// Where the libraries of the lessons are kept for the next checkout.
pub fn seed(paths: &Paths) -> Result<PathBuf> {
    paths.seed(&format!("kernel-seed-{}", key(build_profile().as_bytes())))
}

/// What is missing: of the first set, and of the others.
pub fn missing(paths: &Paths) -> Result<(Option<Work>, Option<Work>)> {
    let found = [paths.warmed(), seed(paths)?].map(|folder| Ready::of(&folder));
    let sets = feature_sets(&paths.notebooks())?;
    let is_missing = |set: &&FeatureSet| found.iter().all(|ready| !ready.has_libraries(&set.line));
    let first = sets.first().filter(is_missing).map(|_| Work::FIRST_LIBRARIES);
    let others = sets.iter().skip(1).any(|set| is_missing(&set)).then_some(Work::OTHER_LIBRARIES);
    Ok((first, others))
}

/// What of the sets is not compiled for the checkout as it is, `None` if all is.
pub fn left(paths: &Paths, libtorch: &Path) -> Result<Option<Work>> {
    let (state, ready) = (crate_state(paths, libtorch)?, Ready::of(&paths.warmed()));
    let sets = feature_sets(&paths.notebooks())?;
    let left = sets.iter().filter(|set| !ready.has(set, &state)).count();
    Ok(match missing(paths)? {
        _ if left == 0 => None,
        (_, Some(work)) => Some(work),
        // In each the project's own crate.
        _ => Some(Work::of_tree("captionlab", |_| true).times(left)),
    })
}

/// How many of the lessons' feature sets are ready, and how many there are.
pub fn sets_ready(paths: &Paths) -> Result<(usize, usize)> {
    let (ready, sets) = (Ready::of(&paths.warmed()), feature_sets(&paths.notebooks())?);
    Ok((sets.iter().filter(|set| ready.has_libraries(&set.line)).count(), sets.len()))
}

/// One warming of a checkout's build folder; others wait.
struct Warming<'a> {
    paths: &'a Paths,
    sets: Vec<FeatureSet>,
    seed: PathBuf,
    /// Where it is compiled, until it is whole.
    next: PathBuf,
    lock: File,
}

impl<'a> Warming<'a> {
    fn begin(paths: &'a Paths) -> Result<Self> {
        let builds = paths.kernel_builds();
        fs::create_dir_all(builds.join(".cargo"))?;
        let lock = lock(&builds.join("warming"), "the libraries of the lessons")?;
        remove_stale_copies(&builds);
        write_whole(&builds.join(".cargo/config.toml"), &build_profile())?;
        Ok(Self { paths, sets: feature_sets(&paths.notebooks())?, seed: seed(paths)?, next: builds.join("next"), lock })
    }

    /// Fills the folder in which is compiled with what was compiled before: by a warming that was ended, by the one before, or for
    /// another checkout.
    fn take_up(&self, state: &str) -> Result<()> {
        let warmed = self.paths.warmed();
        if let Some(from) = [&warmed, &self.seed].into_iter().find(|from| from.join("ready").exists()) {
            tree::make_whole(&self.next, |partial| tree::copy(from, partial, &tree::take_target))?;
        }
        fs::create_dir_all(self.next.join("src"))?;
        // What was made from the checkout as it was would be copied for each kernel.
        if Ready::of(&self.next).0.iter().all(|(of, _)| of != state) {
            tree::retain(&self.next, &tree::take_third_party)?;
        }
        // evcxr's package takes the versions that the project's lock file names.
        fs::copy(self.paths.checkout.join("Cargo.lock"), self.next.join("Cargo.lock"))?;
        fs::write(self.next.join("src/lib.rs"), "")?;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.paths.kernel_builds().join("warm.log")
    }

    /// What is left to compile of a set.
    fn work(&self, set: &FeatureSet) -> Result<Work> {
        write_whole(&self.next.join("Cargo.toml"), &set.package(&self.paths.checkout))?;
        let host = host()?;
        let mut tree = Command::new("cargo");
        tree.args(["tree", "--target", &host, "--edges", "normal,build", "--prefix", "none"]);
        let tree = output_of(as_evcxr(&mut tree, &self.next)).unwrap_or_default();
        let target = self.next.join("target");
        let compiled: BTreeSet<String> = [target.join("debug"), target.join(host).join("debug")]
            .iter()
            .flat_map(|folder| compiled_in(folder))
            .collect();
        Ok(Work::of_tree(&tree, |name| name == "captionlab" || !(name == "ctx" || compiled.contains(name))))
    }

    /// Compiles a set; without libtorch, what can be compiled without it.
    fn compile(&self, set: &FeatureSet, libtorch: Option<&Path>) -> Result<()> {
        let work = self.work(set)?;
        let mut build = Command::new("cargo");
        build.args(["build", "--target", &host()?]);
        match libtorch {
            Some(libtorch) => build.env("LIBTORCH", libtorch),
            None => build.arg("--keep-going").env_remove("LIBTORCH"),
        };
        run_counted(
            as_evcxr(&mut build, &self.next),
            "libraries of the lessons",
            &self.log(),
            "Call again: what has been compiled is kept.",
            Some(&work),
            Some(&self.lock),
        )
    }

    /// Gives the folder to the kernels that start from now on.
    fn finish(&self, set: &FeatureSet, state: &str) -> Result<()> {
        Ready::of(&self.next).with(set, state).write(&self.next)?;
        let (warmed, old) = (self.paths.warmed(), self.next.with_extension("old"));
        let _ = fs::remove_dir_all(&old);
        let swapping = File::create(self.paths.kernel_builds().join("swapping"))?;
        swapping.lock()?;
        if warmed.exists() {
            fs::rename(&warmed, &old)?;
        }
        fs::rename(&self.next, &warmed)?;
        drop(swapping);
        let _ = fs::remove_dir_all(&old);
        Ok(())
    }

    /// Says by when each set will be ready, to kernels that start before.
    fn write_plan(&self, sets: &[FeatureSet], works: &[Work]) -> Result<()> {
        let mut end = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let planned: Vec<serde_json::Value> = sets
            .iter()
            .zip(works)
            .map(|(set, work)| {
                end += work.expected();
                serde_json::json!({ "line": set.line, "end": end.as_secs() })
            })
            .collect();
        let ready = Ready::of(&self.paths.warmed());
        let lessons: Vec<&str> = (self.sets.iter())
            .filter(|set| ready.has_libraries(&set.line))
            .flat_map(|set| set.lessons.iter().map(String::as_str))
            .collect();
        let plan = serde_json::json!({ "planned": planned, "lessons": lessons.join(", ") });
        write_whole(&plan_of(&self.paths.kernel_builds()), &plan.to_string())
    }
}

fn plan_of(builds: &Path) -> PathBuf {
    builds.join("plan")
}

/// Compiles what needs no libtorch of the first lessons, while it is being fetched.
pub fn before_libtorch(paths: &Paths) -> Result<()> {
    // Torch is here: everything is compiled with it at once, and the crate that wraps it not twice.
    if python::is_complete(&paths.shared_venv()?) {
        return Ok(());
    }
    let warming = Warming::begin(paths)?;
    let Some(first) = warming.sets.first() else { return Ok(()) };
    if [&warming.next, &paths.warmed(), &warming.seed].iter().any(|folder| Ready::of(folder).has_libraries(&first.line))
    {
        return Ok(());
    }
    step("Rust libraries of the first lessons, as far as they need no torch", || {
        warming.take_up("")?;
        let compiled = warming.compile(first, None);
        // The crate that wraps libtorch fails, and cargo with it.
        let without = fs::read_to_string(warming.log()).is_ok_and(|log| log.contains("build command for `torch-sys "));
        if without { Ok(()) } else { compiled }
    })
}

/// Compiles what lessons use into the build folder that each kernel copies.
pub fn warm(paths: &Paths, libtorch: &Path, which: Sets) -> Result<()> {
    let state = crate_state(paths, libtorch)?;
    let wanted = if which == Sets::First { 1 } else { usize::MAX };
    let missing = |sets: &[FeatureSet]| -> Vec<FeatureSet> {
        let ready_now = Ready::of(&paths.warmed());
        sets.iter().take(wanted).filter(|set| !ready_now.has(set, &state)).cloned().collect()
    };
    // Without waiting for what another set-up compiles behind the open lessons.
    if which == Sets::First && missing(&feature_sets(&paths.notebooks())?).is_empty() {
        return Ok(());
    }
    let warming = Warming::begin(paths)?;
    let missing = missing(&warming.sets);
    if missing.is_empty() && which == Sets::All {
        ready("Rust libraries of the lessons");
    }
    for (number, set) in missing.iter().enumerate() {
        warming.take_up(&state)?;
        let left = &missing[number..];
        let works = left.iter().map(|set| warming.work(set)).collect::<Result<Vec<Work>>>()?;
        warming.write_plan(left, &works)?;
        let name = format!("Rust libraries of {} (about {})", set.lessons.join(", "), minutes(works[0].expected()));
        step(&name, || {
            warming.compile(set, Some(libtorch))?;
            warming.finish(set, &state)
        })?;
    }
    let _ = fs::remove_file(plan_of(&paths.kernel_builds()));
    match which {
        Sets::First => Ok(()),
        Sets::All => save_seed(&paths.warmed(), &warming.seed),
    }
}

/// The platform for which cells are compiled, in the words of the compiler.
fn host() -> Result<String> {
    let said = output_of(Command::new("rustc").arg("-vV")).ok_or("rustc does not run. Install Rust by rustup")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc does not say for which platform it compiles")?.to_owned())
}

/// Lets cargo work as evcxr does, so that cells find what it compiles.
fn as_evcxr<'a>(cargo: &'a mut Command, folder: &Path) -> &'a mut Command {
    cargo
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", "target")
        .env("CARGO_BUILD_BUILD_DIR", "target")
        .env("RUSTFLAGS", "-Cprefer-dynamic")
        .env("RUSTUP_TOOLCHAIN", rust_version())
}

/// Keeps the third-party part of a target folder for the next checkout.
pub fn save_seed(from: &Path, seed: &Path) -> Result<()> {
    tree::make_whole(seed, |partial| tree::copy(from, partial, &tree::take_third_party))
}

/// A copy of the warmed folder for one kernel, and the lock that says that it is in use.
pub fn copy_for_kernel(paths: &Paths) -> Result<(PathBuf, File)> {
    let builds = paths.kernel_builds();
    let swapping = File::create(builds.join("swapping"))
        .map_err(|_| "the kernel's build folder is not ready. Run: cargo xtask setup")?;
    swapping.lock_shared()?;
    if !paths.warmed().join("ready").exists() {
        return Err("the kernel's build folder is not ready. Run: cargo xtask setup".into());
    }
    remove_stale_copies(&builds);
    let build = builds.join(format!("kernel-{}", std::process::id()));
    let lock = File::create(build.with_extension("lock"))?;
    lock.lock()?;
    tree::copy(&paths.warmed(), &build, &tree::take_for_kernel)?;
    fs::copy(paths.checkout.join("Cargo.lock"), build.join(VERSIONS))?;
    Ok((build, lock))
}

/// Removes the copies of kernels that are no more: nobody holds their locks.
fn remove_stale_copies(builds: &Path) {
    for lock_file in kernel_locks(builds) {
        if File::open(&lock_file).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(lock_file.with_extension(""));
            let _ = fs::remove_file(lock_file);
        }
    }
}

/// The locks of kernels that run, or ran and have left their copies.
pub fn kernel_locks(builds: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(builds).into_iter().flatten().flatten();
    let is_lock = |name: &str| name.starts_with("kernel-") && name.ends_with(".lock");
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_lock)).map(|entry| entry.path()).collect()
}

/// Whether a set-up is compiling libraries now.
pub fn is_under_way(builds: &Path) -> bool {
    File::open(builds.join("warming")).is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Lets the compiler of a kernel's cells be called through [`rustc`].
pub fn guard(kernel: &mut Command, paths: &Paths) {
    kernel.env("RUSTC_WRAPPER", paths.kernel_launcher()).env(GUARDED, paths.kernel_builds());
}

/// Works as the compiler where the cargo of a kernel calls it so.
///
/// It keeps the versions of the project's lock file, and does not compile what a set-up is compiling.
pub fn rustc() -> Option<ExitCode> {
    let builds = PathBuf::from(std::env::var_os(GUARDED)?);
    let mut arguments = std::env::args_os().skip(1);
    let compiler = arguments.next().filter(|name| Path::new(name).file_stem().is_some_and(|name| name == "rustc"))?;
    let kernel = PathBuf::from(std::env::var_os("EVCXR_TMPDIR")?);
    match std::env::var("CARGO_PKG_NAME").unwrap_or_default().as_str() {
        "ctx" => keep_versions(&kernel),
        // Questions to the compiler, and the project's own crate, which may have been edited.
        "" | "captionlab" => {}
        _ => {
            if let Some(message) = refusal(&builds, &kernel) {
                tell(&kernel, &message);
                return Some(ExitCode::FAILURE);
            }
        }
    }
    let error = Command::new(compiler).args(arguments).exec();
    eprintln!("rustc cannot be started: {error}");
    Some(ExitCode::FAILURE)
}

/// Gives a kernel its lock file back. A kernel begins with cells that use no crate, so cargo forgets all versions, and would take
/// the newest of the day in their place: from the network, and compiled anew.
fn keep_versions(kernel: &Path) {
    let lock = kernel.join("Cargo.lock");
    if fs::read_to_string(&lock).is_ok_and(|text| !text.contains("name = \"captionlab\"")) {
        // Without it, cells are as they were before: slower, and right.
        let _ = fs::copy(kernel.join(VERSIONS), lock);
    }
}

/// Says something as an error of the compiler, which a cell shows.
fn tell(kernel: &Path, message: &str) {
    // Compilers run side by side, and cargo asks for no more when one has failed. One of them says why.
    let told = kernel.join(format!("told-{}", std::os::unix::process::parent_id()));
    if File::create_new(told).is_ok() {
        let said = serde_json::json!({
            "$message_type": "diagnostic", "message": message, "rendered": message, "level": "error",
            "code": null, "spans": [], "children": [],
        });
        eprintln!("{said}");
    }
}

/// Why a kernel does not compile the libraries of its cells, or `None` where it may.
fn refusal(builds: &Path, kernel: &Path) -> Option<String> {
    let manifest = fs::read_to_string(kernel.join("Cargo.toml")).ok()?;
    let features = features_of(manifest.lines().find(|line| line.starts_with("captionlab = "))?);
    let has = |folder: &Path| Ready::of(folder).0.iter().any(|(_, line)| features_of(line) == features);
    // Then it is a crate that a cell has asked for.
    if has(kernel) {
        return None;
    }
    if has(&builds.join("warmed")) {
        return Some(
            "The libraries of this lesson are ready now. Restart the kernel (⟳), and run the cell again.".into(),
        );
    }
    let plan = fs::read(plan_of(builds)).ok().filter(|_| is_under_way(builds))?;
    let plan: serde_json::Value = serde_json::from_slice(&plan).ok()?;
    let is_this =
        |planned: &&serde_json::Value| planned["line"].as_str().is_some_and(|line| features_of(line) == features);
    let end = plan["planned"].as_array()?.iter().find(is_this)?["end"].as_u64()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(format!(
        "The libraries of this lesson are still being compiled: about {} left. Then restart the kernel (⟳), and run this cell \
         again. These lessons run meanwhile: {}.",
        minutes(Duration::from_secs(end.saturating_sub(now))),
        plan["lessons"].as_str().unwrap_or_default()
    ))
}

/// What a line asks for beside the crate itself.
fn features_of(line: &str) -> Vec<&str> {
    let list = line.split_once("features = [").and_then(|(_, rest)| Some(rest.split_once(']')?.0)).unwrap_or_default();
    let mut features: Vec<&str> = list.split(',').map(|name| name.trim().trim_matches('"')).collect();
    features.sort_unstable();
    features
}

/// Names the state of the sources and settings that a warmed folder was made for.
fn crate_state(paths: &Paths, libtorch: &Path) -> Result<String> {
    let mut files =
        vec![paths.checkout.join("Cargo.toml"), paths.checkout.join("Cargo.lock"), paths.checkout.join("build.rs")];
    files_below(&paths.checkout.join("src"), &mut files)?;
    files.sort();
    let mut all = format!("{} {EVCXR_VERSION} {} {}", libtorch.display(), rust_version(), build_profile()).into_bytes();
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

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("captionlab-warm-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn set(features: &str) -> FeatureSet {
        let line = match features {
            "" => ":dep captionlab = { path = \"..\" }".to_owned(),
            _ => format!(":dep captionlab = {{ path = \"..\", features = [\"{features}\"] }}"),
        };
        FeatureSet { line, lessons: vec![format!("lesson of {features}")] }
    }

    #[test]
    fn the_feature_sets_are_those_of_the_lessons_the_smallest_first() {
        let sets = feature_sets(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks")).unwrap();
        assert_eq!(sets[0].line, set("").line);
        assert!(sets[0].lessons.contains(&"0_presentation_data".to_owned()), "{sets:?}");
        for features in ["clip-text", "live", "tables"] {
            assert!(sets.iter().any(|found| found.line == set(features).line), "{features}: {sets:?}");
        }
    }

    #[test]
    fn a_set_is_asked_for_from_any_folder() {
        assert_eq!(set("").dependency(Path::new("/my \"lessons\" é")), r#"{ path = "/my \"lessons\" é" }"#);
        let package = set("live").package(Path::new("/here"));
        assert!(package.ends_with("\ncaptionlab = { path = \"/here\", features = [\"live\"] }\n"), "{package}");
    }

    #[test]
    fn a_kernel_compiles_no_library_that_a_setup_is_compiling() {
        let builds = folder("refusal");
        let kernel = builds.join("kernel-1");
        let warmed = builds.join("warmed");
        fs::create_dir_all(&kernel).unwrap();
        fs::create_dir_all(&warmed).unwrap();
        let asks_for = |features: &str| {
            fs::write(kernel.join("Cargo.toml"), set(features).package(Path::new("/here"))).unwrap();
            refusal(&builds, &kernel)
        };
        let ready = |folder: &Path, sets: &[&str]| {
            sets.iter()
                .fold(Ready(Vec::new()), |ready, features| ready.with(&set(features), "state"))
                .write(folder)
                .unwrap();
        };
        ready(&kernel, &[""]);
        ready(&warmed, &["", "live"]);
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 240;
        let plan = serde_json::json!({ "planned": [{ "line": set("tables").line, "end": end }], "lessons": "1, 2" });
        fs::write(plan_of(&builds), plan.to_string()).unwrap();

        // No set-up is at work: what is missing is compiled by the kernel.
        fs::write(builds.join("warming"), "").unwrap();
        assert_eq!(asks_for("tables"), None);
        let lock = File::open(builds.join("warming")).unwrap();
        lock.lock().unwrap();
        let said = asks_for("tables").unwrap();
        assert!(
            said.contains("about 4 minutes left") && said.ends_with("These lessons run meanwhile: 1, 2."),
            "{said}"
        );
        assert!(asks_for("live").unwrap().contains("are ready now. Restart the kernel"));
        // Its own libraries are there, so it is some other crate that a cell asks for; or a set that nobody compiles.
        assert_eq!(asks_for(""), None);
        assert_eq!(asks_for("download"), None);
        fs::remove_dir_all(builds).unwrap();
    }

    #[test]
    fn a_kernel_keeps_the_versions_of_the_project() {
        let kernel = folder("versions");
        let (lock, whole) = (kernel.join("Cargo.lock"), "[[package]]\nname = \"captionlab\"\nversion = \"0.1.0\"\n");
        fs::write(kernel.join(VERSIONS), whole).unwrap();
        let used = format!("{whole}[[package]]\nname = \"ctx\"\n");
        for (there, kept) in [("[[package]]\nname = \"ctx\"\n", whole), (used.as_str(), used.as_str())] {
            fs::write(&lock, there).unwrap();
            keep_versions(&kernel);
            assert_eq!(fs::read_to_string(&lock).unwrap(), kept);
        }
        fs::remove_dir_all(kernel).unwrap();
    }
}
