//! Shows that the harness finds faults: what a faulty engine would have done to the disk is noticed.

use fastrand::Rng;
use millpond::testing::ManualClock;
use millpond_testkit::LogEntry;

use crate::be_quiet_about_panics_on_purpose;
use crate::cut::{self, Plan, Tally};
use crate::observations::Observation;
use crate::record::{Epoch, Size, Take, app_file, record, resolve, take};

/// The number of mutants of each sort.
const MUTANTS: usize = 8;

fn epoch() -> Epoch {
    be_quiet_about_panics_on_purpose();
    record(11, Size { epochs: 1, steps: 25 }).unwrap().remove(0)
}

fn is_noticed(epoch: &Epoch) -> bool {
    let plan = Plan { repeats: 1, deep: false };
    cut::everywhere(std::slice::from_ref(epoch), plan, &Tally::default()).is_err()
}

/// Some of the states that were observed: the number, where it was first observed, and the sync that made
/// it durable.
fn some_answers(log: &[LogEntry]) -> Vec<(u64, usize, usize)> {
    let mut answers = Vec::new();
    let mut told = 0;
    for (at, entry) in log.iter().enumerate() {
        if let LogEntry::Ack(state) = *entry
            && state > told
        {
            told = state;
            let begun = log.iter().position(|entry| *entry == LogEntry::Start(state)).expect("it began");
            // The states between were not observed: each has a sync of its own.
            let sync = begun + log[begun..at].iter().position(|entry| *entry == LogEntry::Sync).expect("it is durable");
            answers.push((state, at, sync));
        }
    }
    Rng::with_seed(1).shuffle(&mut answers);
    answers.truncate(MUTANTS);
    assert_eq!(answers.len(), MUTANTS);
    answers
}

#[test]
fn an_untouched_record_passes() {
    assert!(!is_noticed(&epoch()));
}

#[test]
fn an_answer_before_its_sync_is_noticed() {
    let mut epoch = epoch();
    let log = epoch.log.clone();
    for (state, answer, sync) in some_answers(&log) {
        epoch.log = log.clone();
        epoch.log.remove(answer);
        epoch.log.insert(sync, LogEntry::Ack(state));
        assert!(is_noticed(&epoch), "state {state} is observed too early, and that is not noticed");
    }
}

#[test]
fn a_sync_that_is_left_out_is_noticed() {
    let mut epoch = epoch();
    let log = epoch.log.clone();
    for (state, _, sync) in some_answers(&log) {
        epoch.log = log.clone();
        epoch.log.remove(sync);
        assert!(is_noticed(&epoch), "the missing sync of state {state} is not noticed");
    }
}

fn raw_take() -> Take {
    be_quiet_about_panics_on_purpose();
    take(11, 25, app_file(), &ManualClock::new(), &mut 0, 0).unwrap()
}

/// Moves some of the observations to before the sync that made them true. `which` returns the job that an
/// observation is about.
fn observe_too_early(which: impl Fn(&Take, Observation) -> Option<u64>) {
    let take = raw_take();
    let (_, states) = resolve(&take).unwrap();
    let mut early: Vec<(usize, u64)> =
        (0..take.observed.len()).filter_map(|at| Some((at, which(&take, take.observed[at].1)?))).collect();
    Rng::with_seed(2).shuffle(&mut early);
    assert!(early.len() >= MUTANTS, "only {} of these", early.len());
    for &(mutant, job) in &early[..MUTANTS] {
        let durable = states.iter().find(|state| state.dump.live.contains(&job)).expect("it was there").since;
        let mut take = take.clone();
        let (_, observed) = take.observed.remove(mutant);
        let place = take.observed.partition_point(|(at, _)| *at < durable);
        take.observed.insert(place, (durable - 1, observed));
        assert!(resolve(&take).is_err(), "{observed:?} before its commit is not noticed");
    }
}

#[test]
fn an_enqueue_that_is_answered_before_its_commit_is_noticed() {
    observe_too_early(|take, observed| match observed {
        Observation::Answer(call) => take.observations.asked(call).answer?.ok()?.first().copied(),
        _ => None,
    });
}

#[test]
fn a_handler_that_is_called_before_its_job_is_durable_is_noticed() {
    observe_too_early(|_, observed| match observed {
        Observation::Started(job) => Some(job),
        _ => None,
    });
}
