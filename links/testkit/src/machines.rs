//! Machines that take jobs from a shared queue.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use millpond::{Context, Job, Millpond, NewJob, Payload};
use millpond_links::{Lease, Link, SharedQueue, Take};

use crate::{SOON, until};

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
    let pond = Millpond::open(dir.join(name)).expect("it can be opened");
    let handled = handled.clone();
    let worker = pond.worker("incoming").concurrency(8).handle_any(move |job: Job<Payload>, ctx: Context| {
        let handled = handled.clone();
        async move {
            let number: u32 = std::str::from_utf8(&job.bytes)?.parse()?;
            ctx.on_complete(move |_| {
                *handled.lock().entry(number).or_default() += 1;
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

/// Enqueues jobs on the machine that sends, until each of these machines has taken some. Returns how many jobs that were. Their payloads
/// are numbers from 0 on.
///
/// # Panics
/// If one of them takes nothing of 10,000 jobs.
pub async fn all_work(sender: &Millpond, machines: &[(Millpond, Link)]) -> u32 {
    let mut sent = 0;
    while machines.iter().any(|(_, link)| link.state().jobs == 0) {
        assert!(
            sent < 10_000,
            "a machine takes nothing: {:?}",
            machines.iter().map(|(_, link)| link.state()).collect::<Vec<_>>()
        );
        let jobs = (sent..sent + 20).map(|n| NewJob::raw("thumbnail", n.to_string()));
        sender.enqueue_many("outgoing", jobs).await.expect("they are stored");
        sent += 20;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sent
}

/// A machine that takes so many jobs, handles none, and ends without a word, with its connection.
pub async fn dies_with<L: Lease>(dir: &Path, connect: impl Future<Output = L> + Send + 'static, jobs: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let gone = Millpond::open(dir.join("gone.redb")).expect("it can be opened");
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
