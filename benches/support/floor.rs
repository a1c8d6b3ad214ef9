//! The same work by raw redb.

use std::ops::Bound;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::measure::{Clock, Sample};

/// The number of bytes of a payload, unless the work says otherwise.
pub const PAYLOAD: usize = 128;

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

enum Message {
    /// Stores a job, answers its caller, and has the job run if there are threads that run jobs.
    Insert(Sender<u64>, Instant),
    Remove(u64),
}

/// A writer thread that commits all waiting calls together, answers them, and hands the jobs over in memory. Returns how
/// many commits it made.
fn writer(
    db: Arc<Database>,
    inbox: Receiver<Message>,
    runs: Option<Sender<(u64, Instant)>>,
) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let (mut id, mut commits) = (0, 0);
        let payload = [7; PAYLOAD];
        while let Ok(first) = inbox.recv() {
            let messages: Vec<_> = std::iter::once(first).chain(inbox.try_iter().take(BATCH - 1)).collect();
            let mut stored = Vec::new();
            let txn = db.begin_write().expect("a transaction");
            {
                let mut table = txn.open_table(JOBS).expect("a table");
                for message in messages {
                    match message {
                        Message::Insert(caller, called) => {
                            id += 1;
                            table.insert(id, payload.as_slice()).expect("an insert");
                            stored.push((id, caller, called));
                        }
                        Message::Remove(id) => {
                            table.remove(id).expect("a removal").expect("it was there");
                        }
                    }
                }
            }
            txn.commit().expect("a commit");
            commits += 1;
            for (id, caller, called) in stored {
                if let Some(runs) = &runs {
                    runs.send((id, called)).expect("threads run jobs");
                }
                caller.send(id).expect("it waits");
            }
        }
        commits
    })
}

fn producers(sender: &Sender<Message>, producers: u64, jobs: u64) -> Vec<thread::JoinHandle<()>> {
    let producer = |_| {
        let sender = sender.clone();
        thread::spawn(move || {
            let (reply, answer) = bounded(1);
            for _ in 0..jobs / producers {
                sender.send(Message::Insert(reply.clone(), Instant::now())).expect("the writer runs");
                answer.recv().expect("it answers");
            }
        })
    };
    (0..producers).map(producer).collect()
}

pub fn enqueue(count: u64, jobs: u64) -> Sample {
    let (_dir, db) = open();
    let (sender, receiver) = bounded(4_096);
    let writer = writer(db, receiver, None);
    let clock = Clock::start(0);
    for producer in producers(&sender, count, jobs) {
        producer.join().expect("it ends");
    }
    let mut sample = clock.stop(0);
    drop(sender);
    sample.commits = writer.join().expect("it ends");
    sample
}

/// Producers, and two threads that run the stored jobs, which do nothing.
pub fn mixed_traffic(count: u64, jobs: u64) -> Sample {
    let (_dir, db) = open();
    let (sender, receiver) = bounded(4_096);
    let (runs, started) = bounded::<(u64, Instant)>(4_096);
    let writer = writer(db, receiver, Some(runs));
    let clock = Clock::start(0);
    let producers = producers(&sender, count, jobs);
    let runners: Vec<_> = (0..2)
        .map(|_| {
            let (started, sender) = (started.clone(), sender.clone());
            thread::spawn(move || {
                let mut latencies = Vec::new();
                while (latencies.len() as u64) < jobs / 2 {
                    let (id, called) = started.recv().expect("there are more");
                    latencies.push(called.elapsed());
                    sender.send(Message::Remove(id)).expect("the writer runs");
                }
                latencies
            })
        })
        .collect();
    drop(sender);
    for producer in producers {
        producer.join().expect("it ends");
    }
    let latencies = runners.into_iter().flat_map(|runner| runner.join().expect("it ends")).collect();
    let commits = writer.join().expect("it ends");
    clock.stop(commits).with_latencies(latencies)
}

/// One insert for each commit, on the caller's thread.
pub fn lone_commits(jobs: u64) -> Sample {
    let (_dir, db) = open();
    let clock = Clock::start(0);
    let mut latencies = Vec::new();
    for id in 0..jobs {
        pause();
        let start = Instant::now();
        let txn = db.begin_write().expect("a transaction");
        txn.open_table(JOBS).expect("a table").insert(id, [7; PAYLOAD].as_slice()).expect("an insert");
        txn.commit().expect("a commit");
        latencies.push(start.elapsed());
    }
    clock.stop(jobs).with_latencies(latencies)
}

/// The pause between two jobs of an idle queue.
pub fn pause() {
    thread::sleep(Duration::from_millis(2));
}

/// The best that redb can do for a bulk in the order of its keys: each leaf is built once for all its rows.
pub fn bulk_by_runs(jobs: u64) -> Sample {
    let (_dir, db) = open();
    let clock = Clock::start(0);
    for first in (0..jobs).step_by(BATCH) {
        let txn = db.begin_write().expect("a transaction");
        {
            let mut table = txn.open_table(JOBS).expect("a table");
            let mut cursor = table.upper_bound_mut(Bound::<u64>::Unbounded).expect("a cursor");
            for id in first..(first + BATCH as u64).min(jobs) {
                cursor.insert_before(id, [7; PAYLOAD].as_slice()).expect("an insert");
            }
            cursor.close().expect("the run is written");
        }
        txn.commit().expect("a commit");
    }
    clock.stop(jobs.div_ceil(BATCH as u64))
}

pub fn bulk(jobs: u64, payload: usize) -> Sample {
    let (_dir, db) = open();
    let clock = Clock::start(0);
    let commits = fill(&db, jobs, payload);
    clock.stop(commits)
}

fn fill(db: &Database, jobs: u64, payload: usize) -> u64 {
    let payload = vec![7; payload];
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
    jobs.div_ceil(BATCH as u64)
}

pub fn drain(jobs: u64) -> Sample {
    let (_dir, db) = open();
    fill(&db, jobs, PAYLOAD);
    let clock = Clock::start(0);
    let commits = empty(&db);
    clock.stop(commits)
}

pub fn fill_and_drain(jobs: u64) -> Sample {
    let (_dir, db) = open();
    let clock = Clock::start(0);
    let commits = fill(&db, jobs, PAYLOAD) + empty(&db);
    clock.stop(commits)
}

/// Reads the jobs and removes each, a thousand for each commit.
fn empty(db: &Database) -> u64 {
    for commits in 0.. {
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
            return commits;
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
    unreachable!("it ends when the table is empty")
}
