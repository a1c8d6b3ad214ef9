//! Flows, and the steps of handlers.

use crate::{FlowEdge, FlowInfo, FlowNode, FlowNodeKind, JobId, JobInfo, Millpond, OnFailure, StepInfo, StepState};

use super::api::{self, Body, FlowCounts, FlowDetail, FlowPage, FlowRow, Paging, Problem, Step};
use super::body;
use super::jobs::time;
use super::redact::Redact;

/// What the application's hook gets as the kind of what was sent with a signal of a flow, which has no queue.
const SIGNAL: &str = "signal";

pub(super) fn list(pond: &Millpond, page: &Paging) -> Result<FlowPage, Problem> {
    let flows = pond.flows();
    let found = flows.list(page.start().unwrap_or_default(), page.entries())?;
    // A page can be short although more follow.
    let next = match found.last() {
        Some(last) if !flows.list(&last.name, 1)?.is_empty() => Some(last.name.clone()),
        _ => None,
    };
    Ok(FlowPage { total: flows.count()?, flows: found.into_iter().map(row).collect(), next })
}

pub(super) fn get(pond: &Millpond, name: &str, redact: &Redact) -> Result<FlowDetail, Problem> {
    let flows = pond.flows();
    let row = row(flows.get(name)?);
    let graph = flows.graph(name)?;
    let dot = graph.to_dot();
    let nodes = graph.nodes.into_iter().map(|shown| node(shown, redact)).collect();
    let edges = graph.edges.into_iter().map(edge).collect();
    Ok(FlowDetail { row, nodes, edges, is_partial: graph.is_partial, dot })
}

fn row(flow: FlowInfo) -> FlowRow {
    let counts = flow.counts;
    FlowRow {
        name: flow.name,
        state: flow.state.to_string(),
        counts: FlowCounts {
            blocked: counts.blocked,
            active: counts.active,
            completed: counts.completed,
            dead: counts.dead,
            cancelled: counts.cancelled,
        },
        callbacks_running: flow.callbacks_running,
        created_at: time(flow.created_at),
        settled_at: flow.settled_at.map(time),
        deadline: flow.deadline.map(time),
        cancelled: flow.cancelled,
        keep_seconds: flow.keep.as_secs_f64(),
    }
}

fn node(node: FlowNode, redact: &Redact) -> api::FlowNode {
    let (queue, kind, deadline) = match node.kind {
        FlowNodeKind::Job { queue, kind } => (Some(queue), Some(kind), None),
        FlowNodeKind::Signal { deadline } => (None, None, deadline.map(time)),
    };
    let of = (queue.as_deref().unwrap_or_default(), kind.as_deref().unwrap_or(SIGNAL));
    api::FlowNode {
        result: node.result.map(|bytes| result(&bytes, of, redact)),
        id: node.id.to_string(),
        name: node.name,
        queue,
        kind,
        deadline,
        state: node.state.to_string(),
        waits: node.waits,
        failed: node.failed,
        held_by: node.held_by.map(|id| id.to_string()),
        is_callback: node.is_callback,
    }
}

fn edge(edge: FlowEdge) -> api::FlowEdge {
    let on_failure = match edge.on_failure {
        OnFailure::Hold => api::OnFailure::Hold,
        OnFailure::Cancel => api::OnFailure::Cancel,
        OnFailure::Run => api::OnFailure::Run,
    };
    api::FlowEdge { from: edge.from.to_string(), to: edge.to.to_string(), on_failure }
}

/// How many steps and signals of a job are not undone.
pub(super) fn steps_done(pond: &Millpond, id: JobId) -> Result<u64, Problem> {
    let is_done = |step: &StepInfo| !matches!(step.state, StepState::Undone { .. });
    Ok(pond.steps(id)?.iter().filter(|step| is_done(step)).count() as u64)
}

/// The steps of a job.
pub(super) fn steps(pond: &Millpond, job: &JobInfo, redact: &Redact) -> Result<Vec<Step>, Problem> {
    let of = (job.queue.as_str(), job.kind.as_str());
    Ok(pond.steps(job.id)?.into_iter().map(|shown| step(shown, of, redact)).collect())
}

fn step(step: StepInfo, of: (&str, &str), redact: &Redact) -> Step {
    let (state, until, undone_at) = match step.state {
        StepState::Done => ("done", None, None),
        StepState::Sleeps { until } => ("sleeps", Some(until), None),
        StepState::Waits { deadline } => ("waits", deadline, None),
        StepState::Signalled => ("signalled", None, None),
        StepState::Undone { at } => ("undone", None, Some(at)),
    };
    Step {
        name: step.name,
        at: time(step.at),
        state: state.to_owned(),
        until: until.map(time),
        undone_at: undone_at.map(time),
        result: step.result.map(|bytes| result(&bytes, of, redact)),
    }
}

fn result(bytes: &[u8], (queue, kind): (&str, &str), redact: &Redact) -> Body {
    body::of_short_result(bytes, queue, kind, redact)
}
