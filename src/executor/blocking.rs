//! The pool of threads that runs blocking handlers.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::panics;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, thread, wait_timeout};

type Task = Box<dyn FnOnce() + Send>;

/// A thread that has had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);

/// How long to wait before another try when the system has refused a thread.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Threads for handlers that block. They are started when they are needed, up to a limit.
pub(crate) struct BlockingPool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified for each task that an idle thread is to run.
    tasks: Condvar,
    threads_max: usize,
    /// The system has refused a thread that a task waits for.
    lacks_a_thread: AtomicBool,
    #[cfg(test)]
    refuse: AtomicBool,
}

/// All of this changes under one lock, so that a task for which no thread is started, because one is idle, is in the queue
/// before that thread checks the queue for the last time.
#[derive(Default)]
struct State {
    /// It needs no limit of its own: each task is a job that holds a slot, and slots are limited.
    queue: VecDeque<Task>,
    threads: usize,
    /// Threads that wait for a task, or that were woken or started and have not checked the queue yet. Each checks it before it
    /// waits or ends.
    idle: usize,
    /// The pool is gone: threads end as soon as the queue is empty.
    closed: bool,
    /// The pool starts no threads: a test runs its tasks by hand.
    by_hand: bool,
}

impl BlockingPool {
    pub fn new(threads_max: usize) -> Self {
        let shared = Shared {
            state: Mutex::new(State::default()),
            tasks: Condvar::new(),
            threads_max,
            lacks_a_thread: AtomicBool::new(false),
            #[cfg(test)]
            refuse: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Has a thread of the pool run `task`, which waits while all threads are busy. Returns false if the system has refused to
    /// start a thread for it: then call [`Self::retry`].
    pub fn spawn(&self, task: Task) -> bool {
        let mut state = self.shared.lock();
        state.queue.push_back(task);
        self.provide_threads(state)
    }

    /// Starts no threads from now on: tasks wait for [`Self::run_one`].
    pub fn step_by_hand(&self) {
        self.shared.lock().by_hand = true;
    }

    /// Runs the first waiting task on this thread. Returns false if there was none.
    pub fn run_one(&self) -> bool {
        let Some(task) = self.shared.lock().queue.pop_front() else { return false };
        task();
        true
    }

    /// How many tasks wait for a thread.
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Drops the waiting tasks, because they hold the engine, which holds this pool.
    pub fn forget_waiting(&self) {
        let queue = std::mem::take(&mut self.shared.lock().queue);
        drop(queue);
    }

    /// Tries again to start the threads that the system has refused. Returns after what time to call this again, if the system
    /// still refuses.
    pub fn retry(&self) -> Option<Duration> {
        if !self.shared.lacks_a_thread.swap(false, Ordering::SeqCst) {
            return None;
        }
        let has_threads = self.provide_threads(self.shared.lock());
        (!has_threads).then_some(TRY_AGAIN)
    }

    /// Wakes an idle thread, and starts threads while there are more tasks than idle threads. The caller has held the lock since
    /// it added a task, so no thread has checked the queue in between. Returns false if the system has refused a thread.
    fn provide_threads<'a>(&'a self, mut state: MutexGuard<'a, State>) -> bool {
        if state.by_hand {
            return true;
        }
        if state.idle > 0 {
            self.shared.tasks.notify_one();
        }
        while state.queue.len() > state.idle && state.threads < self.shared.threads_max {
            state.threads += 1;
            state.idle += 1;
            drop(state);
            let started = self.shared.start_thread();
            state = self.shared.lock();
            if let Err(error) = started {
                state.threads -= 1;
                state.idle -= 1;
                drop(state);
                self.shared.lacks_a_thread.store(true, Ordering::SeqCst);
                tracing::error!(%error, "could not start a thread for blocking handlers: trying again");
                return false;
            }
        }
        true
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.tasks.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        #[cfg(test)]
        if self.refuse.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let shared = self.clone();
        thread::Builder::new().name("millpond-blocking".into()).spawn(move || shared.work()).map(drop)
    }

    /// Runs tasks until there were none for [`IDLE`]. The thread counts as idle when it begins.
    fn work(&self) {
        let mut state = self.lock();
        state.idle -= 1;
        let mut time_is_over = false;
        loop {
            if let Some(task) = state.queue.pop_front() {
                drop(state);
                if let Err(panic) = panics::catch(task) {
                    tracing::error!(panic, "the end of a blocking attempt could not be reported");
                }
                time_is_over = false;
                state = self.lock();
            } else if time_is_over || state.closed {
                state.threads -= 1;
                return;
            } else {
                state.idle += 1;
                (state, time_is_over) = wait_timeout(&self.tasks, &self.state, state, IDLE);
                state.idle -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::channel::unbounded;

    #[test]
    fn a_task_whose_thread_was_refused_runs_once_one_can_be_started() {
        let pool = BlockingPool::new(2);
        let (sender, ran) = unbounded();
        pool.shared.refuse.store(true, Ordering::SeqCst);
        pool.spawn(Box::new(move || sender.send(()).unwrap()));
        assert_eq!(pool.retry(), Some(TRY_AGAIN));
        assert!(ran.is_empty());
        pool.shared.refuse.store(false, Ordering::SeqCst);
        assert_eq!(pool.retry(), None);
        ran.recv().unwrap();
        assert_eq!(pool.shared.lock().threads, 1);
    }

    #[test]
    fn all_tasks_whose_threads_were_refused_run_once_they_can_be_started() {
        let pool = BlockingPool::new(4);
        let all_run = Arc::new(std::sync::Barrier::new(4));
        pool.shared.refuse.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let all_run = all_run.clone();
            let task = Box::new(move || {
                all_run.wait();
            });
            assert!(!pool.spawn(task), "the caller is told that it is to try again");
        }
        pool.shared.refuse.store(false, Ordering::SeqCst);
        assert_eq!(pool.retry(), None);
        assert_eq!(pool.shared.lock().threads, 3);
        // Each task holds a thread until all of them run.
        all_run.wait();
    }

    #[test]
    fn no_more_threads_are_started_than_there_are_tasks() {
        let pool = BlockingPool::new(8);
        let (gate, held) = (Arc::new(Mutex::new(())), unbounded());
        let closed = gate.lock().unwrap();
        for started in 1..=3 {
            let (gate, sender) = (gate.clone(), held.0.clone());
            assert!(pool.spawn(Box::new(move || {
                drop(gate.lock().unwrap());
                sender.send(()).unwrap();
            })));
            assert_eq!(pool.shared.lock().threads, started);
        }
        drop(closed);
        (0..3).for_each(|_| held.1.recv().unwrap());
    }

    #[test]
    fn a_thread_survives_a_task_that_panics() {
        let pool = BlockingPool::new(1);
        let (sender, ran) = unbounded();
        pool.spawn(Box::new(|| panic!("a task")));
        pool.spawn(Box::new(move || sender.send(()).unwrap()));
        ran.recv().unwrap();
        assert_eq!(pool.shared.lock().threads, 1);
    }
}
