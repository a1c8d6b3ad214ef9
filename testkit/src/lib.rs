//! What the test suites of Millpond share.
//!
//! [`SimDisk`] is a disk in memory. It keeps what is synced apart from what is not, can be copied as a crash or a power
//! cut leaves it, records what is done to it, fails on demand, and can hold a sync. [`JobSpec`] is a random job as plain
//! data. [`ON_PURPOSE`] marks the failures that a workload asks for.
//!
//! This crate does not depend on `millpond`, so every suite can use it, also those that build the queue in a special way.

mod disk;
mod workload;

pub use disk::{CUT_POLICIES, CutPolicy, Failure, Fault, Image, LogEntry, Op, SimDisk, Walk, each_power_cut};
pub use workload::{Expires, JobSpec, When, one_of};

/// The text of every error, panic and reason that a random workload asks for. A suite's panic hook can tell such a panic
/// from a real one by it.
pub const ON_PURPOSE: &str = "on purpose";
