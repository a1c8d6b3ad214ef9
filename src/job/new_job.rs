//! A job to be enqueued, and its options.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::checked::ReadBack;
use super::codec::Codec;
use super::flow::FlowPlace;
use super::key_options::KeyOptions;
use super::kind_options::KindOptions;
use super::labels::Labels;
use super::name;
use super::payload::{Kind, Payload};
use super::priority::Priority;
use super::read_back::{self, read_back};
use super::retry::Backoff;
use super::stream::EntryOf;
use super::unique::Unique;
use crate::error::{BoxError, Error};
use crate::time::Timestamp;

/// A job to be enqueued: its kind, its payload, and what differs from the defaults.
///
/// A typed payload alone is accepted wherever a `NewJob` is.
///
/// ```
/// use millpond::{NewJob, Priority};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Serialize, Deserialize)]
/// struct Charge { order: u64 }
/// impl millpond::Kind for Charge { const KIND: &'static str = "charge"; }
///
/// let job = NewJob::new(Charge { order: 7 })
///     .group("order-7")
///     .delay(Duration::from_secs(30))
///     .priority(Priority::FIRST)
///     .max_attempts(3);
/// ```
///
/// It can be cloned, so that a call whose answer was lost can be made again. With an
/// [idempotency key](Self::idempotency_key) the second call gets the answer of the first.
#[derive(Clone, Debug)]
#[must_use = "a job does nothing until it is enqueued"]
pub struct NewJob {
    kind: Cow<'static, str>,
    payload: Result<Written, Unwritten>,
    /// `None` if it was given none: most jobs.
    options: Option<Box<Options>>,
    /// Returns the options of the kind, if the job was made from its type.
    of_kind: Option<fn() -> KindOptions>,
}

/// The name of the kind of a job that was checked, its payload and its options.
pub(crate) type Checked = (Cow<'static, str>, Payload, Option<Box<Options>>);

/// Why a payload could not be written. Clones of the job share it.
#[derive(Clone, Debug)]
struct Unwritten(Arc<BoxError>);

impl Unwritten {
    /// The error itself, if no clone of the job has it too.
    fn into_error(self) -> BoxError {
        Arc::try_unwrap(self.0).unwrap_or_else(|shared| Box::new(Self(shared)))
    }
}

impl std::fmt::Display for Unwritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unwritten {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// A payload, and what must be checked to know that its handler can read it.
#[derive(Clone, Debug)]
struct Written {
    payload: Payload,
    read_back: ReadBack,
    reader: Option<read_back::Reader>,
}

impl From<Payload> for Written {
    fn from(payload: Payload) -> Self {
        Self { payload, read_back: ReadBack::Needless, reader: None }
    }
}

impl Written {
    /// # Errors
    /// The handler could not read the payload, or would get a different value.
    fn check(self, kind: &str, payload_bytes_max: usize, compare: bool) -> Result<Payload, Error> {
        let Self { payload, read_back, reader } = self;
        let len = payload.bytes.len();
        if len > payload_bytes_max {
            return Err(Error::PayloadTooLarge { len, max: payload_bytes_max });
        }
        let read_back = if compare { ReadBack::Compare } else { read_back };
        if let Some(reader) = reader.filter(|_| read_back != ReadBack::Needless) {
            let refused = |error| Error::Unencodable { kind: kind.to_owned(), source: Box::new(error) };
            reader(&payload, read_back).map_err(refused)?;
        }
        Ok(payload)
    }
}

/// The options of a job that differ from the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub priority: Option<Priority>,
    pub group: Option<Arc<str>>,
    pub start: Option<StartTime>,
    pub expires: Option<Expires>,
    pub max_attempts: Option<u32>,
    pub at_most_once: bool,
    pub backoff: Option<Backoff>,
    pub timeout: Option<Duration>,
    pub weight: Option<u32>,
    pub keys: Option<Box<KeyOptions>>,
    pub labels: Option<Box<Labels>>,
    /// The entry of a stream that it was.
    pub entry: Option<Box<EntryOf>>,
    /// Its place in a flow, which [`NewJob::in_flow`] sets.
    pub flow: Option<FlowPlace>,
    /// Only a plugin's follow-up job has this.
    pub generation: u32,
}

impl Options {
    /// Sets the options that the job does not set itself.
    fn fill_in(&mut self, of_kind: KindOptions) {
        let KindOptions { priority, max_attempts, at_most_once, backoff, timeout, weight, expires_in } = of_kind;
        self.priority = self.priority.or(priority);
        if self.max_attempts.is_none() && !self.at_most_once {
            (self.max_attempts, self.at_most_once) = (max_attempts, at_most_once);
        }
        self.backoff = self.backoff.take().or(backoff);
        self.timeout = self.timeout.or(timeout);
        self.weight = self.weight.or(weight);
        self.expires = self.expires.or(expires_in.map(Expires::After));
    }

    /// # Errors
    /// An option cannot be accepted, or does not go with another one.
    fn check(&mut self) -> Result<(), Error> {
        if let Some(group) = &self.group {
            name::check_key("group", group)?;
        }
        if let Some(keys) = &self.keys {
            keys.check(self.group.is_some(), self.start.is_some())?;
        }
        if let Some(labels) = &mut self.labels {
            labels.check()?;
        }
        if let Some(entry) = &self.entry {
            name::check("stream", &entry.stream)?;
        }
        if self.max_attempts == Some(0) {
            return Err(Error::config("max_attempts", "0 attempts would never run the job: the least is 1".into()));
        }
        if self.at_most_once && self.max_attempts.is_some_and(|attempts| attempts > 1) {
            let reason = "a job that runs at most once has one attempt: leave out `max_attempts` or `at_most_once`";
            return Err(Error::config("at_most_once", reason.into()));
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(Error::config("timeout", "a timeout of zero would fail every attempt".into()));
        }
        if self.weight == Some(0) {
            return Err(Error::config("weight", "a job uses at least 1 unit of its limits".into()));
        }
        if let Some(backoff) = &self.backoff {
            backoff.check()?;
        }
        Ok(())
    }

    fn keys_mut(&mut self) -> &mut KeyOptions {
        self.keys.get_or_insert_default()
    }

    fn labels_mut(&mut self) -> &mut Labels {
        self.labels.get_or_insert_default()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum StartTime {
    After(Duration),
    At(Timestamp),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Expires {
    After(Duration),
    At(Timestamp),
}

impl NewJob {
    /// Makes a job with a typed payload. It has the [options of the kind](KindOptions) where it is not given others.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 });
    /// assert_eq!(job.kind(), "charge");
    /// ```
    pub fn new<K: Kind>(payload: K) -> Self {
        let written = |(payload, needed)| Written { payload, read_back: needed, reader: Some(read_back::<K>) };
        let job = Self::with(Cow::Borrowed(K::KIND), Payload::written(K::CODEC, &payload).map(written));
        Self { of_kind: Some(K::options), ..job }
    }

    /// Makes a job of the kind named `kind` with any value as JSON.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let job = NewJob::json("charge", &serde_json::json!({ "order": 7 }));
    /// let id = pond.enqueue("billing", job).await?;
    /// assert_eq!(&pond.job(id)?.payload.bytes[..], br#"{"order":7}"#);
    /// # Ok(()) });
    /// ```
    pub fn json<T: Serialize + ?Sized>(kind: impl Into<Cow<'static, str>>, payload: &T) -> Self {
        Self::with(kind, Payload::written(Codec::Json, payload).map(|(payload, _)| payload.into()))
    }

    /// Makes a job of the kind named `kind` with bytes that only its handler understands.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("thumbnails", NewJob::raw("png", &b"\x89PNG"[..])).await?;
    /// assert_eq!(pond.job(id)?.payload.codec, Codec::Raw);
    /// # Ok(()) });
    /// ```
    pub fn raw(kind: impl Into<Cow<'static, str>>, payload: impl Into<Bytes>) -> Self {
        Self::with(kind, Ok(Payload::raw(payload).into()))
    }

    /// How many plugins follow each other up to this job: 0 unless it is a plugin's follow-up job.
    pub(crate) fn generation(&self) -> u32 {
        self.options.as_ref().map_or(0, |options| options.generation)
    }

    pub(crate) fn with_generation(mut self, generation: u32) -> Self {
        if generation != self.generation() {
            self.options_mut().generation = generation;
        }
        self
    }

    /// Makes a job of the kind named `kind` with a payload that is encoded already, such as that of another job.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// let job = pond.job(id)?;
    /// let copy = pond.enqueue("audit", NewJob::encoded(job.kind, job.payload)).await?;
    /// assert_eq!(pond.job(copy)?.payload.codec, Codec::Json);
    /// # Ok(()) });
    /// ```
    pub fn encoded(kind: impl Into<Cow<'static, str>>, payload: Payload) -> Self {
        Self::with(kind, Ok(payload.into()))
    }

    fn with(kind: impl Into<Cow<'static, str>>, payload: Result<Written, BoxError>) -> Self {
        Self {
            kind: kind.into(),
            payload: payload.map_err(|error| Unwritten(Arc::new(error))),
            options: None,
            of_kind: None,
        }
    }

    /// The job does not start before `delay` has passed. [`Duration::MAX`] means never.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).delay(Duration::from_secs(30));
    /// ```
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options_mut().start = Some(StartTime::After(delay));
        self
    }

    /// The job does not start before this time of the wall clock: a [`SystemTime`](std::time::SystemTime) or a
    /// [`Timestamp`]. A time in the past means now.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let tomorrow = SystemTime::now() + Duration::from_secs(24 * 3600);
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7).run_at(tomorrow)).await?;
    /// assert_eq!(pond.job(id)?.run_at, Some(tomorrow.into()));
    /// # Ok(()) });
    /// ```
    pub fn run_at(mut self, at: impl Into<Timestamp>) -> Self {
        self.options_mut().start = Some(StartTime::At(at.into()));
        self
    }

    /// Which of the ready jobs start first: 0 (first) to 9 (last), 5 by default.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.enqueue("emails", NewJob::raw("mail", "newsletter").priority(Priority::LAST)).await?;
    /// pond.enqueue("emails", NewJob::raw("mail", "password reset").priority(Priority::FIRST)).await?;
    /// # let log = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    /// # let handled = log.clone();
    /// # pond.worker("emails").concurrency(1).handle_raw("mail", move |job: Job<bytes::Bytes>| {
    /// #     handled.lock().unwrap().push(job.into_inner());
    /// #     async { Ok(()) }
    /// # }).start()?;
    /// # drain(&pond).await;
    /// # let sent = log.lock().unwrap().clone();
    /// assert_eq!(sent, ["password reset", "newsletter"]);
    /// # Ok(()) });
    /// ```
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options_mut().priority = Some(priority);
        self
    }

    /// The jobs of a group run one at a time, in the order of their enqueues, or
    /// [several at a time](crate::QueueSettings::group_concurrency). A group is any text of 1 to 1,024 bytes.
    /// [`GroupPolicy`](crate::GroupPolicy) says what the group does while its first job waits.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let first = pond.enqueue("orders", NewJob::json("charge", &7).group("order-7")).await?;
    /// let second = pond.enqueue("orders", NewJob::json("ship", &7).group("order-7")).await?;
    /// assert!(matches!(pond.explain(second)?, Explanation::GroupBusy { head, ahead: 1, .. } if head == first));
    /// # Ok(()) });
    /// ```
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.options_mut().group = Some(group.into().into());
        self
    }

    /// The number of attempts, the first one included. At least 1. It replaces the worker's setting.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).max_attempts(1);
    /// ```
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.options_mut().max_attempts = Some(attempts);
        self
    }

    /// The handler is called at most once, instead of at least once. This is for effects that are worse if they happen twice
    /// than if they do not happen.
    ///
    /// The job has one attempt. If the process dies or is stopped while it runs, it is unknown how far the handler came.
    /// The job then becomes a dead letter with [`FailureKind::Crash`](crate::FailureKind::Crash) instead of running again.
    /// The same happens if its end could not be written before the process died. Its start is made durable before its handler is
    /// called, which costs a commit.
    ///
    /// A handler that returns [`snooze`](crate::Outcome::snooze) or [`rate_limited`](crate::Outcome::rate_limited) is called
    /// again, because it asks for that. It is also called again if the job is redriven.
    ///
    /// [`WorkerBuilder::at_most_once`](crate::WorkerBuilder::at_most_once) sets the same for all jobs of a worker.
    ///
    /// # Errors
    /// When it is enqueued: [`Error::InvalidConfig`] if [`max_attempts`](Self::max_attempts) is above 1.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # pond.worker("billing").handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) }).start()?;
    /// let id = pond.enqueue("billing", NewJob::new(Charge { order: 7 }).at_most_once()).await?;
    /// # drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Dead); // its handler has failed
    /// # Ok(()) });
    /// ```
    pub fn at_most_once(mut self) -> Self {
        self.options_mut().at_most_once = true;
        self
    }

    /// How long the job waits between attempts. It replaces the worker's setting.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).backoff(Backoff::Fixed(Duration::from_secs(10)));
    /// ```
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options_mut().backoff = Some(backoff);
        self
    }

    /// The longest time of one attempt. It must not be zero, and replaces the worker's setting.
    /// [`WorkerBuilder::timeout`](crate::WorkerBuilder::timeout) says when the time begins and what a timeout ends.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).timeout(Duration::from_secs(30));
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options_mut().timeout = Some(timeout);
        self
    }

    /// How many units of a [limit](crate::Builder::limit) the job uses while it runs, if its worker says that it uses one.
    /// At least 1, or the job is refused when it is enqueued. Default 1.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("training", NewJob::new(Charge { order: 7 }).weight(3)).await?;
    /// assert_eq!(pond.job(id)?.weight, 3);
    /// # Ok(()) });
    /// ```
    pub fn weight(mut self, units: u32) -> Self {
        self.options_mut().weight = Some(units);
        self
    }

    /// The job was this entry of a stream: for one that is stored again, in another file or queue. [`Job::entry`](crate::Job::entry)
    /// and [`JobInfo::entry`](crate::JobInfo::entry) say so. It moves no consumer, and the stream need not be there.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("orders:billing", NewJob::new(Charge { order: 7 }).entry("orders", 12)).await?;
    /// assert_eq!(pond.job(id)?.entry.expect("it was one").offset, 12);
    /// # Ok(()) });
    /// ```
    pub fn entry(mut self, stream: impl AsRef<str>, offset: u64) -> Self {
        self.options_mut().entry = Some(Box::new(EntryOf::new(stream.as_ref().into(), offset)));
        self
    }

    /// The job ends as cancelled, with the reason `expired`, if it has not started within this time after its enqueue.
    ///
    /// A job expires wherever it waits: in a paused queue or group, in a queue without a worker, behind other jobs of its
    /// group, or before it is due. An expired job takes no room in a full queue, and its unique key is held as after any
    /// other end. A job that has started does not expire: it is retried as usual, and becomes a dead letter after
    /// its last attempt has failed. Started means that an attempt failed, was snoozed or ran when the process died; an attempt that
    /// is taken back at a shutdown, or answers [`rate_limited`](crate::Outcome::rate_limited), counts for nothing.
    ///
    /// The time is measured to the millisecond. Setting the wall clock does not change it.
    /// [`Duration::MAX`] means never.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).expires_in(Duration::from_secs(60));
    /// let id = pond.enqueue("billing", job).await?;
    /// clock.advance(Duration::from_secs(60));
    ///
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// drain(&pond).await;
    /// let job = pond.job(id)?;
    /// assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("expired")));
    /// # Ok(()) });
    /// ```
    pub fn expires_in(mut self, after: Duration) -> Self {
        self.options_mut().expires = Some(Expires::After(after));
        self
    }

    /// The job ends as cancelled, with the reason `expired`, if it has not started by this time of the wall clock. A time in
    /// the past ends it at once. Everything else is as for [`expires_in`](Self::expires_in).
    ///
    /// ```
    /// # use doc_prelude::*;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let tonight = SystemTime::now() + Duration::from_secs(6 * 3600);
    /// let job = NewJob::new(Charge { order: 7 }).expires_at(tonight);
    /// ```
    pub fn expires_at(mut self, at: impl Into<Timestamp>) -> Self {
        self.options_mut().expires = Some(Expires::At(at.into()));
        self
    }

    /// At most one job of the queue holds this key, which is any text of 1 to 1,024 bytes. A job holds its key until it ends,
    /// and for at least five minutes after its enqueue ([`unique_for`](Self::unique_for)). Meanwhile an enqueue with the same
    /// key stores nothing and returns the id of that job. So a call that returned [`Error::OutcomeUnknown`], or whose result
    /// was lost, can be made again. [`unique`](Self::unique) has other ways to hold the key, and an
    /// [`idempotency_key`](Self::idempotency_key) is only about calls that are made again.
    ///
    /// [Cancelling](crate::Millpond::cancel) the job, or [purging](crate::DeadLetters::purge) it, frees its
    /// key at once. No other end does that, and a dead letter does not hold its key for longer than other ended jobs. A
    /// redriven job holds its key again, unless another job holds it by then. It is redriven in both cases.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7).unique_key("order-7")).await?;
    /// let again = pond.enqueue("billing", NewJob::json("charge", &7).unique_key("order-7")).await?;
    /// assert_eq!(again.id, id.id);
    /// assert_eq!(pond.queue("billing")?.counts().pending, 1);
    /// # Ok(()) });
    /// ```
    pub fn unique_key(mut self, key: impl Into<String>) -> Self {
        self.options_mut().keys_mut().unique_key = Some(key.into());
        self
    }

    /// Gives the job a [`unique_key`](Self::unique_key) that is held as `mode` says: until the job has started or ended, or
    /// for a window of time. The mode also says what happens if the key is held: the job that is there is kept or replaced.
    /// [`Unique::until_ended`] alone is the same as `unique_key`. With every other mode, the key is held until the job has
    /// started or ended and not for five minutes more.
    ///
    /// # Errors
    /// When it is enqueued: [`Error::InvalidConfig`] for a mode that cannot work, and for [`group`](Self::group) with
    /// [`Unique::keep_latest`] or [`delay`](Self::delay) and [`run_at`](Self::run_at) with [`Unique::debounce`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let profile = |name: &str| NewJob::json("index", name).unique("user-7", Unique::until_started().replace());
    /// let first = pond.enqueue("search", profile("Ada")).await?;
    /// let second = pond.enqueue("search", profile("Ada Lovelace")).await?;
    ///
    /// assert_eq!((second.id, second.status), (first.id, EnqueueStatus::Replaced));
    /// assert_eq!(pond.job(first)?.payload.decode::<String>()?, "Ada Lovelace");
    /// # Ok(()) });
    /// ```
    pub fn unique(mut self, key: impl Into<String>, mode: Unique) -> Self {
        let keys = self.options_mut().keys_mut();
        (keys.unique_key, keys.unique) = (Some(key.into()), mode);
        self
    }

    /// Names this call, so that it can be made again: an enqueue in the same queue with the same key stores nothing and
    /// returns what became of the first one, its job's id. The key is any text of 1 to 1,024 bytes, and is kept for 24 hours
    /// after the enqueue ([`idempotency_for`](Self::idempotency_for)) whatever becomes of the job: it may end, be cancelled,
    /// deleted or moved to another queue meanwhile.
    ///
    /// A [`unique_key`](Self::unique_key) is another wish: one of these at a time. A job can have both; the idempotency key
    /// is looked at first. If another job holds the unique key, the answer is that job, also when the call is made again.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let charge = NewJob::json("charge", &7).idempotency_key("request-4f2a");
    /// let first = pond.enqueue("billing", charge.clone()).await?;
    /// pond.delete(first).await?;
    ///
    /// let again = pond.enqueue("billing", charge).await?;
    /// assert_eq!((again.id, again.status), (first.id, EnqueueStatus::Duplicate));
    /// # Ok(()) });
    /// ```
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options_mut().keys_mut().idempotency_key = Some(key.into());
        self
    }

    /// How long after its enqueue the [`idempotency_key`](Self::idempotency_key) is kept. The default is 24 hours, the
    /// maximum 30 days, and it must not be zero. Setting the wall clock does not change this time.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let charge = NewJob::json("charge", &7).idempotency_key("request-4f2a").idempotency_for(Duration::from_secs(3600));
    /// ```
    pub fn idempotency_for(mut self, time: Duration) -> Self {
        self.options_mut().keys_mut().idempotency_for = Some(time);
        self
    }

    /// How long after its enqueue the job holds its [`unique_key`](Self::unique_key) even if it has ended. The default is
    /// five minutes, the maximum 30 days. With zero, the job holds the key only until it ends.
    ///
    /// Setting the wall clock does not change this time.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// # pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// let charge = || NewJob::new(Charge { order: 7 }).unique_key("order-7").unique_for(Duration::from_secs(60));
    /// let id = pond.enqueue("billing", charge()).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.enqueue("billing", charge()).await?.id, id.id); // it is done, and known
    ///
    /// clock.advance(Duration::from_secs(60));
    /// assert!(pond.enqueue("billing", charge()).await? > id);
    /// # Ok(()) });
    /// ```
    pub fn unique_for(mut self, at_least: Duration) -> Self {
        self.options_mut().keys_mut().unique_for = Some(at_least);
        self
    }

    /// Adds a tag, by which the job is found: [`JobFilter::tag`](crate::JobFilter::tag) lists the jobs that have it, in all
    /// queues or in one, without looking at the other jobs.
    ///
    /// A tag is a text of 1 to 64 bytes without control characters. A job has 16 tags at most; duplicates are dropped. It
    /// keeps its tags as long as it is kept, also as a dead letter or a completed job. Each tag is a row of its own in the
    /// file; a job without tags has no cost. [`JobPatch::tags`](crate::JobPatch::tags) replaces the tags of a job that waits.
    ///
    /// # Errors
    /// When it is enqueued: [`Error::InvalidTag`], [`Error::TooManyTags`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).tag("customer:ada").tag("import 2026");
    /// let id = pond.enqueue("billing", job).await?;
    /// # pond.enqueue("billing", Charge { order: 8 }).await?;
    ///
    /// let page = pond.jobs(&JobFilter::new().tag("customer:ada"), None, 10)?;
    /// assert_eq!(page.jobs.len(), 1);
    /// assert_eq!(page.jobs[0].id, id);
    /// assert_eq!(page.jobs[0].tags, ["customer:ada", "import 2026"]);
    /// # Ok(()) });
    /// ```
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.options_mut().labels_mut().tags.push(tag.into());
        self
    }

    /// Adds several [tags](Self::tag).
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).tags(["customer:ada", "import 2026"]);
    /// ```
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.options_mut().labels_mut().tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Sets a header: a text with a name that goes to the handler beside the payload ([`Job::header`](crate::Job::header)),
    /// such as the id of a request or the tenant of a job. The same name again replaces the value.
    ///
    /// A name has 1 to 128 bytes, and upper and lower case are different. All names and values of a job together have 4 KiB
    /// at most. Headers are not indexed. They do not pass the [payload codec](crate::PayloadCodec). A job keeps them as long
    /// as it is kept.
    ///
    /// # Errors
    /// When it is enqueued: [`Error::InvalidHeader`], [`Error::HeadersTooLarge`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::new(Charge { order: 7 }).header("tenant", "ada")).await?;
    /// assert_eq!(pond.job(id)?.headers["tenant"], "ada");
    ///
    /// pond.worker("billing")
    ///     .handle(|job: Job<Charge>| async move {
    ///         println!("charging for {}", job.header("tenant").unwrap_or("nobody"));
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// # Ok(()) });
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options_mut().labels_mut().headers.insert(name.into(), value.into());
        self
    }

    /// Sets several [headers](Self::header).
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let headers = [("tenant", "ada"), ("request", "4711")];
    /// let job = NewJob::new(Charge { order: 7 }).headers(headers);
    /// ```
    pub fn headers<N: Into<String>, V: Into<String>>(mut self, headers: impl IntoIterator<Item = (N, V)>) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.options_mut().labels_mut().headers.extend(headers);
        self
    }

    fn options_mut(&mut self) -> &mut Options {
        self.options.get_or_insert_default()
    }

    /// The kind's name.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The first option that it was given, by the name of its method. The options of its kind do not count.
    pub(crate) fn option_set(&self) -> Option<&'static str> {
        self.options_set(|_| true)
    }

    /// The first of these options that it was given, by the name of its method.
    fn options_set(&self, of: impl Fn(&str) -> bool) -> Option<&'static str> {
        let Options {
            priority,
            group,
            start,
            expires,
            max_attempts,
            at_most_once,
            backoff,
            timeout,
            weight,
            keys,
            labels,
            entry,
            generation: _,
            flow: _,
        } = self.options.as_deref()?;
        let (keys, labels) = (keys.as_deref(), labels.as_deref());
        let options = [
            (priority.is_some(), "priority"),
            (group.is_some(), "group"),
            (matches!(start, Some(StartTime::After(_))), "delay"),
            (matches!(start, Some(StartTime::At(_))), "run_at"),
            (matches!(expires, Some(Expires::After(_))), "expires_in"),
            (matches!(expires, Some(Expires::At(_))), "expires_at"),
            (max_attempts.is_some(), "max_attempts"),
            (*at_most_once, "at_most_once"),
            (backoff.is_some(), "backoff"),
            (timeout.is_some(), "timeout"),
            (weight.is_some(), "weight"),
            (labels.is_some_and(|labels| !labels.tags.is_empty()), "tags"),
            (labels.is_some_and(|labels| !labels.headers.is_empty()), "headers"),
            (entry.is_some(), "entry"),
        ];
        let of_keys = keys.and_then(KeyOptions::option_set);
        options.into_iter().find(|(is_set, name)| *is_set && of(name)).map(|(_, option)| option).or(of_keys)
    }

    /// The job as an entry of a stream. The options of its kind do not hold for it.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for an option that an entry cannot have.
    pub(crate) fn into_entry(self) -> Result<Self, Error> {
        match self.options_set(|option| !matches!(option, "group" | "tags" | "headers")) {
            None => Ok(Self { of_kind: None, ..self }),
            Some(option) => {
                let reason = format!(
                    "an entry of a stream cannot have the option `{option}`: it has a key (its `group`), tags and headers, and its consumers say how it is handled"
                );
                Err(Error::config("append", reason))
            }
        }
    }

    /// The job as a part of a flow.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`]: it has a key.
    pub(crate) fn in_flow(mut self, place: FlowPlace) -> Result<Self, Error> {
        let keys = self.options.as_ref().and_then(|options| options.keys.as_deref());
        if let Some(option) = keys.and_then(KeyOptions::option_set) {
            let reason = format!(
                "a job of a flow cannot have the option `{option}`: the name of the flow says whether it is there already"
            );
            return Err(Error::config("job", reason));
        }
        self.options_mut().flow = Some(place);
        Ok(self)
    }

    /// The job of a schedule, without its expiry, and how long after its enqueue each run expires.
    ///
    /// # Errors
    /// It has an option that is about one job only.
    pub(crate) fn for_a_schedule(mut self) -> Result<(Self, Option<Duration>), Error> {
        let refused = |option: &str, instead: &str| {
            Err(Error::config("job", format!("the job of a schedule cannot have the option `{option}`: {instead}")))
        };
        let Some(options) = &mut self.options else { return Ok((self, None)) };
        match options.start {
            Some(StartTime::After(_)) => return refused("delay", "the schedule says when it starts"),
            Some(StartTime::At(_)) => return refused("run_at", "the schedule says when it starts"),
            None => {}
        }
        if options.entry.is_some() {
            return refused("entry", "the runs are jobs of their own");
        }
        let keys = options.keys.as_deref();
        if keys.is_some_and(|keys| keys.unique_key.is_some()) {
            return refused(
                "unique_key",
                "the schedule's `overlap` says what happens while the previous run has not ended",
            );
        }
        if keys.is_some_and(|keys| keys.idempotency_key.is_some()) {
            return refused("idempotency_key", "each run is a job of its own, and none is made twice");
        }
        let expires_in = match options.expires.take() {
            Some(Expires::At(_)) => return refused("expires_at", "use `expires_in`"),
            Some(Expires::After(after)) => Some(after),
            None => None,
        };
        Ok((self, expires_in))
    }

    /// Checks everything that can be checked without the store. With `compare`, each typed payload is read back and
    /// compared.
    pub(crate) fn check(self, payload_bytes_max: usize, compare: bool) -> Result<Checked, Error> {
        let Self { kind, payload, mut options, of_kind } = self;
        let unencodable =
            |unwritten: Unwritten| Error::Unencodable { kind: kind.to_string(), source: unwritten.into_error() };
        let payload = payload.map_err(unencodable)?;
        let payload = payload.check(&kind, payload_bytes_max, compare)?;
        if let Some(of_kind) = of_kind.map(|of_kind| of_kind()).filter(|of_kind| *of_kind != KindOptions::new()) {
            options.get_or_insert_default().fill_in(of_kind);
        }
        if let Some(options) = &mut options {
            options.check()?;
        }
        Ok((kind, payload, options))
    }
}

impl<K: Kind> From<K> for NewJob {
    fn from(payload: K) -> Self {
        Self::new(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> KindOptions {
        KindOptions::new()
            .priority(Priority::LAST)
            .max_attempts(3)
            .backoff(Backoff::Fixed(Duration::from_secs(3)))
            .timeout(Duration::from_secs(3))
            .expires_in(Duration::from_secs(3))
    }

    #[test]
    fn an_option_of_the_job_stays_and_the_kinds_options_fill_in_the_others() {
        let mut plain = Options::default();
        plain.fill_in(all());
        assert_eq!((plain.priority, plain.max_attempts), (Some(Priority::LAST), Some(3)));
        assert_eq!(
            (plain.backoff, plain.timeout),
            (Some(Backoff::Fixed(Duration::from_secs(3))), Some(Duration::from_secs(3)))
        );
        assert!(matches!(plain.expires, Some(Expires::After(after)) if after == Duration::from_secs(3)));

        let own = Backoff::List(vec![Duration::ZERO]);
        let mut options = Options {
            priority: Some(Priority::default()),
            max_attempts: Some(1),
            backoff: Some(own.clone()),
            timeout: Some(Duration::MAX),
            expires: Some(Expires::After(Duration::MAX)),
            ..Options::default()
        };
        options.fill_in(all());
        assert_eq!((options.priority, options.max_attempts), (Some(Priority::default()), Some(1)));
        assert_eq!((options.backoff, options.timeout), (Some(own), Some(Duration::MAX)));
        assert!(matches!(options.expires, Some(Expires::After(Duration::MAX))));
    }

    #[test]
    fn the_number_of_attempts_and_at_most_once_are_one_option() {
        let mut once = Options { at_most_once: true, ..Options::default() };
        once.fill_in(all());
        assert_eq!((once.max_attempts, once.at_most_once), (None, true));

        let mut tries = Options { max_attempts: Some(2), ..Options::default() };
        tries.fill_in(KindOptions::new().at_most_once());
        assert_eq!((tries.max_attempts, tries.at_most_once), (Some(2), false));

        let mut plain = Options::default();
        plain.fill_in(KindOptions::new().at_most_once());
        assert_eq!((plain.max_attempts, plain.at_most_once), (None, true));
    }
}
