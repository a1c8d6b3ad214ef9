//! Migrations from each older layout to the next, one file per step. All steps that a file needs are made in one
//! transaction, so a crash leaves the file either old or new.
//!
//! A step is never changed after its release. It names the tables as they were in its version, not as in `tables.rs`, and
//! it writes what the version after it wrote.

pub(in crate::storage) mod old_records;
mod v1_to_v2;
mod v2_to_v3;
mod v3_to_v4;

use redb::{Key, ReadableTable, TableDefinition, WriteTransaction};

use crate::storage::rows::fault::Fault;

/// Migrates a file of version `from` to the current version. It does not write the version number.
pub(in crate::storage) fn migrate(txn: &WriteTransaction, from: u32) -> Result<(), Fault> {
    if from < 2 {
        v1_to_v2::migrate(txn)?;
    }
    if from < 3 {
        v2_to_v3::migrate(txn)?;
    }
    if from < 4 {
        v3_to_v4::migrate(txn)?;
    }
    Ok(())
}

/// A table whose values are rows as bytes.
type Rows<K> = TableDefinition<'static, K, &'static [u8]>;

/// Calls `visit` with each key and row of a table.
fn each_row<K: Key + 'static>(
    txn: &WriteTransaction,
    rows: Rows<K>,
    mut visit: impl FnMut(K::SelfType<'_>, &[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for row in txn.open_table(rows)?.iter()? {
        let (key, row) = row?;
        visit(key.value(), row.value())?;
    }
    Ok(())
}
