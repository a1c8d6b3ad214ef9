//! An attempt that a task is to run, and what is reported of it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use super::attempt::Attempt;
use crate::job::Ending;

/// What the executor reports of its attempts.
pub(crate) trait Report: Send + Sync + 'static {
    /// A handler is called late: the attempt was handed out a while ago, and its start is not written yet.
    fn called_late(&self, attempt: &Attempt);

    /// A handler is about to be called.
    fn called(&self, attempt: &Attempt);

    /// A deadline is sooner than all that the dispatcher knows.
    fn next_deadline(&self);

    /// An attempt has ended. Called exactly once for each attempt that is not lost. Returns the next attempt, if the same task is
    /// to run it, which saves spawning a task.
    fn ended(&self, attempt: Arc<Attempt>, ending: Ending) -> Option<AttemptTask>;

    /// The attempts of one batch have ended together. Called once for each of them.
    fn ended_together(&self, ended: Vec<(Arc<Attempt>, Ending)>);

    /// Called instead of [`ended`](Self::ended) if the task is dropped before the attempt has ended.
    fn lost(&self, lost: Lost);
}

/// An attempt that was entered, and that a task or a thread is to run.
pub(crate) struct AttemptTask {
    pub(super) attempt: Arc<Attempt>,
    pub(super) span: tracing::Span,
    /// Whether the attempt's deadline is the next one.
    pub next_deadline: bool,
    /// Whether other tasks of the application's runtime run before it.
    pub yield_first: bool,
}

impl AttemptTask {
    /// Whether a task that runs attempts one after another can run it.
    pub fn runs_in_turn(&self) -> bool {
        !self.attempt.blocking && !self.joins_a_batch()
    }

    /// Whether its handler is a batch handler: then call [`FormingBatches::join`].
    pub fn joins_a_batch(&self) -> bool {
        self.attempt.is_batched
    }

    pub fn attempt(&self) -> &Arc<Attempt> {
        &self.attempt
    }
}

/// An attempt whose task was dropped before it had ended.
pub(crate) enum Lost {
    /// The runtime has ended and has dropped its tasks.
    WithItsRuntime(Arc<Attempt>),
    /// A panic outside the handler has ended the task: a subscriber of `tracing` may panic.
    ByAPanic(Arc<Attempt>, Ending),
}

/// The future, which notes in `is_polled` whether its task is being polled. It is being polled when this is called.
pub(super) fn noting<T>(
    is_polled: &mut bool,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = T> {
    poll_fn(move |cx| {
        *is_polled = true;
        let poll = future.as_mut().poll(cx);
        *is_polled = poll.is_ready();
        poll
    })
}
