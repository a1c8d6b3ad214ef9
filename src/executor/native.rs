//! Runs attempts of Rust handlers: async ones on the application's runtime, blocking ones on threads of the pool.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tracing::Instrument;

use super::attempt::{Attempt, Kill};
use super::batch::{self, BatchInHand};
use super::binding::Binding;
use super::blocking::BlockingPool;
use super::endings::{ended, panicked, undecodable};
use super::forming::FormingBatches;
use super::panics;
use super::polls::Polls;
use super::running_attempts::RunningAttempts;
use super::spans;
use super::task::{AttemptTask, Lost, Report, noting};
use crate::error::panics::drop_quietly;
use crate::handler::{AttemptFacts, Boxed, CalledAt, Calling, Context, Inside, Run};
use crate::job::{AttemptNumber, Caller, Ending, Outcome, RunNumber};
use crate::scheduler::Start;
use crate::sync::{Tasks, block_on, yield_now};
use crate::time::{Now, TimeReader};

/// Attempts that one task runs before it lets other tasks run, if none of them waits for anything.
const IN_TURN_MAX: u32 = 32;

/// Runs attempts: async handlers on the application's runtime, blocking handlers on the threads of a pool.
pub(crate) struct Executor {
    tasks: Tasks,
    pub blocking: BlockingPool,
    /// The number of this opening of the file.
    opening: u64,
    time: TimeReader,
    pub running: Arc<RunningAttempts>,
    pub forming: FormingBatches,
}

impl Executor {
    pub fn new(tasks: Tasks, blocking_threads: usize, opening: u64, time: TimeReader) -> Self {
        let (blocking, forming) = (BlockingPool::new(blocking_threads), FormingBatches::default());
        Self { tasks, blocking, opening, time, running: Arc::default(), forming }
    }

    /// The async runtime on which it runs handlers.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The attempt that `start` asks for. `binding` has a handler of its kind.
    pub fn attempt(
        &self,
        start: Start,
        kind: Arc<str>,
        binding: Arc<Binding>,
        number: AttemptNumber,
        caller: Option<Caller>,
        now: Now,
    ) -> Arc<Attempt> {
        let run = RunNumber::new(self.opening, start.run.serial());
        Arc::new(Attempt::new((start, kind), binding, number, caller, run, self.time.clone(), now))
    }

    /// Enters an attempt: from now on it can be ended from outside. Then call [`Self::run`].
    pub fn begin(&self, attempt: Arc<Attempt>) -> AttemptTask {
        let handed_out = attempt.handed_out.mono.as_nanos() as u64;
        tracing::trace!(id = attempt.facts.id().get(), handed_out, "an attempt is entered");
        let span = spans::of_attempt(&attempt);
        let next_deadline = self.running.enter(attempt.clone());
        AttemptTask { attempt, span, next_deadline, yield_first: false }
    }

    /// Runs the attempt, and those that `report` returns after it. Returns false if the system has refused the thread that it
    /// needs: then call [`BlockingPool::retry`].
    pub fn run(&self, task: AttemptTask, report: impl Report) -> bool {
        let attempts = self.running.clone();
        if task.attempt.blocking {
            self.blocking.spawn(Box::new(move || {
                let AttemptTask { attempt, span, .. } = task;
                call_begins(&attempt, None, &report);
                let inside = attempts.inside(&attempt);
                let ending = span.in_scope(|| run_blocking(&attempt, inside));
                spans::note_end(&span, &ending);
                attempts.leave(&attempt);
                let next = report.ended(attempt, ending);
                debug_assert!(next.is_none(), "a thread that may block runs one at a time");
            }))
        } else {
            self.tasks.spawn(run_in_turn(InHand { attempts, task: Some(task), report, is_polled: false }));
            true
        }
    }

    /// Runs the attempts of a batch with one call of their handler.
    pub fn run_batch(&self, tasks: Vec<AttemptTask>, report: impl Report) {
        let attempts = self.running.clone();
        self.tasks.spawn(batch::run(BatchInHand { attempts, tasks, report, is_polled: false }));
    }
}

/// The attempt that a task runs now. If the task is dropped, this reports that the attempt is lost.
struct InHand<R: Report> {
    attempts: Arc<RunningAttempts>,
    task: Option<AttemptTask>,
    report: R,
    /// Whether the task is being polled. Whether its thread panics does not tell that, because a runtime may drop its tasks while
    /// its owner panics.
    is_polled: bool,
}

impl<R: Report> Drop for InHand<R> {
    fn drop(&mut self) {
        let Some(AttemptTask { attempt, .. }) = self.task.take() else { return };
        self.attempts.leave(&attempt);
        // Only a panic ends a poll that does not return.
        self.report.lost(match self.is_polled {
            false => Lost::WithItsRuntime(attempt),
            true => Lost::ByAPanic(attempt, panicked("the task that ran it panicked".to_owned())),
        });
    }
}

async fn run_in_turn(mut hand: InHand<impl Report>) {
    hand.is_polled = true;
    let mut in_turn = 0;
    while let Some(task) = &mut hand.task {
        in_turn += 1;
        // The first attempt has waited for the runtime, like one that yields first.
        let mut waited = in_turn == 1;
        if task.yield_first || in_turn % IN_TURN_MAX == 0 {
            noting(&mut hand.is_polled, pin!(yield_now())).await;
            waited = true;
        }
        let span = std::mem::replace(&mut task.span, tracing::Span::none());
        let attempt = &task.attempt;
        let Now { mono, wall, .. } = attempt.handed_out;
        call_begins(attempt, (!waited).then_some(CalledAt { mono, wall }), &hand.report);
        let ending = {
            let mut run = pin!(run_async(attempt, hand.attempts.inside(attempt)).instrument(span));
            let ending = noting(&mut hand.is_polled, run.as_mut()).await;
            spans::note_end(run.span(), &ending);
            ending
        };
        let Some(AttemptTask { attempt, .. }) = hand.task.take() else { return };
        hand.attempts.leave(&attempt);
        hand.task = hand.report.ended(attempt, ending);
    }
}

/// Notes that the handler is about to be called: from now on the attempt's time runs. `at` is the time, if the clock was read just
/// now.
fn call_begins(attempt: &Attempt, at: Option<CalledAt>, report: &impl Report) {
    if attempt.call(at) {
        report.called_late(attempt);
    }
    // An attempt that was given up before is not called.
    if attempt.killed().is_none() {
        report.called(attempt);
    }
}

async fn run_async(attempt: &Attempt, inside: Inside) -> Ending {
    if matches!(attempt.killed(), Some(Kill::Release | Kill::Cancel)) {
        // The attempt was given up before its handler was called: the job goes back, unless it has gone back already.
        return Ending::Uncalled;
    }
    let called = panics::catch(|| match &attempt.runnable().run {
        Run::Async(run) => {
            let _entered = inside.enter();
            let payload = attempt.payload()?;
            run(&payload, &Context::new(attempt.facts.clone()), Calling::Now)
        }
        Run::Blocking(_) | Run::Batch(_) => unreachable!("the caller has checked"),
    });
    let future = match called {
        Ok(Ok(future)) if attempt.facts.is_undoing() => undoing(attempt.facts.clone(), future),
        Ok(Ok(future)) => future,
        Ok(Err(error)) => return undecodable(error),
        Err(panic) => return panicked(panic),
    };
    match finish_or_kill(attempt, inside, future).await {
        Some(Ok(outcome)) => ended(outcome),
        Some(Err(panic)) => panicked(panic),
        None => attempt.ending_from_outside(),
    }
}

/// The handler, and what undoes the steps to which it has come.
fn undoing(facts: Arc<AttemptFacts>, handler: Boxed) -> Boxed {
    Box::pin(async move { facts.undo_steps(handler.await).await })
}

/// Polls the handler until it is done, has panicked, or is killed (`None`): then it is dropped.
async fn finish_or_kill(attempt: &Attempt, inside: Inside, mut future: Boxed) -> Option<Result<Outcome, String>> {
    let mut kill = pin!(attempt.kill().notified());
    let mut polls = Polls::default();
    let finished = poll_fn(|cx| {
        if attempt.killed().is_some() {
            return Poll::Ready(None);
        }
        match polls.poll(attempt, inside, future.as_mut(), cx) {
            Ok(Poll::Ready(outcome)) => Poll::Ready(Some(Ok(outcome))),
            Err(panic) => Poll::Ready(Some(Err(panic))),
            Ok(Poll::Pending) => match kill.as_mut().poll(cx) {
                // The waker is registered now: a kill after this wakes the task, and a kill before this is found here.
                Poll::Pending if attempt.killed().is_none() => Poll::Pending,
                _ => Poll::Ready(None),
            },
        }
    })
    .await;
    if finished.is_none() {
        {
            // What the future holds is dropped by code of the application.
            let _entered = inside.enter();
            drop_quietly(future);
        }
        // A guest that computes on another thread is dropped there, when it next yields.
        attempt.facts.guest.gone().await;
    } else {
        drop_quietly(future);
    }
    finished
}

fn run_blocking(attempt: &Attempt, inside: Inside) -> Ending {
    match attempt.killed() {
        Some(Kill::Release | Kill::Cancel) => return Ending::Uncalled,
        Some(Kill::Timeout) => return attempt.ending_from_outside(),
        None => {}
    }
    let Run::Blocking(run) = &attempt.runnable().run else { unreachable!("the caller has checked") };
    let called = panics::catch(|| {
        let _entered = inside.enter();
        let payload = attempt.payload()?;
        let outcome = run(&payload, &Context::new(attempt.facts.clone()))?;
        Ok(if attempt.facts.is_undoing() { block_on(attempt.facts.undo_steps(outcome)) } else { outcome })
    });
    if attempt.killed() == Some(Kill::Release) {
        // The attempt was given up meanwhile: its outcome does not count.
        drop_quietly(called);
        return Ending::Released;
    }
    match called {
        Ok(Ok(outcome)) => ended(outcome),
        Ok(Err(error)) => undecodable(error),
        Err(panic) => panicked(panic),
    }
}
