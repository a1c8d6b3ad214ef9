//! I27: a run of a schedule is one commit, so its job is in the file exactly if the schedule has counted it, whatever dies
//! when. In a world whose clock is not set, each time of each schedule has run exactly once in the end.
//!
//! The jobs of schedules are in a queue of their own, which has no worker: they are there until the end.

use std::collections::BTreeMap;

use fastrand::Rng;
use millpond::{Event, Every, JobFilter, JobInfo, Misfire, NewJob, Overlap, Schedule};
use millpond_testkit::one_of;

use crate::oracle::Check;
use crate::paths::took;
use crate::plan::Plan;
use crate::world::World;

/// The queue of the jobs that schedules enqueue.
pub const SCHEDULED: &str = "scheduled";

/// A run that was enqueued later than this was missed, and made up.
const LATE: u64 = 60_000;

/// One schedule of a world.
#[derive(Clone, Debug)]
pub struct SchedulePlan {
    name: String,
    every: u64,
    aligned: bool,
    jitter: u64,
}

/// How many runs a schedule counts, and of each of its jobs the time of the run and that of the enqueue.
type Runs = (u64, Vec<(u64, u64)>);

/// The schedules of a world.
#[derive(Clone, Debug)]
pub struct Schedules {
    plans: Vec<SchedulePlan>,
    /// When each was stored, by the wall clock.
    stored_at: BTreeMap<String, u64>,
    /// Of its own, so that a seed's world is otherwise the same with and without schedules.
    rng: Rng,
    /// Nothing sets the wall clock.
    pub exact: bool,
    edits: u64,
}

impl Schedules {
    /// Half of the worlds have schedules.
    pub fn random(seed: u64, plan: &Plan) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x7363_6865_6475_6C65);
        let any = rng.bool() && !plan.bulk;
        let count = if any { rng.usize(1..4) } else { 0 };
        let exact = plan.weights.jump == 0 && !plan.clock_unset;
        let plans = (0..count).map(|n| SchedulePlan {
            name: format!("s{n}"),
            every: one_of(&mut rng, &[300_000, 600_000, 3_600_000]),
            aligned: rng.bool(),
            jitter: one_of(&mut rng, &[0, 0, 20_000]),
        });
        Self { plans: plans.collect::<Vec<_>>(), stored_at: BTreeMap::new(), rng, exact, edits: 0 }
    }

    fn schedule(&self, plan: &SchedulePlan) -> Schedule {
        let every = Every::new(std::time::Duration::from_millis(plan.every));
        let every = if plan.aligned { every.aligned() } else { every };
        let misfire = if self.exact { Misfire::All { at_most: 300 } } else { Misfire::Once };
        Schedule::new(every, SCHEDULED, NewJob::raw("scheduled", vec![self.edits as u8]))
            .misfire(misfire)
            .overlap(Overlap::Allow)
            .jitter(std::time::Duration::from_millis(plan.jitter))
    }
}

/// Whether an event is about schedules, or about a job of theirs.
pub fn is_of_schedules(event: &Event) -> bool {
    match event {
        Event::Enqueued { queue, .. } => &**queue == SCHEDULED,
        Event::ScheduleFired { .. } | Event::ScheduleMissed { .. } | Event::ScheduleHeld { .. } => true,
        _ => false,
    }
}

/// Whether it is a job of a schedule.
pub fn is_scheduled(info: &JobInfo) -> bool {
    info.queue == SCHEDULED
}

impl World {
    /// Stores the schedules of the world.
    pub fn set_up_schedules(&mut self) -> Check {
        for plan in self.schedules.plans.clone() {
            let schedule = self.schedules.schedule(&plan);
            let stored = self.now().pond.schedule(&plan.name, schedule);
            self.done(stored)?;
            let at = self.now().pond.schedules().get(&plan.name).map_err(|error| error.to_string())?.created_at;
            self.schedules.stored_at.insert(plan.name, at.as_millis());
        }
        Ok(())
    }

    /// Changes the job of a schedule now and then. Its times stay.
    pub fn edit_schedules(&mut self) {
        if self.schedules.plans.is_empty() || self.schedules.rng.u8(..12) > 0 {
            return;
        }
        let at = self.schedules.rng.usize(..self.schedules.plans.len());
        let plan = self.schedules.plans[at].clone();
        self.schedules.edits += 1;
        let schedule = self.schedules.schedule(&plan);
        let commit = self.now().pond.schedule(&plan.name, schedule);
        took("a schedule was edited");
        self.ask_for_nothing(commit);
    }

    /// Compares the schedules with their jobs.
    pub fn compare_schedules(&self) -> Check {
        if self.schedules.plans.is_empty() || self.now().pond.degraded().is_some() {
            return Ok(());
        }
        let Some(runs) = self.disk.without_faults(|| self.runs()) else { return Ok(()) };
        if runs.len() != self.schedules.plans.len() {
            return Err(format!("I27: a job or a schedule is of no schedule of this world: {:?}", runs.keys()));
        }
        for plan in &self.schedules.plans {
            let (counted, times) = &runs[&plan.name];
            if *counted != times.len() as u64 {
                return Err(format!("I27: {plan:?} counts {counted} runs, and has {} jobs", times.len()));
            }
            let late = |(at, enqueued_at): &(u64, u64)| enqueued_at.saturating_sub(*at) > LATE + plan.jitter;
            if self.schedules.exact && times.iter().any(late) {
                took("a missed run of a schedule was made up");
            }
            if !self.schedules.exact {
                continue;
            }
            let stored = self.schedules.stored_at[&plan.name];
            let first = if plan.aligned { stored / plan.every * plan.every + plan.every } else { stored + plan.every };
            for (n, (at, _)) in times.iter().enumerate() {
                let expected = first + n as u64 * plan.every;
                // The engine's line and the wall clock can be a millisecond apart.
                let slack = if plan.aligned { 0 } else { 1_000 };
                if at.abs_diff(expected) > slack {
                    return Err(format!("I27: run {n} of {plan:?} is for {at}, and not for {expected}"));
                }
            }
        }
        Ok(())
    }

    /// At rest, no run of a schedule is due.
    pub fn no_schedule_is_due(&self) -> Check {
        let now = self.now().pond.now().as_millis();
        for plan in &self.schedules.plans {
            let info = self.disk.without_faults(|| self.now().pond.schedules().get(&plan.name));
            let Ok(info) = info else { continue };
            let due = info.next.map(|next| next.as_millis() + plan.jitter);
            if info.held.is_none() && due.is_some_and(|due| due + 1_000 < now) && self.schedules.exact {
                return Err(format!("I27: {plan:?} is due at {due:?}, and it is {now}: {info:?}"));
            }
            // Whatever the clock was set to, the next run is near.
            let far = info.next.is_none_or(|next| next.as_millis() > now + plan.every + 3_600_000 + 1_000);
            if far {
                return Err(format!("I27: the next run of {plan:?} is far away, and it is {now}: {info:?}"));
            }
        }
        Ok(())
    }

    /// How many runs each schedule counts, and the times of its jobs and of their enqueues.
    fn runs(&self) -> Option<BTreeMap<String, Runs>> {
        let pond = &self.now().pond;
        let mut runs: BTreeMap<String, Runs> = BTreeMap::new();
        for info in pond.schedules().list("", 1_000).ok()? {
            runs.insert(info.name, (info.runs, Vec::new()));
        }
        let (mut jobs, mut cursor) = (Vec::new(), None);
        loop {
            let page = pond.jobs(&JobFilter::new().queue(SCHEDULED), cursor, 1_000).ok()?;
            jobs.extend(page.jobs);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        jobs.sort_by_key(|job| job.id);
        for job in jobs {
            let (schedule, at) = job.scheduled_for.map_or((String::new(), 0), |run| (run.schedule, run.at.as_millis()));
            runs.entry(schedule).or_default().1.push((at, job.enqueued_at.as_millis()));
        }
        Some(runs)
    }
}
