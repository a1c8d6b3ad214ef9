//! Raw redb: `Durability::Immediate`, its default, is one fsync for each commit. The cache has 32 MiB, like Millpond's default.

use std::path::Path;
use std::sync::Arc;

use ::redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::floor::Engine;

const JOBS: TableDefinition<u64, &[u8]> = TableDefinition::new("jobs");

/// One table in one file.
#[derive(Clone)]
pub struct Redb(Arc<Database>);

impl Engine for Redb {
    fn create(_: &str, dir: &Path) -> Self {
        let db = Database::builder().set_cache_size(32 << 20).create(dir.join("floor.redb")).expect("a database");
        let txn = db.begin_write().expect("a transaction");
        txn.open_table(JOBS).expect("a table");
        txn.commit().expect("a commit");
        Self(Arc::new(db))
    }

    fn commit(&self, inserts: &[(u64, String)], removals: &[u64]) {
        let mut txn = self.0.begin_write().expect("a transaction");
        txn.set_durability(Durability::Immediate).expect("there is no savepoint");
        {
            let mut table = txn.open_table(JOBS).expect("a table");
            for (id, payload) in inserts {
                table.insert(id, payload.as_bytes()).expect("an insert");
            }
            for id in removals {
                table.remove(id).expect("a removal");
            }
        }
        txn.commit().expect("a commit");
    }

    fn page(&self, rows: usize) -> Vec<(u64, Vec<u8>)> {
        let table = self.0.begin_read().expect("a snapshot").open_table(JOBS).expect("a table");
        let rows = table.iter().expect("a range").take(rows);
        rows.map(|row| row.map(|(id, payload)| (id.value(), payload.value().to_vec())).expect("a row")).collect()
    }

    fn rows(&self) -> u64 {
        let table = self.0.begin_read().expect("a snapshot").open_table(JOBS).expect("a table");
        table.len().expect("a length")
    }
}
