//! Checks the log of starts over all runs: order within groups, the rate, nothing early, nothing again.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use crate::load::Told;

/// The queue with a rate.
pub const LIMITED: &str = "limited";
/// Starts per second, and at once after a pause. Less than what is enqueued, so that the rate holds jobs back.
pub const RATE: u32 = 4;
pub const BURST: u32 = 3;

/// The handler notes its start; on a busy machine it does so at most this many seconds late.
const NOTED_LATE_MAX: f64 = 0.5;

/// Times in the file are whole milliseconds.
const EARLY_MAX_MICROS: u64 = 1_000;

pub struct Start {
    pub id: u64,
    pub queue: String,
    pub group: Option<String>,
    pub attempt: u32,
    /// Whether some attempt of it fails on purpose.
    pub fails: bool,
    /// In microseconds since the epoch, like `not_before`.
    pub at: u64,
    pub not_before: u64,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, queue, group, attempt, fails, at, not_before } = self;
        let group = group.as_deref().unwrap_or("-");
        write!(f, "{id} {queue} {group} {attempt} {fails} {at} {not_before}")
    }
}

impl Start {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            id: words.next()?.parse().ok()?,
            queue: words.next()?.to_owned(),
            group: words.next().filter(|group| *group != "-").map(str::to_owned),
            attempt: words.next()?.parse().ok()?,
            fails: words.next()?.parse().ok()?,
            at: words.next()?.parse().ok()?,
            not_before: words.next()?.parse().ok()?,
        })
    }
}

/// Checks the log, and returns how many starts it contains.
pub fn check(log: &str, told: &Told) -> usize {
    let mut heads: HashMap<String, u64> = HashMap::new();
    let mut attempts: HashMap<u64, u32> = HashMap::new();
    let mut lives: HashMap<u64, u32> = HashMap::new();
    let mut in_this_run: BTreeSet<u64> = BTreeSet::new();
    let mut limited = Vec::new();
    // Runs that died before they noted anything do not count: they started nothing.
    let mut known_done = BTreeSet::new();
    let (mut run, mut starts) = (0, 0);
    for line in log.lines() {
        if line == "run" {
            known_done = told.done_before.get(run).cloned().unwrap_or_default();
            run += 1;
            in_this_run.clear();
            continue;
        }
        starts += 1;
        let Start { id, queue, group, attempt, fails, at, not_before } = Start::parse(line).expect("a whole line");
        assert!(!known_done.contains(&id), "job {id} was done, and started again");
        let again = !in_this_run.insert(id);
        assert!(!again || fails, "job {id} started twice in one run");
        let before = attempts.insert(id, attempt).unwrap_or(0);
        assert!(attempt >= before || told.redriving.contains(&id), "job {id}: attempt {attempt} after {before}");
        // A kill between the commit of a start mark and the call of its handler leaves no note of the start.
        *lives.entry(id).or_default() += u32::from(before == 0 || attempt <= before);
        assert!(at + EARLY_MAX_MICROS >= not_before, "job {id} started {} us early", not_before - at);
        if let Some(group) = group {
            let before = heads.insert(group.clone(), id).unwrap_or(0);
            assert!(id >= before, "group {group}: job {id} started after {before}");
        }
        if queue == LIMITED {
            limited.push(at);
        }
    }
    for (id, redriven) in &told.redriven {
        let lives = lives.get(id).copied().unwrap_or(0);
        assert!(lives > *redriven, "job {id} was redriven {redriven} times and began {lives} times");
    }
    check_rate(limited);
    starts
}

/// Checks that in every window, also across restarts, there are no more starts than the burst and the rate allow:
/// each start takes a token from a bucket of that size, which is full at first.
fn check_rate(mut starts: Vec<u64>) {
    starts.sort_unstable();
    let rate = f64::from(RATE);
    let full = f64::from(BURST) + rate * NOTED_LATE_MAX;
    let (mut tokens, mut before) = (full, 0);
    for (n, at) in starts.iter().copied().enumerate() {
        tokens = (tokens + (at - before) as f64 / 1e6 * rate).min(full) - 1.0;
        before = at;
        assert!(tokens >= 0.0, "start {n} of {} exceeds the rate", starts.len());
    }
    let seconds = starts.last().zip(starts.first()).map_or(0.0, |(last, first)| (last - first) as f64 / 1e6);
    println!("{} starts at {RATE} a second in {seconds:.1} s", starts.len());
}

#[test]
fn a_rate_that_is_exceeded_is_noticed() {
    let evenly = |per_second: u64| (0..per_second * 10).map(|n| n * 1_000_000 / per_second).collect();
    check_rate(evenly(u64::from(RATE)));
    assert!(std::panic::catch_unwind(|| check_rate(evenly(u64::from(RATE) * 5 / 4))).is_err());
}
