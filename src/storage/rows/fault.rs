//! The error type of this room, and how it becomes the public [`Error`].

use crate::error::Error;
use crate::error::panics::catch;
use crate::job::JobId;
use crate::storage::file::opening::is_full;
use crate::storage::rows::table_name::TableName;

/// What can go wrong in this room. Other rooms get an [`Error`], which hides redb.
#[derive(Debug)]
pub(crate) enum Fault {
    Redb(redb::Error),
    /// A row of ours that cannot be read.
    Corrupt {
        table: TableName,
        id: u64,
        detail: String,
    },
}

impl Fault {
    pub fn corrupt(table: TableName, id: u64, detail: impl Into<String>) -> Self {
        Self::Corrupt { table, id, detail: detail.into() }
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        })*
    };
}

from_redb!(redb::StorageError, redb::TableError, redb::TransactionError, redb::DatabaseError, redb::SetDurabilityError);

impl From<redb::CursorError> for Fault {
    fn from(error: redb::CursorError) -> Self {
        match error {
            redb::CursorError::Storage(error) => error.into(),
            other => Self::corrupt(TableName::Ready, 0, other.to_string()),
        }
    }
}

/// Reads a file that may be damaged. redb checks the pages that it uses only after an unclean stop. Otherwise it
/// asserts what is true of every file that it has written, so a damaged file makes it panic.
pub(crate) fn unless_damaged<T>(read: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch(read).unwrap_or_else(|panic| {
        let detail = format!("the storage engine panicked: {}", panic.text());
        Err(Error::Corrupt { detail, hint: "restore a backup, or copy the readable jobs out" })
    })
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Redb(redb::Error::Io(error)) if is_full(&error) => Error::StorageFull,
            Fault::Redb(redb::Error::Corrupted(detail)) => {
                Error::Corrupt { detail, hint: "restore a backup, or copy the readable jobs out" }
            }
            Fault::Redb(error) => Error::Storage { operation: "read or write the file", source: error.into() },
            Fault::Corrupt { table, id, detail } if table.has_jobs() => {
                Error::CorruptRecord { id: JobId::new(id), detail }
            }
            Fault::Corrupt { table, id, detail } => Error::Corrupt {
                detail: format!("row {id} of {table}: {detail}"),
                hint: "restore a backup, or copy the readable jobs out",
            },
        }
    }
}

/// A commit that failed may still have become durable, but not one that found the disk full while a
/// page of it is missing.
pub(crate) fn after_commit(error: redb::CommitError, may_count: bool) -> Error {
    match error {
        redb::CommitError::Storage(redb::StorageError::Io(error)) if is_full(&error) && !may_count => {
            Error::StorageFull
        }
        redb::CommitError::Storage(redb::StorageError::Io(error)) => Error::OutcomeUnknown { source: error.into() },
        other => Error::OutcomeUnknown { source: other.into() },
    }
}
