//! Tests of the buckets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::amounts::{RESERVE_AHEAD_MAX, full, tokens_in};
use super::bucket::GRAIN;
use super::*;
use crate::job::{BucketKey, BucketState, QueueId, Rate};
use crate::time::{Now, Timestamp};

const QUEUE: QueueId = 1;

fn at(millis: u64) -> Now {
    at_micros(millis * 1_000)
}

fn at_micros(micros: u64) -> Now {
    let time = Timestamp::from_millis(1_000_000 + micros / 1_000);
    Now { wall: time, engine: time, age: time, counted: time, mono: Duration::from_micros(micros) }
}

fn key() -> BucketKey {
    BucketKey { queue: QUEUE, group: None }
}

fn group(name: &str) -> BucketKey {
    BucketKey { queue: QUEUE, group: Some(name.into()) }
}

fn with_rate(rate: Rate, now: Now) -> Buckets {
    let mut buckets = Buckets::default();
    buckets.set_rates(QUEUE, Some(rate), None, now);
    buckets
}

fn gate(buckets: &mut Buckets, now: Now) -> (Gate, Vec<Reservation>) {
    let mut reserve = Vec::new();
    let gate = buckets.gate(QUEUE, None, now, &mut reserve);
    (gate, reserve)
}

/// Starts as many jobs as the gate allows at `now`, with a disk that takes no time.
fn starts(buckets: &mut Buckets, now: Now) -> u32 {
    let mut count = 0;
    loop {
        let (gate, reserve) = gate(buckets, now);
        reserve.iter().for_each(|r| buckets.granted(&r.key, r.tokens));
        match gate {
            Gate::Open => {
                buckets.spend(QUEUE, None);
                count += 1;
            }
            Gate::Reserving if !reserve.is_empty() => {}
            Gate::Wait(_) | Gate::Reserving => return count,
        }
    }
}

/// The same buckets after a crash or a stop, at `now`.
fn reopened(stored: Option<BucketState>, crashed: bool, rate: Rate, now: Now) -> Buckets {
    let mut buckets = Buckets::default();
    if let Some(state) = stored {
        buckets.restore(key(), state, crashed, now);
    }
    buckets.set_rates(QUEUE, Some(rate), None, now);
    buckets
}

fn assert_within(log: &[u64], rate: Rate, what: &str) {
    for (n, from) in log.iter().enumerate() {
        for (count, to) in log[n..].iter().enumerate() {
            let most = full(rate) + tokens_in(rate, Duration::from_micros(to - from));
            assert!((count + 1) as f64 <= most + 1e-3, "{what}: {} starts from {from} to {to} us", count + 1);
        }
    }
}

/// A queue that always has a job, and a disk whose commits take some time. Says when its jobs started.
struct Busy {
    buckets: Buckets,
    rate: Rate,
    now: u64,
    commit_takes: u64,
    /// When each reservation becomes durable, and the state that the file has then.
    commits: VecDeque<(u64, Reservation, Option<BucketState>)>,
    durable: Option<BucketState>,
    log: Vec<u64>,
}

impl Busy {
    fn new(rate: Rate, commit_takes: Duration) -> Self {
        let commit_takes = commit_takes.as_micros() as u64;
        let (commits, log) = Default::default();
        Self { buckets: with_rate(rate, at(0)), rate, now: 0, commit_takes, commits, durable: None, log }
    }

    fn run_until(&mut self, end: u64) {
        while self.now < end {
            while self.commits.front().is_some_and(|(due, ..)| *due <= self.now) {
                let (_, reservation, state) = self.commits.pop_front().expect("it was there a line ago");
                self.durable = state;
                self.buckets.granted(&reservation.key, reservation.tokens);
            }
            let now = at_micros(self.now);
            let (gate, reserve) = gate(&mut self.buckets, now);
            for reservation in reserve {
                let state = self.buckets.state_to_store(&reservation.key, now);
                // Only one commit at a time.
                let begun = self.commits.back().map_or(self.now, |(due, ..)| *due);
                self.commits.push_back((begun + self.commit_takes, reservation, state));
            }
            let next_commit = self.commits.front().map(|(due, ..)| *due);
            match gate {
                Gate::Open => {
                    self.buckets.spend(QUEUE, None);
                    self.log.push(self.now);
                }
                Gate::Wait(wait) => {
                    let until = self.now + wait.as_nanos().div_ceil(1_000) as u64;
                    self.now = next_commit.map_or(until, |commit| commit.min(until)).max(self.now + 1).min(end);
                }
                Gate::Reserving => {
                    self.now = next_commit.expect("a reservation is under way").max(self.now).min(end);
                }
            }
        }
    }

    fn crash(&mut self, down_for: u64) {
        self.now += down_for;
        self.commits.clear();
        self.buckets = reopened(self.durable, true, self.rate, at_micros(self.now));
    }

    fn restart(&mut self, down_for: u64) {
        let states = self.buckets.states(at_micros(self.now));
        self.durable = states.into_iter().find(|(of, _)| *of == key()).and_then(|(_, state)| state);
        self.now += down_for;
        self.commits.clear();
        self.buckets = reopened(self.durable, false, self.rate, at_micros(self.now));
    }
}

#[test]
fn no_period_has_more_starts_than_the_burst_and_the_rate_allow() {
    let rate = Rate::per_second(100).burst(7);
    let mut buckets = with_rate(rate, at(0));
    let log: Vec<(u64, u32)> = (0..3_000).map(|ms| (ms, starts(&mut buckets, at(ms)))).collect();
    for from in (0..3_000).step_by(37) {
        for len in [1, 10, 50, 333, 1_000] {
            let seen: u32 = log[from..].iter().take(len).map(|(_, n)| n).sum();
            assert!(f64::from(seen) <= 7.0 + 100.0 * len as f64 / 1_000.0, "{seen} in {len} ms");
        }
    }
    let all: u32 = log.iter().map(|(_, n)| n).sum();
    assert!(all >= 305, "it must not wedge or lag: {all} of 307");
}

#[test]
fn the_rate_holds_at_every_burst_however_long_a_commit_takes() {
    const SECOND: u64 = 1_000_000;
    for per_second in [1, 5, 50, 200, 500, 5_000] {
        for burst in [1, 2, 7, 100] {
            for commit in [0, 1, 10, 100] {
                let rate = Rate::per_second(per_second).burst(burst);
                let mut busy = Busy::new(rate, Duration::from_millis(commit));
                // The first reservations are late. The bucket learns from them how far ahead it must reserve.
                let begun = 5 * SECOND;
                busy.run_until(begun + 10 * SECOND);
                let what = format!("{per_second}/s, burst {burst}, commits of {commit} ms");
                assert_within(&busy.log[..busy.log.len().min(500)], rate, &what);
                let seen = busy.log.iter().filter(|start| **start >= begun).count() as f64;
                let expected = 10.0 * f64::from(per_second);
                assert!(seen >= expected * 0.99 - 1.0, "{what}: {seen} of {expected}");
            }
        }
    }
}

#[test]
fn the_rate_holds_from_the_beginning_if_commits_take_ten_milliseconds() {
    for per_second in [50, 200, 500] {
        let mut busy = Busy::new(Rate::per_second(per_second), Duration::from_millis(10));
        busy.run_until(4_000_000);
        let expected = 4.0 * f64::from(per_second);
        assert!(busy.log.len() as f64 >= expected * 0.99, "{} of {expected}", busy.log.len());
    }
}

#[test]
fn neither_a_crash_nor_a_restart_lets_more_start_than_the_rate() {
    for seed in 0..600 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let period = Duration::from_millis([10, 100, 1_000, 60_000][rng.usize(..4)]);
        let rate = Rate::new(rng.u32(1..40), period).burst([1, 1, 2, 5, 40][rng.usize(..5)]);
        let mut busy = Busy::new(rate, Duration::from_millis([0, 3, 20, 300][rng.usize(..4)]));
        let token = (1e6 / rate.tokens_per_second()) as u64 + 1;
        for _ in 0..rng.usize(1..12) {
            if rng.u8(..3) == 0 {
                // No job wants to start.
                busy.now += rng.u64(..token * 20);
            }
            let end = busy.now + rng.u64(..token * 20);
            busy.run_until(end);
            let down_for = rng.u64(..token * 3);
            match rng.u8(..3) {
                0 => busy.crash(down_for),
                1 => busy.restart(down_for),
                _ => {
                    // A process that starts nothing, between two others.
                    busy.crash(down_for);
                    let mut unasked = Buckets::default();
                    let now = at_micros(busy.now);
                    busy.durable.into_iter().for_each(|state| unasked.restore(key(), state, true, now));
                    let states = unasked.states(now);
                    let state = states.into_iter().find_map(|(_, state)| state);
                    busy.buckets = reopened(state, false, rate, now);
                    busy.durable = state;
                }
            }
        }
        let end = busy.now + token * 20;
        busy.run_until(end);
        assert_within(&busy.log, rate, &format!("seed {seed}, {rate:?}"));
    }
}

#[test]
fn a_crash_costs_a_second_of_the_rate_at_most() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rate = Rate::per_second(rng.u32(1..500)).burst([1, 2, 5, 40, 700][rng.usize(..5)]);
        let mut busy = Busy::new(rate, Duration::from_millis(rng.u64(..20)));
        busy.run_until(rng.u64(..2_000_000));
        busy.now += rng.u64(..20_000_000);
        let before = busy.buckets.level(&key(), at_micros(busy.now));
        busy.crash(0);
        let after = busy.buckets.level(&key(), at_micros(busy.now));
        let lost_most = tokens_in(rate, RESERVE_AHEAD_MAX).max(1.0) + tokens_in(rate, GRAIN);
        assert!(after >= before - lost_most - 1e-6, "seed {seed}, {rate:?}: {before} before, {after} after");
    }
}

#[test]
fn a_slow_rate_neither_stalls_nor_is_exceeded() {
    let mut buckets = with_rate(Rate::per_minute(1), at(0));
    assert_eq!(starts(&mut buckets, at(0)), 1);
    assert_eq!(starts(&mut buckets, at(59_999)), 0);
    assert_eq!(starts(&mut buckets, at(60_001)), 1);
}

#[test]
fn a_restart_does_not_refill() {
    let rate = Rate::per_minute(60).burst(10);
    let mut buckets = with_rate(rate, at(0));
    assert_eq!(starts(&mut buckets, at(0)), 10);
    let stored = buckets.states(at(0)).remove(0).1;
    let mut after = Buckets::default();
    after.restore(key(), stored.unwrap(), false, at(0));
    after.set_rates(QUEUE, Some(rate), None, at(2_000));
    assert_eq!(starts(&mut after, at(2_000)), 2);
}

#[test]
fn after_a_crash_the_gate_opens_at_the_announced_time() {
    // Ten a second: the token of the last start is back a tenth of a second after the file was opened.
    let rate = Rate::per_second(10);
    let mut buckets = with_rate(rate, at(0));
    assert_eq!(starts(&mut buckets, at(0)), 1);
    let stored = buckets.state_to_store(&key(), at(0));
    let mut after = reopened(stored, true, rate, at(1_000));
    for later in [1_000, 1_040, 1_099] {
        let wait = after.wait(QUEUE, None, at(later)).expect("the token may have been used just before");
        assert_eq!(wait, Duration::from_millis(1_100 - later));
        let (closed, reservations) = gate(&mut after, at(later));
        assert_eq!(closed, Gate::Wait(wait), "at {later}");
        reservations.iter().for_each(|r| after.granted(&r.key, r.tokens));
    }
    assert_eq!(after.wait(QUEUE, None, at(1_100)), None);
    assert_eq!(starts(&mut after, at(1_100)), 1);
}

#[test]
fn a_crash_still_counts_for_a_bucket_that_is_not_used_before_the_next_stop() {
    let rate = Rate::per_second(1).burst(4);
    let mut buckets = with_rate(rate, at(0));
    let (_, reservations) = gate(&mut buckets, at(0));
    assert_eq!(reservations[0].tokens, 1);
    let stored = buckets.state_to_store(&key(), at(0)).unwrap();
    // Its token is used five seconds later, and the process dies. The next one has no worker for it.
    let mut unasked = Buckets::default();
    unasked.restore(key(), stored, true, at(5_000));
    let (_, state) = unasked.states(at(5_000)).remove(0);
    let mut after = reopened(state, false, rate, at(5_000));
    assert_eq!(starts(&mut after, at(5_000)), 3);
}

#[test]
fn a_crash_long_after_the_last_start_costs_a_slow_rate_a_minute() {
    let hourly = Rate::per_hour(1);
    let mut buckets = with_rate(hourly, at(0));
    gate(&mut buckets, at(0));
    let stored = buckets.state_to_store(&key(), at(0));
    let mut after = reopened(stored, true, hourly, at(3_661_000));
    assert_eq!(starts(&mut after, at(3_661_000)), 1);
}

#[test]
fn a_clock_set_forward_does_not_fill_a_bucket_that_was_not_used_yet() {
    let mut buckets = Buckets::default();
    let empty = BucketState { tokens: 0.0, at: at(0).age, held_until: None };
    buckets.restore(key(), empty, false, at(0));
    let jumped = Now { engine: at(86_400_000).engine, ..at(40) };
    buckets.set_rates(QUEUE, Some(Rate::per_second(1).burst(3)), None, jumped);
    assert_eq!(starts(&mut buckets, jumped), 0);
}

#[test]
fn an_unused_reservation_is_made_again() {
    let mut buckets = with_rate(Rate::per_second(40).burst(2), at(0));
    let (_, first) = gate(&mut buckets, at(0));
    buckets.granted(&first[0].key, first[0].tokens);
    assert_eq!(gate(&mut buckets, at(60_000)), (Gate::Open, Vec::new()));
    let (later, again) = gate(&mut buckets, at(60_001));
    assert_eq!((later, again.len()), (Gate::Reserving, 1));
}

#[test]
fn a_hold_closes_a_bucket_that_has_no_rate() {
    let mut buckets = Buckets::default();
    assert_eq!(gate(&mut buckets, at(0)).0, Gate::Open);
    buckets.hold(&key(), at(500));
    assert_eq!(gate(&mut buckets, at(100)).0, Gate::Wait(Duration::from_millis(400)));
    assert_eq!(gate(&mut buckets, at(500)).0, Gate::Open);
}

#[test]
fn a_refused_reservation_is_requested_again() {
    let mut buckets = with_rate(Rate::per_minute(1), at(0));
    assert_eq!(gate(&mut buckets, at(0)).1.len(), 1);
    assert_eq!(gate(&mut buckets, at(0)), (Gate::Reserving, Vec::new()));
    buckets.refused(&key());
    assert_eq!(gate(&mut buckets, at(0)).1.len(), 1);
}

#[test]
fn the_state_that_is_stored_last_includes_every_token_that_was_taken() {
    let mut buckets = with_rate(Rate::per_hour(1).burst(10), at(0));
    let (_, reservations) = gate(&mut buckets, at(0));
    assert_eq!(buckets.take_by_hand(&key(), 6, at(0)), Ok(true));
    // In both orders of the two writes.
    let stored = buckets.state_to_store(&key(), at(0)).unwrap();
    assert_eq!(stored.tokens, 10.0 - 6.0 - f64::from(reservations[0].tokens));
}

#[test]
fn buckets_that_are_full_again_are_forgotten_and_others_are_not() {
    let rate = Rate::per_second(1).burst(2);
    let mut buckets = Buckets::default();
    for (name, tokens) in [("full", 2.0), ("filling", 0.0), ("slow", -100.0)] {
        let state = BucketState { tokens, at: at(0).age, held_until: None };
        buckets.restore(group(name), state, false, at(0));
    }
    let held = BucketState { tokens: f64::MAX, at: at(0).age, held_until: Some(at(9_000).age) };
    buckets.restore(group("held"), held, false, at(0));
    let forget = |buckets: &mut Buckets, now| {
        let mut forgotten = buckets.forgettable(100, 100, now);
        forgotten.retain(|key| buckets.forget(key, now));
        forgotten.sort();
        forgotten
    };
    assert_eq!(forget(&mut buckets, at(5_000)), [], "no rate is known: what they say is not known either");
    buckets.set_rates(QUEUE, None, Some(rate), at(5_000));
    assert_eq!(forget(&mut buckets, at(5_000)), [group("filling"), group("full")]);
    assert_eq!(forget(&mut buckets, at(9_000)), [group("held")]);
    assert_eq!(buckets.level(&group("full"), at(9_000)), 2.0);
    assert!(buckets.level(&group("slow"), at(9_000)) < -90.0);
}

#[test]
fn a_bucket_that_is_used_again_before_its_row_is_removed_is_kept() {
    let rate = Rate::per_second(1);
    let mut buckets = Buckets::default();
    let state = BucketState { tokens: 1.0, at: at(0).age, held_until: None };
    buckets.restore(key(), state, false, at(0));
    buckets.set_rates(QUEUE, Some(rate), None, at(0));
    let leaving = buckets.forgettable(100, 100, at(0));
    assert_eq!(leaving, [key()]);
    assert_eq!(starts(&mut buckets, at(0)), 1);
    assert!(!buckets.forget(&leaving[0], at(0)));
    assert_eq!(starts(&mut buckets, at(0)), 0);
    assert_eq!(buckets.forgettable(100, 100, at(120_000)), [key()], "it is looked at again");
}

#[test]
fn the_number_of_buckets_in_memory_follows_those_in_use() {
    let mut buckets = Buckets::default();
    buckets.set_rates(QUEUE, None, Some(Rate::per_second(10)), at(0));
    let mut rows = 0_usize;
    for n in 0..20_000 {
        let now = at(n * 10);
        let (name, mut reserve): (Arc<str>, _) = (format!("g{n}").into(), Vec::new());
        buckets.gate(QUEUE, Some(&name), now, &mut reserve);
        let Reservation { key, tokens } = reserve.remove(0);
        rows += usize::from(buckets.state_to_store(&key, now).is_some());
        buckets.granted(&key, tokens);
        buckets.spend(QUEUE, Some(&name));
        for key in buckets.forgettable(8, 100, now) {
            rows -= usize::from(buckets.forget(&key, now));
        }
        // Unused reservations expire after a minute.
        assert!(buckets.len() < 8_000 && rows < 8_000, "{} buckets, {rows} rows", buckets.len());
    }
}

#[test]
fn full_buckets_that_were_not_removed_yet_are_counted_and_returned_later() {
    let mut buckets = Buckets::default();
    for n in 0..100 {
        let state = BucketState { tokens: f64::MAX, at: at(0).age, held_until: None };
        buckets.restore(group(&format!("g{n}")), state, false, at(0));
    }
    let mut removed = 0;
    for _ in 0..10 {
        assert_eq!(buckets.len(), 100 - removed);
        let named = buckets.forgettable(50, 10, at(0));
        assert_eq!(named.len(), 10);
        removed += named.iter().filter(|key| buckets.forget(key, at(0))).count();
    }
    assert_eq!((buckets.len(), removed), (0, 100));
}

#[test]
fn a_bucket_whose_row_could_not_be_removed_is_returned_again() {
    let mut buckets = Buckets::default();
    for name in ["removed", "kept"] {
        let state = BucketState { tokens: f64::MAX, at: at(0).age, held_until: None };
        buckets.restore(group(name), state, false, at(0));
    }
    let mut named = buckets.forgettable(10, 10, at(0));
    named.sort();
    // The commit has removed only one of them.
    assert!(buckets.forget(&named[1], at(0)));
    buckets.not_forgotten(&named);
    let mut again = buckets.forgettable(10, 10, at(0));
    again.sort();
    assert_eq!(again, named);
    assert_eq!(buckets.len(), 0, "each is there once");
}

#[test]
fn a_bucket_without_a_rate_is_forgotten_after_a_time_that_depends_on_whether_there_is_a_worker() {
    let (hour, month) = (3_600_000, 30 * 24 * 3_600_000);
    let restored = || {
        let mut buckets = Buckets::default();
        let state = BucketState { tokens: -5.0, at: at(0).age, held_until: None };
        buckets.restore(group("g"), state, false, at(0));
        buckets
    };
    let mut unattended = restored();
    assert_eq!(unattended.forgettable(10, 10, at(month - 1)), []);
    assert_eq!(unattended.forgettable(10, 10, at(month)), [group("g")]);
    let mut attended = restored();
    attended.set_rates(QUEUE, Some(Rate::per_second(1)), None, at(0));
    assert_eq!(attended.forgettable(10, 10, at(hour - 1)), []);
    assert_eq!(attended.forgettable(10, 10, at(hour)), [group("g")]);

    // A bucket that was in use when its rate was removed.
    let mut buckets = with_rate(Rate::per_second(1), at(0));
    assert_eq!(starts(&mut buckets, at(0)), 1);
    assert!(buckets.state_to_store(&key(), at(0)).is_some());
    buckets.set_rates(QUEUE, None, None, at(1_000));
    assert_eq!(buckets.forgettable(10, 10, at(hour)), []);
    assert_eq!(buckets.forgettable(10, 10, at(hour + 1_000)), [key()]);
    assert!(buckets.forget(&key(), at(hour + 1_000)));
}

#[test]
fn a_bucket_that_is_filled_after_it_lost_its_rate_reserves_nothing() {
    let mut buckets = with_rate(Rate::per_second(1), at(0));
    let (_, reservations) = gate(&mut buckets, at(0));
    assert!(buckets.is_reserving());
    buckets.set_rates(QUEUE, None, None, at(0));
    buckets.fill(&key(), at(0));
    assert!(!buckets.is_reserving());
    buckets.granted(&key(), reservations[0].tokens);
    buckets.set_rates(QUEUE, Some(Rate::per_second(1)), None, at(0));
    assert_eq!(starts(&mut buckets, at(0)), 1);
    assert!(!buckets.is_reserving());
}
