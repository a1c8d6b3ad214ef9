//! A flow as a caller describes it: its jobs, signals and callbacks, and which of them wait for which.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::counts::{FlowRow, When};
use super::node::OnFailure;
use crate::error::Error;
use crate::job::name::check_key;
use crate::job::new_job::StartTime;
use crate::job::{ENQUEUE_JOBS_MAX, JobId, NewJob};
use crate::time::Timestamp;

/// How many jobs and signals one job of a flow can wait for, if they are given in one call.
const DEPENDENCIES_MAX: usize = 100_000;

/// A flow while it is described: see [`Millpond::flow`](crate::Millpond::flow).
#[derive(Default)]
pub struct FlowDraft {
    plan: Rc<RefCell<Plan>>,
}

/// A job of a flow that is being described, to say what it waits for. Cheap to clone.
#[derive(Clone)]
pub struct FlowJob {
    plan: Rc<RefCell<Plan>>,
    at: NodeRef,
}

/// A signal of a flow that is being described. Cheap to clone.
#[derive(Clone)]
pub struct FlowSignal {
    plan: Rc<RefCell<Plan>>,
    at: usize,
}

/// What a job of a flow can wait for: another job, or a signal.
pub trait Dependency: sealed::Sealed {}

impl Dependency for FlowJob {}
impl Dependency for FlowSignal {}

mod sealed {
    use std::rc::Rc;

    use super::{FlowJob, FlowSignal, NodeRef};

    pub trait Sealed {
        /// The node, and which description it is of.
        fn node(&self) -> (*const (), NodeRef);
    }

    impl Sealed for FlowJob {
        fn node(&self) -> (*const (), NodeRef) {
            (Rc::as_ptr(&self.plan).cast(), self.at.clone())
        }
    }

    impl Sealed for FlowSignal {
        fn node(&self) -> (*const (), NodeRef) {
            (Rc::as_ptr(&self.plan).cast(), NodeRef::New(self.at))
        }
    }
}

/// A node, as a description names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeRef {
    /// One of the same description.
    New(usize),
    /// One that the flow has already, by its name.
    Named(String),
    /// The job that is being handled.
    Job(JobId),
    /// One of another description, which is refused.
    Foreign,
}

#[derive(Default)]
struct Plan {
    nodes: Vec<Planned>,
    /// What jobs that the flow has already wait for from now on.
    of_existing: Vec<Dep>,
    deadline: Option<StartTime>,
    keep: Option<Duration>,
}

struct Planned {
    what: PlannedWhat,
    name: Option<String>,
    on_failure: OnFailure,
    after: Vec<(NodeRef, Option<OnFailure>)>,
    callback: Option<When>,
}

enum PlannedWhat {
    Job { queue: String, job: NewJob },
    Signal { deadline: Option<StartTime> },
}

/// That one node waits for another.
#[derive(Clone, Debug)]
pub(crate) struct Dep {
    pub node: NodeRef,
    pub after: NodeRef,
    pub on_failure: OnFailure,
}

/// A flow, or an addition to one, that was checked. `J` is a job as it is known by then.
#[derive(Debug)]
pub(crate) struct NewFlow<J> {
    pub id: u64,
    pub name: String,
    pub nodes: Vec<NewNode<J>>,
    pub deps: Vec<Dep>,
    /// Nodes that the flow has already and that must not wait for others, because new nodes that wait for them are waited for by
    /// nodes that the flow has already: that could close a circle.
    pub must_be_free: Vec<NodeRef>,
    pub deadline: Option<StartTime>,
    pub keep: Duration,
}

#[derive(Debug)]
pub(crate) struct NewNode<J> {
    pub name: Option<String>,
    pub what: NewWhat<J>,
    pub callback: Option<When>,
    /// Whether it waits for others.
    pub is_blocked: bool,
}

#[derive(Debug)]
pub(crate) enum NewWhat<J> {
    Job(J),
    Signal { deadline: Option<StartTime> },
}

impl FlowDraft {
    /// Adds a job, which is enqueued into this queue when it waits for nothing any more. Without a dependency that is at once.
    ///
    /// It cannot have a unique key or an idempotency key: the name of the flow says whether the flow is there already. A delay
    /// counts from now, not from the end of the dependencies.
    pub fn job(&self, queue: impl Into<String>, job: impl Into<NewJob>) -> FlowJob {
        self.add(PlannedWhat::Job { queue: queue.into(), job: job.into() }, None)
    }

    /// Adds a signal, which comes from outside: an approval, a webhook.
    /// [`Millpond::signal`](crate::Millpond::signal) says that it has come. A job that waits for it gets what was sent with it as its
    /// [result](crate::Context::result).
    pub fn signal(&self, name: impl Into<String>) -> FlowSignal {
        let at = self.add(PlannedWhat::Signal { deadline: None }, None).named(name);
        let NodeRef::New(at) = at.at else { unreachable!("it was added just now") };
        FlowSignal { plan: self.plan.clone(), at }
    }

    /// Adds a job that runs once, when nothing of the flow can run any more: all of it has ended, or the rest waits for jobs that
    /// have died or were cancelled.
    pub fn on_end(&self, queue: impl Into<String>, job: impl Into<NewJob>) -> FlowJob {
        self.add(PlannedWhat::Job { queue: queue.into(), job: job.into() }, Some(When::End))
    }

    /// Adds a job that runs once, when all jobs of the flow have completed; also if that is after a redrive.
    pub fn on_success(&self, queue: impl Into<String>, job: impl Into<NewJob>) -> FlowJob {
        self.add(PlannedWhat::Job { queue: queue.into(), job: job.into() }, Some(When::Success))
    }

    /// Adds a job that runs once, when nothing of the flow can run any more and one of its jobs has died or was cancelled.
    pub fn on_failure(&self, queue: impl Into<String>, job: impl Into<NewJob>) -> FlowJob {
        self.add(PlannedWhat::Job { queue: queue.into(), job: job.into() }, Some(When::Failure))
    }

    /// A job that the flow has already, by its [name](FlowJob::named): to wait for it, or to have it wait for new jobs. Only for
    /// an [addition](crate::Transaction::add_to_flow).
    pub fn existing(&self, name: impl Into<String>) -> FlowJob {
        FlowJob { plan: self.plan.clone(), at: NodeRef::Named(name.into()) }
    }

    /// A job of the flow that a handler runs at the moment. Only for an [addition](crate::Transaction::add_to_flow).
    pub fn running(&self, job: impl Into<JobId>) -> FlowJob {
        FlowJob { plan: self.plan.clone(), at: NodeRef::Job(job.into()) }
    }

    /// Cancels what has not ended after this time.
    pub fn deadline_in(&self, time: Duration) {
        self.plan.borrow_mut().deadline = Some(StartTime::After(time));
    }

    /// Cancels what has not ended at this time.
    pub fn deadline_at(&self, time: impl Into<Timestamp>) {
        self.plan.borrow_mut().deadline = Some(StartTime::At(time.into()));
    }

    /// How long the flow is kept after its end, with the results of its jobs: 7 days by default.
    pub fn keep(&self, time: Duration) {
        self.plan.borrow_mut().keep = Some(time);
    }

    fn add(&self, what: PlannedWhat, callback: Option<When>) -> FlowJob {
        let mut plan = self.plan.borrow_mut();
        let at = NodeRef::New(plan.nodes.len());
        let on_failure = OnFailure::default();
        plan.nodes.push(Planned { what, name: None, on_failure, after: Vec::new(), callback });
        FlowJob { plan: self.plan.clone(), at }
    }

    /// The flow that `describe` describes, with its jobs, which are not prepared yet. `is_addition` says whether the flow exists.
    ///
    /// # Errors
    /// [`Error::InvalidFlow`], [`Error::InvalidKey`], [`Error::BatchTooLarge`].
    pub(crate) fn described(
        name: &str,
        is_addition: bool,
        describe: impl FnOnce(&Self),
    ) -> Result<NewFlow<(String, NewJob)>, Error> {
        let draft = Self::default();
        describe(&draft);
        draft.check(name, is_addition)
    }

    fn check(self, name: &str, is_addition: bool) -> Result<NewFlow<(String, NewJob)>, Error> {
        check_key("flow", name)?;
        let plan = std::mem::take(&mut *self.plan.borrow_mut());
        plan.check(name, is_addition)
    }
}

impl FlowJob {
    /// Gives the job a name in its flow. Results are [found](crate::Context::result) by it.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        if let NodeRef::New(at) = self.at {
            self.plan.borrow_mut().nodes[at].name = Some(name.into());
        }
        self
    }

    /// The job waits until the other one has completed.
    #[allow(clippy::return_self_not_must_use, reason = "most jobs are described for their effect on the flow")]
    pub fn after(self, dependency: &impl Dependency) -> Self {
        self.wait_for(dependency, None)
    }

    /// The job waits until all of these have completed.
    #[allow(clippy::return_self_not_must_use, reason = "most jobs are described for their effect on the flow")]
    pub fn after_all<'d, D: Dependency + 'd>(self, dependencies: impl IntoIterator<Item = &'d D>) -> Self {
        dependencies.into_iter().fold(self, |job, dependency| job.wait_for(dependency, None))
    }

    /// [`after`](Self::after), with what becomes of the job if this dependency fails.
    #[allow(clippy::return_self_not_must_use, reason = "most jobs are described for their effect on the flow")]
    pub fn after_or(self, dependency: &impl Dependency, on_failure: OnFailure) -> Self {
        self.wait_for(dependency, Some(on_failure))
    }

    /// What becomes of the job if one of its dependencies fails. It holds for those that were not given with
    /// [`after_or`](Self::after_or).
    #[allow(clippy::return_self_not_must_use, reason = "most jobs are described for their effect on the flow")]
    pub fn on_failed_dependency(self, on_failure: OnFailure) -> Self {
        if let NodeRef::New(at) = self.at {
            self.plan.borrow_mut().nodes[at].on_failure = on_failure;
        }
        self
    }

    fn wait_for(self, dependency: &impl Dependency, on_failure: Option<OnFailure>) -> Self {
        let (of, after) = dependency.node();
        let after = if of == Rc::as_ptr(&self.plan).cast() { after } else { NodeRef::Foreign };
        let mut plan = self.plan.borrow_mut();
        match &self.at {
            NodeRef::New(at) => plan.nodes[*at].after.push((after, on_failure)),
            existing => {
                let on_failure = on_failure.unwrap_or_default();
                plan.of_existing.push(Dep { node: existing.clone(), after, on_failure });
            }
        }
        drop(plan);
        self
    }
}

impl FlowSignal {
    /// The signal counts as failed if it has not come after this time.
    #[allow(clippy::return_self_not_must_use, reason = "the handle is needed only by jobs that wait for the signal")]
    pub fn deadline_in(self, time: Duration) -> Self {
        self.deadline(StartTime::After(time))
    }

    /// The signal counts as failed if it has not come at this time.
    #[allow(clippy::return_self_not_must_use, reason = "the handle is needed only by jobs that wait for the signal")]
    pub fn deadline_at(self, time: impl Into<Timestamp>) -> Self {
        self.deadline(StartTime::At(time.into()))
    }

    fn deadline(self, time: StartTime) -> Self {
        if let PlannedWhat::Signal { deadline } = &mut self.plan.borrow_mut().nodes[self.at].what {
            *deadline = Some(time);
        }
        self
    }
}

impl Plan {
    fn check(self, name: &str, is_addition: bool) -> Result<NewFlow<(String, NewJob)>, Error> {
        let refuse = |reason: String| Error::InvalidFlow { flow: name.to_owned(), reason };
        if self.nodes.len() > ENQUEUE_JOBS_MAX {
            let (jobs, jobs_max) = (self.nodes.len(), ENQUEUE_JOBS_MAX);
            return Err(Error::BatchTooLarge { jobs, bytes: 0, jobs_max, bytes_max: crate::job::ENQUEUE_BYTES_MAX });
        }
        self.check_names(name)?;
        let deps = self.deps();
        if deps.len() > DEPENDENCIES_MAX {
            return Err(refuse(format!(
                "it has {} dependencies, of at most {DEPENDENCIES_MAX} in one call",
                deps.len()
            )));
        }
        for dep in &deps {
            self.check_dep(dep, is_addition).map_err(refuse)?;
        }
        let behind = self.in_order(&deps).map_err(|at| refuse(self.circle(at)))?;
        let must_be_free = deps.iter().filter(|dep| !matches!(dep.node, NodeRef::New(_)));
        let must_be_free = must_be_free.filter_map(|dep| match &dep.after {
            NodeRef::New(at) => Some(&behind[*at]),
            _ => None,
        });
        let must_be_free: BTreeSet<_> = must_be_free.flatten().cloned().collect();
        let blocked: BTreeSet<_> = deps.iter().map(|dep| dep.node.clone()).collect();
        let keep = self.keep.unwrap_or(FlowRow::KEEP);
        let nodes = self.nodes.into_iter().enumerate();
        let nodes = nodes.map(|(at, Planned { what, name, callback, .. })| NewNode {
            name,
            what: match what {
                PlannedWhat::Job { queue, job } => NewWhat::Job((queue, job)),
                PlannedWhat::Signal { deadline } => NewWhat::Signal { deadline },
            },
            callback,
            is_blocked: callback.is_some() || blocked.contains(&NodeRef::New(at)),
        });
        Ok(NewFlow {
            id: 0,
            name: name.to_owned(),
            nodes: nodes.collect(),
            deps,
            must_be_free: must_be_free.into_iter().collect(),
            deadline: self.deadline,
            keep,
        })
    }

    fn check_names(&self, flow: &str) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for name in self.nodes.iter().filter_map(|node| node.name.as_deref()) {
            check_key("name in a flow", name)?;
            if !names.insert(name) {
                let reason = format!("two of its jobs or signals are named {name:?}");
                return Err(Error::InvalidFlow { flow: flow.to_owned(), reason });
            }
        }
        Ok(())
    }

    /// What waits for what, each pair once: of two policies for the same pair the last one counts.
    fn deps(&self) -> Vec<Dep> {
        let mut deps = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let after: BTreeMap<_, _> = node.after.iter().cloned().collect();
            deps.extend(after.into_iter().map(|(after, on_failure)| Dep {
                node: NodeRef::New(at),
                after,
                on_failure: on_failure.unwrap_or(node.on_failure),
            }));
        }
        let mut seen = BTreeSet::new();
        let of_existing = self.of_existing.iter().rev().filter(|dep| seen.insert((&dep.node, &dep.after)));
        deps.extend(of_existing.cloned());
        deps
    }

    fn check_dep(&self, dep: &Dep, is_addition: bool) -> Result<(), String> {
        let Dep { node, after, .. } = dep;
        let new = |node: &NodeRef| match node {
            NodeRef::New(at) => self.nodes.get(*at),
            _ => None,
        };
        if *after == NodeRef::Foreign {
            return Err("one of its jobs would wait for a job of another flow".into());
        }
        let (node_is, after_is) = (new(node), new(after));
        if !is_addition && (node_is.is_none() || after_is.is_none()) {
            return Err("`existing` and `running` are for additions to a flow that is there already".into());
        }
        if node_is.is_none() && after_is.is_none() {
            return Err("a job that it has already can wait only for new ones".into());
        }
        if node_is.is_some_and(|node| node.callback.is_some()) {
            return Err("a callback waits for the whole flow, and cannot wait for one job".into());
        }
        if after_is.is_some_and(|after| after.callback.is_some()) {
            return Err("a job cannot wait for a callback, which runs after all jobs".into());
        }
        Ok(())
    }

    /// For each new node, the nodes that the flow has already and that it waits for, also through other new nodes.
    ///
    /// # Errors
    /// The place of a node that waits for itself.
    fn in_order(&self, deps: &[Dep]) -> Result<Vec<BTreeSet<NodeRef>>, usize> {
        let count = self.nodes.len();
        let (mut waits, mut dependents) = (vec![0_usize; count], vec![Vec::new(); count]);
        let mut behind = vec![BTreeSet::new(); count];
        for dep in deps {
            match (&dep.node, &dep.after) {
                (NodeRef::New(node), NodeRef::New(after)) => {
                    waits[*node] += 1;
                    dependents[*after].push(*node);
                }
                (NodeRef::New(node), existing) => {
                    behind[*node].insert(existing.clone());
                }
                _ => {}
            }
        }
        let mut free: Vec<_> = (0..count).filter(|node| waits[*node] == 0).collect();
        let mut passed = 0;
        while let Some(node) = free.pop() {
            passed += 1;
            for dependent in std::mem::take(&mut dependents[node]) {
                if !behind[node].is_empty() {
                    let more = behind[node].clone();
                    behind[dependent].extend(more);
                }
                waits[dependent] -= 1;
                if waits[dependent] == 0 {
                    free.push(dependent);
                }
            }
        }
        match (passed == count, (0..count).find(|node| waits[*node] > 0)) {
            (false, Some(node)) => Err(node),
            _ => Ok(behind),
        }
    }

    /// Says that a node is in a circle or behind one.
    fn circle(&self, at: usize) -> String {
        let node = &self.nodes[at];
        let what = match (&node.name, &node.what) {
            (Some(name), _) => format!("{name:?}"),
            (None, PlannedWhat::Job { job, .. }) => format!("of kind {:?}", job.kind()),
            (None, PlannedWhat::Signal { .. }) => "of a signal".to_owned(),
        };
        format!("its job {what} would wait for itself: jobs must not wait for each other in a circle")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(flow: &FlowDraft) -> FlowJob {
        flow.job("q", NewJob::raw("k", ""))
    }

    fn refused(describe: impl FnOnce(&FlowDraft)) -> String {
        FlowDraft::described("f", false, describe).unwrap_err().to_string()
    }

    #[test]
    fn a_job_is_blocked_if_it_waits_for_another_one() {
        let draft = FlowDraft::default();
        let first = job(&draft);
        job(&draft).after(&first).after_or(&first, OnFailure::Run);
        draft.on_end("q", NewJob::raw("k", ""));
        let flow = draft.check("f", false).unwrap();
        let blocked: Vec<_> = flow.nodes.iter().map(|node| node.is_blocked).collect();
        assert_eq!(blocked, [false, true, true]);
        assert_eq!(flow.deps.len(), 1);
        assert_eq!(flow.deps[0].on_failure, OnFailure::Run);
    }

    #[test]
    fn circles_are_refused_by_name() {
        let circle = refused(|flow| {
            let (first, second) = (job(flow).named("pack"), job(flow));
            first.clone().after(&second);
            second.after(&first);
        });
        assert!(circle.contains("\"pack\"") && circle.contains("circle"), "{circle}");
        let own = refused(|flow| {
            let own = job(flow);
            own.clone().after(&own);
        });
        assert!(own.contains("wait for itself"), "{own}");
    }

    #[test]
    fn callbacks_are_outside_of_the_graph() {
        let waits_for_callback = refused(|flow| {
            let callback = flow.on_success("q", NewJob::raw("k", ""));
            job(flow).after(&callback);
        });
        assert!(waits_for_callback.contains("callback"), "{waits_for_callback}");
        let callback_waits = refused(|flow| {
            let first = job(flow);
            flow.on_end("q", NewJob::raw("k", "")).after(&first);
        });
        assert!(callback_waits.contains("callback"), "{callback_waits}");
    }

    #[test]
    fn an_addition_that_could_close_a_circle_says_which_jobs_must_be_free() {
        let draft = FlowDraft::default();
        let (split, merge) = (draft.existing("split"), draft.existing("merge"));
        let first = job(&draft).after(&split);
        let second = job(&draft).after(&first);
        let other = job(&draft).after(&draft.existing("other"));
        merge.after_all([&second]);
        let _ = other;
        let flow = draft.check("f", true).unwrap();
        assert_eq!(flow.must_be_free, [NodeRef::Named("split".into())]);
    }

    #[test]
    fn names_are_used_once() {
        let twice = refused(|flow| {
            let _ = job(flow).named("a");
            flow.signal("a");
        });
        assert!(twice.contains("\"a\""), "{twice}");
    }
}
