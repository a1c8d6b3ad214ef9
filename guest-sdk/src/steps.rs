//! Steps: parts of a handler's work whose results are stored before it goes on. New in version 0.1.2 of the contract.
//!
//! If the attempt fails later, or the process of the queue dies, the next attempt of the job gets the stored results and does not do
//! these parts again:
//!
//! ```
//! use std::time::Duration;
//!
//! use millpond_guest::testing::Host;
//! use millpond_guest::{Error, Result, steps};
//!
//! # fn charge(order: u64) -> Result<String> { Ok(format!("receipt {order}")) }
//! # fn mail(receipt: &str) -> Result { millpond_guest::info!("{receipt}"); Ok(()) }
//! fn order(order: u64) -> Result<String> {
//!     let receipt = steps::step("charge", || charge(order))?; // runs once
//!     steps::step("mail", || mail(&receipt))?; // if this fails, the next attempt begins here
//!     steps::sleep("time to cancel", Duration::from_secs(3600))?;
//!     match steps::wait_for::<String>("approved", Some(Duration::from_secs(24 * 3600)))? {
//!         Some(by) => Ok(by),
//!         None => Err(Error::cancel("nobody has approved it")),
//!     }
//! }
//!
//! let mut host = Host::new();
//! assert!(host.run(order, &7).is_suspended()); // it sleeps
//! assert_eq!(host.step("charge"), Some("receipt 7".to_owned()));
//! host.advance(Duration::from_secs(3600));
//! assert!(host.run(order, &7).is_suspended()); // it waits for the signal
//! host.signal("approved", "ada");
//! assert_eq!(host.run(order, &7).json(), Some("ada".to_owned()));
//! ```
//!
//! # Names
//!
//! A name has 1 to 1,020 bytes, and no `#`. A name that is used again in the same attempt gets a number: the second `charge` is
//! `charge#2`. So a handler must ask for its steps in the same order in each attempt, and a new version of it must not give an old
//! name to other work. What is not the same in each attempt, such as the time or a random number, belongs into a step. A job has at
//! most 1,000 steps, with results of 1 MiB together.
//!
//! # What is stored
//!
//! What a step returns is durable before the handler goes on, and stays, however the attempt ends. [`state`](crate::state) and
//! [`enqueue`](crate::enqueue) do not belong to a step: they still commit with the completion of the job. If the process of the queue
//! dies before the result is durable, the step runs again. So what it does outside of the queue should be idempotent:
//! [`attempt::job_id`](crate::attempt::job_id) and the name of the step are a key for it.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, OrElse, Result, Verdict};
use crate::{host, json};

/// Runs a part of the handler's work once, and stores what it returns as JSON. In the next attempt of the job this is returned, and
/// `run` is not called. If `run` fails, nothing is stored, and its error is returned.
///
/// ```
/// use millpond_guest::testing::Host;
/// use millpond_guest::{Error, Result, info, steps};
///
/// fn order(order: u64) -> Result<u64> {
///     let charged = steps::step("charge", || {
///         info!("charge order {order}");
///         Ok::<_, Error>(order * 100)
///     })?;
///     if millpond_guest::attempt::number() == 1 { Err(Error::retry("failed")) } else { Ok(charged) }
/// }
///
/// let mut host = Host::new();
/// assert!(host.run(order, &7).is_retried());
/// let mut host = host.attempt(2, 5);
/// assert_eq!(host.run(order, &7).json(), Some(700));
/// assert_eq!(host.logs().len(), 1, "it was charged once");
/// ```
///
/// # Errors
/// That of `run`; a dead letter if the stored result is not a `T`, or the result has no JSON; the host's refusal as a retry.
pub fn step<T, E>(name: &str, run: impl FnOnce() -> Result<T, E>) -> Result<T>
where
    T: Serialize + DeserializeOwned,
    E: Into<Error>,
{
    let result = step_raw(name, || json::written(&run().map_err(Into::into)?).or_dead_letter())?;
    read(name, &result)
}

/// As [`step`], with a result of bytes.
///
/// # Errors
/// That of `run`; a dead letter if something else than a result is stored under the name; the host's refusal as a retry.
pub fn step_raw<E: Into<Error>>(name: &str, run: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Vec<u8>> {
    let Begun { name, stored } = host::step_begin(name).map_err(Refusal::into_error)?;
    match stored {
        Some(result) => Ok(result),
        None => host::step_finish(&name, &run().map_err(Into::into)?).map_err(Refusal::into_error),
    }
}

/// Lets the job sleep. The handler returns the error that it gets, which is no failure: the job leaves memory, and uses no attempt.
/// When the time is over its handler is called again, and this returns at once.
///
/// # Errors
/// An error to return from the handler; a dead letter if something else is stored under the name; the host's refusal as a retry.
pub fn sleep(name: &str, time: Duration) -> Result {
    host::step_sleep(name, time).map_err(Refusal::into_error)
}

/// Waits for a signal, which the application sends to the job by this name. The handler returns the error that it gets, which is no
/// failure: the job leaves memory, and uses no attempt. When the signal has come its handler is called again, and this returns what
/// was sent with the signal, read from JSON. A signal that came before is returned at once. With a `timeout`, it returns `None` if the
/// signal has not come in this time.
///
/// # Errors
/// An error to return from the handler; a dead letter if something else is stored under the name, or what was sent is not a `T`; the
/// host's refusal as a retry.
pub fn wait_for<T: DeserializeOwned>(name: &str, timeout: Option<Duration>) -> Result<Option<T>> {
    wait_for_raw(name, timeout)?.map(|signal| read(name, &signal)).transpose()
}

/// As [`wait_for`], with the bytes that were sent.
///
/// # Errors
/// Those of [`wait_for`], except that any bytes can be read.
pub fn wait_for_raw(name: &str, timeout: Option<Duration>) -> Result<Option<Vec<u8>>> {
    host::step_wait_for(name, timeout).map_err(Refusal::into_error)
}

fn read<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    let value = serde_json::from_slice(bytes);
    value.map_err(|error| format!("what is stored of the step {name:?} cannot be read: {error}")).or_dead_letter()
}

/// A step that has begun: its name with its number, and its result if it is stored.
pub(crate) struct Begun {
    pub name: String,
    pub stored: Option<Vec<u8>>,
}

/// Why the host has no other answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    InvalidName(String),
    TooManySteps,
    Changed(String),
    Suspended,
    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "the host for tests can always read"))]
    StoreUnavailable,
    #[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "the host for tests has no other refusals"))]
    Other(String),
}

impl Refusal {
    fn into_error(self) -> Error {
        match self {
            Self::InvalidName(why) => Error::retry(why),
            Self::TooManySteps => Error::retry(
                "the job has too many steps, or too many bytes of their results: enqueue other jobs for more work",
            ),
            Self::Changed(why) => Error::dead_letter(why),
            Self::Suspended => Error(Verdict::Suspended),
            Self::StoreUnavailable => Error::retry("the steps cannot be read or stored right now"),
            Self::Other(what) => Error::retry(format_args!("the step was refused: {what}")),
        }
    }
}
