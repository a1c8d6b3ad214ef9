//! The locks and tasks that the crate uses in the shuttle tests.

pub(crate) use super::shuttled_channel as channel;
pub(crate) use shuttle::future::{block_on, yield_now};
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic};
pub(crate) use shuttle::{thread, thread_local};

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// The runtime on which async handlers run: each is a task in the test's schedule.
#[derive(Clone)]
pub(crate) struct Tasks;

impl Tasks {
    pub fn on(_: tokio::runtime::Handle) -> Self {
        Self
    }

    pub fn in_context<T>(&self, run: impl FnOnce() -> T) -> T {
        run()
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(shuttle::future::spawn(task));
    }
}

/// A timeout can be over at any time: the schedule decides.
pub(crate) async fn timeout<T>(_: Duration, task: impl Future<Output = T>) -> Result<T, ()> {
    let mut task = pin!(task);
    poll_fn(|cx| match task.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending if shuttle::rand::Rng::gen_bool(&mut shuttle::rand::thread_rng(), 0.1) => Poll::Ready(Err(())),
        Poll::Pending => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Waits for a notification. The time can be over at any moment: the schedule decides.
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
    _: Duration,
) -> (MutexGuard<'a, T>, bool) {
    if shuttle::rand::Rng::gen_bool(&mut shuttle::rand::thread_rng(), 0.3) {
        drop(guard);
        thread::yield_now();
        (mutex.lock().unwrap_or_else(|e| e.into_inner()), true)
    } else {
        (condvar.wait(guard).unwrap_or_else(|e| e.into_inner()), false)
    }
}

pub(crate) fn block_on_with_timer<T>(task: impl Future<Output = T>) -> io::Result<T> {
    Ok(block_on(task))
}
