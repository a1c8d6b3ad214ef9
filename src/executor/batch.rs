//! Runs one call of a batch handler: many attempts on one task of the application's runtime.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::futures::Notified;
use tracing::Instrument;

use super::attempt::{Attempt, Kill};
use super::endings::{cannot_undo, ended, panicked, undecodable};
use super::panics;
use super::polls::Polls;
use super::running_attempts::RunningAttempts;
use super::spans;
use super::task::{AttemptTask, Lost, Report, noting};
use crate::error::panics::drop_quietly;
use crate::handler::{BatchCall, BoxedBatch, CalledAt, Inside, Run, Verdicts};
use crate::job::{Ending, FailureKind, Handled, Outcome};

/// The attempts of one call. If the task is dropped, this reports that they are lost.
pub(super) struct BatchInHand<R: Report> {
    pub attempts: Arc<RunningAttempts>,
    pub tasks: Vec<AttemptTask>,
    pub report: R,
    /// As for the task of a single attempt.
    pub is_polled: bool,
}

impl<R: Report> Drop for BatchInHand<R> {
    fn drop(&mut self) {
        for AttemptTask { attempt, .. } in self.tasks.drain(..) {
            self.attempts.leave(&attempt);
            self.report.lost(match self.is_polled {
                false => Lost::WithItsRuntime(attempt),
                true => Lost::ByAPanic(attempt, panicked("the task that ran its batch panicked".to_owned())),
            });
        }
    }
}

impl<R: Report> BatchInHand<R> {
    /// Reports the ends of these attempts together.
    fn end(&mut self, ends: Vec<(Arc<Attempt>, Ending)>) {
        if ends.is_empty() {
            return;
        }
        // They are in the order of the tasks.
        let mut ended = ends.iter().map(|(attempt, _)| attempt.run).peekable();
        self.tasks.retain(|task| ended.next_if_eq(&task.attempt.run).is_none());
        ends.iter().for_each(|(attempt, _)| self.attempts.leave(attempt));
        self.report.ended_together(ends);
    }
}

/// Calls the handler with all attempts that can be made, and reports how they have ended.
pub(super) async fn run(mut hand: BatchInHand<impl Report>) {
    hand.is_polled = true;
    let Some(Begun { call, members, inside }) = begin(&mut hand) else { return };
    let span = spans::of_batch(&members[0], members.len());
    for task in &mut hand.tasks {
        span.follows_from(&task.span);
        task.span = tracing::Span::none();
    }
    let ends = {
        let run = pin!(run_call(call, &members, inside).instrument(span));
        noting(&mut hand.is_polled, run).await
    };
    hand.end(members.into_iter().zip(ends).collect());
}

/// A call that is prepared, and its attempts in the order of its jobs: at least one.
struct Begun {
    call: Box<dyn BatchCall>,
    members: Vec<Arc<Attempt>>,
    inside: Inside,
}

/// Begins the time of the attempts, and decodes their payloads. Attempts that end by that are reported at once. Returns the
/// call and the attempts that are left, if there are any.
fn begin<R: Report>(hand: &mut BatchInHand<R>) -> Option<Begun> {
    let attempts: Vec<Arc<Attempt>> = hand.tasks.iter().map(|task| task.attempt.clone()).collect();
    let first = attempts.first()?;
    let at = CalledAt { mono: first.facts.time.mono(), wall: first.facts.time.wall() };
    let Run::Batch(handler) = &first.runnable().run else { unreachable!("the caller has checked") };
    let inside = hand.attempts.inside_batch(first, attempts.len());
    let mut call = handler.prepare(attempts.len());
    let (mut members, mut ends) = (Vec::with_capacity(attempts.len()), Vec::new());
    for attempt in &attempts {
        // In this order: code that ends the attempt from outside either finds that it was called, or is found here.
        if attempt.call(Some(at)) {
            hand.report.called_late(attempt);
        }
        if matches!(attempt.killed(), Some(Kill::Release | Kill::Cancel)) {
            ends.push((attempt.clone(), Ending::Uncalled));
            continue;
        }
        if attempt.killed().is_none() {
            hand.report.called(attempt);
        }
        if attempt.facts.is_undoing() {
            ends.push((attempt.clone(), cannot_undo()));
            continue;
        }
        let added = panics::catch(|| {
            let _entered = inside.enter();
            call.add(&*attempt.payload()?, &attempt.facts)
        });
        match added {
            Ok(Ok(())) => members.push(attempt.clone()),
            Ok(Err(error)) => ends.push((attempt.clone(), undecodable(error))),
            Err(panic) => ends.push((attempt.clone(), panicked(panic))),
        }
    }
    if hand.attempts.called_together(&members, at.mono) {
        hand.report.next_deadline();
    }
    hand.end(ends);
    if members.is_empty() {
        drop_quietly(call);
        return None;
    }
    // A handler that keeps its thread is warned of once, and not for each of its jobs.
    members[1..].iter().for_each(|attempt| attempt.note_awaited());
    let inside = Inside { slots: members.len(), ..inside };
    Some(Begun { call, members, inside })
}

/// Runs the call. Returns how each of its attempts has ended.
async fn run_call(call: Box<dyn BatchCall>, members: &[Arc<Attempt>], inside: Inside) -> Vec<Ending> {
    let shared = members[0].facts.shared.clone();
    let called = panics::catch(|| {
        let _entered = inside.enter();
        call.call(shared)
    });
    let future = match called {
        Ok(future) => future,
        Err(panic) => return members.iter().map(|_| panicked(panic.clone())).collect(),
    };
    match finish_or_kill(members, inside, future).await {
        Some(Ok(Ok(verdicts))) => given(verdicts, members),
        Some(Ok(Err(failure))) => all_fail(ended(Outcome::Retry { error: failure.0, delay: None }), members),
        Some(Err(panic)) => members.iter().map(|_| panicked(panic.clone())).collect(),
        None => members.iter().map(|attempt| attempt.ending_from_outside()).collect(),
    }
}

/// The endings that the handler has returned.
fn given(verdicts: Verdicts, members: &[Arc<Attempt>]) -> Vec<Ending> {
    let ids: Vec<_> = members.iter().map(|attempt| attempt.facts.id()).collect();
    match verdicts.of(&ids) {
        Ok(outcomes) => outcomes.into_iter().map(ended).collect(),
        Err(error) => all_fail(ended(Outcome::Retry { error, delay: None }), members),
    }
}

/// All attempts end as the call has.
fn all_fail(ending: Ending, members: &[Arc<Attempt>]) -> Vec<Ending> {
    let (kind, message) = match ending {
        Ending::Failed { kind, message, .. } => (kind, message),
        _ => (FailureKind::Error, String::new()),
    };
    members.iter().map(|_| Ending::Failed { kind, message: message.clone(), delay: None }).collect()
}

/// Polls the handler until it is done, has panicked, or all its attempts were ended from outside (`None`): then it is dropped.
/// An attempt that is ended from outside before the others keeps its slot until the handler returns, because the handler still
/// has its job.
async fn finish_or_kill(
    members: &[Arc<Attempt>],
    inside: Inside,
    mut future: BoxedBatch,
) -> Option<Result<Handled<Verdicts>, String>> {
    let first = &members[0];
    let mut polls = Polls::default();
    let mut killed = AllKilled { members, next: 0, kill: Box::pin(first.kill().notified()) };
    let finished = poll_fn(|cx| {
        if killed.poll(cx) {
            return Poll::Ready(None);
        }
        match polls.poll(first, inside, future.as_mut(), cx) {
            Ok(Poll::Ready(verdicts)) => Poll::Ready(Some(Ok(verdicts))),
            Err(panic) => Poll::Ready(Some(Err(panic))),
            Ok(Poll::Pending) if killed.poll(cx) => Poll::Ready(None),
            Ok(Poll::Pending) => Poll::Pending,
        }
    })
    .await;
    // What the future holds is dropped by code of the application.
    let _entered = inside.enter();
    drop_quietly(future);
    finished
}

/// Waits until all attempts were ended from outside. It waits for one after the other.
struct AllKilled<'a> {
    members: &'a [Arc<Attempt>],
    /// The attempts before this one were ended from outside.
    next: usize,
    /// Wakes the task when this one is.
    kill: Pin<Box<Notified<'a>>>,
}

impl AllKilled<'_> {
    /// Whether all were ended from outside. Not called again after it has returned true.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let attempt = &self.members[self.next];
            // If the waker is registered, a kill after this wakes the task, and a kill before this is found here.
            if attempt.killed().is_none() && self.kill.as_mut().poll(cx).is_pending() && attempt.killed().is_none() {
                return false;
            }
            self.next += 1;
            match self.members.get(self.next) {
                Some(attempt) => self.kill.set(attempt.kill().notified()),
                None => return true,
            }
        }
    }
}
