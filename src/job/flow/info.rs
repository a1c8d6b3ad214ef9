//! A flow and its jobs, as they are shown.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::counts::{FlowCounts, FlowRow, FlowState};
use super::node::{NodeState, OnFailure};
use crate::error::BoxError;
use crate::job::JobId;
use crate::time::{Timestamp, in_seconds};

/// A flow, as [`Flows::get`](crate::Flows::get) and [`Flows::list`](crate::Flows::list) show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FlowInfo {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: FlowState,
    /// How many of its jobs and signals stand where.
    pub counts: FlowCounts,
    /// How many callbacks were made to run and have not ended.
    pub callbacks_running: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when nothing of it can run, if nothing can.
    pub settled_at: Option<Timestamp>,
    /// When all of it that has not ended is cancelled.
    pub deadline: Option<Timestamp>,
    /// Why it was cancelled, if it was.
    pub cancelled: Option<String>,
    /// How long it is kept after its end.
    #[serde(serialize_with = "in_seconds")]
    pub keep: Duration,
}

/// A job or a signal of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FlowNode {
    /// The id of the job. A signal has a number of the same sequence, which is not that of a job.
    pub id: JobId,
    /// Its name in the flow, if it was given one.
    pub name: Option<String>,
    /// What it is.
    pub kind: FlowNodeKind,
    /// Where it stands.
    pub state: NodeState,
    /// How many jobs and signals it still waits for.
    pub waits: u32,
    /// How many of those have failed and hold it.
    pub failed: u32,
    /// One of those that hold it.
    pub held_by: Option<JobId>,
    /// Whether it is a callback of the flow.
    pub is_callback: bool,
    /// What waits for it, and what becomes of that if this one fails: the first 16.
    pub dependents: Vec<(JobId, OnFailure)>,
    /// How many others wait for it.
    pub more_dependents: u32,
    /// What its handler returned, or what came with the signal.
    #[serde(skip)]
    pub result: Option<Bytes>,
}

/// What a node of a flow is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlowNodeKind {
    /// A job.
    #[non_exhaustive]
    Job {
        /// Its queue.
        queue: String,
        /// Its kind.
        kind: String,
    },
    /// A signal.
    #[non_exhaustive]
    Signal {
        /// When it counts as failed if it has not come.
        deadline: Option<Timestamp>,
    },
}

impl From<FlowRow> for FlowInfo {
    fn from(row: FlowRow) -> Self {
        let state = row.state();
        let FlowRow { name, created_at, counts, callbacks_open, deadline, cancelled, keep, settled_at, .. } = row;
        let deadline = deadline.map(|due| due.at);
        Self {
            name,
            state,
            counts,
            callbacks_running: callbacks_open,
            created_at,
            settled_at,
            deadline,
            cancelled,
            keep,
        }
    }
}

impl FlowNode {
    /// Whether it is a job, and not a signal.
    pub fn is_job(&self) -> bool {
        matches!(self.kind, FlowNodeKind::Job { .. })
    }

    /// The result, read from JSON; `None` if there is none.
    ///
    /// # Errors
    /// That of `serde_json` if it is not JSON, or is not a `T`.
    pub fn result_json<T: DeserializeOwned>(&self) -> Result<Option<T>, BoxError> {
        Ok(self.result.as_deref().map(serde_json::from_slice).transpose()?)
    }
}
