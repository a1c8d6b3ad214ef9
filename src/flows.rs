//! The flows: look at them, cancel them, retry what has died.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::dead_letters::{DeadLetters, Pace};
use crate::error::Error;
use crate::job::{
    CallSize, Dependent, FLOW_PAGE_BYTES, FlowCreated, FlowDraft, FlowEdge, FlowGraph, FlowInfo, FlowNode, FlowRow,
    JobId, NodeState, REASON_BYTES_MAX, check_key,
};
use crate::runtime::{Commit, Engine};
use crate::text::cut;
use crate::transaction::{prepare_flow, signal_payload};

/// Flows or nodes in one page, at most.
const PER_PAGE_MAX: usize = 1_000;

/// The flows of the file. [`Millpond::flow`](crate::Millpond::flow) makes one.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.flow("order-7", |flow| {
///     let charge = flow.job("billing", Charge { order: 7 });
///     flow.job("emails", NewJob::json("receipt", &7)).after(&charge);
/// })
/// .await?;
///
/// let order = pond.flows().get("order-7")?;
/// assert_eq!((order.counts.active, order.counts.blocked), (1, 1));
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Flows {
    engine: Arc<Engine>,
}

/// Makes a flow.
pub(crate) fn create(engine: &Arc<Engine>, name: &str, describe: impl FnOnce(&FlowDraft)) -> Commit<FlowCreated> {
    let prepared = FlowDraft::described(name, false, describe).and_then(|plan| {
        prepare_flow(&*engine.preparer(), engine.preparer().next_flow(), plan, &mut CallSize::default())
    });
    let created = engine.write_flow(prepared, |batch, flow| batch.create_flow(flow));
    Commit::new(async move { Ok(created.await?.into()) })
}

/// Adds jobs to a flow.
pub(crate) fn add(engine: &Arc<Engine>, name: &str, describe: impl FnOnce(&FlowDraft)) -> Commit<Vec<JobId>> {
    let prepared = FlowDraft::described(name, true, describe).and_then(|plan| {
        let (number, _) = find(engine, name)?;
        prepare_flow(&*engine.preparer(), number, plan, &mut CallSize::default())
    });
    engine.write_flow(prepared, |batch, flow| batch.add_to_flow(flow))
}

/// Says that a signal has come.
pub(crate) fn signal(
    engine: &Arc<Engine>,
    flow: &str,
    signal: &str,
    payload: &(impl Serialize + ?Sized),
) -> Commit<bool> {
    let payload = signal_payload(&*engine.preparer(), payload);
    let (engine, flow, signal) = (engine.clone(), flow.to_owned(), signal.to_owned());
    Commit::new(async move {
        let payload = payload?;
        engine.change_with(payload.payload.len(), move |batch| batch.signal_flow(&flow, &signal, &payload)).await
    })
}

fn find(engine: &Engine, name: &str) -> Result<(u64, FlowRow), Error> {
    check_key("flow", name)?;
    engine.reader()?.flow(name)?.ok_or_else(|| Error::NoSuchFlow { name: name.to_owned() })
}

impl Flows {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// How many flows there are, with those that have ended and are kept.
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert_eq!(pond.flows().count()?, 0);
    /// # Ok(()) });
    /// ```
    pub fn count(&self) -> Result<u64, Error> {
        Ok(self.engine.reader()?.flows_len()?)
    }

    /// The flow of this name.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`]; storage errors.
    pub fn get(&self, name: &str) -> Result<FlowInfo, Error> {
        Ok(find(&self.engine, name)?.1.into())
    }

    /// Flows, the latest first: up to `limit` (at most 1,000), older than the one of the name `before` (the empty text for the
    /// latest ones).
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`] for `before`; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// for name in ["a", "b", "c"] {
    ///     pond.flow(name, |flow| drop(flow.job("billing", Charge { order: 7 }))).await?;
    /// }
    /// let names = |flows: Vec<millpond::FlowInfo>| flows.into_iter().map(|flow| flow.name).collect::<Vec<_>>();
    /// assert_eq!(names(pond.flows().list("", 2)?), ["c", "b"]);
    /// assert_eq!(names(pond.flows().list("b", 2)?), ["a"]);
    /// # Ok(()) });
    /// ```
    pub fn list(&self, before: &str, limit: usize) -> Result<Vec<FlowInfo>, Error> {
        let before = if before.is_empty() { u64::MAX } else { find(&self.engine, before)?.0 };
        let flows = self.engine.reader()?.flows_before(before, limit.clamp(1, PER_PAGE_MAX))?;
        Ok(flows.into_iter().map(|(_, row)| row.into()).collect())
    }

    /// The jobs and signals of a flow behind `after`, in the order in which they were made: up to `limit` (at most 1,000). A page
    /// ends early when it has reached 8 MiB of results: only an empty page means that there are no more.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.flow("order-7", |flow| {
    ///     let charge = flow.job("billing", Charge { order: 7 }).named("charge");
    ///     let _ = flow.job("emails", NewJob::json("receipt", &7)).named("receipt").after(&charge);
    /// })
    /// .await?;
    /// let nodes = pond.flows().nodes("order-7", None, 100)?;
    /// assert_eq!(nodes[1].name.as_deref(), Some("receipt"));
    /// assert_eq!((nodes[0].dependents[0].0, nodes[1].waits), (nodes[1].id, 1));
    /// # Ok(()) });
    /// ```
    pub fn nodes(&self, name: &str, after: Option<JobId>, limit: usize) -> Result<Vec<FlowNode>, Error> {
        let (flow, _) = find(&self.engine, name)?;
        let (after, limit) = (after.map_or(0, JobId::get), limit.clamp(1, PER_PAGE_MAX));
        let nodes = self.engine.reader()?.flow_nodes(flow, after, limit, FLOW_PAGE_BYTES)?;
        Ok(nodes.into_iter().map(|node| self.engine.show_node(node)).collect())
    }

    /// The job or signal of this name in a flow; `None` if there is none.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`]; storage errors.
    pub fn node(&self, name: &str, node: &str) -> Result<Option<FlowNode>, Error> {
        let (flow, _) = find(&self.engine, name)?;
        let found = self.engine.reader()?.flow_node_named(flow, node)?;
        Ok(found.map(|node| self.engine.show_node(node)))
    }

    /// The jobs and signals of a flow with what waits for what: the first 1,000 of them.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`]; storage errors.
    pub fn graph(&self, name: &str) -> Result<FlowGraph, Error> {
        let (flow, row) = find(&self.engine, name)?;
        let reader = self.engine.reader()?;
        let found = reader.flow_nodes(flow, 0, PER_PAGE_MAX, FLOW_PAGE_BYTES)?;
        let shown: BTreeSet<u64> = found.iter().map(|(id, _)| *id).collect();
        let (mut nodes, mut edges) = (Vec::with_capacity(found.len()), Vec::new());
        for (id, node) in found {
            let more = if node.more_dependents > 0 { reader.flow_edges(flow, id)? } else { Vec::new() };
            let dependents = node.dependents.iter().copied().chain(more);
            let to_shown = dependents.filter(|dependent| shown.contains(&dependent.node));
            edges.extend(to_shown.map(|Dependent { node, on_failure, .. }| {
                let (from, to) = (JobId::new(id), JobId::new(node));
                FlowEdge { from, to, on_failure }
            }));
            nodes.push(self.engine.show_node((id, node)));
        }
        let is_partial = (nodes.len() as u64) < row.counts.total() + row.callbacks.len() as u64;
        Ok(FlowGraph { name: row.name, nodes, edges, is_partial })
    }

    /// Cancels all of a flow that has not ended. The handlers of running jobs are told, as by
    /// [`Millpond::cancel`](crate::Millpond::cancel). Callbacks of its end and its failure run. A flow of more than 1,000 jobs is
    /// cancelled in several commits, which go on by themselves. Returns false if all of it has ended, or it is being cancelled
    /// already.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.flow("order-7", |flow| {
    ///     let charge = flow.job("billing", Charge { order: 7 });
    ///     flow.job("emails", NewJob::json("receipt", &7)).after(&charge);
    /// })
    /// .await?;
    /// assert!(pond.flows().cancel("order-7", "out of stock").await?);
    /// assert_eq!(pond.flows().get("order-7")?.state, millpond::FlowState::Cancelled);
    /// # Ok(()) });
    /// ```
    pub fn cancel(&self, name: &str, reason: impl Into<String>) -> Commit<bool> {
        self.engine.cancel_flow(name.to_owned(), cut(reason.into(), REASON_BYTES_MAX))
    }

    /// Redrives the dead letters of a flow, which goes on then. Returns how many were redriven.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`], and those of [`DeadLetters::redrive_some`].
    pub fn retry(&self, name: &str, pace: Pace) -> Commit<u64> {
        let (flows, name) = (self.clone(), name.to_owned());
        Commit::new(async move {
            let (mut after, mut redriven) = (None, 0);
            loop {
                let (reading, name) = (flows.clone(), name.clone());
                let page =
                    crate::runtime::beside(flows.engine.clone(), move || reading.nodes(&name, after, PER_PAGE_MAX));
                let page = page.await?;
                let Some(last) = page.last() else { return Ok(redriven) };
                after = Some(last.id);
                let dead = page.iter().filter(|node| node.state == NodeState::Dead && node.is_job());
                let dead: Vec<_> = dead.map(|node| node.id).collect();
                if !dead.is_empty() {
                    redriven += DeadLetters::new(flows.engine.clone()).redrive_some(dead, pace).await?;
                }
            }
        })
    }

    /// Removes a flow that has ended, before its time, with the results of its jobs. Its dead letters stay. Returns false if there
    /// is no such flow. A large flow is removed in several commits.
    ///
    /// # Errors
    /// [`Error::FlowRuns`] if it has not ended, or one of its callbacks has not; storage errors.
    pub fn remove(&self, name: &str) -> Commit<bool> {
        let name = name.to_owned();
        self.engine.change(move |batch| batch.remove_flow(&name))
    }
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows").finish_non_exhaustive()
    }
}
