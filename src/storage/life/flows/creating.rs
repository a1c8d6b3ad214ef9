//! Verbs: a flow is stored, or gets more jobs.

use std::collections::BTreeMap;

use super::following::edge_stored;
use crate::error::Error;
use crate::job::{
    Callback, Dep, Dependent, FlowRow, JobId, NewFlow, NewWhat, Node, NodeRef, NodeState, StartTime, What, check_key,
};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::flow_rows::What as News;
use crate::storage::rows::prepared::Prepared;
use crate::storage::rows::version::{FLOW_VERSION, raise_to};
use crate::time::{Due, Now};
use redb::ReadableTable;

/// What became of a flow that was to be stored.
#[derive(Clone, Debug)]
pub(crate) enum Created {
    /// Its jobs have these ids, in the order in which they were described.
    Stored(Vec<JobId>),
    /// A flow of this name is there already.
    Duplicate,
}

impl Batch<'_> {
    /// Stores a flow, unless there is one of its name.
    pub fn create_flow(&mut self, new: &mut NewFlow<Prepared>) -> Result<Created, Error> {
        self.forgetting_names(|batch| batch.store_flow(new))
    }

    fn store_flow(&mut self, new: &mut NewFlow<Prepared>) -> Result<Created, Error> {
        if self.flow_named(&new.name)?.is_some() {
            return Ok(Created::Duplicate);
        }
        if self.flow(new.id)?.is_some() {
            let reason = "its number is in use by chance: make the call again".into();
            return Err(Error::InvalidFlow { flow: new.name.clone(), reason });
        }
        self.check_room(new)?;
        raise_to(&mut self.tables, FLOW_VERSION)?;
        let deadline = new.deadline.map(|deadline| due_of(deadline, self.now));
        let row = FlowRow { deadline, keep: new.keep, ..FlowRow::new(&new.name, self.now.wall) };
        self.put_flow(new.id, Some(row));
        self.tables.flow_names()?.insert((0, new.name.as_str()), new.id).map_err(Fault::from)?;
        if let Some(due) = deadline {
            self.put_flow_due(due, new.id, 0)?;
        }
        let numbers = self.put_nodes(new)?;
        self.put_deps(new, &numbers, &BTreeMap::new())?;
        Ok(Created::Stored(jobs_of(new, &numbers)))
    }

    /// Adds jobs to a flow of which something can still run.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`], [`Error::FlowEnded`]; [`Error::InvalidFlow`] for what the addition refers to.
    pub fn add_to_flow(&mut self, new: &mut NewFlow<Prepared>) -> Result<Vec<JobId>, Error> {
        self.forgetting_names(|batch| batch.store_addition(new))
    }

    fn store_addition(&mut self, new: &mut NewFlow<Prepared>) -> Result<Vec<JobId>, Error> {
        let name = new.name.clone();
        let refuse = |reason: String| Error::InvalidFlow { flow: name.clone(), reason };
        let flow = self.flow_number(&name)?;
        let Some(row) = self.flow(flow)? else { return Err(Error::NoSuchFlow { name: name.clone() }) };
        if row.is_settled() || row.cancelled.is_some() || new.id != flow {
            return Err(Error::FlowEnded { name: name.clone() });
        }
        let mut known = BTreeMap::new();
        for reference in new.deps.iter().flat_map(|dep| [&dep.node, &dep.after]) {
            if let Some(node) = self.known_node(flow, reference)? {
                known.insert(reference.clone(), node);
            } else if !matches!(reference, NodeRef::New(_)) {
                return Err(refuse(format!("it has no job {}", shown(reference))));
            }
        }
        for reference in &new.must_be_free {
            let node = self.flow_node(flow, known[reference])?;
            if node.is_some_and(|node| node.state == NodeState::Blocked) {
                let job = shown(reference);
                return Err(refuse(format!(
                    "a job that it has already would wait for new ones that wait for job {job}, which waits itself: that could close a circle"
                )));
            }
        }
        for dep in new.deps.iter().filter(|dep| !matches!(dep.node, NodeRef::New(_))) {
            let node = self.flow_node(flow, known[&dep.node])?;
            if node.is_none_or(|node| node.state != NodeState::Blocked || node.is_callback) {
                let job = shown(&dep.node);
                return Err(refuse(format!("job {job} does not wait any more, and cannot wait for new jobs")));
            }
        }
        for name in new.nodes.iter().filter_map(|node| node.name.as_deref()) {
            if self.tables.flow_names()?.get((flow, name)).map_err(Fault::from)?.is_some() {
                return Err(refuse(format!("it has a job or signal named {name:?} already")));
            }
        }
        self.check_room(new)?;
        let numbers = self.put_nodes(new)?;
        self.put_deps(new, &numbers, &known)?;
        Ok(jobs_of(new, &numbers))
    }

    /// The number of the flow of this name, if there is one.
    pub fn flow_named(&mut self, name: &str) -> Result<Option<u64>, Error> {
        check_key("flow", name)?;
        Ok(self.tables.flow_names()?.get((0, name)).map_err(Fault::from)?.map(|id| id.value()))
    }

    /// The number of the flow of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`].
    pub fn flow_number(&mut self, name: &str) -> Result<u64, Error> {
        self.flow_named(name)?.ok_or_else(|| Error::NoSuchFlow { name: name.to_owned() })
    }

    /// The node of this name in a flow.
    pub fn node_named(&mut self, flow: u64, name: &str) -> Result<Option<u64>, Fault> {
        Ok(self.tables.flow_names()?.get((flow, name))?.map(|node| node.value()))
    }

    fn known_node(&mut self, flow: u64, reference: &NodeRef) -> Result<Option<u64>, Fault> {
        let node = match reference {
            NodeRef::New(_) | NodeRef::Foreign => return Ok(None),
            NodeRef::Named(name) => self.node_named(flow, name)?,
            NodeRef::Job(id) => Some(id.get()),
        };
        match node {
            Some(node) if self.flow_node(flow, node)?.is_some() => Ok(Some(node)),
            _ => Ok(None),
        }
    }

    /// Gives numbers to the names of the jobs, and checks that their queues have room.
    fn check_room(&mut self, new: &mut NewFlow<Prepared>) -> Result<(), Error> {
        let mut needed: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for node in &mut new.nodes {
            if let NewWhat::Job(job) = &mut node.what {
                self.resolve(job)?;
                let (jobs, bytes) = needed.entry(job.queue).or_default();
                (*jobs, *bytes) = (*jobs + 1, *bytes + job.bytes.len() as u64);
            }
        }
        needed.into_iter().try_for_each(|(queue, (jobs, bytes))| self.room_for(queue, jobs, bytes))
    }

    /// Stores the jobs, and a row for each node. Returns the numbers of the nodes.
    fn put_nodes(&mut self, new: &mut NewFlow<Prepared>) -> Result<Vec<u64>, Error> {
        let (flow, mut numbers) = (new.id, Vec::with_capacity(new.nodes.len()));
        for new in &mut new.nodes {
            let (number, what) = match &mut new.what {
                NewWhat::Job(job) => {
                    let (queue, kind) = (job.queue, job.record().kind);
                    (self.insert(job)?.get(), What::Job { queue, kind })
                }
                NewWhat::Signal { deadline } => {
                    let (number, deadline) = (self.next_number(), deadline.map(|deadline| due_of(deadline, self.now)));
                    if let Some(due) = deadline {
                        self.put_flow_due(due, flow, number)?;
                    }
                    (number, What::Signal { deadline })
                }
            };
            numbers.push(number);
            if let Some(name) = &new.name {
                self.tables.flow_names()?.insert((flow, name.as_str()), number).map_err(Fault::from)?;
            }
            let state = if new.is_blocked { NodeState::Blocked } else { NodeState::Active };
            let is_callback = new.callback.is_some();
            let node = Node { state, is_callback, name: new.name.clone(), ..Node::new(what) };
            self.put_flow_node(flow, number, Some(node));
            if let Some(row) = self.flow_mut(flow)? {
                match new.callback {
                    Some(when) => row.callbacks.push(Callback { node: number, when, is_told: false }),
                    None => *row.counts.count_mut(state) += 1,
                }
            }
        }
        Ok(numbers)
    }

    /// Notes which node waits for which.
    fn put_deps(
        &mut self,
        new: &NewFlow<Prepared>,
        numbers: &[u64],
        known: &BTreeMap<NodeRef, u64>,
    ) -> Result<(), Fault> {
        let flow = new.id;
        let number = |reference: &NodeRef| match reference {
            NodeRef::New(at) => numbers[*at],
            existing => known[existing],
        };
        for Dep { node, after, on_failure } in &new.deps {
            let (node, after) = (number(node), number(after));
            let dependent = Dependent { node, on_failure: *on_failure, is_done: false };
            if let Some(node) = self.flow_node_mut(flow, node)? {
                node.waits += 1;
            }
            let Some(from) = self.flow_node_mut(flow, after)? else { continue };
            if from.dependents.len() < Node::DEPENDENTS_MAX {
                from.dependents.push(dependent);
            } else {
                from.more_dependents += 1;
                self.tables.flow_edges()?.insert((flow, after, node), edge_stored(dependent))?;
            }
            if self.flow_node(flow, after)?.is_some_and(|from| from.state.has_ended()) {
                self.flow_rows.note(flow, after, News::WaitedFor(dependent));
            }
        }
        Ok(())
    }
}

fn due_of(time: StartTime, now: Now) -> Due {
    match time {
        StartTime::After(time) => Due::after(now, time),
        StartTime::At(at) => Due::wall(at),
    }
}

fn jobs_of(new: &NewFlow<Prepared>, numbers: &[u64]) -> Vec<JobId> {
    let nodes = new.nodes.iter().zip(numbers);
    nodes.filter(|(node, _)| matches!(node.what, NewWhat::Job(_))).map(|(_, number)| JobId::new(*number)).collect()
}

fn shown(reference: &NodeRef) -> String {
    match reference {
        NodeRef::New(at) => format!("number {at} of the addition"),
        NodeRef::Named(name) => format!("{name:?}"),
        NodeRef::Job(id) => id.to_string(),
        NodeRef::Foreign => "of another flow".to_owned(),
    }
}
