use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A queue's durable settings: they hold for producers and workers alike and survive a restart.
///
/// ```
/// use millpond::{Capacity, GroupPolicy, Keep, QueueSettings, Retention, WhenFull};
/// use std::time::Duration;
///
/// let settings = QueueSettings::default()
///     .capacity(Capacity::jobs(100_000).bytes(64 << 20))
///     .when_full(WhenFull::Wait)
///     .groups(GroupPolicy::Skip)
///     .retention(Retention::default().cancelled(Keep::new(Duration::from_secs(3600), 100)));
/// # let _ = settings;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct QueueSettings {
    pub(crate) capacity: Capacity,
    pub(crate) when_full: WhenFull,
    pub(crate) groups: GroupPolicy,
    pub(crate) retention: Retention,
}

impl QueueSettings {
    /// How many jobs may wait. Default: no limit but the disk.
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// What a full queue does to whoever enqueues. Default: refuse.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// What a group does while its head cannot run. Default: block.
    pub fn groups(mut self, policy: GroupPolicy) -> Self {
        self.groups = policy;
        self
    }

    /// How long ended jobs are kept.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.capacity.jobs == Some(0) || self.capacity.bytes == Some(0) {
            return Err(Error::config("capacity", "a capacity of 0 would refuse every job".into()));
        }
        Ok(())
    }
}

/// How much may wait in a queue: jobs that are pending, scheduled or retrying, and running ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct Capacity {
    pub(crate) jobs: Option<u64>,
    pub(crate) bytes: Option<u64>,
}

impl Capacity {
    /// No limit but the disk.
    pub const UNLIMITED: Self = Self { jobs: None, bytes: None };

    /// At most this many jobs.
    pub const fn jobs(jobs: u64) -> Self {
        Self { jobs: Some(jobs), bytes: None }
    }

    /// And at most this many bytes of records.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    pub(crate) fn admits(&self, jobs: u64, bytes: u64) -> bool {
        self.jobs.is_none_or(|max| jobs <= max) && self.bytes.is_none_or(|max| bytes <= max)
    }
}

/// What a full queue does to whoever enqueues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenFull {
    /// Refuse with [`Error::QueueFull`].
    #[default]
    Refuse,
    /// Make the caller wait until there is room. Inside a transaction it refuses all the same:
    /// waiting there would stop the writer.
    Wait,
}

/// What a group does while its first job waits for a retry or for its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupPolicy {
    /// The group waits with it: the order is strict. A job delayed by an hour holds everything
    /// enqueued behind it in its group for an hour.
    #[default]
    Block,
    /// The next one goes; the head comes back in when its time has come.
    Skip,
}

/// How long and how many to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    pub(crate) age: Duration,
    pub(crate) count: u64,
}

impl Keep {
    /// Everything, for ever: the file grows.
    pub const FOREVER: Self = Self { age: Duration::MAX, count: u64::MAX };
    /// Nothing.
    pub const NOTHING: Self = Self { age: Duration::ZERO, count: 0 };

    /// What is younger than `age`, and of those the `count` latest.
    pub const fn new(age: Duration, count: u64) -> Self {
        Self { age, count }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long ended jobs are kept, by how they ended. A sweep in small batches removes the rest.
///
/// Defaults: completed jobs only if they have a result, a day and 10,000 of them; cancelled ones
/// likewise; dead letters 180 days and 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct Retention {
    pub(crate) completed: Keep,
    pub(crate) without_result: bool,
    pub(crate) cancelled: Keep,
    pub(crate) dead: Keep,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            completed: Keep::new(DAY, 10_000),
            without_result: false,
            cancelled: Keep::new(DAY, 10_000),
            dead: Keep::new(DAY * 180, 1_000_000),
        }
    }
}

impl Retention {
    /// Keep completed jobs like this, with a result or not. It costs each job a second insert and
    /// a later removal.
    pub fn completed(mut self, keep: Keep) -> Self {
        self.completed = keep;
        self.without_result = keep.count > 0;
        self
    }

    /// Keep cancelled, discarded and expired jobs like this.
    pub fn cancelled(mut self, keep: Keep) -> Self {
        self.cancelled = keep;
        self
    }

    /// Keep dead letters like this.
    pub fn dead(mut self, keep: Keep) -> Self {
        self.dead = keep;
        self
    }
}

/// A queue's counts, kept with every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tally {
    /// Ready to run, those a handler has included.
    pub pending: u64,
    /// Due later, never tried.
    pub scheduled: u64,
    /// Due later after a failed attempt.
    pub retrying: u64,
    /// Completed and kept.
    pub completed: u64,
    /// In the dead-letter table.
    pub dead: u64,
    /// Cancelled, discarded or expired, and kept.
    pub cancelled: u64,
    /// Bytes of the records of all jobs that have not ended.
    pub bytes: u64,
    /// Jobs ever enqueued.
    pub enqueued_total: u64,
    /// Jobs ever completed, kept or not.
    pub completed_total: u64,
    /// Attempts ever failed.
    pub failures_total: u64,
    /// Jobs that ever went to the dead letters.
    pub dead_total: u64,
    /// Jobs ever cancelled, discarded or expired.
    pub cancelled_total: u64,
}

impl Tally {
    pub(crate) fn unfinished(&self) -> u64 {
        self.pending + self.scheduled + self.retrying
    }
}
