use std::sync::Arc;
use std::time::Duration;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::channel::{Receiver, Sender, unbounded};
use crate::sync::thread;

type Task = Box<dyn FnOnce() + Send>;

/// A thread that has had nothing to do for this long ends.
const IDLE: Duration = Duration::from_secs(10);

/// Threads for handlers that block: made when needed, at most so many.
pub(crate) struct BlockingPool {
    sender: Sender<Task>,
    receiver: Receiver<Task>,
    threads_max: usize,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    threads: AtomicUsize,
    idle: AtomicUsize,
}

impl BlockingPool {
    pub fn new(threads_max: usize) -> Self {
        // Unbounded by type: each task is a job that holds a slot, and those are bounded.
        let (sender, receiver) = unbounded();
        Self { sender, receiver, threads_max, counts: Arc::default() }
    }

    /// Has `task` done by a thread of the pool. It waits if all of them are busy.
    pub fn spawn(&self, task: Task) {
        self.sender.send(task).expect("the pool holds the receiver itself");
        let queued = self.sender.len();
        let Counts { threads, idle } = &*self.counts;
        if queued > idle.load(Ordering::SeqCst)
            && threads
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < self.threads_max).then_some(n + 1))
                .is_ok()
        {
            self.start_thread();
        }
    }

    fn start_thread(&self) {
        let (receiver, counts) = (self.receiver.clone(), self.counts.clone());
        let started = thread::Builder::new().name("millpond-blocking".into()).spawn(move || {
            while let Some(task) = next(&receiver, &counts) {
                task();
            }
            counts.threads.fetch_sub(1, Ordering::SeqCst);
        });
        if let Err(error) = started {
            self.counts.threads.fetch_sub(1, Ordering::SeqCst);
            tracing::error!(%error, "could not start a thread for blocking handlers");
        }
    }
}

fn next(receiver: &Receiver<Task>, counts: &Counts) -> Option<Task> {
    counts.idle.fetch_add(1, Ordering::SeqCst);
    let task = receiver.recv_timeout(IDLE).ok();
    counts.idle.fetch_sub(1, Ordering::SeqCst);
    // One more look: a task may have come while this thread still counted as idle.
    task.or_else(|| receiver.try_recv().ok())
}
