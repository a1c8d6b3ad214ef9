//! I28: what the runs of a job log and report as progress is kept with the ends of the runs, and none of it is mixed up; the events
//! of a run are in order.
//!
//! Each line says of which job and run it is, and how many came before it, so a log can be checked by itself.

use fastrand::Rng;
use millpond::{AttemptLog, Context, JobInfo};

use crate::oracle::{Check, Oracle};
use crate::paths::took;

/// Of how many attempts a job keeps what they reported.
const ATTEMPT_LOGS_MAX: usize = 5;

/// How many lines a run logs when it begins. Most log nothing, and some log more than is kept.
fn lines(n: u64, run: u32) -> u64 {
    match Rng::with_seed(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(run)).u8(..16) {
        0..=9 => 0,
        10..=12 => 1,
        13..=14 => 3,
        _ => 400,
    }
}

/// A run begins.
pub fn begin(ctx: &Context, n: u64, run: u32) {
    let lines = lines(n, run);
    for line in 0..lines {
        ctx.log(format!("{n} {run} {line} {:.>50}", ""));
    }
    if lines > 0 {
        ctx.progress(1, Some(2), format!("{n} {run}"));
    }
}

/// A run is about to return.
pub fn end(ctx: &Context, n: u64, run: u32) {
    let lines = lines(n, run);
    if lines > 0 {
        ctx.log(format!("{n} {run} {lines}"));
        ctx.progress(2, Some(2), format!("{n} {run}"));
    }
}

/// The job, the run, and how many lines came before it.
fn read(line: &str) -> Option<(u64, u32, u64)> {
    let mut words = line.split(' ');
    let mut number = || words.next()?.parse::<u64>().ok();
    Some((number()?, number()?.try_into().ok()?, number()?))
}

/// Checks the log of one attempt of job `n`. Returns its run.
fn run_of(n: u64, log: &AttemptLog) -> Result<u32, String> {
    let wrong = |what: &str| format!("I28: {what} in the log of job {n}: {log:?}");
    let first = log.lines.first().ok_or_else(|| wrong("there is no line"))?;
    let (_, run, _) = read(&first.text).ok_or_else(|| wrong("there is another line"))?;
    for (line, expected) in log.lines.iter().zip(log.dropped..) {
        if read(&line.text) != Some((n, run, expected)) {
            return Err(wrong("a line is missing, or is of another run"));
        }
    }
    let (begun, all) = (lines(n, run), log.dropped + log.lines.len() as u64);
    let done = log.progress.as_ref().filter(|progress| progress.message == format!("{n} {run}"));
    let done = done.ok_or_else(|| wrong("there is no progress, or that of another run"))?.done;
    match (all.checked_sub(begun), done) {
        (Some(0), 1) | (Some(1), 2) => {}
        _ => return Err(wrong("there are too few lines, or too many")),
    }
    if log.dropped > 0 {
        took("lines of a log were dropped");
    }
    Ok(run)
}

impl Oracle {
    /// What is shown of job `n`.
    pub fn reports(&self, n: u64, info: &JobInfo) -> Check {
        let job = &self.jobs[&n];
        if self.is_guest(job) {
            return Ok(());
        }
        let mut runs = Vec::new();
        for (at, log) in info.logs.iter().enumerate() {
            let run = run_of(n, log)?;
            if log.ended_at.is_none() && at + 1 < info.logs.len() {
                return Err(format!("I28: an attempt still runs, and another one began: {info:?}"));
            }
            if runs.last().is_some_and(|last| run <= *last) || run > job.starts {
                return Err(format!("I28: run {run} is kept behind {runs:?}: {info:?}, {job:?}"));
            }
            runs.push(run);
        }
        let kept = info.logs.iter().filter(|log| log.ended_at.is_some()).count();
        if kept > ATTEMPT_LOGS_MAX {
            return Err(format!("I28: too much is kept: {info:?}"));
        }
        let Some(known) = job.run_ended.filter(|run| lines(n, *run) > 0) else { return Ok(()) };
        let is_displaced = kept == ATTEMPT_LOGS_MAX && runs[0] > known;
        if !is_displaced && !runs[..kept].contains(&known) {
            return Err(format!("I28: nothing is kept of run {known}, whose end is durable: {info:?}, {job:?}"));
        }
        took("what a run reported was kept with its end");
        Ok(())
    }

    /// An event has said that an attempt starts.
    pub fn heard_start(&mut self, id: u64, attempt: u32) -> Check {
        let Some(n) = self.by_id.get(&id).copied() else {
            // A job whose storing is not known yet, or one of a schedule.
            return Ok(());
        };
        let harmed = self.harmed;
        let job = self.job(n);
        if job.ended.is_some() && !harmed {
            return Err(format!("I28: an event says that a job starts that has ended: {job:?}"));
        }
        job.heard_start = Some(attempt);
        Ok(())
    }

    /// An event has said that an attempt has completed the job.
    pub fn heard_completion(&mut self, id: u64, attempt: u32) -> Check {
        let (n, harmed) = (self.by_id.get(&id).copied(), self.harmed);
        match n.map(|n| &self.jobs[&n]) {
            Some(job) if job.heard_start != Some(attempt) && !harmed => {
                Err(format!("I28: no event has said that attempt {attempt} starts: {job:?}"))
            }
            _ => Ok(()),
        }
    }
}
