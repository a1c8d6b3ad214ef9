//! The calls about runs: a handler has returned, a start is being written, how many jobs run.

use std::sync::Arc;
use std::time::Duration;

use super::handed_out::RunId;
use super::state::Scheduler;
use crate::job::{JobId, Order, QueueId, ReadyJob};
use crate::time::Now;

impl Scheduler {
    /// The handler has returned and its slot is free; the job stays handed out until the writer has settled it. Returns false
    /// if this run is not the current one of its job: its outcome is ignored.
    pub fn finished(&mut self, run: RunId) -> bool {
        let Some(queue) = self.handed_out.finish(run) else { return false };
        self.wake(queue);
        self.wake_queues_for_limits();
        if self.probation.is_active() {
            // A suspect of another queue may have waited for the thread.
            self.probation.check_again();
        }
        true
    }

    /// Notes the size, in bytes, of the result of a run that has finished.
    pub fn ends_with(&mut self, run: RunId, bytes: usize) {
        self.handed_out.ends_with(run, bytes);
    }

    /// A job that was handed out and did not start returns to its position. A suspect becomes a waiting suspect again.
    pub fn given_back(&mut self, run: RunId, job: Arc<ReadyJob>) {
        if !self.finished(run) {
            return;
        }
        let suspect = self.probation.take_back(job.id);
        let Some(handed) = self.settle(job.id) else { return };
        match suspect {
            Some(suspect) => {
                let is_handled = self.queues.get(handed.queue).is_some_and(|state| state.handles(job.kind()));
                self.probation.wait_again(suspect, is_handled);
            }
            None => self.queues.get_or_make(handed.queue).arrive(job, false),
        }
        if let Some(group) = self.queues.get_or_make(handed.queue).probe_over(run) {
            self.circuit_lets_start(handed.queue, group.as_ref());
        }
        self.wake(handed.queue);
    }

    /// The start mark of this run is being written. Returns the job whose mark says that it runs alone, if this start makes
    /// that untrue: the same commit must correct it.
    pub fn marked(&mut self, run: RunId) -> Option<JobId> {
        if let Some(handed) = self.handed_out.get_mut(run) {
            handed.marked = true;
        }
        self.probation.marked(run.job)
    }

    /// The start mark of this run could not be written: it is due again later.
    pub fn not_marked(&mut self, run: RunId, now: Now) {
        if let Some(handed) = self.handed_out.get_mut(run) {
            handed.marked = false;
            // Other marks may be due earlier.
            let at = now.mono.saturating_add(self.limits.mark_after);
            self.mark_at = Some(self.mark_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// Runs that have lasted for `age` and have no start mark. Returns each once.
    pub fn long_running(&mut self, now: Now, age: Duration) -> Vec<RunId> {
        if self.mark_at.is_none_or(|at| at > now.mono) {
            return Vec::new();
        }
        self.mark_at = None;
        let mut due = Vec::new();
        for handed in self.handed_out.iter_mut().filter(|handed| !handed.finished && !handed.marked) {
            let at = handed.started.mono.saturating_add(age);
            if at <= now.mono {
                handed.marked = true;
                due.push(handed.run);
            } else {
                self.mark_at = Some(self.mark_at.map_or(at, |earlier| earlier.min(at)));
            }
        }
        due
    }

    pub fn is_handed_out(&self, id: JobId) -> bool {
        self.handed_out.contains(id)
    }

    /// Whether the job at this position among the heads of groups was handed out.
    pub fn is_handed_out_at(&self, queue: QueueId, order: Order) -> bool {
        self.handed_out.iter().any(|handed| handed.grouped && handed.queue == queue && handed.order == order)
    }

    /// The position from which a job was handed out.
    pub fn order_of_handed_out(&self, id: JobId) -> Option<Order> {
        self.handed_out.get(id).map(|handed| handed.order)
    }

    /// The runs whose handlers have not returned.
    pub fn runs(&self) -> Vec<RunId> {
        self.handed_out.iter().filter(|handed| !handed.finished).map(|handed| handed.run).collect()
    }

    pub fn running(&self) -> usize {
        self.handed_out.running()
    }

    /// How many jobs run with a blocking handler.
    pub fn blocking(&self) -> usize {
        self.handed_out.blocking()
    }

    /// How many jobs may run at a time, and how many of them with a blocking handler.
    pub fn limits(&self) -> (usize, usize) {
        (self.running_max, self.threads.max)
    }

    /// How many jobs of a queue can run at a time, by the slots of its worker and of the process.
    pub fn running_max_in(&self, queue: QueueId) -> usize {
        self.queues.get(queue).map_or(0, |state| state.slots()).min(self.running_max)
    }

    /// Whether the worker of a queue has no slots, as a taker that asks for no job.
    pub fn has_no_slots(&self, queue: QueueId) -> bool {
        self.queues.get(queue).is_some_and(|state| state.slots() == 0)
    }

    pub fn running_in(&self, queue: QueueId) -> usize {
        self.handed_out.running_in(queue)
    }

    /// How often a queue or one of its jobs had to wait for a rate, a circuit or a shared limit.
    #[cfg(feature = "metrics")]
    pub fn limiter_waits(&self, queue: QueueId) -> u64 {
        self.queues.get(queue).map_or(0, |state| state.limiter_waits)
    }

    /// How many jobs of a queue were handed out and are not settled.
    pub fn handed_out_in(&self, queue: QueueId) -> usize {
        self.handed_out.handed_out_in(queue)
    }
}
