//! Published weights and data sets, brought here safely: what is interrupted goes on where it was, what arrives is what was
//! published, and nothing half-finished ever has the name of the whole.

mod archive;
mod proxy;
mod sources;
mod transfer;

use std::path::PathBuf;

pub use archive::{is_archive, is_other_archive, unzip};
pub use proxy::Proxies;
pub use sources::{SOURCES, Source, SourceFile};
pub use transfer::{DownloadConfig, DownloadEvent, Downloaded, File, bytes_text, copy, download};

/// The project that the current folder is in, or else `CAPTIONLAB_CHECKOUT`; the current folder where there is neither: what is
/// downloaded goes to folders in it.
pub fn project_folder() -> PathBuf {
    crate::files::project_folder()
}
