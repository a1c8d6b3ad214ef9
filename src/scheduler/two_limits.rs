//! Tests of shared limits with events in a fixed order: several limits, and kinds that are paused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::test_rows::{Rows, answer, now};
use super::*;
use crate::job::{Change, JobId, KindId, QueueId, ReadyJob, Record, Steered};

const A: KindId = 1;
const B: KindId = 2;

/// A scheduler beside simulated tables of rows.
struct World {
    scheduler: Scheduler,
    rows: BTreeMap<QueueId, Rows>,
    running: Vec<Start>,
    next_id: u64,
}

impl World {
    /// The limits have these units each.
    fn new(units: &[u32]) -> Self {
        let limits = WindowLimits { jobs_max: 8, bytes_max: 1 << 20, mark_after: Duration::from_secs(1) };
        let mut scheduler = Scheduler::new(100, limits);
        for (limit, units) in (0..).zip(units) {
            scheduler.set_limit(limit, *units);
        }
        Self { scheduler, rows: BTreeMap::new(), running: Vec::new(), next_id: 1 }
    }

    /// Starts a worker for the kinds, each with the numbers of the limits that its jobs share.
    fn worker(&mut self, queue: QueueId, kinds: &[(KindId, &[u32])]) {
        self.rows.insert(queue, Rows::new());
        self.scheduler.restore(queue, false, None, now());
        let settings = WorkerLimits {
            kinds: kinds.iter().map(|(kind, _)| *kind).collect(),
            concurrency: 10,
            shared: kinds
                .iter()
                .map(|(kind, limits)| (*kind, limits.iter().map(|limit| LimitKey::Named(*limit)).collect()))
                .collect(),
            ..WorkerLimits::default()
        };
        self.scheduler.open_queue(queue, settings, now());
    }

    fn enqueue(&mut self, queue: QueueId, kind: KindId, weight: u32) -> JobId {
        let mut record = Record { kind, ..Record::plain() };
        record.extra_mut().weight = Some(weight);
        let id = JobId::new(self.next_id);
        let job = Arc::new(ReadyJob::new(id, self.next_id, record, 32));
        self.next_id += 1;
        self.rows.get_mut(&queue).unwrap().insert(job.order, job.clone());
        self.scheduler.apply([Change::Ready { queue, job }]);
        id
    }

    fn end(&mut self, id: JobId) {
        let at = self.running.iter().position(|start| start.job.id == id).unwrap();
        let start = self.running.remove(at);
        self.rows.get_mut(&start.queue).unwrap().remove(&start.job.order);
        assert!(self.scheduler.finished(start.run));
        self.scheduler.apply([Change::Settled { id }]);
    }

    fn pause_kinds(&mut self, queue: QueueId, kinds: &[KindId]) {
        let steered = Steered { paused_kinds: kinds.iter().copied().collect(), ..Steered::default() };
        self.scheduler.steer(queue, Some(Arc::new(steered)), now());
    }

    /// Starts what may start, and answers all pages. Returns the jobs that have started.
    fn run(&mut self) -> Vec<JobId> {
        let mut started = Vec::new();
        loop {
            let mut starts = Vec::new();
            self.scheduler.starts(now(), 1, &mut starts);
            let refills = self.scheduler.chores(now()).refills;
            if starts.is_empty() && refills.is_empty() {
                return started;
            }
            started.extend(starts.iter().map(|start| start.job.id));
            self.running.extend(starts);
            for refill in refills {
                let rows = &self.rows[&refill.queue];
                answer(&mut self.scheduler, refill, rows);
            }
        }
    }
}

#[test]
fn a_job_that_finds_its_next_limit_full_leaves_the_first_one_to_the_job_behind_it() {
    let mut world = World::new(&[1, 1]);
    world.worker(1, &[(A, &[0, 1]), (B, &[0])]);
    world.worker(2, &[(A, &[1])]);
    world.worker(3, &[(A, &[0])]);
    let holders = [world.enqueue(2, A, 1), world.enqueue(3, A, 1)];
    assert_eq!(world.run(), holders);
    let [both, first] = [world.enqueue(1, A, 1), world.enqueue(1, B, 1)];
    assert!(world.run().is_empty());
    world.end(holders[1]);
    assert_eq!(world.run(), [first], "the first limit is free");
    world.end(first);
    let other = world.enqueue(3, A, 1);
    assert_eq!(world.run(), [other], "the queue of the job that waits for the second limit keeps no turn at the first");
    world.end(other);
    world.end(holders[0]);
    assert_eq!(world.run(), [both]);
}

#[test]
fn a_kind_that_is_paused_gives_up_its_turn_at_a_limit() {
    let mut world = World::new(&[4]);
    world.worker(1, &[(A, &[0])]);
    world.worker(2, &[(A, &[0])]);
    let light = world.enqueue(2, A, 1);
    assert_eq!(world.run(), [light]);
    let heavy = world.enqueue(1, A, 4);
    assert!(world.run().is_empty());
    let behind = world.enqueue(2, A, 1);
    assert!(world.run().is_empty(), "it would overtake the heavy job");
    world.pause_kinds(1, &[A]);
    assert_eq!(world.run(), [behind]);
    world.pause_kinds(1, &[]);
    assert!(world.run().is_empty());
    let last = world.enqueue(2, A, 1);
    world.end(light);
    assert!(world.run().is_empty(), "the heavy job waits again");
    world.end(behind);
    assert_eq!(world.run(), [heavy]);
    world.end(heavy);
    assert_eq!(world.run(), [last]);
}
