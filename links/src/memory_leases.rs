//! Shared queues of the engine in memory.

use std::time::Duration;

use tokio::time::Instant;

use crate::memory::{Fault, Inner};
use crate::{Destination, Ended, Held, InDoubt, Lease, LeaseId, Leased, MemoryLog, SharedQueue, Unavailable};

/// How long [`MemoryLog::take`] waits for jobs.
const WAIT: Duration = Duration::from_millis(500);

/// What is known of a job that was taken before.
#[derive(Clone, Debug)]
pub(crate) struct LeaseRow {
    deliveries: u32,
    /// When its lease, or the delay before it is taken again, ends.
    until: Instant,
    is_held: bool,
}

impl LeaseRow {
    fn is_held(&self, token: &str) -> bool {
        self.is_held && self.until > Instant::now() && self.deliveries.to_string() == token
    }
}

impl Inner {
    /// Takes jobs. Also returns when the next one can be taken, if one is held now.
    fn take(&mut self, from: &str, max: usize, lease: Duration) -> (Vec<Leased>, Option<Instant>) {
        let (now, mut next, mut taken) = (Instant::now(), None::<Instant>, Vec::new());
        for (job, (to, envelope)) in &self.stored.envelopes {
            if to != from || taken.len() == max {
                continue;
            }
            let row = self.stored.leases.get(job);
            if let Some(until) = row.map(|row| row.until).filter(|until| *until > now) {
                next = Some(next.map_or(until, |next| next.min(until)));
                continue;
            }
            let delivery = row.map_or(0, |row| row.deliveries) + 1;
            let id = LeaseId { job: *job, token: delivery.to_string() };
            taken.push(Leased { id, delivery, envelope: envelope.clone() });
        }
        for Leased { id, delivery, .. } in &taken {
            let row = LeaseRow { deliveries: *delivery, until: now + lease, is_held: true };
            self.stored.leases.insert(id.job, row);
        }
        (taken, next)
    }

    fn held(&mut self, id: &LeaseId) -> Option<&mut LeaseRow> {
        self.stored.leases.get_mut(&id.job).filter(|row| row.is_held(&id.token))
    }
}

impl MemoryLog {
    /// Ends all leases now, as if their times had passed.
    pub fn end_leases(&self) {
        let now = Instant::now();
        self.lock().stored.leases.values_mut().for_each(|row| row.until = now);
        self.grown.notify_waiters();
    }

    /// How many jobs are in a shared queue, those that are taken included.
    pub fn len_of(&self, queue: &SharedQueue) -> usize {
        let of = Destination::Shared(queue.clone()).to_string();
        self.lock().stored.envelopes.values().filter(|(to, _)| *to == of).count()
    }

    /// A call that changes something, and that fails as the test says.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> Result<T, &'static str> {
        let mut inner = self.lock();
        match inner.fault() {
            Some(Fault::Unavailable | Fault::Late) => Err("a fault of the test, and it was not carried out"),
            Some(Fault::AnswerLost) => {
                change(&mut inner);
                Err("a fault of the test, and it was carried out")
            }
            None => Ok(change(&mut inner)),
        }
    }
}

impl Lease for MemoryLog {
    async fn take(
        &self,
        queue: &SharedQueue,
        _: &str,
        max: usize,
        lease: Duration,
    ) -> Result<Vec<Leased>, Unavailable> {
        let from = Destination::Shared(queue.clone()).to_string();
        let deadline = Instant::now() + WAIT;
        loop {
            let grown = self.grown.notified();
            tokio::pin!(grown);
            grown.as_mut().enable();
            let (taken, next) =
                self.change(|inner| inner.take(&from, max, lease)).map_err(|error| Unavailable(error.into()))?;
            if !taken.is_empty() || Instant::now() >= deadline {
                return Ok(taken);
            }
            let until = next.map_or(deadline, |next| next.min(deadline));
            let _ = tokio::time::timeout_at(until, grown).await;
        }
    }

    async fn extend(&self, _: &SharedQueue, held: &[LeaseId], lease: Duration) -> Result<Vec<Held>, Unavailable> {
        let extended = self.change(|inner| {
            let extend = |id: &LeaseId| match inner.held(id) {
                Some(row) => {
                    row.until = Instant::now() + lease;
                    Held::Yours
                }
                None => Held::Lost,
            };
            held.iter().map(extend).collect()
        });
        extended.map_err(|error| Unavailable(error.into()))
    }

    async fn end(&self, _: &SharedQueue, ended: &[LeaseId]) -> Result<Vec<Ended>, InDoubt> {
        let removed = self.change(|inner| {
            let end = |id: &LeaseId| match inner.held(id) {
                Some(_) => {
                    inner.stored.envelopes.remove(&id.job);
                    inner.stored.leases.remove(&id.job);
                    Ended::Ended
                }
                None => Ended::Lost,
            };
            ended.iter().map(end).collect()
        });
        removed.map_err(|error| InDoubt(error.into()))
    }

    async fn give_back(&self, _: &SharedQueue, held: &[LeaseId], after: Duration) -> Result<(), Unavailable> {
        let given = self.change(|inner| {
            for id in held {
                if let Some(row) = inner.held(id) {
                    (row.until, row.is_held) = (Instant::now() + after, false);
                }
            }
        });
        self.grown.notify_waiters();
        given.map_err(|error| Unavailable(error.into()))
    }
}
