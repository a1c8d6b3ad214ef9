//! What links keep in the file, in tables of the application.

use std::collections::BTreeMap;

use millpond::redb::{ReadableTable, TableDefinition};
use millpond::{FileIdentity, Millpond, Transaction};
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::error::Error;
use crate::log::Cursor;

/// A link, and what was sent over it.
const SENT: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond-links/sent");
/// A link and the number of a batch: the batch, as long as it may have to be sent again.
const KEPT: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("millpond-links/kept");
/// A mailbox, and the position up to which it was read.
const READ: TableDefinition<&str, u64> = TableDefinition::new("millpond-links/read");
/// A mailbox and an origin: the number of the latest batch from it, and the place of the latest job in that.
const ARRIVED: TableDefinition<(&str, &str), (u64, u64)> = TableDefinition::new("millpond-links/arrived");

type Result<T, E = millpond::Error> = std::result::Result<T, E>;

/// What was sent of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// The identity of the file under which its batches are numbered.
    pub file: u128,
    pub incarnation: u32,
    /// The number of the latest batch that the engine has acknowledged.
    pub batch: u64,
    pub hash: u32,
    /// The jobs of that batch, and those of earlier ones that had not ended here when it was sent, with their checksums. None of them is sent
    /// again as it was. One that waits for its end can become another job under the same id: another payload, or a new job with the
    /// same unique key that has replaced it.
    pub jobs: BTreeMap<u64, u32>,
    /// The batches that were sent with the next number, the latest one last: nobody knows which of them the engine has, if any. One
    /// that was given up can still be on its way.
    pub sending: Vec<Sending>,
}

/// How many of them are remembered. More are only sent if each has other jobs than those before it.
const SENDING_MAX: usize = 8;

impl Sent {
    /// Nothing was sent under this identity. These jobs were sent before under another one.
    pub fn nothing(of: FileIdentity, jobs: BTreeMap<u64, u32>) -> Self {
        Self { file: of.id, incarnation: of.incarnation, jobs, ..Self::default() }
    }

    /// Notes that a batch is about to be sent.
    pub fn sends(&mut self, batch: Sending) {
        self.sending.retain(|other| *other != batch);
        if self.sending.len() == SENDING_MAX {
            self.sending.remove(0);
        }
        self.sending.push(batch);
    }

    /// Which of these batches the engine has.
    pub fn in_doubt(&self, cursor: &Cursor) -> Option<&Sending> {
        self.sending.iter().find(|batch| batch.hash() == cursor.hash && batch.ids() == cursor.ids)
    }
}

/// A batch that is being sent, whose number is the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// The jobs in their order, with their checksums.
    pub jobs: Vec<(u64, u32)>,
}

impl Sending {
    pub fn ids(&self) -> Vec<u64> {
        self.jobs.iter().map(|(id, _)| *id).collect()
    }

    /// The checksum of the batch.
    pub fn hash(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        self.jobs.iter().for_each(|(_, checksum)| hasher.update(&checksum.to_le_bytes()));
        hasher.finalize()
    }
}

/// A batch that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub number: u64,
    /// When it was acknowledged, in milliseconds since the Unix epoch.
    pub at: u64,
    pub ids: Vec<u64>,
    pub hash: u32,
    pub envelopes: Vec<Envelope>,
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("rows are plain data")
}

/// What was sent of a queue, as it is in the file. `None` if it was never forwarded.
pub(crate) async fn sent(pond: &Millpond, queue: &str) -> Result<Option<Sent>, Error> {
    let link = queue.to_owned();
    let row = pond.transaction(move |tx| {
        let table = tx.open_table(SENT)?;
        let row = table.get(&*link)?.map(|row| row.value().to_vec());
        Ok(row)
    });
    let read = |row: Vec<u8>| postcard::from_bytes(&row);
    let damaged = |error: postcard::Error| Error::Damaged { link: queue.to_owned(), detail: error.to_string() };
    row.await?.map(read).transpose().map_err(damaged)
}

/// Notes what is about to be sent.
pub(crate) async fn put_sent(pond: &Millpond, queue: &str, sent: &Sent) -> Result<()> {
    let (queue, sent) = (queue.to_owned(), encode(sent));
    let written = pond.transaction(move |tx| {
        tx.open_table(SENT)?.insert(&*queue, &*sent)?;
        Ok(())
    });
    written.await
}

/// The file is an older copy: forgets what it has sent under its identity before.
pub(crate) async fn start_anew(pond: &Millpond, queue: &str, sent: &Sent) -> Result<()> {
    acknowledge(pond, queue, sent, None, u64::MAX).await
}

/// A batch was acknowledged: notes that, keeps the batch, and forgets those that were acknowledged before `forget_before`.
pub(crate) async fn acknowledge(
    pond: &Millpond,
    queue: &str,
    sent: &Sent,
    kept: Option<&Kept>,
    forget_before: u64,
) -> Result<()> {
    let (queue, sent) = (queue.to_owned(), encode(sent));
    let kept = kept.map(|kept| (kept.number, encode(kept)));
    let written = pond.transaction(move |tx| {
        tx.open_table(SENT)?.insert(&*queue, &*sent)?;
        let mut table = tx.open_table(KEPT)?;
        let mut old = Vec::new();
        for row in table.range((&*queue, 0)..=(&*queue, u64::MAX))? {
            let (key, row) = row?;
            match postcard::from_bytes::<Kept>(row.value()) {
                Ok(kept) if kept.at >= forget_before => break,
                _ => old.push(key.value().1),
            }
        }
        for number in old {
            table.remove((&*queue, number))?;
        }
        if let Some((number, kept)) = &kept {
            table.insert((&*queue, *number), &**kept)?;
        }
        Ok(())
    });
    written.await
}

/// The first kept batch of a queue behind this number.
pub(crate) async fn kept_behind(pond: &Millpond, queue: &str, number: u64) -> Result<Option<Kept>> {
    let queue = queue.to_owned();
    let kept = pond.transaction(move |tx| {
        let table = tx.open_table(KEPT)?;
        let rows = table.range((&*queue, number + 1)..=(&*queue, u64::MAX))?;
        for row in rows {
            // One that cannot be read counts as one that is kept no more.
            if let Ok(kept) = postcard::from_bytes(row?.1.value()) {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    });
    kept.await
}

/// The position up to which a mailbox was read.
pub(crate) async fn position(pond: &Millpond, mailbox: &str) -> Result<u64> {
    let mailbox = mailbox.to_owned();
    let position = pond.transaction(move |tx| {
        let table = tx.open_table(READ)?;
        let position = table.get(&*mailbox)?.map_or(0, |position| position.value());
        Ok(position)
    });
    position.await
}

/// Sets the position up to which a mailbox was read.
pub(crate) fn set_position(tx: &Transaction<'_>, mailbox: &str, position: u64) -> Result<(), millpond::BoxError> {
    tx.open_table(READ)?.insert(mailbox, position)?;
    Ok(())
}

/// Notes that a job has arrived. Returns false if it was there before.
pub(crate) fn arrives(
    tx: &Transaction<'_>,
    mailbox: &str,
    (origin, batch, index): (&str, u64, u64),
) -> Result<bool, millpond::BoxError> {
    let mut table = tx.open_table(ARRIVED)?;
    let latest = table.get((mailbox, origin))?.map(|latest| latest.value());
    let is_new = latest.is_none_or(|latest| latest < (batch, index));
    if is_new {
        table.insert((mailbox, origin), (batch, index))?;
    }
    Ok(is_new)
}
