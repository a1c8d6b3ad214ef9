//! Waiting for the end of a job.

use std::sync::Arc;

use super::commit::Commit;
use super::engine::Engine;
use crate::error::Error;
use crate::job::{EndedJob, JobId};
use crate::storage::{KnownQueue, Prepared};
use crate::sync::Mutex;
use crate::writer::call;

impl Engine {
    /// Stores a job, and returns it once it has ended. The caller is registered before the commit, so it is told of every end.
    pub fn enqueue_and_wait(self: &Arc<Self>, job: Result<Prepared, Error>) -> Commit<EndedJob> {
        let engine = self.clone();
        Commit::new(async move {
            let (slot, waits) = (Arc::new(Mutex::new(None)), engine.waits.clone());
            let of_step = slot.clone();
            let note = move |id| *of_step.lock().unwrap_or_else(|e| e.into_inner()) = Some(waits.register(id));
            let answer = engine.enqueue_noting(job.map(|job| vec![job]), Some(Box::new(note))).await?[0];
            let wait = slot.lock().unwrap_or_else(|e| e.into_inner()).take();
            let mut wait = wait.expect("the step was applied before it was answered");
            if answer.is_stored() {
                return (&mut wait.end).await.map_err(|_| Error::Closed);
            }
            // The other job can have ended before.
            engine.end_of(answer.id).await
        })
    }

    /// Looks whether jobs that are waited for have ended. A commit that failed can have reached the disk, and nobody was told of
    /// the ends in it.
    pub(super) fn look_for_ends(self: &Arc<Self>) {
        for id in self.waits.ids() {
            self.internally(
                move |batch| batch.ended_job(id, KnownQueue::NotSearched),
                move |engine, result| match result {
                    Ok(None) => {}
                    Ok(Some(ended)) => engine.waits.tell(vec![ended]),
                    Err(Error::NoSuchJob { .. }) => engine.waits.tell(vec![EndedJob { id, queue: 0, record: None }]),
                    Err(error) => tracing::debug!(job = %id, %error, "it is not known whether a job has ended"),
                },
            );
        }
    }

    /// The job, once it has ended. The caller is registered first; then a step of the writer looks whether the job has ended.
    /// Commits before that step have told of their ends or are seen by it, and those after it tell the caller.
    pub fn end_of(self: &Arc<Self>, id: JobId) -> Commit<EndedJob> {
        let engine = self.clone();
        Commit::new(async move {
            engine.check_process()?;
            let mut wait = engine.waits.register(id);
            let queue = engine.queue_of(id);
            let (step, answer) = call(move |batch| batch.ended_job(id, queue));
            match engine.answered(step, 0, answer).await {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => {}
                // It may have ended in the very commit of the step, and not be kept.
                Err(error @ Error::NoSuchJob { .. }) => return wait.end.try_recv().map_err(|_| error),
                Err(error) => return Err(error),
            }
            (&mut wait.end).await.map_err(|_| Error::Closed)
        })
    }
}
