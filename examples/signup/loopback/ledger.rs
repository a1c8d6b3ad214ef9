//! The record of everything that a stand-in has received.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Requests that were sent within a window can arrive within a window that is shorter by this time, on a busy machine.
const ON_THE_WAY: Duration = Duration::from_millis(250);

/// The record of one stand-in. Users are identified by their mail addresses.
#[derive(Default)]
pub struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    arrivals: Vec<Instant>,
    accepted: HashMap<String, u64>,
    put_off: u64,
    under_way: usize,
    most_at_once: usize,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no code panics while it holds the ledger")
    }

    /// Records an arrival; it is in progress until the returned guard is dropped.
    pub fn arrival(self: &Arc<Self>) -> UnderWay {
        let mut entries = self.entries();
        entries.arrivals.push(Instant::now());
        entries.under_way += 1;
        entries.most_at_once = entries.most_at_once.max(entries.under_way);
        UnderWay(self.clone())
    }

    pub fn accept(&self, user: &str) {
        *self.entries().accepted.entry(user.to_owned()).or_default() += 1;
    }

    /// Counts an arrival that was told to come back later.
    pub fn put_off(&self) {
        self.entries().put_off += 1;
    }

    pub fn times_accepted(&self, user: &str) -> u64 {
        self.entries().accepted.get(user).copied().unwrap_or(0)
    }

    /// For how many users something was accepted, not counting copies.
    pub fn users(&self) -> usize {
        self.entries().accepted.len()
    }

    /// How many times something was accepted that had been accepted before.
    pub fn duplicates(&self) -> u64 {
        self.entries().accepted.values().map(|times| times - 1).sum()
    }

    pub fn put_off_times(&self) -> u64 {
        self.entries().put_off
    }

    pub fn most_at_once(&self) -> usize {
        self.entries().most_at_once
    }

    /// How many arrivals, and the time from the first to the last.
    pub fn arrivals(&self) -> (usize, Duration) {
        let arrivals = &self.entries().arrivals;
        let span = arrivals.first().zip(arrivals.last()).map(|(first, last)| *last - *first);
        (arrivals.len(), span.unwrap_or_default())
    }

    /// Whether at most `per_second` plus `burst` arrived within every window.
    pub fn keeps_to(&self, per_second: u32, burst: u32) -> bool {
        let arrivals = &self.entries().arrivals;
        let allowed = |window: Duration| f64::from(burst) + f64::from(per_second) * (window + ON_THE_WAY).as_secs_f64();
        arrivals.iter().enumerate().all(|(nth, first)| {
            arrivals[nth..].iter().zip(1..).all(|(last, arrived)| f64::from(arrived) <= allowed(*last - *first))
        })
    }
}

/// An arrival that has not been answered yet.
pub struct UnderWay(Arc<Ledger>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.entries().under_way -= 1;
    }
}
