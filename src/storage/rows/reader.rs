//! One snapshot of the file. The facets in `life/` and the queries in `read/` read from it.

use crate::storage::rows::tables::ReadTables;
use redb::ReadTransaction;

/// One snapshot of the file.
pub(crate) struct Reader {
    txn: ReadTransaction,
}

impl Reader {
    pub fn new(txn: ReadTransaction) -> Self {
        Self { txn }
    }

    pub(in crate::storage) fn tables(&self) -> ReadTables<'_> {
        ReadTables::new(&self.txn)
    }
}
