//! Write transactions of a database that belongs to the application, which writes to it as well.

use std::sync::Arc;
use std::time::Duration;

use redb::{Database, TransactionError, WriteTransaction};

use crate::error::Error;
use crate::storage::rows::fault::Fault;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{RecvTimeoutError, bounded};
use crate::sync::thread;

/// What the error says that callers get if a wait takes too long.
const HELD_BY: &str = "the application holds the write transaction of the database that it has attached";

/// How long the queue waits for the transaction if its last wait timed out. It tries again by itself.
const WAIT_AFTER_TIMEOUT: Duration = Duration::from_millis(10);

/// Begins write transactions, and waits only for a limited time for one of the application. The limit is needed because a
/// caller that holds a write transaction and waits for the queue waits for itself: neither redb nor this type can detect
/// that.
pub(in crate::storage) struct AttachedWrites {
    wait_max: Duration,
    /// The last wait timed out.
    timed_out: AtomicBool,
    /// Wait without a time limit, because no caller waits for the queue any more.
    waits_forever: AtomicBool,
    /// A thread waits for the transaction. There is at most one.
    is_waiting: Arc<AtomicBool>,
}

impl AttachedWrites {
    pub fn new(wait_max: Duration) -> Self {
        Self { wait_max, timed_out: false.into(), waits_forever: false.into(), is_waiting: Arc::default() }
    }

    /// From now on waits without a time limit.
    pub fn wait_without_limit(&self) {
        self.waits_forever.store(true, Ordering::SeqCst);
    }

    /// Begins a write transaction.
    ///
    /// # Errors
    ///
    /// [`Error::WriteHeld`] if the application has held a transaction for too long.
    pub fn begin(&self, db: &Arc<Database>) -> Result<WriteTransaction, Error> {
        let begun = match db.try_begin_write() {
            Err(TransactionError::WouldBlock) if self.waits_forever.load(Ordering::SeqCst) => db.begin_write(),
            Err(TransactionError::WouldBlock) => self.wait_on_a_thread(db)?,
            begun => begun,
        };
        self.timed_out.store(false, Ordering::SeqCst);
        Ok(begun.map_err(Fault::from)?)
    }

    /// Waits for the transaction on a thread of its own, because redb's wait has no time limit. If the thread gets the
    /// transaction after the time limit, it aborts it at once.
    fn wait_on_a_thread(&self, db: &Arc<Database>) -> Result<Result<WriteTransaction, TransactionError>, Error> {
        let wait = if self.timed_out.load(Ordering::SeqCst) { WAIT_AFTER_TIMEOUT } else { self.wait_max };
        if self.is_waiting.swap(true, Ordering::SeqCst) {
            // An earlier thread still waits: the application has not ended its transaction since.
            return Err(self.given_up());
        }
        let (hand_over, received) = bounded(0);
        let (db, is_waiting) = (db.clone(), self.is_waiting.clone());
        let started = thread::Builder::new().name("millpond-attached".into()).spawn(move || {
            let begun = db.begin_write();
            is_waiting.store(false, Ordering::SeqCst);
            // If the receiver has timed out, the transaction is dropped here, which aborts it.
            let _ = hand_over.send(begun);
        });
        if let Err(source) = started {
            self.is_waiting.store(false, Ordering::SeqCst);
            return Err(Error::no_thread(source));
        }
        match received.recv_timeout(wait) {
            Ok(begun) => Ok(begun),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(self.given_up()),
        }
    }

    fn given_up(&self) -> Error {
        self.timed_out.store(true, Ordering::SeqCst);
        Error::WriteHeld { held_by: HELD_BY, waited: self.wait_max }
    }
}
