//! Random jobs as plain data: what the random workloads of the test suites draw.
//!
//! This crate does not depend on the queue, so the data is plain: `tests/support/made.rs` turns a [`JobSpec`] into a
//! `NewJob`. Which jobs a suite draws, how often, and in which order stays with the suite: a seed stands for exactly these
//! draws, and the kept seeds shall go on to do the same.

use fastrand::Rng;

/// When a job can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// After so many milliseconds.
    Delay(u64),
    /// So many milliseconds after the time that the wall clock shows when the job is made; can be negative.
    In(i64),
    /// When the wall clock shows this time, in milliseconds since the epoch.
    At(u64),
}

/// When a job that has not started expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// After so many milliseconds.
    In(u64),
    /// So many milliseconds after the time that the wall clock shows when the job is made; can be negative.
    Ahead(i64),
    /// When the wall clock shows this time, in milliseconds since the epoch.
    At(u64),
}

/// How a job is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// A number for the payload, by which a suite knows the job.
    pub n: u64,
    /// The suite's number of its queue.
    pub queue: usize,
    /// The suite's number of its group.
    pub group: Option<u8>,
    /// 0 to 9.
    pub priority: u8,
    /// The suite's number of its kind.
    pub kind: usize,
    /// When it can start.
    pub when: When,
    /// The number of its attempts.
    pub max: Option<u32>,
    /// It runs at most once.
    pub once: bool,
    /// When it expires.
    pub expires: Option<Expires>,
    /// The number of its unique key, and for how many milliseconds it holds the key at least.
    pub key: Option<(usize, u64)>,
    /// The timeout of an attempt, in milliseconds.
    pub timeout: Option<u64>,
    /// The delay before a retry, in milliseconds.
    pub backoff: Option<u64>,
    /// The number of bytes of its payload that mean nothing.
    pub padding: usize,
}

impl JobSpec {
    /// A job without options.
    pub const PLAIN: Self = Self {
        n: 0,
        queue: 0,
        group: None,
        priority: 5,
        kind: 0,
        when: When::Now,
        max: None,
        once: false,
        expires: None,
        key: None,
        timeout: None,
        backoff: None,
        padding: 0,
    };

    /// The same job, with times instead of offsets: as if it was made when the wall clock showed `wall` milliseconds.
    pub fn made_at(mut self, wall: u64) -> Self {
        if let When::In(offset) = self.when {
            self.when = When::At(wall.saturating_add_signed(offset));
        }
        if let Some(Expires::Ahead(offset)) = self.expires {
            self.expires = Some(Expires::At(wall.saturating_add_signed(offset)));
        }
        self
    }
}

/// One of these, each as likely as the others. `of` must not be empty.
pub fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}
