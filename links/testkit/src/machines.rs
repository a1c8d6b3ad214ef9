//! Machines that take jobs from a shared queue.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use millpond::{Context, Job, Millpond, NewJob, Payload};
use millpond_links::{Forward, Lease, Link, SharedQueue, Take};
use tempfile::TempDir;

use crate::{SOON, open, until};

const LEASE: Duration = Duration::from_secs(3);

/// The shared queue of the tests.
pub fn thumbnails() -> SharedQueue {
    SharedQueue::named("thumbnails").expect("a good name")
}

/// Which jobs were handled, and how often. Clones are the same.
#[derive(Clone, Default)]
pub struct Handled(Arc<Mutex<BTreeMap<u32, u32>>>);

impl Handled {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, u32>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that a job with this number was handled.
    pub fn add(&self, number: u32) {
        *self.lock().entry(number).or_default() += 1;
    }

    /// The numbers of the jobs that were handled, and how often each was.
    pub fn times(&self) -> Vec<(u32, u32)> {
        self.lock().iter().map(|(number, times)| (*number, *times)).collect()
    }

    /// Waits until so many jobs were handled.
    ///
    /// # Panics
    /// If they are not in time.
    pub async fn all(&self, jobs: u32) {
        let count = || self.lock().len() as u32;
        let poll = async {
            while count() < jobs {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, poll).await.unwrap_or_else(|_| panic!("{} of {jobs} are handled", count()));
    }

    /// How many jobs were handled more than once.
    pub fn twice(&self) -> usize {
        self.lock().values().filter(|times| **times > 1).count()
    }
}

/// A machine with a worker that counts what it completes, and a link that takes jobs.
pub async fn machine(dir: &Path, name: &str, engine: &impl Lease, handled: &Handled) -> (Millpond, Link) {
    let pond = open(dir, name);
    let handled = handled.clone();
    let worker = pond.worker("incoming").concurrency(8).handle_any(move |job: Job<Payload>, ctx: Context| {
        let handled = handled.clone();
        async move {
            let number: u32 = std::str::from_utf8(&job.bytes)?.parse()?;
            ctx.on_complete(move |_| {
                handled.add(number);
                Ok(())
            });
            Ok(())
        }
    });
    worker.start().expect("the queue has no worker");
    let take = Take::new(&pond, "incoming", engine, thumbnails()).lease(LEASE).held_max(50);
    let link = take.start().await.expect("a good link");
    (pond, link)
}

/// A machine that sends jobs to a shared queue, and two machines that take and handle them.
pub struct TwoMachines {
    sender: Millpond,
    sending: Link,
    /// The links of the two.
    pub taking: [Link; 2],
    handled: Handled,
    _ponds: [Millpond; 2],
    _dir: TempDir,
}

impl TwoMachines {
    /// Links them by a shared queue of an engine: with the sender's connection, and with those of the two.
    ///
    /// # Panics
    /// If the files cannot be made, or the links do not start.
    pub async fn over<L: Lease>(sending: &L, taking: [&L; 2]) -> Self {
        let (dir, handled) = (tempfile::tempdir().expect("a directory"), Handled::default());
        let sender = open(dir.path(), "sender.redb");
        let link = Forward::to_shared(&sender, "outgoing", sending, thumbnails()).batch(50).start();
        let sending = link.await.expect("a good link");
        let (one, one_takes) = machine(dir.path(), "one.redb", taking[0], &handled).await;
        let (two, two_takes) = machine(dir.path(), "two.redb", taking[1], &handled).await;
        Self { sender, sending, taking: [one_takes, two_takes], handled, _ponds: [one, two], _dir: dir }
    }

    async fn send(&self, first: u32) {
        let jobs = (first..first + 20).map(|n| NewJob::raw("thumbnail", n.to_string()));
        self.sender.enqueue_many("outgoing", jobs).await.expect("they are stored");
    }

    /// Enqueues jobs with the numbers from 0 on until both machines have taken some: later one can be in a pause while the other does
    /// everything. Returns how many jobs that were.
    ///
    /// # Panics
    /// If one of them takes nothing of 10,000 jobs.
    pub async fn both_work(&self) -> u32 {
        let mut sent = 0;
        while self.taking.iter().any(|link| link.state().jobs == 0) {
            assert!(sent < 10_000, "a machine takes nothing: {:?}", self.taking.each_ref().map(Link::state));
            self.send(sent).await;
            sent += 20;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sent
    }

    /// Enqueues jobs with these numbers, 20 at a time, and waits until all are handled. `disturb` is called after each of these calls, with
    /// how many jobs there were before it. Returns how many jobs were handled more than once.
    ///
    /// # Panics
    /// If a job is missing.
    pub async fn none_is_missing(&self, numbers: Range<u32>, mut disturb: impl AsyncFnMut(u32)) -> usize {
        for first in numbers.clone().step_by(20) {
            self.send(first).await;
            disturb(first - numbers.start).await;
        }
        self.handled.all(numbers.end).await;
        let (twice, states) = (self.handled.twice(), self.taking.each_ref().map(Link::state));
        println!("{} jobs: 0 missing, {twice} twice; {states:?}, {:?}", numbers.end, self.sending.state());
        twice
    }

    /// How many jobs the two have taken.
    pub fn taken(&self) -> u64 {
        self.taking.iter().map(|link| link.state().jobs).sum()
    }
}

/// A machine that takes so many jobs, handles none, and ends without a word, with its connection.
pub async fn dies_with<L: Lease>(dir: &Path, connect: impl Future<Output = L> + Send + 'static, jobs: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let gone = open(dir, "gone.redb");
    let pond = gone.clone();
    let taken = runtime.spawn(async move {
        let take = Take::new(&pond, "incoming", &connect.await, thumbnails()).lease(LEASE).held_max(jobs);
        take.start().await.expect("a good link")
    });
    let link = taken.await.expect("it starts");
    until(&link, |state| state.held == jobs as u64).await;
    runtime.shutdown_background();
    gone.shutdown(Duration::ZERO).await.expect("it is closed");
}
