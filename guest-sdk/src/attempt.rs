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

/// True once the host stops and no longer waits: about half a second is left to end, best with [`snooze`](crate::Error::snooze). A job
/// that runs cannot be cancelled.
pub fn is_cancelled() -> bool {
    host::is_cancelled()
}
