//! Checks whether a job that was handed out is still in the file as it was then.

use bytes::Bytes;

use crate::job::{QueueId, ReadyJob, Record};
use crate::storage::rows::codec;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;

impl Reader {
    /// Whether a job that was handed out is in the file as it was then: neither the end of that run nor another change
    /// has been written.
    pub fn is_unchanged_since_start(&self, queue: QueueId, taken: &ReadyJob) -> Result<bool, Fault> {
        if let Some(entry) = taken.record.entry_place()
            && self.consumer(queue)?.is_some_and(|consumer| consumer.has_in_hand(entry))
        {
            return Ok(true);
        }
        let id = taken.id.get();
        let row = match taken.group() {
            None => self.tables().ready_rows()?.get_row((queue, taken.order.priority, id))?,
            Some(group) => match self.tables().index()?.get_row(id)? {
                Some(row) => match codec::decode(TableName::Index, id, &row) {
                    Ok(Location { queue: found, place: Place::Member(member) }) if found == queue && !member.parked => {
                        self.tables().members()?.get_row(member.key(queue, taken.id))?
                    }
                    Ok(_) => None,
                    Err(_) => self.find_member(queue, group, id)?,
                },
                None => None,
            },
        };
        let Some(row) = row else { return Ok(false) };
        match decode_record(TableName::Ready, id, &row) {
            Ok(found) => Ok(runs(&found) == runs(&taken.record)),
            // The end of the run, which is in memory, replaces a row that cannot be read.
            Err(_) => Ok(true),
        }
    }

    /// The row of a member that is not parked, found without the index.
    fn find_member(&self, queue: QueueId, group: &str, id: u64) -> Result<Option<Bytes>, Fault> {
        for row in self.tables().members()?.range((queue, group, 0, 0, 0)..=(queue, group, 0, u64::MAX, u64::MAX))? {
            let (key, row) = row?;
            if key.value().4 == id {
                return Ok(Some(Bytes::copy_from_slice(row.value())));
            }
        }
        Ok(None)
    }
}

/// The numbers of which an attempt's end changes one if the job waits for another time afterwards.
fn runs(record: &Record) -> (u32, u32) {
    (record.attempts, record.extra.as_ref().map_or(0, |extra| extra.snoozes))
}
