//! The schema version of the file, which is checked before anything is written, and what is read into memory at the
//! opening.

use std::collections::HashSet;
use std::sync::Arc;

use redb::{ReadTransaction, WriteTransaction};

use crate::error::Error;
use crate::job::check_name;
use crate::storage::life::{steered, topics};
use crate::storage::rows::batch::{Batch, COUNTERS, Counters};
use crate::storage::rows::catalog::Catalog;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::migrations;
use crate::storage::rows::queue_row::QueueRow;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::{ReadTables, Tables};
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::version::{KNOWN_VERSION, SCHEMA_VERSION, VERSION_KEY, raise_to};

/// The schema version of the file; `None` if it has no tables of ours.
pub(in crate::storage) fn version(txn: &ReadTransaction) -> Result<Option<u32>, Fault> {
    let meta = match ReadTables::new(txn).meta() {
        Ok(meta) => meta,
        Err(Fault::Redb(redb::Error::TableDoesNotExist(_))) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    match meta.get_row(VERSION_KEY)? {
        Some(row) => Ok(Some(codec::decode(TableName::Meta, 0, &row)?)),
        None => Err(Fault::corrupt(TableName::Meta, 0, "the schema version is missing")),
    }
}

pub(in crate::storage) fn check(found: u32) -> Result<(), Error> {
    if found > KNOWN_VERSION {
        return Err(Error::TooNew { found, known: KNOWN_VERSION });
    }
    Ok(())
}

/// Writes the schema into a file that has none of our tables.
pub(in crate::storage) fn create(batch: &mut Batch<'_>) -> Result<(), Fault> {
    batch.create_tables()?;
    raise_to(&mut batch.tables, SCHEMA_VERSION)
}

/// Migrates a file of an older version to this one.
pub(in crate::storage) fn migrate(txn: &WriteTransaction, from: u32) -> Result<(), Fault> {
    migrations::migrate(txn, from)?;
    raise_to(&mut Tables::new(txn), SCHEMA_VERSION)
}

/// Whether the file has every table of this build.
pub(in crate::storage) fn is_complete(txn: &ReadTransaction) -> Result<bool, Fault> {
    ReadTables::new(txn).are_complete()
}

/// Creates the tables that a file of this version does not have, because an earlier build of the same version wrote it.
pub(in crate::storage) fn complete(txn: &WriteTransaction) -> Result<(), Fault> {
    Tables::new(txn).create_all()
}

/// Reads what is kept in memory: names, queue rows, counters.
pub(in crate::storage) fn load(txn: &ReadTransaction, catalog: &Catalog) -> Result<Counters, Fault> {
    use redb::ReadableTable;
    let tables = ReadTables::new(txn);
    let mut stored = HashSet::new();
    let mut steered = steered::read(&tables)?;
    for row in tables.queues()?.iter()? {
        let (id, row) = row?;
        stored.insert(id.value());
        let mut row: QueueRow = codec::decode(TableName::Queues, u64::from(id.value()), row.value())?;
        row.steered = steered.remove(&id.value());
        catalog.restore_queue(id.value(), row);
    }
    for row in tables.kinds()?.iter()? {
        let (id, name) = row?;
        let name = std::str::from_utf8(name.value()).ok().filter(|name| check_name("kind", name).is_ok());
        let name =
            name.ok_or_else(|| Fault::corrupt(TableName::Kinds, u64::from(id.value()), "the name is invalid"))?;
        catalog.restore_kind(id.value(), name);
    }
    if tables.consumers()?.iter()?.next().is_some() {
        catalog.note_consumers();
    }
    catalog.topics.set(Arc::new(topics::read(&tables, |queue| stored.contains(&queue))?));
    // Frees numbers that the file does not have, so every name must be known by now.
    catalog.reloaded(&stored);
    match tables.meta()?.get_row(COUNTERS)? {
        Some(row) => codec::decode(TableName::Meta, 1, &row),
        None => Err(Fault::corrupt(TableName::Meta, 1, "the counters are missing")),
    }
}
