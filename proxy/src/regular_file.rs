//! Reading files that others name: regular ones, of bounded length. The thread that reads has more to do than to wait for a
//! pipe, or for a device that has no end.

use std::fs::{Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// The bytes of a file.
///
/// # Errors
/// It is not there, is not regular, or has more than `bytes_max` bytes; in words that do not repeat its name.
pub(crate) fn read(path: impl AsRef<Path>, bytes_max: usize) -> Result<Vec<u8>, String> {
    // A pipe may take the place of a file after it was looked at: opening it must not wait for a writer.
    let not_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(not_waiting)
        .open(path)
        .map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    check(&metadata, bytes_max)?;
    let mut bytes = Vec::new();
    let at_most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.take(at_most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    check_length(bytes.len(), bytes_max)?; // it may have grown meanwhile
    Ok(bytes)
}

fn check(metadata: &Metadata, bytes_max: usize) -> Result<(), String> {
    match metadata.is_file() {
        true => check_length(
            usize::try_from(metadata.len()).unwrap_or(usize::MAX),
            bytes_max,
        ),
        false => Err("is not a regular file".to_owned()),
    }
}

fn check_length(bytes: usize, bytes_max: usize) -> Result<(), String> {
    match bytes <= bytes_max {
        true => Ok(()),
        false => Err(format!("must have at most {bytes_max} bytes, got {bytes}")),
    }
}
