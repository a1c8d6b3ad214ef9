//! What follows when a node of a flow has ended: its dependents are told, and callbacks run when the flow has settled.

use redb::ReadableTable;

use super::NODES_AT_ONCE;
use crate::events::Event;
use crate::job::{Dependent, FlowState, JobId, Node, NodeEnd, NodeState, OnFailure, QueueId, Told, life};
use crate::storage::life::{Move, NewHome};
use crate::storage::rows::batch::{Batch, Sealed};
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::flow_rows::{NodeNews, Tell, Untold, What};
use crate::storage::rows::flow_times::NotedFlows;
use crate::storage::rows::place::Place;
use crate::storage::rows::prepared::Prepared;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::time::{Due, TimeLine};

impl Batch<'_> {
    /// Follows up what has happened to jobs of flows, and writes what was kept in memory. After that the transaction can be
    /// committed.
    pub fn close(mut self) -> Result<Sealed, Fault> {
        self.follow_up()?;
        self.seal()
    }

    /// Follows up what has happened to jobs of flows so far.
    pub fn follow_up(&mut self) -> Result<(), Fault> {
        if self.flow_rows.is_empty() {
            return Ok(());
        }
        let mut room = NODES_AT_ONCE;
        while let Some(news) = self.flow_rows.news.pop_front() {
            self.follow(news, &mut room)?;
        }
        for flow in self.flow_rows.changed() {
            self.settle(flow)?;
        }
        self.write_flow_rows()
    }

    fn follow(&mut self, news: NodeNews, room: &mut usize) -> Result<(), Fault> {
        let NodeNews { flow, node, what } = news;
        // The flow may be kept no longer, while a dead letter of it is.
        if self.flow(flow)?.is_none() || self.flow_node(flow, node)?.is_none() {
            return Ok(());
        }
        match what {
            What::Ended(end) => self.node_ended(flow, node, end, room),
            What::Resumed => self.node_resumed(flow, node, room),
            What::Moved(queue) => self.node_moved(flow, node, queue),
            What::Back => self.node_back(flow, node),
            What::WaitedFor(dependent) => {
                let after = self.flow_node(flow, node)?.map_or(NodeState::Cancelled, |node| node.state);
                self.tell_one(flow, node, dependent, Tell { ended: Some(after) })
            }
        }
    }

    fn node_ended(&mut self, flow: u64, id: u64, end: NodeEnd, room: &mut usize) -> Result<(), Fault> {
        let Some(node) = self.flow_node_mut(flow, id)? else { return Ok(()) };
        let (state, has_dependents) = (end.state, node.has_dependents());
        let was = node.end(end);
        self.count_node(flow, id, was)?;
        // A dead letter that is removed is a failure as before.
        if has_dependents && !was.has_ended() {
            self.tell(flow, id, Tell { ended: Some(state) }, room)?;
        }
        Ok(())
    }

    fn node_resumed(&mut self, flow: u64, id: u64, room: &mut usize) -> Result<(), Fault> {
        let Some(node) = self.flow_node_mut(flow, id)? else { return Ok(()) };
        let (was, has_dependents) = (node.begin(), node.has_dependents());
        // A flow that was cancelled goes on, unless the rest of it is being cancelled now.
        if let Some(row) = self.flow_mut(flow)?.filter(|row| row.untold == 0) {
            row.cancelled = None;
        }
        self.count_node(flow, id, was)?;
        if has_dependents {
            self.tell(flow, id, Tell { ended: None }, room)?;
        }
        Ok(())
    }

    fn node_moved(&mut self, flow: u64, id: u64, to: QueueId) -> Result<(), Fault> {
        if let Some(Node { what: crate::job::What::Job { queue, .. }, .. }) = self.flow_node_mut(flow, id)? {
            *queue = to;
        }
        Ok(())
    }

    /// The node's job was in the quarantine, and its dependencies may have ended meanwhile.
    fn node_back(&mut self, flow: u64, id: u64) -> Result<(), Fault> {
        match self.flow_node(flow, id)? {
            Some(node) if node.state == NodeState::Blocked && node.waits == 0 && !node.is_callback => {
                self.unblock(flow, id)
            }
            _ => Ok(()),
        }
    }

    /// Counts a node where it is now, and no longer where it `was`.
    fn count_node(&mut self, flow: u64, id: u64, was: NodeState) -> Result<(), Fault> {
        let Some(node) = self.flow_node(flow, id)? else { return Ok(()) };
        let (is, is_callback) = (node.state, node.is_callback);
        let Some(row) = self.flow_mut(flow)? else { return Ok(()) };
        if is_callback {
            match (was, is) {
                (NodeState::Active, is) if is.has_ended() => {
                    row.callbacks_open = row.callbacks_open.saturating_sub(1);
                }
                (was, NodeState::Active) if was.has_ended() => row.callbacks_open += 1,
                _ => {}
            }
            return Ok(());
        }
        let count = row.counts.count_mut(was);
        *count = count.saturating_sub(1);
        *row.counts.count_mut(is) += 1;
        Ok(())
    }

    /// Tells the dependents of a node, or notes that they are to be told.
    fn tell(&mut self, flow: u64, id: u64, tell: Tell, room: &mut usize) -> Result<(), Fault> {
        let is_behind = self.flow(flow)?.is_some_and(|row| row.untold > 0);
        let mut untold = if is_behind { self.untold(flow, id)? } else { None };
        if let Some(untold) = &mut untold {
            untold.ends.push(tell);
            return self.put_untold(flow, id, Some(untold));
        }
        match self.tell_some(flow, id, tell, 0, room)? {
            None => Ok(()),
            Some(told) => self.put_untold(flow, id, Some(&Untold { ends: vec![tell], told })),
        }
    }

    /// Tells the dependents of a node behind the first `told`, as long as there is room. Returns how many were told, unless all
    /// were.
    fn tell_some(&mut self, flow: u64, id: u64, tell: Tell, told: u64, room: &mut usize) -> Result<Option<u64>, Fault> {
        let (dependents, more) = self.dependents(flow, id, told, *room)?;
        let count = dependents.len();
        for dependent in dependents {
            self.tell_one(flow, id, dependent, tell)?;
        }
        *room -= count;
        Ok(more.then_some(told + count as u64))
    }

    /// The dependents of a node behind the first `skip`, at most `most`, and whether there are more.
    fn dependents(&mut self, flow: u64, id: u64, skip: u64, most: usize) -> Result<(Vec<Dependent>, bool), Fault> {
        let Some(node) = self.flow_node(flow, id)? else { return Ok((Vec::new(), false)) };
        let (in_row, more) = (node.dependents.len() as u64, u64::from(node.more_dependents));
        let mut found: Vec<_> = node.dependents.iter().skip(skip as usize).take(most).copied().collect();
        if more > 0 && found.len() < most {
            let skip = skip.saturating_sub(in_row) as usize;
            for row in self.tables.flow_edges()?.range((flow, id, 0)..=(flow, id, u64::MAX))?.skip(skip) {
                if found.len() == most {
                    break;
                }
                let (key, policy) = row?;
                found.push(dependent_of(key.value().2, policy.value()));
            }
        }
        let has_more = in_row + more > skip + found.len() as u64 && (most == 0 || !found.is_empty());
        Ok((found, has_more))
    }

    fn tell_one(&mut self, flow: u64, from: u64, dependent: Dependent, tell: Tell) -> Result<(), Fault> {
        let Some(node) = self.flow_node_mut(flow, dependent.node)? else { return Ok(()) };
        let told = match tell.ended {
            Some(state) => node.dependency_ended(from, dependent, state),
            None => {
                node.dependency_resumed(from, dependent);
                Told::Waits
            }
        };
        let has_failed = tell.ended.is_some_and(NodeState::has_failed);
        if has_failed && dependent.on_failure != OnFailure::Hold && !dependent.is_done {
            self.note_done(flow, from, dependent)?;
        }
        let dependent = dependent.node;
        match told {
            Told::Waits => Ok(()),
            Told::Runs => self.unblock(flow, dependent),
            Told::Cancelled => {
                let how = match tell.ended {
                    Some(NodeState::Dead) => "died",
                    _ => "was cancelled",
                };
                let what = match self.flow_node(flow, from)?.and_then(|node| node.name.as_deref()) {
                    Some(name) => format!("{name:?}"),
                    None => format!("job {from}"),
                };
                self.cancel_blocked(flow, dependent, &format!("{what}, for which it waited, {how}"))
            }
        }
    }

    /// Notes that a dependent was told of a failure, and waits for this node no more.
    fn note_done(&mut self, flow: u64, from: u64, dependent: Dependent) -> Result<(), Fault> {
        let Some(node) = self.flow_node_mut(flow, from)? else { return Ok(()) };
        if let Some(own) = node.dependents.iter_mut().find(|own| own.node == dependent.node) {
            own.is_done = true;
            return Ok(());
        }
        let done = Dependent { is_done: true, ..dependent };
        self.tables.flow_edges()?.insert((flow, from, dependent.node), edge_stored(done))?;
        Ok(())
    }

    /// Lets a node run that waits for nothing any more.
    pub(super) fn unblock(&mut self, flow: u64, id: u64) -> Result<(), Fault> {
        let Some(node) = self.flow_node(flow, id)? else { return Ok(()) };
        let (crate::job::What::Job { queue, .. }, NodeState::Blocked) = (node.what, node.state) else { return Ok(()) };
        // A job that is in the quarantine runs when it is back.
        if !self.unblock_job(queue, JobId::new(id))? {
            return Ok(());
        }
        if let Some(node) = self.flow_node_mut(flow, id)? {
            node.begin();
        }
        self.count_node(flow, id, NodeState::Blocked)
    }

    /// Lets a job run that waits for others, whatever became of those. Returns false if it does not wait.
    pub fn release_blocked(&mut self, queue: QueueId, id: JobId) -> Result<bool, Fault> {
        let Some(stored) = self.stored(queue, id, Place::Blocked)? else { return Ok(false) };
        let Some(flow) = stored.record.extra.as_ref().and_then(|extra| extra.flow) else { return Ok(false) };
        self.unblock(flow, id.get())?;
        Ok(true)
    }

    /// Lets a blocked job run. Returns false if it is not there, or cannot be read.
    fn unblock_job(&mut self, queue: QueueId, id: JobId) -> Result<bool, Fault> {
        let stored = match self.stored(queue, id, Place::Blocked) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(false),
            Err(Fault::Corrupt { .. }) => return self.quarantine_job(id).map(|_| false),
            Err(fault) => return Err(fault),
        };
        let mut record = stored.record.clone();
        let transition = life::unblock(&mut record, self.now);
        // It is the last of its group: the others were there before it could run.
        let seq = if record.group().is_some() { self.next_number() } else { id.get() };
        let job = &mut Prepared::new(queue, record, None);
        self.apply(Move { id, queue, transition, from: stored.from(), to: NewHome::Waiting { job, seq } })
    }

    /// Cancels a blocked job, because one that it waits for has failed.
    fn cancel_blocked(&mut self, flow: u64, id: u64, reason: &str) -> Result<(), Fault> {
        let Some(node) = self.flow_node(flow, id)? else { return Ok(()) };
        let crate::job::What::Job { queue, .. } = node.what else { return Ok(()) };
        let id = JobId::new(id);
        let stored = match self.stored(queue, id, Place::Blocked) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(()),
            Err(Fault::Corrupt { .. }) => return self.quarantine_job(id).map(drop),
            Err(fault) => return Err(fault),
        };
        let mut record = stored.record.clone();
        let transition = life::cancel(&mut record, reason, self.now);
        self.end_job(id, queue, transition, stored.from(), &record)?;
        let (queue, kind) = (self.catalog().queue_name(queue), self.catalog().kind_name(record.kind));
        self.event(|| Event::Cancelled { id, queue, kind, reason: reason.to_owned() });
        Ok(())
    }

    // --- in several commits ---

    pub(super) fn untold(&mut self, flow: u64, id: u64) -> Result<Option<Untold>, Fault> {
        let stored = self.tables.flow_untold()?.get_row((flow, id))?;
        let read = self.read_or_set_aside(TableName::FlowUntold, id, &(flow, id), stored)?;
        if read.is_changed {
            self.put_untold(flow, id, None)?;
        }
        Ok(read.row)
    }

    /// Stores what the dependents of a node were not told of yet, or removes it. The flow counts these rows.
    pub(super) fn put_untold(&mut self, flow: u64, id: u64, untold: Option<&Untold>) -> Result<(), Fault> {
        self.touch();
        let had = match untold {
            Some(untold) => {
                self.flow_times.add(NotedFlows::NOW);
                self.tables.flow_untold()?.insert((flow, id), codec::encode(untold).as_slice())?.is_some()
            }
            None => self.tables.flow_untold()?.remove((flow, id))?.is_some(),
        };
        if had != untold.is_some()
            && let Some(row) = self.flow_mut(flow)?
        {
            row.untold = if had { row.untold.saturating_sub(1) } else { row.untold + 1 };
        }
        Ok(())
    }

    /// Goes on telling the dependents of a node.
    pub(super) fn go_on_telling(&mut self, flow: u64, id: u64, room: &mut usize) -> Result<(), Fault> {
        let Some(mut untold) = self.untold(flow, id)? else { return Ok(()) };
        while let Some(tell) = untold.ends.first().copied() {
            match self.tell_some(flow, id, tell, untold.told, room)? {
                Some(told) => {
                    untold.told = told;
                    return self.put_untold(flow, id, Some(&untold));
                }
                None => {
                    untold.ends.remove(0);
                    untold.told = 0;
                }
            }
        }
        self.put_untold(flow, id, None)
    }

    // --- the flow as a whole ---

    /// Lets the callbacks run that are to run now, and notes whether the flow has ended.
    fn settle(&mut self, flow: u64) -> Result<(), Fault> {
        let Some(row) = self.flow_mut(flow)? else { return Ok(()) };
        let callbacks = row.callbacks_due();
        for callback in callbacks {
            self.unblock(flow, callback)?;
            let runs = self.flow_node(flow, callback)?.is_some_and(|node| node.state == NodeState::Active);
            if let Some(row) = self.flow_mut(flow)?.filter(|_| !runs) {
                row.callbacks_open = row.callbacks_open.saturating_sub(1);
            }
        }
        let now = self.now;
        let Some(row) = self.flow_mut(flow)? else { return Ok(()) };
        let state = row.state();
        let has_settled = state != FlowState::Running;
        let news = has_settled && row.settled_at.is_none();
        row.settled_at = has_settled.then_some(row.settled_at.unwrap_or(now.wall));
        let was = row.kept_since;
        row.kept_since = row.is_over().then_some(was.unwrap_or(now.age));
        let (is, keep, name) = (row.kept_since, row.keep, news.then(|| row.name.clone()));
        if was != is {
            let due = |since| Due { line: TimeLine::Age, at: since + keep };
            if let Some(was) = was {
                self.tables.flow_due()?.remove(due_key(due(was), flow, 0))?;
            }
            if let Some(is) = is {
                self.put_flow_due(due(is), flow, 0)?;
            }
        }
        if let Some(name) = name {
            self.event(|| Event::FlowSettled { name: name.into(), state });
        }
        Ok(())
    }

    pub(super) fn put_flow_due(&mut self, due: Due, flow: u64, node: u64) -> Result<(), Fault> {
        self.tables.flow_due()?.insert(due_key(due, flow, node), ())?;
        self.flow_times.add(due);
        Ok(())
    }
}

pub(super) fn due_key(due: Due, flow: u64, node: u64) -> (u8, u64, u64, u64) {
    (due.line as u8, due.at.as_millis(), flow, node)
}

/// The bit of a row of `flow_edges` for a dependent that waits no more.
const DONE: u8 = 0x80;

/// A dependent as a row of `flow_edges` has it. A policy that is damaged holds, which loses nothing.
pub(in crate::storage) fn dependent_of(node: u64, stored: u8) -> Dependent {
    let on_failure = match stored & !DONE {
        1 => OnFailure::Cancel,
        2 => OnFailure::Run,
        _ => OnFailure::Hold,
    };
    Dependent { node, on_failure, is_done: stored & DONE != 0 }
}

pub(super) fn edge_stored(dependent: Dependent) -> u8 {
    let on_failure = match dependent.on_failure {
        OnFailure::Hold => 0,
        OnFailure::Cancel => 1,
        OnFailure::Run => 2,
    };
    on_failure | if dependent.is_done { DONE } else { 0 }
}
