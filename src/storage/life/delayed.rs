//! Jobs that are due later, and their promotion when they are due.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;

use crate::job::{Change, JobId, QueueId, ReadyJob, Record, State};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{decode_record, encode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{POINTER, Place, is_pointer};
use crate::storage::rows::tables::DelayedKey;
use crate::time::{Due, TimeLine, Timestamp};

/// Bytes of due rows that are read at a time, about: each is moved before more are read.
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
        self.index(id, queue, Place::Delayed { due })?;
        self.changes.push(Change::Due { queue, due });
        Ok(())
    }

    pub(in crate::storage) fn take_delayed(
        &mut self,
        queue: QueueId,
        id: JobId,
        due: Due,
    ) -> Result<Option<Bytes>, Fault> {
        self.unindex(id)?;
        let row = self.tables.delayed()?.remove(key(queue, due, id))?;
        Ok(row.map(|row| Bytes::copy_from_slice(row.value())))
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

    /// Puts off a job that was handed out until `due`.
    pub fn put_off(&mut self, queue: QueueId, taken: &ReadyJob, record: &Record, due: Due) -> Result<(), Fault> {
        self.touch();
        self.unmark(taken.id)?;
        // Before anything that makes it ready again: while it is taken, dispatch ignores it.
        self.changes.push(Change::Settled { id: taken.id });
        self.unindex_expiry(queue, taken.id, &taken.record)?;
        let bytes = encode_record(record);
        match taken.group() {
            None => {
                let was_there = self.tables.ready()?.remove((queue, taken.order.priority, taken.id.get()))?.is_some();
                if was_there {
                    self.count_put_off(queue, taken, record.state, bytes.len());
                    self.put_delayed(queue, taken.id, due, &bytes)?;
                }
            }
            Some(_) => {
                if let Some(member) = self.member(taken.id)? {
                    self.count_put_off(queue, taken, record.state, bytes.len());
                    self.put_off_head(queue, taken, &member, bytes, due)?;
                }
            }
        }
        Ok(())
    }

    /// A pending job waits from now on, in this state and with a record of so many bytes.
    fn count_put_off(&mut self, queue: QueueId, taken: &ReadyJob, state: State, bytes: usize) {
        let tally = self.tally(queue);
        tally.bytes = (tally.bytes + bytes as u64).saturating_sub(u64::from(taken.bytes));
        tally.pending = tally.pending.saturating_sub(1);
        match state {
            State::Retrying => tally.retrying += 1,
            _ => tally.scheduled += 1,
        }
    }

    /// Makes jobs of `queue` that are due ready: one, and more until that were `jobs_max`, or as many bytes as one command
    /// may move.
    pub fn promote(&mut self, queue: QueueId, jobs_max: usize) -> Result<(), Fault> {
        let (mut promoted, before) = (0, self.moved_bytes());
        'lines: for line in [TimeLine::Wall, TimeLine::Engine] {
            let mut after = None;
            loop {
                let rows = self.due_rows(queue, line, after, jobs_max - promoted)?;
                let Some((id, due, _)) = rows.last() else { break };
                after = Some((due.at, *id));
                for (id, due, row) in rows {
                    self.promote_one(queue, id, due, row)?;
                    promoted += 1;
                    // The rest stays where it is, and is due.
                    if promoted == jobs_max || self.moved_bytes() - before >= self.limits.moved_at_once {
                        tracing::trace!("a promotion leaves the rest to the next commit");
                        break 'lines;
                    }
                }
            }
        }
        let next_due = [self.first_due(queue, TimeLine::Wall)?, self.first_due(queue, TimeLine::Engine)?];
        self.changes.push(Change::Promoted { queue, next_due });
        Ok(())
    }

    /// Makes what stands here ready, or sets it aside.
    fn promote_one(&mut self, queue: QueueId, id: JobId, due: Due, row: Bytes) -> Result<(), Fault> {
        self.touch();
        let made_ready = match is_pointer(&row) {
            true => self.promote_member(queue, id, due),
            false => self.promote_plain(queue, id, due, row.clone()),
        };
        match (made_ready, is_pointer(&row)) {
            (Err(Fault::Corrupt { .. }), true) => self.quarantine_job(id).map(drop),
            (Err(Fault::Corrupt { .. }), false) => self.set_aside(queue, id, &Place::Delayed { due }, &row),
            (made_ready, _) => made_ready,
        }
    }

    fn promote_plain(&mut self, queue: QueueId, id: JobId, due: Due, row: Bytes) -> Result<(), Fault> {
        self.tables.delayed()?.remove(key(queue, due, id))?;
        let record = decode_record("delayed", id.get(), &row)?;
        self.unindex(id)?;
        self.became_ready(queue, record.state);
        let entry = ReadyJob::new(id, id.get(), record, row.len());
        self.put_ready(queue, Arc::new(entry), &row);
        Ok(())
    }

    pub(in crate::storage) fn became_ready(&mut self, queue: QueueId, from: State) {
        let tally = self.tally(queue);
        let count = match from {
            State::Retrying => &mut tally.retrying,
            _ => &mut tally.scheduled,
        };
        *count = count.saturating_sub(1);
        tally.pending += 1;
    }

    /// The next rows that are due behind `after`: one, and more until there are `rows_max` or a page is full.
    fn due_rows(
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

    fn first_due(&mut self, queue: QueueId, line: TimeLine) -> Result<Option<Due>, Fault> {
        let range = (queue, line as u8, 0, 0)..=(queue, line as u8, u64::MAX, u64::MAX);
        let first = self.tables.delayed()?.range(range)?.next().transpose()?;
        Ok(first.map(|(key, _)| Due { line, at: Timestamp::from_millis(key.value().2) }))
    }
}
