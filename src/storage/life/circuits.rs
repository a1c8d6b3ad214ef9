//! Open circuits: a row for each queue and group that its circuit breaker holds. They do not depend on jobs.
//!
//! A row says until when the circuit is open; after that it is half open. A closed circuit has no row.

use std::sync::Arc;

use redb::ReadableTable;

use super::verifier::Verifier;
use crate::job::{BucketKey, Change, CircuitRow, Opened, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::remove_rows_of;

/// Checks that each row is that of a queue and can be read.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.tables().circuits()?.iter()? {
        verifier.work.rows += 1;
        let (key, row) = row?;
        let (queue, group) = key.value();
        if !verifier.queues.contains_key(&queue) {
            verifier.problem(format!("there is a circuit of queue number {queue}, group {group:?}, which has no row"));
        }
        if codec::decode::<CircuitRow>(TableName::Circuits, u64::from(queue), row.value()).is_err() {
            let queue = verifier.name(queue);
            verifier.problem(format!("the circuit of {queue}, group {group:?}, cannot be read"));
        }
    }
    Ok(())
}

impl Reader {
    /// The circuits that are open or half open.
    pub fn circuits(&self) -> Result<Vec<(BucketKey, CircuitRow)>, Fault> {
        let mut circuits = Vec::new();
        for row in self.tables().circuits()?.iter()? {
            let (key, row) = row?;
            let (queue, group) = key.value();
            let group = (!group.is_empty()).then(|| Arc::from(group));
            let row = codec::decode(TableName::Circuits, u64::from(queue), row.value())?;
            circuits.push((BucketKey { queue, group }, row));
        }
        Ok(circuits)
    }
}

fn row_key(key: &BucketKey) -> (QueueId, &str) {
    (key.queue, key.group.as_deref().unwrap_or(""))
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
        self.tables.circuits()?.insert(row_key(key), row.as_slice())?;
        self.changes.push(Change::CircuitOpened { key: key.clone(), until: *until });
        Ok(())
    }

    /// A circuit is closed. Returns false if the file says so already.
    pub fn close_circuit(&mut self, key: &BucketKey) -> Result<bool, Fault> {
        // Dispatch is told in any case: if it was not known after an error of the disk whether a commit was made, dispatch may
        // still hold what the file does not.
        self.changes.push(Change::CircuitClosed { key: key.clone() });
        if self.tables.circuits()?.get(row_key(key))?.is_none() {
            return Ok(false);
        }
        self.touch();
        self.tables.circuits()?.remove(row_key(key))?;
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
    let catalog = batch.catalog();
    let (mut damaged, mut stray) = (Vec::new(), Vec::new());
    for row in batch.tables.circuits()?.iter()? {
        let (key, row) = row?;
        let (queue, group) = key.value();
        if !catalog.is_stored(queue) {
            stray.push((queue, group.to_owned()));
        } else if codec::decode::<CircuitRow>(TableName::Circuits, u64::from(queue), row.value()).is_err() {
            damaged.push((queue, group.to_owned(), row.value().to_vec()));
        }
    }
    for (queue, group) in stray {
        batch.touch();
        batch.tables.circuits()?.remove((queue, &*group))?;
    }
    for (queue, group, row) in damaged {
        batch.quarantine_row_of(TableName::Circuits, &(queue, &*group), &row, (Some(queue), None))?;
        let half_open = CircuitRow { until: batch.now.age };
        batch.tables.circuits()?.insert((queue, &*group), codec::encode(&half_open).as_slice())?;
    }
    Ok(())
}
