//! One queue: its settings, counts, pauses and rate limits. [`removal`] has the verbs that empty, remove and rename it.

mod removal;

mod circuit;
mod overrides;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::inspect::{self, Counts, GroupPage};
use crate::job::{BucketKey, Enqueued, JobId, NewJob, QueueId, QueueSettings, check_key};
use crate::runtime::{Commit, Engine};
use crate::storage::Batch;
use crate::writer::{control, upkeep};
pub use removal::Obliterated;

/// A queue with this name: enqueue jobs in it, configure it, pause it, read its counts. It is cheap to clone.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let emails = pond.queue("emails")?;
/// emails.pause().await?;                    // durable; running jobs finish
/// println!("{} wait", emails.counts().pending);
/// emails.resume().await?;
/// # Ok(()) });
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

    /// The queue's number, if something of the queue is stored or a worker uses it. A name that was only looked up has
    /// none. `None` in a process that was forked from the one that opened the file: there the catalog may be locked for
    /// ever.
    fn id(&self) -> Option<QueueId> {
        if self.engine.is_forked() {
            return None;
        }
        self.engine.find_queue(&self.name)
    }

    /// The queue's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Enqueues a job. Returns its id after the commit.
    ///
    /// # Errors
    /// Those of [`Millpond::enqueue`](crate::Millpond::enqueue).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// let id = billing.enqueue(Charge { order: 7 }).await?;
    /// assert_eq!(pond.job(id)?.queue, "billing");
    /// # Ok(()) });
    /// ```
    pub fn enqueue(&self, job: impl Into<NewJob>) -> Commit<Enqueued> {
        let answers = self.engine.enqueue(self.engine.prepare(&self.name, job.into()).map(|job| vec![job]));
        Commit::new(async move { Ok(answers.await?[0]) })
    }

    /// Replaces all durable settings of the queue. To change one setting, start from [`settings`](Self::settings).
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings that cannot work, or that the queue of a [consumer](crate::Millpond::consumer) cannot
    /// have.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// billing.configure(QueueSettings::default().capacity(Capacity::jobs(1))).await?;
    ///
    /// billing.enqueue(NewJob::json("charge", &7)).await?;
    /// let full = billing.enqueue(NewJob::json("charge", &8)).await;
    /// assert!(matches!(full, Err(Error::QueueFull { jobs: 1, .. })));
    /// # Ok(()) });
    /// ```
    pub fn configure(&self, settings: QueueSettings) -> Commit<()> {
        let (engine, queue) = (self.engine.clone(), self.name.clone());
        Commit::new(async move {
            settings.check()?;
            let (name, jobs) = (queue.clone(), settings.group_concurrency);
            let mut is_to_fill = engine.change(move |batch| control::set_settings(batch, &name, &settings)).await?;
            let mut after: Option<Arc<str>> = None;
            while is_to_fill {
                let name = queue.clone();
                after = engine.change(move |batch| control::fill_groups(batch, &name, after.as_deref(), jobs)).await?;
                is_to_fill = after.is_some();
            }
            Ok(())
        })
    }

    /// The queue's durable settings.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// let settings = billing.settings().groups(GroupPolicy::Skip);
    /// billing.configure(settings).await?;
    /// # Ok(()) });
    /// ```
    pub fn settings(&self) -> QueueSettings {
        self.id().map(|id| self.engine.settings(id)).unwrap_or_default()
    }

    /// Pauses the queue: none of its jobs starts until the queue is resumed; running jobs finish. A pause is durable.
    /// Returns false if the queue was already paused.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// assert!(billing.pause().await?);
    /// assert!(!billing.pause().await?);
    /// assert!(billing.is_paused());
    /// assert!(billing.resume().await?);
    /// # Ok(()) });
    /// ```
    pub fn pause(&self) -> Commit<bool> {
        self.set_paused(true)
    }

    /// Resumes a paused queue. Returns false if it was not paused.
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

    /// Whether the queue is paused.
    pub fn is_paused(&self) -> bool {
        self.id().is_some_and(|id| self.engine.is_paused(id))
    }

    /// Pauses a group: none of its jobs starts until the group is resumed; a running job finishes. A pause is durable,
    /// also that of a group that has no jobs yet. Returns false if the group was already paused.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// billing.pause_group("order-7").await?;
    ///
    /// let held = billing.enqueue(NewJob::json("charge", &7).group("order-7")).await?;
    /// assert_eq!(pond.explain(held)?, Explanation::GroupPaused);
    /// billing.resume_group("order-7").await?;
    /// # Ok(()) });
    /// ```
    pub fn pause_group(&self, group: &str) -> Commit<bool> {
        self.set_group_paused(group, true)
    }

    /// Resumes a group that is paused. If it is not paused but held by a dead letter
    /// ([`GroupPolicy::Hold`](crate::GroupPolicy::Hold)), the group goes on without it, and the dead letter stays where it
    /// is. Of a group that is both, only the pause ends. Returns false if the group was neither.
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
            let of_engine = engine.clone();
            let (name, of_name) = (queue.clone(), group.clone());
            let write = move |batch: &mut Batch<'_>| {
                control::pause_group(batch, &queue, &group, paused, |id| of_engine.scheduler().order_of_handed_out(id))
            };
            let is_changed = engine.change(write).await?;
            log_paused(is_changed, &name, Some(&of_name), paused);
            Ok(is_changed)
        })
    }

    /// The job that holds this [unique key](crate::NewJob::unique) in the queue now, as of the last commit: an enqueue with
    /// the key would find it. A job that ran or ended and is gone can be the one, as long as it holds the key. `None` if the
    /// key is free.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], and storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// assert_eq!(billing.unique_holder("order-7")?, None);
    /// let id = billing.enqueue(NewJob::new(Charge { order: 7 }).unique_key("order-7")).await?;
    /// assert_eq!(billing.unique_holder("order-7")?, Some(id.id));
    /// # Ok(()) });
    /// ```
    pub fn unique_holder(&self, key: &str) -> Result<Option<JobId>, Error> {
        check_key("unique key", key)?;
        self.engine.check_process()?;
        let Some(queue) = self.id() else { return Ok(None) };
        Ok(self.engine.unique_holder(&self.engine.reader()?, queue, key)?)
    }

    /// Frees a [unique key](crate::NewJob::unique) of the queue by hand, whoever holds it and for however long. The job goes
    /// on without the key. Returns false if the key was free.
    ///
    /// Idempotency keys are not freed by this.
    ///
    /// # Errors
    /// [`Error::InvalidKey`], and storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// let charge = || NewJob::new(Charge { order: 7 }).unique_key("order-7");
    /// billing.enqueue(charge()).await?;
    ///
    /// assert!(billing.release_unique_key("order-7").await?);
    /// assert!(billing.enqueue(charge()).await?.is_stored());
    /// # Ok(()) });
    /// ```
    pub fn release_unique_key(&self, key: &str) -> Commit<bool> {
        let (engine, queue, key) = (self.engine.clone(), self.name.clone(), key.to_owned());
        Commit::new(async move {
            check_key("unique key", &key)?;
            engine.change(move |batch| control::release_unique_key(batch, &queue, &key)).await
        })
    }

    /// The queue's counts, as of the last commit.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// billing.enqueue(NewJob::json("charge", &7)).await?;
    /// billing.enqueue(NewJob::json("charge", &8).delay(Duration::from_secs(60))).await?;
    ///
    /// let counts = billing.counts();
    /// assert_eq!((counts.pending, counts.scheduled, counts.unfinished()), (1, 1, 2));
    /// # Ok(()) });
    /// ```
    pub fn counts(&self) -> Counts {
        self.id().map(|id| inspect::counts(&self.engine, id)).unwrap_or_default()
    }

    /// How long the job waits that has been ready for the longest time; `None` if no job is ready. This is the queue's
    /// latency: a job that is due later counts from when it was due.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read). The age follows
    /// the wall clock.
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// assert_eq!(billing.oldest_ready_age()?, None);
    ///
    /// billing.enqueue(Charge { order: 7 }).await?;
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(billing.oldest_ready_age()?, Some(Duration::from_secs(60)));
    /// # Ok(()) });
    /// ```
    pub fn oldest_ready_age(&self) -> Result<Option<Duration>, Error> {
        self.engine.check_process()?;
        let Some(id) = self.id() else { return Ok(None) };
        self.engine.oldest_ready_age(id)
    }

    /// The queue's groups that have jobs or are paused, in the order of their names, each with what keeps its next job from
    /// running: up to `limit` of them (at least 1, at most 1,000) behind the name `after`. A call reads 10,000 jobs or 64
    /// MiB at most, so a page can be short and still have a [`next`](GroupPage::next) one.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.queue("orders")?;
    /// for order in ["order-7", "order-8", "order-9"] {
    ///     orders.enqueue(NewJob::json("charge", &order).group(order)).await?;
    /// }
    /// let first = orders.groups(None, 2)?;
    /// let second = orders.groups(first.next.as_deref(), 2)?;
    /// assert_eq!((first.groups.len(), second.groups.len(), second.next), (2, 1, None));
    /// # Ok(()) });
    /// ```
    pub fn groups(&self, after: Option<&str>, limit: usize) -> Result<GroupPage, Error> {
        self.engine.check_process()?;
        match self.id() {
            Some(id) => inspect::groups(&self.engine, id, after, limit),
            None => Ok(GroupPage { groups: Vec::new(), next: None }),
        }
    }

    /// The queue's token bucket, for code outside handlers that shares the same limit.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .rate_limit(Rate::per_minute(60).burst(10))
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .start()?;
    ///
    /// let rate = pond.queue("billing")?.rate();
    /// rate.take(4).await?;
    /// assert_eq!(rate.available(), 6.0);
    /// # Ok(()) });
    /// ```
    pub fn rate(&self) -> RateHandle {
        RateHandle { engine: self.engine.clone(), queue: self.name.clone(), group: None }
    }

    /// The token bucket of one group.
    ///
    /// # Errors
    /// [`Error::InvalidKey`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .group_rate_limit(Rate::per_minute(60).burst(2))
    ///     .handle(|_: Job<Charge>| async { Ok(()) })
    ///     .start()?;
    ///
    /// let billing = pond.queue("billing")?;
    /// billing.group_rate("customer-1")?.take(2).await?;
    /// assert_eq!(billing.group_rate("customer-1")?.available(), 0.0);
    /// assert_eq!(billing.group_rate("customer-2")?.available(), 2.0);
    /// # Ok(()) });
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

/// A token bucket, for code that takes tokens itself.
///
/// The worker sets the rate. Tokens can be taken only while the queue has a worker; without a rate there is no limit.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
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
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct RateHandle {
    engine: Arc<Engine>,
    queue: Arc<str>,
    group: Option<Arc<str>>,
}

impl RateHandle {
    /// # Errors
    /// If the queue is closed: for a call that has nothing else to do.
    fn unless_closed(&self) -> Result<(), Error> {
        if self.engine.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }

    /// The bucket's key. A queue of which nothing is stored, and which no worker uses, has none.
    fn key(&self) -> Option<BucketKey> {
        let queue = self.engine.find_queue(&self.queue)?;
        Some(BucketKey { queue, group: self.group.clone() })
    }

    /// Takes this many tokens, durably.
    ///
    /// # Errors
    /// [`Error::RateLimited`] with the time to wait if there are not enough tokens; none is taken then.
    /// [`Error::InvalidConfig`] for more tokens than the burst. [`Error::NoWorker`] if the queue has no worker, which
    /// sets the rate.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
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
    /// # Ok(()) });
    /// ```
    pub fn take(&self, tokens: u32) -> Commit<()> {
        let handle = self.clone();
        Commit::new(async move {
            handle.engine.check_process()?;
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

    /// Fills the bucket, and ends the wait that a handler has asked for with
    /// [`Outcome::rate_limited`](crate::Outcome::rate_limited).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # pond.worker("crm")
    /// #     .rate_limit(Rate::per_second(1).burst(5))
    /// #     .handle(|_: Job<Charge>| async { Ok(()) })
    /// #     .start()?;
    /// let crm = pond.queue("crm")?.rate();
    /// crm.take(5).await?;
    /// crm.reset().await?;
    /// assert_eq!(crm.available(), 5.0);
    /// # Ok(()) });
    /// ```
    pub fn reset(&self) -> Commit<()> {
        let handle = self.clone();
        Commit::new(async move {
            handle.engine.check_process()?;
            let now = handle.engine.now();
            let Some(key) = handle.key() else { return Ok(()) };
            handle.engine.scheduler().fill_bucket(&key, now);
            handle.engine.wake_dispatcher();
            handle.save(key).await
        })
    }

    /// Stores what the bucket holds at the moment of the commit, not at the moment of the call: other threads can
    /// change the bucket in between, and an older state must not be written last.
    fn save(&self, key: BucketKey) -> Commit<()> {
        let (engine, queue) = (self.engine.clone(), self.queue.clone());
        self.engine.change(move |batch| {
            if engine.find_queue(&queue) != Some(key.queue) {
                // The worker was stopped, and nothing of the queue is stored: its number may already belong to another
                // queue.
                return Ok(());
            }
            let state = engine.scheduler().bucket_to_store(&key, engine.now());
            upkeep::save_bucket(batch, &key, state.as_ref())
        })
    }

    /// The number of tokens that are available now; infinite without a limit. It does not include the wait that a
    /// handler has asked for with [`Outcome::rate_limited`](crate::Outcome::rate_limited): see
    /// [`available_in`](Self::available_in).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let unlimited = pond.queue("billing")?.rate();
    /// assert_eq!(unlimited.available(), f64::INFINITY);
    /// # Ok(()) });
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
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("crm")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::rate_limited(Duration::from_secs(30))) })
    ///     .start()?;
    /// pond.enqueue("crm", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("crm")?.rate().available_in(), Some(Duration::from_secs(30)));
    /// # Ok(()) });
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
