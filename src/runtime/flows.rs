//! What the engine does for flows: makes them, tells dependents that could not be told in one commit, and reads them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::commit::Commit;
use super::engine::Engine;
use crate::error::Error;
use crate::handler::ReadFlow;
use crate::job::{FlowNode, FlowNodeKind, JobId, NewFlow, Node, What};
use crate::storage::{Batch, Prepared};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Now;
use crate::transaction::Prepare;
use crate::writer::call_with;

/// The numbers of new flows. Each opening of the file has a range of its own, so no number is used twice.
pub(super) struct FlowNumbers(AtomicU64);

impl FlowNumbers {
    /// How many flows one opening makes before its numbers reach those of the next opening.
    const PER_OPENING: u64 = 1 << 24;

    /// Those of the opening that begins with this position, which only grows.
    pub fn of_opening(position: u64) -> Self {
        Self(AtomicU64::new(position.saturating_mul(Self::PER_OPENING)))
    }

    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Engine {
    /// Has `write` store a flow, or an addition to one.
    pub fn write_flow<T: Send + 'static>(
        self: &Arc<Self>,
        flow: Result<NewFlow<Prepared>, Error>,
        write: fn(&mut Batch<'_>, &mut NewFlow<Prepared>) -> Result<T, Error>,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            let mut flow = flow?;
            let bytes = bytes_of(&flow);
            engine.change_with(bytes, move |batch| write(batch, &mut flow)).await
        })
    }

    /// Cancels a flow. Its waiting jobs do not start meanwhile.
    pub fn cancel_flow(self: &Arc<Self>, name: String, reason: String) -> Commit<bool> {
        let engine = self.clone();
        Commit::new(async move {
            engine.check_process()?;
            let (step, answer) = call_with(move |batch: &mut Batch<'_>, prepare: &dyn Prepare| {
                batch.cancel_flow(&name, &reason, prepare)
            });
            engine.answered(step.in_bulk(), 0, answer).await
        })
    }

    /// Has the writer do what is due of flows. Returns how long until something is due.
    pub(super) fn work_on_flows(self: &Arc<Self>, now: Now) -> Duration {
        if !self.flow_times.is_due(now) {
            return self.flow_times.wait(now);
        }
        if self.flow_times.ask() {
            self.internally_with(
                |batch: &mut Batch<'_>, prepare: &dyn Prepare| batch.work_on_flows(prepare),
                |engine, result: Result<(), Error>| {
                    if let Err(error) = result
                        && !error.is_of_the_writer()
                    {
                        tracing::warn!(%error, "what is due of flows could not be done");
                        engine.flow_times.failed(engine.now());
                    }
                    engine.flow_times.answered();
                    engine.wake_dispatcher();
                },
            );
        }
        Duration::MAX
    }

    /// A node as it is shown.
    pub fn show_node(&self, (id, node): (u64, Node)) -> FlowNode {
        let kind = match node.what {
            What::Job { queue, kind } => {
                FlowNodeKind::Job { queue: self.queue_name(queue).to_string(), kind: self.kind_name(kind).to_string() }
            }
            What::Signal { deadline } => FlowNodeKind::Signal { deadline: deadline.map(|due| due.at) },
        };
        let coder = self.coder();
        let result = node.result.map(|stored| coder.result(stored.clone(), node.is_result_coded).unwrap_or(stored));
        FlowNode {
            id: JobId::new(id),
            name: node.name,
            kind,
            state: node.state,
            waits: node.waits,
            failed: node.failed,
            held_by: node.held_by.map(JobId::new),
            is_callback: node.is_callback,
            dependents: node.dependents.iter().map(|own| (JobId::new(own.node), own.on_failure)).collect(),
            more_dependents: node.more_dependents,
            result,
        }
    }
}

fn bytes_of(flow: &NewFlow<Prepared>) -> usize {
    let jobs = flow.nodes.iter().filter_map(|node| match &node.what {
        crate::job::NewWhat::Job(job) => Some(job.bytes.len()),
        crate::job::NewWhat::Signal { .. } => None,
    });
    jobs.sum()
}

/// Reads the flows of an engine, for the handlers that it runs.
pub(crate) struct FlowsOf(pub Weak<Engine>);

impl ReadFlow for FlowsOf {
    fn name(&self, flow: u64) -> Result<Option<String>, Error> {
        let engine = self.0.upgrade().ok_or(Error::Closed)?;
        Ok(engine.reader()?.flow_numbered(flow)?.map(|row| row.name))
    }

    fn node_named(&self, flow: u64, name: &str) -> Result<Option<FlowNode>, Error> {
        let engine = self.0.upgrade().ok_or(Error::Closed)?;
        let found = engine.reader()?.flow_node_named(flow, name)?;
        Ok(found.map(|node| engine.show_node(node)))
    }

    fn nodes(&self, flow: u64, after: u64, limit: usize) -> Result<Vec<FlowNode>, Error> {
        let engine = self.0.upgrade().ok_or(Error::Closed)?;
        let found = engine.reader()?.flow_nodes(flow, after, limit, crate::job::FLOW_PAGE_BYTES)?;
        Ok(found.into_iter().map(|node| engine.show_node(node)).collect())
    }
}
