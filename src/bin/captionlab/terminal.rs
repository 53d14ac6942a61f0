//! What commands print.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use captionlab::{Error, Result};

/// Prints a line, or several.
///
/// Who reads them, `head` perhaps, may have read enough: that is no error, and what comes after is lost.
///
/// # Errors
/// [`Error::File`] when standard output takes nothing, since the disk that it goes to is full, say.
pub fn say(lines: impl Display) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{lines}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written
            .map_err(|source| Error::file("standard output", "print the result", source, "Is there room on its disk?")),
    }
}

/// Says what went wrong, on standard error.
pub fn warn(problem: impl Display) {
    // Where that is closed too, there is nobody to tell.
    writeln!(std::io::stderr(), "{problem}").ok();
}
