//! How a database file is opened, and what its errors mean.

use std::io;
use std::path::Path;

use redb::{Database, DatabaseError, StorageError};

use crate::error::Error;
use crate::storage::file::lock::FileLock;

/// What a redb file begins with (redb's `docs/design.md`, "Database header").
const REDB_MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub cache_bytes: usize,
    /// Accept a redb file that has none of the queue's tables.
    pub adopt: bool,
    /// Have redb check each page's checksum first, except when the file is opened again after an I/O error.
    pub check: bool,
}

impl Opening {
    pub(in crate::storage) fn builder(&self) -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(self.check);
        builder
    }

    pub(in crate::storage) fn again(self) -> Self {
        Self { check: false, ..self }
    }
}

pub(in crate::storage) fn check_magic(lock: &FileLock, path: &Path) -> Result<(), Error> {
    let mut magic = [0; REDB_MAGIC.len()];
    match lock.backend().read(0, &mut magic) {
        Ok(()) if magic == *REDB_MAGIC => Ok(()),
        Ok(()) => Err(Error::NotAMillpond { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Error::NotAMillpond { path: path.to_owned() })
        }
        Err(source) => Err(failed("read", path, source)),
    }
}

/// No space is left for the file to grow.
pub(in crate::storage) fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::FileTooLarge
    )
}

pub(in crate::storage) fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    match is_full(&source) {
        true => Error::StorageFull,
        false => Error::Io { operation, path: path.to_owned(), source },
    }
}

pub(in crate::storage) fn open_error(error: DatabaseError, path: &Path, operation: &'static str) -> Error {
    let damaged = |detail: String| Error::Corrupt {
        detail: format!("{}: {detail}", path.display()),
        hint: "restore a backup; the file was left as it is",
    };
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::AlreadyOpen { path: path.to_owned() },
        DatabaseError::UpgradeRequired(version) => damaged(format!("it has redb's old format {version}")),
        DatabaseError::Storage(StorageError::Io(source)) => match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => damaged(source.to_string()),
            _ => failed(operation, path, source),
        },
        other => damaged(other.to_string()),
    }
}
