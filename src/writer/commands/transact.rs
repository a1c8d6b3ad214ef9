//! Runs an application's transaction closure in the writer's batch.

use std::cell::Cell;

use tokio::sync::oneshot;

use crate::error::panics::{Quiet, catch, drop_quietly};
use crate::error::{BoxError, Error};
use crate::job::CallSize;
use crate::storage::Batch;
use crate::transaction::{Prepare, Transaction};
use crate::writer::step::{Refusal, Step};

/// Runs an application's closure in the batch.
pub(crate) struct Transact<T, F> {
    /// The span of the caller, in which the closure logs and enqueues. It stays open while the caller waits.
    span: tracing::Span,
    closure: Quiet<F>,
    value: Option<Quiet<T>>,
    reply: oneshot::Sender<Transacted<T, F>>,
}

/// The result of a transaction. Its closure is returned to the caller, so that its values are dropped on a thread that may
/// wait for the queue: the writer's thread must not.
pub(crate) struct Transacted<T, F> {
    pub result: Result<T, Error>,
    #[expect(dead_code, reason = "held only to be dropped by the receiver")]
    closure: Quiet<F>,
    #[expect(dead_code, reason = "held only to be dropped by the receiver")]
    not_durable: Option<Quiet<T>>,
}

impl<T, F> Transact<T, F> {
    pub fn new(closure: F, reply: oneshot::Sender<Transacted<T, F>>) -> Box<Self> {
        Box::new(Self { span: tracing::Span::current(), closure: Quiet::new(closure), value: None, reply })
    }
}

impl<T, F> Step for Transact<T, F>
where
    F: Fn(&Transaction<'_>) -> Result<T, BoxError> + Send,
    T: Send,
{
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        let value = self.span.in_scope(|| run(&*self.closure, batch, &Cell::default(), prepare))?;
        self.value = Some(Quiet::new(value));
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let Self { closure, value, reply, .. } = *self;
        let answer = match result {
            Ok(()) => {
                let value = value.expect("applied before it is answered").into_inner();
                Transacted { result: Ok(value), closure, not_durable: None }
            }
            Err(error) => Transacted { result: Err(error), closure, not_durable: value },
        };
        // If the caller has gone, the answer is dropped here.
        drop_quietly(reply.send(answer));
    }

    fn runs_application_code(&self) -> bool {
        true
    }
}

/// Runs `closure` inside the batch's transaction; `size` counts what it and others that share its limits have enqueued. A
/// panic is caught here, because unwinding through the transaction would leak its pages.
pub(super) fn run<T>(
    closure: &(impl Fn(&Transaction<'_>) -> Result<T, BoxError> + ?Sized),
    batch: &mut Batch<'_>,
    size: &Cell<CallSize>,
    prepare: &dyn Prepare,
) -> Result<T, Error> {
    let result = catch(|| closure(&Transaction::new(batch, size, prepare)));
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Aborted { source }),
        Err(panic) => {
            // The closure may have written before it panicked.
            batch.touch();
            Err(Error::Aborted { source: format!("the closure panicked: {}", panic.text()).into() })
        }
    }
}
