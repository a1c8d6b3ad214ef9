//! Flows within a transaction.

use super::{Prepare, Transaction, WriteGuard};
use crate::error::Error;
use crate::job::{
    CallSize, FlowCreated, FlowDraft, FlowPlace, JobId, NewFlow, NewJob, NewNode, NewWhat, REASON_BYTES_MAX,
};
use crate::storage::{Created, Prepared, Signalled};
use crate::text::cut;
use serde::Serialize;

/// Prepares the jobs of a flow, or of an addition to the flow of this number. Returns it with how much it takes of the limits of
/// a call.
pub(crate) fn prepare_flow(
    prepare: &dyn Prepare,
    number: u64,
    flow: NewFlow<(String, NewJob)>,
    size: &mut CallSize,
) -> Result<NewFlow<Prepared>, Error> {
    let NewFlow { name, nodes, deps, must_be_free, deadline, keep, .. } = flow;
    let mut prepared = Vec::with_capacity(nodes.len());
    for NewNode { name, what, callback, is_blocked } in nodes {
        let what = match what {
            NewWhat::Job((queue, job)) => {
                let job = prepare.prepare(&queue, job.in_flow(FlowPlace { flow: number, is_blocked })?)?;
                if job.has_keys() {
                    let reason = "a hook for new jobs has given a job of a flow a key, which it cannot have";
                    return Err(Error::config("job", reason.into()));
                }
                size.add(job.bytes.len())?;
                NewWhat::Job(job)
            }
            NewWhat::Signal { deadline } => NewWhat::Signal { deadline },
        };
        prepared.push(NewNode { name, what, callback, is_blocked });
    }
    Ok(NewFlow { id: number, name, nodes: prepared, deps, must_be_free, deadline, keep })
}

/// What came with a signal, as it is stored.
pub(crate) fn signal_payload(prepare: &dyn Prepare, payload: &(impl Serialize + ?Sized)) -> Result<Signalled, Error> {
    let (coder, max) = (prepare.coder(), prepare.payload_bytes_max());
    let unencodable = |source| Error::Unencodable { kind: "signal".into(), source };
    let bytes = serde_json::to_vec(payload).map_err(|error| unencodable(error.into()))?;
    if bytes.len() > max {
        return Err(Error::PayloadTooLarge { len: bytes.len(), max });
    }
    let payload = coder.coded_result(bytes.into(), max).map_err(unencodable)?;
    Ok(Signalled { payload, is_coded: coder.is_some() })
}

impl Transaction<'_> {
    /// Makes a flow, as [`Millpond::flow`](crate::Millpond::flow) does, if and only if this transaction is committed. Its jobs
    /// count for the limits of the transaction, 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`Millpond::flow`](crate::Millpond::flow).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// const ORDERS: TableDefinition<u64, &str> = TableDefinition::new("orders");
    ///
    /// pond.transaction(|tx| {
    ///     tx.open_table(ORDERS)?.insert(7, "a kettle")?;
    ///     tx.flow("order-7", |flow| {
    ///         let charge = flow.job("billing", Charge { order: 7 });
    ///         flow.job("emails", NewJob::json("receipt", &7)).after(&charge);
    ///     })?;
    ///     Ok(())
    /// })
    /// .await?;
    /// assert_eq!(pond.flows().get("order-7")?.counts.blocked, 1);
    /// # Ok(()) });
    /// ```
    pub fn flow(&self, name: &str, describe: impl FnOnce(&FlowDraft)) -> Result<FlowCreated, Error> {
        let plan = FlowDraft::described(name, false, describe)?;
        let mut size = self.size.get();
        let flow = prepare_flow(self.prepare, self.prepare.next_flow(), plan, &mut size)?;
        self.size.set(size);
        self.create(flow)
    }

    pub(crate) fn create(&self, mut flow: NewFlow<Prepared>) -> Result<FlowCreated, Error> {
        Ok(self.batch.borrow_mut().create_flow(&mut flow)?.into())
    }

    /// Adds jobs to a flow, if and only if this transaction is committed. In [`Context::on_complete`](crate::Context::on_complete)
    /// a handler adds jobs to its own flow before it has completed, so jobs that wait for it can wait for the new ones too.
    ///
    /// Only a flow of which something can still run accepts more. [`FlowDraft::existing`] names jobs that it has already: new
    /// jobs can wait for them, and those that still wait can wait for new ones. Returns the ids of the new jobs in the order in
    /// which they were described.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`], [`Error::FlowEnded`], and those of [`Millpond::flow`](crate::Millpond::flow). Nothing is added
    /// then, and the transaction can continue.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("imports")
    ///     .handle_raw("split", |_: Job<bytes::Bytes>, ctx: Context| async move {
    ///         ctx.on_complete(|tx| {
    ///             tx.add_to_flow("import", |flow| {
    ///                 let merge = flow.existing("merge");
    ///                 (0..3).for_each(|row| drop(merge.clone().after(&flow.job("imports", NewJob::json("row", &row)))));
    ///             })?;
    ///             Ok(())
    ///         });
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// pond.flow("import", |flow| {
    ///     let split = flow.job("imports", NewJob::json("split", &[0_u8; 0]));
    ///     let _ = flow.job("imports", NewJob::json("merge", &())).named("merge").after(&split);
    /// })
    /// .await?;
    /// drain(&pond).await;
    /// let counts = pond.flows().get("import")?.counts;
    /// assert_eq!((counts.completed, counts.active, counts.blocked), (1, 3, 1));
    /// # Ok(()) });
    /// ```
    pub fn add_to_flow(&self, name: &str, describe: impl FnOnce(&FlowDraft)) -> Result<Vec<JobId>, Error> {
        let plan = FlowDraft::described(name, true, describe)?;
        let number = self.batch.borrow_mut().flow_number(name)?;
        let mut size = self.size.get();
        let mut flow = prepare_flow(self.prepare, number, plan, &mut size)?;
        self.size.set(size);
        self.batch.borrow_mut().add_to_flow(&mut flow)
    }

    /// Says that a signal of a flow has come, as [`Millpond::signal`](crate::Millpond::signal) does, if and only if this
    /// transaction is committed.
    ///
    /// # Errors
    /// Those of [`Millpond::signal`](crate::Millpond::signal).
    pub fn signal(&self, flow: &str, signal: &str, payload: &(impl Serialize + ?Sized)) -> Result<bool, Error> {
        let payload = signal_payload(self.prepare, payload)?;
        self.batch.borrow_mut().signal_flow(flow, signal, &payload)
    }

    /// Cancels what has not ended of a flow, as [`Flows::cancel`](crate::Flows::cancel) does, if and only if this transaction is
    /// committed.
    ///
    /// # Errors
    /// Those of [`Flows::cancel`](crate::Flows::cancel).
    pub fn cancel_flow(&self, name: &str, reason: impl Into<String>) -> Result<bool, Error> {
        let reason = cut(reason.into(), REASON_BYTES_MAX);
        self.batch.borrow_mut().cancel_flow(name, &reason, self.prepare)
    }
}

impl WriteGuard {
    /// Makes a flow when this transaction is committed, unless there is one of its name by then. See
    /// [`Millpond::flow`](crate::Millpond::flow).
    ///
    /// # Errors
    /// Those of [`Millpond::flow`](crate::Millpond::flow) for the description. [`commit`](Self::commit) returns
    /// [`Error::QueueFull`] if a queue has no room.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let mut tx = pond.begin_write()?;
    /// tx.flow("order-7", |flow| drop(flow.job("billing", Charge { order: 7 })))?;
    /// tx.commit()?;
    /// assert_eq!(pond.flows().get("order-7")?.counts.active, 1);
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn flow(&mut self, name: &str, describe: impl FnOnce(&FlowDraft)) -> Result<(), Error> {
        let plan = FlowDraft::described(name, false, describe)?;
        let flow = prepare_flow(&*self.prepare, self.prepare.next_flow(), plan, &mut self.size)?;
        self.staged.changes.push(Box::new(move |tx| tx.create(flow).map(drop)));
        Ok(())
    }
}

impl From<Created> for FlowCreated {
    fn from(created: Created) -> Self {
        match created {
            Created::Stored(jobs) => Self::stored(jobs),
            Created::Duplicate => Self::duplicate(),
        }
    }
}
