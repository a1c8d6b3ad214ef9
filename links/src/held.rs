//! The rows of jobs that were taken from a shared queue.

use millpond::redb::{ReadableTable, TableDefinition};
use millpond::{BoxError, JobId, Millpond, Transaction};
use serde::{Deserialize, Serialize};

use crate::LeaseId;

/// A shared queue and where a job comes from: the job that it became here, and its lease.
const HELD: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("millpond-links/held");
/// A shared queue, and until when all leases last at least that were extended together, in milliseconds since the Unix epoch.
const UNTIL: TableDefinition<&str, u64> = TableDefinition::new("millpond-links/held-until");

type Result<T, E = BoxError> = std::result::Result<T, E>;

/// A job that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The job in this file. `None` if it was put aside.
    pub local: Option<u64>,
    /// The engine's number of the job, and the token of the lease.
    job: u64,
    token: String,
    /// Until when the lease lasts if it is not extended, in milliseconds since the Unix epoch.
    pub until: u64,
}

impl Row {
    pub fn new(local: Option<JobId>, lease: &LeaseId, until: u64) -> Self {
        Self { local: local.map(JobId::get), job: lease.job, token: lease.token.clone(), until }
    }

    pub fn lease(&self) -> LeaseId {
        LeaseId { job: self.job, token: self.token.clone() }
    }
}

/// All rows of a shared queue, with the name that each has, and how long their leases last. A row that cannot be read is left out: its lease ends.
pub(crate) async fn all(pond: &Millpond, queue: &str) -> Result<Vec<(String, Row)>, millpond::Error> {
    let queue = queue.to_owned();
    let rows = pond.transaction(move |tx| {
        let together = tx.open_table(UNTIL)?.get(&*queue)?.map_or(0, |until| until.value());
        let table = tx.open_table(HELD)?;
        let mut rows = Vec::new();
        for row in table.range((&*queue, "")..)? {
            let (key, row) = row?;
            let (of, source) = key.value();
            if of != queue {
                break;
            }
            if let Ok(row) = postcard::from_bytes::<Row>(row.value()) {
                let until = row.until.max(together);
                rows.push((source.to_owned(), Row { until, ..row }));
            }
        }
        Ok(rows)
    });
    rows.await
}

pub(crate) fn put(tx: &Transaction<'_>, queue: &str, source: &str, row: &Row) -> Result<()> {
    tx.open_table(HELD)?.insert((queue, source), &*postcard::to_stdvec(row)?)?;
    Ok(())
}

pub(crate) fn remove(tx: &Transaction<'_>, queue: &str, sources: &[String]) -> Result<()> {
    let mut table = tx.open_table(HELD)?;
    for source in sources {
        table.remove((queue, &**source))?;
    }
    Ok(())
}

/// All leases of the queue last until then.
pub(crate) fn set_until(tx: &Transaction<'_>, queue: &str, until: u64) -> Result<()> {
    tx.open_table(UNTIL)?.insert(queue, until)?;
    Ok(())
}

/// Writes a row as it is, to see whether the file can be written.
pub(crate) fn touch(tx: &Transaction<'_>, queue: &str) -> Result<()> {
    let mut table = tx.open_table(UNTIL)?;
    let until = table.get(queue)?.map_or(0, |until| until.value());
    table.insert(queue, until)?;
    Ok(())
}
