//! The circuits of one queue: its own, and those of its groups.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::circuit::{Circuit, CircuitWait, Effect};
use crate::job::{BucketKey, Circuit as Shown, CircuitBreaker, CircuitStep, IdMap, Opened, QueueId, Verdict};
use crate::scheduler::handed_out::RunId;
use crate::time::Now;

/// How many groups of a queue have a circuit in memory: those that are open or half open, those with failures in their windows, and
/// those that were open. Above it one is forgotten that has no failures, or else the window of the group whose last end was the
/// longest ago. While this many are open, the ends
/// of further groups do not count.
pub(super) const GROUPS_MAX: usize = 10_000;

/// How long the circuit of a group stays half open if no job of the group starts. After this it is forgotten: the group may
/// have no jobs any more.
pub(crate) const UNUSED_FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The circuits of a queue whose worker has a circuit breaker, or of which one is open.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    breaker: Option<CircuitBreaker>,
    group_breaker: Option<CircuitBreaker>,
    own: Option<Circuit>,
    groups: HashMap<Arc<str>, OfGroup>,
    /// The groups whose circuits are closed, in the order in which they are forgotten.
    closed: BTreeMap<Closed, Arc<str>>,
    /// The number of the last end of a group.
    ends: u64,
    /// Runs up to this serial were started by an earlier worker.
    ignored: u64,
    /// The probes that run, with their group if they are that of one.
    probes: IdMap<(RunId, Option<Arc<str>>)>,
}

#[derive(Debug)]
struct OfGroup {
    circuit: Circuit,
    /// Its place among those that are closed.
    place: Closed,
}

/// Whether the window has failures, and the number of the last end.
type Closed = (bool, u64);

impl Circuits {
    /// The queue has a worker with these breakers. Returns the circuits that were open and that none of them has any more, by
    /// their groups.
    pub fn set_breakers(
        &mut self,
        breaker: Option<CircuitBreaker>,
        group_breaker: Option<CircuitBreaker>,
        serial: u64,
    ) -> Vec<Option<Arc<str>>> {
        (self.breaker, self.group_breaker, self.ignored) = (breaker, group_breaker, serial);
        let mut dropped = Vec::new();
        match (breaker, &mut self.own) {
            (Some(breaker), Some(own)) => own.set_breaker(breaker),
            (Some(breaker), own) => *own = Some(Circuit::closed(breaker)),
            (None, own) => dropped.extend(own.take().filter(Circuit::is_held).map(|_| None)),
        }
        self.closed.clear();
        self.groups.retain(|group, of_group| match group_breaker {
            _ if !of_group.circuit.is_held() => false,
            Some(breaker) => {
                of_group.circuit.set_breaker(breaker);
                true
            }
            None => {
                dropped.push(Some(group.clone()));
                false
            }
        });
        dropped.sort_unstable();
        dropped
    }

    /// Whether there is nothing to keep.
    pub fn is_unused(&self) -> bool {
        self.breaker.is_none() && self.group_breaker.is_none() && self.own.is_none() && self.groups.is_empty()
    }

    fn get(&self, group: Option<&Arc<str>>) -> Option<&Circuit> {
        match group {
            None => self.own.as_ref(),
            Some(group) => self.groups.get(group).map(|of_group| &of_group.circuit),
        }
    }

    /// Whether the queue's own circuit is open or half open, and how many of its groups' circuits are.
    pub fn held(&self) -> (bool, usize) {
        let groups = self.groups.values().filter(|of_group| of_group.circuit.is_held()).count();
        (self.own.as_ref().is_some_and(Circuit::is_held), groups)
    }

    /// Why no job of the queue, or of the group, starts, if none does.
    pub fn wait(&self, group: Option<&Arc<str>>, now: Now) -> Option<CircuitWait> {
        self.get(group)?.wait(now)
    }

    /// Whether a job that starts now is a probe.
    pub fn is_probe(&self, group: Option<&Arc<str>>) -> bool {
        let is_held = |group| self.get(group).is_some_and(Circuit::is_held);
        is_held(None) || (group.is_some() && is_held(group))
    }

    /// A job starts. It is the probe of each half-open circuit that it belongs to.
    pub fn starts(&mut self, run: RunId, group: Option<&Arc<str>>) {
        let is_of_queue = self.own.as_mut().is_some_and(|own| own.starts(run));
        let group = group.filter(|group| self.groups.get_mut(*group).is_some_and(|of| of.circuit.starts(run)));
        if is_of_queue || group.is_some() {
            self.probes.insert(run.job, (run, group.cloned()));
        }
    }

    /// A run is over, with a verdict or without. Returns its group, if it was a probe.
    pub fn probe_over(&mut self, run: RunId) -> Option<Option<Arc<str>>> {
        if self.probes.is_empty() {
            return None;
        }
        let (_, group) = self.probes.get(&run.job).filter(|(probe, _)| *probe == run)?.clone();
        self.probes.remove(&run.job);
        if let Some(own) = &mut self.own {
            own.probe_over(run);
        }
        if let Some(of_group) = group.as_ref().and_then(|group| self.groups.get_mut(group)) {
            of_group.circuit.probe_over(run);
        }
        Some(group)
    }

    /// Counts the end of an attempt. Returns what must be written with it. `serial` is the latest run.
    pub fn ended(
        &mut self,
        (queue, group): (QueueId, Option<&Arc<str>>),
        run: RunId,
        verdict: Verdict,
        serial: u64,
        now: Now,
    ) -> Vec<CircuitStep> {
        let mut steps = Vec::new();
        if run.serial() <= self.ignored {
            return steps;
        }
        let mut step = |group: Option<&Arc<str>>, breaker: CircuitBreaker, effect: Effect| {
            let key = BucketKey { queue, group: group.cloned() };
            match effect {
                Effect::Nothing => {}
                Effect::Closes => steps.push(CircuitStep::Close { key, probe: run.job }),
                Effect::Opens { failures, ends, was_probe } => {
                    let open_for = breaker.open_for;
                    let until = Now { age: now.age + open_for, mono: now.mono.saturating_add(open_for), ..now };
                    let probe = was_probe.then_some(run.job);
                    steps.push(CircuitStep::Open(Opened { key, until, open_for, failures, ends, probe }));
                }
            }
        };
        if let (Some(breaker), Some(own)) = (self.breaker, &mut self.own) {
            step(None, breaker, own.ended(run, verdict, &breaker, serial, now));
        }
        if let (Some(breaker), Some(group)) = (self.group_breaker, group) {
            step(Some(group), breaker, self.ended_in_group(group, run, verdict, breaker, serial, now));
        }
        steps
    }

    fn ended_in_group(
        &mut self,
        group: &Arc<str>,
        run: RunId,
        verdict: Verdict,
        breaker: CircuitBreaker,
        serial: u64,
        now: Now,
    ) -> Effect {
        if !self.groups.contains_key(group) && (verdict == Verdict::Success || !self.make_room_for(group, breaker)) {
            return Effect::Nothing;
        }
        let Some(of_group) = self.groups.get_mut(group) else { return Effect::Nothing };
        self.ends += 1;
        self.closed.remove(&of_group.place);
        let effect = of_group.circuit.ended(run, verdict, &breaker, serial, now);
        if of_group.circuit.is_as_new() {
            self.groups.remove(group);
        } else if !of_group.circuit.is_held() {
            of_group.place = (of_group.circuit.has_failures(), self.ends);
            self.closed.insert(of_group.place, group.clone());
        }
        effect
    }

    /// Adds the circuit of a group. Returns false if there is no room for it.
    fn make_room_for(&mut self, group: &Arc<str>, breaker: CircuitBreaker) -> bool {
        if self.groups.len() >= GROUPS_MAX {
            let Some((_, longest_ago)) = self.closed.pop_first() else { return false };
            self.groups.remove(&longest_ago);
        }
        self.groups.insert(group.clone(), OfGroup { circuit: Circuit::closed(breaker), place: (false, 0) });
        true
    }

    /// It is durable that a circuit is open until then. Returns false if no breaker has it any more: then it does not hold
    /// anything.
    pub fn opened(&mut self, group: Option<&Arc<str>>, until: Duration, has_worker: bool, serial: u64) -> bool {
        let breaker = if group.is_some() { self.group_breaker } else { self.breaker };
        if has_worker && breaker.is_none() {
            return false;
        }
        let new = || Circuit::open_until(until);
        match group {
            None => self.own.get_or_insert_with(new).opened(until, serial),
            Some(group) => {
                let of_group =
                    self.groups.entry(group.clone()).or_insert_with(|| OfGroup { circuit: new(), place: (false, 0) });
                of_group.circuit.opened(until, serial);
                self.closed.remove(&of_group.place);
            }
        }
        true
    }

    /// It is durable that a circuit is closed.
    pub fn closed(&mut self, group: Option<&Arc<str>>, serial: u64) {
        match (group, self.breaker) {
            (None, Some(breaker)) => {
                let own = self.own.get_or_insert_with(|| Circuit::closed(breaker));
                own.close(serial);
            }
            (None, None) => self.own = None,
            (Some(group), _) => {
                let Some(of_group) = self.groups.get_mut(group) else { return };
                self.closed.remove(&of_group.place);
                if self.group_breaker.is_none() {
                    self.groups.remove(group);
                    return;
                }
                of_group.circuit.close(serial);
                self.ends += 1;
                of_group.place = (false, self.ends);
                self.closed.insert(of_group.place, group.clone());
            }
        }
    }

    /// Whether the circuit of the queue or group is open or half open.
    pub fn is_held(&self, group: Option<&Arc<str>>) -> bool {
        self.get(group).is_some_and(Circuit::is_held)
    }

    fn is_unused_group(&self, group: &Arc<str>, now: Now) -> bool {
        self.get(Some(group)).is_some_and(|circuit| circuit.is_unused_for(UNUSED_FORGOTTEN_AFTER, now))
    }

    /// The groups whose circuits have been half open for so long that they can be forgotten, at most `groups_max`.
    pub fn unused_groups(&self, groups_max: usize, now: Now) -> Vec<Arc<str>> {
        let unused = self.groups.keys().filter(|group| self.is_unused_group(group, now));
        let mut unused: Vec<_> = unused.take(groups_max).cloned().collect();
        unused.sort_unstable();
        unused
    }

    /// Forgets the circuit of a group, if it still can be forgotten.
    pub fn forget_unused(&mut self, group: &Arc<str>, now: Now) {
        if self.is_unused_group(group, now) {
            self.groups.remove(group);
        }
    }

    /// What an operator sees.
    pub fn shown(&self, group: Option<&Arc<str>>, now: Now) -> Shown {
        self.get(group).map_or(Shown::Closed { failures: 0, ends: 0 }, |circuit| circuit.shown(now))
    }

    #[cfg(test)]
    pub(super) fn groups_held(&self) -> (usize, usize) {
        (self.groups.len(), self.closed.len())
    }
}
