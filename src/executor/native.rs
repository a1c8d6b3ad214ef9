use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tracing::Instrument;

use super::blocking::BlockingPool;
use super::panics;
use super::running::{Kill, Running, Runs};
use crate::error::BoxError;
use crate::handler::{Attempted, Boxed, Context, DataMap, Facts, Run, Runnable};
use crate::job::{Attempt, ClassedError, Ending, Entry, FailureKind, IdMap, KindId, Outcome, Payload, QueueId, Retry};
use crate::scheduler::RunId;
use crate::sync::{Tasks, yield_now};
use crate::time::{Clock, Now};

/// A worker's handlers and how it runs them.
pub(crate) struct Binding {
    pub queue: Arc<str>,
    pub handlers: IdMap<Handling, KindId>,
    pub data: Arc<DataMap>,
    pub retry: Retry,
    pub timeout: Option<Duration>,
}

/// One kind's handler.
pub(crate) struct Handling {
    pub kind: Arc<str>,
    pub runnable: Runnable,
    /// Longest attempt, whatever its worker and its job allow.
    pub timeout_max: Option<Duration>,
    /// The plugin that it is, if it is one.
    #[cfg(feature = "wasm")]
    pub plugin: Option<super::PluginHandle>,
}

impl Handling {
    /// A Rust function.
    pub fn native(kind: Arc<str>, runnable: Runnable) -> Self {
        Self {
            kind,
            runnable,
            timeout_max: None,
            #[cfg(feature = "wasm")]
            plugin: None,
        }
    }
}

impl Binding {
    /// How long an attempt of this kind may run. `own` is the job's own timeout.
    pub fn timeout(&self, kind: KindId, own: Option<Duration>) -> Option<Duration> {
        let allowed = own.or(self.timeout);
        let most = self.handlers.get(&kind).and_then(|handling| handling.timeout_max);
        [allowed, most].into_iter().flatten().min()
    }
}

/// One attempt to be made.
#[derive(Clone)]
pub(crate) struct Plan {
    pub run: RunId,
    pub queue: QueueId,
    pub taken: Arc<Entry>,
    pub attempt: Attempt,
    pub binding: Arc<Binding>,
    pub timeout: Option<Duration>,
    pub alone: bool,
    pub started: Now,
}

/// An attempt that has ended.
pub(crate) struct Finished {
    pub running: Arc<Running>,
    pub ending: Ending,
}

/// An attempt that has been entered and is to be run.
pub(crate) struct Begun {
    running: Arc<Running>,
    span: tracing::Span,
    /// Its deadline is the next one to watch.
    pub next_deadline: bool,
    /// Before it, other tasks of the application's runtime get their turn.
    pub breathe: bool,
}

impl Begun {
    /// It would block the task that runs it.
    pub fn blocks(&self) -> bool {
        self.running.blocking
    }
}

/// Attempts that one task runs before others get their turn, if none of them waits for anything.
const IN_TURN_MAX: u32 = 32;

/// Runs attempts on the application's async runtime and on its own threads for those that block.
pub(crate) struct Executor {
    tasks: Tasks,
    blocking: BlockingPool,
    clock: Arc<dyn Clock>,
    pub runs: Arc<Runs>,
}

impl Executor {
    pub fn new(tasks: Tasks, blocking_threads: usize, clock: Arc<dyn Clock>) -> Self {
        Self { tasks, blocking: BlockingPool::new(blocking_threads), clock, runs: Arc::default() }
    }

    /// Enters an attempt: from now on it can be killed, and [`Self::run`] runs it.
    pub fn begin(&self, plan: Plan) -> Begun {
        let binding = &*plan.binding;
        let handling = &binding.handlers[&plan.taken.kind()];
        let blocking = matches!(handling.runnable.run, Run::Blocking(_));
        let facts = facts(&plan, &binding.queue, &handling.kind);
        let span = span(&plan, &facts);
        let (clock, data, started) = (self.clock.clone(), binding.data.clone(), plan.started);
        let attempted = Arc::new(Attempted::new(facts, clock, started.mono, plan.timeout, data));
        let running = Arc::new(Running::new(plan, attempted, blocking));
        let next_deadline = self.runs.enter(running.clone());
        Begun { running, span, next_deadline, breathe: false }
    }

    /// Runs it; `report` hears how it ended, exactly once, and may name another one to be run by the
    /// same task, and so on: that spares a task for each.
    pub fn run(&self, begun: Begun, report: impl Fn(Finished) -> Option<Begun> + Send + Sync + 'static) {
        let runs = self.runs.clone();
        if begun.running.blocking {
            self.blocking.spawn(Box::new(move || {
                let Begun { running, span, .. } = begun;
                let ending = span.in_scope(|| run_blocking(&running));
                runs.leave(&running);
                let next = report(Finished { running, ending });
                debug_assert!(next.is_none(), "a thread that may block runs one at a time");
            }));
        } else {
            self.tasks.spawn(run_in_turn(runs, begun, report));
        }
    }

    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }
}

fn facts(plan: &Plan, queue: &Arc<str>, kind: &Arc<str>) -> Facts {
    let record = &plan.taken.record;
    Facts {
        id: plan.taken.id,
        queue: queue.clone(),
        kind: kind.clone(),
        group: record.group().cloned(),
        priority: record.priority,
        attempt: plan.attempt.number,
        max_attempts: plan.attempt.max,
        enqueued_at: record.enqueued_at,
        #[cfg(feature = "wasm")]
        generation: record.generation(),
    }
}

/// The attempt's span: a child of the one the job was enqueued in, if that is still known.
fn span(plan: &Plan, facts: &Facts) -> tracing::Span {
    let parent = plan.taken.span.as_ref().and_then(tracing::Span::id);
    tracing::info_span!(
        parent: parent,
        "job",
        id = facts.id.get(),
        queue = &*facts.queue,
        kind = &*facts.kind,
        attempt = facts.attempt,
    )
}

impl Running {
    fn runnable(&self) -> &Runnable {
        &self.plan.binding.handlers[&self.plan.taken.kind()].runnable
    }

    fn payload(&self) -> &Payload {
        &self.plan.taken.record.payload
    }
}

async fn run_in_turn(runs: Arc<Runs>, first: Begun, report: impl Fn(Finished) -> Option<Begun>) {
    let mut next = Some(first);
    let mut in_turn = 0;
    while let Some(Begun { running, span, breathe, .. }) = next {
        in_turn += 1;
        if breathe || in_turn % IN_TURN_MAX == 0 {
            yield_now().await;
        }
        let ending = run_async(&running).instrument(span).await;
        runs.leave(&running);
        next = report(Finished { running, ending });
    }
}

async fn run_async(running: &Running) -> Ending {
    let called = panics::catch(|| match &running.runnable().run {
        Run::Async(run) => run(running.payload(), &Context::new(running.attempted.clone())),
        Run::Blocking(_) => unreachable!("the caller has looked"),
    });
    let future = match called {
        Ok(Ok(future)) => future,
        Ok(Err(error)) => return undecodable(&error),
        Err(panic) => return panicked(panic),
    };
    match finish_or_kill(running, future).await {
        Some(Ok(outcome)) => ended(outcome),
        Some(Err(panic)) => panicked(panic),
        None => killed(running),
    }
}

/// Polls the handler until it is done, has panicked, or is killed (`None`): then it is dropped.
async fn finish_or_kill(running: &Running, mut future: Boxed) -> Option<Result<Outcome, String>> {
    let mut kill = pin!(running.kill().notified());
    let finished = poll_fn(|cx| {
        if running.killed().is_some() {
            return Poll::Ready(None);
        }
        match panics::catch(|| future.as_mut().poll(cx)) {
            Ok(Poll::Ready(outcome)) => Poll::Ready(Some(Ok(outcome))),
            Err(panic) => Poll::Ready(Some(Err(panic))),
            Ok(Poll::Pending) => match kill.as_mut().poll(cx) {
                // Registered now: whoever kills later wakes this task, whoever did before is seen here.
                Poll::Pending if running.killed().is_none() => Poll::Pending,
                _ => Poll::Ready(None),
            },
        }
    })
    .await;
    // What it holds may panic when it is dropped; the attempt has ended all the same.
    let _ = panics::catch(|| drop(future));
    #[cfg(feature = "wasm")]
    if finished.is_none() {
        // A guest that computes elsewhere is dropped there, when it next gives way.
        running.attempted.gone().await;
    }
    finished
}

fn run_blocking(running: &Running) -> Ending {
    if running.killed().is_some() {
        return killed(running);
    }
    let Run::Blocking(run) = &running.runnable().run else { unreachable!("the caller has looked") };
    let called = panics::catch(|| run(running.payload(), &Context::new(running.attempted.clone())));
    if running.killed().is_some() {
        // Too late, whatever it says: the attempt has been given up.
        return killed(running);
    }
    match called {
        Ok(Ok(outcome)) => ended(outcome),
        Ok(Err(error)) => undecodable(&error),
        Err(panic) => panicked(panic),
    }
}

fn killed(running: &Running) -> Ending {
    match running.killed() {
        Some(Kill::Timeout) => {
            let timeout = running.plan.timeout.unwrap_or_default();
            let message = format!("the attempt ran longer than its timeout of {timeout:?}");
            Ending::Failed { kind: FailureKind::Timeout, message, delay: None }
        }
        _ => Ending::Released,
    }
}

fn panicked(message: String) -> Ending {
    Ending::Failed { kind: FailureKind::Panic, message, delay: None }
}

/// What the outcome says. Telling it calls the application's code once more: its errors' `Display`.
fn ended(outcome: Outcome) -> Ending {
    panics::catch(|| ending(outcome)).unwrap_or_else(panicked)
}

fn undecodable(error: &BoxError) -> Ending {
    Ending::Undecodable(panics::catch(|| chain(error)).unwrap_or_else(|panic| panic))
}

fn ending(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Done(result) => Ending::Done(result),
        Outcome::Retry { error, delay } => {
            let kind = error.downcast_ref().map_or(FailureKind::Error, |ClassedError { kind, .. }| *kind);
            Ending::Failed { kind, message: chain(&error), delay }
        }
        Outcome::Snooze(delay) => Ending::Snoozed(delay),
        Outcome::RateLimited(delay) => Ending::RateLimited(delay),
        Outcome::Discard(reason) => Ending::Discarded(reason),
        Outcome::DeadLetter(reason) => Ending::DeadLetter(reason),
    }
}

/// An error with its sources, joined by `: `.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Many errors already say their source's text at their own end.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}
