//! The types that can be a handler: async functions, functions that block, and structs.

use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{Batch, BatchHandler, BatchRun};
use super::context::Context;
use super::data_map::DataMap;
use super::extract::FromContext;
use super::job::Job;
use crate::error::BoxError;
use crate::error::panics::Quiet;
use crate::job::{Failure, IntoOutcome, Kind, Outcome, Payload};

/// An async function that can handle jobs with payload `T`: it takes [`Job<T>`] and then up to four
/// of [`Context`] and [`Data`](super::Data), and returns a
/// [`Handled`](crate::Handled) of `()`, [`Outcome`] or a result.
///
/// `Args` tells functions with different arguments apart and is inferred. A type that is not a function implements
/// `Handler<T>`, as [below](#a-handler-that-is-a-struct).
///
/// ```
/// use millpond::{Context, Data, Handled, Job, Outcome};
/// # use doc_prelude::*;
/// struct Bank;
///
/// async fn plain(job: Job<Charge>) -> Handled {
///     println!("order {}", job.order);
///     Ok(())
/// }
///
/// async fn full(job: Job<Charge>, bank: Data<Bank>, ctx: Context) -> Handled<Outcome> {
///     ctx.log("asked the bank");
///     Ok(Outcome::done_with("receipt"))
/// }
///
/// fn start(pond: &Millpond) -> Result<(), Error> {
///     pond.worker("plain").handle(plain).start()?;
///     pond.worker("full").data(Bank).handle(full).start()?;
///     Ok(())
/// }
/// # start(&in_memory(&ManualClock::new())?)?;
/// # Ok::<(), Error>(())
/// ```
///
/// # A handler that is a struct
///
/// A struct holds what its handler needs, with types that a test can replace. The future must not borrow from it: clone
/// what the future needs before the `async` block. [`IntoOutcome`] makes an [`Outcome`] of a `Result`, so that `?` works
/// in a function of its own.
///
/// ```
/// use millpond::{Context, Handled, Handler, IntoOutcome, Job, Outcome};
/// use std::future::Future;
/// use std::sync::Arc;
/// # use doc_prelude::*;
/// trait Bank: Send + Sync + 'static {
///     fn charge(&self, order: u64) -> std::io::Result<u32>;
/// }
///
/// struct Charger<B> { bank: Arc<B> }
///
/// async fn charge(bank: Arc<impl Bank>, job: Job<Charge>, ctx: Context) -> Handled<Outcome> {
///     let receipt = bank.charge(job.order)?;
///     ctx.log(format!("receipt {receipt}"));
///     Outcome::done_json(&receipt)
/// }
///
/// impl<B: Bank> Handler<Charge> for Charger<B> {
///     fn call(&self, job: Job<Charge>, context: &Context) -> impl Future<Output = Outcome> + Send + 'static {
///         let (bank, context) = (self.bank.clone(), context.clone());
///         async move { charge(bank, job, context).await.into_outcome() }
///     }
/// }
///
/// struct NoBank;
/// impl Bank for NoBank {
///     fn charge(&self, order: u64) -> std::io::Result<u32> { Ok(order as u32 + 1) }
/// }
///
/// # with_pond(async |pond| {
/// pond.worker("billing").handle(Charger { bank: Arc::new(NoBank) }).start()?;
/// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// drain(&pond).await;
/// assert_eq!(pond.job(id)?.result_json::<u32>()?, Some(8));
/// # Ok(()) });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async handler",
    label = "not an async handler",
    note = "a handler is an `async fn` or a closure that returns a future; for a function that is not async use `handle_blocking`",
    note = "its first argument is `Job<T>`, not `T`; up to four of `Context` and `Data<...>` follow it",
    note = "it returns `Handled`, which is `Result<(), millpond::Failure>`, or `Handled<Outcome>`, not `anyhow::Result<()>`: `?` turns any error into a `Failure`",
    note = "it is `Send + Sync + 'static`, and so is what it holds; its future is `Send`"
)]
pub trait Handler<T, Args = ()>: Send + Sync + 'static {
    /// Handles one attempt of a job: returns the future that the queue polls until it has an outcome, or until the attempt's
    /// [timeout](crate::WorkerBuilder::timeout). A panic, here or in the future, fails the attempt.
    fn call(&self, job: Job<T>, context: &Context) -> impl Future<Output = Outcome> + Send + 'static;

    /// The shared data that it takes as arguments, so that a worker without it is refused when it starts.
    #[doc(hidden)]
    fn needs() -> Vec<(TypeId, &'static str)> {
        Vec::new()
    }
}

/// A function that can handle jobs with payload `T` and may block its thread. It takes and returns the same as an async
/// [`Handler`], and a struct implements it likewise, as `BlockingHandler<T>`.
///
/// ```
/// # use doc_prelude::*;
/// fn charge(job: Job<Charge>, ctx: Context) -> Handled {
///     ctx.log(format!("charge order {}", job.order));
///     Ok(())
/// }
///
/// fn start(pond: &Millpond) -> Result<Worker, Error> {
///     pond.worker("billing").handle_blocking(charge).start()
/// }
/// # start(&in_memory(&ManualClock::new())?)?;
/// # Ok::<(), Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a blocking handler",
    label = "not a blocking handler",
    note = "a blocking handler is a function or closure that is not async; for an `async fn` use `handle`",
    note = "its first argument is `Job<T>`, not `T`; up to four of `Context` and `Data<...>` follow it",
    note = "it returns `Handled`, which is `Result<(), millpond::Failure>`, or `Handled<Outcome>`, not `anyhow::Result<()>`: `?` turns any error into a `Failure`",
    note = "it is `Send + Sync + 'static`, and so is what it holds"
)]
pub trait BlockingHandler<T, Args = ()>: Send + Sync + 'static {
    /// Handles one attempt of a job. A panic fails the attempt.
    fn call(&self, job: Job<T>, context: &Context) -> Outcome;

    /// The shared data that it takes as arguments, so that a worker without it is refused when it starts.
    #[doc(hidden)]
    fn needs() -> Vec<(TypeId, &'static str)> {
        Vec::new()
    }
}

macro_rules! handlers {
    ($($arg:ident),*) => {
        impl<F, Fut, T, Out, $($arg),*> Handler<T, (Out, $($arg,)*)> for F
        where
            F: Fn(Job<T>, $($arg),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<Out, Failure>> + Send + 'static,
            T: Send + 'static,
            Out: IntoOutcome,
            $($arg: FromContext,)*
        {
            fn call(&self, job: Job<T>, _context: &Context) -> impl Future<Output = Outcome> + Send + 'static {
                let called = || Ok::<_, Failure>(self(job, $($arg::from_context(_context)?),*));
                let running = called();
                async move {
                    match running {
                        Ok(running) => running.await.into_outcome(),
                        Err(failure) => Err::<Out, _>(failure).into_outcome(),
                    }
                }
            }

            fn needs() -> Vec<(TypeId, &'static str)> {
                let needs: Vec<Option<(TypeId, &'static str)>> = vec![$($arg::needs()),*];
                needs.into_iter().flatten().collect()
            }
        }

        impl<F, T, Out, $($arg),*> BlockingHandler<T, (Out, $($arg,)*)> for F
        where
            F: Fn(Job<T>, $($arg),*) -> Result<Out, Failure> + Send + Sync + 'static,
            T: Send + 'static,
            Out: IntoOutcome,
            $($arg: FromContext,)*
        {
            fn call(&self, job: Job<T>, _context: &Context) -> Outcome {
                let called = || self(job, $($arg::from_context(_context)?),*);
                called().into_outcome()
            }

            fn needs() -> Vec<(TypeId, &'static str)> {
                let needs: Vec<Option<(TypeId, &'static str)>> = vec![$($arg::needs()),*];
                needs.into_iter().flatten().collect()
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A, B);
handlers!(A, B, C);
handlers!(A, B, C, D);

/// The future of one call of a handler.
pub(crate) type Boxed = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// When the function of an async handler is called, which may do something before it returns its future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calling {
    /// At once.
    Now,
    /// At the first poll of the future: never, if middleware does not run the handler.
    AtFirstPoll,
}

/// Decodes the payload and returns the future of the handler, or why the payload cannot be decoded.
type AsyncCaller = Quiet<Box<dyn Fn(&Payload, &Context, Calling) -> Result<Boxed, BoxError> + Send + Sync>>;

/// Decodes the payload and calls the handler, or returns why the payload cannot be decoded.
type BlockingCaller = Quiet<Box<dyn Fn(&Payload, &Context) -> Result<Outcome, BoxError> + Send + Sync>>;

/// How a handler is called.
pub(crate) enum Run {
    Async(AsyncCaller),
    Blocking(BlockingCaller),
    /// Many jobs with one call, on the async runtime.
    Batch(BatchRun),
}

/// A handler with its types erased: it decodes the payload, or returns why it cannot.
pub(crate) struct Runnable {
    pub run: Run,
    needs: Vec<(TypeId, &'static str)>,
}

impl Runnable {
    /// A handler that is not a Rust function.
    #[cfg(feature = "wasm")]
    pub fn foreign(run: impl Fn(&Payload, &Context) -> Result<Boxed, BoxError> + Send + Sync + 'static) -> Self {
        let run = move |payload: &Payload, context: &Context, _: Calling| run(payload, context);
        Self { run: Run::Async(Quiet::new(Box::new(run))), needs: Vec::new() }
    }

    /// The shared data that it needs and the worker does not have.
    pub fn missing(&self, data: &DataMap) -> Option<&'static str> {
        data.missing(&self.needs)
    }
}

fn erased<T: Send + 'static, Args, H: Handler<T, Args>>(
    handler: H,
    read: impl Fn(&Payload) -> Result<T, BoxError> + Send + Sync + 'static,
) -> Runnable {
    let handler = Arc::new(handler);
    let run = move |payload: &Payload, context: &Context, calling: Calling| -> Result<Boxed, BoxError> {
        let job = Job::new(read(payload)?, context.facts().clone());
        if calling == Calling::Now {
            return Ok(Box::pin(handler.call(job, context)));
        }
        let (handler, context) = (handler.clone(), context.clone());
        Ok(Box::pin(async move { handler.call(job, &context).await }))
    };
    Runnable { run: Run::Async(Quiet::new(Box::new(run))), needs: H::needs() }
}

fn erased_blocking<T: Send + 'static, Args, H: BlockingHandler<T, Args>>(
    handler: H,
    read: impl Fn(&Payload) -> Result<T, BoxError> + Send + Sync + 'static,
) -> Runnable {
    let run = move |payload: &Payload, context: &Context| {
        Ok(handler.call(Job::new(read(payload)?, context.facts().clone()), context))
    };
    Runnable { run: Run::Blocking(Quiet::new(Box::new(run))), needs: H::needs() }
}

pub(crate) fn erase<T: Kind, Args, H: Handler<T, Args>>(handler: H) -> Runnable {
    erased(handler, |payload| payload.decode())
}

pub(crate) fn erase_raw<Args, H: Handler<Bytes, Args>>(handler: H) -> Runnable {
    erased(handler, |payload| Ok(payload.bytes.clone()))
}

pub(crate) fn erase_any<Args, H: Handler<Payload, Args>>(handler: H) -> Runnable {
    erased(handler, |payload| Ok(payload.clone()))
}

pub(crate) fn erase_blocking<T: Kind, Args, H: BlockingHandler<T, Args>>(handler: H) -> Runnable {
    erased_blocking(handler, |payload| payload.decode())
}

pub(crate) fn erase_blocking_raw<Args, H: BlockingHandler<Bytes, Args>>(handler: H) -> Runnable {
    erased_blocking(handler, |payload| Ok(payload.bytes.clone()))
}

fn erased_batch<T: Send + 'static, Args, H: BatchHandler<T, Args>>(
    batch: Batch,
    handler: H,
    read: fn(&Payload) -> Result<T, BoxError>,
) -> Runnable {
    Runnable { run: Run::Batch(BatchRun::of(batch, handler, read)), needs: H::needs() }
}

pub(crate) fn erase_batch<T: Kind, Args, H: BatchHandler<T, Args>>(batch: Batch, handler: H) -> Runnable {
    erased_batch(batch, handler, |payload| payload.decode())
}

pub(crate) fn erase_batch_raw<Args, H: BatchHandler<Bytes, Args>>(batch: Batch, handler: H) -> Runnable {
    erased_batch(batch, handler, |payload| Ok(payload.bytes.clone()))
}

pub(crate) fn erase_batch_any<Args, H: BatchHandler<Payload, Args>>(batch: Batch, handler: H) -> Runnable {
    erased_batch(batch, handler, |payload| Ok(payload.clone()))
}
