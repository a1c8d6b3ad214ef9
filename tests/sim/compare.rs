//! Compares what the file contains with what the oracle knows.

use std::collections::{BTreeMap, BTreeSet};

use millpond::{Counts, FailureKind, GroupPolicy, JobInfo, State};

use crate::handlers::{Act, hook_fails, row_of};
use crate::kept::Rows;
use crate::made::tags_of;
use crate::oracle::{Check, Fate, Job, Oracle, Origin};
use crate::paths::took;
use crate::plan::queue_name;

/// When the file is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Everything that is durable has been reported by events.
    Running,
    /// A commit whose outcome was unknown may have been durable.
    Healed,
    /// The file was closed by a shutdown.
    Closed,
    /// The process died.
    Crashed,
}

/// Everything that can be read of a file.
pub struct View {
    pub jobs: Vec<JobInfo>,
    /// Those with unique keys.
    pub uniques: Vec<JobInfo>,
    pub rows: BTreeMap<u64, u64>,
    /// What the hook for dead jobs has written.
    pub dead_rows: BTreeMap<u64, u64>,
    pub counts: Vec<Counts>,
    /// Which queues are paused.
    pub paused: Vec<bool>,
    /// The groups that a dead letter holds: queue and group.
    pub held: Vec<(String, String)>,
    /// What plugins keep.
    pub kept: Rows,
}

pub fn number_of(info: &JobInfo) -> Option<u64> {
    Some(u64::from_le_bytes(info.payload.bytes.get(..8)?.try_into().ok()?))
}

impl Oracle {
    pub fn compare(&mut self, moment: Moment, view: &View) -> Check {
        let moment = if self.blind && moment == Moment::Running { Moment::Healed } else { moment };
        self.blind = false;
        let mut found: BTreeMap<u64, &JobInfo> = BTreeMap::new();
        for info in &view.jobs {
            let Some(n) = number_of(info) else { return Err(format!("I25: an unknown payload: {info:?}")) };
            if found.insert(n, info).is_some() {
                return Err(format!("I4: job {n} is stored twice: {info:?}"));
            }
            if !self.jobs.contains_key(&n) {
                return Err(format!("I2: job {n} is stored, and no call has asked for it: {info:?}"));
            }
        }
        // In the order of their ids, which is also their order in a group.
        let mut new: Vec<_> = found.iter().filter(|(n, _)| self.jobs[n].since.is_none()).collect();
        new.sort_by_key(|(_, info)| info.id);
        for (n, info) in new {
            if moment == Moment::Running {
                return Err(format!(
                    "I4: the job is stored and no event has reported it: {info:?}, {:?}",
                    self.jobs[n]
                ));
            }
            if let Origin::Parent { n: parent, .. } = self.jobs[n].origin
                && found.get(&parent).is_some_and(|parent| parent.state != State::Completed)
            {
                return Err(format!("I2: a follow-up job is stored, and its parent has not completed: {info:?}"));
            }
            self.learned(*n, info.id.get())?;
        }
        let numbers: Vec<u64> = self.jobs.keys().copied().collect();
        for n in numbers {
            match found.get(&n) {
                Some(info) => self.present(n, info, moment)?,
                None => self.absent(n, moment)?,
            }
        }
        self.transactions(moment, view)?;
        self.completions(view)?;
        self.deaths(view)?;
        self.failures_of_the_hook(moment)?;
        self.keeps(moment, &view.kept)?;
        self.counts(view)?;
        self.drops_are_counted(moment, &view.counts)?;
        if moment != Moment::Running {
            self.paused_by_the_file(&view.paused, matches!(moment, Moment::Closed | Moment::Crashed))?;
            self.held_by_the_file(&view.held);
        }
        self.paths(&found);
        Ok(())
    }

    fn present(&mut self, n: u64, info: &JobInfo, moment: Moment) -> Check {
        self.is_where_it_was_moved(n, info, moment)?;
        let limit = self.limit(&self.jobs[&n]);
        let poison_world = self.plan.poison;
        let is_poison = self.poisons.contains(&n);
        let harmed = self.harmed;
        let is_guest = self.is_guest(&self.jobs[&n]);
        let mut moved = None;
        let job = self.job(n);
        if matches!(job.origin, Origin::Call(_)) && info.tags != tags_of(&job.spec) {
            return Err(format!("I25: it has other tags: {info:?}, {job:?}"));
        }
        if job.deleted {
            return Err(format!("I31: at {moment:?} it was deleted, and it is stored: {info:?}, {job:?}"));
        }
        if job.fate == Fate::Refused {
            return Err(format!("I3: the job was refused, and it is stored: {info:?}, {job:?}"));
        }
        let crash_errors = info.errors.iter().filter(|error| error.kind == FailureKind::Crash).count();
        let died_running = crash_errors > job.crash_errors;
        job.crash_errors = crash_errors;
        if died_running {
            if moment != Moment::Crashed && !(job.spec.once && (is_guest || job.released.is_some())) {
                return Err(format!("I17: a crash was counted, and there was none: {info:?}, {job:?}"));
            }
            job.crashes += 1;
            took("a crash beside running jobs");
        }
        // An attempt's time can be over before its guest logs a line.
        let last_error = info.errors.last().map(|error| error.kind);
        let timed_out_unseen = is_guest
            && moment != Moment::Running
            && last_error == Some(FailureKind::Timeout)
            && info.attempts == job.attempts + 1;
        match (job.ended, info.state.is_final()) {
            (Some(known), true) if known == info.state => {}
            (Some(State::Dead), _) if job.steered && moment != Moment::Running => {
                job.ended = info.state.is_final().then_some(info.state);
                (job.place, job.redriven, job.attempts) = (u64::MAX, true, info.attempts);
                job.redrives += 1;
                job.spent = false;
            }
            (Some(known), _) => return Err(format!("I7: the job has ended as {known:?}, and is {info:?}: {job:?}")),
            (None, true) => {
                if moment == Moment::Running {
                    return Err(format!("I4: no event has reported its end: {info:?}, {job:?}"));
                }
                let by_its_run = job.ending.is_some() || job.running.is_some();
                let legal = match info.state {
                    State::Completed => job.ending.is_some_and(|end| end.act.is_some_and(Act::completes)),
                    State::Cancelled => by_its_run || job.steered || job.spec.expires.is_some(),
                    _ => by_its_run || died_running || timed_out_unseen,
                };
                if !legal {
                    return Err(format!("I15: the job has no reason for this end: {info:?}, {job:?}"));
                }
                if info.state == State::Dead && died_running && job.spec.once {
                    took("a crash interrupted the only run of a job");
                } else if info.state == State::Dead && died_running {
                    took("a job was blamed for a crash");
                    // Its handler had returned, and has used up the last attempt either way.
                    let fails_anyway = job.ending.is_some_and(|end| end.act.is_some_and(|act| !act.completes()));
                    if poison_world && !is_poison && !fails_anyway {
                        return Err(format!("I18: a job that does not kill is dead by a crash: {info:?}, {job:?}"));
                    }
                }
                (job.ended, job.ending, job.running) = (Some(info.state), None, None);
                moved = job.spec.group.map(|group| (job.spec.queue, group));
                job.attempts = info.attempts;
            }
            (None, false) => {
                let marked = job.running.is_some_and(|run| run.marked);
                if moment == Moment::Crashed && job.spec.once && job.running.is_some() {
                    return Err(format!(
                        "I17: the job ran when the process died, has at most one run, and waits: {job:?}"
                    ));
                }
                if moment == Moment::Crashed && marked && !died_running && job.released.is_none() {
                    return Err(format!(
                        "I17: the job ran when the process died, and the file does not show it: {job:?}"
                    ));
                }
                if info.state != State::Running {
                    let before = job.running.map(|run| run.attempt).or(job.ending.map(|end| end.attempt));
                    let before = before.map(|attempt| attempt - 1);
                    let legal = match (moment, before) {
                        (Moment::Running, None) => info.attempts == job.attempts,
                        (Moment::Running, Some(_)) => true,
                        (Moment::Closed, _) if job.released.is_some() => Some(info.attempts) == job.released,
                        // Its start mark was durable, and its handler had not been called yet.
                        (Moment::Crashed, None) if died_running => info.attempts <= job.attempts + 1,
                        (_, None) => info.attempts == job.attempts || timed_out_unseen || (job.steered && harmed),
                        (_, Some(before)) => info.attempts == before || info.attempts == before + 1,
                    };
                    if !legal {
                        return Err(format!("I17: at {moment:?} the job has {} attempts: {job:?}", info.attempts));
                    }
                    if info.attempts >= limit {
                        return Err(format!("I17: the job has no attempts left and waits: {info:?}, {job:?}"));
                    }
                    if moment != Moment::Running {
                        job.attempts = info.attempts;
                        if job.ending.take().is_some() {
                            job.not_before = None;
                        }
                    }
                }
            }
        }
        if matches!(moment, Moment::Closed | Moment::Crashed) {
            if job.released.is_some() {
                took("a running job went back at the stop");
            }
            if job.running.is_some() || job.ending.is_some() {
                job.not_before = None;
            }
            (job.running, job.ending, job.released, job.taken_by) = (None, None, None, None);
            job.suspect = died_running && job.ended.is_none();
        }
        if let Some(key) = moved {
            let mono = self.mono;
            self.moved.insert(key, mono);
        }
        self.reports(n, info)?;
        self.lineage(&self.jobs[&n], info)
    }

    /// The job is in the queue in which the events have said that it is, or to which a call was to move it.
    fn is_where_it_was_moved(&mut self, n: u64, info: &JobInfo, moment: Moment) -> Check {
        if queue_name(self.jobs[&n].spec.queue) == info.queue {
            return Ok(());
        }
        let moved_to = (0..self.plan.queues.len()).find(|queue| queue_name(*queue) == info.queue);
        match moved_to.filter(|queue| self.jobs[&n].may_be_in(*queue) && moment != Moment::Running) {
            Some(queue) => {
                took("a job was in another queue, and no event said so");
                self.is_in(n, queue, u64::MAX);
                Ok(())
            }
            None => Err(format!("I31: at {moment:?} it is in another queue: {info:?}, {:?}", self.jobs[&n])),
        }
    }

    fn absent(&mut self, n: u64, moment: Moment) -> Check {
        let keeps = self.is_kept_wherever_it_is(&self.jobs[&n]);
        let asked_to_go = self.jobs[&n].purged || self.jobs[&n].steered || self.jobs[&n].dropped;
        if self.too_young_to_go(&self.jobs[&n]) && !asked_to_go {
            return Err(format!("I20: at {moment:?} retention has removed it too early: {:?}", self.jobs[&n]));
        }
        let job = self.job(n);
        let over = matches!(moment, Moment::Closed | Moment::Crashed);
        if job.since.is_none() {
            match job.fate {
                Fate::Open => {
                    job.fate = Fate::Refused;
                    took("OutcomeUnknown, and it was not durable");
                }
                Fate::Asked | Fate::Adrift if over => job.fate = Fate::Refused,
                _ => {}
            }
            return Ok(());
        }
        let may_have_ended = job.ending.is_some()
            || moment != Moment::Running && (job.steered || job.spec.expires.is_some() || job.running.is_some());
        let was_open = job.ended.is_none();
        let legal = job.purged || job.deleting || job.deleted || !keeps && (job.ended.is_some() || may_have_ended);
        let was_dropped = was_open && self.may_have_been_dropped(n, moment, legal);
        let job = self.job(n);
        if !legal && !was_dropped {
            return Err(format!("I1: at {moment:?} the job is missing: {job:?}"));
        }
        if job.ended.is_some() && job.ended_at.is_some() {
            took("an old ended job was pruned");
        }
        if job.ended.is_none() {
            if moment == Moment::Running {
                return Err(format!("I4: the job is gone, and no event has reported its end: {job:?}"));
            }
            job.ended = Some(if legal { State::Completed } else { State::Cancelled });
            (job.deleted, job.dropped) = (job.deleted || !legal, !legal);
            job.last_act = None;
        }
        (job.running, job.ending, job.taken_by) = (None, None, None);
        Ok(())
    }

    fn transactions(&mut self, moment: Moment, view: &View) -> Check {
        let over = matches!(moment, Moment::Closed | Moment::Crashed);
        let may_be_dropped: BTreeSet<u64> = self.jobs.keys().copied().filter(|n| self.may_be_dropped(*n)).collect();
        let may_be_dropped = |n: &u64| may_be_dropped.contains(n);
        for (call, tx) in &mut self.txs {
            let rows = tx.rows.iter().filter(|row| view.rows.contains_key(row)).count();
            let jobs = tx.jobs.iter().filter(|n| self.jobs[n].since.is_some()).count();
            let dropped = tx.jobs.iter().filter(|n| self.jobs[n].since.is_none() && may_be_dropped(n)).count();
            let all = rows == tx.rows.len() && jobs + dropped == tx.jobs.len();
            let none = rows == 0 && jobs == 0;
            let legal = match tx.fate {
                Fate::Stored => all,
                Fate::Refused => none,
                Fate::Asked | Fate::Open | Fate::Adrift => all || none,
            };
            if !legal {
                let (of_rows, of_jobs) = (tx.rows.len(), tx.jobs.len());
                let fate = tx.fate;
                return Err(format!(
                    "I2: of transaction {call} ({fate:?}) {rows} of {of_rows} rows and {jobs} of {of_jobs} jobs are stored"
                ));
            }
            if tx.fate == Fate::Open || over && matches!(tx.fate, Fate::Asked | Fate::Adrift) {
                if tx.fate == Fate::Open && all {
                    took("a transaction with OutcomeUnknown was resolved whole");
                }
                tx.fate = if all { Fate::Stored } else { Fate::Refused };
            }
        }
        Ok(())
    }

    /// The rows that the hook for dead jobs has written in the commits that made them dead.
    fn deaths(&self, view: &View) -> Check {
        let fails = self.plan.dead_hook_fails;
        if let Some(id) = view.dead_rows.keys().find(|id| hook_fails(**id, fails)) {
            return Err(format!("I20: the hook has failed for job {id}, and its row is stored"));
        }
        for job in view.jobs.iter().filter(|job| job.state == State::Dead) {
            let id = job.id.get();
            if !hook_fails(id, fails) && !view.dead_rows.contains_key(&id) {
                return Err(format!("I20: the hook has written nothing for job {id}, which is dead"));
            }
        }
        let written: u64 = view.dead_rows.values().sum();
        let deaths: u64 = view.counts.iter().map(|counts| counts.dead_total).sum();
        let is_right = if fails { written <= deaths } else { written == deaths };
        match is_right {
            true => Ok(()),
            false => Err(format!("I20: {deaths} jobs became dead, and the hook has written {written} times")),
        }
    }

    /// Every failure of the hook for dead jobs was told together with the death.
    fn failures_of_the_hook(&mut self, moment: Moment) -> Check {
        for job in self.jobs.values_mut() {
            // A process that has died tells nobody.
            if std::mem::take(&mut job.owes_failure) && moment == Moment::Running {
                return Err(format!("I24: nobody was told that the hook for dead jobs has failed: {job:?}"));
            }
        }
        Ok(())
    }

    /// The rows that runs have written in the transactions that completed their jobs.
    fn completions(&self, view: &View) -> Check {
        if let Some((row, count)) = view.rows.iter().find(|(_, count)| **count != 1) {
            return Err(format!("I7: row {row} was written {count} times"));
        }
        for (n, job) in &self.jobs {
            for run in 1..=job.starts {
                let there = view.rows.contains_key(&row_of(*n, run));
                let last = run == job.starts;
                if there && !(last && job.ended == Some(State::Completed)) {
                    return Err(format!("I2: run {run} has written a row, and did not complete: {job:?}"));
                }
                let writes = matches!(job.last_act, Some(Act::DoneWithRow | Act::DoneWithJob));
                if last && writes && job.ended == Some(State::Completed) && !there {
                    return Err(format!("I2: run {run} has completed, and its row is missing: {job:?}"));
                }
            }
            if let Origin::Parent { n: parent, run } = job.origin {
                let parent = &self.jobs[&parent];
                let completed = parent.ended == Some(State::Completed) && parent.starts == run;
                let kept = parent.last_act.is_some_and(Act::has_follow_ups);
                if completed && kept && job.since.is_none() && !self.may_be_dropped(*n) {
                    return Err(format!("I2: its parent has completed, and it is missing: {job:?}, {parent:?}"));
                }
            }
        }
        Ok(())
    }

    fn counts(&self, view: &View) -> Check {
        for (queue, counts) in view.counts.iter().enumerate() {
            let name = crate::plan::queue_name(queue);
            let here = |state: fn(State) -> bool| {
                view.jobs.iter().filter(|info| info.queue == name && state(info.state)).count() as u64
            };
            let listed = [
                here(|state| !state.is_final()),
                here(|state| state == State::Completed),
                here(|state| state == State::Dead),
                here(|state| state == State::Cancelled),
            ];
            let counted = [counts.unfinished(), counts.completed, counts.dead, counts.cancelled];
            if listed != counted {
                return Err(format!("I4: {name} counts {counted:?} and lists {listed:?}: {counts:?}"));
            }
        }
        Ok(())
    }

    fn paths(&self, found: &BTreeMap<u64, &JobInfo>) {
        for (n, info) in found {
            let Job { spec, .. } = &self.jobs[n];
            let kept_for = info.ended_at.map(|ended| self.wall.saturating_sub(ended.as_millis()));
            if kept_for > Some(crate::plan::KEPT.as_millis() as u64) && self.too_young_to_go(&self.jobs[n]) {
                took("a job was kept though the wall clock says that it is old");
            }
            let plan = &self.plan.queues[spec.queue];
            if spec.kind != 0 && !plan.all_kinds && info.state == State::Pending {
                took("a job without a handler waited");
            }
            let Some(group) = spec.group else { continue };
            let others = |state: State| {
                let same = |info: &&&JobInfo| info.queue == crate::plan::queue_name(spec.queue) && info.state == state;
                found.values().filter(same).any(|other| other.group == info.group && other.id > info.id)
            };
            let blocks = plan.group_policy != GroupPolicy::Skip && plan.group_concurrency == 1;
            if blocks && info.state == State::Retrying && others(State::Pending) {
                took("a group's head in back-off blocked it");
            }
            let paused = self.paused_groups.get(&(spec.queue, group)).and_then(|history| history.last());
            if paused.is_some_and(|(_, paused)| *paused) && info.state == State::Pending {
                took("a paused group held its head");
            }
        }
    }
}
