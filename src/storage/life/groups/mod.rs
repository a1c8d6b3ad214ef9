//! Home: groups. The jobs of each start in the order of enqueueing, and run one at a time, or as many at a time as the
//! settings of the queue say.
//!
//! The members of a group are in `members`, ordered by id. At most so many of them are *heads*, the members that can run.
//! A head has a row in `heads` if it is ready, a pointer in `delayed` if it is due later, and neither while the group
//! is paused. While a dead letter holds the group, no member becomes a head ([`hold`]). Dispatch sees only heads. So a
//! group with a million members does not hide other jobs, and no lock is needed for running few members at a time.

mod hold;
mod pausing;
pub(in crate::storage) mod problems;
pub(in crate::storage) mod row;

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;

use crate::job::life;
use crate::job::{Change, GroupPolicy, JobId, Order, QueueId, ReadyJob, Record, State};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{decode_record, encode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Member, Place};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::unreadable::Unreadable;
use crate::storage::rows::untrusted::HeadValue;
use crate::time::Due;
use row::{GroupRow, Head, HeadAt};

impl Batch<'_> {
    /// The place in its group that a job gets for this sequence number; `None` if it has no group.
    pub(super) fn member_for(&mut self, queue: QueueId, record: &Record, seq: u64) -> Option<Member> {
        let group = record.group()?.clone();
        let waits = record.due().is_some_and(|due| !due.is_due(self.now));
        let skips = self.queue_ref(queue).settings.groups == GroupPolicy::Skip;
        Some(Member { group, parked: skips && waits, seq })
    }

    /// Stores a member at its place. It becomes a head if there is a place for it. `waits` is when it is due, unless that
    /// has passed.
    pub(super) fn join_group(
        &mut self,
        queue: QueueId,
        id: JobId,
        member: &Member,
        waits: Option<Due>,
        bytes: Bytes,
    ) -> Result<(), Fault> {
        self.put_member(queue, member, id, &bytes)?;
        let mut row = self.group(queue, &member.group)?;
        let is_parked = waits.filter(|_| member.parked);
        if let Some(due) = is_parked {
            self.put_pointer(queue, id, due)?;
            return if row.remove_head(id) { self.fill(queue, &member.group, row) } else { Ok(()) };
        }
        let comes_back = row.head(id).is_some();
        if !comes_back && !self.has_room(queue, &row) {
            return Ok(());
        }
        // With one head at most, nobody else waits.
        if comes_back || self.heads_max(queue) == 1 {
            return self.set_head(queue, row, member, id, bytes);
        }
        self.fill(queue, &member.group, row)
    }

    /// Writes a member's row at its place. The index is told by the caller.
    fn put_member(&mut self, queue: QueueId, member: &Member, id: JobId, bytes: &Bytes) -> Result<(), Fault> {
        self.moved(bytes.len());
        self.tables.members()?.insert(member.key(queue, id), &**bytes)?;
        Ok(())
    }

    /// Makes a member a head of its group, and writes the group's row.
    fn set_head(
        &mut self,
        queue: QueueId,
        mut row: GroupRow,
        member: &Member,
        id: JobId,
        bytes: Bytes,
    ) -> Result<(), Fault> {
        self.make_head(queue, &mut row, member, id, bytes)?;
        self.put_group(queue, &member.group, &row)
    }

    /// Makes a member a head of its group: ready, due later, or held by a pause. The group's row is not written yet.
    pub(super) fn make_head(
        &mut self,
        queue: QueueId,
        row: &mut GroupRow,
        member: &Member,
        id: JobId,
        bytes: Bytes,
    ) -> Result<(), Fault> {
        let mut record = decode_record(TableName::Members, id.get(), &bytes)?;
        let waits = record.due().filter(|due| !due.is_due(self.now));
        let at = if row.is_paused() {
            HeadAt::Held
        } else if let Some(due) = waits {
            self.put_pointer(queue, id, due)?;
            HeadAt::Due(due)
        } else {
            let bytes = self.make_pending(queue, member, id, &mut record, bytes)?;
            let position = self.counters.next_position;
            self.counters.next_position += 1;
            let priority = record.priority.get();
            self.tables.heads()?.insert(
                (queue, priority, position),
                HeadValue::encode(id.get(), member.seq, &member.group).as_slice(),
            )?;
            self.moved(bytes.len());
            let entry = Arc::new(ReadyJob::new(id, position, record, bytes.len()));
            self.changes.push(Change::Ready { queue, job: entry });
            HeadAt::Ready { priority, position }
        };
        row.put_head(Head { id, seq: member.seq, at });
        Ok(())
    }

    /// Stores a member that was handed out before it was in the file, as a head at the position from which it was handed out.
    pub(super) fn put_handed_out_head(
        &mut self,
        queue: QueueId,
        taken: &ReadyJob,
        member: &Member,
        bytes: &Bytes,
    ) -> Result<(), Fault> {
        self.put_member(queue, member, taken.id, bytes)?;
        let mut row = self.group(queue, &member.group)?;
        let at = if row.is_paused() {
            // It runs, and is not started again before the group is resumed.
            HeadAt::Held
        } else {
            let Order { priority, position } = taken.order;
            self.tables.heads()?.insert(
                (queue, priority, position),
                HeadValue::encode(taken.id.get(), member.seq, &member.group).as_slice(),
            )?;
            HeadAt::Ready { priority, position }
        };
        row.put_head(Head { id: taken.id, seq: member.seq, at });
        self.put_group(queue, &member.group, &row)
    }

    /// A member that was due later is pending once it may run.
    fn make_pending(
        &mut self,
        queue: QueueId,
        member: &Member,
        id: JobId,
        record: &mut Record,
        bytes: Bytes,
    ) -> Result<Bytes, Fault> {
        if record.state == State::Pending {
            return Ok(bytes);
        }
        self.count_promoted(queue, record.state);
        life::promote(record);
        let new = encode_record(record);
        // A row that an earlier version wrote has another length now.
        let tally = self.tally(queue);
        tally.bytes = (tally.bytes + new.len() as u64).saturating_sub(bytes.len() as u64);
        self.tables.members()?.insert(member.key(queue, id), &*new)?;
        Ok(new)
    }

    /// Removes a member whose head entry is gone already or was never there. False if there is no
    /// such member.
    pub(in crate::storage) fn leave_group(&mut self, queue: QueueId, id: JobId) -> Result<bool, Fault> {
        let Some(member) = self.member(id)? else { return Ok(false) };
        self.tables.members()?.remove(member.key(queue, id))?;
        let mut row = self.group(queue, &member.group)?;
        if row.remove_head(id) {
            self.fill(queue, &member.group, row)?;
        }
        Ok(true)
    }

    /// Removes a waiting member and every entry that leads to it, and returns its row. If it was a head, the next
    /// member becomes one, unless it `comes_back` in the same batch: then its place is kept until it has joined again.
    pub(in crate::storage) fn leave_waiting(
        &mut self,
        queue: QueueId,
        member: &Member,
        id: JobId,
        comes_back: bool,
    ) -> Result<Option<Bytes>, Fault> {
        let Some(bytes) = self.tables.members()?.get_row(member.key(queue, id))? else { return Ok(None) };
        let mut row = self.group(queue, &member.group)?;
        if member.parked {
            // A member that cannot be read was found by its pointer, which is removed already.
            let record = decode_record(TableName::Members, id.get(), &bytes).ok();
            if let Some(due) = record.and_then(|record| record.due()) {
                self.remove_pointer(queue, id, due)?;
            }
        } else if let Some(head) = row.head(id) {
            self.drop_head_entry(queue, head)?;
            if comes_back {
                row.put_head(Head { at: HeadAt::Held, ..head });
                self.put_group(queue, &member.group, &row)?;
            }
        }
        match comes_back {
            true => drop(self.tables.members()?.remove(member.key(queue, id))?),
            false => drop(self.leave_group(queue, id)?),
        }
        Ok(Some(bytes))
    }

    /// Members that are not parked become heads, in their order, until the group has as many as it may have, and writes the
    /// group's row. No member does while a dead letter holds the group. A member that cannot be read is moved to the quarantine,
    /// because it would block its group for good.
    pub(in crate::storage) fn fill(
        &mut self,
        queue: QueueId,
        group: &Arc<str>,
        mut row: GroupRow,
    ) -> Result<(), Fault> {
        while self.has_room(queue, &row)
            && let Some((seq, id, bytes)) = self.first_waiting_member(queue, group, &row.heads)?
        {
            let member = Member { group: group.clone(), parked: false, seq };
            if decode_record(TableName::Members, id.get(), &bytes).is_err() {
                self.tables.members()?.remove(member.key(queue, id))?;
                self.unreadable.push(Unreadable::Left { queue, id, place: Place::Member(member), row: bytes });
                continue;
            }
            self.make_head(queue, &mut row, &member, id, bytes)?;
        }
        self.put_group(queue, group, &row)
    }

    /// Fills groups whose names come behind `after`, each of which may have more heads than before: at most `groups_max`, and no
    /// further one once the jobs that can start have as many bytes as are moved at once. Returns the name of the last group that
    /// was looked at, if others may follow.
    pub(in crate::storage::life) fn fill_some(
        &mut self,
        queue: QueueId,
        after: Option<&str>,
        groups_max: usize,
    ) -> Result<Option<Arc<str>>, Fault> {
        self.touch();
        let from = match after {
            Some(after) => Bound::Excluded((queue, after)),
            None => Bound::Included((queue, "")),
        };
        let mut groups: Vec<Arc<str>> = Vec::new();
        for row in self.tables.groups()?.range::<(QueueId, &str)>((from, Bound::Unbounded))?.take(groups_max) {
            let (key, _) = row?;
            let (of, group) = key.value();
            if of != queue {
                break;
            }
            groups.push(group.into());
        }
        let is_last_page = groups.len() < groups_max;
        let before = self.moved_bytes();
        for (looked_at, group) in groups.iter().enumerate() {
            let row = self.group(queue, group)?;
            if self.has_room(queue, &row) {
                self.fill(queue, group, row)?;
            }
            let is_last = is_last_page && looked_at + 1 == groups.len();
            if !is_last && self.moved_bytes() - before >= self.limits.moved_at_once {
                return Ok(Some(group.clone()));
            }
        }
        Ok(if is_last_page { None } else { groups.pop() })
    }

    /// The place at which a head, which was handed out, waits. It is parked there if the rest of its group goes on.
    pub(super) fn place_put_off(&mut self, queue: QueueId, member: Member) -> Member {
        let parked = self.queue_ref(queue).settings.groups == GroupPolicy::Skip;
        Member { parked: parked || member.parked, ..member }
    }

    /// Moves a head, which was handed out, to the place at which it waits.
    pub(super) fn put_off_head(
        &mut self,
        queue: QueueId,
        taken: &ReadyJob,
        (from, to): (&Member, &Member),
        bytes: Bytes,
        due: Due,
    ) -> Result<(), Fault> {
        let id = taken.id;
        let mut row = self.group(queue, &to.group)?;
        self.tables.heads()?.remove((queue, taken.order.priority, taken.order.position))?;
        if !to.parked {
            self.put_member(queue, to, id, &bytes)?;
            return self.set_head(queue, row, to, id, bytes);
        }
        self.tables.members()?.remove(from.key(queue, id))?;
        self.put_member(queue, to, id, &bytes)?;
        self.put_pointer(queue, id, due)?;
        row.remove_head(id);
        self.fill(queue, &to.group, row)
    }

    /// A head comes back unfinished. If its group was paused meanwhile, the pause holds it as well, and this
    /// returns false.
    pub(in crate::storage) fn return_head(&mut self, queue: QueueId, back: &ReadyJob) -> Result<bool, Fault> {
        let Some(member) = self.member(back.id)? else { return Ok(false) };
        let mut row = self.group(queue, &member.group)?;
        if !row.is_paused() {
            return Ok(true);
        }
        self.tables.heads()?.remove((queue, back.order.priority, back.order.position))?;
        if let Some(head) = row.head(back.id) {
            row.put_head(Head { at: HeadAt::Held, ..head });
        }
        self.put_group(queue, &member.group, &row)?;
        Ok(false)
    }

    /// A member's time has come: its pointer is removed, and it is ready if it is a head.
    pub(in crate::storage) fn promote_member(&mut self, queue: QueueId, id: JobId, due: Due) -> Result<(), Fault> {
        let member = self.member(id)?;
        let row = match &member {
            Some(member) => self.group(queue, &member.group)?,
            None => GroupRow::default(),
        };
        self.remove_pointer(queue, id, due)?;
        let Some(member) = member else { return Ok(()) };
        let Some(bytes) = self.tables.members()?.get_row(member.key(queue, id))? else { return Ok(()) };
        if !member.parked {
            return self.set_head(queue, row, &member, id, bytes);
        }
        let mut record = decode_record(TableName::Members, id.get(), &bytes)?;
        self.tables.members()?.remove(member.key(queue, id))?;
        let back = Member { parked: false, ..member };
        self.put_member(queue, &back, id, &bytes)?;
        self.index(id, queue, Place::Member(back.clone()))?;
        self.make_pending(queue, &back, id, &mut record, bytes)?;
        if self.has_room(queue, &row) { self.fill(queue, &back.group, row) } else { Ok(()) }
    }

    // --- made anew ---

    /// Makes the row of a head anew that leads to no member, at the tail of its priority. If the member's own row
    /// cannot be read, it is noted in `Batch::unreadable`.
    pub(in crate::storage) fn renew_head(&mut self, queue: QueueId, order: Order) -> Result<(), Fault> {
        let key = (queue, order.priority, order.position);
        let damaged = self.tables.heads()?.get(key)?.map(|row| row.value().to_vec());
        let Some(damaged) = damaged else { return Ok(()) };
        if let Some((id, seq, group)) = HeadValue::decode(&damaged)
            && self.tables.members()?.has((queue, group, 0, seq, id))?
        {
            return Ok(());
        }
        self.tables.heads()?.remove(key)?;
        self.quarantine_row_of(TableName::Heads, &key, &damaged, (Some(queue), None))?;
        let stands_at = HeadAt::Ready { priority: order.priority, position: order.position };
        let head_there = |row: &GroupRow| row.heads.iter().find(|head| head.at == stands_at).copied();
        let found = self.find_group(queue, |row| head_there(row).is_some())?;
        let Some((group, mut row)) = found else { return Ok(()) };
        let Some(head) = head_there(&row) else { return Ok(()) };
        // Dispatch can know the head at its old position from another source: as a suspect after a crash.
        self.changes.push(Change::Gone { queue, grouped: true, order, id: head.id });
        let member = Member { group: group.clone(), parked: false, seq: head.seq };
        match self.tables.members()?.get_row(member.key(queue, head.id))? {
            None => {
                row.remove_head(head.id);
                self.fill(queue, &group, row)?;
            }
            Some(bytes) if decode_record(TableName::Members, head.id.get(), &bytes).is_ok() => {
                self.set_head(queue, row, &member, head.id, bytes)?;
            }
            Some(_) => self.unreadable.push(Unreadable::InPlace(head.id)),
        }
        Ok(())
    }
}
