use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::native::Plan;
use crate::handler::{Attempted, Inside, Started};
use crate::job::{AttemptNumber, IdMap, JobId};
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
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
    /// How far it is from its handler's call: one of the constants below.
    called: AtomicU8,
    /// Its async handler was not done with its first poll.
    awaited: AtomicBool,
}

/// Handed out: it waits for a thread, or for the async runtime.
const WAITS: u8 = 0;
/// The same, and its start is to be written once its handler is called.
const WAITS_FOR_ITS_MARK: u8 = 1;
/// Its handler is called.
const CALLED: u8 = 2;

impl Running {
    pub fn new(plan: Plan, attempted: Arc<Attempted>, blocking: bool) -> Self {
        let (killed, called) = (AtomicU8::new(0), AtomicU8::new(WAITS));
        Self { plan, attempted, blocking, killed, kill: Notify::new(), called, awaited: AtomicBool::new(false) }
    }

    /// Its handler is about to be called. True if its start should have been written by now, had it been
    /// called: whoever writes starts is to look at it again.
    pub fn start(&self, at: Option<Started>) -> bool {
        match at {
            Some(at) => self.attempted.start(at),
            None => self.attempted.start_now(),
        }
        self.called.swap(CALLED, Ordering::SeqCst) == WAITS_FOR_ITS_MARK
    }

    /// Whether its handler was called. If not, [`Self::start`] will say that somebody has asked.
    pub fn is_called(&self) -> bool {
        self.called.compare_exchange(WAITS, WAITS_FOR_ITS_MARK, Ordering::SeqCst, Ordering::SeqCst) == Err(CALLED)
    }

    /// Its async handler waits for something.
    pub fn note_awaited(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Whether its async handler has ever waited for something.
    pub fn has_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// The facts of its attempt. It started when its handler was called, or, before that, when it was handed out.
    pub fn attempt(&self) -> AttemptNumber {
        match self.attempted.started() {
            Some(Started { wall, .. }) => AttemptNumber { started_at: wall, ..self.plan.attempt },
            None => self.plan.attempt,
        }
    }

    /// How long its handler has run.
    pub fn took(&self, now: Now) -> Duration {
        self.attempted.started().map_or(Duration::ZERO, |started| now.mono.saturating_sub(started.mono))
    }

    /// Tells the handler to stop; one that is async is dropped at its next await.
    fn end(&self, why: Kill) {
        let first = self.killed.compare_exchange(0, why as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if first {
            self.attempted.cancel();
            self.kill.notify_waiters();
        }
    }

    /// Whether its time is over.
    pub fn is_overdue(&self, now: Now) -> bool {
        self.killed() == Some(Kill::Timeout) || self.attempted.is_overdue(now.mono)
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
pub(crate) struct RunningAttempts {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_id: IdMap<Arc<Running>>,
    /// No deadline is earlier than this.
    next_deadline: Option<Duration>,
}

impl RunningAttempts {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// By what handlers of this executor are told from those of others.
    pub fn identity(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    /// For the time that the handler of this attempt runs on a thread.
    pub fn inside(&self, running: &Running) -> Inside {
        Inside { executor: self.identity(), queue: running.plan.queue, blocking: running.blocking }
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

    /// RunningAttempts `while_held` under the lock: for tests.
    pub fn with_lock_held(&self, while_held: impl FnOnce()) {
        let _inner = self.lock();
        while_held();
    }

    /// Blocking handlers that have outlived their timeout and keep their slots.
    pub fn stuck(&self) -> usize {
        self.lock().by_id.values().filter(|r| r.blocking && r.killed() == Some(Kill::Timeout)).count()
    }
}
