//! Version 4 writes what few records have in sections. Records that are there stay as they are until their jobs change:
//! both layouts are read.

use redb::WriteTransaction;

use crate::storage::fault::Fault;

pub(super) fn migrate(_: &WriteTransaction) -> Result<(), Fault> {
    Ok(())
}
