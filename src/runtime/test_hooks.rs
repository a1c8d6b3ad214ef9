//! What only `testing` asks of an engine: whether it has come to rest, and how to get it there.

use std::sync::Arc;

use super::dispatcher;
use super::engine::Engine;
use crate::scheduler::{RunId, Scheduler};
use crate::sync::atomic::Ordering;

impl Engine {
    /// Runs the dispatcher once, on the caller's thread.
    pub fn dispatch_now(self: &Arc<Self>) {
        dispatcher::run_once(self);
    }

    /// Whether nothing can start before the clock moves or a running handler returns.
    pub fn is_quiet(&self) -> bool {
        let now = self.now();
        self.writer_is_idle() && self.scheduler().is_quiet(now) && self.upkeep().is_quiet(self)
    }

    /// Whether in addition the attempt of each job that was handed out has begun, and has joined its batch if it has one: when the
    /// clock moves, the wait of the batch is measured from a time before that.
    pub fn is_settled(&self) -> bool {
        if !self.is_quiet() {
            return false;
        }
        // While the file cannot be written, a job that was handed out may not begin.
        let is_settled = self.unwritable().is_some() || self.has_begun_all();
        if !is_settled {
            // The caller looks again at once.
            self.moved.notify_waiters();
        }
        is_settled
    }

    /// Calls batch handlers with the jobs that wait for others, if no other job can join before the clock moves or a running
    /// handler returns.
    pub fn close_batches_if_quiet(self: &Arc<Self>) {
        if self.executor.forming.is_empty() || !self.is_quiet() {
            return;
        }
        if self.has_begun_all() {
            self.close_all_batches();
        } else {
            // The caller looks again at once.
            self.moved.notify_waiters();
        }
    }

    /// Whether the attempt of each job that was handed out has begun, and has joined its batch if it has one. If not, another
    /// thread is about to do that.
    fn has_begun_all(&self) -> bool {
        let runs = self.scheduler().runs();
        let has_begun = |run: &RunId| {
            let attempt = self.executor.running.get(run.job);
            attempt.is_some_and(|attempt| attempt.run == *run && !attempt.is_joining())
        };
        runs.iter().all(has_begun)
    }

    /// Whether in addition nothing runs.
    pub fn is_idle(&self) -> bool {
        let now = self.now();
        // Under one lock: two separate checks could both miss a handler that returns between them.
        let is_idle = |scheduler: &Scheduler| scheduler.is_quiet(now) && scheduler.running() == 0;
        self.writer_is_idle() && is_idle(&self.scheduler()) && self.upkeep().is_quiet(self)
    }

    /// Whether nothing waits for the writer, and it has answered every step of the engine itself.
    fn writer_is_idle(&self) -> bool {
        self.to_writer.is_empty() && self.own_steps.load(Ordering::SeqCst) == 0
    }

    /// Whether a thread of the engine has panicked, so that nothing happens any more.
    pub fn has_given_up(&self) -> bool {
        self.health.has_given_up()
    }

    /// Has the writer run `job` between two commits. Returns false if the writer has stopped.
    pub fn between_commits(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.to_writer.between(job).is_ok()
    }

    /// How many commands wait for the writer.
    pub fn waiting_commands(&self) -> usize {
        self.to_writer.len()
    }

    /// How many numbers of queues and of kinds stand for a name.
    pub fn names_in_use(&self) -> (usize, usize) {
        self.store.catalog.in_use()
    }

    /// How many handlers of this queue were called and have not returned.
    pub fn called_handlers(&self, queue: &str) -> usize {
        let all = self.executor.running.all();
        all.iter().filter(|attempt| *attempt.facts.queue == *queue && attempt.facts.called_at().is_some()).count()
    }

    /// How many jobs of queues that were removed since had become dead letters.
    pub fn dead_of_removed_queues(&self) -> u64 {
        self.store.catalog.dead_of_removed_queues()
    }

    /// Notes completed and failed attempts and dead jobs. Returns those of the call before.
    pub fn note_drained(&self, totals: [u64; 3]) -> [u64; 3] {
        std::mem::replace(&mut *self.drained.lock().unwrap_or_else(|e| e.into_inner()), totals)
    }

    /// Runs `while_held` while this thread holds every lock that a call may take for a moment.
    pub fn with_locks_held(&self, while_held: impl FnOnce()) {
        let _bindings = self.bindings_mut();
        let _scheduler = self.scheduler();
        self.executor.running.with_lock_held(|| self.store.catalog.with_lock_held(while_held));
    }
}
