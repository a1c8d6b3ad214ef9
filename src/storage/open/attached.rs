//! Write transactions of a database that belongs to the application, which writes to it as well.

use std::sync::Arc;
use std::time::Duration;

use redb::{Database, TransactionError, WriteTransaction};

use crate::error::Error;
use crate::storage::rows::fault::Fault;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{RecvTimeoutError, bounded};
use crate::sync::thread;

/// What callers are told who wait for a transaction of the application's.
const HELD_BY: &str = "the application holds the write transaction of the database that it has attached";

/// How long the queue waits when it has waited in vain before: it looks again by itself.
const LOOK: Duration = Duration::from_millis(10);

/// Begins transactions, without waiting for ever for one of the application's. A caller that holds it and waits for the
/// queue waits for itself: redb cannot tell, and neither can this.
pub(in crate::storage) struct Turns {
    wait_max: Duration,
    /// The last wait was in vain.
    held: AtomicBool,
    /// Nobody waits for the queue any more: it may wait for as long as it takes.
    patient: AtomicBool,
    /// A thread waits for the transaction.
    in_line: Arc<AtomicBool>,
}

impl Turns {
    pub fn new(wait_max: Duration) -> Self {
        Self { wait_max, held: false.into(), patient: false.into(), in_line: Arc::default() }
    }

    /// From now on waits for as long as it takes.
    pub fn be_patient(&self) {
        self.patient.store(true, Ordering::SeqCst);
    }

    /// # Errors
    /// [`Error::WriteHeld`] if the application has held a transaction for too long.
    pub fn begin(&self, db: &Arc<Database>) -> Result<WriteTransaction, Error> {
        let begun = match db.try_begin_write() {
            Err(TransactionError::WouldBlock) if self.patient.load(Ordering::SeqCst) => db.begin_write(),
            Err(TransactionError::WouldBlock) => self.wait_in_line(db)?,
            begun => begun,
        };
        self.held.store(false, Ordering::SeqCst);
        Ok(begun.map_err(Fault::from)?)
    }

    /// Has a thread wait for the transaction: only redb knows whose turn it is, and its wait has no end of its own. One
    /// that comes too late gives the transaction back at once.
    fn wait_in_line(&self, db: &Arc<Database>) -> Result<Result<WriteTransaction, TransactionError>, Error> {
        let wait = if self.held.load(Ordering::SeqCst) { LOOK } else { self.wait_max };
        if self.in_line.swap(true, Ordering::SeqCst) {
            // An earlier one is still in line: the application has not ended its transaction since.
            return Err(self.given_up());
        }
        let (hand_over, turn) = bounded(0);
        let (db, in_line) = (db.clone(), self.in_line.clone());
        let started = thread::Builder::new().name("millpond-turn".into()).spawn(move || {
            let begun = db.begin_write();
            in_line.store(false, Ordering::SeqCst);
            // If nobody takes it, it is undone here.
            let _ = hand_over.send(begun);
        });
        if let Err(source) = started {
            self.in_line.store(false, Ordering::SeqCst);
            return Err(Error::no_thread(source));
        }
        match turn.recv_timeout(wait) {
            Ok(begun) => Ok(begun),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(self.given_up()),
        }
    }

    fn given_up(&self) -> Error {
        self.held.store(true, Ordering::SeqCst);
        Error::WriteHeld { held_by: HELD_BY, waited: self.wait_max }
    }
}
