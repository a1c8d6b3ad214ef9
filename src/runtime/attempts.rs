//! From a start to its end: hands attempts to the executor, has their ends written.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, MARK_AFTER};
use crate::error::Error;
use crate::executor::{Begun, Finished, Plan, Running};
use crate::handler::CompleteHook;
use crate::job::{Attempt, BucketKey, Change, Ending, Next, after};
use crate::scheduler::{Scheduler, Start};
use crate::storage::Mark;
use crate::time::Now;
use crate::writer::{Command, Finish, HoldBack, MarkStarts, More, Retried};

/// Jobs handed out at one look at the scheduler, so that its lock is never held for long.
const STARTS_AT_ONCE: usize = 64;

/// After an attempt that took longer, other tasks get their turn before the next one.
const SHORT: Duration = Duration::from_micros(50);

impl Engine {
    /// Starts what may start now. Called by the dispatcher, and by whoever has just freed a slot.
    pub(super) fn pump(self: &Arc<Self>) {
        loop {
            let now = self.now();
            let mut starts = Vec::new();
            let restless = {
                let mut scheduler = self.scheduler();
                scheduler.starts(now, STARTS_AT_ONCE, &mut starts);
                scheduler.is_restless()
            };
            let full = starts.len() == STARTS_AT_ONCE;
            for start in starts {
                self.launch(start, now);
            }
            if restless {
                self.wake_dispatcher();
            }
            if !full {
                return;
            }
        }
    }

    fn launch(self: &Arc<Self>, start: Start, now: Now) {
        if let Some(plan) = self.plan(start, now) {
            let begun = self.begin(plan);
            self.run(begun);
        }
    }

    /// How to run it now. Nothing if it is not to be run, or not before its start is durable: then all
    /// is done that need be.
    fn plan(self: &Arc<Self>, start: Start, now: Now) -> Option<Plan> {
        // Another worker may have taken the queue since the scheduler chose: it need not know this kind.
        let binding = self.binding(start.queue).filter(|binding| binding.handlers.contains_key(&start.entry.kind()));
        let Some(binding) = binding else {
            self.give_back(start);
            return None;
        };
        let record = &start.entry.record;
        let extra = record.extra.as_deref();
        let max = extra.and_then(|extra| extra.max_attempts).unwrap_or(binding.retry.attempts());
        let timeout = binding.timeout(start.entry.kind(), extra.and_then(|extra| extra.timeout));
        let attempt = Attempt { number: record.attempts.saturating_add(1), max, started_at: now.wall };
        let Start { run, queue, entry: taken, commit_first, alone } = start;
        let plan = Plan { run, queue, taken, attempt, binding, timeout, alone, started: now };
        if commit_first {
            self.mark_then_run(plan);
            return None;
        }
        Some(plan)
    }

    fn begin(&self, plan: Plan) -> Begun {
        self.metrics.started();
        let begun = self.executor.begin(plan);
        if begun.next_deadline {
            self.wake_dispatcher();
        }
        begun
    }

    fn run(self: &Arc<Self>, begun: Begun) {
        let engine = self.clone();
        self.executor.run(begun, move |finished| engine.land(finished));
    }

    /// The start is made durable first: if this job kills the process, that will be known.
    fn mark_then_run(self: &Arc<Self>, plan: Plan) {
        let engine = self.clone();
        let mark = (plan.run.job, mark(&plan, plan.alone));
        let no_longer_alone = self.scheduler().marked(plan.run);
        let then = Box::new(move |result: Result<(), Error>| match result {
            Ok(()) => engine.run(engine.begin(plan)),
            Err(_) => {
                let Plan { run, queue, taken: entry, alone, .. } = plan;
                engine.give_back(Start { run, queue, entry, commit_first: true, alone });
            }
        });
        self.inbox.send(Command::Mark(MarkStarts::before(mark, no_longer_alone, then)));
    }

    /// A job that was handed out and did not start.
    fn give_back(self: &Arc<Self>, start: Start) {
        tracing::trace!("a job that was handed out goes back unstarted");
        self.scheduler().given_back(start.run, start.entry);
        // Whoever made it startable again may have had the dispatcher look before it was back.
        self.wake_dispatcher();
    }

    // --- ending -------------------------------------------------------------------------------

    /// An attempt has ended: its slot is free for the next, its end goes to the writer. Returns the next
    /// one, if the same task is to run it.
    fn land(self: &Arc<Self>, finished: Finished) -> Option<Begun> {
        let Finished { running, ending } = finished;
        let now = self.now();
        let mut starts = Vec::new();
        let restless = {
            let mut scheduler = self.scheduler();
            if !scheduler.landed(running.plan.run) {
                tracing::debug!(job = %running.plan.run.job, "the outcome of an attempt that was given up came too late");
                return None;
            }
            // Told to slow down: not before that is known may anything start.
            let held = matches!(ending, Ending::RateLimited(_));
            if let Ending::RateLimited(delay) = ending {
                let (key, until) = limit(&running.plan, delay, now);
                scheduler.apply([Change::Limited { key, until }]);
            } else {
                scheduler.starts(now, STARTS_AT_ONCE, &mut starts);
            }
            held || starts.len() == STARTS_AT_ONCE || scheduler.is_restless()
        };
        self.metrics.ended(&ending);
        self.finish(&running, ending, now);
        let next = self.launch_all(starts, &running, now);
        if restless {
            self.wake_dispatcher();
        }
        self.moved.notify_waiters();
        next
    }

    /// Starts them, but for one that the task can run that has just finished with `before`.
    fn launch_all(self: &Arc<Self>, starts: Vec<Start>, before: &Running, now: Now) -> Option<Begun> {
        let mut next = None;
        for start in starts {
            let Some(plan) = self.plan(start, now) else { continue };
            let mut begun = self.begin(plan);
            if next.is_some() || before.blocking || begun.blocks() {
                self.run(begun);
            } else {
                begun.breathe = now.mono.saturating_sub(before.plan.started.mono) > SHORT;
                next = Some(begun);
            }
        }
        next
    }

    /// Says what follows and has it written.
    fn finish(self: &Arc<Self>, running: &Running, ending: Ending, now: Now) {
        let plan = &running.plan;
        let hooks = match ending {
            Ending::Done(_) => running.attempted.take_hooks(),
            _ => Vec::new(),
        };
        let (next, more) = match ending {
            // Nothing is kept of it, not even which plugin it was.
            Ending::Done(None) if hooks.is_empty() => (Next::Complete, None),
            ending => {
                let (next, mut more) = self.decide(plan, ending, hooks, now);
                if let Some(hash) = running.attempted.plugin() {
                    more.record.lineage_mut().ran(plan.attempt.number, hash);
                }
                (next, Some(Box::new(more)))
            }
        };
        log_ending(running, next);
        let took = now.mono.saturating_sub(plan.started.mono);
        let (queue, taken, attempt) = (plan.queue, plan.taken.clone(), plan.attempt);
        self.inbox.send(Command::Finish(Finish { queue, taken, next, attempt, took, more, was_there: None }));
    }

    fn decide(self: &Arc<Self>, plan: &Plan, ending: Ending, hooks: Vec<CompleteHook>, now: Now) -> (Next, More) {
        let luck = self.luck();
        let retry = &plan.binding.retry;
        let retried = (!hooks.is_empty()).then(|| Retried { retry: retry.clone(), now, luck });
        let hold = match ending {
            Ending::RateLimited(delay) => Some(self.hold_back(plan, delay, now)),
            _ => None,
        };
        let mut record = plan.taken.record.clone();
        let next = after(&mut record, plan.attempt, ending, retry, now, luck);
        (next, More { record, hooks, retried, hold })
    }

    fn hold_back(self: &Arc<Self>, plan: &Plan, delay: Duration, now: Now) -> HoldBack {
        let (key, until) = limit(plan, delay, now);
        let engine = self.clone();
        let state = Arc::new(move |key: &BucketKey| engine.scheduler().bucket_to_store(key, engine.now()));
        HoldBack { key, until, state, delay }
    }

    /// Ends that never began: their expiry has passed.
    pub(super) fn expire(self: &Arc<Self>, start: Start) {
        let now = self.now();
        let mut record = start.entry.record.clone();
        let attempt = Attempt { number: record.attempts, max: u32::MAX, started_at: now.wall };
        let next = after(&mut record, attempt, Ending::Expired, &Default::default(), now, 0.0);
        let more = Some(Box::new(More { record, hooks: Vec::new(), retried: None, hold: None }));
        let (queue, taken, took) = (start.queue, start.entry, Duration::ZERO);
        self.inbox.send(Command::Finish(Finish { queue, taken, next, attempt, took, more, was_there: None }));
    }

    /// Gives up on attempts that did not stop when told: their jobs go back, whatever their handlers
    /// still do is void.
    pub(super) fn release(self: &Arc<Self>, attempts: &[Arc<Running>]) {
        for running in attempts {
            if self.scheduler().landed(running.plan.run) {
                self.finish(running, Ending::Released, self.now());
            }
        }
    }

    /// Writes the starts of those jobs that have been running for a while. Under the scheduler's lock,
    /// which every end takes before it is sent, so that no start is written after its end.
    pub(super) fn mark_long_running(self: &Arc<Self>, scheduler: &mut Scheduler, now: Now) {
        let mut marks = Vec::new();
        for run in scheduler.long_running(now, MARK_AFTER) {
            match self.executor.runs.get(run.job).filter(|running| running.plan.run == run) {
                Some(running) => marks.push((running.plan.run.job, mark(&running.plan, false))),
                // Handed out, and not quite started yet.
                None => scheduler.not_marked(run, now),
            }
        }
        if !marks.is_empty() {
            self.inbox.send(Command::Mark(MarkStarts::behind(marks)));
        }
    }
}

/// What is held back by "too many requests", and until when.
fn limit(plan: &Plan, delay: Duration, now: Now) -> (BucketKey, Now) {
    let key = BucketKey { queue: plan.queue, group: plan.taken.group().cloned() };
    let until = Now { wall: now.wall + delay, engine: now.engine + delay, mono: now.mono.saturating_add(delay) };
    (key, until)
}

fn mark(plan: &Plan, alone: bool) -> Mark {
    Mark {
        queue: plan.queue,
        priority: plan.taken.order.priority,
        turn: plan.taken.order.turn,
        attempt: plan.attempt.number,
        max_attempts: plan.attempt.max,
        started_at: plan.attempt.started_at,
        alone,
    }
}

fn log_ending(running: &Running, next: Next) {
    let facts = running.attempted.facts();
    let (id, queue, kind, attempt) = (facts.id.get(), &*facts.queue, &*facts.kind, facts.attempt);
    match next {
        Next::Complete => tracing::debug!(id, queue, kind, attempt, outcome = "completed"),
        Next::Wait(_) => tracing::debug!(id, queue, kind, attempt, outcome = "runs again later"),
        Next::Stay => tracing::debug!(id, queue, kind, attempt, outcome = "given back"),
        Next::Cancel => tracing::info!(id, queue, kind, attempt, outcome = "cancelled"),
        Next::Die => tracing::warn!(id, queue, kind, attempt, outcome = "dead"),
    }
}
