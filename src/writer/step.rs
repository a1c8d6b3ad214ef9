//! The trait [`Step`], which the writer applies to a batch and answers after the commit, and a step made of a closure.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use crate::error::Error;
use crate::job::QueueId;
use crate::storage::{Batch, Fault};
use crate::transaction::Prepare;

/// Why a command was not written in the batch.
pub(crate) enum Refusal {
    Error(Error),
    /// This queue is full: try again when there is room. Only returned before anything was written.
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

/// A change that is written in one commit with others, and a caller that is answered after it.
pub(crate) trait Step: Send {
    /// Writes to the batch. It can be called again with a new batch, if this one is undone because of another command.
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal>;

    /// Answers the caller, after the commit or instead of it.
    fn answer(self: Box<Self>, result: Result<(), Error>);

    /// The first of these `full` queues into which it puts jobs. It looks up its own queues in `full`, because many can be
    /// full.
    fn fills(&self, full: &BTreeSet<QueueId>) -> Option<QueueId> {
        let _ = full;
        None
    }

    /// Whether it would store anything now: jobs that are stored already need no room.
    fn needs_room(&self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> bool {
        let _ = (batch, prepare);
        true
    }

    /// Whether it moves many jobs. Then it waits for another batch if this one has moved many bytes already.
    fn is_in_bulk(&self) -> bool {
        false
    }

    /// Whether [`apply`](Self::apply) runs code of the application, which may fail after it has written.
    fn runs_application_code(&self) -> bool {
        false
    }

    /// How many bytes it holds in memory while it waits.
    fn bytes(&self) -> usize {
        0
    }

    /// The handler that waits for the answer, if the caller is one.
    fn handler(&self) -> Option<WaitingHandler> {
        None
    }

    /// Whether the caller does not wait for the answer any more.
    fn is_abandoned(&self) -> bool {
        false
    }
}

/// A handler that waits for room. It holds its slots meanwhile, and its thread if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitingHandler {
    /// The queue of its job; `None` if it is not known which jobs its wait would delay.
    pub queue: Option<QueueId>,
    /// How many slots it holds.
    pub slots: usize,
    pub blocking: bool,
    /// How many slots may be held by handlers that wait, and how many of those handlers may occupy a thread.
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
    /// See [`Step::is_in_bulk`].
    in_bulk: bool,
    reply: Reply<T>,
}

impl<T: Default, F> Call<T, F> {
    /// Sets the default as its value, so that it can be answered without having been applied.
    pub fn answered(mut self: Box<Self>) -> Box<Self> {
        self.value = Some(T::default());
        self
    }
}

impl<T, F> Call<T, F> {
    /// Runs `then` after the commit, or instead of it: before the caller is answered, and even if the caller does not wait any
    /// more.
    pub fn then(mut self: Box<Self>, then: impl FnOnce() + Send + 'static) -> Box<Self> {
        self.then = Some(Box::new(then));
        self
    }

    /// Marks it as a step that moves many jobs: see [`Step::is_in_bulk`].
    pub fn in_bulk(mut self: Box<Self>) -> Box<Self> {
        self.in_bulk = true;
        self
    }
}

/// Makes a step of a `write` that asks dispatch.
pub(crate) fn call_with<T, F>(write: F) -> (Box<Call<T, F>>, Answer<T>)
where
    F: FnMut(&mut Batch<'_>, &dyn Prepare) -> Result<T, Error> + Send,
    T: Send,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Call { write, value: None, then: None, in_bulk: false, reply }), answer)
}

/// Makes a step of `write`. The receiver gets the value that it returned, once that is durable.
#[expect(clippy::type_complexity, reason = "the function has no name")]
pub(crate) fn call<T: Send>(
    mut write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send,
) -> (Box<Call<T, impl FnMut(&mut Batch<'_>, &dyn Prepare) -> Result<T, Error> + Send>>, Answer<T>) {
    call_with(move |batch: &mut Batch<'_>, _: &dyn Prepare| write(batch))
}

impl<T, F> Step for Call<T, F>
where
    F: FnMut(&mut Batch<'_>, &dyn Prepare) -> Result<T, Error> + Send,
    T: Send,
{
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        self.value = Some((self.write)(batch, prepare)?);
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
