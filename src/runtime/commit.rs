//! The future of a call that is answered when its commit is durable.

use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Error;
use crate::transaction::check_may_wait;

/// A call that is answered when its commit is durable: `.await` it, or [`wait`](Self::wait) for it
/// on a thread that may block.
///
/// Like every future it does nothing before it is polled. If it is dropped before that, nothing happens. If it is dropped
/// later, the change may be made nevertheless.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
/// let next = std::thread::spawn(move || pond.enqueue("billing", NewJob::json("charge", &8)).wait());
/// assert!(next.join().unwrap()? > id);
/// # Ok(()) });
/// ```
#[must_use = "nothing happens until it is awaited, or waited for with `.wait()`"]
pub struct Commit<T> {
    future: Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>,
}

impl<T> Commit<T> {
    pub(crate) fn new(future: impl Future<Output = Result<T, Error>> + Send + 'static) -> Self {
        Self { future: Box::pin(future) }
    }

    /// Blocks this thread until the commit is durable.
    ///
    /// # Errors
    /// Those of the call, and [`Error::WouldDeadlock`] where the queue waits for the caller: inside a transaction, or in
    /// a callback.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn wait(self) -> Result<T, Error> {
        let _blocked = Blocked::enter();
        // In a task of a runtime, the runtime would let it be woken only after the task has returned to it.
        crate::sync::block_on(tokio::task::unconstrained(self))
    }
}

crate::sync::thread_local! {
    static BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// A thread that waits for its commit.
struct Blocked {
    /// The thread did so already: while it waited, it dropped something that waits for a commit of its own.
    before: bool,
    _of_this_thread: PhantomData<*const ()>,
}

impl Blocked {
    fn enter() -> Self {
        Self { before: BLOCKED.with(|blocked| blocked.replace(true)), _of_this_thread: PhantomData }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        BLOCKED.with(|blocked| blocked.set(self.before));
    }
}

/// Whether this thread blocks until its commit is durable.
pub(super) fn is_blocked() -> bool {
    BLOCKED.with(Cell::get)
}

impl<T> Future for Commit<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Inside a transaction or a callback this would wait for the commit that the same thread holds up.
        if let Err(error) = check_may_wait() {
            return Poll::Ready(Err(error));
        }
        self.future.as_mut().poll(cx)
    }
}

impl<T> std::fmt::Debug for Commit<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commit").finish_non_exhaustive()
    }
}
