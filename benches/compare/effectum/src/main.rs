//! The part of the comparison that measures effectum. A program of its own, because effectum's SQLite bindings and those of
//! apalis cannot be linked into one program. The works are the same files as for the others.
//!
//! - `default`: effectum 0.7 sets `synchronous=NORMAL`, and is meant to set WAL, but misspells the pragma as `journal`,
//!   which SQLite ignores. So it has a rollback journal. Each commit syncs the journal, the directory and the file, but not
//!   the removal of the journal, which is the commit: a power cut can bring the journal back and so undo the last commit.
//!   No setting is more durable.
//! - `wal`: the file is switched to WAL beforehand, as the source intends. With NORMAL no commit is synced: a power cut
//!   loses everything after the last checkpoint.

#[path = "../../src/system.rs"]
mod system;
#[path = "../../src/work.rs"]
#[allow(dead_code, reason = "only the other program starts runs")]
mod work;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use effectum::{Job, JobRunner, Queue, RunningJob, Worker};
use rusqlite::Connection;

use crate::system::{Seen, System};

struct Effectum {
    path: PathBuf,
    queue: Queue,
    worker: Mutex<Option<Worker>>,
}

/// The context of a handler; effectum requires `Debug`.
#[derive(Clone)]
struct Context(&'static Seen);

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

async fn noop(job: RunningJob, Context(seen): Context) -> Result<(), effectum::Error> {
    seen.start(&job.payload);
    Ok(())
}

fn job(payload: String) -> Job {
    Job::builder("noop").payload(payload.into_bytes()).build()
}

impl Effectum {
    fn count(&self, query: &str) -> u64 {
        let db = Connection::open(&self.path).expect("a connection");
        db.query_row(query, [], |row| row.get::<_, i64>(0)).expect("a count") as u64
    }
}

impl System for Effectum {
    async fn open(setting: &str, dir: &Path) -> Self {
        let path = dir.join("effectum.sqlite");
        if setting == "wal" {
            let db = Connection::open(&path).expect("a database");
            db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).expect("a pragma");
        }
        let queue = Queue::new(&path).await.expect("a queue");
        let db = Connection::open(&path).expect("a connection");
        let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("a pragma");
        assert_eq!(mode, if setting == "wal" { "wal" } else { "delete" });
        Self { path, queue, worker: Mutex::new(None) }
    }

    async fn enqueue(&self, payload: String) {
        self.queue.add_job(job(payload)).await.expect("it is stored");
    }

    async fn enqueue_many(&self, payloads: Vec<String>) {
        self.queue.add_jobs(payloads.into_iter().map(job).collect()).await.expect("they are stored");
    }

    async fn start_worker(&self, concurrency: usize, seen: &'static Seen) {
        let noop = JobRunner::builder("noop", noop).build();
        // Fetches again when half of the jobs are done, like effectum's stress test.
        let worker = Worker::builder(&self.queue, Context(seen))
            .min_concurrency((concurrency as u16).div_ceil(2))
            .max_concurrency(concurrency as u16)
            .jobs([noop])
            .build();
        *self.worker.lock().expect("no thread panics while it holds the lock") = Some(worker.await.expect("a worker"));
    }

    async fn unfinished(&self) -> u64 {
        // Readers slow its writer down, so the file is not read while the worker reports running jobs.
        let counts = self.worker.lock().expect("no thread panics while it holds the lock").as_ref().map(Worker::counts);
        match counts.map_or(0, |counts| counts.started - counts.finished) {
            0 => self.count("SELECT count(*) FROM active_jobs"),
            running => running,
        }
    }

    async fn finished(&self) -> Option<u64> {
        Some(self.count("SELECT count(*) FROM jobs WHERE status = 'succeeded'"))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["sqlite-version"] {
        println!("{}", rusqlite::version());
        return;
    }
    work::run::<Effectum>(&args);
}
