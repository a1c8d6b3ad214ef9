//! A flow as a whole: how many of its jobs stand where, and what follows from that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::node::NodeState;
use crate::time::{Due, Timestamp};

/// How many jobs and signals of a flow stand where. Callbacks are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FlowCounts {
    /// Wait for other jobs of the flow.
    pub blocked: u64,
    /// Wait for nothing in the flow and have not ended: pending, scheduled, running or retrying jobs, and signals that have not
    /// come.
    pub active: u64,
    /// Have completed, or have come.
    pub completed: u64,
    /// Are dead letters. A signal that has missed its deadline counts as one.
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

    pub(crate) fn count_mut(&mut self, state: NodeState) -> &mut u64 {
        match state {
            NodeState::Blocked => &mut self.blocked,
            NodeState::Active => &mut self.active,
            NodeState::Completed => &mut self.completed,
            NodeState::Dead => &mut self.dead,
            NodeState::Cancelled => &mut self.cancelled,
        }
    }

    fn has_failures(&self) -> bool {
        self.dead + self.cancelled > 0
    }
}

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlowState {
    /// At least one of its jobs can run or runs, or a signal is awaited.
    Running,
    /// Jobs wait for others that have died or were cancelled. Nothing runs until one of those is redriven, or the flow is
    /// cancelled.
    Held,
    /// All of its jobs have completed.
    Completed,
    /// All of its jobs have ended, and some of them are dead or cancelled.
    Failed,
    /// It was cancelled as a whole, and all of its jobs have ended. If all have completed nevertheless, it is `Completed`.
    Cancelled,
}

impl FlowState {
    /// Whether all jobs of the flow have ended.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// One word in lower case, such as `running`.
impl std::fmt::Display for FlowState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Held => "held",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// When a callback of a flow runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum When {
    Success,
    Failure,
    End,
}

/// A callback of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Callback {
    pub node: u64,
    pub when: When,
    /// It was made to run, which happens once.
    pub is_told: bool,
}

/// A flow as the file keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowRow {
    pub name: String,
    pub created_at: Timestamp,
    pub counts: FlowCounts,
    pub callbacks: Vec<Callback>,
    /// How many callbacks were made to run and have not ended.
    pub callbacks_open: u32,
    /// How many nodes have ended and have dependents that were not told of it yet.
    pub untold: u32,
    pub deadline: Option<Due>,
    /// Why it was cancelled, if it was.
    pub cancelled: Option<String>,
    /// How long it is kept after its end.
    pub keep: Duration,
    /// When it last settled, by the wall clock.
    pub settled_at: Option<Timestamp>,
    /// Since when it is kept after its end, on the age line.
    pub kept_since: Option<Timestamp>,
}

impl FlowRow {
    /// How long a flow is kept after its end by default.
    pub const KEEP: Duration = Duration::from_secs(7 * 24 * 3_600);

    pub fn new(name: &str, created_at: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            created_at,
            counts: FlowCounts::default(),
            callbacks: Vec::new(),
            callbacks_open: 0,
            untold: 0,
            deadline: None,
            cancelled: None,
            keep: Self::KEEP,
            settled_at: None,
            kept_since: None,
        }
    }

    pub fn state(&self) -> FlowState {
        let counts = &self.counts;
        if !self.is_settled() {
            FlowState::Running
        } else if counts.blocked > 0 {
            FlowState::Held
        } else if !counts.has_failures() {
            FlowState::Completed
        } else if self.cancelled.is_some() {
            FlowState::Cancelled
        } else {
            FlowState::Failed
        }
    }

    /// Whether nothing of it can run before somebody does something about its failures.
    pub fn is_settled(&self) -> bool {
        self.counts.active == 0 && self.untold == 0
    }

    /// Whether it has ended, and its callbacks too.
    pub fn is_over(&self) -> bool {
        self.state().has_ended() && self.callbacks_open == 0
    }

    /// The callbacks that are to run now. Each is returned once.
    pub fn callbacks_due(&mut self) -> Vec<u64> {
        let state = self.state();
        let is_due = |when| match (when, state) {
            (_, FlowState::Running) => false,
            (When::Success, state) => state == FlowState::Completed,
            (When::Failure, state) => state != FlowState::Completed,
            (When::End, _) => true,
        };
        let due = self.callbacks.iter_mut().filter(|callback| !callback.is_told && is_due(callback.when));
        let due: Vec<_> =
            due.map(|callback| (std::mem::replace(&mut callback.is_told, true), callback.node).1).collect();
        self.callbacks_open += due.len() as u32;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(counts: FlowCounts) -> FlowRow {
        let callbacks = [(1, When::Success), (2, When::Failure), (3, When::End)];
        let callbacks = callbacks.map(|(node, when)| Callback { node, when, is_told: false }).to_vec();
        FlowRow { counts, callbacks, ..FlowRow::new("f", Timestamp::EPOCH) }
    }

    #[test]
    fn callbacks_run_once_when_the_flow_has_settled() {
        let mut flow = with(FlowCounts { active: 1, completed: 1, ..FlowCounts::default() });
        assert_eq!((flow.state(), flow.callbacks_due()), (FlowState::Running, vec![]));

        flow.counts = FlowCounts { completed: 2, ..FlowCounts::default() };
        flow.untold = 1;
        assert_eq!((flow.state(), flow.callbacks_due()), (FlowState::Running, vec![]));
        flow.untold = 0;
        assert_eq!((flow.state(), flow.callbacks_due()), (FlowState::Completed, vec![1, 3]));
        assert_eq!((flow.callbacks_due(), flow.callbacks_open), (vec![], 2));
        assert!(!flow.is_over());
    }

    #[test]
    fn a_flow_that_is_held_has_failed_and_can_succeed_after_all() {
        let mut flow = with(FlowCounts { blocked: 1, dead: 1, ..FlowCounts::default() });
        assert_eq!((flow.state(), flow.callbacks_due()), (FlowState::Held, vec![2, 3]));
        flow.counts = FlowCounts { completed: 2, ..FlowCounts::default() };
        assert_eq!((flow.state(), flow.callbacks_due()), (FlowState::Completed, vec![1]));
    }

    #[test]
    fn an_empty_flow_has_completed() {
        let mut flow = with(FlowCounts::default());
        assert_eq!((flow.state(), flow.callbacks_due()), (FlowState::Completed, vec![1, 3]));
    }

    #[test]
    fn a_flow_that_was_cancelled_says_so_once_all_has_ended() {
        let mut flow = with(FlowCounts { active: 1, cancelled: 1, ..FlowCounts::default() });
        flow.cancelled = Some("not needed".into());
        assert_eq!(flow.state(), FlowState::Running);
        flow.counts = FlowCounts { cancelled: 2, ..FlowCounts::default() };
        assert_eq!(flow.state(), FlowState::Cancelled);
        flow.counts = FlowCounts { completed: 2, ..FlowCounts::default() };
        assert_eq!(flow.state(), FlowState::Completed, "they were not to be stopped");
    }
}
