//! I30: circuits. While a circuit is open no job of its queue or group starts, while it is half open one runs at most, and it
//! opens when enough attempts have failed, and not before.
//!
//! The engine opens a circuit when an attempt ends, and says so after the commit of that end. Between the two nothing is known.

use millpond::{Circuit as Shown, CircuitBreaker, Event};

use super::group_order::{group_key, number_in};
use super::{Check, Job, Oracle};
use crate::handlers::Act;
use crate::paths::took;

/// A queue, or a group of it.
pub type Key = (usize, Option<u8>);

/// What is known of a circuit.
#[derive(Clone, Debug, Default)]
pub struct Circuit {
    /// It is held since an event has said so at this time, and open at least until that time, on the monotonic clock.
    held: Option<(u64, u64)>,
    /// An event was missed: it is not known whether it is held.
    unsure: bool,
    /// The attempts that may count as failures since the window was last known to be empty.
    may_count: u32,
    /// The last attempts, one after another, that count as failures and whose ends are durable.
    count: u32,
    /// Attempts that were handed out up to this time may not count.
    since: u64,
}

impl Oracle {
    /// Whether attempts of plugins may count, of which it is not known here how many may fail.
    fn has_plugins(&self) -> bool {
        cfg!(feature = "wasm") && self.plan.plugins.any()
    }

    fn breaker(&self, key: Key) -> Option<CircuitBreaker> {
        let plan = &self.plan.queues[key.0];
        if key.1.is_some() { plan.group_breaker } else { plan.breaker }
    }

    /// The circuits that a job belongs to.
    fn circuits_of(&self, job: &Job) -> Vec<Key> {
        let queue = job.spec.queue;
        let keys = [Some((queue, None)), job.spec.group.map(|group| (queue, Some(group)))];
        keys.into_iter().flatten().filter(|key| self.breaker(*key).is_some()).collect()
    }

    // --- starts -----------------------------------------------------------------------------------

    /// Checks that no circuit keeps a job from being handed out at `taken`.
    pub(super) fn no_circuit_is_open(&self, n: u64, taken: u64) -> Check {
        let job = &self.jobs[&n];
        for key in self.circuits_of(job) {
            let Some(circuit) = self.circuits.get(&key).filter(|circuit| !circuit.unsure) else { continue };
            let Some((since, until)) = circuit.held.filter(|(since, _)| *since < taken) else { continue };
            if taken < until {
                return Err(format!(
                    "I30: the circuit of {key:?} is open until {until}, and a job starts at {taken}: {job:?}"
                ));
            }
            let is_probe = |other: &&Job| {
                other.spec.n != n
                    && self.circuits_of(other).contains(&key)
                    && other.running.is_some_and(|run| run.taken.is_some_and(|at| at > since))
            };
            if let Some(probe) = self.jobs.values().find(is_probe) {
                return Err(format!("I30: the circuit of {key:?} is half open, and two jobs run: {job:?}, {probe:?}"));
            }
            took("a probe started");
        }
        Ok(())
    }

    /// Whether a queue or group has jobs that have not ended.
    fn has_open_jobs(&self, (queue, group): Key) -> bool {
        let is_here = |job: &Job| job.spec.queue == queue && (group.is_none() || job.spec.group == group);
        self.jobs.values().any(|job| is_here(job) && job.since.is_some() && job.ended.is_none())
    }

    // --- ends -------------------------------------------------------------------------------------

    /// The handler of a job has returned, or its attempt has ended without its handler having been called.
    pub(super) fn may_fail(&mut self, n: u64, act: Option<Act>) {
        // A completion fails after all if what it writes is refused.
        let never = |act: Act| {
            matches!(
                act,
                Act::Done
                    | Act::Result
                    | Act::Snooze(_)
                    | Act::RateLimited(_)
                    | Act::RateLimitedQueue(_)
                    | Act::Cancel
                    | Act::DeadLetter
            )
        };
        let may_count = act.is_none_or(|act| !never(act));
        if may_count {
            for key in self.circuits_of(&self.jobs[&n]) {
                self.circuits.entry(key).or_default().may_count += 1;
            }
        }
    }

    /// An event says that a job has ended or is retried: its attempt may count.
    pub(super) fn attempt_counts(&mut self, n: u64) -> Check {
        let (keys, job) = (self.circuits_of(&self.jobs[&n]), &self.jobs[&n]);
        let (act, at) = job.ending.map_or((None, None), |ending| (ending.act, ending.at));
        let is_certain =
            matches!(act, Some(Act::Fail | Act::RetryAfter(_) | Act::Panic)) && !job.steered && !self.stops;
        let taken = at.map(|(taken, _)| taken);
        self.opened_by(at.map(|(_, returned)| returned), job.ending.is_some())?;
        for key in keys {
            let circuit = self.circuits.entry(key).or_default();
            let counts = is_certain && circuit.held.is_none() && taken.is_some_and(|taken| taken > circuit.since);
            circuit.count = if counts { circuit.count + 1 } else { 0 };
        }
        Ok(())
    }

    /// The events of a commit were read: a circuit with enough failures is open.
    pub fn circuits_heard(&mut self) -> Check {
        for key in self.circuits.keys().copied().collect::<Vec<_>>() {
            let Some(breaker) = self.breaker(key) else { continue };
            let circuit = &self.circuits[&key];
            if circuit.held.is_none() && !circuit.unsure && circuit.count >= failures_of(&breaker) {
                return Err(format!("I30: {key:?} is not open after {} failures of {breaker:?}", circuit.count));
            }
        }
        Ok(())
    }

    // --- events -----------------------------------------------------------------------------------

    /// An event about a circuit.
    pub(super) fn circuit_moved(&mut self, event: &Event) -> Check {
        match event {
            Event::CircuitOpened { queue, group, failures, ends, probe, .. } => {
                let key = key_of(queue, group.as_deref());
                let Some(breaker) = self.breaker(key) else {
                    return Err(format!("I30: a circuit has opened that has no breaker: {event:?}"));
                };
                took(match probe {
                    None => "a circuit opened",
                    Some(_) => "a circuit opened again because its probe failed",
                });
                if group.is_some() {
                    took("the circuit of a group opened");
                }
                let mono = self.mono;
                let circuit = self.circuits.entry(key).or_default();
                let legal = match probe {
                    Some(_) => circuit.held.is_some() || circuit.unsure || circuit.since == mono,
                    None => {
                        *failures >= failures_of(&breaker)
                            && *ends <= breaker.of
                            && (circuit.held.is_none() || circuit.unsure)
                    }
                };
                if !legal {
                    return Err(format!("I30: {event:?} has no reason: {circuit:?}"));
                }
                let is_known = probe.is_none() && !circuit.unsure;
                circuit.held = Some((mono, 0));
                (circuit.unsure, circuit.count) = (false, 0);
                self.opening.push((key, if is_known { *failures } else { 0 }));
            }
            Event::CircuitClosed { queue, group, probe, .. } => {
                let key = key_of(queue, group.as_deref());
                took(match probe {
                    Some(_) => "a probe closed a circuit",
                    None => "a circuit was closed by hand",
                });
                let mono = self.mono;
                // A circuit that was loaded for a group without jobs is shown as closed until its row is removed.
                let is_forgotten = probe.is_none() && key.1.is_some() && !self.has_open_jobs(key);
                let circuit = self.circuits.entry(key).or_default();
                // It may have been closed by hand in the same commit in which its probe ends.
                let was_closed_before = probe.is_some() && circuit.since == mono;
                if circuit.held.is_none() && !circuit.unsure && !was_closed_before && !is_forgotten {
                    return Err(format!("I30: {event:?}, and it was not open: {circuit:?}"));
                }
                *circuit = Circuit { since: mono, ..Circuit::default() };
            }
            _ => {}
        }
        Ok(())
    }

    /// The event after that of a circuit that opens tells of the attempt that has opened it: its handler returned at this
    /// time, or was not called.
    fn opened_by(&mut self, returned: Option<u64>, was_called: bool) -> Check {
        let has_plugins = self.has_plugins();
        for (key, failures) in std::mem::take(&mut self.opening) {
            let open_for = self.breaker(key).map_or(0, |breaker| breaker.open_for.as_nanos() as u64);
            let circuit = self.circuits.entry(key).or_default();
            if failures > circuit.may_count + u32::from(!was_called) && !has_plugins {
                return Err(format!("I30: {key:?} has opened after {failures} failures: {circuit:?}"));
            }
            let until = returned.map_or(0, |returned| returned + open_for);
            circuit.held = circuit.held.map(|(since, _)| (since, until));
            circuit.may_count = 0;
        }
        Ok(())
    }

    /// A queue has another worker, or none. What was handed out before may not count any more, but what it has opened may not be
    /// durable yet.
    pub(super) fn worker_changes(&mut self, queue: usize) {
        let mono = self.mono;
        for (_, circuit) in self.circuits.iter_mut().filter(|(key, _)| key.0 == queue) {
            (circuit.count, circuit.since) = (0, mono);
        }
    }

    /// The file was opened again: all windows are empty.
    pub(super) fn windows_are_empty(&mut self) {
        for circuit in self.circuits.values_mut() {
            (circuit.may_count, circuit.count) = (0, 0);
        }
    }

    /// Handlers are told to stop: what has started by now may not count.
    pub fn failures_may_not_count(&mut self) {
        let mono = self.mono;
        for circuit in self.circuits.values_mut() {
            (circuit.count, circuit.since) = (0, mono);
        }
    }

    /// All circuits of the world.
    pub fn circuit_keys(&self) -> Vec<Key> {
        let of =
            |queue| std::iter::once((queue, None)).chain((0..self.plan.groups).map(move |group| (queue, Some(group))));
        let all = (0..self.plan.queues.len()).flat_map(of);
        all.filter(|key| self.breaker(*key).is_some()).collect()
    }

    /// A circuit of which events may have been missed is like this now.
    pub fn circuit_is(&mut self, key: Key, shown: Shown) {
        let mono = self.mono;
        let circuit = self.circuits.entry(key).or_default();
        circuit.held = match shown {
            Shown::Open { wait, .. } => Some((mono, mono + wait.as_nanos() as u64)),
            Shown::HalfOpen { .. } => Some((mono, 0)),
            _ => None,
        };
        circuit.unsure = false;
        if circuit.held.is_some() {
            took("a circuit was open when the file was opened");
        }
    }

    /// Events may have been missed.
    pub fn circuits_in_doubt(&mut self) {
        self.failures_may_not_count();
        for key in self.circuit_keys() {
            self.circuits.entry(key).or_default().unsure = true;
        }
        self.opening.clear();
    }

    /// At rest, what an operator sees is what the events have said.
    pub fn circuits_are_as_told(&self, shown: impl Fn(Key) -> Shown) -> Check {
        for (key, circuit) in &self.circuits {
            let shown = shown(*key);
            let legal = match (circuit.held, shown) {
                _ if circuit.unsure => true,
                (None, shown) => matches!(shown, Shown::Closed { .. }),
                (Some((_, until)), Shown::HalfOpen { .. }) => until <= self.mono,
                (Some(_), shown) => matches!(shown, Shown::Open { .. }),
            };
            if !legal {
                return Err(format!("I30: the circuit of {key:?} is {shown}, at {}: {circuit:?}", self.mono));
            }
        }
        Ok(())
    }
}

/// How many failures open a circuit.
fn failures_of(breaker: &CircuitBreaker) -> u32 {
    (breaker.share * f64::from(breaker.of)).ceil() as u32
}

fn key_of(queue: &str, group: Option<&str>) -> Key {
    match group {
        None => (number_in(queue), None),
        Some(group) => {
            let (queue, group) = group_key(queue, group);
            (queue, Some(group))
        }
    }
}
