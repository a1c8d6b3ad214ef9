//! I1, I3, I23: the answers of calls that store jobs. An acknowledged job is stored, a refused job is not, and a call whose
//! outcome is unknown has done everything or nothing.

use millpond::Error;
use millpond_testkit::JobSpec;

use super::{Check, Fate, Job, Oracle, Origin, Tx};
use crate::paths::took;

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
