//! One screen: what is here, what is missing, and what to do about it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

use crate::checks::{self, gigabytes};
use crate::paths::{EVCXR_VERSION, Paths};
use crate::steps::output_of;
use crate::{Result, kernel, tree, warm};

pub fn doctor(paths: &Paths) -> Result<()> {
    let mut faults = 0;
    let mut line = |name: &str, finding: Result<String>| match finding {
        Ok(text) => println!("  ok  {name:<18} {text}"),
        Err(problem) => {
            faults += 1;
            println!("FAULT {name:<18} {problem}");
        }
    };
    line(
        "Rust",
        output_of(Command::new("rustc").arg("--version")).ok_or("rustc does not run. Install Rust by rustup".into()),
    );
    line("rust-src", checks::rust_source().map(|_| "there".to_owned()));
    line("C++ compiler", checks::compiler());
    line("Python", checks::python().map(|path| path.display().to_string()));
    line("environment", environment(paths));
    let libtorch = checks::libtorch(paths);
    line(
        "libtorch",
        match &libtorch {
            Ok(path) => checks::check_libtorch(path)
                .and_then(|version| loads(path).map(|()| format!("{version}, {}", path.display()))),
            Err(error) => Err(error.to_string().into()),
        },
    );
    line("devices", devices(paths));
    line("threads", threads());
    line("kernel", kernelspec(paths));
    line("kernel's builds", kernel_builds(paths));
    line("disk", disk(paths));
    line("data", data());
    line("weights", weights(paths));
    match faults {
        0 => println!("\nNo faults."),
        1 => println!("\n1 fault. What to do is said beside it."),
        _ => println!("\n{faults} faults. What to do is said beside each."),
    }
    if faults == 0 { Ok(()) } else { Err("not everything is in order".into()) }
}

fn environment(paths: &Paths) -> Result<String> {
    let version = output_of(Command::new(paths.venv_python()).args(["-m", "jupyterlab", "--version"]))
        .ok_or_else(|| format!("{} has no JupyterLab. Run: cargo xtask setup", paths.venv().display()))?;
    Ok(format!(".venv with JupyterLab {version}"))
}

fn devices(paths: &Paths) -> Result<String> {
    const PROBE: &str = "import torch; print('CPU' + ''.join(', ' + torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))";
    output_of(Command::new(paths.venv_python()).args(["-c", PROBE]))
        .ok_or("torch does not load in .venv. Run: cargo xtask setup".into())
}

/// Loads a libtorch, as each kernel does.
fn loads(libtorch: &Path) -> Result<()> {
    const PROBE: &str = "import ctypes, sys; ctypes.CDLL(sys.argv[1])";
    let name = if cfg!(target_os = "macos") { "libtorch_cpu.dylib" } else { "libtorch_cpu.so" };
    let library = libtorch.join("lib").join(name);
    let mut probe = Command::new(checks::python()?);
    probe.args(["-c", PROBE]).arg(&library);
    kernel::set_libraries(&mut probe, libtorch)?;
    let probe = probe.output()?;
    if probe.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&probe.stderr).lines().last().unwrap_or_default().to_owned();
    Err(format!(
        "{} does not load: {said}. If it is the project's own, run: cargo xtask clean --all, then cargo xtask setup; if you set \
         LIBTORCH, unset it, or add the folder of the library that is missing to {}",
        library.display(),
        kernel::LIBRARY_VARIABLE
    )
    .into())
}

fn threads() -> Result<String> {
    let cores = thread::available_parallelism()?;
    Ok(match env::var("OMP_NUM_THREADS") {
        Ok(set) => format!("{cores} cores; OMP_NUM_THREADS limits libtorch to {set}"),
        Err(_) => format!("{cores} cores, all used"),
    })
}

fn kernelspec(paths: &Paths) -> Result<String> {
    if !paths.kernel_root().join("complete").exists() {
        return Err(format!("evcxr_jupyter {EVCXR_VERSION} is not installed. Run: cargo xtask setup").into());
    }
    let spec = paths.kernelspec().join("kernel.json");
    let text = fs::read_to_string(&spec).map_err(|_| "the kernelspec captionlab is missing. Run: cargo xtask setup")?;
    // Before they were named to the launcher, the user's own libraries were lost.
    if !text.contains(kernel::LIBRARIES) {
        return Err("the kernelspec captionlab is that of an earlier version. Run: cargo xtask setup".into());
    }
    let spec: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| format!("{} cannot be read: {error}. Run: cargo xtask setup", spec.display()))?;
    let launcher = spec["argv"][0].as_str().map(Path::new);
    if launcher != Some(&paths.kernel_launcher()) {
        return Err("the kernelspec captionlab is another checkout's. Run: cargo xtask setup".into());
    }
    Ok(format!("evcxr_jupyter {EVCXR_VERSION}, kernelspec `captionlab`"))
}

fn kernel_builds(paths: &Paths) -> Result<String> {
    let (ready, all) = warm::sets_ready(paths)?;
    if ready == 0 {
        return Err("not compiled yet: first cells would take many minutes. Run: cargo xtask setup".into());
    }
    let copies = warm::kernel_locks(&paths.kernel_builds()).len();
    Ok(format!("{ready} of {all} sets of libraries are ready; {copies} kernels run or ran"))
}

fn disk(paths: &Paths) -> Result<String> {
    let free = checks::free_space(&paths.cache).ok_or("df does not say how much is free")?;
    let (used, _) = tree::size(&paths.cache);
    let text =
        format!("{} free; the cache folder {} holds {}", gigabytes(free), paths.cache.display(), gigabytes(used));
    if free < 2_000_000_000 {
        Err(format!("{text}. Free some space, or run: cargo xtask clean").into())
    } else {
        Ok(text)
    }
}

fn data() -> Result<String> {
    let Some(data) = env::var_os("CAPTIONLAB_DATA").filter(|data| !data.is_empty()).map(PathBuf::from) else {
        return Ok("Scenes, the embedded data set (CAPTIONLAB_DATA is not set)".to_owned());
    };
    let is_filled = data.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    // A data set may be named by its file of captions.
    let is_table = data.is_file()
        && data.extension().is_some_and(|end| ["csv", "txt", "token", "json"].iter().any(|&known| end == known));
    match is_filled || is_table {
        true => Ok(format!("CAPTIONLAB_DATA={}", data.display())),
        false => {
            let wrong = if data.exists() { "holds no data set" } else { "is not there" };
            Err(format!("CAPTIONLAB_DATA={} {wrong}. Set it to the folder of a data set, or unset it", data.display())
                .into())
        }
    }
}

/// Files of weights in saved_models/, and those in its folders.
fn weights(paths: &Paths) -> Result<String> {
    let is_weights = |name: &str| [".safetensors", ".pth", ".pt"].iter().any(|end| name.ends_with(end));
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let saved = paths.checkout.join("saved_models");
    let mut found = names(&saved);
    found.retain(|name| is_weights(name) || names(&saved.join(name)).iter().any(|inside| is_weights(inside)));
    found.sort();
    match found.is_empty() {
        true => {
            Err("saved_models/ holds none, not even those that ship with the project. Run: git checkout saved_models"
                .into())
        }
        false => Ok(found.join(", ")),
    }
}
