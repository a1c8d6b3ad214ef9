//! Batch handlers of a worker.

use bytes::Bytes;

use super::{ANY_KIND, CONCURRENCY_DEFAULT, WorkerBuilder};
use crate::error::Error;
use crate::handler::{Batch, BatchHandler, Run, erase_batch, erase_batch_any, erase_batch_raw};
use crate::job::{Kind, Payload};

impl WorkerBuilder {
    /// Handles jobs of kind `T` with an async function that gets many of them with one call. Use it where the work for many
    /// jobs costs little more than for one: rows for one statement, documents for one request. See [`BatchHandler`], and
    /// [`Batch`] for when the handler is called.
    ///
    /// The handler returns `Ok(())` if all jobs are done, or an outcome for each job: [`Verdicts`](crate::Verdicts) by id, or
    /// a `Vec` in the order of the jobs. An error or a panic fails all jobs of the call, and each is retried by its own
    /// back-off. The ends of all jobs of a call are acknowledged with one commit, except that completion writes of more than
    /// 32 MiB in all need further ones.
    ///
    /// Everything else is as for a [`Handler`](crate::Handler), for each job:
    ///
    /// - Each job occupies a slot from its start on, also while it waits for others. So priorities, rates and
    ///   [`concurrency`](Self::concurrency) hold, and a batch has as many jobs of a group as can
    ///   [run at a time](crate::QueueSettings::group_concurrency). More than one batch runs at a time if there are slots for
    ///   them.
    /// - [`concurrency_of`](Self::concurrency_of) the kind is at least the size of a batch, or the worker is refused when it
    ///   starts. If a named [limit](Self::limit) has too few units for a batch, each batch waits for its whole time.
    /// - A job whose payload cannot be decoded becomes a dead letter. The handler gets the other jobs.
    /// - The time of all attempts begins when the handler is called. A job whose [timeout](Self::timeout) has passed fails,
    ///   whatever the handler returns. The handler is dropped when the timeouts of all its jobs have passed. Until then a job
    ///   that has timed out keeps its slot, and so does one that was cancelled, because the handler still has it.
    /// - A job that is cancelled while it waits for others leaves the batch. One that is cancelled later gets the request
    ///   through its [`context`](crate::Job::context).
    /// - A shutdown and [`Worker::stop`](crate::Worker::stop) give back the jobs that wait for others. No attempt is used up.
    /// - The start of a job that runs [at most once](Self::at_most_once) is stored before the job joins a batch. If the
    ///   process dies while the job waits for others, the job is a dead letter although its handler was not called.
    ///
    /// [Middleware](Self::wrap) is not put around batch handlers.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use millpond::{Batch, Jobs};
    ///
    /// pond.worker("billing")
    ///     .handle_batch(Batch::up_to(100), |jobs: Jobs<Charge>| async move {
    ///         let charge = |order: u64| match order {
    ///             0 => Outcome::dead_letter("no such order"),
    ///             _ => Outcome::done(),
    ///         };
    ///         Ok(jobs.iter().map(|job| charge(job.order)).collect::<Vec<Outcome>>())
    ///     })
    ///     .start()?;
    /// pond.enqueue_many("billing", (0..5).map(|order| Charge { order })).await?;
    ///
    /// drain(&pond).await;
    /// let counts = pond.queue("billing")?.counts();
    /// assert_eq!((counts.completed_total, counts.dead), (4, 1));
    /// # Ok(()) });
    /// ```
    pub fn handle_batch<T: Kind, Args>(self, batch: Batch, handler: impl BatchHandler<T, Args>) -> Self {
        self.with(T::KIND, erase_batch(batch, handler))
    }

    /// Handles jobs of the kind named `kind` like [`handle_batch`](Self::handle_batch), with the payloads as unchanged bytes.
    pub fn handle_batch_raw<Args>(self, kind: &str, batch: Batch, handler: impl BatchHandler<Bytes, Args>) -> Self {
        self.with(kind, erase_batch_raw(batch, handler))
    }

    /// Handles the jobs of all kinds that have no handler of their own like [`handle_batch`](Self::handle_batch), with the payloads
    /// as they were enqueued. A batch can have jobs of several kinds.
    pub fn handle_batch_any<Args>(self, batch: Batch, handler: impl BatchHandler<Payload, Args>) -> Self {
        self.with(ANY_KIND, erase_batch_any(batch, handler))
    }

    /// The kinds with a batch handler, and how their batches form.
    fn batches(&self) -> impl Iterator<Item = (&str, Batch)> {
        self.handlers.iter().filter_map(|(kind, handler)| match &handler.run {
            Run::Batch(handler) => Some((kind.as_str(), handler.settings)),
            Run::Async(_) | Run::Blocking(_) => None,
        })
    }

    /// How many slots the worker has.
    pub(crate) fn slots(&self) -> usize {
        let largest = self.batches().map(|(_, batch)| batch.jobs_max).max().unwrap_or_default();
        self.concurrency.unwrap_or(CONCURRENCY_DEFAULT.max(largest))
    }

    pub(super) fn check_batches(&self) -> Result<(), Error> {
        let slots = self.slots();
        for (kind, batch) in self.batches() {
            batch.check()?;
            let jobs = batch.jobs_max;
            if jobs > slots {
                let reason = format!("a batch of up to {jobs} jobs needs {jobs} slots, and the worker has {slots}");
                return Err(Error::config("concurrency", reason));
            }
            if let Some(max) = self.kind_limits.concurrency_of(kind).filter(|max| jobs > *max as usize) {
                let reason =
                    format!("a batch of up to {jobs} jobs of kind {kind:?} would never be full: {max} run at a time");
                return Err(Error::config("concurrency_of", reason));
            }
        }
        Ok(())
    }
}
