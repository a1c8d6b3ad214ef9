//! The quarantine: see what could not be read, export it, restore it, purge it.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::error::Error;
use crate::job::JobId;
use crate::runtime::{Commit, Engine};
use crate::storage::Aside;

/// Rows in one page, at most.
const ROWS_PER_PAGE_MAX: usize = 1_000;

/// Their bytes, about: a page ends with the row that reaches this.
const BYTES_PER_PAGE: usize = 8 << 20;

/// Rows of the file that could not be read. Each is kept with its key and its bytes, and the others
/// go on without it: what was a job's record waits here for somebody to look at it; what was derived
/// from jobs' records (an index entry, a group's row, a bucket) has been made anew.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let quarantine = pond.quarantine();
/// let mut after = 0;
/// loop {
///     let page = quarantine.list(after, 100)?;
///     let Some(last) = page.last() else { break };
///     after = last.number;
///     for row in &page {
///         println!("{}", serde_json::to_string(row)?); // all of it, to be kept elsewhere
///         quarantine.purge(row.number).await?;
///     }
/// }
/// assert_eq!(quarantine.count()?, 0);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Quarantine {
    engine: Arc<Engine>,
}

/// A row that could not be read. Serialized it is an export: nothing of the row is left out.
///
/// ```
/// # use millpond::QuarantinedRow;
/// fn tell(row: &QuarantinedRow) -> String {
///     let QuarantinedRow { number, table, queue, id, value, why, .. } = row;
///     format!("{number}: job {id:?} of {queue:?}, {} bytes from {table}: {why}", value.len())
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct QuarantinedRow {
    /// Its number, counted from 1 in the order in which rows were set aside.
    pub number: u64,
    /// The table it lay in; `docs/storage-format.md` says what each holds.
    pub table: String,
    /// The queue, if its key tells.
    pub queue: Option<String>,
    /// The group, if its key tells.
    pub group: Option<String>,
    /// The job, if its key tells.
    pub id: Option<JobId>,
    /// The row as it was found. Most damage leaves a payload legible: it stands at the end.
    pub value: Bytes,
    /// What is wrong with it.
    pub why: String,
}

impl Quarantine {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// How many rows are in quarantine.
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # let pond = in_memory(&ManualClock::new())?;
    /// assert_eq!(pond.quarantine().count()?, 0);
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn count(&self) -> Result<u64, Error> {
        Ok(self.engine.store.reader()?.quarantined()?)
    }

    /// The rows behind number `after` (0: from the first), oldest first, up to `limit` (at most 1,000). It ends early
    /// with the row that makes it 8 MiB: only an empty answer says that there are no more.
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let rows: Vec<QuarantinedRow> = pond.quarantine().list(0, 100)?;
    /// assert!(rows.is_empty());
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn list(&self, after: u64, limit: usize) -> Result<Vec<QuarantinedRow>, Error> {
        let rows = self.engine.store.reader()?.quarantine(after, limit.clamp(1, ROWS_PER_PAGE_MAX), BYTES_PER_PAGE)?;
        Ok(rows.into_iter().map(|row| self.describe(row)).collect())
    }

    /// Removes a row for good. False if there is none of this number (any more).
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// assert!(!pond.quarantine().purge(1).await?);
    /// # Ok(()) }
    /// ```
    pub fn purge(&self, number: u64) -> Commit<bool> {
        self.engine.change(move |batch| Ok(batch.purge_quarantined(number)?))
    }

    /// Puts a job back whose record can be read after all: a newer build knows its version, or what
    /// read it wrongly was not the disk. It joins the tail of its group, if it has one. `None` if there
    /// is no row of this number, or it is no job's record.
    ///
    /// # Errors
    /// [`Error::CorruptRecord`] if it still cannot be read; [`Error::NotAllowed`] if there is such a job.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// assert_eq!(pond.quarantine().restore(1).await?, None);
    /// # Ok(()) }
    /// ```
    pub fn restore(&self, number: u64) -> Commit<Option<JobId>> {
        self.engine.change(move |batch| batch.restore_quarantined(number))
    }

    fn describe(&self, row: Aside) -> QuarantinedRow {
        let Aside { number, table, queue, group, id, value, why } = row;
        let queue = queue.map(|queue| self.engine.store.catalog.queue_name(queue).to_string());
        QuarantinedRow { number, table, queue, group, id, value, why }
    }
}

impl std::fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quarantine").finish_non_exhaustive()
    }
}
