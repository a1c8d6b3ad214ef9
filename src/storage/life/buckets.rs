//! Token buckets: which of their rows cannot be read, and what is done about it. Buckets do not depend on jobs.

use redb::ReadableTable;

use super::verifier::Verifier;
use crate::job::{BucketState, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::remove_rows_of;

/// Checks that each bucket can be read.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.tables().rates()?.iter()? {
        verifier.work.rows += 1;
        let (key, row) = row?;
        let (queue, group) = key.value();
        if !verifier.queues.contains_key(&queue) {
            verifier.problem(format!("there is a bucket of queue number {queue}, group {group:?}, which has no row"));
        }
        if codec::decode::<BucketState>(TableName::Rates, u64::from(queue), row.value()).is_err() {
            let queue = verifier.name(queue);
            verifier.problem(format!("the bucket of {queue}, group {group:?}, cannot be read"));
        }
    }
    Ok(())
}

impl Batch<'_> {
    /// Removes buckets of a queue that nobody uses, at most `rows_max` of them. Returns how many.
    pub(super) fn remove_buckets(&mut self, queue: QueueId, rows_max: usize) -> Result<usize, Fault> {
        self.touch();
        remove_rows_of(self.tables.rates()?, queue, rows_max)
    }
}

/// A bucket that cannot be read is replaced by an empty one, which fills from now on: it may slow a queue down, but it
/// never lets more jobs start. A bucket whose queue has no row is removed, because the number will be another queue's.
pub(in crate::storage) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let catalog = batch.catalog();
    let (mut damaged, mut stray) = (Vec::new(), Vec::new());
    for row in batch.tables.rates()?.iter()? {
        let (key, row) = row?;
        let (queue, group) = key.value();
        if !catalog.is_stored(queue) {
            stray.push((queue, group.to_owned()));
        } else if codec::decode::<BucketState>(TableName::Rates, u64::from(queue), row.value()).is_err() {
            damaged.push((queue, group.to_owned(), row.value().to_vec()));
        }
    }
    for (queue, group) in stray {
        batch.touch();
        batch.tables.rates()?.remove((queue, &*group))?;
    }
    for (queue, group, row) in damaged {
        batch.quarantine_row_of(TableName::Rates, &(queue, &*group), &row, (Some(queue), None))?;
        let empty = BucketState { tokens: 0.0, at: batch.now.age, held_until: None };
        batch.tables.rates()?.insert((queue, &*group), codec::encode(&empty).as_slice())?;
    }
    Ok(())
}
