//! Where things live: in the checkout, or in the per-user cache folder that all checkouts share.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::Result;

/// evcxr_jupyter, the Rust kernel of Jupyter.
pub const EVCXR_VERSION: &str = "0.22.0";
/// The torch whose libtorch the crate tch 0.24 is written for.
pub const TORCH_VERSION: &str = "2.11.0";

pub struct Paths {
    pub checkout: PathBuf,
    pub cache: PathBuf,
}

impl Paths {
    pub fn find() -> Result<Self> {
        // The kernel is started from a notebook's folder, by a copy of this program: the kernelspec says where the checkout is.
        let checkout = match env::var_os("CAPTIONLAB_CHECKOUT") {
            Some(path) => PathBuf::from(path),
            None => match env::var_os("CARGO_MANIFEST_DIR") {
                Some(xtask) => Path::new(&xtask).parent().map(Path::to_path_buf).ok_or("xtask has no parent folder")?,
                None => env::current_dir()?,
            },
        };
        if !checkout.join("xtask/Cargo.toml").is_file() {
            return Err(
                format!("{}: not a checkout of captionlab. Call `cargo xtask` in one", checkout.display()).into()
            );
        }
        let paths = Self { checkout: checkout.canonicalize()?, cache: cache_folder()? };
        for path in [&paths.checkout, &paths.cache] {
            // Settings of cargo and of Jupyter are texts.
            if path.to_str().is_none() {
                return Err(
                    format!("{}: this path is not UTF-8. Move the folder to one that is", path.display()).into()
                );
            }
        }
        Ok(paths)
    }

    /// Makes the cache folder where it is not there yet.
    ///
    /// # Errors
    /// If nothing can be written there.
    pub fn make_cache(&self) -> Result<()> {
        let probe = self.cache.join(format!("probe-{}", std::process::id()));
        fs::create_dir_all(&self.cache).and_then(|()| fs::write(&probe, "")).map_err(|error| {
            format!(
                "{}: nothing can be written into the cache folder: {error}. Set CAPTIONLAB_CACHE to a folder that you may write",
                self.cache.display()
            )
        })?;
        Ok(fs::remove_file(probe)?)
    }

    /// The Python environment of this checkout.
    pub fn venv(&self) -> PathBuf {
        self.checkout.join(".venv")
    }

    /// The environment that all checkouts with the same requirements share: `.venv` is made of links into it.
    pub fn shared_venv(&self) -> Result<PathBuf> {
        let requirements = fs::read(self.checkout.join("requirements-dev.txt"))?;
        Ok(self.cache.join(format!("python-{}", key(&requirements))))
    }

    pub fn venv_python(&self) -> PathBuf {
        self.venv().join("bin/python")
    }

    /// Tells cargo where libtorch is; included by `.cargo/config.toml`.
    pub fn machine_config(&self) -> PathBuf {
        self.checkout.join(".cargo/machine.toml")
    }

    pub fn kernel_root(&self) -> PathBuf {
        self.cache.join(format!("evcxr-{EVCXR_VERSION}-rust-{}", rust_version()))
    }

    pub fn kernel_program(&self) -> PathBuf {
        self.kernel_root().join("bin/evcxr_jupyter")
    }

    /// The copy of this program that the kernelspec names: a rebuild of xtask must not pull it from under a kernel.
    pub fn kernel_launcher(&self) -> PathBuf {
        self.venv().join("bin/captionlab-kernel")
    }

    pub fn kernelspec(&self) -> PathBuf {
        self.venv().join("share/jupyter/kernels/captionlab")
    }

    /// The build folders of this checkout's kernels. Not in the checkout: cargo would take them for part of its workspace.
    pub fn kernel_builds(&self) -> PathBuf {
        self.cache.join("kernels").join(key(self.checkout.as_os_str().as_encoded_bytes()))
    }

    /// The build folder from which each kernel gets its own copy.
    pub fn warmed(&self) -> PathBuf {
        self.kernel_builds().join("warmed")
    }

    /// Builds of third-party crates, which do not depend on the checkout. Where its libtorch is another one, the two crates that
    /// wrap it are compiled again.
    pub fn seed(&self, name: &str) -> Result<PathBuf> {
        let mut all = fs::read(self.checkout.join("Cargo.lock"))?;
        all.extend(fs::read(self.checkout.join("Cargo.toml"))?);
        all.extend(rust_version().as_bytes());
        Ok(self.cache.join(format!("{name}-{}", key(&all))))
    }

    pub fn notebooks(&self) -> PathBuf {
        self.checkout.join("notebooks")
    }
}

/// `CAPTIONLAB_CACHE`, or the user's cache folder.
fn cache_folder() -> Result<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = set("CAPTIONLAB_CACHE") {
        return Ok(std::path::absolute(cache)?);
    }
    let user = if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library/Caches"))
    } else {
        set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))
    };
    let user =
        user.ok_or("neither HOME nor CAPTIONLAB_CACHE is set. Set CAPTIONLAB_CACHE to a folder with 10 GB free")?;
    Ok(user.join("captionlab"))
}

/// The pinned version, such as `1.95.0`.
pub fn rust_version() -> String {
    include_str!("../../rust-toolchain.toml")
        .lines()
        .find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'))
        .unwrap_or("unknown")
        .to_owned()
}

/// A short name for some bytes. The hasher is the pinned toolchain's, so the name holds as long as the caches do.
pub fn key(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:012x}", hasher.finish() >> 16)
}
