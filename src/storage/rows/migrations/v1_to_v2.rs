//! Version 2 makes unique keys unique. Version 1 only stored them, so several jobs that have not ended can have the same
//! key: the oldest one holds it, and the others continue without it.

use bytes::Bytes;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::{Rows, each_row};
use crate::job::{JobId, QueueId};
use crate::storage::rows::codec::{self, decode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::is_pointer;
use crate::storage::rows::table_name::TableName;
use crate::time::Timestamp;

const READY: Rows<(u32, u8, u64)> = TableDefinition::new("millpond/ready");
const DELAYED: Rows<(u32, u8, u64, u64)> = TableDefinition::new("millpond/delayed");
const MEMBERS: Rows<(u32, &str, u8, u64, u64)> = TableDefinition::new("millpond/members");
const UNIQUE: Rows<(u32, &str)> = TableDefinition::new("millpond/unique");
const UNIQUE_ENDED: TableDefinition<'static, (u64, u32, &str), ()> = TableDefinition::new("millpond/unique_ended");

pub(in crate::storage) fn migrate(txn: &WriteTransaction) -> Result<(), Fault> {
    let mut keys = txn.open_table(UNIQUE)?;
    txn.open_table(UNIQUE_ENDED)?;
    each_row(txn, READY, |(queue, _, id), row| give_key(&mut keys, queue, id, row))?;
    each_row(txn, DELAYED, |(queue, _, _, id), row| give_key(&mut keys, queue, id, row))?;
    each_row(txn, MEMBERS, |(queue, _, _, _, id), row| give_key(&mut keys, queue, id, row))
}

/// A row that cannot be read stays where it is. It is moved to the quarantine when a verb meets it.
fn give_key(
    keys: &mut Table<'_, (u32, &'static str), &'static [u8]>,
    queue: QueueId,
    id: u64,
    row: &[u8],
) -> Result<(), Fault> {
    if is_pointer(row) {
        return Ok(());
    }
    let record = decode_record(TableName::Ready, id, &Bytes::copy_from_slice(row));
    let Some(key) = record.ok().and_then(|record| record.extra?.unique_key) else { return Ok(()) };
    let held = keys.get((queue, key.as_str()))?.map(|row| codec::decode::<Holder>(TableName::Unique, id, row.value()));
    if held.transpose()?.is_none_or(|(holder, _)| id < holder.get()) {
        // Version 1 had no time for which a key is held, so it is held until the job ends.
        let holder: Holder = (JobId::new(id), Timestamp::EPOCH);
        keys.insert((queue, key.as_str()), codec::encode(&holder).as_slice())?;
    }
    Ok(())
}

/// The job that holds a key, and the earliest time at which it can lose it.
type Holder = (JobId, Timestamp);
