//! Facts about the running attempt.
//!
//! ```
//! use millpond_guest::{Result, attempt};
//!
//! fn charge(cents: u64) -> Result<String> {
//!     if attempt::number() == attempt::max_number() {
//!         millpond_guest::warn!("last attempt to charge {cents}");
//!     }
//!     Ok(format!("charge-{}", attempt::job_id())) // a key that is the same in each attempt
//! }
//! # let mut host = millpond_guest::testing::Host::new();
//! # assert!(host.run(charge, &5).is_done());
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::host;

/// The job's id: the same in each of its attempts. Opaque: compare for equality, print, send.
pub fn job_id() -> String {
    host::job_id()
}

/// The kind that the job was enqueued as.
pub fn kind() -> String {
    host::kind()
}

/// The queue that the job lies in.
pub fn queue() -> String {
    host::queue()
}

/// Which attempt this is, counted from 1.
pub fn number() -> u32 {
    host::number()
}

/// How many attempts the job has in all.
pub fn max_number() -> u32 {
    host::max_number()
}

/// When the job was enqueued.
pub fn enqueued_at() -> SystemTime {
    host::enqueued_at()
}

/// The time until the host interrupts this attempt.
pub fn time_left() -> Duration {
    host::time_left()
}

/// True once the handler should stop, and true from then on.
///
/// - The cancel of the job was requested: the handler has the operator's grace to return, 30 s by default, and is ended after it. A
///   handler that still returns `Ok` has completed the job. After anything else the job ends as cancelled.
/// - The host is stopping and no longer waits: about half a second is left.
///
/// [`snooze`](crate::Error::snooze) is the right answer to both. A handler that runs for long should ask this regularly, but not at each
/// step of a loop: each call counts toward the limit on calls of its attempt (100,000 by default). One that has not asked before the
/// request gets no grace.
pub fn is_cancelled() -> bool {
    host::is_cancelled()
}

/// The job's group, if it has one. New in version 0.1.1 of the contract.
pub fn group() -> Option<String> {
    host::group()
}

/// The job's priority, from 0, which runs first, to 9, which runs last. New in version 0.1.1 of the contract.
pub fn priority() -> u8 {
    host::priority()
}

/// The job's tags. New in version 0.1.1 of the contract.
pub fn tags() -> Vec<String> {
    host::tags()
}

/// The job's header of this name, if it has one. New in version 0.1.1 of the contract.
pub fn header(name: &str) -> Option<String> {
    host::header(name)
}

/// All headers of the job, by their names. New in version 0.1.1 of the contract.
pub fn headers() -> BTreeMap<String, String> {
    host::headers()
}

/// Tells this run of the job from every other run of any job, also from one with the same [number](number()): after a snooze, or
/// after a crash of the host. New in version 0.1.1 of the contract.
pub fn run_id() -> String {
    host::run_id()
}

/// The name of the schedule that has enqueued the job, if one has. New in version 0.1.1 of the contract.
pub fn schedule() -> Option<String> {
    host::schedule()
}

/// An entry of a stream, which a consumer has handed out. [`entry`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The stream's name.
    pub stream: String,
    /// Its offset in the stream.
    pub offset: u64,
    /// Its key. `None` if it has no key, or if its consumer does not handle entries by key.
    pub key: Option<String>,
}

/// Which entry of a stream the job is, if a consumer has handed it out. Its tags and headers are those of the job. New in version 0.1.3 of the
/// contract.
pub fn entry() -> Option<Entry> {
    host::entry()
}

/// The time that the schedule has for this job, if a schedule has enqueued it. New in version 0.1.1 of the contract.
pub fn scheduled_for() -> Option<SystemTime> {
    host::scheduled_for()
}
