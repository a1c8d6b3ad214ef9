//! What threads meet with: locks, channels, threads, tasks, timeouts.
//!
//! The only room that knows whether these are the real ones, or those of a test that tries out one
//! interleaving after another (the feature `_shuttle`, which is for this crate's own tests only).

#[cfg(not(feature = "_shuttle"))]
mod real;
#[cfg(feature = "_shuttle")]
mod shuttled;
#[cfg(feature = "_shuttle")]
pub(crate) mod shuttled_channel;

#[cfg(not(feature = "_shuttle"))]
pub(crate) use real::*;
#[cfg(feature = "_shuttle")]
pub(crate) use shuttled::*;
