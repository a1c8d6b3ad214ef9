//! What the integration tests share: a queue in memory or in a file, a job, a log of what ran, and a gate at which
//! handlers wait.
#![allow(dead_code)]

pub mod on_event;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::testing::{self, ManualClock};
use millpond::{
    Builder, Capacity, Codec, Commit, Enqueued, Error, Event, Job, JobFilter, JobId, Kind, Millpond, NewJob, Outcome,
    QueueSettings, State, WhenFull, Worker, WriteGuard,
};
pub use millpond_testkit::SimDisk;
use redb::backends::InMemoryBackend;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};

pub const SECOND: Duration = Duration::from_secs(1);
pub const HOUR: Duration = Duration::from_secs(3600);

/// The plain job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub n: u64,
}

impl Kind for Work {
    const KIND: &'static str = "work";
}

/// Another kind with another codec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    pub text: String,
}

impl Kind for Packed {
    const KIND: &'static str = "packed";
    const CODEC: Codec = Codec::Postcard;
}

pub fn work(n: u64) -> NewJob {
    NewJob::new(Work { n })
}

pub fn member(group: &str, n: u64) -> NewJob {
    work(n).group(group)
}

/// A queue in memory with a clock that only the test moves.
pub fn memory() -> (ManualClock, Millpond) {
    memory_with(|builder| builder)
}

pub fn memory_with(set: impl FnOnce(Builder) -> Builder) -> (ManualClock, Millpond) {
    let clock = ManualClock::new();
    let builder = set(Millpond::builder().clock(clock.clone()).seed(0));
    (clock, builder.open_backend(InMemoryBackend::new()).unwrap())
}

/// A file in a directory of its own, and the clock that it is opened with.
pub struct OnDisk {
    pub dir: tempfile::TempDir,
    pub clock: ManualClock,
}

impl OnDisk {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), clock: ManualClock::new() }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("jobs.redb")
    }

    pub fn builder(&self) -> Builder {
        Millpond::builder().clock(self.clock.clone()).seed(0)
    }

    pub fn open(&self) -> Millpond {
        self.builder().open(self.path()).unwrap()
    }

    /// Copies the file as a crash at this moment would leave it, and opens it with the same clock.
    pub fn crashed(&self, name: &str) -> Millpond {
        let copy = self.dir.path().join(name);
        std::fs::copy(self.path(), &copy).unwrap();
        self.builder().open(copy).unwrap()
    }
}

/// Fails so many times, and then no more. Clones count together.
#[derive(Clone, Default)]
pub struct Failures(Arc<AtomicU64>);

impl Failures {
    pub fn of(count: u64) -> Self {
        Self(Arc::new(AtomicU64::new(count)))
    }

    pub fn next(&self) -> Result<(), String> {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err("failed on purpose".into()) } else { Ok(()) }
    }
}

pub async fn close(pond: Millpond) {
    pond.shutdown(Duration::from_secs(10)).await.unwrap();
}

/// What has happened, in order.
#[derive(Debug)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Log<T> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn push(&self, entry: T) {
        self.0.lock().unwrap().push(entry);
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Starts a worker that notes the numbers of its jobs as they start, `concurrency` at a time.
pub fn record(pond: &Millpond, queue: &str, concurrency: usize) -> Log<u64> {
    record_with_worker(pond, queue, concurrency).0
}

pub fn record_with_worker(pond: &Millpond, queue: &str, concurrency: usize) -> (Log<u64>, Worker) {
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        async { Ok(()) }
    };
    (log, pond.worker(queue).concurrency(concurrency).handle(handler).start().unwrap())
}

/// Starts a worker of the queue `q`. The jobs for whose numbers `dies` says so are dead letters, until `deaths` have died. The
/// log has what has completed.
pub fn record_with_deaths(
    pond: &Millpond,
    concurrency: usize,
    deaths: usize,
    dies: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> Log<u64> {
    let (log, died) = (Log::new(), Log::new());
    let seen = log.clone();
    pond.worker("q")
        .concurrency(concurrency)
        .handle(move |job: Job<Work>| {
            let dies = dies(job.n) && died.len() < deaths;
            if dies {
                died.push(());
            } else {
                seen.push(job.n);
            }
            async move { Ok(if dies { Outcome::dead_letter("broken") } else { Outcome::done() }) }
        })
        .start()
        .unwrap();
    log
}

/// The jobs that match, page by page. Each page begins with the cursor of the one before, which survives as text.
pub fn walk(pond: &Millpond, filter: &JobFilter, limit: usize) -> Vec<JobId> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = pond.jobs(filter, cursor, limit).unwrap();
        assert!(page.jobs.len() <= limit);
        ids.extend(page.jobs.iter().map(|job| job.id));
        cursor = page.next.map(|next| next.to_string().parse().unwrap());
        if cursor.is_none() {
            return ids;
        }
    }
}

/// Handlers wait here until the test lets them continue, one permit each.
#[derive(Clone)]
pub struct Gate {
    entered: mpsc::UnboundedSender<u64>,
    permits: Arc<Semaphore>,
}

/// The test's side of a [`Gate`].
pub struct Keeper {
    entered: mpsc::UnboundedReceiver<u64>,
    permits: Arc<Semaphore>,
}

pub fn gate() -> (Gate, Keeper) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let permits = Arc::new(Semaphore::new(0));
    (Gate { entered: sender, permits: permits.clone() }, Keeper { entered: receiver, permits })
}

impl Gate {
    pub async fn pass(&self, n: u64) {
        let _ = self.entered.send(n);
        self.permits.acquire().await.unwrap().forget();
    }
}

impl Keeper {
    /// The next handler that has reached the gate.
    pub async fn entered(&mut self) -> u64 {
        self.entered.recv().await.unwrap()
    }

    /// The next `handlers` of them, in the order of their numbers.
    pub async fn next(&mut self, handlers: usize) -> Vec<u64> {
        let mut entered = Vec::new();
        while entered.len() < handlers {
            entered.push(self.entered().await);
        }
        entered.sort_unstable();
        entered
    }

    /// Those that have reached the gate so far.
    pub fn waiting(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.entered.try_recv().ok()).collect()
    }

    pub fn let_go(&self, handlers: usize) {
        self.permits.add_permits(handlers);
    }
}

/// A handler that waits at a gate.
pub fn gated_handler() -> (impl Fn(Job<Work>) -> BoxFuture + Clone + Send + Sync + 'static, Keeper) {
    let (gate, keeper) = gate();
    let handler = move |job: Job<Work>| -> BoxFuture {
        let gate = gate.clone();
        Box::pin(async move {
            gate.pass(job.n).await;
            Ok(())
        })
    };
    (handler, keeper)
}

type BoxFuture = Pin<Box<dyn Future<Output = millpond::Handled> + Send>>;

/// A worker whose handlers wait at a gate.
pub fn gated(pond: &Millpond, queue: &str, concurrency: usize) -> (Worker, Keeper) {
    let (handler, keeper) = gated_handler();
    (pond.worker(queue).concurrency(concurrency).no_timeout().handle(handler).start().unwrap(), keeper)
}

/// How many jobs of a queue are ready.
pub fn pending(pond: &Millpond, queue: &str) -> u64 {
    pond.queue(queue).unwrap().counts().pending
}

/// Sets how many jobs a queue can have, and what happens to others.
pub async fn limit(pond: &Millpond, queue: &str, jobs: u64, when_full: WhenFull) {
    let settings = QueueSettings::default().capacity(Capacity::jobs(jobs)).when_full(when_full);
    pond.queue(queue).unwrap().configure(settings).await.unwrap();
}

/// Asserts that records, indexes and counts agree.
pub async fn assert_sound(pond: &Millpond) {
    assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
}

pub async fn settled(pond: &Millpond) {
    pond.testing().settled().await;
}

/// Lets a second pass for running handlers, and waits until their start marks are in the file.
pub async fn starts_written(pond: &Millpond, clock: &ManualClock) {
    settled(pond).await;
    let before = pond.metrics().commits_total;
    clock.advance(SECOND);
    while pond.metrics().commits_total == before {
        tokio::task::yield_now().await;
        settled(pond).await;
    }
}

/// Waits until everything is settled and exactly this many handlers of the queue run.
pub async fn running(pond: &Millpond, queue: &str, handlers: u64) {
    let queue = pond.queue(queue).unwrap();
    settled(pond).await;
    // The clock must not move before the handlers are called: their time would begin only then.
    while queue.counts().running != handlers || pond.testing().called(queue.name()) != handlers {
        tokio::task::yield_now().await;
        settled(pond).await;
    }
}

pub async fn drained(pond: &Millpond) -> testing::Drained {
    let drained = testing::drain(pond).await;
    assert_sound(pond).await;
    drained
}

pub fn state(pond: &Millpond, id: impl Into<JobId>) -> State {
    pond.job(id).unwrap().state
}

/// Every event that the listener has received so far.
pub fn heard(events: &mut millpond::Events) -> Vec<Event> {
    let next = || match events.try_next()? {
        Ok(event) => Some(event),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(next).collect()
}

/// Runs `test` on a thread of its own and returns what it returns. A test that hangs fails here, with its name, instead of
/// holding up the whole run: nothing in these tests takes longer than the limit unless it waits for something that
/// never happens.
#[track_caller]
pub fn in_time<T: Send + 'static>(what: &str, test: impl FnOnce() -> T + Send + 'static) -> T {
    const LIMIT: Duration = Duration::from_secs(60);
    let (done, answer) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = test();
        let _ = done.send(());
        result
    });
    match answer.recv_timeout(LIMIT) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("{what} does not end"),
        // The thread has ended; if it panicked, the panic is passed on.
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// Waits on this thread, in a runtime of its own.
pub fn block_on<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(task)
}

/// Lets another thread hold a guard, and no handle. When told to continue, it runs `then` with the guard.
pub fn guard_elsewhere<T: Send + 'static>(
    pond: &Millpond,
    then: impl FnOnce(WriteGuard) -> T + Send + 'static,
) -> (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<T>) {
    let (begun, is_begun) = std::sync::mpsc::channel();
    let (go, told) = std::sync::mpsc::channel();
    let pond = pond.clone();
    let holder = std::thread::spawn(move || {
        let guard = pond.begin_write().unwrap();
        drop(pond);
        begun.send(()).unwrap();
        let _ = told.recv();
        then(guard)
    });
    is_begun.recv().unwrap();
    (go, holder)
}

/// Enqueues a job and commits.
pub fn enqueue_and_commit(mut guard: WriteGuard) -> Result<Enqueued, Error> {
    let id = guard.enqueue("q", work(1))?;
    guard.commit().map(|()| id)
}

/// Waits until a commit is about to sync, on a disk that holds its syncs.
pub async fn sync_begun(disk: &SimDisk) {
    let disk = disk.clone();
    tokio::task::spawn_blocking(move || disk.wait_for_sync()).await.unwrap();
}

/// Holds the syncs of the disk, and the writer with one: what is called from now on shares the next commit. The writer goes on
/// with `release_syncs`; the task then answers.
pub async fn hold_writer(pond: &Millpond, disk: &SimDisk) -> tokio::task::JoinHandle<Result<Enqueued, Error>> {
    disk.hold_syncs();
    let held = tokio::spawn(pond.enqueue("held", work(0)));
    sync_begun(disk).await;
    held
}

/// Everything submitted while the writer is held goes into one batch.
pub async fn in_one_batch<T: Send + 'static>(
    pond: &Millpond,
    disk: &SimDisk,
    calls: Vec<Commit<T>>,
) -> Vec<Result<T, Error>> {
    in_one_batch_after(pond, disk, calls, || ()).await.0
}

/// The same; also returns what `look` returns when the writer has all of them.
pub async fn in_one_batch_after<T: Send + 'static, L>(
    pond: &Millpond,
    disk: &SimDisk,
    calls: Vec<Commit<T>>,
    look: impl FnOnce() -> L,
) -> (Vec<Result<T, Error>>, L) {
    let first = hold_writer(pond, disk).await;
    let calls: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
    for _ in 0..calls.len() {
        tokio::task::yield_now().await;
    }
    let found = look();
    disk.release_syncs();
    first.await.unwrap().unwrap();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    (answers, found)
}
