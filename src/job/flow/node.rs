//! One node of a flow: a job or a signal, what it waits for, and what waits for it. Its number is that of its job; a signal
//! has a number of the same sequence.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::job::{KindId, QueueId};
use crate::time::Due;

/// What becomes of a job of a flow when a job that it waits for dies or is cancelled.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// use millpond::OnFailure;
///
/// pond.flow("order-7", |flow| {
///     let charge = flow.job("billing", Charge { order: 7 });
///     // The receipt is cancelled if the charge dies; the report runs in any case.
///     flow.job("emails", NewJob::json("receipt", &7)).after_or(&charge, OnFailure::Cancel);
///     flow.job("emails", NewJob::json("report", &7)).after_or(&charge, OnFailure::Run);
/// })
/// .await?;
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnFailure {
    /// The job waits until the dependency completes after all. A dead letter that is redriven resumes the flow.
    #[default]
    Hold,
    /// The job is cancelled, and so are the jobs that wait for it with this policy.
    Cancel,
    /// The job runs, as if the dependency had completed.
    Run,
}

/// Where a job or a signal of a flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeState {
    /// It waits for other jobs of the flow.
    Blocked,
    /// It waits for nothing in the flow, and has not ended: a job that can run or runs, or a signal that has not come.
    Active,
    /// The job has completed, or the signal has come.
    Completed,
    /// The job is a dead letter, or the signal has missed its deadline.
    Dead,
    /// The job was cancelled or removed, or has expired.
    Cancelled,
}

/// One word in lower case, such as `blocked`.
impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Blocked => "blocked",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        })
    }
}

impl NodeState {
    /// Whether it has ended.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }

    pub(crate) const fn has_failed(self) -> bool {
        matches!(self, Self::Dead | Self::Cancelled)
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    Job {
        queue: QueueId,
        kind: KindId,
    },
    /// Something from outside, which fails at its deadline if it has one.
    Signal {
        deadline: Option<Due>,
    },
}

/// A node as the file keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub what: What,
    pub state: NodeState,
    /// How many nodes it still waits for.
    pub waits: u32,
    /// How many of those have failed, and hold it.
    pub failed: u32,
    /// One of the nodes that hold it.
    pub held_by: Option<u64>,
    /// Its name, if it was given one.
    pub name: Option<String>,
    /// Whether it is a callback of the flow, and not one of its jobs.
    pub is_callback: bool,
    /// The nodes that wait for it. Those beyond [`Node::DEPENDENTS_MAX`] have rows of their own.
    pub dependents: Vec<Dependent>,
    /// How many dependents have rows of their own.
    pub more_dependents: u32,
    /// What its handler returned, or what came with the signal.
    pub result: Option<Bytes>,
    /// The payload codec has made the bytes of the result.
    pub is_result_coded: bool,
}

/// A node that waits for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dependent {
    pub node: u64,
    pub on_failure: OnFailure,
    /// It was told of a failure with [`OnFailure::Run`] or [`OnFailure::Cancel`], and does not wait for this one any more.
    pub is_done: bool,
}

/// How a node has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeEnd {
    pub state: NodeState,
    pub result: Option<Bytes>,
    pub is_result_coded: bool,
}

impl NodeEnd {
    pub const fn without_result(state: NodeState) -> Self {
        Self { state, result: None, is_result_coded: false }
    }
}

/// What a dependent does that was told of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It goes on waiting.
    Waits,
    /// It waits for nothing any more.
    Runs,
    /// It is cancelled, because the dependency has failed.
    Cancelled,
}

impl Node {
    /// How many dependents are part of a node's row.
    pub const DEPENDENTS_MAX: usize = 16;

    /// A node that waits for nothing yet.
    pub fn new(what: What) -> Self {
        Self {
            what,
            state: NodeState::Active,
            waits: 0,
            failed: 0,
            held_by: None,
            name: None,
            is_callback: false,
            dependents: Vec::new(),
            more_dependents: 0,
            result: None,
            is_result_coded: false,
        }
    }

    pub fn is_job(&self) -> bool {
        matches!(self.what, What::Job { .. })
    }

    pub fn has_dependents(&self) -> bool {
        !self.dependents.is_empty() || self.more_dependents > 0
    }

    /// It waits for nothing any more, or runs again. Returns where it stood.
    pub fn begin(&mut self) -> NodeState {
        std::mem::replace(&mut self.state, NodeState::Active)
    }

    /// It has ended. Returns where it stood.
    pub fn end(&mut self, end: NodeEnd) -> NodeState {
        let NodeEnd { state, result, is_result_coded } = end;
        (self.result, self.is_result_coded) = (result, is_result_coded);
        std::mem::replace(&mut self.state, state)
    }

    /// A dependency of this node, `from`, has ended.
    pub fn dependency_ended(&mut self, from: u64, of: Dependent, state: NodeState) -> Told {
        if self.state != NodeState::Blocked || of.is_done {
            return Told::Waits;
        }
        match (of.on_failure, state.has_failed()) {
            (OnFailure::Hold, true) => {
                self.failed += 1;
                self.held_by = Some(from);
                Told::Waits
            }
            (OnFailure::Cancel, true) => Told::Cancelled,
            (OnFailure::Run, true) | (_, false) => {
                self.waits = self.waits.saturating_sub(1);
                if self.waits == 0 { Told::Runs } else { Told::Waits }
            }
        }
    }

    /// A dead dependency was redriven, and holds this node no more.
    pub fn dependency_resumed(&mut self, from: u64, of: Dependent) {
        if self.state == NodeState::Blocked && of.on_failure == OnFailure::Hold {
            self.failed = self.failed.saturating_sub(1);
            if self.failed == 0 || self.held_by == Some(from) {
                self.held_by = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(waits: u32) -> Node {
        let what = What::Job { queue: 1, kind: 1 };
        Node { state: NodeState::Blocked, waits, ..Node::new(what) }
    }

    fn by(on_failure: OnFailure) -> Dependent {
        Dependent { node: 9, on_failure, is_done: false }
    }

    #[test]
    fn a_node_runs_when_the_last_of_its_dependencies_has_completed() {
        let mut node = blocked(2);
        assert_eq!(node.dependency_ended(1, by(OnFailure::Hold), NodeState::Completed), Told::Waits);
        assert_eq!(node.dependency_ended(2, by(OnFailure::Cancel), NodeState::Completed), Told::Runs);
    }

    #[test]
    fn a_failed_dependency_holds_cancels_or_lets_run_as_the_policy_says() {
        for failed in [NodeState::Dead, NodeState::Cancelled] {
            assert_eq!(blocked(1).dependency_ended(1, by(OnFailure::Run), failed), Told::Runs);
            assert_eq!(blocked(1).dependency_ended(1, by(OnFailure::Cancel), failed), Told::Cancelled);
            let mut held = blocked(1);
            assert_eq!(held.dependency_ended(1, by(OnFailure::Hold), failed), Told::Waits);
            assert_eq!((held.waits, held.failed, held.held_by), (1, 1, Some(1)));
        }
    }

    #[test]
    fn a_redriven_dependency_is_waited_for_once_more_only_by_those_that_it_held() {
        let mut held = blocked(1);
        held.dependency_ended(1, by(OnFailure::Hold), NodeState::Dead);
        held.dependency_resumed(1, by(OnFailure::Hold));
        assert_eq!((held.waits, held.failed, held.held_by), (1, 0, None));
        assert_eq!(held.dependency_ended(1, by(OnFailure::Hold), NodeState::Completed), Told::Runs);

        let mut let_run = blocked(2);
        assert_eq!(let_run.dependency_ended(1, by(OnFailure::Run), NodeState::Dead), Told::Waits);
        let done = Dependent { is_done: true, ..by(OnFailure::Run) };
        let_run.dependency_resumed(1, done);
        assert_eq!(let_run.dependency_ended(1, done, NodeState::Completed), Told::Waits);
        assert_eq!(let_run.waits, 1, "it still waits for the other dependency");
    }

    #[test]
    fn a_node_that_does_not_wait_any_more_is_not_changed() {
        let mut node = Node { state: NodeState::Active, ..blocked(0) };
        let before = node.clone();
        assert_eq!(node.dependency_ended(1, by(OnFailure::Cancel), NodeState::Dead), Told::Waits);
        node.dependency_resumed(1, by(OnFailure::Hold));
        assert_eq!(node, before);
    }
}
