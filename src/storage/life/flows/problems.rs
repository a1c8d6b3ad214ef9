//! Checks the rows of flows, and makes what follows from the nodes anew.

use std::collections::{BTreeMap, BTreeSet};

use redb::ReadableTable;

use super::following::dependent_of;
use crate::job::{Dependent, FlowCounts, FlowRow, JobId, Node, NodeState, OnFailure, QueueId, Record, What};
use crate::storage::life::verifier::Verifier;
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::flow_rows::Untold;
use crate::storage::rows::place::Place;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;

/// Checks that a job of a flow has a node that agrees with its place. A job whose flow is kept no longer has none.
pub(in crate::storage::life) fn check_job(
    verifier: &mut Verifier<'_>,
    queue: QueueId,
    id: u64,
    place: &Place,
    record: &Record,
) -> Result<(), Fault> {
    let is_blocked = matches!(place, Place::Blocked);
    let Some(flow) = record.extra.as_ref().and_then(|extra| extra.flow) else {
        if is_blocked {
            verifier.problem(format!("job {id} is blocked, but belongs to no flow"));
        }
        return Ok(());
    };
    verifier.work.lookups += 2;
    let tables = verifier.tables();
    if !tables.flows()?.has(flow)? {
        if is_blocked {
            verifier.problem(format!("job {id} is blocked, but its flow, number {flow}, is not there"));
        }
        return Ok(());
    }
    let Some(row) = tables.flow_nodes()?.get_row((flow, id))? else {
        verifier.problem(format!("job {id} belongs to flow number {flow}, which does not have it"));
        return Ok(());
    };
    // A row that cannot be read is reported with the flow.
    let Ok(node) = codec::decode::<Node>(TableName::FlowNodes, id, &row) else { return Ok(()) };
    let expected = match place {
        Place::Blocked => NodeState::Blocked,
        Place::Dead { .. } => NodeState::Dead,
        Place::Finished { state: crate::job::State::Completed, .. } => NodeState::Completed,
        Place::Finished { .. } => NodeState::Cancelled,
        _ => NodeState::Active,
    };
    if node.state != expected {
        verifier.problem(format!("job {id} is {:?} in flow number {flow}, but {expected:?} by its place", node.state));
    }
    match node.what {
        What::Job { queue: of, .. } if of == queue => {}
        What::Job { queue: of, .. } => {
            let (of, queue) = (verifier.name(of), verifier.name(queue));
            verifier.problem(format!("job {id} is in {queue}, but its flow has it in {of}"));
        }
        What::Signal { .. } => verifier.problem(format!("job {id} is a signal in flow number {flow}")),
    }
    Ok(())
}

/// What the nodes of one flow say together.
#[derive(Default)]
struct Sum {
    counts: FlowCounts,
    callbacks_open: u32,
    /// For each node that waits: how many dependencies have not ended, and how many have failed and hold it.
    waits: BTreeMap<u64, (u32, u32)>,
}

/// The nodes of a flow.
type Nodes = BTreeMap<u64, Node>;

impl Sum {
    /// `edges` are those that have rows of their own, and `untold` the nodes whose dependents were not all told.
    fn of(nodes: &Nodes, edges: &[(u64, Dependent)]) -> Self {
        let mut sum = Self::default();
        for (id, node) in nodes {
            if node.is_callback {
                sum.callbacks_open += u32::from(node.state == NodeState::Active);
            } else {
                *sum.counts.count_mut(node.state) += 1;
            }
            if node.state == NodeState::Blocked {
                sum.waits.entry(*id).or_default();
            }
        }
        let in_rows = nodes.iter().flat_map(|(from, node)| node.dependents.iter().map(|to| (*from, *to)));
        for (from, to) in in_rows.chain(edges.iter().copied()) {
            let Some(from) = nodes.get(&from) else { continue };
            let Some((waits, failed)) = sum.waits.get_mut(&to.node) else { continue };
            match from.state {
                _ if to.is_done => {}
                NodeState::Completed => {}
                NodeState::Dead | NodeState::Cancelled => {
                    let holds = u32::from(to.on_failure == OnFailure::Hold);
                    *waits += holds;
                    *failed += holds;
                }
                NodeState::Blocked | NodeState::Active => *waits += 1,
            }
        }
        sum
    }
}

/// Checks each flow: its counts, what its nodes wait for, and its names.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let tables = verifier.tables();
    let mut names = BTreeMap::new();
    for row in tables.flows()?.iter()? {
        verifier.work.rows += 1;
        let (id, row) = row?;
        let id = id.value();
        match codec::decode::<FlowRow>(TableName::Flows, id, row.value()) {
            Ok(row) => {
                names.insert((0, row.name.clone()), id);
                check_flow(verifier, id, &row, &mut names)?;
            }
            Err(fault) => verifier.unreadable(fault),
        }
    }
    for row in tables.flow_names()?.iter()? {
        verifier.work.rows += 1;
        let (key, number) = row?;
        let (flow, name) = key.value();
        if names.remove(&(flow, name.to_owned())) != Some(number.value()) {
            verifier.problem(format!(
                "the name {name:?} in flow number {flow} leads to {}, which does not have it",
                number.value()
            ));
        }
    }
    for (flow, name) in names.into_keys() {
        verifier.problem(format!("the name {name:?} in flow number {flow} cannot be found"));
    }
    Ok(())
}

fn check_flow(
    verifier: &mut Verifier<'_>,
    id: u64,
    row: &FlowRow,
    names: &mut BTreeMap<(u64, String), u64>,
) -> Result<(), Fault> {
    let tables = verifier.tables();
    let mut nodes = Nodes::new();
    for node in tables.flow_nodes()?.range((id, 0)..=(id, u64::MAX))? {
        verifier.work.rows += 1;
        let (key, node) = node?;
        let number = key.value().1;
        match codec::decode::<Node>(TableName::FlowNodes, number, node.value()) {
            Ok(node) => {
                if let Some(name) = &node.name {
                    names.insert((id, name.clone()), number);
                }
                let is_unfinished_job = node.is_job() && !node.state.has_ended();
                if is_unfinished_job
                    && !verifier.seen.contains(number)
                    && !verifier.unread.contains(&JobId::new(number))
                {
                    let flow = &row.name;
                    verifier.problem(format!(
                        "flow {flow:?} has job {number} as {:?}, but there is no such job",
                        node.state
                    ));
                }
                nodes.insert(number, node);
            }
            Err(fault) => verifier.unreadable(fault),
        }
    }
    let mut edges = Vec::new();
    for edge in tables.flow_edges()?.range((id, 0, 0)..=(id, u64::MAX, u64::MAX))? {
        verifier.work.rows += 1;
        let (key, policy) = edge?;
        let (_, from, to) = key.value();
        edges.push((from, dependent_of(to, policy.value())));
    }
    let mut untold = BTreeSet::new();
    for left in tables.flow_untold()?.range((id, 0)..=(id, u64::MAX))? {
        verifier.work.rows += 1;
        let (key, left) = left?;
        if let Err(fault) = codec::decode::<Untold>(TableName::FlowUntold, key.value().1, left.value()) {
            verifier.unreadable(fault);
        }
        untold.insert(key.value().1);
    }
    let sum = Sum::of(&nodes, &edges);
    let flow = &row.name;
    if sum.counts != row.counts || sum.callbacks_open != row.callbacks_open {
        let (says, has) = ((row.counts, row.callbacks_open), (sum.counts, sum.callbacks_open));
        verifier.problem(format!("flow {flow:?} counts {says:?}, but has {has:?}"));
    }
    if row.untold as usize != untold.len() {
        verifier.problem(format!("flow {flow:?} counts {} nodes to be followed, but has {}", row.untold, untold.len()));
    }
    // As long as dependents are being told, they count dependencies that have ended.
    if untold.is_empty() {
        for (number, (waits, failed)) in sum.waits {
            let node = &nodes[&number];
            if !node.is_callback && (node.waits, node.failed) != (waits, failed) {
                let says = (node.waits, node.failed);
                verifier.problem(format!(
                    "job {number} of flow {flow:?} waits for {says:?} jobs and failed ones, but should for {:?}",
                    (waits, failed)
                ));
            }
        }
        if row.kept_since.is_some() != row.is_over() {
            verifier.problem(format!("flow {flow:?} has ended or not, and its time says otherwise"));
        }
    }
    Ok(())
}

/// Makes the counts of flows, and what their nodes wait for, agree with the nodes. Nodes that cannot be read were moved to the
/// quarantine: what waited for them waits no more.
pub(in crate::storage::life) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let flows: Vec<u64> = batch.tables.flows()?.iter()?.map(|row| Ok(row?.0.value())).collect::<Result<_, Fault>>()?;
    for flow in flows {
        rebuild_flow(batch, flow)?;
    }
    Ok(())
}

fn rebuild_flow(batch: &mut Batch<'_>, flow: u64) -> Result<(), Fault> {
    let range = (flow, 0)..=(flow, u64::MAX);
    let numbers = batch.tables.flow_nodes()?.range(range.clone())?.map(|row| Ok(row?.0.value().1));
    let numbers: Vec<u64> = numbers.collect::<Result<_, Fault>>()?;
    let mut nodes = Nodes::new();
    for number in numbers {
        nodes.extend(batch.flow_node(flow, number)?.cloned().map(|node| (number, node)));
    }
    let Some(row) = batch.flow(flow)?.cloned() else { return Ok(()) };
    let untold = batch.tables.flow_untold()?.range(range)?.count();
    let edges = (flow, 0, 0)..=(flow, u64::MAX, u64::MAX);
    let edges = batch.tables.flow_edges()?.range(edges)?.map(|row| {
        let (key, policy) = row?;
        let (_, from, to) = key.value();
        Ok((from, dependent_of(to, policy.value())))
    });
    let edges: Vec<_> = edges.collect::<Result<_, Fault>>()?;
    let sum = Sum::of(&nodes, &edges);
    let right =
        FlowRow { counts: sum.counts, callbacks_open: sum.callbacks_open, untold: untold as u32, ..row.clone() };
    if right != row {
        batch.put_flow(flow, Some(right));
    }
    if untold > 0 {
        return Ok(());
    }
    for (number, (waits, failed)) in sum.waits {
        let node = &nodes[&number];
        if node.is_callback || (node.waits, node.failed) == (waits, failed) {
            continue;
        }
        batch.put_flow_node(flow, number, Some(Node { waits, failed, ..node.clone() }));
        if waits == 0 {
            batch.unblock(flow, number)?;
        }
    }
    Ok(())
}
