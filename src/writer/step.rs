//! What the writer applies to a batch, and answers after the commit: the `Step` trait, and a step made of a closure.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use crate::error::Error;
use crate::job::QueueId;
use crate::storage::{Batch, Fault};
use crate::transaction::Prepare;

/// Why a command did not go into the batch.
pub(crate) enum Refusal {
    Error(Error),
    /// This queue is full: try again when there is room. Said before anything was written.
    Later(QueueId),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Error(fault.into())
    }
}

/// Something to be written in one commit with others, and somebody to be answered after it.
pub(crate) trait Step: Send {
    /// Writes. May be called again with a fresh batch if another command spoiled this one.
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal>;

    /// After the commit, or instead of it.
    fn answer(self: Box<Self>, result: Result<(), Error>);

    /// The first of these `full` queues that it puts jobs into and may wait for room in. It looks up its own queues,
    /// because many may be full.
    fn fills(&self, full: &BTreeSet<QueueId>) -> Option<QueueId> {
        let _ = full;
        None
    }

    /// Whether it would put anything there now: what is there already needs no room.
    fn needs_room(&self, batch: &mut Batch<'_>) -> bool {
        let _ = batch;
        true
    }

    /// It moves many jobs: it waits for another batch if this one has moved much already.
    fn is_in_bulk(&self) -> bool {
        false
    }

    /// Whether [`apply`](Self::apply) runs code of the application, which may fail after it has written.
    fn runs_application_code(&self) -> bool {
        false
    }

    /// How many bytes it holds while it waits.
    fn bytes(&self) -> usize {
        0
    }

    /// The handler that waits for its answer, if one does.
    fn handler(&self) -> Option<WaitingHandler> {
        None
    }

    /// Nobody waits for the answer any more: the call was dropped.
    fn is_abandoned(&self) -> bool {
        false
    }
}

/// A handler that waits for room holds its slot meanwhile, and its thread if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitingHandler {
    /// Of which queue it is; `None` if nothing can be said about what its wait would hold up.
    pub queue: Option<QueueId>,
    pub blocking: bool,
    /// So many handlers may wait at a time, and so many of those that have a thread.
    pub most: usize,
    pub most_blocking: usize,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;
pub(crate) type Answer<T> = oneshot::Receiver<Result<T, Error>>;

/// A step made of a function.
pub(crate) struct Call<T, F> {
    write: F,
    value: Option<T>,
    then: Option<Box<dyn FnOnce() + Send>>,
    /// It moves many jobs.
    in_bulk: bool,
    reply: Reply<T>,
}

impl<T: Default, F> Call<T, F> {
    /// Nothing of its own to write: it only wants to be answered.
    pub fn answered(mut self: Box<Self>) -> Box<Self> {
        self.value = Some(T::default());
        self
    }
}

impl<T, F> Call<T, F> {
    /// Has `then` done after the commit, or instead of it, before the caller is answered and even if
    /// the caller no longer waits.
    pub fn then(mut self: Box<Self>, then: impl FnOnce() + Send + 'static) -> Box<Self> {
        self.then = Some(Box::new(then));
        self
    }

    /// It moves many jobs: it waits for another batch if this one has moved much already.
    pub fn in_bulk(mut self: Box<Self>) -> Box<Self> {
        self.in_bulk = true;
        self
    }
}

/// Makes a step of `write`; whoever holds the receiver gets what it returned, once it is durable.
pub(crate) fn call<T, F>(write: F) -> (Box<Call<T, F>>, Answer<T>)
where
    F: FnMut(&mut Batch<'_>) -> Result<T, Error> + Send,
    T: Send,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Call { write, value: None, then: None, in_bulk: false, reply }), answer)
}

impl<T, F> Step for Call<T, F>
where
    F: FnMut(&mut Batch<'_>) -> Result<T, Error> + Send,
    T: Send,
{
    fn apply(&mut self, batch: &mut Batch<'_>, _: &dyn Prepare) -> Result<(), Refusal> {
        self.value = Some((self.write)(batch)?);
        Ok(())
    }

    fn is_in_bulk(&self) -> bool {
        self.in_bulk
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let Self { value, then, reply, .. } = *self;
        if let Some(then) = then {
            then();
        }
        let answer = result.map(|()| value.expect("applied before it is answered"));
        // The caller may have dropped the call.
        let _ = reply.send(answer);
    }
}
