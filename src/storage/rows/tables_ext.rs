//! Two short reads on a table of rows: fetch a row, and check whether a key exists. And what a queue has in a table by name.

use crate::job::{BucketKey, QueueId};
use crate::storage::rows::fault::Fault;
use bytes::Bytes;
use redb::{Key, ReadableTable, Table};

/// The two reads that nearly every rule needs, with the row's bytes copied out.
pub(crate) trait RowTable<K: Key + 'static> {
    fn get_row<'a>(&self, key: K::SelfType<'a>) -> Result<Option<Bytes>, Fault>;
    fn has<'a>(&self, key: K::SelfType<'a>) -> Result<bool, Fault>;
}

impl<K: Key + 'static, T: ReadableTable<K, &'static [u8]>> RowTable<K> for T {
    fn get_row<'a>(&self, key: K::SelfType<'a>) -> Result<Option<Bytes>, Fault> {
        Ok(self.get(key)?.map(|row| Bytes::copy_from_slice(row.value())))
    }

    fn has<'a>(&self, key: K::SelfType<'a>) -> Result<bool, Fault> {
        Ok(self.get(key)?.is_some())
    }
}

/// The key of a queue's bucket or circuit, or that of a group: (queue, group or nothing).
pub(in crate::storage) fn group_row_key(key: &BucketKey) -> (QueueId, &str) {
    (key.queue, key.group.as_deref().unwrap_or(""))
}

/// Removes rows of a queue from a table of (queue, name), at most `rows_max` of them. Returns how many.
pub(in crate::storage) fn remove_rows_of(
    table: &mut Table<'_, (QueueId, &'static str), &'static [u8]>,
    queue: QueueId,
    rows_max: usize,
) -> Result<usize, Fault> {
    let rows = table.range((queue, "")..(queue + 1, ""))?.take(rows_max);
    let names: Vec<String> = rows.map(|row| Ok(row?.0.value().1.to_owned())).collect::<Result<_, Fault>>()?;
    for name in &names {
        table.remove((queue, name.as_str()))?;
    }
    Ok(names.len())
}
