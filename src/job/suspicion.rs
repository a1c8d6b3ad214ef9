//! Which job is held responsible when a process dies, and how the jobs that ran then are tried again.
//!
//! A process that dies does not say which job was the cause. The next process finds the start marks of the jobs that
//! ran, and on each job's record at how many deaths it was there. A job that kills its process is there at every death it
//! causes. Most such jobs kill soon after their start, so the job that started last is suspected first.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::change::ReadyJob;
use super::id::JobId;
use super::record::QueueId;
use crate::time::{Now, Timestamp};

/// A job that ran when the process died.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    pub id: JobId,
    /// Deaths at which it was there, this one included.
    pub deaths: u32,
    /// It was tried alone: nothing ran when it started, and nothing has started since.
    pub alone: bool,
}

/// A job that was there at this many deaths is held responsible if it is [`DEATHS_AHEAD`] of every other job that was
/// there at the last one. Fewer deaths can be chance.
const DEATHS_MIN: u32 = 3;

/// See [`DEATHS_MIN`]. A job that was there by chance when others killed the process is not that far ahead.
const DEATHS_AHEAD: u32 = 2;

/// From this many deaths on, one more than every other job is enough, if all the others were there at an earlier death,
/// too: those were tried without it.
const DEATHS_CERTAIN: u32 = 5;

/// The job that is held responsible for a death: the one that was alone, or else the one that has been there at
/// clearly more deaths than every other job that was there at this one. `None` if there is no such job.
pub(crate) fn blamed(there: &[Witness]) -> Option<JobId> {
    let alone = there.iter().find(|witness| witness.alone);
    if let (Some(alone), 1) = (alone, there.len()) {
        return Some(alone.id);
    }
    let first = there.iter().max_by_key(|witness| witness.deaths)?;
    let others = || there.iter().filter(|witness| witness.id != first.id);
    let ahead = first.deaths - others().map(|witness| witness.deaths).max().unwrap_or(0).min(first.deaths);
    let is_ahead = first.deaths >= DEATHS_MIN && ahead >= DEATHS_AHEAD;
    let is_certain = first.deaths >= DEATHS_CERTAIN && ahead >= 1 && others().all(|witness| witness.deaths >= 2);
    // A job that is being tried alone is suspected more than one that has run for long.
    let is_suspected_most = alone.is_none_or(|alone| alone.id == first.id);
    (is_suspected_most && (is_ahead || is_certain)).then_some(first.id)
}

/// A job that ran when the process died and is to run again.
#[derive(Clone, Debug)]
pub(crate) struct Suspect {
    pub queue: QueueId,
    pub job: Arc<ReadyJob>,
    pub started_at: Timestamp,
    /// The next attempt is its last one: if the process dies in it and this job is held responsible, the job
    /// is dead.
    pub is_last_attempt: bool,
    /// It starts only when the others have been tried for a while without it.
    pub is_held_back: bool,
}

/// The jobs that ran when the process died, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trial {
    pub suspects: Vec<Suspect>,
    /// How long those that are held back wait once all the others have started.
    pub hold: Duration,
}

/// After the second death of the same jobs half of them are held back for this long, and
/// [`HOLD_GROWS`] times as long after each further one: so that it is seen which half the death follows.
/// This finds a job that kills late, and is a short wait for jobs that were merely there at two power cuts.
const HOLD: Duration = Duration::from_secs(5);
const HOLD_GROWS: u32 = 8;

/// Half of them are never held back for longer.
const HOLD_MAX: Duration = Duration::from_secs(20 * 60);

/// A killer that has run for this much less than the others before the last death would still be seen.
const HOLD_MARGIN: Duration = Duration::from_secs(1);

/// When the process was dead for certain, by its own wall clock. Nothing is certain if that clock was set back since
/// the last commit, or shows a time at which it cannot have been set: a machine without a clock of its own starts at
/// the same time again and again.
pub(crate) fn dead_by(now: Now, last_commit: Timestamp) -> Option<Timestamp> {
    (now.wall.is_of_a_set_clock() && now.wall >= last_commit).then_some(now.wall)
}

impl Trial {
    /// The job that started last comes first: most killers kill soon. Then those that were there at most
    /// deaths, again the latest first.
    ///
    /// `dead_by` is when the process was dead for certain, by the same clock as the starts. It is `None` if that is not
    /// known, because that clock was set back or has not been set since the machine started.
    pub fn new(mut suspects: Vec<Suspect>, dead_by: Option<Timestamp>) -> Self {
        let deaths = |suspect: &Suspect| suspect.job.record.crashes();
        suspects.sort_by_key(|suspect| (Reverse(deaths(suspect)), Reverse(suspect.started_at), suspect.job.id));
        let latest = suspects.iter().enumerate().max_by_key(|(at, suspect)| (suspect.started_at, Reverse(*at)));
        if let Some((at, _)) = latest {
            suspects[..=at].rotate_right(1);
        }
        let most = suspects.iter().map(deaths).max().unwrap_or(0);
        let is_candidate = |suspect: &Suspect| most >= 2 && deaths(suspect) == most;
        let candidates = suspects.iter().filter(|suspect| is_candidate(suspect)).count();
        // The job that kills again has run no longer than this at the last death. If that is not known of all, there is no
        // bound.
        let ran_for = |one: &Suspect| Some(dead_by.filter(|dead_by| *dead_by >= one.started_at)?.since(one.started_at));
        let ran_for: Option<Vec<_>> = suspects.iter().filter(|suspect| is_candidate(suspect)).map(ran_for).collect();
        let longest = ran_for.map_or(HOLD_MAX, |all| all.into_iter().max().unwrap_or_default());
        let grown = HOLD.saturating_mul(HOLD_GROWS.saturating_pow(most.saturating_sub(2)));
        let hold = grown.min(HOLD_MAX).min(longest.saturating_add(HOLD_MARGIN));
        let in_second_half = suspects.iter_mut().filter(|suspect| is_candidate(suspect)).skip(candidates.div_ceil(2));
        in_second_half.for_each(|suspect| suspect.is_held_back = true);
        Self { suspects, hold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Record;

    fn witness(id: u64, deaths: u32) -> Witness {
        Witness { id: JobId::new(id), deaths, alone: false }
    }

    fn alone(id: u64, deaths: u32) -> Witness {
        Witness { alone: true, ..witness(id, deaths) }
    }

    fn suspect(id: u64, deaths: u32, started_at: u64) -> Suspect {
        let mut record = Record::plain();
        record.extra_mut().crashes = deaths;
        let job = Arc::new(ReadyJob::new(JobId::new(id), id, record, 32));
        let started_at = Timestamp::from_millis(started_at);
        Suspect { queue: 1, job, started_at, is_last_attempt: false, is_held_back: false }
    }

    fn ids(trial: &Trial) -> Vec<(u64, bool)> {
        trial.suspects.iter().map(|suspect| (suspect.job.id.get(), suspect.is_held_back)).collect()
    }

    #[test]
    fn a_job_that_died_alone_is_held_responsible() {
        assert_eq!(blamed(&[alone(1, 1)]), Some(JobId::new(1)));
        assert_eq!(blamed(&[witness(1, 1)]), None, "others may have run beside it without a mark");
        assert_eq!(blamed(&[]), None);
    }

    #[test]
    fn a_job_that_is_tried_alone_beside_others_is_not_held_responsible() {
        assert_eq!(blamed(&[alone(1, 2), witness(2, 2)]), None);
        assert_eq!(blamed(&[alone(1, 2), witness(2, 9)]), None, "nor is one that has run for long");
    }

    #[test]
    fn a_job_that_is_clearly_ahead_is_held_responsible() {
        assert_eq!(blamed(&[witness(1, 3), witness(2, 1)]), Some(JobId::new(1)));
        assert_eq!(blamed(&[witness(1, 3), witness(2, 2)]), None);
        assert_eq!(blamed(&[witness(1, 2)]), None);
        assert_eq!(blamed(&[witness(1, 5), witness(2, 4)]), Some(JobId::new(1)));
        assert_eq!(blamed(&[witness(1, 5), witness(2, 4), witness(3, 1)]), None, "one of them is new");
        assert_eq!(blamed(&[witness(1, 5), witness(2, 5)]), None);
    }

    #[test]
    fn the_job_that_started_last_is_tried_first_and_then_those_of_most_deaths() {
        let suspects = vec![suspect(1, 1, 10), suspect(2, 2, 20), suspect(3, 2, 30), suspect(4, 1, 40)];
        let trial = Trial::new(suspects, Some(Timestamp::from_millis(50)));
        assert_eq!(ids(&trial), [(4, false), (3, false), (2, true), (1, false)]);
    }

    #[test]
    fn half_of_those_that_were_there_at_each_death_are_held_back_ever_longer() {
        let twenty = |deaths| (1..=20).map(|id| suspect(id, deaths, 0)).collect::<Vec<_>>();
        let later = Some(Timestamp::from_millis(30_000));
        let held = |trial: &Trial| ids(trial).iter().filter(|(_, held)| *held).count();
        let first = Trial::new(twenty(1), later);
        assert_eq!(held(&first), 0, "one death says nothing");
        let second = Trial::new(twenty(2), later);
        assert_eq!((held(&second), second.hold), (10, HOLD));
        let third = Trial::new(twenty(3), later);
        assert_eq!((held(&third), third.hold), (10, Duration::from_secs(31)), "no longer than they ran");
        let fifth = Trial::new(twenty(5), Some(Timestamp::from_millis(86_400_000)));
        assert_eq!((held(&fifth), fifth.hold), (10, HOLD_MAX));
        let one = Trial::new(vec![suspect(1, 9, 0), suspect(2, 3, 0)], later);
        assert_eq!(held(&one), 0, "there is nobody to tell it from");
    }

    #[test]
    fn they_are_held_back_ever_longer_also_if_nobody_knows_how_long_they_ran() {
        let twenty = |deaths| (1..=20).map(|id| suspect(id, deaths, 500_000)).collect::<Vec<_>>();
        // The clock was set back, or it shows a time before the starts.
        for dead_by in [None, Some(Timestamp::from_millis(400_000))] {
            let holds = [2, 3, 4, 5, 6].map(|deaths| Trial::new(twenty(deaths), dead_by).hold.as_secs());
            assert_eq!(holds, [5, 40, 320, 1_200, 1_200]);
        }
        let one_is_unknown = vec![suspect(1, 4, 500_000), suspect(2, 4, 10), suspect(3, 4, 10)];
        let trial = Trial::new(one_is_unknown, Some(Timestamp::from_millis(400_000)));
        assert_eq!(trial.hold, Duration::from_secs(320));
    }
}
