//! All queues of the scheduler, and when something happens in each without a call from outside.

use std::collections::BTreeSet;
use std::time::Duration;

use super::limits::WindowLimits;
use super::queue_state::QueueState;
use crate::job::{IdMap, IdSet, QueueId};
use crate::time::{Now, TimeLine, Timestamp};

/// All queues, and when something happens in them without a call from outside. There can be many thousand queues with
/// nothing to do, so a search for those with something to do must not go through all of them.
#[derive(Debug)]
pub(crate) struct QueueStates {
    by_queue: IdMap<Noted, QueueId>,
    limits: WindowLimits,
    /// When a timer of a queue ends, by the monotonic clock.
    timers: BTreeSet<(Duration, QueueId)>,
    /// When delayed jobs are due, for each time line.
    dues: [BTreeSet<(Timestamp, QueueId)>; 2],
    /// Queues that wait for a page or for a promotion.
    working: IdSet<QueueId>,
    /// How many queues were accessed, for tests.
    accesses: u64,
}

/// A queue, and the times that are noted of it.
#[derive(Debug)]
struct Noted {
    state: QueueState,
    timer: Option<Duration>,
    dues: [Option<Timestamp>; 2],
    works: bool,
}

impl QueueStates {
    pub fn new(limits: WindowLimits) -> Self {
        let (by_queue, timers, dues, working) = Default::default();
        Self { by_queue, limits, timers, dues, working, accesses: 0 }
    }

    fn note_access(&mut self) {
        if cfg!(test) {
            self.accesses += 1;
        }
    }

    /// The queue's state. Call [`Self::note`] after a change of its times.
    pub fn get_mut(&mut self, queue: QueueId) -> Option<&mut QueueState> {
        self.note_access();
        self.by_queue.get_mut(&queue).map(|noted| &mut noted.state)
    }

    pub fn get(&self, queue: QueueId) -> Option<&QueueState> {
        self.by_queue.get(&queue).map(|noted| &noted.state)
    }

    /// The queue's state, which is made if there is none. Call [`Self::note`] after a change of its times.
    pub fn get_or_make(&mut self, queue: QueueId) -> &mut QueueState {
        self.note_access();
        let limits = self.limits;
        let new = || Noted { state: QueueState::new(limits), timer: None, dues: [None; 2], works: false };
        &mut self.by_queue.entry(queue).or_insert_with(new).state
    }

    pub fn ids(&self) -> Vec<QueueId> {
        self.by_queue.keys().copied().collect()
    }

    /// Notes when something happens in a queue that was changed. Returns true if that is earlier than was known.
    pub fn note(&mut self, queue: QueueId) -> bool {
        let Some(Noted { state, timer, dues, works }) = self.by_queue.get_mut(&queue) else { return false };
        let mut is_earlier = false;
        let next = state.next_timer();
        if next != *timer {
            is_earlier |= next.is_some_and(|next| timer.is_none_or(|before| next < before));
            if let Some(before) = *timer {
                self.timers.remove(&(before, queue));
            }
            self.timers.extend(next.map(|next| (next, queue)));
            *timer = next;
        }
        for (line, next) in state.next_due().into_iter().enumerate() {
            let (next, noted) = (next.map(|due| due.at), &mut dues[line]);
            if next != *noted {
                is_earlier |= next.is_some_and(|next| noted.is_none_or(|before| next < before));
                if let Some(before) = *noted {
                    self.dues[line].remove(&(before, queue));
                }
                self.dues[line].extend(next.map(|next| (next, queue)));
                *noted = next;
            }
        }
        if state.is_working() != *works {
            *works = !*works;
            match *works {
                true => self.working.insert(queue),
                false => self.working.remove(&queue),
            };
        }
        is_earlier
    }

    /// A queue in which delayed jobs are due.
    pub fn next_due(&self, now: Now) -> Option<QueueId> {
        let due = |line: TimeLine| {
            let first = self.dues[line as usize].first();
            first.filter(|(at, _)| *at <= now.on(line)).map(|(_, queue)| *queue)
        };
        due(TimeLine::Wall).or_else(|| due(TimeLine::Engine))
    }

    /// A queue of which a timer has ended.
    pub fn next_timer(&self, now: Now) -> Option<QueueId> {
        self.timers.first().filter(|(at, _)| *at <= now.mono).map(|(_, queue)| *queue)
    }

    /// How long until something happens without a call from outside, and whether that must happen exactly on time.
    pub fn next_event(&self, now: Now) -> (Option<Duration>, bool) {
        let timer = self.timers.first().map(|(at, queue)| (at.saturating_sub(now.mono), queue));
        let due = |line: TimeLine| self.dues[line as usize].first().map(|(at, _)| at.since(now.on(line)));
        let due = [due(TimeLine::Wall), due(TimeLine::Engine)].into_iter().flatten().min();
        match (timer, due) {
            (Some((timer, queue)), due) if due.is_none_or(|due| timer < due) => {
                (Some(timer), self.get(*queue).is_some_and(QueueState::is_exact))
            }
            (_, due) => (due, false),
        }
    }

    /// Whether a page is being read, or a promotion is under way or due, in any queue.
    pub fn is_busy(&self, now: Now) -> bool {
        !self.working.is_empty() || self.next_due(now).is_some()
    }
}

#[cfg(test)]
impl QueueStates {
    /// How many queues were accessed.
    pub fn accesses(&self) -> u64 {
        self.accesses
    }
}
