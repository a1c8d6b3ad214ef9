//! Tests of ageing. They run the scheduler beside simulated tables of rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::test_rows::aged_page;
use super::*;
use crate::job::{
    AgedRefill, Aging, Change, Expiry, JobId, KindId, Order, Overrides, Priority, QueueId, Rate, ReadyJob, Record,
    Refill, Steered, Suspect, Trial,
};
use crate::time::{Due, Now, Timestamp};

const QUEUE: QueueId = 1;
const KIND: KindId = 1;
/// A second kind, whose jobs share a limit of one unit.
const SHARED: KindId = 2;
const UNHANDLED: KindId = 3;

const SECOND: u64 = 1_000;
const MARK_AFTER: Duration = Duration::from_secs(1 << 20);
/// The period of ageing.
const PERIOD: u64 = 4 * SECOND;

struct World {
    scheduler: Scheduler,
    rows: BTreeMap<(bool, Order), Arc<ReadyJob>>,
    running: Vec<Start>,
    /// All jobs that have started.
    started: BTreeSet<u64>,
    now: u64,
    /// How far the wall clock was set forward, or back, since the start.
    set: i64,
    next_id: u64,
    /// How many pages of aged rows were read.
    pages: usize,
}

fn settings(concurrency: usize) -> WorkerLimits {
    WorkerLimits {
        kinds: [KIND, SHARED].into_iter().collect(),
        concurrency,
        shared: [(SHARED, [LimitKey::Named(0)].into())].into_iter().collect(),
        aging: Some(Aging::every(Duration::from_millis(PERIOD))),
        ..WorkerLimits::default()
    }
}

impl World {
    fn new(settings: WorkerLimits) -> Self {
        Self::with_windows(settings, 64)
    }

    fn with_windows(settings: WorkerLimits, jobs_max: usize) -> Self {
        let limits = WindowLimits { jobs_max, bytes_max: 1 << 20, mark_after: MARK_AFTER };
        let mut scheduler = Scheduler::new(100, limits);
        scheduler.set_limit(0, 1);
        let (rows, running, started) = Default::default();
        let mut world = Self { scheduler, rows, running, started, now: 0, set: 0, next_id: 1, pages: 0 };
        let now = world.now();
        world.scheduler.restore(QUEUE, false, None, now);
        world.scheduler.open_queue(QUEUE, settings, now);
        world.run();
        world
    }

    fn now(&self) -> Now {
        let age = 100 * SECOND + self.now;
        let wall = Timestamp::from_millis((2_000_000_000_000 + self.now).saturating_add_signed(self.set));
        let age = Timestamp::from_millis(age);
        Now { wall, engine: wall, age, counted: wall, mono: Duration::from_millis(self.now) }
    }

    fn record(&self, priority: u8, kind: KindId) -> Record {
        let priority = Priority::new(priority).unwrap();
        Record { kind, priority, enqueued_at: self.now().wall, ..Record::plain() }
    }

    fn add(&mut self, record: Record) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let position = if record.group().is_some() { id + 1_000_000 } else { id };
        let job = Arc::new(ReadyJob::new(JobId::new(id), position, record, 32));
        self.rows.insert((job.is_grouped(), job.order), job.clone());
        self.scheduler.apply([Change::Ready { queue: QUEUE, job }]);
        id
    }

    fn enqueue(&mut self, priority: u8) -> u64 {
        self.add(self.record(priority, KIND))
    }

    fn enqueue_head(&mut self, priority: u8) -> u64 {
        self.enqueue_in(priority, &format!("g{}", self.next_id))
    }

    fn enqueue_in(&mut self, priority: u8, group: &str) -> u64 {
        let mut record = self.record(priority, KIND);
        record.extra_mut().group = Some(group.into());
        self.add(record)
    }

    fn row(&self, id: u64) -> Arc<ReadyJob> {
        self.rows.values().find(|row| row.id.get() == id).unwrap().clone()
    }

    fn remove(&mut self, id: u64) -> Arc<ReadyJob> {
        let job = self.row(id);
        self.rows.remove(&(job.is_grouped(), job.order));
        job
    }

    /// An operator cancels a job that waits.
    fn cancel(&mut self, id: u64) {
        let job = self.remove(id);
        let (grouped, order, id) = (job.is_grouped(), job.order, job.id);
        self.scheduler.apply([Change::Gone { queue: QUEUE, grouped, order, id }]);
    }

    /// Lets all running jobs end.
    fn end_all(&mut self) {
        for start in std::mem::take(&mut self.running) {
            self.end(start);
        }
    }

    fn end(&mut self, start: Start) {
        self.remove(start.job.id.get());
        assert!(self.scheduler.finished(start.run));
        self.scheduler.apply([Change::Settled { id: start.job.id }]);
    }

    /// Starts what may start, and answers all pages. Returns the jobs that have started.
    fn run(&mut self) -> Vec<u64> {
        let mut started = Vec::new();
        loop {
            let (starts, aged, waits) = self.run_round();
            let is_over = starts.is_empty() && aged.is_empty() && waits && !self.scheduler.have_chores_changed();
            started.extend(starts);
            for refill in aged {
                self.read(&refill);
            }
            if is_over {
                return started;
            }
        }
    }

    /// Starts what may start, and answers the pages of the windows. Returns what has started, the pages of aged rows that are
    /// to be read, and whether nothing more happens now.
    fn run_round(&mut self) -> (Vec<u64>, Vec<AgedRefill>, bool) {
        let now = self.now();
        let starts: Vec<_> = self.scheduler.starts(now, 100).into_iter().collect();
        let ids: Vec<u64> = starts.iter().map(|start| start.job.id.get()).collect();
        for id in &ids {
            assert!(self.started.insert(*id), "job {id} starts twice");
        }
        self.running.extend(starts);
        let chores = self.scheduler.chores(now);
        for start in chores.expired {
            self.remove(start.job.id.get());
            self.scheduler.apply([Change::Settled { id: start.job.id }]);
        }
        for refill in chores.refills {
            self.answer(refill);
        }
        for Reservation { key, tokens } in chores.reserve {
            self.scheduler.apply([Change::Reserved { key, tokens }]);
        }
        (ids, chores.aged, chores.wait != Some(Duration::ZERO))
    }

    fn answer(&mut self, refill: Refill) {
        let behind = |row: &&Arc<ReadyJob>| {
            row.is_grouped() == refill.grouped && refill.after.is_none_or(|after| row.order > after)
        };
        let rows: Vec<_> = self.rows.values().filter(behind).cloned().collect();
        let end = rows.len() <= refill.jobs_max;
        self.scheduler.refilled(refill, rows.into_iter().take(refill.jobs_max).collect(), end);
    }

    fn read(&mut self, refill: &AgedRefill) {
        self.pages += 1;
        let page = aged_page(refill, self.rows.values(), self.next_id, self.now());
        self.scheduler.aged_read((QUEUE, refill.worker), page);
    }

    /// The next page of aged rows that is to be read.
    fn next_page(&mut self) -> AgedRefill {
        let page = (0..3).find_map(|_| self.run_round().1.pop());
        page.unwrap_or_else(|| panic!("no page is requested: {:?}", self.scheduler.queues.get(QUEUE)))
    }

    /// Runs jobs of 100 ms for this long, while there are always jobs of `priority` that wait. Returns what has started.
    fn run_beside(&mut self, priority: u8, millis: u64) -> Vec<u64> {
        let mut started = Vec::new();
        let until = self.now + millis;
        while self.now < until {
            let waits = |row: &&Arc<ReadyJob>| row.order.priority == priority && row.kind() == KIND;
            for _ in self.rows.values().filter(waits).count()..4 {
                self.enqueue(priority);
            }
            started.extend(self.run());
            self.now += 100;
            self.end_all();
        }
        started
    }

    /// When a job starts beside a stream of jobs of `priority`, in milliseconds after now; `None` if it does not within `millis`.
    fn starts_after(&mut self, id: u64, priority: u8, millis: u64) -> Option<u64> {
        let begun = self.now;
        while self.now < begun + millis {
            if self.run_beside(priority, 100).contains(&id) {
                return Some(self.now - 100 - begun);
            }
        }
        None
    }

    fn wait(&mut self) -> Option<Duration> {
        self.run();
        let now = self.now();
        // The time of a start mark does not count.
        self.scheduler.chores(now).wait.filter(|wait| *wait < MARK_AFTER / 2)
    }
}

fn rate(millis: u64) -> Rate {
    Rate::new(1, Duration::from_millis(millis))
}

#[test]
fn a_job_that_starves_starts_with_ageing_and_not_without() {
    for head in [false, true] {
        let mut world = World::with_windows(settings(1), 8);
        let low = if head { world.enqueue_head(9) } else { world.enqueue(9) };
        let after = world.starts_after(low, 5, 100 * SECOND).expect("it counts as priority 5 after four periods");
        assert!((4 * PERIOD..=4 * PERIOD + PERIOD / 4 + 200).contains(&after), "{after}");
        let mut world = World::with_windows(WorkerLimits { aging: None, ..settings(1) }, 8);
        let low = if head { world.enqueue_head(9) } else { world.enqueue(9) };
        assert_eq!(world.starts_after(low, 5, 100 * SECOND), None);
        assert_eq!(world.pages, 0);
    }
}

#[test]
fn a_job_that_has_aged_goes_first_and_then_takes_turns_with_those_that_are_as_urgent() {
    let mut world = World::new(settings(1));
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    let old = [world.enqueue(9), world.enqueue(7), world.enqueue_head(9), world.enqueue(8)];
    world.now += 2 * PERIOD;
    let new = [world.enqueue(7), world.enqueue(7), world.enqueue(6), world.enqueue(5), world.enqueue(8)];
    world.run();
    world.end_all();
    let mut order = Vec::new();
    loop {
        let started = world.run();
        if started.is_empty() {
            break;
        }
        order.extend(started);
        world.end_all();
    }
    // Those of priority 7 and 8 count as 5 and 6, and those of priority 9 as 7.
    assert_eq!(order, [old[1], new[3], old[3], new[2], old[0], new[0], old[2], new[1], new[4]]);
}

#[test]
fn jobs_of_the_most_urgent_priority_do_not_wait_for_all_that_have_aged() {
    let mut world = World::new(settings(1));
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    let old: Vec<_> = (0..30).map(|_| world.enqueue(9)).collect();
    world.now += 20 * PERIOD;
    world.run();
    world.end_all();
    assert_eq!(world.run(), [old[0]]);
    let urgent = [world.enqueue(0), world.enqueue(0)];
    let mut order = Vec::new();
    for _ in 0..4 {
        world.end_all();
        order.extend(world.run());
    }
    assert_eq!(order, [urgent[0], old[1], urgent[1], old[2]]);
}

#[test]
fn a_job_that_has_aged_and_is_in_its_window_starts_once() {
    for jobs_max in [16, 64] {
        let mut world = World::with_windows(settings(1), jobs_max);
        let first = world.enqueue(0);
        assert_eq!(world.run(), [first]);
        let all: BTreeSet<u64> = (0..40).map(|n| world.enqueue(1 + n % 9)).chain([first]).collect();
        world.now += PERIOD;
        for _ in 0..100 {
            world.end_all();
            world.run();
        }
        assert_eq!(world.started, all);
    }
}

#[test]
fn a_job_that_was_cancelled_does_not_start() {
    let mut world = World::with_windows(settings(1), 16);
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    let [low, next] = [world.enqueue(9), world.enqueue(9)];
    world.now += PERIOD;
    world.run();
    world.cancel(low);
    world.end_all();
    assert_eq!(world.run(), [next]);

    // The page that is being read shows it.
    let low = world.enqueue_head(9);
    world.now += 2 * PERIOD;
    let (worker, page) = loop {
        // A round begins only after some time for each row that the last one has looked at.
        world.now += 1;
        let refill = world.next_page();
        let page = aged_page(&refill, world.rows.values(), world.next_id, world.now());
        match page.rows.iter().any(|row| row.job.id.get() == low) {
            true => break (refill.worker, page),
            false => world.scheduler.aged_read((QUEUE, refill.worker), page),
        }
    };
    world.cancel(low);
    world.scheduler.aged_read((QUEUE, worker), page);
    world.end_all();
    assert!(world.run().is_empty());
}

/// It says nothing of the rows that have left the table since that worker stopped.
#[test]
fn a_page_that_an_earlier_worker_has_requested_is_ignored() {
    let mut world = World::new(settings(1));
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    let (low, other) = (world.enqueue(9), world.enqueue(9));
    world.now += PERIOD;
    let old = world.next_page();
    let page = aged_page(&old, world.rows.values(), world.next_id, world.now());
    assert_eq!(page.rows.len(), 2);
    world.scheduler.close_queue(QUEUE);
    world.cancel(low);
    world.end_all();
    let now = world.now();
    world.scheduler.open_queue(QUEUE, settings(1), now);
    // The page of the new worker is being read.
    let new = world.next_page();
    assert_ne!(old.worker, new.worker);
    world.scheduler.aged_read((QUEUE, old.worker), page);
    world.read(&new);
    assert_eq!(world.run(), [other], "the first one has left its table");
}

#[test]
fn a_job_that_has_started_is_not_started_from_a_page_that_shows_it_after_its_end() {
    let mut world = World::new(settings(1));
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    let low = world.enqueue(9);
    world.now += PERIOD;
    let refill = world.next_page();
    let page = aged_page(&refill, world.rows.values(), world.next_id, world.now());
    world.end_all();
    assert_eq!(world.run_round().0, [low]);
    world.end_all();
    world.scheduler.aged_read((QUEUE, refill.worker), page);
    assert!(world.run().is_empty());
}

#[test]
fn an_idle_queue_and_one_without_less_urgent_jobs_have_no_timer() {
    let mut world = World::new(settings(1));
    assert_eq!((world.wait(), world.pages), (None, 1), "only what waited before the worker's start is read");
    let most_urgent = [world.enqueue(0), world.enqueue(0)];
    assert_eq!((world.wait(), world.pages), (None, 1));
    let low = world.enqueue(1);
    assert_eq!(world.wait(), Some(Duration::from_millis(PERIOD / 4)));
    world.scheduler.apply([Change::Paused { queue: QUEUE, paused: true }]);
    assert_eq!(world.wait(), None, "a queue that is paused has none");
    world.scheduler.apply([Change::Paused { queue: QUEUE, paused: false }]);
    assert_eq!(world.wait(), Some(Duration::from_millis(PERIOD / 4)));
    for id in most_urgent {
        assert!(world.started.contains(&id) || world.rows.values().any(|row| row.id.get() == id));
        world.end_all();
        world.run();
    }
    world.end_all();
    assert!(world.started.contains(&low));
    assert_eq!(world.wait(), None);
    let pages = world.pages;
    world.now += 100 * PERIOD;
    assert_eq!((world.wait(), world.pages), (None, pages));
}

#[test]
fn a_queue_reads_aged_rows_a_few_times_in_a_period() {
    let mut world = World::new(settings(1));
    world.enqueue(9);
    let pages = world.pages;
    world.run_beside(5, 3 * PERIOD);
    let pages = world.pages - pages;
    assert!((11..=13).contains(&pages), "{pages} pages in three periods");
}

#[test]
fn a_paused_kind_and_a_kind_without_a_handler_hide_no_other_job() {
    let mut world = World::with_windows(settings(1), 16);
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    for _ in 0..20 {
        world.add(world.record(9, UNHANDLED));
        world.add(world.record(9, SHARED));
    }
    let low = world.enqueue(9);
    let steered = Steered { paused_kinds: [SHARED].into(), ..Steered::default() };
    let now = world.now();
    world.scheduler.steer(QUEUE, Some(Arc::new(steered)), now);
    world.now += 9 * PERIOD;
    let after = world.starts_after(low, 0, 3 * PERIOD);
    assert!(after.is_some_and(|after| after <= PERIOD / 2), "{after:?}");
    assert!(world.started.iter().all(|id| world.rows.values().all(|row| row.id.get() != *id || row.kind() == KIND)));
}

#[test]
fn jobs_that_wait_for_a_limit_hide_no_other_job_and_keep_their_turn() {
    let mut world = World::new(settings(2));
    let first = world.add(world.record(0, SHARED));
    assert_eq!(world.run(), [first]);
    let holder = world.running.pop().unwrap();
    let waiting: Vec<_> = (0..20).map(|_| world.add(world.record(9, SHARED))).collect();
    let low = world.enqueue(9);
    world.now += 9 * PERIOD;
    let after = world.starts_after(low, 0, 3 * PERIOD);
    assert!(after.is_some_and(|after| after <= PERIOD / 2), "{after:?}");
    // Jobs of the most urgent priority that need the same limit come behind those that wait for it by now.
    let urgent = world.add(world.record(0, SHARED));
    world.run_beside(0, 200);
    world.end(holder);
    let started = world.run_beside(0, 4_000);
    let position = |id| started.iter().position(|started| *started == id);
    let firsts: Vec<_> = waiting.iter().filter_map(|id| position(*id)).collect();
    assert!(!firsts.is_empty() && firsts[0] < position(urgent).unwrap_or(usize::MAX), "{firsts:?}");
    assert!(position(urgent).is_some(), "and they do not come behind all of them");
}

#[test]
fn a_job_that_waits_for_a_limit_becomes_more_urgent_there() {
    let mut world = World::new(settings(2));
    let low = world.add(world.record(9, SHARED));
    let first = world.add(world.record(0, SHARED));
    world.run();
    assert!(world.started.contains(&first));
    // There is always a more urgent job that waits for the limit when it becomes free.
    let (mut now, mut started) = (0, None);
    while now < 20 * PERIOD && started.is_none() {
        for _ in world.rows.values().filter(|row| row.order.priority == 3).count()..4 {
            world.add(world.record(3, SHARED));
        }
        if world.run().contains(&low) {
            started = Some(now);
        }
        world.now += 500;
        now += 500;
        world.end_all();
    }
    let at = started.expect("it counts as priority 3 after six periods, and as 2 after seven");
    assert!((6 * PERIOD - PERIOD..=8 * PERIOD).contains(&at), "{at}");
}

#[test]
fn a_job_that_has_aged_respects_the_rates_of_its_queue_and_of_its_group() {
    let mut world = World::new(WorkerLimits { rate: Some(rate(10 * PERIOD)), ..settings(2) });
    let first = world.enqueue(9);
    world.run();
    assert!(world.started.contains(&first));
    let low = world.enqueue(9);
    world.now += 9 * PERIOD;
    assert!(world.run().is_empty(), "the bucket of the queue is empty");
    world.now += PERIOD;
    assert_eq!(world.run(), [low]);

    let mut world = World::new(WorkerLimits { group_rate: Some(rate(12 * PERIOD)), ..settings(1) });
    let first = world.enqueue_in(9, "g");
    assert_eq!(world.run(), [first]);
    world.end_all();
    let low = world.enqueue_in(9, "g");
    let started = world.run_beside(0, 11 * PERIOD);
    assert!(!started.contains(&low), "the bucket of the group is empty");
    let after = world.starts_after(low, 0, 3 * PERIOD);
    assert!(after.is_some_and(|after| after <= 2 * PERIOD), "{after:?}");
}

#[test]
fn a_job_that_has_aged_and_has_expired_does_not_start() {
    let mut world = World::new(settings(1));
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    let mut record = world.record(9, KIND);
    record.extra_mut().expiry =
        Some(Expiry { due: Due::once_passed(world.now(), Duration::from_secs(1)), ..Expiry::at(Timestamp::EPOCH) });
    let low = world.add(record);
    world.now += PERIOD;
    world.end_all();
    assert!(world.run().is_empty());
    assert!(world.rows.values().all(|row| row.id.get() != low), "it has ended");
}

#[test]
fn a_job_that_has_aged_and_needs_a_thread_keeps_its_turn() {
    let mut world = World::new(WorkerLimits {
        blocking: [SHARED].into_iter().collect(),
        shared: Default::default(),
        ..settings(3)
    });
    world.scheduler.set_threads_max(1);
    let first = world.add(world.record(0, SHARED));
    assert_eq!(world.run(), [first]);
    world.scheduler.apply([Change::Paused { queue: QUEUE, paused: true }]);
    let [low, urgent] = [world.add(world.record(9, SHARED)), world.enqueue(0)];
    world.now += 9 * PERIOD;
    world.scheduler.apply([Change::Paused { queue: QUEUE, paused: false }]);
    let started = world.run();
    assert_eq!(started, [urgent], "what is read first has not aged");
    assert!(world.run().is_empty());
    let urgent = world.enqueue(0);
    assert!(world.run().is_empty(), "the queue waits with the job that needs a thread");
    world.end_all();
    assert_eq!(world.run(), [low, urgent]);
}

#[test]
fn a_job_that_is_withdrawn_does_not_start_until_it_is_back() {
    let mut world = World::new(settings(1));
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    let low = world.enqueue(9);
    world.now += PERIOD;
    world.run();
    assert!(world.scheduler.withdraw(JobId::new(low)));
    world.end_all();
    assert!(world.run().is_empty());
    world.scheduler.reinstate(JobId::new(low));
    assert_eq!(world.run(), [low]);
}

#[test]
fn a_suspect_that_has_aged_starts_when_its_probation_lets_it() {
    let mut world = World::new(settings(2));
    let mut record = world.record(9, KIND);
    record.extra_mut().crashes = 1;
    let job = Arc::new(ReadyJob::new(JobId::new(world.next_id), world.next_id, record, 32));
    world.next_id += 1;
    world.rows.insert((false, job.order), job.clone());
    let (started_at, is_last_attempt, is_held_back) = (world.now().wall, false, false);
    let suspect = Suspect { queue: QUEUE, job: job.clone(), started_at, is_last_attempt, is_held_back };
    world.scheduler.restore_crashed(Trial::new(vec![suspect], None), 0);
    world.scheduler.withdraw(job.id);
    world.now += 9 * PERIOD;
    let low = world.enqueue(9);
    world.run_beside(5, PERIOD);
    assert!(!world.started.contains(&job.id.get()));
    world.scheduler.reinstate(job.id);
    world.run_beside(5, PERIOD);
    assert!(world.started.contains(&job.id.get()));
    assert!(!world.started.contains(&low));
}

#[test]
fn a_job_that_comes_back_to_its_row_is_not_lost() {
    let mut world = World::with_windows(settings(1), 16);
    let low = world.enqueue(9);
    assert_eq!(world.run(), [low]);
    world.started.remove(&low);
    let start = world.running.pop().unwrap();
    for _ in 0..40 {
        world.enqueue(1);
    }
    world.run();
    world.scheduler.finished(start.run);
    world.scheduler.apply([Change::Returned { job: start.job }]);
    assert!(world.starts_after(low, 0, 12 * PERIOD).is_some());
}

#[test]
fn a_clock_that_is_set_makes_nothing_old_and_keeps_nothing_young() {
    const YEARS: i64 = 10 * 365 * 24 * 3_600 * 1_000;
    for set in [YEARS, -YEARS] {
        let mut world = World::with_windows(settings(1), 16);
        let low = world.enqueue(9);
        world.run_beside(5, PERIOD);
        world.set = set;
        let after = world.starts_after(low, 5, 10 * PERIOD).unwrap();
        assert!((3 * PERIOD - PERIOD / 4 - 200..=3 * PERIOD + PERIOD / 2).contains(&after), "set by {set}: {after}");
        let low = world.enqueue(9);
        world.set = 0;
        let after = world.starts_after(low, 5, 10 * PERIOD).unwrap();
        assert!(
            (4 * PERIOD - PERIOD / 4 - 200..=4 * PERIOD + PERIOD / 2).contains(&after),
            "set back from {set}: {after}"
        );
    }
}

#[test]
fn a_job_that_waited_before_the_worker_has_aged_when_it_starts() {
    let mut world = World::new(settings(1));
    let now = world.now();
    world.scheduler.close_queue(QUEUE);
    let low = world.enqueue(9);
    world.now += 5 * PERIOD;
    let urgent = world.enqueue(5);
    world.scheduler.open_queue(QUEUE, settings(1), now);
    assert_eq!(world.run(), [low]);
    world.end_all();
    assert_eq!(world.run(), [urgent]);
}

#[test]
fn few_aged_rows_are_in_memory() {
    let mut world = World::with_windows(settings(1), 64);
    for n in 0..1_000u32 {
        world.enqueue(1 + (n % 9) as u8);
    }
    world.now += 3 * PERIOD;
    for _ in 0..100 {
        world.run();
        let held = world.scheduler.queues.get(QUEUE).unwrap().rows_held();
        assert!(held <= 64 + 4, "{held} rows are in memory");
        world.end_all();
    }
}

#[test]
fn an_operator_sees_as_which_priority_a_job_counts_and_what_goes_before_it() {
    let mut world = World::new(settings(1));
    let first = world.enqueue(0);
    assert_eq!(world.run(), [first]);
    let [seven, nine] = [world.enqueue(7), world.enqueue(9)];
    world.now += 3 * PERIOD;
    let five = world.enqueue(5);
    world.run();
    let age_of = |id| world.scheduler.age_of(QUEUE, (JobId::new(id), &world.row(id).record), world.now());
    assert_eq!(age_of(seven), Some((4, 0)));
    assert_eq!(age_of(nine), Some((6, 1)));
    assert_eq!(age_of(five), Some((5, 1)));
    let now = world.now();
    world.scheduler.steer(
        QUEUE,
        Some(Arc::new(Steered { overrides: Overrides::new().concurrency(5), ..Steered::default() })),
        now,
    );
    let plain = World::new(WorkerLimits { aging: None, ..settings(1) });
    assert_eq!(plain.scheduler.age_of(QUEUE, (JobId::new(1), &Record::plain()), now), None);
}

/// More urgent jobs come than can start. Each of a number of less urgent ones starts nevertheless: once it counts as the most
/// urgent, every second start is one of them, the oldest first.
#[test]
fn no_job_waits_for_ever_while_more_urgent_jobs_keep_coming() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let (concurrency, jobs_max) = (rng.usize(1..4), rng.usize(1..40));
        let mut world = World::with_windows(settings(concurrency), jobs_max);
        // When each of the less urgent jobs was enqueued.
        let mut waiting: BTreeMap<u64, u64> = BTreeMap::new();
        let jobs = rng.u64(1..40);
        let (mut left, mut steps) = (jobs, 0);
        // Ten steps of an aged job in two for each that can be ahead, the time to become the most urgent, and until that is noticed.
        let bound = 9 * PERIOD + PERIOD / 4 + (2 * jobs + 20) * 100;
        while left > 0 || !waiting.is_empty() {
            steps += 1;
            assert!(steps < 10_000, "seed {seed}: there is no end to it");
            if left > 0 && rng.u8(..3) == 0 {
                left -= 1;
                let kind = if rng.u8(..4) == 0 { SHARED } else { KIND };
                let mut record = world.record(rng.u8(1..10), kind);
                if rng.bool() {
                    record.extra_mut().group = Some(format!("g{left}").into());
                }
                let now = world.now;
                waiting.insert(world.add(record), now);
            }
            if rng.u8(..20) == 0
                && let Some(id) = rng.choice(waiting.keys().copied().collect::<Vec<_>>())
            {
                waiting.remove(&id);
                world.cancel(id);
            }
            if rng.u8(..50) == 0 {
                world.scheduler.read_again(QUEUE);
            }
            for _ in 0..=concurrency {
                let kind = if rng.u8(..4) == 0 { SHARED } else { KIND };
                world.add(world.record(0, kind));
            }
            for id in world.run() {
                waiting.remove(&id);
            }
            world.now += 100;
            for (id, enqueued) in &waiting {
                let waited = world.now - enqueued;
                assert!(
                    waited <= bound + 5 * PERIOD,
                    "seed {seed}, windows of {jobs_max}: job {id} waits for {waited} ms"
                );
            }
            world.end_all();
        }
    }
}
