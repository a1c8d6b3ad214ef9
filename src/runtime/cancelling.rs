//! What follows a durable request to cancel a running job: its handler is told to stop.

use std::sync::Arc;

use super::engine::Engine;
use crate::executor::Attempt;
use crate::job::{CancelOutcome, Ending, JobId};
use crate::scheduler::Start;
use crate::storage::{KnownQueue, Target};

impl Engine {
    /// Why the cancel of this running job was requested, if it was.
    pub fn cancel_requested(&self, id: JobId) -> Option<Arc<str>> {
        self.cancels.reason(id)
    }

    /// Tells the handlers of these jobs to stop. Called after dispatch was told of the commit with the requests.
    pub(super) fn tell_cancelled(self: &Arc<Self>, ids: impl IntoIterator<Item = JobId>) {
        for id in ids {
            let handed_out = self.scheduler().is_handed_out(id);
            match self.executor.running.get(id) {
                Some(attempt) if handed_out => self.tell_to_stop(&attempt),
                // It is not entered yet: its attempt finds the request once it is.
                _ if handed_out => {}
                _ => self.cancel_given_back(id),
            }
        }
    }

    /// Tells the handler of this attempt to stop, and ends the attempt after the grace.
    fn tell_to_stop(self: &Arc<Self>, attempt: &Arc<Attempt>) {
        let by = self.now().mono.saturating_add(self.config.cancel_grace);
        if self.executor.running.cancel(attempt, by) {
            self.wake_dispatcher();
        }
        self.leave_batch(attempt);
    }

    /// Checks whether the cancel of a job was requested before its attempt was entered.
    pub(super) fn check_cancelled(self: &Arc<Self>, id: JobId) {
        if self.cancels.reason(id).is_some()
            && let Some(attempt) = self.executor.running.get(id)
        {
            self.tell_to_stop(&attempt);
        }
    }

    /// A job that was handed out and did not start goes back. Returns the start if its cancel was not requested; otherwise the
    /// job ends.
    pub(super) fn unless_cancelled(self: &Arc<Self>, start: Start) -> Option<Start> {
        if self.cancels.reason(start.job.id).is_none() {
            return Some(start);
        }
        if self.scheduler().finished(start.run) {
            self.end_unstarted(start, Ending::Uncalled);
        }
        None
    }

    /// Cancels a job that was given back while its cancel was being requested.
    fn cancel_given_back(self: &Arc<Self>, id: JobId) {
        let Some(reason) = self.cancels.reason(id) else { return };
        let prepare = self.prepare.clone();
        self.internally(
            move |batch| {
                let target = Target { id, queue: KnownQueue::NotSearched, taken: prepare.withdraw(id).taken_from() };
                batch.cancel_job(target, &reason)
            },
            move |engine, result| match result {
                Ok(CancelOutcome::Requested) => engine.tell_cancelled([id]),
                // If the file cannot be written now, the mark stays, and the request is tried again when it can.
                Err(error) if error.is_of_the_writer() => {
                    tracing::debug!(job = %id, %error, "a cancel waits for the disk")
                }
                _ => engine.cancels.forget(id),
            },
        );
    }

    /// Tells handlers again after the file was opened again.
    pub(super) fn tell_cancelled_again(self: &Arc<Self>) {
        self.tell_cancelled(self.cancels.ids());
    }
}
