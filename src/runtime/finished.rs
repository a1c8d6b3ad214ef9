//! Waiting for the end of a job.

use std::sync::Arc;

use super::commit::Commit;
use super::engine::Engine;
use crate::error::Error;
use crate::job::{EndedJob, JobId};
use crate::writer::call;

impl Engine {
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
