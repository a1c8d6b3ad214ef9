//! Token buckets: how many starts a rate allows.
//!
//! A bucket has a level and a reservation. Its *level* is the number of starts that the rate allows now: it gains tokens up
//! to the burst, and each start uses one. Its *reservation* is the number of starts that the file already counts before
//! they happen: each start needs one, so that a start is counted even if the process crashes. Only the level limits the
//! rate. A reservation can be made before its tokens are there, so that no start waits for the disk.

mod amounts;
mod bucket;
mod counted;
mod of_queue;
mod registry;
mod stored;

pub(super) use amounts::is_exact;
pub(crate) use registry::{Buckets, Gate, Reservation};

#[cfg(test)]
mod tests;
