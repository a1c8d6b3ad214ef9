//! Which worker each queue has: gives a queue its worker, changes its slots and takes it away.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::engine::{Engine, Flag};
use crate::error::Error;
use crate::error::panics::Quiet;
use crate::executor::Binding;
use crate::job::{IdMap, QueueId};
use crate::scheduler::WorkerLimits;
use crate::sync::{RwLockReadGuard, RwLockWriteGuard, thread};

/// A worker that is about to start.
pub(crate) struct WorkerConfig {
    pub binding: Binding,
    pub limits: WorkerLimits,
}

type Bindings = IdMap<Arc<Binding>, QueueId>;

impl Engine {
    fn bindings(&self) -> RwLockReadGuard<'_, Bindings> {
        self.bindings.read().unwrap_or_else(|e| e.into_inner())
    }

    /// The workers, to change them. The scheduler's lock may be taken while this is held, but not the other way round.
    pub(super) fn bindings_mut(&self) -> RwLockWriteGuard<'_, Bindings> {
        self.bindings.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Gives a queue its worker. The returned binding identifies the worker from then on.
    pub fn bind(&self, queue: QueueId, worker: WorkerConfig) -> Result<Weak<Binding>, Error> {
        let mut bindings = self.bindings_mut();
        if self.is_stopping() {
            return Err(Error::Closed);
        }
        if worker.binding.needs_runtime() && self.runtime_ended().is_some() {
            return Err(Error::RuntimeEnded);
        }
        if bindings.contains_key(&queue) {
            return Err(Error::WorkerExists { queue: self.queue_name(queue).to_string() });
        }
        let binding = Arc::new(worker.binding);
        let identity = Arc::downgrade(&binding);
        bindings.insert(queue, binding);
        self.scheduler().open_queue(queue, worker.limits, self.now());
        drop(bindings);
        self.upkeep().worker_started(&identity);
        self.wake_dispatcher();
        Ok(identity)
    }

    /// Takes a queue's worker away. Returns false if the queue has none, or another one by now.
    pub fn unbind(self: &Arc<Self>, queue: QueueId, worker: &Weak<Binding>) -> bool {
        let mut bindings = self.bindings_mut();
        let is_bound = bindings.get(&queue).is_some_and(|binding| is_same(binding, worker));
        if is_bound {
            self.close_queue(queue);
            let binding = bindings.remove(&queue);
            let waiting =
                binding.iter().flat_map(|binding| self.executor.forming.close(queue, binding)).collect::<Vec<_>>();
            // Handlers may hold the last handle of this queue: drop them outside the lock.
            drop(bindings);
            self.give_back_uncalled(waiting);
            drop(binding);
        }
        is_bound
    }

    /// Takes away the workers that have an async handler.
    pub(super) fn unbind_async_workers(self: &Arc<Self>) {
        let mut bindings = self.bindings_mut();
        let ended: Vec<_> = bindings.extract_if(|_, binding| binding.needs_runtime()).collect();
        let mut waiting = Vec::new();
        for (queue, binding) in &ended {
            self.close_queue(*queue);
            waiting.extend(self.executor.forming.close(*queue, binding));
        }
        // Handlers may hold the last handle of this queue: drop them outside the lock.
        drop(bindings);
        self.give_back_uncalled(waiting);
        drop(ended);
    }

    /// Tells the scheduler that a queue loses its worker. Called before the worker is dropped, because the worker keeps the
    /// queue's number in use.
    fn close_queue(&self, queue: QueueId) {
        let is_stored = self.store.catalog.is_stored(queue);
        let mut scheduler = self.scheduler();
        scheduler.close_queue(queue);
        if !is_stored {
            scheduler.forget_queue(queue);
        }
    }

    /// Changes the slots of a queue's worker. Returns false if the queue does not have this worker any more.
    pub fn set_concurrency(&self, queue: QueueId, worker: &Weak<Binding>, jobs: usize) -> bool {
        let bindings = self.bindings();
        let current = bindings.get(&queue).is_some_and(|binding| is_same(binding, worker));
        if current {
            self.scheduler().set_concurrency(queue, jobs);
            self.wake_dispatcher();
        }
        current
    }

    /// The worker of a queue, if it has one.
    pub(super) fn binding(&self, queue: QueueId) -> Option<Arc<Binding>> {
        self.bindings().get(&queue).cloned()
    }

    /// All workers.
    pub(super) fn workers(&self) -> Vec<(QueueId, Arc<Binding>)> {
        self.bindings().iter().map(|(queue, binding)| (*queue, binding.clone())).collect()
    }

    pub fn has_worker(&self, queue: QueueId) -> bool {
        self.binding(queue).is_some()
    }

    /// Takes all workers away, for a stop. What they hold is dropped on a thread of its own: that runs code of the
    /// application, and a caller that stops the queue waits no longer than the deadline that it gave.
    pub(super) fn unbind_all(&self) {
        let workers = std::mem::take(&mut *self.bindings_mut());
        let needs_thread = !workers.is_empty() && !self.config.stepped;
        let cleanup = Cleanup { workers: Quiet::new(workers), done: self.workers_dropped.clone() };
        if needs_thread {
            // If no thread can be started, this drops `cleanup` here.
            let _ = thread::Builder::new().name("millpond-cleanup".into()).spawn(move || drop(cleanup));
        }
    }

    /// Blocks this thread until a stop has dropped all workers, for `at_most` this long. Returns whether it has.
    pub(super) fn wait_until_workers_are_dropped(&self, at_most: Duration) -> bool {
        self.workers_dropped.wait(at_most)
    }
}

/// Workers that a stop has taken away. Dropping this drops them, and then raises the flag.
struct Cleanup {
    workers: Quiet<Bindings>,
    done: Arc<Flag>,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // A handler may hold the last handle of this queue, or wait for the queue, and then finds it closed.
        drop(std::mem::replace(&mut self.workers, Quiet::new(IdMap::default())));
        self.done.raise();
    }
}

fn is_same(binding: &Arc<Binding>, worker: &Weak<Binding>) -> bool {
    std::ptr::eq(Arc::as_ptr(binding), worker.as_ptr())
}
