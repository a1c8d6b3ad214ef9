//! From a start to its end: hands attempts to the executor, has their ends written.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, MARK_AFTER};
use super::log;
use crate::error::Error;
use crate::executor::{Attempt, AttemptTask, Lost, Report};
use crate::handler::CompleteHook;
use crate::job::life::after;
use crate::job::{AT_MOST_ONCE, AttemptNumber, BucketKey, Change, Ending, FailureKind, State, Transition};
use crate::scheduler::{Scheduler, Start};
use crate::storage::StartMark;
use crate::time::Now;
use crate::writer::{Command, Finish, HoldBack, MarkStarts, More, Retried};

/// Jobs handed out at one look at the scheduler, so that its lock is never held for long.
const STARTS_AT_ONCE: usize = 64;

/// After an attempt that took longer, other tasks get their turn before the next one.
const SHORT: Duration = Duration::from_micros(50);

impl Engine {
    /// Starts what may start now. Called by the dispatcher, and by code that has just freed a slot.
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
        if let Some(attempt) = self.attempt(start, now) {
            let task = self.begin(attempt);
            self.run(task);
        }
    }

    /// The attempt to be made now. `None` if there is none to be made, or not before its start is durable: then
    /// everything that has to be done for it is under way.
    fn attempt(self: &Arc<Self>, start: Start, now: Now) -> Option<Arc<Attempt>> {
        // Another worker may have taken the queue since the scheduler chose: it need not know this kind.
        let binding = self.binding(start.queue).filter(|binding| binding.handlers.contains_key(&start.job.kind()));
        let Some(binding) = binding else {
            self.give_back(start);
            return None;
        };
        let record = &start.job.record;
        let number = record.attempts.saturating_add(1);
        let own = record.extra.as_deref().and_then(|extra| extra.max_attempts);
        let once = binding.at_most_once || own == Some(AT_MOST_ONCE);
        // It may have been tried before, under a worker that tries more often: this is its last attempt, then.
        let max = if once { number } else { own.unwrap_or(binding.retry.attempts()) };
        let number = AttemptNumber { number, max, once, started_at: now.wall };
        let caller = self.callers.take(start.job.id).or(start.job.caller);
        let commit_first = start.commit_first || once;
        let attempt = self.executor.attempt(start, binding, number, caller, now);
        if commit_first {
            self.mark_then_run(attempt);
            return None;
        }
        Some(attempt)
    }

    fn begin(&self, attempt: Arc<Attempt>) -> AttemptTask {
        self.metrics.started();
        let task = self.executor.begin(attempt);
        if task.next_deadline {
            self.wake_dispatcher();
        }
        task
    }

    fn run(self: &Arc<Self>, task: AttemptTask) {
        if !self.executor.run(task, Reporter(self.clone())) {
            // The dispatcher asks for the thread again.
            self.wake_dispatcher();
        }
    }

    /// An attempt was dropped with its task.
    fn lose(self: &Arc<Self>, lost: Lost) {
        match lost {
            Lost::WithItsRuntime(attempt) => {
                // Its job goes back, and no attempt is used. Nothing more is started there, or it would be lost again.
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

    /// The start is made durable first: if this job kills the process, that will be known.
    fn mark_then_run(self: &Arc<Self>, attempt: Arc<Attempt>) {
        let engine = self.clone();
        let run = attempt.run;
        let mark = (run.job, mark(&attempt, attempt.alone));
        let no_longer_alone = self.scheduler().marked(run);
        let then = Box::new(move |result: Result<(), Error>| match result {
            Ok(()) => engine.run(engine.begin(attempt)),
            Err(_) => {
                engine.callers.remember(attempt.caller.map(|caller| (attempt.job.id, caller)));
                engine.give_back(attempt.start_again());
            }
        });
        self.to_writer.send(Command::StartMark(MarkStarts::before(mark, no_longer_alone, then)));
    }

    /// A job that was handed out and did not start.
    fn give_back(self: &Arc<Self>, start: Start) {
        tracing::trace!("a job that was handed out goes back unstarted");
        let job = start.job.clone();
        self.scheduler().given_back(start.run, start.job);
        self.expires_again(&job.record);
        // Whoever made it startable again may have had the dispatcher look before it was back.
        self.wake_dispatcher();
    }

    // --- ending -------------------------------------------------------------------------------

    /// Frees the slot of an attempt whose handler has ended with `ending`, sends its end to the writer, and starts what may
    /// start now; if `start_next` is false, the dispatcher does that. Returns the next attempt, if the same task is
    /// to run it.
    fn finished(self: &Arc<Self>, attempt: &Arc<Attempt>, ending: Ending, start_next: bool) -> Option<AttemptTask> {
        let now = self.now();
        let ending = attempt.judge(ending, now);
        let ending = match attempt.facts.plugin() {
            // It has been held to a limit of its own.
            Some(_) => ending,
            None => self.within_limit(ending),
        };
        let mut starts = Vec::new();
        let restless = {
            let mut scheduler = self.scheduler();
            if !scheduler.finished(attempt.run) {
                tracing::debug!(job = %attempt.run.job, "the outcome of an attempt that was given up came too late");
                return None;
            }
            if let Ending::Done(Some(result)) = &ending {
                scheduler.ends_with(attempt.run, result.len());
            }
            // The handler was told to slow down: nothing may start before that is known.
            let held = matches!(ending, Ending::RateLimited { .. });
            if let Ending::RateLimited { delay, whole_queue } = ending {
                let (key, until) = limit(attempt, delay, whole_queue, now);
                scheduler.apply([Change::Limited { key, until }]);
            } else if start_next {
                scheduler.starts(now, STARTS_AT_ONCE, &mut starts);
            }
            held || !start_next || starts.len() == STARTS_AT_ONCE || scheduler.is_restless()
        };
        self.finish(attempt, ending, now);
        let next = self.launch_all(starts, attempt, now);
        if restless {
            self.wake_dispatcher();
        }
        self.moved.notify_waiters();
        next
    }

    /// A result that is too large to be kept fails its attempt.
    fn within_limit(&self, ending: Ending) -> Ending {
        let max = self.config.result_bytes_max;
        match ending {
            Ending::Done(Some(result)) if result.len() > max => {
                let message = format!(
                    "the result has {} bytes, the limit is {max}: store it elsewhere and return a reference, or raise `result_bytes_max`",
                    result.len()
                );
                Ending::Failed { kind: FailureKind::OutputTooLarge, message, delay: None }
            }
            ending => ending,
        }
    }

    /// Starts them, but for one that the task of `before`, which has just ended, can run.
    fn launch_all(self: &Arc<Self>, starts: Vec<Start>, before: &Attempt, now: Now) -> Option<AttemptTask> {
        let mut next = None;
        for start in starts {
            let Some(attempt) = self.attempt(start, now) else { continue };
            let mut task = self.begin(attempt);
            if next.is_some() || before.blocking || task.blocks() {
                self.run(task);
            } else {
                task.yield_first = before.took(now) > SHORT;
                next = Some(task);
            }
        }
        next
    }

    /// Decides what follows and has it written.
    fn finish(self: &Arc<Self>, attempt: &Attempt, ending: Ending, now: Now) {
        let hooks = match ending {
            Ending::Done(_) => attempt.facts.take_hooks(),
            _ => Vec::new(),
        };
        // How an attempt ends that writes something with its completion is known when that is written.
        if hooks.is_empty() {
            self.metrics.ended(&ending);
        }
        let number = attempt.number();
        let (transition, more) = match ending {
            // Nothing is kept of it, not even which plugin it was.
            Ending::Done(None) if hooks.is_empty() => (Transition::End(State::Completed), None),
            ending => {
                let (transition, mut more) = self.decide(attempt, ending, hooks, now);
                if let Some(hash) = attempt.facts.plugin() {
                    more.record.lineage_mut().ran(number.number, hash);
                }
                (transition, Some(Box::new(more)))
            }
        };
        let took = attempt.took(now);
        log::attempt_ended(attempt, transition, more.as_deref(), took, now);
        // The writes with a completion may fail: then it is retried.
        let has_hooks = more.as_ref().is_some_and(|more| !more.hooks.is_empty());
        if has_hooks || !matches!(transition, Transition::End(_)) {
            self.callers.remember(attempt.caller.map(|caller| (attempt.job.id, caller)));
        }
        let (queue, taken) = (attempt.queue, attempt.job.clone());
        self.to_writer.send(Command::Finish(Finish {
            queue,
            taken,
            transition,
            attempt: number,
            took,
            more,
            was_there: None,
        }));
    }

    fn decide(
        self: &Arc<Self>,
        attempt: &Attempt,
        ending: Ending,
        hooks: Vec<CompleteHook>,
        now: Now,
    ) -> (Transition, More) {
        let random = self.random();
        let retry = &attempt.binding.retry;
        let retried = (!hooks.is_empty()).then(|| {
            let (queue, kind) = (attempt.facts.queue.clone(), attempt.facts.kind.clone());
            Retried { queue, kind, retry: retry.clone(), now, random }
        });
        let hold = match ending {
            Ending::RateLimited { delay, whole_queue } => Some(self.hold_back(attempt, delay, whole_queue, now)),
            _ => None,
        };
        let mut record = attempt.job.record.clone();
        let transition = after(&mut record, attempt.number(), ending, retry, now, random);
        (transition, More { record, hooks, retried, hold })
    }

    fn hold_back(self: &Arc<Self>, attempt: &Attempt, delay: Duration, whole_queue: bool, now: Now) -> HoldBack {
        let (key, until) = limit(attempt, delay, whole_queue, now);
        let engine = self.clone();
        let state = Arc::new(move |key: &BucketKey| engine.scheduler().bucket_to_store(key, engine.now()));
        HoldBack { key, until, state, delay }
    }

    /// Ends that never began: their expiry has passed.
    pub(super) fn expire(self: &Arc<Self>, start: Start) {
        let now = self.now();
        let mut record = start.job.record.clone();
        let attempt = AttemptNumber { number: record.attempts, max: u32::MAX, once: false, started_at: now.wall };
        let transition = after(&mut record, attempt, Ending::Expired, &Default::default(), now, 0.0);
        let more = Some(Box::new(More { record, hooks: Vec::new(), retried: None, hold: None }));
        let (queue, taken, took) = (start.queue, start.job, Duration::ZERO);
        self.to_writer.send(Command::Finish(Finish { queue, taken, transition, attempt, took, more, was_there: None }));
    }

    /// Gives up on attempts that did not stop when told: their jobs go back, whatever their handlers
    /// still do is void.
    pub(super) fn release(self: &Arc<Self>, attempts: &[Arc<Attempt>]) {
        for attempt in attempts {
            if self.scheduler().finished(attempt.run) {
                // A handler that is about to be called sees that it was given up, or is seen here.
                let was_called = attempt.is_called() && !attempt.facts.is_in_line();
                let ending = if was_called { Ending::Released } else { Ending::Uncalled };
                self.finish(attempt, ending, self.now());
            }
        }
    }

    /// Writes the starts of those jobs that have been running for a while. Under the scheduler's lock,
    /// which every end takes before it is sent, so that no start is written after its end.
    pub(super) fn mark_long_running(self: &Arc<Self>, scheduler: &mut Scheduler, now: Now) {
        let mut marks = Vec::new();
        for run in scheduler.long_running(now, MARK_AFTER) {
            match self.executor.running.get(run.job).filter(|attempt| attempt.run == run) {
                // Its guest waits for a place.
                Some(attempt) if attempt.facts.is_in_line() => scheduler.not_marked(run, now),
                Some(attempt) if attempt.is_called() => {
                    marks.push((run.job, mark(&attempt, false)));
                }
                // It waits for a thread or for the async runtime: `called_late` follows.
                Some(_) => {}
                // Handed out, and not entered yet.
                None => scheduler.not_marked(run, now),
            }
        }
        if !marks.is_empty() {
            self.to_writer.send(Command::StartMark(MarkStarts::behind(marks)));
        }
    }
}

/// Brings the executor's reports to the engine.
struct Reporter(Arc<Engine>);

impl Report for Reporter {
    fn called_late(&self, attempt: &Attempt) {
        let engine = &self.0;
        engine.scheduler().not_marked(attempt.run, engine.now());
        engine.wake_dispatcher();
    }

    fn ended(&self, attempt: Arc<Attempt>, ending: Ending) -> Option<AttemptTask> {
        self.0.finished(&attempt, ending, true)
    }

    fn lost(&self, lost: Lost) {
        self.0.lose(lost);
    }
}

/// What is held back by "too many requests", and until when: the job's group, if it has one and not the whole queue is meant.
fn limit(attempt: &Attempt, delay: Duration, whole_queue: bool, now: Now) -> (BucketKey, Now) {
    let group = if whole_queue { None } else { attempt.job.group().cloned() };
    let key = BucketKey { queue: attempt.queue, group };
    let until = Now { age: now.age + delay, mono: now.mono.saturating_add(delay), ..now };
    (key, until)
}

fn mark(attempt: &Attempt, alone: bool) -> StartMark {
    let number = attempt.number();
    StartMark {
        queue: attempt.queue,
        priority: attempt.job.order.priority,
        position: attempt.job.order.position,
        attempt: number.number,
        max_attempts: number.max_in_mark(),
        started_at: number.started_at,
        alone,
    }
}
