use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::native::Plan;
use crate::handler::Attempted;
use crate::job::{IdMap, JobId};
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::time::Now;

/// Why an attempt is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kill {
    Timeout = 1,
    Release = 2,
}

/// One attempt under way.
pub(crate) struct Running {
    pub plan: Plan,
    pub attempted: Arc<Attempted>,
    pub blocking: bool,
    killed: AtomicU8,
    kill: Notify,
}

impl Running {
    pub fn new(plan: Plan, attempted: Arc<Attempted>, blocking: bool) -> Self {
        Self { plan, attempted, blocking, killed: AtomicU8::new(0), kill: Notify::new() }
    }

    /// Tells the handler to stop; one that is async is dropped at its next await.
    fn end(&self, why: Kill) {
        let first = self.killed.compare_exchange(0, why as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if first {
            self.attempted.cancel();
            self.kill.notify_waiters();
        }
    }

    pub fn killed(&self) -> Option<Kill> {
        match self.killed.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Kill::Timeout),
            _ => Some(Kill::Release),
        }
    }

    /// Woken when the attempt is ended from outside.
    pub fn kill(&self) -> &Notify {
        &self.kill
    }
}

/// The attempts under way, by job.
#[derive(Default)]
pub(crate) struct Runs {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_id: IdMap<Arc<Running>>,
    /// No deadline is earlier than this.
    next_deadline: Option<Duration>,
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// True if its deadline is the next one.
    pub fn enter(&self, running: Arc<Running>) -> bool {
        let own = running.attempted.deadline(running.plan.started.mono);
        let mut inner = self.lock();
        let sooner = match (own, inner.next_deadline) {
            (Some(deadline), Some(next)) => deadline < next,
            (deadline, None) => deadline.is_some(),
            (None, _) => false,
        };
        if sooner {
            inner.next_deadline = own;
        }
        let before = inner.by_id.insert(running.plan.run.job, running);
        drop(inner);
        // A run that was given up: what its handler holds is dropped outside of the lock.
        drop(before);
        sooner
    }

    pub fn leave(&self, running: &Running) {
        let mut inner = self.lock();
        let id = running.plan.run.job;
        // A later run of the same job may have taken the place.
        if inner.by_id.get(&id).is_some_and(|now| now.plan.run == running.plan.run) {
            inner.by_id.remove(&id);
        }
    }

    pub fn get(&self, id: JobId) -> Option<Arc<Running>> {
        self.lock().by_id.get(&id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Running>> {
        self.lock().by_id.values().cloned().collect()
    }

    /// Ends what has outlived its timeout. Returns how long until the next deadline.
    pub fn end_overdue(&self, now: Now) -> Option<Duration> {
        let (overdue, next_deadline) = self.overdue(now);
        // Outside of the lock: it wakes whoever waits for it, and a waker may be the application's.
        for running in overdue {
            running.end(Kill::Timeout);
        }
        next_deadline.map(|next| next.saturating_sub(now.mono))
    }

    /// Those that have outlived their timeouts, and the next deadline.
    fn overdue(&self, now: Now) -> (Vec<Arc<Running>>, Option<Duration>) {
        let mut inner = self.lock();
        let mut overdue = Vec::new();
        if inner.next_deadline.is_some_and(|next| next <= now.mono) {
            let mut next = None;
            for running in inner.by_id.values() {
                match running.attempted.deadline(now.mono) {
                    Some(deadline) if deadline <= now.mono => overdue.push(running.clone()),
                    Some(deadline) => next = Some(next.map_or(deadline, |next: Duration| next.min(deadline))),
                    None => {}
                }
            }
            inner.next_deadline = next;
        }
        (overdue, inner.next_deadline)
    }

    /// Tells every handler to stop, without ending it.
    pub fn cancel_all(&self) {
        for running in self.all() {
            running.attempted.cancel();
        }
    }

    /// Ends every attempt: its job goes back to where it was.
    pub fn release_all(&self) -> Vec<Arc<Running>> {
        let all = self.all();
        for running in &all {
            running.end(Kill::Release);
        }
        all
    }

    /// Blocking handlers that have outlived their timeout and keep their slots.
    pub fn stuck(&self) -> usize {
        self.lock().by_id.values().filter(|r| r.blocking && r.killed() == Some(Kill::Timeout)).count()
    }
}
