//! What every queue here must be able to do, and the jobs that it runs. Shared with the package of effectum.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The number of bytes of a payload: the job's number in 16 hexadecimal digits, then padding. Text, because some queues keep JSON only.
pub const PAYLOAD: usize = 128;

/// The most jobs of one run; a fast machine does not reach it in a few seconds.
const JOBS_MAX: usize = 4 << 20;

/// A queue in an empty directory.
pub trait System: Send + Sync + Sized + 'static {
    /// Opens the queue there, with the setting of this name.
    fn open(setting: &str, dir: &Path) -> impl Future<Output = Self> + Send;

    /// Stores one job; returns when the queue says that it is stored.
    fn enqueue(&self, payload: String) -> impl Future<Output = ()> + Send;

    /// Stores many jobs with the queue's call for many.
    fn enqueue_many(&self, payloads: Vec<String>) -> impl Future<Output = ()> + Send;

    /// Starts a worker that hands each payload to `seen`.
    fn start_worker(&self, concurrency: usize, seen: &'static Seen) -> impl Future<Output = ()> + Send;

    /// The number of jobs in the store that have not ended, by the store's own count.
    fn unfinished(&self) -> impl Future<Output = u64> + Send;

    /// The number of jobs whose end the queue has recorded, if it keeps or counts them.
    fn finished(&self) -> impl Future<Output = Option<u64>> + Send;
}

/// Makes the payloads of a run, and records when each was enqueued and when its handler started.
pub struct Seen {
    epoch: Instant,
    made: AtomicU64,
    enqueued: Vec<AtomicU64>,
    started: Vec<AtomicU64>,
    starts: AtomicU64,
    again: AtomicU64,
}

impl Seen {
    /// Lives as long as the process: each run has its own.
    pub fn leak() -> &'static Self {
        let zeros = || (0..JOBS_MAX).map(|_| AtomicU64::new(0)).collect();
        Box::leak(Box::new(Self {
            epoch: Instant::now(),
            made: AtomicU64::new(0),
            enqueued: zeros(),
            started: zeros(),
            starts: AtomicU64::new(0),
            again: AtomicU64::new(0),
        }))
    }

    /// The next payload; its job counts as enqueued from now on.
    pub fn payload(&self) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut payload = format!("{number:016x}");
        payload.extend(std::iter::repeat_n('7', PAYLOAD - payload.len()));
        self.enqueued[number as usize].store(self.now(), Ordering::Relaxed);
        payload
    }

    /// A handler has started with this payload.
    pub fn start(&self, payload: &[u8]) {
        assert_eq!(payload.len(), PAYLOAD, "a payload came back with another length");
        let digits = std::str::from_utf8(&payload[..16]).expect("a payload came back changed");
        let number = u64::from_str_radix(digits, 16).expect("a payload came back changed");
        if self.started[number as usize].swap(self.now(), Ordering::Relaxed) == 0 {
            self.starts.fetch_add(1, Ordering::Release);
        } else {
            self.again.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Jobs made so far.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Jobs whose handler has started, each counted once.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Acquire)
    }

    /// How many handlers started for a job whose handler had started before.
    pub fn again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }

    /// The times from the call of enqueue to the start of the handler, in microseconds, sorted.
    pub fn latencies(&self) -> Vec<f64> {
        let pairs = self.enqueued.iter().zip(&self.started).take(self.made() as usize);
        let mut all: Vec<f64> = pairs
            .map(|(enqueued, started)| (enqueued.load(Ordering::Relaxed), started.load(Ordering::Relaxed)))
            .map(|(enqueued, started)| started.saturating_sub(enqueued) as f64 / 1e3)
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// Nanoseconds since the run began; never zero, because zero means "not yet".
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64 + 1
    }
}
