//! Tests that each job of a queue starts exactly once under random events. They run the scheduler beside a simulated table
//! of rows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::test_rows::aged_page;
use super::*;
use crate::job::{
    AgedPage, Aging, BucketKey, Change, Circuit, CircuitBreaker, CircuitStep, JobId, Order, Overrides, Priority,
    QueueId, Rate, ReadyJob, Record, Refill, Steered, Verdict,
};
use crate::time::{Now, Timestamp};

const QUEUE: QueueId = 1;

fn at(micros: u64) -> Now {
    let time = Timestamp::from_millis(1_000_000 + micros / 1_000);
    Now { wall: time, engine: time, age: time, counted: time, mono: Duration::from_micros(micros) }
}

/// Jobs are of this many kinds.
const KINDS: u32 = 3;

/// Adds limits that some kinds share to the limits of a worker.
fn with_shared_limits(mut settings: WorkerLimits, rng: &mut Rng) -> WorkerLimits {
    for kind in 1..=KINDS {
        let mut keys = Vec::new();
        if rng.u8(..4) == 0 {
            settings.concurrency_of.push((kind, rng.u32(1..3)));
            keys.push(LimitKey::Kind(QUEUE, kind));
        }
        keys.extend((0..2).filter(|_| rng.u8(..4) == 0).map(LimitKey::Named));
        if !keys.is_empty() {
            settings.shared.insert(kind, keys.into());
        }
    }
    settings
}

/// An answer that the scheduler waits for. Answers can come in any order.
enum Answer {
    Page(Refill, Vec<Arc<ReadyJob>>, bool),
    NoPage(Refill),
    AgedPage(u64, Box<AgedPage>),
    NoAgedPage(u64),
    Reserved(Reservation),
    NotReserved(Reservation),
}

struct World {
    rng: Rng,
    scheduler: Scheduler,
    settings: WorkerLimits,
    has_worker: bool,
    now: u64,
    /// The durable rows: those that can start, and behind each group's head the other members of the group.
    plain: BTreeMap<Order, Arc<ReadyJob>>,
    heads: BTreeMap<Order, Arc<ReadyJob>>,
    lines: BTreeMap<Arc<str>, VecDeque<u64>>,
    answers: Vec<Answer>,
    running: Vec<Start>,
    /// Jobs that a call has withdrawn.
    withdrawn: Vec<JobId>,
    started: BTreeSet<u64>,
    open: BTreeSet<u64>,
    next_id: u64,
    next_position: u64,
    groups: usize,
    bytes: usize,
    /// The units of the named limits.
    units: [u32; 2],
    /// Attempts can fail.
    may_fail: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let limits = WindowLimits {
            jobs_max: rng.usize(1..6),
            bytes_max: [300, 2_000, 1 << 20][rng.usize(..3)],
            mark_after: Duration::from_millis(10),
        };
        let rate = |rng: &mut Rng| Rate::new(rng.u32(1..10), Duration::from_secs(1)).burst(rng.u32(1..4));
        let breaker = |rng: &mut Rng| {
            let open_for = Duration::from_millis(rng.u64(100..3_000));
            CircuitBreaker::failures(rng.f64().max(0.1)).of(rng.u32(1..6)).open_for(open_for)
        };
        let settings = WorkerLimits {
            kinds: (1..=KINDS).collect(),
            concurrency: rng.usize(1..5),
            rate: (rng.u8(..4) == 0).then(|| rate(&mut rng)),
            group_rate: (rng.u8(..4) > 0).then(|| rate(&mut rng)),
            circuit_breaker: (rng.u8(..4) == 0).then(|| breaker(&mut rng)),
            group_circuit_breaker: (rng.u8(..3) == 0).then(|| breaker(&mut rng)),
            aging: (rng.u8(..2) == 0).then(|| Aging::every(Duration::from_millis(rng.u64(1_000..5_000)))),
            ..WorkerLimits::default()
        };
        let newest_first = settings.aging.is_none() && rng.bool();
        let settings = WorkerLimits { newest_first, ..settings };
        let settings = with_shared_limits(settings, &mut rng);
        let units = [rng.u32(1..4), rng.u32(1..4)];
        let mut scheduler = Scheduler::new(rng.usize(1..8), limits);
        for (limit, units) in (0..).zip(units) {
            scheduler.set_limit(limit, units);
        }
        scheduler.restore(QUEUE, false, None, at(0));
        let (groups, bytes) = (rng.usize(1..30), [10, 100, 400][rng.usize(..3)]);
        let (plain, heads, lines, answers, running, withdrawn) = Default::default();
        let (started, open) = Default::default();
        let (now, next_id, next_position, has_worker) = (0, 1, 1, false);
        Self {
            rng,
            scheduler,
            settings,
            has_worker,
            now,
            plain,
            heads,
            lines,
            answers,
            running,
            withdrawn,
            started,
            open,
            next_id,
            next_position,
            groups,
            bytes,
            units,
            may_fail: true,
        }
    }

    fn ready_job(&mut self, id: u64, position: u64, group: Option<Arc<str>>) -> Arc<ReadyJob> {
        let priority = Priority::new([5, 5, 5, 0, 9][id as usize % 5]).unwrap();
        let kind = id as u32 % KINDS + 1;
        let mut record = Record { kind, priority, enqueued_at: at(self.now).wall, ..Record::plain() };
        if id.is_multiple_of(7) {
            record.extra_mut().weight = Some(id as u32 % 4 + 1);
        }
        if group.is_some() {
            record.extra_mut().group = group;
        }
        Arc::new(ReadyJob::new(JobId::new(id), position, record, self.bytes))
    }

    fn make_ready(&mut self, id: u64, group: Option<Arc<str>>) -> Change {
        let position = if group.is_some() { self.next_position } else { id };
        self.next_position += 1;
        let job = self.ready_job(id, position, group);
        let table = if job.is_grouped() { &mut self.heads } else { &mut self.plain };
        table.insert(job.order, job.clone());
        Change::Ready { queue: QUEUE, job }
    }

    fn enqueue(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        self.open.insert(id);
        let group: Option<Arc<str>> =
            (self.rng.u8(..4) > 0).then(|| format!("g{}", self.rng.usize(..self.groups)).into());
        if let Some(group) = &group {
            let line = self.lines.entry(group.clone()).or_default();
            line.push_back(id);
            if line.len() > 1 {
                return;
            }
        }
        let change = self.make_ready(id, group);
        self.scheduler.apply([change]);
    }

    /// The head of a group is removed, and the next member becomes the head.
    fn next_member(&mut self, group: &Arc<str>) -> Option<Change> {
        let line = self.lines.get_mut(group)?;
        line.pop_front();
        let next = *line.front()?;
        Some(self.make_ready(next, Some(group.clone())))
    }

    fn end_one(&mut self, comes_back: bool) {
        if self.running.is_empty() {
            return;
        }
        let start = self.running.swap_remove(self.rng.usize(..self.running.len()));
        let (id, group) = (start.job.id, start.job.group().cloned());
        assert!(self.scheduler.finished(start.run));
        let changes = if comes_back { Vec::new() } else { self.count_end(&start) };
        if self.rng.bool() {
            // The slot is free before the end is durable.
            self.pump();
        }
        if comes_back {
            self.started.remove(&id.get());
            self.scheduler.apply([Change::Returned { job: start.job }]);
            return;
        }
        let table = if group.is_some() { &mut self.heads } else { &mut self.plain };
        table.remove(&start.job.order);
        self.open.remove(&id.get());
        let next = group.and_then(|group| self.next_member(&group));
        self.scheduler.apply([Change::Settled { id }].into_iter().chain(next).chain(changes));
    }

    /// Counts the end of an attempt for the circuits. Returns what its commit changes.
    fn count_end(&mut self, start: &Start) -> Vec<Change> {
        let verdict = match self.rng.u8(..8) {
            0 => return Vec::new(),
            1..=4 if self.may_fail => Verdict::Failure,
            _ => Verdict::Success,
        };
        let now = at(self.now);
        let steps = self.scheduler.count_end(start.run, QUEUE, start.job.group(), verdict, now);
        let change = |step| match step {
            CircuitStep::Open(opened) => Change::CircuitOpened { key: opened.key, until: opened.until },
            CircuitStep::Close { key, .. } => Change::CircuitClosed { key },
        };
        steps.into_iter().map(change).collect()
    }

    /// How many jobs may start now by the circuit of the queue.
    fn starts_most(&self) -> usize {
        match self.scheduler.circuit(&BucketKey { queue: QUEUE, group: None }, at(self.now)) {
            Circuit::Closed { .. } => usize::MAX,
            Circuit::HalfOpen { probe: None } => 1,
            Circuit::Open { .. } | Circuit::HalfOpen { .. } => 0,
        }
    }

    fn limit_one(&mut self) {
        let group = Some(format!("g{}", self.rng.usize(..self.groups)).into());
        let key = BucketKey { queue: QUEUE, group: group.filter(|_| self.rng.u8(..8) > 0) };
        let until = at(self.now + self.rng.u64(..3_000_000));
        self.scheduler.apply([Change::Limited { key, until }]);
    }

    fn reset_one(&mut self) {
        let group = Some(format!("g{}", self.rng.usize(..self.groups)).into());
        let key = BucketKey { queue: QUEUE, group };
        self.scheduler.fill_bucket(&key, at(self.now));
    }

    /// A call withdraws a job. Its commit follows later.
    fn withdraw(&mut self) {
        let rows = self.plain.values().chain(self.heads.values());
        if let Some(id) = self.rng.choice(rows.map(|job| job.id).collect::<Vec<_>>())
            && !self.withdrawn.contains(&id)
            && self.scheduler.withdraw(id)
        {
            self.withdrawn.push(id);
        }
    }

    fn reinstate(&mut self, cancels: bool) {
        if self.withdrawn.is_empty() {
            return;
        }
        let id = self.withdrawn.swap_remove(self.rng.usize(..self.withdrawn.len()));
        if cancels {
            let row = self.plain.values().chain(self.heads.values()).find(|job| job.id == id).cloned().unwrap();
            let (grouped, order) = (row.is_grouped(), row.order);
            if grouped { &mut self.heads } else { &mut self.plain }.remove(&order);
            self.open.remove(&id.get());
            let next = row.group().and_then(|group| self.next_member(group));
            let gone = Change::Gone { queue: QUEUE, grouped, order, id };
            self.scheduler.apply([gone].into_iter().chain(next));
        }
        self.scheduler.reinstate(id);
    }

    /// An operator sets limits, and pauses kinds.
    fn steer(&mut self) {
        let mut overrides = Overrides::new();
        if self.rng.bool() {
            overrides = overrides.concurrency(self.rng.u32(1..4));
        }
        overrides = match self.rng.u8(..4) {
            0 => overrides.group_rate(Rate::per_second(self.rng.u32(1..5))),
            1 => overrides.no_group_rate().no_rate(),
            _ => overrides,
        };
        let paused_kinds = (1..=KINDS).filter(|_| self.rng.u8(..3) == 0).collect();
        self.scheduler.steer(QUEUE, Some(Arc::new(Steered { overrides, paused_kinds })), at(self.now));
    }

    fn change_worker(&mut self) {
        match self.has_worker {
            true => self.scheduler.close_queue(QUEUE),
            false => {
                let mut settings = self.settings.clone();
                if self.rng.u8(..4) == 0 {
                    settings.circuit_breaker = None;
                }
                self.scheduler.open_queue(QUEUE, settings, at(self.now));
            }
        }
        self.has_worker = !self.has_worker;
    }

    fn pump(&mut self) {
        let most = self.starts_most();
        let starts: Vec<_> = self.scheduler.starts(at(self.now), 64).into_iter().collect();
        assert!(starts.len() <= most, "{} jobs start, and the circuit allows {most}", starts.len());
        for start in starts {
            assert!(self.started.insert(start.job.id.get()), "job {} starts twice", start.job.id);
            self.running.push(start);
        }
        self.check_limits();
    }

    /// Checks that the running jobs do not exceed a limit that they share.
    fn check_limits(&self) {
        for key in self.settings.shared.values().flat_map(|keys| keys.iter()) {
            let uses = |start: &&Start| {
                let keys = self.settings.shared.get(&start.job.kind());
                keys.is_some_and(|keys| keys.contains(key))
            };
            let running = self.running.iter().filter(uses);
            let (used, most): (u32, u32) = match key {
                LimitKey::Named(limit) => {
                    let units = self.units[*limit as usize];
                    (running.map(|start| start.job.record.weight().min(units)).sum(), units)
                }
                LimitKey::Kind(_, kind) => {
                    let (_, jobs) = self.settings.concurrency_of.iter().find(|(of, _)| of == kind).unwrap();
                    (running.count() as u32, *jobs)
                }
            };
            assert!(used <= most, "{used} of {most} units of {key:?} are in use");
        }
    }

    /// Runs one round of the dispatcher. Returns how long it can sleep.
    fn run_round(&mut self) -> Option<Duration> {
        self.pump();
        self.scheduler.long_running(at(self.now), Duration::from_millis(10));
        let chores = self.scheduler.chores(at(self.now));
        for refill in chores.refills {
            let table = if refill.grouped { &self.heads } else { &self.plain };
            let place = |order: Order| order.place(refill.newest_first);
            let is_behind = |order: Order| refill.after.is_none_or(|after| place(order) > place(after));
            let behind: BTreeMap<_, _> =
                table.values().filter(|row| is_behind(row.order)).map(|row| (place(row.order), row)).collect();
            let (mut page, mut bytes, mut end) = (Vec::new(), 0, true);
            for row in behind.values().copied() {
                if page.len() >= refill.jobs_max || (bytes >= refill.bytes_max && !page.is_empty()) {
                    end = false;
                    break;
                }
                bytes += row.bytes as usize;
                page.push(row.clone());
            }
            let fails = self.rng.u8(..10) == 0;
            self.answers.push(if fails { Answer::NoPage(refill) } else { Answer::Page(refill, page, end) });
        }
        for refill in chores.aged {
            let rows = self.plain.values().chain(self.heads.values());
            let page = aged_page(&refill, rows, self.next_id, at(self.now));
            let fails = self.rng.u8(..10) == 0;
            self.answers.push(if fails {
                Answer::NoAgedPage(refill.worker)
            } else {
                Answer::AgedPage(refill.worker, Box::new(page))
            });
        }
        for queue in chores.promote {
            self.scheduler.apply([Change::Promoted { queue, next_due: [None; 2] }]);
        }
        for reservation in chores.reserve {
            let fails = self.rng.u8(..10) == 0;
            let answer = if fails { Answer::NotReserved } else { Answer::Reserved };
            self.answers.push(answer(reservation));
        }
        assert!(chores.expired.is_empty());
        chores.wait
    }

    fn answer_one(&mut self) -> bool {
        if self.answers.is_empty() {
            return false;
        }
        match self.answers.swap_remove(self.rng.usize(..self.answers.len())) {
            Answer::Page(refill, rows, end) => self.scheduler.refilled(refill, rows, end),
            Answer::AgedPage(worker, page) => self.scheduler.aged_read((QUEUE, worker), *page),
            Answer::NoAgedPage(worker) => self.scheduler.request_aged_again((QUEUE, worker)),
            Answer::NoPage(refill) => self.scheduler.request_again(refill),
            Answer::Reserved(Reservation { key, tokens }) => {
                self.scheduler.apply([Change::Reserved { key, tokens }]);
            }
            Answer::NotReserved(Reservation { key, .. }) => self.scheduler.refuse_reservation(&key),
        }
        true
    }

    fn step(&mut self) {
        match self.rng.u8(..24) {
            0..=6 => self.enqueue(),
            7..=10 => drop(self.run_round()),
            11 | 12 => self.pump(),
            13..=15 => drop(self.answer_one()),
            16..=18 => {
                let comes_back = self.rng.u8(..6) == 0;
                self.end_one(comes_back);
            }
            19 => self.limit_one(),
            20 => self.now += self.rng.u64(..500_000),
            21 => self.withdraw(),
            22 => {
                let cancels = self.rng.bool();
                self.reinstate(cancels);
            }
            _ => match self.rng.u8(..6) {
                0 => self.change_worker(),
                1 => self.reset_one(),
                2 if self.rng.bool() => {
                    let key = BucketKey { queue: QUEUE, group: None };
                    self.scheduler.apply([Change::CircuitClosed { key }]);
                }
                2 => self.scheduler.read_again(QUEUE),
                3 => self.scheduler.set_concurrency(QUEUE, self.settings.concurrency),
                4 => self.steer(),
                _ => {}
            },
        }
    }

    /// Removes all limits, and checks that each job that is left starts.
    fn drain(&mut self) -> Result<(), String> {
        while !self.withdrawn.is_empty() {
            self.reinstate(false);
        }
        if !self.has_worker {
            self.change_worker();
        }
        self.scheduler.steer(QUEUE, None, at(self.now));
        self.may_fail = false;
        for _ in 0..200_000 {
            if self.open.is_empty() {
                return Ok(());
            }
            let wait = self.run_round();
            if self.answer_one() {
                continue;
            }
            if !self.running.is_empty() {
                self.end_one(false);
                continue;
            }
            if self.scheduler.have_chores_changed() || wait == Some(Duration::ZERO) {
                continue;
            }
            match wait {
                // Nothing happens before the announced time.
                Some(wait) => self.now += wait.as_nanos().div_ceil(1_000) as u64,
                None => return Err(format!("the dispatcher sleeps for good, and {:?} have not started", self.open)),
            }
        }
        Err(format!("there is no end to it: {:?} have not started", self.open))
    }
}

#[test]
fn each_job_starts_exactly_once_under_random_events() {
    for seed in 0..3_000 {
        let mut world = World::new(seed);
        for _ in 0..world.rng.usize(1..300) {
            world.step();
        }
        if let Err(why) = world.drain() {
            panic!("seed {seed}, windows of {}: {why}", world.scheduler.limits.jobs_max);
        }
    }
}

/// There are many more groups than fit into a window, and each has a rate. None is forgotten.
#[test]
fn each_job_of_many_limited_groups_starts() {
    for (jobs_max, bytes) in [(1, 10), (3, 10), (64, 10), (4_096, 1_000_000)] {
        let mut world = World::new(jobs_max as u64);
        let limits = WindowLimits { jobs_max, bytes_max: 2 << 20, mark_after: Duration::from_millis(10) };
        world.scheduler = Scheduler::new(8, limits);
        world.settings.group_rate = Some(Rate::per_second(5));
        (world.settings.rate, world.groups, world.bytes) = (None, 400, bytes);
        world.settings.shared.clear();
        world.change_worker();
        for _ in 0..1_000 {
            world.enqueue();
        }
        if let Err(why) = world.drain() {
            panic!("windows of {jobs_max}: {why}");
        }
    }
}
