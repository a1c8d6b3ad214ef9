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
/// Like every future it does nothing until then. Dropped before it was ever polled, it leaves no
/// trace; dropped later, what it asked for may happen all the same.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
/// let next = std::thread::spawn(move || pond.enqueue("billing", NewJob::json("charge", &8)).wait());
/// assert!(next.join().unwrap()? > id);
/// # Ok(()) }
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
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn wait(self) -> Result<T, Error> {
        let _blocked = Blocked::enter();
        crate::sync::block_on(self)
    }
}

crate::sync::thread_local! {
    static BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// A thread that waits for its commit.
struct Blocked {
    /// It did before: what it waited for has dropped something that waits for a commit of its own.
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

/// Whether this thread does nothing but wait for a commit.
pub(super) fn is_blocked() -> bool {
    BLOCKED.with(Cell::get)
}

impl<T> Future for Commit<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Polled inside a transaction or a callback, it could only wait for the very commit that it holds up.
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
