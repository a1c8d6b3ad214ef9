//! The types that can be a batch handler: async functions and structs.

use std::any::{TypeId, type_name};
use std::future::Future;

use super::super::extract::Data;
use super::jobs::Jobs;
use super::verdicts::{IntoVerdicts, Verdicts};
use crate::job::{Failure, Handled};

/// An async function that can handle many jobs with payload `T` with one call: it takes [`Jobs<T>`] and then up to four
/// [`Data`](crate::Data), and returns a [`Handled`](crate::Handled) of what [`IntoVerdicts`] names: `()`, [`Verdicts`], or a
/// `Vec` with one outcome for each job. See [`WorkerBuilder::handle_batch`](crate::WorkerBuilder::handle_batch).
///
/// A type that is not a function implements `BatchHandler<T>`. The future must not borrow from it.
///
/// ```
/// # use doc_prelude::*;
/// use millpond::{Batch, BatchHandler, Jobs, Verdicts};
/// use std::future::Future;
///
/// struct Charger { bank: &'static str }
///
/// impl BatchHandler<Charge> for Charger {
///     fn call(&self, jobs: Jobs<Charge>) -> impl Future<Output = Handled<Verdicts>> + Send + 'static {
///         let bank = self.bank;
///         async move {
///             println!("{bank} charges {} orders", jobs.len());
///             Ok(Verdicts::new())
///         }
///     }
/// }
///
/// # with_pond(async |pond| {
/// pond.worker("billing").handle_batch(Batch::up_to(10), Charger { bank: "Ladybird & Co" }).start()?;
/// pond.enqueue("billing", Charge { order: 7 }).await?;
/// drain(&pond).await;
/// assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
/// # Ok(()) });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a batch handler",
    label = "not a batch handler",
    note = "a batch handler is an `async fn` or a closure that returns a future",
    note = "its first argument is `Jobs<T>`; up to four of `Data<...>` follow it",
    note = "it returns `Handled` if all its jobs are done, `Handled<Verdicts>`, or `Handled<Vec<Outcome>>` with one outcome for each job",
    note = "it is `Send + Sync + 'static`, and so is what it holds; its future is `Send`"
)]
pub trait BatchHandler<T, Args = ()>: Send + Sync + 'static {
    /// Handles one attempt of each of the jobs. An error or a panic, here or in the future, fails all of them.
    fn call(&self, jobs: Jobs<T>) -> impl Future<Output = Handled<Verdicts>> + Send + 'static;

    /// The shared data that it takes as arguments, so that a worker without it is refused when it starts.
    #[doc(hidden)]
    fn needs() -> Vec<(TypeId, &'static str)> {
        Vec::new()
    }
}

macro_rules! batch_handlers {
    ($($arg:ident),*) => {
        impl<F, Fut, T, Out, $($arg),*> BatchHandler<T, (Out, $($arg,)*)> for F
        where
            F: Fn(Jobs<T>, $(Data<$arg>),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<Out, Failure>> + Send + 'static,
            T: Send + 'static,
            Out: IntoVerdicts,
            $($arg: Send + Sync + 'static,)*
        {
            fn call(&self, jobs: Jobs<T>) -> impl Future<Output = Handled<Verdicts>> + Send + 'static {
                $(
                    #[allow(non_snake_case, reason = "the macro has one name for the type and the value")]
                    let $arg = Data::of(jobs.data().expect("a worker whose handler needs this does not start without it"));
                )*
                let running = self(jobs, $($arg),*);
                async move { Ok(running.await?.into_verdicts()) }
            }

            fn needs() -> Vec<(TypeId, &'static str)> {
                vec![$((TypeId::of::<$arg>(), type_name::<$arg>())),*]
            }
        }
    };
}

batch_handlers!();
batch_handlers!(A);
batch_handlers!(A, B);
batch_handlers!(A, B, C);
batch_handlers!(A, B, C, D);
