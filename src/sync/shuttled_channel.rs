//! The part of crossbeam's channels that this crate uses, for the shuttle tests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use shuttle::sync::{Condvar, Mutex, MutexGuard};

pub(crate) use crossbeam_channel::{RecvTimeoutError, SendError, TryRecvError};

struct Channel<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    senders: usize,
    receivers: usize,
}

impl<T> Channel<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

pub(crate) struct Sender<T>(Arc<Channel<T>>);
pub(crate) struct Receiver<T>(Arc<Channel<T>>);

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), senders: 1, receivers: 1 };
    let channel = Arc::new(Channel { state: Mutex::new(state), changed: Condvar::new() });
    (Sender(channel.clone()), Receiver(channel))
}

/// A bounded channel that is never full: this crate sends no more messages than fit.
pub(crate) fn bounded<T>(_: usize) -> (Sender<T>, Receiver<T>) {
    unbounded()
}

impl<T> Sender<T> {
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut state = self.0.lock();
        if state.receivers == 0 {
            return Err(SendError(value));
        }
        state.queue.push_back(value);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.lock().queue.len()
    }
}

impl<T> Receiver<T> {
    pub fn len(&self) -> usize {
        self.0.lock().queue.len()
    }

    /// Waits until there is a message, or until there can be none any more.
    fn wait(&self) -> MutexGuard<'_, State<T>> {
        let mut state = self.0.lock();
        while state.queue.is_empty() && state.senders > 0 {
            state = self.0.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        state
    }

    /// The time can be over at any moment: the schedule decides.
    pub fn recv_timeout(&self, _: Duration) -> Result<T, RecvTimeoutError> {
        for _ in 0..shuttle::rand::Rng::gen_range(&mut shuttle::rand::thread_rng(), 1..4) {
            match self.try_recv() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => shuttle::thread::yield_now(),
            }
        }
        Err(RecvTimeoutError::Timeout)
    }

    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.lock();
        match state.queue.pop_front() {
            Some(value) => Ok(value),
            None if state.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.try_recv().ok())
    }
}

/// Waits until there is a message. If a time is given, it can be over at any moment: the schedule decides.
pub(crate) fn wait_for_message<T>(receiver: &Receiver<T>, at_most: Option<Duration>) {
    match at_most {
        Some(_) => shuttle::thread::yield_now(),
        None => drop(receiver.wait()),
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.lock().receivers += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receivers -= 1;
        // As in crossbeam, messages that no receiver can receive any more are dropped now.
        let left = if state.receivers == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        drop(state);
        drop(left);
    }
}
