//! A job that is to be enqueued, and its options.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::checked::ReadBack;
use super::name;
use super::payload::{Codec, Kind, Payload};
use super::priority::Priority;
use super::read_back::{self, read_back};
use super::retry::Backoff;
use crate::error::{BoxError, Error};
use crate::time::Timestamp;

/// A job to be enqueued: its kind, its payload, and what differs from the defaults.
///
/// A typed payload alone will do where a `NewJob` is asked for.
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
/// # let _ = job;
/// ```
#[derive(Debug)]
#[must_use = "a job does nothing until it is enqueued"]
pub struct NewJob {
    kind: Cow<'static, str>,
    payload: Result<Written, BoxError>,
    options: Options,
}

/// A payload, and what has to be done to know that its handler can read it.
#[derive(Debug)]
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
    /// Its handler could not read it, or would not get what was enqueued.
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

/// What differs from the defaults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub priority: Priority,
    pub group: Option<Arc<str>>,
    pub start: Option<StartTime>,
    pub expires: Option<Expires>,
    pub max_attempts: Option<u32>,
    pub at_most_once: bool,
    pub backoff: Option<Backoff>,
    pub timeout: Option<Duration>,
    pub unique_key: Option<String>,
    pub unique_for: Option<Duration>,
    /// Of a plugin's follow-up job.
    pub generation: u32,
}

/// How long a unique key is held at least: as long as a caller that was not told how the call went may
/// take to make it again. It is what SQS FIFO queues use.
pub(crate) const UNIQUE_FOR_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// And at most: until then each key is a row in the file, whatever became of its job.
const UNIQUE_FOR_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

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
    /// A typed job.
    ///
    /// ```
    /// # use millpond::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// let job = NewJob::new(Charge { order: 7 });
    /// assert_eq!(job.kind(), "charge");
    /// ```
    pub fn new<K: Kind>(payload: K) -> Self {
        let written = |(payload, needed)| Written { payload, read_back: needed, reader: Some(read_back::<K>) };
        Self::with(Cow::Borrowed(K::KIND), Payload::written(K::CODEC, &payload).map(written))
    }

    /// A job of the kind named `kind` with any value as JSON.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let job = NewJob::json("charge", &serde_json::json!({ "order": 7 }));
    /// let id = pond.enqueue("billing", job).await?;
    /// assert_eq!(&pond.job(id)?.payload.bytes[..], br#"{"order":7}"#);
    /// # Ok(()) }
    /// ```
    pub fn json<T: Serialize + ?Sized>(kind: impl Into<Cow<'static, str>>, payload: &T) -> Self {
        Self::with(kind, Payload::written(Codec::Json, payload).map(|(payload, _)| payload.into()))
    }

    /// A job of the kind named `kind` with bytes that only its handler understands.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("thumbnails", NewJob::raw("png", &b"\x89PNG"[..])).await?;
    /// assert_eq!(pond.job(id)?.payload.codec, Codec::Raw);
    /// # Ok(()) }
    /// ```
    pub fn raw(kind: impl Into<Cow<'static, str>>, payload: impl Into<Bytes>) -> Self {
        Self::with(kind, Ok(Payload::raw(payload).into()))
    }

    /// A follow-up job of a plugin.
    #[cfg(feature = "wasm")]
    pub(crate) fn generation(mut self, generation: u32) -> Self {
        self.options.generation = generation;
        self
    }

    /// A payload that is written already.
    #[cfg(feature = "wasm")]
    pub(crate) fn encoded(kind: String, codec: Codec, bytes: Bytes) -> Self {
        Self::with(kind, Ok(Payload { codec, bytes }.into()))
    }

    fn with(kind: impl Into<Cow<'static, str>>, payload: Result<Written, BoxError>) -> Self {
        Self { kind: kind.into(), payload, options: Options::default() }
    }

    /// Do not start before `delay` has passed. [`Duration::MAX`] means never.
    ///
    /// ```
    /// # use millpond::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// let job = NewJob::new(Charge { order: 7 }).delay(Duration::from_secs(30));
    /// # let _ = job;
    /// ```
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.start = Some(StartTime::After(delay));
        self
    }

    /// Do not start before this time of the wall clock: a [`SystemTime`](std::time::SystemTime) or a [`Timestamp`]. A time in the past means now.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// use std::time::{Duration, SystemTime};
    ///
    /// let tomorrow = SystemTime::now() + Duration::from_secs(24 * 3600);
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7).run_at(tomorrow)).await?;
    /// assert_eq!(pond.job(id)?.run_at, Some(tomorrow.into()));
    /// # Ok(()) }
    /// ```
    pub fn run_at(mut self, at: impl Into<Timestamp>) -> Self {
        self.options.start = Some(StartTime::At(at.into()));
        self
    }

    /// Which ready jobs go first: 0 (first) to 9 (last), 5 by default.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
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
    /// # Ok(()) }
    /// ```
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// One of a group runs at a time, in the order of enqueueing. A group is any text of 1 to 1,024 bytes. See the crate's
    /// documentation on groups for what a failing or delayed head does.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let first = pond.enqueue("orders", NewJob::json("charge", &7).group("order-7")).await?;
    /// let second = pond.enqueue("orders", NewJob::json("ship", &7).group("order-7")).await?;
    /// assert!(matches!(pond.explain(second)?, Explanation::GroupBusy { head, ahead: 1, .. } if head == first));
    /// # Ok(()) }
    /// ```
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.options.group = Some(group.into().into());
        self
    }

    /// Attempts in all, at least 1, instead of the worker's setting.
    ///
    /// ```
    /// # use millpond::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// let job = NewJob::new(Charge { order: 7 }).max_attempts(1);
    /// # let _ = job;
    /// ```
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.options.max_attempts = Some(attempts);
        self
    }

    /// The handler is called at most once, rather than at least once: for effects that are worse twice than not at all.
    ///
    /// The job has one attempt. If the process dies or is stopped while it runs, so that nobody knows how far
    /// it came, it goes to the dead letters with [`FailureKind::Crash`](crate::FailureKind::Crash) instead of running again;
    /// so does one whose end could not be written before the process died. Its start is made durable before its handler is
    /// called, which costs a commit.
    ///
    /// A handler that answers [`snooze`](crate::Outcome::snooze) or [`rate_limited`](crate::Outcome::rate_limited) asks to be
    /// called again, and is; and so is that of a job that an operator redrives.
    ///
    /// [`WorkerBuilder::at_most_once`](crate::WorkerBuilder::at_most_once) says the same of all jobs of a worker.
    ///
    /// # Errors
    /// When it is enqueued: [`Error::InvalidConfig`] if [`max_attempts`](Self::max_attempts) is above 1.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// # pond.worker("billing").handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) }).start()?;
    /// let id = pond.enqueue("billing", NewJob::new(Charge { order: 7 }).at_most_once()).await?;
    /// # drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Dead); // its handler has failed
    /// # Ok(()) }
    /// ```
    pub fn at_most_once(mut self) -> Self {
        self.options.at_most_once = true;
        self
    }

    /// How long to wait between attempts, instead of the worker's setting.
    ///
    /// ```
    /// # use millpond::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// let job = NewJob::new(Charge { order: 7 }).backoff(Backoff::Fixed(Duration::from_secs(10)));
    /// # let _ = job;
    /// ```
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.options.backoff = Some(backoff);
        self
    }

    /// Longest run of one attempt, not zero, instead of the worker's setting:
    /// [`WorkerBuilder::timeout`](crate::WorkerBuilder::timeout) says when it begins and what it ends.
    ///
    /// ```
    /// # use millpond::*;
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// let job = NewJob::new(Charge { order: 7 }).timeout(Duration::from_secs(30));
    /// # let _ = job;
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// End as cancelled, with the reason `expired`, if it has not started within this time after its enqueue.
    ///
    /// A job expires wherever it waits: in a paused queue or group, in a queue without a worker, behind others of its
    /// group, before it is due. From then on it takes no room in a full queue, and its unique key is held as after any
    /// other end. A job that has started does not expire: it is retried as usual, and goes to the dead letters if it
    /// fails for good. Started means that an attempt failed, was snoozed or ran when the process died; an attempt that
    /// is taken back at a shutdown, or answers [`rate_limited`](crate::Outcome::rate_limited), counts for nothing.
    ///
    /// It is time that has passed, to the millisecond: a wall clock that is set makes it neither longer nor shorter.
    /// [`Duration::MAX`] means never.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let clock = ManualClock::new();
    /// # let pond = in_memory(&clock)?;
    /// let job = NewJob::new(Charge { order: 7 }).expires_in(Duration::from_secs(60));
    /// let id = pond.enqueue("billing", job).await?;
    /// clock.advance(Duration::from_secs(60));
    ///
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// drain(&pond).await;
    /// let job = pond.job(id)?;
    /// assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("expired")));
    /// # Ok(()) }
    /// ```
    pub fn expires_in(mut self, after: Duration) -> Self {
        self.options.expires = Some(Expires::After(after));
        self
    }

    /// End as cancelled, with the reason `expired`, if it has not started by this time of the wall clock. A time in the
    /// past ends it at once. Otherwise as [`expires_in`](Self::expires_in).
    ///
    /// ```
    /// # use millpond::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// use std::time::{Duration, SystemTime};
    ///
    /// let tonight = SystemTime::now() + Duration::from_secs(6 * 3600);
    /// let job = NewJob::new(Charge { order: 7 }).expires_at(tonight);
    /// # let _ = job;
    /// ```
    pub fn expires_at(mut self, at: impl Into<Timestamp>) -> Self {
        self.options.expires = Some(Expires::At(at.into()));
        self
    }

    /// At most one job of the queue has this key, any text of 1 to 1,024 bytes: while one is there that has
    /// not ended, and for five minutes after its enqueue even if it has
    /// ([`unique_for`](Self::unique_for)), an enqueue with the same key stores nothing and is answered
    /// with the id of that one. So a call that was answered [`Error::OutcomeUnknown`], or not at all, may
    /// be made again.
    ///
    /// [Cancelling](crate::Millpond::cancel) the job, or [purging](crate::DeadLetters::purge) it, frees its
    /// key at once; any other end does not, nor does a place among the dead letters hold it for longer. A
    /// redriven job has its key again, unless another one holds it by then: it is redriven all the same.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7).unique_key("order-7")).await?;
    /// let again = pond.enqueue("billing", NewJob::json("charge", &7).unique_key("order-7")).await?;
    /// assert_eq!(again, id);
    /// assert_eq!(pond.queue("billing")?.counts().pending, 1);
    /// # Ok(()) }
    /// ```
    pub fn unique_key(mut self, key: impl Into<String>) -> Self {
        self.options.unique_key = Some(key.into());
        self
    }

    /// How long after its enqueue the job holds its [`unique_key`](Self::unique_key) even if it has ended:
    /// five minutes unless set, at most 30 days. Zero: only until it ends.
    ///
    /// It is time that has passed: a wall clock that is set makes it neither longer nor shorter.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let clock = ManualClock::new();
    /// # let pond = in_memory(&clock)?;
    /// # pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// let charge = || NewJob::new(Charge { order: 7 }).unique_key("order-7").unique_for(Duration::from_secs(60));
    /// let id = pond.enqueue("billing", charge()).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.enqueue("billing", charge()).await?, id); // it is done, and known
    ///
    /// clock.advance(Duration::from_secs(60));
    /// assert!(pond.enqueue("billing", charge()).await? > id);
    /// # Ok(()) }
    /// ```
    pub fn unique_for(mut self, at_least: Duration) -> Self {
        self.options.unique_for = Some(at_least);
        self
    }

    /// The kind's name.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The first option that differs from its default, by the name of its method.
    pub(crate) fn option_set(&self) -> Option<&'static str> {
        let Options {
            priority,
            group,
            start,
            expires,
            max_attempts,
            at_most_once,
            backoff,
            timeout,
            unique_key,
            unique_for,
            generation: _,
        } = &self.options;
        let options = [
            (*priority != Priority::default(), "priority"),
            (group.is_some(), "group"),
            (matches!(start, Some(StartTime::After(_))), "delay"),
            (matches!(start, Some(StartTime::At(_))), "run_at"),
            (matches!(expires, Some(Expires::After(_))), "expires_in"),
            (matches!(expires, Some(Expires::At(_))), "expires_at"),
            (max_attempts.is_some(), "max_attempts"),
            (*at_most_once, "at_most_once"),
            (backoff.is_some(), "backoff"),
            (timeout.is_some(), "timeout"),
            (unique_key.is_some(), "unique_key"),
            (unique_for.is_some(), "unique_for"),
        ];
        options.into_iter().find(|(is_set, _)| *is_set).map(|(_, option)| option)
    }

    /// Checks everything that can be checked without the store. `compare` has each typed payload read back and
    /// compared.
    pub(crate) fn check(
        self,
        payload_bytes_max: usize,
        compare: bool,
    ) -> Result<(Cow<'static, str>, Payload, Options), Error> {
        let Self { kind, payload, options } = self;
        let payload = payload.map_err(|source| Error::Unencodable { kind: kind.to_string(), source })?;
        let payload = payload.check(&kind, payload_bytes_max, compare)?;
        if let Some(group) = &options.group {
            name::check_key("group", group)?;
        }
        if let Some(key) = &options.unique_key {
            name::check_key("unique key", key)?;
        }
        match options.unique_for {
            Some(_) if options.unique_key.is_none() => {
                return Err(Error::config("unique_for", "there is no unique_key that it could be for".into()));
            }
            Some(time) if time > UNIQUE_FOR_MAX => {
                let days = UNIQUE_FOR_MAX.as_secs() / (24 * 3600);
                return Err(Error::config("unique_for", format!("{time:?} is more than {days} days, the most")));
            }
            _ => {}
        }
        if options.max_attempts == Some(0) {
            return Err(Error::config("max_attempts", "0 attempts would never run the job: the least is 1".into()));
        }
        if options.at_most_once && options.max_attempts.is_some_and(|attempts| attempts > 1) {
            let reason = "a job that runs at most once has one attempt: leave out `max_attempts` or `at_most_once`";
            return Err(Error::config("at_most_once", reason.into()));
        }
        if options.timeout == Some(Duration::ZERO) {
            return Err(Error::config("timeout", "a timeout of zero would fail every attempt".into()));
        }
        if let Some(backoff) = &options.backoff {
            backoff.check()?;
        }
        Ok((kind, payload, options))
    }
}

impl<K: Kind> From<K> for NewJob {
    fn from(payload: K) -> Self {
        Self::new(payload)
    }
}
