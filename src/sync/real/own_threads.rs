//! Tasks on threads that the crate starts itself, for plugins that compute.

use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinError;

use super::Tasks;

impl Tasks {
    /// The runtime that the caller's task runs on.
    pub fn current() -> Option<Self> {
        tokio::runtime::Handle::try_current().ok().map(Self)
    }

    /// Makes a runtime with this number of threads of this name, which run until the process ends. Tasks that wait for the
    /// network or for a time must do so in the context of another runtime: see [`Self::enter`].
    pub fn on_own_threads(name: &str, threads: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name(name).build()?;
        let tasks = Self(runtime.handle().clone());
        // A drop would end the threads.
        std::mem::forget(runtime);
        Ok(tasks)
    }

    /// Connections and timers that are made on this thread until the guard is dropped belong to this runtime.
    pub fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.0.enter()
    }

    pub fn spawn_task<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> OtherTask<T> {
        OtherTask(self.0.spawn(task))
    }
}

/// A task on another runtime.
pub(crate) struct OtherTask<T>(tokio::task::JoinHandle<T>);

impl<T: Send + 'static> OtherTask<T> {
    /// Waits for its result, or for the value of its panic.
    pub fn poll_end(&mut self, task: &mut Context<'_>) -> Poll<Result<T, Box<dyn Any + Send>>> {
        Pin::new(&mut self.0).poll(task).map(|end| end.map_err(JoinError::into_panic))
    }

    /// Has the task dropped on its runtime, at once or when it next yields. The returned future is ready once it was dropped.
    pub fn end(self) -> impl Future<Output = ()> + Send + 'static {
        self.0.abort();
        async { drop(self.0.await) }
    }
}
