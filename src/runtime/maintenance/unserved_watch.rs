//! Warns of jobs that wait although nothing can ever run them: their queue has no worker, or its worker has no handler for
//! their kind. The usual cause is a typing error in a name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::job::{KindId, QueueId, Refill};
use crate::runtime::engine::{Engine, WINDOW_BYTES_MAX, WINDOW_JOBS_MAX};
use crate::time::Now;

/// How often this checks while it has found nothing.
const EVERY: Duration = Duration::from_secs(10);

/// How long jobs wait before this warns. It is long enough for an application that enqueues first and starts its workers
/// afterwards.
const PATIENCE: Duration = Duration::from_secs(5);

/// Queues that one check reads. There may be 65,536, and the next check goes on where this one ends.
const QUEUES_AT_ONCE: usize = 256;

/// Warnings until the queue is closed, at most. Otherwise names that the application gets from elsewhere could fill a log.
const WARNINGS_MAX: usize = 1_000;

/// A queue without a worker, or a kind without a handler in a queue that has one.
type Unserved = (QueueId, Option<KindId>);

/// Warns once of each queue and kind.
#[derive(Default)]
pub(in crate::runtime) struct UnservedWatch {
    /// When the next check is due, on the monotonic clock. `None` before the first check.
    next: Option<Duration>,
    /// The queue with which the next check begins.
    from: QueueId,
    /// Since when jobs are known to wait. When an entry is due, it is removed, and checked again before the warning.
    since: BTreeMap<Unserved, Duration>,
    warned_of: BTreeSet<Unserved>,
}

impl UnservedWatch {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        let next = *self.next.get_or_insert(now.mono.saturating_add(EVERY));
        if now.mono < next {
            return next - now.mono;
        }
        if !engine.is_stopping() && engine.runtime_ended().is_none() && self.warned_of.len() < WARNINGS_MAX {
            self.check(engine, now);
        }
        let wait = if self.since.is_empty() { EVERY } else { PATIENCE };
        self.next = Some(now.mono.saturating_add(wait));
        wait
    }

    fn check(&mut self, engine: &Engine, now: Now) {
        let workers: BTreeSet<QueueId> = engine.workers().into_iter().map(|(queue, _)| queue).collect();
        let (waiting, next) = engine.store.catalog.waiting_from(self.from, QUEUES_AT_ONCE);
        self.from = next;
        let without_worker = waiting.iter().filter(|queue| !workers.contains(queue)).map(|queue| (*queue, None));
        let mut without_handler = Vec::new();
        {
            let scheduler = engine.scheduler();
            for &queue in &workers {
                without_handler.extend(scheduler.passed_over(queue).map(|kind| (queue, Some(kind))));
            }
        }
        for unserved in without_worker.chain(without_handler).filter(|unserved| !self.warned_of.contains(unserved)) {
            self.since.entry(unserved).or_insert(now.mono);
        }
        let is_due = |since: Duration| now.mono.saturating_sub(since) >= PATIENCE;
        let due: Vec<Unserved> =
            self.since.iter().filter(|(_, since)| is_due(**since)).map(|(what, _)| *what).collect();
        for unserved @ (queue, kind) in due {
            self.since.remove(&unserved);
            let was_warned_of = match kind {
                None => warn_of_queue(engine, queue),
                Some(kind) => warn_of_kind(engine, queue, kind),
            };
            if was_warned_of {
                self.warned_of.insert(unserved);
            }
        }
    }
}

/// Warns of a queue without a worker. Returns false if no job waits there any more, or the queue has a worker by now.
fn warn_of_queue(engine: &Engine, queue: QueueId) -> bool {
    let row = engine.store.catalog.row(queue);
    let jobs = row.tally.pending;
    if jobs == 0 || row.paused || engine.has_worker(queue) || engine.scheduler().handed_out_in(queue) > 0 {
        return false;
    }
    let (name, are) = (&*row.name, if jobs == 1 { "job waits" } else { "jobs wait" });
    match engine.handlers_like(queue, "").nearest {
        Some(nearest) => tracing::warn!(
            queue = name,
            jobs,
            nearest,
            "{jobs} {are} in queue `{name}`, which has no worker; there is one for queue `{nearest}`"
        ),
        None => tracing::warn!(queue = name, jobs, "{jobs} {are} in queue `{name}`, which has no worker"),
    }
    true
}

/// Warns of a kind without a handler. Returns false if no job of this kind waits there any more, or it has a handler by now.
fn warn_of_kind(engine: &Engine, queue: QueueId, kind: KindId) -> bool {
    let Some(binding) = engine.binding(queue) else { return false };
    let jobs = waiting_of_kind(engine, queue, kind);
    if jobs == 0 || binding.handling(kind).is_some() {
        // Otherwise the next check would read the file for this kind again.
        engine.scheduler().forget_passed_over(queue, kind);
        return false;
    }
    let (name, kind) = (&*binding.queue, &*engine.store.catalog.kind_name(kind));
    let handlers = engine.handlers_like(queue, kind);
    let handles = match &handlers.nearest {
        Some(nearest) => format!("`{nearest}`"),
        None => handlers.kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", "),
    };
    let (nearest, wait) = (handlers.nearest, if jobs == 1 { "job" } else { "jobs" });
    let verb = if jobs == 1 { "waits" } else { "wait" };
    tracing::warn!(
        queue = name,
        kind,
        jobs,
        nearest,
        "{jobs} {wait} of kind `{kind}` {verb} in `{name}`; its worker handles {handles}"
    );
    true
}

/// How many ready jobs of this kind are among the first of the queue, as far as a window could hold them.
fn waiting_of_kind(engine: &Engine, queue: QueueId, kind: KindId) -> usize {
    let Ok(reader) = engine.store.reader() else { return 0 };
    let count = |grouped| {
        let refill = Refill {
            queue,
            grouped,
            newest_first: false,
            after: None,
            jobs_max: WINDOW_JOBS_MAX,
            bytes_max: WINDOW_BYTES_MAX,
        };
        let page = reader.page(refill);
        page.map_or(0, |page| page.jobs.iter().filter(|job| job.kind() == kind).count())
    };
    count(false) + count(true)
}
