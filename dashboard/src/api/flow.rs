//! Flows: jobs that wait for jobs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Body, Time};

/// How many jobs and signals of a flow stand where. Callbacks are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowCounts {
    /// Wait for others of the flow.
    pub blocked: u64,
    /// Wait for nothing in the flow and have not ended.
    pub active: u64,
    /// Have completed, or have come.
    pub completed: u64,
    /// Are dead letters, or signals that have missed their deadlines.
    pub dead: u64,
    /// Were cancelled or removed, or have expired.
    pub cancelled: u64,
}

impl FlowCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.blocked + self.active + self.completed + self.dead + self.cancelled
    }

    /// Those that have ended.
    pub fn ended(&self) -> u64 {
        self.completed + self.dead + self.cancelled
    }
}

/// A flow as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlowRow {
    /// Its name.
    pub name: String,
    /// Its state: `running`, `held`, `completed`, `failed`, `cancelled`.
    pub state: String,
    /// How many of its jobs and signals stand where.
    pub counts: FlowCounts,
    /// How many callbacks were made to run and have not ended.
    pub callbacks_running: u32,
    /// When it was made.
    pub created_at: Time,
    /// Since when nothing of it can run, if nothing can.
    pub settled_at: Option<Time>,
    /// When all of it that has not ended is cancelled.
    pub deadline: Option<Time>,
    /// Why it was cancelled, if it was.
    pub cancelled: Option<String>,
    /// How long it is kept after its end.
    pub keep_seconds: f64,
}

/// Some flows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlowPage {
    /// How many flows there are.
    pub total: u64,
    /// The flows, the latest first.
    pub flows: Vec<FlowRow>,
    /// Pass this as `after` to get the next page; `null` at the end.
    pub next: Option<String>,
}

/// What becomes of a job when another one that it waits for fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnFailure {
    /// It goes on waiting.
    #[default]
    Hold,
    /// It is cancelled.
    Cancel,
    /// It runs.
    Run,
}

/// A job or a signal of a flow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlowNode {
    /// The id of the job. A signal has a number of the same sequence, which is not that of a job.
    pub id: String,
    /// Its name in the flow.
    pub name: Option<String>,
    /// The queue of the job; `null` for a signal.
    pub queue: Option<String>,
    /// The kind of the job; `null` for a signal.
    pub kind: Option<String>,
    /// When the signal counts as failed if it has not come.
    pub deadline: Option<Time>,
    /// Where it stands: `blocked`, `active`, `completed`, `dead`, `cancelled`.
    pub state: String,
    /// How many others it still waits for.
    pub waits: u32,
    /// How many of those have failed and hold it.
    pub failed: u32,
    /// One of those that hold it.
    pub held_by: Option<String>,
    /// Whether it is a callback of the flow.
    pub is_callback: bool,
    /// What its handler returned, or what came with the signal: the first 4 KiB.
    pub result: Option<Body>,
}

impl FlowNode {
    /// Whether it is a signal, and not a job.
    pub fn is_signal(&self) -> bool {
        self.queue.is_none()
    }

    /// Its name; if it was given none, its kind and its id.
    pub fn label(&self) -> String {
        let unnamed = || format!("{} {}", self.kind.as_deref().unwrap_or("signal"), self.id);
        self.name.clone().unwrap_or_else(unnamed)
    }
}

/// That a job waits for another job or a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowEdge {
    /// What is waited for.
    pub from: String,
    /// The job that waits.
    pub to: String,
    /// What becomes of the job if the other one fails.
    pub on_failure: OnFailure,
}

/// A flow with its jobs and signals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlowDetail {
    /// What is listed of it.
    #[serde(flatten)]
    pub row: FlowRow,
    /// The first 1,000 jobs and signals, in the order in which they were made.
    pub nodes: Vec<FlowNode>,
    /// Which of them waits for which.
    pub edges: Vec<FlowEdge>,
    /// Whether the flow has more.
    pub is_partial: bool,
    /// The same as a graph in the language DOT.
    pub dot: String,
}

/// A step of a handler, whose result is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Its name; from the second use of a name on with its number, as `charge#2`.
    pub name: String,
    /// When it was stored.
    pub at: Time,
    /// Where it stands: `done`, `sleeps`, `waits`, `signalled`, `undone`.
    pub state: String,
    /// Until when it sleeps or waits.
    pub until: Option<Time>,
    /// When it was undone.
    pub undone_at: Option<Time>,
    /// Its result, or what came with its signal: the first 4 KiB.
    pub result: Option<Body>,
}
