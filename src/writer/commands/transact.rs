use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot;

use crate::error::{BoxError, Error, panic_text};
use crate::storage::Batch;
use crate::transaction::{Prepare, Transaction};
use crate::writer::step::{Refusal, Step};

/// Runs an application's closure in the batch.
pub(crate) struct Transact<T, F> {
    closure: F,
    value: Option<T>,
    reply: oneshot::Sender<Transacted<T, F>>,
}

/// What became of a transaction. Its closure comes back to the caller, so that what it holds is dropped on a thread that
/// may wait for the queue: the writer's may not.
pub(crate) struct Transacted<T, F> {
    pub result: Result<T, Error>,
    #[expect(dead_code, reason = "to be dropped by whoever receives it")]
    closure: F,
    #[expect(dead_code, reason = "to be dropped by whoever receives it")]
    in_vain: Option<T>,
}

impl<T, F> Transact<T, F> {
    pub fn new(closure: F, reply: oneshot::Sender<Transacted<T, F>>) -> Box<Self> {
        Box::new(Self { closure, value: None, reply })
    }
}

impl<T, F> Step for Transact<T, F>
where
    F: Fn(&Transaction<'_>) -> Result<T, BoxError> + Send,
    T: Send,
{
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        self.value = Some(run(&self.closure, batch, prepare)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let Self { closure, value, reply } = *self;
        let answer = match result {
            Ok(()) => Transacted { result: Ok(value.expect("applied before it is answered")), closure, in_vain: None },
            Err(error) => Transacted { result: Err(error), closure, in_vain: value },
        };
        // Whoever dropped the call does not care.
        let _ = reply.send(answer);
    }

    fn runs_application_code(&self) -> bool {
        true
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Runs `closure` inside the batch's transaction. A panic is caught here, while the transaction is
/// still whole: unwinding through it would leak its pages.
pub(super) fn run<T>(
    closure: &(impl Fn(&Transaction<'_>) -> Result<T, BoxError> + ?Sized),
    batch: &mut Batch<'_>,
    prepare: &dyn Prepare,
) -> Result<T, Error> {
    let result = catch_unwind(AssertUnwindSafe(|| closure(&Transaction::new(batch, prepare))));
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Aborted { source }),
        Err(panic) => {
            // It may have stopped anywhere.
            batch.touch();
            Err(Error::Aborted { source: format!("the closure panicked: {}", panic_text(&*panic)).into() })
        }
    }
}
