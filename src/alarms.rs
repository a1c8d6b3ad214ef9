//! Alarms: which conditions of the queue are told to somebody, and how. Whether one holds is checked by a chore of the
//! `runtime`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::job::{NewJob, check_name};
use crate::time::Timestamp;

/// A condition that is told when it begins and when it ends. [`Builder::alarm`](crate::Builder::alarm) sets it.
///
/// It is checked every 10 seconds by the queue's clock, for the first time 10 seconds after the file was opened. So a condition
/// that holds for a shorter time may not be told, and one that has held when the file was closed is told again when it is opened.
/// The conditions of queues are checked for each queue by itself: for all of them, or the one that [`queue`](Self::queue) names; at
/// most 1,000 are looked at.
///
/// By default a change is logged: the begin with level `WARN`, the end with `INFO`. [`call`](Self::call) and
/// [`enqueue`](Self::enqueue) tell it otherwise, instead of the log. They may be combined.
///
/// ```
/// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
/// let pond = Millpond::builder()
///     .alarm(Alarm::dead_letters(0))
///     .alarm(Alarm::oldest_ready(Duration::from_secs(300)).queue("emails"))
///     .alarm(Alarm::degraded().call(|change| eprintln!("{}", change.text)))
///     .alarm(Alarm::circuit_open().enqueue("alerts", |change| NewJob::json("webhook", change)))
///     .open_backend(memory)?;
/// # let _ = pond; Ok(()) });
/// ```
#[derive(Clone)]
#[must_use = "an alarm does nothing until it is given to `Builder::alarm`"]
pub struct Alarm {
    pub(crate) condition: Condition,
    /// The only queue that is looked at. All are, if it is `None`.
    pub(crate) queue: Option<String>,
    pub(crate) actions: Vec<Action>,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    DeadLetters { over: u64 },
    OldestReady { over: Duration },
    Degraded,
    CircuitOpen,
}

/// How an alarm is told.
#[derive(Clone)]
pub(crate) enum Action {
    Call(Arc<dyn Fn(&AlarmChange) + Send + Sync>),
    Enqueue { queue: String, job: Arc<dyn Fn(&AlarmChange) -> NewJob + Send + Sync> },
}

/// An alarm's condition has begun or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AlarmChange {
    /// Which alarm: `dead_letters`, `oldest_ready`, `degraded` or `circuit_open`.
    pub alarm: &'static str,
    /// Whether the condition has begun. Otherwise it has ended.
    pub begins: bool,
    /// The queue in which it has. `None` for [`Alarm::degraded`].
    pub queue: Option<String>,
    /// The change as a sentence.
    pub text: String,
    /// When it was found, by the queue's clock.
    pub at: Timestamp,
}

impl Alarm {
    fn new(condition: Condition) -> Self {
        Self { condition, queue: None, actions: Vec::new() }
    }

    /// A queue has more dead letters than `over`.
    pub fn dead_letters(over: u64) -> Self {
        Self::new(Condition::DeadLetters { over })
    }

    /// A job has been ready for longer than `over`, and was not started: also because its queue is paused or limited, or has no
    /// worker. See [`Queue::oldest_ready_age`](crate::Queue::oldest_ready_age). Opening the file fails with
    /// [`Error::InvalidConfig`] for zero.
    pub fn oldest_ready(over: Duration) -> Self {
        Self::new(Condition::OldestReady { over })
    }

    /// The queue cannot work: see [`Millpond::degraded`](crate::Millpond::degraded). While it cannot be written, no job can be
    /// enqueued about that: use [`call`](Self::call) or the log.
    pub fn degraded() -> Self {
        Self::new(Condition::Degraded)
    }

    /// The circuit of a queue, or of one of its groups, is open or half open: see
    /// [`WorkerBuilder::circuit_breaker`](crate::WorkerBuilder::circuit_breaker).
    pub fn circuit_open() -> Self {
        Self::new(Condition::CircuitOpen)
    }

    /// Looks at this queue only. It need not exist. It has no effect on [`degraded`](Self::degraded), which is of the whole file.
    /// Opening the file fails with [`Error::InvalidName`] for a name that no queue can have.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Calls this function with each change, instead of the log. It runs on a thread of its own, and may block and call the queue:
    /// the next check comes after it. A panic in it is logged. It is kept until the queue is dropped, so it must not hold a
    /// handle of this very queue.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder()
    ///     .alarm(Alarm::dead_letters(10).call(|change| match change.begins {
    ///         true => println!("look at this: {}", change.text),
    ///         false => println!("all right again: {}", change.text),
    ///     }))
    ///     .open_backend(memory)?;
    /// # let _ = pond; Ok(()) });
    /// ```
    pub fn call(mut self, tell: impl Fn(&AlarmChange) + Send + Sync + 'static) -> Self {
        self.actions.push(Action::Call(Arc::new(tell)));
        self
    }

    /// Enqueues the job that this function returns for each change, instead of the log: durable, and retried like any job. A
    /// webhook is such a job, with the application's own handler. If it cannot be enqueued, the change is logged with the
    /// reason. Opening the file fails with [`Error::InvalidName`] for a name that no queue can have.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let page = |change: &AlarmChange| NewJob::json("webhook", change).priority(Priority::FIRST);
    /// let pond = Millpond::builder().alarm(Alarm::dead_letters(0).enqueue("alerts", page)).open_backend(memory)?;
    /// # let _ = pond; Ok(()) });
    /// ```
    pub fn enqueue(
        mut self,
        queue: impl Into<String>,
        job: impl Fn(&AlarmChange) -> NewJob + Send + Sync + 'static,
    ) -> Self {
        self.actions.push(Action::Enqueue { queue: queue.into(), job: Arc::new(job) });
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.condition == (Condition::OldestReady { over: Duration::ZERO }) {
            return Err(Error::config("alarm", "`oldest_ready` of zero would always hold: give it a time".into()));
        }
        let into = self.actions.iter().filter_map(|action| match action {
            Action::Enqueue { queue, .. } => Some(queue),
            Action::Call(_) => None,
        });
        self.queue.iter().chain(into).try_for_each(|queue| check_name("queue", queue))
    }
}

impl Condition {
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadLetters { .. } => "dead_letters",
            Self::OldestReady { .. } => "oldest_ready",
            Self::Degraded => "degraded",
            Self::CircuitOpen => "circuit_open",
        }
    }

    /// The sentence about its end, of a queue or of all.
    pub fn ended(self, queue: Option<&str>) -> String {
        let queue = queue.unwrap_or_default();
        match self {
            Self::DeadLetters { over } => format!("queue `{queue}` has no more than {over} dead letters again"),
            Self::OldestReady { over } => format!("in queue `{queue}` no job has been ready for longer than {over:?}"),
            Self::Degraded => "the queue works again".to_owned(),
            Self::CircuitOpen => format!("no circuit of queue `{queue}` is open"),
        }
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { condition, queue, .. } = self;
        f.debug_struct("Alarm").field("condition", condition).field("queue", queue).finish_non_exhaustive()
    }
}
