//! Middleware: code of the application that runs around each attempt of a worker.

use std::future::Future;
use std::sync::Arc;

use super::context::Context;
use super::function::{Boxed, Calling, Run, Runnable};
use crate::error::BoxError;
use crate::error::panics::Quiet;
use crate::job::{Outcome, Payload};

/// The rest of an attempt: the handler, with the middleware that was added after this one around it.
///
/// See [`WorkerBuilder::wrap`](crate::WorkerBuilder::wrap).
#[must_use = "the handler does not run until `run` is called"]
pub struct Next(Boxed);

impl Next {
    /// Runs the rest of the attempt, and returns its outcome. If this is not called, the handler does not run.
    pub async fn run(self) -> Outcome {
        self.0.await
    }
}

impl std::fmt::Debug for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Next").finish_non_exhaustive()
    }
}

/// The rest of an attempt whose handler may block its thread.
///
/// See [`WorkerBuilder::wrap_blocking`](crate::WorkerBuilder::wrap_blocking).
#[must_use = "the handler does not run until `run` is called"]
pub struct NextBlocking<'a>(&'a mut dyn FnMut() -> Outcome);

impl NextBlocking<'_> {
    /// Runs the rest of the attempt, and returns its outcome. If this is not called, the handler does not run.
    pub fn run(self) -> Outcome {
        (self.0)()
    }
}

impl std::fmt::Debug for NextBlocking<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NextBlocking").finish_non_exhaustive()
    }
}

/// Middleware around async handlers.
type Around = Arc<Quiet<Box<dyn Fn(Context, Next) -> Boxed + Send + Sync>>>;

/// Middleware around handlers that may block.
type AroundBlocking = Arc<Quiet<Box<dyn Fn(&Context, NextBlocking<'_>) -> Outcome + Send + Sync>>>;

/// The middleware of a worker, or of all workers, in the order in which it was added: the first is the outermost.
#[derive(Default)]
pub(crate) struct Middleware {
    around: Vec<Around>,
    around_blocking: Vec<AroundBlocking>,
}

impl Middleware {
    /// Adds middleware around async handlers.
    pub fn add<F, Fut>(&mut self, middleware: F)
    where
        F: Fn(Context, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let boxed = move |context, next| Box::pin(middleware(context, next)) as Boxed;
        self.around.push(Arc::new(Quiet::new(Box::new(boxed))));
    }

    /// Adds middleware around handlers that may block.
    pub fn add_blocking<F>(&mut self, middleware: F)
    where
        F: Fn(&Context, NextBlocking<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.around_blocking.push(Arc::new(Quiet::new(Box::new(middleware))));
    }

    /// Puts the middleware around a handler.
    pub fn wrap(&self, mut handler: Runnable) -> Runnable {
        handler.run = match handler.run {
            run @ Run::Async(_) => self.around.iter().rev().cloned().fold(run, wrapped),
            run @ Run::Blocking(_) => self.around_blocking.iter().rev().cloned().fold(run, wrapped_blocking),
            run @ Run::Batch(_) => run,
        };
        handler
    }
}

fn wrapped(run: Run, around: Around) -> Run {
    let Run::Async(inner) = run else { return run };
    // The payload is decoded before the middleware is called: what cannot be decoded never reaches it.
    let outer = move |payload: &Payload, context: &Context, calling: Calling| -> Result<Boxed, BoxError> {
        let next = Next(inner(payload, context, Calling::AtFirstPoll)?);
        let context = context.clone();
        if calling == Calling::Now {
            return Ok(around(context, next));
        }
        let around = around.clone();
        Ok(Box::pin(async move { around(context, next).await }))
    };
    Run::Async(Quiet::new(Box::new(outer)))
}

fn wrapped_blocking(run: Run, around: AroundBlocking) -> Run {
    let Run::Blocking(inner) = run else { return run };
    let outer = move |payload: &Payload, context: &Context| -> Result<Outcome, BoxError> {
        let mut undecodable = None;
        let mut call = || {
            inner(payload, context).unwrap_or_else(|error| {
                let outcome = Outcome::DeadLetter(format!("the payload cannot be decoded: {error}"));
                undecodable = Some(error);
                outcome
            })
        };
        let outcome = around(context, NextBlocking(&mut call));
        undecodable.map_or(Ok(outcome), Err)
    };
    Run::Blocking(Quiet::new(Box::new(outer)))
}
