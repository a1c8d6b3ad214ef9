use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::scan::BYTES_MAX;
use crate::error::Error;

/// A plugin's file, and of one that is too large only so much as shows that it is.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(source) => Err(Error::Io { operation: "read", path: path.to_owned(), source }),
    }
}
