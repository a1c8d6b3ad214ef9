//! The least that a queue must do: insert and remove one row for each job, on one writer thread that commits all waiting calls
//! together and then answers them. Over redb it is the floor; over SQLite it shows what that engine gives when used equally well.
//!
//! It is no queue: it has no claims, no retries, and no order except by id. A handler runs on the writer's thread as soon as
//! its job is durable, and the job's row is removed in the next commit.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use crate::system::{Seen, System};

/// A store of rows with a durable commit.
pub trait Engine: Send + Sync + Clone + 'static {
    /// Creates the table.
    fn create(setting: &str, dir: &Path) -> Self;
    /// Inserts and removes in one commit.
    fn commit(&self, inserts: &[(u64, String)], removals: &[u64]);
    /// The first rows.
    fn page(&self, rows: usize) -> Vec<(u64, Vec<u8>)>;
    /// Counts the rows.
    fn rows(&self) -> u64;
}

enum Command {
    Store(Vec<String>, oneshot::Sender<()>),
    Work(&'static Seen),
}

/// The handle of the writer thread.
pub struct Floor<E> {
    inbox: Mutex<Sender<Command>>,
    engine: E,
}

/// The most jobs in one commit, unless one call brings more.
const BATCH: usize = 1_000;

impl<E: Engine> Floor<E> {
    async fn store(&self, payloads: Vec<String>) {
        let (sender, answer) = oneshot::channel();
        let inbox = self.inbox.lock().expect("no thread panics while it holds the lock").clone();
        inbox.send(Command::Store(payloads, sender)).expect("the writer runs");
        answer.await.expect("the writer answers");
    }
}

impl<E: Engine> System for Floor<E> {
    async fn open(setting: &str, dir: &Path) -> Self {
        let engine = E::create(setting, dir);
        // At most 64 producers wait for their answers here, so sending never blocks a worker of the runtime.
        let (sender, receiver) = bounded(4_096);
        let writer = Writer::new(engine.clone(), receiver, if setting == "single" { 1 } else { BATCH });
        thread::spawn(move || writer.run());
        Self { inbox: Mutex::new(sender), engine }
    }

    async fn enqueue(&self, payload: String) {
        self.store(vec![payload]).await;
    }

    async fn enqueue_many(&self, payloads: Vec<String>) {
        self.store(payloads).await;
    }

    async fn start_worker(&self, _: usize, seen: &'static Seen) {
        self.inbox
            .lock()
            .expect("no thread panics while it holds the lock")
            .send(Command::Work(seen))
            .expect("the writer runs");
    }

    async fn unfinished(&self) -> u64 {
        self.engine.rows()
    }

    async fn finished(&self) -> Option<u64> {
        None
    }
}

struct Writer<E> {
    engine: E,
    inbox: Receiver<Command>,
    batch: usize,
    next_id: u64,
    worker: Option<&'static Seen>,
    /// Rows whose handler has run.
    ended: VecDeque<u64>,
}

impl<E: Engine> Writer<E> {
    fn new(engine: E, inbox: Receiver<Command>, batch: usize) -> Self {
        Self { engine, inbox, batch, next_id: 0, worker: None, ended: VecDeque::new() }
    }

    fn run(mut self) {
        loop {
            // While there are ends to write, it does not wait for calls.
            let first = if self.ended.is_empty() { self.inbox.recv().ok() } else { self.inbox.try_recv().ok() };
            if first.is_none() && self.ended.is_empty() {
                return;
            }
            self.run_round(first);
        }
    }

    fn run_round(&mut self, first: Option<Command>) {
        let (mut inserts, mut callers) = (Vec::new(), Vec::new());
        let mut next = first;
        while let Some(command) = next {
            match command {
                Command::Store(payloads, caller) => {
                    for payload in payloads {
                        self.next_id += 1;
                        inserts.push((self.next_id, payload));
                    }
                    callers.push(caller);
                }
                Command::Work(seen) => self.start(seen),
            }
            next = if inserts.len() < self.batch { self.inbox.try_recv().ok() } else { None };
        }
        let ends = self.ended.len().min(self.batch);
        let removals: Vec<u64> = self.ended.drain(..ends).collect();
        if inserts.is_empty() && removals.is_empty() {
            return;
        }
        self.engine.commit(&inserts, &removals);
        for caller in callers {
            let _ = caller.send(());
        }
        if let Some(seen) = self.worker {
            for (id, payload) in inserts {
                seen.start(payload.as_bytes());
                self.ended.push_back(id);
            }
        }
    }

    /// Runs the jobs in the file, one page and one commit after the other.
    fn start(&mut self, seen: &'static Seen) {
        self.worker = Some(seen);
        loop {
            let page = self.engine.page(BATCH);
            if page.is_empty() {
                return;
            }
            let mut ended = Vec::with_capacity(page.len());
            for (id, payload) in page {
                seen.start(&payload);
                ended.push(id);
            }
            for removals in ended.chunks(self.batch) {
                self.engine.commit(&[], removals);
            }
        }
    }
}
