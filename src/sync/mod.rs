//! Locks, channels, threads, tasks and timeouts.
//!
//! Only this module knows whether these are the real ones, or those of a test that runs many interleavings (`--cfg millpond_shuttle`, which is for this crate's own tests only).

mod must_not_wait;
mod process;
#[cfg(not(millpond_shuttle))]
mod real;
#[cfg(millpond_shuttle)]
mod shuttled;
#[cfg(millpond_shuttle)]
pub(crate) mod shuttled_channel;

pub(crate) use must_not_wait::{MustNotWait, may_wait};
pub(crate) use process::Process;
#[cfg(not(millpond_shuttle))]
pub(crate) use real::*;
#[cfg(millpond_shuttle)]
pub(crate) use shuttled::*;
