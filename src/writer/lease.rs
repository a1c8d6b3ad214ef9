//! The writer's transaction, lent to a caller that writes with it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;

use super::command::Command;
use super::committed::Committed;
use super::occupied::{Occupant, Occupation};
use super::state::Writer;
use super::step::Step;
use crate::error::Error;
use crate::metrics::CommitCost;
use crate::storage::{Batch, Claim, RawTransaction};
use crate::sync::channel::{self, Receiver, RecvTimeoutError, Sender};
use crate::time::Now;
use crate::transaction::{Staged, StagedJob, Transaction};

type Loan = (RawTransaction, Now, u64, Sender<Option<Leased>>);

/// A request for the write transaction itself.
pub(crate) struct Lease {
    give: oneshot::Sender<Result<Loan, Error>>,
}

/// A transaction that the caller has returned to be committed.
pub(crate) struct Leased {
    pub txn: RawTransaction,
    pub staged: Staged,
    pub answer: Box<dyn Step>,
}

impl Lease {
    pub fn new() -> (Self, oneshot::Receiver<Result<Loan, Error>>) {
        let (give, take) = oneshot::channel();
        (Self { give }, take)
    }

    pub fn refuse(self, error: Error) {
        let _ = self.give.send(Err(error));
    }

    /// Sends the transaction to the caller.
    pub fn lend(self, txn: RawTransaction, now: Now, next_id: u64, occupation: Occupation) -> Lent {
        let (back, returned) = channel::bounded(1);
        // If the caller does not wait any more, the transaction is dropped, and with it the sender for its return.
        let _ = self.give.send(Ok((txn, now, next_id, back)));
        Lent { returned, _occupation: occupation }
    }
}

/// A transaction that was lent to a caller.
pub(crate) struct Lent {
    returned: Receiver<Option<Leased>>,
    _occupation: Occupation,
}

impl Lent {
    /// Waits until the caller returns it: to be committed, or to be undone (`None`).
    ///
    /// # Errors
    ///
    /// Returns [`StillLent`] if the caller did not return it within this time.
    pub fn wait(&self, at_most: Duration) -> Result<Option<Leased>, StillLent> {
        match self.returned.recv_timeout(at_most) {
            Ok(leased) => Ok(leased),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(StillLent),
        }
    }
}

/// The caller still has it.
pub(crate) struct StillLent;

impl Writer {
    /// Lends the transaction to a caller that writes with it. To the caller it looks as if it commits by itself. In fact
    /// the writer waits for the transaction and commits it, so that commits and their effects stay in order.
    ///
    /// # Errors
    ///
    /// Returns the lease and why no transaction could begin. The caller was not answered.
    pub fn lend(&mut self, lease: Lease, now: Now) -> Result<Lent, (Lease, Error)> {
        let begun = self.begin_write().and_then(|txn| {
            let store = self.store.clone();
            let marks = BTreeSet::new();
            self.check_attached(&store, &mut Batch::new(&txn, &store.catalog, self.counters, &marks, now, false))?;
            Ok(txn)
        });
        match begun {
            Ok(txn) => Ok(lease.lend(txn, now, self.counters.next_id, self.occupied.begin(Occupant::Guard))),
            Err(error) => Err((lease, error)),
        }
    }

    /// Commits what the holder of a guard has written.
    pub fn commit_lent(&mut self, leased: Leased, now: Now, listening: bool) -> Committed {
        let mut committed = Committed::default();
        let Leased { txn, staged: Staged { jobs, changes }, answer } = leased;
        let (claims, mut jobs): (Vec<Claim>, Vec<_>) =
            jobs.into_iter().map(|StagedJob { job, claim }| (claim, job)).unzip();
        let operations = jobs.len() + changes.len();
        let store = self.store.clone();
        let listening = listening || self.events_to.is_some();
        let mut batch = Batch::new(&txn, &store.catalog, self.counters, &self.jobs.marks, now, listening);
        batch.touch();
        batch.awaited = self.prepare.ends_are_awaited();
        let written = (jobs.iter_mut().try_for_each(|job| batch.resolve(job)))
            .and_then(|()| batch.room_for_all(&jobs, &*self.prepare, |_, n| Ok(claims[n])))
            .and_then(|()| {
                // The answers that the guard has given hold: nothing of the jobs has changed since.
                let mut staged = jobs.iter_mut().zip(claims);
                staged.try_for_each(|(job, claim)| batch.insert_as(job, claim).map(drop))
            })
            .and_then(|()| {
                let size = Cell::default();
                let tx = Transaction::new(&mut batch, &size, &*self.prepare);
                changes.into_iter().try_for_each(|change| change(&tx))
            });
        let sealed = match written {
            Ok(_) => self.keep_events(&mut batch).and_then(|()| Ok(batch.close()?)),
            Err(error) => {
                drop(batch);
                Err(error)
            }
        };
        self.room_made = false;
        match sealed.and_then(|sealed| Ok((sealed, self.make_durable(txn)?))) {
            Ok((sealed, took)) => {
                self.take_over(sealed, CommitCost { operations, took }, &mut committed);
                committed.answers.push((Command::Step(answer), Ok(())));
            }
            Err(error) => {
                if error.is_of_the_disk() {
                    committed.failure = Some(error.share());
                }
                committed.answers.push((Command::Step(answer), Err(error)));
            }
        }
        committed
    }
}
