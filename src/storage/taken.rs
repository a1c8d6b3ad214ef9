use super::codec::{self, decode_record};
use super::fault::Fault;
use super::place::{Location, Place};
use super::queries::Reader;
use super::tables_ext::RowTable;
use crate::job::{Entry, QueueId, Record};

impl Reader {
    /// Whether a job that was handed out is in the file as it was then: no end of that run, and nothing
    /// else, has been written of it.
    pub fn is_as_taken(&self, queue: QueueId, taken: &Entry) -> Result<bool, Fault> {
        let id = taken.id.get();
        let row = if taken.is_grouped() {
            match self.tables().index()?.get_row(id)? {
                Some(row) => match codec::decode("index", id, &row)? {
                    Location { queue: found, place: Place::Member(member) } if found == queue && !member.parked => {
                        self.tables().members()?.get_row(member.key(queue, taken.id))?
                    }
                    _ => None,
                },
                None => None,
            }
        } else {
            self.tables().ready()?.get_row((queue, taken.order.priority, id))?
        };
        let Some(row) = row else { return Ok(false) };
        let found = decode_record("ready", id, &row)?;
        Ok(runs(&found) == runs(&taken.record))
    }
}

/// What every end of an attempt that leaves the job waiting changes.
fn runs(record: &Record) -> (u32, u32) {
    (record.attempts, record.extra.as_ref().map_or(0, |extra| extra.snoozes))
}
