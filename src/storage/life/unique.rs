//! Facet: unique keys: which job holds a key, and until when at least.
//!
//! A key is held while its job has not ended, and until a time that was set when the job was enqueued,
//! even if it has. So a row is gone when both are over: the job's end removes it if its time has passed,
//! and otherwise notes in `unique_ended` when it will have.
//!
//! The key of a job that holds it until its start is free while the job is handed out, which the file does not know. So
//! its row stays, and says that; a job that takes the key overwrites it ([`claims`](super::claims)). The key of a throttled
//! job is held for a time only, and is in [`timed_keys`](super::timed_keys) instead.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::moved::Moved;
use super::timed_keys::{self, KeyKind};
use super::verifier::Verifier;
use crate::job::{JobId, QueueId, Record, Transition};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Location;
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
    /// Not written if it is the default.
    pub hold: Hold,
}

/// How a job holds its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hold {
    #[default]
    UntilEnded,
    /// Not while it is handed out.
    UntilStarted,
    /// An operator has freed the key, and the job has not ended.
    Released,
}

impl Hold {
    fn of(record: &Record) -> Self {
        if record.unique().is_until_started() { Self::UntilStarted } else { Self::UntilEnded }
    }
}

impl Holder {
    fn encode(self) -> Vec<u8> {
        match self.hold {
            Hold::UntilEnded => codec::encode(&(self.id, self.until)),
            _ => codec::encode(&self),
        }
    }

    fn decode(queue: QueueId, row: &[u8]) -> Result<Self, Fault> {
        let (table, queue) = (TableName::Unique, u64::from(queue));
        codec::decode(table, queue, row).or_else(|_| {
            let (id, until) = codec::decode(table, queue, row)?;
            Ok(Self { id, until, hold: Hold::UntilEnded })
        })
    }
}

/// A key that is held.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub id: JobId,
    /// Whether its job has not ended.
    pub is_open: bool,
    /// Whether the key is free while its job is handed out.
    pub is_until_started: bool,
}

/// What holds this key of `queue` now.
pub(super) fn held(tables: &mut Tables<'_>, now: Now, queue: QueueId, key: &str) -> Result<Option<Held>, Fault> {
    let Some(Holder { id, until, hold }) = row(tables, queue, key)? else { return Ok(None) };
    if hold == Hold::Released {
        return Ok(None);
    }
    let is_open = has_not_ended(tables, queue, id)?;
    let held = Held { id, is_open, is_until_started: is_open && hold == Hold::UntilStarted };
    Ok((is_open || now.age < until).then_some(held))
}

/// A row that cannot be read holds nothing: a second job with the key does less harm than a key that is never free
/// again, or an end that can never be written.
fn row(tables: &mut Tables<'_>, queue: QueueId, key: &str) -> Result<Option<Holder>, Fault> {
    let Some(row) = tables.unique()?.get_row((queue, key))? else { return Ok(None) };
    match Holder::decode(queue, &row) {
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
    let Some(key) = record.unique_key().filter(|_| record.unique().window().is_none()) else { return Ok(()) };
    let is_back = to.as_ref().is_some_and(|to| !to.state.is_final());
    match moved.transition {
        // No job holds it: the caller has checked that.
        Transition::Enter { unique_for: Some(unique_for) } => {
            let until = batch.now.age + unique_for;
            batch.set_holder(*queue, key, Holder { id: *id, until, hold: Hold::of(record) })
        }
        Transition::Replace => {
            let hold = to.as_ref().and_then(|side| side.record).map(Hold::of).unwrap_or_default();
            match batch.held_key(*queue, key, *id)? {
                Some(holder) if holder.hold != Hold::Released => {
                    batch.set_holder(*queue, key, Holder { hold, ..holder })
                }
                _ => Ok(()),
            }
        }
        Transition::End(_) | Transition::Quarantine if from.is_some_and(|from| !from.state.is_final()) => {
            batch.end_key(*queue, *id, key)
        }
        Transition::Cancel | Transition::Purge | Transition::MoveOut => batch.free_key(*queue, *id, key),
        Transition::Redrive | Transition::Restore | Transition::MoveIn if is_back => {
            batch.regain_key(*queue, *id, key, Hold::of(record))
        }
        _ => Ok(()),
    }
}

impl Batch<'_> {
    /// Whether this unique key of `queue` is held.
    pub fn key_is_held(&mut self, queue: QueueId, key: &str) -> Result<bool, Fault> {
        let window = timed_keys::holder(&mut self.tables, self.now, queue, KeyKind::Window, key)?;
        Ok(window.is_some() || held(&mut self.tables, self.now, queue, key)?.is_some())
    }

    /// Frees a key that a job holds. While the job has not ended, its row stays.
    pub(super) fn release_holder(&mut self, queue: QueueId, key: &str) -> Result<(), Fault> {
        let Some(holder) = row(&mut self.tables, queue, key)? else { return Ok(()) };
        self.touch();
        if has_not_ended(&mut self.tables, queue, holder.id)? {
            return self.set_holder(queue, key, Holder { hold: Hold::Released, ..holder });
        }
        self.tables.unique()?.remove((queue, key))?;
        self.tables.unique_ended()?.remove((holder.until.as_millis(), queue, key))?;
        Ok(())
    }

    fn set_holder(&mut self, queue: QueueId, key: &str, holder: Holder) -> Result<(), Fault> {
        if let Some(before) = row(&mut self.tables, queue, key)? {
            self.tables.unique_ended()?.remove((before.until.as_millis(), queue, key))?;
        }
        self.tables.unique()?.insert((queue, key), holder.encode().as_slice())?;
        Ok(())
    }

    /// The row of this job's key, if it holds it.
    fn held_key(&mut self, queue: QueueId, key: &str, id: JobId) -> Result<Option<Holder>, Fault> {
        Ok(row(&mut self.tables, queue, key)?.filter(|holder| holder.id == id))
    }

    /// The job has ended: its key is held for the rest of its time.
    fn end_key(&mut self, queue: QueueId, id: JobId, key: &str) -> Result<(), Fault> {
        let Some(Holder { until, hold, .. }) = self.held_key(queue, key, id)? else { return Ok(()) };
        if until <= self.now.age || hold == Hold::Released {
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
    fn regain_key(&mut self, queue: QueueId, id: JobId, key: &str, hold: Hold) -> Result<(), Fault> {
        match self.held_key(queue, key, id)? {
            Some(Holder { until, .. }) => {
                self.tables.unique_ended()?.remove((until.as_millis(), queue, key))?;
                Ok(())
            }
            None if self.key_is_held(queue, key)? => Ok(()),
            None => self.set_holder(queue, key, Holder { id, until: self.now.age, hold }),
        }
    }

    /// Removes keys of a queue that has no jobs, at most `keys_max` of them. Returns how many.
    pub(super) fn remove_unique_keys(&mut self, queue: QueueId, keys_max: usize) -> Result<usize, Fault> {
        let mut keys = Vec::new();
        for row in self.tables.unique()?.range((queue, "")..(queue + 1, ""))?.take(keys_max) {
            let (key, row) = row?;
            let until = Holder::decode(queue, row.value()).map(|holder| holder.until);
            keys.push((key.value().1.to_owned(), until.ok()));
        }
        for (key, until) in &keys {
            self.touch();
            self.tables.unique()?.remove((queue, key.as_str()))?;
            match until {
                Some(until) => {
                    self.tables.unique_ended()?.remove((until.as_millis(), queue, key.as_str())).map(drop)?
                }
                // Only its row could have said when it is to be swept.
                None => self.tables.unique_ended()?.retain(|(_, of, listed), ()| (of, listed) != (queue, key))?,
            }
        }
        Ok(keys.len())
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
    /// The job that holds this unique key of `queue` now. `is_taken` says which jobs were handed out.
    pub fn unique_holder(
        &self,
        now: Now,
        queue: QueueId,
        key: &str,
        is_taken: impl Fn(JobId) -> bool,
    ) -> Result<Option<JobId>, Fault> {
        if let Some(id) = self.timed_holder(now, queue, KeyKind::Window, key)? {
            return Ok(Some(id));
        }
        let Some(row) = self.tables().unique()?.get_row((queue, key))? else { return Ok(None) };
        // A row that cannot be read holds nothing.
        let Ok(Holder { id, until, hold }) = Holder::decode(queue, &row) else { return Ok(None) };
        let is_open = match self.tables().index()?.get_row(id.get())? {
            Some(row) => {
                let location = codec::decode::<Location>(TableName::Index, id.get(), &row);
                location.is_ok_and(|location| !location.place.has_ended())
            }
            None => ready::find(&self.tables().ready_rows()?, id, Some(queue))?.0.is_some(),
        };
        let is_held = match hold {
            Hold::UntilEnded => is_open || now.age < until,
            Hold::UntilStarted => is_open && !is_taken(id),
            Hold::Released => false,
        };
        Ok(is_held.then_some(id))
    }

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
    Ok(row.map(|row| Holder::decode(queue, row.value())).transpose())
}

/// Checks the key of a job that was read and has not ended, if it has one.
pub(super) fn check_job(verifier: &mut Verifier<'_>, queue: QueueId, id: u64, record: &Record) -> Result<(), Fault> {
    let Some(key) = record.unique_key().filter(|_| record.unique().window().is_none()) else { return Ok(()) };
    match holder_found(verifier, queue, key)? {
        Ok(Some(holder)) if holder.id.get() == id => {
            verifier.holders.insert(id);
        }
        // Another job held the key when this one came back from the dead letters, or took it while this one ran.
        Ok(Some(_)) => {}
        Ok(None) if record.unique().is_until_started() => {}
        // That other job may have ended since. Earlier builds do not say that a job is back, but most dead letters have errors.
        Ok(None) if record.extra.as_ref().is_some_and(|extra| extra.is_back || !extra.errors.is_empty()) => {}
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
        if !verifier.queues.contains_key(&queue) {
            verifier.problem(format!("a job holds the unique key {key:?} of queue number {queue}, which has no row"));
        }
        let Ok(Holder { id, until, .. }) = Holder::decode(queue, row.value()) else {
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
