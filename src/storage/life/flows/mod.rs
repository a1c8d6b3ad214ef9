//! Facet: flows: which jobs wait for which, and what follows when one of them ends.
//!
//! A job of a flow has the flow's number in its record, and a row beside it, its node, which says how many others it waits for
//! and which others wait for it. When such a job ends, the facet notes it. Before the commit, [`Batch::close`] tells the nodes
//! that depend on it: the count of each falls, and a job whose count has reached zero leaves the home of the blocked jobs. A node
//! with very many dependents tells them in several commits: what is left is in `flow_untold`.
//!
//! [`creating`] stores a flow and adds to it, [`following`] says what follows an end, [`ending`] cancels a flow, waits for
//! deadlines and removes what is kept no longer, [`problems`] checks the rows.

mod creating;
mod ending;
mod following;
mod problems;

use super::moved::Moved;
use crate::job::{NodeEnd, NodeState, State, Transition};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::flow_rows::What;

pub(crate) use creating::Created;
pub(crate) use ending::Signalled;
pub(in crate::storage) use following::dependent_of;
pub(in crate::storage) use problems::problems;
pub(super) use problems::{check_job, rebuild};

/// How many dependents are told in one commit, and how many nodes are cancelled or removed in one.
pub(crate) const NODES_AT_ONCE: usize = 1_000;

/// Notes what has happened to a job of a flow.
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    let record = moved.to.or(moved.from).and_then(|side| side.record);
    let Some(flow) = record.and_then(|record| record.extra.as_deref()?.flow) else { return Ok(()) };
    let ended = |state| {
        let extra = moved.ended.and_then(|record| record.extra.as_deref());
        let result = extra.and_then(|extra| extra.result.clone());
        let is_result_coded = extra.is_some_and(|extra| extra.is_result_coded);
        What::Ended(NodeEnd { state, result, is_result_coded })
    };
    // A job whose row was not there has ended before.
    let was = moved.from.map(|side| side.state);
    let what = match (moved.transition, was) {
        (Transition::End(State::Completed), Some(_)) => ended(NodeState::Completed),
        (Transition::End(State::Dead), Some(_)) => ended(NodeState::Dead),
        (Transition::End(_) | Transition::Cancel, Some(_)) => ended(NodeState::Cancelled),
        (Transition::Purge, Some(State::Completed | State::Cancelled)) => return Ok(()),
        (Transition::Purge, Some(_)) => ended(NodeState::Cancelled),
        (Transition::Redrive, _) => What::Resumed,
        (Transition::MoveIn, _) => What::Moved(moved.queue),
        (Transition::Restore, _) => What::Back,
        _ => return Ok(()),
    };
    batch.flow_rows.note(flow, moved.id.get(), what);
    Ok(())
}
