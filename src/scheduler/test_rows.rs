//! What tests of limits that queues share have in common: a clock that stands still, and the table of a queue's rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Scheduler;
use crate::job::{AgedFrom, AgedPage, AgedRefill, AgedRow, JobId, Mark, Marks, Order, ReadyJob, Refill};
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

/// The page of aged rows that `refill` requests of these rows, as the storage reads it.
pub fn aged_page<'r>(
    refill: &AgedRefill,
    rows: impl Iterator<Item = &'r Arc<ReadyJob>>,
    next_id: u64,
    now: Now,
) -> AgedPage {
    let mark = refill.takes_mark.then(|| Mark { now, next_id: JobId::new(next_id) });
    let mut marks = Marks::clone(&refill.marks);
    mark.into_iter().for_each(|mark| marks.add(mark));
    let mut levels: BTreeMap<(usize, usize), BTreeMap<u64, (u8, AgedRow)>> = BTreeMap::new();
    let mut seen = 0;
    for job in rows {
        let level = (usize::from(job.is_grouped()), usize::from(job.order.priority));
        let from = refill.from.0[level.0][level.1];
        let is_behind = from.is_some_and(|from| from <= job.order.position);
        let since = marks.waits_since(job.id, &job.record);
        if let Some(since) = since.filter(|_| is_behind && refill.kinds.contains(job.kind())) {
            seen += 1;
            let counts_as = refill.aging.raised(job.order.priority, now.age.since(since));
            if counts_as < job.order.priority {
                let row = AgedRow { since, job: job.clone() };
                levels.entry(level).or_default().insert(job.order.position, (counts_as, row));
            }
        }
    }
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < refill.jobs_max && (bytes < refill.bytes_max || page.is_empty()) {
        let urgent = |level: &&mut BTreeMap<u64, (u8, AgedRow)>| {
            level.first_key_value().map(|(_, (counts_as, row))| (*counts_as, row.since, row.job.id))
        };
        let next = levels.values_mut().filter(|level| !level.is_empty()).min_by_key(urgent);
        let Some((_, (_, row))) = next.and_then(BTreeMap::pop_first) else { break };
        bytes += row.job.bytes as usize;
        page.push(row);
    }
    let mut next = AgedFrom([[None; 10]; 2]);
    for ((table, priority), level) in levels {
        next.0[table][priority] = level.first_key_value().map(|(position, _)| *position);
    }
    AgedPage { rows: page, next, mark, seen, now }
}
