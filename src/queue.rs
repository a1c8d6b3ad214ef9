use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::inspect::{self, Counts};
use crate::job::{BucketKey, JobId, NewJob, QueueId, check_name};
use crate::runtime::{Commit, Engine};
use crate::scheduler::Reservation;
use crate::storage::{Batch, QueueSettings};
use crate::writer::{control, upkeep};

/// A named queue: steer it, look at it, enqueue into it. Cheap to clone.
///
/// ```no_run
/// # async fn example(pond: millpond::Millpond) -> Result<(), millpond::Error> {
/// let emails = pond.queue("emails")?;
/// emails.pause().await?;                    // durable; running jobs finish
/// println!("{} wait", emails.counts().pending);
/// emails.resume().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Queue {
    engine: Arc<Engine>,
    id: QueueId,
    name: Arc<str>,
}

impl Queue {
    pub(crate) fn new(engine: Arc<Engine>, id: QueueId) -> Self {
        let name = engine.store.catalog.queue_name(id);
        Self { engine, id, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Enqueues a job. The id is answered after the commit.
    ///
    /// # Errors
    /// Those of [`Millpond::enqueue`](crate::Millpond::enqueue).
    pub fn enqueue(&self, job: impl Into<NewJob>) -> Commit<JobId> {
        let ids = self.engine.enqueue(self.engine.prepare.prepare(&self.name, job.into()).map(|job| vec![job]));
        Commit::new(async move { Ok(ids.await?[0]) })
    }

    /// Replaces the queue's durable settings.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings that cannot work.
    pub fn configure(&self, settings: QueueSettings) -> Commit<()> {
        let (engine, queue) = (self.engine.clone(), self.id);
        Commit::new(async move {
            settings.check()?;
            engine.change(move |batch| control::set_settings(batch, queue, &settings)).await
        })
    }

    /// The queue's durable settings.
    pub fn settings(&self) -> QueueSettings {
        self.engine.store.catalog.row(self.id).settings
    }

    /// Starts nothing of this queue any more, until it is resumed; running jobs finish. Durable.
    /// False if it was paused already.
    pub fn pause(&self) -> Commit<bool> {
        let queue = self.id;
        self.engine.change(move |batch| control::pause_queue(batch, queue, true))
    }

    /// Lets a paused queue go on. False if it was not paused.
    pub fn resume(&self) -> Commit<bool> {
        let queue = self.id;
        self.engine.change(move |batch| control::pause_queue(batch, queue, false))
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.engine.store.catalog.row(self.id).paused
    }

    /// Starts nothing of this group any more, until it is resumed; a running job finishes. Durable,
    /// also for a group that has no jobs yet. False if it was paused already.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn pause_group(&self, group: &str) -> Commit<bool> {
        self.set_group_paused(group, true)
    }

    /// Lets a paused group go on. False if it was not paused.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn resume_group(&self, group: &str) -> Commit<bool> {
        self.set_group_paused(group, false)
    }

    fn set_group_paused(&self, group: &str, paused: bool) -> Commit<bool> {
        let (engine, queue) = (self.engine.clone(), self.id);
        let group: Arc<str> = group.into();
        Commit::new(async move {
            check_name("group", &group)?;
            let looker = engine.clone();
            let write = move |batch: &mut Batch<'_>| {
                control::pause_group(batch, queue, &group, paused, |id| looker.scheduler().order_in_flight(id))
            };
            engine.change(write).await
        })
    }

    /// Its counts, as of the last commit.
    pub fn counts(&self) -> Counts {
        inspect::counts(&self.engine, self.id)
    }

    /// Its token bucket, to be used by hand: for calls outside handlers that draw on the same limit.
    pub fn rate(&self) -> RateHandle {
        RateHandle { engine: self.engine.clone(), key: BucketKey { queue: self.id, group: None } }
    }

    /// One group's token bucket.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn group_rate(&self, group: &str) -> Result<RateHandle, Error> {
        check_name("group", group)?;
        let key = BucketKey { queue: self.id, group: Some(group.into()) };
        Ok(RateHandle { engine: self.engine.clone(), key })
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A token bucket, used by hand.
///
/// The rate is the worker's: without a worker that sets one, there is no limit.
#[derive(Clone)]
pub struct RateHandle {
    engine: Arc<Engine>,
    key: BucketKey,
}

impl RateHandle {
    /// Takes so many tokens, durably.
    ///
    /// # Errors
    /// [`Error::RateLimited`] with the wait if there are not enough; nothing is taken then.
    /// [`Error::InvalidConfig`] for more than the burst.
    pub fn take(&self, tokens: u32) -> Commit<()> {
        let handle = self.clone();
        Commit::new(async move {
            let now = handle.engine.now();
            let taken = handle.engine.scheduler().take_tokens(&handle.key, tokens, now);
            let reservation = taken.map_err(|retry_in| match retry_in {
                Duration::MAX => Error::config("tokens", format!("{tokens} is more than the bucket ever holds")),
                retry_in => Error::RateLimited { retry_in },
            })?;
            match reservation {
                Some(reservation) => handle.save(reservation).await,
                None if handle.engine.is_closed() => Err(Error::Closed),
                None => Ok(()),
            }
        })
    }

    /// Fills the bucket and lifts whatever hold a handler has put on it.
    pub fn reset(&self) -> Commit<()> {
        let handle = self.clone();
        Commit::new(async move {
            let now = handle.engine.now();
            let filled = handle.engine.scheduler().fill_bucket(&handle.key, now);
            handle.engine.wake_dispatcher();
            handle.save(filled).await
        })
    }

    fn save(&self, reservation: Reservation) -> Commit<()> {
        let Reservation { key, tokens, state } = reservation;
        self.engine.change(move |batch| upkeep::reserve(batch, &key, tokens, &state))
    }

    /// Tokens there now; infinite without a limit.
    pub fn available(&self) -> f64 {
        let now = self.engine.now();
        self.engine.scheduler().tokens(&self.key, now)
    }

    /// How long nothing starts, if nothing does now.
    pub fn wait(&self) -> Option<Duration> {
        let now = self.engine.now();
        self.engine.scheduler().limited_for(&self.key, now)
    }
}

impl std::fmt::Debug for RateHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateHandle").field("key", &self.key).finish_non_exhaustive()
    }
}
