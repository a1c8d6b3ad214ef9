//! I1, I3, I23: the answers of calls that store jobs. An acknowledged job is stored, a refused job is not, and a call whose
//! outcome is unknown has done everything or nothing.

use millpond::Error;
use millpond_testkit::JobSpec;
use millpond_testkit::When;

use super::{Check, Fate, Job, Oracle, Origin, Tx};
use crate::calls::Asks;
use crate::paths::took;
use crate::plan::KEY_TIME;

/// Milliseconds.
const DAY: u64 = 24 * 3_600_000;

impl Oracle {
    pub fn asked(&mut self, call: u64, specs: &[JobSpec]) {
        for spec in specs {
            self.make(spec, Origin::Call(call));
        }
    }

    pub fn asked_tx(&mut self, call: u64, specs: &[JobSpec], rows: &[u64]) {
        self.asked(call, specs);
        let jobs = specs.iter().map(|spec| spec.n).collect();
        self.txs.insert(call, Tx { rows: rows.to_vec(), jobs, fate: Fate::Asked });
    }

    fn resolve(&mut self, call: u64, fate: Fate) -> Check {
        let mine: Vec<u64> =
            self.jobs.iter().filter(|(_, job)| job.origin == Origin::Call(call)).map(|(n, _)| *n).collect();
        let blind = self.blind;
        for n in mine {
            let job = self.job(n);
            match fate {
                Fate::Refused if job.since.is_some() => {
                    return Err(format!("I3: the call for job {n} was refused, and it is stored: {job:?}"));
                }
                Fate::Stored if job.since.is_none() && !blind => {
                    return Err(format!("I1: job {n} was acknowledged, and no event has reported its commit: {job:?}"));
                }
                Fate::Open if job.since.is_some() => {
                    took("OutcomeUnknown, and it was durable");
                    job.fate = Fate::Stored;
                }
                _ => job.fate = fate,
            }
        }
        if let Some(tx) = self.txs.get_mut(&call) {
            tx.fate = fate;
        }
        Ok(())
    }

    /// A call that stores jobs was answered.
    pub fn answered(&mut self, call: u64, answer: &Result<Vec<u64>, Error>) -> Check {
        match answer {
            Ok(ids) => {
                let mine: Vec<u64> =
                    self.jobs.iter().filter(|(_, job)| job.origin == Origin::Call(call)).map(|(n, _)| *n).collect();
                if mine.len() != ids.len() {
                    return Err(format!("I1: {} jobs were acknowledged with {} ids", mine.len(), ids.len()));
                }
                for (n, id) in mine.iter().zip(ids) {
                    self.was_dropped_unseen(*n, *id)?;
                    match self.jobs[n].id {
                        Some(known) if known != *id => {
                            return Err(format!("I16: job {n} was reported as {known} and answered as {id}"));
                        }
                        None if self.blind => self.learned(*n, *id)?,
                        _ => {}
                    }
                }
                self.resolve(call, Fate::Stored)
            }
            Err(error) => {
                self.legal_error(error)?;
                match error {
                    Error::OutcomeUnknown { .. } => self.resolve(call, Fate::Open),
                    _ => self.resolve(call, Fate::Refused),
                }
            }
        }
    }

    /// The jobs whose calls can be made again: those with an idempotency key whose calls were answered or dropped.
    pub fn can_be_repeated(&self) -> Vec<u64> {
        let key_time = KEY_TIME.as_millis() as u64 - DAY;
        let can = |job: &Job| {
            let alone = matches!(job.origin, Origin::Call(call) if !self.txs.contains_key(&call));
            let held = self.age.saturating_sub(job.made_at) < key_time;
            let is_open = job.fate == Fate::Asked || job.before_repeat.is_some();
            alone && held && job.is_keyed && !is_open
        };
        self.jobs.iter().filter(|(_, job)| can(job)).map(|(n, _)| *n).collect()
    }

    /// Whether it is not known what became of the call for this job.
    pub fn is_unknown(&self, n: u64) -> bool {
        self.jobs[&n].fate == Fate::Open
    }

    /// The call for this job is made again.
    pub fn repeats(&mut self, n: u64) -> JobSpec {
        let line = self.line.least;
        let job = self.job(n);
        job.before_repeat = Some(job.fate);
        if job.since.is_none() {
            job.fate = Fate::Asked;
            if let (When::Delay(delay), Some(not_before)) = (job.spec.when, &mut job.not_before) {
                // A crash can have set the engine's time back to what the file knew.
                *not_before = (*not_before).min(line + delay);
            }
        }
        job.spec
    }

    /// A call that was made again was answered: there is one job, whichever call has stored it.
    pub fn repeated(&mut self, n: u64, answer: &Result<Vec<u64>, Error>) -> Check {
        let (blind, known) = (self.blind, self.jobs[&n].id);
        match answer {
            Ok(answer) => {
                let (id, is_stored) = (answer[0], answer[1] == 1);
                if known.is_some_and(|known| known != id) {
                    return Err(format!("I16: the call was made again, and is answered as {id}: {:?}", self.jobs[&n]));
                }
                self.was_dropped_unseen(n, id)?;
                if blind && known.is_none() {
                    self.learned(n, id)?;
                }
                let job = self.job(n);
                if job.since.is_none() {
                    return Err(format!("I1: the call was made again, and no event has reported its commit: {job:?}"));
                }
                match (job.before_repeat.take(), is_stored) {
                    (Some(Fate::Refused), true) => took("a call that was refused was made again"),
                    (Some(Fate::Open), _) => took("a call with OutcomeUnknown was made again"),
                    (Some(Fate::Stored), false) => took("a call that had stored its job was made again"),
                    _ => {}
                }
                job.fate = Fate::Stored;
                Ok(())
            }
            Err(error) => {
                self.legal_error(error)?;
                self.not_repeated(n, matches!(error, Error::OutcomeUnknown { .. }).then_some(Fate::Open));
                Ok(())
            }
        }
    }

    /// A call was dropped; `asked` tells whether it had been polled.
    pub fn dropped(&mut self, asks: Asks, call: u64, asked: bool) -> Check {
        let Asks::Repeat(n) = asks else { return self.abandoned(call, asked) };
        self.not_repeated(n, asked.then_some(Fate::Adrift));
        Ok(())
    }

    /// A call that was made again has not stored its job, as far as is known. Without a new fate the job has that of before.
    fn not_repeated(&mut self, n: u64, fate: Option<Fate>) {
        let job = self.job(n);
        let before = job.before_repeat.take().expect("it was asked");
        job.fate = if job.since.is_some() { Fate::Stored } else { fate.unwrap_or(before) };
    }

    /// The call was dropped; `asked` tells whether it had been polled.
    pub fn abandoned(&mut self, call: u64, asked: bool) -> Check {
        if !asked {
            self.pausing.remove(&call);
        }
        self.resolve_unless_answered(call, if asked { Fate::Adrift } else { Fate::Refused })
    }

    fn resolve_unless_answered(&mut self, call: u64, fate: Fate) -> Check {
        let asked = |job: &&Job| job.origin == Origin::Call(call) && job.fate == Fate::Asked;
        let open =
            self.jobs.values().any(|job| asked(&job)) || self.txs.get(&call).is_some_and(|tx| tx.fate == Fate::Asked);
        if open { self.resolve(call, fate) } else { Ok(()) }
    }
}
