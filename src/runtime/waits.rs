//! The callers that wait for the ends of jobs.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::job::{EndedJob, IdMap, JobId};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The callers that wait for the ends of jobs, by job.
#[derive(Default)]
pub(super) struct Waits {
    /// How many jobs are waited for. While it is 0, commits note no ends.
    jobs: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_job: IdMap<Vec<(u64, oneshot::Sender<EndedJob>)>>,
    next: u64,
}

/// A caller that waits. When it is dropped, nothing of it is left.
pub(super) struct Wait {
    waits: Arc<Waits>,
    id: JobId,
    number: u64,
    pub end: oneshot::Receiver<EndedJob>,
}

impl Waits {
    /// Registers a caller: commits that begin afterwards note the end of the job for it.
    pub fn register(self: &Arc<Self>, id: JobId) -> Wait {
        let (tell, end) = oneshot::channel();
        let number = self.change(|inner| {
            inner.next += 1;
            inner.by_job.entry(id).or_default().push((inner.next, tell));
            inner.next
        });
        Wait { waits: self.clone(), id, number, end }
    }

    /// Whether a commit has to note the jobs that it ends.
    pub fn has_any(&self) -> bool {
        self.jobs.load(Ordering::SeqCst) > 0
    }

    /// The jobs that are waited for.
    pub fn ids(&self) -> Vec<JobId> {
        if !self.has_any() {
            return Vec::new();
        }
        self.inner.lock().unwrap_or_else(|e| e.into_inner()).by_job.keys().copied().collect()
    }

    /// Tells the callers that wait for these jobs.
    pub fn tell(&self, ends: Vec<EndedJob>) {
        if ends.is_empty() || !self.has_any() {
            return;
        }
        let told = self.change(|inner| {
            let waiting = |ended: EndedJob| inner.by_job.remove(&ended.id).map(|callers| (callers, ended));
            ends.into_iter().filter_map(waiting).collect::<Vec<_>>()
        });
        // Outside the lock, because a waker may be code of the application.
        for (callers, ended) in told {
            for (_, caller) in callers {
                let _ = caller.send(ended.clone());
            }
        }
    }

    /// No job ends any more: the callers that wait get an error.
    pub fn close(&self) {
        let callers = self.change(|inner| std::mem::take(&mut inner.by_job));
        drop(callers);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(|e| e.into_inner());
        let changed = change(&mut inner);
        self.jobs.store(inner.by_job.len(), Ordering::SeqCst);
        changed
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Self { id, number, .. } = *self;
        self.waits.change(|inner| {
            if let Some(callers) = inner.by_job.get_mut(&id) {
                callers.retain(|(other, _)| *other != number);
                if callers.is_empty() {
                    inner.by_job.remove(&id);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_has_stopped_waiting_leaves_nothing() {
        let waits = Arc::new(Waits::default());
        let (first, second) = (waits.register(JobId::new(1)), waits.register(JobId::new(1)));
        assert!(waits.has_any());
        drop(first);
        assert!(waits.has_any());
        drop(second);
        assert!(!waits.has_any());
    }
}
