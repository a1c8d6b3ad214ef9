//! Facet: unique keys: which job holds a key, and until when at least.
//!
//! A key is held while its job has not ended, and until a time that was set when the job was enqueued,
//! even if it has. So a row is gone when both are over: the job's end removes it if its time has passed,
//! and otherwise notes in `unique_ended` when it will have.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::moved::Moved;
use super::verifier::Verifier;
use crate::events::Event;
use crate::job::{JobId, QueueId, Record, Transition};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Location;
use crate::storage::rows::prepared::Prepared;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::ready;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;
use crate::storage::rows::tables_ext::RowTable;
use crate::time::{Now, Timestamp};

/// The job that holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub id: JobId,
    /// At least until then, on the age line.
    pub until: Timestamp,
}

/// The job that holds this key of `queue` now, in a transaction that is not a [`Batch`].
pub(crate) fn key_holder(
    txn: &redb::WriteTransaction,
    now: Now,
    queue: QueueId,
    key: &str,
) -> Result<Option<JobId>, Fault> {
    holder(&mut Tables::new(txn), now, queue, key)
}

fn holder(tables: &mut Tables<'_>, now: Now, queue: QueueId, key: &str) -> Result<Option<JobId>, Fault> {
    let Some(Holder { id, until }) = row(tables, queue, key)? else { return Ok(None) };
    let held = now.age < until || has_not_ended(tables, queue, id)?;
    Ok(held.then_some(id))
}

/// A row that cannot be read holds nothing: a second job with the key does less harm than a key that is never free
/// again, or an end that can never be written.
fn row(tables: &mut Tables<'_>, queue: QueueId, key: &str) -> Result<Option<Holder>, Fault> {
    let Some(row) = tables.unique()?.get_row((queue, key))? else { return Ok(None) };
    match codec::decode(TableName::Unique, u64::from(queue), &row) {
        Ok(holder) => Ok(Some(holder)),
        Err(_) => {
            tracing::error!(queue, key, "it cannot be read who holds a unique key: it is free");
            Ok(None)
        }
    }
}

/// This is looked up each time and stored nowhere, so a job in the quarantine holds no key, whatever of its record can be
/// read.
fn has_not_ended(tables: &mut Tables<'_>, queue: QueueId, id: JobId) -> Result<bool, Fault> {
    if let Some(row) = tables.index()?.get_row(id.get())? {
        let location: Location = codec::decode(TableName::Index, id.get(), &row)?;
        return Ok(!location.place.has_ended());
    }
    let (found, _) = ready::find(tables.ready()?, id, Some(queue))?;
    Ok(found.is_some())
}

/// A new job holds its key from now on. After the job's end it holds the key for the rest of its time. The key is free
/// once an operator has removed the job. A job that is back holds its key again.
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    let Moved { id, queue, from, to, .. } = moved;
    let Some(record) = from.as_ref().or(to.as_ref()).and_then(|side| side.record) else { return Ok(()) };
    let Some(key) = record.unique_key() else { return Ok(()) };
    let is_back = to.as_ref().is_some_and(|to| !to.state.is_final());
    match moved.transition {
        // No job holds it: the caller has checked that.
        Transition::Enter { unique_for: Some(unique_for) } => {
            let until = batch.now.age + unique_for;
            batch.set_holder(*queue, key, Holder { id: *id, until })
        }
        Transition::End(_) | Transition::Quarantine if from.is_some_and(|from| !from.state.is_final()) => {
            batch.end_key(*queue, *id, key)
        }
        Transition::Cancel | Transition::Purge | Transition::MoveOut => batch.free_key(*queue, *id, key),
        Transition::Redrive | Transition::Restore | Transition::MoveIn if is_back => batch.regain_key(*queue, *id, key),
        _ => Ok(()),
    }
}

impl Batch<'_> {
    /// The job that holds the key of this one.
    pub fn there_already(&mut self, job: &Prepared) -> Result<Option<JobId>, Fault> {
        match job.claims() {
            Some((key, _)) => holder(&mut self.tables, self.now, job.queue, key),
            None => Ok(None),
        }
    }

    /// Whether a job of `queue` holds this unique key.
    pub fn key_is_held(&mut self, queue: QueueId, key: &str) -> Result<bool, Fault> {
        Ok(holder(&mut self.tables, self.now, queue, key)?.is_some())
    }

    /// Notes that this job was not stored, because `there` holds its key.
    pub fn deduplicated(&mut self, job: &Prepared, there: JobId) {
        self.deduplicated += 1;
        if self.listening {
            let (queue, kind) = (self.catalog().queue_name(job.queue), self.catalog().kind_name(job.record().kind));
            let key = job.record().unique_key().unwrap_or_default().into();
            self.event(|| Event::Deduplicated { id: there, queue, kind, key });
        }
    }

    fn set_holder(&mut self, queue: QueueId, key: &str, holder: Holder) -> Result<(), Fault> {
        if let Some(before) = row(&mut self.tables, queue, key)? {
            self.tables.unique_ended()?.remove((before.until.as_millis(), queue, key))?;
        }
        self.tables.unique()?.insert((queue, key), codec::encode(&holder).as_slice())?;
        Ok(())
    }

    /// The row of this job's key, if it holds it.
    fn held_key(&mut self, queue: QueueId, key: &str, id: JobId) -> Result<Option<Holder>, Fault> {
        Ok(row(&mut self.tables, queue, key)?.filter(|holder| holder.id == id))
    }

    /// The job has ended: its key is held for the rest of its time.
    fn end_key(&mut self, queue: QueueId, id: JobId, key: &str) -> Result<(), Fault> {
        let Some(Holder { until, .. }) = self.held_key(queue, key, id)? else { return Ok(()) };
        if until <= self.now.age {
            self.tables.unique()?.remove((queue, key))?;
        } else {
            self.tables.unique_ended()?.insert((until.as_millis(), queue, key), ())?;
        }
        Ok(())
    }

    /// An operator has removed the job: its key is free at once.
    fn free_key(&mut self, queue: QueueId, id: JobId, key: &str) -> Result<(), Fault> {
        if let Some(Holder { until, .. }) = self.held_key(queue, key, id)? {
            self.touch();
            self.tables.unique()?.remove((queue, key))?;
            self.tables.unique_ended()?.remove((until.as_millis(), queue, key))?;
        }
        Ok(())
    }

    /// A job that had ended is back: it holds its key again, unless another job holds it now.
    fn regain_key(&mut self, queue: QueueId, id: JobId, key: &str) -> Result<(), Fault> {
        match self.held_key(queue, key, id)? {
            Some(Holder { until, .. }) => {
                self.tables.unique_ended()?.remove((until.as_millis(), queue, key))?;
                Ok(())
            }
            None if holder(&mut self.tables, self.now, queue, key)?.is_some() => Ok(()),
            None => self.set_holder(queue, key, Holder { id, until: self.now.age }),
        }
    }

    /// Removes keys of ended jobs whose time has passed, at most `keys_max` of them. Returns how many.
    pub fn sweep_keys(&mut self, keys_max: usize) -> Result<usize, Fault> {
        let mut passed: Vec<(u64, QueueId, String)> = Vec::new();
        let until = self.now.age.as_millis().saturating_add(1);
        for row in self.tables.unique_ended()?.range(..(until, 0, ""))?.take(keys_max) {
            let (key, _) = row?;
            let (until, queue, key) = key.value();
            passed.push((until, queue, key.to_owned()));
        }
        for (until, queue, key) in &passed {
            self.touch();
            self.tables.unique_ended()?.remove((*until, *queue, key.as_str()))?;
            let holder = row(&mut self.tables, *queue, key)?;
            if holder.is_none_or(|holder| holder.until.as_millis() == *until) {
                self.tables.unique()?.remove((*queue, key.as_str()))?;
            }
        }
        Ok(passed.len())
    }
}

impl Reader {
    /// Whether there are keys to be swept.
    pub fn has_passed_keys(&self, now: Now) -> Result<bool, Fault> {
        let until = now.age.as_millis().saturating_add(1);
        Ok(self.tables().unique_ended()?.range(..(until, 0, ""))?.next().transpose()?.is_some())
    }
}

// --- verification ---

/// The row of a key. The inner result is an error if the row cannot be read.
fn holder_found(
    verifier: &mut Verifier<'_>,
    queue: QueueId,
    key: &str,
) -> Result<Result<Option<Holder>, Fault>, Fault> {
    verifier.work.lookups += 1;
    let row = verifier.unique.get((queue, key))?;
    Ok(row.map(|row| codec::decode(TableName::Unique, u64::from(queue), row.value())).transpose())
}

/// Checks the key of a job that was read and has not ended, if it has one.
pub(super) fn check_job(verifier: &mut Verifier<'_>, queue: QueueId, id: u64, record: &Record) -> Result<(), Fault> {
    let Some(key) = record.unique_key() else { return Ok(()) };
    match holder_found(verifier, queue, key)? {
        Ok(Some(holder)) if holder.id.get() == id => {
            verifier.holders.insert(id);
        }
        // Another job held the key when this one came back from the dead letters.
        Ok(Some(_)) => {}
        // That other job may have ended since. A job without errors was never a dead letter.
        Ok(None) if record.extra.as_ref().is_some_and(|extra| !extra.errors.is_empty()) => {}
        Ok(None) => {
            let queue = verifier.name(queue);
            verifier.problem(format!("job {id} has the unique key {key:?} of {queue}, but no job holds that key"));
        }
        // A holder that cannot be read is reported with the keys.
        Err(_) => {}
    }
    Ok(())
}

/// Checks that each key is held by a job that has it and has not ended, or is to be swept.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.unique.range::<(u32, &str)>(..)? {
        verifier.work.rows += 1;
        let (key, row) = row?;
        let (queue, key) = key.value();
        let Ok(Holder { id, until }) = codec::decode(TableName::Unique, u64::from(queue), row.value()) else {
            let queue = verifier.name(queue);
            verifier.problem(format!("the row of the unique key {key:?} of {queue} cannot be read"));
            continue;
        };
        verifier.work.lookups += 1;
        let has_ended = verifier.unique_ended.get((until.as_millis(), queue, key))?.is_some();
        // A job holds one key only.
        let bears_it = verifier.holders.remove(id.get());
        if bears_it == has_ended && !verifier.unread.contains(&id) {
            let what = if has_ended { "has not ended" } else { "has ended or does not have this key" };
            let queue = verifier.name(queue);
            verifier.problem(format!("the unique key {key:?} of {queue} is held by job {id}, which {what}"));
        }
    }
    for row in verifier.unique_ended.range::<(u64, u32, &str)>(..)? {
        verifier.work.rows += 1;
        let (key, _) = row?;
        let (until, queue, key) = key.value();
        let holder = holder_found(verifier, queue, key)?;
        if !matches!(holder, Ok(Some(holder)) if holder.until.as_millis() == until) {
            let queue = verifier.name(queue);
            verifier.problem(format!("the unique key {key:?} of {queue} is listed for removal, but no job holds it"));
        }
    }
    Ok(())
}
