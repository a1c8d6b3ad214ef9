//! A queue's durable settings: its capacity, what it does when it is full, how groups wait, and which ended jobs are kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A queue's durable settings. They apply to all callers and workers, and survive a restart.
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
/// assert_eq!(settings.capacity.jobs, Some(100_000));
/// assert_eq!(settings.retention.cancelled.count, 100);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
#[non_exhaustive]
pub struct QueueSettings {
    /// How many jobs the queue can hold.
    pub capacity: Capacity,
    /// What a full queue does to a caller that enqueues.
    pub when_full: WhenFull,
    /// What a group does while its first job cannot run.
    pub groups: GroupPolicy,
    /// How long ended jobs are kept.
    pub retention: Retention,
    /// How many jobs of a group can run at a time.
    #[serde(default = "one_at_a_time")]
    pub group_concurrency: u32,
}

fn one_at_a_time() -> u32 {
    1
}

impl Default for QueueSettings {
    fn default() -> Self {
        let (capacity, when_full, groups, retention) = Default::default();
        Self { capacity, when_full, groups, retention, group_concurrency: one_at_a_time() }
    }
}

impl QueueSettings {
    /// The largest [`group_concurrency`](Self::group_concurrency).
    pub const GROUP_CONCURRENCY_MAX: u32 = 100;

    /// How many jobs the queue can hold. 0 is refused. By default only the disk limits it.
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// What a full queue does to a caller that enqueues. Default: refuse.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// What a group does while its first job cannot run. Default: block.
    pub fn groups(mut self, policy: GroupPolicy) -> Self {
        self.groups = policy;
        self
    }

    /// How many jobs of each group can run at a time: 1 to [`GROUP_CONCURRENCY_MAX`](Self::GROUP_CONCURRENCY_MAX), which is
    /// 100. Default: 1, so the jobs of a group run one after the other.
    ///
    /// With more than one, the first jobs of a group can run side by side. They start in the order of their enqueues, unless
    /// their priorities differ, one of them is changed, or one waits for a retry; they end in any order. Such a job has one of
    /// the group's places until it ends. With [`GroupPolicy::Block`] a job that waits for a retry keeps its place, and with
    /// [`GroupPolicy::Skip`] the next job gets it. With [`GroupPolicy::Hold`] no job gets a place while a dead letter holds the group; jobs that had one before still
    /// run. [Group rates](crate::WorkerBuilder::group_rate_limit), pauses and circuit breakers apply to the group as a whole.
    ///
    /// The queue of a [consumer](crate::Millpond::consumer) cannot have more than one: the entries of a key are handled in order.
    ///
    /// A higher number gives the waiting jobs of all groups their places before [`configure`](crate::Queue::configure) returns:
    /// with each commit at most 1,000 groups, and no further group after 8 MiB of jobs. A call that was interrupted is completed
    /// by the next call with the same number. With a lower number, jobs that have a place keep it.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let imports = pond.queue("imports")?;
    /// imports.configure(imports.settings().group_concurrency(2)).await?; // two at a time for each customer
    ///
    /// let row = |n: u32| NewJob::json("row", &n).group("customer-1");
    /// let ids = pond.enqueue_many("imports", (1..=3).map(row)).await?;
    /// assert!(matches!(pond.explain(ids[1])?, Explanation::NoHandler { .. })); // alone it would be `GroupBusy`
    /// assert!(matches!(pond.explain(ids[2])?, Explanation::GroupBusy { ahead: 2, .. }));
    /// # Ok(()) });
    /// ```
    pub fn group_concurrency(mut self, jobs: u32) -> Self {
        self.group_concurrency = jobs;
        self
    }

    /// How long ended jobs are kept. Default: what [`Builder::retention`](crate::Builder::retention) says, and otherwise
    /// [`Retention::default`].
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.capacity.jobs == Some(0) || self.capacity.bytes == Some(0) {
            return Err(Error::config("capacity", "a capacity of 0 would refuse every job".into()));
        }
        let jobs = self.group_concurrency;
        if !(1..=Self::GROUP_CONCURRENCY_MAX).contains(&jobs) {
            let reason = format!("{jobs} jobs of a group at a time: it must be 1 to {}", Self::GROUP_CONCURRENCY_MAX);
            return Err(Error::config("group_concurrency", reason));
        }
        Ok(())
    }
}

/// How much a queue can hold: jobs that are pending, scheduled or retrying, and running ones.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let billing = pond.queue("billing")?;
/// let capacity = Capacity::jobs(2).bytes(1 << 20);
/// billing.configure(QueueSettings::default().capacity(capacity)).await?;
///
/// let three = (0..3).map(|order| NewJob::json("charge", &order));
/// assert!(matches!(pond.enqueue_many("billing", three).await, Err(Error::QueueFull { .. })));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
#[non_exhaustive]
pub struct Capacity {
    /// How many jobs; `None` is no limit.
    pub jobs: Option<u64>,
    /// How many bytes of records; `None` is no limit.
    pub bytes: Option<u64>,
}

impl Capacity {
    /// There is no limit except the disk.
    pub const UNLIMITED: Self = Self { jobs: None, bytes: None };

    /// At most this many jobs.
    pub const fn jobs(jobs: u64) -> Self {
        Self { jobs: Some(jobs), bytes: None }
    }

    /// Also allows at most this many bytes of records.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    pub(crate) fn admits(&self, jobs: u64, bytes: u64) -> bool {
        self.jobs.is_none_or(|max| jobs <= max) && self.bytes.is_none_or(|max| bytes <= max)
    }
}

/// What a full queue does to a caller that enqueues.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let billing = pond.queue("billing")?;
/// let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Wait);
/// billing.configure(settings).await?;
///
/// billing.enqueue(NewJob::json("charge", &7)).await?;
/// let full = pond.transaction(|tx| Ok(tx.enqueue("billing", NewJob::json("charge", &8))?)).await;
/// assert!(matches!(full, Err(Error::Aborted { .. }))); // outside of a transaction it would wait
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WhenFull {
    /// Refuse with [`Error::QueueFull`].
    #[default]
    Refuse,
    /// Make the caller wait until there is room. At most 10,000 callers can wait at once, over all queues; further ones are
    /// refused. Inside a transaction the call is refused too, because a wait there would stop the writer.
    ///
    /// A handler is allowed to wait too, for example for the queue of the next step, but it keeps its slot meanwhile. So it
    /// is refused at once if it could wait for itself: in its own queue; in a queue whose handlers wait for
    /// the handler's queue, directly or through other queues; while half of the [slots](crate::Builder::max_running), or of the
    /// [threads](crate::Builder::blocking_threads) if it blocks, are held by handlers that wait; in an async handler that
    /// blocks its thread with [`wait`](crate::Commit::wait); and in the handler of another open file. A handler that is
    /// refused can return [`Outcome::snooze`](crate::Outcome::snooze) to be run again later without using up
    /// an attempt. The queue does not know which tasks a handler has spawned: if such a task waits and the handler awaits
    /// it, only the handler's timeout ends a wait for itself.
    Wait,
    /// End the oldest jobs of the queue, until the new ones have room: for data of which the latest is worth most, such as readings of
    /// a device that is offline. It is decided in the commit of the new jobs, so a job that was acknowledged has been stored, and is
    /// there until a later one needs its room.
    ///
    /// Jobs are dropped in the order of their ids, those of a group one after another. Only jobs that could start now are dropped: not those that a handler has,
    /// that are due later or wait for a retry, that belong to a paused or held group or wait for others of their flow, and none that
    /// has [steps to undo](crate::Step::undo). If there are not enough of them, if 10,000 do not make enough room, or if the new jobs
    /// alone are more than the capacity, the call is refused with [`Error::QueueFull`], and nothing is dropped.
    ///
    /// A dropped job ends as cancelled, with the reason `dropped: the queue was full`. It is not kept, whatever the retention says, and its unique key is
    /// free. It is told by [`Event::Cancelled`](crate::Event::Cancelled), and counted in
    /// [`Counts::dropped_total`](crate::Counts::dropped_total) and `cancelled_total`.
    ///
    /// A new flow, a run of a schedule, and jobs that are moved to the queue do not drop others: they find no room, as with `Refuse`.
    /// A build that does not know this setting refuses the file with [`Error::TooNew`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let readings = pond.queue("readings")?;
    /// let settings = QueueSettings::default().capacity(Capacity::jobs(2)).when_full(WhenFull::DropOldest);
    /// readings.configure(settings).await?;
    ///
    /// let first = readings.enqueue(NewJob::json("reading", &1)).await?;
    /// pond.enqueue_many("readings", (2..=3).map(|n| NewJob::json("reading", &n))).await?;
    /// assert!(matches!(pond.job(first), Err(Error::NoSuchJob { .. })));
    /// assert_eq!(readings.counts().dropped_total, 1);
    /// # Ok(()) });
    /// ```
    DropOldest,
}

/// What a group does while its first job waits for a retry or for the time at which it is due, and after a dead letter.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.queue("orders")?;
/// orders.configure(QueueSettings::default().groups(GroupPolicy::Skip)).await?;
///
/// let later = NewJob::json("ship", &7).delay(Duration::from_secs(3600));
/// orders.enqueue(later.group("customer-1")).await?;
/// let now = orders.enqueue(NewJob::json("ship", &8).group("customer-1")).await?;
/// assert!(matches!(pond.explain(now)?, Explanation::NoHandler { .. })); // with `Block`: `GroupBusy`
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GroupPolicy {
    /// The group waits with it, so the order is strict. A job that is delayed by an hour delays all jobs behind it in its
    /// group by an hour.
    #[default]
    Block,
    /// The next job of the group runs. The first job returns to the group when it is due.
    Skip,
    /// As [`Block`](Self::Block), and after a dead letter as well: the group waits until the dead letter is redriven, purged,
    /// moved to another queue, or removed by retention. If it has to be moved to the quarantine, the group is paused. A redriven job comes back at its old place, before the jobs that waited for it.
    /// [`Queue::resume_group`](crate::Queue::resume_group) lets the group go on without it.
    ///
    /// A held group is announced by [`Event::GroupHeld`](crate::Event::GroupHeld) and a warning, listed by
    /// [`Queue::groups`](crate::Queue::groups), and explained by [`Explanation::GroupHeld`](crate::Explanation::GroupHeld). A
    /// group that is held stays so if the queue gets another policy.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.queue("orders")?;
    /// orders.configure(QueueSettings::default().groups(GroupPolicy::Hold)).await?;
    /// pond.worker("orders")
    ///     .handle_raw("charge", |_: Job<bytes::Bytes>| async { Ok(Outcome::dead_letter("the card is blocked")) })
    ///     .handle_raw("ship", |_: Job<bytes::Bytes>| async { Ok(()) })
    ///     .start()?;
    ///
    /// let charge = orders.enqueue(NewJob::raw("charge", "").group("order-7")).await?;
    /// let ship = orders.enqueue(NewJob::raw("ship", "").group("order-7")).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.explain(ship)?, Explanation::GroupHeld { by, .. } if by == charge.id));
    ///
    /// pond.dead_letters().purge(charge).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.job(ship), Err(Error::NoSuchJob { .. }))); // it is completed, and not kept
    /// # Ok(()) });
    /// ```
    Hold,
}

/// How many ended jobs are kept, and for how long.
///
/// While the file is open, the time is measured by the monotonic clock, so setting the wall clock makes no job older. While
/// the file is closed, it is measured by the wall clock, from the latest wall time that the file has recorded, and only if
/// that clock has been set.
///
/// ```
/// use millpond::{Keep, Retention};
/// use std::time::Duration;
///
/// let retention = Retention::default()
///     .completed(Keep::new(Duration::from_secs(3600), 1_000))
///     .cancelled(Keep::NOTHING)
///     .dead(Keep::FOREVER);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Keep {
    /// How long jobs are kept after their end.
    pub age: Duration,
    /// How many jobs are kept. These are the latest ones.
    pub count: u64,
}

impl Keep {
    /// Keeps all jobs for ever, so the file grows.
    pub const FOREVER: Self = Self { age: Duration::MAX, count: u64::MAX };
    /// Keeps no jobs.
    pub const NOTHING: Self = Self { age: Duration::ZERO, count: 0 };

    /// Keeps the latest `count` of the jobs that ended less than `age` ago.
    pub const fn new(age: Duration, count: u64) -> Self {
        Self { age, count }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long ended jobs are kept, by how they ended. A sweep in small batches removes the rest.
///
/// Defaults: completed jobs that have a result are kept for a day, 10,000 of them, and completed jobs without a result are
/// not kept; cancelled jobs for a day, 10,000 of them; dead letters for 180 days, 1,000,000 of them.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let billing = pond.queue("billing")?;
/// let week = Keep::new(Duration::from_secs(7 * 24 * 3600), 100_000);
/// billing.configure(QueueSettings::default().retention(Retention::default().completed(week))).await?;
///
/// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
/// let id = billing.enqueue(Charge { order: 7 }).await?;
/// drain(&pond).await;
/// assert_eq!(pond.job(id)?.state, State::Completed);
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
#[non_exhaustive]
pub struct Retention {
    /// How completed jobs are kept.
    pub completed: Keep,
    /// Whether completed jobs without a result are kept as well.
    pub without_result: bool,
    /// How cancelled and expired jobs are kept.
    pub cancelled: Keep,
    /// How dead letters are kept.
    pub dead: Keep,
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
    /// Keeps all completed jobs like this, those without a result too. It costs each job a second insert and a later
    /// removal. [`results`](Self::results) keeps only those that have a result.
    pub fn completed(mut self, keep: Keep) -> Self {
        self.completed = keep;
        self.without_result = keep.count > 0;
        self
    }

    /// Keeps completed jobs that have a result like this, and none without: a job without a result costs nothing more.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// let week = Keep::new(Duration::from_secs(7 * 24 * 3600), 100_000);
    /// billing.configure(QueueSettings::default().retention(Retention::default().results(week))).await?;
    ///
    /// pond.worker("billing")
    ///     .handle_raw("charge", |_: Job<bytes::Bytes>| async { Ok("receipt 12") })
    ///     .handle_raw("remind", |_: Job<bytes::Bytes>| async { Ok(()) })
    ///     .start()?;
    /// let charge = billing.enqueue(NewJob::raw("charge", "")).await?;
    /// let remind = billing.enqueue(NewJob::raw("remind", "")).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(charge)?.result.as_deref(), Some(&b"receipt 12"[..]));
    /// assert!(matches!(pond.job(remind), Err(Error::NoSuchJob { .. })));
    /// # Ok(()) });
    /// ```
    pub fn results(mut self, keep: Keep) -> Self {
        self.completed = keep;
        self.without_result = false;
        self
    }

    /// Keeps cancelled and expired jobs like this.
    pub fn cancelled(mut self, keep: Keep) -> Self {
        self.cancelled = keep;
        self
    }

    /// Keeps dead letters like this.
    pub fn dead(mut self, keep: Keep) -> Self {
        self.dead = keep;
        self
    }
}
