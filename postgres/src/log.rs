//! PostgreSQL as a log: the cursors of origins, and mailboxes.

use millpond_links::{Append, Batch, Cursor, Destination, InDoubt, Limits, Log, Mailbox, Origin, Read, Unavailable};
use tokio::time::Instant;

use crate::error::Error;
use crate::postgres::{Columns, PAGE_BYTES, Postgres, Purpose, count, key, unavailable};
use crate::rows;
use crate::statements::Statement;
use crate::waits::{WAIT, hint};

/// The key of an origin's lock: two that have the same one only wait for one another.
fn lock_of(to: &Destination, of: &Origin) -> i64 {
    let text = format!("millpond {to} {of}");
    let (first, second) = text.as_bytes().split_at(text.len() / 2);
    i64::from(crc32fast::hash(first)) << 32 | i64::from(crc32fast::hash(second))
}

impl Log for Postgres {
    fn limits(&self) -> Limits {
        Limits::new(self.inner.settings.envelope_bytes, self.inner.settings.batch)
    }

    async fn cursor(&self, to: &Destination, of: &Origin) -> Result<Option<Cursor>, Unavailable> {
        let session = self.inner.session(Purpose::Append).await.map_err(unavailable)?;
        let (kind, name) = key(to);
        // An append of a process that was killed may still be under way.
        session.query(Statement::Barrier, &[&lock_of(to, of)]).await.map_err(unavailable)?;
        let parameters = (i16::from(kind), of.to_string());
        let rows =
            session.query(Statement::Cursor, &[&parameters.0, &name, &parameters.1]).await.map_err(unavailable)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let ids: String = row.get(2);
        // An origin with a smaller limit may have sent the batch.
        let Some(ids) = rows::parse_ids(&ids, crate::Connect::BATCH_MAX) else {
            return Err(Unavailable(format!("the ids of the cursor of {of} are {ids:?}: its row is damaged")));
        };
        let [batch, hash, revision] = [0, 1, 3].map(|column| row.get::<_, i64>(column));
        Ok(Some(Cursor { batch: batch as u64, ids, hash: hash as u32, revision: revision as u64 }))
    }

    async fn append(&self, to: &Destination, of: &Origin, expected: u64, batch: Batch<'_>) -> Result<Append, InDoubt> {
        let in_doubt = |error: Error| InDoubt(error.to_string());
        let session = self.inner.session(Purpose::Append).await.map_err(in_doubt)?;
        let (kind, name) = key(to);
        session.make(kind, name).await.map_err(in_doubt)?;
        let Batch { number, ids, hash, envelopes } = batch;
        let (ids, hash, Columns { partitions, headers, payloads }) =
            (rows::ids(ids), i64::from(hash), Columns::of(envelopes));
        let (kind_number, origin, lock, number) = (i16::from(kind), of.to_string(), lock_of(to, of), number as i64);
        let stored = match expected {
            0 => {
                let statement = Statement::AppendFirst(kind);
                session
                    .query(
                        statement,
                        &[&kind_number, &name, &origin, &lock, &number, &hash, &ids, &partitions, &headers, &payloads],
                    )
                    .await
            }
            _ => {
                let (statement, expected) = (Statement::AppendNext(kind), expected as i64);
                session
                    .query(
                        statement,
                        &[
                            &kind_number,
                            &name,
                            &origin,
                            &lock,
                            &number,
                            &hash,
                            &ids,
                            &partitions,
                            &headers,
                            &payloads,
                            &expected,
                        ],
                    )
                    .await
            }
        };
        match stored.map_err(in_doubt)?.first() {
            Some(row) => {
                self.inner.tell(to, Purpose::Append);
                Ok(Append::Stored(row.get::<_, i64>(0) as u64))
            }
            None => {
                session.forget_destinations();
                Ok(Append::Stale)
            }
        }
    }

    async fn read(&self, mailbox: &Mailbox, after: u64, max: usize) -> Result<Read, Unavailable> {
        let session = self.inner.session(Purpose::Read).await.map_err(unavailable)?;
        self.inner.keep(&session, mailbox, after).await.map_err(unavailable)?;
        let wait = self.inner.waits.about(&hint(&mailbox.clone().into()));
        let until = Instant::now() + WAIT;
        loop {
            let hinted = wait.notified();
            tokio::pin!(hinted);
            hinted.as_mut().enable();
            let session = self.inner.session(Purpose::Read).await.map_err(unavailable)?;
            let read = page(&session, mailbox, after, max).await.map_err(unavailable)?;
            if !read.envelopes.is_empty() || read.end < after || Instant::now() >= until {
                return Ok(read);
            }
            self.inner.look_again(hinted, until).await;
        }
    }
}

/// What is behind a position now.
async fn page(session: &crate::session::Session, mailbox: &Mailbox, after: u64, max: usize) -> Result<Read, Error> {
    let (name, after, max) = (mailbox.name(), i64::try_from(after).unwrap_or(i64::MAX), count(max));
    let rows = match mailbox.reads_all() {
        true => session.query(Statement::ReadAll, &[&name, &after, &max, &PAGE_BYTES]).await?,
        false => {
            let (first, last) = partitions(mailbox);
            session.query(Statement::ReadSome, &[&name, &after, &max, &PAGE_BYTES, &first, &last]).await?
        }
    };
    let mut read = Read::default();
    for row in rows {
        read.end = row.get::<_, i64>(0) as u64;
        if let Some(position) = row.get::<_, Option<i64>>(1) {
            let (partition, headers, payload) = (row.get::<_, i16>(2), row.get(3), row.get(4));
            read.envelopes.push((position as u64, rows::envelope(partition as u16, headers, payload)));
        }
    }
    Ok(read)
}

/// The first and the last partition that are read.
pub(crate) fn partitions(mailbox: &Mailbox) -> (i32, i32) {
    let read = mailbox.read();
    (i32::from(read.start), i32::from(read.end) - 1)
}
