use std::collections::HashMap;
use std::time::Duration;

use crate::job::{BucketKey, BucketState, QueueId, Rate};
use crate::time::Now;

/// Tokens are made durable ahead of their use, this much of the rate at a time. A crash forgets at
/// most that many unused ones: it may slow a queue down for this long, it never lets more start.
const RESERVE_AHEAD: Duration = Duration::from_millis(50);

/// A reserved token that nobody has used for this long goes back into its bucket: after a crash it is
/// then known that it was used before, if at all. Much longer than a commit takes, or a slow disk would
/// let nothing start.
const USE_WITHIN: Duration = Duration::from_secs(60);

/// Less than this share of a token is none. What is started too early by it is paid back: levels go
/// below zero by as much.
const HAIR: f64 = 1e-6;

/// Group buckets that are full say nothing a fresh one would not: past this many, those are dropped.
const GROUPS_KEPT: usize = 4_096;

/// Tokens taken out of a bucket, to be used once that is durable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reservation {
    pub key: BucketKey,
    pub tokens: u32,
    /// The bucket without them.
    pub state: BucketState,
}

#[derive(Debug)]
pub(crate) enum Gate {
    Open,
    /// Closed until then at least.
    Wait(Duration),
    /// Closed until this is durable.
    Reserve(Reservation),
    /// Closed until a reservation that is under way is durable.
    Reserving,
}

#[derive(Debug)]
struct Bucket {
    rate: Option<Rate>,
    /// Tokens nobody has reserved, at `at`.
    level: f64,
    at: Duration,
    /// Durable reservations, not used yet.
    granted: u32,
    reserving: u32,
    /// When the tokens were reserved that are granted now, or are about to be.
    reserved_at: Duration,
    held_until: Option<Duration>,
}

impl Bucket {
    fn new(rate: Option<Rate>, restored: Option<Restored>, now: Now) -> Self {
        // Without a rate it is full by whatever rate comes.
        let full = rate.map_or(f64::MAX, |rate| f64::from(rate.burst_tokens()));
        let (granted, reserving, reserved_at) = (0, 0, Duration::ZERO);
        let mut bucket = Self { rate, level: full, at: now.mono, granted, reserving, reserved_at, held_until: None };
        if let Some(restored) = restored {
            let state = restored.state;
            bucket.level = rate.map_or(state.tokens.min(full), |rate| restored.level(rate, now));
            bucket.held_until = state.held_until.map(|until| now.mono.saturating_add(until.since(now.age)));
        }
        bucket
    }

    fn refresh(&mut self, now: Now) {
        if let Some(rate) = self.rate {
            if self.granted > 0 && now.mono > self.reserved_at.saturating_add(USE_WITHIN) {
                self.level += f64::from(std::mem::take(&mut self.granted));
            }
            let gained = now.mono.saturating_sub(self.at).as_secs_f64() * rate.tokens_per_second();
            // What is reserved and not used still counts towards the burst, or idle reservations
            // would add to it.
            let room = f64::from(rate.burst_tokens()) - f64::from(self.granted + self.reserving);
            self.level = (self.level + gained).min(room.max(0.0));
        }
        self.at = self.at.max(now.mono);
    }

    fn hold(&self, now: Now) -> Option<Duration> {
        self.held_until.and_then(|until| until.checked_sub(now.mono)).filter(|wait| !wait.is_zero())
    }

    /// How long until there are `tokens`, if they are not there now.
    fn shortage(&self, tokens: f64) -> Option<Duration> {
        let rate = self.rate?;
        let missing = tokens - self.level;
        // Rounding must not leave a bucket for ever a hair's breadth below one token, nor make who
        // waited to the nanosecond wait once more.
        (missing > HAIR)
            .then(|| Duration::try_from_secs_f64(missing / rate.tokens_per_second()).unwrap_or(Duration::MAX))
    }

    fn state(&self, now: Now) -> BucketState {
        BucketState { tokens: self.level, at: now.age, held_until: self.hold(now).map(|wait| now.age + wait) }
    }

    fn is_forgettable(&self, now: Now) -> bool {
        let full = self.rate.is_none_or(|rate| self.level >= f64::from(rate.burst_tokens()));
        full && self.granted == 0 && self.reserving == 0 && self.hold(now).is_none()
    }
}

/// What the file says of a bucket.
#[derive(Clone, Copy, Debug)]
struct Restored {
    state: BucketState,
    /// The process died: when the tokens were used that it had reserved last is not known.
    crashed: bool,
    /// When it was read. Up to then the age line counts, which no restart ends; from then on the monotonic clock.
    read: Now,
}

impl Restored {
    fn elapsed(&self, now: Now) -> Duration {
        self.read.age.since(self.state.at).saturating_add(now.mono.saturating_sub(self.read.mono))
    }

    /// For a stop in order that comes before anybody has asked for the bucket: the next opening will not
    /// know of the crash. Nothing is gained while the tokens reserved last may have lain there unused.
    fn at_rest(&self, now: Now) -> BucketState {
        BucketState { at: self.state.at + self.elapsed(now).min(USE_WITHIN), ..self.state }
    }

    fn level(&self, rate: Rate, now: Now) -> f64 {
        let full = f64::from(rate.burst_tokens());
        let elapsed = self.elapsed(now);
        let gain = |time: Duration| time.as_secs_f64() * rate.tokens_per_second();
        if !self.crashed {
            return (self.state.tokens + gain(elapsed)).min(full);
        }
        // As late as may be; until then they had their place in the bucket.
        let used_after = elapsed.min(USE_WITHIN);
        let room = full - reserved_at_once(rate).min(full);
        let when_used = (self.state.tokens + gain(used_after)).min(room);
        (when_used + gain(elapsed - used_after)).min(full)
    }
}

fn reserved_at_once(rate: Rate) -> f64 {
    (rate.tokens_per_second() * RESERVE_AHEAD.as_secs_f64()).floor().max(1.0)
}

#[derive(Debug, Default)]
pub(crate) struct Buckets {
    buckets: HashMap<BucketKey, Bucket>,
    group_rates: HashMap<QueueId, Rate>,
    restored: HashMap<BucketKey, Restored>,
}

impl Buckets {
    pub fn restore(&mut self, key: BucketKey, state: BucketState, crashed: bool, read: Now) {
        self.restored.insert(key, Restored { state, crashed, read });
    }

    pub fn set_rates(&mut self, queue: QueueId, rate: Option<Rate>, group_rate: Option<Rate>, now: Now) {
        match group_rate {
            Some(rate) => self.group_rates.insert(queue, rate),
            None => self.group_rates.remove(&queue),
        };
        for (key, bucket) in &mut self.buckets {
            if key.queue == queue {
                bucket.refresh(now);
                bucket.rate = if key.group.is_some() { group_rate } else { rate };
            }
        }
        let key = BucketKey { queue, group: None };
        if rate.is_some() && !self.buckets.contains_key(&key) {
            let restored = self.restored.remove(&key);
            self.buckets.insert(key, Bucket::new(rate, restored, now));
        }
    }

    /// May one more start? Reserves tokens ahead where none are left.
    pub fn gate(&mut self, key: &BucketKey, now: Now) -> Gate {
        let Some(bucket) = self.bucket(key, now) else { return Gate::Open };
        if let Some(wait) = bucket.hold(now) {
            return Gate::Wait(wait);
        }
        let Some(rate) = bucket.rate else { return Gate::Open };
        // Before a token is used: what was gained while it lay there had less room.
        bucket.refresh(now);
        if bucket.granted > 0 {
            return Gate::Open;
        }
        if bucket.reserving > 0 {
            return Gate::Reserving;
        }
        if let Some(wait) = bucket.shortage(1.0) {
            return Gate::Wait(wait);
        }
        let tokens = reserved_at_once(rate).min(bucket.level + HAIR).floor().max(1.0);
        bucket.level -= tokens;
        bucket.reserved_at = now.mono;
        bucket.reserving = tokens as u32;
        Gate::Reserve(Reservation { key: key.clone(), tokens: tokens as u32, state: bucket.state(now) })
    }

    /// One starts: its token is used up.
    pub fn spend(&mut self, key: &BucketKey) {
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.granted = bucket.granted.saturating_sub(1);
        }
    }

    pub fn granted(&mut self, key: &BucketKey, tokens: u32) {
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.granted += tokens.min(bucket.reserving);
            bucket.reserving -= tokens.min(bucket.reserving);
        }
    }

    /// A reservation that could not be made durable.
    pub fn refused(&mut self, key: &BucketKey) {
        if let Some(bucket) = self.buckets.get_mut(key) {
            bucket.level += f64::from(std::mem::take(&mut bucket.reserving));
        }
    }

    pub fn hold(&mut self, key: &BucketKey, until: Now) {
        let group_rate = self.group_rates.get(&key.queue).copied();
        let rate = key.group.as_ref().and(group_rate);
        let bucket = self.buckets.entry(key.clone()).or_insert_with(|| Bucket::new(rate, None, until));
        bucket.held_until = bucket.held_until.max(Some(until.mono));
    }

    /// What is to be made durable of it: nothing if there is no limit.
    pub fn take_by_hand(&mut self, key: &BucketKey, tokens: u32, now: Now) -> Result<Option<Reservation>, Duration> {
        let Some(bucket) = self.bucket(key, now) else { return Ok(None) };
        if let Some(wait) = bucket.hold(now) {
            return Err(wait);
        }
        bucket.refresh(now);
        if bucket.rate.is_some_and(|rate| tokens > rate.burst_tokens()) {
            // There never will be so many at once.
            return Err(Duration::MAX);
        }
        if let Some(wait) = bucket.shortage(f64::from(tokens)) {
            return Err(wait);
        }
        if bucket.rate.is_some() {
            bucket.level -= f64::from(tokens);
        }
        Ok(Some(Reservation { key: key.clone(), tokens: 0, state: bucket.state(now) }))
    }

    pub fn level(&mut self, key: &BucketKey, now: Now) -> f64 {
        match self.bucket(key, now) {
            None => f64::INFINITY,
            Some(bucket) if bucket.rate.is_none() => f64::INFINITY,
            Some(bucket) => {
                bucket.refresh(now);
                bucket.level + f64::from(bucket.granted)
            }
        }
    }

    pub fn fill(&mut self, key: &BucketKey, now: Now) -> Reservation {
        let state = match self.bucket(key, now) {
            // No rate yet: full by whatever rate comes.
            None => {
                self.restored.remove(key);
                BucketState { tokens: f64::MAX, at: now.age, held_until: None }
            }
            Some(bucket) => {
                bucket.held_until = None;
                bucket.level = bucket.rate.map_or(f64::MAX, |rate| f64::from(rate.burst_tokens()));
                bucket.granted = 0;
                bucket.state(now)
            }
        };
        Reservation { key: key.clone(), tokens: 0, state }
    }

    /// How long this bucket lets nothing start, if it does not now. What was restored counts before a
    /// bucket is made of it, too.
    pub fn wait(&self, key: &BucketKey, now: Now) -> Option<Duration> {
        let Some(bucket) = self.buckets.get(key) else {
            let rate = key.group.as_ref().and_then(|_| self.group_rates.get(&key.queue).copied());
            let bucket = Bucket::new(rate, Some(*self.restored.get(key)?), now);
            return bucket.hold(now).or_else(|| bucket.shortage(1.0));
        };
        let mut seen = Bucket { ..*bucket };
        seen.refresh(now);
        seen.hold(now).or_else(|| if seen.granted > 0 { None } else { seen.shortage(1.0) })
    }

    pub fn state(&self, key: &BucketKey, now: Now) -> Option<BucketState> {
        self.buckets.get(key).map(|bucket| bucket.state(now))
    }

    pub fn is_reserving(&self) -> bool {
        self.buckets.values().any(|bucket| bucket.reserving > 0)
    }

    pub fn states(&self, now: Now) -> Vec<(BucketKey, BucketState)> {
        let state = |bucket: &Bucket| {
            let mut bucket = Bucket { ..*bucket };
            bucket.level += f64::from(bucket.granted);
            bucket.granted = 0;
            bucket.refresh(now);
            bucket.state(now)
        };
        let mut states: Vec<_> = self.buckets.iter().map(|(key, bucket)| (key.clone(), state(bucket))).collect();
        let unasked = self.restored.iter().filter(|(_, restored)| restored.crashed);
        states.extend(unasked.map(|(key, restored)| (key.clone(), restored.at_rest(now))));
        // The same rows in the same order give the same file.
        states.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        states
    }

    /// The bucket, made on its first use; `None` if nothing limits this key.
    fn bucket(&mut self, key: &BucketKey, now: Now) -> Option<&mut Bucket> {
        if !self.buckets.contains_key(key) {
            let rate = key.group.as_ref().and_then(|_| self.group_rates.get(&key.queue).copied());
            let restored = self.restored.get(key).copied();
            if rate.is_none() && restored.is_none_or(|restored| restored.state.held_until.is_none()) {
                // What was restored stays for the worker that brings a rate.
                return None;
            }
            self.restored.remove(key);
            self.drop_forgettable(now);
            self.buckets.insert(key.clone(), Bucket::new(rate, restored, now));
        }
        self.buckets.get_mut(key)
    }

    fn drop_forgettable(&mut self, now: Now) {
        if self.buckets.len() >= GROUPS_KEPT && self.buckets.len().is_power_of_two() {
            self.buckets.retain(|key, bucket| {
                bucket.refresh(now);
                key.group.is_none() || !bucket.is_forgettable(now)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn at(millis: u64) -> Now {
        let time = Timestamp::from_millis(1_000_000 + millis);
        Now { wall: time, engine: time, age: time, counted: time, mono: Duration::from_millis(millis) }
    }

    fn key() -> BucketKey {
        BucketKey { queue: 1, group: None }
    }

    /// Starts as many as the gate lets through at `now`.
    fn starts(buckets: &mut Buckets, now: Now) -> u32 {
        let mut count = 0;
        loop {
            match buckets.gate(&key(), now) {
                Gate::Open => {
                    buckets.spend(&key());
                    count += 1;
                }
                Gate::Reserve(r) => buckets.granted(&r.key, r.tokens),
                Gate::Wait(_) | Gate::Reserving => return count,
            }
        }
    }

    #[test]
    fn no_window_sees_more_than_burst_plus_rate() {
        let mut buckets = Buckets::default();
        buckets.set_rates(1, Some(Rate::per_second(100).burst(7)), None, at(0));
        let log: Vec<(u64, u32)> = (0..3_000).map(|ms| (ms, starts(&mut buckets, at(ms)))).collect();
        for from in (0..3_000).step_by(37) {
            for len in [1, 10, 50, 333, 1_000] {
                let seen: u32 = log[from..].iter().take(len).map(|(_, n)| n).sum();
                assert!(f64::from(seen) <= 7.0 + 100.0 * len as f64 / 1_000.0, "{seen} in {len} ms");
            }
        }
        let all: u32 = log.iter().map(|(_, n)| n).sum();
        assert!(all >= 300, "it must not wedge or lag: {all} of 307");
    }

    #[test]
    fn a_slow_rate_neither_wedges_nor_hurries() {
        let mut buckets = Buckets::default();
        buckets.set_rates(1, Some(Rate::per_minute(1)), None, at(0));
        assert_eq!(starts(&mut buckets, at(0)), 1);
        assert_eq!(starts(&mut buckets, at(59_999)), 0);
        assert_eq!(starts(&mut buckets, at(60_001)), 1);
    }

    #[test]
    fn a_restart_does_not_refill() {
        let mut buckets = Buckets::default();
        let rate = Some(Rate::per_minute(60).burst(10));
        buckets.set_rates(1, rate, None, at(0));
        assert_eq!(starts(&mut buckets, at(0)), 10);
        let stored = buckets.states(at(0));

        let mut after = Buckets::default();
        for (key, state) in stored {
            after.restore(key, state, false, at(0));
        }
        after.set_rates(1, rate, None, at(2_000));
        assert_eq!(starts(&mut after, at(2_000)), 2);
    }

    #[test]
    fn a_crash_does_not_refill_what_lay_reserved() {
        // 40 a second: two tokens are reserved at once.
        let rate = Rate::per_second(40).burst(2);
        for used_at in [0, 25, 100, 70_000] {
            let mut buckets = Buckets::default();
            buckets.set_rates(1, Some(rate), None, at(0));
            let Gate::Reserve(reservation) = buckets.gate(&key(), at(0)) else { panic!("it is full") };
            buckets.granted(&key(), reservation.tokens);
            let mut stored = reservation.state;
            // What is there is used at the last moment, and the process dies.
            let mut before = 0;
            while before < 3 {
                match buckets.gate(&key(), at(used_at)) {
                    Gate::Open => {
                        buckets.spend(&key());
                        before += 1;
                    }
                    Gate::Reserve(again) => {
                        stored = again.state;
                        buckets.granted(&key(), again.tokens);
                    }
                    _ => break,
                }
            }
            let mut after = Buckets::default();
            after.restore(key(), stored, true, at(used_at));
            after.set_rates(1, Some(rate), None, at(used_at));
            assert_eq!((before, starts(&mut after, at(used_at))), (2, 0), "used after {used_at} ms");
            assert_eq!(starts(&mut after, at(used_at + 50)), 2);
        }
    }

    #[test]
    fn a_crash_is_remembered_by_a_bucket_that_nobody_asks_before_the_next_stop() {
        let rate = Some(Rate::per_second(1).burst(4));
        let mut buckets = Buckets::default();
        buckets.set_rates(1, rate, None, at(0));
        let Gate::Reserve(reservation) = buckets.gate(&key(), at(0)) else { panic!("it is full") };
        // Its token is used five seconds later, and the process dies. The next one has no worker for it.
        let mut unasked = Buckets::default();
        unasked.restore(key(), reservation.state, true, at(5_000));
        let mut after = Buckets::default();
        for (key, state) in unasked.states(at(5_000)) {
            after.restore(key, state, false, at(5_000));
        }
        after.set_rates(1, rate, None, at(5_000));
        assert_eq!(starts(&mut after, at(5_000)), 3);
    }

    #[test]
    fn a_crash_long_after_the_last_start_costs_a_slow_rate_a_minute() {
        let hourly = Rate::per_hour(1);
        let mut buckets = Buckets::default();
        buckets.set_rates(1, Some(hourly), None, at(0));
        let Gate::Reserve(reservation) = buckets.gate(&key(), at(0)) else { panic!("it is full") };
        let mut after = Buckets::default();
        after.restore(key(), reservation.state, true, at(0));
        let later = at(3_661_000);
        after.set_rates(1, Some(hourly), None, later);
        assert_eq!(starts(&mut after, later), 1);
    }

    #[test]
    fn a_clock_set_forward_does_not_fill_a_bucket_that_nobody_has_asked_yet() {
        let mut buckets = Buckets::default();
        let empty = BucketState { tokens: 0.0, at: at(0).age, held_until: None };
        buckets.restore(key(), empty, false, at(0));
        let jumped = Now { engine: at(86_400_000).engine, ..at(40) };
        buckets.set_rates(1, Some(Rate::per_second(1).burst(3)), None, jumped);
        assert_eq!(starts(&mut buckets, jumped), 0);
    }

    #[test]
    fn a_reserved_token_that_nobody_uses_goes_back() {
        let mut buckets = Buckets::default();
        buckets.set_rates(1, Some(Rate::per_second(40).burst(2)), None, at(0));
        let Gate::Reserve(reservation) = buckets.gate(&key(), at(0)) else { panic!("it is full") };
        buckets.granted(&key(), reservation.tokens);
        assert!(matches!(buckets.gate(&key(), at(60_000)), Gate::Open));
        assert!(matches!(buckets.gate(&key(), at(60_001)), Gate::Reserve(again) if again.tokens == 2));
    }

    #[test]
    fn a_hold_closes_a_bucket_that_has_no_rate() {
        let mut buckets = Buckets::default();
        assert!(matches!(buckets.gate(&key(), at(0)), Gate::Open));
        buckets.hold(&key(), at(500));
        assert!(matches!(buckets.gate(&key(), at(100)), Gate::Wait(wait) if wait == Duration::from_millis(400)));
        assert!(matches!(buckets.gate(&key(), at(500)), Gate::Open));
    }

    #[test]
    fn a_refused_reservation_gives_its_tokens_back() {
        let mut buckets = Buckets::default();
        buckets.set_rates(1, Some(Rate::per_minute(1)), None, at(0));
        assert!(matches!(buckets.gate(&key(), at(0)), Gate::Reserve(_)));
        assert!(matches!(buckets.gate(&key(), at(0)), Gate::Reserving));
        buckets.refused(&key());
        assert!(matches!(buckets.gate(&key(), at(0)), Gate::Reserve(_)));
    }
}
