//! Open circuits: a row for each queue and group that its circuit breaker holds. They do not depend on jobs.
//!
//! A row says until when the circuit is open; after that it is half open. A closed circuit has no row.

use redb::ReadableTable;

use super::verifier::Verifier;
use crate::job::{BucketKey, Change, CircuitRow, Opened, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::by_group;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;
use crate::storage::rows::tables_ext::{group_row_key, remove_rows_of};

/// Checks that each row is that of a queue and can be read.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let circuits = verifier.tables().circuits()?;
    verifier.check_rows_by_group::<CircuitRow>(TableName::Circuits, &circuits, "circuit")
}

impl Reader {
    /// The circuits that are open or half open.
    pub fn circuits(&self) -> Result<Vec<(BucketKey, CircuitRow)>, Fault> {
        by_group::read_all(TableName::Circuits, &self.tables().circuits()?)
    }
}

impl Batch<'_> {
    /// A circuit is open.
    pub fn open_circuit(&mut self, opened: &Opened) -> Result<(), Fault> {
        let Opened { key, until, .. } = opened;
        // A number in the file without its name would be another queue's after a restart. A job of the queue has just ended.
        if !self.catalog().is_stored(key.queue) {
            return Ok(());
        }
        self.touch();
        let row = codec::encode(&CircuitRow { until: until.age });
        self.tables.circuits()?.insert(group_row_key(key), row.as_slice())?;
        self.changes.push(Change::CircuitOpened { key: key.clone(), until: *until });
        Ok(())
    }

    /// A circuit is closed. Returns false if the file says so already.
    pub fn close_circuit(&mut self, key: &BucketKey) -> Result<bool, Fault> {
        // Dispatch is told in any case: if it was not known after an error of the disk whether a commit was made, dispatch may
        // still hold what the file does not.
        self.changes.push(Change::CircuitClosed { key: key.clone() });
        if self.tables.circuits()?.get(group_row_key(key))?.is_none() {
            return Ok(false);
        }
        self.touch();
        self.tables.circuits()?.remove(group_row_key(key))?;
        Ok(true)
    }

    /// Removes the circuits of a queue that nobody uses, at most `rows_max` of them. Returns how many.
    pub(super) fn remove_circuits(&mut self, queue: QueueId, rows_max: usize) -> Result<usize, Fault> {
        self.touch();
        remove_rows_of(self.tables.circuits()?, queue, rows_max)
    }
}

/// A circuit that cannot be read is half open from now on: one job is tried before others. A circuit whose queue has no row is
/// removed, because the number will be another queue's.
pub(in crate::storage) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let half_open = CircuitRow { until: batch.now.age };
    by_group::rebuild(batch, TableName::Circuits, Tables::circuits, &half_open)
}
