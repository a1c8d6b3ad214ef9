//! Tables that have a row for a queue, or for each of its groups: token buckets and circuits. Their rows do not depend on jobs.

use std::sync::Arc;

use redb::{ReadOnlyTable, ReadableTable, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::{BucketKey, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;

/// (queue, group or nothing).
type Key = (QueueId, &'static str);

/// Opens such a table for writing.
type Open<'t> = for<'b> fn(&'b mut Tables<'t>) -> Result<&'b mut Table<'t, Key, &'static [u8]>, Fault>;

/// All rows of such a table.
pub(in crate::storage) fn read_all<T: DeserializeOwned>(
    name: TableName,
    table: &ReadOnlyTable<Key, &'static [u8]>,
) -> Result<Vec<(BucketKey, T)>, Fault> {
    let rows = table.iter()?.map(|row| {
        let (key, row) = row?;
        let (queue, group) = key.value();
        let group = (!group.is_empty()).then(|| Arc::from(group));
        Ok((BucketKey { queue, group }, codec::decode(name, u64::from(queue), row.value())?))
    });
    rows.collect()
}

/// Puts `instead` in the place of each row that cannot be read. A row whose queue has no row is removed, because the number will
/// be another queue's.
pub(in crate::storage) fn rebuild<'t, T: DeserializeOwned + Serialize>(
    batch: &mut Batch<'t>,
    name: TableName,
    open: Open<'t>,
    instead: &T,
) -> Result<(), Fault> {
    let catalog = batch.catalog();
    let (mut damaged, mut stray) = (Vec::new(), Vec::new());
    for row in open(&mut batch.tables)?.iter()? {
        let (key, row) = row?;
        let (queue, group) = key.value();
        if !catalog.is_stored(queue) {
            stray.push((queue, group.to_owned()));
        } else if codec::decode::<T>(name, u64::from(queue), row.value()).is_err() {
            damaged.push((queue, group.to_owned(), row.value().to_vec()));
        }
    }
    for (queue, group) in stray {
        batch.touch();
        open(&mut batch.tables)?.remove((queue, &*group))?;
    }
    for (queue, group, row) in damaged {
        batch.quarantine_row_of(name, &(queue, &*group), &row, (Some(queue), None))?;
        open(&mut batch.tables)?.insert((queue, &*group), codec::encode(instead).as_slice())?;
    }
    Ok(())
}
