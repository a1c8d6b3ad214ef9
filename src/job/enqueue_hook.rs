//! The application's hooks that see and change each new job before it is stored.

use super::new_job::NewJob;
use crate::error::panics::{self, Quiet};
use crate::error::{BoxError, Error};

type Hook = dyn Fn(&str, NewJob) -> Result<NewJob, BoxError> + Send + Sync;

/// The hooks of an open queue, in the order in which they are called.
#[derive(Default)]
pub(crate) struct EnqueueHooks(Vec<Quiet<Box<Hook>>>);

impl EnqueueHooks {
    pub fn add(&mut self, hook: impl Fn(&str, NewJob) -> Result<NewJob, BoxError> + Send + Sync + 'static) {
        self.0.push(Quiet::new(Box::new(hook)));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the job as the hooks have changed it.
    ///
    /// # Errors
    /// [`Error::EnqueueRefused`] with the error of a hook, or with the message of its panic.
    pub fn apply(&self, queue: &str, mut job: NewJob) -> Result<NewJob, Error> {
        for hook in &self.0 {
            let (kind, generation) = (job.kind().to_owned(), job.generation());
            let changed = panics::catch(|| hook(queue, job))
                .unwrap_or_else(|panic| Err(format!("the hook panicked: {}", panic.text()).into()));
            let changed = changed.map_err(|source| Error::EnqueueRefused { queue: queue.to_owned(), kind, source })?;
            // Also a different job that the hook returns counts as a follow-up job.
            job = changed.with_generation(generation);
        }
        Ok(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follow_up_job_stays_one_whatever_the_hook_returns() {
        let mut hooks = EnqueueHooks::default();
        hooks.add(|_, _| Ok(NewJob::json("other", &7)));
        let job = hooks.apply("q", NewJob::json("next", &7).with_generation(3)).unwrap();
        assert_eq!((job.kind(), job.generation()), ("other", 3));
        let job = hooks.apply("q", NewJob::json("next", &7)).unwrap();
        assert_eq!(job.generation(), 0);
    }
}
