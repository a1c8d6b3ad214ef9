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

/// What an attempt's end changes if the job waits for another time afterwards, also if it was redriven or begins to undo its steps
/// since then: both count its attempts anew.
fn runs(record: &Record) -> (u32, u32, usize, bool) {
    let of_extra = record.extra.as_ref().map_or((0, 0), |extra| (extra.snoozes, extra.errors.len()));
    (record.attempts, of_extra.0, of_extra.1, record.undo().is_some())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::{AttemptNumber, Ending, FailureKind, Retry, UndoneEnd, life};
    use crate::time::{Now, Timestamp};

    fn now() -> Now {
        let at = Timestamp::from_millis(1_000_000);
        Now { wall: at, engine: at, age: at, counted: at, mono: Duration::from_secs(1_000) }
    }

    /// What the first attempt, which is the only one, leaves of a job.
    fn failed() -> Record {
        let mut record = Record::plain();
        let number = AttemptNumber { number: 1, max: 1, once: false, started_at: now().wall };
        let ending = Ending::Failed { kind: FailureKind::Error, message: "boom".into(), delay: None };
        life::after(&mut record, number, ending, &Retry::none(), now(), 0.5);
        record
    }

    #[test]
    fn a_job_whose_end_was_stored_is_not_taken_for_one_that_has_not_ended() {
        let taken = Record::plain();
        let mut redriven = failed();
        life::redrive(&mut redriven, None);
        let mut undoes = Record::plain();
        life::undo_after_attempt(&mut undoes, UndoneEnd::Cancelled, now());
        let mut undoes_by_request = failed();
        life::undo_waiting(&mut undoes_by_request, "by request");
        for ended in [redriven, undoes, undoes_by_request] {
            assert_eq!(ended.attempts, taken.attempts, "its attempts are counted anew");
            assert_ne!(runs(&ended), runs(&taken));
        }
    }
}
