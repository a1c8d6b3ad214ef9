//! The locks, tasks and timeouts that the crate uses outside of the shuttle tests.

pub(crate) use pollster::block_on;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
pub(crate) use std::{thread, thread_local};
pub(crate) use tokio::task::yield_now;
pub(crate) use tokio::time::timeout;

use std::future::Future;
use std::io;
use std::time::Duration;

#[cfg(feature = "wasm")]
mod own_threads;
#[cfg(feature = "wasm")]
pub(crate) use own_threads::OtherTask;

/// The async runtime on which async handlers run.
#[derive(Clone)]
pub(crate) struct Tasks(tokio::runtime::Handle);

impl Tasks {
    pub fn on(runtime: tokio::runtime::Handle) -> Self {
        Self(runtime)
    }

    /// Runs `run` on this thread in the context of the runtime, unless the thread is ending and can have none.
    pub fn in_context<T>(&self, run: impl FnOnce() -> T) -> T {
        let is_ending = tokio::runtime::Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed());
        let _entered = (!is_ending).then(|| self.0.enter());
        run()
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

/// Waits for a notification, but no longer than `at_most`. Returns true if the time is over.
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    _mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    at_most: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, result) = condvar.wait_timeout(guard, at_most).unwrap_or_else(|e| e.into_inner());
    (guard, result.timed_out())
}

/// Runs the future on this thread and blocks it until the future is ready. [`timeout`] works inside.
pub(crate) fn block_on_with_timer<T>(task: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(task))
}

pub(crate) mod channel {
    pub(crate) use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};

    use std::time::Duration;

    use crossbeam_channel::Select;

    /// Waits until there is a message, or `at_most` is over. The message is not received.
    pub(crate) fn wait_for_message<T>(receiver: &Receiver<T>, at_most: Option<Duration>) {
        let mut select = Select::new();
        select.recv(receiver);
        match at_most {
            None => drop(select.ready()),
            Some(at_most) => drop(select.ready_timeout(at_most)),
        }
    }
}
