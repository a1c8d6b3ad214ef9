//! Remembers in which span each waiting job was enqueued.

use std::collections::VecDeque;

use crate::job::{Caller, IdMap, JobId};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// How many jobs' callers are remembered at most, at some 60 bytes each. The oldest are forgotten first.
const CALLERS_MAX: usize = 10_000;

/// The spans in which the jobs that wait were enqueued. Dispatch can read any of these jobs from the file, which does
/// not store the span: a job that waits for its time, for a retry or behind other jobs, or that was committed while a
/// page of the file was read. Empty unless the application uses spans.
#[derive(Default)]
pub(super) struct Callers {
    /// Something was remembered, ever.
    used: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_job: IdMap<(u64, Caller)>,
    /// In the order in which they were remembered, each with a number of its own. Some may have been removed from `by_job`
    /// since, or remembered again.
    order: VecDeque<(u64, JobId)>,
    next: u64,
}

impl Known {
    fn remember(&mut self, id: JobId, caller: Caller) {
        self.next += 1;
        self.by_job.insert(id, (self.next, caller));
        self.order.push_back((self.next, id));
        while self.by_job.len() > CALLERS_MAX {
            self.forget_the_oldest();
        }
        // Jobs that were removed from `by_job` are still in `order`: remove them once they could be half of it.
        if self.order.len() > 2 * CALLERS_MAX {
            let by_job = &self.by_job;
            self.order.retain(|(number, id)| by_job.get(id).is_some_and(|(of, _)| of == number));
        }
    }

    fn forget_the_oldest(&mut self) {
        if let Some((number, id)) = self.order.pop_front()
            && self.by_job.get(&id).is_some_and(|(of, _)| *of == number)
        {
            self.by_job.remove(&id);
        }
    }
}

impl Callers {
    pub fn remember(&self, callers: impl IntoIterator<Item = (JobId, Caller)>) {
        let mut callers = callers.into_iter().peekable();
        if callers.peek().is_none() {
            return;
        }
        self.used.store(true, Ordering::SeqCst);
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        callers.for_each(|(id, caller)| known.remember(id, caller));
    }

    /// Removes and returns the span in which this job was enqueued, if it is remembered.
    pub fn take(&self, id: JobId) -> Option<Caller> {
        if !self.used.load(Ordering::SeqCst) {
            return None;
        }
        self.known.lock().unwrap_or_else(|e| e.into_inner()).by_job.remove(&id).map(|(_, caller)| caller)
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
        assert!(known.order.len() <= 2 * CALLERS_MAX && known.by_job.len() <= CALLERS_MAX);
    }

    #[test]
    fn jobs_that_come_and_go_do_not_push_out_one_that_waits() {
        let callers = Callers::default();
        let caller = |span| Caller { name: "request", span };
        let waits = JobId::new(1);
        callers.remember([(waits, caller(1))]);
        for n in 0..5 * CALLERS_MAX as u64 {
            let id = JobId::new(2 + n % 7);
            callers.remember([(id, caller(n))]);
            // One of them is remembered twice, as a job that is retried.
            if n % 7 > 0 {
                assert_eq!(callers.take(id), Some(caller(n)));
            }
        }
        assert_eq!(callers.take(waits), Some(caller(1)));
        assert!(callers.known.lock().unwrap().order.len() <= 2 * CALLERS_MAX);
    }
}
