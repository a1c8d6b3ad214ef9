use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tracing::Instrument;

use super::blocking::BlockingPool;
use super::panics;
use super::running::{Kill, Running, RunningAttempts};
use super::slow_poll::{self, Polls, SlowPolls};
use crate::error::BoxError;
use crate::error::panics::drop_quietly;
use crate::handler::{Attempted, Boxed, Context, DataMap, Facts, Inside, Run, Runnable, Started};
use crate::job::{
    AttemptNumber, Caller, ClassedError, Ending, FailureKind, IdMap, IdSet, KindId, Outcome, Payload, QueueId,
    ReadyJob, Retry, RunNumber,
};
use crate::scheduler::RunId;
use crate::storage::NamesInUse;
use crate::sync::{Tasks, yield_now};
use crate::time::{Clock, Now};

/// A worker's handlers and how it runs them.
pub(crate) struct Binding {
    pub queue: Arc<str>,
    pub handlers: IdMap<Handling, KindId>,
    pub data: Arc<DataMap>,
    pub retry: Retry,
    pub timeout: Option<Duration>,
    /// Its jobs run at most once, whatever they say themselves.
    pub at_most_once: bool,
    /// As long as it lives, the numbers of its names stand for them.
    #[expect(dead_code, reason = "held, not read")]
    pub names: NamesInUse,
}

/// One kind's handler.
pub(crate) struct Handling {
    pub kind: Arc<str>,
    pub runnable: Runnable,
    /// Longest attempt, whatever its worker and its job allow.
    pub timeout_max: Option<Duration>,
    pub slow_polls: SlowPolls,
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
            slow_polls: SlowPolls::default(),
            #[cfg(feature = "wasm")]
            plugin: None,
        }
    }

    /// Its handler needs a thread of its own while it runs.
    pub fn blocks(&self) -> bool {
        matches!(self.runnable.run, Run::Blocking(_))
    }
}

impl Binding {
    /// Whether any of its handlers runs on the async runtime.
    pub fn needs_runtime(&self) -> bool {
        self.handlers.values().any(|handling| matches!(handling.runnable.run, Run::Async(_)))
    }

    /// Kinds whose handlers need a thread of their own.
    pub fn blocking_kinds(&self) -> IdSet<KindId> {
        let blocking = self.handlers.iter().filter(|(_, handling)| handling.blocks());
        blocking.map(|(kind, _)| *kind).collect()
    }

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
    pub taken: Arc<ReadyJob>,
    pub attempt: AttemptNumber,
    pub binding: Arc<Binding>,
    pub timeout: Option<Duration>,
    pub alone: bool,
    pub started: Now,
    /// Who enqueued it, if that is known.
    pub caller: Option<Caller>,
}

/// An attempt that has ended.
pub(crate) struct Finished {
    pub running: Arc<Running>,
    ending: Ending,
}

impl Finished {
    /// How it has ended, as of `now`. An attempt whose time is over has failed, whatever its handler returned:
    /// one rule for all handlers, by the clock at the time of their return.
    pub fn judged(self, now: Now) -> (Arc<Running>, Ending) {
        let Self { running, ending } = self;
        slow_poll::after_only_poll(&running, running.took(now), now.mono);
        let ending = if running.is_overdue(now) { overdue(&running, ending) } else { ending };
        (running, ending)
    }
}

/// Hears how attempts go.
pub(crate) trait Report: Send + Sync + 'static {
    /// A handler is called, and its start is not written yet although the attempt was handed out a while ago.
    fn called_late(&self, running: &Running);

    /// An attempt has ended; said exactly once for each. The next one, if it is to be run by the same task: that
    /// spares a task for each.
    fn ended(&self, finished: Finished) -> Option<Begun>;

    /// Said instead of [`ended`](Self::ended) if the task is dropped before the attempt has ended.
    fn lost(&self, lost: Lost);
}

/// An attempt that has been entered and is to be run.
pub(crate) struct Begun {
    running: Arc<Running>,
    span: tracing::Span,
    /// Its deadline is the next one to watch.
    pub next_deadline: bool,
    /// Before it, other tasks of the application's runtime get their turn.
    pub yield_first: bool,
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
    pub blocking: BlockingPool,
    /// The number of this opening of the file.
    opening: u64,
    clock: Arc<dyn Clock>,
    pub runs: Arc<RunningAttempts>,
}

impl Executor {
    pub fn new(tasks: Tasks, blocking_threads: usize, opening: u64, clock: Arc<dyn Clock>) -> Self {
        Self { tasks, blocking: BlockingPool::new(blocking_threads), opening, clock, runs: Arc::default() }
    }

    /// Enters an attempt: from now on it can be killed, and [`Self::run`] runs it.
    pub fn begin(&self, plan: Plan) -> Begun {
        let binding = &*plan.binding;
        let handling = &binding.handlers[&plan.taken.kind()];
        let blocking = handling.blocks();
        let run = RunNumber::new(self.opening, plan.run.serial());
        let facts = facts(&plan, run, &binding.queue, &handling.kind);
        tracing::trace!(id = facts.id.get(), handed_out = plan.started.mono.as_nanos() as u64, "an attempt is entered");
        let span = span(&plan, &facts);
        let (clock, data) = (self.clock.clone(), binding.data.clone());
        let attempted = Arc::new(Attempted::new(facts, clock, plan.timeout, data));
        let running = Arc::new(Running::new(plan, attempted, blocking));
        let next_deadline = self.runs.enter(running.clone());
        Begun { running, span, next_deadline, yield_first: false }
    }

    /// Runs it, and what `report` names after it. False if the system has refused the thread that it needs: then
    /// [`BlockingPool::retry`] is to be called.
    pub fn run(&self, begun: Begun, report: impl Report) -> bool {
        let runs = self.runs.clone();
        if begun.running.blocking {
            self.blocking.spawn(Box::new(move || {
                let Begun { running, span, .. } = begun;
                start(&running, None, &report);
                let inside = runs.inside(&running);
                let ending = span.in_scope(|| run_blocking(&running, inside));
                runs.leave(&running);
                let next = report.ended(Finished { running, ending });
                debug_assert!(next.is_none(), "a thread that may block runs one at a time");
            }))
        } else {
            self.tasks.spawn(run_in_turn(InHand { runs, begun: Some(begun), report, is_polled: false }));
            true
        }
    }
}

/// An attempt whose task was dropped before it had ended.
pub(crate) enum Lost {
    /// The runtime has ended, and all its tasks with it.
    WithItsRuntime(Arc<Running>),
    /// A panic has ended the task, outside of the handler: a subscriber of `tracing` may panic.
    ByAPanic(Finished),
}

/// The attempt that a task has in hand. Dropped with it, it says that the attempt is lost.
struct InHand<R: Report> {
    runs: Arc<RunningAttempts>,
    begun: Option<Begun>,
    report: R,
    /// The task is being polled. Whether its thread panics says less: a runtime may be dropped, and its tasks with it,
    /// because its owner panics.
    is_polled: bool,
}

impl<R: Report> Drop for InHand<R> {
    fn drop(&mut self) {
        let Some(Begun { running, .. }) = self.begun.take() else { return };
        self.runs.leave(&running);
        // Only a panic ends a poll that does not return.
        self.report.lost(match self.is_polled {
            false => Lost::WithItsRuntime(running),
            true => Lost::ByAPanic(Finished { running, ending: panicked("the task that ran it panicked".to_owned()) }),
        });
    }
}

/// The future, with a note in `is_polled` of whether its task is being polled. The task is when this is called.
fn noting<T>(is_polled: &mut bool, mut future: Pin<&mut impl Future<Output = T>>) -> impl Future<Output = T> {
    poll_fn(move |cx| {
        *is_polled = true;
        let poll = future.as_mut().poll(cx);
        *is_polled = poll.is_ready();
        poll
    })
}

fn facts(plan: &Plan, run: RunNumber, queue: &Arc<str>, kind: &Arc<str>) -> Facts {
    let record = &plan.taken.record;
    Facts {
        id: plan.taken.id,
        queue: queue.clone(),
        kind: kind.clone(),
        group: record.group().cloned(),
        priority: record.priority,
        attempt: plan.attempt.number,
        max_attempts: plan.attempt.max,
        run,
        enqueued_at: record.enqueued_at,
        #[cfg(feature = "wasm")]
        generation: record.generation(),
    }
}

/// The attempt's span. It has no parent: the one the job was enqueued in may be closed by now, and would otherwise
/// have to stay open for as long as the job waits. What is known of that one are two fields.
fn span(plan: &Plan, facts: &Facts) -> tracing::Span {
    tracing::info_span!(
        parent: None,
        "job",
        id = facts.id.get(),
        queue = &*facts.queue,
        kind = &*facts.kind,
        attempt = facts.attempt,
        caller = plan.caller.map(|caller| caller.name),
        caller_span = plan.caller.map(|caller| caller.span),
    )
}

impl Running {
    pub(super) fn handling(&self) -> &Handling {
        &self.plan.binding.handlers[&self.plan.taken.kind()]
    }

    fn runnable(&self) -> &Runnable {
        &self.handling().runnable
    }

    fn payload(&self) -> &Payload {
        &self.plan.taken.record.payload
    }
}

async fn run_in_turn(mut hand: InHand<impl Report>) {
    hand.is_polled = true;
    let mut in_turn = 0;
    while let Some(begun) = &mut hand.begun {
        in_turn += 1;
        // The first one has waited for the runtime, as one does that lets others go first.
        let mut waited = in_turn == 1;
        if begun.yield_first || in_turn % IN_TURN_MAX == 0 {
            noting(&mut hand.is_polled, pin!(yield_now())).await;
            waited = true;
        }
        let span = std::mem::replace(&mut begun.span, tracing::Span::none());
        let running = &begun.running;
        let Now { mono, wall, .. } = running.plan.started;
        start(running, (!waited).then_some(Started { mono, wall }), &hand.report);
        let ending = {
            let attempt = pin!(run_async(running, hand.runs.inside(running)).instrument(span));
            noting(&mut hand.is_polled, attempt).await
        };
        let Some(Begun { running, .. }) = hand.begun.take() else { return };
        hand.runs.leave(&running);
        hand.begun = hand.report.ended(Finished { running, ending });
    }
}

/// From now on its time runs. `at` is now, if the clock was read just now.
fn start(running: &Running, at: Option<Started>, report: &impl Report) {
    if running.start(at) {
        report.called_late(running);
    }
}

async fn run_async(running: &Running, inside: Inside) -> Ending {
    if running.killed() == Some(Kill::Release) {
        // It was given up before its handler was called: its job goes back uncalled, if it has not already.
        return Ending::Uncalled;
    }
    let called = panics::catch(|| match &running.runnable().run {
        Run::Async(run) => {
            let _entered = inside.enter();
            run(running.payload(), &Context::new(running.attempted.clone()))
        }
        Run::Blocking(_) => unreachable!("the caller has looked"),
    });
    let future = match called {
        Ok(Ok(future)) => future,
        Ok(Err(error)) => return undecodable(error),
        Err(panic) => return panicked(panic),
    };
    match finish_or_kill(running, inside, future).await {
        Some(Ok(outcome)) => ended(outcome),
        Some(Err(panic)) => panicked(panic),
        None => killed(running),
    }
}

/// Polls the handler until it is done, has panicked, or is killed (`None`): then it is dropped.
async fn finish_or_kill(running: &Running, inside: Inside, mut future: Boxed) -> Option<Result<Outcome, String>> {
    let mut kill = pin!(running.kill().notified());
    let mut polls = Polls::default();
    let finished = poll_fn(|cx| {
        if running.killed().is_some() {
            return Poll::Ready(None);
        }
        let poll = || {
            let _entered = inside.enter();
            future.as_mut().poll(cx)
        };
        let began = polls.begin(running);
        let polled = panics::catch(poll);
        polls.end(running, began, matches!(polled, Ok(Poll::Pending)));
        match polled {
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
    if finished.is_none() {
        {
            // What it holds is dropped by its own code.
            let _entered = inside.enter();
            drop_quietly(future);
        }
        #[cfg(feature = "wasm")]
        // A guest that computes elsewhere is dropped there, when it next gives way.
        running.attempted.gone().await;
    } else {
        drop_quietly(future);
    }
    finished
}

fn run_blocking(running: &Running, inside: Inside) -> Ending {
    match running.killed() {
        Some(Kill::Release) => return Ending::Uncalled,
        Some(Kill::Timeout) => return killed(running),
        None => {}
    }
    let Run::Blocking(run) = &running.runnable().run else { unreachable!("the caller has looked") };
    let called = panics::catch(|| {
        let _entered = inside.enter();
        run(running.payload(), &Context::new(running.attempted.clone()))
    });
    if running.killed() == Some(Kill::Release) {
        // It was given up meanwhile: whatever it says is void.
        drop_quietly(called);
        return Ending::Released;
    }
    match called {
        Ok(Ok(outcome)) => ended(outcome),
        Ok(Err(error)) => undecodable(error),
        Err(panic) => panicked(panic),
    }
}

/// The attempt was ended from outside.
fn killed(running: &Running) -> Ending {
    match running.killed() {
        Some(Kill::Timeout) => timed_out(running, None),
        _ => Ending::Released,
    }
}

fn timed_out(running: &Running, and_then: Option<&str>) -> Ending {
    let timeout = running.plan.timeout.unwrap_or_default();
    let mut message = format!("the attempt ran longer than its timeout of {timeout:?}");
    if let Some(failure) = and_then {
        message.push_str("; after that its handler failed: ");
        message.push_str(failure);
    }
    Ending::Failed { kind: FailureKind::Timeout, message, delay: None }
}

/// What becomes of an ending that came when the attempt's time was over.
fn overdue(running: &Running, ending: Ending) -> Ending {
    match ending {
        Ending::Failed { kind: FailureKind::Timeout, .. } | Ending::Released | Ending::Uncalled => ending,
        // The handler was never called, and never can be.
        Ending::Undecodable(_) => ending,
        Ending::Failed { message, .. } => timed_out(running, Some(&message)),
        _ => timed_out(running, None),
    }
}

fn panicked(message: String) -> Ending {
    Ending::Failed { kind: FailureKind::Panic, message, delay: None }
}

fn undecodable(error: BoxError) -> Ending {
    Ending::Undecodable(said(error))
}

/// What the outcome says.
fn ended(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Done(result) => Ending::Done(result),
        Outcome::Retry { error, delay } => {
            let kind = error.downcast_ref().map_or(FailureKind::Error, |ClassedError { kind, .. }| *kind);
            Ending::Failed { kind, message: said(error), delay }
        }
        Outcome::Snooze(delay) => Ending::snoozed(delay),
        Outcome::RateLimited(delay) => Ending::rate_limited(delay, false),
        Outcome::RateLimitedQueue(delay) => Ending::rate_limited(delay, true),
        Outcome::Cancel(reason) => Ending::Cancelled(reason),
        Outcome::DeadLetter(reason) => Ending::DeadLetter(reason),
    }
}

/// What an error says. Asking it calls the application's code once more, and so does dropping it.
fn said(error: BoxError) -> String {
    let text = panics::catch(|| chain(&error));
    drop_quietly(error);
    text.unwrap_or_else(|panic| format!("an error whose text panicked: {panic}"))
}

/// Sources of an error that its text takes in, at most: one may be its own source.
const SOURCES_MAX: usize = 64;

/// An error with its sources, joined by `: `.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let sources = std::iter::successors(error.source(), |error| error.source());
    for error in sources.take(SOURCES_MAX) {
        let cause = error.to_string();
        // Many errors already say their source's text at their own end.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
