use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::context::Context;
use super::extract::{DataMap, FromContext, missing};
use super::job::Job;
use crate::error::BoxError;
use crate::error::panics::Quiet;
use crate::job::{Failure, IntoOutcome, Kind, Outcome, Payload};

/// An async function that can handle jobs with payload `T`: it takes [`Job<T>`] and then up to four
/// of [`Context`] and [`Data`](super::Data), and returns a
/// [`Handled`](crate::Handled) of `()`, [`Outcome`] or bytes.
///
/// ```
/// use millpond::{Context, Data, Handled, Job, Outcome};
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
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
pub trait Handler<T, Args>: Send + Sync + 'static {
    #[doc(hidden)]
    fn call(&self, job: Job<T>, context: &Context) -> impl Future<Output = Outcome> + Send + 'static;
    #[doc(hidden)]
    fn needs() -> Vec<(TypeId, &'static str)>;
}

/// A function that can handle jobs with payload `T` and may block its thread. The same arguments
/// and answers as an async [`Handler`].
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
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
pub trait BlockingHandler<T, Args>: Send + Sync + 'static {
    #[doc(hidden)]
    fn call(&self, job: Job<T>, context: &Context) -> Outcome;
    #[doc(hidden)]
    fn needs() -> Vec<(TypeId, &'static str)>;
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
                let running = self(job, $($arg::from_context(_context)),*);
                async move { running.await.into_outcome() }
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
                self(job, $($arg::from_context(_context)),*).into_outcome()
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

/// A handler's run in the making.
pub(crate) type Boxed = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Decodes the payload and calls the handler, or says that it cannot decode it.
type Caller<T> = Quiet<Box<dyn Fn(&Payload, &Context) -> Result<T, BoxError> + Send + Sync>>;

/// How a handler is called: on the async runtime, or on a thread of its own.
pub(crate) enum Run {
    Async(Caller<Boxed>),
    Blocking(Caller<Outcome>),
}

/// A handler whose types are forgotten: it decodes the payload, or says that it cannot.
pub(crate) struct Runnable {
    pub run: Run,
    needs: Vec<(TypeId, &'static str)>,
}

impl Runnable {
    /// A handler that is no Rust function.
    #[cfg(feature = "wasm")]
    pub fn foreign(run: impl Fn(&Payload, &Context) -> Result<Boxed, BoxError> + Send + Sync + 'static) -> Self {
        Self { run: Run::Async(Quiet::new(Box::new(run))), needs: Vec::new() }
    }

    /// The shared data it needs and the worker does not have.
    pub fn missing(&self, data: &DataMap) -> Option<&'static str> {
        missing(data, &self.needs)
    }
}

fn erased<T: Send + 'static, Args, H: Handler<T, Args>>(
    handler: H,
    read: impl Fn(&Payload) -> Result<T, BoxError> + Send + Sync + 'static,
) -> Runnable {
    let run = move |payload: &Payload, context: &Context| {
        let job = Job::new(read(payload)?, context.facts().clone());
        Ok(Box::pin(handler.call(job, context)) as Boxed)
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

pub(crate) fn erase_blocking<T: Kind, Args, H: BlockingHandler<T, Args>>(handler: H) -> Runnable {
    erased_blocking(handler, |payload| payload.decode())
}

pub(crate) fn erase_blocking_raw<Args, H: BlockingHandler<Bytes, Args>>(handler: H) -> Runnable {
    erased_blocking(handler, |payload| Ok(payload.bytes.clone()))
}
