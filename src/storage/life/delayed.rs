//! Home: jobs that are due later, and the pointers to members of groups that are.

use std::ops::Bound;

use bytes::Bytes;
use redb::ReadableTable;

use super::facets::check_job;
use super::verifier::Verifier;
use crate::job::{Change, JobId, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{POINTER, Place, is_pointer};
use crate::storage::rows::tables::DelayedKey;
use crate::time::{Due, TimeLine, Timestamp};

/// About how many bytes of due rows are read at a time. They are moved before more are read.
const PAGE_BYTES: usize = 1 << 20;

fn key(queue: QueueId, due: Due, id: JobId) -> DelayedKey {
    (queue, due.line as u8, due.at.as_millis(), id.get())
}

impl Batch<'_> {
    pub(in crate::storage) fn put_delayed(
        &mut self,
        queue: QueueId,
        id: JobId,
        due: Due,
        record: &Bytes,
    ) -> Result<(), Fault> {
        self.moved(record.len());
        self.tables.delayed()?.insert(key(queue, due, id), &**record)?;
        self.changes.push(Change::Due { queue, due });
        Ok(())
    }

    pub(super) fn take_delayed(&mut self, queue: QueueId, id: JobId, due: Due) -> Result<bool, Fault> {
        Ok(self.tables.delayed()?.remove(key(queue, due, id))?.is_some())
    }

    /// Notes when a group's member is due. The member itself stays where it is.
    pub(in crate::storage) fn put_pointer(&mut self, queue: QueueId, id: JobId, due: Due) -> Result<(), Fault> {
        self.tables.delayed()?.insert(key(queue, due, id), POINTER.as_slice())?;
        self.changes.push(Change::Due { queue, due });
        Ok(())
    }

    pub(in crate::storage) fn remove_pointer(&mut self, queue: QueueId, id: JobId, due: Due) -> Result<(), Fault> {
        self.tables.delayed()?.remove(key(queue, due, id))?;
        Ok(())
    }

    /// The next rows that are due behind `after`: one, and more until there are `rows_max` or a page is full.
    pub(super) fn due_rows(
        &mut self,
        queue: QueueId,
        line: TimeLine,
        after: Option<(Timestamp, JobId)>,
        rows_max: usize,
    ) -> Result<Vec<(JobId, Due, Bytes)>, Fault> {
        let until = self.now.on(line).as_millis();
        let from = match after {
            Some((at, id)) => Bound::Excluded((queue, line as u8, at.as_millis(), id.get())),
            None => Bound::Included((queue, line as u8, 0, 0)),
        };
        let to = Bound::Included((queue, line as u8, until, u64::MAX));
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in self.tables.delayed()?.range((from, to))?.take(rows_max) {
            let (key, value) = row?;
            let (_, _, at, id) = key.value();
            let due = Due { line, at: Timestamp::from_millis(at) };
            let row = Bytes::copy_from_slice(value.value());
            bytes += row.len();
            rows.push((JobId::new(id), due, row));
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(rows)
    }

    pub(super) fn first_due(&mut self, queue: QueueId, line: TimeLine) -> Result<Option<Due>, Fault> {
        let range = (queue, line as u8, 0, 0)..=(queue, line as u8, u64::MAX, u64::MAX);
        let first = self.tables.delayed()?.range(range)?.next().transpose()?;
        Ok(first.map(|(key, _)| Due { line, at: Timestamp::from_millis(key.value().2) }))
    }
}

/// Checks the jobs of this home. `check_pointer` checks the pointers to members of groups, which are in the same table.
pub(in crate::storage) fn problems(
    verifier: &mut Verifier<'_>,
    check_pointer: impl Fn(&mut Verifier<'_>, QueueId, u64, Due) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let all = (0, 0, 0, 0)..=(u32::MAX, u8::MAX, u64::MAX, u64::MAX);
    for row in verifier.delayed.range(all)? {
        let (key, row) = row?;
        let (queue, line, at, id) = key.value();
        let Some(line) = time_line(line) else {
            let queue = verifier.name(queue);
            verifier.problem(format!("job {id} of {queue} is delayed on a time line that does not exist"));
            continue;
        };
        let due = Due { line, at: Timestamp::from_millis(at) };
        match is_pointer(row.value()) {
            true => check_pointer(verifier, queue, id, due)?,
            false => drop(check_job(verifier, queue, id, Place::Delayed { due }, row.value())?),
        }
    }
    Ok(())
}

fn time_line(line: u8) -> Option<TimeLine> {
    [TimeLine::Wall, TimeLine::Engine].into_iter().find(|known| *known as u8 == line)
}
