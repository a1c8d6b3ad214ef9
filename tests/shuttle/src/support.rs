//! What the tests share: schedules to explore, a queue on a disk in memory, and workers that note their jobs.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{Builder, Job, JobFilter, Millpond, NewJob, Payload, Worker};
use millpond_testkit::SimDisk;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, Runner};

const RUNS_DEFAULT: usize = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Runs `test` under so many schedules: half of them with every choice at random, half with few changes of priority,
/// which finds faults that need one thread to be slow for long.
pub fn explore(test: impl Fn() + Send + Sync + 'static) {
    let runs = number("SHUTTLE_RUNS").map_or(RUNS_DEFAULT, |runs| runs as usize);
    let seed = number("SHUTTLE_SEED").unwrap_or(0);
    let test = Arc::new(test);
    let config = || {
        let mut config = Config::new();
        // redb's frames are larger than the default stack of a test's thread.
        config.stack_size = 1 << 20;
        config.max_steps = shuttle::MaxSteps::FailAfter(2_000_000);
        config
    };
    let again = test.clone();
    Runner::new(RandomScheduler::new_from_seed(seed, runs / 2), config()).run(move || again());
    Runner::new(PctScheduler::new_from_seed(seed, 5, runs - runs / 2), config()).run(move || test());
}

/// Handlers run in the test's schedule, not in this runtime; but the queue requires one.
fn runtime() -> tokio::runtime::Handle {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().unwrap()).handle().clone()
}

pub fn builder(clock: &ManualClock) -> Builder {
    Millpond::builder().clock(clock.clone()).seed(0).cache_bytes(1 << 20).runtime(runtime())
}

/// A queue on a disk in memory.
pub fn open(disk: &SimDisk, clock: &ManualClock) -> Millpond {
    let disk = disk.clone();
    builder(clock).open_backend_with(move || Ok(disk.clone())).unwrap()
}

pub fn job(n: u8) -> NewJob {
    NewJob::raw("work", vec![n])
}

/// Makes a call in a thread of its own.
pub fn beside<T: Send + 'static>(pond: &Millpond, call: impl FnOnce(&Millpond) -> T + Send + 'static) -> JoinHandle<T> {
    let pond = pond.clone();
    thread::spawn(move || call(&pond))
}

/// The jobs that handlers have run, in order.
#[derive(Default)]
pub struct Ran {
    jobs: Mutex<Vec<u8>>,
    another: Condvar,
}

impl Ran {
    fn note(&self, job: u8) {
        self.jobs.lock().unwrap().push(job);
        self.another.notify_all();
    }

    pub fn so_far(&self) -> Vec<u8> {
        self.jobs.lock().unwrap().clone()
    }

    /// Waits without making any progress itself: if nothing starts the jobs, this is a deadlock.
    pub fn wait_for(&self, jobs: usize) -> Vec<u8> {
        let ran = self.jobs.lock().unwrap();
        self.another.wait_while(ran, |ran| ran.len() < jobs).unwrap().clone()
    }
}

/// Starts a worker that notes its jobs.
pub fn noting(pond: &Millpond, queue: &str, concurrency: usize) -> (Worker, Arc<Ran>) {
    let ran: Arc<Ran> = Arc::default();
    (noting_into(pond, queue, concurrency, &ran), ran)
}

/// The same, with notes that others can share.
pub fn noting_into(pond: &Millpond, queue: &str, concurrency: usize, ran: &Arc<Ran>) -> Worker {
    let log = ran.clone();
    let handler = move |job: Job<Bytes>| {
        let log = log.clone();
        async move {
            shuttle::future::yield_now().await;
            log.note(job[0]);
            Ok(())
        }
    };
    pond.worker(queue).concurrency(concurrency).no_timeout().handle_raw("work", handler).start().unwrap()
}

/// The payloads of the jobs in the file whose state is not final.
pub fn waiting(pond: &Millpond) -> Vec<u8> {
    let page = pond.jobs(&JobFilter::new(), None, 1_000).unwrap();
    let first = |payload: &Payload| payload.bytes[0];
    let mut left: Vec<u8> =
        page.jobs.iter().filter(|job| !job.state.is_final()).map(|job| first(&job.payload)).collect();
    left.sort_unstable();
    left
}

/// Waits, in the test's schedule, until the file shows that no job waits or runs.
pub fn until_drained(pond: &Millpond) {
    shuttle::future::block_on(pond.testing().idle());
    assert_eq!(waiting(pond), Vec::<u8>::new());
}

pub fn is_sound(pond: &Millpond) {
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
}
