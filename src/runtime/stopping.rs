//! Waits until the jobs of a worker that was stopped have ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use super::commit::Commit;
use super::engine::Engine;
use crate::error::Error;
use crate::executor::Binding;
use crate::handler::handler_here;
use crate::job::QueueId;

/// What [`Worker::stop`](crate::Worker::stop) returns. The worker is stopped already: `.await` this, or call
/// [`wait`](Self::wait), to wait until its running jobs have ended too, and their ends are durable. Drop it to not wait.
///
/// # Errors
/// [`Error::WouldDeadlock`] in a handler of the same queue, which would wait for itself, and where the queue waits for the
/// caller: inside a transaction, or in a callback. [`Error::Forked`].
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let worker = pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
/// let deadline = std::time::Duration::from_secs(10);
/// if tokio::time::timeout(deadline, worker.stop()).await.is_err() {
///     eprintln!("{} jobs of the worker are still running", worker.running());
/// }
/// # Ok(()) });
/// ```
pub struct Stopping(Commit<()>);

impl Stopping {
    pub(crate) fn new(engine: Arc<Engine>, queue: QueueId, worker: Weak<Binding>) -> Self {
        let here = handler_here();
        let waits_for_itself =
            here.is_some_and(|it| it.queue == queue && it.executor == engine.executor.running.identity());
        Self(Commit::new(async move {
            engine.store.check_process()?;
            if waits_for_itself {
                return Err(Error::WouldDeadlock);
            }
            engine.ended(queue, &worker).await;
            Ok(())
        }))
    }

    /// Blocks this thread until the worker's running jobs have ended.
    ///
    /// # Errors
    /// As when it is awaited.
    pub fn wait(self) -> Result<(), Error> {
        self.0.wait()
    }
}

impl Future for Stopping {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl std::fmt::Debug for Stopping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopping").finish_non_exhaustive()
    }
}

impl Engine {
    /// Waits until no job of `queue` that was handed out to this worker is left.
    async fn ended(&self, queue: QueueId, worker: &Weak<Binding>) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            // The jobs of a worker that followed count among those of the queue. Then the attempts of this worker, which hold
            // its binding, tell whether one is left.
            let has_successor = self.has_worker(queue);
            let has_ended = self.scheduler().handed_out_in(queue) == 0 || has_successor && worker.strong_count() == 0;
            if has_ended || self.is_closed() {
                return;
            }
            moved.await;
        }
    }
}
