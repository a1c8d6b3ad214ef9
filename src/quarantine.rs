//! The quarantine: list the rows that could not be read, export them, restore them, purge them.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use crate::error::Error;
use crate::job::JobId;
use crate::runtime::{Commit, Engine};
use crate::storage::Aside;

/// Rows in one page, at most.
const ROWS_PER_PAGE_MAX: usize = 1_000;

/// Bytes in one page, approximately: a page ends with the row that reaches this.
const BYTES_PER_PAGE: usize = 8 << 20;

/// The rows of the file that could not be read. Each is kept here with its key and its bytes; other jobs are not
/// affected. A job whose record is here does not run until it is [restored](Self::restore). Rows that are derived from
/// jobs' records, such as index entries, were rebuilt.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
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
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Quarantine {
    engine: Arc<Engine>,
}

/// A row that could not be read. Its serialized form is complete: it can be used as an export of the row.
///
/// ```
/// # use doc_prelude::*;
/// fn tell(row: &QuarantinedRow) -> String {
///     let QuarantinedRow { number, table, queue, id, value, why, .. } = row;
///     format!("{number}: job {id:?} of {queue:?}, {} bytes from {table}: {why}", value.len())
/// }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct QuarantinedRow {
    /// Its number, counted from 1 in the order in which rows were quarantined.
    pub number: u64,
    /// The table that it was in; `docs/storage-format.md` says what each table holds.
    pub table: String,
    /// The queue, if the row's key names it.
    pub queue: Option<String>,
    /// The group, if the row's key names it.
    pub group: Option<String>,
    /// The job, if the row's key names it.
    pub id: Option<JobId>,
    /// The row's bytes as they were found. A job's payload is at the end, and often still legible.
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
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert_eq!(pond.quarantine().count()?, 0);
    /// # Ok(()) });
    /// ```
    pub fn count(&self) -> Result<u64, Error> {
        Ok(self.engine.reader()?.quarantined()?)
    }

    /// The rows with numbers above `after` (0 for all), oldest first, up to `limit` (at most 1,000). A page ends early
    /// with the row with which it reaches 8 MiB: only an empty page means that there are no more.
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let rows: Vec<QuarantinedRow> = pond.quarantine().list(0, 100)?;
    /// assert!(rows.is_empty());
    /// # Ok(()) });
    /// ```
    pub fn list(&self, after: u64, limit: usize) -> Result<Vec<QuarantinedRow>, Error> {
        let rows = self.engine.reader()?.quarantine(after, limit.clamp(1, ROWS_PER_PAGE_MAX), BYTES_PER_PAGE)?;
        Ok(rows.into_iter().map(|row| self.describe(row)).collect())
    }

    /// Removes a row permanently. Returns false if there is no row with this number.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert!(!pond.quarantine().purge(1).await?);
    /// # Ok(()) });
    /// ```
    pub fn purge(&self, number: u64) -> Commit<bool> {
        self.engine.change(move |batch| Ok(batch.purge_quarantined(number)?))
    }

    /// Restores a job whose record can be read now, for example by a newer build that knows the record's version, or
    /// because the bytes were not damaged on the disk. If the job has a group, it goes to the group's end. Returns
    /// `None` if there is no row with this number, or if the row is not a job's record.
    ///
    /// # Errors
    /// [`Error::CorruptRecord`] if it still cannot be read; [`Error::NotAllowed`] if a job with this id exists.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert_eq!(pond.quarantine().restore(1).await?, None);
    /// # Ok(()) });
    /// ```
    pub fn restore(&self, number: u64) -> Commit<Option<JobId>> {
        self.engine.change(move |batch| batch.restore_quarantined(number))
    }

    fn describe(&self, row: Aside) -> QuarantinedRow {
        let Aside { number, table, queue, group, id, value, why } = row;
        let queue = queue.map(|queue| self.engine.queue_name(queue).to_string());
        QuarantinedRow { number, table, queue, group, id, value, why }
    }
}

impl std::fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quarantine").finish_non_exhaustive()
    }
}
