//! Verification of unique keys: which jobs hold them, and which ones are to be swept.

use super::Verifier;
use crate::job::{QueueId, Record};
use crate::storage::life::unique::Holder;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;

impl Verifier {
    fn holder(&mut self, queue: QueueId, key: &str) -> Result<Result<Option<Holder>, Fault>, Fault> {
        self.work.lookups += 1;
        let row = self.unique.get((queue, key))?;
        Ok(row.map(|row| codec::decode(TableName::Unique, u64::from(queue), row.value())).transpose())
    }

    /// Checks the key of a job that has not ended.
    pub(in crate::storage) fn key_of(
        &mut self,
        queue: QueueId,
        id: u64,
        key: &str,
        record: &Record,
    ) -> Result<(), Fault> {
        match self.holder(queue, key)? {
            Ok(Some(holder)) if holder.id.get() == id => {
                self.holders.insert(id);
            }
            // Another job held the key when this one came back from the dead letters.
            Ok(Some(_)) => {}
            // That other job may have ended since. A job without errors was never a dead letter.
            Ok(None) if record.extra.as_ref().is_some_and(|extra| !extra.errors.is_empty()) => {}
            Ok(None) => {
                let queue = self.name(queue);
                self.problem(format!("job {id} has the unique key {key:?} of {queue}, but no job holds that key"));
            }
            // A holder that cannot be read is reported with the keys.
            Err(_) => {}
        }
        Ok(())
    }

    /// Checks that each key is held by a job that has it and has not ended, or is to be swept.
    pub(in crate::storage) fn keys(&mut self) -> Result<(), Fault> {
        for row in self.unique.range::<(u32, &str)>(..)? {
            self.work.rows += 1;
            let (key, row) = row?;
            let (queue, key) = key.value();
            let Ok(Holder { id, until }) = codec::decode(TableName::Unique, u64::from(queue), row.value()) else {
                let queue = self.name(queue);
                self.problem(format!("it cannot be read who holds the unique key {key:?} of {queue}"));
                continue;
            };
            self.work.lookups += 1;
            let has_ended = self.unique_ended.get((until.as_millis(), queue, key))?.is_some();
            // A job holds one key only.
            let bears_it = self.holders.remove(id.get());
            if bears_it == has_ended && !self.unread.contains(&id) {
                let what = if has_ended { "has not ended" } else { "is not there" };
                let queue = self.name(queue);
                self.problem(format!("the unique key {key:?} of {queue} is held by job {id}, which {what}"));
            }
        }
        for row in self.unique_ended.range::<(u64, u32, &str)>(..)? {
            self.work.rows += 1;
            let (key, _) = row?;
            let (until, queue, key) = key.value();
            let holder = self.holder(queue, key)?;
            if !matches!(holder, Ok(Some(holder)) if holder.until.as_millis() == until) {
                let queue = self.name(queue);
                self.problem(format!("the unique key {key:?} of {queue} is to be swept, and nobody holds it"));
            }
        }
        Ok(())
    }
}
