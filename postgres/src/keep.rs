//! How long jobs of mailboxes are kept.
//!
//! A receiver that reads behind a position has stored what is before it in its file. Its engine notes that in a row from time to time,
//! and removes what all receivers of a partition have stored and is old enough.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use millpond_links::Mailbox;
use tokio::time::Instant;

use crate::error::Error;
use crate::log::partitions;
use crate::postgres::{Inner, Postgres, Purpose};
use crate::session::Session;
use crate::statements::Statement;

/// How often a receiver's position is noted, and old jobs are looked for.
const EVERY: Duration = Duration::from_secs(30);

/// How many jobs are removed at once, so that each transaction is short.
const REMOVE: i64 = 5_000;

/// When the position of each receiver was noted, by its mailbox.
#[derive(Default)]
pub(crate) struct Kept(Mutex<HashMap<String, Instant>>);

/// What is known of a receiver of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reader {
    /// The partitions that it reads.
    pub partitions: Range<u16>,
    /// The position up to which it had stored the mailbox in its file when it last told.
    pub position: u64,
    /// When that was, by the server's clock. A receiver that runs tells it every 30 seconds.
    pub at: SystemTime,
}

impl Inner {
    /// Notes that a receiver has stored a mailbox up to a position, and removes what is old, if it is time for that.
    pub async fn keep(&self, session: &Session, mailbox: &Mailbox, position: u64) -> Result<(), Error> {
        let reader = format!("{} {:?}", mailbox.name(), mailbox.read());
        let is_due = {
            let mut noted = self.kept.0.lock().unwrap_or_else(|e| e.into_inner());
            let is_due = noted.get(&reader).is_none_or(|at| at.elapsed() >= EVERY);
            if is_due {
                noted.insert(reader.clone(), Instant::now());
            }
            is_due
        };
        if !is_due {
            return Ok(());
        }
        let (name, (first, last)) = (mailbox.name(), partitions(mailbox));
        let (from, behind, position) = (first as i16, last as i16 + 1, position as i64);
        session.execute(Statement::Reader, &[&name, &from, &behind, &position]).await?;
        let Some(age) = self.settings.keep_read else { return Ok(()) };
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let removed = session.execute(Statement::RemoveRead, &[&name, &first, &last, &age, &REMOVE]).await?;
        if removed == REMOVE as u64 {
            // There is more: the next read goes on.
            self.kept.0.lock().unwrap_or_else(|e| e.into_inner()).remove(&reader);
        }
        Ok(())
    }
}

impl Postgres {
    /// Removes the jobs of a mailbox up to this position, whether they were read or not. Returns how many there were. A receiver that
    /// has not read them does not get them: see [`readers`](Self::readers).
    ///
    /// # Errors
    /// Those of [`check`](Self::check). Some jobs may have been removed then.
    pub async fn trim(&self, mailbox: &Mailbox, up_to: u64) -> Result<u64, Error> {
        let (name, up_to) = (mailbox.name(), i64::try_from(up_to).unwrap_or(i64::MAX));
        let mut all = 0;
        loop {
            let session = self.inner.session(Purpose::Read).await?;
            let removed = session.execute(Statement::Trim, &[&name, &up_to, &REMOVE]).await?;
            all += removed;
            if removed < REMOVE as u64 {
                return Ok(all);
            }
        }
    }

    /// The receivers that have read a mailbox.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub async fn readers(&self, mailbox: &Mailbox) -> Result<Vec<Reader>, Error> {
        let session = self.inner.session(Purpose::Read).await?;
        let rows = session.query(Statement::Readers, &[&mailbox.name()]).await?;
        let reader = |row: &tokio_postgres::Row| Reader {
            partitions: row.get::<_, i16>(0) as u16..row.get::<_, i16>(1) as u16,
            position: row.get::<_, i64>(2) as u64,
            at: row.get(3),
        };
        Ok(rows.iter().map(reader).collect())
    }

    /// Forgets the receiver of these partitions of the mailbox, which will not come back: what it has not read is not kept for it any
    /// more. Returns whether it was known.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub async fn forget_reader(&self, mailbox: &Mailbox, partitions: Range<u16>) -> Result<bool, Error> {
        let session = self.inner.session(Purpose::Read).await?;
        let (first, behind) = (partitions.start as i16, partitions.end as i16);
        Ok(session.execute(Statement::ForgetReader, &[&mailbox.name(), &first, &behind]).await? > 0)
    }
}
