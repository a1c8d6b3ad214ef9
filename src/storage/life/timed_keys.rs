//! Keys that are held for a time, whatever becomes of the job that they stand for: idempotency keys, and the unique keys
//! of throttled jobs.
//!
//! Nothing here depends on jobs. A key's row says which job was stored with it and until when the key is held, on the age
//! line. A second table lists the keys by these times: upkeep removes the rows whose time has passed, and a row whose time
//! has passed holds nothing even before it is removed.

use redb::ReadableTable;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::verifier::Verifier;
use crate::job::{JobId, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::Tables;
use crate::storage::rows::tables_ext::RowTable;
use crate::time::{Now, Timestamp};

/// What a key is. Keys of the two kinds do not meet. The numbers are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Idempotency = 0,
    /// The unique key of a throttled job.
    Window = 1,
}

/// The job for which a key is held, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimedKey {
    pub id: JobId,
    pub until: Timestamp,
}

/// The job for which this key of `queue` is held now.
pub(super) fn holder(
    tables: &mut Tables<'_>,
    now: Now,
    queue: QueueId,
    kind: KeyKind,
    key: &str,
) -> Result<Option<JobId>, Fault> {
    Ok(row(tables, queue, kind, key)?.filter(|row| now.age < row.until).map(|row| row.id))
}

/// A row that cannot be read holds nothing, as that of a unique key.
fn row(tables: &mut Tables<'_>, queue: QueueId, kind: KeyKind, key: &str) -> Result<Option<TimedKey>, Fault> {
    let Some(row) = tables.timed_keys()?.get_row((queue, kind as u8, key))? else { return Ok(None) };
    match codec::decode(TableName::TimedKeys, u64::from(queue), &row) {
        Ok(row) => Ok(Some(row)),
        Err(_) => {
            tracing::error!(queue, key, "the row of a key that is held for a time cannot be read: the key is free");
            Ok(None)
        }
    }
}

impl Batch<'_> {
    /// Holds a key for this job from now on.
    pub(super) fn hold_key_for(
        &mut self,
        queue: QueueId,
        kind: KeyKind,
        key: &str,
        id: JobId,
        time: Duration,
    ) -> Result<(), Fault> {
        self.release_timed_key(queue, kind, key)?;
        self.touch();
        let until = self.now.age + time;
        let row = codec::encode(&TimedKey { id, until });
        self.tables.timed_keys()?.insert((queue, kind as u8, key), row.as_slice())?;
        self.tables.timed_keys_until()?.insert((until.as_millis(), queue, kind as u8, key), ())?;
        Ok(())
    }

    /// Frees a key, also one that cannot be read. Returns whether it was held.
    pub(super) fn release_timed_key(&mut self, queue: QueueId, kind: KeyKind, key: &str) -> Result<bool, Fault> {
        let Some(TimedKey { until, .. }) = row(&mut self.tables, queue, kind, key)? else { return Ok(false) };
        self.touch();
        self.tables.timed_keys()?.remove((queue, kind as u8, key))?;
        self.tables.timed_keys_until()?.remove((until.as_millis(), queue, kind as u8, key))?;
        Ok(self.now.age < until)
    }

    /// Removes keys of a queue that has no jobs, at most `keys_max` of them. Returns how many.
    pub(super) fn remove_timed_keys(&mut self, queue: QueueId, keys_max: usize) -> Result<usize, Fault> {
        let mut keys = Vec::new();
        for row in self.tables.timed_keys()?.range((queue, 0, "")..(queue + 1, 0, ""))?.take(keys_max) {
            let (key, row) = row?;
            let row = codec::decode::<TimedKey>(TableName::TimedKeys, u64::from(queue), row.value());
            let (_, kind, key) = key.value();
            keys.push((kind, key.to_owned(), row.map(|row| row.until).ok()));
        }
        for (kind, key, until) in &keys {
            self.touch();
            self.tables.timed_keys()?.remove((queue, *kind, key.as_str()))?;
            let listed = self.tables.timed_keys_until()?;
            match until {
                Some(until) => listed.remove((until.as_millis(), queue, *kind, key.as_str())).map(drop)?,
                // Only its row could have said when it is to be swept.
                None => listed.retain(|(_, of, of_kind, listed), ()| (of, of_kind, listed) != (queue, *kind, key))?,
            }
        }
        Ok(keys.len())
    }

    /// Removes keys whose time has passed, at most `keys_max` of them. Returns how many.
    pub fn sweep_timed_keys(&mut self, keys_max: usize) -> Result<usize, Fault> {
        let mut passed: Vec<(u64, QueueId, u8, String)> = Vec::new();
        let to = self.now.age.as_millis().saturating_add(1);
        for row in self.tables.timed_keys_until()?.range(..(to, 0, 0, ""))?.take(keys_max) {
            let (key, ()) = (row?.0, ());
            let (until, queue, kind, key) = key.value();
            passed.push((until, queue, kind, key.to_owned()));
        }
        for (until, queue, kind, key) in &passed {
            self.touch();
            self.tables.timed_keys_until()?.remove((*until, *queue, *kind, key.as_str()))?;
            let at = (*queue, *kind, key.as_str());
            let is_later = match self.tables.timed_keys()?.get_row(at)? {
                Some(row) => codec::decode::<TimedKey>(TableName::TimedKeys, u64::from(*queue), &row)
                    .is_ok_and(|row| row.until.as_millis() != *until),
                None => false,
            };
            if !is_later {
                self.tables.timed_keys()?.remove(at)?;
            }
        }
        Ok(passed.len())
    }
}

impl Reader {
    /// Whether there are keys to be swept.
    pub fn has_passed_timed_keys(&self, now: Now) -> Result<bool, Fault> {
        let to = now.age.as_millis().saturating_add(1);
        Ok(self.tables().timed_keys_until()?.range(..(to, 0, 0, ""))?.next().transpose()?.is_some())
    }

    /// The job for which this key is held now.
    pub(super) fn timed_holder(
        &self,
        now: Now,
        queue: QueueId,
        kind: KeyKind,
        key: &str,
    ) -> Result<Option<JobId>, Fault> {
        let Some(row) = self.tables().timed_keys()?.get_row((queue, kind as u8, key))? else { return Ok(None) };
        let row = codec::decode::<TimedKey>(TableName::TimedKeys, u64::from(queue), &row).ok();
        Ok(row.filter(|row| now.age < row.until).map(|row| row.id))
    }
}

/// Checks that each key is listed by its time, and that nothing else is.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let tables = verifier.tables();
    let (keys, listed) = (tables.timed_keys()?, tables.timed_keys_until()?);
    for row in keys.iter()? {
        verifier.work.rows += 1;
        let (key, row) = row?;
        let (queue, kind, key) = key.value();
        if !verifier.queues.contains_key(&queue) {
            verifier.problem(format!("the key {key:?} is held for a time in queue number {queue}, which has no row"));
        }
        match codec::decode::<TimedKey>(TableName::TimedKeys, u64::from(queue), row.value()) {
            Ok(TimedKey { until, .. }) => {
                verifier.work.lookups += 1;
                if listed.get((until.as_millis(), queue, kind, key))?.is_none() {
                    let queue = verifier.name(queue);
                    verifier.problem(format!("the key {key:?} of {queue} is held for a time, but not listed by it"));
                }
            }
            Err(_) => {
                let queue = verifier.name(queue);
                verifier.problem(format!("the row of the key {key:?} of {queue}, held for a time, cannot be read"));
            }
        }
    }
    for row in listed.iter()? {
        verifier.work.rows += 1;
        let key = row?.0;
        let (until, queue, kind, key) = key.value();
        verifier.work.lookups += 1;
        let row = keys.get((queue, kind, key))?;
        let is_right = row.is_some_and(|row| {
            // A row that cannot be read is reported above.
            codec::decode::<TimedKey>(TableName::TimedKeys, u64::from(queue), row.value())
                .map_or(true, |row| row.until.as_millis() == until)
        });
        if !is_right {
            let queue = verifier.name(queue);
            verifier.problem(format!("the key {key:?} of {queue} is listed by a time at which it is not held"));
        }
    }
    Ok(())
}
