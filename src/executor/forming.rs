//! The batches that are forming: attempts of batch handlers that wait for others, so that one call handles all of them.
//!
//! An attempt that waits here was handed out and entered, and its handler was not called. So its time does not run, and its
//! job goes back without using up an attempt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::Attempt;
use super::binding::Binding;
use super::task::AttemptTask;
use crate::job::{KindId, QueueId};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, MutexGuard};

/// The batches that are forming: at most one for each kind of each worker.
#[derive(Default)]
pub(crate) struct FormingBatches {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Each has at least one attempt, so there are no more of them than slots.
    batches: BTreeMap<(QueueId, KindId), Forming>,
    /// No batch closes earlier than this because of its wait.
    next_close: Option<Duration>,
    /// The queue stops: nothing joins any more.
    stopped: bool,
}

struct Forming {
    tasks: Vec<AttemptTask>,
    /// When it closes, on the monotonic clock.
    close_at: Duration,
}

impl Inner {
    /// Removes and returns the batches for which `which` is true, in the order of their queues.
    fn remove(&mut self, which: impl Fn(QueueId, &Forming) -> bool) -> Vec<Vec<AttemptTask>> {
        let (removed, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.batches).into_iter().partition(|((queue, _), forming)| which(*queue, forming));
        self.batches = left;
        removed.into_values().map(|forming| forming.tasks).collect()
    }
}

/// What became of an attempt that was to join a batch.
pub(crate) enum Joined {
    Waits {
        /// The batch closes before all others.
        next_close: bool,
    },
    /// The batch is closed: its handler is to be called.
    Closed(Vec<AttemptTask>),
    /// The attempt was ended from outside, or its worker has stopped.
    Refused(AttemptTask),
}

impl FormingBatches {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Adds an attempt to the forming batch of its kind, which begins with it if there is none. `most` is how many jobs of the
    /// queue can be handed out at the same time: a batch of that many is closed, because no other job can join.
    pub fn join(&self, task: AttemptTask, most: usize, now: Duration) -> Joined {
        let Some(settings) = task.attempt.batch() else { unreachable!("the caller has checked") };
        let mut inner = self.lock();
        task.attempt.note_joined();
        // An attempt that is ended from outside after this check is found in its batch.
        let is_over = inner.stopped || task.attempt.binding.closed.load(Ordering::SeqCst);
        if is_over || task.attempt.killed().is_some() {
            return Joined::Refused(task);
        }
        let key = (task.attempt.queue, task.attempt.handled_as());
        let close_at = now.saturating_add(settings.wait);
        let forming = inner.batches.entry(key).or_insert_with(|| Forming { tasks: Vec::new(), close_at });
        forming.tasks.push(task);
        if forming.tasks.len() >= settings.jobs_max.min(most) {
            let tasks = inner.batches.remove(&key).map(|forming| forming.tasks);
            return Joined::Closed(tasks.unwrap_or_default());
        }
        let is_first = forming.tasks.len() == 1;
        let next_close = is_first && inner.next_close.is_none_or(|next| close_at < next);
        if next_close {
            inner.next_close = Some(close_at);
        }
        Joined::Waits { next_close }
    }

    /// Closes the batches whose wait is over. Returns them, and how long until the wait of the next one is over.
    pub fn due(&self, now: Duration) -> (Vec<Vec<AttemptTask>>, Option<Duration>) {
        let mut inner = self.lock();
        let mut due = Vec::new();
        if inner.next_close.is_some_and(|next| next <= now) {
            due.extend(inner.remove(|_, forming| forming.close_at <= now));
            inner.next_close = inner.batches.values().map(|forming| forming.close_at).min();
        }
        (due, inner.next_close.map(|next| next.saturating_sub(now)))
    }

    /// Removes an attempt that was ended from outside.
    pub fn leave(&self, attempt: &Attempt) -> Option<AttemptTask> {
        let key = (attempt.queue, attempt.handled_as());
        let mut inner = self.lock();
        let forming = inner.batches.get_mut(&key)?;
        let at = forming.tasks.iter().position(|task| task.attempt.run == attempt.run)?;
        let task = forming.tasks.remove(at);
        if forming.tasks.is_empty() {
            inner.batches.remove(&key);
        }
        Some(task)
    }

    /// A worker stops. Returns the attempts of its forming batches. No attempt of this worker joins a batch from now on.
    pub fn close(&self, queue: QueueId, binding: &Arc<Binding>) -> Vec<AttemptTask> {
        let mut inner = self.lock();
        binding.closed.store(true, Ordering::SeqCst);
        inner.remove(|of, _| of == queue).into_iter().flatten().collect()
    }

    /// The queue stops. Returns the attempts of all forming batches. None joins a batch from now on.
    pub fn stop(&self) -> Vec<AttemptTask> {
        let mut inner = self.lock();
        inner.stopped = true;
        inner.remove(|_, _| true).into_iter().flatten().collect()
    }

    /// Whether no attempt waits.
    pub fn is_empty(&self) -> bool {
        self.lock().batches.is_empty()
    }

    /// Closes all batches, whether or not they are due. For tests of applications, in which nothing moves the clock.
    pub fn close_all(&self) -> Vec<Vec<AttemptTask>> {
        self.lock().remove(|_, _| true)
    }
}
