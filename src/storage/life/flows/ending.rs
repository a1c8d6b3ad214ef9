//! Verbs: a signal comes, a flow is cancelled, a deadline passes, and what is kept no longer is removed.

use std::ops::RangeInclusive;

use bytes::Bytes;
use redb::ReadableTable;

use super::NODES_AT_ONCE;
use super::following::due_key;
use crate::error::Error;
use crate::job::{JobId, NodeEnd, NodeState, Transition, What, Withdraw};
use crate::storage::life::steering::Target;
use crate::storage::life::{Move, NewHome};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::flow_rows::{Untold, What as News};
use crate::storage::rows::flow_times::{LINES, NotedFlows};
use crate::storage::rows::keys::Numbers;
use crate::storage::rows::place::{KnownQueue, Place};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::tables::FlowDueKey;
use crate::time::{Due, TimeLine, Timestamp};

/// What has come with a signal.
#[derive(Clone, Debug)]
pub(crate) struct Signalled {
    pub payload: Bytes,
    /// The payload codec has made its bytes.
    pub is_coded: bool,
}

/// Why a flow is cancelled whose deadline has passed.
const DEADLINE: &str = "the deadline of the flow has passed";

impl Batch<'_> {
    /// A signal has come. Returns false if it had come before, or its deadline has passed.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`], [`Error::NoSuchSignal`].
    pub fn signal_flow(&mut self, flow: &str, signal: &str, came: &Signalled) -> Result<bool, Error> {
        let number = self.flow_number(flow)?;
        let no_signal = || Error::NoSuchSignal { flow: flow.to_owned(), signal: signal.to_owned() };
        let id = self.node_named(number, signal)?.ok_or_else(no_signal)?;
        let node = self.flow_node(number, id)?.ok_or_else(no_signal)?;
        let What::Signal { deadline } = node.what else { return Err(no_signal()) };
        if node.state != NodeState::Active || self.flow_rows.has_news_of(number, id) {
            return Ok(false);
        }
        if let Some(due) = deadline {
            self.tables.flow_due()?.remove(due_key(due, number, id)).map_err(Fault::from)?;
        }
        self.touch();
        let Signalled { payload, is_coded } = came.clone();
        let (result, is_result_coded) = (Some(payload), is_coded);
        let end = NodeEnd { state: NodeState::Completed, result, is_result_coded };
        self.flow_rows.note(number, id, News::Ended(end));
        Ok(true)
    }

    /// Cancels all of a flow that has not ended. Returns false if all of it has.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`].
    pub fn cancel_flow(&mut self, name: &str, reason: &str, dispatch: &dyn Withdraw) -> Result<bool, Error> {
        let flow = self.flow_number(name)?;
        self.begin_to_cancel(flow, reason, dispatch)
    }

    fn begin_to_cancel(&mut self, flow: u64, reason: &str, dispatch: &dyn Withdraw) -> Result<bool, Error> {
        if self.flow(flow)?.is_none_or(|row| row.state().has_ended() || row.cancelled.is_some()) {
            return Ok(false);
        }
        if let Some(row) = self.flow_mut(flow)? {
            row.cancelled = Some(reason.to_owned());
        }
        self.put_untold(flow, 0, Some(&Untold { ends: Vec::new(), told: 0 }))?;
        self.go_on_cancelling(flow, dispatch)?;
        Ok(true)
    }

    /// Cancels some more of a flow that is being cancelled.
    fn go_on_cancelling(&mut self, flow: u64, dispatch: &dyn Withdraw) -> Result<(), Error> {
        let Some(untold) = self.untold(flow, 0)? else { return Ok(()) };
        let reason = self.flow(flow)?.and_then(|row| row.cancelled.clone()).unwrap_or_default();
        let range = (flow, untold.told + 1)..=(flow, u64::MAX);
        let rows = self.tables.flow_nodes()?.range(range).map_err(Fault::from)?.take(NODES_AT_ONCE);
        let nodes = rows.map(|row| Ok(row.map_err(Fault::from)?.0.value().1)).collect::<Result<Vec<_>, Fault>>()?;
        for &node in &nodes {
            self.cancel_node(flow, node, &reason, dispatch)?;
        }
        match nodes.last() {
            Some(&last) if nodes.len() == NODES_AT_ONCE => {
                Ok(self.put_untold(flow, 0, Some(&Untold { told: last, ..untold }))?)
            }
            _ => Ok(self.put_untold(flow, 0, None)?),
        }
    }

    fn cancel_node(&mut self, flow: u64, id: u64, reason: &str, dispatch: &dyn Withdraw) -> Result<(), Error> {
        let Some(node) = self.flow_node(flow, id)? else { return Ok(()) };
        if node.state.has_ended() || node.is_callback {
            return Ok(());
        }
        match node.what {
            What::Signal { .. } => {
                self.flow_rows.note(flow, id, News::Ended(NodeEnd::without_result(NodeState::Cancelled)));
                Ok(())
            }
            What::Job { queue, .. } => {
                let id = JobId::new(id);
                let taken = dispatch.withdraw(id).taken_from();
                match self.cancel_job(Target { id, queue: KnownQueue::Found(queue), taken }, reason) {
                    // A job that is in the quarantine or gone has nothing to be cancelled.
                    Err(Error::NoSuchJob { .. } | Error::Corrupt { .. }) => Ok(()),
                    result => result.map(drop),
                }
            }
        }
    }

    /// Does what is due of flows, some of it in this commit.
    pub fn work_on_flows(&mut self, dispatch: &dyn Withdraw) -> Result<(), Error> {
        let mut room = NODES_AT_ONCE;
        while room > 0 {
            let first = self.tables.flow_untold()?.first().map_err(Fault::from)?.map(|(key, _)| key.value());
            let Some((flow, node)) = first else { break };
            if node == 0 {
                room = room.saturating_sub(NODES_AT_ONCE);
                self.go_on_cancelling(flow, dispatch)?;
            } else {
                self.go_on_telling(flow, node, &mut room)?;
            }
        }
        for line in LINES {
            for (_, at, flow, node) in self.due_of_flows(line, 64)? {
                if room == 0 {
                    break;
                }
                let due = Due { line, at: Timestamp::from_millis(at) };
                match (line, node) {
                    (TimeLine::Age, _) => self.forget_flow(due, flow, &mut room)?,
                    (_, 0) => {
                        self.touch();
                        self.tables.flow_due()?.remove(due_key(due, flow, 0)).map_err(Fault::from)?;
                        self.begin_to_cancel(flow, DEADLINE, dispatch)?;
                        room = room.saturating_sub(NODES_AT_ONCE);
                    }
                    (_, node) => self.miss_signal(due, flow, node)?,
                }
            }
        }
        let is_behind = self.tables.flow_untold()?.first().map_err(Fault::from)?.is_some();
        self.flow_times = next_of(self.tables.flow_due()?, is_behind)?;
        Ok(())
    }

    fn due_of_flows(&mut self, line: TimeLine, most: usize) -> Result<Vec<FlowDueKey>, Fault> {
        let until = self.now.on(line);
        let rows = self.tables.flow_due()?.range(on(line, until))?.take(most);
        rows.map(|row| Ok(row?.0.value())).collect()
    }

    fn miss_signal(&mut self, due: Due, flow: u64, node: u64) -> Result<(), Fault> {
        self.touch();
        self.tables.flow_due()?.remove(due_key(due, flow, node))?;
        let is_awaited = self.flow_node(flow, node)?.is_some_and(|node| node.state == NodeState::Active);
        if is_awaited && !self.flow_rows.has_news_of(flow, node) {
            self.flow_rows.note(flow, node, News::Ended(NodeEnd::without_result(NodeState::Dead)));
        }
        Ok(())
    }

    /// Removes a flow that is kept no longer, as much of it as there is room for. Its dead letters stay.
    fn forget_flow(&mut self, due: Due, flow: u64, room: &mut usize) -> Result<(), Error> {
        self.touch();
        let rows = self.tables.flow_nodes()?.range((flow, 0)..=(flow, u64::MAX)).map_err(Fault::from)?.take(*room);
        let nodes = rows.map(|row| Ok(row.map_err(Fault::from)?.0.value().1)).collect::<Result<Vec<_>, Fault>>()?;
        *room -= nodes.len();
        for &id in &nodes {
            self.forget_node(flow, id)?;
        }
        if *room > 0 {
            let name = self.flow(flow)?.map(|row| row.name.clone());
            if let Some(name) = name {
                self.tables.flow_names()?.remove((0, name.as_str())).map_err(Fault::from)?;
            }
            self.put_flow(flow, None);
            self.tables.flow_due()?.remove(due_key(due, flow, 0)).map_err(Fault::from)?;
        }
        Ok(())
    }

    fn forget_node(&mut self, flow: u64, id: u64) -> Result<(), Error> {
        let Some(node) = self.flow_node(flow, id)? else { return Ok(()) };
        let (what, state, name, more) = (node.what, node.state, node.name.clone(), node.more_dependents);
        if let (What::Job { queue, .. }, NodeState::Blocked) = (what, state) {
            // A callback that never ran.
            let id = JobId::new(id);
            if let Some(stored) = self.stored(queue, id, Place::Blocked)? {
                let (transition, to) = (Transition::Purge, NewHome::Nowhere);
                self.apply(Move { id, queue, transition, from: stored.from(), to })?;
                self.note_end(queue, id, || None);
            }
        }
        if let Some(name) = name {
            self.tables.flow_names()?.remove((flow, name.as_str())).map_err(Fault::from)?;
        }
        if more > 0 {
            self.tables
                .flow_edges()?
                .retain_in((flow, id, 0)..=(flow, id, u64::MAX), |_, _| false)
                .map_err(Fault::from)?;
        }
        self.put_flow_node(flow, id, None);
        Ok(())
    }

    /// Removes a flow now that has ended, with all that is kept of it but its dead letters. Returns false if there is none.
    ///
    /// # Errors
    /// [`Error::FlowRuns`].
    pub fn remove_flow(&mut self, name: &str) -> Result<bool, Error> {
        let Some(flow) = self.flow_named(name)? else { return Ok(false) };
        let Some(row) = self.flow(flow)? else { return Ok(false) };
        if !row.is_over() {
            return Err(Error::FlowRuns { name: name.to_owned() });
        }
        let (keep, since) = (row.keep, row.kept_since);
        if let Some(since) = since {
            let was = Due { line: TimeLine::Age, at: since + keep };
            self.tables.flow_due()?.remove(due_key(was, flow, 0)).map_err(Fault::from)?;
        }
        // It is removed by the next commits, as if its time had passed.
        let (now, keep) = (self.now.age, std::time::Duration::ZERO);
        if let Some(row) = self.flow_mut(flow)? {
            (row.kept_since, row.keep) = (Some(now), keep);
        }
        self.put_flow_due(Due { line: TimeLine::Age, at: now }, flow, 0)?;
        Ok(true)
    }
}

impl Reader {
    /// When something of a flow is due.
    pub fn next_of_flows(&self) -> Result<NotedFlows, Fault> {
        let is_behind = self.tables().flow_untold()?.first()?.is_some();
        next_of(&self.tables().flow_due()?, is_behind)
    }
}

/// When something of a flow is due. `is_behind` says whether dependents are to be told.
fn next_of(due: &impl ReadableTable<Numbers<FlowDueKey>, ()>, is_behind: bool) -> Result<NotedFlows, Fault> {
    let mut next = NotedFlows::of_all();
    for line in LINES {
        if let Some(row) = due.range(on(line, Timestamp::from_millis(u64::MAX)))?.next() {
            next.add(Due { line, at: Timestamp::from_millis(row?.0.value().1) });
        }
    }
    if is_behind {
        next.add(NotedFlows::NOW);
    }
    Ok(next)
}

/// The keys of what is due on a line up to this time.
fn on(line: TimeLine, until: Timestamp) -> RangeInclusive<FlowDueKey> {
    (line as u8, 0, 0, 0)..=(line as u8, until.as_millis(), u64::MAX, u64::MAX)
}
