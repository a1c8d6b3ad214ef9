//! Circuit breakers: a queue or a group of which too many attempts have failed starts nothing for a time, and then one job.
//!
//! [`window`] counts the last ends, [`circuit`] is one circuit, [`of_queue`] are the circuits of a queue and of its groups.
//! A circuit opens when an attempt ends, before anything else starts; that it is open is written with that end. It closes when
//! the end of the probe is durable. So what is in memory never lets a job start that the file holds.

mod circuit;
mod of_queue;
mod window;

pub(crate) use circuit::CircuitWait;
pub(crate) use of_queue::{Circuits, UNUSED_FORGOTTEN_AFTER};

#[cfg(test)]
mod tests;
