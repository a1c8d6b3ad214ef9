//! Events: what has happened to jobs and queues, published after the commit that made it durable; and what running attempts do.

mod filtered;
mod of_attempts;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::broadcast;

use crate::error::Error;
use crate::error::panics::{catch, drop_quietly};
use crate::job::{FlowState, JobId, PluginHash, Progress, Record};
use crate::sync::{MustNotWait, Mutex, MutexGuard, Process, block_on, may_wait};
use crate::time::Timestamp;
pub(crate) use filtered::EventFilter;
use filtered::Filtered;
pub(crate) use of_attempts::HeldEvents;
use of_attempts::OfAttempts;
pub use stream::EventStream;

/// Something that happened. It is published after the commit that made it durable, except [`Started`](Self::Started) and
/// [`Progress`](Self::Progress), which are about attempts that run, and those of links, which are in no commit. In its serialized form, the field `type` is the variant's
/// name, beside the variant's fields.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.worker("billing")
///     .retry(Retry::none())
///     .handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) })
///     .start()?;
/// let mut events = pond.events();
/// pond.enqueue("billing", Charge { order: 7 }).await?;
/// while let Some(Ok(event)) = events.next().await {
///     match event {
///         Event::Enqueued { id, .. } => println!("job {id} is on the disk"),
///         Event::Dead { reason, error, .. } => {
///             assert_eq!((reason.as_str(), error.as_deref()), ("no attempts left", Some("declined")));
///             break;
///         }
///         _ => {}
///     }
/// }
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Event {
    /// A job was enqueued.
    #[non_exhaustive]
    Enqueued {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
    },
    /// Retention has removed entries of a stream that a consumer was not done with. It goes on behind them.
    #[non_exhaustive]
    EntriesLost {
        /// The stream.
        stream: Arc<str>,
        /// The consumer.
        consumer: Arc<str>,
        /// The offset of the first one.
        from: u64,
        /// The offset from which the consumer goes on.
        to: u64,
        /// How many entries there were between the two that it was not done with.
        entries: u64,
    },
    /// An attempt has started: its handler is about to be called.
    ///
    /// Only listeners of [`events_with_attempts`](crate::Millpond::events_with_attempts) receive it. For them it comes after the event of
    /// the commit that made the job ready, such as [`Enqueued`](Self::Enqueued), and before the event of the attempt's end. No
    /// event of an end follows if the job goes back to its place, as at a shutdown, or if the process dies. While a commit is
    /// made, the event waits for it.
    #[non_exhaustive]
    Started {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
        /// Which attempt, counted from 1.
        attempt: u32,
    },
    /// A handler has reported progress with [`Context::progress`](crate::Context::progress).
    ///
    /// Only listeners of [`events_with_attempts`](crate::Millpond::events_with_attempts) receive it, and at most ten times in a second for
    /// each attempt, however often its handler reports. A report less than 100 ms after the last event of its attempt becomes no
    /// event; if it was the last one of the attempt, it becomes an event at the attempt's end. So the last report is always
    /// published, before the event of the attempt's end. A thread that still reports while the handler returns can be late: its
    /// event can come after that.
    #[non_exhaustive]
    Progress {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
        /// Which attempt, counted from 1.
        attempt: u32,
        /// What it has reported.
        progress: Progress,
    },
    /// Nothing of a flow can run any more: all of its jobs have ended, or the rest waits for jobs that have died or were
    /// cancelled. A redrive or an operator can make it run again.
    #[non_exhaustive]
    FlowSettled {
        /// The flow.
        name: Arc<str>,
        /// Its state.
        state: FlowState,
    },
    /// A job completed.
    #[non_exhaustive]
    Completed {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
        /// The attempt that completed it.
        attempt: u32,
        /// How long that attempt ran.
        took: Duration,
    },
    /// An attempt failed; the job will run again.
    #[non_exhaustive]
    Retrying {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
        /// Which attempt failed.
        attempt: u32,
        /// What went wrong.
        error: String,
        /// How long until the next attempt.
        delay: Duration,
    },
    /// A handler postponed its job without using up an attempt.
    #[non_exhaustive]
    Snoozed {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
        /// For how long.
        delay: Duration,
    },
    /// A job became a dead letter.
    #[non_exhaustive]
    Dead {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
        /// Why.
        reason: String,
        /// The last attempt's error, if an attempt failed.
        error: Option<String>,
        /// Whether the queue had no dead letters before it.
        first: bool,
    },
    /// [`Builder::on_dead`](crate::Builder::on_dead) failed for a job: the job is a dead letter without what the hook would
    /// have written. For jobs that a crash ended it happens while the file is opened, before anybody can listen: then only
    /// the log says so.
    #[non_exhaustive]
    OnDeadFailed {
        /// The job.
        id: JobId,
        /// The hook's error, or the message of its panic.
        error: String,
    },
    /// A job was cancelled by a caller or by its handler, or it expired.
    #[non_exhaustive]
    Cancelled {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A job was to end as dead or cancelled, and undoes its steps first: see [`Step::undo`](crate::Step::undo). Its end follows.
    #[non_exhaustive]
    Undoing {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
        /// Why it ends.
        reason: String,
    },
    /// A dead letter was put back into its queue.
    #[non_exhaustive]
    Redriven {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
    },
    /// A job was moved to another queue.
    #[non_exhaustive]
    Moved {
        /// The job.
        id: JobId,
        /// The queue in which it was.
        from: Arc<str>,
        /// The queue in which it is now.
        to: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
    },
    /// A job was removed for good.
    #[non_exhaustive]
    Deleted {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind.
        kind: Arc<str>,
    },
    /// No binding of a topic matches a message that was published, and the topic has no
    /// [alternate queue](crate::TopicSettings::alternate): nobody got it.
    #[non_exhaustive]
    Unrouted {
        /// The topic.
        topic: Arc<str>,
        /// The routing key.
        key: Arc<str>,
    },
    /// A queue was removed with all that belonged to it.
    #[non_exhaustive]
    QueueRemoved {
        /// The queue.
        queue: Arc<str>,
    },
    /// A queue got another name.
    #[non_exhaustive]
    QueueRenamed {
        /// Its name until then.
        from: Arc<str>,
        /// Its name from now on.
        to: Arc<str>,
    },
    /// A job was not stored, because a job with its unique key existed.
    #[non_exhaustive]
    Deduplicated {
        /// The job that existed.
        id: JobId,
        /// The queue of both.
        queue: Arc<str>,
        /// The kind of the job that was not stored.
        kind: Arc<str>,
        /// The unique key of both, or the idempotency key of both if the same call was made before.
        key: Arc<str>,
    },
    /// A waiting job was replaced by a new one with the same unique key, and keeps its id.
    #[non_exhaustive]
    Replaced {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// Its kind from now on.
        kind: Arc<str>,
        /// Its unique key.
        key: Arc<str>,
    },
    /// A queue, or one of its groups, was paused.
    #[non_exhaustive]
    Paused {
        /// The queue.
        queue: Arc<str>,
        /// The group, if it was only that.
        group: Option<Arc<str>>,
    },
    /// A queue, or one of its groups, was resumed.
    #[non_exhaustive]
    Resumed {
        /// The queue.
        queue: Arc<str>,
        /// The group, if it was only that.
        group: Option<Arc<str>>,
    },
    /// A job has become a dead letter, and its group waits for it ([`GroupPolicy::Hold`](crate::GroupPolicy::Hold)).
    #[non_exhaustive]
    GroupHeld {
        /// The queue.
        queue: Arc<str>,
        /// The group.
        group: Arc<str>,
        /// The dead letter.
        id: JobId,
    },
    /// A dead letter holds its group no longer: it has left the dead letters, or the group was
    /// [resumed](crate::Queue::resume_group) without it. The group can still be paused.
    #[non_exhaustive]
    GroupReleased {
        /// The queue.
        queue: Arc<str>,
        /// The group.
        group: Arc<str>,
        /// The job that is or was the dead letter.
        id: JobId,
    },
    /// A handler asked for a wait with [`Outcome::rate_limited`](crate::Outcome::rate_limited): no job of the queue or
    /// group starts until it is over.
    #[non_exhaustive]
    RateLimited {
        /// The queue.
        queue: Arc<str>,
        /// The group, if it was only that.
        group: Option<Arc<str>>,
        /// For how long.
        delay: Duration,
    },
    /// A [circuit breaker](crate::CircuitBreaker) has opened: too many attempts of the queue or group have failed, or the probe
    /// has. No job of it starts for a time.
    #[non_exhaustive]
    CircuitOpened {
        /// The queue.
        queue: Arc<str>,
        /// The group, if it was only that.
        group: Option<Arc<str>>,
        /// How many attempts have failed; 1 if it was the probe.
        failures: u32,
        /// Of how many attempts.
        ends: u32,
        /// For how long it is open.
        open_for: Duration,
        /// The job that was the probe, if the circuit was half open.
        probe: Option<JobId>,
    },
    /// A circuit that was open is closed: the queue or group starts jobs again.
    #[non_exhaustive]
    CircuitClosed {
        /// The queue.
        queue: Arc<str>,
        /// The group, if it was only that.
        group: Option<Arc<str>>,
        /// The job that was the probe and has completed. `None` if the circuit was closed
        /// [by hand](crate::Queue::close_circuit), if the queue's worker has no breaker any more, or if a group had no jobs
        /// for a day.
        probe: Option<JobId>,
    },
    /// A schedule has enqueued a job. [`Enqueued`](Self::Enqueued) is published as well.
    #[non_exhaustive]
    ScheduleFired {
        /// The schedule's name.
        schedule: Arc<str>,
        /// The job.
        id: JobId,
        /// Its queue.
        queue: Arc<str>,
        /// The time of the run.
        at: Timestamp,
    },
    /// Runs of a schedule were left out, because they were [missed](crate::Misfire) or because the previous run had not
    /// [ended](crate::Overlap).
    #[non_exhaustive]
    ScheduleMissed {
        /// The schedule's name.
        schedule: Arc<str>,
        /// The time of the first run that was left out.
        from: Timestamp,
        /// The time of the last one.
        to: Timestamp,
        /// Why.
        reason: String,
    },
    /// A run of a schedule is due, but cannot be enqueued yet, usually because its queue is full. It is tried again until
    /// it can. This is published once for each run that waits.
    #[non_exhaustive]
    ScheduleHeld {
        /// The schedule's name.
        schedule: Arc<str>,
        /// Why it waits.
        reason: String,
    },
    /// A row that could not be read was moved to the [quarantine](crate::Millpond::quarantine). The other rows are not affected.
    #[non_exhaustive]
    RowQuarantined {
        /// Its number in the quarantine.
        number: u64,
        /// The table that it was in.
        table: Arc<str>,
        /// Its queue, if the row's key names it.
        queue: Option<Arc<str>>,
        /// Its job, if the row's key names it.
        id: Option<JobId>,
    },
    /// A plugin failed so many times in a row that it is suspended: its jobs wait until it has a new version, or until
    /// it is resumed (`PluginHandle::resume`).
    #[non_exhaustive]
    PluginSuspended {
        /// The plugin's name.
        plugin: Arc<str>,
        /// The version that failed.
        hash: PluginHash,
        /// How many attempts in a row failed.
        failures: u32,
    },
    /// A plugin has a new version, which all attempts that start from now on run.
    #[non_exhaustive]
    PluginReloaded {
        /// The plugin's name.
        plugin: Arc<str>,
        /// The version.
        hash: PluginHash,
    },
    /// The file of a watched plugin (`Plugin::watch`) has changed but could not be loaded: the previous version stays
    /// in use.
    #[non_exhaustive]
    PluginNotReloaded {
        /// The plugin's name.
        plugin: Arc<str>,
        /// Why: a sentence.
        reason: String,
    },
    /// The engine of a [link](crate::Millpond::links) answers: for the first time, or after it did not.
    #[non_exhaustive]
    LinkConnected {
        /// The link's name.
        link: Arc<str>,
        /// Its queue in this file.
        queue: Arc<str>,
    },
    /// The engine of a link does not answer, or refuses what is asked of it. The link tries again. There is one such event for each
    /// outage.
    #[non_exhaustive]
    LinkLost {
        /// The link's name.
        link: Arc<str>,
        /// Its queue in this file.
        queue: Arc<str>,
        /// Why: the first error of the outage.
        error: String,
    },
    /// The engine of a link has lost what it had acknowledged. What is kept here is sent again, or what the engine still has is read
    /// again.
    #[non_exhaustive]
    LinkEngineWentBack {
        /// The link's name.
        link: Arc<str>,
        /// Its queue in this file.
        queue: Arc<str>,
        /// Batches of jobs that the engine has lost and that were not kept here any more.
        lost_batches: u64,
    },
    /// The file is an older copy of one that has sent more through this link. Jobs that it still has are sent again.
    #[non_exhaustive]
    LinkFileWentBack {
        /// The link's name.
        link: Arc<str>,
        /// Its queue in this file.
        queue: Arc<str>,
    },
    /// The file was compacted, because most of it was unused.
    #[non_exhaustive]
    Compacted {
        /// Its size before the compaction, in bytes.
        before: u64,
        /// Its size after the compaction, in bytes.
        after: u64,
    },
    /// The queue cannot do all of its work at the moment. `reason` says which of these it is:
    ///
    /// - An I/O error stopped the writer. Nothing is accepted until the file is open again. [`Healed`](Self::Healed)
    ///   follows then.
    /// - A guard from [`begin_write`](crate::Millpond::begin_write), or a transaction of the application in an attached
    ///   database, has kept the writer waiting for longer than [`write_wait_max`](crate::Builder::write_wait_max).
    ///   Nothing is accepted until it ends. [`Healed`](Self::Healed) follows then.
    /// - The file was deleted or replaced, or an attached database was restored to an earlier state. What is written
    ///   would be lost, so nothing is accepted until the file is opened anew; no [`Healed`](Self::Healed) follows.
    /// - A thread of the queue panicked. Nothing is accepted until the file is opened anew; no [`Healed`](Self::Healed) follows.
    /// - The async runtime of the handlers has ended. Calls and blocking handlers continue, but async handlers cannot
    ///   run until the file is opened anew in another runtime; no [`Healed`](Self::Healed) follows.
    #[non_exhaustive]
    Degraded {
        /// What went wrong.
        reason: String,
    },
    /// The writer works again after [`Degraded`](Self::Degraded): the file is open again, or the guard or transaction
    /// that it waited for has ended.
    Healed,
}

impl Event {
    /// Whether it is about an attempt that runs. Only listeners that ask for these events receive it.
    fn is_of_attempt(&self) -> bool {
        matches!(self, Self::Started { .. } | Self::Progress { .. })
    }

    pub(crate) fn dead(id: JobId, queue: Arc<str>, kind: Arc<str>, record: &Record, first: bool) -> Self {
        let extra = record.extra.as_deref();
        let reason = extra.and_then(|extra| extra.reason.clone()).unwrap_or_default();
        let error = extra.and_then(|extra| extra.errors.last()).map(|error| error.message.clone());
        Self::Dead { id, queue, kind, reason, error, first }
    }
}

/// The listener was too slow: some events were dropped. The listener continues with the event after them.
///
/// ```
/// # use doc_prelude::*;
/// async fn follow(mut events: Events) {
///     while let Some(event) = events.next().await {
///         match event {
///             Ok(Event::Dead { id, .. }) => println!("job {id} failed for good"),
///             Ok(_) => {}
///             Err(Missed { count, .. }) => println!("{count} events were dropped: read the counts instead"),
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the listener was too slow: {count} events were dropped; listen faster, or raise `events_buffer`")]
#[non_exhaustive]
pub struct Missed {
    /// How many events were dropped.
    pub count: u64,
}

/// A listener: it receives the events of all commits after its creation, through a bounded channel. A listener that is
/// too slow is told how many events it has [missed](Missed). It never slows the queue down.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let mut events = pond.events();
/// pond.queue("billing")?.pause().await?;
/// assert!(matches!(events.next().await, Some(Ok(Event::Paused { group: None, .. }))));
///
/// pond.shutdown(Duration::ZERO).await?;
/// assert_eq!(events.next().await, None);
/// # Ok(()) });
/// ```
#[derive(Debug)]
pub struct Events {
    /// `None` only while the listener is dropped.
    receiver: Option<broadcast::Receiver<Event>>,
    /// The process in which events are published. None are published in a process that was forked from it.
    process: Process,
}

impl Events {
    /// The channel. `None` in a forked process: no events are published there, and the channel may be locked for ever.
    fn receiver_here(&mut self) -> Option<&mut broadcast::Receiver<Event>> {
        if self.process.is_this() { self.receiver.as_mut() } else { None }
    }

    /// The next event; `None` when the queue is closed and all events were received.
    ///
    /// # Errors
    /// [`Missed`] if events were dropped because this listener was too slow. The next call returns the event after
    /// them.
    pub async fn next(&mut self) -> Option<Result<Event, Missed>> {
        match self.receiver_here()?.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Err(Missed { count })),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next event, for threads that may block; `None` when the queue is closed and all events were received. The
    /// inner result is that of [`next`](Self::next).
    ///
    /// # Errors
    /// [`Error::WouldDeadlock`] where the queue waits for the caller: inside a transaction, or in a callback.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// # let pond = Millpond::builder().open_backend(redb::backends::InMemoryBackend::new())?;
    /// let mut events = pond.events();
    /// let listener = std::thread::spawn(move || events.next_blocking());
    /// pond.queue("billing")?.pause().wait()?;
    /// assert!(matches!(listener.join().unwrap()?, Some(Ok(Event::Paused { .. }))));
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn next_blocking(&mut self) -> Result<Option<Result<Event, Missed>>, Error> {
        if !may_wait() {
            return Err(Error::WouldDeadlock);
        }
        Ok(block_on(self.next()))
    }

    /// The listener as a [`Stream`](futures_core::Stream). It ends when the queue is closed and all events were received.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use std::future::poll_fn;
    /// use std::pin::pin;
    ///
    /// use futures_core::Stream;
    ///
    /// let mut events = pin!(pond.events().into_stream());
    /// pond.queue("billing")?.pause().await?;
    /// let event = poll_fn(|cx| events.as_mut().poll_next(cx)).await;
    /// assert!(matches!(event, Some(Ok(Event::Paused { .. }))));
    /// # Ok(()) });
    /// ```
    pub fn into_stream(self) -> EventStream {
        EventStream::new(self)
    }

    /// The next event, if there is one now.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let mut events = pond.events();
    /// assert_eq!(events.try_next(), None);
    /// # Ok(()) });
    /// ```
    pub fn try_next(&mut self) -> Option<Result<Event, Missed>> {
        match self.receiver_here()?.try_recv() {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::TryRecvError::Lagged(count)) => Some(Err(Missed { count })),
            Err(_) => None,
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.process.is_this() {
            // Dropping the channel takes its lock, which may be held for ever here.
            std::mem::forget(self.receiver.take());
        }
    }
}

/// The application's hook for the first dead letter of a queue.
pub(crate) type DeadLetterHook = Arc<dyn Fn(&Event) + Send + Sync>;

/// Publishes events to listeners and to the hook.
pub(crate) struct EventBus {
    audience: Mutex<Option<Audience>>,
    of_attempts: OfAttempts,
    /// How many events a listener may be behind.
    buffer: usize,
    /// The process in which events are published.
    process: Process,
}

/// The receivers of events, until the queue is closed.
#[derive(Clone)]
struct Audience {
    listeners: broadcast::Sender<Event>,
    /// Listeners with a filter.
    filtered: Arc<[Filtered]>,
    hook: Option<DeadLetterHook>,
}

impl EventBus {
    pub fn new(buffer: usize, hook: Option<DeadLetterHook>) -> Self {
        let audience = Audience { listeners: broadcast::Sender::new(buffer), filtered: Arc::new([]), hook };
        Self {
            audience: Mutex::new(Some(audience)),
            of_attempts: OfAttempts::default(),
            buffer,
            process: Process::current(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Audience>> {
        self.audience.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn audience(&self) -> Option<Audience> {
        self.lock().clone()
    }

    pub fn listen(&self) -> Events {
        // In a forked process the lock may be held for ever.
        let audience = if self.process.is_this() { self.audience() } else { None };
        self.events(audience.map(|audience| audience.listeners.subscribe()))
    }

    /// A listener that receives only the events for which the filter returns true, and those of attempts only if it asks for
    /// them.
    pub fn listen_where(&self, filter: Box<EventFilter>, with_attempts: bool) -> Events {
        if !self.process.is_this() {
            return self.events(None);
        }
        let (filtered, receiver) = Filtered::new(filter, with_attempts, self.buffer);
        let (receiver, before) = match &mut *self.lock() {
            Some(audience) => {
                let heard = audience.filtered.iter().filter(|filtered| filtered.is_heard()).cloned();
                let now: Arc<[Filtered]> = heard.chain([filtered]).collect();
                self.of_attempts.set_heard(now.iter().any(|filtered| filtered.with_attempts));
                (Some(receiver), std::mem::replace(&mut audience.filtered, now))
            }
            None => (None, Arc::new([filtered]) as Arc<[Filtered]>),
        };
        // Outside of the lock: dropping a filter may run code of the application.
        drop(before);
        self.events(receiver)
    }

    fn events(&self, receiver: Option<broadcast::Receiver<Event>>) -> Events {
        // The queue is closed: a channel without a sender tells the listener so.
        let receiver = receiver.unwrap_or_else(|| broadcast::Sender::new(1).subscribe());
        Events { receiver: Some(receiver), process: self.process }
    }

    /// Whether there is a hook or a listener.
    pub fn is_heard(&self) -> bool {
        self.lock().as_ref().is_some_and(|audience| {
            let is_heard = audience.hook.is_some() || audience.listeners.receiver_count() > 0;
            is_heard || audience.filtered.iter().any(Filtered::is_heard)
        })
    }

    /// Whether a listener asks for the events of attempts. If not, they cost nothing from now on.
    fn still_hears_attempts(&self) -> bool {
        let audience = self.lock();
        let mut filtered = audience.iter().flat_map(|audience| &*audience.filtered);
        let is_heard = filtered.any(|filtered| filtered.with_attempts && filtered.is_heard());
        self.of_attempts.set_heard(is_heard);
        is_heard
    }

    pub fn publish(&self, events: impl IntoIterator<Item = Event>) {
        let Some(Audience { listeners, filtered, hook }) = self.audience() else { return };
        for event in events {
            if let (Some(hook), Event::Dead { first: true, .. }) = (&hook, &event) {
                call(&**hook, &event);
            }
            filtered.iter().for_each(|filtered| filtered.publish(&event));
            if !event.is_of_attempt() {
                // That there is no listener is not an error.
                let _ = listeners.send(event);
            }
        }
    }

    /// Tells every listener that no events follow, and drops the hook, which may hold a handle of this queue.
    pub fn close(&self) {
        let audience = self.lock().take();
        // Outside of the lock: dropping what the hook holds may run code of the application.
        drop_quietly(audience);
    }
}

/// Calls the application's hook. It runs on the writer's thread, or on that of a caller that makes its own commit. All
/// other calls wait for it, so it must not wait for the queue, and its panic must not end the thread.
fn call(hook: &(dyn Fn(&Event) + Send + Sync), event: &Event) {
    let _must_not_wait = MustNotWait::begin();
    if let Err(panic) = catch(|| hook(event)) {
        tracing::error!(panic = panic.text(), "the hook for first dead letters panicked");
    }
}
