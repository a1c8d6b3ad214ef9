//! Random flows with failures, redrives, cancels, deletions, additions and kills do what a plain model says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use millpond::testing::ManualClock;
use millpond::{
    FlowDraft, FlowJob, FlowSignal, FlowState, Job, JobId, Millpond, NewJob, NodeState, OnFailure, Outcome, State,
};

use crate::support::*;

const FLOW: &str = "flow";
const DEADLINE: Duration = Duration::from_secs(60);

/// Flows, each made with the number of its seed; `FLOW_SEEDS` sets how many.
const SEEDS: u64 = 120;

/// What has become of one dependency, for the node that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Waits,
    Holds,
    /// It is waited for no more, for good.
    Done,
}

#[derive(Clone, Debug)]
struct Node {
    /// Known once it is stored.
    id: Option<JobId>,
    name: String,
    is_signal: bool,
    state: NodeState,
    edges: BTreeMap<usize, (OnFailure, Edge)>,
    runs: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Success,
    Failure,
    End,
}

/// A flow as the model has it.
#[derive(Debug, Default)]
struct Model {
    nodes: Vec<Node>,
    /// The callbacks, with their ids and whether they have run.
    callbacks: Vec<(When, JobId, bool)>,
    is_cancelled: bool,
}

impl Model {
    fn indices(&self, is: impl Fn(&Node) -> bool) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| is(&self.nodes[*at])).collect()
    }

    fn count(&self, state: NodeState) -> u64 {
        self.nodes.iter().filter(|node| node.state == state).count() as u64
    }

    /// A node has ended in this state.
    fn end(&mut self, at: usize, state: NodeState) {
        let has_ended = self.nodes[at].state.has_ended();
        self.nodes[at].state = state;
        if has_ended {
            return;
        }
        let failed = state != NodeState::Completed;
        for other in 0..self.nodes.len() {
            let node = &mut self.nodes[other];
            let Some((policy, edge)) = node.edges.get_mut(&at) else { continue };
            if node.state != NodeState::Blocked || *edge == Edge::Done {
                continue;
            }
            match (failed, *policy) {
                (false, _) | (true, OnFailure::Run) => *edge = Edge::Done,
                (true, OnFailure::Cancel) => self.end(other, NodeState::Cancelled),
                (true, _) => *edge = Edge::Holds,
            }
            self.release(other);
        }
    }

    fn release(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.state == NodeState::Blocked && node.edges.values().all(|(_, edge)| *edge == Edge::Done) {
            node.state = NodeState::Active;
        }
    }

    fn redrive(&mut self, at: usize) {
        self.is_cancelled = false;
        self.nodes[at].state = NodeState::Active;
        for node in &mut self.nodes {
            if let Some((_, edge @ Edge::Holds)) = node.edges.get_mut(&at) {
                *edge = Edge::Waits;
            }
        }
    }

    /// Runs all that can run. Signals do not end by themselves.
    fn run(&mut self) {
        while let Some(at) = self.indices(|node| node.state == NodeState::Active && !node.is_signal).first().copied() {
            let run = self.nodes[at].runs;
            self.nodes[at].runs += 1;
            let state = if dies(&self.nodes[at].name, run) { NodeState::Dead } else { NodeState::Completed };
            self.end(at, state);
        }
    }

    fn cancel(&mut self) {
        if self.state().has_ended() || self.is_cancelled {
            return;
        }
        self.is_cancelled = true;
        for at in 0..self.nodes.len() {
            if !self.nodes[at].state.has_ended() {
                self.end(at, NodeState::Cancelled);
            }
        }
    }

    fn state(&self) -> FlowState {
        let failed = self.count(NodeState::Dead) + self.count(NodeState::Cancelled) > 0;
        match () {
            () if self.count(NodeState::Active) > 0 => FlowState::Running,
            () if self.count(NodeState::Blocked) > 0 => FlowState::Held,
            () if failed && self.is_cancelled => FlowState::Cancelled,
            () if failed => FlowState::Failed,
            () => FlowState::Completed,
        }
    }

    fn call_back(&mut self) {
        let state = self.state();
        for (when, _, has_run) in &mut self.callbacks {
            *has_run |= match when {
                _ if state == FlowState::Running => false,
                When::Success => state == FlowState::Completed,
                When::Failure => state != FlowState::Completed,
                When::End => true,
            };
        }
    }
}

/// Whether the job of this name dies in this run: a third of the first runs, and a sixth of the others.
fn dies(name: &str, run: u64) -> bool {
    let seed = name.bytes().fold(run + 17, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Rng::with_seed(seed).u64(..6) < if run == 0 { 2 } else { 1 }
}

fn policy(rng: &mut Rng) -> OnFailure {
    [OnFailure::Hold, OnFailure::Hold, OnFailure::Cancel, OnFailure::Run][rng.usize(..4)]
}

/// How often each job has run.
type Runs = Arc<Mutex<BTreeMap<String, u64>>>;

fn start(pond: &Millpond, runs: &Runs) {
    let runs = runs.clone();
    pond.worker("q")
        .handle_raw("node", move |job: Job<Bytes>| {
            let job: String = serde_json::from_slice(&job).unwrap();
            let mut runs = runs.lock().unwrap();
            let run = runs.entry(job.clone()).or_default();
            let dies = !job.starts_with("callback") && dies(&job, *run);
            *run += 1;
            async move { Ok(if dies { Outcome::dead_letter("broken") } else { Outcome::done() }) }
        })
        .start()
        .unwrap();
}

fn job(name: &str) -> NewJob {
    NewJob::json("node", name)
}

enum Handle {
    Job(FlowJob),
    Signal(FlowSignal),
}

fn wait(node: FlowJob, after: &Handle, policy: OnFailure) -> FlowJob {
    match after {
        Handle::Job(after) => node.after_or(after, policy),
        Handle::Signal(after) => node.after_or(after, policy),
    }
}

/// Describes new nodes that wait for some before them. Returns them for the model, where the ids are still missing.
fn describe(flow: &FlowDraft, rng: &mut Rng, from: usize, known: &[(usize, Handle)]) -> Vec<Node> {
    let mut handles: Vec<(usize, Handle)> = Vec::new();
    let mut nodes = Vec::new();
    for at in from..from + rng.usize(1..8) {
        let name = format!("n{at}");
        let is_signal = rng.u8(..6) == 0;
        let mut edges = BTreeMap::new();
        let handle = if is_signal {
            let signal = flow.signal(&name);
            Handle::Signal(if rng.bool() { signal.deadline_in(DEADLINE) } else { signal })
        } else {
            let mut node = flow.job("q", job(&name)).named(&name);
            for (before, handle) in known.iter().chain(&handles) {
                if rng.u8(..3) == 0 {
                    let policy = policy(rng);
                    node = wait(node, handle, policy);
                    edges.insert(*before, (policy, Edge::Waits));
                }
            }
            Handle::Job(node)
        };
        let state = if edges.is_empty() { NodeState::Active } else { NodeState::Blocked };
        nodes.push(Node { id: None, name, is_signal, state, edges, runs: 0 });
        handles.push((at, handle));
    }
    nodes
}

struct World {
    seed: u64,
    disk: OnDisk,
    clock: ManualClock,
    pond: Millpond,
    model: Model,
    runs: Runs,
    kills: usize,
    deadlines: BTreeSet<usize>,
}

impl World {
    async fn begin(seed: u64, rng: &mut Rng) -> Self {
        let disk = OnDisk::new();
        let (pond, clock) = (disk.open(), disk.clock.clone());
        let runs = Runs::default();
        start(&pond, &runs);
        let mut model = Model::default();
        let mut nodes = Vec::new();
        let whens: Vec<_> = [When::Success, When::Failure, When::End].into_iter().filter(|_| rng.bool()).collect();
        pond.queue("q").unwrap().pause().await.unwrap();
        let made = pond.flow(FLOW, |flow| {
            nodes = describe(flow, rng, 0, &[]);
            for when in &whens {
                let job = job(&format!("callback {when:?}"));
                match when {
                    When::Success => flow.on_success("q", job),
                    When::Failure => flow.on_failure("q", job),
                    When::End => flow.on_end("q", job),
                };
            }
        });
        let mut jobs = made.await.unwrap().jobs;
        let callbacks = jobs.split_off(jobs.len() - whens.len());
        model.callbacks = whens.into_iter().zip(callbacks).map(|(when, id)| (when, id, false)).collect();
        model.nodes = nodes;
        let mut world = Self { seed, disk, clock, pond, model, runs, kills: 0, deadlines: BTreeSet::new() };
        world.learn_ids();
        world.model.call_back();
        world
    }

    /// Learns from the flow which numbers its new nodes have.
    fn learn_ids(&mut self) {
        for node in self.pond.flows().nodes(FLOW, None, 1_000).unwrap() {
            let Some(name) = &node.name else { continue };
            let at = self.model.nodes.iter().position(|own| own.name == *name).unwrap();
            self.model.nodes[at].id = Some(node.id);
            if let millpond::FlowNodeKind::Signal { deadline: Some(_), .. } = node.kind {
                self.deadlines.insert(at);
            }
        }
    }

    async fn step(&mut self, rng: &mut Rng) {
        let pick = |rng: &mut Rng, all: Vec<usize>| all.get(rng.usize(..all.len().max(1))).copied();
        match rng.u8(..12) {
            0..3 => {
                self.pond.queue("q").unwrap().resume().await.unwrap();
                drained(&self.pond).await;
                self.pond.queue("q").unwrap().pause().await.unwrap();
                self.model.run();
                self.model.call_back();
                // What a callback is let run by is run at once.
                self.model.run();
            }
            3..5 => {
                let Some(at) = pick(rng, self.model.indices(|node| node.state == NodeState::Dead && !node.is_signal))
                else {
                    return;
                };
                self.pond.dead_letters().redrive(self.model.nodes[at].id.unwrap()).await.unwrap();
                self.model.redrive(at);
            }
            5 => {
                let Some(at) = pick(rng, self.model.indices(|node| !node.state.has_ended() && !node.is_signal)) else {
                    return;
                };
                self.pond.cancel(self.model.nodes[at].id.unwrap(), "not needed").await.unwrap();
                self.model.end(at, NodeState::Cancelled);
            }
            6 => {
                let may = |node: &Node| {
                    !node.is_signal && matches!(node.state, NodeState::Dead | NodeState::Blocked | NodeState::Active)
                };
                let Some(at) = pick(rng, self.model.indices(may)) else { return };
                self.pond.delete(self.model.nodes[at].id.unwrap()).await.unwrap();
                self.model.end(at, NodeState::Cancelled);
            }
            7 => {
                let Some(at) = pick(rng, self.model.indices(|node| node.state == NodeState::Blocked)) else { return };
                self.pond.run_now(self.model.nodes[at].id.unwrap()).await.unwrap();
                self.model.nodes[at].state = NodeState::Active;
            }
            8 => {
                let Some(at) = pick(rng, self.model.indices(|node| node.is_signal)) else { return };
                let is_first = self.model.nodes[at].state == NodeState::Active;
                let came = self.pond.signal(FLOW, &self.model.nodes[at].name, &()).await.unwrap();
                assert_eq!(came, is_first);
                if is_first {
                    self.model.end(at, NodeState::Completed);
                }
            }
            9 => {
                self.clock.advance(DEADLINE);
                drained(&self.pond).await;
                for at in std::mem::take(&mut self.deadlines) {
                    if self.model.nodes[at].state == NodeState::Active {
                        self.model.end(at, NodeState::Dead);
                    }
                }
            }
            10 => self.add(rng).await,
            _ => match rng.u8(..8) {
                0 => {
                    self.pond.flows().cancel(FLOW, "no").await.unwrap();
                    self.model.cancel();
                }
                _ => self.kill().await,
            },
        }
        self.model.call_back();
    }

    async fn add(&mut self, rng: &mut Rng) {
        let can_grow = self.model.state() == FlowState::Running && !self.model.is_cancelled;
        let (from, count) = (self.model.nodes.len(), rng.usize(..4));
        let known: Vec<usize> = (0..count).map(|_| rng.usize(..from)).collect::<BTreeSet<_>>().into_iter().collect();
        let mut nodes = Vec::new();
        let names: Vec<_> = known.iter().map(|at| self.model.nodes[*at].name.clone()).collect();
        let added = self.pond.add_to_flow(FLOW, |flow| {
            let handles: Vec<_> =
                known.iter().zip(&names).map(|(at, name)| (*at, Handle::Job(flow.existing(name)))).collect();
            nodes = describe(flow, rng, from, &handles);
        });
        let added = added.await;
        assert_eq!(added.is_ok(), can_grow, "{added:?}");
        if !can_grow {
            return;
        }
        self.model.nodes.extend(nodes);
        self.learn_ids();
        // Those for which the new ones wait can have ended.
        for at in from..self.model.nodes.len() {
            let befores: Vec<_> = self.model.nodes[at].edges.keys().copied().filter(|before| *before < from).collect();
            for before in befores {
                let state = self.model.nodes[before].state;
                let node = &mut self.model.nodes[at];
                let (policy, edge) = node.edges.get_mut(&before).unwrap();
                if node.state != NodeState::Blocked || !state.has_ended() {
                    continue;
                }
                match (state, *policy) {
                    (NodeState::Completed, _) | (_, OnFailure::Run) => *edge = Edge::Done,
                    (_, OnFailure::Cancel) => self.model.end(at, NodeState::Cancelled),
                    _ => *edge = Edge::Holds,
                }
                self.model.release(at);
            }
        }
    }

    async fn kill(&mut self) {
        self.kills += 1;
        let path = self.disk.path().with_file_name(format!("killed-{}.redb", self.kills));
        std::fs::copy(self.pond.storage().unwrap().path.unwrap(), &path).unwrap();
        let killed = self.disk.builder().open(&path).unwrap();
        close(std::mem::replace(&mut self.pond, killed)).await;
        start(&self.pond, &self.runs);
    }

    async fn check(&self, step: usize) {
        let (seed, model) = (self.seed, &self.model);
        let found = self.pond.flows().nodes(FLOW, None, 1_000).unwrap();
        let flow = self.pond.flows().get(FLOW).unwrap();
        for node in &model.nodes {
            let stored = found.iter().find(|stored| stored.name.as_deref() == Some(&node.name)).unwrap();
            assert_eq!(stored.state, node.state, "seed {seed}, step {step}, {}: {model:#?}", node.name);
            let waits = node.edges.values().filter(|(_, edge)| *edge != Edge::Done).count() as u32;
            let failed = node.edges.values().filter(|(_, edge)| *edge == Edge::Holds).count() as u32;
            if node.state == NodeState::Blocked {
                assert_eq!((stored.waits, stored.failed), (waits, failed), "seed {seed}, step {step}, {}", node.name);
                assert_eq!(state(&self.pond, node.id.unwrap()), State::Blocked, "seed {seed}, step {step}");
                assert!(!self.pond.explain(node.id.unwrap()).unwrap().to_string().is_empty());
            }
        }
        let counts =
            (flow.counts.blocked, flow.counts.active, flow.counts.completed, flow.counts.dead, flow.counts.cancelled);
        let of = |state| model.count(state);
        let expected = (
            of(NodeState::Blocked),
            of(NodeState::Active),
            of(NodeState::Completed),
            of(NodeState::Dead),
            of(NodeState::Cancelled),
        );
        assert_eq!((counts, flow.state), (expected, model.state()), "seed {seed}, step {step}");
        for (when, id, has_run) in &model.callbacks {
            let node = found.iter().find(|node| node.id == *id).unwrap();
            assert_eq!(node.state != NodeState::Blocked, *has_run, "seed {seed}, step {step}: {when:?}");
        }
        let verified = self.pond.verify().await.unwrap();
        assert!(verified.is_ok(), "seed {seed}, step {step}: {verified:?}");
    }

    async fn end(self) {
        self.pond.queue("q").unwrap().resume().await.unwrap();
        drained(&self.pond).await;
        for (when, ..) in &self.model.callbacks {
            let runs = self.runs.lock().unwrap().get(&format!("callback {when:?}")).copied().unwrap_or(0);
            assert!(runs <= 1, "seed {}: {when:?} has run {runs} times", self.seed);
        }
        assert_sound(&self.pond).await;
        close(self.pond).await;
    }
}

#[tokio::test]
async fn random_flows_do_what_a_plain_model_says() {
    let seeds = std::env::var("FLOW_SEEDS").ok().map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let first = std::env::var("FLOW_SEED").ok().map_or(0, |seed| seed.parse().unwrap());
    for seed in first..first + seeds {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::begin(seed, &mut rng).await;
        world.check(0).await;
        for step in 1..=rng.usize(4..24) {
            world.step(&mut rng).await;
            world.check(step).await;
        }
        world.end().await;
    }
}
