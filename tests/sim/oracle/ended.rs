//! I7, I14, I15, I18: a job ends once and for a reason, a dead job is reported once, and a job that kills the process is dead
//! after a bounded number of deaths.

use millpond::State;

use super::{Check, Ending, Oracle};
use crate::handlers::hook_fails;
use crate::paths::took;

impl Oracle {
    /// The number of deaths at which a job that kills is dead at the latest, counted anew for each redrive. The first death
    /// can happen before its start mark is written, and a job that was never tried alone is blamed at the third known
    /// death.
    pub fn deaths_max(&self, n: u64) -> u32 {
        self.jobs.get(&n).map_or(0, |job| (self.limit(job) + 2).max(4) * (1 + job.redrives))
    }

    /// The running attempts were told to give their jobs back: they use no attempt.
    pub fn taken_back(&mut self) {
        self.stops = true;
        for job in self.jobs.values_mut() {
            job.released = job.running.map(|run| run.attempt - 1);
        }
    }

    /// The job's end is durable.
    pub(super) fn ended(&mut self, id: u64, state: State) -> Check {
        let n = self.number(id)?;
        self.attempt_counts(n)?;
        let (age, stops) = (self.age, self.stops);
        let job = self.job(n);
        if let Some(before) = job.ended {
            let law = if state == State::Dead { "I14" } else { "I7" };
            return Err(format!("{law}: the job has ended as {before:?} and now as {state:?}: {job:?}"));
        }
        let legal = match (state, job.ending) {
            (State::Completed, Some(Ending { act: Some(act), .. })) => act.completes(),
            (State::Completed, _) => false,
            (_, Some(_)) => true,
            (State::Cancelled, None) if job.steered && job.released.is_some() => {
                took("a stop ended a job that was asked to stop");
                job.running = None;
                // The record says of its only run that it was interrupted.
                job.crash_errors += usize::from(job.spec.once);
                true
            }
            // It was taken back at the stop as if it had not started, and has expired.
            (State::Cancelled, None) if job.spec.expires.is_some() && job.released.is_some() => {
                job.running = None;
                true
            }
            // Cancelled by an operator, expired or dropped; dead by a crash.
            (State::Cancelled, None) => job.steered || job.spec.expires.is_some() || job.dropped,
            // A guest may have been called without having logged a line yet, and a handler may have been called late in the stop.
            (State::Dead, None)
                if job.spec.once
                    && (job.released.is_some() || stops && (job.running.is_some() || cfg!(feature = "wasm"))) =>
            {
                took("a stop interrupted the only run of a job");
                job.running = None;
                job.crash_errors += 1;
                true
            }
            _ => false,
        };
        if job.cancel_requested {
            match state {
                State::Completed => took("a job that was asked to stop completed"),
                State::Cancelled => took("a job that was asked to stop ended as cancelled"),
                _ => return Err(format!("I15: its cancel was requested, and it has ended as {state:?}: {job:?}")),
            }
        }
        if !legal {
            return Err(format!("I15: the job has no reason to end as {state:?}: {job:?}"));
        }
        if job.running.is_some() {
            return Err(format!("I15: the job has ended as {state:?} while its handler ran: {job:?}"));
        }
        job.run_ended = job.ending.map(|ending| ending.run).or(job.run_ended);
        (job.ended, job.ending, job.ended_at) = (Some(state), None, Some(age));
        self.line_moved(n);
        Ok(())
    }

    /// An event has said that the job is dead.
    pub(super) fn died(&mut self, id: u64, error: Option<&str>) -> Check {
        let n = self.number(id)?;
        // An attempt's time can be over before its guest logs a line.
        if self.is_guest(&self.jobs[&n])
            && error.as_ref().is_some_and(|error| error.contains("longer than its timeout"))
        {
            let job = self.job(n);
            job.ending.get_or_insert(Ending { run: job.starts, act: None, attempt: job.attempts + 1, at: None });
        }
        self.ended(id, State::Dead)?;
        self.job(n).owes_failure = hook_fails(id, self.plan.dead_hook_fails);
        Ok(())
    }

    /// An event has said that the hook for dead jobs has failed for this job.
    pub(super) fn hook_failed(&mut self, id: u64) -> Check {
        let n = self.number(id)?;
        let job = self.job(n);
        if !std::mem::take(&mut job.owes_failure) {
            return Err(format!("I24: the hook for dead jobs does not fail for this one: {job:?}"));
        }
        Ok(())
    }

    /// An event has said that the job was redriven.
    pub(super) fn redriven(&mut self, id: u64) -> Check {
        let n = self.number(id)?;
        let place = match self.released.take() == Some(id) {
            true => {
                took("a dead letter came back to its place in the group that it held");
                self.jobs[&n].place
            }
            false => self.place(self.last_id),
        };
        let job = self.job(n);
        if job.ended != Some(State::Dead) || job.deleted {
            return Err(format!("I14: a job was redriven that was not dead: {job:?}"));
        }
        (job.ended, job.attempts, job.place, job.redriven) = (None, 0, place, true);
        job.redrives += 1;
        job.spent = false;
        job.crashes = 0;
        job.spec.expires = None;
        job.ended_at = None;
        Ok(())
    }
}
