//! How a job holds its unique key: for how long, and what becomes of a job that comes while the key is held.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The longest time for which a key is held that does not depend on a job. Until it ends, each key is a row in the file.
pub(crate) const KEY_TIME_MAX: Duration = Duration::from_secs(millpond_rules::KEY_SECONDS_MAX);

/// How a job holds its [unique key](crate::NewJob::unique), and what an enqueue does that finds the key held.
///
/// How long the key is held is the choice of the job that holds it. What happens on a conflict is the choice of the job
/// that comes.
///
/// | | the key is held | an enqueue that finds it held |
/// |---|---|---|
/// | [`until_ended`](Self::until_ended) | until the job has ended | keeps the job that is there |
/// | [`until_started`](Self::until_started) | until the job has started | keeps the job that is there |
/// | ... [`.replace()`](Self::replace) | the same | replaces the job that is there, if it waits |
/// | ... [`.debounce(..)`](Self::debounce) | the same | replaces it, and it waits anew |
/// | [`throttle`](Self::throttle) | for a window of time | keeps the job that is there, or was there |
/// | [`keep_latest`](Self::keep_latest) | until the job has started | replaces the job that is there, if it waits; one runs at a time |
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let reindex = |shop: u64| NewJob::json("reindex", &shop).unique("shop-7", Unique::keep_latest());
/// let first = pond.enqueue("search", reindex(1)).await?;
/// let second = pond.enqueue("search", reindex(2)).await?;
/// assert_eq!((second.id, second.status), (first.id, EnqueueStatus::Replaced));
/// assert_eq!(pond.job(first)?.payload.decode::<u64>()?, 2);
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unique {
    hold: Hold,
    conflict: Conflict,
}

/// For how long a key is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Hold {
    #[default]
    UntilEnded,
    UntilStarted,
    /// Until its job has started. The job is in a group of its own with those that hold the key before and after it.
    InTurn,
    /// For exactly this time, whatever becomes of the job.
    Window(Duration),
}

/// What an enqueue does that finds its key held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Conflict {
    #[default]
    Keep,
    Replace,
    Debounce {
        quiet: Duration,
        at_most: Duration,
    },
}

impl Unique {
    /// The key is held until the job has ended. This is the default.
    ///
    /// A job that comes while the key's job runs is not stored, also if it was to [replace](Self::replace) that one. If it
    /// must not be lost, use [`until_started`](Self::until_started) or [`keep_latest`](Self::keep_latest).
    pub const fn until_ended() -> Self {
        Self { hold: Hold::UntilEnded, conflict: Conflict::Keep }
    }

    /// The key is held until the job has started: one may wait while one runs.
    ///
    /// A job that is back in its queue after an attempt holds the key again, unless another job has taken it meanwhile.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let sync = || NewJob::json("sync", &7).unique("account-7", Unique::until_started());
    /// let first = pond.enqueue("accounts", sync()).await?;
    /// assert_eq!(pond.enqueue("accounts", sync()).await?, first.id); // it waits
    /// # Ok(()) });
    /// ```
    pub const fn until_started() -> Self {
        Self { hold: Hold::UntilStarted, conflict: Conflict::Keep }
    }

    /// At most one job is stored in each window of time, counted from the enqueue of the first. The key is held for exactly
    /// this time, whatever becomes of the job: it may end, be cancelled or be deleted meanwhile. At most 30 days.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let digest = || NewJob::json("digest", &7).unique("user-7", Unique::throttle(Duration::from_secs(60)));
    /// let first = pond.enqueue("emails", digest()).await?;
    /// pond.cancel(first, "not needed").await?;
    /// assert_eq!(pond.enqueue("emails", digest()).await?.status, EnqueueStatus::Duplicate);
    ///
    /// clock.advance(Duration::from_secs(60));
    /// assert!(pond.enqueue("emails", digest()).await?.is_stored());
    /// # Ok(()) });
    /// ```
    pub const fn throttle(window: Duration) -> Self {
        Self { hold: Hold::Window(window), conflict: Conflict::Keep }
    }

    /// At most one job with this key runs, and at most one is next. The next one has the payload and the options of the
    /// latest enqueue, and starts once the one that runs has ended, with all its retries. So the latest payload always runs,
    /// also after a restart.
    ///
    /// The job is in the [group](crate::NewJob::group) that has the name of the key, and cannot have another one. In a queue
    /// with [`GroupPolicy::Skip`](crate::GroupPolicy::Skip) the next one starts while the one before it waits for its
    /// retry.
    pub const fn keep_latest() -> Self {
        Self { hold: Hold::InTurn, conflict: Conflict::Replace }
    }

    /// If the key's job waits, it gets the payload, the kind and all options of the new job, and keeps its id, its time of
    /// enqueue, and its place in its group if that is the same. It starts anew: its attempts and their errors are
    /// forgotten. The answer is [`EnqueueStatus::Replaced`](crate::EnqueueStatus::Replaced).
    ///
    /// A job that has started is not replaced, and neither is one that has ended: then the answer is
    /// [`EnqueueStatus::Duplicate`](crate::EnqueueStatus::Duplicate) while the key is held. A
    /// [throttled](Self::throttle) job is not replaced by another one of its window.
    pub const fn replace(self) -> Self {
        Self { conflict: Conflict::Replace, ..self }
    }

    /// The job starts when there was no enqueue with its key for the time `quiet`, but at the latest `at_most` after the
    /// first one. Each enqueue meanwhile [replaces](Self::replace) the job.
    ///
    /// `quiet` must not be zero, and `at_most` not shorter. [`Duration::MAX`] as `at_most` means that there is no latest time.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let second = Duration::from_secs(1);
    /// let save = |text: &str| {
    ///     NewJob::json("save", text).unique("draft-7", Unique::until_started().debounce(second * 5, second * 30))
    /// };
    /// let id = pond.enqueue("drafts", save("Dear")).await?;
    /// clock.advance(second * 4);
    /// pond.enqueue("drafts", save("Dear Ada")).await?;
    /// clock.advance(second * 4);
    /// assert_eq!(pond.job(id)?.state, State::Scheduled); // there was an enqueue four seconds ago
    /// # Ok(()) });
    /// ```
    pub const fn debounce(self, quiet: Duration, at_most: Duration) -> Self {
        Self { conflict: Conflict::Debounce { quiet, at_most }, ..self }
    }

    /// Whether the key is free once its job has started.
    pub(crate) const fn is_until_started(self) -> bool {
        matches!(self.hold, Hold::UntilStarted | Hold::InTurn)
    }

    /// Whether its job is in the group that has the name of the key.
    pub(crate) const fn is_in_turn(self) -> bool {
        matches!(self.hold, Hold::InTurn)
    }

    /// The time for which the key is held, if that does not depend on the job.
    pub(crate) const fn window(self) -> Option<Duration> {
        match self.hold {
            Hold::Window(window) => Some(window),
            _ => None,
        }
    }

    /// Whether it replaces a job that waits.
    pub(crate) const fn replaces(self) -> bool {
        !matches!(self.conflict, Conflict::Keep)
    }

    /// How long it waits for another enqueue, and for how long at most after the first one.
    pub(crate) const fn debounces(self) -> Option<(Duration, Duration)> {
        match self.conflict {
            Conflict::Debounce { quiet, at_most } => Some((quiet, at_most)),
            _ => None,
        }
    }

    /// # Errors
    /// [`Error::InvalidConfig`] if it cannot work.
    pub(crate) fn check(self) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::config("unique", reason));
        match self.hold {
            Hold::Window(Duration::ZERO) => return wrong("a window of zero would hold no key".into()),
            Hold::Window(window) if window > KEY_TIME_MAX => {
                return wrong(format!("a window of {window:?} is more than {} days, the most", key_days_max()));
            }
            Hold::Window(_) if self.replaces() => {
                return wrong("the first job of a window is kept: leave out `replace` or `debounce`".into());
            }
            Hold::InTurn if self.debounces().is_some() => {
                return wrong("`keep_latest` does not wait: use `until_started().debounce(..)`".into());
            }
            _ => {}
        }
        match self.debounces() {
            Some((Duration::ZERO, _)) => wrong("a debounce needs a time without enqueues: `quiet` is zero".into()),
            Some((quiet, at_most)) if at_most < quiet => {
                wrong(format!("a debounce of at most {at_most:?} is shorter than its quiet time, {quiet:?}"))
            }
            _ => Ok(()),
        }
    }
}

/// [`KEY_TIME_MAX`] in days, for errors.
pub(crate) const fn key_days_max() -> u64 {
    KEY_TIME_MAX.as_secs() / (24 * 3600)
}
