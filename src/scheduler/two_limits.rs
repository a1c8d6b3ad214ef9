//! Tests of shared limits with events in a fixed order: several limits, kinds that are paused, heads of groups, suspects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::test_rows::{Rows, answer, now};
use super::*;
use crate::job::{Change, JobId, KindId, Order, Priority, QueueId, ReadyJob, Record, Steered, Suspect, Trial};

const A: KindId = 1;
const B: KindId = 2;

/// A scheduler beside simulated tables of rows.
struct World {
    scheduler: Scheduler,
    rows: BTreeMap<QueueId, Rows>,
    /// The positions of heads of groups. No page reads them.
    heads: BTreeMap<JobId, Order>,
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
        Self { scheduler, rows: BTreeMap::new(), heads: BTreeMap::new(), running: Vec::new(), next_id: 1 }
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
        self.enqueue_as(5, queue, kind, weight)
    }

    fn enqueue_as(&mut self, priority: u8, queue: QueueId, kind: KindId, weight: u32) -> JobId {
        let mut record = Record { kind, priority: Priority::new(priority).unwrap(), ..Record::plain() };
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
            let starts: Vec<_> = self.scheduler.starts(now(), 1).into_iter().collect();
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

/// Enqueues a job of a group of its own, which is ready at this position.
fn enqueue_head(world: &mut World, queue: QueueId, position: u64) -> JobId {
    let id = JobId::new(world.next_id);
    let mut record = Record { kind: A, ..Record::plain() };
    record.extra_mut().group = Some(format!("g{id}").into());
    let job = Arc::new(ReadyJob::new(id, position, record, 32));
    world.next_id += 1;
    world.heads.insert(id, job.order);
    world.scheduler.apply([Change::Ready { queue, job }]);
    id
}

/// The positions of heads and those of jobs without a group are not from the same counter, so neither may decide which of
/// the two has waited longer for a limit.
#[test]
fn jobs_with_and_without_a_group_start_in_the_order_in_which_they_began_to_wait_for_a_limit() {
    for first_position in [1, 1_000_000] {
        let mut world = World::new(&[1]);
        world.worker(1, &[(A, &[0])]);
        world.next_id = 1_000;
        let mut position = first_position;
        let holder = world.enqueue(1, A, 1);
        assert_eq!(world.run(), [holder]);
        let mut expected = Vec::new();
        for n in 0..6 {
            expected.push(match n % 2 {
                0 => world.enqueue(1, A, 1),
                _ => enqueue_head(&mut world, 1, position),
            });
            position += 1;
            assert!(world.run().is_empty());
        }
        let mut started = Vec::new();
        let mut running = holder;
        // Others of each kind come all the time.
        for _ in 0..6 {
            world.enqueue(1, A, 1);
            enqueue_head(&mut world, 1, position);
            position += 1;
            world.end(running);
            let next = world.run();
            assert_eq!(next.len(), 1);
            running = next[0];
            started.push(running);
        }
        assert_eq!(started, expected, "heads begin at position {first_position}");
    }
}

#[test]
fn a_suspect_that_needs_many_units_is_not_overtaken_by_jobs_that_need_few() {
    let mut world = World::new(&[4]);
    for queue in [1, 2] {
        world.worker(queue, &[(A, &[0]), (B, &[])]);
    }
    let mut lights = vec![world.enqueue(2, A, 1), world.enqueue(2, A, 1)];
    assert_eq!(world.run(), lights);
    let mut record = Record { kind: A, ..Record::plain() };
    record.extra_mut().weight = Some(4);
    record.extra_mut().crashes = 1;
    let id = JobId::new(world.next_id);
    world.next_id += 1;
    let job = Arc::new(ReadyJob::new(id, id.get(), record, 32));
    world.rows.get_mut(&1).unwrap().insert(job.order, job.clone());
    let (started_at, is_last_attempt, is_held_back) = (now().wall, false, false);
    let suspect = Suspect { queue: 1, job, started_at, is_last_attempt, is_held_back };
    world.scheduler.restore_crashed(Trial::new(vec![suspect], None), 0);
    let mut started = Vec::new();
    for _ in 0..20 {
        // There is always one that has not ended.
        lights.push(world.enqueue(2, A, 1));
        let other = world.enqueue(2, B, 1);
        let starts = world.run();
        assert!(started.contains(&id) || starts.contains(&other), "jobs without the limit go on");
        started.extend(starts);
        let oldest = world.running.iter().find(|start| start.job.kind() == A).map(|start| start.job.id);
        oldest.into_iter().for_each(|id| world.end(id));
    }
    let position = started.iter().position(|started| *started == id).expect("the suspect has its turn");
    let before = started[..position].iter().filter(|id| lights.contains(id)).count();
    assert_eq!(before, 0, "{started:?}");
    assert!(started[position..].iter().any(|id| lights.contains(id)), "and then the others have theirs");
}

#[test]
fn a_suspect_that_is_gone_keeps_no_turn_at_a_limit() {
    let mut world = World::new(&[4]);
    world.worker(1, &[(A, &[0])]);
    let light = world.enqueue(1, A, 1);
    assert_eq!(world.run(), [light]);
    let mut record = Record { kind: A, ..Record::plain() };
    record.extra_mut().weight = Some(4);
    let id = JobId::new(world.next_id);
    world.next_id += 1;
    let job = Arc::new(ReadyJob::new(id, id.get(), record, 32));
    let (order, started_at) = (job.order, now().wall);
    let suspect = Suspect { queue: 1, job, started_at, is_last_attempt: false, is_held_back: false };
    world.scheduler.restore_crashed(Trial::new(vec![suspect], None), 0);
    let next = world.enqueue(1, A, 1);
    assert!(world.run().is_empty());
    world.scheduler.apply([Change::Gone { queue: 1, grouped: false, order, id }]);
    assert_eq!(world.run(), [next]);
}

#[test]
fn a_job_that_was_offered_its_units_behind_a_backlog_holds_up_no_urgent_one() {
    let mut world = World::new(&[1]);
    world.worker(1, &[(A, &[0]), (B, &[])]);
    world.scheduler.set_concurrency(1, 2);
    let first = world.enqueue(1, A, 1);
    let late = world.enqueue_as(9, 1, A, 1);
    assert_eq!(world.run(), [first]);
    let backlog: Vec<JobId> = (0..6).map(|_| world.enqueue(1, B, 1)).collect();
    assert_eq!(world.run(), backlog[..1]);
    world.end(first);
    assert_eq!(world.run(), backlog[1..2], "the late job is offered the unit, and stands behind the backlog");
    let urgent = world.enqueue_as(0, 1, A, 1);
    world.end(backlog[0]);
    assert_eq!(world.run(), [urgent]);
    let next = world.enqueue_as(0, 1, A, 1);
    world.end(backlog[1]);
    assert_eq!(world.run(), backlog[2..3], "the unit is in use");
    world.end(urgent);
    assert_eq!(world.run(), [next]);
    world.end(next);
    let mut left = Vec::new();
    loop {
        let started = world.run();
        left.extend(started);
        match world.running.first().map(|start| start.job.id) {
            Some(id) => world.end(id),
            None => break,
        }
    }
    assert!(left.contains(&late), "{left:?}");
}
