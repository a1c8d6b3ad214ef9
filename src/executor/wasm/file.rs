use std::io::Read;
use std::path::Path;

use super::scan::BYTES_MAX;
use crate::error::Error;
use crate::storage::open_regular;

/// A plugin's file, and of one that is too large only so much as shows that it is. What is no file is an error: the
/// other end of a pipe may never say anything.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = open_regular(path, false).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(source) => Err(Error::Io { operation: "read", path: path.to_owned(), source }),
    }
}
