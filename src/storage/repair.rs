//! What is derived from jobs' records, and cannot be read, is made anew from them.
//!
//! It looks through whole tables for that, on the writer's thread: damage is rare, and an index that
//! stays wrong is worse.

use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;

use super::batch::Batch;
use super::codec::{self, decode_record};
use super::delayed::is_pointer;
use super::fault::Fault;
use super::groups::{GroupRow, Head, HeadAt};
use super::place::{Location, Member, Place};
use super::tables_ext::RowTable;
use super::untrusted::HeadValue;
use crate::job::{BucketState, Change, JobId, Order, QueueId, State};
use crate::time::{Due, TimeLine, Timestamp};

impl Batch<'_> {
    // --- the index ----------------------------------------------------------------------------

    /// Where the index has the job.
    pub fn indexed(&mut self, id: JobId) -> Result<Option<Location>, Fault> {
        let Some(row) = self.tables.index()?.get_row(id.get())? else { return Ok(None) };
        match codec::decode("index", id.get(), &row) {
            Ok(location) => Ok(Some(location)),
            Err(_) => self.index_anew(id, &row),
        }
    }

    fn index_anew(&mut self, id: JobId, damaged: &[u8]) -> Result<Option<Location>, Fault> {
        self.set_row_aside("index", &id, damaged, (None, Some(id)))?;
        self.unindex(id)?;
        let found = self.search(id)?;
        if let Some(Location { queue, place }) = found.clone() {
            self.index(id, queue, place)?;
        }
        Ok(found)
    }

    /// Looks for a job by its number alone, wherever an index entry could lead.
    fn search(&mut self, id: JobId) -> Result<Option<Location>, Fault> {
        for row in self.tables.members()?.iter()? {
            let key = row?.0;
            let (queue, group, parked, seq, number) = key.value();
            if number == id.get() {
                let place = Place::Member(Member { group: group.into(), parked: parked == 1, seq });
                return Ok(Some(Location { queue, place }));
            }
        }
        for row in self.tables.delayed()?.iter()? {
            let (key, value) = row?;
            let (queue, line, at, number) = key.value();
            if number == id.get() && !is_pointer(value.value()) {
                let line = if line == TimeLine::Wall as u8 { TimeLine::Wall } else { TimeLine::Engine };
                let place = Place::Delayed { due: Due { line, at: Timestamp::from_millis(at) } };
                return Ok(Some(Location { queue, place }));
            }
        }
        for row in self.tables.dead_letters()?.iter()? {
            let (queue, at, number) = row?.0.value();
            if number == id.get() {
                return Ok(Some(Location { queue, place: Place::Dead { at: Timestamp::from_millis(at) } }));
            }
        }
        for row in self.tables.finished()?.iter()? {
            let (queue, state, at, number) = row?.0.value();
            if number == id.get() {
                let state = if state == State::Completed as u8 { State::Completed } else { State::Cancelled };
                let place = Place::Finished { state, at: Timestamp::from_millis(at) };
                return Ok(Some(Location { queue, place }));
            }
        }
        Ok(None)
    }

    // --- groups -------------------------------------------------------------------------------

    /// A group has a row if it has a head or is paused, and a head that is not held by a pause has an
    /// entry in `heads` or `delayed`: so the row follows from the others.
    pub(super) fn group_anew(&mut self, queue: QueueId, group: &str, damaged: &[u8]) -> Result<GroupRow, Fault> {
        self.set_row_aside("groups", &(queue, group), damaged, (Some(queue), None))?;
        let head = match self.ready_head(queue, group)? {
            Some(head) => Some(head),
            None => self.due_head(queue, group)?,
        };
        let row = match head {
            Some(head) => GroupRow { head: Some(head), paused: false },
            None => {
                let first = self.first_in_line(queue, group)?;
                GroupRow { head: first.map(|(seq, id, _)| Head { id, seq, at: HeadAt::Held }), paused: true }
            }
        };
        self.put_group(queue, group, row)?;
        Ok(row)
    }

    fn ready_head(&mut self, queue: QueueId, group: &str) -> Result<Option<Head>, Fault> {
        for row in self.tables.heads()?.range((queue, 0, 0)..=(queue, u8::MAX, u64::MAX))? {
            let (key, value) = row?;
            let (_, priority, position) = key.value();
            if let Some((id, seq, of)) = HeadValue::decode(value.value())
                && of == group
            {
                return Ok(Some(Head { id: JobId::new(id), seq, at: HeadAt::Ready { priority, position } }));
            }
        }
        Ok(None)
    }

    fn due_head(&mut self, queue: QueueId, group: &str) -> Result<Option<Head>, Fault> {
        let mut dues = Vec::new();
        for row in self.tables.members()?.range((queue, group, 0, 0, 0)..=(queue, group, 0, u64::MAX, u64::MAX))? {
            let (key, value) = row?;
            let (.., seq, id) = key.value();
            let record = decode_record("members", id, &Bytes::copy_from_slice(value.value())).ok();
            if let Some(due) = record.and_then(|record| record.due()) {
                dues.push((seq, JobId::new(id), due));
            }
        }
        for (seq, id, due) in dues {
            if self.tables.delayed()?.has((queue, due.line as u8, due.at.as_millis(), id.get()))? {
                return Ok(Some(Head { id, seq, at: HeadAt::Due(due) }));
            }
        }
        Ok(None)
    }

    // --- heads --------------------------------------------------------------------------------

    /// A head's row that leads nowhere is made anew, at the tail of its priority.
    pub(super) fn renew_head(&mut self, queue: QueueId, order: Order) -> Result<(), Fault> {
        let key = (queue, order.priority, order.position);
        let damaged = self.tables.heads()?.get(key)?.map(|row| row.value().to_vec());
        let Some(damaged) = damaged else { return Ok(()) };
        if let Some((id, seq, group)) = HeadValue::decode(&damaged)
            && self.tables.members()?.has((queue, group, 0, seq, id))?
        {
            return Ok(());
        }
        self.tables.heads()?.remove(key)?;
        self.set_row_aside("heads", &key, &damaged, (Some(queue), None))?;
        let Some((group, row, head)) = self.headed_at(queue, order)? else { return Ok(()) };
        // Dispatch may know it from elsewhere, at the old place: a suspect after a crash.
        self.changes.push(Change::Gone { queue, grouped: true, order, id: head.id });
        let member = Member { group: group.clone(), parked: false, seq: head.seq };
        match self.tables.members()?.get_row(member.key(queue, head.id))? {
            None => self.advance(queue, &group, row)?,
            Some(bytes) if decode_record("members", head.id.get(), &bytes).is_ok() => {
                self.set_head(queue, row, &member, head.id, bytes)?;
            }
            Some(_) => {
                self.quarantine_job(head.id)?;
            }
        }
        Ok(())
    }

    /// The group whose head stands at this place in the dispatch order.
    fn headed_at(&mut self, queue: QueueId, order: Order) -> Result<Option<(Arc<str>, GroupRow, Head)>, Fault> {
        let stands_at = HeadAt::Ready { priority: order.priority, position: order.position };
        for row in self.tables.groups()?.range((queue, "")..)? {
            let (key, value) = row?;
            let (of, group) = key.value();
            if of != queue {
                break;
            }
            let Ok(row) = codec::decode::<GroupRow>("groups", u64::from(queue), value.value()) else { continue };
            if let Some(head) = row.head.filter(|head| head.at == stands_at) {
                return Ok(Some((group.into(), row, head)));
            }
        }
        Ok(None)
    }

    // --- rates --------------------------------------------------------------------------------

    /// A bucket that cannot be read is empty, and fills from now on: it may slow a queue down, it never
    /// lets more start. One of a queue that has no row goes: the number will be another queue's.
    pub fn tidy_buckets(&mut self) -> Result<(), Fault> {
        let catalog = self.catalog();
        let (mut damaged, mut stray) = (Vec::new(), Vec::new());
        for row in self.tables.rates()?.iter()? {
            let (key, row) = row?;
            let (queue, group) = key.value();
            if !catalog.is_stored(queue) {
                stray.push((queue, group.to_owned()));
            } else if codec::decode::<BucketState>("rates", u64::from(queue), row.value()).is_err() {
                damaged.push((queue, group.to_owned(), row.value().to_vec()));
            }
        }
        for (queue, group) in stray {
            self.touch();
            self.tables.rates()?.remove((queue, &*group))?;
        }
        for (queue, group, row) in damaged {
            self.set_row_aside("rates", &(queue, &*group), &row, (Some(queue), None))?;
            let empty = BucketState { tokens: 0.0, at: self.now.age, held_until: None };
            self.tables.rates()?.insert((queue, &*group), codec::encode(&empty).as_slice())?;
        }
        Ok(())
    }
}
