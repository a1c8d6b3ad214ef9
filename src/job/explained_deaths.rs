//! Deaths of the process for which a job was held responsible.

use serde::{Deserialize, Serialize};

use super::attempt::FailureKind;
use super::id::JobId;
use super::record::Record;
use crate::time::Timestamp;

/// How many of them a file remembers. Older ones count again for the jobs that ran at them.
const REMEMBERED_MAX: usize = 64;

/// The deaths at which a job ran that was held responsible then or later. They say nothing of the other jobs that ran at them.
///
/// Without this, a job that happens to run when several others kill the process, each for the first time, would be at more
/// deaths than each of them, and would be held responsible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExplainedDeaths {
    /// When the next process found each death, the earliest first, and the job that was held responsible.
    by: Vec<(Timestamp, JobId)>,
}

/// When the next process found each death at which this job ran.
fn crashes(record: &Record) -> impl Iterator<Item = Timestamp> {
    let errors = record.extra.as_ref().map_or(&[][..], |extra| &extra.errors);
    errors.iter().filter(|error| error.kind == FailureKind::Crash).map(|error| error.ended_at)
}

impl ExplainedDeaths {
    /// The number of deaths at which the job ran, without those that another job explains.
    pub fn crashes_of(&self, id: JobId, record: &Record) -> u32 {
        let by_another = |death: &Timestamp| self.by.iter().any(|(explained, by)| explained == death && *by != id);
        let unexplained = crashes(record).filter(|death| !by_another(death)).count();
        record.crashes().min(u32::try_from(unexplained).unwrap_or(u32::MAX))
    }

    /// Adds the deaths at which this job ran, and the one that is found now, for which it is held responsible.
    pub fn add(&mut self, id: JobId, blamed: &Record, now: Timestamp) {
        for death in crashes(blamed).chain([now]) {
            if self.by.iter().all(|(explained, _)| *explained != death) {
                self.by.push((death, id));
            }
        }
        self.by.sort_unstable();
        self.by.drain(..self.by.len().saturating_sub(REMEMBERED_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::AttemptNumber;
    use crate::job::life::after_crash;
    use crate::time::Now;

    const KILLER: JobId = JobId::new(1);
    const BESIDE: JobId = JobId::new(2);

    fn crash(record: &mut Record, millis: u64) {
        let now = Now { wall: Timestamp::from_millis(millis), ..Now::default() };
        after_crash(record, AttemptNumber { number: 1, max: 3, once: false, started_at: now.wall }, false, now);
    }

    #[test]
    fn a_death_is_explained_for_all_that_ran_at_it_once_one_of_them_is_held_responsible() {
        let (mut killer, mut beside) = (Record::plain(), Record::plain());
        let mut explained = ExplainedDeaths::default();
        crash(&mut killer, 10);
        crash(&mut beside, 10);
        assert_eq!(explained.crashes_of(BESIDE, &beside), 1);
        explained.add(KILLER, &killer, Timestamp::from_millis(20));
        assert_eq!(explained.crashes_of(BESIDE, &beside), 0);
        assert_eq!(explained.crashes_of(KILLER, &killer), 1, "its own deaths count for it");
        crash(&mut beside, 30);
        assert_eq!(explained.crashes_of(BESIDE, &beside), 1, "this one is not explained");
    }

    #[test]
    fn a_redriven_job_does_not_count_the_deaths_before() {
        let mut job = Record::plain();
        crash(&mut job, 10);
        job.extra_mut().crashes = 0;
        assert_eq!(ExplainedDeaths::default().crashes_of(BESIDE, &job), 0);
    }

    #[test]
    fn the_latest_deaths_are_remembered() {
        let mut explained = ExplainedDeaths::default();
        for death in 0..100 {
            explained.add(KILLER, &Record::plain(), Timestamp::from_millis(death));
            explained.add(KILLER, &Record::plain(), Timestamp::from_millis(death));
        }
        let remembered: Vec<u64> = explained.by.iter().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(remembered, (36..100).collect::<Vec<_>>());
    }
}
