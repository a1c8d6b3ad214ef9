//! The attempts that are under way, and their deadlines.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, Kill};
use crate::handler::Inside;
use crate::job::{IdMap, JobId};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Now;

/// The attempts under way, by job.
#[derive(Default)]
pub(crate) struct RunningAttempts {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_id: IdMap<Arc<Attempt>>,
    /// No deadline is earlier than this.
    next_deadline: Option<Duration>,
}

impl Inner {
    /// Expects this deadline. Returns true if it is the next one.
    fn expect(&mut self, deadline: Option<Duration>) -> bool {
        let sooner = match (deadline, self.next_deadline) {
            (Some(deadline), Some(next)) => deadline < next,
            (deadline, None) => deadline.is_some(),
            (None, _) => false,
        };
        if sooner {
            self.next_deadline = deadline;
        }
        sooner
    }
}

/// When the time of an attempt is over. An attempt that waits for others of its batch has no deadline yet: the end of its time
/// moves with the clock, and would wake the dispatcher again and again.
fn deadline(attempt: &Attempt, now: Duration) -> Option<Duration> {
    let waits = attempt.is_batched && attempt.facts.called_at().is_none();
    attempt.facts.deadline(now).filter(|_| !waits)
}

impl RunningAttempts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A number that tells the handlers of this executor from those of other executors.
    pub fn identity(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// What a thread notes while it runs the handler of this attempt.
    pub fn inside(&self, attempt: &Attempt) -> Inside {
        self.inside_batch(attempt, 1)
    }

    /// What a thread notes while it runs the handler of a batch of `jobs` attempts, of which this is one.
    pub fn inside_batch(&self, attempt: &Attempt, jobs: usize) -> Inside {
        Inside { executor: self.identity(), queue: attempt.queue, slots: jobs, blocking: attempt.blocking }
    }

    /// Adds an attempt. Returns true if its deadline is the next one.
    pub fn enter(&self, attempt: Arc<Attempt>) -> bool {
        let mut inner = self.lock();
        let sooner = inner.expect(deadline(&attempt, attempt.handed_out.mono));
        let before = inner.by_id.insert(attempt.run.job, attempt);
        drop(inner);
        // This may be an earlier run that was given up. What its handler holds is dropped outside the lock.
        drop(before);
        sooner
    }

    /// The handler of a batch is about to be called, so the time of these attempts begins. Returns true if one of their
    /// deadlines is the next one.
    pub fn called_together(&self, attempts: &[Arc<Attempt>], now: Duration) -> bool {
        let first = attempts.iter().filter_map(|attempt| deadline(attempt, now)).min();
        self.lock().expect(first)
    }

    pub fn leave(&self, attempt: &Attempt) {
        // A later run of the same job may have taken the place.
        if let Entry::Occupied(now) = self.lock().by_id.entry(attempt.run.job)
            && now.get().run == attempt.run
        {
            now.remove();
        }
    }

    pub fn get(&self, id: JobId) -> Option<Arc<Attempt>> {
        self.lock().by_id.get(&id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Attempt>> {
        self.lock().by_id.values().cloned().collect()
    }

    /// Ends the attempts that have outlived their timeouts. Returns how long until the next deadline.
    pub fn end_overdue(&self, now: Now) -> Option<Duration> {
        let (overdue, next_deadline) = self.overdue(now);
        // Outside the lock, because this wakes the task that runs the attempt, and the waker may be code of the application.
        for (attempt, why) in overdue {
            attempt.end(why);
        }
        next_deadline.map(|next| next.saturating_sub(now.mono))
    }

    /// The attempts that have outlived their timeouts or the grace of a cancel, and the next deadline.
    fn overdue(&self, now: Now) -> (Vec<(Arc<Attempt>, Kill)>, Option<Duration>) {
        let mut inner = self.lock();
        let mut overdue = Vec::new();
        if inner.next_deadline.is_some_and(|next| next <= now.mono) {
            let mut next = None;
            for attempt in inner.by_id.values() {
                let timeout = deadline(attempt, now.mono).map(|at| (at, Kill::Timeout));
                let cancel = attempt.cancel_by().map(|at| (at, Kill::Cancel));
                match [timeout, cancel].into_iter().flatten().min_by_key(|(at, _)| *at) {
                    Some((deadline, why)) if deadline <= now.mono => overdue.push((attempt.clone(), why)),
                    Some((deadline, _)) => next = Some(next.map_or(deadline, |next: Duration| next.min(deadline))),
                    None => {}
                }
            }
            inner.next_deadline = next;
        }
        (overdue, inner.next_deadline)
    }

    /// Tells the handler of this attempt to stop, and ends the attempt at `by`. Returns true if that is the next deadline.
    pub fn cancel(&self, attempt: &Attempt, by: Duration) -> bool {
        if !attempt.cancel(by) {
            return false;
        }
        self.lock().expect(Some(by))
    }

    /// Tells every handler to stop, without ending it.
    ///
    /// Attempts that wait for a place to run are told first. A guest that ends frees its place, and an attempt that has
    /// not been told by then would take the place and call its guest.
    pub fn cancel_all(&self) {
        let (waiting, called): (Vec<_>, Vec<_>) =
            self.all().into_iter().partition(|attempt| attempt.facts.guest.waits_for_place());
        for attempt in waiting.into_iter().chain(called) {
            attempt.facts.cancel();
        }
    }

    /// Ends every attempt: its job goes back to where it was.
    pub fn release_all(&self) -> Vec<Arc<Attempt>> {
        let all = self.all();
        for attempt in &all {
            attempt.end(Kill::Release);
        }
        all
    }

    /// Runs `while_held` under the lock, for tests.
    pub fn with_lock_held(&self, while_held: impl FnOnce()) {
        let _inner = self.lock();
        while_held();
    }

    /// How many blocking handlers have outlived their timeouts, or the grace of a cancel, and keep their slots.
    pub fn stuck(&self) -> usize {
        self.lock()
            .by_id
            .values()
            .filter(|r| r.blocking && matches!(r.killed(), Some(Kill::Timeout | Kill::Cancel)))
            .count()
    }
}
