//! Tests of the time after a crash: a simulation in which some jobs kill the process, over several openings of the file.
//! It runs the scheduler and the rules of suspicion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::job::life::after_crash;
use crate::job::{
    AttemptNumber, Change, ExplainedDeaths, JobId, QueueId, ReadyJob, Record, State, Suspect, Transition, Trial,
    Witness, blamed,
};
use crate::time::{Now, Timestamp};

const LONG: u64 = 3_600_000;
const MAIL: QueueId = 2;

fn at(millis: u64) -> Now {
    let time = Timestamp::from_millis(1_000_000 + millis);
    Now { wall: time, engine: time, age: time, counted: time, mono: Duration::from_millis(millis) }
}

#[derive(Clone, Debug)]
struct Job {
    queue: QueueId,
    group: Option<&'static str>,
    runs_for: u64,
    kills_after: Option<u64>,
    max: u32,
    record: Record,
    is_dead: bool,
}

#[derive(Clone, Copy)]
struct StartMark {
    started_at: u64,
    attempt: u32,
    alone: bool,
}

/// What the tests know of one life, from an opening of the file to the death of the process.
#[derive(Debug, Default)]
struct Life {
    /// When each job started, counted from the opening.
    starts: BTreeMap<u64, u64>,
    suspects: BTreeSet<u64>,
}

struct World {
    jobs: BTreeMap<u64, Job>,
    marks: BTreeMap<u64, StartMark>,
    trial: Trial,
    explained: ExplainedDeaths,
    now: u64,
    /// How long after the other queue a process opens [`MAIL`].
    mail_opens_after: u64,
    slots: usize,
    running_max: usize,
    group_rate: Option<crate::job::Rate>,
    deaths: u32,
    lives: Vec<Life>,
}

impl World {
    fn new() -> Self {
        let (jobs, marks, lives) = Default::default();
        Self {
            jobs,
            marks,
            trial: Trial::default(),
            explained: ExplainedDeaths::default(),
            now: 0,
            mail_opens_after: 0,
            slots: 64,
            running_max: 256,
            group_rate: None,
            deaths: 0,
            lives,
        }
    }

    fn add(&mut self, queue: QueueId, runs_for: u64, kills_after: Option<u64>, max: u32) -> u64 {
        let id = self.jobs.len() as u64 + 1;
        let record = Record::plain();
        self.jobs.insert(id, Job { queue, group: None, runs_for, kills_after, max, record, is_dead: false });
        id
    }

    fn long(&mut self, max: u32) -> u64 {
        self.add(1, LONG, None, max)
    }

    fn killer(&mut self, after: u64, max: u32) -> u64 {
        self.add(1, LONG, Some(after), max)
    }

    fn in_group(&mut self, id: u64, group: &'static str) {
        let job = self.jobs.get_mut(&id).unwrap();
        (job.group, job.record.extra_mut().group) = (Some(group), Some(group.into()));
    }

    fn ready_job(&self, id: u64) -> Arc<ReadyJob> {
        Arc::new(ReadyJob::new(JobId::new(id), id, self.jobs[&id].record.clone(), 32))
    }

    /// Runs one life until a job kills the process. After `most` it is killed from outside.
    fn live(&mut self, most: u64) {
        let opened = self.now;
        let limits = WindowLimits { jobs_max: 256, bytes_max: 1 << 20, mark_after: Duration::from_millis(10) };
        let mut scheduler = Scheduler::new(self.running_max, limits);
        let trial = std::mem::take(&mut self.trial);
        let suspects = trial.suspects.iter().map(|suspect| suspect.job.id.get()).collect();
        self.lives.push(Life { suspects, ..Life::default() });
        scheduler.restore_crashed(trial, if self.deaths > 0 { careful_starts(self.running_max) } else { 0 });
        let settings = WorkerLimits {
            kinds: [1].into_iter().collect(),
            concurrency: self.slots,
            group_rate: self.group_rate,
            ..WorkerLimits::default()
        };
        scheduler.open_queue(1, settings.clone(), at(self.now));
        let mut unopened = Some(settings);
        let mut running: BTreeMap<u64, (RunId, u64)> = BTreeMap::new();
        loop {
            let now = at(self.now);
            let mail_opens_at = opened + self.mail_opens_after;
            if let Some(settings) = unopened.take_if(|_| mail_opens_at <= self.now) {
                scheduler.open_queue(MAIL, settings, now);
            }
            let starts: Vec<_> = scheduler.starts(now, 64).into_iter().collect();
            for start in starts {
                let id = start.job.id.get();
                assert!(!running.contains_key(&id) && !self.jobs[&id].is_dead);
                if start.commit_first {
                    let alone = scheduler.marked(start.run);
                    self.mark(id, start.alone);
                    if let Some(mark) = alone.and_then(|id| self.marks.get_mut(&id.get())) {
                        mark.alone = false;
                    }
                }
                running.insert(id, (start.run, self.now));
                self.lives.last_mut().unwrap().starts.entry(id).or_insert(self.now - opened);
            }
            for run in scheduler.long_running(now, Duration::from_millis(10)) {
                self.mark(run.job.get(), false);
            }
            if running.iter().any(|(id, (_, since))| self.jobs[id].kills_after.is_some_and(|d| since + d <= self.now))
                || self.now >= opened + most
            {
                return self.die();
            }
            let ended = running.iter().find(|(id, (_, since))| since + self.jobs[id].runs_for <= self.now);
            if let Some((id, (run, _))) = ended.map(|(id, run)| (*id, *run)) {
                assert!(scheduler.finished(run));
                running.remove(&id);
                self.marks.remove(&id);
                self.jobs.remove(&id);
                scheduler.apply([Change::Settled { id: JobId::new(id) }]);
                continue;
            }
            let chores = scheduler.chores(now);
            let is_busy = !chores.refills.is_empty() || !chores.reserve.is_empty() || !chores.promote.is_empty();
            for refill in chores.refills {
                let here =
                    |job: &Job| job.queue == refill.queue && job.group.is_some() == refill.grouped && !job.is_dead;
                let rows = self.jobs.iter().filter(|(_, job)| here(job)).map(|(id, _)| self.ready_job(*id)).collect();
                scheduler.refilled(refill, rows, true);
            }
            for Reservation { key, tokens } in chores.reserve {
                scheduler.apply([Change::Reserved { key, tokens }]);
            }
            for queue in chores.promote {
                scheduler.apply([Change::Promoted { queue, next_due: [None; 2] }]);
            }
            if is_busy || scheduler.have_chores_changed() {
                continue;
            }
            let next = running.iter().map(|(id, (_, since))| {
                let job = &self.jobs[id];
                since + job.kills_after.unwrap_or(u64::MAX / 2).min(job.runs_for)
            });
            let woken = chores.wait.map(|wait| self.now + (wait.as_nanos().div_ceil(1_000_000) as u64).max(1));
            let opening = unopened.is_some().then_some(mail_opens_at);
            self.now = next.chain(woken).chain(opening).min().unwrap_or(u64::MAX).min(opened + most);
        }
    }

    fn mark(&mut self, id: u64, alone: bool) {
        let attempt = self.jobs[&id].record.attempts + 1;
        self.marks.insert(id, StartMark { started_at: self.now, attempt, alone });
    }

    /// The process dies, and the next one reads what was durable.
    fn die(&mut self) {
        self.deaths += 1;
        self.now += 100;
        let marks = std::mem::take(&mut self.marks);
        for id in marks.keys() {
            let record = &mut self.jobs.get_mut(id).unwrap().record;
            record.extra_mut().crashes = self.explained.crashes_of(JobId::new(*id), record);
        }
        let witness = |(id, mark): (&u64, &StartMark)| {
            let deaths = self.jobs[id].record.crashes() + 1;
            Witness { id: JobId::new(*id), deaths, alone: mark.alone }
        };
        let blamed_id = blamed(&marks.iter().map(witness).collect::<Vec<_>>());
        if let Some(id) = blamed_id {
            self.explained.add(id, &self.jobs[&id.get()].record, at(self.now).wall);
        }
        let mut suspects = Vec::new();
        for (id, mark) in marks {
            let job = self.jobs.get_mut(&id).unwrap();
            let started_at = at(mark.started_at).wall;
            let attempt = AttemptNumber { number: mark.attempt, max: job.max, once: false, started_at };
            let blamed = blamed_id == Some(JobId::new(id));
            if after_crash(&mut job.record, attempt, blamed, at(self.now)) == Transition::End(State::Dead) {
                job.is_dead = true;
                continue;
            }
            let is_last_attempt = job.record.attempts + 1 >= job.max;
            let (queue, job) = (job.queue, self.ready_job(id));
            suspects.push(Suspect { queue, job, started_at, is_last_attempt, is_held_back: false });
        }
        self.trial = Trial::new(suspects, Some(at(self.now).wall));
    }

    /// Runs lives until each job that kills is a dead letter. Returns how many deaths that took.
    fn until_killers_are_dead(&mut self, deaths_most: u32) -> u32 {
        let is_left = |world: &Self| world.jobs.values().any(|job| job.kills_after.is_some() && !job.is_dead);
        while is_left(self) {
            self.live(LONG);
            assert!(self.deaths <= deaths_most, "{} deaths: {:#?}", self.deaths, self.jobs);
        }
        let innocents = self.jobs.iter().filter(|(_, job)| job.kills_after.is_none());
        let dead: Vec<_> = innocents.filter(|(_, job)| job.is_dead).collect();
        assert!(dead.is_empty(), "innocents are dead: {dead:#?}");
        self.deaths
    }

    /// The latest start of a suspect in any life but the first, counted from the opening.
    fn last_start_of_suspects(&self) -> u64 {
        let last = |life: &Life| life.suspects.iter().filter_map(|id| life.starts.get(id)).max().copied();
        self.lives.iter().filter_map(last).max().unwrap_or(0)
    }
}

#[test]
fn a_job_that_kills_early_beside_twenty_long_ones_is_found_in_time() {
    for max in [1, 2, 3, 5] {
        for after in [0, 1, 5, 15, 40, 100, 200] {
            for place in [0, 7, 20] {
                let mut world = World::new();
                for n in 0..=20 {
                    match n == place {
                        true => world.killer(after, max),
                        false => world.long(1),
                    };
                }
                world.until_killers_are_dead(max + 2);
            }
        }
    }
}

#[test]
fn a_job_that_kills_early_among_short_ones_is_found_in_time() {
    for max in [1, 3] {
        for after in [0, 20, 400, 4_000] {
            let mut world = World::new();
            for n in 0..40 {
                world.add(1 + n % 2, [0, 5, 40][n as usize % 3], None, 1);
            }
            world.killer(after, max);
            world.add(MAIL, 30, None, 1);
            world.until_killers_are_dead(max + 2);
        }
    }
}

#[test]
fn a_job_that_kills_late_beside_twenty_long_ones_is_found() {
    for (max, after) in [(1, 2_000), (1, 30_000), (5, 30_000), (1, 600_000)] {
        for place in [0, 13, 20] {
            let mut world = World::new();
            for n in 0..=20 {
                match n == place {
                    true => world.killer(after, max),
                    false => world.long(5),
                };
            }
            // Two deaths for each of the five halvings of 21 jobs, and one for each hold-back that is too short.
            let too_short = [5_000, 40_000, 320_000].iter().filter(|hold| **hold < after).count() as u32;
            world.until_killers_are_dead(max + 2 + 2 * 5 + too_short);
        }
    }
}

#[test]
fn a_job_that_kills_late_beside_one_long_one_is_found() {
    for after in [2_000, 12_000, 30_000] {
        let mut world = World::new();
        world.long(1);
        world.killer(after, 1);
        world.until_killers_are_dead(6);
    }
}

#[test]
fn several_killers_are_found_in_time() {
    for max in [1, 3] {
        for after in [0, 50] {
            for slots in [1, 2, 64] {
                let mut world = World::new();
                world.slots = slots;
                for n in 0..30 {
                    match n % 6 {
                        0 => world.killer(after, max),
                        _ => world.add(1, [0, 5, 40][n as usize % 3], None, 1),
                    };
                }
                world.until_killers_are_dead(5 * (max + 2));
            }
        }
    }
}

/// Each killer is tried before the other queue is open. So at the first death of the next one the job of the other queue
/// runs again, and then it has been there at more deaths than each of them.
#[test]
fn a_job_of_a_queue_that_opens_later_does_not_die_beside_killers_that_die_one_after_another() {
    for killers in [2, 5, 9] {
        let mut world = World::new();
        (world.slots, world.mail_opens_after) = (1, 5);
        for _ in 0..killers {
            world.killer(23, 2);
        }
        world.add(MAIL, 40, None, 1);
        world.until_killers_are_dead(killers * 4);
    }
}

#[test]
fn a_killer_whose_group_has_a_rate_is_found_in_time() {
    for max in [1, 3] {
        let mut world = World::new();
        world.group_rate = Some(crate::job::Rate::per_second(2));
        let innocent = world.long(1);
        world.in_group(innocent, "innocent");
        let killer = world.killer(30, max);
        world.in_group(killer, "g");
        world.until_killers_are_dead(max + 2);
    }
}

#[test]
fn after_a_crash_others_start_at_once_and_suspects_within_seconds() {
    for (max, others_wait_most) in [(5, 20), (1, 1_500)] {
        let mut world = World::new();
        for _ in 0..20 {
            world.long(max);
        }
        world.live(60_000);
        let mail = world.add(MAIL, 1, None, 5);
        world.live(60_000);
        let life = world.lives.last().unwrap();
        assert_eq!(life.suspects.len(), 20);
        let waited = life.starts[&mail];
        assert!(waited <= others_wait_most, "a job of another queue has waited for {waited} ms");
        let last = world.last_start_of_suspects();
        assert!(last <= 6_500, "the last suspect has waited for {last} ms");
    }
}

#[test]
fn the_last_of_many_suspects_starts_within_seconds_too() {
    let mut world = World::new();
    world.slots = 250;
    for _ in 0..250 {
        world.long(5);
    }
    world.live(60_000);
    world.live(60_000);
    assert_eq!(world.lives[1].suspects.len(), 250);
    assert_eq!(world.lives[1].starts.len(), 250);
    assert!(world.last_start_of_suspects() <= 6_500, "{}", world.last_start_of_suspects());
}

#[test]
fn a_long_job_that_is_killed_from_outside_does_not_delay_other_jobs() {
    for max in [1, 5, 20] {
        let mut world = World::new();
        world.long(max);
        for kill in 0..5 {
            world.live(3_000);
            let mail = world.add(MAIL, 1, None, 5);
            world.live(5_000);
            let waited = world.lives.last().unwrap().starts[&mail];
            assert!(waited <= 1_500, "after {kill} kills, with {max} attempts: {waited} ms");
        }
    }
}

#[test]
fn suspects_count_against_the_slots_of_their_queues() {
    let mut world = World::new();
    world.slots = 5;
    for _ in 0..5 {
        world.long(5);
    }
    world.live(60_000);
    for _ in 0..5 {
        world.long(5);
    }
    world.live(60_000);
    let started: Vec<u64> = world.lives[1].starts.keys().copied().collect();
    assert_eq!(started, [1, 2, 3, 4, 5]);
}

#[test]
fn a_job_that_kills_at_its_start_is_found_behind_more_jobs_than_can_run_at_a_time() {
    let mut world = World::new();
    world.running_max = 2;
    for _ in 0..8 {
        world.add(1, 1, None, 5);
    }
    // In each life these jobs are there again, and start first.
    let ahead = world.jobs.clone();
    let killer = world.killer(0, 1);
    while !world.jobs[&killer].is_dead {
        world.jobs.extend(ahead.clone());
        world.live(LONG);
        assert!(world.deaths <= 3, "{} deaths: {:#?}", world.deaths, world.jobs);
    }
}
