//! Downloads of published weights and data sets. Interrupted downloads are resumed, checksums are verified, and files appear only
//! when they are complete.

mod archive;
mod proxy;
mod sources;
mod transfer;

use std::path::PathBuf;

pub use archive::{is_archive, is_other_archive, unzip};
pub use proxy::Proxies;
pub use sources::{SOURCES, Source, SourceFile};
pub use transfer::{DownloadConfig, DownloadEvent, Downloaded, File, bytes_text, copy, download};

/// The project around the current folder, or else `CAPTIONLAB_CHECKOUT`, or else the current folder. Downloads go to folders in it.
pub fn project_folder() -> PathBuf {
    crate::files::project_folder()
}
