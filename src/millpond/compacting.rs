//! The compaction of the file at the caller's request.

use super::Millpond;
use crate::runtime::{Commit, compact};
use crate::storage::Compacted;

impl Millpond {
    /// Moves what is in use of the file to its front, and gives the rest back to the system, now. Calls that write, and reads,
    /// wait until it is done, which takes about ten seconds for 256 MiB in use on a slow disk. A queue that is not in use does this
    /// [by itself](crate::Builder::compaction) if little of the file is in use.
    ///
    /// Returns `None`, and does nothing, if a read of the file was under way or if the database was
    /// [attached](crate::Builder::attach). It can be called again.
    ///
    /// # Errors
    /// [`Error::Degraded`](crate::Error::Degraded), storage errors, [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let dir = tempfile::tempdir()?;
    /// # let pond = Millpond::open(dir.path().join("app.redb"))?;
    /// if let Some(Compacted { before, after, .. }) = pond.compact().await? {
    ///     println!("{before} bytes before, {after} now");
    /// }
    /// # Ok(()) });
    /// ```
    pub fn compact(&self) -> Commit<Option<Compacted>> {
        compact(self.engine().clone())
    }
}
