//! Version 3 adds two tables for the state of plugins, which are empty at first. From this version on, the records of
//! follow-up jobs of plugins have a row version of their own. Existing records stay as they are.

use redb::{TableDefinition, WriteTransaction};

use crate::storage::rows::fault::Fault;

const PLUGIN_STATE: TableDefinition<'static, (&str, &str), &[u8]> = TableDefinition::new("millpond/plugin_state");
const PLUGIN_USAGE: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("millpond/plugin_usage");

pub(in crate::storage) fn migrate(txn: &WriteTransaction) -> Result<(), Fault> {
    txn.open_table(PLUGIN_STATE)?;
    txn.open_table(PLUGIN_USAGE)?;
    Ok(())
}
