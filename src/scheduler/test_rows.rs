//! What tests of limits that queues share have in common: a clock that stands still, and the table of a queue's rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use crate::job::{Order, ReadyJob, Refill};
use crate::time::{Now, Timestamp};

/// The rows of a queue, of jobs without a group.
pub type Rows = BTreeMap<Order, Arc<ReadyJob>>;

pub fn now() -> Now {
    let time = Timestamp::from_millis(1_000_000);
    Now { wall: time, engine: time, age: time, counted: time, mono: Duration::ZERO }
}

/// Gives the scheduler the page that it has asked for.
pub fn answer(scheduler: &mut Scheduler, refill: Refill, rows: &Rows) {
    let behind = |job: &&Arc<ReadyJob>| !refill.grouped && refill.after.is_none_or(|after| job.order > after);
    let rows: Vec<_> = rows.values().filter(behind).cloned().collect();
    let end = rows.len() <= refill.jobs_max;
    let jobs_max = refill.jobs_max;
    scheduler.refilled(refill, rows.into_iter().take(jobs_max).collect(), end);
}
