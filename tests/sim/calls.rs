//! What callers ask, and whether they are answered as they must be.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Task, Poll, Waker};
use std::thread;
use std::time::Duration;

use millpond::{
    BoxError, CancelOutcome, Capacity, Clock, Commit, Enqueued, Error, JobId, JobPatch, Pace, Priority, State, WhenFull,
};
use millpond_testkit::{JobSpec, ON_PURPOSE, When};

use crate::handlers::{ROWS, write_row};
use crate::oracle::{Check, Pausing};
use crate::paths::took;
use crate::plan::{HEAVY_BYTES, at, group_name, new_job, queue_name, random_job, random_policy};
use crate::world::World;

/// The number of delayed jobs in one call, in a world that has such a call: more than one promotion makes ready.
pub const BULK: usize = 1_100;

/// What an answer contains: ids, or a number.
type Answer = Result<Vec<u64>, Error>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Stores jobs, without rows.
    Store,
    Transact,
    /// A call on one job, with its id.
    Cancel(u64),
    /// Makes the call again that has stored a job, or has not: the number of the job.
    Repeat(u64),
    Redrive(u64),
    Pause,
    PauseKind {
        queue: usize,
        kind: usize,
        paused: bool,
    },
    /// Enqueues a job with a unique key: the number of the call.
    Unique(u64),
    /// Makes a flow: its number.
    Flow(u64),
    /// Does something with many jobs.
    Select,
    Other,
    Verify,
}

/// A call that is not answered yet.
pub struct Caller {
    call: u64,
    asks: Asks,
    future: Pin<Box<dyn Future<Output = Answer> + Send>>,
    polls: u32,
    /// It was not answered when everything was at rest: it waits for room.
    waits: bool,
}

fn boxed<T: Send + 'static>(
    commit: Commit<T>,
    tell: impl FnOnce(T) -> Vec<u64> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
    Box::pin(async move { commit.await.map(tell) })
}

fn nothing<T>(_: T) -> Vec<u64> {
    Vec::new()
}

fn truth(truth: bool) -> Vec<u64> {
    vec![u64::from(truth)]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Commits,
    Errs,
    Panics,
}

impl World {
    // --- calls --------------------------------------------------------------------------------

    pub fn call(&mut self) -> Check {
        self.edit_schedules();
        self.publish();
        self.append();
        self.repeat_a_call();
        self.pause_a_kind();
        self.ask_for_uniques();
        self.ask_for_flows();
        self.close_a_circuit();
        self.select()?;
        let opened = self.opened;
        self.rename_a_queue()?;
        if self.opened != opened {
            return Ok(());
        }
        let room = self.stage.lock().unwrap().next_n <= self.plan.jobs_max;
        match self.rng.u8(..100) {
            0..=39 if room => self.store(1),
            40..=47 if room => {
                let jobs = self.rng.usize(2..7);
                self.store(jobs);
            }
            48..=61 if room => self.transact(),
            62..=65 if room => return self.guard(),
            66..=69 => self.cancel(),
            70..=73 => self.update(),
            74..=78 => self.redrive(),
            79 => self.purge(),
            80..=83 => self.pause(),
            84..=87 => self.pause_group(),
            88..=89 => self.configure(),
            90..=91 => self.take_tokens(),
            92..=95 => self.verify(),
            96..=97 => return self.drop_one(),
            _ => {}
        }
        Ok(())
    }

    pub fn push(&mut self, asks: Asks, future: Pin<Box<dyn Future<Output = Answer> + Send>>) {
        let call = self.next_call;
        self.next_call += 1;
        self.note(|_| format!("call {call} {asks:?}"));
        self.callers.push(Caller { call, asks, future, polls: 0, waits: false });
    }

    /// A call that is polled at once.
    pub fn ask_and_poll(&mut self, asks: Asks, future: Pin<Box<dyn Future<Output = Answer> + Send>>) -> Check {
        self.push(asks, future);
        self.poll(self.callers.len() - 1).map(drop)
    }

    /// A call that answers whether it has changed something.
    pub fn ask(&mut self, asks: Asks, commit: Commit<bool>) {
        self.push(asks, boxed(commit, truth));
    }

    /// A call whose answer says nothing.
    pub fn ask_for_nothing<T: Send + 'static>(&mut self, commit: Commit<T>) {
        self.push(Asks::Other, boxed(commit, nothing));
    }

    /// A call during which the queue ends.
    pub fn ask_for_the_end(&mut self, commit: Commit<()>) {
        self.push(Asks::Other, boxed(commit, nothing));
    }

    fn specs(&mut self, jobs: usize) -> Vec<JobSpec> {
        let (queues, groups) = (self.plan.queues.len(), self.plan.groups);
        let mut stage = self.stage.lock().unwrap();
        let mut specs = Vec::new();
        for _ in 0..jobs {
            let n = stage.next_n;
            stage.next_n += 1;
            let mut spec = random_job(&mut self.rng, n, queues, groups);
            if self.plan.heavy {
                spec.padding = HEAVY_BYTES;
            }
            if self.plan.poison && stage.poisons.len() < 2 && self.rng.u8(..12) == 0 {
                stage.poisons.insert(n);
                self.oracle.poisons.insert(n);
            }
            specs.push(spec);
        }
        specs
    }

    fn store(&mut self, jobs: usize) {
        let specs = self.specs(jobs);
        self.store_these(specs);
    }

    fn store_these(&mut self, specs: Vec<JobSpec>) {
        let wall = self.clock.wall();
        let jobs = specs.iter().map(|spec| (queue_name(spec.queue), new_job(spec, wall)));
        let commit = self.now().pond.enqueue_all(jobs);
        self.note(|_| format!("store {specs:?}"));
        self.oracle.asked(self.next_call, &specs);
        self.push(
            Asks::Store,
            boxed(commit, |answers: Vec<Enqueued>| answers.iter().map(|answer| answer.id.get()).collect()),
        );
    }

    /// Makes a call again that was answered or dropped, as a caller does that does not know what became of it.
    fn repeat_a_call(&mut self) {
        let mut again = self.oracle.can_be_repeated();
        let unknown: Vec<_> = again.iter().copied().filter(|n| self.oracle.is_unknown(*n)).collect();
        if !unknown.is_empty() {
            again = unknown;
        } else if self.repeats.u8(..8) > 0 {
            return;
        }
        let Some(n) = self.repeats.choice(again) else { return };
        let spec = self.oracle.repeats(n);
        let commit = self.now().pond.enqueue(&queue_name(spec.queue), new_job(&spec, self.clock.wall()));
        self.push(Asks::Repeat(n), boxed(commit, |answer| vec![answer.id.get(), u64::from(answer.is_stored())]));
    }

    /// Stores more delayed jobs than one promotion makes ready.
    pub fn store_bulk(&mut self) {
        let mut specs = self.specs(BULK);
        for spec in &mut specs {
            *spec = JobSpec { n: spec.n, when: When::Delay(5_000), ..JobSpec::PLAIN };
        }
        self.plan.jobs_max += BULK as u64;
        self.store_these(specs);
    }

    fn new_rows(&mut self) -> Vec<u64> {
        let rows = self.rng.u64(1..3);
        self.next_row += rows;
        (self.next_row - rows..self.next_row).collect()
    }

    fn transact(&mut self) {
        let jobs = self.rng.usize(..4);
        let (specs, rows, wall) = (self.specs(jobs), self.new_rows(), self.clock.wall());
        let way = [Way::Commits, Way::Commits, Way::Commits, Way::Errs, Way::Panics][self.rng.usize(..5)];
        self.note(|_| format!("transact {way:?} {rows:?} {specs:?}"));
        self.oracle.asked_tx(self.next_call, &specs, &rows);
        let runs = std::sync::atomic::AtomicU32::new(0);
        let commit = self.now().pond.transaction(move |tx| {
            if runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1 {
                took("a closure was run twice");
            }
            rows.iter().try_for_each(|row| write_row(tx, *row))?;
            let mut ids = Vec::new();
            for spec in &specs {
                ids.push(tx.enqueue(&queue_name(spec.queue), new_job(spec, wall))?.id.get());
            }
            match way {
                Way::Commits => Ok(ids),
                Way::Errs => Err(ON_PURPOSE.into()),
                Way::Panics => panic!("{ON_PURPOSE}"),
            }
        });
        if way == Way::Errs {
            took("a closure failed");
        }
        if way == Way::Panics {
            took("a closure panicked");
        }
        self.push(Asks::Transact, boxed(commit, |ids| ids));
    }

    /// A transaction that the caller commits itself. It needs a thread, because the caller waits for the writer.
    fn guard(&mut self) -> Check {
        let jobs = self.rng.usize(1..3);
        let (specs, rows, wall) = (self.specs(jobs), self.new_rows(), self.clock.wall());
        let commits = self.rng.u8(..3) > 0;
        let call = self.next_call;
        self.next_call += 1;
        self.note(|_| format!("guard {call} commits {commits} {rows:?} {specs:?}"));
        self.oracle.asked_tx(call, &specs, &rows);
        let (pond, before) = (self.now().pond.clone(), self.steps().inbox());
        let thread = thread::spawn(move || -> Result<Result<Vec<u64>, Error>, BoxError> {
            let mut guard = match pond.begin_write() {
                Ok(guard) => guard,
                Err(error) => return Ok(Err(error)),
            };
            let mut table = guard.open_table(ROWS)?;
            for row in rows {
                table.insert(row, 1)?;
            }
            drop(table);
            let mut ids = Vec::new();
            for spec in &specs {
                ids.push(guard.enqueue(&queue_name(spec.queue), new_job(spec, wall))?.id.get());
            }
            if !commits {
                return Err("undone".into());
            }
            Ok(guard.commit().map(|()| ids))
        });
        while self.steps().inbox() == before && !thread.is_finished() {
            thread::yield_now();
        }
        let opened = self.opened;
        while self.opened == opened && self.steps().inbox() > 0 {
            self.write()?;
        }
        let answer = thread.join().expect("it does not panic");
        if self.opened != opened {
            return Ok(());
        }
        match answer {
            Ok(answer) => {
                self.note(|_| format!("guard {call}: {answer:?}"));
                if answer.is_ok() {
                    took("a guard was committed");
                }
                self.oracle.answered(call, &answer)
            }
            Err(_) => {
                took("a guard was undone");
                self.oracle.abandoned(call, false)
            }
        }
    }

    // --- steering -----------------------------------------------------------------------------

    fn any_id(&mut self) -> Option<u64> {
        let ids = self.oracle.known_ids();
        (!ids.is_empty()).then(|| ids[self.rng.usize(..ids.len())])
    }

    fn cancel(&mut self) {
        let Some(mut id) = self.any_id() else { return };
        if self.repeats.bool() {
            id = self.repeats.choice(self.oracle.running_ids()).unwrap_or(id);
        }
        self.oracle.steered(id, false);
        let commit = self.now().pond.cancel(JobId::new(id), ON_PURPOSE);
        self.push(
            Asks::Cancel(id),
            boxed(commit, |outcome| {
                vec![match outcome {
                    CancelOutcome::AlreadyEnded(State::Cancelled) => 0,
                    CancelOutcome::Cancelled => 1,
                    CancelOutcome::Requested => 2,
                    _ => 3,
                }]
            }),
        );
    }

    fn update(&mut self) {
        let Some(id) = self.any_id() else { return };
        self.oracle.steered(id, false);
        let mut patch = JobPatch::new();
        let wall = self.clock.wall().as_millis();
        match self.rng.u8(..4) {
            0 => patch = patch.priority(Priority::new(self.rng.u8(..10)).unwrap()),
            1 => patch = patch.run_at(at(wall + [0, 5_000, 60_000][self.rng.usize(..3)])),
            2 => patch = patch.run_at(at(wall + 1_000)).priority(Priority::FIRST),
            _ => {
                let commit = self.now().pond.run_now(JobId::new(id));
                return self.push(Asks::Other, boxed(commit, nothing));
            }
        }
        let commit = self.now().pond.update(JobId::new(id), patch);
        self.push(Asks::Other, boxed(commit, nothing));
    }

    fn redrive(&mut self) {
        let dead = self.oracle.dead_ids();
        let id = if dead.is_empty() { self.any_id() } else { Some(dead[self.rng.usize(..dead.len())]) };
        let Some(id) = id else { return };
        self.oracle.steered(id, false);
        let pace = if self.rng.bool() { Pace::at_once() } else { Pace::per_second(1) };
        let others = dead.iter().take(2).copied().filter(|other| *other != id).collect::<Vec<_>>();
        others.iter().for_each(|other| self.oracle.steered(*other, false));
        let ids: Vec<JobId> = std::iter::once(id).chain(others).map(JobId::new).collect();
        let commit = self.now().pond.dead_letters().redrive_some(ids, pace);
        self.push(Asks::Redrive(id), boxed(commit, |redriven| vec![redriven]));
    }

    fn purge(&mut self) {
        let Some(id) = self.oracle.dead_ids().first().copied() else { return };
        self.oracle.steered(id, true);
        let commit = self.now().pond.dead_letters().purge(JobId::new(id));
        self.push(Asks::Other, boxed(commit, truth));
    }

    fn pause(&mut self) {
        let queue = self.rng.usize(..self.plan.queues.len());
        let handle = self.now().pond.queue(&queue_name(queue)).unwrap();
        let paused = self.rng.u8(..5) < 2;
        let commit = if paused { handle.pause() } else { handle.resume() };
        self.oracle.may_be_paused(self.next_call, Pausing { queue, group: None, paused, unknown: false });
        self.push(Asks::Pause, boxed(commit, truth));
    }

    fn pause_group(&mut self) {
        if self.plan.groups == 0 {
            return;
        }
        let queue = self.rng.usize(..self.plan.queues.len());
        let group = self.rng.u8(..self.plan.groups);
        let name = group_name(group);
        let handle = self.now().pond.queue(&queue_name(queue)).unwrap();
        let paused = self.rng.bool();
        let commit = if paused { handle.pause_group(&name) } else { handle.resume_group(&name) };
        self.oracle.may_be_paused(self.next_call, Pausing { queue, group: Some(group), paused, unknown: false });
        self.push(Asks::Pause, boxed(commit, truth));
    }

    fn configure(&mut self) {
        let queue = self.rng.usize(..self.plan.queues.len());
        let mut settings = self.plan.queues[queue].settings();
        if self.rng.bool() {
            let capacity = if self.rng.bool() { Capacity::UNLIMITED } else { Capacity::jobs(self.rng.u64(1..9)) };
            settings = settings.capacity(capacity);
        }
        settings = settings.when_full(match self.rng.u8(..4) {
            0 | 1 if self.plan.queues[queue].drops => WhenFull::DropOldest,
            0 | 2 => WhenFull::Wait,
            _ => WhenFull::Refuse,
        });
        if self.plan.reconfigures {
            let policy = random_policy(&mut self.rng);
            self.plan.queues[queue].group_policy = policy;
            self.oracle.policy_changes(queue, policy);
            settings = settings.groups(policy);
        }
        let commit = self.now().pond.queue(&queue_name(queue)).unwrap().configure(settings);
        self.push(Asks::Other, boxed(commit, nothing));
    }

    fn take_tokens(&mut self) {
        let queue = self.rng.usize(..self.plan.queues.len());
        let queue = self.now().pond.queue(&queue_name(queue)).unwrap();
        let commit = queue.rate().take(1);
        self.push(Asks::Other, boxed(commit, nothing));
    }

    pub fn verify(&mut self) {
        let commit = self.now().pond.verify();
        let future = Box::pin(async move {
            let verified = commit.await?;
            for problem in &verified.problems {
                eprintln!("I4: {problem}");
            }
            Ok(vec![verified.problems.len() as u64])
        });
        self.push(Asks::Verify, future);
    }

    /// A caller drops its call.
    fn drop_one(&mut self) -> Check {
        if self.callers.is_empty() {
            return Ok(());
        }
        let at = self.rng.usize(..self.callers.len());
        let caller = self.callers.swap_remove(at);
        self.note(|_| format!("call {} is dropped", caller.call));
        if caller.polls > 0 {
            took("a call was dropped while it waited");
        }
        self.dropped(&caller)
    }

    /// The caller of a verb on many jobs drops it.
    pub fn drop_the_selection(&mut self) -> Check {
        let Some(at) = self.callers.iter().position(|caller| caller.asks == Asks::Select) else { return Ok(()) };
        let caller = self.callers.remove(at);
        self.note(|_| format!("call {} is dropped", caller.call));
        self.dropped(&caller)
    }

    fn dropped(&mut self, caller: &Caller) -> Check {
        let asked = caller.polls > 0;
        if let Asks::Unique(n) = caller.asks {
            self.uniques.dropped(n, asked);
        }
        if let Asks::Flow(flow) = caller.asks {
            self.flows.dropped(flow, asked);
        }
        if caller.asks == Asks::Select {
            self.selection_dropped();
        }
        self.oracle.dropped(caller.asks, caller.call, asked)
    }

    /// Closes a circuit by hand.
    fn close_a_circuit(&mut self) {
        if self.repeats.u8(..30) > 0 {
            return;
        }
        let Some((queue, group)) = self.repeats.choice(self.oracle.circuit_keys()) else { return };
        let handle = self.now().pond.queue(&queue_name(queue)).unwrap();
        let commit = match group {
            None => handle.close_circuit(),
            Some(group) => handle.close_group_circuit(&group_name(group)),
        };
        self.push(Asks::Other, boxed(commit, truth));
    }

    // --- answers ------------------------------------------------------------------------------

    pub fn poll_one(&mut self) -> Check {
        if self.callers.is_empty() {
            return Ok(());
        }
        let at = self.rng.usize(..self.callers.len());
        self.poll(at).map(drop)
    }

    pub fn poll_all(&mut self) -> Check {
        let mut at = 0;
        while at < self.callers.len() {
            if !self.poll(at)? {
                at += 1;
            }
        }
        Ok(())
    }

    /// Polls one call. Returns true if it was answered.
    fn poll(&mut self, at: usize) -> Result<bool, String> {
        let degraded = self.now().pond.degraded().is_some();
        let caller = &mut self.callers[at];
        caller.polls += 1;
        let first = caller.polls == 1;
        let stores = matches!(caller.asks, Asks::Store | Asks::Transact | Asks::Unique(_));
        let Poll::Ready(answer) = caller.future.as_mut().poll(&mut Task::from_waker(Waker::noop())) else {
            if first && degraded && stores {
                return Err(format!("I24: the queue is degraded, and call {} is not told at once", caller.call));
            }
            return Ok(false);
        };
        // The remaining calls keep their order, in which those that wait for room are admitted.
        let Caller { call, asks, waits, .. } = self.callers.remove(at);
        self.note(|_| format!("call {call} {asks:?}: {answer:?}"));
        match &answer {
            Err(Error::Degraded { .. }) if first => took("a caller was told at once that the queue is degraded"),
            Err(Error::StorageFull) => took("a caller was told that the disk is full"),
            Err(Error::QueueFull { .. }) => took("a caller was refused because the queue was full"),
            Err(Error::Closed) if waits => took("a caller waited for room when the queue closed"),
            Ok(_) if waits => took("a caller waited for room and was admitted"),
            _ => {}
        }
        self.check(call, asks, &answer)?;
        Ok(true)
    }

    fn check(&mut self, call: u64, asks: Asks, answer: &Answer) -> Check {
        if asks == Asks::Pause {
            self.oracle.pause_answered(call, answer.as_ref().err());
        }
        match (asks, answer) {
            (Asks::Store | Asks::Transact, _) => self.oracle.answered(call, answer),
            (Asks::Unique(n), answer) => self.uniques.answered(n, answer, &self.oracle),
            (Asks::Flow(flow), answer) => {
                self.flows.answered(flow, answer);
                answer.as_ref().err().map_or(Ok(()), |error| self.oracle.legal_error(error))
            }
            (Asks::Select, answer) => self.selected(answer),
            (Asks::Repeat(n), answer) => self.oracle.repeated(n, answer),
            (Asks::Verify, Ok(problems)) if problems[0] > 0 => {
                Err(format!("I4: the file has {} problems", problems[0]))
            }
            (Asks::Cancel(id), Ok(done)) => match done[0] {
                2 => self.oracle.cancel_requested(id),
                3 => Ok(()),
                done => self.oracle.cancelled(id, done == 1),
            },
            (Asks::PauseKind { queue, kind, paused }, Ok(_)) => {
                self.oracle.kind_paused(call, (queue, kind), paused);
                Ok(())
            }
            (_, Err(error)) => self.oracle.legal_error(error),
            _ => Ok(()),
        }
    }

    /// Every call that is not answered now waits for room.
    pub fn answered_at_rest(&mut self) -> Check {
        for caller in &mut self.callers {
            if !matches!(caller.asks, Asks::Store | Asks::Repeat(_)) {
                return Err(format!("I23: call {} {:?} is not answered", caller.call, caller.asks));
            }
            caller.waits = true;
        }
        Ok(())
    }

    /// The file is closed: every call must have been answered.
    pub fn all_answered(&mut self) -> Check {
        self.poll_all()?;
        match self.callers.first() {
            Some(caller) => {
                Err(format!("I23: the queue is closed, and call {} {:?} still waits", caller.call, caller.asks))
            }
            None => Ok(()),
        }
    }

    /// The process has ended, and its callers with it.
    pub fn all_gone(&mut self) -> Check {
        for caller in std::mem::take(&mut self.callers) {
            self.dropped(&caller)?;
        }
        Ok(())
    }

    /// Makes a call that must succeed.
    pub fn done<T>(&mut self, commit: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
        let mut commit = Box::pin(commit);
        for _ in 0..1_000 {
            if let Poll::Ready(answer) = commit.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
                return answer.map_err(|error| format!("I24: the disk works, and the call is refused: {error:?}"));
            }
            self.write()?;
            self.advance_if_degraded();
        }
        Err("I23: the call is not answered".into())
    }

    fn advance_if_degraded(&mut self) {
        if self.now().pond.degraded().is_some() {
            self.advance(Duration::from_secs(1).as_millis() as u64);
        }
    }
}
