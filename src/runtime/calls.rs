//! Calls that write: what callers ask of the engine, and how they wait for the writer's answer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::commit::{self, Commit};
use super::engine::Engine;
use crate::error::Error;
use crate::handler::{Inside, handler_here};
use crate::job::{Enqueued, JobId, QueueId};
use crate::storage::{Batch, KnownQueue, Prepared, Target};
use crate::writer::{Answer, Command, Enqueue, NoteId, Step, WaitingHandler, call};

impl Engine {
    /// Stores jobs in one commit and answers for each of them.
    pub fn enqueue(self: &Arc<Self>, jobs: Result<Vec<Prepared>, Error>) -> Commit<Vec<Enqueued>> {
        self.enqueue_noting(jobs, None)
    }

    /// [`Self::enqueue`], where `note` learns the ids before the commit.
    pub(super) fn enqueue_noting(
        self: &Arc<Self>,
        jobs: Result<Vec<Prepared>, Error>,
        note: Option<NoteId>,
    ) -> Commit<Vec<Enqueued>> {
        let engine = self.clone();
        Commit::new(async move {
            let jobs = jobs?;
            let count = jobs.len() as u64;
            if count == 0 {
                return Ok(Vec::new());
            }
            let bytes = jobs.iter().map(|job| job.bytes.len()).sum();
            let described = tracing::enabled!(tracing::Level::DEBUG).then(|| describe(&engine, &jobs));
            let (reply, answer) = oneshot::channel();
            let handler = handler_here().map(|inside| engine.waiting_handler(inside));
            engine.submit(Enqueue::new(jobs, reply).for_handler(handler).noting_ids(note), bytes).await?;
            let answers = answer.await.map_err(|_| engine.unanswered())??.list(count);
            log_enqueued(&answers, described.into_iter().flatten());
            Ok(answers)
        })
    }

    /// How the handler that is being polled on this thread may wait for room in a full queue.
    pub(super) fn waiting_handler(&self, inside: Inside) -> WaitingHandler {
        let Inside { executor, queue, slots, blocking } = inside;
        let is_ours = executor == self.executor.running.identity();
        // An async handler that blocks its thread may keep the handlers that would make room from running.
        let blocks_the_runtime = !blocking && commit::is_blocked();
        let (max_running, blocking_threads) = self.scheduler().limits();
        WaitingHandler {
            queue: (is_ours && !blocks_the_runtime).then_some(queue),
            slots,
            blocking,
            most: max_running / 2,
            most_blocking: blocking_threads / 2,
        }
    }

    /// Runs `write` in the writer's batch, on behalf of a caller. What it holds is small: see [`Self::change_with`].
    pub fn change<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        self.change_with(0, write)
    }

    /// [`Self::change`] for a `write` that holds a payload of `bytes` bytes, which count as waiting for the writer.
    pub fn change_with<T: Send + 'static>(
        self: &Arc<Self>,
        bytes: usize,
        write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            let (step, answer) = call(write);
            engine.answered(step, bytes, answer).await
        })
    }

    /// [`Self::change`] for a `write` that moves many jobs.
    pub fn change_in_bulk<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            let (step, answer) = call(write);
            engine.answered(step.in_bulk(), 0, answer).await
        })
    }

    /// [`Self::change`] for one waiting job, which is not started meanwhile. This thread searches for the job, to save the
    /// writer's time. `write` holds a payload of `bytes` bytes.
    pub fn change_waiting<T: Send + 'static>(
        self: &Arc<Self>,
        id: JobId,
        bytes: usize,
        mut write: impl FnMut(&mut Batch<'_>, Target) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            engine.check_process()?;
            let (mut withdraw, reinstate) = engine.withdrawal(vec![(engine.queue_of(id), id)]);
            let (step, answer) = call(move |batch| write(batch, withdraw()[0]));
            engine.answered(step.then(reinstate), bytes, answer).await
        })
    }

    /// [`Self::change_waiting`] for a chunk of jobs, each with the queue in which a reader has found it. The step is one that
    /// moves many jobs.
    pub fn change_chunk<T: Send + 'static>(
        self: &Arc<Self>,
        jobs: Vec<(QueueId, JobId)>,
        mut write: impl FnMut(&mut Batch<'_>, &[Target]) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            engine.check_process()?;
            let jobs = jobs.into_iter().map(|(queue, id)| (KnownQueue::Found(queue), id)).collect();
            let (mut withdraw, reinstate) = engine.withdrawal(jobs);
            let (step, answer) = call(move |batch| write(batch, &withdraw()));
            engine.answered(step.then(reinstate).in_bulk(), 0, answer).await
        })
    }

    /// Keeps jobs from being started while a step changes them: what the step calls in the batch to withdraw them from the
    /// scheduler, and what it calls before its answer to reinstate those that still wait.
    fn withdrawal(
        self: &Arc<Self>,
        jobs: Vec<(KnownQueue, JobId)>,
    ) -> (impl FnMut() -> Vec<Target> + Send + 'static, impl FnOnce() + Send + 'static) {
        let ids: Vec<_> = jobs.iter().map(|(_, id)| *id).collect();
        let (withdrawer, reinstater) = (self.clone(), self.clone());
        let withdraw = move || {
            let mut scheduler = withdrawer.scheduler();
            let target = |&(queue, id): &(KnownQueue, JobId)| {
                let taken = if scheduler.withdraw(id) { None } else { scheduler.order_of_handed_out(id) };
                Target { id, queue, taken }
            };
            jobs.iter().map(target).collect()
        };
        let reinstate = move || {
            let mut scheduler = reinstater.scheduler();
            ids.iter().for_each(|id| scheduler.reinstate(*id));
            drop(scheduler);
            reinstater.wake_dispatcher();
        };
        (withdraw, reinstate)
    }

    /// Sends a step to the writer, and waits for its answer.
    pub(super) async fn answered<T>(
        self: &Arc<Self>,
        step: Box<dyn Step>,
        bytes: usize,
        answer: Answer<T>,
    ) -> Result<T, Error> {
        self.submit(step, bytes).await?;
        self.note_damage(answer.await.map_err(|_| self.unanswered())?)
    }

    pub(super) fn queue_of(&self, id: JobId) -> KnownQueue {
        let searched = self.store.reader().and_then(|reader| Ok(reader.queue_of(&self.store.catalog, id)?));
        searched.unwrap_or_else(|error| {
            tracing::debug!(job = %id, %error, "the writer has to search for a job");
            KnownQueue::NotSearched
        })
    }

    /// Has a step committed: on this thread if it may, or else by the writer's thread.
    pub async fn submit(self: &Arc<Self>, step: Box<dyn Step>, bytes: usize) -> Result<(), Error> {
        self.check_process()?;
        self.check_writable()?;
        match self.commit_on_this_thread(Command::Step(step)) {
            Ok(()) => Ok(()),
            Err(command) => self.to_writer.submit(command, bytes).await,
        }
    }

    /// Makes the commit of `command` on this thread, if the caller blocks for it and nothing else is to be written.
    ///
    /// # Errors
    /// The command, if the writer's thread is to make the commit.
    fn commit_on_this_thread(self: &Arc<Self>, command: Command) -> Result<(), Command> {
        if !commit::is_blocked() || self.to_writer.is_closed() {
            return Err(command);
        }
        let Some(mut turn) = self.commit_turn.take_if_free() else { return Err(command) };
        turn.write_for(command);
        if turn.runs_again_in().is_some() {
            // The disk has failed: wake the writer's thread, so that it opens the file again.
            let _ = self.to_writer.between(|| {});
        }
        let is_forked = turn.is_forked();
        drop(turn);
        if !is_forked {
            self.pump();
        }
        Ok(())
    }

    /// The error for a caller whose answer was dropped: the file was closed before the writer reached the command, or a
    /// panic has dropped the command.
    pub fn unanswered(&self) -> Error {
        if self.is_stopping() || self.is_closed() {
            return Error::Closed;
        }
        Error::OutcomeUnknown { source: "the writer gave up on the file in the middle of it".into() }
    }
}

/// Queue, kind and bytes of each job.
fn describe(engine: &Engine, jobs: &[Prepared]) -> Vec<(Arc<str>, Arc<str>, usize)> {
    let describe = |job: &Prepared| {
        let (queue, kind) = job.queue_and_kind(&engine.store.catalog);
        (queue, kind, job.bytes.len())
    };
    jobs.iter().map(describe).collect()
}

/// Logs in the caller's span, if it has one, so that a job's id leads from the handler's log lines to the caller's.
fn log_enqueued(answers: &[Enqueued], jobs: impl Iterator<Item = (Arc<str>, Arc<str>, usize)>) {
    for (answer, (queue, kind, bytes)) in answers.iter().zip(jobs) {
        tracing::debug!(id = answer.id.get(), queue = &*queue, kind = &*kind, bytes, "enqueued");
    }
}
