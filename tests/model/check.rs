//! Applies one step to the queue and to the model, and compares the two afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use millpond::{
    AttemptLog, Binding, CancelOutcome, Enqueued, Error, Explanation, JobId, JobPatch, NewJob, Pace, Priority,
    Published, State, Timestamp,
};
use millpond_testkit::{JobSpec, ON_PURPOSE};

use crate::engine::{
    Engine, NUMBER, ROWS, TOPIC, at, group_name, new_entry, new_job, queue_name, stream_name, write_row,
};
use crate::model::{Check, KEPT, Model};
use crate::ops::{Answer, Call, EntrySpec, Fate, Message, Op, PATTERNS, QUEUES, ROUTING_KEYS, STREAMS, Tx};

const SLOTS: usize = 3;
const MAX_RUNNING: usize = 4;
/// The longest time for which a crash is allowed to delay a job.
const RECOVERS_MOST: std::time::Duration = std::time::Duration::from_secs(20 * 60 + 10);
/// After how many milliseconds heads are read again that did not fit into memory when their groups were limited.
const READ_AGAIN_AFTER: u64 = 103;

pub struct Run {
    pub engine: Engine,
    pub model: Model,
    next_row: u64,
    /// The number of the next entry.
    pub next_number: u64,
}

type Step = Result<Run, String>;

fn binding(to: usize, pattern: usize) -> Binding {
    let binding = match to.checked_sub(QUEUES) {
        None => Binding::to(queue_name(to)),
        Some(stream) => Binding::to_stream(stream_name(stream)),
    };
    binding.key(PATTERNS[pattern])
}

impl Run {
    pub async fn new(window: usize) -> Self {
        let engine = Engine::new(MAX_RUNNING, window).await;
        let model = Model::new(engine.wall().as_millis(), MAX_RUNNING);
        Self { engine, model, next_row: 1, next_number: 0 }
    }

    pub async fn step(self, op: &Op) -> Step {
        self.apply(op).await.map_err(|error| format!("{op:?}: {error}"))
    }

    async fn apply(mut self, op: &Op) -> Step {
        self.model.rest();
        let torn = matches!(op, Op::StartWorker(_));
        match op {
            Op::Enqueue(spec) => {
                let id = self.engine.pond.enqueue(&queue_name(spec.queue), self.job(spec)).await;
                self.model.insert(id.map_err(text)?.id.get(), spec)?;
            }
            Op::EnqueueMany(specs) => {
                let jobs = specs.iter().map(|spec| (queue_name(spec.queue), self.job(spec)));
                let ids = self.engine.pond.enqueue_all(jobs).await.map_err(text)?;
                self.inserted(ids, specs)?;
            }
            Op::Tx(tx) => self.burst(&[Call::Tx(tx.clone())]).await?,
            Op::Guard(tx) => self.guard(tx)?,
            Op::Burst(calls) => self.burst(calls).await?,
            Op::Bind(to, pattern, true) => {
                let bound = self.engine.topic().bind(binding(*to, *pattern)).await.map_err(text)?;
                expect("bound", bound, self.model.bind(*to, *pattern))?;
            }
            Op::Bind(to, pattern, false) => {
                let unbound = self.engine.topic().unbind(binding(*to, *pattern)).await;
                match (self.model.unbind(*to, *pattern), unbound) {
                    (Some(was_there), Ok(unbound)) => expect("unbound", unbound, was_there)?,
                    (None, Err(Error::NoSuchTopic { .. })) => {}
                    (expected, unbound) => return Err(format!("expected {expected:?}, got {unbound:?}")),
                }
            }
            Op::Publish(message) => self.publish(message).await?,
            Op::Append(stream, keys) => self.append_many(*stream, keys).await?,
            Op::Compact(stream, compacts) => self.compact(*stream, *compacts).await?,
            Op::KeepEntries(stream, most) => self.keep_entries(*stream, *most).await?,
            Op::RemoveStream(stream) => self.remove_stream(*stream).await?,
            Op::StartWorker(queue) => {
                if !self.model.has_worker(*queue) {
                    self.model.start_worker(*queue, SLOTS);
                    self.engine.start_worker(*queue, SLOTS);
                }
            }
            Op::StopWorker(queue) => {
                self.model.stop_worker(*queue);
                self.engine.stop_worker(*queue);
            }
            Op::Answer(pick, answer) => {
                if let Some(id) = nth(&self.model.running(), *pick) {
                    self.answer(id, *answer).await;
                }
            }
            Op::PauseQueue(queue, pause) => {
                let handle = self.engine.queue(*queue);
                let changed = if *pause { handle.pause().await } else { handle.resume().await };
                expect("changed", changed.map_err(text)?, self.model.pause_queue(*queue, *pause))?;
            }
            Op::PauseGroup(queue, group, pause) => {
                let (handle, name) = (self.engine.queue(*queue), group_name(*group));
                let changed = if *pause { handle.pause_group(&name).await } else { handle.resume_group(&name).await };
                expect("changed", changed.map_err(text)?, self.model.pause_group((*queue, *group), *pause))?;
            }
            Op::Cancel(pick) => {
                if let Some(id) = self.any_job(*pick) {
                    self.cancel(id).await?;
                }
            }
            Op::Update { job, priority, at } => {
                if let Some(id) = self.any_job(*job) {
                    let at = at.map(|offset| self.engine.wall().as_millis().saturating_add_signed(offset));
                    self.update(id, *priority, at).await?;
                }
            }
            Op::RunNow(pick) => {
                if let Some(id) = self.any_job(*pick) {
                    let done = self.engine.pond.run_now(JobId::new(id)).await;
                    if self.refused(id, done.map(|()| true))? {
                        self.model.update(id, None, Some(0));
                    }
                }
            }
            Op::Redrive(pick) => {
                if let Some(id) = self.any_job(*pick) {
                    let done = self.engine.pond.dead_letters().redrive(JobId::new(id)).await.map_err(text)?;
                    expect("redriven", done, self.model.redrive(id))?;
                }
            }
            Op::RedriveAll(queue) => {
                let filter = millpond::JobFilter::new().queue(queue_name(*queue));
                let done = self.engine.pond.dead_letters().redrive_all(&filter, Pace::at_once()).await.map_err(text)?;
                let dead = self.model.dead_letters(*queue);
                expect("redriven", done, dead.len() as u64)?;
                dead.into_iter().for_each(|id| assert!(self.model.redrive(id)));
            }
            Op::Purge(pick) => {
                if let Some(id) = self.any_job(*pick) {
                    let done = self.engine.pond.dead_letters().purge(JobId::new(id)).await.map_err(text)?;
                    expect("purged", done, self.model.purge(id))?;
                }
            }
            // A verb of several chunks lets jobs start in between.
            Op::CancelAll(_) | Op::Drain(_) if self.engine.moves_little => {}
            Op::CancelAll(queue) => {
                let filter = millpond::JobFilter::new().queue(queue_name(*queue));
                let done = self.engine.pond.select(&filter).cancel(ON_PURPOSE).await.map_err(text)?;
                let (waiting, running) = (self.model.waiting(*queue), self.model.running_of(*queue));
                expect("cancelled", done.changed, (waiting.len() + running.len()) as u64)?;
                waiting.into_iter().for_each(|id| self.model.cancel(id));
                running.into_iter().for_each(|id| self.model.request_cancel(id));
            }
            Op::Drain(queue) => {
                let done = self.engine.queue(*queue).drain().await.map_err(text)?;
                let waiting = self.model.waiting(*queue);
                expect("drained", done, waiting.len() as u64)?;
                waiting.into_iter().for_each(|id| self.model.delete(id));
            }
            Op::Obliterate(queue) => {
                let jobs = self.model.jobs.values().filter(|job| job.queue == *queue).count() as u64;
                let done = self.engine.queue(*queue).obliterate().await;
                match (self.model.is_in_use(*queue), done) {
                    (true, Err(Error::QueueInUse { .. })) => {}
                    (false, Ok(done)) => {
                        expect("obliterated", done.jobs, jobs)?;
                        expect("unbound", done.bindings, self.model.unbind_all(*queue))?;
                        self.model.obliterate(*queue);
                        self.engine.configure(*queue).await;
                    }
                    (in_use, done) => return Err(format!("in use: {in_use}, and it is answered {done:?}")),
                }
            }
            Op::Rename(queue) => {
                let renamed = self.engine.queue(*queue).rename("another").await;
                match (self.model.is_in_use(*queue), renamed) {
                    (true, Err(Error::QueueInUse { .. })) => {}
                    (false, Ok(renamed)) => drop(renamed.rename(&queue_name(*queue)).await.map_err(text)?),
                    (in_use, renamed) => return Err(format!("in use: {in_use}, and it is answered {renamed:?}")),
                }
            }
            Op::Delete(pick) => {
                if let Some(id) = self.any_job(*pick) {
                    self.delete(id).await?;
                }
            }
            Op::MoveTo(pick, queue) => {
                if let Some(id) = self.any_job(*pick) {
                    self.move_to(id, *queue).await?;
                }
            }
            Op::SetConcurrency(queue, slots) => {
                if self.model.has_worker(*queue) {
                    self.model.start_worker(*queue, *slots);
                    self.engine.set_concurrency(*queue, *slots);
                }
                let (handle, jobs) = (self.engine.queue(*queue), 1 + slots / 2);
                handle.configure(handle.settings().group_concurrency(jobs as u32)).await.map_err(text)?;
                self.model.set_group_concurrency(*queue, jobs);
            }
            Op::SetMaxRunning(jobs) => {
                self.model.set_max_running(*jobs);
                self.engine.pond.set_max_running(*jobs).map_err(text)?;
            }
            Op::Advance(millis) => {
                self.model.advance(*millis);
                self.engine.clock.advance(std::time::Duration::from_millis(*millis));
            }
            Op::JumpWall(by) => {
                let wall = self.engine.wall().as_millis().saturating_add_signed(*by);
                self.model.set_wall(wall);
                self.engine.clock.set_wall(Timestamp::from_millis(wall));
            }
            Op::Reopen => {
                self.engine = self.engine.reopen(self.model.max_running()).await;
                let wall = self.engine.wall().as_millis();
                self.model.closed(0, wall);
            }
            Op::Crash => self = self.away(true, 0, 0).await?,
            Op::Away { kill, down, jump } => self = self.away(*kill, *down, *jump).await?,
        }
        self.compare(torn).await?;
        Ok(self)
    }

    async fn away(mut self, kill: bool, down: u64, jump: i64) -> Step {
        if kill {
            // The file then knows the present time.
            self.engine.commit_something().await;
        }
        let wall = (self.engine.wall().as_millis() + down).saturating_add_signed(jump);
        let meanwhile = |clock: &millpond::testing::ManualClock| {
            clock.advance(std::time::Duration::from_millis(down));
            clock.set_wall(Timestamp::from_millis(wall));
        };
        self.engine = self.engine.away(kill, self.model.max_running(), meanwhile).await;
        if kill {
            let jobs = self.engine.jobs();
            self.model.crashed(|id| jobs.get(&id).map(|job| job.errors.len()), down, wall)?;
        } else {
            self.model.closed(down, wall);
        }
        Ok(self)
    }

    async fn publish(&mut self, message: &Message) -> Check {
        let Message { spec, key, tx } = message.clone();
        let number = self.numbers(1).start;
        let (job, key_text) = (self.job(&spec).header(NUMBER, number.to_string()), ROUTING_KEYS[key]);
        let answer = match tx {
            None => self.engine.topic().publish(key_text, job).await,
            Some((to, pattern, fate)) => {
                let published = self.engine.pond.transaction(move |tx| {
                    tx.bind(TOPIC, binding(to, pattern))?;
                    let published = tx.publish(TOPIC, key_text, job.clone())?;
                    match fate {
                        Fate::Commits => Ok(published),
                        Fate::Errs => Err(ON_PURPOSE.into()),
                        Fate::Panics => panic!("{ON_PURPOSE}"),
                    }
                });
                match (fate, published.await) {
                    (Fate::Commits, published) => {
                        self.model.bind(to, pattern);
                        published
                    }
                    (_, Err(Error::Aborted { .. })) => return self.compare_bindings(),
                    (fate, published) => return Err(format!("{fate:?} was answered {published:?}")),
                }
            }
        };
        let (expected, published) = match (self.model.routed(key), answer) {
            (Some(expected), Ok(published)) => (expected, published),
            (None, Err(Error::NoSuchTopic { .. })) => return Ok(()),
            (expected, answer) => return Err(format!("expected {expected:?}, got {answer:?}")),
        };
        let (queues, streams): (Vec<_>, Vec<_>) = expected.iter().copied().partition(|to| *to < QUEUES);
        let Published { mut jobs, entries, .. } = published;
        let names: Vec<_> = jobs.iter().map(|delivery| delivery.queue.to_string()).collect();
        expect("queues", names, queues.iter().map(|queue| queue_name(*queue)).collect())?;
        let names: Vec<_> = entries.iter().map(|entry| entry.stream.to_string()).collect();
        expect("streams", names, streams.iter().map(|to| stream_name(to - QUEUES)).collect())?;
        let specs: Vec<_> = streams.iter().map(|to| EntrySpec { stream: to - QUEUES, key: spec.group }).collect();
        for (entry, spec) in entries.iter().zip(&specs) {
            self.appended(vec![entry.offset], std::slice::from_ref(spec), number..number + 1)?;
        }
        // The model takes ids as they were given out.
        jobs.sort_by_key(|delivery| delivery.job.id);
        for delivery in jobs {
            let queue = queues.iter().copied().find(|queue| queue_name(*queue) == *delivery.queue);
            self.model.insert(delivery.job.id.get(), &JobSpec { queue: queue.expect("compared above"), ..spec })?;
        }
        self.compare_bindings()
    }

    fn compare_bindings(&self) -> Check {
        let expected = self.model.bindings().map(|bindings| {
            let mut bindings: Vec<_> = bindings.iter().map(|(queue, pattern)| binding(*queue, *pattern)).collect();
            bindings.sort();
            bindings
        });
        expect("bindings", self.engine.topic().bindings().ok(), expected)
    }

    fn job(&self, spec: &JobSpec) -> NewJob {
        new_job(spec, self.engine.wall())
    }

    fn any_job(&self, pick: usize) -> Option<u64> {
        nth(&self.model.jobs.keys().copied().collect(), pick)
    }

    fn inserted(&mut self, ids: Vec<Enqueued>, specs: &[JobSpec]) -> Check {
        expect("ids", ids.len(), specs.len())?;
        ids.iter().zip(specs).try_for_each(|(id, spec)| self.model.insert(id.id.get(), spec))
    }

    /// Several calls that were made at once inserted these jobs.
    fn inserted_at_once(&mut self, ids: Vec<Enqueued>, specs: &[JobSpec]) -> Check {
        self.inserted(ids.clone(), specs)?;
        if self.engine.moves_little {
            ids.iter().for_each(|id| self.model.came_later(id.id.get()));
        }
        Ok(())
    }

    async fn answer(&mut self, id: u64, answer: Answer) {
        self.model.answered(id, answer);
        self.engine.answer(id, answer).await;
    }

    fn guard(&mut self, tx: &Tx) -> Check {
        let mut guard = self.engine.pond.begin_write().map_err(text)?;
        let rows = self.next_row..self.next_row + u64::from(tx.rows);
        self.next_row = rows.end;
        let mut ids = Vec::new();
        for row in rows.clone() {
            guard.open_table(ROWS).unwrap().insert(row, 1).unwrap();
        }
        for spec in &tx.jobs {
            ids.push(guard.enqueue(&queue_name(spec.queue), self.job(spec)).map_err(text)?);
        }
        let numbers = self.numbers(tx.entries.len());
        for (entry, n) in tx.entries.iter().zip(numbers.clone()) {
            guard.append(&stream_name(entry.stream), new_entry(entry.key, n)).map_err(text)?;
        }
        if tx.fate == Fate::Commits {
            guard.commit().map_err(text)?;
            self.model.rows.extend(rows);
            tx.entries.iter().zip(numbers).for_each(|(entry, n)| _ = self.model.append(entry, n));
            self.inserted(ids, &tx.jobs)?;
        }
        Ok(())
    }

    /// Polls the calls together, in order, so that they share commits.
    async fn burst(&mut self, calls: &[Call]) -> Check {
        let wall = self.engine.wall();
        let mut commits = Vec::new();
        let mut rows = Vec::new();
        let mut numbers = Vec::new();
        for call in calls {
            match call {
                Call::Enqueue(spec) => {
                    rows.push(Vec::new());
                    numbers.push(0..0);
                    let commit = self.engine.pond.enqueue_all([(queue_name(spec.queue), self.job(spec))]);
                    commits.push(answers_with(async move { Ok((commit.await?, Vec::new())) }));
                }
                Call::Append(entry) => {
                    rows.push(Vec::new());
                    numbers.push(self.numbers(1));
                    let new = new_entry(entry.key, numbers[numbers.len() - 1].start);
                    let commit = self.engine.stream(entry.stream).append(new);
                    commits.push(answers_with(async move { Ok((Vec::new(), vec![commit.await?])) }));
                }
                Call::Tx(tx) => {
                    let mine: Vec<u64> = (0..u64::from(tx.rows)).map(|n| self.next_row + n).collect();
                    self.next_row += u64::from(tx.rows);
                    rows.push(mine.clone());
                    numbers.push(self.numbers(tx.entries.len()));
                    let numbers = numbers[numbers.len() - 1].clone();
                    let Tx { jobs, entries, fate, .. } = tx.clone();
                    commits.push(answers_with(self.engine.pond.transaction(move |tx| {
                        mine.iter().try_for_each(|row| write_row(tx, *row))?;
                        let (mut ids, mut offsets) = (Vec::new(), Vec::new());
                        for spec in &jobs {
                            ids.push(tx.enqueue(&queue_name(spec.queue), new_job(spec, wall))?);
                        }
                        for (entry, n) in entries.iter().zip(numbers.clone()) {
                            offsets.push(tx.append(&stream_name(entry.stream), new_entry(entry.key, n))?);
                        }
                        match fate {
                            Fate::Commits => Ok((ids, offsets)),
                            Fate::Errs => Err(ON_PURPOSE.into()),
                            Fate::Panics => panic!("{ON_PURPOSE}"),
                        }
                    })));
                }
            }
        }
        for (((call, rows), numbers), answer) in calls.iter().zip(rows).zip(numbers).zip(all(commits).await) {
            match (call, answer) {
                (Call::Enqueue(spec), Ok((ids, _))) => self.inserted_at_once(ids, std::slice::from_ref(spec))?,
                (Call::Append(entry), Ok((_, offsets))) => {
                    self.appended(offsets, std::slice::from_ref(entry), numbers)?;
                }
                (Call::Tx(tx), Ok((ids, offsets))) if tx.fate == Fate::Commits => {
                    self.inserted_at_once(ids, &tx.jobs)?;
                    self.appended(offsets, &tx.entries, numbers)?;
                    self.model.rows.extend(rows);
                }
                (Call::Tx(tx), Err(Error::Aborted { .. })) if tx.fate != Fate::Commits => {}
                (call, answer) => return Err(format!("{call:?} was answered {answer:?}")),
            }
        }
        Ok(())
    }

    /// Whether the call was carried out. An error if that is wrong, or if it was refused in the wrong way.
    fn refused(&self, id: u64, answer: Result<bool, Error>) -> Result<bool, String> {
        match (self.model.refusal(id), answer) {
            (None, Ok(true)) => Ok(true),
            (Some(state), Err(Error::NotAllowed { state: named, .. })) if state == named => Ok(false),
            (refusal, answer) => Err(format!("expected refusal {refusal:?} for job {id}, got {answer:?}")),
        }
    }

    async fn cancel(&mut self, id: u64) -> Check {
        let answer = self.engine.pond.cancel(JobId::new(id), ON_PURPOSE).await.map_err(text)?;
        let expected = match self.model.refusal(id) {
            None => CancelOutcome::Cancelled,
            Some(State::Running) => CancelOutcome::Requested,
            Some(state) => CancelOutcome::AlreadyEnded(state),
        };
        match answer {
            CancelOutcome::Cancelled => self.model.cancel(id),
            CancelOutcome::Requested => self.model.request_cancel(id),
            _ => {}
        }
        expect("cancel", answer, expected)
    }

    async fn update(&mut self, id: u64, priority: Option<u8>, run_at: Option<u64>) -> Check {
        let mut patch = JobPatch::new();
        if let Some(priority) = priority {
            patch = patch.priority(Priority::new(priority).unwrap());
        }
        if let Some(run_at) = run_at {
            patch = patch.run_at(at(run_at));
        }
        let answer = self.engine.pond.update(JobId::new(id), patch).await;
        if self.refused(id, answer.map(|()| true))? {
            self.model.update(id, priority, run_at);
        }
        Ok(())
    }

    async fn delete(&mut self, id: u64) -> Check {
        match (self.model.refusal(id), self.engine.pond.delete(JobId::new(id)).await) {
            (Some(State::Running), Err(Error::NotAllowed { state: State::Running, .. })) => Ok(()),
            (refusal, Ok(())) if refusal != Some(State::Running) => {
                self.model.delete(id);
                Ok(())
            }
            (refusal, answer) => Err(format!("job {id} is {refusal:?}, and the call to delete it got {answer:?}")),
        }
    }

    async fn move_to(&mut self, id: u64, queue: usize) -> Check {
        let refusal = self.model.refusal(id).filter(|state| *state != State::Dead);
        match (refusal, self.engine.pond.move_to(JobId::new(id), &queue_name(queue)).await) {
            (Some(state), Err(Error::NotAllowed { state: named, .. })) if state == named => Ok(()),
            (None, Ok(moved)) => expect("moved", moved, self.model.move_to(id, queue)),
            (refusal, answer) => Err(format!("job {id} is {refusal:?}, and the call to move it got {answer:?}")),
        }
    }

    // --- comparing ----------------------------------------------------------------------------

    async fn compare(&mut self, torn: bool) -> Check {
        self.engine.until_at_rest().await?;
        self.compare_bindings()?;
        let jobs = self.engine.jobs();
        for spec in std::mem::take(&mut self.model.awaited) {
            let new = jobs.keys().find(|id| **id > self.model.last_id).copied();
            self.model.insert_by_an_end(new.ok_or("a job that a handler enqueued is missing")?, &spec)?;
        }
        self.model.expire();
        self.model.promote_as_fresh();
        let mut recovering = BTreeMap::new();
        for id in self.model.may_recover() {
            if let Ok(Explanation::Recovering { wait, .. }) = self.engine.pond.explain(JobId::new(id)) {
                // No job is delayed for longer than the suspects of many deaths are.
                if wait > RECOVERS_MOST {
                    return Err(format!("job {id} is to wait for {wait:?} because of a crash"));
                }
                recovering.insert(id, (wait.as_nanos().div_ceil(1_000_000) as u64).max(1));
            }
        }
        for id in self.model.may_be_passed_over(READ_AGAIN_AFTER) {
            if let Ok(Explanation::RateLimited { wait, .. }) = self.engine.pond.explain(JobId::new(id)) {
                // If it is to wait for longer, its queue is limited too, or the rules below refuse it.
                let wait = (wait.as_nanos().div_ceil(1_000_000) as u64).max(1);
                if wait <= READ_AGAIN_AFTER {
                    recovering.insert(id, wait);
                }
            }
        }
        self.model.recovers(recovering);
        self.model.dispatched(&self.engine.take_starts(), torn)?;
        self.model.expire();
        self.model.pruned(&jobs.keys().copied().collect());

        let shown: BTreeMap<u64, _> = jobs
            .iter()
            .map(|(id, job)| {
                let seen = (job.state, job.attempts, job.errors.len(), job.priority.get(), job.queue.clone());
                (*id, (seen, reported(*id, &job.logs)))
            })
            .collect();
        let expected: BTreeMap<u64, _> = self
            .model
            .jobs
            .iter()
            .map(|(id, job)| {
                let (state, attempts) = job.shown();
                let logs = job.logs.iter().map(|attempt| (*attempt, format!("{id} {attempt}"), Some(*id))).collect();
                (*id, ((state, attempts, job.errors, job.priority, queue_name(job.queue)), logs))
            })
            .collect();
        for id in shown.keys().chain(expected.keys()) {
            if shown.get(id) != expected.get(id) {
                return Err(format!(
                    "job {id} is {:?}, expected {:?}: {:?}",
                    shown.get(id),
                    expected.get(id),
                    self.model.jobs.get(id)
                ));
            }
        }
        let tagged = self.model.jobs.iter().filter(|(_, job)| job.is_tagged);
        expect("found by tag", self.engine.tagged(), tagged.map(|(id, _)| *id).collect())?;
        expect("parked handlers", self.engine.parked(), self.model.running())?;
        expect("rows", self.engine.rows(), self.model.rows.iter().map(|row| (*row, 1)).collect())?;
        (0..STREAMS).try_for_each(|stream| self.compare_stream(stream))?;
        (0..QUEUES).try_for_each(|queue| self.compare_counts(queue))
    }

    fn compare_counts(&self, queue: usize) -> Check {
        let counts = self.engine.queue(queue).counts();
        let of = |state| {
            let jobs = self.model.jobs.values().filter(|job| job.queue == queue);
            jobs.filter(|job| job.shown().0 == state).count() as u64
        };
        let seen = [counts.pending, counts.running, counts.scheduled, counts.retrying];
        expect("open", seen, [State::Pending, State::Running, State::Scheduled, State::Retrying].map(of))?;
        let seen = [counts.completed, counts.dead, counts.cancelled];
        expect("ended", seen, [State::Completed, State::Dead, State::Cancelled].map(of))?;
        let totals = &self.model.totals[queue];
        let seen = [counts.enqueued_total, counts.completed_total, counts.dead_total, counts.cancelled_total];
        expect("totals", seen, [totals.enqueued, totals.completed, totals.dead, totals.cancelled])
    }

    // --- the end ------------------------------------------------------------------------------

    /// Resumes everything and lets every handler answer that it is done: every job must then end.
    pub async fn drain(mut self) -> Check {
        for queue in 0..QUEUES {
            self = self.step(&Op::PauseQueue(queue, false)).await?;
            for group in 0..crate::ops::GROUPS {
                self = self.step(&Op::PauseGroup(queue, group, false)).await?;
            }
            self = self.step(&Op::StartWorker(queue)).await?;
        }
        loop {
            while !self.model.running().is_empty() {
                self = self.step(&Op::Answer(0, Answer::Done)).await?;
            }
            if let Some(wait) = self.model.next_event() {
                self = self.step(&Op::Advance(wait)).await?;
                continue;
            }
            // The jobs behind a dead letter go on without it.
            let Some((queue, group)) = self.model.held_group() else { break };
            self = self.step(&Op::PauseGroup(queue, group, false)).await?;
        }
        // Retention runs every half minute.
        for millis in [KEPT, 31_000, 31_000] {
            self = self.step(&Op::Advance(millis)).await?;
        }
        if let Some(id) = self.model.kept_for_too_long(31_000) {
            return Err(format!("job {id} is kept for too long: {:?}", self.model.jobs[&id]));
        }
        let open = self.model.jobs.iter().find(|(_, job)| !job.shown().0.is_final());
        match open {
            Some((id, job)) => Err(format!("job {id} never ends: {job:?}")),
            None => Ok(()),
        }
    }
}

/// What a call of a burst is answered: ids and offsets.
type Answered = Result<(Vec<Enqueued>, Vec<u64>), Error>;

fn answers_with(
    answer: impl Future<Output = Answered> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Answered> + Send>> {
    Box::pin(answer)
}

/// Polls all of them in order until all are answered.
async fn all(mut commits: Vec<Pin<Box<dyn Future<Output = Answered> + Send>>>) -> Vec<Answered> {
    let mut answers: Vec<Option<Answered>> = commits.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (commit, answer) in commits.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(ready) = commit.as_mut().poll(cx)
            {
                *answer = Some(ready);
            }
        }
        if answers.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

fn nth(ids: &BTreeSet<u64>, pick: usize) -> Option<u64> {
    (!ids.is_empty()).then(|| *ids.iter().nth(pick % ids.len()).expect("within"))
}

/// The attempt, the lines and the progress of each kept log.
fn reported(id: u64, logs: &[AttemptLog]) -> Vec<(u32, String, Option<u64>)> {
    let one = |log: &AttemptLog| {
        assert!(log.ended_at.is_some() && log.dropped == 0, "job {id}: {log:?}");
        let lines: Vec<_> = log.lines.iter().map(|line| line.text.clone()).collect();
        (log.attempt, lines.join("|"), log.progress.as_ref().map(|progress| progress.done))
    };
    logs.iter().map(one).collect()
}

pub fn text(error: Error) -> String {
    format!("{error:?}")
}

pub fn expect<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Check {
    if seen == expected { Ok(()) } else { Err(format!("{what}: {seen:?}, expected {expected:?}")) }
}
