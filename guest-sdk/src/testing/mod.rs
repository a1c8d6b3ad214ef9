//! A host for the tests of a plugin. Not there when compiled to WebAssembly.
//!
//! [`Host::run`] does what the queue does with one attempt: it hands the payload over as bytes, keeps state and follow-up jobs
//! only if the job completes, and turns a panic into an outcome. A run after one that did not end its job is the next attempt of the
//! same job: it has the [steps](crate::steps) that are stored. Names, and limits on results, state, follow-up jobs and log lines,
//! are those of the queue as it is without the operator's settings. Time, memory and the number of calls are not limited.
//!
//! ```
//! use millpond_guest::testing::{Host, Outcome};
//! use millpond_guest::{Error, Result};
//!
//! fn withdraw(cents: i64) -> Result<i64> {
//!     let balance = millpond_guest::state::get::<i64>("balance")?.unwrap_or(0) - cents;
//!     millpond_guest::state::set("balance", &balance)?;
//!     if balance < 0 { Err(Error::dead_letter("not enough")) } else { Ok(balance) }
//! }
//!
//! let mut host = Host::new().state("balance", &100);
//! assert_eq!(host.run(withdraw, &70).json(), Some(30));
//! assert_eq!(host.run(withdraw, &70), Outcome::DeadLetter("not enough".into()));
//! assert_eq!(host.value("balance"), Some(30)); // the second one was dropped
//! ```

mod attempt;
mod host;
mod outcome;
mod overlay;
mod refusals;
mod steps;

pub(crate) use attempt::Attempt;
pub use host::{Host, Line};
pub use outcome::Outcome;
