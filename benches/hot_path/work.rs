//! The pieces of work, by the queue without threads and by redb alone.

use std::future::Future;
use std::ops::Bound;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use millpond::testing::{ManualClock, Stepper, open_stepped};
use millpond::{Job, Millpond, NewJob};
use redb::backends::InMemoryBackend;
use redb::{Database, TableDefinition};
use tokio::runtime::Runtime;

pub const WORK: [&str; 8] = [
    "redb: insert by 32",
    "redb: insert by 1000",
    "redb: insert and remove",
    "redb: the same by runs",
    "enqueue one by one",
    "enqueue by 1000",
    "enqueue and run",
    "app transactions",
];

const PAYLOAD: [u8; 128] = [7; 128];
const BATCH: u64 = 1_000;
const JOBS: TableDefinition<u64, &[u8]> = TableDefinition::new("jobs");

pub fn run(work: &str, jobs: u64) {
    match work {
        "redb: insert by 32" => floor(jobs, 32, &[Step::Insert]),
        "redb: insert by 1000" => floor(jobs, BATCH, &[Step::Insert]),
        "redb: insert and remove" => floor(jobs, BATCH, &[Step::Insert, Step::Remove]),
        "redb: the same by runs" => floor(jobs, BATCH, &[Step::InsertRun, Step::RemoveRun]),
        "enqueue one by one" => Bench::open().enqueue(jobs, 32),
        "enqueue by 1000" => Bench::open().enqueue_many(jobs),
        "enqueue and run" => {
            let mut bench = Bench::open();
            bench.start_worker();
            bench.enqueue_many(jobs);
            bench.work_off(jobs);
        }
        "app transactions" => Bench::open().transactions(jobs, 32),
        other => panic!("{other}?"),
    }
}

#[derive(Clone, Copy)]
enum Step {
    Insert,
    Remove,
    InsertRun,
    RemoveRun,
}

/// Runs each step for all jobs, with so many jobs in a commit.
fn floor(jobs: u64, at_once: u64, steps: &[Step]) {
    let db = Database::builder().create_with_backend(InMemoryBackend::new()).expect("a database");
    for step in steps {
        for first in (0..jobs).step_by(at_once as usize) {
            let txn = db.begin_write().expect("a transaction");
            {
                let mut table = txn.open_table(JOBS).expect("a table");
                let ids = first..(first + at_once).min(jobs);
                match step {
                    Step::Insert => ids.for_each(|id| drop(table.insert(id, PAYLOAD.as_slice()).expect("an insert"))),
                    Step::Remove => ids.for_each(|id| drop(table.remove(id).expect("a removal"))),
                    Step::InsertRun => {
                        let mut cursor = table.upper_bound_mut(Bound::<u64>::Unbounded).expect("a cursor");
                        ids.for_each(|id| cursor.insert_before(id, PAYLOAD.as_slice()).expect("an insert"));
                        cursor.close().expect("the run is written");
                    }
                    Step::RemoveRun => table.retain_in(ids, |_, _| false).expect("a removal"),
                }
            }
            txn.commit().expect("a commit");
        }
    }
}

struct Bench {
    pond: Millpond,
    steps: Stepper,
    runtime: Runtime,
}

fn job() -> NewJob {
    NewJob::raw("noop", Bytes::from_static(&PAYLOAD))
}

impl Bench {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let memory = std::sync::Mutex::new(Some(InMemoryBackend::new()));
        let builder = Millpond::builder().clock(ManualClock::new()).runtime(runtime.handle().clone()).seed(1);
        let take = move || Ok(memory.lock().expect("nobody panics").take().expect("opened once"));
        let (pond, steps) = open_stepped(builder, take).expect("a queue");
        Self { pond, steps, runtime }
    }

    /// Makes all calls of one commit, commits, and reads the answers.
    fn commit<T, E: std::fmt::Debug>(&mut self, calls: impl Iterator<Item = impl Future<Output = Result<T, E>>>) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut calls: Vec<_> = calls.map(Box::pin).collect();
        for call in &mut calls {
            assert!(call.as_mut().poll(&mut cx).is_pending(), "nothing is committed yet");
        }
        while self.steps.write() {}
        for mut call in calls {
            let Poll::Ready(answer) = call.as_mut().poll(&mut cx) else { panic!("it is committed") };
            answer.expect("it is stored");
        }
    }

    fn enqueue(mut self, jobs: u64, at_once: u64) {
        let pond = self.pond.clone();
        for _ in 0..jobs / at_once {
            self.commit((0..at_once).map(|_| pond.enqueue("bench", job())));
        }
    }

    fn transactions(mut self, jobs: u64, at_once: u64) {
        const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
        let pond = self.pond.clone();
        for first in (0..jobs).step_by(at_once as usize) {
            let transaction = |row| {
                pond.transaction(move |tx| {
                    tx.open_table(ROWS)?.insert(row, PAYLOAD.as_slice())?;
                    Ok(tx.enqueue("bench", job())?)
                })
            };
            self.commit((first..first + at_once).map(transaction));
        }
    }

    fn enqueue_many(&mut self, jobs: u64) {
        let pond = self.pond.clone();
        for _ in 0..jobs / BATCH {
            self.commit(std::iter::once_with(|| pond.enqueue_many("bench", (0..BATCH).map(|_| job()))));
        }
    }

    fn start_worker(&mut self) {
        let worker = self.pond.worker("bench").concurrency(100);
        worker.handle_raw("noop", |_: Job<Bytes>| async { Ok(()) }).start().expect("a worker");
    }

    fn work_off(&mut self, jobs: u64) {
        let queue = self.pond.queue("bench").expect("a queue");
        while queue.counts().completed_total < jobs {
            self.steps.dispatch();
            self.runtime.block_on(async {
                for _ in 0..100 {
                    pin!(tokio::task::yield_now()).await;
                }
            });
            while self.steps.write() {}
        }
    }
}
