//! Cuts the power everywhere in the logs of one seed.

use std::sync::atomic::Ordering;

use crate::cut::{self, Cut, Plan, Tally};
use crate::record::{Epoch, Size, record};
use crate::{be_quiet_about_panics_on_purpose, number};
use millpond_testkit::LogEntry;

const IMAGES_DEFAULT: u64 = 100_000;
const SIZE: Size = Size { epochs: 3, steps: 60 };

fn recorded(seed: u64) -> Vec<Epoch> {
    be_quiet_about_panics_on_purpose();
    record(seed, SIZE).unwrap_or_else(|error| panic!("CRASH_SEED={seed} cargo test --test crash: {error}"))
}

#[test]
fn wherever_the_power_is_cut_nothing_acknowledged_is_lost_and_nothing_that_ended_runs_again() {
    if let Ok(cut) = std::env::var("CRASH_CUT") {
        let cut: Cut = cut.parse().expect("a cut");
        cut::replay(&recorded(cut.seed)[cut.epoch], cut).unwrap();
        return;
    }
    let (tally, plan) = (Tally::default(), Plan { repeats: number("CRASH_REPEATS", 1), deep: true });
    let (first, wanted) = (number("CRASH_SEED", 0), number("CRASH_IMAGES", IMAGES_DEFAULT));
    let mut reached = Reached::default();
    let mut seeds = 0;
    while tally.images.load(Ordering::Relaxed) < wanted {
        let epochs = recorded(first + seeds);
        seeds += 1;
        reached.count(&epochs);
        if let Err((cut, what)) = cut::everywhere(&epochs, plan, &tally) {
            panic!("CRASH_CUT={cut} cargo test --test crash wherever: {what}");
        }
    }
    println!("{seeds} seeds from {first}: {tally:?}, {reached:?}");
    reached.check();
}

#[test]
fn the_same_seed_does_the_same_to_the_disk() {
    let (once, twice) = (recorded(7), recorded(7));
    for (once, twice) in once.iter().zip(&twice) {
        assert!(once.log == twice.log, "epoch {} differs", once.number);
    }
    let other = recorded(8);
    assert!(once[0].log != other[0].log);
}

/// Counts of the situations that a log must contain: a count of zero fails the test.
#[derive(Debug, Default)]
struct Reached {
    /// States in which a handler had a job.
    running: u64,
    /// States in which a running job is to be cancelled.
    stopping: u64,
    dead_letters: u64,
    /// Groups whose head is not due.
    parked: u64,
    paused_or_busy_groups: u64,
    buckets: u64,
    finished: u64,
    unique_keys: u64,
    expiries: u64,
    schedules: u64,
    /// Jobs of flows that wait for others.
    blocked: u64,
    flows: u64,
    steps: u64,
    /// Topics with bindings.
    topics: u64,
    /// Entries of streams.
    entries: u64,
    tags: u64,
    /// Idempotency keys.
    timed_keys: u64,
    app_tables: u64,
    grown: u64,
    shrunk: u64,
}

impl Reached {
    fn count(&mut self, epochs: &[Epoch]) {
        for epoch in epochs {
            let mut len = epoch.found.len();
            for entry in &epoch.log {
                if let LogEntry::SetLen(to) = entry {
                    self.grown += u64::from(*to > len);
                    self.shrunk += u64::from(*to < len);
                    len = *to;
                }
            }
            for state in &epoch.states {
                let tables = &state.dump.tables;
                let has = |name: &str| u64::from(tables.get(name).is_some_and(|rows| !rows.is_empty()));
                self.running += u64::from(!state.dump.running.is_empty());
                self.stopping += u64::from(!state.dump.stopping.is_empty());
                self.tags += has("millpond/tags");
                self.timed_keys += has("millpond/timed_keys");
                self.dead_letters += has("millpond/dead_letters");
                self.parked += has("millpond/members");
                self.paused_or_busy_groups += has("millpond/groups");
                self.buckets += has("millpond/rates");
                self.finished += has("millpond/finished");
                self.unique_keys += has("millpond/unique");
                self.expiries += has("millpond/expiring");
                self.schedules += has("millpond/schedule_due");
                self.blocked += has("millpond/blocked");
                self.flows += has("millpond/flows");
                self.steps += has("millpond/steps");
                self.topics += has("millpond/bindings");
                self.entries += has("millpond/entries");
                self.app_tables += u64::from(tables.keys().any(|name| name.starts_with("extra")));
            }
        }
    }

    fn check(&self) {
        let Self { running, dead_letters, parked, paused_or_busy_groups, buckets, finished, unique_keys, .. } = self;
        let Self { stopping, tags, timed_keys, expiries, schedules, app_tables, grown, shrunk, .. } = self;
        let jobs = [running, dead_letters, parked, paused_or_busy_groups, buckets, finished, unique_keys];
        let Self { blocked, flows, steps, topics, entries, .. } = self;
        let all = jobs.into_iter().chain([stopping, tags, timed_keys, expiries, schedules, app_tables, grown, shrunk]);
        let all = all.chain([blocked, flows, steps, topics, entries]);
        assert!(all.into_iter().all(|count| *count > 0), "something was never reached: {self:?}");
    }
}
