//! The cache folder that all checkouts share: what lies there, who uses it, and what is removed when nobody does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::checks::gigabytes;
use crate::paths::Paths;
use crate::steps::lock;
use crate::{Result, tree, warm};

/// Writes down what this checkout uses, so that no other one removes it.
///
/// `kernels/KEY/uses` holds the path of the checkout, and then the names of what it takes from the cache folder.
pub fn write_uses(paths: &Paths) -> Result<()> {
    let mut uses = paths.checkout.display().to_string();
    let target_seed = paths.seed("target-seed")?;
    for path in [paths.shared_venv()?, paths.kernel_root(), target_seed, warm::seed(paths)?] {
        uses += &format!("\n{}", path.file_name().unwrap_or_default().to_string_lossy());
    }
    fs::create_dir_all(paths.kernel_builds())?;
    tree::write_whole(&paths.kernel_builds().join("uses"), &uses)
}

/// Removes what no checkout uses any more: builds for versions and settings that are gone, and kernels of checkouts that are.
pub fn remove_unused(paths: &Paths) -> Result<()> {
    // One at a time. What a checkout makes it has written down before.
    let _lock = lock(&paths.cache.join("unused.lock"), "what is no longer used")?;
    let found = unused(&paths.cache);
    let mut freed = 0;
    for path in &found {
        // One that a checkout wants meanwhile stays.
        if !unused(&paths.cache).contains(path) {
            continue;
        }
        freed += tree::size(path).1;
        // It may be in use by a program of an earlier version; the next set-up tries again.
        if let Err(error) = tree::remove(path) {
            println!("{}: is not used any more, but cannot be removed: {error}", path.display());
        }
    }
    if !found.is_empty() {
        println!("Removed {} old builds from the cache folder: {} freed", found.len(), gigabytes(freed));
    }
    Ok(())
}

/// What this project put into the cache folder and no checkout uses.
fn unused(cache: &Path) -> Vec<PathBuf> {
    let mut used = BTreeSet::new();
    let mut unused = Vec::new();
    let mut has_earlier = false;
    for builds in folders(&cache.join("kernels")) {
        if is_being_removed(&builds) {
            unused.push(builds);
            continue;
        }
        match fs::read_to_string(builds.join("uses")) {
            Ok(uses) if uses.lines().next().is_some_and(|checkout| Path::new(checkout).join("xtask").is_dir()) => {
                used.extend(uses.lines().skip(1).map(str::to_owned));
            }
            Ok(_) => unused.push(builds),
            // Set up by a version that wrote nothing down.
            Err(_) => has_earlier = true,
        }
    }
    for path in own_entries(cache) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_seed = name.contains("-seed-");
        // An earlier version may use the environment and the kernel program; seeds only save it time.
        let is_large = is_seed || (!has_earlier && ["python-", "evcxr-"].iter().any(|kind| name.starts_with(kind)));
        // Beside each may lie its lock, and one that is being made.
        let of = name.split('.').next().unwrap_or_default();
        let is_used = used.iter().any(|used| used == of || used == &name);
        // One in `kernels` has been seen to.
        let is_left = is_being_removed(&path) && !unused.contains(&path);
        if is_left || (is_large && !is_used) {
            unused.push(path);
        }
    }
    unused
}

/// Whether a removal of this folder was ended.
fn is_being_removed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == tree::REMOVING)
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// What this project put into the cache folder, in the order of the names. The folder itself may be the user's, and hold other things.
pub fn own_entries(cache: &Path) -> Vec<PathBuf> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let has_key = |rest: &str| rest.len() >= 12 && rest.bytes().take(12).all(|byte| byte.is_ascii_hexdigit());
    let is_port = |rest: &str| rest.parse::<u16>().is_ok();
    let is_ours = |name: &String| {
        ["python-", "kernel-seed-", "target-seed-"].iter().any(|prefix| name.strip_prefix(prefix).is_some_and(has_key))
            || (name.starts_with("evcxr-") && name.contains("-rust-"))
            || (name.starts_with("meteor-") && name.contains(".safetensors"))
            || name.strip_prefix("live-").is_some_and(is_port)
            || ["rust-src.lock", "unused.lock"].contains(&name.as_str())
    };
    let (kernels, logs) = (cache.join("kernels"), cache.join("logs"));
    let mut entries: Vec<PathBuf> = names(cache).into_iter().filter(is_ours).map(|name| cache.join(name)).collect();
    entries.extend(names(&kernels).into_iter().filter(|name| has_key(name)).map(|name| kernels.join(name)));
    entries.extend(LOGS.map(|name| logs.join(format!("{name}.log"))).into_iter().filter(|log| log.exists()));
    entries.sort();
    entries
}

/// The names of the logs that set-up writes, or did: those of a checkout's libraries now lie beside its kernels.
const LOGS: [&str; 6] = ["background", "chromium", "kernel", "python", "rust-src", "warm"];

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
            "live-8899",
            "python-2769ed3a662f.lock",
            "python-2769ed3a662f/bin/python",
            "rust-src.lock",
            "target-seed-8ca3f20b4b17/file",
        ];
        let theirs = [
            "photos/one.jpg",
            "python-projects/mine.py",
            "kernels/linux/vmlinuz",
            "live-music",
            "logs/mail.log",
            "evcxr-notes.md",
        ];
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

    #[test]
    fn what_no_checkout_uses_any_more_is_removed_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("captionlab-unused-{}", std::process::id()));
        let cache = root.join("cache");
        let here = root.join("here");
        fs::create_dir_all(here.join("xtask")).unwrap();
        let uses = format!(
            "{}\npython-00000000000a\nevcxr-0.22.0-rust-1.95.0\nkernel-seed-00000000000a-00000000000b",
            here.display()
        );
        let files = [
            ("kernels/000000000001/uses", uses.as_str()),
            ("kernels/000000000002/uses", "/no/such/checkout\npython-00000000000b"),
            ("python-00000000000a/x", ""),
            ("python-00000000000a.lock", ""),
            ("python-00000000000b/x", ""),
            ("python-00000000000b.lock", ""),
            ("evcxr-0.22.0-rust-1.95.0/x", ""),
            ("evcxr-0.22.0-rust-1.95.0.removing/complete", ""),
            ("kernels/000000000001.removing/uses", uses.as_str()),
            ("python-00000000000a.removing/captionlab-complete", ""),
            ("evcxr-0.21.0-rust-1.95.0/x", ""),
            ("kernel-seed-00000000000a-00000000000b/x", ""),
            ("kernel-seed-00000000000a-00000000000b.partial/x", ""),
            ("kernel-seed-00000000000a-00000000000c/x", ""),
            ("target-seed-00000000000c/x", ""),
            ("meteor-1.5-english-3.safetensors", ""),
            ("photos/x", ""),
        ];
        for (file, text) in files {
            fs::create_dir_all(cache.join(file).parent().unwrap()).unwrap();
            fs::write(cache.join(file), text).unwrap();
        }
        let names = |paths: Vec<PathBuf>| -> Vec<String> {
            paths.iter().map(|path| path.strip_prefix(&cache).unwrap().to_string_lossy().into_owned()).collect()
        };
        let mut found = names(unused(&cache));
        found.sort();
        let seeds = ["kernel-seed-00000000000a-00000000000c", "target-seed-00000000000c"];
        let others = ["evcxr-0.21.0-rust-1.95.0", "python-00000000000b", "python-00000000000b.lock"];
        let removals = [
            "evcxr-0.22.0-rust-1.95.0.removing",
            "kernels/000000000001.removing",
            "kernels/000000000002",
            "python-00000000000a.removing",
        ];
        let mut expected = [&seeds[..], &others, &removals].concat();
        expected.sort();
        assert_eq!(found, expected);
        // What a checkout uses that wrote nothing down is not known: only seeds go, which save time and no more.
        fs::create_dir_all(cache.join("kernels/000000000003")).unwrap();
        let mut found = names(unused(&cache));
        found.sort();
        let mut expected = [&seeds[..], &removals].concat();
        expected.sort();
        assert_eq!(found, expected);
        fs::remove_dir_all(root).unwrap();
    }
}
