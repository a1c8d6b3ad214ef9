//! The row of a group: its heads, and what keeps its members from running. A row that cannot be read is made anew from the rows
//! of its members.

use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use crate::job::{Change, GroupPolicy, JobId, Order, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{self, decode_record};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::MemberKey;
use crate::storage::rows::tables_ext::{RowTable, remove_rows_of};
use crate::storage::rows::untrusted::HeadValue;
use crate::time::Due;

/// A group that has members, is paused, or is held by a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRow {
    /// In the order of their places. Files that know one head at most have the same bytes.
    pub heads: Vec<Head>,
    pub stop: Stop,
}

/// What keeps the members of a group from running. Files that know no holds have the numbers 0 and 1 here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stop {
    #[default]
    Nothing,
    /// An operator has paused the group: its heads have no entries.
    Paused,
    /// No member becomes a head, until the dead letter is gone.
    Held(HeldBy),
    /// Both.
    PausedAndHeld(HeldBy),
}

/// The dead letter that holds a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldBy {
    pub id: JobId,
    /// Its place in the group, to which it comes back.
    pub seq: u64,
}

impl GroupRow {
    pub fn head(&self, id: JobId) -> Option<Head> {
        self.heads.iter().find(|head| head.id == id).copied()
    }

    /// Adds a head, or notes where it is now.
    pub(super) fn put_head(&mut self, head: Head) {
        self.remove_head(head.id);
        let at = self.heads.partition_point(|other| (other.seq, other.id) < (head.seq, head.id));
        self.heads.insert(at, head);
    }

    /// Returns whether the job was a head.
    pub(super) fn remove_head(&mut self, id: JobId) -> bool {
        let before = self.heads.len();
        self.heads.retain(|head| head.id != id);
        self.heads.len() < before
    }

    pub fn is_paused(&self) -> bool {
        matches!(self.stop, Stop::Paused | Stop::PausedAndHeld(_))
    }

    pub fn held_by(&self) -> Option<HeldBy> {
        match self.stop {
            Stop::Held(by) | Stop::PausedAndHeld(by) => Some(by),
            Stop::Nothing | Stop::Paused => None,
        }
    }

    pub(super) fn held(self, by: HeldBy) -> Self {
        let stop = if self.is_paused() { Stop::PausedAndHeld(by) } else { Stop::Held(by) };
        Self { stop, ..self }
    }

    pub(super) fn released(self) -> Self {
        let stop = if self.is_paused() { Stop::Paused } else { Stop::Nothing };
        Self { stop, ..self }
    }

    pub(super) fn unpaused(self) -> Self {
        let stop = self.held_by().map_or(Stop::Nothing, Stop::Held);
        Self { stop, ..self }
    }

    pub(super) fn paused(self) -> Self {
        let stop = self.held_by().map_or(Stop::Paused, Stop::PausedAndHeld);
        Self { stop, ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub id: JobId,
    pub seq: u64,
    pub at: HeadAt,
}

/// Where a head's index entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HeadAt {
    Ready {
        priority: u8,
        position: u64,
    },
    Due(Due),
    /// Nowhere: the group is paused.
    Held,
}

impl Batch<'_> {
    /// How many heads a group of this queue has at most.
    pub(super) fn heads_max(&mut self, queue: QueueId) -> usize {
        self.queue_ref(queue).settings.group_concurrency.max(1) as usize
    }

    /// Whether the group may have another head.
    pub(super) fn has_room(&mut self, queue: QueueId, row: &GroupRow) -> bool {
        row.held_by().is_none() && row.heads.len() < self.heads_max(queue)
    }

    pub(in crate::storage) fn group(&mut self, queue: QueueId, group: &str) -> Result<GroupRow, Fault> {
        match self.tables.groups()?.get_row((queue, group))? {
            Some(row) => match codec::decode(TableName::Groups, u64::from(queue), &row) {
                Ok(row) => Ok(row),
                Err(_) => self.group_anew(queue, group, &row),
            },
            None => Ok(GroupRow::default()),
        }
    }

    /// The first group of a queue whose row is as wanted. Looks at all of them. A row that cannot be read is made anew when it is
    /// met.
    pub(super) fn find_group(
        &mut self,
        queue: QueueId,
        is_wanted: impl Fn(&GroupRow) -> bool,
    ) -> Result<Option<(Arc<str>, GroupRow)>, Fault> {
        for row in self.tables.groups()?.range((queue, "")..)? {
            let (key, value) = row?;
            let (of, group) = key.value();
            if of != queue {
                break;
            }
            let row = codec::decode::<GroupRow>(TableName::Groups, u64::from(queue), value.value());
            if let Some(row) = row.ok().filter(|row| is_wanted(row)) {
                return Ok(Some((group.into(), row)));
            }
        }
        Ok(None)
    }

    pub(in crate::storage) fn put_group(&mut self, queue: QueueId, group: &str, row: &GroupRow) -> Result<(), Fault> {
        if *row == GroupRow::default() {
            self.tables.groups()?.remove((queue, group))?;
            if self.catalog().has_consumers() {
                self.changes.push(Change::GroupEmpty { queue, group: group.into() });
            }
        } else {
            self.tables.groups()?.insert((queue, group), codec::encode(row).as_slice())?;
        }
        Ok(())
    }

    /// The first member that is neither parked nor one of these heads: its sequence number, its id, its row.
    pub(super) fn first_waiting_member(
        &mut self,
        queue: QueueId,
        group: &str,
        heads: &[Head],
    ) -> Result<Option<(u64, JobId, Bytes)>, Fault> {
        let mut heads = heads.iter().map(|head| (head.seq, head.id.get())).peekable();
        for row in self.tables.members()?.range(waiting_in(queue, group))? {
            let (key, row) = row?;
            let (.., seq, id) = key.value();
            while heads.next_if(|head| *head < (seq, id)).is_some() {}
            if heads.next_if_eq(&(seq, id)).is_none() {
                return Ok(Some((seq, JobId::new(id), Bytes::copy_from_slice(row.value()))));
            }
        }
        Ok(None)
    }

    /// Removes the rows of groups that have no members, at most `rows_max` of them: those of a queue that has no jobs, whose
    /// groups are paused. Returns how many.
    pub(in crate::storage) fn remove_group_rows(&mut self, queue: QueueId, rows_max: usize) -> Result<usize, Fault> {
        self.touch();
        remove_rows_of(self.tables.groups()?, queue, rows_max)
    }

    /// The heads of a group that was paused lose their entries.
    pub(super) fn pause_heads(&mut self, queue: QueueId, row: &mut GroupRow) -> Result<(), Fault> {
        for head in &mut row.heads {
            self.drop_head_entry(queue, *head)?;
            head.at = HeadAt::Held;
        }
        Ok(())
    }

    pub(super) fn drop_head_entry(&mut self, queue: QueueId, head: Head) -> Result<(), Fault> {
        match head.at {
            HeadAt::Ready { priority, position } => {
                self.tables.heads()?.remove((queue, priority, position))?;
                let order = Order { priority, position };
                self.changes.push(Change::Gone { queue, grouped: true, order, id: head.id });
            }
            HeadAt::Due(due) => self.remove_pointer(queue, head.id, due)?,
            HeadAt::Held => {}
        }
        Ok(())
    }

    // --- rebuilt ---

    /// Rebuilds a group's row. A group has a row if it has a head or is stopped, and a head of a group that is not paused
    /// has an entry in `heads` or `delayed`. So the heads follow from those. A group is paused afterwards that was paused or that
    /// a dead letter can have held: that has fewer heads than it may have while others wait, or whose queue holds groups.
    pub(in crate::storage) fn group_anew(
        &mut self,
        queue: QueueId,
        group: &str,
        damaged: &[u8],
    ) -> Result<GroupRow, Fault> {
        self.quarantine_row_of(TableName::Groups, &(queue, group), damaged, (Some(queue), None))?;
        let mut row = GroupRow::default();
        self.ready_heads(queue, group, &mut row)?;
        self.due_heads(queue, group, &mut row)?;
        let others_wait = self.has_room(queue, &row) && self.first_waiting_member(queue, group, &row.heads)?.is_some();
        if row.heads.is_empty() || others_wait || self.queue_ref(queue).settings.groups == GroupPolicy::Hold {
            row.stop = Stop::Paused;
            self.pause_heads(queue, &mut row)?;
            while self.has_room(queue, &row)
                && let Some((seq, id, _)) = self.first_waiting_member(queue, group, &row.heads)?
            {
                row.put_head(Head { id, seq, at: HeadAt::Held });
            }
        }
        self.put_group(queue, group, &row)?;
        Ok(row)
    }

    fn ready_heads(&mut self, queue: QueueId, group: &str, into: &mut GroupRow) -> Result<(), Fault> {
        for row in self.tables.heads()?.range((queue, 0, 0)..=(queue, u8::MAX, u64::MAX))? {
            let (key, value) = row?;
            let (_, priority, position) = key.value();
            if let Some((id, seq, of)) = HeadValue::decode(value.value())
                && of == group
            {
                into.put_head(Head { id: JobId::new(id), seq, at: HeadAt::Ready { priority, position } });
            }
        }
        Ok(())
    }

    fn due_heads(&mut self, queue: QueueId, group: &str, into: &mut GroupRow) -> Result<(), Fault> {
        let mut dues = Vec::new();
        for row in self.tables.members()?.range(waiting_in(queue, group))? {
            let (key, value) = row?;
            let (.., seq, id) = key.value();
            let record = decode_record(TableName::Members, id, &Bytes::copy_from_slice(value.value())).ok();
            if let Some(due) = record.and_then(|record| record.due()) {
                dues.push((seq, JobId::new(id), due));
            }
        }
        for (seq, id, due) in dues {
            if self.tables.delayed()?.has((queue, due.line as u8, due.at.as_millis(), id.get()))? {
                into.put_head(Head { id, seq, at: HeadAt::Due(due) });
            }
        }
        Ok(())
    }
}

/// The keys of the members of a group that are not parked.
fn waiting_in(queue: QueueId, group: &str) -> RangeInclusive<MemberKey<'_>> {
    (queue, group, 0, 0, 0)..=(queue, group, 0, u64::MAX, u64::MAX)
}
