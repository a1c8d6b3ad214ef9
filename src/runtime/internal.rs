//! Commits that the engine itself asks for, without a caller.

use std::sync::Arc;

use super::engine::Engine;
use crate::error::Error;
use crate::storage::Batch;
use crate::sync::atomic::Ordering;
use crate::transaction::Prepare;
use crate::writer::{Command, Refusal, Step};

/// A step of the engine itself. The thread that answers its commit calls `after`, so it needs no task and no runtime.
struct Internal<T, W, A>
where
    A: FnOnce(&Arc<Engine>, Result<T, Error>),
{
    engine: Arc<Engine>,
    write: W,
    value: Option<T>,
    after: Option<A>,
    /// It moves many jobs.
    in_bulk: bool,
}

impl Engine {
    /// Runs `write` in the writer's batch, for the engine itself. `after` is called with the result, exactly once: on the
    /// writer's thread, or on this thread if the writer is gone. It must not take long, nor take a lock that this thread
    /// holds.
    pub(super) fn internally<T: Send + 'static>(
        self: &Arc<Self>,
        mut write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
        after: impl FnOnce(&Arc<Self>, Result<T, Error>) + Send + 'static,
    ) {
        self.send_step(move |batch: &mut Batch<'_>, _: &dyn Prepare| write(batch), after, false);
    }

    /// [`Self::internally`] for a `write` that asks dispatch, and moves many jobs.
    pub(super) fn internally_with<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnMut(&mut Batch<'_>, &dyn Prepare) -> Result<T, Error> + Send + 'static,
        after: impl FnOnce(&Arc<Self>, Result<T, Error>) + Send + 'static,
    ) {
        self.send_step(write, after, true);
    }

    /// [`Self::internally`] for a `write` that moves many jobs.
    pub(super) fn internally_in_bulk<T: Send + 'static>(
        self: &Arc<Self>,
        mut write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
        after: impl FnOnce(&Arc<Self>, Result<T, Error>) + Send + 'static,
    ) {
        self.send_step(move |batch: &mut Batch<'_>, _: &dyn Prepare| write(batch), after, true);
    }

    fn send_step<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnMut(&mut Batch<'_>, &dyn Prepare) -> Result<T, Error> + Send + 'static,
        after: impl FnOnce(&Arc<Self>, Result<T, Error>) + Send + 'static,
        in_bulk: bool,
    ) {
        let step = Internal { engine: self.clone(), write, value: None, after: Some(after), in_bulk };
        self.own_steps.fetch_add(1, Ordering::SeqCst);
        self.to_writer.send(Command::Step(Box::new(step)));
    }
}

impl<T, W, A> Internal<T, W, A>
where
    A: FnOnce(&Arc<Engine>, Result<T, Error>),
{
    fn end(&mut self, result: Result<T, Error>) {
        if let Some(after) = self.after.take() {
            after(&self.engine, result);
            self.engine.own_steps.fetch_sub(1, Ordering::SeqCst);
            self.engine.moved.notify_waiters();
        }
    }
}

impl<T, W, A> Step for Internal<T, W, A>
where
    T: Send,
    W: FnMut(&mut Batch<'_>, &dyn Prepare) -> Result<T, Error> + Send,
    A: FnOnce(&Arc<Engine>, Result<T, Error>) + Send,
{
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        self.value = Some((self.write)(batch, prepare)?);
        Ok(())
    }

    fn is_in_bulk(&self) -> bool {
        self.in_bulk
    }

    fn answer(mut self: Box<Self>, result: Result<(), Error>) {
        let value = self.value.take();
        self.end(result.map(|()| value.expect("applied before it is answered")));
    }
}

impl<T, W, A> Drop for Internal<T, W, A>
where
    A: FnOnce(&Arc<Engine>, Result<T, Error>),
{
    /// The writer has dropped the step without an answer: the file is closed, or the writer has panicked.
    fn drop(&mut self) {
        self.end(Err(Error::Closed));
    }
}
