//! Version 3 keeps state for plugins: two tables, empty at first. Jobs' records may bear what plugins
//! brought about from then on, in rows of a version of their own; those that are there stay as they are.

use redb::{TableDefinition, WriteTransaction};

use crate::storage::rows::fault::Fault;

const PLUGIN_STATE: TableDefinition<'static, (&str, &str), &[u8]> = TableDefinition::new("millpond/plugin_state");
const PLUGIN_USAGE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("millpond/plugin_usage");

pub(in crate::storage) fn migrate(txn: &WriteTransaction) -> Result<(), Fault> {
    txn.open_table(PLUGIN_STATE)?;
    txn.open_table(PLUGIN_USAGE)?;
    Ok(())
}
