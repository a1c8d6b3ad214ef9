//! Tests of limits that several queues share, under random events. They run the scheduler beside simulated tables of rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::test_rows::{Rows, answer, now};
use super::*;
use crate::job::{Change, JobId, QueueId, ReadyJob, Record};

const LIMIT: LimitKey = LimitKey::Named(0);
const LIMITED: u32 = 1;
const FREE: u32 = 2;

struct World {
    rng: Rng,
    scheduler: Scheduler,
    queues: QueueId,
    units: u32,
    slots: BTreeMap<QueueId, usize>,
    paused: BTreeMap<QueueId, bool>,
    has_worker: BTreeMap<QueueId, bool>,
    rows: BTreeMap<QueueId, Rows>,
    running: Vec<Start>,
    next_id: u64,
    /// How many jobs of the limit have started since each waiting queue could have started one.
    overtaken: BTreeMap<QueueId, usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let limits = WindowLimits { jobs_max: rng.usize(1..6), bytes_max: 1 << 20, mark_after: Duration::from_secs(1) };
        let mut scheduler = Scheduler::new(100, limits);
        let (queues, units) = (rng.u32(1..5), rng.u32(1..5));
        scheduler.set_limit(0, units);
        let mut world = Self {
            scheduler,
            queues,
            units,
            slots: BTreeMap::new(),
            paused: BTreeMap::new(),
            has_worker: BTreeMap::new(),
            rows: BTreeMap::new(),
            running: Vec::new(),
            next_id: 1,
            overtaken: BTreeMap::new(),
            rng,
        };
        for queue in 1..=queues {
            world.slots.insert(queue, world.rng.usize(1..4));
            world.paused.insert(queue, false);
            world.has_worker.insert(queue, false);
            world.rows.insert(queue, Rows::new());
            world.scheduler.restore(queue, false, None, now());
            world.change_worker(queue);
        }
        world
    }

    fn queue(&mut self) -> QueueId {
        self.rng.u32(1..=self.queues)
    }

    fn change_worker(&mut self, queue: QueueId) {
        let has_worker = self.has_worker.get_mut(&queue).unwrap();
        *has_worker = !*has_worker;
        if !*has_worker {
            return self.scheduler.close_queue(queue);
        }
        let settings = WorkerLimits {
            kinds: [LIMITED, FREE].into_iter().collect(),
            concurrency: self.slots[&queue],
            shared: [(LIMITED, [LIMIT].into())].into_iter().collect(),
            ..WorkerLimits::default()
        };
        self.scheduler.open_queue(queue, settings, now());
    }

    fn pause(&mut self, queue: QueueId, paused: bool) {
        self.paused.insert(queue, paused);
        self.scheduler.apply([Change::Paused { queue, paused }]);
    }

    fn enqueue(&mut self) {
        let queue = self.queue();
        let mut record = Record { kind: if self.rng.u8(..4) == 0 { FREE } else { LIMITED }, ..Record::plain() };
        if self.rng.u8(..3) == 0 {
            record.extra_mut().weight = Some(self.rng.u32(1..6));
        }
        let job = Arc::new(ReadyJob::new(JobId::new(self.next_id), self.next_id, record, 32));
        self.next_id += 1;
        self.rows.get_mut(&queue).unwrap().insert(job.order, job.clone());
        self.scheduler.apply([Change::Ready { queue, job }]);
    }

    fn cancel(&mut self) {
        let queue = self.queue();
        let running: Vec<_> = self.running.iter().map(|start| start.job.id).collect();
        let waiting = self.rows[&queue].values().filter(|job| !running.contains(&job.id)).cloned();
        if let Some(job) = self.rng.choice(waiting.collect::<Vec<_>>()) {
            self.rows.get_mut(&queue).unwrap().remove(&job.order);
            self.scheduler.apply([Change::Gone { queue, grouped: false, order: job.order, id: job.id }]);
        }
    }

    fn end_one(&mut self) {
        if !self.running.is_empty() {
            let start = self.running.swap_remove(self.rng.usize(..self.running.len()));
            self.rows.get_mut(&start.queue).unwrap().remove(&start.job.order);
            assert!(self.scheduler.finished(start.run));
            self.scheduler.apply([Change::Settled { id: start.job.id }]);
        }
    }

    /// Starts what may start, and answers all pages, until nothing is left to do.
    fn run(&mut self) {
        loop {
            let starts: Vec<_> = self.scheduler.starts(now(), 1).into_iter().collect();
            let chores = self.scheduler.chores(now());
            if starts.is_empty() && chores.refills.is_empty() {
                break;
            }
            for start in starts {
                self.check_turn(&start);
                self.running.push(start);
            }
            for refill in chores.refills {
                let rows = &self.rows[&refill.queue];
                answer(&mut self.scheduler, refill, rows);
            }
        }
        let used: u32 = self.limited_and_running().map(|start| start.job.record.weight().min(self.units)).sum();
        assert!(used <= self.units, "{used} of {} units are in use", self.units);
        assert_eq!(self.scheduler.limit_usage(LIMIT), (self.units, used.into()));
    }

    fn limited_and_running(&self) -> impl Iterator<Item = &Start> {
        self.running.iter().filter(|start| start.job.kind() == LIMITED)
    }

    /// The waiting jobs of a queue that use the limit, if the queue could start one.
    fn may_wait(&self, queue: QueueId) -> Option<Arc<ReadyJob>> {
        let running = self.running.iter().filter(|start| start.queue == queue).count();
        if self.paused[&queue] || !self.has_worker[&queue] || running >= self.slots[&queue] {
            return None;
        }
        let runs = |job: &Arc<ReadyJob>| self.running.iter().any(|start| start.job.id == job.id);
        self.rows[&queue].values().find(|job| job.kind() == LIMITED && !runs(job)).cloned()
    }

    /// Checks that the started job is the first of its queue that uses the limit, and that no queue is overtaken for ever.
    fn check_turn(&mut self, start: &Start) {
        if start.job.kind() != LIMITED {
            return;
        }
        let first = self.may_wait(start.queue).map(|job| job.id);
        assert_eq!(first, Some(start.job.id), "a job of the queue is overtaken by one that uses the same limit");
        for queue in (1..=self.queues).filter(|queue| *queue != start.queue) {
            let overtaken =
                if self.may_wait(queue).is_some() { self.overtaken.get(&queue).unwrap_or(&0) + 1 } else { 0 };
            assert!(overtaken <= 40, "queue {queue} is overtaken {overtaken} times");
            self.overtaken.insert(queue, overtaken);
        }
        self.overtaken.insert(start.queue, 0);
    }

    fn step(&mut self) {
        match self.rng.u8(..20) {
            0..=7 => self.enqueue(),
            8..=13 => self.end_one(),
            14 => self.cancel(),
            15 => {
                let (queue, paused) = (self.queue(), self.rng.bool());
                self.pause(queue, paused);
            }
            16 => {
                let queue = self.queue();
                self.change_worker(queue);
            }
            17 => {
                let queue = self.queue();
                self.scheduler.read_again(queue);
            }
            _ => {}
        }
        self.run();
    }
}

#[test]
fn queues_share_a_limit_in_turns_and_each_job_starts() {
    for seed in 0..2_000 {
        let mut world = World::new(seed);
        for _ in 0..world.rng.usize(1..200) {
            world.step();
        }
        for queue in 1..=world.queues {
            world.pause(queue, false);
            if !world.has_worker[&queue] {
                world.change_worker(queue);
            }
        }
        world.run();
        while !world.running.is_empty() {
            world.end_one();
            world.run();
        }
        let left: Vec<_> = world.rows.values().flat_map(|rows| rows.values()).map(|job| job.id).collect();
        assert!(left.is_empty(), "seed {seed}: {left:?} do not start");
    }
}
