//! Queues, their groups, and their limits.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{History, Link};

/// How many jobs a queue has in each state, and how many it has had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Jobs that can run as soon as there is a slot.
    pub pending: u64,
    /// Jobs whose handlers run.
    pub running: u64,
    /// Jobs whose handlers have returned and whose ends are being written.
    pub ending: u64,
    /// Jobs that are due later.
    pub scheduled: u64,
    /// Jobs that have failed and are due again.
    pub retrying: u64,
    /// Jobs that wait for other jobs of their flows.
    pub blocked: u64,
    /// Completed jobs that are kept.
    pub completed: u64,
    /// Dead letters.
    pub dead: u64,
    /// Cancelled jobs that are kept.
    pub cancelled: u64,
    /// The size in bytes of the jobs that have not ended.
    pub bytes: u64,
    /// Jobs that were enqueued since the file was made.
    pub enqueued_total: u64,
    /// Jobs that were completed since the file was made.
    pub completed_total: u64,
    /// Attempts that have failed since the file was made.
    pub failures_total: u64,
}

impl Counts {
    /// Jobs that have not ended.
    pub fn unfinished(&self) -> u64 {
        self.pending + self.running + self.ending + self.scheduled + self.retrying + self.blocked
    }

    /// How many jobs a list of the jobs in this state has. Jobs whose ends are being written are listed as running. `None` for
    /// a state that is not counted.
    pub fn in_state(&self, state: &str) -> Option<u64> {
        match state {
            "pending" => Some(self.pending),
            "scheduled" => Some(self.scheduled),
            "running" => Some(self.running + self.ending),
            "retrying" => Some(self.retrying),
            "blocked" => Some(self.blocked),
            "completed" => Some(self.completed),
            "dead" => Some(self.dead),
            "cancelled" => Some(self.cancelled),
            _ => None,
        }
    }
}

/// The circuit of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Circuit {
    /// Whether jobs start as usual.
    pub is_closed: bool,
    /// The state, as a phrase: `open for another 12s`.
    pub state: String,
}

/// A queue as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// How many jobs it has.
    pub counts: Counts,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Whether this process has a worker for it.
    pub has_worker: bool,
    /// How long the oldest of the jobs that could run has waited.
    pub oldest_ready_seconds: Option<f64>,
    /// The circuit, if it is not closed.
    pub circuit: Option<Circuit>,
    /// For how long the rate lets no job start.
    pub rate_limited_for_seconds: Option<f64>,
    /// Whether an operator has overridden a limit.
    pub has_overrides: bool,
    /// Jobs that were enqueued per second, in the latest minutes.
    pub enqueued_per_second: f64,
    /// Jobs that were completed per second, in the latest minutes.
    pub completed_per_second: f64,
    /// The last hour.
    pub history: History,
}

/// A rate: so many starts in each period.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rate {
    /// How many jobs start in a period.
    pub count: u32,
    /// The length of the period. A second if it is left out.
    #[serde(default = "one")]
    pub period_seconds: f64,
    /// How many jobs can start at once after a pause, if not `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

fn one() -> f64 {
    1.0
}

/// A rate that an operator has set in place of the code's own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateChange {
    /// No limit.
    Unlimited,
    /// This limit.
    Limited(Rate),
}

/// What an operator has set in place of the code's own limits. What is `null` or left out is as the code says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// How many jobs of the queue run at a time; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many jobs of the queue start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateChange>,
    /// How many jobs of each group start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_rate: Option<RateChange>,
}

/// What a worker's code has set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// How many jobs run at a time.
    pub concurrency: u64,
    /// How many jobs start.
    pub rate: Option<Rate>,
    /// How many jobs of each group start.
    pub group_rate: Option<Rate>,
    /// The circuit breaker of the queue, as a phrase.
    pub circuit_breaker: Option<String>,
    /// The circuit breakers of the groups, as a phrase.
    pub group_circuit_breaker: Option<String>,
}

/// A queue with everything about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueDetail {
    /// What is listed of it.
    pub queue: Queue,
    /// The limits of its worker's code, if it has a worker.
    pub worker: Option<Worker>,
    /// What an operator has set in place of them.
    pub overrides: Overrides,
    /// What holds: the code's limits with the overrides.
    pub effective: Option<Worker>,
    /// The kinds that are paused.
    pub paused_kinds: Vec<String>,
    /// The links of the process that move jobs to or from the queue.
    pub links: Vec<Link>,
    /// How many tokens the rate's bucket has, if the queue has a rate.
    pub tokens: Option<f64>,
    /// The settings of the queue that are in the file, in the form in which the queue shows them.
    pub settings: serde_json::Value,
}

/// A group with waiting jobs, or one that is paused or held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Whether it is paused.
    pub is_paused: bool,
    /// The dead letter that holds it.
    pub held_by: Option<String>,
    /// How many of its jobs have not ended.
    pub jobs: u64,
    /// The job that is next, or runs.
    pub next: Option<String>,
    /// Why that job does not run, as a sentence.
    pub why: String,
}

/// Some groups of a queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GroupPage {
    /// The groups, by name.
    pub groups: Vec<Group>,
    /// Pass this as `after` to get the next page; `null` at the end.
    pub next: Option<String>,
}
