//! Runs the application's hook for dead jobs in the commit that makes a job dead.

use std::cell::Cell;
use std::sync::Arc;

use super::transact;
use crate::error::panics::{Quiet, drop_quietly, text_of};
use crate::error::{BoxError, Error};
use crate::job::{DeadJob, JobId, QueueId, Record};
use crate::storage::Batch;
use crate::text::told;
use crate::transaction::{Prepare, Transaction};

type Hook = dyn Fn(&Transaction<'_>, &DeadJob<'_>) -> Result<(), BoxError> + Send + Sync;

/// The application's hook for dead jobs. Cheap to clone. Its drop does not panic.
#[derive(Clone)]
pub(crate) struct DeadHook(Arc<Quiet<Box<Hook>>>);

impl DeadHook {
    pub fn new(hook: impl Fn(&Transaction<'_>, &DeadJob<'_>) -> Result<(), BoxError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Quiet::new(Box::new(hook))))
    }

    /// Calls the hook for a job that this batch makes dead. If it fails, the batch must be undone: it may have written.
    ///
    /// # Errors
    /// What the hook says, or its panic, as [`Error::Aborted`].
    pub fn run(
        &self,
        batch: &mut Batch<'_>,
        prepare: &dyn Prepare,
        id: JobId,
        queue: QueueId,
        record: &Record,
    ) -> Result<(), Error> {
        let queue = batch.catalog().queue_name(queue);
        let kind = batch.catalog().kind_name(record.kind);
        let coder = prepare.coder();
        let (payload, error) = coder.payload_or_stored(&record.payload);
        drop_quietly(error);
        let read = coder.is_some().then(|| {
            let mut record = record.clone();
            coder.read_texts(&mut record);
            record
        });
        let dead = DeadJob::new(id, &queue, &kind, read.as_ref().unwrap_or(record), &payload);
        transact::run(&|tx: &Transaction<'_>| (self.0)(tx, &dead), batch, &Cell::default(), prepare)
    }
}

/// Logs that the hook has failed for this job, which is dead all the same.
pub(crate) fn log_failed_hook(id: JobId, cause: &str) {
    let error = told(cause);
    tracing::error!(id = id.get(), %error, "`on_dead` failed: the job is dead without what the hook would have written");
}

/// What the application's code said when it failed.
pub(crate) fn cause_of(error: Error) -> String {
    let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), text_of);
    drop_quietly(error);
    cause
}
