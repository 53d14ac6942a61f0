//! Reads text files; errors name the line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{Error, Result};

/// Largest annotation file, uncompressed. COCO's and Karpathy's largest has about 150 MB.
const LARGEST_FILE: u64 = 2 << 30;
const GZIP_MARK: &[u8] = b"\x1f\x8b";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a UTF-8 file, or a UTF-16 file with byte order mark, plain or gzipped, without its mark.
///
/// # Errors
/// [`Error::File`] when it cannot be read; [`Error::Data`] when it is a folder, empty, too large, a broken archive, or not UTF-8
/// (with the line).
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = read_bytes(path, LARGEST_FILE + 1)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::data(
            path,
            None,
            "the file is larger than 2 GiB, which no file of captions is",
            "Check that this is the file that you meant.",
        ));
    }
    decode(path, bytes)
}

/// The first bytes of such a file, at most `limit`, for recognition; invalid UTF-8 is replaced.
pub(super) fn read_beginning(path: &Path, limit: u64) -> Result<String> {
    let bytes = read_bytes(path, limit)?;
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    if path.is_dir() {
        return Err(is_a_folder(path));
    }
    let cannot_read = |source| Error::file(path, "read the file", source, "Check the path, and that you may read it.");
    let mut file = File::open(path).map_err(cannot_read)?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(2).read_to_end(&mut bytes).map_err(cannot_read)?;
    if bytes == GZIP_MARK {
        let mut unpacked = Vec::new();
        let packed = MultiGzDecoder::new(GZIP_MARK.chain(file));
        packed.take(limit).read_to_end(&mut unpacked).map_err(|source| {
            Error::data(path, None, format!("the gzip archive is broken ({source})"), "Download it again.")
        })?;
        bytes = unpacked;
    } else {
        file.take(limit.saturating_sub(2)).read_to_end(&mut bytes).map_err(cannot_read)?;
    }
    let unit = match bytes.first_chunk() {
        Some(b"\xff\xfe") => u16::from_le_bytes,
        Some(b"\xfe\xff") => u16::from_be_bytes,
        _ => return Ok(bytes),
    };
    let is_cut = bytes.len() as u64 >= limit;
    utf16(&bytes[2..], unit, is_cut)
        .map_err(|line| Error::data(path, line, "the text begins as UTF-16, and is broken here", "Save it as UTF-8."))
}

/// Converts UTF-16, as some Windows programs write it, to UTF-8; the error is the line of an invalid character.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, is_cut: bool) -> Result<Vec<u8>, u64> {
    let (pairs, odd) = bytes.as_chunks();
    let mut text = String::with_capacity(bytes.len());
    for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match character {
            Ok(character) => text.push(character),
            Err(_) if is_cut => {}
            Err(_) => return Err(1 + text.matches('\n').count() as u64),
        }
    }
    match odd {
        [_] if !is_cut => Err(1 + text.matches('\n').count() as u64),
        _ => Ok(text.into_bytes()),
    }
}

fn decode(path: &Path, mut bytes: Vec<u8>) -> Result<String> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    if bytes.is_empty() {
        return Err(Error::data(path, None, "the file is empty", "Check the download, or write the captions into it."));
    }
    if !bytes.contains(&b'\n') {
        // Line ends of classic Mac OS.
        bytes.iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(valid).filter(|&&byte| byte == b'\n').count() as u64;
        let byte = error.as_bytes().get(valid).copied().unwrap_or_default();
        Error::data(path, line, format!("the text is not UTF-8 (byte 0x{byte:02X})"), "Save the file as UTF-8.")
    })
}

pub(super) fn is_a_folder(path: &Path) -> Error {
    Error::data(path, None, "this is a folder, where a file belongs", "Name the file inside it.")
}
