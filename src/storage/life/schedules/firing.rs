//! Verbs on schedules: storing one, a run, a pause. The rules are in `job/firing.rs`.
//!
//! A run is one commit: the job enters through the door, and the schedule's row has its next time.

use std::time::Duration;

use super::{is_same, record};
use crate::error::Error;
use crate::events::Event;
use crate::job::{
    Coder, Definition, Expiry, JobId, JobTemplate, Misfire, Overlap, QueueId, SET_BACK_MIN, ScheduleRow, Scheduled,
    ScheduledFor, life,
};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::KnownQueue;
use crate::storage::rows::prepared::{NO_NUMBER, NewJobNames, Prepared};
use crate::text::printable;
use crate::time::{Due, Timestamp};

/// Schedules in one file, at most: each is a row that is read when the wall clock is set back.
const SCHEDULES_MAX: u64 = 100_000;

/// How long a run that finds its queue full waits until it is tried again.
const FULL_WAIT: Duration = Duration::from_secs(5);

/// How long a schedule waits that this build cannot fire at all, because it does not know its times or cannot read its job.
const UNKNOWN_WAIT: Duration = Duration::from_secs(60);

/// Why a run is left out.
const LATE: &str = "missed";
const OVERLAPS: &str = "the previous run has not ended";

/// How much one commit may enqueue for schedules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FiringRoom {
    pub runs: usize,
    pub bytes: u64,
}

impl FiringRoom {
    pub fn is_used_up(self) -> bool {
        self.runs == 0 || self.bytes == 0
    }
}

/// The result of one run.
enum Run {
    Entered(QueueId, JobId),
    /// It is to be tried again.
    Held {
        reason: String,
        wait: Duration,
    },
}

pub(super) fn no_such(name: &str) -> Error {
    Error::NoSuchSchedule { name: name.to_owned() }
}

fn unknown_times(reason: String) -> Error {
    Error::InvalidConfig { field: "when", reason }
}

impl Batch<'_> {
    /// Stores a schedule, or changes the one of this name.
    pub fn schedule(&mut self, name: &str, definition: &Definition, coder: &Coder) -> Result<Scheduled, Error> {
        let now = self.now;
        let Some(mut row) = self.schedule_row(name)? else {
            if self.schedules_len()? >= SCHEDULES_MAX {
                let reason = format!("there are {SCHEDULES_MAX} of them already, the most a file can have");
                return Err(Error::config("schedule", reason));
            }
            let row = ScheduleRow::begin(name, definition.clone(), now).map_err(unknown_times)?;
            self.put_schedule(name, None, &row)?;
            return Ok(Scheduled::Created);
        };
        if is_same(&row.definition, definition, coder) {
            return Ok(Scheduled::Unchanged);
        }
        let was_due = row.due();
        if was_due.is_some_and(|due| due.is_due(now)) {
            // What is owed by the old times is enqueued now, as the new job.
            let mut room = FiringRoom { runs: usize::MAX, bytes: self.limits.shared };
            self.fire_row(name, &mut row, &definition.job, &mut room)?;
        }
        row.change(name, definition.clone(), now).map_err(unknown_times)?;
        self.put_schedule(name, was_due, &row)?;
        Ok(Scheduled::Changed)
    }

    /// Removes a schedule. The jobs that it has enqueued stay. Returns false if there is none of this name.
    pub fn remove_schedule(&mut self, name: &str) -> Result<bool, Error> {
        let Some(row) = self.schedule_row(name)? else { return Ok(false) };
        self.delete_schedule(name, row.due())?;
        Ok(true)
    }

    /// Pauses or resumes a schedule. Returns false if it was paused or resumed already.
    pub fn pause_schedule(&mut self, name: &str, paused: bool) -> Result<bool, Error> {
        let now = self.now;
        let mut row = self.schedule_row(name)?.ok_or_else(|| no_such(name))?;
        if row.progress.paused == paused {
            return Ok(false);
        }
        let was_due = row.due();
        match paused {
            true => row.pause(),
            false => row.resume(name, now).map_err(unknown_times)?,
        }
        self.put_schedule(name, was_due, &row)?;
        Ok(true)
    }

    /// Enqueues the job of a schedule now, beside its runs.
    pub fn run_schedule_now(&mut self, name: &str) -> Result<JobId, Error> {
        let now = self.now;
        let mut row = self.schedule_row(name)?.ok_or_else(|| no_such(name))?;
        let serial = row.definition.plan.overlap == Overlap::Queue;
        let mut job = self.run_of(name, &row.definition.job, now.wall, serial)?;
        self.admit_run(&mut job)?;
        let (queue, id) = (job.queue, self.insert(&mut job)?);
        row.progress.add_job(queue, id);
        self.put_schedule(name, row.due(), &row)?;
        Ok(id)
    }

    /// Enqueues what a schedule owes that is said to be due then.
    pub fn fire_schedule(&mut self, due: Due, name: &str, room: &mut FiringRoom) -> Result<(), Error> {
        let row = self.schedule_row(name)?;
        let Some(mut row) = row.filter(|row| row.due() == Some(due)) else {
            tracing::debug!(schedule = &*printable(name), "a row says that a schedule is due that is not");
            return Ok(self.forget_due(name, Some(due))?);
        };
        let template = row.definition.job.clone();
        self.fire_row(name, &mut row, &template, room)?;
        Ok(self.put_schedule(name, Some(due), &row)?)
    }

    /// Enqueues what a schedule that is due owes, with this job, and sets its next time.
    fn fire_row(
        &mut self,
        name: &str,
        row: &mut ScheduleRow,
        template: &JobTemplate,
        room: &mut FiringRoom,
    ) -> Result<(), Error> {
        let now = self.now;
        let times = match row.times() {
            Ok(times) => times,
            Err(reason) => return self.hold(name, row, None, reason, UNKNOWN_WAIT),
        };
        let Some(owed) = row.owed(name, &times, now) else {
            let after = row.progress.after;
            return self.pass(name, row, after);
        };
        if let Some((from, to)) = owed.missed {
            let (from, to) = (row.shown(from, now), row.shown(to, now));
            self.left_out(name, from, to, LATE);
        }
        // Runs that are made up do not overlap: they were asked for one by one.
        let is_made_up = matches!(row.definition.plan.misfire, Misfire::All { .. }) && owed.runs.len() > 1;
        for time in owed.runs {
            if room.is_used_up() {
                row.put_off(time, now);
                return Ok(());
            }
            let at = row.shown(time, now);
            if !is_made_up && self.overlaps(row)? {
                self.left_out(name, at, at, OVERLAPS);
                continue;
            }
            let serial = row.definition.plan.overlap == Overlap::Queue;
            match self.enter_run(name, template, at, serial, room)? {
                Run::Entered(queue, id) => {
                    row.progress.runs += 1;
                    row.progress.last = Some(at);
                    row.progress.add_job(queue, id);
                }
                Run::Held { reason, wait } => return self.hold(name, row, Some(time), reason, wait),
            }
        }
        self.pass(name, row, owed.latest)
    }

    fn pass(&mut self, name: &str, row: &mut ScheduleRow, latest: Timestamp) -> Result<(), Error> {
        match row.passed(name, latest, self.now) {
            Ok(()) => Ok(()),
            Err(reason) => self.hold(name, row, None, reason, UNKNOWN_WAIT),
        }
    }

    /// Lets the run that is due wait, and tells so once.
    fn hold(
        &mut self,
        name: &str,
        row: &mut ScheduleRow,
        next: Option<Timestamp>,
        reason: String,
        wait: Duration,
    ) -> Result<(), Error> {
        if row.hold(next, reason.clone(), wait, self.now) {
            tracing::warn!(
                schedule = &*printable(name),
                reason = &*printable(&reason),
                "the run of a schedule is held up"
            );
            self.event(|| Event::ScheduleHeld { schedule: name.into(), reason });
        }
        Ok(())
    }

    fn left_out(&mut self, name: &str, from: Timestamp, to: Timestamp, reason: &str) {
        tracing::debug!(schedule = &*printable(name), %from, %to, reason, "runs of a schedule are left out");
        self.event(|| Event::ScheduleMissed { schedule: name.into(), from, to, reason: reason.to_owned() });
    }

    /// Whether a run is left out now because of the jobs of the runs before it.
    fn overlaps(&mut self, row: &ScheduleRow) -> Result<bool, Fault> {
        let jobs_max = match row.definition.plan.overlap {
            Overlap::Allow => return Ok(false),
            Overlap::Skip => 1,
            // One runs, and one waits for it.
            Overlap::Queue => 2,
        };
        if row.progress.jobs.len() < jobs_max {
            return Ok(false);
        }
        for &(queue, id) in &row.progress.jobs[..jobs_max] {
            if self.run_has_ended(queue, id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn run_has_ended(&mut self, queue: QueueId, id: JobId) -> Result<bool, Fault> {
        let found = self.locate_known(id, KnownQueue::Found(queue))?;
        Ok(found.is_none_or(|found| found.place.has_ended()))
    }

    fn enter_run(
        &mut self,
        name: &str,
        template: &JobTemplate,
        at: Timestamp,
        serial: bool,
        room: &mut FiringRoom,
    ) -> Result<Run, Error> {
        let mut job = match self.run_of(name, template, at, serial) {
            Ok(job) => job,
            Err(fault) => {
                let reason = Error::from(fault).to_string();
                return Ok(Run::Held { reason, wait: UNKNOWN_WAIT });
            }
        };
        if let Err(refused) = self.admit_run(&mut job) {
            return Ok(Run::Held { reason: refused.to_string(), wait: FULL_WAIT });
        }
        let (queue, id) = (job.queue, self.insert(&mut job)?);
        room.runs = room.runs.saturating_sub(1);
        room.bytes = room.bytes.saturating_sub(job.bytes.len() as u64);
        let queue_name = self.catalog().queue_name(queue);
        self.event(|| Event::ScheduleFired { schedule: name.into(), id, queue: queue_name, at });
        Ok(Run::Entered(queue, id))
    }

    /// Gives numbers to the names of a run's job, if its queue has room for it.
    fn admit_run(&mut self, job: &mut Prepared) -> Result<(), Error> {
        self.forgetting_names(|batch| {
            batch.resolve(job)?;
            batch.admit(job)
        })
    }

    /// The job of one run, ready to be stored.
    fn run_of(&self, name: &str, template: &JobTemplate, at: Timestamp, serial: bool) -> Result<Prepared, Fault> {
        let mut record = record(template)?;
        record.enqueued_at = self.now.wall;
        life::enter(&mut record, None);
        let extra = record.extra_mut();
        extra.scheduled_for = Some(Box::new(ScheduledFor::new(name, at)));
        extra.expiry = template.expires_in.map(|after| Expiry::after(self.now, after));
        if serial && extra.group.is_none() {
            extra.group = Some(format!("schedule:{name}").into());
        }
        let record = crate::job::Record { kind: NO_NUMBER, ..record };
        let mut job = Prepared::new(NO_NUMBER, record, None);
        let (queue, kind) = (template.queue.as_str().into(), template.kind.as_str().into());
        job.set_names(NewJobNames { queue: Some(queue), kind: Some(kind) });
        Ok(job)
    }

    /// The wall clock was set back: computes the next times of up to `rows_max` schedules after this name again. Returns
    /// the name to continue after, `None` at the end.
    pub fn set_schedules_back(&mut self, after: &str, rows_max: usize) -> Result<Option<String>, Error> {
        tracing::trace!("the times of schedules are computed again");
        let names = self.schedules_after(after, rows_max)?;
        for name in &names {
            let Some(mut row) = self.schedule_row(name)? else { continue };
            let was_due = row.due();
            match row.set_back(name, self.now) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(reason) => self.hold(name, &mut row, None, reason, UNKNOWN_WAIT)?,
            }
            self.put_schedule(name, was_due, &row)?;
        }
        if names.len() == rows_max {
            return Ok(names.into_iter().next_back());
        }
        // A time that was computed by a clock which was ahead by less stays.
        self.all_computed_before(self.now.wall + SET_BACK_MIN)?;
        Ok(None)
    }
}
