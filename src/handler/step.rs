//! A step that is about to run: [`Step`].

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::attempt_steps::{UndoFn, UndoFuture};
use super::context::Context;
use super::step_store::{NewStep, StepWrite};
use crate::error::BoxError;

/// Returns the result of a step, as JSON.
pub(super) type StepFuture<'a> = Pin<Box<dyn Future<Output = Result<Bytes, BoxError>> + Send + 'a>>;

/// What a step does.
pub(super) enum Work<'a> {
    Run(Box<dyn FnOnce() -> StepFuture<'a> + Send + 'a>),
    Write(StepWrite),
}

/// A step of a handler. It runs when it is awaited: see [`Context::step`].
#[must_use = "a step runs when it is awaited"]
pub struct Step<'a, T> {
    context: &'a Context,
    name: &'a str,
    work: Work<'a>,
    undo: Option<UndoFn>,
    result: PhantomData<fn() -> T>,
}

impl<'a, T: DeserializeOwned> Step<'a, T> {
    pub(super) fn new(context: &'a Context, name: &'a str, work: Work<'a>) -> Self {
        Self { context, name, work, undo: None, result: PhantomData }
    }

    /// Says how to undo the step if the job ends as a dead letter or as cancelled, by whomever. This makes a handler a *saga*.
    ///
    /// Before such an end the handler is called again. Its steps return what is stored of them, until it asks for one that was never
    /// done: then it gets an error, which it returns. What it does beside its steps happens again, unless it asks
    /// [`Context::is_undoing`]. After that the steps that say how are undone, the last one first; `undo` gets the result of the step.
    /// Each undone step is stored before the next one, and is not undone again, but `undo` is called again if the process dies before:
    /// it should be idempotent. Then the job ends, with the reason that it had.
    ///
    /// If `undo` fails, the attempt fails, and the job is retried as it is otherwise, with all its attempts. If none is left, it is a
    /// dead letter, and goes on undoing its steps if it is redriven. After a redrive of a job that was undone, its undone steps run
    /// again, and the others do not.
    ///
    /// The job has not ended while it undoes its steps: it keeps its unique key, its flow waits for it, and
    /// [`JobInfo::undoing`](crate::JobInfo::undoing) says so. A cancel is ignored. A job that runs at most once is not undone.
    ///
    /// # Errors
    /// A batch handler cannot undo steps: the step fails with [`Error::InvalidConfig`](crate::Error::InvalidConfig).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # async fn charge(order: u64) -> Result<String, BoxError> { Ok(format!("receipt {order}")) }
    /// # async fn refund(receipt: String) -> Result<(), BoxError> { println!("refunded {receipt}"); Ok(()) }
    /// pond.worker("billing")
    ///     .handle(|job: Job<Charge>, ctx: Context| async move {
    ///         ctx.step("charge", || charge(job.order)).undo(refund).await?;
    ///         Ok(Outcome::dead_letter("it is sold out"))
    ///     })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Dead);
    /// assert!(matches!(pond.steps(id)?[0].state, StepState::Undone { .. }));
    /// # Ok(()) });
    /// ```
    pub fn undo<F, E>(mut self, undo: impl FnOnce(T) -> F + Send + 'static) -> Self
    where
        T: 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let undo = move |result: &Bytes| -> Result<UndoFuture, BoxError> {
            let undone = undo(serde_json::from_slice(result)?);
            Ok(Box::pin(async move { undone.await.map_err(Into::into) }))
        };
        self.undo = Some(Box::new(undo));
        self
    }

    async fn run(self) -> Result<T, BoxError> {
        let Self { context, name, work, undo, .. } = self;
        let steps = context.step_store()?;
        let (name, found) = context.find_step(steps, name)?;
        if let Some(what) = found {
            return context.found(&name, what, undo);
        }
        let is_undoable = undo.is_some();
        let step = match work {
            Work::Run(run) => NewStep::Done { result: run().await?, is_undoable },
            Work::Write(write) => NewStep::Written { write, is_undoable },
        };
        context.store_step(steps, &name, step).await
    }
}

impl<'a, T: DeserializeOwned + 'a> IntoFuture for Step<'a, T> {
    type Output = Result<T, BoxError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<T> std::fmt::Debug for Step<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}
