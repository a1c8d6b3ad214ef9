//! One queue: its settings, its counts, pauses, and its rate limits.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::inspect::{self, Counts};
use crate::job::{BucketKey, JobId, NewJob, QueueId, QueueSettings, check_key};
use crate::runtime::{Commit, Engine};
use crate::storage::Batch;
use crate::writer::{control, upkeep};

/// A named queue: steer it, look at it, enqueue into it. Cheap to clone.
///
/// ```
/// # use millpond::testing::{in_memory, ManualClock};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let emails = pond.queue("emails")?;
/// emails.pause().await?;                    // durable; running jobs finish
/// println!("{} wait", emails.counts().pending);
/// emails.resume().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Queue {
    engine: Arc<Engine>,
    name: Arc<str>,
}

impl Queue {
    pub(crate) fn new(engine: Arc<Engine>, name: Arc<str>) -> Self {
        Self { engine, name }
    }

    /// Its number, if something of it is stored or a worker uses it: a name that is only asked about has none.
    /// There is none in a process that was forked from the one that has opened the queue: there the catalog may be locked for ever.
    fn id(&self) -> Option<QueueId> {
        if self.engine.is_forked() {
            return None;
        }
        self.engine.store.catalog.find_queue(&self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Enqueues a job. The id is answered after the commit.
    ///
    /// # Errors
    /// Those of [`Millpond::enqueue`](crate::Millpond::enqueue).
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let billing = pond.queue("billing")?;
    /// let id = billing.enqueue(Charge { order: 7 }).await?;
    /// assert_eq!(pond.job(id)?.queue, "billing");
    /// # Ok(()) }
    /// ```
    pub fn enqueue(&self, job: impl Into<NewJob>) -> Commit<JobId> {
        let ids = self.engine.enqueue(self.engine.prepare.prepare(&self.name, job.into()).map(|job| vec![job]));
        Commit::new(async move { Ok(ids.await?[0]) })
    }

    /// Replaces the queue's durable settings, all of them: start from [`settings`](Self::settings) to
    /// change one.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings that cannot work.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let billing = pond.queue("billing")?;
    /// billing.configure(QueueSettings::default().capacity(Capacity::jobs(1))).await?;
    ///
    /// billing.enqueue(NewJob::json("charge", &7)).await?;
    /// let full = billing.enqueue(NewJob::json("charge", &8)).await;
    /// assert!(matches!(full, Err(Error::QueueFull { jobs: 1, .. })));
    /// # Ok(()) }
    /// ```
    pub fn configure(&self, settings: QueueSettings) -> Commit<()> {
        let (engine, queue) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            settings.check()?;
            engine.change(move |batch| control::set_settings(batch, &queue, &settings)).await
        })
    }

    /// The queue's durable settings.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let billing = pond.queue("billing")?;
    /// let settings = billing.settings().groups(GroupPolicy::Skip);
    /// billing.configure(settings).await?;
    /// # Ok(()) }
    /// ```
    pub fn settings(&self) -> QueueSettings {
        self.id().map(|id| self.engine.store.catalog.row(id).settings).unwrap_or_default()
    }

    /// Starts nothing of this queue any more, until it is resumed; running jobs finish. Durable.
    /// False if it was paused already.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let billing = pond.queue("billing")?;
    /// assert!(billing.pause().await?);
    /// assert!(!billing.pause().await?);
    /// assert!(billing.is_paused());
    /// assert!(billing.resume().await?);
    /// # Ok(()) }
    /// ```
    pub fn pause(&self) -> Commit<bool> {
        self.set_paused(true)
    }

    /// Lets a paused queue go on. False if it was not paused.
    pub fn resume(&self) -> Commit<bool> {
        self.set_paused(false)
    }

    fn set_paused(&self, paused: bool) -> Commit<bool> {
        let (queue, name) = (self.name.clone(), self.name.clone());
        let change = self.engine.change(move |batch| control::pause_queue(batch, &queue, paused));
        Commit::new(async move {
            let is_changed = change.await?;
            log_paused(is_changed, &name, None, paused);
            Ok(is_changed)
        })
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.id().is_some_and(|id| self.engine.store.catalog.row(id).paused)
    }

    /// Starts nothing of this group any more, until it is resumed; a running job finishes. Durable,
    /// also for a group that has no jobs yet. False if it was paused already.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let billing = pond.queue("billing")?;
    /// billing.pause_group("order-7").await?;
    ///
    /// let held = billing.enqueue(NewJob::json("charge", &7).group("order-7")).await?;
    /// assert_eq!(pond.explain(held)?, Explanation::GroupPaused);
    /// billing.resume_group("order-7").await?;
    /// # Ok(()) }
    /// ```
    pub fn pause_group(&self, group: &str) -> Commit<bool> {
        self.set_group_paused(group, true)
    }

    /// Lets a paused group go on. False if it was not paused.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    pub fn resume_group(&self, group: &str) -> Commit<bool> {
        self.set_group_paused(group, false)
    }

    fn set_group_paused(&self, group: &str, paused: bool) -> Commit<bool> {
        let (engine, queue) = (self.engine.clone(), self.name.clone());
        let group: Arc<str> = group.into();
        Commit::new(async move {
            check_key("group", &group)?;
            let looker = engine.clone();
            let (name, of_name) = (queue.clone(), group.clone());
            let write = move |batch: &mut Batch<'_>| {
                control::pause_group(batch, &queue, &group, paused, |id| looker.scheduler().order_of_handed_out(id))
            };
            let is_changed = engine.change(write).await?;
            log_paused(is_changed, &name, Some(&of_name), paused);
            Ok(is_changed)
        })
    }

    /// Its counts, as of the last commit.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let billing = pond.queue("billing")?;
    /// billing.enqueue(NewJob::json("charge", &7)).await?;
    /// billing.enqueue(NewJob::json("charge", &8).delay(Duration::from_secs(60))).await?;
    ///
    /// let counts = billing.counts();
    /// assert_eq!((counts.pending, counts.scheduled, counts.unfinished()), (1, 1, 2));
    /// # Ok(()) }
    /// ```
    pub fn counts(&self) -> Counts {
        self.id().map(|id| inspect::counts(&self.engine, id)).unwrap_or_default()
    }

    /// Its token bucket, to be used by hand: for calls outside handlers that draw on the same limit.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .rate_limit(Rate::per_minute(60).burst(10))
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .start()?;
    ///
    /// let rate = pond.queue("billing")?.rate();
    /// rate.take(4).await?;
    /// assert_eq!(rate.available(), 6.0);
    /// # Ok(()) }
    /// ```
    pub fn rate(&self) -> RateHandle {
        RateHandle { engine: self.engine.clone(), queue: self.name.clone(), group: None }
    }

    /// One group's token bucket.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .group_rate_limit(Rate::per_minute(60).burst(2))
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .start()?;
    ///
    /// let billing = pond.queue("billing")?;
    /// billing.group_rate("customer-1")?.take(2).await?;
    /// assert_eq!(billing.group_rate("customer-1")?.available(), 0.0);
    /// assert_eq!(billing.group_rate("customer-2")?.available(), 2.0);
    /// # Ok(()) }
    /// ```
    pub fn group_rate(&self, group: &str) -> Result<RateHandle, Error> {
        check_key("group", group)?;
        Ok(RateHandle { engine: self.engine.clone(), queue: self.name.clone(), group: Some(group.into()) })
    }
}

fn log_paused(is_changed: bool, queue: &str, group: Option<&str>, paused: bool) {
    match paused {
        _ if !is_changed => {}
        true => tracing::info!(queue, group, "paused"),
        false => tracing::info!(queue, group, "resumed"),
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A token bucket, used by hand.
///
/// The rate is the worker's: a worker that sets none limits nothing, and tokens can be taken only while there is a worker.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// # pond.worker("crm")
/// #     .rate_limit(Rate::per_second(1).burst(2))
/// #     .handle(|_: Job<Charge>| async { Ok(()) })
/// #     .start()?;
/// let crm = pond.queue("crm")?.rate();
/// match crm.take(1).await {
///     Ok(()) => println!("call the CRM"),
///     Err(Error::RateLimited { retry_in, .. }) => println!("not before {retry_in:?}"),
///     Err(other) => return Err(other.into()),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RateHandle {
    engine: Arc<Engine>,
    queue: Arc<str>,
    group: Option<Arc<str>>,
}

impl RateHandle {
    /// # Errors
    /// The queue is closed: for a call that has nothing to do.
    fn unless_closed(&self) -> Result<(), Error> {
        if self.engine.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Its bucket. A queue of which nothing is stored, and which no worker uses, has none.
    fn key(&self) -> Option<BucketKey> {
        let queue = self.engine.store.catalog.find_queue(&self.queue)?;
        Some(BucketKey { queue, group: self.group.clone() })
    }

    /// Takes so many tokens, durably.
    ///
    /// # Errors
    /// [`Error::RateLimited`] with the wait if there are not enough; nothing is taken then.
    /// [`Error::InvalidConfig`] for more than the burst. [`Error::NoWorker`] if the queue's worker, which sets the rate, was
    /// not started yet or was stopped. A worker that sets no rate limits nothing.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let clock = ManualClock::new();
    /// # let pond = in_memory(&clock)?;
    /// # pond.worker("crm")
    /// #     .rate_limit(Rate::per_second(1))
    /// #     .handle(|_: Job<Charge>| async { Ok(()) })
    /// #     .start()?;
    /// let crm = pond.queue("crm")?.rate();
    /// crm.take(1).await?;
    /// assert!(matches!(crm.take(1).await, Err(Error::RateLimited { .. })));
    ///
    /// clock.advance(Duration::from_secs(1));
    /// crm.take(1).await?;
    /// # Ok(()) }
    /// ```
    pub fn take(&self, tokens: u32) -> Commit<()> {
        let handle = self.clone();
        Commit::new(async move {
            handle.engine.store.check_process()?;
            handle.unless_closed()?;
            let now = handle.engine.now();
            let key = handle.key().filter(|key| handle.engine.has_worker(key.queue));
            let key = key.ok_or_else(|| Error::NoWorker { queue: handle.queue.to_string() })?;
            let taken = handle.engine.scheduler().take_tokens(&key, tokens, now);
            let has_changed = taken.map_err(|retry_in| match retry_in {
                Duration::MAX => Error::config("tokens", format!("{tokens} is more than the bucket ever holds")),
                retry_in => Error::RateLimited { retry_in },
            })?;
            if !has_changed {
                return handle.unless_closed();
            }
            let saved = handle.save(key.clone()).await;
            if saved.as_ref().is_err_and(|error| !matches!(error, Error::OutcomeUnknown { .. })) {
                handle.engine.scheduler().give_tokens_back(&key, tokens);
            }
            saved
        })
    }

    /// Fills the bucket and lifts whatever hold a handler has put on it.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// # pond.worker("crm")
    /// #     .rate_limit(Rate::per_second(1).burst(5))
    /// #     .handle(|_: Job<Charge>| async { Ok(()) })
    /// #     .start()?;
    /// let crm = pond.queue("crm")?.rate();
    /// crm.take(5).await?;
    /// crm.reset().await?;
    /// assert_eq!(crm.available(), 5.0);
    /// # Ok(()) }
    /// ```
    pub fn reset(&self) -> Commit<()> {
        let handle = self.clone();
        Commit::new(async move {
            handle.engine.store.check_process()?;
            let now = handle.engine.now();
            let Some(key) = handle.key() else { return Ok(()) };
            handle.engine.scheduler().fill_bucket(&key, now);
            handle.engine.wake_dispatcher();
            handle.save(key).await
        })
    }

    /// Makes durable what the bucket holds when the commit is made: others may have changed it since, and an
    /// older state must not be written last.
    fn save(&self, key: BucketKey) -> Commit<()> {
        let (engine, queue) = (self.engine.clone(), self.queue.clone());
        self.engine.change(move |batch| {
            if engine.store.catalog.find_queue(&queue) != Some(key.queue) {
                // Its worker was stopped, and nothing of it is stored: its number may be another queue's by now.
                return Ok(());
            }
            let state = engine.scheduler().bucket_to_store(&key, engine.now());
            upkeep::save_bucket(batch, &key, state.as_ref())
        })
    }

    /// Tokens there now; infinite without a limit. A hold that a handler has put on the bucket does
    /// not show here: see [`available_in`](Self::available_in).
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let unlimited = pond.queue("billing")?.rate();
    /// assert_eq!(unlimited.available(), f64::INFINITY);
    /// # Ok(()) }
    /// ```
    pub fn available(&self) -> f64 {
        if self.engine.is_forked() {
            return 0.0;
        }
        let now = self.engine.now();
        self.key().map_or(f64::INFINITY, |key| self.engine.scheduler().tokens(&key, now))
    }

    /// How long until a token is available, if none is now: the bucket is empty, or a handler has answered
    /// [`Outcome::rate_limited`](crate::Outcome::rate_limited). `None` if a token is available now. This does not wait.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("crm")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::rate_limited(Duration::from_secs(30))) })
    ///     .start()?;
    /// pond.enqueue("crm", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("crm")?.rate().available_in(), Some(Duration::from_secs(30)));
    /// # Ok(()) }
    /// ```
    pub fn available_in(&self) -> Option<Duration> {
        if self.engine.is_forked() {
            return None;
        }
        let now = self.engine.now();
        self.key().and_then(|key| self.engine.scheduler().limited_for(&key, now))
    }
}

impl std::fmt::Debug for RateHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { queue, group, .. } = self;
        f.debug_struct("RateHandle").field("queue", queue).field("group", group).finish_non_exhaustive()
    }
}
