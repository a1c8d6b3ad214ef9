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
use std::{
    any::Any,
    pin::Pin,
    task::{Context, Poll},
};

#[cfg(feature = "wasm")]
use tokio::task::JoinError;

/// Where async handlers run.
#[derive(Clone)]
pub(crate) struct Tasks(tokio::runtime::Handle);

impl Tasks {
    pub fn on(runtime: tokio::runtime::Handle) -> Self {
        Self(runtime)
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

#[cfg(feature = "wasm")]
impl Tasks {
    /// The runtime that the caller's task runs on.
    pub fn current() -> Option<Self> {
        tokio::runtime::Handle::try_current().ok().map(Self)
    }

    /// On so many threads of that name and no others, which are there until the process ends. What waits for the network or for
    /// a time must do so in the context of another runtime: see [`Self::enter`].
    pub fn on_own_threads(name: &str, threads: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name(name).build()?;
        let tasks = Self(runtime.handle().clone());
        // Dropping it would end the threads.
        std::mem::forget(runtime);
        Ok(tasks)
    }

    /// What is made on this thread while the guard lives belongs to this runtime: connections, timers.
    pub fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.0.enter()
    }

    pub fn spawn_task<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> OtherTask<T> {
        OtherTask(self.0.spawn(task))
    }
}

/// A task on another runtime, and what comes of it.
#[cfg(feature = "wasm")]
pub(crate) struct OtherTask<T>(tokio::task::JoinHandle<T>);

#[cfg(feature = "wasm")]
impl<T: Send + 'static> OtherTask<T> {
    /// What it answers, or what it has panicked with.
    pub fn poll_end(&mut self, task: &mut Context<'_>) -> Poll<Result<T, Box<dyn Any + Send>>> {
        Pin::new(&mut self.0).poll(task).map(|end| end.map_err(JoinError::into_panic))
    }

    /// Has it dropped where it runs, at once or when it gives way. What is returned is ready when that has been done.
    pub fn end(self) -> impl Future<Output = ()> + Send + 'static {
        self.0.abort();
        async { drop(self.0.await) }
    }
}

/// Waits for a notification, but no longer than `at_most`: then the answer is true.
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    _mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    at_most: Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, result) = condvar.wait_timeout(guard, at_most).unwrap_or_else(|e| e.into_inner());
    (guard, result.timed_out())
}

/// Blocks this thread; [`timeout`] works inside.
pub(crate) fn block_on_with_timer<T>(task: impl Future<Output = T>) -> io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(task))
}

pub(crate) mod channel {
    pub(crate) use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, unbounded};

    use std::time::Duration;

    use crossbeam_channel::Select;

    /// Waits until a message is there, or `at_most` is over. Takes none.
    pub(crate) fn wait_for_message<T>(receiver: &Receiver<T>, at_most: Option<Duration>) {
        let mut select = Select::new();
        select.recv(receiver);
        match at_most {
            None => drop(select.ready()),
            Some(at_most) => drop(select.ready_timeout(at_most)),
        }
    }
}
