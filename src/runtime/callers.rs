use std::collections::VecDeque;

use crate::job::{Caller, IdMap, JobId};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Jobs whose callers are remembered, at most: some 60 bytes each. Those of the oldest are forgotten.
const CALLERS_MAX: usize = 10_000;

/// Who enqueued the jobs that wait. Dispatch may read any of them from the file, which does not know it: one that waits
/// for its time, for a retry, behind others, or that was committed while a page of the file was read. Nothing is here
/// unless the application uses spans.
#[derive(Default)]
pub(super) struct Callers {
    /// Something was remembered, ever.
    used: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_job: IdMap<Caller>,
    /// In the order in which they were remembered; some may have been taken since.
    order: VecDeque<JobId>,
}

impl Callers {
    pub fn remember(&self, callers: impl IntoIterator<Item = (JobId, Caller)>) {
        let mut callers = callers.into_iter().peekable();
        if callers.peek().is_none() {
            return;
        }
        self.used.store(true, Ordering::SeqCst);
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        for (id, caller) in callers {
            known.by_job.insert(id, caller);
            known.order.push_back(id);
            if known.order.len() > CALLERS_MAX
                && let Some(oldest) = known.order.pop_front()
            {
                known.by_job.remove(&oldest);
            }
        }
    }

    /// Who enqueued this job, if that is remembered. It is not any more then.
    pub fn take(&self, id: JobId) -> Option<Caller> {
        if !self.used.load(Ordering::SeqCst) {
            return None;
        }
        self.known.lock().unwrap_or_else(|e| e.into_inner()).by_job.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_and_each_is_taken_once() {
        let callers = Callers::default();
        let caller = |span| Caller { name: "request", span };
        assert_eq!(callers.take(JobId::new(1)), None);
        callers.remember((1..=CALLERS_MAX as u64 + 2).map(|n| (JobId::new(n), caller(n))));
        assert_eq!([1, 2].map(|n| callers.take(JobId::new(n))), [None, None], "the oldest are forgotten");
        assert_eq!(callers.take(JobId::new(3)), Some(caller(3)));
        assert_eq!(callers.take(JobId::new(3)), None);
        let known = callers.known.lock().unwrap();
        assert!(known.order.len() <= CALLERS_MAX && known.by_job.len() <= CALLERS_MAX);
    }
}
