//! Limits that jobs share: how many units of each are in use, and which queues wait for some.

use std::collections::{BTreeMap, HashMap};

use super::waiting_queues::WaitingQueues;
use crate::job::{JobId, KindId, QueueId};

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LimitKey {
    /// A limit with a name, by its number. Each job uses as many units as it weighs.
    Named(u32),
    /// How many jobs of a kind a queue's worker runs at a time. Each job uses one unit.
    Kind(QueueId, KindId),
}

/// The units that one run uses.
pub(crate) type Units = Box<[(LimitKey, u32)]>;

/// All shared limits.
///
/// The units in use are computed from the jobs that run, as slots are. Queues get free units in the order in which they
/// began to wait. The first of them keeps its turn until its job has started or cannot start for another reason, so a job
/// that needs many units is not overtaken for ever by jobs that need few. A suspect of a crash has its turn before them.
#[derive(Debug, Default)]
pub(crate) struct SharedLimits {
    limits: HashMap<LimitKey, SharedLimit>,
    /// The limits at which it is the turn of a suspect, whatever queues wait. Other suspects do not count it.
    held: BTreeMap<LimitKey, JobId>,
    /// Queues whose turn it is: the scheduler must ask them for their next job.
    woken: Vec<QueueId>,
}

#[derive(Debug, Default)]
struct SharedLimit {
    units: u32,
    used: u64,
    waiting: WaitingQueues,
}

impl SharedLimit {
    fn has_room(&self, units: u32) -> bool {
        self.used + u64::from(units) <= u64::from(self.units)
    }
}

impl SharedLimits {
    /// Sets how many units there are. Jobs that run already keep theirs.
    pub fn set(&mut self, key: LimitKey, units: u32) {
        self.limits.entry(key).or_default().units = units;
        self.wake_first(key);
    }

    /// Forgets the limits of a queue's kinds.
    pub fn forget_queue(&mut self, queue: QueueId) {
        self.limits.retain(|key, _| !matches!(key, LimitKey::Kind(of, _) if *of == queue));
    }

    /// How many units there are, and how many are in use.
    pub fn usage(&self, key: LimitKey) -> (u32, u64) {
        self.limits.get(&key).map_or((0, 0), |limit| (limit.units, limit.used))
    }

    /// How many units a job of this weight needs. A job that weighs more than the whole limit needs all of it.
    pub fn units(&self, key: LimitKey, weight: u32) -> u32 {
        match key {
            LimitKey::Named(_) => weight.min(self.usage(key).0).max(1),
            LimitKey::Kind(..) => 1,
        }
    }

    /// Whether a job of this weight finds its units free, whoever waits for them.
    pub fn has_room(&self, key: LimitKey, weight: u32) -> bool {
        let units = self.units(key, weight);
        self.limits.get(&key).is_none_or(|limit| limit.has_room(units))
    }

    /// Whether a job of this weight in this queue may start now: it does not overtake a queue that waits.
    pub fn may_start(&self, key: LimitKey, weight: u32, queue: QueueId) -> bool {
        let first = self.limits.get(&key).and_then(|limit| limit.waiting.first());
        first.is_none_or(|first| first == queue) && !self.is_held(key) && self.has_room(key, weight)
    }

    fn is_held(&self, key: LimitKey) -> bool {
        !self.held.is_empty() && self.held.contains_key(&key)
    }

    /// Gives each of these suspects, in their order, the turn at a limit at which it waits for units, in place of those that have
    /// it now. Units that become free are kept for it, so that jobs that need fewer do not overtake it.
    pub fn hold(&mut self, suspects: impl IntoIterator<Item = (LimitKey, JobId)>) {
        let mut held = BTreeMap::new();
        for (key, id) in suspects {
            held.entry(key).or_insert(id);
        }
        let before = std::mem::replace(&mut self.held, held);
        for key in before.into_keys() {
            if !self.is_held(key) {
                self.wake_first(key);
            }
        }
    }

    /// Whether a suspect has the turn at a limit.
    pub fn holds_some(&self) -> bool {
        !self.held.is_empty()
    }

    /// A job of this queue waits for the limit.
    pub fn wait(&mut self, key: LimitKey, queue: QueueId) {
        if let Some(limit) = self.limits.get_mut(&key) {
            limit.waiting.add(queue);
        }
    }

    /// No job of this queue waits for the limit, or none could use it now.
    pub fn leave(&mut self, key: LimitKey, queue: QueueId) {
        let Some(limit) = self.limits.get_mut(&key) else { return };
        let was_first = limit.waiting.first() == Some(queue);
        if limit.waiting.remove(queue) && was_first {
            self.wake_first(key);
        }
    }

    /// A job of this queue starts and uses these units.
    pub fn take(&mut self, units: &Units, queue: QueueId) {
        for (key, units) in units {
            if let Some(limit) = self.limits.get_mut(key) {
                limit.used += u64::from(*units);
                if limit.waiting.first() == Some(queue) {
                    self.leave(*key, queue);
                }
            }
        }
    }

    /// A run has ended and uses these units no more.
    pub fn give_back(&mut self, units: &Units) {
        for (key, units) in units {
            if let Some(limit) = self.limits.get_mut(key) {
                limit.used = limit.used.saturating_sub(u64::from(*units));
                self.wake_first(*key);
            }
        }
    }

    fn wake_first(&mut self, key: LimitKey) {
        let is_held = self.is_held(key);
        if let Some(limit) = self.limits.get(&key).filter(|limit| limit.has_room(1) && !is_held) {
            self.woken.extend(limit.waiting.first());
        }
    }

    /// A queue that must be asked for its next job.
    pub fn next_woken(&mut self) -> Option<QueueId> {
        self.woken.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: LimitKey = LimitKey::Named(0);

    fn units(key: LimitKey, units: u32) -> Units {
        [(key, units)].into()
    }

    #[test]
    fn units_are_in_use_until_they_are_given_back() {
        let mut limits = SharedLimits::default();
        limits.set(GPU, 4);
        limits.take(&units(GPU, 3), 1);
        assert!(limits.has_room(GPU, 1) && !limits.has_room(GPU, 2));
        limits.give_back(&units(GPU, 3));
        assert!(limits.has_room(GPU, 4));
        assert_eq!(limits.units(GPU, 9), 4, "a job that weighs more than all units needs all of them");
        assert!(limits.has_room(GPU, 9));
        limits.take(&units(GPU, 4), 1);
        limits.set(GPU, 2);
        limits.give_back(&units(GPU, 4));
        assert_eq!(limits.usage(GPU), (2, 0));
    }

    #[test]
    fn a_queue_that_waits_for_many_units_is_not_overtaken() {
        let mut limits = SharedLimits::default();
        limits.set(GPU, 4);
        limits.take(&units(GPU, 2), 1);
        limits.wait(GPU, 2);
        limits.wait(GPU, 3);
        assert!(!limits.may_start(GPU, 1, 3), "it would overtake queue 2");
        limits.give_back(&units(GPU, 2));
        assert_eq!((limits.next_woken(), limits.next_woken()), (Some(2), None));
        assert!(limits.may_start(GPU, 4, 2));
        limits.take(&units(GPU, 3), 2);
        assert_eq!(limits.next_woken(), Some(3));
        limits.leave(GPU, 3);
        assert!(limits.may_start(GPU, 1, 1), "nothing waits");
    }

    #[test]
    fn a_queue_that_cannot_use_its_turn_gives_it_to_the_next() {
        let mut limits = SharedLimits::default();
        limits.set(LimitKey::Kind(1, 1), 1);
        limits.set(GPU, 1);
        limits.wait(GPU, 1);
        limits.wait(GPU, 2);
        limits.wait(GPU, 1);
        limits.leave(GPU, 1);
        assert_eq!((limits.next_woken(), limits.next_woken()), (Some(2), None));
        limits.forget_queue(1);
        assert_eq!((limits.usage(LimitKey::Kind(1, 1)), limits.usage(GPU)), ((0, 0), (1, 0)));
    }
}
