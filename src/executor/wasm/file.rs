//! Reads a plugin's file.

use std::io::Read;
use std::path::Path;

use super::scan::BYTES_MAX;
use crate::error::Error;
use crate::storage::open_regular;

/// Reads a plugin's file. Of a file that is too large it reads one byte more than the limit. Anything but a regular file
/// is an error, because reading a pipe can wait forever.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = open_regular(path, false).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(source) => Err(Error::Io { operation: "read", path: path.to_owned(), source }),
    }
}
