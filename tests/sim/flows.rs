//! I33: flows. A flow is stored whole or not at all. A job of one does not start before the jobs for which it waits have completed,
//! does not run again once its completion is durable, and callbacks run when nothing else of the flow can. In the end no flow has
//! anything left that could run. I34: a step of a handler does not run again once it is durable, unless it was undone. I35: a dead
//! letter has undone its steps, and only steps that were done are undone.
//!
//! The jobs of flows are in a queue of their own, and are not compared by the numbers of their calls like the others.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use millpond::{
    BoxError, Context, Error, Event, FlowDraft, FlowInfo, FlowNode, FlowState, Handled, Job, JobId, JobInfo, Keep,
    Millpond, NewJob, NodeState, OnFailure, Outcome, Pace, QueueSettings, Retention, Retry, State, StepInfo, StepState,
};
use millpond_testkit::{ON_PURPOSE, one_of};

use crate::calls::Asks;
use crate::event_queue::queue_of;
use crate::handlers::{Stage, Timers};
use crate::oracle::{Check, Fate};
use crate::paths::took;
use crate::plan::Plan;
use crate::world::World;

/// The queue of these jobs, and their kind.
pub const FLOW: &str = "flow";

/// No job has used up so many attempts by the end of a run.
const ATTEMPTS: u32 = 1_000;

/// Flows are kept until the end.
const KEPT: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// The numbers of jobs that a handler adds begin here: the number of the handler's job, and one byte.
const ADDED: u64 = 1 << 40;

/// Something that a handler did.
#[derive(Clone, Copy, Debug)]
enum Note {
    Start {
        n: u64,
    },
    /// A step began to run.
    Step {
        n: u64,
    },
    /// A step was found stored, or has become durable. An attempt that undoes the steps finds those too that are undone already.
    StepDone {
        n: u64,
        ran: bool,
        undoing: bool,
    },
    /// A step is being undone.
    Undo {
        n: u64,
    },
    /// The handler returned and completes its job.
    Completes {
        n: u64,
    },
}

/// A job of a flow, as a call has described it.
#[derive(Clone, Debug)]
struct Described {
    n: u64,
    /// The numbers of those for which it waits, unless a failure lets it run.
    after: Vec<u64>,
    is_callback: bool,
}

/// A call that makes a flow.
#[derive(Clone, Debug)]
struct Asked {
    fate: Fate,
    jobs: Vec<Described>,
}

/// The flows of a world.
pub struct Flows {
    any: bool,
    concurrency: usize,
    /// Decides what handlers do.
    acts: Arc<Mutex<Rng>>,
    /// Of its own, so that a seed's world is otherwise the same with and without these jobs.
    rng: Rng,
    notes: Arc<Mutex<Vec<Note>>>,
    next_n: u64,
    asked: BTreeMap<String, Asked>,
    after: BTreeMap<u64, Vec<u64>>,
    /// The jobs whose handlers have returned and completed them, at least once.
    completed: BTreeSet<u64>,
    /// The jobs whose completion is durable.
    durable: BTreeSet<u64>,
    /// The jobs with a step that is durable.
    steps: BTreeSet<u64>,
    /// The jobs whose step was undone, which may not be durable.
    undone: BTreeSet<u64>,
    /// An operator has let something run that waited.
    dead: BTreeSet<u64>,
}

impl Flows {
    /// Half of the worlds have flows.
    pub fn random(seed: u64, plan: &Plan) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x666C_6F77_7321);
        let any = rng.bool() && !plan.bulk && !plan.poison;
        Self {
            any,
            concurrency: rng.usize(1..5),
            acts: Arc::new(Mutex::new(rng.fork())),
            rng,
            notes: Arc::default(),
            next_n: 1,
            asked: BTreeMap::new(),
            after: BTreeMap::new(),
            completed: BTreeSet::new(),
            durable: BTreeSet::new(),
            steps: BTreeSet::new(),
            undone: BTreeSet::new(),
            dead: BTreeSet::new(),
        }
    }

    fn seen(&mut self, note: Note) -> Check {
        match note {
            Note::Start { n } => {
                if self.durable.contains(&n) {
                    return Err(format!("I33: job {n} has completed, and runs again"));
                }
                let parent = (n >= ADDED).then(|| (n - ADDED) >> 8);
                let after = self.after.get(&n).into_iter().flatten().copied().chain(parent);
                for before in after {
                    if !self.completed.contains(&before) {
                        return Err(format!("I33: job {n} runs, and {before} has not completed"));
                    }
                    took("a job ran that had waited for another one");
                }
                if parent.is_some() {
                    took("a job ran that a handler had added to its flow");
                }
            }
            Note::Step { n } if self.steps.contains(&n) => {
                return Err(format!("I34: the step of job {n} is durable, and runs again"));
            }
            Note::Step { .. } => {}
            Note::StepDone { n, ran, undoing } => {
                if !ran {
                    took("a step was found, and not run again");
                }
                if !undoing || !self.undone.contains(&n) {
                    self.undone.remove(&n);
                    self.steps.insert(n);
                }
            }
            Note::Undo { n } => {
                if !self.steps.remove(&n) && !self.undone.contains(&n) {
                    return Err(format!("I35: the step of job {n} is undone, and was not done"));
                }
                self.undone.insert(n);
                took("a step was undone");
            }
            Note::Completes { n } => {
                self.completed.insert(n);
            }
        }
        Ok(())
    }

    /// A call was dropped; `asked` tells whether it had been polled.
    pub fn dropped(&mut self, flow: u64, asked: bool) {
        if let Some(call) = self.asked.get_mut(&flow_name(flow))
            && call.fate == Fate::Asked
        {
            call.fate = if asked { Fate::Adrift } else { Fate::Refused };
        }
    }

    pub fn answered(&mut self, flow: u64, answer: &Result<Vec<u64>, Error>) {
        let Some(call) = self.asked.get_mut(&flow_name(flow)) else { return };
        call.fate = match answer {
            Ok(_) => Fate::Stored,
            Err(Error::OutcomeUnknown { .. }) => Fate::Open,
            Err(_) => Fate::Refused,
        };
    }
}

fn flow_name(flow: u64) -> String {
    format!("f{flow}")
}

fn number_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("the simulation made it"))
}

fn job(n: u64) -> NewJob {
    NewJob::raw(FLOW, n.to_le_bytes().to_vec())
}

/// Whether it is a job of a flow.
pub fn is_of_flow(info: &JobInfo) -> bool {
    info.queue == FLOW
}

/// Whether an event is about a flow, or about a job of one.
pub fn is_of_flows(event: &Event) -> bool {
    matches!(event, Event::FlowSettled { .. }) || queue_of(event) == Some(FLOW)
}

/// Whether a job has ended without undoing its step.
fn has_a_step_left(pond: &Millpond, id: JobId) -> bool {
    let (Ok(job), Ok(steps)) = (pond.job(id), pond.steps(id)) else { return false };
    let is_left = |step: &StepInfo| step.name == "step" && step.state == StepState::Done;
    job.state == State::Dead && job.undoing.is_none() && steps.iter().any(is_left)
}

/// What the handler needs of its world.
#[derive(Clone)]
struct Scene {
    stage: Arc<Mutex<Stage>>,
    timers: Arc<Timers>,
    notes: Arc<Mutex<Vec<Note>>>,
    rng: Arc<Mutex<Rng>>,
}

impl Scene {
    fn note(&self, note: Note) {
        self.notes.lock().unwrap_or_else(|e| e.into_inner()).push(note);
    }
}

/// Whether the step of this job says how to undo it.
fn has_undo(n: u64) -> bool {
    n.is_multiple_of(6)
}

/// Undoes the step of a job, or fails.
fn undo(scene: &Scene, rng: &mut Rng, is_calm: bool) -> impl FnOnce(u64) -> Ready<Result<(), &'static str>> + use<> {
    let (scene, fails) = (scene.clone(), !is_calm && rng.u8(..4) == 0);
    move |n| {
        if fails {
            took("an undo has failed");
            return ready(Err(ON_PURPOSE));
        }
        scene.note(Note::Undo { n });
        ready(Ok(()))
    }
}

async fn handle(scene: Scene, job: Job<Bytes>, ctx: Context) -> Handled<Outcome> {
    let n = number_of(&job);
    scene.note(Note::Start { n });
    let mut rng = scene.rng.lock().unwrap().fork();
    let is_calm = scene.stage.lock().unwrap().calm;
    if n.is_multiple_of(3) {
        let mut ran = false;
        let step = || {
            scene.note(Note::Step { n });
            ran = true;
            async { Ok::<_, BoxError>(n) }
        };
        let step = ctx.step("step", step);
        let stored: u64 = if has_undo(n) { step.undo(undo(&scene, &mut rng, is_calm)).await? } else { step.await? };
        assert_eq!(stored, n);
        scene.note(Note::StepDone { n, ran, undoing: ctx.is_undoing() });
        if ctx.is_undoing() {
            return Ok(Outcome::done());
        }
        if n.is_multiple_of(9) {
            ctx.sleep("sleep", Duration::from_millis(one_of(&mut rng, &[1, 2_000]))).await?;
            took("a handler has slept");
        }
    }
    let wait = if is_calm { 0 } else { one_of(&mut rng, &[0, 0, 0, 20, 2_000, 20_000]) };
    if wait > 0 {
        scene.timers.sleep(Duration::from_millis(wait)).await;
    }
    match rng.u8(..10) {
        _ if is_calm => {}
        0 => return Err(ON_PURPOSE.into()),
        1 => return Ok(Outcome::dead_letter(ON_PURPOSE)),
        2 => return Ok(Outcome::cancel(ON_PURPOSE)),
        3 if n < ADDED && !ctx.flow()?.is_none_or(|flow| flow.is_empty()) => {
            let flow = ctx.flow()?.unwrap_or_default();
            let own = job.id();
            ctx.on_complete(move |tx| {
                let added = tx.add_to_flow(&flow, |flow| {
                    for k in 0..2 {
                        flow.job(FLOW, self::job(ADDED + (n << 8) + k)).after(&flow.running(own));
                    }
                });
                match added {
                    // A callback cannot add anything: the flow has come to its end.
                    Err(Error::FlowEnded { .. }) => Ok(()),
                    added => added.map(drop).map_err(BoxError::from),
                }
            });
        }
        _ => {}
    }
    scene.note(Note::Completes { n });
    Ok(Outcome::done())
}

impl World {
    /// Sets the queue of these jobs up.
    pub fn set_up_flows(&mut self) -> Check {
        if !self.flows.any {
            return Ok(());
        }
        let retention = Retention::default().completed(Keep::NOTHING).cancelled(Keep::NOTHING).dead(Keep::FOREVER);
        let settings = QueueSettings::default().retention(retention);
        let configured = self.now().pond.queue(FLOW).unwrap().configure(settings);
        self.done(configured)?;
        self.start_flow_worker();
        Ok(())
    }

    /// Starts the worker of these jobs.
    pub fn start_flow_worker(&mut self) {
        if !self.flows.any {
            return;
        }
        let (stage, timers, notes) = (self.stage.clone(), self.timers.clone(), self.flows.notes.clone());
        let scene = Scene { stage, timers, notes, rng: self.flows.acts.clone() };
        let retry = Retry::fixed(Duration::from_millis(500)).jitter(0.0).max_attempts(ATTEMPTS);
        let worker = self.now().pond.worker(FLOW).concurrency(self.flows.concurrency).retry(retry);
        let worker = worker.timeout(Duration::from_secs(30));
        let worker = worker.handle_raw(FLOW, move |job: Job<Bytes>, ctx: Context| handle(scene.clone(), job, ctx));
        // It works as long as the queue is open, and is refused only if the disk fails.
        let _ = worker.start();
    }

    /// Makes a flow now and then, cancels one, redrives what has died, or sends a signal.
    pub fn ask_for_flows(&mut self) {
        if !self.flows.any || self.flows.rng.u8(..4) > 0 {
            return;
        }
        let count = self.flows.asked.len() as u64;
        match self.flows.rng.u8(..8) {
            0..4 if count < 12 => self.make_a_flow(),
            4 if count > 0 => {
                let flow = flow_name(self.flows.rng.u64(..count));
                let commit = self.now().pond.flows().cancel(&flow, ON_PURPOSE);
                took("a flow was cancelled");
                self.ask_about_a_flow(commit);
            }
            5..7 if count > 0 => {
                let flow = flow_name(self.flows.rng.u64(..count));
                let commit = self.now().pond.flows().retry(&flow, Pace::at_once());
                self.ask_about_a_flow(commit);
            }
            _ if count > 0 => {
                let flow = flow_name(self.flows.rng.u64(..count));
                let commit = self.now().pond.signal(&flow, "signal", &7);
                self.ask_about_a_flow(commit);
            }
            _ => {}
        }
    }

    /// A call about a flow, which need not be there.
    fn ask_about_a_flow<T: Send + 'static>(&mut self, commit: millpond::Commit<T>) {
        let future = async move {
            match commit.await {
                Ok(_) | Err(Error::NoSuchFlow { .. } | Error::NoSuchSignal { .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            }
        };
        self.push(Asks::Other, Box::pin(future));
    }

    fn make_a_flow(&mut self) {
        let number = self.flows.asked.len() as u64;
        let name = flow_name(number);
        let mut rng = self.flows.rng.fork();
        let mut jobs = Vec::new();
        let first = self.flows.next_n;
        let describe = |flow: &FlowDraft| {
            flow.keep(KEPT);
            let signal = (rng.u8(..4) == 0).then(|| flow.signal("signal").deadline_in(Duration::from_secs(60)));
            let mut made: Vec<(u64, millpond::FlowJob)> = Vec::new();
            for n in first..first + rng.u64(..7) {
                let mut node = flow.job(FLOW, job(n));
                let mut after = Vec::new();
                for (before, handle) in &made {
                    if rng.u8(..3) == 0 {
                        let policy = one_of(&mut rng, &[OnFailure::Hold, OnFailure::Cancel, OnFailure::Run]);
                        node = node.after_or(handle, policy);
                        after.extend((policy != OnFailure::Run).then_some(*before));
                    }
                }
                if let Some(signal) = &signal
                    && rng.u8(..3) == 0
                {
                    node = node.after_or(signal, OnFailure::Run);
                }
                jobs.push(Described { n, after, is_callback: false });
                made.push((n, node));
            }
            let next = first + jobs.len() as u64;
            flow.on_end(FLOW, job(next));
            jobs.push(Described { n: next, after: Vec::new(), is_callback: true });
        };
        let commit = self.now().pond.flow(&name, describe);
        self.flows.next_n += jobs.len() as u64;
        for described in &jobs {
            self.flows.after.insert(described.n, described.after.clone());
        }
        self.flows.asked.insert(name, Asked { fate: Fate::Asked, jobs });
        took("a flow was made");
        self.push(Asks::Flow(number), Box::pin(async move { commit.await.map(|_| Vec::new()) }));
    }

    /// Checks the notes of what the handlers of these jobs did.
    pub fn notice_flows(&mut self) -> Check {
        let notes = std::mem::take(&mut *self.flows.notes.lock().unwrap_or_else(|e| e.into_inner()));
        for note in notes {
            self.trace.note(format!("    flow {note:?}"));
            self.flows.seen(note)?;
        }
        Ok(())
    }

    /// Compares the flows in the file with the calls that have made them.
    pub fn compare_flows(&mut self) -> Check {
        // What handlers have done before this moment.
        self.notice_flows()?;
        if !self.flows.any || self.now().pond.degraded().is_some() {
            return Ok(());
        }
        let Some(found) = self.disk.without_faults(|| self.flows_of_file()) else { return Ok(()) };
        let pond = &self.open.as_ref().expect("it is open").pond;
        for (name, asked) in &mut self.flows.asked {
            match (found.get(name), asked.fate) {
                (None, Fate::Stored) => return Err(format!("I33: the flow {name} was acknowledged, and is not there")),
                (Some(_), Fate::Refused) => return Err(format!("I33: the flow {name} was refused, and is there")),
                (Some((_, nodes)), _) => {
                    let jobs = nodes.iter().filter(|(node, n)| node.is_job() && *n < ADDED).count();
                    if jobs != asked.jobs.len() {
                        let all = asked.jobs.len();
                        return Err(format!("I33: the flow {name} has {jobs} of {all} jobs"));
                    }
                    asked.fate = Fate::Stored;
                    for (node, n) in nodes {
                        if node.state == NodeState::Completed && node.is_job() {
                            self.flows.durable.insert(*n);
                        }
                        if node.state == NodeState::Blocked && node.failed > 0 {
                            took("a job of a flow was held");
                        }
                        if node.state == NodeState::Dead {
                            self.flows.dead.insert(*n);
                        }
                        if let (NodeState::Dead, true, Some(id)) =
                            (node.state, has_undo(*n), node.is_job().then_some(node.id))
                            && self.disk.without_faults(|| has_a_step_left(pond, id))
                        {
                            return Err(format!("I35: job {n} is dead, and its step is not undone"));
                        }
                        if node.state == NodeState::Completed && self.flows.dead.contains(n) {
                            took("a redrive let a flow go on");
                        }
                    }
                }
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// Each flow with its nodes and the numbers of their jobs: a node's place in its flow says which job it is.
    #[expect(clippy::type_complexity, reason = "a flow and its nodes")]
    fn flows_of_file(&self) -> Option<BTreeMap<String, (FlowInfo, Vec<(FlowNode, u64)>)>> {
        let flows = self.now().pond.flows();
        let mut found = BTreeMap::new();
        for info in flows.list("", 1_000).ok()? {
            let asked = self.flows.asked.get(&info.name)?;
            let mut described = asked.jobs.iter().map(|job| job.n);
            let nodes = flows.nodes(&info.name, None, 1_000).ok()?;
            let numbered = nodes.into_iter().map(|node| {
                let n = if node.is_job() { described.next().unwrap_or(u64::MAX) } else { u64::MAX };
                (node, n)
            });
            found.insert(info.name.clone(), (info, numbered.collect()));
        }
        Some(found)
    }

    /// Whether nothing of any flow can run any more.
    pub fn flows_are_over(&self) -> bool {
        let Some(found) = self.disk.without_faults(|| self.flows_of_file()) else { return false };
        let is_over = |flow: &FlowInfo| flow.state != FlowState::Running && flow.callbacks_running == 0;
        let counts = self.now().pond.queue(FLOW).unwrap().counts();
        found.values().all(|(flow, _)| is_over(flow)) && counts.unfinished() == counts.blocked
    }

    /// What is left of flows, for a message.
    pub fn flows_left_over(&self) -> String {
        let counts = self.now().pond.queue(FLOW).unwrap().counts();
        let found = self.disk.without_faults(|| self.flows_of_file()).unwrap_or_default();
        let running: Vec<_> = found.into_values().filter(|(flow, _)| flow.state == FlowState::Running).collect();
        format!("flows {running:?} with {} jobs", counts.unfinished())
    }

    /// In the end each flow is explained: it has ended, or what waits is held by a failure, and its callback has run.
    pub fn flows_ended(&self) -> Check {
        let Some(found) = self.disk.without_faults(|| self.flows_of_file()) else { return Ok(()) };
        for (name, (flow, nodes)) in &found {
            let counts = flow.counts;
            let has_failed = counts.dead + counts.cancelled > 0;
            let legal = match flow.state {
                FlowState::Completed => counts.completed == counts.total(),
                FlowState::Held => counts.blocked > 0 && has_failed,
                FlowState::Failed | FlowState::Cancelled => counts.blocked == 0 && has_failed,
                _ => false,
            };
            if !legal {
                return Err(format!("I33: in the end the flow {name} is {flow:?}"));
            }
            for (node, n) in nodes {
                let is_callback = self.flows.asked[name].jobs.iter().any(|job| job.n == *n && job.is_callback);
                if is_callback && !node.state.has_ended() {
                    return Err(format!("I33: in the end the callback of {name} has not run: {node:?}"));
                }
            }
        }
        if !found.is_empty() {
            took("a callback of a flow ran");
        }
        Ok(())
    }
}
