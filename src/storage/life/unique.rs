//! Facet: unique keys, which job has one, and until when at least.
//!
//! A key is held while its job has not ended, and until a time that was set when the job was enqueued,
//! even if it has. So a row is gone when both are over: the job's end removes it if its time has passed,
//! and otherwise notes in `unique_ended` when it will have.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::moved::Moved;
use crate::events::Event;
use crate::job::{JobId, QueueId, Transition};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::prepared::Prepared;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::ready;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;
use crate::storage::rows::tables_ext::RowTable;
use crate::time::{Now, Timestamp};

/// Who holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub id: JobId,
    /// At least until then, on the age line.
    pub until: Timestamp,
}

/// The job that holds this key of `queue` now, in a transaction that somebody else writes.
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

/// A row that cannot be read holds nothing: a job more is less harm than a key that is lost for good,
/// or an end that can never be written.
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

/// Looked up and not kept: who was set aside, whatever of its record could be read, holds nothing.
fn has_not_ended(tables: &mut Tables<'_>, queue: QueueId, id: JobId) -> Result<bool, Fault> {
    if let Some(row) = tables.index()?.get_row(id.get())? {
        let location: Location = codec::decode(TableName::Index, id.get(), &row)?;
        return Ok(!matches!(location.place, Place::Dead { .. } | Place::Finished { .. }));
    }
    let (found, _) = ready::find(tables.ready()?, id, Some(queue))?;
    Ok(found.is_some())
}

/// The key is taken by a new job, held for the rest of its time after an end, free once an operator has taken the job
/// away, and taken again by a job that is back.
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    let Moved { id, queue, from, to, .. } = moved;
    let Some(record) = from.as_ref().or(to.as_ref()).and_then(|side| side.record) else { return Ok(()) };
    let Some(key) = record.unique_key() else { return Ok(()) };
    let is_back = to.as_ref().is_some_and(|to| !to.state.is_final());
    match moved.transition {
        // Nobody holds it: the caller has looked.
        Transition::Enter { unique_for: Some(unique_for) } => {
            let until = batch.now.age + unique_for;
            batch.set_holder(*queue, key, Holder { id: *id, until })
        }
        Transition::End(_) | Transition::SetAside if from.is_some_and(|from| !from.state.is_final()) => {
            batch.end_key(*queue, *id, key)
        }
        Transition::Cancel | Transition::Purge => batch.free_key(*queue, *id, key),
        Transition::Redrive | Transition::Restore if is_back => batch.regain_key(*queue, *id, key),
        _ => Ok(()),
    }
}

impl Batch<'_> {
    /// The job that is there already instead of this one.
    pub fn there_already(&mut self, job: &Prepared) -> Result<Option<JobId>, Fault> {
        match job.claims() {
            Some((key, _)) => holder(&mut self.tables, self.now, job.queue, key),
            None => Ok(None),
        }
    }

    /// This job was not stored: `there` is.
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

    /// Somebody took the job away on purpose: its key is free at once.
    fn free_key(&mut self, queue: QueueId, id: JobId, key: &str) -> Result<(), Fault> {
        if let Some(Holder { until, .. }) = self.held_key(queue, key, id)? {
            self.touch();
            self.tables.unique()?.remove((queue, key))?;
            self.tables.unique_ended()?.remove((until.as_millis(), queue, key))?;
        }
        Ok(())
    }

    /// A job that had ended is back: it has its key again, unless another one holds it now.
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
