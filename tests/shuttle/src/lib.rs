//! The places where threads meet, run by a scheduler that tries one interleaving after another.
//!
//! A thread that is never woken is a deadlock here: no timeout hides it. A failure prints the schedule that led
//! to it. `SHUTTLE_RUNS=<how many>` and `SHUTTLE_SEED=<first>` run more schedules, or others.

#![cfg(test)]

#[cfg(not(millpond_shuttle))]
compile_error!("set RUSTFLAGS=\"--cfg millpond_shuttle\": otherwise the crate has its own locks and threads");

mod blocking;
mod flows;
mod groups;
mod handles;
mod reopening;
mod schedules;
mod selections;
mod shutdown;
mod support;
mod unique;
mod waiters;
mod workers;
