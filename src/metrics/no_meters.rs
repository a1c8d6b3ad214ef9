//! The meters of a build without the feature `metrics`: nothing is measured, and nothing is stored. `meters.rs` has the real
//! ones.

use std::time::Duration;

use super::commits::CommitCost;
use super::end::End;
use crate::job::KindId;

/// What is told of all queues together: nothing.
#[derive(Debug, Default)]
pub(super) struct Meters;

/// What is told of the attempts of one worker: nothing.
pub(crate) struct WorkerMeters;

impl Meters {
    pub fn committed(&self, _: CommitCost) {}

    pub fn refilled(&self) {}
}

impl WorkerMeters {
    pub fn of<'a>(_queue: &str, _kinds: impl Iterator<Item = (KindId, &'a str)>) -> Self {
        Self
    }

    pub fn started(&self, _: KindId, _waited: impl FnOnce() -> Duration) {}

    pub fn ended(&self, _: KindId, _end: impl FnOnce() -> Option<End>, _took: Duration) {}
}
