//! Plain SQLite through rusqlite: a table with a text column, and nothing else.
//!
//! - `full` and `single`: `journal_mode=WAL`, `synchronous=FULL`, one fsync of the log for each commit.
//! - `default`: the settings of a new connection, a rollback journal and FULL. Four fsyncs for each commit: the journal twice,
//!   its directory, the file. The removal of the journal, which is the commit, is not synced (that would be EXTRA): a power
//!   cut can bring the journal back and so undo the last commit.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use crate::floor::Engine;

/// One connection that writes, and one that counts.
#[derive(Clone)]
pub struct Sqlite {
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
}

fn pragma(db: &Connection, name: &str) -> String {
    db.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
        .map(|value| format!("{value:?}"))
        .expect("a pragma")
}

impl Engine for Sqlite {
    fn create(setting: &str, dir: &Path) -> Self {
        let path = dir.join("plain.sqlite");
        let writer = Connection::open(&path).expect("a database");
        if setting != "default" {
            writer.pragma_update(None, "journal_mode", "WAL").expect("a pragma");
            writer.pragma_update(None, "synchronous", "FULL").expect("a pragma");
        }
        let mode = if setting == "default" { "delete" } else { "wal" };
        assert_eq!(pragma(&writer, "journal_mode"), format!("Text({mode:?})"));
        assert_eq!(pragma(&writer, "synchronous"), "Integer(2)", "2 is FULL");
        writer.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, payload TEXT NOT NULL)", []).expect("a table");
        let reader = Connection::open(&path).expect("a second connection");
        Self { writer: Arc::new(Mutex::new(writer)), reader: Arc::new(Mutex::new(reader)) }
    }

    fn commit(&self, inserts: &[(u64, String)], removals: &[u64]) {
        let mut db = self.writer.lock().expect("no thread panics while it holds the lock");
        let txn = db.transaction().expect("a transaction");
        {
            let mut insert = txn.prepare_cached("INSERT INTO jobs (id, payload) VALUES (?1, ?2)").expect("a statement");
            for (id, payload) in inserts {
                insert.execute((*id as i64, payload)).expect("an insert");
            }
            let mut delete = txn.prepare_cached("DELETE FROM jobs WHERE id = ?1").expect("a statement");
            for id in removals {
                delete.execute([*id as i64]).expect("a removal");
            }
        }
        txn.commit().expect("a commit");
    }

    fn page(&self, rows: usize) -> Vec<(u64, Vec<u8>)> {
        let db = self.writer.lock().expect("no thread panics while it holds the lock");
        let mut select = db.prepare_cached("SELECT id, payload FROM jobs ORDER BY id LIMIT ?1").expect("a statement");
        let page = select
            .query_map([rows as i64], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, String>(1)?.into_bytes())));
        page.expect("a query").map(|row| row.expect("a row")).collect()
    }

    fn rows(&self) -> u64 {
        let db = self.reader.lock().expect("no thread panics while it holds the lock");
        db.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0)).expect("a count") as u64
    }
}
