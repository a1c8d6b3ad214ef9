//! The cancels that were requested of running jobs and are durable.

use std::sync::Arc;

use crate::job::{Change, IdMap, JobId};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The jobs whose cancel was requested while a handler had them, until they end.
#[derive(Default)]
pub(super) struct Cancels {
    /// How many there are. Most of the time none, and then nothing takes the lock.
    count: AtomicUsize,
    reasons: Mutex<IdMap<Arc<str>>>,
}

impl Cancels {
    /// Notes requests that are durable. Called before dispatch is told of the commit, so that an attempt that starts
    /// afterwards finds them.
    pub fn note(&self, requests: &[(JobId, Arc<str>)]) {
        if requests.is_empty() {
            return;
        }
        let mut reasons = self.reasons.lock().unwrap_or_else(|e| e.into_inner());
        for (id, reason) in requests {
            reasons.entry(*id).or_insert_with(|| reason.clone());
        }
        self.count.store(reasons.len(), Ordering::SeqCst);
    }

    /// Why the cancel of this job was requested, if it was.
    pub fn reason(&self, id: JobId) -> Option<Arc<str>> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.reasons.lock().unwrap_or_else(|e| e.into_inner()).get(&id).cloned()
    }

    /// Forgets the requests of jobs that have ended.
    pub fn forget_settled(&self, changes: &[Change]) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut reasons = self.reasons.lock().unwrap_or_else(|e| e.into_inner());
        for change in changes {
            if let Change::Settled { id } = change {
                reasons.remove(id);
            }
        }
        self.count.store(reasons.len(), Ordering::SeqCst);
    }

    /// Forgets the request of a job that has ended while it waited.
    pub fn forget(&self, id: JobId) {
        let mut reasons = self.reasons.lock().unwrap_or_else(|e| e.into_inner());
        reasons.remove(&id);
        self.count.store(reasons.len(), Ordering::SeqCst);
    }

    /// The jobs whose cancel is requested.
    pub fn ids(&self) -> Vec<JobId> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        self.reasons.lock().unwrap_or_else(|e| e.into_inner()).keys().copied().collect()
    }
}
