//! Attempts of batch handlers: they join a forming batch, whose handler is called when the batch is closed.

use std::sync::Arc;
use std::time::Duration;

use super::attempts::Reporter;
use super::engine::Engine;
use crate::executor::{Attempt, AttemptTask, Joined};
use crate::job::Ending;
use crate::time::Now;

impl Engine {
    /// Has an attempt that was entered join the forming batch of its kind.
    pub(super) fn join_batch(self: &Arc<Self>, task: AttemptTask) {
        let most = self.scheduler().running_max_in(task.attempt().queue);
        match self.executor.forming.join(task, most, self.now().mono) {
            Joined::Waits { next_close } => {
                if next_close {
                    self.wake_dispatcher();
                }
                // For a drain, which looks whether it can close the batch.
                self.moved.notify_waiters();
            }
            Joined::Closed(tasks) => self.call_batch(tasks),
            Joined::Refused(task) => self.give_back_uncalled(vec![task]),
        }
    }

    fn call_batch(self: &Arc<Self>, tasks: Vec<AttemptTask>) {
        self.executor.run_batch(tasks, Reporter(self.clone()));
    }

    /// Calls the handlers of the batches whose wait is over. Returns how long until the wait of the next one is over.
    pub(super) fn close_due_batches(self: &Arc<Self>, now: Now) -> Option<Duration> {
        let (due, wait) = self.executor.forming.due(now.mono);
        due.into_iter().for_each(|tasks| self.call_batch(tasks));
        wait
    }

    /// Calls the handlers of all forming batches.
    pub(super) fn close_all_batches(self: &Arc<Self>) {
        let all = self.executor.forming.close_all();
        all.into_iter().for_each(|tasks| self.call_batch(tasks));
    }

    /// An attempt was ended from outside: it leaves its batch, if that is still forming.
    pub(super) fn leave_batch(self: &Arc<Self>, attempt: &Attempt) {
        self.give_back_uncalled(self.executor.forming.leave(attempt));
    }

    /// Ends attempts whose handler was not called, and never will be. Their jobs go back, and no attempt is used up.
    pub(super) fn give_back_uncalled(self: &Arc<Self>, tasks: impl IntoIterator<Item = AttemptTask>) {
        for task in tasks {
            let attempt = task.attempt();
            self.executor.running.leave(attempt);
            let next = self.finished(attempt, Ending::Uncalled, false);
            debug_assert!(next.is_none(), "nothing was to be started");
        }
    }
}
