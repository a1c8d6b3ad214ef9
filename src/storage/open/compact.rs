//! Compaction of the file. redb reuses free pages, but it gives space in the middle of the file back to the system only
//! while nothing else uses the database.

use redb::CompactionError;

use crate::error::Error;
use crate::storage::open::store::Store;
use crate::storage::rows::fault::Fault;

/// How large a file was before a [compaction](crate::Millpond::compact), and is now.
///
/// ```
/// # use doc_prelude::*;
/// fn saved(compacted: &Compacted) -> u64 {
///     compacted.before.saturating_sub(compacted.after)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Its size before, in bytes.
    pub before: u64,
    /// Its size now, in bytes.
    pub after: u64,
}

impl Store {
    /// The file's size. `None` for an attached database, which only the application can compact.
    pub fn file_bytes(&self) -> Option<u64> {
        self.watched()?.len().ok()
    }

    /// About how many bytes of the file are in use, the application's tables included. This reads all of them.
    ///
    /// Pages that redb frees with its next commit do not count, although they are still allocated: those that a reader kept
    /// can be most of the file. So the pages of the trees are counted. A page with a large value counts as one page of the
    /// usual size, so the result is at least as many bytes as are stored.
    pub fn used_bytes(&self) -> Result<u64, Error> {
        let txn = self.begin_write()?;
        let stats = txn.stats().map_err(Fault::from)?;
        self.abort(txn)?;
        let pages = (stats.leaf_pages() + stats.branch_pages()) * stats.page_size() as u64;
        Ok(pages.max(stats.stored_bytes() + stats.metadata_bytes()))
    }

    /// Moves the pages in use to the front of the file and cuts off the rest. Reads wait meanwhile. If a read is under
    /// way, this does nothing and returns `None`.
    pub fn compact(&self) -> Result<Option<Compacted>, Error> {
        let Some(before) = self.file_bytes() else { return Ok(None) };
        let compacted = self.alone(|db| match db.compact() {
            Ok(_) => Ok(true),
            Err(CompactionError::Storage(error)) => Err(Fault::from(error).into()),
            Err(_) => Ok(false),
        })?;
        let after = self.file_bytes().filter(|_| compacted == Some(true));
        Ok(after.map(|after| Compacted { before, after }))
    }
}
