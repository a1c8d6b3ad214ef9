//! What raw redb takes for the same work.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::PAYLOAD;

const JOBS: TableDefinition<u64, &[u8]> = TableDefinition::new("jobs");
const BATCH: usize = 1_000;

fn open() -> (tempfile::TempDir, Arc<Database>) {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let db = Database::builder().set_cache_size(32 << 20).create(dir.path().join("floor.redb")).expect("a database");
    let txn = db.begin_write().expect("a transaction");
    txn.open_table(JOBS).expect("a table");
    txn.commit().expect("a commit");
    (dir, Arc::new(db))
}

/// A writer thread that commits what has gathered and answers everyone.
fn writer(db: Arc<Database>, inbox: Receiver<Sender<u64>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut id = 0;
        let payload = [7; PAYLOAD];
        while let Ok(first) = inbox.recv() {
            let callers: Vec<_> = std::iter::once(first).chain(inbox.try_iter().take(BATCH - 1)).collect();
            let txn = db.begin_write().expect("a transaction");
            {
                let mut table = txn.open_table(JOBS).expect("a table");
                for _ in &callers {
                    id += 1;
                    table.insert(id, payload.as_slice()).expect("an insert");
                }
            }
            txn.commit().expect("a commit");
            for caller in callers {
                caller.send(id).expect("it waits");
            }
        }
    })
}

pub fn enqueue(producers: u64, jobs: u64) -> Duration {
    let (_dir, db) = open();
    let (sender, receiver) = bounded(4_096);
    let writer = writer(db, receiver);
    let start = Instant::now();
    let producers: Vec<_> = (0..producers)
        .map(|_| {
            let sender: Sender<Sender<u64>> = sender.clone();
            thread::spawn(move || {
                let (reply, answer) = bounded(1);
                for _ in 0..jobs / producers {
                    sender.send(reply.clone()).expect("the writer lives");
                    answer.recv().expect("it answers");
                }
            })
        })
        .collect();
    for producer in producers {
        producer.join().expect("it ends");
    }
    let took = start.elapsed();
    drop(sender);
    writer.join().expect("it ends");
    took
}

pub fn bulk(jobs: u64) -> Duration {
    let (_dir, db) = open();
    let start = Instant::now();
    fill(&db, jobs);
    start.elapsed()
}

fn fill(db: &Database, jobs: u64) {
    let payload = [7; PAYLOAD];
    for first in (0..jobs).step_by(BATCH) {
        let txn = db.begin_write().expect("a transaction");
        {
            let mut table = txn.open_table(JOBS).expect("a table");
            for id in first..(first + BATCH as u64).min(jobs) {
                table.insert(id, payload.as_slice()).expect("an insert");
            }
        }
        txn.commit().expect("a commit");
    }
}

/// Reads the jobs and removes each, a thousand to a commit.
pub fn drain(jobs: u64) -> Duration {
    let (_dir, db) = open();
    fill(&db, jobs);
    let start = Instant::now();
    loop {
        let read = db.begin_read().expect("a snapshot");
        let table = read.open_table(JOBS).expect("a table");
        let page: Vec<(u64, Vec<u8>)> = table
            .iter()
            .expect("a range")
            .take(BATCH)
            .map(|row| row.map(|(id, payload)| (id.value(), payload.value().to_vec())).expect("a row"))
            .collect();
        drop((table, read));
        if page.is_empty() {
            return start.elapsed();
        }
        let txn = db.begin_write().expect("a transaction");
        {
            let mut table = txn.open_table(JOBS).expect("a table");
            for (id, payload) in page {
                std::hint::black_box(payload);
                table.remove(id).expect("a removal");
            }
        }
        txn.commit().expect("a commit");
    }
}
