//! Attempts from start to end: hands jobs to the executor, frees their slots, and has their ends written.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::engine::{Engine, MARK_AFTER};
use super::log;
use crate::error::Error;
use crate::error::panics::{drop_quietly, text_of};
use crate::events::Event;
use crate::executor::{Attempt, AttemptTask, Lost, Report, cannot_undo};
use crate::handler::CompleteHook;
use crate::job::life::{after, end_to_undo_before};
use crate::job::{
    AT_MOST_ONCE, AttemptNumber, BucketKey, Change, CircuitStep, Ending, FailureKind, Reported, State, StoredLog,
    Transition, Verdict,
};
use crate::metrics::End;
use crate::scheduler::{Scheduler, Start, Starts};
use crate::storage::StartMark;
use crate::time::Now;
use crate::writer::{Command, CountFailure, Finish, HoldBack, MarkStarts, More, Retried};

/// Jobs that are handed out at once, at most, so that the scheduler's lock is never held for long.
const STARTS_AT_ONCE: usize = 64;

/// After an attempt that took longer than this, the task lets other tasks run before the next one.
const SHORT: Duration = Duration::from_micros(50);

impl Engine {
    /// Starts what may start now. Called by the dispatcher, and by code that has just freed a slot.
    pub(super) fn pump(self: &Arc<Self>) {
        loop {
            let now = self.now();
            let (starts, chores_changed) = {
                let mut scheduler = self.scheduler();
                (scheduler.starts(now, STARTS_AT_ONCE), scheduler.have_chores_changed())
            };
            let full = starts.len() == STARTS_AT_ONCE;
            for start in starts {
                self.launch(start, now);
            }
            if chores_changed {
                self.wake_dispatcher();
            }
            if !full {
                return;
            }
        }
    }

    fn launch(self: &Arc<Self>, start: Start, now: Now) {
        if let Some(attempt) = self.attempt(start, now) {
            let task = self.begin(attempt);
            self.run(task);
        }
    }

    /// The attempt to be made now. `None` if the job is given back, or if its start has to be durable first: this call has then
    /// done or begun everything that is needed.
    fn attempt(self: &Arc<Self>, start: Start, now: Now) -> Option<Arc<Attempt>> {
        // The queue may have another worker since the scheduler chose, which may not handle this kind.
        let worker = self.binding(start.queue).and_then(|binding| {
            let kind = start.job.kind();
            // Only a handler of its own has the name of the kind.
            let (handling, name) = match binding.handlers.get(&kind) {
                Some(own) => (own, own.kind.clone()),
                None => (binding.handling(kind)?, self.kind_name(kind)),
            };
            let attempts = binding.retry(handling).attempts();
            Some((binding, name, attempts))
        });
        let Some((binding, kind, attempts)) = worker else {
            self.give_back(start);
            return None;
        };
        let record = &start.job.record;
        let number = record.attempts.saturating_add(1);
        let own = record.extra.as_deref().and_then(|extra| extra.max_attempts);
        let once = binding.at_most_once || own == Some(AT_MOST_ONCE);
        // A job that runs at most once may have been tried before, under a worker that retries: then this is its last attempt.
        let max = if once { number } else { own.unwrap_or(attempts) };
        let number = AttemptNumber { number, max, once, started_at: now.wall };
        let caller = self.callers.take(start.job.id).or(start.job.caller);
        let commit_first = start.commit_first || once;
        let attempt = self.executor.attempt(start, kind, binding, number, caller, now);
        if commit_first {
            self.mark_then_run(attempt);
            return None;
        }
        Some(attempt)
    }

    fn begin(self: &Arc<Self>, attempt: Arc<Attempt>) -> AttemptTask {
        self.metrics.started();
        attempt.binding.meters.started(attempt.job().kind(), || waited(&attempt));
        let id = attempt.run.job;
        let task = self.executor.begin(attempt);
        self.check_cancelled(id);
        if task.next_deadline {
            self.wake_dispatcher();
        }
        task
    }

    fn run(self: &Arc<Self>, task: AttemptTask) {
        if task.joins_a_batch() {
            return self.join_batch(task);
        }
        if !self.executor.run(task, Reporter(self.clone())) {
            // The system has refused a thread: the dispatcher tries again.
            self.wake_dispatcher();
        }
    }

    /// Handles an attempt that was dropped with its task.
    fn lose(self: &Arc<Self>, lost: Lost) {
        match lost {
            Lost::WithItsRuntime(attempt) => {
                // The job goes back and no attempt is used up. No async handler is started any more, because it would be lost too.
                self.note_runtime_ended();
                self.release(&[attempt]);
                self.moved.notify_waiters();
            }
            Lost::ByAPanic(attempt, ending) => {
                // This thread panics: the dispatcher starts what comes next.
                let next = self.finished(&attempt, ending, false);
                debug_assert!(next.is_none(), "nothing was to be started");
            }
        }
    }

    /// Makes the start durable before the attempt runs, so that recovery knows of it if this job kills the process.
    fn mark_then_run(self: &Arc<Self>, attempt: Arc<Attempt>) {
        let engine = self.clone();
        let run = attempt.run;
        let mark = (attempt.job().clone(), mark(&attempt, attempt.alone));
        let no_longer_alone = self.scheduler().marked(run);
        let then = Box::new(move |result: Result<(), Error>| match result {
            Ok(()) => engine.run(engine.begin(attempt)),
            Err(_) => {
                engine.callers.remember(attempt.caller.map(|caller| (attempt.job().id, caller)));
                engine.give_back(attempt.start_again());
            }
        });
        self.to_writer.send(Command::StartMark(MarkStarts::before(mark, no_longer_alone, then)));
    }

    /// Gives back a job that was handed out and did not start.
    fn give_back(self: &Arc<Self>, start: Start) {
        let Some(start) = self.unless_cancelled(start) else { return };
        tracing::trace!("a job that was handed out goes back unstarted");
        let job = start.job.clone();
        self.scheduler().given_back(start.run, start.job);
        self.expires_again(&job.record);
        // A change that lets it start may have woken the dispatcher before the job was back.
        self.wake_dispatcher();
    }

    // --- ending -------------------------------------------------------------------------------

    /// Frees the slot of an attempt whose handler has ended with `ending`, sends its end to the writer, and starts what may
    /// start now; if `start_next` is false, the dispatcher does that. Returns the next attempt, if the same task is
    /// to run it.
    pub(super) fn finished(
        self: &Arc<Self>,
        attempt: &Arc<Attempt>,
        ending: Ending,
        start_next: bool,
    ) -> Option<AttemptTask> {
        let now = self.now();
        let ending = self.judged(attempt, ending, now);
        let verdict = self.verdict(attempt, &ending);
        let circuits;
        let mut starts = Starts::default();
        let chores_changed = {
            let mut scheduler = self.scheduler();
            let freed = free_slot(&mut scheduler, attempt, &ending, verdict, now)?;
            if start_next && !freed.held {
                starts = scheduler.starts(now, STARTS_AT_ONCE);
            }
            circuits = freed.circuits;
            freed.held || !start_next || starts.len() == STARTS_AT_ONCE || scheduler.have_chores_changed()
        };
        self.finish(attempt, ending, circuits, now);
        let next = self.launch_all(starts, attempt, now);
        if chores_changed {
            self.wake_dispatcher();
        }
        self.moved.notify_waiters();
        next
    }

    /// Frees the slots of the attempts of a batch, sends their ends to the writer together, and starts what may start now.
    fn finished_together(self: &Arc<Self>, ended: Vec<(Arc<Attempt>, Ending)>) {
        let now = self.now();
        let judge = |(attempt, ending): (Arc<Attempt>, Ending)| {
            let ending = self.judged(&attempt, ending, now);
            let verdict = self.verdict(&attempt, &ending);
            (attempt, ending, verdict)
        };
        let judged: Vec<_> = ended.into_iter().map(judge).collect();
        let mut is_held = false;
        let mut ended = Vec::with_capacity(judged.len());
        {
            let mut scheduler = self.scheduler();
            for (attempt, ending, verdict) in judged {
                if let Some(freed) = free_slot(&mut scheduler, &attempt, &ending, verdict, now) {
                    is_held |= freed.held;
                    ended.push((attempt, ending, freed.circuits));
                }
            }
        }
        let decide = |(attempt, ending, circuits): (Arc<Attempt>, _, _)| self.decided(&attempt, ending, circuits, now);
        let ends = ended.into_iter().map(decide).collect();
        self.to_writer.send_together(ends);
        if is_held {
            self.wake_dispatcher();
        } else {
            self.pump();
        }
        self.moved.notify_waiters();
    }

    /// How an attempt has ended whose handler has ended with `ending`.
    fn judged(&self, attempt: &Attempt, ending: Ending, now: Now) -> Ending {
        match attempt.judge(as_steps_say(attempt, ending), now) {
            // It was cancelled or taken back while its guest waited for a place.
            Ending::Snoozed(_) | Ending::Released if attempt.facts.guest.waits_for_place() => Ending::Uncalled,
            Ending::Done(Some(result)) => self.done_with(attempt, result),
            ending => ending,
        }
    }

    /// How the end of an attempt counts for the circuit breakers of its worker, if it has any.
    fn verdict(&self, attempt: &Attempt, ending: &Ending) -> Option<Verdict> {
        let verdict = if attempt.binding.has_breaker { Verdict::of(ending) } else { None };
        // A handler that was told to stop, by a cancel of its job or a stop of the queue, often returns an error. One whose
        // timeout has passed was told to stop as well, but has failed.
        let is_timeout = matches!(ending, Ending::Failed { kind: FailureKind::Timeout, .. });
        let was_told = !is_timeout && attempt.facts.is_cancelled();
        verdict.filter(|verdict| *verdict == Verdict::Success || !was_told)
    }

    /// How an attempt has ended that has this result: with the result as it is stored. A result that is too large to be kept, or
    /// that the payload codec refuses, fails the attempt.
    fn done_with(&self, attempt: &Attempt, result: Bytes) -> Ending {
        let max = self.config.result_bytes_max;
        // A plugin has a limit of its own, which was checked.
        if attempt.facts.guest.plugin().is_none() && result.len() > max {
            let message = format!(
                "the result has {} bytes, the limit is {max}: store it elsewhere and return a reference, or raise `result_bytes_max`",
                result.len()
            );
            return Ending::Failed { kind: FailureKind::OutputTooLarge, message, delay: None };
        }
        match self.coder().coded_result(result, max) {
            Ok(coded) => Ending::Done(Some(coded)),
            Err(error) => {
                let message = format!("the payload codec could not write the result: {}", text_of(&*error));
                drop_quietly(error);
                Ending::Failed { kind: FailureKind::Error, message, delay: None }
            }
        }
    }

    /// Starts these jobs. Returns one of them instead, if the task of `before`, which has just ended, can run it.
    fn launch_all(self: &Arc<Self>, starts: Starts, before: &Attempt, now: Now) -> Option<AttemptTask> {
        let mut next = None;
        for start in starts {
            let Some(attempt) = self.attempt(start, now) else { continue };
            let mut task = self.begin(attempt);
            if next.is_some() || before.blocking || !task.runs_in_turn() {
                self.run(task);
            } else {
                task.yield_first = before.took(now) > SHORT;
                next = Some(task);
            }
        }
        next
    }

    /// Decides what follows an attempt, and has it written.
    fn finish(self: &Arc<Self>, attempt: &Attempt, ending: Ending, circuits: Vec<CircuitStep>, now: Now) {
        let end = self.decided(attempt, ending, circuits, now);
        self.to_writer.send(end);
    }

    /// Decides what follows an attempt: what the writer is to write. The end does this to circuits.
    #[inline]
    fn decided(self: &Arc<Self>, attempt: &Attempt, ending: Ending, circuits: Vec<CircuitStep>, now: Now) -> Command {
        let (hooks, reports) = attempt.facts.close(matches!(ending, Ending::Done(_)));
        // An attempt that writes something with its completion is counted when that is written.
        if hooks.is_empty() {
            self.metrics.ended(&ending);
        }
        let number = counted(attempt);
        let (transition, more) = match ending {
            // Nothing is kept of the job, so it is not noted which plugin ran it.
            Ending::Done(None) if hooks.is_empty() && reports.is_none() && circuits.is_empty() => {
                (Transition::End(State::Completed), None)
            }
            ending => {
                let is_plain = matches!(ending, Ending::Done(None)) && hooks.is_empty();
                let (transition, mut more) = self.decide(attempt, number, ending, hooks, now);
                if let Some(hash) = attempt.facts.guest.plugin().filter(|_| !is_plain) {
                    more.record.lineage_mut().ran(number.number, hash);
                }
                if let Some(reported) = reports.map(|reports| reports.into_reported()) {
                    // Until the end is durable this is in memory, which limits how many jobs start meanwhile.
                    self.scheduler().ends_with(attempt.run, reported.bytes());
                    more.record.extra_mut().push_log(self.stored_log(number, reported, now));
                    more.has_log = true;
                }
                more.circuits = circuits;
                (transition, Some(Box::new(more)))
            }
        };
        let took = attempt.took(now);
        // The writer decides that, and finds the same unless the attempt has not asked for the steps of its job.
        let undoes = end_to_undo_before(transition, number).is_some() && attempt.facts.has_steps_to_undo();
        log::attempt_ended(attempt, transition, undoes, more.as_deref(), took, now);
        let end = || if undoes { Some(End::Retried) } else { end_of(transition, more.as_deref()) };
        attempt.binding.meters.ended(attempt.job().kind(), end, took);
        // The writes with the completion may fail, and then the job is retried.
        let has_hooks = more.as_ref().is_some_and(|more| !more.hooks.is_empty());
        if has_hooks || !matches!(transition, Transition::End(_)) {
            self.callers.remember(attempt.caller.map(|caller| (attempt.job().id, caller)));
        }
        let (queue, taken) = (attempt.queue, attempt.job().clone());
        Command::Finish(Finish { queue, taken, transition, attempt: number, took, more, was_there: None })
    }

    fn decide(
        self: &Arc<Self>,
        attempt: &Attempt,
        number: AttemptNumber,
        ending: Ending,
        hooks: Vec<CompleteHook>,
        now: Now,
    ) -> (Transition, More) {
        let random = self.seeds.random();
        let retry = attempt.retry();
        let retried = (!hooks.is_empty()).then(|| {
            let (queue, kind) = (attempt.facts.queue.clone(), attempt.facts.kind.clone());
            let count_failure = attempt.binding.has_breaker.then(|| self.count_failure(attempt));
            Retried { queue, kind, retry: retry.clone(), now, random, coder: self.coder().clone(), count_failure }
        });
        let hold = match ending {
            Ending::RateLimited { delay, whole_queue } => Some(self.hold_back(attempt, delay, whole_queue, now)),
            _ => None,
        };
        let waits_at = match &ending {
            Ending::Suspended(suspension) => suspension.waits_at.clone(),
            _ => None,
        };
        let mut record = attempt.job().record.clone();
        let transition = after(&mut record, number, ending, retry, now, random);
        let texts = self.coder().code_end(&mut record, &attempt.job().record);
        // If the handler writes with its completion, the job can still be dead after those writes have failed.
        let may_be_dead = retried.is_some() || transition == Transition::End(State::Dead);
        let on_dead = if may_be_dead { self.on_dead() } else { None };
        (transition, More { hooks, retried, hold, on_dead, texts, waits_at, ..More::of(record) })
    }

    /// Counts later that an attempt has failed after all.
    fn count_failure(self: &Arc<Self>, attempt: &Attempt) -> CountFailure {
        let (engine, run, queue, group) = (self.clone(), attempt.run, attempt.queue, attempt.job().group().cloned());
        Box::new(move || {
            let now = engine.now();
            engine.scheduler().count_end(run, queue, group.as_ref(), Verdict::FailureAfterAll, now)
        })
    }

    /// What is kept of what an attempt has reported.
    fn stored_log(&self, number: AttemptNumber, reported: Reported, now: Now) -> StoredLog {
        let AttemptNumber { number: attempt, started_at, .. } = number;
        let reported = self.coder().stored_report(reported, now.wall);
        StoredLog { attempt, started_at, ended_at: now.wall, reported }
    }

    fn hold_back(self: &Arc<Self>, attempt: &Attempt, delay: Duration, whole_queue: bool, now: Now) -> HoldBack {
        let (key, until) = limit(attempt, delay, whole_queue, now);
        let engine = self.clone();
        let state = Arc::new(move |key: &BucketKey| engine.scheduler().bucket_to_store(key, engine.now()));
        HoldBack { key, until, state, delay }
    }

    /// Ends a job whose expiry has passed before it started.
    pub(super) fn expire(self: &Arc<Self>, start: Start) {
        self.end_unstarted(start, Ending::Expired);
    }

    /// Has the end of a job written that was handed out and did not start.
    pub(super) fn end_unstarted(self: &Arc<Self>, start: Start, ending: Ending) {
        let now = self.now();
        let mut record = start.job.record.clone();
        let attempt = AttemptNumber { number: record.attempts, max: u32::MAX, once: false, started_at: now.wall };
        let transition = after(&mut record, attempt, ending, &Default::default(), now, 0.0);
        let more = Some(Box::new(More::of(record)));
        let (queue, taken, took) = (start.queue, start.job, Duration::ZERO);
        self.to_writer.send(Command::Finish(Finish { queue, taken, transition, attempt, took, more, was_there: None }));
    }

    /// Gives up on attempts that did not stop when they were told to: their jobs go back, and what their handlers still return is
    /// ignored.
    pub(super) fn release(self: &Arc<Self>, attempts: &[Arc<Attempt>]) {
        for attempt in attempts {
            if self.scheduler().finished(attempt.run) {
                // A handler that is about to be called either is found here, or finds that its attempt was given up.
                let was_called = attempt.is_called() && !attempt.facts.guest.waits_for_place();
                let ending = if was_called { Ending::Released } else { Ending::Uncalled };
                self.finish(attempt, ending, Vec::new(), self.now());
            }
        }
    }

    /// Writes the starts of jobs that have been running for a while. The caller holds the scheduler's lock, which every end takes
    /// before it is sent, so that no start is written after its end.
    pub(super) fn mark_long_running(self: &Arc<Self>, scheduler: &mut Scheduler, now: Now) {
        let mut marks = Vec::new();
        for run in scheduler.long_running(now, MARK_AFTER) {
            match self.executor.running.get(run.job).filter(|attempt| attempt.run == run) {
                // Its guest waits for a place.
                Some(attempt) if attempt.facts.guest.waits_for_place() => scheduler.not_marked(run, now),
                Some(attempt) if attempt.is_called() => {
                    marks.push((attempt.job().clone(), mark(&attempt, false)));
                }
                // It waits for a thread or for the async runtime: `called_late` will be called.
                Some(_) => {}
                // It was handed out, and is not entered yet.
                None => scheduler.not_marked(run, now),
            }
        }
        if !marks.is_empty() {
            self.to_writer.send(Command::StartMark(MarkStarts::behind(marks)));
        }
    }
}

/// How long the job of an attempt has waited since it could run: since its enqueue or since it was due, whichever is later. By
/// clocks that can be set.
fn waited(attempt: &Attempt) -> Duration {
    let (now, record) = (attempt.handed_out, &attempt.job().record);
    let enqueued = now.wall.since(record.enqueued_at);
    record.due().map_or(enqueued, |due| enqueued.min(now.on(due.line).since(due.at)))
}

/// What became of a job at the end of an attempt. `None` for a transition in which no attempt ends.
fn end_of(transition: Transition, more: Option<&More>) -> Option<End> {
    match transition {
        Transition::End(State::Completed) => Some(End::Completed),
        Transition::End(State::Cancelled) | Transition::Cancel => Some(End::Cancelled),
        Transition::End(_) => Some(End::Dead),
        Transition::PutOff { failed: true, .. } => Some(End::Retried),
        Transition::PutOff { .. } => Some(End::Snoozed),
        Transition::GiveBack { .. } if more.is_some_and(|more| more.hold.is_some()) => Some(End::RateLimited),
        Transition::GiveBack { .. } => Some(End::GivenBack),
        _ => None,
    }
}

/// Brings the executor's reports to the engine.
pub(super) struct Reporter(pub Arc<Engine>);

impl Report for Reporter {
    fn called_late(&self, attempt: &Attempt) {
        let engine = &self.0;
        engine.scheduler().not_marked(attempt.run, engine.now());
        engine.wake_dispatcher();
    }

    fn called(&self, attempt: &Attempt) {
        let bus = &self.0.bus;
        if bus.hears_attempts() {
            let facts = &attempt.facts;
            let (id, queue, kind) = (facts.id(), facts.queue.clone(), facts.kind.clone());
            bus.publish_of_attempt(Event::Started { id, queue, kind, attempt: facts.attempt });
        }
    }

    fn next_deadline(&self) {
        self.0.wake_dispatcher();
    }

    fn ended(&self, attempt: Arc<Attempt>, ending: Ending) -> Option<AttemptTask> {
        self.0.finished(&attempt, ending, true)
    }

    fn ended_together(&self, ended: Vec<(Arc<Attempt>, Ending)>) {
        self.0.finished_together(ended);
    }

    fn lost(&self, lost: Lost) {
        self.0.lose(lost);
    }
}

/// The slot of an attempt is free.
struct Freed {
    /// Nothing else may start before the scheduler has said so: the handler was rate limited.
    held: bool,
    /// What the end does to circuits.
    circuits: Vec<CircuitStep>,
}

/// Frees the slot of an attempt that has ended. `None` if the attempt was given up before.
fn free_slot(
    scheduler: &mut Scheduler,
    attempt: &Attempt,
    ending: &Ending,
    verdict: Option<Verdict>,
    now: Now,
) -> Option<Freed> {
    if !scheduler.finished(attempt.run) {
        tracing::debug!(job = %attempt.run.job, "the outcome of an attempt that was given up came too late");
        return None;
    }
    if let Ending::Done(Some(result)) = ending {
        scheduler.ends_with(attempt.run, result.len());
    }
    if attempt.job().record.entry().is_some() && matches!(ending, Ending::Done(_)) && !attempt.facts.has_writes() {
        scheduler.entry_passed(attempt.queue, attempt.run.job);
    }
    let count = |verdict| scheduler.count_end(attempt.run, attempt.queue, attempt.job().group(), verdict, now);
    let circuits = verdict.map(count).unwrap_or_default();
    let Ending::RateLimited { delay, whole_queue } = *ending else { return Some(Freed { held: false, circuits }) };
    // Nothing may start before the scheduler knows this.
    let (key, until) = limit(attempt, delay, whole_queue, now);
    scheduler.apply([Change::Limited { key, until }]);
    Some(Freed { held: true, circuits })
}

/// Which bucket a rate-limited attempt holds back, and until when: that of the job's group, unless the job has none or the whole
/// queue is meant.
fn limit(attempt: &Attempt, delay: Duration, whole_queue: bool, now: Now) -> (BucketKey, Now) {
    let group = if whole_queue { None } else { attempt.job().group().cloned() };
    let key = BucketKey { queue: attempt.queue, group };
    let until = Now { age: now.age + delay, mono: now.mono.saturating_add(delay), ..now };
    (key, until)
}

/// Which attempt it counts as: the first one again if it has stored a step and its worker counts from there.
fn counted(attempt: &Attempt) -> AttemptNumber {
    let number = attempt.number();
    let is_first = number.number > 1 && attempt.retry().from_last_step && attempt.facts.has_stored_a_step();
    AttemptNumber { number: if is_first { 1 } else { number.number }, ..number }
}

/// The ending of a handler that has left because it sleeps or waits in a step, which is no failure, or that was called to undo the
/// steps of its job.
fn as_steps_say(attempt: &Attempt, ending: Ending) -> Ending {
    match ending {
        Ending::Done(_) if attempt.facts.is_undone() => Ending::Undone,
        Ending::Done(_) if attempt.facts.is_undoing() => cannot_undo(),
        Ending::Failed { kind: FailureKind::Error, .. } => {
            attempt.facts.take_suspension().map_or(ending, Ending::Suspended)
        }
        ending => ending,
    }
}

/// The mark of an attempt that runs.
pub(super) fn mark_of(attempt: &Attempt) -> StartMark {
    mark(attempt, attempt.alone)
}

fn mark(attempt: &Attempt, alone: bool) -> StartMark {
    let number = attempt.number();
    StartMark {
        queue: attempt.queue,
        priority: attempt.job().order.priority,
        position: attempt.job().order.position,
        attempt: number.number,
        max_attempts: number.max_in_mark(),
        started_at: number.started_at,
        alone,
    }
}
