//! The keys that a job is given: its unique key and its idempotency key, and how it holds them.

use std::time::Duration;

use super::name;
use super::unique::{KEY_TIME_MAX, Unique, key_days_max};
use crate::error::Error;

/// The default of [`NewJob::unique_for`]. It gives a caller that does not know the result of its call time to make the call
/// again. SQS FIFO queues use the same time.
const UNIQUE_FOR_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// The default of [`NewJob::idempotency_for`].
const IDEMPOTENCY_FOR_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// The keys of a new job. Few jobs have any, so the options of a job have them behind one pointer.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyOptions {
    pub unique_key: Option<String>,
    pub unique: Unique,
    pub unique_for: Option<Duration>,
    pub idempotency_key: Option<String>,
    pub idempotency_for: Option<Duration>,
}

impl KeyOptions {
    /// For how long the job holds its unique key at least, or exactly if that is what its mode says.
    pub fn holds_unique_key_for(&self) -> Option<Duration> {
        self.unique_key.as_ref()?;
        // A key that is held for longer than its job is for calls that are made again, which other modes are not about.
        let time = if self.unique == Unique::default() { UNIQUE_FOR_DEFAULT } else { Duration::ZERO };
        Some(self.unique.window().or(self.unique_for).unwrap_or(time))
    }

    /// For how long its idempotency key is held.
    pub fn holds_call_for(&self) -> Option<Duration> {
        self.idempotency_key.as_ref()?;
        Some(self.idempotency_for.unwrap_or(IDEMPOTENCY_FOR_DEFAULT))
    }

    /// The first option that was given, by the name of its method.
    pub fn option_set(&self) -> Option<&'static str> {
        let options = [
            (self.unique_key.is_some(), "unique_key"),
            (self.unique != Unique::default(), "unique"),
            (self.unique_for.is_some(), "unique_for"),
            (self.idempotency_key.is_some(), "idempotency_key"),
            (self.idempotency_for.is_some(), "idempotency_for"),
        ];
        options.into_iter().find(|(is_set, _)| *is_set).map(|(_, option)| option)
    }

    /// Checks the keys of a job that has a group or a time of its start, or does not.
    ///
    /// # Errors
    /// The keys cannot be accepted, or cannot be held in this way.
    pub fn check(&self, has_group: bool, has_start: bool) -> Result<(), Error> {
        self.check_unique(has_group, has_start)?;
        self.check_idempotency()
    }

    fn check_unique(&self, has_group: bool, has_start: bool) -> Result<(), Error> {
        let (unique, days) = (self.unique, key_days_max());
        if let Some(key) = &self.unique_key {
            name::check_key("unique key", key)?;
        }
        unique.check()?;
        match self.unique_for {
            Some(_) if self.unique_key.is_none() => {
                return Err(Error::config("unique_for", "there is no unique_key that it could be for".into()));
            }
            Some(_) if unique != Unique::default() => {
                let reason =
                    "only a key that is held until its job has ended, and that keeps this job, can be held for longer";
                return Err(Error::config("unique_for", reason.into()));
            }
            Some(time) if time > KEY_TIME_MAX => {
                return Err(Error::config("unique_for", format!("{time:?} is more than {days} days, the most")));
            }
            _ => {}
        }
        if unique.is_in_turn() && has_group {
            let reason = "a job of `keep_latest` is in the group of its key and cannot have another one";
            return Err(Error::config("group", reason.into()));
        }
        if unique.debounces().is_some() && has_start {
            let reason = "a debounce says when the job starts: leave out `delay` and `run_at`";
            return Err(Error::config("unique", reason.into()));
        }
        Ok(())
    }

    fn check_idempotency(&self) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::config("idempotency_for", reason));
        if let Some(key) = &self.idempotency_key {
            name::check_key("idempotency key", key)?;
        }
        match self.idempotency_for {
            Some(_) if self.idempotency_key.is_none() => {
                wrong("there is no idempotency_key that it could be for".into())
            }
            Some(Duration::ZERO) => wrong("a time of zero would recognise no call".into()),
            Some(time) if time > KEY_TIME_MAX => {
                wrong(format!("{time:?} is more than {} days, the most", key_days_max()))
            }
            _ => Ok(()),
        }
    }
}
